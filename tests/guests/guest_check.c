/*
 * guest_check.c - what a shell cannot ask of a guest kernel and its processors
 *
 * A static program that the test initramfs runs. Each check is one function that returns true
 * when it found what the architecture or POSIX promises. One line of output per check; the exit
 * status is 1 when any failed. It is a plain Linux program, so it can be tried on the host first.
 */
#include <immintrin.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	      4096
#define HANG_NS	      60000000000ull /* no processor is kept from us for so long */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static sigjmp_buf resume_at;
static volatile sig_atomic_t caught_signal;
static void *volatile caught_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	caught_signal = number;
	caught_address = info->si_addr;
	siglongjmp(resume_at, 1);
}

static void catch_signal(int number)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	caught_signal = 0;
	sigaction(number, &action, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static bool a_write_to_a_read_only_page_faults_at_its_address(void)
{
	volatile char *page = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	catch_signal(SIGSEGV);
	if (sigsetjmp(resume_at, 1) == 0)
		page[PAGE + 123] = 1;
	return caught_signal == SIGSEGV && caught_address == (void *)(page + PAGE + 123);
}

static bool a_page_without_execute_permission_cannot_run(void)
{
	unsigned char *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	page[0] = 0xc3; /* ret */
	catch_signal(SIGSEGV);
	if (sigsetjmp(resume_at, 1) == 0)
		((void (*)(void))page)();
	return caught_signal == SIGSEGV && caught_address == page;
}

static bool division_by_zero_is_sigfpe(void)
{
	volatile int zero = 0, quotient = 1;

	catch_signal(SIGFPE);
	if (sigsetjmp(resume_at, 1) == 0)
		quotient = 5 / zero;
	return caught_signal == SIGFPE && quotient == 1;
}

static bool an_undefined_instruction_is_sigill(void)
{
	catch_signal(SIGILL);
	if (sigsetjmp(resume_at, 1) == 0)
		__asm__ volatile("ud2");
	return caught_signal == SIGILL;
}

/* Code that is written, run, rewritten and run again, as just-in-time compilers do. */
static bool rewritten_code_runs_as_rewritten(void)
{
	unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int (*code)(void) = (unsigned int (*)(void))page;

	if (page == MAP_FAILED)
		return false;
	for (unsigned int i = 0; i < 2000; i++) {
		page[0] = 0xb8; /* mov eax, i */
		memcpy(page + 1, &i, sizeof(i));
		page[5] = 0xc3;
		if (code() != i)
			return false;
	}
	return true;
}

static bool a_forked_child_has_its_own_copy(void)
{
	volatile int *private =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int *shared =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t child;

	*private = *shared = 1;
	child = fork();
	if (child == 0) {
		*private = *shared = 2;
		_exit(7);
	}
	return waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7 && *private == 1 &&
	       *shared == 2;
}

#define ROUNDS 200000
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t locked_count, atomic_count;

static void *count_up(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		__atomic_add_fetch(&atomic_count, 1, __ATOMIC_RELAXED);
		if (i % 8)
			continue;
		pthread_mutex_lock(&lock);
		locked_count++;
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static bool threads_lose_no_update(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		if (pthread_create(&threads[i], NULL, count_up, NULL) != 0)
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	return atomic_count == 4 * ROUNDS && locked_count == 4 * ROUNDS / 8;
}

static volatile sig_atomic_t ticks;

/* Uses the vector registers itself, so a kernel or engine that loses the context is found out. */
static void on_tick(int number)
{
	volatile double noise = number;

	for (int i = 0; i < 50; i++)
		noise = noise * 1.5 + i;
	ticks++;
}

static bool vector_registers_survive_signals_and_switches(void)
{
	__m128d step = _mm_set_pd(1.0, 0.5), sum[6];
	uint64_t start = now_ns();
	struct timespec period = {.tv_nsec = 2000000};
	struct itimerspec every = {period, period};
	timer_t timer;
	bool right = true;

	signal(SIGALRM, on_tick);
	if (timer_create(CLOCK_MONOTONIC, NULL, &timer) != 0 ||
	    timer_settime(timer, 0, &every, NULL) != 0)
		return false;
	while (right && (now_ns() - start < 300000000ull || ticks < 5) &&
	       now_ns() - start < HANG_NS) {
		for (int k = 0; k < 6; k++)
			sum[k] = _mm_set1_pd(k);
		for (int i = 0; i < 2000; i++)
			for (int k = 0; k < 6; k++)
				sum[k] = _mm_add_pd(sum[k], step);
		for (int k = 0; k < 6; k++)
			right = right && sum[k][0] == k + 1000 && sum[k][1] == k + 2000;
	}
	timer_delete(timer);
	return right && ticks >= 5;
}

static bool x87_keeps_its_64_bit_precision(void)
{
	volatile long double one = 1, tiny = 1.0L / (1ull << 62) / 2, sum = one + tiny;

	return sum != one && sum - one == tiny;
}

static bool a_tenth_of_a_second_sleeps_that_long(void)
{
	struct timespec tenth = {.tv_nsec = 100000000};
	uint64_t before = now_ns(), slept;

	nanosleep(&tenth, NULL);
	slept = now_ns() - before;
	return slept >= 100000000ull && slept < HANG_NS;
}

static bool the_monotonic_clock_never_goes_back(void)
{
	uint64_t last = now_ns(), now;

	for (int i = 0; i < 100000; i++, last = now) {
		now = now_ns();
		if (now < last)
			return false;
	}
	return true;
}

struct instant {
	uint64_t ns, tsc;
};

/* Both clocks at one instant: of many readings the one with the least time around it. */
static struct instant read_both(void)
{
	uint64_t best_gap = UINT64_MAX;
	struct instant best = {0};

	for (int i = 0; i < 200; i++) {
		uint64_t before = __rdtsc(), ns = now_ns(), gap = __rdtsc() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best = (struct instant){ns, before + gap / 2};
		}
	}
	return best;
}

static bool the_cycle_counter_agrees_with_the_clock(void)
{
	struct timespec wait = {.tv_nsec = 300000000};
	struct instant start = read_both(), half, end;
	double ratio;

	nanosleep(&wait, NULL);
	half = read_both();
	nanosleep(&wait, NULL);
	end = read_both();
	ratio = ((double)(half.tsc - start.tsc) / (half.ns - start.ns)) /
		((double)(end.tsc - half.tsc) / (end.ns - half.ns));
	return ratio > 0.98 && ratio < 1.02;
}

#define CHECK(function)                                                                            \
	{                                                                                          \
#function, function                                                                \
	}
static const struct check {
	const char *name;
	bool (*run)(void);
} checks[] = {
	CHECK(a_write_to_a_read_only_page_faults_at_its_address),
	CHECK(a_page_without_execute_permission_cannot_run),
	CHECK(division_by_zero_is_sigfpe),
	CHECK(an_undefined_instruction_is_sigill),
	CHECK(rewritten_code_runs_as_rewritten),
	CHECK(a_forked_child_has_its_own_copy),
	CHECK(threads_lose_no_update),
	CHECK(vector_registers_survive_signals_and_switches),
	CHECK(x87_keeps_its_64_bit_precision),
	CHECK(a_tenth_of_a_second_sleeps_that_long),
	CHECK(the_monotonic_clock_never_goes_back),
	CHECK(the_cycle_counter_agrees_with_the_clock),
};

int main(void)
{
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		bool right = checks[i].run();

		printf("%s %s\n", right ? "ok" : "FAIL", checks[i].name);
		fflush(stdout);
		failed += !right;
	}
	return failed > 0;
}
