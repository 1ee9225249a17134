/*
 * cases_cpu.c - exceptions, vector registers, changing code, atomics, changing memory maps
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "rig.h"

#define CASE(name, vps, not_emulated) bool case_##name(struct rig *rig);
#include "cases.h"
#undef CASE

PAYLOAD(exceptions)
PAYLOAD(triple_fault)
PAYLOAD(vectors)
PAYLOAD(xsetbv)
PAYLOAD(avx)
PAYLOAD(self_modifying)
PAYLOAD(rewritten)
PAYLOAD(locked)
PAYLOAD(watch_page)
PAYLOAD(watch)

bool case_exceptions_are_precise(struct rig *rig)
{
	static const struct {
		uint8_t vector;
		uint32_t error;
		uint64_t cr2;
		uint8_t past; /* bytes of the instruction: traps point behind it */
	} rows[] = {
		{0, 0, 0, 0},
		{6, 0, 0, 0},
		{14, 0, LINEAR_ABSENT + 0x123, 0},
		{14, 2, LINEAR_ABSENT + 0x123, 0},
		{14, 3, LINEAR_READ_ONLY + 8, 0},
		{14, 0x11, LINEAR_NO_EXECUTE, 0},
		{13, 0, 0, 0},
		{13, 0, 0, 0},
		{3, 0, 0, 1},
		{14, 2, LINEAR_ABSENT, 0},
		{14, 2, LINEAR_ABSENT, 0},
	};

	TRY(rig_start(rig, 0, exceptions));
	rig->memory.base[SPECIAL_PAGE + 8] = 0x5a;
	TRY(rig_done(rig));
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		TRY(rig_fault(rig, i, rows[i].vector, rows[i].error,
			      rig_u64(rig, EXPECT_RIPS + 8 * i) + rows[i].past));
		if (rows[i].vector == 14)
			TRY(EXPECT_EQ(rig, "cr2", rig_u64(rig, FAULTS_AT + FAULT_BYTES * i + 24),
				      rows[i].cr2));
	}
	TRY(EXPECT_EQ(rig, "exceptions", rig_u64(rig, FAULT_COUNT), ARRAY_SIZE(rows)));
	TRY(EXPECT_EQ(rig, "read-only page", rig_u32(rig, DATA_AT), 0x5a));
	TRY(EXPECT_EQ(rig, "half-faulted store", rig_u32(rig, DATA_AT + 4), 0));
	return EXPECT_EQ(rig, "ecx of the faulted stosb", rig_u32(rig, DATA_AT + 8), 4);
}

bool case_triple_fault_shuts_down(struct rig *rig)
{
	uint8_t vector;

	TRY(rig_start(rig, 0, triple_fault));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_SHUTDOWN));
	vector = rig->exit[0].shutdown.vector;
	if (vector != 0xff && vector != 6 && vector != 8 && vector != 13)
		return rig_fail(rig, "the last exception is said to be %#x", vector);
	/* a reset brings it back */
	TRY(rig_start(rig, 0, self_modifying));
	return rig_report(rig, 1);
}

static void fill_pattern(struct rig *rig, gpa_t at, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		rig->memory.base[at + i] = (uint8_t)(i * 37 + 11);
}

/* The host uses its own vector registers between exits. */
static __attribute__((noinline)) void use_host_vectors(void)
{
	__asm__ volatile(
		"pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm1, %%xmm1\n pcmpeqd %%xmm7, %%xmm7\n"
		"pcmpeqd %%xmm8, %%xmm8\n pcmpeqd %%xmm15, %%xmm15\n"
		"fldz\n fstp %%st(0)\n" ::
			: "xmm0", "xmm1", "xmm7", "xmm8", "xmm15", "st");
}

static bool exits_with_host_vectors(struct rig *rig)
{
	for (unsigned int i = 0; i < 20; i++) {
		TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
		use_host_vectors();
		TRY(rig_pio_read(rig, 0x81, 1, 0));
		use_host_vectors();
	}
	return rig_done(rig);
}

static bool expect_copy(struct rig *rig, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i += 8)
		TRY(EXPECT_EQ(rig, "a vector register's part", rig_u64(rig, DATA_AT + 0x400 + i),
			      rig_u64(rig, DATA_AT + i)));
	return true;
}

bool case_sse_and_x87_survive_exits(struct rig *rig)
{
	TRY(rig_start(rig, 0, vectors));
	fill_pattern(rig, DATA_AT, 256);
	TRY(exits_with_host_vectors(rig));
	TRY(expect_copy(rig, 256));
	TRY(EXPECT_EQ(rig, "mxcsr", rig_u32(rig, DATA_AT + 0x800), 0x1f00));
	TRY(EXPECT_EQ(rig, "1.0", rig_u64(rig, DATA_AT + 0x808), 0x3ff0000000000000));
	return EXPECT_EQ(rig, "pi", rig_u64(rig, DATA_AT + 0x810), 0x400921fb54442d18);
}

static bool offers_avx(const struct engine *engine)
{
	struct cpuid_leaf leaves[PARTITION_MAX_CPUID];
	size_t count = engine->supported_cpuid(leaves);

	for (size_t i = 0; i < count; i++)
		if (leaves[i].leaf == 1)
			return (leaves[i].ecx & (BIT(26) | BIT(28))) == (BIT(26) | BIT(28));
	return false;
}

bool case_xsetbv_opens_avx(struct rig *rig)
{
	struct vp_state state;

	if (!offers_avx(rig->engine))
		return rig_skip(rig, "this engine offers no AVX on this host");
	TRY(rig_start(rig, 0, xsetbv));
	TRY(rig_report(rig, 1));
	TRY(rig_report(rig, 7));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &state)));
	TRY(EXPECT_EQ(rig, "XCR0 from outside", state.xcr0, 7));
	TRY(rig_report(rig, 7));
	TRY(rig_done(rig));
	return rig_fault(rig, 0, 13, 0, rig_u64(rig, EXPECT_RIPS));
}

bool case_avx_survives_exits(struct rig *rig)
{
	struct vp_state state;

	if (!offers_avx(rig->engine))
		return rig_skip(rig, "this engine offers no AVX on this host");
	TRY(rig_start(rig, 0, avx));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &state)));
	state.cr4 |= BIT(18);
	state.xcr0 = 7;
	TRY(rig_ok(rig, "vp_set_state", vp_set_state(rig->vp[0], &state)));
	fill_pattern(rig, DATA_AT, 512);
	TRY(exits_with_host_vectors(rig));
	return expect_copy(rig, 512);
}

bool case_self_modifying_code_runs_as_modified(struct rig *rig)
{
	TRY(rig_start(rig, 0, self_modifying));
	for (uint32_t i = 1; i < 6; i++) {
		TRY(rig_report(rig, i));
		TRY(rig_report(rig, i * 0x01010101));
	}
	TRY(rig_report(rig, 9));
	return rig_done(rig);
}

bool case_code_written_by_the_host_runs_as_written(struct rig *rig)
{
	TRY(rig_start(rig, 0, rewritten));
	for (uint8_t value = 1; value < 20; value++) {
		rig->memory.base[CODE_AT + 1] = value;
		partition_memory_written(rig->part, CODE_AT + 1, 1);
		TRY(rig_report(rig, value));
		TRY(rig_report(rig, value));
	}
	return true;
}

/* The mapping changes without a word to the guest, which reads on through its TLB. */
bool case_a_tlb_flush_reaches_a_vp_that_runs(struct rig *rig)
{
	struct runner runner;
	volatile uint32_t *seen = (void *)(rig->memory.base + DATA_AT);

	if (!engine_can_flush_tlb(rig->engine))
		return EXPECT_EQ(rig, "partition_flush_tlb",
				 partition_flush_tlb(rig->part, rig->vp[0], 2),
				 (uint64_t)-ENOTSUP);
	rig_put_u64(rig, SPLIT_LOW, 1);
	rig_put_u64(rig, SPLIT_HIGH, 2);
	TRY(rig_start(rig, 1, watch_page));
	TRY(runner_start(&runner, rig, 1));
	while (*seen != 1)
		sched_yield();
	rig_put_u64(rig, PT_AT, (rig_u64(rig, PT_AT) & 0xfff) | SPLIT_HIGH);
	TRY(rig_ok(rig, "partition_flush_tlb",
		   partition_flush_tlb(rig->part, rig->vp[0], BIT(0) | BIT(1))));
	TRY(runner_join(&runner));
	return EXPECT_EQ(rig, "value", *seen, 2);
}

bool case_locked_instructions_of_two_vps_are_atomic(struct rig *rig)
{
	struct runner other;

	TRY(rig_start(rig, 0, locked));
	TRY(rig_start(rig, 1, locked));
	TRY(runner_start(&other, rig, 1));
	TRY(rig_done(rig));
	TRY(runner_join(&other));
	TRY(EXPECT_EQ(rig, "lock inc", rig_u32(rig, DATA_AT), 200000));
	TRY(EXPECT_EQ(rig, "lock xadd", rig_u32(rig, DATA_AT + 64), 200000));
	return EXPECT_EQ(rig, "lock cmpxchg", rig_u32(rig, DATA_AT + 128), 200000);
}

/* Waits until the payload counted @more than now; the process's time limit ends a vain wait. */
static void wait_for_count(struct rig *rig, gpa_t counter, uint32_t more)
{
	uint32_t start = rig_u32(rig, counter);

	while (rig_u32(rig, counter) - start < more)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* Answers the watched place's reads with 2 while it is not mapped. */
static void *answer_reads(void *arg)
{
	struct runner *runner = arg;
	struct vp_exit *exit = &runner->rig->exit[0];

	while ((runner->ok = rig_run(runner->rig, 0)) && exit->reason == VP_EXIT_MMIO)
		exit->mmio.data = 2;
	return NULL;
}

static bool map_and_unmap(struct rig *rig, struct guest_memory *memory)
{
	const gpa_t from_memory = DATA_AT + 4, from_nowhere = DATA_AT + 8;
	uint32_t before;

	TRY(rig_ok(rig, "partition_map_gpa",
		   partition_map_gpa(rig->part, EXTRA_AT, memory->bytes, memory->base,
				     MAP_GPA_READ | MAP_GPA_WRITE)));
	wait_for_count(rig, from_memory, 10);
	TRY(rig_ok(rig, "partition_unmap_gpa",
		   partition_unmap_gpa(rig->part, EXTRA_AT, memory->bytes)));
	before = rig_u32(rig, from_memory);
	wait_for_count(rig, from_nowhere, 10);
	if (rig_u32(rig, from_memory) - before > 1) /* one read may be on its way to the counter */
		return rig_fail(rig, "the guest saw memory after it was unmapped");
	return true;
}

bool case_memory_comes_and_goes_while_running(struct rig *rig)
{
	struct runner runner = {.rig = rig};
	struct guest_memory memory;

	TRY(rig_ok(rig, "guest_memory_new", guest_memory_new(PAGE_BYTES, &memory)));
	memory.base[0] = 1;
	TRY(rig_start(rig, 0, watch));
	TRY(rig_ok(rig, "pthread_create",
		   -pthread_create(&runner.thread, NULL, answer_reads, &runner)));
	wait_for_count(rig, DATA_AT + 8, 1);
	for (unsigned int i = 0; i < 20; i++)
		TRY(map_and_unmap(rig, &memory));
	*(volatile uint32_t *)(rig->memory.base + DATA_AT + 0x100) = 1;
	TRY(runner_join(&runner));
	TRY(EXPECT_EQ(rig, "the last exit", rig->exit[0].reason, VP_EXIT_PIO));
	return EXPECT_EQ(rig, "unmapping it again",
			 partition_unmap_gpa(rig->part, EXTRA_AT, PAGE_BYTES), (uint64_t)-2);
}
