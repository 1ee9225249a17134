/*
 * trace.c - exits as readable lines, for --trace
 *
 * One line is one write(2), so lines of several VPs do not mix. On a terminal it ends with CR LF,
 * since the terminal may be raw while the guest has it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "partition_internal.h"

static int describe_pio(const struct vp_exit *exit, char *text, size_t bytes)
{
	if (!exit->pio.write)
		return snprintf(text, bytes, "pio read port %#x, %u bytes", exit->pio.port,
				exit->pio.bytes);
	return snprintf(text, bytes, "pio write port %#x, %u bytes, %#x", exit->pio.port,
			exit->pio.bytes, exit->pio.data);
}

static int describe_mmio(const struct vp_exit *exit, char *text, size_t bytes)
{
	if (!exit->mmio.write)
		return snprintf(text, bytes, "mmio read %#" PRIx64 ", %u bytes", exit->mmio.gpa,
				exit->mmio.bytes);
	return snprintf(text, bytes, "mmio write %#" PRIx64 ", %u bytes, %#" PRIx64, exit->mmio.gpa,
			exit->mmio.bytes, exit->mmio.data);
}

static int describe_msr(const struct vp_exit *exit, char *text, size_t bytes)
{
	if (!exit->msr.write)
		return snprintf(text, bytes, "msr read %#x", exit->msr.index);
	return snprintf(text, bytes, "msr write %#x, %#" PRIx64, exit->msr.index, exit->msr.data);
}

static int describe_hypercall(const struct vp_exit *exit, char *text, size_t bytes)
{
	return snprintf(text, bytes, "hypercall");
}

static int describe_eoi(const struct vp_exit *exit, char *text, size_t bytes)
{
	return snprintf(text, bytes, "end of interrupt %#x", exit->eoi.vector);
}

static int describe_shutdown(const struct vp_exit *exit, char *text, size_t bytes)
{
	return snprintf(text, bytes,
			"shutdown at rip %#" PRIx64 ", cr2 %#" PRIx64 ", vector %#x, error %#x",
			exit->shutdown.rip, exit->shutdown.cr2, exit->shutdown.vector,
			exit->shutdown.error);
}

static int describe_cancelled(const struct vp_exit *exit, char *text, size_t bytes)
{
	return snprintf(text, bytes, "cancelled");
}

static int describe_failed(const struct vp_exit *exit, char *text, size_t bytes)
{
	return snprintf(text, bytes, "failed at rip %#" PRIx64 ": %.*s", exit->failed.rip,
			(int)sizeof(exit->failed.why), exit->failed.why);
}

static int (*const describe[])(const struct vp_exit *exit, char *text, size_t bytes) = {
	[VP_EXIT_PIO] = describe_pio,
	[VP_EXIT_MMIO] = describe_mmio,
	[VP_EXIT_MSR] = describe_msr,
	[VP_EXIT_HYPERCALL] = describe_hypercall,
	[VP_EXIT_EOI] = describe_eoi,
	[VP_EXIT_SHUTDOWN] = describe_shutdown,
	[VP_EXIT_CANCELLED] = describe_cancelled,
	[VP_EXIT_FAILED] = describe_failed,
};

const char *describe_exit(const struct vp *vp, const struct vp_exit *exit, char *text, size_t bytes)
{
	int used = snprintf(text, bytes, "vp %u: ", vp->index);

	if (exit->reason < ARRAY_SIZE(describe))
		describe[exit->reason](exit, text + used, bytes - (size_t)used);
	else
		snprintf(text + used, bytes - (size_t)used, "exit %d", exit->reason);
	return text;
}

void trace_exit(const struct vp *vp, const struct vp_exit *exit)
{
	char text[320];

	dprintf(STDERR_FILENO, "%s%s", describe_exit(vp, exit, text, sizeof(text)),
		isatty(STDERR_FILENO) ? "\r\n" : "\n");
}
