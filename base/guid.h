/*
 * guid.h - GUIDs as they lie on the wire: three little-endian fields, then eight bytes
 *
 * Pure functions; any thread.
 */
#ifndef BASE_GUID_H
#define BASE_GUID_H

#include "base.h"

struct guid {
	uint8_t bytes[16];
};

/* GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f) as initialiser */
#define GUID(a, b, c, ...)                                                                         \
	{                                                                                          \
		{                                                                                  \
			(a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (uint32_t)(a) >> 24,          \
				(b)&0xff, (b) >> 8, (c)&0xff, (c) >> 8, __VA_ARGS__                \
		}                                                                                  \
	}

static inline bool guid_equal(const struct guid *a, const struct guid *b)
{
	return !__builtin_memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* guid_format() - "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", lower case */
#define GUID_TEXT_BYTES 37
const char *guid_format(const struct guid *guid, char text[GUID_TEXT_BYTES]);

/* guid_parse() - that form, either case, optionally in braces; -EINVAL for anything else */
int guid_parse(const char *text, struct guid *ret_guid);

/* guid_random() - version 4, from getrandom(2) */
void guid_random(struct guid *ret_guid);

#endif
