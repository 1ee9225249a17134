/*
 * io.c - operations on host files, performed here and now
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

int (*io_test_hook)(struct disk_io *io);

static int transfer(struct disk_io *io)
{
	ssize_t moved;

	do {
		moved = io->kind == IO_READ
				? preadv2(io->fd, io->iov, io->iov_count, io->offset, io->mode)
				: pwritev2(io->fd, io->iov, io->iov_count, io->offset, io->mode);
	} while (moved < 0 && errno == EINTR);
	return moved < 0 ? -errno : (int)moved;
}

static int allocate(struct disk_io *io)
{
	int r;

	do {
		r = fallocate(io->fd, io->mode, io->offset, io->bytes);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int io_perform(struct disk_io *io)
{
	switch (io->kind) {
	case IO_READ:
	case IO_WRITE: return transfer(io);
	case IO_SYNC: return fdatasync(io->fd) < 0 ? -errno : 0;
	case IO_ALLOCATE: return allocate(io);
	}
	return -EINVAL;
}

static int perform_or_hook(struct disk_io *io)
{
	return io_test_hook ? io_test_hook(io) : io_perform(io);
}

static int file_transfer(int fd, enum io_kind kind, uint64_t offset, void *bytes, size_t count)
{
	struct iovec iov = {.iov_base = bytes, .iov_len = count};
	struct disk_io io = {.kind = kind, .fd = fd, .offset = offset, .iov = &iov, .iov_count = 1};

	while (iov.iov_len) {
		int moved;

		iov.iov_len = MIN(count, 64 * MIB);
		moved = perform_or_hook(&io);
		if (moved <= 0)
			return moved ? moved : kind == IO_READ ? -ENODATA : -EIO;
		iov.iov_base = (char *)iov.iov_base + moved;
		io.offset += moved;
		count -= moved;
		iov.iov_len = count;
	}
	return 0;
}

int file_read(int fd, uint64_t offset, void *bytes, size_t count)
{
	return file_transfer(fd, IO_READ, offset, bytes, count);
}

int file_write(int fd, uint64_t offset, const void *bytes, size_t count)
{
	return file_transfer(fd, IO_WRITE, offset, (void *)bytes, count);
}

int file_sync(int fd)
{
	struct disk_io io = {.kind = IO_SYNC, .fd = fd};

	return perform_or_hook(&io);
}

int file_zero(int fd, uint64_t offset, uint64_t count)
{
	static const uint8_t zeros[64 * 1024];
	struct disk_io io = {.kind = IO_ALLOCATE,
			     .fd = fd,
			     .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     .offset = offset,
			     .bytes = count};
	int r = count ? perform_or_hook(&io) : 0;

	if (r != -EOPNOTSUPP && r != -ENODEV)
		return r;
	for (r = 0; !r && count;) {
		size_t part = MIN(count, sizeof(zeros));

		r = file_write(fd, offset, zeros, part);
		offset += part;
		count -= part;
	}
	return r;
}

/* --- the synchronous queue: performed when submitted, delivered when dispatched --- */

static int inline_start(struct disk_queue *queue, unsigned int depth)
{
	return 0;
}

static void inline_submit(struct disk_queue *queue, struct disk_io *io)
{
	queue_complete_io(io, perform_or_hook(io));
	queue_call_back(queue);
}

static void inline_nothing(struct disk_queue *queue)
{
}

const struct queue_backend inline_backend = {.name = "inline",
					     .start = inline_start,
					     .submit = inline_submit,
					     .kick = inline_nothing,
					     .reap = inline_nothing,
					     .stop = inline_nothing};
