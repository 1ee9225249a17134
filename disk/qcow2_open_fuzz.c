/*
 * qcow2_open_fuzz.c - a file's bytes as a qcow2 image: open it, read all over it
 *
 * Built for libFuzzer with -Dfuzz=true, else as a replay of its corpus. A backing file that the
 * input names is left out.
 */
#include "open_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return open_fuzz(DISK_QCOW2, data, size);
}
