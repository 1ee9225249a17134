/*
 * pc.h - the PC that a guest finds: its addresses, and the table of its devices
 */
#ifndef EMULATED_PC_H
#define EMULATED_PC_H

#include "acpi_tables.h"
#include "bus.h"
#include "uart.h"

/* Ports */
#define PC_PORT_PIC_MASTER  0x20
#define PC_PORT_PIT	    0x40
#define PC_PORT_SYSTEM_B    0x61 /* speaker, PIT channel 2 gate, refresh toggle */
#define PC_PORT_RTC	    0x70
#define PC_PORT_PIC_SLAVE   0xa0
#define PC_PORT_COM1	    0x3f8
#define PC_PORT_PIC_ELCR    0x4d0
#define PC_PORT_PM	    0x600 /* PM1a event 0, control 4, timer 8, GPE0 0xc */
#define PC_PORT_PCI_ADDRESS 0xcf8
#define PC_PORT_RESET	    0xcf9
#define PC_PORT_PCI_DATA    0xcfc

#define PC_PM_EVENT	 (PC_PORT_PM + 0x0)
#define PC_PM_CONTROL	 (PC_PORT_PM + 0x4)
#define PC_PM_TIMER	 (PC_PORT_PM + 0x8)
#define PC_PM_GPE0	 (PC_PORT_PM + 0xc)
#define PC_PM_GPE0_BYTES 4
#define PC_PM_BYTES	 0x10

#define PC_RESET_VALUE	 0x06 /* written to PC_PORT_RESET: hard reset */
#define PC_SLEEP_TYPE_S5 5    /* SLP_TYP of soft-off */

/* Interrupt lines (GSIs) */
#define PC_GSI_PIT	  0 /* IOAPIC pin 2 */
#define PC_GSI_COM1	  4
#define PC_GSI_RTC	  8
#define PC_GSI_SCI	  9 /* level, active high */
#define PC_PIT_IOAPIC_PIN 2

/* Guest physical addresses */
#define PC_IOAPIC_GPA	0xfec00000u
#define PC_IOAPIC_BYTES 0x1000u
#define PC_LAPIC_GPA	0xfee00000u
#define PC_ACPI_GPA	0x000e0000u /* tables; the RSDP is the first thing in there */
#define PC_ACPI_BYTES	0x00010000u
#define PC_SMBIOS_GPA	0x000f0000u /* the entry point is the first thing in there */
#define PC_SMBIOS_BYTES 0x00010000u
#define PC_LOW_RAM_END	0x000a0000u /* 640 KiB hole up to 1 MiB */
/* RAM below 4 GiB ends here at the latest; the rest goes to 4 GiB and up. */
#define PC_HOLE_GPA 0xc0000000u
#define PC_HOLE_END 0x100000000ull
/* PCI memory window: from PC_HOLE_GPA up to this. */
#define PC_PCI_WINDOW_END 0xfec00000u

/* Identifiers */
#define PC_IOAPIC_ID PARTITION_MAX_VPS /* APIC ids 0.. are the VPs' */

struct pc_config {
	uint64_t memory_bytes; /* all of the guest's RAM, for the CMOS and the tables */
	struct uart_backend com1;
	bool has_debug_exit;
	uint16_t debug_exit_port;
};

struct pc {
	struct chipset *chipset; /* borrowed */
	struct device *com1, *power_management, *rtc;
};

/*
 * pc_new() - add the machine's devices to an empty @chipset
 * @ret_pc: handles; nothing to free, the chipset owns the devices
 * Returns: 0; -EEXIST when the debug exit port belongs to a device; -ENOMEM.
 */
int pc_new(struct chipset *chipset, const struct pc_config *config, struct pc *ret_pc);

/* pc_press_power_button() - ask the guest to shut down. Takes the chipset lock. Any thread. */
void pc_press_power_button(struct pc *pc);

#endif
