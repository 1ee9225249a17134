/*
 * client.c - one connection to the control socket
 *
 * Everything is bounded by not reading: no request is taken while MAX_CALLS of the client's wait
 * for the guest or OUTPUT_PAUSE_BYTES wait for the client, and no bytes are read while a request
 * that came is not taken. The kernel's socket buffer then fills, and the client waits in its own
 * write(2).
 *
 * A client that has only stopped sending gets its answers; one that closed its socket is gone, and
 * so is one whose answers cannot be written. What it sent before is done all the same, but for what
 * would have waited for its turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control_internal.h"

#define FIRST_OUTPUT_BYTES 4096

static void close_passed_fd(struct client *client)
{
	if (client->passed_fd >= 0)
		close(client->passed_fd);
	client->passed_fd = -1;
}

static size_t output_waiting(const struct client *client)
{
	return client->output_end - client->output_start;
}

static bool may_take(const struct client *client)
{
	return !client->broken && client->call_count < MAX_CALLS &&
	       output_waiting(client) <= OUTPUT_PAUSE_BYTES;
}

/* --- output --- */

static int make_room(struct client *client, size_t bytes)
{
	size_t waiting = output_waiting(client), size = client->output_size ?: FIRST_OUTPUT_BYTES;
	char *output;

	if (waiting + bytes > MAX_OUTPUT_BYTES)
		return -ENOBUFS;
	if (waiting)
		memmove(client->output, client->output + client->output_start, waiting);
	client->output_start = 0;
	client->output_end = waiting;
	while (size < waiting + bytes)
		size *= 2;
	if (size == client->output_size)
		return 0;
	output = realloc(client->output, size);
	if (!output)
		return -ENOMEM;
	client->output = output;
	client->output_size = size;
	return 0;
}

void client_write(struct client *client, const char *line, size_t length)
{
	if (client->broken || make_room(client, length + 1) < 0) {
		client->broken = true;
		return;
	}
	memcpy(client->output + client->output_end, line, length);
	client->output_end += length;
	client->output[client->output_end++] = '\n';
}

static void send_output(struct client *client)
{
	while (!client->broken && output_waiting(client)) {
		ssize_t n = send(client->fd, client->output + client->output_start,
				 output_waiting(client), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			client->output_start += n;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			client->broken = true;
	}
}

/* --- input --- */

/* Only of a regular file: reading one ends, and none can keep this very connection alive. */
static void take_descriptor(struct client *client, int fd)
{
	struct stat status;

	close_passed_fd(client);
	client->passed_fd = fd;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		close_passed_fd(client);
}

/* Keeps the newest descriptor: one that no request took is closed when the next one comes. */
static void take_descriptors(struct client *client, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
	     part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
			take_descriptor(client, fd);
		}
	}
}

static void read_input(struct client *client)
{
	/* Room for one descriptor; padding lets a second one in, and the kernel drops the others.
	 */
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t n;

	iov.iov_base = lines_room(&client->input, &iov.iov_len);
	n = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		client->broken = errno != EAGAIN && errno != EINTR;
		return;
	}
	take_descriptors(client, &message);
	if (n)
		lines_filled(&client->input, n);
	else
		client->ended = true;
}

/* --- serving --- */

static void take_lines(struct client *client)
{
	const char *line;
	size_t length;
	int r = 0;

	while (may_take(client) && r != -EAGAIN) {
		r = lines_next(&client->input, &line, &length);
		if (!r)
			call_begin(client, line, length);
		else if (r == -EMSGSIZE)
			call_refuse(client, "too-large", "a request is at most 64 KiB long");
	}
}

static bool is_finished(const struct client *client)
{
	return client->broken || (client->ended && !client->call_count && !output_waiting(client) &&
				  !lines_ready(&client->input));
}

static void update_events(struct client *client)
{
	bool reads = !client->ended && may_take(client) && !lines_ready(&client->input);

	loop_source_set_events(client->source,
			       (reads ? EPOLLIN : 0) | (output_waiting(client) ? EPOLLOUT : 0));
}

void client_serve(struct client *client)
{
	if (client->serving)
		return;
	client->serving = true;
	do {
		take_lines(client);
		send_output(client);
	} while (may_take(client) && lines_ready(&client->input));
	client->serving = false;
	if (is_finished(client))
		client_free(client);
	else
		update_events(client);
}

/* A hang-up comes unasked for: it counts once there is nothing to read any more. */
static void client_ready(void *ctx, uint32_t events)
{
	struct client *client = ctx;

	if (events & EPOLLIN)
		read_input(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		client->broken = true;
	client_serve(client);
}

int client_new(struct control *control, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	client->control = control;
	client->fd = fd;
	client->passed_fd = -1;
	r = loop_add_fd(control->loop, fd, EPOLLIN, client_ready, client, &client->source);
	if (r < 0) {
		free(client);
		return r;
	}
	client->next = control->clients;
	control->clients = client;
	control->client_count++;
	return 0;
}

void client_free(struct client *client)
{
	struct control *control = client->control;
	struct client **link = &control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	control->client_count--;
	calls_forget(control, client);
	loop_source_remove(client->source);
	close_passed_fd(client);
	close(client->fd);
	free(client->output);
	free(client);
}
