/*
 * pci_host.h - the 440BX host bridge: PCI configuration mechanism 1 and the reset port
 *
 * Facts: PCI Local Bus Specification 3.0, "Configuration Mechanism #1"; Intel 440BX data sheet
 * (82443BX); reset control register from the Intel 82371AB (PIIX4) data sheet.
 */
#ifndef EMULATED_PCI_HOST_H
#define EMULATED_PCI_HOST_H

#include "bus.h"

extern const struct device_class pci_host_class; /* config: none */

#endif
