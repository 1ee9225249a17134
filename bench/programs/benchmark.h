/*
 * benchmark.h - what one benchmark program is
 *
 * A program does a fixed amount of work and returns a checksum of its results, so that two
 * machines can be compared by time only where both computed the same thing. The work takes a
 * native machine about 0.2 s (kernel-heavy sets: 0.1 s), so that slow emulators still finish.
 */
#ifndef BENCH_BENCHMARK_H
#define BENCH_BENCHMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct benchmark {
	const char *name; /* SET_WHAT; the sets are int, mem, branch, fp, simd and kernel */
	uint64_t (*run)(void);
	bool (*possible)(void); /* NULL: on every x86-64 processor */
};

extern const struct benchmark integer_benchmarks[];
extern const struct benchmark memory_benchmarks[];
extern const struct benchmark branch_benchmarks[];
extern const struct benchmark double_benchmarks[];
extern const struct benchmark simd_benchmarks[];
extern const struct benchmark kernel_benchmarks[]; /* each table ends with a NULL name */

/* A small generator of pseudo-random numbers (xorshift64*): the same everywhere. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* Folds one value into a checksum. */
static inline uint64_t checksum_add(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x100000001b3ull + (sum >> 29);
}

#endif
