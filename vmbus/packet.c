/*
 * packet.c - packets between providers and the guest, on the channel's loop
 *
 * ring.c guards the rings; here packets are taken apart by their type. A packet that is wrong, or
 * an index that is, ends the channel: running becomes false, the bus' loop is told, close() comes.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmbus_internal.h"

#define PFN_BYTES sizeof(uint64_t)

/*
 * --- the guest's signals ---
 *
 * The eventfd is never read: edge-triggered, it is ready once for each time it is written, and its
 * count would need centuries to overflow.
 */

static void eventfd_ready(void *ctx, uint32_t events)
{
	struct vmbus_channel *channel = ctx;

	if (!channel->running)
		return;
	ring_notice_room(&channel->down);
	channel->offer.ops->signalled(channel);
}

int channel_start_packets(struct vmbus_channel *channel)
{
	int r = ring_reader_start(&channel->up);

	if (!r)
		r = ring_writer_start(&channel->down);
	if (!r)
		r = loop_add_fd(channel->offer.loop, channel->bus->relids[channel->relid].eventfd,
				EPOLLIN | EPOLLET, eventfd_ready, channel, &channel->source);
	channel->running = !r;
	return r;
}

void channel_stop_packets(struct vmbus_channel *channel)
{
	channel->running = false;
	loop_source_remove(TAKE(channel->source));
}

static int broken(struct vmbus_channel *channel)
{
	channel->running = false;
	loop_post(channel->bus->loop, &channel->broken_work);
	return -EPROTO;
}

/* --- reading --- */

static uint32_t page_count(const struct vmbus_gpa_range *range)
{
	return (uint32_t)(((uint64_t)range->bytes + range->offset + PAGE_BYTES - 1) / PAGE_BYTES);
}

/* Every range of a GPA-direct packet lies between its header and the payload. */
static bool take_ranges(struct vmbus_channel *channel, uint32_t end, struct vmbus_packet *packet)
{
	uint32_t at = sizeof(struct vmbus_packet_descriptor) + sizeof(struct vmbus_gpa_direct);
	struct vmbus_gpa_direct header;

	if (end < at)
		return false;
	memcpy(&header, channel->packet + at - sizeof(header), sizeof(header));
	packet->ranges = channel->packet + at;
	packet->range_count = header.range_count;
	for (uint32_t i = 0; i < header.range_count; i++) {
		struct vmbus_gpa_range range;

		if (end - at < sizeof(range))
			return false;
		memcpy(&range, channel->packet + at, sizeof(range));
		at += sizeof(range);
		if (page_count(&range) > (end - at) / PFN_BYTES)
			return false;
		at += page_count(&range) * PFN_BYTES;
	}
	return header.range_count;
}

/* The copy in channel->packet, of which ring_read() checked the descriptor. */
static bool take_packet(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
	struct vmbus_packet_descriptor descriptor;
	uint32_t payload;

	memcpy(&descriptor, channel->packet, sizeof(descriptor));
	payload = descriptor.offset8 * 8u;
	*packet = (struct vmbus_packet){
		.type = descriptor.type,
		.wants_completion = descriptor.flags & VMBUS_PACKET_WANTS_COMPLETION,
		.transaction_id = descriptor.transaction_id,
		.payload = channel->packet + payload,
		.payload_bytes = descriptor.length8 * 8u - payload,
	};
	switch (descriptor.type) {
	case VMBUS_PACKET_DATA:
	case VMBUS_PACKET_TRANSFER_PAGES:
	case VMBUS_PACKET_COMPLETION: return true;
	case VMBUS_PACKET_GPA_DIRECT: return take_ranges(channel, payload, packet);
	default: return false;
	}
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *ret_packet)
{
	bool signal;
	int r;

	if (!channel->running)
		return -EPROTO;
	r = ring_read(&channel->up, channel->packet, &signal);
	if (signal)
		channel_signal(channel);
	if (r < 0)
		return broken(channel);
	if (!r)
		return 0;
	channel->iovec_index = channel->iovec_at = 0;
	return take_packet(channel, ret_packet) ? 1 : broken(channel);
}

/* --- memory that packets name --- */

/* The range @index: its header, and where its page numbers begin, from the start of the ranges. */
static uint32_t find_range(struct vmbus_channel *channel, const struct vmbus_packet *packet,
			   uint32_t index, struct vmbus_gpa_range *ret_range)
{
	/* Mostly they are asked for in order. */
	uint32_t i = index >= channel->iovec_index ? channel->iovec_index : 0;
	uint32_t at = i ? channel->iovec_at : 0;

	for (;; i++) {
		memcpy(ret_range, packet->ranges + at, sizeof(*ret_range));
		if (i == index)
			break;
		at += sizeof(*ret_range) + page_count(ret_range) * PFN_BYTES;
	}
	channel->iovec_index = index;
	channel->iovec_at = at;
	return at + sizeof(*ret_range);
}

struct iovec_list {
	struct iovec *iov;
	size_t count, max;
};

static int append(struct iovec_list *list, uint8_t *hva, size_t bytes)
{
	struct iovec *last = list->count ? &list->iov[list->count - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == hva) {
		last->iov_len += bytes;
		return 0;
	}
	if (list->count == list->max)
		return -E2BIG;
	list->iov[list->count++] = (struct iovec){.iov_base = hva, .iov_len = bytes};
	return 0;
}

static int append_page(struct iovec_list *list, struct partition *part, const uint8_t *pfn_at,
		       uint32_t offset, uint32_t bytes)
{
	uint64_t pfn;
	uint8_t *hva;

	memcpy(&pfn, pfn_at, sizeof(pfn));
	hva = pfn > UINT64_MAX / PAGE_BYTES ? NULL
					    : partition_ram_hva(part, pfn * PAGE_BYTES, PAGE_BYTES);
	return hva ? append(list, hva + offset, bytes) : -EFAULT;
}

/* @pfn_at: of the page that @offset is in. Returns the number of entries. */
static int list_memory(struct iovec_list *list, struct partition *part, const uint8_t *pfn_at,
		       uint32_t offset, uint32_t bytes)
{
	for (; bytes; pfn_at += PFN_BYTES) {
		uint32_t here = MIN(bytes, (uint32_t)PAGE_BYTES - offset);
		int r = append_page(list, part, pfn_at, offset, here);

		if (r < 0)
			return r;
		bytes -= here;
		offset = 0;
	}
	return (int)list->count;
}

int vmbus_packet_iovec(struct vmbus_channel *channel, const struct vmbus_packet *packet,
		       uint32_t index, struct iovec *iov, size_t max, uint32_t *ret_bytes)
{
	struct iovec_list list = {.iov = iov, .max = max};
	struct vmbus_gpa_range range;
	uint32_t at;
	int r;

	if (!packet->ranges || index >= packet->range_count)
		return -EINVAL;
	at = find_range(channel, packet, index, &range);
	at += range.offset / (uint32_t)PAGE_BYTES * (uint32_t)PFN_BYTES;
	r = list_memory(&list, channel->bus->part, packet->ranges + at, range.offset % PAGE_BYTES,
			range.bytes);
	if (r >= 0)
		*ret_bytes = range.bytes;
	return r;
}

int vmbus_gpadl_iovec(struct vmbus_channel *channel, const struct vmbus_gpadl *gpadl,
		      uint32_t offset, uint32_t bytes, struct iovec *iov, size_t max)
{
	struct iovec_list list = {.iov = iov, .max = max};
	uint32_t all = vmbus_gpadl_bytes(gpadl), pages;
	const uint64_t *pfns = gpadl_whole_pages(gpadl, &pages);

	if (offset > all || bytes > all - offset)
		return -EINVAL;
	return list_memory(&list, channel->bus->part, (const uint8_t *)(pfns + offset / PAGE_BYTES),
			   offset % PAGE_BYTES, bytes);
}

/* Pages that are neighbours here need not be so in the guest: at its holes they are not. */
static void announce(struct partition *part, const uint8_t *hva, uint64_t bytes)
{
	unsigned int count = part->ram_count;

	for (unsigned int i = 0; i < count; i++) {
		const struct partition_ram *ram = &part->ram[i];
		const uint8_t *first = MAX(hva, (const uint8_t *)ram->hva);
		const uint8_t *end = MIN(hva + bytes, (const uint8_t *)ram->hva + ram->bytes);

		if (first < end)
			partition_memory_written(part, ram->gpa + (uint64_t)(first - ram->hva),
						 (uint64_t)(end - first));
	}
}

void vmbus_iovec_written(struct vmbus_channel *channel, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		announce(channel->bus->part, iov[i].iov_base, iov[i].iov_len);
}

/* --- writing --- */

int vmbus_write(struct vmbus_channel *channel, const struct vmbus_out *out)
{
	const struct ring_packet packet = {
		.type = out->type,
		.flags = out->wants_completion ? VMBUS_PACKET_WANTS_COMPLETION : 0,
		.transaction_id = out->transaction_id,
		.header = out->header,
		.header_bytes = out->header_bytes,
		.parts = out->parts,
		.part_count = out->part_count,
	};
	int r;

	if (!channel->running)
		return -EPROTO;
	assert(out->header_bytes % 8 == 0);
	r = ring_write(&channel->down, &packet);
	return r == -EPROTO ? broken(channel) : r;
}

int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
		   uint32_t bytes)
{
	const struct iovec part = {.iov_base = (void *)payload, .iov_len = bytes};
	const struct vmbus_out out = {
		.type = VMBUS_PACKET_COMPLETION,
		.transaction_id = transaction_id,
		.parts = &part,
		.part_count = 1,
	};

	return vmbus_write(channel, &out);
}

void vmbus_flush(struct vmbus_channel *channel)
{
	if (channel->running && ring_take_signal(&channel->down))
		channel_signal(channel);
}
