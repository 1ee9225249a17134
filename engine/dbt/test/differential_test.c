/*
 * differential_test.c - random machine code, natively and in the engine: the same result?
 *
 * usage: differential_test [cases [seed]]
 *
 * Compared are the exception that ended the run (with error code and CR2), RIP, general registers,
 * x87, MMX, SSE and AVX state, the data pages, and the flags: all at the end, at a fault those that
 * something after it may read. Every template must have run to its end, if enough cases were asked
 * for.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "generate.h"
#include "vp.h"

#define ENOUGH_FOR_COVERAGE 150000
#define MAX_REPORTS	    40
#define STUCK_SECONDS	    120

static struct test_case current;
static struct machine_state native, engine;
static _Atomic unsigned long cases_done;

static void report(const struct test_case *c, const char *difference)
{
	printf("differs:%s [", c->names);
	for (unsigned int i = 0; i < c->bytes; i++)
		printf("%02x", c->code[i]);
	printf("] at %#llx, %s-bit: %s\n", (unsigned long long)c->va, c->start.code32 ? "32" : "64",
	       difference);
	if (!getenv("DIFFERENTIAL_VERBOSE"))
		return;
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		printf("  r%u=%llx", i, (unsigned long long)c->start.gpr[i]);
	printf("  native stopped by %u at %#llx, cr2 %#llx", native.vector,
	       (unsigned long long)native.rip, (unsigned long long)native.cr2);
	printf("  rflags=%llx gs=%llx\n", (unsigned long long)c->start.rflags,
	       (unsigned long long)c->start.gs_base);
}

/* A case that does not end is shown, whichever side is to blame. */
static void *watch(void *unused)
{
	unsigned long seen = 0;
	int still = 0;

	while (still < STUCK_SECONDS) {
		unsigned long now = atomic_load(&cases_done);

		sleep(1);
		still = now == seen ? still + 1 : 0;
		seen = now;
	}
	report(&current, "does not end");
	fflush(stdout);
	_exit(1);
}

static uint64_t flags_to_compare(const struct generator *g, const struct machine_state *native)
{
	uint64_t always = FLAG_DF | FLAG_IF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID;

	if (native->vector == VEC_BP)
		return FLAGS_ARITH | always;
	return generate_live_flags(g, &current, native->rip) | always;
}

static bool run_case(struct differential *d, struct generator *g)
{
	const char *difference;

	generate_case(g, differential_next(d, CASE_MAX_BYTES, generator_before_page_end(g)),
		      &current);
	differential_place(d, current.code, current.bytes);
	native = engine = current.start;
	if (differential_native(d, &native) < 0 || differential_engine(d, &engine) < 0) {
		report(&current, "could not be run");
		return false;
	}
	difference = differential_compare(&native, &engine, flags_to_compare(g, &native));
	if (difference)
		report(&current, difference);
	else if (native.vector == VEC_BP && native.rip == current.va + current.bytes)
		generator_note_end(g, &current);
	return !difference;
}

static unsigned long run_cases(struct differential *d, struct generator *generators[2],
			       unsigned long cases)
{
	unsigned long failed = 0;

	for (unsigned long i = 0; i < cases && failed < MAX_REPORTS; i++) {
		failed += !run_case(d, generators[i % 4 == 3]);
		atomic_fetch_add(&cases_done, 1);
	}
	return failed;
}

static unsigned int check_coverage(struct generator *generators[2])
{
	unsigned int missing = generator_report(generators[0]) + generator_report(generators[1]);

	if (missing)
		printf("%u forms of instructions never ran to the end\n", missing);
	return missing;
}

int main(int argc, char **argv)
{
	unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : 200000, failed;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x6d756c6c696f6eull;
	struct generator *generators[2] = {generator_new(seed, false),
					   generator_new(seed + 1, true)};
	struct differential *d;
	pthread_t watcher;

	if (!generators[0] || !generators[1] || differential_new(&d) < 0) {
		fprintf(stderr, "differential_test: cannot create a partition on the dbt engine\n");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_create(&watcher, NULL, watch, NULL);
	failed = run_cases(d, generators, cases);
	if (cases >= ENOUGH_FOR_COVERAGE && !failed)
		failed += check_coverage(generators);
	differential_free(d);
	generator_free(generators[0]);
	generator_free(generators[1]);
	printf("%lu cases, %lu differ\n", cases, failed);
	return failed != 0;
}
