/*
 * control.c - what the control socket asks of the running machine; on the loop's thread
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vm_internal.h"

/* NULL while there is no machine, or it is on its way out. */
static struct hyperv *live_hyperv(struct vm *vm)
{
	return vm->machine && !vm->ending ? vm->machine->hyperv : NULL;
}

static struct controllers *live_controllers(struct vm *vm)
{
	struct hyperv *hyperv = live_hyperv(vm);

	return hyperv ? hyperv_controllers(hyperv) : NULL;
}

static enum vm_state state_of(const struct vm *vm)
{
	if (!vm->machine)
		return VM_STATE_STARTING;
	if (vm->ending)
		return VM_STATE_ENDING;
	return drives_full_path(vm->drives) ? VM_STATE_WAITING_FOR_SPACE : VM_STATE_RUNNING;
}

void vm_get_status(struct vm *vm, struct vm_status *ret_status)
{
	*ret_status = (struct vm_status){
		.state = state_of(vm),
		.uptime_ns = vm->machine ? monotonic_ns() - vm->booted_ns : 0,
		.boots = vm->boots,
		.vp_count = vm->config.vp_count,
		.memory_bytes = vm->config.memory_bytes,
		.engine = vm->config.engine->name,
	};
	if (drives_full_path(vm->drives))
		snprintf(ret_status->why, sizeof(ret_status->why),
			 "the host has no room for %s to grow", drives_full_path(vm->drives));
	if (live_hyperv(vm))
		hyperv_get_status(live_hyperv(vm), &ret_status->guest_os_id,
				  &ret_status->vmbus_version);
	pthread_mutex_lock(&vm->lock);
	memcpy(ret_status->crash, vm->crash, sizeof(vm->crash));
	pthread_mutex_unlock(&vm->lock);
}

struct ic *vm_ic(struct vm *vm)
{
	struct hyperv *hyperv = live_hyperv(vm);

	return hyperv ? hyperv_ic(hyperv) : NULL;
}

void vm_press_power_button(struct vm *vm)
{
	if (vm->machine)
		pc_press_power_button(&vm->machine->pc);
}

size_t vm_drives(struct vm *vm, struct vm_drive *drives, size_t max)
{
	return drives_list(vm->drives, drives, max);
}

int vm_attach_drive(struct vm *vm, const struct vm_drive *drive, struct vm_error *ret_error)
{
	struct controllers *controllers = live_controllers(vm);

	if (!controllers)
		return vm_fail(ret_error, -ENOTSUP, BLAME_DRIVE,
			       "the guest has no Hyper-V interface, or is ending");
	if (drive->bus == VM_BUS_IDE)
		return vm_fail(ret_error, -ENOTSUP, BLAME_DRIVE,
			       "IDE drives cannot be added to a running guest; use SCSI");
	return drives_add(vm->drives, drive, controllers, ret_error);
}

int vm_detach_drive(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		    void (*done)(void *ctx), void *ctx)
{
	const struct vm_drive place = {.bus = bus, .controller = controller, .lun = lun};
	struct controllers *controllers = live_controllers(vm);

	if (bus == VM_BUS_IDE)
		return -ENOTSUP; /* a guest looks at those once, at its start */
	return controllers ? drives_remove(vm->drives, &place, controllers, done, ctx) : -ENOENT;
}

int vm_change_medium(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		     const char *path, struct vm_error *ret_error)
{
	const struct vm_drive place = {.bus = bus, .controller = controller, .lun = lun};
	struct controllers *controllers = live_controllers(vm);

	if (!controllers)
		return vm_fail(ret_error, -ENOENT, BLAME_DRIVE,
			       "the guest has no Hyper-V interface, or is ending");
	return drives_change_medium(vm->drives, &place, path, controllers, ret_error);
}
