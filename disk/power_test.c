/*
 * power_test.c - power goes while an image is written to: it opens again, with all flushed data
 *
 * A workload of writes, zeroes, flushes and FUA writes runs on a queue whose operations are done in
 * random order, and every change of the file is logged by the sector. Then the file is put together
 * as it may lie on disk after a power cut at any point of the log: everything up to the last sync,
 * and any subset of what came after. Requests in flight never overlap, so each sector has a row of
 * versions; it must read as one that is not older than the last one flushed.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhd_internal.h"
#include "log.h"

#define SECTORS	    384u
#define ISLAND	    96u
#define DEPTH	    6
#define REQUESTS    160
#define MAX_SECTORS 24
#define VERSIONS    256

/* --- the formats --- */

static const struct format {
	const char *image, *parent, *cut;
	enum disk_format dynamic, differencing;
	uint32_t block;
	bool islands;	   /* the sectors lie around the borders of large blocks */
	unsigned int cuts; /* 0: everywhere */
} formats[] = {
	{"image.vhd", "parent.vhd", "cut.vhd", DISK_VHD_DYNAMIC, DISK_VHD_DIFFERENCING, 4096},
	{"image.vhdx", "parent.vhdx", "cut.vhdx", DISK_VHDX_DYNAMIC, DISK_VHDX_DIFFERENCING, MIB,
	 true, 200},
};
enum { VHD, VHDX };
static const struct format *format;

static uint64_t place_of(uint32_t sector)
{
	if (!format->islands)
		return sector * VHD_SECTOR;
	return (2 * (sector / ISLAND) + 1) * MIB + sector % ISLAND * VHD_SECTOR -
	       ISLAND / 2 * VHD_SECTOR;
}

/* --- the log of what happened to the file --- */

struct change {
	uint64_t offset;
	uint32_t bytes;	    /* 0: the file has at least ->offset bytes */
	bool sync, through; /* through: durable by itself */
	uint8_t data[VHD_SECTOR];
};

static struct {
	struct change *changes;
	size_t count, room;
	int fd;
} journal;

static struct change *add_change(void)
{
	if (journal.count == journal.room) {
		journal.room = journal.room ? journal.room * 2 : 4096;
		journal.changes =
			reallocarray(journal.changes, journal.room, sizeof(struct change));
		assert_non_null(journal.changes);
	}
	journal.changes[journal.count] = (struct change){};
	return &journal.changes[journal.count++];
}

static void record_bytes(uint64_t offset, const uint8_t *data, uint64_t bytes)
{
	while (bytes) {
		uint32_t part = MIN(bytes, VHD_SECTOR - offset % VHD_SECTOR);
		struct change *change = add_change();

		change->offset = offset;
		change->bytes = part;
		if (data) {
			memcpy(change->data, data, part);
			data += part;
		}
		offset += part;
		bytes -= part;
	}
}

/* Vectors may end inside a sector; the disk takes whole ones. */
static void record_write(const struct disk_io *io, int result)
{
	static uint8_t flat[MAX_SECTORS * VHD_SECTOR + 64 * KIB];
	size_t used = 0, first = journal.count;

	for (int i = 0; i < io->iov_count; i++) {
		memcpy(flat + used, io->iov[i].iov_base, io->iov[i].iov_len);
		used += io->iov[i].iov_len;
	}
	assert_int_equal(result, used);
	record_bytes(io->offset, flat, used);
	for (; first < journal.count; first++)
		journal.changes[first].through = io->mode & RWF_DSYNC;
}

static void record(const struct disk_io *io, int result)
{
	if (io->kind == IO_SYNC)
		add_change()->sync = true;
	if (io->kind == IO_ALLOCATE && io->mode)
		record_bytes(io->offset, NULL, io->bytes);
	if (io->kind == IO_ALLOCATE && !io->mode)
		add_change()->offset = io->offset + io->bytes;
	if (io->kind == IO_WRITE)
		record_write(io, result);
}

/* --- a queue that does what it is given in any order --- */

static struct disk_io *held[64];
static size_t held_count;

static int scrambled_start(struct disk_queue *queue, unsigned int depth)
{
	return 0;
}

static void scrambled_submit(struct disk_queue *queue, struct disk_io *io)
{
	held[held_count++] = io;
	queue_call_back(queue);
}

static void scrambled_reap(struct disk_queue *queue)
{
	size_t count = held_count ? 1 + random() % held_count : 0;

	while (count--) {
		size_t at = random() % held_count;
		struct disk_io *io = held[at];
		int result = io->kind == IO_SYNC ? 0 : io_perform(io);

		if (io->kind != IO_READ)
			record(io, result);
		held[at] = held[--held_count];
		queue_complete_io(io, result);
	}
	if (held_count)
		queue_call_back(queue);
}

static void scrambled_nothing(struct disk_queue *queue)
{
}

static const struct queue_backend scrambled = {.name = "scrambled",
					       .start = scrambled_start,
					       .submit = scrambled_submit,
					       .kick = scrambled_nothing,
					       .reap = scrambled_reap,
					       .stop = scrambled_nothing};

/* --- the workload --- */

struct sector_history {
	uint32_t count;		    /* versions; 0 is what it was at the start */
	size_t submitted[VERSIONS]; /* the log's length then */
	bool zeroed[VERSIONS];
	bool busy;
};
/* From the log's length `at` on, sector must be `version` at least. */
struct promise {
	size_t at;
	uint32_t version[SECTORS];
};

static struct sector_history history[SECTORS];
static struct promise *promises;
static size_t promise_count;
static uint32_t done_version[SECTORS];

struct job {
	struct disk_request request;
	struct iovec iov[3];
	uint8_t data[MAX_SECTORS * VHD_SECTOR];
	uint32_t covered[SECTORS]; /* done when a flush was submitted */
	uint32_t first, count;	   /* sectors */
	bool busy;
};
static struct job jobs[DEPTH];
static unsigned int running, submitted;
static bool all_done;
static struct disk *test_disk;
static struct disk_queue *test_queue;

static void stamp(uint8_t *data, uint32_t sector, uint32_t version)
{
	uint32_t words[2] = {sector, version};

	for (size_t i = 0; i < VHD_SECTOR; i += sizeof(words))
		memcpy(data + i, words, sizeof(words));
}

static void submit_some(void);

static void promise(const uint32_t *version)
{
	promises = reallocarray(promises, promise_count + 1, sizeof(*promises));
	assert_non_null(promises);
	promises[promise_count].at = journal.count;
	memcpy(promises[promise_count].version, version, sizeof(promises->version));
	promise_count++;
}

static void job_done(struct disk_request *request, int result)
{
	struct job *job = container_of(request, struct job, request);
	uint32_t first = job->first, count = job->count;

	assert_int_equal(result, 0);
	if (request->op == DISK_FLUSH)
		promise(job->covered);
	for (uint32_t i = first; request->op != DISK_FLUSH && i < first + count; i++) {
		history[i].busy = false;
		done_version[i] = history[i].count;
		job->covered[i] = history[i].count;
	}
	if (request->fua)
		promise(job->covered);
	job->busy = false;
	running--;
	submit_some();
}

static bool pick_range(uint32_t *ret_first, uint32_t *ret_count)
{
	uint32_t first = random() % SECTORS, count = 1 + random() % MAX_SECTORS;

	count = MIN(count, ISLAND - first % ISLAND);
	for (uint32_t i = first; i < first + count; i++) {
		if (history[i].busy || history[i].count + 1 == VERSIONS)
			return false;
	}
	*ret_first = first;
	*ret_count = count;
	return true;
}

static bool fill_write(struct job *job)
{
	struct disk_request *request = &job->request;
	bool zero = random() % 6 == 0;
	uint32_t first, count;

	if (!pick_range(&first, &count))
		return false;
	job->first = first;
	job->count = count;
	for (uint32_t i = first; i < first + count; i++) {
		struct sector_history *sector = &history[i];

		sector->busy = true;
		sector->count++;
		sector->submitted[sector->count] = journal.count;
		sector->zeroed[sector->count] = zero;
		stamp(job->data + (i - first) * VHD_SECTOR, i, sector->count);
	}
	job->iov[0] = (struct iovec){job->data, 100};
	job->iov[1] = (struct iovec){job->data + 100, 412};
	job->iov[2] = (struct iovec){job->data + 512, (count - 1) * VHD_SECTOR};
	*request = (struct disk_request){.op = zero ? DISK_WRITE_ZEROES : DISK_WRITE,
					 .fua = random() % 8 == 0,
					 .may_unmap = random() % 2,
					 .offset = place_of(first),
					 .bytes = count * VHD_SECTOR,
					 .iov = job->iov,
					 .iov_count = 3};
	return true;
}

static void submit_job(struct job *job)
{
	memcpy(job->covered, done_version, sizeof(job->covered));
	if (random() % 10 == 0)
		job->request = (struct disk_request){.op = DISK_FLUSH};
	else if (!fill_write(job))
		return;
	if (job->request.fua) /* it speaks for its own sectors only */
		memset(job->covered, 0, sizeof(job->covered));
	job->request.done = job_done;
	job->busy = true;
	running++;
	submitted++;
	disk_submit(test_queue, test_disk, &job->request);
}

static void submit_some(void)
{
	for (size_t i = 0; i < DEPTH; i++) {
		if (!jobs[i].busy && submitted < REQUESTS && random() % 3)
			submit_job(&jobs[i]);
	}
	while (!running && submitted < REQUESTS)
		submit_job(&jobs[0]);
	all_done = !running && submitted >= REQUESTS;
}

/* --- the cut --- */

struct file_bytes {
	uint8_t *data;
	size_t bytes;
};

static void grow_to(struct file_bytes *file, size_t bytes)
{
	if (bytes <= file->bytes)
		return;
	file->data = realloc(file->data, bytes);
	assert_non_null(file->data);
	memset(file->data + file->bytes, 0, bytes - file->bytes);
	file->bytes = bytes;
}

static void apply(struct file_bytes *file, const struct change *change)
{
	grow_to(file, change->offset + change->bytes);
	memcpy(file->data + change->offset, change->data, change->bytes);
}

static struct file_bytes read_whole(const char *path)
{
	struct file_bytes file = {};
	struct stat status;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && !fstat(fd, &status));
	grow_to(&file, status.st_size);
	assert_int_equal(pread(fd, file.data, file.bytes, 0), file.bytes);
	close(fd);
	return file;
}

static const uint8_t zeros[PAGE_BYTES];

static void write_whole(const char *path, const struct file_bytes *file)
{
	int fd;

	unlink(path); /* file systems write a truncated file out at once, to be safe */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0 && !ftruncate(fd, file->bytes));
	for (size_t at = 0; at < file->bytes; at += PAGE_BYTES) {
		size_t part = MIN(PAGE_BYTES, file->bytes - at);

		if (memcmp(file->data + at, zeros, part))
			assert_int_equal(pwrite(fd, file->data + at, part, at), part);
	}
	close(fd);
}

static void content(uint8_t *data, uint32_t sector, uint32_t version, bool child)
{
	memset(data, 0, VHD_SECTOR);
	if (version ? !history[sector].zeroed[version] : child && sector % 3)
		stamp(data, sector, version);
}

static void check_sector(struct disk *disk, uint32_t sector, size_t cut, uint32_t least, bool child)
{
	uint8_t found[VHD_SECTOR], expected[VHD_SECTOR];

	assert_int_equal(disk_pread(disk, place_of(sector), found, sizeof(found)), 0);
	for (uint32_t version = least; version <= history[sector].count; version++) {
		if (version && history[sector].submitted[version] > cut)
			break;
		content(expected, sector, version, child);
		if (!memcmp(found, expected, sizeof(found)))
			return;
	}
	fail_msg("cut %zu: sector %u is none of its versions from %u on (found %u/%u)", cut, sector,
		 least, *(uint32_t *)found, *(uint32_t *)(found + 4));
}

static int no_sync(struct disk_io *io)
{
	return io->kind == IO_SYNC ? 0 : io_perform(io);
}

/* Closing does its I/O outside any queue. */
static int no_sync_but_recorded(struct disk_io *io)
{
	int result = no_sync(io);

	if (io->kind != IO_READ)
		record(io, result);
	return result;
}

static void open_and_check(const char *path, size_t cut, const uint32_t *least, bool child,
			   bool read_only)
{
	struct disk_options options = {.read_only = read_only};
	struct disk_error error;
	struct disk *disk;
	int r = disk_open(path, &options, &disk, &error);

	if (r < 0)
		fail_msg("cut %zu: %s", cut, error.text);
	for (uint32_t sector = 0; sector < SECTORS; sector++)
		check_sector(disk, sector, cut, least[sector], child);
	disk_close(disk);
}

static void check_cut(const char *path, size_t cut, bool child)
{
	uint32_t least[SECTORS] = {};

	for (size_t i = 0; i < promise_count && promises[i].at <= cut; i++) {
		for (uint32_t sector = 0; sector < SECTORS; sector++)
			least[sector] = MAX(least[sector], promises[i].version[sector]);
	}
	open_and_check(path, cut, least, child, random() % 2);
}

/* Around the end of the log always: that is where the image is closed. */
static bool is_checked(size_t cut)
{
	if (journal.count - cut < 4)
		return true;
	if (!format->cuts)
		return cut % 4 == 0;
	return random() % journal.count < format->cuts;
}

static void cut_everywhere(const char *path, struct file_bytes *durable, bool child)
{
	size_t synced = 0;

	for (size_t cut = 0; cut <= journal.count; cut++) {
		for (int subset = is_checked(cut) ? 0 : 2; subset < 2; subset++) {
			struct file_bytes file = {};
			int keep = subset ? random() % 100 : 100;

			grow_to(&file, durable->bytes);
			memcpy(file.data, durable->data, durable->bytes);
			for (size_t i = synced; i < cut; i++) {
				if (journal.changes[i].through || random() % 100 < keep)
					apply(&file, &journal.changes[i]);
			}
			write_whole(path, &file);
			free(file.data);
			check_cut(path, cut, child);
		}
		if (cut < journal.count && journal.changes[cut].sync) {
			for (; synced <= cut; synced++)
				apply(durable, &journal.changes[synced]);
		}
	}
}

/* --- putting it together --- */

static char folder[64];

static const char *in_folder(const char *name)
{
	static char paths[4][128];
	static unsigned int at;

	at = (at + 1) % ARRAY_SIZE(paths);
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", folder, name);
	return paths[at];
}

static void create(const char *name, enum disk_format kind, const char *parent)
{
	struct disk_create_options options = {.format = kind,
					      .bytes = place_of(SECTORS),
					      .block_bytes = format->block,
					      .parent = parent};
	struct disk_error error;

	if (disk_create(in_folder(name), &options, &error))
		fail_msg("%s", error.text);
}

static struct disk *open_disk(const char *name)
{
	struct disk_options options = {};
	struct disk_error error;
	struct disk *disk;

	if (disk_open(in_folder(name), &options, &disk, &error))
		fail_msg("%s", error.text);
	return disk;
}

static void make_parent(void)
{
	uint8_t data[VHD_SECTOR];
	struct disk *disk;

	create(format->parent, format->dynamic, NULL);
	disk = open_disk(format->parent);
	for (uint32_t sector = 0; sector < SECTORS; sector++) {
		content(data, sector, 0, true);
		assert_int_equal(disk_pwrite(disk, place_of(sector), data, sizeof(data)), 0);
	}
	disk_close(disk);
}

static void forget_everything(void)
{
	journal.count = 0;
	promise_count = 0;
	running = submitted = 0;
	all_done = false;
	memset(history, 0, sizeof(history));
	memset(done_version, 0, sizeof(done_version));
}

static void run_workload(void)
{
	test_disk = open_disk(format->image);
	assert_int_equal(queue_new(NULL, 4, &scrambled, &test_queue), 0);
	submit_some();
	queue_run_until(test_queue, &all_done);
	disk_queue_free(test_queue);
}

static void survive(const struct format *which, unsigned int seed, bool child)
{
	struct file_bytes start;

	format = which;
	srandom(seed);
	forget_everything();
	snprintf(folder, sizeof(folder), "power-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	if (child)
		make_parent();
	create(format->image, child ? format->differencing : format->dynamic,
	       in_folder(format->parent));
	start = read_whole(in_folder(format->image));
	run_workload();
	io_test_hook = no_sync_but_recorded;
	disk_close(test_disk);
	io_test_hook = no_sync;
	assert_true(journal.count > REQUESTS && promise_count > 5);
	cut_everywhere(in_folder(format->cut), &start, child);
	free(start.data);
	unlink(in_folder(format->cut));
	unlink(in_folder(format->image));
	unlink(in_folder(format->parent));
	rmdir(folder);
}

static void a_dynamic_vhd_survives_any_power_cut(void **state)
{
	for (unsigned int seed = 1; seed <= 2; seed++)
		survive(&formats[VHD], seed, false);
}

static void a_differencing_vhd_survives_any_power_cut(void **state)
{
	for (unsigned int seed = 11; seed <= 13; seed++)
		survive(&formats[VHD], seed, true);
}

static void a_dynamic_vhdx_survives_any_power_cut(void **state)
{
	for (unsigned int seed = 21; seed <= 22; seed++)
		survive(&formats[VHDX], seed, false);
}

static void a_differencing_vhdx_survives_any_power_cut(void **state)
{
	for (unsigned int seed = 31; seed <= 33; seed++)
		survive(&formats[VHDX], seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dynamic_vhd_survives_any_power_cut),
		cmocka_unit_test(a_differencing_vhd_survives_any_power_cut),
		cmocka_unit_test(a_dynamic_vhdx_survives_any_power_cut),
		cmocka_unit_test(a_differencing_vhdx_survives_any_power_cut),
	};
	int failed;

	log_set_level(LOG_ERROR);
	io_test_hook = no_sync;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(journal.changes);
	free(promises);
	return failed;
}
