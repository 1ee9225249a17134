/*
 * vmdk_sparse.c - hosted sparse extents: grains found through a directory of tables
 *
 * Nothing but the header (and the footer of a stream) is read when an extent is opened. Directory
 * and tables are looked at entry by entry, through the file cache, so that every entry is checked
 * when it is used. A look-up takes two steps however the entries are set, hence no loop in them can
 * hold it up. A wrong directory entry is looked for in the redundant directory, where there is one.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk_internal.h"
#include "driver.h"
#include "vmdk_image.h"

#define MIN_GRAIN_SECTORS	 8u
#define MAX_GRAIN_SECTORS	 65536u
#define MAX_PACKED_GRAIN_SECTORS (UNPACK_MAX_BYTES / VMDK_SECTOR)
#define MAX_VERSION		 3u
#define MAX_GRAINS_OF_A_RUN	 4096u

struct opening {
	const char *path;
	struct disk_error *error;
	uint64_t at; /* of the header in the file: for messages */
	uint64_t file_bytes;
};

static int damaged(const struct opening *opening, const char *field, uint64_t value)
{
	return disk_fail(opening->error, -EBADMSG,
			 "%s: damaged: the sparse header at byte %" PRIu64 " has %s %" PRIu64,
			 opening->path, opening->at, field, value);
}

static int unknown(const struct opening *opening, const char *field, uint64_t value)
{
	return disk_fail(opening->error, -ENOTSUP,
			 "%s: the sparse header at byte %" PRIu64 " has %s %" PRIu64
			 ", which is not supported",
			 opening->path, opening->at, field, value);
}

static int check_magic(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	if (header->magic == VMDK_COWD_MAGIC)
		return disk_fail(opening->error, -ENOTSUP,
				 "%s: a sparse file of ESX (COWD, vmfsSparse), which is not "
				 "supported; consolidate the snapshots there or export the disk",
				 opening->path);
	if (header->magic == VMDK_SESPARSE_MAGIC)
		return disk_fail(opening->error, -ENOTSUP,
				 "%s: a sparse file of ESX (seSparse), which is not supported; "
				 "consolidate the snapshots there or export the disk",
				 opening->path);
	if (header->magic != VMDK_SPARSE_MAGIC)
		return damaged(opening, "the magic number", header->magic);
	if ((header->flags & VMDK_FLAG_NEWLINE_TEST) &&
	    memcmp(header->newlines, VMDK_NEWLINES, sizeof(header->newlines)))
		return disk_fail(opening->error, -EBADMSG,
				 "%s: damaged: its line ends were converted, as by a transfer in "
				 "text mode; copy it anew in binary mode",
				 opening->path);
	return 0;
}

static int check_kind(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	bool packed = header->flags & VMDK_FLAG_COMPRESSED;

	if (!header->version || header->version > MAX_VERSION)
		return unknown(opening, "version", header->version);
	if (header->table_entries != VMDK_TABLE_ENTRIES)
		return unknown(opening, "the number of entries in a grain table",
			       header->table_entries);
	if (header->compression > VMDK_COMPRESSION_DEFLATE)
		return unknown(opening, "compression", header->compression);
	if (packed && !(header->flags & VMDK_FLAG_MARKERS))
		return unknown(opening, "compression without markers: flags", header->flags);
	if (packed != (header->compression == VMDK_COMPRESSION_DEFLATE))
		return damaged(opening, "a compression that its flags deny:", header->compression);
	return 0;
}

static int check_sizes(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	uint64_t grain = header->grain_sectors;
	bool packed = header->flags & VMDK_FLAG_COMPRESSED;

	if (!header->capacity)
		return damaged(opening, "the capacity", header->capacity);
	if (header->capacity > VMDK_MAX_SECTORS)
		return unknown(opening, "the capacity", header->capacity);
	if (!grain || grain & (grain - 1))
		return damaged(opening, "the grain size", grain);
	if (grain < MIN_GRAIN_SECTORS ||
	    grain > (packed ? MAX_PACKED_GRAIN_SECTORS : MAX_GRAIN_SECTORS))
		return unknown(opening, "the grain size", grain);
	return 0;
}

/* Does a part of the file, in sectors, lie behind the header and before the end? */
static bool is_inside(const struct opening *opening, uint64_t sector, uint64_t bytes)
{
	uint64_t all = opening->file_bytes;

	return sector && sector <= all / VMDK_SECTOR && bytes <= all - sector * VMDK_SECTOR;
}

static uint64_t directory_bytes(const struct vmdk_sparse_header *header)
{
	uint64_t covered = header->grain_sectors * VMDK_TABLE_ENTRIES;

	return (header->capacity / covered + (header->capacity % covered != 0)) * sizeof(le32);
}

static int check_places(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	uint64_t bytes = directory_bytes(header);

	if (!is_inside(opening, header->directory, bytes))
		return damaged(opening, "a grain directory outside the file, at sector",
			       header->directory);
	/* Many writers leave something there although there is none: the flag counts. */
	if (header->flags & VMDK_FLAG_REDUNDANT &&
	    !is_inside(opening, header->redundant_directory, bytes))
		return damaged(opening, "a redundant directory outside the file, at sector",
			       header->redundant_directory);
	return 0;
}

static int check_descriptor(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	if (!header->descriptor_offset)
		return 0;
	if (header->descriptor_sectors > VMDK_MAX_DESCRIPTOR_BYTES / VMDK_SECTOR ||
	    !header->descriptor_sectors)
		return damaged(opening, "the size of the descriptor", header->descriptor_sectors);
	if (!is_inside(opening, header->descriptor_offset,
		       header->descriptor_sectors * VMDK_SECTOR))
		return damaged(opening, "a descriptor outside the file, at sector",
			       header->descriptor_offset);
	return 0;
}

/* A stream could not yet know where its directory would be: the true header is at the end. */
static int read_footer(int fd, struct opening *opening, struct vmdk_sparse_header *header)
{
	struct vmdk_sparse_header footer;
	int r;

	if (opening->file_bytes < 2 * VMDK_FOOTER_FROM_END)
		return disk_fail(opening->error, -EBADMSG,
				 "%s: truncated: %" PRIu64 " bytes have no room for its footer",
				 opening->path, opening->file_bytes);
	opening->at = ALIGN_DOWN(opening->file_bytes, (uint64_t)VMDK_SECTOR) - VMDK_FOOTER_FROM_END;
	r = file_read(fd, opening->at, &footer, sizeof(footer));
	if (r < 0)
		return disk_fail(opening->error, r, "%s: cannot read its footer: %s", opening->path,
				 strerror(-r));
	if (footer.magic != VMDK_SPARSE_MAGIC || footer.directory == VMDK_DIRECTORY_AT_END)
		return disk_fail(opening->error, -EBADMSG,
				 "%s: truncated or damaged: a stream without the footer that it "
				 "should have at byte %" PRIu64,
				 opening->path, opening->at);
	if (footer.grain_sectors != header->grain_sectors || footer.flags != header->flags ||
	    footer.compression != header->compression)
		return damaged(opening, "fields that differ from those of the first one: flags",
			       footer.flags);
	/* The descriptor is where the first one says. */
	footer.descriptor_offset = header->descriptor_offset;
	footer.descriptor_sectors = header->descriptor_sectors;
	*header = footer;
	return 0;
}

static int check_header(const struct opening *opening, const struct vmdk_sparse_header *header)
{
	int r = check_magic(opening, header);

	if (!r)
		r = check_kind(opening, header);
	if (!r)
		r = check_sizes(opening, header);
	return r;
}

static int read_header(int fd, struct opening *opening, struct vmdk_sparse_header *header)
{
	int r = file_read(fd, 0, header, sizeof(*header));

	if (r < 0)
		return disk_fail(opening->error, r == -ENODATA ? -EBADMSG : r,
				 "%s: truncated: shorter than its header", opening->path);
	r = check_magic(opening, header);
	if (!r && header->directory == VMDK_DIRECTORY_AT_END) {
		r = check_kind(opening, header);
		if (!r)
			r = read_footer(fd, opening, header);
	}
	return r ? r : check_header(opening, header);
}

int vmdk_sparse_open(int fd, uint64_t file_bytes, const char *path, struct vmdk_sparse *ret_sparse,
		     struct disk_error *ret_error)
{
	struct opening opening = {.path = path, .error = ret_error, .file_bytes = file_bytes};
	struct vmdk_sparse_header header;
	int r = read_header(fd, &opening, &header);

	if (!r)
		r = check_places(&opening, &header);
	if (!r)
		r = check_descriptor(&opening, &header);
	if (r < 0)
		return r;
	*ret_sparse = (struct vmdk_sparse){
		.fd = fd,
		.file_bytes = file_bytes,
		.capacity = header.capacity * VMDK_SECTOR,
		.directory = header.directory * VMDK_SECTOR,
		.redundant = header.flags & VMDK_FLAG_REDUNDANT
				     ? header.redundant_directory * VMDK_SECTOR
				     : 0,
		.grain_bytes = header.grain_sectors * VMDK_SECTOR,
		.compressed = header.flags & VMDK_FLAG_COMPRESSED,
		.zero_grains = header.flags & VMDK_FLAG_ZERO_GRAINS,
		.unclean = header.unclean,
		.descriptor_offset = header.descriptor_offset * VMDK_SECTOR,
		.descriptor_bytes =
			header.descriptor_offset ? header.descriptor_sectors * VMDK_SECTOR : 0};
	return 0;
}

/* --- look-ups --- */

#define TABLE_BYTES (VMDK_TABLE_ENTRIES * (uint64_t)sizeof(le32))

static bool has_table(const struct vmdk_sparse *sparse, uint32_t sector)
{
	uint64_t offset = (uint64_t)sector * VMDK_SECTOR;

	return sector != VMDK_ABSENT && offset < sparse->file_bytes &&
	       TABLE_BYTES <= sparse->file_bytes - offset;
}

/* The sector of the table for @number; VMDK_ABSENT: there is none. */
static int find_table(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t number,
		      uint32_t *ret_sector)
{
	uint64_t within = number * sizeof(le32);
	le32 sector;
	int r = file_cache_read(cache, sparse->fd, sparse->directory + within, &sector,
				sizeof(sector));

	if (!r && sector != VMDK_ABSENT && !has_table(sparse, sector) && sparse->redundant)
		r = file_cache_read(cache, sparse->fd, sparse->redundant + within, &sector,
				    sizeof(sector));
	if (r < 0)
		return r;
	if (sector != VMDK_ABSENT && !has_table(sparse, sector))
		return -EBADMSG;
	*ret_sector = sector;
	return 0;
}

struct grain {
	uint32_t sector; /* as in the table; VMDK_ABSENT */
	uint64_t grains; /* that follow and are absent like this one: its table is */
};

static int find_grain(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t number,
		      struct grain *ret_grain)
{
	uint64_t index = number % VMDK_TABLE_ENTRIES;
	uint32_t table;
	le32 sector;
	int r = find_table(sparse, cache, number / VMDK_TABLE_ENTRIES, &table);

	if (r < 0)
		return r;
	if (table == VMDK_ABSENT) {
		*ret_grain = (struct grain){VMDK_ABSENT, VMDK_TABLE_ENTRIES - index};
		return 0;
	}
	r = file_cache_read(cache, sparse->fd, (uint64_t)table * VMDK_SECTOR + index * sizeof(le32),
			    &sector, sizeof(sector));
	if (!r)
		*ret_grain = (struct grain){sector, 1};
	return r;
}

static enum run_kind kind_of(const struct vmdk_sparse *sparse, uint32_t sector)
{
	if (sector == VMDK_ABSENT)
		return RUN_PARENT;
	if (sector == VMDK_ZERO_GRAIN && sparse->zero_grains)
		return RUN_ZEROS;
	return sparse->compressed ? RUN_DECODE : RUN_FILE;
}

/* The last grain need not be whole: the disk ends within it. */
static uint64_t grain_used(const struct vmdk_sparse *sparse, uint64_t number)
{
	return MIN(sparse->grain_bytes, sparse->capacity - number * sparse->grain_bytes);
}

static bool is_whole(const struct vmdk_sparse *sparse, uint64_t number, uint32_t sector)
{
	uint64_t offset = (uint64_t)sector * VMDK_SECTOR;

	return offset < sparse->file_bytes &&
	       grain_used(sparse, number) <= sparse->file_bytes - offset;
}

static int first_of_run(const struct vmdk_sparse *sparse, uint64_t number, uint64_t within,
			const struct grain *grain, struct run *run)
{
	run->kind = kind_of(sparse, grain->sector);
	run->fd = sparse->fd;
	if (run->kind != RUN_FILE)
		return 0;
	if (!is_whole(sparse, number, grain->sector))
		return -EBADMSG;
	run->offset = (uint64_t)grain->sector * VMDK_SECTOR + within;
	return 0;
}

/* Does @grain go on where a run of @bytes so far ends? */
static bool continues(const struct vmdk_sparse *sparse, uint64_t number, const struct grain *grain,
		      const struct run *run, uint64_t bytes)
{
	if (kind_of(sparse, grain->sector) != run->kind || run->kind == RUN_DECODE)
		return false;
	return run->kind != RUN_FILE ||
	       ((uint64_t)grain->sector * VMDK_SECTOR == run->offset + bytes &&
		is_whole(sparse, number, grain->sector));
}

int vmdk_sparse_map(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t offset,
		    struct run *run)
{
	uint64_t number = offset / sparse->grain_bytes, within = offset % sparse->grain_bytes;
	uint64_t most = MIN(run->bytes, sparse->capacity - offset), bytes;
	struct grain grain;
	int r = find_grain(sparse, cache, number, &grain);

	if (!r)
		r = first_of_run(sparse, number, within, &grain, run);
	if (r < 0)
		return r;
	bytes = grain.grains * sparse->grain_bytes - within;
	for (unsigned int i = 0; bytes < most && i < MAX_GRAINS_OF_A_RUN; i++) {
		number += grain.grains;
		/* An error is reported when it is the first of a run. */
		if (find_grain(sparse, cache, number, &grain) < 0 ||
		    !continues(sparse, number, &grain, run, bytes))
			break;
		bytes += grain.grains * sparse->grain_bytes;
	}
	run->bytes = MIN(bytes, most);
	return 0;
}

int vmdk_sparse_unit(const struct vmdk_sparse *sparse, struct file_cache *cache, uint64_t offset,
		     struct unpack_unit *ret_unit)
{
	uint64_t number = offset / sparse->grain_bytes, start;
	struct vmdk_grain_marker marker;
	struct grain grain;
	int r = find_grain(sparse, cache, number, &grain);

	if (r < 0)
		return r;
	if (kind_of(sparse, grain.sector) != RUN_DECODE)
		return -EBADMSG;
	start = (uint64_t)grain.sector * VMDK_SECTOR;
	r = file_cache_read(cache, sparse->fd, start, &marker, sizeof(marker));
	if (r < 0)
		return r;
	if (marker.sector != number * (sparse->grain_bytes / VMDK_SECTOR) || !marker.bytes ||
	    marker.bytes > 2 * sparse->grain_bytes)
		return -EBADMSG;
	*ret_unit = (struct unpack_unit){.method = UNPACK_ZLIB,
					 .fd = sparse->fd,
					 .offset = start + sizeof(marker),
					 .packed_bytes = marker.bytes,
					 .bytes = grain_used(sparse, number)};
	return 0;
}
