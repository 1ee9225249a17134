/*
 * saved_state_test.c - the chipset's stream: golden sample, round trip, hostile streams
 *
 * testdata/pc-1.saved is what version 1 of the stream looks like for the machine that
 * guest_runs() leaves behind. It must stay readable for ever; when a field is added, write a new
 * sample beside it (run with --write FILE) and keep this one as a test of reading old streams.
 */
#include "fixture.h"

#include <stdio.h>

static const char *golden_path;

/* Something unusual in every device. */
static void guest_runs(struct fixture *f)
{
	static const struct {
		uint16_t port;
		uint8_t value;
	} writes[] = {
		/* PIC */
		{0x20, 0x11},
		{0x21, 0x30},
		{0x21, 0x04},
		{0x21, 0x01},
		{0x21, 0xaa},
		{0xa0, 0x11},
		{0xa1, 0x38},
		{0xa1, 0x02},
		{0xa1, 0x03},
		{0xa1, 0x55},
		{0x4d1, 0x0e},
		/* PIT */
		{0x43, 0x34},
		{0x40, 0xa9},
		{0x40, 0x12},
		{0x61, 0x01},
		{0x43, 0xb0},
		{0x42, 0xff},
		{0x42, 0x7f},
		{0x43, 0x80},
		/* RTC */
		{0x70, 0x0b},
		{0x71, 0x52},
		{0x70, 0x40},
		{0x71, 0x99},
		{0x70, 0x09},
		{0x71, 0x42},
		/* UART */
		{0x3fa, 0x81},
		{0x3fb, 0x03},
		{0x3fc, 0x0b},
		{0x3f9, 0x05},
		{0x3ff, 0x77},
		/* PM, PCI */
		{0x603, 0x01},
		{0x60e, 0x81},
		{0xcf9, 0x02},
	};

	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		outb(f, writes[i].port, writes[i].value);
	out(f, 0xcf8, 4, 0x8000005c);
	out(f, 0xcfc, 4, 0x33333333);
	for (unsigned int i = 0; i < 48; i++) {
		mmio_write(f, PC_IOAPIC_GPA, 4, 0x10 + i);
		mmio_write(f, PC_IOAPIC_GPA + 0x10, 4,
			   i & 1 ? i << 24 : (i & 8) << 12 | (0x30 + i));
	}
	uart_receive(f->pc.com1, (const uint8_t *)"input", 5);
	pc_press_power_button(&f->pc);
	stepped_advance_ns(12345678);
}

static size_t save(struct fixture *f, uint8_t **ret_bytes)
{
	size_t count;

	assert_int_equal(chipset_save(f->chipset, ret_bytes, &count), 0);
	return count;
}

static size_t read_golden(uint8_t bytes[8192])
{
	FILE *file = fopen(golden_path, "rb");
	size_t count;

	assert_non_null(file);
	count = fread(bytes, 1, 8192, file);
	fclose(file);
	return count;
}

static void saving_gives_the_golden_sample(void **state)
{
	uint8_t golden[8192], *bytes;
	size_t count, golden_count = read_golden(golden);

	guest_runs(*state);
	count = save(*state, &bytes);
	assert_int_equal(count, golden_count);
	assert_memory_equal(bytes, golden, count);
	free(bytes);
}

static void the_golden_sample_restores_to_the_same_machine(void **state)
{
	uint8_t golden[8192], *bytes;
	size_t golden_count = read_golden(golden);

	stepped_advance_ns(987654321);
	chipset_stop_clock(((struct fixture *)*state)->chipset);
	/* The RTC counts on with the host; let the host's clock be what it was. */
	fixture_set_utc_ns((uint64_t)FIXTURE_UTC_SECONDS * 1000000000u + 12345678);
	assert_int_equal(chipset_restore(((struct fixture *)*state)->chipset, golden, golden_count),
			 0);
	assert_int_equal(save(*state, &bytes), golden_count);
	assert_memory_equal(bytes, golden, golden_count);
	assert_int_equal(inb(*state, 0x3ff), 0x77);
	assert_int_equal(inb(*state, 0x3f8), 'i');
	free(bytes);
}

static void time_goes_on_from_where_it_was_saved(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes;
	size_t count;
	uint32_t timer;

	stepped_advance_ns(5000000);
	count = save(f, &bytes);
	timer = in(f, PC_PM_TIMER, 4);
	stepped_advance_ns(7000000000);
	assert_int_equal(chipset_restore(f->chipset, bytes, count), 0);
	assert_int_equal(in(f, PC_PM_TIMER, 4), timer);
	stepped_advance_ns(1000000);
	assert_in_range(in(f, PC_PM_TIMER, 4) - timer, 3579, 3580);
	free(bytes);
}

/* A machine that differs from the sample's in a way that reset would not leave. */
static void change_something(struct fixture *f)
{
	outb(f, 0x3ff, 0x11);
	out(f, 0xcf8, 4, 0x80000010);
	outb(f, 0x70, 0x40);
	outb(f, 0x71, 0x66);
}

static void assert_nothing_restored(struct fixture *f)
{
	assert_int_equal(inb(f, 0x3ff), 0x11);
	assert_int_equal(in(f, 0xcf8, 4), 0x80000010);
	assert_int_equal(inb(f, 0x71), 0x66);
	assert_int_equal(inb(f, 0x21), 0xff);
}

static void every_truncation_is_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t golden[8192];
	size_t count = read_golden(golden);

	for (size_t cut = 0; cut < count; cut++) {
		uint8_t *exact = malloc(cut + !cut); /* ASan sees a read past it */

		memcpy(exact, golden, cut);
		change_something(f);
		assert_int_equal(chipset_restore(f->chipset, exact, cut), -EINVAL);
		assert_nothing_restored(f);
		free(exact);
	}
	assert_int_equal(chipset_restore(f->chipset, golden, count + 1), -EINVAL);
	assert_int_equal(chipset_restore(f->chipset, golden, count), 0);
}

/* Offsets: header 24 (version 8, sections 12, clock 16); section: name, instance 16, bytes 20. */
static void damaged_structure_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int result;
	} cases[] = {
		{0, 'm', -EINVAL},     {8, 2, -ENOTSUP},       {12, 6, -EINVAL},
		{12, 8, -EINVAL},      {15, 0x80, -EINVAL},    {23, 0x7f, -EINVAL},
		{24, 'q', -EINVAL},    {24 + 4, 'x', -EINVAL}, {24 + 16, 1, -EINVAL},
		{24 + 20, 1, -EINVAL}, {24 + 23, 1, -EINVAL},  {48, 9, -ENOTSUP},
		{48, 2, -EINVAL},      {50, 1, -EINVAL},       {52, 15, -EINVAL},
	};
	uint8_t golden[8192];
	size_t count = read_golden(golden);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t damaged[8192];

		memcpy(damaged, golden, count);
		damaged[cases[i].at] = cases[i].value;
		change_something(*state);
		assert_int_equal(
			chipset_restore(((struct fixture *)*state)->chipset, damaged, count),
			cases[i].result);
		assert_nothing_restored(*state);
	}
}

static void any_changed_byte_is_refused_or_harmless(void **state)
{
	static const uint8_t changes[] = {0x01, 0x80, 0xff};
	struct fixture *f = *state;
	uint8_t golden[8192];
	size_t count = read_golden(golden);

	for (size_t i = 0; i < count * ARRAY_SIZE(changes); i++) {
		uint8_t *damaged = malloc(count);

		memcpy(damaged, golden, count);
		damaged[i / ARRAY_SIZE(changes)] ^= changes[i % ARRAY_SIZE(changes)];
		if (chipset_restore(f->chipset, damaged, count) == 0) {
			stepped_advance_ns(3000000); /* UBSan, ASan watch */
			for (uint16_t port = 0x40; port < 0x62; port++)
				(void)inb(f, port);
			for (uint16_t port = 0x3f8; port < 0x400; port++)
				(void)inb(f, port);
		}
		free(damaged);
	}
}

static int write_sample(const char *path)
{
	struct fixture *f = fixture_new_pc();
	FILE *file = fopen(path, "wb");
	uint8_t *bytes;
	size_t count;

	guest_runs(f);
	if (!file || chipset_save(f->chipset, &bytes, &count) < 0 ||
	    fwrite(bytes, count, 1, file) != 1)
		return 1;
	free(bytes);
	fixture_free(f);
	return fclose(file);
}

#define SAVED_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		SAVED_TEST(saving_gives_the_golden_sample),
		SAVED_TEST(the_golden_sample_restores_to_the_same_machine),
		SAVED_TEST(time_goes_on_from_where_it_was_saved),
		SAVED_TEST(every_truncation_is_refused),
		SAVED_TEST(damaged_structure_is_refused),
		SAVED_TEST(any_changed_byte_is_refused_or_harmless),
	};

	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_sample(argv[2]);
	if (argc != 2)
		return 2;
	golden_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
