/*
 * ic_internal.h - what the services share: one row each, framing, negotiation, one request at a
 * time
 *
 * provider.c runs every service by its row; a service's own file knows its bodies and what follows
 * upon an answer. All on the main loop.
 *
 * States of a service, and what moves between them:
 *   CLOSED -> OPENED		the guest opens the channel
 *   OPENED -> NEGOTIATING	the first signal: the host's versions are sent
 *   NEGOTIATING -> READY	an answer with versions of ours; row->ready()
 *   NEGOTIATING -> DEAF	an answer without, or with others: all packets are dropped
 *   any -> CLOSED		the channel closes: the request that is out ends, then row->closed()
 */
#ifndef VSP_IC_IC_INTERNAL_H
#define VSP_IC_IC_INTERNAL_H

#include "ic.h"
#include "ic_protocol.h"

#define NANOSECONDS 1000000000ull

/* The guest's own limit for its daemons is 30 s; then it says so itself. */
#define IC_ANSWER_TIMEOUT_NS (35 * NANOSECONDS)

struct ic_provider;

struct ic_answer {
	uint32_t status;
	const uint8_t *body; /* until the next packet is read */
	size_t bytes;
};

/*
 * The end of a request. @result: 0 with the guest's answer, whatever its status; or -ETIMEDOUT,
 * -ENOTCONN with @answer NULL. The next request may be made at once.
 */
typedef void ic_answered(struct ic_provider *provider, int result, const struct ic_answer *answer);

struct ic_row {
	const char *name;
	struct guid class, instance;
	uint16_t message_type;
	const struct ic_version *versions;
	size_t version_count;
	size_t state_bytes; /* of the service's own struct, zeroed in ic_new() */
	/* All may be NULL. start: 0 or -errno, then stop follows nevertheless. */
	int (*start)(struct ic_provider *provider);
	void (*stop)(struct ic_provider *provider);
	void (*ready)(struct ic_provider *provider);
	void (*closed)(struct ic_provider *provider);
};

extern const struct ic_row ic_heartbeat_row, ic_shutdown_row, ic_timesync_row, ic_kvp_row,
	ic_vss_row, ic_fcopy_row;

/* The largest message is a KVP one with IP addresses. */
#define IC_MAX_BODY sizeof(struct ic_kvp_ip_body)

struct ic_message {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t body[IC_MAX_BODY];
};
WIRE_AT(struct ic_message, body, 28);

struct ic_provider {
	const struct ic_row *row;
	struct ic *ic;
	struct vmbus_channel *channel; /* NULL before it is offered */
	void *state;		       /* row->state_bytes */

	enum { IC_CLOSED, IC_OPENED, IC_NEGOTIATING, IC_READY, IC_DEAF } phase;
	struct ic_version framework, message_version;

	/* The request that is out: NULL @answered when there is none. */
	ic_answered *answered;
	uint8_t transaction_id; /* of the last request */
	struct loop_timer *timeout;
	bool unsent; /* @message waits for room in the ring */
	struct ic_message message;

	struct loop_work more; /* the rest of the packets, after others had their turn */
};

struct ic {
	struct ic_config config;
	struct ic_provider services[IC_SERVICE_COUNT];
};

/* --- provider.c --- */

int ic_provider_init(struct ic_provider *provider, struct ic *ic, const struct ic_row *row);
void ic_provider_destroy(struct ic_provider *provider);

/* ic_provider_free_for_call() - 0; -ENOTCONN not ready; -EBUSY a request is out */
int ic_provider_free_for_call(const struct ic_provider *provider);
bool ic_provider_has_version(const struct ic_provider *provider, uint16_t major, uint16_t minor);

/*
 * ic_provider_body() - the body of the next request: @bytes of zeroes to fill in, at most
 * IC_MAX_BODY Only while no request is out.
 */
void *ic_provider_body(struct ic_provider *provider, size_t bytes);

/*
 * ic_provider_request() - send that body; @answered is called once after a return of 0
 * @timeout_ns: 0: for ever
 * Returns: 0, also when the ring is full and it is sent later; -ENOTCONN; -EBUSY; -EMSGSIZE: the
 * guest's ring can never take it.
 */
int ic_provider_request(struct ic_provider *provider, uint64_t timeout_ns, ic_answered *answered);

/* --- call.c --- */

/* Who waits for a call of ic.h. */
struct ic_call {
	ic_done *done;
	void *ctx;
};
/* ic_call_finish() - tell it once, after everything here allows the next call */
void ic_call_finish(struct ic_call *call, int result, const char *text);

/*
 * ic_judge() - what came of a request: its @result, or the status of the answer
 * @what: what was asked, a noun: "the request"
 * Returns: 0; -errno of ic.h, with a sentence in @text
 */
#define IC_TEXT_BYTES 128
int ic_judge(int result, const struct ic_answer *answer, const char *what,
	     char text[IC_TEXT_BYTES]);

/* --- clocks.c --- */

/* The three clocks at one moment. */
struct ic_clocks {
	uint64_t monotonic_ns, real_ns;
	uint64_t reference_100ns;
	uint64_t spread_ns; /* the moment's length */
};
void ic_read_clocks(const struct ic_config *config, struct ic_clocks *ret_clocks);
/* real_clock.c: CLOCK_REALTIME */
uint64_t ic_real_ns(void);

#endif
