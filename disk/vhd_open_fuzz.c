/*
 * vhd_open_fuzz.c - a file's bytes as an image: open it, read some, write some
 *
 * Built for libFuzzer with -Dfuzz=true, else as a replay of its corpus. The file lies in memory. A
 * corpus of whole images would never get past their checksums, so those are put right first, where
 * a structure is recognised; the first byte of the input says whether.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhd_internal.h"
#include "log.h"

#define MAX_BYTES    (64 * KIB)
#define MAX_CONTENTS (8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix(uint8_t *bytes, size_t count, size_t checksum_offset)
{
	be32 sum = htobe32(vhd_checksum(bytes, count, checksum_offset));

	memcpy(bytes + checksum_offset, &sum, sizeof(sum));
}

static void fix_checksums(uint8_t *file, size_t size)
{
	for (size_t at = 0; at + VHD_FOOTER_BYTES <= size; at += VHD_SECTOR) {
		if (!memcmp(file + at, VHD_COOKIE, 8))
			fix(file + at, VHD_FOOTER_BYTES, offsetof(struct vhd_footer, checksum));
		else if (!memcmp(file + at, VHD_DYNAMIC_COOKIE, 8) &&
			 at + sizeof(struct vhd_dynamic_header) <= size)
			fix(file + at, sizeof(struct vhd_dynamic_header),
			    offsetof(struct vhd_dynamic_header, checksum));
	}
}

static int image_in_memory(const uint8_t *data, size_t size, bool with_sums)
{
	uint8_t *copy = malloc(size + 1);
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (!copy || fd < 0)
		abort();
	memcpy(copy, data, size);
	if (with_sums)
		fix_checksums(copy, size);
	if (write(fd, copy, size) != (ssize_t)size)
		abort();
	free(copy);
	return fd;
}

/* What was written reads back, near the start, the end, and across a block's border. */
static void use(struct disk *disk)
{
	static uint8_t written[3 * VHD_SECTOR], found[sizeof(written)];
	struct disk_info info;
	uint64_t offsets[3];

	disk_get_info(disk, &info);
	if (info.bytes < 4 * sizeof(written))
		return;
	offsets[0] = 0;
	offsets[1] = info.block_bytes && info.block_bytes < info.bytes - sizeof(written)
			     ? info.block_bytes - VHD_SECTOR
			     : VHD_SECTOR;
	offsets[2] = info.bytes - sizeof(written);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		memset(written, 0x11 + i, sizeof(written));
		disk_pread(disk, offsets[i], found, sizeof(found));
		if (disk_pwrite(disk, offsets[i], written, sizeof(written)) < 0)
			continue;
		if (disk_pread(disk, offsets[i], found, sizeof(found)) < 0 ||
		    memcmp(written, found, sizeof(found)))
			abort();
		disk_flush(disk);
	}
}

static void open_and_use(const char *path, bool read_only)
{
	struct disk_options options = {.read_only = read_only, .allow_raw = true};
	struct disk_error error = {};
	struct disk *disk;
	int r = disk_open(path, &options, &disk, &error);

	if (r < 0 && !error.text[0])
		abort();
	if (r < 0)
		return;
	if (disk->top->blocks && disk->top->blocks->end > MAX_CONTENTS) {
		/* Legal, but nothing but slow. */
		disk_close(disk);
		return;
	}
	use(disk);
	disk_close(disk);
}

static int no_sync(struct disk_io *io)
{
	return io->kind == IO_SYNC ? 0 : io_perform(io);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	int fd;

	log_set_level(LOG_ERROR);
	io_test_hook = no_sync;
	if (size < 1 || size > MAX_BYTES)
		return 0;
	fd = image_in_memory(data + 1, size - 1, data[0] & 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	open_and_use(path, true);
	open_and_use(path, false);
	open_and_use(path, true);
	close(fd);
	return 0;
}
