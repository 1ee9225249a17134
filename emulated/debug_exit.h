/*
 * debug_exit.h - a port by which a test kernel ends the run with a status
 */
#ifndef EMULATED_DEBUG_EXIT_H
#define EMULATED_DEBUG_EXIT_H

#include "bus.h"

struct debug_exit_config {
	uint16_t port;
};

extern const struct device_class debug_exit_class; /* config: struct debug_exit_config */

#endif
