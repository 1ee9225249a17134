/*
 * boot_internal.h - what the loaders share: fixed places in low memory, checked copies, ELF
 */
#ifndef VM_BOOT_INTERNAL_H
#define VM_BOOT_INTERNAL_H

#include "boot.h"

/*
 * Where the boot loader's own data lies. A kernel is never loaded over it; the guest may reuse
 * it once it has read what it wants.
 */
#define BOOT_AREA_GPA	   0x6000u
#define BOOT_GDT_GPA	   0x6000u
#define BOOT_INFO_GPA	   0x7000u /* boot_params, multiboot_info or pvh_start_info: one page */
#define BOOT_LISTS_GPA	   0x8000u /* memory map and modules: one page */
#define BOOT_MODULES_GPA   0x8800u /* second half of it */
#define BOOT_TABLES_GPA	   0x9000u /* six pages of page tables */
#define BOOT_CMDLINE_GPA   0x10000u
#define BOOT_CMDLINE_BYTES 0x10000u
#define BOOT_STRINGS_GPA   0x20000u /* module names */
#define BOOT_STRINGS_BYTES 0x10000u
#define BOOT_AREA_END	   0x30000u

/* A loader: 1 = not this format, 0 = loaded, else as boot_load(). */
int boot_linux(const struct boot_request *request, struct vp_state *state, struct vm_error *error);
int boot_multiboot(const struct boot_request *request, struct vp_state *state,
		   struct vm_error *error);
int boot_pvh(const struct boot_request *request, struct vp_state *state, struct vm_error *error);
#define BOOT_NOT_MINE 1

/* Guest RAM that the boot area, or a place found free, is known to be in. */
void *boot_hva(const struct boot_request *request, gpa_t gpa, uint64_t bytes);

/*
 * boot_claim() - guest RAM for a part of the kernel: below 4 GiB, outside the boot area and the
 * legacy hole. @ret_hva is set on success only.
 */
int boot_claim(const struct boot_request *request, gpa_t gpa, uint64_t bytes, void **ret_hva,
	       struct vm_error *error);

/* boot_put_command_line() - at BOOT_CMDLINE_GPA; @max_bytes without the terminating NUL. */
int boot_put_command_line(const struct boot_request *request, uint64_t max_bytes,
			  struct vm_error *error);

/*
 * boot_put_initrds() - all of them back to back (each 4-byte aligned), page-aligned, as high as
 * possible in [@min, @max). *ret_bytes 0: there are none.
 */
int boot_put_initrds(const struct boot_request *request, gpa_t min, gpa_t max, gpa_t *ret_gpa,
		     uint64_t *ret_bytes, struct vm_error *error);

/* --- ELF (elf.c) --- */

struct elf_image {
	const uint8_t *bytes;
	uint64_t count;
	bool is_64bit;
	uint64_t entry;
	uint64_t segments_at; /* program headers in the file */
	unsigned int segment_count, segment_bytes;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, file_bytes, memory_bytes;
	uint64_t virtual_address, physical_address;
};

/* elf_open() - BOOT_NOT_MINE without the magic; the headers lie in the file on success. */
int elf_open(const struct boot_file *file, struct elf_image *ret_image, struct vm_error *error);
/* @index < segment_count; the file bytes of the result are checked to be in the file. */
int elf_get_segment(const struct elf_image *image, unsigned int index,
		    struct elf_segment *ret_segment, struct vm_error *error);
/* elf_load() - copies all PT_LOAD segments; *ret_end is the first address after the highest. */
int elf_load(const struct boot_request *request, const struct elf_image *image, gpa_t *ret_end,
	     struct vm_error *error);

/* --- processor state at the entry (entry.c) --- */

/* 64-bit mode, the low 4 GiB mapped one to one; tables and GDT are written to the boot area. */
void entry_64bit(const struct boot_request *request, struct vp_state *state, gpa_t entry);
/* Flat 32-bit protected mode, no paging. */
void entry_32bit(const struct boot_request *request, struct vp_state *state, gpa_t entry);

#endif
