/*
 * driver.h - what an image format is to the rest of disk
 *
 * Each format is one `struct image_driver`, listed in image_drivers[] (drivers.c) in the order in
 * which a file's contents are asked. Three kinds of formats:
 *
 *   flat      a disk's byte is the file's byte at the same offset: image->flat
 *   blocks    a table of blocks, each with or without a bitmap of its sectors: image->blocks, see
 *             blocks.h. Look-ups are common code, without a call through the driver.
 *   others    .map: asked for each run; read only
 *
 * All members may be NULL but those that say otherwise.
 */
#ifndef DISK_DRIVER_H
#define DISK_DRIVER_H

#include "disk.h"

struct image;
struct bitmap;

/* --- where bytes are --- */

enum run_kind {
	RUN_PARENT, /* not here: the parent has them, or they are zeros where there is none */
	RUN_FILE,   /* as they are, at .offset of .fd */
	RUN_ZEROS,
	RUN_DECODE, /* reads: by the driver's decode() */
	RUN_NOTHING /* writes of zeros, discards: nothing to do */
};

struct run {
	enum run_kind kind;
	struct image *image; /* whose they are; the core sets it */
	int fd;		     /* preset: the image's; another if it has several files */
	uint64_t bytes;
	const char *path;      /* of that file; NULL: the image's */
	uint64_t offset;       /* RUN_FILE */
	uint64_t fill_from;    /* RUN_FILE: from this offset of the file on, its end reads as zeros;
				  UINT64_MAX: a file that ends too early is damaged */
	struct bitmap *bitmap; /* writes, blocks.h: bits to set when the data are written */
};

/* --- parents --- */

enum parent_hint {
	PARENT_RELATIVE, /* to the folder of the child */
	PARENT_ABSOLUTE, /* on this host */
	PARENT_NAME	 /* of another host: its last part, in the folder of the child */
};
/* With slashes, in UTF-8. */
typedef void parent_hint_fn(void *ctx, enum parent_hint hint, const char *path);

struct image_driver {
	const char *name;	      /* "VHDX": for messages. Never NULL. */
	const char *family;	      /* "vhdx": where a user types it. Never NULL but of raw. */
	enum disk_format first, last; /* the formats that it makes of a file */
	const char *suffixes[3];      /* ".vhdx": a file so called is asked for this format first */
	bool read_only;		      /* cannot be opened for writing */

	/*
	 * probe() - is this a file of the format? Reads the marks only. Never NULL.
	 * Sets image->format, as far as it can tell. May keep what it found in the image.
	 * Returns: 1 it is; 0 it is not: then nothing was kept; -errno it is, but damaged or of an
	 * unknown kind.
	 */
	int (*probe)(struct image *image, struct disk_error *ret_error);
	/*
	 * load() - read and check everything; no write. Sets what struct image says below, ->format
	 * and ->bytes at least. The file is hostile: every field is checked before it is used,
	 * memory is bounded by what is really in the file.
	 */
	int (*load)(struct image *image, struct disk_error *ret_error);
	/* repair() - before an image is written to, once all of its chain was opened: mend what a
	 * power cut left. Logs what it did. */
	int (*repair)(struct image *image);
	/* close() - an image that was written to; all is on stable storage. 0 or -errno */
	int (*close)(struct image *image);
	/* release() - free what hangs on the image; any state after a probe(). */
	void (*release)(struct image *image);

	/* Fill in what the format knows beyond struct image. */
	void (*info)(const struct image *image, struct disk_info *info);

	/* --- formats without flat or blocks --- */

	/*
	 * map() - the run at @offset, at most run->bytes long (set; may be shortened, never to 0)
	 * Fills kind, bytes and what the kind needs; run->fd and fill_from (UINT64_MAX) are preset.
	 * With the disk's lock: may read a table of bounded size from the file, synchronously.
	 * Returns: 0 or -errno
	 */
	int (*map)(struct image *image, uint64_t offset, struct run *run);
	/*
	 * decode() - the @count bytes from @offset on, which one RUN_DECODE run covered
	 * Synchronous; without the disk's lock, from any thread, several at a time. Runs are at
	 * most RUN_DECODE_BYTES: map() cuts them.
	 */
	int (*decode)(const struct image *image, uint64_t offset, void *bytes, size_t count);

	/* --- images that need a parent (image->differencing) --- */

	/* parent_hints() - call @hint for each place where the parent may be, the best first */
	void (*parent_hints)(const struct image *child, parent_hint_fn *hint, void *ctx);
	/*
	 * check_parent() - is @parent, which was opened, the parent of @child?
	 * Returns: 0; -ESTALE: no, look on; other -errno: yes, but it will not do.
	 */
	int (*check_parent)(const struct image *child, const struct image *parent,
			    struct disk_error *ret_error);

	/* --- formats with blocks that are written to: blocks.h --- */
	const struct blocks_driver *blocks;
};

#define RUN_DECODE_BYTES (2 * MIB)

extern const struct image_driver raw_driver, vhd_driver, vhdx_driver, vmdk_driver, qcow2_driver;

#endif
