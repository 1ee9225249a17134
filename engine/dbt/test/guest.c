/*
 * guest.c - the small guest: tables in its memory, and states for each mode
 */
#include "guest.h"

#include <string.h>

enum {
	PML4 = GUEST_TABLES,
	PDPT = PML4 + 0x1000,
	PD = PDPT + 0x1000,
	ALIAS_PD = PD + 0x1000,
	PD32 = ALIAS_PD + 0x1000,
	GDT = PD32 + 0x1000,
	TSS = GDT + 0x1000,
};

#define CANARY_BYTES (64 * KIB)

static uint64_t canary_word(unsigned int i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ull;
}

static void fill_canary(uint8_t *at)
{
	for (unsigned int i = 0; i < CANARY_BYTES / 8; i++)
		memcpy(at + i * 8, &(uint64_t){canary_word(i)}, 8);
}

static bool canary_intact(const uint8_t *at)
{
	for (unsigned int i = 0; i < CANARY_BYTES / 8; i++)
		if (memcmp(at + i * 8, &(uint64_t){canary_word(i)}, 8) != 0)
			return false;
	return true;
}

bool guest_canaries_intact(const struct guest *guest)
{
	return canary_intact(guest->memory.base) && canary_intact(guest->ram + GUEST_BYTES);
}

static void put64(struct guest *guest, gpa_t gpa, uint64_t value)
{
	memcpy(guest->ram + gpa, &value, 8);
}

static void build_tables(struct guest *guest)
{
	static const uint64_t descriptors[] = {
		0,
		0x00af9b000000ffff,
		0x00cf93000000ffff,
		0x00cf9b000000ffff, /* 08: code64, 10: data, 18: code32 */
		0x00cffb000000ffff,
		0x00cff3000000ffff,
		0x00affb000000ffff, /* 20, 28, 30: for CPL 3 */
		0x00009b000000ffff,
		0x000093000000ffff, /* 38, 40: 16-bit */
	};

	put64(guest, PML4, PDPT | 7);
	put64(guest, PDPT, PD | 7);
	put64(guest, PDPT + (GUEST_ALIAS >> 30) * 8, ALIAS_PD | 7);
	for (unsigned int i = 0; i < GUEST_BYTES / (2 * MIB); i++) {
		put64(guest, PD + i * 8, i * 2 * MIB | 0x87);
		put64(guest, ALIAS_PD + i * 8, i * 2 * MIB | 0x87);
	}
	put64(guest, PD32, 0x87); /* one 4 MiB page, PSE */
	memcpy(guest->ram + GDT, descriptors, sizeof(descriptors));
	put64(guest, TSS + 4, GUEST_STACK - 0x10000);
}

int guest_new(unsigned int vps, struct guest *guest)
{
	static struct cpuid_leaf leaves[PARTITION_MAX_CPUID];
	struct partition_config config = {.vp_count = vps, .cpuid = leaves};
	int r;

	memset(guest, 0, sizeof(*guest));
	config.cpuid_count = dbt_engine.supported_cpuid(leaves);
	r = guest_memory_new(GUEST_BYTES + 2 * CANARY_BYTES, &guest->memory);
	if (r < 0)
		return r;
	guest->ram = guest->memory.base + CANARY_BYTES;
	fill_canary(guest->memory.base);
	fill_canary(guest->ram + GUEST_BYTES);
	build_tables(guest);
	r = partition_new(&dbt_engine, &config, &guest->part);
	if (r == 0)
		r = partition_map_gpa(guest->part, 0, GUEST_BYTES, guest->ram,
				      MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE);
	for (unsigned int i = 0; r == 0 && i < vps; i++)
		r = partition_create_vp(guest->part, i, &guest->vp[i]);
	if (r == 0)
		r = vp_get_state(guest->vp[0], &guest->reset);
	return r;
}

void guest_free(struct guest *guest)
{
	if (guest->part)
		partition_free(guest->part);
	guest_memory_free(&guest->memory);
}

struct mode_row {
	uint16_t code, data; /* selectors at CPL 0; at CPL 3 they are 0x18 and so on further */
	uint32_t code_access, data_access, limit;
	uint64_t cr0, cr3, cr4, efer;
};
static const struct mode_row modes[] = {
	[GUEST_REAL] = {0, 0, 0x009b, 0x0093, 0xffff, 0x10, 0, 0x600, 0},
	[GUEST_PROTECTED_16] = {0x38, 0x40, 0x009b, 0x0093, 0xffff, 0x31, 0, 0x600, 0},
	[GUEST_PROTECTED_32] = {0x18, 0x10, 0xc09b, 0xc093, 0xffffffff, 0x31, 0, 0x600, 0},
	[GUEST_PAGED_32] = {0x18, 0x10, 0xc09b, 0xc093, 0xffffffff, 0x80000031, PD32, 0x610, 0},
	[GUEST_COMPATIBILITY] = {0x18, 0x10, 0xc09b, 0xc093, 0xffffffff, 0x80000031, PML4, 0x40620,
				 0xd00},
	[GUEST_LONG] = {0x08, 0x10, 0xa09b, 0xc093, 0xffffffff, 0x80000031, PML4, 0x40620, 0xd00},
};

static uint16_t selector_of(uint16_t selector, enum guest_mode mode, unsigned int cpl)
{
	if (cpl == 0)
		return selector;
	return (selector == modes[mode].data ? 0x28 : mode == GUEST_LONG ? 0x30 : 0x20) | 3;
}

void guest_state(struct guest *guest, enum guest_mode mode, unsigned int cpl, uint64_t rip,
		 struct vp_state *s)
{
	const struct mode_row *row = &modes[mode];
	uint32_t dpl = cpl << VP_SEG_DPL_SHIFT;

	*s = guest->reset;
	for (unsigned int i = VP_ES; i <= VP_GS; i++)
		s->segment[i] = (struct vp_segment){
			.selector = selector_of(i == VP_CS ? row->code : row->data, mode, cpl),
			.limit = row->limit,
			.access = (i == VP_CS ? row->code_access : row->data_access) | dpl};
	s->segment[VP_TR] =
		(struct vp_segment){.selector = 0x48, .base = TSS, .limit = 0x67, .access = 0x8b};
	s->segment[VP_LDTR] = (struct vp_segment){.access = VP_SEG_UNUSABLE};
	s->gdtr = (struct vp_table){GDT, 9 * 8 - 1};
	s->idtr = (struct vp_table){0, 0};
	s->cr0 = row->cr0;
	s->cr3 = row->cr3;
	s->cr4 = row->cr4;
	s->efer = row->efer;
	s->xcr0 = 7;
	s->regs = (struct vp_regs){.rip = rip, .rflags = 2};
	s->regs.gpr[VP_RSP] =
		mode == GUEST_REAL || mode == GUEST_PROTECTED_16 ? 0xfff0 : GUEST_STACK;
	s->activity = VP_RUNNING;
}
