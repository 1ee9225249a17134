/*
 * pit_test.c - the 8254's modes, and what Linux's calibrations do with it
 */
#include "fixture.h"

#include "pit.h"

#define CONTROL 0x43
#define PORT_B	0x61

/* The clock at @ticks after now, to within a tick. */
static void advance_ticks(uint64_t ticks)
{
	stepped_advance_ns(ticks * 1000000000u / PIT_HZ + 1);
}

static void load(struct fixture *f, unsigned int channel, unsigned int mode, uint16_t count)
{
	outb(f, CONTROL, channel << 6 | 0x30 | mode << 1);
	outb(f, 0x40 + channel, count & 0xff);
	outb(f, 0x40 + channel, count >> 8);
}

static uint16_t latched(struct fixture *f, unsigned int channel)
{
	uint16_t low;

	outb(f, CONTROL, channel << 6);
	low = (uint16_t)inb(f, 0x40 + channel);
	return (uint16_t)(inb(f, 0x40 + channel) << 8 | low);
}

static bool output2(struct fixture *f)
{
	return inb(f, PORT_B) & 0x20;
}

/* IRQ 0 requests since the last call, counted by IOAPIC messages. */
static unsigned int irqs(struct fixture *f)
{
	unsigned int count = (unsigned int)f->msi_count;

	f->msi_count = 0;
	return count;
}

static void unmask_irq(struct fixture *f)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, 0x10 + 2 * PC_PIT_IOAPIC_PIN);
	mmio_write(f, PC_IOAPIC_GPA + 0x10, 4, 0x30);
	irqs(f);
}

static void each_mode_counts_and_drives_its_output(void **state)
{
	/* Mode, ticks since the gate rose with a count of 1000, value, OUT */
	static const struct {
		uint8_t mode;
		uint32_t ticks;
		uint16_t value;
		bool out;
	} cases[] = {
		{0, 0, 1000, false},
		{0, 999, 1, false},
		{0, 1000, 0, true},
		{0, 1001, 65535, true},
		{0, 66536 + 100, 65436, true},
		{1, 0, 1000, false},
		{1, 999, 1, false},
		{1, 1000, 0, true},
		{2, 0, 1000, true},
		{2, 998, 2, true},
		{2, 999, 1, false},
		{2, 1000, 1000, true},
		{2, 2999, 1, false},
		{3, 0, 1000, true},
		{3, 499, 2, true},
		{3, 500, 1000, false},
		{3, 999, 2, false},
		{3, 1000, 1000, true},
		{4, 0, 1000, true},
		{4, 999, 1, true},
		{4, 1000, 0, false},
		{4, 1001, 65535, true},
		{5, 0, 1000, true},
		{5, 1000, 0, false},
		{5, 1001, 65535, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture *f = *state;

		outb(f, PORT_B, 0);
		load(f, 2, cases[i].mode, 1000);
		outb(f, PORT_B, 1);
		if (cases[i].ticks)
			advance_ticks(cases[i].ticks);
		assert_int_equal(latched(f, 2), cases[i].value);
		assert_int_equal(output2(f), cases[i].out);
	}
}

static void a_low_gate_holds_mode_0_and_restarts_mode_2(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 1);
	load(f, 2, 0, 5000);
	advance_ticks(1000);
	outb(f, PORT_B, 0);
	advance_ticks(30000);
	assert_int_equal(latched(f, 2), 4000);
	assert_false(output2(f));
	outb(f, PORT_B, 1);
	advance_ticks(3998);
	assert_false(output2(f));
	advance_ticks(3);
	assert_true(output2(f));

	load(f, 2, 2, 5000);
	advance_ticks(1000);
	outb(f, PORT_B, 0);
	assert_int_equal(latched(f, 2), 5000);
	advance_ticks(30000);
	outb(f, PORT_B, 1);
	assert_int_equal(latched(f, 2), 5000);
	advance_ticks(10);
	assert_int_equal(latched(f, 2), 4990);
}

static void counts_can_be_accessed_by_halves(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 0);
	outb(f, CONTROL, 0x90); /* channel 2, low byte, mode 0 */
	outb(f, 0x42, 0x77);
	assert_int_equal(inb(f, 0x42), 0x77);
	assert_int_equal(inb(f, 0x42), 0x77);
	outb(f, CONTROL, 0xa0); /* high byte */
	outb(f, 0x42, 0x12);
	assert_int_equal(inb(f, 0x42), 0x12);
	outb(f, CONTROL, 0xb0);
	assert_int_equal(inb(f, 0x42), 0x00);
	assert_int_equal(inb(f, 0x42), 0x12);
}

static void a_latched_count_stays_until_it_is_read(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 1);
	load(f, 2, 2, 10000);
	advance_ticks(100);
	outb(f, CONTROL, 0x80);
	advance_ticks(1000);
	outb(f, CONTROL, 0x80); /* ignored: one is latched */
	assert_int_equal(inb(f, 0x42), 9900 & 0xff);
	advance_ticks(1000);
	assert_int_equal(inb(f, 0x42), 9900 >> 8);
	assert_in_range(latched(f, 2), 7895, 7900);
}

static void read_back_latches_status_and_count(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 1);
	load(f, 2, 3, 1000);
	outb(f, CONTROL, 0xc8); /* both, of counter 2 */
	assert_int_equal(inb(f, 0x42), 0x80 | 0x30 | 3 << 1);
	assert_int_equal(inb(f, 0x42), 1000 & 0xff);
	assert_int_equal(inb(f, 0x42), 1000 >> 8);
	outb(f, CONTROL, 0xb1); /* mode 0, BCD; no count yet */
	outb(f, CONTROL, 0xe8); /* status only */
	assert_int_equal(inb(f, 0x42), 0x40 | 0x30 | 1);
	assert_int_equal(inb(f, CONTROL), 0xff); /* write-only */
}

static void bcd_counts_in_decimal(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 1);
	outb(f, CONTROL, 0xb1 | 2 << 1);
	outb(f, 0x42, 0x34);
	outb(f, 0x42, 0x12);
	assert_int_equal(latched(f, 2), 0x1234);
	advance_ticks(35);
	assert_int_equal(latched(f, 2), 0x1199);
	outb(f, CONTROL, 0xb1 | 2 << 1);
	outb(f, 0x42, 0);
	outb(f, 0x42, 0); /* 10000 */
	advance_ticks(1);
	assert_int_equal(latched(f, 2), 0x9999);
	outb(f, CONTROL, 0xb1 | 2 << 1);
	outb(f, 0x42, 0xff); /* no such digits; anything, but no crash */
	outb(f, 0x42, 0xff);
	advance_ticks(12345);
	(void)latched(f, 2);
}

static void linux_quick_calibration_sees_a_steady_count(void **state)
{
	struct fixture *f = *state;
	uint8_t expected = 0xff;

	outb(f, PORT_B, (inb(f, PORT_B) & ~2u) | 1);
	outb(f, CONTROL, 0xb0);
	outb(f, 0x42, 0xff);
	outb(f, 0x42, 0xff);
	for (unsigned int i = 0; i < 50; i++, expected--) {
		unsigned int reads = 0;

		for (;; reads++) {
			(void)inb(f, 0x42);
			if (inb(f, 0x42) != expected)
				break;
			stepped_advance_ns(2000);
		}
		assert_in_range(reads, 105, 110); /* 256 ticks = 214.5 us */
	}
}

static void linux_slow_calibration_sees_output_2_after_exactly_10_ms(void **state)
{
	struct fixture *f = *state;
	uint64_t waited_ns = 0;

	outb(f, PORT_B, (inb(f, PORT_B) & ~2u) | 1);
	load(f, 2, 0, PIT_HZ / 100);
	while (!output2(f)) {
		stepped_advance_ns(500);
		waited_ns += 500;
	}
	assert_in_range(waited_ns, 9999000, 10000500);
}

static void the_refresh_bit_toggles_every_15_us(void **state)
{
	struct fixture *f = *state;
	unsigned int toggles = 0, last = inb(f, PORT_B) & 0x10;

	for (unsigned int i = 0; i < 3000; i++) {
		stepped_advance_ns(1000);
		toggles += (inb(f, PORT_B) & 0x10) != last;
		last = inb(f, PORT_B) & 0x10;
	}
	assert_in_range(toggles, 198, 200);
	outb(f, PORT_B, 0xff);
	assert_int_equal(inb(f, PORT_B) & 0xcf, 0x0f);
}

static void a_periodic_timer_keeps_its_rate(void **state)
{
	struct fixture *f = *state;

	for (unsigned int mode = 2; mode <= 3; mode++) {
		load(f, 0, mode, 4772); /* 250 Hz */
		unmask_irq(f);
		for (unsigned int i = 0; i < 1000; i++)
			stepped_advance_ns(10000000);
		assert_in_range(irqs(f), 2500, 2501);
	}
}

static void one_shots_fire_once(void **state)
{
	static const uint8_t modes[] = {0, 4};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		load(f, 0, modes[i], 1193);
		unmask_irq(f);
		stepped_advance_ns(990000);
		assert_int_equal(irqs(f), 0);
		stepped_advance_ns(20000);
		assert_int_equal(irqs(f), 1);
		stepped_advance_ns(1000000000);
		assert_int_equal(irqs(f), 0);
	}
	/* Linux shuts the timer down so. */
	outb(f, CONTROL, 0x30);
	stepped_advance_ns(1000000000);
	assert_int_equal(irqs(f), 0);
	assert_int_equal(latched(f, 0), 1193);
}

/* The loop is @late_ns late for one expiry; then the clock goes on in small steps. */
static unsigned int irqs_with_a_late_loop(struct fixture *f, uint64_t late_ns, uint64_t total_ns)
{
	load(f, 0, 2, 1193); /* 1 kHz */
	unmask_irq(f);
	stepped_be_late_ns(late_ns);
	stepped_advance_ns(total_ns - late_ns);
	return irqs(f);
}

static void late_edges_are_made_up_for_within_bounds(void **state)
{
	assert_in_range(irqs_with_a_late_loop(*state, 20000000, 100000000), 99, 100);
	assert_in_range(irqs_with_a_late_loop(*state, 800000000, 1000000000), 240, 260);
}

static void absurdly_fast_timers_are_thinned_out(void **state)
{
	struct fixture *f = *state;

	load(f, 0, 2, 1); /* becomes 2: 1.7 us */
	unmask_irq(f);
	stepped_advance_ns(100000000);
	assert_in_range(irqs(f), 100, 1001);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;

	outb(f, PORT_B, 1);
	load(f, 2, 0, 5000);
	load(f, 0, 2, 11932);
	unmask_irq(f);
	advance_ticks(1000);
	fixture_save_and_restore(f);
	assert_in_range(latched(f, 2), 3999, 4000);
	assert_int_equal(inb(f, PORT_B) & 0x21, 0x01);
	irqs(f);
	stepped_advance_ns(8000000);
	assert_int_equal(irqs(f), 0);
	stepped_advance_ns(1500000);
	assert_int_equal(irqs(f), 1);
}

#define PIT_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIT_TEST(each_mode_counts_and_drives_its_output),
		PIT_TEST(a_low_gate_holds_mode_0_and_restarts_mode_2),
		PIT_TEST(counts_can_be_accessed_by_halves),
		PIT_TEST(a_latched_count_stays_until_it_is_read),
		PIT_TEST(read_back_latches_status_and_count),
		PIT_TEST(bcd_counts_in_decimal),
		PIT_TEST(linux_quick_calibration_sees_a_steady_count),
		PIT_TEST(linux_slow_calibration_sees_output_2_after_exactly_10_ms),
		PIT_TEST(the_refresh_bit_toggles_every_15_us),
		PIT_TEST(a_periodic_timer_keeps_its_rate),
		PIT_TEST(one_shots_fire_once),
		PIT_TEST(late_edges_are_made_up_for_within_bounds),
		PIT_TEST(absurdly_fast_timers_are_thinned_out),
		PIT_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
