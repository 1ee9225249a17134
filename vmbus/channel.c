/*
 * channel.c - channels: offered by a provider, opened and closed by the guest
 *
 * States, kept on the bus' loop; "post" is loop_post() to the loop that the arrow names:
 *
 *   CLOSED --guest opens: map the rings, post--> OPENING (provider's open() on the channel's loop)
 *   OPENING --opened, posted back--> OPEN, or CLOSED when the provider refused
 *   OPEN --anybody wants it closed, post--> CLOSING (provider's close() on the channel's loop)
 *   CLOSING --vmbus_channel_closed(), posted back; no sub-channel left: unmap--> CLOSED
 *
 * Whoever wants an OPENING channel closed sets close_wanted and waits for OPEN. What waits for
 * CLOSED, in this order: answers to GPADL teardowns, vmbus_rescind(), an open that the guest posted
 * meanwhile, the end of the connection (connection.c).
 *
 * Invariants:
 *   1. The rings are mapped from OPENING to CLOSING; no RESCIND, TORNDOWN or UNLOAD_RESPONSE is
 *      sent for what is mapped or used by the provider.
 *   2. No signal is sent before the open's result is queued, none after CLOSING began, and none to
 *      the old VP once channel_set_target_vp() returned: signal_lock is held over the sending.
 *   3. A channel is in bus->relids from its offer until its rescind is done; all walks use that
 *      table, so that any step may remove channels.
 *   4. A channel's works are posted only while it is not CLOSED, but for gone_work, its last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "log.h"
#include "vmbus_internal.h"

static void become_closed(struct vmbus_channel *channel);
static void offer_subchannels(struct vmbus_channel *primary);
static void subchannels_on_bus(struct loop_work *work);

/* --- signals --- */

/* Before 2.4 one flag stands for all channels. Returns as hv_signal_flag(). */
static int set_flag(struct vmbus_channel *channel)
{
	struct vmbus *bus = channel->bus;
	unsigned int flag = channel->relid;

	if (bus->interrupt_page) {
		interrupt_page_set(bus, channel->relid);
		flag = 0;
	}
	return hv_signal_flag(bus->hv, channel->target_vp, VMBUS_SINT, flag);
}

/* Called with signal_lock held. */
static void send_signal(struct vmbus_channel *channel)
{
	channel->signal_latched = false;
	if (channel->target_vp == VMBUS_NO_VP || channel->signals == SIGNALS_OFF)
		return;
	channel->signal_latched = channel->signals == SIGNALS_HELD || set_flag(channel) == -EAGAIN;
}

void channel_signal(struct vmbus_channel *channel)
{
	pthread_mutex_lock(&channel->signal_lock);
	send_signal(channel);
	pthread_mutex_unlock(&channel->signal_lock);
}

void channel_retry_signal(struct vmbus_channel *channel)
{
	pthread_mutex_lock(&channel->signal_lock);
	if (channel->signal_latched)
		send_signal(channel);
	pthread_mutex_unlock(&channel->signal_lock);
}

static void set_signals(struct vmbus_channel *channel, enum channel_signals signals)
{
	pthread_mutex_lock(&channel->signal_lock);
	channel->signals = signals;
	if (signals == SIGNALS_OFF || channel->signal_latched)
		send_signal(channel);
	pthread_mutex_unlock(&channel->signal_lock);
}

/* The new VP is signalled in any case: the old one may not have looked yet. */
void channel_set_target_vp(struct vmbus_channel *channel, uint32_t target_vp)
{
	pthread_mutex_lock(&channel->signal_lock);
	channel->target_vp = target_vp;
	send_signal(channel);
	pthread_mutex_unlock(&channel->signal_lock);
}

/* --- rings --- */

static void detach_rings(struct vmbus_channel *channel)
{
	ring_unmap(&channel->up.ring);
	ring_unmap(&channel->down.ring);
	free(TAKE(channel->packet));
	channel->bus->ring_mappings -= channel->mappings;
	channel->mappings = 0;
}

static int map_rings(struct vmbus_channel *channel, const uint64_t *pfns, uint32_t up_pages,
		     uint32_t down_pages)
{
	struct vmbus *bus = channel->bus;
	unsigned int left = VMBUS_RING_MAPPINGS - bus->ring_mappings;
	int r = ring_map(&channel->up.ring, bus->part, pfns, up_pages, left);

	if (r < 0)
		return r;
	left -= channel->up.ring.mappings;
	r = ring_map(&channel->down.ring, bus->part, pfns + up_pages, down_pages, left);
	if (r < 0)
		return r;
	channel->mappings = channel->up.ring.mappings + channel->down.ring.mappings;
	bus->ring_mappings += channel->mappings;
	channel->packet = malloc(ring_max_packet(&channel->up.ring));
	return channel->packet ? 0 : -ENOMEM;
}

/* Before 2.4 the guest names something else there. */
static uint32_t open_target_vp(const struct vmbus_channel *channel,
			       const struct vmbus_open_channel *message)
{
	return channel->bus->interrupt_page ? 0 : message->target_vp;
}

/* The first pages are the ring from the guest, the others the one to it. */
static int attach_rings(struct vmbus_channel *channel, const struct vmbus_open_channel *message)
{
	uint32_t target_vp = open_target_vp(channel, message);
	const struct vmbus_gpadl *gpadl;
	const uint64_t *pfns;
	uint32_t pages;
	int r;

	if (target_vp >= channel->bus->part->vp_count && target_vp != VMBUS_NO_VP)
		return -EINVAL;
	gpadl = gpadl_find(channel->bus, channel->relid, message->ring_gpadl);
	pfns = gpadl ? gpadl_whole_pages(gpadl, &pages) : NULL;
	if (!pfns || message->downstream_page_offset >= pages)
		return -EINVAL;
	r = map_rings(channel, pfns, message->downstream_page_offset,
		      pages - message->downstream_page_offset);
	if (r < 0)
		detach_rings(channel);
	return r;
}

/* --- opening --- */

static void send_open_result(struct vmbus_channel *channel,
			     const struct vmbus_open_channel *message, uint32_t status)
{
	const struct vmbus_open_result result = {
		.header.type = VMBUS_OPEN_RESULT,
		.relid = message->relid,
		.open_id = message->open_id,
		.status = status,
	};

	bus_send(channel->bus, &result, sizeof(result));
}

static void begin_open(struct vmbus_channel *channel, const struct vmbus_open_channel *message)
{
	int r = attach_rings(channel, message);

	if (r < 0) {
		log_debug("vmbus: %s: the guest's open is refused: error %d", channel->offer.name,
			  -r);
		send_open_result(channel, message, VMBUS_STATUS_FAILED);
		return;
	}
	channel->open_message = *message;
	channel->guest_open = true;
	channel->state = CHANNEL_OPENING;
	channel->bus->busy++;
	pthread_mutex_lock(&channel->signal_lock);
	channel->signals = SIGNALS_HELD;
	channel->target_vp = open_target_vp(channel, message);
	pthread_mutex_unlock(&channel->signal_lock);
	loop_post(channel->offer.loop, &channel->open_work);
}

void channel_guest_opens(struct vmbus_channel *channel, const struct vmbus_open_channel *message)
{
	if (channel->rescinding)
		return; /* The RESCIND to come is the answer. */
	if (channel->guest_open || channel->reopen) {
		send_open_result(channel, message, VMBUS_STATUS_FAILED);
	} else if (channel->state != CHANNEL_CLOSED) {
		channel->reopen = true;
		channel->reopen_message = *message;
	} else {
		begin_open(channel, message);
	}
}

/* On the channel's loop. */
static void open_on_channel(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, open_work);
	const struct vmbus_channel_ops *ops = channel->offer.ops;
	bool opened;

	channel->open_result = channel_start_packets(channel);
	if (!channel->open_result) {
		channel->open_result = ops->open(channel, channel->open_message.user_data);
		if (channel->open_result < 0)
			channel_stop_packets(channel);
	}
	opened = channel->open_result >= 0;
	loop_post(channel->bus->loop, &channel->opened_work);
	/* A signal may have come before the eventfd was watched. */
	if (opened)
		ops->signalled(channel);
}

static void open_failed(struct vmbus_channel *channel)
{
	detach_rings(channel);
	set_signals(channel, SIGNALS_OFF);
	if (channel->guest_open && !channel->rescinding)
		send_open_result(channel, &channel->open_message, VMBUS_STATUS_FAILED);
	channel->guest_open = false;
	channel->broken = false;
	become_closed(channel);
}

void channel_set_doorbell(struct vmbus_channel *channel, bool open)
{
	const struct vmbus_doorbell_events *events = &channel->bus->doorbells;
	void (*told)(void *ctx, uint32_t connection_id, int eventfd) =
		open ? events->opened : events->closed;

	if (channel->doorbell == open || !told)
		return;
	channel->doorbell = open;
	told(events->ctx, VMBUS_EVENT_CONNECTIONS + channel->relid,
	     channel->bus->relids[channel->relid].eventfd);
}

/* --- closing --- */

static void rescind_subchannels(struct vmbus_channel *channel)
{
	struct vmbus *bus = channel->bus;

	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT && channel->subchannels; i++) {
		struct vmbus_channel *subchannel = bus->relids[i].channel;

		if (subchannel && subchannel->primary == channel)
			vmbus_rescind(subchannel, NULL, NULL);
	}
}

static void begin_close(struct vmbus_channel *channel)
{
	channel->state = CHANNEL_CLOSING;
	channel->close_wanted = false;
	channel->provider_closed = false;
	set_signals(channel, SIGNALS_OFF);
	channel_set_doorbell(channel, false);
	rescind_subchannels(channel);
	loop_post(channel->offer.loop, &channel->close_work);
}

static void close_channel(struct vmbus_channel *channel)
{
	if (channel->state == CHANNEL_OPEN)
		begin_close(channel);
	else if (channel->state == CHANNEL_OPENING)
		channel->close_wanted = true;
}

static void opened_on_bus(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, opened_work);

	if (channel->open_result < 0) {
		open_failed(channel);
		return;
	}
	channel->state = CHANNEL_OPEN;
	if (channel->close_wanted) {
		if (channel->broken && channel->guest_open && !channel->rescinding) {
			send_open_result(channel, &channel->open_message, VMBUS_STATUS_FAILED);
			channel->guest_open = channel->broken = false;
		}
		begin_close(channel);
		return;
	}
	channel_set_doorbell(channel, true);
	send_open_result(channel, &channel->open_message, VMBUS_STATUS_SUCCESS);
	set_signals(channel, SIGNALS_ON);
	if (channel->subchannels_held)
		offer_subchannels(channel);
	channel->subchannels_held = false;
}

/* On the channel's loop. */
static void close_on_channel(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, close_work);

	channel_stop_packets(channel);
	channel->offer.ops->close(channel);
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	loop_post(channel->bus->loop, &channel->closed_work);
}

static void finish_close(struct vmbus_channel *channel)
{
	if (channel->state == CHANNEL_CLOSING && channel->provider_closed && !channel->subchannels)
		become_closed(channel);
}

static void closed_on_bus(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, closed_work);

	assert(channel->state == CHANNEL_CLOSING && !channel->provider_closed);
	channel->provider_closed = true;
	channel->context = NULL;
	detach_rings(channel);
	finish_close(channel);
}

void channel_guest_closes(struct vmbus_channel *channel)
{
	channel->guest_open = false;
	channel->broken = false;
	channel->reopen = false;
	close_channel(channel);
}

void channel_break(struct vmbus_channel *channel)
{
	bool open = channel->state == CHANNEL_OPENING || channel->state == CHANNEL_OPEN;

	if (!open || channel->close_wanted)
		return;
	channel->broken = true;
	close_channel(channel);
}

static void broken_on_bus(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, broken_work);

	log_debug("vmbus: %s: the guest broke the ring", channel->offer.name);
	channel_break(channel);
}

/* --- offering --- */

void channel_send_offer(struct vmbus_channel *channel)
{
	const struct vmbus_offer *offer = &channel->offer;
	struct vmbus_offer_channel message = {
		.header.type = VMBUS_OFFER_CHANNEL,
		.flags = offer->flags,
		.mmio_megabytes = offer->mmio_megabytes,
		.subchannel_index = (le16)channel->index,
		.relid = channel->relid,
		.monitor_id = VMBUS_NO_MONITOR,
		.dedicated_interrupt = 1,
		.connection_id = VMBUS_EVENT_CONNECTIONS + channel->relid,
	};

	memcpy(message.class, offer->class.bytes, sizeof(message.class));
	memcpy(message.instance, offer->instance.bytes, sizeof(message.instance));
	memcpy(message.user_data, offer->user_data, sizeof(message.user_data));
	channel->offered = true;
	bus_send(channel->bus, &message, sizeof(message));
}

static bool instance_in_use(const struct vmbus *bus, const struct guid *instance)
{
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		const struct vmbus_channel *channel = bus->relids[i].channel;

		if (channel && guid_equal(&channel->offer.instance, instance))
			return true;
	}
	return false;
}

/* The lowest free relid, with an eventfd. */
static int take_relid(struct vmbus *bus, uint32_t *ret_relid)
{
	uint32_t i = 1;

	while (i < VMBUS_RELID_LIMIT && (bus->relids[i].channel || bus->relids[i].revoked))
		i++;
	if (i == VMBUS_RELID_LIMIT)
		return -ENOSPC;
	if (bus->relids[i].eventfd < 0) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return -errno;
		bus->relids[i].eventfd = fd;
	}
	*ret_relid = i;
	return 0;
}

static void gone_on_bus(struct loop_work *work)
{
	struct vmbus_channel *channel = container_of(work, struct vmbus_channel, gone_work);
	struct vmbus_channel **link = &channel->bus->gone;

	while (*link != channel)
		link = &(*link)->next_gone;
	*link = channel->next_gone;
	if (channel->rescinded)
		channel->rescinded(channel->rescinded_ctx);
	channel_free(channel);
}

static int new_channel(struct vmbus *bus, const struct vmbus_offer *offer,
		       struct vmbus_channel **ret_channel)
{
	struct vmbus_channel *channel = calloc(1, sizeof(*channel));
	int r;

	if (!channel)
		return -ENOMEM;
	r = take_relid(bus, &channel->relid);
	if (r < 0) {
		free(channel);
		return r;
	}
	channel->bus = bus;
	channel->offer = *offer;
	pthread_mutex_init(&channel->signal_lock, NULL);
	channel->open_work.run = open_on_channel;
	channel->close_work.run = close_on_channel;
	channel->opened_work.run = opened_on_bus;
	channel->closed_work.run = closed_on_bus;
	channel->broken_work.run = broken_on_bus;
	channel->subchannels_work.run = subchannels_on_bus;
	channel->gone_work.run = gone_on_bus;
	bus->relids[channel->relid].channel = channel;
	*ret_channel = channel;
	return 0;
}

void channel_free(struct vmbus_channel *channel)
{
	struct loop *loop = channel->bus->loop;

	loop_work_cancel(loop, &channel->opened_work);
	loop_work_cancel(loop, &channel->closed_work);
	loop_work_cancel(loop, &channel->broken_work);
	loop_work_cancel(loop, &channel->subchannels_work);
	loop_work_cancel(loop, &channel->gone_work);
	pthread_mutex_destroy(&channel->signal_lock);
	free(channel);
}

int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
		struct vmbus_channel **ret_channel)
{
	struct vmbus_channel *channel;
	int r;

	if (instance_in_use(bus, &offer->instance))
		return -EEXIST;
	r = new_channel(bus, offer, &channel);
	if (r < 0)
		return r;
	if (bus->state == CONNECTED && bus->offers_sent)
		channel_send_offer(channel);
	*ret_channel = channel;
	return 0;
}

/* --- rescinding --- */

/* The channel is closed and has no sub-channels. */
static void finish_rescind(struct vmbus_channel *channel)
{
	struct vmbus *bus = channel->bus;
	struct vmbus_channel *primary = channel->primary;
	const struct vmbus_relid_message rescind = {
		.header.type = VMBUS_RESCIND_OFFER,
		.relid = channel->relid,
	};

	bus->relids[channel->relid].channel = NULL;
	bus->relids[channel->relid].revoked = channel->offered;
	if (channel->offered)
		bus_send(bus, &rescind, sizeof(rescind));
	else
		gpadl_drop(bus, channel->relid);
	channel->next_gone = bus->gone;
	bus->gone = channel;
	loop_post(bus->loop, &channel->gone_work);
	if (primary) {
		primary->subchannels--;
		finish_close(primary);
	}
}

/* What waited for this: see the top of the file. */
static void serve_closed(struct vmbus_channel *channel)
{
	struct vmbus *bus = channel->bus;

	gpadl_answer_teardowns(bus, channel->relid);
	if (channel->rescinding) {
		finish_rescind(channel);
	} else if (channel->reopen) {
		channel->reopen = false;
		begin_open(channel, &channel->reopen_message);
	}
	bus_post_settle(bus);
}

static void become_closed(struct vmbus_channel *channel)
{
	channel->state = CHANNEL_CLOSED;
	channel->close_wanted = false;
	channel->subchannels_held = false;
	channel->subchannels_wanted = 0;
	channel->bus->busy--;
	serve_closed(channel);
}

void vmbus_rescind(struct vmbus_channel *channel, void (*done)(void *ctx), void *ctx)
{
	if (channel->rescinding)
		return;
	channel->rescinding = true;
	channel->reopen = false;
	channel->rescinded = done;
	channel->rescinded_ctx = ctx;
	if (channel->state == CHANNEL_CLOSED)
		serve_closed(channel);
	else
		close_channel(channel);
}

/* --- sub-channels --- */

int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned int count,
			    struct loop *const *loops)
{
	unsigned int none = 0;

	if (!count || count > VMBUS_MAX_SUBCHANNELS)
		return -EINVAL;
	if (primary->bus->interrupt_page)
		return -ENOTSUP;
	if (!atomic_compare_exchange_strong(&primary->subchannels_wanted, &none, count))
		return -EBUSY;
	for (unsigned int i = 0; i < count; i++)
		primary->subchannel_loops[i] = loops ? loops[i] : primary->offer.loop;
	loop_post(primary->bus->loop, &primary->subchannels_work);
	return 0;
}

static int offer_subchannel(struct vmbus_channel *primary, unsigned int index)
{
	struct vmbus_offer offer = primary->offer;
	struct vmbus_channel *channel;
	int r;

	offer.loop = primary->subchannel_loops[index - 1];
	r = new_channel(primary->bus, &offer, &channel);
	if (r < 0)
		return r;
	channel->index = index;
	channel->primary = primary;
	primary->subchannels++;
	channel_send_offer(channel);
	return 0;
}

static void offer_subchannels(struct vmbus_channel *primary)
{
	unsigned int count = primary->subchannels_wanted;
	int r = 0;

	for (unsigned int i = 1; i <= count && !r; i++)
		r = offer_subchannel(primary, i);
	if (r < 0)
		log_warning("vmbus: %s: only %u of %u sub-channels are offered: error %d",
			    primary->offer.name, primary->subchannels, count, -r);
	if (!primary->subchannels)
		primary->subchannels_wanted = 0;
}

/* The primary may not be quite open yet, or have begun to close. */
static void subchannels_on_bus(struct loop_work *work)
{
	struct vmbus_channel *primary = container_of(work, struct vmbus_channel, subchannels_work);

	if (primary->state == CHANNEL_OPEN)
		offer_subchannels(primary);
	else if (primary->state == CHANNEL_OPENING)
		primary->subchannels_held = true;
	else
		primary->subchannels_wanted = 0;
}

/* --- what providers ask --- */

void *vmbus_channel_provider(const struct vmbus_channel *channel)
{
	return channel->offer.provider;
}

void vmbus_channel_set_context(struct vmbus_channel *channel, void *context)
{
	channel->context = context;
}

void *vmbus_channel_context(const struct vmbus_channel *channel)
{
	return channel->context;
}

unsigned int vmbus_channel_index(const struct vmbus_channel *channel)
{
	return channel->index;
}
