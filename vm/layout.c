/*
 * layout.c - the memory map: RAM, the legacy hole with the ACPI tables in it, the MMIO hole
 */
#include "layout.h"

#include "pc.h"

struct layout layout_of(uint64_t memory_bytes)
{
	uint64_t low_bytes = MIN(memory_bytes, (uint64_t)PC_HOLE_GPA);

	return (struct layout){.low_bytes = low_bytes, .high_bytes = memory_bytes - low_bytes};
}

static bool range_inside(gpa_t gpa, uint64_t bytes, gpa_t base, uint64_t size)
{
	return gpa >= base && gpa - base <= size && bytes <= size - (gpa - base);
}

void *layout_hva(const struct layout *layout, const struct guest_memory *memory, gpa_t gpa,
		 uint64_t bytes)
{
	if (range_inside(gpa, bytes, 0, layout->low_bytes))
		return memory->base + gpa;
	if (range_inside(gpa, bytes, PC_HOLE_END, layout->high_bytes))
		return memory->base + layout->low_bytes + (gpa - PC_HOLE_END);
	return NULL;
}

size_t layout_e820(const struct layout *layout, struct e820_entry map[LAYOUT_E820_MAX])
{
	const struct e820_entry rows[] = {
		{0, MIN(layout->low_bytes, (uint64_t)PC_LOW_RAM_END), E820_RAM},
		{PC_LOW_RAM_END, PC_ACPI_GPA - PC_LOW_RAM_END, E820_RESERVED},
		{PC_ACPI_GPA, PC_ACPI_BYTES + PC_SMBIOS_BYTES, E820_RESERVED},
		{MIB, layout->low_bytes > MIB ? layout->low_bytes - MIB : 0, E820_RAM},
		{PC_IOAPIC_GPA, PC_HOLE_END - PC_IOAPIC_GPA, E820_RESERVED},
		{PC_HOLE_END, layout->high_bytes, E820_RAM},
	};
	size_t count = 0;

	static_assert(ARRAY_SIZE(rows) <= LAYOUT_E820_MAX, "the map does not fit");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].bytes)
			map[count++] = rows[i];
	}
	return count;
}
