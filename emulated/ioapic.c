/*
 * ioapic.c - redirection of 24 pins to interrupt messages
 *
 * An edge on an unmasked pin sends its message at once; on a masked pin it is lost, as on the
 * real part. A level-triggered pin sends its message when it is asserted, unmasked and has no
 * remote IRR; the message sets remote IRR, and the EOI of its vector (reported by the engine, or
 * written to the EOI register) clears it, upon which the pin is looked at again.
 *
 * The polarity bit is kept but has no effect: lines carry "asserted", not a voltage. Delivery
 * status always reads idle, since messages leave at once.
 *
 * The engine has to know which vectors are level-triggered, so every change of an entry's message
 * goes to it as a route; masked entries too, for their EOI may still be to come.
 */
#include "ioapic.h"

#include <errno.h>
#include <string.h>

#include "pc.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI	   0x40

#define INDEX_ID	  0x00
#define INDEX_VERSION	  0x01
#define INDEX_ARBITRATION 0x02
#define INDEX_REDIRECTION 0x10

#define IOAPIC_VERSION 0x20

#define ENTRY_VECTOR	  0xffull
#define ENTRY_DELIVERY	  0x700ull
#define ENTRY_LOGICAL	  BIT(11)
#define ENTRY_STATUS	  BIT(12)
#define ENTRY_POLARITY	  BIT(13)
#define ENTRY_REMOTE_IRR  BIT(14)
#define ENTRY_LEVEL	  BIT(15)
#define ENTRY_MASKED	  BIT(16)
#define ENTRY_DESTINATION (0xffull << 56)
#define ENTRY_WRITABLE                                                                             \
	(ENTRY_VECTOR | ENTRY_DELIVERY | ENTRY_LOGICAL | ENTRY_POLARITY | ENTRY_LEVEL |            \
	 ENTRY_MASKED | ENTRY_DESTINATION)

#define MSI_ADDRESS	      0xfee00000u
#define MSI_ADDRESS_LOGICAL   BIT(2)
#define MSI_DESTINATION_SHIFT 12
#define MSI_DATA_ASSERT	      BIT(14)
#define MSI_DATA_LEVEL	      BIT(15)

struct ioapic {
	struct device dev;
	/* state */
	uint64_t entry[IOAPIC_PINS];
	uint32_t lines; /* asserted inputs */
	uint8_t id;
	uint8_t index;
	/* rebuilt: what the engine was told */
	struct msi routes[IOAPIC_PINS];
};

static struct ioapic *to_ioapic(struct device *dev)
{
	return (struct ioapic *)dev;
}

static struct msi entry_message(uint64_t entry)
{
	struct msi msi = {
		.address = MSI_ADDRESS | (entry >> 56) << MSI_DESTINATION_SHIFT,
		.data = (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)),
	};

	if (entry & ENTRY_LOGICAL)
		msi.address |= MSI_ADDRESS_LOGICAL;
	if (entry & ENTRY_LEVEL)
		msi.data |= MSI_DATA_LEVEL | MSI_DATA_ASSERT;
	return msi;
}

static void tell_routes(struct ioapic *ioapic)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->routes[pin] = entry_message(ioapic->entry[pin]);
	device_set_ioapic_routes(&ioapic->dev, ioapic->routes, IOAPIC_PINS);
}

static void send_message(struct ioapic *ioapic, unsigned int pin)
{
	struct msi msi = entry_message(ioapic->entry[pin]);

	device_send_msi(&ioapic->dev, &msi);
}

/* A level-triggered pin: send if it is due. */
static void serve_level(struct ioapic *ioapic, unsigned int pin)
{
	uint64_t *entry = &ioapic->entry[pin];

	if ((*entry & (ENTRY_LEVEL | ENTRY_MASKED | ENTRY_REMOTE_IRR)) != ENTRY_LEVEL ||
	    !(ioapic->lines & BIT(pin)))
		return;
	*entry |= ENTRY_REMOTE_IRR;
	send_message(ioapic, pin);
}

static void ioapic_set_line(struct device *dev, unsigned int gsi, bool level)
{
	struct ioapic *ioapic = to_ioapic(dev);
	unsigned int pin = gsi == PC_GSI_PIT ? PC_PIT_IOAPIC_PIN : gsi;
	bool rose;

	if (gsi >= IOAPIC_PINS || gsi == PC_PIT_IOAPIC_PIN)
		return;
	rose = level && !(ioapic->lines & BIT(pin));
	if (level)
		ioapic->lines |= (uint32_t)BIT(pin);
	else
		ioapic->lines &= ~(uint32_t)BIT(pin);
	if (ioapic->entry[pin] & ENTRY_LEVEL)
		serve_level(ioapic, pin);
	else if (rose && !(ioapic->entry[pin] & ENTRY_MASKED))
		send_message(ioapic, pin);
}

static void ioapic_eoi(struct device *dev, uint8_t vector)
{
	struct ioapic *ioapic = to_ioapic(dev);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &ioapic->entry[pin];

		if (!(*entry & ENTRY_REMOTE_IRR) || (*entry & ENTRY_VECTOR) != vector)
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		serve_level(ioapic, pin);
	}
}

/* --- registers --- */

static uint32_t read_window(const struct ioapic *ioapic)
{
	unsigned int index = ioapic->index, pin = (index - INDEX_REDIRECTION) / 2;

	switch (index) {
	case INDEX_ID:
	case INDEX_ARBITRATION: return (uint32_t)ioapic->id << 24;
	case INDEX_VERSION: return (IOAPIC_PINS - 1) << 16 | IOAPIC_VERSION;
	default: break;
	}
	if (index < INDEX_REDIRECTION || pin >= IOAPIC_PINS)
		return UINT32_MAX;
	return (uint32_t)(index & 1 ? ioapic->entry[pin] >> 32 : ioapic->entry[pin]);
}

static void write_entry(struct ioapic *ioapic, unsigned int pin, bool high, uint32_t value)
{
	uint64_t *entry = &ioapic->entry[pin], written;
	struct msi route;

	written = high ? (*entry & UINT32_MAX) | (uint64_t)value << 32
		       : (*entry & ~(uint64_t)UINT32_MAX) | value;
	*entry = (*entry & ~ENTRY_WRITABLE) | (written & ENTRY_WRITABLE);
	/* Software uses this to get rid of a remote IRR that no EOI will clear. */
	if (!(*entry & ENTRY_LEVEL))
		*entry &= ~ENTRY_REMOTE_IRR;
	route = entry_message(*entry);
	if (memcmp(&route.address, &ioapic->routes[pin].address, sizeof(route.address)) ||
	    route.data != ioapic->routes[pin].data)
		tell_routes(ioapic);
	serve_level(ioapic, pin);
}

static void write_window(struct ioapic *ioapic, uint32_t value)
{
	unsigned int index = ioapic->index, pin = (index - INDEX_REDIRECTION) / 2;

	if (index == INDEX_ID)
		ioapic->id = (uint8_t)(value >> 24);
	else if (index >= INDEX_REDIRECTION && pin < IOAPIC_PINS)
		write_entry(ioapic, pin, index & 1, value);
}

static uint64_t ioapic_read(struct device *dev, uint64_t offset, unsigned int bytes)
{
	struct ioapic *ioapic = to_ioapic(dev);

	switch (offset) {
	case REG_SELECT: return ioapic->index;
	case REG_WINDOW: return read_window(ioapic);
	case REG_EOI: return 0;
	default: return UINT64_MAX;
	}
}

static void ioapic_write(struct device *dev, uint64_t offset, unsigned int bytes, uint64_t value)
{
	struct ioapic *ioapic = to_ioapic(dev);

	if (offset == REG_SELECT)
		ioapic->index = (uint8_t)value;
	else if (offset == REG_WINDOW && bytes >= 4)
		write_window(ioapic, (uint32_t)value);
	else if (offset == REG_EOI)
		ioapic_eoi(dev, (uint8_t)value);
}

/* --- life --- */

static int ioapic_create(struct device *dev, const void *config)
{
	static const struct irq_controller controller = {.set_line = ioapic_set_line,
							 .eoi = ioapic_eoi};

	return device_be_irq_controller(dev, &controller);
}

static void ioapic_reset(struct device *dev)
{
	struct ioapic *ioapic = to_ioapic(dev);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->entry[pin] = ENTRY_MASKED;
	ioapic->id = PC_IOAPIC_ID;
	ioapic->index = 0;
	tell_routes(ioapic);
}

static int ioapic_rebuild(struct device *dev)
{
	struct ioapic *ioapic = to_ioapic(dev);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic->entry[pin];

		if (entry & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR))
			return -EINVAL;
		if ((entry & ENTRY_REMOTE_IRR) && !(entry & ENTRY_LEVEL))
			return -EINVAL;
	}
	if (ioapic->lines >> IOAPIC_PINS)
		return -EINVAL;
	tell_routes(ioapic);
	return 0;
}

static const struct mmio_range ioapic_mmio[] = {{.base = PC_IOAPIC_GPA,
						 .bytes = PC_IOAPIC_BYTES,
						 .read = ioapic_read,
						 .write = ioapic_write},
						{}};

static const struct state_field ioapic_state[] = {STATE_FIELD(1, struct ioapic, entry),
						  STATE_FIELD(2, struct ioapic, lines),
						  STATE_FIELD(3, struct ioapic, id),
						  STATE_FIELD(4, struct ioapic, index),
						  {}};

const struct device_class ioapic_class = {
	.name = "ioapic",
	.size = sizeof(struct ioapic),
	.mmio = ioapic_mmio,
	.state = ioapic_state,
	.create = ioapic_create,
	.reset = ioapic_reset,
	.rebuild = ioapic_rebuild,
};
