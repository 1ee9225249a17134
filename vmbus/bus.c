/*
 * bus.c - the bus as an object: the VPs' doors, the queues of messages both ways
 *
 * A VP's thread copies a message into a ring of bounded size and posts the bus' loop, or writes a
 * channel's eventfd. Relids keep the eventfd they were given until the bus is freed, so a VP that
 * is about to write one can never hit a descriptor that means something else by now.
 *
 * Messages to the guest wait in order for the one slot of their VP. Refused ones, and signals,
 * are tried again when the SynIC says that a slot is free or a VP takes signals. A guest that lets
 * thousands of messages lie is not one any more: its connection ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv_tlfs.h"
#include "log.h"
#include "vmbus_internal.h"

/* --- from the guest --- */

static bool is_message_connection(uint32_t connection_id)
{
	/* The second is also what we grant since 5.0. */
	return connection_id == VMBUS_CONNECTION_MESSAGES ||
	       connection_id == VMBUS_CONNECTION_CONTACT;
}

uint16_t vmbus_post_message(struct vmbus *bus, uint32_t connection_id, const void *payload,
			    uint32_t bytes)
{
	struct in_message *message;
	bool full;

	if (!is_message_connection(connection_id))
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (bytes > VMBUS_MESSAGE_BYTES_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	pthread_mutex_lock(&bus->in_lock);
	full = bus->in_count == VMBUS_IN_MESSAGES;
	if (!full) {
		message = &bus->in[(bus->in_first + bus->in_count++) % VMBUS_IN_MESSAGES];
		*message = (struct in_message){.bytes = bytes, .connection_id = connection_id};
		memcpy(message->payload, payload, bytes);
	}
	pthread_mutex_unlock(&bus->in_lock);
	if (full)
		return HV_STATUS_INSUFFICIENT_BUFFERS;
	loop_post(bus->loop, &bus->in_work);
	return HV_STATUS_SUCCESS;
}

static bool take_message(struct vmbus *bus, struct in_message *ret_message)
{
	bool any;

	pthread_mutex_lock(&bus->in_lock);
	any = bus->in_count;
	if (any) {
		*ret_message = bus->in[bus->in_first];
		bus->in_first = (bus->in_first + 1) % VMBUS_IN_MESSAGES;
		bus->in_count--;
	}
	pthread_mutex_unlock(&bus->in_lock);
	return any;
}

/* A bounded number, so that a guest which posts for ever does not keep the loop to itself. */
static void serve_messages(struct loop_work *work)
{
	struct vmbus *bus = container_of(work, struct vmbus, in_work);
	struct in_message message;

	for (unsigned int i = 0; i < VMBUS_MESSAGES_PER_RUN; i++) {
		if (!take_message(bus, &message))
			return;
		connection_message(bus, &message);
		/* An answer that waits for channels to close belongs before the next message. */
		connection_settle(bus);
	}
	loop_post(bus->loop, work);
}

static void forget_messages(struct vmbus *bus)
{
	pthread_mutex_lock(&bus->in_lock);
	bus->in_count = 0;
	pthread_mutex_unlock(&bus->in_lock);
}

/* One connection for all channels; the interrupt page tells which. */
static uint16_t signal_all(struct vmbus *bus, uint16_t flag)
{
	if (!bus->interrupt_page)
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (flag)
		return HV_STATUS_INVALID_PARAMETER;
	loop_post(bus->loop, &bus->interrupt_work);
	return HV_STATUS_SUCCESS;
}

uint16_t vmbus_signal_event(struct vmbus *bus, uint32_t connection_id, uint16_t flag)
{
	uint32_t relid = connection_id - VMBUS_EVENT_CONNECTIONS;
	uint64_t one = 1;
	int fd;

	if (connection_id == VMBUS_CONNECTION_EVENTS)
		return signal_all(bus, flag);
	if (relid >= VMBUS_RELID_LIMIT)
		return HV_STATUS_INVALID_CONNECTION_ID;
	fd = bus->relids[relid].eventfd;
	if (fd < 0)
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (flag)
		return HV_STATUS_INVALID_PARAMETER;
	if (write(fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: the counter is full, so the channel's loop wakes anyway. */
	}
	return HV_STATUS_SUCCESS;
}

/* --- to the guest --- */

static void drop_first(struct vmbus *bus)
{
	struct out_message *message = bus->out;

	bus->out = message->next;
	if (!bus->out)
		bus->out_end = &bus->out;
	bus->out_count--;
	free(message);
}

void bus_discard_messages(struct vmbus *bus)
{
	while (bus->out)
		drop_first(bus);
}

static void deliver(struct vmbus *bus)
{
	while (bus->out) {
		int r = hv_post_message(bus->hv, bus->target_vp, VMBUS_SINT,
					VMBUS_SYNIC_MESSAGE_TYPE, bus->out->payload,
					bus->out->bytes);

		if (r == -EAGAIN)
			return;
		drop_first(bus);
	}
}

void bus_send(struct vmbus *bus, const void *bytes, uint32_t count)
{
	struct out_message *message = NULL;

	if (bus->state == DISCONNECTING || bus->overflow)
		return;
	if (bus->out_count < VMBUS_OUT_MESSAGES)
		message = malloc(sizeof(*message) + count);
	if (!message) {
		bus->overflow = true;
		bus_post_settle(bus);
		return;
	}
	message->next = NULL;
	message->bytes = count;
	memcpy(message->payload, bytes, count);
	*bus->out_end = message;
	bus->out_end = &message->next;
	bus->out_count++;
	deliver(bus);
}

void vmbus_synic_ready(struct vmbus *bus)
{
	loop_post(bus->loop, &bus->ready_work);
}

static void synic_is_ready(struct loop_work *work)
{
	struct vmbus *bus = container_of(work, struct vmbus, ready_work);

	deliver(bus);
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT && bus->busy; i++) {
		if (bus->relids[i].channel)
			channel_retry_signal(bus->relids[i].channel);
	}
}

/* --- the bus --- */

struct relid *bus_known_relid(struct vmbus *bus, uint32_t id)
{
	struct relid *relid = id < VMBUS_RELID_LIMIT ? &bus->relids[id] : NULL;

	return relid && (relid->revoked || (relid->channel && relid->channel->offered)) ? relid
											: NULL;
}

void bus_post_settle(struct vmbus *bus)
{
	loop_post(bus->loop, &bus->settle_work);
}

static void settle(struct loop_work *work)
{
	connection_settle(container_of(work, struct vmbus, settle_work));
}

int vmbus_new(const struct vmbus_config *config, struct vmbus **ret_bus)
{
	struct vmbus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	bus->in = calloc(VMBUS_IN_MESSAGES, sizeof(*bus->in));
	if (!bus->in) {
		free(bus);
		return -ENOMEM;
	}
	bus->part = config->part;
	bus->loop = config->loop;
	bus->hv = config->hv;
	bus->out_end = &bus->out;
	bus->in_work.run = serve_messages;
	bus->ready_work.run = synic_is_ready;
	bus->settle_work.run = settle;
	bus->interrupt_work.run = interrupt_page_serve;
	bus->gpadl_work.run = gpadl_serve_released;
	for (unsigned int i = 0; i < VMBUS_RELID_LIMIT; i++)
		bus->relids[i].eventfd = -1;
	pthread_mutex_init(&bus->in_lock, NULL);
	pthread_mutex_init(&bus->gpadl_lock, NULL);
	*ret_bus = bus;
	return 0;
}

void vmbus_reset(struct vmbus *bus, void (*done)(void *ctx), void *ctx)
{
	assert(!bus->reset_done);
	bus->reset_done = done;
	bus->reset_ctx = ctx;
	forget_messages(bus);
	connection_reset(bus);
}

void vmbus_free(struct vmbus *bus)
{
	if (!bus)
		return;
	assert(!bus->busy);
	/* A provider may have gone a moment before the bus. */
	while (bus->gone)
		bus->gone->gone_work.run(&bus->gone->gone_work);
	bus_discard_messages(bus);
	gpadl_drop_all(bus);
	for (unsigned int i = 0; i < VMBUS_RELID_LIMIT; i++) {
		if (bus->relids[i].channel)
			channel_free(bus->relids[i].channel);
		if (bus->relids[i].eventfd >= 0)
			close(bus->relids[i].eventfd);
	}
	loop_work_cancel(bus->loop, &bus->in_work);
	loop_work_cancel(bus->loop, &bus->ready_work);
	loop_work_cancel(bus->loop, &bus->settle_work);
	loop_work_cancel(bus->loop, &bus->interrupt_work);
	loop_work_cancel(bus->loop, &bus->gpadl_work);
	pthread_mutex_destroy(&bus->in_lock);
	pthread_mutex_destroy(&bus->gpadl_lock);
	free(bus->in);
	free(bus);
}

static void tell_doorbells(struct vmbus *bus, bool open)
{
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		struct vmbus_channel *channel = bus->relids[i].channel;

		if (channel && channel->state == CHANNEL_OPEN)
			channel_set_doorbell(channel, open);
	}
}

void vmbus_set_doorbell_events(struct vmbus *bus, const struct vmbus_doorbell_events *events)
{
	tell_doorbells(bus, false);
	bus->doorbells = *events;
	tell_doorbells(bus, true);
}

void vmbus_get_status(const struct vmbus *bus, struct vmbus_status *ret_status)
{
	struct vmbus_status status = {.version = bus->state == CONNECTED ? bus->version : 0};

	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		const struct vmbus_channel *channel = bus->relids[i].channel;

		status.offered += channel != NULL;
		status.open += channel && channel->state == CHANNEL_OPEN;
	}
	*ret_status = status;
}
