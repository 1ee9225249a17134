/*
 * string_test.c - string instructions against a reference that goes byte by byte
 *
 * The reference does one element at a time by the manual's pseudo-code. Random cases put pages
 * without direct access, read-only and absent ones in the way, let source and destination overlap,
 * and go in both directions; registers, flags, memory and the exception must come out the same.
 */
#include "test/harness.h"

enum { MOVS, CMPS, STOS, LODS, SCAS, STRING_OPS };
static cpu_helper *const helpers[] = {helper_movs, helper_cmps, helper_stos, helper_lods,
				      helper_scas};

struct outcome {
	uint64_t rax, rcx, rsi, rdi;
	uint32_t flags, vector; /* no padding: compared as bytes */
	uint64_t cr2;
};

/* --- the reference --- */

static struct outcome r;
static uint8_t shadow[HARNESS_PAGES * PAGE_BYTES];

static int ref_check(uint64_t va, uint32_t bytes, bool write)
{
	for (uint32_t i = 0; i < bytes; i++) {
		uint64_t page = (va + i - HARNESS_BASE) / PAGE_BYTES;
		enum page_kind kind = page < HARNESS_PAGES ? h.kind[page] : PAGE_ABSENT;

		if (kind == PAGE_ABSENT || (write && kind == PAGE_READ_ONLY)) {
			r.vector = VEC_PF;
			r.cr2 = va + i;
			return -1;
		}
	}
	return 0;
}

static int ref_read(uint64_t va, uint32_t bytes, uint64_t *value)
{
	*value = 0;
	if (ref_check(va, bytes, false) < 0)
		return -1;
	memcpy(value, &shadow[va - HARNESS_BASE], bytes);
	return 0;
}

static int ref_write(uint64_t va, uint32_t bytes, uint64_t value)
{
	if (ref_check(va, bytes, true) < 0)
		return -1;
	memcpy(&shadow[va - HARNESS_BASE], &value, bytes);
	return 0;
}

static uint32_t ref_compare(uint64_t a, uint64_t b, uint32_t bytes)
{
	unsigned int top = 8 * bytes - 1;
	uint64_t mask = bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
	uint64_t d = (a - b) & mask;
	uint32_t flags = 0;

	flags |= a < b ? FLAG_CF : 0;
	flags |= d ? 0 : FLAG_ZF;
	flags |= d >> top & 1 ? FLAG_SF : 0;
	flags |= __builtin_popcount(d & 0xff) & 1 ? 0 : FLAG_PF;
	flags |= (a ^ b ^ d) & 0x10 ? FLAG_AF : 0;
	flags |= ((a ^ b) & (a ^ d)) >> top & 1 ? FLAG_OF : 0;
	return flags;
}

/* One element; -1: fault. */
static int ref_element(int op, uint32_t bytes)
{
	uint64_t mask = bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
	uint64_t si = r.rax & mask, di;

	/* When both operands of CMPS fault, processors report the second one. */
	if ((op == CMPS || op == SCAS) && ref_read(r.rdi, bytes, &di) < 0)
		return -1;
	if ((op == MOVS || op == CMPS || op == LODS) && ref_read(r.rsi, bytes, &si) < 0)
		return -1;
	if ((op == MOVS || op == STOS) && ref_write(r.rdi, bytes, si) < 0)
		return -1;
	if (op == CMPS || op == SCAS)
		r.flags = ref_compare(si, di, bytes);
	if (op == LODS)
		r.rax = bytes == 4 ? si : (r.rax & ~mask) | si;
	return 0;
}

static void reference(int op, uint32_t bytes, uint8_t prefix, bool down)
{
	uint64_t step = down ? -(uint64_t)bytes : bytes;

	while (!prefix || r.rcx) {
		if (ref_element(op, bytes) < 0)
			return;
		if (op == MOVS || op == CMPS || op == LODS)
			r.rsi += step;
		if (op != LODS)
			r.rdi += step;
		if (!prefix)
			return;
		r.rcx--;
		if ((op == CMPS || op == SCAS) && !(r.flags & FLAG_ZF) == (prefix == CPU_ARG_REP))
			return;
	}
}

/* --- random cases --- */

static uint64_t seed = 1;
static uint32_t next_random(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

/* Mostly equal bytes, so that comparisons run for a while. */
static void random_memory(void)
{
	for (unsigned int i = 0; i < sizeof(shadow); i++)
		shadow[i] = next_random(200) ? 0x55 : next_random(256);
	harness_put(HARNESS_BASE, shadow, sizeof(shadow));
	for (unsigned int i = 0; i < HARNESS_PAGES; i++) {
		uint32_t dice = next_random(10);

		h.kind[i] = dice == 0	? PAGE_ABSENT
			    : dice == 1 ? PAGE_READ_ONLY
			    : dice < 4	? PAGE_INDIRECT
					: PAGE_NORMAL;
	}
}

static void random_registers(void)
{
	uint64_t rdi = HARNESS_BASE + next_random(sizeof(shadow));

	h.vp.gpr[VP_RAX] = next_random(2) ? 0x5555555555555555 : seed;
	h.vp.gpr[VP_RCX] = next_random(4) ? next_random(40) : next_random(9000);
	h.vp.gpr[VP_RDI] = rdi;
	h.vp.gpr[VP_RSI] = next_random(2) ? rdi + next_random(64) - 32
					  : HARNESS_BASE + next_random(sizeof(shadow));
	h.vp.flag_df = next_random(3) == 0;
	vp_set_arith_flags(&h.vp, next_random(4096) & FLAGS_ARITH);
}

static void remember(struct outcome *o)
{
	o->rax = h.vp.gpr[VP_RAX];
	o->rcx = h.vp.gpr[VP_RCX];
	o->rsi = h.vp.gpr[VP_RSI];
	o->rdi = h.vp.gpr[VP_RDI];
	o->flags = vp_arith_flags(&h.vp);
	o->vector = h.vp.exception.vector;
	o->cr2 = h.vp.exception.vector == VEC_PF ? h.vp.exception.cr2 : 0;
}

/* Fills the inline TLB as translated code would have, for some of the directly accessible pages. */
static void random_tlb(void)
{
	for (unsigned int i = 0; i < HARNESS_PAGES; i++) {
		uint64_t va = HARNESS_BASE + i * PAGE_BYTES;
		struct tlb_entry *entry = &h.vp.tlb[TLB_KERNEL][(va >> 12) & (TLB_ENTRIES - 1)];

		entry->read_tag = entry->write_tag = TLB_NEVER(va >> 12 & (TLB_ENTRIES - 1));
		entry->host = (uintptr_t)harness_byte(va);
		if (h.kind[i] == PAGE_NORMAL && next_random(2))
			entry->read_tag = entry->write_tag = va;
		if (h.kind[i] == PAGE_READ_ONLY && next_random(2))
			entry->read_tag = va;
	}
}

static void any_string_instruction_does_what_the_manual_says(void **state)
{
	static uint8_t after[sizeof(shadow)];
	static const uint8_t prefixes[] = {0, CPU_ARG_REP, CPU_ARG_REPNE};
	struct outcome got;

	harness_reset();
	for (unsigned int i = 0; i < 20000; i++) {
		int op = next_random(STRING_OPS);
		struct cpu_args args = {.op_bytes = 1 << next_random(4),
					.address_bytes = 8,
					.flags = prefixes[next_random(3)],
					.seg = VP_DS};
		enum cpu_result result;

		if (i % 16 == 0)
			random_memory();
		random_tlb();
		random_registers();
		h.vp.exception.vector = VEC_NONE;
		remember(&r);
		reference(op, args.op_bytes, args.flags, h.vp.flag_df);
		result = helpers[op](&h.vp, args, 0);
		remember(&got);
		harness_get(HARNESS_BASE, after, sizeof(after));
		assert_int_equal(result, r.vector == VEC_NONE ? CPU_DONE : CPU_RESTART);
		assert_memory_equal(&got, &r, sizeof(r));
		if (memcmp(after, shadow, sizeof(after))) /* cmocka's own comparison is slow */
			assert_memory_equal(after, shadow, sizeof(after));
	}
}

/* --- single cases --- */

static void a_pending_exit_stops_rep_after_some_progress(void **state)
{
	struct cpu_args args = {.op_bytes = 1, .address_bytes = 8, .flags = CPU_ARG_REP};

	harness_reset();
	h.vp.exit_request = 1;
	h.vp.gpr[VP_RDI] = HARNESS_BASE;
	h.vp.gpr[VP_RCX] = 3 * PAGE_BYTES;
	for (unsigned int page = 1; page < 3; page++) {
		assert_int_equal(helper_stos(&h.vp, args, 0), CPU_RESTART);
		assert_int_equal(h.vp.gpr[VP_RDI], HARNESS_BASE + page * PAGE_BYTES);
		assert_int_equal(h.vp.gpr[VP_RCX], (3 - page) * PAGE_BYTES);
		assert_int_equal(h.vp.leave, LEAVE_NONE);
		assert_int_equal(h.vp.exception.vector, VEC_NONE);
	}
	assert_done(helper_stos(&h.vp, args, 0));
}

static void rep_with_count_zero_touches_nothing(void **state)
{
	struct cpu_args args = {.op_bytes = 8, .address_bytes = 4, .flags = CPU_ARG_REPNE};

	harness_reset();
	h.vp.gpr[VP_RCX] = 0x100000000; /* ECX is 0 */
	h.vp.gpr[VP_RDI] = 0xdead0000dead;
	vp_set_arith_flags(&h.vp, FLAG_CF | FLAG_OF);
	for (int op = 0; op < STRING_OPS; op++)
		assert_done(helpers[op](&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RDI], 0xdead0000dead);
	assert_int_equal(vp_arith_flags(&h.vp), FLAG_CF | FLAG_OF);
}

static void address_size_bounds_the_registers(void **state)
{
	static const struct {
		uint8_t address_bytes;
		uint64_t rdi, rcx, want_rdi, want_rcx;
	} cases[] = {
		{8, HARNESS_BASE, 2, HARNESS_BASE + 8, 0},
		{4, 0xffffffff00000000 + HARNESS_BASE, 0x700000002, HARNESS_BASE + 8, 0},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_args args = {.op_bytes = 4,
					.address_bytes = cases[i].address_bytes,
					.flags = CPU_ARG_REP};

		harness_reset();
		h.vp.gpr[VP_RDI] = cases[i].rdi;
		h.vp.gpr[VP_RCX] = cases[i].rcx;
		assert_done(helper_stos(&h.vp, args, 0));
		assert_int_equal(h.vp.gpr[VP_RDI], cases[i].want_rdi);
		assert_int_equal(h.vp.gpr[VP_RCX], cases[i].want_rcx);
	}
}

/* Base such that offset 0xffff is in the fake memory, and so is the wrapped offset 0. */
static void sixteen_bit_offsets_wrap_around(void **state)
{
	struct cpu_args args = {.op_bytes = 1, .address_bytes = 2, .flags = CPU_ARG_REP};
	uint8_t last, first;

	harness_reset();
	harness_real();
	h.vp.seg[VP_ES].base = HARNESS_BASE;
	h.vp.gpr[VP_RAX] = 0x77;
	h.vp.gpr[VP_RDI] = 0xabcd0000fffe;
	h.vp.gpr[VP_RCX] = 0x10003;
	assert_done(helper_stos(&h.vp, args, 0));
	harness_get(HARNESS_BASE + 0xffff, &last, 1);
	harness_get(HARNESS_BASE, &first, 1);
	assert_int_equal(last, 0x77);
	assert_int_equal(first, 0x77);
	assert_int_equal(h.vp.gpr[VP_RDI], 0xabcd00000001);
	assert_int_equal(h.vp.gpr[VP_RCX], 0x10000);
}

/* Going down from offset 1, the third byte is at offset 0xffff, not below the segment. */
static void sixteen_bit_offsets_wrap_around_downwards(void **state)
{
	struct cpu_args args = {.op_bytes = 1, .address_bytes = 2, .flags = CPU_ARG_REP};
	uint8_t last, below;

	harness_reset();
	harness_real();
	h.vp.seg[VP_ES].base =
		HARNESS_BASE + 0x800; /* not at a page's start: the page goes on below */
	h.vp.flag_df = 1;
	h.vp.gpr[VP_RAX] = 0x77;
	h.vp.gpr[VP_RDI] = 1;
	h.vp.gpr[VP_RCX] = 3;
	helper_stos(&h.vp, args, 0);
	harness_get(HARNESS_BASE + 0x7ff, &below, 1);
	assert_int_equal(below, 0);
	/* offset 0xffff is beyond the fake memory here: the fault proves where it went */
	assert_int_equal(h.vp.exception.vector, VEC_PF);
	assert_int_equal(h.vp.exception.cr2, HARNESS_BASE + 0x800 + 0xffff);
	assert_int_equal(h.vp.gpr[VP_RDI], 0xffff);
	assert_int_equal(h.vp.gpr[VP_RCX], 1);
	harness_get(HARNESS_BASE + 0x800, &last, 1);
	assert_int_equal(last, 0x77);
}

static void a_word_across_the_limit_faults_with_the_elements_before_it_done(void **state)
{
	struct cpu_args args = {.op_bytes = 2, .address_bytes = 2, .flags = CPU_ARG_REP};

	harness_reset();
	harness_real();
	h.vp.seg[VP_ES].base = HARNESS_BASE;
	h.vp.gpr[VP_RDI] = 0xfffb;
	h.vp.gpr[VP_RCX] = 5;
	assert_gp(helper_stos(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RDI], 0xffff);
	assert_int_equal(h.vp.gpr[VP_RCX], 3);
}

static void segments_are_checked_in_protected_mode(void **state)
{
	static const struct {
		const char *what;
		struct vp_segment es;
		uint32_t edi;
		uint8_t vector;
	} cases[] = {
		{"writable", {0, 0xffffffff, 0xc093, 8}, HARNESS_BASE, VEC_NONE},
		{"read-only", {0, 0xffffffff, 0xc091, 8}, HARNESS_BASE, VEC_GP},
		{"code", {0, 0xffffffff, 0xc09b, 8}, HARNESS_BASE, VEC_GP},
		{"null", {0, 0xffffffff, VP_SEG_UNUSABLE, 0}, HARNESS_BASE, VEC_GP},
		{"last byte", {HARNESS_BASE, 15, 0x93, 8}, 12, VEC_NONE},
		{"past the limit", {HARNESS_BASE, 15, 0x93, 8}, 13, VEC_GP},
		{"expand-down, inside", {HARNESS_BASE, 15, 0x97, 8}, 16, VEC_NONE},
		{"expand-down, below", {HARNESS_BASE, 15, 0x97, 8}, 15, VEC_GP},
		{"expand-down, above 64K", {0, 15, 0x97, 8}, 0x10000, VEC_GP},
		{"expand-down, big", {0, 15, 0x4097, 8}, 0x10000, VEC_NONE},
		{"wraps at 4G", {0xffffffff, 0xffffffff, 0xc093, 8}, HARNESS_BASE + 1, VEC_NONE},
	};
	struct cpu_args args = {.op_bytes = 4, .address_bytes = 4};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		harness_reset();
		harness_protected32();
		h.vp.seg[VP_ES] = cases[i].es;
		h.vp.gpr[VP_RDI] = cases[i].edi;
		helper_stos(&h.vp, args, 0);
		if (h.vp.exception.vector != cases[i].vector)
			fail_msg("%s: vector %u", cases[i].what, h.vp.exception.vector);
	}
}

static void sixty_four_bit_code_knows_the_bases_of_fs_and_gs_only(void **state)
{
	struct cpu_args args = {.op_bytes = 1, .address_bytes = 8, .seg = VP_FS};
	uint8_t byte = 0x42;

	harness_reset();
	harness_put(HARNESS_BASE + 0x123, &byte, 1);
	h.vp.seg[VP_FS].base = HARNESS_BASE;
	h.vp.seg[VP_DS].base = 0x999999;
	h.vp.gpr[VP_RSI] = 0x123;
	assert_done(helper_lods(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0x42);
	args.seg = VP_DS;
	h.vp.gpr[VP_RSI] = HARNESS_BASE + 0x123;
	h.vp.gpr[VP_RAX] = 0;
	assert_done(helper_lods(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0x42);
}

static void stores_to_a_device_leave_one_by_one(void **state)
{
	struct cpu_args args = {.op_bytes = 2, .address_bytes = 8, .flags = CPU_ARG_REP};

	harness_reset();
	h.kind[0] = PAGE_DEVICE;
	h.vp.gpr[VP_RAX] = 0x1234;
	h.vp.gpr[VP_RDI] = HARNESS_BASE + 8;
	h.vp.gpr[VP_RCX] = 2;
	assert_int_equal(helper_stos(&h.vp, args, 0), CPU_RESTART);
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	assert_int_equal(h.vp.gpr[VP_RCX], 1);
	assert_int_equal(h.vp.exit.mmio.data, 0x1234);
	h.vp.leave = LEAVE_NONE;
	assert_int_equal(helper_stos(&h.vp, args, 0), CPU_DONE_LEAVE);
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	assert_int_equal(h.vp.exit.mmio.gpa, HARNESS_BASE + 10);
	assert_int_equal(h.vp.gpr[VP_RCX], 0);
	assert_int_equal(h.vp.rip, h.vp.next_rip);
}

static void loads_from_a_device_wait_for_the_answer(void **state)
{
	struct cpu_args args = {.op_bytes = 4, .address_bytes = 8, .seg = VP_DS};

	harness_reset();
	h.kind[0] = PAGE_DEVICE;
	h.vp.gpr[VP_RSI] = HARNESS_BASE;
	assert_int_equal(helper_lods(&h.vp, args, 0), CPU_RESTART);
	assert_int_equal(h.vp.leave, LEAVE_EXIT);
	assert_int_equal(h.vp.gpr[VP_RSI], HARNESS_BASE);
	h.vp.answer = (struct dbt_answer){.valid = true, .data = 0xcafe};
	assert_done(helper_lods(&h.vp, args, 0));
	assert_int_equal(h.vp.gpr[VP_RAX], 0xcafe);
	assert_int_equal(h.vp.gpr[VP_RSI], HARNESS_BASE + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_string_instruction_does_what_the_manual_says),
		cmocka_unit_test(a_pending_exit_stops_rep_after_some_progress),
		cmocka_unit_test(rep_with_count_zero_touches_nothing),
		cmocka_unit_test(address_size_bounds_the_registers),
		cmocka_unit_test(sixteen_bit_offsets_wrap_around),
		cmocka_unit_test(sixteen_bit_offsets_wrap_around_downwards),
		cmocka_unit_test(a_word_across_the_limit_faults_with_the_elements_before_it_done),
		cmocka_unit_test(segments_are_checked_in_protected_mode),
		cmocka_unit_test(sixty_four_bit_code_knows_the_bases_of_fs_and_gs_only),
		cmocka_unit_test(stores_to_a_device_leave_one_by_one),
		cmocka_unit_test(loads_from_a_device_wait_for_the_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
