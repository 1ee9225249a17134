/*
 * state.c - struct vp_state to and from KVM's structures
 *
 * Getting: the MP state first, since asking for it makes KVM act on a pending INIT or SIPI; then
 * the events, since asking for them stores a pending exception's CR2 and DR6; the rest after.
 * Setting: the APIC base (sregs) before the local APIC, whose page it gives a meaning; the timer's
 * deadline after it; the events last, as KVM's documentation asks.
 *
 * An interrupt that KVM had already accepted from the local APIC but not delivered goes back into
 * the IRR: the portable state has no third place for it. One accepted from the 8259 cannot go
 * back; it is the pending "exception" with a vector of 32 or more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm_internal.h"

#define LAPIC_ISR 0x100
#define LAPIC_IRR 0x200

/* --- general registers --- */

#define GPR(number, member)                                                                        \
	{                                                                                          \
		number, offsetof(struct kvm_regs, member)                                          \
	}
static const struct {
	enum vp_gpr number;
	size_t offset;
} gprs[] = {
	GPR(VP_RAX, rax), GPR(VP_RCX, rcx), GPR(VP_RDX, rdx), GPR(VP_RBX, rbx),
	GPR(VP_RSP, rsp), GPR(VP_RBP, rbp), GPR(VP_RSI, rsi), GPR(VP_RDI, rdi),
	GPR(VP_R8, r8),	  GPR(VP_R9, r9),   GPR(VP_R10, r10), GPR(VP_R11, r11),
	GPR(VP_R12, r12), GPR(VP_R13, r13), GPR(VP_R14, r14), GPR(VP_R15, r15),
};

static uint64_t *gpr_in(struct kvm_regs *kvm, size_t i)
{
	return (uint64_t *)((char *)kvm + gprs[i].offset);
}

int kvm_vp_get_regs(struct vp *vp, struct vp_regs *ret_regs)
{
	struct kvm_regs kvm;
	int r = kvm_call(to_kvm_vp(vp)->fd, KVM_GET_REGS, &kvm);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(gprs); i++)
		ret_regs->gpr[gprs[i].number] = *gpr_in(&kvm, i);
	ret_regs->rip = kvm.rip;
	ret_regs->rflags = kvm.rflags;
	return 0;
}

int kvm_vp_set_regs(struct vp *vp, const struct vp_regs *regs)
{
	struct kvm_regs kvm = {.rip = regs->rip, .rflags = regs->rflags};

	for (size_t i = 0; i < ARRAY_SIZE(gprs); i++)
		*gpr_in(&kvm, i) = regs->gpr[gprs[i].number];
	to_kvm_vp(vp)->window_unknown = true;
	return kvm_call(to_kvm_vp(vp)->fd, KVM_SET_REGS, &kvm);
}

/* --- segments, tables, control registers --- */

static struct vp_segment segment_from_kvm(const struct kvm_segment *kvm)
{
	return (struct vp_segment){
		.base = kvm->base,
		.limit = kvm->limit,
		.selector = kvm->selector,
		.access = (uint32_t)kvm->type | (kvm->s ? VP_SEG_S : 0) |
			  (uint32_t)kvm->dpl << VP_SEG_DPL_SHIFT | (kvm->present ? VP_SEG_P : 0) |
			  (kvm->avl ? VP_SEG_AVL : 0) | (kvm->l ? VP_SEG_L : 0) |
			  (kvm->db ? VP_SEG_DB : 0) | (kvm->g ? VP_SEG_G : 0) |
			  (kvm->unusable ? VP_SEG_UNUSABLE : 0),
	};
}

static struct kvm_segment segment_to_kvm(const struct vp_segment *segment)
{
	uint32_t access = segment->access;

	return (struct kvm_segment){
		.base = segment->base,
		.limit = segment->limit,
		.selector = segment->selector,
		.type = access & VP_SEG_TYPE_MASK,
		.s = (access & VP_SEG_S) != 0,
		.dpl = (access & VP_SEG_DPL_MASK) >> VP_SEG_DPL_SHIFT,
		.present = (access & VP_SEG_P) != 0,
		.avl = (access & VP_SEG_AVL) != 0,
		.l = (access & VP_SEG_L) != 0,
		.db = (access & VP_SEG_DB) != 0,
		.g = (access & VP_SEG_G) != 0,
		.unusable = (access & VP_SEG_UNUSABLE) != 0,
	};
}

#define SEGMENT(number, member)                                                                    \
	{                                                                                          \
		number, offsetof(struct kvm_sregs, member)                                         \
	}
static const struct {
	enum vp_segment_index number;
	size_t offset;
} segments[] = {
	SEGMENT(VP_ES, es), SEGMENT(VP_CS, cs), SEGMENT(VP_SS, ss),    SEGMENT(VP_DS, ds),
	SEGMENT(VP_FS, fs), SEGMENT(VP_GS, gs), SEGMENT(VP_LDTR, ldt), SEGMENT(VP_TR, tr),
};

static struct kvm_segment *segment_in(struct kvm_sregs *sregs, size_t i)
{
	return (struct kvm_segment *)((char *)sregs + segments[i].offset);
}

static int get_sregs(struct kvm_vp *vp, struct vp_state *state)
{
	struct kvm_sregs sregs;
	int r = kvm_call(vp->fd, KVM_GET_SREGS, &sregs);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		state->segment[segments[i].number] = segment_from_kvm(segment_in(&sregs, i));
	state->gdtr = (struct vp_table){.base = sregs.gdt.base, .limit = sregs.gdt.limit};
	state->idtr = (struct vp_table){.base = sregs.idt.base, .limit = sregs.idt.limit};
	state->cr0 = sregs.cr0;
	state->cr2 = sregs.cr2;
	state->cr3 = sregs.cr3;
	state->cr4 = sregs.cr4;
	state->cr8 = sregs.cr8;
	state->efer = sregs.efer;
	state->apic_base = sregs.apic_base;
	return 0;
}

static int set_sregs(struct kvm_vp *vp, const struct vp_state *state)
{
	struct kvm_sregs sregs = {
		.gdt = {.base = state->gdtr.base, .limit = state->gdtr.limit},
		.idt = {.base = state->idtr.base, .limit = state->idtr.limit},
		.cr0 = state->cr0,
		.cr2 = state->cr2,
		.cr3 = state->cr3,
		.cr4 = state->cr4,
		.cr8 = state->cr8,
		.efer = state->efer,
		.apic_base = state->apic_base,
	};

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		*segment_in(&sregs, i) = segment_to_kvm(&state->segment[segments[i].number]);
	return kvm_call(vp->fd, KVM_SET_SREGS, &sregs);
}

static int get_debug(struct kvm_vp *vp, struct vp_state *state)
{
	struct kvm_debugregs debug;
	int r = kvm_call(vp->fd, KVM_GET_DEBUGREGS, &debug);

	if (r < 0)
		return r;
	for (int i = 0; i < 4; i++)
		state->dr[i] = debug.db[i];
	state->dr6 = debug.dr6;
	state->dr7 = debug.dr7;
	return 0;
}

static int set_debug(struct kvm_vp *vp, const struct vp_state *state)
{
	struct kvm_debugregs debug = {.dr6 = state->dr6, .dr7 = state->dr7};

	for (int i = 0; i < 4; i++)
		debug.db[i] = state->dr[i];
	return kvm_call(vp->fd, KVM_SET_DEBUGREGS, &debug);
}

/* --- vector state --- */

static_assert(VP_XSAVE_BYTES == sizeof(struct kvm_xsave),
	      "KVM_GET_XSAVE's area is the portable one");

static int get_vectors(struct kvm_vp *vp, struct vp_state *state)
{
	struct kvm_xcrs xcrs = {0};
	struct kvm_xsave xsave;
	int r = kvm_call(vp->fd, KVM_GET_XSAVE, &xsave);

	if (r < 0)
		return r;
	memcpy(state->xsave, &xsave, sizeof(state->xsave));
	r = kvm_call(vp->fd, KVM_GET_XCRS, &xcrs);
	if (r < 0)
		return r;
	state->xcr0 = 1;
	for (uint32_t i = 0; i < xcrs.nr_xcrs; i++)
		if (xcrs.xcrs[i].xcr == 0)
			state->xcr0 = xcrs.xcrs[i].value;
	return 0;
}

static int set_vectors(struct kvm_vp *vp, const struct vp_state *state)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = state->xcr0}};
	struct kvm_xsave xsave;
	int r = kvm_call(vp->fd, KVM_SET_XCRS, &xcrs);

	if (r < 0)
		return r;
	memcpy(&xsave, state->xsave, sizeof(xsave));
	return kvm_call(vp->fd, KVM_SET_XSAVE, &xsave);
}

/* --- activity and events --- */

static int get_activity(struct kvm_vp *vp, struct vp_state *state)
{
	struct kvm_mp_state mp;
	int r = kvm_call(vp->fd, KVM_GET_MP_STATE, &mp);

	if (r < 0)
		return r;
	switch (mp.mp_state) {
	case KVM_MP_STATE_HALTED: state->activity = VP_HALTED; break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED: state->activity = VP_WAIT_FOR_SIPI; break;
	default: state->activity = VP_RUNNING;
	}
	return 0;
}

static int set_activity(struct kvm_vp *vp, const struct vp_state *state)
{
	static const uint32_t states[] = {
		[VP_RUNNING] = KVM_MP_STATE_RUNNABLE,
		[VP_HALTED] = KVM_MP_STATE_HALTED,
		[VP_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	struct kvm_mp_state mp = {.mp_state = states[state->activity]};

	return kvm_call(vp->fd, KVM_SET_MP_STATE, &mp);
}

static void raise_exception(struct vp_state *state, uint8_t vector, bool has_error, uint32_t error)
{
	state->exception_pending = 1;
	state->exception_vector = vector;
	state->exception_has_error = has_error;
	state->exception_error = error;
}

static uint32_t *lapic_word(struct vp_state *state, unsigned int bank, uint8_t vector)
{
	return (uint32_t *)(state->lapic + bank + vector / 32 * 0x10);
}

/* An interrupt between acceptance and delivery; needs state->lapic. */
static void give_back_interrupt(struct vp_state *state, const struct kvm_vcpu_events *events)
{
	uint8_t vector = events->interrupt.nr;
	uint32_t bit = 1u << vector % 32;

	if (!events->interrupt.injected || events->interrupt.soft)
		return; /* INT n: RIP is still on it */
	if (*lapic_word(state, LAPIC_ISR, vector) & bit) {
		*lapic_word(state, LAPIC_ISR, vector) &= ~bit;
		*lapic_word(state, LAPIC_IRR, vector) |= bit;
	} else if (!state->exception_pending) {
		raise_exception(state, vector, false, 0);
	}
}

static void events_from_kvm(struct vp_state *state, const struct kvm_vcpu_events *events)
{
	if (events->exception.injected || events->exception.pending)
		raise_exception(state, events->exception.nr, events->exception.has_error_code,
				events->exception.error_code);
	state->sti_shadow = (events->interrupt.shadow & KVM_X86_SHADOW_INT_STI) != 0;
	state->movss_shadow = (events->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0;
	state->nmi_pending = events->nmi.pending || events->nmi.injected;
	state->nmi_masked = events->nmi.masked && !events->nmi.injected;
	give_back_interrupt(state, events);
}

static int set_events(struct kvm_vp *vp, const struct vp_state *state)
{
	struct kvm_vcpu_events events = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.nmi = {.pending = state->nmi_pending != 0, .masked = state->nmi_masked != 0},
		.interrupt.shadow = (state->sti_shadow ? KVM_X86_SHADOW_INT_STI : 0) |
				    (state->movss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0),
	};

	if (state->exception_pending && state->exception_vector >= 32) {
		events.interrupt.injected = 1;
		events.interrupt.nr = state->exception_vector;
	} else if (state->exception_pending) {
		events.exception.injected = 1;
		events.exception.nr = state->exception_vector;
		events.exception.has_error_code = state->exception_has_error != 0;
		events.exception.error_code = state->exception_error;
	}
	return kvm_call(vp->fd, KVM_SET_VCPU_EVENTS, &events);
}

/* --- local APIC --- */

static_assert(VP_LAPIC_BYTES == sizeof(struct kvm_lapic_state), "KVM_GET_LAPIC's page");

static int set_lapic(struct kvm_vp *vp, const struct vp_state *state)
{
	struct kvm_lapic_state lapic;

	memcpy(&lapic, state->lapic, sizeof(lapic));
	return kvm_call(vp->fd, KVM_SET_LAPIC, &lapic);
}

/* --- all of it --- */

int kvm_vp_get_state(struct vp *base, struct vp_state *ret_state)
{
	struct kvm_vp *vp = to_kvm_vp(base);
	struct kvm_vcpu_events events;
	int r;

	memset(ret_state, 0, sizeof(*ret_state));
	r = get_activity(vp, ret_state);
	if (r >= 0)
		r = kvm_call(vp->fd, KVM_GET_VCPU_EVENTS, &events);
	if (r >= 0)
		r = kvm_vp_get_regs(base, &ret_state->regs);
	if (r >= 0)
		r = get_sregs(vp, ret_state);
	if (r >= 0)
		r = get_debug(vp, ret_state);
	if (r >= 0)
		r = get_vectors(vp, ret_state);
	if (r >= 0)
		r = kvm_vp_get_msrs(vp, ret_state);
	if (r >= 0)
		r = kvm_call(vp->fd, KVM_GET_LAPIC, ret_state->lapic);
	if (r >= 0)
		events_from_kvm(ret_state, &events);
	if (base->part->time_stopped)
		kvm_vp_show_stopped_clocks(vp, ret_state);
	return r < 0 ? r : 0;
}

static int apply(struct kvm_vp *vp, const struct vp_state *state)
{
	int r = set_sregs(vp, state);

	if (r >= 0)
		r = kvm_vp_set_regs(&vp->vp, &state->regs);
	if (r >= 0)
		r = set_vectors(vp, state);
	if (r >= 0)
		r = kvm_vp_set_msrs(vp, state);
	if (r >= 0)
		r = set_activity(vp, state);
	if (r >= 0)
		r = set_lapic(vp, state);
	if (r >= 0)
		r = kvm_vp_set_tsc_deadline(vp, state->tsc_deadline);
	if (r >= 0)
		r = set_debug(vp, state);
	if (r >= 0)
		r = set_events(vp, state);
	return r < 0 ? r : 0;
}

int kvm_vp_set_state(struct vp *base, const struct vp_state *state)
{
	struct kvm_vp *vp = to_kvm_vp(base);
	struct vp_state *before = aligned_alloc(64, sizeof(*before));
	int r;

	if (!before)
		return -ENOMEM;
	kvm_vp_abandon_exit(vp);
	vp->extint_vector = -1;
	r = kvm_vp_get_state(base, before);
	if (r >= 0) {
		r = apply(vp, state);
		if (r < 0)
			apply(vp, before);
	}
	free(before);
	return r;
}

int kvm_vp_get_mode(struct vp *base, struct vp_mode *ret_mode)
{
	struct kvm_sregs sregs;
	int r = kvm_call(to_kvm_vp(base)->fd, KVM_GET_SREGS, &sregs);

	if (r < 0)
		return r;
	*ret_mode = (struct vp_mode){.cpl = sregs.ss.dpl,
				     .protected_mode = sregs.cr0 & BIT(0),
				     .long_mode = sregs.efer & BIT(10)};
	return 0;
}
