/*
 * vmdk_image.h - VMware disks, read only: the descriptor, sparse extents, and the image of both
 *
 * Memory of an open image: the descriptor's list of extents (VMDK_MAX_EXTENTS at most), the file
 * cache (1 MiB) and the unpacker (one grain). Directories and tables of grains stay in the file.
 */
#ifndef DISK_VMDK_IMAGE_H
#define DISK_VMDK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "file_cache.h"
#include "unpack.h"
#include "vmdk.h"

struct disk_error;
struct run;

#define VMDK_MAX_DESCRIPTOR_BYTES (1u << 20)
#define VMDK_MAX_EXTENTS	  4096u
/* VMware ends at 62 TB. A bound on the steps that it takes to walk over the emptiest disk. */
#define VMDK_MAX_SECTORS (64 * 1024 * GIB / VMDK_SECTOR)

/* --- the descriptor: vmdk_descriptor.c --- */

enum vmdk_extent_type { VMDK_EXTENT_FLAT, VMDK_EXTENT_SPARSE, VMDK_EXTENT_ZERO };

struct vmdk_extent_line {
	enum vmdk_extent_type type;
	unsigned int line; /* of the descriptor, from 1 on: for messages */
	uint64_t sectors, offset;
	char *file; /* NULL: zeros */
};

struct vmdk_descriptor {
	uint32_t version, cid, parent_cid;
	char *create_type, *parent_hint; /* NULL: not said */
	char *adapter_type;
	uint16_t cylinders;
	uint8_t heads, sectors;
	struct vmdk_extent_line *extents;
	unsigned int extent_count;
	uint64_t total_sectors;
};

bool vmdk_is_descriptor(const char *text, size_t bytes);
/*
 * vmdk_descriptor_parse() - @text up to its end or the first NUL; @path is for messages
 * Returns: 0; -EBADMSG; -ENOTSUP a kind of disk that cannot be read here; -ENOMEM.
 */
int vmdk_descriptor_parse(const char *text, size_t bytes, const char *path,
			  struct vmdk_descriptor *ret_descriptor, struct disk_error *ret_error);
void vmdk_descriptor_free(struct vmdk_descriptor *descriptor);

/* --- one hosted sparse extent: vmdk_sparse.c --- */

struct vmdk_sparse {
	int fd;
	uint64_t file_bytes;
	uint64_t capacity;	       /* bytes; a grain may reach past it */
	uint64_t directory, redundant; /* offsets; redundant 0: there is none */
	uint32_t grain_bytes;
	bool compressed, zero_grains, unclean;
	uint64_t descriptor_offset, descriptor_bytes; /* 0: none inside */
};

/* vmdk_sparse_open() - check the header; @path is for messages. 0, -EBADMSG, -ENOTSUP, -errno */
int vmdk_sparse_open(int fd, uint64_t file_bytes, const char *path, struct vmdk_sparse *ret_sparse,
		     struct disk_error *ret_error);
/* vmdk_sparse_map() - the run at @offset of the extent; see map() of image_driver */
int vmdk_sparse_map(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t offset,
		    struct run *run);
/* vmdk_sparse_unit() - the compressed grain that holds @offset, where map() found one there */
int vmdk_sparse_unit(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t offset,
		     struct unpack_unit *ret_unit);

/* --- the image: vmdk.c --- */

struct vmdk_extent {
	enum vmdk_extent_type type;
	uint64_t start, end; /* bytes of the disk */
	int fd;
	char *path; /* NULL: there is no file, or it is the image's own, which is not closed here */
	uint64_t file_offset;	   /* of flat ones */
	struct vmdk_sparse sparse; /* of sparse ones */
};

struct vmdk {
	struct vmdk_descriptor descriptor;
	struct vmdk_extent *extents; /* in order, without gaps */
	unsigned int extent_count;
	struct file_cache cache;
	struct unpacker unpacker;
};

#endif
