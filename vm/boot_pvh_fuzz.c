/*
 * boot_pvh_fuzz.c - any bytes as a kernel for boot_pvh()
 */
#include "boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_loader(boot_pvh, data, size);
}
