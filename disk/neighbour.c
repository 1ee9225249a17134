/*
 * neighbour.c - confined opening of the files that an image names
 *
 * The name is judged as text first, for a clear message; the kernel then has the last word with
 * RESOLVE_BENEATH, which also sees through symbolic links.
 */
#include "neighbour.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk_internal.h"

/* O_NONBLOCK: a FIFO must not stop us; regular files do not mind. */
#define FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static bool goes_up(const char *name)
{
	while (*name) {
		size_t length = strcspn(name, "/");

		if (length == 2 && name[0] == '.' && name[1] == '.')
			return true;
		name += length;
		name += strspn(name, "/");
	}
	return false;
}

/* @name as it is seen from @folder; NULL when it is not inside of it. */
static const char *inside(const char *folder, const char *name)
{
	char real[PATH_MAX];
	size_t length;

	if (goes_up(name))
		return NULL;
	if (name[0] != '/')
		return name;
	if (!realpath(folder, real))
		return NULL;
	length = strlen(real);
	if (strncmp(name, real, length) || name[length] != '/')
		return NULL;
	name += length;
	return name + strspn(name, "/");
}

static int open_beneath(int folder_fd, const char *name)
{
	struct open_how how = {.flags = FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	int fd = syscall(SYS_openat2, folder_fd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM) && !strchr(name, '/'))
		fd = openat(folder_fd, name, FLAGS | O_NOFOLLOW);
	if (fd >= 0)
		return fd;
	return errno == EXDEV || errno == ELOOP ? -EPERM : -errno;
}

static int open_confined(const char *folder, const char *name)
{
	const char *relative = inside(folder, name);
	int folder_fd, fd;

	if (!relative || !*relative)
		return -EPERM;
	folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder_fd < 0)
		return -errno;
	fd = open_beneath(folder_fd, relative);
	close(folder_fd);
	return fd;
}

/* "folder/" of a path; "./" where it has none. */
static int folder_of(const char *path, char *ret_folder, size_t bytes)
{
	const char *slash = strrchr(path, '/');
	int length = slash ? snprintf(ret_folder, bytes, "%.*s", (int)(slash + 1 - path), path)
			   : snprintf(ret_folder, bytes, "./");

	return length < (int)bytes ? 0 : -ENAMETOOLONG;
}

static int open_named(const char *image_path, const char *name, bool anywhere,
		      struct neighbour *neighbour)
{
	char folder[PATH_MAX];
	int r = folder_of(image_path, folder, sizeof(folder));

	if (r < 0)
		return r;
	if (asprintf(&neighbour->path, "%s%s",
		     name[0] == '/' || !strchr(image_path, '/') ? "" : folder, name) < 0) {
		neighbour->path = NULL;
		return -ENOMEM;
	}
	if (!anywhere) {
		neighbour->fd = open_confined(folder, name);
		return neighbour->fd < 0 ? neighbour->fd : 0;
	}
	neighbour->fd = open(neighbour->path, FLAGS);
	return neighbour->fd < 0 ? -errno : 0;
}

static int measure(struct neighbour *neighbour, bool anywhere)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	struct stat status;

	if (fcntl(neighbour->fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	if (fstat(neighbour->fd, &status) < 0)
		return -errno;
	neighbour->bytes = status.st_size;
	if (S_ISREG(status.st_mode))
		return 0;
	if (!anywhere || !S_ISBLK(status.st_mode))
		return -EPERM;
	return ioctl(neighbour->fd, BLKGETSIZE64, &neighbour->bytes) < 0 ? -errno : 0;
}

static int explain(const char *image_path, const char *name, int error,
		   struct disk_error *ret_error)
{
	if (error == -EPERM)
		return disk_fail(ret_error, error,
				 "%s: it names %.150s, which is no file inside its own folder; put "
				 "the file there if you trust the image",
				 image_path, name);
	if (error == -EAGAIN)
		return disk_fail(ret_error, error,
				 "%s: its file %.150s is in use: another virtual machine or tool "
				 "writes to it",
				 image_path, name);
	if (error == -ENOENT)
		return disk_fail(ret_error, error,
				 "%s: its file %.150s is not there; copy it beside the image",
				 image_path, name);
	return disk_fail(ret_error, error, "%s: its file %.150s: %s", image_path, name,
			 strerror(-error));
}

int neighbour_open(const char *image_path, const char *name, bool anywhere,
		   struct neighbour *ret_neighbour, struct disk_error *ret_error)
{
	struct neighbour neighbour = {.fd = -1};
	int r = open_named(image_path, name, anywhere, &neighbour);

	if (!r)
		r = measure(&neighbour, anywhere);
	if (r < 0) {
		neighbour_close(&neighbour);
		return explain(image_path, name, r, ret_error);
	}
	*ret_neighbour = neighbour;
	return 0;
}

int neighbour_check_name(const char *image_path, const char *name, struct disk_error *ret_error)
{
	char folder[PATH_MAX];
	int r = folder_of(image_path, folder, sizeof(folder));

	if (!r && !inside(folder, name))
		r = -EPERM;
	return r ? explain(image_path, name, r, ret_error) : 0;
}

int neighbour_check(const char *image_path, const struct image *parent,
		    struct disk_error *ret_error)
{
	const char *slash = strrchr(image_path, '/'), *name = parent->path;
	size_t folder = slash ? slash + 1 - image_path : 0;
	struct neighbour neighbour;
	struct stat status;
	int r;

	if (!strncmp(name, image_path, folder))
		name += folder;
	r = neighbour_open(image_path, name, false, &neighbour, ret_error);
	if (r < 0)
		return r;
	/* The same file still, however its name leads there. */
	if (fstat(neighbour.fd, &status) < 0 || status.st_dev != parent->device ||
	    status.st_ino != parent->inode)
		r = explain(image_path, name, -EPERM, ret_error);
	neighbour_close(&neighbour);
	return r;
}

void neighbour_close(struct neighbour *neighbour)
{
	if (neighbour->fd >= 0)
		close(neighbour->fd);
	free(neighbour->path);
	*neighbour = (struct neighbour){.fd = -1};
}
