/*
 * kvm_internal.h - a partition and its VPs on the Linux kernel's KVM
 *
 * The kernel has the processors and the local APICs; PIC, IOAPIC and PIT are the caller's
 * (KVM_CAP_SPLIT_IRQCHIP). Facts about ioctls are from the kernel's
 * Documentation/virt/kvm/api.rst, checked against Linux 6.1.
 *
 * vm.c     partition, memory slots, interrupts, doorbells, dirty log, statistics
 * vp.c     creating a VP, the run loop, cancelling it
 * exits.c  KVM_EXIT_* to struct vp_exit and the caller's answers back
 * state.c  struct vp_state to and from KVM's structures
 * msrs.c   the MSRs of struct vp_state; the filter that makes MSRs exit
 * time.c   stopping the guest's time
 * cpuid.c  what can be shown to a guest, and showing it
 * probe.c  whether this host's KVM is usable
 */
#ifndef ENGINE_KVM_KVM_INTERNAL_H
#define ENGINE_KVM_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "kvm_engine.h"
#include "partition.h"

#define KVM_DEVICE "/dev/kvm"

/* Exits counted by KVM_EXIT_* code; larger codes share the last counter. */
#define KVM_EXIT_CODES 40

struct kvm_slot {
	gpa_t gpa;
	uint64_t bytes; /* 0: free */
	unsigned int access;
};

struct kvm_partition {
	struct partition part;
	int kvm_fd, vm_fd;
	pthread_rwlock_t message_lock; /* time.c */
	size_t run_bytes;     /* size of a VP's struct kvm_run mapping */
	pthread_mutex_t lock; /* slots */
	struct kvm_slot slots[PARTITION_MAX_SLOTS];
	struct kvm_cpuid2 *cpuid; /* config.cpuid in KVM's form */
	int (*acknowledge_extint)(void *ctx);
	void *ctx;
	_Atomic bool extint;	   /* level of the 8259's INTR line */
	_Atomic uint64_t messages; /* sent by KVM_SIGNAL_MSI */
};

/* kvm_vp.requests: any thread sets, then kicks; the VP thread takes them in its run loop. */
#define REQUEST_CANCEL 0x1u
#define REQUEST_NMI    0x2u
#define REQUEST_EXTINT 0x4u /* look at kvm_partition.extint again */

/* A VP's clocks while the partition's time is stopped. */
struct kvm_stopped_clocks {
	uint64_t host_tsc, offset, deadline; /* the TSC's offset, the TSC deadline */
	uint32_t initial, current; /* counts of the local APIC's timer; 0: it does not count */
};

struct kvm_vp {
	struct vp vp;
	struct kvm_stopped_clocks stopped;
	int fd;
	struct kvm_run *run;
	_Atomic uint32_t requests;
	_Atomic pid_t runner; /* thread inside vp_run(), 0: none */

	/* The VP thread's own */
	bool io_incomplete; /* KVM finishes the last exit's instruction at the next KVM_RUN */
	/* What the last exit asked for. */
	enum { ANSWER_NONE, ANSWER_PIO, ANSWER_MMIO, ANSWER_MSR } answer;
	uint32_t pio_done; /* elements of the current KVM_EXIT_IO already given out */
	bool pio_active;
	bool window_unknown; /* run->ready_for_interrupt_injection is from before a change */
	bool extint_wanted;  /* extint_waits() at the start of this turn of the loop */
	int extint_vector;   /* acknowledged, but KVM did not take it yet; -1: none */
	uint64_t exits[KVM_EXIT_CODES];
};

static inline struct kvm_partition *to_kvm(struct partition *part)
{
	return (struct kvm_partition *)part;
}
static inline struct kvm_vp *to_kvm_vp(struct vp *vp)
{
	return (struct kvm_vp *)vp;
}
static inline struct kvm_partition *kvm_vp_partition(struct kvm_vp *vp)
{
	return to_kvm(vp->vp.part);
}

/* kvm_call() - ioctl() that returns -errno and retries EINTR. Not for KVM_RUN. */
int kvm_call(int fd, unsigned long request, void *argument);
int kvm_call_value(int fd, unsigned long request, unsigned long value);

/* probe.c */
void kvm_probe(struct engine_probe *ret_probe);
/* Name of the first capability that @kvm_fd lacks, or NULL. */
const char *kvm_missing_capability(int kvm_fd);
/* Was this host's KVM built with Hyper-V's MSRs? Optional since Linux 6.10. */
bool kvm_has_hyperv_apic_msrs(void);

/* cpuid.c */
size_t kvm_supported_cpuid(struct cpuid_leaf leaves[PARTITION_MAX_CPUID]);
int kvm_cpuid_from_config(const struct partition_config *config, struct kvm_cpuid2 **ret_cpuid);
int kvm_vp_set_cpuid(struct kvm_vp *vp);

/* msrs.c */
int kvm_set_msr_filter(struct kvm_partition *part, const struct partition_config *config);
int kvm_vp_get_msrs(struct kvm_vp *vp, struct vp_state *state);
int kvm_vp_set_msrs(struct kvm_vp *vp, const struct vp_state *state);
/* The offset of the VP's TSC from the host's: exact from Linux 5.16 on, else as a call can tell. */
int kvm_vp_get_tsc_offset(struct kvm_vp *vp, uint64_t *ret_offset);
/* Give it such an offset or, before Linux 5.16, the value @tsc, which that amounts to now. */
int kvm_vp_set_tsc(struct kvm_vp *vp, uint64_t offset, uint64_t tsc);
int kvm_vp_get_tsc_deadline(struct kvm_vp *vp, uint64_t *ret_deadline);
/* Only meaningful once the local APIC's timer mode is in place. */
int kvm_vp_set_tsc_deadline(struct kvm_vp *vp, uint64_t deadline);

/* time.c */
int kvm_stop_time(struct partition *part);
int kvm_start_time(struct partition *part);
/* Put the stopped clocks in the place of those that KVM tells. */
void kvm_vp_show_stopped_clocks(const struct kvm_vp *vp, struct vp_state *state);

/* vp.c */
int kvm_create_vp(struct partition *part, unsigned int index, struct vp **ret_vp);
void kvm_vp_free(struct kvm_vp *vp, size_t run_bytes);
int kvm_vp_run(struct vp *vp, struct vp_exit *exit);
void kvm_vp_cancel(struct vp *vp);
/* Set @request and make the VP thread see it soon. Any thread. */
void kvm_vp_request(struct kvm_vp *vp, uint32_t request);
/* End the last exit's instruction, before the state is replaced. */
void kvm_vp_abandon_exit(struct kvm_vp *vp);
/* Install the handler of KVM_KICK_SIGNAL. */
int kvm_install_kick(void);

/* exits.c */
/* Hand the caller's answer to @exit over to KVM. */
void kvm_answer_exit(struct kvm_vp *vp, const struct vp_exit *exit);
/* Translate vp->run; returns 1 with *exit filled, 0 when KVM is to be run again. */
int kvm_translate_exit(struct kvm_vp *vp, struct vp_exit *exit);
/* Give out the next element of a string I/O exit; false: there is none. */
bool kvm_next_pio_element(struct kvm_vp *vp, struct vp_exit *exit);
void kvm_exit_failed(struct kvm_vp *vp, struct vp_exit *exit, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* state.c */
int kvm_vp_get_regs(struct vp *vp, struct vp_regs *ret_regs);
int kvm_vp_set_regs(struct vp *vp, const struct vp_regs *regs);
int kvm_vp_get_state(struct vp *vp, struct vp_state *ret_state);
int kvm_vp_set_state(struct vp *vp, const struct vp_state *state);
int kvm_vp_get_mode(struct vp *vp, struct vp_mode *ret_mode);

#endif
