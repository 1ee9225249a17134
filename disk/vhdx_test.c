/*
 * vhdx_test.c - VHDX images: contents, chains, what opening for writing changes, logs, damage
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <time.h>

#include "crc32c.h"
#include "image_fixture.h"
#include "log.h"
#include "vhdx_internal.h"

#define BYTES	    (37 * MIB + 4096)
#define METADATA_AT (2 * MIB)
#define TABLE_AT    (3 * MIB)

static struct disk_error error;

/* --- making and opening --- */

static void create(const char *name, struct disk_create_options options)
{
	const char *parent = options.parent;

	options.parent = parent ? fixture_path(parent) : NULL;
	if (!options.bytes)
		options.bytes = BYTES;
	if (disk_create(fixture_path(name), &options, &error))
		fail_msg("%s", error.text);
}

static void create_dynamic(const char *name)
{
	create(name, (struct disk_create_options){.format = DISK_VHDX_DYNAMIC, .block_bytes = MIB});
}

static void create_child(const char *name, const char *parent)
{
	create(name, (struct disk_create_options){.format = DISK_VHDX_DIFFERENCING,
						  .block_bytes = MIB,
						  .parent = parent});
}

static struct disk *open_disk(const char *name, bool read_only)
{
	struct disk_options options = {.read_only = read_only};
	struct disk *disk;

	if (disk_open(fixture_path(name), &options, &disk, &error))
		fail_msg("%s", error.text);
	return disk;
}

static void refuse_to_write(const char *name, int expected)
{
	struct disk_options options = {};
	struct disk *disk;
	int r;

	error.text[0] = 0;
	r = disk_open(fixture_path(name), &options, &disk, &error);
	if (r != expected)
		fail_msg("%s: %d instead of %d: %s", name, r, expected, error.text);
	assert_non_null(strstr(error.text, name));
}

static struct vhdx_header current_header(const char *name)
{
	struct vhdx_header headers[2];

	for (int i = 0; i < 2; i++)
		fixture_read(name, VHDX_HEADER_AT + i * VHDX_COPY_STRIDE, &headers[i],
			     sizeof(headers[i]));
	return headers[headers[1].sequence_number > headers[0].sequence_number];
}

/* --- contents --- */

static uint8_t shadow[BYTES], found[BYTES];

static void assert_contents(struct disk *disk)
{
	assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
	assert_memory_equal(found, shadow, BYTES);
}

struct waiting {
	struct disk_request request;
	bool done;
	int result;
};

static void request_done(struct disk_request *request, int result)
{
	struct waiting *waiting = container_of(request, struct waiting, request);

	waiting->result = result;
	waiting->done = true;
}

static void perform(struct disk *disk, struct disk_request request)
{
	struct waiting waiting = {.request = request};

	waiting.request.done = request_done;
	disk_submit(disk->sync_queue, disk, &waiting.request);
	queue_run_until(disk->sync_queue, &waiting.done);
	assert_int_equal(waiting.result, 0);
}

/* A discard leaves what it likes: the shadow takes that over. */
static void discard(struct disk *disk, uint64_t offset, uint64_t bytes)
{
	perform(disk, (struct disk_request){.op = DISK_DISCARD, .offset = offset, .bytes = bytes});
	assert_int_equal(disk_pread(disk, offset, shadow + offset, bytes), 0);
}

static void change_something(struct disk *disk, uint32_t sector)
{
	static uint8_t data[3 * MIB];
	uint64_t offset = random() % (BYTES / sector) * sector, kind = random() % 8;
	uint64_t some = (1 + random() % (kind == 7 ? 3 * MIB / sector : 100)) * sector;
	uint64_t bytes = MIN(some, BYTES - offset);
	struct iovec iov = {data, bytes};

	if (kind == 0) {
		discard(disk, offset, bytes);
		return;
	}
	for (size_t i = 0; i < bytes; i++)
		data[i] = kind == 1 ? 0 : random();
	memcpy(shadow + offset, data, bytes);
	perform(disk, (struct disk_request){.op = kind == 1 ? DISK_WRITE_ZEROES : DISK_WRITE,
					    .fua = random() % 4 == 0,
					    .may_unmap = random() % 2,
					    .offset = offset,
					    .bytes = bytes,
					    .iov = &iov,
					    .iov_count = 1});
	if (random() % 8 == 0)
		assert_int_equal(disk_flush(disk), 0);
}

static void change_and_reopen(const char *name, int rounds)
{
	while (rounds--) {
		struct disk *disk = open_disk(name, false);

		for (int i = 0; i < 12; i++)
			change_something(disk, disk->sector);
		assert_contents(disk);
		disk_close(disk);
		disk = open_disk(name, true);
		assert_contents(disk);
		assert_false(disk->top->needs_repair);
		disk_close(disk);
	}
}

static void what_is_written_is_read_with_every_geometry(void **state)
{
	static const struct disk_create_options cases[] = {
		{.format = DISK_VHDX_DYNAMIC},
		{.format = DISK_VHDX_DYNAMIC, .block_bytes = MIB, .physical_sector = 512},
		{.format = DISK_VHDX_DYNAMIC, .block_bytes = 8 * MIB, .logical_sector = 4096},
		{.format = DISK_VHDX_FIXED},
		{.format = DISK_VHDX_FIXED, .block_bytes = 2 * MIB, .logical_sector = 4096},
		{.format = DISK_VHDX_FIXED, .block_bytes = 256 * MIB, .preallocate = true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t block = cases[i].block_bytes ? cases[i].block_bytes : 32 * MIB;
		uint32_t sector = cases[i].logical_sector ? cases[i].logical_sector : 512;
		struct disk_info info;
		struct disk *disk;
		char name[16];

		snprintf(name, sizeof(name), "%zu.vhdx", i);
		srandom(i);
		memset(shadow, 0, sizeof(shadow));
		create(name, cases[i]);
		change_and_reopen(name, 2);
		disk = open_disk(name, true);
		disk_get_info(disk, &info);
		assert_int_equal(info.format, cases[i].format);
		assert_int_equal(info.bytes, BYTES);
		assert_int_equal(info.block_bytes, block);
		assert_int_equal(info.logical_sector, sector);
		assert_int_equal(info.physical_sector,
				 cases[i].physical_sector ? cases[i].physical_sector : 4096);
		assert_string_equal(info.creator, "Mullion");
		disk_close(disk);
		assert_int_equal(fixture_length(name) % MIB, 0);
	}
}

static void sectors_of_4096_bytes_are_the_unit_of_requests(void **state)
{
	struct disk *disk;

	create("d.vhdx",
	       (struct disk_create_options){.format = DISK_VHDX_DYNAMIC, .logical_sector = 4096});
	disk = open_disk("d.vhdx", false);
	assert_int_equal(disk_pread(disk, 512, found, 4096), -EINVAL);
	assert_int_equal(disk_pwrite(disk, 0, found, 512), -EINVAL);
	assert_int_equal(disk_pwrite(disk, 4096, found, 4096), 0);
	disk_close(disk);
}

static void chains_are_read_through_and_parents_left_alone(uint32_t sector, uint32_t block)
{
	static uint8_t before[BYTES];

	srandom(sector + block);
	memset(shadow, 0, sizeof(shadow));
	create("0.vhdx", (struct disk_create_options){.format = DISK_VHDX_DYNAMIC,
						      .logical_sector = sector,
						      .block_bytes = MIB});
	for (int i = 0; i < 4; i++) {
		char parent[16], child[16];
		struct disk *disk;

		snprintf(parent, sizeof(parent), "%d.vhdx", i);
		snprintf(child, sizeof(child), "%d.avhdx", i + 1);
		if (i)
			snprintf(parent, sizeof(parent), "%d.avhdx", i);
		change_and_reopen(parent, 1);
		memcpy(before, shadow, BYTES);
		create(child, (struct disk_create_options){.format = DISK_VHDX_DIFFERENCING,
							   .block_bytes = block,
							   .parent = parent});
		change_and_reopen(child, 2);
		disk = open_disk(parent, true);
		assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
		assert_memory_equal(found, before, BYTES);
		assert_int_equal(disk->chain_length, i + 1);
		disk_close(disk);
	}
	fixture_run("rm -f *vhdx");
}

static void children_see_their_parents_and_leave_them_alone(void **state)
{
	chains_are_read_through_and_parents_left_alone(512, MIB);
	chains_are_read_through_and_parents_left_alone(512, 0);
	chains_are_read_through_and_parents_left_alone(4096, 32 * MIB);
	chains_are_read_through_and_parents_left_alone(512, 64 * MIB);
}

static void bits_begin_at_the_least_significant(void **state)
{
	static const uint32_t sectors[] = {0, 1, 4, 7, 8, 13, 2047};
	uint8_t expected[256] = {}, bits[256];
	struct disk *disk;

	create_dynamic("p.vhdx");
	create_child("c.vhdx", "p.vhdx");
	disk = open_disk("c.vhdx", false);
	for (size_t i = 0; i < ARRAY_SIZE(sectors); i++) {
		assert_int_equal(disk_pwrite(disk, sectors[i] * 512, shadow, 512), 0);
		expected[sectors[i] / 8] |= 1 << sectors[i] % 8;
	}
	disk_close(disk);
	fixture_read("c.vhdx", 4 * MIB, bits,
		     sizeof(bits)); /* the first thing that was allocated */
	assert_memory_equal(bits, expected, sizeof(bits));
}

/* --- parents --- */

static void a_parent_that_was_written_to_is_no_parent_any_more(void **state)
{
	struct disk *disk;

	create_dynamic("p.vhdx");
	create_child("c.vhdx", "p.vhdx");
	disk_close(open_disk("p.vhdx", false)); /* opening alone changes nothing */
	disk_close(open_disk("c.vhdx", true));
	disk = open_disk("p.vhdx", false);
	assert_int_equal(disk_pwrite(disk, 0, shadow, 512), 0);
	disk_close(disk);
	fixture_refuse("c.vhdx", -ESTALE);
}

static void a_moved_parent_is_found_beside_its_child(void **state)
{
	fixture_run("mkdir a");
	create_dynamic("a/p.vhdx");
	create_child("c.vhdx", "a/p.vhdx");
	disk_close(open_disk("c.vhdx", true));
	fixture_run("mv a/p.vhdx P.VHDX");
	disk_close(open_disk("c.vhdx", true));
	fixture_run("rm P.VHDX");
	fixture_refuse("c.vhdx", -ENOENT);
}

static void a_child_may_be_opened_alone_and_says_who_its_parent_is(void **state)
{
	struct disk_options alone = {.read_only = true, .no_parents = true};
	struct disk_image child, parent;
	struct disk_extent extent;
	struct disk *disk;

	create_dynamic("p.vhdx");
	create_child("c.vhdx", "p.vhdx");
	disk = open_disk("c.vhdx", true);
	assert_int_equal(disk_get_image(disk, 0, &child), 0);
	assert_int_equal(disk_get_image(disk, 1, &parent), 0);
	assert_int_equal(disk_get_image(disk, 2, &parent), -ERANGE);
	assert_string_equal(child.parent_name, "./p.vhdx");
	assert_int_equal(child.format, DISK_VHDX_DIFFERENCING);
	assert_null(parent.parent_name);
	assert_true(guid_equal(&child.id, &parent.id));
	disk_close(disk);
	fixture_run("rm p.vhdx");
	assert_int_equal(disk_open(fixture_path("c.vhdx"), &alone, &disk, &error), 0);
	assert_int_equal(disk_next_extent(disk, 0, &extent), 0);
	assert_int_equal(extent.kind, DISK_EXTENT_ABSENT);
	assert_int_equal(extent.bytes, BYTES);
	disk_close(disk);
}

static void a_vhd_is_no_parent_of_a_vhdx(void **state)
{
	struct disk_create_options vhd = {.format = DISK_VHD_DYNAMIC, .bytes = BYTES};
	struct disk_create_options child = {.format = DISK_VHDX_DIFFERENCING,
					    .parent = fixture_path("p.vhd")};

	assert_int_equal(disk_create(fixture_path("p.vhd"), &vhd, &error), 0);
	assert_int_equal(disk_create(fixture_path("c.vhdx"), &child, &error), -EINVAL);
}

/* --- what changes in a file --- */

static void only_writing_changes_the_headers(void **state)
{
	struct vhdx_header before, after;
	static const struct guid none;
	struct disk *disk;

	create_dynamic("d.vhdx");
	before = current_header("d.vhdx");
	disk = open_disk("d.vhdx", false);
	assert_int_equal(disk_pread(disk, 0, found, MIB), 0);
	assert_int_equal(disk_flush(disk), 0);
	disk_close(disk);
	after = current_header("d.vhdx");
	assert_memory_equal(&before, &after, sizeof(before));

	disk = open_disk("d.vhdx", false);
	assert_int_equal(disk_pwrite(disk, 0, found, 512), 0);
	after = current_header("d.vhdx");
	assert_false(guid_equal(&after.log_guid, &none));
	disk_close(disk);
	after = current_header("d.vhdx");
	assert_true(guid_equal(&after.log_guid, &none));
	assert_false(guid_equal(&after.data_write_guid, &before.data_write_guid));
	assert_false(guid_equal(&after.file_write_guid, &before.file_write_guid));
	assert_true(after.sequence_number > before.sequence_number);
}

static void zeros_and_discards_of_nothing_allocate_nothing(void **state)
{
	uint64_t before;
	struct disk *disk;

	create_dynamic("d.vhdx");
	before = fixture_length("d.vhdx");
	disk = open_disk("d.vhdx", false);
	for (enum disk_op op = DISK_DISCARD; op <= DISK_WRITE_ZEROES; op++)
		perform(disk, (struct disk_request){.op = op, .bytes = BYTES});
	disk_close(disk);
	assert_int_equal(fixture_length("d.vhdx"), before);
}

static void discards_give_the_host_its_space_back(void **state)
{
	struct disk *disk;
	struct stat before, after;

	create_dynamic("d.vhdx");
	disk = open_disk("d.vhdx", false);
	memset(found, 0x5a, 4 * MIB);
	assert_int_equal(disk_pwrite(disk, 0, found, 4 * MIB), 0);
	assert_int_equal(disk_flush(disk), 0);
	assert_int_equal(stat(fixture_path("d.vhdx"), &before), 0);
	perform(disk, (struct disk_request){.op = DISK_DISCARD, .bytes = 3 * MIB});
	assert_int_equal(stat(fixture_path("d.vhdx"), &after), 0);
	assert_true(after.st_blocks + 3 * MIB / 512 <= before.st_blocks);
	disk_close(disk);
}

static void marks_of_two_formats_are_told_apart_by_the_name(void **state)
{
	struct disk_create_options fixed = {.format = DISK_VHD_FIXED, .bytes = BYTES};
	struct disk_info info;
	struct disk *disk;

	/* The guest of a fixed VHD writes the first sector of a VHDX into its disk. */
	assert_int_equal(disk_create(fixture_path("d.vhd"), &fixed, &error), 0);
	fixture_write("d.vhd", 0, VHDX_SIGNATURE, 8);
	disk = open_disk("d.vhd", true);
	disk_get_info(disk, &info);
	assert_int_equal(info.format, DISK_VHD_FIXED);
	disk_close(disk);
	fixture_run("mv d.vhd d.img");
	fixture_refuse("d.img", -EINVAL);
}

/* --- extents --- */

static void extents_say_where_everything_is(void **state)
{
	struct disk_extent extent;
	struct disk *disk;

	create_dynamic("p.vhdx");
	disk = open_disk("p.vhdx", false);
	memset(found, 1, MIB);
	assert_int_equal(disk_pwrite(disk, 2 * MIB, found, MIB), 0);
	disk_close(disk);
	create_child("c.vhdx", "p.vhdx");
	disk = open_disk("c.vhdx", false);
	assert_int_equal(disk_pwrite(disk, 5 * MIB + 8192, found, 4096), 0);
	assert_int_equal(disk_next_extent(disk, 0, &extent), 0);
	assert_int_equal(extent.kind, DISK_EXTENT_ABSENT);
	assert_int_equal(extent.bytes, 2 * MIB);
	assert_int_equal(disk_next_extent(disk, 2 * MIB, &extent), 0);
	assert_int_equal(extent.kind, DISK_EXTENT_DATA);
	assert_int_equal(extent.depth, 1);
	assert_int_equal(extent.file_offset, 4 * MIB);
	assert_int_equal(extent.bytes, MIB);
	assert_int_equal(disk_next_extent(disk, 5 * MIB + 8192, &extent), 0);
	assert_int_equal(extent.kind, DISK_EXTENT_DATA);
	assert_int_equal(extent.depth, 0);
	assert_int_equal(extent.bytes, 4096);
	assert_int_equal(disk_next_data(disk, 3 * MIB), 5 * MIB);
	assert_int_equal(disk_next_extent(disk, BYTES, &extent), -ERANGE);
	disk_close(disk);
}

/* --- the log --- */

/* Pages of metadata never get to their place: only the log has them. */
static int lose_pages(struct disk_io *io)
{
	if (io->kind == IO_WRITE && io->iov_count == 1 && io->iov[0].iov_len == PAGE_BYTES &&
	    io->offset >= TABLE_AT && io->offset < TABLE_AT + 2 * MIB)
		return PAGE_BYTES;
	return io_perform(io);
}

/*
 * An image as a power cut leaves it: some is written to @name, and flushed, and the file at that
 * moment is copied to @copy. In a child the first block is the bitmaps', so its pages are lost too.
 */
static void make_unclean(const char *name, const char *copy, bool child)
{
	struct disk *disk;

	if (child)
		create_dynamic("base.vhdx");
	memset(shadow, 0, sizeof(shadow));
	if (child)
		create_child(name, "base.vhdx");
	else
		create_dynamic(name);
	disk = open_disk(name, false);
	io_test_hook = lose_pages;
	for (int i = 0; i < 5; i++)
		memset(shadow + i * 7 * MIB + 8192, 0x30 + i, 64 * KIB);
	for (int i = 0; i < 5; i++)
		assert_int_equal(disk_pwrite(disk, i * 7 * MIB, shadow + i * 7 * MIB, 128 * KIB),
				 0);
	assert_int_equal(disk_flush(disk), 0);
	fixture_run("cp --sparse=always %s %s", name, copy);
	io_test_hook = NULL;
	disk_close(disk);
}

static void a_log_is_laid_over_what_is_read_and_replayed_when_written(bool child)
{
	struct vhdx_header header;
	static const struct guid none;
	uint64_t entry = 0;
	struct disk *disk;

	make_unclean("d.vhdx", "cut.vhdx", child);
	fixture_read("cut.vhdx", TABLE_AT, &entry, sizeof(entry));
	assert_int_equal(entry, 0);
	for (int i = 0; i < 2; i++) {
		disk = open_disk("cut.vhdx", true);
		assert_true(disk->top->needs_repair);
		assert_contents(disk);
		disk_close(disk);
	}
	disk = open_disk("cut.vhdx", false);
	header = current_header("cut.vhdx");
	assert_true(guid_equal(&header.log_guid, &none));
	assert_contents(disk);
	disk_close(disk);
	fixture_read("cut.vhdx", TABLE_AT, &entry, sizeof(entry));
	assert_int_equal(entry & 7,
			 child ? VHDX_BLOCK_PARTIALLY_PRESENT : VHDX_BLOCK_FULLY_PRESENT);
	change_and_reopen("cut.vhdx", 1);
	fixture_run("rm *.vhdx");
}

static void logs_are_laid_over_what_is_read_and_replayed_when_written(void **state)
{
	a_log_is_laid_over_what_is_read_and_replayed_when_written(false);
	a_log_is_laid_over_what_is_read_and_replayed_when_written(true);
}

/* The last entry of the log: where it is, and its two sectors. */
static uint64_t last_entry(const char *name, struct vhdx_log_entry **ret_header)
{
	static uint8_t halves[2][2 * VHDX_LOG_SECTOR];
	struct vhdx_log_entry *first = (void *)halves[0], *second = (void *)halves[1];
	bool later;

	for (int i = 0; i < 2; i++)
		fixture_read(name, MIB + i * 512 * KIB, halves[i], sizeof(halves[i]));
	later = second->sequence_number > first->sequence_number;
	*ret_header = later ? second : first;
	return MIB + later * 512 * KIB;
}

static void seal(struct vhdx_log_entry *header)
{
	header->checksum = crc32c_with_hole(header, MAX(MIN(header->entry_length, 8192u), 64u),
					    offsetof(struct vhdx_log_entry, checksum));
}

#define ENTRY(member) offsetof(struct vhdx_log_entry, member)
#define DESCRIPTOR(member)                                                                         \
	(sizeof(struct vhdx_log_entry) + offsetof(struct vhdx_log_descriptor, member))
#define DATA(member) (VHDX_LOG_SECTOR + offsetof(struct vhdx_log_data, member))

static void log_entries_with_any_fault_count_for_nothing(void **state)
{
	static const struct {
		const char *name;
		size_t at, bytes;
		uint64_t value;
		bool keep_sum;
	} cases[] = {
		{"signature", ENTRY(signature), 4, 0},
		{"checksum", ENTRY(checksum), 4, 1, true},
		{"length 0", ENTRY(entry_length), 4, 0},
		{"length odd", ENTRY(entry_length), 4, 8191},
		{"length more", ENTRY(entry_length), 4, 12288},
		{"length less", ENTRY(entry_length), 4, 4096},
		{"length max", ENTRY(entry_length), 4, 0xfffff000},
		{"tail elsewhere", ENTRY(tail), 4, 65536},
		{"tail odd", ENTRY(tail), 4, 1},
		{"tail outside", ENTRY(tail), 4, 1 << 20},
		{"number 0", ENTRY(sequence_number), 8, 0},
		{"number", ENTRY(sequence_number), 8, 77},
		{"number max", ENTRY(sequence_number), 8, UINT64_MAX},
		{"descriptors 0", ENTRY(descriptor_count), 4, 0},
		{"descriptors 2", ENTRY(descriptor_count), 4, 2},
		{"descriptors max", ENTRY(descriptor_count), 4, UINT32_MAX},
		{"guid", ENTRY(log_guid), 8, 1},
		{"descriptor signature", DESCRIPTOR(signature), 4, 0x20202020},
		{"descriptor number", DESCRIPTOR(sequence_number), 8, 1},
		{"target odd", DESCRIPTOR(file_offset), 8, TABLE_AT + 1},
		{"target header", DESCRIPTOR(file_offset), 8, VHDX_HEADER_AT},
		{"target log", DESCRIPTOR(file_offset), 8, MIB},
		{"target far", DESCRIPTOR(file_offset), 8, UINT64_MAX - 4095},
		{"data signature", DATA(signature), 4, 0},
		{"data number high", DATA(sequence_high), 4, 1},
		{"data number low", DATA(sequence_low), 4, 99},
	};
	struct disk *disk;

	make_unclean("d.vhdx", "cut.vhdx", false);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vhdx_log_entry *header;
		uint64_t at;

		fixture_run("cp --sparse=always cut.vhdx bad.vhdx");
		at = last_entry("bad.vhdx", &header);
		memcpy((char *)header + cases[i].at, &cases[i].value, cases[i].bytes);
		if (!cases[i].keep_sum)
			seal(header);
		fixture_write("bad.vhdx", at, header, 2 * VHDX_LOG_SECTOR);
		/* The entry before it, the empty one, is a complete sequence too. */
		disk = open_disk("bad.vhdx", true);
		assert_int_equal(disk_pread(disk, 8192, found, 512), 0);
		if (found[0])
			fail_msg("%s", cases[i].name);
		disk_close(disk);
	}
	disk = open_disk("cut.vhdx", true); /* had it been right, it would have counted */
	assert_int_equal(disk_pread(disk, 8192, found, 512), 0);
	assert_int_equal(found[0], 0x30);
	disk_close(disk);
}

static void a_log_without_any_complete_sequence_refuses_the_image(void **state)
{
	static uint8_t nothing[MIB];
	struct vhdx_log_entry *header;
	uint64_t at;

	make_unclean("d.vhdx", "cut.vhdx", false);
	fixture_write("cut.vhdx", MIB, nothing, MIB);
	fixture_refuse("cut.vhdx", -EBADMSG);
	refuse_to_write("cut.vhdx", -EBADMSG);

	fixture_run("rm *.vhdx");
	make_unclean("d.vhdx", "cut.vhdx", false);
	at = last_entry("cut.vhdx", &header);
	header->flushed_file_offset = 1ull << 40;
	seal(header);
	fixture_write("cut.vhdx", at, header, header->entry_length);
	fixture_refuse("cut.vhdx", -EBADMSG);
	assert_non_null(strstr(fixture_error.text, "truncated"));
	header->flushed_file_offset = 0;
	header->last_file_offset = UINT64_MAX;
	seal(header);
	fixture_write("cut.vhdx", at, header, header->entry_length);
	fixture_refuse("cut.vhdx", -EBADMSG);
}

static void zero_descriptors_are_replayed(void **state)
{
	struct vhdx_log_descriptor *descriptor;
	struct vhdx_log_entry *header;
	uint64_t at;
	uint64_t first = 1;
	struct disk *disk;

	/* An entry that wipes the whole table out: the disk is empty then. */
	make_unclean("d.vhdx", "cut.vhdx", false);
	at = last_entry("cut.vhdx", &header);
	descriptor = (struct vhdx_log_descriptor *)(header + 1);
	memcpy(descriptor->signature, VHDX_ZERO_SIGNATURE, 4);
	descriptor->zero_length = MIB;
	header->entry_length = VHDX_LOG_SECTOR;
	header->checksum = crc32c_with_hole(header, VHDX_LOG_SECTOR, ENTRY(checksum));
	fixture_write("cut.vhdx", at, header, VHDX_LOG_SECTOR);
	fixture_write("cut.vhdx", TABLE_AT, &first, sizeof(first));
	memset(shadow, 0, sizeof(shadow));
	disk = open_disk("cut.vhdx", true);
	assert_contents(disk);
	disk_close(disk);
	disk = open_disk("cut.vhdx", false);
	assert_contents(disk);
	disk_close(disk);
	fixture_read("cut.vhdx", TABLE_AT, &first, sizeof(first));
	assert_int_equal(first, 0);
}

/* --- damage --- */

static void reseal(const char *name, uint64_t at, size_t bytes)
{
	uint8_t *structure = malloc(bytes);
	uint32_t sum;

	fixture_read(name, at, structure, bytes);
	sum = crc32c_with_hole(structure, bytes, 4);
	fixture_write(name, at + 4, &sum, sizeof(sum));
	free(structure);
}

static void one_copy_of_headers_and_regions_is_enough(void **state)
{
	static const uint64_t places[] = {64 * KIB, 128 * KIB, 192 * KIB, 256 * KIB};
	uint8_t nothing[32] = {}, first[32], second[32];

	memset(shadow, 0, sizeof(shadow));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		create_dynamic("d.vhdx");
		fixture_write("d.vhdx", places[i], nothing, sizeof(nothing));
		disk_close(open_disk("d.vhdx", true));
		fixture_read("d.vhdx", places[i], first, sizeof(first));
		assert_memory_equal(first, nothing, sizeof(first)); /* reading mends nothing */
		disk_close(open_disk("d.vhdx", false));
		fixture_read("d.vhdx", places[i & ~1], first, 4);
		fixture_read("d.vhdx", places[i | 1], second, 4);
		assert_memory_equal(first, second, 4);
		fixture_write("d.vhdx", places[i & ~1], nothing, sizeof(nothing));
		fixture_write("d.vhdx", places[i | 1], nothing, sizeof(nothing));
		fixture_refuse("d.vhdx", -EBADMSG);
		fixture_run("rm d.vhdx");
	}
}

#define HEADER(member) offsetof(struct vhdx_header, member)
#define REGION(index, member)                                                                      \
	(sizeof(struct vhdx_region_table_header) + (index) * sizeof(struct vhdx_region) +          \
	 offsetof(struct vhdx_region, member))
#define ITEM(index, member)                                                                        \
	(METADATA_AT + sizeof(struct vhdx_metadata_header) +                                       \
	 (index) * sizeof(struct vhdx_metadata_entry) +                                            \
	 offsetof(struct vhdx_metadata_entry, member))
#define VALUE(offset) (METADATA_AT + VHDX_METADATA_TABLE_BYTES + (offset))

enum where { IN_HEADER, IN_REGIONS, IN_FILE };

static void put(const char *name, enum where where, uint64_t at, uint64_t value, size_t bytes)
{
	static const struct {
		uint64_t at, bytes;
	} structures[] = {{VHDX_HEADER_AT, 4096}, {VHDX_REGIONS_AT, VHDX_REGIONS_BYTES}};

	if (where == IN_FILE) {
		fixture_write(name, at, &value, bytes);
		return;
	}
	for (int i = 0; i < 2; i++) {
		uint64_t place = structures[where].at + i * VHDX_COPY_STRIDE;

		fixture_write(name, place + at, &value, bytes);
		reseal(name, place, structures[where].bytes);
	}
}

static void every_field_is_checked(void **state)
{
	static const struct {
		const char *name;
		enum where where;
		uint64_t at, value;
		size_t bytes;
		int result; /* 0: nothing wrong with it */
	} cases[] = {
		{"nothing", IN_FILE, 0x1000, 7, 8, 0},
		{"version 0", IN_HEADER, HEADER(version), 0, 2, -ENOTSUP},
		{"version 2", IN_HEADER, HEADER(version), 2, 2, -ENOTSUP},
		{"log version", IN_HEADER, HEADER(log_version), 1, 2, 0},
		{"number max", IN_HEADER, HEADER(sequence_number), UINT64_MAX, 8, -EBADMSG},
		{"log length 0", IN_HEADER, HEADER(log_length), 0, 4, -EBADMSG},
		{"log length odd", IN_HEADER, HEADER(log_length), 4096, 4, -EBADMSG},
		{"log length max", IN_HEADER, HEADER(log_length), 0xfff00000, 4, -EBADMSG},
		{"log on metadata", IN_HEADER, HEADER(log_length), 2 * MIB, 4, -EBADMSG},
		{"log at 0", IN_HEADER, HEADER(log_offset), 0, 8, -EBADMSG},
		{"log odd", IN_HEADER, HEADER(log_offset), MIB + 4096, 8, -EBADMSG},
		{"log far", IN_HEADER, HEADER(log_offset), ~0ull << 20, 8, -EBADMSG},
		{"log guid", IN_HEADER, HEADER(log_guid), 1, 8, -EBADMSG},
		{"regions max", IN_REGIONS, 8, UINT32_MAX, 4, -EBADMSG},
		{"regions 1", IN_REGIONS, 8, 1, 4, -EBADMSG},
		{"regions 3", IN_REGIONS, 8, 3, 4, -EBADMSG},
		{"region odd", IN_REGIONS, REGION(0, file_offset), 3 * MIB + 512, 8, -EBADMSG},
		{"region at 0", IN_REGIONS, REGION(0, file_offset), 0, 8, -EBADMSG},
		{"region far", IN_REGIONS, REGION(0, file_offset), ~0ull << 20, 8, -EBADMSG},
		{"region on log", IN_REGIONS, REGION(0, file_offset), MIB, 8, -EBADMSG},
		{"region on region", IN_REGIONS, REGION(0, file_offset), 2 * MIB, 8, -EBADMSG},
		{"region empty", IN_REGIONS, REGION(0, length), 0, 4, -EBADMSG},
		{"region long", IN_REGIONS, REGION(0, length), 0xfff00000, 4, -EBADMSG},
		{"region unknown", IN_REGIONS, REGION(0, guid), 7, 8, -ENOTSUP},
		{"metadata signature", IN_FILE, METADATA_AT, 0, 8, -EBADMSG},
		{"items 0", IN_FILE, METADATA_AT + 10, 0, 2, -EBADMSG},
		{"items 4", IN_FILE, METADATA_AT + 10, 4, 2, -EBADMSG},
		{"items max", IN_FILE, METADATA_AT + 10, 65535, 2, -EBADMSG},
		{"item in table", IN_FILE, ITEM(0, offset), 32, 4, -EBADMSG},
		{"item far", IN_FILE, ITEM(0, offset), 0xfffffff8, 4, -EBADMSG},
		{"item at the end", IN_FILE, ITEM(0, offset), MIB - 4, 4, -EBADMSG},
		{"item long", IN_FILE, ITEM(0, length), 16, 4, -EBADMSG},
		{"item empty", IN_FILE, ITEM(0, length), 0, 4, -EBADMSG},
		{"item unknown", IN_FILE, ITEM(1, guid), 7, 8, -ENOTSUP},
		{"item of the user", IN_FILE, ITEM(1, flags), 1, 4, -EBADMSG},
		{"block 0", IN_FILE, VALUE(0), 0, 4, -EBADMSG},
		{"block 512 KiB", IN_FILE, VALUE(0), 512 * KIB, 4, -EBADMSG},
		{"block 3 MiB", IN_FILE, VALUE(0), 3 * MIB, 4, -EBADMSG},
		{"block 512 MiB", IN_FILE, VALUE(0), 512 * MIB, 4, -EBADMSG},
		{"block max", IN_FILE, VALUE(0), UINT32_MAX, 4, -EBADMSG},
		{"parent, no locator", IN_FILE, VALUE(4), 2, 4, -EBADMSG},
		{"size 0", IN_FILE, VALUE(8), 0, 8, -EBADMSG},
		{"size odd", IN_FILE, VALUE(8), BYTES + 1, 8, -EBADMSG},
		{"size 65 TiB", IN_FILE, VALUE(8), 65ull << 40, 8, -EBADMSG},
		{"size for a larger table", IN_FILE, VALUE(8), 64ull << 40, 8, -EBADMSG},
		{"logical sector", IN_FILE, VALUE(16), 1024, 4, -EBADMSG},
		{"logical sector 0", IN_FILE, VALUE(16), 0, 4, -EBADMSG},
		{"physical sector", IN_FILE, VALUE(20), 520, 4, -EBADMSG},
		{"entry reserved bits", IN_FILE, TABLE_AT, 4 * MIB | 8 | 6, 8, -EBADMSG},
		{"entry state 4", IN_FILE, TABLE_AT, 4 * MIB | 4, 8, -EBADMSG},
		{"entry state 5", IN_FILE, TABLE_AT, 4 * MIB | 5, 8, -EBADMSG},
		{"entry state 7", IN_FILE, TABLE_AT, 4 * MIB | 7, 8, -EBADMSG},
		{"entry states 1", IN_FILE, TABLE_AT, 1, 8, 0},
		{"entry states 2", IN_FILE, TABLE_AT, 4 * MIB | 2, 8, 0},
		{"entry states 3", IN_FILE, TABLE_AT, 3, 8, 0},
		{"block at 0", IN_FILE, TABLE_AT, 6, 8, -EBADMSG},
		{"block on the log", IN_FILE, TABLE_AT, MIB | 6, 8, -EBADMSG},
		{"block on its table", IN_FILE, TABLE_AT, 3 * MIB | 6, 8, -EBADMSG},
		{"block", IN_FILE, TABLE_AT, 4 * MIB | 6, 8, 0},
		{"block on a block", IN_FILE, TABLE_AT + 8, 5 * MIB | 6, 8, -EBADMSG},
		{"block too far", IN_FILE, TABLE_AT, ~0ull << 20 | 6, 8, -EBADMSG},
	};

	create_dynamic("good.vhdx");
	fixture_truncate("good.vhdx", 8 * MIB);
	put("good.vhdx", IN_FILE, TABLE_AT + 16, 5 * MIB | 6, 8);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct disk *disk;
		int r;

		fixture_run("cp --sparse=always good.vhdx d.vhdx");
		put("d.vhdx", cases[i].where, cases[i].at, cases[i].value, cases[i].bytes);
		r = fixture_open("d.vhdx", &disk);
		if (r != cases[i].result)
			fail_msg("%s: %d: %s", cases[i].name, r, fixture_error.text);
		if (!r)
			disk_close(disk);
		else if (!strstr(fixture_error.text, " byte "))
			fail_msg("%s: says no place: %s", cases[i].name, fixture_error.text);
	}
}

static void blocks_past_the_end_of_the_file_are_read_only(void **state)
{
	struct disk *disk;

	create_dynamic("d.vhdx");
	put("d.vhdx", IN_FILE, TABLE_AT, 100 * MIB | 6, 8);
	refuse_to_write("d.vhdx", -EBADMSG);
	disk = open_disk("d.vhdx", true);
	assert_int_equal(disk_pread(disk, 0, found, 512), -EIO);
	assert_int_equal(disk_pread(disk, MIB, found, 512), 0);
	disk_close(disk);
}

static void a_partial_block_needs_its_bitmap(void **state)
{
	create_dynamic("p.vhdx");
	create_child("c.vhdx", "p.vhdx");
	fixture_truncate("c.vhdx", 8 * MIB);
	put("c.vhdx", IN_FILE, TABLE_AT, 4 * MIB | 7, 8);
	fixture_refuse("c.vhdx", -EBADMSG);
	put("c.vhdx", IN_FILE, TABLE_AT + 4096 * 8, 4 * MIB | 6, 8); /* of the chunk */
	fixture_refuse("c.vhdx", -EBADMSG);			     /* at the block's place */
	put("c.vhdx", IN_FILE, TABLE_AT + 4096 * 8, 5 * MIB | 7, 8);
	fixture_refuse("c.vhdx", -EBADMSG);
	put("c.vhdx", IN_FILE, TABLE_AT + 4096 * 8, 5 * MIB | 6, 8);
	disk_close(open_disk("c.vhdx", true));
}

static void create_full_parent_and_child(void)
{
	struct disk *disk;

	create_dynamic("p.vhdx");
	disk = open_disk("p.vhdx", false);
	memset(shadow, 0x77, BYTES);
	assert_int_equal(disk_pwrite(disk, 0, shadow, BYTES), 0);
	disk_close(disk);
	create_child("c.vhdx", "p.vhdx");
}

static void write_a_sector(const char *name, uint64_t offset)
{
	struct disk *disk = open_disk(name, false);

	assert_contents(disk);
	memset(shadow + offset, 0x11, 512);
	assert_int_equal(disk_pwrite(disk, offset, shadow + offset, 512), 0);
	assert_contents(disk);
	disk_close(disk);
	disk = open_disk(name, true);
	assert_contents(disk);
	disk_close(disk);
}

/* Bits of a block that is not partially present mean nothing, and must not once it is. */
static void bits_that_were_set_before_mean_nothing(void **state)
{
	create_full_parent_and_child();
	fixture_truncate("c.vhdx", 5 * MIB);
	memset(found, 0xff, MIB);
	fixture_write("c.vhdx", 4 * MIB, found, MIB);
	put("c.vhdx", IN_FILE, TABLE_AT + 4096 * 8, 4 * MIB | 6, 8);
	write_a_sector("c.vhdx", 3 * MIB + 512);
}

static void zero_blocks_hide_what_the_parent_has(void **state)
{
	create_full_parent_and_child();
	for (int i = 1; i < 4; i++)
		put("c.vhdx", IN_FILE, TABLE_AT + i * 8, i, 8); /* states 1 to 3 */
	memset(shadow + MIB, 0, 3 * MIB);
	write_a_sector("c.vhdx", 2 * MIB + 512);
}

/* --- sizes --- */

static void an_empty_disk_of_64_tib_takes_little(void **state)
{
	struct disk_create_options options = {
		.format = DISK_VHDX_DYNAMIC, .bytes = 64ull << 40, .block_bytes = MIB};
	struct mallinfo2 before, after;
	struct disk *disk;
	uint64_t last = options.bytes - 512;

	assert_int_equal(disk_create(fixture_path("d.vhdx"), &options, &error), 0);
	before = mallinfo2();
	disk = open_disk("d.vhdx", false);
	after = mallinfo2();
	assert_true(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd < 8 * MIB);
	memset(shadow, 0x42, 512);
	assert_int_equal(disk_pwrite(disk, last, shadow, 512), 0);
	disk_close(disk);
	disk = open_disk("d.vhdx", true);
	assert_int_equal(disk_pread(disk, last, found, 512), 0);
	assert_memory_equal(found, shadow, 512);
	assert_int_equal(disk_next_data(disk, 0), options.bytes - MIB);
	disk_close(disk);
	options.bytes += MIB;
	assert_int_equal(disk_create(fixture_path("e.vhdx"), &options, &error), -EINVAL);
}

/* More new blocks all over a large disk than one entry of the log has room for. */
static void many_pages_of_the_table_change_at_once(void **state)
{
	struct disk_create_options options = {
		.format = DISK_VHDX_DYNAMIC, .bytes = 4ull << 40, .block_bytes = MIB};
	uint64_t stride = 9 * GIB;
	struct disk *disk;

	assert_int_equal(disk_create(fixture_path("d.vhdx"), &options, &error), 0);
	disk = open_disk("d.vhdx", false);
	for (uint64_t i = 0; i < 400; i++) {
		memset(shadow, i, 512);
		assert_int_equal(disk_pwrite(disk, i * stride, shadow, 512), 0);
	}
	disk_close(disk);
	disk = open_disk("d.vhdx", true);
	for (uint64_t i = 0; i < 400; i++) {
		memset(shadow, i, 512);
		assert_int_equal(disk_pread(disk, i * stride, found, 512), 0);
		assert_memory_equal(found, shadow, 512);
	}
	disk_close(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(what_is_written_is_read_with_every_geometry),
		FIXTURE_TEST(sectors_of_4096_bytes_are_the_unit_of_requests),
		FIXTURE_TEST(children_see_their_parents_and_leave_them_alone),
		FIXTURE_TEST(bits_begin_at_the_least_significant),
		FIXTURE_TEST(a_parent_that_was_written_to_is_no_parent_any_more),
		FIXTURE_TEST(a_moved_parent_is_found_beside_its_child),
		FIXTURE_TEST(a_child_may_be_opened_alone_and_says_who_its_parent_is),
		FIXTURE_TEST(a_vhd_is_no_parent_of_a_vhdx),
		FIXTURE_TEST(only_writing_changes_the_headers),
		FIXTURE_TEST(zeros_and_discards_of_nothing_allocate_nothing),
		FIXTURE_TEST(discards_give_the_host_its_space_back),
		FIXTURE_TEST(marks_of_two_formats_are_told_apart_by_the_name),
		FIXTURE_TEST(extents_say_where_everything_is),
		FIXTURE_TEST(logs_are_laid_over_what_is_read_and_replayed_when_written),
		FIXTURE_TEST(log_entries_with_any_fault_count_for_nothing),
		FIXTURE_TEST(a_log_without_any_complete_sequence_refuses_the_image),
		FIXTURE_TEST(zero_descriptors_are_replayed),
		FIXTURE_TEST(one_copy_of_headers_and_regions_is_enough),
		FIXTURE_TEST(every_field_is_checked),
		FIXTURE_TEST(blocks_past_the_end_of_the_file_are_read_only),
		FIXTURE_TEST(a_partial_block_needs_its_bitmap),
		FIXTURE_TEST(bits_that_were_set_before_mean_nothing),
		FIXTURE_TEST(zero_blocks_hide_what_the_parent_has),
		FIXTURE_TEST(an_empty_disk_of_64_tib_takes_little),
		FIXTURE_TEST(many_pages_of_the_table_change_at_once),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
