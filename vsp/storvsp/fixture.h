/*
 * fixture.h - what storvsp stands on, for its tests: loops, threads, disks and a bus of our own
 *
 * Everything runs on the test's thread. The loops are those of base/stepped_loop.h, and disk
 * requests too wait until they are told to run: a test decides every order.
 */
#ifndef VSP_STORVSP_FIXTURE_H
#define VSP_STORVSP_FIXTURE_H

#include "stepped_loop.h"
#include "storvsp_internal.h"
#include "vmbus_protocol.h"

/* --- loops --- */

/* Run what is posted, and what that posts, until nothing is. */
void fixture_run_posted(void);
extern struct loop *const fixture_main_loop;

/* --- disks --- */

struct disk {
	struct disk_info info;
	uint8_t *bytes; /* of the image; may be fewer than info.bytes: the rest reads as zero */
	uint64_t size;
	int error;		/* of the next requests ... */
	unsigned int errors;	/* ... so many */
	unsigned int error_ops; /* bits of enum disk_op; 0: all */
};

void fixture_disk_init(struct disk *disk, uint64_t bytes);
void fixture_disk_free(struct disk *disk);
/* Complete up to @count requests, oldest first; returns how many there were. */
unsigned int fixture_run_disk(unsigned int count);
/* What was submitted last, and how many ever. */
struct fixture_submitted {
	enum disk_op op;
	bool fua, may_unmap;
	uint64_t offset, bytes;
	unsigned int count, kicks;
};
extern struct fixture_submitted fixture_submitted;

/* --- bus --- */

#define FIXTURE_PACKETS 512

struct fixture_packet {
	uint16_t type;
	bool wants_completion;
	uint64_t transaction_id;
	uint8_t payload[80];
	uint32_t payload_bytes;
	struct iovec data[4]; /* of the one range */
	int data_count;	      /* 0: the bus refuses the range */
	uint32_t range_count;
};

struct vmbus_channel {
	struct vmbus_offer offer;
	unsigned int index;
	void *context;
	bool open, closing;
	unsigned int closed; /* calls of vmbus_channel_closed() */

	struct fixture_packet *in; /* FIXTURE_PACKETS */
	unsigned int in_first, in_count;
	struct fixture_packet current; /* private copy, as vmbus_read() promises */

	struct fixture_packet *out; /* FIXTURE_PACKETS */
	unsigned int out_count;
	unsigned int room; /* packets that fit before -EAGAIN */
	unsigned int flushes;
	uint64_t written_bytes; /* told to vmbus_iovec_written() */
};

struct vmbus {
	struct vmbus_channel channels[8]; /* the primary first */
	unsigned int channel_count;
	int offer_error;
};

void fixture_bus_init(struct vmbus *bus);
void fixture_bus_free(struct vmbus *bus);
int fixture_open(struct vmbus_channel *channel);
void fixture_close(struct vmbus_channel *channel);
void fixture_signal(struct vmbus_channel *channel);
/* Put a packet into the ring without a signal. */
void fixture_put(struct vmbus_channel *channel, const struct fixture_packet *packet);
/* Take the oldest packet that the host wrote; false: there is none. */
bool fixture_take(struct vmbus_channel *channel, struct fixture_packet *ret_packet);

/* A plain packet of 64 bytes. */
struct fixture_packet fixture_packet(uint64_t transaction_id, const struct storvsc_packet *packet);

/* End everything that is posted or armed, between tests. */
void fixture_reset(void);

#endif
