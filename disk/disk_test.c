/*
 * disk_test.c - images as their users see them: contents, chains, locks, errors, damage
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhd_internal.h"
#include "log.h"

#define BYTES (MIB + 3 * 512)
#define BLOCK 16384u

/* --- files in a folder of their own --- */

static char folder[64];

static const char *in_folder(const char *name)
{
	static char paths[8][160];
	static unsigned int at;

	at = (at + 1) % ARRAY_SIZE(paths);
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", folder, name);
	return paths[at];
}

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "disk-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	io_test_hook = NULL;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static struct disk_error error;

static void create_sized(const char *name, enum disk_format format, const char *parent,
			 uint64_t bytes, uint32_t block_bytes)
{
	struct disk_create_options options = {.format = format,
					      .bytes = bytes,
					      .block_bytes = block_bytes,
					      .parent = parent ? in_folder(parent) : NULL};

	if (disk_create(in_folder(name), &options, &error))
		fail_msg("%s", error.text);
}

static void create(const char *name, enum disk_format format, const char *parent)
{
	create_sized(name, format, parent, BYTES, BLOCK);
}

static int try_open(const char *name, bool read_only, struct disk **ret_disk)
{
	struct disk_options options = {.read_only = read_only, .allow_raw = true};

	*ret_disk = NULL;
	error.text[0] = 0;
	return disk_open(in_folder(name), &options, ret_disk, &error);
}

static struct disk *open_disk(const char *name, bool read_only)
{
	struct disk *disk;

	if (try_open(name, read_only, &disk))
		fail_msg("%s", error.text);
	return disk;
}

static void assert_open_fails(const char *name, bool read_only, int expected)
{
	struct disk *disk;
	int r = try_open(name, read_only, &disk);

	disk_close(disk);
	if (r != expected)
		fail_msg("%s: %d instead of %d: %s", name, r, expected, error.text);
	assert_non_null(strstr(error.text, name));
}

static void file_get(const char *name, uint64_t offset, void *bytes, size_t count)
{
	int fd = open(in_folder(name), O_RDONLY);

	assert_int_equal(pread(fd, bytes, count, offset), count);
	close(fd);
}

static void file_put(const char *name, uint64_t offset, const void *bytes, size_t count)
{
	int fd = open(in_folder(name), O_WRONLY | O_CREAT, 0600);

	assert_int_equal(pwrite(fd, bytes, count, offset), count);
	close(fd);
}

static uint64_t file_length(const char *name)
{
	struct stat status;

	assert_int_equal(stat(in_folder(name), &status), 0);
	return status.st_size;
}

/* --- requests through the synchronous queue --- */

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

static int perform(struct disk *disk, struct disk_request request)
{
	struct waiting waiting = {.request = request};

	waiting.request.done = request_done;
	disk_submit(disk->sync_queue, disk, &waiting.request);
	assert_false(waiting.done);
	queue_run_until(disk->sync_queue, &waiting.done);
	return waiting.result;
}

static int write_vectors(struct disk *disk, uint64_t offset, uint8_t *data, uint64_t bytes,
			 bool fua)
{
	struct iovec iov[80];
	int count = 0;

	for (uint64_t at = 0, part; at < bytes; at += part) {
		uint64_t some = 1 + random() % 3000;

		part = count == 79 ? bytes - at : MIN(bytes - at, some);
		iov[count++] = (struct iovec){data + at, part};
	}
	return perform(disk, (struct disk_request){.op = DISK_WRITE,
						   .fua = fua,
						   .offset = offset,
						   .bytes = bytes,
						   .iov = iov,
						   .iov_count = count});
}

/* --- contents --- */

static uint8_t shadow[BYTES], found[BYTES];

static void assert_contents(struct disk *disk)
{
	assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
	assert_memory_equal(found, shadow, BYTES);
}

static void change_something(struct disk *disk)
{
	static uint8_t data[128 * 512];
	uint64_t offset = random() % (BYTES / 512) * 512;
	uint64_t some = (1 + random() % 128) * 512, bytes = MIN(some, BYTES - offset);
	bool zero = random() % 5 == 0;

	for (size_t i = 0; i < bytes; i++)
		data[i] = zero ? 0 : random();
	memcpy(shadow + offset, data, bytes);
	if (zero)
		assert_int_equal(perform(disk, (struct disk_request){.op = DISK_WRITE_ZEROES,
								     .may_unmap = random() % 2,
								     .offset = offset,
								     .bytes = bytes}),
				 0);
	else
		assert_int_equal(write_vectors(disk, offset, data, bytes, random() % 4 == 0), 0);
	if (random() % 8 == 0)
		assert_int_equal(disk_flush(disk), 0);
}

static void change_and_reopen(const char *name, int rounds)
{
	while (rounds--) {
		struct disk *disk = open_disk(name, false);

		assert_contents(disk);
		for (int i = 0; i < 12; i++) {
			change_something(disk);
			assert_contents(disk);
		}
		disk_close(disk);
		disk = open_disk(name, true);
		assert_contents(disk);
		disk_close(disk);
	}
}

static void what_is_written_is_read_in_every_format(void **state)
{
	static const enum disk_format formats[] = {DISK_RAW, DISK_VHD_FIXED, DISK_VHD_DYNAMIC};
	struct disk_info info;
	struct disk *disk;

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *name = disk_format_name(formats[i]);

		srandom(i);
		memset(shadow, 0, sizeof(shadow));
		create(name, formats[i], NULL);
		change_and_reopen(name, 4);
		disk = open_disk(name, true);
		disk_get_info(disk, &info);
		assert_int_equal(info.format, formats[i]);
		assert_int_equal(info.bytes, BYTES);
		assert_int_equal(info.block_bytes, formats[i] == DISK_VHD_DYNAMIC ? BLOCK : 0);
		disk_close(disk);
	}
}

static void children_see_their_parents_and_leave_them_alone(void **state)
{
	static uint8_t before[BYTES];
	struct disk *disk;

	srandom(7);
	memset(shadow, 0, sizeof(shadow));
	create("0.vhd", DISK_VHD_DYNAMIC, NULL);
	for (int i = 0; i < 5; i++) {
		char parent[16], child[16];

		snprintf(parent, sizeof(parent), "%d.vhd", i);
		snprintf(child, sizeof(child), "%d.vhd", i + 1);
		change_and_reopen(parent, 1);
		memcpy(before, shadow, BYTES);
		create(child, DISK_VHD_DIFFERENCING, parent);
		change_and_reopen(child, 2);
		disk = open_disk(parent, true);
		assert_int_equal(disk_pread(disk, 0, found, BYTES), 0);
		assert_memory_equal(found, before, BYTES);
		disk_close(disk);
	}
}

static void zeros_hide_what_the_parent_has(void **state)
{
	struct disk *disk;

	memset(shadow, 0x77, BYTES);
	create("p.vhd", DISK_VHD_FIXED, NULL);
	disk = open_disk("p.vhd", false);
	assert_int_equal(disk_pwrite(disk, 0, shadow, BYTES), 0);
	disk_close(disk);
	create("c.vhd", DISK_VHD_DIFFERENCING, "p.vhd");
	disk = open_disk("c.vhd", false);
	memset(shadow + 512, 0, 5 * BLOCK);
	assert_int_equal(perform(disk, (struct disk_request){.op = DISK_WRITE_ZEROES,
							     .offset = 512,
							     .bytes = 5 * BLOCK}),
			 0);
	assert_contents(disk);
	disk_close(disk);
	disk = open_disk("c.vhd", true);
	assert_contents(disk);
	disk_close(disk);
}

static void zeros_and_discards_of_nothing_allocate_nothing(void **state)
{
	struct disk *disk;
	uint64_t before;

	create("d.vhd", DISK_VHD_DYNAMIC, NULL);
	before = file_length("d.vhd");
	disk = open_disk("d.vhd", false);
	for (enum disk_op op = DISK_DISCARD; op <= DISK_WRITE_ZEROES; op++)
		assert_int_equal(perform(disk, (struct disk_request){.op = op, .bytes = BYTES}), 0);
	disk_close(disk);
	assert_int_equal(file_length("d.vhd"), before);
}

static void bad_requests_come_back_with_their_error(void **state)
{
	static const struct {
		struct disk_request request;
		bool read_only;
		int result;
	} cases[] = {
		{{.op = DISK_READ, .offset = BYTES, .bytes = 512}, false, -ERANGE},
		{{.op = DISK_READ, .offset = UINT64_MAX - 511, .bytes = 1024}, false, -ERANGE},
		{{.op = DISK_WRITE, .offset = 512, .bytes = BYTES}, false, -ERANGE},
		{{.op = DISK_READ, .offset = 1, .bytes = 512}, false, -EINVAL},
		{{.op = DISK_READ, .offset = 0, .bytes = 511}, false, -EINVAL},
		{{.op = DISK_READ, .offset = 0, .bytes = 1024}, false, -EINVAL}, /* vectors: 512 */
		{{.op = 77, .offset = 0, .bytes = 512}, false, -EINVAL},
		{{.op = DISK_WRITE, .offset = 0, .bytes = 512}, true, -EROFS},
		{{.op = DISK_WRITE_ZEROES, .offset = 0, .bytes = 512}, true, -EROFS},
		{{.op = DISK_DISCARD, .offset = 0, .bytes = 512}, true, -EROFS},
		{{.op = DISK_FLUSH}, true, 0},
		{{.op = DISK_READ, .offset = BYTES - 512, .bytes = 512}, true, 0},
	};
	struct disk *disk;

	create("d.vhd", DISK_VHD_DYNAMIC, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct iovec iov = {found, 512};
		struct disk_request request = cases[i].request;

		request.iov = &iov;
		request.iov_count = 1;
		disk = open_disk("d.vhd", cases[i].read_only);
		assert_int_equal(perform(disk, request), cases[i].result);
		disk_close(disk);
	}
}

static void a_raw_file_of_odd_length_ends_in_zeros(void **state)
{
	struct disk_info info;
	struct disk *disk;

	memset(shadow, 0x33, 1000);
	file_put("odd", 0, shadow, 1000);
	disk = open_disk("odd", true);
	disk_get_info(disk, &info);
	assert_int_equal(info.bytes, 1024);
	memset(found, 0xee, 1024);
	memset(shadow + 1000, 0, 24);
	assert_int_equal(disk_pread(disk, 0, found, 1024), 0);
	assert_memory_equal(found, shadow, 1024);
	disk_close(disk);
}

/* --- chains --- */

static void a_chain_may_have_64_images(void **state)
{
	struct disk_create_options options = {.format = DISK_VHD_DIFFERENCING};
	struct disk_info info;
	struct disk *disk;
	char name[16], parent[16];

	create("0.vhd", DISK_VHD_DYNAMIC, NULL);
	for (int i = 1; i < 64; i++) {
		snprintf(parent, sizeof(parent), "%d.vhd", i - 1);
		snprintf(name, sizeof(name), "%d.vhd", i);
		create(name, DISK_VHD_DIFFERENCING, parent);
	}
	disk = open_disk("63.vhd", false);
	disk_get_info(disk, &info);
	assert_int_equal(info.chain_length, 64);
	disk_close(disk);
	options.parent = in_folder("63.vhd");
	assert_int_equal(disk_create(in_folder("64.vhd"), &options, &error), -ELOOP);
	assert_int_equal(access(in_folder("64.vhd"), F_OK), -1);
}

static void fix_header(const char *name, struct vhd_dynamic_header *header)
{
	header->checksum = htobe32(vhd_checksum(header, sizeof(*header),
						offsetof(struct vhd_dynamic_header, checksum)));
	file_put(name, VHD_FOOTER_BYTES, header, sizeof(*header));
}

static void fix_footers(const char *name, struct vhd_footer *footer)
{
	footer->checksum = htobe32(
		vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
	file_put(name, 0, footer, sizeof(*footer));
	file_put(name, file_length(name) - sizeof(*footer), footer, sizeof(*footer));
}

static void make_child(void)
{
	unlink(in_folder("p.vhd"));
	unlink(in_folder("c.vhd"));
	create("p.vhd", DISK_VHD_DYNAMIC, NULL);
	create("c.vhd", DISK_VHD_DIFFERENCING, "p.vhd");
}

static void a_parent_with_another_id_is_none(void **state)
{
	make_child();
	unlink(in_folder("p.vhd"));
	assert_open_fails("c.vhd", true, -ENOENT);
	create("p.vhd", DISK_VHD_DYNAMIC, NULL);
	assert_open_fails("c.vhd", true, -ESTALE);
	assert_open_fails("c.vhd", false, -ESTALE);
}

static void a_raw_file_is_no_parent(void **state)
{
	make_child();
	unlink(in_folder("p.vhd"));
	file_put("p.vhd", 0, shadow, 65536);
	assert_open_fails("c.vhd", true, -EBADMSG);
}

static void a_chain_that_leads_back_is_refused(void **state)
{
	struct vhd_dynamic_header header;
	struct vhd_footer footer;

	make_child();
	file_get("c.vhd", 0, &footer, sizeof(footer));
	file_get("c.vhd", VHD_FOOTER_BYTES, &header, sizeof(header));
	memcpy(header.parent_id, footer.unique_id, 16);
	fix_header("c.vhd", &header);
	unlink(in_folder("p.vhd"));
	assert_int_equal(link(in_folder("c.vhd"), in_folder("p.vhd")), 0);
	assert_open_fails("c.vhd", true, -ELOOP);
}

/* Each way alone leads to the parent, from any working directory. */
static void every_kind_of_name_finds_the_parent(void **state)
{
	static const char w2ku[] = "C:\\images\\p.vhd";
	struct vhd_dynamic_header header, all;
	struct disk *disk;
	uint8_t text[64];

	make_child();
	file_get("c.vhd", VHD_FOOTER_BYTES, &all, sizeof(all));
	for (int way = 0; way < 4; way++) {
		header = all;
		memset(header.locators, 0, sizeof(header.locators));
		memset(header.parent_name, 0, sizeof(header.parent_name));
		if (way < 2)
			header.locators[5] = all.locators[way];
		if (way == 2) {
			for (size_t i = 0; i < sizeof(w2ku) - 1; i++) {
				text[2 * i] = w2ku[i];
				text[2 * i + 1] = 0;
			}
			file_put("c.vhd", 4096, text, 2 * (sizeof(w2ku) - 1));
			header.locators[0] = all.locators[0];
			header.locators[0].platform = htobe32(VHD_PLATFORM_W2KU);
			header.locators[0].length = htobe32(2 * (sizeof(w2ku) - 1));
		}
		if (way == 3)
			memcpy(header.parent_name, all.parent_name, sizeof(all.parent_name));
		fix_header("c.vhd", &header);
		disk = open_disk("c.vhd", true);
		assert_int_equal(disk->chain_length, 2);
		disk_close(disk);
	}
	memset(header.parent_name, 0, sizeof(header.parent_name));
	fix_header("c.vhd", &header);
	assert_open_fails("c.vhd", true, -ENOENT);
}

static void a_parent_is_found_beside_its_child_after_a_move_and_in_other_case(void **state)
{
	struct disk *disk;
	char moved[sizeof(folder) + 8];

	make_child();
	snprintf(moved, sizeof(moved), "%s-moved", folder);
	assert_int_equal(rename(folder, moved), 0);
	snprintf(folder, sizeof(folder), "%.63s", moved);
	disk_close(open_disk("c.vhd", true));
	assert_int_equal(rename(in_folder("p.vhd"), in_folder("P.VHD")), 0);
	disk = open_disk("c.vhd", true);
	assert_int_equal(disk->chain_length, 2);
	disk_close(disk);
}

static void a_parent_may_lie_in_another_folder_with_any_utf8_name(void **state)
{
	static const char name[] = "up/b\xc3\xa4se \xf0\x9f\x92\xbe.vhd";
	struct disk_create_options options = {.format = DISK_VHD_DIFFERENCING};
	struct disk_info info;
	struct disk *disk;

	assert_int_equal(mkdir(in_folder("up"), 0700), 0);
	assert_int_equal(mkdir(in_folder("down"), 0700), 0);
	create(name, DISK_VHD_FIXED, NULL);
	create("down/c.vhd", DISK_VHD_DIFFERENCING, name);
	disk = open_disk("down/c.vhd", true);
	disk_get_info(disk, &info);
	assert_int_equal(info.chain_length, 2);
	disk_close(disk);
	options.parent = in_folder("latin\xe4.vhd");
	create("latin\xe4.vhd", DISK_VHD_FIXED, NULL);
	assert_int_equal(disk_create(in_folder("no.vhd"), &options, &error), -EINVAL);
	assert_int_equal(access(in_folder("no.vhd"), F_OK), -1);
}

/* --- locks --- */

static void a_writer_is_alone_and_readers_share(void **state)
{
	struct disk *one, *two;

	make_child();
	one = open_disk("c.vhd", false);
	assert_open_fails("c.vhd", false, -EAGAIN);
	assert_open_fails("c.vhd", true, -EAGAIN);
	assert_open_fails("p.vhd", false, -EAGAIN);
	two = open_disk("p.vhd", true);
	disk_close(two);
	disk_close(one);
	one = open_disk("c.vhd", true);
	two = open_disk("c.vhd", true);
	assert_open_fails("c.vhd", false, -EAGAIN);
	disk_close(one);
	disk_close(two);
	disk_close(open_disk("p.vhd", false));
}

/* --- the host's errors --- */

static int no_room(struct disk_io *io)
{
	/* As a full file system may: in part. */
	if (io->kind == IO_ALLOCATE && !io->mode) {
		assert_int_equal(fallocate(io->fd, 0, io->offset, 8192), 0);
		return -ENOSPC;
	}
	return io_perform(io);
}

static void a_full_file_system_harms_nothing_and_a_later_try_works(void **state)
{
	for (int child = 0; child < 2; child++) {
		const char *name = child ? "c.vhd" : "p.vhd";
		struct disk *disk;
		uint64_t length;

		memset(shadow, 0, BYTES);
		make_child();
		disk = open_disk(name, false);
		memset(shadow + 512, 0x44, 1024);
		assert_int_equal(disk_pwrite(disk, 512, shadow + 512, 1024), 0);
		assert_int_equal(disk_flush(disk), 0);
		length = file_length(name);
		io_test_hook = no_room;
		memset(found, 0x55, 4096);
		assert_int_equal(disk_pwrite(disk, 3 * BLOCK, found, 4096), -ENOSPC);
		assert_int_equal(file_length(name), length);
		assert_contents(disk);
		assert_int_equal(disk_pwrite(disk, 512, shadow + 512, 512), 0); /* has its block */
		io_test_hook = NULL;
		memset(shadow + 3 * BLOCK, 0x66, 4096);
		assert_int_equal(disk_pwrite(disk, 3 * BLOCK, shadow + 3 * BLOCK, 4096), 0);
		disk_close(disk);
		disk = open_disk(name, true);
		assert_contents(disk);
		disk_close(disk);
	}
}

static int no_fallocate(struct disk_io *io)
{
	return io->kind == IO_ALLOCATE ? -EOPNOTSUPP : io_perform(io);
}

static void file_systems_without_fallocate_work_too(void **state)
{
	srandom(3);
	memset(shadow, 0, BYTES);
	create("d.vhd", DISK_VHD_DYNAMIC, NULL);
	io_test_hook = no_fallocate;
	change_and_reopen("d.vhd", 2);
}

static int no_sync(struct disk_io *io)
{
	return io->kind == IO_SYNC ? -EIO : io_perform(io);
}

static void after_a_failed_sync_nothing_is_promised_any_more(void **state)
{
	static const enum disk_format formats[] = {DISK_VHD_FIXED, DISK_VHD_DYNAMIC};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *name = disk_format_name(formats[i]);
		struct disk *disk;

		create(name, formats[i], NULL);
		disk = open_disk(name, false);
		assert_int_equal(disk_pwrite(disk, 0, shadow, 512), 0);
		io_test_hook = no_sync;
		assert_int_equal(disk_flush(disk), -EIO);
		io_test_hook = NULL;
		assert_int_equal(disk_flush(disk), -EIO);
		assert_int_equal(disk_pwrite(disk, 0, shadow, 512), -EIO);
		assert_int_equal(disk_pread(disk, 0, found, 512), 0);
		disk_close(disk);
	}
}

/* Bits to be committed are bounded: a flood of them makes its own commits. */
static void a_child_of_many_blocks_works_with_bounded_memory(void **state)
{
	struct disk *disk;
	uint8_t sector[512];

	create_sized("p.vhd", DISK_VHD_DYNAMIC, NULL, 48 * MIB, 4096);
	create_sized("c.vhd", DISK_VHD_DIFFERENCING, "p.vhd", 0, 4096);
	disk = open_disk("c.vhd", false);
	for (uint32_t block = 0; block < 48 * MIB / 4096; block++) {
		memset(sector, block, sizeof(sector));
		assert_int_equal(disk_pwrite(disk, block * 4096, sector, sizeof(sector)), 0);
		assert_true(disk->bitmaps.bytes <= 5 * MIB);
	}
	for (uint32_t block = 0; block < 48 * MIB / 4096; block++) {
		assert_int_equal(disk_pread(disk, block * 4096, sector, sizeof(sector)), 0);
		assert_int_equal(sector[9], (uint8_t)block);
	}
	disk_close(disk);
}

/* --- size and shape --- */

static void geometries_are_those_of_the_specification(void **state)
{
	static const struct {
		uint64_t bytes;
		struct vhd_geometry geometry;
	} cases[] = {{MIB, {30, 4, 17}},
		     {20 * MIB, {602, 4, 17}},
		     {100 * MIB, {1003, 12, 17}},
		     {127 * MIB, {1019, 15, 17}},
		     {128 * MIB, {963, 16, 17}},
		     {256 * MIB, {520, 16, 63}},
		     {504 * MIB, {1024, 16, 63}},
		     {GIB, {2080, 16, 63}},
		     {8 * GIB, {16644, 16, 63}},
		     {20 * GIB, {41610, 16, 63}},
		     {32 * GIB, {16448, 16, 255}},
		     {127 * GIB, {65278, 16, 255}},
		     {128 * GIB, {65535, 16, 255}},
		     {2040 * GIB, {65535, 16, 255}}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vhd_geometry geometry = vhd_geometry(cases[i].bytes);

		assert_int_equal(geometry.cylinders, cases[i].geometry.cylinders);
		assert_int_equal(geometry.heads, cases[i].geometry.heads);
		assert_int_equal(geometry.sectors, cases[i].geometry.sectors);
	}
}

static void the_largest_image_opens_in_little_memory(void **state)
{
	struct disk *disk;
	size_t before;

	create_sized("big.vhd", DISK_VHD_DYNAMIC, NULL, 2040 * GIB, 0);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	disk = open_disk("big.vhd", false);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before < MIB);
	assert_int_equal(disk_pwrite(disk, 2040 * GIB - 512, shadow, 512), 0);
	assert_int_equal(disk_pread(disk, 2040 * GIB - 512, found, 512), 0);
	assert_memory_equal(found, shadow, 512);
	disk_close(disk);
}

static void create_refuses_what_the_format_cannot_hold(void **state)
{
	static const struct {
		struct disk_create_options options;
		int result;
	} cases[] = {{{.format = DISK_VHD_DYNAMIC, .bytes = 2040 * GIB + 512}, -EINVAL},
		     {{.format = DISK_VHD_DYNAMIC, .bytes = 0}, -EINVAL},
		     {{.format = DISK_VHD_DYNAMIC, .bytes = 513}, -EINVAL},
		     {{.format = DISK_VHD_DYNAMIC, .bytes = MIB, .block_bytes = 5000}, -EINVAL},
		     {{.format = DISK_VHD_DYNAMIC, .bytes = MIB, .block_bytes = 2048}, -EINVAL},
		     {{.format = DISK_VHD_DIFFERENCING}, -EINVAL},
		     {{.format = DISK_AUTO, .bytes = MIB}, -EINVAL},
		     {{.format = DISK_VHD_FIXED, .bytes = UINT64_MAX - 511}, -EINVAL}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(disk_create(in_folder("x.vhd"), &cases[i].options, &error),
				 cases[i].result);
		assert_int_equal(access(in_folder("x.vhd"), F_OK), -1);
	}
	create("x.vhd", DISK_VHD_FIXED, NULL);
	assert_int_equal(
		disk_create(in_folder("x.vhd"),
			    &(struct disk_create_options){.format = DISK_RAW, .bytes = MIB},
			    &error),
		-EEXIST);
}

/* --- damage --- */

static void fresh(const char *name)
{
	uint8_t data[1024];
	struct disk *disk;

	memset(data, 0x21, sizeof(data));
	unlink(in_folder(name));
	create(name, DISK_VHD_DYNAMIC, NULL);
	disk = open_disk(name, false);
	assert_int_equal(disk_pwrite(disk, 0, data, sizeof(data)), 0);
	assert_int_equal(disk_pwrite(disk, 2 * BLOCK, data, sizeof(data)), 0);
	disk_close(disk);
}

#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define FOOTER(member)	    true, FIELD(struct vhd_footer, member)
#define HEADER(member)	    false, FIELD(struct vhd_dynamic_header, member)

/* 1: opens */
static const struct {
	const char *name;
	bool footer;
	size_t offset, bytes;
	uint64_t value;
	int result;
} field_cases[] = {
	{"version 0", FOOTER(version), 0, -ENOTSUP},
	{"version 1.1", FOOTER(version), 0x10001, 1},
	{"version 2", FOOTER(version), 0x20000, -ENOTSUP},
	{"version max", FOOTER(version), UINT32_MAX, -ENOTSUP},
	{"data offset 0", FOOTER(data_offset), 0, -EBADMSG},
	{"data offset 1", FOOTER(data_offset), 1, -EBADMSG},
	{"data offset 511", FOOTER(data_offset), 511, -EBADMSG},
	{"data offset elsewhere", FOOTER(data_offset), 1024, -EBADMSG},
	{"data offset behind the end", FOOTER(data_offset), 1ull << 40, -EBADMSG},
	{"data offset max", FOOTER(data_offset), UINT64_MAX, -EBADMSG},
	{"data offset max aligned", FOOTER(data_offset), UINT64_MAX - 511, -EBADMSG},
	{"size 0", FOOTER(current_size), 0, -EBADMSG},
	{"size 1", FOOTER(current_size), 1, -EBADMSG},
	{"size off by one", FOOTER(current_size), BYTES + 1, -EBADMSG},
	{"size of more blocks", FOOTER(current_size), BYTES + BLOCK, -EBADMSG},
	{"size too large", FOOTER(current_size), 2040 * GIB + 512, -ENOTSUP},
	{"size max", FOOTER(current_size), UINT64_MAX, -EBADMSG},
	{"size max aligned", FOOTER(current_size), UINT64_MAX - 511, -EBADMSG},
	{"original size 0", FOOTER(original_size), 0, 1},
	{"cylinders 0", FOOTER(cylinders), 0, 1},
	{"heads 0", FOOTER(heads), 0, 1},
	{"features 0", FOOTER(features), 0, 1},
	{"time stamp max", FOOTER(time_stamp), UINT32_MAX, 1},
	{"saved state", FOOTER(saved_state), 1, 1},
	{"type 0", FOOTER(disk_type), 0, -ENOTSUP},
	{"type 1", FOOTER(disk_type), 1, -ENOTSUP},
	{"type 5", FOOTER(disk_type), 5, -ENOTSUP},
	{"type max", FOOTER(disk_type), UINT32_MAX, -ENOTSUP},
	{"type without parent", FOOTER(disk_type), VHD_TYPE_DIFFERENCING, -ENOENT},
	{"disabled", FOOTER(cookie), 0x765f706f69736f6e, -ENOTSUP}, /* "v_poison" */
	{"header cookie", HEADER(cookie), 0, -EBADMSG},
	{"header version 0", HEADER(version), 0, -ENOTSUP},
	{"header version max", HEADER(version), UINT32_MAX, -ENOTSUP},
	{"header data offset 0", HEADER(data_offset), 0, 1},
	{"table offset 0", HEADER(table_offset), 0, -EBADMSG},
	{"table offset 1", HEADER(table_offset), 1, -EBADMSG},
	{"table offset in the header", HEADER(table_offset), 1024, -EBADMSG},
	{"table offset off by one", HEADER(table_offset), 4097, -EBADMSG},
	{"table offset at the end", HEADER(table_offset), 1ull << 40, -EBADMSG},
	{"table offset max", HEADER(table_offset), UINT64_MAX, -EBADMSG},
	{"table offset max aligned", HEADER(table_offset), UINT64_MAX - 511, -EBADMSG},
	{"entries 0", HEADER(max_table_entries), 0, -EBADMSG},
	{"entries 1", HEADER(max_table_entries), 1, -EBADMSG},
	{"entries one short", HEADER(max_table_entries), BYTES / BLOCK, -EBADMSG},
	{"entries one more", HEADER(max_table_entries), BYTES / BLOCK + 2, 1},
	{"entries max", HEADER(max_table_entries), UINT32_MAX, 1},
	{"block size 0", HEADER(block_size), 0, -ENOTSUP},
	{"block size 1", HEADER(block_size), 1, -ENOTSUP},
	{"block size 512", HEADER(block_size), 512, -ENOTSUP},
	{"block size off by one", HEADER(block_size), BLOCK + 1, -ENOTSUP},
	{"block size half", HEADER(block_size), BLOCK / 2, -EBADMSG},
	{"block size 2 GiB", HEADER(block_size), 1u << 31, -ENOTSUP},
	{"block size max", HEADER(block_size), UINT32_MAX, -ENOTSUP},
};

static void set_field(uint8_t *structure, size_t offset, size_t bytes, uint64_t value)
{
	for (size_t i = 0; i < bytes; i++)
		structure[offset + i] = i + 8 >= bytes ? value >> 8 * (bytes - 1 - i) : 0;
}

static void assert_opens_or_fails(const char *what, const char *name, int expected)
{
	static uint8_t before[4 * MIB], after[4 * MIB];
	uint64_t length = file_length(name);
	struct disk *disk;
	int r;

	assert_true(length < sizeof(before));
	file_get(name, 0, before, length);
	r = try_open(name, false, &disk);
	disk_close(disk);
	if (r != (expected == 1 ? 0 : expected))
		fail_msg("%s: %d instead of %d: %s", what, r, expected, error.text);
	if (!r)
		return;
	assert_true(error.text[0]);
	assert_int_equal(file_length(name), length);
	file_get(name, 0, after, length);
	assert_memory_equal(before, after, length);
}

static void each_field_is_checked_and_a_refused_image_stays_as_it_is(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(field_cases); i++) {
		struct vhd_dynamic_header header;
		struct vhd_footer footer;

		fresh("d.vhd");
		file_get("d.vhd", 0, &footer, sizeof(footer));
		file_get("d.vhd", VHD_FOOTER_BYTES, &header, sizeof(header));
		set_field(field_cases[i].footer ? (uint8_t *)&footer : (uint8_t *)&header,
			  field_cases[i].offset, field_cases[i].bytes, field_cases[i].value);
		fix_footers("d.vhd", &footer);
		fix_header("d.vhd", &header);
		assert_opens_or_fails(field_cases[i].name, "d.vhd", field_cases[i].result);
	}
}

static void table_entries_are_checked(void **state)
{
	static const struct {
		const char *name;
		uint32_t value;
		int result;
	} cases[] = {{"on the footer", 0, -EBADMSG},
		     {"on the header", 1, -EBADMSG},
		     {"on the table", 8, -EBADMSG},
		     {"behind the end", 100000, -EBADMSG},
		     {"the last sector", UINT32_MAX - 1, -EBADMSG},
		     {"the same as another", 0xfffffff0, -EBADMSG}, /* set below */
		     {"one beside another", 0xfffffff1, -EBADMSG},
		     {"none", UINT32_MAX, 1}};
	be32 first, entry;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fresh("d.vhd");
		file_get("d.vhd", 4096, &first, sizeof(first));
		entry = htobe32(cases[i].value);
		if (cases[i].value == 0xfffffff0)
			entry = first;
		if (cases[i].value == 0xfffffff1)
			entry = htobe32(be32toh(first) + 1);
		file_put("d.vhd", 4096 + 2 * sizeof(entry), &entry, sizeof(entry));
		assert_opens_or_fails(cases[i].name, "d.vhd", cases[i].result);
	}
}

static void one_lost_footer_is_rewritten_and_two_are_too_many(void **state)
{
	static const struct {
		const char *name;
		bool front, tail; /* damaged */
		bool zeroed;	  /* else one bit */
		int result;
	} cases[] = {{"front flipped", true, false, false, 1},
		     {"front zeroed", true, false, true, 1},
		     {"tail flipped", false, true, false, 1},
		     {"tail zeroed", false, true, true, 1},
		     {"both flipped", true, true, false, -EBADMSG}};
	uint8_t good[512], now[512], data[1024];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bad[512] = {};
		struct disk *disk;

		fresh("d.vhd");
		file_get("d.vhd", 0, good, sizeof(good));
		if (!cases[i].zeroed)
			memcpy(bad, good, sizeof(bad));
		bad[200] ^= 4;
		if (cases[i].front)
			file_put("d.vhd", 0, bad, sizeof(bad));
		if (cases[i].tail)
			file_put("d.vhd", file_length("d.vhd") - 512, bad, sizeof(bad));
		assert_opens_or_fails(cases[i].name, "d.vhd", cases[i].result);
		if (cases[i].result != 1)
			continue;
		file_get("d.vhd", 0, now, sizeof(now));
		assert_memory_equal(good, now, sizeof(now));
		file_get("d.vhd", file_length("d.vhd") - 512, now, sizeof(now));
		assert_memory_equal(good, now, sizeof(now));
		disk = open_disk("d.vhd", true);
		assert_int_equal(disk_pread(disk, 2 * BLOCK, data, sizeof(data)), 0);
		assert_int_equal(data[1023], 0x21);
		disk_close(disk);
	}
}

static void truncated_images_are_refused_for_writing(void **state)
{
	struct disk *disk;

	fresh("d.vhd");
	assert_int_equal(truncate(in_folder("d.vhd"), file_length("d.vhd") - 8192), 0);
	assert_opens_or_fails("dynamic", "d.vhd", -EBADMSG);
	disk = open_disk("d.vhd", true);
	assert_int_equal(disk_pread(disk, 0, found, 512), 0);
	assert_int_equal(disk_pread(disk, 3 * BLOCK - 512, found, 512), -EIO);
	disk_close(disk);
	for (uint64_t length = 0; length < 3 * 512; length += 256) {
		fresh("d.vhd");
		assert_int_equal(truncate(in_folder("d.vhd"), length), 0);
		disk = NULL;
		assert_true(disk_open(in_folder("d.vhd"), &(struct disk_options){}, &disk, &error) <
			    0);
	}
}

static void a_damaged_vhd_is_never_taken_for_raw(void **state)
{
	uint8_t footer[512];

	create("f.vhd", DISK_VHD_FIXED, NULL);
	file_get("f.vhd", BYTES, footer, sizeof(footer));
	footer[48]++;
	file_put("f.vhd", BYTES, footer, sizeof(footer));
	assert_open_fails("f.vhd", true, -EBADMSG);
	fresh("d.vhd");
	file_get("d.vhd", 0, footer, sizeof(footer));
	footer[100]++;
	file_put("d.vhd", 0, footer, sizeof(footer));
	assert_int_equal(truncate(in_folder("d.vhd"), 20480), 0);
	assert_open_fails("d.vhd", true, -EBADMSG);
}

/* What a guest writes to its first sector does not change what its disk is. */
static void a_footer_inside_a_fixed_disk_means_nothing(void **state)
{
	uint8_t footer[512];
	struct disk_info info;
	struct disk *disk;

	create("f.vhd", DISK_VHD_FIXED, NULL);
	fresh("d.vhd");
	file_get("d.vhd", 0, footer, sizeof(footer));
	disk = open_disk("f.vhd", false);
	assert_int_equal(disk_pwrite(disk, 0, footer, 512), 0);
	disk_close(disk);
	disk = open_disk("f.vhd", false);
	disk_get_info(disk, &info);
	assert_int_equal(info.format, DISK_VHD_FIXED);
	disk_close(disk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read_in_every_format),
		TEST(children_see_their_parents_and_leave_them_alone),
		TEST(zeros_hide_what_the_parent_has),
		TEST(zeros_and_discards_of_nothing_allocate_nothing),
		TEST(bad_requests_come_back_with_their_error),
		TEST(a_raw_file_of_odd_length_ends_in_zeros),
		TEST(a_chain_may_have_64_images),
		TEST(a_parent_with_another_id_is_none),
		TEST(a_raw_file_is_no_parent),
		TEST(a_chain_that_leads_back_is_refused),
		TEST(every_kind_of_name_finds_the_parent),
		TEST(a_parent_is_found_beside_its_child_after_a_move_and_in_other_case),
		TEST(a_parent_may_lie_in_another_folder_with_any_utf8_name),
		TEST(a_writer_is_alone_and_readers_share),
		TEST(a_full_file_system_harms_nothing_and_a_later_try_works),
		TEST(file_systems_without_fallocate_work_too),
		TEST(after_a_failed_sync_nothing_is_promised_any_more),
		TEST(a_child_of_many_blocks_works_with_bounded_memory),
		TEST(geometries_are_those_of_the_specification),
		TEST(the_largest_image_opens_in_little_memory),
		TEST(create_refuses_what_the_format_cannot_hold),
		TEST(each_field_is_checked_and_a_refused_image_stays_as_it_is),
		TEST(table_entries_are_checked),
		TEST(one_lost_footer_is_rewritten_and_two_are_too_many),
		TEST(truncated_images_are_refused_for_writing),
		TEST(a_damaged_vhd_is_never_taken_for_raw),
		TEST(a_footer_inside_a_fixed_disk_means_nothing),
	};

	log_set_level(-1); /* the warnings are wanted here */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
