/* interrupt_test.c - delivery of exceptions and interrupts: frames, faults on the way, shutdown */
#include "test_machine.h"

static void deliver(struct machine *machine, uint8_t vector, bool has_error, uint32_t error)
{
	if (has_error)
		vp_raise_error(machine->vp, vector, error);
	else
		vp_raise(machine->vp, vector);
	assert_int_equal(cpu_deliver_exception(machine->vp), 0);
	assert_int_equal(machine->vp->exception.vector, VEC_NONE);
}

static void a_long_mode_frame_has_every_byte_in_its_place(void **state)
{
	static const struct {
		const char *what;
		unsigned int cpl;
		uint8_t type, ist;
		bool has_error;
		uint64_t top; /* of the stack the frame is on */
		bool stays_enabled;
	} cases[] = {
		{ "same privilege", 0, 14, 0, false, KERNEL_RSP & ~15u, false },
		{ "same privilege, error code", 0, 14, 0, true, KERNEL_RSP & ~15u, false },
		{ "from user", 3, 14, 0, true, RSP0, false },
		{ "from user, trap gate", 3, 15, 0, false, RSP0, true },
		{ "IST from user", 3, 14, 1, false, IST1, false },
		{ "IST, same privilege", 0, 14, 1, true, IST1, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;
		uint64_t old[] = { vp->rip, vp->seg[VP_CS].selector, vp_rflags(vp) | FLAG_RF,
				   vp->gpr[VP_RSP], vp->seg[VP_SS].selector };
		uint64_t bottom = cases[i].top - (cases[i].has_error ? 48 : 40);

		print_message("  %s\n", cases[i].what);
		put_gate(machine, VEC_GP, K_CODE64, cases[i].type, 0, cases[i].ist);
		deliver(machine, VEC_GP, cases[i].has_error, 0x1238);
		assert_int_equal(vp->gpr[VP_RSP], bottom);
		if (cases[i].has_error)
			assert_int_equal(get64(machine, bottom), 0x1238);
		for (unsigned int j = 0; j < 5; j++)
			assert_int_equal(get64(machine, cases[i].top - 40 + 8 * j), old[j]);
		assert_int_equal(vp->rip, HANDLER(VEC_GP));
		assert_int_equal(vp->cpl, 0);
		assert_int_equal(vp->seg[VP_CS].selector, K_CODE64);
		assert_int_equal(vp->seg[VP_SS].selector, cases[i].cpl ? 0 : K_DATA);
		assert_int_equal(vp->flag_if, cases[i].stays_enabled);
		assert_int_equal(vp->eflags_rest & FLAG_RF, 0);
		assert_int_equal(vp->mode & (MODE_CODE64 | MODE_USER), MODE_CODE64);
		assert_int_equal(machine->mmu.writes, 1);
		machine_free(machine);
	}
}

static void a_hardware_interrupt_pushes_no_error_code_and_no_resume_flag(void **state)
{
	struct machine *machine = machine_long(3);
	struct dbt_vp *vp = machine->vp;

	vp->irq_shadow = 1;
	put_gate(machine, 0x40, K_CODE64, 14, 0, 0);
	assert_int_equal(cpu_deliver_interrupt(vp, 0x40), 0);
	assert_int_equal(vp->gpr[VP_RSP], RSP0 - 40);
	assert_int_equal(get64(machine, RSP0 - 24), FLAG_IF | FLAG_CF | FLAG_ZF | 2);
	assert_int_equal(vp->irq_shadow, 0);
	assert_int_equal(vp->nmi_masked, 0);
	machine_free(machine);
}

static void an_nmi_masks_further_ones(void **state)
{
	struct machine *machine = machine_long(0);

	put_gate(machine, VEC_NMI, K_CODE64, 14, 0, 1);
	assert_int_equal(cpu_deliver_interrupt(machine->vp, VEC_NMI), 0);
	assert_int_equal(machine->vp->nmi_masked, 1);
	machine_free(machine);
}

static void a_page_fault_sets_cr2_only_when_it_is_delivered(void **state)
{
	struct machine *machine = machine_long(3);
	struct dbt_vp *vp = machine->vp;

	put_gate(machine, VEC_PF, K_CODE64, 14, 0, 0);
	vp_raise_error(vp, VEC_PF, 6);
	vp->exception.cr2 = 0xdead000;
	assert_int_equal(vp->cr2, 0);
	assert_int_equal(cpu_deliver_exception(vp), 0);
	assert_int_equal(vp->cr2, 0xdead000);
	assert_int_equal(get64(machine, RSP0 - 48), 6);
	machine_free(machine);
}

static void a_bad_gate_raises_the_fault_the_manual_names(void **state)
{
	static const struct {
		const char *what;
		uint16_t selector;
		uint8_t type;
		bool present;
		uint8_t ist;
		uint32_t tss_limit;
		uint8_t vector; /* that is delivered instead */
		uint32_t error;
	} cases[] = {
		{ "gate not present", K_CODE64, 14, false, 0, 0x67, VEC_NP, 0x40 * 8 + 3 },
		{ "gate of another type", K_CODE64, 12, true, 0, 0x67, VEC_GP, 0x40 * 8 + 3 },
		{ "16-bit gate in long mode", K_CODE64, 6, true, 0, 0x67, VEC_GP, 0x40 * 8 + 3 },
		{ "null selector", 3, 14, true, 0, 0x67, VEC_GP, 1 },
		{ "selector beyond the GDT", 0xff0, 14, true, 0, 0x67, VEC_GP, 0xff1 },
		{ "selector in an absent LDT", 0xc, 14, true, 0, 0x67, VEC_GP, 0xd },
		{ "data segment", K_DATA, 14, true, 0, 0x67, VEC_GP, K_DATA | 1 },
		{ "32-bit code segment", K_CODE32, 14, true, 0, 0x67, VEC_GP, K_CODE32 | 1 },
		{ "code segment not present", ABSENT_CODE, 14, true, 0, 0x67, VEC_NP, ABSENT_CODE | 1 },
		{ "less privileged code", U_CODE64, 14, true, 0, 0x67, VEC_GP, U_CODE64 | 1 },
		{ "IST beyond the TSS", K_CODE64, 14, true, 7, 0x4f, VEC_TS, SEL_TSS | 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(0);
		struct dbt_vp *vp = machine->vp;

		print_message("  %s\n", cases[i].what);
		put_gate(machine, 0x40, cases[i].selector, cases[i].type, 0, cases[i].ist);
		if (!cases[i].present)
			machine->mmu.bytes[IDT + 0x400 + 5] &= 0x7f;
		put_gate(machine, cases[i].vector, K_CODE64, 14, 0, 0);
		vp->seg[VP_TR].limit = cases[i].tss_limit;
		assert_int_equal(cpu_deliver_interrupt(vp, 0x40), 0);
		assert_int_equal(vp->rip, HANDLER(cases[i].vector));
		assert_int_equal(get64(machine, vp->gpr[VP_RSP]), cases[i].error);
		assert_int_equal(get64(machine, vp->gpr[VP_RSP] + 8), KERNEL_RIP);
		machine_free(machine);
	}
}

/* @first is raised; its gate is broken so that @second arises; @delivered comes out. */
static void two_exceptions_make_a_double_fault_only_if_both_are_severe(void **state)
{
	static const struct {
		uint8_t first;
		enum { SECOND_GP, SECOND_NP, SECOND_PF } second;
		uint8_t delivered;
		uint32_t error;
	} cases[] = {
		{ VEC_DE, SECOND_GP, VEC_DF, 0 }, { VEC_TS, SECOND_NP, VEC_DF, 0 },
		{ VEC_NP, SECOND_GP, VEC_DF, 0 }, { VEC_SS, SECOND_GP, VEC_DF, 0 },
		{ VEC_GP, SECOND_NP, VEC_DF, 0 }, { VEC_PF, SECOND_GP, VEC_DF, 0 },
		{ VEC_PF, SECOND_PF, VEC_DF, 0 }, { VEC_GP, SECOND_PF, VEC_PF, 2 },
		{ VEC_DE, SECOND_PF, VEC_PF, 2 }, { VEC_UD, SECOND_GP, VEC_GP, K_DATA | 1 },
		{ VEC_DB, SECOND_NP, VEC_NP, VEC_DB * 8 + 3 }, { VEC_NM, SECOND_PF, VEC_PF, 2 },
		{ VEC_AC, SECOND_GP, VEC_GP, K_DATA | 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(0);
		struct dbt_vp *vp = machine->vp;

		print_message("  vector %u, then kind %u\n", cases[i].first, cases[i].second);
		for (unsigned int vector = 0; vector < 32; vector++)
			put_gate(machine, vector, K_CODE64, 14, 0, 0);
		put_gate(machine, cases[i].first, cases[i].second == SECOND_GP ? K_DATA : K_CODE64, 14, 0,
			 cases[i].second == SECOND_PF ? 2 : 0);
		if (cases[i].second == SECOND_NP)
			machine->mmu.bytes[IDT + cases[i].first * 16 + 5] &= 0x7f;
		put64(machine, TSS + 0x2c, NOWHERE + 0x100); /* IST2 */
		vp_raise_error(vp, cases[i].first, 0);
		vp->exception.has_error = cases[i].first >= VEC_DF;
		assert_int_equal(cpu_deliver_exception(vp), 0);
		assert_int_equal(vp->rip, HANDLER(cases[i].delivered));
		assert_int_equal(get64(machine, vp->gpr[VP_RSP]), cases[i].error);
		if (cases[i].second == SECOND_PF)
			assert_in_range(vp->cr2, NOWHERE, NOWHERE + 0xfff);
		machine_free(machine);
	}
}

static void a_fault_during_a_double_fault_shuts_down_and_tells_the_cause(void **state)
{
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;

	vp->idtr.limit = 0;
	vp_raise_error(vp, VEC_PF, 2);
	vp->exception.cr2 = 0xbad;
	assert_int_equal(cpu_deliver_exception(vp), 1);
	assert_int_equal(vp->leave, LEAVE_EXIT);
	assert_int_equal(vp->exit.reason, VP_EXIT_SHUTDOWN);
	assert_int_equal(vp->exit.shutdown.rip, KERNEL_RIP);
	assert_int_equal(vp->exit.shutdown.cr2, 0xbad);
	assert_int_equal(vp->exit.shutdown.vector, VEC_PF);
	assert_int_equal(vp->exit.shutdown.error, 2);
	assert_int_equal(vp->rip, KERNEL_RIP);
	machine_free(machine);
}

static void an_unmapped_or_non_canonical_stack_is_a_double_fault_on_its_ist(void **state)
{
	static const uint64_t stacks[] = { NOWHERE + 0x200, 0x8000000000000000ull };

	for (size_t i = 0; i < ARRAY_SIZE(stacks); i++) {
		struct machine *machine = machine_long(0);
		struct dbt_vp *vp = machine->vp;

		for (unsigned int vector = 0; vector < 32; vector++)
			put_gate(machine, vector, K_CODE64, 14, 0, vector == VEC_DF);
		vp->gpr[VP_RSP] = stacks[i];
		vp_raise_error(vp, VEC_GP, 0);
		if (i == 0) /* #PF on the stack of #GP is a #PF, whose delivery fails again */
			vp->exception.vector = VEC_PF;
		assert_int_equal(cpu_deliver_exception(vp), 0);
		assert_int_equal(vp->rip, HANDLER(VEC_DF));
		assert_int_equal(vp->gpr[VP_RSP], IST1 - 48);
		assert_int_equal(get64(machine, IST1 - 16), stacks[i]);
		machine_free(machine);
	}
}

static void int_n_returns_behind_itself_and_obeys_the_gates_privilege(void **state)
{
	struct machine *machine = machine_long(3);
	struct dbt_vp *vp = machine->vp;

	put_gate(machine, 0x80, K_CODE64, 15, 3, 0);
	put_gate(machine, 0x81, K_CODE64, 15, 0, 0);
	put_gate(machine, VEC_GP, K_CODE64, 14, 0, 0);
	assert_int_equal(helper_int_n(vp, (struct cpu_args){ 0 }, 0xffffffffffffff80ull), CPU_DONE);
	assert_int_equal(vp->next_rip, HANDLER(0x80));
	assert_int_equal(get64(machine, RSP0 - 40), USER_RIP + 2);
	assert_int_equal(get64(machine, RSP0 - 24) & FLAG_RF, 0);
	machine_free(machine);

	machine = machine_long(3);
	vp = machine->vp;
	put_gate(machine, 0x81, K_CODE64, 15, 0, 0);
	put_gate(machine, VEC_GP, K_CODE64, 14, 0, 0);
	assert_int_equal(helper_int_n(vp, (struct cpu_args){ 0 }, 0x81), CPU_DONE);
	assert_int_equal(vp->next_rip, HANDLER(VEC_GP));
	assert_int_equal(get64(machine, RSP0 - 48), 0x81 * 8 + 2); /* no EXT */
	assert_int_equal(get64(machine, RSP0 - 40), USER_RIP);
	machine_free(machine);
}

static void int1_ignores_the_gates_privilege_and_int3_does_not(void **state)
{
	static const struct {
		cpu_helper *helper;
		uint8_t vector;
	} cases[] = { { helper_int1, VEC_DB }, { helper_int3, VEC_GP } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(3);

		for (unsigned int vector = 0; vector < 32; vector++)
			put_gate(machine, vector, K_CODE64, 14, 0, 0);
		assert_int_equal(cases[i].helper(machine->vp, (struct cpu_args){ 0 }, 0), CPU_DONE);
		assert_int_equal(machine->vp->next_rip, HANDLER(cases[i].vector));
		machine_free(machine);
	}
}

static void into_does_nothing_without_overflow(void **state)
{
	struct machine *machine = machine_protected(0);

	put_gate(machine, VEC_OF, K_CODE32, 14, 3, 0);
	assert_int_equal(helper_into(machine->vp, (struct cpu_args){ 0 }, 0), CPU_DONE);
	assert_int_equal(machine->vp->next_rip, KERNEL_RIP + 2);
	machine->vp->flags_of = 1;
	assert_int_equal(helper_into(machine->vp, (struct cpu_args){ 0 }, 0), CPU_DONE);
	assert_int_equal(machine->vp->next_rip, HANDLER(VEC_OF));
	machine_free(machine);
}

static void real_mode_pushes_flags_cs_ip_and_keeps_the_stack_pointers_upper_half(void **state)
{
	struct machine *machine = machine_real();
	struct dbt_vp *vp = machine->vp;

	put64(machine, 13 * 4, 0x12340056);
	deliver(machine, VEC_GP, true, 0x77); /* no error code in real mode */
	assert_int_equal(vp->gpr[VP_RSP], 0xabcd07fa);
	assert_int_equal(get16(machine, 0x107fa), 0x100);
	assert_int_equal(get16(machine, 0x107fc), 0x3000);
	assert_int_equal(get16(machine, 0x107fe), FLAG_IF | FLAG_CF | 2);
	assert_int_equal(vp->rip, 0x56);
	assert_int_equal(vp->seg[VP_CS].base, 0x12340);
	assert_int_equal(vp->flag_if, 0);
	machine_free(machine);
}

static void a_16_bit_stack_wraps_inside_its_segment(void **state)
{
	struct machine *machine = machine_real();
	struct dbt_vp *vp = machine->vp;

	put64(machine, 0x20 * 4, 0x12340056);
	vp->gpr[VP_RSP] = 2;
	assert_int_equal(cpu_deliver_interrupt(vp, 0x20), 0);
	assert_int_equal(vp->gpr[VP_RSP], 0xfffc);
	assert_int_equal(get16(machine, 0x10000), FLAG_IF | FLAG_CF | 2);
	assert_int_equal(get16(machine, 0x1fffe), 0x3000);
	assert_int_equal(get16(machine, 0x1fffc), 0x100);
	machine_free(machine);
}

static void a_protected_mode_frame_depends_on_gate_size_and_privilege(void **state)
{
	static const struct {
		unsigned int cpl;
		uint8_t type;
		uint32_t top, width, count;
	} cases[] = {
		{ 0, 14, KERNEL_RSP, 4, 4 }, { 3, 14, RSP0, 4, 6 }, { 0, 6, KERNEL_RSP, 2, 4 }, { 3, 6, RSP0, 2, 6 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_protected(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;
		uint32_t at = cases[i].top - cases[i].width * cases[i].count, width = cases[i].width;
		uint32_t old[] = { 0x18, vp->rip, vp->seg[VP_CS].selector, vp_rflags(vp) | FLAG_RF,
				   vp->gpr[VP_RSP], vp->seg[VP_SS].selector };

		put_gate(machine, VEC_GP, K_CODE32, cases[i].type, 0, 0);
		deliver(machine, VEC_GP, true, 0x18);
		assert_int_equal(vp->gpr[VP_RSP], at);
		for (unsigned int j = 0; j < cases[i].count; j++)
			assert_int_equal(width == 4 ? get32(machine, at + 4 * j) : get16(machine, at + 2 * j),
					 width == 4 ? old[j] : (uint16_t)old[j]);
		assert_int_equal(vp->rip, width == 4 ? HANDLER(VEC_GP) : (uint16_t)HANDLER(VEC_GP));
		assert_int_equal(vp->seg[VP_SS].selector, K_DATA);
		assert_int_equal(vp->cpl, 0);
		machine_free(machine);
	}
}

static void virtual_8086_code_leaves_all_its_segments_on_the_inner_stack(void **state)
{
	struct machine *machine = machine_protected(3);
	struct dbt_vp *vp = machine->vp;
	static const uint32_t expected[] = { 0x100, 0x3000, FLAG_VM | FLAG_IF | 2, 0x800, 0x1000,
					     0x1111, 0x2222, 0x3333, 0x4444 };

	vp_set_rflags(vp, FLAG_VM | FLAG_IF);
	segment_fill_real(vp, &vp->seg[VP_CS], 0x3000);
	segment_fill_real(vp, &vp->seg[VP_SS], 0x1000);
	segment_fill_real(vp, &vp->seg[VP_ES], 0x1111);
	segment_fill_real(vp, &vp->seg[VP_DS], 0x2222);
	segment_fill_real(vp, &vp->seg[VP_FS], 0x3333);
	segment_fill_real(vp, &vp->seg[VP_GS], 0x4444);
	vp->rip = 0x100;
	vp->gpr[VP_RSP] = 0x800;
	cpu_update_mode(vp);
	assert_int_equal(vp->mode & (MODE_VM86 | MODE_PROTECTED), MODE_VM86);
	put_gate(machine, 0x40, K_CODE32, 14, 0, 0);
	assert_int_equal(cpu_deliver_interrupt(vp, 0x40), 0);
	assert_int_equal(vp->gpr[VP_RSP], RSP0 - 36);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(get32(machine, RSP0 - 36 + 4 * i), expected[i]);
	assert_true(vp->seg[VP_DS].access & VP_SEG_UNUSABLE);
	assert_int_equal(vp->mode & (MODE_VM86 | MODE_PROTECTED), MODE_PROTECTED);

	/* and IRET brings all of it back */
	assert_int_equal(helper_iret(vp, (struct cpu_args){ .op_bytes = 4 }, 0), CPU_DONE);
	assert_int_equal(vp->next_rip, 0x100);
	assert_int_equal(vp->gpr[VP_RSP], 0x800);
	assert_int_equal(vp->seg[VP_GS].base, 0x44440);
	assert_int_equal(vp->cpl, 3);
	assert_int_equal(vp->mode & (MODE_VM86 | MODE_PROTECTED), MODE_VM86);
	machine_free(machine);
}

static void a_task_gate_ends_the_run_with_a_reason(void **state)
{
	struct machine *machine = machine_protected(0);

	put_gate(machine, VEC_DF, SEL_TSS, 5, 0, 0);
	vp_raise_error(machine->vp, VEC_DF, 0);
	assert_int_equal(cpu_deliver_exception(machine->vp), 1);
	assert_int_equal(machine->vp->exit.reason, VP_EXIT_FAILED);
	assert_non_null(strstr(machine->vp->exit.failed.why, "task gate"));
	machine_free(machine);
}

static void tables_in_mmio_end_the_run_with_a_reason(void **state)
{
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;

	machine->mmu.mmio_page = IDT;
	vp_raise_error(vp, VEC_PF, 2);
	assert_int_equal(cpu_deliver_exception(vp), 1);
	assert_int_equal(vp->leave, LEAVE_EXIT);
	assert_int_equal(vp->exit.reason, VP_EXIT_FAILED);
	assert_int_equal(vp->exit.failed.rip, KERNEL_RIP);
	assert_int_equal(vp->exception.vector, VEC_NONE);
	machine_free(machine);
}

static void a_frame_stored_to_mmio_is_delivered_and_leaves(void **state)
{
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;

	put_gate(machine, 0x40, K_CODE64, 14, 0, 0);
	machine->mmu.mmio_page = ALIGN_DOWN(KERNEL_RSP - 16, PAGE_BYTES);
	assert_int_equal(cpu_deliver_interrupt(vp, 0x40), 1);
	assert_int_equal(vp->leave, LEAVE_EXIT);
	assert_int_equal(vp->exit.reason, VP_EXIT_MMIO);
	assert_int_equal(vp->rip, HANDLER(0x40));
	machine_free(machine);
}

static void a_debug_exception_reports_its_reason_in_dr6(void **state)
{
	struct machine *machine = machine_long(0);

	put_gate(machine, VEC_DB, K_CODE64, 14, 0, 0);
	vp_raise(machine->vp, VEC_DB);
	machine->vp->exception.error = 0x4000;
	machine->vp->eflags_rest |= FLAG_TF;
	assert_int_equal(cpu_deliver_exception(machine->vp), 0);
	assert_int_equal(machine->vp->dr6, 0xffff4ff0);
	assert_int_equal(machine->vp->eflags_rest & FLAG_TF, 0);
	assert_int_equal(machine->vp->mode & MODE_STEP, 0);
	assert_int_equal(get64(machine, machine->vp->gpr[VP_RSP] + 16) & (FLAG_RF | FLAG_TF), FLAG_TF);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_mode_frame_has_every_byte_in_its_place),
		cmocka_unit_test(a_hardware_interrupt_pushes_no_error_code_and_no_resume_flag),
		cmocka_unit_test(an_nmi_masks_further_ones),
		cmocka_unit_test(a_page_fault_sets_cr2_only_when_it_is_delivered),
		cmocka_unit_test(a_bad_gate_raises_the_fault_the_manual_names),
		cmocka_unit_test(two_exceptions_make_a_double_fault_only_if_both_are_severe),
		cmocka_unit_test(a_fault_during_a_double_fault_shuts_down_and_tells_the_cause),
		cmocka_unit_test(an_unmapped_or_non_canonical_stack_is_a_double_fault_on_its_ist),
		cmocka_unit_test(int_n_returns_behind_itself_and_obeys_the_gates_privilege),
		cmocka_unit_test(int1_ignores_the_gates_privilege_and_int3_does_not),
		cmocka_unit_test(into_does_nothing_without_overflow),
		cmocka_unit_test(real_mode_pushes_flags_cs_ip_and_keeps_the_stack_pointers_upper_half),
		cmocka_unit_test(a_16_bit_stack_wraps_inside_its_segment),
		cmocka_unit_test(a_protected_mode_frame_depends_on_gate_size_and_privilege),
		cmocka_unit_test(virtual_8086_code_leaves_all_its_segments_on_the_inner_stack),
		cmocka_unit_test(a_task_gate_ends_the_run_with_a_reason),
		cmocka_unit_test(tables_in_mmio_end_the_run_with_a_reason),
		cmocka_unit_test(a_frame_stored_to_mmio_is_delivered_and_leaves),
		cmocka_unit_test(a_debug_exception_reports_its_reason_in_dr6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
