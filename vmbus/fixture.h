/*
 * fixture.h - a guest without a machine: memory, a hypervisor that keeps messages and flags, a bus,
 * and the guest's half of the protocol
 *
 * Everything runs on the test's thread: turn() serves the loop until nothing is left to do. Tests
 * with threads give channels loops of their own.
 */
#ifndef VMBUS_FIXTURE_H
#define VMBUS_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmbus_internal.h"

#define MEMORY_BYTES (40 * MIB)
#define VP_COUNT     4u

/* The hypervisor's messages that the guest has not read, and how it behaves. */
struct kept_message {
	unsigned int vp, sint;
	uint32_t type, bytes;
	_Alignas(8) uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};

struct hv {
	pthread_mutex_t lock;
	bool slot_taken, flags_refused;
	struct kept_message *messages;
	unsigned int first, count, max;
	unsigned int flags[VP_COUNT][VMBUS_RELID_LIMIT];		 /* how often set */
	void (*flag_set)(void *ctx, unsigned int vp, unsigned int flag); /* without the lock */
	void *ctx;
};

struct fixture {
	struct guest_memory memory;
	struct partition *part;
	struct loop *loop;
	struct hv hv;
	struct vmbus *bus;
	bool reset_done;
};

struct fixture *fixture_new(void);
/* Resets the bus and frees everything; the offers too. */
void fixture_free(struct fixture *f);

/* Bytes announced to the engine as written, since the start of the program. */
extern uint64_t announced_bytes;

void turn(struct fixture *f);
void fixture_reset(struct fixture *f);

/* --- the guest's messages --- */

/* Post and serve. */
void post(struct fixture *f, const void *message, uint32_t bytes);
uint16_t post_status(struct fixture *f, uint32_t connection_id, const void *message,
		     uint32_t bytes);

/* The next message to the guest, NULL when there is none; valid until the next call. */
const struct kept_message *next_message(struct fixture *f);
/* It must be of this type. */
const void *expect(struct fixture *f, uint32_t type);
void expect_none(struct fixture *f);

void post_contact(struct fixture *f, uint32_t version, uint32_t target_vp);
/* Contact in the newest version, offers requested; what came is read. */
void connect_guest(struct fixture *f);
void post_relid(struct fixture *f, uint32_t type, uint32_t relid);

/* A GPADL of one range of whole pages; header and bodies, no answer read. */
void post_gpadl(struct fixture *f, uint32_t relid, uint32_t id, uint64_t first_pfn, uint32_t pages);
void create_gpadl(struct fixture *f, uint32_t relid, uint32_t id, uint64_t first_pfn,
		  uint32_t pages);
void post_teardown(struct fixture *f, uint32_t relid, uint32_t id);
void post_open(struct fixture *f, uint32_t relid, uint32_t gpadl, uint32_t offset, uint32_t vp);
/* The status of the OPEN_RESULT that must come next. */
uint32_t open_status(struct fixture *f, uint32_t relid);

/* --- the guest's rings, as Linux does it --- */

struct guest_ring {
	struct ring_control *control;
	uint8_t *data;
	uint32_t bytes;
};

/* Rings of the pages [@first_pfn, @first_pfn + @pages), both of half of them; indices zeroed. */
struct guest_rings {
	struct guest_ring up, down;
};
struct guest_rings guest_rings_init(struct fixture *f, uint64_t first_pfn, uint32_t pages);

/* Returns 0 or -EAGAIN; *ret_signal: the host must be signalled. */
int guest_write(struct guest_ring *ring, uint16_t type, uint16_t flags, uint64_t id,
		const void *payload, uint32_t bytes, bool *ret_signal);
/* As guest_write(), with everything behind the descriptor given and the payload at @offset8. */
int guest_write_raw(struct guest_ring *ring, const struct vmbus_packet_descriptor *descriptor,
		    const void *rest, uint32_t bytes, bool *ret_signal);
/* The next packet without its trailer into @buffer; 0 when there is none. */
uint32_t guest_read(struct guest_ring *ring, uint8_t *buffer, uint32_t size, bool *ret_signal);

/* --- a provider --- */

struct provider {
	struct vmbus *bus;
	struct vmbus_channel *channel; /* NULL when rescinded */
	uint32_t relid;
	int open_result;
	bool read_in_open;
	struct vmbus_gpadl *gpadl; /* acquired, released when the channel closes */
	bool hold_close;	  /* the test calls vmbus_channel_closed() */
	bool echo;		  /* complete what wants it with its own payload */
	unsigned int subchannels; /* to be offered when opened */
	unsigned int opens, closes, signals, packets;
	int read_result; /* of the last vmbus_read() */
	struct vmbus_packet last;
	bool unsent; /* a completion found no room */
	uint64_t unsent_id;
	uint8_t unsent_payload[4096];
	uint32_t unsent_bytes;
	bool rescinded;
};

/* Offers it, on the fixture's loop unless @loop is given; @number makes the GUIDs. */
void provider_offer(struct fixture *f, struct provider *provider, unsigned int number,
		    struct loop *loop);
void provider_rescind(struct provider *provider);
/* Offered, connected, its channel open with @pages at @first_pfn. */
#define RING_GPADL 0xe1e10
#define RING_PFN   0x100
struct guest_rings open_channel(struct fixture *f, struct provider *provider, uint32_t pages);
/* Offer @provider as the first, connect the guest and open the channel. */
void offer_and_open(struct fixture *f, struct provider *provider, uint32_t pages);

/* --- fuzz targets --- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
