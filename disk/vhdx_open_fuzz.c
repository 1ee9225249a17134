/*
 * vhdx_open_fuzz.c - a file's bytes as a VHDX: open it, read some, write some
 *
 * Whole images have some MiB, nearly all of it zeros, so an input is a list of pieces: 4 bytes of
 * the offset in the file in units of 512 bytes, 2 bytes of the length, then so many bytes; the rest
 * is zeros. The first byte of the input says whether the checksums of headers, region tables and
 * log entries are put right first, and how long the file is, in MiB. The file lies in memory.
 */
#include <fcntl.h>

#include "crc32c.h"
#include "open_fuzz.h"
#include "vhdx_internal.h"

#define MAX_INPUT    (256 * KIB)
#define MAX_CONTENTS (256 * MIB)

static void fix(int fd, uint64_t at, const char *signature, size_t bytes)
{
	static uint8_t structure[VHDX_REGIONS_BYTES];
	uint32_t sum;

	if (pread(fd, structure, bytes, at) != (ssize_t)bytes || memcmp(structure, signature, 4))
		return;
	sum = crc32c_with_hole(structure, bytes, 4);
	if (pwrite(fd, &sum, sizeof(sum), at + 4) != sizeof(sum))
		abort();
}

static void fix_checksums(int fd)
{
	for (uint64_t copy = 0; copy < 2; copy++) {
		fix(fd, VHDX_HEADER_AT + copy * VHDX_COPY_STRIDE, VHDX_HEADER_SIGNATURE,
		    sizeof(struct vhdx_header));
		fix(fd, VHDX_REGIONS_AT + copy * VHDX_COPY_STRIDE, VHDX_REGIONS_SIGNATURE,
		    VHDX_REGIONS_BYTES);
	}
	for (uint64_t at = MIB; at < 2 * MIB; at += VHDX_LOG_SECTOR) {
		struct vhdx_log_entry entry;

		if (pread(fd, &entry, sizeof(entry), at) == sizeof(entry) &&
		    entry.entry_length >= sizeof(entry) && entry.entry_length <= VHDX_REGIONS_BYTES)
			fix(fd, at, VHDX_ENTRY_SIGNATURE, entry.entry_length);
	}
}

static int image_in_memory(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	uint8_t what = data[0];

	if (fd < 0 || ftruncate(fd, (what >> 1) * MIB) < 0)
		abort();
	for (data++, size--; size > 6;) {
		uint64_t offset =
			512ull * (data[0] | data[1] << 8 | data[2] << 16 | (uint32_t)data[3] << 24);
		size_t length = MIN((size_t)(data[4] | data[5] << 8), size - 6);

		if (offset < MAX_CONTENTS &&
		    pwrite(fd, data + 6, length, offset) != (ssize_t)length)
			abort();
		data += 6 + length;
		size -= 6 + length;
	}
	if (what & 1)
		fix_checksums(fd);
	return fd;
}

static void write_and_read_back(struct disk *disk, uint64_t offset, uint8_t value)
{
	static uint8_t written[3 * 4096], found[sizeof(written)];

	memset(written, value, sizeof(written));
	if (disk_pwrite(disk, offset, written, sizeof(written)) < 0)
		return;
	if (disk_pread(disk, offset, found, sizeof(found)) < 0 ||
	    memcmp(written, found, sizeof(found)))
		abort();
	disk_flush(disk);
}

static void write_here_and_there(struct disk *disk)
{
	struct disk_info info;

	disk_get_info(disk, &info);
	if (info.bytes < 64 * KIB || disk->top->blocks->end > MAX_CONTENTS)
		return;
	write_and_read_back(disk, 0, 0x11);
	if (info.block_bytes < info.bytes - 16 * KIB)
		write_and_read_back(disk, info.block_bytes - 4096, 0x22);
	write_and_read_back(disk, ALIGN_DOWN(info.bytes, 4096ull) - 3 * 4096, 0x33);
}

/* Parents are not looked for: their names would be the fuzzer's. */
static void open_and_use(const char *path, bool read_only)
{
	struct disk_options options = {.read_only = read_only, .no_parents = true};
	struct disk_error error = {};
	struct disk *disk;
	int r = disk_open(path, &options, &disk, &error);

	if (r < 0 && !error.text[0])
		abort();
	if (r < 0)
		return;
	open_fuzz_read_all_over(disk);
	if (!read_only && disk->top->blocks)
		write_here_and_there(disk);
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
	if (size < 1 || size > MAX_INPUT)
		return 0;
	fd = image_in_memory(data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	open_and_use(path, true);
	open_and_use(path, false);
	open_and_use(path, true);
	close(fd);
	return 0;
}
