/*
 * pit.c - the 8254: three counters, computed from the clock when they are looked at
 *
 * A counter that counts was started at start_ns; how many input clocks have passed since then
 * gives its value and its output. Nothing ticks, so channel 2 and port 0x61, by which guests
 * calibrate their TSC, are as precise as the clock however busy the host is. With the gate low
 * (channel 2 only; the others' gates are wired high) a counter of modes 0 and 4 holds at
 * held_ticks; in modes 2 and 3 it stops and starts over when the gate rises; in modes 1 and 5 the
 * gate's rise is the trigger.
 *
 * Counter states: stopped (control word written, no count yet) -> counting (whole count written;
 * modes 1 and 5: triggered) <-> held (gate low).
 *
 * Channel 0's output is interrupt line 0. A timer on the loop makes its rising edges. An edge
 * that comes late does not move the later ones: the backlog is made up for, at up to four times
 * the rate, as long as it is under BACKLOG_NS; what is older is lost, as ticks during a long SMI
 * are on real machines. Edges closer than MIN_EDGE_NS are thinned out for the host's sake.
 */
#include "pit.h"

#include <errno.h>

#include "pc.h"

#define NS_PER_SECOND 1000000000u
#define BACKLOG_NS    50000000u
#define MIN_EDGE_NS   100000u
#define REFRESH_NS    15085u /* half a period of the refresh toggle: every 18 clocks */

enum counter_state { STOPPED, COUNTING, HELD };
enum access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

/* Saved whole: fixed-width members without holes. */
struct counter {
	uint64_t start_ns;   /* COUNTING: when the value was the count */
	uint64_t held_ticks; /* HELD: clocks counted so far */
	uint64_t edges;	     /* rising edges made of channel 0 since start_ns */
	uint32_t count;	     /* 1..65536 input clocks */
	uint8_t state;
	uint8_t mode; /* 0..5 */
	uint8_t access;
	uint8_t bcd;
	uint8_t gate;
	uint8_t write_high;  /* the next write is the high byte */
	uint8_t read_high;   /* the next read is the high byte */
	uint8_t written_low; /* low byte, waiting for the high one */
	uint8_t latches;     /* bytes of a latched count still to be read */
	uint8_t status_latched, status;
	uint8_t null_count; /* a count was written but is not in the counter yet */
	uint16_t latch;
	uint8_t zero[6];
};

struct pit {
	struct device dev;
	/* services */
	struct chipset_timer *edge_timer;
	/* state */
	struct counter counter[3];
	uint8_t speaker; /* port 0x61 bits 0-3 as written */
};

static struct pit *to_pit(struct device *dev)
{
	return (struct pit *)dev;
}

/* --- arithmetic --- */

static uint64_t ticks_of(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_SECOND);
}

/* The first nanosecond at which @ticks clocks are over. */
static uint64_t ns_of(uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * NS_PER_SECOND + PIT_HZ - 1) / PIT_HZ);
}

static uint32_t from_bcd(uint16_t value)
{
	return (value >> 12) * 1000u + (value >> 8 & 15) * 100u + (value >> 4 & 15) * 10u +
	       (value & 15);
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
			  value % 10);
}

static uint32_t modulus(const struct counter *counter)
{
	return counter->bcd ? 10000 : 65536;
}

static bool is_periodic(const struct counter *counter)
{
	return counter->mode == 2 || counter->mode == 3;
}

static bool is_triggered(const struct counter *counter)
{
	return counter->mode == 1 || counter->mode == 5;
}

/* --- what a counter shows --- */

static uint64_t elapsed_ticks(const struct pit *pit, const struct counter *counter)
{
	uint64_t now_ns;

	if (counter->state == HELD)
		return counter->held_ticks;
	if (counter->state == STOPPED)
		return 0;
	now_ns = device_now_ns(&pit->dev);
	return now_ns > counter->start_ns ? ticks_of(now_ns - counter->start_ns) : 0;
}

static uint16_t counter_value(const struct pit *pit, const struct counter *counter)
{
	uint64_t ticks = elapsed_ticks(pit, counter);
	uint32_t value;

	switch (counter->mode) {
	case 2: value = counter->count - (uint32_t)(ticks % counter->count); break;
	case 3: /* counts by two, twice a period */
		value = counter->count - (uint32_t)(ticks * 2 % counter->count);
		value &= ~1u;
		break;
	default: {
		uint32_t below = (uint32_t)(ticks % modulus(counter));

		value = counter->count % modulus(counter) + modulus(counter) - below;
		break;
	}
	}
	value %= modulus(counter);
	return counter->bcd ? to_bcd(value) : (uint16_t)value;
}

static bool counter_output(const struct pit *pit, const struct counter *counter)
{
	uint64_t ticks = elapsed_ticks(pit, counter);

	if (counter->state == STOPPED)
		return counter->mode != 0;
	switch (counter->mode) {
	case 0:
	case 1: return ticks >= counter->count;
	case 2: return counter->state == HELD || ticks % counter->count != counter->count - 1;
	case 3: return counter->state == HELD || ticks % counter->count < (counter->count + 1) / 2;
	default: return ticks != counter->count; /* low for one clock */
	}
}

/* --- channel 0's edges --- */

/* When the next rising edge is due, in clocks since start; UINT64_MAX: never. */
static uint64_t next_edge_ticks(const struct counter *counter)
{
	if (counter->state != COUNTING)
		return UINT64_MAX;
	if (is_periodic(counter))
		return (counter->edges + 1) * counter->count;
	if (counter->edges)
		return UINT64_MAX;
	return counter->count + (counter->mode >= 4); /* modes 4, 5: the end of the low clock */
}

static void schedule_edge(struct pit *pit)
{
	const struct counter *counter = &pit->counter[0];
	uint64_t ticks = next_edge_ticks(counter), now_ns = device_now_ns(&pit->dev), due_ns;

	if (ticks == UINT64_MAX) {
		chipset_timer_cancel(pit->edge_timer);
		return;
	}
	due_ns = counter->start_ns + ns_of(ticks);
	if (due_ns < now_ns)
		due_ns = now_ns + ns_of(counter->count) / 4;
	chipset_timer_arm(pit->edge_timer, MAX(due_ns, now_ns + MIN_EDGE_NS));
}

/* Count the edge that was just made, and those that are too old to be made up for. */
static void count_edge(struct pit *pit)
{
	struct counter *counter = &pit->counter[0];
	uint64_t due, oldest;

	counter->edges++;
	if (!is_periodic(counter))
		return;
	due = elapsed_ticks(pit, counter) / counter->count;
	oldest = MAX(ticks_of(BACKLOG_NS) / counter->count, 1);
	if (ns_of(counter->count) < MIN_EDGE_NS)
		oldest = 0; /* it could never catch up */
	if (due > oldest && counter->edges < due - oldest)
		counter->edges = due - oldest;
}

static void edge_due(struct device *dev)
{
	struct pit *pit = to_pit(dev);

	device_set_irq(dev, PC_GSI_PIT, false);
	device_set_irq(dev, PC_GSI_PIT, true);
	count_edge(pit);
	schedule_edge(pit);
}

/* After anything that changed channel 0's output other than by counting. */
static void update_line(struct pit *pit)
{
	device_set_irq(&pit->dev, PC_GSI_PIT, counter_output(pit, &pit->counter[0]));
	schedule_edge(pit);
}

/* --- counting --- */

static void start_counter(struct pit *pit, struct counter *counter)
{
	counter->start_ns = device_now_ns(&pit->dev);
	counter->held_ticks = 0;
	counter->edges = 0;
	counter->null_count = 0;
	counter->state = counter->gate || is_triggered(counter) ? COUNTING : HELD;
}

static void load_count(struct pit *pit, struct counter *counter, uint16_t written)
{
	counter->count = counter->bcd ? from_bcd(written) : written;
	if (counter->count == 0)
		counter->count = modulus(counter);
	if (is_periodic(counter) && counter->count == 1)
		counter->count = 2; /* not allowed by the data sheet; the nearest that is */
	if (is_triggered(counter))
		counter->null_count = 1; /* until the gate rises */
	else
		start_counter(pit, counter);
	if (counter == &pit->counter[0])
		update_line(pit);
}

static void set_gate(struct pit *pit, struct counter *counter, bool gate)
{
	bool rose = gate && !counter->gate, fell = !gate && counter->gate;

	if (fell && counter->state == COUNTING && !is_triggered(counter)) {
		counter->held_ticks = is_periodic(counter) ? 0 : elapsed_ticks(pit, counter);
		counter->state = HELD;
	}
	counter->gate = gate;
	if (!rose)
		return;
	if (is_triggered(counter)) {
		if (counter->count) /* one was written since power-on */
			start_counter(pit, counter);
	} else if (counter->state == HELD) {
		counter->start_ns = device_now_ns(&pit->dev);
		counter->start_ns -= MIN(ns_of(counter->held_ticks), counter->start_ns);
		counter->state = COUNTING;
	}
}

/* --- the control word --- */

static void latch_count(struct pit *pit, struct counter *counter)
{
	if (counter->latches)
		return; /* the first latch holds until it is read */
	counter->latch = counter_value(pit, counter);
	counter->latches = counter->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit *pit, struct counter *counter)
{
	if (counter->status_latched)
		return;
	counter->status = (uint8_t)(counter_output(pit, counter) << 7 | counter->null_count << 6 |
				    counter->access << 4 | counter->mode << 1 | counter->bcd);
	counter->status_latched = 1;
}

/* Read-back: latch the count and status of several counters; the bits that ask are low. */
static void read_back(struct pit *pit, uint8_t value)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (!(value & (2u << i)))
			continue;
		if (!(value & 0x20))
			latch_count(pit, &pit->counter[i]);
		if (!(value & 0x10))
			latch_status(pit, &pit->counter[i]);
	}
}

static void set_mode(struct pit *pit, struct counter *counter, uint8_t value)
{
	counter->access = value >> 4 & 3;
	counter->mode = value >> 1 & 7;
	if (counter->mode > 5)
		counter->mode -= 4; /* 6 and 7 are 2 and 3 */
	counter->bcd = value & 1;
	counter->state = STOPPED;
	counter->edges = 0;
	counter->write_high = counter->read_high = counter->access == ACCESS_HIGH;
	counter->latches = counter->status_latched = 0;
	counter->null_count = 1;
	if (counter == &pit->counter[0])
		update_line(pit);
}

static void control_write(struct pit *pit, uint8_t value)
{
	unsigned int which = value >> 6;

	if (which == 3)
		read_back(pit, value);
	else if ((value >> 4 & 3) == ACCESS_LATCH)
		latch_count(pit, &pit->counter[which]);
	else
		set_mode(pit, &pit->counter[which], value);
}

/* --- ports --- */

static void counter_write(struct pit *pit, struct counter *counter, uint8_t value)
{
	if (counter->access == ACCESS_LOW) {
		load_count(pit, counter, value);
	} else if (counter->access == ACCESS_HIGH) {
		load_count(pit, counter, (uint16_t)(value << 8));
	} else if (counter->write_high) {
		counter->write_high = 0;
		load_count(pit, counter, (uint16_t)(value << 8 | counter->written_low));
	} else {
		counter->write_high = 1;
		counter->written_low = value;
		if (counter->mode == 0) { /* the first byte stops it */
			counter->state = STOPPED;
			counter->edges = 0;
			if (counter == &pit->counter[0])
				update_line(pit);
		}
	}
}

static uint8_t counter_read(struct pit *pit, struct counter *counter)
{
	uint16_t value;
	bool high = counter->read_high;

	if (counter->status_latched) {
		counter->status_latched = 0;
		return counter->status;
	}
	value = counter->latches ? counter->latch : counter_value(pit, counter);
	if (counter->latches)
		counter->latches--;
	if (counter->access == ACCESS_BOTH)
		counter->read_high = !counter->read_high;
	return (uint8_t)(high ? value >> 8 : value);
}

static uint32_t pit_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct pit *pit = to_pit(dev);

	return offset < 3 ? counter_read(pit, &pit->counter[offset]) : 0xff;
}

static void pit_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct pit *pit = to_pit(dev);

	if (offset < 3)
		counter_write(pit, &pit->counter[offset], (uint8_t)value);
	else
		control_write(pit, (uint8_t)value);
}

static uint32_t system_b_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct pit *pit = to_pit(dev);
	uint32_t value = pit->speaker;

	if (device_now_ns(dev) / REFRESH_NS & 1)
		value |= 0x10;
	if (counter_output(pit, &pit->counter[2]))
		value |= 0x20;
	return value;
}

static void system_b_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct pit *pit = to_pit(dev);

	pit->speaker = value & 0x0f;
	set_gate(pit, &pit->counter[2], value & 1);
}

/* --- life --- */

static int pit_create(struct device *dev, const void *config)
{
	return device_timer_new(dev, edge_due, &to_pit(dev)->edge_timer);
}

static void pit_reset(struct device *dev)
{
	struct pit *pit = to_pit(dev);

	for (unsigned int i = 0; i < 3; i++)
		pit->counter[i] =
			(struct counter){.access = ACCESS_BOTH, .gate = i != 2, .count = 65536};
	pit->speaker = 0;
	update_line(pit);
}

static bool counter_is_possible(const struct pit *pit, const struct counter *counter)
{
	uint64_t ticks = elapsed_ticks(pit, counter);

	return counter->state <= HELD && counter->mode <= 5 && counter->access &&
	       counter->access <= ACCESS_BOTH && counter->bcd <= 1 && counter->gate <= 1 &&
	       counter->count > is_periodic(counter) && counter->count <= 65536 &&
	       counter->write_high <= 1 && counter->read_high <= 1 && counter->latches <= 2 &&
	       counter->status_latched <= 1 && counter->null_count <= 1 &&
	       counter->start_ns <= device_now_ns(&pit->dev) &&
	       counter->held_ticks <= UINT32_MAX * 1000000ull &&
	       counter->edges <= ticks / counter->count + 1;
}

static int pit_rebuild(struct device *dev)
{
	struct pit *pit = to_pit(dev);

	for (unsigned int i = 0; i < 3; i++) {
		if (!counter_is_possible(pit, &pit->counter[i]))
			return -EINVAL;
	}
	if (pit->speaker > 0x0f)
		return -EINVAL;
	schedule_edge(pit);
	return 0;
}

static const struct pio_range pit_pio[] = {
	{.base = PC_PORT_PIT, .count = 4, .width = 1, .read = pit_read, .write = pit_write},
	{.base = PC_PORT_SYSTEM_B, .count = 1, .read = system_b_read, .write = system_b_write},
	{}};

static const struct state_field pit_state[] = {STATE_FIELD(1, struct pit, counter[0]),
					       STATE_FIELD(2, struct pit, counter[1]),
					       STATE_FIELD(3, struct pit, counter[2]),
					       STATE_FIELD(4, struct pit, speaker),
					       {}};

const struct device_class pit_class = {
	.name = "pit",
	.size = sizeof(struct pit),
	.pio = pit_pio,
	.state = pit_state,
	.create = pit_create,
	.reset = pit_reset,
	.rebuild = pit_rebuild,
};
