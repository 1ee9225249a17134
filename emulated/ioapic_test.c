/*
 * ioapic_test.c - redirection, level-triggered pins and their EOIs
 */
#include "fixture.h"

#define MASKED 0x10000u
#define LEVEL  0x8000u
#define REMOTE 0x4000u

static uint32_t read_register(struct fixture *f, uint8_t index)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, index);
	return (uint32_t)mmio_read(f, PC_IOAPIC_GPA + 0x10, 4);
}

static void write_register(struct fixture *f, uint8_t index, uint32_t value)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, index);
	mmio_write(f, PC_IOAPIC_GPA + 0x10, 4, value);
}

static void program(struct fixture *f, unsigned int pin, uint32_t low, uint8_t destination)
{
	write_register(f, (uint8_t)(0x11 + 2 * pin), (uint32_t)destination << 24);
	write_register(f, (uint8_t)(0x10 + 2 * pin), low);
}

static void identity_registers_read_as_linux_expects(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_register(f, 0), PC_IOAPIC_ID << 24);
	assert_int_equal(read_register(f, 1), 0x170020);
	write_register(f, 1, 0);
	assert_int_equal(read_register(f, 1), 0x170020);
	write_register(f, 0, 0x05ffffff);
	assert_int_equal(read_register(f, 0), 0x05000000);
	assert_int_equal(read_register(f, 2), 0x05000000);
	assert_int_equal(read_register(f, 0x10), MASKED);
	assert_int_equal(read_register(f, 0x40), UINT32_MAX);
	assert_int_equal(mmio_read(f, PC_IOAPIC_GPA, 4), 0x40);
	assert_int_equal(read_register(f, 0xff), UINT32_MAX);
	write_register(f, 0xff, UINT32_MAX);
	assert_true(mmio_read(f, PC_IOAPIC_GPA + 0x20, 4) == UINT64_MAX);
}

static void read_only_bits_of_an_entry_stay(void **state)
{
	struct fixture *f = *state;

	program(f, 5, UINT32_MAX, 0xff);
	assert_int_equal(read_register(f, 0x10 + 10), 0x1afff);
	assert_int_equal(read_register(f, 0x11 + 10), 0xff000000);
}

static void an_edge_becomes_one_message(void **state)
{
	/* entry's low half and destination; the message */
	static const struct {
		uint32_t low;
		uint8_t destination;
		uint32_t address, data;
	} cases[] = {
		{0x0051, 0, 0xfee00000, 0x0051},
		{0x0151, 3, 0xfee03000, 0x0151},    /* lowest priority */
		{0x0871, 0x0f, 0xfee0f004, 0x0071}, /* logical */
		{0x0400, 0xff, 0xfeeff000, 0x0400}, /* NMI, everybody */
		{0x2031, 1, 0xfee01000, 0x0031},    /* active low: no matter */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		f->msi_count = 0;
		program(f, 4, cases[i].low, cases[i].destination);
		assert_int_equal(f->routes[4].address, cases[i].address);
		chipset_set_irq(f->chipset, 4, true);
		chipset_set_irq(f->chipset, 4, true);
		chipset_set_irq(f->chipset, 4, false);
		assert_int_equal(f->msi_count, 1);
		assert_int_equal(f->msis[0].address, cases[i].address);
		assert_int_equal(f->msis[0].data, cases[i].data);
	}
}

static void a_masked_edge_is_lost(void **state)
{
	struct fixture *f = *state;

	program(f, 4, MASKED | 0x51, 0);
	chipset_set_irq(f->chipset, 4, true);
	program(f, 4, 0x51, 0);
	assert_int_equal(f->msi_count, 0);
}

static void the_timer_arrives_at_pin_2(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x40, 0);
	program(f, 2, 0x42, 0);
	chipset_set_irq(f->chipset, 0, false);
	chipset_set_irq(f->chipset, 0, true);
	chipset_set_irq(f->chipset, 2, true);
	assert_int_equal(f->msi_count, 1);
	assert_int_equal(f->msis[0].data, 0x42);
}

static void a_level_is_sent_again_only_after_its_eoi(void **state)
{
	struct fixture *f = *state;

	program(f, 9, LEVEL | 0x61, 0);
	assert_int_equal(f->routes[9].data, LEVEL | 0x4000 | 0x61);
	chipset_set_irq(f->chipset, 9, true);
	assert_int_equal(f->msi_count, 1);
	assert_int_equal(f->msis[0].data, LEVEL | 0x4000 | 0x61);
	assert_int_equal(read_register(f, 0x10 + 18), REMOTE | LEVEL | 0x61);
	chipset_set_irq(f->chipset, 9, false);
	chipset_set_irq(f->chipset, 9, true);
	assert_int_equal(f->msi_count, 1);
	chipset_eoi(f->chipset, 0x60); /* somebody else's */
	assert_int_equal(f->msi_count, 1);
	chipset_eoi(f->chipset, 0x61);
	assert_int_equal(f->msi_count, 2);
	chipset_set_irq(f->chipset, 9, false);
	mmio_write(f, PC_IOAPIC_GPA + 0x40, 4, 0x61);
	assert_int_equal(read_register(f, 0x10 + 18), LEVEL | 0x61);
	assert_int_equal(f->msi_count, 2);
}

static void an_asserted_level_is_sent_when_it_is_unmasked(void **state)
{
	struct fixture *f = *state;

	program(f, 9, MASKED | LEVEL | 0x61, 0);
	chipset_set_irq(f->chipset, 9, true);
	assert_int_equal(f->msi_count, 0);
	program(f, 9, LEVEL | 0x61, 0);
	assert_int_equal(f->msi_count, 1);
	program(f, 9, MASKED | LEVEL | 0x61, 0);
	chipset_eoi(f->chipset, 0x61);
	assert_int_equal(f->msi_count, 1);
}

static void turning_to_edge_forgets_remote_irr(void **state)
{
	struct fixture *f = *state;

	program(f, 9, LEVEL | 0x61, 0);
	chipset_set_irq(f->chipset, 9, true);
	program(f, 9, MASKED | 0x61, 0);
	assert_int_equal(read_register(f, 0x10 + 18), MASKED | 0x61);
	program(f, 9, LEVEL | 0x61, 0);
	assert_int_equal(f->msi_count, 2);
}

static void masking_leaves_the_routes_as_they_are(void **state)
{
	struct fixture *f = *state;

	program(f, 9, LEVEL | 0x61, 1);
	memset(f->routes, 0, sizeof(f->routes));
	write_register(f, 0x10 + 18, MASKED | LEVEL | 0x61);
	assert_int_equal(f->routes[9].data, 0); /* nobody was told again */
	write_register(f, 0x10 + 18, MASKED | LEVEL | 0x62);
	assert_int_equal(f->routes[9].data, LEVEL | 0x4000 | 0x62);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;

	program(f, 9, LEVEL | 0x61, 2);
	chipset_set_irq(f->chipset, 9, true);
	fixture_save_and_restore(f);
	assert_int_equal(read_register(f, 0x10 + 18), REMOTE | LEVEL | 0x61);
	assert_int_equal(f->routes[9].address, 0xfee02000);
}

#define IOAPIC_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IOAPIC_TEST(identity_registers_read_as_linux_expects),
		IOAPIC_TEST(read_only_bits_of_an_entry_stay),
		IOAPIC_TEST(an_edge_becomes_one_message),
		IOAPIC_TEST(a_masked_edge_is_lost),
		IOAPIC_TEST(the_timer_arrives_at_pin_2),
		IOAPIC_TEST(a_level_is_sent_again_only_after_its_eoi),
		IOAPIC_TEST(an_asserted_level_is_sent_when_it_is_unmasked),
		IOAPIC_TEST(turning_to_edge_forgets_remote_irr),
		IOAPIC_TEST(masking_leaves_the_routes_as_they_are),
		IOAPIC_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
