/*
 * handshake.c - fixed newstyle negotiation: options and their replies
 *
 * There is one export, under the empty name. An option is taken when all of it is there and the
 * replies to the one before are sent, so input and output are bounded. One that is too long is
 * skipped, then refused.
 */
#include <endian.h>
#include <string.h>

#include "log.h"
#include "nbd_internal.h"

#define ALLOCATION "base:allocation"

/* The data of an option; whoever takes some checks first that they are there. */
struct option_data {
	const uint8_t *bytes;
	size_t left;
	bool bad;
};

static uint32_t take_number(struct option_data *data, size_t bytes)
{
	uint32_t number = 0;

	if (data->left < bytes) {
		data->bad = true;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		number = number << 8 | data->bytes[i];
	data->bytes += bytes;
	data->left -= bytes;
	return number;
}

/* A length, then so many bytes. */
static const char *take_string(struct option_data *data, uint32_t *ret_length)
{
	uint32_t length = take_number(data, 4);
	const char *string = (const char *)data->bytes;

	if (length > data->left || length > NBD_MAX_STRING) {
		data->bad = true;
		length = 0;
	}
	data->bytes += length;
	data->left -= length;
	*ret_length = length;
	return string;
}

/* --- output --- */

static void put(struct nbd_connection *connection, const void *bytes, size_t count)
{
	assert(count <= sizeof(connection->output) - connection->output_bytes);
	memcpy(connection->output + connection->output_bytes, bytes, count);
	connection->output_bytes += count;
}

static void reply(struct nbd_connection *connection, uint32_t option, uint32_t kind,
		  const void *data, size_t bytes)
{
	struct nbd_option_reply head = {.magic = htobe64(NBD_REPLY_MAGIC),
					.option = htobe32(option),
					.kind = htobe32(kind),
					.bytes = htobe32(bytes)};

	put(connection, &head, sizeof(head));
	put(connection, data, bytes);
}

static void refuse(struct nbd_connection *connection, uint32_t option, uint32_t kind,
		   const char *text)
{
	reply(connection, option, kind, text, strlen(text));
}

static void acknowledge(struct nbd_connection *connection, uint32_t option)
{
	reply(connection, option, NBD_REP_ACK, "", 0);
}

void handshake_greet(struct nbd_connection *connection)
{
	struct nbd_greeting greeting = {
		.magic = htobe64(NBD_MAGIC),
		.option_magic = htobe64(NBD_OPTION_MAGIC),
		.flags = htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)};

	put(connection, &greeting, sizeof(greeting));
}

/* --- options --- */

uint16_t transmission_flags(const struct nbd_connection *connection)
{
	const struct nbd_server *server = connection->server;
	/* All clients share the disk's caches, and a flush is one of all of them. */
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE;

	if (connection->structured)
		flags |= NBD_FLAG_SEND_DF;
	if (server->read_only)
		return flags | NBD_FLAG_READ_ONLY;
	flags |= NBD_FLAG_SEND_WRITE_ZEROES;
	return server->info.can_discard ? flags | NBD_FLAG_SEND_TRIM : flags;
}

static void export_name(struct nbd_connection *connection, uint32_t option,
			struct option_data *data)
{
	struct nbd_export_reply answer = {.bytes = htobe64(connection->server->info.bytes),
					  .flags = htobe16(transmission_flags(connection))};

	if (data->left) {
		connection->phase = NBD_END; /* there is no way to tell the client */
		return;
	}
	put(connection, &answer,
	    connection->no_zeroes ? offsetof(struct nbd_export_reply, zeroes) : sizeof(answer));
	connection->phase = NBD_TRANSMISSION;
}

static void abort_negotiation(struct nbd_connection *connection, uint32_t option,
			      struct option_data *data)
{
	acknowledge(connection, option);
	connection->phase = NBD_END;
}

static void list(struct nbd_connection *connection, uint32_t option, struct option_data *data)
{
	static const be32 no_name = 0;

	if (data->left) {
		refuse(connection, option, NBD_REP_ERR_INVALID, "this option has no data");
		return;
	}
	reply(connection, option, NBD_REP_SERVER, &no_name, sizeof(no_name));
	acknowledge(connection, option);
}

static void inform_export(struct nbd_connection *connection, uint32_t option)
{
	struct nbd_info_export info = {.kind = htobe16(NBD_INFO_EXPORT),
				       .bytes = htobe64(connection->server->info.bytes),
				       .flags = htobe16(transmission_flags(connection))};

	reply(connection, option, NBD_REP_INFO, &info, sizeof(info));
}

static void inform_block_size(struct nbd_connection *connection, uint32_t option)
{
	const struct disk_info *disk = &connection->server->info;
	struct nbd_info_block_size info = {.kind = htobe16(NBD_INFO_BLOCK_SIZE),
					   .minimum = htobe32(disk->logical_sector),
					   .preferred = htobe32(MAX(disk->physical_sector, 4096u)),
					   .maximum_payload = htobe32(NBD_MAX_PAYLOAD)};

	reply(connection, option, NBD_REP_INFO, &info, sizeof(info));
}

static void inform_text(struct nbd_connection *connection, uint32_t option, uint16_t kind,
			const char *text)
{
	struct {
		be16 kind;
		char text[256];
	} __attribute__((packed)) info = {.kind = htobe16(kind)};
	size_t length = MIN(strlen(text), sizeof(info.text));

	memcpy(info.text, text, length);
	reply(connection, option, NBD_REP_INFO, &info, sizeof(info.kind) + length);
}

static void inform(struct nbd_connection *connection, uint32_t option, unsigned int wanted)
{
	const char *description = connection->server->description;

	inform_export(connection, option);
	if (wanted & BIT(NBD_INFO_BLOCK_SIZE))
		inform_block_size(connection, option);
	if (wanted & BIT(NBD_INFO_NAME))
		inform_text(connection, option, NBD_INFO_NAME, "");
	if (wanted & BIT(NBD_INFO_DESCRIPTION) && description)
		inform_text(connection, option, NBD_INFO_DESCRIPTION, description);
	acknowledge(connection, option);
}

static void info_or_go(struct nbd_connection *connection, uint32_t option, struct option_data *data)
{
	uint32_t name_length, count;
	unsigned int wanted = 0;

	take_string(data, &name_length);
	count = take_number(data, 2);
	if (data->bad || data->left != count * 2) {
		refuse(connection, option, NBD_REP_ERR_INVALID, "lengths do not add up");
		return;
	}
	if (name_length) {
		refuse(connection, option, NBD_REP_ERR_UNKNOWN, "the only export has no name");
		return;
	}
	for (; count; count--) {
		uint32_t kind = take_number(data, 2);

		wanted |= kind < 32 ? BIT(kind) : 0;
	}
	inform(connection, option, wanted);
	if (option == NBD_OPT_GO)
		connection->phase = NBD_TRANSMISSION;
}

static void structured_reply(struct nbd_connection *connection, uint32_t option,
			     struct option_data *data)
{
	if (data->left) {
		refuse(connection, option, NBD_REP_ERR_INVALID, "this option has no data");
		return;
	}
	connection->structured = true;
	acknowledge(connection, option);
}

/* "base:" stands for all of its contexts in a list, for none in a choice. */
static bool selects_allocation(const char *query, uint32_t length, bool listing)
{
	if (listing && length == strlen("base:") && !memcmp(query, "base:", length))
		return true;
	return length == strlen(ALLOCATION) && !memcmp(query, ALLOCATION, length);
}

static void meta_context(struct nbd_connection *connection, uint32_t option,
			 struct option_data *data)
{
	bool listing = option == NBD_OPT_LIST_META_CONTEXT, selected;
	struct {
		be32 id;
		char name[sizeof(ALLOCATION) - 1];
	} __attribute__((packed)) context = {htobe32(listing ? 0 : NBD_ALLOCATION), {}};
	uint32_t name_length, count, length;

	memcpy(context.name, ALLOCATION, sizeof(context.name));
	if (!listing)
		connection->allocation = false;
	take_string(data, &name_length);
	count = take_number(data, 4);
	selected = listing && !count;
	for (; count && !data->bad; count--) {
		const char *query = take_string(data, &length);

		selected |= selects_allocation(query, length, listing);
	}
	if (data->bad || data->left || !connection->structured) {
		refuse(connection, option, NBD_REP_ERR_INVALID,
		       connection->structured ? "lengths do not add up"
					      : "structured replies come first");
		return;
	}
	if (name_length) {
		refuse(connection, option, NBD_REP_ERR_UNKNOWN, "the only export has no name");
		return;
	}
	if (selected)
		reply(connection, option, NBD_REP_META_CONTEXT, &context, sizeof(context));
	if (!listing)
		connection->allocation = selected;
	acknowledge(connection, option);
}

static const struct {
	uint32_t kind;
	void (*take)(struct nbd_connection *connection, uint32_t option, struct option_data *data);
} options[] = {{NBD_OPT_EXPORT_NAME, export_name},
	       {NBD_OPT_ABORT, abort_negotiation},
	       {NBD_OPT_LIST, list},
	       {NBD_OPT_INFO, info_or_go},
	       {NBD_OPT_GO, info_or_go},
	       {NBD_OPT_STRUCTURED_REPLY, structured_reply},
	       {NBD_OPT_LIST_META_CONTEXT, meta_context},
	       {NBD_OPT_SET_META_CONTEXT, meta_context}};

static void take_option(struct nbd_connection *connection, uint32_t kind, struct option_data *data)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].kind == kind) {
			options[i].take(connection, kind, data);
			return;
		}
	}
	refuse(connection, kind, NBD_REP_ERR_UNSUP, "this option is not known here");
}

/* --- taking --- */

static bool take_client_flags(struct nbd_connection *connection)
{
	struct nbd_client_flags message;
	uint32_t flags;

	if (connection_input(connection) < sizeof(message))
		return false;
	memcpy(&message, connection->input + connection->input_start, sizeof(message));
	connection->input_start += sizeof(message);
	flags = be32toh(message.flags);
	if (flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) {
		log_debug("NBD: a client with unknown flags %#x", flags);
		connection->phase = NBD_END;
		return false;
	}
	connection->no_zeroes = flags & NBD_FLAG_C_NO_ZEROES;
	connection->phase = NBD_OPTIONS;
	return true;
}

/* What is so long is skipped. For an export's name there is no refusal but the end. */
static bool skip_option(struct nbd_connection *connection, uint32_t kind, uint32_t bytes)
{
	connection->input_start += sizeof(struct nbd_option);
	connection->skip = bytes;
	connection->refused_option = kind;
	if (kind == NBD_OPT_EXPORT_NAME)
		connection->phase = NBD_END;
	return connection->phase != NBD_END;
}

static bool take_refused(struct nbd_connection *connection)
{
	if (connection->skip)
		return false;
	refuse(connection, connection->refused_option, NBD_REP_ERR_TOO_BIG, "this is too long");
	connection->refused_option = 0;
	return true;
}

bool handshake_take(struct nbd_connection *connection)
{
	struct nbd_option option;
	uint32_t kind, bytes;

	connection->stalled = connection->output_bytes;
	if (connection->stalled)
		return false;
	if (connection->phase == NBD_CLIENT_FLAGS)
		return take_client_flags(connection);
	if (connection->refused_option)
		return take_refused(connection);
	if (connection_input(connection) < sizeof(option))
		return false;
	memcpy(&option, connection->input + connection->input_start, sizeof(option));
	kind = be32toh(option.kind);
	bytes = be32toh(option.bytes);
	if (be64toh(option.magic) != NBD_OPTION_MAGIC || !kind) {
		connection->phase = NBD_END;
		return false;
	}
	if (bytes > NBD_MAX_OPTION)
		return skip_option(connection, kind, bytes);
	if (connection_input(connection) < sizeof(option) + bytes)
		return false;
	connection->input_start += sizeof(option) + bytes;
	take_option(connection, kind,
		    &(struct option_data){connection->input + connection->input_start - bytes,
					  bytes, false});
	return true;
}
