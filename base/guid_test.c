/*
 * guid_test.c - GUIDs between text and wire bytes
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guid.h"

static const struct guid scsi =
	GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f);

static void the_first_three_fields_are_little_endian_on_the_wire(void **state)
{
	static const uint8_t wire[16] = {0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d,
					 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f};
	char text[GUID_TEXT_BYTES];

	assert_memory_equal(scsi.bytes, wire, 16);
	assert_string_equal(guid_format(&scsi, text), "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
}

static void only_the_usual_form_is_parsed(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", 0},
		{"BA6163D9-04A1-4d29-B605-72E2FFB1DC7F", 0},
		{"{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}", 0},
		{"", -EINVAL},
		{"{}", -EINVAL},
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7", -EINVAL},
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7f0", -EINVAL},
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7g", -EINVAL},
		{"ba6163d904a1-4d29-b605-72e2ffb1dc7f-", -EINVAL},
		{"{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", -EINVAL},
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}", -EINVAL},
		{"{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f)", -EINVAL},
		{" a6163d9-04a1-4d29-b605-72e2ffb1dc7f", -EINVAL},
		{"-ba6163d-04a1-4d29-b605-72e2ffb1dc7f", -EINVAL},
		{"ba6163d9_04a1-4d29-b605-72e2ffb1dc7f", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guid guid = {};
		static const struct guid none;

		if (guid_parse(rows[i].text, &guid) != rows[i].result)
			fail_msg("\"%s\" gave the other answer", rows[i].text);
		assert_true(guid_equal(&guid, rows[i].result ? &none : &scsi));
	}
}

static void random_ones_are_version_4_and_differ(void **state)
{
	struct guid first, second;

	guid_random(&first);
	guid_random(&second);
	assert_false(guid_equal(&first, &second));
	assert_int_equal(first.bytes[7] >> 4, 4);
	assert_int_equal(first.bytes[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_three_fields_are_little_endian_on_the_wire),
		cmocka_unit_test(only_the_usual_form_is_parsed),
		cmocka_unit_test(random_ones_are_version_4_and_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
