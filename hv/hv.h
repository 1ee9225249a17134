/*
 * hv.h - the hypervisor as a guest sees it: CPUID leaves, synthetic MSRs, hypercalls, SynIC,
 * synthetic timers, reference time
 *
 * A state machine over the small callbacks of struct hv_services: no threads, no system calls, no
 * allocation but the one of hv_new(), so that it can be compiled freestanding. Facts: TLFS; wire
 * formats: wire/hv_tlfs.h.
 *
 * Threads: calls that name a VP "on its thread" come from that VP's thread, between its exits; the
 * others from any thread. Shared state is guarded by services.lock(); callbacks marked [L] are
 * made with that lock held and must not call back into hv, except for hv_reference_time().
 * Callbacks without the mark are made without the lock, except guest_tsc() and ram(), which come
 * either way and must not wait for anything.
 */
#ifndef HV_HV_H
#define HV_HV_H

#include "partition.h"

#define HV_STIMERS 4
#define HV_SINTS   16

struct hv;

/* A guest's last words (crash MSRs). */
struct hv_crash {
	uint64_t parameters[5];
	uint64_t control;
	uint64_t guest_os_id;
	char text[4096]; /* what the guest gave, NUL-terminated; "" if none. It may be no text. */
};

/* Registers of the VP that makes a hypercall. */
struct hv_hypercall_registers {
	bool long_mode; /* 64-bit code: RCX, RDX, R8; else EDX:EAX, EBX:ECX, EDI:ESI */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8;
};

struct hv_services {
	void *ctx;
	/* The guest's TSC now, the same for all VPs. Any thread. */
	uint64_t (*guest_tsc)(void *ctx);
	/* Host address of guest RAM, NULL if not all of it is; as partition_ram_hva(). */
	void *(*ram)(void *ctx, gpa_t gpa, uint64_t bytes);
	void (*ram_written)(void *ctx, gpa_t gpa, uint64_t bytes);
	/* Fixed, edge-triggered interrupt to a VP. [L] */
	void (*interrupt)(void *ctx, unsigned int vp, uint8_t vector);
	/*
	 * hv_timer_expired(hv, vp, timer) is wanted when the reference time is @due_100ns; 0: not any
	 * more. Too early is harmless (it is asked for again). [L]
	 */
	void (*arm_timer)(void *ctx, unsigned int vp, unsigned int timer, uint64_t due_100ns);
	/* Fill the hypercall page for a guest in long mode, or not. On the VP's thread. */
	void (*write_hypercall_page)(void *ctx, bool long_mode, uint8_t page[4096]);
	/* XMM0-5 of the VP, for fast calls; NULL: not offered. On the VP's thread. */
	int (*get_xmm)(void *ctx, unsigned int vp, uint8_t xmm[6][16]);
	/* HvCallPostMessage, HvCallSignalEvent: return an HV_STATUS_*. On the caller VP's thread. */
	uint16_t (*post_message)(void *ctx, uint32_t connection_id, const void *payload,
				 uint32_t bytes);
	uint16_t (*signal_event)(void *ctx, uint32_t connection_id, uint16_t flag);
	/*
	 * A VP's message slot or event flags may take again what was refused with -EAGAIN. On any
	 * VP's thread, without the lock.
	 */
	void (*synic_ready)(void *ctx);
	/* Synchronous TLB flush of the VPs in the mask; NULL: not offered. On @vp's thread. */
	int (*flush_tlb)(void *ctx, unsigned int vp, uint64_t vp_mask);
	/* The guest says it has crashed, and goes on. On a VP's thread. @crash is borrowed. */
	void (*crash)(void *ctx, const struct hv_crash *crash);
	/* The guest wants the machine reset. On a VP's thread. */
	void (*reset)(void *ctx);
	/* HvCallNotifyLongSpinWait. May be NULL. */
	void (*yield)(void *ctx);
	void (*lock)(void *ctx);
	void (*unlock)(void *ctx);
};

struct hv_config {
	unsigned int vp_count;
	uint64_t tsc_hz;
	uint64_t apic_hz;	   /* the local APIC timer's clock before its divider */
	bool synthetic_timers;	   /* offer stimers (direct mode too) */
	bool tsc_invariant;
	bool apic_msrs;		   /* the engine answers the EOI, ICR, TPR and VP assist page MSRs */
	struct hv_services services; /* copied */
};

/*
 * hv_new() - Returns 0; -EINVAL (vp_count; tsc_hz not above 10 MHz); -ENOMEM.
 * Calls services.guest_tsc(), no other.
 */
int hv_new(const struct hv_config *config, struct hv **ret_hv);
void hv_free(struct hv *hv);

/*
 * hv_cpuid() - the leaves 0x40000000.. for partition_config.cpuid (explicit zero leaves included)
 * Depends on the configuration only, so that it can be asked before the partition exists.
 * Returns how many of @leaves were filled.
 */
#define HV_CPUID_LEAVES 16
size_t hv_cpuid(const struct hv_config *config, struct cpuid_leaf leaves[HV_CPUID_LEAVES]);

/*
 * hv_read_msr(), hv_write_msr() - an access to [HV_MSR_FIRST, HV_MSR_LAST]; on the VP's thread
 * @long_mode: the VP runs in long mode (EFER.LMA); decides which hypercall page it gets, so only
 *	       HV_MSR_HYPERCALL wants to know it
 * Returns: false: raise #GP.
 */
#define HV_MSR_FIRST 0x40000000u
#define HV_MSR_LAST  0x40001fffu
bool hv_read_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t *ret_value);
bool hv_write_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t value, bool long_mode);

/*
 * hv_hypercall() - perform one; the result is in RAX (EDX:EAX without long mode) afterwards
 * The caller has checked CPL 0 and protected mode. On the VP's thread.
 * Returns: false: raise #UD (XMM input that is not offered).
 */
bool hv_hypercall(struct hv *hv, unsigned int vp, struct hv_hypercall_registers *registers);

/*
 * hv_post_message() - put a message (type > 0, at most 240 bytes) into slot @sint of @vp and raise
 * Returns: 0; -EAGAIN the slot is taken, or SynIC or page are off: synic_ready() will be called;
 * -EINVAL an argument is out of range, no such VP included.
 */
int hv_post_message(struct hv *hv, unsigned int vp, unsigned int sint, uint32_t type,
		    const void *payload, uint32_t bytes);

/*
 * hv_signal_flag() - set event flag @flag (0..2047) of @sint on @vp; interrupts if it was clear
 * Returns: 0; -EAGAIN SynIC or page off or the SINT masked: synic_ready() will be called; -EINVAL.
 */
int hv_signal_flag(struct hv *hv, unsigned int vp, unsigned int sint, unsigned int flag);

/* A timer armed by services.arm_timer() came due. Any thread. */
void hv_timer_expired(struct hv *hv, unsigned int vp, unsigned int timer);

/*
 * Reference time, 100 ns units since creation; continues from what hv_set_reference_time() said,
 * which is also to be called when the guest's TSC has jumped. Any thread; reading takes no lock.
 */
uint64_t hv_reference_time(struct hv *hv);
void hv_set_reference_time(struct hv *hv, uint64_t now_100ns);

/*
 * Power-on state of everything; while no VP runs. The reference time starts again at 0, from the
 * TSC that guest_tsc() then tells: reset the VPs before.
 */
void hv_reset(struct hv *hv);

/* What status shows: the guest's OS id, 0 before it introduced itself. */
uint64_t hv_guest_os_id(const struct hv *hv);

#endif
