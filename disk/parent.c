/*
 * parent.c - the parents of a differencing image
 *
 * A child names its parent by paths, few of which mean something on this host; the format's driver
 * gives them as hints, the best first, and tells the right parent by an id. The first image that is
 * it is the parent. The paths come out of a file that may be hostile, so a candidate is opened
 * read-only, must be a regular file (or a block device), and is no parent unless it is a valid
 * image with that id.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_internal.h"

struct search {
	const struct image *child; /* looks for its parent */
	struct image *chain;	   /* the top image: all found so far hang on it */
	struct image *parent;
	bool other_id, loop; /* some candidate was not it, or was in the chain already */
	struct disk_error why;
	int error;  /* of the last candidate that exists but is no valid image */
	bool is_it; /* that one was the parent, but will not do */
	char tried[PATH_MAX];
};

static bool in_chain(const struct image *chain, const struct stat *status)
{
	for (; chain; chain = chain->parent) {
		if (chain->device == status->st_dev && chain->inode == status->st_ino)
			return true;
	}
	return false;
}

static void try_file(struct search *search, const char *path)
{
	struct disk_error error;
	struct image *image;
	struct stat status;
	int r;

	if (!search->tried[0])
		snprintf(search->tried, sizeof(search->tried), "%s", path);
	if (stat(path, &status) < 0)
		return;
	if (in_chain(search->chain, &status)) {
		search->loop = true;
		return;
	}
	r = image_open(path, true, search->child->parent_format, search->child->parent_may_be_raw,
		       &image, &error);
	if (r < 0) {
		search->error = r;
		search->why = error;
		return;
	}
	r = search->child->driver->check_parent(search->child, image, &error);
	if (!r) {
		search->parent = image;
		return;
	}
	if (r == -ESTALE) {
		search->other_id = true;
	} else {
		search->error = r;
		search->why = error;
		search->is_it = true;
	}
	image_free(image);
}

/* The one entry of @folder that is @name but for the case of letters. */
static bool find_other_case(const char *folder, const char *name, char *ret_name, size_t bytes)
{
	DIR *dir = opendir(*folder ? folder : ".");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		found = !strcasecmp(entry->d_name, name);
		if (found)
			snprintf(ret_name, bytes, "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Windows does not mind the case of letters: every part of @path that is not there as it is
 * written. */
static bool correct_case(const char *path, char *ret_path, size_t bytes)
{
	char part[NAME_MAX + 1], other[NAME_MAX + 1];
	size_t used = 0;

	ret_path[0] = 0;
	while (*path) {
		size_t slash = strspn(path, "/"), length = strcspn(path + slash, "/");

		if (length > NAME_MAX || used + length + 2 > bytes)
			return false;
		if (slash)
			ret_path[used++] = '/';
		ret_path[used] = 0;
		snprintf(part, sizeof(part), "%.*s", (int)length, path + slash);
		snprintf(ret_path + used, bytes - used, "%s", part);
		if (*part && access(ret_path, F_OK) < 0) {
			ret_path[used] = 0;
			if (!find_other_case(ret_path, part, other, sizeof(other)) ||
			    used + strlen(other) + 2 > bytes)
				return false;
			snprintf(ret_path + used, bytes - used, "%s", other);
		}
		used += strlen(ret_path + used);
		path += slash + length;
	}
	return true;
}

static void try_path(struct search *search, const char *path)
{
	char other[PATH_MAX];

	if (!access(path, F_OK))
		try_file(search, path);
	else if (correct_case(path, other, sizeof(other)))
		try_file(search, other);
	else
		try_file(search, path);
}

static void try_relative(struct search *search, const char *path)
{
	const char *child = search->child->path, *slash = strrchr(child, '/');
	char full[PATH_MAX];
	int length;

	while (path[0] == '.' && path[1] == '/')
		path += 2;
	length = snprintf(full, sizeof(full), "%.*s%s", slash ? (int)(slash + 1 - child) : 0, child,
			  path);
	if (length > 0 && length < (int)sizeof(full))
		try_path(search, full);
}

static void try_last_part(struct search *search, const char *path)
{
	const char *slash = strrchr(path, '/');

	path = slash ? slash + 1 : path;
	if (*path && strcmp(path, ".") && strcmp(path, ".."))
		try_relative(search, path);
}

static void try_hint(void *ctx, enum parent_hint hint, const char *path)
{
	struct search *search = ctx;

	if (search->parent || search->is_it || !*path)
		return;
	if (hint == PARENT_ABSOLUTE)
		try_path(search, path);
	else if (hint == PARENT_RELATIVE)
		try_relative(search, path);
	else
		try_last_part(search, path);
}

static int not_found(const struct search *search, struct disk_error *ret_error)
{
	const char *child = search->child->path;

	if (search->is_it)
		return disk_fail(ret_error, search->error, "%s", search->why.text);
	if (search->other_id)
		return disk_fail(ret_error, -ESTALE,
				 "%s: its parent %s is not the image it was made from (their ids "
				 "differ); put that one there, unchanged, or beside the image",
				 child, search->tried);
	if (search->loop)
		return disk_fail(ret_error, -ELOOP, "%s: its chain of parents leads back to itself",
				 child);
	if (search->error)
		return disk_fail(ret_error, search->error,
				 "%s: its parent cannot be opened: %.300s", child,
				 search->why.text);
	if (!search->tried[0])
		return disk_fail(ret_error, -ENOENT, "%s: it does not say where its parent is",
				 child);
	return disk_fail(ret_error, -ENOENT,
			 "%s: its parent is neither at %.200s nor beside the image; put it there",
			 child, search->tried);
}

static int find_parent(struct image *chain, struct image *child, struct disk_error *ret_error)
{
	struct search search = {.child = child, .chain = chain};

	child->driver->parent_hints(child, try_hint, &search);
	if (!search.parent)
		return not_found(&search, ret_error);
	child->parent = search.parent;
	return 0;
}

/* The first hint. */
static void keep_name(void *ctx, enum parent_hint hint, const char *path)
{
	struct image *child = ctx;

	if (!child->parent_name && *path)
		child->parent_name = strdup(path);
}

void image_name_parent(struct image *image)
{
	if (image->differencing)
		image->driver->parent_hints(image, keep_name, image);
}

int image_open_parents(struct image *image, unsigned int max, unsigned int *ret_length,
		       struct disk_error *ret_error)
{
	struct image *last = image;
	unsigned int length = 1;

	for (; last->differencing; last = last->parent, length++) {
		int r;

		if (length >= max)
			return disk_fail(ret_error, -ELOOP,
					 "%s: a chain of more than %u images; merge some",
					 image->path, max);
		r = find_parent(image, last, ret_error);
		if (r < 0)
			return r;
	}
	*ret_length = length;
	return 0;
}
