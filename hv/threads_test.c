/*
 * threads_test.c - a VP, a poster, a signaller and a timer at once; for ThreadSanitizer too
 *
 * Nothing here depends on speed: every thread does its number of steps and waits for what hv
 * promised. A wake-up that is lost shows as the alarm.
 */
#include "test_rig.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define VP	      1
#define MESSAGES      1500u
#define EVENTS	      3000u
#define TIMES	      300u /* timer messages */
#define TAKE_AWAY     7	   /* the SIMP goes after every so many messages */
#define HANG_SECONDS  120
#define LINUX_MESSAGE 0x20009

struct scene {
	struct rig *rig;
	unsigned int messages, timers; /* taken by the guest */
	atomic_uint flags_seen;
	atomic_bool over;
};

static unsigned int interrupts(struct rig *rig)
{
	unsigned int count;

	pthread_mutex_lock(&rig->mutex);
	count = rig->interrupts[VP][RIG_VECTOR];
	pthread_mutex_unlock(&rig->mutex);
	return count;
}

/* Tries again only after synic_ready(), as vmbus does. */
static void *post_all(void *ctx)
{
	struct scene *scene = ctx;
	struct rig *rig = scene->rig;

	for (unsigned int i = 0; i < MESSAGES;) {
		unsigned int ready = rig->synic_ready;
		int r = hv_post_message(rig->hv, VP, RIG_SINT, HV_MESSAGE_VMBUS, &i, sizeof(i));

		if (!r) {
			i++;
			continue;
		}
		assert_int_equal(r, -EAGAIN);
		while (rig->synic_ready == ready)
			sched_yield();
	}
	return NULL;
}

/* One flag at a time: the next is sent when the guest has seen this one. */
static void *signal_all(void *ctx)
{
	struct scene *scene = ctx;

	for (unsigned int i = 0; i < EVENTS; i++) {
		assert_int_equal(hv_signal_flag(scene->rig->hv, VP, RIG_SINT, i % HV_EVENT_FLAGS),
				 0);
		while (scene->flags_seen == i)
			sched_yield();
	}
	return NULL;
}

static void *expire_all(void *ctx)
{
	struct scene *scene = ctx;

	while (!scene->over) {
		atomic_fetch_add(&scene->rig->tsc, 1000);
		hv_timer_expired(scene->rig->hv, VP, 0);
		sched_yield();
	}
	return NULL;
}

/* --- the guest, on the VP's thread --- */

static void take_flags(struct scene *scene)
{
	uint8_t *flags = rig_at(scene->rig, RIG_PAGE(2 * VP + 1) + RIG_SINT * 256);
	unsigned int expected = scene->flags_seen % HV_EVENT_FLAGS;
	uint8_t mask = 1u << expected % 8;

	if (__atomic_fetch_and(&flags[expected / 8], ~mask, __ATOMIC_SEQ_CST) & mask)
		atomic_fetch_add(&scene->flags_seen, 1);
}

static void arm_next_timer(struct scene *scene)
{
	uint64_t now = rig_read(scene->rig, VP, HV_MSR_TIME_REF_COUNT);

	if (++scene->timers < TIMES)
		rig_write(scene->rig, VP, HV_MSR_STIMER0_COUNT, now + scene->timers % 3);
}

static void handle_message(struct scene *scene, const struct hv_message *message)
{
	unsigned int number;

	if (message->type == HV_MESSAGE_TIMER_EXPIRED) {
		arm_next_timer(scene);
		return;
	}
	assert_int_equal(message->type, HV_MESSAGE_VMBUS);
	memcpy(&number, message->payload, sizeof(number));
	assert_int_equal(number, scene->messages);
	assert_int_equal(message->payload_bytes, sizeof(number));
	scene->messages++;
}

static bool take_message(struct scene *scene)
{
	struct hv_message *slot = rig_slot(scene->rig, VP, RIG_SINT), copy;
	uint32_t type = __atomic_load_n(&slot->type, __ATOMIC_ACQUIRE);

	if (!type)
		return false;
	copy.type = type;
	copy.payload_bytes = slot->payload_bytes;
	memcpy(copy.payload, slot->payload, sizeof(copy.payload));
	assert_true(__atomic_compare_exchange_n(&slot->type, &type, 0, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST));
	if (__atomic_load_n(&slot->flags, __ATOMIC_RELAXED) & HV_MESSAGE_PENDING)
		rig_write(scene->rig, VP, HV_MSR_EOM, 0);
	handle_message(scene, &copy);
	return true;
}

/* After the WRMSR the page is the guest's: a write by anybody else is a data race, and shows. */
static void use_the_page_for_something_else(struct scene *scene)
{
	uint8_t *page = rig_at(scene->rig, RIG_PAGE(2 * VP)), pattern[PAGE_BYTES];

	rig_write(scene->rig, VP, HV_MSR_SIMP, RIG_PAGE(2 * VP));
	take_message(scene);
	memset(pattern, scene->messages | 1, sizeof(pattern));
	memcpy(page, pattern, sizeof(pattern));
	sched_yield();
	assert_memory_equal(page, pattern, sizeof(pattern));
	rig_write(scene->rig, VP, HV_MSR_SIMP, RIG_PAGE(2 * VP) | HV_PAGE_ENABLE);
}

static bool done(const struct scene *scene)
{
	return scene->messages == MESSAGES && scene->timers == TIMES && scene->flags_seen == EVENTS;
}

/* Looks at its pages only after an interrupt: each message and each flag must bring one. */
static void run_guest(struct scene *scene)
{
	unsigned int seen = 0;

	rig_write(scene->rig, VP, HV_MSR_STIMER0_CONFIG, LINUX_MESSAGE);
	rig_write(scene->rig, VP, HV_MSR_STIMER0_COUNT, 1);
	while (!done(scene)) {
		unsigned int now = interrupts(scene->rig);

		if (now == seen) {
			sched_yield();
			continue;
		}
		seen = now;
		take_flags(scene);
		if (take_message(scene) && scene->messages % TAKE_AWAY == 0)
			use_the_page_for_something_else(scene);
	}
}

static void senders_and_a_vp_lose_nothing_and_leave_pages_alone(void **state)
{
	void *(*const bodies[])(void *) = {post_all, signal_all, expire_all};
	struct scene scene = {.rig = rig_new()};
	pthread_t threads[ARRAY_SIZE(bodies)];

	alarm(HANG_SECONDS);
	scene.rig->quiet = true;
	rig_enable_synic(scene.rig, VP);
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, bodies[i], &scene), 0);
	run_guest(&scene);
	scene.over = true;
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		pthread_join(threads[i], NULL);
	alarm(0);
	rig_free(scene.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(senders_and_a_vp_lose_nothing_and_leave_pages_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
