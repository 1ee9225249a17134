/*
 * unix_listener.c - a listening Unix stream socket at a path of the file system
 */
#include "unix_listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static int set_address(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path)
		return -ENOENT;
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	strcpy(address->sun_path, path);
	return 0;
}

/* Returns 0: somebody listens; -ECONNREFUSED: nobody does; -errno. */
static int try_to_connect(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = fd < 0 ? -errno : 0;

	if (!r && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		r = errno == EAGAIN ? 0 : -errno; /* a full backlog is somebody's */
	if (fd >= 0)
		close(fd);
	return r;
}

static int remove_stale(const struct sockaddr_un *address)
{
	struct stat status;
	int r;

	if (lstat(address->sun_path, &status) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	r = try_to_connect(address);
	if (r != -ECONNREFUSED)
		return r ?: -EADDRINUSE;
	return unlink(address->sun_path) < 0 ? -errno : 0;
}

/* The mode of a socket's file is that of the unbound socket. */
static int bind_and_listen(struct unix_listener *listener, const struct sockaddr_un *address)
{
	struct stat status;

	if (fchmod(listener->fd, 0600) < 0 ||
	    bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(listener->fd, BACKLOG) < 0 || lstat(address->sun_path, &status) < 0)
		return -errno;
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

static int open_socket(struct unix_listener *listener)
{
	struct sockaddr_un address;
	int r = listener->path ? set_address(listener->path, &address) : -ENOMEM;

	if (!r)
		r = remove_stale(&address);
	if (r < 0)
		return r;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return -errno;
	return bind_and_listen(listener, &address);
}

int unix_listener_open(struct unix_listener *listener, const char *path)
{
	int r;

	*listener = (struct unix_listener){.fd = -1, .path = strdup(path)};
	r = open_socket(listener);
	if (r < 0)
		unix_listener_close(listener);
	return r;
}

void unix_listener_close(struct unix_listener *listener)
{
	struct stat status;

	if (!listener->path)
		return;
	if (listener->inode && !lstat(listener->path, &status) &&
	    status.st_dev == listener->device && status.st_ino == listener->inode)
		unlink(listener->path);
	if (listener->fd >= 0)
		close(listener->fd);
	free(listener->path);
	*listener = (struct unix_listener){.fd = -1};
}
