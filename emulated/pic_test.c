/*
 * pic_test.c - the 8259 pair: priorities, modes, cascade, spurious requests
 */
#include "fixture.h"

#define MASTER 0x20
#define SLAVE  0xa0
#define EOI    0x20

/* As Linux does it: vectors 0x30 and 0x38, everything unmasked; @icw4 for both. */
static void initialize(struct fixture *f, uint8_t icw4)
{
	outb(f, MASTER, 0x11);
	outb(f, MASTER + 1, 0x30);
	outb(f, MASTER + 1, 0x04);
	outb(f, MASTER + 1, icw4);
	outb(f, SLAVE, 0x11);
	outb(f, SLAVE + 1, 0x38);
	outb(f, SLAVE + 1, 0x02);
	outb(f, SLAVE + 1, icw4);
	outb(f, MASTER + 1, 0);
	outb(f, SLAVE + 1, 0);
}

static void pulse(struct fixture *f, unsigned int irq)
{
	chipset_set_irq(f->chipset, irq, true);
	chipset_set_irq(f->chipset, irq, false);
}

static int acknowledge(struct fixture *f)
{
	return chipset_acknowledge_extint(f->chipset);
}

static uint8_t read_isr(struct fixture *f, uint16_t port)
{
	outb(f, port, 0x0b);
	return (uint8_t)inb(f, port);
}

static uint8_t read_irr(struct fixture *f, uint16_t port)
{
	outb(f, port, 0x0a);
	return (uint8_t)inb(f, port);
}

static void nothing_is_requested_before_initialization(void **state)
{
	struct fixture *f = *state;

	pulse(f, 4);
	pulse(f, 12);
	assert_false(f->extint);
	assert_int_equal(acknowledge(f), -1);
}

static void every_line_gives_its_vector(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	for (unsigned int irq = 0; irq < 16; irq++) {
		if (irq == 2)
			continue;
		chipset_set_irq(f->chipset, irq, false); /* the PIT's and RTC's own levels */
		pulse(f, irq);
		assert_true(f->extint);
		assert_int_equal(acknowledge(f), 0x30 + irq);
		assert_false(f->extint);
		if (irq >= 8)
			outb(f, SLAVE, EOI);
		outb(f, MASTER, EOI);
		assert_int_equal(read_isr(f, MASTER) | read_isr(f, SLAVE), 0);
	}
	assert_int_equal(acknowledge(f), -1);
}

static void lines_that_do_not_exist_do_nothing(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 2);
	pulse(f, 16);
	pulse(f, 23);
	pulse(f, 1000);
	assert_false(f->extint);
}

static void higher_priority_interrupts_lower_and_not_the_reverse(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 5);
	assert_int_equal(acknowledge(f), 0x35);
	pulse(f, 6);
	assert_false(f->extint);
	pulse(f, 12); /* by way of line 2: higher than 5 */
	assert_int_equal(acknowledge(f), 0x3c);
	pulse(f, 13);
	assert_false(f->extint);
	pulse(f, 1);
	assert_int_equal(acknowledge(f), 0x31);
	outb(f, MASTER, EOI); /* 1 */
	outb(f, SLAVE, EOI);
	outb(f, MASTER, EOI); /* 2 */
	assert_int_equal(acknowledge(f), 0x3d);
	outb(f, SLAVE, EOI);
	outb(f, MASTER, EOI);
	outb(f, MASTER, EOI); /* 5 */
	assert_int_equal(acknowledge(f), 0x36);
}

static void a_masked_request_waits(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	outb(f, MASTER + 1, 0x10);
	pulse(f, 4);
	assert_false(f->extint);
	assert_int_equal(inb(f, MASTER + 1), 0x10);
	assert_int_equal(read_irr(f, MASTER), 0x10);
	outb(f, MASTER + 1, 0);
	assert_int_equal(acknowledge(f), 0x34);
	assert_int_equal(read_irr(f, MASTER), 0);
	assert_int_equal(read_isr(f, MASTER), 0x10);
}

static void a_request_masked_after_it_was_raised_is_withdrawn(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 4);
	assert_true(f->extint);
	outb(f, MASTER + 1, 0xff);
	assert_false(f->extint);
	assert_int_equal(acknowledge(f), -1);
}

static void a_slave_request_that_went_away_is_irq_15(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 10);
	outb(f, SLAVE + 1, 0xff); /* the master has latched the slave's edge */
	assert_true(f->extint);
	assert_int_equal(acknowledge(f), 0x3f);
	assert_int_equal(read_isr(f, SLAVE), 0);
	assert_int_equal(read_isr(f, MASTER), 0x04);
}

static void level_triggered_lines_request_while_they_are_asserted(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	out(f, 0x4d0, 2, 0xffff);
	assert_int_equal(in(f, 0x4d0, 2), 0xdef8);
	chipset_set_irq(f->chipset, 9, true);
	assert_int_equal(acknowledge(f), 0x39);
	outb(f, SLAVE, EOI);
	outb(f, MASTER, EOI);
	assert_true(f->extint); /* still asserted */
	chipset_set_irq(f->chipset, 9, false);
	chipset_set_irq(f->chipset, 5, true);
	chipset_set_irq(f->chipset, 5, false);
	outb(f, SLAVE + 1, 0xff);
	assert_int_equal(acknowledge(f), 0x3f); /* the cascade's edge is left: spurious */
	outb(f, MASTER, EOI);
	assert_false(f->extint);
}

static void automatic_eoi_leaves_nothing_in_service(void **state)
{
	struct fixture *f = *state;

	initialize(f, 3);
	pulse(f, 5);
	pulse(f, 12);
	pulse(f, 11);
	assert_int_equal(acknowledge(f), 0x3b);
	assert_int_equal(acknowledge(f), 0x3c);
	assert_int_equal(acknowledge(f), 0x35);
	assert_int_equal(acknowledge(f), -1);
	assert_int_equal(read_isr(f, MASTER) | read_isr(f, SLAVE), 0);
}

static void ocw2_commands_do_what_the_data_sheet_says(void **state)
{
	/* With 3 and 5 in service (5 first), after the command: ISR, and who wins of 0..7 next. */
	static const struct {
		uint8_t command, isr, first;
	} cases[] = {
		{0x20, 0x20, 0}, /* non-specific EOI ends 3 */
		{0x65, 0x08, 0}, /* specific EOI of 5 */
		{0x40, 0x28, 0}, /* no operation */
		{0xa0, 0x20, 4}, /* rotate on non-specific EOI: 3 is lowest */
		{0xe5, 0x08, 6}, /* rotate on specific EOI: 5 is lowest */
		{0xc1, 0x28, 2}, /* set priority: 1 is lowest */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		initialize(f, 1);
		pulse(f, 5);
		assert_int_equal(acknowledge(f), 0x35);
		pulse(f, 3);
		assert_int_equal(acknowledge(f), 0x33);
		outb(f, MASTER, cases[i].command);
		assert_int_equal(read_isr(f, MASTER), cases[i].isr);
		outb(f, MASTER, 0x63);
		outb(f, MASTER, 0x65);
		chipset_set_irq(f->chipset, 0, false);
		chipset_set_irq(f->chipset, 4, false);
		for (unsigned int irq = 0; irq < 8; irq++)
			pulse(f, irq);
		pulse(f, 12);
		assert_int_equal(acknowledge(f),
				 cases[i].first == 2 ? 0x3c : 0x30 + cases[i].first);
	}
}

static void rotation_on_automatic_eoi_is_round_robin(void **state)
{
	struct fixture *f = *state;

	initialize(f, 3);
	outb(f, MASTER, 0x80);
	pulse(f, 3);
	pulse(f, 4);
	assert_int_equal(acknowledge(f), 0x33);
	pulse(f, 3);
	assert_int_equal(acknowledge(f), 0x34);
	assert_int_equal(acknowledge(f), 0x33);
}

static void special_mask_mode_lets_lower_priorities_in(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 3);
	assert_int_equal(acknowledge(f), 0x33);
	outb(f, MASTER + 1, 0x08);
	outb(f, MASTER, 0x68);
	pulse(f, 6);
	assert_int_equal(acknowledge(f), 0x36);
	outb(f, MASTER, 0x48);
	pulse(f, 7);
	assert_false(f->extint);
}

static void specially_nested_the_slave_interrupts_itself(void **state)
{
	for (unsigned int nested = 0; nested < 2; nested++) {
		struct fixture *f = *state;

		initialize(f, nested ? 0x11 : 0x01);
		pulse(f, 12);
		assert_int_equal(acknowledge(f), 0x3c);
		pulse(f, 10);
		assert_int_equal(acknowledge(f), nested ? 0x3a : -1);
	}
}

static void poll_mode_acknowledges_by_reading(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 6);
	outb(f, MASTER, 0x0c);
	assert_int_equal(inb(f, MASTER), 0x86);
	assert_false(f->extint);
	assert_int_equal(read_isr(f, MASTER), 0x40);
	outb(f, MASTER, EOI);
	outb(f, MASTER, 0x0c);
	assert_int_equal(inb(f, MASTER), 0);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;

	initialize(f, 1);
	pulse(f, 5);
	assert_int_equal(acknowledge(f), 0x35);
	pulse(f, 12);
	fixture_save_and_restore(f);
	assert_true(f->extint);
	assert_int_equal(read_isr(f, MASTER), 0x20);
	assert_int_equal(acknowledge(f), 0x3c);
}

#define PIC_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIC_TEST(nothing_is_requested_before_initialization),
		PIC_TEST(every_line_gives_its_vector),
		PIC_TEST(lines_that_do_not_exist_do_nothing),
		PIC_TEST(higher_priority_interrupts_lower_and_not_the_reverse),
		PIC_TEST(a_masked_request_waits),
		PIC_TEST(a_request_masked_after_it_was_raised_is_withdrawn),
		PIC_TEST(a_slave_request_that_went_away_is_irq_15),
		PIC_TEST(level_triggered_lines_request_while_they_are_asserted),
		PIC_TEST(automatic_eoi_leaves_nothing_in_service),
		PIC_TEST(ocw2_commands_do_what_the_data_sheet_says),
		PIC_TEST(rotation_on_automatic_eoi_is_round_robin),
		PIC_TEST(special_mask_mode_lets_lower_priorities_in),
		PIC_TEST(specially_nested_the_slave_interrupts_itself),
		PIC_TEST(poll_mode_acknowledges_by_reading),
		PIC_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
