/*
 * vmdk_open_fuzz.c - a file's bytes as a VMDK: open it, read all over it
 *
 * Built for libFuzzer with -Dfuzz=true, else as a replay of its corpus. The input is one file,
 * sparse or a descriptor; what a descriptor names is not there, or is refused.
 */
#include "open_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return open_fuzz(DISK_VMDK, data, size);
}
