/*
 * chipset_fuzz.c - a hostile guest against the complete chipset: any sequence of accesses,
 * interrupts, time and restored states must leave the process alive
 *
 * The input is a list of steps: a byte that chooses the step, then the bytes it wants. Ports are
 * mostly chosen from those that are claimed, since random ones would rarely hit.
 */
#include "fixture.h"
#include "fuzz_input.h"

static uint16_t take_port(struct input *input)
{
	static const uint16_t ports[] = {
		0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,	  0x41,	 0x42,	0x43,
		0x61,  0x70,  0x71,  0x71,  0x3f8, 0x3f9, 0x3fa,  0x3fb, 0x3fc, 0x3fd,
		0x3fe, 0x3ff, 0x600, 0x602, 0x604, 0x605, 0x608,  0x60c, 0x60e, 0xcf8,
		0xcf9, 0xcfb, 0xcfc, 0xcff, 0xf4,  0xf7,  0xffff,
	};
	uint8_t choice = (uint8_t)take(input, 1);

	return choice < 0xf0 ? ports[choice % ARRAY_SIZE(ports)] : (uint16_t)take(input, 2);
}

static unsigned int take_width(struct input *input)
{
	return 1u << take(input, 1) % 3;
}

static void step_in(struct fixture *f, struct input *input)
{
	uint16_t port = take_port(input);

	(void)in(f, port, take_width(input));
}

static void step_out(struct fixture *f, struct input *input)
{
	uint16_t port = take_port(input);
	unsigned int width = take_width(input);

	out(f, port, width, (uint32_t)take(input, width));
}

static void step_outb(struct fixture *f, struct input *input)
{
	uint16_t port = take_port(input);

	outb(f, port, (uint32_t)take(input, 1));
}

static gpa_t take_gpa(struct input *input)
{
	static const uint16_t offsets[] = {0, 0x10, 0x40, 0xfff, 0x1000, 0x11};

	return PC_IOAPIC_GPA + offsets[take(input, 1) % ARRAY_SIZE(offsets)];
}

static void step_mmio_read(struct fixture *f, struct input *input)
{
	gpa_t gpa = take_gpa(input);

	(void)mmio_read(f, gpa, 1 + take(input, 1) % 8);
}

static void step_mmio_write(struct fixture *f, struct input *input)
{
	gpa_t gpa = take_gpa(input);
	unsigned int width = 1 + take(input, 1) % 8;

	mmio_write(f, gpa, width, take(input, width));
}

static void step_redirect(struct fixture *f, struct input *input)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, take(input, 1));
	mmio_write(f, PC_IOAPIC_GPA + 0x10, 4, take(input, 4));
}

static void step_irq(struct fixture *f, struct input *input)
{
	unsigned int gsi = (unsigned int)take(input, 1) % 32;

	chipset_set_irq(f->chipset, gsi, take(input, 1) & 1);
}

static void step_acknowledge(struct fixture *f, struct input *input)
{
	(void)chipset_acknowledge_extint(f->chipset);
}

static void step_eoi(struct fixture *f, struct input *input)
{
	chipset_eoi(f->chipset, (uint8_t)take(input, 1));
}

/* Up to 134 ms, or hours on end with the loop asleep. */
static void step_time(struct fixture *f, struct input *input)
{
	uint64_t amount = take(input, 2);

	if (amount & 0x8000)
		stepped_be_late_ns((amount & 0x7fff) << 30);
	stepped_advance_ns((amount & 0x7fff) << 10);
}

static void step_utc(struct fixture *f, struct input *input)
{
	fixture_step_utc_seconds((int32_t)take(input, 4));
}

static void step_receive(struct fixture *f, struct input *input)
{
	uint8_t bytes[32] = {0};

	(void)uart_receive(f->pc.com1, bytes, take(input, 1) % sizeof(bytes));
}

static void step_backend(struct fixture *f, struct input *input)
{
	f->output_count = 0;
	f->output_room = take(input, 1) * 16;
	uart_output_ready(f->pc.com1);
}

static void step_owner(struct fixture *f, struct input *input)
{
	switch (take(input, 1) % 6) {
	case 0: chipset_reset(f->chipset); break;
	case 1: chipset_stop_clock(f->chipset); break;
	case 2: chipset_start_clock(f->chipset); break;
	case 3: pc_press_power_button(&f->pc); break;
	case 4: uart_break(f->pc.com1); break;
	default: fixture_save_and_restore(f); break;
	}
}

/* A saved state in which the input has changed bytes. */
static void step_restore(struct fixture *f, struct input *input)
{
	size_t count, changes = take(input, 1) % 16;
	uint8_t *bytes;

	if (chipset_save(f->chipset, &bytes, &count) < 0)
		abort();
	while (changes--) {
		size_t at = take(input, 2) % count;

		bytes[at] = (uint8_t)take(input, 1);
	}
	(void)chipset_restore(f->chipset, bytes, count);
	free(bytes);
}

static void (*const steps[])(struct fixture *f, struct input *input) = {
	step_in,	  step_out,	   step_outb,	  step_outb,
	step_mmio_read,	  step_mmio_write, step_redirect, step_irq,
	step_acknowledge, step_eoi,	   step_time,	  step_utc,
	step_receive,	  step_backend,	   step_owner,	  step_restore,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct fixture *f = fixture_new_pc();
	struct input input = {bytes, MIN(count, (size_t)4096)};

	while (input.left)
		steps[take(&input, 1) % ARRAY_SIZE(steps)](f, &input);
	fixture_free(f);
	return 0;
}
