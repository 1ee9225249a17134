/*
 * uart_test.c - the 16550A as drivers probe and use it
 */
#include "fixture.h"

#define COM1 PC_PORT_COM1
#define DATA (COM1 + 0)
#define IER  (COM1 + 1)
#define IIR  (COM1 + 2)
#define FCR  (COM1 + 2)
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)
#define MSR  (COM1 + 6)
#define SCR  (COM1 + 7)

static const uint64_t com1_pin = BIT(PC_GSI_COM1);

/* Whether COM1 asks for an interrupt, as the 8259's IRR shows it (all lines masked). */
static bool irq_edge(struct fixture *fixture)
{
	bool pending;

	outb(fixture, 0x20, 0x0a);
	pending = inb(fixture, 0x20) & com1_pin;
	outb(fixture, 0x20, 0x11); /* ICW1 clears edges */
	outb(fixture, 0x21, 0x20);
	outb(fixture, 0x21, 0x04);
	outb(fixture, 0x21, 0x01);
	outb(fixture, 0x21, 0xff);
	return pending;
}

static void linux_autoconfig_finds_a_16550a(void **state)
{
	struct fixture *f = *state;

	outb(f, IER, 0);
	assert_int_equal(inb(f, IER) & 0x0f, 0);
	outb(f, IER, 0x0f);
	assert_int_equal(inb(f, IER), 0x0f);
	outb(f, IER, 0);
	outb(f, MCR, 0x1a);
	assert_int_equal(inb(f, MSR) & 0xf0, 0x90);
	outb(f, MCR, 0);
	outb(f, LCR, 0xbf);
	outb(f, FCR, 0);
	outb(f, LCR, 0);
	outb(f, FCR, 1);
	assert_int_equal(inb(f, IIR) >> 6, 3);
	outb(f, FCR, 0x21); /* not a 16750 */
	assert_int_equal(inb(f, IIR) >> 5, 6);
}

static void registers_keep_what_was_written(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t lcr, written, read;
	} cases[] = {
		{SCR, 0, 0xa5, 0xa5},	 {SCR, 0, 0x5a, 0x5a}, {LCR, 0, 0x1b, 0x1b},
		{IER, 0, 0xff, 0x0f},	 {MCR, 0, 0xff, 0x1f}, {DATA, 0x80, 0x34, 0x34},
		{IER, 0x80, 0x12, 0x12}, {LSR, 0, 0xff, 0x60},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		outb(*state, LCR, cases[i].lcr);
		outb(*state, cases[i].port, cases[i].written);
		assert_int_equal(inb(*state, cases[i].port), cases[i].read);
	}
}

static void a_line_goes_to_the_backend_in_one_write(void **state)
{
	struct fixture *f = *state;

	for (const char *c = "hello, world\n"; *c; c++) {
		assert_int_equal(inb(f, LSR) & 0x60, 0x60);
		outb(f, DATA, (uint8_t)*c);
	}
	assert_int_equal(f->output_writes, 1);
	assert_memory_equal(f->output, "hello, world\n", 13);
}

static void a_prompt_without_a_newline_comes_out_soon(void **state)
{
	struct fixture *f = *state;

	outb(f, DATA, '$');
	outb(f, DATA, ' ');
	assert_int_equal(f->output_count, 0);
	stepped_advance_ns(2000000);
	assert_int_equal(f->output_writes, 1);
	assert_memory_equal(f->output, "$ ", 2);
}

static void a_flood_without_newlines_is_passed_on_in_pieces(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 10000; i++)
		outb(f, DATA, 'x');
	stepped_advance_ns(2000000);
	assert_int_equal(f->output_count, 10000);
	assert_in_range(f->output_writes, 2, 30);
}

static void a_full_backend_holds_the_guest_up_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned int sent = 0;

	f->output_room = 100;
	outb(f, MCR, 0x08);
	outb(f, IER, 0x02);
	(void)inb(f, IIR);
	while (inb(f, LSR) & 0x20) {
		outb(f, DATA, (uint8_t)('a' + sent % 26));
		sent++;
		assert_in_range(sent, 0, 10000);
	}
	assert_int_equal(f->output_count, 100);
	(void)inb(f, IIR);
	irq_edge(f);
	assert_false(irq_edge(f));
	f->output_room = 100000;
	uart_output_ready(f->pc.com1);
	assert_true(irq_edge(f)); /* THR empty again */
	assert_int_equal(f->output_count, sent);
	for (unsigned int i = 0; i < sent; i++)
		assert_int_equal(f->output[i], 'a' + i % 26);
}

static void a_blocked_backend_is_asked_again_by_itself(void **state)
{
	struct fixture *f = *state;

	f->output_room = 0;
	outb(f, DATA, '\n');
	assert_int_equal(f->output_count, 0);
	f->output_room = 10;
	stepped_advance_ns(20000000);
	assert_int_equal(f->output_count, 1);
}

static void the_thr_interrupt_comes_at_once_and_is_cleared_by_reading_iir(void **state)
{
	struct fixture *f = *state;

	outb(f, MCR, 0x08);
	outb(f, IER, 0x02);
	assert_true(irq_edge(f));
	assert_int_equal(inb(f, IIR), 0x02);
	assert_int_equal(inb(f, IIR), 0x01);
	/* Linux's test for a THRE bug: turning the enable off and on raises it again. */
	outb(f, IER, 0x00);
	outb(f, IER, 0x02);
	assert_int_equal(inb(f, IIR), 0x02);
	outb(f, DATA, 'a');
	assert_true(irq_edge(f));
	assert_int_equal(inb(f, IIR), 0x02);
}

static void out2_gates_the_interrupt_line(void **state)
{
	struct fixture *f = *state;

	outb(f, IER, 0x02);
	assert_int_equal(inb(f, IIR), 0x02);
	outb(f, DATA, 'a');
	assert_false(irq_edge(f));
	outb(f, MCR, 0x08);
	assert_true(irq_edge(f));
}

static void input_fills_the_fifo_and_the_rest_waits(void **state)
{
	struct fixture *f = *state;
	const uint8_t text[] = "0123456789abcdefXYZ";

	outb(f, FCR, 0xc1); /* trigger level 14 */
	outb(f, MCR, 0x08);
	outb(f, IER, 0x01);
	assert_int_equal(uart_receive(f->pc.com1, text, 3), 3);
	assert_int_equal(inb(f, IIR), 0xcc); /* fewer than the trigger level: time-out */
	assert_true(irq_edge(f));
	assert_int_equal(uart_receive(f->pc.com1, text + 3, 16), 13);
	assert_int_equal(inb(f, IIR), 0xc4);
	for (unsigned int i = 0; i < 16; i++) {
		assert_int_equal(f->input_rooms, 0);
		assert_int_equal(inb(f, LSR) & 1, 1);
		assert_int_equal(inb(f, DATA), text[i]);
	}
	assert_int_equal(f->input_rooms, 1);
	assert_int_equal(inb(f, LSR), 0x60);
	assert_int_equal(inb(f, IIR), 0xc1);
	assert_int_equal(uart_receive(f->pc.com1, text + 16, 3), 3);
	assert_int_equal(inb(f, DATA), 'X');
}

static void enable_receive_interrupt(struct fixture *f)
{
	outb(f, MCR, 0x08);
	outb(f, IER, 0x01);
}

static void no_input_is_taken_before_the_receive_interrupt_can_arrive(void **state)
{
	static const struct {
		uint8_t mcr, ier;
		bool taken;
	} cases[] = {{0x00, 0x00, false}, {0x08, 0x00, false}, {0x00, 0x0f, false},
		     {0x18, 0x0f, false}, {0x08, 0x0e, false}, {0x08, 0x01, true}};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int rooms = f->input_rooms;

		assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), 0);
		outb(f, IER, 0);
		outb(f, MCR, cases[i].mcr);
		outb(f, IER, cases[i].ier);
		assert_int_equal(f->input_rooms - rooms, cases[i].taken);
		assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), cases[i].taken);
	}
	assert_int_equal(inb(f, DATA), 'x');
}

static void a_guest_that_polls_for_data_gets_it(void **state)
{
	struct fixture *f = *state;
	unsigned int polls = 0;

	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), 0);
	for (; !f->input_rooms && polls < 1000; polls++)
		assert_int_equal(inb(f, LSR), 0x60);
	assert_int_equal(polls, 64);
	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), 1);
	assert_int_equal(inb(f, LSR), 0x61);
	assert_int_equal(inb(f, DATA), 'x');
}

static void a_guest_that_looks_at_lsr_between_outputs_does_not_poll(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), 0);
	for (unsigned int i = 0; i < 1000; i++) {
		(void)inb(f, LSR);
		if (i % 60 == 0)
			outb(f, DATA, 'o');
	}
	f->output_room = 0;
	for (unsigned int i = 0; inb(f, LSR) & 0x20; i++) {
		outb(f, DATA, 'o');
		assert_in_range(i, 0, 10000);
	}
	for (unsigned int i = 0; i < 1000; i++) /* waits for room */
		assert_int_equal(inb(f, LSR), 0);
	assert_int_equal(f->input_rooms, 0);
	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"x", 1), 0);
}

/* The order in which Linux opens a port, with a sender that never pauses. */
static void nothing_sent_before_or_while_linux_opens_the_port_is_lost(void **state)
{
	static const struct {
		uint16_t port;
		int write; /* -1: read */
	} steps[] = {{FCR, 1},	 {FCR, 7},    {FCR, 0},	 {LSR, -1},   {DATA, -1},  {IIR, -1},
		     {MSR, -1},	 {LCR, 3},    {MCR, 8},	 {IER, 2},    {IER, 0},	   {LSR, -1},
		     {DATA, -1}, {IIR, -1},   {MSR, -1}, {IER, 5},    {LCR, 0x93}, {DATA, 1},
		     {IER, 0},	 {LCR, 0x13}, {FCR, 1},	 {FCR, 0x81}, {MCR, 0x0b}};
	const uint8_t text[] = "echo";
	size_t sent = 0;
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].write < 0)
			(void)inb(f, steps[i].port);
		else
			outb(f, steps[i].port, (uint32_t)steps[i].write);
		sent += uart_receive(f->pc.com1, text + sent, 4 - sent);
	}
	assert_int_equal(sent, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(inb(f, DATA), text[i]);
}

static void without_fifos_one_byte_is_taken(void **state)
{
	struct fixture *f = *state;

	enable_receive_interrupt(f);
	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"ab", 2), 1);
	assert_int_equal(inb(f, DATA), 'a');
	assert_int_equal(inb(f, DATA), 0);
	assert_int_equal(f->input_rooms, 1);
}

static void clearing_the_receive_fifo_makes_room(void **state)
{
	struct fixture *f = *state;
	uint8_t text[32] = {0};

	enable_receive_interrupt(f);
	outb(f, FCR, 1);
	assert_int_equal(uart_receive(f->pc.com1, text, 32), 16);
	outb(f, FCR, 3);
	assert_int_equal(f->input_rooms, 1);
	assert_int_equal(inb(f, LSR) & 1, 0);
}

static void loopback_returns_bytes_and_modem_lines(void **state)
{
	static const struct {
		uint8_t mcr, msr;
	} lines[] = {{0x10, 0x00}, {0x11, 0x20}, {0x12, 0x10},
		     {0x14, 0x40}, {0x18, 0x80}, {0x1f, 0xf0}};
	struct fixture *f = *state;

	assert_int_equal(inb(f, MSR), 0xb0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		outb(f, MCR, lines[i].mcr);
		assert_int_equal(inb(f, MSR) & 0xf0, lines[i].msr);
		assert_int_equal(inb(f, MSR) & 0x0f, 0); /* the deltas were read */
	}
	outb(f, FCR, 7);
	outb(f, DATA, 'q');
	assert_int_equal(inb(f, LSR) & 1, 1);
	assert_int_equal(inb(f, DATA), 'q');
	for (unsigned int i = 0; i < 17; i++)
		outb(f, DATA, (uint8_t)i);
	assert_int_equal(inb(f, LSR) & 3, 3); /* overrun */
	assert_int_equal(inb(f, LSR) & 3, 1);
	assert_int_equal(uart_receive(f->pc.com1, (const uint8_t *)"z", 1), 0);
	outb(f, MCR, 0x0b);
	stepped_advance_ns(2000000);
	assert_int_equal(f->output_count, 0);
}

static void a_break_is_a_line_status_interrupt(void **state)
{
	struct fixture *f = *state;

	outb(f, FCR, 1);
	outb(f, MCR, 8);
	outb(f, IER, 5);
	uart_break(f->pc.com1);
	assert_int_equal(inb(f, IIR), 0xc6);
	assert_int_equal(inb(f, LSR) & 0x11, 0x11);
	assert_int_equal(inb(f, LSR) & 0x11, 0x01);
	assert_int_equal(inb(f, DATA), 0);
	assert_int_equal(inb(f, LSR) & 0x11, 0);
}

static void a_wide_access_is_eight_bit_ones(void **state)
{
	struct fixture *f = *state;

	outb(f, SCR, 0x77);
	outb(f, MCR, 0x03);
	assert_int_equal(in(f, MCR, 4), 0x77006003u | 0xb0u << 16);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;

	outb(f, FCR, 1);
	outb(f, MCR, 8);
	outb(f, IER, 1);
	outb(f, LCR, 3);
	outb(f, SCR, 0x42);
	uart_receive(f->pc.com1, (const uint8_t *)"hey", 3);
	fixture_save_and_restore(f);
	assert_int_equal(inb(f, LCR), 3);
	assert_int_equal(inb(f, SCR), 0x42);
	assert_int_equal(inb(f, IIR), 0xc4);
	assert_int_equal(inb(f, DATA), 'h');
	assert_int_equal(inb(f, DATA), 'e');
	assert_int_equal(inb(f, DATA), 'y');
	assert_int_equal(inb(f, LSR), 0x60);
}

#define UART_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UART_TEST(linux_autoconfig_finds_a_16550a),
		UART_TEST(registers_keep_what_was_written),
		UART_TEST(a_line_goes_to_the_backend_in_one_write),
		UART_TEST(a_prompt_without_a_newline_comes_out_soon),
		UART_TEST(a_flood_without_newlines_is_passed_on_in_pieces),
		UART_TEST(a_full_backend_holds_the_guest_up_and_loses_nothing),
		UART_TEST(a_blocked_backend_is_asked_again_by_itself),
		UART_TEST(the_thr_interrupt_comes_at_once_and_is_cleared_by_reading_iir),
		UART_TEST(out2_gates_the_interrupt_line),
		UART_TEST(input_fills_the_fifo_and_the_rest_waits),
		UART_TEST(no_input_is_taken_before_the_receive_interrupt_can_arrive),
		UART_TEST(a_guest_that_polls_for_data_gets_it),
		UART_TEST(a_guest_that_looks_at_lsr_between_outputs_does_not_poll),
		UART_TEST(nothing_sent_before_or_while_linux_opens_the_port_is_lost),
		UART_TEST(without_fifos_one_byte_is_taken),
		UART_TEST(clearing_the_receive_fifo_makes_room),
		UART_TEST(loopback_returns_bytes_and_modem_lines),
		UART_TEST(a_break_is_a_line_status_interrupt),
		UART_TEST(a_wide_access_is_eight_bit_ones),
		UART_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
