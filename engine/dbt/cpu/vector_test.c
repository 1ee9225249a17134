/*
 * vector_test.c - XSAVE and XRSTOR on the host's own registers, masked moves, gathers
 *
 * Between an XRSTOR and the XSAVE that looks at its effect no other code of the test runs
 * (restore_and_save()), and the test's own vector state is put back after it. Sanitizers add code
 * of their own there, which uses vector registers: then the values are not looked at.
 */
#include "cpuid_lookup.h"
#include "test/harness.h"

#define AREA	   (HARNESS_BASE + 0x1000)
#define AREA2	   (HARNESS_BASE + 0x8000)
#define AREA_BYTES 832u
#define XMM_OFFSET 160u
#define AVX_OFFSET 576u

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

struct image {
	uint8_t legacy[512];
	uint64_t xstate_bv, xcomp_bv, reserved[6];
	uint8_t avx[256];
} __attribute__((aligned(64)));

static const struct cpu_args wide = {.op_bytes = 8, .address_bytes = 8, .flags = CPU_ARG_MEM};

static void reset(void)
{
	harness_reset();
	h.vp.xcr0 = cpu_xcr0_supported();
}

static void set_mask(uint64_t mask)
{
	h.vp.gpr[VP_RAX] = (uint32_t)mask;
	h.vp.gpr[VP_RDX] = mask >> 32;
}

/* A state whose registers hold recognizable bytes. */
static struct image pattern_image(uint8_t salt)
{
	struct image image = {.xstate_bv = h.vp.xcr0};
	uint16_t fcw = 0x37f;
	uint32_t mxcsr = 0x1fa0; /* default, and the precision flag */

	memcpy(image.legacy, &fcw, 2);
	memcpy(image.legacy + 24, &mxcsr, 4);
	for (unsigned int i = 0; i < 256; i++) {
		image.legacy[XMM_OFFSET + i] = salt + i;
		image.avx[i] = salt ^ i ^ 0x80;
	}
	if (!(h.vp.xcr0 & XCR0_AVX))
		memset(image.avx, 0, sizeof(image.avx));
	return image;
}

/* XRSTOR from @from, then @save_helper to @to, with this process's own state kept. */
static __attribute__((noinline)) void restore_and_save(uint64_t from, cpu_helper *save_helper,
						       uint64_t to, enum cpu_result results[2])
{
	static uint8_t own[16384] __attribute__((aligned(64)));

	__asm__ volatile("xsave64 %0" : "+m"(own) : "a"(-1), "d"(-1) : "memory");
	results[0] = helper_xrstor(&h.vp, wide, from);
	results[1] = save_helper(&h.vp, wide, to);
	__asm__ volatile("xrstor64 %0" : : "m"(own), "a"(-1), "d"(-1) : "memory");
}

static void assert_registers_equal(const struct image *a, const struct image *b)
{
	assert_memory_equal(a->legacy + XMM_OFFSET, b->legacy + XMM_OFFSET, 256);
	if (h.vp.xcr0 & XCR0_AVX)
		assert_memory_equal(a->avx, b->avx, 256);
}

/* --- XSAVE and XRSTOR --- */

static void what_xrstor_loads_xsave_stores_wherever_the_area_is(void **state)
{
	static const struct {
		uint64_t from, to;
		enum page_kind kind;
	} cases[] = {
		{AREA, AREA2, PAGE_NORMAL},
		{AREA + 0xfc0, AREA2 + 0xd00, PAGE_NORMAL}, /* across pages */
		{AREA, AREA2, PAGE_INDIRECT},
		{AREA + 0xe40, AREA2 + 0xe40, PAGE_INDIRECT},
	};
	cpu_helper *const savers[] = {helper_xsave, helper_xsavec};

	if (SANITIZED)
		skip();
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		struct image image, saved;
		enum cpu_result results[2];

		reset();
		if (i % 2 && !cpuid_has(&h.part, 0xd, CPUID_EAX, 1))
			continue;
		for (unsigned int page = 0; page < HARNESS_PAGES; page++)
			h.kind[page] = cases[i / 2].kind;
		image = pattern_image(3 * i + 1);
		harness_put(cases[i / 2].from, &image, AREA_BYTES);
		set_mask(~0ull);
		restore_and_save(cases[i / 2].from, savers[i % 2], cases[i / 2].to, results);
		assert_done(results[0]);
		assert_done(results[1]);
		harness_get(cases[i / 2].to, &saved, AREA_BYTES);
		assert_registers_equal(&saved, &image);
		assert_int_equal(saved.xstate_bv & 6 & ~h.vp.xcr0, 0);
		assert_int_equal(saved.xcomp_bv, i % 2 ? BIT(63) | h.vp.xcr0 : 0);
		assert_memory_equal(saved.legacy + 24, image.legacy + 24, 4);
	}
}

static void xsave_leaves_what_was_not_requested(void **state)
{
	static const uint64_t places[] = {AREA2, AREA2 + 0xe00};

	if (SANITIZED)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		struct image image, before, saved;
		enum cpu_result results[2];

		reset();
		image = pattern_image(0x40);
		harness_put(AREA, &image, AREA_BYTES);
		memset(&before, 0xcc, sizeof(before));
		before.xstate_bv = 4;
		harness_put(places[i], &before, AREA_BYTES);
		set_mask(XCR0_SSE);
		restore_and_save(AREA, helper_xsave, places[i], results);
		assert_done(results[1]);
		harness_get(places[i], &saved, AREA_BYTES);
		assert_memory_equal(saved.legacy, before.legacy, 24); /* x87 */
		assert_memory_equal(saved.legacy + XMM_OFFSET, image.legacy + XMM_OFFSET, 256);
		assert_memory_equal(saved.avx, before.avx, 256);
		assert_int_equal(saved.xstate_bv, 4 | XCR0_SSE);
	}
}

static void xrstor_refuses_bad_headers(void **state)
{
	static const struct {
		const char *what;
		uint64_t xcr0, xstate_bv, xcomp_bv, reserved0, reserved5;
		uint32_t mxcsr;
		uint64_t mask;
		uint8_t vector;
	} cases[] = {
		{"good", 7, 7, 0, 0, 0, 0x1f80, 7, VEC_NONE},
		{"all in initial state", 7, 0, 0, 0, 0, 0x1f80, 7, VEC_NONE},
		{"standard form ignores the last bytes", 7, 7, 0, 0, 1, 0x1f80, 7, VEC_NONE},
		{"XSTATE_BV beyond XCR0", 3, 7, 0, 0, 0, 0x1f80, 7, VEC_GP},
		{"XSTATE_BV bit 63", 7, BIT(63), 0, 0, 0, 0x1f80, 7, VEC_GP},
		{"AVX-512 state", 7, 0xe7, 0, 0, 0, 0x1f80, 7, VEC_GP},
		{"XCOMP_BV without bit 63", 7, 7, 7, 0, 0, 0x1f80, 7, VEC_GP},
		{"reserved byte 16", 7, 7, 0, 1, 0, 0x1f80, 7, VEC_GP},
		{"compacted", 7, 7, BIT(63) | 7, 0, 0, 0x1f80, 7, VEC_NONE},
		{"compacted, less saved than named", 7, 2, BIT(63) | 7, 0, 0, 0x1f80, 7, VEC_NONE},
		{"compacted, more saved than named", 7, 7, BIT(63) | 3, 0, 0, 0x1f80, 7, VEC_GP},
		{"compacted, XSTATE_BV bit 63", 7, BIT(63) | 7, BIT(63) | 7, 0, 0, 0x1f80, 7,
		 VEC_GP},
		{"compacted, beyond XCR0", 3, 3, BIT(63) | 7, 0, 0, 0x1f80, 7, VEC_GP},
		{"compacted, last reserved bytes", 7, 7, BIT(63) | 7, 0, 1, 0x1f80, 7, VEC_GP},
		{"MXCSR reserved bit", 7, 7, 0, 0, 0, 0x80001f80, 7, VEC_GP},
		{"MXCSR is loaded for AVX alone", 7, 7, 0, 0, 0, 0x40001f80, 4, VEC_GP},
		{"... even in initial state", 7, 0, 0, 0, 0, 0x00101f80, 2, VEC_GP},
		{"... but not for x87", 7, 7, 0, 0, 0, 0x80001f80, 1, VEC_NONE},
		{"compacted: not in initial state", 7, 4, BIT(63) | 7, 0, 0, 0x80001f80, 7,
		 VEC_NONE},
		{"compacted: MXCSR reserved bit", 7, 2, BIT(63) | 7, 0, 0, 0x80001f80, 7, VEC_GP},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image image;
		enum cpu_result results[2];

		reset();
		if (h.vp.xcr0 != 7)
			skip();
		image = pattern_image(i);
		h.vp.xcr0 = cases[i].xcr0;
		image.xstate_bv = cases[i].xstate_bv;
		image.xcomp_bv = cases[i].xcomp_bv;
		image.reserved[0] = cases[i].reserved0;
		image.reserved[5] = cases[i].reserved5;
		memcpy(image.legacy + 24, &cases[i].mxcsr, 4);
		harness_put(AREA, &image, AREA_BYTES);
		set_mask(cases[i].mask);
		restore_and_save(AREA, helper_xsave, AREA2, results);
		if (h.vp.exception.vector != cases[i].vector)
			fail_msg("%s: vector %u", cases[i].what, h.vp.exception.vector);
		assert_int_equal(results[0], cases[i].vector == VEC_NONE ? CPU_DONE : CPU_RESTART);
	}
}

static void xsave_and_xrstor_check_the_processor_first(void **state)
{
	cpu_helper *const helpers[] = {helper_xsave, helper_xrstor};

	for (unsigned int i = 0; i < ARRAY_SIZE(helpers); i++) {
		reset();
		set_mask(0);
		for (unsigned int offset = 1; offset < 64; offset *= 2)
			assert_gp(helpers[i](&h.vp, wide, AREA + offset));
		h.vp.cr0 |= CR0_TS;
		assert_raised(helpers[i](&h.vp, wide, AREA), VEC_NM);
		h.vp.cr4 &= ~CR4_OSXSAVE;
		assert_raised(helpers[i](&h.vp, wide, AREA), VEC_UD);
	}
}

static void faults_are_those_of_the_page_that_is_missing(void **state)
{
	struct image image;

	reset();
	image = pattern_image(9);
	harness_put(AREA + 0xe40, &image, AREA_BYTES);
	set_mask(7);
	h.kind[2] = PAGE_ABSENT;
	assert_raised(helper_xrstor(&h.vp, wide, AREA + 0xe40), VEC_PF);
	assert_int_equal(h.vp.exception.cr2, AREA + 0x1000);
	h.kind[2] = PAGE_READ_ONLY;
	assert_raised(helper_xsave(&h.vp, wide, AREA + 0xe40), VEC_PF);
	assert_int_equal(h.vp.exception.cr2, AREA + 0x1000);
}

/* --- masked moves and gathers: on vp->xsave --- */

static struct image *saved(void)
{
	return (struct image *)h.vp.xsave;
}

static void set_ymm(unsigned int reg, const void *value)
{
	memcpy(saved()->legacy + XMM_OFFSET + 16 * reg, value, 16);
	memcpy(saved()->avx + 16 * reg, (const uint8_t *)value + 16, 16);
	saved()->xstate_bv |= 6;
}
static void assert_ymm(unsigned int reg, const void *value)
{
	assert_memory_equal(saved()->legacy + XMM_OFFSET + 16 * reg, value, 16);
	assert_memory_equal(saved()->avx + 16 * reg, (const uint8_t *)value + 16, 16);
}

/* Runs a helper of this kind as the run loop would; returns whether the instruction completed. */
static bool run_heavy(cpu_helper *helper)
{
	uint64_t rip = h.vp.rip;

	h.insn.length = 6;
	assert_int_equal(helper(&h.vp, wide, 0), CPU_RESTART);
	if (h.vp.exception.vector != VEC_NONE)
		return false;
	assert_int_equal(h.vp.leave, LEAVE_HEAVY);
	h.vp.leave = LEAVE_NONE;
	h.vp.heavy(&h.vp);
	assert_int_equal(h.vp.rip, h.vp.exception.vector == VEC_NONE ? rip + 6 : rip);
	return h.vp.exception.vector == VEC_NONE;
}

static void vex_insn(uint8_t opcode, bool w, uint8_t l)
{
	h.vp.xcr0 = 7;
	h.insn = (struct insn){.vex = true,
			       .map = 2,
			       .opcode = opcode,
			       .w = w,
			       .vex_l = l,
			       .mem = true,
			       .reg = 1,
			       .vvvv = 2,
			       .base = VP_RBX,
			       .index = NO_REG,
			       .scale = 1,
			       .address_bytes = 8,
			       .seg = VP_DS};
}

static void vmaskmov_loads_the_masked_elements_and_zeros(void **state)
{
	const uint32_t mask[8] = {0x80000000, 0x7fffffff, ~0u, 0, 0x80000000, 0, 0, ~0u};
	const uint32_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	const uint32_t want256[8] = {1, 0, 3, 0, 5, 0, 0, 8}, want128[8] = {1, 0, 3, 0};
	const uint64_t want_quad[4] = {0, 0, 0, 0x800000007}; /* by the mask's bits 63 */

	reset();
	harness_put(AREA, data, sizeof(data));
	set_ymm(2, mask);
	h.vp.gpr[VP_RBX] = AREA;
	vex_insn(0x2c, false, 1);
	assert_true(run_heavy(helper_vmaskmov));
	assert_ymm(1, want256);
	vex_insn(0x8c, false, 0);
	assert_true(run_heavy(helper_vmaskmov));
	assert_ymm(1, want128);
	vex_insn(0x8c, true, 1);
	assert_true(run_heavy(helper_vmaskmov));
	assert_ymm(1, want_quad);
}

static void vmaskmov_faults_only_for_masked_elements(void **state)
{
	uint32_t mask[8] = {~0u, ~0u}, value[8] = {10, 11, 12, 13, 14, 15, 16, 17}, memory[2];

	reset();
	h.kind[2] = PAGE_ABSENT; /* from element 2 on */
	h.vp.gpr[VP_RBX] = AREA + PAGE_BYTES - 8;
	set_ymm(1, value);
	set_ymm(2, mask);
	vex_insn(0x2e, false, 1);
	assert_true(run_heavy(helper_vmaskmov));
	harness_get(AREA + PAGE_BYTES - 8, memory, 8);
	assert_int_equal(memory[0], 10);
	assert_int_equal(memory[1], 11);
	mask[5] = ~0u;
	value[0] = 99;
	set_ymm(1, value);
	set_ymm(2, mask);
	assert_false(run_heavy(helper_vmaskmov));
	harness_get(AREA + PAGE_BYTES - 8, memory, 8);
	assert_int_equal(memory[0], 10); /* nothing is stored when an element faults */
	assert_int_equal(h.vp.exception.vector, VEC_PF);
	assert_int_equal(h.vp.exception.cr2, AREA + PAGE_BYTES + 12);
}

/* memory: dword i holds 0x10 + i; so a quadword at dword i holds both. */
static void gathers_of_every_shape(void **state)
{
	static const uint32_t index32[8] = {5, -1u, 16, 0, 32, 7, 48, 1};
	static const uint64_t index64[4] = {3, -2ull, 32, 48};
	static const struct {
		uint8_t opcode;
		bool w;
		uint8_t l;
		unsigned int count;
	} cases[] = {
		{0x90, false, 0, 4}, {0x90, false, 1, 8}, {0x92, true, 0, 2}, {0x90, true, 1, 4},
		{0x91, false, 0, 2}, {0x93, false, 1, 4}, {0x93, true, 0, 2}, {0x91, true, 1, 4},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		bool qwords = cases[i].opcode & 1;
		uint8_t ones[32];
		uint32_t want[8] = {0};

		reset();
		memset(ones, 0xff, sizeof(ones));
		for (uint32_t d = 0; d < 128; d++)
			harness_put(AREA + 4 * d, &(uint32_t){0x10 + d}, 4);
		for (unsigned int e = 0; e < cases[i].count; e++) {
			uint32_t dword = 0x10 + 8 + (qwords ? (uint32_t)index64[e] : index32[e]);

			want[cases[i].w ? 2 * e : e] = dword;
			if (cases[i].w)
				want[2 * e + 1] = dword + 1;
		}
		set_ymm(1, ones);
		set_ymm(2, ones);
		set_ymm(4, qwords ? (const void *)index64 : index32);
		h.vp.gpr[VP_RBX] = AREA + 0x100;
		vex_insn(cases[i].opcode, cases[i].w, cases[i].l);
		h.insn.index = 4;
		h.insn.scale = 4;
		h.insn.disp = -0x100 + 4 * 8;
		assert_true(run_heavy(helper_gather));
		assert_ymm(1, want);
		assert_ymm(2, (uint64_t[4]){0});
	}
}

static void a_gather_that_faults_keeps_what_it_has(void **state)
{
	const uint32_t index[8] = {0, 1, 1024, 2},
		       ones[8] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
	const uint32_t data[4] = {0xa, 0xb, 0xc, 0xd}, old[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	reset();
	harness_put(AREA, data, sizeof(data));
	h.kind[2] = PAGE_ABSENT;
	set_ymm(1, old);
	set_ymm(2, ones);
	set_ymm(4, index);
	h.vp.gpr[VP_RBX] = AREA;
	vex_insn(0x90, false, 0);
	h.insn.index = 4;
	h.insn.scale = 4;
	assert_false(run_heavy(helper_gather));
	assert_int_equal(h.vp.exception.cr2, AREA + PAGE_BYTES);
	assert_ymm(1, (uint32_t[8]){0xa, 0xb, 3, 4, 5, 6, 7, 8});
	assert_ymm(2, (uint32_t[8]){0, 0, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u});
	h.kind[2] = PAGE_NORMAL;
	h.vp.exception.vector = VEC_NONE;
	assert_true(run_heavy(helper_gather));
	assert_ymm(1, (uint32_t[8]){0xa, 0xb, 0, 0xc});
	assert_ymm(2, (uint32_t[8]){0});
}

static void registers_in_initial_state_are_zeros(void **state)
{
	reset();
	memset(saved()->legacy, 0xee, sizeof(saved()->legacy)); /* stale: XSTATE_BV is 0 */
	memset(saved()->avx, 0xee, sizeof(saved()->avx));
	h.kind[1] = PAGE_ABSENT;
	h.vp.gpr[VP_RBX] = AREA;
	vex_insn(0x2c, false, 1);
	assert_true(run_heavy(helper_vmaskmov));
	assert_ymm(1, (uint64_t[4]){0});
	assert_ymm(9, (uint64_t[4]){0});
	assert_int_equal(saved()->xstate_bv, 6);
}

static void maskmovdqu_stores_the_masked_bytes(void **state)
{
	uint8_t value[32], mask[32], before[16], after[16];

	reset();
	for (unsigned int i = 0; i < 32; i++) {
		value[i] = i + 1;
		mask[i] = i % 3 ? 0x7f : 0x80;
	}
	memset(before, 0xee, sizeof(before));
	harness_put(AREA - 8, before, 16);
	set_ymm(3, value);
	set_ymm(5, mask);
	h.vp.gpr[VP_RDI] = AREA - 8; /* across pages */
	h.insn = (struct insn){.map = 1,
			       .opcode = 0xf7,
			       .emit_66 = true,
			       .reg = 3,
			       .rm = 5,
			       .mod = 3,
			       .address_bytes = 8,
			       .seg = VP_DS};
	assert_true(run_heavy(helper_maskmov));
	harness_get(AREA - 8, after, 16);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(after[i], i % 3 ? 0xee : i + 1);
}

static void maskmovq_takes_mmx_registers_whatever_the_top_is(void **state)
{
	uint16_t fsw = 3 << 11; /* MM0 is register 0: slot (0 - 3) & 7 */
	uint64_t value = 0x1122334455667788, mask = 0x80008000800080ff, after;

	reset();
	saved()->xstate_bv = 1;
	memcpy(saved()->legacy + 2, &fsw, 2);
	memcpy(saved()->legacy + 32 + 16 * 5, &value, 8); /* MM0 */
	memcpy(saved()->legacy + 32 + 16 * 6, &mask, 8);  /* MM1 */
	h.vp.gpr[VP_RDI] = AREA;
	h.insn = (struct insn){.map = 1,
			       .opcode = 0xf7,
			       .reg = 0,
			       .rm = 1,
			       .mod = 3,
			       .address_bytes = 8,
			       .seg = VP_DS};
	assert_true(run_heavy(helper_maskmov));
	harness_get(AREA, &after, 8);
	assert_int_equal(after, 0x1100330055007788);
	assert_int_equal(saved()->legacy[3] & 0x38, 0);
	assert_int_equal(saved()->legacy[4], 0xff);
	assert_memory_equal(saved()->legacy + 32, &value, 8);
}

static void code_that_changed_meanwhile_is_undefined(void **state)
{
	reset();
	vex_insn(0x58, false, 0);
	assert_false(run_heavy(helper_gather));
	assert_int_equal(h.vp.exception.vector, VEC_UD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_xrstor_loads_xsave_stores_wherever_the_area_is),
		cmocka_unit_test(xsave_leaves_what_was_not_requested),
		cmocka_unit_test(xrstor_refuses_bad_headers),
		cmocka_unit_test(xsave_and_xrstor_check_the_processor_first),
		cmocka_unit_test(faults_are_those_of_the_page_that_is_missing),
		cmocka_unit_test(vmaskmov_loads_the_masked_elements_and_zeros),
		cmocka_unit_test(vmaskmov_faults_only_for_masked_elements),
		cmocka_unit_test(gathers_of_every_shape),
		cmocka_unit_test(a_gather_that_faults_keeps_what_it_has),
		cmocka_unit_test(registers_in_initial_state_are_zeros),
		cmocka_unit_test(maskmovdqu_stores_the_masked_bytes),
		cmocka_unit_test(maskmovq_takes_mmx_registers_whatever_the_top_is),
		cmocka_unit_test(code_that_changed_meanwhile_is_undefined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
