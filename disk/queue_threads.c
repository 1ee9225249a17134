/*
 * queue_threads.c - a queue's operations by a few threads, where io_uring is denied
 */
#include <errno.h>
#include <signal.h>

#include "io.h"

#define THREADS 4

struct threads_state {
	pthread_t threads[THREADS];
	unsigned int count;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool stop;
	/* Under the lock: */
	struct disk_io *todo, **todo_last;
	struct disk_io *done, **done_last;
	struct disk_queue *queue;
	struct task wake; /* makes the queue reap; queued while `waking` */
	bool waking;
};

static void list_add(struct disk_io ***last, struct disk_io *io)
{
	io->next = NULL;
	**last = io;
	*last = &io->next;
}

static struct disk_io *take_todo(struct threads_state *state)
{
	struct disk_io *io;

	while (!state->todo && !state->stop)
		pthread_cond_wait(&state->work, &state->lock);
	io = state->todo;
	if (io) {
		state->todo = io->next;
		if (!state->todo)
			state->todo_last = &state->todo;
	}
	return io;
}

static void *worker(void *ctx)
{
	struct threads_state *state = ctx;
	struct disk_io *io;

	pthread_mutex_lock(&state->lock);
	while ((io = take_todo(state))) {
		pthread_mutex_unlock(&state->lock);
		io->result = io_perform(io);
		pthread_mutex_lock(&state->lock);
		list_add(&state->done_last, io);
		if (!state->waking) {
			state->waking = true;
			task_wake(&state->wake);
		}
	}
	pthread_mutex_unlock(&state->lock);
	return NULL;
}

static void threads_reap(struct disk_queue *queue)
{
	struct threads_state *state = queue->backend_state;
	struct disk_io *io, *next;

	pthread_mutex_lock(&state->lock);
	io = state->done;
	state->done = NULL;
	state->done_last = &state->done;
	pthread_mutex_unlock(&state->lock);
	for (; io; io = next) {
		next = io->next;
		queue_complete_io(io, io->result);
	}
}

static void woken(struct task *task)
{
	struct threads_state *state = container_of(task, struct threads_state, wake);

	pthread_mutex_lock(&state->lock);
	state->waking = false;
	pthread_mutex_unlock(&state->lock);
	threads_reap(state->queue);
}

static void threads_stop(struct disk_queue *queue)
{
	struct threads_state *state = queue->backend_state;

	pthread_mutex_lock(&state->lock);
	state->stop = true;
	pthread_cond_broadcast(&state->work);
	pthread_mutex_unlock(&state->lock);
	for (unsigned int i = 0; i < state->count; i++)
		pthread_join(state->threads[i], NULL);
	pthread_cond_destroy(&state->work);
	pthread_mutex_destroy(&state->lock);
}

/* Signals are for the threads that expect them. */
static int start_thread(struct threads_state *state)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&state->threads[state->count], NULL, worker, state);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!r)
		state->count++;
	return -r;
}

static int threads_start(struct disk_queue *queue, unsigned int depth)
{
	struct threads_state *state = queue->backend_state;
	int r = 0;

	pthread_mutex_init(&state->lock, NULL);
	pthread_cond_init(&state->work, NULL);
	state->todo_last = &state->todo;
	state->done_last = &state->done;
	state->queue = queue;
	state->wake = (struct task){.queue = queue, .resume = woken};
	while (state->count < MIN(THREADS, depth) && !r)
		r = start_thread(state);
	if (state->count)
		return 0; /* fewer do as well */
	threads_stop(queue);
	return r;
}

static void threads_submit(struct disk_queue *queue, struct disk_io *io)
{
	struct threads_state *state = queue->backend_state;

	pthread_mutex_lock(&state->lock);
	list_add(&state->todo_last, io);
	pthread_cond_signal(&state->work);
	pthread_mutex_unlock(&state->lock);
}

static void threads_kick(struct disk_queue *queue)
{
}

const struct queue_backend threads_backend = {.name = "threads",
					      .bytes = sizeof(struct threads_state),
					      .start = threads_start,
					      .submit = threads_submit,
					      .kick = threads_kick,
					      .reap = threads_reap,
					      .stop = threads_stop};
