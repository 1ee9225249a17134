/*
 * commands.c - requests, checked, to the disk, and their replies
 *
 * A request is taken when it has a slot and a buffer for its data; a write then waits for its data,
 * which come straight into the buffer. The slot is free again when the last byte of the reply was
 * sent. What is wrong with a request is its own error and nobody else's; only a wrong magic, or a
 * write that is longer than any may be, ends the connection.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "log.h"
#include "nbd_internal.h"

#define WRITES	    BIT(0)
#define HAS_RANGE   BIT(1)
#define HAS_DATA    BIT(2) /* in either direction */
#define BEYOND_FULL BIT(3) /* beyond the disk's end there is "no space" */

static const struct {
	unsigned int is;
	uint16_t flags; /* besides FUA, which every command may have */
	enum disk_op op;
} commands[] = {
	[NBD_CMD_READ] = {HAS_RANGE | HAS_DATA, NBD_CMD_FLAG_DF, DISK_READ},
	[NBD_CMD_WRITE] = {HAS_RANGE | HAS_DATA | WRITES | BEYOND_FULL, 0, DISK_WRITE},
	[NBD_CMD_FLUSH] = {0, 0, DISK_FLUSH},
	[NBD_CMD_TRIM] = {HAS_RANGE | WRITES, 0, DISK_DISCARD},
	[NBD_CMD_CACHE] = {HAS_RANGE, 0, 0},
	[NBD_CMD_WRITE_ZEROES] = {HAS_RANGE | WRITES | BEYOND_FULL, NBD_CMD_FLAG_NO_HOLE,
				  DISK_WRITE_ZEROES},
	[NBD_CMD_BLOCK_STATUS] = {HAS_RANGE, NBD_CMD_FLAG_REQ_ONE, 0},
};

/* In the host's byte order. */
struct command {
	uint16_t flags, kind;
	be64 cookie;
	uint64_t offset;
	uint32_t bytes;
};

/* --- checks --- */

static uint32_t check_range(const struct nbd_connection *connection, const struct command *command)
{
	const struct disk_info *disk = &connection->server->info;
	unsigned int is = commands[command->kind].is;

	if (!(is & HAS_RANGE))
		return 0;
	if (command->offset > disk->bytes || command->bytes > disk->bytes - command->offset)
		return is & BEYOND_FULL ? NBD_ENOSPC : NBD_EINVAL;
	if ((command->offset | command->bytes) & (disk->logical_sector - 1))
		return NBD_EINVAL;
	if (is & HAS_DATA && command->bytes > NBD_MAX_PAYLOAD)
		return connection->structured ? NBD_EOVERFLOW : NBD_EINVAL;
	return 0;
}

static uint32_t check(const struct nbd_connection *connection, const struct command *command)
{
	if (command->kind >= ARRAY_SIZE(commands))
		return NBD_EINVAL;
	if (command->flags & ~(commands[command->kind].flags | NBD_CMD_FLAG_FUA))
		return NBD_EINVAL;
	if (command->flags & NBD_CMD_FLAG_DF && !connection->structured)
		return NBD_EINVAL;
	if (commands[command->kind].is & WRITES && connection->server->read_only)
		return NBD_EPERM;
	if (command->kind == NBD_CMD_BLOCK_STATUS && (!connection->allocation || !command->bytes))
		return NBD_EINVAL;
	return check_range(connection, command);
}

static uint32_t error_of(int result)
{
	switch (result) {
	case 0: return 0;
	case -ENOSPC: return NBD_ENOSPC;
	case -EROFS: return NBD_EPERM;
	case -ERANGE:
	case -EINVAL: return NBD_EINVAL;
	default: return NBD_EIO;
	}
}

/* --- replies --- */

static void put_head(struct nbd_slot *slot, const void *bytes, size_t count)
{
	assert(slot->head_bytes + count <= sizeof(slot->head));
	memcpy(slot->head + slot->head_bytes, bytes, count);
	slot->head_bytes += count;
}

static void put_simple(struct nbd_slot *slot, uint32_t error)
{
	struct nbd_simple_reply reply = {.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
					 .error = htobe32(error),
					 .cookie = slot->cookie};

	put_head(slot, &reply, sizeof(reply));
}

static void put_chunk(struct nbd_slot *slot, uint16_t type, uint32_t bytes)
{
	struct nbd_chunk chunk = {.magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC),
				  .flags = htobe16(NBD_REPLY_FLAG_DONE),
				  .type = htobe16(type),
				  .cookie = slot->cookie,
				  .bytes = htobe32(bytes)};

	put_head(slot, &chunk, sizeof(chunk));
}

static void set_tail(struct nbd_slot *slot, const void *bytes, size_t count)
{
	slot->tail = bytes;
	slot->tail_bytes = count;
}

static const char *text_of(uint32_t error)
{
	switch (error) {
	case NBD_EPERM: return "the export is read-only";
	case NBD_EIO: return "the image or the host's file system failed";
	case NBD_ENOSPC: return "beyond the disk's end, or the host's file system is full";
	case NBD_EOVERFLOW: return "more than 32 MiB in one request";
	default: return "a wrong command, flag or range, or no multiple of the sector";
	}
}

static void put_error(struct nbd_slot *slot, uint32_t error)
{
	const char *text = text_of(error);
	struct nbd_chunk_error payload = {.error = htobe32(error),
					  .text_bytes = htobe16(strlen(text))};

	if (!slot->connection->structured) {
		put_simple(slot, error);
		return;
	}
	put_chunk(slot, NBD_REPLY_TYPE_ERROR, sizeof(payload) + strlen(text));
	put_head(slot, &payload, sizeof(payload));
	set_tail(slot, text, strlen(text));
}

static void put_data(struct nbd_slot *slot)
{
	be64 offset = htobe64(slot->request.offset);

	if (!slot->connection->structured) {
		put_simple(slot, 0);
	} else if (!slot->bytes) {
		put_chunk(slot, NBD_REPLY_TYPE_NONE, 0);
	} else {
		put_chunk(slot, NBD_REPLY_TYPE_OFFSET_DATA, sizeof(offset) + slot->bytes);
		put_head(slot, &offset, sizeof(offset));
	}
	set_tail(slot, slot->buffer, slot->bytes);
}

static void answer(struct nbd_slot *slot, uint32_t error)
{
	if (error)
		put_error(slot, error);
	else if (slot->command == NBD_CMD_READ)
		put_data(slot);
	else
		put_simple(slot, 0);
	connection_reply(slot);
}

/* --- to the disk --- */

static void block_status(struct nbd_slot *slot)
{
	int count = describe_extents(slot->connection->server->disk, slot->request.offset,
				     slot->request.bytes, slot->max_extents,
				     (struct nbd_extent *)slot->buffer);
	be32 id = htobe32(NBD_ALLOCATION);

	if (count < 0) {
		answer(slot, error_of(count));
		return;
	}
	put_chunk(slot, NBD_REPLY_TYPE_BLOCK_STATUS,
		  sizeof(id) + count * sizeof(struct nbd_extent));
	put_head(slot, &id, sizeof(id));
	set_tail(slot, slot->buffer, count * sizeof(struct nbd_extent));
	connection_reply(slot);
}

static void start(struct nbd_server *server, struct nbd_slot *slot)
{
	if (slot->max_extents) {
		slot->connection->in_flight--;
		block_status(slot);
		return;
	}
	server->at_disk++;
	disk_submit(server->queue, server->disk, &slot->request);
}

/*
 * A look-up of extents may wait for metadata that a request on our queue reads, and that gets on
 * only with this thread. So it is held until nothing is at the disk, and what comes after it
 * behind it.
 */
static void start_held(struct nbd_server *server)
{
	struct nbd_slot *slot;

	while ((slot = server->held) && !(slot->max_extents && server->at_disk)) {
		server->held = slot->next;
		start(server, slot);
	}
}

static void request_done(struct disk_request *request, int result)
{
	struct nbd_slot *slot = container_of(request, struct nbd_slot, request);
	struct nbd_server *server = slot->connection->server;

	slot->connection->in_flight--;
	server->at_disk--;
	answer(slot, error_of(result));
	start_held(server);
}

static void submit(struct nbd_slot *slot)
{
	struct nbd_server *server = slot->connection->server;

	if (!slot->request.bytes && slot->request.op != DISK_FLUSH) {
		answer(slot, 0);
		return;
	}
	slot->connection->in_flight++;
	if (!server->held)
		server->held_end = &server->held;
	slot->next = NULL;
	*server->held_end = slot;
	server->held_end = &slot->next;
	start_held(server);
}

static void prepare(struct nbd_slot *slot, const struct command *command)
{
	slot->iov = (struct iovec){slot->buffer, slot->bytes};
	slot->max_extents = 0;
	slot->request = (struct disk_request){
		.op = commands[command->kind].op,
		.fua = command->flags & NBD_CMD_FLAG_FUA,
		.may_unmap = !(command->flags & NBD_CMD_FLAG_NO_HOLE),
		.offset = commands[command->kind].is & HAS_RANGE ? command->offset : 0,
		.bytes = commands[command->kind].is & HAS_RANGE ? command->bytes : 0,
		.iov = &slot->iov,
		.iov_count = slot->bytes ? 1 : 0,
		.done = request_done};
}

static void begin(struct nbd_slot *slot, const struct command *command)
{
	switch (command->kind) {
	case NBD_CMD_CACHE: answer(slot, 0); break;
	case NBD_CMD_BLOCK_STATUS:
		prepare(slot, command);
		slot->max_extents = command->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_MAX_EXTENTS;
		submit(slot);
		break;
	case NBD_CMD_WRITE:
		prepare(slot, command);
		slot->connection->filling = slot;
		slot->connection->filled = 0;
		break;
	default: prepare(slot, command); submit(slot);
	}
}

void command_filled(struct nbd_slot *slot)
{
	submit(slot);
}

/* --- taking --- */

/* False: the connection ends. */
static bool parse(struct nbd_connection *connection, struct command *command)
{
	struct nbd_request message;

	memcpy(&message, connection->input + connection->input_start, sizeof(message));
	*command = (struct command){.flags = be16toh(message.flags),
				    .kind = be16toh(message.command),
				    .cookie = message.cookie,
				    .offset = be64toh(message.offset),
				    .bytes = be32toh(message.bytes)};
	if (be32toh(message.magic) != NBD_REQUEST_MAGIC)
		log_debug("NBD: a client sent something that is no request");
	else if (command->kind == NBD_CMD_WRITE && command->bytes > NBD_MAX_PAYLOAD)
		log_debug("NBD: a client wants to write %u bytes at once", command->bytes);
	else
		return command->kind != NBD_CMD_DISC;
	return false;
}

static size_t buffer_needed(const struct command *command)
{
	if (command->kind == NBD_CMD_BLOCK_STATUS)
		return NBD_MAX_EXTENTS * sizeof(struct nbd_extent);
	return commands[command->kind].is & HAS_DATA ? command->bytes : 0;
}

bool command_take(struct nbd_connection *connection)
{
	struct command command;
	struct nbd_slot *slot;
	uint32_t error;

	if (connection_input(connection) < sizeof(struct nbd_request))
		return false;
	if (!parse(connection, &command)) {
		connection->phase = NBD_END;
		return false;
	}
	error = check(connection, &command);
	slot = connection_take_slot(connection, error ? 0 : buffer_needed(&command));
	if (!slot)
		return false;
	connection->input_start += sizeof(struct nbd_request);
	slot->cookie = command.cookie;
	slot->command = command.kind;
	if (!error) {
		begin(slot, &command);
		return true;
	}
	if (command.kind == NBD_CMD_WRITE)
		connection->skip = command.bytes;
	answer(slot, error);
	return true;
}
