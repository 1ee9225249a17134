/*
 * copy.h - move a disk's bytes from one place to another, many pieces at a time
 */
#ifndef DISK_OPERATIONS_COPY_H
#define DISK_OPERATIONS_COPY_H

#include "disk_operations.h"

struct copy_end {
	struct disk *disk; /* NULL: the stream */
	int stream;
	const char *name; /* for messages */
};

struct copy {
	struct copy_end source, target;
	uint64_t bytes; /* from offset 0 on; what @source has of them */
	/*
	 * The target already holds something: zeros that the source says are written too, and only
	 * what no image of the source's chain says anything about is left alone.
	 */
	bool over_old_content;
	uint64_t progress_done, progress_total; /* reported: progress_done + how far this copy is */
	struct disk_progress *progress;
};

/*
 * copy_run() - returns when all is written (not flushed), or -errno with *ret_error
 * A stream as source that ends early leaves the rest of the target alone.
 */
int copy_run(const struct copy *copy, struct disk_error *ret_error);

/* A queue on @loop; under the tests' hook of operations one that the hook sees. */
int operation_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue);

/* Where the next range of a disk is that an operation has to look at. */
struct cursor {
	struct disk *disk;
	uint64_t end;
	bool zeros_too; /* ranges that an image says are zero, too */
	const struct disk_progress *progress; /* cancelled: -ECANCELED */
	uint64_t at;
	struct disk_extent extent; /* the one ->at is in, once .bytes is set */
};
/* The next range, at most @max bytes, cut at multiples of @max. *ret_bytes 0: there is none. */
int cursor_next(struct cursor *cursor, uint32_t max, uint64_t *ret_offset, uint32_t *ret_bytes,
		bool *ret_zeros);

bool progress_cancelled(const struct disk_progress *progress);
void progress_report(struct disk_progress *progress, uint64_t done, uint64_t total);

#endif
