/*
 * x87_test.c - x87 images: nothing of the host's addresses in them, what was loaded comes back
 *
 * The helpers work on the thread's own x87 state, which nothing else here uses.
 */
#include "test/harness.h"
#include "x87.h"

#define AREA	   (HARNESS_BASE + 0x1000)
#define AREA2	   (HARNESS_BASE + 0x3000)
#define PAGE_TWO   (HARNESS_BASE + 0x2000)
#define ENV_IP	   12 /* in the 28-byte format */
#define ENV_OPCODE 18
#define ENV_DP	   20

static const struct cpu_args env32 = {.op_bytes = 4, .address_bytes = 8, .flags = CPU_ARG_MEM};
static const struct cpu_args env16 = {.op_bytes = 2, .address_bytes = 8, .flags = CPU_ARG_MEM};
static const struct cpu_args wide = {.op_bytes = 8, .address_bytes = 8, .flags = CPU_ARG_MEM};

static uint32_t word_at(uint64_t va)
{
	uint32_t value;

	harness_get(va, &value, 4);
	return value;
}

/* What translated code does: an instruction at a host address, with an operand at another. */
static void run_x87_instruction(void)
{
	static volatile double operand = 1.5;

	__asm__ volatile("fldl %0; fstp %%st(0)" : : "m"(operand));
}

static void reset(void)
{
	harness_reset();
	__asm__ volatile("fninit");
}

static void no_image_tells_where_an_instruction_ran(void **state)
{
	static const struct {
		cpu_helper *store;
		const struct cpu_args *args;
		unsigned int first, last; /* bytes that would hold pointers */
	} cases[] = {
		{helper_fnstenv, &env32, 12, 26}, {helper_fnstenv, &env16, 6, 14},
		{helper_fnsave, &env32, 12, 26},  {helper_fnsave, &env16, 6, 14},
		{helper_fxsave, &env32, 6, 24},	  {helper_fxsave, &wide, 6, 24},
		{helper_xsave, &wide, 6, 24},	  {helper_xsave, &env32, 6, 24},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t image[512], zeros[32] = {0};

		reset();
		h.vp.xcr0 = 3;
		h.vp.cr4 |= CR4_OSXSAVE;
		h.vp.gpr[VP_RAX] = 3;
		h.vp.gpr[VP_RDX] = 0;
		run_x87_instruction();
		assert_done(cases[i].store(&h.vp, *cases[i].args, AREA));
		harness_get(AREA, image, sizeof(image));
		assert_memory_equal(image + cases[i].first, zeros, cases[i].last - cases[i].first);
	}
}

/* Pointers as FLDENV takes them: protected and real mode, 28 and 14 bytes. */
static void pointers_that_were_loaded_come_back_until_an_instruction_runs(void **state)
{
	static const struct {
		bool real;
		const struct cpu_args *args;
		uint8_t at, bytes;
		uint8_t pointers[16];
	} cases[] = {
		{false,
		 &env32,
		 12,
		 14,
		 {0x78, 0x56, 0x34, 0x12, 0x23, 0, 0xd9, 1, 0xef, 0xbe, 0xad, 0xde, 0x2b, 0}},
		{false, &env16, 6, 8, {0x78, 0x56, 0x23, 0, 0xef, 0xbe, 0x2b, 0}},
		{true,
		 &env32,
		 12,
		 16,
		 {0x78, 0x56, 0, 0, 0xd9, 0x41, 0x23, 0, 0xef, 0xbe, 0, 0, 0, 0xd0, 0xea, 0x0d}},
		{true, &env16, 6, 8, {0x78, 0x56, 0xd9, 0xf1, 0xef, 0xbe, 0, 0xd0}},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t image[28] = {0x7f, 0x03}, saved[28];

		reset();
		if (cases[i].real)
			harness_real();
		memcpy(image + cases[i].at, cases[i].pointers, cases[i].bytes);
		harness_put(AREA, image, sizeof(image));
		assert_done(helper_fldenv(&h.vp, *cases[i].args, AREA));
		assert_done(helper_fnstenv(&h.vp, *cases[i].args, AREA2));
		harness_get(AREA2, saved, sizeof(saved));
		assert_memory_equal(saved + cases[i].at, cases[i].pointers, cases[i].bytes);
		run_x87_instruction();
		assert_done(helper_fnstenv(&h.vp, *cases[i].args, AREA2));
		assert_int_equal(word_at(AREA2 + cases[i].at), 0);
	}
}

static void a_guest_that_loads_the_mark_itself_gets_just_that(void **state)
{
	uint8_t image[28] = {0x7f, 0x03, [ENV_IP] = X87_LOADED};

	reset();
	harness_put(AREA, image, sizeof(image));
	assert_done(helper_fldenv(&h.vp, env32, AREA));
	assert_done(helper_fnstenv(&h.vp, env32, AREA2));
	assert_int_equal(word_at(AREA2 + ENV_IP), X87_LOADED);
	assert_int_equal(word_at(AREA2 + ENV_DP), 0);
	__asm__ volatile("fninit");
	assert_done(helper_fnstenv(&h.vp, env32, AREA2));
	assert_int_equal(word_at(AREA2 + ENV_IP), 0);
}

static void registers_survive_fnsave_and_frstor(void **state)
{
	const struct cpu_args *const forms[] = {&env32, &env16};
	double value = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(forms); i++) {
		reset();
		__asm__ volatile("fldpi");
		assert_done(helper_fnsave(&h.vp, *forms[i], PAGE_TWO - 50)); /* across pages */
		assert_done(helper_frstor(&h.vp, *forms[i], PAGE_TWO - 50));
		__asm__ volatile("fstpl %0" : "=m"(value));
		assert_true(value > 3.14159 && value < 3.1416);
	}
}

static void a_store_that_faults_changes_nothing(void **state)
{
	cpu_helper *const stores[] = {helper_fnstenv, helper_fnsave, helper_fxsave};
	uint16_t before = 0x300, after; /* nothing masked */

	for (unsigned int i = 0; i < ARRAY_SIZE(stores); i++) {
		reset();
		h.kind[2] = PAGE_ABSENT;
		__asm__ volatile("fldcw %0" : : "m"(before));
		assert_raised(stores[i](&h.vp, env32, PAGE_TWO), VEC_PF);
		__asm__ volatile("fnstcw %0; fninit" : "=m"(after));
		assert_int_equal(after & ~0x40, before);
	}
}

static void a_pending_error_comes_before_a_load(void **state)
{
	cpu_helper *const loads[] = {helper_fldenv, helper_frstor};
	uint8_t image[28] = {0x00, 0x03, 0, 0, 0x81}; /* invalid operation, not masked */

	for (unsigned int i = 0; i < ARRAY_SIZE(loads); i++) {
		reset();
		harness_put(AREA, image, sizeof(image));
		assert_done(helper_fldenv(&h.vp, env32, AREA));
		assert_raised(loads[i](&h.vp, env32, AREA2), VEC_MF);
		__asm__ volatile("fnclex; fninit");
	}
}

static void fxrstor_refuses_what_it_must(void **state)
{
	static const struct {
		uint32_t mxcsr, offset;
		uint8_t vector;
	} cases[] = {{0x1f80, 0, VEC_NONE}, {0x80001f80, 0, VEC_GP}, {0x1f80, 8, VEC_GP}};
	uint8_t image[512] = {0x7f, 0x03};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		enum cpu_result result;

		reset();
		memcpy(image + 24, &cases[i].mxcsr, 4);
		harness_put(AREA, image, sizeof(image));
		result = helper_fxrstor(&h.vp, wide, AREA + cases[i].offset);
		if (cases[i].vector == VEC_NONE)
			assert_done(result);
		else
			assert_raised(result, cases[i].vector);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_image_tells_where_an_instruction_ran),
		cmocka_unit_test(pointers_that_were_loaded_come_back_until_an_instruction_runs),
		cmocka_unit_test(a_guest_that_loads_the_mark_itself_gets_just_that),
		cmocka_unit_test(registers_survive_fnsave_and_frstor),
		cmocka_unit_test(a_store_that_faults_changes_nothing),
		cmocka_unit_test(a_pending_error_comes_before_a_load),
		cmocka_unit_test(fxrstor_refuses_what_it_must),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
