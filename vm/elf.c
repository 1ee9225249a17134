/*
 * elf.c - ELF executables for x86, both classes, as boot loaders need them
 *
 * Headers are read through one accessor each, which turns both classes into one struct; the
 * file range of every segment is checked there, once.
 */
#include "boot_internal.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

static bool is_elf(const struct boot_file *file)
{
	return file->count >= EI_NIDENT && !memcmp(file->bytes, ELFMAG, SELFMAG);
}

static bool inside_file(uint64_t file_bytes, uint64_t offset, uint64_t bytes)
{
	return offset <= file_bytes && bytes <= file_bytes - offset;
}

static int read_header(const struct boot_file *file, struct elf_image *image, unsigned int *machine)
{
	Elf32_Ehdr header32;
	Elf64_Ehdr header64;

	if (file->count < (image->is_64bit ? sizeof(header64) : sizeof(header32)))
		return -ENOEXEC;
#define TAKE_MEMBERS(header)                                                                       \
	do {                                                                                       \
		memcpy(&(header), file->bytes, sizeof(header));                                    \
		*machine = (header).e_machine;                                                     \
		image->entry = (header).e_entry;                                                   \
		image->segments_at = (header).e_phoff;                                             \
		image->segment_count = (header).e_phnum;                                           \
		image->segment_bytes = (header).e_phentsize;                                       \
	} while (0)
	if (image->is_64bit)
		TAKE_MEMBERS(header64);
	else
		TAKE_MEMBERS(header32);
#undef TAKE_MEMBERS
	return 0;
}

int elf_open(const struct boot_file *file, struct elf_image *ret_image, struct vm_error *error)
{
	struct elf_image image = {.bytes = file->bytes, .count = file->count};
	unsigned int machine = 0;

	if (!is_elf(file))
		return BOOT_NOT_MINE;
	image.is_64bit = file->bytes[EI_CLASS] == ELFCLASS64;
	if (read_header(file, &image, &machine) < 0)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is truncated: it ends within the ELF header");
	if (file->bytes[EI_DATA] != ELFDATA2LSB || (machine != EM_X86_64 && machine != EM_386))
		return vm_fail(error, -ENOTSUP, BLAME_KERNEL,
			       "is an ELF file for another processor; give one for x86-64");
	if (image.segment_bytes != (image.is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    image.segment_count == PN_XNUM)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is no ELF executable: it has no usable program headers");
	if (!inside_file(file->count, image.segments_at,
			 (uint64_t)image.segment_count * image.segment_bytes))
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is truncated: it ends before its ELF program headers");
	*ret_image = image;
	return 0;
}

static void read_segment(const struct elf_image *image, unsigned int index,
			 struct elf_segment *segment)
{
	const uint8_t *at =
		image->bytes + image->segments_at + (uint64_t)index * image->segment_bytes;
	Elf32_Phdr header32;
	Elf64_Phdr header64;

#define TAKE_MEMBERS(header)                                                                       \
	do {                                                                                       \
		memcpy(&(header), at, sizeof(header));                                             \
		*segment = (struct elf_segment){                                                   \
			.type = (header).p_type,                                                   \
			.offset = (header).p_offset,                                               \
			.file_bytes = (header).p_filesz,                                           \
			.memory_bytes = (header).p_memsz,                                          \
			.virtual_address = (header).p_vaddr,                                       \
			.physical_address = (header).p_paddr,                                      \
		};                                                                                 \
	} while (0)
	if (image->is_64bit)
		TAKE_MEMBERS(header64);
	else
		TAKE_MEMBERS(header32);
#undef TAKE_MEMBERS
}

int elf_get_segment(const struct elf_image *image, unsigned int index,
		    struct elf_segment *ret_segment, struct vm_error *error)
{
	read_segment(image, index, ret_segment);
	if (!inside_file(image->count, ret_segment->offset, ret_segment->file_bytes))
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is truncated: it ends before the end of ELF segment %u", index);
	return 0;
}

static int load_segment(const struct boot_request *request, const struct elf_image *image,
			const struct elf_segment *segment, struct vm_error *error)
{
	void *hva;
	int r;

	if (segment->file_bytes > segment->memory_bytes)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is damaged: an ELF segment is larger in the file than in memory");
	r = boot_claim(request, segment->physical_address, segment->memory_bytes, &hva, error);
	if (r < 0)
		return r;
	memcpy(hva, image->bytes + segment->offset, segment->file_bytes);
	memset((uint8_t *)hva + segment->file_bytes, 0,
	       segment->memory_bytes - segment->file_bytes);
	return 0;
}

int elf_load(const struct boot_request *request, const struct elf_image *image, gpa_t *ret_end,
	     struct vm_error *error)
{
	gpa_t end = 0;

	for (unsigned int i = 0; i < image->segment_count; i++) {
		struct elf_segment segment;
		int r = elf_get_segment(image, i, &segment, error);

		if (r < 0)
			return r;
		if (segment.type != PT_LOAD || !segment.memory_bytes)
			continue;
		r = load_segment(request, image, &segment, error);
		if (r < 0)
			return r;
		end = MAX(end, segment.physical_address + segment.memory_bytes);
	}
	if (!end)
		return vm_fail(error, -ENOEXEC, BLAME_KERNEL,
			       "is no executable: it has no ELF segment to load");
	*ret_end = end;
	return 0;
}
