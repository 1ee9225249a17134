/*
 * machine.h - the parts of one booted machine: memory, partition, VPs, chipset, devices
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "hyperv.h"
#include "pc.h"
#include "vm.h"

struct machine {
	struct guest_memory memory;
	struct layout layout;
	struct partition *part;
	struct chipset *chipset;
	struct pc pc;
	struct vp *vps[PARTITION_MAX_VPS];
	struct hyperv *hyperv; /* NULL: the guest sees no hypervisor interface */
};

/*
 * machine_new() - build it by the table in machine.c, load the kernel, put VP 0 at its entry
 * @events, @hyperv_events: where the guest's requests (power-off, reset) and reports go
 * Returns: 0, or -errno with *ret_error filled.
 */
int machine_new(const struct vm_config *config, const struct chipset_events *events,
		const struct hyperv_events *hyperv_events, struct machine **ret_machine,
		struct vm_error *ret_error);

/* On the loop's thread, after the VP threads have ended. */
void machine_free(struct machine *machine);

#endif
