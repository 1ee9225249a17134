/*
 * operations_power_test.c - power goes while an image is changed in place: it opens, and holds what
 * it held or what it was to hold
 *
 * Every change of a file is logged by the sector. Then the file is put together as it may lie on
 * disk after a cut at any point of the log: all up to the last sync, and any subset of what came
 * after.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "log.h"
#include "vhd_edit.h"

#define BLOCK  4096u
#define BLOCKS 40u
#define BYTES  ((uint64_t)BLOCKS * BLOCK)

/* --- the log --- */

enum change_kind { CHANGE_BYTES, CHANGE_SYNC, CHANGE_LENGTH, CHANGE_AT_LEAST };

struct change {
	enum change_kind kind;
	uint64_t offset; /* or the length */
	uint32_t bytes;
	uint8_t data[VHD_SECTOR];
};

static struct {
	struct change *changes;
	size_t count, room;
	ino_t inode; /* of the one file that is logged */
} journal;

static struct change *add_change(enum change_kind kind, uint64_t offset)
{
	if (journal.count == journal.room) {
		journal.room = journal.room ? journal.room * 2 : 1024;
		journal.changes =
			reallocarray(journal.changes, journal.room, sizeof(struct change));
		assert_non_null(journal.changes);
	}
	journal.changes[journal.count] = (struct change){.kind = kind, .offset = offset};
	return &journal.changes[journal.count++];
}

static void add_bytes(uint64_t offset, const uint8_t *data, uint64_t bytes)
{
	while (bytes) {
		uint32_t part = MIN(bytes, VHD_SECTOR - offset % VHD_SECTOR);
		struct change *change = add_change(CHANGE_BYTES, offset);

		change->bytes = part;
		if (data) {
			memcpy(change->data, data, part);
			data += part;
		}
		offset += part;
		bytes -= part;
	}
}

static bool is_logged(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && status.st_ino == journal.inode;
}

static int log_io(struct disk_io *io)
{
	int result = io->kind == IO_SYNC ? 0 : io_perform(io);
	uint64_t offset = io->offset;

	if (result < 0 || !is_logged(io->fd))
		return result;
	if (io->kind == IO_SYNC)
		add_change(CHANGE_SYNC, 0);
	if (io->kind == IO_ALLOCATE && !io->mode)
		add_change(CHANGE_AT_LEAST, io->offset + io->bytes);
	if (io->kind == IO_ALLOCATE && io->mode)
		add_bytes(io->offset, NULL, io->bytes);
	for (int i = 0; io->kind == IO_WRITE && i < io->iov_count; i++) {
		add_bytes(offset, io->iov[i].iov_base, io->iov[i].iov_len);
		offset += io->iov[i].iov_len;
	}
	return result;
}

static int log_truncate(int fd, uint64_t bytes)
{
	if (is_logged(fd))
		add_change(CHANGE_LENGTH, bytes);
	return ftruncate(fd, bytes) < 0 ? -errno : 0;
}

/* --- files in memory --- */

struct contents {
	uint8_t *data;
	size_t bytes;
};

static void set_length(struct contents *file, size_t bytes)
{
	file->data = realloc(file->data, MAX(bytes, 1u));
	assert_non_null(file->data);
	if (bytes > file->bytes)
		memset(file->data + file->bytes, 0, bytes - file->bytes);
	file->bytes = bytes;
}

static void apply(struct contents *file, const struct change *change)
{
	uint64_t end = change->offset + change->bytes;

	if (change->kind == CHANGE_LENGTH || (change->kind != CHANGE_SYNC && end > file->bytes))
		set_length(file, end);
	if (change->kind == CHANGE_BYTES)
		memcpy(file->data + change->offset, change->data, change->bytes);
}

static struct contents load(const char *path)
{
	struct contents file = {};
	struct stat status;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && !fstat(fd, &status));
	set_length(&file, status.st_size);
	assert_int_equal(pread(fd, file.data, file.bytes, 0), file.bytes);
	journal.inode = status.st_ino;
	close(fd);
	return file;
}

static void save(const char *path, const struct contents *file)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, file->data, file->bytes, 0), file->bytes);
	close(fd);
}

/* --- disks --- */

static struct disk *open_disk(const char *path, bool read_only)
{
	struct disk_options options = {.read_only = read_only};
	struct disk_error error;
	struct disk *disk;

	if (disk_open(path, &options, &disk, &error))
		fail_msg("%s", error.text);
	return disk;
}

/* Read the disk; the file may be mended on the way. */
static struct contents content_of(const char *path)
{
	struct disk *disk = open_disk(path, random() % 2);
	struct contents content = {};
	struct disk_info info;

	disk_get_info(disk, &info);
	set_length(&content, info.bytes);
	assert_int_equal(disk_pread(disk, 0, content.data, content.bytes), 0);
	disk_close(disk);
	return content;
}

static void create(const char *path, enum disk_format format, const char *parent)
{
	struct disk_create_options options = {
		.format = format, .bytes = BYTES, .block_bytes = BLOCK, .parent = parent};
	struct disk_error error;

	if (disk_create(path, &options, &error))
		fail_msg("%s", error.text);
}

/* Some sectors of some blocks, blocks out of order; zeros among them. */
static void fill(const char *path, unsigned int pieces, uint64_t limit)
{
	struct disk *disk = open_disk(path, false);

	for (unsigned int i = 0; i < pieces; i++) {
		uint64_t at = random() % (limit / VHD_SECTOR) * VHD_SECTOR;
		uint8_t data[BLOCK + VHD_SECTOR] = {};
		size_t count =
			MIN((1 + random() % (sizeof(data) / VHD_SECTOR)) * VHD_SECTOR, limit - at);

		for (size_t j = 0; i % 3 && j < count; j++)
			data[j] = random();
		assert_int_equal(disk_pwrite(disk, at, data, count), 0);
	}
	for (uint64_t at = 0; at + BLOCK <= limit; at += 3 * BLOCK) {
		uint8_t zeros[BLOCK] = {};

		assert_int_equal(disk_pwrite(disk, at, zeros, sizeof(zeros)), 0);
	}
	disk_close(disk);
}

/* --- one operation, cut everywhere --- */

struct scenario {
	const char *image;  /* what is changed */
	const char *opened; /* what must always read the same: itself, or a child of it */
	uint64_t new_bytes; /* 0: as it was */
	bool footer_sector; /* one sector from the smaller size on may hold a footer meanwhile */
};

static bool same(const struct contents *content, const struct contents *expected, uint64_t free_at)
{
	if (content->bytes != expected->bytes)
		return false;
	for (size_t i = 0; i < content->bytes; i++) {
		if (content->data[i] != expected->data[i] &&
		    (free_at == UINT64_MAX || i < free_at || i >= free_at + VHD_SECTOR))
			return false;
	}
	return true;
}

static void check_cut(const struct scenario *scenario, const struct contents *file, size_t cut,
		      const struct contents *before, const struct contents *after)
{
	uint64_t free_at = scenario->footer_sector ? MIN(before->bytes, after->bytes) : UINT64_MAX;
	struct contents content;

	save(scenario->image, file);
	content = content_of(scenario->opened);
	if (!same(&content, before, free_at) && !same(&content, after, free_at))
		fail_msg("cut %zu of %zu: neither the old content nor the new", cut, journal.count);
	free(content.data);
}

static void cut_everywhere(const struct scenario *scenario, struct contents *durable,
			   const struct contents *before, const struct contents *after)
{
	size_t synced = 0;

	for (size_t cut = 0; cut <= journal.count; cut++) {
		for (int subset = 0; subset < 3; subset++) {
			int keep = subset ? random() % 100 : 100;
			struct contents file = {};

			set_length(&file, durable->bytes);
			memcpy(file.data, durable->data, durable->bytes);
			for (size_t i = synced; i < cut; i++) {
				if (random() % 100 < keep)
					apply(&file, &journal.changes[i]);
			}
			check_cut(scenario, &file, cut, before, after);
			free(file.data);
		}
		if (cut < journal.count && journal.changes[cut].kind == CHANGE_SYNC) {
			for (; synced <= cut; synced++)
				apply(durable, &journal.changes[synced]);
		}
	}
}

static void survive(const struct scenario *scenario,
		    int (*operate)(const struct scenario *, struct disk_error *))
{
	struct contents before = content_of(scenario->opened), after, start;
	struct disk_error error;

	start = load(scenario->image);
	journal.count = 0;
	if (operate(scenario, &error))
		fail_msg("%s", error.text);
	journal.inode = 0;
	assert_true(journal.count > 3);
	after = content_of(scenario->opened);
	assert_int_equal(after.bytes, scenario->new_bytes ? scenario->new_bytes : before.bytes);
	assert_memory_equal(after.data, before.data, MIN(before.bytes, after.bytes));
	for (size_t i = before.bytes; i < after.bytes; i++)
		assert_int_equal(after.data[i], 0);
	cut_everywhere(scenario, &start, &before, &after);
	free(before.data);
	free(after.data);
	free(start.data);
}

static char folder[64];

static int set_up(void **state)
{
	srandom(7);
	snprintf(folder, sizeof(folder), "operations-power-XXXXXX");
	return mkdtemp(folder) && !chdir(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("..") || system(command);
}

/* --- the operations --- */

static int resize(const struct scenario *scenario, struct disk_error *error)
{
	return disk_resize(scenario->image, scenario->new_bytes, false, error);
}

static int compact(const struct scenario *scenario, struct disk_error *error)
{
	struct disk_compaction compaction;
	int r = disk_compact(scenario->image, NULL, &compaction, error);

	assert_true(r || (compaction.dropped && compaction.moved &&
			  compaction.bytes_after < compaction.bytes_before));
	return r;
}

static int merge_and_keep(const struct scenario *scenario, struct disk_error *error)
{
	return disk_merge(scenario->opened, true, NULL, error);
}

/* 2000 blocks: their entries need more room than the table's page has. */
static void a_disk_that_is_resized_survives_any_power_cut(void **state)
{
	static const struct {
		enum disk_format format;
		uint64_t limit, bytes; /* written up to the limit */
	} cases[] = {{DISK_VHD_DYNAMIC, BYTES - 1536, BYTES + 5 * BLOCK},
		     {DISK_VHD_DYNAMIC, BYTES, 2000 * BLOCK},
		     {DISK_VHD_DYNAMIC, BYTES / 2, BYTES / 2 + 512},
		     {DISK_VHD_FIXED, BYTES, BYTES + 3 * BLOCK},
		     {DISK_VHD_FIXED, BYTES / 2, BYTES / 2}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scenario scenario = {.image = "a.vhd",
					    .opened = "a.vhd",
					    .new_bytes = cases[i].bytes,
					    .footer_sector = cases[i].format == DISK_VHD_FIXED};

		unlink("a.vhd");
		create("a.vhd", cases[i].format, NULL);
		fill("a.vhd", 30, cases[i].limit);
		survive(&scenario, resize);
	}
}

static void a_disk_that_is_compacted_survives_any_power_cut(void **state)
{
	struct scenario scenario = {.image = "a.vhd", .opened = "a.vhd"};

	create("a.vhd", DISK_VHD_DYNAMIC, NULL);
	fill("a.vhd", 40, BYTES);
	survive(&scenario, compact);
}

static void a_chain_that_is_merged_reads_the_same_after_any_power_cut(void **state)
{
	struct scenario scenario = {.image = "a.vhd", .opened = "b.vhd"};

	create("a.vhd", DISK_VHD_DYNAMIC, NULL);
	fill("a.vhd", 20, BYTES);
	create("b.vhd", DISK_VHD_DIFFERENCING, "a.vhd");
	fill("b.vhd", 20, BYTES);
	survive(&scenario, merge_and_keep);
}

/* What is cut off and comes back must not show what was there. */
static void what_was_cut_off_does_not_come_back(void **state)
{
	struct disk_error error;
	struct contents content;

	create("a.vhd", DISK_VHD_DYNAMIC, NULL);
	fill("a.vhd", 60, BYTES);
	assert_int_equal(disk_resize("a.vhd", BYTES / 2 + 512, false, &error), -ENOTEMPTY);
	assert_int_equal(disk_resize("a.vhd", BYTES / 2 + 512, true, &error), 0);
	assert_int_equal(disk_resize("a.vhd", BYTES, false, &error), 0);
	content = content_of("a.vhd");
	for (uint64_t i = BYTES / 2 + 512; i < BYTES; i++)
		assert_int_equal(content.data[i], 0);
	free(content.data);
}

static void a_merged_child_is_gone_and_its_parent_is_the_disk(void **state)
{
	struct contents before, after;
	struct disk_error error;

	for (int middle = 0; middle < 2; middle++) {
		create("a.vhd", DISK_VHD_FIXED, NULL);
		fill("a.vhd", 20, BYTES);
		create("b.vhd", DISK_VHD_DIFFERENCING, "a.vhd");
		fill("b.vhd", 20, BYTES);
		if (middle) {
			create("c.vhd", DISK_VHD_DIFFERENCING, "b.vhd");
			fill("c.vhd", 20, BYTES);
		}
		before = content_of(middle ? "c.vhd" : "b.vhd");
		if (disk_merge(middle ? "c.vhd" : "b.vhd", false, NULL, &error))
			fail_msg("%s", error.text);
		assert_int_equal(access(middle ? "c.vhd" : "b.vhd", F_OK), -1);
		after = content_of(middle ? "b.vhd" : "a.vhd");
		assert_true(same(&after, &before, UINT64_MAX));
		free(before.data);
		free(after.data);
		unlink("a.vhd");
		unlink("b.vhd");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_disk_that_is_resized_survives_any_power_cut),
		TEST(a_disk_that_is_compacted_survives_any_power_cut),
		TEST(a_chain_that_is_merged_reads_the_same_after_any_power_cut),
		TEST(what_was_cut_off_does_not_come_back),
		TEST(a_merged_child_is_gone_and_its_parent_is_the_disk),
	};
	int failed;

	log_set_level(LOG_ERROR);
	io_test_hook = log_io;
	vhd_truncate_hook = log_truncate;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(journal.changes);
	return failed;
}
