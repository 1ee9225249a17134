/*
 * pci_host_test.c - configuration mechanism 1, the reset port, the debug exit port
 */
#include "fixture.h"

#define ADDRESS 0xcf8
#define DATA	0xcfc

static uint32_t config_read(struct fixture *f, uint32_t address, unsigned int offset,
			    unsigned int bytes)
{
	out(f, ADDRESS, 4, 0x80000000u | address);
	return in(f, (uint16_t)(DATA + offset), bytes);
}

static void linux_probes_mechanism_1(void **state)
{
	struct fixture *f = *state;

	outb(f, 0xcfb, 1);
	assert_int_equal(in(f, ADDRESS, 4), 0);
	out(f, ADDRESS, 4, 0x80000000);
	assert_int_equal(in(f, ADDRESS, 4), 0x80000000);
	out(f, ADDRESS, 4, 0xffffffff);
	assert_int_equal(in(f, ADDRESS, 4), 0x80fffffc);
}

static void only_the_host_bridge_answers(void **state)
{
	static const struct {
		uint32_t address;
		uint8_t offset, bytes;
		uint32_t value;
	} cases[] = {
		{0x000000, 0, 4, 0x71928086}, {0x000000, 0, 2, 0x8086},
		{0x000000, 2, 2, 0x7192},     {0x000000, 3, 1, 0x71},
		{0x000008, 0, 4, 0x06000003}, {0x000008, 2, 2, 0x0600},
		{0x00000c, 2, 1, 0x00},	      {0x00003c, 0, 4, 0},
		{0x000100, 0, 4, 0xffffffff}, {0x000800, 0, 4, 0xffffffff},
		{0x00f800, 0, 2, 0xffff},     {0x010000, 0, 4, 0xffffffff},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			config_read(*state, cases[i].address, cases[i].offset, cases[i].bytes),
			cases[i].value);
	out(*state, ADDRESS, 4, 0); /* not enabled */
	assert_int_equal(in(*state, DATA, 4), 0xffffffff);
}

static void writes_change_only_what_is_writable(void **state)
{
	struct fixture *f = *state;

	for (uint32_t at = 0; at < 256; at += 4) {
		out(f, ADDRESS, 4, 0x80000000u | at);
		out(f, DATA, 4, 0xffffffff);
	}
	assert_int_equal(config_read(f, 0, 0, 4), 0x71928086);
	assert_int_equal(config_read(f, 8, 0, 4), 0x06000003);
	assert_int_equal(config_read(f, 0x10, 0, 4), 0); /* no BAR */
	assert_int_equal(config_read(f, 0x58, 0, 4), 0xfffff000);
	config_read(f, 0x5c, 0, 4);
	outb(f, DATA + 1, 0x12);
	assert_int_equal(config_read(f, 0x5c, 0, 4), 0xffff12ff);
	fixture_save_and_restore(f);
	assert_int_equal(config_read(f, 0x5c, 0, 4), 0xffff12ff);
	chipset_reset(f->chipset);
	assert_int_equal(config_read(f, 0x5c, 0, 4), 0);
}

static void the_reset_port_resets_on_its_trigger(void **state)
{
	struct fixture *f = *state;

	outb(f, 0xcf9, 0x02);
	assert_int_equal(inb(f, 0xcf9), 0x02);
	assert_int_equal(f->resets, 0);
	outb(f, 0xcf9, 0x06);
	assert_int_equal(f->resets, 1);
	out(f, ADDRESS, 4, 0x80000600); /* configuration, not reset */
	assert_int_equal(f->resets, 1);
}

static void the_debug_exit_port_reports_the_value(void **state)
{
	struct fixture *f = *state;

	outb(f, 0xf4, 0x10);
	assert_int_equal(f->debug_exit_value, 0x10);
	out(f, 0xf4, 4, 0x12345678);
	assert_int_equal(f->debug_exit_value, 0x12345678);
	assert_int_equal(f->debug_exits, 2);
	assert_int_equal(in(f, 0xf4, 4), 0xffffffff);
}

static void a_debug_exit_port_needs_only_its_own_port_free(void **state)
{
	static const struct {
		uint16_t port;
		int result;
	} cases[] = {{0x3f7, 0}, {0x501, 0}, {0xffff, 0}, {0x3f8, -EEXIST}, {0xcf9, -EEXIST}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture *f = fixture_new();
		const struct pc_config config = {.memory_bytes = 64 * MIB,
						 .has_debug_exit = true,
						 .debug_exit_port = cases[i].port};
		struct pc pc;

		assert_int_equal(pc_new(f->chipset, &config, &pc), cases[i].result);
		outb(f, cases[i].port, 7);
		assert_int_equal(f->debug_exits, cases[i].result == 0);
		fixture_free(f);
	}
}

#define PCI_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PCI_TEST(linux_probes_mechanism_1),
		PCI_TEST(only_the_host_bridge_answers),
		PCI_TEST(writes_change_only_what_is_writable),
		PCI_TEST(the_reset_port_resets_on_its_trigger),
		PCI_TEST(the_debug_exit_port_reports_the_value),
		PCI_TEST(a_debug_exit_port_needs_only_its_own_port_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
