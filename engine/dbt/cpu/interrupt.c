/*
 * interrupt.c - delivery of exceptions and interrupts through the IDT, and the instructions INT
 *
 * One event at a time: deliver_once() tries to enter its handler and either commits everything
 * (frame in memory, CS, SS, RSP, RIP, flags, mode) or raises another exception with nothing
 * changed. deliver() then applies the rules of SDM vol. 3, "Interrupt 8 - Double Fault Exception":
 * the new exception takes the old event's place, becomes #DF, or shuts the processor down.
 *
 * Error codes raised on the way get their EXT bit here, when the event came from outside the
 * program: a hardware interrupt or an exception, not INT n.
 *
 * vp->exception.error of a #DB without error code: bits that delivery adds to DR6.
 */
#include "debug.h"
#include "segmentation.h"
#include "trace.h"

struct event {
	uint8_t vector;
	bool has_error;
	bool interrupt; /* not an exception: hardware interrupt, NMI, INT n */
	bool software;	/* INT n, INT3, INTO: the gate's DPL is checked */
	bool external;	/* faults on the way have EXT set */
	bool resume;	/* a fault: the frame has RF set */
	uint32_t error;
	uint64_t rip; /* return address */
	uint64_t cr2; /* #PF */
};

struct gate {
	uint64_t offset;
	uint16_t selector;
	uint8_t type, ist;
};

/* Exceptions that are faults: the instruction starts over, and RF keeps breakpoints from repeating.
 */
#define TRAPS_AND_ABORTS                                                                           \
	(BIT(VEC_DB) | BIT(VEC_NMI) | BIT(VEC_BP) | BIT(VEC_OF) | BIT(VEC_DF) | BIT(VEC_MC))
#define CONTRIBUTORY	(BIT(VEC_DE) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP))
#define SELECTOR_ERRORS (BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP))

/* --- the gate and its code segment --- */

static uint32_t gate_error(const struct event *event)
{
	return event->vector * 8u | 2;
}

static int gate_read(struct dbt_vp *vp, const struct event *event, struct gate *ret_gate)
{
	const uint32_t bytes = in_long_mode(vp) ? 16 : 8;
	uint64_t raw[2] = {0, 0};
	uint32_t access;

	if (unlikely(event->vector * bytes + bytes - 1 > vp->idtr.limit))
		return fault(vp, VEC_GP, gate_error(event));
	if (unlikely(mmu_read(vp, vp->idtr.base + event->vector * bytes, raw, bytes,
			      ACCESS_SUPERVISOR)))
		return -1;
	access = raw[0] >> 40 & 0xff;
	ret_gate->type = access & (VP_SEG_TYPE_MASK | VP_SEG_S);
	ret_gate->ist = raw[0] >> 32 & 7;
	ret_gate->selector = raw[0] >> 16;
	ret_gate->offset = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000) | raw[1] << 32;
	if (unlikely(event->software && access_dpl(access) < vp->cpl))
		return fault(vp, VEC_GP, gate_error(event));
	if (unlikely((ret_gate->type & ~1) != SYSTEM_INT)) {
		if (in_long_mode(vp) ||
		    ((ret_gate->type & ~1) != SYSTEM_INT16 && ret_gate->type != SYSTEM_TASK_GATE))
			return fault(vp, VEC_GP, gate_error(event));
		ret_gate->offset &= 0xffff;
	}
	if (unlikely(!(access & VP_SEG_P)))
		return fault(vp, VEC_NP, gate_error(event));
	return 0;
}

/* Fills *ret_cs with the handler's privilege as DPL of nothing but *ret_cpl. */
static int handler_segment(struct dbt_vp *vp, const struct gate *gate, struct vp_segment *ret_cs,
			   unsigned int *ret_cpl)
{
	struct descriptor descriptor;
	uint32_t access;

	if (unlikely(selector_is_null(gate->selector)))
		return fault(vp, VEC_GP, 0);
	if (unlikely(descriptor_read(vp, gate->selector, VEC_GP, &descriptor)))
		return -1;
	access = descriptor_access(descriptor.raw);
	if (unlikely(!access_is_code(access) || access_dpl(access) > vp->cpl))
		return fault_selector(vp, VEC_GP, gate->selector);
	if (unlikely(in_long_mode(vp) && (access & (VP_SEG_L | VP_SEG_DB)) != VP_SEG_L))
		return fault_selector(vp, VEC_GP, gate->selector);
	*ret_cpl = access_is_conforming(access) ? vp->cpl : access_dpl(access);
	if (unlikely(in_vm86(vp) && *ret_cpl != 0))
		return fault_selector(vp, VEC_GP, gate->selector);
	if (unlikely(code_segment_finish(vp, &descriptor, gate->selector, ret_cs)))
		return -1;
	return code_check_target(vp, ret_cs, gate->offset);
}

/* The flags as the frame shows them. */
static uint32_t frame_flags(const struct dbt_vp *vp, const struct event *event)
{
	return vp_rflags(vp) | (event->resume ? FLAG_RF : 0);
}

/* Commits what all protected-mode deliveries have in common. */
static void enter_handler(struct dbt_vp *vp, const struct gate *gate, const struct vp_segment *cs,
			  unsigned int cpl)
{
	vp->eflags_rest &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (!(gate->type & 1)) /* interrupt gate */
		vp->flag_if = 0;
	vp->seg[VP_CS] = *cs;
	vp->seg[VP_CS].selector = (cs->selector & ~SELECTOR_RPL) | cpl;
	vp->cpl = cpl;
	vp->rip = vp->next_rip = gate->offset;
	vp->irq_shadow = 0;
	vp->step_trap = 0;
	vp->break_hits = 0;
	cpu_update_mode(vp);
}

/* --- long mode --- */

/* The stack pointer before the frame: IST, the inner privilege's, or the current one. */
static int long_stack_pointer(struct dbt_vp *vp, const struct gate *gate, unsigned int cpl,
			      uint64_t *ret_rsp)
{
	const struct vp_segment *tr = &vp->seg[VP_TR];
	uint32_t offset;

	if (likely(!gate->ist && cpl == vp->cpl)) {
		*ret_rsp = vp->gpr[VP_RSP];
		return 0;
	}
	offset = gate->ist ? 0x1c + 8 * gate->ist : 4 + 8 * cpl;
	if (unlikely(offset + 7 > tr->limit))
		return fault_selector(vp, VEC_TS, tr->selector);
	return mmu_read(vp, tr->base + offset, ret_rsp, 8, ACCESS_SUPERVISOR);
}

static int deliver_long(struct dbt_vp *vp, const struct event *event)
{
	struct gate gate;
	struct vp_segment cs;
	unsigned int cpl;
	uint64_t rsp, frame[6];
	uint32_t bytes = event->has_error ? 48 : 40;

	if (unlikely(gate_read(vp, event, &gate) || handler_segment(vp, &gate, &cs, &cpl) ||
		     long_stack_pointer(vp, &gate, cpl, &rsp)))
		return -1;
	frame[0] = event->error;
	frame[1] = event->rip;
	frame[2] = vp->seg[VP_CS].selector;
	frame[3] = frame_flags(vp, event);
	frame[4] = vp->gpr[VP_RSP];
	frame[5] = vp->seg[VP_SS].selector;
	rsp = (rsp & ~15ull) - bytes;
	if (unlikely(!is_canonical(rsp) || !is_canonical(rsp + bytes - 1)))
		return fault(vp, VEC_SS, 0);
	if (unlikely(mmu_write(vp, rsp, frame + 6 - bytes / 8, bytes,
			       cpl == vp->cpl ? 0 : ACCESS_SUPERVISOR) < 0))
		return -1;
	if (cpl != vp->cpl)
		segment_null(&vp->seg[VP_SS], cpl, cpl);
	vp->gpr[VP_RSP] = rsp;
	enter_handler(vp, &gate, &cs, cpl);
	return 0;
}

/* --- protected mode without long mode, virtual-8086 mode --- */

/* *ret_ss and the stack on it, when the handler has more privilege. */
static int inner_stack(struct dbt_vp *vp, unsigned int cpl, struct vp_segment *ret_ss,
		       struct stack *ret_stack)
{
	uint16_t selector;
	uint32_t esp;

	if (tss_read_stack(vp, cpl, &selector, &esp))
		return -1;
	if (selector_is_null(selector))
		return fault_selector(vp, VEC_TS, selector);
	if (segment_read_stack(vp, selector, cpl, VEC_TS, ret_ss))
		return -1;
	*ret_stack = stack_new(ret_ss, false, esp, cpl);
	ret_stack->error = selector & ~SELECTOR_RPL;
	return 0;
}

/* Everything a frame can hold, in the order it is pushed. */
static unsigned int legacy_frame(const struct dbt_vp *vp, const struct event *event, bool inner,
				 uint64_t values[10])
{
	static const uint8_t vm86_order[] = {VP_GS, VP_FS, VP_DS, VP_ES};
	unsigned int count = 0;

	if (in_vm86(vp))
		for (unsigned int i = 0; i < ARRAY_SIZE(vm86_order); i++)
			values[count++] = vp->seg[vm86_order[i]].selector;
	if (inner) {
		values[count++] = vp->seg[VP_SS].selector;
		values[count++] = vp->gpr[VP_RSP];
	}
	values[count++] = frame_flags(vp, event);
	values[count++] = vp->seg[VP_CS].selector;
	values[count++] = event->rip;
	if (event->has_error)
		values[count++] = event->error;
	return count;
}

static void null_data_segments(struct dbt_vp *vp)
{
	segment_null(&vp->seg[VP_ES], 0, 0);
	segment_null(&vp->seg[VP_DS], 0, 0);
	segment_null(&vp->seg[VP_FS], 0, 0);
	segment_null(&vp->seg[VP_GS], 0, 0);
}

static int deliver_protected(struct dbt_vp *vp, const struct event *event)
{
	struct gate gate;
	struct vp_segment cs, ss = vp->seg[VP_SS];
	struct stack stack = stack_current(vp);
	uint64_t values[10];
	unsigned int cpl, count;
	bool inner;

	if (gate_read(vp, event, &gate))
		return -1;
	if (gate.type == SYSTEM_TASK_GATE)
		return cpu_fail(
			vp,
			"the guest has a task gate in its IDT, which this engine cannot use yet");
	if (handler_segment(vp, &gate, &cs, &cpl))
		return -1;
	inner = cpl != vp->cpl;
	if (inner && inner_stack(vp, cpl, &ss, &stack))
		return -1;
	count = legacy_frame(vp, event, inner, values);
	if (stack_push(vp, &stack, values, count, gate.type & 8 ? 4 : 2) < 0)
		return -1;
	vp->seg[VP_SS] = ss;
	stack_commit(vp, &stack);
	if (in_vm86(vp))
		null_data_segments(vp);
	enter_handler(vp, &gate, &cs, cpl);
	return 0;
}

/* --- real mode --- */

static int deliver_real(struct dbt_vp *vp, const struct event *event)
{
	struct stack stack = stack_current(vp);
	uint64_t values[3] = {vp_rflags(vp) & ~FLAG_RF, vp->seg[VP_CS].selector, event->rip};
	uint16_t target[2]; /* offset, segment */

	if (event->vector * 4u + 3 > vp->idtr.limit)
		return fault(vp, VEC_GP, gate_error(event));
	if (mmu_read(vp, vp->idtr.base + event->vector * 4, target, 4, ACCESS_SUPERVISOR) ||
	    stack_push(vp, &stack, values, 3, 2) < 0)
		return -1;
	stack_commit(vp, &stack);
	vp->eflags_rest &= ~(FLAG_TF | FLAG_RF);
	vp->flag_if = 0;
	vp->flag_ac = 0;
	segment_fill_real(vp, &vp->seg[VP_CS], target[1]);
	vp->rip = vp->next_rip = target[0];
	vp->irq_shadow = 0;
	vp->step_trap = 0;
	cpu_update_mode(vp);
	return 0;
}

/* --- one event after another --- */

static int deliver_once(struct dbt_vp *vp, const struct event *event)
{
	if (event->vector == VEC_PF && !event->interrupt)
		vp->cr2 = event->cr2;
	if (likely(in_long_mode(vp)))
		return deliver_long(vp, event);
	return vp->cr0 & CR0_PE ? deliver_protected(vp, event) : deliver_real(vp, event);
}

/* vp->exception as an event, and no longer pending. */
static struct event take_exception(struct dbt_vp *vp)
{
	struct event event = {.vector = vp->exception.vector, .has_error = vp->exception.has_error};

	event.error = vp->exception.error;
	event.cr2 = vp->exception.cr2;
	event.software = vp->exception.soft;
	event.external = !event.software;
	event.rip = event.software ? vp->next_rip : vp->rip;
	event.resume =
		event.vector < 32 && !event.software && !(TRAPS_AND_ABORTS & BIT(event.vector));
	if (event.vector == VEC_DB) {
		vp->dr6 |= event.error & DR6_REPORTED;
		vp->dr7 &= ~DR7_GD;
		event.error = 0;
	}
	vp->exception.vector = VEC_NONE;
	return event;
}

enum severity { BENIGN, SEVERE_CONTRIBUTORY, SEVERE_PAGE_FAULT, SEVERE_DOUBLE_FAULT };

static enum severity severity(const struct event *event)
{
	if (event->interrupt || event->software || event->vector >= 32)
		return BENIGN;
	if (event->vector == VEC_DF)
		return SEVERE_DOUBLE_FAULT;
	if (event->vector == VEC_PF)
		return SEVERE_PAGE_FAULT;
	return CONTRIBUTORY & BIT(event->vector) ? SEVERE_CONTRIBUTORY : BENIGN;
}

/* What to deliver after @second was raised by the delivery of @first; false: shut down. */
static bool combine(struct dbt_vp *vp, const struct event *first, struct event *second)
{
	enum severity a = severity(first), b = severity(second);

	if (first->external && second->has_error && (SELECTOR_ERRORS & BIT(second->vector)))
		second->error |= 1;
	if (b == BENIGN || a == BENIGN || (a == SEVERE_CONTRIBUTORY && b == SEVERE_PAGE_FAULT))
		return true;
	if (a == SEVERE_DOUBLE_FAULT)
		return false;
	if (b == SEVERE_PAGE_FAULT)
		vp->cr2 = second->cr2;
	*second = (struct event){
		.vector = VEC_DF, .has_error = true, .external = true, .rip = vp->rip};
	return true;
}

/* Remembers the exception that VP_EXIT_SHUTDOWN tells of: the cause, so not #DF itself. */
static void note_exception(struct dbt_vp *vp, const struct event *event)
{
	if (event->interrupt || event->vector == VEC_DF)
		return;
	vp->last_vector = event->vector;
	vp->last_error = event->error;
}

static void trace_event(struct dbt_vp *vp, const struct event *event)
{
	unsigned int what = event->interrupt ? PARTITION_TRACE_INTERRUPTS : PARTITION_TRACE_EXCEPTIONS;

	if (!trace_wants(vp, what))
		return;
	trace_note(vp, (struct trace_record){.kind = event->interrupt ? TRACE_INTERRUPT : TRACE_EXCEPTION,
					     .vector = event->vector,
					     .cpl = vp->cpl,
					     .has_error = event->has_error,
					     .error = event->error,
					     .at = vp->rip,
					     .value = event->cr2});
}

static int shut_down(struct dbt_vp *vp)
{
	vp->exit.reason = VP_EXIT_SHUTDOWN;
	vp->exit.shutdown.rip = vp->rip;
	vp->exit.shutdown.cr2 = vp->cr2;
	vp->exit.shutdown.vector = vp->last_vector;
	vp->exit.shutdown.error = vp->last_error;
	vp->leave = LEAVE_EXIT;
	return 1;
}

/*
 * Returns: 0; 1: vp->leave is set (delivered, but a store of the frame wants the run loop; shut
 * down; or failed).
 * Benign exceptions cannot follow each other for ever, but a broken table must not hang us either.
 *
 * Tables or a stack in a device's memory end the run: their reads would need several exits, and a
 * hardware interrupt has no instruction that could be started over for them.
 */
static int deliver(struct dbt_vp *vp, struct event event)
{
	for (unsigned int tries = 0; tries < 8; tries++) {
		struct event second;

		note_exception(vp, &event);
		if (trace_wants(vp, PARTITION_TRACE_EXCEPTIONS | PARTITION_TRACE_INTERRUPTS))
			trace_event(vp, &event);
		if (likely(deliver_once(vp, &event) == 0))
			return vp->leave != LEAVE_NONE;
		if (vp->exception.vector == VEC_NONE) {
			if (vp->exit.reason != VP_EXIT_FAILED)
				cpu_set_failed(vp, "an exception or interrupt needs tables that "
						   "are not in memory");
			return 1;
		}
		second = take_exception(vp);
		if (!combine(vp, &event, &second))
			return shut_down(vp);
		event = second;
	}
	return shut_down(vp);
}

int cpu_deliver_exception(struct dbt_vp *vp)
{
	return deliver(vp, take_exception(vp));
}

int cpu_deliver_interrupt(struct dbt_vp *vp, uint8_t vector)
{
	struct event event = {
		.vector = vector, .interrupt = true, .external = true, .rip = vp->rip};

	if (vector == VEC_NMI)
		vp->nmi_masked = 1;
	return deliver(vp, event);
}

/* --- INT n and its relatives: delivered at once, here --- */

static enum cpu_result software_interrupt(struct dbt_vp *vp, struct event event)
{
	int r;

	event.rip = vp->next_rip;
	r = deliver(vp, event);
	vp->next_rip = vp->rip; /* the handler of the interrupt or of what went wrong */
	return r ? CPU_DONE_LEAVE : CPU_DONE;
}

enum cpu_result helper_int_n(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	if (in_vm86(vp) && flags_iopl(vp) < 3)
		return raise_now_error(vp, VEC_GP, 0);
	return software_interrupt(
		vp, (struct event){.vector = value, .interrupt = true, .software = true});
}

enum cpu_result helper_int3(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return software_interrupt(vp, (struct event){.vector = VEC_BP, .software = true});
}

enum cpu_result helper_into(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	if (!vp->flags_of)
		return CPU_DONE;
	return software_interrupt(vp, (struct event){.vector = VEC_OF, .software = true});
}

/* INT1: like a hardware #DB, so neither DPL nor IOPL is looked at. */
enum cpu_result helper_int1(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return software_interrupt(vp, (struct event){.vector = VEC_DB, .external = true});
}
