/*
 * boot_fuzz.h - what the loaders' fuzz targets share: a guest's memory, and the input as kernel
 *
 * The input's last byte says how the rest is used: bit 0: there is an initrd; bits 1 and 2: how
 * much memory the guest has.
 */
#ifndef VM_BOOT_FUZZ_H
#define VM_BOOT_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"

#define FUZZ_MEMORY (16 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int fuzz_loader(int (*loader)(const struct boot_request *request,
					    struct vp_state *state, struct vm_error *error),
			      const uint8_t *data, size_t size)
{
	static struct guest_memory memory;
	static const struct boot_file initrd = {"initrd", (const uint8_t *)"initrd", 6};
	struct boot_request request = {
		.memory = &memory, .initrds = &initrd, .command_line = "quiet", .rsdp = 0xe0000};
	struct vp_state state = {};
	struct vm_error error = {};
	uint8_t how;

	if (!memory.base)
		memory = (struct guest_memory){-1, calloc(1, FUZZ_MEMORY), FUZZ_MEMORY};
	if (size < 2)
		return 0;
	how = data[size - 1];
	request.kernel = (struct boot_file){"kernel", data, size - 1};
	request.initrd_count = how & 1;
	request.layout = layout_of((how >> 1 & 3) == 3 ? FUZZ_MEMORY : MIB << (how >> 1 & 3));
	if (loader(&request, &state, &error) < 0 && !error.text[0])
		abort();
	return 0;
}

#endif
