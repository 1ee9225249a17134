/*
 * request.c - a request's way through an image: pieces, each one operation on one file
 *
 * A request walks from its start to its end. Under the disk's lock each step finds the longest run
 * that lies contiguously in one file of the chain (or is zeros, or needs nothing); the piece is
 * then submitted without the lock, and the walk goes on. Where a step has to wait (a bitmap that is
 * being read, a block that is being allocated, no free operation, a commit) the request is queued
 * as a task and the walk resumes later. When the walk is over and all pieces are done, a write with
 * FUA goes on to a flush.
 *
 * Everything of a request happens on its queue's thread. `refs` counts the pieces in flight, and
 * one for the walk.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "disk_internal.h"

struct request_state {
	int64_t result_slot; /* queue_finish_request() keeps the result here */
	struct task task;
	uint64_t at;		   /* how far the walk is */
	struct vector_place place; /* the same in the vectors */
	uint32_t refs;
	int result;
	bool flushing, synced; /* waits for a flush; each piece was a synchronous write */
};
static_assert(sizeof(struct request_state) <= sizeof(((struct disk_request *)0)->state),
	      "state[] is too small");

static struct request_state *state_of(struct disk_request *request)
{
	return (struct request_state *)request->state;
}

int disk_request_error(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG: return -ENOSPC;
	default: return -EIO;
	}
}

static int map(struct disk_request *request, struct run *run)
{
	struct request_state *state = state_of(request);
	struct disk *disk = request->disk;
	uint64_t offset = request->offset + state->at;
	int r;

	*run = (struct run){.bytes = request->bytes - state->at};
	state->task.error = 0;
	pthread_mutex_lock(&disk->lock);
	if (request->op == DISK_READ)
		r = map_read(disk, offset, &state->task, run);
	else if (disk->failed)
		r = -EIO;
	else if (request->op == DISK_DISCARD)
		r = map_discard(disk, offset, &state->task, run);
	else
		r = map_write(disk, offset, request->op == DISK_WRITE_ZEROES, &state->task, run);
	/* Where metadata are pending, a flush has to follow instead. */
	if (r || run->bitmap || commit_needed(disk))
		state->synced = false;
	pthread_mutex_unlock(&disk->lock);
	return r;
}

/* --- pieces --- */

static void request_put(struct disk_request *request);

static void piece_over(struct disk_io *io, int result)
{
	struct disk_request *request = io->owner;
	struct request_state *state = state_of(request);
	struct disk *disk = request->disk;
	struct bitmap *bitmap = io->pinned;

	if (bitmap) {
		const struct blocks *blocks = disk->top->blocks;
		uint64_t sector = (request->offset + io->at) >> blocks->sector_shift;

		pthread_mutex_lock(&disk->lock);
		bitmap->pins--;
		if (!result)
			bitmap_set(disk, bitmap, sector & (BIT(blocks->unit_shift) - 1),
				   io->bytes >> blocks->sector_shift);
		pthread_mutex_unlock(&disk->lock);
	}
	if (result < 0 && !state->result)
		state->result = disk_request_error(result);
	queue_give_io(io);
	request_put(request);
}

/* The end of the file inside a read: zeros behind a raw file's last byte, else damage. */
static void read_ended(struct disk_io *io)
{
	struct disk_request *request = io->owner;

	if (io->offset < io->fill_from) {
		piece_over(io, -EIO);
		return;
	}
	vectors_fill(request, io->at + io->moved, NULL, io->bytes - io->moved);
	piece_over(io, 0);
}

static void moved_part(struct disk_io *io, int bytes)
{
	struct disk_request *request = io->owner;

	io->moved += bytes;
	io->offset += bytes;
	if (io->moved == io->bytes) {
		piece_over(io, 0);
		return;
	}
	if (!bytes && io->kind == IO_READ) {
		read_ended(io);
		return;
	}
	if (!bytes) {
		piece_over(io, -EIO);
		return;
	}
	if (request->op == DISK_WRITE_ZEROES)
		vectors_set_zeros(io);
	else
		vectors_set_rest(io, request);
	queue_submit_io(io);
}

/* A file system that cannot punch or zero: a discard is only a wish, zeros are written. */
static void not_supported(struct disk_io *io)
{
	struct disk_request *request = io->owner;

	if (request->op == DISK_DISCARD) {
		piece_over(io, 0);
		return;
	}
	io->kind = IO_WRITE;
	io->mode = 0;
	vectors_set_zeros(io);
	queue_submit_io(io);
}

static void piece_done(struct disk_io *io, int result)
{
	if (result == -EINTR || result == -EAGAIN)
		queue_submit_io(io);
	else if (io->kind == IO_ALLOCATE && (result == -EOPNOTSUPP || result == -ENODEV))
		not_supported(io);
	else if (result < 0 || io->kind == IO_ALLOCATE)
		piece_over(io, result);
	else
		moved_part(io, result);
}

static void set_operation(struct disk_io *io, const struct disk_request *request)
{
	const struct request_state *state = state_of((struct disk_request *)request);

	io->mode = 0;
	switch (request->op) {
	case DISK_READ:
	case DISK_WRITE:
		io->kind = request->op == DISK_READ ? IO_READ : IO_WRITE;
		if (request->op == DISK_WRITE && request->fua && state->synced)
			io->mode = RWF_DSYNC;
		vectors_set(io, request, state->place);
		break;
	case DISK_DISCARD:
	case DISK_WRITE_ZEROES:
		io->kind = IO_ALLOCATE;
		io->mode = FALLOC_FL_KEEP_SIZE;
		io->mode |= request->op == DISK_DISCARD || request->may_unmap
				    ? FALLOC_FL_PUNCH_HOLE
				    : FALLOC_FL_ZERO_RANGE;
		break;
	case DISK_FLUSH: break;
	}
}

static void submit_piece(struct disk_request *request, const struct run *run)
{
	struct disk_io *io = queue_take_io(request->queue);

	io->fd = run->fd;
	io->offset = run->offset;
	io->bytes = run->bytes;
	io->owner = request;
	io->pinned = run->bitmap;
	io->at = state_of(request)->at;
	io->moved = 0;
	io->fill_from = run->fill_from;
	io->done = piece_done;
	set_operation(io, request);
	state_of(request)->refs++;
	queue_submit_io(io);
}

/* --- flush --- */

static void flush_over(struct disk_request *request, int result)
{
	queue_finish_request(request->queue, request, result);
}

static void sync_done(struct disk_io *io, int result)
{
	struct disk_request *request = io->owner;
	struct disk *disk = request->disk;

	if (result == -EINTR || result == -EAGAIN) {
		queue_submit_io(io);
		return;
	}
	if (result < 0) {
		pthread_mutex_lock(&disk->lock);
		disk->failed = true;
		pthread_mutex_unlock(&disk->lock);
	}
	queue_give_io(io);
	flush_over(request, result < 0 ? -EIO : 0);
}

static void plain_sync(struct disk_request *request)
{
	struct disk_io *io = queue_take_io(request->queue);

	io->kind = IO_SYNC;
	io->fd = request->disk->top->fd;
	io->mode = 0;
	io->bytes = 0;
	io->owner = request;
	io->done = sync_done;
	queue_submit_io(io);
}

enum flush_way { FLUSH_FAILED, FLUSH_COMMIT, FLUSH_WAIT, FLUSH_SYNC };

static enum flush_way choose_flush(struct disk_request *request)
{
	struct disk *disk = request->disk;
	struct request_state *state = state_of(request);
	enum flush_way way = FLUSH_SYNC;

	pthread_mutex_lock(&disk->lock);
	if (disk->failed) {
		way = FLUSH_FAILED;
	} else if (commit_needed(disk)) {
		way = FLUSH_COMMIT;
		commit_join(disk, &state->task, true);
	} else if (!request->queue->free_ios) {
		way = FLUSH_WAIT;
		queue_wait_io(request->queue, &state->task);
	}
	pthread_mutex_unlock(&disk->lock);
	return way;
}

static void flush(struct disk_request *request)
{
	struct request_state *state = state_of(request);

	state->flushing = false;
	state->task.error = 0;
	switch (choose_flush(request)) {
	case FLUSH_FAILED: flush_over(request, -EIO); break;
	case FLUSH_COMMIT: state->flushing = true; break;
	case FLUSH_SYNC: plain_sync(request); break;
	case FLUSH_WAIT: break;
	}
}

/* --- the walk --- */

static void request_put(struct disk_request *request)
{
	struct request_state *state = state_of(request);

	if (--state->refs)
		return;
	if (!state->result && request->fua && request->op != DISK_READ && !state->synced)
		flush(request);
	else
		queue_finish_request(request->queue, request, state->result);
}

/* Images that are read only may be packed: they are unpacked here and now. */
static int decode(struct disk_request *request, const struct run *run)
{
	uint64_t at = state_of(request)->at;
	void *bytes = malloc(run->bytes);
	int r;

	if (!bytes)
		return -ENOMEM;
	r = run->image->driver->decode(run->image, request->offset + at, bytes, run->bytes);
	if (!r)
		vectors_fill(request, at, bytes, run->bytes);
	free(bytes);
	return r;
}

/* 0, WAIT or -errno */
static int step(struct disk_request *request)
{
	struct request_state *state = state_of(request);
	struct run run;
	int r;

	if (!request->queue->free_ios) {
		queue_wait_io(request->queue, &state->task);
		return WAIT;
	}
	r = map(request, &run);
	if (r)
		return r;
	if (run.kind == RUN_FILE)
		submit_piece(request, &run);
	else if (run.kind == RUN_DECODE)
		r = decode(request, &run);
	else if (run.kind != RUN_NOTHING)
		vectors_fill(request, state->at, NULL, run.bytes);
	state->at += run.bytes;
	vectors_advance(request, &state->place, run.bytes);
	return r;
}

static void walk(struct disk_request *request)
{
	struct request_state *state = state_of(request);

	while (!state->result && state->at < request->bytes) {
		int r = step(request);

		if (r == WAIT)
			return;
		if (r < 0)
			state->result = disk_request_error(r);
	}
	request_put(request);
}

static void resume(struct task *task)
{
	struct request_state *state = container_of(task, struct request_state, task);
	struct disk_request *request =
		container_of((uint64_t(*)[16])state, struct disk_request, state);

	if (state->flushing) {
		flush_over(request, task->error);
	} else if (!state->refs) {
		flush(request);
	} else {
		if (task->error && !state->result)
			state->result = task->error;
		task->error = 0;
		walk(request);
	}
}

/* --- submission --- */

static int check(const struct disk *disk, const struct disk_request *request)
{
	if ((unsigned int)request->op > DISK_WRITE_ZEROES)
		return -EINVAL;
	if (request->op == DISK_FLUSH)
		return 0;
	if ((request->offset | request->bytes) & (disk->sector - 1))
		return -EINVAL;
	if (request->offset > disk->top->bytes ||
	    request->bytes > disk->top->bytes - request->offset)
		return -ERANGE;
	if (request->op != DISK_READ && disk->read_only)
		return -EROFS;
	return vectors_check(request);
}

/* Nothing to do: reads-only disks are always flushed, and formats without it ignore a discard. */
static bool is_free(const struct disk *disk, const struct disk_request *request)
{
	if (request->op == DISK_FLUSH)
		return disk->read_only;
	return request->op == DISK_DISCARD && !disk->top->can_discard;
}

void disk_submit(struct disk_queue *queue, struct disk *disk, struct disk_request *request)
{
	struct request_state *state = state_of(request);
	int r = check(disk, request);

	request->disk = disk;
	request->queue = queue;
	if (r || is_free(disk, request)) {
		queue_finish_request(queue, request, r);
		return;
	}
	*state = (struct request_state){.task = {.queue = queue, .resume = resume}};
	if (request->op == DISK_FLUSH) {
		flush(request);
		return;
	}
	state->refs = 1;
	state->synced = request->op == DISK_WRITE && request->fua;
	walk(request);
}
