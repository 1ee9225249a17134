/*
 * control.c - the control socket itself: who may listen at the path, who is let in
 *
 * The socket's file has mode 0600 from its first moment, so the kernel lets in the user whose
 * machine it is, and root, and nobody else. A file left behind by a process that died refuses
 * connections: it is replaced. Two processes that start on the same stale file at the same instant
 * may both think so; the later one gets the path.
 */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control_internal.h"
#include "log.h"

#define BACKLOG		64
#define ACCEPT_RETRY_NS 1000000000ull

/* --- clients --- */

static void accept_again(void *ctx)
{
	struct control *control = ctx;

	loop_source_set_events(control->source, EPOLLIN);
}

/* One more than there may be: told why, by a write that fits into any socket's buffer. */
static void turn_away(int fd)
{
	static const char text[] =
		"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"too-many-clients\","
		"\"message\":\"there are too many connections to this machine\"}}\n";

	if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("control socket: a connection too many: %s", strerror(errno));
	close(fd);
}

static bool is_passing(int error)
{
	return error == EAGAIN || error == EINTR || error == ECONNABORTED;
}

/* Without descriptors or memory the waiting connection stays: look again in a second. */
static void accept_client(void *ctx, uint32_t events)
{
	struct control *control = ctx;
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r;

	if (fd < 0 && is_passing(errno))
		return;
	if (fd < 0) {
		log_warning("control socket: %s", strerror(errno));
		loop_source_set_events(control->source, 0);
		loop_timer_arm_ns(control->retry, monotonic_ns() + ACCEPT_RETRY_NS);
		return;
	}
	if (control->client_count >= MAX_CLIENTS) {
		turn_away(fd);
		return;
	}
	r = client_new(control, fd);
	if (r < 0) {
		log_warning("control socket: %s", strerror(-r));
		close(fd);
	}
}

/* --- the path --- */

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
static int bind_and_listen(struct control *control, const struct sockaddr_un *address)
{
	struct stat status;

	if (fchmod(control->fd, 0600) < 0 ||
	    bind(control->fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(control->fd, BACKLOG) < 0 || lstat(address->sun_path, &status) < 0)
		return -errno;
	control->device = status.st_dev;
	control->inode = status.st_ino;
	return 0;
}

static int open_socket(struct control *control)
{
	struct sockaddr_un address;
	int r = set_address(control->path, &address);

	if (!r)
		r = remove_stale(&address);
	if (r < 0)
		return r;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0)
		return -errno;
	return bind_and_listen(control, &address);
}

/* Only our own: somebody may have replaced it. */
static void remove_socket(const struct control *control)
{
	struct stat status;

	if (control->inode && !lstat(control->path, &status) && status.st_dev == control->device &&
	    status.st_ino == control->inode)
		unlink(control->path);
}

int control_new(struct loop *loop, const char *path, struct vm *vm, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	*control = (struct control){.loop = loop, .vm = vm, .fd = -1, .path = strdup(path)};
	r = control->path ? open_socket(control) : -ENOMEM;
	if (!r)
		r = loop_timer_new(loop, accept_again, control, &control->retry);
	if (!r)
		r = loop_add_fd(loop, control->fd, EPOLLIN, accept_client, control,
				&control->source);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	while (control->clients)
		client_free(control->clients);
	calls_forget(control, NULL);
	loop_source_remove(control->source);
	loop_timer_free(control->retry);
	if (control->path)
		remove_socket(control);
	if (control->fd >= 0)
		close(control->fd);
	free(control->path);
	free(control);
}
