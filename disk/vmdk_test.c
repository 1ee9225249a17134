/*
 * vmdk_test.c - VMware disks made by hand: whole ones, and each field of them wrong
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <zlib.h>

#include "image_fixture.h"
#include "log.h"
#include "vmdk_image.h"

/* A disk of five grains: 'a', absent, zeros, 'b', 'c'. */
#define GRAINS	      5u
#define GRAIN_SECTORS 8u
#define GRAIN	      (GRAIN_SECTORS * VMDK_SECTOR)
#define SECTORS	      (GRAINS * GRAIN_SECTORS)
#define BYTES	      (GRAINS * GRAIN)

enum { AT_DESCRIPTOR = 1, AT_REDUNDANT, AT_DIRECTORY, AT_TABLE, AT_TABLE_COPY = 8, AT_GRAINS = 16 };
#define FILE_SECTORS (AT_GRAINS + 3 * GRAIN_SECTORS)

static const char contents[GRAINS] = {'a', 0, 0, 'b', 'c'};

static const struct vmdk_sparse_header sparse_header = {
	.magic = VMDK_SPARSE_MAGIC,
	.version = 2,
	.flags = VMDK_FLAG_NEWLINE_TEST | VMDK_FLAG_REDUNDANT | VMDK_FLAG_ZERO_GRAINS,
	.capacity = SECTORS,
	.grain_sectors = GRAIN_SECTORS,
	.descriptor_offset = AT_DESCRIPTOR,
	.descriptor_sectors = 1,
	.table_entries = VMDK_TABLE_ENTRIES,
	.redundant_directory = AT_REDUNDANT,
	.directory = AT_DIRECTORY,
	.overhead = AT_GRAINS,
	.newlines = {'\n', ' ', '\r', '\n'},
};

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=0000000a\nparentCID=ffffffff\n"

static void write_sector(const char *name, uint64_t sector, const void *bytes, size_t count)
{
	fixture_write(name, sector * VMDK_SECTOR, bytes, count);
}

static void write_grain(const char *name, uint64_t sector, char c)
{
	char grain[GRAIN];

	memset(grain, c, sizeof(grain));
	write_sector(name, sector, grain, sizeof(grain));
}

static void write_tables(const char *name, uint32_t directory, uint32_t table)
{
	le32 entries[VMDK_TABLE_ENTRIES] = {AT_GRAINS, VMDK_ABSENT, VMDK_ZERO_GRAIN, AT_GRAINS + 8,
					    AT_GRAINS + 16};

	write_sector(name, directory, &table, sizeof(table));
	write_sector(name, table, entries, sizeof(entries));
}

static void write_descriptor(const char *name, const char *text)
{
	char sector[VMDK_SECTOR] = {};

	snprintf(sector, sizeof(sector), "%s", text);
	write_sector(name, AT_DESCRIPTOR, sector, sizeof(sector));
}

static void write_sparse(const char *name)
{
	write_sector(name, 0, &sparse_header, sizeof(sparse_header));
	write_descriptor(name, HEAD "RW 40 SPARSE \"another name.vmdk\"\n");
	write_tables(name, AT_REDUNDANT, AT_TABLE_COPY);
	write_tables(name, AT_DIRECTORY, AT_TABLE);
	write_grain(name, AT_GRAINS, 'a');
	write_grain(name, AT_GRAINS + 8, 'b');
	write_grain(name, AT_GRAINS + 16, 'c');
}

/* @bad: bit n: grain n cannot be read. */
static void assert_grains(const char *name, unsigned int bad)
{
	fixture_check_units(name, contents, GRAINS, GRAIN, bad);
}

static void a_sparse_disk_reads_whatever_it_was_named(void **state)
{
	struct disk_info info;
	struct disk *disk;

	write_sparse("x.vmdk");
	assert_grains("x.vmdk", 0);
	disk = fixture_open_well("x.vmdk");
	disk_get_info(disk, &info);
	assert_int_equal(info.format, DISK_VMDK);
	assert_int_equal(info.bytes, BYTES);
	assert_int_equal(info.block_bytes, GRAIN);
	assert_true(info.read_only);
	disk_close(disk);
}

static void writing_is_refused(void **state)
{
	struct disk_options options = {};
	struct disk *disk;

	write_sparse("x.vmdk");
	assert_int_equal(disk_open(fixture_path("x.vmdk"), &options, &disk, &fixture_error),
			 -EROFS);
}

/* --- the header --- */

#define FIELD(name) offsetof(struct vmdk_sparse_header, name), sizeof(sparse_header.name)

static const struct {
	size_t at, bytes;
	uint64_t value;
	int error;
} header_cases[] = {
	{FIELD(magic), VMDK_COWD_MAGIC, -ENOTSUP},
	{FIELD(magic), VMDK_SPARSE_MAGIC + 1, -EBADMSG}, /* of no format */
	{FIELD(version), 0, -ENOTSUP},
	{FIELD(version), 1, 0},
	{FIELD(version), 3, 0},
	{FIELD(version), 4, -ENOTSUP},
	{FIELD(version), UINT32_MAX, -ENOTSUP},
	{FIELD(flags), VMDK_FLAG_ZERO_GRAINS, 0},
	{FIELD(flags), VMDK_FLAG_ZERO_GRAINS | VMDK_FLAG_COMPRESSED, -ENOTSUP},
	{FIELD(flags), VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS, -EBADMSG},
	{FIELD(flags), UINT32_MAX, -EBADMSG},
	{FIELD(capacity), 0, -EBADMSG},
	{FIELD(capacity), SECTORS - 1, -EBADMSG}, /* the descriptor has one more */
	{FIELD(capacity), SECTORS + 1, 0},
	{FIELD(capacity), VMDK_MAX_SECTORS, -EBADMSG}, /* the directory would not be in the file */
	{FIELD(capacity), VMDK_MAX_SECTORS + 1, -ENOTSUP},
	{FIELD(capacity), UINT64_MAX, -ENOTSUP},
	{FIELD(grain_sectors), 0, -EBADMSG},
	{FIELD(grain_sectors), 1, -ENOTSUP},
	{FIELD(grain_sectors), GRAIN_SECTORS - 1, -EBADMSG},
	{FIELD(grain_sectors), GRAIN_SECTORS + 1, -EBADMSG},
	{FIELD(grain_sectors), 131072, -ENOTSUP},
	{FIELD(grain_sectors), BIT(63), -ENOTSUP},
	{FIELD(grain_sectors), UINT64_MAX, -EBADMSG},
	{FIELD(descriptor_offset), 0, -ENOTSUP},		/* a piece of a disk */
	{FIELD(descriptor_offset), FILE_SECTORS - 1, -EBADMSG}, /* no descriptor there */
	{FIELD(descriptor_offset), FILE_SECTORS, -EBADMSG},
	{FIELD(descriptor_offset), UINT64_MAX, -EBADMSG},
	{FIELD(descriptor_sectors), 0, -EBADMSG},
	{FIELD(descriptor_sectors), FILE_SECTORS - 1, 0}, /* ends at the first NUL */
	{FIELD(descriptor_sectors), FILE_SECTORS, -EBADMSG},
	{FIELD(descriptor_sectors), VMDK_MAX_DESCRIPTOR_BYTES / VMDK_SECTOR + 1, -EBADMSG},
	{FIELD(descriptor_sectors), UINT64_MAX, -EBADMSG},
	{FIELD(table_entries), 0, -ENOTSUP},
	{FIELD(table_entries), 511, -ENOTSUP},
	{FIELD(table_entries), 513, -ENOTSUP},
	{FIELD(table_entries), UINT32_MAX, -ENOTSUP},
	{FIELD(redundant_directory), 0, -EBADMSG},
	{FIELD(redundant_directory), FILE_SECTORS, -EBADMSG},
	{FIELD(redundant_directory), UINT64_MAX, -EBADMSG},
	{FIELD(directory), 0, -EBADMSG},
	{FIELD(directory), FILE_SECTORS, -EBADMSG},
	{FIELD(directory), BIT(55), -EBADMSG},
	{FIELD(directory), UINT64_MAX - 1, -EBADMSG},
	{FIELD(directory), VMDK_DIRECTORY_AT_END, -EBADMSG}, /* without a footer */
	{FIELD(overhead), UINT64_MAX, 0},
	{FIELD(unclean), 1, 0},
	{FIELD(newlines), 0x0a0d0a0a, -EBADMSG},
	{FIELD(newlines), 0, -EBADMSG},
	{FIELD(compression), 1, -EBADMSG},
	{FIELD(compression), 2, -ENOTSUP},
	{FIELD(compression), UINT16_MAX, -ENOTSUP},
};

static void a_wrong_header_is_refused_field_by_field(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(header_cases); i++) {
		write_sparse("x.vmdk");
		fixture_write("x.vmdk", header_cases[i].at, &header_cases[i].value,
			      header_cases[i].bytes);
		if (header_cases[i].error)
			fixture_refuse("x.vmdk", header_cases[i].error);
		else
			assert_grains("x.vmdk", 0);
	}
}

static void a_file_cut_anywhere_is_refused_or_misses_grains(void **state)
{
	for (unsigned int sectors = 0; sectors < FILE_SECTORS; sectors++) {
		struct disk *disk;

		write_sparse("x.vmdk");
		fixture_truncate("x.vmdk", sectors * VMDK_SECTOR);
		if (sectors <= AT_DIRECTORY)
			fixture_refuse("x.vmdk", -EBADMSG);
		else if (sectors >= AT_GRAINS)
			assert_grains("x.vmdk", sectors < AT_GRAINS + 8	   ? 0x19
						: sectors < AT_GRAINS + 16 ? 0x18
									   : 0x10);
		else if (!fixture_open("x.vmdk", &disk))
			disk_close(disk);
	}
}

static void sparse_files_of_esx_are_refused_by_name(void **state)
{
	uint64_t magic[64] = {VMDK_SESPARSE_MAGIC};

	fixture_write("x.vmdk", 0, magic, sizeof(magic));
	fixture_refuse("x.vmdk", -ENOTSUP);
	assert_non_null(strstr(fixture_error.text, "seSparse"));
	magic[0] = VMDK_COWD_MAGIC;
	fixture_write("x.vmdk", 0, magic, sizeof(magic));
	fixture_refuse("x.vmdk", -ENOTSUP);
	assert_non_null(strstr(fixture_error.text, "vmfsSparse"));
}

/* --- directories and tables --- */

static const struct {
	unsigned int sector, entry;
	uint32_t value;
	unsigned int bad; /* grains */
} table_cases[] = {
	/* A wrong directory: the redundant one counts. */
	{AT_DIRECTORY, 0, UINT32_MAX, 0},
	{AT_DIRECTORY, 0, FILE_SECTORS, 0},
	{AT_DIRECTORY, 0, FILE_SECTORS - 3, 0},
	{AT_REDUNDANT, 0, UINT32_MAX, 0},
	{AT_TABLE, 0, UINT32_MAX, 1},
	{AT_TABLE, 0, FILE_SECTORS, 1},
	{AT_TABLE, 0, FILE_SECTORS - 7, 1},
	{AT_TABLE, 3, UINT32_MAX, 8},
	{AT_TABLE, 4, FILE_SECTORS, 16},
	{AT_TABLE, 5, UINT32_MAX, 0}, /* behind the end of the disk */
};

static void a_wrong_entry_makes_its_grain_unreadable(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(table_cases); i++) {
		write_sparse("x.vmdk");
		fixture_write("x.vmdk",
			      table_cases[i].sector * VMDK_SECTOR + table_cases[i].entry * 4,
			      &table_cases[i].value, 4);
		assert_grains("x.vmdk", table_cases[i].bad);
	}
}

static void two_wrong_directories_make_the_disk_unreadable(void **state)
{
	static const uint32_t wrong = FILE_SECTORS;

	write_sparse("x.vmdk");
	write_sector("x.vmdk", AT_DIRECTORY, &wrong, sizeof(wrong));
	write_sector("x.vmdk", AT_REDUNDANT, &wrong, sizeof(wrong));
	assert_grains("x.vmdk", 0x1f);
}

/* The header as a grain table, a table as a grain: nothing that could not be read. */
static void tables_that_lie_on_each_other_are_harmless(void **state)
{
	static const uint32_t sectors[] = {1, AT_DIRECTORY, AT_TABLE};
	struct disk *disk;
	uint8_t found[BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(sectors); i++) {
		write_sparse("x.vmdk");
		write_sector("x.vmdk", AT_DIRECTORY, &sectors[i], sizeof(sectors[i]));
		write_sector("x.vmdk", AT_TABLE, &sectors[i], sizeof(sectors[i]));
		disk = fixture_open_well("x.vmdk");
		for (unsigned int j = 0; j < GRAINS; j++)
			disk_pread(disk, j * GRAIN, found, GRAIN);
		disk_close(disk);
	}
}

/* Without the flag an entry of 1 is a sector like any other. */
static void zero_grains_need_their_flag(void **state)
{
	static const uint32_t flags = VMDK_FLAG_NEWLINE_TEST;
	uint8_t found[GRAIN], truth[GRAIN];
	struct disk *disk;

	write_sparse("x.vmdk");
	fixture_write("x.vmdk", offsetof(struct vmdk_sparse_header, flags), &flags, sizeof(flags));
	disk = fixture_open_well("x.vmdk");
	assert_int_equal(disk_pread(disk, 2 * GRAIN, found, GRAIN), 0);
	fixture_read("x.vmdk", VMDK_SECTOR, truth, GRAIN);
	assert_memory_equal(found, truth, GRAIN);
	disk_close(disk);
}

/* --- streams --- */

struct stream {
	uint64_t at; /* sectors */
	uint32_t grains[GRAINS];
	uint64_t table, directory, footer;
};

static void add_marker(struct stream *stream, uint64_t sectors, enum vmdk_marker type)
{
	uint8_t sector[VMDK_SECTOR] = {};
	struct vmdk_grain_marker marker = {.sector = sectors};
	le32 kind = type;

	memcpy(sector, &marker, sizeof(marker));
	memcpy(sector + sizeof(marker), &kind, sizeof(kind));
	write_sector("s.vmdk", stream->at++, sector, sizeof(sector));
}

static void add_grain(struct stream *stream, unsigned int number)
{
	uint8_t grain[GRAIN], packed[2 * GRAIN] = {};
	uLongf bytes = sizeof(packed);
	struct vmdk_grain_marker marker = {.sector = number * GRAIN_SECTORS};

	memset(grain, contents[number], sizeof(grain));
	assert_int_equal(compress(packed, &bytes, grain, sizeof(grain)), Z_OK);
	marker.bytes = bytes;
	stream->grains[number] = stream->at;
	fixture_write("s.vmdk", stream->at * VMDK_SECTOR, &marker, sizeof(marker));
	fixture_write("s.vmdk", stream->at * VMDK_SECTOR + sizeof(marker), packed,
		      ALIGN_UP(bytes + sizeof(marker), VMDK_SECTOR) - sizeof(marker));
	stream->at += (bytes + sizeof(marker) + VMDK_SECTOR - 1) / VMDK_SECTOR;
}

static void add_tables(struct stream *stream)
{
	le32 table[VMDK_TABLE_ENTRIES] = {}, directory[128] = {};

	memcpy(table, stream->grains, sizeof(stream->grains));
	add_marker(stream, 4, VMDK_MARKER_TABLE);
	stream->table = stream->at;
	write_sector("s.vmdk", stream->at, table, sizeof(table));
	stream->at += 4;
	directory[0] = stream->table;
	add_marker(stream, 1, VMDK_MARKER_DIRECTORY);
	stream->directory = stream->at;
	write_sector("s.vmdk", stream->at++, directory, sizeof(directory));
}

static struct stream write_stream(void)
{
	struct vmdk_sparse_header header = sparse_header;
	struct stream stream = {.at = 2};

	header.version = 3;
	header.flags = VMDK_FLAG_NEWLINE_TEST | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
	header.compression = VMDK_COMPRESSION_DEFLATE;
	header.directory = VMDK_DIRECTORY_AT_END;
	write_sector("s.vmdk", 0, &header, sizeof(header));
	write_descriptor("s.vmdk", HEAD "RDONLY 40 SPARSE \"s.vmdk\"\n");
	for (unsigned int i = 0; i < GRAINS; i++) {
		if (contents[i])
			add_grain(&stream, i);
	}
	add_tables(&stream);
	add_marker(&stream, 1, VMDK_MARKER_FOOTER);
	header.directory = stream.directory;
	stream.footer = stream.at++;
	write_sector("s.vmdk", stream.footer, &header, sizeof(header));
	add_marker(&stream, 0, VMDK_MARKER_END);
	return stream;
}

static void a_stream_is_read_by_its_footer(void **state)
{
	write_stream();
	assert_grains("s.vmdk", 0);
}

static void a_stream_that_was_cut_is_refused(void **state)
{
	struct stream stream = write_stream();

	for (uint64_t sectors = 1; sectors < stream.at; sectors++) {
		fixture_truncate("s.vmdk", sectors * VMDK_SECTOR);
		fixture_refuse("s.vmdk", -EBADMSG);
		write_stream();
	}
}

static const struct {
	size_t at, bytes;
	uint64_t value;
	int error;
} footer_cases[] = {
	{FIELD(magic), 0, -EBADMSG},
	{FIELD(version), 9, -ENOTSUP},
	{FIELD(flags), 0, -EBADMSG},
	{FIELD(capacity), 0, -EBADMSG},
	{FIELD(capacity), UINT64_MAX, -ENOTSUP},
	{FIELD(grain_sectors), 16, -EBADMSG},
	{FIELD(directory), VMDK_DIRECTORY_AT_END, -EBADMSG},
	{FIELD(directory), 0, -EBADMSG},
	{FIELD(directory), 1000, -EBADMSG},
	{FIELD(compression), 0, -EBADMSG},
	{FIELD(descriptor_offset), 0, 0}, /* many footers have none */
};

static void a_wrong_footer_is_refused_field_by_field(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(footer_cases); i++) {
		struct stream stream = write_stream();

		fixture_write("s.vmdk", stream.footer * VMDK_SECTOR + footer_cases[i].at,
			      &footer_cases[i].value, footer_cases[i].bytes);
		if (footer_cases[i].error)
			fixture_refuse("s.vmdk", footer_cases[i].error);
		else
			assert_grains("s.vmdk", 0);
	}
}

#define MARKER(name) offsetof(struct vmdk_grain_marker, name), sizeof(le32)

static const struct {
	size_t at, bytes;
	uint32_t value;
	bool bad;
} marker_cases[] = {
	{MARKER(sector), GRAIN_SECTORS, true},
	{MARKER(bytes), 0, true},
	{MARKER(bytes), 1, true},
	{MARKER(bytes), 2 * GRAIN + 1, true},
	{MARKER(bytes), UINT32_MAX, true},
	{MARKER(bytes), 500, false}, /* what is behind the packed data does not matter */
	{sizeof(struct vmdk_grain_marker), 1, 0xff, true},
	{sizeof(struct vmdk_grain_marker) + 6, 4, 0xffffffff, true},
};

static void a_damaged_grain_is_unreadable_and_no_other(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(marker_cases); i++) {
		struct stream stream = write_stream();

		fixture_write("s.vmdk", stream.grains[0] * VMDK_SECTOR + marker_cases[i].at,
			      &marker_cases[i].value, marker_cases[i].bytes);
		assert_grains("s.vmdk", marker_cases[i].bad);
	}
}

/* --- descriptors --- */

static const struct {
	const char *text;
	int error;
} descriptor_cases[] = {
	{HEAD "RW 8 ZERO\n", 0},
	{"\r\n# comment\r\n  # disk descriptorfile\r\nVERSION = 3\r\ncid = \"A\"\r\nRW 8 ZERO\r\n",
	 0},
	{HEAD "what is this\nkey=value\n=\nRW 8 ZERO", 0},
	{HEAD "CID=zz\nRW 8 ZERO", 0}, /* the first counts */
	{HEAD "RW 4503599627370496 ZERO\n", -EBADMSG},
	{HEAD "RW 137438953472 ZERO\n", 0},
	{HEAD "RW 137438953473 ZERO\n", -EBADMSG},
	{HEAD "RW 137438953472 ZERO\nRW 1 ZERO\n", -ENOTSUP},
	{HEAD "RW 0 ZERO\n", -EBADMSG},
	{HEAD "RW -1 ZERO\n", -EBADMSG},
	{HEAD "RW 0x10 ZERO\n", -EBADMSG},
	{HEAD "RW 99999999999999999999999999 ZERO\n", -EBADMSG},
	{HEAD "RW\n", -EBADMSG},
	{HEAD "RW 8\n", -ENOTSUP},
	{HEAD "RW 8 FLAT\n", -EBADMSG},
	{HEAD "RW 8 FLAT flat 0\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"flat 0\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"\" 0\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"a\tb\" 0\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"flat\" x\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"flat\" 1\n", -EBADMSG}, /* the file has 8 sectors */
	{HEAD "RW 8 FLAT \"flat\" 18446744073709551615\n", -EBADMSG},
	{HEAD "RW 9 FLAT \"flat\" 0\n", -EBADMSG},
	{HEAD "RW 8 FLAT \"flat\" 0\n", 0},
	{HEAD "RW 8 VMFS \"flat\"\n", 0},
	{HEAD "RW 7 FLAT \"flat\" 1\n", 0},
	{HEAD "RW 8 FLAT \"missing\" 0\n", -ENOENT},
	{HEAD "RW 8 SPARSE \"flat\"\n", -EBADMSG},
	{HEAD "RW 8 SPARSE \"flat\" 1\n", -EBADMSG},
	{HEAD "RW 8 VMFSSPARSE \"flat\"\n", -ENOTSUP},
	{HEAD "RW 8 SESPARSE \"flat\"\n", -ENOTSUP},
	{HEAD "RW 8 VMFSRDM \"flat\"\n", -ENOTSUP},
	{HEAD "RW 8 VMFSRAW \"flat\"\n", -ENOTSUP},
	{HEAD "RW 8 OTHER \"flat\"\n", -ENOTSUP},
	{HEAD "NOACCESS 8 FLAT \"flat\" 0\n", -ENOTSUP},
	{HEAD "RW 8 FLAT \"/etc/hostname\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"../flat\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"sub/../../flat\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"..\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"sub\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"sub/flat\" 0\n", 0},
	{HEAD "RW 8 FLAT \"./flat\" 0\n", 0},
	{HEAD "RW 8 FLAT \"/dev/zero\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"fifo\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"link-inside\" 0\n", 0},
	{HEAD "RW 8 FLAT \"link-outside\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"link-device\" 0\n", -EPERM},
	{HEAD "RW 8 FLAT \"link-itself\" 0\n", -EPERM},
	{HEAD "encryption.keySafe = \"vmware:key\"\nRW 8 ZERO", -ENOTSUP},
	{HEAD, -EBADMSG},
	{"# Disk DescriptorFile\nversion=1\nRW 8 ZERO\n", -EBADMSG},
	{"# Disk DescriptorFile\nCID=1\nRW 8 ZERO\n", -EBADMSG},
	{"# Disk DescriptorFile\nversion=0\nCID=1\nRW 8 ZERO\n", -ENOTSUP},
	{"# Disk DescriptorFile\nversion=4\nCID=1\nRW 8 ZERO\n", -ENOTSUP},
	{"# Disk DescriptorFile\nversion=1\nCID=\nRW 8 ZERO\n", -EBADMSG},
	{"# Disk DescriptorFile\nversion=1\nCID=123456789\nRW 8 ZERO\n", -EBADMSG},
	{"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=2\nRW 8 ZERO\n", -EBADMSG},
};

static void make_neighbours(void)
{
	static const char flat[8 * VMDK_SECTOR];

	fixture_write("flat", 0, flat, sizeof(flat));
	fixture_run("mkdir sub && cp flat sub/flat && mkfifo fifo && ln -s sub/flat link-inside && "
		    "ln -s /etc/hostname link-outside && ln -s /dev/zero link-device && "
		    "ln -s link-itself link-itself");
}

static void descriptors_are_checked_line_by_line(void **state)
{
	make_neighbours();
	for (size_t i = 0; i < ARRAY_SIZE(descriptor_cases); i++) {
		int error = descriptor_cases[i].error;

		fixture_text("x.vmdk", "%s", descriptor_cases[i].text);
		if (error)
			fixture_refuse("x.vmdk", error);
		else
			disk_close(fixture_open_well("x.vmdk"));
	}
}

static void an_absolute_name_into_the_folder_is_inside(void **state)
{
	char *path;

	make_neighbours();
	path = realpath(fixture_path("flat"), NULL);
	fixture_text("x.vmdk", HEAD "RW 8 FLAT \"%s\" 0\n", path);
	disk_close(fixture_open_well("x.vmdk"));
	fixture_text("sub/x.vmdk", HEAD "RW 8 FLAT \"%s\" 0\n", path);
	fixture_refuse("sub/x.vmdk", -EPERM);
	free(path);
}

static void a_descriptor_without_end_is_refused(void **state)
{
	fixture_text("x.vmdk", HEAD);
	fixture_truncate("x.vmdk", VMDK_MAX_DESCRIPTOR_BYTES + 1);
	fixture_refuse("x.vmdk", -EBADMSG);
}

static void too_many_extents_are_refused(void **state)
{
	static char text[64 * 1024];
	size_t used = snprintf(text, sizeof(text), "%s", HEAD);

	for (unsigned int i = 0; i < VMDK_MAX_EXTENTS; i++)
		used += snprintf(text + used, sizeof(text) - used, "RW 1 ZERO\n");
	fixture_text("x.vmdk", "%s", text);
	disk_close(fixture_open_well("x.vmdk"));
	fixture_text("x.vmdk", "%sRW 1 ZERO\n", text);
	fixture_refuse("x.vmdk", -ENOTSUP);
}

static void extents_of_all_kinds_follow_one_another(void **state)
{
	static const struct {
		unsigned int sector;
		char c;
	} places[] = {{0, 0},	 {7, 0},    {8, 'F'},  {9, 'F'},  {10, 'a'}, {17, 'a'}, {18, 0},
		      {34, 'b'}, {41, 'b'}, {42, 'c'}, {46, 'c'}, {47, 'F'}, {48, 0}};
	static const uint64_t piece; /* no descriptor inside */
	uint8_t found[VMDK_SECTOR];
	struct disk *disk;

	write_sparse("s001");
	fixture_write("s001", offsetof(struct vmdk_sparse_header, descriptor_offset), &piece,
		      sizeof(piece));
	write_grain("flat", 0, 'f');
	write_grain("flat", 5, 'F');
	fixture_text("x.vmdk", HEAD "RW 8 ZERO\nRW 2 FLAT \"flat\" 5\nRW 37 SPARSE \"s001\"\n"
				    "RW 1 FLAT \"flat\" 12\nRW 3 ZERO\n");
	disk = fixture_open_well("x.vmdk");
	assert_int_equal(disk->top->bytes, 51 * VMDK_SECTOR);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(
			disk_pread(disk, places[i].sector * VMDK_SECTOR, found, sizeof(found)), 0);
		if (!fixture_is_filled(found, sizeof(found), places[i].c))
			fail_msg("sector %u: %02x", places[i].sector, found[0]);
	}
	disk_close(disk);
	fixture_refuse("s001", -ENOTSUP);
}

/* --- parents --- */

static void write_child(const char *name, const char *head)
{
	char text[VMDK_SECTOR];

	write_sparse(name);
	snprintf(text, sizeof(text), "# Disk DescriptorFile\nversion=1\n%s\nRW 40 SPARSE \"x\"\n",
		 head);
	write_descriptor(name, text);
}

static void assert_child(const char *name, char absent)
{
	struct disk *disk = fixture_open_well(name);
	uint8_t found[GRAIN];

	for (unsigned int i = 0; i < GRAINS; i++) {
		assert_int_equal(disk_pread(disk, i * GRAIN, found, GRAIN), 0);
		assert_true(fixture_is_filled(found, GRAIN, i == 1 ? absent : contents[i]));
	}
	disk_close(disk);
}

static void what_a_snapshot_lacks_is_in_its_parent(void **state)
{
	static const char *const hints[] = {
		"base.vmdk",	       "./base.vmdk", "C:\\\\disks\\\\base.vmdk",
		"/far/away/base.vmdk", /* moved along: the content id tells */
		"../base.vmdk",
	};
	char head[256];

	for (unsigned int i = 0; i < GRAINS; i++)
		write_grain("flat", i * GRAIN_SECTORS, 'p');
	fixture_text("base.vmdk", HEAD "RW 40 FLAT \"flat\" 0\n");
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
		snprintf(head, sizeof(head), "CID=1\nparentCID=a\nparentFileNameHint=\"%s\"",
			 hints[i]);
		write_child("x.vmdk", head);
		assert_child("x.vmdk", 'p');
	}
}

static const struct {
	const char *head;
	int error;
} parent_cases[] = {
	{"CID=1\nparentCID=b\nparentFileNameHint=\"base.vmdk\"", -ESTALE},
	{"CID=1\nparentCID=a\nparentFileNameHint=\"missing.vmdk\"", -ENOENT},
	{"CID=1\nparentCID=1\nparentFileNameHint=\"x.vmdk\"", -ELOOP},
	{"CID=1\nparentCID=2\nparentFileNameHint=\"loop.vmdk\"", -ELOOP},
	{"CID=1\nparentCID=a\nparentFileNameHint=\"raw\"", -EBADMSG},
	{"CID=1\nparentCID=a\nparentFileNameHint=\"/etc/hostname\"", -ENOENT},
	{"CID=1\nparentCID=a\nparentFileNameHint=\"link.vmdk\"", -EPERM},
	{"CID=1\nparentCID=a\nparentFileNameHint=\"\"", -EBADMSG},
};

static void parents_that_will_not_do_are_refused(void **state)
{
	static const char zeros[BYTES];

	fixture_text("base.vmdk", HEAD "RW 40 ZERO\n");
	fixture_run("mkdir sub && ln -s ../base.vmdk sub/link.vmdk");
	fixture_write("sub/raw", 0, zeros, sizeof(zeros));
	fixture_run("cp base.vmdk sub/base.vmdk");
	write_child("sub/loop.vmdk", "CID=2\nparentCID=1\nparentFileNameHint=\"x.vmdk\"");
	for (size_t i = 0; i < ARRAY_SIZE(parent_cases); i++) {
		write_child("sub/x.vmdk", parent_cases[i].head);
		fixture_refuse("sub/x.vmdk", parent_cases[i].error);
	}
}

/* --- several threads --- */

struct reader {
	pthread_t thread;
	struct disk *disk;
	unsigned int grain, wrong;
};

/* As the queues of several threads do it: the look-up with the lock, the unpacking without. */
static void *read_again_and_again(void *argument)
{
	struct reader *reader = argument;
	struct image *image = reader->disk->top;
	uint8_t found[GRAIN];

	for (unsigned int i = 0; i < 500; i++) {
		uint64_t offset = reader->grain * GRAIN;
		struct run run = {.bytes = GRAIN, .fd = image->fd, .fill_from = UINT64_MAX};

		pthread_mutex_lock(&reader->disk->lock);
		if (image->driver->map(image, offset, &run) || run.kind != RUN_DECODE)
			reader->wrong++;
		pthread_mutex_unlock(&reader->disk->lock);
		if (image->driver->decode(image, offset, found, GRAIN) ||
		    !fixture_is_filled(found, GRAIN, contents[reader->grain]))
			reader->wrong++;
	}
	return NULL;
}

static void several_threads_unpack_at_the_same_time(void **state)
{
	struct reader readers[] = {{.grain = 0}, {.grain = 3}, {.grain = 4}, {.grain = 3}};
	struct disk *disk;

	write_stream();
	disk = fixture_open_well("s.vmdk");
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i].disk = disk;
		assert_int_equal(
			pthread_create(&readers[i].thread, NULL, read_again_and_again, &readers[i]),
			0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].wrong, 0);
	}
	disk_close(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(a_sparse_disk_reads_whatever_it_was_named),
		FIXTURE_TEST(writing_is_refused),
		FIXTURE_TEST(a_wrong_header_is_refused_field_by_field),
		FIXTURE_TEST(a_file_cut_anywhere_is_refused_or_misses_grains),
		FIXTURE_TEST(sparse_files_of_esx_are_refused_by_name),
		FIXTURE_TEST(a_wrong_entry_makes_its_grain_unreadable),
		FIXTURE_TEST(two_wrong_directories_make_the_disk_unreadable),
		FIXTURE_TEST(tables_that_lie_on_each_other_are_harmless),
		FIXTURE_TEST(zero_grains_need_their_flag),
		FIXTURE_TEST(a_stream_is_read_by_its_footer),
		FIXTURE_TEST(a_stream_that_was_cut_is_refused),
		FIXTURE_TEST(a_wrong_footer_is_refused_field_by_field),
		FIXTURE_TEST(a_damaged_grain_is_unreadable_and_no_other),
		FIXTURE_TEST(descriptors_are_checked_line_by_line),
		FIXTURE_TEST(an_absolute_name_into_the_folder_is_inside),
		FIXTURE_TEST(a_descriptor_without_end_is_refused),
		FIXTURE_TEST(too_many_extents_are_refused),
		FIXTURE_TEST(extents_of_all_kinds_follow_one_another),
		FIXTURE_TEST(what_a_snapshot_lacks_is_in_its_parent),
		FIXTURE_TEST(parents_that_will_not_do_are_refused),
		FIXTURE_TEST(several_threads_unpack_at_the_same_time),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
