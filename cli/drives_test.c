/*
 * drives_test.c - what --disk and --dvd take and refuse
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drives.h"

static void places_and_forms_follow_the_name(void **state)
{
	static const struct {
		const char *text;
		struct vm_drive drive;
	} rows[] = {
		{"a.vhd", {.path = "a.vhd"}},
		{"a.vhd,bus=ide", {.bus = VM_BUS_IDE, .path = "a.vhd"}},
		{"a,readonly,lun=63,controller=3",
		 {.controller = 3, .lun = 63, .read_only = true, .path = "a"}},
		{"a,read-only", {.read_only = true, .path = "a"}},
		{"a,,b,format=raw", {.format = VM_FORMAT_RAW, .path = "a,b"}},
		{"a,,,format=vhd", {.format = VM_FORMAT_VHD, .path = "a,"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_drive drive;
		char reason[128];

		assert_int_equal(drive_parse(rows[i].text, false, NULL, 0, &drive, reason), 0);
		assert_string_equal(drive.path, rows[i].drive.path);
		free((char *)drive.path);
		assert_int_equal(drive.bus, rows[i].drive.bus);
		assert_int_equal(drive.controller, rows[i].drive.controller);
		assert_int_equal(drive.lun, rows[i].drive.lun);
		assert_int_equal(drive.read_only, rows[i].drive.read_only);
		assert_int_equal(drive.format, rows[i].drive.format);
	}
}

static void mistakes_are_refused_with_a_reason(void **state)
{
	static const char *const rows[] = {"",	       ",lun=1",      "a,lun=64",   "a,lun=",
					   "a,lun=x",  "a,bus=sata",  "a,read-only=1", "a,b",
					   "a,format", "a,controller=4", "a,lun=-1", "a,",
					   "a,bus=ide,lun=2", "a,bus=ide,controller=2"};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_drive drive;
		char reason[128] = "";

		assert_int_equal(drive_parse(rows[i], false, NULL, 0, &drive, reason), -EINVAL);
		assert_true(*reason);
	}
}

static void drives_without_a_place_take_the_first_free_one(void **state)
{
	struct vm_drive drives[5];
	static const struct {
		unsigned int controller, lun;
	} ide[] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
	char reason[128];

	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(drive_parse("a,bus=ide", false, drives, i, &drives[i], reason), 0);
		assert_int_equal(drives[i].controller, ide[i].controller);
		assert_int_equal(drives[i].lun, ide[i].lun);
	}
	assert_int_equal(drive_parse("a,bus=ide", false, drives, 4, &drives[4], reason), -EINVAL);
	assert_int_equal(drive_parse("a,bus=ide,lun=1", false, drives, 4, &drives[4], reason),
			 -EINVAL);
	assert_int_equal(drive_parse("b,bus=ide", true, NULL, 0, &drives[4], reason), -EINVAL);
	assert_int_equal(drive_parse("b", true, drives, 4, &drives[4], reason), 0);
	assert_int_equal(drives[4].lun, 0);
	assert_true(drives[4].dvd);
	for (unsigned int i = 0; i < 5; i++)
		free((char *)drives[i].path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_and_forms_follow_the_name),
		cmocka_unit_test(mistakes_are_refused_with_a_reason),
		cmocka_unit_test(drives_without_a_place_take_the_first_free_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
