/*
 * pvh.c - ELF kernels that name a 32-bit physical entry point in a Xen note
 *
 * EBX is the address of the start info, which leads to the command line, the initrd (as the one
 * module), the memory map and the RSDP.
 */
#include "boot_internal.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pvh.h"

/* One note at @at; returns the bytes it takes, or 0 when it does not fit into @count. */
static uint64_t note_bytes(const uint8_t *at, uint64_t count, Elf64_Nhdr *ret_note)
{
	uint64_t bytes;

	if (count < sizeof(*ret_note))
		return 0;
	memcpy(ret_note, at, sizeof(*ret_note));
	bytes = sizeof(*ret_note) + ALIGN_UP((uint64_t)ret_note->n_namesz, 4) +
		ALIGN_UP((uint64_t)ret_note->n_descsz, 4);
	/* The last note of a segment need not be padded. */
	return bytes - 3 <= count ? bytes : 0;
}

static bool is_entry_note(const uint8_t *at, uint64_t count, const Elf64_Nhdr *note)
{
	uint64_t name_bytes = sizeof(PVH_NOTE_NAME);

	return note->n_type == PVH_NOTE_PHYS32_ENTRY && note->n_namesz == name_bytes &&
	       (note->n_descsz == 4 || note->n_descsz == 8) &&
	       count >= sizeof(*note) + ALIGN_UP(name_bytes, 4) + note->n_descsz &&
	       !memcmp(at + sizeof(*note), PVH_NOTE_NAME, name_bytes);
}

static bool find_entry_note(const uint8_t *at, uint64_t count, uint64_t *ret_entry)
{
	Elf64_Nhdr note;
	uint64_t bytes;

	while ((bytes = note_bytes(at, count, &note))) {
		if (is_entry_note(at, count, &note)) {
			*ret_entry = 0;
			memcpy(ret_entry, at + sizeof(note) + ALIGN_UP(sizeof(PVH_NOTE_NAME), 4),
			       note.n_descsz);
			return true;
		}
		if (bytes >= count)
			break;
		at += bytes;
		count -= bytes;
	}
	return false;
}

/* BOOT_NOT_MINE: no segment holds the note. */
static int find_entry(const struct elf_image *image, uint64_t *ret_entry, struct vm_error *error)
{
	for (unsigned int i = 0; i < image->segment_count; i++) {
		struct elf_segment segment;
		int r = elf_get_segment(image, i, &segment, error);

		if (r < 0)
			return r;
		if (segment.type == PT_NOTE &&
		    find_entry_note(image->bytes + segment.offset, segment.file_bytes, ret_entry))
			return 0;
	}
	return BOOT_NOT_MINE;
}

static unsigned int put_memory_map(const struct boot_request *request)
{
	struct e820_entry map[LAYOUT_E820_MAX];
	struct pvh_memory_map_entry *entries =
		boot_hva(request, BOOT_LISTS_GPA, LAYOUT_E820_MAX * sizeof(*entries));
	size_t count = layout_e820(&request->layout, map);

	for (size_t i = 0; i < count; i++)
		entries[i] = (struct pvh_memory_map_entry){
			.address = map[i].address, .bytes = map[i].bytes, .type = map[i].type};
	return count;
}

static void put_start_info(const struct boot_request *request, gpa_t initrd, uint64_t initrd_bytes)
{
	struct pvh_start_info *info = boot_hva(request, BOOT_INFO_GPA, sizeof(*info));
	struct pvh_module *module = boot_hva(request, BOOT_MODULES_GPA, sizeof(*module));

	*module = (struct pvh_module){.address = initrd, .bytes = initrd_bytes};
	*info = (struct pvh_start_info){
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.module_count = initrd_bytes ? 1 : 0,
		.modules = initrd_bytes ? BOOT_MODULES_GPA : 0,
		.command_line = BOOT_CMDLINE_GPA,
		.rsdp = request->rsdp,
		.memory_map = BOOT_LISTS_GPA,
		.memory_map_entries = put_memory_map(request),
	};
}

static int load_all(const struct boot_request *request, const struct elf_image *image,
		    struct vm_error *error)
{
	uint64_t initrd_bytes;
	gpa_t end, initrd;
	int r;

	r = elf_load(request, image, &end, error);
	if (r < 0)
		return r;
	r = boot_put_command_line(request, BOOT_CMDLINE_BYTES, error);
	if (r < 0)
		return r;
	r = boot_put_initrds(request, MAX(end, MIB), UINT64_MAX, &initrd, &initrd_bytes, error);
	if (r < 0)
		return r;
	put_start_info(request, initrd, initrd_bytes);
	return 0;
}

int boot_pvh(const struct boot_request *request, struct vp_state *state, struct vm_error *error)
{
	struct elf_image image;
	uint64_t entry;
	int r;

	r = elf_open(&request->kernel, &image, error);
	if (r)
		return r;
	r = find_entry(&image, &entry, error);
	if (r)
		return r;
	if (entry >= request->layout.low_bytes)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is damaged: its PVH entry point %#" PRIx64 " is outside of memory",
			       entry);
	r = load_all(request, &image, error);
	if (r < 0)
		return r;
	entry_32bit(request, state, entry);
	state->regs.gpr[VP_RBX] = BOOT_INFO_GPA;
	return 0;
}
