/* harness.c - the fakes behind harness.h */
#include "harness.h"

#include "../apic.h"

struct harness h;

/* --- set-up --- */

static void flat_segment(unsigned int seg, uint32_t access)
{
	h.vp.seg[seg] = (struct vp_segment){.limit = 0xffffffff, .access = access};
}

void harness_reset(void)
{
	memset(&h, 0, sizeof(h));
	h.part.part.vp_count = 1;
	h.part.physical_bits = 40;
	h.part.cpuid_count = cpu_supported_cpuid(h.part.cpuid);
	h.vp.vp.part = &h.part.part;
	h.vp.exception.vector = VEC_NONE;
	h.vp.eflags_rest = 2;
	h.vp.xcr0 = 1;
	h.vp.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	h.vp.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	h.vp.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	h.vp.rip = HARNESS_BASE;
	h.vp.next_rip = HARNESS_BASE + 2;
	for (unsigned int seg = VP_ES; seg <= VP_GS; seg++)
		flat_segment(seg, 0xc093);
	h.vp.seg[VP_CS].access = 0xa09b;
	for (unsigned int t = 0; t < TLB_TABLES; t++)
		for (unsigned int i = 0; i < TLB_ENTRIES; i++)
			h.vp.tlb[t][i].read_tag = h.vp.tlb[t][i].write_tag = TLB_NEVER(i);
	cpu_update_mode(&h.vp);
	h.mode_updates = 0;
}

void harness_protected32(void)
{
	h.vp.efer = 0;
	h.vp.cr0 = CR0_PE | CR0_ET;
	h.vp.cr4 = 0;
	h.vp.seg[VP_CS].access = 0xc09b;
	cpu_update_mode(&h.vp);
}

void harness_real(void)
{
	harness_protected32();
	h.vp.cr0 = CR0_ET;
	for (unsigned int seg = VP_ES; seg <= VP_GS; seg++)
		h.vp.seg[seg] = (struct vp_segment){.limit = 0xffff, .access = 0x93};
	cpu_update_mode(&h.vp);
}

void harness_cpl(uint8_t cpl)
{
	h.vp.cpl = cpl;
	cpu_update_mode(&h.vp);
}

uint8_t *harness_byte(uint64_t va)
{
	uint64_t offset = va - HARNESS_BASE;

	if (offset >= HARNESS_PAGES * PAGE_BYTES)
		return NULL;
	/* Pages in reverse, so that host memory is not contiguous where linear memory is. */
	return &h.memory[HARNESS_PAGES - 1 - offset / PAGE_BYTES][offset % PAGE_BYTES];
}

/* Without vector registers, as the real MMU: they may hold the guest's when helpers call. */
static void copy_light(void *to, const void *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

void harness_put(uint64_t va, const void *data, size_t bytes)
{
	while (bytes) {
		size_t n = MIN(bytes, PAGE_BYTES - va % PAGE_BYTES);

		copy_light(harness_byte(va), data, n);
		data = (const uint8_t *)data + n;
		va += n;
		bytes -= n;
	}
}

void harness_get(uint64_t va, void *data, size_t bytes)
{
	while (bytes) {
		size_t n = MIN(bytes, PAGE_BYTES - va % PAGE_BYTES);

		copy_light(data, harness_byte(va), n);
		data = (uint8_t *)data + n;
		va += n;
		bytes -= n;
	}
}

void assert_raised(enum cpu_result result, uint8_t vector)
{
	assert_int_equal(result, CPU_RESTART);
	assert_int_equal(h.vp.exception.vector, vector);
	h.vp.exception.vector = VEC_NONE;
}

void assert_done(enum cpu_result result)
{
	assert_int_equal(h.vp.exception.vector, VEC_NONE);
	assert_int_equal(result, CPU_DONE);
}

/* --- memory --- */

static enum page_kind kind_of(uint64_t va)
{
	uint64_t page = (va - HARNESS_BASE) / PAGE_BYTES;

	return va >= HARNESS_BASE && page < HARNESS_PAGES ? h.kind[page] : PAGE_ABSENT;
}

static int check_page(struct dbt_vp *vp, uint64_t va, uint32_t access)
{
	enum page_kind kind = kind_of(va);

	if (kind != PAGE_ABSENT && !(kind == PAGE_READ_ONLY && (access & ACCESS_WRITE)))
		return 0;
	vp_raise_error(vp, VEC_PF, access & ACCESS_WRITE ? 2 : 0);
	vp->exception.cr2 = va;
	return -1;
}

static int check_range(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (check_page(vp, va + i, access) < 0)
			return -1;
	return 0;
}

static void device_exit(struct dbt_vp *vp, uint64_t va, uint32_t bytes, bool write, uint64_t data)
{
	vp->exit.reason = VP_EXIT_MMIO;
	vp->exit.mmio.gpa = va;
	vp->exit.mmio.bytes = bytes;
	vp->exit.mmio.write = write;
	vp->exit.mmio.data = data;
	vp->leave = LEAVE_EXIT;
}

int mmu_read(struct dbt_vp *vp, uint64_t va, void *buffer, uint32_t bytes, uint32_t access)
{
	if (check_range(vp, va, bytes, access) < 0)
		return -1;
	if (kind_of(va) != PAGE_DEVICE) {
		harness_get(va, buffer, bytes);
		return 0;
	}
	if (!vp->answer.valid) {
		device_exit(vp, va, bytes, false, ~0ull);
		return -1;
	}
	vp->answer.valid = false;
	memcpy(buffer, &vp->answer.data, bytes);
	return 0;
}

int mmu_write(struct dbt_vp *vp, uint64_t va, const void *buffer, uint32_t bytes, uint32_t access)
{
	uint64_t data = 0;

	if (check_range(vp, va, bytes, access) < 0)
		return -1;
	if (kind_of(va) != PAGE_DEVICE) {
		harness_put(va, buffer, bytes);
		return 0;
	}
	memcpy(&data, buffer, MIN(bytes, 8));
	device_exit(vp, va, bytes, true, data);
	return 1;
}

void *mmu_access(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access)
{
	if (check_range(vp, va, bytes, access) < 0)
		return NULL;
	if (kind_of(va) == PAGE_NORMAL && (va & 4095) + bytes <= 4096)
		return harness_byte(va);
	vp->step_once = 1;
	return NULL;
}

void *mmu_host_span(struct dbt_vp *vp, uint64_t va, uint32_t access, uint64_t *ret_bytes)
{
	enum page_kind kind = kind_of(va);

	if (kind != PAGE_NORMAL && !(kind == PAGE_READ_ONLY && !(access & ACCESS_WRITE)))
		return NULL;
	*ret_bytes = PAGE_BYTES - va % PAGE_BYTES;
	return harness_byte(va);
}

int mmu_fetch_page(struct dbt_vp *vp, uint64_t va, gpa_t *ret_gpa, const uint8_t **ret_host)
{
	if (check_page(vp, va, ACCESS_READ) < 0)
		return -1;
	*ret_gpa = va;
	*ret_host = harness_byte(va);
	return 0;
}

void *mmu_gpa_to_host(struct dbt_partition *part, gpa_t gpa, uint32_t bytes)
{
	return harness_byte(gpa);
}

/* --- what only records --- */

void mmu_flush_all(struct dbt_vp *vp)
{
	h.flush_all++;
}
void mmu_flush_page(struct dbt_vp *vp, uint64_t va)
{
	h.flush_page++;
	h.flushed_va = va;
}
void mmu_flush_pcid(struct dbt_vp *vp, uint32_t pcid, bool one_page, uint64_t va)
{
	h.flush_pcid++;
	h.flushed_pcid = pcid;
	h.flushed_one_page = one_page;
	h.flushed_va = va;
}
void mmu_switch_cr3(struct dbt_vp *vp, bool keep)
{
	h.cr3_switches++;
	h.cr3_keep = keep;
}
void mmu_mode_changed(struct dbt_vp *vp, uint64_t old_cr0, uint64_t old_cr4, uint64_t old_efer)
{
	h.mode_changes++;
}

void cpu_update_mode(struct dbt_vp *vp)
{
	bool code64 = (vp->efer & EFER_LMA) && (vp->seg[VP_CS].access & VP_SEG_L);
	bool vm86 = vp->eflags_rest & FLAG_VM;

	h.mode_updates++;
	vp->mode = code64 ? MODE_CODE64 | MODE_LONG | MODE_PROTECTED : 0;
	if (!code64 && (vp->cr0 & CR0_PE))
		vp->mode |= vm86 ? MODE_VM86 : MODE_PROTECTED;
	if (!code64 && (vp->seg[VP_SS].access & VP_SEG_DB))
		vp->mode |= MODE_STACK32;
	vp->tlb_index = vp->cpl == 3 ? TLB_USER : TLB_KERNEL;
}

uint64_t apic_get_tpr(struct dbt_vp *vp)
{
	return h.tpr;
}
void apic_set_tpr(struct dbt_vp *vp, uint64_t cr8)
{
	h.tpr = cr8;
}
int apic_msr_read(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value)
{
	h.apic_index = index;
	*ret_value = h.apic_value;
	return h.apic_result;
}
int apic_msr_write(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	h.apic_index = index;
	h.apic_value = value;
	vp->leave = h.apic_leave;
	return h.apic_result;
}
void apic_tsc_changed(struct dbt_vp *vp)
{
	h.tsc_changes++;
	h.tsc_offset_then = vp->tsc_offset;
}

enum decode_status decode(const uint8_t *bytes, size_t available, int mode, struct insn *ret_insn)
{
	*ret_insn = h.insn;
	return h.insn.length ? DECODE_OK : DECODE_INVALID;
}
