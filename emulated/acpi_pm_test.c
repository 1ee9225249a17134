/*
 * acpi_pm_test.c - soft-off, button, PM timer
 */
#include "fixture.h"

#define PM PC_PORT_PM

static unsigned int scis(struct fixture *f)
{
	unsigned int count = (unsigned int)f->msi_count;

	f->msi_count = 0;
	return count;
}

static void unmask_sci(struct fixture *f)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, 0x10 + 2 * PC_GSI_SCI);
	mmio_write(f, PC_IOAPIC_GPA + 0x10, 4, 0x8039);
	scis(f);
}

static void acpi_mode_is_always_on(void **state)
{
	assert_int_equal(in(*state, PM + 4, 2), 1);
	out(*state, PM + 4, 2, 0);
	assert_int_equal(in(*state, PM + 4, 2), 1);
}

static void sleeping_powers_off_only_with_type_5(void **state)
{
	static const struct {
		uint16_t value;
		unsigned int power_offs;
		uint16_t status;
	} cases[] = {
		{0x1401, 0, 0},	     /* type without enable */
		{0x2001, 0, 0x8000}, /* no such state: wakes at once */
		{0x3401, 1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture *f = *state;

		f->power_offs = 0;
		out(f, PM + 4, 2, cases[i].value);
		assert_int_equal(f->power_offs, cases[i].power_offs);
		assert_int_equal(in(f, PM, 2), cases[i].status);
		assert_int_equal(in(f, PM + 4, 2), cases[i].value & 0x1c03);
		out(f, PM, 2, 0xffff);
		assert_int_equal(in(f, PM, 2), 0);
	}
}

static void sleeping_works_with_byte_and_wide_writes(void **state)
{
	struct fixture *f = *state;

	outb(f, PM + 5, 0x34);
	assert_int_equal(f->power_offs, 1);
	out(f, PM + 4, 4, 0x3400);
	assert_int_equal(f->power_offs, 2);
}

static void the_timer_runs_at_3579545_hz_and_cannot_be_written(void **state)
{
	struct fixture *f = *state;
	uint32_t start = in(f, PM + 8, 4);

	stepped_advance_ns(1000000000);
	assert_in_range(in(f, PM + 8, 4) - start, 3579545, 3579546);
	out(f, PM + 8, 4, 0);
	assert_in_range(in(f, PM + 8, 4) - start, 3579545, 3579546);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(inb(f, PM + 8 + i), in(f, PM + 8, 4) >> 8 * i & 0xff);
	/* Linux's check: successive reads grow. */
	for (unsigned int i = 0; i < 1000; i++) {
		uint32_t before = in(f, PM + 8, 4);

		stepped_advance_ns(300);
		assert_in_range(in(f, PM + 8, 4) - before, 1, 2);
	}
}

static void the_timer_status_is_set_every_half_turn(void **state)
{
	struct fixture *f = *state;

	unmask_sci(f);
	stepped_advance_ns(599000000000);
	assert_int_equal(in(f, PM, 2), 0);
	stepped_advance_ns(2000000000);
	assert_int_equal(in(f, PM, 2), 1);
	out(f, PM, 2, 1);
	assert_int_equal(in(f, PM, 2), 0);
	assert_int_equal(scis(f), 0);
	out(f, PM + 2, 2, 1);
	stepped_advance_ns(600000000000);
	assert_int_equal(scis(f), 1);
	assert_int_equal(in(f, PM, 2), 1);
}

static void the_power_button_raises_an_sci_if_enabled(void **state)
{
	struct fixture *f = *state;

	unmask_sci(f);
	pc_press_power_button(&f->pc);
	assert_int_equal(scis(f), 0);
	assert_int_equal(in(f, PM, 2), 0x100);
	out(f, PM + 2, 2, 0x100);
	assert_int_equal(scis(f), 1);
	out(f, PM, 2, 0x100); /* the line falls; EOI does not send again */
	chipset_eoi(f->chipset, 0x39);
	assert_int_equal(scis(f), 0);
	pc_press_power_button(&f->pc);
	assert_int_equal(scis(f), 1);
}

static void the_gpe_block_keeps_its_enables(void **state)
{
	out(*state, PM + 0xc, 4, 0xffffffff);
	assert_int_equal(in(*state, PM + 0xc, 4), 0xffff0000);
	assert_int_equal(inb(*state, PM + 0xf), 0xff);
	assert_int_equal(in(*state, PM + 6, 2), 0);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;
	uint32_t before;

	unmask_sci(f);
	out(f, PM + 2, 2, 0x100);
	pc_press_power_button(&f->pc);
	before = in(f, PM + 8, 4);
	fixture_save_and_restore(f);
	assert_int_equal(in(f, PM + 8, 4), before);
	assert_int_equal(in(f, PM, 4), 0x1000100);
}

#define PM_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PM_TEST(acpi_mode_is_always_on),
		PM_TEST(sleeping_powers_off_only_with_type_5),
		PM_TEST(sleeping_works_with_byte_and_wide_writes),
		PM_TEST(the_timer_runs_at_3579545_hz_and_cannot_be_written),
		PM_TEST(the_timer_status_is_set_every_half_turn),
		PM_TEST(the_power_button_raises_an_sci_if_enabled),
		PM_TEST(the_gpe_block_keeps_its_enables),
		PM_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
