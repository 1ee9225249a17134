/*
 * exits.c - what a VP thread does about an exit: one function a reason
 *
 * Each returns on the VP's thread, with the answer in the exit.
 */
#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "vm_internal.h"

static void handle_pio(struct vp_thread *self, struct vp_exit *exit)
{
	struct hyperv *hyperv = self->vm->machine->hyperv;

	if (hyperv && exit->pio.port == HYPERV_SIGNAL_PORT && exit->pio.write &&
	    exit->pio.bytes == 4)
		hyperv_signal(hyperv, exit->pio.data);
	else
		chipset_pio(self->vm->machine->chipset, exit);
}

static void handle_mmio(struct vp_thread *self, struct vp_exit *exit)
{
	chipset_mmio(self->vm->machine->chipset, exit);
}

/* The hypervisor's range faults as on a processor without one; what else is unknown reads 0. */
static void handle_msr(struct vp_thread *self, struct vp_exit *exit)
{
	bool synthetic = exit->msr.index >> 28 == 4;
	struct hyperv *hyperv = self->vm->machine->hyperv;

	if (hyperv && exit->msr.index >= HV_MSR_FIRST && exit->msr.index <= HV_MSR_LAST) {
		hyperv_msr(hyperv, self->vp, exit);
		return;
	}

	exit->msr.fault = synthetic;
	if (!exit->msr.write)
		exit->msr.data = 0;
	log_debug("VP %u: %s MSR %#x%s", self->vp->index, exit->msr.write ? "writes" : "reads",
		  exit->msr.index, synthetic ? ": #GP" : ", which is not there: ignored");
}

static void handle_hypercall(struct vp_thread *self, struct vp_exit *exit)
{
	struct machine *machine = self->vm->machine;

	if (!machine->hyperv || !hyperv_hypercall(machine->hyperv, self->vp))
		chipset_pio(machine->chipset, exit);
}

static void handle_eoi(struct vp_thread *self, struct vp_exit *exit)
{
	chipset_eoi(self->vm->machine->chipset, exit->eoi.vector);
}

static const char *exception_name(uint8_t vector)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
					    "#DF", NULL,  "#TS", "#NP", "#SS", "#GP", "#PF", NULL,
					    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};

	return vector < ARRAY_SIZE(names) && names[vector] ? names[vector] : "exception";
}

static void handle_shutdown(struct vp_thread *self, struct vp_exit *exit)
{
	char last[64] = "last exception unknown";

	if (exit->shutdown.vector != 0xff)
		snprintf(last, sizeof(last), "last exception %s (%u) error %#x",
			 exception_name(exit->shutdown.vector), exit->shutdown.vector,
			 exit->shutdown.error);
	vm_end_boot(self->vm, VM_CRASHED, 0,
		    "VP %u triple fault at RIP %#" PRIx64 ", CR2 %#" PRIx64 ", %s", self->vp->index,
		    exit->shutdown.rip, exit->shutdown.cr2, last);
}

static void handle_cancelled(struct vp_thread *self, struct vp_exit *exit)
{
	/* The thread's loop looks at vm->ending; a stray signal is no reason to stop. */
}

static void handle_failed(struct vp_thread *self, struct vp_exit *exit)
{
	vm_end_boot(self->vm, VM_FAILED, 0, "VP %u at RIP %#" PRIx64 ": %.*s", self->vp->index,
		    exit->failed.rip, (int)sizeof(exit->failed.why), exit->failed.why);
}

static void (*const exit_handlers[])(struct vp_thread *self, struct vp_exit *exit) = {
	[VP_EXIT_PIO] = handle_pio,
	[VP_EXIT_MMIO] = handle_mmio,
	[VP_EXIT_MSR] = handle_msr,
	[VP_EXIT_HYPERCALL] = handle_hypercall,
	[VP_EXIT_EOI] = handle_eoi,
	[VP_EXIT_SHUTDOWN] = handle_shutdown,
	[VP_EXIT_CANCELLED] = handle_cancelled,
	[VP_EXIT_FAILED] = handle_failed,
};

void vm_handle_exit(struct vp_thread *self)
{
	exit_handlers[self->exit.reason](self, &self->exit);
}
