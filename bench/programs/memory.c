/*
 * memory.c - loads that wait for loads, and long runs of loads and stores
 */
#include <stdlib.h>
#include <string.h>

#include "benchmark.h"

/* Follows one cycle through all cells of a table of @bytes; every load needs the one before. */
static uint64_t chase(size_t bytes, size_t steps)
{
	size_t count = bytes / sizeof(uint32_t);
	uint32_t *next = malloc(bytes), at = 0;
	uint64_t state = 5;

	/* Sattolo's shuffle: a permutation that is one cycle. */
	for (size_t i = 0; i < count; i++)
		next[i] = i;
	for (size_t i = count - 1; i > 0; i--) {
		size_t j = random_next(&state) % i;
		uint32_t cell = next[i];

		next[i] = next[j];
		next[j] = cell;
	}
	for (size_t i = 0; i < steps; i++)
		at = next[at];
	free(next);
	return at;
}

static uint64_t mem_chase_l1(void)
{
	return chase(16 << 10, 100000000);
}

static uint64_t mem_chase_l2(void)
{
	return chase(256 << 10, 40000000);
}

static uint64_t mem_copy(void)
{
	enum { BYTES = 1 << 20, ROUNDS = 3000 };
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
	uint64_t sum = 0;

	for (int i = 0; i < BYTES; i++)
		from[i] = i * 7;
	for (int round = 0; round < ROUNDS; round++) {
		memcpy(to, from + (round & 63), BYTES - 64);
		from[round] = to[round * 3] + 1;
		sum = checksum_add(sum, to[round * 11]);
	}
	free(from);
	free(to);
	return sum;
}

/* Plain loads and stores of words, one array from two others. */
static uint64_t mem_stream(void)
{
	enum { COUNT = 1 << 16, ROUNDS = 2500 };
	uint64_t *a = malloc(COUNT * sizeof(*a)), *b = malloc(COUNT * sizeof(*b));
	uint64_t sum = 0;

	for (int i = 0; i < COUNT; i++) {
		a[i] = i;
		b[i] = 3 * i;
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < COUNT; i++)
			a[i] = a[i] + 5 * b[i];
		sum = checksum_add(sum, a[round]);
	}
	free(a);
	free(b);
	return sum;
}

/* Bytes here and there: a histogram. */
static uint64_t mem_histogram(void)
{
	enum { BYTES = 1 << 18, ROUNDS = 800 };
	uint8_t *data = malloc(BYTES);
	uint32_t counts[256] = {0};
	uint64_t state = 3, sum = 0;

	for (int i = 0; i < BYTES; i++)
		data[i] = random_next(&state) >> 50;
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < BYTES; i++)
			counts[data[i]]++;
	for (int i = 0; i < 256; i++)
		sum = checksum_add(sum, counts[i]);
	free(data);
	return sum;
}

const struct benchmark memory_benchmarks[] = {
	{"mem_chase_l1", mem_chase_l1}, {"mem_chase_l2", mem_chase_l2},	  {"mem_copy", mem_copy},
	{"mem_stream", mem_stream},	{"mem_histogram", mem_histogram}, {},
};
