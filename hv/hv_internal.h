/*
 * hv_internal.h - the state behind hv.h, and what its files call of each other
 *
 * Invariants:
 * 1. Everything in struct hv that changes is read and written with the lock held, except
 *    hypercall_page, guest_os_id and offset_100ns, which are atomic words, and vp->scratch, which
 *    is its VP's thread's.
 * 2. Guest memory that an MSR names (SIMP, SIEFP, TSC page) is written with the lock held, and
 *    only after checking there that the MSR still enables it. So once the guest's WRMSR that
 *    disables a page is complete, no other thread writes to that page.
 * 3. With the lock held, of the services only ram() and guest_tsc() are called, and those marked
 *    [L]; all others may wait for VPs or take locks of their own. What has to be said to them is
 *    noted in struct hv_after while the lock is held, and said by hv_unlock().
 */
#ifndef HV_HV_INTERNAL_H
#define HV_HV_INTERNAL_H

#include "hv.h"
#include "hv_tlfs.h"

struct hv_stimer {
	uint64_t config, count; /* MSRs */
	uint64_t due_100ns;	/* 0: does not run */
	uint64_t expired_100ns; /* of the message that waits for its slot, see below */
	bool message_waits;
};

struct hv_vp {
	uint64_t assist_page, scontrol, siefp, simp, sints[HV_SINTS]; /* MSRs */
	struct hv_stimer stimers[HV_STIMERS];
	uint32_t refused; /* bit n: a message for SINT n got -EAGAIN, bit 16 + n: an event flag */
	uint8_t scratch[4096]; /* a hypercall's input, or the hypercall page to be */
};

struct hv {
	/* configuration */
	struct hv_config config;
	struct hv_services services;
	uint64_t privileges; /* HV_CPUID_FEATURES EBX:EAX */
	uint64_t vp_mask;    /* of the VPs that exist */
	uint64_t scale;	     /* 100 ns per guest TSC tick, 64 bits right of the binary point */
	/* the partition's state */
	uint64_t guest_os_id, hypercall_page; /* atomic */
	uint64_t offset_100ns;		      /* atomic */
	uint64_t reference_tsc;		      /* MSR */
	uint32_t tsc_sequence;
	uint64_t crash_parameters[5];
	uint64_t reenlightenment[3], tsc_invariant;
	struct hv_vp vps[];
};

/* What is left to do when the lock has been given back. */
struct hv_after {
	struct hv_written {
		gpa_t gpa;
		uint64_t bytes;
	} written[2]; /* no operation writes to more pages */
	unsigned int written_count;
	bool synic_ready;
};

/* hv.c */
void hv_lock(struct hv *hv);
void hv_unlock(struct hv *hv, const struct hv_after *after);
void hv_note_written(struct hv_after *after, gpa_t gpa, uint64_t bytes);
/* Host address of @bytes at @offset of the page that @msr enables; NULL: disabled, or not RAM. */
void *hv_enabled_page(struct hv *hv, uint64_t msr, uint64_t offset, uint64_t bytes);
/* True if the change from @old to @value makes a page appear where there was none. */
bool hv_page_appears(uint64_t old, uint64_t value);

/* cpuid.c */
uint64_t hv_privileges(const struct hv_config *config);

/* time.c */
uint64_t hv_scale(uint64_t tsc_hz);
void hv_start_time(struct hv *hv, uint64_t now_100ns);
void hv_write_reference_tsc(struct hv *hv, uint64_t value, struct hv_after *after);

/* synic.c; with the lock held */
struct hv_outgoing {
	uint32_t type;
	uint32_t bytes;
	const void *payload;
};
int hv_deliver_message(struct hv *hv, unsigned int vp, unsigned int sint,
		       const struct hv_outgoing *message, struct hv_after *after);
bool hv_write_sint(struct hv *hv, unsigned int vp, unsigned int sint, uint64_t value);
void hv_write_simp(struct hv *hv, unsigned int vp, uint64_t value, struct hv_after *after);
void hv_write_siefp(struct hv *hv, unsigned int vp, uint64_t value, struct hv_after *after);
/* The guest made room or changed its SynIC: try again what found no place. */
void hv_synic_retry(struct hv *hv, unsigned int vp, struct hv_after *after);
void hv_synic_reset(struct hv_vp *vp);

/* stimer.c; with the lock held */
bool hv_write_stimer_config(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t value,
			    struct hv_after *after);
void hv_write_stimer_count(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t value,
			   struct hv_after *after);
/* Messages of expired timers that found their slot taken. */
void hv_stimers_retry(struct hv *hv, unsigned int vp, struct hv_after *after);
bool hv_stimer_message_waits(const struct hv_vp *vp, unsigned int sint);
/* The reference time jumped: ask again for every timer that runs. */
void hv_stimers_rearm(struct hv *hv);
void hv_stimers_reset(struct hv *hv, unsigned int vp);

/* crash.c; without the lock */
void hv_report_crash(struct hv *hv, uint64_t control);

#endif
