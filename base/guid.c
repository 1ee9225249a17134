/*
 * guid.c - GUIDs as text and from random bytes
 *
 * The text shows the first three fields as numbers, so their bytes stand in reverse; the table
 * names the wire byte of each pair of digits.
 */
#include "guid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define DIGITS_BYTES 36 /* 32 digits and 4 dashes */

static const uint8_t wire_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

/* A dash stands before the bytes 4, 6, 8 and 10 of the text. */
static bool dash_before(unsigned int i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

const char *guid_format(const struct guid *guid, char text[GUID_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	char *at = text;

	for (unsigned int i = 0; i < 16; i++) {
		uint8_t byte = guid->bytes[wire_order[i]];

		if (dash_before(i))
			*at++ = '-';
		*at++ = digits[byte >> 4];
		*at++ = digits[byte & 15];
	}
	*at = 0;
	return text;
}

/* Locale plays no part, unlike with isxdigit(). Returns -1 for what is no digit. */
static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* @text has at least DIGITS_BYTES characters. */
static int parse_digits(const char *text, struct guid *ret_guid)
{
	struct guid guid;

	for (unsigned int i = 0; i < 16; i++) {
		int high, low;

		if (dash_before(i) && *text++ != '-')
			return -EINVAL;
		high = digit_value(*text++);
		low = digit_value(*text++);
		if (high < 0 || low < 0)
			return -EINVAL;
		guid.bytes[wire_order[i]] = (uint8_t)(high << 4 | low);
	}
	*ret_guid = guid;
	return 0;
}

int guid_parse(const char *text, struct guid *ret_guid)
{
	size_t length = strlen(text);

	if (length == DIGITS_BYTES + 2 && text[0] == '{' && text[length - 1] == '}')
		return parse_digits(text + 1, ret_guid);
	return length == DIGITS_BYTES ? parse_digits(text, ret_guid) : -EINVAL;
}

void guid_random(struct guid *ret_guid)
{
	/* Requests of up to 256 bytes are never cut short; EINTR can come only before the first
	 * bytes. */
	while (getrandom(ret_guid->bytes, sizeof(ret_guid->bytes), 0) < 0 && errno == EINTR)
		;
	ret_guid->bytes[7] = (ret_guid->bytes[7] & 0x0f) | 0x40; /* version 4 */
	ret_guid->bytes[8] = (ret_guid->bytes[8] & 0x3f) | 0x80; /* the usual variant */
}
