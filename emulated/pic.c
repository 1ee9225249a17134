/*
 * pic.c - two 8259As: requests on 15 lines become the INTR level and, on INTA, a vector
 *
 * The slave's INT output is the master's line 2. A request that was latched by an edge stays
 * until it is acknowledged; one on a level-triggered line (ELCR) follows the line, and if it has
 * gone when the slave's part of the INTA cycle comes, the answer is the slave's spurious line 7
 * (IRQ 15). For the master the engine can still drop the request, so it is told that there is none.
 *
 * Initialization: ICW1 -> ICW2 -> ICW3 (unless single) -> ICW4 (if asked for); next_icw says
 * which one the next write to the odd port is, 0: OCW1 (the mask). Power-on leaves everything
 * masked: a real chip requests nothing before it was initialized.
 *
 * Not modelled: the 8080 mode of ICW4 (no PC has it), LTIM of ICW1 (the PIIX4 ignores it too:
 * ELCR takes its place), buffered mode (electrical).
 */
#include "pic.h"

#include <errno.h>

#include "pc.h"

enum { MASTER, SLAVE };
#define CASCADE_LINE  2
#define SPURIOUS_LINE 7

#define ICW1	      0x10 /* A0 = 0: this bit makes it ICW1 */
#define ICW1_NEEDS_4  0x01
#define ICW1_SINGLE   0x02
#define ICW4_AUTO_EOI 0x02
#define ICW4_NESTED   0x10 /* special fully nested mode */
#define OCW3	      0x08 /* A0 = 0, not ICW1: this bit makes it OCW3, else OCW2 */
#define OCW3_READ_ISR 0x01
#define OCW3_READ     0x02
#define OCW3_POLL     0x04
#define OCW3_MASK_ON  0x20
#define OCW3_MASK_SET 0x40

/* The state of one 8259A; bytes only, as it is saved whole. */
struct pic_chip {
	uint8_t lines; /* inputs now */
	uint8_t irr, isr, imr;
	uint8_t vector_base;
	uint8_t lowest; /* the line with the lowest priority; 7 unless rotated */
	uint8_t elcr;	/* lines that are level-triggered */
	uint8_t next_icw;
	uint8_t needs_icw4, single;
	uint8_t auto_eoi, rotate_on_auto_eoi;
	uint8_t nested; /* special fully nested mode */
	uint8_t special_mask;
	uint8_t reads_isr, poll;
};

struct pic {
	struct device dev;
	/* state */
	struct pic_chip chip[2];
	/* rebuilt */
	bool intr;
};

/* Lines that can be level-triggered: not timer, keyboard, cascade; not RTC, coprocessor. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static struct pic *to_pic(struct device *dev)
{
	return (struct pic *)dev;
}

/* Of the lines in @bits the one with the highest priority as a place in the order, 8: none. */
static unsigned int highest(const struct pic_chip *chip, uint8_t bits)
{
	unsigned int place = 0;

	while (place < 8 && !(bits & (1u << ((chip->lowest + 1 + place) & 7))))
		place++;
	return place;
}

static unsigned int line_at(const struct pic_chip *chip, unsigned int place)
{
	return (chip->lowest + 1 + place) & 7;
}

/* The line that the chip requests an interrupt for, or -1. */
static int requested_line(const struct pic *pic, unsigned int which)
{
	const struct pic_chip *chip = &pic->chip[which];
	unsigned int place = highest(chip, chip->irr & ~chip->imr);
	uint8_t in_service = chip->isr;

	if (place == 8)
		return -1;
	if (chip->special_mask)
		in_service &= ~chip->imr;
	/* Specially nested, the slave may interrupt its own service routine. */
	if (chip->nested && which == MASTER)
		in_service &= ~(1u << CASCADE_LINE);
	return place < highest(chip, in_service) ? (int)line_at(chip, place) : -1;
}

static void chip_set_line(struct pic_chip *chip, unsigned int line, bool level)
{
	uint8_t bit = 1u << line;

	if (chip->elcr & bit)
		chip->irr = level ? chip->irr | bit : chip->irr & ~bit;
	else if (level && !(chip->lines & bit))
		chip->irr |= bit;
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
}

static void pic_update(struct pic *pic)
{
	bool intr;

	chip_set_line(&pic->chip[MASTER], CASCADE_LINE, requested_line(pic, SLAVE) >= 0);
	intr = requested_line(pic, MASTER) >= 0;
	if (intr != pic->intr) {
		pic->intr = intr;
		device_set_extint(&pic->dev, intr);
	}
}

static void pic_set_line(struct device *dev, unsigned int gsi, bool level)
{
	struct pic *pic = to_pic(dev);

	if (gsi > 15 || gsi == CASCADE_LINE)
		return;
	chip_set_line(&pic->chip[gsi / 8], gsi % 8, level);
	pic_update(pic);
}

/* One chip's part in an INTA cycle. Returns the line; a request that has gone is spurious. */
static unsigned int chip_acknowledge(struct pic *pic, unsigned int which)
{
	struct pic_chip *chip = &pic->chip[which];
	int requested = requested_line(pic, which);
	uint8_t bit;

	if (requested < 0)
		return SPURIOUS_LINE;
	bit = 1u << requested;
	if (!(chip->elcr & bit))
		chip->irr &= ~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_on_auto_eoi)
		chip->lowest = (uint8_t)requested;
	return (unsigned int)requested;
}

static int pic_acknowledge(struct device *dev)
{
	struct pic *pic = to_pic(dev);
	unsigned int which = MASTER, line;

	if (requested_line(pic, MASTER) < 0)
		return -1; /* withdrawn: the engine had not committed to it */
	line = chip_acknowledge(pic, MASTER);
	if (line == CASCADE_LINE) {
		which = SLAVE;
		line = chip_acknowledge(pic, SLAVE);
		/* INT falls during the cycle, so that what is pending still makes a new edge. */
		chip_set_line(&pic->chip[MASTER], CASCADE_LINE, false);
	}
	pic_update(pic);
	return (pic->chip[which].vector_base & 0xf8) | (int)line;
}

/* --- registers --- */

static void write_icw1(struct pic_chip *chip, uint8_t value)
{
	chip->next_icw = 2;
	chip->needs_icw4 = value & ICW1_NEEDS_4;
	chip->single = (value & ICW1_SINGLE) != 0;
	chip->imr = chip->isr = 0;
	chip->irr = chip->lines & chip->elcr;
	chip->lowest = 7;
	chip->special_mask = chip->reads_isr = chip->poll = 0;
	if (!chip->needs_icw4)
		chip->auto_eoi = chip->nested = 0;
}

/* OCW2: end of interrupt and rotation; the command is in bits 7-5 (R, SL, EOI). */
static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
	bool rotate = value & 0x80, specific = value & 0x40, eoi = value & 0x20;
	unsigned int line = value & 7;

	if (!eoi) {
		if (specific && rotate)
			chip->lowest = (uint8_t)line;
		else if (!specific)
			chip->rotate_on_auto_eoi = rotate;
		return; /* 010: no operation */
	}
	if (!specific) {
		uint8_t in_service = chip->isr;
		unsigned int place;

		if (chip->special_mask)
			in_service &= ~chip->imr;
		place = highest(chip, in_service);
		if (place == 8)
			return;
		line = line_at(chip, place);
	}
	chip->isr &= ~(1u << line);
	if (rotate)
		chip->lowest = (uint8_t)line;
}

static void write_ocw3(struct pic_chip *chip, uint8_t value)
{
	chip->poll = (value & OCW3_POLL) != 0;
	if (value & OCW3_READ)
		chip->reads_isr = value & OCW3_READ_ISR;
	if (value & OCW3_MASK_SET)
		chip->special_mask = (value & OCW3_MASK_ON) != 0;
}

static void write_odd(struct pic_chip *chip, uint8_t value)
{
	switch (chip->next_icw) {
	case 2:
		chip->vector_base = value & 0xf8;
		chip->next_icw = !chip->single ? 3 : chip->needs_icw4 ? 4 : 0;
		break;
	case 3: /* who is cascaded where: wired */ chip->next_icw = chip->needs_icw4 ? 4 : 0; break;
	case 4:
		chip->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
		chip->nested = (value & ICW4_NESTED) != 0;
		chip->next_icw = 0;
		break;
	default: chip->imr = value; break;
	}
}

static void chip_write(struct device *dev, unsigned int which, uint16_t offset, uint8_t value)
{
	struct pic_chip *chip = &to_pic(dev)->chip[which];

	if (offset)
		write_odd(chip, value);
	else if (value & ICW1)
		write_icw1(chip, value);
	else if (value & OCW3)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
	pic_update(to_pic(dev));
}

/* The read after a poll command is an acknowledge: bit 7 and the line, or 0 when none. */
static uint8_t chip_poll(struct pic *pic, unsigned int which)
{
	int requested = requested_line(pic, which);

	pic->chip[which].poll = 0;
	if (requested < 0)
		return 0;
	chip_acknowledge(pic, which);
	if (which == SLAVE)
		chip_set_line(&pic->chip[MASTER], CASCADE_LINE, false);
	pic_update(pic);
	return 0x80 | (uint8_t)requested;
}

static uint8_t chip_read(struct device *dev, unsigned int which, uint16_t offset)
{
	struct pic *pic = to_pic(dev);
	const struct pic_chip *chip = &pic->chip[which];

	if (chip->poll)
		return chip_poll(pic, which);
	if (offset)
		return chip->imr;
	return chip->reads_isr ? chip->isr : chip->irr;
}

static uint32_t master_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	return chip_read(dev, MASTER, offset);
}

static void master_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	chip_write(dev, MASTER, offset, (uint8_t)value);
}

static uint32_t slave_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	return chip_read(dev, SLAVE, offset);
}

static void slave_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	chip_write(dev, SLAVE, offset, (uint8_t)value);
}

static uint32_t elcr_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	return to_pic(dev)->chip[offset].elcr;
}

static void elcr_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct pic_chip *chip = &to_pic(dev)->chip[offset];
	uint8_t changed;

	value &= elcr_mask[offset];
	changed = chip->elcr ^ value;
	chip->elcr = (uint8_t)value;
	/* Lines that became level-triggered request what they carry now. */
	chip->irr = (chip->irr & ~(changed & value)) | (chip->lines & changed & value);
	pic_update(to_pic(dev));
}

/* --- life --- */

static int pic_create(struct device *dev, const void *config)
{
	static const struct irq_controller controller = {.set_line = pic_set_line,
							 .acknowledge = pic_acknowledge};

	return device_be_irq_controller(dev, &controller);
}

static void pic_reset(struct device *dev)
{
	struct pic *pic = to_pic(dev);

	for (unsigned int i = 0; i < 2; i++)
		pic->chip[i] =
			(struct pic_chip){.lines = pic->chip[i].lines, .imr = 0xff, .lowest = 7};
	/* Without this a stale output of the slave would hide its next edge. */
	pic->chip[MASTER].lines &= ~(1u << CASCADE_LINE);
	pic_update(pic);
}

static int pic_rebuild(struct device *dev)
{
	struct pic *pic = to_pic(dev);

	for (unsigned int i = 0; i < 2; i++) {
		const struct pic_chip *chip = &pic->chip[i];

		if (chip->lowest > 7 || chip->elcr & ~elcr_mask[i] || chip->next_icw > 4 ||
		    chip->next_icw == 1 || chip->vector_base & 7)
			return -EINVAL;
	}
	pic->intr = requested_line(pic, MASTER) >= 0;
	device_set_extint(dev, pic->intr);
	return 0;
}

static const struct pio_range pic_pio[] = {
	{.base = PC_PORT_PIC_MASTER,
	 .count = 2,
	 .width = 1,
	 .read = master_read,
	 .write = master_write},
	{.base = PC_PORT_PIC_SLAVE,
	 .count = 2,
	 .width = 1,
	 .read = slave_read,
	 .write = slave_write},
	{.base = PC_PORT_PIC_ELCR, .count = 2, .width = 1, .read = elcr_read, .write = elcr_write},
	{}};

static const struct state_field pic_state[] = {
	STATE_FIELD(1, struct pic, chip[MASTER]), STATE_FIELD(2, struct pic, chip[SLAVE]), {}};

const struct device_class pic_class = {
	.name = "pic",
	.size = sizeof(struct pic),
	.pio = pic_pio,
	.state = pic_state,
	.create = pic_create,
	.reset = pic_reset,
	.rebuild = pic_rebuild,
};
