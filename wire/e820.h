/*
 * e820.h - the memory map as BIOS function INT 15h AX=E820h reports it (ACPI specification,
 * "System Address Map Interfaces")
 */
#ifndef WIRE_E820_H
#define WIRE_E820_H

#include "base.h"

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
	le64 address;
	le64 bytes;
	le32 type;
} __attribute__((packed));
WIRE_SIZE(struct e820_entry, 20);

#endif
