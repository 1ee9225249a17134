/*
 * rig.h - a small partition to run payloads in, and what a case expects of it
 *
 * A case is a function bool case_name(struct rig *rig) that drives a partition through partition.h
 * only. Everything here returns false after it stored why in rig->why; TRY() passes that on.
 * A case runs in a process of its own, so that a hang or a crash is that case's failure.
 */
#ifndef CONFORMANCE_RIG_H
#define CONFORMANCE_RIG_H

#include <pthread.h>

#include "layout.h"
#include "partition.h"

#define RIG_VPS 2

struct rig {
	const struct engine *engine;
	struct partition *part;
	struct guest_memory memory;
	struct vp *vp[RIG_VPS];
	struct vp_exit exit[RIG_VPS];
	int extint_vector; /* what acknowledge_extint answers, once */
	_Atomic unsigned int acknowledged;
	bool skipped;		   /* the case found that it cannot run here; why says it */
	char why[400];
};

#define TRY(expression)                                                                            \
	do {                                                                                       \
		if (!(expression))                                                                 \
			return false;                                                              \
	} while (0)

bool rig_fail(struct rig *rig, const char *format, ...) PRINTF_LIKE(2, 3);
bool rig_skip(struct rig *rig, const char *format, ...) PRINTF_LIKE(2, 3);

/* Fails with the values of both sides. */
#define EXPECT_EQ(rig, what, actual, expected)                                                     \
	rig_expect_eq(rig, __FILE__, __LINE__, what, (uint64_t)(actual), (uint64_t)(expected))
bool rig_expect_eq(struct rig *rig, const char *file, int line, const char *what, uint64_t actual,
		   uint64_t expected);
/* @result is 0 from a partition.h call. */
bool rig_ok(struct rig *rig, const char *what, int result);

/* A partition with RAM, tables and stubs in it, and @vps VPs. */
bool rig_new(struct rig *rig, const struct engine *engine, unsigned int vps);
void rig_free(struct rig *rig);

/* Payloads are pairs of symbols, see payload.inc. */
#define PAYLOAD(name) extern const uint8_t payload_##name[], payload_##name##_end[];
/* Put VP @index at the start of a payload in 64-bit mode, interrupts off. */
#define rig_start(rig, index, name)                                                                \
	rig_start_payload(rig, index, payload_##name,                                              \
			  (size_t)(payload_##name##_end - payload_##name))
bool rig_start_payload(struct rig *rig, unsigned int index, const uint8_t *code, size_t bytes);
/* Put a payload at @gpa without touching a VP. */
#define rig_place(rig, gpa, name)                                                                  \
	memcpy((rig)->memory.base + (gpa), payload_##name,                                         \
	       (size_t)(payload_##name##_end - payload_##name))

/* Guest memory; @gpa must be inside RAM. */
uint32_t rig_u32(struct rig *rig, gpa_t gpa);
uint64_t rig_u64(struct rig *rig, gpa_t gpa);
void rig_put_u64(struct rig *rig, gpa_t gpa, uint64_t value);

/* Run VP @index to its next exit, whatever it is but VP_EXIT_FAILED. */
bool rig_run(struct rig *rig, unsigned int index);
bool rig_expect_reason(struct rig *rig, unsigned int index, enum vp_exit_reason reason);

/* Run VP 0 and expect exactly this exit; reads are answered with @data. */
bool rig_pio_write(struct rig *rig, uint16_t port, uint8_t bytes, uint32_t data);
bool rig_pio_read(struct rig *rig, uint16_t port, uint8_t bytes, uint32_t data);
bool rig_mmio_write(struct rig *rig, gpa_t gpa, uint8_t bytes, uint64_t data);
bool rig_mmio_read(struct rig *rig, gpa_t gpa, uint8_t bytes, uint64_t data);
bool rig_msr(struct rig *rig, uint32_t index, bool write);
bool rig_report(struct rig *rig, uint32_t value);
bool rig_done(struct rig *rig);
/* The same for any VP. */
bool rig_vp_report(struct rig *rig, unsigned int index, uint32_t value);
bool rig_vp_done(struct rig *rig, unsigned int index);

/* The exceptions recorded so far. */
bool rig_fault(struct rig *rig, unsigned int number, uint64_t vector, uint64_t error, uint64_t rip);

/* A thread that runs a VP to its next exit but VP_EXIT_CANCELLED. */
struct runner {
	struct rig *rig;
	unsigned int index;
	pthread_t thread;
	_Atomic int tid;
	_Atomic bool ended;
	bool ok;
};
bool runner_start(struct runner *runner, struct rig *rig, unsigned int index);
/* Wait until its thread has ended or sleeps in the kernel, as one does whose VP sits in a HLT. */
void runner_wait_asleep(struct runner *runner);
bool runner_join(struct runner *runner);

#endif
