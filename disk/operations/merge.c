/*
 * merge.c - a differencing image into its parent
 *
 * What the child's file says, zeros included, is written to the parent; what it leaves to the
 * parent is there already. While the child is there it hides all that changes below it, so the
 * chain reads the same at any moment; only once the parent is synced the child is removed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "disk_internal.h"
#include "new_file.h"

struct merge {
	const char *child;
	struct disk_progress *progress;
	struct disk_error *error;
	char parent[PATH_MAX];
	struct guid parent_id;
	uint64_t bytes, parent_bytes;
};

static int describe_chain(struct merge *merge, const struct disk *disk)
{
	struct disk_image child, parent;

	if (disk_get_image(disk, 0, &child) || disk_get_image(disk, 1, &parent))
		return disk_fail(merge->error, -EINVAL,
				 "%s: has no parent that it could be merged into", merge->child);
	if (child.format != DISK_VHD_DIFFERENCING)
		return disk_fail(
			merge->error, -ENOTSUP,
			"%s: a %s image is not merged in place; convert the chain to a new "
			"image",
			merge->child, disk_format_name(child.format));
	if (parent.bytes < child.bytes)
		return disk_fail(
			merge->error, -EINVAL,
			"%s: is larger than its parent %s; convert the chain to a new image",
			merge->child, parent.path);
	merge->bytes = child.bytes;
	merge->parent_id = parent.link;
	snprintf(merge->parent, sizeof(merge->parent), "%s", parent.path);
	return 0;
}

/* Who the parent is; the chain is closed again, so that the parent can be written to. */
static int find_parent(struct merge *merge)
{
	struct disk_options options = {.read_only = true};
	struct disk *disk;
	int r = disk_open(merge->child, &options, &disk, merge->error);

	if (r < 0)
		return r;
	r = describe_chain(merge, disk);
	disk_close(disk);
	return r;
}

static int copy_down(const struct merge *merge, struct disk *child, struct disk *parent)
{
	struct copy copy = {.source = {.disk = child, .name = merge->child},
			    .target = {.disk = parent, .name = merge->parent},
			    .bytes = merge->bytes,
			    .over_old_content = true,
			    .progress_total = merge->bytes,
			    .progress = merge->progress};
	struct disk_info info;
	int r;

	disk_get_info(parent, &info);
	if (!guid_equal(&info.link, &merge->parent_id))
		return disk_fail(merge->error, -ESTALE,
				 "%s: was replaced by another image meanwhile", merge->parent);
	r = copy_run(&copy, merge->error);
	if (r < 0)
		return r;
	r = disk_flush(parent);
	if (r < 0)
		return disk_fail(merge->error, r, "%s: cannot bring it to disk: %s", merge->parent,
				 strerror(-r));
	return 0;
}

static int merge_open_images(const struct merge *merge)
{
	struct disk_options child_options = {.read_only = true, .no_parents = true};
	struct disk_options parent_options = {};
	struct disk *child, *parent;
	int r = disk_open(merge->child, &child_options, &child, merge->error);

	if (r < 0)
		return r;
	r = disk_open(merge->parent, &parent_options, &parent, merge->error);
	if (!r) {
		r = copy_down(merge, child, parent);
		disk_close(parent);
	}
	disk_close(child);
	return r;
}

int disk_merge(const char *child, bool keep, struct disk_progress *progress,
	       struct disk_error *ret_error)
{
	struct merge merge = {.child = child, .progress = progress, .error = ret_error};
	int r = find_parent(&merge);

	if (!r)
		r = merge_open_images(&merge);
	if (r < 0 || keep)
		return r;
	r = unlink(child) < 0 ? -errno : folder_sync(child);
	if (r < 0)
		return disk_fail(ret_error, r,
				 "%s: is merged, but cannot be removed, which is left to do: %s",
				 child, strerror(-r));
	return 0;
}
