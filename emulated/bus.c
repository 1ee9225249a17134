/*
 * bus.c - routing of accesses and interrupt lines, the devices' clock and timers
 *
 * A port access finds its device through a table with a byte for each of the 64K ports: an index
 * into claims[], where 0 stands for nobody. Memory ranges are few, so a list is searched.
 *
 * The clock: now = CLOCK_MONOTONIC - epoch_ns while it runs, frozen_ns while it is stopped. A
 * timer is armed on the loop only while the clock runs. The loop's callback runs without the
 * lock, so by the time it has the lock the timer may have been cancelled or moved: the timer's
 * own members, under the lock, decide whether it has really expired.
 *
 * Invariants: 1. port_claim[p] < claim_count. 2. A timer is on the loop if and only if it is
 * armed and the clock runs (an expiry on its way is ignored otherwise).
 */
#include "bus_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t host_utc_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int chipset_new(struct partition *part, struct loop *loop, const struct chipset_events *events,
		struct chipset **ret_chipset)
{
	struct chipset *chipset = calloc(1, sizeof(*chipset));

	if (!chipset)
		return -ENOMEM;
	pthread_mutex_init(&chipset->lock, NULL);
	chipset->part = part;
	chipset->loop = loop;
	chipset->events = *events;
	chipset->utc_ns = host_utc_ns;
	chipset->epoch_ns = monotonic_ns();
	chipset->clock_runs = true;
	chipset->claim_count = 1;
	*ret_chipset = chipset;
	return 0;
}

void chipset_lock(struct chipset *chipset)
{
	pthread_mutex_lock(&chipset->lock);
}

void chipset_unlock(struct chipset *chipset)
{
	pthread_mutex_unlock(&chipset->lock);
}

/* --- devices --- */

static void device_release(struct chipset *chipset, struct device *dev)
{
	struct chipset_timer **link = &chipset->timers;

	if (dev->class->destroy)
		dev->class->destroy(dev);
	while (*link) {
		struct chipset_timer *timer = *link;

		if (timer->dev != dev) {
			link = &timer->next;
			continue;
		}
		*link = timer->next;
		loop_timer_free(timer->loop_timer);
		free(timer);
	}
	free(dev);
}

void chipset_free(struct chipset *chipset)
{
	if (!chipset)
		return;
	while (chipset->device_count)
		device_release(chipset, chipset->devices[--chipset->device_count]);
	pthread_mutex_destroy(&chipset->lock);
	free(chipset);
}

int device_claim_pio(struct device *dev, const struct pio_range *range)
{
	struct chipset *chipset = dev->chipset;

	if (chipset->claim_count == CHIPSET_MAX_CLAIMS)
		return -ENOSPC;
	if ((unsigned int)range->base + range->count > 0x10000)
		return -EINVAL;
	for (unsigned int i = 0; i < range->count; i++) {
		if (chipset->port_claim[range->base + i])
			return -EEXIST;
	}
	chipset->claims[chipset->claim_count] = (struct pio_claim){range, dev};
	memset(&chipset->port_claim[range->base], (int)chipset->claim_count, range->count);
	chipset->claim_count++;
	return 0;
}

static int claim_mmio(struct device *dev, const struct mmio_range *range)
{
	struct chipset *chipset = dev->chipset;

	if (chipset->mmio_count == CHIPSET_MAX_MMIO)
		return -ENOSPC;
	for (size_t i = 0; i < chipset->mmio_count; i++) {
		const struct mmio_range *other = chipset->mmio[i].range;

		if (range->base < other->base + other->bytes &&
		    other->base < range->base + range->bytes)
			return -EEXIST;
	}
	chipset->mmio[chipset->mmio_count++] = (struct mmio_claim){range, dev};
	return 0;
}

static int claim_class_ranges(struct device *dev)
{
	const struct pio_range *pio = dev->class->pio;
	const struct mmio_range *mmio = dev->class->mmio;
	int r = 0;

	for (; r == 0 && pio && pio->count; pio++)
		r = device_claim_pio(dev, pio);
	for (; r == 0 && mmio && mmio->bytes; mmio++)
		r = claim_mmio(dev, mmio);
	return r;
}

/* Undo what a device that could not be added has claimed; claims are made in order. */
static void drop_claims(struct chipset *chipset, const struct device *dev)
{
	while (chipset->claims[chipset->claim_count - 1].dev == dev) {
		const struct pio_range *range = chipset->claims[--chipset->claim_count].range;

		memset(&chipset->port_claim[range->base], 0, range->count);
	}
	while (chipset->mmio_count && chipset->mmio[chipset->mmio_count - 1].dev == dev)
		chipset->mmio_count--;
	while (chipset->controller_count &&
	       chipset->controllers[chipset->controller_count - 1].dev == dev)
		chipset->controller_count--;
}

static int add_locked(struct chipset *chipset, struct device *dev, const void *config)
{
	int r;

	if (chipset->device_count == CHIPSET_MAX_DEVICES)
		return -ENOSPC;
	r = dev->class->create ? dev->class->create(dev, config) : 0;
	if (r == 0)
		r = claim_class_ranges(dev);
	if (r < 0) {
		drop_claims(chipset, dev);
		return r;
	}
	chipset->devices[chipset->device_count++] = dev;
	if (dev->class->reset)
		dev->class->reset(dev);
	return 0;
}

int chipset_add(struct chipset *chipset, const struct device_class *class, const void *config,
		struct device **ret_dev)
{
	struct device *dev = calloc(1, class->size);
	int r;

	if (!dev)
		return -ENOMEM;
	dev->class = class;
	dev->chipset = chipset;
	chipset_lock(chipset);
	r = add_locked(chipset, dev, config);
	chipset_unlock(chipset);
	if (r < 0) {
		device_release(chipset, dev);
		return r;
	}
	if (ret_dev)
		*ret_dev = dev;
	return 0;
}

void chipset_reset_locked(struct chipset *chipset)
{
	for (size_t i = 0; i < chipset->device_count; i++) {
		struct device *dev = chipset->devices[i];

		if (dev->class->reset)
			dev->class->reset(dev);
	}
}

void chipset_reset(struct chipset *chipset)
{
	chipset_lock(chipset);
	chipset_reset_locked(chipset);
	chipset_unlock(chipset);
}

/* --- accesses --- */

static uint32_t ones(unsigned int bytes)
{
	return bytes >= 4 ? UINT32_MAX : (1u << (8 * bytes)) - 1;
}

/* How many of @bytes at @port the claiming device takes at once: 1, 2 or 4. */
static unsigned int piece_bytes(const struct pio_claim *claim, uint16_t port, unsigned int bytes)
{
	unsigned int piece = 4, room, width;

	if (!claim->dev)
		return 1;
	room = (unsigned int)claim->range->base + claim->range->count - port;
	width = claim->range->width ? claim->range->width : 4;
	while (piece > bytes || piece > width || piece > room)
		piece /= 2;
	return piece;
}

static uint32_t pio_read(const struct pio_claim *claim, uint16_t port, unsigned int bytes)
{
	if (!claim->dev || !claim->range->read)
		return ones(bytes);
	return claim->range->read(claim->dev, port - claim->range->base, bytes) & ones(bytes);
}

static void pio_write(const struct pio_claim *claim, uint16_t port, unsigned int bytes,
		      uint32_t value)
{
	if (claim->dev && claim->range->write)
		claim->range->write(claim->dev, port - claim->range->base, bytes,
				    value & ones(bytes));
}

static void pio_locked(struct chipset *chipset, struct vp_exit *exit)
{
	uint32_t answer = 0;
	unsigned int done = 0, piece;

	while (done < exit->pio.bytes) {
		uint16_t port = (uint16_t)(exit->pio.port + done);
		const struct pio_claim *claim = &chipset->claims[chipset->port_claim[port]];

		piece = piece_bytes(claim, port, exit->pio.bytes - done);
		if (exit->pio.write)
			pio_write(claim, port, piece, exit->pio.data >> (8 * done));
		else
			answer |= pio_read(claim, port, piece) << (8 * done);
		done += piece;
	}
	if (!exit->pio.write)
		exit->pio.data = answer;
}

void chipset_pio(struct chipset *chipset, struct vp_exit *exit)
{
	assert(exit->pio.bytes <= 4);
	chipset_lock(chipset);
	pio_locked(chipset, exit);
	chipset_unlock(chipset);
}

static const struct mmio_claim *find_mmio(const struct chipset *chipset, gpa_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < chipset->mmio_count; i++) {
		const struct mmio_range *range = chipset->mmio[i].range;

		if (gpa >= range->base && gpa - range->base < range->bytes &&
		    bytes <= range->bytes - (gpa - range->base))
			return &chipset->mmio[i];
	}
	return NULL;
}

void chipset_mmio(struct chipset *chipset, struct vp_exit *exit)
{
	const struct mmio_claim *claim = find_mmio(chipset, exit->mmio.gpa, exit->mmio.bytes);
	uint64_t offset;

	if (!claim) {
		if (!exit->mmio.write)
			exit->mmio.data = UINT64_MAX;
		return;
	}
	offset = exit->mmio.gpa - claim->range->base;
	chipset_lock(chipset);
	if (exit->mmio.write)
		claim->range->write(claim->dev, offset, exit->mmio.bytes, exit->mmio.data);
	else
		exit->mmio.data = claim->range->read(claim->dev, offset, exit->mmio.bytes);
	chipset_unlock(chipset);
}

/* --- interrupts --- */

int device_be_irq_controller(struct device *dev, const struct irq_controller *controller)
{
	struct chipset *chipset = dev->chipset;

	if (chipset->controller_count == CHIPSET_MAX_CONTROLLERS)
		return -ENOSPC;
	chipset->controllers[chipset->controller_count++] =
		(struct controller_link){controller, dev};
	return 0;
}

static void set_irq_locked(struct chipset *chipset, unsigned int gsi, bool level)
{
	for (size_t i = 0; i < chipset->controller_count; i++) {
		struct controller_link *link = &chipset->controllers[i];

		if (link->controller->set_line)
			link->controller->set_line(link->dev, gsi, level);
	}
}

void device_set_irq(struct device *dev, unsigned int gsi, bool level)
{
	set_irq_locked(dev->chipset, gsi, level);
}

void chipset_set_irq(struct chipset *chipset, unsigned int gsi, bool level)
{
	chipset_lock(chipset);
	set_irq_locked(chipset, gsi, level);
	chipset_unlock(chipset);
}

void chipset_eoi(struct chipset *chipset, uint8_t vector)
{
	chipset_lock(chipset);
	for (size_t i = 0; i < chipset->controller_count; i++) {
		struct controller_link *link = &chipset->controllers[i];

		if (link->controller->eoi)
			link->controller->eoi(link->dev, vector);
	}
	chipset_unlock(chipset);
}

int chipset_acknowledge_extint(struct chipset *chipset)
{
	int vector = -1;

	chipset_lock(chipset);
	for (size_t i = 0; vector < 0 && i < chipset->controller_count; i++) {
		struct controller_link *link = &chipset->controllers[i];

		if (link->controller->acknowledge)
			vector = link->controller->acknowledge(link->dev);
	}
	chipset_unlock(chipset);
	return vector;
}

void device_send_msi(struct device *dev, const struct msi *msi)
{
	/* A message that the engine refuses is lost, as one to an absent APIC is. */
	(void)partition_send_msi(dev->chipset->part, msi);
}

void device_set_extint(struct device *dev, bool asserted)
{
	(void)partition_set_extint(dev->chipset->part, asserted);
}

void device_set_ioapic_routes(struct device *dev, const struct msi *routes, size_t count)
{
	(void)partition_set_ioapic_routes(dev->chipset->part, routes, count);
}

/* --- requests of the guest --- */

void device_request_power_off(struct device *dev)
{
	const struct chipset_events *events = &dev->chipset->events;

	if (events->power_off)
		events->power_off(events->ctx);
}

void device_request_reset(struct device *dev)
{
	const struct chipset_events *events = &dev->chipset->events;

	if (events->reset)
		events->reset(events->ctx);
}

void device_request_debug_exit(struct device *dev, uint32_t value)
{
	const struct chipset_events *events = &dev->chipset->events;

	if (events->debug_exit)
		events->debug_exit(events->ctx, value);
}

/* --- clock and timers --- */

uint64_t chipset_now_ns(const struct chipset *chipset)
{
	return chipset->clock_runs ? monotonic_ns() - chipset->epoch_ns : chipset->frozen_ns;
}

uint64_t device_now_ns(const struct device *dev)
{
	return chipset_now_ns(dev->chipset);
}

uint64_t device_utc_ns(const struct device *dev)
{
	return dev->chipset->utc_ns();
}

void chipset_set_utc_source(struct chipset *chipset, uint64_t (*utc_ns)(void))
{
	chipset->utc_ns = utc_ns;
}

static void timer_put_on_loop(struct chipset_timer *timer)
{
	loop_timer_arm_ns(timer->loop_timer, timer->deadline_ns + timer->dev->chipset->epoch_ns);
}

static void timer_expired(void *ctx)
{
	struct chipset_timer *timer = ctx;
	struct chipset *chipset = timer->dev->chipset;

	chipset_lock(chipset);
	if (timer->armed && chipset->clock_runs) {
		if (chipset_now_ns(chipset) >= timer->deadline_ns) {
			timer->armed = false;
			timer->expired(timer->dev);
		} else {
			timer_put_on_loop(timer);
		}
	}
	chipset_unlock(chipset);
}

int device_timer_new(struct device *dev, void (*expired)(struct device *dev),
		     struct chipset_timer **ret_timer)
{
	struct chipset *chipset = dev->chipset;
	struct chipset_timer *timer = calloc(1, sizeof(*timer));
	int r;

	if (!timer)
		return -ENOMEM;
	timer->dev = dev;
	timer->expired = expired;
	r = loop_timer_new(chipset->loop, timer_expired, timer, &timer->loop_timer);
	if (r < 0) {
		free(timer);
		return r;
	}
	timer->next = chipset->timers;
	chipset->timers = timer;
	*ret_timer = timer;
	return 0;
}

void chipset_timer_arm(struct chipset_timer *timer, uint64_t deadline_ns)
{
	/* Nobody needs one further ahead, and the sum with the epoch cannot overflow. */
	const uint64_t furthest_ns = UINT64_MAX / 4;

	deadline_ns = MIN(deadline_ns, furthest_ns);
	if (timer->armed && timer->deadline_ns == deadline_ns)
		return;
	timer->armed = true;
	timer->deadline_ns = deadline_ns;
	if (timer->dev->chipset->clock_runs)
		timer_put_on_loop(timer);
}

void chipset_timer_cancel(struct chipset_timer *timer)
{
	if (timer->armed && timer->dev->chipset->clock_runs)
		loop_timer_cancel(timer->loop_timer);
	timer->armed = false;
}

bool chipset_timer_is_armed(const struct chipset_timer *timer)
{
	return timer->armed;
}

void chipset_stop_clock_locked(struct chipset *chipset)
{
	if (!chipset->clock_runs)
		return;
	chipset->frozen_ns = chipset_now_ns(chipset);
	chipset->clock_runs = false;
	for (struct chipset_timer *timer = chipset->timers; timer; timer = timer->next) {
		if (timer->armed)
			loop_timer_cancel(timer->loop_timer);
	}
}

void chipset_start_clock_locked(struct chipset *chipset)
{
	if (chipset->clock_runs)
		return;
	chipset->epoch_ns = monotonic_ns() - chipset->frozen_ns;
	chipset->clock_runs = true;
	for (struct chipset_timer *timer = chipset->timers; timer; timer = timer->next) {
		if (timer->armed)
			timer_put_on_loop(timer);
	}
}

void chipset_stop_clock(struct chipset *chipset)
{
	chipset_lock(chipset);
	chipset_stop_clock_locked(chipset);
	chipset_unlock(chipset);
}

void chipset_start_clock(struct chipset *chipset)
{
	chipset_lock(chipset);
	chipset_start_clock_locked(chipset);
	chipset_unlock(chipset);
}
