/*
 * acpi.h - ACPI tables as they lie in memory
 *
 * Source: ACPI specification 6.4, chapter 5 "ACPI Software Programming Model". All little-endian;
 * a table's checksum makes all of its bytes add up to 0.
 */
#ifndef WIRE_ACPI_H
#define WIRE_ACPI_H

#include "base.h"

struct acpi_rsdp {
	char signature[8]; /* "RSD PTR " */
	uint8_t checksum;  /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision; /* 2 */
	le32 rsdt_address;
	le32 length; /* 36 */
	le64 xsdt_address;
	uint8_t extended_checksum; /* of all bytes */
	uint8_t reserved[3];
} __attribute__((packed));
WIRE_SIZE(struct acpi_rsdp, 36);
WIRE_AT(struct acpi_rsdp, xsdt_address, 24);

struct acpi_header {
	char signature[4];
	le32 length; /* of the whole table */
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	le32 oem_revision;
	char creator_id[4];
	le32 creator_revision;
} __attribute__((packed));
WIRE_SIZE(struct acpi_header, 36);

/* RSDT: struct acpi_header, then le32 addresses. XSDT: struct acpi_header, then le64 addresses. */

enum acpi_space { ACPI_SPACE_MEMORY, ACPI_SPACE_IO };
enum acpi_access { ACPI_ACCESS_UNDEFINED, ACPI_ACCESS_BYTE, ACPI_ACCESS_WORD, ACPI_ACCESS_DWORD };

/* Generic address structure */
struct acpi_address {
	uint8_t space; /* enum acpi_space */
	uint8_t bit_width, bit_offset;
	uint8_t access; /* enum acpi_access */
	le64 address;
} __attribute__((packed));
WIRE_SIZE(struct acpi_address, 12);

struct acpi_facs {
	char signature[4];
	le32 length;
	le32 hardware_signature;
	le32 waking_vector;
	le32 global_lock;
	le32 flags;
	le64 x_waking_vector;
	uint8_t version; /* 2 */
	uint8_t reserved1[3];
	le32 ospm_flags;
	uint8_t reserved2[24];
} __attribute__((packed));
WIRE_SIZE(struct acpi_facs, 64);
WIRE_AT(struct acpi_facs, version, 32);

/* FADT, revision 6 */
struct acpi_fadt {
	struct acpi_header header; /* "FACP" */
	le32 facs, dsdt;
	uint8_t reserved1;
	uint8_t preferred_pm_profile;
	le16 sci_interrupt;
	le32 smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	le32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	uint8_t gpe0_bytes, gpe1_bytes, gpe1_base;
	uint8_t cst_control;
	le16 c2_latency, c3_latency;
	le16 flush_size, flush_stride;
	uint8_t duty_offset, duty_width;
	uint8_t day_alarm, month_alarm, century;
	le16 boot_flags;
	uint8_t reserved2;
	le32 flags;
	struct acpi_address reset_register;
	uint8_t reset_value;
	le16 arm_boot_flags;
	uint8_t minor_revision;
	le64 x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	struct acpi_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
	struct acpi_address sleep_control, sleep_status;
	char hypervisor_vendor[8];
} __attribute__((packed));
WIRE_SIZE(struct acpi_fadt, 276);
WIRE_AT(struct acpi_fadt, sci_interrupt, 46);
WIRE_AT(struct acpi_fadt, pm_timer, 76);
WIRE_AT(struct acpi_fadt, boot_flags, 109);
WIRE_AT(struct acpi_fadt, reset_register, 116);
WIRE_AT(struct acpi_fadt, x_facs, 132);
WIRE_AT(struct acpi_fadt, sleep_control, 244);

#define ACPI_PM_PROFILE_ENTERPRISE_SERVER 4

/* acpi_fadt.boot_flags */
#define ACPI_BOOT_LEGACY_DEVICES BIT(0)
#define ACPI_BOOT_8042		 BIT(1)
#define ACPI_BOOT_NO_VGA	 BIT(2)
#define ACPI_BOOT_NO_MSI	 BIT(3)
#define ACPI_BOOT_NO_ASPM	 BIT(4)
#define ACPI_BOOT_NO_CMOS_RTC	 BIT(5)

/* acpi_fadt.flags */
#define ACPI_FADT_WBINVD	  BIT(0)
#define ACPI_FADT_C1		  BIT(2)
#define ACPI_FADT_NO_POWER_BUTTON BIT(4) /* not as fixed hardware */
#define ACPI_FADT_NO_SLEEP_BUTTON BIT(5)
#define ACPI_FADT_RTC_NOT_FIXED	  BIT(6)
#define ACPI_FADT_TIMER_32	  BIT(8)
#define ACPI_FADT_RESET_REGISTER  BIT(10)

/* MADT: this, then entries that begin with type and length */
struct acpi_madt {
	struct acpi_header header; /* "APIC" */
	le32 lapic_address;
	le32 flags;
} __attribute__((packed));
WIRE_SIZE(struct acpi_madt, 44);
#define ACPI_MADT_PCAT_COMPATIBLE BIT(0) /* there are 8259s too */

enum acpi_madt_type {
	ACPI_MADT_LAPIC = 0,
	ACPI_MADT_IOAPIC = 1,
	ACPI_MADT_OVERRIDE = 2,
	ACPI_MADT_LAPIC_NMI = 4
};

struct acpi_madt_lapic {
	uint8_t type, length;
	uint8_t processor_uid, apic_id;
	le32 flags;
} __attribute__((packed));
WIRE_SIZE(struct acpi_madt_lapic, 8);
#define ACPI_MADT_LAPIC_ENABLED BIT(0)

struct acpi_madt_ioapic {
	uint8_t type, length;
	uint8_t ioapic_id, reserved;
	le32 address;
	le32 gsi_base;
} __attribute__((packed));
WIRE_SIZE(struct acpi_madt_ioapic, 12);

struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus; /* 0: ISA */
	uint8_t source;
	le32 gsi;
	le16 flags;
} __attribute__((packed));
WIRE_SIZE(struct acpi_madt_override, 10);

struct acpi_madt_lapic_nmi {
	uint8_t type, length;
	uint8_t processor_uid; /* 0xff: all */
	le16 flags;
	uint8_t lint;
} __attribute__((packed));
WIRE_SIZE(struct acpi_madt_lapic_nmi, 6);

/* "MPS INTI" flags: 0 = as the bus has it */
#define ACPI_INTI_ACTIVE_HIGH 0x1
#define ACPI_INTI_LEVEL	      0xc

#endif
