/*
 * apic_timer.c - the local APIC's timer: one-shot, periodic and TSC-deadline
 *
 * The bus clock is 1 GHz: one count is a nanosecond times the divider. Time is the host's TSC, and
 * while the partition's time is stopped, what it was then. To start it again, every due time is
 * moved by what has passed, before the clock moves: so who finds a due time passed by a clock that
 * runs again cannot exchange the old one.
 *
 * apic.timer_due_tsc is the host TSC of the next expiry; 0: not running. It is all that the VP
 * thread, which programs the timer, and the partition's timer thread, which sees it expire, have
 * to agree on: whoever replaces an expired value by compare-and-exchange raises the interrupt. The
 * timerfd is only an alarm clock for the timer thread, always one-shot and relative; when it rings
 * early or for a value that is gone, the thread sets it again or forgets it. After setting it the
 * due time is looked at once more, so that the alarm last set is for the time last written.
 */
#include "apic_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"

#define NS_PER_S 1000000000ull
#define MIN_PERIOD_NS 100000ull /* a guest may not make the host do more than 10000 ticks a second */

/* --- clock --- */

static uint64_t tsc_hz(struct dbt_vp *vp)
{
	uint64_t hz = vp_partition(vp)->tsc_hz;

	return hz ? hz : NS_PER_S;
}

static uint64_t ns_to_tsc(struct dbt_vp *vp, uint64_t ns)
{
	uint64_t hz = tsc_hz(vp);

	return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

static struct timespec tsc_to_time(struct dbt_vp *vp, uint64_t tsc)
{
	uint64_t hz = tsc_hz(vp);

	return (struct timespec){.tv_sec = tsc / hz, .tv_nsec = tsc % hz * NS_PER_S / hz};
}

static uint32_t divider(uint32_t divide)
{
	static const uint8_t shifts[8] = {1, 2, 3, 4, 5, 6, 7, 0};

	return 1u << shifts[(divide & 3) | (divide >> 1 & 4)];
}

static uint64_t count_to_tsc(struct dbt_vp *vp, uint32_t count)
{
	return ns_to_tsc(vp, (uint64_t)count * divider(vp->apic.timer_divide));
}

static uint32_t timer_mode(const struct dbt_vp *vp)
{
	return apic_lvt(vp, LVT_TIMER) & LVT_TIMER_MODE;
}

/* --- running --- */

static void set_alarm(struct dbt_vp *vp, uint64_t tsc_from_now)
{
	struct itimerspec when = {.it_value = tsc_to_time(vp, tsc_from_now)};

	if (!when.it_value.tv_sec && !when.it_value.tv_nsec)
		when.it_value.tv_nsec = 1;
	raw_syscall(SYS_timerfd_settime, vp->apic.timer_fd, 0, (long)&when, 0, 0, 0);
}

static void raise_timer(struct dbt_vp *vp)
{
	uint32_t lvt = apic_lvt(vp, LVT_TIMER);

	if (!(lvt & LVT_MASKED))
		apic_raise(vp, lvt & LVT_VECTOR);
}

/* Raises what has expired and sets the alarm for what comes next. Any thread. */
static void run_timer(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);
	struct apic *apic = &vp->apic;
	uint64_t due = atomic_load(&apic->timer_due_tsc);

	while (due) {
		uint64_t now = partition_tsc(part);
		uint64_t period = atomic_load(&apic->timer_period_tsc);
		uint64_t next;

		if (now < due) {
			uint64_t armed = due;

			if (atomic_load(&part->stopped_tsc))
				return; /* apic_timer_wake() is to come */
			set_alarm(vp, due - now);
			due = atomic_load(&apic->timer_due_tsc);
			if (due == armed)
				return;
			continue;
		}
		next = period ? due + period * ((now - due) / period + 1) : 0;
		if (atomic_compare_exchange_strong(&apic->timer_due_tsc, &due, next)) {
			raise_timer(vp);
			due = next;
		}
	}
}

static void set_due(struct dbt_vp *vp, uint64_t tsc_from_now, uint64_t period)
{
	atomic_store(&vp->apic.timer_period_tsc, period);
	atomic_store(&vp->apic.timer_due_tsc, host_rdtsc() + MIN(tsc_from_now, BIT(62)));
	run_timer(vp);
}

static uint64_t period_of(struct dbt_vp *vp)
{
	uint64_t period = count_to_tsc(vp, vp->apic.timer_initial);

	if (timer_mode(vp) != LVT_TIMER_PERIODIC)
		return 0;
	return MAX(period, ns_to_tsc(vp, MIN_PERIOD_NS));
}

void apic_timer_stop(struct dbt_vp *vp)
{
	atomic_store(&vp->apic.timer_due_tsc, 0);
	atomic_store(&vp->apic.timer_period_tsc, 0);
}

void apic_timer_resume(struct dbt_vp *vp, uint32_t initial, uint32_t current)
{
	vp->apic.timer_initial = initial;
	if (current)
		set_due(vp, count_to_tsc(vp, current), period_of(vp));
	else
		apic_timer_stop(vp);
}

void apic_timer_start(struct dbt_vp *vp, uint32_t initial)
{
	if (timer_mode(vp) != LVT_TIMER_DEADLINE)
		apic_timer_resume(vp, initial, initial);
}

uint32_t apic_timer_current(struct dbt_vp *vp)
{
	uint64_t due = atomic_load(&vp->apic.timer_due_tsc), now = partition_tsc(vp_partition(vp));
	uint64_t period = atomic_load(&vp->apic.timer_period_tsc), count;
	struct timespec left;

	if (!due || timer_mode(vp) == LVT_TIMER_DEADLINE || (now >= due && !period))
		return 0;
	left = tsc_to_time(vp, now < due ? due - now : period - (now - due) % period);
	count = (left.tv_sec * NS_PER_S + left.tv_nsec) / divider(vp->apic.timer_divide);
	return MIN(count, (uint64_t)vp->apic.timer_initial);
}

void apic_timer_set_divide(struct dbt_vp *vp, uint32_t divide)
{
	uint32_t current = apic_timer_current(vp);

	vp->apic.timer_divide = divide;
	if (current)
		apic_timer_resume(vp, vp->apic.timer_initial, current);
}

void apic_timer_mode_changed(struct dbt_vp *vp, uint32_t old_lvt)
{
	uint32_t old = old_lvt & LVT_TIMER_MODE, mode = timer_mode(vp);

	if (old == mode)
		return;
	if (old == LVT_TIMER_DEADLINE || mode == LVT_TIMER_DEADLINE) {
		apic_timer_stop(vp);
		vp->apic.timer_initial = 0;
	} else {
		atomic_store(&vp->apic.timer_period_tsc, period_of(vp));
	}
}

/* --- TSC deadline --- */

void apic_timer_set_deadline(struct dbt_vp *vp, uint64_t guest_tsc)
{
	uint64_t now = host_rdtsc() + vp->tsc_offset;

	if (timer_mode(vp) != LVT_TIMER_DEADLINE)
		return;
	vp->apic.timer_deadline_tsc = guest_tsc;
	if (guest_tsc)
		set_due(vp, guest_tsc > now ? guest_tsc - now : 0, 0);
	else
		apic_timer_stop(vp);
}

uint64_t apic_timer_deadline(struct dbt_vp *vp)
{
	if (timer_mode(vp) != LVT_TIMER_DEADLINE || !atomic_load(&vp->apic.timer_due_tsc))
		return 0;
	return vp->apic.timer_deadline_tsc;
}

void apic_tsc_changed(struct dbt_vp *vp)
{
	if (apic_timer_deadline(vp))
		apic_timer_set_deadline(vp, vp->apic.timer_deadline_tsc);
}

/* --- stopped time --- */

void apic_timer_delay(struct dbt_vp *vp, uint64_t tsc)
{
	uint64_t due = atomic_load(&vp->apic.timer_due_tsc);

	while (due && !atomic_compare_exchange_weak(&vp->apic.timer_due_tsc, &due, due + tsc))
		;
}

void apic_timer_wake(struct dbt_vp *vp)
{
	run_timer(vp);
}

/* --- the timer thread; not light --- */

struct apic_timers {
	pthread_t thread;
	int epoll_fd;
	int stop_fd;
};

static void *timer_thread(void *ctx)
{
	struct apic_timers *timers = ctx;

	for (;;) {
		struct epoll_event events[16];
		int count = epoll_wait(timers->epoll_fd, events, ARRAY_SIZE(events), -1);

		for (int i = 0; i < count; i++) {
			struct dbt_vp *vp = events[i].data.ptr;
			uint64_t expirations;

			if (!vp)
				return NULL; /* stop_fd */
			if (read(vp->apic.timer_fd, &expirations, sizeof(expirations)) > 0)
				run_timer(vp);
		}
	}
}

static int watch(struct apic_timers *timers, int fd, struct dbt_vp *vp)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = vp};

	return epoll_ctl(timers->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int watch_all(struct apic_timers *timers, struct dbt_partition *part)
{
	int r = watch(timers, timers->stop_fd, NULL);

	for (unsigned int i = 0; r == 0 && i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (vp)
			r = watch(timers, vp->apic.timer_fd, vp);
	}
	return r;
}

static int start_thread(struct apic_timers *timers)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&timers->thread, NULL, timer_thread, timers);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static void free_timers(struct apic_timers *timers)
{
	if (timers->epoll_fd >= 0)
		close(timers->epoll_fd);
	if (timers->stop_fd >= 0)
		close(timers->stop_fd);
	free(timers);
}

int apic_timers_start(struct dbt_partition *part)
{
	struct apic_timers *timers = malloc(sizeof(*timers));
	int r;

	if (!timers)
		return -ENOMEM;
	timers->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	timers->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = timers->epoll_fd < 0 || timers->stop_fd < 0 ? -errno : watch_all(timers, part);
	if (r == 0)
		r = start_thread(timers);
	if (r < 0) {
		free_timers(timers);
		return r;
	}
	part->timers = timers;
	return 0;
}

void apic_timers_stop(struct dbt_partition *part)
{
	uint64_t one = 1;

	if (!part->timers)
		return;
	if (write(part->timers->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(part->timers->thread, NULL);
	free_timers(part->timers);
	part->timers = NULL;
}

int apic_vp_create(struct dbt_vp *vp)
{
	struct apic_timers *timers = vp_partition(vp)->timers;
	int r;

	vp->apic.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (vp->apic.timer_fd < 0)
		return -errno;
	r = timers ? watch(timers, vp->apic.timer_fd, vp) : 0;
	if (r < 0) {
		close(vp->apic.timer_fd);
		vp->apic.timer_fd = -1;
	}
	return r;
}

void apic_vp_destroy(struct dbt_vp *vp)
{
	if (vp->apic.timer_fd >= 0)
		close(vp->apic.timer_fd);
	vp->apic.timer_fd = -1;
}
