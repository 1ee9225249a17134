/*
 * integer.c - sorting, hashing, compressing, interpreting: scalar integer work
 */
#include <stdlib.h>
#include <string.h>

#include "benchmark.h"

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static uint64_t int_qsort(void)
{
	enum { COUNT = 600000 };
	int *values = malloc(COUNT * sizeof(*values));
	uint64_t state = 42, sum = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < COUNT; i++)
			values[i] = random_next(&state) >> 33;
		qsort(values, COUNT, sizeof(*values), compare_ints);
		for (int i = 0; i < COUNT; i += 1000)
			sum = checksum_add(sum, values[i]);
	}
	free(values);
	return sum;
}

/* SHA-256 as FIPS 180-4 has it; the round constants are computed, not copied. */
struct sha256 {
	uint32_t state[8];
	uint32_t k[64];
};

static uint32_t rotate(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/* The first 32 bits of the fraction of the n-th root of p, by bisection in integers. */
static uint32_t root_fraction(unsigned int p, int n)
{
	unsigned __int128 low = 0, high = (unsigned __int128)1 << 40;
	unsigned __int128 target = (unsigned __int128)p << 64;

	while (high - low > 1) {
		unsigned __int128 middle = (low + high) / 2, power = middle * middle;

		if (n == 3)
			power = (power >> 32) * middle;
		if (power <= target)
			low = middle;
		else
			high = middle;
	}
	return (uint32_t)low;
}

static void sha256_init(struct sha256 *hash)
{
	int found = 0;

	for (unsigned int p = 2; found < 64; p++) {
		bool prime = true;

		for (unsigned int d = 2; d * d <= p; d++)
			prime = prime && p % d;
		if (!prime)
			continue;
		if (found < 8)
			hash->state[found] = root_fraction(p, 2);
		hash->k[found++] = root_fraction(p, 3);
	}
}

static void sha256_expand(uint32_t w[64], const uint8_t *block)
{
	for (int i = 0; i < 16; i++, block += 4)
		w[i] = (uint32_t)block[0] << 24 | block[1] << 16 | block[2] << 8 | block[3];
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
}

/* One round; instead of moving the eight words along, their names move: a is v[@first & 7]. */
static inline __attribute__((always_inline)) void sha256_round(uint32_t v[8], int first,
							       uint32_t added)
{
	uint32_t a = v[first & 7], b = v[(first + 1) & 7], c = v[(first + 2) & 7];
	uint32_t e = v[(first + 4) & 7], f = v[(first + 5) & 7], g = v[(first + 6) & 7];
	uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
	uint32_t t1 = v[(first + 7) & 7] + s1 + ((e & f) ^ (~e & g)) + added;
	uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);

	v[(first + 3) & 7] += t1;
	v[(first + 7) & 7] = t1 + s0 + ((a & b) ^ (a & c) ^ (b & c));
}

static void sha256_block(struct sha256 *hash, const uint8_t *block)
{
	uint32_t w[64], v[8];

	sha256_expand(w, block);
	memcpy(v, hash->state, sizeof(v));
	for (int i = 0; i < 64; i += 8)
#pragma GCC unroll 8
		for (int k = 0; k < 8; k++)
			sha256_round(v, 8 - k, hash->k[i + k] + w[i + k]);
	for (int i = 0; i < 8; i++)
		hash->state[i] += v[i];
}

static uint64_t int_sha256(void)
{
	enum { BYTES = 1 << 16, ROUNDS = 500 };
	uint8_t *data = malloc(BYTES);
	struct sha256 hash;
	uint64_t state = 7, sum = 0;

	for (int i = 0; i < BYTES; i++)
		data[i] = random_next(&state) >> 56;
	sha256_init(&hash);
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < BYTES; i += 64)
			sha256_block(&hash, data + i);
	for (int i = 0; i < 8; i++)
		sum = checksum_add(sum, hash.state[i]);
	free(data);
	return sum;
}

/* A greedy LZ77 with one hash table of the last place of each four bytes. */
static size_t lz_compress(const uint8_t *in, size_t size, uint8_t *out, uint32_t *table)
{
	size_t used = 0, literals = 0;

	memset(table, 0, sizeof(*table) << 14);
	for (size_t at = 0; at + 8 < size;) {
		uint32_t word, slot;
		size_t from, length = 0;

		memcpy(&word, in + at, 4);
		slot = word * 2654435761u >> 18;
		from = table[slot];
		table[slot] = at;
		while (from < at && at + length < size && length < 255 &&
		       in[from + length] == in[at + length])
			length++;
		if (length < 4) {
			out[used++] = in[at++];
			literals++;
			continue;
		}
		out[used++] = length;
		out[used++] = (at - from) & 0xff;
		out[used++] = (at - from) >> 8;
		at += length;
	}
	return used * 31 + literals;
}

static uint64_t int_lz(void)
{
	enum { BYTES = 1 << 20, ROUNDS = 32 };
	uint8_t *in = malloc(BYTES), *out = malloc(2 * BYTES);
	uint32_t *table = malloc(sizeof(*table) << 14);
	uint64_t state = 11, sum = 0;

	/* Text-like: words of a small vocabulary, with some noise. */
	for (int i = 0; i < BYTES; i++) {
		uint64_t number = random_next(&state);

		in[i] = i < 64 || number % 5 == 0 ? 'a' + (number >> 32) % 26
						  : in[i - 1 - (number >> 40) % 3 * 20];
	}
	for (int round = 0; round < ROUNDS; round++) {
		in[round * 100] ^= 1;
		sum = checksum_add(sum, lz_compress(in, BYTES, out, table));
	}
	free(in);
	free(out);
	free(table);
	return sum;
}

enum op { OP_PUSH, OP_ADD, OP_SUB, OP_MUL, OP_LOAD, OP_STORE, OP_JUMP_IF, OP_XOR, OP_END };

/* Counts a variable down and mixes another: a loop of 15 instructions. */
static const int32_t loop_code[] = {
	OP_LOAD, 1,	 OP_PUSH,  31, OP_MUL,	OP_LOAD,  0,	      OP_ADD,  OP_STORE, 1,
	OP_LOAD, 2,	 OP_LOAD,  1,  OP_XOR,	OP_STORE, 2,	      OP_LOAD, 0,	 OP_PUSH,
	1,	 OP_SUB, OP_STORE, 0,  OP_LOAD, 0,	  OP_JUMP_IF, 0,       OP_END,
};

static uint32_t interpret(const int32_t *code, uint32_t *variables)
{
	uint32_t stack[16], *top = stack;

	for (const int32_t *pc = code;;) {
		switch ((enum op) * pc++) {
		case OP_PUSH: *top++ = *pc++; break;
		case OP_ADD:
			top--;
			top[-1] += top[0];
			break;
		case OP_SUB:
			top--;
			top[-1] -= top[0];
			break;
		case OP_MUL:
			top--;
			top[-1] *= top[0];
			break;
		case OP_XOR:
			top--;
			top[-1] ^= top[0];
			break;
		case OP_LOAD: *top++ = variables[*pc++]; break;
		case OP_STORE: variables[*pc++] = *--top; break;
		case OP_JUMP_IF: pc = *--top ? code + *pc : pc + 1; break;
		case OP_END: return variables[2];
		}
	}
}

static uint64_t int_bytecode(void)
{
	uint32_t variables[4] = {8000000, 1, 0};

	return interpret(loop_code, variables);
}

const struct benchmark integer_benchmarks[] = {
	{"int_qsort", int_qsort},
	{"int_sha256", int_sha256},
	{"int_lz", int_lz},
	{"int_bytecode", int_bytecode},
	{},
};
