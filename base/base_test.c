/*
 * base_test.c - sizes and numbers, log lines, the event loop
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "loop.h"
#include "size.h"

static void sizes_take_digits_and_one_suffix(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"512M", 0, 512 * MIB},
		{"512m", 0, 512 * MIB},
		{"4K", 0, 4096},
		{"3G", 0, 3 * GIB},
		{"2T", 0, 2048 * GIB},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"17179869184G", -ERANGE, 0},
		{"16777216T", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"1MB", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1-", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 0;

		if (size_parse(cases[i].text, &bytes) != cases[i].result || bytes != cases[i].bytes)
			fail_msg("size_parse(\"%s\") gave %lu", cases[i].text, bytes);
	}
}

static void formatted_sizes_parse_to_the_same_number(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0"}, {1023, "1023"}, {1536 * MIB, "1536M"}, {4 * GIB, "4G"}, {6144, "6K"},
	};
	char text[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes;

		assert_string_equal(size_format(cases[i].bytes, text), cases[i].text);
		assert_int_equal(size_parse(text, &bytes), 0);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void numbers_are_checked_against_their_range(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{"1", 0, 1},
		{"64", 0, 64},
		{"0x40", 0, 64},
		{"0X1f", 0, 31},
		{"0", -ERANGE, 0},
		{"65", -ERANGE, 0},
		{"1000", -ERANGE, 0},
		{"0x", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1x", -EINVAL, 0},
		{"a", -EINVAL, 0},
		{"99999999999999999999", -ERANGE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = 0;

		if (number_parse(cases[i].text, 1, 64, &value) != cases[i].result ||
		    value != cases[i].value)
			fail_msg("number_parse(\"%s\") gave %lu", cases[i].text, value);
	}
}

/* Runs @say with standard error in a pipe; what arrived there is in @text. */
static void capture_stderr(void (*say)(void), char *text, size_t size)
{
	int saved = dup(STDERR_FILENO);
	int ends[2];
	ssize_t got;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	say();
	dup2(saved, STDERR_FILENO);
	close(ends[1]);
	got = read(ends[0], text, size - 1);
	text[got > 0 ? got : 0] = 0;
	close(ends[0]);
	close(saved);
}

static void say_levels(void)
{
	log_error("a%c%cb", '\n', 27);
	log_info("hidden");
	log_set_level(LOG_INFO);
	log_info("shown");
	log_set_level(LOG_WARNING);
	log_set_raw_terminal(true);
	log_warning("raw");
	log_set_raw_terminal(false);
}

static void log_lines_have_a_prefix_and_no_control_characters(void **state)
{
	char text[256];

	capture_stderr(say_levels, text, sizeof(text));
	assert_string_equal(text, "mullion: a??b\nmullion: shown\nmullion: raw\r\n");
}

struct order {
	struct loop *loop;
	char text[8];
	struct loop_timer *timers[3];
};

static void timer_a(void *ctx)
{
	strcat(((struct order *)ctx)->text, "a");
}

static void timer_b(void *ctx)
{
	struct order *order = ctx;

	strcat(order->text, "b");
	loop_timer_cancel(order->timers[2]);
	if (strlen(order->text) < 4)
		loop_timer_arm_ns(order->timers[1], monotonic_ns() + 1000000);
	else
		loop_stop(order->loop);
}

static void timer_c(void *ctx)
{
	strcat(((struct order *)ctx)->text, "c");
}

static void timers_fire_in_order_once_and_not_when_cancelled(void **state)
{
	struct order order = {};
	uint64_t now = monotonic_ns();

	assert_int_equal(loop_new(&order.loop), 0);
	assert_int_equal(loop_timer_new(order.loop, timer_a, &order, &order.timers[0]), 0);
	assert_int_equal(loop_timer_new(order.loop, timer_b, &order, &order.timers[1]), 0);
	assert_int_equal(loop_timer_new(order.loop, timer_c, &order, &order.timers[2]), 0);
	loop_timer_arm_ns(order.timers[2], now + 60000000000);
	loop_timer_arm_ns(order.timers[1], now + 2000000);
	loop_timer_arm_ns(order.timers[0], 0);
	assert_int_equal(loop_run(order.loop), 0);
	assert_string_equal(order.text, "abbb");
	for (size_t i = 0; i < 3; i++)
		loop_timer_free(order.timers[i]);
	loop_free(order.loop);
}

struct pair {
	struct loop *loop;
	struct loop_source *sources[2];
	unsigned int calls;
};

static void remove_both(void *ctx, uint32_t events)
{
	struct pair *pair = ctx;

	pair->calls++;
	loop_source_remove(pair->sources[0]);
	loop_source_remove(pair->sources[1]);
	loop_stop(pair->loop);
}

static void a_callback_may_remove_every_source(void **state)
{
	struct pair pair = {};
	int ends[2][2];

	assert_int_equal(loop_new(&pair.loop), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(ends[i]), 0);
		assert_int_equal(write(ends[i][1], "x", 1), 1);
		assert_int_equal(loop_add_fd(pair.loop, ends[i][0], EPOLLIN, remove_both, &pair,
					     &pair.sources[i]),
				 0);
	}
	assert_int_equal(loop_run(pair.loop), 0);
	assert_int_equal(pair.calls, 1);
	loop_free(pair.loop);
	for (int i = 0; i < 2; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
}

static void *stop_soon(void *ctx)
{
	usleep(5000);
	loop_stop(ctx);
	return NULL;
}

static void another_thread_can_stop_the_loop_and_each_stop_counts_once(void **state)
{
	struct loop *loop;
	pthread_t thread;
	uint64_t before;

	assert_int_equal(loop_new(&loop), 0);
	loop_stop(loop);
	assert_int_equal(loop_run(loop), 0); /* returns at once */
	before = monotonic_ns();
	pthread_create(&thread, NULL, stop_soon, loop);
	assert_int_equal(loop_run(loop), 0);
	assert_true(monotonic_ns() - before >= 4000000);
	pthread_join(thread, NULL);
	loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_take_digits_and_one_suffix),
		cmocka_unit_test(formatted_sizes_parse_to_the_same_number),
		cmocka_unit_test(numbers_are_checked_against_their_range),
		cmocka_unit_test(log_lines_have_a_prefix_and_no_control_characters),
		cmocka_unit_test(timers_fire_in_order_once_and_not_when_cancelled),
		cmocka_unit_test(a_callback_may_remove_every_source),
		cmocka_unit_test(another_thread_can_stop_the_loop_and_each_stop_counts_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
