/*
 * acpi_tables.h - the ACPI tables of the emulated PC (pc.h), made for one configuration
 */
#ifndef EMULATED_ACPI_TABLES_H
#define EMULATED_ACPI_TABLES_H

#include "base.h"

struct acpi_tables_config {
	unsigned int vp_count; /* 1..PARTITION_MAX_VPS; APIC id = VP index */
	bool vmbus;	       /* there is a VMBus */
};

/*
 * acpi_tables_write() - lay RSDP, XSDT, FADT, FACS, MADT and DSDT into a buffer
 * @buffer: what the guest will see at @gpa, @bytes long (the RSDP comes first, at @gpa, which
 *          is 64-byte aligned; inside 0xe0000..0xfffff a guest without boot parameters finds it)
 * Returns: the bytes used, or -ENOSPC, -EINVAL (vp_count, alignment).
 */
int acpi_tables_write(const struct acpi_tables_config *config, uint8_t *buffer, size_t bytes,
		      gpa_t gpa);

#endif
