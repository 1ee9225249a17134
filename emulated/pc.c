/*
 * pc.c - the machine as a table: one row a device, in the order in which they are made and reset
 *
 * The interrupt controllers come first, so that the lines which the others drive in their reset
 * arrive at controllers that have been reset already.
 */
#include "pc.h"

#include "acpi_pm.h"
#include "debug_exit.h"
#include "ioapic.h"
#include "pci_host.h"
#include "pic.h"
#include "pit.h"
#include "rtc.h"

int pc_new(struct chipset *chipset, const struct pc_config *config, struct pc *ret_pc)
{
	const struct rtc_config rtc = {.memory_bytes = config->memory_bytes};
	const struct uart_config com1 = {
		.port = PC_PORT_COM1, .gsi = PC_GSI_COM1, .backend = config->com1};
	const struct debug_exit_config debug_exit = {.port = config->debug_exit_port};
	struct pc pc = {.chipset = chipset};
	const struct {
		const struct device_class *class;
		const void *config;
		struct device **handle;
		bool absent;
	} machine[] = {
		{&pic_class},
		{&ioapic_class},
		{&pit_class},
		{&rtc_class, &rtc, &pc.rtc},
		{&acpi_pm_class, NULL, &pc.power_management},
		{&pci_host_class},
		{&uart_class, &com1, &pc.com1},
		{&debug_exit_class, &debug_exit, NULL, !config->has_debug_exit},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(machine); i++) {
		if (!machine[i].absent)
			r = chipset_add(chipset, machine[i].class, machine[i].config,
					machine[i].handle);
	}
	if (r == 0)
		*ret_pc = pc;
	return r;
}

void pc_press_power_button(struct pc *pc)
{
	acpi_pm_press_button(pc->power_management);
}
