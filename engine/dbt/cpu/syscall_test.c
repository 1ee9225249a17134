/* syscall_test.c - SYSCALL and SYSRET there and back, SYSENTER and SYSEXIT, by vendor */
#include "test_machine.h"

/* As Linux sets them: SYSRET's base selector is USER32_CS. */
#define STAR ((uint64_t)(U_CODE32 | 3) << 48 | (uint64_t)K_CODE64 << 32)

static struct machine *with_syscall(struct machine *machine)
{
	machine->vp->star = STAR | 0x1234;
	machine->vp->lstar = 0xffffffff81e00000;
	machine->vp->cstar = 0xffffffff81e01000;
	machine->vp->sfmask = FLAG_IF | FLAG_TF | FLAG_DF | FLAG_AC;
	return machine;
}

static void show_intel(struct machine *machine)
{
	machine->part.cpuid[0].ebx = 0x756e6547;
}

static enum cpu_result call(struct machine *machine, cpu_helper *helper, uint8_t width)
{
	return helper(machine->vp, (struct cpu_args){ .op_bytes = width }, 0);
}

static void syscall_and_sysret_make_a_round_trip_without_touching_memory(void **state)
{
	static const uint32_t flags[] = { 2, FLAG_IF | 2, FLAG_IF | FLAG_CF | FLAG_OF | FLAG_ID | FLAG_AC | 2,
					  FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | 2 };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct machine *machine = with_syscall(machine_long(3));
		struct dbt_vp *vp = machine->vp;

		vp_set_rflags(vp, flags[i] | FLAG_RF);
		assert_int_equal(call(machine, helper_syscall, 8), CPU_DONE);
		assert_int_equal(vp->next_rip, 0xffffffff81e00000);
		assert_int_equal(vp->gpr[VP_RCX], USER_RIP + 2);
		assert_int_equal(vp->gpr[VP_R11], flags[i]);
		assert_int_equal(vp->gpr[VP_RSP], USER_RSP);
		assert_int_equal(vp_rflags(vp), flags[i] & ~vp->sfmask);
		assert_int_equal(vp->seg[VP_CS].selector, K_CODE64);
		assert_int_equal(vp->seg[VP_CS].access, 0xa09b);
		assert_int_equal(vp->seg[VP_SS].selector, K_DATA);
		assert_int_equal(vp->mode & (MODE_CODE64 | MODE_USER | MODE_CPL_MASK), MODE_CODE64);

		assert_int_equal(call(machine, helper_sysret, 8), CPU_DONE);
		assert_int_equal(vp->next_rip, USER_RIP + 2);
		assert_int_equal(vp_rflags(vp), flags[i]);
		assert_int_equal(vp->seg[VP_CS].selector, U_CODE64 | 3);
		assert_int_equal(vp->seg[VP_CS].access, 0xa0fb);
		assert_int_equal(vp->seg[VP_SS].selector, U_DATA | 3);
		assert_int_equal(vp->seg[VP_SS].access, 0xc0f3);
		assert_int_equal(vp->cpl, 3);
		assert_int_equal(vp->tlb_index, TLB_USER);
		assert_int_equal(machine->mmu.reads + machine->mmu.writes, 0);
		machine_free(machine);
	}
}

static void a_masked_trap_flag_does_not_step_the_handler(void **state)
{
	struct machine *machine = with_syscall(machine_long(3));

	machine->vp->eflags_rest |= FLAG_TF;
	cpu_update_mode(machine->vp);
	assert_true(machine->vp->mode & MODE_STEP);
	machine->vp->step_trap = 1;
	assert_int_equal(call(machine, helper_syscall, 8), CPU_DONE);
	assert_int_equal(machine->vp->step_trap, 0);
	assert_false(machine->vp->mode & MODE_STEP);
	assert_true(machine->vp->gpr[VP_R11] & FLAG_TF);
	machine_free(machine);
}

static void compatibility_mode_enters_at_cstar_on_amd_only(void **state)
{
	struct machine *machine = with_syscall(machine_compat(3));
	struct dbt_vp *vp = machine->vp;

	assert_int_equal(call(machine, helper_syscall, 4), CPU_DONE);
	assert_int_equal(vp->next_rip, 0xffffffff81e01000);
	assert_true(vp->mode & MODE_CODE64);
	assert_int_equal(call(machine, helper_sysret, 4), CPU_DONE);
	assert_int_equal(vp->next_rip, USER_RIP + 2);
	assert_int_equal(vp->seg[VP_CS].selector, U_CODE32 | 3);
	assert_int_equal(vp->mode & (MODE_CODE64 | MODE_CODE32), MODE_CODE32);
	machine_free(machine);

	machine = with_syscall(machine_compat(3));
	show_intel(machine);
	assert_int_equal(call(machine, helper_syscall, 4), CPU_RESTART);
	assert_raised(machine->vp, VEC_UD, 0);
	machine_free(machine);
}

static void forbidden_uses_fault(void **state)
{
	static const struct {
		const char *what;
		cpu_helper *helper;
		unsigned int cpl;
		uint64_t efer, rcx;
		uint8_t vector;
	} cases[] = {
		{ "SYSCALL without SCE", helper_syscall, 3, 0xd00, 0, VEC_UD },
		{ "SYSRET without SCE", helper_sysret, 0, 0xd00, 0, VEC_UD },
		{ "SYSRET by user code", helper_sysret, 3, 0xd01, 0, VEC_GP },
		{ "SYSRET to a non-canonical address", helper_sysret, 0, 0xd01, 0x800000000000, VEC_GP },
		{ "SYSENTER on AMD in long mode", helper_sysenter, 3, 0xd01, 0, VEC_UD },
		{ "SYSEXIT on AMD in long mode", helper_sysexit, 0, 0xd01, 0, VEC_UD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = with_syscall(machine_long(cases[i].cpl));

		print_message("  %s\n", cases[i].what);
		machine->vp->efer = cases[i].efer;
		machine->vp->gpr[VP_RCX] = cases[i].rcx;
		assert_int_equal(call(machine, cases[i].helper, 8), CPU_RESTART);
		assert_raised(machine->vp, cases[i].vector, 0);
		assert_int_equal(machine->vp->cpl, cases[i].cpl);
		machine_free(machine);
	}
}

static void sysenter_and_sysexit_use_their_msrs(void **state)
{
	static const struct {
		bool intel, wide;
		uint16_t user_cs;
		uint32_t code;
	} cases[] = { { false, false, 0x10 + K_CODE64, MODE_CODE32 }, { true, true, 0x20 + K_CODE64, MODE_CODE64 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = cases[i].wide ? machine_long(3) : machine_protected(3);
		struct dbt_vp *vp = machine->vp;

		if (cases[i].intel)
			show_intel(machine);
		assert_int_equal(call(machine, helper_sysenter, 8), CPU_RESTART);
		assert_raised(vp, VEC_GP, 0); /* SYSENTER_CS is null */
		vp->sysenter_cs = K_CODE64;
		vp->sysenter_esp = 0x9000;
		vp->sysenter_eip = 0xa000;
		assert_int_equal(call(machine, helper_sysenter, 8), CPU_DONE);
		assert_int_equal(vp->next_rip, 0xa000);
		assert_int_equal(vp->gpr[VP_RSP], 0x9000);
		assert_int_equal(vp->flag_if, 0);
		assert_int_equal(vp->cpl, 0);
		vp->gpr[VP_RDX] = 0xb000;
		vp->gpr[VP_RCX] = 0xc000;
		assert_int_equal(call(machine, helper_sysexit, cases[i].wide ? 8 : 4), CPU_DONE);
		assert_int_equal(vp->next_rip, 0xb000);
		assert_int_equal(vp->gpr[VP_RSP], 0xc000);
		assert_int_equal(vp->seg[VP_CS].selector, cases[i].user_cs | 3);
		assert_int_equal(vp->seg[VP_SS].selector, (cases[i].user_cs + 8) | 3);
		assert_int_equal(vp->mode & (MODE_CODE64 | MODE_CODE32 | MODE_USER), cases[i].code | MODE_USER);
		machine_free(machine);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(syscall_and_sysret_make_a_round_trip_without_touching_memory),
		cmocka_unit_test(a_masked_trap_flag_does_not_step_the_handler),
		cmocka_unit_test(compatibility_mode_enters_at_cstar_on_amd_only),
		cmocka_unit_test(forbidden_uses_fault),
		cmocka_unit_test(sysenter_and_sysexit_use_their_msrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
