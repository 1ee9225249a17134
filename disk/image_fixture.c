/*
 * image_fixture.c - see image_fixture.h
 */
#include "image_fixture.h"

#include <errno.h>
#include <fcntl.h>

#define STEP	     (1 * MIB)
#define RANDOM_READS 200

struct disk_error fixture_error;
static char folder[64];

int fixture_set_up(void **state)
{
	snprintf(folder, sizeof(folder), "image-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

int fixture_tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

const char *fixture_path(const char *name)
{
	static char paths[8][256];
	static unsigned int at;

	at = (at + 1) % ARRAY_SIZE(paths);
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", folder, name);
	return paths[at];
}

void fixture_run(const char *format, ...)
{
	char command[1024], whole[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "cd %s && (%s) >/dev/null", folder, command);
	if (system(whole))
		fail_msg("%s", whole);
}

/* --- files --- */

static int open_file(const char *name, int flags)
{
	int fd = open(fixture_path(name), flags | O_CLOEXEC, 0600);

	if (fd < 0)
		fail_msg("%s cannot be opened", name);
	return fd;
}

void fixture_write(const char *name, uint64_t offset, const void *bytes, size_t count)
{
	int fd = open_file(name, O_WRONLY | O_CREAT);

	assert_int_equal(pwrite(fd, bytes, count, offset), count);
	close(fd);
}

void fixture_read(const char *name, uint64_t offset, void *bytes, size_t count)
{
	int fd = open_file(name, O_RDONLY);

	assert_int_equal(pread(fd, bytes, count, offset), count);
	close(fd);
}

void fixture_text(const char *name, const char *format, ...)
{
	int fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
	va_list args;

	va_start(args, format);
	assert_true(vdprintf(fd, format, args) >= 0);
	va_end(args);
	close(fd);
}

uint64_t fixture_length(const char *name)
{
	struct stat status;

	assert_int_equal(stat(fixture_path(name), &status), 0);
	return status.st_size;
}

void fixture_truncate(const char *name, uint64_t bytes)
{
	int fd = open_file(name, O_WRONLY | O_CREAT);

	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

/* --- opening --- */

int fixture_open(const char *name, struct disk **ret_disk)
{
	struct disk_options options = {.read_only = true};

	*ret_disk = NULL;
	fixture_error.text[0] = 0;
	return disk_open(fixture_path(name), &options, ret_disk, &fixture_error);
}

struct disk *fixture_open_well(const char *name)
{
	struct disk *disk;

	if (fixture_open(name, &disk))
		fail_msg("%s", fixture_error.text);
	return disk;
}

void fixture_refuse(const char *name, int error)
{
	struct disk *disk;
	int r = fixture_open(name, &disk);

	disk_close(disk);
	if (r != error)
		fail_msg("%s: %d instead of %d: %s", name, r, error, fixture_error.text);
	if (!strstr(fixture_error.text, folder))
		fail_msg("does not name the file: %s", fixture_error.text);
}

/* --- comparing --- */

/* What the disk should have: the file's bytes, then zeros. */
static void read_truth(int fd, uint64_t offset, uint8_t *bytes, size_t count)
{
	ssize_t got = pread(fd, bytes, count, offset);

	assert_true(got >= 0);
	memset(bytes + got, 0, count - got);
}

static void compare_part(struct disk *disk, int fd, uint64_t offset, size_t count)
{
	static uint8_t found[STEP], truth[STEP];
	int r = disk_pread(disk, offset, found, count);

	if (r < 0)
		fail_msg("%s: reading %zu bytes at %lu: %d", disk->top->path, count, offset, r);
	read_truth(fd, offset, truth, count);
	for (size_t i = 0; i < count; i++) {
		if (found[i] != truth[i])
			fail_msg("%s: byte %lu is %02x, not %02x", disk->top->path, offset + i,
				 found[i], truth[i]);
	}
}

static void compare_random_parts(struct disk *disk, int fd, uint64_t sectors)
{
	for (unsigned int i = 0; i < RANDOM_READS; i++) {
		uint64_t at = random() % sectors, count = 1 + random() % (STEP / 4 / 512);

		compare_part(disk, fd, at * 512, MIN(count, sectors - at) * 512);
	}
}

/* Extents follow one another to the end; what is no data are zeros. */
static void check_extents(struct disk *disk, int fd, uint64_t bytes)
{
	static uint8_t truth[STEP], zeros[STEP];
	struct disk_extent extent;

	for (uint64_t at = 0; at < bytes; at += extent.bytes) {
		assert_int_equal(disk_next_extent(disk, at, &extent), 0);
		assert_int_equal(extent.offset, at);
		assert_true(extent.bytes && extent.bytes <= bytes - at);
		for (uint64_t i = 0; extent.kind != DISK_EXTENT_DATA && i < extent.bytes;
		     i += STEP) {
			uint64_t part = MIN(STEP, extent.bytes - i);

			read_truth(fd, at + i, truth, part);
			assert_memory_equal(truth, zeros, part);
		}
	}
}

void fixture_compare(const char *name, const char *raw)
{
	struct disk *disk = fixture_open_well(name);
	int fd = open_file(raw, O_RDONLY);
	struct disk_info info;

	disk_get_info(disk, &info);
	for (uint64_t at = 0; at < info.bytes; at += STEP)
		compare_part(disk, fd, at, MIN(STEP, info.bytes - at));
	compare_random_parts(disk, fd, info.bytes / 512);
	check_extents(disk, fd, info.bytes);
	close(fd);
	disk_close(disk);
}

bool fixture_is_filled(const uint8_t *bytes, size_t count, char c)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] != (uint8_t)c)
			return false;
	}
	return true;
}

void fixture_check_units(const char *name, const char *contents, unsigned int count,
			 size_t unit_bytes, unsigned int bad)
{
	struct disk *disk = fixture_open_well(name);
	uint8_t *found = malloc(unit_bytes);

	for (unsigned int i = 0; i < count; i++) {
		int r = disk_pread(disk, i * unit_bytes, found, unit_bytes);

		if (r != (bad >> i & 1 ? -EIO : 0))
			fail_msg("%s: unit %u: %d", name, i, r);
		if (!r && !fixture_is_filled(found, unit_bytes, contents[i]))
			fail_msg("%s: unit %u contains %02x", name, i, found[0]);
	}
	free(found);
	disk_close(disk);
}
