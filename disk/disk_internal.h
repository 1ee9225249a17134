/*
 * disk_internal.h - an open image, its chain, and what requests need of them
 *
 * One lock per disk guards all metadata in memory: block tables, bitmaps, allocations. It is
 * held for a look-up, never across I/O. Lock order: disk, then queue.
 */
#ifndef DISK_DISK_INTERNAL_H
#define DISK_DISK_INTERNAL_H

#include "disk.h"
#include "io.h"
#include "vhd.h"

/* --- one file --- */

/* 1024 entries of a block table; a chunk without allocated blocks is not kept in memory. */
#define TABLE_CHUNK_BLOCKS 1024u
struct table_chunk {
	uint32_t sectors[TABLE_CHUNK_BLOCKS]; /* host order; VHD_UNALLOCATED */
	uint64_t full[TABLE_CHUNK_BLOCKS /
		      64]; /* every bit of the block's bitmap is known to be set */
};

struct vhd {
	struct vhd_footer footer;
	struct vhd_dynamic_header header; /* not of fixed images, like all that follows */
	uint32_t block_bytes, block_shift, bitmap_bytes, block_count;
	uint64_t table_offset;
	struct table_chunk **chunks;
	uint64_t end; /* where the footer is, or will be once it is written: the end of all else */
	bool tail_dirty; /* it is to be written there */
	bool front_dirty;
};

struct image {
	enum disk_format format;
	int fd;
	bool read_only;
	char *path;
	uint64_t bytes, file_bytes;
	uint64_t device, inode;
	struct guid id;
	struct vhd *vhd; /* NULL: raw */
	struct image *parent;
};

static inline bool image_is_flat(const struct image *image)
{
	return image->format == DISK_RAW || image->format == DISK_VHD_FIXED;
}

void image_free(struct image *image); /* with its parents */
static inline void image_freep(struct image **image)
{
	image_free(*image);
}

/* Fills @ret_error and returns @result. */
int disk_fail(struct disk_error *ret_error, int result, const char *format, ...) PRINTF_LIKE(3, 4);

/*
 * image_open() - open, lock and check one file, without its parents and without a write to it
 * @format: as in struct disk_options
 */
int image_open(const char *path, bool read_only, enum disk_format format, bool allow_raw,
	       struct image **ret_image, struct disk_error *ret_error);
/* image_open_parents() - the rest of the chain, @max images at most in all */
int image_open_parents(struct image *image, unsigned int max, unsigned int *ret_length,
		       struct disk_error *ret_error);

/* vhd.c */
uint32_t vhd_checksum(const void *bytes, size_t count, size_t checksum_offset);
struct vhd_geometry {
	uint16_t cylinders;
	uint8_t heads, sectors;
};
struct vhd_geometry vhd_geometry(uint64_t bytes);
/*
 * vhd_probe() - read the footers of @image; *ret_vhd stays NULL when it has none at all
 * Sets the image's format, size and id with it.
 */
int vhd_probe(struct image *image, struct disk_error *ret_error);
/* vhd_load() - header and table of a dynamic or differencing image, all checked */
int vhd_load(struct image *image, struct disk_error *ret_error);
/* vhd_repair() - rewrite a lost footer copy of an image that is about to be written */
int vhd_repair(struct image *image);
void vhd_free(struct vhd *vhd);

/* table.c: the block table in memory. With the disk's lock, or before anyone else has the image. */
uint32_t table_get(const struct vhd *vhd, uint32_t block);
bool table_is_full(const struct vhd *vhd, uint32_t block);
void table_set_full(struct vhd *vhd, uint32_t block);
int table_reserve(struct vhd *vhd, uint32_t block); /* so that table_set() cannot fail */
void table_set(struct vhd *vhd, uint32_t block, uint32_t sector);
uint32_t table_next_allocated(const struct vhd *vhd, uint32_t block); /* or block_count */
int table_load(struct image *image, struct disk_error *ret_error);

/* --- bitmaps: a bounded cache of the sector bitmaps of blocks that are not full --- */

struct bitmap {
	struct bitmap *hash_next;
	struct bitmap *newer, *older; /* least recently used order */
	struct image *image;
	uint32_t block, sector; /* where it is in the file */
	bool loading;
	bool unborn;	 /* of a block that no table on disk names yet */
	bool dirty;	 /* bits were set since the last commit took a copy */
	bool committing; /* a commit writes .copy */
	unsigned int pins;
	struct bitmap *dirty_next, *commit_next;
	uint8_t *copy;
	struct task_list waiters;
	uint8_t bits[];
};

#define BITMAP_BUCKETS 1024
struct bitmap_cache {
	struct bitmap *buckets[BITMAP_BUCKETS];
	struct bitmap *newest, *oldest;
	size_t bytes, dirty_bytes;
	struct bitmap *dirty;
};

#define WAIT 1 /* the task was queued and resumes later */

/* 0, WAIT or -errno. With the lock. */
int bitmap_get(struct disk *disk, struct image *image, uint32_t block, struct task *task,
	       struct bitmap **ret_bitmap);
/* All clear, for a block that is being allocated. NULL: no memory. */
struct bitmap *bitmap_new(struct disk *disk, struct image *image, uint32_t block, uint32_t sector);
void bitmap_drop(struct disk *disk, struct bitmap *bitmap);
void bitmap_set(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count);
/* Length of the run of equal bits from @sector on, at most @max. */
uint32_t bitmap_run(const struct bitmap *bitmap, uint32_t sector, uint32_t max, bool *ret_set);
bool bitmap_too_many_dirty(const struct disk *disk);
void bitmap_mark_dirty(struct disk *disk, struct bitmap *bitmap);
void bitmap_cache_free(struct disk *disk);

/* --- allocation and commit: allocate.c, commit.c --- */

/* A block that has its place in memory's table but not in the one on disk. */
struct allocation {
	struct allocation *next;
	uint32_t block, sector;
	be32 entry;	       /* as written */
	struct bitmap *bitmap; /* NULL: written as all ones */
};

struct grow {
	bool running;
	struct task *initiator;
	struct task_list waiters;
	struct allocation *allocation;
	uint64_t new_end;
};

enum commit_phase {
	COMMIT_INITIALISE,
	COMMIT_FOOTER,
	COMMIT_SYNC_DATA,
	COMMIT_TABLE,
	COMMIT_BITMAPS,
	COMMIT_SYNC_METADATA,
	COMMIT_PHASES
};

struct commit {
	bool running;
	struct task_list waiters, next_waiters;
	/* What the running one took with it: */
	struct task task;
	enum commit_phase phase;
	bool waiting;	      /* for an operation of the queue's pool */
	bool began, metadata; /* the phase's sync was submitted; there is something for the second
				 half */
	unsigned int in_flight;
	int error;
	struct allocation *allocations, *next_allocation;
	struct bitmap *bitmaps, *next_bitmap;
	uint8_t *copies;
	bool footer;
	uint64_t end;
};

struct disk {
	struct image *top;
	bool read_only;
	unsigned int chain_length;
	char *path;

	pthread_mutex_t lock; /* guards what follows, and the tables of all images */
	bool failed;	      /* a sync failed: nobody knows what is on disk any more */
	struct bitmap_cache bitmaps;
	struct grow grow;
	struct allocation *pending;
	struct commit commit;

	pthread_mutex_t sync_lock; /* one synchronous request at a time */
	struct disk_queue *sync_queue;
};

/* Nothing but data to sync. With the lock. */
bool commit_needed(const struct disk *disk);
/*
 * commit_join() - @task resumes when a commit is over, with its result in task->error
 * @whole: one that begins from now on; else the running one will do
 */
void commit_join(struct disk *disk, struct task *task, bool whole);
void commit_init(struct disk *disk);

/* allocate_block() - WAIT or -errno; after WAIT look again. With the lock. */
int allocate_block(struct disk *disk, uint32_t block, struct task *task);

/* Any of the host's errors as one of those that disk_request.done() gets. */
int disk_request_error(int error);

#endif
