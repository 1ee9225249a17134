/* control_test.c - control registers, XCR0, invalidations: what is refused and what follows */
#include "test/harness.h"

static enum cpu_result mov_to_cr(unsigned int cr, uint64_t value)
{
	struct cpu_args args = {.reg = cr, .rm = VP_RBX};

	h.vp.gpr[VP_RBX] = value;
	return helper_mov_to_cr(&h.vp, args, 0);
}

/* From the manual's lists of #GP conditions; the state before is set up per row. */
static void mov_to_cr_refuses_what_the_manual_forbids(void **state)
{
	static const struct {
		const char *what;
		unsigned int cr;
		uint64_t value;
		uint64_t cr0, cr3, cr4, efer;
		uint32_t cs_access;
		uint8_t vector;
	} cases[] = {
#define LONG	       CR0_PE | CR0_PG | CR0_ET, 0, CR4_PAE, EFER_LME | EFER_LMA, 0xa09b
#define LONG_PCID      CR0_PE | CR0_PG | CR0_ET, 0x1005, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA, 0xa09b
#define COMPATIBILITY  CR0_PE | CR0_PG | CR0_ET, 0, CR4_PAE, EFER_LME | EFER_LMA, 0xc09b
#define READY_FOR_LONG CR0_PE | CR0_ET, HARNESS_BASE, CR4_PAE, EFER_LME, 0xc09b
#define PROTECTED      CR0_PE | CR0_ET, 0, 0, 0, 0xc09b
		{"CR1", 1, 0, LONG, VEC_UD},
		{"CR5", 5, 0, LONG, VEC_UD},
		{"CR15", 15, 0, LONG, VEC_UD},
		{"CR0 above 32 bits", 0, BIT(32) | CR0_PE | CR0_PG, LONG, VEC_GP},
		{"CR0.PG without PE", 0, CR0_PG, PROTECTED, VEC_GP},
		{"CR0.NW without CD", 0, CR0_PE | CR0_NW, PROTECTED, VEC_GP},
		{"CR0.NW with CD", 0, CR0_PE | CR0_NW | CR0_CD, PROTECTED, VEC_NONE},
		{"CR0 reserved bits", 0, CR0_PE | BIT(28), PROTECTED, VEC_NONE},
		{"paging off in 64-bit code", 0, CR0_PE, LONG, VEC_GP},
		{"paging off in compatibility code", 0, CR0_PE, COMPATIBILITY, VEC_NONE},
		{"long mode without PAE", 0, CR0_PE | CR0_PG, CR0_PE | CR0_ET, 0, 0, EFER_LME,
		 0xc09b, VEC_GP},
		{"long mode with CS.L", 0, CR0_PE | CR0_PG, CR0_PE | CR0_ET, 0, CR4_PAE, EFER_LME,
		 0xa09b, VEC_GP},
		{"long mode", 0, CR0_PE | CR0_PG, READY_FOR_LONG, VEC_NONE},
		{"CR3 beyond physical addresses", 3, BIT(40), LONG, VEC_GP},
		{"CR3 at the last page", 3, BIT(40) - 4096, LONG, VEC_NONE},
		{"CR3 bit 63 without PCIDE", 3, BIT(63), LONG, VEC_GP},
		{"CR3 bit 63 with PCIDE", 3, BIT(63) | 7, LONG_PCID, VEC_NONE},
		{"CR3 bit 62 with PCIDE", 3, BIT(62) | 7, LONG_PCID, VEC_GP},
		{"CR4 without PAE in long mode", 4, 0, LONG, VEC_GP},
		{"CR4.VMXE", 4, CR4_PAE | BIT(13), LONG, VEC_GP},
		{"CR4.LA57", 4, CR4_PAE | BIT(12), LONG, VEC_GP},
		{"CR4.PKE", 4, CR4_PAE | BIT(22), LONG, VEC_GP},
		{"CR4.UMIP", 4, CR4_PAE | CR4_UMIP, LONG, VEC_GP},
		{"CR4.VME", 4, CR4_VME, PROTECTED, VEC_GP},
		{"CR4 above 32 bits", 4, CR4_PAE | BIT(40), LONG, VEC_GP},
		{"CR4 as Linux has it", 4,
		 CR4_PAE | CR4_PGE | CR4_PSE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_SMEP |
			 CR4_SMAP | CR4_FSGSBASE | CR4_TSD | CR4_DE | CR4_PCE | CR4_PCIDE,
		 LONG, VEC_NONE},
		{"CR4.PCIDE outside long mode", 4, CR4_PCIDE, PROTECTED, VEC_GP},
		{"CR4.PCIDE with a PCID in CR3", 4, CR4_PAE | CR4_PCIDE, CR0_PE | CR0_PG, 0x1001,
		 CR4_PAE, EFER_LME | EFER_LMA, 0xa09b, VEC_GP},
		{"CR8", 8, 15, LONG, VEC_NONE},
		{"CR8 of 16", 8, 16, LONG, VEC_GP},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t vector;
		bool changed;

		harness_reset();
		h.vp.cr0 = cases[i].cr0;
		h.vp.cr3 = cases[i].cr3;
		h.vp.cr4 = cases[i].cr4;
		h.vp.efer = cases[i].efer;
		h.vp.seg[VP_CS].access = cases[i].cs_access;
		cpu_update_mode(&h.vp);
		mov_to_cr(cases[i].cr, cases[i].value);
		vector = h.vp.exception.vector;
		changed = h.vp.cr0 != cases[i].cr0 || h.vp.cr3 != cases[i].cr3 ||
			  h.vp.cr4 != cases[i].cr4 || h.vp.efer != cases[i].efer;
		if (vector != cases[i].vector || (vector != VEC_NONE && changed))
			fail_msg("%s: vector %u", cases[i].what, vector);
	}
}

static void everything_here_needs_cpl_0(void **state)
{
	static cpu_helper *const privileged[] = {
		helper_mov_to_cr, helper_mov_from_cr, helper_mov_to_dr, helper_mov_from_dr,
		helper_clts,	  helper_lmsw,	      helper_invlpg,	helper_invpcid,
		helper_wbinvd,	  helper_xsetbv,      helper_hlt,	helper_swapgs,
		helper_rdmsr,	  helper_wrmsr,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(privileged); i++) {
		for (unsigned int cpl = 1; cpl <= 3; cpl++) {
			harness_reset();
			harness_cpl(cpl);
			assert_gp(privileged[i](&h.vp, (struct cpu_args){.reg = 0}, HARNESS_BASE));
			assert_int_equal(h.vp.leave, LEAVE_NONE);
		}
	}
}

static void enabling_paging_with_lme_activates_long_mode(void **state)
{
	harness_reset();
	harness_protected32();
	h.vp.cr4 = CR4_PAE;
	h.vp.efer = EFER_LME;
	assert_done(mov_to_cr(0, CR0_PE | CR0_PG));
	assert_int_equal(h.vp.efer, EFER_LME | EFER_LMA);
	assert_int_equal(h.vp.cr0, CR0_PE | CR0_PG | CR0_ET);
	assert_int_equal(h.mode_changes, 1);
	assert_done(mov_to_cr(0, CR0_PE));
	assert_int_equal(h.vp.efer, EFER_LME);
	assert_int_equal(h.mode_changes, 2);
}

static void task_switched_is_no_matter_of_paging(void **state)
{
	harness_reset();
	assert_done(mov_to_cr(0, h.vp.cr0 | CR0_TS));
	assert_true(h.vp.cr0 & CR0_TS);
	assert_done(helper_clts(&h.vp, (struct cpu_args){0}, 0));
	assert_false(h.vp.cr0 & CR0_TS);
	assert_int_equal(h.mode_changes, 0);
	assert_int_equal(h.mode_updates, 2);
}

static void pae_paging_checks_the_four_entries(void **state)
{
	static const struct {
		uint64_t entry;
		uint8_t vector;
	} cases[] = {
		{0, VEC_NONE},
		{0x1001, VEC_NONE},
		{0x1000 | 0x1e6, VEC_NONE}, /* absent */
		{0x1001 | 2, VEC_GP},
		{0x1001 | 0x100, VEC_GP},
		{0x1001 | BIT(63), VEC_GP},
		{1 | BIT(39), VEC_NONE},
		{1 | BIT(40), VEC_GP},
		{0x1001 | 0xe18, VEC_NONE},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned int slot = 0; slot < 4; slot++) {
			harness_reset();
			harness_protected32();
			h.vp.cr4 = CR4_PAE;
			h.vp.cr3 = HARNESS_BASE + 32;
			harness_put(HARNESS_BASE + 32 + 8 * slot, &cases[i].entry, 8);
			mov_to_cr(0, CR0_PE | CR0_PG);
			assert_int_equal(h.vp.exception.vector, cases[i].vector);
		}
	}
}

static void cr3_bit_63_keeps_the_tlb_and_is_not_stored(void **state)
{
	harness_reset();
	h.vp.cr4 |= CR4_PCIDE;
	assert_done(mov_to_cr(3, BIT(63) | 0x5003));
	assert_int_equal(h.vp.cr3, 0x5003);
	assert_int_equal(h.cr3_switches, 1);
	assert_true(h.cr3_keep);
	assert_done(mov_to_cr(3, 0x6003));
	assert_false(h.cr3_keep);
}

static void mov_from_cr_is_as_wide_as_the_mode(void **state)
{
	struct cpu_args args = {.reg = 3, .rm = VP_RCX};

	harness_reset();
	h.vp.cr3 = 0x12345678000;
	assert_done(helper_mov_from_cr(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RCX], 0x12345678000);
	harness_protected32();
	assert_done(helper_mov_from_cr(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RCX], 0x45678000);
}

static void lmsw_sets_pe_and_never_clears_it(void **state)
{
	struct cpu_args args = {.rm = VP_RAX, .op_bytes = 2};

	harness_reset();
	harness_real();
	h.vp.gpr[VP_RAX] = 0xfff1 | CR0_TS;
	assert_done(helper_lmsw(&h.vp, args, 0));
	assert_int_equal(h.vp.cr0, CR0_PE | CR0_TS | CR0_ET);
	h.vp.gpr[VP_RAX] = 0;
	assert_done(helper_lmsw(&h.vp, args, 0));
	assert_int_equal(h.vp.cr0, CR0_PE | CR0_ET);
}

static void debug_registers_keep_their_fixed_bits(void **state)
{
	static const struct {
		unsigned int dr;
		uint64_t cr4, value, want;
		uint8_t vector;
	} cases[] = {
		{0, 0, 0xffff800012345678, 0xffff800012345678, VEC_NONE},
		{6, 0, 0, 0xffff0ff0, VEC_NONE},
		{6, 0, 0xffffffff, 0xffffefff, VEC_NONE},
		{6, 0, BIT(32), 0, VEC_GP},
		{7, 0, 0, 0x400, VEC_NONE},
		{7, 0, 0xffffdfff, 0xffff07ff, VEC_NONE}, /* without GD: a #DB would come */
		{7, 0, BIT(32), 0, VEC_GP},
		{4, 0, 1, 0xffff0ff1, VEC_NONE},
		{5, 0, 3, 0x403, VEC_NONE},
		{4, CR4_DE, 0, 0, VEC_UD},
		{5, CR4_DE, 0, 0, VEC_UD},
		{8, 0, 0, 0, VEC_UD},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_args args = {.reg = cases[i].dr, .rm = VP_RDX};

		harness_reset();
		h.vp.cr4 |= cases[i].cr4;
		h.vp.gpr[VP_RDX] = cases[i].value;
		helper_mov_to_dr(&h.vp, args, 0);
		assert_int_equal(h.vp.exception.vector, cases[i].vector);
		if (cases[i].vector != VEC_NONE)
			continue;
		assert_done(helper_mov_from_dr(&h.vp, args, 0));
		assert_int_equal(h.vp.gpr[VP_RDX], cases[i].want);
	}
}

static void invpcid_checks_its_descriptor(void **state)
{
	static const struct {
		uint64_t type, pcid, address, cr4;
		uint8_t vector;
		unsigned int pcid_flushes, all_flushes;
	} cases[] = {
		{0, 5, HARNESS_BASE, CR4_PCIDE, VEC_NONE, 1, 0},
		{0, 5, BIT(50), CR4_PCIDE, VEC_GP, 0, 0},
		{0, 5, 0, 0, VEC_GP, 0, 0},
		{1, 0, BIT(50), 0, VEC_NONE, 1, 0},
		{1, 0x1000, 0, CR4_PCIDE, VEC_GP, 0, 0},
		{2, 0, BIT(50), 0, VEC_NONE, 0, 1},
		{3, 7, 0, 0, VEC_NONE, 0, 1},
		{4, 0, 0, CR4_PCIDE, VEC_GP, 0, 0},
		{BIT(32), 0, 0, CR4_PCIDE, VEC_GP, 0, 0},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t descriptor[2] = {cases[i].pcid, cases[i].address};

		harness_reset();
		h.vp.cr4 |= cases[i].cr4;
		h.vp.gpr[VP_RSI] = cases[i].type;
		harness_put(HARNESS_BASE, descriptor, sizeof(descriptor));
		helper_invpcid(&h.vp, (struct cpu_args){.reg = VP_RSI}, HARNESS_BASE);
		assert_int_equal(h.vp.exception.vector, cases[i].vector);
		assert_int_equal(h.flush_pcid, cases[i].pcid_flushes);
		assert_int_equal(h.flush_all, cases[i].all_flushes);
	}
}

static void xsetbv_takes_only_what_cpuid_shows(void **state)
{
	uint64_t supported;
	static const struct {
		uint64_t value;
		uint32_t index;
		uint8_t vector;
	} cases[] = {
		{1, 0, VEC_NONE},  {3, 0, VEC_NONE},  {0, 0, VEC_GP},
		{2, 0, VEC_GP},	   {5, 0, VEC_GP},    {3, 1, VEC_GP},
		{0x1b, 0, VEC_GP}, {0xe3, 0, VEC_GP}, {3 | BIT(62), 0, VEC_GP},
	};

	harness_reset();
	supported = cpu_xcr0_supported();
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		h.vp.exception.vector = VEC_NONE;
		h.vp.gpr[VP_RAX] = (uint32_t)cases[i].value;
		h.vp.gpr[VP_RDX] = cases[i].value >> 32;
		h.vp.gpr[VP_RCX] = cases[i].index;
		helper_xsetbv(&h.vp, (struct cpu_args){0}, 0);
		assert_int_equal(h.vp.exception.vector, cases[i].vector);
	}
	h.vp.exception.vector = VEC_NONE;
	h.vp.gpr[VP_RAX] = supported;
	h.vp.gpr[VP_RDX] = h.vp.gpr[VP_RCX] = 0;
	assert_done(helper_xsetbv(&h.vp, (struct cpu_args){0}, 0));
	assert_int_equal(h.vp.xcr0, supported);
	h.vp.gpr[VP_RAX] = 0;
	assert_done(helper_xgetbv(&h.vp, (struct cpu_args){0}, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], supported);
	h.vp.cr4 &= ~CR4_OSXSAVE;
	assert_raised(helper_xsetbv(&h.vp, (struct cpu_args){0}, 0), VEC_UD);
	assert_raised(helper_xgetbv(&h.vp, (struct cpu_args){0}, 0), VEC_UD);
}

static void fs_and_gs_base_instructions_obey_cr4_and_width(void **state)
{
	struct cpu_args wide = {.rm = VP_RAX, .op_bytes = 8},
			narrow = {.rm = VP_RAX, .op_bytes = 4};

	harness_reset();
	h.vp.gpr[VP_RAX] = 0x7fff12345678;
	assert_raised(helper_wrfsbase(&h.vp, wide, 0), VEC_UD);
	h.vp.cr4 |= CR4_FSGSBASE;
	harness_cpl(3);
	assert_done(helper_wrfsbase(&h.vp, wide, 0));
	assert_int_equal(h.vp.seg[VP_FS].base, 0x7fff12345678);
	assert_done(helper_wrgsbase(&h.vp, narrow, 0));
	assert_int_equal(h.vp.seg[VP_GS].base, 0x12345678);
	h.vp.gpr[VP_RAX] = BIT(47);
	assert_gp(helper_wrfsbase(&h.vp, wide, 0));
	assert_done(helper_rdfsbase(&h.vp, narrow, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0x12345678);
	assert_done(helper_rdfsbase(&h.vp, wide, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0x7fff12345678);
	harness_protected32();
	h.vp.cr4 |= CR4_FSGSBASE;
	assert_raised(helper_rdgsbase(&h.vp, narrow, 0), VEC_UD);
}

static void hlt_leaves_behind_the_instruction(void **state)
{
	harness_reset();
	assert_int_equal(helper_hlt(&h.vp, (struct cpu_args){0}, 0), CPU_DONE_LEAVE);
	assert_int_equal(h.vp.leave, LEAVE_HALT);
	assert_int_equal(h.vp.activity, VP_HALTED);
	assert_int_equal(h.vp.rip, h.vp.next_rip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mov_to_cr_refuses_what_the_manual_forbids),
		cmocka_unit_test(everything_here_needs_cpl_0),
		cmocka_unit_test(enabling_paging_with_lme_activates_long_mode),
		cmocka_unit_test(task_switched_is_no_matter_of_paging),
		cmocka_unit_test(pae_paging_checks_the_four_entries),
		cmocka_unit_test(cr3_bit_63_keeps_the_tlb_and_is_not_stored),
		cmocka_unit_test(mov_from_cr_is_as_wide_as_the_mode),
		cmocka_unit_test(lmsw_sets_pe_and_never_clears_it),
		cmocka_unit_test(debug_registers_keep_their_fixed_bits),
		cmocka_unit_test(invpcid_checks_its_descriptor),
		cmocka_unit_test(xsetbv_takes_only_what_cpuid_shows),
		cmocka_unit_test(fs_and_gs_base_instructions_obey_cr4_and_width),
		cmocka_unit_test(hlt_leaves_behind_the_instruction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
