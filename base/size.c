/*
 * size.c - digits first, then the suffix; strtoull() is avoided since it takes signs and blanks
 */
#include "size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
	char letter;
	unsigned int shift;
} suffixes[] = {
	{'T', 40},
	{'G', 30},
	{'M', 20},
	{'K', 10},
};

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return 99;
}

/* Returns the first character that is no digit of @base, or NULL on overflow. */
static const char *parse_digits(const char *text, unsigned int base, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (; digit_value(*text) < (int)base; text++) {
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit_value(*text), &value))
			return NULL;
	}
	*ret_value = value;
	return text;
}

static int suffix_shift(const char *suffix)
{
	if (!*suffix)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if ((*suffix & ~0x20) == suffixes[i].letter && !suffix[1])
			return suffixes[i].shift;
	}
	return -EINVAL;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	const char *end;
	uint64_t value;
	int shift;

	if (digit_value(*text) > 9)
		return -EINVAL;
	end = parse_digits(text, 10, &value);
	if (!end)
		return -ERANGE;
	shift = suffix_shift(end);
	if (shift < 0)
		return shift;
	if (value << shift >> shift != value)
		return -ERANGE;
	*ret_bytes = value << shift;
	return 0;
}

const char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES])
{
	for (size_t i = 0; bytes && i < ARRAY_SIZE(suffixes); i++) {
		if (bytes & (BIT(suffixes[i].shift) - 1))
			continue;
		snprintf(text, SIZE_TEXT_BYTES, "%" PRIu64 "%c", bytes >> suffixes[i].shift,
			 suffixes[i].letter);
		return text;
	}
	snprintf(text, SIZE_TEXT_BYTES, "%" PRIu64, bytes);
	return text;
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	unsigned int base = strncasecmp(text, "0x", 2) ? 10 : 16;
	const char *end;
	uint64_t value;

	if (base == 16)
		text += 2;
	if (digit_value(*text) >= (int)base)
		return -EINVAL;
	end = parse_digits(text, base, &value);
	if (end && *end)
		return -EINVAL;
	if (!end || value < min || value > max)
		return -ERANGE;
	*ret_value = value;
	return 0;
}
