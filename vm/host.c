/*
 * host.c - asks the processor by CPUID, and the kernel for the rest
 */
#include "host.h"

#include <cpuid.h>
#include <string.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };

/* What matters to the engines. Bits: Intel SDM vol. 2 and AMD APM vol. 3, "CPUID". */
static const struct {
	const char *name;
	uint32_t leaf, subleaf;
	unsigned int reg, bit;
} feature_rows[] = {
	{"sse4.2", 1, 0, ECX, 20},
	{"avx", 1, 0, ECX, 28},
	{"avx2", 7, 0, EBX, 5},
	{"avx512f", 7, 0, EBX, 16},
	{"fma", 1, 0, ECX, 12},
	{"bmi1", 7, 0, EBX, 3},
	{"bmi2", 7, 0, EBX, 8},
	{"aes", 1, 0, ECX, 25},
	{"fsgsbase", 7, 0, EBX, 0},
	{"xsave", 1, 0, ECX, 26},
	{"xsavec", 0xd, 1, EAX, 1},
	{"pku", 7, 0, ECX, 3},
	{"x2apic", 1, 0, ECX, 21},
	{"tsc-deadline", 1, 0, ECX, 24},
	{"invariant-tsc", 0x80000007, 0, EDX, 8},
	{"rdtscp", 0x80000001, 0, EDX, 27},
	{"1g-pages", 0x80000001, 0, EDX, 26},
	{"vmx", 1, 0, ECX, 5},
	{"svm", 0x80000001, 0, ECX, 2},
	{"hypervisor", 1, 0, ECX, 31},
};

static void add_features(struct host_info *info)
{
	static_assert(ARRAY_SIZE(feature_rows) <= HOST_MAX_FEATURES, "too many features");
	for (size_t i = 0; i < ARRAY_SIZE(feature_rows); i++) {
		uint32_t regs[4] = {};

		if (__get_cpuid_count(feature_rows[i].leaf, feature_rows[i].subleaf, &regs[EAX],
				      &regs[EBX], &regs[ECX], &regs[EDX]) &&
		    regs[feature_rows[i].reg] >> feature_rows[i].bit & 1)
			info->features[info->feature_count++] = feature_rows[i].name;
	}
}

static void read_model(struct host_info *info)
{
	uint32_t regs[12] = {};
	char text[sizeof(regs) + 1] = {};
	const char *start = text;

	for (unsigned int i = 0; i < 3; i++)
		__get_cpuid(0x80000002 + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2],
			    &regs[4 * i + 3]);
	memcpy(text, regs, sizeof(regs));
	while (*start == ' ')
		start++;
	memcpy(info->model, start, strlen(start) + 1);
	for (size_t end = strlen(info->model); end && info->model[end - 1] == ' '; end--)
		info->model[end - 1] = 0;
}

uint64_t host_memory_bytes(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

void host_describe(struct host_info *ret_info)
{
	uint32_t max, vendor[3] = {};

	memset(ret_info, 0, sizeof(*ret_info));
	__get_cpuid(0, &max, &vendor[0], &vendor[2], &vendor[1]);
	memcpy(ret_info->vendor, vendor, sizeof(vendor));
	read_model(ret_info);
	add_features(ret_info);
	ret_info->cpu_count = sysconf(_SC_NPROCESSORS_ONLN);
	ret_info->memory_bytes = host_memory_bytes();
}
