/*
 * channel.c - channels: requests from the ring, completions into it
 *
 * A turn reads packets (each into a request of the channel's pool), hands them to protocol.c, kicks
 * the disk queue once and signals the guest once. Turns begin when the guest signals and, through
 * storvsp->turn, after disk requests are done. A turn reads a bounded number of packets, so that a
 * guest that never stops sending does not keep the thread from other channels and from completions.
 *
 * A request is free, executing, or parked (done, the ring is full). Parked ones go out in order,
 * when the guest signals that it made room; ENUMERATE_BUS waits likewise. A completion is sent on
 * the channel its request came from.
 *
 * A channel that closes drops what is parked, ends what waits for room on the host's disk, and is
 * reported closed when nothing of it executes: only then does nothing touch the guest's memory.
 */
#include "storvsp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmbus_protocol.h"

#define TURN_PACKETS 128

/* --- requests --- */

static struct storvsp_request *take_request(struct storvsp_channel *channel)
{
	struct storvsp_request *request = channel->free;

	if (request)
		channel->free = request->next;
	else if (channel->fresh < STORVSP_CHANNEL_REQUESTS)
		request = &channel->requests[channel->fresh++];
	return request;
}

static void free_request(struct storvsp_request *request)
{
	request->next = request->channel->free;
	request->channel->free = request;
}

/* --- towards the guest --- */

static void flush_channel(struct storvsp_channel *channel)
{
	if (channel->unflushed && !channel->closing)
		vmbus_flush(channel->channel);
	channel->unflushed = false;
}

/* Returns false: there is no room. Other errors close the channel soon; nobody waits for it. */
static bool send_completion(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;

	if (vmbus_complete(channel->channel, request->transaction_id, &request->packet,
			   request->reply_bytes) == -EAGAIN)
		return false;
	channel->unflushed = true;
	return true;
}

static void park(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;

	request->next = NULL;
	*channel->parked_end = request;
	channel->parked_end = &request->next;
}

static void send_parked(struct storvsp_channel *channel)
{
	struct storvsp_request *request;

	while ((request = channel->parked) && send_completion(request)) {
		channel->parked = request->next;
		if (!channel->parked)
			channel->parked_end = &channel->parked;
		free_request(request);
	}
}

static void send_enumerate(struct storvsp *storvsp)
{
	struct storvsp_channel *primary = storvsp->primary;
	struct storvsc_packet packet;
	struct iovec part = {&packet, 0};
	struct vmbus_out out = {.type = VMBUS_PACKET_DATA, .parts = &part, .part_count = 1};

	if (!storvsp->enumerate || !primary || primary->closing || primary->parked ||
	    storvsp->state != STORVSP_READY)
		return;
	part.iov_len = storvsp_make_enumerate(storvsp, &packet);
	if (part.iov_len) {
		if (vmbus_write(primary->channel, &out) == -EAGAIN)
			return;
		primary->unflushed = true;
	}
	storvsp->enumerate = false;
}

/* --- end of a channel --- */

static void free_channel(struct storvsp_channel *channel)
{
	struct storvsp_channel **at = &channel->storvsp->channels;

	while (*at != channel)
		at = &(*at)->next;
	*at = channel->next;
	if (channel->storvsp->primary == channel)
		channel->storvsp->primary = NULL;
	free(channel->requests);
	free(channel);
}

static void closed(struct storvsp_channel *channel)
{
	struct vmbus_channel *bus_channel = channel->channel;

	vmbus_channel_set_context(bus_channel, NULL);
	free_channel(channel);
	vmbus_channel_closed(bus_channel);
}

/* --- requests that are done --- */

static void dispose(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;

	if (channel->closing)
		free_request(request);
	else if (channel->parked || !send_completion(request))
		park(request);
	else
		free_request(request);
}

void storvsp_request_done(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;
	struct storvsp *storvsp = channel->storvsp;

	dispose(request);
	channel->executing--;
	if (channel->closing) {
		if (!channel->executing)
			closed(channel);
		return;
	}
	if (storvsp->in_turn)
		return;
	/* The last one is signalled at once; of several, the guest hears together. */
	if (!channel->executing && !channel->more)
		flush_channel(channel);
	else
		loop_post(storvsp->loop, &storvsp->turn);
}

/* --- from the guest --- */

static void receive(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	struct storvsp_channel *channel = request->channel;
	uint32_t bytes = MIN(packet->payload_bytes, STORVSC_PACKET_BYTES);

	/* Whom nothing can be answered asks for nothing. */
	if (!packet->wants_completion ||
	    (packet->type != VMBUS_PACKET_DATA && packet->type != VMBUS_PACKET_GPA_DIRECT)) {
		free_request(request);
		return;
	}
	memset(&request->packet, 0, sizeof(request->packet));
	memcpy(&request->packet, packet->payload, bytes);
	request->reply_bytes = MAX(bytes, STORVSC_PACKET_BYTES_OLD);
	request->transaction_id = packet->transaction_id;
	channel->executing++;
	storvsp_receive(request, packet);
}

/* Sub-channels wait until the primary has agreed on everything. */
static bool may_read(const struct storvsp_channel *channel)
{
	return !channel->closing && (channel->primary || channel->storvsp->state == STORVSP_READY);
}

static void read_packets(struct storvsp_channel *channel)
{
	struct storvsp *storvsp = channel->storvsp;
	struct storvsp_request *request;
	struct vmbus_packet packet;

	channel->more = true;
	if (!may_read(channel))
		return;
	for (unsigned int i = 0; i < TURN_PACKETS; i++) {
		request = take_request(channel);
		if (!request)
			return;
		request->channel = channel;
		if (vmbus_read(channel->channel, &packet) <= 0) {
			free_request(request);
			channel->more = false;
			return;
		}
		receive(request, &packet);
	}
	loop_post(storvsp->loop, &storvsp->turn);
}

static void serve(struct storvsp_channel *channel)
{
	send_parked(channel);
	read_packets(channel);
}

static void end_turn(struct storvsp *storvsp)
{
	send_enumerate(storvsp);
	disk_queue_kick(storvsp->queue);
	for (struct storvsp_channel *channel = storvsp->channels; channel; channel = channel->next)
		flush_channel(channel);
	storvsp->in_turn = false;
}

void storvsp_turn(struct storvsp *storvsp)
{
	storvsp->in_turn = true;
	for (struct storvsp_channel *channel = storvsp->channels; channel; channel = channel->next)
		if (channel->more)
			read_packets(channel);
	end_turn(storvsp);
}

/* --- operations --- */

static int channel_open(struct vmbus_channel *bus_channel, const uint8_t *user_data)
{
	struct storvsp *storvsp = vmbus_channel_provider(bus_channel);
	struct storvsp_channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return -ENOMEM;
	/* Big: comes as untouched pages, which cost nothing until they are used. */
	channel->requests = calloc(STORVSP_CHANNEL_REQUESTS, sizeof(*channel->requests));
	if (!channel->requests) {
		free(channel);
		return -ENOMEM;
	}
	channel->storvsp = storvsp;
	channel->channel = bus_channel;
	channel->parked_end = &channel->parked;
	channel->primary = vmbus_channel_index(bus_channel) == 0;
	channel->next = storvsp->channels;
	storvsp->channels = channel;
	if (channel->primary) {
		storvsp->primary = channel;
		storvsp->state = STORVSP_BEGIN;
		storvsp->enumerate = false;
	}
	vmbus_channel_set_context(bus_channel, channel);
	return 0;
}

static void channel_signalled(struct vmbus_channel *bus_channel)
{
	struct storvsp_channel *channel = vmbus_channel_context(bus_channel);

	if (!channel || channel->closing)
		return;
	channel->storvsp->in_turn = true;
	serve(channel);
	end_turn(channel->storvsp);
}

static void drop_parked(struct storvsp_channel *channel)
{
	while (channel->parked) {
		struct storvsp_request *request = channel->parked;

		channel->parked = request->next;
		free_request(request);
	}
	channel->parked_end = &channel->parked;
}

static void channel_close(struct vmbus_channel *bus_channel)
{
	struct storvsp_channel *channel = vmbus_channel_context(bus_channel);
	struct storvsp *storvsp = channel->storvsp;

	channel->closing = true;
	channel->more = false;
	drop_parked(channel);
	channel->executing++; /* it stays while its waiting requests end */
	storvsp_drop_waiting(storvsp, channel, NULL);
	if (channel->primary) {
		storvsp->state = STORVSP_BEGIN;
		storvsp_power_on(storvsp);
	}
	if (--channel->executing == 0)
		closed(channel);
}

const struct vmbus_channel_ops storvsp_channel_ops = {
	.open = channel_open,
	.signalled = channel_signalled,
	.close = channel_close,
};
