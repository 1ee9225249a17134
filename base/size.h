/*
 * size.h - sizes and numbers as a user types them, with every overflow checked
 *
 * Pure functions; any thread.
 */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include "base.h"

/*
 * size_parse() - "512M" to bytes: decimal digits and at most one of K, M, G, T (either case)
 * The factors are powers of 1024; no suffix means bytes. No sign, no blanks, no fraction.
 * Returns: 0; -EINVAL when @text is not of that form; -ERANGE when it does not fit 64 bits.
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* size_format() - the shortest exact form that size_parse() accepts, in @text. */
#define SIZE_TEXT_BYTES 24
const char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES]);

/*
 * number_parse() - decimal, or hexadecimal after 0x; the whole text, no sign
 * Returns: 0; -EINVAL; -ERANGE when outside [@min, @max].
 */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

#endif
