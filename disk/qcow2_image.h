/*
 * qcow2_image.h - images of QEMU, read only
 *
 * Memory of an open image: what is below, the backing file's name, the file cache (1 MiB) and the
 * unpacker (one cluster). L1 and L2 tables stay in the file and are looked at entry by entry.
 */
#ifndef DISK_QCOW2_IMAGE_H
#define DISK_QCOW2_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "file_cache.h"
#include "qcow2.h"
#include "unpack.h"

struct disk_error;
struct run;

struct qcow2_map {
	int fd;
	uint64_t file_bytes;
	uint64_t bytes; /* of the disk */
	uint64_t l1_offset;
	unsigned int version, cluster_bits;
	bool extended; /* L2 entries with subclusters */
	enum unpack_method method;
};

struct qcow2 {
	struct qcow2_map map;
	char *backing_file; /* NULL: none */
	struct file_cache cache;
	struct unpacker unpacker;
};

/* --- the header: qcow2_header.c --- */

struct qcow2_facts {
	struct qcow2_map map;
	bool dirty, corrupt;
	char backing_file[QCOW2_MAX_NAME_BYTES + 1]; /* empty: none */
	char backing_format[16];		     /* empty: not said */
};

/* qcow2_read_header() - @path is for messages. 0, -EBADMSG, -ENOTSUP, -ENOMEM, -errno */
int qcow2_read_header(int fd, uint64_t file_bytes, const char *path, struct qcow2_facts *ret_facts,
		      struct disk_error *ret_error);

/* --- look-ups: qcow2_map.c --- */

/* qcow2_map_run() - the run at @offset of the disk; see map() of image_driver */
int qcow2_map_run(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
		  struct run *run);
/* qcow2_unit() - the compressed cluster that holds @offset, where there is one */
int qcow2_unit(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
	       struct unpack_unit *ret_unit);

#endif
