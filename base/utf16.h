/*
 * utf16.h - text between our UTF-8 and the UTF-16LE of protocols and file formats
 *
 * Pure functions; any thread. The UTF-16 side is bytes, of any alignment.
 */
#ifndef BASE_UTF16_H
#define BASE_UTF16_H

#include "base.h"

/*
 * utf16_from_utf8() - convert @text with its NUL into the @capacity code units at @ret_units
 * What is left of them becomes zero.
 * Returns: the number of units before the NUL; -EILSEQ: not UTF-8 (surrogates and overlong forms
 * are not either); -E2BIG: no room. After an error nothing was written.
 */
int utf16_from_utf8(const char *text, void *ret_units, size_t capacity);

/*
 * utf16_to_utf8() - convert up to @count code units at @units, or to the first NUL
 * @size: bytes at @ret_text, at least 1. The result always ends with a NUL and is cut between two
 * characters when there is no room; UTF16_TO_UTF8_BYTES(@count) is always enough.
 * A surrogate without its partner becomes U+FFFD: what a guest says may be wrong, but is shown.
 * Returns: the number of bytes before the NUL.
 */
size_t utf16_to_utf8(const void *units, size_t count, char *ret_text, size_t size);
#define UTF16_TO_UTF8_BYTES(count) (3 * (size_t)(count) + 1)

#endif
