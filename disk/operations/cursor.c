/*
 * cursor.c - walking over what a disk has, and what operations share
 */
#include <errno.h>

#include "copy.h"
#include "io.h"

/* The extent at ->at. 0 or -errno. */
static int look_up(struct cursor *cursor)
{
	struct disk_extent *extent = &cursor->extent;

	if (extent->bytes && cursor->at < extent->offset + extent->bytes)
		return 0;
	return disk_next_extent(cursor->disk, cursor->at, extent);
}

static bool is_wanted(const struct cursor *cursor)
{
	enum disk_extent_kind kind = cursor->extent.kind;

	return kind == DISK_EXTENT_DATA || (kind == DISK_EXTENT_ZERO && cursor->zeros_too);
}

int cursor_next(struct cursor *cursor, uint32_t max, uint64_t *ret_offset, uint32_t *ret_bytes,
		bool *ret_zeros)
{
	uint64_t end;

	*ret_bytes = 0;
	while (cursor->at < cursor->end) {
		int r = progress_cancelled(cursor->progress) ? -ECANCELED : look_up(cursor);

		if (r < 0)
			return r;
		end = MIN(cursor->extent.offset + cursor->extent.bytes, cursor->end);
		if (is_wanted(cursor))
			break;
		cursor->at = end;
	}
	if (cursor->at >= cursor->end)
		return 0;
	*ret_offset = cursor->at;
	*ret_bytes = MIN(end, ALIGN_DOWN(cursor->at, (uint64_t)max) + max) - cursor->at;
	*ret_zeros = cursor->extent.kind == DISK_EXTENT_ZERO;
	cursor->at += *ret_bytes;
	return 0;
}

int operation_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue)
{
	if (io_test_hook)
		return queue_new(loop, depth, &inline_backend, ret_queue);
	return disk_queue_new(loop, depth, ret_queue);
}

bool progress_cancelled(const struct disk_progress *progress)
{
	return progress && atomic_load_explicit(&progress->cancel, memory_order_relaxed);
}

void progress_report(struct disk_progress *progress, uint64_t done, uint64_t total)
{
	if (progress && progress->report)
		progress->report(progress, done, total);
}
