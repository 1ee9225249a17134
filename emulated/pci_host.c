/*
 * pci_host.c - configuration space of bus 0, where only the host bridge at 00:00.0 answers
 *
 * A double word written to 0xcf8 selects a register; 0xcfc..0xcff are its bytes. Narrower accesses
 * to 0xcf8..0xcfb are not configuration accesses; the byte at 0xcf9 among them is the PIIX4's
 * reset control register.
 */
#include "pci_host.h"

#include <errno.h>
#include <string.h>

#include "pc.h"

#define ADDRESS_ENABLE	 BIT(31)
#define ADDRESS_FUNCTION 0x00ffff00u /* bus, device, function */
#define ADDRESS_REGISTER 0x000000fcu
#define ADDRESS_KEPT	 ((uint32_t)ADDRESS_ENABLE | ADDRESS_FUNCTION | ADDRESS_REGISTER)

#define RESET_OFFSET  (PC_PORT_RESET - PC_PORT_PCI_ADDRESS)
#define RESET_TRIGGER 0x04 /* its rise resets */
#define RESET_KEPT    0x0a /* full and system reset select */

struct pci_host {
	struct device dev;
	/* state */
	uint32_t address;
	uint8_t reset_control;
	uint8_t config[256];
};

/* Bytes at power-on, and which of their bits software can change. */
static const struct {
	uint8_t at, value, writable;
} bridge_registers[] = {
	{0x00, 0x86, 0},    {0x01, 0x80, 0}, /* vendor: Intel */
	{0x02, 0x92, 0},    {0x03, 0x71, 0}, /* device: 82443BX without AGP */
	{0x04, 0x06, 0},    {0x05, 0x00, 1}, /* command: memory, master; SERR# enable */
	{0x06, 0x00, 0},    {0x07, 0x02, 0}, /* status: medium DEVSEL */
	{0x08, 0x03, 0},		     /* revision */
	{0x0a, 0x00, 0},    {0x0b, 0x06, 0}, /* class: host bridge */
	{0x0d, 0x00, 0xf8},		     /* latency timer */
	{0x59, 0x00, 0xf0}, {0x5a, 0x00, 0xff}, {0x5b, 0x00, 0xff},
	{0x5c, 0x00, 0xff},					    /* PAM: kept, */
	{0x5d, 0x00, 0xff}, {0x5e, 0x00, 0xff}, {0x5f, 0x00, 0xff}, /* memory is always RAM */
	{0x72, 0x02, 0x78},					    /* SMRAM */
};

static struct pci_host *to_host(struct device *dev)
{
	return (struct pci_host *)dev;
}

static bool selects_bridge(const struct pci_host *host)
{
	return (host->address & ADDRESS_ENABLE) && !(host->address & ADDRESS_FUNCTION);
}

static uint32_t data_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct pci_host *host = to_host(dev);
	unsigned int at = (host->address & ADDRESS_REGISTER) + offset;
	uint32_t value = 0;

	if (!selects_bridge(host))
		return UINT32_MAX;
	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint32_t)host->config[(at + i) & 0xff] << (8 * i);
	return value;
}

static void config_write(struct pci_host *host, uint8_t at, uint8_t value)
{
	for (size_t i = 0; i < ARRAY_SIZE(bridge_registers); i++) {
		uint8_t writable = bridge_registers[i].writable;

		if (bridge_registers[i].at == at)
			host->config[at] = (host->config[at] & ~writable) | (value & writable);
	}
}

static void data_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct pci_host *host = to_host(dev);
	unsigned int at = (host->address & ADDRESS_REGISTER) + offset;

	if (!selects_bridge(host))
		return;
	for (unsigned int i = 0; i < bytes; i++)
		config_write(host, (uint8_t)(at + i), (uint8_t)(value >> (8 * i)));
}

static uint32_t address_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct pci_host *host = to_host(dev);

	if (offset == 0 && bytes == 4)
		return host->address;
	return offset == RESET_OFFSET && bytes == 1 ? host->reset_control : UINT32_MAX;
}

static void write_reset(struct pci_host *host, uint8_t value)
{
	host->reset_control = value & RESET_KEPT;
	if (value & RESET_TRIGGER)
		device_request_reset(&host->dev);
}

static void address_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct pci_host *host = to_host(dev);

	if (offset == 0 && bytes == 4)
		host->address = value & ADDRESS_KEPT;
	else if (offset == RESET_OFFSET && bytes == 1)
		write_reset(host, (uint8_t)value);
}

static void pci_host_reset(struct device *dev)
{
	struct pci_host *host = to_host(dev);

	host->address = 0;
	host->reset_control = 0;
	memset(host->config, 0, sizeof(host->config));
	for (size_t i = 0; i < ARRAY_SIZE(bridge_registers); i++)
		host->config[bridge_registers[i].at] = bridge_registers[i].value;
}

/* Read-only bits must have the values that they have at power-on. */
static int pci_host_rebuild(struct device *dev)
{
	struct pci_host *host = to_host(dev);
	uint8_t fixed[256];

	if ((host->address & ~ADDRESS_KEPT) || (host->reset_control & ~RESET_KEPT))
		return -EINVAL;
	memcpy(fixed, host->config, sizeof(fixed));
	for (size_t i = 0; i < ARRAY_SIZE(bridge_registers); i++) {
		uint8_t at = bridge_registers[i].at;

		if ((fixed[at] ^ bridge_registers[i].value) & ~bridge_registers[i].writable)
			return -EINVAL;
		fixed[at] = 0;
	}
	for (size_t i = 0; i < sizeof(fixed); i++) {
		if (fixed[i])
			return -EINVAL;
	}
	return 0;
}

static const struct pio_range pci_host_pio[] = {
	{.base = PC_PORT_PCI_ADDRESS, .count = 4, .read = address_read, .write = address_write},
	{.base = PC_PORT_PCI_DATA, .count = 4, .read = data_read, .write = data_write},
	{}};

static const struct state_field pci_host_state[] = {STATE_FIELD(1, struct pci_host, address),
						    STATE_FIELD(2, struct pci_host, reset_control),
						    STATE_FIELD(3, struct pci_host, config),
						    {}};

const struct device_class pci_host_class = {
	.name = "pci-host",
	.size = sizeof(struct pci_host),
	.pio = pci_host_pio,
	.state = pci_host_state,
	.reset = pci_host_reset,
	.rebuild = pci_host_rebuild,
};
