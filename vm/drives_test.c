/*
 * drives_test.c - the list of drives, without a machine
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "drives.h"

#define DRIVES 3

struct fixture {
	struct drives *drives;
	char folder[32], paths[DRIVES][64];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct vm_error error;

	strcpy(fixture->folder, "/tmp/drives-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	assert_int_equal(drives_new(&fixture->drives), 0);
	for (unsigned int i = 0; i < DRIVES; i++) {
		const struct vm_drive drive = {.bus = VM_BUS_SCSI,
					       .lun = i,
					       .path = fixture->paths[i],
					       .format = VM_FORMAT_RAW};
		FILE *file;

		snprintf(fixture->paths[i], sizeof(fixture->paths[i]), "%s/%u", fixture->folder, i);
		file = fopen(fixture->paths[i], "w");
		assert_non_null(file);
		assert_int_equal(ftruncate(fileno(file), 4096), 0);
		fclose(file);
		assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), 0);
	}
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	drives_free(fixture->drives);
	for (unsigned int i = 0; i < DRIVES; i++)
		unlink(fixture->paths[i]);
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static void some_drive_is_full_until_all_have_room(void **state)
{
	struct fixture *fixture = *state;
	struct drives *drives = fixture->drives;

	assert_null(drives_full_path(drives));
	drives_set_full(drives, fixture->paths[2], true);
	drives_set_full(drives, fixture->paths[1], true);
	drives_set_full(drives, fixture->paths[2], false);
	assert_string_equal(drives_full_path(drives), fixture->paths[1]);
	drives_set_full(drives, "/no/drive/of/ours", true);
	drives_set_full(drives, fixture->paths[1], false);
	assert_null(drives_full_path(drives));
}

static void the_next_machine_starts_with_room(void **state)
{
	struct fixture *fixture = *state;

	drives_set_full(fixture->drives, fixture->paths[0], true);
	drives_machine_gone(fixture->drives);
	assert_null(drives_full_path(fixture->drives));
}

static void an_image_has_one_writer(void **state)
{
	struct fixture *fixture = *state;
	const struct vm_drive again = {
		.bus = VM_BUS_SCSI, .lun = 9, .path = fixture->paths[0], .format = VM_FORMAT_RAW};
	struct vm_error error;

	assert_int_equal(drives_add(fixture->drives, &again, NULL, &error), -EAGAIN);
	assert_non_null(strstr(error.text, fixture->paths[0]));
	assert_non_null(strstr(error.text, "in use"));
	assert_non_null(strstr(error.text, "end that first"));
}

static void a_vhd_with_another_name_is_refused(void **state)
{
	struct fixture *fixture = *state;
	const struct disk_create_options options = {.format = DISK_VHD_DYNAMIC, .bytes = 1 << 20};
	struct vm_drive drive = {.bus = VM_BUS_SCSI, .lun = 9, .format = VM_FORMAT_AUTO};
	struct disk_error why;
	struct vm_error error;
	char path[64];

	snprintf(path, sizeof(path), "%s/named.img", fixture->folder);
	drive.path = path;
	assert_int_equal(disk_create(path, &options, &why), 0);
	assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), -EINVAL);
	assert_non_null(strstr(error.text, "say format=vhd or format=raw"));
	drive.format = VM_FORMAT_VHDX;
	assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), -EINVAL);
	assert_non_null(strstr(error.text, "a vhd image, not vhdx; say format=vhd"));
	drive.format = VM_FORMAT_VHD;
	assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), 0);
	unlink(path);
}

static void a_dvd_has_whole_sectors_and_a_disk_is_filled_up(void **state)
{
	struct fixture *fixture = *state;
	struct vm_drive drive = {.bus = VM_BUS_SCSI, .lun = 9, .dvd = true};
	struct vm_error error;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/partial", fixture->folder);
	drive.path = path;
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), 4096 + 100), 0);
	fclose(file);
	assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), -EINVAL);
	assert_non_null(strstr(error.text, "4196 bytes are no whole number of 2048-byte sectors"));
	assert_non_null(strstr(error.text, "truncate -s %2048"));
	drive.dvd = false;
	drive.format = VM_FORMAT_RAW;
	assert_int_equal(drives_add(fixture->drives, &drive, NULL, &error), 0);
	unlink(path);
}

static void only_a_dvd_drive_changes_its_medium(void **state)
{
	struct fixture *fixture = *state;
	const struct vm_drive disk = {.bus = VM_BUS_SCSI, .lun = 1}, nothing = {.lun = 40};
	struct vm_error error;

	assert_int_equal(drives_change_medium(fixture->drives, &disk, NULL, NULL, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is a disk"));
	assert_int_equal(drives_change_medium(fixture->drives, &nothing, NULL, NULL, &error),
			 -ENOENT);
	assert_string_equal(error.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(some_drive_is_full_until_all_have_room, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_next_machine_starts_with_room, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(an_image_has_one_writer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_dvd_has_whole_sectors_and_a_disk_is_filled_up,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_a_dvd_drive_changes_its_medium, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_vhd_with_another_name_is_refused, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("vm/drives", tests, NULL, NULL);
}
