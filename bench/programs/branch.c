/*
 * branch.c - recursion, unpredictable branches, indirect calls
 */
#include <stdlib.h>
#include <string.h>

#include "benchmark.h"

static unsigned int queens(unsigned int all, unsigned int columns, unsigned int left,
			   unsigned int right)
{
	unsigned int found = 0;

	if (columns == all)
		return 1;
	for (unsigned int free = all & ~(columns | left | right); free; free &= free - 1) {
		unsigned int bit = free & -free;

		found += queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
	}
	return found;
}

static uint64_t branch_queens(void)
{
	return queens((1 << 14) - 1, 0, 0, 0);
}

static uint64_t turn_a(uint64_t x)
{
	return x * 5 + 1;
}
static uint64_t turn_b(uint64_t x)
{
	return x ^ x >> 7;
}
static uint64_t turn_c(uint64_t x)
{
	return x + 0x9e3779b97f4a7c15ull;
}
static uint64_t turn_d(uint64_t x)
{
	return x << 3 | x >> 61;
}
static uint64_t turn_e(uint64_t x)
{
	return x - (x >> 9);
}
static uint64_t turn_f(uint64_t x)
{
	return ~x;
}
static uint64_t turn_g(uint64_t x)
{
	return x ^ 0x5555;
}
static uint64_t turn_h(uint64_t x)
{
	return x * 3;
}

/* Indirect calls to targets that data chooses. */
static uint64_t branch_dispatch(void)
{
	static uint64_t (*volatile const turns[])(uint64_t) = {turn_a, turn_b, turn_c, turn_d,
							       turn_e, turn_f, turn_g, turn_h};
	uint64_t x = 1;

	for (int i = 0; i < 20000000; i++)
		x = turns[(x >> 5 ^ i) & 7](x);
	return x;
}

/* Direct calls and returns, deep. */
static unsigned int __attribute__((noinline)) fibonacci(unsigned int n)
{
	__asm__ volatile(""); /* keeps the compiler from unrolling the recursion away */
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t branch_calls(void)
{
	return fibonacci(38);
}

/* A sieve and a sort of strings: short loops that end unpredictably. */
static uint64_t branch_strings(void)
{
	enum { COUNT = 2000, ROUNDS = 16 };
	static char words[COUNT][16];
	const char *sorted[COUNT];
	uint64_t state = 9, sum = 0;

	for (int i = 0; i < COUNT; i++)
		for (int k = 0; k < 6 + i % 8; k++)
			words[i][k] = 'a' + (random_next(&state) >> 40) % 3;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < COUNT; i++) {
			int at = i;

			for (; at > 0 && strcmp(sorted[at - 1], words[(i * 7 + round) % COUNT]) > 0;
			     at--)
				sorted[at] = sorted[at - 1];
			sorted[at] = words[(i * 7 + round) % COUNT];
		}
		sum = checksum_add(sum, sorted[round * 50][0] * 256 + sorted[round * 50][3]);
	}
	return sum;
}

const struct benchmark branch_benchmarks[] = {
	{"branch_queens", branch_queens},
	{"branch_dispatch", branch_dispatch},
	{"branch_calls", branch_calls},
	{"branch_strings", branch_strings},
	{},
};
