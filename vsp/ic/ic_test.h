/*
 * ic_test.h - what the tests of the integration services share: cmocka, and who notes results
 */
#ifndef VSP_IC_IC_TEST_H
#define VSP_IC_IC_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "utf16.h"

#define SECOND NANOSECONDS

/* How a call ended. */
struct outcome {
	unsigned int count; /* of callbacks that end a call: 1 is right */
	int result;
	char text[256];
	/* Pairs before the end: */
	unsigned int pairs;
	char keys[16][800], values[16][3100];
};

static inline void note_done(void *ctx, int result, const char *text)
{
	struct outcome *outcome = ctx;

	outcome->count++;
	outcome->result = result;
	snprintf(outcome->text, sizeof(outcome->text), "%s", text);
}

static inline void note_pair(void *ctx, int result, const char *key, const char *value)
{
	struct outcome *outcome = ctx;

	if (!key) {
		note_done(ctx, result, value);
		return;
	}
	assert_int_equal(result, 0);
	if (outcome->pairs < ARRAY_SIZE(outcome->keys)) {
		snprintf(outcome->keys[outcome->pairs], sizeof(outcome->keys[0]), "%s", key);
		snprintf(outcome->values[outcome->pairs], sizeof(outcome->values[0]), "%s", value);
	}
	outcome->pairs++;
}

/* The call has ended once, with @result. */
#define assert_ended(outcome, expected)                                                            \
	do {                                                                                       \
		assert_int_equal((outcome)->count, 1);                                             \
		assert_int_equal((outcome)->result, expected);                                     \
		(outcome)->count = 0;                                                              \
	} while (0)

/* The host's next packet; there must be one, and no other after it. */
static inline struct fixture_packet take_only(enum ic_service service)
{
	struct fixture_packet packet, second;

	assert_true(fixture_take(service, &packet));
	assert_false(fixture_take(service, &second));
	return packet;
}

static inline void assert_silent(enum ic_service service)
{
	struct fixture_packet packet;

	assert_false(fixture_take(service, &packet));
}

#endif
