/*
 * probe.c - whether this host's KVM can run guests
 *
 * A /dev/kvm that answers is not enough: some kernels offer one without hardware virtualization
 * behind it, which runs a stock kernel by instruction emulation or not at all. So the processor
 * flags or the vendor module must be there too, and every capability the engine builds on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_internal.h"

static const struct {
	unsigned int capability;
	const char *name;
} required[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR"},
	{KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
	{KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
	{KVM_CAP_XCRS, "KVM_CAP_XCRS"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

const char *kvm_missing_capability(int kvm_fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, required[i].capability) <= 0)
			return required[i].name;
	return NULL;
}

bool kvm_has_hyperv_apic_msrs(void)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	bool has = fd >= 0 && ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV) > 0;

	if (fd >= 0)
		close(fd);
	return has;
}

/* One word of a flags line, between blanks. */
static bool has_word(const char *line, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = strstr(line, word); at; at = strstr(at + 1, word))
		if (at > line && (at[-1] == ' ' || at[-1] == '\t') &&
		    (at[length] == ' ' || at[length] == '\n' || !at[length]))
			return true;
	return false;
}

static bool processor_has_virtualization(void)
{
	char line[8192];
	bool found = false;
	FILE *file = fopen("/proc/cpuinfo", "re");

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		if (strncmp(line, "flags", 5) == 0)
			found = has_word(line, "vmx") || has_word(line, "svm");
	fclose(file);
	return found;
}

static bool has_hardware_virtualization(void)
{
	return processor_has_virtualization() || access("/sys/module/kvm_intel", F_OK) == 0 ||
	       access("/sys/module/kvm_amd", F_OK) == 0;
}

static void answer(struct engine_probe *probe, const char *code, const char *why)
{
	probe->usable = strcmp(code, "ok") == 0;
	probe->code = code;
	snprintf(probe->why, sizeof(probe->why), "%s", why);
}

static void explain_open_failure(struct engine_probe *probe, int error)
{
	if (error == EACCES || error == EPERM)
		answer(probe, "no-permission",
		       "no permission to open " KVM_DEVICE ": join the group that owns it (kvm)");
	else if (error == ENOENT)
		answer(probe, "no-device",
		       "there is no " KVM_DEVICE
		       ": the kvm module is not loaded, or not allowed here");
	else
		snprintf(probe->why, sizeof(probe->why), "%s cannot be opened: %s", KVM_DEVICE,
			 strerror(error));
}

static void examine(struct engine_probe *probe, int kvm_fd)
{
	const char *missing;

	if (!has_hardware_virtualization()) {
		answer(probe, "no-hardware-virtualization",
		       KVM_DEVICE " answers, but the processor shows neither vmx nor svm: "
				  "stock kernels would not run in reasonable time");
		return;
	}
	missing = kvm_missing_capability(kvm_fd);
	if (missing || ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		answer(probe, "old-kernel", "");
		snprintf(probe->why, sizeof(probe->why),
			 "this kernel's KVM lacks %s; Linux 5.10 has it",
			 missing ? missing : "API version 12");
		return;
	}
	answer(probe, "ok", "hardware virtualization through " KVM_DEVICE);
}

void kvm_probe(struct engine_probe *ret_probe)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	*ret_probe = (struct engine_probe){.code = "no-device"};
	if (fd < 0) {
		explain_open_failure(ret_probe, errno);
		return;
	}
	examine(ret_probe, fd);
	close(fd);
}
