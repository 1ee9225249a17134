/*
 * zeros.c - are these bytes all zero?
 *
 * Data usually says no within its first bytes, so they are looked at by themselves. Then 128 bytes
 * a turn, as vectors that any x86-64 has: faster than the cache delivers them.
 */
#include <string.h>

#include "disk_operations.h"

typedef uint64_t vector __attribute__((vector_size(16), aligned(1), may_alias));

#define VECTORS_A_TURN 8

static bool few_are_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static bool turn_is_zero(const vector *at)
{
	vector sum = (at[0] | at[1]) | (at[2] | at[3]);

	sum |= (at[4] | at[5]) | (at[6] | at[7]);
	return !(sum[0] | sum[1]);
}

bool bytes_are_zero(const void *bytes, size_t count)
{
	const size_t turn = sizeof(vector) * VECTORS_A_TURN;
	const uint8_t *at = bytes;

	if (!few_are_zero(at, MIN(count, 8)))
		return false;
	for (; count >= turn; at += turn, count -= turn) {
		if (!turn_is_zero((const vector *)at))
			return false;
	}
	return few_are_zero(at, count);
}
