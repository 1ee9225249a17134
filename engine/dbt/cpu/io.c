/*
 * io.c - IN, OUT, INS, OUTS
 *
 * Every element is one exit, except writes that ring a doorbell. A write's exit leaves with the
 * element done; a read's exit leaves with it undone, and the instruction, run again, finds the
 * data in vp->answer. INS therefore makes sure that its destination can be written before the port
 * is read, and keeps the answer until the data has been stored: a port is read once.
 * (SDM vol. 1, "Input/Output".)
 */
#include <sys/syscall.h>

#include "debug.h"
#include "operand.h"

#define TSS_IO_MAP_BASE 0x66
#define TSS_TYPE	0x9 /* 32- and 64-bit; 16-bit ones have no I/O map */
#define TSS_TYPE_MASK	0xd /* without the busy bit */

/* --- permission --- */

/* #GP unless the TSS's bit map allows all of the ports. */
static int check_io_map(struct dbt_vp *vp, uint16_t port, uint32_t bytes)
{
	const struct vp_segment *tr = &vp->seg[VP_TR];
	uint32_t access = ACCESS_READ | ACCESS_SUPERVISOR;
	uint16_t base, map;

	if ((tr->access & TSS_TYPE_MASK) == TSS_TYPE && tr->limit > TSS_IO_MAP_BASE) {
		uint32_t offset;

		if (mmu_read(vp, tr->base + TSS_IO_MAP_BASE, &base, 2, access) < 0)
			return -1;
		offset = base + port / 8;
		if (offset + 1 <= tr->limit) {
			if (mmu_read(vp, tr->base + offset, &map, 2, access) < 0)
				return -1;
			if (!((map >> port % 8) & ((1u << bytes) - 1)))
				return 0;
		}
	}
	vp_raise_error(vp, VEC_GP, 0);
	return -1;
}

static int check_permission(struct dbt_vp *vp, uint16_t port, uint32_t bytes)
{
	unsigned int iopl = (vp->eflags_rest & FLAG_IOPL) >> 12;

	if (vp->cpl <= iopl && !(vp->mode & MODE_VM86))
		return 0;
	return check_io_map(vp, port, bytes);
}

/* --- one element --- */

static bool ring_doorbell(struct dbt_vp *vp, uint16_t port, uint32_t bytes, uint32_t value)
{
	const struct dbt_partition *part = vp_partition(vp);
	const uint64_t one = 1;

	for (unsigned int i = 0; i < part->doorbell_count; i++) {
		const struct doorbell *bell = &part->doorbells[i];

		if (bell->space != DOORBELL_PIO || bell->address != port || bell->bytes != bytes)
			continue;
		if (bell->match && bell->value != value)
			continue;
		raw_syscall(SYS_write, bell->eventfd, (long)&one, sizeof(one), 0, 0, 0);
		return true;
	}
	return false;
}

static void fill_exit(struct dbt_vp *vp, uint16_t port, uint32_t bytes, bool write, uint32_t data)
{
	vp->exit.reason = VP_EXIT_PIO;
	vp->exit.pio.port = port;
	vp->exit.pio.bytes = bytes;
	vp->exit.pio.write = write;
	vp->exit.pio.data = data;
	vp->leave = LEAVE_EXIT;
}

static uint32_t data_mask(uint32_t bytes)
{
	return bytes >= 4 ? ~0u : (1u << (8 * bytes)) - 1;
}

/* Returns 0 when the write is done, 1 when vp->leave has to carry it out. */
static int port_write(struct dbt_vp *vp, uint16_t port, uint32_t bytes, uint32_t value)
{
	value &= data_mask(bytes);
	debug_note_io(vp, port, bytes);
	if (ring_doorbell(vp, port, bytes, value))
		return 0;
	fill_exit(vp, port, bytes, true, value);
	return 1;
}

static bool answered(const struct dbt_vp *vp, uint16_t port, uint32_t bytes)
{
	const struct dbt_answer *answer = &vp->answer;

	return answer->valid && answer->reason == VP_EXIT_PIO && !answer->write &&
	       answer->address == port && answer->bytes == bytes;
}

/* Returns 0 with the answer, which stays until answer_used(); -1: exit for it. */
static int port_read(struct dbt_vp *vp, uint16_t port, uint32_t bytes, uint32_t *ret_value)
{
	if (!answered(vp, port, bytes)) {
		fill_exit(vp, port, bytes, false, data_mask(bytes));
		return -1;
	}
	*ret_value = vp->answer.data & data_mask(bytes);
	debug_note_io(vp, port, bytes);
	return 0;
}

static void answer_used(struct dbt_vp *vp)
{
	vp->answer.valid = false;
}

/* --- IN and OUT --- */

/*
 * The operands do not say whether there is an immediate when it is 0: then it is the byte before
 * the last that tells, E4..E7 or the prefix of an EC..EF. (One without prefixes is a byte long.)
 */
static bool opcode_has_immediate(struct dbt_vp *vp)
{
	uint64_t opcode = vp->next_rip - 2;
	const uint8_t *host;
	gpa_t gpa;

	if (vp->next_rip - vp->rip < 2)
		return false;
	if (!is_code64(vp))
		opcode = (uint32_t)(vp->seg[VP_CS].base + (uint32_t)opcode);
	if (mmu_fetch_page(vp, opcode, &gpa, &host) < 0) {
		vp->exception.vector = VEC_NONE; /* the code went away after it was translated */
		vp->leave = LEAVE_NONE;
		return false;
	}
	return (*host & 0xfc) == 0xe4;
}

static uint16_t port_operand(struct dbt_vp *vp, uint64_t immediate)
{
	if (immediate || opcode_has_immediate(vp))
		return immediate & 0xff;
	return vp->gpr[VP_RDX];
}

enum cpu_result helper_in(struct dbt_vp *vp, struct cpu_args args, uint64_t immediate)
{
	uint16_t port = port_operand(vp, immediate);
	uint32_t value;

	if (check_permission(vp, port, args.op_bytes) < 0)
		return CPU_RESTART;
	if (port_read(vp, port, args.op_bytes, &value) < 0)
		return CPU_RESTART;
	answer_used(vp);
	reg_set(vp, VP_RAX, args.op_bytes, value);
	return CPU_DONE;
}

enum cpu_result helper_out(struct dbt_vp *vp, struct cpu_args args, uint64_t immediate)
{
	uint16_t port = port_operand(vp, immediate);

	if (check_permission(vp, port, args.op_bytes) < 0)
		return CPU_RESTART;
	if (args.op_bytes == 1 && port && port == vp_partition(vp)->part.hypercall_port) {
		vp->exit.reason = VP_EXIT_HYPERCALL;
		vp->leave = LEAVE_EXIT;
		return cpu_done_leave(vp);
	}
	return write_result(vp, port_write(vp, port, args.op_bytes, vp->gpr[VP_RAX]));
}

/* --- INS and OUTS --- */

/* Would a store there fault? Then -1, with the exception raised; nothing is stored. */
static int probe_write(struct dbt_vp *vp, uint64_t va, uint32_t bytes)
{
	uint32_t bounce_bytes = vp->bounce.bytes;
	uint8_t step_once = vp->step_once;
	uint64_t span;

	if (mmu_host_span(vp, va, ACCESS_WRITE, &span) && span >= bytes)
		return 0;
	if (mmu_access(vp, va, bytes, ACCESS_WRITE))
		vp->bounce.bytes = bounce_bytes;
	else if (vp->exception.vector != VEC_NONE)
		return -1;
	vp->step_once = step_once; /* MMIO, code or two pages: mmu_write() does those by itself */
	return 0;
}

/* Both return 0: element done; 1: done, vp->leave is set; -1: not done. */
static int in_element(struct dbt_vp *vp, struct cpu_args args, uint16_t port)
{
	uint64_t offset = reg_get(vp, VP_RDI, args.address_bytes), va;
	uint32_t value;
	int r;

	if (segment_linear(vp, VP_ES, offset, args.op_bytes, ACCESS_WRITE, &va) < 0)
		return -1;
	if (probe_write(vp, va, args.op_bytes) < 0)
		return -1;
	if (port_read(vp, port, args.op_bytes, &value) < 0)
		return -1;
	r = mmu_write(vp, va, &value, args.op_bytes, ACCESS_WRITE);
	if (r >= 0)
		answer_used(vp);
	return r;
}

static int out_element(struct dbt_vp *vp, struct cpu_args args, uint16_t port)
{
	uint64_t offset = reg_get(vp, VP_RSI, args.address_bytes), va;
	uint32_t value = 0;

	if (segment_linear(vp, args.seg, offset, args.op_bytes, ACCESS_READ, &va) < 0)
		return -1;
	if (mmu_read(vp, va, &value, args.op_bytes, ACCESS_READ) < 0)
		return -1;
	return port_write(vp, port, args.op_bytes, value);
}

static enum cpu_result io_string(struct dbt_vp *vp, struct cpu_args args, unsigned int index_reg,
				 int (*element)(struct dbt_vp *, struct cpu_args, uint16_t))
{
	bool repeated = args.flags & (CPU_ARG_REP | CPU_ARG_REPNE);
	uint64_t left = repeated ? reg_get(vp, VP_RCX, args.address_bytes) : 1;
	uint64_t step = vp->flag_df ? -(uint64_t)args.op_bytes : args.op_bytes;
	uint16_t port = vp->gpr[VP_RDX];

	if (left && check_permission(vp, port, args.op_bytes) < 0)
		return CPU_RESTART;
	while (left) {
		int r = element(vp, args, port);

		if (r < 0)
			return CPU_RESTART;
		left--;
		reg_set(vp, index_reg, args.address_bytes, vp->gpr[index_reg] + step);
		if (repeated)
			reg_set(vp, VP_RCX, args.address_bytes, left);
		if (!left)
			return write_result(vp, r);
		if (r > 0 || atomic_load_explicit(&vp->exit_request, memory_order_relaxed))
			return CPU_RESTART;
	}
	return CPU_DONE;
}

enum cpu_result helper_ins(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return io_string(vp, args, VP_RDI, in_element);
}
enum cpu_result helper_outs(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return io_string(vp, args, VP_RSI, out_element);
}
