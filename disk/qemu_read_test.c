/*
 * qemu_read_test.c - VMDK and qcow2 images of qemu-img, read here byte by byte
 *
 * Skipped where qemu-img is missing. What an image should contain is the raw file it was made from,
 * or what qemu-img reads from it.
 */
#include <errno.h>

#include "image_fixture.h"
#include "log.h"

#define RAW_BYTES (20 * MIB + 3 * 512)

/* Random bytes, bytes that compress well, and nothing, in runs of all lengths. */
static void write_raw(const char *name, uint64_t bytes)
{
	static uint8_t data[256 * KIB];

	fixture_truncate(name, bytes);
	for (uint64_t at = 0, part; at < bytes; at += part) {
		uint64_t some = (1 + random() % (random() % 4 ? 64 : 512)) * 512;
		unsigned int kind = random() % 3;

		part = MIN(some, bytes - at);
		for (size_t i = 0; i < part; i++)
			data[i] = kind == 1 ? random() : i / 700;
		if (kind)
			fixture_write(name, at, data, part);
	}
}

static void convert(const char *options)
{
	fixture_run("rm -f image*; qemu-img convert -f raw %s raw image", options);
}

/* --- VMDK --- */

static void every_vmdk_subformat_reads_as_it_was_written(void **state)
{
	static const char *const options[] = {
		"-O vmdk -o subformat=monolithicSparse",
		"-O vmdk -o subformat=monolithicFlat",
		"-O vmdk -o subformat=twoGbMaxExtentSparse",
		"-O vmdk -o subformat=twoGbMaxExtentFlat",
		"-O vmdk -o subformat=streamOptimized",
		"-O vmdk -o subformat=monolithicSparse,zeroed_grain=on",
		"-O vmdk -o subformat=monolithicSparse,adapter_type=lsilogic,compat6=on",
	};

	write_raw("raw", RAW_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		convert(options[i]);
		fixture_compare("image", "raw");
	}
}

static void write_here_and_there(const char *name, uint64_t bytes)
{
	static const uint64_t places[] = {0, 2 * GIB - MIB, 2 * GIB + 5 * MIB, 4 * GIB - 64 * KIB};
	static uint8_t data[2 * MIB];

	fixture_truncate(name, bytes);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t part = MIN(sizeof(data), bytes - places[i]);

		for (size_t j = 0; j < part; j++)
			data[j] = random();
		fixture_write(name, places[i], data, part);
	}
}

/* Not all of 4 GiB, byte by byte: where data and the borders of extents are. */
static void assert_same_around(const char *name, const char *raw, uint64_t middle)
{
	static uint8_t found[4 * MIB], truth[sizeof(found)];
	struct disk *disk = fixture_open_well(name);
	uint64_t start = middle < sizeof(found) / 2 ? 0 : middle - sizeof(found) / 2;
	struct disk_info info;

	disk_get_info(disk, &info);
	start = MIN(start, info.bytes - sizeof(found));
	assert_int_equal(disk_pread(disk, start, found, sizeof(found)), 0);
	fixture_read(raw, start, truth, sizeof(truth));
	assert_memory_equal(found, truth, sizeof(found));
	disk_close(disk);
}

static void split_disks_are_put_together(void **state)
{
	static const char *const options[] = {"-O vmdk -o subformat=twoGbMaxExtentSparse",
					      "-O vmdk -o subformat=twoGbMaxExtentFlat"};
	static const uint64_t places[] = {0, 2 * GIB, 4 * GIB, 4 * GIB + MIB};

	write_here_and_there("raw", 4 * GIB + MIB);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		convert(options[i]);
		for (size_t j = 0; j < ARRAY_SIZE(places); j++)
			assert_same_around("image", "raw", places[j]);
	}
}

/* qemu-img names the parent's file as it was told, and its CID. */
static void a_snapshot_is_read_through_to_its_parent(void **state)
{
	write_raw("raw", RAW_BYTES);
	fixture_run("qemu-img convert -f raw -O vmdk raw base.vmdk && "
		    "qemu-img create -f vmdk -o zeroed_grain=on -b base.vmdk -F vmdk child.vmdk && "
		    "qemu-io -f vmdk -c 'write -P 7 1M 300k' -c 'write -z 4M 1M' child.vmdk && "
		    "qemu-img convert -f vmdk -O raw child.vmdk truth");
	fixture_compare("child.vmdk", "truth");
	fixture_run("qemu-io -f vmdk -c 'write -P 9 0 64k' base.vmdk");
	fixture_refuse("child.vmdk", -ESTALE);
}

/* --- qcow2 --- */

static const char *const qcow2_options[] = {
	"-O qcow2 -o compat=0.10",
	"-O qcow2 -o compat=0.10,cluster_size=512",
	"-O qcow2 -o compat=1.1,cluster_size=512",
	"-O qcow2 -o compat=1.1,cluster_size=4096",
	"-O qcow2 -o compat=1.1,cluster_size=65536",
	"-O qcow2 -o compat=1.1,cluster_size=2M",
	"-O qcow2 -o compat=1.1,extended_l2=on,cluster_size=16k",
	"-O qcow2 -o compat=1.1,extended_l2=on,cluster_size=128k",
	"-O qcow2 -o compat=1.1,preallocation=metadata",
	"-O qcow2 -o compat=1.1,lazy_refcounts=on,refcount_bits=64",
	"-c -O qcow2 -o compat=0.10",
	"-c -O qcow2 -o compat=1.1,cluster_size=512",
	"-c -O qcow2 -o compat=1.1,cluster_size=4096",
	"-c -O qcow2 -o compat=1.1",
	"-c -O qcow2 -o compat=1.1,cluster_size=2M",
	"-c -O qcow2 -o compat=1.1,extended_l2=on",
	"-c -O qcow2 -o compat=1.1,compression_type=zstd,cluster_size=4096",
	"-c -O qcow2 -o compat=1.1,compression_type=zstd",
	"-c -O qcow2 -o compat=1.1,compression_type=zstd,cluster_size=2M",
};

static void every_kind_of_qcow2_reads_as_it_was_written(void **state)
{
	write_raw("raw", RAW_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(qcow2_options); i++) {
		convert(qcow2_options[i]);
		fixture_compare("image", "raw");
	}
}

/* Writes of all kinds onto what is there, as a guest would do them. */
static void change(const char *name, bool can_zero)
{
	char commands[4096] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < 40; i++) {
		uint64_t at = random() % (20 * MIB / 512) * 512, some = 1 + random() % 400;
		const char *zero = can_zero && random() % 3 == 0 ? "-z " : "";
		const char *unmap = *zero && random() % 2 ? "-u " : "";
		char pattern[16] = "";

		if (!*zero)
			snprintf(pattern, sizeof(pattern), "-P %ld ", random() % 256);
		used += snprintf(commands + used, sizeof(commands) - used,
				 "-c 'write %s%s%s%lu %lu' ", zero, unmap, pattern, at,
				 MIN(some * 512, (uint64_t)(20 * MIB - at)));
	}
	fixture_run("qemu-io -f qcow2 %s", name); /* it opens at all */
	fixture_text("commands", "qemu-io -f qcow2 %s %s\n", commands, name);
	fixture_run("sh -e commands");
}

static void what_was_changed_later_is_read(void **state)
{
	static const struct {
		const char *options;
		bool can_zero;
	} cases[] = {
		{"-O qcow2 -o compat=0.10,cluster_size=4096", false},
		{"-O qcow2 -o compat=1.1", true},
		{"-O qcow2 -o compat=1.1,extended_l2=on", true},
		{"-O qcow2 -o compat=1.1,extended_l2=on,cluster_size=2M", true},
		{"-c -O qcow2 -o compat=1.1,extended_l2=on", true},
		{"-c -O qcow2 -o compat=1.1,compression_type=zstd", true},
	};

	write_raw("raw", RAW_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		convert(cases[i].options);
		change("image", cases[i].can_zero);
		fixture_run("qemu-img convert -f qcow2 -O raw image truth");
		fixture_compare("image", "truth");
	}
}

static void chains_of_backing_files_are_followed(void **state)
{
	static const char *const options[] = {"compat=0.10", "compat=1.1", "extended_l2=on",
					      "cluster_size=512"};

	write_raw("raw", RAW_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		bool can_zero = strcmp(options[i], "compat=0.10");

		fixture_run("rm -f middle top truth;"
			    "qemu-img create -f qcow2 -o %s -b raw -F raw middle 18M",
			    options[i]);
		fixture_run("qemu-io -f qcow2 -c 'write -P 3 5M 200k' middle && "
			    "qemu-img create -f qcow2 -o %s -b middle -F qcow2 top 24M",
			    options[i]);
		change("top", can_zero);
		fixture_run("qemu-img convert -f qcow2 -O raw top truth");
		fixture_compare("top", "truth");
	}
}

static void internal_snapshots_are_passed_over(void **state)
{
	write_raw("raw", RAW_BYTES);
	convert("-O qcow2");
	fixture_run("qemu-img snapshot -c first image");
	change("image", true);
	fixture_run("qemu-img convert -f qcow2 -O raw image truth");
	fixture_compare("image", "truth");
}

/* What is known, but not read. */
static void forms_of_qcow2_that_are_not_supported_are_refused(void **state)
{
	fixture_run("qemu-img create -f qcow2 -o data_file=data image 1M");
	fixture_refuse("image", -ENOTSUP);
	fixture_run("rm image; qemu-img create -f qcow2 --object secret,id=s,data=x "
		    "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 image 1M");
	fixture_refuse("image", -ENOTSUP);
	fixture_run("rm image; qemu-img create -f qcow image 1M");
	fixture_refuse("image", -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(every_vmdk_subformat_reads_as_it_was_written),
		FIXTURE_TEST(split_disks_are_put_together),
		FIXTURE_TEST(a_snapshot_is_read_through_to_its_parent),
		FIXTURE_TEST(every_kind_of_qcow2_reads_as_it_was_written),
		FIXTURE_TEST(what_was_changed_later_is_read),
		FIXTURE_TEST(chains_of_backing_files_are_followed),
		FIXTURE_TEST(internal_snapshots_are_passed_over),
		FIXTURE_TEST(forms_of_qcow2_that_are_not_supported_are_refused),
	};

	if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1")) {
		printf("qemu-img is missing: skipped\n");
		return 77;
	}
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
