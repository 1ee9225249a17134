/*
 * boot.h - puts a kernel into guest memory and a VP at its entry point
 *
 * Pure functions over guest memory: no files, no system calls. Whatever the kernel's bytes are,
 * they are bounded and checked before use; every refusal is a sentence for the user. Formats:
 *   - Linux bzImage with a 64-bit entry point (boot protocol 2.12 and later)
 *   - ELF with a PVH note (vmlinux)
 *   - multiboot 1, ELF or with the address members in its header
 */
#ifndef VM_BOOT_H
#define VM_BOOT_H

#include "error.h"
#include "layout.h"

/* Bytes the caller owns until boot_load() returns. */
struct boot_file {
	const char *name; /* for the guest: a multiboot module's string */
	const uint8_t *bytes;
	uint64_t count;
};

struct boot_request {
	const struct guest_memory *memory;
	struct layout layout;
	struct boot_file kernel;
	/* One after the other for Linux (concatenated archives), a module each for multiboot. */
	const struct boot_file *initrds;
	size_t initrd_count;
	const char *command_line;
	gpa_t rsdp; /* of the ACPI tables, 0: none */
};

#define BOOT_MAX_INITRDS 64

/*
 * boot_load() - load the kernel and what goes with it; make @state that of VP 0 at its entry
 * @state: in: the state after power-on reset; changed on success only
 * Returns: 0; -ENOEXEC no kernel, or damaged; -ENOTSUP a kernel we cannot start; -ENOSPC does not
 *          fit. Then @ret_error is filled.
 */
int boot_load(const struct boot_request *request, struct vp_state *state,
	      struct vm_error *ret_error);

#endif
