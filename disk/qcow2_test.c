/*
 * qcow2_test.c - images of QEMU made by hand: whole ones, and each field of them wrong
 */
#include <endian.h>
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "image_fixture.h"
#include "log.h"
#include "qcow2_image.h"

/* A disk of five clusters of 512 bytes: 'a', absent, zeros, packed 'p', 'b'. */
#define CLUSTERS 5u
#define BITS	 9u
#define CLUSTER	 512u
#define BYTES	 (CLUSTERS * CLUSTER)

enum { AT_L1 = 1, AT_L2, AT_A, AT_P, AT_B, FILE_CLUSTERS };

/* Packed data at @offset, in so many sectors beyond the first. */
#define PACKED_ENTRY(offset, sectors)                                                              \
	(QCOW2_ENTRY_PACKED | (uint64_t)(sectors) << (62 - (BITS - 8)) | (offset))

static const char contents[CLUSTERS] = {'a', 0, 0, 'p', 'b'};

static struct qcow2_header good_header(void)
{
	return (struct qcow2_header){.magic = htobe32(QCOW2_MAGIC),
				     .version = htobe32(3),
				     .cluster_bits = htobe32(BITS),
				     .size = htobe64(BYTES),
				     .l1_size = htobe32(1),
				     .l1_table_offset = htobe64(AT_L1 * CLUSTER),
				     .refcount_order = htobe32(4),
				     .header_length = htobe32(QCOW2_V3_HEADER_BYTES)};
}

static void write_entry(uint64_t at, uint64_t entry)
{
	be64 value = htobe64(entry);

	fixture_write("x", at, &value, sizeof(value));
}

static void write_filled(uint64_t at, size_t count, char c)
{
	char bytes[64 * 1024];

	memset(bytes, c, count);
	fixture_write("x", at, bytes, count);
}

static size_t deflate_bare(const uint8_t *from, size_t bytes, uint8_t *packed, size_t room)
{
	z_stream stream = {.next_in = (uint8_t *)from,
			   .avail_in = bytes,
			   .next_out = packed,
			   .avail_out = room};

	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return stream.total_out;
}

static void write_packed(enum unpack_method method, uint64_t at, size_t bytes)
{
	uint8_t plain[16384], packed[16384] = {};

	memset(plain, 'p', bytes);
	if (method == UNPACK_ZSTD)
		assert_false(ZSTD_isError(ZSTD_compress(packed, sizeof(packed), plain, bytes, 3)));
	else
		deflate_bare(plain, bytes, packed, sizeof(packed));
	fixture_write("x", at, packed, CLUSTER - at % CLUSTER);
}

static void write_image(void)
{
	struct qcow2_header header = good_header();
	uint8_t first[CLUSTER] = {};

	/* Not at the start of a sector, as usual. */
	uint64_t packed = AT_P * CLUSTER + 100;
	uint64_t entries[CLUSTERS] = {AT_A * CLUSTER | BIT(63), 0, QCOW2_ENTRY_ZERO,
				      PACKED_ENTRY(packed, 0), AT_B * CLUSTER | BIT(63)};

	memcpy(first, &header, QCOW2_V3_HEADER_BYTES);
	fixture_truncate("x", FILE_CLUSTERS * CLUSTER);
	fixture_write("x", 0, first, sizeof(first));
	write_entry(AT_L1 * CLUSTER, AT_L2 * CLUSTER | BIT(63));
	for (unsigned int i = 0; i < CLUSTERS; i++)
		write_entry(AT_L2 * CLUSTER + i * 8, entries[i]);
	write_filled(AT_A * CLUSTER, CLUSTER, 'a');
	write_packed(UNPACK_DEFLATE, packed, CLUSTER);
	write_filled(AT_B * CLUSTER, CLUSTER, 'b');
}

/* @bad: bit n: cluster n cannot be read. */
static void assert_clusters(const char *name, const char *expected, unsigned int bad)
{
	fixture_check_units(name, expected, CLUSTERS, CLUSTER, bad);
}

static void an_image_made_by_hand_reads(void **state)
{
	uint8_t found[BYTES];
	struct disk *disk;

	write_image();
	assert_clusters("x", contents, 0);
	disk = fixture_open_well("x");
	assert_int_equal(disk->top->bytes, BYTES);
	assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
	for (unsigned int i = 0; i < CLUSTERS; i++)
		assert_true(fixture_is_filled(found + i * CLUSTER, CLUSTER, contents[i]));
	disk_close(disk);
}

static void writing_is_refused(void **state)
{
	struct disk_options options = {};
	struct disk *disk;

	write_image();
	assert_int_equal(disk_open(fixture_path("x"), &options, &disk, &fixture_error), -EROFS);
}

/* --- the header --- */

#define FIELD(name) offsetof(struct qcow2_header, name), sizeof(((struct qcow2_header *)0)->name)

static const struct {
	size_t at, bytes;
	uint64_t value;
	int error;
} header_cases[] = {
	{FIELD(magic), QCOW2_MAGIC + 1, -EBADMSG}, /* of no format */
	{FIELD(version), 0, -ENOTSUP},
	{FIELD(version), 1, -ENOTSUP},
	{FIELD(version), 4, -ENOTSUP},
	{FIELD(version), UINT32_MAX, -ENOTSUP},
	{FIELD(backing_file_offset), 1, -EBADMSG},
	{FIELD(backing_file_offset), QCOW2_V3_HEADER_BYTES - 1, -EBADMSG},
	{FIELD(backing_file_offset), QCOW2_V3_HEADER_BYTES, -EBADMSG}, /* with a size of 0 */
	{FIELD(backing_file_offset), CLUSTER, -EBADMSG},
	{FIELD(backing_file_offset), CLUSTER + 1, -EBADMSG},
	{FIELD(backing_file_offset), UINT64_MAX, -EBADMSG},
	{FIELD(backing_file_size), UINT32_MAX, 0}, /* undefined without an offset */
	{FIELD(cluster_bits), 0, -EBADMSG},
	{FIELD(cluster_bits), 1, -EBADMSG},
	{FIELD(cluster_bits), 8, -EBADMSG},
	{FIELD(cluster_bits), 10, -EBADMSG}, /* the L1 table is not aligned then */
	{FIELD(cluster_bits), 21, -EBADMSG},
	{FIELD(cluster_bits), 22, -ENOTSUP},
	{FIELD(cluster_bits), 64, -ENOTSUP},
	{FIELD(cluster_bits), UINT32_MAX, -ENOTSUP},
	{FIELD(size), 0, -EBADMSG},
	{FIELD(size), 1, -EBADMSG},
	{FIELD(size), BYTES - 1, -EBADMSG},
	{FIELD(size), 64 * CLUSTER, 0}, /* what one L2 table has */
	{FIELD(size), 64 * CLUSTER + 512, -EBADMSG},
	{FIELD(size), BIT(63) - 512, -EBADMSG},
	{FIELD(size), BIT(63), -EBADMSG},
	{FIELD(size), UINT64_MAX, -EBADMSG},
	{FIELD(crypt_method), 1, -ENOTSUP},
	{FIELD(crypt_method), 2, -ENOTSUP},
	{FIELD(crypt_method), UINT32_MAX, -ENOTSUP},
	{FIELD(l1_size), 0, -EBADMSG},
	{FIELD(l1_size), 2, 0},
	{FIELD(l1_size), 5 * 64, 0},
	{FIELD(l1_size), 5 * 64 + 1, -EBADMSG}, /* ends behind the file */
	{FIELD(l1_size), 4 << 20, -EBADMSG},
	{FIELD(l1_size), (4 << 20) + 1, -ENOTSUP},
	{FIELD(l1_size), UINT32_MAX, -ENOTSUP},
	{FIELD(l1_table_offset), 0, -EBADMSG},
	{FIELD(l1_table_offset), 1, -EBADMSG},
	{FIELD(l1_table_offset), CLUSTER + 1, -EBADMSG},
	{FIELD(l1_table_offset), CLUSTER - 8, -EBADMSG},
	{FIELD(l1_table_offset), FILE_CLUSTERS *CLUSTER, -EBADMSG},
	{FIELD(l1_table_offset), ~(uint64_t)(CLUSTER - 1), -EBADMSG},
	{FIELD(l1_table_offset), UINT64_MAX, -EBADMSG},
	{FIELD(refcount_table_offset), UINT64_MAX, 0}, /* who reads needs none */
	{FIELD(refcount_table_clusters), UINT32_MAX, 0},
	{FIELD(nb_snapshots), UINT32_MAX, 0},
	{FIELD(snapshots_offset), UINT64_MAX, 0},
	{FIELD(incompatible_features), QCOW2_DIRTY, 0},
	{FIELD(incompatible_features), QCOW2_CORRUPT, 0},
	{FIELD(incompatible_features), QCOW2_EXTERNAL_DATA, -ENOTSUP},
	{FIELD(incompatible_features), QCOW2_COMPRESSION_TYPE, -EBADMSG}, /* of no type */
	{FIELD(incompatible_features), QCOW2_EXTENDED_L2, -EBADMSG},	  /* too small */
	{FIELD(incompatible_features), 32, -ENOTSUP},
	{FIELD(incompatible_features), BIT(63), -ENOTSUP},
	{FIELD(incompatible_features), UINT64_MAX, -ENOTSUP},
	{FIELD(compatible_features), UINT64_MAX, 0},
	{FIELD(autoclear_features), UINT64_MAX, 0},
	{FIELD(refcount_order), 0, 0},
	{FIELD(refcount_order), 6, 0},
	{FIELD(refcount_order), 7, -EBADMSG},
	{FIELD(refcount_order), UINT32_MAX, -EBADMSG},
	{FIELD(header_length), 0, -EBADMSG},
	{FIELD(header_length), 72, -EBADMSG},
	{FIELD(header_length), 103, -EBADMSG},
	{FIELD(header_length), 105, -EBADMSG},
	{FIELD(header_length), 112, 0},
	{FIELD(header_length), CLUSTER, 0},
	{FIELD(header_length), CLUSTER + 8, -EBADMSG},
	{FIELD(header_length), UINT32_MAX - 7, -EBADMSG},
};

/* The value in big-endian, whatever its length. */
static void write_field(size_t at, size_t bytes, uint64_t value)
{
	be64 all = htobe64(value << (8 * (8 - bytes)));

	fixture_write("x", at, &all, bytes);
}

static void a_wrong_header_is_refused_field_by_field(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(header_cases); i++) {
		write_image();
		write_field(header_cases[i].at, header_cases[i].bytes, header_cases[i].value);
		if (header_cases[i].error)
			fixture_refuse("x", header_cases[i].error);
		else
			assert_clusters("x", contents, 0);
	}
}

static void a_compression_type_needs_its_feature(void **state)
{
	static const struct {
		uint32_t length;
		uint64_t features;
		uint8_t type;
		int error;
	} cases[] = {{112, 0, 1, -EBADMSG},
		     {112, QCOW2_COMPRESSION_TYPE, 0, -EBADMSG},
		     {112, QCOW2_COMPRESSION_TYPE, 1, 0},
		     {112, QCOW2_COMPRESSION_TYPE, 2, -ENOTSUP},
		     {112, QCOW2_COMPRESSION_TYPE, 255, -ENOTSUP},
		     {104, QCOW2_COMPRESSION_TYPE, 1, -EBADMSG}, /* not in the header */
		     {112, 0, 0, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_image();
		write_field(FIELD(header_length), cases[i].length);
		write_field(FIELD(incompatible_features), cases[i].features);
		write_field(FIELD(compression_type), cases[i].type);
		if (cases[i].type == 1)
			write_packed(UNPACK_ZSTD, AT_P * CLUSTER + 100, CLUSTER);
		if (cases[i].error)
			fixture_refuse("x", cases[i].error);
		else
			assert_clusters("x", contents, 0);
	}
}

/* Its header is shorter, and zero clusters are not known to it. */
static void version_2_has_no_zero_clusters(void **state)
{
	write_image();
	write_field(FIELD(version), 2);
	write_field(FIELD(incompatible_features), 0);
	assert_clusters("x", contents, 4);
}

static void a_file_cut_anywhere_is_refused_or_misses_clusters(void **state)
{
	for (unsigned int bytes = 0; bytes < FILE_CLUSTERS * CLUSTER; bytes += 40) {
		struct disk *disk;

		write_image();
		fixture_truncate("x", bytes);
		if (bytes < AT_L1 * CLUSTER + 8)
			fixture_refuse("x", -EBADMSG);
		else if (!fixture_open("x", &disk))
			disk_close(disk);
		else
			fail_msg("%u bytes: %s", bytes, fixture_error.text);
	}
	fixture_truncate("x", AT_B * CLUSTER);
	assert_clusters("x", contents, 0x10);
	fixture_truncate("x", AT_A * CLUSTER);
	assert_clusters("x", contents, 0x19);
	fixture_truncate("x", AT_L2 * CLUSTER);
	assert_clusters("x", contents, 0x1f);
}

/* QEMU's files end with the last byte that was written: the rest of that cluster is zeros. */
static void the_last_cluster_may_be_cut_short(void **state)
{
	uint8_t found[1024];
	struct disk *disk;

	write_image();
	write_field(FIELD(cluster_bits), 10);
	write_field(FIELD(l1_table_offset), 1024);
	fixture_truncate("x", 3 * 1024 + 512);
	write_entry(1024, 2048);
	write_entry(2048, 3072);
	write_filled(3072, 512, 'x');
	disk = fixture_open_well("x");
	assert_int_equal(disk_pread(disk, 0, found, sizeof(found)), 0);
	assert_true(fixture_is_filled(found, 512, 'x'));
	assert_true(fixture_is_filled(found + 512, 512, 0));
	disk_close(disk);
	/* A part of a sector is something that was lost. */
	fixture_truncate("x", 3 * 1024 + 511);
	disk = fixture_open_well("x");
	assert_int_equal(disk_pread(disk, 0, found, 512), -EIO);
	assert_int_equal(disk_pread(disk, 512, found, 512), 0);
	disk_close(disk);
}

/* --- tables --- */

#define L2(n) (AT_L2 * CLUSTER + (n)*8)

static const struct {
	uint64_t at, entry;
	unsigned int bad;
} table_cases[] = {
	{AT_L1 * CLUSTER, 1, 0}, /* reserved bits alone: absent, but see below */
	{AT_L1 * CLUSTER, FILE_CLUSTERS *CLUSTER, 0x1f},
	{AT_L1 * CLUSTER, QCOW2_OFFSET_MASK, 0x1f},
	{AT_L1 * CLUSTER, UINT64_MAX, 0x1f},
	{L2(0), FILE_CLUSTERS *CLUSTER, 1},
	{L2(0), QCOW2_OFFSET_MASK, 1},
	{L2(0), UINT64_MAX - QCOW2_ENTRY_ZERO - QCOW2_ENTRY_PACKED, 1},
	{L2(0), UINT64_MAX, 1},
	{L2(3), PACKED_ENTRY(FILE_CLUSTERS *CLUSTER, 0), 8},
	{L2(3), PACKED_ENTRY(BIT(61) - 1, 1), 8},
	{L2(3), PACKED_ENTRY(AT_P *CLUSTER + 101, 0), 8},
	{L2(3), PACKED_ENTRY(AT_P *CLUSTER, 0), 8},
	{L2(3), PACKED_ENTRY(AT_P *CLUSTER + 100, 1), 0}, /* more than is needed */
	{L2(5), UINT64_MAX, 0},				  /* behind the end of the disk */
};

static void a_wrong_entry_makes_its_cluster_unreadable(void **state)
{
	static const char absent[CLUSTERS];

	for (size_t i = 0; i < ARRAY_SIZE(table_cases); i++) {
		write_image();
		write_entry(table_cases[i].at, table_cases[i].entry);
		assert_clusters("x", table_cases[i].entry == 1 ? absent : contents,
				table_cases[i].bad);
	}
}

/* With clusters of more than a sector an offset can be unaligned. */
static void unaligned_tables_and_clusters_are_damage(void **state)
{
	static const struct {
		uint64_t l1, l2;
		int r;
	} cases[] = {{2048, 3072, 0}, {2048 + 512, 3072, -EIO}, {2048, 3072 + 512, -EIO}};
	uint8_t found[512];
	struct disk *disk;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_image();
		write_field(FIELD(cluster_bits), 10);
		write_field(FIELD(l1_table_offset), 1024);
		fixture_truncate("x", 8192);
		write_entry(1024, cases[i].l1);
		write_entry(2048, cases[i].l2);
		write_entry(2048 + 512, cases[i].l2);
		disk = fixture_open_well("x");
		assert_int_equal(disk_pread(disk, 0, found, sizeof(found)), cases[i].r);
		disk_close(disk);
	}
}

/* The header as an L2 table, L1 as one, L2 as data: nothing that could not be read. */
static void tables_that_lie_on_each_other_are_harmless(void **state)
{
	uint8_t found[CLUSTER];
	struct disk *disk;

	for (unsigned int i = 1; i < FILE_CLUSTERS; i++) {
		write_image();
		write_entry(AT_L1 * CLUSTER, i * CLUSTER);
		write_entry(AT_L2 * CLUSTER, AT_L2 * CLUSTER);
		disk = fixture_open_well("x");
		for (unsigned int j = 0; j < CLUSTERS; j++)
			disk_pread(disk, j * CLUSTER, found, CLUSTER);
		disk_close(disk);
	}
}

/* --- packed clusters --- */

static void packed_data_of_another_length_are_damage(void **state)
{
	static const size_t lengths[] = {1, 511, 513, 16384};

	for (enum unpack_method method = UNPACK_DEFLATE; method <= UNPACK_ZSTD; method++) {
		if (method == UNPACK_ZLIB)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
			/* More than a cluster of deflated data: the rest is passed over. */
			bool good = method == UNPACK_DEFLATE && lengths[i] > CLUSTER;

			write_image();
			if (method == UNPACK_ZSTD) {
				write_field(FIELD(header_length), 112);
				write_field(FIELD(incompatible_features), QCOW2_COMPRESSION_TYPE);
				write_field(FIELD(compression_type), 1);
			}
			write_packed(method, AT_P * CLUSTER + 100, lengths[i]);
			assert_clusters("x", contents, good ? 0 : 8);
		}
	}
}

/* --- subclusters --- */

#define BIG_BITS 14u
#define BIG	 BIT(BIG_BITS)
#define SUB	 (BIG / QCOW2_SUBCLUSTERS)

static void write_extended(uint64_t descriptor, uint64_t bitmap)
{
	write_image();
	write_field(FIELD(cluster_bits), BIG_BITS);
	write_field(FIELD(size), BIG);
	write_field(FIELD(incompatible_features), QCOW2_EXTENDED_L2);
	write_field(FIELD(l1_table_offset), BIG);
	fixture_truncate("x", 4 * BIG);
	write_entry(BIG, 2 * BIG);
	write_entry(2 * BIG, descriptor);
	write_entry(2 * BIG + 8, bitmap);
	write_filled(3 * BIG, BIG, 'x');
}

#define BOTH(n) (BIT(n) | BIT((n) + 32))

static const struct {
	uint64_t descriptor, bitmap;
	const char *expected; /* of the subclusters: x data, . none or zeros, ! damage */
} subcluster_cases[] = {
	{3 * BIG, 0xffffffff, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
	{3 * BIG, 0, "................................"},
	{3 * BIG, 0xffffffff00000000, "................................"},
	{0, 0xffffffff00000000, "................................"},
	{3 * BIG, 0x80000001, "x..............................x"},
	{3 * BIG, 0x0000ff00000000ffull, "xxxxxxxx........................"},
	{3 * BIG, BOTH(0), "!..............................."},
	{3 * BIG, BOTH(31) | 2, ".x.............................!"},
	{0, 2, ".!.............................."},
	{3 * BIG | QCOW2_ENTRY_ZERO, 1, "x..............................."}, /* is no flag here */
	{4 * BIG, 1, "!..............................."},
	{3 * BIG + 512, 1, "!..............................."},
};

static void subclusters_are_data_zeros_or_absent(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(subcluster_cases); i++) {
		struct disk *disk;
		uint8_t found[SUB];

		write_extended(subcluster_cases[i].descriptor, subcluster_cases[i].bitmap);
		disk = fixture_open_well("x");
		for (unsigned int j = 0; j < QCOW2_SUBCLUSTERS; j++) {
			char expected = subcluster_cases[i].expected[j];
			int r = disk_pread(disk, j * SUB, found, SUB);

			if (r != (expected == '!' ? -EIO : 0) ||
			    (!r && !fixture_is_filled(found, SUB, expected == 'x' ? 'x' : 0)))
				fail_msg("case %zu: subcluster %u: %d, %02x", i, j, r, found[0]);
		}
		disk_close(disk);
	}
}

/* --- backing files --- */

/* @format NULL: no extension. The name lies behind it. */
static void write_backed(const char *name, const char *backing, const char *format)
{
	struct qcow2_extension extension = {.type = htobe32(QCOW2_EXTENSION_BACKING_FORMAT)};
	uint64_t at = QCOW2_V3_HEADER_BYTES;
	char padded[16] = {};

	write_image();
	if (format) {
		snprintf(padded, sizeof(padded), "%s", format);
		extension.length = htobe32(strlen(format));
		fixture_write("x", at, &extension, sizeof(extension));
		fixture_write("x", at + sizeof(extension), padded, sizeof(padded));
		at += sizeof(extension) + ALIGN_UP(strlen(format), 8);
	}
	at += sizeof(extension);
	fixture_write("x", at, backing, strlen(backing));
	write_field(FIELD(backing_file_offset), at);
	write_field(FIELD(backing_file_size), strlen(backing));
	if (strcmp(name, "x"))
		fixture_run("mv x %s", name);
}

static void write_backing_files(void)
{
	fixture_run("mkdir sub && mkfifo fifo && ln -s /etc/hostname outside && "
		    "ln -s /dev/zero device && ln -s raw inside && ln -s /dev/zero sub/device");
	write_filled(0, BYTES, 'r');
	fixture_run("mv x raw && cp raw sub/raw");
	write_image();
	fixture_run("mv x base");
}

static const struct {
	const char *backing, *format;
	int error;
	char absent; /* what is read where the child has nothing */
} backing_cases[] = {
	{"raw", "raw", 0, 'r'},
	{"./raw", "raw", 0, 'r'},
	{"sub/raw", "raw", 0, 'r'},
	{"inside", "raw", 0, 'r'},
	{"base", "qcow2", 0, 0},
	{"base", NULL, 0, 0},
	{"raw", NULL, -EBADMSG, 0}, /* nothing says that it is raw */
	{"raw", "qcow2", -EBADMSG, 0},
	{"base", "raw", 0, 'Q'},
	{"raw", "vmdk", -ENOTSUP, 0},
	{"raw", "", -ENOTSUP, 0},
	{"raw", "a format that is", -ENOTSUP, 0},
	{"missing", "raw", -ENOENT, 0},
	{"x", "qcow2", -ELOOP, 0},
	{"loop", "qcow2", -ELOOP, 0},
	{"/etc/hostname", "raw", -EPERM, 0},
	{"/dev/zero", "raw", -EPERM, 0},
	{"../raw", "raw", -EPERM, 0},
	{"sub/../../raw", "raw", -EPERM, 0},
	{"..", "raw", -EPERM, 0},
	{"outside", "raw", -EPERM, 0},
	{"device", "raw", -EINVAL, 0},
	{"fifo", "raw", -EINVAL, 0},
	{"sub", "raw", -EINVAL, 0},
	{"nbd:localhost:10809", "raw", -ENOTSUP, 0},
	{"json:{\"driver\":\"raw\"}", "raw", -ENOTSUP, 0},
	{"https://localhost/raw", "raw", -ENOTSUP, 0},
	{"fat:/etc", "raw", -ENOTSUP, 0},
	{"a\nb", "raw", -EBADMSG, 0},
};

static void backing_files_are_followed_or_refused(void **state)
{
	write_backing_files();
	write_backed("loop", "x", "qcow2");
	for (size_t i = 0; i < ARRAY_SIZE(backing_cases); i++) {
		char expected[CLUSTERS];

		write_backed("x", backing_cases[i].backing, backing_cases[i].format);
		memcpy(expected, contents, sizeof(expected));
		expected[1] = backing_cases[i].absent;
		if (backing_cases[i].error)
			fixture_refuse("x", backing_cases[i].error);
		else if (backing_cases[i].absent == 'Q') /* the base's own bytes */
			disk_close(fixture_open_well("x"));
		else
			assert_clusters("x", expected, 0);
	}
}

static void a_backing_file_may_be_shorter(void **state)
{
	char expected[CLUSTERS];

	write_backing_files();
	write_backed("x", "raw", "raw");
	memcpy(expected, contents, sizeof(expected));
	fixture_truncate("raw", CLUSTER);
	assert_clusters("x", expected, 0);
	fixture_truncate("raw", 0);
	fixture_refuse("x", -EINVAL);
}

static void a_name_that_does_not_fit_is_refused(void **state)
{
	static const uint32_t sizes[] = {0, 1024, CLUSTER, UINT32_MAX};

	write_backing_files();
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		write_backed("x", "raw", "raw");
		write_field(FIELD(backing_file_size), sizes[i]);
		fixture_refuse("x", -EBADMSG);
	}
}

static void header_extensions_end_inside_their_room(void **state)
{
	static const struct {
		uint32_t type, length;
		int error;
	} cases[] = {{QCOW2_EXTENSION_FEATURES, 0, 0},
		     {QCOW2_EXTENSION_FEATURES, CLUSTER - QCOW2_V3_HEADER_BYTES - 8, 0},
		     {QCOW2_EXTENSION_FEATURES, CLUSTER - QCOW2_V3_HEADER_BYTES - 7, -EBADMSG},
		     {0x12345678, UINT32_MAX, -EBADMSG},
		     {0x12345678, UINT32_MAX - 8, -EBADMSG},
		     {QCOW2_EXTENSION_END, UINT32_MAX, 0},
		     {QCOW2_EXTENSION_BACKING_FORMAT, 16, -ENOTSUP}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_image();
		write_field(QCOW2_V3_HEADER_BYTES, 4, cases[i].type);
		write_field(QCOW2_V3_HEADER_BYTES + 4, 4, cases[i].length);
		if (cases[i].error)
			fixture_refuse("x", cases[i].error);
		else
			assert_clusters("x", contents, 0);
	}
}

static void a_chain_that_is_too_long_is_refused(void **state)
{
	struct disk_options options = {.read_only = true, .max_chain = 3};
	struct disk *disk;

	write_backing_files();
	write_backed("two", "base", "qcow2");
	write_backed("three", "two", "qcow2");
	write_backed("four", "three", "qcow2");
	assert_int_equal(disk_open(fixture_path("three"), &options, &disk, &fixture_error), 0);
	disk_close(disk);
	assert_int_equal(disk_open(fixture_path("four"), &options, &disk, &fixture_error), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(an_image_made_by_hand_reads),
		FIXTURE_TEST(writing_is_refused),
		FIXTURE_TEST(a_wrong_header_is_refused_field_by_field),
		FIXTURE_TEST(a_compression_type_needs_its_feature),
		FIXTURE_TEST(version_2_has_no_zero_clusters),
		FIXTURE_TEST(a_file_cut_anywhere_is_refused_or_misses_clusters),
		FIXTURE_TEST(the_last_cluster_may_be_cut_short),
		FIXTURE_TEST(a_wrong_entry_makes_its_cluster_unreadable),
		FIXTURE_TEST(unaligned_tables_and_clusters_are_damage),
		FIXTURE_TEST(tables_that_lie_on_each_other_are_harmless),
		FIXTURE_TEST(packed_data_of_another_length_are_damage),
		FIXTURE_TEST(subclusters_are_data_zeros_or_absent),
		FIXTURE_TEST(backing_files_are_followed_or_refused),
		FIXTURE_TEST(a_backing_file_may_be_shorter),
		FIXTURE_TEST(a_name_that_does_not_fit_is_refused),
		FIXTURE_TEST(header_extensions_end_inside_their_room),
		FIXTURE_TEST(a_chain_that_is_too_long_is_refused),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
