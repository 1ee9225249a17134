/*
 * disk_internal.h - an open image, its chain, and what requests need of them
 *
 * One lock per disk guards all metadata in memory: block tables, bitmaps, allocations. It is
 * held for a look-up, never across I/O. Lock order: disk, then queue.
 */
#ifndef DISK_DISK_INTERNAL_H
#define DISK_DISK_INTERNAL_H

#include "blocks.h"
#include "disk.h"
#include "driver.h"
#include "io.h"

/* --- one file --- */

struct image {
	const struct image_driver *driver;
	enum disk_format format;
	int fd;
	bool read_only;
	char *path;
	uint64_t bytes, file_bytes;
	uint64_t device, inode;

	/* What load() of the driver says: */
	bool flat, can_discard;
	bool differencing;	/* it needs a parent */
	bool needs_repair;	/* was not closed properly */
	bool parent_may_be_raw; /* an image without any format will do */
	bool begun; /* may be written to; else a commit has to mark the file as changed first */
	enum disk_format parent_format;		  /* of the parent, if it says so */
	uint32_t logical_sector, physical_sector; /* preset: 512 */
	uint64_t fill_from;   /* flat, blocks: see struct run; preset: UINT64_MAX */
	struct guid id, link; /* link: what its children record */
	struct blocks *blocks;
	union { /* the driver's own */
		struct vhd *vhd;
		struct vhdx *vhdx;
		void *own;
	};

	char *parent_name; /* the first of the hints; NULL: none */
	struct image *parent;
};

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
void image_name_parent(struct image *image); /* sets ->parent_name */

/* raw.c: a file without any format. Sets what load() does. */
int image_become_raw(struct image *image, struct disk_error *ret_error);
/* For formats without an id: one that stays the same as long as the file does. */
void image_derive_id(struct image *image);

/* drivers.c: in the order in which contents are asked; ends with NULL. */
extern const struct image_driver *const image_drivers[];

/* --- bitmaps: a bounded cache of the sector bitmaps of blocks that are not full --- */

struct bitmap {
	struct bitmap *hash_next;
	struct bitmap *newer, *older; /* least recently used order */
	struct image *image;
	uint32_t unit;
	uint64_t offset; /* where it is in the file */
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
int bitmap_get(struct disk *disk, struct image *image, uint32_t unit, struct task *task,
	       struct bitmap **ret_bitmap);
/* One that is pinned, and so in the cache. */
struct bitmap *bitmap_cached(struct disk *disk, const struct image *image, uint32_t unit);
/* All clear, for a block that is being allocated. NULL: no memory. */
struct bitmap *bitmap_new(struct disk *disk, struct image *image, uint32_t unit, uint64_t offset);
void bitmap_drop(struct disk *disk, struct bitmap *bitmap);
void bitmap_set(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count);
void bitmap_clear(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count);
/* Length of the run of equal bits from @sector on, at most @max. */
uint32_t bitmap_run(const struct bitmap *bitmap, uint32_t sector, uint32_t max, bool *ret_set);
bool bitmap_too_many_dirty(const struct disk *disk);
void bitmap_mark_dirty(struct disk *disk, struct bitmap *bitmap);
void bitmap_cache_free(struct disk *disk);

/* --- allocation and commit: allocate.c, commit.c --- */

/* A block that has its place in memory's table but not in the one on disk. */
struct allocation {
	struct allocation *next;
	uint32_t block, place;
	uint64_t end, file_bytes; /* blocks->end, and the file's length, once it is there */
	uint32_t entry;		  /* as written: VHD */
	struct bitmap *bitmap;	  /* VHD: NULL: written as all ones */
	uint32_t chunk_place;	  /* VHDX: of the sector bitmap block that comes with it; 0: none */
	bool partial;		  /* VHDX: its bits count */
	uint32_t pinned;	  /* VHDX: how many units of bitmaps wait to be cleared */
};

struct grow {
	bool running;
	struct task *initiator;
	struct task_list waiters;
	struct allocation *allocation;
};

struct commit {
	bool running;
	struct task_list waiters, next_waiters;
	/* What the running one took with it: */
	struct task task;
	unsigned int phase;
	bool waiting; /* for an operation of the queue's pool */
	bool began;   /* the phase's sync was submitted */
	unsigned int in_flight;
	int error;
	struct allocation *allocations, *next_allocation;
	struct bitmap *bitmaps, *next_bitmap;
	unsigned int bitmap_count;
	uint8_t *copies;
	bool more; /* what disk->more_pending was */
	uint64_t end;
};

/* A stretch of a file that is no hole. */
struct known_data {
	int fd;
	uint64_t from, to;
};

struct disk {
	struct image *top;
	uint32_t sector; /* logical, of the top image */
	bool read_only;
	unsigned int chain_length;
	char *path;

	pthread_mutex_t lock; /* guards what follows, and the tables of all images */
	bool failed;	      /* a sync failed: nobody knows what is on disk any more */
	struct bitmap_cache bitmaps;
	struct grow grow;
	struct allocation *pending;
	bool more_pending; /* the format has something else to commit */
	struct commit commit;

	pthread_mutex_t sync_lock; /* one synchronous request at a time */
	struct disk_queue *sync_queue;
	struct known_data known_data; /* extents.c; guarded by it */
};

/* Nothing but data to sync. With the lock. */
bool commit_needed(const struct disk *disk);
/*
 * commit_join() - @task resumes when a commit is over, with its result in task->error
 * @whole: one that begins from now on; else the running one will do
 */
void commit_join(struct disk *disk, struct task *task, bool whole);
void commit_init(struct disk *disk);
/* For phases: fill @io. */
void commit_write(struct disk_io *io, uint64_t offset, const void *bytes, size_t count);
bool commit_sync(struct disk *disk, struct disk_io *io); /* once in a phase */

/* --- look-ups: map.c; with the lock --- */

/*
 * run->bytes: at most that much; the outcome may be less. 0, WAIT or -errno.
 * map_read() leaves run->image NULL when it found nothing in the whole chain.
 */
int map_read(struct disk *disk, uint64_t offset, struct task *task, struct run *run);
int map_write(struct disk *disk, uint64_t offset, bool zeroes, struct task *task, struct run *run);
int map_discard(struct disk *disk, uint64_t offset, struct task *task, struct run *run);

/* --- the caller's vectors: vectors.c --- */

/* Where a request's walk is in its vectors. */
struct vector_place {
	uint32_t index;
	uint64_t within;
};
int vectors_check(const struct disk_request *request);
void vectors_advance(const struct disk_request *request, struct vector_place *place,
		     uint64_t bytes);
/* Vectors of io->bytes, or fewer where they do not fit. */
void vectors_set(struct disk_io *io, const struct disk_request *request, struct vector_place place);
/* The rest of a piece of which the host moved only a part. */
void vectors_set_rest(struct disk_io *io, const struct disk_request *request);
void vectors_set_zeros(struct disk_io *io);
/* @at: from the request's start. @from NULL: zeros. */
void vectors_fill(const struct disk_request *request, uint64_t at, const void *from,
		  uint64_t bytes);

/* allocate_block() - WAIT or -errno; after WAIT look again. With the lock. */
int allocate_block(struct disk *disk, uint32_t block, struct task *task);

/* Any of the host's errors as one of those that disk_request.done() gets. */
int disk_request_error(int error);

#endif
