/*
 * server.c - the NBD server: its socket, who is let in, the end
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "nbd_internal.h"

#define ACCEPT_RETRY_NS 1000000000ull
#define GRACE_NS	5000000000ull

/* --- clients --- */

int nbd_server_connect(struct nbd_server *server, int fd)
{
	int r = -EUSERS;

	if (server->connection_count < NBD_MAX_CLIENTS && !server->stopped)
		r = connection_new(server, fd);
	if (r < 0)
		close(fd);
	return r;
}

unsigned int nbd_server_clients(const struct nbd_server *server)
{
	return server->connection_count;
}

static void accept_again(void *ctx)
{
	struct nbd_server *server = ctx;

	if (server->source)
		loop_source_set_events(server->source, EPOLLIN);
}

/* Without descriptors the waiting connection stays: look again in a second. */
static void accept_client(void *ctx, uint32_t events)
{
	struct nbd_server *server = ctx;
	int fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	if (fd < 0) {
		log_warning("NBD: %s", strerror(errno));
		loop_source_set_events(server->source, 0);
		loop_timer_arm_ns(server->retry, monotonic_ns() + ACCEPT_RETRY_NS);
		return;
	}
	r = nbd_server_connect(server, fd);
	if (r < 0)
		log_warning("NBD: a client was turned away: %s", strerror(-r));
}

void server_forget(struct nbd_server *server, struct nbd_connection *connection)
{
	struct nbd_connection **link = &server->connections;

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
	server->connection_count--;
	if (server->stopped && !server->connection_count)
		loop_post(server->loop, &server->stop_work);
}

/* --- the end --- */

/* Calls @fn for each; it may free the one it is called for. */
static void for_each_connection(struct nbd_server *server, void (*fn)(struct nbd_connection *))
{
	struct nbd_connection *connection = server->connections, *next;

	for (; connection; connection = next) {
		next = connection->next;
		fn(connection);
	}
}

static void grace_is_over(void *ctx)
{
	for_each_connection(ctx, connection_drop);
}

static void all_is_over(struct loop_work *work)
{
	struct nbd_server *server = container_of(work, struct nbd_server, stop_work);

	server->stopped(server->stopped_ctx);
}

static void stop_listening(struct nbd_server *server)
{
	loop_source_remove(server->source);
	server->source = NULL;
	unix_listener_close(&server->listener);
}

void nbd_server_stop(struct nbd_server *server, void (*stopped)(void *ctx), void *ctx)
{
	server->stopped = stopped;
	server->stopped_ctx = ctx;
	stop_listening(server);
	loop_timer_arm_ns(server->grace, monotonic_ns() + GRACE_NS);
	if (!server->connection_count)
		loop_post(server->loop, &server->stop_work);
	for_each_connection(server, connection_stop);
}

/* --- life --- */

static int listen_at(struct nbd_server *server, const char *path)
{
	int r = unix_listener_open(&server->listener, path);

	if (r < 0)
		return r;
	return loop_add_fd(server->loop, server->listener.fd, EPOLLIN, accept_client, server,
			   &server->source);
}

static int start(struct nbd_server *server, const struct nbd_options *options)
{
	int r = loop_timer_new(server->loop, accept_again, server, &server->retry);

	if (!r)
		r = loop_timer_new(server->loop, grace_is_over, server, &server->grace);
	if (!r && options->description) {
		server->description = strdup(options->description);
		r = server->description ? 0 : -ENOMEM;
	}
	if (!r && options->path)
		r = listen_at(server, options->path);
	return r;
}

int nbd_server_new(struct loop *loop, struct disk_queue *queue, struct disk *disk,
		   const struct nbd_options *options, struct nbd_server **ret_server)
{
	struct nbd_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	*server = (struct nbd_server){
		.loop = loop, .queue = queue, .disk = disk, .stop_work.run = all_is_over};
	disk_get_info(disk, &server->info);
	server->read_only = options->read_only || server->info.read_only;
	r = start(server, options);
	if (r < 0) {
		nbd_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

void nbd_server_free(struct nbd_server *server)
{
	if (!server)
		return;
	assert(!server->connection_count);
	stop_listening(server);
	loop_work_cancel(server->loop, &server->stop_work);
	loop_timer_free(server->retry);
	loop_timer_free(server->grace);
	buffers_free(&server->buffers);
	free(server->description);
	free(server);
}
