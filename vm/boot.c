/*
 * boot.c - recognizes the kernel's format, and what all loaders share
 *
 * Order matters: a bzImage is known by its setup header, then a multiboot header (an ELF may
 * carry one), then the PVH note of an ELF. What is none of these is named as well as its first
 * bytes allow.
 */
#include "boot_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pc.h"
#include "size.h"

void *boot_hva(const struct boot_request *request, gpa_t gpa, uint64_t bytes)
{
	void *hva = layout_hva(&request->layout, request->memory, gpa, bytes);

	assert(hva);
	return hva;
}

static bool ranges_overlap(gpa_t a, uint64_t a_bytes, gpa_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

int boot_claim(const struct boot_request *request, gpa_t gpa, uint64_t bytes, void **ret_hva,
	       struct vm_error *error)
{
	void *hva = gpa < PC_HOLE_GPA ? layout_hva(&request->layout, request->memory, gpa, bytes)
				      : NULL;
	char have[SIZE_TEXT_BYTES];

	if (!hva)
		return vm_fail(error, -ENOSPC, BLAME_MEMORY,
			       "the kernel wants %" PRIu64 " KiB at %#" PRIx64
			       ", beyond the end of RAM at %s; "
			       "give the guest more memory",
			       (uint64_t)(bytes / KIB + (bytes % KIB != 0)), gpa,
			       size_format(request->layout.low_bytes, have));
	if (ranges_overlap(gpa, bytes, BOOT_AREA_GPA, BOOT_AREA_END - BOOT_AREA_GPA) ||
	    ranges_overlap(gpa, bytes, PC_LOW_RAM_END, MIB - PC_LOW_RAM_END))
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "the kernel loads at %#" PRIx64
			       ", where boot data or the PC's ROMs are; "
			       "link it at 1 MiB or higher",
			       gpa);
	*ret_hva = hva;
	return 0;
}

int boot_put_command_line(const struct boot_request *request, uint64_t max_bytes,
			  struct vm_error *error)
{
	uint64_t length = strlen(request->command_line);

	max_bytes = MIN(max_bytes, (uint64_t)BOOT_CMDLINE_BYTES - 1);
	if (length > max_bytes)
		return vm_fail(error, -ENOSPC, BLAME_COMMAND_LINE,
			       "%" PRIu64 " bytes are too long, this kernel takes at most %" PRIu64,
			       length, max_bytes);
	memcpy(boot_hva(request, BOOT_CMDLINE_GPA, length + 1), request->command_line, length + 1);
	return 0;
}

static uint64_t initrds_total(const struct boot_request *request)
{
	uint64_t total = 0;

	for (size_t i = 0; i < request->initrd_count; i++) {
		if (__builtin_add_overflow(ALIGN_UP(total, 4), request->initrds[i].count, &total))
			return UINT64_MAX;
	}
	return total;
}

int boot_put_initrds(const struct boot_request *request, gpa_t min, gpa_t max, gpa_t *ret_gpa,
		     uint64_t *ret_bytes, struct vm_error *error)
{
	uint64_t total = initrds_total(request), room, used = 0;
	gpa_t gpa;

	min = ALIGN_UP(min, PAGE_BYTES);
	max = ALIGN_DOWN(MIN(max, request->layout.low_bytes), PAGE_BYTES);
	room = max > min ? max - min : 0;
	if (total > room)
		return vm_fail(error, -ENOSPC, BLAME_INITRD,
			       "%" PRIu64 " KiB do not fit into the %" PRIu64
			       " KiB of memory left beside the "
			       "kernel; give the guest more memory",
			       (uint64_t)(total / KIB), (uint64_t)(room / KIB));
	gpa = total ? ALIGN_DOWN(max - total, PAGE_BYTES) : 0;
	for (size_t i = 0; i < request->initrd_count; i++) {
		const struct boot_file *file = &request->initrds[i];

		used = ALIGN_UP(used, 4);
		memcpy(boot_hva(request, gpa + used, file->count), file->bytes, file->count);
		used += file->count;
	}
	*ret_gpa = gpa;
	*ret_bytes = total;
	return 0;
}

/* --- files that are no kernel --- */

static const struct {
	unsigned int at, count;
	const char *magic;
	const char *text;
} known_files[] = {
	{0, 2, "\x1f\x8b", "is compressed with gzip; give the bzImage, or decompress it first"},
	{0, 4, "\x28\xb5\x2f\xfd",
	 "is compressed with zstd; give the bzImage, or decompress it first"},
	{0, 6,
	 "\xfd"
	 "7zXZ",
	 "is compressed with xz; give the bzImage, or decompress it first"},
	{0, 6, "070701", "is a cpio archive, not a kernel; give it as --initrd"},
	{0x38, 4, "ARM\x64", "is a kernel for 64-bit ARM; give one for x86-64"},
	{0x202, 4, "HdrS", "is a truncated Linux kernel; get a complete copy"},
	{0x1fe, 2, "\x55\xaa", "is a boot sector or a very old kernel, not a Linux bzImage"},
	{0, 4,
	 "\x7f"
	 "ELF",
	 "is an ELF file with neither a PVH note nor a multiboot header; give the bzImage"},
	{0, 2, "MZ", "is an EFI program that is no Linux bzImage"},
	{0, 2, "#!", "is a script, not a kernel"},
};

static bool has_multiboot2_header(const struct boot_file *file)
{
	static const uint8_t magic[] = {0xd6, 0x50, 0x52, 0xe8};

	return memmem(file->bytes, MIN(file->count, 32 * KIB), magic, sizeof(magic));
}

static int refuse_unknown(const struct boot_file *file, struct vm_error *error)
{
	if (has_multiboot2_header(file))
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "has a multiboot 2 header; only multiboot 1 is supported");
	for (size_t i = 0; i < ARRAY_SIZE(known_files); i++) {
		unsigned int at = known_files[i].at, count = known_files[i].count;

		if (file->count >= at + count &&
		    !memcmp(file->bytes + at, known_files[i].magic, count))
			return vm_fail(error, -ENOEXEC, BLAME_KERNEL, "%s", known_files[i].text);
	}
	return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
		       "is not a kernel: neither a Linux bzImage, an ELF kernel with a PVH note, "
		       "nor a multiboot image");
}

int boot_load(const struct boot_request *request, struct vp_state *state,
	      struct vm_error *ret_error)
{
	static int (*const loaders[])(const struct boot_request *, struct vp_state *,
				      struct vm_error *) = {boot_linux, boot_multiboot, boot_pvh};

	if (!request->kernel.count)
		return vm_fail(ret_error, -ENOEXEC, BLAME_KERNEL, "the file is empty");
	if (request->layout.low_bytes < MIB)
		return vm_fail(ret_error, -ENOSPC, BLAME_MEMORY,
			       "a kernel needs at least 1M of memory; give the guest more");
	for (size_t i = 0; i < ARRAY_SIZE(loaders); i++) {
		int r = loaders[i](request, state, ret_error);

		if (r != BOOT_NOT_MINE)
			return r;
	}
	return refuse_unknown(&request->kernel, ret_error);
}
