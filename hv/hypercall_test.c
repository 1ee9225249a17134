/*
 * hypercall_test.c - the way into hypercalls, and each call
 */
#include "test_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FAST	    HV_CONTROL_FAST
#define VARIABLE(n) ((uint64_t)(n) << HV_CONTROL_VARIABLE_SHIFT)
#define COUNT(n)    ((uint64_t)(n) << HV_CONTROL_COUNT_SHIFT)
#define START(n)    ((uint64_t)(n) << HV_CONTROL_START_SHIFT)
#define DONE(n)	    ((uint64_t)(n) << HV_RESULT_COMPLETED_SHIFT)
#define INPUT	    RIG_PAGE(8)
#define OUTPUT	    RIG_PAGE(9)
#define END	    RIG_PAGE(RIG_PAGES)
#define VP_MASK	    0xf /* RIG_VPS */

static void bad_input_has_the_status_of_the_tlfs(void **state)
{
	static const struct {
		uint64_t control, input, output, result;
	} rows[] = {
		/* Unknown codes */
		{0x0000, 0, 0, 2},
		{0x0001, 0, 0, 2},
		{0x007e, INPUT, 0, 2},
		{0xffff, 1, 1, 2},
		{0x8003 | COUNT(1), INPUT, 0, 2},
		{0x0000 | BIT(31), 0, 0, 3},
		/* Known and denied, whatever the rest is */
		{0x0046, 0, OUTPUT, 6},
		{0x0046 | BIT(63), 0, 1, 6},
		{0x0050, 0, 0, 6},
		{0x0051 | COUNT(1), 0, 0, 6},
		{0x0099, 0, 0, 6},
		{0x009a, 0, 0, 6},
		/* Reserved bits */
		{0x0008 | FAST | BIT(27), 0, 0, 3},
		{0x0008 | FAST | BIT(30), 0, 0, 3},
		{0x0008 | FAST | BIT(31), 0, 0, 3},
		{0x0008 | FAST | BIT(44), 0, 0, 3},
		{0x0008 | FAST | BIT(47), 0, 0, 3},
		{0x0008 | FAST | BIT(60), 0, 0, 3},
		{0x0008 | FAST | BIT(63), 0, 0, 3},
		/* Reps of a simple call, no reps of a rep call */
		{0x0008 | FAST | COUNT(1), 0, 0, 3},
		{0x0008 | FAST | START(1), 0, 0, 3},
		{0x005c | COUNT(1), INPUT, 0, 3},
		{0x0003, INPUT, 0, 3},
		{0x0003 | COUNT(1) | START(1), INPUT, 0, 3},
		{0x0003 | COUNT(4) | START(0xfff), INPUT, 0, 3},
		{0x0014 | COUNT(0) | START(1), INPUT, 0, 3},
		/* Variable headers where there are none */
		{0x0008 | FAST | VARIABLE(1), 0, 0, 3},
		{0x0002 | VARIABLE(1), INPUT, 0, 3},
		{0x0003 | VARIABLE(0x3ff) | COUNT(1), INPUT, 0, 3},
		{0x000b | FAST | VARIABLE(1), 0x20, 1, 3},
		/* Fast where input or output is in memory */
		{0x005c | FAST, 0, 0, 3},
		{0x8001 | FAST, 0, 0, 3},
		/* More than all the registers hold */
		{0x0014 | FAST | COUNT(11), 0, 0, 3},
		{0x0003 | FAST | COUNT(0xfff), 0, 0, 3},
		{0x0015 | FAST | VARIABLE(0x3ff), 0, 0, 3},
		/* Addresses */
		{0x005d, INPUT + 4, 0, 4},
		{0x005d, 1, 0, 4},
		{0x005c, INPUT + PAGE_BYTES - 248, 0, 4},
		{0x0003 | COUNT(510), INPUT, 0, 4},
		{0x0003 | COUNT(0xfff), INPUT, 0, 4},
		{0x0014 | VARIABLE(0x3ff) | COUNT(0xfff), INPUT, 0, 4},
		{0x0002, UINT64_MAX - 7, 0, 4},
		{0x8001, 1, OUTPUT + 1, 4},
		{0x8001, 1, OUTPUT + 4, 4},
		/* No RAM */
		{0x005d, 0, 0, 3},
		{0x005c, END, 0, 3},
		{0x005d, UINT64_MAX - 7, 0, 3},
		{0x005c, RIG_RAM - PAGE_BYTES, 0, 3},
		{0x8001, 0, END, 3},
		{0x8001, 0, 0, 3},
		/* At the very edges */
		{0x005d, END - 8, 0, 0},
		{0x0003 | COUNT(509), INPUT, 0, DONE(509)},
		{0x8001, 1, OUTPUT + PAGE_BYTES - 8, 0},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t result = rig_call(rig, 0, rows[i].control, rows[i].input, rows[i].output);

		if (result != rows[i].result)
			fail_msg("row %zu: %#lx instead of %#lx", i, result, rows[i].result);
	}
	rig_free(rig);
}

static void calls_that_flush_exist_only_where_the_engine_flushes(void **state)
{
	static const uint64_t controls[] = {0x02, 0x03 | COUNT(1), 0x13, 0x14 | COUNT(1)};
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);

	config.services.flush_tlb = NULL;
	rig_start(rig, &config);
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++)
		assert_int_equal(rig_call(rig, 0, controls[i], INPUT, 0), 2);
	assert_int_equal(rig_call(rig, 0, 0x0b | FAST, 0x20, 1), 0);
	rig_free(rig);
}

static void input_in_xmm_registers_that_is_not_offered_is_an_invalid_opcode(void **state)
{
	static const struct {
		uint64_t control;
		bool defined;
	} rows[] = {
		{0x02 | FAST, false},
		{0x13 | FAST, false},
		{0x03 | FAST | COUNT(4095), false},
		{0x15 | FAST, false},
		{0x5d | FAST, true},
		{0x5c | FAST, true},
		{0x02 | FAST | COUNT(1), true},
	};
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);

	config.services.get_xmm = NULL;
	rig_start(rig, &config);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hv_hypercall_registers registers = {.long_mode = true,
							   .rcx = rows[i].control};

		if (hv_hypercall(rig->hv, 0, &registers) != rows[i].defined)
			fail_msg("row %zu", i);
	}
	assert_int_equal(rig->flushes, 0);
	rig_free(rig);
}

static void without_long_mode_values_come_in_pairs_of_registers(void **state)
{
	struct rig *rig = rig_new();
	struct hv_hypercall_registers signal = {.rax = 0xabcdef000001005d,
						.rdx = 0xffffffff00000000,
						.rbx = 0x0007,
						.rcx = 0x123456,
						.r8 = 1};
	struct hv_hypercall_registers list = {.rax = 0x0003,
					      .rdx = 0x0001 << 16 | 3,
					      .rcx = INPUT,
					      .rbx = 0xdead00000000,
					      .rdi = 5,
					      .rsi = 5};

	assert_true(hv_hypercall(rig->hv, 0, &signal));
	assert_int_equal(signal.rax, 0);
	assert_int_equal(signal.rdx, 0);
	assert_int_equal(rig->signalled.connection_id, 0x123456);
	assert_int_equal(rig->signalled.flag, 7);
	assert_true(hv_hypercall(rig->hv, 0, &list));
	assert_int_equal(list.rax, 0);
	assert_int_equal(list.rdx, 3);
	rig_free(rig);
}

static void messages_are_handed_on_if_they_are_valid(void **state)
{
	static const struct {
		struct hv_input_post_message input;
		uint16_t status; /* the bus' */
		unsigned int result;
		bool posted;
	} rows[] = {
		{{1, 0, 1, 5, "abcde"}, 0, 0, true},
		{{0xffffff, 0, 1, 240, "abcde"}, 0x13, 0x13, true},
		{{4, 7, 0x7fffffff, 0}, 0x12, 0x12, true},
		{{1, 0, 0, 5}, 0, 5},
		{{1, 0, 0x80000001, 5}, 0, 5},
		{{1, 0, 1, 241}, 0, 5},
		{{1, 0, 1, UINT32_MAX}, 0, 5},
		{{0x1000001, 0, 1, 5}, 0, 0x12},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_put(rig, INPUT + 8, &rows[i].input, sizeof(rows[i].input));
		rig->status = rows[i].status;
		rig->posted.count = 0;
		if (rig_call(rig, 1, 0x5c, INPUT + 8, 0xdead) != rows[i].result ||
		    rig->posted.count != rows[i].posted)
			fail_msg("row %zu", i);
		if (!rows[i].posted)
			continue;
		assert_int_equal(rig->posted.connection_id, rows[i].input.connection_id);
		assert_int_equal(rig->posted.bytes, rows[i].input.payload_bytes);
		assert_memory_equal(rig->posted.payload, rows[i].input.payload, rig->posted.bytes);
	}
	rig_free(rig);
}

static void events_are_handed_on_in_registers_and_in_memory(void **state)
{
	static const struct {
		uint64_t input;
		unsigned int result;
		bool signalled;
	} rows[] = {
		{0x0000000000010005, 0x11, true}, {0x000007ff00ffffff, 0x11, true},
		{0x0000080000000001, 5},	  {0x0001000000000001, 5},
		{0x0000000001000001, 0x12},	  {UINT64_MAX, 5},
	};
	struct rig *rig = rig_new();

	rig->status = 0x11;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		uint64_t input = rows[i / 2].input;

		rig_put(rig, INPUT, &input, sizeof(input));
		rig->signalled.count = 0;
		if (rig_call(rig, 0, i % 2 ? 0x5d : 0x5d | FAST, i % 2 ? INPUT : input, 0x99) !=
			    rows[i / 2].result ||
		    rig->signalled.count != rows[i / 2].signalled)
			fail_msg("row %zu", i);
		if (!rows[i / 2].signalled)
			continue;
		assert_int_equal(rig->signalled.connection_id, (uint32_t)input);
		assert_int_equal(rig->signalled.flag, input >> 32);
	}
	rig_free(rig);
}

/* Every call that names VPs, with its input in memory and then in registers. */
struct vps_row {
	uint64_t control;
	uint64_t input[16];
	uint64_t result;
	uint64_t vps; /* 0: nothing is done */
};

static uint64_t call_both_ways(struct rig *rig, const struct vps_row *row, bool fast)
{
	uint64_t input[14];

	if (!fast) {
		rig_put(rig, INPUT, row->input, sizeof(row->input));
		return rig_call(rig, 1, row->control, INPUT, 0);
	}
	memcpy(input, row->input, sizeof(input));
	memcpy(rig->xmm, input + 2, sizeof(rig->xmm));
	return rig_call(rig, 1, row->control | FAST, input[0], input[1]);
}

static void flushes_name_vps_by_mask_and_by_set(void **state)
{
	static const struct vps_row rows[] = {
		{0x02, {0x1000, 0, 5}, 0, 5},
		{0x02, {0x1000, 2, 0xf0 | 8}, 0, 8},
		{0x02, {0x1000, 1, 4}, 0, VP_MASK},
		{0x02, {0x1000, 3, 0}, 0, VP_MASK},
		{0x02, {0x1000, 0, 0}, 0, VP_MASK},
		{0x02, {0x1000, 0, 0xf0}, 0, 0},
		{0x02, {0x1000, 0x10, 1}, 5, 0},
		{0x02, {0x1000, BIT(63), 1}, 5, 0},
		{0x03 | COUNT(2), {0, 0, 1, 0x1000, 0x2fff}, DONE(2), 1},
		{0x03 | COUNT(9) | START(4), {0, 4, 2}, DONE(9), 2},
		{0x03 | COUNT(9) | START(4), {0, 0x20, 2}, 5 | DONE(4), 0},
		{0x03 | COUNT(2), {0, 0, 0xf0}, DONE(2), 0},
		/* {address space, flags, format, bank mask, banks..., ranges...} */
		{0x13 | VARIABLE(1), {0, 0, 0, 1, 6}, 0, 6},
		{0x13 | VARIABLE(1), {0, 0, 0, 2, 6}, 0, 0},
		{0x13 | VARIABLE(2), {0, 0, 0, BIT(63) | 1, 3, 6}, 0, 3},
		{0x13, {0, 0, 0, 0}, 0, 0},
		{0x13, {0, 1, 0, 0}, 0, VP_MASK},
		{0x13, {0, 0, 1, 0}, 0, VP_MASK},
		{0x13, {0, 0, 1, 7}, 0, VP_MASK},
		{0x13 | VARIABLE(1), {0, 0, 1, 1, 1}, 3, 0},
		{0x13, {0, 0, 0, 1}, 3, 0},
		{0x13 | VARIABLE(2), {0, 0, 0, 1, 1, 1}, 3, 0},
		{0x13 | VARIABLE(1), {0, 0, 0, UINT64_MAX, 1}, 3, 0},
		{0x13, {0, 0, 2, 0}, 5, 0},
		{0x13, {0, 0, UINT64_MAX, 0}, 5, 0},
		{0x13, {0, 16, 1, 0}, 5, 0},
		{0x14 | VARIABLE(1) | COUNT(2), {0, 0, 0, 1, 9, 0x1000, 0x2000}, DONE(2), 9},
		{0x14 | COUNT(2) | START(1), {0, 0, 1, 0, 0x1000, 0x2000}, DONE(2), VP_MASK},
		{0x14 | VARIABLE(3) | COUNT(2) | START(1), {0, 0, 0, 1}, 3 | DONE(1), 0},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const struct vps_row *row = &rows[i / 2];
		uint64_t result;

		rig->flushes = 0;
		result = call_both_ways(rig, row, i % 2);
		if (result != row->result || rig->flushes != !!row->vps ||
		    (row->vps && rig->flushed != row->vps))
			fail_msg("row %zu: %#lx, VPs %#lx", i / 2, result, rig->flushed);
	}
	rig_free(rig);
}

static void interrupts_go_to_vps_by_mask_and_by_set(void **state)
{
	static const struct vps_row rows[] = {
		{0x0b, {0x20, 0xa}, 0, 0xa},
		{0x0b, {0xff, UINT64_MAX}, 0, VP_MASK},
		{0x0b, {0x10, 0}, 0, 0},
		{0x0b, {0x0f, 1}, 5, 0},
		{0x0b, {0, 1}, 5, 0},
		{0x0b, {0x100, 1}, 5, 0},
		{0x0b, {0xffffffff, 1}, 5, 0},
		{0x0b, {0x100000020, 1}, 5, 0},
		{0x0b, {0x10000000020, 1}, 5, 0},
		{0x0b, {0x100000000000020, 1}, 5, 0},
		{0x15, {0x20, 1, 0}, 0, VP_MASK},
		{0x15 | VARIABLE(1), {0x20, 0, 1, 6}, 0, 6},
		{0x15 | VARIABLE(1), {0x20, 0, 4, 6}, 0, 0},
		{0x15, {0x20, 0, 0}, 0, 0},
		{0x15, {0x20, 0, 1}, 3, 0},
		{0x15 | VARIABLE(2), {0x20, 0, 1, 6}, 3, 0},
		{0x15, {0x20, 3, 0}, 5, 0},
		{0x15, {0xf, 1, 0}, 5, 0},
		{0x15, {0x100000020, 1, 0}, 5, 0},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const struct vps_row *row = &rows[i / 2];
		uint64_t vps = 0, result;

		memset(rig->interrupts, 0, sizeof(rig->interrupts));
		rig->interrupt_count = 0;
		result = call_both_ways(rig, row, i % 2);
		for (unsigned int vp = 0; vp < RIG_VPS; vp++)
			vps |= (uint64_t)rig->interrupts[vp][row->input[0] & 0xff] << vp;
		if (result != row->result || vps != row->vps ||
		    rig->interrupt_count != __builtin_popcountll(vps))
			fail_msg("row %zu: %#lx, VPs %#lx", i / 2, result, vps);
	}
	rig_free(rig);
}

/* A success without progress would make the guest call again for ever. */
static void a_flush_that_fails_is_not_a_success(void **state)
{
	const uint64_t input[4] = {0, 0, 1, 0x1000};
	struct rig *rig = rig_new();

	rig_put(rig, INPUT, input, sizeof(input));
	rig->flush_result = -ENOTSUP;
	assert_int_equal(rig_call(rig, 0, 0x02, INPUT, 0), 0x71);
	assert_int_equal(rig_call(rig, 0, 0x03 | COUNT(3) | START(1), INPUT, 0), 0x71 | DONE(1));
	rig->flush_result = 0;
	rig->xmm_result = -EIO;
	assert_int_equal(rig_call(rig, 0, 0x02 | FAST, 0, 0), 0x71);
	rig_free(rig);
}

static void a_long_spin_yields(void **state)
{
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);

	rig_start(rig, &config);
	assert_int_equal(rig_call(rig, 0, 0x08 | FAST, 4096, 0), 0);
	assert_int_equal(rig_call(rig, 0, 0x08, INPUT, 0), 0);
	assert_int_equal(rig->yields, 2);
	hv_free(rig->hv);
	config.services.yield = NULL;
	rig_start(rig, &config);
	assert_int_equal(rig_call(rig, 0, 0x08 | FAST, 4096, 0), 0);
	assert_int_equal(rig->yields, 2);
	rig_free(rig);
}

static void extended_capabilities_are_none(void **state)
{
	const uint64_t garbage[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	struct rig *rig = rig_new();
	uint64_t *output = rig_at(rig, OUTPUT);

	rig_put(rig, OUTPUT, garbage, sizeof(garbage));
	assert_int_equal(rig_call(rig, 0, 0x8001, 0, OUTPUT + 8), 0);
	assert_int_equal(output[0], UINT64_MAX);
	assert_int_equal(output[1], 0);
	assert_int_equal(output[2], UINT64_MAX);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_input_has_the_status_of_the_tlfs),
		cmocka_unit_test(calls_that_flush_exist_only_where_the_engine_flushes),
		cmocka_unit_test(input_in_xmm_registers_that_is_not_offered_is_an_invalid_opcode),
		cmocka_unit_test(without_long_mode_values_come_in_pairs_of_registers),
		cmocka_unit_test(messages_are_handed_on_if_they_are_valid),
		cmocka_unit_test(events_are_handed_on_in_registers_and_in_memory),
		cmocka_unit_test(flushes_name_vps_by_mask_and_by_set),
		cmocka_unit_test(interrupts_go_to_vps_by_mask_and_by_set),
		cmocka_unit_test(a_flush_that_fails_is_not_a_success),
		cmocka_unit_test(a_long_spin_yields),
		cmocka_unit_test(extended_capabilities_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
