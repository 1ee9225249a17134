/*
 * acpi_pm.h - ACPI fixed hardware: PM1a event and control blocks, PM timer, GPE0 block
 *
 * Facts: ACPI specification 6.4, "ACPI Hardware Specification". Always in ACPI mode (no SMI
 * command port); the FADT of acpi_tables.c describes exactly this.
 */
#ifndef EMULATED_ACPI_PM_H
#define EMULATED_ACPI_PM_H

#include "bus.h"

extern const struct device_class acpi_pm_class; /* config: none */

/* acpi_pm_press_button() - the power button. Takes the chipset lock. Any thread. */
void acpi_pm_press_button(struct device *dev);

#endif
