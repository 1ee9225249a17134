/*
 * differential.h - the same machine code run natively and in the engine
 *
 * Both sides start from the same registers, vector state and memory, at the same addresses, and
 * stop at the first exception; the code under test ends in INT3.
 */
#ifndef DBT_TEST_DIFFERENTIAL_H
#define DBT_TEST_DIFFERENTIAL_H

#include "partition.h"

/* Guest virtual = host virtual addresses; data is two pages so that accesses may cross. */
#define CODE_VA 0x10000000ull
#define DATA_VA 0x20000000ull
#define CODE_BYTES (64 * PAGE_BYTES)
#define DATA_BYTES (4 * PAGE_BYTES)
#define XSAVE_COMPARED (512 + 64 + 256) /* legacy region, header, YMM */

struct machine_state {
	uint64_t gpr[VP_GPR_COUNT];
	uint64_t rip, rflags;
	uint8_t vector; /* exception that ended the run */
	uint8_t xsave[4096] __attribute__((aligned(64)));
	uint8_t data[DATA_BYTES];
};

struct differential;

int differential_new(struct differential **ret_differential);
void differential_free(struct differential *differential);

/* Puts @code where neither side has run code before, and returns the address to start at. */
uint64_t differential_place(struct differential *differential, const uint8_t *code, size_t bytes);

/* Run from *state natively, or in the engine; *state becomes the result. 0 or -errno. */
int differential_native(struct differential *differential, struct machine_state *state);
int differential_engine(struct differential *differential, struct machine_state *state);

/* Returns NULL when equal, otherwise what differs first, in words (static buffer). */
const char *differential_compare(const struct machine_state *native, const struct machine_state *engine,
				 uint64_t flags_compared);

#endif
