/*
 * bzimage.h - the x86 Linux boot protocol: setup header and "zero page"
 *
 * Source: Linux kernel documentation, "The Linux/x86 Boot Protocol" and "Zero Page".
 */
#ifndef WIRE_BZIMAGE_H
#define WIRE_BZIMAGE_H

#include "base.h"
#include "e820.h"

#define BZIMAGE_HEADER_AT	      0x1f1 /* of struct setup_header, in the file and in the zero page */
#define BZIMAGE_BOOT_FLAG	      0xaa55
#define BZIMAGE_MAGIC		      0x53726448u /* "HdrS" */
#define BZIMAGE_SECTOR		      512u
#define BZIMAGE_ENTRY64		      0x200 /* of the 64-bit entry point, from the load address */
#define BZIMAGE_VERSION_64BIT	      0x020c
#define BZIMAGE_DEFAULT_SETUP_SECTORS 4

#define BZIMAGE_LOADED_HIGH    0x01 /* loadflags */
#define BZIMAGE_CAN_USE_HEAP   0x80
#define BZIMAGE_KERNEL_64      0x0001 /* xloadflags */
#define BZIMAGE_LOADER_UNKNOWN 0xff

struct setup_header {
	uint8_t setup_sectors;
	le16 root_flags;
	le32 syssize;
	le16 ram_size;
	le16 video_mode;
	le16 root_device;
	le16 boot_flag;
	uint8_t jump[2];
	le32 magic;
	le16 version;
	le32 realmode_switch;
	le16 start_sys_segment;
	le16 kernel_version;
	uint8_t type_of_loader;
	uint8_t loadflags;
	le16 setup_move_size;
	le32 code32_start;
	le32 ramdisk_image;
	le32 ramdisk_size;
	le32 bootsect_kludge;
	le16 heap_end_ptr;
	uint8_t ext_loader_version;
	uint8_t ext_loader_type;
	le32 cmd_line_ptr;
	le32 initrd_addr_max;
	le32 kernel_alignment;
	uint8_t relocatable_kernel;
	uint8_t min_alignment;
	le16 xloadflags;
	le32 cmdline_size;
	le32 hardware_subarch;
	le64 hardware_subarch_data;
	le32 payload_offset;
	le32 payload_length;
	le64 setup_data;
	le64 preferred_address;
	le32 init_size;
	le32 handover_offset;
	le32 kernel_info_offset;
} __attribute__((packed));
WIRE_SIZE(struct setup_header, 0x26c - BZIMAGE_HEADER_AT);
WIRE_AT(struct setup_header, magic, 0x202 - BZIMAGE_HEADER_AT);
WIRE_AT(struct setup_header, initrd_addr_max, 0x22c - BZIMAGE_HEADER_AT);
WIRE_AT(struct setup_header, preferred_address, 0x258 - BZIMAGE_HEADER_AT);

#define BOOT_PARAMS_E820_MAX 128

struct boot_params {
	uint8_t screen_info[0x40];
	uint8_t unused_40[0x30];
	le64 acpi_rsdp_address;
	uint8_t unused_78[0x48];
	le32 ext_ramdisk_image;
	le32 ext_ramdisk_size;
	le32 ext_cmd_line_ptr;
	uint8_t unused_cc[0x11c];
	uint8_t e820_entries;
	uint8_t unused_1e9[8];
	struct setup_header header;
	uint8_t unused_26c[0x64];
	struct e820_entry e820[BOOT_PARAMS_E820_MAX];
	uint8_t unused_cd0[0x330];
} __attribute__((packed));
WIRE_SIZE(struct boot_params, 4096);
WIRE_AT(struct boot_params, acpi_rsdp_address, 0x70);
WIRE_AT(struct boot_params, ext_ramdisk_image, 0xc0);
WIRE_AT(struct boot_params, e820_entries, 0x1e8);
WIRE_AT(struct boot_params, header, BZIMAGE_HEADER_AT);
WIRE_AT(struct boot_params, e820, 0x2d0);

#endif
