/*
 * fixture.c - see fixture.h
 */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- loops --- */

struct loop {
	int unused;
};

static struct loop main_loop, io_loop;
struct loop *const fixture_main_loop = &main_loop;

void fixture_run_posted(void)
{
	while (stepped_run_posted())
		;
}

/* --- threads: the test's own --- */

struct loop_thread {
	int unused;
};

int loop_thread_new(const char *name, struct loop_thread **ret_thread)
{
	*ret_thread = calloc(1, sizeof(**ret_thread));
	return 0;
}

struct loop *loop_thread_loop(struct loop_thread *thread)
{
	return &io_loop;
}

void loop_thread_call(struct loop_thread *thread, void (*fn)(void *ctx), void *ctx)
{
	fn(ctx);
}

void loop_thread_free(struct loop_thread *thread)
{
	free(thread);
}

/* --- disks --- */

struct disk_queue {
	int unused;
};

static struct disk_queue the_queue;
static struct disk_request *submitted, **submitted_end = &submitted;
struct fixture_submitted fixture_submitted;

void fixture_disk_init(struct disk *disk, uint64_t bytes)
{
	*disk = (struct disk){
		.info = {.format = DISK_RAW,
			 .bytes = bytes,
			 .logical_sector = 512,
			 .physical_sector = 4096,
			 .can_discard = true,
			 .chain_length = 1,
			 .path = "/images/test.vhd"},
		.size = MIN(bytes, 16 * MIB),
	};
	disk->bytes = calloc(1, disk->size);
}

void fixture_disk_free(struct disk *disk)
{
	free(disk->bytes);
	disk->bytes = NULL;
}

void disk_get_info(const struct disk *disk, struct disk_info *ret_info)
{
	*ret_info = disk->info;
}

int disk_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue)
{
	*ret_queue = &the_queue;
	return 0;
}

void disk_queue_free(struct disk_queue *queue)
{
}

void disk_queue_kick(struct disk_queue *queue)
{
	fixture_submitted.kicks++;
}

void disk_submit(struct disk_queue *queue, struct disk *disk, struct disk_request *request)
{
	fixture_submitted.op = request->op;
	fixture_submitted.fua = request->fua;
	fixture_submitted.may_unmap = request->may_unmap;
	fixture_submitted.offset = request->offset;
	fixture_submitted.bytes = request->bytes;
	fixture_submitted.count++;
	request->disk = disk;
	request->next = NULL;
	*submitted_end = request;
	submitted_end = &request->next;
}

static int check_request(const struct disk *disk, const struct disk_request *request)
{
	uint64_t sum = 0;

	if (request->op == DISK_FLUSH)
		return 0;
	if (request->offset % 512 || request->bytes % 512)
		return -EINVAL;
	if (request->offset > disk->info.bytes ||
	    request->bytes > disk->info.bytes - request->offset)
		return -ERANGE;
	if (request->op != DISK_READ && request->op != DISK_WRITE)
		return 0;
	for (int i = 0; i < request->iov_count; i++)
		sum += request->iov[i].iov_len;
	return sum == request->bytes ? 0 : -EINVAL;
}

/* Spoils the iovec on the way, as a disk may. */
static void move_data(struct disk *disk, struct disk_request *request)
{
	uint64_t at = request->offset;

	for (int i = 0; i < request->iov_count; i++) {
		struct iovec *part = &request->iov[i];
		bool there = at + part->iov_len <= disk->size;

		if (request->op == DISK_WRITE && there)
			memcpy(disk->bytes + at, part->iov_base, part->iov_len);
		else if (request->op == DISK_READ && there)
			memcpy(part->iov_base, disk->bytes + at, part->iov_len);
		else if (request->op == DISK_READ)
			memset(part->iov_base, 0, part->iov_len);
		at += part->iov_len;
		*part = (struct iovec){NULL, 0};
	}
}

static bool fails_now(struct disk *disk, const struct disk_request *request)
{
	if (!disk->errors || (disk->error_ops && !(disk->error_ops & BIT(request->op))))
		return false;
	disk->errors--;
	return true;
}

static int perform(struct disk *disk, struct disk_request *request)
{
	int r = check_request(disk, request);

	if (r < 0)
		return r;
	if (fails_now(disk, request)) {
		for (int i = 0; i < request->iov_count; i++)
			request->iov[i] = (struct iovec){NULL, 0};
		return disk->error;
	}
	if (request->op == DISK_READ || request->op == DISK_WRITE)
		move_data(disk, request);
	else if (request->op != DISK_FLUSH && request->offset + request->bytes <= disk->size)
		memset(disk->bytes + request->offset, 0, request->bytes);
	return 0;
}

unsigned int fixture_run_disk(unsigned int count)
{
	unsigned int done = 0;

	while (submitted && done < count) {
		struct disk_request *request = submitted;

		submitted = request->next;
		if (!submitted)
			submitted_end = &submitted;
		done++;
		request->done(request, perform(request->disk, request));
	}
	return done;
}

/* --- bus --- */

void fixture_bus_init(struct vmbus *bus)
{
	*bus = (struct vmbus){0};
	for (unsigned int i = 0; i < ARRAY_SIZE(bus->channels); i++)
		bus->channels[i] = (struct vmbus_channel){.index = i, .room = FIXTURE_PACKETS};
}

void fixture_bus_free(struct vmbus *bus)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(bus->channels); i++) {
		free(bus->channels[i].in);
		free(bus->channels[i].out);
	}
}

int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
		struct vmbus_channel **ret_channel)
{
	if (bus->offer_error)
		return bus->offer_error;
	bus->channels[0].offer = *offer;
	bus->channel_count = 1;
	*ret_channel = &bus->channels[0];
	return 0;
}

int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned int count,
			    struct loop *const *loops)
{
	struct vmbus *bus = container_of(primary, struct vmbus, channels[0]);

	if (bus->channel_count > 1)
		return -EBUSY;
	if (count > ARRAY_SIZE(bus->channels) - 1)
		return -EINVAL;
	for (unsigned int i = 1; i <= count; i++)
		bus->channels[i].offer = primary->offer;
	bus->channel_count += count;
	return 0;
}

void *vmbus_channel_provider(const struct vmbus_channel *channel)
{
	return channel->offer.provider;
}

void vmbus_channel_set_context(struct vmbus_channel *channel, void *context)
{
	channel->context = context;
}

void *vmbus_channel_context(const struct vmbus_channel *channel)
{
	return channel->context;
}

unsigned int vmbus_channel_index(const struct vmbus_channel *channel)
{
	return channel->index;
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	assert(channel->closing);
	channel->open = channel->closing = false;
	channel->closed++;
}

int fixture_open(struct vmbus_channel *channel)
{
	static const uint8_t user_data[120];
	int r;

	if (!channel->in) {
		channel->in = calloc(FIXTURE_PACKETS, sizeof(*channel->in));
		channel->out = calloc(FIXTURE_PACKETS, sizeof(*channel->out));
	}
	r = channel->offer.ops->open(channel, user_data);
	if (r == 0) {
		channel->open = true;
		channel->in_count = channel->out_count = 0;
		channel->offer.ops->signalled(channel);
	}
	return r;
}

void fixture_close(struct vmbus_channel *channel)
{
	channel->closing = true;
	channel->offer.ops->close(channel);
}

void fixture_signal(struct vmbus_channel *channel)
{
	if (channel->open && !channel->closing)
		channel->offer.ops->signalled(channel);
}

void fixture_put(struct vmbus_channel *channel, const struct fixture_packet *packet)
{
	assert(channel->in_count < FIXTURE_PACKETS);
	channel->in[(channel->in_first + channel->in_count++) % FIXTURE_PACKETS] = *packet;
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *ret_packet)
{
	struct fixture_packet *packet = &channel->current;

	assert(!channel->closing);
	memset(packet, 0xa5, sizeof(*packet)); /* the last one is not valid any more */
	if (!channel->in_count)
		return 0;
	*packet = channel->in[channel->in_first];
	channel->in_first = (channel->in_first + 1) % FIXTURE_PACKETS;
	channel->in_count--;
	*ret_packet = (struct vmbus_packet){
		.type = packet->type,
		.wants_completion = packet->wants_completion,
		.transaction_id = packet->transaction_id,
		.payload = packet->payload,
		.payload_bytes = packet->payload_bytes,
		.ranges = (const uint8_t *)packet,
		.range_count = packet->range_count,
	};
	return 1;
}

int vmbus_packet_iovec(struct vmbus_channel *channel, const struct vmbus_packet *packet,
		       uint32_t index, struct iovec *iov, size_t max, uint32_t *ret_bytes)
{
	const struct fixture_packet *source = (const void *)packet->ranges;
	uint32_t bytes = 0;

	if (index >= packet->range_count)
		return -EINVAL;
	if (!source->data_count)
		return -EFAULT;
	if ((size_t)source->data_count > max)
		return -E2BIG;
	for (int i = 0; i < source->data_count; i++) {
		iov[i] = source->data[i];
		bytes += (uint32_t)iov[i].iov_len;
	}
	*ret_bytes = bytes;
	return source->data_count;
}

void vmbus_iovec_written(struct vmbus_channel *channel, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		channel->written_bytes += iov[i].iov_len;
}

static int write_packet(struct vmbus_channel *channel, uint16_t type, uint64_t transaction_id,
			const void *payload, uint32_t bytes)
{
	struct fixture_packet *packet;

	assert(!channel->closing && bytes <= sizeof(packet->payload));
	if (!channel->room || channel->out_count == FIXTURE_PACKETS)
		return -EAGAIN;
	channel->room--;
	packet = &channel->out[channel->out_count++];
	*packet = (struct fixture_packet){
		.type = type, .transaction_id = transaction_id, .payload_bytes = bytes};
	memcpy(packet->payload, payload, bytes);
	return 0;
}

int vmbus_write(struct vmbus_channel *channel, const struct vmbus_out *out)
{
	assert(out->part_count == 1 && !out->header_bytes && !out->wants_completion);
	return write_packet(channel, out->type, out->transaction_id, out->parts[0].iov_base,
			    (uint32_t)out->parts[0].iov_len);
}

int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
		   uint32_t bytes)
{
	return write_packet(channel, VMBUS_PACKET_COMPLETION, transaction_id, payload, bytes);
}

void vmbus_flush(struct vmbus_channel *channel)
{
	assert(!channel->closing);
	channel->flushes++;
}

bool fixture_take(struct vmbus_channel *channel, struct fixture_packet *ret_packet)
{
	if (!channel->out_count)
		return false;
	*ret_packet = channel->out[0];
	memmove(channel->out, channel->out + 1, --channel->out_count * sizeof(*channel->out));
	return true;
}

struct fixture_packet fixture_packet(uint64_t transaction_id, const struct storvsc_packet *packet)
{
	struct fixture_packet made = {
		.type = VMBUS_PACKET_DATA,
		.wants_completion = true,
		.transaction_id = transaction_id,
		.payload_bytes = sizeof(*packet),
	};

	memcpy(made.payload, packet, sizeof(*packet));
	return made;
}

void fixture_reset(void)
{
	stepped_reset();
	submitted = NULL;
	submitted_end = &submitted;
	fixture_submitted = (struct fixture_submitted){0};
}
