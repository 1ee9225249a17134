/*
 * connection.c - one client: its bytes in and out, how much may be under way
 *
 * Everything is bounded by not reading: nothing is taken while the client has NBD_MAX_REQUESTS
 * slots or NBD_MAX_PAYLOAD of buffers in use, and a slot is in use until its reply was sent. A
 * client that does not read its replies fills the kernel's socket buffer and its slots, and then
 * waits in its own write(2).
 *
 * A client that has only stopped sending gets its replies. One that hung up, or cannot be written
 * to, is broken: its requests at the disk end by themselves, and then it is forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "nbd_internal.h"

#define MAX_SENT_REPLIES 32 /* with one call */

static void serve(struct nbd_connection *connection);

/* --- slots --- */

struct nbd_slot *connection_take_slot(struct nbd_connection *connection, size_t bytes)
{
	struct nbd_slot *slot = connection->free_slots;
	size_t size = buffer_size(bytes);
	uint8_t *buffer = NULL;

	connection->stalled = !slot || connection->buffer_bytes + size > NBD_MAX_PAYLOAD;
	if (connection->stalled)
		return NULL;
	if (bytes) {
		buffer = buffer_get(&connection->server->buffers, bytes);
		if (!buffer) {
			log_warning("NBD: no memory for a request: its client is dropped");
			connection_fail(connection);
			return NULL;
		}
	}
	connection->free_slots = slot->next;
	connection->buffer_bytes += size;
	*slot = (struct nbd_slot){.connection = connection, .buffer = buffer, .bytes = bytes};
	return slot;
}

static void give_slot(struct nbd_slot *slot)
{
	struct nbd_connection *connection = slot->connection;

	buffer_put(&connection->server->buffers, slot->buffer, slot->bytes);
	connection->buffer_bytes -= buffer_size(slot->bytes);
	slot->buffer = NULL;
	slot->next = connection->free_slots;
	connection->free_slots = slot;
}

static void pop_reply(struct nbd_connection *connection)
{
	struct nbd_slot *slot = connection->replies;

	connection->replies = slot->next;
	if (!connection->replies)
		connection->replies_end = &connection->replies;
	connection->sent = 0;
	give_slot(slot);
}

/* Replies of requests that the disk calls back together are sent together. */
void connection_reply(struct nbd_slot *slot)
{
	struct nbd_connection *connection = slot->connection;

	slot->next = NULL;
	*connection->replies_end = slot;
	connection->replies_end = &slot->next;
	if (connection->serving)
		return;
	if (connection->in_flight)
		loop_post(connection->server->loop, &connection->work);
	else
		serve(connection);
}

/* --- life --- */

static void forget_filling(struct nbd_connection *connection)
{
	if (connection->filling)
		give_slot(connection->filling);
	connection->filling = NULL;
}

static void drop_output(struct nbd_connection *connection)
{
	connection->output_bytes = 0;
	while (connection->replies)
		pop_reply(connection);
}

void connection_fail(struct nbd_connection *connection)
{
	connection->broken = true;
	connection->phase = NBD_END;
	loop_source_remove(connection->source);
	connection->source = NULL;
}

static void connection_free(struct nbd_connection *connection)
{
	struct nbd_server *server = connection->server;

	forget_filling(connection);
	drop_output(connection);
	loop_work_cancel(server->loop, &connection->work);
	loop_source_remove(connection->source);
	close(connection->fd);
	server_forget(server, connection);
	free(connection);
}

/* --- output --- */

static size_t add_vector(struct iovec *iov, const void *bytes, size_t count, size_t *skip)
{
	size_t skipped = MIN(*skip, count);

	*skip -= skipped;
	if (skipped == count)
		return 0;
	*iov = (struct iovec){(uint8_t *)bytes + skipped, count - skipped};
	return 1;
}

static size_t gather(struct nbd_connection *connection, struct iovec *iov)
{
	size_t count = 0, skip = 0, slots = 0;

	count += add_vector(iov, connection->output, connection->output_bytes, &skip);
	skip = connection->sent;
	for (struct nbd_slot *slot = connection->replies; slot && slots < MAX_SENT_REPLIES;
	     slot = slot->next, slots++) {
		count += add_vector(&iov[count], slot->head, slot->head_bytes, &skip);
		count += add_vector(&iov[count], slot->tail, slot->tail_bytes, &skip);
	}
	return count;
}

static void was_sent(struct nbd_connection *connection, size_t bytes)
{
	size_t part = MIN(bytes, connection->output_bytes);

	connection->output_bytes -= part;
	memmove(connection->output, connection->output + part, connection->output_bytes);
	connection->sent += bytes - part;
	while (connection->replies) {
		size_t whole = connection->replies->head_bytes + connection->replies->tail_bytes;
		size_t rest = connection->sent - whole;

		if (connection->sent < whole)
			return;
		pop_reply(connection);
		connection->sent = rest;
	}
}

static bool has_output(const struct nbd_connection *connection)
{
	return connection->output_bytes || connection->replies;
}

static void send_output(struct nbd_connection *connection)
{
	struct iovec iov[1 + 2 * MAX_SENT_REPLIES];

	while (!connection->broken && has_output(connection)) {
		struct msghdr message = {.msg_iov = iov};
		ssize_t n;

		message.msg_iovlen = gather(connection, iov);
		n = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			was_sent(connection, n);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			connection_fail(connection);
	}
}

/* --- input --- */

static bool may_read(const struct nbd_connection *connection)
{
	return connection->phase != NBD_END && !connection->ended && !connection->stalled;
}

static void make_room(struct nbd_connection *connection)
{
	size_t left = connection_input(connection);

	memmove(connection->input, connection->input + connection->input_start, left);
	connection->input_start = 0;
	connection->input_end = left;
}

/* The data of a write straight to where they belong, what follows into the input. */
static void read_input(struct nbd_connection *connection)
{
	struct nbd_slot *slot = connection->filling;
	struct iovec iov[2];
	size_t wanted = slot ? slot->bytes - connection->filled : 0;
	ssize_t n;

	make_room(connection);
	iov[0] = (struct iovec){slot ? slot->buffer + connection->filled : NULL, wanted};
	iov[1] = (struct iovec){connection->input + connection->input_end,
				sizeof(connection->input) - connection->input_end};
	n = recvmsg(connection->fd, &(struct msghdr){.msg_iov = iov, .msg_iovlen = 2},
		    MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			connection_fail(connection);
		return;
	}
	if (!n)
		connection->ended = true;
	wanted = MIN(wanted, (size_t)n);
	connection->filled += wanted;
	connection->input_end += n - wanted;
}

static void skip_input(struct nbd_connection *connection)
{
	uint64_t part = MIN(connection->skip, connection_input(connection));

	connection->skip -= part;
	connection->input_start += part;
}

static void fill_from_input(struct nbd_connection *connection)
{
	struct nbd_slot *slot = connection->filling;
	size_t part;

	if (!slot)
		return;
	part = MIN(slot->bytes - connection->filled, connection_input(connection));
	if (part)
		memcpy(slot->buffer + connection->filled,
		       connection->input + connection->input_start, part);
	connection->input_start += part;
	connection->filled += part;
	if (connection->filled < slot->bytes)
		return;
	connection->filling = NULL;
	command_filled(slot);
}

static bool take_one(struct nbd_connection *connection)
{
	skip_input(connection);
	fill_from_input(connection);
	if (connection->skip || connection->filling)
		return false;
	switch (connection->phase) {
	case NBD_CLIENT_FLAGS:
	case NBD_OPTIONS: return handshake_take(connection);
	case NBD_TRANSMISSION: return command_take(connection);
	case NBD_END: break;
	}
	return false;
}

/* --- serving --- */

static bool is_finished(const struct nbd_connection *connection)
{
	if (connection->in_flight)
		return false;
	if (connection->broken)
		return true;
	return (connection->phase == NBD_END || (connection->ended && !connection->stalled)) &&
	       !has_output(connection);
}

static void update_events(struct nbd_connection *connection)
{
	uint32_t events =
		(may_read(connection) ? EPOLLIN : 0) | (has_output(connection) ? EPOLLOUT : 0);

	if (!connection->source || events == connection->events)
		return;
	loop_source_set_events(connection->source, events);
	connection->events = events;
}

static void serve(struct nbd_connection *connection)
{
	size_t slots_taken;

	connection->serving = true;
	do {
		connection->stalled = false;
		while (take_one(connection))
			;
		disk_queue_kick(connection->server->queue);
		slots_taken = has_output(connection);
		send_output(connection);
	} while (connection->stalled && slots_taken && !has_output(connection));
	if (connection->broken)
		drop_output(connection);
	connection->serving = false;
	if (is_finished(connection))
		connection_free(connection);
	else
		update_events(connection);
}

static void connection_work(struct loop_work *work)
{
	serve(container_of(work, struct nbd_connection, work));
}

/* A hang-up comes unasked for: it counts once there is nothing to read any more. */
static void connection_ready(void *ctx, uint32_t events)
{
	struct nbd_connection *connection = ctx;

	if (events & EPOLLIN && may_read(connection))
		read_input(connection);
	else if (events & (EPOLLHUP | EPOLLERR))
		connection_fail(connection);
	serve(connection);
}

int connection_new(struct nbd_server *server, int fd)
{
	struct nbd_connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection)
		return -ENOMEM;
	connection->server = server;
	connection->fd = fd;
	connection->work.run = connection_work;
	connection->replies_end = &connection->replies;
	connection->events = EPOLLIN | EPOLLOUT;
	for (size_t i = NBD_MAX_REQUESTS; i-- > 0;) {
		connection->slots[i].next = connection->free_slots;
		connection->free_slots = &connection->slots[i];
	}
	r = loop_add_fd(server->loop, fd, connection->events, connection_ready, connection,
			&connection->source);
	if (r < 0) {
		free(connection);
		return r;
	}
	handshake_greet(connection);
	connection->next = server->connections;
	server->connections = connection;
	server->connection_count++;
	return 0;
}

/* By the loop: what serving one client calls back may free another. */
void connection_stop(struct nbd_connection *connection)
{
	connection->phase = NBD_END;
	forget_filling(connection);
	loop_post(connection->server->loop, &connection->work);
}

void connection_drop(struct nbd_connection *connection)
{
	connection_fail(connection);
	loop_post(connection->server->loop, &connection->work);
}
