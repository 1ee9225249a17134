/*
 * queue_test.c - two queues on two threads at one disk, every backend; each request verified
 *
 * Even sectors are one thread's, odd sectors the other's, so the two share every block and
 * bitmap; requests are a sector long, with their own version in it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhd_internal.h"
#include "log.h"

#define SECTORS	  1024u
#define BLOCK	  16384u
#define IN_FLIGHT 24
#define REQUESTS  3000

static char folder[64];

static const char *in_folder(const char *name)
{
	static char paths[4][128];
	static unsigned int at;

	at = (at + 1) % ARRAY_SIZE(paths);
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", folder, name);
	return paths[at];
}

struct slot {
	struct disk_request request;
	struct iovec iov[2];
	uint8_t data[VHD_SECTOR];
	struct user *user;
	uint32_t sector;
};

struct user {
	struct disk *disk;
	const struct queue_backend *backend;
	struct loop *loop;
	struct disk_queue *queue;
	uint32_t parity;
	unsigned int seed;
	uint32_t version[SECTORS];
	bool busy[SECTORS];
	struct slot slots[IN_FLIGHT];
	unsigned int submitted, running, wrong;
	bool submitting;
};

static void stamp(uint8_t *data, uint32_t sector, uint32_t version)
{
	for (size_t i = 0; i < VHD_SECTOR; i += 8) {
		memcpy(data + i, &sector, 4);
		memcpy(data + i + 4, &version, 4);
	}
}

static void check_read(struct slot *slot)
{
	uint32_t version = slot->user->version[slot->sector];
	uint8_t expected[VHD_SECTOR] = {};

	if (version)
		stamp(expected, slot->sector, version);
	slot->user->wrong += !!memcmp(slot->data, expected, sizeof(expected));
}

static void submit(struct slot *slot);

static void slot_done(struct disk_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct user *user = slot->user;

	user->wrong += result || user->submitting;
	if (request->op == DISK_READ)
		check_read(slot);
	if (request->op != DISK_FLUSH)
		user->busy[slot->sector] = false;
	user->running--;
	if (user->submitted < REQUESTS)
		submit(slot);
	else if (!user->running)
		loop_stop(user->loop);
}

static void fill(struct slot *slot)
{
	struct user *user = slot->user;
	bool write = rand_r(&user->seed) % 2;

	do {
		slot->sector = rand_r(&user->seed) % (SECTORS / 2) * 2 + user->parity;
	} while (user->busy[slot->sector]);
	user->busy[slot->sector] = true;
	if (write)
		stamp(slot->data, slot->sector, ++user->version[slot->sector]);
	slot->iov[0] = (struct iovec){slot->data, 77};
	slot->iov[1] = (struct iovec){slot->data + 77, VHD_SECTOR - 77};
	slot->request = (struct disk_request){.op = write ? DISK_WRITE : DISK_READ,
					      .fua = rand_r(&user->seed) % 50 == 0,
					      .offset = slot->sector * VHD_SECTOR,
					      .bytes = VHD_SECTOR,
					      .iov = slot->iov,
					      .iov_count = 2};
}

static void submit(struct slot *slot)
{
	struct user *user = slot->user;

	if (rand_r(&user->seed) % 60 == 0)
		slot->request = (struct disk_request){.op = DISK_FLUSH};
	else
		fill(slot);
	slot->request.done = slot_done;
	user->running++;
	user->submitted++;
	user->submitting = true;
	disk_submit(user->queue, user->disk, &slot->request);
	user->submitting = false;
	if (rand_r(&user->seed) % 2)
		disk_queue_kick(user->queue);
}

static void *use_disk(void *ctx)
{
	struct user *user = ctx;

	if (loop_new(&user->loop) || queue_new(user->loop, 6, user->backend, &user->queue))
		abort();
	for (size_t i = 0; i < IN_FLIGHT; i++) {
		user->slots[i].user = user;
		submit(&user->slots[i]);
	}
	disk_queue_kick(user->queue);
	if (loop_run(user->loop))
		abort();
	disk_queue_free(user->queue);
	loop_free(user->loop);
	return NULL;
}

static void create(const char *name, enum disk_format format, const char *parent)
{
	struct disk_create_options options = {.format = format,
					      .bytes = SECTORS * VHD_SECTOR,
					      .block_bytes = BLOCK,
					      .parent = parent};
	struct disk_error error;

	if (disk_create(name, &options, &error))
		fail_msg("%s", error.text);
}

static struct disk *open_disk(const char *name)
{
	struct disk_options options = {.allow_raw = true};
	struct disk_error error;
	struct disk *disk;

	if (disk_open(name, &options, &disk, &error))
		fail_msg("%s", error.text);
	return disk;
}

static void check_all(const char *name, const struct user users[2])
{
	struct disk *disk = open_disk(name);
	uint8_t found[VHD_SECTOR];

	for (uint32_t sector = 0; sector < SECTORS; sector++) {
		uint32_t version = users[sector % 2].version[sector];
		uint8_t expected[VHD_SECTOR] = {};

		if (version)
			stamp(expected, sector, version);
		assert_int_equal(disk_pread(disk, sector * VHD_SECTOR, found, sizeof(found)), 0);
		assert_memory_equal(found, expected, sizeof(found));
	}
	disk_close(disk);
}

static void share(const char *name, const struct queue_backend *backend)
{
	struct user *users = calloc(2, sizeof(*users));
	struct disk *disk = open_disk(name);
	pthread_t threads[2];

	for (uint32_t i = 0; i < 2; i++) {
		users[i].disk = disk;
		users[i].backend = backend;
		users[i].parity = i;
		users[i].seed = i + 1;
		assert_int_equal(pthread_create(&threads[i], NULL, use_disk, &users[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(users[i].wrong, 0);
		assert_int_equal(users[i].submitted, REQUESTS);
	}
	disk_close(disk);
	check_all(name, users);
	free(users);
}

static void share_each_format(const struct queue_backend *backend)
{
	static const enum disk_format formats[] = {DISK_RAW, DISK_VHD_DYNAMIC,
						   DISK_VHD_DIFFERENCING};
	const char *parent;

	snprintf(folder, sizeof(folder), "queue-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	parent = in_folder("parent.vhd");
	create(parent, DISK_VHD_DYNAMIC, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *name = in_folder("image");

		create(name, formats[i], in_folder("parent.vhd"));
		share(name, backend);
		unlink(in_folder("image"));
	}
	unlink(in_folder("parent.vhd"));
	rmdir(folder);
}

static void two_threads_share_a_disk_through_io_uring(void **state)
{
	struct disk_queue *queue;
	struct loop *loop;
	int r;

	assert_int_equal(loop_new(&loop), 0);
	r = queue_new(loop, 4, &uring_backend, &queue);
	if (r < 0) {
		loop_free(loop);
		skip(); /* denied here; the pool of threads does its work then */
	}
	disk_queue_free(queue);
	loop_free(loop);
	share_each_format(&uring_backend);
}

static void two_threads_share_a_disk_through_pools_of_threads(void **state)
{
	share_each_format(&threads_backend);
}

static void a_queue_has_1_to_4096_operations(void **state)
{
	struct disk_queue *queue;
	struct loop *loop;

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(disk_queue_new(loop, 0, &queue), -EINVAL);
	assert_int_equal(disk_queue_new(loop, 4097, &queue), -EINVAL);
	assert_int_equal(disk_queue_new(loop, 4096, &queue), 0);
	disk_queue_free(queue);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_threads_share_a_disk_through_io_uring),
		cmocka_unit_test(two_threads_share_a_disk_through_pools_of_threads),
		cmocka_unit_test(a_queue_has_1_to_4096_operations),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
