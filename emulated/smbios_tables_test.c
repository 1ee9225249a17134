/*
 * smbios_tables_test.c - the structures, walked as a guest walks them
 */
#include "fixture.h"

#include "smbios_tables.h"
#include "smbios.h"

#define GPA 0xf0000u

static uint8_t sum(const uint8_t *bytes, size_t count)
{
	uint8_t sum = 0;

	while (count--)
		sum += *bytes++;
	return sum;
}

/* The structure of @type in the table, NULL if the walk leaves the table first. */
static const uint8_t *find(const uint8_t *table, size_t bytes, uint8_t type)
{
	const uint8_t *at = table;

	while (at + 4 <= table + bytes) {
		if (at[0] == type)
			return at;
		at += at[1];
		while (at[0] || at[1])
			at++;
		at += 2;
	}
	return NULL;
}

static const char *string(const uint8_t *structure, unsigned int number)
{
	const char *at = (const char *)structure + structure[1];

	while (--number)
		at += strlen(at) + 1;
	return at;
}

static void the_table_can_be_walked_and_says_who_made_it(void **state)
{
	const struct smbios_tables_config config = {.uuid = {{1, 2, 3}}, .serial = "1234"};
	struct smbios_entry_point entry;
	uint8_t buffer[1024];
	const uint8_t *table, *system;
	int used = smbios_tables_write(&config, buffer, sizeof(buffer), GPA);

	assert_true(used > 0);
	memcpy(&entry, buffer, sizeof(entry));
	assert_memory_equal(entry.anchor, "_SM_", 4);
	assert_int_equal(sum(buffer, sizeof(entry)), 0);
	assert_int_equal(sum(buffer + 16, sizeof(entry) - 16), 0);
	assert_int_equal(entry.table_address - GPA + entry.table_bytes, used);
	table = buffer + (entry.table_address - GPA);
	system = find(table, entry.table_bytes, SMBIOS_SYSTEM);
	assert_non_null(system);
	assert_string_equal(string(system, system[4]), "Microsoft Corporation");
	assert_string_equal(string(system, system[5]), "Virtual Machine");
	assert_string_equal(string(system, system[7]), "1234");
	assert_memory_equal(system + 8, config.uuid.bytes, 16);
	assert_non_null(find(table, entry.table_bytes, SMBIOS_END));
}

static void a_small_buffer_is_refused_at_every_length(void **state)
{
	const struct smbios_tables_config config = {.serial = ""};
	uint8_t buffer[1024];
	int used = smbios_tables_write(&config, buffer, sizeof(buffer), GPA);

	for (int bytes = 0; bytes < used; bytes++)
		assert_int_equal(smbios_tables_write(&config, buffer, bytes, GPA), -ENOSPC);
	assert_int_equal(smbios_tables_write(&config, buffer, used, GPA), used);
	assert_int_equal(smbios_tables_write(&config, buffer, sizeof(buffer), GPA + 8), -EINVAL);
	assert_int_equal(smbios_tables_write(&config, buffer, sizeof(buffer), 0xffff0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_can_be_walked_and_says_who_made_it),
		cmocka_unit_test(a_small_buffer_is_refused_at_every_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
