/*
 * nbd_fixture.h - for tests: a server with a disk in memory, and a client that says its whole text
 *
 * Everything is on the caller's thread and one loop; nothing waits for a time.
 */
#ifndef DISK_NBD_NBD_FIXTURE_H
#define DISK_NBD_NBD_FIXTURE_H

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <stdio.h>
#include <errno.h>
#include <unistd.h>

#include "log.h"
#include "nbd_internal.h"

#define FIXTURE_DISK_BYTES (1 * MIB)

struct fixture {
	struct loop *loop;
	struct disk_queue *queue;
	struct disk *disk;
	int file;
};

struct peer {
	struct fixture *fixture;
	int fd;
	struct loop_source *source;
	const uint8_t *text;
	size_t bytes, said;
	uint8_t *heard; /* NULL: nobody wants it */
	size_t heard_size, heard_bytes;
	bool closed; /* by the server */
};

static inline void must(bool condition)
{
	if (!condition)
		abort();
}

static inline void fixture_start(struct fixture *fixture)
{
	struct disk_options options = {.allow_raw = true, .format = DISK_RAW};
	struct disk_error error;
	char path[64];

	log_set_level(LOG_ERROR);
	fixture->file = memfd_create("disk", MFD_CLOEXEC);
	must(fixture->file >= 0 && !ftruncate(fixture->file, FIXTURE_DISK_BYTES));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fixture->file);
	must(!disk_open(path, &options, &fixture->disk, &error));
	must(!loop_new(&fixture->loop));
	must(!disk_queue_new(fixture->loop, 32, &fixture->queue));
}

static inline void fixture_end(struct fixture *fixture)
{
	disk_queue_free(fixture->queue);
	loop_free(fixture->loop);
	disk_close(fixture->disk);
	close(fixture->file);
}

static inline void peer_say(struct peer *peer)
{
	ssize_t n = send(peer->fd, peer->text + peer->said, peer->bytes - peer->said,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		peer->said = peer->bytes; /* the server wants no more */
	peer->said += MAX(n, 0);
	if (peer->said < peer->bytes)
		return;
	shutdown(peer->fd, SHUT_WR);
	loop_source_set_events(peer->source, EPOLLIN);
}

static inline void peer_hear(struct peer *peer)
{
	static uint8_t dropped[64 * KIB];
	uint8_t *to = peer->heard ? peer->heard + peer->heard_bytes : dropped;
	size_t room = peer->heard ? peer->heard_size - peer->heard_bytes : sizeof(dropped);
	ssize_t n = recv(peer->fd, to, room, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	peer->heard_bytes += MAX(n, 0);
	peer->closed |= n <= 0;
	if (peer->closed)
		loop_stop(peer->fixture->loop);
}

static inline void peer_ready(void *ctx, uint32_t events)
{
	struct peer *peer = ctx;

	if (events & EPOLLOUT && peer->said <= peer->bytes)
		peer_say(peer);
	if (events & ~EPOLLOUT)
		peer_hear(peer);
}

static inline void fixture_stopped(void *ctx)
{
	loop_stop(ctx);
}

/* A client connects, sends all of @text, and hears what comes back up to the end. */
static inline void converse(struct fixture *fixture, bool read_only, struct peer *peer)
{
	struct nbd_options options = {.read_only = read_only, .description = "a test"};
	struct nbd_server *server;
	int fds[2];

	peer->fixture = fixture;
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	must(!nbd_server_new(fixture->loop, fixture->queue, fixture->disk, &options, &server));
	must(!nbd_server_connect(server, fds[0]));
	peer->fd = fds[1];
	must(!loop_add_fd(fixture->loop, peer->fd, EPOLLIN | EPOLLOUT, peer_ready, peer,
			  &peer->source));
	must(!loop_run(fixture->loop));
	loop_source_remove(peer->source);
	close(peer->fd);
	nbd_server_stop(server, fixture_stopped, fixture->loop);
	must(!loop_run(fixture->loop));
	must(!nbd_server_clients(server));
	nbd_server_free(server);
}

#endif
