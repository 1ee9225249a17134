/*
 * host.h - what Mullion wants to know of the machine it runs on
 */
#ifndef VM_HOST_H
#define VM_HOST_H

#include "base.h"

#define HOST_MAX_FEATURES 32

struct host_info {
	char vendor[13];
	char model[49];
	unsigned int cpu_count; /* online */
	uint64_t memory_bytes;
	const char *features[HOST_MAX_FEATURES]; /* names, static */
	size_t feature_count;
};

void host_describe(struct host_info *ret_info);
uint64_t host_memory_bytes(void);

#endif
