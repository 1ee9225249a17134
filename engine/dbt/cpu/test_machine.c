/* test_machine.c - see test_machine.h */
#include <stdlib.h>

#include "apic.h"
#include "cpuid_lookup.h"
#include "test_machine.h"

/* --- stand-ins --- */

static int page_fault(struct dbt_vp *vp, uint64_t va, uint32_t access, bool write)
{
	bool user = (access & ACCESS_USER) || (vp->cpl == 3 && !(access & ACCESS_SUPERVISOR));

	vp_raise_error(vp, VEC_PF, (write ? 2 : 0) | (user ? 4 : 0));
	vp->exception.cr2 = va;
	return -1;
}

static bool touches(uint64_t va, uint32_t bytes, uint64_t page)
{
	return page && va + bytes > page && va < page + PAGE_BYTES;
}

int mmu_read(struct dbt_vp *vp, uint64_t va, void *buffer, uint32_t bytes, uint32_t access)
{
	vp->mmu->reads++;
	if (touches(va, bytes, NOWHERE))
		return page_fault(vp, va, access, false);
	if (touches(va, bytes, vp->mmu->mmio_page)) {
		vp->exit.reason = VP_EXIT_MMIO;
		vp->leave = LEAVE_EXIT;
		return -1;
	}
	assert_true(bytes <= 64);
	for (uint32_t i = 0; i < bytes; i++)
		((uint8_t *)buffer)[i] = vp->mmu->bytes[(va + i) % MACHINE_BYTES];
	return 0;
}

int mmu_write(struct dbt_vp *vp, uint64_t va, const void *buffer, uint32_t bytes, uint32_t access)
{
	vp->mmu->writes++;
	if (touches(va, bytes, NOWHERE))
		return page_fault(vp, va, access, true);
	if (touches(va, bytes, vp->mmu->mmio_page)) {
		vp->exit.reason = VP_EXIT_MMIO;
		vp->leave = LEAVE_EXIT;
		return 1;
	}
	assert_true(bytes <= 64);
	for (uint32_t i = 0; i < bytes; i++)
		vp->mmu->bytes[(va + i) % MACHINE_BYTES] = ((const uint8_t *)buffer)[i];
	return 0;
}

void mmu_flush_all(struct dbt_vp *vp)
{
	vp->mmu->flushes++;
}

uint32_t code_cache_mode_slot(struct dbt_vp *vp, uint32_t mode)
{
	return mode % MODE_SLOTS;
}

void apic_reset(struct dbt_vp *vp, bool init)
{
}

void apic_get_state(struct dbt_vp *vp, struct vp_state *ret_state)
{
	ret_state->apic_base = vp->apic_base;
	ret_state->cr8 = vp->apic.tpr >> 4;
	ret_state->lapic[0] = vp->apic.id;
}

int apic_set_state(struct dbt_vp *vp, const struct vp_state *state)
{
	if (state->lapic[1] == 0xbb)
		return -1;
	vp->apic_base = state->apic_base;
	vp->apic.tpr = state->cr8 << 4;
	vp->apic.id = state->lapic[0];
	return 0;
}

const struct cpuid_leaf *cpuid_find(const struct dbt_partition *part, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < part->cpuid_count; i++)
		if (part->cpuid[i].leaf == leaf)
			return &part->cpuid[i];
	return NULL;
}

bool cpuid_is_amd(const struct dbt_partition *part)
{
	return part->cpuid[0].ebx == 0x68747541;
}

uint64_t cpu_xcr0_supported(void)
{
	return 7;
}

/* --- the machine --- */

uint64_t make_descriptor(uint32_t base, uint32_t limit, uint32_t access)
{
	if (access & VP_SEG_G)
		limit >>= 12;
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit & 0xf0000) << 32 | (uint64_t)(base & 0xff000000) << 32;
}

void put_bytes(struct machine *machine, uint64_t at, const void *bytes, size_t count)
{
	memcpy(machine->mmu.bytes + at, bytes, count);
}

void put64(struct machine *machine, uint64_t at, uint64_t value)
{
	put_bytes(machine, at, &value, 8);
}

uint64_t get64(struct machine *machine, uint64_t at)
{
	uint64_t value;

	memcpy(&value, machine->mmu.bytes + at, 8);
	return value;
}

uint32_t get32(struct machine *machine, uint64_t at)
{
	return get64(machine, at);
}

uint16_t get16(struct machine *machine, uint64_t at)
{
	return get64(machine, at);
}

static void put_gdt(struct machine *machine)
{
	static const struct {
		uint16_t selector;
		uint32_t base, limit, access;
	} rows[] = {
		{ K_CODE32, 0, ~0u, 0xc09b },      { K_CODE64, 0, ~0u, 0xa09b },
		{ K_DATA, 0, ~0u, 0xc093 },        { U_CODE32, 0, ~0u, 0xc0fb },
		{ U_DATA, 0, ~0u, 0xc0f3 },        { U_CODE64, 0, ~0u, 0xa0fb },
		{ SEL_TSS, TSS, 0x67, 0x89 },      { SEL_LDT, LDT, 0xf, 0x82 },
		{ CODE16, 0x50000, 0xffff, 0x9b }, { DATA16, 0x10000, 0xffff, 0x93 },
		{ CONFORMING, 0, ~0u, 0xa09f },    { READ_ONLY, 0, ~0u, 0xc091 },
		{ ABSENT_DATA, 0, ~0u, 0xc013 },   { EXECUTE_ONLY, 0, ~0u, 0xc099 },
		{ FRESH_DATA, 0x12345678, 0xfffff, 0xc0f2 }, { LONG_AND_BIG, 0, ~0u, 0xe09b },
		{ ABSENT_CODE, 0, ~0u, 0xa01b },   { TASK_GATE, SEL_TSS, 0, 0x85 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		put64(machine, GDT + rows[i].selector,
		      make_descriptor(rows[i].base, rows[i].limit, rows[i].access));
	put64(machine, LDT + 8, make_descriptor(0x77000, 0xffff, 0x93));
	/* 32-bit call gates to K_CODE32:KERNEL_RIP, DPL 0 and DPL 3 with two parameters */
	put64(machine, GDT + CALL_GATE, 0x00028c0000080000ull);
	put64(machine, GDT + INNER_GATE, 0x0002ec0200080000ull);
}

struct machine *machine_new(void)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	struct dbt_vp *vp = aligned_alloc(64, ALIGN_UP(sizeof(*vp), 64));

	assert_non_null(machine);
	assert_non_null(vp);
	memset(vp, 0, sizeof(*vp));
	machine->vp = vp;
	vp->vp.part = &machine->part.part;
	vp->mmu = &machine->mmu;
	machine->part.part.vp_count = 1;
	machine->part.part.vps[0] = &vp->vp;
	machine->part.physical_bits = 40;
	machine->part.cpuid_count = 2;
	machine->part.cpuid[0] = (struct cpuid_leaf){ .leaf = 0, .ebx = 0x68747541 };
	machine->part.cpuid[1] = (struct cpuid_leaf){ .leaf = 1, .eax = 0xa00f11 };
	put_gdt(machine);
	cpu_reset(vp, false);
	return machine;
}

void machine_free(struct machine *machine)
{
	free(machine->vp);
	free(machine);
}

static void set_segment(struct machine *machine, enum vp_segment_index index, uint16_t selector)
{
	uint64_t raw = get64(machine, GDT + (selector & ~7u));

	segment_fill(&machine->vp->seg[index], selector, raw);
}

static void put_tss(struct machine *machine)
{
	static const uint32_t tss32[] = { 0, RSP0, K_DATA };

	machine->vp->seg[VP_TR] = (struct vp_segment){ .base = TSS, .limit = 0x67, .access = 0x8b, .selector = SEL_TSS };
	if (in_long_mode(machine->vp)) {
		put64(machine, TSS + 4, RSP0);
		put64(machine, TSS + 0x24, IST1);
	} else {
		put_bytes(machine, TSS, tss32, sizeof(tss32));
	}
}

static struct machine *machine_running(unsigned int cpl, uint64_t efer, uint16_t cs)
{
	struct machine *machine = machine_new();
	struct dbt_vp *vp = machine->vp;

	vp->cr0 = 0x80050033;
	vp->cr4 = 0x6a0; /* PAE, PGE, OSFXSR, OSXMMEXCPT */
	vp->efer = efer;
	vp->gdtr = (struct vp_table){ .base = GDT, .limit = GDT_BYTES - 1 };
	vp->idtr = (struct vp_table){ .base = IDT, .limit = 0xfff };
	set_segment(machine, VP_CS, cs | cpl);
	for (unsigned int i = 0; i <= VP_GS; i++)
		if (i != VP_CS)
			set_segment(machine, i, (cpl ? U_DATA : K_DATA) | cpl);
	segment_null(&vp->seg[VP_LDTR], 0, 0);
	put_tss(machine);
	vp->cpl = cpl;
	vp->rip = cpl ? USER_RIP : KERNEL_RIP;
	vp->next_rip = vp->rip + 2;
	vp->gpr[VP_RSP] = cpl ? USER_RSP : KERNEL_RSP;
	vp_set_rflags(vp, FLAG_IF | FLAG_CF | FLAG_ZF);
	cpu_update_mode(vp);
	machine->mmu.reads = machine->mmu.writes = 0;
	return machine;
}

struct machine *machine_long(unsigned int cpl)
{
	return machine_running(cpl, 0xd01, cpl ? U_CODE64 : K_CODE64);
}

struct machine *machine_compat(unsigned int cpl)
{
	return machine_running(cpl, 0xd01, cpl ? U_CODE32 : K_CODE32);
}

struct machine *machine_protected(unsigned int cpl)
{
	return machine_running(cpl, 0, cpl ? U_CODE32 : K_CODE32);
}

struct machine *machine_real(void)
{
	struct machine *machine = machine_new();
	struct dbt_vp *vp = machine->vp;

	vp->seg[VP_CS] = (struct vp_segment){ .base = 0x30000, .limit = 0xffff, .access = 0x9b, .selector = 0x3000 };
	vp->seg[VP_SS] = (struct vp_segment){ .base = 0x10000, .limit = 0xffff, .access = 0x93, .selector = 0x1000 };
	vp->rip = 0x100;
	vp->next_rip = 0x102;
	vp->gpr[VP_RSP] = 0xabcd0800;
	vp_set_rflags(vp, FLAG_IF | FLAG_CF);
	vp->idtr = (struct vp_table){ .base = 0, .limit = 0x3ff };
	cpu_update_mode(vp);
	return machine;
}

void put_gate(struct machine *machine, uint8_t vector, uint16_t selector, uint8_t type, uint8_t dpl, uint8_t ist)
{
	uint64_t offset = HANDLER(vector);
	uint64_t raw = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
		       (uint64_t)(type | dpl << 5 | 0x80) << 40 | (offset & 0xffff0000) << 32;

	if (in_long_mode(machine->vp)) {
		put64(machine, IDT + vector * 16, raw);
		put64(machine, IDT + vector * 16 + 8, 0);
	} else {
		put64(machine, IDT + vector * 8, raw);
	}
}
