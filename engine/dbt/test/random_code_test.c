/*
 * random_code_test.c - random bytes as guest code: the engine survives, ends in time, stays inside
 *
 * usage: random_code_test [runs [seed]]
 *
 * Each run starts in a random mode and privilege level, with random registers, segments, control
 * bits and interrupt table, in memory full of random bytes, instruction-like bytes and pointers. It
 * is cancelled after a few milliseconds. Then: vp_run() has returned, for a reason there is; the
 * state can be read and set again; the canaries beside the guest's memory are whole. Access to host
 * memory that is not the guest's would hit a guard zone or a canary, or is reported by the engine.
 * Every other partition has two VPs on the same memory, so that code changes under the other's
 * feet.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define RUNS_PER_PARTITION 100
#define RUN_NS		   2000000
#define STUCK_NS	   120000000000
#define MAX_EXITS	   200
#define IDT		   0x20000 /* guest physical: tables that code may reach for */
#define SOUP_BYTES	   (256 * KIB)

/* One VP's thread, as seen by the one that cancels. */
struct runner {
	struct guest *guest;
	unsigned int index;
	uint64_t random, seed; /* @seed: of the current run */
	pthread_mutex_t lock;  /* of began_ns; while it is held and not 0, the VP exists */
	uint64_t began_ns;     /* 0: not in vp_run() */
	unsigned long exits[VP_EXIT_FAILED + 1], runs;
	const char *failure;
	char why[200];
};

static struct runner runners[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER},
				   {.lock = PTHREAD_MUTEX_INITIALIZER}};
static _Atomic bool finished;

static uint64_t random64(struct runner *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random * 0x2545f4914f6cdd1dull;
}

static uint32_t below(struct runner *r, uint32_t bound)
{
	return (random64(r) >> 32) % bound;
}

static bool one_in(struct runner *r, uint32_t n)
{
	return below(r, n) == 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* --- the soup --- */

static uint64_t likely_value(struct runner *r)
{
	switch (below(r, 8)) {
	case 0: return below(r, 256);
	case 1: return random64(r);
	case 2: return (int64_t)(int32_t)random64(r);
	case 3: return GUEST_BYTES - 1 - below(r, 64);
	case 4: return GUEST_ALIAS + below(r, GUEST_BYTES);
	case 5: return 0xfee00000 + below(r, 64) * 16;
	default: return GUEST_CODE + below(r, SOUP_BYTES);
	}
}

/* What a kernel does, and random code would seldom hit. */
static const char *const phrases[] = {
	"\x0f\x22\xd8",
	"\x0f\x22\xc0",
	"\x0f\x22\xe0",
	"\x0f\x20\xc0",
	"\x0f\x20\xd8",
	"\x0f\x23\xc0", /* CR, DR */
	"\x0f\x23\xf8",
	"\x0f\x21\xf0",
	"\x0f\x30",
	"\x0f\x32",
	"\x0f\x01\xf8",
	"\x0f\x05",
	"\x0f\x07",
	"\x0f\x34",
	"\x0f\x35",
	"\x48\xcf",
	"\xcf",
	"\xcb",
	"\xca",
	"\x0f\x01\x10",
	"\x0f\x01\x18",
	"\x0f\x01\x38",
	"\x0f\xae\x20",
	"\x0f\xae\x28",
	"\x0f\xae\x00",
	"\x0f\xae\x08",
	"\x0f\xc7\x20",
	"\x0f\xc7\x08",
	"\x0f\x01\xd1",
	"\xf3\xa4",
	"\xf3\xab",
	"\xf2\xa6",
	"\xf3\xaf",
	"\xf3\x6c",
	"\xf3\x6f",
	"\xe4",
	"\xe6",
	"\xed",
	"\xef",
	"\xf4",
	"\xfa",
	"\xfb",
	"\xfb\xf4",
	"\x9c",
	"\x9d",
	"\x8e\xd8",
	"\x8e\xd0",
	"\x8e\xe0",
	"\x8e\xe8",
	"\x0f\x00\xd0",
	"\x0f\x00\xd8",
	"\x0f\xa2",
	"\x0f\x31",
	"\xea",
	"\x9a",
	"\xff\x28",
	"\xff\x18",
	"\xcd",
	"\xcc",
	"\xce",
	"\xf1",
	"\xe8",
	"\xe9",
	"\xeb",
	"\x74",
	"\x75",
	"\xe2",
	"\xc3",
	"\xc2",
	"\xff\xd0",
	"\xff\xe0",
	"\x0f\x01\xca",
	"\x0f\x01\xcb",
	"\xf0\x0f\xb1",
	"\x8f",
	"\xc8",
	"\xc9",
	"\x60",
	"\x61",
	"\x62",
	"\x63",
	"\x0f\x08",
	"\x0f\x09",
	"\x66\x0f\x38\x82",
	"\xd9\x30",
	"\xdd\x30",
	"\xdd\x20",
	"\x0f\xf7",
	"\xc4\xe2\x75\x90",
	"\xc4\xe2\x71\x8e",
};

static unsigned int put_phrase(struct runner *r, uint8_t *at)
{
	const char *phrase = phrases[below(r, ARRAY_SIZE(phrases))];
	unsigned int n = 0, bytes = strlen(phrase);

	if (one_in(r, 8))
		at[n++] = "\x66\x67\x48\x4c\x65\x2e\xf0\xf3"[below(r, 8)];
	memcpy(at + n, phrase, bytes);
	return n + bytes;
}

static unsigned int put_mov(struct runner *r, uint8_t *at)
{
	uint32_t value = likely_value(r);

	at[0] = 0xb8 | below(r, 8);
	memcpy(at + 1, &value, 4);
	return 5;
}

static unsigned int put_opcode(struct runner *r, uint8_t *at)
{
	unsigned int n = 0, map = below(r, 6);

	if (one_in(r, 3))
		at[n++] = "\x66\x67\xf2\xf3\x48\x4f\x64\x36"[below(r, 8)];
	if (map == 5) {
		at[n++] = 0xc4;
		at[n++] = 0xe1 + below(r, 3);
		at[n++] = random64(r) >> 20;
	} else if (map) {
		at[n++] = 0x0f;
		if (map == 3)
			at[n++] = 0x38;
		if (map == 4)
			at[n++] = 0x3a;
	}
	at[n++] = random64(r) >> 30;
	if (!one_in(r, 3))
		at[n++] = one_in(r, 2) ? 0xc0 | below(r, 64) : below(r, 192);
	return n;
}

static void put_soup(struct runner *r, uint8_t *at, unsigned int bytes)
{
	uint8_t *end = at + bytes - 16;

	while (at < end) {
		switch (below(r, 8)) {
		case 0: at += put_mov(r, at); break;
		case 1 ... 2: at += put_phrase(r, at); break;
		case 3 ... 5: at += put_opcode(r, at); break;
		case 6: *at++ = random64(r) >> 40; break;
		case 7: memcpy(at, &(uint64_t){likely_value(r)}, 8); at += 1 + below(r, 8);
		}
	}
}

/* --- the state --- */

static void random_gates(struct runner *r, struct vp_state *s, enum guest_mode mode)
{
	uint8_t *idt = r->guest->ram + IDT;
	bool wide = mode >= GUEST_COMPATIBILITY;

	s->idtr = (struct vp_table){IDT, wide ? 4095 : mode == GUEST_REAL ? 1023 : 2047};
	for (unsigned int vector = 0; vector < 256 && mode != GUEST_REAL; vector++) {
		uint32_t handler = GUEST_CODE + below(r, SOUP_BYTES),
			 type = one_in(r, 8) ? below(r, 256) : 0xee;
		uint32_t selector = one_in(r, 16)		 ? below(r, 80)
				    : wide			 ? 0x08
				    : mode == GUEST_PROTECTED_16 ? 0x38
								 : 0x18;
		uint64_t gate = (handler & 0xffff) | selector << 16 | (uint64_t)type << 40 |
				(uint64_t)(handler >> 16) << 48;

		memcpy(idt + vector * (wide ? 16 : 8), &gate, 8);
		if (wide)
			memset(idt + vector * 16 + 8, 0, 8);
	}
	for (unsigned int vector = 0; vector < 256 && mode == GUEST_REAL; vector++)
		memcpy(idt + vector * 4, &(uint32_t){0xf0000000u | below(r, 0x10000)}, 4);
}

static void random_segments(struct runner *r, struct vp_state *s)
{
	for (unsigned int i = VP_ES; i <= VP_GS; i++) {
		if (below(r, 3))
			continue;
		s->segment[i].base =
			one_in(r, 2) ? below(r, 0x1000) * 16 : (uint32_t)likely_value(r);
		s->segment[i].limit = one_in(r, 2) ? below(r, 0x10000) : 0xffffffff;
		if (one_in(r, 8))
			s->segment[i].access ^= BIT(below(r, 17));
	}
}

static void random_control(struct runner *r, struct vp_state *s)
{
	static const uint64_t cr4_bits =
		0x7 | BIT(3) | BIT(7) | BIT(11) | BIT(16) | BIT(20) | BIT(21);

	s->cr4 ^= random64(r) & cr4_bits & random64(r);
	s->cr0 ^= random64(r) & (0xe | BIT(16) | BIT(18)) & random64(r);
	if (s->efer && one_in(r, 2))
		s->efer |= 1;
	s->lstar = s->cstar = s->sysenter_eip = GUEST_CODE + below(r, SOUP_BYTES);
	s->star = 0x0023001000000000ull + (below(r, 4) << 28);
	s->sysenter_cs = one_in(r, 2) ? 0x08 : below(r, 64);
	s->sysenter_esp = GUEST_STACK;
	s->regs.rflags |= random64(r) & 0x3dd7d5 & random64(r);
}

static void random_state(struct runner *r, struct vp_state *s)
{
	enum guest_mode mode = below(r, GUEST_LONG + 1);
	unsigned int cpl = mode >= GUEST_PROTECTED_32 && one_in(r, 2) ? 3 : 0;

	guest_state(r->guest, mode, cpl, GUEST_CODE + below(r, SOUP_BYTES), s);
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		if (i != VP_RSP || one_in(r, 4))
			s->regs.gpr[i] = likely_value(r);
	if (mode == GUEST_REAL || mode == GUEST_PROTECTED_16) {
		for (unsigned int i = VP_ES; i <= VP_GS; i++)
			s->segment[i].base = GUEST_CODE + (i == VP_CS ? 0 : below(r, SOUP_BYTES));
		s->segment[VP_CS].selector = mode == GUEST_REAL ? 0xf000 : 0x38;
		s->regs.rip &= 0xffff;
	}
	if (mode != GUEST_LONG && one_in(r, 3))
		random_segments(r, s);
	if (below(r, 4))
		random_gates(r, s, mode);
	random_control(r, s);
	for (unsigned int i = 0; i < 512; i += 8)
		memcpy(s->xsave + i, &(uint64_t){i == 24 ? 0x1f80 : random64(r)}, 8);
	memcpy(s->xsave, &(uint64_t){0x37f}, 8);
	memset(s->xsave + 512, 0, 64);
	s->xsave[512] = 3;
}

/* --- a run --- */

static void answer(struct runner *r, struct vp_exit *exit)
{
	if (exit->reason == VP_EXIT_PIO && !exit->pio.write)
		exit->pio.data = random64(r);
	else if (exit->reason == VP_EXIT_MMIO && !exit->mmio.write)
		exit->mmio.data = random64(r);
	else if (exit->reason == VP_EXIT_MSR)
		exit->msr.fault = one_in(r, 2);
}

static bool fail(struct runner *r, const char *failure)
{
	r->failure = failure;
	return false;
}

/* Until it cannot go on, or time is up. */
static bool run_to_the_end(struct runner *r, struct vp *vp)
{
	struct vp_exit *exit = &r->guest->exit[r->index];

	for (unsigned int i = 0; i < MAX_EXITS; i++) {
		int result = vp_run(vp, exit);

		if (result < 0 || exit->reason > VP_EXIT_FAILED)
			return fail(r, "vp_run() failed");
		r->exits[exit->reason]++;
		if (exit->reason == VP_EXIT_FAILED) {
			memcpy(r->why, exit->failed.why, sizeof(exit->failed.why));
			return strstr(r->why, "host memory") ? fail(r, r->why) : true;
		}
		if (exit->reason == VP_EXIT_SHUTDOWN || exit->reason == VP_EXIT_CANCELLED)
			return true;
		answer(r, exit);
	}
	return true;
}

static void note_time(struct runner *r, uint64_t ns)
{
	pthread_mutex_lock(&r->lock);
	r->began_ns = ns;
	pthread_mutex_unlock(&r->lock);
}

static bool run_once(struct runner *r)
{
	struct vp *vp = r->guest->vp[r->index];
	struct vp_state *state = malloc(sizeof(*state));
	bool ok = true;

	random_state(r, state);
	if (vp_set_state(vp, state) == 0) {
		note_time(r, now_ns());
		ok = run_to_the_end(r, vp);
		note_time(r, 0);
		r->runs++;
		if (vp_get_state(vp, state) < 0 || vp_set_state(vp, state) < 0)
			ok = fail(r, "the state that it left cannot be set");
	}
	if (!guest_canaries_intact(r->guest))
		ok = fail(r, "host memory beside the guest's was written");
	free(state);
	return ok;
}

static void *run_many(void *argument)
{
	struct runner *r = argument;
	uint64_t seed = r->seed;

	for (unsigned int i = 0; i < RUNS_PER_PARTITION && !r->failure; i++) {
		r->seed = seed + i;
		r->random = (seed + i) * 0x9e3779b97f4a7c15ull + r->index + 1;
		if (r->index == 0)
			put_soup(r, r->guest->ram + GUEST_CODE, SOUP_BYTES);
		partition_memory_written(r->guest->part, GUEST_CODE, SOUP_BYTES);
		run_once(r);
	}
	return NULL;
}

/* --- watching --- */

/* The guest's tables are soup by now: no more than a small new partition is needed. */
static bool run_partition(uint64_t seed, unsigned int vps)
{
	struct guest guest;
	pthread_t second;
	bool ok;

	if (guest_new(vps, &guest) < 0)
		return false;
	for (unsigned int i = 0; i < vps; i++) {
		runners[i].guest = &guest;
		runners[i].index = i;
		runners[i].seed = seed;
	}
	if (vps == 2)
		pthread_create(&second, NULL, run_many, &runners[1]);
	run_many(&runners[0]);
	if (vps == 2)
		pthread_join(second, NULL);
	ok = guest_canaries_intact(&guest) && !runners[0].failure && !runners[1].failure;
	guest_free(&guest);
	return ok;
}

static void give_up(const char *what)
{
	char text[160];
	int n = snprintf(text, sizeof(text), "random_code_test: %s; seeds %llu, %llu\n", what,
			 (unsigned long long)runners[0].seed, (unsigned long long)runners[1].seed);

	if (write(STDERR_FILENO, text, n) < 0)
		_exit(2);
	_exit(1);
}

static void *cancel_late_runs(void *unused)
{
	while (!atomic_load(&finished)) {
		nanosleep(&(struct timespec){.tv_nsec = RUN_NS / 4}, NULL);
		for (unsigned int i = 0; i < ARRAY_SIZE(runners); i++) {
			struct runner *r = &runners[i];

			pthread_mutex_lock(&r->lock);
			if (r->began_ns && now_ns() > r->began_ns + RUN_NS)
				vp_cancel(r->guest->vp[i]);
			if (r->began_ns && now_ns() > r->began_ns + STUCK_NS)
				give_up("a run does not end");
			pthread_mutex_unlock(&r->lock);
		}
	}
	return NULL;
}

static void on_crash(int number)
{
	give_up("the engine crashed");
}

static void report(void)
{
	static const char *const names[] = {"pio", "mmio",     "msr",	    "hypercall",
					    "eoi", "shutdown", "cancelled", "failed"};

	printf("%lu runs, exits:", runners[0].runs + runners[1].runs);
	for (unsigned int i = 0; i <= VP_EXIT_FAILED; i++)
		printf(" %s %lu", names[i], runners[0].exits[i] + runners[1].exits[i]);
	printf("\n");
	for (unsigned int i = 0; i < ARRAY_SIZE(runners); i++)
		if (runners[i].failure)
			printf("VP %u, seed %llu: %s\n", i, (unsigned long long)runners[i].seed,
			       runners[i].failure);
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 0) : 2500;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	pthread_t canceller;
	bool ok = true;

	signal(SIGSEGV, on_crash);
	signal(SIGBUS, on_crash);
	signal(SIGILL, on_crash);
	signal(SIGFPE, on_crash);
	signal(SIGABRT, on_crash);
	pthread_create(&canceller, NULL, cancel_late_runs, NULL);
	for (unsigned long i = 0; ok && i < runs; i += RUNS_PER_PARTITION)
		ok = run_partition(seed + i, 1 + i / RUNS_PER_PARTITION % 2);
	atomic_store(&finished, true);
	pthread_join(canceller, NULL);
	report();
	return ok ? 0 : 1;
}
