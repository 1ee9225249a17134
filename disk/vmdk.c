/*
 * vmdk.c - VMware disks: descriptor and extents put together as an image that is read
 *
 * A disk is the concatenation of its extents. The descriptor lies in the one sparse file
 * (monolithic and stream-optimized disks; the name in its extent line does not matter then: files
 * get renamed) or is a text file of its own, beside the extents. Extents that it names are confined
 * to its folder: see neighbour.h. A snapshot leaves to its parent what it has no grain for; the
 * parent is another VMDK with the content id that the child recorded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"
#include "neighbour.h"
#include "vmdk_image.h"

#define PROBE_BYTES 1024u

/* --- what a file is --- */

static bool is_magic(const uint8_t *start)
{
	le32 word[2];

	memcpy(word, start, sizeof(word));
	return word[0] == VMDK_SPARSE_MAGIC || word[0] == VMDK_COWD_MAGIC ||
	       (word[0] == VMDK_SESPARSE_MAGIC && !word[1]);
}

static int vmdk_probe(struct image *image, struct disk_error *ret_error)
{
	uint8_t start[PROBE_BYTES] = {};
	size_t bytes = MIN(image->file_bytes, sizeof(start));
	int r = file_read(image->fd, 0, start, bytes);

	if (r < 0)
		return disk_fail(ret_error, r, "%s: %s", image->path, strerror(-r));
	if (!is_magic(start) && !vmdk_is_descriptor((const char *)start, bytes))
		return 0;
	image->format = DISK_VMDK;
	return 1;
}

static int no_memory(const struct image *image, struct disk_error *ret_error)
{
	return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
}

static int read_descriptor(struct image *image, uint64_t offset, uint64_t bytes,
			   struct disk_error *ret_error)
{
	struct vmdk *vmdk = image->own;
	char *text = malloc(bytes);
	int r;

	if (!text)
		return no_memory(image, ret_error);
	r = file_read(image->fd, offset, text, bytes);
	if (r < 0)
		r = disk_fail(ret_error, r, "%s: cannot read its descriptor: %s", image->path,
			      strerror(-r));
	else
		r = vmdk_descriptor_parse(text, bytes, image->path, &vmdk->descriptor, ret_error);
	free(text);
	return r;
}

/* --- extents --- */

static int check_covered(const struct image *image, const struct vmdk_extent_line *line,
			 const struct vmdk_extent *extent, struct disk_error *ret_error)
{
	if (line->sectors * VMDK_SECTOR <= extent->sparse.capacity)
		return 0;
	return disk_fail(ret_error, -EBADMSG,
			 "%s: damaged: line %u of its descriptor gives an extent %" PRIu64
			 " sectors, its own header only %" PRIu64,
			 image->path, line->line, line->sectors,
			 extent->sparse.capacity / VMDK_SECTOR);
}

static void warn_of_unclean(const char *path, const struct vmdk_sparse *sparse)
{
	if (sparse->unclean)
		log_warning("%s: was not closed properly; what was written last may be missing",
			    path);
}

/* The one extent of a file with everything in it. */
static int load_embedded(struct image *image, const struct vmdk_sparse *sparse,
			 struct disk_error *ret_error)
{
	struct vmdk *vmdk = image->own;
	const struct vmdk_extent_line *line = vmdk->descriptor.extents;
	struct vmdk_extent *extent = vmdk->extents;

	if (vmdk->descriptor.extent_count != 1 || line->type != VMDK_EXTENT_SPARSE)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: a descriptor inside a sparse extent that names other extents",
				 image->path);
	*extent = (struct vmdk_extent){.type = VMDK_EXTENT_SPARSE,
				       .end = line->sectors * VMDK_SECTOR,
				       .fd = image->fd,
				       .sparse = *sparse};
	vmdk->extent_count = 1;
	warn_of_unclean(image->path, sparse);
	return check_covered(image, line, extent, ret_error);
}

static int check_flat(const struct image *image, const struct vmdk_extent_line *line,
		      const struct neighbour *file, struct disk_error *ret_error)
{
	uint64_t sectors = file->bytes / VMDK_SECTOR;

	if (line->offset <= sectors && line->sectors <= sectors - line->offset)
		return 0;
	return disk_fail(ret_error, -EBADMSG,
			 "%s: truncated: line %u of its descriptor names sectors %" PRIu64
			 " to %" PRIu64 " of %.150s, which has %" PRIu64,
			 image->path, line->line, line->offset, line->offset + line->sectors,
			 line->file, sectors);
}

static int load_file(const struct image *image, const struct vmdk_extent_line *line,
		     struct vmdk_extent *extent, struct disk_error *ret_error)
{
	struct neighbour file;
	int r = neighbour_open(image->path, line->file, false, &file, ret_error);

	if (r < 0)
		return r;
	extent->fd = file.fd;
	extent->path = file.path;
	if (line->type == VMDK_EXTENT_FLAT) {
		extent->file_offset = line->offset * VMDK_SECTOR;
		r = check_flat(image, line, &file, ret_error);
	} else {
		r = vmdk_sparse_open(extent->fd, file.bytes, extent->path, &extent->sparse,
				     ret_error);
		if (!r)
			r = check_covered(image, line, extent, ret_error);
		if (!r)
			warn_of_unclean(extent->path, &extent->sparse);
	}
	return r;
}

static int load_extents(struct image *image, struct disk_error *ret_error)
{
	struct vmdk *vmdk = image->own;
	uint64_t start = 0;
	int r = 0;

	for (unsigned int i = 0; !r && i < vmdk->descriptor.extent_count; i++) {
		const struct vmdk_extent_line *line = &vmdk->descriptor.extents[i];
		struct vmdk_extent *extent = &vmdk->extents[vmdk->extent_count++];

		*extent = (struct vmdk_extent){.type = line->type, .start = start, .fd = -1};
		extent->end = start += line->sectors * VMDK_SECTOR;
		if (line->type != VMDK_EXTENT_ZERO)
			r = load_file(image, line, extent, ret_error);
	}
	return r;
}

/* --- the image --- */

static int new_vmdk(struct image *image, struct disk_error *ret_error)
{
	struct vmdk *vmdk = calloc(1, sizeof(*vmdk));

	if (!vmdk)
		return no_memory(image, ret_error);
	file_cache_init(&vmdk->cache);
	unpacker_init(&vmdk->unpacker);
	image->own = vmdk;
	return 0;
}

/* Where the descriptor is; @sparse is filled when it is in a sparse extent. */
static int find_descriptor(struct image *image, struct vmdk_sparse *sparse,
			   struct disk_error *ret_error)
{
	uint8_t start[8] = {};
	int r = file_read(image->fd, 0, start, MIN(image->file_bytes, sizeof(start)));

	if (r < 0)
		return disk_fail(ret_error, r, "%s: %s", image->path, strerror(-r));
	if (is_magic(start)) {
		r = vmdk_sparse_open(image->fd, image->file_bytes, image->path, sparse, ret_error);
		if (r < 0)
			return r;
		if (!sparse->descriptor_bytes)
			return disk_fail(ret_error, -ENOTSUP,
					 "%s: one piece of a disk in several files; open the .vmdk "
					 "file that describes them all",
					 image->path);
		return read_descriptor(image, sparse->descriptor_offset, sparse->descriptor_bytes,
				       ret_error);
	}
	if (image->file_bytes > VMDK_MAX_DESCRIPTOR_BYTES)
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: a descriptor of %" PRIu64 " bytes", image->path,
				 image->file_bytes);
	return read_descriptor(image, 0, image->file_bytes, ret_error);
}

static int vmdk_load(struct image *image, struct disk_error *ret_error)
{
	struct vmdk_sparse sparse = {};
	struct vmdk *vmdk;
	int r = new_vmdk(image, ret_error);

	if (!r)
		r = find_descriptor(image, &sparse, ret_error);
	if (r < 0)
		return r;
	vmdk = image->own;
	vmdk->extents = calloc(vmdk->descriptor.extent_count, sizeof(*vmdk->extents));
	if (!vmdk->extents)
		return no_memory(image, ret_error);
	if (vmdk->descriptor.total_sectors > VMDK_MAX_SECTORS)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: a disk of %" PRIu64 " sectors; up to 64 TiB are supported",
				 image->path, vmdk->descriptor.total_sectors);
	r = sparse.descriptor_bytes ? load_embedded(image, &sparse, ret_error)
				    : load_extents(image, ret_error);
	image_derive_id(image);
	image->format = DISK_VMDK;
	image->bytes = vmdk->descriptor.total_sectors * VMDK_SECTOR;
	image->differencing = vmdk->descriptor.parent_cid != VMDK_NO_PARENT;
	image->parent_format = DISK_VMDK;
	return r;
}

static void vmdk_release(struct image *image)
{
	struct vmdk *vmdk = image->own;

	if (!vmdk)
		return;
	for (unsigned int i = 0; i < vmdk->extent_count; i++) {
		if (vmdk->extents[i].path)
			close(vmdk->extents[i].fd);
		free(vmdk->extents[i].path);
	}
	free(vmdk->extents);
	vmdk_descriptor_free(&vmdk->descriptor);
	file_cache_free(&vmdk->cache);
	unpacker_free(&vmdk->unpacker);
	free(vmdk);
	image->own = NULL;
}

static void vmdk_info(const struct image *image, struct disk_info *info)
{
	const struct vmdk *vmdk = image->own;
	const struct vmdk_descriptor *descriptor = &vmdk->descriptor;

	info->cylinders = descriptor->cylinders;
	info->heads = descriptor->heads;
	info->sectors = descriptor->sectors;
	if (vmdk->extents[0].type == VMDK_EXTENT_SPARSE)
		info->block_bytes = vmdk->extents[0].sparse.grain_bytes;
	if (descriptor->create_type)
		snprintf(info->subformat, sizeof(info->subformat), "%.31s",
			 descriptor->create_type);
}

/* --- reading --- */

/* The extent that holds @offset, which lies on the disk. */
static const struct vmdk_extent *find_extent(const struct vmdk *vmdk, uint64_t offset)
{
	unsigned int low = 0, high = vmdk->extent_count;

	while (high - low > 1) {
		unsigned int middle = low + (high - low) / 2;

		if (vmdk->extents[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return &vmdk->extents[low];
}

static int vmdk_map(struct image *image, uint64_t offset, struct run *run)
{
	struct vmdk *vmdk = image->own;
	const struct vmdk_extent *extent = find_extent(vmdk, offset);

	run->bytes = MIN(run->bytes, extent->end - offset);
	run->path = extent->path;
	switch (extent->type) {
	case VMDK_EXTENT_ZERO: run->kind = RUN_ZEROS; return 0;
	case VMDK_EXTENT_FLAT:
		run->kind = RUN_FILE;
		run->fd = extent->fd;
		run->offset = extent->file_offset + (offset - extent->start);
		return 0;
	case VMDK_EXTENT_SPARSE: break;
	}
	return vmdk_sparse_map(&extent->sparse, &vmdk->cache, offset - extent->start, run);
}

static int vmdk_decode(const struct image *image, uint64_t offset, void *bytes, size_t count)
{
	struct vmdk *vmdk = image->own;
	const struct vmdk_extent *extent = find_extent(vmdk, offset);
	uint64_t within = offset - extent->start;
	struct unpack_unit unit;
	int r = vmdk_sparse_unit(&extent->sparse, &vmdk->cache, within, &unit);

	return r ? r
		 : unpack_read(&vmdk->unpacker, &unit, within % extent->sparse.grain_bytes, bytes,
			       count);
}

/* --- parents --- */

static void vmdk_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	const struct vmdk *vmdk = child->own;
	char *path = vmdk->descriptor.parent_hint ? strdup(vmdk->descriptor.parent_hint) : NULL;
	struct disk_error ignored;

	if (!path)
		return;
	for (char *c = path; *c; c++) {
		if (*c == '\\')
			*c = '/';
	}
	/* What leads out of the folder is not even opened. */
	if (!neighbour_check_name(child->path, path, &ignored))
		hint(ctx, path[0] == '/' ? PARENT_ABSOLUTE : PARENT_RELATIVE, path);
	/* The disk may have been moved, with its parent: the content id tells. */
	hint(ctx, PARENT_NAME, path);
	free(path);
}

static int vmdk_check_parent(const struct image *child, const struct image *parent,
			     struct disk_error *ret_error)
{
	const struct vmdk *vmdk = child->own, *other = parent->own;

	if (parent->format != DISK_VMDK)
		return -ESTALE;
	if (vmdk->descriptor.parent_cid != other->descriptor.cid)
		return disk_fail(ret_error, -ESTALE,
				 "%s: its parent %s was changed since: its content id is %08" PRIx32
				 ", not %08" PRIx32,
				 child->path, parent->path, other->descriptor.cid,
				 vmdk->descriptor.parent_cid);
	return neighbour_check(child->path, parent, ret_error);
}

const struct image_driver vmdk_driver = {.name = "VMDK", .family = "vmdk",
					 .first = DISK_VMDK,
					 .last = DISK_VMDK,
					 .suffixes = {".vmdk"},
					 .read_only = true,
					 .probe = vmdk_probe,
					 .load = vmdk_load,
					 .release = vmdk_release,
					 .info = vmdk_info,
					 .map = vmdk_map,
					 .decode = vmdk_decode,
					 .parent_hints = vmdk_parent_hints,
					 .check_parent = vmdk_check_parent};
