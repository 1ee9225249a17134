/*
 * vss.c - freeze the guest's file systems for a snapshot, and thaw them again
 *
 *   IDLE -> CHECKING	ic_freeze(): is there a daemon that can? (hot backup check)
 *   CHECKING -> FREEZING
 *   FREEZING -> FROZEN	done; a timer runs
 *   FREEZING -> THAWING	it failed or took too long: what may be frozen is thawed
 *   FROZEN -> THAWING	ic_thaw(), or the timer
 *   THAWING -> COMPLETING	the guest is told that the backup is complete
 *   THAWING -> FROZEN	it failed: tried again by the timer, a few times
 *   COMPLETING -> IDLE	done
 *   any -> IDLE		the channel closes: the daemon in the guest thaws then
 *
 * Whoever asked hears the result of freezing or thawing once the service can take the next call.
 */
#include <errno.h>
#include <stdio.h>

#include "ic_internal.h"
#include "log.h"

#define FREEZE_TIMEOUT_NS (60 * NANOSECONDS)
#define THAW_RETRY_NS	  (10 * NANOSECONDS)
#define THAW_TRIES	  4

struct vss {
	enum {
		VSS_IDLE,
		VSS_CHECKING,
		VSS_FREEZING,
		VSS_FROZEN,
		VSS_THAWING,
		VSS_COMPLETING
	} phase;
	struct ic_call call;
	int result; /* of the call */
	char text[IC_TEXT_BYTES];
	unsigned int thaw_tries;
	struct loop_timer *timer; /* FROZEN: until it is thawed by itself */
};

static int vss_request(struct ic_provider *provider, uint8_t operation, uint64_t timeout_ns,
		       ic_answered *answered)
{
	struct ic_vss_body *body;
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	body = ic_provider_body(provider, sizeof(*body));
	body->operation = operation;
	return ic_provider_request(provider, timeout_ns, answered);
}

/* The next step of something that goes on: what cannot be sent is as good as not answered. */
static void vss_step(struct ic_provider *provider, uint8_t operation, uint64_t timeout_ns,
		     ic_answered *answered)
{
	int r = vss_request(provider, operation, timeout_ns, answered);

	if (r)
		answered(provider, r, NULL);
}

static void vss_finish(struct vss *vss)
{
	char text[IC_TEXT_BYTES];

	snprintf(text, sizeof(text), "%s", vss->text);
	ic_call_finish(&vss->call, vss->result, text);
}

/* --- thawing --- */

static void vss_completed(struct ic_provider *provider, int result, const struct ic_answer *answer)
{
	struct vss *vss = provider->state;

	vss->phase = VSS_IDLE;
	vss_finish(vss);
}

static void vss_freeze_timer(struct vss *vss, uint64_t after_ns)
{
	loop_timer_arm_ns(vss->timer, monotonic_ns() + after_ns);
}

static void vss_thawed(struct ic_provider *provider, int result, const struct ic_answer *answer)
{
	struct vss *vss = provider->state;
	char text[IC_TEXT_BYTES];
	int r = ic_judge(result, answer, "thawing", text);

	if (!r) {
		vss->phase = VSS_COMPLETING;
		vss_step(provider, IC_VSS_BACKUP_COMPLETE, IC_ANSWER_TIMEOUT_NS, vss_completed);
		return;
	}
	/* A failure of freezing is told as such. */
	if (!vss->result) {
		vss->result = r;
		snprintf(vss->text, sizeof(vss->text), "%s", text);
	}
	if (result == -ENOTCONN || ++vss->thaw_tries == THAW_TRIES) {
		vss->phase = VSS_IDLE;
	} else {
		vss->phase = VSS_FROZEN;
		vss_freeze_timer(vss, THAW_RETRY_NS);
	}
	vss_finish(vss);
}

static void vss_begin_thaw(struct ic_provider *provider)
{
	struct vss *vss = provider->state;

	vss->phase = VSS_THAWING;
	loop_timer_cancel(vss->timer);
	vss_step(provider, IC_VSS_THAW, IC_ANSWER_TIMEOUT_NS, vss_thawed);
}

static void vss_frozen_too_long(void *ctx)
{
	struct ic_provider *provider = ctx;
	struct vss *vss = provider->state;

	if (!vss->thaw_tries)
		log_warning("the guest's file systems were frozen for %d seconds: thawing them",
			    IC_FREEZE_SECONDS);
	vss->result = 0;
	vss_begin_thaw(provider);
}

int ic_thaw(struct ic *ic, ic_done *done, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_VSS];
	struct vss *vss = provider->state;
	int r;

	if (provider->phase != IC_READY)
		return -ENOTCONN;
	if (vss->phase == VSS_IDLE)
		return -EALREADY;
	if (vss->phase != VSS_FROZEN)
		return -EBUSY;
	r = vss_request(provider, IC_VSS_THAW, IC_ANSWER_TIMEOUT_NS, vss_thawed);
	if (r)
		return r;
	loop_timer_cancel(vss->timer);
	vss->phase = VSS_THAWING;
	vss->result = 0;
	vss->text[0] = 0;
	vss->call = (struct ic_call){done, ctx};
	return 0;
}

int ic_keep_frozen(struct ic *ic)
{
	struct ic_provider *provider = &ic->services[IC_VSS];
	struct vss *vss = provider->state;

	if (provider->phase != IC_READY)
		return -ENOTCONN;
	if (vss->phase != VSS_FROZEN || vss->thaw_tries)
		return -EALREADY;
	vss_freeze_timer(vss, IC_FREEZE_SECONDS * NANOSECONDS);
	return 0;
}

/* --- freezing --- */

static void vss_froze(struct ic_provider *provider, int result, const struct ic_answer *answer)
{
	struct vss *vss = provider->state;

	vss->result = ic_judge(result, answer, "freezing", vss->text);
	if (vss->result) {
		vss_begin_thaw(provider);
		return;
	}
	vss->phase = VSS_FROZEN;
	vss_freeze_timer(vss, IC_FREEZE_SECONDS * NANOSECONDS);
	vss_finish(vss);
}

/* Linux answers the check with a plain failure when no daemon runs. */
static void vss_checked(struct ic_provider *provider, int result, const struct ic_answer *answer)
{
	struct vss *vss = provider->state;

	vss->result = ic_judge(result, answer, "a backup", vss->text);
	if (!vss->result) {
		vss->phase = VSS_FREEZING;
		vss_step(provider, IC_VSS_FREEZE, FREEZE_TIMEOUT_NS, vss_froze);
		return;
	}
	if (!result && (answer->status == IC_STATUS_FAIL ||
			answer->status == IC_STATUS_DEVICE_NOT_CONNECTED)) {
		vss->result = -ENOTCONN;
		snprintf(vss->text, sizeof(vss->text), "No backup daemon runs in the guest.");
	}
	vss->phase = VSS_IDLE;
	vss_finish(vss);
}

int ic_freeze(struct ic *ic, ic_done *done, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_VSS];
	struct vss *vss = provider->state;
	int r;

	if (provider->phase != IC_READY)
		return -ENOTCONN;
	if (!ic_provider_has_version(provider, 5, 0))
		return -ENOTSUP;
	if (vss->phase != VSS_IDLE)
		return -EBUSY;
	r = vss_request(provider, IC_VSS_HOT_BACKUP, IC_ANSWER_TIMEOUT_NS, vss_checked);
	if (r)
		return r;
	vss->phase = VSS_CHECKING;
	vss->thaw_tries = 0;
	vss->call = (struct ic_call){done, ctx};
	return 0;
}

/* --- the row --- */

static void vss_closed(struct ic_provider *provider)
{
	struct vss *vss = provider->state;

	vss->phase = VSS_IDLE;
	loop_timer_cancel(vss->timer);
}

static int vss_start(struct ic_provider *provider)
{
	struct vss *vss = provider->state;

	return loop_timer_new(provider->ic->config.loop, vss_frozen_too_long, provider,
			      &vss->timer);
}

static void vss_stop(struct ic_provider *provider)
{
	struct vss *vss = provider->state;

	if (vss->timer)
		loop_timer_free(vss->timer);
}

/* Freezing came with 5.0; guests that know only 4.0 are at least seen. */
static const struct ic_version vss_versions[] = {{4, 0}, {5, 0}};

const struct ic_row ic_vss_row = {
	.name = "vss",
	.class = GUID(0x35fa2e29, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40),
	.instance =
		GUID(0x2450ee40, 0x33bf, 0x4fbd, 0x89, 0x2e, 0x9f, 0xb0, 0x6e, 0x92, 0x14, 0xcf),
	.message_type = IC_MESSAGE_VSS,
	.versions = vss_versions,
	.version_count = ARRAY_SIZE(vss_versions),
	.state_bytes = sizeof(struct vss),
	.start = vss_start,
	.stop = vss_stop,
	.closed = vss_closed,
};
