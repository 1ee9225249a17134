/*
 * bus_internal.h - struct chipset, for bus.c and saved_state.c only
 */
#ifndef EMULATED_BUS_INTERNAL_H
#define EMULATED_BUS_INTERNAL_H

#include <pthread.h>

#include "bus.h"

#define CHIPSET_MAX_DEVICES	32
#define CHIPSET_MAX_CLAIMS	64 /* at most 256: an index is a byte */
#define CHIPSET_MAX_MMIO	8
#define CHIPSET_MAX_CONTROLLERS 4

struct chipset_timer {
	struct chipset_timer *next;
	struct device *dev;
	void (*expired)(struct device *dev);
	struct loop_timer *loop_timer;
	bool armed;
	uint64_t deadline_ns; /* on the chipset's clock */
};

struct chipset {
	struct partition *part;
	struct loop *loop;
	struct chipset_events events;
	uint64_t (*utc_ns)(void);

	pthread_mutex_t lock;
	struct device *devices[CHIPSET_MAX_DEVICES];
	size_t device_count;

	struct pio_claim {
		const struct pio_range *range;
		struct device *dev;
	} claims[CHIPSET_MAX_CLAIMS]; /* [0] stands for nobody */
	size_t claim_count;
	struct mmio_claim {
		const struct mmio_range *range;
		struct device *dev;
	} mmio[CHIPSET_MAX_MMIO]; /* does not change while VPs run */
	size_t mmio_count;
	struct controller_link {
		const struct irq_controller *controller;
		struct device *dev;
	} controllers[CHIPSET_MAX_CONTROLLERS];
	size_t controller_count;

	struct chipset_timer *timers;
	bool clock_runs;
	uint64_t epoch_ns;  /* clock_runs: CLOCK_MONOTONIC at 0 of the chipset's clock */
	uint64_t frozen_ns; /* !clock_runs */

	uint8_t port_claim[0x10000];
};

uint64_t chipset_now_ns(const struct chipset *chipset);
void chipset_reset_locked(struct chipset *chipset);
void chipset_stop_clock_locked(struct chipset *chipset);
void chipset_start_clock_locked(struct chipset *chipset);

#endif
