/*
 * fuzz_input.h - a fuzz target's input as a list of numbers; what lies beyond its end is zero
 */
#ifndef BASE_FUZZ_INPUT_H
#define BASE_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* The next @bytes, 8 at most, the most significant first. */
static inline uint64_t take(struct input *input, size_t bytes)
{
	uint64_t value = 0;

	while (bytes-- && input->left) {
		value = value << 8 | *input->at++;
		input->left--;
	}
	return value;
}

#endif
