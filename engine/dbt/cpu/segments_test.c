/* segments_test.c - segment loads, descriptor table registers, questions about descriptors */
#include "test_machine.h"

static enum cpu_result load(struct machine *machine, enum vp_segment_index index, uint16_t selector)
{
	machine->vp->gpr[VP_R9] = 0xffff0000 | selector;
	return helper_mov_to_seg(machine->vp, (struct cpu_args){ .op_bytes = 4, .reg = index, .rm = VP_R9 }, 0);
}

static void a_load_is_checked_as_the_manual_says(void **state)
{
	static const struct {
		const char *what;
		unsigned int cpl;
		enum vp_segment_index index;
		uint16_t selector;
		uint8_t vector; /* VEC_NONE: it succeeds */
		uint32_t error;
	} cases[] = {
		{ "data", 0, VP_DS, K_DATA, VEC_NONE, 0 },
		{ "readable code", 0, VP_ES, K_CODE64, VEC_NONE, 0 },
		{ "conforming code from user", 3, VP_ES, CONFORMING | 3, VEC_NONE, 0 },
		{ "user data by the kernel", 0, VP_FS, U_DATA | 3, VEC_NONE, 0 },
		{ "null", 3, VP_GS, 3, VEC_NONE, 0 },
		{ "null SS in the kernel", 0, VP_SS, 0, VEC_NONE, 0 },
		{ "null SS in user code", 3, VP_SS, 3, VEC_GP, 0 },
		{ "null SS with another RPL", 0, VP_SS, 1, VEC_GP, 0 },
		{ "CS", 0, VP_CS, K_CODE64, VEC_UD, 0 },
		{ "no such register", 0, 6, K_DATA, VEC_UD, 0 },
		{ "beyond the GDT", 0, VP_DS, 0x1003, VEC_GP, 0x1000 },
		{ "absent LDT", 0, VP_DS, 0xf, VEC_GP, 0xc },
		{ "system descriptor", 0, VP_DS, SEL_TSS, VEC_GP, SEL_TSS },
		{ "execute-only code", 0, VP_DS, EXECUTE_ONLY, VEC_GP, EXECUTE_ONLY },
		{ "kernel data from user", 3, VP_DS, K_DATA | 3, VEC_GP, K_DATA },
		{ "RPL too high", 0, VP_DS, K_DATA | 3, VEC_GP, K_DATA },
		{ "not present", 0, VP_DS, ABSENT_DATA, VEC_NP, ABSENT_DATA },
		{ "SS not present", 0, VP_SS, ABSENT_DATA, VEC_SS, ABSENT_DATA },
		{ "SS read-only", 0, VP_SS, READ_ONLY, VEC_GP, READ_ONLY },
		{ "SS code", 0, VP_SS, K_CODE64, VEC_GP, K_CODE64 },
		{ "SS of another privilege", 0, VP_SS, U_DATA, VEC_GP, U_DATA },
		{ "SS with another RPL", 0, VP_SS, K_DATA | 1, VEC_GP, K_DATA },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;
		uint16_t old = vp->seg[cases[i].index % VP_LDTR].selector;
		bool ok = cases[i].vector == VEC_NONE;

		print_message("  %s\n", cases[i].what);
		assert_int_equal(load(machine, cases[i].index, cases[i].selector), ok ? CPU_DONE : CPU_RESTART);
		assert_int_equal(vp->seg[cases[i].index % VP_LDTR].selector, ok ? cases[i].selector : old);
		assert_int_equal(vp->irq_shadow, ok && cases[i].index == VP_SS);
		if (!ok)
			assert_raised(vp, cases[i].vector, cases[i].error);
		machine_free(machine);
	}
}

static void a_descriptor_becomes_base_limit_and_access_and_is_marked_once(void **state)
{
	struct machine *machine = machine_long(3);
	struct vp_segment *fs = &machine->vp->seg[VP_FS];

	assert_int_equal(load(machine, VP_FS, FRESH_DATA | 3), CPU_DONE);
	assert_int_equal(fs->base, 0x12345678);
	assert_int_equal(fs->limit, 0xfffff);
	assert_int_equal(fs->access, 0xc0f3);
	assert_int_equal(machine->mmu.bytes[GDT + FRESH_DATA + 5], 0xf3);
	assert_int_equal(machine->mmu.writes, 1);
	assert_int_equal(load(machine, VP_FS, FRESH_DATA | 3), CPU_DONE);
	assert_int_equal(machine->mmu.writes, 1);
	assert_int_equal(machine->mmu.reads, 2);
	machine_free(machine);
}

static void a_null_selector_costs_no_memory_access(void **state)
{
	struct machine *machine = machine_long(3);

	machine->vp->seg[VP_FS].base = 0x7fff12345000;
	assert_int_equal(load(machine, VP_FS, 0), CPU_DONE);
	assert_int_equal(machine->vp->seg[VP_FS].base, 0);
	assert_true(machine->vp->seg[VP_FS].access & VP_SEG_UNUSABLE);
	assert_int_equal(machine->mmu.reads, 0);
	machine_free(machine);
}

static void flatness_follows_every_load_outside_64_bit_mode(void **state)
{
	struct machine *machine = machine_protected(0);
	struct dbt_vp *vp = machine->vp;

	assert_true(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_DS, DATA16), CPU_DONE);
	assert_false(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_DS, READ_ONLY), CPU_DONE);
	assert_false(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_DS, 0), CPU_DONE);
	assert_false(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_DS, K_DATA), CPU_DONE);
	assert_true(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_FS, DATA16), CPU_DONE);
	assert_true(vp->mode & MODE_FLAT);
	assert_int_equal(load(machine, VP_SS, DATA16), CPU_DONE);
	assert_false(vp->mode & (MODE_FLAT | MODE_STACK32));
	machine_free(machine);
}

static void unreal_mode_keeps_the_limit(void **state)
{
	struct machine *machine = machine_real();
	struct vp_segment *ds = &machine->vp->seg[VP_DS];

	ds->limit = 0xffffffff;
	assert_int_equal(load(machine, VP_DS, 0xb800), CPU_DONE);
	assert_int_equal(ds->base, 0xb8000);
	assert_int_equal(ds->limit, 0xffffffff);
	machine_free(machine);
}

static void the_mode_word_shows_what_the_registers_say(void **state)
{
	static const struct {
		uint64_t cr0, cr4, xcr0;
		uint32_t flags, cpl, expected, tlb;
	} cases[] = {
		{ 0x80050033, 0x6a0, 1, 2, 0, MODE_NO_AVX, TLB_KERNEL },
		{ 0x80050033, 0x406a0, 7, 2, 0, 0, TLB_KERNEL },
		{ 0x80050033, 0x406a0, 3, 2, 0, MODE_NO_AVX, TLB_KERNEL },
		{ 0x8005003b, 0x406a0, 7, 2, 0, MODE_NO_X87 | MODE_NO_SSE, TLB_KERNEL },
		{ 0x80050037, 0x406a0, 7, 2, 0, MODE_NO_X87 | MODE_NO_SSE, TLB_KERNEL },
		{ 0x80050033, 0x404a0, 7, 2, 0, MODE_NO_SSE, TLB_KERNEL },
		{ 0x80050033, 0x2406a0, 7, 2, 0, MODE_SMAP, TLB_KERNEL },
		{ 0x80050033, 0x2406a0, 7, FLAG_AC, 0, MODE_SMAP | MODE_SMAP_AC, TLB_KERNEL_AC },
		{ 0x80050033, 0x406a0, 7, FLAG_AC, 0, 0, TLB_KERNEL },
		{ 0x80050033, 0x2406a0, 7, FLAG_AC, 3, MODE_SMAP | MODE_USER, TLB_USER },
		{ 0x80050033, 0x406a0, 7, FLAG_TF, 3, MODE_STEP | MODE_USER, TLB_USER },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;

		vp->cr0 = cases[i].cr0;
		vp->cr4 = cases[i].cr4;
		vp->xcr0 = cases[i].xcr0;
		vp_set_rflags(vp, cases[i].flags);
		cpu_update_mode(vp);
		assert_int_equal(vp->mode, MODE_CODE64 | MODE_LONG | MODE_PROTECTED | cases[i].expected |
						   cases[i].cpl << MODE_CPL_SHIFT);
		assert_int_equal(vp->tlb_index, cases[i].tlb);
		assert_int_equal(vp->mode_slot, vp->mode % MODE_SLOTS);
		assert_int_equal(cpu_mode_with_ac(vp->mode, vp->flag_ac), vp->mode);
		machine_free(machine);
	}
}

static void push_and_pop_have_the_operands_width(void **state)
{
	static const struct {
		bool wide;
		uint8_t op_bytes;
		uint32_t width;
	} cases[] = { { true, 8, 8 }, { true, 4, 8 }, { true, 2, 2 }, { false, 4, 4 }, { false, 2, 2 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = cases[i].wide ? machine_long(0) : machine_protected(0);
		struct dbt_vp *vp = machine->vp;
		struct cpu_args args = { .op_bytes = cases[i].op_bytes, .reg = VP_GS };

		assert_int_equal(load(machine, VP_GS, U_DATA | 3), CPU_DONE);
		memset(machine->mmu.bytes + KERNEL_RSP - 8, 0xee, 8);
		assert_int_equal(helper_push_seg(vp, args, 0), CPU_DONE);
		assert_int_equal(vp->gpr[VP_RSP], KERNEL_RSP - cases[i].width);
		assert_int_equal(truncate_to(get64(machine, vp->gpr[VP_RSP]), cases[i].width), U_DATA | 3);
		args.reg = VP_FS;
		assert_int_equal(helper_pop_seg(vp, args, 0), CPU_DONE);
		assert_int_equal(vp->seg[VP_FS].selector, U_DATA | 3);
		assert_int_equal(vp->gpr[VP_RSP], KERNEL_RSP);
		machine_free(machine);
	}
}

static void a_failed_pop_leaves_the_stack_pointer(void **state)
{
	struct machine *machine = machine_long(0);

	put64(machine, KERNEL_RSP, ABSENT_DATA);
	assert_int_equal(helper_pop_seg(machine->vp, (struct cpu_args){ .op_bytes = 8, .reg = VP_FS }, 0), CPU_RESTART);
	assert_raised(machine->vp, VEC_NP, ABSENT_DATA);
	assert_int_equal(machine->vp->gpr[VP_RSP], KERNEL_RSP);
	machine_free(machine);
}

static void a_far_pointer_loads_register_and_segment_or_neither(void **state)
{
	static const uint8_t good[] = { 0x78, 0x56, 0x34, 0x12, U_DATA | 3, 0 };
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 4, .reg = VP_R8, .imm16 = VP_GS, .flags = CPU_ARG_MEM };

	vp->gpr[VP_R8] = ~0ull;
	put_bytes(machine, 0x6000, good, sizeof(good));
	assert_int_equal(helper_load_far_pointer(vp, args, 0x6000), CPU_DONE);
	assert_int_equal(vp->gpr[VP_R8], 0x12345678);
	assert_int_equal(vp->seg[VP_GS].selector, U_DATA | 3);
	machine->mmu.bytes[0x6004] = ABSENT_DATA;
	vp->gpr[VP_R8] = 1;
	assert_int_equal(helper_load_far_pointer(vp, args, 0x6000), CPU_RESTART);
	assert_int_equal(vp->gpr[VP_R8], 1);
	args.op_bytes = 2;
	machine->mmu.bytes[0x6002] = 0;
	vp->gpr[VP_R8] = ~0ull;
	machine->mmu.bytes[0x6003] = 0;
	assert_int_equal(helper_load_far_pointer(vp, args, 0x6000), CPU_DONE);
	assert_int_equal(vp->gpr[VP_R8], 0xffffffffffff5678);
	machine_free(machine);
}

static void selectors_are_read_back_in_every_width(void **state)
{
	static const struct {
		uint8_t op_bytes;
		uint64_t expected;
	} cases[] = { { 2, 0x1111222233330000 | U_CODE64 | 3 }, { 4, U_CODE64 | 3 }, { 8, U_CODE64 | 3 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(3);
		struct cpu_args args = { .op_bytes = cases[i].op_bytes, .reg = VP_CS, .rm = VP_R15 };

		machine->vp->gpr[VP_R15] = 0x1111222233334444;
		assert_int_equal(helper_mov_from_seg(machine->vp, args, 0), CPU_DONE);
		assert_int_equal(machine->vp->gpr[VP_R15], cases[i].expected);
		args.flags = CPU_ARG_MEM;
		put64(machine, 0x6000, ~0ull);
		assert_int_equal(helper_mov_from_seg(machine->vp, args, 0x6000), CPU_DONE);
		assert_int_equal(get64(machine, 0x6000), 0xffffffffffff0000 | U_CODE64 | 3);
		machine_free(machine);
	}
}

static void table_registers_round_trip_and_are_guarded(void **state)
{
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 8, .flags = CPU_ARG_MEM };
	static const uint8_t image[] = { 0xff, 0x0f, 0x00, 0x10, 0x32, 0x54, 0x00, 0x80, 0xff, 0xff };

	put_bytes(machine, 0x6000, image, sizeof(image));
	assert_int_equal(helper_lidt(vp, args, 0x6000), CPU_DONE);
	assert_int_equal(vp->idtr.base, 0xffff800054321000);
	assert_int_equal(vp->idtr.limit, 0xfff);
	assert_int_equal(helper_sidt(vp, args, 0x6100), CPU_DONE);
	assert_memory_equal(machine->mmu.bytes + 0x6100, image, sizeof(image));
	machine->mmu.bytes[0x6009] = 0x7f;
	assert_int_equal(helper_lgdt(vp, args, 0x6000), CPU_RESTART);
	assert_raised(vp, VEC_GP, 0);
	assert_int_equal(vp->gdtr.base, GDT);
	vp->cpl = 3;
	assert_int_equal(helper_lgdt(vp, args, 0x6100), CPU_RESTART);
	assert_int_equal(helper_sgdt(vp, args, 0x6000), CPU_DONE);
	vp->cr4 |= CR4_UMIP;
	assert_int_equal(helper_sgdt(vp, args, 0x6000), CPU_RESTART);
	assert_raised(vp, VEC_GP, 0);
	machine_free(machine);
}

static void ltr_reads_16_bytes_in_long_mode_and_marks_the_tss_busy(void **state)
{
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 2, .rm = VP_RAX };

	put64(machine, GDT + SEL_TSS + 8, 0xfffffe00);
	vp->gpr[VP_RAX] = SEL_TSS;
	assert_int_equal(helper_ltr(vp, args, 0), CPU_DONE);
	assert_int_equal(vp->seg[VP_TR].base, 0xfffffe0000000000 | TSS);
	assert_int_equal(vp->seg[VP_TR].access, 0x8b);
	assert_int_equal(machine->mmu.bytes[GDT + SEL_TSS + 5], 0x8b);
	assert_int_equal(helper_ltr(vp, args, 0), CPU_RESTART); /* busy now */
	assert_raised(vp, VEC_GP, SEL_TSS);
	vp->gpr[VP_RAX] = 0;
	assert_int_equal(helper_ltr(vp, args, 0), CPU_RESTART);
	assert_raised(vp, VEC_GP, 0);
	machine_free(machine);
}

static void the_ldt_serves_selectors_with_ti(void **state)
{
	struct machine *machine = machine_protected(0);
	struct dbt_vp *vp = machine->vp;

	vp->gpr[VP_RAX] = SEL_LDT;
	assert_int_equal(helper_lldt(vp, (struct cpu_args){ .op_bytes = 2 }, 0), CPU_DONE);
	assert_int_equal(load(machine, VP_FS, 0xc), CPU_DONE);
	assert_int_equal(vp->seg[VP_FS].base, 0x77000);
	assert_int_equal(load(machine, VP_FS, 0x14), CPU_RESTART);
	assert_raised(vp, VEC_GP, 0x14);
	vp->gpr[VP_RAX] = K_DATA;
	assert_int_equal(helper_lldt(vp, (struct cpu_args){ .op_bytes = 2 }, 0), CPU_RESTART);
	assert_raised(vp, VEC_GP, K_DATA);
	vp->gpr[VP_RAX] = 0;
	assert_int_equal(helper_lldt(vp, (struct cpu_args){ .op_bytes = 2 }, 0), CPU_DONE);
	assert_int_equal(load(machine, VP_FS, 0xc), CPU_RESTART);
	machine_free(machine);
}

/* LAR and LSL of a host's own segments agree with these (checked by running them natively). */
static void questions_about_descriptors_answer_in_zf(void **state)
{
	static const struct {
		unsigned int cpl;
		uint16_t selector;
		uint32_t lar, lsl; /* 0: no answer */
		bool readable, writable;
	} cases[] = {
		{ 3, U_CODE64 | 3, 0xaffb00, 0xffffffff, true, false },
		{ 3, U_DATA | 3, 0xcff300, 0xffffffff, true, true },
		{ 3, U_DATA, 0xcff300, 0xffffffff, true, true },
		{ 3, K_DATA, 0, 0, false, false },
		{ 0, K_DATA | 3, 0, 0, false, false },
		{ 0, EXECUTE_ONLY, 0xcf9900, 0xffffffff, false, false },
		{ 0, READ_ONLY, 0xcf9100, 0xffffffff, true, false },
		{ 3, CONFORMING | 3, 0xaf9f00, 0xffffffff, true, false },
		{ 0, SEL_TSS, 0x008900, 0x67, false, false },
		{ 0, TASK_GATE, 0, 0, false, false },
		{ 0, CALL_GATE, 0x028c00, 0, false, false },
		{ 0, 0, 0, 0, false, false },
		{ 0, 0x1000, 0, 0, false, false },
		{ 0, 0xc, 0, 0, false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;
		struct cpu_args args = { .op_bytes = 4, .reg = VP_RCX, .rm = VP_RAX };

		print_message("  selector %#x\n", cases[i].selector);
		vp->gpr[VP_RAX] = cases[i].selector;
		vp->gpr[VP_RCX] = 0x5555;
		assert_int_equal(helper_lar(vp, args, 0), CPU_DONE);
		assert_int_equal(vp->gpr[VP_RCX], cases[i].lar ? cases[i].lar : 0x5555);
		assert_int_equal(!!(vp_rflags(vp) & FLAG_ZF), cases[i].lar != 0);
		vp->gpr[VP_RCX] = 0x5555;
		assert_int_equal(helper_lsl(vp, args, 0), CPU_DONE);
		assert_int_equal(vp->gpr[VP_RCX], cases[i].lsl ? cases[i].lsl : 0x5555);
		assert_int_equal(!!(vp_rflags(vp) & FLAG_ZF), cases[i].lsl != 0);
		assert_int_equal(helper_verr(vp, args, 0), CPU_DONE);
		assert_int_equal(!!(vp_rflags(vp) & FLAG_ZF), cases[i].readable);
		assert_int_equal(helper_verw(vp, args, 0), CPU_DONE);
		assert_int_equal(!!(vp_rflags(vp) & FLAG_ZF), cases[i].writable);
		assert_int_equal(vp_rflags(vp) & (FLAG_CF | FLAG_IF), FLAG_CF | FLAG_IF);
		machine_free(machine);
	}
}

static void arpl_raises_the_rpl(void **state)
{
	struct machine *machine = machine_protected(0);
	struct dbt_vp *vp = machine->vp;
	struct cpu_args args = { .op_bytes = 2, .reg = VP_RCX, .rm = VP_RAX };

	vp->gpr[VP_RAX] = 0x12340011;
	vp->gpr[VP_RCX] = 3;
	assert_int_equal(helper_arpl(vp, args, 0), CPU_DONE);
	assert_int_equal(vp->gpr[VP_RAX], 0x12340013);
	assert_true(vp_rflags(vp) & FLAG_ZF);
	assert_int_equal(helper_arpl(vp, args, 0), CPU_DONE);
	assert_false(vp_rflags(vp) & FLAG_ZF);
	machine_free(machine);
}

static void real_mode_does_not_know_protected_modes_instructions(void **state)
{
	static cpu_helper *const helpers[] = { helper_lldt, helper_ltr, helper_sldt, helper_str, helper_lar,
					       helper_lsl, helper_verr, helper_verw, helper_arpl, helper_ud };

	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
		struct machine *machine = machine_real();

		assert_int_equal(helpers[i](machine->vp, (struct cpu_args){ .op_bytes = 2 }, 0), CPU_RESTART);
		assert_raised(machine->vp, VEC_UD, 0);
		machine_free(machine);
	}
}

static void a_store_to_mmio_completes_and_leaves(void **state)
{
	struct machine *machine = machine_long(0);
	struct cpu_args args = { .op_bytes = 8, .flags = CPU_ARG_MEM };

	machine->mmu.mmio_page = 0x6000;
	assert_int_equal(helper_sgdt(machine->vp, args, 0x6000), CPU_DONE_LEAVE);
	assert_int_equal(machine->vp->rip, machine->vp->next_rip);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_load_is_checked_as_the_manual_says),
		cmocka_unit_test(a_descriptor_becomes_base_limit_and_access_and_is_marked_once),
		cmocka_unit_test(a_null_selector_costs_no_memory_access),
		cmocka_unit_test(flatness_follows_every_load_outside_64_bit_mode),
		cmocka_unit_test(unreal_mode_keeps_the_limit),
		cmocka_unit_test(the_mode_word_shows_what_the_registers_say),
		cmocka_unit_test(push_and_pop_have_the_operands_width),
		cmocka_unit_test(a_failed_pop_leaves_the_stack_pointer),
		cmocka_unit_test(a_far_pointer_loads_register_and_segment_or_neither),
		cmocka_unit_test(selectors_are_read_back_in_every_width),
		cmocka_unit_test(table_registers_round_trip_and_are_guarded),
		cmocka_unit_test(ltr_reads_16_bytes_in_long_mode_and_marks_the_tss_busy),
		cmocka_unit_test(the_ldt_serves_selectors_with_ti),
		cmocka_unit_test(questions_about_descriptors_answer_in_zf),
		cmocka_unit_test(arpl_raises_the_rpl),
		cmocka_unit_test(real_mode_does_not_know_protected_modes_instructions),
		cmocka_unit_test(a_store_to_mmio_completes_and_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
