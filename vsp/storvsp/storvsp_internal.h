/*
 * storvsp_internal.h - between storvsp.c (drives), channel.c (rings), protocol.c (packets)
 *
 * All of it runs on the controller's I/O thread, but for what storvsp.c does on the main loop. What
 * both touch is changed by the main loop only while it makes the I/O thread wait
 * (loop_thread_call()).
 */
#ifndef VSP_STORVSP_STORVSP_INTERNAL_H
#define VSP_STORVSP_STORVSP_INTERNAL_H

#include <stdatomic.h>

#include "loop_thread.h"
#include "storvsp.h"
#include "unit.h"

/* States of the protocol, by what the guest has to send next. Bits, so that sets can be named. */
enum storvsp_state {
	STORVSP_BEGIN = 1,
	STORVSP_VERSION = 2,
	STORVSP_PROPERTIES = 4,
	STORVSP_END = 8,
	STORVSP_READY = 16,
};

/* A packet of the guest until its completion is in the ring. */
struct storvsp_request {
	struct scsi_command command;
	struct storvsp_channel *channel;
	struct storvsp_request *next; /* free or parked */
	uint64_t transaction_id;
	uint32_t reply_bytes;
	struct storvsc_packet packet; /* the guest's, then the reply */
};

/*
 * Requests of a channel. Linux has at most 352 under way on a channel and its siblings together;
 * when there are more we read on as they finish.
 */
#define STORVSP_CHANNEL_REQUESTS 256

struct storvsp_channel {
	struct storvsp *storvsp;
	struct vmbus_channel *channel;
	bool primary;
	struct storvsp_channel *next;

	struct storvsp_request *requests; /* the pool: touched when first used */
	unsigned int fresh;		  /* from here on never used */
	struct storvsp_request *free;
	struct storvsp_request *parked, **parked_end; /* done, no room in the ring */
	unsigned int executing;

	bool closing;
	bool more; /* packets may be left to read: no request was free, or enough for one turn */
	bool unflushed; /* packets written that were not signalled */
};

struct drive;
struct departure;

struct storvsp {
	struct storvsp_config config;
	struct loop_thread *thread;
	struct loop *loop;
	struct disk_queue *queue;
	struct loop_timer *retry_timer;
	struct loop_work retry, turn;

	struct drive *drives[STORVSP_MAX_LUNS];
	struct departure *departures; /* main loop */

	struct storvsp_channel *channels, *primary;
	enum storvsp_state state;
	uint16_t version;
	bool enumerate;				     /* ENUMERATE_BUS is to be sent */
	bool in_turn;				     /* the end of the turn flushes */
	struct scsi_command *waiting, **waiting_end; /* for room on the host's disk */
};

/* --- channel.c --- */

extern const struct vmbus_channel_ops storvsp_channel_ops;

/* storvsp_turn() - read on where there is more, send what waits, signal the guest */
void storvsp_turn(struct storvsp *storvsp);
/* storvsp_request_done() - send request->packet as its completion; the request is gone then */
void storvsp_request_done(struct storvsp_request *request);

/* --- protocol.c --- */

/* storvsp_receive() - serve request->packet, a copy of @packet's payload */
void storvsp_receive(struct storvsp_request *request, const struct vmbus_packet *packet);
/* The wire form of ENUMERATE_BUS; bytes, or 0: the guest's version does not know it */
uint32_t storvsp_make_enumerate(const struct storvsp *storvsp, struct storvsc_packet *ret_packet);

/* --- storvsp.c --- */

/* The unit of @lun, or NULL. */
struct scsi_unit *storvsp_unit(struct storvsp *storvsp, unsigned int lun);
/* storvsp_drop_waiting() - end the waiting writes of a channel (NULL: of a unit) with an error */
void storvsp_drop_waiting(struct storvsp *storvsp, const struct storvsp_channel *channel,
			  const struct scsi_unit *unit);
/* The guest is gone: drives are as after a loss of power. */
void storvsp_power_on(struct storvsp *storvsp);

static inline struct storvsp_request *storvsp_request_of(struct scsi_command *command)
{
	return container_of(command, struct storvsp_request, command);
}

#endif
