/*
 * vmbus_internal.h - what the files of this folder share
 *
 * Everything here runs on the bus' loop, but for the members that say otherwise.
 */
#ifndef VMBUS_VMBUS_INTERNAL_H
#define VMBUS_VMBUS_INTERNAL_H

#include <pthread.h>

#include "ring.h"
#include "vmbus.h"

#define VMBUS_MAX_SUBCHANNELS 64

/* A channel's connection id is its relid above this: beyond the ids of messages. */
#define VMBUS_EVENT_CONNECTIONS 0x2000u

/* Bounds on what a guest can make us keep. */
#define VMBUS_IN_MESSAGES      256u  /* posted and not yet served */
#define VMBUS_OUT_MESSAGES     8192u /* not yet taken by the guest */
#define VMBUS_GPADLS	       8192u
#define VMBUS_GPADL_WORDS      (1u << 20) /* of all lists together: 4 GiB of the guest's memory */
#define VMBUS_RING_MAPPINGS    16384u	  /* of all open rings; a process may have 65530 */
#define VMBUS_MESSAGES_PER_RUN 64u

/* A guest's message: padded with zeros to the largest. */
struct in_message {
	uint32_t bytes;
	uint32_t connection_id;
	_Alignas(8) uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};

struct out_message {
	struct out_message *next;
	uint32_t bytes;
	_Alignas(8) uint8_t payload[];
};

/* --- gpadl.c --- */

struct vmbus_gpadl {
	struct vmbus_gpadl *next;
	uint32_t relid, id;
	uint32_t words, filled; /* of the list of ranges */
	uint16_t range_count;
	bool complete;
	bool teardown; /* answered when the channel is closed, or when nobody uses it */
	unsigned int users;
	uint64_t list[];
};

void gpadl_header(struct vmbus *bus, const struct in_message *message);
void gpadl_body(struct vmbus *bus, const struct in_message *message);
void gpadl_teardown(struct vmbus *bus, const struct in_message *message);
/* The complete list @id of @relid that is not being torn down, or NULL. */
const struct vmbus_gpadl *gpadl_find(const struct vmbus *bus, uint32_t relid, uint32_t id);
/* Its page numbers if it is one range of whole pages, else NULL. */
const uint64_t *gpadl_whole_pages(const struct vmbus_gpadl *gpadl, uint32_t *ret_pages);
/* Answer the teardowns that waited for the channel to close. */
void gpadl_answer_teardowns(struct vmbus *bus, uint32_t relid);
void gpadl_drop(struct vmbus *bus, uint32_t relid);
void gpadl_drop_all(struct vmbus *bus);
/* gpadl_work: one that is being torn down has lost its last user. */
void gpadl_serve_released(struct loop_work *work);

/* --- channel.c --- */

enum channel_state { CHANNEL_CLOSED, CHANNEL_OPENING, CHANNEL_OPEN, CHANNEL_CLOSING };
enum channel_signals { SIGNALS_OFF, SIGNALS_HELD, SIGNALS_ON };

struct vmbus_channel {
	/* configuration */
	struct vmbus *bus;
	struct vmbus_offer offer;
	unsigned int index; /* 0: primary */
	struct vmbus_channel *primary;
	uint32_t relid;

	/* what guest and provider did */
	enum channel_state state;
	bool offered;	   /* to the guest, in this connection */
	bool guest_open;   /* the guest posted an open, and no close since */
	bool broken;	   /* closed by us; no open before the guest's close */
	bool close_wanted; /* as soon as it is open */
	bool reopen;	   /* as soon as it is closed, with reopen_message */
	bool rescinding;
	bool provider_closed; /* in CHANNEL_CLOSING; sub-channels may be left */
	bool doorbell;	      /* events.opened() was called */
	struct vmbus_open_channel open_message, reopen_message;
	unsigned int mappings; /* counted in bus->ring_mappings */
	unsigned int subchannels;
	bool subchannels_held; /* to be offered as soon as it is open */
	int open_result;
	void (*rescinded)(void *ctx);
	void *rescinded_ctx;

	/* signals to the guest; any thread, under signal_lock */
	pthread_mutex_t signal_lock;
	enum channel_signals signals;
	uint32_t target_vp;
	bool signal_latched; /* to be sent when the signals go on, or the VP takes them again */

	/* sub-channels wanted by the provider; any thread sets the count from 0 */
	atomic_uint subchannels_wanted;
	struct loop *subchannel_loops[VMBUS_MAX_SUBCHANNELS];

	/* the channel's loop, between open and close; the bus' loop otherwise */
	void *context;
	bool running; /* packets may be read and written */
	struct ring_reader up;
	struct ring_writer down;
	uint8_t *packet;
	struct loop_source *source;
	uint32_t iovec_index, iovec_at; /* where vmbus_packet_iovec() stopped */

	/* hand-over: the first two to the channel's loop, the others to the bus' */
	struct loop_work open_work, close_work;
	struct loop_work opened_work, closed_work, broken_work, subchannels_work, gone_work;
	struct vmbus_channel *next_gone;
};

void channel_guest_opens(struct vmbus_channel *channel, const struct vmbus_open_channel *message);
void channel_guest_closes(struct vmbus_channel *channel);
/* The guest tears the rings' GPADL down, or has broken one: close, and stay so until it closes. */
void channel_break(struct vmbus_channel *channel);
/* Tell whoever binds doorbells, once for each change. */
void channel_set_doorbell(struct vmbus_channel *channel, bool open);
void channel_send_offer(struct vmbus_channel *channel);
void channel_set_target_vp(struct vmbus_channel *channel, uint32_t target_vp);
void channel_free(struct vmbus_channel *channel);

/* Signal the guest, or remember to. Any thread. */
void channel_signal(struct vmbus_channel *channel);
/* Send what is latched, if it can be sent now. Any thread. */
void channel_retry_signal(struct vmbus_channel *channel);

/* --- packet.c; the channel's loop --- */

/* The rings are mapped: let packets flow. Returns 0 or -errno. */
int channel_start_packets(struct vmbus_channel *channel);
void channel_stop_packets(struct vmbus_channel *channel);

/* --- bus.c --- */

enum connection_state { DISCONNECTED, CONNECTED, DISCONNECTING };

struct relid {
	struct vmbus_channel *channel;
	bool revoked; /* a channel that the guest has yet to release */
	/* Written by vmbus_signal_event(); made once and kept, so that no VP writes to a stranger.
	 */
	atomic_int eventfd;
};

struct vmbus {
	struct partition *part;
	struct loop *loop;
	struct hv *hv;
	struct vmbus_doorbell_events doorbells;

	/* from the guest; any thread, under in_lock */
	pthread_mutex_t in_lock;
	struct in_message *in;
	unsigned int in_first, in_count;
	struct loop_work in_work;

	/* to the guest */
	struct out_message *out, **out_end;
	unsigned int out_count;
	bool overflow; /* the guest takes no messages: the connection ends */
	struct loop_work ready_work;

	/* connection */
	enum connection_state state;
	uint32_t version;
	uint32_t target_vp;
	bool offers_sent;
	bool unload_wanted;  /* to be answered when disconnected */
	bool contact_wanted; /* likewise, with contact */
	struct vmbus_initiate_contact contact;
	/* Before 2.4, else NULL: how to signal. Any thread reads; see interrupt_page.c. */
	struct interrupt_page *_Atomic interrupt_page;
	struct loop_work interrupt_work;
	void (*reset_done)(void *ctx);
	void *reset_ctx;
	struct loop_work settle_work;

	struct relid relids[VMBUS_RELID_LIMIT];
	unsigned int busy; /* channels that are not closed */
	struct vmbus_channel *gone; /* rescinded, their gone_work is queued */
	unsigned int ring_mappings;
	/* Written on the bus' loop, but for users, and under gpadl_lock: channels' loops look. */
	pthread_mutex_t gpadl_lock;
	struct loop_work gpadl_work;
	struct vmbus_gpadl *gpadls;
	unsigned int gpadl_count, gpadl_words;
};

/* The channel or revoked relid that the guest means; NULL when it was not offered one. */
struct relid *bus_known_relid(struct vmbus *bus, uint32_t relid);

/* bus_send() - queue a message; in order. It may end the connection, a little later. */
void bus_send(struct vmbus *bus, const void *message, uint32_t bytes);
void bus_discard_messages(struct vmbus *bus);

/* Something may have become possible: see connection_settle(). */
void bus_post_settle(struct vmbus *bus);

/* --- interrupt_page.c --- */

/* The connection signals through this page from now on. Returns 0; -EINVAL not a page of RAM. */
int interrupt_page_attach(struct vmbus *bus, gpa_t gpa);
void interrupt_page_detach(struct vmbus *bus);
/* Tell the guest which channel the flag means that is set next. While the channel is open. */
void interrupt_page_set(struct vmbus *bus, uint32_t relid);
/* interrupt_work: the guest has signalled for all channels. */
void interrupt_page_serve(struct loop_work *work);

/* --- connection.c --- */

void connection_message(struct vmbus *bus, const struct in_message *message);
void connection_settle(struct vmbus *bus);
void connection_reset(struct vmbus *bus);

#endif
