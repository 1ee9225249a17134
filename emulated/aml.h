/*
 * aml.h - writing ACPI machine language into a bounded buffer
 *
 * Source: ACPI specification 6.4, chapter 20 "ACPI Machine Language"; resource descriptors:
 * chapter 6.4. A writer that runs out of room drops what does not fit and remembers it in
 * overflow; one check at the end is enough.
 */
#ifndef EMULATED_AML_H
#define EMULATED_AML_H

#include "base.h"

struct aml {
	uint8_t *buffer;
	size_t bytes, used;
	bool overflow;
};

/* A package that was begun; its length is filled in by aml_end(). */
struct aml_package {
	size_t length_at;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t count);

/* \NAME as a term: "\\", "_SB_", or "\\_SB_"; a segment has exactly four characters. */
struct aml_package aml_begin_scope(struct aml *aml, const char *name);
struct aml_package aml_begin_device(struct aml *aml, const char name[static 4]);
void aml_end(struct aml *aml, struct aml_package package);

void aml_name_integer(struct aml *aml, const char name[static 4], uint64_t value);
void aml_name_string(struct aml *aml, const char name[static 4], const char *string);
/* @eisa_id: three letters and four hexadecimal digits, "PNP0501" */
void aml_name_eisa_id(struct aml *aml, const char name[static 4], const char eisa_id[static 7]);
void aml_name_integers(struct aml *aml, const char name[static 4], const uint64_t *values,
		       uint8_t count);

/* Name (_CRS, ResourceTemplate () { descriptors between these two }) */
struct aml_resources {
	struct aml_package package;
	size_t size_at;
};
struct aml_resources aml_begin_resources(struct aml *aml);
void aml_io(struct aml *aml, uint16_t base, uint8_t count);
void aml_irq(struct aml *aml, unsigned int isa_irq); /* edge-triggered, active high */
void aml_fixed_memory(struct aml *aml, uint32_t base, uint32_t bytes);
void aml_bus_window(struct aml *aml, uint8_t first, uint8_t last);
void aml_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_memory_window(struct aml *aml, uint32_t first, uint32_t last);
void aml_end_resources(struct aml *aml, struct aml_resources resources);

#endif
