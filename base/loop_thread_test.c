/*
 * loop_thread_test.c - work posted to loops, on their own thread and on others
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop_thread.h"

/* Notes its number in the order of running; the last one stops the loop. */
struct note {
	struct loop_work work;
	struct loop *loop;
	char **at;
	char letter;
	bool last;
};

static void write_note(struct loop_work *work)
{
	struct note *note = container_of(work, struct note, work);

	*(*note->at)++ = note->letter;
	if (note->last)
		loop_stop(note->loop);
}

struct notes {
	struct loop *loop;
	char text[16], *at;
	struct note notes[4]; /* a b c z; z stops */
};

static void notes_init(struct notes *notes)
{
	*notes = (struct notes){};
	notes->at = notes->text;
	assert_int_equal(loop_new(&notes->loop), 0);
	for (unsigned int i = 0; i < 4; i++)
		notes->notes[i] = (struct note){.work.run = write_note,
						.loop = notes->loop,
						.at = &notes->at,
						.letter = "abcz"[i],
						.last = i == 3};
}

static void work_runs_once_in_the_order_of_posting(void **state)
{
	struct notes notes;

	notes_init(&notes);
	loop_post(notes.loop, &notes.notes[1].work);
	loop_post(notes.loop, &notes.notes[0].work);
	loop_post(notes.loop, &notes.notes[1].work);
	loop_post(notes.loop, &notes.notes[3].work);
	assert_int_equal(loop_run(notes.loop), 0);
	assert_string_equal(notes.text, "baz");
	loop_post(notes.loop, &notes.notes[1].work);
	loop_post(notes.loop, &notes.notes[3].work);
	assert_int_equal(loop_run(notes.loop), 0);
	assert_string_equal(notes.text, "bazbz");
	loop_free(notes.loop);
}

static void cancelled_work_does_not_run_wherever_it_stands(void **state)
{
	for (unsigned int cancelled = 0; cancelled < 3; cancelled++) {
		static const char *const left[] = {"bcz", "acz", "abz"};
		struct notes notes;

		notes_init(&notes);
		for (unsigned int i = 0; i < 3; i++)
			loop_post(notes.loop, &notes.notes[i].work);
		loop_work_cancel(notes.loop, &notes.notes[cancelled].work);
		loop_work_cancel(notes.loop, &notes.notes[cancelled].work);
		assert_false(notes.notes[cancelled].work.queued);
		loop_post(notes.loop, &notes.notes[3].work);
		assert_int_equal(loop_run(notes.loop), 0);
		assert_string_equal(notes.text, left[cancelled]);
		loop_free(notes.loop);
	}
}

static void work_posted_after_the_list_was_emptied_by_cancelling_runs(void **state)
{
	struct notes notes;

	notes_init(&notes);
	loop_post(notes.loop, &notes.notes[0].work);
	loop_work_cancel(notes.loop, &notes.notes[0].work);
	loop_post(notes.loop, &notes.notes[3].work);
	assert_int_equal(loop_run(notes.loop), 0);
	assert_string_equal(notes.text, "z");
	loop_free(notes.loop);
}

static void work_left_by_a_stop_runs_at_the_next_run(void **state)
{
	struct notes notes;

	notes_init(&notes);
	loop_post(notes.loop, &notes.notes[3].work);
	loop_post(notes.loop, &notes.notes[0].work);
	assert_int_equal(loop_run(notes.loop), 0);
	assert_string_equal(notes.text, "z");
	loop_post(notes.loop, &notes.notes[3].work);
	assert_int_equal(loop_run(notes.loop), 0);
	assert_string_equal(notes.text, "zaz");
	loop_free(notes.loop);
}

/* Posts itself for ever; the timer must come through all the same. */
struct busy {
	struct loop_work work;
	struct loop *loop;
	unsigned int runs;
};

static void run_again(struct loop_work *work)
{
	struct busy *busy = container_of(work, struct busy, work);

	busy->runs++;
	loop_post(busy->loop, work);
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void work_that_posts_itself_does_not_starve_timers(void **state)
{
	struct busy busy = {.work.run = run_again};
	struct loop_timer *timer;

	assert_int_equal(loop_new(&busy.loop), 0);
	assert_int_equal(loop_timer_new(busy.loop, stop_loop, busy.loop, &timer), 0);
	loop_timer_arm_ns(timer, monotonic_ns());
	loop_post(busy.loop, &busy.work);
	assert_int_equal(loop_run(busy.loop), 0);
	loop_timer_free(timer);
	loop_work_cancel(busy.loop, &busy.work);
	loop_free(busy.loop);
}

/* May free itself: the loop is done with it before run(). */
static void free_work(struct loop_work *work)
{
	free(work);
}

static void work_may_be_freed_by_its_own_run(void **state)
{
	struct notes notes;

	notes_init(&notes);
	for (unsigned int i = 0; i < 3; i++) {
		struct loop_work *work = calloc(1, sizeof(*work));

		work->run = free_work;
		loop_post(notes.loop, work);
	}
	loop_post(notes.loop, &notes.notes[3].work);
	assert_int_equal(loop_run(notes.loop), 0);
	loop_free(notes.loop);
}

/* Threads that post the same work and their own; every post must be followed by a run. */
#define POSTS 20000

struct shared {
	struct loop_work work;
	atomic_uint wanted; /* raised before each post */
	unsigned int seen;
	unsigned int runs;
};

struct poster {
	struct loop *loop;
	struct shared *shared;
};

static void see(struct loop_work *work)
{
	struct shared *shared = container_of(work, struct shared, work);

	shared->seen = shared->wanted;
	shared->runs++;
}

static void *post_often(void *ctx)
{
	struct poster *poster = ctx;

	for (unsigned int i = 0; i < POSTS; i++) {
		poster->shared->wanted++;
		loop_post(poster->loop, &poster->shared->work);
	}
	return NULL;
}

static void nothing(void *ctx)
{
}

static void no_post_of_any_thread_is_lost(void **state)
{
	struct shared shared = {.work.run = see};
	struct loop_thread *thread;
	struct poster poster = {.shared = &shared};
	pthread_t posters[2];

	assert_int_equal(loop_thread_new("posted to", &thread), 0);
	poster.loop = loop_thread_loop(thread);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&posters[i], NULL, post_often, &poster), 0);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(posters[i], NULL);
	/* Work is served in order, so a call comes after all that was posted before. */
	loop_thread_call(thread, nothing, NULL);
	assert_int_equal(shared.seen, 2 * POSTS);
	assert_in_range(shared.runs, 1, 2 * POSTS);
	loop_thread_free(thread);
}

struct where {
	pthread_t thread;
	sigset_t mask;
	char name[16];
};

static void look_around(void *ctx)
{
	struct where *where = ctx;

	where->thread = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &where->mask);
	pthread_getname_np(pthread_self(), where->name, sizeof(where->name));
}

static void a_call_runs_on_the_named_thread_with_all_signals_blocked(void **state)
{
	struct loop_thread *thread;
	struct where where;
	sigset_t mine;

	assert_int_equal(loop_thread_new("fifteen letters", &thread), 0);
	loop_thread_call(thread, look_around, &where);
	assert_false(pthread_equal(where.thread, pthread_self()));
	assert_int_equal(sigismember(&where.mask, SIGTERM), 1);
	assert_int_equal(sigismember(&where.mask, SIGUSR1), 1);
	assert_string_equal(where.name, "fifteen letters");
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	assert_int_equal(sigismember(&mine, SIGTERM), 0);
	loop_thread_free(thread);
	loop_thread_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_runs_once_in_the_order_of_posting),
		cmocka_unit_test(cancelled_work_does_not_run_wherever_it_stands),
		cmocka_unit_test(work_posted_after_the_list_was_emptied_by_cancelling_runs),
		cmocka_unit_test(work_left_by_a_stop_runs_at_the_next_run),
		cmocka_unit_test(work_that_posts_itself_does_not_starve_timers),
		cmocka_unit_test(work_may_be_freed_by_its_own_run),
		cmocka_unit_test(no_post_of_any_thread_is_lost),
		cmocka_unit_test(a_call_runs_on_the_named_thread_with_all_signals_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
