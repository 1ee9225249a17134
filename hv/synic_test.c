/*
 * synic_test.c - messages and event flags, and how they wait
 */
#include "test_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define VP 1

static int post(struct rig *rig, const char *text)
{
	return hv_post_message(rig->hv, VP, RIG_SINT, HV_MESSAGE_VMBUS, text, strlen(text));
}

/* As Linux does: free the slot, then EOM if the pending flag is there. */
static bool guest_takes_message(struct rig *rig)
{
	struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);
	uint32_t type = slot->type;

	if (!__atomic_compare_exchange_n(&slot->type, &type, 0, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	*(uint32_t *)(rig->shadow + ((uint8_t *)slot - rig->ram)) = 0;
	if (slot->flags & HV_MESSAGE_PENDING)
		rig_write(rig, VP, HV_MSR_EOM, 0);
	return true;
}

static unsigned int raised(struct rig *rig)
{
	return rig->interrupts[VP][RIG_VECTOR];
}

static struct rig *rig_with_synic(void)
{
	struct rig *rig = rig_new();

	rig_enable_synic(rig, VP);
	return rig;
}

static void a_message_fills_the_slot_and_interrupts(void **state)
{
	struct rig *rig = rig_with_synic();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);

	assert_int_equal(post(rig, "hello"), 0);
	assert_int_equal(slot->type, HV_MESSAGE_VMBUS);
	assert_int_equal(slot->payload_bytes, 5);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(slot->origin, 0);
	assert_memory_equal(slot->payload, "hello", 6);
	assert_int_equal(raised(rig), 1);
	assert_int_equal(rig->interrupt_count, 1);
	assert_int_equal(rig->synic_ready, 0);
	rig_free(rig);
}

static void a_taken_slot_gets_the_pending_flag_and_eom_says_ready(void **state)
{
	struct rig *rig = rig_with_synic();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);

	assert_int_equal(post(rig, "one"), 0);
	assert_int_equal(post(rig, "two"), -EAGAIN);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_memory_equal(slot->payload, "one", 3);
	assert_int_equal(raised(rig), 1);
	assert_int_equal(rig->synic_ready, 0);
	assert_true(guest_takes_message(rig));
	assert_int_equal(rig->synic_ready, 1);
	assert_int_equal(post(rig, "two"), 0);
	assert_memory_equal(slot->payload, "two", 3);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(raised(rig), 2);
	/* Nothing waits: EOM is not said on. */
	rig_write(rig, VP, HV_MSR_EOM, 0);
	assert_int_equal(rig->synic_ready, 1);
	rig_free(rig);
}

static void an_eom_of_another_vp_is_not_ours(void **state)
{
	struct rig *rig = rig_with_synic();

	post(rig, "one");
	assert_int_equal(post(rig, "two"), -EAGAIN);
	rig_write(rig, 0, HV_MSR_EOM, 0);
	assert_int_equal(rig->synic_ready, 0);
	rig_free(rig);
}

/* Each row turns one thing off, tries, and turns it on again. */
static void what_is_refused_while_the_synic_is_off_is_asked_for_when_it_is_on(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t off, on;
		int message, flag;
	} rows[] = {
		{HV_MSR_SCONTROL, 0, 1, -EAGAIN, -EAGAIN},
		{HV_MSR_SCONTROL, ~1ull, ~0ull, -EAGAIN, -EAGAIN},
		{HV_MSR_SIMP, RIG_PAGE(2 * VP), RIG_PAGE(2 * VP) | 1, -EAGAIN, 0},
		{HV_MSR_SIMP, 0x1001, RIG_PAGE(2 * VP) | 1, -EAGAIN, 0},
		{HV_MSR_SIEFP, RIG_PAGE(2 * VP + 1), RIG_PAGE(2 * VP + 1) | 1, 0, -EAGAIN},
		{HV_MSR_SIEFP, ~0ull, RIG_PAGE(2 * VP + 1) | 1, 0, -EAGAIN},
		{HV_MSR_SINT0 + RIG_SINT, RIG_VECTOR | HV_SINT_MASKED, RIG_VECTOR, 0, -EAGAIN},
	};
	struct rig *rig = rig_with_synic();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned int ready = rig->synic_ready;

		rig_write(rig, VP, rows[i].msr, rows[i].off);
		if (post(rig, "m") != rows[i].message ||
		    hv_signal_flag(rig->hv, VP, RIG_SINT, i) != rows[i].flag)
			fail_msg("row %zu", i);
		rig_check_announced(rig);
		rig_write(rig, VP, rows[i].msr, rows[i].on);
		assert_int_equal(rig->synic_ready, ready + 1);
		assert_int_equal(rows[i].message ? post(rig, "m") : 0, 0);
		assert_int_equal(hv_signal_flag(rig->hv, VP, RIG_SINT, 100 + i), 0);
		assert_true(guest_takes_message(rig));
	}
	rig_free(rig);
}

/* A kernel that starts after a crash must not find the old one's messages, nor lose its memory. */
static void pages_are_cleared_when_they_appear_and_left_alone_when_they_go(void **state)
{
	static const uint32_t msrs[] = {HV_MSR_SIMP, HV_MSR_SIEFP};
	uint8_t garbage[PAGE_BYTES], zeros[PAGE_BYTES] = {};
	struct rig *rig = rig_with_synic();

	memset(garbage, 0xaa, sizeof(garbage));
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		rig_put(rig, RIG_PAGE(10), garbage, sizeof(garbage));
		rig_write(rig, VP, msrs[i], RIG_PAGE(10) | 1);
		assert_memory_equal(rig_at(rig, RIG_PAGE(10)), zeros, PAGE_BYTES);
		rig_put(rig, RIG_PAGE(10), garbage, sizeof(garbage));
		rig_write(rig, VP, msrs[i], RIG_PAGE(10) | 1 | 0x800);
		rig_write(rig, VP, msrs[i], RIG_PAGE(10));
		assert_int_equal(post(rig, "m") && hv_signal_flag(rig->hv, VP, 2, 1), i > 0);
		assert_memory_equal(rig_at(rig, RIG_PAGE(10)), garbage, PAGE_BYTES);
		rig_write(rig, VP, msrs[i], RIG_PAGE(10) | 1);
		assert_memory_equal(rig_at(rig, RIG_PAGE(10)), zeros, PAGE_BYTES);
		rig_write(rig, VP, msrs[i], 0);
	}
	rig_free(rig);
}

static void masked_and_polled_sints_get_messages_without_interrupts(void **state)
{
	static const uint64_t sints[] = {RIG_VECTOR | HV_SINT_MASKED, RIG_VECTOR | HV_SINT_POLLING,
					 HV_SINT_MASKED | HV_SINT_POLLING};
	struct rig *rig = rig_with_synic();

	for (size_t i = 0; i < ARRAY_SIZE(sints); i++) {
		rig_write(rig, VP, HV_MSR_SINT0 + RIG_SINT, sints[i]);
		assert_int_equal(post(rig, "m"), 0);
		assert_true(guest_takes_message(rig));
	}
	rig_write(rig, VP, HV_MSR_SINT0 + RIG_SINT, RIG_VECTOR | HV_SINT_POLLING);
	assert_int_equal(hv_signal_flag(rig->hv, VP, RIG_SINT, 1), 0);
	assert_int_equal(rig->interrupt_count, 0);
	rig_free(rig);
}

static void a_flag_interrupts_only_if_it_was_clear(void **state)
{
	static const unsigned int flags[] = {0, 7, 8, 1000, 2047};
	struct rig *rig = rig_with_synic();
	uint8_t *bits = rig_at(rig, RIG_PAGE(2 * VP + 1) + RIG_SINT * 256);

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		assert_int_equal(hv_signal_flag(rig->hv, VP, RIG_SINT, flags[i]), 0);
		assert_int_equal(hv_signal_flag(rig->hv, VP, RIG_SINT, flags[i]), 0);
		assert_int_equal(raised(rig), i + 1);
		assert_true(bits[flags[i] / 8] & 1u << flags[i] % 8);
	}
	assert_int_equal(bits[0], 0x81);
	assert_int_equal(bits[256], 0);
	assert_int_equal(bits[-1], 0);
	rig_free(rig);
}

static void senders_out_of_range_are_refused_for_good(void **state)
{
	static const struct {
		unsigned int vp, sint, type, bytes;
	} rows[] = {
		{RIG_VPS, 2, 1, 1}, {UINT32_MAX, 2, 1, 1}, {VP, 16, 1, 1},
		{VP, 2, 0, 1},	    {VP, 2, 1, 241},	   {VP, 2, 1, UINT32_MAX},
	};
	struct rig *rig = rig_with_synic();
	uint8_t payload[256] = {};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(hv_post_message(rig->hv, rows[i].vp, rows[i].sint, rows[i].type,
						 payload, rows[i].bytes),
				 -EINVAL);
	assert_int_equal(hv_signal_flag(rig->hv, RIG_VPS, 2, 0), -EINVAL);
	assert_int_equal(hv_signal_flag(rig->hv, VP, 16, 0), -EINVAL);
	assert_int_equal(hv_signal_flag(rig->hv, VP, 2, 2048), -EINVAL);
	assert_int_equal(hv_post_message(rig->hv, VP, 15, 1, payload, 240), 0);
	assert_int_equal(rig->interrupt_count, 0);
	rig_free(rig);
}

/*
 * A timer's message and a poster wait for the same slot. Whoever comes first, the message that is
 * written says that another waits, or else the guest would not write EOM for it.
 */
static void a_message_carries_the_pending_flag_while_others_wait(void **state)
{
	struct rig *rig = rig_with_synic();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);
	uint32_t zero = 0;

	post(rig, "one");
	rig_write(rig, VP, HV_MSR_STIMER0_CONFIG, RIG_SINT << 16 | HV_STIMER_AUTO_ENABLE);
	rig_write(rig, VP, HV_MSR_STIMER0_COUNT, 1);
	rig_advance(rig, 10);
	/* The guest frees the slot by itself, and a poster is faster than its EOM. */
	rig_put(rig, RIG_PAGE(2 * VP) + RIG_SINT * 256, &zero, sizeof(zero));
	assert_int_equal(post(rig, "two"), 0);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_int_equal(post(rig, "three"), -EAGAIN);
	assert_true(guest_takes_message(rig));
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_int_equal(rig->synic_ready, 1);
	assert_int_equal(post(rig, "three"), -EAGAIN);
	assert_true(guest_takes_message(rig));
	assert_int_equal(rig->synic_ready, 2);
	assert_int_equal(post(rig, "three"), 0);
	assert_int_equal(slot->flags, 0);
	rig_free(rig);
}

static void reset_turns_the_synic_off_and_keeps_its_word(void **state)
{
	struct rig *rig = rig_with_synic();

	post(rig, "one");
	assert_int_equal(post(rig, "two"), -EAGAIN);
	hv_reset(rig->hv);
	assert_int_equal(post(rig, "two"), -EAGAIN);
	assert_int_equal(hv_signal_flag(rig->hv, VP, RIG_SINT, 5), -EAGAIN);
	rig_enable_synic(rig, VP);
	assert_true(rig->synic_ready > 0);
	assert_int_equal(post(rig, "two"), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_fills_the_slot_and_interrupts),
		cmocka_unit_test(a_taken_slot_gets_the_pending_flag_and_eom_says_ready),
		cmocka_unit_test(an_eom_of_another_vp_is_not_ours),
		cmocka_unit_test(what_is_refused_while_the_synic_is_off_is_asked_for_when_it_is_on),
		cmocka_unit_test(pages_are_cleared_when_they_appear_and_left_alone_when_they_go),
		cmocka_unit_test(masked_and_polled_sints_get_messages_without_interrupts),
		cmocka_unit_test(a_flag_interrupts_only_if_it_was_clear),
		cmocka_unit_test(senders_out_of_range_are_refused_for_good),
		cmocka_unit_test(a_message_carries_the_pending_flag_while_others_wait),
		cmocka_unit_test(reset_turns_the_synic_off_and_keeps_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
