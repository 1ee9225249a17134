/*
 * fixture.c - see fixture.h
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

/* --- clocks --- */

static int64_t real_offset_ns;

uint64_t ic_real_ns(void)
{
	return stepped_now_ns() + (uint64_t)real_offset_ns;
}

uint64_t fixture_reference_100ns(void)
{
	return stepped_now_ns() / 100 + 5;
}

static uint64_t reference_time(void *ctx)
{
	return fixture_reference_100ns();
}

void fixture_step_real_ns(int64_t ns)
{
	real_offset_ns += ns;
}

/* --- the bus --- */

struct queued {
	struct queued *next;
	uint16_t type;
	size_t bytes;
	uint8_t payload[]; /* exactly, so that a sanitizer sees reads past the end */
};

struct queue {
	struct queued *first, **end;
	size_t count;
};

struct vmbus_channel {
	struct vmbus_offer offer;
	bool offered, open;
	int write_result;
	struct queue to_guest, to_host;
	struct queued *current; /* the packet that the service looks at */
};

static struct vmbus_channel channels[IC_SERVICE_COUNT];
static unsigned int offers_made, flushes;
static int failing_offer;

static void queue_put(struct queue *queue, struct queued *packet)
{
	if (!queue->first)
		queue->end = &queue->first;
	packet->next = NULL;
	*queue->end = packet;
	queue->end = &packet->next;
	queue->count++;
}

static struct queued *queue_get(struct queue *queue)
{
	struct queued *packet = queue->first;

	if (packet) {
		queue->first = packet->next;
		queue->count--;
	}
	return packet;
}

static struct queued *packet_new(uint16_t type, size_t bytes)
{
	struct queued *packet = malloc(sizeof(*packet) + bytes);

	packet->type = type;
	packet->bytes = bytes;
	return packet;
}

static void forget_packets(struct vmbus_channel *channel)
{
	struct queued *packet;

	while ((packet = queue_get(&channel->to_guest)))
		free(packet);
	while ((packet = queue_get(&channel->to_host)))
		free(packet);
	free(channel->current);
	channel->current = NULL;
}

int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
		struct vmbus_channel **ret_channel)
{
	struct vmbus_channel *channel = &channels[offers_made];

	if (failing_offer == (int)offers_made)
		return -ENOSPC;
	assert(offers_made < IC_SERVICE_COUNT);
	offers_made++;
	*channel = (struct vmbus_channel){.offer = *offer, .offered = true};
	*ret_channel = channel;
	return 0;
}

void vmbus_rescind(struct vmbus_channel *channel, void (*done)(void *ctx), void *ctx)
{
	assert(channel->offered && !channel->open);
	channel->offered = false;
}

void *vmbus_channel_provider(const struct vmbus_channel *channel)
{
	return channel->offer.provider;
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	assert(channel->open);
	channel->open = false;
	forget_packets(channel);
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *ret_packet)
{
	assert(channel->open);
	free(channel->current);
	channel->current = queue_get(&channel->to_host);
	if (!channel->current)
		return 0;
	*ret_packet = (struct vmbus_packet){
		.type = channel->current->type,
		.payload = channel->current->payload,
		.payload_bytes = (uint32_t)channel->current->bytes,
	};
	return 1;
}

int vmbus_write(struct vmbus_channel *channel, const struct vmbus_out *out)
{
	struct queued *packet;
	size_t bytes = 0;

	assert(channel->open && out->type == IC_PACKET_INBAND && !out->wants_completion);
	if (channel->write_result)
		return channel->write_result;
	for (int i = 0; i < out->part_count; i++)
		bytes += out->parts[i].iov_len;
	packet = packet_new(out->type, bytes);
	bytes = 0;
	for (int i = 0; i < out->part_count; i++) {
		memcpy(packet->payload + bytes, out->parts[i].iov_base, out->parts[i].iov_len);
		bytes += out->parts[i].iov_len;
	}
	queue_put(&channel->to_guest, packet);
	return 0;
}

void vmbus_flush(struct vmbus_channel *channel)
{
	assert(channel->open);
	flushes++;
}

const struct vmbus_offer *fixture_offer(enum ic_service service)
{
	return &channels[service].offer;
}

unsigned int fixture_offers(void)
{
	unsigned int count = 0;

	for (int i = 0; i < IC_SERVICE_COUNT; i++)
		count += channels[i].offered;
	return count;
}

void fixture_fail_offer(int number)
{
	failing_offer = number;
	offers_made = 0;
}

void fixture_open(enum ic_service service)
{
	static const uint8_t user_data[120];
	struct vmbus_channel *channel = &channels[service];

	assert(!channel->open);
	channel->open = true;
	channel->offer.ops->open(channel, user_data);
	fixture_signal(service);
}

void fixture_close(enum ic_service service)
{
	struct vmbus_channel *channel = &channels[service];

	channel->offer.ops->close(channel);
	assert(!channel->open);
	channel->write_result = 0;
}

bool fixture_is_open(enum ic_service service)
{
	return channels[service].open;
}

void fixture_set_write_result(enum ic_service service, int result)
{
	channels[service].write_result = result;
}

void fixture_signal(enum ic_service service)
{
	channels[service].offer.ops->signalled(&channels[service]);
}

unsigned int fixture_flushes(void)
{
	unsigned int count = flushes;

	flushes = 0;
	return count;
}

/* --- the guest --- */

bool fixture_take(enum ic_service service, struct fixture_packet *ret_packet)
{
	struct queued *packet = queue_get(&channels[service].to_guest);

	if (!packet)
		return false;
	assert(packet->bytes <= sizeof(ret_packet->message));
	*ret_packet = (struct fixture_packet){.bytes = packet->bytes};
	memcpy(&ret_packet->message, packet->payload, packet->bytes);
	free(packet);
	return true;
}

void fixture_send(enum ic_service service, uint16_t type, const void *bytes, size_t count,
		  bool signal)
{
	struct vmbus_channel *channel = &channels[service];
	struct queued *packet = packet_new(type, count);

	assert(channel->open);
	if (count)
		memcpy(packet->payload, bytes, count);
	queue_put(&channel->to_host, packet);
	if (signal)
		fixture_signal(service);
}

void fixture_answer(enum ic_service service, struct fixture_packet *packet, uint32_t status)
{
	packet->message.header.status = status;
	packet->message.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	fixture_send(service, IC_PACKET_INBAND, &packet->message, packet->bytes, true);
}

void fixture_connect(enum ic_service service, uint16_t framework, uint16_t major, uint16_t minor)
{
	struct fixture_packet packet;
	struct {
		struct ic_negotiate counts;
		struct ic_version versions[2];
	} body = {
		.counts = {1, 1},
		.versions = {{framework, 0}, {major, minor}},
	};

	fixture_open(service);
	if (!fixture_take(service, &packet))
		abort();
	packet.message.header.body_bytes = sizeof(body);
	memcpy(packet.message.body, &body, sizeof(body));
	fixture_answer(service, &packet, IC_STATUS_OK);
}

size_t fixture_unread(enum ic_service service)
{
	return channels[service].to_host.count;
}

/* --- life --- */

struct ic *fixture_new(void)
{
	struct ic_config config = {.reference_time = reference_time};
	struct ic *ic;

	stepped_reset();
	real_offset_ns = (int64_t)(FIXTURE_REAL_NS - stepped_now_ns());
	offers_made = flushes = 0;
	failing_offer = -1;
	if (ic_new(&config, &ic))
		abort();
	return ic;
}

void fixture_free(struct ic *ic)
{
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		if (channels[i].open)
			fixture_close((enum ic_service)i);
	}
	ic_free(ic);
	assert(stepped_is_idle() && !fixture_offers());
}
