/*
 * ioapic.h - the IOAPIC: 24 pins that become interrupt messages
 *
 * Facts: Intel 82093AA data sheet; the EOI register from later I/O hubs (version 0x20).
 */
#ifndef EMULATED_IOAPIC_H
#define EMULATED_IOAPIC_H

#include "bus.h"

#define IOAPIC_PINS 24
static_assert(IOAPIC_PINS <= PARTITION_MAX_ROUTES, "engines take fewer routes");

extern const struct device_class ioapic_class; /* config: none */

#endif
