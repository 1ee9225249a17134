/*
 * acpi_tables_test.c - the tables as a guest finds them, from the RSDP on
 *
 * With a folder as its argument it writes each table for one VP and for 64 to a file in there,
 * for acpi_tables_iasl_test, and does nothing else.
 */
#include "fixture.h"

#include <stdio.h>

#include "acpi.h"

#define AREA 0x20000

static uint8_t area[AREA];

static int write_tables(unsigned int vp_count)
{
	const struct acpi_tables_config config = {.vp_count = vp_count};

	memset(area, 0xee, sizeof(area));
	return acpi_tables_write(&config, area, sizeof(area), PC_ACPI_GPA);
}

static uint8_t sum(const void *bytes, size_t count)
{
	uint8_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += ((const uint8_t *)bytes)[i];
	return total;
}

static void *at(uint64_t gpa)
{
	assert_in_range(gpa, PC_ACPI_GPA, PC_ACPI_GPA + AREA - 1);
	return area + (gpa - PC_ACPI_GPA);
}

static void *table_at(uint64_t gpa, const char *signature)
{
	struct acpi_header *header = at(gpa);

	assert_memory_equal(header->signature, signature, 4);
	assert_in_range(gpa + header->length, gpa, PC_ACPI_GPA + AREA);
	if (strcmp(signature, "FACS"))
		assert_int_equal(sum(header, header->length), 0);
	return header;
}

static struct acpi_rsdp *rsdp(void)
{
	return (struct acpi_rsdp *)area;
}

/* The table with @signature, found as the guest does. */
static void *find_table(const char *signature)
{
	struct acpi_header *xsdt = table_at(rsdp()->xsdt_address, "XSDT");
	unsigned int count = (xsdt->length - sizeof(*xsdt)) / 8;

	for (unsigned int i = 0; i < count; i++) {
		uint64_t gpa;

		memcpy(&gpa, (uint8_t *)(xsdt + 1) + 8 * i, 8);
		if (!memcmp(at(gpa), signature, 4))
			return table_at(gpa, signature);
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static void every_table_is_found_and_adds_up(void **state)
{
	static const unsigned int vp_counts[] = {1, 2, 64};

	for (size_t i = 0; i < ARRAY_SIZE(vp_counts); i++) {
		struct acpi_fadt *fadt;
		struct acpi_header *rsdt;
		uint32_t first;

		assert_in_range(write_tables(vp_counts[i]), 1000, AREA);
		assert_memory_equal(rsdp()->signature, "RSD PTR ", 8);
		assert_int_equal(sum(area, 20), 0);
		assert_int_equal(sum(area, 36), 0);
		fadt = find_table("FACP");
		find_table("APIC");
		table_at(fadt->dsdt, "DSDT");
		assert_int_equal(fadt->x_dsdt, fadt->dsdt);
		assert_int_equal(fadt->facs % 64, 0);
		table_at(fadt->facs, "FACS");
		rsdt = table_at(rsdp()->rsdt_address, "RSDT");
		memcpy(&first, rsdt + 1, 4);
		assert_ptr_equal(at(first), fadt);
	}
}

static void the_fadt_describes_the_devices_that_there_are(void **state)
{
	struct fixture *f = *state;
	struct acpi_fadt *fadt;
	uint32_t before;

	write_tables(1);
	fadt = find_table("FACP");
	assert_int_equal(fadt->pm_timer, fadt->x_pm_timer.address);
	before = in(f, (uint16_t)fadt->pm_timer, 4);
	stepped_advance_ns(1000000);
	assert_in_range(in(f, (uint16_t)fadt->pm_timer, 4) - before, 3579, 3580);
	out(f, (uint16_t)fadt->x_pm1a_control.address, 2, PC_SLEEP_TYPE_S5 << 10 | BIT(13));
	assert_int_equal(f->power_offs, 1);
	outb(f, (uint16_t)fadt->reset_register.address, fadt->reset_value);
	assert_int_equal(f->resets, 1);
}

static void the_madt_lists_processors_and_overrides(void **state)
{
	static const unsigned int vp_counts[] = {1, 4, 64};
	static const uint8_t rest[] = {
		1, 12, 64,   0, 0, 0, 0xc0, 0xfe, 0,	0, 0, 0, /* IOAPIC */
		2, 10, 0,    0, 2, 0, 0,    0,	  0,	0,	 /* IRQ 0 is pin 2 */
		2, 10, 0,    9, 9, 0, 0,    0,	  0x0d, 0,	 /* SCI: level, active high */
		4, 6,  0xff, 0, 0, 1,				 /* NMI on LINT1 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(vp_counts); i++) {
		struct acpi_madt *madt;
		uint8_t *entry;

		write_tables(vp_counts[i]);
		madt = find_table("APIC");
		entry = (uint8_t *)(madt + 1);
		for (unsigned int vp = 0; vp < vp_counts[i]; vp++, entry += 8)
			assert_memory_equal(entry,
					    ((uint8_t[8]){0, 8, (uint8_t)vp, (uint8_t)vp, 1}), 8);
		assert_memory_equal(entry, rest, sizeof(rest));
		assert_int_equal(entry + sizeof(rest) - (uint8_t *)madt, madt->header.length);
	}
}

static void too_small_a_buffer_is_refused_and_never_overrun(void **state)
{
	const struct acpi_tables_config config = {.vp_count = 3};
	int needed = write_tables(3);

	for (int bytes = 0; bytes < needed; bytes++) {
		uint8_t *small = malloc((size_t)bytes + 1);

		small[bytes] = 0x5a;
		assert_int_equal(acpi_tables_write(&config, small, (size_t)bytes, PC_ACPI_GPA),
				 -ENOSPC);
		assert_int_equal(small[bytes], 0x5a);
		free(small);
	}
	assert_int_equal(acpi_tables_write(&config, area, (size_t)needed, PC_ACPI_GPA), needed);
}

static void bad_configurations_are_refused(void **state)
{
	static const struct {
		unsigned int vp_count;
		gpa_t gpa;
	} cases[] = {{0, PC_ACPI_GPA}, {65, PC_ACPI_GPA}, {1, PC_ACPI_GPA + 16}, {1, PC_HOLE_END}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct acpi_tables_config config = {.vp_count = cases[i].vp_count};

		assert_int_equal(acpi_tables_write(&config, area, AREA, cases[i].gpa), -EINVAL);
	}
}

static int dump_table(const char *folder, const char *name, unsigned int vp_count,
		      const struct acpi_header *table)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s-%u.aml", folder, name, vp_count);
	file = fopen(path, "wb");
	if (!file || fwrite(table, table->length, 1, file) != 1)
		return 1;
	return fclose(file);
}

static int dump_tables(const char *folder)
{
	static const unsigned int vp_counts[] = {1, 64};
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(vp_counts); i++) {
		struct acpi_fadt *fadt;

		if (write_tables(vp_counts[i]) < 0)
			return 1;
		fadt = find_table("FACP");
		failed |= dump_table(folder, "facp", vp_counts[i], &fadt->header);
		failed |= dump_table(folder, "facs", vp_counts[i], at(fadt->facs));
		failed |= dump_table(folder, "dsdt", vp_counts[i], at(fadt->dsdt));
		failed |= dump_table(folder, "apic", vp_counts[i], find_table("APIC"));
		failed |= dump_table(folder, "xsdt", vp_counts[i], at(rsdp()->xsdt_address));
		failed |= dump_table(folder, "rsdt", vp_counts[i], at(rsdp()->rsdt_address));
	}
	return failed;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_is_found_and_adds_up),
		cmocka_unit_test_setup_teardown(the_fadt_describes_the_devices_that_there_are,
						fixture_setup, fixture_teardown),
		cmocka_unit_test(the_madt_lists_processors_and_overrides),
		cmocka_unit_test(too_small_a_buffer_is_refused_and_never_overrun),
		cmocka_unit_test(bad_configurations_are_refused),
	};

	if (argc == 2)
		return dump_tables(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
