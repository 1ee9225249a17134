/*
 * storvsp_fuzz.c - packets against a controller, while the host attaches, detaches, and runs out of
 * room
 *
 * Input: a byte that chooses the controller, then steps: a byte says what happens, the next bytes
 * are its parameters. At the end every channel closes and everything that was taken away must have
 * been given back.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DISK_BYTES   (32 * KIB)
#define MEMORY_BYTES (64 * KIB)
#define DISKS	     4

struct world {
	const uint8_t *data;
	size_t size;
	struct vmbus bus;
	struct disk disks[DISKS];
	struct storvsp *storvsp;
	unsigned int leaving;
	uint8_t *memory; /* of the guest */
};

static uint8_t take(struct world *world)
{
	if (!world->size)
		return 0;
	world->size--;
	return *world->data++;
}

static struct vmbus_channel *take_channel(struct world *world)
{
	return &world->bus.channels[take(world) % world->bus.channel_count];
}

static void take_bytes(struct world *world, void *bytes, size_t count)
{
	size_t there = MIN(count, world->size);

	memset(bytes, 0, count);
	memcpy(bytes, world->data, there);
	world->data += there;
	world->size -= there;
}

/* --- the guest --- */

static void send_packet(struct world *world, struct vmbus_channel *channel,
			const struct fixture_packet *packet)
{
	if (channel->open && !channel->closing && channel->in_count < FIXTURE_PACKETS)
		fixture_put(channel, packet);
}

static void step_raw_packet(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);
	struct fixture_packet packet = {.type = take(world), .wants_completion = take(world)};

	packet.payload_bytes = take(world) % (sizeof(packet.payload) + 1);
	take_bytes(world, packet.payload, packet.payload_bytes);
	packet.transaction_id = take(world);
	packet.range_count = take(world) % 3;
	packet.data_count = take(world) % 4;
	for (int i = 0; i < packet.data_count; i++)
		packet.data[i] = (struct iovec){world->memory + 4096 * i, take(world) * 16u};
	send_packet(world, channel, &packet);
}

static void step_operation(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);
	struct storvsc_packet ask = {.operation = take(world), .flags = 1};
	struct fixture_packet packet;

	take_bytes(world, ask.payload, 2);
	packet = fixture_packet(1, &ask);
	send_packet(world, channel, &packet);
}

static void step_srb(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);
	struct storvsc_packet ask = {.operation = STORVSC_EXECUTE_SRB, .flags = 1};
	struct fixture_packet packet;
	uint32_t bytes = take(world) * 256u;

	ask.srb.lun = take(world) % 5;
	ask.srb.cdb_length = 16;
	ask.srb.data_in = take(world) % 3;
	ask.srb.data_transfer_length = bytes;
	take_bytes(world, ask.srb.cdb, 10);
	packet = fixture_packet(2, &ask);
	if (bytes) {
		packet.type = VMBUS_PACKET_GPA_DIRECT;
		packet.range_count = packet.data_count = 1;
		packet.data[0] = (struct iovec){world->memory, bytes};
	}
	send_packet(world, channel, &packet);
}

/* The way to a working channel, which no input finds by chance. */
static void step_connect(struct world *world)
{
	static const uint16_t versions[] = {0x0200, 0x0402, 0x0501, 0x0602};
	static const uint8_t way[] = {STORVSC_BEGIN_INITIALIZATION, STORVSC_QUERY_PROTOCOL_VERSION,
				      STORVSC_QUERY_PROPERTIES, STORVSC_END_INITIALIZATION};
	struct vmbus_channel *primary = &world->bus.channels[0];
	uint16_t version = versions[take(world) % ARRAY_SIZE(versions)];

	if (!primary->open)
		fixture_open(primary);
	for (size_t i = 0; i < ARRAY_SIZE(way); i++) {
		struct storvsc_packet ask = {.operation = way[i], .flags = 1};
		struct fixture_packet packet;

		ask.version.version = version;
		packet = fixture_packet(3, &ask);
		send_packet(world, primary, &packet);
	}
	fixture_signal(primary);
}

static void step_signal(struct world *world)
{
	fixture_signal(take_channel(world));
}

static void step_open(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);

	if (!channel->open)
		fixture_open(channel);
}

static void step_close(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);

	if (channel->open && !channel->closing)
		fixture_close(channel);
}

static void step_room(struct world *world)
{
	struct vmbus_channel *channel = take_channel(world);

	channel->room = take(world) % 8;
	if (channel->room == 7)
		channel->room = FIXTURE_PACKETS;
	channel->out_count = 0;
}

/* --- the host --- */

static void left(void *ctx)
{
	struct world *world = ctx;

	assert(world->leaving);
	world->leaving--;
}

static void step_disk(struct world *world)
{
	fixture_run_disk(take(world) % 8);
}

static void step_posted(struct world *world)
{
	fixture_run_posted();
}

static void step_time(struct world *world)
{
	stepped_advance_ns(1000000000);
}

static void step_retry(struct world *world)
{
	storvsp_retry(world->storvsp);
}

static void step_errors(struct world *world)
{
	struct disk *disk = &world->disks[take(world) % DISKS];

	disk->errors = take(world) % 8;
	disk->error = take(world) & 1 ? -EIO : -ENOSPC;
}

static void step_attach(struct world *world)
{
	unsigned int lun = take(world) % 5;
	uint8_t what = take(world);
	struct storvsp_drive drive = {
		.disk = what & 0x10 ? NULL : &world->disks[lun % DISKS],
		.dvd = what & 1,
		.read_only = what & 2,
		.serial = "fuzz",
	};

	storvsp_attach(world->storvsp, lun, &drive);
}

static void step_detach(struct world *world)
{
	if (storvsp_detach(world->storvsp, take(world) % 5, left, world) == 0)
		world->leaving++;
}

static void step_medium(struct world *world)
{
	uint8_t what = take(world);
	struct disk *disk = what & 0x80 ? NULL : &world->disks[what % DISKS];

	if (storvsp_change_medium(world->storvsp, what >> 4 & 3, disk, left, world) == 0)
		world->leaving++;
}

static void (*const steps[])(struct world *world) = {
	step_srb,   step_srb,	 step_operation, step_raw_packet, step_connect, step_signal,
	step_open,  step_close,	 step_room,	 step_disk,	  step_posted,	step_time,
	step_retry, step_errors, step_attach,	 step_detach,	  step_medium,
};

/* --- beginning and end --- */

static void begin(struct world *world)
{
	uint8_t what = take(world);
	struct storvsp_config config = {
		.bus = &world->bus,
		.loop = fixture_main_loop,
		.kind = what & 1 ? STORVSP_IDE : STORVSP_SCSI,
		.number = what >> 1 & 3,
		.max_subchannels = what >> 3 & 7,
	};
	struct storvsp_drive drive = {.disk = &world->disks[0], .serial = "first"};

	fixture_reset();
	fixture_bus_init(&world->bus);
	for (unsigned int i = 0; i < DISKS; i++)
		fixture_disk_init(&world->disks[i], DISK_BYTES);
	world->memory = calloc(1, MEMORY_BYTES);
	assert(storvsp_new(&config, &world->storvsp) == 0);
	assert(storvsp_attach(world->storvsp, 0, &drive) == 0);
}

static void end(struct world *world)
{
	for (unsigned int i = 0; i < world->bus.channel_count; i++)
		if (world->bus.channels[i].open && !world->bus.channels[i].closing)
			fixture_close(&world->bus.channels[i]);
	while (fixture_run_disk(1))
		fixture_run_posted();
	for (unsigned int i = 0; i < world->bus.channel_count; i++)
		assert(!world->bus.channels[i].open);
	storvsp_free(world->storvsp);
	fixture_run_posted();
	assert(!world->leaving);
	for (unsigned int i = 0; i < DISKS; i++)
		fixture_disk_free(&world->disks[i]);
	fixture_bus_free(&world->bus);
	free(world->memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *world = calloc(1, sizeof(*world));

	world->data = data;
	world->size = size;
	begin(world);
	for (unsigned int i = 0; i < 400 && world->size; i++)
		steps[take(world) % ARRAY_SIZE(steps)](world);
	end(world);
	free(world);
	return 0;
}
