/*
 * disk.h - virtual disk images: one asynchronous block interface over every format
 *
 * A disk is an open image with its chain of parents. It is used through queues: a queue belongs to
 * one loop and has an io_uring of its own (a small thread pool where io_uring is denied). Several
 * queues on several threads may use one disk at the same time. disk knows nothing of VMs.
 *
 * Ordering: requests in flight at the same time may be performed in any order. A flush covers the
 * requests that were done before it was submitted. Data, and the metadata to find it, are on
 * stable storage when a flush, or a write with fua, is done. Power may go at any instant: the image
 * opens afterwards, with all flushed data.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <sys/uio.h>

#include "guid.h"
#include "loop.h"

struct disk;
struct disk_queue;

enum disk_format {
	DISK_AUTO,
	DISK_RAW,
	DISK_VHD_FIXED,
	DISK_VHD_DYNAMIC,
	DISK_VHD_DIFFERENCING,
	DISK_VHDX_FIXED,
	DISK_VHDX_DYNAMIC,
	DISK_VHDX_DIFFERENCING,
	DISK_VMDK, /* this and the next: read only */
	DISK_QCOW2,
	DISK_FORMATS
};
const char *disk_format_name(enum disk_format format); /* "raw", "vhd-dynamic", ... */
/* Without its kind: "vhd", "vhdx", "vmdk", "qcow2"; NULL for raw. */
const char *disk_format_family(enum disk_format format);
/* The family that the ending of a file's name stands for, so "vhdx" for x.avhdx; NULL: none. */
const char *disk_family_of_name(const char *path);

/* A sentence for the user: what, why, what to do. */
struct disk_error {
	char text[512];
};

struct disk_options {
	bool read_only;
	/*
	 * DISK_AUTO takes the format from the contents; raw is what no format knows, if @allow_raw. A
	 * file that bears a format's mark, but is damaged, is never taken for raw.
	 */
	enum disk_format format;
	bool allow_raw;
	/* DISK_AUTO: the contents count only where the file's name stands for the same format. */
	bool by_name;
	bool no_parents; /* only this image: what it leaves to its parent is absent, read as zeros */
	unsigned int max_chain; /* 0: 64 */
};

/*
 * disk_open() - open an image, its parents read-only, and lock them
 * Locks: OFD locks over the whole file; exclusive for a writer, shared for readers and parents.
 * Returns: 0; -errno of the file; -EBADMSG damaged; -ENOTSUP a form we do not know; -ESTALE a
 *          parent is not the one the child was made from; -ELOOP; -EAGAIN locked by another owner.
 *          Then *ret_error says it in a sentence. Nothing was written to an image that fails.
 */
int disk_open(const char *path, const struct disk_options *options, struct disk **ret_disk,
	      struct disk_error *ret_error);
/* With every queue's requests on it done. Writes what is pending in memory, closes. */
void disk_close(struct disk *disk);

struct disk_info {
	enum disk_format format;
	uint64_t bytes;		      /* size the guest sees */
	uint32_t logical_sector, physical_sector;
	uint32_t block_bytes;	      /* 0: no blocks */
	uint16_t cylinders;	      /* geometry of the footer; 0 for raw */
	uint8_t heads, sectors;
	struct guid id;		      /* of the image; VHDX: of the disk; raw: from device and inode */
	struct guid link;	      /* what a child of it records: VHDX DataWriteGuid; else id */
	bool read_only, can_discard;
	unsigned int chain_length;    /* 1: no parent */
	const char *path;	      /* as opened; lives as long as the disk */
	char subformat[32];	      /* "monolithicSparse"; empty where the format says all */
	char creator[64];	      /* what wrote it, as it says itself, in UTF-8; may be empty */
};
void disk_get_info(const struct disk *disk, struct disk_info *ret_info);

/* One image of the chain; the strings live as long as the disk. */
struct disk_image {
	enum disk_format format;
	uint64_t bytes, file_bytes;
	uint32_t block_bytes;
	struct guid id, link;
	const char *path;	 /* as found */
	const char *parent_name; /* as the image has it, with slashes; NULL: it needs no parent */
	bool needs_repair; /* was not closed properly: opening for writing mends it, reading minds it */
};
/* @depth: 0 is the image that was opened. -ERANGE: the chain is not so long. */
int disk_get_image(const struct disk *disk, unsigned int depth, struct disk_image *ret_image);

/* Create images. Exclusive: -EEXIST if @path exists. The file is complete and synced at the return. */
struct disk_create_options {
	enum disk_format format;
	uint64_t bytes;		/* a multiple of the sector; differencing: ignored, the parent's */
	uint32_t block_bytes;	/* 0: VHD 2 MiB; VHDX 32 MiB, differencing 2 MiB */
	uint32_t logical_sector;  /* VHDX: 512 or 4096; 0: 512; differencing: ignored, the parent's */
	uint32_t physical_sector; /* VHDX: likewise; 0: 4096 */
	const char *parent;	/* differencing only */
	bool preallocate;	/* fixed: allocate the blocks on the host */
};
int disk_create(const char *path, const struct disk_create_options *options,
		struct disk_error *ret_error);

/* --- asynchronous I/O --- */

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/* Lives in the caller's struct; the caller keeps it, the iovec and the memory until done() is called. */
struct disk_request {
	enum disk_op op;
	bool fua;		 /* writes: on stable storage when done */
	bool may_unmap;		 /* WRITE_ZEROES: may deallocate */
	uint64_t offset;	 /* bytes; a multiple of the logical sector */
	uint64_t bytes;		 /* likewise; reads and writes: the sum of the iovec */
	struct iovec *iov;	 /* the disk may change it */
	int iov_count;
	/*
	 * On the queue's loop, or in disk_queue_kick(); never from within disk_submit(). 0, or -errno: -EIO, -ENOSPC (the host's
	 * file system is full; nothing of the image was harmed, submit again later), -EROFS, -ERANGE.
	 */
	void (*done)(struct disk_request *request, int result);

	/* the disk's */
	struct disk_request *next;
	struct disk *disk;
	struct disk_queue *queue;
	uint64_t state[16];
};

/* A queue on @loop. Returns 0 or -errno. @depth: requests the host sees at once, 1..4096. */
int disk_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue);
/* No request of it in flight. On its loop, or when that does not run. */
void disk_queue_free(struct disk_queue *queue);

/*
 * disk_submit() - queue a request; the queue's loop's thread. Unless it is done()s that submit,
 * disk_queue_kick() must follow, which passes the batch to the kernel and calls done() of what is
 * over at once. Bad ranges and alignment come back through done() too: -ERANGE, -EINVAL.
 */
void disk_submit(struct disk_queue *queue, struct disk *disk, struct disk_request *request);
void disk_queue_kick(struct disk_queue *queue);

/* --- synchronous face for tools and tests; any thread, own queue inside --- */
int disk_pread(struct disk *disk, uint64_t offset, void *bytes, size_t count);
int disk_pwrite(struct disk *disk, uint64_t offset, const void *bytes, size_t count);
int disk_flush(struct disk *disk);
/*
 * disk_next_data() - the first byte from @offset on that may be other than zero; the size if there is none
 * For tools that skip holes: what it skips is not allocated anywhere in the chain.
 */
uint64_t disk_next_data(struct disk *disk, uint64_t offset);

/* A range of the disk that is all of one kind, and where it comes from. */
enum disk_extent_kind {
	DISK_EXTENT_DATA,  /* bytes of a file */
	DISK_EXTENT_ZERO,  /* an image of the chain says zeros, or its file has a hole there */
	DISK_EXTENT_ABSENT /* no image of the chain says anything: read as zeros */
};
struct disk_extent {
	uint64_t offset, bytes;
	enum disk_extent_kind kind;
	unsigned int depth; /* DATA, ZERO: of the image that has it; 0: the top */
	const char *path;   /* DATA: the file */
	uint64_t file_offset; /* likewise; UINT64_MAX: packed, no plain bytes in the file */
};
/*
 * disk_next_extent() - the extent that begins at @offset
 * The next one may be of the same kind: extents are not joined without end. Any thread.
 * Returns: 0; -ERANGE: @offset is the disk's end or beyond; -EIO.
 */
int disk_next_extent(struct disk *disk, uint64_t offset, struct disk_extent *ret_extent);

#endif
