/*
 * heartbeat.c - is the guest alive? Asked every two seconds
 *
 * One question at a time: a guest that is stopped owes one answer, not hundreds, and is there again
 * with it. An answer must have the sequence number plus one.
 */
#include <errno.h>
#include <string.h>

#include "ic_internal.h"

#define PERIOD_NS (2 * NANOSECONDS)
#define LOST_NS	  (10 * NANOSECONDS) /* our policy; Hyper-V's is not published */

struct heartbeat {
	struct loop_timer *timer;
	uint64_t sequence;
	uint64_t opened_ns, answered_ns; /* answered_ns 0: not yet */
	uint32_t application_state;
};

static void heartbeat_answered(struct ic_provider *provider, int result,
			       const struct ic_answer *answer)
{
	struct heartbeat *heartbeat = provider->state;
	struct ic_heartbeat_body body = {};

	if (result || answer->status != IC_STATUS_OK ||
	    answer->bytes < sizeof(body.sequence) + sizeof(body.application_state))
		return;
	memcpy(&body, answer->body, MIN(answer->bytes, sizeof(body)));
	if (body.sequence != heartbeat->sequence + 1)
		return;
	heartbeat->answered_ns = monotonic_ns();
	heartbeat->application_state = body.application_state;
}

static void heartbeat_beat(void *ctx)
{
	struct ic_provider *provider = ctx;
	struct heartbeat *heartbeat = provider->state;
	struct ic_heartbeat_body *body;

	loop_timer_arm_ns(heartbeat->timer, monotonic_ns() + PERIOD_NS);
	if (ic_provider_free_for_call(provider))
		return;
	body = ic_provider_body(provider, sizeof(*body));
	body->sequence = ++heartbeat->sequence;
	ic_provider_request(provider, 0, heartbeat_answered);
}

static void heartbeat_ready(struct ic_provider *provider)
{
	struct heartbeat *heartbeat = provider->state;

	heartbeat->opened_ns = monotonic_ns();
	heartbeat->answered_ns = 0;
	heartbeat->application_state = 0;
	heartbeat_beat(provider);
}

static void heartbeat_closed(struct ic_provider *provider)
{
	struct heartbeat *heartbeat = provider->state;

	loop_timer_cancel(heartbeat->timer);
	heartbeat->answered_ns = 0;
}

static int heartbeat_start(struct ic_provider *provider)
{
	struct heartbeat *heartbeat = provider->state;

	return loop_timer_new(provider->ic->config.loop, heartbeat_beat, provider,
			      &heartbeat->timer);
}

static void heartbeat_stop(struct ic_provider *provider)
{
	struct heartbeat *heartbeat = provider->state;

	if (heartbeat->timer)
		loop_timer_free(heartbeat->timer);
}

void ic_get_heartbeat(const struct ic *ic, struct ic_heartbeat *ret_heartbeat)
{
	const struct ic_provider *provider = &ic->services[IC_HEARTBEAT];
	const struct heartbeat *heartbeat = provider->state;
	uint64_t now_ns = monotonic_ns();
	uint64_t since_ns = MAX(heartbeat->answered_ns, heartbeat->opened_ns);

	*ret_heartbeat = (struct ic_heartbeat){.sequence = heartbeat->sequence};
	if (provider->phase != IC_READY)
		return;
	if (heartbeat->answered_ns) {
		ret_heartbeat->state = IC_HEARTBEAT_OK;
		ret_heartbeat->age_ns = now_ns - heartbeat->answered_ns;
		ret_heartbeat->application_state = heartbeat->application_state;
	}
	if (now_ns - since_ns > LOST_NS)
		ret_heartbeat->state = IC_HEARTBEAT_LOST;
}

static const struct ic_version heartbeat_versions[] = {{1, 0}, {3, 0}};

const struct ic_row ic_heartbeat_row = {
	.name = "heartbeat",
	.class = GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d),
	.instance =
		GUID(0xfd149e91, 0x82e0, 0x4a7d, 0xaf, 0xa6, 0x2a, 0x41, 0x66, 0xcb, 0xd7, 0xc0),
	.message_type = IC_MESSAGE_HEARTBEAT,
	.versions = heartbeat_versions,
	.version_count = ARRAY_SIZE(heartbeat_versions),
	.state_bytes = sizeof(struct heartbeat),
	.start = heartbeat_start,
	.stop = heartbeat_stop,
	.ready = heartbeat_ready,
	.closed = heartbeat_closed,
};
