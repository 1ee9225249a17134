/*
 * stimer.c - four synthetic timers for each VP
 *
 * A timer runs while due_100ns is not 0; then arm_timer() has been asked for that time, and
 * hv_timer_expired() may come at any time, early, late or for a timer that was stopped since: it
 * acts on due_100ns alone. States of a timer and what moves between them:
 *
 *	stopped -> running   a write of CONFIG or COUNT that leaves it enabled with COUNT not 0
 *	running -> stopped   a write of either; a one-shot timer's expiry, which clears enable too
 *	running -> running   a periodic timer's expiry: due moves to the period's next multiple
 *
 * In direct mode an expiry is an interrupt. In message mode it is a message to a SINT, which waits
 * (message_waits) while the slot is taken or the SynIC is off; a periodic timer that expires again
 * meanwhile loses that tick. A write of CONFIG or COUNT drops a message that waits.
 *
 * An enabled timer has somewhere to expire to: a SINT other than 0, or a vector of 16 or more.
 * Lazy timers are not late here.
 */
#include "hv_internal.h"

/* A period below it is stretched to a multiple that is not: the host is not the guest's to burn. */
#define SHORTEST_PERIOD_100NS 500ull

static void arm(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t due_100ns)
{
	hv->vps[vp].stimers[timer].due_100ns = due_100ns;
	hv->services.arm_timer(hv->services.ctx, vp, timer, due_100ns);
}

static void stop(struct hv *hv, unsigned int vp, unsigned int timer)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];

	stimer->message_waits = false;
	if (stimer->due_100ns)
		arm(hv, vp, timer, 0);
}

static uint64_t period_of(const struct hv_stimer *stimer)
{
	uint64_t times = 1;

	if (stimer->count < SHORTEST_PERIOD_100NS)
		times = (SHORTEST_PERIOD_100NS + stimer->count - 1) / stimer->count;
	return stimer->count * times;
}

/* The first multiple of the period after @due that lies behind @now; the end of time if none. */
static uint64_t next_due(const struct hv_stimer *stimer, uint64_t due, uint64_t now)
{
	uint64_t period = period_of(stimer);
	uint64_t missed = now > due ? (now - due) / period : 0;
	uint64_t next;

	if (__builtin_mul_overflow(missed, period, &next) ||
	    __builtin_add_overflow(next, period, &next) || __builtin_add_overflow(next, due, &next))
		return UINT64_MAX;
	return next;
}

static void send_message(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t now,
			 struct hv_after *after)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];
	const struct hv_timer_payload payload = {
		.timer = timer, .expiration_100ns = stimer->expired_100ns, .delivery_100ns = now};
	const struct hv_outgoing message = {
		.type = HV_MESSAGE_TIMER_EXPIRED, .bytes = sizeof(payload), .payload = &payload};

	/* This one does not wait for itself. */
	stimer->message_waits = false;
	stimer->message_waits =
		hv_deliver_message(hv, vp, HV_STIMER_SINT(stimer->config), &message, after) < 0;
}

static void deliver_expiry(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t now,
			   struct hv_after *after)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];

	if (stimer->config & HV_STIMER_DIRECT) {
		hv->services.interrupt(hv->services.ctx, vp, HV_STIMER_VECTOR(stimer->config));
		return;
	}
	if (stimer->message_waits)
		return;
	stimer->expired_100ns = stimer->due_100ns;
	send_message(hv, vp, timer, now, after);
}

static void expire(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t now,
		   struct hv_after *after)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];
	uint64_t due = stimer->due_100ns;

	deliver_expiry(hv, vp, timer, now, after);
	if (stimer->config & HV_STIMER_PERIODIC) {
		arm(hv, vp, timer, next_due(stimer, due, now));
		return;
	}
	stimer->config &= ~HV_STIMER_ENABLE;
	stimer->due_100ns = 0;
}

static bool has_target(uint64_t config)
{
	return (config & HV_STIMER_DIRECT) ? HV_STIMER_VECTOR(config) >= HV_FIRST_VECTOR
					   : HV_STIMER_SINT(config) != 0;
}

/* Runs the timer if it is to; a one-shot that is past due expires here and now. */
static void start(struct hv *hv, unsigned int vp, unsigned int timer, struct hv_after *after)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];
	uint64_t now;

	if (!has_target(stimer->config))
		stimer->config &= ~HV_STIMER_ENABLE;
	if (!(stimer->config & HV_STIMER_ENABLE) || !stimer->count)
		return;
	now = hv_reference_time(hv);
	if (stimer->config & HV_STIMER_PERIODIC) {
		arm(hv, vp, timer, next_due(stimer, now, now));
	} else if (stimer->count <= now) {
		stimer->due_100ns = stimer->count;
		expire(hv, vp, timer, now, after);
	} else {
		arm(hv, vp, timer, stimer->count);
	}
}

bool hv_write_stimer_config(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t value,
			    struct hv_after *after)
{
	const uint64_t enabling = HV_STIMER_ENABLE | HV_STIMER_AUTO_ENABLE;

	if (value & HV_STIMER_RESERVED)
		return false;
	if ((value & HV_STIMER_DIRECT) && (value & enabling) && !has_target(value))
		return false;
	stop(hv, vp, timer);
	hv->vps[vp].stimers[timer].config = value;
	start(hv, vp, timer, after);
	return true;
}

void hv_write_stimer_count(struct hv *hv, unsigned int vp, unsigned int timer, uint64_t value,
			   struct hv_after *after)
{
	struct hv_stimer *stimer = &hv->vps[vp].stimers[timer];

	stop(hv, vp, timer);
	stimer->count = value;
	if (!value)
		stimer->config &= ~HV_STIMER_ENABLE;
	else if (stimer->config & HV_STIMER_AUTO_ENABLE)
		stimer->config |= HV_STIMER_ENABLE;
	start(hv, vp, timer, after);
}

void hv_timer_expired(struct hv *hv, unsigned int vp, unsigned int timer)
{
	struct hv_after after = {};
	uint64_t due, now;

	if (vp >= hv->config.vp_count || timer >= HV_STIMERS)
		return;
	hv_lock(hv);
	due = hv->vps[vp].stimers[timer].due_100ns;
	now = hv_reference_time(hv);
	if (due && due <= now)
		expire(hv, vp, timer, now, &after);
	else if (due)
		arm(hv, vp, timer, due);
	hv_unlock(hv, &after);
}

bool hv_stimer_message_waits(const struct hv_vp *vp, unsigned int sint)
{
	for (unsigned int timer = 0; timer < HV_STIMERS; timer++)
		if (vp->stimers[timer].message_waits &&
		    HV_STIMER_SINT(vp->stimers[timer].config) == sint)
			return true;
	return false;
}

void hv_stimers_retry(struct hv *hv, unsigned int vp, struct hv_after *after)
{
	for (unsigned int timer = 0; timer < HV_STIMERS; timer++)
		if (hv->vps[vp].stimers[timer].message_waits)
			send_message(hv, vp, timer, hv_reference_time(hv), after);
}

void hv_stimers_rearm(struct hv *hv)
{
	for (unsigned int vp = 0; vp < hv->config.vp_count; vp++)
		for (unsigned int timer = 0; timer < HV_STIMERS; timer++)
			if (hv->vps[vp].stimers[timer].due_100ns)
				arm(hv, vp, timer, hv->vps[vp].stimers[timer].due_100ns);
}

void hv_stimers_reset(struct hv *hv, unsigned int vp)
{
	for (unsigned int timer = 0; timer < HV_STIMERS; timer++) {
		stop(hv, vp, timer);
		hv->vps[vp].stimers[timer] = (struct hv_stimer){};
	}
}
