/*
 * utf16.c - see utf16.h
 *
 * Both ways go through one code point at a time. Only utf16_from_utf8() can refuse, and it measures
 * before it writes.
 */
#include "utf16.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define REPLACEMENT 0xfffdu

static bool is_surrogate(uint32_t code)
{
	return code >= 0xd800 && code < 0xe000;
}

/* The code point at *text, which moves behind it; -EILSEQ. */
static int32_t utf8_next(const char **text)
{
	static const struct {
		uint8_t mask, lead;
		int more;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0, 0x0},
		{0xe0, 0xc0, 1, 0x80},
		{0xf0, 0xe0, 2, 0x800},
		{0xf8, 0xf0, 3, 0x10000},
	};
	const uint8_t *at = (const uint8_t *)*text;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		uint32_t code = *at & (uint8_t)~forms[i].mask;

		if ((*at & forms[i].mask) != forms[i].lead)
			continue;
		/* The text's NUL is no continuation byte, so this stops there. */
		for (int k = 1; k <= forms[i].more; k++) {
			if ((at[k] & 0xc0) != 0x80)
				return -EILSEQ;
			code = code << 6 | (at[k] & 0x3f);
		}
		if (code < forms[i].least || code > 0x10ffff || is_surrogate(code))
			return -EILSEQ;
		*text += 1 + forms[i].more;
		return (int32_t)code;
	}
	return -EILSEQ;
}

/* Returns the units of @text without its NUL; -EILSEQ; -E2BIG. */
static int utf16_measure(const char *text, size_t capacity)
{
	size_t units = 0;

	while (*text) {
		int32_t code = utf8_next(&text);

		if (code < 0)
			return code;
		units += code < 0x10000 ? 1 : 2;
		if (units >= capacity || units >= INT_MAX)
			return -E2BIG;
	}
	return capacity ? (int)units : -E2BIG;
}

static uint8_t *put_unit(uint8_t *to, uint32_t unit)
{
	*to++ = unit & 0xff;
	*to++ = unit >> 8 & 0xff;
	return to;
}

int utf16_from_utf8(const char *text, void *ret_units, size_t capacity)
{
	int units = utf16_measure(text, capacity);
	uint8_t *to = ret_units;

	if (units < 0)
		return units;
	memset(ret_units, 0, 2 * capacity);
	while (*text) {
		uint32_t code = (uint32_t)utf8_next(&text);

		if (code < 0x10000) {
			to = put_unit(to, code);
		} else {
			to = put_unit(to, 0xd800 + ((code - 0x10000) >> 10));
			to = put_unit(to, 0xdc00 + ((code - 0x10000) & 0x3ff));
		}
	}
	return units;
}

static uint32_t unit_at(const uint8_t *units, size_t index)
{
	return (uint32_t)(units[2 * index] | units[2 * index + 1] << 8);
}

/* The code point at *index, which moves behind it. */
static uint32_t utf16_next(const uint8_t *units, size_t count, size_t *index)
{
	uint32_t high = unit_at(units, (*index)++), low;

	if (!is_surrogate(high))
		return high;
	if (high >= 0xdc00 || *index == count)
		return REPLACEMENT;
	low = unit_at(units, *index);
	if (low < 0xdc00 || low >= 0xe000)
		return REPLACEMENT;
	(*index)++;
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* Returns the number of bytes. */
static size_t utf8_encode(uint32_t code, char bytes[4])
{
	static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = length; i-- > 1; code >>= 6)
		bytes[i] = (char)(0x80 | (code & 0x3f));
	bytes[0] = (char)(leads[length] | code);
	return length;
}

size_t utf16_to_utf8(const void *units, size_t count, char *ret_text, size_t size)
{
	size_t index = 0, used = 0;

	while (index < count) {
		uint32_t code = utf16_next(units, count, &index);
		char bytes[4];
		size_t length;

		if (!code)
			break;
		length = utf8_encode(code, bytes);
		if (used + length >= size)
			break;
		memcpy(ret_text + used, bytes, length);
		used += length;
	}
	ret_text[used] = 0;
	return used;
}
