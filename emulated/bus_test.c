/*
 * bus_test.c - routing, claims, clock and timers, with devices made for the test
 */
#include "fixture.h"

struct probe {
	struct device dev;
	struct chipset_timer *timer;
	uint32_t last_value;
	uint16_t last_offset;
	unsigned int last_bytes, accesses, expiries, resets;
};

static uint32_t probe_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct probe *probe = (struct probe *)dev;

	probe->accesses++;
	return 0xa0b0c0d0u + offset;
}

static void probe_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct probe *probe = (struct probe *)dev;

	probe->accesses++;
	probe->last_offset = offset;
	probe->last_bytes = bytes;
	probe->last_value = value;
}

static uint64_t probe_mmio_read(struct device *dev, uint64_t offset, unsigned int bytes)
{
	return offset;
}

static void probe_mmio_write(struct device *dev, uint64_t offset, unsigned int bytes,
			     uint64_t value)
{
	((struct probe *)dev)->accesses++;
}

static void probe_expired(struct device *dev)
{
	((struct probe *)dev)->expiries++;
}

static int probe_create(struct device *dev, const void *config)
{
	return device_timer_new(dev, probe_expired, &((struct probe *)dev)->timer);
}

static void probe_reset(struct device *dev)
{
	((struct probe *)dev)->resets++;
}

static const struct device_class wide_class = {
	.name = "wide",
	.size = sizeof(struct probe),
	.pio =
		(const struct pio_range[]){
			{.base = 0x100, .count = 4, .read = probe_read, .write = probe_write},
			{.base = 0xfffe, .count = 2, .read = probe_read},
			{}},
	.mmio = (const struct mmio_range[]){{.base = 0xd0000000,
					     .bytes = 0x100,
					     .read = probe_mmio_read,
					     .write = probe_mmio_write},
					    {}},
	.create = probe_create,
	.reset = probe_reset,
};
static const struct device_class narrow_class = {
	.name = "narrow",
	.size = sizeof(struct probe),
	.pio = (const struct pio_range[]){{.base = 0x104,
					   .count = 4,
					   .width = 1,
					   .read = probe_read,
					   .write = probe_write},
					  {}},
};
static const struct device_class overlapping_class = {
	.name = "overlapping",
	.size = sizeof(struct probe),
	.pio = (const struct pio_range[]){{.base = 0x200, .count = 4},
					  {.base = 0x107, .count = 1},
					  {}},
	.create = probe_create,
};
static const struct device_class overlapping_memory_class = {
	.name = "overlapping",
	.size = sizeof(struct probe),
	.pio = (const struct pio_range[]){{.base = 0x200, .count = 4}, {}},
	.mmio = (const struct mmio_range[]){{.base = 0xd00000ff, .bytes = 1}, {}},
};

struct pair {
	struct fixture *f;
	struct probe *wide, *narrow;
};

static struct pair pair_new(void)
{
	struct pair pair = {fixture_new()};

	assert_int_equal(
		chipset_add(pair.f->chipset, &wide_class, NULL, (struct device **)&pair.wide), 0);
	assert_int_equal(
		chipset_add(pair.f->chipset, &narrow_class, NULL, (struct device **)&pair.narrow),
		0);
	return pair;
}

static void accesses_are_split_as_their_devices_need(void **state)
{
	/* Port and bytes; what is read, and how many accesses each device saw. */
	static const struct {
		uint16_t port;
		uint8_t bytes;
		uint32_t value;
		unsigned int wide, narrow;
	} cases[] = {
		{0x100, 1, 0xd0, 1, 0},	       {0x100, 2, 0xc0d0, 1, 0},
		{0x100, 4, 0xa0b0c0d0, 1, 0},  {0x102, 2, 0xc0d2, 1, 0},
		{0x102, 4, 0xd1d0c0d2, 1, 2},  {0x103, 2, 0xd0d3, 1, 1},
		{0x104, 4, 0xd3d2d1d0, 0, 4},  {0x101, 4, 0xd0d3c0d1, 2, 1},
		{0x0ff, 2, 0xd0ff, 1, 0},      {0x107, 4, 0xffffffd3, 0, 1},
		{0x500, 4, 0xffffffff, 0, 0},  {0x500, 1, 0xff, 0, 0},
		{0xffff, 4, 0xffffffd1, 1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair pair = pair_new();

		assert_int_equal(in(pair.f, cases[i].port, cases[i].bytes), cases[i].value);
		assert_int_equal(pair.wide->accesses, cases[i].wide);
		assert_int_equal(pair.narrow->accesses, cases[i].narrow);
		fixture_free(pair.f);
	}
}

static void written_bytes_arrive_in_order_without_their_neighbours(void **state)
{
	struct pair pair = pair_new();

	out(pair.f, 0x102, 4, 0x44332211);
	assert_int_equal(pair.wide->last_value, 0x2211);
	assert_int_equal(pair.wide->last_bytes, 2);
	assert_int_equal(pair.wide->last_offset, 2);
	assert_int_equal(pair.narrow->last_value, 0x44);
	assert_int_equal(pair.narrow->last_offset, 1);
	out(pair.f, 0xfffe, 4, 0); /* read-only; past the end of the ports */
	outb(pair.f, 0x100, 0xabcd);
	assert_int_equal(pair.wide->last_value, 0xcd);
	fixture_free(pair.f);
}

static void memory_outside_or_across_ranges_is_unclaimed(void **state)
{
	static const struct {
		gpa_t gpa;
		unsigned int bytes;
		uint64_t value;
	} cases[] = {
		{0xd0000000, 8, 0},	     {0xd00000f8, 8, 0xf8},
		{0xd00000f9, 8, UINT64_MAX}, {0xcfffffff, 2, UINT64_MAX},
		{0xd0000100, 1, UINT64_MAX}, {0xd00000ff, 1, 0xff},
		{UINT64_MAX, 1, UINT64_MAX},
	};
	struct pair pair = pair_new();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(mmio_read(pair.f, cases[i].gpa, cases[i].bytes) == cases[i].value);
		mmio_write(pair.f, cases[i].gpa, cases[i].bytes, 0);
	}
	assert_int_equal(pair.wide->accesses, 3);
	fixture_free(pair.f);
}

static void a_device_that_cannot_be_added_leaves_nothing_behind(void **state)
{
	struct pair pair = pair_new();

	assert_int_equal(chipset_add(pair.f->chipset, &overlapping_class, NULL, NULL), -EEXIST);
	assert_int_equal(chipset_add(pair.f->chipset, &overlapping_memory_class, NULL, NULL),
			 -EEXIST);
	outb(pair.f, 0x200, 1); /* ASan: nobody is called */
	assert_int_equal(inb(pair.f, 0x200), 0xff);
	assert_int_equal(inb(pair.f, 0x107), 0xd3);
	fixture_free(pair.f);
}

static void too_many_devices_are_refused(void **state)
{
	static const struct device_class bare_class = {.name = "bare",
						       .size = sizeof(struct device)};
	struct fixture *f = fixture_new();
	unsigned int count = 0;

	while (chipset_add(f->chipset, &bare_class, NULL, NULL) == 0)
		count++;
	assert_int_equal(count, 32);
	assert_int_equal(chipset_add(f->chipset, &bare_class, NULL, NULL), -ENOSPC);
	fixture_free(f);
}

static void timers_expire_at_their_time_and_only_once(void **state)
{
	struct pair pair = pair_new();
	struct probe *probe = pair.wide;

	chipset_timer_arm(probe->timer, device_now_ns(&probe->dev) + 1000);
	stepped_advance_ns(999);
	assert_int_equal(probe->expiries, 0);
	stepped_advance_ns(1);
	assert_int_equal(probe->expiries, 1);
	stepped_advance_ns(1000000);
	assert_int_equal(probe->expiries, 1);
	chipset_timer_arm(probe->timer, 0); /* long past */
	stepped_advance_ns(1);
	assert_int_equal(probe->expiries, 2);
	chipset_timer_arm(probe->timer, UINT64_MAX);
	stepped_advance_ns(1000000);
	assert_int_equal(probe->expiries, 2);
	chipset_timer_arm(probe->timer, 0);
	chipset_timer_cancel(probe->timer);
	stepped_advance_ns(1000000);
	assert_int_equal(probe->expiries, 2);
	fixture_free(pair.f);
}

static void a_timer_armed_twice_for_the_same_time_reaches_the_loop_once(void **state)
{
	struct pair pair = pair_new();
	uint64_t deadline_ns = device_now_ns(&pair.wide->dev) + 1000;

	stepped_timer_arms();
	chipset_timer_arm(pair.wide->timer, deadline_ns);
	chipset_timer_arm(pair.wide->timer, deadline_ns);
	assert_int_equal(stepped_timer_arms(), 1);
	fixture_free(pair.f);
}

static void no_time_passes_while_the_clock_stands(void **state)
{
	struct pair pair = pair_new();
	struct probe *probe = pair.wide;
	uint64_t start_ns = device_now_ns(&probe->dev);

	chipset_timer_arm(probe->timer, start_ns + 1000);
	stepped_advance_ns(400);
	chipset_stop_clock(pair.f->chipset);
	chipset_stop_clock(pair.f->chipset);
	stepped_advance_ns(1000000);
	assert_int_equal(device_now_ns(&probe->dev) - start_ns, 400);
	assert_int_equal(probe->expiries, 0);
	chipset_start_clock(pair.f->chipset);
	stepped_advance_ns(599);
	assert_int_equal(probe->expiries, 0);
	stepped_advance_ns(1);
	assert_int_equal(probe->expiries, 1);
	chipset_stop_clock(pair.f->chipset);
	chipset_timer_arm(probe->timer, 0);
	stepped_advance_ns(1000);
	assert_int_equal(probe->expiries, 1);
	chipset_start_clock(pair.f->chipset);
	stepped_advance_ns(1);
	assert_int_equal(probe->expiries, 2);
	fixture_free(pair.f);
}

static void reset_reaches_every_device(void **state)
{
	struct pair pair = pair_new();

	assert_int_equal(pair.wide->resets, 1);
	chipset_reset(pair.f->chipset);
	assert_int_equal(pair.wide->resets, 2);
	fixture_free(pair.f);
}

static void without_interrupt_controllers_interrupts_go_nowhere(void **state)
{
	struct fixture *f = fixture_new();

	chipset_set_irq(f->chipset, 4, true);
	chipset_eoi(f->chipset, 0x30);
	assert_int_equal(chipset_acknowledge_extint(f->chipset), -1);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_are_split_as_their_devices_need),
		cmocka_unit_test(written_bytes_arrive_in_order_without_their_neighbours),
		cmocka_unit_test(memory_outside_or_across_ranges_is_unclaimed),
		cmocka_unit_test(a_device_that_cannot_be_added_leaves_nothing_behind),
		cmocka_unit_test(too_many_devices_are_refused),
		cmocka_unit_test(timers_expire_at_their_time_and_only_once),
		cmocka_unit_test(a_timer_armed_twice_for_the_same_time_reaches_the_loop_once),
		cmocka_unit_test(no_time_passes_while_the_clock_stands),
		cmocka_unit_test(reset_reaches_every_device),
		cmocka_unit_test(without_interrupt_controllers_interrupts_go_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
