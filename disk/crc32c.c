/*
 * crc32c.c - by the processor's own instruction where it has one, else by a table
 */
#include "crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u

static uint32_t table[256];

__attribute__((constructor)) static void fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? POLYNOMIAL : 0);
	}
}

static uint32_t add_by_table(uint32_t crc, const uint8_t *bytes, size_t count)
{
	while (count--)
		crc = crc >> 8 ^ table[(uint8_t)crc ^ *bytes++];
	return crc;
}

__attribute__((target("sse4.2"))) static uint32_t
add_by_instruction(uint32_t crc, const uint8_t *bytes, size_t count)
{
	uint64_t word, sum = crc;

	for (; count >= sizeof(word); bytes += sizeof(word), count -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		sum = __builtin_ia32_crc32di(sum, word);
	}
	return add_by_table(sum, bytes, count);
}

static uint32_t add(uint32_t crc, const uint8_t *bytes, size_t count)
{
	return __builtin_cpu_supports("sse4.2") ? add_by_instruction(crc, bytes, count)
						: add_by_table(crc, bytes, count);
}

uint32_t crc32c_with_hole(const void *bytes, size_t count, size_t hole)
{
	static const uint8_t zeros[4];
	const uint8_t *at = bytes;
	uint32_t crc = add(UINT32_MAX, at, hole);

	crc = add(crc, zeros, sizeof(zeros));
	hole += sizeof(zeros);
	return ~add(crc, at + hole, count - hole);
}
