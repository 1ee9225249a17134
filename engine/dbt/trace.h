/*
 * trace.h - what the engine tells about itself with --trace
 *
 * Light code cannot print, so it notes binary records in a buffer of its VP, and the run loop
 * turns them into lines on standard error whenever control has left the guest. Writer and reader
 * are the VP thread, so there is no more to it than a count. A record that makes the buffer nearly
 * full asks for that with REQ_TRACE; the reserve behind it holds what comes until the dispatcher
 * looks. What finds the buffer full all the same is counted, and the lines say how much is missing.
 *
 * Translated code knows nothing of this: blocks that are entered without the dispatcher do not
 * show.
 */
#ifndef DBT_TRACE_H
#define DBT_TRACE_H

#include "vp.h"

#define TRACE_RECORDS 512
#define TRACE_RESERVE 128

enum trace_kind {
	TRACE_EXCEPTION,  /* vector; error, when has_error; at: rip; value: cr2; cpl */
	TRACE_INTERRUPT,  /* vector; at: rip; cpl */
	TRACE_WALK,	  /* extra: ACCESS_*; at: linear address; value: gpa of its page */
	TRACE_WALK_FAULT, /* extra: ACCESS_*; vector, error; at: linear address */
	TRACE_BLOCK,	  /* extra: mode word; at: rip */
	TRACE_TRANSLATION /* extra: mode word; at: rip; value: guest bytes | host bytes << 32 */
};

struct trace_record {
	uint8_t kind, vector, cpl;
	bool has_error;
	uint32_t error, extra;
	uint64_t at, value;
};

struct trace_buffer {
	uint32_t count;
	uint64_t lost; /* since the last drain */
	struct trace_record records[TRACE_RECORDS];
};

/* Is any of @what (PARTITION_TRACE_*) asked for? Light. */
static inline bool trace_wants(const struct dbt_vp *vp, unsigned int what)
{
	return unlikely(vp->vp.part->trace & what);
}

/* To be called when trace_wants() it. Light; VP thread. */
static inline void trace_note(struct dbt_vp *vp, struct trace_record record)
{
	struct trace_buffer *buffer = vp->trace;

	if (buffer->count == TRACE_RECORDS) {
		buffer->lost++;
		return;
	}
	buffer->records[buffer->count++] = record;
	if (buffer->count == TRACE_RECORDS - TRACE_RESERVE) {
		atomic_fetch_or(&vp->requests, REQ_TRACE);
		vp_request_exit(vp);
	}
}

/* The buffer of a new VP: 0 or -ENOMEM. Not light, like all that follows. */
int trace_vp_create(struct dbt_vp *vp);
void trace_vp_destroy(struct dbt_vp *vp);

/* trace_drain() - write what was noted to standard error. VP thread, outside of the guest. */
void trace_drain(struct dbt_vp *vp);

#endif
