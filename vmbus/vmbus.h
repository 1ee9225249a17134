/*
 * vmbus.h - VMBus: the connection with the guest's bus driver, channels, rings
 *
 * A provider (VSP) offers channels; the guest opens them; packets go through two rings in guest
 * memory. Facts: wire/vmbus_protocol.h and the TLFS' SynIC.
 *
 * Threads: each channel belongs to the loop its offer names; its ops are called there, and there
 * only its packets are read and written. Offering and rescinding is done on the bus' own loop,
 * where the guest's control messages are served too. vmbus_post_message() and
 * vmbus_signal_event() are the VPs' doors: they only copy, queue and wake a loop.
 *
 * Everything in guest memory is hostile: indices and descriptors are copied once and checked. A
 * guest that breaks a ring loses that channel (ops->close is called, later opens are refused until
 * it closes the channel), nothing else.
 */
#ifndef VMBUS_VMBUS_H
#define VMBUS_VMBUS_H

#include <sys/uio.h>

#include "guid.h"
#include "hv.h"
#include "loop.h"
#include "partition.h"
#include "vmbus_protocol.h"

struct vmbus;
struct vmbus_channel;
struct vmbus_gpadl;

/* What a provider does; all on the channel's loop. */
struct vmbus_channel_ops {
	/*
	 * The guest opens the channel, the rings are there. Packets may be written at once.
	 * @user_data: 120 bytes of the guest's open message.
	 * Returns: 0, or -errno: the guest's open fails.
	 */
	int (*open)(struct vmbus_channel *channel, const uint8_t *user_data);
	/* The guest signalled: packets may be there, or room. Also called once after open. */
	void (*signalled)(struct vmbus_channel *channel);
	/*
	 * The guest closed the channel, unloaded the bus, or broke the ring; or the machine resets.
	 * No packet can be read or written from here on. When nothing touches guest memory on
	 * behalf of this channel any more the provider calls vmbus_channel_closed(), at once or later.
	 */
	void (*close)(struct vmbus_channel *channel);
};

struct vmbus_offer {
	struct guid class, instance;
	uint16_t flags;	      /* VMBUS_OFFER_* of wire/vmbus_protocol.h */
	uint16_t mmio_megabytes;
	uint8_t user_data[120];
	const struct vmbus_channel_ops *ops;
	void *provider;	      /* vmbus_channel_provider() */
	struct loop *loop;    /* of the channel */
	const char *name;     /* for logs and status: "scsi 0"; borrowed */
};

struct vmbus_config {
	struct partition *part;
	struct loop *loop;
	struct hv *hv;
};

/* Returns 0, -errno. Main loop. */
int vmbus_new(const struct vmbus_config *config, struct vmbus **ret_bus);
/* After all VP threads ended, and after vmbus_reset() said done. */
void vmbus_free(struct vmbus *bus);

/*
 * vmbus_reset() - the machine is reset or ends: close every channel, forget GPADLs and connection
 * @done: called on the bus' loop when no provider touches guest memory any more; offers stay
 * Bus' loop; no VP runs.
 */
void vmbus_reset(struct vmbus *bus, void (*done)(void *ctx), void *ctx);

/* Doors for hv_services; any VP's thread. Return an HV_STATUS_*. */
uint16_t vmbus_post_message(struct vmbus *bus, uint32_t connection_id, const void *payload,
			    uint32_t bytes);
uint16_t vmbus_signal_event(struct vmbus *bus, uint32_t connection_id, uint16_t flag);
void vmbus_synic_ready(struct vmbus *bus);

/*
 * The eventfd that vmbus_signal_event() writes for a connection, for whoever can bind it as a
 * doorbell: told when its channel opens, and when it closes. Bus' loop.
 */
struct vmbus_doorbell_events {
	void (*opened)(void *ctx, uint32_t connection_id, int eventfd);
	void (*closed)(void *ctx, uint32_t connection_id, int eventfd);
	void *ctx;
};
void vmbus_set_doorbell_events(struct vmbus *bus, const struct vmbus_doorbell_events *events);

/* --- for providers: bus' loop --- */

/*
 * vmbus_offer() - the channel stays until vmbus_rescind() is done
 * Returns: 0; -ENOSPC (2047 channels); -EEXIST instance in use; -ENOMEM.
 */
int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
		struct vmbus_channel **ret_channel);
/*
 * vmbus_rescind() - take the channel (and its sub-channels) away: close it if open, tell the guest
 * @done: on the bus' loop, the channel is freed after it returns. May be NULL.
 */
void vmbus_rescind(struct vmbus_channel *channel, void (*done)(void *ctx), void *ctx);

/*
 * vmbus_offer_subchannels() - offer sub-channels 1..count of a primary channel that is open
 * Any loop; they are offered soon. They have the primary's ops, provider and loop of @loops[i]
 * (NULL @loops: the primary's). They vanish when the primary closes. Refused with -EBUSY while
 * sub-channels exist, -EINVAL for count 0 or > 64, -ENOTSUP to a guest of a version before 2.4.
 */
int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned int count,
			    struct loop *const *loops);

/*
 * --- for providers: the channel's loop, from ops->open until vmbus_channel_closed() ---
 *
 * After ops->close no packet is read or written any more: those calls then fail or do nothing.
 */

void *vmbus_channel_provider(const struct vmbus_channel *channel);
/* Provider's own pointer for this channel (a sub-channel has its own); NULL at first. */
void vmbus_channel_set_context(struct vmbus_channel *channel, void *context);
void *vmbus_channel_context(const struct vmbus_channel *channel);
unsigned int vmbus_channel_index(const struct vmbus_channel *channel); /* 0: primary */
void vmbus_channel_closed(struct vmbus_channel *channel);

/* A packet from the guest: a private copy, valid until the next vmbus_read() on the channel. */
struct vmbus_packet {
	uint16_t type;		 /* VMBUS_PACKET_* */
	bool wants_completion;
	uint64_t transaction_id;
	const uint8_t *payload;
	uint32_t payload_bytes;	 /* padded to 8 by the guest */
	/* GPA-direct packets: */
	const uint8_t *ranges;	 /* wire form, checked: range_count of {count, offset, pfn[]} */
	uint32_t range_count;
};

/*
 * vmbus_read() - the next packet
 * Returns: 1 with *ret_packet; 0 when there is none: ops->signalled will be called when there is;
 *          -EPROTO the guest broke the ring: return; ops->close comes.
 */
int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *ret_packet);

/*
 * vmbus_packet_iovec() - host memory of GPA range @index of a packet
 * Neighbouring pages are joined. Returns: number of entries; -EFAULT not RAM; -E2BIG more than
 * @max; -EINVAL no such range. *ret_bytes is the range's length.
 */
int vmbus_packet_iovec(struct vmbus_channel *channel, const struct vmbus_packet *packet,
		       uint32_t index, struct iovec *iov, size_t max, uint32_t *ret_bytes);
/*
 * vmbus_iovec_written() - announce that the host wrote these iovecs (partition_memory_written())
 * For as long as vmbus_channel_closed() was not called: data may arrive after ops->close.
 */
void vmbus_iovec_written(struct vmbus_channel *channel, const struct iovec *iov, int count);

/*
 * vmbus_gpadl_acquire() - use memory that the guest described as GPADL @id of this channel
 * For what a device's protocol hands over by number, such as a network adapter's buffers: one range
 * of whole pages. Until vmbus_gpadl_release() the guest waits for the answer to its teardown, so
 * release when the protocol takes the memory back, and before vmbus_channel_closed(). What was
 * acquired twice is released twice.
 * Returns: 0; -ENOENT no such GPADL, or the guest tears it down; -EINVAL not whole pages.
 */
int vmbus_gpadl_acquire(struct vmbus_channel *channel, uint32_t id, struct vmbus_gpadl **ret_gpadl);
void vmbus_gpadl_release(struct vmbus_channel *channel, struct vmbus_gpadl *gpadl);

/* Of an acquired GPADL; any loop. */
uint32_t vmbus_gpadl_bytes(const struct vmbus_gpadl *gpadl);
/*
 * vmbus_gpadl_iovec() - host memory of @bytes at @offset
 * Announce what is written there with vmbus_iovec_written(). Returns: number of entries; -EINVAL
 * beyond its end; -EFAULT not RAM; -E2BIG more than @max.
 */
int vmbus_gpadl_iovec(struct vmbus_channel *channel, const struct vmbus_gpadl *gpadl,
		      uint32_t offset, uint32_t bytes, struct iovec *iov, size_t max);

/*
 * vmbus_write() - append a packet of @type whose payload is @parts one after the other
 * @header: bytes after the descriptor before the payload (transfer-page ranges); NULL for none
 * It is seen by the guest at once, signalled at vmbus_flush().
 * Returns: 0; -EAGAIN no room now: ops->signalled comes when there is; -EMSGSIZE never fits;
 *          -EPROTO as for vmbus_read().
 */
struct vmbus_out {
	uint16_t type;
	bool wants_completion;
	uint64_t transaction_id;
	const void *header;
	uint32_t header_bytes; /* a multiple of 8 */
	const struct iovec *parts;
	int part_count;
};
int vmbus_write(struct vmbus_channel *channel, const struct vmbus_out *out);
/* vmbus_complete() - a completion packet with one part */
int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
		   uint32_t bytes);
/* vmbus_flush() - signal the guest if the packets since the last flush call for it. */
void vmbus_flush(struct vmbus_channel *channel);

/* --- status; bus' loop --- */

struct vmbus_status {
	uint32_t version; /* 0: not connected */
	unsigned int offered, open;
};
void vmbus_get_status(const struct vmbus *bus, struct vmbus_status *ret_status);

#endif
