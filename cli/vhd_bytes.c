/*
 * vhd_bytes.c - `mullion vhd read` and `write`: a disk's bytes for scripts
 *
 * Any offset and length will do: sectors at the ends that are covered in part are read first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "vhd.h"

#define PIECE_BYTES MIB

struct transfer {
	const char *path;
	struct disk *disk;
	uint64_t at, end, disk_bytes;
	uint32_t sector;
	uint8_t *buffer; /* PIECE_BYTES, which is whole sectors */
};

static int open_disk(const struct vhd_options *options, bool read_only, struct transfer *transfer)
{
	struct disk_options open = {.read_only = read_only,
				    .allow_raw = true,
				    .format = vhd_format_named(options->source_format)};
	struct disk_error error;
	struct disk_info info;
	int r;

	transfer->path = options->files.items[0];
	r = disk_open(transfer->path, &open, &transfer->disk, &error);
	if (r < 0)
		return vhd_report(r, &error);
	disk_get_info(transfer->disk, &info);
	transfer->disk_bytes = info.bytes;
	transfer->sector = info.logical_sector;
	transfer->at = options->offset;
	transfer->end = options->count ? options->offset + options->count : info.bytes;
	transfer->buffer = aligned_alloc(PAGE_BYTES, PIECE_BYTES);
	if (!transfer->buffer) {
		log_error("out of memory");
		return EXIT_HOST_CANNOT;
	}
	if (transfer->at <= info.bytes && transfer->end <= info.bytes &&
	    transfer->at <= transfer->end)
		return 0;
	log_error("%s: the disk ends at byte %" PRIu64 ": --offset and --bytes reach beyond it",
		  transfer->path, info.bytes);
	return EXIT_FAILED;
}

static void close_disk(struct transfer *transfer)
{
	free(transfer->buffer);
	disk_close(transfer->disk);
}

/* The whole sectors around what is next. */
static size_t next_piece(const struct transfer *transfer, uint64_t *ret_start)
{
	uint64_t start = ALIGN_DOWN(transfer->at, (uint64_t)transfer->sector);
	uint64_t end = MIN(start + PIECE_BYTES, transfer->disk_bytes);

	*ret_start = start;
	return MIN(end, ALIGN_UP(transfer->end, (uint64_t)transfer->sector)) - start;
}

static int failed(const struct transfer *transfer, const char *what, uint64_t at, int error)
{
	log_error("%s: cannot %s byte %" PRIu64 ": %s", transfer->path, what, at, strerror(-error));
	return EXIT_FAILED;
}

static int read_pieces(struct transfer *transfer)
{
	while (transfer->at < transfer->end) {
		uint64_t start;
		size_t count = next_piece(transfer, &start), within = transfer->at - start, wanted;
		int r = disk_pread(transfer->disk, start, transfer->buffer, count);

		if (r < 0)
			return failed(transfer, "read", start, r);
		wanted = MIN(count - within, transfer->end - transfer->at);
		if (fwrite(transfer->buffer + within, 1, wanted, stdout) != wanted) {
			log_error("standard output: cannot write to it: %s", strerror(errno));
			return EXIT_FAILED;
		}
		transfer->at += wanted;
	}
	if (fflush(stdout)) {
		log_error("standard output: cannot write to it: %s", strerror(errno));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

int vhd_read(const struct vhd_options *options)
{
	struct transfer transfer = {};
	int r = open_disk(options, true, &transfer);

	if (!r)
		r = read_pieces(&transfer);
	close_disk(&transfer);
	return r;
}

/* 0, or an exit status; *ret_got less than @count at the end of standard input. */
static int read_input(uint8_t *bytes, size_t count, size_t *ret_got)
{
	*ret_got = 0;
	while (*ret_got < count) {
		ssize_t got = read(STDIN_FILENO, bytes + *ret_got, count - *ret_got);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			log_error("standard input: cannot read it: %s", strerror(errno));
			return EXIT_FAILED;
		}
		if (!got)
			return 0;
		*ret_got += got;
	}
	return 0;
}

/* One piece of input into the disk; what it does not cover of its sectors is read before. */
static int write_piece(struct transfer *transfer, bool *ret_over)
{
	uint64_t start;
	size_t count = next_piece(transfer, &start), within = transfer->at - start, got;
	size_t wanted = MIN(count - within, transfer->end - transfer->at);
	int r = read_input(transfer->buffer + within, wanted, &got);
	uint8_t *edge = transfer->buffer + ALIGN_DOWN(within + got, (size_t)transfer->sector);
	uint8_t kept[4096];

	*ret_over = got < wanted;
	if (r || !got)
		return r;
	count = ALIGN_UP(within + got, (size_t)transfer->sector);
	if ((within + got) % transfer->sector) {
		size_t used = (within + got) % transfer->sector;

		r = disk_pread(transfer->disk, start + (edge - transfer->buffer), kept,
			       transfer->sector);
		if (r < 0)
			return failed(transfer, "read", start, r);
		memcpy(edge + used, kept + used, transfer->sector - used);
	}
	if (within) {
		r = disk_pread(transfer->disk, start, kept, transfer->sector);
		if (r < 0)
			return failed(transfer, "read", start, r);
		memcpy(transfer->buffer, kept, within);
	}
	r = disk_pwrite(transfer->disk, start, transfer->buffer, count);
	if (r < 0)
		return failed(transfer, "write", start, r);
	transfer->at += got;
	return 0;
}

static int write_pieces(struct transfer *transfer, bool all_wanted)
{
	bool over = false;
	size_t more;
	int r = 0;

	while (!r && !over && transfer->at < transfer->end)
		r = write_piece(transfer, &over);
	if (!r && over && all_wanted) {
		log_error("standard input: ended %" PRIu64 " bytes before --bytes; what came was "
			  "written",
			  transfer->end - transfer->at);
		r = EXIT_FAILED;
	}
	if (!r && !over && !all_wanted && !read_input(transfer->buffer, 1, &more) && more) {
		log_error("%s: the disk is full; standard input has more than there is room for",
			  transfer->path);
		r = EXIT_FAILED;
	}
	return r;
}

int vhd_write(const struct vhd_options *options)
{
	struct transfer transfer = {};
	int r = open_disk(options, false, &transfer), flushed;

	if (!r)
		r = write_pieces(&transfer, options->count);
	if (!r) {
		flushed = disk_flush(transfer.disk);
		if (flushed < 0) {
			log_error("%s: cannot bring it to disk: %s", transfer.path,
				  strerror(-flushed));
			r = EXIT_FAILED;
		}
	}
	close_disk(&transfer);
	return r;
}
