/* misc_test.c - flags on the stack, PUSHA and its like, decimal arithmetic, RDTSC's privilege */
#include "test/harness.h"

#define STACK (HARNESS_BASE + 0x2ffc) /* pops and pushes cross into the next page */

/* --- POPF and PUSHF --- */

#define ALL	0x3fffffu
#define CHANGES (FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT)

static void popf_changes_what_privilege_allows(void **state)
{
	static const struct {
		const char *what;
		uint8_t cpl, iopl, op_bytes;
		bool vm86;
		uint32_t changes;
		uint8_t vector;
	} cases[] = {
		{"kernel, 64-bit", 0, 0, 8, false,
		 CHANGES | FLAG_AC | FLAG_ID | FLAG_IOPL | FLAG_IF, VEC_NONE},
		{"kernel, 16-bit", 0, 0, 2, false, CHANGES | FLAG_IOPL | FLAG_IF, VEC_NONE},
		{"user, IOPL 0", 3, 0, 8, false, CHANGES | FLAG_AC | FLAG_ID, VEC_NONE},
		{"user, IOPL 3", 3, 3, 8, false, CHANGES | FLAG_AC | FLAG_ID | FLAG_IF, VEC_NONE},
		{"user, IOPL 3, 16-bit", 3, 3, 2, false, CHANGES | FLAG_IF, VEC_NONE},
		{"CPL 1, IOPL 1", 1, 1, 4, false, CHANGES | FLAG_AC | FLAG_ID | FLAG_IF, VEC_NONE},
		{"CPL 2, IOPL 1", 2, 1, 4, false, CHANGES | FLAG_AC | FLAG_ID, VEC_NONE},
		{"virtual-8086, IOPL 3", 3, 3, 4, true, CHANGES | FLAG_AC | FLAG_ID | FLAG_IF,
		 VEC_NONE},
		{"virtual-8086, IOPL 2", 3, 2, 4, true, 0, VEC_GP},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int ones = 0; ones < 2; ones++) {
			uint32_t before = ones ? 2 : ALL & ~(FLAG_VM | FLAG_IOPL | 0x8028), want;
			uint64_t value = ones ? ALL : 0;

			harness_reset();
			if (cases[i].op_bytes != 8)
				harness_protected32();
			before |= cases[i].iopl << 12 | (cases[i].vm86 ? FLAG_VM : 0);
			vp_set_rflags(&h.vp, before);
			harness_cpl(cases[i].cpl);
			h.vp.gpr[VP_RSP] = STACK;
			harness_put(STACK, &value, 8);
			helper_popf(&h.vp, (struct cpu_args){.op_bytes = cases[i].op_bytes}, 0);
			want = (before & ~cases[i].changes) | (value & cases[i].changes);
			if (cases[i].op_bytes > 2 && cases[i].vector == VEC_NONE)
				want &= ~FLAG_RF;
			if (vp_rflags(&h.vp) != want || h.vp.exception.vector != cases[i].vector)
				fail_msg("%s: %#x, not %#x", cases[i].what, vp_rflags(&h.vp), want);
			if (cases[i].vector == VEC_NONE)
				assert_int_equal(h.vp.gpr[VP_RSP], STACK + cases[i].op_bytes);
		}
	}
}

static void pushf_hides_vm_and_rf(void **state)
{
	uint32_t pushed;

	harness_reset();
	harness_protected32();
	vp_set_rflags(&h.vp, FLAG_VM | FLAG_RF | FLAG_IOPL | FLAG_CF | FLAG_IF);
	harness_cpl(3);
	h.vp.gpr[VP_RSP] = STACK;
	assert_done(helper_pushf(&h.vp, (struct cpu_args){.op_bytes = 4}, 0));
	harness_get(STACK - 4, &pushed, 4);
	assert_int_equal(pushed, FLAG_IOPL | FLAG_CF | FLAG_IF | 2);
	assert_int_equal(h.vp.gpr[VP_RSP], STACK - 4);
	h.vp.eflags_rest &= ~FLAG_IOPL;
	assert_gp(helper_pushf(&h.vp, (struct cpu_args){.op_bytes = 4}, 0));
}

static void a_fault_leaves_flags_and_stack_pointer_alone(void **state)
{
	struct cpu_args args = {.op_bytes = 8};

	harness_reset();
	h.kind[2] = h.kind[3] = PAGE_ABSENT;
	h.vp.gpr[VP_RSP] = STACK;
	vp_set_rflags(&h.vp, FLAG_CF | 2);
	assert_raised(helper_popf(&h.vp, args, 0), VEC_PF);
	assert_raised(helper_pushf(&h.vp, args, 0), VEC_PF);
	assert_int_equal(h.vp.gpr[VP_RSP], STACK);
	assert_int_equal(vp_rflags(&h.vp), FLAG_CF | 2);
}

/* --- PUSHA, POPA, ENTER, BOUND, XLAT --- */

static void popa_undoes_pusha_but_for_sp(void **state)
{
	static const struct {
		bool real;
		uint8_t bytes;
		uint64_t sp;
	} cases[] = {
		{false, 4, STACK + 8},
		{false, 2, STACK + 8},
		{true, 2, 0x1004},
		{true, 4, 0x8}, /* wraps around within the segment */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_args args = {.op_bytes = cases[i].bytes};
		uint64_t before[VP_GPR_COUNT], mask = cases[i].bytes == 2 ? 0xffff : 0xffffffff;

		harness_reset();
		cases[i].real ? harness_real() : harness_protected32();
		if (cases[i].real)
			h.vp.seg[VP_SS].base = HARNESS_BASE;
		for (unsigned int reg = 0; reg < 8; reg++)
			h.vp.gpr[reg] = 0x11111111u * (reg + 1);
		h.vp.gpr[VP_RSP] = cases[i].sp;
		memcpy(before, h.vp.gpr, sizeof(before));
		assert_done(helper_pusha(&h.vp, args, 0));
		assert_int_equal((cases[i].sp - h.vp.gpr[VP_RSP]) & 0xffff, 8 * cases[i].bytes);
		for (unsigned int reg = 0; reg < 8; reg++)
			if (reg != VP_RSP)
				h.vp.gpr[reg] &= ~mask;
		assert_done(helper_popa(&h.vp, args, 0));
		assert_memory_equal(h.vp.gpr, before, sizeof(before));
	}
}

static void pusha_stores_edi_lowest_and_the_old_sp(void **state)
{
	uint32_t image[8];

	harness_reset();
	harness_protected32();
	for (unsigned int reg = 0; reg < 8; reg++)
		h.vp.gpr[reg] = reg;
	h.vp.gpr[VP_RSP] = STACK + 16;
	assert_done(helper_pusha(&h.vp, (struct cpu_args){.op_bytes = 4}, 0));
	harness_get(STACK + 16 - 32, image, 32);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(image[i], 7 - i == VP_RSP ? STACK + 16 : 7 - i);
}

static void enter_builds_a_frame_with_its_display(void **state)
{
	uint64_t frame[4], outer[2] = {0xaaaa, 0xbbbb};

	harness_reset();
	h.vp.gpr[VP_RSP] = HARNESS_BASE + 0x800;
	h.vp.gpr[VP_RBP] = HARNESS_BASE + 0x900;
	harness_put(HARNESS_BASE + 0x900 - 16, outer, 16);
	assert_done(helper_enter(&h.vp, (struct cpu_args){.op_bytes = 8, .imm16 = 3}, 0x20));
	harness_get(HARNESS_BASE + 0x800 - 32, frame, 32);
	assert_int_equal(frame[3], HARNESS_BASE + 0x900); /* old RBP */
	assert_int_equal(frame[2], 0xbbbb);		  /* the enclosing frames */
	assert_int_equal(frame[1], 0xaaaa);
	assert_int_equal(frame[0], HARNESS_BASE + 0x800 - 8); /* this one */
	assert_int_equal(h.vp.gpr[VP_RBP], HARNESS_BASE + 0x800 - 8);
	assert_int_equal(h.vp.gpr[VP_RSP], HARNESS_BASE + 0x800 - 32 - 0x20);
}

static void bound_compares_signed_and_inclusive(void **state)
{
	static const struct {
		uint8_t bytes;
		uint32_t index, low, high;
		uint8_t vector;
	} cases[] = {
		{4, 5, 5, 5, VEC_NONE},	       {4, 4, 5, 6, VEC_BR},
		{4, 7, 5, 6, VEC_BR},	       {4, -1u, -2u, 0, VEC_NONE},
		{4, 0x80000000, 0, 5, VEC_BR}, {2, 0xffff, 0xfffe, 0, VEC_NONE},
		{2, 0x7fff, 0, 5, VEC_BR},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		harness_reset();
		harness_protected32();
		h.vp.gpr[VP_RDX] = cases[i].index;
		harness_put(HARNESS_BASE, &cases[i].low, cases[i].bytes);
		harness_put(HARNESS_BASE + cases[i].bytes, &cases[i].high, cases[i].bytes);
		helper_bound(&h.vp, (struct cpu_args){.op_bytes = cases[i].bytes, .reg = VP_RDX},
			     HARNESS_BASE);
		assert_int_equal(h.vp.exception.vector, cases[i].vector);
	}
}

static void xlat_adds_al_to_bx(void **state)
{
	uint8_t byte = 0x5a;

	harness_reset();
	harness_put(HARNESS_BASE + 0xff, &byte, 1);
	h.vp.gpr[VP_RBX] = HARNESS_BASE;
	h.vp.gpr[VP_RAX] = 0x12ff;
	assert_done(helper_xlat(&h.vp, (struct cpu_args){.address_bytes = 8, .seg = VP_DS}, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0x125a);
}

/* --- decimal arithmetic: examples of the manual and by its pseudo-code --- */

static void decimal_adjustments_follow_the_manual(void **state)
{
	static const struct {
		const char *name;
		cpu_helper *helper;
		uint16_t ax;
		uint32_t flags;
		uint8_t imm;
		uint16_t want_ax;
		uint32_t want_flags;
	} cases[] = {
		/* SDM, DAA: 79H + 35H = AEH -> 14H, CF and AF; DAS: 35H - 47H = EEH -> 88H */
		{"daa", helper_daa, 0xae, 0, 0, 0x14, FLAG_CF | FLAG_AF | FLAG_PF},
		{"daa", helper_daa, 0x2e, FLAG_CF | FLAG_AF, 0, 0x94, FLAG_CF | FLAG_AF | FLAG_SF},
		{"daa", helper_daa, 0x99, 0, 0, 0x99, FLAG_SF | FLAG_PF},
		{"daa", helper_daa, 0x9a, 0, 0, 0x00, FLAG_CF | FLAG_AF | FLAG_ZF | FLAG_PF},
		{"daa", helper_daa, 0x12fa, 0, 0, 0x1260, FLAG_CF | FLAG_AF | FLAG_PF},
		{"das", helper_das, 0xee, FLAG_CF | FLAG_AF, 0, 0x88,
		 FLAG_CF | FLAG_AF | FLAG_SF | FLAG_PF},
		{"das", helper_das, 0x05, FLAG_AF, 0, 0xff, FLAG_CF | FLAG_AF | FLAG_SF | FLAG_PF},
		{"das", helper_das, 0x0f, 0, 0, 0x09, FLAG_AF | FLAG_PF},
		{"das", helper_das, 0xa0, 0, 0, 0x40, FLAG_CF},
		{"aaa", helper_aaa, 0x0209, 0, 0, 0x0209, 0},
		{"aaa", helper_aaa, 0x020f, 0, 0, 0x0305, FLAG_CF | FLAG_AF},
		{"aaa", helper_aaa, 0x02fa, 0, 0, 0x0400, FLAG_CF | FLAG_AF},
		{"aaa", helper_aaa, 0x0235, FLAG_AF, 0, 0x030b, FLAG_CF | FLAG_AF},
		{"aas", helper_aas, 0x0205, 0, 0, 0x0205, 0},
		{"aas", helper_aas, 0x020a, 0, 0, 0x0104, FLAG_CF | FLAG_AF},
		{"aas", helper_aas, 0x0203, FLAG_AF, 0, 0x000d, FLAG_CF | FLAG_AF},
		{"aam", helper_aam, 0xff3f, 0, 10, 0x0603, FLAG_PF},
		{"aam", helper_aam, 0x00ff, 0, 16, 0x0f0f, FLAG_PF},
		{"aam", helper_aam, 0x000a, 0, 10, 0x0100, FLAG_ZF | FLAG_PF},
		{"aad", helper_aad, 0x0603, 0, 10, 0x003f, FLAG_PF},
		{"aad", helper_aad, 0x1007, 0, 16, 0x0007, 0},
		{"salc", helper_salc, 0x1200, FLAG_CF, 0, 0x12ff, FLAG_CF},
		{"salc", helper_salc, 0x12ff, FLAG_ZF, 0, 0x1200, FLAG_ZF},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		harness_reset();
		h.vp.gpr[VP_RAX] = 0xabcd0000 | cases[i].ax;
		vp_set_arith_flags(&h.vp, cases[i].flags);
		assert_done(cases[i].helper(&h.vp, (struct cpu_args){0}, cases[i].imm));
		if (h.vp.gpr[VP_RAX] != (0xabcd0000 | cases[i].want_ax) ||
		    vp_arith_flags(&h.vp) != cases[i].want_flags)
			fail_msg("%s %#x: %#lx, flags %#x", cases[i].name, cases[i].ax,
				 h.vp.gpr[VP_RAX], vp_arith_flags(&h.vp));
	}
}

static void aam_by_zero_is_a_divide_error(void **state)
{
	harness_reset();
	h.vp.gpr[VP_RAX] = 0x1234;
	assert_raised(helper_aam(&h.vp, (struct cpu_args){0}, 0), VEC_DE);
	assert_int_equal(h.vp.gpr[VP_RAX], 0x1234);
}

/* --- time --- */

static void the_time_stamp_is_the_hosts_plus_the_offset(void **state)
{
	uint64_t low, tsc, high;

	harness_reset();
	h.vp.tsc_offset = 1ull << 40;
	h.vp.tsc_aux = 0x1005;
	low = host_rdtsc() + h.vp.tsc_offset;
	assert_done(helper_rdtscp(&h.vp, (struct cpu_args){0}, 0));
	tsc = h.vp.gpr[VP_RAX] | h.vp.gpr[VP_RDX] << 32;
	high = host_rdtsc() + h.vp.tsc_offset;
	assert_true(tsc >= low && tsc <= high);
	assert_int_equal(h.vp.gpr[VP_RCX], 0x1005);
	assert_done(helper_rdpid(&h.vp, (struct cpu_args){.rm = VP_R9}, 0));
	assert_int_equal(h.vp.gpr[VP_R9], 0x1005);
}

static void tsd_hides_the_time_from_users_only(void **state)
{
	harness_reset();
	h.vp.cr4 |= CR4_TSD;
	assert_done(helper_rdtsc(&h.vp, (struct cpu_args){0}, 0));
	harness_cpl(3);
	assert_gp(helper_rdtsc(&h.vp, (struct cpu_args){0}, 0));
	assert_gp(helper_rdtscp(&h.vp, (struct cpu_args){0}, 0));
	h.vp.cr4 &= ~CR4_TSD;
	assert_done(helper_rdtsc(&h.vp, (struct cpu_args){0}, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(popf_changes_what_privilege_allows),
		cmocka_unit_test(pushf_hides_vm_and_rf),
		cmocka_unit_test(a_fault_leaves_flags_and_stack_pointer_alone),
		cmocka_unit_test(popa_undoes_pusha_but_for_sp),
		cmocka_unit_test(pusha_stores_edi_lowest_and_the_old_sp),
		cmocka_unit_test(enter_builds_a_frame_with_its_display),
		cmocka_unit_test(bound_compares_signed_and_inclusive),
		cmocka_unit_test(xlat_adds_al_to_bx),
		cmocka_unit_test(decimal_adjustments_follow_the_manual),
		cmocka_unit_test(aam_by_zero_is_a_divide_error),
		cmocka_unit_test(the_time_stamp_is_the_hosts_plus_the_offset),
		cmocka_unit_test(tsd_hides_the_time_from_users_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
