/*
 * vhdx_internal.h - what the files of the VHDX format share
 */
#ifndef DISK_VHDX_INTERNAL_H
#define DISK_VHDX_INTERNAL_H

#include "disk_internal.h"
#include "vhdx.h"

/* Files up to 256 TiB: what no image of 64 TiB needs. Offsets in MiB are below. */
#define VHDX_MAX_PLACES (1u << 28)

#define VHDX_BITMAP_PAGE      4096u /* a unit of the bitmaps */
#define VHDX_BITMAP_PAGE_BITS (VHDX_BITMAP_PAGE * 8)
#define VHDX_PAGE_ENTRIES     (PAGE_BYTES / sizeof(le64)) /* of the BAT */

/* --- the log of an image that was not closed properly --- */

/* A page, or a range of zeros, that the file should have. */
struct vhdx_patch {
	uint64_t offset, bytes;
	const struct vhdx_log_descriptor *descriptor;
	const struct vhdx_log_data *data; /* NULL: zeros */
};

struct vhdx_log {
	uint8_t *bytes;		    /* the ring as it is in the file; NULL: nothing to replay */
	struct vhdx_patch *patches; /* in order: later ones win */
	uint32_t patch_count;
	uint64_t zero_bytes; /* that they clear in all, which bounds the work of a look at them */
	uint64_t file_bytes; /* how long the file has to be */
};

/* --- writing: vhdx_commit.c --- */

/*
 * Pages of the BAT that pending allocations change. All of them go into one entry of the log, so
 * there are fewer than it can hold.
 */
#define VHDX_MAX_DIRTY_PAGES 120u
struct vhdx_dirty_pages {
	uint32_t count;
	uint32_t page[VHDX_MAX_DIRTY_PAGES];
};

/* A page that a commit writes, to the log and then to its place. */
struct vhdx_page {
	uint64_t offset;
	uint8_t *bytes;
};

struct vhdx_commit {
	bool began;			/* the headers say that the image is in use */
	struct vhdx_header next_header; /* to be written */
	struct vhdx_dirty_pages dirty;	/* taken with the commit */
	struct vhdx_page *pages;	/* bitmaps first, then the BAT's */
	uint8_t *bat_bytes, *entry;
	uint32_t page_count;
	uint32_t first, batch; /* the pages of the present entry: how many */
	uint32_t next;	       /* page of the phase */
	uint64_t file_bytes;
};

struct vhdx {
	struct vhdx_header header;	 /* the one that counts, */
	uint32_t slot;			 /* 0 or 1: and where it is */
	bool bad_regions[2], bad_header; /* a copy is damaged */
	uint64_t log_offset, bat_offset, metadata_offset;
	uint32_t log_bytes, bat_bytes, metadata_bytes;
	uint8_t *regions; /* the region table */
	char creator[64];

	uint64_t used_end; /* of what the image refers to */
	struct blocks blocks;
	uint32_t chunk_blocks; /* the "chunk ratio": blocks with bits in one sector bitmap block */
	uint32_t chunk_count;
	uint32_t *chunk_places; /* of sector bitmap blocks, in MiB; 0: none. Differencing only. */

	/* The parent locator's values; NULL: none. */
	char *relative_path, *absolute_path, *volume_path;
	struct guid linkage, linkage2;

	struct vhdx_log log;

	/* Since the image was begun: */
	uint64_t log_sequence; /* of the next entry */
	struct vhdx_dirty_pages dirty;
	struct vhdx_commit commit;
};

static inline uint32_t vhdx_bat_index(const struct vhdx *vhdx, uint32_t block)
{
	return block + block / vhdx->chunk_blocks;
}

static inline uint32_t vhdx_bitmap_index(const struct vhdx *vhdx, uint32_t chunk)
{
	return (chunk + 1) * vhdx->chunk_blocks + chunk;
}

/* "damaged: ..., at byte N of the file": -EBADMSG */
int vhdx_damaged(const struct image *image, struct disk_error *ret_error, uint64_t offset,
		 const char *format, ...) PRINTF_LIKE(4, 5);

/* vhdx.c: bytes of the file as they are once the log is replayed. 0 or -errno */
int vhdx_read(const struct image *image, uint64_t offset, void *bytes, size_t count);

/*
 * vhdx_header.c: read headers and region tables; what follows needs them
 * vhdx_write_headers() - both copies, one after the other, each synced
 *	with the log's GUID in vhdx->header: zero means clean
 */
int vhdx_load_header(struct image *image, struct disk_error *ret_error);
int vhdx_load_regions(struct image *image, struct disk_error *ret_error);
int vhdx_write_headers(struct image *image);
void vhdx_seal_header(struct vhdx_header *header);

/* vhdx_metadata.c */
int vhdx_load_metadata(struct image *image, struct disk_error *ret_error);
void vhdx_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx);
int vhdx_check_parent(const struct image *child, const struct image *parent,
		      struct disk_error *ret_error);

/* vhdx_table.c */
int vhdx_load_table(struct image *image, struct disk_error *ret_error);

/* vhdx_log.c: find what is to be replayed; lay it over bytes that were read; write it */
int vhdx_load_log(struct image *image, struct disk_error *ret_error);
void vhdx_log_patch(const struct vhdx_log *log, uint64_t offset, void *bytes, size_t count);
int vhdx_replay(struct image *image);
void vhdx_log_free(struct vhdx_log *log);

/* vhdx_commit.c */
extern const struct blocks_driver vhdx_blocks;
void vhdx_commit_free(struct vhdx_commit *commit);
/*
 * vhdx_make_entry() - an entry of the log, as large as (1 + count) sectors, at @entry
 * @count: VHDX_FIRST_DESCRIPTORS at most
 */
void vhdx_make_entry(const struct vhdx *vhdx, uint32_t tail, const struct vhdx_page *pages,
		     uint32_t count, uint64_t file_bytes, uint8_t *entry);

#endif
