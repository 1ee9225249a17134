/*
 * terminal.c - one saved mode, put back by whatever ends the process
 *
 * tcsetattr() is async-signal-safe, so the handlers of deadly signals put the mode back first
 * and then let the signal do what it does. They are installed once, before an engine installs
 * handlers of its own, which pass on what is not theirs.
 */
#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "log.h"

static struct termios saved_mode;
static volatile sig_atomic_t raw_fd = -1;

static void put_mode_back(void)
{
	int fd = raw_fd;

	raw_fd = -1;
	if (fd >= 0)
		tcsetattr(fd, TCSANOW, &saved_mode);
}

void terminal_restore(void)
{
	put_mode_back();
	log_set_raw_terminal(false);
}

/* SA_RESETHAND has put the default action back: the second time it kills. */
static void on_deadly_signal(int signal)
{
	put_mode_back();
	raise(signal);
}

static void catch_deadly_signals(void)
{
	static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT, SIGSYS};
	struct sigaction action = {.sa_handler = on_deadly_signal,
				   .sa_flags = SA_RESETHAND | SA_NODEFER | SA_ONSTACK};

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		sigaction(deadly[i], &action, NULL);
}

int terminal_set_raw(int fd)
{
	static bool prepared;
	struct termios mode;

	if (tcgetattr(fd, &saved_mode) < 0)
		return -errno;
	if (!prepared) {
		prepared = true;
		catch_deadly_signals();
		atexit(terminal_restore);
	}
	mode = saved_mode;
	cfmakeraw(&mode);
	raw_fd = fd;
	if (tcsetattr(fd, TCSANOW, &mode) < 0) {
		raw_fd = -1;
		return -errno;
	}
	log_set_raw_terminal(true);
	return 0;
}

/* The key after the escape key: 1 = it goes to the guest. */
static size_t finish_sequence(uint8_t key, enum escape_action *action)
{
	switch (key) {
	case ESCAPE_KEY: return 1;
	case 'q':
	case 'Q': *action = ESCAPE_QUIT; return 0;
	case 'h':
	case '?': *action = ESCAPE_HELP; return 0;
	default: return 0;
	}
}

size_t escape_filter(struct escape *escape, uint8_t *bytes, size_t n,
		     enum escape_action *ret_action)
{
	size_t kept = 0;

	*ret_action = ESCAPE_NONE;
	for (size_t i = 0; i < n && *ret_action != ESCAPE_QUIT; i++) {
		if (escape->pending) {
			escape->pending = false;
			if (finish_sequence(bytes[i], ret_action))
				bytes[kept++] = bytes[i];
		} else if (bytes[i] == ESCAPE_KEY) {
			escape->pending = true;
		} else {
			bytes[kept++] = bytes[i];
		}
	}
	return kept;
}
