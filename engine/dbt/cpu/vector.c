/*
 * vector.c - XSAVE and XRSTOR, masked moves, gathers
 *
 * While light code runs, the guest's vector state is in the host's registers, so XSAVE is the
 * host's own, straight into guest memory where that is directly accessible. XRSTOR never reads
 * guest memory itself: another VP could change it after the checks. It restores from a private
 * copy whose header and MXCSR were checked, so it cannot fault. With x87, SSE and AVX as the only
 * components the standard and the compacted format have the same layout.
 *
 * Masked moves and gathers need single vector registers. They are rare and take the heavy path:
 * the run loop saves the vector state, calls a function below, which decodes the instruction once
 * more and works on vp->xsave, and restores the state. The light part of this file stands first.
 *
 * In 32-bit code XSAVE and XRSTOR move XMM8..15, too; nothing can see that there.
 */
#include "control_bits.h"
#include "cpuid_lookup.h"
#include "debug.h"
#include "decode.h"
#include "operand.h"
#include "x87.h"

#define LEGACY_BYTES 512u
#define HEADER_BYTES 64u
#define AVX_OFFSET 576u
#define AVX_BYTES 256u
#define MMU_PIECE 64u
#define MXCSR_DEFAULT 0x1f80u
#define XCOMP_COMPACT BIT(63)

struct xsave_area {
	uint8_t legacy[LEGACY_BYTES];
	uint64_t xstate_bv, xcomp_bv, reserved[6];
	uint8_t avx[16][16];
} __attribute__((aligned(64)));
static_assert(offsetof(struct xsave_area, avx) == AVX_OFFSET, "layout");

#define LEGACY_MXCSR 24
#define LEGACY_XMM 160

/* --- guest memory, by the page where possible --- */

static int copy_from_guest(struct dbt_vp *vp, uint64_t va, uint8_t *to, uint32_t bytes)
{
	while (bytes) {
		uint64_t span = 0;
		const uint8_t *from = mmu_host_span(vp, va, ACCESS_READ, &span);
		uint64_t n = MIN(bytes, from ? span : MMU_PIECE), count = n;

		if (from)
			__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		else if (mmu_read(vp, va, to, n, ACCESS_READ) < 0)
			return -1;
		else
			to += n;
		va += n;
		bytes -= n;
	}
	return 0;
}

/* As mmu_write(): 1 when a part was MMIO. */
static int copy_to_guest(struct dbt_vp *vp, uint64_t va, const uint8_t *from, uint32_t bytes)
{
	while (bytes) {
		uint64_t span = 0;
		uint8_t *to = mmu_host_span(vp, va, ACCESS_WRITE, &span);
		uint64_t n = MIN(bytes, to ? span : MMU_PIECE), count = n;
		int r = 0;

		if (to)
			__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		else
			r = mmu_write(vp, va, from, n, ACCESS_WRITE);
		if (r)
			return r;
		from += to ? 0 : n;
		va += n;
		bytes -= n;
	}
	return 0;
}

/* --- the host's instructions --- */

#define MASK_IN(mask) "a"((uint32_t)(mask)), "d"((uint32_t)((mask) >> 32))

static void host_xsave(void *area, uint64_t mask, bool wide)
{
	if (wide)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), MASK_IN(mask) : "memory");
	else
		__asm__ volatile("xsave (%0)" : : "r"(area), MASK_IN(mask) : "memory");
}
static void host_xsavec(void *area, uint64_t mask, bool wide)
{
	if (wide)
		__asm__ volatile("xsavec64 (%0)" : : "r"(area), MASK_IN(mask) : "memory");
	else
		__asm__ volatile("xsavec (%0)" : : "r"(area), MASK_IN(mask) : "memory");
}
static void host_xrstor(const void *area, uint64_t mask, bool wide)
{
	if (wide)
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), MASK_IN(mask) : "memory");
	else
		__asm__ volatile("xrstor (%0)" : : "r"(area), MASK_IN(mask) : "memory");
}

/* --- XSAVE, XSAVEOPT, XSAVEC --- */

static uint64_t requested(const struct dbt_vp *vp)
{
	return ((uint32_t)vp->gpr[VP_RAX] | vp->gpr[VP_RDX] << 32) & vp->xcr0;
}

/* What all of them check first. Returns 0, or -1 with the exception raised. */
static int xsave_check(struct dbt_vp *vp, uint64_t address)
{
	if (!(vp->cr4 & CR4_OSXSAVE))
		vp_raise(vp, VEC_UD);
	else if (vp->cr0 & CR0_TS)
		vp_raise(vp, VEC_NM);
	else if (!IS_ALIGNED(address, 64))
		vp_raise_error(vp, VEC_GP, 0);
	else
		return 0;
	return -1;
}

static uint32_t area_bytes(uint64_t components)
{
	return AVX_OFFSET + (components & XCR0_AVX ? AVX_BYTES : 0);
}

static bool has_xsavec(struct dbt_vp *vp)
{
	return cpuid_has(vp_partition(vp), 0xd, CPUID_EAX, 1);
}

/*
 * May the x87 state hold addresses of the host's (x87.h)? Then the image is made in private: another
 * VP could read them in guest memory. In its initial state it has none.
 */
static bool hides_pointers(struct dbt_vp *vp, uint64_t mask)
{
	uint32_t low, high;

	if (!(mask & XCR0_X87))
		return false;
	if (!cpuid_has(vp_partition(vp), 0xd, CPUID_EAX, 2))
		return true;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
	return low & XCR0_X87;
}

static enum cpu_result save(struct dbt_vp *vp, struct cpu_args args, uint64_t address,
			    void (*instruction)(void *, uint64_t, bool))
{
	uint64_t mask = requested(vp), span;
	uint32_t bytes = area_bytes(mask);
	struct xsave_area copy;
	void *host;

	if (xsave_check(vp, address) < 0)
		return CPU_RESTART;
	if (unlikely(vp->mode & MODE_WATCH))
		debug_note_access(vp, address, bytes, false, true);
	host = mmu_host_span(vp, address, ACCESS_WRITE, &span);
	if (likely(host && span >= bytes) && !hides_pointers(vp, mask)) {
		instruction(host, mask, args.op_bytes == 8);
		return CPU_DONE;
	}
	/* What is not requested stays as it is in memory. */
	if (copy_from_guest(vp, address, (uint8_t *)&copy, bytes) < 0)
		return CPU_RESTART;
	instruction(&copy, mask, args.op_bytes == 8);
	if (mask & copy.xstate_bv & XCR0_X87)
		x87_show(vp, copy.legacy, args.op_bytes == 8);
	return write_result(vp, copy_to_guest(vp, address, (uint8_t *)&copy, bytes));
}

enum cpu_result helper_xsave(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	return save(vp, args, address, host_xsave);
}

enum cpu_result helper_xsavec(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	if (!has_xsavec(vp))
		return cpu_fault(vp, VEC_UD);
	return save(vp, args, address, host_xsavec);
}

/* --- XRSTOR --- */

/* SDM vol. 1, "Operation of XRSTOR": the conditions for #GP of the standard form ... */
static bool standard_header_valid(const struct xsave_area *area, uint64_t xcr0)
{
	return !(area->xstate_bv & ~xcr0) && !area->xcomp_bv && !area->reserved[0];
}

/* ... and of the compacted form. */
static bool compact_header_valid(const struct xsave_area *area, uint64_t xcr0)
{
	uint64_t components = area->xcomp_bv & ~XCOMP_COMPACT, rest = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(area->reserved); i++)
		rest |= area->reserved[i];
	return !(components & ~xcr0) && !(area->xstate_bv & ~components) && !rest;
}

static bool header_valid(struct dbt_vp *vp, const struct xsave_area *area)
{
	if (area->xcomp_bv & XCOMP_COMPACT)
		return has_xsavec(vp) && compact_header_valid(area, vp->xcr0);
	return standard_header_valid(area, vp->xcr0);
}

static uint32_t *area_mxcsr(struct xsave_area *area)
{
	return (uint32_t *)(area->legacy + LEGACY_MXCSR);
}

/* Bits above 15 exist on some processors; FXSAVE tells which. */
static uint32_t mxcsr_mask(void)
{
	uint8_t image[LEGACY_BYTES] __attribute__((aligned(16)));
	uint32_t mask;

	__asm__ volatile("fxsave %0" : "=m"(image));
	mask = *(const uint32_t *)(image + LEGACY_MXCSR + 4);
	return mask ? mask : 0xffbf;
}

static bool mxcsr_valid(uint32_t mxcsr)
{
	return !(mxcsr >> 16) || !(mxcsr & ~mxcsr_mask());
}

static bool loads_mxcsr(const struct xsave_area *area, uint64_t mask)
{
	if (area->xcomp_bv & XCOMP_COMPACT)
		return mask & area->xstate_bv & XCR0_SSE;
	return mask & (XCR0_SSE | XCR0_AVX);
}

enum cpu_result helper_xrstor(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint64_t mask = requested(vp);
	struct xsave_area copy;

	if (xsave_check(vp, address) < 0)
		return CPU_RESTART;
	if (copy_from_guest(vp, address, (uint8_t *)&copy, AVX_OFFSET) < 0)
		return CPU_RESTART;
	if (!header_valid(vp, &copy))
		return cpu_fault_gp(vp);
	if (!loads_mxcsr(&copy, mask))
		*area_mxcsr(&copy) = MXCSR_DEFAULT;
	else if (!mxcsr_valid(*area_mxcsr(&copy)))
		return cpu_fault_gp(vp);
	if ((mask & copy.xstate_bv & XCR0_AVX) &&
	    copy_from_guest(vp, address + AVX_OFFSET, copy.avx[0], AVX_BYTES) < 0)
		return CPU_RESTART;
	if (mask & copy.xstate_bv & XCR0_X87)
		x87_take(vp, copy.legacy, args.op_bytes == 8);
	host_xrstor(&copy, mask, args.op_bytes == 8);
	return CPU_DONE;
}

/* --- masked moves and gathers: the light part --- */

static enum cpu_result go_heavy(struct dbt_vp *vp, void (*heavy)(struct dbt_vp *vp))
{
	vp->heavy = heavy;
	vp->leave = LEAVE_HEAVY;
	return CPU_RESTART;
}

/* --- ... and the heavy one: vector registers in vp->xsave --- */

#define VECTOR_BYTES 32u

static struct xsave_area *saved_area(struct dbt_vp *vp)
{
	return (struct xsave_area *)vp->xsave;
}

static void clear_bytes(uint8_t *to, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		*(volatile uint8_t *)&to[i] = 0;
}
static void copy_bytes(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		*(volatile uint8_t *)&to[i] = from[i];
}

/* A component in its initial state is not stored: write it out before it is looked at. */
static void materialize(struct dbt_vp *vp)
{
	struct xsave_area *area = saved_area(vp);

	if (!(area->xstate_bv & XCR0_SSE))
		clear_bytes(area->legacy + LEGACY_XMM, 16 * 16);
	if (!(area->xstate_bv & XCR0_AVX))
		clear_bytes(area->avx[0], sizeof(area->avx));
	area->xstate_bv |= XCR0_SSE | (vp->xcr0 & XCR0_AVX);
}

static uint8_t *saved_xmm(struct dbt_vp *vp, unsigned int reg)
{
	return saved_area(vp)->legacy + LEGACY_XMM + 16 * (reg & 15);
}
static void vector_get(struct dbt_vp *vp, unsigned int reg, uint8_t value[VECTOR_BYTES])
{
	copy_bytes(value, saved_xmm(vp, reg), 16);
	copy_bytes(value + 16, saved_area(vp)->avx[reg & 15], 16);
}
static void vector_set(struct dbt_vp *vp, unsigned int reg, const uint8_t value[VECTOR_BYTES])
{
	copy_bytes(saved_xmm(vp, reg), value, 16);
	copy_bytes(saved_area(vp)->avx[reg & 15], value + 16, 16);
}

/* --- the instruction once more --- */

#define INSN_MAX 15

static uint64_t code_linear(const struct dbt_vp *vp, uint64_t rip)
{
	return is_code64(vp) ? rip : (uint32_t)(vp->seg[VP_CS].base + (uint32_t)rip);
}

/* Returns the number of bytes up to @max that could be read at @va's page; 0: exception raised. */
static uint32_t fetch_bytes(struct dbt_vp *vp, uint64_t va, uint8_t *bytes, uint32_t max)
{
	uint32_t n = MIN(max, PAGE_BYTES - (va & (PAGE_BYTES - 1)));
	const uint8_t *host;
	gpa_t gpa;

	if (mmu_fetch_page(vp, va, &gpa, &host) < 0)
		return 0;
	copy_bytes(bytes, host, n);
	return n;
}

static int decode_again(struct dbt_vp *vp, struct insn *ret_insn)
{
	int mode = is_code64(vp) ? DECODE_64 : vp->mode & MODE_CODE32 ? DECODE_32 : DECODE_16;
	uint64_t va = code_linear(vp, vp->rip);
	uint8_t bytes[INSN_MAX];
	uint32_t n = fetch_bytes(vp, va, bytes, INSN_MAX);
	enum decode_status status;

	if (!n)
		return -1;
	status = decode(bytes, n, mode, ret_insn);
	if (status == DECODE_TRUNCATED && n < INSN_MAX) {
		uint32_t more = fetch_bytes(vp, va + n, bytes + n, INSN_MAX - n);

		if (!more)
			return -1;
		status = decode(bytes, n + more, mode, ret_insn);
	}
	if (status == DECODE_OK)
		return 0;
	vp_raise(vp, VEC_UD); /* another VP changed it meanwhile */
	return -1;
}

/* Only instructions of map 0F 38 come here with VEX; anything else was changed meanwhile. */
static int decode_vex(struct dbt_vp *vp, uint8_t first, uint8_t last, struct insn *ret_insn)
{
	if (decode_again(vp, ret_insn) < 0)
		return -1;
	if (ret_insn->vex && ret_insn->map == 2 && ret_insn->mem && ret_insn->opcode >= first &&
	    ret_insn->opcode <= last)
		return 0;
	vp_raise(vp, VEC_UD);
	return -1;
}

static void finish(struct dbt_vp *vp, const struct insn *insn)
{
	vp->rip += insn->length;
	if (!is_code64(vp))
		vp->rip = (uint32_t)vp->rip;
}

/* Linear address of @bytes at base + disp + @index. */
static int operand_address(struct dbt_vp *vp, const struct insn *insn, uint64_t index, uint32_t bytes,
			   uint32_t access, uint64_t *ret_va)
{
	uint64_t offset = insn->disp + index;

	if (insn->rip_relative)
		offset += vp->rip + insn->length;
	if (insn->base != NO_REG)
		offset += vp->gpr[insn->base & 15];
	return segment_linear(vp, insn->seg, offset & address_mask(insn->address_bytes), bytes, access,
			      ret_va);
}

/* The general-register index of a plain memory operand. */
static uint64_t plain_index(const struct dbt_vp *vp, const struct insn *insn)
{
	return insn->index == NO_REG ? 0 : vp->gpr[insn->index & 15] * insn->scale;
}

/* As mmu_write() returns. */
static int access_element(struct dbt_vp *vp, const struct insn *insn, uint64_t va, void *value,
			  uint32_t bytes, uint32_t access)
{
	int r = access == ACCESS_WRITE ? mmu_write(vp, va, value, bytes, access) :
					 mmu_read(vp, va, value, bytes, access);

	return insn->seg == VP_SS ? stack_fault(vp, r) : r;
}

static bool mask_bit(const uint8_t *mask, unsigned int element, unsigned int bytes)
{
	return mask[(element + 1) * bytes - 1] & 0x80;
}

/* --- VMASKMOVPS/PD, VPMASKMOVD/Q --- */

static unsigned int vmaskmov_bytes(const struct insn *insn)
{
	if (insn->opcode >= 0x8c)
		return insn->w ? 8 : 4;
	return insn->opcode & 1 ? 8 : 4;
}

/* Loads, stores or, with both accesses, probes one element; as mmu_write() returns. */
static int vmaskmov_element(struct dbt_vp *vp, const struct insn *insn, unsigned int element,
			    unsigned int bytes, uint32_t access, uint8_t *value)
{
	uint64_t index = plain_index(vp, insn) + element * bytes, va;

	if (operand_address(vp, insn, index, bytes, access, &va) < 0)
		return -1;
	return access_element(vp, insn, va, value + element * bytes, bytes, access);
}

/* Returns 0, or -1 when it was abandoned. */
static int vmaskmov_elements(struct dbt_vp *vp, const struct insn *insn, const uint8_t *mask,
			     uint32_t access, uint8_t *value)
{
	unsigned int bytes = vmaskmov_bytes(insn), count = (insn->vex_l ? 32 : 16) / bytes;

	for (unsigned int i = 0; i < count; i++) {
		int r = mask_bit(mask, i, bytes) ? vmaskmov_element(vp, insn, i, bytes, access, value) : 0;

		if (r < 0)
			return -1;
		if (r > 0)
			break; /* a device: one element is all that can be reported */
	}
	return 0;
}

static void heavy_vmaskmov(struct dbt_vp *vp)
{
	uint8_t mask[VECTOR_BYTES], value[VECTOR_BYTES] = { 0 }, probed[VECTOR_BYTES];
	struct insn insn;
	bool store;

	if (decode_vex(vp, 0x2c, 0x8e, &insn) < 0)
		return;
	materialize(vp);
	store = insn.opcode == 0x2e || insn.opcode == 0x2f || insn.opcode == 0x8e;
	vector_get(vp, insn.vvvv, mask);
	if (store) {
		vector_get(vp, insn.reg, value);
		if (vmaskmov_elements(vp, &insn, mask, ACCESS_READ | ACCESS_WRITE, probed) < 0)
			return; /* nothing is stored before it is known that all can be */
	}
	if (vmaskmov_elements(vp, &insn, mask, store ? ACCESS_WRITE : ACCESS_READ, value) < 0)
		return;
	if (!store)
		vector_set(vp, insn.reg, value);
	finish(vp, &insn);
}

/* --- VPGATHER, VGATHER --- */

static int64_t gather_index(const uint8_t *index, unsigned int element, bool qwords)
{
	return qwords ? ((const int64_t *)index)[element] : ((const int32_t *)index)[element];
}

/* Loads the elements whose mask bit is set, and clears the bit; -1: fault, partly done. */
static int gather_elements(struct dbt_vp *vp, const struct insn *insn, uint8_t *value, uint8_t *mask)
{
	unsigned int bytes = insn->w ? 8 : 4, index_bytes = insn->opcode & 1 ? 8 : 4;
	unsigned int count = (insn->vex_l ? 32 : 16) / MAX(bytes, index_bytes);
	uint8_t index[VECTOR_BYTES] __attribute__((aligned(8)));
	uint64_t va;

	vector_get(vp, insn->index == NO_REG ? 4 : insn->index, index);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t offset = gather_index(index, i, index_bytes == 8) * (uint64_t)insn->scale;

		if (!mask_bit(mask, i, bytes))
			continue;
		if (operand_address(vp, insn, offset, bytes, ACCESS_READ, &va) < 0 ||
		    access_element(vp, insn, va, value + i * bytes, bytes, ACCESS_READ) < 0)
			return -1;
		clear_bytes(mask + i * bytes, bytes);
	}
	clear_bytes(mask, VECTOR_BYTES);
	clear_bytes(value + count * bytes, VECTOR_BYTES - count * bytes);
	return 0;
}

static void heavy_gather(struct dbt_vp *vp)
{
	uint8_t value[VECTOR_BYTES], mask[VECTOR_BYTES];
	struct insn insn;
	unsigned int index;
	int r;

	if (decode_vex(vp, 0x90, 0x93, &insn) < 0)
		return;
	index = insn.index == NO_REG ? 4 : insn.index;
	if (insn.reg == insn.vvvv || insn.reg == index || insn.vvvv == index) {
		vp_raise(vp, VEC_UD);
		return;
	}
	materialize(vp);
	vector_get(vp, insn.reg, value);
	vector_get(vp, insn.vvvv, mask);
	r = gather_elements(vp, &insn, value, mask);
	vector_set(vp, insn.reg, value);
	vector_set(vp, insn.vvvv, mask);
	if (!r)
		finish(vp, &insn);
}

/* --- MASKMOVDQU, MASKMOVQ --- */

#define LEGACY_FCW 0
#define LEGACY_FSW 2
#define LEGACY_FTW 4
#define LEGACY_ST 32
#define FSW_ES 0x80u
#define FSW_TOP_SHIFT 11
#define FSW_TOP_MASK 0x3800u

/* As every MMX instruction does: the stack's top becomes 0 and all registers valid. */
static void enter_mmx(struct dbt_vp *vp)
{
	uint8_t *legacy = saved_area(vp)->legacy, old[8 * 16];
	uint16_t *fsw = (uint16_t *)(legacy + LEGACY_FSW);
	unsigned int top = (*fsw & FSW_TOP_MASK) >> FSW_TOP_SHIFT;

	if (!(saved_area(vp)->xstate_bv & XCR0_X87)) {
		clear_bytes(legacy, LEGACY_MXCSR);
		clear_bytes(legacy + LEGACY_ST, 8 * 16);
		*(uint16_t *)(legacy + LEGACY_FCW) = 0x37f;
		saved_area(vp)->xstate_bv |= XCR0_X87;
		top = 0;
	}
	copy_bytes(old, legacy + LEGACY_ST, sizeof(old));
	for (unsigned int i = 0; i < 8; i++) /* MMi is register i; slot j holds register top + j */
		copy_bytes(legacy + LEGACY_ST + 16 * ((i + top) & 7), old + 16 * i, 16);
	*fsw &= ~FSW_TOP_MASK;
	legacy[LEGACY_FTW] = 0xff;
}

static bool x87_error_pending(struct dbt_vp *vp)
{
	const struct xsave_area *area = saved_area(vp);

	return area->xstate_bv & XCR0_X87 && area->legacy[LEGACY_FSW] & FSW_ES;
}

static uint8_t *saved_mm(struct dbt_vp *vp, unsigned int reg)
{
	return saved_area(vp)->legacy + LEGACY_ST + 16 * (reg & 7);
}

static int maskmov_bytes(struct dbt_vp *vp, const struct insn *insn, const uint8_t *value,
			 const uint8_t *mask, unsigned int count)
{
	uint64_t rdi = vp->gpr[VP_RDI], va;
	int r = 0;

	for (unsigned int i = 0; i < count && !r; i++) {
		if (!(mask[i] & 0x80))
			continue;
		if (segment_linear(vp, insn->seg, (rdi + i) & address_mask(insn->address_bytes), 1,
				   ACCESS_WRITE, &va) < 0)
			return -1;
		r = mmu_write(vp, va, &value[i], 1, ACCESS_WRITE);
	}
	return r;
}

static void heavy_maskmov(struct dbt_vp *vp)
{
	struct insn insn;
	int r;

	if (decode_again(vp, &insn) < 0)
		return;
	if (insn.map != 1 || insn.opcode != 0xf7) {
		vp_raise(vp, VEC_UD);
		return;
	}
	materialize(vp);
	if (insn.vex || insn.emit_66) {
		r = maskmov_bytes(vp, &insn, saved_xmm(vp, insn.reg), saved_xmm(vp, insn.rm), 16);
	} else if (x87_error_pending(vp)) {
		vp_raise(vp, VEC_MF);
		return;
	} else {
		enter_mmx(vp);
		r = maskmov_bytes(vp, &insn, saved_mm(vp, insn.reg), saved_mm(vp, insn.rm), 8);
	}
	if (r >= 0)
		finish(vp, &insn);
}

enum cpu_result helper_maskmov(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return go_heavy(vp, heavy_maskmov);
}

/* AVX must be enabled by the guest. */
static enum cpu_result go_heavy_avx(struct dbt_vp *vp, void (*heavy)(struct dbt_vp *vp))
{
	if (!(vp->cr4 & CR4_OSXSAVE) || !(vp->xcr0 & XCR0_AVX))
		return cpu_fault(vp, VEC_UD);
	if (vp->cr0 & CR0_TS)
		return cpu_fault(vp, VEC_NM);
	return go_heavy(vp, heavy);
}

enum cpu_result helper_vmaskmov(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return go_heavy_avx(vp, heavy_vmaskmov);
}
enum cpu_result helper_gather(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return go_heavy_avx(vp, heavy_gather);
}
