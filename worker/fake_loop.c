/*
 * fake_loop.c - loop.h for one descriptor, by poll(2)
 */
#include "fake_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "loop.h"

static struct loop_source {
	int fd;
	uint32_t events;
	void (*ready)(void *ctx, uint32_t events);
	void *ctx;
} only = {.fd = -1};

/* EPOLLIN and its friends have the values of POLLIN and its friends. */
int fake_loop_run(unsigned int rounds)
{
	for (; only.fd >= 0 && rounds; rounds--) {
		struct pollfd poll_fd = {.fd = only.fd, .events = only.events};

		if (poll(&poll_fd, 1, 0) <= 0)
			return 1;
		only.ready(only.ctx, poll_fd.revents);
	}
	return only.fd < 0;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events,
		void (*ready)(void *ctx, uint32_t events), void *ctx,
		struct loop_source **ret_source)
{
	if (only.fd >= 0)
		return -EBUSY;
	only = (struct loop_source){fd, events, ready, ctx};
	*ret_source = &only;
	return 0;
}

int loop_source_set_events(struct loop_source *source, uint32_t events)
{
	source->events = events;
	return 0;
}

void loop_source_remove(struct loop_source *source)
{
	if (source)
		source->fd = -1;
}

int loop_timer_new(struct loop *loop, void (*expired)(void *ctx), void *ctx,
		   struct loop_timer **ret_timer)
{
	return -ENOTSUP;
}

void loop_timer_arm_ns(struct loop_timer *timer, uint64_t deadline_ns)
{
}

void loop_timer_free(struct loop_timer *timer)
{
}

uint64_t monotonic_ns(void)
{
	return 1;
}
