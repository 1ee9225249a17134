/*
 * new_file.c - a file that appears under its name when it is complete, or not at all
 *
 * Until then it is ".<name>.<digits>.part" beside it. A kill leaves that behind and nothing else.
 */
#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk_internal.h"

int folder_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	int fd, r;

	if (slash && snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path) >=
			     (int)sizeof(folder))
		return -ENAMETOOLONG;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Some file systems have no sync of folders. */
	r = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
	close(fd);
	return r;
}

int new_file_begin(struct new_file *file, const char *path, struct disk_error *ret_error)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct guid random;
	uint32_t digits;

	file->path = path;
	if (!access(path, F_OK))
		return disk_fail(ret_error, -EEXIST,
				 "%s: exists already; remove it first, or choose another name",
				 path);
	guid_random(&random);
	memcpy(&digits, random.bytes, sizeof(digits));
	if (snprintf(file->part, sizeof(file->part), "%.*s.%s.%08x.part", (int)(name - path), path,
		     name, digits) >= (int)sizeof(file->part))
		return disk_fail(ret_error, -ENAMETOOLONG, "%s: the name is too long", path);
	return 0;
}

/* A file system without that kind of rename has links, or else the name was free a moment ago. */
static int rename_to_free(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (!link(from, to))
		return unlink(from) < 0 ? -errno : 0;
	if (errno != EPERM && errno != EOPNOTSUPP)
		return -errno;
	return rename(from, to) < 0 ? -errno : 0;
}

static int named(struct new_file *file, int result, struct disk_error *ret_error)
{
	if (!result)
		result = folder_sync(file->path);
	if (result < 0)
		return disk_fail(ret_error, result,
				 "%s: cannot give the finished file its name: %s", file->path,
				 strerror(-result));
	return 0;
}

int new_file_finish(struct new_file *file, struct disk_error *ret_error)
{
	return named(file, rename_to_free(file->part, file->path), ret_error);
}

int new_file_replace(struct new_file *file, struct disk_error *ret_error)
{
	return named(file, rename(file->part, file->path) < 0 ? -errno : 0, ret_error);
}

void new_file_drop(struct new_file *file)
{
	unlink(file->part);
}

void new_file_name_error(const struct new_file *file, struct disk_error *error)
{
	size_t length = strlen(file->part);
	char rest[sizeof(error->text)];

	if (strncmp(error->text, file->part, length))
		return;
	snprintf(rest, sizeof(rest), "%s", error->text + length);
	snprintf(error->text, sizeof(error->text), "%s%s", file->path, rest);
}
