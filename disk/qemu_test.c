/*
 * qemu_test.c - images of qemu-img read here, and ours read by qemu-img
 *
 * Skipped where qemu-img is missing. It reads differencing images wrongly (as if the parent were
 * empty), so those are not among them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhd_internal.h"
#include "log.h"

#define BYTES (20 * MIB)

static char folder[64];

static void run(const char *format, ...) PRINTF_LIKE(1, 2);
static void run(const char *format, ...)
{
	char command[512], whole[640];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "cd %s && %s >/dev/null", folder, command);
	if (system(whole))
		fail_msg("%s", whole);
}

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "qemu-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static struct disk *open_disk(const char *name, bool read_only)
{
	struct disk_options options = {.read_only = read_only};
	struct disk_error error;
	struct disk *disk;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (disk_open(path, &options, &disk, &error))
		fail_msg("%s", error.text);
	return disk;
}

/* Here and there, across blocks, and up to the very end. */
static const uint64_t places[] = {0, 2 * MIB - 512, 7 * MIB + 4096, BYTES - 64 * KIB};

static void write_places(const char *name, uint8_t *raw)
{
	struct disk *disk = open_disk(name, false);

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		memset(raw + places[i], 0x60 + i, 64 * KIB);
		assert_int_equal(disk_pwrite(disk, places[i], raw + places[i], 64 * KIB), 0);
	}
	disk_close(disk);
}

static void assert_same(const char *name, const uint8_t *raw)
{
	struct disk *disk = open_disk(name, true);
	uint8_t *found = malloc(BYTES);

	assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
	assert_memory_equal(found, raw, BYTES);
	free(found);
	disk_close(disk);
}

static void write_raw(const char *name, const uint8_t *raw)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_int_equal(fwrite(raw, 1, BYTES, file), BYTES);
	fclose(file);
}

static void qemu_reads_what_was_written_here(void **state)
{
	static const enum disk_format formats[] = {DISK_VHD_FIXED, DISK_VHD_DYNAMIC};
	uint8_t *raw = calloc(1, BYTES);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct disk_create_options options = {.format = formats[i], .bytes = BYTES};
		const char *name = disk_format_name(formats[i]);
		struct disk_error error;
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", folder, name);
		assert_int_equal(disk_create(path, &options, &error), 0);
		write_places(name, raw);
		write_raw("raw", raw);
		run("qemu-img compare -f vpc -F raw %s raw", name);
		run("qemu-img info -f vpc --output=json %s | grep '\"virtual-size\": %llu,'", name,
		    BYTES);
	}
	free(raw);
}

static void what_qemu_wrote_is_read_and_changed_here(void **state)
{
	static const char *const subformats[] = {"fixed", "dynamic"};

	for (size_t i = 0; i < ARRAY_SIZE(subformats); i++) {
		uint8_t *raw = calloc(1, BYTES);

		run("qemu-img create -f vpc -o subformat=%s,force_size=on q.vhd 20M",
		    subformats[i]);
		run("qemu-io -f vpc -c 'write -P 0x5a 1M 300k' -c 'write -P 0x5b 9M 3M' q.vhd");
		memset(raw + MIB, 0x5a, 300 * KIB);
		memset(raw + 9 * MIB, 0x5b, 3 * MIB);
		assert_same("q.vhd", raw);
		write_places("q.vhd", raw);
		assert_same("q.vhd", raw);
		write_raw("raw", raw);
		run("qemu-img compare -f vpc -F raw q.vhd raw");
		run("qemu-io -f vpc -c 'write -P 0x41 15M 1M' q.vhd");
		memset(raw + 15 * MIB, 0x41, MIB);
		assert_same("q.vhd", raw);
		free(raw);
	}
}

/* --- VHDX --- */

static void write_randomly(const char *name, uint8_t *raw, unsigned int count)
{
	struct disk *disk = open_disk(name, false);

	while (count--) {
		uint64_t offset = random() % (BYTES / 4096) * 4096;
		uint64_t some = (1 + random() % 64) * 4096, bytes = MIN(some, BYTES - offset);

		for (uint64_t i = 0; i < bytes; i += sizeof(uint32_t))
			*(uint32_t *)(raw + offset + i) = random();
		assert_int_equal(disk_pwrite(disk, offset, raw + offset, bytes), 0);
	}
	disk_close(disk);
}

static void create_vhdx(const char *name, struct disk_create_options options)
{
	struct disk_error error;
	char path[128];

	options.bytes = BYTES;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (disk_create(path, &options, &error))
		fail_msg("%s", error.text);
}

static void qemu_reads_a_vhdx_that_was_written_here(void **state)
{
	static const struct disk_create_options cases[] = {
		{.format = DISK_VHDX_DYNAMIC},
		{.format = DISK_VHDX_DYNAMIC, .block_bytes = MIB},
		{.format = DISK_VHDX_DYNAMIC, .block_bytes = 16 * MIB},
		{.format = DISK_VHDX_FIXED, .block_bytes = 2 * MIB},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *raw = calloc(1, BYTES);

		create_vhdx("d.vhdx", cases[i]);
		for (int round = 0; round < 3; round++) {
			write_randomly("d.vhdx", raw, 5);
			write_raw("raw", raw);
			run("qemu-img compare -f vhdx -F raw d.vhdx raw");
			run("qemu-img check -f vhdx d.vhdx");
		}
		run("rm d.vhdx");
		free(raw);
	}
}

static void a_vhdx_that_qemu_wrote_is_read_and_changed_here(void **state)
{
	static const char *const options[] = {
		"subformat=dynamic", "subformat=dynamic,block_size=1M",
		"subformat=dynamic,block_state_zero=off", "subformat=fixed,block_size=2M"};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		uint8_t *raw = calloc(1, BYTES);

		run("qemu-img create -f vhdx -o %s q.vhdx 20M", options[i]);
		run("qemu-io -f vhdx -c 'write -P 0x5a 1M 300k' -c 'write -P 0x5b 9M 3M' q.vhdx");
		memset(raw + MIB, 0x5a, 300 * KIB);
		memset(raw + 9 * MIB, 0x5b, 3 * MIB);
		assert_same("q.vhdx", raw);
		write_randomly("q.vhdx", raw, 8);
		assert_same("q.vhdx", raw);
		write_raw("raw", raw);
		run("qemu-img compare -f vhdx -F raw q.vhdx raw");
		run("qemu-io -f vhdx -c 'write -P 0x41 15M 1M' q.vhdx");
		memset(raw + 15 * MIB, 0x41, MIB);
		assert_same("q.vhdx", raw);
		free(raw);
	}
}

/* What a power cut leaves, qemu replays; the pages in their places are spoilt to see that it does.
 */
static void qemu_replays_a_log_that_was_written_here(void **state)
{
	uint8_t *raw = calloc(1, BYTES);
	struct disk *disk;

	create_vhdx("d.vhdx",
		    (struct disk_create_options){.format = DISK_VHDX_DYNAMIC, .block_bytes = MIB});
	disk = open_disk("d.vhdx", false);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		memset(raw + places[i], 0x60 + i, 64 * KIB);
		assert_int_equal(disk_pwrite(disk, places[i], raw + places[i], 64 * KIB), 0);
	}
	assert_int_equal(disk_flush(disk), 0);
	run("cp --sparse=always d.vhdx cut.vhdx");
	disk_close(disk);
	run("dd if=/dev/zero of=cut.vhdx bs=4096 seek=768 count=1 conv=notrunc 2>/dev/null");
	write_raw("raw", raw);
	run("qemu-img check -r all -f vhdx cut.vhdx");
	run("qemu-img compare -f vhdx -F raw cut.vhdx raw");
	assert_same("cut.vhdx", raw);
	free(raw);
}

static void vhdiinfo_understands_a_vhdx_of_ours(void **state)
{
	if (system("vhdiinfo -V >/dev/null 2>&1"))
		skip();
	create_vhdx("p.vhdx", (struct disk_create_options){.format = DISK_VHDX_DYNAMIC});
	run("vhdiinfo p.vhdx | grep -q 'Disk type.*Dynamic'");
	run("vhdiinfo p.vhdx | grep -q 'Media size.*(%llu bytes)'", BYTES);
	create_vhdx("f.vhdx", (struct disk_create_options){.format = DISK_VHDX_FIXED});
	run("vhdiinfo f.vhdx | grep -q 'Disk type.*Fixed'");
}

/* Without force_size qemu rounds the size up to a geometry; both of its sizes say so. */
static void an_image_sized_by_geometry_has_that_size(void **state)
{
	struct disk_info info;
	struct disk *disk;

	run("qemu-img create -f vpc q.vhd 100M");
	disk = open_disk("q.vhd", true);
	disk_get_info(disk, &info);
	assert_int_equal(info.bytes, 104865792);
	assert_int_equal((uint64_t)info.cylinders * info.heads * info.sectors * 512, info.bytes);
	disk_close(disk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(qemu_reads_what_was_written_here),
		TEST(what_qemu_wrote_is_read_and_changed_here),
		TEST(an_image_sized_by_geometry_has_that_size),
		TEST(qemu_reads_a_vhdx_that_was_written_here),
		TEST(a_vhdx_that_qemu_wrote_is_read_and_changed_here),
		TEST(qemu_replays_a_log_that_was_written_here),
		TEST(vhdiinfo_understands_a_vhdx_of_ours),
	};

	if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1")) {
		printf("qemu-img is missing: skipped\n");
		return 77;
	}
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
