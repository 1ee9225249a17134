/*
 * vmbus_message_fuzz.c - a hostile guest's control messages, between a provider's calls: nothing
 * may crash, hang, or stay open after a reset
 *
 * The input is a list of steps: a byte that chooses the step, then the bytes it wants. Messages
 * are built by type, since random bytes would rarely make a known one; every field is the input's.
 */
#include "fixture.h"
#include "fuzz_input.h"

#define PROVIDERS 3u

struct run {
	struct fixture *f;
	struct provider providers[PROVIDERS];
	uint64_t interrupt_page; /* of the last contact that named one */
};

/* A number that is mostly one in use. */
static uint32_t take_number(struct input *input)
{
	uint32_t value = take(input, 1);

	return value < 0xf0 ? value % 8 : take(input, 4);
}

static void send(struct run *run, const void *message, uint32_t bytes)
{
	vmbus_post_message(run->f->bus, VMBUS_CONNECTION_CONTACT, message, bytes);
}

/* Among the pages of rings, below them, or wild; not quite a page every now and then. */
static uint64_t take_interrupt_page(struct input *input, uint32_t how)
{
	uint64_t first = how & 2 ? 16 : 8;

	return (first + take_number(input)) * PAGE_BYTES + (how & 4);
}

static void contact_with_page(struct run *run, struct input *input, uint32_t how)
{
	struct vmbus_initiate_contact message = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = how & 1 ? VMBUS_VERSION_WIN7 : VMBUS_VERSION_WS2008,
	};

	run->interrupt_page = message.interrupt_page = take_interrupt_page(input, how);
	send(run, &message, sizeof(message));
}

static void step_contact(struct run *run, struct input *input)
{
	static const uint32_t versions[] = {VMBUS_VERSION_5_3, VMBUS_VERSION_5_2,
					    VMBUS_VERSION_WIN8, VMBUS_VERSION_WIN7, 0x60000};
	uint32_t how = take(input, 1);
	const struct vmbus_initiate_contact message = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = versions[how % ARRAY_SIZE(versions)],
		.target_vp = take_number(input),
		.sint = 2,
	};

	if (how & 128)
		contact_with_page(run, input, how);
	else
		send(run, &message, sizeof(message));
}

static void step_relid(struct run *run, struct input *input)
{
	static const uint8_t types[] = {VMBUS_REQUEST_OFFERS, VMBUS_CLOSE_CHANNEL,
					VMBUS_RELID_RELEASED, VMBUS_UNLOAD,
					VMBUS_CLOSE_RESERVED_CHANNEL};
	uint32_t type = types[take(input, 1) % ARRAY_SIZE(types)];
	const struct vmbus_relid_message message = {{type}, take_number(input)};

	send(run, &message, sizeof(message));
}

static void step_open(struct run *run, struct input *input)
{
	const struct vmbus_open_channel message = {
		.header.type = VMBUS_OPEN_CHANNEL,
		.relid = take_number(input),
		.open_id = 1,
		.ring_gpadl = take_number(input),
		.target_vp = take_number(input),
		.downstream_page_offset = take_number(input),
	};

	send(run, &message, sizeof(message));
}

static void step_two_numbers(struct run *run, struct input *input)
{
	uint32_t type = take(input, 1) % 2 ? VMBUS_MODIFY_CHANNEL : VMBUS_GPADL_TEARDOWN;
	const struct vmbus_modify_channel message = {
		{type}, take_number(input), take_number(input)};

	send(run, &message, sizeof(message));
}

/* One range of whole pages, or words of the input. */
static void step_gpadl(struct run *run, struct input *input)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	uint32_t pages = take(input, 1) % 26, wild = take(input, 1);
	const struct vmbus_gpadl_header header = {
		.header.type = VMBUS_GPADL_HEADER,
		.relid = take_number(input),
		.gpadl = take_number(input),
		.range_bytes = wild & 1 ? (le16)take(input, 2) : (le16)(pages * 8 + 8),
		.range_count = wild & 2 ? (le16)take(input, 2) : 1,
	};
	uint64_t list[27] = {pages * PAGE_BYTES};

	for (uint32_t i = 1; i <= pages; i++)
		list[i] = wild & 4 ? take(input, 2) : 16 + i;
	if (wild & 8)
		list[take(input, 1) % 27] = (uint64_t)take(input, 4) << 32 | take(input, 4);
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), list, sizeof(list));
	send(run, message, sizeof(header) + (wild & 16 ? take(input, 1) % 220 : pages * 8 + 8));
}

static void step_body(struct run *run, struct input *input)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	const struct vmbus_gpadl_body body = {{VMBUS_GPADL_BODY}, 0, take_number(input)};

	memcpy(message, &body, sizeof(body));
	for (size_t i = sizeof(body); i < sizeof(message); i += 8)
		message[i] = (uint8_t)take(input, 1);
	send(run, message, 16 + take(input, 1) % 225);
}

static void step_bytes(struct run *run, struct input *input)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	uint32_t bytes = take(input, 1) % (VMBUS_MESSAGE_BYTES_MAX + 1);

	for (uint32_t i = 0; i < bytes; i++)
		message[i] = i < 8 && i % 4 ? 0 : (uint8_t)take(input, 1);
	send(run, message, bytes);
}

static void step_ring(struct run *run, struct input *input)
{
	uint32_t page = 16 + take(input, 1) % 16, at = take(input, 2) % PAGE_BYTES;

	run->f->memory.base[page * PAGE_BYTES + at] = (uint8_t)take(input, 1);
}

static void signal_all(struct run *run, struct input *input)
{
	uint32_t bits = take(input, 2);
	struct vmbus_interrupt_page *page =
		partition_ram_hva(run->f->part, run->interrupt_page, PAGE_BYTES);

	if (page)
		memcpy(page->to_host, &bits, sizeof(bits));
	vmbus_signal_event(run->f->bus, VMBUS_CONNECTION_EVENTS, 0);
}

static void step_signal(struct run *run, struct input *input)
{
	uint32_t relid = take_number(input);

	if (relid)
		vmbus_signal_event(run->f->bus, VMBUS_EVENT_CONNECTIONS + relid, 0);
	else
		signal_all(run, input);
}

/* What the provider and the hypervisor do. */
static void step_behave(struct run *run, struct input *input)
{
	uint32_t how = take(input, 1);
	struct provider *provider = &run->providers[how % PROVIDERS];

	provider->hold_close = how & 4;
	provider->open_result = how & 8 ? -1 : 0;
	provider->subchannels = how & 16 ? 2 : 0;
	run->f->hv.slot_taken = how & 32;
	run->f->hv.flags_refused = how & 64;
	if (how & 128)
		vmbus_synic_ready(run->f->bus);
}

/* Whoever was told to close, and has not said that it is done. */
static void release_closes(struct run *run)
{
	for (unsigned int i = 1; i < VMBUS_RELID_LIMIT; i++) {
		struct vmbus_channel *channel = run->f->bus->relids[i].channel;

		if (channel && channel->state == CHANNEL_CLOSING && !channel->provider_closed &&
		    !channel->close_work.queued && !channel->closed_work.queued)
			vmbus_channel_closed(channel);
	}
}

static void step_closed(struct run *run, struct input *input)
{
	turn(run->f);
	release_closes(run);
}

/* As a network adapter does with the buffers that its guest names. */
static void take_or_return_memory(struct provider *provider, uint32_t id)
{
	struct vmbus_channel *channel = provider->channel;
	struct iovec iov[4];

	if (!channel || channel->state != CHANNEL_OPEN)
		return;
	if (provider->gpadl)
		vmbus_gpadl_release(channel, TAKE(provider->gpadl));
	else if (!vmbus_gpadl_acquire(channel, id, &provider->gpadl) &&
		 vmbus_gpadl_iovec(channel, provider->gpadl, 8, PAGE_BYTES, iov, 4) > 0)
		memset(iov[0].iov_base, 0x5a, iov[0].iov_len);
}

static void step_device(struct run *run, struct input *input)
{
	uint32_t how = take(input, 1), which = how % PROVIDERS;
	struct provider *provider = &run->providers[which];

	if (how & 128)
		take_or_return_memory(provider, how >> 4 & 7);
	else if (!provider->channel && provider->rescinded)
		provider_offer(run->f, provider, which + 1, NULL);
	else if (provider->channel)
		provider_rescind(provider);
}

static void step_turn(struct run *run, struct input *input)
{
	turn(run->f);
}

static void (*const steps[])(struct run *run, struct input *input) = {
	step_contact, step_relid,  step_open, step_two_numbers, step_gpadl,
	step_body,    step_bytes,  step_ring, step_signal,	step_behave,
	step_closed,  step_device, step_turn,
};

/* However it stands, a reset ends it: nothing open, nothing kept. */
static void end(struct run *run)
{
	run->f->hv.slot_taken = run->f->hv.flags_refused = false;
	for (unsigned int i = 0; i < PROVIDERS; i++)
		run->providers[i].hold_close = false;
	fixture_reset(run->f);
	for (unsigned int i = 0; i < 8 && !run->f->reset_done; i++) {
		release_closes(run);
		turn(run->f);
	}
	assert(run->f->reset_done && !run->f->bus->interrupt_page);
	assert(!run->f->bus->busy && !run->f->bus->ring_mappings && !run->f->bus->gpadls);
	assert(!run->f->bus->gpadl_count && !run->f->bus->gpadl_words && !run->f->bus->out_count);
	fixture_free(run->f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct run run = {.f = fixture_new()};

	for (unsigned int i = 0; i < PROVIDERS; i++)
		provider_offer(run.f, &run.providers[i], i + 1, NULL);
	connect_guest(run.f);
	while (input.left)
		steps[take(&input, 1) % ARRAY_SIZE(steps)](&run, &input);
	turn(run.f);
	end(&run);
	return 0;
}
