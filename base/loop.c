/*
 * loop.c - epoll, one eventfd to stop it, one for posted work and one timerfd for all timers
 *
 * Invariants:
 *   1. epoll_wait() hands out one event at a time, so a callback may remove any source, its own
 *      included, without leaving a stale pointer in a batch.
 *   2. Timers stand in one unsorted list under timer_lock; the timerfd is armed for the earliest.
 *      A machine has a handful of timers, so walking the list beats a heap.
 *   3. A timer is disarmed before its callback runs, and the callback runs without timer_lock:
 *      a timer cancelled by another thread at that moment may still call back once. Devices check
 *      their own deadline under their own lock.
 *   4. Posted work stands in one list under work_lock, which is held only to link and unlink. The
 *      eventfd is readable while the list is not empty; only the post that finds the list empty
 *      writes it.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct loop_source {
	struct loop *loop;
	int fd;
	void (*ready)(void *ctx, uint32_t events);
	void *ctx;
};

struct loop_timer {
	struct loop *loop;
	struct loop_timer *next;
	void (*expired)(void *ctx);
	void *ctx;
	uint64_t deadline_ns; /* 0: disarmed */
};

struct loop {
	int epoll_fd, stop_fd, timer_fd, work_fd;
	struct loop_source *stop_source, *timer_source, *work_source;
	atomic_bool stopped;
	pthread_mutex_t work_lock;
	struct loop_work *work, **work_end;
	size_t work_count;
	pthread_mutex_t timer_lock;
	struct loop_timer *timers;
};

uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void drain(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0) {
		/* EAGAIN: somebody re-armed it meanwhile. */
	}
}

/* --- file descriptors --- */

int loop_add_fd(struct loop *loop, int fd, uint32_t events,
		void (*ready)(void *ctx, uint32_t events), void *ctx,
		struct loop_source **ret_source)
{
	struct loop_source *source = malloc(sizeof(*source));
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (!source)
		return -ENOMEM;
	*source = (struct loop_source){.loop = loop, .fd = fd, .ready = ready, .ctx = ctx};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int r = -errno;

		free(source);
		return r;
	}
	*ret_source = source;
	return 0;
}

int loop_source_set_events(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno
											: 0;
}

void loop_source_remove(struct loop_source *source)
{
	if (!source)
		return;
	epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	free(source);
}

/* --- timers --- */

/* Called with timer_lock held. */
static void program_timer_fd(struct loop *loop)
{
	struct itimerspec when = {};
	uint64_t earliest = 0;

	for (struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
		if (timer->deadline_ns && (!earliest || timer->deadline_ns < earliest))
			earliest = timer->deadline_ns;
	}
	when.it_value.tv_sec = earliest / 1000000000;
	when.it_value.tv_nsec = earliest % 1000000000;
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void set_deadline(struct loop_timer *timer, uint64_t deadline_ns)
{
	pthread_mutex_lock(&timer->loop->timer_lock);
	timer->deadline_ns = deadline_ns;
	program_timer_fd(timer->loop);
	pthread_mutex_unlock(&timer->loop->timer_lock);
}

int loop_timer_new(struct loop *loop, void (*expired)(void *ctx), void *ctx,
		   struct loop_timer **ret_timer)
{
	struct loop_timer *timer = malloc(sizeof(*timer));

	if (!timer)
		return -ENOMEM;
	*timer = (struct loop_timer){.loop = loop, .expired = expired, .ctx = ctx};
	pthread_mutex_lock(&loop->timer_lock);
	timer->next = loop->timers;
	loop->timers = timer;
	pthread_mutex_unlock(&loop->timer_lock);
	*ret_timer = timer;
	return 0;
}

void loop_timer_arm_ns(struct loop_timer *timer, uint64_t deadline_ns)
{
	/* 0 means disarmed here; a deadline in the far past is as good as one. */
	set_deadline(timer, MAX(deadline_ns, 1));
}

void loop_timer_cancel(struct loop_timer *timer)
{
	set_deadline(timer, 0);
}

void loop_timer_free(struct loop_timer *timer)
{
	struct loop_timer **link;

	if (!timer)
		return;
	pthread_mutex_lock(&timer->loop->timer_lock);
	for (link = &timer->loop->timers; *link != timer; link = &(*link)->next)
		;
	*link = timer->next;
	program_timer_fd(timer->loop);
	pthread_mutex_unlock(&timer->loop->timer_lock);
	free(timer);
}

/* The earliest timer that is due, disarmed; NULL when none is. */
static struct loop_timer *take_due_timer(struct loop *loop)
{
	uint64_t now = monotonic_ns();
	struct loop_timer *due = NULL;

	pthread_mutex_lock(&loop->timer_lock);
	for (struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
		if (timer->deadline_ns && timer->deadline_ns <= now &&
		    (!due || timer->deadline_ns < due->deadline_ns))
			due = timer;
	}
	if (due)
		due->deadline_ns = 0;
	program_timer_fd(loop);
	pthread_mutex_unlock(&loop->timer_lock);
	return due;
}

/* One timer a call, so that a timer which re-arms itself at once cannot starve the sources. */
static void timer_fd_ready(void *ctx, uint32_t events)
{
	struct loop *loop = ctx;
	struct loop_timer *due;

	drain(loop->timer_fd);
	due = take_due_timer(loop);
	if (due)
		due->expired(due->ctx);
}

/* --- posted work --- */

static void wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: the counter is full, so the loop wakes anyway. */
	}
}

void loop_post(struct loop *loop, struct loop_work *work)
{
	bool was_empty;

	pthread_mutex_lock(&loop->work_lock);
	was_empty = !loop->work;
	if (!work->queued) {
		work->queued = true;
		work->next = NULL;
		*loop->work_end = work;
		loop->work_end = &work->next;
		loop->work_count++;
	}
	pthread_mutex_unlock(&loop->work_lock);
	if (was_empty)
		wake(loop->work_fd);
}

/* Called with work_lock held. */
static void unlink_work(struct loop *loop, struct loop_work **link)
{
	struct loop_work *work = *link;

	*link = work->next;
	if (!work->next)
		loop->work_end = link;
	loop->work_count--;
	work->queued = false;
}

void loop_work_cancel(struct loop *loop, struct loop_work *work)
{
	struct loop_work **link;

	pthread_mutex_lock(&loop->work_lock);
	for (link = &loop->work; *link && *link != work; link = &(*link)->next)
		;
	if (*link)
		unlink_work(loop, link);
	pthread_mutex_unlock(&loop->work_lock);
}

static struct loop_work *take_work(struct loop *loop)
{
	struct loop_work *work;

	pthread_mutex_lock(&loop->work_lock);
	work = loop->work;
	if (work)
		unlink_work(loop, &loop->work);
	pthread_mutex_unlock(&loop->work_lock);
	return work;
}

static size_t queued_work(struct loop *loop)
{
	size_t count;

	pthread_mutex_lock(&loop->work_lock);
	count = loop->work_count;
	pthread_mutex_unlock(&loop->work_lock);
	return count;
}

/* What is queued at the start, so that work which posts itself again cannot starve the sources. */
static void work_fd_ready(void *ctx, uint32_t events)
{
	struct loop *loop = ctx;
	struct loop_work *work;

	drain(loop->work_fd);
	for (size_t left = queued_work(loop); left && !loop->stopped; left--) {
		work = take_work(loop);
		if (!work)
			break;
		work->run(work);
	}
	if (queued_work(loop))
		wake(loop->work_fd);
}

/* --- the loop --- */

static void stop_fd_ready(void *ctx, uint32_t events)
{
	struct loop *loop = ctx;

	drain(loop->stop_fd);
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
	wake(loop->stop_fd);
}

int loop_run(struct loop *loop)
{
	struct epoll_event event;

	while (!atomic_exchange(&loop->stopped, false)) {
		int count = epoll_wait(loop->epoll_fd, &event, 1, -1);
		struct loop_source *source;

		if (count < 0 && errno != EINTR)
			return -errno;
		if (count <= 0)
			continue;
		source = event.data.ptr;
		source->ready(source->ctx, event.events);
	}
	return 0;
}

static int open_descriptors(struct loop *loop)
{
	int r;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->stop_fd < 0 || loop->timer_fd < 0 || loop->work_fd < 0)
		return -errno;
	r = loop_add_fd(loop, loop->stop_fd, EPOLLIN, stop_fd_ready, loop, &loop->stop_source);
	if (r < 0)
		return r;
	r = loop_add_fd(loop, loop->timer_fd, EPOLLIN, timer_fd_ready, loop, &loop->timer_source);
	if (r < 0)
		return r;
	return loop_add_fd(loop, loop->work_fd, EPOLLIN, work_fd_ready, loop, &loop->work_source);
}

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->timer_lock, NULL);
	pthread_mutex_init(&loop->work_lock, NULL);
	loop->work_end = &loop->work;
	r = open_descriptors(loop);
	if (r < 0) {
		loop_free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->timers);
	loop_source_remove(loop->stop_source);
	loop_source_remove(loop->timer_source);
	loop_source_remove(loop->work_source);
	if (loop->work_fd >= 0)
		close(loop->work_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->stop_fd >= 0)
		close(loop->stop_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->work_lock);
	pthread_mutex_destroy(&loop->timer_lock);
	free(loop);
}
