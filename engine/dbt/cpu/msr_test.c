/* msr_test.c - RDMSR and WRMSR */
#include "test/harness.h"

static enum cpu_result wrmsr(uint32_t index, uint64_t value)
{
	h.vp.gpr[VP_RCX] = index;
	h.vp.gpr[VP_RAX] = (uint32_t)value;
	h.vp.gpr[VP_RDX] = value >> 32;
	return helper_wrmsr(&h.vp, (struct cpu_args){0}, 0);
}

static enum cpu_result rdmsr(uint32_t index, uint64_t *value)
{
	enum cpu_result result;

	h.vp.gpr[VP_RCX] = index;
	h.vp.gpr[VP_RAX] = h.vp.gpr[VP_RDX] = 0xaaaaaaaaaaaaaaaa;
	result = helper_rdmsr(&h.vp, (struct cpu_args){0}, 0);
	*value = h.vp.gpr[VP_RAX] | h.vp.gpr[VP_RDX] << 32;
	return result;
}

/* The guest's processor, by its CPUID: leaf 0's EBX is the first part of the vendor's name. */
static void be_amd(bool amd)
{
	for (size_t i = 0; i < h.part.cpuid_count; i++)
		if (h.part.cpuid[i].leaf == 0)
			h.part.cpuid[i].ebx = amd ? 0x68747541 : 0x756e6547;
}

static void what_was_written_is_read_or_the_write_is_refused(void **state)
{
	static const struct {
		uint32_t index;
		uint64_t value;
		bool allowed;
	} cases[] = {
		{0xc0000081, 0x23001000000000, true},	/* STAR */
		{0xc0000082, 0xffffffff81000000, true}, /* LSTAR */
		{0xc0000082, 0x800000000000, false},
		{0xc0000083, 0x7fffffffffff, true}, /* CSTAR */
		{0xc0000084, 0x47700, true},	    /* SFMASK */
		{0xc0000084, BIT(32), false},
		{0xc0000100, 0x7f0000001000, true},	/* FS base */
		{0xc0000101, 0xffff888000000000, true}, /* GS base */
		{0xc0000101, 0x0fff888000000000, false},
		{0xc0000102, 0xffff888000000000, true}, /* kernel GS base */
		{0xc0000103, 0xffffffff, true},		/* TSC_AUX */
		{0xc0000103, BIT(32), false},
		{0x174, 0x10, true}, /* SYSENTER */
		{0x175, 0xfffffe0000000000, true},
		{0x176, 0x8000000000000000, false},
		{0x277, 0x0407050600070106, true},  /* PAT */
		{0x277, 0x0007040600070402, false}, /* type 2 */
		{0x277, 0x0807040600070406, false}, /* type 8 */
		{0x2ff, 0xc06, true},		    /* MTRR default type */
		{0x2ff, 0xc02, false},
		{0x2ff, 0x1000, false},
		{0x250, 0x0606060606060606, true}, /* fixed */
		{0x26f, 0x0605040100000506, true},
		{0x268, 0x0706060606060606, false}, /* UC- is no MTRR type */
		{0x200, 0xc0000006, true},	    /* variable */
		{0x200, 0xc0000106, false},
		{0x200, BIT(40), false},
		{0x20f, 0xffc0000800, true},
		{0x20f, 0xffc0000801, false},
		{0x20f, BIT(40), false},
		{0x3b, 0x1000, true}, /* TSC_ADJUST */
		{0xfe, 0, false},     /* MTRRCAP */
		{0x179, 0, false},    /* MCG_CAP */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value;

		harness_reset();
		wrmsr(cases[i].index, cases[i].value);
		if ((h.vp.exception.vector == VEC_NONE) != cases[i].allowed ||
		    h.vp.leave != LEAVE_NONE)
			fail_msg("write of %#lx to %#x", cases[i].value, cases[i].index);
		h.vp.exception.vector = VEC_NONE;
		assert_done(rdmsr(cases[i].index, &value));
		if (cases[i].allowed)
			assert_int_equal(value, cases[i].value);
		else
			assert_int_not_equal(value, cases[i].value ?: ~0ull);
	}
}

static void efer_changes_follow_the_rules(void **state)
{
	static const struct {
		const char *what;
		uint64_t cr0, old, value, want;
		uint8_t vector;
	} cases[] = {
		{"SCE on", CR0_PE, 0, EFER_SCE, EFER_SCE, VEC_NONE},
		{"NXE and LME on", CR0_PE, 0, EFER_NXE | EFER_LME, EFER_NXE | EFER_LME, VEC_NONE},
		{"LME on while paging", CR0_PE | CR0_PG, 0, EFER_LME, 0, VEC_GP},
		{"LME off while paging", CR0_PE | CR0_PG, EFER_LME | EFER_LMA, 0,
		 EFER_LME | EFER_LMA, VEC_GP},
		{"LMA cannot be written", CR0_PE, 0, EFER_LMA, 0, VEC_NONE},
		{"LMA stays", CR0_PE | CR0_PG, EFER_LME | EFER_LMA, EFER_LME, EFER_LME | EFER_LMA,
		 VEC_NONE},
		{"SVME", CR0_PE, 0, BIT(12), 0, VEC_GP},
		{"FFXSR", CR0_PE, 0, BIT(14), 0, VEC_GP},
		{"automatic IBRS is not offered", CR0_PE, 0, EFER_AIBRSE, 0, VEC_GP},
		{"bit 63", CR0_PE, 0, BIT(63), 0, VEC_GP},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		harness_reset();
		h.vp.cr0 = cases[i].cr0;
		h.vp.efer = cases[i].old;
		wrmsr(0xc0000080, cases[i].value);
		if (h.vp.exception.vector != cases[i].vector || h.vp.efer != cases[i].want)
			fail_msg("%s: vector %u, EFER %#lx", cases[i].what, h.vp.exception.vector,
				 h.vp.efer);
	}
}

static void an_unknown_msr_exits_and_takes_the_answer(void **state)
{
	static const struct {
		bool write, fault;
	} cases[] = {{false, false}, {false, true}, {true, false}, {true, true}};
	uint64_t value;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		bool write = cases[i].write;

		harness_reset();
		assert_int_equal(write ? wrmsr(0x40000000, 0x123456789a)
				       : rdmsr(0x40000000, &value),
				 CPU_RESTART);
		assert_int_equal(h.vp.leave, LEAVE_EXIT);
		assert_int_equal(h.vp.exit.reason, VP_EXIT_MSR);
		assert_int_equal(h.vp.exit.msr.index, 0x40000000);
		assert_int_equal(h.vp.exit.msr.write, write);
		assert_int_equal(h.vp.exit.msr.data, write ? 0x123456789a : ~0ull);
		assert_int_equal(h.vp.exception.vector, VEC_NONE);
		h.vp.leave = LEAVE_NONE;
		h.vp.answer = (struct dbt_answer){.valid = true,
						  .reason = VP_EXIT_MSR,
						  .write = write,
						  .fault = cases[i].fault,
						  .address = 0x40000000,
						  .data = 0xfedcba9876543210};
		if (cases[i].fault) {
			assert_gp(write ? wrmsr(0x40000000, 1) : rdmsr(0x40000000, &value));
		} else {
			assert_done(write ? wrmsr(0x40000000, 1) : rdmsr(0x40000000, &value));
			if (!write)
				assert_int_equal(value, 0xfedcba9876543210);
		}
		assert_false(h.vp.answer.valid);
		assert_int_equal(h.vp.leave, LEAVE_NONE);
	}
}

static void an_answer_to_something_else_is_not_taken(void **state)
{
	static const struct dbt_answer answers[] = {
		{.valid = true, .reason = VP_EXIT_MSR, .address = 0x40000001},
		{.valid = true, .reason = VP_EXIT_MSR, .write = true, .address = 0x40000000},
		{.valid = true, .reason = VP_EXIT_PIO, .address = 0x40000000},
		{.valid = false, .reason = VP_EXIT_MSR, .address = 0x40000000},
	};
	uint64_t value;

	for (unsigned int i = 0; i < ARRAY_SIZE(answers); i++) {
		harness_reset();
		h.vp.answer = answers[i];
		assert_int_equal(rdmsr(0x40000000, &value), CPU_RESTART);
		assert_int_equal(h.vp.leave, LEAVE_EXIT);
	}
}

static void the_partition_can_take_any_msr_for_itself(void **state)
{
	uint64_t value;

	harness_reset();
	h.part.exit_msrs[0] = (struct msr_range){0xc0000081, 0xc0000082};
	h.part.exit_msr_count = 1;
	assert_int_equal(wrmsr(0xc0000082, 0), CPU_RESTART);
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	h.vp.leave = LEAVE_NONE;
	assert_done(rdmsr(0xc0000083, &value));
}

static void apic_msrs_go_to_the_apic(void **state)
{
	static const uint32_t indices[] = {0x1b, 0x6e0, 0x800, 0x80b, 0x830, 0x8ff};
	uint64_t value;

	for (unsigned int i = 0; i < ARRAY_SIZE(indices); i++) {
		harness_reset();
		assert_done(wrmsr(indices[i], 0x1122334455));
		assert_int_equal(h.apic_index, indices[i]);
		assert_int_equal(h.apic_value, 0x1122334455);
		assert_done(rdmsr(indices[i], &value));
		assert_int_equal(value, 0x1122334455);
		h.apic_result = -1;
		assert_gp(wrmsr(indices[i], 0));
		assert_gp(rdmsr(indices[i], &value));
	}
	harness_reset();
	h.apic_leave = LEAVE_EXIT; /* the EOI of a level-triggered interrupt */
	assert_int_equal(wrmsr(0x80b, 0), CPU_DONE_LEAVE);
	assert_int_equal(h.vp.rip, h.vp.next_rip);
}

static void writing_the_tsc_moves_tsc_adjust_and_back(void **state)
{
	uint64_t tsc, adjust, before;

	harness_reset();
	before = host_rdtsc();
	assert_done(wrmsr(0x10, 0));
	assert_done(rdmsr(0x10, &tsc));
	assert_true(tsc <= host_rdtsc() - before);
	assert_done(rdmsr(0x3b, &adjust));
	assert_int_equal(adjust, h.vp.tsc_offset);
	assert_done(wrmsr(0x3b, 0));
	assert_int_equal(h.vp.tsc_offset, 0);
}

/* It arms a pending deadline again, so the new offset must be in place by then. */
static void the_apic_hears_of_a_moved_tsc_afterwards(void **state)
{
	static const uint32_t indices[] = {0x10, 0x3b};

	for (unsigned int i = 0; i < ARRAY_SIZE(indices); i++) {
		harness_reset();
		assert_done(wrmsr(indices[i], 12345));
		assert_int_equal(h.tsc_changes, 1);
		assert_int_not_equal(h.vp.tsc_offset, 0);
		assert_int_equal(h.tsc_offset_then, h.vp.tsc_offset);
	}
}

static void kernels_find_the_msrs_of_their_vendor(void **state)
{
	static const struct {
		uint32_t index;
		bool amd, exists;
		uint64_t value;
	} cases[] = {
		{0xc0010015, true, true, BIT(24)},
		{0xc0010015, false, false, 0},
		{0xc0011029, true, true, 2},
		{0xc0010010, true, true, 0},
		{0x8b, true, true, 0x01000065},
		{0x8b, false, true, 0x100000000},
		{0x3a, false, true, 1},
		{0x3a, true, false, 0},
		{0x17, false, true, 0},
		{0x179, true, true, 0},
		{0xfe, true, true, 0x508},
		{0xc0011020, true, false, 0},
		{0x48, true, false, 0},
		{0xc0010000, true, false, 0},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value;
		enum cpu_result result;

		harness_reset();
		be_amd(cases[i].amd);
		result = rdmsr(cases[i].index, &value);
		assert_int_equal(h.vp.leave, cases[i].exists ? LEAVE_NONE : LEAVE_EXIT);
		assert_int_equal(result, cases[i].exists ? CPU_DONE : CPU_RESTART);
		if (cases[i].exists)
			assert_int_equal(value, cases[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read_or_the_write_is_refused),
		cmocka_unit_test(efer_changes_follow_the_rules),
		cmocka_unit_test(an_unknown_msr_exits_and_takes_the_answer),
		cmocka_unit_test(an_answer_to_something_else_is_not_taken),
		cmocka_unit_test(the_partition_can_take_any_msr_for_itself),
		cmocka_unit_test(apic_msrs_go_to_the_apic),
		cmocka_unit_test(writing_the_tsc_moves_tsc_adjust_and_back),
		cmocka_unit_test(the_apic_hears_of_a_moved_tsc_afterwards),
		cmocka_unit_test(kernels_find_the_msrs_of_their_vendor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
