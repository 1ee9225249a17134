/*
 * decode_fuzz.c - hostile bytes for the decoder
 *
 * The first byte chooses the mode, the rest is code. Besides not reading past the end (the
 * sanitizer watches), the decoder must find the same instruction however many bytes follow it, and
 * must call every beginning of it truncated.
 */
#include <stdlib.h>
#include <string.h>

#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In an exact allocation, so that one byte too many is seen. */
static enum decode_status decode_exactly(const uint8_t *code, size_t bytes, int mode,
					 struct insn *ret_insn)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);
	enum decode_status status;

	if (!copy)
		abort();
	memcpy(copy, code, bytes);
	status = decode(copy, bytes, mode, ret_insn);
	free(copy);
	return status;
}

static void require(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct insn insn, again;
	enum decode_status status;
	int mode;

	if (size == 0)
		return 0;
	mode = data[0] % 3;
	data++;
	size--;
	status = decode_exactly(data, size, mode, &insn);
	if (status == DECODE_TRUNCATED)
		require(size < 15);
	if (status != DECODE_OK)
		return 0;
	require(insn.length > 0 && insn.length <= 15 && insn.length <= size && insn.name);
	require(decode_exactly(data, insn.length, mode, &again) == DECODE_OK);
	require(memcmp(&insn, &again, sizeof(insn)) == 0);
	for (size_t part = 0; part < insn.length; part++)
		require(decode_exactly(data, part, mode, &again) == DECODE_TRUNCATED);
	return 0;
}
