/*
 * provider.c - one integration service by its row: framing, negotiation, one request at a time
 *
 * Invariants:
 *   1. At most one message is on its way: Linux reads one packet for each interrupt and handles one
 *      request at a time. A second request is refused here.
 *   2. An answer counts only if it is a response to the request that is out, by type and
 * transaction id; everything else that a guest sends is dropped. Ids go round after 256 requests,
 * long after a late answer can matter.
 *   3. A request ends once: by its answer, its timeout, or the channel's end; before its handler
 *      runs it is forgotten, so that the handler may make the next.
 *   4. A guest that sends packets without end gets a few at a time, other work of the loop between.
 *
 * The VMBus transaction id is not looked at: the header has its own, and guests differ in what they
 * put there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ic_internal.h"
#include "log.h"

#define PACKETS_AT_A_TIME 16

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};

/* --- sending --- */

/* Returns 0; -EAGAIN it waits for room; -ENOTCONN; -EMSGSIZE. */
static int send_message(struct ic_provider *provider)
{
	struct ic_message *message = &provider->message;
	struct iovec part = {message, sizeof(message->pipe) + message->pipe.bytes};
	struct vmbus_out out = {
		.type = IC_PACKET_INBAND,
		.transaction_id = message->header.transaction_id,
		.parts = &part,
		.part_count = 1,
	};
	int r = vmbus_write(provider->channel, &out);

	provider->unsent = r == -EAGAIN;
	if (!r)
		vmbus_flush(provider->channel);
	return r == -EPROTO ? -ENOTCONN : r;
}

static void fill_headers(struct ic_provider *provider, uint16_t type)
{
	struct ic_message *message = &provider->message;

	message->pipe.type = IC_PIPE_DATA;
	message->pipe.bytes = sizeof(message->header) + message->header.body_bytes;
	message->header.framework = provider->framework;
	message->header.message = provider->message_version;
	message->header.type = type;
	message->header.transaction_id = ++provider->transaction_id;
	message->header.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST;
}

void *ic_provider_body(struct ic_provider *provider, size_t bytes)
{
	assert(bytes <= IC_MAX_BODY && !provider->answered && !provider->unsent);
	memset(&provider->message, 0, sizeof(provider->message));
	provider->message.header.body_bytes = (uint16_t)bytes;
	return provider->message.body;
}

int ic_provider_request(struct ic_provider *provider, uint64_t timeout_ns, ic_answered *answered)
{
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	fill_headers(provider, provider->row->message_type);
	r = send_message(provider);
	if (r && r != -EAGAIN)
		return r;
	provider->answered = answered;
	if (timeout_ns)
		loop_timer_arm_ns(provider->timeout, monotonic_ns() + timeout_ns);
	return 0;
}

int ic_provider_free_for_call(const struct ic_provider *provider)
{
	if (provider->phase != IC_READY)
		return -ENOTCONN;
	return provider->answered || provider->unsent ? -EBUSY : 0;
}

bool ic_provider_has_version(const struct ic_provider *provider, uint16_t major, uint16_t minor)
{
	const struct ic_version *version = &provider->message_version;

	return version->major > major || (version->major == major && version->minor >= minor);
}

/* --- the end of a request --- */

static void finish(struct ic_provider *provider, int result, const struct ic_answer *answer)
{
	ic_answered *answered = provider->answered;

	loop_timer_cancel(provider->timeout);
	provider->answered = NULL;
	if (answered)
		answered(provider, result, answer);
}

/*
 * A message that never left is taken back. One that did stays in the guest's ring: its answer will
 * have an old id.
 */
static void timed_out(void *ctx)
{
	struct ic_provider *provider = ctx;

	provider->unsent = false;
	finish(provider, -ETIMEDOUT, NULL);
}

/* --- negotiation --- */

static void negotiate(struct ic_provider *provider)
{
	const struct ic_row *row = provider->row;
	size_t count = ARRAY_SIZE(frameworks) + row->version_count;
	struct ic_negotiate counts = {
		.framework_count = ARRAY_SIZE(frameworks),
		.message_count = (uint16_t)row->version_count,
	};
	uint8_t *body;

	body = ic_provider_body(provider, sizeof(counts) + count * sizeof(struct ic_version));
	memcpy(body, &counts, sizeof(counts));
	memcpy(body + sizeof(counts), frameworks, sizeof(frameworks));
	memcpy(body + sizeof(counts) + sizeof(frameworks), row->versions,
	       row->version_count * sizeof(struct ic_version));
	fill_headers(provider, IC_MESSAGE_NEGOTIATE);
	send_message(provider);
	provider->phase = IC_NEGOTIATING;
}

static bool is_among(struct ic_version version, const struct ic_version *versions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (versions[i].major == version.major && versions[i].minor == version.minor)
			return true;
	}
	return false;
}

static void negotiated(struct ic_provider *provider, const struct ic_answer *answer)
{
	const struct ic_row *row = provider->row;
	struct {
		struct ic_negotiate counts;
		struct ic_version framework, message;
	} body = {};

	memcpy(&body, answer->body, MIN(answer->bytes, sizeof(body)));
	if (answer->bytes < sizeof(body) || body.counts.framework_count != 1 ||
	    body.counts.message_count != 1 ||
	    !is_among(body.framework, frameworks, ARRAY_SIZE(frameworks)) ||
	    !is_among(body.message, row->versions, row->version_count)) {
		log_info("integration service %s: the guest knows no version of ours", row->name);
		provider->phase = IC_DEAF;
		return;
	}
	provider->framework = body.framework;
	provider->message_version = body.message;
	provider->phase = IC_READY;
	if (row->ready)
		row->ready(provider);
}

/* --- receiving --- */

/* Checks a packet's frame. Returns true with the header and the answer, if it is one. */
static bool parse_packet(const struct vmbus_packet *packet, struct ic_header *ret_header,
			 struct ic_answer *ret_answer)
{
	struct ic_pipe_header pipe;
	size_t room;

	if (packet->type != IC_PACKET_INBAND ||
	    packet->payload_bytes < sizeof(pipe) + sizeof(*ret_header))
		return false;
	memcpy(&pipe, packet->payload, sizeof(pipe));
	memcpy(ret_header, packet->payload + sizeof(pipe), sizeof(*ret_header));
	if (pipe.type != IC_PIPE_DATA || pipe.bytes < sizeof(*ret_header) ||
	    pipe.bytes > packet->payload_bytes - sizeof(pipe))
		return false;
	room = pipe.bytes - sizeof(*ret_header);
	ret_answer->status = ret_header->status;
	ret_answer->body = packet->payload + sizeof(pipe) + sizeof(*ret_header);
	ret_answer->bytes = ret_header->body_bytes;
	return ret_header->body_bytes <= room;
}

static bool is_expected(const struct ic_provider *provider, const struct ic_header *header)
{
	bool negotiating = provider->phase == IC_NEGOTIATING;

	if (!negotiating && !provider->answered)
		return false;
	return !provider->unsent && header->transaction_id == provider->transaction_id &&
	       header->type == (negotiating ? IC_MESSAGE_NEGOTIATE : provider->row->message_type) &&
	       (header->flags & IC_FLAG_RESPONSE) && (header->flags & IC_FLAG_TRANSACTION);
}

static void receive(struct ic_provider *provider, const struct vmbus_packet *packet)
{
	struct ic_header header;
	struct ic_answer answer;

	if (!parse_packet(packet, &header, &answer) || !is_expected(provider, &header)) {
		log_debug("integration service %s: a packet that nobody asked for",
			  provider->row->name);
		return;
	}
	if (provider->phase == IC_NEGOTIATING)
		negotiated(provider, &answer);
	else
		finish(provider, 0, &answer);
}

static void read_packets(struct ic_provider *provider)
{
	struct vmbus_packet packet;

	for (int i = 0; i < PACKETS_AT_A_TIME; i++) {
		if (provider->phase == IC_CLOSED || vmbus_read(provider->channel, &packet) <= 0)
			return;
		receive(provider, &packet);
	}
	loop_post(provider->ic->config.loop, &provider->more);
}

static void read_more(struct loop_work *work)
{
	read_packets(container_of(work, struct ic_provider, more));
}

/* --- the channel --- */

static int channel_open(struct vmbus_channel *channel, const uint8_t *user_data)
{
	struct ic_provider *provider = vmbus_channel_provider(channel);

	provider->phase = IC_OPENED;
	return 0;
}

/* The first signal comes by itself; by then the guest has been told that the channel is open. */
static void channel_signalled(struct vmbus_channel *channel)
{
	struct ic_provider *provider = vmbus_channel_provider(channel);

	if (provider->phase == IC_OPENED)
		negotiate(provider);
	else if (provider->unsent)
		send_message(provider);
	read_packets(provider);
}

static void channel_close(struct vmbus_channel *channel)
{
	struct ic_provider *provider = vmbus_channel_provider(channel);

	provider->phase = IC_CLOSED;
	provider->unsent = false;
	provider->framework = provider->message_version = (struct ic_version){};
	loop_work_cancel(provider->ic->config.loop, &provider->more);
	finish(provider, -ENOTCONN, NULL);
	if (provider->row->closed)
		provider->row->closed(provider);
	vmbus_channel_closed(channel);
}

static const struct vmbus_channel_ops channel_ops = {
	.open = channel_open,
	.signalled = channel_signalled,
	.close = channel_close,
};

/* --- life --- */

static int offer(struct ic_provider *provider)
{
	const struct ic_row *row = provider->row;
	struct vmbus_offer offer = {
		.class = row->class,
		.instance = row->instance,
		.flags = IC_OFFER_FLAGS,
		.user_data = {IC_PIPE_TYPE_MESSAGE},
		.ops = &channel_ops,
		.provider = provider,
		.loop = provider->ic->config.loop,
		.name = row->name,
	};

	return vmbus_offer(provider->ic->config.bus, &offer, &provider->channel);
}

int ic_provider_init(struct ic_provider *provider, struct ic *ic, const struct ic_row *row)
{
	int r;

	provider->row = row;
	provider->ic = ic;
	provider->more.run = read_more;
	provider->state = calloc(1, MAX(row->state_bytes, 1));
	if (!provider->state)
		return -ENOMEM;
	r = loop_timer_new(ic->config.loop, timed_out, provider, &provider->timeout);
	if (!r && row->start)
		r = row->start(provider);
	return r ? r : offer(provider);
}

/* Also for one whose init failed half way, or never ran. */
void ic_provider_destroy(struct ic_provider *provider)
{
	if (provider->channel)
		vmbus_rescind(provider->channel, NULL, NULL);
	if (provider->state && provider->row->stop)
		provider->row->stop(provider);
	if (provider->timeout)
		loop_timer_free(provider->timeout);
	free(provider->state);
}
