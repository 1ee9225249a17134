/*
 * entry.c - what a kernel finds in the processor's registers at its first instruction
 *
 * Linux boot protocol, "64-bit boot protocol": paging on with the kernel, the zero page and the
 * command line mapped one to one; a GDT with __BOOT_CS (0x10) and __BOOT_DS (0x18) flat; RSI is
 * the zero page; interrupts off. PVH and multiboot: flat 32-bit segments, paging off. TR holds a
 * busy TSS in both, since hardware virtualization insists on one.
 */
#include "boot_internal.h"

#include <string.h>

#define CR0_PE	 BIT(0)
#define CR0_ET	 BIT(4)
#define CR0_NE	 BIT(5)
#define CR0_PG	 BIT(31)
#define CR4_PAE	 BIT(5)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)

#define PTE_PRESENT	 BIT(0)
#define PTE_WRITABLE	 BIT(1)
#define PTE_LARGE	 BIT(7)
#define LARGE_PAGE_SHIFT 21
#define MAPPED_GIB	 4

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS  0x20

#define ACCESS_CODE64 (0xb | VP_SEG_S | VP_SEG_P | VP_SEG_L | VP_SEG_G)
#define ACCESS_CODE32 (0xb | VP_SEG_S | VP_SEG_P | VP_SEG_DB | VP_SEG_G)
#define ACCESS_DATA   (0x3 | VP_SEG_S | VP_SEG_P | VP_SEG_DB | VP_SEG_G)
#define ACCESS_TSS    (0xb | VP_SEG_P)

static void write_identity_tables(const struct boot_request *request)
{
	uint64_t *tables = boot_hva(request, BOOT_TABLES_GPA, (2 + MAPPED_GIB) * PAGE_BYTES);
	uint64_t *pml4 = tables, *pdpt = tables + 512, *directories = tables + 1024;

	memset(tables, 0, 2 * PAGE_BYTES);
	pml4[0] = (BOOT_TABLES_GPA + PAGE_BYTES) | PTE_PRESENT | PTE_WRITABLE;
	for (uint64_t i = 0; i < MAPPED_GIB; i++)
		pdpt[i] = (BOOT_TABLES_GPA + (2 + i) * PAGE_BYTES) | PTE_PRESENT | PTE_WRITABLE;
	for (uint64_t i = 0; i < MAPPED_GIB * 512; i++)
		directories[i] = (i << LARGE_PAGE_SHIFT) | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
}

/* A flat descriptor: base 0, limit 4 GiB, @access as vp_segment has it. */
static uint64_t flat_descriptor(uint32_t access)
{
	return 0x000f00000000ffffull | (uint64_t)access << 40;
}

static void write_gdt(const struct boot_request *request, struct vp_state *state,
		      uint32_t code_access)
{
	const uint64_t gdt[] = {0,
				0,
				flat_descriptor(code_access),
				flat_descriptor(ACCESS_DATA),
				0x0000000000000067ull | (uint64_t)ACCESS_TSS << 40,
				0};

	memcpy(boot_hva(request, BOOT_GDT_GPA, sizeof(gdt)), gdt, sizeof(gdt));
	state->gdtr = (struct vp_table){.base = BOOT_GDT_GPA, .limit = sizeof(gdt) - 1};
	state->idtr = (struct vp_table){};
}

static void flat_segments(struct vp_state *state, uint32_t code_access)
{
	static const enum vp_segment_index data[] = {VP_ES, VP_SS, VP_DS, VP_FS, VP_GS};

	state->segment[VP_CS] = (struct vp_segment){0, UINT32_MAX, code_access, SELECTOR_CODE};
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		state->segment[data[i]] =
			(struct vp_segment){0, UINT32_MAX, ACCESS_DATA, SELECTOR_DATA};
	state->segment[VP_TR] = (struct vp_segment){0, 0x67, ACCESS_TSS, SELECTOR_TSS};
	state->segment[VP_LDTR] = (struct vp_segment){.access = VP_SEG_UNUSABLE};
}

static void start_at(struct vp_state *state, gpa_t entry)
{
	memset(&state->regs, 0, sizeof(state->regs));
	state->regs.rip = entry;
	state->regs.rflags = 2;
	state->regs.gpr[VP_RSP] = BOOT_AREA_GPA; /* no protocol promises a stack; free memory */
	state->activity = VP_RUNNING;
}

void entry_64bit(const struct boot_request *request, struct vp_state *state, gpa_t entry)
{
	write_identity_tables(request);
	write_gdt(request, state, ACCESS_CODE64);
	flat_segments(state, ACCESS_CODE64);
	state->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	state->cr3 = BOOT_TABLES_GPA;
	state->cr4 = CR4_PAE;
	state->efer = EFER_LME | EFER_LMA;
	start_at(state, entry);
}

void entry_32bit(const struct boot_request *request, struct vp_state *state, gpa_t entry)
{
	write_gdt(request, state, ACCESS_CODE32);
	flat_segments(state, ACCESS_CODE32);
	state->cr0 = CR0_PE | CR0_ET | CR0_NE;
	state->cr3 = 0;
	state->cr4 = 0;
	state->efer = 0;
	start_at(state, entry);
}
