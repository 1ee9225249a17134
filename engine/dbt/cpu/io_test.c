/* io_test.c - port instructions: permission, exits and their answers, doorbells */
#include <sys/eventfd.h>
#include <unistd.h>

#include "test/harness.h"

#define TSS	   HARNESS_BASE
#define MAP_OFFSET 0x70u
#define BUFFER	   (HARNESS_BASE + 0x4000)

static void answer(uint16_t port, uint8_t bytes, uint64_t data)
{
	h.vp.leave = LEAVE_NONE;
	h.vp.answer = (struct dbt_answer){.valid = true,
					  .reason = VP_EXIT_PIO,
					  .address = port,
					  .bytes = bytes,
					  .data = data};
}

static void assert_exit(uint16_t port, uint8_t bytes, bool write, uint32_t data)
{
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	assert_int_equal(h.vp.exit.reason, VP_EXIT_PIO);
	assert_int_equal(h.vp.exit.pio.port, port);
	assert_int_equal(h.vp.exit.pio.bytes, bytes);
	assert_int_equal(h.vp.exit.pio.write, write);
	assert_int_equal(h.vp.exit.pio.data, data);
	h.vp.leave = LEAVE_NONE;
}

/* --- IN and OUT --- */

static void in_exits_and_completes_with_the_answer(void **state)
{
	static const struct {
		uint8_t bytes;
		uint64_t rax;
	} cases[] = {{1, 0x1111111111111188}, {2, 0x1111111111117788}, {4, 0x55667788}};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_args args = {.op_bytes = cases[i].bytes};

		harness_reset();
		h.vp.next_rip = h.vp.rip + 1;
		h.vp.gpr[VP_RAX] = 0x1111111111111111;
		h.vp.gpr[VP_RDX] = 0xffff03f8;
		assert_int_equal(helper_in(&h.vp, args, 0), CPU_RESTART);
		assert_exit(0x3f8, cases[i].bytes, false, 0xffffffff >> (32 - 8 * cases[i].bytes));
		assert_int_equal(h.vp.rip, HARNESS_BASE);
		answer(0x3f8, cases[i].bytes, 0xaabbccdd55667788);
		assert_done(helper_in(&h.vp, args, 0));
		assert_int_equal(h.vp.gpr[VP_RAX], cases[i].rax);
		assert_false(h.vp.answer.valid);
	}
}

static void an_answer_for_another_port_or_size_is_not_taken(void **state)
{
	static const struct dbt_answer answers[] = {
		{.valid = true, .reason = VP_EXIT_PIO, .address = 0x61, .bytes = 1},
		{.valid = true, .reason = VP_EXIT_PIO, .address = 0x60, .bytes = 2},
		{.valid = true, .reason = VP_EXIT_MMIO, .address = 0x60, .bytes = 1},
		{.valid = true, .reason = VP_EXIT_PIO, .write = true, .address = 0x60, .bytes = 1},
		{.valid = false, .reason = VP_EXIT_PIO, .address = 0x60, .bytes = 1},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(answers); i++) {
		harness_reset();
		h.vp.answer = answers[i];
		assert_int_equal(helper_in(&h.vp, (struct cpu_args){.op_bytes = 1}, 0x60),
				 CPU_RESTART);
		assert_exit(0x60, 1, false, 0xff);
	}
}

static void out_leaves_with_the_instruction_done(void **state)
{
	harness_reset();
	h.vp.gpr[VP_RAX] = 0x1122334455;
	h.vp.gpr[VP_RDX] = 0x3f8;
	assert_int_equal(helper_out(&h.vp, (struct cpu_args){.op_bytes = 2}, 0x80), CPU_DONE_LEAVE);
	assert_exit(0x80, 2, true, 0x4455);
	assert_int_equal(h.vp.rip, h.vp.next_rip);
}

/* The operand alone cannot tell port 0 as an immediate from DX. */
static void port_zero_and_dx_are_told_apart_by_the_code(void **state)
{
	static const struct {
		const char *code;
		uint8_t length, bytes;
		uint16_t port;
	} cases[] = {
		{"\xec", 1, 1, 0x3f8},	   {"\xe4\x00", 2, 1, 0},     {"\x66\xed", 2, 2, 0x3f8},
		{"\x66\xe5\x00", 3, 2, 0}, {"\xf3\xec", 2, 1, 0x3f8},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		harness_reset();
		h.vp.rip = HARNESS_BASE + 0xfff; /* the code crosses into the next page */
		h.vp.next_rip = h.vp.rip + cases[i].length;
		harness_put(h.vp.rip, cases[i].code, cases[i].length);
		h.vp.gpr[VP_RDX] = 0x3f8;
		helper_in(&h.vp, (struct cpu_args){.op_bytes = cases[i].bytes}, 0);
		assert_int_equal(h.vp.exit.pio.port, cases[i].port);
	}
}

static void the_hypercall_port_makes_hypercalls_of_byte_writes(void **state)
{
	harness_reset();
	h.part.part.hypercall_port = 0xfe;
	assert_int_equal(helper_out(&h.vp, (struct cpu_args){.op_bytes = 1}, 0xfe), CPU_DONE_LEAVE);
	assert_int_equal(h.vp.exit.reason, VP_EXIT_HYPERCALL);
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	assert_int_equal(helper_out(&h.vp, (struct cpu_args){.op_bytes = 2}, 0xfe), CPU_DONE_LEAVE);
	assert_exit(0xfe, 2, true, 0);
}

static void a_doorbell_rings_instead_of_an_exit(void **state)
{
	static const struct {
		uint8_t bytes;
		uint16_t port;
		uint32_t value;
		bool rings;
	} cases[] = {
		{1, 0x501, 7, true},	    {1, 0x501, 8, true},       {2, 0x501, 7, false},
		{1, 0x502, 7, false},	    {2, 0x510, 42, true},      {2, 0x510, 43, false},
		{2, 0x510, 0x10042, false}, {2, 0x510, 0x1002a, true}, /* the low 16 bits are what
									  is written */
		{4, 0x520, 0, false},
	};
	int bell = eventfd(0, EFD_NONBLOCK);
	uint64_t count;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		enum cpu_result result;

		harness_reset();
		h.part.doorbells[0] = (struct doorbell){DOORBELL_PIO, 0x501, 1, false, 0, bell};
		h.part.doorbells[1] = (struct doorbell){DOORBELL_PIO, 0x510, 2, true, 42, bell};
		h.part.doorbells[2] = (struct doorbell){DOORBELL_MMIO, 0x520, 4, false, 0, bell};
		h.part.doorbell_count = 3;
		h.vp.next_rip = h.vp.rip + 1;
		h.vp.gpr[VP_RAX] = cases[i].value;
		h.vp.gpr[VP_RDX] = cases[i].port;
		result = helper_out(&h.vp, (struct cpu_args){.op_bytes = cases[i].bytes}, 0);
		assert_int_equal(result, cases[i].rings ? CPU_DONE : CPU_DONE_LEAVE);
		assert_int_equal(read(bell, &count, sizeof(count)) > 0, cases[i].rings);
	}
	close(bell);
}

/* --- permission --- */

static void set_up_tss(uint16_t map_base, uint32_t limit)
{
	h.vp.seg[VP_TR] = (struct vp_segment){.base = TSS, .limit = limit, .access = 0x8b};
	harness_put(TSS + 0x66, &map_base, 2);
}

static void ports_need_iopl_or_the_bit_map(void **state)
{
	static const struct {
		const char *what;
		uint8_t cpl, iopl, bytes;
		uint16_t port, denied; /* the one port whose bit is set */
		uint32_t limit, tr_access;
		bool allowed;
	} cases[] = {
		{"kernel", 0, 0, 4, 0x60, 0x60, 0, 0x8b, true},
		{"IOPL 3", 3, 3, 4, 0x60, 0x60, 0, 0x8b, true},
		{"CPL 1, IOPL 1", 1, 1, 4, 0x60, 0x60, 0, 0x8b, true},
		{"allowed by the map", 3, 0, 1, 0x60, 0x61, 0x2fff, 0x8b, true},
		{"denied by the map", 3, 0, 1, 0x61, 0x61, 0x2fff, 0x8b, false},
		{"the second byte", 3, 0, 2, 0x60, 0x61, 0x2fff, 0x8b, false},
		{"the fourth, in the next byte", 3, 0, 4, 0x65, 0x68, 0x2fff, 0x8b, false},
		{"four below it", 3, 0, 4, 0x64, 0x68, 0x2fff, 0x8b, true},
		{"available TSS", 3, 0, 1, 0x60, 0x61, 0x2fff, 0x89, true},
		{"16-bit TSS", 3, 0, 1, 0x60, 0x61, 0x2fff, 0x83, false},
		{"limit on the map's second byte", 3, 0, 1, 0x60, 0x61, MAP_OFFSET + 13, 0x8b,
		 true},
		{"limit before it", 3, 0, 1, 0x60, 0x61, MAP_OFFSET + 12, 0x8b, false},
		{"TSS without a map", 3, 0, 1, 0x60, 0x61, 0x66, 0x8b, false},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bit = 1 << cases[i].denied % 8;

		harness_reset();
		set_up_tss(MAP_OFFSET, cases[i].limit);
		h.vp.seg[VP_TR].access = cases[i].tr_access;
		harness_put(TSS + MAP_OFFSET + cases[i].denied / 8, &bit, 1);
		h.vp.eflags_rest |= cases[i].iopl << 12;
		harness_cpl(cases[i].cpl);
		h.vp.gpr[VP_RDX] = cases[i].port;
		h.vp.next_rip = h.vp.rip + 1;
		helper_out(&h.vp, (struct cpu_args){.op_bytes = cases[i].bytes}, 0);
		if ((h.vp.leave == LEAVE_EXIT) != cases[i].allowed ||
		    (h.vp.exception.vector == VEC_GP) == cases[i].allowed)
			fail_msg("%s", cases[i].what);
	}
}

static void virtual_8086_always_asks_the_map(void **state)
{
	harness_reset();
	harness_protected32();
	h.vp.eflags_rest |= FLAG_VM | FLAG_IOPL;
	harness_cpl(3);
	assert_gp(helper_in(&h.vp, (struct cpu_args){.op_bytes = 1}, 0x60));
}

/* --- INS and OUTS --- */

static void rep_ins_takes_one_element_per_exit(void **state)
{
	struct cpu_args args = {.op_bytes = 2, .address_bytes = 8, .flags = CPU_ARG_REP};
	uint16_t data[3];

	harness_reset();
	h.vp.gpr[VP_RDX] = 0x1f0;
	h.vp.gpr[VP_RCX] = 3;
	h.vp.gpr[VP_RDI] = BUFFER;
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(helper_ins(&h.vp, args, 0), CPU_RESTART);
		assert_exit(0x1f0, 2, false, 0xffff);
		assert_int_equal(h.vp.gpr[VP_RCX], 3 - i);
		assert_int_equal(h.vp.gpr[VP_RDI], BUFFER + 2 * i);
		answer(0x1f0, 2, 0x1110 + i);
	}
	assert_done(helper_ins(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RCX], 0);
	assert_int_equal(h.vp.gpr[VP_RDI], BUFFER + 6);
	harness_get(BUFFER, data, 6);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(data[i], 0x1110 + i);
}

static void ins_reads_the_port_only_when_it_can_store(void **state)
{
	struct cpu_args args = {.op_bytes = 2, .address_bytes = 8};

	harness_reset();
	h.kind[5] = PAGE_ABSENT;
	h.vp.gpr[VP_RDX] = 0x1f0;
	h.vp.gpr[VP_RDI] = BUFFER + 0xfff; /* the second byte is in the absent page */
	assert_raised(helper_ins(&h.vp, args, 0), VEC_PF);
	assert_int_equal(h.vp.leave, LEAVE_NONE);
	h.kind[5] = PAGE_INDIRECT;
	assert_int_equal(helper_ins(&h.vp, args, 0), CPU_RESTART);
	assert_exit(0x1f0, 2, false, 0xffff);
	assert_int_equal(h.vp.step_once, 0);
	/* ... and keeps what was read when the page went away meanwhile. */
	answer(0x1f0, 2, 0x4242);
	h.kind[5] = PAGE_READ_ONLY;
	assert_raised(helper_ins(&h.vp, args, 0), VEC_PF);
	assert_true(h.vp.answer.valid);
}

static void rep_outs_is_done_with_its_last_exit(void **state)
{
	struct cpu_args args = {
		.op_bytes = 1, .address_bytes = 4, .flags = CPU_ARG_REP, .seg = VP_DS};

	harness_reset();
	harness_put(BUFFER - 1, "ba", 2);
	h.vp.flag_df = 1;
	h.vp.gpr[VP_RDX] = 0xe9;
	h.vp.gpr[VP_RCX] = 0x500000002;
	h.vp.gpr[VP_RSI] = BUFFER;
	assert_int_equal(helper_outs(&h.vp, args, 0), CPU_RESTART);
	assert_exit(0xe9, 1, true, 'a');
	assert_int_equal(h.vp.gpr[VP_RCX], 1);
	assert_int_equal(helper_outs(&h.vp, args, 0), CPU_DONE_LEAVE);
	assert_exit(0xe9, 1, true, 'b');
	assert_int_equal(h.vp.gpr[VP_RSI], BUFFER - 2);
	assert_int_equal(h.vp.rip, h.vp.next_rip);
}

static void rep_with_count_zero_does_not_even_check_permission(void **state)
{
	struct cpu_args args = {.op_bytes = 1, .address_bytes = 8, .flags = CPU_ARG_REP};

	harness_reset();
	harness_cpl(3);
	h.vp.gpr[VP_RDI] = 0xdeadbeef000;
	assert_done(helper_ins(&h.vp, args, 0));
	assert_done(helper_outs(&h.vp, args, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_exits_and_completes_with_the_answer),
		cmocka_unit_test(an_answer_for_another_port_or_size_is_not_taken),
		cmocka_unit_test(out_leaves_with_the_instruction_done),
		cmocka_unit_test(port_zero_and_dx_are_told_apart_by_the_code),
		cmocka_unit_test(the_hypercall_port_makes_hypercalls_of_byte_writes),
		cmocka_unit_test(a_doorbell_rings_instead_of_an_exit),
		cmocka_unit_test(ports_need_iopl_or_the_bit_map),
		cmocka_unit_test(virtual_8086_always_asks_the_map),
		cmocka_unit_test(rep_ins_takes_one_element_per_exit),
		cmocka_unit_test(ins_reads_the_port_only_when_it_can_store),
		cmocka_unit_test(rep_outs_is_done_with_its_last_exit),
		cmocka_unit_test(rep_with_count_zero_does_not_even_check_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
