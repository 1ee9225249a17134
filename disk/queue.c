/*
 * queue.c - a queue on a loop: its pool of operations, and what comes back from other threads
 *
 * Invariants:
 *   1. Everything but `woken` belongs to the queue's thread. Other threads only add to `woken`,
 * under `lock`, and signal event_fd.
 *   2. done() of an operation or a request runs from queue_dispatch() alone, so nothing that
 * submits is ever re-entered. A dispatch goes on while what it did has led to more: data in the
 * page cache are read and passed on in one disk_queue_kick().
 *   3. An operation is taken from the pool only to be submitted at once, and is never held while
 * its owner waits for something else; so a task that waits for the pool always gets on.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "disk.h"
#include "io.h"
#include "log.h"

#define MAX_DEPTH 4096
/* Rounds of one dispatch; after so many, the loop's other sources have their turn. */
#define MAX_ROUNDS 16

/* --- tasks --- */

static void signal_event(struct disk_queue *queue)
{
	uint64_t one = 1;

	if (write(queue->event_fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: it is signalled more than enough. */
	}
}

void task_wake(struct task *task)
{
	struct disk_queue *queue = task->queue;
	bool first;

	pthread_mutex_lock(&queue->lock);
	first = !queue->woken.first;
	task_list_add(&queue->woken, task);
	/* Under the lock: once the task ran, its queue may go. */
	if (first)
		signal_event(queue);
	pthread_mutex_unlock(&queue->lock);
}

void task_list_wake(struct task_list *list)
{
	struct task *task;

	while ((task = task_list_pop(list)))
		task_wake(task);
}

static void run_woken(struct disk_queue *queue)
{
	struct task_list woken;
	struct task *task;

	pthread_mutex_lock(&queue->lock);
	woken = queue->woken;
	queue->woken.first = NULL;
	pthread_mutex_unlock(&queue->lock);
	while ((task = task_list_pop(&woken)))
		task->resume(task);
}

/* --- operations --- */

struct disk_io *queue_take_io(struct disk_queue *queue)
{
	struct disk_io *io = queue->free_ios;

	if (io)
		queue->free_ios = io->next;
	return io;
}

void queue_wait_io(struct disk_queue *queue, struct task *task)
{
	task_list_add(&queue->pool_waiters, task);
}

void queue_give_io(struct disk_io *io)
{
	struct disk_queue *queue = io->queue;
	struct task *task = task_list_pop(&queue->pool_waiters);

	io->next = queue->free_ios;
	queue->free_ios = io;
	if (task)
		task_wake(task);
}

void queue_submit_io(struct disk_io *io)
{
	io->queue->backend->submit(io->queue, io);
}

void queue_complete_io(struct disk_io *io, int result)
{
	struct disk_queue *queue = io->queue;

	io->result = result;
	io->next = NULL;
	*queue->completed_last = io;
	queue->completed_last = &io->next;
}

void queue_finish_request(struct disk_queue *queue, struct disk_request *request, int result)
{
	request->state[0] = (uint64_t)(int64_t)result;
	request->next = NULL;
	*queue->finished_last = request;
	queue->finished_last = &request->next;
	queue_call_back(queue);
}

/* --- dispatch --- */

void queue_call_back(struct disk_queue *queue)
{
	queue->again = true;
}

static void run_completed(struct disk_queue *queue)
{
	struct disk_io *io = queue->completed, *next;

	queue->completed = NULL;
	queue->completed_last = &queue->completed;
	for (; io; io = next) {
		next = io->next;
		io->done(io, io->result);
	}
}

static void run_finished(struct disk_queue *queue)
{
	struct disk_request *request = queue->finished, *next;

	queue->finished = NULL;
	queue->finished_last = &queue->finished;
	for (; request; request = next) {
		next = request->next;
		request->done(request, (int)(int64_t)request->state[0]);
	}
}

static void dispatch_round(struct disk_queue *queue)
{
	queue->again = false;
	queue->backend->kick(queue);
	queue->backend->reap(queue);
	run_woken(queue);
	run_completed(queue);
	run_finished(queue);
	/* Who was woken for an operation may have found that it needs none. */
	if (queue->free_ios && queue->pool_waiters.first)
		task_wake(task_list_pop(&queue->pool_waiters));
}

void queue_dispatch(struct disk_queue *queue)
{
	unsigned int rounds = 0;

	if (queue->dispatching)
		return; /* a kick by a done(): the next round does it */
	queue->dispatching = true;
	do
		dispatch_round(queue);
	while (queue->again && ++rounds < MAX_ROUNDS);
	queue->dispatching = false;
	if (queue->again)
		signal_event(queue);
}

static void event_ready(void *ctx, uint32_t events)
{
	struct disk_queue *queue = ctx;
	uint64_t count;

	if (read(queue->event_fd, &count, sizeof(count)) < 0) {
		/* EAGAIN: a dispatch took it meanwhile. */
	}
	queue_dispatch(queue);
}

void queue_run_until(struct disk_queue *queue, const bool *done)
{
	struct pollfd event = {.fd = queue->event_fd, .events = POLLIN};

	queue_dispatch(queue);
	while (!*done) {
		if (poll(&event, 1, -1) > 0)
			event_ready(queue, 0);
	}
}

/* --- life --- */

static int queue_make_pool(struct disk_queue *queue, unsigned int depth)
{
	queue->pool = calloc(depth, sizeof(*queue->pool));
	if (!queue->pool)
		return -ENOMEM;
	for (unsigned int i = depth; i-- > 0;) {
		queue->pool[i].queue = queue;
		queue->pool[i].next = queue->free_ios;
		queue->free_ios = &queue->pool[i];
	}
	return 0;
}

static int queue_start_backend(struct disk_queue *queue, unsigned int depth,
			       const struct queue_backend *backend)
{
	int r;

	queue->backend = backend;
	if (backend->bytes) {
		queue->backend_state = calloc(1, backend->bytes);
		if (!queue->backend_state)
			return -ENOMEM;
	}
	r = backend->start(queue, depth);
	if (r < 0) {
		free(queue->backend_state);
		queue->backend_state = NULL;
		queue->backend = NULL;
	}
	return r;
}

static int queue_start(struct disk_queue *queue, unsigned int depth,
		       const struct queue_backend *backend)
{
	int r = queue_make_pool(queue, depth);

	if (r < 0)
		return r;
	queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->event_fd < 0)
		return -errno;
	if (queue->loop) {
		r = loop_add_fd(queue->loop, queue->event_fd, EPOLLIN, event_ready, queue,
				&queue->event_source);
		if (r < 0)
			return r;
	}
	return queue_start_backend(queue, depth, backend);
}

int queue_new(struct loop *loop, unsigned int depth, const struct queue_backend *backend,
	      struct disk_queue **ret_queue)
{
	struct disk_queue *queue;
	int r;

	if (depth < 1 || depth > MAX_DEPTH)
		return -EINVAL;
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	queue->loop = loop;
	queue->event_fd = -1;
	queue->completed_last = &queue->completed;
	queue->finished_last = &queue->finished;
	pthread_mutex_init(&queue->lock, NULL);
	r = queue_start(queue, depth, backend);
	if (r < 0) {
		disk_queue_free(queue);
		return r;
	}
	*ret_queue = queue;
	return 0;
}

int disk_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue)
{
	int r = queue_new(loop, depth, &uring_backend, ret_queue);

	/* EPERM, ENOSYS: a sandbox or sysctl denies it; ENOMEM: the locked memory limit. */
	if (r == -EPERM || r == -EACCES || r == -ENOSYS || r == -ENOMEM)
		r = queue_new(loop, depth, &threads_backend, ret_queue);
	return r;
}

void disk_queue_free(struct disk_queue *queue)
{
	if (!queue)
		return;
	if (queue->backend)
		queue->backend->stop(queue);
	if (queue->event_source)
		loop_source_remove(queue->event_source);
	if (queue->event_fd >= 0)
		close(queue->event_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue->backend_state);
	free(queue->pool);
	free(queue);
}

void disk_queue_kick(struct disk_queue *queue)
{
	queue_dispatch(queue);
}
