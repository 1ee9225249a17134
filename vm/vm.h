/*
 * vm.h - one virtual machine, from its configuration to its end
 *
 * A struct vm lives through guest resets: each boot has a machine (machine.h) of its own, made
 * from the same configuration.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "boot.h"
#include "loop.h"
#include "uart.h"

struct vm;

/* Where a drive is attached, and what is in it. */
enum vm_bus { VM_BUS_SCSI, VM_BUS_IDE };
#define VM_SCSI_CONTROLLERS 4
#define VM_SCSI_LUNS	    64
#define VM_IDE_CHANNELS	    2
#define VM_IDE_DEVICES	    2 /* of a channel */
#define VM_MAX_DRIVES	    (VM_SCSI_CONTROLLERS * VM_SCSI_LUNS + VM_IDE_CHANNELS * VM_IDE_DEVICES)
enum vm_format {
	VM_FORMAT_AUTO,
	VM_FORMAT_RAW,
	VM_FORMAT_VHD,
	VM_FORMAT_VHDX,
	VM_FORMAT_VMDK,
	VM_FORMAT_QCOW2
};
#define VM_FORMAT_NAMES {"auto", "raw", "vhd", "vhdx", "vmdk", "qcow2", NULL}
struct vm_drive {
	enum vm_bus bus;
	unsigned int controller; /* of IDE: the channel */
	unsigned int lun;	 /* of IDE: the device */
	bool dvd, read_only;
	enum vm_format format; /* auto: by the name's ending and the contents, which must agree */
	const char *path; /* NULL: an empty DVD drive */
};

static inline unsigned int vm_controllers(enum vm_bus bus)
{
	return bus == VM_BUS_IDE ? VM_IDE_CHANNELS : VM_SCSI_CONTROLLERS;
}

static inline unsigned int vm_luns(enum vm_bus bus)
{
	return bus == VM_BUS_IDE ? VM_IDE_DEVICES : VM_SCSI_LUNS;
}

static inline bool vm_same_place(const struct vm_drive *a, const struct vm_drive *b)
{
	return a->bus == b->bus && a->controller == b->controller && a->lun == b->lun;
}

/* Is one of @drives where @place is? */
static inline bool vm_is_taken(const struct vm_drive *drives, size_t count,
			       const struct vm_drive *place)
{
	for (size_t i = 0; i < count; i++)
		if (vm_same_place(&drives[i], place))
			return true;
	return false;
}

/* Everything is borrowed until vm_free(). */
struct vm_config {
	const struct engine *engine;
	struct loop *loop;
	uint64_t memory_bytes; /* a multiple of 4 KiB, at least 1 MiB */
	unsigned int vp_count;
	struct boot_file kernel;
	const struct boot_file *initrds;
	size_t initrd_count;
	const char *command_line;
	bool no_reboot; /* a guest's reset ends the run */
	bool has_debug_exit;
	uint16_t debug_exit_port;
	unsigned int trace; /* PARTITION_TRACE_* */
	bool hyper_v; /* show the guest a Hyper-V hypervisor with VMBus; else none */
	const struct vm_drive *drives; /* attached at each boot; opened by vm_run() */
	size_t drive_count;
	struct uart_backend serial;
	/*
	 * Called on the loop's thread when the VPs have stopped for good or for a reboot: what the
	 * serial port still holds is written next, once, and must be taken. @ctx is that of
	 * ->serial. May be NULL.
	 */
	void (*serial_closing)(void *ctx);
	/* Called once, when the kernel is loaded and the VPs are about to run. May be NULL. */
	void (*starting)(void *ctx);
	void *starting_ctx;
};

enum vm_outcome {
	VM_POWERED_OFF,
	VM_RESET,      /* with no_reboot */
	VM_DEBUG_EXIT, /* result.value is what the guest wrote */
	VM_CRASHED,    /* triple fault; result.text is the report */
	VM_STOPPED,    /* vm_stop() */
	VM_FAILED      /* the engine gave up; result.text says why */
};

#define VM_MAX_STATS 64
struct vm_result {
	enum vm_outcome outcome;
	uint32_t value;
	char text[320];
	struct partition_stat stats[VM_MAX_STATS]; /* of the last boot */
	size_t stat_count;
};

/* Returns 0, -ENOMEM. */
int vm_new(const struct vm_config *config, struct vm **ret_vm);
void vm_free(struct vm *vm);

/*
 * vm_run() - boot and run until the guest ends, crashes or vm_stop() is called; runs the loop
 * Returns: 0 with *ret_result filled; or, when the machine could not be made or the kernel not
 *          be loaded, -errno with *ret_error filled.
 */
int vm_run(struct vm *vm, struct vm_result *ret_result, struct vm_error *ret_error);

/* vm_stop() - end the run soon (VM_STOPPED). Any thread. */
void vm_stop(struct vm *vm);

/* --- the running machine, for the control socket; on the loop's thread --- */

enum vm_state { VM_STATE_STARTING, VM_STATE_RUNNING, VM_STATE_WAITING_FOR_SPACE, VM_STATE_ENDING };

struct vm_status {
	enum vm_state state;
	char why[320];	      /* of VM_STATE_WAITING_FOR_SPACE: which file */
	uint64_t uptime_ns;   /* of this boot */
	unsigned int boots;   /* 1 at the first */
	unsigned int vp_count;
	uint64_t memory_bytes;
	const char *engine;
	uint64_t guest_os_id; /* 0: none said so */
	uint32_t vmbus_version; /* 0: not connected */
	char crash[320];      /* the guest's last crash report; "" if none */
};
void vm_get_status(struct vm *vm, struct vm_status *ret_status);

/* The integration services of this boot; NULL without any. Changes at a reboot: ask each time. */
struct ic *vm_ic(struct vm *vm);

/* vm_drives() - what is attached now, at most @max; returns how many. Paths live until detached. */
size_t vm_drives(struct vm *vm, struct vm_drive *drives, size_t max);
/*
 * vm_attach_drive() - open the image, attach it, and keep it over reboots
 * Returns: 0; -EEXIST place taken; -ENOTSUP no Hyper-V interface; disk_open()'s errors. *ret_error
 *          says why.
 */
int vm_attach_drive(struct vm *vm, const struct vm_drive *drive, struct vm_error *ret_error);
/*
 * vm_detach_drive() - take it away; the image is closed before @done is called
 * Returns: 0; -ENOENT nothing there; -ENOTSUP it is on IDE; -EBUSY it is being detached already.
 */
int vm_detach_drive(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		    void (*done)(void *ctx), void *ctx);
/*
 * vm_change_medium() - another (or NULL: no) ISO in a DVD drive
 * Returns: 0; -ENOENT no drive is there, and *ret_error says nothing, or the ISO is not there;
 *          -EINVAL no DVD drive; -EBUSY; disk_open()'s errors.
 */
int vm_change_medium(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		     const char *path, struct vm_error *ret_error);
/* vm_press_power_button() - the ACPI power button; vm_reset(): at once, as a reset button. */
void vm_press_power_button(struct vm *vm);
void vm_reset(struct vm *vm);

/* Input for the serial port; the bytes taken. On the loop's thread. */
size_t vm_serial_input(struct vm *vm, const uint8_t *bytes, size_t n);
/* The serial backend has room again. On the loop's thread. */
void vm_serial_output_ready(struct vm *vm);

#endif
