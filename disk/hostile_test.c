/*
 * hostile_test.c - thousands of damaged images of every format, each with its outcome
 *
 * A good image of each kind is changed in one place: each field at the values that break programs,
 * with the checksums put right; every byte of the metadata, with the checksums left as they are;
 * every length. Each of these opens as it should, or is refused with an error of a known kind and a
 * sentence; whatever opens is read all over. Opening and reading stay within 64 MiB of memory: the
 * process has no more than that.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "crc32c.h"
#include "image_fixture.h"
#include "log.h"
#include "qcow2.h"
#include "vhd.h"
#include "vhd_internal.h"
#include "vhdx.h"
#include "vmdk.h"

#define MEMORY	    (64 * MIB)
#define LEAST_CASES 2000u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static const char *corpus; /* the folder of the fuzz targets' inputs */
static unsigned int case_count;

/* --- good images --- */

struct base {
	uint8_t *bytes, *contents;
	size_t count, content_bytes;
	bool read_only; /* the format is */
	void (*fix)(uint8_t *bytes, size_t count);
};

static void read_whole(const char *path, uint8_t **ret_bytes, size_t *ret_count)
{
	FILE *file = fopen(path, "r");
	struct stat status;

	if (!file || fstat(fileno(file), &status) < 0)
		fail_msg("%s is not there", path);
	*ret_count = status.st_size;
	*ret_bytes = malloc(*ret_count);
	assert_int_equal(fread(*ret_bytes, 1, *ret_count, file), *ret_count);
	fclose(file);
}

static struct base base_from(const char *path, const char *name)
{
	struct base base = {};
	struct disk *disk;

	if (strcmp(path, fixture_path(name)))
		fixture_run("cp %s %s", path, name);
	disk = fixture_open_well(name);
	base.content_bytes = disk->top->bytes;
	base.contents = malloc(base.content_bytes);
	assert_int_equal(disk_pread(disk, 0, base.contents, base.content_bytes), 0);
	disk_close(disk);
	read_whole(fixture_path(name), &base.bytes, &base.count);
	return base;
}

static void base_free(struct base *base)
{
	free(base->bytes);
	free(base->contents);
}

static void fix_vhd_sum(uint8_t *bytes, size_t count, size_t hole)
{
	be32 sum = htobe32(vhd_checksum(bytes, count, hole));

	memcpy(bytes + hole, &sum, sizeof(sum));
}

static void fix_vhd(uint8_t *bytes, size_t count)
{
	static const size_t hole = offsetof(struct vhd_footer, checksum);

	fix_vhd_sum(bytes + count - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES, hole);
	if (memcmp(bytes, VHD_COOKIE, 8) && memcmp(bytes + 512, VHD_DYNAMIC_COOKIE, 8))
		return; /* fixed */
	fix_vhd_sum(bytes, VHD_FOOTER_BYTES, hole);
	fix_vhd_sum(bytes + 512, sizeof(struct vhd_dynamic_header),
		    offsetof(struct vhd_dynamic_header, checksum));
}

static void fix_vhdx(uint8_t *bytes, size_t count)
{
	for (unsigned int copy = 0; copy < 2; copy++) {
		uint8_t *header = bytes + VHDX_HEADER_AT + copy * VHDX_COPY_STRIDE;
		uint8_t *regions = bytes + VHDX_REGIONS_AT + copy * VHDX_COPY_STRIDE;
		le32 sum = crc32c_with_hole(header, sizeof(struct vhdx_header), 4);

		memcpy(header + 4, &sum, sizeof(sum));
		sum = crc32c_with_hole(regions, VHDX_REGIONS_BYTES, 4);
		memcpy(regions + 4, &sum, sizeof(sum));
	}
}

static struct base create_base(enum disk_format format, uint64_t bytes, uint32_t block_bytes,
			       const char *parent)
{
	struct disk_create_options create = {.format = format,
					     .bytes = bytes,
					     .block_bytes = block_bytes,
					     .parent = parent ? fixture_path(parent) : NULL};
	struct disk_options options = {.read_only = false};
	static uint8_t data[4096];
	struct disk *disk;
	struct base base;

	if (disk_create(fixture_path("base"), &create, &fixture_error) ||
	    disk_open(fixture_path("base"), &options, &disk, &fixture_error))
		fail_msg("%s", fixture_error.text);
	for (unsigned int i = 0; i < 3; i++) {
		memset(data, 'a' + i, sizeof(data));
		assert_int_equal(disk_pwrite(disk, i * (disk->top->bytes / 3 & ~4095ull), data,
					     sizeof(data)),
				 0);
	}
	disk_close(disk);
	base = base_from(fixture_path("base"), "base");
	base.fix = format >= DISK_VHDX_FIXED ? fix_vhdx : fix_vhd;
	return base;
}

static struct base corpus_base(const char *target, const char *name)
{
	char path[512];
	struct base base;

	snprintf(path, sizeof(path), "%s/%s/%s", corpus, target, name);
	base = base_from(path, "base");
	base.read_only = true;
	return base;
}

/* --- one case --- */

static void write_file(const char *name, const uint8_t *bytes, size_t count)
{
	static const uint8_t zeros[4096];
	int fd;

	/* Anew: file systems take care, and time, of a file that is emptied and written again. */
	unlink(fixture_path(name));
	fd = open(fixture_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, count), 0);
	for (size_t at = 0; at < count; at += sizeof(zeros)) {
		size_t part = MIN(count - at, sizeof(zeros));

		if (memcmp(bytes + at, zeros, part))
			assert_int_equal(pwrite(fd, bytes + at, part, at), part);
	}
	close(fd);
}

static bool is_typed(int error)
{
	static const int errors[] = {-EBADMSG, -ENOTSUP, -EINVAL, -EPERM,
				     -ENOENT,  -ESTALE,	 -ELOOP,  -EROFS};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		if (errors[i] == error)
			return true;
	}
	return false;
}

/* Does it have the contents of the good image, all of them? Reads may fail, but not otherwise. */
static bool read_all_over(struct disk *disk, const struct base *base)
{
	static uint8_t found[64 * 1024];
	uint64_t bytes = disk->top->bytes, end = MIN(bytes, base->content_bytes);
	bool same = bytes == base->content_bytes;
	struct disk_extent extent = {};

	for (uint64_t at = 0; at < end; at += sizeof(found)) {
		size_t part = MIN(sizeof(found), end - at);
		int r = disk_pread(disk, at, found, part);

		assert_true(r == 0 || r == -EIO);
		same = same && !r && !memcmp(found, base->contents + at, part);
	}
	for (unsigned int i = 0; i < 64 && extent.offset + extent.bytes < bytes; i++) {
		uint64_t at = extent.offset + extent.bytes;

		if (disk_next_extent(disk, at, &extent))
			break;
		disk_pread(disk, at, found, MIN(extent.bytes, sizeof(found)));
	}
	disk_pread(disk, bytes - 512, found, 512);
	return same;
}

static int open_case(const struct base *base, bool read_only, bool *ret_same)
{
	struct disk_options options = {.read_only = read_only};
	struct disk *disk;
	int r;

	fixture_error.text[0] = 0;
	r = disk_open(fixture_path("case"), &options, &disk, &fixture_error);
	if (r < 0) {
		if (!is_typed(r) || !fixture_error.text[0])
			fail_msg("error %d, \"%s\"", r, fixture_error.text);
		return r;
	}
	*ret_same = read_all_over(disk, base);
	disk_close(disk);
	return 0;
}

static char letter_of(int error)
{
	switch (error) {
	case -EBADMSG: return 'B';
	case -ENOTSUP: return 'N';
	case -EINVAL: return 'I';
	case -EPERM: return 'P';
	case -ENOENT: return 'E';
	case -ESTALE: return 'S';
	case -ELOOP: return 'L';
	default: return '?';
	}
}

/*
 * The outcome of "case": '=' opens with the good contents, 'w' opens with others or unreadable
 * ones; small 'r', 's' likewise, but for reading only, where the format could be written; else the
 * error.
 */
static char outcome_of_case(const struct base *base)
{
	bool same = false, same_again = false;
	int r, writing = 0;

	case_count++;
	r = open_case(base, true, &same);
	if (!base->read_only) {
		writing = open_case(base, false, &same_again);
		/* Never the other way round. */
		assert_true(r == 0 || writing < 0);
	}
	if (r < 0)
		return letter_of(r);
	if (writing < 0)
		return same ? 's' : 'r';
	return same && (same_again || base->read_only) ? '=' : 'w';
}

static char outcome(const struct base *base, const uint8_t *bytes, size_t count)
{
	write_file("case", bytes, count);
	return outcome_of_case(base);
}

/* --- fields --- */

enum { LITTLE, BIG };
#define VALUES 6u /* 0, 1, maximum, one less, one more, top bit alone */

struct field {
	const char *name;
	uint64_t at;
	unsigned int bytes, order;
	uint64_t stride; /* to its copy, which gets the same; 0: none */
	const char *outcomes;
};

static uint64_t get(const uint8_t *at, unsigned int bytes, unsigned int order)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint64_t)at[order == BIG ? bytes - 1 - i : i] << (8 * i);
	return value;
}

static void put(uint8_t *at, unsigned int bytes, unsigned int order, uint64_t value)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[order == BIG ? bytes - 1 - i : i] = value >> (8 * i);
}

static uint64_t hostile_value(unsigned int which, uint64_t good, unsigned int bytes)
{
	switch (which) {
	case 0: return 0;
	case 1: return 1;
	case 2: return UINT64_MAX;
	case 3: return good - 1;
	case 4: return good + 1;
	default: return BIT(8 * bytes - 1);
	}
}

static char field_outcome(const struct base *base, const struct field *field, unsigned int which)
{
	uint8_t *bytes = malloc(base->count);
	char found;
	uint64_t value;

	memcpy(bytes, base->bytes, base->count);
	value = hostile_value(which, get(bytes + field->at, field->bytes, field->order),
			      field->bytes);
	put(bytes + field->at, field->bytes, field->order, value);
	if (field->stride)
		put(bytes + field->at + field->stride, field->bytes, field->order, value);
	if (base->fix)
		base->fix(bytes, base->count);
	found = outcome(base, bytes, base->count);
	free(bytes);
	return found;
}

/* All rows, then the verdict: whoever changes a check sees all that it changes. */
static void check_fields(const struct base *base, const struct field *fields, size_t count)
{
	unsigned int wrong = 0;

	for (size_t i = 0; i < count; i++) {
		char found[VALUES + 1] = {};

		for (unsigned int which = 0; which < VALUES; which++)
			found[which] = field_outcome(base, &fields[i], which);
		if (!strcmp(found, fields[i].outcomes))
			continue;
		print_error("%-28s %s instead of %s: %s\n", fields[i].name, found,
			    fields[i].outcomes, fixture_error.text);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

#define MEMBER(type, member, base_at, order, stride, outcomes)                                     \
	{                                                                                          \
#member, (base_at) + offsetof(struct type, member),                                \
			sizeof(((struct type *)0)->member), order, stride, outcomes                \
	}

/* --- things that lie on each other --- */

struct overlap {
	const char *name;
	uint64_t at;
	unsigned int bytes, order;
	uint64_t stride, value;
	char outcome;
};

static void check_overlaps(const struct base *base, const struct overlap *overlaps, size_t count)
{
	uint8_t *bytes = malloc(base->count);

	for (size_t i = 0; i < count; i++) {
		const struct overlap *overlap = &overlaps[i];
		char found;

		memcpy(bytes, base->bytes, base->count);
		put(bytes + overlap->at, overlap->bytes, overlap->order, overlap->value);
		put(bytes + overlap->at + overlap->stride, overlap->bytes, overlap->order,
		    overlap->value);
		if (base->fix)
			base->fix(bytes, base->count);
		found = outcome(base, bytes, base->count);
		if (found != overlap->outcome)
			fail_msg("%s: '%c' instead of '%c': %s", overlap->name, found,
				 overlap->outcome, fixture_error.text);
	}
	free(bytes);
}

/* --- every byte, and every length --- */

static void check_bytes(const struct base *base, size_t from, size_t to, const char *allowed)
{
	uint8_t *bytes = malloc(base->count);

	memcpy(bytes, base->bytes, base->count);
	for (size_t at = from; at < to; at++) {
		char found;

		bytes[at] ^= 0x55;
		found = outcome(base, bytes, base->count);
		bytes[at] = base->bytes[at];
		if (!strchr(allowed, found))
			fail_msg("byte %zu: '%c', not of \"%s\": %s", at, found, allowed,
				 fixture_error.text);
	}
	free(bytes);
}

static void check_lengths(const struct base *base, size_t step, const char *allowed)
{
	for (size_t count = 1; count < base->count; count += step) {
		char found = outcome(base, base->bytes, count);

		if (!strchr(allowed, found))
			fail_msg("%zu bytes: '%c', not of \"%s\": %s", count, found, allowed,
				 fixture_error.text);
	}
}

/* --- VHD --- */

#define VHD_BLOCK 4096u
#define VHD_BYTES (6 * VHD_BLOCK + 1024)

static void vhd_fields(void **state)
{
	struct base base = create_base(DISK_VHD_DYNAMIC, VHD_BYTES, VHD_BLOCK, NULL);
	uint64_t tail = base.count - VHD_FOOTER_BYTES;
	uint64_t table =
		get(base.bytes + 512 + offsetof(struct vhd_dynamic_header, table_offset), 8, BIG);
#define BOTH(member, outcomes)	 MEMBER(vhd_footer, member, 0, BIG, tail, outcomes)
#define TAIL(member, outcomes)	 MEMBER(vhd_footer, member, tail, BIG, 0, outcomes)
#define HEADER(member, outcomes) MEMBER(vhd_dynamic_header, member, 512, BIG, 0, outcomes)
#define ENTRY(n, outcomes)                                                                         \
	{                                                                                          \
		"table[" #n "]", table + (n)*4, 4, BIG, 0, outcomes                                \
	}
	const struct field fields[] = {
		BOTH(cookie, "BBBBBB"),
		BOTH(features, "======"),
		BOTH(version, "NNNN=N"),
		BOTH(data_offset, "BBBBBB"),
		BOTH(time_stamp, "======"),
		BOTH(creator_version, "======"),
		BOTH(creator_host, "======"),
		BOTH(original_size, "======"),
		BOTH(current_size, "BBBBBB"),
		BOTH(cylinders, "======"),
		BOTH(heads, "======"),
		BOTH(sectors, "======"),
		BOTH(disk_type, "NNNwEN"),
		BOTH(saved_state, "======"),
		TAIL(cookie, "======"),
		TAIL(version, "NNNN=N"),
		TAIL(data_offset, "BBBBBB"),
		TAIL(current_size, "BBBBBB"),
		TAIL(disk_type, "NNNwEN"),
		HEADER(cookie, "BBBBBB"),
		HEADER(data_offset, "======"),
		HEADER(table_offset, "BBBBBB"),
		HEADER(version, "NNNN=N"),
		HEADER(max_table_entries, "BB=B=="),
		HEADER(block_size, "NNNNNN"),
		HEADER(parent_time_stamp, "======"),
		HEADER(reserved, "======"),
		ENTRY(0, "BBwwwr"),
		ENTRY(1, "BB=BBr"),
		ENTRY(2, "BBwwwr"),
		ENTRY(4, "BBwwrr"),
		ENTRY(6, "BB=BBr"),
		ENTRY(7, "======"),
	};

	check_fields(&base, fields, ARRAY_SIZE(fields));
	base_free(&base);
}

static void vhd_overlaps(void **state)
{
	struct base base = create_base(DISK_VHD_DYNAMIC, VHD_BYTES, VHD_BLOCK, NULL);
	uint64_t header = 512 + offsetof(struct vhd_dynamic_header, table_offset);
	uint64_t table = get(base.bytes + header, 8, BIG), first = get(base.bytes + table, 4, BIG);
	const struct overlap overlaps[] = {
		{"table on the footer's copy", header, 8, BIG, 0, 0, 'B'},
		{"table on the header", header, 8, BIG, 0, 1024, 'B'},
		{"table on a block's bits, all ones", header, 8, BIG, 0, first * 512, 'w'},
		{"table behind the end", header, 8, BIG, 0, base.count, 'B'},
		{"block on the footer's copy", table + 4, 4, BIG, 0, 0, 'B'},
		{"block on the header", table + 4, 4, BIG, 0, 1, 'B'},
		{"block on the table", table + 4, 4, BIG, 0, table / 512, 'B'},
		{"block on a block", table + 4, 4, BIG, 0, first, 'B'},
		{"block on a block's end", table + 4, 4, BIG, 0, first + 8, 'B'},
		{"block on the footer", table + 4, 4, BIG, 0, base.count / 512 - 1, 'r'},
	};

	check_overlaps(&base, overlaps, ARRAY_SIZE(overlaps));
	base_free(&base);
}

/* One lost copy is made good by the other; the header has none. */
static void vhd_bytes(void **state)
{
	struct base base = create_base(DISK_VHD_DYNAMIC, VHD_BYTES, VHD_BLOCK, NULL);

	check_bytes(&base, 0, VHD_FOOTER_BYTES, "=");
	check_bytes(&base, 512, 512 + sizeof(struct vhd_dynamic_header), "B");
	check_bytes(&base, base.count - VHD_FOOTER_BYTES, base.count, "=");
	check_lengths(&base, 128, "=rsBN");
	base_free(&base);
}

/* What other programs write: the size is "current size", however it relates to the geometry. */
static void vhd_creators(void **state)
{
	static const char *const creators[] = {"vpc ",	"vs  ", "win ", "win2",	  "vbox", "tap\0",
					       "d2v\0", "qemu", "qem2", "wa\0\0", "ctxp"};
	static const struct {
		uint16_t cylinders;
		uint8_t heads, sectors;
	} geometries[] = {{0, 0, 0},  {1, 4, 12}, {1, 4, 13},
			  {1, 3, 17}, {1, 4, 17}, {65535, 16, 255}};

	for (enum disk_format format = DISK_VHD_FIXED; format <= DISK_VHD_DYNAMIC; format++) {
		struct base base = create_base(format, VHD_BYTES, VHD_BLOCK, NULL);

		for (size_t i = 0; i < ARRAY_SIZE(creators) * ARRAY_SIZE(geometries); i++) {
			struct vhd_footer footer;
			uint8_t *tail = base.bytes + base.count - sizeof(footer);
			unsigned int shape = i / ARRAY_SIZE(creators);

			memcpy(&footer, tail, sizeof(footer));
			memcpy(footer.creator, creators[i % ARRAY_SIZE(creators)], 4);
			footer.cylinders = htobe16(geometries[shape].cylinders);
			footer.heads = geometries[shape].heads;
			footer.sectors = geometries[shape].sectors;
			memcpy(tail, &footer, sizeof(footer));
			if (format == DISK_VHD_DYNAMIC)
				memcpy(base.bytes, &footer, sizeof(footer));
			fix_vhd(base.bytes, base.count);
			if (outcome(&base, base.bytes, base.count) != '=')
				fail_msg("%s, shape %u: %s", creators[i % ARRAY_SIZE(creators)],
					 shape, fixture_error.text);
		}
		base_free(&base);
		fixture_run("rm base");
	}
}

/* --- VHDX --- */

#define VHDX_BYTES (3 * MIB)

static uint64_t region_at(const struct base *base, struct guid guid)
{
	const struct vhdx_region *region = (const void *)(base->bytes + VHDX_REGIONS_AT +
							  sizeof(struct vhdx_region_table_header));

	return memcmp(&region->guid, &guid, sizeof(guid)) ? region[1].file_offset
							  : region->file_offset;
}

static uint64_t item_at(const struct base *base, uint64_t metadata, struct guid guid)
{
	const struct vhdx_metadata_entry *entry =
		(const void *)(base->bytes + metadata + sizeof(struct vhdx_metadata_header));

	while (memcmp(&entry->guid, &guid, sizeof(guid)))
		entry++;
	return metadata + entry->offset;
}

static void vhdx_fields(void **state)
{
	struct base base = create_base(DISK_VHDX_DYNAMIC, VHDX_BYTES, MIB, NULL);
	uint64_t regions = VHDX_REGIONS_AT + sizeof(struct vhdx_region_table_header);
	uint64_t bat = region_at(&base, (struct guid)VHDX_REGION_BAT);
	uint64_t metadata = region_at(&base, (struct guid)VHDX_REGION_METADATA);
	uint64_t entries = metadata + sizeof(struct vhdx_metadata_header);
#define HEAD(member, outcomes)                                                                     \
	MEMBER(vhdx_header, member, VHDX_HEADER_AT, LITTLE, VHDX_COPY_STRIDE, outcomes)
#define REGIONS(member, outcomes)                                                                  \
	MEMBER(vhdx_region_table_header, member, VHDX_REGIONS_AT, LITTLE, VHDX_COPY_STRIDE,        \
	       outcomes)
#define REGION(n, member, outcomes)                                                                \
	MEMBER(vhdx_region, member, regions + (n) * sizeof(struct vhdx_region), LITTLE,            \
	       VHDX_COPY_STRIDE, outcomes)
#define TABLE(member, outcomes) MEMBER(vhdx_metadata_header, member, metadata, LITTLE, 0, outcomes)
#define ITEM_ENTRY(n, member, outcomes)                                                            \
	MEMBER(vhdx_metadata_entry, member, entries + (n) * sizeof(struct vhdx_metadata_entry),    \
	       LITTLE, 0, outcomes)
#define ITEM(item, bytes, outcomes)                                                                \
	{                                                                                          \
#item, item_at(&base, metadata, (struct guid)item), bytes, LITTLE, 0, outcomes     \
	}
#define BAT(n, outcomes)                                                                           \
	{                                                                                          \
		"BAT[" #n "]", bat + (n)*8, 8, LITTLE, 0, outcomes                                 \
	}
	const struct field fields[] = {
		{"identifier", 0, 8, LITTLE, 0, "BBBBBB"},
		HEAD(signature, "BBBBBB"),
		HEAD(sequence_number, "==B==="),
		HEAD(log_version, "======"),
		HEAD(version, "N=NNNN"),
		HEAD(log_length, "BBBBBB"),
		HEAD(log_offset, "BBBBBB"),
		REGIONS(signature, "BBBBBB"),
		REGIONS(entry_count, "BBBBBB"),
		REGIONS(reserved, "======"),
		REGION(0, file_offset, "BBBBBB"),
		REGION(0, length, "BBBBBB"),
		REGION(0, flags, "======"),
		REGION(1, file_offset, "BBBBBB"),
		REGION(1, length, "BBBBBB"),
		REGION(1, flags, "======"),
		TABLE(signature, "BBBBBB"),
		TABLE(entry_count, "BBBB=B"),
		ITEM_ENTRY(0, offset, "BBBBBB"),
		ITEM_ENTRY(0, length, "BBBBBB"),
		ITEM_ENTRY(0, flags, "=BNBN="),
		ITEM_ENTRY(1, offset, "BBBwwB"),
		ITEM_ENTRY(1, length, "BBBBBB"),
		ITEM_ENTRY(1, flags, "=BNNN="),
		ITEM_ENTRY(2, offset, "BBBBBB"),
		ITEM_ENTRY(2, length, "BBBBBB"),
		ITEM_ENTRY(2, flags, "=BNNN="),
		ITEM(VHDX_ITEM_FILE_PARAMETERS, 4, "BBBBBB"),
		ITEM(VHDX_ITEM_DISK_SIZE, 8, "BBBBBB"),
		ITEM(VHDX_ITEM_LOGICAL_SECTOR, 4, "BBBBBB"),
		ITEM(VHDX_ITEM_PHYSICAL_SECTOR, 4, "BBBBBB"),
		BAT(0, "wwBBBw"),
		BAT(1, "wwBBBw"),
		BAT(2, "wwBBBw"),
		BAT(3, "======"),
	};

	check_fields(&base, fields, ARRAY_SIZE(fields));
	base_free(&base);
}

static void vhdx_overlaps(void **state)
{
	struct base base = create_base(DISK_VHDX_DYNAMIC, VHDX_BYTES, MIB, NULL);
	uint64_t region = VHDX_REGIONS_AT + sizeof(struct vhdx_region_table_header) +
			  offsetof(struct vhdx_region, file_offset);
	uint64_t one = get(base.bytes + region, 8, LITTLE);
	uint64_t other = get(base.bytes + region + sizeof(struct vhdx_region), 8, LITTLE);
	uint64_t log = VHDX_HEADER_AT + offsetof(struct vhdx_header, log_offset);
	uint64_t log_at = get(base.bytes + log, 8, LITTLE);
	uint64_t bat = region_at(&base, (struct guid)VHDX_REGION_BAT);
	uint64_t block = get(base.bytes + bat, 8, LITTLE);
	const struct overlap overlaps[] = {
		{"region on region", region, 8, LITTLE, VHDX_COPY_STRIDE, other, 'B'},
		{"region on the log", region, 8, LITTLE, VHDX_COPY_STRIDE, log_at, 'B'},
		{"region on the headers", region, 8, LITTLE, VHDX_COPY_STRIDE, 0, 'B'},
		{"log on a region", log, 8, LITTLE, VHDX_COPY_STRIDE, one, 'B'},
		{"log on the headers", log, 8, LITTLE, VHDX_COPY_STRIDE, 0, 'B'},
		{"block on block", bat + 8, 8, LITTLE, 0, block, 'B'},
		{"block on the headers", bat + 8, 8, LITTLE, 0, VHDX_BLOCK_FULLY_PRESENT, 'B'},
		{"block on the log", bat + 8, 8, LITTLE, 0, log_at | VHDX_BLOCK_FULLY_PRESENT, 'B'},
		{"block on the BAT", bat + 8, 8, LITTLE, 0, bat | VHDX_BLOCK_FULLY_PRESENT, 'B'},
		{"block behind the end", bat + 8, 8, LITTLE, 0,
		 ALIGN_UP(base.count, MIB) | VHDX_BLOCK_FULLY_PRESENT, 'r'},
	};

	check_overlaps(&base, overlaps, ARRAY_SIZE(overlaps));
	base_free(&base);
}

/* One copy of a header or region table is enough. */
static void vhdx_bytes(void **state)
{
	struct base base = create_base(DISK_VHDX_DYNAMIC, VHDX_BYTES, MIB, NULL);

	check_bytes(&base, VHDX_HEADER_AT, VHDX_HEADER_AT + 128, "=");
	check_bytes(&base, VHDX_REGIONS_AT, VHDX_REGIONS_AT + 96, "=");
	check_bytes(&base, VHDX_REGIONS_AT + VHDX_COPY_STRIDE,
		    VHDX_REGIONS_AT + VHDX_COPY_STRIDE + 96, "=");
	check_lengths(&base, 96 * KIB, "=wrsBN");
	base_free(&base);
}

/* --- VMDK --- */

static void vmdk_fields(void **state)
{
	struct base base = corpus_base("vmdk_open_fuzz", "sparse");
#define SPARSE(member, outcomes) MEMBER(vmdk_sparse_header, member, 0, LITTLE, 0, outcomes)
#define WORD(name, at, outcomes)                                                                   \
	{                                                                                          \
		name, at, 4, LITTLE, 0, outcomes                                                   \
	}
	const struct field fields[] = {
		SPARSE(magic, "BBBBBB"),
		SPARSE(version, "N=N==N"),
		SPARSE(flags, "wwB=ww"),
		SPARSE(capacity, "BBNB=N"),
		SPARSE(grain_sectors, "BNBBBN"),
		SPARSE(descriptor_offset, "N=BNBB"),
		SPARSE(descriptor_sectors, "B=BB=B"),
		SPARSE(table_entries, "NNNNNN"),
		SPARSE(redundant_directory, "B=B==B"),
		SPARSE(directory, "B=B=wB"),
		SPARSE(overhead, "======"),
		SPARSE(unclean, "======"),
		SPARSE(compression, "=BNNBN"),
		WORD("directory[0]", 3 * 512, "ww=ww="),
		WORD("redundant[0]", 2 * 512, "======"),
		WORD("table[0]", 8 * 512, "wwwwww"),
		WORD("table[1]", 8 * 512 + 4, "==ww=w"),
		WORD("table[2]", 8 * 512 + 8, "==w=ww"),
		WORD("table[4]", 8 * 512 + 16, "wwwwww"),
		WORD("table[5]", 8 * 512 + 20, "======"),
	};

	check_fields(&base, fields, ARRAY_SIZE(fields));
	base_free(&base);
}

static void vmdk_bytes(void **state)
{
	static const char *const names[] = {"sparse", "stream", "zeros"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct base base = corpus_base("vmdk_open_fuzz", names[i]);

		check_bytes(&base, 0, MIN(base.count, 700u), "=wBNEP");
		check_bytes(&base, base.count - MIN(base.count, 1600u), base.count, "=wBNEP");
		check_lengths(&base, 64, "=wBN");
		base_free(&base);
	}
}

/* --- qcow2 --- */

static void qcow2_fields(void **state)
{
	struct base base = corpus_base("qcow2_open_fuzz", "v3");
	uint64_t l1 = get(base.bytes + offsetof(struct qcow2_header, l1_table_offset), 8, BIG);
	uint64_t l2 = get(base.bytes + l1, 8, BIG) & QCOW2_OFFSET_MASK;
#define QCOW2(member, outcomes) MEMBER(qcow2_header, member, 0, BIG, 0, outcomes)
#define QUAD(name, at, outcomes)                                                                   \
	{                                                                                          \
		name, at, 8, BIG, 0, outcomes                                                      \
	}
	const struct field fields[] = {
		QCOW2(magic, "BBBBBB"),
		QCOW2(version, "NNNwNN"),
		QCOW2(backing_file_offset, "=BBBBB"),
		QCOW2(backing_file_size, "======"),
		QCOW2(cluster_bits, "BBNBBN"),
		QCOW2(size, "BBBBBB"),
		QCOW2(crypt_method, "=NNNNN"),
		QCOW2(l1_size, "B=NB=N"),
		QCOW2(l1_table_offset, "BBBBBB"),
		QCOW2(refcount_table_offset, "======"),
		QCOW2(refcount_table_clusters, "======"),
		QCOW2(nb_snapshots, "======"),
		QCOW2(snapshots_offset, "======"),
		QCOW2(incompatible_features, "==NN=N"),
		QCOW2(compatible_features, "======"),
		QCOW2(autoclear_features, "======"),
		QCOW2(refcount_order, "==B==B"),
		QCOW2(header_length, "BBBBBB"),
		QUAD("L1[0]", l1, "wwww=w"),
		QUAD("L2[0]", l2, "wwwwww"),
		QUAD("L2[8]", l2 + 64, "==w==="),
	};

	check_fields(&base, fields, ARRAY_SIZE(fields));
	base_free(&base);
}

static void qcow2_bytes(void **state)
{
	static const char *const names[] = {"v2", "v3", "zlib", "zstd", "extended"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct base base = corpus_base("qcow2_open_fuzz", names[i]);

		check_bytes(&base, 0, 240, "=wBN");
		check_lengths(&base, i < 3 ? 64 : 512, "=wBN");
		base_free(&base);
	}
}

/* --- parents --- */

static const struct {
	const char *what; /* done to parent and child */
	char outcome;
} parent_cases[] = {
	{"true", '='},
	{"rm parent", 'E'},
	{"mv parent elsewhere", 'E'},
	{"touch -d 2099-01-01 parent", '='}, /* newer: a warning */
	{"cp other parent", 'S'},
	{"head -c 25600 /dev/zero > parent", 'B'},
	{": > parent", 'B'},
	{"truncate -s 700 parent", 'B'},
	{"rm parent; mkdir parent", 'I'},
	{"rm parent; mkfifo parent", 'I'},
	{"rm parent; ln -s /dev/null parent", 'I'},
	{"rm parent; ln -s parent parent", 'E'},
	{"rm parent; ln -s /etc/hostname parent", 'B'},
	{"rm parent; ln case parent", 'L'},
	{"rm parent; ln -s case parent", 'L'},
};

static void check_parents(enum disk_format parent, enum disk_format child, uint64_t bytes,
			  uint32_t block_bytes)
{
	struct base good = create_base(parent, bytes, block_bytes, NULL), base;

	fixture_run("mv base parent");
	base = create_base(child, 0, block_bytes, "parent");
	fixture_run("rm base && cp parent good");
	base_free(&good);
	good = create_base(parent, bytes, block_bytes, NULL);
	fixture_run("mv base other");
	for (size_t i = 0; i < ARRAY_SIZE(parent_cases); i++) {
		char found;

		fixture_run("rm -rf parent && cp good parent");
		write_file("case", base.bytes, base.count);
		fixture_run("%s", parent_cases[i].what);
		found = outcome_of_case(&base);
		if (found != parent_cases[i].outcome)
			fail_msg("%s: %s: '%c' instead of '%c': %s", disk_format_name(child),
				 parent_cases[i].what, found, parent_cases[i].outcome,
				 fixture_error.text);
	}
	base_free(&good);
	base_free(&base);
}

static void parents_of_vhd(void **state)
{
	check_parents(DISK_VHD_DYNAMIC, DISK_VHD_DIFFERENCING, VHD_BYTES, VHD_BLOCK);
}

static void parents_of_vhdx(void **state)
{
	check_parents(DISK_VHDX_DYNAMIC, DISK_VHDX_DIFFERENCING, VHDX_BYTES, MIB);
}

static void there_were_thousands(void **state)
{
	print_message("%u damaged images\n", case_count);
	assert_true(case_count >= LEAST_CASES);
}

/* --- the process --- */

static int no_sync(struct disk_io *io)
{
	return io->kind == IO_SYNC ? 0 : io_perform(io);
}

/* Nothing beyond what the process has now and MEMORY. Sanitizers reserve more than that. */
static void limit_memory(void)
{
#ifndef SANITIZED
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;
	struct rlimit limit;

	if (!file || fscanf(file, "%lu", &pages) != 1)
		abort();
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = pages * PAGE_BYTES + MEMORY;
	if (setrlimit(RLIMIT_AS, &limit) < 0)
		abort();
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(vhd_fields),      FIXTURE_TEST(vhd_overlaps),
		FIXTURE_TEST(vhdx_overlaps),   FIXTURE_TEST(vhd_bytes),
		FIXTURE_TEST(vhd_creators),    FIXTURE_TEST(vhdx_fields),
		FIXTURE_TEST(vhdx_bytes),      FIXTURE_TEST(vmdk_fields),
		FIXTURE_TEST(vmdk_bytes),      FIXTURE_TEST(qcow2_fields),
		FIXTURE_TEST(qcow2_bytes),     FIXTURE_TEST(parents_of_vhd),
		FIXTURE_TEST(parents_of_vhdx), cmocka_unit_test(there_were_thousands),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER-OF-CORPORA\n", argv[0]);
		return 2;
	}
	corpus = argv[1];
	log_set_level(LOG_ERROR);
	io_test_hook = no_sync;
	limit_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
