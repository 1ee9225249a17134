/*
 * compare.c - do two disks read the same?
 *
 * Where neither has anything both read as zeros, so only ranges that one of them has are read:
 * from both, or, beyond the end of one, from the longer. Pieces come back in any order; a
 * difference ends the submission of further ones, and the lowest found counts, since all before it
 * was submitted earlier.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "disk_internal.h"

#define PIECES	    8u
#define PIECE_BYTES (256u * (uint32_t)KIB)

struct comparison;

struct side {
	struct disk_request request;
	struct iovec iov;
	struct pair *pair;
	uint8_t *buffer;
};

struct pair {
	struct comparison *comparison;
	struct side sides[2];
	uint64_t offset;
	uint32_t bytes;
	unsigned int reading;
	bool busy;
};

struct comparison {
	const char *const *paths;
	struct disk *disks[2];
	struct disk_comparison *result;
	struct disk_progress *progress;
	struct disk_error *error;
	struct loop *loop;
	struct disk_queue *queue;
	struct cursor cursors[2];
	uint64_t next[2]; /* where each cursor's next range begins, and how long it is */
	uint32_t next_bytes[2];
	struct pair pairs[PIECES];
	unsigned int busy;
	int failed;
	bool over;
};

static uint64_t total(const struct comparison *comparison)
{
	return MAX(comparison->result->bytes[0], comparison->result->bytes[1]);
}

static void differ(struct comparison *comparison, uint64_t offset)
{
	struct disk_comparison *result = comparison->result;

	if (result->equal || offset < result->first_difference)
		result->first_difference = offset;
	result->equal = false;
	comparison->over = true;
}

static void fail(struct comparison *comparison, int error, int which, const char *what,
		 uint64_t offset)
{
	if (!comparison->failed)
		comparison->failed =
			disk_fail(comparison->error, error, "%s: cannot %s byte %" PRIu64 ": %s",
				  comparison->paths[which], what, offset, strerror(-error));
	comparison->over = true;
}

/* Only in what was found to differ, so a byte at a time will do. */
static uint64_t first_difference(const struct pair *pair)
{
	uint32_t at = 0;

	while (at < pair->bytes && pair->sides[0].buffer[at] == pair->sides[1].buffer[at])
		at++;
	return pair->offset + at;
}

static void fill_pairs(struct comparison *comparison);

static void side_done(struct disk_request *request, int result)
{
	struct side *side = container_of(request, struct side, request);
	struct pair *pair = side->pair;
	struct comparison *comparison = pair->comparison;

	if (result < 0)
		fail(comparison, result, side - pair->sides, "read", request->offset);
	if (--pair->reading)
		return;
	if (!comparison->failed &&
	    memcmp(pair->sides[0].buffer, pair->sides[1].buffer, pair->bytes))
		differ(comparison, first_difference(pair));
	pair->busy = false;
	comparison->busy--;
	fill_pairs(comparison);
}

static void submit_side(struct pair *pair, int which)
{
	struct comparison *comparison = pair->comparison;
	uint64_t size = comparison->result->bytes[which];
	struct side *side = &pair->sides[which];
	uint32_t bytes = pair->offset < size ? MIN(pair->bytes, size - pair->offset) : 0;

	memset(side->buffer + bytes, 0, pair->bytes - bytes);
	if (!bytes)
		return;
	side->iov = (struct iovec){side->buffer, bytes};
	side->request = (struct disk_request){.op = DISK_READ,
					      .offset = pair->offset,
					      .bytes = bytes,
					      .iov = &side->iov,
					      .iov_count = 1,
					      .done = side_done};
	pair->reading++;
	disk_submit(comparison->queue, comparison->disks[which], &side->request);
}

/* The range after @after that either has. 0 bytes: none is left. */
static void next_range(struct comparison *comparison, uint64_t *ret_offset, uint32_t *ret_bytes)
{
	bool zeros;
	int first;

	for (int i = 0; i < 2; i++) {
		int r = 0;

		if (!comparison->next_bytes[i])
			r = cursor_next(&comparison->cursors[i], PIECE_BYTES, &comparison->next[i],
					&comparison->next_bytes[i], &zeros);
		if (r < 0)
			fail(comparison, r, i, "look up", comparison->cursors[i].at);
	}
	first = !comparison->next_bytes[0] ||
		(comparison->next_bytes[1] && comparison->next[1] < comparison->next[0]);
	*ret_offset = comparison->next[first];
	*ret_bytes = comparison->next_bytes[first];
	/* Read once what both have. */
	for (int i = 0; i < 2; i++) {
		uint64_t end = *ret_offset + *ret_bytes,
			 own = comparison->next[i] + comparison->next_bytes[i];

		if (!comparison->next_bytes[i] || comparison->next[i] >= end)
			continue;
		comparison->next_bytes[i] = own > end ? own - end : 0;
		comparison->next[i] = end;
	}
}

static struct pair *free_pair(struct comparison *comparison)
{
	for (unsigned int i = 0; i < PIECES; i++) {
		if (!comparison->pairs[i].busy)
			return &comparison->pairs[i];
	}
	return NULL;
}

static void fill_pairs(struct comparison *comparison)
{
	struct pair *pair;

	while (!comparison->over && (pair = free_pair(comparison))) {
		if (progress_cancelled(comparison->progress)) {
			comparison->failed = disk_fail(comparison->error, -ECANCELED,
						       "%s: interrupted", comparison->paths[0]);
			comparison->over = true;
			break;
		}
		next_range(comparison, &pair->offset, &pair->bytes);
		if (comparison->over)
			break;
		comparison->over = !pair->bytes;
		if (!pair->bytes)
			break;
		pair->busy = true;
		comparison->busy++;
		pair->reading = 0;
		submit_side(pair, 0);
		submit_side(pair, 1);
		progress_report(comparison->progress, pair->offset, total(comparison));
	}
	if (comparison->over && !comparison->busy)
		loop_stop(comparison->loop);
}

static int compare_contents(struct comparison *comparison)
{
	uint8_t *buffers = aligned_alloc(PAGE_BYTES, (size_t)2 * PIECES * PIECE_BYTES);

	if (!buffers)
		return disk_fail(comparison->error, -ENOMEM, "%s: no memory", comparison->paths[0]);
	for (unsigned int i = 0; i < PIECES * 2; i++) {
		struct side *side = &comparison->pairs[i / 2].sides[i % 2];

		side->pair = &comparison->pairs[i / 2];
		side->pair->comparison = comparison;
		side->buffer = buffers + (size_t)i * PIECE_BYTES;
	}
	fill_pairs(comparison);
	disk_queue_kick(comparison->queue);
	loop_run(comparison->loop);
	free(buffers);
	return comparison->failed;
}

static int open_both(struct comparison *comparison, const enum disk_format formats[2])
{
	int r = 0;

	for (int i = 0; i < 2 && !r; i++) {
		struct disk_options options = {
			.read_only = true, .allow_raw = true, .format = formats[i]};
		struct disk_info info;

		r = disk_open(comparison->paths[i], &options, &comparison->disks[i],
			      comparison->error);
		if (r < 0)
			break;
		disk_get_info(comparison->disks[i], &info);
		comparison->result->bytes[i] = info.bytes;
		comparison->cursors[i] = (struct cursor){.disk = comparison->disks[i],
							 .end = info.bytes,
							 .progress = comparison->progress};
	}
	return r;
}

static int run(struct comparison *comparison)
{
	int r = loop_new(&comparison->loop);

	if (!r)
		r = operation_queue_new(comparison->loop, PIECES * 4, &comparison->queue);
	if (r < 0)
		return disk_fail(comparison->error, r, "%s: no queue for it: %s",
				 comparison->paths[0], strerror(-r));
	r = compare_contents(comparison);
	if (!r)
		progress_report(comparison->progress, total(comparison), total(comparison));
	return r;
}

int disk_compare(const char *const paths[2], const enum disk_format formats[2],
		 struct disk_progress *progress, struct disk_comparison *ret_comparison,
		 struct disk_error *ret_error)
{
	struct disk_comparison result = {.equal = true};
	struct comparison comparison = {
		.paths = paths, .result = &result, .progress = progress, .error = ret_error};
	int r = open_both(&comparison, formats);

	if (!r)
		r = run(&comparison);
	disk_queue_free(comparison.queue);
	loop_free(comparison.loop);
	disk_close(comparison.disks[0]);
	disk_close(comparison.disks[1]);
	if (!r)
		*ret_comparison = result;
	return r;
}
