/*
 * trace_test.c - the buffer of trace records and the lines they become
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mmu.h"
#include "trace.h"

struct fixture {
	struct dbt_partition part;
	struct dbt_vp *vp;
	char *text; /* what the last drain() wrote */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->vp = aligned_alloc(64, ALIGN_UP(sizeof(*f->vp), 64));
	memset(f->vp, 0, sizeof(*f->vp));
	f->vp->vp.part = &f->part.part;
	f->vp->vp.index = 3;
	atomic_store(&f->vp->jump_mask, JUMP_MASK);
	*state = f;
	return trace_vp_create(f->vp);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	trace_vp_destroy(f->vp);
	free(f->vp);
	free(f->text);
	free(f);
	return 0;
}

/* Drains with standard error going to a file, and returns what came. */
static const char *drain(struct fixture *f)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	long bytes;

	assert_true(file && saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
	trace_drain(f->vp);
	dup2(saved, STDERR_FILENO);
	close(saved);
	bytes = lseek(fileno(file), 0, SEEK_END);
	free(f->text);
	f->text = calloc(1, (size_t)bytes + 1);
	assert_int_equal(pread(fileno(file), f->text, (size_t)bytes, 0), bytes);
	fclose(file);
	return f->text;
}

static unsigned int count_lines(const char *text)
{
	unsigned int lines = 0;

	for (; (text = strchr(text, '\n')); text++)
		lines++;
	return lines;
}

static void note_blocks(struct fixture *f, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		trace_note(f->vp,
			   (struct trace_record){.kind = TRACE_BLOCK, .at = ~0ull - i, .extra = i});
}

static void a_record_of_each_kind_becomes_a_line(void **state)
{
	static const struct {
		struct trace_record record;
		const char *line;
	} cases[] = {
		{{.kind = TRACE_EXCEPTION, .vector = VEC_UD, .at = 0x1000, .value = 0x99},
		 "vp 3: exception 6 (#UD), rip 0x1000, cpl 0\n"},
		{{.kind = TRACE_EXCEPTION,
		  .vector = VEC_GP,
		  .has_error = true,
		  .error = 0x33,
		  .at = 0x1000,
		  .cpl = 3},
		 "vp 3: exception 13 (#GP), error 0x33, rip 0x1000, cpl 3\n"},
		{{.kind = TRACE_EXCEPTION,
		  .vector = VEC_PF,
		  .has_error = true,
		  .error = 6,
		  .at = ~0ull,
		  .value = 0x99,
		  .cpl = 3},
		 "vp 3: exception 14 (#PF), error 0x6, cr2 0x99, rip 0xffffffffffffffff, cpl 3\n"},
		{{.kind = TRACE_EXCEPTION, .vector = 200, .at = 0x1000},
		 "vp 3: exception 200 (?), rip 0x1000, cpl 0\n"},
		{{.kind = TRACE_INTERRUPT, .vector = 0xec, .at = 0x1000, .cpl = 3},
		 "vp 3: interrupt 0xec, rip 0x1000, cpl 3\n"},
		{{.kind = TRACE_WALK,
		  .extra = ACCESS_READ | ACCESS_WRITE,
		  .at = 0x1234,
		  .value = 0x5000},
		 "vp 3: walk 0x1234 to write: gpa 0x5000\n"},
		{{.kind = TRACE_WALK, .extra = ACCESS_READ, .at = 0x1234, .value = 0x5000},
		 "vp 3: walk 0x1234 to read: gpa 0x5000\n"},
		{{.kind = TRACE_WALK_FAULT,
		  .extra = ACCESS_EXECUTE,
		  .at = 0x1234,
		  .vector = VEC_PF,
		  .error = 0x10},
		 "vp 3: walk 0x1234 to execute: #PF, error 0x10\n"},
		{{.kind = TRACE_BLOCK, .at = 0x1000, .extra = MODE_CODE64 | MODE_STEP},
		 "vp 3: block 0x1000, mode 0x1001\n"},
		{{.kind = TRACE_TRANSLATION, .at = 0x1000, .extra = 1, .value = 12 | 345ull << 32},
		 "vp 3: translated 0x1000, mode 0x1, 12 bytes to 345\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		trace_note(((struct fixture *)*state)->vp, cases[i].record);
		assert_string_equal(drain(*state), cases[i].line);
	}
}

static void an_empty_buffer_writes_nothing(void **state)
{
	assert_string_equal(drain(*state), "");
}

static void a_nearly_full_buffer_asks_for_an_exit_until_it_is_drained(void **state)
{
	struct fixture *f = *state;

	note_blocks(f, TRACE_RECORDS - TRACE_RESERVE - 1);
	assert_int_equal(atomic_load(&f->vp->exit_request), 0);
	assert_int_equal(atomic_load(&f->vp->requests), 0);
	note_blocks(f, 1);
	assert_int_equal(atomic_load(&f->vp->exit_request), 1);
	assert_int_equal(atomic_load(&f->vp->jump_mask), 0);
	assert_int_equal(atomic_load(&f->vp->requests), REQ_TRACE);
	atomic_fetch_or(&f->vp->requests, REQ_NMI);
	assert_int_equal(count_lines(drain(f)), TRACE_RECORDS - TRACE_RESERVE);
	assert_int_equal(atomic_load(&f->vp->requests), REQ_NMI);
}

static void what_does_not_fit_is_counted(void **state)
{
	struct fixture *f = *state;

	note_blocks(f, TRACE_RECORDS + 7);
	assert_int_equal(count_lines(drain(f)), TRACE_RECORDS + 1);
	assert_non_null(strstr(f->text, "\nvp 3: 7 more were not noted\n"));
	note_blocks(f, 1);
	assert_string_equal(drain(f), "vp 3: block 0xffffffffffffffff, mode 0\n");
}

static void a_full_buffer_is_written_in_order_and_in_whole_lines(void **state)
{
	struct fixture *f = *state;
	const char *at;

	note_blocks(f, TRACE_RECORDS);
	at = drain(f);
	for (unsigned int i = 0; i < TRACE_RECORDS; i++) {
		char line[80];

		snprintf(line, sizeof(line), "vp 3: block %#llx, mode %#x\n", ~0ull - i, i);
		assert_memory_equal(at, line, strlen(line));
		at += strlen(line);
	}
	assert_string_equal(at, "");
}

static void only_what_was_asked_for_is_wanted(void **state)
{
	struct fixture *f = *state;

	assert_false(trace_wants(f->vp, ~0u));
	f->part.part.trace = PARTITION_TRACE_MMU;
	assert_true(trace_wants(f->vp, PARTITION_TRACE_MMU));
	assert_false(trace_wants(f->vp, PARTITION_TRACE_EXCEPTIONS | PARTITION_TRACE_BLOCKS));
}

#define TRACE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TRACE_TEST(a_record_of_each_kind_becomes_a_line),
		TRACE_TEST(an_empty_buffer_writes_nothing),
		TRACE_TEST(a_nearly_full_buffer_asks_for_an_exit_until_it_is_drained),
		TRACE_TEST(what_does_not_fit_is_counted),
		TRACE_TEST(a_full_buffer_is_written_in_order_and_in_whole_lines),
		TRACE_TEST(only_what_was_asked_for_is_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
