/*
 * disk_operations.h - what can be done to disk images as a whole, without a virtual machine
 *
 * Every operation takes paths, works on the caller's thread until it is over, and locks the images
 * it uses as disk_open() does: -EAGAIN when somebody else has one. Sizes and offsets are bytes.
 *
 * Errors: 0 or -errno, and then *ret_error says in a sentence which file, what, why and what to do.
 * -ECANCELED: progress->cancel was set.
 *
 * Power cuts, kills and cancels: a new image is there complete and synced, or not at all. An image
 * that is changed in place opens at every instant, with its old content or its new one; most
 * operations can simply be started again, and each says below what else is left to do.
 *
 * Images with a differencing image below them must not be changed other than by disk_merge(): the
 * child would show a mixture. Nothing here can know of children.
 */
#ifndef DISK_OPERATIONS_H
#define DISK_OPERATIONS_H

#include <stdatomic.h>

#include "disk.h"

struct disk_progress {
	/* Often, on the operation's thread; @done never decreases and ends with @total. May be
	 * NULL. */
	void (*report)(struct disk_progress *progress, uint64_t done, uint64_t total);
	/* Any thread or signal handler may set it. */
	atomic_bool cancel;
};

/* --- convert --- */

#define DISK_STREAM "-" /* as a path: standard input or output */

struct disk_convert_options {
	enum disk_format source_format; /* DISK_AUTO: as its contents say, else raw */
	enum disk_format format;	/* of the new image; not a differencing one */
	uint32_t block_bytes;		/* 0: the format's usual size */
	uint64_t bytes;			/* of a source that is a stream and not a file */
	bool preallocate;		/* raw and fixed: every byte has its place on the host */
	bool azure; /* vhd-fixed whose size is rounded up to a MiB, as Azure wants */
	struct disk_progress *progress; /* NULL: none */
};

/*
 * disk_convert() - write the disk @source shows, parents included, as a new image @target
 * What reads as zeros takes no place where @target's format can do without. DISK_STREAM as
 * @source is raw; as @target it can be raw or vhd-fixed. The image grows under another name beside
 * @target (".<target>.<digits>.part"), which a killed process leaves behind.
 * Returns: also -EEXIST: @target is never overwritten.
 */
int disk_convert(const char *source, const char *target, const struct disk_convert_options *options,
		 struct disk_error *ret_error);

/* --- compare --- */

struct disk_comparison {
	bool equal;
	uint64_t first_difference; /* the first byte that differs, if they do */
	uint64_t bytes[2]; /* the disks' sizes; what one has beyond the other must be zeros */
};

/* @formats: of the two; DISK_AUTO: as their contents say. They are equal if guests read the same.
 */
int disk_compare(const char *const paths[2], const enum disk_format formats[2],
		 struct disk_progress *progress, struct disk_comparison *ret_comparison,
		 struct disk_error *ret_error);

/* --- in place: raw where it makes sense, and VHD --- */

/*
 * disk_resize() - another size; nothing else changes
 * What a smaller size cuts off must be zeros, unless @force_shrink. Space in the file that is free
 * then is left to disk_compact(). A differencing image has its parent's size: -ENOTSUP.
 * Returns: also -ENOTEMPTY; -EBUSY: of a machine in saved state.
 */
int disk_resize(const char *path, uint64_t bytes, bool force_shrink, struct disk_error *ret_error);

struct disk_compaction {
	uint64_t bytes_before, bytes_after; /* the file's length */
	uint32_t dropped, moved;	    /* blocks */
};
/*
 * disk_compact() - a shorter file for the same disk
 * Blocks of zeros are dropped (of a differencing image: those that say nothing), others moved from
 * the file's end into the holes, and the file is cut. Interrupted it can be started again.
 */
int disk_compact(const char *path, struct disk_progress *progress,
		 struct disk_compaction *ret_compaction, struct disk_error *ret_error);

/*
 * disk_merge() - what @child holds goes into its parent, which then is the disk by itself
 * The child is removed when all of it is durable in the parent, unless @keep. Until then the chain
 * reads the same at every instant, so what was interrupted, or found the file system full, is
 * started again. Other children of the parent are worthless afterwards.
 */
int disk_merge(const char *child, bool keep, struct disk_progress *progress,
	       struct disk_error *ret_error);

/* --- check --- */

struct disk_check {
	enum disk_format format;
	bool damaged;	   /* it cannot be opened, and not be repaired here */
	char damage[512];  /* what is wrong, a sentence; else empty */
	bool needs_repair; /* it was not closed properly: a footer or header lost, a log pending */
	bool repaired;	   /* it needed to be, and was */
	uint64_t unused_bytes; /* of a VHD's file nothing refers to: what disk_compact() gives back
				*/
};
/* disk_check() - every structure of one image; with @repair, what can be mended is. Parents are not
 * looked at. */
int disk_check(const char *path, enum disk_format format, bool repair, struct disk_check *ret_check,
	       struct disk_error *ret_error);

/* --- what guests read, cheaply --- */

bool bytes_are_zero(const void *bytes, size_t count);

#endif
