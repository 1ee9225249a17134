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

/* Input for the serial port; the bytes taken. On the loop's thread. */
size_t vm_serial_input(struct vm *vm, const uint8_t *bytes, size_t n);
/* The serial backend has room again. On the loop's thread. */
void vm_serial_output_ready(struct vm *vm);

#endif
