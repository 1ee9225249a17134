/*
 * device.h - what every emulated device is: a table of ports, memory, lifecycle and state
 *
 * A device is a `const struct device_class` and one allocated struct whose first member is
 * `struct device`. Its members stand in four groups: configuration, borrowed services, the state
 * of the modelled device, and bookkeeping that can be rebuilt. Only the third is saved.
 *
 * Locking: one chipset lock per VM (bus.h) is held around every call into a device: port and
 * memory handlers on VP threads, timers and input on the loop's thread. A device takes no other.
 */
#ifndef EMULATED_DEVICE_H
#define EMULATED_DEVICE_H

#include "base.h"

struct device;
struct chipset; /* bus.h: routes accesses to devices, holds the lock, owns lines and timers */

struct pio_range {
	uint16_t base, count;
	/* The widest access the device takes, 1, 2 or 4; wider ones are split. 0: 4. */
	uint16_t width;
	/* @offset from base; @bytes 1, 2 or 4. Unanswered reads are all ones. */
	uint32_t (*read)(struct device *dev, uint16_t offset, unsigned int bytes);
	void (*write)(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value);
};

struct mmio_range {
	gpa_t base;
	uint64_t bytes;
	uint64_t (*read)(struct device *dev, uint64_t offset, unsigned int bytes);
	void (*write)(struct device *dev, uint64_t offset, unsigned int bytes, uint64_t value);
};

/* One field of the saved state; a number is never reused within a class. Ends with bytes == 0. */
struct state_field {
	uint16_t number;
	uint32_t offset, bytes;
};
#define STATE_FIELD(number_, type_, member_)                                                       \
	{                                                                                          \
		.number = (number_), .offset = offsetof(type_, member_),                           \
		.bytes = sizeof(((type_ *)0)->member_)                                             \
	}

struct device_class {
	const char *name;
	size_t size;		       /* of the device's whole struct */
	const struct pio_range *pio;   /* ends with count == 0; NULL for none */
	const struct mmio_range *mmio; /* ends with bytes == 0; NULL for none */
	const struct state_field *state;
	int (*create)(struct device *dev, const void *config); /* 0 or -errno */
	void (*reset)(struct device *dev);		       /* power-on state */
	int (*rebuild)(struct device *dev); /* after restore; -EINVAL: state impossible */
	void (*destroy)(struct device *dev);
};

struct device {
	const struct device_class *class;
	struct chipset *chipset;
};

#endif
