/*
 * loop.h - the event loop of a worker's main thread: file descriptors and timers
 *
 * Everything here is called on the loop's thread, except loop_stop() and loop_post(), which any
 * thread may call, and loop_timer_arm_ns()/loop_timer_cancel(), which any thread may call too (the
 * device that owns the timer holds its own lock). A callback runs on the loop's thread with no lock
 * held; one whose timer another thread cancels at that moment may still come.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdatomic.h>

#include "base.h"

struct loop;
struct loop_source; /* one watched file descriptor */
struct loop_timer;

/* Returns 0, or -errno of epoll_create1/eventfd. The caller frees the loop with loop_free(). */
int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);

/*
 * loop_add_fd() - call @ready(ctx, events) while @fd has any of @events (EPOLLIN, EPOLLOUT)
 * The fd stays the caller's; remove the source before closing it.
 * Returns: 0, or -errno of epoll_ctl (-EPERM: a regular file, always ready: read it directly).
 */
int loop_add_fd(struct loop *loop, int fd, uint32_t events,
		void (*ready)(void *ctx, uint32_t events), void *ctx,
		struct loop_source **ret_source);
int loop_source_set_events(struct loop_source *source, uint32_t events);
void loop_source_remove(struct loop_source *source);

/* One-shot timer against CLOCK_MONOTONIC; created disarmed. */
int loop_timer_new(struct loop *loop, void (*expired)(void *ctx), void *ctx,
		   struct loop_timer **ret_timer);
void loop_timer_arm_ns(struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/*
 * Work that any thread hands to a loop. Embedded in its owner's struct, so handing it over cannot
 * fail; zeroed but for @run before its first use.
 */
struct loop_work {
	void (*run)(struct loop_work *work);
	struct loop_work *next; /* the loop's */
	atomic_bool queued;
};

/*
 * loop_post() - have work->run(work) called once on the loop's thread, soon, in order of posting
 * Work that is queued already stays queued once. It is taken off before it runs, so that it may be
 * posted again (or freed) from its own run(). Any thread; no lock held is taken by the loop.
 */
void loop_post(struct loop *loop, struct loop_work *work);

/* loop_work_cancel() - not queued any more after the return. The loop's thread. */
void loop_work_cancel(struct loop *loop, struct loop_work *work);

/*
 * loop_run() - serve callbacks until loop_stop(); returns 0 or -errno of epoll_wait
 * A loop_stop() before the call makes it return at once; each ends one loop_run().
 */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* CLOCK_MONOTONIC now, in nanoseconds. Any thread. */
uint64_t monotonic_ns(void);

#endif
