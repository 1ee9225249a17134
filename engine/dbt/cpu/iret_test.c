/* iret_test.c - IRET: every kind of frame, what it may change, and its faults */
#include "test_machine.h"

static void put_frame(struct machine *machine, uint32_t width, const uint64_t *values, unsigned int count)
{
	uint64_t at = machine->vp->gpr[VP_RSP];

	for (unsigned int i = 0; i < count; i++)
		put_bytes(machine, at + i * width, &values[i], width);
}

static enum cpu_result iret(struct machine *machine, uint32_t width)
{
	return helper_iret(machine->vp, (struct cpu_args){ .op_bytes = width }, 0);
}

static void a_64_bit_iret_restores_whatever_it_interrupted(void **state)
{
	static const struct {
		const char *what;
		uint64_t frame[5];
		uint32_t width, cpl, mode;
	} cases[] = {
		{ "same privilege", { 0xffffffff81000000, K_CODE64, 2, KERNEL_RSP, K_DATA }, 8, 0, MODE_CODE64 },
		{ "same privilege, null SS", { 0x1000, K_CODE64, 2, KERNEL_RSP, 0 }, 8, 0, MODE_CODE64 },
		{ "user", { 0x7fffffffe000, U_CODE64 | 3, 0x202, 0x7ffff000, U_DATA | 3 }, 8, 3, MODE_CODE64 },
		{ "32-bit user", { 0x8048000, U_CODE32 | 3, 0x202, 0xff800000, U_DATA | 3 }, 8, 3, MODE_CODE32 },
		{ "user, 32-bit frame", { 0x400000, U_CODE64 | 3, 0x202, 0x7f000, U_DATA | 3 }, 4, 3, MODE_CODE64 },
		{ "compatibility kernel code", { 0x400000, K_CODE32, 2, 0x8000, K_DATA }, 8, 0, MODE_CODE32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(0);
		struct dbt_vp *vp = machine->vp;

		print_message("  %s\n", cases[i].what);
		vp->nmi_masked = 1;
		put_frame(machine, cases[i].width, cases[i].frame, 5);
		assert_int_equal(iret(machine, cases[i].width), CPU_DONE);
		assert_int_equal(vp->next_rip, cases[i].frame[0]);
		assert_int_equal(vp->seg[VP_CS].selector, cases[i].frame[1]);
		assert_int_equal(vp_rflags(vp), cases[i].frame[2]);
		assert_int_equal(vp->gpr[VP_RSP], cases[i].frame[3]);
		assert_int_equal(vp->seg[VP_SS].selector, cases[i].frame[4]);
		assert_int_equal(vp->cpl, cases[i].cpl);
		assert_int_equal(vp->mode & (MODE_CODE64 | MODE_CODE32), cases[i].mode);
		assert_int_equal(!!(vp->mode & MODE_USER), cases[i].cpl == 3);
		assert_int_equal(vp->nmi_masked, 0);
		assert_true(machine->mmu.reads <= 3);
		assert_int_equal(machine->mmu.writes, 0);
		machine_free(machine);
	}
}

static void a_bad_frame_faults_and_changes_nothing(void **state)
{
	static const struct {
		const char *what;
		uint64_t frame[5];
		uint8_t vector;
		uint32_t error;
	} cases[] = {
		{ "non-canonical RIP", { 0x800000000000, U_CODE64 | 3, 2, 0x8000, U_DATA | 3 }, VEC_GP, 0 },
		{ "null CS", { 0x1000, 3, 2, 0x8000, U_DATA | 3 }, VEC_GP, 0 },
		{ "CS beyond the GDT", { 0x1000, 0xfff3, 2, 0x8000, U_DATA | 3 }, VEC_GP, 0xfff0 },
		{ "CS is data", { 0x1000, U_DATA | 3, 2, 0x8000, U_DATA | 3 }, VEC_GP, U_DATA },
		{ "CS RPL is not its DPL", { 0x1000, K_CODE64 | 3, 2, 0x8000, U_DATA | 3 }, VEC_GP, K_CODE64 },
		{ "CS not present", { 0x1000, ABSENT_CODE, 2, 0x8000, K_DATA }, VEC_NP, ABSENT_CODE },
		{ "CS both 64- and 32-bit", { 0x1000, LONG_AND_BIG, 2, 0x8000, K_DATA }, VEC_GP, LONG_AND_BIG },
		{ "32-bit code beyond its limit", { 0x100001000, U_CODE32 | 3, 2, 0x8000, U_DATA | 3 }, VEC_GP, 0 },
		{ "null SS for user", { 0x1000, U_CODE64 | 3, 2, 0x8000, 3 }, VEC_GP, 0 },
		{ "null SS for 32-bit code", { 0x1000, K_CODE32, 2, 0x8000, 0 }, VEC_GP, 0 },
		{ "SS of another privilege", { 0x1000, U_CODE64 | 3, 2, 0x8000, K_DATA }, VEC_GP, K_DATA },
		{ "SS is read-only", { 0x1000, K_CODE64, 2, 0x8000, READ_ONLY }, VEC_GP, READ_ONLY },
		{ "SS not present", { 0x1000, K_CODE64, 2, 0x8000, ABSENT_DATA }, VEC_SS, ABSENT_DATA },
		{ "NT set", { 0x1000, K_CODE64, 2, 0x8000, K_DATA }, VEC_GP, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(0);
		struct machine *copy = machine_new();
		struct dbt_vp *vp = machine->vp, *before = copy->vp;

		print_message("  %s\n", cases[i].what);
		put_frame(machine, 8, cases[i].frame, 5);
		if (!strcmp(cases[i].what, "NT set"))
			vp->eflags_rest |= FLAG_NT;
		memcpy(before, vp, sizeof(*before));
		assert_int_equal(iret(machine, 8), CPU_RESTART);
		assert_raised(vp, cases[i].vector, cases[i].error);
		assert_memory_equal(vp->gpr, before->gpr, sizeof(vp->gpr));
		assert_memory_equal(vp->seg, before->seg, sizeof(vp->seg));
		assert_int_equal(vp_rflags(vp), vp_rflags(before));
		assert_int_equal(vp->cpl, 0);
		assert_int_equal(vp->mode, before->mode);
		machine_free(copy);
		machine_free(machine);
	}
}

static void the_privilege_decides_which_flags_change(void **state)
{
	const uint32_t all = FLAGS_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC |
			     FLAG_VIF | FLAG_VIP | FLAG_ID;
	static const struct {
		unsigned int cpl;
		uint32_t iopl, width, kept_out; /* flags that do not get set */
	} cases[] = {
		{ 0, 0, 8, FLAG_RF },
		{ 0, 0, 2, FLAG_RF | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID },
		{ 3, 0, 8, FLAG_RF | FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_VIP },
		{ 3, 3, 8, FLAG_RF | FLAG_VIF | FLAG_VIP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(cases[i].cpl);
		struct dbt_vp *vp = machine->vp;
		const uint64_t user = cases[i].cpl;
		uint64_t frame[] = { 0x1000, (user ? U_CODE64 : K_CODE64) | user, all, 0x8000,
				     (user ? U_DATA : K_DATA) | user };

		vp_set_rflags(vp, cases[i].iopl << 12);
		put_frame(machine, cases[i].width, frame, 5);
		assert_int_equal(iret(machine, cases[i].width), CPU_DONE);
		assert_int_equal(vp_rflags(vp), (all & ~cases[i].kept_out) | 2 | cases[i].iopl << 12);
		assert_true(vp->mode & MODE_STEP);
		machine_free(machine);
	}
}

static void privileged_data_segments_become_null_for_less_privileged_code(void **state)
{
	static const uint64_t frame[] = { 0x1000, U_CODE64 | 3, 2, 0x8000, U_DATA | 3 };
	struct machine *machine = machine_long(0);
	struct dbt_vp *vp = machine->vp;

	segment_fill(&vp->seg[VP_ES], U_DATA | 3, get64(machine, GDT + U_DATA));
	segment_null(&vp->seg[VP_GS], 0, 0);
	vp->seg[VP_GS].base = 0x123456; /* MSR_GS_BASE */
	put_frame(machine, 8, frame, 5);
	assert_int_equal(iret(machine, 8), CPU_DONE);
	assert_int_equal(vp->seg[VP_ES].selector, U_DATA | 3);
	assert_int_equal(vp->seg[VP_DS].selector, 0);
	assert_true(vp->seg[VP_DS].access & VP_SEG_UNUSABLE);
	assert_int_equal(vp->seg[VP_GS].base, 0x123456);
	machine_free(machine);
}

static void protected_mode_pops_the_stack_only_for_less_privilege(void **state)
{
	static const struct {
		uint64_t frame[5];
		uint32_t width;
		uint64_t rsp;
	} cases[] = {
		{ { 0x1000, K_CODE32, 2 }, 4, KERNEL_RSP + 12 },
		{ { 0x1000, K_CODE32, 2 }, 2, KERNEL_RSP + 6 },
		{ { 0x1000, U_CODE32 | 3, 2, 0xbffff000, U_DATA | 3 }, 4, 0xbffff000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_protected(0);

		put_frame(machine, cases[i].width, cases[i].frame, 5);
		assert_int_equal(iret(machine, cases[i].width), CPU_DONE);
		assert_int_equal(machine->vp->gpr[VP_RSP], cases[i].rsp);
		assert_int_equal(machine->vp->seg[VP_CS].selector, cases[i].frame[1]);
		/* user code finds the kernel's data segments gone */
		assert_int_equal(!!(machine->vp->mode & MODE_FLAT), machine->vp->cpl == 0);
		machine_free(machine);
	}
}

static void real_mode_pops_three_words(void **state)
{
	struct machine *machine = machine_real();
	static const uint16_t frame[] = { 0x56, 0x1234, FLAG_IF | FLAG_DF };

	put_bytes(machine, 0x10800, frame, sizeof(frame));
	assert_int_equal(iret(machine, 2), CPU_DONE);
	assert_int_equal(machine->vp->next_rip, 0x56);
	assert_int_equal(machine->vp->seg[VP_CS].base, 0x12340);
	assert_int_equal(vp_rflags(machine->vp), FLAG_IF | FLAG_DF | 2);
	assert_int_equal(machine->vp->gpr[VP_RSP], 0xabcd0806);
	machine_free(machine);
}

static void the_stack_that_faults_is_named_by_cr2(void **state)
{
	struct machine *machine = machine_long(0);

	machine->vp->gpr[VP_RSP] = NOWHERE;
	assert_int_equal(iret(machine, 8), CPU_RESTART);
	assert_raised(machine->vp, VEC_PF, 0);
	assert_int_equal(machine->vp->gpr[VP_RSP], NOWHERE);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_64_bit_iret_restores_whatever_it_interrupted),
		cmocka_unit_test(a_bad_frame_faults_and_changes_nothing),
		cmocka_unit_test(the_privilege_decides_which_flags_change),
		cmocka_unit_test(privileged_data_segments_become_null_for_less_privileged_code),
		cmocka_unit_test(protected_mode_pops_the_stack_only_for_less_privilege),
		cmocka_unit_test(real_mode_pops_three_words),
		cmocka_unit_test(the_stack_that_faults_is_named_by_cr2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
