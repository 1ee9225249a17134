/*
 * qcow2_map.c - where the clusters of a qcow2 image are
 *
 * Each look-up reads one L1 entry and one L2 entry through the file cache and checks them then: a
 * wrong entry makes the part of the disk that it stands for unreadable, and nothing else. Two
 * steps, however the tables are set: no loop in them can hold a look-up up.
 *
 * A cluster that reaches past the end of the file reads as zeros there, as with QEMU, whose files
 * end with the last byte written; one that begins past it is damage.
 */
#include <endian.h>
#include <errno.h>

#include "disk_internal.h"
#include "driver.h"
#include "qcow2_image.h"

#define MAX_PIECES_OF_A_RUN 4096u
#define SECTOR		    512u

/* A part of the disk whose bytes are all of one kind, by one entry of the tables. */
struct piece {
	enum run_kind kind;
	uint64_t bytes;	 /* from the offset asked for on */
	uint64_t offset; /* RUN_FILE */
};

struct entry {
	bool present; /* there is an L2 table */
	uint64_t descriptor, bitmap;
};

static unsigned int l2_bits(const struct qcow2_map *map)
{
	return map->cluster_bits - (map->extended ? 4 : 3);
}

static bool is_aligned_inside(const struct qcow2_map *map, uint64_t offset)
{
	return !(offset & (BIT(map->cluster_bits) - 1)) && offset < map->file_bytes;
}

static int read_entry(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
		      struct entry *ret_entry)
{
	uint64_t cluster = offset >> map->cluster_bits, table;
	uint64_t index = cluster & (BIT(l2_bits(map)) - 1);
	unsigned int words = map->extended ? 2 : 1;
	be64 found[2] = {};
	int r = file_cache_read(cache, map->fd,
				map->l1_offset + (cluster >> l2_bits(map)) * sizeof(be64), found,
				sizeof(be64));

	if (r < 0)
		return r;
	*ret_entry = (struct entry){};
	table = be64toh(found[0]) & QCOW2_OFFSET_MASK;
	if (!table)
		return 0;
	if (!is_aligned_inside(map, table))
		return -EBADMSG;
	r = file_cache_read(cache, map->fd, table + index * words * sizeof(be64), found,
			    words * sizeof(be64));
	if (!r)
		*ret_entry = (struct entry){true, be64toh(found[0]), be64toh(found[1])};
	return r;
}

/* --- pieces --- */

static int piece_in_file(const struct qcow2_map *map, uint64_t cluster, uint64_t within,
			 struct piece *piece)
{
	uint64_t left;

	if (!is_aligned_inside(map, cluster))
		return -EBADMSG;
	piece->kind = RUN_FILE;
	piece->offset = cluster + within;
	left = piece->offset < map->file_bytes ? map->file_bytes - piece->offset : 0;
	if (left >= piece->bytes)
		return 0;
	/* The rest of a sector of which the file has a part would be cut silently: -EIO later. */
	if (left)
		piece->bytes = MIN(piece->bytes, ALIGN_UP(left, (uint64_t)SECTOR));
	else
		piece->kind = RUN_ZEROS;
	return 0;
}

static int piece_of_cluster(const struct qcow2_map *map, const struct entry *entry, uint64_t within,
			    struct piece *piece)
{
	uint64_t cluster = entry->descriptor & QCOW2_OFFSET_MASK;

	if (entry->descriptor & QCOW2_ENTRY_ZERO) {
		piece->kind = RUN_ZEROS;
		return map->version >= 3 ? 0 : -EBADMSG;
	}
	piece->kind = RUN_PARENT;
	return cluster ? piece_in_file(map, cluster, within, piece) : 0;
}

/* Two bits for each subcluster: allocated, zeros. */
static unsigned int subcluster_state(const struct entry *entry, unsigned int index)
{
	return (entry->bitmap >> index & 1) | (entry->bitmap >> (index + QCOW2_SUBCLUSTERS) & 1)
						      << 1;
}

static int piece_of_subclusters(const struct qcow2_map *map, const struct entry *entry,
				uint64_t within, struct piece *piece)
{
	uint64_t cluster = entry->descriptor & QCOW2_OFFSET_MASK;
	unsigned int bits = map->cluster_bits - 5, index = within >> bits, next = index + 1;
	unsigned int state = subcluster_state(entry, index);

	while (next < QCOW2_SUBCLUSTERS && subcluster_state(entry, next) == state)
		next++;
	piece->bytes = ((uint64_t)next << bits) - within;
	switch (state) {
	case 0: piece->kind = RUN_PARENT; return 0;
	case 1: return cluster ? piece_in_file(map, cluster, within, piece) : -EBADMSG;
	case 2: piece->kind = RUN_ZEROS; return 0;
	default: return -EBADMSG;
	}
}

static int find_piece(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
		      struct piece *piece)
{
	uint64_t within = offset & (BIT(map->cluster_bits) - 1), covered;
	struct entry entry;
	int r = read_entry(map, cache, offset, &entry);

	if (r < 0)
		return r;
	*piece = (struct piece){.kind = RUN_PARENT, .bytes = BIT(map->cluster_bits) - within};
	if (!entry.present) {
		covered = BIT(l2_bits(map) + map->cluster_bits);
		piece->bytes = covered - (offset & (covered - 1));
		return 0;
	}
	if (entry.descriptor & QCOW2_ENTRY_PACKED) {
		piece->kind = RUN_DECODE;
		return 0;
	}
	return map->extended ? piece_of_subclusters(map, &entry, within, piece)
			     : piece_of_cluster(map, &entry, within, piece);
}

int qcow2_map_run(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
		  struct run *run)
{
	uint64_t most = MIN(run->bytes, map->bytes - offset), bytes;
	struct piece piece;
	int r = find_piece(map, cache, offset, &piece);

	if (r < 0)
		return r;
	run->kind = piece.kind;
	run->offset = piece.offset;
	bytes = piece.bytes;
	for (unsigned int i = 0; bytes < most && i < MAX_PIECES_OF_A_RUN; i++) {
		/* An error is reported when it is the first of a run. */
		if (run->kind == RUN_DECODE || find_piece(map, cache, offset + bytes, &piece) < 0 ||
		    piece.kind != run->kind ||
		    (piece.kind == RUN_FILE && piece.offset != run->offset + bytes))
			break;
		bytes += piece.bytes;
	}
	run->bytes = MIN(bytes, most);
	return 0;
}

int qcow2_unit(const struct qcow2_map *map, struct file_cache *cache, uint64_t offset,
	       struct unpack_unit *ret_unit)
{
	unsigned int bits = 62 - (map->cluster_bits - 8);
	uint64_t start, sectors, bytes;
	struct entry entry;
	int r = read_entry(map, cache, offset, &entry);

	if (r < 0)
		return r;
	if (!entry.present || !(entry.descriptor & QCOW2_ENTRY_PACKED))
		return -EBADMSG;
	start = entry.descriptor & (BIT(bits) - 1);
	sectors = (entry.descriptor & QCOW2_DESCRIPTOR_MASK) >> bits;
	bytes = (sectors + 1) * QCOW2_PACKED_SECTOR - start % QCOW2_PACKED_SECTOR;
	if (start >= map->file_bytes)
		return -EBADMSG;
	*ret_unit = (struct unpack_unit){.method = map->method,
					 .fd = map->fd,
					 .offset = start,
					 .packed_bytes = MIN(bytes, map->file_bytes - start),
					 .bytes = BIT(map->cluster_bits)};
	return 0;
}
