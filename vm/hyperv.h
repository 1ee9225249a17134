/*
 * hyperv.h - what a machine has of Hyper-V: the hypervisor interface, VMBus and its providers,
 * bound to the partition
 *
 * Threads: exits are handled on VP threads; everything else is called on the loop's thread.
 */
#ifndef VM_HYPERV_H
#define VM_HYPERV_H

#include "controllers.h"
#include "hv.h"
#include "ic.h"

/* Ports that the code of the hypercall page uses; no device of the PC has them. */
#define HYPERV_HYPERCALL_PORT 0xe4
#define HYPERV_SIGNAL_PORT    0x1e4

struct hyperv;

/* Members may not be NULL. */
struct hyperv_events {
	void (*reset)(void *ctx);				/* a VP's thread */
	void (*crash)(void *ctx, const struct hv_crash *crash); /* a VP's thread */
	/* A drive's image has no room for a write, or has again. The loop's thread. */
	void (*disk_full)(void *ctx, const char *path, bool full);
	void *ctx;
};

/* Are HV_MSR_EOI to HV_MSR_VP_ASSIST_PAGE to be kept out of the partition's exit_msrs? */
bool hyperv_apic_msrs_are_engines(const struct engine *engine);

/* The leaves to show a guest on @engine, for partition_config; returns how many. */
size_t hyperv_cpuid(const struct engine *engine, unsigned int vp_count,
		    struct cpuid_leaf leaves[HV_CPUID_LEAVES]);

/* After VP 0 has its initial state, before any VP runs. Returns 0 or -errno. */
int hyperv_new(struct partition *part, struct loop *loop, const struct hyperv_events *events,
	       struct hyperv **ret_hyperv);
/*
 * hyperv_free() - after all VP threads have ended; runs the loop until nothing touches guest memory
 * or a drive any more
 */
void hyperv_free(struct hyperv *hyperv);

/* --- exits; VP threads --- */

void hyperv_msr(struct hyperv *hyperv, struct vp *vp, struct vp_exit *exit);
/* False: it was not a hypercall but a plain write to the port. */
bool hyperv_hypercall(struct hyperv *hyperv, struct vp *vp);
void hyperv_signal(struct hyperv *hyperv, uint32_t connection_id);

/*
 * hyperv_stop_time(), hyperv_start_time() - the reference time and the synthetic timers stand still
 * in between; then the guest is told to set its clock. After partition_stop_time() and
 * partition_start_time(), whether these could or not, while no VP runs. On the loop's thread.
 */
void hyperv_stop_time(struct hyperv *hyperv);
void hyperv_start_time(struct hyperv *hyperv);

/* --- the loop's thread --- */

struct ic *hyperv_ic(struct hyperv *hyperv);
void hyperv_get_status(struct hyperv *hyperv, uint64_t *ret_guest_os_id,
		       uint32_t *ret_vmbus_version);

/* Where drives are attached; lives as long as @hyperv. */
struct controllers *hyperv_controllers(struct hyperv *hyperv);

#endif
