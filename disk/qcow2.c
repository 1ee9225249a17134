/*
 * qcow2.c - images of QEMU as sources: opened, read, chained to their backing files
 *
 * A backing file has no id by which it could be told: any file that the image names would be shown.
 * So the name is confined to the image's folder (neighbour.h), judged as text before anything is
 * opened and again by what was opened, and a raw file counts only where the header says "raw".
 * Internal snapshots are passed over.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"
#include "log.h"
#include "neighbour.h"
#include "qcow2_image.h"

static int qcow2_probe(struct image *image, struct disk_error *ret_error)
{
	be32 magic = 0;
	int r = file_read(image->fd, 0, &magic, MIN(image->file_bytes, sizeof(magic)));

	if (r < 0)
		return disk_fail(ret_error, r, "%s: %s", image->path, strerror(-r));
	if (be32toh(magic) != QCOW2_MAGIC)
		return 0;
	image->format = DISK_QCOW2;
	return 1;
}

static const struct {
	const char *name;
	enum disk_format format;
} backing_formats[] = {
	{"qcow2", DISK_QCOW2},
	{"raw", DISK_RAW},
	{"", DISK_QCOW2}, /* not said: its mark has to say so; anything may look like raw */
};

static int set_backing_format(struct image *image, const struct qcow2_facts *facts,
			      struct disk_error *ret_error)
{
	for (size_t i = 0; i < ARRAY_SIZE(backing_formats); i++) {
		if (strcmp(backing_formats[i].name, facts->backing_format))
			continue;
		image->parent_format = backing_formats[i].format;
		image->parent_may_be_raw = image->parent_format == DISK_RAW;
		return 0;
	}
	return disk_fail(ret_error, -ENOTSUP,
			 "%s: its backing file has the format %s; raw and qcow2 are supported",
			 image->path, facts->backing_format);
}

/* "nbd:...", "json:...", "https://...": what QEMU takes for something else than a file's name. */
static bool is_no_file(const char *name)
{
	size_t length = strcspn(name, ":/");

	return name[length] == ':';
}

static int set_backing_file(struct image *image, const struct qcow2_facts *facts,
			    struct disk_error *ret_error)
{
	struct qcow2 *qcow2 = image->own;
	int r;

	if (!facts->backing_file[0])
		return 0;
	if (is_no_file(facts->backing_file))
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: its backing file is no file but %.200s, which is not "
				 "supported",
				 image->path, facts->backing_file);
	r = set_backing_format(image, facts, ret_error);
	if (!r)
		r = neighbour_check_name(image->path, facts->backing_file, ret_error);
	if (r < 0)
		return r;
	image->differencing = true;
	qcow2->backing_file = strdup(facts->backing_file);
	if (!qcow2->backing_file)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	return 0;
}

static int new_qcow2(struct image *image, const struct qcow2_facts *facts,
		     struct disk_error *ret_error)
{
	struct qcow2 *qcow2 = calloc(1, sizeof(*qcow2));

	if (!qcow2)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	file_cache_init(&qcow2->cache);
	unpacker_init(&qcow2->unpacker);
	qcow2->map = facts->map;
	image->own = qcow2;
	return 0;
}

static int qcow2_load(struct image *image, struct disk_error *ret_error)
{
	struct qcow2_facts facts;
	int r = qcow2_read_header(image->fd, image->file_bytes, image->path, &facts, ret_error);

	if (!r)
		r = new_qcow2(image, &facts, ret_error);
	if (!r)
		r = set_backing_file(image, &facts, ret_error);
	if (r < 0)
		return r;
	if (facts.corrupt)
		log_warning("%s: QEMU marked it as corrupt: parts may be wrong or unreadable",
			    image->path);
	image_derive_id(image);
	image->format = DISK_QCOW2;
	image->bytes = facts.map.bytes;
	image->needs_repair = facts.dirty;
	return 0;
}

static void qcow2_release(struct image *image)
{
	struct qcow2 *qcow2 = image->own;

	if (!qcow2)
		return;
	file_cache_free(&qcow2->cache);
	unpacker_free(&qcow2->unpacker);
	free(qcow2->backing_file);
	free(qcow2);
	image->own = NULL;
}

static void qcow2_info(const struct image *image, struct disk_info *info)
{
	const struct qcow2 *qcow2 = image->own;

	info->block_bytes = BIT(qcow2->map.cluster_bits);
	snprintf(info->subformat, sizeof(info->subformat), "version %u", qcow2->map.version);
}

static int qcow2_run(struct image *image, uint64_t offset, struct run *run)
{
	struct qcow2 *qcow2 = image->own;

	return qcow2_map_run(&qcow2->map, &qcow2->cache, offset, run);
}

static int qcow2_decode(const struct image *image, uint64_t offset, void *bytes, size_t count)
{
	struct qcow2 *qcow2 = image->own;
	struct unpack_unit unit;
	int r = qcow2_unit(&qcow2->map, &qcow2->cache, offset, &unit);

	return r ? r
		 : unpack_read(&qcow2->unpacker, &unit, offset & (BIT(qcow2->map.cluster_bits) - 1),
			       bytes, count);
}

static void qcow2_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	const struct qcow2 *qcow2 = child->own;
	const char *name = qcow2->backing_file;

	hint(ctx, name[0] == '/' ? PARENT_ABSOLUTE : PARENT_RELATIVE, name);
}

static int qcow2_check_parent(const struct image *child, const struct image *parent,
			      struct disk_error *ret_error)
{
	return neighbour_check(child->path, parent, ret_error);
}

const struct image_driver qcow2_driver = {.name = "qcow2", .family = "qcow2",
					  .first = DISK_QCOW2,
					  .last = DISK_QCOW2,
					  .suffixes = {".qcow2", ".qcow"},
					  .read_only = true,
					  .probe = qcow2_probe,
					  .load = qcow2_load,
					  .release = qcow2_release,
					  .info = qcow2_info,
					  .map = qcow2_run,
					  .decode = qcow2_decode,
					  .parent_hints = qcow2_parent_hints,
					  .check_parent = qcow2_check_parent};
