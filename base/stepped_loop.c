/*
 * stepped_loop.c - see stepped_loop.h
 */
#include "stepped_loop.h"

#include <stdlib.h>

struct loop_timer {
	struct loop_timer *next;
	void (*expired)(void *ctx);
	void *ctx;
	bool armed;
	uint64_t deadline_ns;
};

static struct loop_timer *timers;
static struct loop_work *posted, **posted_end = &posted;
static uint64_t clock_ns = STEPPED_START_NS;
static unsigned int timer_arms;
static struct {
	unsigned int count;
	uint64_t ns, growth_ns;
} disturbance;

/* --- time --- */

uint64_t monotonic_ns(void)
{
	uint64_t now_ns = clock_ns;

	if (disturbance.count) {
		disturbance.count--;
		clock_ns += disturbance.ns;
		disturbance.ns += disturbance.growth_ns;
	}
	return now_ns;
}

uint64_t stepped_now_ns(void)
{
	return clock_ns;
}

void stepped_disturb(unsigned int count, uint64_t ns, uint64_t growth_ns)
{
	disturbance.count = count;
	disturbance.ns = ns;
	disturbance.growth_ns = growth_ns;
}

static struct loop_timer *earliest_timer(void)
{
	struct loop_timer *earliest = NULL;

	for (struct loop_timer *timer = timers; timer; timer = timer->next) {
		if (timer->armed && (!earliest || timer->deadline_ns < earliest->deadline_ns))
			earliest = timer;
	}
	return earliest;
}

void stepped_advance_ns(uint64_t ns)
{
	uint64_t end_ns = clock_ns + ns;
	struct loop_timer *timer;

	while ((timer = earliest_timer()) && timer->deadline_ns <= end_ns) {
		clock_ns = MAX(clock_ns, timer->deadline_ns);
		timer->armed = false;
		timer->expired(timer->ctx);
	}
	clock_ns = MAX(clock_ns, end_ns);
}

void stepped_be_late_ns(uint64_t ns)
{
	clock_ns += ns;
}

/* --- timers --- */

int loop_timer_new(struct loop *loop, void (*expired)(void *ctx), void *ctx,
		   struct loop_timer **ret_timer)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	*timer = (struct loop_timer){.expired = expired, .ctx = ctx, .next = timers};
	timers = timer;
	*ret_timer = timer;
	return 0;
}

void loop_timer_arm_ns(struct loop_timer *timer, uint64_t deadline_ns)
{
	timer_arms++;
	timer->armed = true;
	timer->deadline_ns = deadline_ns;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	timer->armed = false;
}

void loop_timer_free(struct loop_timer *timer)
{
	struct loop_timer **link = &timers;

	while (*link != timer)
		link = &(*link)->next;
	*link = timer->next;
	free(timer);
}

unsigned int stepped_timer_arms(void)
{
	unsigned int arms = timer_arms;

	timer_arms = 0;
	return arms;
}

unsigned int stepped_timers_armed(void)
{
	unsigned int armed = 0;

	for (struct loop_timer *timer = timers; timer; timer = timer->next)
		armed += timer->armed;
	return armed;
}

/* --- work --- */

void loop_post(struct loop *loop, struct loop_work *work)
{
	if (atomic_exchange(&work->queued, true))
		return;
	work->next = NULL;
	*posted_end = work;
	posted_end = &work->next;
}

void loop_work_cancel(struct loop *loop, struct loop_work *work)
{
	struct loop_work **link = &posted;

	if (!atomic_exchange(&work->queued, false))
		return;
	while (*link != work)
		link = &(*link)->next;
	*link = work->next;
	if (!work->next)
		posted_end = link;
}

static void run_first(void)
{
	struct loop_work *work = posted;

	posted = work->next;
	if (!posted)
		posted_end = &posted;
	atomic_store(&work->queued, false);
	work->run(work);
}

unsigned int stepped_run_posted(void)
{
	unsigned int count = 0, ran = 0;

	for (struct loop_work *work = posted; work; work = work->next)
		count++;
	for (; posted && ran < count; ran++)
		run_first();
	return ran;
}

/* --- life --- */

bool stepped_is_idle(void)
{
	return !timers && !posted;
}

void stepped_reset(void)
{
	posted = NULL;
	posted_end = &posted;
	for (struct loop_timer *timer = timers; timer; timer = timer->next)
		timer->armed = false;
	timer_arms = 0;
	disturbance.count = 0;
	clock_ns = STEPPED_START_NS;
}
