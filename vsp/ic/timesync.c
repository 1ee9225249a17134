/*
 * timesync.c - the host's time for the guest
 *
 * When the guest opens the service it is told to set its clock; then it gets a sample five seconds
 * after each answer, which it uses as it likes (Linux: its PTP clock). When the host's clock has
 * stepped since the guest was last told to set its own, it is told again. A step is a change of
 * CLOCK_REALTIME against CLOCK_MONOTONIC: both are slewed alike, and the latter stands still while
 * the host sleeps.
 *
 * From version 4 on a message says at which reference time the host's time was read, so its way
 * through the ring costs no precision.
 */
#include <errno.h>
#include <stdlib.h>

#include "ic_internal.h"

#define PERIOD_NS (5 * NANOSECONDS)
#define STEP_NS	  (NANOSECONDS / 10)

struct timesync {
	struct loop_timer *timer;
	int64_t synced_offset_ns; /* real - monotonic when the guest was last told to set its clock
				   */
	bool wanted, wanted_step; /* once the answer is there */
};

static void timesync_send(struct ic_provider *provider, bool step);

static void timesync_answered(struct ic_provider *provider, int result,
			      const struct ic_answer *answer)
{
	struct timesync *timesync = provider->state;

	if (result)
		return;
	loop_timer_arm_ns(timesync->timer, monotonic_ns() + PERIOD_NS);
	if (timesync->wanted)
		timesync_send(provider, timesync->wanted_step);
}

static void put_time(struct ic_provider *provider, const struct ic_clocks *clocks, uint8_t flags)
{
	uint64_t parent_time = clocks->real_ns / 100 + IC_TIME_UNIX_EPOCH;

	if (ic_provider_has_version(provider, 4, 0)) {
		struct ic_timesync_reference_body *body = ic_provider_body(provider, sizeof(*body));

		body->parent_time = parent_time;
		body->reference_time = clocks->reference_100ns;
		body->flags = flags;
	} else {
		struct ic_timesync_body *body = ic_provider_body(provider, sizeof(*body));

		body->parent_time = parent_time;
		body->flags = flags;
	}
}

/* No request is out. */
static void timesync_send(struct ic_provider *provider, bool step)
{
	struct timesync *timesync = provider->state;
	struct ic_clocks clocks;
	int64_t offset_ns;

	timesync->wanted = timesync->wanted_step = false;
	loop_timer_cancel(timesync->timer);
	ic_read_clocks(&provider->ic->config, &clocks);
	offset_ns = (int64_t)(clocks.real_ns - clocks.monotonic_ns);
	if ((uint64_t)llabs(offset_ns - timesync->synced_offset_ns) > STEP_NS + clocks.spread_ns)
		step = true;
	if (step)
		timesync->synced_offset_ns = offset_ns;
	put_time(provider, &clocks, step ? IC_TIMESYNC_FLAG_SYNC : IC_TIMESYNC_FLAG_SAMPLE);
	/* No timeout: a guest that is stopped owes one answer. */
	ic_provider_request(provider, 0, timesync_answered);
}

static void timesync_due(void *ctx)
{
	struct ic_provider *provider = ctx;

	if (!ic_provider_free_for_call(provider))
		timesync_send(provider, false);
}

static void timesync_ready(struct ic_provider *provider)
{
	timesync_send(provider, true);
}

static void timesync_closed(struct ic_provider *provider)
{
	struct timesync *timesync = provider->state;

	loop_timer_cancel(timesync->timer);
	timesync->wanted = timesync->wanted_step = false;
}

int ic_sync_time(struct ic *ic, bool step)
{
	struct ic_provider *provider = &ic->services[IC_TIMESYNC];
	struct timesync *timesync = provider->state;
	int r = ic_provider_free_for_call(provider);

	if (!r) {
		timesync_send(provider, step);
	} else if (r == -EBUSY) {
		timesync->wanted = true;
		timesync->wanted_step |= step;
		r = 0;
	}
	return r;
}

static int timesync_start(struct ic_provider *provider)
{
	struct timesync *timesync = provider->state;

	return loop_timer_new(provider->ic->config.loop, timesync_due, provider, &timesync->timer);
}

static void timesync_stop(struct ic_provider *provider)
{
	struct timesync *timesync = provider->state;

	if (timesync->timer)
		loop_timer_free(timesync->timer);
}

static const struct ic_version timesync_versions[] = {{1, 0}, {3, 0}, {4, 0}};

const struct ic_row ic_timesync_row = {
	.name = "timesync",
	.class = GUID(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf),
	.instance =
		GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee),
	.message_type = IC_MESSAGE_TIMESYNC,
	.versions = timesync_versions,
	.version_count = ARRAY_SIZE(timesync_versions),
	.state_bytes = sizeof(struct timesync),
	.start = timesync_start,
	.stop = timesync_stop,
	.ready = timesync_ready,
	.closed = timesync_closed,
};
