/*
 * linux.c - Linux bzImage, entered at its 64-bit entry point
 *
 * The file is setup code (not used: it needs a BIOS) of setup_sectors + 1 sectors, then the
 * protected-mode kernel, which is copied to its preferred address and entered at +0x200 with a
 * zero page that holds a copy of the setup header, the memory map, the command line's and the
 * initrd's address.
 */
#include "boot_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bzimage.h"

struct linux_image {
	struct setup_header header;
	const uint8_t *code; /* the protected-mode kernel */
	uint64_t code_bytes;
	gpa_t load;
	uint64_t room_bytes; /* what it needs from @load on before it has read the memory map */
};

static bool is_bzimage(const struct boot_file *file)
{
	const struct setup_header *header;

	if (file->count < BZIMAGE_HEADER_AT + sizeof(*header))
		return false;
	header = (const void *)(file->bytes + BZIMAGE_HEADER_AT);
	return header->boot_flag == BZIMAGE_BOOT_FLAG && header->magic == BZIMAGE_MAGIC;
}

/* The header ends where its jump over itself lands; later members are not there. */
static void copy_header(const struct boot_file *file, struct setup_header *ret_header)
{
	uint64_t count = 0x202 + file->bytes[0x201] - BZIMAGE_HEADER_AT;

	memset(ret_header, 0, sizeof(*ret_header));
	memcpy(ret_header, file->bytes + BZIMAGE_HEADER_AT, MIN(count, sizeof(*ret_header)));
}

static int check_header(const struct setup_header *header, struct vm_error *error)
{
	if (header->version < BZIMAGE_VERSION_64BIT)
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "speaks boot protocol %u.%02u, 2.12 is needed (Linux 3.8 and later)",
			       header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & BZIMAGE_LOADED_HIGH))
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "is a zImage, which loads below 1 MiB; give a bzImage");
	if (!(header->xloadflags & BZIMAGE_KERNEL_64))
		return vm_fail(
			error, -ENOTSUP, BLAME_KERNEL,
			"is a 32-bit kernel without a 64-bit entry point; give one for x86-64");
	return 0;
}

static int parse_image(const struct boot_file *file, struct linux_image *image,
		       struct vm_error *error)
{
	uint64_t setup_bytes;
	int r;

	copy_header(file, &image->header);
	r = check_header(&image->header, error);
	if (r < 0)
		return r;
	setup_bytes = (image->header.setup_sectors ?: BZIMAGE_DEFAULT_SETUP_SECTORS) + 1;
	setup_bytes *= BZIMAGE_SECTOR;
	if (file->count <= setup_bytes + BZIMAGE_ENTRY64 ||
	    (file->count - setup_bytes + 15) / 16 < image->header.syssize)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is truncated: the kernel's header says %" PRIu64
			       " bytes, the file has %" PRIu64,
			       (uint64_t)(setup_bytes + image->header.syssize * 16ull),
			       file->count);
	image->code = file->bytes + setup_bytes;
	image->code_bytes = file->count - setup_bytes;
	image->load = image->header.preferred_address;
	image->room_bytes = MAX(image->code_bytes, (uint64_t)image->header.init_size);
	return 0;
}

static void fill_boot_params(const struct boot_request *request, const struct linux_image *image,
			     gpa_t initrd, uint64_t initrd_bytes)
{
	struct boot_params *params = boot_hva(request, BOOT_INFO_GPA, sizeof(*params));
	struct e820_entry map[LAYOUT_E820_MAX];

	memset(params, 0, sizeof(*params));
	params->header = image->header;
	params->header.type_of_loader = BZIMAGE_LOADER_UNKNOWN;
	params->header.loadflags &= ~BZIMAGE_CAN_USE_HEAP;
	params->header.code32_start = image->load;
	params->header.cmd_line_ptr = BOOT_CMDLINE_GPA;
	params->header.ramdisk_image = initrd;
	params->header.ramdisk_size = initrd_bytes;
	params->header.setup_data = 0;
	params->acpi_rsdp_address = request->rsdp;
	params->e820_entries = layout_e820(&request->layout, map);
	memcpy(params->e820, map, params->e820_entries * sizeof(map[0]));
}

int boot_linux(const struct boot_request *request, struct vp_state *state, struct vm_error *error)
{
	struct linux_image image;
	uint64_t initrd_bytes;
	gpa_t initrd;
	void *hva;
	int r;

	if (!is_bzimage(&request->kernel))
		return BOOT_NOT_MINE;
	r = parse_image(&request->kernel, &image, error);
	if (r < 0)
		return r;
	r = boot_claim(request, image.load, image.room_bytes, &hva, error);
	if (r < 0)
		return r;
	r = boot_put_command_line(request, image.header.cmdline_size, error);
	if (r < 0)
		return r;
	r = boot_put_initrds(request, image.load + image.room_bytes,
			     image.header.initrd_addr_max + 1ull, &initrd, &initrd_bytes, error);
	if (r < 0)
		return r;
	memcpy(hva, image.code, image.code_bytes);
	fill_boot_params(request, &image, initrd, initrd_bytes);
	entry_64bit(request, state, image.load + BZIMAGE_ENTRY64);
	state->regs.gpr[VP_RSI] = BOOT_INFO_GPA;
	return 0;
}
