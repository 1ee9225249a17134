/*
 * exits.c - KVM_EXIT_* to struct vp_exit, and the caller's answers back into struct kvm_run
 *
 * A table by KVM_EXIT_* code; a code without a row ends the VP with VP_EXIT_FAILED. KVM hands out a
 * string I/O instruction as up to a page of elements at once: they are given out one at a time
 * without entering KVM, and KVM_RUN comes after the last, so the exit is always used up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kvm_internal.h"

/* What a KVM_EXIT_INTERNAL_ERROR was; see uapi/linux/kvm.h. */
static const struct {
	uint32_t suberror;
	const char *what;
} suberrors[] = {
	{KVM_INTERNAL_ERROR_EMULATION, "an instruction KVM cannot emulate"},
	{KVM_INTERNAL_ERROR_SIMUL_EX, "exceptions at the same time"},
	{KVM_INTERNAL_ERROR_DELIVERY_EV, "an exit while an event was delivered"},
	{KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, "an exit reason KVM does not expect"},
};

void kvm_exit_failed(struct kvm_vp *vp, struct vp_exit *exit, const char *format, ...)
{
	struct vp_regs regs = {0};
	va_list args;

	kvm_vp_get_regs(&vp->vp, &regs);
	*exit = (struct vp_exit){.reason = VP_EXIT_FAILED, .failed.rip = regs.rip};
	va_start(args, format);
	vsnprintf(exit->failed.why, sizeof(exit->failed.why), format, args);
	va_end(args);
}

/* --- port I/O --- */

static void *pio_element(struct kvm_run *run, uint32_t index)
{
	return (char *)run + run->io.data_offset + (size_t)index * run->io.size;
}

bool kvm_next_pio_element(struct kvm_vp *vp, struct vp_exit *exit)
{
	struct kvm_run *run = vp->run;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;

	if (!vp->pio_active)
		return false;
	if (vp->pio_done >= run->io.count) {
		vp->pio_active = false;
		return false;
	}
	exit->reason = VP_EXIT_PIO;
	exit->pio.port = run->io.port;
	exit->pio.bytes = run->io.size;
	exit->pio.write = write;
	exit->pio.data = write ? 0 : ~0u;
	if (write)
		memcpy(&exit->pio.data, pio_element(run, vp->pio_done), run->io.size);
	vp->answer = write ? ANSWER_NONE : ANSWER_PIO;
	vp->pio_done++;
	return true;
}

static int translate_pio(struct kvm_vp *vp, struct vp_exit *exit)
{
	vp->io_incomplete = true;
	vp->pio_active = true;
	vp->pio_done = 0;
	return kvm_next_pio_element(vp, exit);
}

/* --- memory-mapped I/O --- */

static int translate_mmio(struct kvm_vp *vp, struct vp_exit *exit)
{
	struct kvm_run *run = vp->run;
	bool write = run->mmio.is_write;

	exit->reason = VP_EXIT_MMIO;
	exit->mmio.gpa = run->mmio.phys_addr;
	exit->mmio.bytes = (uint8_t)MIN(run->mmio.len, 8u);
	exit->mmio.write = write;
	exit->mmio.data = write ? 0 : ~0ull;
	if (write)
		memcpy(&exit->mmio.data, run->mmio.data, exit->mmio.bytes);
	vp->answer = write ? ANSWER_NONE : ANSWER_MMIO;
	vp->io_incomplete = true;
	return 1;
}

/* --- MSRs --- */

static int translate_msr(struct kvm_vp *vp, struct vp_exit *exit)
{
	bool write = vp->run->exit_reason == KVM_EXIT_X86_WRMSR;

	exit->reason = VP_EXIT_MSR;
	exit->msr.index = vp->run->msr.index;
	exit->msr.write = write;
	exit->msr.fault = false;
	exit->msr.data = write ? vp->run->msr.data : ~0ull;
	vp->answer = ANSWER_MSR;
	vp->io_incomplete = true;
	return 1;
}

/* --- interrupts --- */

static int translate_eoi(struct kvm_vp *vp, struct vp_exit *exit)
{
	exit->reason = VP_EXIT_EOI;
	exit->eoi.vector = vp->run->eoi.vector;
	return 1;
}

static int run_again(struct kvm_vp *vp, struct vp_exit *exit)
{
	return 0;
}

/* --- ends --- */

/* On AMD, KVM resets the VP's registers before this exit: RIP is then the reset vector. */
static int translate_shutdown(struct kvm_vp *vp, struct vp_exit *exit)
{
	struct kvm_vcpu_events events = {0};
	struct kvm_sregs sregs = {0};
	struct vp_regs regs = {0};

	kvm_call(vp->fd, KVM_GET_VCPU_EVENTS, &events);
	kvm_call(vp->fd, KVM_GET_SREGS, &sregs);
	kvm_vp_get_regs(&vp->vp, &regs);
	*exit = (struct vp_exit){
		.reason = VP_EXIT_SHUTDOWN,
		.shutdown = {.rip = regs.rip, .cr2 = sregs.cr2, .vector = 0xff},
	};
	if (events.exception.injected || events.exception.pending) {
		exit->shutdown.vector = events.exception.nr;
		exit->shutdown.error =
			events.exception.has_error_code ? events.exception.error_code : 0;
	}
	return 1;
}

static int translate_fail_entry(struct kvm_vp *vp, struct vp_exit *exit)
{
	kvm_exit_failed(vp, exit, "the processor refused to enter the guest, reason %#llx",
			(unsigned long long)vp->run->fail_entry.hardware_entry_failure_reason);
	return 1;
}

static void hex_bytes(char *text, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sprintf(text + 3 * i, " %02x", bytes[i]);
}

static int translate_internal_error(struct kvm_vp *vp, struct vp_exit *exit)
{
	struct kvm_run *run = vp->run;
	const char *what = "unknown";
	char code[3 * 15 + 1] = "";

	for (size_t i = 0; i < ARRAY_SIZE(suberrors); i++)
		if (suberrors[i].suberror == run->internal.suberror)
			what = suberrors[i].what;
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 1 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		hex_bytes(code, run->emulation_failure.insn_bytes,
			  MIN(run->emulation_failure.insn_size, 15));
	kvm_exit_failed(vp, exit, "KVM internal error %u: %s%s%s", run->internal.suberror, what,
			code[0] ? ", code" : "", code);
	return 1;
}

static int translate_unknown(struct kvm_vp *vp, struct vp_exit *exit)
{
	kvm_exit_failed(vp, exit, "an unexpected KVM exit, reason %u", vp->run->exit_reason);
	return 1;
}

static int (*const translate[KVM_EXIT_CODES])(struct kvm_vp *vp, struct vp_exit *exit) = {
	[KVM_EXIT_IO] = translate_pio,
	[KVM_EXIT_MMIO] = translate_mmio,
	[KVM_EXIT_X86_RDMSR] = translate_msr,
	[KVM_EXIT_X86_WRMSR] = translate_msr,
	[KVM_EXIT_IOAPIC_EOI] = translate_eoi,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = run_again,
	[KVM_EXIT_INTR] = run_again,
	[KVM_EXIT_SHUTDOWN] = translate_shutdown,
	[KVM_EXIT_FAIL_ENTRY] = translate_fail_entry,
	[KVM_EXIT_INTERNAL_ERROR] = translate_internal_error,
};

int kvm_translate_exit(struct kvm_vp *vp, struct vp_exit *exit)
{
	uint32_t reason = vp->run->exit_reason;

	vp->io_incomplete = false;
	vp->answer = ANSWER_NONE;
	if (reason < KVM_EXIT_CODES && translate[reason])
		return translate[reason](vp, exit);
	return translate_unknown(vp, exit);
}

/* --- answers --- */

static void answer_msr(struct kvm_run *run, const struct vp_exit *exit)
{
	run->msr.error = exit->msr.fault;
	if (run->exit_reason == KVM_EXIT_X86_RDMSR)
		run->msr.data = exit->msr.data;
}

void kvm_answer_exit(struct kvm_vp *vp, const struct vp_exit *exit)
{
	struct kvm_run *run = vp->run;

	switch (vp->answer) {
	case ANSWER_NONE: break;
	case ANSWER_PIO:
		memcpy(pio_element(run, vp->pio_done - 1), &exit->pio.data, run->io.size);
		break;
	case ANSWER_MMIO: memcpy(run->mmio.data, &exit->mmio.data, sizeof(run->mmio.data)); break;
	case ANSWER_MSR: answer_msr(run, exit); break;
	}
	vp->answer = ANSWER_NONE;
}
