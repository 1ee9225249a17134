/*
 * fixture.h - a guest, a bus and a clock for tests of the integration services
 *
 * Stands in for vmbus/ and real_clock.c; the loop is that of base/stepped_loop.h. One fixture at a
 * time. No cmocka here, so that the fuzz target can use it: what a test must not do ends in
 * assert().
 */
#ifndef VSP_IC_FIXTURE_H
#define VSP_IC_FIXTURE_H

#include "ic_internal.h"
#include "stepped_loop.h"

#define FIXTURE_REAL_NS (1700000000ull * NANOSECONDS) /* the host's clock at start */

/* A packet from the host as the guest sees it. */
struct fixture_packet {
	size_t bytes; /* of the message */
	struct ic_message message;
};

struct ic *fixture_new(void);
void fixture_free(struct ic *ic);

/* --- the bus --- */

const struct vmbus_offer *fixture_offer(enum ic_service service);
unsigned int fixture_offers(void);   /* those that stand */
void fixture_fail_offer(int number); /* the one with this number, counted from 0; -1: none */
void fixture_open(enum ic_service service);
void fixture_close(enum ic_service service);
bool fixture_is_open(enum ic_service service);
/* From now on writes have this result: 0, -EAGAIN, -EMSGSIZE, -EPROTO. */
void fixture_set_write_result(enum ic_service service, int result);
/* The guest signals without a packet: it made room. */
void fixture_signal(enum ic_service service);
unsigned int fixture_flushes(void); /* since the last call */

/* --- the guest --- */

/* Takes the oldest packet of the host's out of the ring. Returns false when there is none. */
bool fixture_take(enum ic_service service, struct fixture_packet *ret_packet);
/* Puts bytes into the other ring, as a packet of @type, with @signal the service is told. */
void fixture_send(enum ic_service service, uint16_t type, const void *bytes, size_t count,
		  bool signal);
/* Answers @packet, with the flags of a response and this status; the rest as it is. */
void fixture_answer(enum ic_service service, struct fixture_packet *packet, uint32_t status);
/* Opens the channel and chooses versions. */
void fixture_connect(enum ic_service service, uint16_t framework, uint16_t major, uint16_t minor);
size_t fixture_unread(enum ic_service service); /* packets of the guest's that are left */

/* --- time --- */

void fixture_step_real_ns(int64_t ns);
uint64_t fixture_reference_100ns(void);

#endif
