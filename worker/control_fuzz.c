/*
 * control_fuzz.c - one client against the control socket, and a guest that answers when it likes
 *
 * The input is what the client sends, but for some control characters, which JSON has no use for:
 *
 *   01  the socket is looked at      04  from now on requests to the guest fail, or work again
 *   02  the oldest waiting call ends 05  the client stops sending
 *   03  it ends with an error        06  the guest's services go, or come back
 *   07  a descriptor goes along      08  the client reads its answers
 *
 * Whatever comes, each line that goes back is JSON with "ok", and nothing is left at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_internal.h"
#include "fake_loop.h"
#include "fake_vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUNDS 1000

struct client_end {
	int fd;
	char answers[2 * MIB];
	size_t count;
	bool closed;
};

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_answer(const char *line, size_t length)
{
	json_t *answer = json_loadb(line, length, 0, NULL);

	require(answer && json_is_boolean(json_object_get(answer, "ok")));
	json_decref(answer);
}

static void read_answers(struct client_end *end)
{
	char *line = end->answers, *newline;
	ssize_t n = recv(end->fd, end->answers + end->count, sizeof(end->answers) - end->count,
			 MSG_DONTWAIT);

	end->closed |= !n;
	end->count += MAX(n, 0);
	while ((newline = memchr(line, '\n', end->answers + end->count - line))) {
		check_answer(line, newline - line);
		line = newline + 1;
	}
	end->count -= line - end->answers;
	memmove(end->answers, line, end->count);
	require(end->count < sizeof(end->answers));
}

static void send_descriptor(struct client_end *end)
{
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = {" ", 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);
	static int file = -1;

	if (file < 0)
		file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &file, sizeof(int));
	sendmsg(end->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void finish_one(int result)
{
	if (fake.waiting_count)
		fake_finish(result, "because", 3);
}

/* What does not fit after the loop ran is lost, as if it had not been written. */
static void send_bytes(struct client_end *end, const uint8_t *bytes, size_t count)
{
	for (int i = 0; i < 3 && count; i++) {
		ssize_t n = send(end->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);

		bytes += MAX(n, 0);
		count -= MAX(n, 0);
		if (count) {
			fake_loop_run(ROUNDS);
			read_answers(end);
		}
	}
}

static void act(struct client_end *end, uint8_t byte)
{
	switch (byte) {
	case 1: fake_loop_run(ROUNDS); break;
	case 2: finish_one(0); break;
	case 3: finish_one(-EREMOTEIO); break;
	case 4: fake.result = fake.result ? 0 : -ENOTCONN; break;
	case 5: shutdown(end->fd, SHUT_WR); break;
	case 6: fake.has_services = !fake.has_services; break;
	case 7: send_descriptor(end); break;
	case 8: read_answers(end); break;
	}
	fake.said[0] = 0;
}

static size_t text_length(const uint8_t *data, size_t size)
{
	size_t length = 0;

	while (length < size && (data[length] < 1 || data[length] > 8))
		length++;
	return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct client_end end;
	struct control control = {};
	int fds[2];

	fake_start();
	require(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	require(!client_new(&control, fds[0]));
	end.fd = fds[1];
	end.count = 0;
	end.closed = false;
	for (size_t i = 0; i < size;) {
		size_t length = text_length(data + i, size - i);

		send_bytes(&end, data + i, length);
		i += length;
		if (i < size)
			act(&end, data[i++]);
	}
	/* A client that stops sending and reads on gets everything, and then its end. */
	shutdown(end.fd, SHUT_WR);
	for (size_t i = 0; i < 2 * size + 100 && !end.closed; i++) {
		fake_loop_run(ROUNDS);
		finish_one(0);
		read_answers(&end);
	}
	require(end.closed && !end.count && !control.clients && !control.calls);
	close(end.fd);
	return 0;
}
