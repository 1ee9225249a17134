/*
 * vhd_mount.c - `mullion vhd mount`: a disk for other programs, over NBD on a Unix socket
 *
 * SIGINT or SIGTERM end it: no more is taken, what is under way is finished, flushed, and the image
 * closed. Then the exit status is 0.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "log.h"
#include "nbd_server.h"
#include "vhd.h"

#define QUEUE_DEPTH 256

struct mount {
	struct disk *disk;
	struct loop *loop;
	struct disk_queue *queue;
	struct nbd_server *server;
	int signal_fd;
	struct loop_source *signal_source;
	bool stopping;
};

static void stopped(void *ctx)
{
	struct mount *mount = ctx;

	loop_stop(mount->loop);
}

static void on_signal(void *ctx, uint32_t events)
{
	struct mount *mount = ctx;
	struct signalfd_siginfo info;

	if (read(mount->signal_fd, &info, sizeof(info)) != sizeof(info) || mount->stopping)
		return;
	mount->stopping = true;
	nbd_server_stop(mount->server, stopped, mount);
}

static int take_signals(struct mount *mount)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGXFSZ, SIG_IGN);
	mount->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (mount->signal_fd < 0)
		return -errno;
	return loop_add_fd(mount->loop, mount->signal_fd, EPOLLIN, on_signal, mount,
			   &mount->signal_source);
}

static int serve_at(struct mount *mount, const char *path)
{
	struct nbd_options options = {.path = path};
	struct disk_info info;
	char description[64];

	disk_get_info(mount->disk, &info);
	snprintf(description, sizeof(description), "%s, chain of %u", disk_format_name(info.format),
		 info.chain_length);
	options.description = description;
	return nbd_server_new(mount->loop, mount->queue, mount->disk, &options, &mount->server);
}

/* The parts that are there when the disk is. */
static int begin(struct mount *mount, const char *path)
{
	int r = loop_new(&mount->loop);

	if (!r)
		r = disk_queue_new(mount->loop, QUEUE_DEPTH, &mount->queue);
	if (!r)
		r = take_signals(mount);
	return r ? r : serve_at(mount, path);
}

static void end(struct mount *mount)
{
	nbd_server_free(mount->server);
	loop_source_remove(mount->signal_source);
	if (mount->signal_fd >= 0)
		close(mount->signal_fd);
	disk_queue_free(mount->queue);
	loop_free(mount->loop);
}

static const char *reason(int error)
{
	switch (error) {
	case -EADDRINUSE: return "another program listens there";
	case -EEXIST: return "a file that is no socket is there";
	case -ENAMETOOLONG: return "a socket's path has at most 107 bytes";
	default: return strerror(-error);
	}
}

static int run(struct mount *mount, const char *path)
{
	int r = begin(mount, path);

	if (r < 0) {
		log_error("--socket %s: %s", path, reason(r));
		return EXIT_FAILED;
	}
	log_info("%s: NBD clients may connect", path);
	r = loop_run(mount->loop);
	if (!r)
		r = disk_flush(mount->disk);
	if (r < 0)
		log_error("vhd mount: what was written last may be lost: %s", strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

int vhd_mount(const struct vhd_options *options)
{
	struct disk_options open = {.read_only = options->read_only,
				    .allow_raw = true,
				    .format = vhd_format_named(options->source_format)};
	struct mount mount = {.signal_fd = -1};
	struct disk_error error;
	int r;

	if (!options->socket) {
		log_error("vhd mount: wants --socket PATH");
		return EXIT_USAGE;
	}
	r = vhd_report(disk_open(options->files.items[0], &open, &mount.disk, &error), &error);
	if (r)
		return r;
	r = run(&mount, options->socket);
	end(&mount);
	disk_close(mount.disk);
	return r;
}
