/*
 * vmbus_ring_fuzz.c - hostile rings: contents, indices and pages of the input's choice, changed by
 * another thread while they are read
 *
 * Each step writes bytes into the rings' pages and signals; the provider reads all packets, looks
 * at all their pages and answers. In the meantime a thread writes bytes of the input again and
 * again, so that what was checked is often not what lies there any more.
 */
#include "fixture.h"

#include <errno.h>
#include <sys/uio.h>

#define PAGES 4u /* a control page and one of data, twice */

struct attack {
	struct fixture *f;
	const uint8_t *bytes;
	size_t count;
	atomic_bool stop;
};

static uint8_t *ring_page(struct fixture *f, unsigned int page)
{
	return f->memory.base + (RING_PFN + page) * PAGE_BYTES;
}

/* Aligned words at places of the data pages and the control fields. */
static void *attack(void *ctx)
{
	struct attack *attack = ctx;

	for (size_t i = 0; !attack->stop; i = (i + 3) % attack->count) {
		uint32_t at = attack->bytes[i] * 16u;
		unsigned int page = attack->bytes[(i + 1) % attack->count] % PAGES;
		uint32_t value = attack->bytes[(i + 2) % attack->count];

		if (page % 2 == 0)
			at %= 16;
		__atomic_store_n((uint32_t *)(ring_page(attack->f, page) + at), value * 8,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* --- a provider that looks at everything --- */

static uint64_t seen; /* keeps the compiler from leaving reads out */

static void look(struct vmbus_channel *channel, const struct vmbus_packet *packet)
{
	struct iovec iov[8];
	uint32_t bytes;

	for (uint32_t i = 0; i < packet->payload_bytes; i++)
		seen += packet->payload[i];
	for (uint32_t i = 0; i <= packet->range_count; i++) {
		int count = vmbus_packet_iovec(channel, packet, i, iov, ARRAY_SIZE(iov), &bytes);

		for (int j = 0; j < count; j++)
			seen += *(uint8_t *)iov[j].iov_base;
		if (count > 0)
			vmbus_iovec_written(channel, iov, count);
	}
}

static int fuzz_open(struct vmbus_channel *channel, const uint8_t *user_data)
{
	return 0;
}

/* A bounded number, as the attacker may move the index for ever. */
static void fuzz_signalled(struct vmbus_channel *channel)
{
	struct vmbus_packet packet;

	for (unsigned int i = 0; i < 64; i++) {
		if (vmbus_read(channel, &packet) != 1)
			break;
		look(channel, &packet);
		if (vmbus_complete(channel, packet.transaction_id, packet.payload,
				   MIN(packet.payload_bytes, 64)) == -EPROTO)
			break;
	}
	vmbus_flush(channel);
}

static void fuzz_close(struct vmbus_channel *channel)
{
	vmbus_channel_closed(channel);
}

static const struct vmbus_channel_ops fuzz_ops = {fuzz_open, fuzz_signalled, fuzz_close};

/* --- the run --- */

static void open_again(struct fixture *f, const struct vmbus_channel *channel)
{
	if (channel->state == CHANNEL_OPEN)
		return;
	post_relid(f, VMBUS_CLOSE_CHANNEL, channel->relid);
	guest_rings_init(f, RING_PFN, PAGES);
	post_open(f, channel->relid, RING_GPADL, PAGES / 2, 1);
}

/* {page, offset, count, bytes...}, a signal behind each. */
static void play(struct fixture *f, struct vmbus_channel *channel, const uint8_t *data, size_t size)
{
	while (size >= 3) {
		unsigned int page = data[0] % PAGES;
		uint32_t at = data[1] * 8u, count = MIN(data[2], size - 3);

		if (page % 2 == 0)
			at %= 80;
		memcpy(ring_page(f, page) + at, data + 3, MIN(count, PAGE_BYTES - at));
		data += 3 + count;
		size -= 3 + count;
		vmbus_signal_event(f->bus, 0x2000 + channel->relid, 0);
		turn(f);
		open_again(f, channel);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fixture *f = fixture_new();
	const struct vmbus_offer offer = {.ops = &fuzz_ops, .loop = f->loop, .name = "fuzz"};
	struct attack racer = {.f = f, .bytes = data, .count = size};
	struct vmbus_channel *channel;
	pthread_t thread;

	assert(!vmbus_offer(f->bus, &offer, &channel));
	connect_guest(f);
	create_gpadl(f, channel->relid, RING_GPADL, RING_PFN, PAGES);
	open_again(f, channel);
	/* Without the racer first: then what is found is found again. */
	play(f, channel, data, size);
	if (size && data[0] & 0x80 && !pthread_create(&thread, NULL, attack, &racer)) {
		play(f, channel, data, size);
		racer.stop = true;
		pthread_join(thread, NULL);
	}
	fixture_free(f);
	return 0;
}
