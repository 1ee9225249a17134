/*
 * io.h - one operation on a host file, and the queues that perform such operations
 *
 * A queue has a fixed pool of operations. Who wants one takes it, fills it and submits it; its
 * done() runs from queue_dispatch(): on the queue's loop, in disk_queue_kick() or queue_run_until();
 * never from within queue_submit_io(). Who finds the pool empty waits as a task.
 */
#ifndef DISK_IO_H
#define DISK_IO_H

#include <pthread.h>
#include <sys/uio.h>

#include "loop.h"

struct disk_queue;

/* --- operations --- */

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_SYNC,    /* fdatasync */
	IO_ALLOCATE /* fallocate with .mode over .offset, .bytes */
};

#define IO_OWN_IOVECS 32

struct disk_io {
	enum io_kind kind;
	int fd;
	int mode; /* of IO_ALLOCATE; flags of pwritev2 for IO_WRITE */
	uint64_t offset, bytes;
	const struct iovec *iov; /* the owner's, or own_iov */
	int iov_count;
	/* Bytes moved, or -errno. Reads and writes may come back short. May submit the io again. */
	void (*done)(struct disk_io *io, int result);

	/* The owner's. */
	void *owner, *pinned;
	uint64_t at, moved; /* offset in the owner's bytes; how many of .bytes are through */
	uint64_t fill_from; /* reads: the file's end, beyond which zeros are read */

	/* The queue's. */
	struct disk_queue *queue;
	struct disk_io *next;
	int result;
	struct iovec own_iov[IO_OWN_IOVECS];
};

/* io_perform() - do it here and now; bytes or -errno. */
int io_perform(struct disk_io *io);

/* Whole transfers outside any queue: 0 or -errno; a read past the end is -ENODATA. */
int file_read(int fd, uint64_t offset, void *bytes, size_t count);
int file_write(int fd, uint64_t offset, const void *bytes, size_t count);
int file_sync(int fd);
/* Make a range inside the file read as zeros, without space where the file system can. */
int file_zero(int fd, uint64_t offset, uint64_t count);

/*
 * For tests: while set, called instead of io_perform() by file_write(), file_sync(),
 * file_zero() and the synchronous queue. It may call io_perform().
 */
extern int (*io_test_hook)(struct disk_io *io);

/* --- tasks: what can wait for something --- */

struct task {
	struct task *next;
	struct disk_queue *queue;
	void (*resume)(struct task *task); /* on the queue's thread */
	int error;			   /* what it waited for failed: set by who wakes it */
};

/* First in, first out. The owner's lock guards it. */
struct task_list {
	struct task *first, **last;
};

static inline void task_list_add(struct task_list *list, struct task *task)
{
	if (!list->first)
		list->last = &list->first;
	task->next = NULL;
	*list->last = task;
	list->last = &task->next;
}

static inline struct task *task_list_pop(struct task_list *list)
{
	struct task *task = list->first;

	if (task)
		list->first = task->next;
	return task;
}

/* Appends all of @from to @list; @from is empty then. */
static inline void task_list_move(struct task_list *list, struct task_list *from)
{
	struct task *task;

	while ((task = task_list_pop(from)))
		task_list_add(list, task);
}

/* Any thread: each task resumes soon, on its own queue's thread. The list is empty then. */
void task_list_wake(struct task_list *list);
void task_wake(struct task *task);

/* --- queues --- */

/* How a queue's operations get performed. Everything on the queue's thread. */
struct queue_backend {
	const char *name;
	size_t bytes; /* of its state, zeroed */
	int (*start)(struct disk_queue *queue, unsigned int depth);
	void (*submit)(struct disk_queue *queue, struct disk_io *io);
	void (*kick)(struct disk_queue *queue);
	void (*reap)(struct disk_queue *queue); /* queue_complete_io() what is done */
	void (*stop)(struct disk_queue *queue);
};
extern const struct queue_backend uring_backend, threads_backend, inline_backend;

struct disk_queue {
	struct loop *loop; /* NULL: a synchronous queue */
	const struct queue_backend *backend;
	void *backend_state;
	struct loop_source *event_source, *backend_source;
	int event_fd; /* signalled by other threads, and by ourselves when a dispatch took long */
	bool dispatching, again; /* again: there is more to do in another round */

	struct disk_io *pool, *free_ios;
	struct task_list pool_waiters;
	struct disk_io *completed, **completed_last;
	struct disk_request *finished, **finished_last;

	pthread_mutex_t lock; /* guards woken */
	struct task_list woken;
};

/* disk_queue_new() with a given backend; @loop may be NULL for the synchronous face. */
int queue_new(struct loop *loop, unsigned int depth, const struct queue_backend *backend,
	      struct disk_queue **ret_queue);

/* An io with the queue filled in, or NULL: wait with queue_wait_io(). */
struct disk_io *queue_take_io(struct disk_queue *queue);
void queue_wait_io(struct disk_queue *queue, struct task *task);
void queue_give_io(struct disk_io *io);
void queue_submit_io(struct disk_io *io);
void queue_complete_io(struct disk_io *io, int result); /* backends */
/* done() of @request will be called with @result from the loop. */
void queue_finish_request(struct disk_queue *queue, struct disk_request *request, int result);
/* Have another round of this dispatch, or of the next. */
void queue_call_back(struct disk_queue *queue);
void queue_dispatch(struct disk_queue *queue);
/* Serve a synchronous queue until *done. */
void queue_run_until(struct disk_queue *queue, const bool *done);

#endif
