/*
 * main.c - `conformance ENGINE [CASE...]`: every case in a process of its own, with a time limit
 *
 * Ends with "N passed, N failed, N skipped". Exit status: 0 all passed or skipped with a reason,
 * 1 something failed, 2 usage, 77 the engine cannot run here (what meson counts as skipped).
 *
 * CONFORMANCE_TRACE=1 shows every exit; CONFORMANCE_LIMIT_SECONDS changes the time limit of a case.
 * CONFORMANCE_SKIP="case: reason; case: reason" leaves out what the surroundings cannot do.
 *
 * Where /dev/kvm exists without hardware virtualization behind it, the cases run all the same, but
 * those whose row says what such a KVM cannot do.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

#define EXIT_SKIPPED	      77
#define DEFAULT_LIMIT_SECONDS 300 /* for what hangs; a busy host is no failure */

static const struct engine *const engines[] = {
	&kvm_engine,
	&dbt_engine,
};

#define CASE(name, vps, not_emulated) bool case_##name(struct rig *rig);
#include "cases.h"
#undef CASE

#define CASE(name, vps, not_emulated) {#name, case_##name, vps, not_emulated},
static const struct {
	const char *name;
	bool (*run)(struct rig *rig);
	unsigned int vps;
	const char *not_emulated;
} cases[] = {
#include "cases.h"
};
#undef CASE

enum outcome { PASSED, FAILED, SKIPPED, OUTCOMES };
static const char *const outcome_names[] = {"ok", "FAILED", "skipped"};

/* In the child: run the case, tell why through @fd. */
static void run_here(const struct engine *engine, size_t i, int fd)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	bool passed = rig_new(rig, engine, cases[i].vps) && cases[i].run(rig);

	if (!passed)
		dprintf(fd, "%s", rig->why);
	else
		rig_free(rig);
	_exit(passed ? PASSED : rig->skipped ? SKIPPED : FAILED);
}

/* The child's end, or its killing after @limit seconds. */
static enum outcome wait_for(pid_t child, unsigned int limit, char *why, size_t bytes)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
	bool late = poll(&end, 1, (int)limit * 1000) == 0;
	int status;

	if (late)
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(end.fd);
	if (late)
		snprintf(why, bytes, "still running after %u seconds", limit);
	else if (WIFSIGNALED(status))
		snprintf(why, bytes, "ended by signal %d", WTERMSIG(status));
	return !late && WIFEXITED(status) && WEXITSTATUS(status) < OUTCOMES
		       ? (enum outcome)WEXITSTATUS(status)
		       : FAILED;
}

static enum outcome run_case(const struct engine *engine, size_t i, unsigned int limit, char *why,
			     size_t bytes)
{
	enum outcome outcome;
	ssize_t length;
	int pipe_fd[2];
	pid_t child;

	if (pipe(pipe_fd) < 0)
		return FAILED;
	fflush(stdout);
	child = fork();
	if (child == 0)
		run_here(engine, i, pipe_fd[1]);
	close(pipe_fd[1]);
	outcome = wait_for(child, limit, why, bytes);
	length = read(pipe_fd[0], why, bytes - 1);
	if (length > 0)
		why[length] = 0;
	close(pipe_fd[0]);
	return outcome;
}

static bool is_chosen(const char *name, int count, char **names)
{
	if (!count)
		return true;
	for (int i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The reason that the environment gives for leaving out @name, or NULL. */
static const char *reason_to_skip(const char *name, char *why, size_t bytes)
{
	const char *at = getenv("CONFORMANCE_SKIP");
	size_t length = strlen(name);

	while (at && *at) {
		at += strspn(at, "; ");
		if (strncmp(at, name, length) == 0 && at[length] == ':') {
			at += length + 1;
			at += strspn(at, " ");
			snprintf(why, bytes, "%.*s", (int)strcspn(at, ";"), at);
			return why;
		}
		at += strcspn(at, ";");
	}
	return NULL;
}

static int run_all(const struct engine *engine, bool emulated, unsigned int limit, int count,
		   char **names)
{
	unsigned int outcomes[OUTCOMES] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char why[512] = "";
		enum outcome outcome = SKIPPED;

		if (!is_chosen(cases[i].name, count, names))
			continue;
		if (emulated && cases[i].not_emulated && !count)
			snprintf(why, sizeof(why), "no hardware virtualization: %s",
				 cases[i].not_emulated);
		else if (!reason_to_skip(cases[i].name, why, sizeof(why)))
			outcome = run_case(engine, i, limit, why, sizeof(why));
		outcomes[outcome]++;
		printf("%-8s %s%s%s\n", outcome_names[outcome], cases[i].name, why[0] ? ": " : "",
		       why);
	}
	printf("%u passed, %u failed, %u skipped\n", outcomes[PASSED], outcomes[FAILED],
	       outcomes[SKIPPED]);
	return outcomes[FAILED] ? 1 : 0;
}

static const struct engine *find_engine(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

static unsigned int limit_seconds(void)
{
	const char *text = getenv("CONFORMANCE_LIMIT_SECONDS");
	int limit = text ? atoi(text) : 0;

	return limit > 0 ? (unsigned int)limit : DEFAULT_LIMIT_SECONDS;
}

int main(int argc, char **argv)
{
	const struct engine *engine = argc >= 2 ? find_engine(argv[1]) : NULL;
	struct engine_probe probe;
	bool emulated;

	if (!engine) {
		fprintf(stderr, "usage: conformance ENGINE [CASE...]\nengines:");
		for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
			fprintf(stderr, " %s", engines[i]->name);
		fprintf(stderr, "\n");
		return 2;
	}
	engine->probe(&probe);
	emulated = strcmp(probe.code, "no-hardware-virtualization") == 0;
	printf("engine %s: %s (%s)\n", engine->name, probe.code, probe.why);
	if (!probe.usable && !emulated)
		return EXIT_SKIPPED;
	return run_all(engine, emulated, limit_seconds(), argc - 2, argv + 2);
}
