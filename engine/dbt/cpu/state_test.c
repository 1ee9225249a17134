/* state_test.c - whole state in and out, what is refused, reset and INIT */
#include <errno.h>

#include "test_machine.h"

/* A state in which every member differs from reset's. */
static void fill(struct machine *machine)
{
	struct dbt_vp *vp = machine->vp;

	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		vp->gpr[i] = 0x1111111111111111ull * (i + 1);
	vp->rip = 0xffffffff81234567;
	vp_set_rflags(vp, FLAG_IF | FLAG_AC | FLAG_DF | FLAG_OF | FLAG_ZF | FLAG_ID);
	vp->cr2 = 0x1234;
	vp->cr3 = 0x5000;
	vp->xcr0 = 7;
	vp->cr4 |= CR4_OSXSAVE;
	for (unsigned int i = 0; i < 4; i++)
		vp->dr[i] = 0x1000 + i;
	vp->dr6 = 0xffff4ff0;
	vp->dr7 = 0x401;
	vp->star = 1;
	vp->lstar = 2;
	vp->cstar = 3;
	vp->sfmask = 4;
	vp->kernel_gs_base = 0xffff888000000000;
	vp->sysenter_cs = 6;
	vp->sysenter_esp = 7;
	vp->sysenter_eip = 8;
	vp->pat = 0x0407050600070106;
	vp->tsc_aux = 9;
	vp->tsc_adjust = 10;
	vp->misc_enable = 11;
	vp->mtrr_def_type = 0xc06;
	for (unsigned int i = 0; i < 11; i++)
		vp->mtrr_fixed[i] = 0x0606060606060600 + i;
	for (unsigned int i = 0; i < 8; i++) {
		vp->mtrr_base[i] = 0x1000 * i;
		vp->mtrr_mask[i] = 0x2000 * i;
	}
	vp->activity = VP_HALTED;
	vp->irq_shadow = 1;
	vp->nmi_masked = 1;
	vp->requests = REQ_NMI | REQ_FLUSH_TLB;
	vp->sipi_vector = 0x9a;
	vp->apic.id = 5;
	vp->apic.tpr = 0x30;
	vp_raise_error(vp, VEC_PF, 6);
	vp->exception.cr2 = 0xabc000;
	for (unsigned int i = 0; i < 512; i++)
		vp->xsave[i] = i;
	*(uint32_t *)(vp->xsave + 24) = 0x1f80;
	vp->xsave[512] = 7;
	vp->xsave[600] = 0x77;
}

static void what_one_vp_says_another_accepts_and_repeats(void **state)
{
	struct machine *from = machine_long(0), *to = machine_new();
	static struct vp_state first, second;

	fill(from);
	cpu_get_state(from->vp, &first);
	assert_int_equal(cpu_set_state(to->vp, &first), 0);
	cpu_get_state(to->vp, &second);
	assert_in_range(second.tsc - first.tsc, 0, 1ull << 32);
	second.tsc = first.tsc;
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(first.cr2, 0xabc000);
	assert_int_equal(first.xsave[600], 0x77);
	assert_int_equal(first.mtrr_mask[7], 0xe000);
	cpu_update_mode(from->vp);
	assert_int_equal(to->vp->mode, from->vp->mode);
	assert_int_equal(to->vp->cpl, 0);
	assert_int_equal(to->vp->exception.cr2, 0xabc000);
	assert_true(to->mmu.flushes > 1);
	machine_free(from);
	machine_free(to);
}

static void the_privilege_level_is_that_of_ss(void **state)
{
	static const struct {
		struct machine *(*make)(unsigned int cpl);
		unsigned int cpl;
	} cases[] = { { machine_long, 3 }, { machine_compat, 3 }, { machine_protected, 0 }, { machine_protected, 3 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *from = cases[i].make(cases[i].cpl), *to = machine_new();
		static struct vp_state image;

		cpu_get_state(from->vp, &image);
		assert_int_equal(cpu_set_state(to->vp, &image), 0);
		assert_int_equal(to->vp->cpl, cases[i].cpl);
		assert_int_equal(to->vp->mode, from->vp->mode);
		machine_free(from);
		machine_free(to);
	}
}

#define SPOIL(member, value) { #member " = " #value, offsetof(struct vp_state, member), \
			       sizeof(((struct vp_state *)0)->member), value }

static void an_impossible_state_is_refused_and_changes_nothing(void **state)
{
	static const struct {
		const char *what;
		size_t offset, bytes;
		uint64_t value;
	} cases[] = {
		SPOIL(cr0, 0x80000000),          SPOIL(cr0, 0x100000033),
		SPOIL(cr0, 0xa0050033),          SPOIL(cr4, 0x680),
		SPOIL(cr4, 0x16a0),              SPOIL(cr4, 0x80000006a0),
		SPOIL(cr3, 1ull << 40),          SPOIL(cr8, 16),
		SPOIL(efer, 0x901),              SPOIL(efer, 0x1d01),
		SPOIL(xcr0, 0),                  SPOIL(xcr0, 5),
		SPOIL(xcr0, 0xe7),               SPOIL(dr6, 1ull << 32),
		SPOIL(dr7, 1ull << 32),          SPOIL(regs.rflags, 0x80000002),
		SPOIL(regs.rflags, 0x20002),     SPOIL(segment[VP_CS].access, 0xe09b),
		SPOIL(segment[VP_DS].access, 0x20093), SPOIL(segment[VP_GS].base, 0x800000000000),
		SPOIL(lstar, 0x800000000000),    SPOIL(kernel_gs_base, 1ull << 63),
		SPOIL(gdtr.base, 1ull << 63),    SPOIL(pat, 0x0207040600070406),
		SPOIL(activity, 3),              SPOIL(xsave[26], 1),
		SPOIL(xsave[512], 8),            SPOIL(xsave[527], 0x80),
		SPOIL(xsave[575], 1),            SPOIL(lapic[1], 0xbb),
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_long(0), *from = machine_long(0);
		static struct vp_state image, before, after;

		print_message("  %s\n", cases[i].what);
		fill(from);
		cpu_get_state(from->vp, &image);
		memcpy((char *)&image + cases[i].offset, &cases[i].value, cases[i].bytes);
		cpu_get_state(machine->vp, &before);
		assert_int_equal(cpu_set_state(machine->vp, &image), -EINVAL);
		cpu_get_state(machine->vp, &after);
		assert_in_range(after.tsc - before.tsc, 0, 1ull << 32);
		after.tsc = before.tsc;
		assert_memory_equal(&before, &after, sizeof(before));
		machine_free(machine);
		machine_free(from);
	}
}

static void an_exception_that_cannot_be_is_refused(void **state)
{
	struct machine *machine = machine_long(0);
	static struct vp_state image;

	cpu_get_state(machine->vp, &image);
	image.exception_pending = 1;
	image.exception_vector = 32;
	assert_int_equal(cpu_set_state(machine->vp, &image), -EINVAL);
	image.exception_vector = VEC_UD;
	assert_int_equal(cpu_set_state(machine->vp, &image), 0);
	assert_raised(machine->vp, VEC_UD, 0);
	machine_free(machine);
}

static void power_on_starts_at_the_reset_vector(void **state)
{
	uint64_t before = host_rdtsc();
	struct machine *machine = machine_new();
	struct dbt_vp *vp = machine->vp;

	assert_in_range(-vp->tsc_offset, before, host_rdtsc()); /* the host's TSC when it counted 0 */
	assert_int_equal(vp->seg[VP_CS].base + vp->rip, 0xfffffff0);
	assert_int_equal(vp->seg[VP_CS].selector, 0xf000);
	assert_int_equal(vp->cr0, 0x60000010);
	assert_int_equal(vp_rflags(vp), 2);
	assert_int_equal(vp->gpr[VP_RDX], 0xa00f11);
	assert_int_equal(vp->apic_base, 0xfee00900);
	assert_int_equal(vp->pat, 0x0007040600070406);
	assert_int_equal(vp->xcr0, 1);
	assert_int_equal(vp->activity, VP_RUNNING);
	assert_int_equal(vp->exception.vector, VEC_NONE);
	assert_int_equal(*(uint16_t *)vp->xsave, 0x37f);
	assert_int_equal(vp->mode & (MODE_CODE64 | MODE_CODE32 | MODE_LONG | MODE_PROTECTED | MODE_FLAT), 0);
	machine_free(machine);
}

static void init_keeps_what_the_manual_says_and_other_vps_wait(void **state)
{
	struct machine *machine = machine_long(3);
	struct dbt_vp *vp = machine->vp;
	uint64_t offset = vp->tsc_offset;

	fill(machine);
	vp->vp.index = 1;
	vp->cr0 |= CR0_CD;
	cpu_reset(vp, true);
	assert_int_equal(vp->activity, VP_WAIT_FOR_SIPI);
	assert_int_equal(vp->cr0, 0x40000010);
	assert_int_equal(vp->efer, 0);
	assert_int_equal(vp->cpl, 0);
	assert_int_equal(vp->exception.vector, VEC_NONE);
	assert_int_equal(vp->xcr0, 7);
	assert_int_equal(vp->xsave[600], 0x77);
	assert_int_equal(vp->tsc_offset, offset);
	assert_int_equal(vp->pat, 0x0407050600070106);
	assert_int_equal(vp->mode & (MODE_LONG | MODE_PROTECTED | MODE_USER), 0);
	machine_free(machine);
}

static void all_vps_count_from_the_first_ones_reset(void **state)
{
	struct machine *machine = machine_new();
	struct machine *other = machine_new();

	machine->vp->tsc_offset = 0x123456;
	other->vp->vp.index = 1;
	other->vp->vp.part = machine->vp->vp.part;
	cpu_reset(other->vp, false);
	assert_int_equal(other->vp->tsc_offset, 0x123456);
	machine_free(machine);
	machine_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_one_vp_says_another_accepts_and_repeats),
		cmocka_unit_test(the_privilege_level_is_that_of_ss),
		cmocka_unit_test(an_impossible_state_is_refused_and_changes_nothing),
		cmocka_unit_test(an_exception_that_cannot_be_is_refused),
		cmocka_unit_test(power_on_starts_at_the_reset_vector),
		cmocka_unit_test(init_keeps_what_the_manual_says_and_other_vps_wait),
		cmocka_unit_test(all_vps_count_from_the_first_ones_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
