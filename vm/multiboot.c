/*
 * multiboot.c - multiboot 1 images: ELF, or flat with the addresses in the header
 *
 * Modules go into RAM after the kernel, each on a page of its own (a kernel may ask for that,
 * and it never hurts). EAX is the loader's magic, EBX the address of the information struct.
 */
#include "boot_internal.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "multiboot.h"
#include "pc.h"

#define LOADER_NAME "Mullion"

static_assert(BOOT_MAX_INITRDS * sizeof(struct multiboot_module) <=
		      BOOT_TABLES_GPA - BOOT_MODULES_GPA,
	      "the module list does not fit");

/* Offset of the header in the file; UINT64_MAX: there is none. */
static uint64_t find_header(const struct boot_file *file, struct multiboot_header *ret_header)
{
	uint64_t end = MIN(file->count, (uint64_t)MULTIBOOT_SEARCH_BYTES);

	for (uint64_t at = 0; at + MULTIBOOT_HEADER_MIN_BYTES <= end; at += 4) {
		struct multiboot_header header = {};

		memcpy(&header, file->bytes + at, MIN(sizeof(header), file->count - at));
		if (header.magic == MULTIBOOT_HEADER_MAGIC &&
		    header.magic + header.flags + header.checksum == 0) {
			*ret_header = header;
			return at;
		}
	}
	return UINT64_MAX;
}

static int bad_addresses(struct vm_error *error)
{
	return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
		       "is damaged: the addresses in its multiboot header do not fit the file");
}

static int load_flat(const struct boot_request *request, const struct multiboot_header *header,
		     uint64_t header_at, gpa_t *ret_end, struct vm_error *error)
{
	const struct boot_file *file = &request->kernel;
	uint64_t before, start, bytes, memory_bytes;
	void *hva;
	int r;

	/* The header lies at header_address; the text starts load_address below that. */
	before = (uint64_t)header->header_address - header->load_address;
	if (header->header_address < header->load_address || before > header_at)
		return bad_addresses(error);
	start = header_at - before;
	bytes = header->load_end_address ? (uint64_t)header->load_end_address - header->load_address
					 : file->count - start;
	if (header->load_end_address && header->load_end_address < header->load_address)
		return bad_addresses(error);
	if (bytes > file->count - start)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is truncated: its multiboot header says %" PRIu64
			       " bytes, the file has %" PRIu64,
			       (uint64_t)(start + bytes), file->count);
	memory_bytes = bytes;
	if (header->bss_end_address > header->load_address + bytes)
		memory_bytes = (uint64_t)header->bss_end_address - header->load_address;
	r = boot_claim(request, header->load_address, memory_bytes, &hva, error);
	if (r < 0)
		return r;
	memcpy(hva, file->bytes + start, bytes);
	memset((uint8_t *)hva + bytes, 0, memory_bytes - bytes);
	*ret_end = header->load_address + memory_bytes;
	return 0;
}

/* e_entry is virtual for a kernel that is linked high; take it to where the segment was loaded. */
static int physical_entry(const struct elf_image *image, uint64_t *ret_entry,
			  struct vm_error *error)
{
	*ret_entry = image->entry;
	for (unsigned int i = 0; i < image->segment_count; i++) {
		struct elf_segment segment;
		int r = elf_get_segment(image, i, &segment, error);

		if (r < 0)
			return r;
		if (segment.type == PT_LOAD &&
		    image->entry - segment.virtual_address < segment.memory_bytes) {
			*ret_entry =
				image->entry - segment.virtual_address + segment.physical_address;
			return 0;
		}
	}
	return 0;
}

static int load_elf(const struct boot_request *request, uint64_t *ret_entry, gpa_t *ret_end,
		    struct vm_error *error)
{
	struct elf_image image;
	int r;

	r = elf_open(&request->kernel, &image, error);
	if (r == BOOT_NOT_MINE)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "has a multiboot header without addresses, but is no ELF file");
	if (r < 0)
		return r;
	r = elf_load(request, &image, ret_end, error);
	if (r < 0)
		return r;
	return physical_entry(&image, ret_entry, error);
}

static int load_image(const struct boot_request *request, uint64_t *ret_entry, gpa_t *ret_end,
		      struct vm_error *error)
{
	struct multiboot_header header;
	uint64_t at = find_header(&request->kernel, &header);
	uint32_t unknown;

	if (at == UINT64_MAX)
		return BOOT_NOT_MINE;
	unknown = header.flags & MULTIBOOT_MUST_KNOW &
		  ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO | MULTIBOOT_VIDEO_MODE);
	if (unknown)
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "asks for multiboot features we do not know (flags %#x)", unknown);
	if (header.flags & MULTIBOOT_AOUT_KLUDGE) {
		if (request->kernel.count - at < sizeof(header))
			return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
				       "is truncated: it ends within the multiboot header");
		*ret_entry = header.entry_address;
		return load_flat(request, &header, at, ret_end, error);
	}
	return load_elf(request, ret_entry, ret_end, error);
}

static int no_room_for_modules(const struct boot_request *request, struct vm_error *error)
{
	return vm_fail(error, -ENOSPC, BLAME_INITRD,
		       "the modules do not fit into memory after the kernel; give the guest more");
}

/* Modules from @at on; the name is the module's string. */
static int put_modules(const struct boot_request *request, gpa_t at, struct vm_error *error)
{
	struct multiboot_module *modules =
		boot_hva(request, BOOT_MODULES_GPA, BOOT_MAX_INITRDS * sizeof(*modules));
	uint64_t string = BOOT_STRINGS_GPA, string_end = BOOT_STRINGS_GPA + BOOT_STRINGS_BYTES;

	if (request->initrd_count > BOOT_MAX_INITRDS)
		return vm_fail(error, -ENOSPC, BLAME_INITRD, "there can be at most %d modules",
			       BOOT_MAX_INITRDS);
	for (size_t i = 0; i < request->initrd_count; i++) {
		const struct boot_file *file = &request->initrds[i];
		size_t name_bytes = strlen(file->name) + 1;
		void *hva;

		at = ALIGN_UP(MAX(at, MIB), PAGE_BYTES);
		hva = at < PC_HOLE_GPA
			      ? layout_hva(&request->layout, request->memory, at, file->count)
			      : NULL;
		if (!hva || name_bytes > string_end - string)
			return no_room_for_modules(request, error);
		memcpy(hva, file->bytes, file->count);
		memcpy(boot_hva(request, string, name_bytes), file->name, name_bytes);
		modules[i] = (struct multiboot_module){at, at + file->count, string, 0};
		string += name_bytes;
		at += file->count;
	}
	return 0;
}

static unsigned int put_memory_map(const struct boot_request *request)
{
	struct e820_entry map[LAYOUT_E820_MAX];
	size_t count = layout_e820(&request->layout, map);
	struct multiboot_mmap_entry *entries =
		boot_hva(request, BOOT_LISTS_GPA, count * sizeof(*entries));

	for (size_t i = 0; i < count; i++)
		entries[i] = (struct multiboot_mmap_entry){
			.size = sizeof(entries[i]) - sizeof(entries[i].size),
			.address = map[i].address,
			.bytes = map[i].bytes,
			.type = map[i].type,
		};
	return count * sizeof(*entries);
}

static void put_info(const struct boot_request *request)
{
	struct multiboot_info *info = boot_hva(request, BOOT_INFO_GPA, PAGE_BYTES);
	const unsigned int name_at = 512;

	memset(info, 0, sizeof(*info));
	*info = (struct multiboot_info){
		.flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MODULES |
			 MULTIBOOT_INFO_MMAP | MULTIBOOT_INFO_LOADER,
		.mem_lower = PC_LOW_RAM_END / KIB,
		.mem_upper = (request->layout.low_bytes - MIB) / KIB,
		.cmdline = BOOT_CMDLINE_GPA,
		.module_count = request->initrd_count,
		.modules = BOOT_MODULES_GPA,
		.mmap_length = put_memory_map(request),
		.mmap = BOOT_LISTS_GPA,
		.boot_loader_name = BOOT_INFO_GPA + name_at,
	};
	memcpy((uint8_t *)info + name_at, LOADER_NAME, sizeof(LOADER_NAME));
}

int boot_multiboot(const struct boot_request *request, struct vp_state *state,
		   struct vm_error *error)
{
	uint64_t entry = 0;
	gpa_t end = 0;
	int r;

	r = load_image(request, &entry, &end, error);
	if (r)
		return r;
	if (entry >= request->layout.low_bytes)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is damaged: its entry point %#" PRIx64 " is outside of memory",
			       entry);
	r = boot_put_command_line(request, BOOT_CMDLINE_BYTES, error);
	if (r < 0)
		return r;
	r = put_modules(request, end, error);
	if (r < 0)
		return r;
	put_info(request);
	entry_32bit(request, state, entry);
	state->regs.gpr[VP_RAX] = MULTIBOOT_LOADER_MAGIC;
	state->regs.gpr[VP_RBX] = BOOT_INFO_GPA;
	return 0;
}
