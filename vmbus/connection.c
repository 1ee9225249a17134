/*
 * connection.c - the guest's control messages: contact, offers, the end of the connection
 *
 * DISCONNECTED --contact in a version we speak--> CONNECTED --unload, contact, reset, a guest that
 * takes no messages--> DISCONNECTING --every channel closed--> DISCONNECTED. What waits for the
 * last step: reset's callback, the answer to an unload, the answer to the contact. While
 * DISCONNECTING nothing is sent and only contact and unload are heard; the later one counts.
 *
 * A crash kernel contacts without an unload: the contact of another kernel ends the connection of
 * the first. Its messages go to the VP it names, since others may never run again.
 *
 * Before 2.4 signals go through an interrupt page (interrupt_page.c); the choice is made with the
 * version, at the contact, and holds until every channel is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "vmbus_internal.h"

/* --- the end of a connection --- */

/* All offers are forgotten first: what closes below must tell the guest nothing any more. */
static void disconnect(struct vmbus *bus)
{
	bus->state = DISCONNECTING;
	bus->offers_sent = false;
	bus->overflow = false;
	bus_discard_messages(bus);
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		if (bus->relids[i].channel)
			bus->relids[i].channel->offered = false;
	}
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		if (bus->relids[i].channel)
			channel_guest_closes(bus->relids[i].channel);
	}
	bus_post_settle(bus);
}

static void send_unload_response(struct vmbus *bus)
{
	const struct vmbus_message_header header = {.type = VMBUS_UNLOAD_RESPONSE};

	bus_send(bus, &header, sizeof(header));
}

static void unload(struct vmbus *bus, const struct in_message *message)
{
	bus->unload_wanted = true;
	bus->contact_wanted = false;
	if (bus->state != DISCONNECTING)
		disconnect(bus);
}

void connection_reset(struct vmbus *bus)
{
	bus->unload_wanted = false;
	bus->contact_wanted = false;
	bus->target_vp = 0;
	/* Also when it is under way or there is nothing to do: the callback comes from the loop. */
	disconnect(bus);
}

/* --- contact --- */

static bool version_spoken(uint32_t version)
{
	static const uint32_t versions[] = {
		VMBUS_VERSION_5_3,    VMBUS_VERSION_5_2,       VMBUS_VERSION_5_1,
		VMBUS_VERSION_5_0,    VMBUS_VERSION_WIN10_RS3, VMBUS_VERSION_WIN10,
		VMBUS_VERSION_WIN8_1, VMBUS_VERSION_WIN8,      VMBUS_VERSION_WIN7,
		VMBUS_VERSION_WS2008,
	};

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		if (versions[i] == version)
			return true;
	}
	return false;
}

/* Since 5.0 the guest names the SINT and trust level it wants messages at; we have one of each. */
static bool contact_acceptable(const struct vmbus_initiate_contact *contact)
{
	if (!version_spoken(contact->version))
		return false;
	return contact->version < VMBUS_VERSION_5_0 ||
	       (contact->sint == VMBUS_SINT && contact->vtl == 0);
}

/* Choose how this connection signals. Returns false when the guest's choice is impossible. */
static bool choose_signals(struct vmbus *bus, const struct vmbus_initiate_contact *contact)
{
	return contact->version >= VMBUS_VERSION_WIN8 ||
	       interrupt_page_attach(bus, contact->interrupt_page) == 0;
}

static uint32_t contact_vp(const struct vmbus *bus, const struct vmbus_initiate_contact *contact)
{
	bool named = contact->version >= VMBUS_VERSION_WIN8_1 &&
		     contact->target_vp < bus->part->vp_count;

	return named ? contact->target_vp : 0;
}

static void connect(struct vmbus *bus, const struct vmbus_initiate_contact *contact)
{
	struct vmbus_version_response response = {.header.type = VMBUS_VERSION_RESPONSE};

	bus->target_vp = contact_vp(bus, contact);
	if (contact_acceptable(contact) && choose_signals(bus, contact)) {
		bus->state = CONNECTED;
		bus->version = contact->version;
		response.supported = 1;
		response.connection_id = contact->version >= VMBUS_VERSION_5_0
						 ? VMBUS_CONNECTION_CONTACT
						 : contact->version;
	}
	bus_send(bus, &response, sizeof(response));
}

static void initiate_contact(struct vmbus *bus, const struct in_message *message)
{
	memcpy(&bus->contact, message->payload, sizeof(bus->contact));
	bus->contact_wanted = true;
	bus->unload_wanted = false;
	if (bus->state != DISCONNECTING)
		disconnect(bus);
}

/* Every channel is closed: no memory of the guest is in use. */
static void disconnected(struct vmbus *bus)
{
	bus->state = DISCONNECTED;
	gpadl_drop_all(bus);
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++)
		bus->relids[i].revoked = false;
	interrupt_page_detach(bus);
	/* 0.13 does not know the answer. */
	if (bus->unload_wanted && bus->version != VMBUS_VERSION_WS2008)
		send_unload_response(bus);
	bus->version = 0;
	if (bus->contact_wanted)
		connect(bus, &bus->contact);
	bus->unload_wanted = bus->contact_wanted = false;
	if (bus->reset_done) {
		void (*done)(void *ctx) = bus->reset_done;

		bus->reset_done = NULL;
		done(bus->reset_ctx);
	}
}

void connection_settle(struct vmbus *bus)
{
	if (bus->overflow) {
		log_warning("vmbus: the guest takes no messages; its connection ends");
		disconnect(bus);
	}
	if (bus->state == DISCONNECTING && !bus->busy)
		disconnected(bus);
}

/* --- the other messages --- */

static void request_offers(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_message_header delivered = {.type = VMBUS_ALL_OFFERS_DELIVERED};

	if (bus->offers_sent)
		return;
	bus->offers_sent = true;
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		struct vmbus_channel *channel = bus->relids[i].channel;

		if (channel && !channel->rescinding)
			channel_send_offer(channel);
	}
	bus_send(bus, &delivered, sizeof(delivered));
}

static void refuse_open(struct vmbus *bus, const struct vmbus_open_channel *open)
{
	const struct vmbus_open_result result = {
		.header.type = VMBUS_OPEN_RESULT,
		.relid = open->relid,
		.open_id = open->open_id,
		.status = VMBUS_STATUS_FAILED,
	};

	bus_send(bus, &result, sizeof(result));
}

/* A revoked channel's open has no answer: the RESCIND was one. */
static void open_channel(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_open_channel *open = (const void *)message->payload;
	struct relid *relid = bus_known_relid(bus, open->relid);

	if (!relid)
		refuse_open(bus, open);
	else if (relid->channel)
		channel_guest_opens(relid->channel, open);
}

static void close_channel(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_relid_message *close = (const void *)message->payload;
	struct relid *relid = bus_known_relid(bus, close->relid);

	if (relid && relid->channel)
		channel_guest_closes(relid->channel);
}

/* After a RESCIND, or for an offer that the guest does not want; not for what is in use. */
static void relid_released(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_relid_message *released = (const void *)message->payload;
	struct relid *relid = bus_known_relid(bus, released->relid);

	if (!relid || (relid->channel && relid->channel->state != CHANNEL_CLOSED))
		return;
	gpadl_drop(bus, released->relid);
	relid->revoked = false;
	if (relid->channel)
		relid->channel->offered = false;
}

static void modify_channel(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_modify_channel *modify = (const void *)message->payload;
	struct relid *relid = bus_known_relid(bus, modify->relid);
	struct vmbus_channel *channel = relid ? relid->channel : NULL;
	struct vmbus_modify_channel_response response = {
		.header.type = VMBUS_MODIFY_CHANNEL_RESPONSE,
		.relid = modify->relid,
		.status = VMBUS_STATUS_FAILED,
	};

	if (bus->version < VMBUS_VERSION_WIN10_RS3)
		return;
	if (channel && channel->guest_open && modify->target_vp < bus->part->vp_count) {
		channel_set_target_vp(channel, modify->target_vp);
		response.status = VMBUS_STATUS_SUCCESS;
	}
	if (bus->version >= VMBUS_VERSION_5_3)
		bus_send(bus, &response, sizeof(response));
}

/* We never open a reserved channel, so that all of them are closed. */
static void close_reserved(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_relid_message *close = (const void *)message->payload;
	const struct vmbus_relid_message response = {
		.header.type = VMBUS_CLOSE_RESERVED_RESPONSE,
		.relid = close->relid,
	};

	if (bus->version >= VMBUS_VERSION_WIN10)
		bus_send(bus, &response, sizeof(response));
}

/* Nobody listens on this host yet. */
static void tl_connect(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_tl_connect_request *request = (const void *)message->payload;
	struct vmbus_tl_connect_result result = {
		.header.type = VMBUS_TL_CONNECT_RESULT,
		.status = VMBUS_STATUS_TL_REFUSED,
	};

	memcpy(result.endpoint, request->endpoint, sizeof(result.endpoint));
	memcpy(result.service, request->service, sizeof(result.service));
	if (bus->version >= VMBUS_VERSION_WIN10_RS3)
		bus_send(bus, &result, sizeof(result));
}

struct message_row {
	void (*serve)(struct vmbus *bus, const struct in_message *message);
	uint32_t min_bytes;
	bool always; /* else only when connected */
};

static const struct message_row rows[VMBUS_MESSAGE_TYPES] = {
	[VMBUS_REQUEST_OFFERS] = {request_offers, sizeof(struct vmbus_message_header)},
	[VMBUS_OPEN_CHANNEL] = {open_channel, sizeof(struct vmbus_open_channel)},
	[VMBUS_CLOSE_CHANNEL] = {close_channel, sizeof(struct vmbus_relid_message)},
	[VMBUS_GPADL_HEADER] = {gpadl_header, sizeof(struct vmbus_gpadl_header)},
	[VMBUS_GPADL_BODY] = {gpadl_body, sizeof(struct vmbus_gpadl_body)},
	[VMBUS_GPADL_TEARDOWN] = {gpadl_teardown, sizeof(struct vmbus_gpadl_teardown)},
	[VMBUS_RELID_RELEASED] = {relid_released, sizeof(struct vmbus_relid_message)},
	/* What follows the version and the VP differs between versions. */
	[VMBUS_INITIATE_CONTACT] = {initiate_contact, 16, .always = true},
	[VMBUS_UNLOAD] = {unload, sizeof(struct vmbus_message_header), .always = true},
	[VMBUS_CLOSE_RESERVED_CHANNEL] = {close_reserved, sizeof(struct vmbus_relid_message)},
	[VMBUS_TL_CONNECT_REQUEST] = {tl_connect, sizeof(struct vmbus_tl_connect_request)},
	[VMBUS_MODIFY_CHANNEL] = {modify_channel, sizeof(struct vmbus_modify_channel)},
};

void connection_message(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_message_header *header = (const void *)message->payload;
	const struct message_row *row =
		header->type < ARRAY_SIZE(rows) ? &rows[header->type] : NULL;

	if (message->bytes < sizeof(*header) || !row || !row->serve)
		log_debug("vmbus: the guest's message of type %u is unknown", header->type);
	else if (message->bytes < row->min_bytes)
		log_debug("vmbus: the guest's message of type %u is too short", header->type);
	else if (row->always || bus->state == CONNECTED)
		row->serve(bus, message);
}
