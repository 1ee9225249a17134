/*
 * queue_uring.c - a queue's operations through io_uring
 *
 * The ring's own descriptor is watched in the loop: it is readable while completions wait. The ring
 * is as deep as the queue's pool, so neither side of it can overflow.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/epoll.h>

#include "io.h"
#include "log.h"

struct uring_state {
	struct io_uring ring;
};

static struct io_uring *ring_of(struct disk_queue *queue)
{
	return &((struct uring_state *)queue->backend_state)->ring;
}

static void ring_ready(void *ctx, uint32_t events)
{
	queue_dispatch(ctx);
}

static int uring_start(struct disk_queue *queue, unsigned int depth)
{
	struct io_uring *ring = ring_of(queue);
	int r = io_uring_queue_init(depth, ring, 0);

	if (r < 0)
		return r;
	r = loop_add_fd(queue->loop, ring->ring_fd, EPOLLIN, ring_ready, queue,
			&queue->backend_source);
	if (r < 0)
		io_uring_queue_exit(ring);
	return r;
}

static void uring_kick(struct disk_queue *queue)
{
	struct io_uring *ring = ring_of(queue);

	/* EAGAIN, EBUSY: short of memory for now; what is left goes with the next kick. */
	if (io_uring_sq_ready(ring) && io_uring_submit(ring) < 0)
		queue_call_back(queue);
}

static void prepare(struct io_uring_sqe *sqe, struct disk_io *io)
{
	switch (io->kind) {
	case IO_READ:
		io_uring_prep_readv2(sqe, io->fd, io->iov, io->iov_count, io->offset, io->mode);
		break;
	case IO_WRITE:
		io_uring_prep_writev2(sqe, io->fd, io->iov, io->iov_count, io->offset, io->mode);
		break;
	case IO_SYNC: io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC); break;
	case IO_ALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, io->mode, io->offset, io->bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
}

static void uring_submit(struct disk_queue *queue, struct disk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring_of(queue));

	if (!sqe) {
		/* Only while the kernel keeps refusing what was kicked. */
		queue_complete_io(io, -EAGAIN);
		queue_call_back(queue);
		return;
	}
	prepare(sqe, io);
	queue_call_back(queue);
}

static void uring_reap(struct disk_queue *queue)
{
	struct io_uring *ring = ring_of(queue);
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(ring, &cqe)) {
		struct disk_io *io = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(ring, cqe);
		queue_complete_io(io, result);
	}
}

static void uring_stop(struct disk_queue *queue)
{
	loop_source_remove(queue->backend_source);
	io_uring_queue_exit(ring_of(queue));
}

const struct queue_backend uring_backend = {.name = "io_uring",
					    .bytes = sizeof(struct uring_state),
					    .start = uring_start,
					    .submit = uring_submit,
					    .kick = uring_kick,
					    .reap = uring_reap,
					    .stop = uring_stop};
