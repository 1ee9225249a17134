/*
 * string.c - MOVS, CMPS, STOS, LODS, SCAS, with and without REP
 *
 * One loop for all five (string_run()). It takes the longest run of elements that lies in directly
 * accessible host memory on all sides, lets the host's own string instruction of the same element
 * size loose on it, and books the progress in RCX, RSI, RDI. As guest physical memory is linear
 * in host memory, the host's instruction has exactly the guest's semantics, overlaps included.
 * Where there is no direct access (MMIO, pages with translated code, elements across a page,
 * faults), one element goes through mmu_read() and mmu_write() instead.
 *
 * Invariants:
 *  1. Registers are written only for elements that are completely done; so a fault leaves the
 *     state of a REP instruction that was interrupted before the faulting element.
 *  2. At least one element is done before exit_request stops a REP, so it always progresses.
 *  3. Flags change only with the last element of CMPS and SCAS done.
 */
#include "operand.h"

/* What a string instruction does with each element. */
#define READS_SI   1u
#define READS_DI   2u
#define WRITES_DI  4u
#define COMPARES   8u
#define CHUNK_BYTES (64 * KIB) /* the longest time that an interrupt waits */

struct string_op {
	unsigned int uses; /* READS_SI ... COMPARES */
	/*
	 * Do up to @count > 0 elements from @si and @di on in host memory; returns how many were done.
	 * COMPARES stops early after the element that ends the REP.
	 */
	uint64_t (*elements)(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
			     uint64_t count);
};

/* --- the host's own string instructions --- */

/* The flags of the last element: OF, and the others as LAHF has them in what is then RAX. */
#define FLAGS_OUT "setob %[of]\n\tlahf\n\tmovzbl %%ah, %%eax"

/* @instruction with the asm operands that follow; DF is set around it when the guest goes down. */
#define HOST_STRING(instruction, ...)                                                              \
	do {                                                                                       \
		if (likely(!vp->flag_df))                                                          \
			__asm__ volatile(instruction __VA_ARGS__);                                 \
		else                                                                               \
			__asm__ volatile("std\n\t" instruction "\n\tcld" __VA_ARGS__);             \
	} while (0)

#define BY_SIZE(X)                                                                                 \
	switch (args.op_bytes) {                                                                   \
	case 1:                                                                                    \
		X("b");                                                                            \
		break;                                                                             \
	case 2:                                                                                    \
		X("w");                                                                            \
		break;                                                                             \
	case 4:                                                                                    \
		X("l");                                                                            \
		break;                                                                             \
	default:                                                                                   \
		X("q");                                                                            \
	}

static uint64_t move_elements(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
			      uint64_t count)
{
	uint64_t left = count;

#define MOVE(size) HOST_STRING("rep movs" size, : "+S"(si), "+D"(di), "+c"(left) : : "memory")
	BY_SIZE(MOVE)
	return count;
}

static uint64_t store_elements(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
			       uint64_t count)
{
	uint64_t left = count;

#define STORE(size)                                                                                \
	HOST_STRING("rep stos" size, : "+D"(di), "+c"(left) : "a"(vp->gpr[VP_RAX]) : "memory")
	BY_SIZE(STORE)
	return count;
}

/* Only the last element of a REP LODS is ever seen. */
static uint64_t load_elements(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
			      uint64_t count)
{
	int64_t rest = (int64_t)(count - 1) * args.op_bytes;

	si += vp->flag_df ? -rest : rest;
#define LOAD(size)                                                                                 \
	__asm__ volatile("lods" size : "+S"(si), "+a"(vp->gpr[VP_RAX]) : : "memory")
	BY_SIZE(LOAD)
	return count;
}

static uint64_t compare_elements(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
				 uint64_t count)
{
	uint64_t left = count, rax = 0;

#define COMPARE(prefix, size)                                                                      \
	HOST_STRING(prefix "cmps" size "\n\t" FLAGS_OUT,                                           \
		    : "+S"(si), "+D"(di), "+c"(left), "+a"(rax), [of] "=qm"(vp->flags_of) : : "memory", "cc")
#define COMPARE_EQUAL(size) COMPARE("repe ", size)
#define COMPARE_UNEQUAL(size) COMPARE("repne ", size)
	if (args.flags & CPU_ARG_REPNE)
		BY_SIZE(COMPARE_UNEQUAL)
	else
		BY_SIZE(COMPARE_EQUAL)
	vp->flags_ah = rax;
	return count - left;
}

static uint64_t scan_elements(struct dbt_vp *vp, struct cpu_args args, uint8_t *si, uint8_t *di,
			      uint64_t count)
{
	uint64_t left = count, rax = vp->gpr[VP_RAX];

#define SCAN(prefix, size)                                                                         \
	HOST_STRING(prefix "scas" size "\n\t" FLAGS_OUT,                                           \
		    : "+D"(di), "+c"(left), "+a"(rax), [of] "=qm"(vp->flags_of) : : "memory", "cc")
#define SCAN_EQUAL(size) SCAN("repe ", size)
#define SCAN_UNEQUAL(size) SCAN("repne ", size)
	if (args.flags & CPU_ARG_REPNE)
		BY_SIZE(SCAN_UNEQUAL)
	else
		BY_SIZE(SCAN_EQUAL)
	vp->flags_ah = rax;
	return count - left;
}

static const struct string_op movs_op = { READS_SI | WRITES_DI, move_elements };
static const struct string_op stos_op = { WRITES_DI, store_elements };
static const struct string_op lods_op = { READS_SI, load_elements };
static const struct string_op cmps_op = { READS_SI | READS_DI | COMPARES, compare_elements };
static const struct string_op scas_op = { READS_DI | COMPARES, scan_elements };

/* --- direct access --- */

/* The inline TLB, as translated code probes it; else the long way. Like mmu_host_span(). */
static uint8_t *host_span(struct dbt_vp *vp, uint64_t va, uint32_t access, uint64_t *ret_bytes)
{
	const struct tlb_entry *entry =
		&vp->tlb[vp->tlb_index][(va >> 12) & (TLB_ENTRIES - 1)];
	uint64_t in_page = va ^ (access & ACCESS_WRITE ? entry->write_tag : entry->read_tag);

	if (unlikely(vp->mode & MODE_WATCH))
		return NULL; /* element by element */
	if (likely(in_page < PAGE_BYTES)) {
		*ret_bytes = PAGE_BYTES - in_page;
		return (uint8_t *)(in_page + entry->host);
	}
	return mmu_host_span(vp, va, access, ret_bytes);
}

/* Elements from @va upwards that are directly accessible. */
static uint64_t span_up(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access,
			uint8_t **ret_host)
{
	uint64_t span;

	*ret_host = host_span(vp, va, access, &span);
	return *ret_host ? span / bytes : 0;
}

/* Elements from @va downwards: as far as the page's start. */
static uint64_t span_down(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access,
			  uint8_t **ret_host)
{
	uint64_t in_page = va & (PAGE_BYTES - 1), span;
	uint8_t *page;

	if (in_page + bytes > PAGE_BYTES)
		return 0;
	page = host_span(vp, va - in_page, access, &span);
	if (!page)
		return 0;
	*ret_host = page + in_page;
	return in_page / bytes + 1;
}

/*
 * direct_elements() - how many of @count elements at @seg:@offset can be accessed in host memory
 * 0 when the first one cannot; no element of the answer wraps around or violates the segment.
 */
static uint64_t direct_elements(struct dbt_vp *vp, struct cpu_args args, unsigned int seg,
				uint64_t offset, uint32_t access, uint64_t count, uint8_t **ret_host)
{
	uint64_t va = segment_address(vp, seg, offset), mask = address_mask(args.address_bytes);
	uint32_t bytes = args.op_bytes;
	uint64_t n, lowest;

	if (unlikely(mask - offset < bytes - 1))
		return 0;
	if (likely(!vp->flag_df)) {
		n = MIN(span_up(vp, va, bytes, access, ret_host), count);
		if (unlikely(n && mask - offset < n * bytes - 1))
			n = (mask - offset + 1) / bytes;
		lowest = offset;
	} else {
		n = MIN(span_down(vp, va, bytes, access, ret_host), count);
		n = MIN(n, offset / bytes + 1);
		lowest = offset - (n - 1) * bytes;
	}
	if (!n || is_code64(vp))
		return n;
	return segment_allows(vp, seg, lowest, n * bytes, access) ? n : 0;
}

/* --- the loop --- */

static uint64_t index_offset(const struct dbt_vp *vp, struct cpu_args args, unsigned int reg)
{
	return reg_get(vp, reg, args.address_bytes);
}

static void advance(struct dbt_vp *vp, struct cpu_args args, unsigned int reg, uint64_t elements)
{
	uint64_t bytes = elements * args.op_bytes;

	reg_set(vp, reg, args.address_bytes, vp->gpr[reg] + (vp->flag_df ? -bytes : bytes));
}

static uint32_t destination_access(const struct string_op *op)
{
	return op->uses & WRITES_DI ? ACCESS_WRITE : ACCESS_READ;
}

/* Returns the number of elements done directly; 0: none could be. */
static uint64_t do_direct(struct dbt_vp *vp, struct cpu_args args, const struct string_op *op,
			  uint64_t count)
{
	uint8_t *si = NULL, *di = NULL;

	count = MIN(count, CHUNK_BYTES / args.op_bytes);
	if (op->uses & READS_SI)
		count = direct_elements(vp, args, args.seg, index_offset(vp, args, VP_RSI), ACCESS_READ,
					count, &si);
	if (count && (op->uses & (READS_DI | WRITES_DI)))
		count = direct_elements(vp, args, VP_ES, index_offset(vp, args, VP_RDI),
					destination_access(op), count, &di);
	return count ? op->elements(vp, args, si, di, count) : 0;
}

static int read_element(struct dbt_vp *vp, struct cpu_args args, unsigned int seg, unsigned int reg,
			uint8_t *buffer)
{
	uint64_t va;

	if (segment_linear(vp, seg, index_offset(vp, args, reg), args.op_bytes, ACCESS_READ, &va) < 0)
		return -1;
	return mmu_read(vp, va, buffer, args.op_bytes, ACCESS_READ);
}

static int write_element(struct dbt_vp *vp, struct cpu_args args, const uint8_t *buffer)
{
	uint64_t va;

	if (segment_linear(vp, VP_ES, index_offset(vp, args, VP_RDI), args.op_bytes, ACCESS_WRITE,
			   &va) < 0)
		return -1;
	return mmu_write(vp, va, buffer, args.op_bytes, ACCESS_WRITE);
}

/* One element by way of local buffers; returns as mmu_write() does. */
static int do_slowly(struct dbt_vp *vp, struct cpu_args args, const struct string_op *op)
{
	uint8_t si[8] = { 0 }, di[8] = { 0 };
	uint8_t df = vp->flag_df;

	/* CMPS reads both: when both fault, processors report the second operand. */
	if ((op->uses & READS_DI) && read_element(vp, args, VP_ES, VP_RDI, di) < 0)
		return -1;
	if ((op->uses & READS_SI) && read_element(vp, args, args.seg, VP_RSI, si) < 0)
		return -1;
	if (op->uses & WRITES_DI)
		return write_element(vp, args, op->uses & READS_SI ? si : (uint8_t *)&vp->gpr[VP_RAX]);
	vp->flag_df = 0; /* a single element: the direction does not matter */
	op->elements(vp, args, si, di, 1);
	vp->flag_df = df;
	return 0;
}

/* Has the comparison just made ended the repetition? */
static bool comparison_ends(const struct dbt_vp *vp, struct cpu_args args)
{
	bool equal = vp->flags_ah & FLAG_ZF;

	return args.flags & CPU_ARG_REPNE ? equal : !equal;
}

static inline __attribute__((always_inline)) enum cpu_result
string_run(struct dbt_vp *vp, struct cpu_args args, const struct string_op *op)
{
	bool repeated = args.flags & (CPU_ARG_REP | CPU_ARG_REPNE);
	uint64_t left = repeated ? reg_get(vp, VP_RCX, args.address_bytes) : 1;

	while (left) {
		uint64_t done = do_direct(vp, args, op, left);
		int r = 0;

		if (unlikely(!done)) {
			r = do_slowly(vp, args, op);
			if (r < 0)
				return CPU_RESTART;
			done = 1;
		}
		left -= done;
		if (op->uses & READS_SI)
			advance(vp, args, VP_RSI, done);
		if (op->uses & (READS_DI | WRITES_DI))
			advance(vp, args, VP_RDI, done);
		if (!repeated)
			return write_result(vp, r);
		reg_set(vp, VP_RCX, args.address_bytes, left);
		if ((op->uses & COMPARES) && comparison_ends(vp, args))
			break;
		if (unlikely(r > 0))
			return left ? CPU_RESTART : cpu_done_leave(vp);
		if (left && unlikely(atomic_load_explicit(&vp->exit_request, memory_order_relaxed)))
			return CPU_RESTART;
	}
	return CPU_DONE;
}

#define STRING_HELPER(name)                                                                        \
	enum cpu_result helper_##name(struct dbt_vp *vp, struct cpu_args args, uint64_t value)     \
	{                                                                                          \
		return string_run(vp, args, &name##_op);                                           \
	}
STRING_HELPER(movs)
STRING_HELPER(cmps)
STRING_HELPER(stos)
STRING_HELPER(lods)
STRING_HELPER(scas)
