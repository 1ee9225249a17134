/*
 * control.c - the control socket itself: who may listen at the path, who is let in
 *
 * The kernel lets in the user whose machine it is, and root, and nobody else: unix_listener.h.
 */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_internal.h"
#include "log.h"

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
	int fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
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

int control_new(struct loop *loop, const char *path, struct vm *vm, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	*control = (struct control){.loop = loop, .vm = vm};
	r = unix_listener_open(&control->listener, path);
	if (!r)
		r = loop_timer_new(loop, accept_again, control, &control->retry);
	if (!r)
		r = loop_add_fd(loop, control->listener.fd, EPOLLIN, accept_client, control,
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
	unix_listener_close(&control->listener);
	free(control);
}
