/*
 * trace.c - trace records as readable lines
 *
 * Whole lines go out in writes of at most PIPE_BUF bytes, so lines of several VPs do not mix. On a
 * terminal they end with CR LF, since it may be raw while the guest has it.
 */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mmu.h"

#define LINE_BYTES 160

struct lines {
	unsigned int vp_index;
	const char *end;
	size_t used;
	char text[PIPE_BUF];
};

static const char *const vector_names[32] = {
	[VEC_DE] = "#DE", [VEC_DB] = "#DB", [VEC_NMI] = "NMI", [VEC_BP] = "#BP", [VEC_OF] = "#OF",
	[VEC_BR] = "#BR", [VEC_UD] = "#UD", [VEC_NM] = "#NM",  [VEC_DF] = "#DF", [VEC_TS] = "#TS",
	[VEC_NP] = "#NP", [VEC_SS] = "#SS", [VEC_GP] = "#GP",  [VEC_PF] = "#PF", [VEC_MF] = "#MF",
	[VEC_AC] = "#AC", [VEC_MC] = "#MC", [VEC_XM] = "#XM",
};

static const char *vector_name(uint8_t vector)
{
	return vector < ARRAY_SIZE(vector_names) && vector_names[vector] ? vector_names[vector]
									 : "?";
}

static const char *access_name(uint32_t access)
{
	if (access & ACCESS_EXECUTE)
		return "execute";
	return access & ACCESS_WRITE ? "write" : "read";
}

/* --- one line each --- */

static int describe_exception(const struct trace_record *record, char *text, size_t bytes)
{
	char error[24] = "", cr2[32] = "";

	if (record->has_error)
		snprintf(error, sizeof(error), ", error %#x", record->error);
	if (record->vector == VEC_PF)
		snprintf(cr2, sizeof(cr2), ", cr2 %#" PRIx64, record->value);
	return snprintf(text, bytes, "exception %u (%s)%s%s, rip %#" PRIx64 ", cpl %u",
			record->vector, vector_name(record->vector), error, cr2, record->at,
			record->cpl);
}

static int describe_interrupt(const struct trace_record *record, char *text, size_t bytes)
{
	return snprintf(text, bytes, "interrupt %#x, rip %#" PRIx64 ", cpl %u", record->vector,
			record->at, record->cpl);
}

static int describe_walk(const struct trace_record *record, char *text, size_t bytes)
{
	return snprintf(text, bytes, "walk %#" PRIx64 " to %s: gpa %#" PRIx64, record->at,
			access_name(record->extra), record->value);
}

static int describe_walk_fault(const struct trace_record *record, char *text, size_t bytes)
{
	return snprintf(text, bytes, "walk %#" PRIx64 " to %s: %s, error %#x", record->at,
			access_name(record->extra), vector_name(record->vector), record->error);
}

static int describe_block(const struct trace_record *record, char *text, size_t bytes)
{
	return snprintf(text, bytes, "block %#" PRIx64 ", mode %#x", record->at, record->extra);
}

static int describe_translation(const struct trace_record *record, char *text, size_t bytes)
{
	return snprintf(text, bytes, "translated %#" PRIx64 ", mode %#x, %u bytes to %u",
			record->at, record->extra, (uint32_t)record->value,
			(uint32_t)(record->value >> 32));
}

static int (*const describe[])(const struct trace_record *record, char *text, size_t bytes) = {
	[TRACE_EXCEPTION] = describe_exception, [TRACE_INTERRUPT] = describe_interrupt,
	[TRACE_WALK] = describe_walk,		[TRACE_WALK_FAULT] = describe_walk_fault,
	[TRACE_BLOCK] = describe_block,		[TRACE_TRANSLATION] = describe_translation,
};

/* --- many --- */

/* A standard error that does not take them loses them; the guest goes on. */
static void write_lines(struct lines *lines)
{
	size_t done = 0;

	while (done < lines->used) {
		ssize_t written = write(STDERR_FILENO, lines->text + done, lines->used - done);

		if (written > 0)
			done += (size_t)written;
		else if (written == 0 || errno != EINTR)
			break;
	}
	lines->used = 0;
}

/* Room for one more line, which begins with the VP's name. */
static char *begin_line(struct lines *lines)
{
	if (lines->used + LINE_BYTES > sizeof(lines->text))
		write_lines(lines);
	lines->used +=
		(size_t)snprintf(lines->text + lines->used, LINE_BYTES, "vp %u: ", lines->vp_index);
	return lines->text + lines->used;
}

static void end_line(struct lines *lines, int used)
{
	lines->used += (size_t)used;
	lines->used += (size_t)snprintf(lines->text + lines->used, 3, "%s", lines->end);
}

void trace_drain(struct dbt_vp *vp)
{
	struct trace_buffer *buffer = vp->trace;
	struct lines lines;

	if (likely(!buffer->count))
		return;
	lines.vp_index = vp->vp.index;
	lines.end = isatty(STDERR_FILENO) ? "\r\n" : "\n";
	lines.used = 0;
	for (uint32_t i = 0; i < buffer->count; i++) {
		const struct trace_record *record = &buffer->records[i];
		char *text = begin_line(&lines);

		end_line(&lines, describe[record->kind](record, text, LINE_BYTES));
	}
	if (buffer->lost) {
		char *text = begin_line(&lines);

		end_line(&lines, snprintf(text, LINE_BYTES, "%" PRIu64 " more were not noted",
					  buffer->lost));
	}
	write_lines(&lines);
	buffer->count = 0;
	buffer->lost = 0;
	atomic_fetch_and(&vp->requests, ~REQ_TRACE);
}

int trace_vp_create(struct dbt_vp *vp)
{
	vp->trace = calloc(1, sizeof(*vp->trace));
	return vp->trace ? 0 : -ENOMEM;
}

void trace_vp_destroy(struct dbt_vp *vp)
{
	free(vp->trace);
}
