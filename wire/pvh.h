/*
 * pvh.h - the PVH direct boot protocol: 32-bit entry of an ELF kernel, found by an ELF note
 *
 * Source: Xen project documentation, "x86/HVM direct boot ABI".
 */
#ifndef WIRE_PVH_H
#define WIRE_PVH_H

#include "base.h"

#define PVH_NOTE_NAME	      "Xen"
#define PVH_NOTE_PHYS32_ENTRY 18u
#define PVH_MAGIC	      0x336ec578u
#define PVH_VERSION	      1u

struct pvh_start_info {
	le32 magic;
	le32 version;
	le32 flags;
	le32 module_count;
	le64 modules;
	le64 command_line;
	le64 rsdp;
	le64 memory_map; /* from version 1 on */
	le32 memory_map_entries;
	le32 reserved;
};
WIRE_SIZE(struct pvh_start_info, 56);

struct pvh_module {
	le64 address;
	le64 bytes;
	le64 command_line;
	le64 reserved;
};
WIRE_SIZE(struct pvh_module, 32);

struct pvh_memory_map_entry {
	le64 address;
	le64 bytes;
	le32 type; /* enum e820_type */
	le32 reserved;
};
WIRE_SIZE(struct pvh_memory_map_entry, 24);

#endif
