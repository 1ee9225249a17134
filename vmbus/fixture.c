/*
 * fixture.c - see fixture.h
 */
#include "fixture.h"

#include <errno.h>
#include <sys/uio.h>

/* --- an engine that has memory and nothing else --- */

uint64_t announced_bytes;

static int fake_create(const struct partition_config *config, struct partition **ret_part)
{
	*ret_part = calloc(1, sizeof(**ret_part));
	return 0;
}

static void fake_destroy(struct partition *part)
{
	free(part);
}

static int fake_map(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		    unsigned int access)
{
	return 0;
}

static void fake_written(struct partition *part, gpa_t gpa, uint64_t bytes)
{
	__atomic_fetch_add(&announced_bytes, bytes, __ATOMIC_RELAXED);
}

static const struct partition_ops fake_ops = {
	.create = fake_create,
	.destroy = fake_destroy,
	.map_gpa = fake_map,
	.memory_written = fake_written,
};
static const struct engine fake_engine = {.name = "fake", .ops = &fake_ops};

/* --- a hypervisor that keeps what it is given --- */

int hv_post_message(struct hv *hv, unsigned int vp, unsigned int sint, uint32_t type,
		    const void *payload, uint32_t bytes)
{
	int r = 0;

	pthread_mutex_lock(&hv->lock);
	if (hv->slot_taken) {
		r = -EAGAIN;
	} else {
		struct kept_message *message;

		if (hv->first + hv->count == hv->max) {
			hv->max = 2 * hv->max + 64;
			hv->messages = realloc(hv->messages, hv->max * sizeof(*hv->messages));
		}
		message = &hv->messages[hv->first + hv->count++];
		*message = (struct kept_message){vp, sint, type, bytes};
		memcpy(message->payload, payload, bytes);
	}
	pthread_mutex_unlock(&hv->lock);
	return r;
}

int hv_signal_flag(struct hv *hv, unsigned int vp, unsigned int sint, unsigned int flag)
{
	bool refused;

	assert(vp < VP_COUNT && sint == VMBUS_SINT && flag < VMBUS_RELID_LIMIT);
	pthread_mutex_lock(&hv->lock);
	refused = hv->flags_refused;
	if (!refused)
		hv->flags[vp][flag]++;
	pthread_mutex_unlock(&hv->lock);
	if (!refused && hv->flag_set)
		hv->flag_set(hv->ctx, vp, flag);
	return refused ? -EAGAIN : 0;
}

/* --- the fixture --- */

static void make_partition(struct fixture *f)
{
	const struct partition_config config = {.vp_count = VP_COUNT};

	assert_int_equal(guest_memory_new(MEMORY_BYTES, &f->memory), 0);
	assert_int_equal(partition_new(&fake_engine, &config, &f->part), 0);
	partition_set_memory(f->part, &f->memory);
	assert_int_equal(partition_map_gpa(f->part, 0, f->memory.bytes, f->memory.base,
					   MAP_GPA_READ | MAP_GPA_WRITE),
			 0);
}

struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vmbus_config config;

	make_partition(f);
	pthread_mutex_init(&f->hv.lock, NULL);
	assert_int_equal(loop_new(&f->loop), 0);
	config = (struct vmbus_config){.part = f->part, .loop = f->loop, .hv = &f->hv};
	assert_int_equal(vmbus_new(&config, &f->bus), 0);
	return f;
}

struct stop {
	struct loop_work work;
	struct loop *loop;
};

static void stop_loop(struct loop_work *work)
{
	loop_stop(container_of(work, struct stop, work)->loop);
}

/*
 * Work that is posted by work, and descriptors that are ready, are served in one of the next
 * rounds; nothing a test starts takes as many as these.
 */
void turn(struct fixture *f)
{
	for (unsigned int i = 0; i < 12; i++) {
		struct stop stop = {.work.run = stop_loop, .loop = f->loop};

		loop_post(f->loop, &stop.work);
		assert_int_equal(loop_run(f->loop), 0);
	}
}

static void note_reset(void *ctx)
{
	struct fixture *f = ctx;

	f->reset_done = true;
}

void fixture_reset(struct fixture *f)
{
	f->reset_done = false;
	vmbus_reset(f->bus, note_reset, f);
	turn(f);
}

void fixture_free(struct fixture *f)
{
	/* Channels with loops of their own take their time. */
	for (fixture_reset(f); !f->reset_done; turn(f))
		;
	vmbus_free(f->bus);
	loop_free(f->loop);
	partition_free(f->part);
	guest_memory_free(&f->memory);
	pthread_mutex_destroy(&f->hv.lock);
	free(f->hv.messages);
	free(f);
}

/* --- messages --- */

uint16_t post_status(struct fixture *f, uint32_t connection_id, const void *message, uint32_t bytes)
{
	return vmbus_post_message(f->bus, connection_id, message, bytes);
}

void post(struct fixture *f, const void *message, uint32_t bytes)
{
	assert_int_equal(post_status(f, VMBUS_CONNECTION_CONTACT, message, bytes), 0);
	turn(f);
}

const struct kept_message *next_message(struct fixture *f)
{
	const struct kept_message *message = NULL;

	pthread_mutex_lock(&f->hv.lock);
	if (f->hv.count) {
		message = &f->hv.messages[f->hv.first++];
		f->hv.count--;
	}
	pthread_mutex_unlock(&f->hv.lock);
	return message;
}

/* The smallest payloads that Linux takes. */
static uint32_t least_bytes(uint32_t type)
{
	static const uint8_t least[VMBUS_MESSAGE_TYPES] = {
		[VMBUS_OFFER_CHANNEL] = 196,	[VMBUS_RESCIND_OFFER] = 12,
		[VMBUS_OPEN_RESULT] = 20,	[VMBUS_GPADL_CREATED] = 20,
		[VMBUS_GPADL_TORNDOWN] = 12,	[VMBUS_VERSION_RESPONSE] = 16,
		[VMBUS_UNLOAD_RESPONSE] = 8,	[VMBUS_MODIFY_CHANNEL_RESPONSE] = 16,
		[VMBUS_TL_CONNECT_RESULT] = 44,
	};

	return MAX(least[type], 8);
}

const void *expect(struct fixture *f, uint32_t type)
{
	const struct kept_message *message = next_message(f);
	const struct vmbus_message_header *header;

	if (!message)
		fail_msg("no message of type %u came", type);
	header = (const void *)message->payload;
	assert_int_equal(header->type, type);
	assert_int_equal(message->type, VMBUS_SYNIC_MESSAGE_TYPE);
	assert_int_equal(message->sint, VMBUS_SINT);
	assert_in_range(message->bytes, least_bytes(type), VMBUS_MESSAGE_BYTES_MAX);
	return message->payload;
}

void expect_none(struct fixture *f)
{
	const struct kept_message *message = next_message(f);

	if (message)
		fail_msg("a message of type %u came", *(const uint32_t *)message->payload);
}

void post_contact(struct fixture *f, uint32_t version, uint32_t target_vp)
{
	const struct vmbus_initiate_contact contact = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = version,
		.target_vp = target_vp,
		.sint = VMBUS_SINT,
		.monitor_page_to_guest = 0x1000,
		.monitor_page_to_host = 0x2000,
	};

	post(f, &contact, sizeof(contact));
}

void connect_guest(struct fixture *f)
{
	const struct vmbus_message_header request = {.type = VMBUS_REQUEST_OFFERS};
	const struct vmbus_version_response *response;

	post_contact(f, VMBUS_VERSION_5_3, 0);
	response = expect(f, VMBUS_VERSION_RESPONSE);
	assert_int_equal(response->supported, 1);
	post(f, &request, sizeof(request));
	while (((const struct vmbus_message_header *)next_message(f)->payload)->type !=
	       VMBUS_ALL_OFFERS_DELIVERED)
		;
	expect_none(f);
}

void post_relid(struct fixture *f, uint32_t type, uint32_t relid)
{
	const struct vmbus_relid_message message = {.header.type = type, .relid = relid};

	post(f, &message, sizeof(message));
}

/* The words of the list that begin at @at, as many as fit behind @header_bytes. */
static uint32_t put_words(uint8_t *message, uint32_t header_bytes, const uint64_t *list,
			  uint32_t words, uint32_t at)
{
	uint32_t count = MIN(words - at, (VMBUS_MESSAGE_BYTES_MAX - header_bytes) / 8);

	memcpy(message + header_bytes, list + at, count * 8);
	return count;
}

static void post_list(struct fixture *f, uint32_t relid, uint32_t id, const uint64_t *list,
		      uint32_t words)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	const struct vmbus_gpadl_header header = {
		.header.type = VMBUS_GPADL_HEADER,
		.relid = relid,
		.gpadl = id,
		.range_bytes = (le16)(words * 8),
		.range_count = 1,
	};
	const struct vmbus_gpadl_body body = {.header.type = VMBUS_GPADL_BODY, .gpadl = id};
	uint32_t at;

	memcpy(message, &header, sizeof(header));
	at = put_words(message, sizeof(header), list, words, 0);
	post(f, message, sizeof(header) + at * 8);
	while (at < words) {
		uint32_t count = put_words(message, sizeof(body), list, words, at);

		memcpy(message, &body, sizeof(body));
		post(f, message, sizeof(body) + count * 8);
		at += count;
	}
}

void post_gpadl(struct fixture *f, uint32_t relid, uint32_t id, uint64_t first_pfn, uint32_t pages)
{
	uint64_t *list = calloc(pages + 1, sizeof(*list));

	list[0] = pages * PAGE_BYTES;
	for (uint32_t i = 0; i < pages; i++)
		list[1 + i] = first_pfn + i;
	post_list(f, relid, id, list, pages + 1);
	free(list);
}

void create_gpadl(struct fixture *f, uint32_t relid, uint32_t id, uint64_t first_pfn,
		  uint32_t pages)
{
	const struct vmbus_gpadl_created *created;

	post_gpadl(f, relid, id, first_pfn, pages);
	created = expect(f, VMBUS_GPADL_CREATED);
	assert_int_equal(created->relid, relid);
	assert_int_equal(created->gpadl, id);
	assert_int_equal(created->status, 0);
}

void post_teardown(struct fixture *f, uint32_t relid, uint32_t id)
{
	const struct vmbus_gpadl_teardown message = {
		.header.type = VMBUS_GPADL_TEARDOWN,
		.relid = relid,
		.gpadl = id,
	};

	post(f, &message, sizeof(message));
}

void post_open(struct fixture *f, uint32_t relid, uint32_t gpadl, uint32_t offset, uint32_t vp)
{
	const struct vmbus_open_channel message = {
		.header.type = VMBUS_OPEN_CHANNEL,
		.relid = relid,
		.open_id = relid + 0x1000,
		.ring_gpadl = gpadl,
		.target_vp = vp,
		.downstream_page_offset = offset,
	};

	post(f, &message, sizeof(message));
}

uint32_t open_status(struct fixture *f, uint32_t relid)
{
	const struct vmbus_open_result *result = expect(f, VMBUS_OPEN_RESULT);

	assert_int_equal(result->relid, relid);
	assert_int_equal(result->open_id, relid + 0x1000);
	return result->status;
}

/* --- rings --- */

static struct guest_ring ring_init(struct fixture *f, uint64_t pfn, uint32_t pages)
{
	struct guest_ring ring = {
		.control = (struct ring_control *)(f->memory.base + pfn * PAGE_BYTES),
		.data = f->memory.base + (pfn + 1) * PAGE_BYTES,
		.bytes = (pages - 1) * (uint32_t)PAGE_BYTES,
	};

	ring.control->write_index = ring.control->read_index = 0;
	ring.control->features = VMBUS_RING_PENDING_SEND_SIZE;
	return ring;
}

struct guest_rings guest_rings_init(struct fixture *f, uint64_t first_pfn, uint32_t pages)
{
	return (struct guest_rings){
		.up = ring_init(f, first_pfn, pages / 2),
		.down = ring_init(f, first_pfn + pages / 2, pages / 2),
	};
}

static uint32_t copy_in(struct guest_ring *ring, uint32_t at, const void *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		ring->data[(at + i) % ring->bytes] = ((const uint8_t *)bytes)[i];
	return (at + count) % ring->bytes;
}

static void copy_out(const struct guest_ring *ring, uint32_t at, void *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		((uint8_t *)bytes)[i] = ring->data[(at + i) % ring->bytes];
}

static uint32_t guest_room(const struct guest_ring *ring, uint32_t write_index, uint32_t read_index)
{
	return ring->bytes - (write_index + ring->bytes - read_index) % ring->bytes;
}

int guest_write_raw(struct guest_ring *ring, const struct vmbus_packet_descriptor *descriptor,
		    const void *rest, uint32_t bytes, bool *ret_signal)
{
	uint32_t before = ring->control->write_index, at;
	const struct vmbus_packet_trailer trailer = {.start = before};
	uint32_t total = descriptor->length8 * 8u + (uint32_t)sizeof(trailer);

	*ret_signal = false;
	if (guest_room(ring, before, ring->control->read_index) <= total)
		return -EAGAIN;
	at = copy_in(ring, before, descriptor, sizeof(*descriptor));
	copy_in(ring, at, rest, bytes);
	copy_in(ring, (before + total - 8) % ring->bytes, &trailer, sizeof(trailer));
	ring->control->write_index = (before + total) % ring->bytes;
	*ret_signal = !ring->control->interrupt_mask && ring->control->read_index == before;
	return 0;
}

int guest_write(struct guest_ring *ring, uint16_t type, uint16_t flags, uint64_t id,
		const void *payload, uint32_t bytes, bool *ret_signal)
{
	const struct vmbus_packet_descriptor descriptor = {
		.type = type,
		.offset8 = 2,
		.length8 = (le16)((16 + bytes + 7) / 8),
		.flags = flags,
		.transaction_id = id,
	};

	return guest_write_raw(ring, &descriptor, payload, bytes, ret_signal);
}

/* Linux: hv_pkt_iter_close(), without its look at the feature bit, which both sides set. */
static bool wants_signal(const struct guest_ring *ring, uint32_t read)
{
	uint32_t pending = ring->control->pending_send_size, room;

	if (!pending)
		return false;
	room = guest_room(ring, ring->control->write_index, ring->control->read_index);
	return room > pending && room - read <= pending;
}

uint32_t guest_read(struct guest_ring *ring, uint8_t *buffer, uint32_t size, bool *ret_signal)
{
	struct vmbus_packet_descriptor descriptor;
	uint32_t read_index = ring->control->read_index, bytes;

	*ret_signal = false;
	if (read_index == ring->control->write_index)
		return 0;
	copy_out(ring, read_index, &descriptor, sizeof(descriptor));
	bytes = descriptor.length8 * 8u;
	assert_in_range(bytes, 16, size);
	copy_out(ring, read_index, buffer, bytes);
	ring->control->read_index = (read_index + bytes + 8) % ring->bytes;
	*ret_signal = wants_signal(ring, bytes + 8);
	return bytes;
}

/* --- a provider --- */

static bool complete_or_keep(struct provider *provider, struct vmbus_channel *channel)
{
	provider->unsent = vmbus_complete(channel, provider->unsent_id, provider->unsent_payload,
					  provider->unsent_bytes) == -EAGAIN;
	return !provider->unsent;
}

static void echo(struct provider *provider, struct vmbus_channel *channel,
		 const struct vmbus_packet *packet)
{
	if (!provider->echo || !packet->wants_completion)
		return;
	assert(packet->payload_bytes <= sizeof(provider->unsent_payload));
	provider->unsent_id = packet->transaction_id;
	provider->unsent_bytes = packet->payload_bytes;
	memcpy(provider->unsent_payload, packet->payload, packet->payload_bytes);
	complete_or_keep(provider, channel);
}

static int provider_open(struct vmbus_channel *channel, const uint8_t *user_data)
{
	struct provider *provider = vmbus_channel_provider(channel);
	int subchannels_result = channel->bus->interrupt_page ? -ENOTSUP : 0;

	provider->opens++;
	provider->unsent = false;
	if (provider->read_in_open)
		provider->read_result = vmbus_read(channel, &provider->last);
	if (provider->subchannels && !vmbus_channel_index(channel))
		assert_int_equal(vmbus_offer_subchannels(channel, provider->subchannels, NULL),
				 subchannels_result);
	return provider->open_result;
}

static void provider_signalled(struct vmbus_channel *channel)
{
	struct provider *provider = vmbus_channel_provider(channel);
	struct vmbus_packet packet;

	provider->signals++;
	if (!provider->unsent || complete_or_keep(provider, channel)) {
		while (!provider->unsent &&
		       (provider->read_result = vmbus_read(channel, &packet)) == 1) {
			provider->packets++;
			provider->last = packet;
			echo(provider, channel, &packet);
		}
	}
	vmbus_flush(channel);
}

static void provider_close(struct vmbus_channel *channel)
{
	struct provider *provider = vmbus_channel_provider(channel);

	provider->closes++;
	if (provider->gpadl && !vmbus_channel_index(channel))
		vmbus_gpadl_release(channel, TAKE(provider->gpadl));
	if (!provider->hold_close)
		vmbus_channel_closed(channel);
}

static const struct vmbus_channel_ops provider_ops = {
	.open = provider_open,
	.signalled = provider_signalled,
	.close = provider_close,
};

void provider_offer(struct fixture *f, struct provider *provider, unsigned int number,
		    struct loop *loop)
{
	const struct vmbus_offer offer = {
		.class = GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc,
			      0x7f),
		.instance = GUID(number, 0x1122, 0x3344, 1, 2, 3, 4, 5, 6, 7, 8),
		.flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
		.mmio_megabytes = 8,
		.user_data = {0xaa, 0xbb},
		.ops = &provider_ops,
		.provider = provider,
		.loop = loop ? loop : f->loop,
		.name = "test",
	};

	provider->bus = f->bus;
	provider->rescinded = false;
	assert_int_equal(vmbus_offer(f->bus, &offer, &provider->channel), 0);
	provider->relid = provider->channel->relid;
}

static void note_rescinded(void *ctx)
{
	struct provider *provider = ctx;

	provider->rescinded = true;
	provider->channel = NULL;
}

void provider_rescind(struct provider *provider)
{
	vmbus_rescind(provider->channel, note_rescinded, provider);
}

struct guest_rings open_channel(struct fixture *f, struct provider *provider, uint32_t pages)
{
	struct guest_rings rings;

	create_gpadl(f, provider->relid, RING_GPADL, RING_PFN, pages);
	rings = guest_rings_init(f, RING_PFN, pages);
	post_open(f, provider->relid, RING_GPADL, pages / 2, 1);
	assert_int_equal(open_status(f, provider->relid), 0);
	return rings;
}

void offer_and_open(struct fixture *f, struct provider *provider, uint32_t pages)
{
	provider_offer(f, provider, 1, NULL);
	connect_guest(f);
	open_channel(f, provider, pages);
}
