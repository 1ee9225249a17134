/*
 * utf16_test.c - conversion of good and bad text, and of text that does not fit
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "utf16.h"

static void good_text_converts_there_and_back(void **state)
{
	static const struct {
		const char *text;
		int count;
		uint16_t units[8];
	} cases[] = {
		{"", 0, {0}},
		{"Aa~", 3, {'A', 'a', '~'}},
		{"\x7f\xc2\x80", 2, {0x7f, 0x80}},
		{"\xdf\xbf\xe0\xa0\x80", 2, {0x7ff, 0x800}},
		{"\xed\x9f\xbf\xee\x80\x80", 2, {0xd7ff, 0xe000}},
		{"\xef\xbf\xbf", 1, {0xffff}},
		{"\xf0\x90\x80\x80", 2, {0xd800, 0xdc00}},
		{"\xf0\x9f\x98\x80!", 3, {0xd83d, 0xde00, '!'}},
		{"\xf4\x8f\xbf\xbf", 2, {0xdbff, 0xdfff}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[2 * 8 + 1]; /* odd on purpose */
		char text[UTF16_TO_UTF8_BYTES(8)];

		memset(bytes, 0xaa, sizeof(bytes));
		assert_int_equal(utf16_from_utf8(cases[i].text, bytes + 1, 8), cases[i].count);
		assert_memory_equal(bytes + 1, cases[i].units, 16);
		assert_int_equal(utf16_to_utf8(bytes + 1, 8, text, sizeof(text)),
				 strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void text_that_is_not_utf8_is_refused_and_nothing_written(void **state)
{
	static const char *const cases[] = {
		"\x80",			/* a continuation first */
		"a\xc2",		/* cut */
		"\xe2\x82",		/* cut */
		"\xf0\x9f\x98",		/* cut */
		"\xc2z",		/* no continuation */
		"\xc0\x80",		/* overlong NUL */
		"\xc1\xbf",		/* overlong */
		"\xe0\x9f\xbf",		/* overlong */
		"\xf0\x8f\xbf\xbf",	/* overlong */
		"\xed\xa0\x80",		/* surrogate */
		"\xed\xbf\xbf",		/* surrogate */
		"\xf4\x90\x80\x80",	/* past the last */
		"\xf8\x88\x80\x80\x80", /* five bytes */
		"\xff",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[16];

		memset(bytes, 0xaa, sizeof(bytes));
		assert_int_equal(utf16_from_utf8(cases[i], bytes, 8), -EILSEQ);
		assert_int_equal(bytes[0], 0xaa);
	}
}

static void text_needs_room_for_its_nul(void **state)
{
	static const struct {
		const char *text;
		size_t capacity;
		int result;
	} cases[] = {
		{"", 0, -E2BIG},
		{"", 1, 0},
		{"ab", 2, -E2BIG},
		{"ab", 3, 2},
		{"abc", 3, -E2BIG},
		{"\xf0\x9f\x98\x80", 2, -E2BIG},
		{"\xf0\x9f\x98\x80", 3, 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint16_t units[4] = {0xaaaa, 0xaaaa, 0xaaaa, 0xaaaa};

		assert_int_equal(utf16_from_utf8(cases[i].text, units, cases[i].capacity),
				 cases[i].result);
		assert_int_equal(units[cases[i].capacity], 0xaaaa);
	}
}

static void what_a_guest_says_is_shown_whatever_it_is(void **state)
{
	static const struct {
		uint16_t units[4];
		size_t count;
		const char *text;
	} cases[] = {
		{{'a', 'b', 0, 'c'}, 4, "ab"},
		{{'a', 'b', 'c', 'd'}, 4, "abcd"},
		{{'a', 'b', 'c', 'd'}, 0, ""},
		{{0xd83d, 'x'}, 2, "\xef\xbf\xbdx"},
		{{0xd83d, 0xd83d, 0xde00}, 3, "\xef\xbf\xbd\xf0\x9f\x98\x80"},
		{{0xde00, 'x'}, 2, "\xef\xbf\xbdx"},
		{{'x', 0xd83d, 0xde00}, 2, "x\xef\xbf\xbd"}, /* its partner is past the end */
		{{0xd83d, 0, 'x'}, 3, "\xef\xbf\xbd"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[UTF16_TO_UTF8_BYTES(4)];

		assert_int_equal(utf16_to_utf8(cases[i].units, cases[i].count, text, sizeof(text)),
				 strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void text_is_cut_between_characters(void **state)
{
	static const uint16_t units[] = {'a', 0xe9, 0x20ac, 0xd83d, 0xde00, 'z'};
	static const char whole[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
	static const size_t kept[] = {0, 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11}; /* by size */

	for (size_t size = 1; size < ARRAY_SIZE(kept); size++) {
		char text[16];

		memset(text, 'x', sizeof(text));
		assert_int_equal(utf16_to_utf8(units, ARRAY_SIZE(units), text, size), kept[size]);
		assert_memory_equal(text, whole, kept[size]);
		assert_int_equal(text[kept[size]], 0);
		assert_int_equal(text[size], 'x');
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_text_converts_there_and_back),
		cmocka_unit_test(text_that_is_not_utf8_is_refused_and_nothing_written),
		cmocka_unit_test(text_needs_room_for_its_nul),
		cmocka_unit_test(what_a_guest_says_is_shown_whatever_it_is),
		cmocka_unit_test(text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
