/*
 * acpi_tables.c - what the guest is told about the machine of pc.h
 *
 * The tables are laid one after the other: RSDP, FACS (64-byte aligned), DSDT, FADT, MADT, XSDT,
 * RSDT (for small kernels that know no XSDT). Each is written with its lengths and addresses, then
 * its checksum is set.
 *
 * Choices: there is no SMI command port, so the machine is in ACPI mode from the start; no 8042
 * and no VGA (the boot flags say so), so that nobody probes for them.
 */
#include "acpi_tables.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "acpi.h"
#include "aml.h"
#include "pc.h"

#define OEM_ID	     "MULION"
#define OEM_TABLE_ID "MULLION "
#define CREATOR_ID   "MULN"

/* A table begins on one of these; the FACS needs it, the others may have it. */
#define TABLE_ALIGNMENT 64

struct layout {
	uint8_t *buffer;
	size_t bytes, used;
	gpa_t gpa;
	bool overflow;
};

/* Where the tables lie that others point to. */
struct addresses {
	uint32_t facs, dsdt, fadt, madt, xsdt, rsdt;
};

static void set_checksum(uint8_t *field, const void *bytes, size_t count)
{
	uint8_t sum = 0;

	*field = 0;
	for (size_t i = 0; i < count; i++)
		sum += ((const uint8_t *)bytes)[i];
	*field = (uint8_t)-sum;
}

/* Room for @bytes more, zeroed; NULL once there is too little. */
static void *reserve(struct layout *layout, size_t bytes, uint32_t *ret_address)
{
	size_t at = ALIGN_UP(layout->used, TABLE_ALIGNMENT);

	if (layout->overflow || at > layout->bytes || bytes > layout->bytes - at) {
		layout->overflow = true;
		return NULL;
	}
	layout->used = at + bytes;
	*ret_address = (uint32_t)(layout->gpa + at);
	return memset(layout->buffer + at, 0, bytes);
}

static void fill_header(struct acpi_header *header, const char signature[static 4],
			uint8_t revision, size_t length)
{
	memcpy(header->signature, signature, 4);
	header->length = (uint32_t)length;
	header->revision = revision;
	memcpy(header->oem_id, OEM_ID, sizeof(header->oem_id));
	memcpy(header->oem_table_id, OEM_TABLE_ID, sizeof(header->oem_table_id));
	header->oem_revision = 1;
	memcpy(header->creator_id, CREATOR_ID, sizeof(header->creator_id));
	header->creator_revision = 1;
}

static void finish(struct acpi_header *header)
{
	set_checksum(&header->checksum, header, header->length);
}

/* --- DSDT --- */

/* Devices with an EISA id and fixed resources, in \_SB. */
struct legacy_device {
	const char *name, *hid;
	struct {
		uint16_t base;
		uint8_t count;
	} io[3];
	int irq; /* -1: none */
	bool has_uid;
};

static const struct legacy_device legacy_devices[] = {
	{"PIC_",
	 "PNP0000",
	 {{PC_PORT_PIC_MASTER, 2}, {PC_PORT_PIC_SLAVE, 2}, {PC_PORT_PIC_ELCR, 2}},
	 2},
	{"TIMR", "PNP0100", {{PC_PORT_PIT, 4}}, PC_GSI_PIT},
	{"SPKR", "PNP0800", {{PC_PORT_SYSTEM_B, 1}}, -1},
	{"RTC_", "PNP0B00", {{PC_PORT_RTC, 2}}, PC_GSI_RTC},
	{"COM1", "PNP0501", {{PC_PORT_COM1, 8}}, PC_GSI_COM1, true},
};

static void write_legacy_device(struct aml *aml, const struct legacy_device *device)
{
	struct aml_package package = aml_begin_device(aml, device->name);
	struct aml_resources resources;

	aml_name_eisa_id(aml, "_HID", device->hid);
	if (device->has_uid)
		aml_name_integer(aml, "_UID", 1);
	resources = aml_begin_resources(aml);
	for (size_t i = 0; i < ARRAY_SIZE(device->io) && device->io[i].count; i++)
		aml_io(aml, device->io[i].base, device->io[i].count);
	if (device->irq >= 0)
		aml_irq(aml, (unsigned int)device->irq);
	aml_end_resources(aml, resources);
	aml_end(aml, package);
}

/*
 * The guest's bus driver binds to this. Below the PCI root, whose windows then serve the synthetic
 * devices that need addresses. No interrupt: messages come through the SynIC.
 */
static void write_vmbus(struct aml *aml)
{
	struct aml_package package = aml_begin_device(aml, "VMBS");
	struct aml_resources resources;

	aml_name_string(aml, "_HID", "VMBus");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_STA", 0xf);
	resources = aml_begin_resources(aml);
	aml_end_resources(aml, resources);
	aml_end(aml, package);
}

static void write_pci_root(struct aml *aml, bool vmbus)
{
	struct aml_package package = aml_begin_device(aml, "PCI0");
	struct aml_resources resources;

	aml_name_eisa_id(aml, "_HID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_BBN", 0);
	resources = aml_begin_resources(aml);
	aml_bus_window(aml, 0, 0xff);
	aml_io(aml, PC_PORT_PCI_ADDRESS, 8);
	aml_io_window(aml, 0, PC_PORT_PCI_ADDRESS - 1);
	aml_io_window(aml, PC_PORT_PCI_ADDRESS + 8, 0xffff);
	aml_memory_window(aml, PC_HOLE_GPA, PC_PCI_WINDOW_END - 1);
	aml_end_resources(aml, resources);
	if (vmbus)
		write_vmbus(aml);
	aml_end(aml, package);
}

/* What is on the motherboard without a device of its own; the MADT speaks for the IOAPIC. */
static void write_motherboard(struct aml *aml)
{
	struct aml_package package = aml_begin_device(aml, "MBRD");
	struct aml_resources resources;

	aml_name_eisa_id(aml, "_HID", "PNP0C02");
	resources = aml_begin_resources(aml);
	aml_io(aml, PC_PORT_PM, PC_PM_BYTES);
	aml_fixed_memory(aml, PC_LAPIC_GPA, PAGE_BYTES);
	aml_end_resources(aml, resources);
	aml_end(aml, package);
}

static void write_processors(struct aml *aml, unsigned int vp_count)
{
	for (unsigned int i = 0; i < vp_count; i++) {
		struct aml_package package;
		char name[8];

		snprintf(name, sizeof(name), "CP%02X", i & 0xff);
		package = aml_begin_device(aml, name);
		aml_name_string(aml, "_HID", "ACPI0007");
		aml_name_integer(aml, "_UID", i);
		aml_end(aml, package);
	}
}

static void write_definitions(struct aml *aml, const struct acpi_tables_config *config)
{
	const uint64_t s5[] = {PC_SLEEP_TYPE_S5, PC_SLEEP_TYPE_S5, 0, 0};
	struct aml_package package = aml_begin_scope(aml, "\\");

	aml_name_integers(aml, "_S5_", s5, ARRAY_SIZE(s5));
	aml_end(aml, package);
	package = aml_begin_scope(aml, "\\_SB_");
	write_pci_root(aml, config->vmbus);
	for (size_t i = 0; i < ARRAY_SIZE(legacy_devices); i++)
		write_legacy_device(aml, &legacy_devices[i]);
	write_motherboard(aml);
	write_processors(aml, config->vp_count);
	aml_end(aml, package);
}

static void write_dsdt(struct layout *layout, const struct acpi_tables_config *config,
		       uint32_t *ret_address)
{
	struct acpi_header *header = reserve(layout, sizeof(*header), ret_address);
	struct aml aml = {layout->buffer + layout->used, layout->bytes - layout->used};

	if (!header)
		return;
	write_definitions(&aml, config);
	layout->used += aml.used;
	layout->overflow = aml.overflow;
	fill_header(header, "DSDT", 2, sizeof(*header) + aml.used);
	finish(header);
}

/* --- fixed tables --- */

static void write_facs(struct layout *layout, uint32_t *ret_address)
{
	struct acpi_facs *facs = reserve(layout, sizeof(*facs), ret_address);

	if (!facs)
		return;
	memcpy(facs->signature, "FACS", 4);
	facs->length = sizeof(*facs);
	facs->version = 2;
}

static struct acpi_address io_address(uint16_t port, uint8_t bytes, enum acpi_access access)
{
	return (struct acpi_address){.space = ACPI_SPACE_IO,
				     .bit_width = (uint8_t)(bytes * 8),
				     .access = (uint8_t)access,
				     .address = port};
}

static void fill_fadt_blocks(struct acpi_fadt *fadt)
{
	fadt->pm1a_event = PC_PM_EVENT;
	fadt->pm1_event_bytes = 4;
	fadt->x_pm1a_event = io_address(PC_PM_EVENT, 4, ACPI_ACCESS_WORD);
	fadt->pm1a_control = PC_PM_CONTROL;
	fadt->pm1_control_bytes = 2;
	fadt->x_pm1a_control = io_address(PC_PM_CONTROL, 2, ACPI_ACCESS_WORD);
	fadt->pm_timer = PC_PM_TIMER;
	fadt->pm_timer_bytes = 4;
	fadt->x_pm_timer = io_address(PC_PM_TIMER, 4, ACPI_ACCESS_DWORD);
	fadt->gpe0 = PC_PM_GPE0;
	fadt->gpe0_bytes = PC_PM_GPE0_BYTES;
	fadt->x_gpe0 = io_address(PC_PM_GPE0, PC_PM_GPE0_BYTES, ACPI_ACCESS_BYTE);
	fadt->reset_register = io_address(PC_PORT_RESET, 1, ACPI_ACCESS_BYTE);
	fadt->reset_value = PC_RESET_VALUE;
}

static void write_fadt(struct layout *layout, struct addresses *at)
{
	struct acpi_fadt *fadt = reserve(layout, sizeof(*fadt), &at->fadt);

	if (!fadt)
		return;
	fill_header(&fadt->header, "FACP", 6, sizeof(*fadt));
	fadt->minor_revision = 4;
	fadt->facs =
		at->facs; /* below 4 GiB: the specification wants X_FIRMWARE_CTRL to be 0 then */
	fadt->dsdt = at->dsdt;
	fadt->x_dsdt = at->dsdt;
	fadt->preferred_pm_profile = ACPI_PM_PROFILE_ENTERPRISE_SERVER;
	fadt->sci_interrupt = PC_GSI_SCI;
	fadt->c2_latency = 0xffff; /* no such states */
	fadt->c3_latency = 0xffff;
	fadt->century = 0x32;
	fadt->boot_flags = ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_NO_VGA;
	fadt->flags = ACPI_FADT_WBINVD | ACPI_FADT_C1 | ACPI_FADT_NO_SLEEP_BUTTON |
		      ACPI_FADT_RTC_NOT_FIXED | ACPI_FADT_TIMER_32 | ACPI_FADT_RESET_REGISTER;
	fill_fadt_blocks(fadt);
	finish(&fadt->header);
}

/* The MADT's entries after those of the processors. */
struct madt_rest {
	struct acpi_madt_ioapic ioapic;
	struct acpi_madt_override timer, sci;
	struct acpi_madt_lapic_nmi nmi;
} __attribute__((packed));

static const struct madt_rest madt_rest = {
	.ioapic = {ACPI_MADT_IOAPIC, sizeof(madt_rest.ioapic), PC_IOAPIC_ID,
		   .address = PC_IOAPIC_GPA},
	.timer = {ACPI_MADT_OVERRIDE, sizeof(madt_rest.timer), .source = PC_GSI_PIT,
		  .gsi = PC_PIT_IOAPIC_PIN},
	.sci = {ACPI_MADT_OVERRIDE, sizeof(madt_rest.sci), .source = PC_GSI_SCI, .gsi = PC_GSI_SCI,
		.flags = ACPI_INTI_LEVEL | ACPI_INTI_ACTIVE_HIGH},
	.nmi = {ACPI_MADT_LAPIC_NMI, sizeof(madt_rest.nmi), .processor_uid = 0xff, .lint = 1},
};

static void write_madt(struct layout *layout, unsigned int vp_count, struct addresses *at)
{
	size_t length = sizeof(struct acpi_madt) + vp_count * sizeof(struct acpi_madt_lapic) +
			sizeof(madt_rest);
	struct acpi_madt *madt = reserve(layout, length, &at->madt);
	struct acpi_madt_lapic *lapic;

	if (!madt)
		return;
	fill_header(&madt->header, "APIC", 5, length);
	madt->lapic_address = PC_LAPIC_GPA;
	madt->flags = ACPI_MADT_PCAT_COMPATIBLE;
	lapic = (struct acpi_madt_lapic *)(madt + 1);
	for (unsigned int i = 0; i < vp_count; i++)
		*lapic++ = (struct acpi_madt_lapic){ACPI_MADT_LAPIC, sizeof(*lapic), (uint8_t)i,
						    (uint8_t)i, ACPI_MADT_LAPIC_ENABLED};
	memcpy(lapic, &madt_rest, sizeof(madt_rest));
	finish(&madt->header);
}

/* XSDT (@width 8) or RSDT (@width 4): the tables that nobody else points to. */
static void write_directory(struct layout *layout, const char signature[static 4], size_t width,
			    const struct addresses *at, uint32_t *ret_address)
{
	const uint64_t tables[] = {at->fadt, at->madt};
	size_t length = sizeof(struct acpi_header) + ARRAY_SIZE(tables) * width;
	struct acpi_header *header = reserve(layout, length, ret_address);

	if (!header)
		return;
	fill_header(header, signature, 1, length);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		memcpy((uint8_t *)(header + 1) + i * width, &tables[i], width);
	finish(header);
}

static void fill_rsdp(struct acpi_rsdp *rsdp, const struct addresses *at)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->rsdt_address = at->rsdt;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt_address = at->xsdt;
	set_checksum(&rsdp->checksum, rsdp, 20);
	set_checksum(&rsdp->extended_checksum, rsdp, sizeof(*rsdp));
}

int acpi_tables_write(const struct acpi_tables_config *config, uint8_t *buffer, size_t bytes,
		      gpa_t gpa)
{
	struct layout layout = {.buffer = buffer, .bytes = bytes, .gpa = gpa};
	struct addresses at = {0};
	struct acpi_rsdp *rsdp;
	uint32_t rsdp_address;

	if (!config->vp_count || config->vp_count > PARTITION_MAX_VPS ||
	    !IS_ALIGNED(gpa, TABLE_ALIGNMENT) || gpa + bytes > PC_HOLE_END)
		return -EINVAL;
	rsdp = reserve(&layout, sizeof(*rsdp), &rsdp_address);
	write_facs(&layout, &at.facs);
	write_dsdt(&layout, config, &at.dsdt);
	write_fadt(&layout, &at);
	write_madt(&layout, config->vp_count, &at);
	write_directory(&layout, "XSDT", 8, &at, &at.xsdt);
	write_directory(&layout, "RSDT", 4, &at, &at.rsdt);
	if (layout.overflow)
		return -ENOSPC;
	fill_rsdp(rsdp, &at);
	return (int)layout.used;
}
