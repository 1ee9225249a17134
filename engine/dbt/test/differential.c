/*
 * differential.c - runs machine code natively and in the engine, from and to the same state
 *
 * Native side: a signal handler replaces its own return context by the state to start from; the
 * exception at the end of the run enters the handler again, which notes the state and jumps out.
 * Compatibility mode is entered by the code selector in that context. Signals at any other time
 * are the engine's and go on to its handlers.
 *
 * Engine side: one VP at CPL 3, page tables that map code and data at the host's addresses, a GDT
 * with the selectors that Linux has, and an IDT whose gates all lead to a supervisor stub that
 * writes the vector to a port.
 */
#include "differential.h"

#include <asm/prctl.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define GUEST_BYTES  (2 * MIB)
#define SIGNAL_STACK (64 * KIB)
#define RAM	     (MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE)

/* Guest physical layout. */
enum {
	GPA_PML4 = 0x1000,
	GPA_PDPT = 0x2000,
	GPA_PD = 0x3000, /* one PT per 2 MiB area follows */
	GPA_PT_CODE = 0x4000,
	GPA_PT_DATA = 0x5000,
	GPA_PDPT_SYSTEM = 0x6000,
	GPA_PD_SYSTEM = 0xc000,
	GPA_GDT = 0x7000,
	GPA_IDT = 0x8000,
	GPA_TSS = 0x9000,
	GPA_STUBS = 0xa000,
	GPA_STACK = 0xb000,
	GPA_CODE = 0x100000,
	GPA_DATA = 0x20000,
};
#define SYSTEM_VA   0xffff800000000000ull /* guest physical 0..2 MiB for the supervisor */
#define STACK_TOP   (GPA_STACK + PAGE_BYTES - 256)
#define PORT_VECTOR 0x80

enum { SELECTOR_KERNEL = 0x10, SELECTOR_USER32 = 0x23, SELECTOR_DATA = 0x2b, SELECTOR_USER = 0x33 };

#define PTE_WRITE 3ull /* present, writable */
#define PTE_USER  5ull /* present, user */
#define PTE_NX	  BIT(63)

struct differential {
	uint8_t *code,
		*data; /* at CODE_VA, DATA_VA in this process, as the code under test has them */
	uint8_t *code_write, *data_write; /* the same memory, writable */
	struct guest_memory memory;
	struct partition *part;
	struct vp *vp;
	struct vp_state start; /* template */
	struct vp_exit exit;
	uint32_t used, next; /* in the code area */
};

/* Where the pages of the two areas are in guest physical memory: never beside their neighbours. */
static gpa_t data_gpa(unsigned int page)
{
	static const uint8_t places[DATA_PAGES] = {3, 1, 4, 0, 2};

	return GPA_DATA + places[page] * PAGE_BYTES;
}

static gpa_t code_gpa(unsigned int page)
{
	return GPA_CODE + (page ^ 1) * PAGE_BYTES;
}

/* --- native --- */

static const uint8_t context_registers[VP_GPR_COUNT] = {
	[VP_RAX] = REG_RAX, [VP_RCX] = REG_RCX, [VP_RDX] = REG_RDX, [VP_RBX] = REG_RBX,
	[VP_RSP] = REG_RSP, [VP_RBP] = REG_RBP, [VP_RSI] = REG_RSI, [VP_RDI] = REG_RDI,
	[VP_R8] = REG_R8,   [VP_R9] = REG_R9,	[VP_R10] = REG_R10, [VP_R11] = REG_R11,
	[VP_R12] = REG_R12, [VP_R13] = REG_R13, [VP_R14] = REG_R14, [VP_R15] = REG_R15,
};

static enum { ELSEWHERE, STARTING, RUNNING } native_phase;
static struct machine_state *native_state;
static sigjmp_buf native_return;
static struct sigaction engine_actions[NSIG];
static const int native_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

static void start_native(ucontext_t *uc)
{
	greg_t *registers = uc->uc_mcontext.gregs;
	uint64_t selectors = (uint64_t)registers[REG_CSGSFS] & ~0xffffull;

	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		registers[context_registers[i]] = native_state->gpr[i];
	registers[REG_RIP] = native_state->rip;
	registers[REG_EFL] = native_state->rflags;
	registers[REG_CSGSFS] =
		selectors | (native_state->code32 ? SELECTOR_USER32 : SELECTOR_USER);
	/* The frame's own software bytes (464..511) stay; the kernel checks them. */
	memcpy(uc->uc_mcontext.fpregs, native_state->xsave, 464);
	memcpy((uint8_t *)uc->uc_mcontext.fpregs + 576, native_state->xsave + 576, 256);
	*(uint64_t *)((uint8_t *)uc->uc_mcontext.fpregs + 512) = 7;
}

static void stop_native(const ucontext_t *uc)
{
	const greg_t *registers = uc->uc_mcontext.gregs;

	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		native_state->gpr[i] = registers[context_registers[i]];
	native_state->rip = registers[REG_RIP];
	native_state->rflags = registers[REG_EFL];
	native_state->vector = registers[REG_TRAPNO];
	native_state->error = registers[REG_ERR];
	native_state->cr2 = registers[REG_CR2];
	memcpy(native_state->xsave, uc->uc_mcontext.fpregs, XSAVE_COMPARED);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	switch (native_phase) {
	case STARTING:
		native_phase = RUNNING;
		start_native(context);
		return;
	case RUNNING:
		native_phase = ELSEWHERE;
		stop_native(context);
		siglongjmp(native_return, 1);
	case ELSEWHERE: break;
	}
	if (engine_actions[number].sa_sigaction)
		engine_actions[number].sa_sigaction(number, info, context);
	else
		signal(number, SIG_DFL);
}

/* After the engine has installed its own. */
static void install_handlers(void)
{
	struct sigaction action = {.sa_sigaction = on_signal,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	for (unsigned int i = 0; i < ARRAY_SIZE(native_signals); i++)
		sigaction(native_signals[i], &action, &engine_actions[native_signals[i]]);
	/* Null selectors are good enough for 64-bit code only. */
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(SELECTOR_DATA));
}

static void restore_handlers(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(native_signals); i++)
		sigaction(native_signals[i], &engine_actions[native_signals[i]], NULL);
}

int differential_native(struct differential *d, struct machine_state *state)
{
	static uint8_t stack_bytes[SIGNAL_STACK];
	stack_t stack = {.ss_sp = stack_bytes, .ss_size = sizeof(stack_bytes)}, old_stack;
	uint64_t old_gs;

	memcpy(d->data_write, state->data, DATA_BYTES);
	native_state = state;
	sigaltstack(&stack, &old_stack);
	syscall(SYS_arch_prctl, ARCH_GET_GS, &old_gs);
	syscall(SYS_arch_prctl, ARCH_SET_GS, state->gs_base);
	native_phase = STARTING;
	if (sigsetjmp(native_return, 0) == 0)
		__asm__ volatile("ud2" : : : "memory");
	__asm__ volatile("cld; fninit");
	sigaltstack(&old_stack, NULL);
	syscall(SYS_arch_prctl, ARCH_SET_GS, old_gs);
	memcpy(state->data, d->data_write, DATA_BYTES);
	return 0;
}

/* --- engine --- */

static void put64(struct differential *d, gpa_t gpa, uint64_t value)
{
	memcpy(d->memory.base + gpa, &value, 8);
}

static void map_page(struct differential *d, gpa_t table, uint64_t va, uint64_t entry)
{
	put64(d, GPA_PD + (va >> 21 & 511) * 8, table | PTE_USER | PTE_WRITE);
	put64(d, table + (va >> 12) % 512 * 8, entry);
}

static void build_page_tables(struct differential *d)
{
	put64(d, GPA_PML4, GPA_PDPT | PTE_USER | PTE_WRITE);
	put64(d, GPA_PDPT, GPA_PD | PTE_USER | PTE_WRITE);
	for (unsigned int i = 0; i < CODE_BYTES / PAGE_BYTES; i++)
		map_page(d, GPA_PT_CODE, CODE_VA + i * PAGE_BYTES, code_gpa(i) | PTE_USER);
	for (unsigned int i = 0; i < DATA_PAGES; i++)
		map_page(d, GPA_PT_DATA, DATA_VA + i * PAGE_BYTES,
			 data_gpa(i) | PTE_USER | (i == READ_ONLY_PAGE ? 0 : PTE_WRITE) | PTE_NX);
	put64(d, GPA_PML4 + 256 * 8, GPA_PDPT_SYSTEM | PTE_WRITE);
	put64(d, GPA_PDPT_SYSTEM, GPA_PD_SYSTEM | PTE_WRITE);
	put64(d, GPA_PD_SYSTEM, PTE_WRITE | BIT(7)); /* one 2 MiB page */
}

/* Each vector's stub: push RAX; out the vector; wait. */
static void build_idt(struct differential *d)
{
	for (unsigned int vector = 0; vector < 32; vector++) {
		uint64_t stub = SYSTEM_VA + GPA_STUBS + vector * 16;
		uint8_t code[16] = {0x50, 0xb0, vector, 0xe6, PORT_VECTOR, 0xf4, 0xeb, 0xfd};

		memcpy(d->memory.base + GPA_STUBS + vector * 16, code, sizeof(code));
		put64(d, GPA_IDT + vector * 16,
		      (stub & 0xffff) | SELECTOR_KERNEL << 16 | 0xee0000000000ull |
			      (stub >> 16 & 0xffff) << 48);
		put64(d, GPA_IDT + vector * 16 + 8, stub >> 32);
	}
	put64(d, GPA_TSS + 4, SYSTEM_VA + STACK_TOP);
	put64(d, GPA_TSS + 0x60, 0x68ull << 48); /* no I/O permission map */
}

static void build_gdt(struct differential *d)
{
	put64(d, GPA_GDT + SELECTOR_KERNEL, 0x00af9b000000ffffull);
	put64(d, GPA_GDT + 0x18, 0x00cf93000000ffffull);
	put64(d, GPA_GDT + (SELECTOR_USER32 & ~7), 0x00cffb000000ffffull);
	put64(d, GPA_GDT + (SELECTOR_DATA & ~7), 0x00cff3000000ffffull);
	put64(d, GPA_GDT + (SELECTOR_USER & ~7), 0x00affb000000ffffull);
}

static struct vp_segment segment(uint16_t selector, uint32_t access)
{
	return (struct vp_segment){.selector = selector, .limit = 0xffffffff, .access = access};
}

static void build_state(struct vp_state *s)
{
	s->segment[VP_SS] = s->segment[VP_DS] = s->segment[VP_ES] = segment(SELECTOR_DATA, 0xc0f3);
	s->segment[VP_FS] = s->segment[VP_GS] =
		segment(0, VP_SEG_UNUSABLE); /* the base counts in 64-bit code */
	s->segment[VP_TR] = (struct vp_segment){
		.selector = 0x40, .base = SYSTEM_VA + GPA_TSS, .limit = 0x67, .access = 0x8b};
	s->segment[VP_LDTR] = (struct vp_segment){.access = VP_SEG_UNUSABLE};
	s->gdtr = (struct vp_table){SYSTEM_VA + GPA_GDT, 0x3f};
	s->idtr = (struct vp_table){SYSTEM_VA + GPA_IDT, 32 * 16 - 1};
	s->cr0 = 0x80050033;
	s->cr3 = GPA_PML4;
	s->cr4 = 0x406a0 | BIT(16); /* PAE, PGE, MCE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE */
	s->efer = 0xd01;
	s->xcr0 = 7;
	s->activity = VP_RUNNING;
}

static int make_partition(struct differential *d)
{
	static struct cpuid_leaf leaves[PARTITION_MAX_CPUID];
	struct partition_config config = {.vp_count = 1, .cpuid = leaves};
	int r;

	config.cpuid_count = dbt_engine.supported_cpuid(leaves);
	r = guest_memory_new(GUEST_BYTES, &d->memory);
	if (r == 0)
		r = partition_new(&dbt_engine, &config, &d->part);
	if (r == 0)
		r = partition_map_gpa(d->part, 0, GUEST_BYTES, d->memory.base, RAM);
	if (r == 0)
		r = partition_create_vp(d->part, 0, &d->vp);
	if (r < 0)
		return r;
	build_page_tables(d);
	build_idt(d);
	build_gdt(d);
	vp_get_state(d->vp, &d->start);
	build_state(&d->start);
	return 0;
}

uint64_t differential_next(struct differential *d, size_t bytes, unsigned int before_page_end)
{
	uint32_t at = ALIGN_UP(d->used, 16);

	if (before_page_end)
		at = ALIGN_UP(at + before_page_end, PAGE_BYTES) - before_page_end;
	if (at + bytes > CODE_BYTES)
		at = before_page_end ? PAGE_BYTES - before_page_end : 0;
	d->next = at;
	return CODE_VA + at;
}

void differential_place(struct differential *d, const uint8_t *code, size_t bytes)
{
	memcpy(d->code_write + d->next, code, bytes);
	for (uint32_t at = d->next, n; at < d->next + bytes; at += n) {
		gpa_t gpa = code_gpa(at / PAGE_BYTES) + at % PAGE_BYTES;

		n = MIN(d->next + bytes - at, PAGE_BYTES - at % PAGE_BYTES);
		memcpy(d->memory.base + gpa, code + (at - d->next), n);
		partition_memory_written(d->part, gpa, n); /* older code stood there */
	}
	d->used = d->next + bytes;
}

static void set_start(struct differential *d, const struct machine_state *state)
{
	struct vp_state *s = &d->start;

	for (unsigned int i = 0; i < DATA_PAGES; i++)
		memcpy(d->memory.base + data_gpa(i), state->data + i * PAGE_BYTES, PAGE_BYTES);
	memcpy(s->regs.gpr, state->gpr, sizeof(state->gpr));
	s->regs.rip = state->rip;
	s->regs.rflags = state->rflags | 2;
	s->segment[VP_CS] =
		state->code32 ? segment(SELECTOR_USER32, 0xc0fb) : segment(SELECTOR_USER, 0xa0fb);
	s->segment[VP_GS].base = state->gs_base;
	memcpy(s->xsave, state->xsave, sizeof(s->xsave));
}

/* What the exception has pushed, and the stub after it, tells the state it interrupted. */
static void take_result(struct differential *d, const struct vp_state *after,
			struct machine_state *state)
{
	static const uint32_t with_error =
		BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17);
	uint64_t frame[7], *words;
	bool error;

	state->vector = d->exit.pio.data;
	error = state->vector < 32 && with_error & BIT(state->vector);
	memcpy(frame, d->memory.base + STACK_TOP - sizeof(frame), sizeof(frame));
	words = frame + (error ? 0 : 1);
	memcpy(state->gpr, after->regs.gpr, sizeof(state->gpr));
	state->gpr[VP_RAX] = *words++;
	state->error = error ? *words++ : 0;
	state->rip = words[0];
	state->rflags = words[2];
	state->gpr[VP_RSP] = words[3];
	state->cr2 = after->cr2;
	memcpy(state->xsave, after->xsave, XSAVE_COMPARED);
	for (unsigned int i = 0; i < DATA_PAGES; i++)
		memcpy(state->data + i * PAGE_BYTES, d->memory.base + data_gpa(i), PAGE_BYTES);
}

int differential_engine(struct differential *d, struct machine_state *state)
{
	static struct vp_state after;
	int r;

	set_start(d, state);
	r = vp_set_state(d->vp, &d->start);
	if (r < 0)
		return r;
	r = vp_run(d->vp, &d->exit);
	if (r < 0 || d->exit.reason != VP_EXIT_PIO || d->exit.pio.port != PORT_VECTOR)
		return -EIO;
	vp_get_state(d->vp, &after);
	take_result(d, &after, state);
	return 0;
}

/* --- both --- */

/* The memory at @va as the code under test may use it, and once more writable. */
static int map_twice(uint64_t va, uint64_t bytes, int protection, uint8_t **ret_view,
		     uint8_t **ret_writable)
{
	int fd = memfd_create("differential", MFD_CLOEXEC);
	int r = 0;

	if (fd < 0 || ftruncate(fd, bytes) < 0)
		return -errno;
	*ret_view = mmap((void *)va, bytes, protection,
			 MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, fd, 0);
	*ret_writable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (*ret_view == MAP_FAILED || *ret_writable == MAP_FAILED)
		r = -ENOMEM;
	close(fd);
	return r;
}

static int map_areas(struct differential *d)
{
	int r = map_twice(CODE_VA, CODE_BYTES, PROT_READ | PROT_EXEC, &d->code, &d->code_write);

	if (r == 0)
		r = map_twice(DATA_VA, DATA_BYTES, PROT_READ | PROT_WRITE, &d->data,
			      &d->data_write);
	if (r == 0 && mprotect(d->data + READ_ONLY_PAGE * PAGE_BYTES, PAGE_BYTES, PROT_READ) < 0)
		r = -errno;
	return r;
}

int differential_new(struct differential **ret_differential)
{
	struct differential *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = map_areas(d);
	if (r == 0)
		r = make_partition(d);
	if (r < 0) {
		free(d);
		return r;
	}
	install_handlers();
	*ret_differential = d;
	return 0;
}

void differential_free(struct differential *d)
{
	restore_handlers();
	partition_free(d->part);
	guest_memory_free(&d->memory);
	munmap(d->code, CODE_BYTES);
	munmap(d->code_write, CODE_BYTES);
	munmap(d->data, DATA_BYTES);
	munmap(d->data_write, DATA_BYTES);
	free(d);
}

/* --- comparing --- */

static const char *const register_names[VP_GPR_COUNT] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static const char *differs(const char *what, uint64_t at, uint64_t native, uint64_t engine)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s %#llx: native %#llx, engine %#llx", what,
		 (unsigned long long)at, (unsigned long long)native, (unsigned long long)engine);
	return text;
}

/* x87 opcode and pointers, the MXCSR mask, and what the kernel keeps in the frame */
static bool xsave_byte_ignored(unsigned int i)
{
	return (i >= 6 && i < 24) || (i >= 28 && i < 32) || (i >= 464 && i < 576);
}

static const char *compare_bytes(const char *what, const uint8_t *native, const uint8_t *engine,
				 size_t bytes, bool (*ignored)(unsigned int i))
{
	for (unsigned int i = 0; i < bytes; i++)
		if (native[i] != engine[i] && !(ignored && ignored(i)))
			return differs(what, i, native[i], engine[i]);
	return NULL;
}

/* The kernel tells less than the truth about what is not for user space, the last page below it
 * included. */
static const char *compare_fault(const struct machine_state *native,
				 const struct machine_state *engine)
{
	if (native->vector != engine->vector)
		return differs("exception", native->rip, native->vector, engine->vector);
	if (native->vector != 14 || native->cr2 >= BIT(47) - PAGE_BYTES)
		return NULL;
	if (native->cr2 != engine->cr2)
		return differs("cr2 of", native->rip, native->cr2, engine->cr2);
	if (native->error != engine->error)
		return differs("error code of", native->rip, native->error, engine->error);
	return NULL;
}

static bool is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* The engine finds a branch to a non-canonical address at its target, processors at the branch. */
static bool branched_nowhere(const struct machine_state *native, const struct machine_state *engine)
{
	return native->vector == 13 && engine->vector == 13 && !is_canonical(engine->rip);
}

/* An x87 error that waits comes before a fault of the operand; the engine sees the latter first. */
static bool waiting_x87_error(const struct machine_state *native,
			      const struct machine_state *engine)
{
	return native->vector == 16 && engine->vector >= 12 && engine->vector <= 14 &&
	       native->rip == engine->rip;
}

/* Operands that reach past 4 GiB: wide ones are checked in pieces, in an order of their own. */
static bool beyond_segment(const struct machine_state *native, const struct machine_state *engine)
{
	return native->code32 && native->vector == 14 && engine->vector == 13 &&
	       native->cr2 >= 0xffffff00;
}

const char *differential_compare(const struct machine_state *native,
				 const struct machine_state *engine, uint64_t flags_compared)
{
	const char *difference = compare_fault(native, engine);
	uint64_t flags = (native->rflags ^ engine->rflags) & flags_compared;

	if (branched_nowhere(native, engine) || waiting_x87_error(native, engine) ||
	    beyond_segment(native, engine))
		return NULL;
	if (difference)
		return difference;
	if (native->rip != engine->rip)
		return differs("rip", 0, native->rip, engine->rip);
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		if (native->gpr[i] != engine->gpr[i])
			return differs(register_names[i], 0, native->gpr[i], engine->gpr[i]);
	if (flags)
		return differs("rflags", flags, native->rflags & flags_compared,
			       engine->rflags & flags_compared);
	if (memcmp(native->data, engine->data, DATA_BYTES) != 0)
		return compare_bytes("memory", native->data, engine->data, DATA_BYTES, NULL);
	return compare_bytes("xsave byte", native->xsave, engine->xsave, XSAVE_COMPARED,
			     xsave_byte_ignored);
}
