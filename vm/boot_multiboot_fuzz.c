/*
 * boot_multiboot_fuzz.c - any bytes as a kernel for boot_multiboot()
 */
#include "boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_loader(boot_multiboot, data, size);
}
