/*
 * multiboot.h - boot protocol of small kernels, version 0.6.96
 *
 * Source: Free Software Foundation, "Multiboot Specification version 0.6.96".
 */
#ifndef WIRE_MULTIBOOT_H
#define WIRE_MULTIBOOT_H

#include "base.h"

#define MULTIBOOT_HEADER_MAGIC 0x1badb002u
#define MULTIBOOT_LOADER_MAGIC 0x2badb002u /* in EAX at entry */
#define MULTIBOOT_SEARCH_BYTES 8192u	   /* the header lies wholly in the first so many */

/* Header flags; an unknown bit below 16 must refuse the image. */
#define MULTIBOOT_PAGE_ALIGN  0x00000001u
#define MULTIBOOT_MEMORY_INFO 0x00000002u
#define MULTIBOOT_VIDEO_MODE  0x00000004u
#define MULTIBOOT_MUST_KNOW   0x0000ffffu
#define MULTIBOOT_AOUT_KLUDGE 0x00010000u /* the address members are valid */

struct multiboot_header {
	le32 magic;
	le32 flags;
	le32 checksum; /* the three sum to 0 */
	le32 header_address;
	le32 load_address;
	le32 load_end_address; /* 0: the whole file */
	le32 bss_end_address;  /* 0: no bss */
	le32 entry_address;
};
WIRE_SIZE(struct multiboot_header, 32);
#define MULTIBOOT_HEADER_MIN_BYTES 12u

#define MULTIBOOT_INFO_MEMORY  0x001u
#define MULTIBOOT_INFO_CMDLINE 0x004u
#define MULTIBOOT_INFO_MODULES 0x008u
#define MULTIBOOT_INFO_MMAP    0x040u
#define MULTIBOOT_INFO_LOADER  0x200u

struct multiboot_info {
	le32 flags;
	le32 mem_lower, mem_upper; /* KiB below 640 KiB and from 1 MiB up */
	le32 boot_device;
	le32 cmdline;
	le32 module_count, modules;
	le32 symbols[4];
	le32 mmap_length, mmap;
	le32 drives_length, drives;
	le32 config_table;
	le32 boot_loader_name;
	le32 apm_table;
	uint8_t video[44];
};
WIRE_SIZE(struct multiboot_info, 116);
WIRE_AT(struct multiboot_info, boot_loader_name, 64);

struct multiboot_module {
	le32 start, end;
	le32 string;
	le32 reserved;
};
WIRE_SIZE(struct multiboot_module, 16);

struct multiboot_mmap_entry {
	le32 size; /* of the rest */
	le64 address;
	le64 bytes;
	le32 type; /* enum e820_type */
} __attribute__((packed));
WIRE_SIZE(struct multiboot_mmap_entry, 24);

#endif
