/*
 * rig.c - the small partition and its expectations; see rig.h
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

PAYLOAD(stubs)

#define PTE_P  BIT(0)
#define PTE_W  BIT(1)
#define PTE_PS BIT(7)
#define PTE_NX BIT(63)

#define CR0_LONG  0x80050033ull /* PG AM WP NE ET MP PE */
#define CR4_LONG  0x620ull	/* PAE OSFXSR OSXMMEXCPT */
#define EFER_LONG 0xd01ull	/* SCE LME LMA NXE */

/* Flat code and data, 64-bit code, 32-bit code, a busy 64-bit TSS. */
static const uint64_t gdt[] = {
	0,
	0x00af9b000000ffff,
	0x00cf93000000ffff,
	0x00cf9b000000ffff,
	0x00008b0000000067 | (uint64_t)TSS_AT << 16,
	0,
};

/* --- failures --- */

static bool store_why(struct rig *rig, const char *format, va_list args)
{
	vsnprintf(rig->why, sizeof(rig->why), format, args);
	return false;
}

bool rig_fail(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	store_why(rig, format, args);
	va_end(args);
	return false;
}

bool rig_skip(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	store_why(rig, format, args);
	va_end(args);
	rig->skipped = true;
	return false;
}

bool rig_expect_eq(struct rig *rig, const char *file, int line, const char *what, uint64_t actual,
		   uint64_t expected)
{
	const char *slash = strrchr(file, '/');

	if (actual == expected)
		return true;
	return rig_fail(rig, "%s:%d: %s is %#" PRIx64 ", expected %#" PRIx64,
			slash ? slash + 1 : file, line, what, actual, expected);
}

bool rig_ok(struct rig *rig, const char *what, int result)
{
	return result >= 0 || rig_fail(rig, "%s: %s", what, strerror(-result));
}

/* --- memory --- */

uint32_t rig_u32(struct rig *rig, gpa_t gpa)
{
	uint32_t value;

	assert(gpa + 4 <= RAM_BYTES);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* VPs write it */
	memcpy(&value, rig->memory.base + gpa, sizeof(value));
	return value;
}

uint64_t rig_u64(struct rig *rig, gpa_t gpa)
{
	uint64_t value;

	assert(gpa + 8 <= RAM_BYTES);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memcpy(&value, rig->memory.base + gpa, sizeof(value));
	return value;
}

void rig_put_u64(struct rig *rig, gpa_t gpa, uint64_t value)
{
	assert(gpa + 8 <= RAM_BYTES);
	memcpy(rig->memory.base + gpa, &value, sizeof(value));
}

static void fill_special_pages(struct rig *rig)
{
	static const struct {
		uint64_t linear, entry;
	} pages[] = {
		{LINEAR_SPLIT, SPLIT_LOW | PTE_P | PTE_W},
		{LINEAR_SPLIT + 0x1000, SPLIT_HIGH | PTE_P | PTE_W},
		{LINEAR_SPLIT + 0x2000, MMIO_AT | PTE_P | PTE_W},
		{LINEAR_READ_ONLY, SPECIAL_PAGE | PTE_P},
		{LINEAR_NO_EXECUTE, (SPECIAL_PAGE + 0x1000) | PTE_P | PTE_W | PTE_NX},
	};

	rig_put_u64(rig, PDPT_AT + 8 * (LINEAR_SPLIT >> 30), PD2_AT | PTE_P | PTE_W);
	rig_put_u64(rig, PD2_AT, PT_AT | PTE_P | PTE_W);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		rig_put_u64(rig, PT_AT + 8 * (pages[i].linear >> 12 & 0x1ff), pages[i].entry);
}

static void fill_page_tables(struct rig *rig)
{
	rig_put_u64(rig, PML4_AT, PDPT_AT | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 4; i++)
		rig_put_u64(rig, PDPT_AT + 8 * i, (PD_AT + 0x1000 * i) | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 4 * 512; i++)
		rig_put_u64(rig, PD_AT + 8 * i, i << 21 | PTE_P | PTE_W | PTE_PS);
	fill_special_pages(rig);
}

static void fill_idt(struct rig *rig)
{
	for (uint64_t vector = 0; vector < 256; vector++) {
		uint64_t entry = STUBS_AT + 16 * vector;

		rig_put_u64(rig, IDT_AT + 16 * vector,
			    (entry & 0xffff) | SEL_CODE64 << 16 | 0x8e00ull << 32 |
				    entry >> 16 << 48);
		rig_put_u64(rig, IDT_AT + 16 * vector + 8, 0);
	}
}

static void fill_memory(struct rig *rig)
{
	fill_page_tables(rig);
	fill_idt(rig);
	memcpy(rig->memory.base + GDT_AT, gdt, sizeof(gdt));
	rig_place(rig, STUBS_AT, stubs);
}

/* --- making one --- */

static int acknowledge_extint(void *ctx)
{
	struct rig *rig = ctx;
	int vector = rig->extint_vector;

	rig->acknowledged++;
	partition_set_extint(rig->part, false);
	rig->extint_vector = -1;
	return vector;
}

static const struct msr_range exit_msrs[] = {{0x40000000, 0x400001ff}};

/* What the engine offers, and a leaf of our own. */
static size_t choose_cpuid(const struct engine *engine,
			   struct cpuid_leaf leaves[PARTITION_MAX_CPUID])
{
	size_t count = engine->supported_cpuid(leaves);

	if (count == PARTITION_MAX_CPUID)
		count--;
	leaves[count++] = (struct cpuid_leaf){.leaf = 0x40000000,
					      .eax = 0x40000001,
					      .ebx = 0x11111111,
					      .ecx = 0x22222222,
					      .edx = 0x33333333};
	return count;
}

static bool create_partition(struct rig *rig, unsigned int vps)
{
	struct cpuid_leaf leaves[PARTITION_MAX_CPUID];
	struct partition_config config = {
		.vp_count = vps,
		.cpuid = leaves,
		.cpuid_count = choose_cpuid(rig->engine, leaves),
		.exit_msrs = exit_msrs,
		.exit_msr_count = ARRAY_SIZE(exit_msrs),
		.hypercall_port = PORT_HYPERCALL,
		.signal_port = PORT_SIGNAL,
		.acknowledge_extint = acknowledge_extint,
		.ctx = rig,
	};

	TRY(rig_ok(rig, "partition_new", partition_new(rig->engine, &config, &rig->part)));
	if (getenv("CONFORMANCE_TRACE"))
		partition_set_trace(rig->part, PARTITION_TRACE_EXITS);
	TRY(rig_ok(rig, "guest_memory_new", guest_memory_new(RAM_BYTES, &rig->memory)));
	fill_memory(rig);
	TRY(rig_ok(rig, "partition_map_gpa",
		   partition_map_gpa(rig->part, 0, RAM_BYTES, rig->memory.base,
				     MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE)));
	for (unsigned int i = 0; i < vps; i++)
		TRY(rig_ok(rig, "partition_create_vp",
			   partition_create_vp(rig->part, i, &rig->vp[i])));
	return true;
}

bool rig_new(struct rig *rig, const struct engine *engine, unsigned int vps)
{
	memset(rig, 0, sizeof(*rig));
	rig->engine = engine;
	rig->extint_vector = -1;
	return create_partition(rig, vps);
}

void rig_free(struct rig *rig)
{
	partition_free(rig->part);
	guest_memory_free(&rig->memory);
}

static void set_flat_segments(struct vp_state *state)
{
	static const struct vp_segment data = {
		.limit = 0xffffffff, .access = 0xc093, .selector = SEL_DATA};

	state->segment[VP_CS] =
		(struct vp_segment){.limit = 0xffffffff, .access = 0xa09b, .selector = SEL_CODE64};
	state->segment[VP_ES] = state->segment[VP_SS] = state->segment[VP_DS] = data;
	state->segment[VP_FS] = state->segment[VP_GS] = data;
	state->segment[VP_LDTR] = (struct vp_segment){.access = VP_SEG_UNUSABLE | 0x2};
	state->segment[VP_TR] = (struct vp_segment){
		.base = TSS_AT, .limit = 0x67, .access = 0x8b, .selector = SEL_TSS};
}

static void enter_long_mode(struct vp_state *state, unsigned int index, uint64_t rip)
{
	set_flat_segments(state);
	state->gdtr = (struct vp_table){.base = GDT_AT, .limit = sizeof(gdt) - 1};
	state->idtr = (struct vp_table){.base = IDT_AT, .limit = 0xfff};
	state->cr0 = CR0_LONG;
	state->cr3 = PML4_AT;
	state->cr4 = CR4_LONG;
	state->efer = EFER_LONG;
	memset(&state->regs, 0, sizeof(state->regs));
	state->regs.rip = rip;
	state->regs.rflags = 2;
	state->regs.gpr[VP_RSP] = STACK_TOP - index * STACK_BYTES;
	state->activity = VP_RUNNING;
}

bool rig_start_payload(struct rig *rig, unsigned int index, const uint8_t *code, size_t bytes)
{
	struct vp_state state;
	uint64_t at = CODE_AT + index * CODE_BYTES;

	if (bytes > CODE_BYTES)
		return rig_fail(rig, "payload of %zu bytes", bytes);
	memcpy(rig->memory.base + at, code, bytes);
	partition_memory_written(rig->part, at, bytes);
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[index], &state)));
	enter_long_mode(&state, index, at);
	return rig_ok(rig, "vp_set_state", vp_set_state(rig->vp[index], &state));
}

/* --- running --- */

static const char *describe(const struct vp_exit *exit, char *text, size_t bytes)
{
	switch (exit->reason) {
	case VP_EXIT_PIO:
		snprintf(text, bytes, "pio %s port %#x, %u bytes, data %#x",
			 exit->pio.write ? "write" : "read", exit->pio.port, exit->pio.bytes,
			 exit->pio.data);
		break;
	case VP_EXIT_MMIO:
		snprintf(text, bytes, "mmio %s %#" PRIx64 ", %u bytes, data %#" PRIx64,
			 exit->mmio.write ? "write" : "read", exit->mmio.gpa, exit->mmio.bytes,
			 exit->mmio.data);
		break;
	case VP_EXIT_MSR:
		snprintf(text, bytes, "msr %s %#x", exit->msr.write ? "write" : "read",
			 exit->msr.index);
		break;
	case VP_EXIT_SHUTDOWN:
		snprintf(text, bytes, "shutdown, rip %#" PRIx64 ", vector %#x, cr2 %#" PRIx64,
			 exit->shutdown.rip, exit->shutdown.vector, exit->shutdown.cr2);
		break;
	default: snprintf(text, bytes, "exit reason %d", exit->reason);
	}
	return text;
}

/* The exit of VP @index is not the one expected. */
static bool surprise(struct rig *rig, unsigned int index, const char *expected)
{
	char text[200];
	const struct vp_exit *exit = &rig->exit[index];
	struct vp_regs regs = {0};

	vp_get_regs(rig->vp[index], &regs);
	return rig_fail(rig, "expected %s, got %s, at rip %#" PRIx64, expected,
			describe(exit, text, sizeof(text)), regs.rip);
}

static uint64_t last_fault(struct rig *rig, unsigned int member)
{
	uint64_t number = MIN(rig_u64(rig, FAULT_COUNT) - 1, 31);

	return rig_u64(rig, FAULTS_AT + FAULT_BYTES * number + member);
}

bool rig_run(struct rig *rig, unsigned int index)
{
	struct vp_exit *exit = &rig->exit[index];

	TRY(rig_ok(rig, "vp_run", vp_run(rig->vp[index], exit)));
	if (exit->reason == VP_EXIT_FAILED)
		return rig_fail(rig, "VP %u failed at rip %#" PRIx64 ": %s", index,
				exit->failed.rip, exit->failed.why);
	if (exit->reason == VP_EXIT_PIO && exit->pio.port == PORT_UNEXPECTED)
		return rig_fail(rig,
				"exception %u came unexpected at %#" PRIx64 ", error %#" PRIx64
				", cr2 %#" PRIx64,
				exit->pio.data, last_fault(rig, 16), last_fault(rig, 8),
				last_fault(rig, 24));
	return true;
}

bool rig_expect_reason(struct rig *rig, unsigned int index, enum vp_exit_reason reason)
{
	char text[40];

	TRY(rig_run(rig, index));
	if (rig->exit[index].reason == reason)
		return true;
	snprintf(text, sizeof(text), "exit reason %d", reason);
	return surprise(rig, index, text);
}

static bool expect_pio(struct rig *rig, unsigned int index, uint16_t port, uint8_t bytes,
		       bool write, uint32_t data)
{
	struct vp_exit *exit = &rig->exit[index];
	char text[100];

	TRY(rig_run(rig, index));
	if (exit->reason == VP_EXIT_PIO && exit->pio.port == port && exit->pio.bytes == bytes &&
	    exit->pio.write == write && (!write || exit->pio.data == data))
		return true;
	snprintf(text, sizeof(text), "pio %s port %#x, %u bytes, data %#x",
		 write ? "write" : "read", port, bytes, data);
	return surprise(rig, index, text);
}

bool rig_pio_write(struct rig *rig, uint16_t port, uint8_t bytes, uint32_t data)
{
	return expect_pio(rig, 0, port, bytes, true, data);
}

bool rig_pio_read(struct rig *rig, uint16_t port, uint8_t bytes, uint32_t data)
{
	TRY(expect_pio(rig, 0, port, bytes, false, 0));
	rig->exit[0].pio.data = data;
	return true;
}

static bool expect_mmio(struct rig *rig, gpa_t gpa, uint8_t bytes, bool write, uint64_t data)
{
	struct vp_exit *exit = &rig->exit[0];
	char text[100];

	TRY(rig_run(rig, 0));
	if (exit->reason == VP_EXIT_MMIO && exit->mmio.gpa == gpa && exit->mmio.bytes == bytes &&
	    exit->mmio.write == write && (!write || exit->mmio.data == data))
		return true;
	snprintf(text, sizeof(text), "mmio %s %#" PRIx64 ", %u bytes, data %#" PRIx64,
		 write ? "write" : "read", gpa, bytes, data);
	return surprise(rig, 0, text);
}

bool rig_mmio_write(struct rig *rig, gpa_t gpa, uint8_t bytes, uint64_t data)
{
	return expect_mmio(rig, gpa, bytes, true, data);
}

bool rig_mmio_read(struct rig *rig, gpa_t gpa, uint8_t bytes, uint64_t data)
{
	TRY(expect_mmio(rig, gpa, bytes, false, 0));
	rig->exit[0].mmio.data = data;
	return true;
}

bool rig_msr(struct rig *rig, uint32_t index, bool write)
{
	struct vp_exit *exit = &rig->exit[0];
	char text[60];

	TRY(rig_run(rig, 0));
	if (exit->reason == VP_EXIT_MSR && exit->msr.index == index && exit->msr.write == write)
		return true;
	snprintf(text, sizeof(text), "msr %s %#x", write ? "write" : "read", index);
	return surprise(rig, 0, text);
}

bool rig_vp_report(struct rig *rig, unsigned int index, uint32_t value)
{
	return expect_pio(rig, index, PORT_REPORT, 4, true, value);
}

bool rig_vp_done(struct rig *rig, unsigned int index)
{
	return expect_pio(rig, index, PORT_DONE, 1, true, 0);
}

bool rig_report(struct rig *rig, uint32_t value)
{
	return rig_vp_report(rig, 0, value);
}

bool rig_done(struct rig *rig)
{
	return rig_vp_done(rig, 0);
}

bool rig_fault(struct rig *rig, unsigned int number, uint64_t vector, uint64_t error, uint64_t rip)
{
	gpa_t record = FAULTS_AT + FAULT_BYTES * number;
	char what[60];

	if (rig_u64(rig, FAULT_COUNT) <= number)
		return rig_fail(rig, "exception %u did not happen", number);
	snprintf(what, sizeof(what), "vector of exception %u", number);
	TRY(EXPECT_EQ(rig, what, rig_u64(rig, record), vector));
	snprintf(what, sizeof(what), "error code of exception %u", number);
	TRY(EXPECT_EQ(rig, what, rig_u64(rig, record + 8), error));
	snprintf(what, sizeof(what), "rip of exception %u", number);
	return EXPECT_EQ(rig, what, rig_u64(rig, record + 16), rip);
}

/* --- a VP on its own thread --- */

static void *runner_main(void *arg)
{
	struct runner *runner = arg;
	struct vp_exit *exit = &runner->rig->exit[runner->index];

	runner->tid = gettid();
	do {
		runner->ok = rig_run(runner->rig, runner->index);
	} while (runner->ok && exit->reason == VP_EXIT_CANCELLED);
	runner->ended = true;
	return NULL;
}

bool runner_start(struct runner *runner, struct rig *rig, unsigned int index)
{
	*runner = (struct runner){.rig = rig, .index = index};
	return rig_ok(rig, "pthread_create",
		      -pthread_create(&runner->thread, NULL, runner_main, runner));
}

static bool is_asleep(int tid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state == 'S';
}

void runner_wait_asleep(struct runner *runner)
{
	unsigned int asleep = 0;

	while (asleep < 4 && !runner->ended) {
		usleep(5000);
		asleep = runner->tid && is_asleep(runner->tid) ? asleep + 1 : 0;
	}
}

bool runner_join(struct runner *runner)
{
	pthread_join(runner->thread, NULL);
	return runner->ok;
}
