/*
 * log.c - formats one line in a local buffer and writes it with one write(2)
 *
 * Messages carry file names and text from files, which are hostile: control characters are
 * replaced, so that a message stays one line and cannot drive the terminal.
 */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES  1024
#define PATIENCE_MS 1000

static _Atomic int shown_level = LOG_WARNING;
static atomic_bool raw_terminal;

void log_set_level(enum log_level level)
{
	shown_level = level;
}

void log_set_raw_terminal(bool raw)
{
	raw_terminal = raw;
}

static void replace_control_characters(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

void log_message(enum log_level level, const char *format, ...)
{
	static const char prefix[] = "mullion: ";
	char line[LINE_BYTES];
	size_t used = sizeof(prefix) - 1;
	struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
	int saved_errno = errno;
	va_list args;

	if ((int)level > shown_level)
		return;
	memcpy(line, prefix, used);
	va_start(args, format);
	vsnprintf(line + used, sizeof(line) - used - 2, format, args);
	va_end(args);
	replace_control_characters(line + used);
	used += strlen(line + used);
	if (raw_terminal)
		line[used++] = '\r';
	line[used++] = '\n';
	/* A reader that is stuck must not hold up the program for ever. */
	poll(&writable, 1, PATIENCE_MS);
	if (!(writable.revents & (POLLOUT | POLLERR)))
		used = 0;
	if (used && write(STDERR_FILENO, line, used) < 0) {
		/* Nobody is left to tell. */
	}
	errno = saved_errno;
}
