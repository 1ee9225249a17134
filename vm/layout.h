/*
 * layout.h - where a machine's RAM lies in guest physical memory
 *
 * RAM is [0, min(size, PC_HOLE_GPA)) and, for what is left, [4 GiB, ...). The guest memory
 * (partition.h) holds both parts back to back. Pure functions; any thread.
 */
#ifndef VM_LAYOUT_H
#define VM_LAYOUT_H

#include "e820.h"
#include "partition.h"

struct layout {
	uint64_t low_bytes;  /* RAM at 0 */
	uint64_t high_bytes; /* RAM at PC_HOLE_END */
};

struct layout layout_of(uint64_t memory_bytes);

/*
 * layout_hva() - the host address of guest RAM [@gpa, @gpa + @bytes)
 * Returns NULL unless the whole range lies in one of the two parts (an empty one included).
 */
void *layout_hva(const struct layout *layout, const struct guest_memory *memory, gpa_t gpa,
		 uint64_t bytes);

/* layout_e820() - the memory map the guest is given, ascending; returns the number of entries. */
#define LAYOUT_E820_MAX 8
size_t layout_e820(const struct layout *layout, struct e820_entry map[LAYOUT_E820_MAX]);

#endif
