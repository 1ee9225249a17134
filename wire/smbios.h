/*
 * smbios.h - System Management BIOS: entry point and the structures that Mullion gives a guest
 *
 * Source: DMTF DSP0134 2.8, "System Management BIOS Reference Specification". Strings follow their
 * structure, each ended by a zero, the last by two; a string's number counts from 1, 0 is none.
 */
#ifndef WIRE_SMBIOS_H
#define WIRE_SMBIOS_H

#include "base.h"

struct smbios_entry_point { /* on a 16-byte boundary in 0xf0000..0xfffff */
	char anchor[4];	    /* "_SM_" */
	uint8_t checksum;   /* of the whole */
	uint8_t bytes;
	uint8_t major, minor;
	le16 largest_structure;
	uint8_t revision;
	uint8_t formatted[5];
	char intermediate_anchor[5]; /* "_DMI_" */
	uint8_t intermediate_checksum;
	le16 table_bytes;
	le32 table_address;
	le16 structure_count;
	uint8_t bcd_revision;
} __attribute__((packed));
WIRE_SIZE(struct smbios_entry_point, 31);
WIRE_AT(struct smbios_entry_point, intermediate_anchor, 16);
WIRE_AT(struct smbios_entry_point, table_address, 24);

enum smbios_type {
	SMBIOS_FIRMWARE = 0,
	SMBIOS_SYSTEM = 1,
	SMBIOS_BASEBOARD = 2,
	SMBIOS_CHASSIS = 3,
	SMBIOS_BOOT = 32,
	SMBIOS_END = 127
};

struct smbios_header {
	uint8_t type, bytes;
	le16 handle;
} __attribute__((packed));
WIRE_SIZE(struct smbios_header, 4);

struct smbios_firmware {
	struct smbios_header header;
	uint8_t vendor, version; /* strings */
	le16 segment;
	uint8_t date; /* string, mm/dd/yyyy */
	uint8_t rom_64k;
	le64 characteristics;
	uint8_t extension[2];
	uint8_t major, minor, controller_major, controller_minor;
} __attribute__((packed));
WIRE_SIZE(struct smbios_firmware, 24);
#define SMBIOS_CHARACTERISTICS_UNSUPPORTED BIT(3)
#define SMBIOS_EXTENSION_VIRTUAL_MACHINE   0x10 /* of the second byte */

struct smbios_system {
	struct smbios_header header;
	uint8_t manufacturer, product, version, serial; /* strings */
	uint8_t uuid[16];				/* as on the wire (guid.h); zeros: none */
	uint8_t wake_up, sku, family;
} __attribute__((packed));
WIRE_SIZE(struct smbios_system, 27);

struct smbios_baseboard {
	struct smbios_header header;
	uint8_t manufacturer, product, version, serial;
} __attribute__((packed));
WIRE_SIZE(struct smbios_baseboard, 8);

struct smbios_chassis {
	struct smbios_header header;
	uint8_t manufacturer, type, version, serial, asset_tag;
	uint8_t boot_state, power_state, thermal_state, security;
} __attribute__((packed));
WIRE_SIZE(struct smbios_chassis, 13);

struct smbios_boot {
	struct smbios_header header;
	uint8_t reserved[6], status; /* 0: no errors */
} __attribute__((packed));
WIRE_SIZE(struct smbios_boot, 11);

#endif
