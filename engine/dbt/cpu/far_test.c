/* far_test.c - far jumps, calls and returns, and the way of a processor from SIPI to 64-bit code */
#include "test_machine.h"

static enum cpu_result jump(struct machine *machine, uint16_t selector, uint64_t offset, uint8_t width)
{
	struct cpu_args args = { .op_bytes = width, .imm16 = selector };

	return helper_jmp_far(machine->vp, args, offset);
}

static void go_on(struct dbt_vp *vp)
{
	vp->rip = vp->next_rip;
	vp->next_rip = vp->rip + 2;
}

static void a_started_processor_reaches_64_bit_code_by_far_jumps(void **state)
{
	struct machine *machine = machine_new();
	struct dbt_vp *vp = machine->vp;
	static const uint8_t gdtr[] = { GDT_BYTES - 1, 0, 0x00, 0x10, 0, 0xaa };
	struct cpu_args memory = { .op_bytes = 2, .flags = CPU_ARG_MEM };
	uint64_t values[2] = { 0xffffffff81000000, K_CODE64 };

	cpu_start_sipi(vp, 0x9a);
	assert_int_equal(vp->rip, 0);
	assert_int_equal(vp->seg[VP_CS].base, 0x9a000);
	assert_int_equal(vp->seg[VP_CS].selector, 0x9a00);
	assert_int_equal(vp->activity, VP_RUNNING);
	assert_int_equal(vp->mode & (MODE_CODE64 | MODE_CODE32 | MODE_STACK32 | MODE_PROTECTED | MODE_FLAT), 0);

	/* ljmp $0x9a00, $6; mov %cs, %ax; mov %ax, %ds */
	assert_int_equal(jump(machine, 0x9a00, 6, 2), CPU_DONE);
	vp->gpr[VP_RAX] = 0x9a00;
	assert_int_equal(helper_mov_to_seg(vp, (struct cpu_args){ .op_bytes = 2, .reg = VP_DS }, 0), CPU_DONE);
	assert_int_equal(vp->seg[VP_DS].base, 0x9a000);
	assert_int_equal(vp->seg[VP_DS].limit, 0xffff);

	/* lgdt: 16-bit operands load 24 bits of base */
	put_bytes(machine, 0x500, gdtr, sizeof(gdtr));
	assert_int_equal(helper_lgdt(vp, memory, 0x500), CPU_DONE);
	assert_int_equal(vp->gdtr.base, GDT);
	assert_int_equal(vp->gdtr.limit, GDT_BYTES - 1);

	/* CR0.PE set: still 16-bit code until the ljmpl (66 EA) */
	vp->cr0 |= CR0_PE;
	cpu_update_mode(vp);
	assert_int_equal(vp->mode & (MODE_PROTECTED | MODE_CODE32), MODE_PROTECTED);
	assert_int_equal(jump(machine, K_CODE32, 0x9a100, 4), CPU_DONE);
	assert_int_equal(vp->next_rip, 0x9a100);
	assert_int_equal(vp->mode & (MODE_CODE32 | MODE_CODE64 | MODE_STACK32 | MODE_FLAT), MODE_CODE32);

	/* flat data segments */
	vp->gpr[VP_RAX] = K_DATA;
	for (unsigned int i = 0; i <= VP_GS; i++)
		if (i != VP_CS)
			assert_int_equal(helper_mov_to_seg(vp, (struct cpu_args){ .op_bytes = 4, .reg = i }, 0), CPU_DONE);
	assert_int_equal(vp->mode & (MODE_CODE32 | MODE_STACK32 | MODE_FLAT), MODE_CODE32 | MODE_STACK32 | MODE_FLAT);

	/* long mode active: compatibility mode until the jump to a 64-bit segment */
	vp->efer = EFER_LME | EFER_LMA;
	vp->cr0 |= CR0_PG;
	cpu_update_mode(vp);
	assert_int_equal(vp->mode & (MODE_CODE32 | MODE_CODE64 | MODE_LONG), MODE_CODE32 | MODE_LONG);
	assert_int_equal(jump(machine, K_CODE64, 0x9a200, 4), CPU_DONE);
	assert_int_equal(vp->mode & (MODE_CODE32 | MODE_CODE64 | MODE_LONG), MODE_CODE64 | MODE_LONG);
	assert_int_equal(vp->next_rip, 0x9a200);

	/* lretq to the kernel's own address */
	vp->gpr[VP_RSP] = 0x8000;
	put_bytes(machine, 0x8000, values, sizeof(values));
	assert_int_equal(helper_ret_far(vp, (struct cpu_args){ .op_bytes = 8 }, 0), CPU_DONE);
	assert_int_equal(vp->next_rip, 0xffffffff81000000);
	assert_int_equal(vp->gpr[VP_RSP], 0x8010);
	machine_free(machine);
}

static void an_indirect_jump_takes_offset_and_selector_from_memory(void **state)
{
	struct machine *machine = machine_long(0);
	static const uint8_t target[] = { 0x78, 0x56, 0x34, 0x12, K_CODE32, 0 };
	struct cpu_args args = { .op_bytes = 4, .flags = CPU_ARG_MEM };

	put_bytes(machine, 0x6000, target, sizeof(target));
	assert_int_equal(helper_jmp_far(machine->vp, args, 0x6000), CPU_DONE);
	assert_int_equal(machine->vp->next_rip, 0x12345678);
	assert_int_equal(machine->vp->mode & (MODE_CODE32 | MODE_CODE64), MODE_CODE32);
	machine_free(machine);
}

static void a_bad_target_faults_with_its_selector(void **state)
{
	static const struct {
		const char *what;
		unsigned int cpl;
		uint16_t selector;
		uint64_t offset;
		uint8_t vector;
		uint32_t error;
	} cases[] = {
		{ "null", 0, 3, 0, VEC_GP, 0 },
		{ "beyond the GDT", 0, 0x1000, 0, VEC_GP, 0x1000 },
		{ "in an absent LDT", 0, 0xc, 0, VEC_GP, 0xc },
		{ "data", 0, K_DATA, 0, VEC_GP, K_DATA },
		{ "not present", 0, ABSENT_CODE, 0, VEC_NP, ABSENT_CODE },
		{ "64- and 32-bit", 0, LONG_AND_BIG, 0, VEC_GP, LONG_AND_BIG },
		{ "another privilege", 3, K_CODE64 | 3, 0, VEC_GP, K_CODE64 },
		{ "RPL too high", 0, K_CODE64 | 3, 0, VEC_GP, K_CODE64 },
		{ "beyond the limit", 0, CODE16, 0x10000, VEC_GP, 0 },
		{ "call gate in long mode", 0, CALL_GATE, 0, VEC_GP, CALL_GATE },
		{ "TSS in long mode", 0, SEL_TSS, 0, VEC_GP, SEL_TSS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		uint16_t cs = machine->vp->seg[VP_CS].selector;

		print_message("  %s\n", cases[i].what);
		assert_int_equal(jump(machine, cases[i].selector, cases[i].offset, 4), CPU_RESTART);
		assert_raised(machine->vp, cases[i].vector, cases[i].error);
		assert_int_equal(machine->vp->seg[VP_CS].selector, cs);
		machine_free(machine);
	}
}

static void conforming_code_keeps_the_callers_privilege(void **state)
{
	struct machine *machine = machine_long(3);

	assert_int_equal(jump(machine, CONFORMING, 0x1000, 4), CPU_DONE);
	assert_int_equal(machine->vp->cpl, 3);
	assert_int_equal(machine->vp->seg[VP_CS].selector, CONFORMING | 3);
	machine_free(machine);
}

static void a_call_pushes_the_way_back_and_retf_takes_it(void **state)
{
	static const struct {
		bool real;
		uint16_t selector;
		uint8_t width;
	} cases[] = { { false, K_CODE32, 4 }, { false, CODE16, 4 }, { false, CODE16, 2 }, { true, 0x2000, 2 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = cases[i].real ? machine_real() : machine_protected(0);
		struct dbt_vp *vp = machine->vp;
		struct cpu_args args = { .op_bytes = cases[i].width, .imm16 = cases[i].selector };
		uint16_t cs = vp->seg[VP_CS].selector;
		uint64_t rip = truncate_to(vp->next_rip, cases[i].width), rsp = vp->gpr[VP_RSP];

		assert_int_equal(helper_call_far(vp, args, 0x1234), CPU_DONE);
		assert_int_equal(vp->next_rip, 0x1234);
		assert_int_equal(vp->seg[VP_CS].selector, cases[i].selector);
		assert_int_equal(vp->gpr[VP_RSP], rsp - 2 * cases[i].width);
		go_on(vp);
		args.imm16 = 6;
		assert_int_equal(helper_ret_far(vp, args, 6), CPU_DONE);
		assert_int_equal(vp->next_rip, rip);
		assert_int_equal(vp->seg[VP_CS].selector, cs);
		assert_int_equal(vp->gpr[VP_RSP], rsp + 6);
		machine_free(machine);
	}
}

static void a_call_gate_changes_the_stack_and_copies_parameters(void **state)
{
	struct machine *machine = machine_protected(3);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 4, .imm16 = INNER_GATE | 3 };
	static const uint32_t parameters[] = { 0x11111111, 0x22222222 };
	static const uint32_t frame[] = { USER_RIP + 2, U_CODE32 | 3, 0x11111111, 0x22222222, USER_RSP, U_DATA | 3 };

	put_bytes(machine, USER_RSP, parameters, sizeof(parameters));
	assert_int_equal(helper_call_far(vp, args, 0xbad), CPU_DONE);
	assert_int_equal(vp->next_rip, KERNEL_RIP);
	assert_int_equal(vp->cpl, 0);
	assert_int_equal(vp->seg[VP_CS].selector, K_CODE32);
	assert_int_equal(vp->gpr[VP_RSP], RSP0 - sizeof(frame));
	assert_memory_equal(machine->mmu.bytes + RSP0 - sizeof(frame), frame, sizeof(frame));
	go_on(vp);
	args.imm16 = 8;
	assert_int_equal(helper_ret_far(vp, args, 8), CPU_DONE);
	assert_int_equal(vp->next_rip, USER_RIP + 2);
	assert_int_equal(vp->cpl, 3);
	assert_int_equal(vp->gpr[VP_RSP], USER_RSP + 8);
	assert_int_equal(vp->seg[VP_SS].selector, U_DATA | 3);
	machine_free(machine);
}

static void a_gate_to_the_same_privilege_pushes_only_the_return_address(void **state)
{
	struct machine *machine = machine_protected(0);
	struct cpu_args args = { .op_bytes = 4, .imm16 = CALL_GATE };

	assert_int_equal(helper_call_far(machine->vp, args, 0xbad), CPU_DONE);
	assert_int_equal(machine->vp->next_rip, KERNEL_RIP);
	assert_int_equal(machine->vp->gpr[VP_RSP], KERNEL_RSP - 8);
	machine_free(machine);
}

static void a_call_that_cannot_push_does_not_happen(void **state)
{
	struct machine *machine = machine_protected(0);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 4, .imm16 = CODE16 };

	vp->gpr[VP_RSP] = NOWHERE + 0x100;
	assert_int_equal(helper_call_far(vp, args, 0x10), CPU_RESTART);
	assert_raised(vp, VEC_PF, 2);
	assert_int_equal(vp->seg[VP_CS].selector, K_CODE32);
	assert_int_equal(vp->gpr[VP_RSP], NOWHERE + 0x100);
	machine_free(machine);
}

static void a_task_switch_ends_the_run_with_a_reason(void **state)
{
	static const uint16_t selectors[] = { SEL_TSS, TASK_GATE };

	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
		struct machine *machine = machine_protected(0);

		assert_int_equal(jump(machine, selectors[i], 0, 4), CPU_RESTART);
		assert_int_equal(machine->vp->leave, LEAVE_EXIT);
		assert_int_equal(machine->vp->exit.reason, VP_EXIT_FAILED);
		assert_int_equal(machine->vp->exception.vector, VEC_NONE);
		machine_free(machine);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_started_processor_reaches_64_bit_code_by_far_jumps),
		cmocka_unit_test(an_indirect_jump_takes_offset_and_selector_from_memory),
		cmocka_unit_test(a_bad_target_faults_with_its_selector),
		cmocka_unit_test(conforming_code_keeps_the_callers_privilege),
		cmocka_unit_test(a_call_pushes_the_way_back_and_retf_takes_it),
		cmocka_unit_test(a_call_gate_changes_the_stack_and_copies_parameters),
		cmocka_unit_test(a_gate_to_the_same_privilege_pushes_only_the_return_address),
		cmocka_unit_test(a_call_that_cannot_push_does_not_happen),
		cmocka_unit_test(a_task_switch_ends_the_run_with_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
