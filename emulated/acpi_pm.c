/*
 * acpi_pm.c - soft-off, the power button's SCI and the 3.579545 MHz timer
 *
 * The 32-bit PM timer is computed from the clock. Its status bit is set whenever its top bit
 * changes, every ten minutes; like the RTC's flags it is worked out when somebody looks
 * (timer_half counts the half-turns seen), and a timer is armed only for an enabled, clear bit.
 *
 * Registers are made of bytes, so that accesses of any width and offset do what they should.
 */
#include "acpi_pm.h"

#include <errno.h>

#include "pc.h"

#define PM_TIMER_HZ   3579545u
#define NS_PER_SECOND 1000000000u
#define HALF_TURN     BIT(31)

/* Offsets of single bytes from PC_PORT_PM */
enum {
	PM_STATUS = PC_PM_EVENT - PC_PORT_PM,
	PM_ENABLE = PM_STATUS + 2,
	PM_CONTROL = PC_PM_CONTROL - PC_PORT_PM,
	PM_TIMER = PC_PM_TIMER - PC_PORT_PM,
	PM_GPE0 = PC_PM_GPE0 - PC_PORT_PM,
	PM_GPE0_ENABLE = PM_GPE0 + PC_PM_GPE0_BYTES / 2
};

#define EVENT_TIMER	   0x0001
#define EVENT_GLOBAL	   0x0020
#define EVENT_POWER_BUTTON 0x0100
#define EVENT_SLEEP_BUTTON 0x0200
#define EVENT_RTC	   0x0400
#define STATUS_WAKE	   0x8000
#define EVENTS		   (EVENT_TIMER | EVENT_GLOBAL | EVENT_POWER_BUTTON | EVENT_SLEEP_BUTTON | EVENT_RTC)

#define CONTROL_SCI_ENABLE 0x0001
#define CONTROL_SLEEP_TYPE 0x1c00
#define CONTROL_SLEEP	   0x2000
#define CONTROL_KEPT	   (0x0002 | CONTROL_SLEEP_TYPE) /* bus master reload */

struct acpi_pm {
	struct device dev;
	/* services */
	struct chipset_timer *timer;
	/* state */
	uint16_t status, enable, control;
	uint16_t gpe_status, gpe_enable;
	uint64_t timer_half;
};

static struct acpi_pm *to_pm(struct device *dev)
{
	return (struct acpi_pm *)dev;
}

static uint64_t pm_ticks(const struct acpi_pm *pm)
{
	return (uint64_t)((unsigned __int128)device_now_ns(&pm->dev) * PM_TIMER_HZ / NS_PER_SECOND);
}

static void update_sci(struct acpi_pm *pm)
{
	device_set_irq(&pm->dev, PC_GSI_SCI,
		       (pm->status & pm->enable & EVENTS) || (pm->gpe_status & pm->gpe_enable));
}

static void schedule(struct acpi_pm *pm)
{
	unsigned __int128 due;

	if (!(pm->enable & ~pm->status & EVENT_TIMER)) {
		chipset_timer_cancel(pm->timer);
		return;
	}
	due = (unsigned __int128)(pm->timer_half + 1) * HALF_TURN;
	chipset_timer_arm(pm->timer, (uint64_t)(due * NS_PER_SECOND / PM_TIMER_HZ) + 1);
}

static void catch_up(struct acpi_pm *pm)
{
	uint64_t half = pm_ticks(pm) / HALF_TURN;

	if (half == pm->timer_half)
		return;
	pm->timer_half = half;
	pm->status |= EVENT_TIMER;
	update_sci(pm);
}

static void turn_due(struct device *dev)
{
	catch_up(to_pm(dev));
	schedule(to_pm(dev));
}

/* --- registers --- */

static uint8_t byte_of(uint16_t value, uint16_t offset)
{
	return (uint8_t)(value >> (offset & 1) * 8);
}

static uint8_t read_byte(struct acpi_pm *pm, uint16_t offset, uint32_t ticks)
{
	switch (offset & ~1u) {
	case PM_STATUS: return byte_of(pm->status, offset);
	case PM_ENABLE: return byte_of(pm->enable, offset);
	case PM_CONTROL: return byte_of(pm->control, offset);
	case PM_TIMER:
	case PM_TIMER + 2: return (uint8_t)(ticks >> (offset - PM_TIMER) * 8);
	case PM_GPE0: return byte_of(pm->gpe_status, offset);
	case PM_GPE0_ENABLE: return byte_of(pm->gpe_enable, offset);
	default: return 0;
	}
}

static uint32_t pm_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct acpi_pm *pm = to_pm(dev);
	uint32_t ticks = (uint32_t)pm_ticks(pm), value = 0;

	if (offset == PM_TIMER && bytes == 4)
		return ticks;
	catch_up(pm);
	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint32_t)read_byte(pm, (uint16_t)(offset + i), ticks) << (8 * i);
	return value;
}

/* The byte of @value at @offset becomes @byte, within @mask. */
static void put_byte(uint16_t *value, uint16_t offset, uint8_t byte, uint16_t mask)
{
	unsigned int shift = (offset & 1) * 8;

	mask &= 0xffu << shift;
	*value = (uint16_t)((*value & ~mask) | (byte << shift & mask));
}

static void clear_bits(uint16_t *value, uint16_t offset, uint8_t byte)
{
	*value &= (uint16_t) ~(byte << (offset & 1) * 8);
}

static void write_control(struct acpi_pm *pm, uint16_t offset, uint8_t byte)
{
	put_byte(&pm->control, offset, byte, CONTROL_KEPT);
	if (!(offset & 1) || !(byte & CONTROL_SLEEP >> 8))
		return;
	if ((pm->control & CONTROL_SLEEP_TYPE) >> 10 == PC_SLEEP_TYPE_S5)
		device_request_power_off(&pm->dev);
	else
		pm->status |= STATUS_WAKE; /* no such state: awake again at once */
}

static void write_byte(struct acpi_pm *pm, uint16_t offset, uint8_t byte)
{
	switch (offset & ~1u) {
	case PM_STATUS: clear_bits(&pm->status, offset, byte); break;
	case PM_ENABLE: put_byte(&pm->enable, offset, byte, EVENTS); break;
	case PM_CONTROL: write_control(pm, offset, byte); break;
	case PM_GPE0: clear_bits(&pm->gpe_status, offset, byte); break;
	case PM_GPE0_ENABLE: put_byte(&pm->gpe_enable, offset, byte, 0xffff); break;
	default: break; /* the timer cannot be written */
	}
}

static void pm_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct acpi_pm *pm = to_pm(dev);

	catch_up(pm);
	for (unsigned int i = 0; i < bytes; i++)
		write_byte(pm, (uint16_t)(offset + i), (uint8_t)(value >> (8 * i)));
	update_sci(pm);
	schedule(pm);
}

void acpi_pm_press_button(struct device *dev)
{
	struct acpi_pm *pm = to_pm(dev);

	chipset_lock(dev->chipset);
	pm->status |= EVENT_POWER_BUTTON;
	update_sci(pm);
	chipset_unlock(dev->chipset);
}

/* --- life --- */

static int pm_create(struct device *dev, const void *config)
{
	return device_timer_new(dev, turn_due, &to_pm(dev)->timer);
}

static void pm_reset(struct device *dev)
{
	struct acpi_pm *pm = to_pm(dev);

	pm->status = pm->enable = pm->gpe_status = pm->gpe_enable = 0;
	pm->control = CONTROL_SCI_ENABLE;
	pm->timer_half = pm_ticks(pm) / HALF_TURN;
	update_sci(pm);
	schedule(pm);
}

static int pm_rebuild(struct device *dev)
{
	struct acpi_pm *pm = to_pm(dev);

	if ((pm->enable & ~EVENTS) || (pm->status & ~(EVENTS | STATUS_WAKE)) ||
	    (pm->control & ~CONTROL_KEPT) != CONTROL_SCI_ENABLE ||
	    pm->timer_half > pm_ticks(pm) / HALF_TURN)
		return -EINVAL;
	update_sci(pm);
	schedule(pm);
	return 0;
}

static const struct pio_range pm_pio[] = {
	{.base = PC_PORT_PM, .count = PC_PM_BYTES, .read = pm_read, .write = pm_write}, {}};

static const struct state_field pm_state[] = {STATE_FIELD(1, struct acpi_pm, status),
					      STATE_FIELD(2, struct acpi_pm, enable),
					      STATE_FIELD(3, struct acpi_pm, control),
					      STATE_FIELD(4, struct acpi_pm, gpe_status),
					      STATE_FIELD(5, struct acpi_pm, gpe_enable),
					      STATE_FIELD(6, struct acpi_pm, timer_half),
					      {}};

const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.size = sizeof(struct acpi_pm),
	.pio = pm_pio,
	.state = pm_state,
	.create = pm_create,
	.reset = pm_reset,
	.rebuild = pm_rebuild,
};
