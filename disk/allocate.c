/*
 * allocate.c - a new block at the end of the file
 *
 * The file grows by one block at a time: one fallocate() for the block and what belongs to it,
 * which also sees to it that they read as zeros and that a full file system is noticed while
 * nothing was changed yet. Then the block has its place in memory's table, and requests go on; the
 * next commit (commit.c) makes it known on disk. What is where is the format's business.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"

static const struct blocks_driver *format_of(const struct disk *disk)
{
	return disk->top->driver->blocks;
}

static void adopt(struct disk *disk, struct allocation *allocation)
{
	format_of(disk)->adopt(disk, allocation);
	disk->top->blocks->end = allocation->end;
	allocation->next = disk->pending;
	disk->pending = allocation;
}

static void give_up(struct disk *disk, struct allocation *allocation, int error)
{
	/* It may have grown in part. What ends there was not touched. */
	if (ftruncate(disk->top->fd, format_of(disk)->file_bytes(disk->top)) < 0)
		log_warning("%s: cannot cut it back to its old length", disk->top->path);
	format_of(disk)->abandon(disk, allocation);
	free(allocation);
	disk->grow.initiator->error = disk_request_error(error);
}

/* A file system without fallocate(): its files can still be extended, with a hole. */
static int extend(struct disk *disk)
{
	return ftruncate(disk->top->fd, disk->grow.allocation->file_bytes) < 0 ? -errno : 0;
}

static void grown(struct disk_io *io, int result)
{
	struct disk *disk = io->owner;
	struct grow *grow = &disk->grow;
	struct task_list waiters;
	struct task *initiator;

	if (result == -EINTR || result == -EAGAIN) {
		queue_submit_io(io);
		return;
	}
	pthread_mutex_lock(&disk->lock);
	if (result == -EOPNOTSUPP)
		result = extend(disk);
	if (result < 0)
		give_up(disk, grow->allocation, result);
	else
		adopt(disk, grow->allocation);
	grow->running = false;
	initiator = grow->initiator;
	waiters = grow->waiters;
	grow->waiters.first = NULL;
	pthread_mutex_unlock(&disk->lock);
	queue_give_io(io);
	task_wake(initiator);
	task_list_wake(&waiters);
}

static void start(struct disk *disk, struct disk_io *io, struct task *task)
{
	struct grow *grow = &disk->grow;
	uint64_t end = disk->top->blocks->end;

	grow->running = true;
	grow->initiator = task;
	io->kind = IO_ALLOCATE;
	io->fd = disk->top->fd;
	io->mode = 0;
	io->offset = end;
	io->bytes = grow->allocation->file_bytes - end;
	io->owner = disk;
	io->done = grown;
	queue_submit_io(io);
}

static int place(struct disk *disk, uint32_t block, struct task *task,
		 struct allocation **ret_allocation)
{
	struct allocation *allocation = calloc(1, sizeof(*allocation));
	int r = allocation ? table_reserve(disk->top->blocks, block) : -ENOMEM;

	if (!r) {
		allocation->block = block;
		r = format_of(disk)->place(disk, allocation, task);
	}
	if (r) {
		free(allocation);
		return r;
	}
	*ret_allocation = allocation;
	return 0;
}

int allocate_block(struct disk *disk, uint32_t block, struct task *task)
{
	struct disk_io *io;
	int r;

	if (disk->grow.running) {
		task_list_add(&disk->grow.waiters, task);
		return WAIT;
	}
	if (!disk->top->begun || (disk->top->differencing && bitmap_too_many_dirty(disk))) {
		commit_join(disk, task, false);
		return WAIT;
	}
	if (!task->queue->free_ios) {
		queue_wait_io(task->queue, task);
		return WAIT;
	}
	r = place(disk, block, task, &disk->grow.allocation);
	if (r)
		return r;
	io = queue_take_io(task->queue);
	start(disk, io, task);
	return WAIT;
}
