/*
 * differential.c - runs machine code natively and in the engine, from and to the same state
 *
 * Native side: a signal handler replaces its own return context by the state to start from; the
 * exception at the end of the run enters the handler again, which notes the state and jumps out.
 *
 * Engine side: one VP in 64-bit mode at CPL 3, page tables that map code and data at the host's
 * addresses, and an IDT whose gates all lead to a supervisor stub that writes the vector to a port.
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

#define GUEST_BYTES (2 * MIB)
#define SIGNAL_STACK (64 * KIB)

/* Guest physical layout. */
enum {
	GPA_PML4 = 0x1000, GPA_PDPT = 0x2000, GPA_PD = 0x3000, /* one PT per 2 MiB area follows */
	GPA_PT_CODE = 0x4000, GPA_PT_DATA = 0x5000, GPA_PT_SYSTEM = 0x6000,
	GPA_GDT = 0x7000, GPA_IDT = 0x8000, GPA_TSS = 0x9000, GPA_STUBS = 0xa000, GPA_STACK = 0xb000,
	GPA_CODE = 0x100000, GPA_DATA = 0x20000,
};
#define SYSTEM_VA 0x30000000ull /* guest physical 0..2 MiB for the supervisor */
#define PORT_VECTOR 0x80

struct differential {
	uint8_t *code, *data; /* at CODE_VA, DATA_VA in this process */
	struct guest_memory memory;
	struct partition *part;
	struct vp *vp;
	struct vp_state start; /* template */
	struct vp_exit exit;
	uint32_t used; /* bytes of the code area */
};

/* --- native --- */

static const uint8_t context_registers[VP_GPR_COUNT] = {
	[VP_RAX] = REG_RAX, [VP_RCX] = REG_RCX, [VP_RDX] = REG_RDX, [VP_RBX] = REG_RBX,
	[VP_RSP] = REG_RSP, [VP_RBP] = REG_RBP, [VP_RSI] = REG_RSI, [VP_RDI] = REG_RDI,
	[VP_R8] = REG_R8,   [VP_R9] = REG_R9,   [VP_R10] = REG_R10, [VP_R11] = REG_R11,
	[VP_R12] = REG_R12, [VP_R13] = REG_R13, [VP_R14] = REG_R14, [VP_R15] = REG_R15,
};

static struct machine_state *native_state;
static sigjmp_buf native_return;

static void start_native(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *registers = uc->uc_mcontext.gregs;

	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		registers[context_registers[i]] = native_state->gpr[i];
	registers[REG_RIP] = native_state->rip;
	registers[REG_EFL] = native_state->rflags;
	/* The frame's own software bytes (464..511) stay; the kernel checks them. */
	memcpy(uc->uc_mcontext.fpregs, native_state->xsave, 464);
	memcpy((uint8_t *)uc->uc_mcontext.fpregs + 576, native_state->xsave + 576, 256);
	*(uint64_t *)((uint8_t *)uc->uc_mcontext.fpregs + 512) = 7;
}

static void stop_native(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *registers = uc->uc_mcontext.gregs;
	const uint8_t *xsave = (const uint8_t *)uc->uc_mcontext.fpregs;

	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		native_state->gpr[i] = registers[context_registers[i]];
	native_state->rip = registers[REG_RIP];
	native_state->rflags = registers[REG_EFL];
	native_state->vector = registers[REG_TRAPNO];
	memcpy(native_state->xsave, xsave, XSAVE_COMPARED);
	siglongjmp(native_return, 1);
}

/* Restores whatever handlers were there, such as the engine's. */
static void swap_handlers(struct sigaction *saved, bool install)
{
	static const int numbers[] = {SIGUSR1, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
		action.sa_sigaction = numbers[i] == SIGUSR1 ? start_native : stop_native;
		sigaction(numbers[i], install ? &action : &saved[i], install ? &saved[i] : NULL);
	}
}

int differential_native(struct differential *d, struct machine_state *state)
{
	static uint8_t stack_bytes[SIGNAL_STACK];
	stack_t stack = {.ss_sp = stack_bytes, .ss_size = sizeof(stack_bytes)}, old_stack;
	struct sigaction saved[6];
	sigset_t mask, old_mask;

	memcpy(d->data, state->data, DATA_BYTES);
	native_state = state;
	sigaltstack(&stack, &old_stack);
	sigemptyset(&mask);
	sigprocmask(SIG_SETMASK, &mask, &old_mask);
	swap_handlers(saved, true);
	if (sigsetjmp(native_return, 0) == 0)
		raise(SIGUSR1);
	__asm__ volatile("cld; fninit");
	swap_handlers(saved, false);
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	sigaltstack(&old_stack, NULL);
	memcpy(state->data, d->data, DATA_BYTES);
	return 0;
}

/* --- engine --- */

static void put64(struct differential *d, gpa_t gpa, uint64_t value)
{
	memcpy(d->memory.base + gpa, &value, 8);
}

static void map_pages(struct differential *d, gpa_t table, uint64_t va, gpa_t gpa, unsigned int pages, uint64_t bits)
{
	put64(d, GPA_PD + (va >> 21 & 511) * 8, table | 7);
	for (unsigned int i = 0; i < pages; i++)
		put64(d, table + ((va >> 12) + i) % 512 * 8, (gpa + i * PAGE_BYTES) | bits);
}

static void build_page_tables(struct differential *d)
{
	put64(d, GPA_PML4, GPA_PDPT | 7);
	put64(d, GPA_PDPT, GPA_PD | 7);
	map_pages(d, GPA_PT_CODE, CODE_VA, GPA_CODE, CODE_BYTES / PAGE_BYTES, 7);
	map_pages(d, GPA_PT_DATA, DATA_VA, GPA_DATA, DATA_BYTES / PAGE_BYTES, 7);
	map_pages(d, GPA_PT_SYSTEM, SYSTEM_VA, 0, GUEST_BYTES / PAGE_BYTES, 3);
}

/* Each vector's stub: push the vector; out it with AL saved on the stack; wait. */
static void build_idt(struct differential *d)
{
	for (unsigned int vector = 0; vector < 32; vector++) {
		uint64_t stub = SYSTEM_VA + GPA_STUBS + vector * 16;
		uint8_t code[16] = {0x50, 0xb0, vector, 0xe6, PORT_VECTOR, 0xf4, 0xeb, 0xfd};

		memcpy(d->memory.base + GPA_STUBS + vector * 16, code, sizeof(code));
		put64(d, GPA_IDT + vector * 16,
		      (stub & 0xffff) | 0x08 << 16 | 0xee0000000000ull | (stub >> 16 & 0xffff) << 48);
		put64(d, GPA_IDT + vector * 16 + 8, stub >> 32);
	}
	put64(d, GPA_TSS + 4, SYSTEM_VA + GPA_STACK + PAGE_BYTES - 256);
}

static struct vp_segment segment(uint16_t selector, uint32_t access)
{
	return (struct vp_segment){.selector = selector, .limit = 0xffffffff, .access = access};
}

static void build_state(struct differential *d, struct vp_state *s)
{
	put64(d, GPA_GDT + 0x08, 0x00af9b000000ffffull); /* kernel code */
	put64(d, GPA_GDT + 0x10, 0x00cf93000000ffffull); /* kernel data */
	s->segment[VP_CS] = segment(0x1b, 0xa0fb);
	s->segment[VP_SS] = s->segment[VP_DS] = s->segment[VP_ES] = segment(0x23, 0xc0f3);
	s->segment[VP_FS] = s->segment[VP_GS] = segment(0x23, 0xc0f3);
	s->segment[VP_TR] = (struct vp_segment){
		.selector = 0x28, .base = SYSTEM_VA + GPA_TSS, .limit = 0x67, .access = 0x8b};
	s->segment[VP_LDTR] = (struct vp_segment){.access = VP_SEG_UNUSABLE};
	s->gdtr = (struct vp_table){SYSTEM_VA + GPA_GDT, 0x2f};
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
		r = partition_map_gpa(d->part, 0, GUEST_BYTES, d->memory.base, MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE);
	if (r == 0)
		r = partition_create_vp(d->part, 0, &d->vp);
	if (r < 0)
		return r;
	build_page_tables(d);
	build_idt(d);
	vp_get_state(d->vp, &d->start);
	build_state(d, &d->start);
	return 0;
}

#define RAM (MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE)

uint64_t differential_place(struct differential *d, const uint8_t *code, size_t bytes)
{
	uint32_t at = d->used;

	if (at + bytes > CODE_BYTES) { /* over again: the engine must forget what stood there */
		partition_unmap_gpa(d->part, 0, GUEST_BYTES);
		partition_map_gpa(d->part, 0, GUEST_BYTES, d->memory.base, RAM);
		at = 0;
	}
	memcpy(d->code + at, code, bytes);
	memcpy(d->memory.base + GPA_CODE + at, code, bytes);
	d->used = at + bytes;
	return CODE_VA + at;
}

int differential_engine(struct differential *d, struct machine_state *state)
{
	struct vp_state *s = &d->start;
	static struct vp_state after;
	uint64_t frame[5];
	gpa_t top = GPA_STACK + PAGE_BYTES - 256;
	bool error;
	int r;

	memcpy(d->memory.base + GPA_DATA, state->data, DATA_BYTES);
	memcpy(s->regs.gpr, state->gpr, sizeof(state->gpr));
	s->regs.rip = state->rip;
	s->regs.rflags = (state->rflags & ~BIT(9)) | 2;
	memcpy(s->xsave, state->xsave, sizeof(s->xsave));
	r = vp_set_state(d->vp, s);
	if (r < 0)
		return r;
	r = vp_run(d->vp, &d->exit);
	if (r < 0 || d->exit.reason != VP_EXIT_PIO)
		return -EIO;
	vp_get_state(d->vp, &after);
	state->vector = d->exit.pio.data;
	error = state->vector == 8 || (state->vector >= 10 && state->vector <= 14) || state->vector == 17;
	memcpy(frame, d->memory.base + top - (error ? 48 : 40) + (error ? 8 : 0), 40);
	memcpy(state->gpr, after.regs.gpr, sizeof(state->gpr));
	memcpy(&state->gpr[VP_RAX], d->memory.base + top - (error ? 56 : 48), 8);
	state->rip = frame[0];
	state->rflags = frame[2];
	state->gpr[VP_RSP] = frame[3];
	memcpy(state->xsave, after.xsave, XSAVE_COMPARED);
	memcpy(state->data, d->memory.base + GPA_DATA, DATA_BYTES);
	return 0;
}

/* --- both --- */

int differential_new(struct differential **ret_differential)
{
	struct differential *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->code = mmap((void *)CODE_VA, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	d->data = mmap((void *)DATA_VA, DATA_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	r = d->code == MAP_FAILED || d->data == MAP_FAILED ? -ENOMEM : make_partition(d);
	if (r < 0) {
		differential_free(d);
		return r;
	}
	*ret_differential = d;
	return 0;
}

void differential_free(struct differential *d)
{
	partition_free(d->part);
	guest_memory_free(&d->memory);
	munmap(d->code, CODE_BYTES);
	munmap(d->data, DATA_BYTES);
	free(d);
}

static const char *const register_names[VP_GPR_COUNT] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

const char *differential_compare(const struct machine_state *native, const struct machine_state *engine,
				 uint64_t flags_compared)
{
	static char text[160];

#define DIFFERS(name, a, b)                                                                        \
	(snprintf(text, sizeof(text), "%s: native %#llx, engine %#llx", name, (unsigned long long)(a), \
		  (unsigned long long)(b)),                                                                   \
	 text)
	if (native->vector != engine->vector)
		return DIFFERS("exception", native->vector, engine->vector);
	if (native->rip != engine->rip)
		return DIFFERS("rip", native->rip, engine->rip);
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		if (native->gpr[i] != engine->gpr[i])
			return DIFFERS(register_names[i], native->gpr[i], engine->gpr[i]);
	if ((native->rflags ^ engine->rflags) & flags_compared)
		return DIFFERS("rflags", native->rflags & flags_compared, engine->rflags & flags_compared);
	for (unsigned int i = 0; i < DATA_BYTES; i++)
		if (native->data[i] != engine->data[i])
			return DIFFERS("memory", (uint64_t)i << 8 | native->data[i], (uint64_t)i << 8 | engine->data[i]);
	for (unsigned int i = 0; i < XSAVE_COMPARED; i++) {
		/* x87 opcode and pointers, the MXCSR mask, and what the kernel keeps in the frame */
		if ((i >= 8 && i < 24) || (i >= 464 && i < 576) || i == 6 || i == 7 || i == 28 || i == 29 || i == 30 || i == 31)
			continue;
		if (native->xsave[i] != engine->xsave[i])
			return DIFFERS("xsave byte", i << 8 | native->xsave[i], i << 8 | engine->xsave[i]);
	}
	return NULL;
#undef DIFFERS
}
