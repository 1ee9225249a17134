/*
 * bus.h - the chipset: routes ports, memory and interrupt lines to devices, holds their lock,
 * clock and timers, and walks them for reset, save and restore
 *
 * Locking: every function here takes the chipset lock by itself, except those under "for
 * devices", which are called by devices and so with the lock held. It is not recursive: a
 * callback out of the chipset (struct chipset_events, struct uart_backend) runs with
 * the lock held and must not call back into the chipset; it notes what happened and returns.
 * The chipset calls partition_send_msi(), partition_set_extint() and
 * partition_set_ioapic_routes() with its lock held, so an engine must not call
 * acknowledge_extint() with a lock held that one of those three takes.
 */
#ifndef EMULATED_BUS_H
#define EMULATED_BUS_H

#include "device.h"
#include "loop.h"
#include "partition.h"

/* What the guest asked the machine to do. Called with the chipset lock held, on a VP thread. */
struct chipset_events {
	void (*power_off)(void *ctx);
	void (*reset)(void *ctx); /* the caller stops the VPs, then resets or remakes the machine */
	void (*debug_exit)(void *ctx, uint32_t value);
	void *ctx;
};

/*
 * chipset_new() - a chipset without devices, its clock running
 * @part:   borrowed; interrupts go there
 * @loop:   borrowed; timers expire on its thread
 * @events: copied; members may be NULL
 * Returns: 0, -ENOMEM.
 */
int chipset_new(struct partition *part, struct loop *loop, const struct chipset_events *events,
		struct chipset **ret_chipset);
/* On the loop's thread, after all VP threads have ended and the loop has returned. */
void chipset_free(struct chipset *chipset);

/*
 * chipset_add() - create a device of @class, claim its ports and memory, reset it
 * @config: what the class's create() wants; see the device's header
 * @ret_dev: may be NULL; the chipset owns the device
 * Context: the loop's thread, before the first vp_run().
 * Returns: 0; -EEXIST a port or an address is claimed already; -ENOSPC too many devices or
 *          ranges; -ENOMEM; or what create() returned.
 */
int chipset_add(struct chipset *chipset, const struct device_class *class, const void *config,
		struct device **ret_dev);

/*
 * Answer a VP_EXIT_PIO, VP_EXIT_MMIO: perform the access, store what was read in the exit.
 * Accesses that nobody claims read as all ones and write nowhere. VP threads.
 */
void chipset_pio(struct chipset *chipset, struct vp_exit *exit);
void chipset_mmio(struct chipset *chipset, struct vp_exit *exit);

/* A VP_EXIT_EOI: the local APIC ended level-triggered @vector. VP threads. */
void chipset_eoi(struct chipset *chipset, uint8_t vector);

/* partition_config.acknowledge_extint: the vector, or -1. VP threads. */
int chipset_acknowledge_extint(struct chipset *chipset);

/* chipset_set_irq() for callers outside; lines as in device_set_irq(). Any thread. */
void chipset_set_irq(struct chipset *chipset, unsigned int gsi, bool level);

/* Power-on state of every device. Any thread, while no VP runs. */
void chipset_reset(struct chipset *chipset);

/* For sequences over several devices' functions (uart_receive() and such lock by themselves). */
void chipset_lock(struct chipset *chipset);
void chipset_unlock(struct chipset *chipset);

/*
 * The clock of all devices, in nanoseconds since the machine was made; it stands still between
 * chipset_stop_clock() and chipset_start_clock() (VM paused), and no timer expires then.
 */
void chipset_stop_clock(struct chipset *chipset);
void chipset_start_clock(struct chipset *chipset);

/* UTC in ns since 1970 comes from @utc_ns instead of the host's clock; for tests. Before
 * chipset_add(). */
void chipset_set_utc_source(struct chipset *chipset, uint64_t (*utc_ns)(void));

/*
 * chipset_save() - every device's numbered fields and the clock, as a byte stream
 * The caller frees *ret_bytes with free(). Any thread, while no VP runs.
 * Returns: 0, -ENOMEM.
 */
int chipset_save(struct chipset *chipset, uint8_t **ret_bytes, size_t *ret_count);

/*
 * chipset_restore() - put the state of such a stream, which may be anything, into the devices
 * The machine must have the devices that the stream names; devices and fields that the stream
 * does not name take their power-on state. Any thread, while no VP runs.
 * Returns: 0; -EINVAL damaged, impossible, or of another machine; -ENOTSUP a stream or field newer
 *          than this program; -ENOMEM. The machine is then as it was before.
 */
int chipset_restore(struct chipset *chipset, const uint8_t *bytes, size_t count);

/* --- for devices: the lock is held --- */

/*
 * device_set_irq() - drive an interrupt line
 * @gsi: 0..15: the ISA line of that number, which goes to the PIC and the IOAPIC (line 0, the
 *       PIT, to IOAPIC pin 2; line 2 does not exist); 16..23: IOAPIC only.
 */
void device_set_irq(struct device *dev, unsigned int gsi, bool level);

/* Now on the chipset's clock. */
uint64_t device_now_ns(const struct device *dev);
/* Nanoseconds since 1970 UTC. */
uint64_t device_utc_ns(const struct device *dev);

void device_send_msi(struct device *dev, const struct msi *msi);

/* Requests to chipset_events. */
void device_request_power_off(struct device *dev);
void device_request_reset(struct device *dev);
void device_request_debug_exit(struct device *dev, uint32_t value);

/* One-shot timers; created in create(), freed by the chipset with the device. */
struct chipset_timer;
int device_timer_new(struct device *dev, void (*expired)(struct device *dev),
		     struct chipset_timer **ret_timer);
/* @deadline_ns on the chipset's clock; a deadline in the past expires at once, on the loop. */
void chipset_timer_arm(struct chipset_timer *timer, uint64_t deadline_ns);
void chipset_timer_cancel(struct chipset_timer *timer);
bool chipset_timer_is_armed(const struct chipset_timer *timer);

/* Claim ports that only the configuration knows, in create(); @range must live as long as @dev. */
int device_claim_pio(struct device *dev, const struct pio_range *range);

/* An interrupt controller takes part in routing from its create() on. NULL members: not for it. */
struct irq_controller {
	void (*set_line)(struct device *dev, unsigned int gsi, bool level);
	void (*eoi)(struct device *dev, uint8_t vector);
	int (*acknowledge)(struct device *dev); /* the vector, or -1 */
};
int device_be_irq_controller(struct device *dev, const struct irq_controller *controller);

/* Shorthands of devices for the engine. */
void device_set_extint(struct device *dev, bool asserted);
void device_set_ioapic_routes(struct device *dev, const struct msi *routes, size_t count);

#endif
