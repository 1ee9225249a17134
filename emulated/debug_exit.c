/*
 * debug_exit.c - every write to the port becomes a chipset_events.debug_exit; four ports are
 * claimed where they are free, so that wide writes come as one value
 */
#include "debug_exit.h"

#include <errno.h>

struct debug_exit {
	struct device dev;
	/* configuration */
	struct pio_range pio;
};

static void debug_exit_write(struct device *dev, uint16_t offset, unsigned int bytes,
			     uint32_t value)
{
	if (offset == 0)
		device_request_debug_exit(dev, value);
}

static int debug_exit_create(struct device *dev, const void *config)
{
	const struct debug_exit_config *debug_config = config;
	struct debug_exit *debug_exit = (struct debug_exit *)dev;
	int r = -EEXIST;

	debug_exit->pio = (struct pio_range){
		.base = debug_config->port, .count = 4, .write = debug_exit_write};
	while (r < 0 && debug_exit->pio.count) {
		r = device_claim_pio(dev, &debug_exit->pio);
		if (r < 0)
			debug_exit->pio.count /= 2;
	}
	return r;
}

const struct device_class debug_exit_class = {
	.name = "debug-exit",
	.size = sizeof(struct debug_exit),
	.create = debug_exit_create,
};
