/*
 * loop_thread.c - one thread, one loop
 *
 * The thread does nothing but loop_run(); everything else reaches it as posted work. A call is
 * work on the caller's stack, with a condition variable that says when it has run.
 */
#include "loop_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "log.h"

struct loop_thread {
	struct loop *loop;
	pthread_t thread;
};

static void *serve(void *ctx)
{
	struct loop_thread *thread = ctx;
	int r = loop_run(thread->loop);

	if (r < 0)
		log_error("an event loop's thread ended: error %d", -r);
	return NULL;
}

/* The new thread inherits the mask, so no signal can reach it even at its start. */
static int start(struct loop_thread *thread, const char *name)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread->thread, NULL, serve, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r)
		pthread_setname_np(thread->thread, name);
	return -r;
}

int loop_thread_new(const char *name, struct loop_thread **ret_thread)
{
	struct loop_thread *thread = calloc(1, sizeof(*thread));
	int r;

	if (!thread)
		return -ENOMEM;
	r = loop_new(&thread->loop);
	if (!r) {
		r = start(thread, name);
		if (r < 0)
			loop_free(thread->loop);
	}
	if (r < 0) {
		free(thread);
		return r;
	}
	*ret_thread = thread;
	return 0;
}

struct loop *loop_thread_loop(struct loop_thread *thread)
{
	return thread->loop;
}

struct call {
	struct loop_work work;
	void (*fn)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
};

static void run_call(struct loop_work *work)
{
	struct call *call = container_of(work, struct call, work);

	call->fn(call->ctx);
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

void loop_thread_call(struct loop_thread *thread, void (*fn)(void *ctx), void *ctx)
{
	struct call call = {.work.run = run_call, .fn = fn, .ctx = ctx};

	assert(!pthread_equal(pthread_self(), thread->thread));
	pthread_mutex_init(&call.lock, NULL);
	pthread_cond_init(&call.changed, NULL);
	loop_post(thread->loop, &call.work);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		pthread_cond_wait(&call.changed, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_cond_destroy(&call.changed);
	pthread_mutex_destroy(&call.lock);
}

void loop_thread_free(struct loop_thread *thread)
{
	if (!thread)
		return;
	loop_stop(thread->loop);
	pthread_join(thread->thread, NULL);
	loop_free(thread->loop);
	free(thread);
}
