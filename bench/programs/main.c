/*
 * main.c - runs the benchmark programs named on the command line, or all of them
 *
 * Each prints a line "BENCH name seconds checksum", measured with CLOCK_MONOTONIC where it runs;
 * "BENCH name skip" where this processor lacks what it needs. Each runs in a child process, so
 * that none inherits another's heap. "--list" prints the names; "--exit" does nothing, which is
 * what the exec benchmark runs.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "benchmark.h"

static const struct benchmark *const tables[] = {
	integer_benchmarks, memory_benchmarks, branch_benchmarks,
	double_benchmarks,  simd_benchmarks,   kernel_benchmarks,
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void run_here(const struct benchmark *benchmark)
{
	double start = now(), seconds;
	uint64_t checksum = benchmark->run();

	seconds = now() - start;
	printf("BENCH %s %.6f %016lx\n", benchmark->name, seconds, (unsigned long)checksum);
	fflush(stdout);
}

static int run_in_child(const struct benchmark *benchmark)
{
	int status = 0;
	pid_t child;

	if (benchmark->possible && !benchmark->possible()) {
		printf("BENCH %s skip\n", benchmark->name);
		fflush(stdout);
		return 0;
	}
	child = fork();
	if (child == 0) {
		run_here(benchmark);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
		printf("BENCH %s failed with wait status %#x\n", benchmark->name, status);
		fflush(stdout);
		return 1;
	}
	return 0;
}

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
	int failed = 0;

	if (argc == 2 && strcmp(argv[1], "--exit") == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct benchmark *benchmark = tables[i]; benchmark->name; benchmark++) {
			if (list)
				puts(benchmark->name);
			else if (is_wanted(benchmark->name, argc, argv))
				failed += run_in_child(benchmark);
		}
	}
	return failed > 0;
}
