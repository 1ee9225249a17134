/*
 * smbios_tables.h - who made the machine, as a guest reads it (dmidecode)
 *
 * A generation 1 machine of Hyper-V says "Microsoft Corporation", "Virtual Machine", "7.0", and
 * guests tell by that which of their drivers to leave aside; so does this one. The firmware's
 * vendor is Mullion.
 */
#ifndef EMULATED_SMBIOS_TABLES_H
#define EMULATED_SMBIOS_TABLES_H

#include "guid.h"

struct smbios_tables_config {
	struct guid uuid;   /* zeros: none */
	const char *serial; /* of the system; "" for none */
};

/*
 * smbios_tables_write() - entry point and structures into a buffer that the guest sees at @gpa,
 * which is on a 16-byte boundary below 1 MiB
 * Returns: the bytes used; -ENOSPC; -EINVAL for a misplaced @gpa.
 */
int smbios_tables_write(const struct smbios_tables_config *config, uint8_t *buffer, size_t bytes,
			gpa_t gpa);

#endif
