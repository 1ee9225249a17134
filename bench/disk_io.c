/*
 * disk_io.c - what an image format costs: random 4 KiB requests against the raw file
 *
 * usage: disk_io FOLDER [SECONDS]. Every image lies in FOLDER, has all of its blocks allocated, and
 * is used through the same kind of queue at depth 32. They take turns in one run, several rounds,
 * so that a busy machine disturbs them alike; the results are ratios to the raw file. At the end it
 * opens an empty dynamic VHD of 2040 GiB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"

#define DISK_BYTES  (256 * MIB)
#define PIECE	    (4 * KIB)
#define DEPTH	    32
#define ROUNDS	    5
#define CHAIN	    8
#define LARGE_BYTES (2040 * GIB)

struct slot {
	struct disk_request request;
	struct iovec iov;
	struct run *run;
	uint8_t data[PIECE];
};

struct run {
	struct loop *loop;
	struct disk_queue *queue;
	struct disk *disk;
	enum disk_op op;
	uint64_t seed, until_ns, done;
	unsigned int in_flight;
	struct slot slots[DEPTH];
};

struct target {
	const char *name;
	enum disk_format format, child; /* child: DISK_AUTO: no chain */
	struct disk *disk;
	double rate[2];
};

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "disk_io: %s: %s\n", what, strerror(-result));
	exit(1);
}

/* --- one run --- */

static void submit(struct slot *slot)
{
	struct run *run = slot->run;

	run->seed = run->seed * 6364136223846793005u + 1442695040888963407u;
	slot->iov = (struct iovec){slot->data, PIECE};
	slot->request.op = run->op;
	slot->request.offset = (run->seed >> 33) % (DISK_BYTES / PIECE) * PIECE;
	slot->request.bytes = PIECE;
	slot->request.iov = &slot->iov;
	slot->request.iov_count = 1;
	disk_submit(run->queue, run->disk, &slot->request);
}

static void done(struct disk_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct run *run = slot->run;

	must(result, "a request");
	run->done++;
	if (monotonic_ns() < run->until_ns)
		submit(slot);
	else if (!--run->in_flight)
		loop_stop(run->loop);
}

/* Requests a second. */
static double measure(struct disk *disk, enum disk_op op, double seconds)
{
	static struct run run;
	uint64_t began;

	run = (struct run){.disk = disk, .op = op, .seed = 1, .in_flight = DEPTH};
	must(loop_new(&run.loop), "loop");
	must(disk_queue_new(run.loop, DEPTH, &run.queue), "queue");
	began = monotonic_ns();
	run.until_ns = began + seconds * 1e9;
	for (size_t i = 0; i < DEPTH; i++) {
		run.slots[i].run = &run;
		run.slots[i].request.done = done;
		submit(&run.slots[i]);
	}
	disk_queue_kick(run.queue);
	must(loop_run(run.loop), "loop");
	seconds = (monotonic_ns() - began) / 1e9;
	disk_queue_free(run.queue);
	loop_free(run.loop);
	return run.done / seconds;
}

/* --- images --- */

static struct disk *open_disk(const char *path)
{
	struct disk_options options = {.allow_raw = true};
	struct disk_error error;
	struct disk *disk;

	if (disk_open(path, &options, &disk, &error) < 0) {
		fprintf(stderr, "disk_io: %s\n", error.text);
		exit(1);
	}
	return disk;
}

static void create(const char *path, enum disk_format format, const char *parent, uint64_t bytes)
{
	struct disk_create_options options = {.format = format, .bytes = bytes, .parent = parent};
	struct disk_error error;

	if (disk_create(path, &options, &error) < 0) {
		fprintf(stderr, "disk_io: %s\n", error.text);
		exit(1);
	}
}

/* Every @every-th MiB. */
static void fill(const char *path, unsigned int first, unsigned int every)
{
	struct disk *disk = open_disk(path);
	uint8_t *bytes = malloc(MIB);

	memset(bytes, first + 1, MIB);
	for (uint64_t at = first; at < DISK_BYTES / MIB; at += every)
		must(disk_pwrite(disk, at * MIB, bytes, MIB), path);
	free(bytes);
	disk_close(disk);
}

static void make(struct target *target)
{
	char path[64], child[64];

	snprintf(path, sizeof(path), "%s.0", target->name);
	create(path, target->format, NULL, DISK_BYTES);
	fill(path, 0, 1);
	for (unsigned int i = 1; target->child && i < CHAIN; i++) {
		snprintf(child, sizeof(child), "%s.%u", target->name, i);
		create(child, target->child, path, 0);
		fill(child, i, CHAIN);
		memcpy(path, child, sizeof(path));
	}
	target->disk = open_disk(path);
}

static uint64_t resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file || fscanf(file, "%*u %lu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * PAGE_BYTES;
}

static void open_large(void)
{
	uint64_t began, took, before;
	struct disk *disk;

	create("large.vhd", DISK_VHD_DYNAMIC, NULL, LARGE_BYTES);
	before = resident_bytes();
	began = monotonic_ns();
	disk = open_disk("large.vhd");
	took = monotonic_ns() - began;
	printf("opening a dynamic VHD of 2040 GiB: %.2f ms, %.2f MiB\n", took / 1e6,
	       (double)(resident_bytes() - before) / MIB);
	disk_close(disk);
}

int main(int argc, char **argv)
{
	static const enum disk_op ops[] = {DISK_READ, DISK_WRITE};
	struct target targets[] = {{.name = "raw", .format = DISK_RAW},
				   {.name = "vhd-dynamic", .format = DISK_VHD_DYNAMIC},
				   {.name = "vhdx-dynamic", .format = DISK_VHDX_DYNAMIC},
				   {.name = "vhd, chain of 8",
				    .format = DISK_VHD_DYNAMIC,
				    .child = DISK_VHD_DIFFERENCING},
				   {.name = "vhdx, chain of 8",
				    .format = DISK_VHDX_DYNAMIC,
				    .child = DISK_VHDX_DIFFERENCING}};
	double seconds = argc > 2 ? atof(argv[2]) : 1;

	if (argc < 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: disk_io FOLDER [SECONDS]\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
		make(&targets[i]);
	for (unsigned int round = 0; round < ROUNDS * ARRAY_SIZE(ops); round++) {
		for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
			targets[i].rate[round / ROUNDS] +=
				measure(targets[i].disk, ops[round / ROUNDS], seconds) / ROUNDS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		printf("%-18s random read %.2f of raw, random write %.2f of raw\n", targets[i].name,
		       targets[i].rate[0] / targets[0].rate[0],
		       targets[i].rate[1] / targets[0].rate[1]);
		disk_close(targets[i].disk);
	}
	open_large();
	return 0;
}
