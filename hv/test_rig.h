/*
 * test_rig.h - a fake partition around hv: RAM, a TSC that stands still, and a record of what hv
 * said
 *
 * The services check the rules of hv.h while they are called: those marked [L] with the lock held,
 * the others without it. rig_check_announced() checks that every byte of RAM that hv wrote was
 * announced. The records of [L] services are guarded by the lock, the others are atomic, so that
 * tests with threads may use the rig too.
 */
#ifndef HV_TEST_RIG_H
#define HV_TEST_RIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv.h"
#include "hv_tlfs.h"

#define RIG_VPS	      4
#define RIG_RAM	      0x10000ull /* where RAM begins; nothing is below or above */
#define RIG_PAGES     16
#define RIG_RAM_BYTES (RIG_PAGES * PAGE_BYTES)
#define RIG_TSC_HZ    1000000000ull
#define RIG_APIC_HZ   200000000ull
#define RIG_PAGE(n)   (RIG_RAM + (n)*PAGE_BYTES)

struct rig {
	struct hv *hv;
	atomic_ullong tsc;
	uint8_t ram[RIG_RAM_BYTES] __attribute__((aligned(4096)));
	uint8_t shadow[RIG_RAM_BYTES];	  /* as last checked */
	uint8_t announced[RIG_RAM_BYTES]; /* since then */
	pthread_mutex_t mutex;
	/* [L] */
	unsigned int interrupts[RIG_VPS][256], interrupt_count;
	uint64_t due_100ns[RIG_VPS][HV_STIMERS];
	/* not [L] */
	atomic_uint synic_ready, resets, yields;
	/* one thread only */
	bool quiet; /* do not keep what was announced: for tests with threads */
	struct {
		unsigned int count;
		uint32_t connection_id, bytes;
		uint16_t flag;
		uint8_t payload[240];
	} posted, signalled;
	uint16_t status; /* of post_message() and signal_event() */
	uint64_t flushed;
	unsigned int flushes;
	int flush_result, xmm_result;
	uint8_t xmm[6][16];
	unsigned int crashes;
	struct hv_crash crash;
};

/*
 * rig_new() offers everything; a test that wants less takes it from rig_config(rig_alloc()) and
 * calls rig_start().
 */
struct rig *rig_new(void);
struct rig *rig_alloc(void);
struct hv_config rig_config(struct rig *rig);
void rig_start(struct rig *rig, const struct hv_config *config);
void rig_free(struct rig *rig);

void rig_check_announced(struct rig *rig);
/* The guest writes or reads its RAM. */
void rig_put(struct rig *rig, gpa_t gpa, const void *bytes, size_t count);
void *rig_at(struct rig *rig, gpa_t gpa);

/* As VP @vp; a #GP fails the test. */
uint64_t rig_read(struct rig *rig, unsigned int vp, uint32_t msr);
void rig_write(struct rig *rig, unsigned int vp, uint32_t msr, uint64_t value);
bool rig_write_faults(struct rig *rig, unsigned int vp, uint32_t msr, uint64_t value);

/* In long mode; returns RAX. */
uint64_t rig_call(struct rig *rig, unsigned int vp, uint64_t control, uint64_t rdx, uint64_t r8);

/* What Linux does: SIMP in page 2 VP, SIEFP in page 2 VP + 1, SINT2 with vector 0xf3, SCONTROL. */
#define RIG_SINT   2
#define RIG_VECTOR 0xf3
void rig_enable_synic(struct rig *rig, unsigned int vp);
struct hv_message *rig_slot(struct rig *rig, unsigned int vp, unsigned int sint);

/* The guest's clock advances; timers that come due are told, the earliest first. */
void rig_advance(struct rig *rig, uint64_t by_100ns);

#endif
