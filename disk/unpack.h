/*
 * unpack.h - compressed grains and clusters, unpacked one at a time into a bounded buffer
 *
 * An unpacker keeps what it unpacked last, so that readers of a part at a time do not unpack
 * it again for each. Memory: one unit of UNPACK_MAX_BYTES at most, and while it works the packed
 * bytes (UNPACK_MAX_PACKED_BYTES at most) and the library's state, which does not depend on the
 * data. Any thread; does I/O with its own lock held.
 */
#ifndef DISK_UNPACK_H
#define DISK_UNPACK_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define UNPACK_MAX_BYTES	(2u << 20)
#define UNPACK_MAX_PACKED_BYTES (4u << 20)

enum unpack_method {
	UNPACK_DEFLATE, /* bare, RFC 1951 */
	UNPACK_ZLIB,	/* RFC 1950, or bare where the first two bytes are no header of it */
	UNPACK_ZSTD	/* one frame or more */
};

struct unpack_unit {
	enum unpack_method method;
	int fd;
	uint64_t offset;       /* of the packed bytes in the file */
	uint32_t packed_bytes; /* what follows the compressed data among them does not matter */
	uint32_t bytes;	       /* unpacked */
};

struct unpacker {
	pthread_mutex_t lock;
	struct unpack_unit last; /* .bytes 0: none */
	uint8_t *bytes;
	uint32_t room;
};

void unpacker_init(struct unpacker *unpacker);
void unpacker_free(struct unpacker *unpacker);

/*
 * unpack_read() - @count bytes of a unit, from byte @within of it on
 * Returns: 0; -EBADMSG when the data are damaged, or are not exactly the unit's bytes; -ENOMEM;
 *          -errno of the file.
 */
int unpack_read(struct unpacker *unpacker, const struct unpack_unit *unit, uint32_t within,
		void *bytes, size_t count);

/* unpack() - the same without file or memory of the last: @out gets exactly @bytes */
int unpack(enum unpack_method method, const uint8_t *packed, size_t packed_bytes, uint8_t *out,
	   size_t bytes);

#endif
