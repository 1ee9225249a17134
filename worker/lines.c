/*
 * lines.c - bytes as they come from a socket, to lines of bounded length
 *
 * One buffer of the size of the longest request. Lines are handed out in place and stay until room
 * is asked for, when what is left moves to the front. A buffer that is full without a newline holds
 * a line that is too long: it is reported once, then dropped as it comes.
 */
#include <errno.h>
#include <string.h>

#include "control_internal.h"

static const char *newline_in(const struct lines *lines)
{
	return memchr(lines->bytes + lines->start, '\n', lines->end - lines->start);
}

/* Drops up to the newline of a line that was too long. */
static void discard(struct lines *lines)
{
	const char *newline = newline_in(lines);

	lines->start = newline ? newline + 1 - lines->bytes : lines->end;
	lines->discarding = !newline;
}

char *lines_room(struct lines *lines, size_t *ret_bytes)
{
	memmove(lines->bytes, lines->bytes + lines->start, lines->end - lines->start);
	lines->end -= lines->start;
	lines->start = 0;
	assert(lines->end < sizeof(lines->bytes));
	*ret_bytes = sizeof(lines->bytes) - lines->end;
	return lines->bytes + lines->end;
}

void lines_filled(struct lines *lines, size_t bytes)
{
	lines->end += bytes;
	if (lines->discarding)
		discard(lines);
}

static bool is_too_long(const struct lines *lines)
{
	return lines->end - lines->start == sizeof(lines->bytes) && !newline_in(lines);
}

bool lines_ready(const struct lines *lines)
{
	return newline_in(lines) || is_too_long(lines);
}

int lines_next(struct lines *lines, const char **ret_line, size_t *ret_length)
{
	const char *line = lines->bytes + lines->start, *newline = newline_in(lines);

	if (newline) {
		*ret_line = line;
		*ret_length = newline - line;
		lines->start += *ret_length + 1;
		return 0;
	}
	if (!is_too_long(lines))
		return -EAGAIN;
	discard(lines);
	return -EMSGSIZE;
}
