/*
 * ring.c - ring buffers in guest memory
 *
 * Layout: a control page, then data pages. An index is a byte offset into the data, a multiple of
 * 8. Empty is "write == read", so one unit of 8 bytes always stays free.
 *
 * Invariants:
 *   1. Whoever writes an index is the only one to know it: our own is read from the control page
 *      once, at start, and then only stored there. What a guest does to our field hurts the guest.
 *   2. The other side's index is loaded once per decision and checked before it is used.
 *   3. Descriptor and packet are copied before anything in them is looked at; the copy of the
 *      descriptor that was checked is the one in the buffer.
 *   4. Two races decide whether a sleeping side is woken, both of the form "store mine, then load
 *      yours": write_index and interrupt_mask, read_index and pending_send_size. Both sides store
 *      first, so at least one sees the other. The store and the load must not change places; all
 *      of these accesses are sequentially consistent (on x86 an exchange and a plain load).
 */
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define UNIT		 8u
#define TRAILER_BYTES	 sizeof(struct vmbus_packet_trailer)
#define DESCRIPTOR_BYTES sizeof(struct vmbus_packet_descriptor)

/* --- mapping --- */

struct run {
	uint64_t offset; /* in the guest memory's file */
	uint32_t pages;
};

/* The longest run of neighbouring pages that starts at @pfns. Returns 0 or -EFAULT. */
static int find_run(struct partition *part, const uint64_t *pfns, uint32_t pages,
		    struct run *ret_run)
{
	uint8_t *first = NULL;
	uint32_t i;

	for (i = 0; i < pages; i++) {
		uint8_t *hva = pfns[i] > UINT64_MAX / PAGE_BYTES
				       ? NULL
				       : partition_ram_hva(part, pfns[i] * PAGE_BYTES, PAGE_BYTES);

		if (!hva)
			return -EFAULT;
		if (!i)
			first = hva;
		else if (hva != first + i * PAGE_BYTES)
			break;
	}
	*ret_run = (struct run){.offset = partition_ram_offset(part, first), .pages = i};
	return 0;
}

/* Both copies of one run. */
static int map_run(struct ring *ring, int fd, uint32_t at, const struct run *run)
{
	for (unsigned int copy = 0; copy < 2; copy++) {
		uint8_t *where = ring->data + at + copy * (size_t)ring->bytes;

		if (mmap(where, run->pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, (off_t)run->offset) == MAP_FAILED)
			return -ENOMEM;
	}
	return 0;
}

static int map_data(struct ring *ring, struct partition *part, const uint64_t *pfns, uint32_t pages,
		    unsigned int max_mappings)
{
	uint32_t done = 0;

	while (done < pages) {
		struct run run;
		int r = find_run(part, pfns + done, pages - done, &run);

		if (r < 0)
			return r;
		ring->mappings += 2;
		if (ring->mappings > max_mappings)
			return -ENOSPC;
		r = map_run(ring, part->memory->fd, done * (uint32_t)PAGE_BYTES, &run);
		if (r < 0)
			return r;
		done += run.pages;
	}
	return 0;
}

int ring_map(struct ring *ring, struct partition *part, const uint64_t *pfns, uint32_t pages,
	     unsigned int max_mappings)
{
	struct run control;
	int r;

	*ring = (struct ring){};
	if (pages < RING_MIN_PAGES || pages > RING_MAX_PAGES)
		return -EINVAL;
	if (!part->memory)
		return -EFAULT;
	r = find_run(part, pfns, 1, &control);
	if (r < 0)
		return r;
	ring->bytes = (pages - 1) * (uint32_t)PAGE_BYTES;
	ring->data = mmap(NULL, 2 * (size_t)ring->bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ring->data == MAP_FAILED) {
		*ring = (struct ring){};
		return -ENOMEM;
	}
	ring->control = (struct ring_control *)(part->memory->base + control.offset);
	r = map_data(ring, part, pfns + 1, pages - 1, max_mappings);
	if (r < 0)
		ring_unmap(ring);
	return r;
}

void ring_unmap(struct ring *ring)
{
	if (ring->data)
		munmap(ring->data, 2 * (size_t)ring->bytes);
	*ring = (struct ring){};
}

/* --- both directions --- */

static bool index_valid(const struct ring *ring, uint32_t index)
{
	return index < ring->bytes && index % UNIT == 0;
}

static uint32_t used_bytes(const struct ring *ring, uint32_t write_index, uint32_t read_index)
{
	return write_index >= read_index ? write_index - read_index
					 : write_index + ring->bytes - read_index;
}

/* How long a packet with its trailer may be now. */
static uint32_t room(const struct ring *ring, uint32_t write_index, uint32_t read_index)
{
	return ring->bytes - used_bytes(ring, write_index, read_index) - UNIT;
}

static uint32_t advance(const struct ring *ring, uint32_t index, uint32_t by)
{
	index += by;
	return index < ring->bytes ? index : index - ring->bytes;
}

uint32_t ring_max_packet(const struct ring *ring)
{
	return MIN(ring->bytes - UNIT - (uint32_t)TRAILER_BYTES, UINT16_MAX * UNIT);
}

/* --- from the guest --- */

int ring_reader_start(struct ring_reader *reader)
{
	struct ring_control *control = reader->ring.control;

	reader->read_index = control->read_index;
	reader->masked = false;
	control->interrupt_mask = 0;
	return index_valid(&reader->ring, reader->read_index) ? 0 : -EPROTO;
}

static int load_used(const struct ring_reader *reader, uint32_t *ret_used)
{
	uint32_t write_index = reader->ring.control->write_index;

	if (!index_valid(&reader->ring, write_index))
		return -EPROTO;
	*ret_used = used_bytes(&reader->ring, write_index, reader->read_index);
	return 0;
}

static void set_mask(struct ring_reader *reader, bool masked)
{
	if (reader->masked != masked)
		reader->ring.control->interrupt_mask = masked;
	reader->masked = masked;
}

/*
 * Ready packets, signals off; or none, signals on. Signals that are turned on must be turned on
 * before the look that finds nothing: a packet written between the two would lie there unseen.
 */
static int wait_or_mask(struct ring_reader *reader, uint32_t *ret_used)
{
	int r = load_used(reader, ret_used);

	if (r < 0)
		return r;
	if (!*ret_used && reader->masked) {
		set_mask(reader, false);
		r = load_used(reader, ret_used);
		if (r < 0)
			return r;
	}
	if (*ret_used)
		set_mask(reader, true);
	return 0;
}

static bool descriptor_valid(const struct vmbus_packet_descriptor *descriptor, uint32_t used)
{
	uint32_t bytes = descriptor->length8 * UNIT, payload = descriptor->offset8 * UNIT;

	return payload >= DESCRIPTOR_BYTES && payload <= bytes && bytes + TRAILER_BYTES <= used;
}

/*
 * Give @bytes back. The guest that waits for room is signalled when this makes the difference; it
 * may have asked for "everything but a byte", hence the rounding.
 */
static int release_room(struct ring_reader *reader, uint32_t bytes, bool *ret_signal)
{
	struct ring_control *control = reader->ring.control;
	uint32_t wanted, now, write_index;

	reader->read_index = advance(&reader->ring, reader->read_index, bytes);
	control->read_index = reader->read_index;
	*ret_signal = false;
	wanted = control->pending_send_size;
	wanted = ALIGN_DOWN(wanted, UNIT);
	if (!wanted)
		return 0;
	write_index = control->write_index;
	if (!index_valid(&reader->ring, write_index))
		return -EPROTO;
	now = room(&reader->ring, write_index, reader->read_index);
	/* Signed: the guest may have moved its index back, so that "before" is nonsense. */
	*ret_signal = now >= wanted && (int64_t)now - bytes < wanted;
	return 0;
}

int ring_read(struct ring_reader *reader, uint8_t *buffer, bool *ret_signal)
{
	const uint8_t *from = reader->ring.data + reader->read_index;
	struct vmbus_packet_descriptor descriptor;
	uint32_t used, bytes;
	int r = wait_or_mask(reader, &used);

	*ret_signal = false;
	if (r < 0 || !used)
		return r;
	if (used < DESCRIPTOR_BYTES + TRAILER_BYTES)
		return -EPROTO;
	memcpy(&descriptor, from, sizeof(descriptor));
	if (!descriptor_valid(&descriptor, used))
		return -EPROTO;
	bytes = descriptor.length8 * UNIT;
	memcpy(buffer, &descriptor, sizeof(descriptor));
	memcpy(buffer + sizeof(descriptor), from + sizeof(descriptor), bytes - sizeof(descriptor));
	r = release_room(reader, bytes + TRAILER_BYTES, ret_signal);
	return r < 0 ? r : (int)bytes;
}

/* --- to the guest --- */

int ring_writer_start(struct ring_writer *writer)
{
	struct ring_control *control = writer->ring.control;

	writer->write_index = control->write_index;
	writer->wanted = 0;
	writer->signal_owed = false;
	/* A channel that is opened again has the old values of these. */
	control->pending_send_size = 0;
	control->features |= VMBUS_RING_PENDING_SEND_SIZE;
	return index_valid(&writer->ring, writer->write_index) ? 0 : -EPROTO;
}

static int load_room(const struct ring_writer *writer, uint32_t *ret_room)
{
	uint32_t read_index = writer->ring.control->read_index;

	if (!index_valid(&writer->ring, read_index))
		return -EPROTO;
	*ret_room = room(&writer->ring, writer->write_index, read_index);
	return 0;
}

static void want(struct ring_writer *writer, uint32_t bytes)
{
	writer->wanted = bytes;
	writer->ring.control->pending_send_size = bytes;
}

void ring_notice_room(struct ring_writer *writer)
{
	uint32_t there;

	if (writer->wanted && !load_room(writer, &there) && there >= writer->wanted)
		want(writer, 0);
}

/* Room for @bytes: 0, -EAGAIN with the guest asked to signal, -EPROTO. */
static int check_room(struct ring_writer *writer, uint32_t bytes)
{
	uint32_t there;
	int r = load_room(writer, &there);

	if (r < 0 || there >= bytes)
		return r;
	want(writer, MAX(bytes, writer->wanted));
	/* The guest may have read everything before it could see that we ask. */
	r = load_room(writer, &there);
	if (r < 0 || there >= bytes)
		return r;
	return -EAGAIN;
}

/* Returns false when the parts are more than a packet can be. */
static bool packet_bytes(const struct ring *ring, const struct ring_packet *packet,
			 uint32_t *ret_payload, uint32_t *ret_bytes)
{
	uint64_t payload = 0, bytes;

	for (int i = 0; i < packet->part_count; i++) {
		if (packet->parts[i].iov_len > ring->bytes)
			return false;
		payload += packet->parts[i].iov_len;
	}
	bytes = DESCRIPTOR_BYTES + (uint64_t)packet->header_bytes + ALIGN_UP(payload, UNIT);
	*ret_payload = (uint32_t)payload;
	*ret_bytes = (uint32_t)bytes;
	return bytes <= ring_max_packet(ring);
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t count)
{
	if (count)
		memcpy(at, bytes, count);
	return at + count;
}

static void put_packet(const struct ring_writer *writer, const struct ring_packet *packet,
		       uint32_t bytes)
{
	static const uint8_t padding[UNIT];
	const struct vmbus_packet_descriptor descriptor = {
		.type = packet->type,
		.offset8 = (le16)((DESCRIPTOR_BYTES + packet->header_bytes) / UNIT),
		.length8 = (le16)(bytes / UNIT),
		.flags = packet->flags,
		.transaction_id = packet->transaction_id,
	};
	const struct vmbus_packet_trailer trailer = {.start = writer->write_index};
	uint8_t *start = writer->ring.data + writer->write_index, *at;

	at = put(start, &descriptor, sizeof(descriptor));
	at = put(at, packet->header, packet->header_bytes);
	for (int i = 0; i < packet->part_count; i++)
		at = put(at, packet->parts[i].iov_base, packet->parts[i].iov_len);
	at = put(at, padding, start + bytes - at);
	put(at, &trailer, sizeof(trailer));
}

/*
 * Show the guest what was written. It must be signalled if it had seen everything before this
 * packet; decided for each packet, since within a batch the guest may have gone to sleep.
 */
static void publish(struct ring_writer *writer, uint32_t bytes)
{
	struct ring_control *control = writer->ring.control;
	uint32_t before = writer->write_index;

	writer->write_index = advance(&writer->ring, before, bytes);
	control->write_index = writer->write_index;
	if (!control->interrupt_mask && control->read_index == before)
		writer->signal_owed = true;
}

int ring_write(struct ring_writer *writer, const struct ring_packet *packet)
{
	uint32_t payload, bytes;
	int r;

	if (!packet_bytes(&writer->ring, packet, &payload, &bytes))
		return -EMSGSIZE;
	r = check_room(writer, bytes + TRAILER_BYTES);
	if (r < 0)
		return r;
	put_packet(writer, packet, bytes);
	publish(writer, bytes + TRAILER_BYTES);
	if (bytes + TRAILER_BYTES >= writer->wanted && writer->wanted)
		want(writer, 0);
	return 0;
}

bool ring_take_signal(struct ring_writer *writer)
{
	bool owed = writer->signal_owed;

	writer->signal_owed = false;
	return owed;
}
