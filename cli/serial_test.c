/*
 * serial_test.c - the serial port's other end, with pipes and pseudoterminals in place of the
 * standard files
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "serial.h"

#define HANG_MS 120000 /* longer, and it will never come */

struct fixture {
	struct loop *loop;
	struct serial *serial;
	struct uart_backend backend;
	struct loop_timer *watchdog;
	int saved_in, saved_out;
	uint8_t guest[65536]; /* what the guest received */
	size_t guest_count;
	size_t guest_takes; /* at most so many at a time, then none until told */
	size_t stop_at;	    /* stop the loop when guest_count reaches it */
	unsigned int quits, rooms;
	int failed;
	bool timed_out;
};

static size_t on_input(void *ctx, const uint8_t *bytes, size_t n)
{
	struct fixture *f = ctx;
	size_t taken = MIN(n, f->guest_takes);

	memcpy(f->guest + f->guest_count, bytes, taken);
	f->guest_count += taken;
	if (taken && taken < n)
		f->backend.input_room(f->backend.ctx);
	if (f->guest_count >= f->stop_at)
		loop_stop(f->loop);
	return taken;
}

static void on_output_ready(void *ctx)
{
	struct fixture *f = ctx;

	f->rooms++;
	loop_stop(f->loop);
}

static void on_quit(void *ctx)
{
	struct fixture *f = ctx;

	f->quits++;
	loop_stop(f->loop);
}

static void on_output_failed(void *ctx, int error)
{
	struct fixture *f = ctx;

	f->failed = error;
	loop_stop(f->loop);
}

static void on_timeout(void *ctx)
{
	struct fixture *f = ctx;

	f->timed_out = true;
	loop_stop(f->loop);
}

static struct fixture *fixture_new(int in, int out)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->saved_in = dup(STDIN_FILENO);
	f->saved_out = dup(STDOUT_FILENO);
	f->guest_takes = f->stop_at = SIZE_MAX;
	fflush(stdout);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(loop_timer_new(f->loop, on_timeout, f, &f->watchdog), 0);
	return f;
}

static void fixture_open(struct fixture *f, const char *where)
{
	const struct serial_events events = {on_input, on_output_ready, on_quit, on_output_failed,
					     f};

	assert_int_equal(serial_new(where, f->loop, &events, &f->serial), 0);
	f->backend = serial_backend(f->serial);
}

static void fixture_run(struct fixture *f, unsigned int milliseconds)
{
	loop_timer_arm_ns(f->watchdog, monotonic_ns() + milliseconds * 1000000ull);
	loop_run(f->loop);
	loop_timer_cancel(f->watchdog);
}

static void fixture_free(struct fixture *f)
{
	serial_free(f->serial);
	loop_timer_free(f->watchdog);
	loop_free(f->loop);
	dup2(f->saved_in, STDIN_FILENO);
	dup2(f->saved_out, STDOUT_FILENO);
	close(f->saved_in);
	close(f->saved_out);
	free(f);
}

struct reader {
	int fd;
	size_t count;
	bool in_order;
};

/* Reads slowly to the end and checks that byte i is i modulo 251. */
static void *read_slowly(void *ctx)
{
	struct reader *reader = ctx;
	uint8_t bytes[3000];
	ssize_t got;

	reader->in_order = true;
	while ((got = read(reader->fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < got; i++)
			reader->in_order &= bytes[i] == reader->count++ % 251;
		usleep(200);
	}
	return NULL;
}

static void a_slow_reader_loses_nothing(void **state)
{
	const size_t total = 600000;
	int out[2], null = open("/dev/null", O_RDONLY);
	struct reader reader = {};
	struct fixture *f;
	pthread_t thread;
	bool started = false;
	size_t sent = 0;

	assert_int_equal(pipe(out), 0);
	f = fixture_new(null, out[1]);
	fixture_open(f, "stdio");
	reader.fd = out[0];
	while (sent < total && !f->timed_out) {
		uint8_t bytes[1000];
		size_t n = MIN(sizeof(bytes), total - sent), taken;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (sent + i) % 251;
		taken = f->backend.write(f->backend.ctx, bytes, n);
		sent += taken;
		if (taken < n && !started)
			started = !pthread_create(&thread, NULL, read_slowly, &reader);
		if (taken < n)
			fixture_run(f, HANG_MS); /* until output_ready */
	}
	serial_drain(f->serial);
	assert_true(f->rooms > 0);
	assert_false(f->timed_out);
	fixture_free(f);
	close(out[1]);
	pthread_join(thread, NULL);
	assert_int_equal(reader.count, total);
	assert_true(reader.in_order);
	close(out[0]);
	close(null);
}

static void a_reader_that_is_stuck_does_not_keep_us_from_ending(void **state)
{
	int out[2], null = open("/dev/null", O_RDONLY);
	static uint8_t bytes[300000];
	struct fixture *f;
	size_t taken, more;

	assert_int_equal(pipe(out), 0);
	f = fixture_new(null, out[1]);
	fixture_open(f, "stdio");
	taken = f->backend.write(f->backend.ctx, bytes, sizeof(bytes));
	assert_true(taken < sizeof(bytes));
	usleep(50000); /* the writer fills the pipe and blocks */
	while ((more = f->backend.write(f->backend.ctx, bytes, 1000)))
		taken += more;
	assert_true(taken < 300000);
	serial_closing(f->backend.ctx);
	assert_int_equal(f->backend.write(f->backend.ctx, bytes, 4096), 4096); /* the reserve */
	fixture_free(f); /* hangs if this does not work */
	close(out[0]);
	close(out[1]);
	close(null);
}

static void a_reader_that_went_away_is_reported(void **state)
{
	int out[2], null = open("/dev/null", O_RDONLY);
	struct fixture *f;

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(out), 0);
	close(out[0]);
	f = fixture_new(null, out[1]);
	fixture_open(f, "stdio");
	f->backend.write(f->backend.ctx, (const uint8_t *)"x", 1);
	while (!f->failed && !f->timed_out)
		fixture_run(f, HANG_MS);
	assert_int_equal(f->failed, -EPIPE);
	fixture_free(f);
	close(out[1]);
	close(null);
}

static void check_input(int in, size_t takes)
{
	int null = open("/dev/null", O_WRONLY);
	struct fixture *f = fixture_new(in, null);

	f->guest_takes = takes;
	f->stop_at = 20000;
	fixture_open(f, "stdio");
	while (f->guest_count < 20000 && !f->timed_out)
		fixture_run(f, HANG_MS);
	assert_int_equal(f->guest_count, 20000);
	for (size_t i = 0; i < f->guest_count; i++)
		assert_int_equal(f->guest[i], i % 253);
	fixture_run(f, 20); /* the end of the input does not end the run */
	assert_int_equal(f->quits, 0);
	fixture_free(f);
	close(null);
}

static void pipes_and_files_are_read_to_their_end_as_fast_as_the_guest_takes(void **state)
{
	static const size_t takes[] = {16, 1000, SIZE_MAX};
	uint8_t bytes[20000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i % 253;
	for (size_t i = 0; i < ARRAY_SIZE(takes); i++) {
		FILE *file = tmpfile();
		int ends[2];

		assert_int_equal(pipe(ends), 0);
		assert_int_equal(write(ends[1], bytes, sizeof(bytes)), sizeof(bytes));
		close(ends[1]);
		check_input(ends[0], takes[i]);
		close(ends[0]);
		assert_int_equal(write(fileno(file), bytes, sizeof(bytes)), sizeof(bytes));
		lseek(fileno(file), 0, SEEK_SET);
		check_input(fileno(file), takes[i]);
		fclose(file);
	}
}

static void a_closed_pipe_waits_until_the_guest_has_room(void **state)
{
	int ends[2], null = open("/dev/null", O_WRONLY);
	uint8_t bytes[20000] = {0};
	struct fixture *f;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], bytes, sizeof(bytes)), sizeof(bytes));
	close(ends[1]);
	f = fixture_new(ends[0], null);
	f->guest_takes = 0;
	fixture_open(f, "stdio");
	fixture_run(f, 50);
	f->timed_out = false;
	f->guest_takes = SIZE_MAX;
	f->stop_at = sizeof(bytes);
	f->backend.input_room(f->backend.ctx);
	while (f->guest_count < sizeof(bytes) && !f->timed_out)
		fixture_run(f, HANG_MS);
	assert_int_equal(f->guest_count, sizeof(bytes));
	fixture_free(f);
	close(ends[0]);
	close(null);
}

static int open_terminal(int *slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	assert_true(master >= 0 && !grantpt(master) && !unlockpt(master));
	*slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(*slave >= 0);
	return master;
}

static bool is_raw(int fd)
{
	struct termios mode;

	tcgetattr(fd, &mode);
	return !(mode.c_lflag & (ICANON | ECHO | ISIG));
}

static void a_terminal_is_raw_and_restored_and_quits_though_the_guest_reads_nothing(void **state)
{
	struct fixture *f;
	int slave, master = open_terminal(&slave);
	uint8_t typed[512];

	assert_false(is_raw(slave));
	f = fixture_new(slave, slave);
	fixture_open(f, "stdio");
	assert_true(is_raw(slave));
	f->guest_takes = 0;
	memset(typed, 'x', sizeof(typed));
	for (int i = 0; i < 20; i++) { /* more than is kept */
		assert_int_equal(write(master, typed, sizeof(typed)), sizeof(typed));
		fixture_run(f, 20);
	}
	assert_int_equal(f->quits, 0);
	assert_int_equal(write(master, "\x1d", 1), 1);
	fixture_run(f, 20);
	assert_int_equal(write(master, "q", 1), 1);
	fixture_run(f, HANG_MS);
	assert_int_equal(f->quits, 1);
	fixture_free(f);
	assert_false(is_raw(slave));
	close(master);
	close(slave);
}

static void a_pty_swallows_output_until_somebody_opens_it(void **state)
{
	int null = open("/dev/null", O_RDWR);
	struct fixture *f = fixture_new(null, null);
	char heard[16] = {};
	static uint8_t bytes[30000];
	size_t sent = 0;
	int fd;

	fixture_open(f, "pty");
	while (sent < 300000 && !f->timed_out) {
		size_t taken = f->backend.write(f->backend.ctx, bytes, sizeof(bytes));

		sent += taken;
		if (taken < sizeof(bytes))
			fixture_run(f, HANG_MS);
	}
	assert_false(f->timed_out);
	serial_drain(f->serial);
	fd = open(serial_name(f->serial), O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	f->backend.write(f->backend.ctx, (const uint8_t *)"hello", 5);
	assert_int_equal(read(fd, heard, sizeof(heard)), 5);
	assert_string_equal(heard, "hello");
	assert_int_equal(write(fd, "abc", 3), 3);
	f->stop_at = 3;
	fixture_run(f, HANG_MS);
	assert_memory_equal(f->guest, "abc", 3);
	close(fd);
	fixture_free(f);
	close(null);
}

static void a_file_gets_the_output_and_none_has_no_backend(void **state)
{
	int null = open("/dev/null", O_RDWR);
	struct fixture *f = fixture_new(null, null);
	char path[] = "/tmp/mullion-serial-XXXXXX", where[64], text[16] = {};
	int fd = mkstemp(path);

	snprintf(where, sizeof(where), "file:%s", path);
	fixture_open(f, where);
	f->backend.write(f->backend.ctx, (const uint8_t *)"written", 7);
	serial_drain(f->serial);
	assert_int_equal(read(fd, text, sizeof(text)), 7);
	assert_string_equal(text, "written");
	serial_free(f->serial);
	fixture_open(f, "none");
	assert_null(f->backend.write);
	fixture_free(f);
	unlink(path);
	close(fd);
	close(null);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_reader_loses_nothing),
		cmocka_unit_test(a_reader_that_is_stuck_does_not_keep_us_from_ending),
		cmocka_unit_test(a_reader_that_went_away_is_reported),
		cmocka_unit_test(pipes_and_files_are_read_to_their_end_as_fast_as_the_guest_takes),
		cmocka_unit_test(a_closed_pipe_waits_until_the_guest_has_room),
		cmocka_unit_test(
			a_terminal_is_raw_and_restored_and_quits_though_the_guest_reads_nothing),
		cmocka_unit_test(a_pty_swallows_output_until_somebody_opens_it),
		cmocka_unit_test(a_file_gets_the_output_and_none_has_no_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
