/*
 * copy.c - move a disk's bytes, many pieces at a time
 *
 * A piece is read, then its runs of bytes that are not zero are written one after the other; then
 * the piece takes the next range of the source. All pieces do so at once, on one loop. What the
 * source's images leave out is not even read. A stream is read and written by the thread
 * itself, in order: pieces that go to one wait for those before them (`first`).
 *
 * Pieces are small enough that what was read is still in the processor's cache when it is
 * looked at and written, and there are so few that they all fit there.
 */
#include "copy.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk_internal.h"

#define PIECES	    8u
#define PIECE_BYTES (256u * (uint32_t)KIB)
/* Zeros shorter than that are written: a request costs as much as some of them. */
#define CHUNK_BYTES    (16u * (uint32_t)KIB)
#define QUEUE_DEPTH    64
#define STREAM_WAIT_MS 200

struct run_state;

struct piece {
	struct disk_request request;
	struct iovec iov;
	struct run_state *state;
	uint8_t *buffer;
	uint64_t offset;
	uint32_t bytes, written;
	bool busy, was_read, zeros; /* zeros: the source's images say so; nothing was read */
};

struct run_state {
	const struct copy *copy;
	struct disk_error *error;
	struct loop *loop;
	struct disk_queue *queue;
	struct cursor cursor;
	struct piece pieces[PIECES];
	unsigned int busy, first; /* first: the oldest piece; a stream as target takes it next */
	uint64_t streamed;	  /* what went into or came out of the stream */
	int result;
	bool source_over, filling;
};

static void fail(struct run_state *state, int error, const char *name, const char *what,
		 uint64_t offset)
{
	if (state->result)
		return;
	state->source_over = true;
	state->result = error;
	if (error == -ECANCELED) {
		disk_fail(state->error, error, "%s: interrupted", state->copy->target.name);
		return;
	}
	disk_fail(state->error, error, "%s: cannot %s byte %" PRIu64 ": %s", name, what, offset,
		  strerror(-error));
}

static void report(struct run_state *state)
{
	const struct copy *copy = state->copy;
	uint64_t oldest = state->source_over ? copy->bytes : state->cursor.at;

	for (unsigned int i = 0; i < PIECES; i++) {
		if (state->pieces[i].busy)
			oldest = MIN(oldest, state->pieces[i].offset);
	}
	progress_report(copy->progress, copy->progress_done + oldest, copy->progress_total);
}

/* --- streams --- */

/* How much came, which is less than @count only at the stream's end; or -errno. */
static ssize_t read_stream(struct run_state *state, uint8_t *bytes, size_t count)
{
	struct pollfd ready = {.fd = state->copy->source.stream, .events = POLLIN};
	size_t got = 0;

	while (got < count) {
		ssize_t moved;

		if (progress_cancelled(state->copy->progress))
			return -ECANCELED;
		/* A signal may come right before the wait: it is not without end. */
		if (poll(&ready, 1, STREAM_WAIT_MS) <= 0)
			continue;
		moved = read(state->copy->source.stream, bytes + got, count - got);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0)
			return -errno;
		if (!moved)
			break;
		got += moved;
	}
	return got;
}

static int write_stream(struct run_state *state, const uint8_t *bytes, size_t count)
{
	while (count) {
		ssize_t moved = write(state->copy->target.stream, bytes, count);

		if (moved < 0 && errno == EINTR && !progress_cancelled(state->copy->progress))
			continue;
		if (moved < 0)
			return errno == EINTR ? -ECANCELED : -errno;
		bytes += moved;
		count -= moved;
		state->streamed += moved;
	}
	return 0;
}

static int stream_zeros(struct run_state *state, uint64_t up_to)
{
	static const uint8_t zeros[64 * KIB];
	int r = 0;

	while (!r && state->streamed < up_to)
		r = write_stream(state, zeros, MIN(up_to - state->streamed, sizeof(zeros)));
	return r;
}

/* Everything that is next in order and was read. */
static void stream_pieces(struct run_state *state)
{
	for (;;) {
		struct piece *piece = &state->pieces[state->first];
		int r = 0;

		if (!piece->busy || !piece->was_read)
			return;
		if (!state->result)
			r = stream_zeros(state, piece->offset);
		if (!r && !state->result)
			r = write_stream(state, piece->buffer, piece->bytes);
		if (r < 0)
			fail(state, r, state->copy->target.name, "write", piece->offset);
		piece->busy = false;
		state->busy--;
		state->first = (state->first + 1) % PIECES;
	}
}

/* --- pieces --- */

static void fill_pieces(struct run_state *state);

static void submit(struct piece *piece, struct disk *disk, enum disk_op op, uint32_t at,
		   uint32_t bytes, void (*done)(struct disk_request *request, int result))
{
	piece->iov = (struct iovec){piece->buffer + at, bytes};
	piece->request = (struct disk_request){.op = op,
					       .may_unmap = true,
					       .offset = piece->offset + at,
					       .bytes = bytes,
					       .iov = &piece->iov,
					       .iov_count = 1,
					       .done = done};
	disk_submit(piece->state->queue, disk, &piece->request);
}

static void piece_over(struct piece *piece)
{
	struct run_state *state = piece->state;

	piece->busy = false;
	state->busy--;
	report(state);
	fill_pieces(state);
}

/* Bytes from @at on that are all zero, or in which no whole chunk is. */
static uint32_t run_length(const struct piece *piece, uint32_t at, bool *ret_zeros)
{
	uint32_t end = at, next;

	for (; end < piece->bytes; end = next) {
		bool zeros;

		next = ALIGN_DOWN(piece->offset + end, (uint64_t)CHUNK_BYTES) + CHUNK_BYTES -
		       piece->offset;
		next = MIN(next, piece->bytes);
		zeros = bytes_are_zero(piece->buffer + end, next - end);
		if (end == at)
			*ret_zeros = zeros;
		else if (zeros != *ret_zeros)
			break;
	}
	return end - at;
}

static void write_next(struct piece *piece);

static void write_done(struct disk_request *request, int result)
{
	struct piece *piece = container_of(request, struct piece, request);
	struct run_state *state = piece->state;

	if (result < 0)
		fail(state, result, state->copy->target.name, "write", request->offset);
	piece->written += request->bytes;
	write_next(piece);
}

static void write_next(struct piece *piece)
{
	struct run_state *state = piece->state;
	struct disk *target = state->copy->target.disk;

	while (!state->result && piece->written < piece->bytes) {
		uint32_t at = piece->written, bytes = piece->bytes - at;
		bool zeros = piece->zeros;

		if (!zeros)
			bytes = run_length(piece, at, &zeros);
		if (!zeros || state->copy->over_old_content) {
			submit(piece, target, zeros ? DISK_WRITE_ZEROES : DISK_WRITE, at, bytes,
			       write_done);
			return;
		}
		piece->written += bytes;
	}
	piece_over(piece);
}

static void read_done(struct disk_request *request, int result)
{
	struct piece *piece = container_of(request, struct piece, request);
	struct run_state *state = piece->state;

	if (result < 0)
		fail(state, result, state->copy->source.name, "read", request->offset);
	piece->was_read = true;
	if (state->copy->target.disk) {
		write_next(piece);
		return;
	}
	stream_pieces(state);
	report(state);
	fill_pieces(state);
}

static void fill_from_stream(struct run_state *state, struct piece *piece)
{
	ssize_t got = read_stream(state, piece->buffer,
				  MIN(PIECE_BYTES, state->copy->bytes - state->cursor.at));

	piece->offset = state->cursor.at;
	if (got < 0) {
		fail(state, got, state->copy->source.name, "read", piece->offset);
		return;
	}
	state->source_over = got < PIECE_BYTES;
	if (!got)
		return;
	/* The last sector may be there in part. */
	piece->bytes = ALIGN_UP((uint32_t)got, 512u);
	memset(piece->buffer + got, 0, piece->bytes - got);
	state->cursor.at += piece->bytes;
	piece->busy = true;
	state->busy++;
	piece->was_read = true;
	if (state->copy->target.disk)
		write_next(piece);
	else
		stream_pieces(state);
}

static void fill_from_disk(struct run_state *state, struct piece *piece)
{
	int r = cursor_next(&state->cursor, PIECE_BYTES, &piece->offset, &piece->bytes,
			    &piece->zeros);

	if (r < 0) {
		fail(state, r, state->copy->source.name, "look up", state->cursor.at);
		return;
	}
	if (!piece->bytes) {
		state->source_over = true;
		return;
	}
	piece->busy = true;
	state->busy++;
	if (piece->zeros)
		write_next(piece);
	else
		submit(piece, state->copy->source.disk, DISK_READ, 0, piece->bytes, read_done);
}

/* The next free piece in the ring's order, which is that of a stream. NULL: none is free. */
static struct piece *free_piece(struct run_state *state)
{
	for (unsigned int i = 0; i < PIECES; i++) {
		struct piece *piece = &state->pieces[(state->first + i) % PIECES];

		if (!piece->busy)
			return piece;
	}
	return NULL;
}

static void fill_piece(struct run_state *state, struct piece *piece)
{
	if (progress_cancelled(state->copy->progress)) {
		fail(state, -ECANCELED, NULL, NULL, 0);
		return;
	}
	piece->written = 0;
	piece->was_read = piece->zeros = false;
	if (state->copy->source.disk)
		fill_from_disk(state, piece);
	else
		fill_from_stream(state, piece);
}

/* A piece without anything to write is over at once, and calls this from within. */
static void fill_pieces(struct run_state *state)
{
	struct piece *piece;

	if (state->filling)
		return;
	state->filling = true;
	while (!state->source_over && (piece = free_piece(state)))
		fill_piece(state, piece);
	state->filling = false;
	if (state->source_over && !state->busy)
		loop_stop(state->loop);
}

/* --- */

static int run(struct run_state *state)
{
	uint8_t *buffers = aligned_alloc(PAGE_BYTES, (size_t)PIECES * PIECE_BYTES);

	if (!buffers)
		return disk_fail(state->error, -ENOMEM, "%s: no memory", state->copy->target.name);
	for (unsigned int i = 0; i < PIECES; i++) {
		state->pieces[i].state = state;
		state->pieces[i].buffer = buffers + (size_t)i * PIECE_BYTES;
	}
	fill_pieces(state);
	disk_queue_kick(state->queue);
	loop_run(state->loop);
	if (!state->copy->target.disk && !state->result) {
		int r = stream_zeros(state, state->copy->bytes);

		if (r < 0)
			fail(state, r, state->copy->target.name, "write", state->streamed);
	}
	free(buffers);
	return state->result;
}

int copy_run(const struct copy *copy, struct disk_error *ret_error)
{
	struct run_state state = {.copy = copy,
				  .error = ret_error,
				  .cursor = {.disk = copy->source.disk,
					     .progress = copy->progress,
					     .end = copy->bytes,
					     .zeros_too = copy->over_old_content}};
	int r = loop_new(&state.loop);

	if (!r)
		r = operation_queue_new(state.loop, QUEUE_DEPTH, &state.queue);
	if (r < 0)
		disk_fail(ret_error, r, "%s: no queue for it: %s", copy->target.name, strerror(-r));
	else
		r = run(&state);
	disk_queue_free(state.queue);
	loop_free(state.loop);
	return r;
}
