/*
 * ring.h - one direction of a channel: a ring buffer in guest memory, its reader or writer
 *
 * The guest's indices are loaded once and checked; our own index is kept privately and only
 * published. The data area is mapped twice in a row, so that no packet wraps. All functions but
 * ring_map() and ring_unmap() run on the channel's loop.
 */
#ifndef VMBUS_RING_H
#define VMBUS_RING_H

#include <stdatomic.h>

#include "partition.h"
#include "vmbus_protocol.h"

/* struct vmbus_ring_control as both sides access it. */
struct ring_control {
	_Atomic uint32_t write_index, read_index, interrupt_mask, pending_send_size;
	uint8_t reserved[48];
	_Atomic uint32_t features;
};
static_assert(sizeof(struct ring_control) == sizeof(struct vmbus_ring_control),
	      "not the wire form");
static_assert(offsetof(struct ring_control, features) ==
		      offsetof(struct vmbus_ring_control, features),
	      "not the wire form");

/* Rings are mapped page by page where the guest's pages are scattered; so they are bounded. */
#define RING_MAX_PAGES 1025u /* a control page and 4 MiB of data */
#define RING_MIN_PAGES 2u

struct ring {
	struct ring_control *control; /* NULL: not mapped */
	uint8_t *data;
	uint32_t bytes;	       /* of the data area, once */
	unsigned int mappings; /* that the data area is made of */
};

/*
 * ring_map() - map the ring whose pages are @pfns[0..@pages): control page, then data
 * @max_mappings: how many mappings it may take
 * Returns: 0; -EINVAL number of pages; -EFAULT a page is not RAM; -ENOSPC too many mappings;
 *          -ENOMEM.
 */
int ring_map(struct ring *ring, struct partition *part, const uint64_t *pfns, uint32_t pages,
	     unsigned int max_mappings);
void ring_unmap(struct ring *ring);

/* --- from the guest --- */

struct ring_reader {
	struct ring ring;
	uint32_t read_index;
	bool masked; /* the guest was told not to signal */
};

/* Returns 0; -EPROTO when the guest's indices are impossible. */
int ring_reader_start(struct ring_reader *reader);

/*
 * ring_read() - copy the next packet, without its trailer, and give its room back
 * @buffer: of at least ring_max_packet() bytes
 * @ret_signal: the guest waits for room and now has it: signal it
 * Returns: the packet's bytes, its descriptor checked (sizes, not types); 0 when the ring is empty,
 *          the guest signals when it is not any more; -EPROTO.
 */
int ring_read(struct ring_reader *reader, uint8_t *buffer, bool *ret_signal);

/* The largest packet a ring of this size can hold, without its trailer. */
uint32_t ring_max_packet(const struct ring *ring);

/* --- to the guest --- */

struct ring_writer {
	struct ring ring;
	uint32_t write_index;
	uint32_t wanted;  /* what we asked to be signalled for, 0: nothing */
	bool signal_owed; /* packets since the last ring_take_signal() call for a signal */
};

/* A packet to write: descriptor made of the first members, then the parts. */
struct ring_packet {
	uint16_t type, flags;
	uint64_t transaction_id;
	const void *header;
	uint32_t header_bytes; /* a multiple of 8 */
	const struct iovec *parts;
	int part_count;
};

int ring_writer_start(struct ring_writer *writer);

/*
 * ring_write() - append a packet; the guest sees it at once
 * Returns: 0; -EAGAIN no room, the guest was asked to signal when there is; -EMSGSIZE; -EPROTO.
 */
int ring_write(struct ring_writer *writer, const struct ring_packet *packet);

/* The guest signalled: if the room that ring_write() waits for is there, stop asking for it. */
void ring_notice_room(struct ring_writer *writer);

/* ring_take_signal() - is a signal owed? Answers true once. */
bool ring_take_signal(struct ring_writer *writer);

#endif
