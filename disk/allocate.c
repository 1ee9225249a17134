/*
 * allocate.c - a new block at the end of the file
 *
 * The file grows by one block at a time: one fallocate() for the block, its bitmap and the footer
 * behind them, which also sees to it that they read as zeros and that a full file system is noticed
 * while nothing was changed yet. Then the block has its place in memory's table, and requests go
 * on; the next commit (commit.c) writes its bitmap, the footer and its table entry.
 *
 * Layout: the data begin on a page of the file, the bitmap right before them, the footer right
 * behind them. A footer's place is never used again: a write of it in flight can meet no write of a
 * bitmap, and the old one stays valid until the file has grown. Blocks stand 2 MiB + 4 KiB apart.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"

static void adopt(struct disk *disk, struct allocation *allocation)
{
	struct vhd *vhd = disk->top->vhd;

	table_set(vhd, allocation->block, allocation->sector);
	if (!allocation->bitmap)
		table_set_full(vhd, allocation->block);
	else
		bitmap_mark_dirty(disk, allocation->bitmap);
	allocation->next = disk->pending;
	disk->pending = allocation;
	vhd->end = disk->grow.new_end;
	vhd->tail_dirty = true;
}

static void give_up(struct disk *disk, struct allocation *allocation, int error)
{
	/* It may have grown in part. The footer was not touched. */
	if (ftruncate(disk->top->fd, disk->top->vhd->end + VHD_FOOTER_BYTES) < 0)
		log_warning("%s: cannot cut it back to its old length", disk->top->path);
	if (allocation->bitmap)
		bitmap_drop(disk, allocation->bitmap);
	free(allocation);
	disk->grow.initiator->error = disk_request_error(error);
}

/* A file system without fallocate(): its files can still be extended, with a hole. */
static int extend(struct disk *disk)
{
	return ftruncate(disk->top->fd, disk->grow.new_end + VHD_FOOTER_BYTES) < 0 ? -errno : 0;
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

/* The bitmap of a block with a parent says which sectors are here; else it is all ones. */
static struct allocation *allocation_new(struct disk *disk, uint32_t block, uint64_t sector)
{
	struct allocation *allocation = calloc(1, sizeof(*allocation));

	if (!allocation || table_reserve(disk->top->vhd, block) < 0) {
		free(allocation);
		return NULL;
	}
	allocation->block = block;
	allocation->sector = sector;
	if (!disk->top->parent)
		return allocation;
	allocation->bitmap = bitmap_new(disk, disk->top, block, sector);
	if (!allocation->bitmap) {
		free(allocation);
		return NULL;
	}
	allocation->bitmap->unborn = true;
	return allocation;
}

static void start(struct disk *disk, struct disk_io *io, struct task *task)
{
	struct grow *grow = &disk->grow;
	uint64_t end = disk->top->vhd->end;

	grow->running = true;
	grow->initiator = task;
	io->kind = IO_ALLOCATE;
	io->fd = disk->top->fd;
	io->mode = 0;
	io->offset = end;
	io->bytes = grow->new_end + VHD_FOOTER_BYTES - end;
	io->owner = disk;
	io->done = grown;
	queue_submit_io(io);
}

int allocate_block(struct disk *disk, uint32_t block, struct task *task)
{
	const struct vhd *vhd = disk->top->vhd;
	uint64_t data = ALIGN_UP(vhd->end + VHD_FOOTER_BYTES + vhd->bitmap_bytes, PAGE_BYTES);
	uint64_t sector = (data - vhd->bitmap_bytes) / VHD_SECTOR;
	struct disk_io *io;

	if (disk->grow.running) {
		task_list_add(&disk->grow.waiters, task);
		return WAIT;
	}
	if (sector >= VHD_UNALLOCATED)
		return -ENOSPC;
	if (disk->top->parent && bitmap_too_many_dirty(disk)) {
		commit_join(disk, task, false);
		return WAIT;
	}
	io = queue_take_io(task->queue);
	if (!io) {
		queue_wait_io(task->queue, task);
		return WAIT;
	}
	disk->grow.allocation = allocation_new(disk, block, sector);
	if (!disk->grow.allocation) {
		queue_give_io(io);
		return -ENOMEM;
	}
	disk->grow.new_end = data + vhd->block_bytes;
	start(disk, io, task);
	return WAIT;
}
