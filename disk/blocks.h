/*
 * blocks.h - images made of blocks, as VHD and VHDX are: the table, bitmaps, allocation, commits
 *
 * A block is in one of these states, for which each format has its own spelling in the file:
 *
 *   absent    the parent has it; zeros where there is none
 *   zero      zeros, whatever the parent has
 *   partial   in this file, as far as its bits in a bitmap are set; the rest is absent
 *   full      in this file
 *
 * Bitmaps are cut into units, each of which is kept in memory, and written, as a whole: VHD has one
 * for each block, VHDX one for each 4 KiB of its sector bitmap blocks.
 */
#ifndef DISK_BLOCKS_H
#define DISK_BLOCKS_H

#include "disk.h"
#include "io.h"

struct image;
struct bitmap;
struct allocation;

#define BLOCK_ABSENT UINT32_MAX
#define BLOCK_ZERO   (UINT32_MAX - 1)
#define BLOCK_PLACES BLOCK_ZERO /* places are below */

/* 1024 entries of a block table; a chunk of nothing but absent blocks is not kept in memory. */
#define CHUNK_BLOCKS 1024u
struct block_chunk {
	uint32_t places[CHUNK_BLOCKS]; /* or BLOCK_ABSENT, BLOCK_ZERO */
	uint64_t full[CHUNK_BLOCKS / 64];
};

struct blocks {
	uint32_t block_bytes, block_shift, block_count;
	uint32_t place_shift, skip; /* data are at (place << place_shift) + skip */
	uint32_t sector_shift;	    /* what one bit stands for */
	uint32_t unit_shift;	    /* bits in a unit of the bitmaps */
	uint32_t bitmap_bytes;	    /* of a unit */
	uint8_t first_bit;	    /* the bit of a byte that stands for the first sector: 0 or 7 */
	uint64_t end;		    /* of what is in use of the file, with pending allocations */
	struct block_chunk **chunks;
};

int blocks_init(struct blocks *blocks, uint32_t count); /* the table, all absent; -ENOMEM */
void blocks_free(struct blocks *blocks);

static inline uint32_t table_get(const struct blocks *blocks, uint32_t block)
{
	const struct block_chunk *chunk = blocks->chunks[block / CHUNK_BLOCKS];

	return chunk ? chunk->places[block % CHUNK_BLOCKS] : BLOCK_ABSENT;
}

static inline bool table_is_full(const struct blocks *blocks, uint32_t block)
{
	const struct block_chunk *chunk = blocks->chunks[block / CHUNK_BLOCKS];
	uint32_t at = block % CHUNK_BLOCKS;

	return chunk && chunk->full[at / 64] & BIT(at % 64);
}

/* Of blocks with a place. */
void table_set_full(struct blocks *blocks, uint32_t block);
int table_reserve(struct blocks *blocks, uint32_t block); /* so that table_set() cannot fail */
void table_set(struct blocks *blocks, uint32_t block, uint32_t place);
uint32_t table_next_present(const struct blocks *blocks, uint32_t block); /* or block_count */

static inline uint64_t block_offset(const struct blocks *blocks, uint32_t place)
{
	return ((uint64_t)place << blocks->place_shift) + blocks->skip;
}

/* --- what a format does its own way --- */

/*
 * One phase of a commit: fills @io with the next operation on the image's file (write_next() and
 * its like) and returns true, or false when it has none left. Without the lock.
 */
typedef bool commit_phase_fn(struct disk *disk, struct disk_io *io);

struct blocks_driver {
	/* Where a unit of the bitmaps is in the file. With the lock. */
	uint64_t (*bitmap_offset)(const struct image *image, uint32_t unit);
	/* A unit was read: correct what it says. With the lock. May be NULL. */
	void (*bitmap_read)(struct image *image, struct bitmap *bitmap);

	/*
	 * place() - where ->block of an allocation will be, and what else belongs to it
	 * Sets ->place, ->end, ->file_bytes; takes what adopt() needs, so that it cannot fail. With
	 * the lock, like what follows. Returns: 0; WAIT, with @task queued: try again; -ENOSPC;
	 * -ENOMEM
	 */
	int (*place)(struct disk *disk, struct allocation *allocation, struct task *task);
	/* The file has grown: enter it into the table, and the bitmaps. */
	void (*adopt)(struct disk *disk, struct allocation *allocation);
	/* It has not: give back what place() took. */
	void (*abandon)(struct disk *disk, struct allocation *allocation);
	uint64_t (*file_bytes)(const struct image *image); /* how long the file has to be now */

	/* --- commits: see commit.c --- */

	commit_phase_fn *const *phases;
	unsigned int phase_count;
	/* The common part was taken; take the rest. 0 or -errno. With the lock. */
	int (*commit_take)(struct disk *disk);
	/* A phase is over: the next one; phase_count is the end. Without the lock. NULL: the next.
	 */
	unsigned int (*commit_next)(struct disk *disk, unsigned int phase);
	/* All is over: for success, forget what was taken, else take it back. With the lock. */
	void (*commit_over)(struct disk *disk, int error);
};

#endif
