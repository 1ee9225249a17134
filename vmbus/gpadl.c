/*
 * gpadl.c - lists of guest pages that the guest names by a number of its own
 *
 * A list comes in a header and as many bodies as it takes; the last one completes it, and only
 * then is it looked at: every page must be RAM. A number belongs to one channel, but bodies name
 * only the number: they go to the first incomplete list of that number.
 *
 * A list is torn down when the guest asks. While its channel is being closed the answer waits,
 * since the guest frees the memory as soon as it comes; so it does while the rings of an open
 * channel are in it, which ends the channel; and while a provider uses it, which does not: on its
 * own loop the provider may be about to read that the guest revokes it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "vmbus_internal.h"

#define WORD_BYTES sizeof(uint64_t)

/* --- the list of ranges --- */

struct range {
	uint32_t bytes, offset;
	const uint64_t *pfns;
	uint32_t pages;
};

/* The range at @at. Returns the index behind it, 0 when it does not fit into the list. */
static uint32_t range_at(const struct vmbus_gpadl *gpadl, uint32_t at, struct range *ret_range)
{
	struct range range;
	uint64_t pages;

	if (at >= gpadl->words)
		return 0;
	range.bytes = (uint32_t)gpadl->list[at];
	range.offset = (uint32_t)(gpadl->list[at] >> 32);
	pages = ((uint64_t)range.bytes + range.offset + PAGE_BYTES - 1) / PAGE_BYTES;
	if (pages > gpadl->words - at - 1)
		return 0;
	range.pages = (uint32_t)pages;
	range.pfns = &gpadl->list[at + 1];
	*ret_range = range;
	return at + 1 + range.pages;
}

static bool pages_are_ram(struct partition *part, const struct range *range)
{
	for (uint32_t i = 0; i < range->pages; i++) {
		uint64_t pfn = range->pfns[i];

		if (pfn > UINT64_MAX / PAGE_BYTES ||
		    !partition_ram_hva(part, pfn * PAGE_BYTES, PAGE_BYTES))
			return false;
	}
	return true;
}

static bool list_valid(struct partition *part, const struct vmbus_gpadl *gpadl)
{
	struct range range;
	uint32_t at = 0;

	for (unsigned int i = 0; i < gpadl->range_count; i++) {
		at = range_at(gpadl, at, &range);
		if (!at || !range.pages || !pages_are_ram(part, &range))
			return false;
	}
	return gpadl->range_count;
}

/* The host will write these pages, rings among them without a word to the engine each time. */
static void announce_writes(struct partition *part, const struct vmbus_gpadl *gpadl)
{
	struct range range = {};
	uint32_t at = 0;

	for (unsigned int i = 0; i < gpadl->range_count; i++) {
		at = range_at(gpadl, at, &range);
		for (uint32_t page = 0; page < range.pages; page++)
			partition_memory_written(part, range.pfns[page] * PAGE_BYTES, PAGE_BYTES);
	}
}

const uint64_t *gpadl_whole_pages(const struct vmbus_gpadl *gpadl, uint32_t *ret_pages)
{
	struct range range;

	if (gpadl->range_count != 1 || !range_at(gpadl, 0, &range))
		return NULL;
	if (range.offset || range.bytes % PAGE_BYTES)
		return NULL;
	*ret_pages = range.pages;
	return range.pfns;
}

/* --- the lists of the bus --- */

static struct vmbus_gpadl **find_link(struct vmbus *bus, uint32_t relid, uint32_t id)
{
	struct vmbus_gpadl **link = &bus->gpadls;

	while (*link && ((*link)->relid != relid || (*link)->id != id))
		link = &(*link)->next;
	return link;
}

static void drop(struct vmbus *bus, struct vmbus_gpadl **link)
{
	struct vmbus_gpadl *gpadl = *link;

	pthread_mutex_lock(&bus->gpadl_lock);
	assert(!gpadl->users);
	*link = gpadl->next;
	pthread_mutex_unlock(&bus->gpadl_lock);
	bus->gpadl_count--;
	bus->gpadl_words -= gpadl->words;
	free(gpadl);
}

void gpadl_drop(struct vmbus *bus, uint32_t relid)
{
	struct vmbus_gpadl **link = &bus->gpadls;

	while (*link) {
		if ((*link)->relid == relid)
			drop(bus, link);
		else
			link = &(*link)->next;
	}
}

void gpadl_drop_all(struct vmbus *bus)
{
	while (bus->gpadls)
		drop(bus, &bus->gpadls);
}

const struct vmbus_gpadl *gpadl_find(const struct vmbus *bus, uint32_t relid, uint32_t id)
{
	for (const struct vmbus_gpadl *gpadl = bus->gpadls; gpadl; gpadl = gpadl->next) {
		if (gpadl->relid == relid && gpadl->id == id)
			return gpadl->complete && !gpadl->teardown ? gpadl : NULL;
	}
	return NULL;
}

/* --- messages --- */

static void send_created(struct vmbus *bus, uint32_t relid, uint32_t id, uint32_t status)
{
	const struct vmbus_gpadl_created created = {
		.header.type = VMBUS_GPADL_CREATED,
		.relid = relid,
		.gpadl = id,
		.status = status,
	};

	bus_send(bus, &created, sizeof(created));
}

static void send_torndown(struct vmbus *bus, uint32_t id)
{
	const struct vmbus_gpadl_torndown torndown = {
		.header.type = VMBUS_GPADL_TORNDOWN,
		.gpadl = id,
	};

	bus_send(bus, &torndown, sizeof(torndown));
}

static void complete(struct vmbus *bus, struct vmbus_gpadl *gpadl)
{
	uint32_t relid = gpadl->relid, id = gpadl->id;

	if (list_valid(bus->part, gpadl)) {
		announce_writes(bus->part, gpadl);
		pthread_mutex_lock(&bus->gpadl_lock);
		gpadl->complete = true;
		pthread_mutex_unlock(&bus->gpadl_lock);
		send_created(bus, relid, id, VMBUS_STATUS_SUCCESS);
		return;
	}
	log_debug("vmbus: the guest's GPADL 0x%x is not a list of its memory", id);
	drop(bus, find_link(bus, relid, id));
	send_created(bus, relid, id, VMBUS_STATUS_FAILED);
}

/* Messages may be padded, so what exceeds the list is left alone. */
static void take_words(struct vmbus *bus, struct vmbus_gpadl *gpadl, const uint8_t *from,
		       uint32_t bytes)
{
	uint32_t words = MIN(bytes / (uint32_t)WORD_BYTES, gpadl->words - gpadl->filled);

	memcpy(&gpadl->list[gpadl->filled], from, words * WORD_BYTES);
	gpadl->filled += words;
	if (gpadl->filled == gpadl->words)
		complete(bus, gpadl);
}

/* Returns NULL when the message is wrong or too much. */
static struct vmbus_gpadl *new_list(struct vmbus *bus, const struct vmbus_gpadl_header *header)
{
	uint32_t words = header->range_bytes / (uint32_t)WORD_BYTES;
	struct vmbus_gpadl *gpadl;

	if (!words || header->range_bytes % WORD_BYTES || !header->range_count)
		return NULL;
	if (!bus_known_relid(bus, header->relid) || *find_link(bus, header->relid, header->gpadl))
		return NULL;
	if (bus->gpadl_count == VMBUS_GPADLS || words > VMBUS_GPADL_WORDS - bus->gpadl_words)
		return NULL;
	gpadl = malloc(sizeof(*gpadl) + words * WORD_BYTES);
	if (!gpadl)
		return NULL;
	*gpadl = (struct vmbus_gpadl){
		.next = bus->gpadls,
		.relid = header->relid,
		.id = header->gpadl,
		.words = words,
		.range_count = header->range_count,
	};
	pthread_mutex_lock(&bus->gpadl_lock);
	bus->gpadls = gpadl;
	pthread_mutex_unlock(&bus->gpadl_lock);
	bus->gpadl_count++;
	bus->gpadl_words += words;
	return gpadl;
}

void gpadl_header(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_gpadl_header *header = (const void *)message->payload;
	struct vmbus_gpadl *gpadl = new_list(bus, header);

	if (gpadl)
		take_words(bus, gpadl, message->payload + sizeof(*header),
			   message->bytes - (uint32_t)sizeof(*header));
	else
		send_created(bus, header->relid, header->gpadl, VMBUS_STATUS_FAILED);
}

void gpadl_body(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_gpadl_body *body = (const void *)message->payload;

	for (struct vmbus_gpadl *gpadl = bus->gpadls; gpadl; gpadl = gpadl->next) {
		if (gpadl->id == body->gpadl && !gpadl->complete) {
			take_words(bus, gpadl, message->payload + sizeof(*body),
				   message->bytes - (uint32_t)sizeof(*body));
			return;
		}
	}
}

/* May its channel still be using its pages? */
static bool in_channel(struct vmbus *bus, const struct vmbus_gpadl *gpadl)
{
	struct relid *relid = bus_known_relid(bus, gpadl->relid);
	struct vmbus_channel *channel = relid ? relid->channel : NULL;

	if (!channel || channel->state == CHANNEL_CLOSED)
		return false;
	return channel->state == CHANNEL_CLOSING || channel->close_wanted ||
	       channel->open_message.ring_gpadl == gpadl->id;
}

/* Does a provider? */
static bool has_users(struct vmbus *bus, const struct vmbus_gpadl *gpadl)
{
	bool any;

	pthread_mutex_lock(&bus->gpadl_lock);
	any = gpadl->users;
	pthread_mutex_unlock(&bus->gpadl_lock);
	return any;
}

/* From here on nobody new comes to use it. */
static void begin_teardown(struct vmbus *bus, struct vmbus_gpadl *gpadl)
{
	pthread_mutex_lock(&bus->gpadl_lock);
	gpadl->teardown = true;
	pthread_mutex_unlock(&bus->gpadl_lock);
}

/* A list we do not know is answered too: nothing uses it, and the guest may wait. */
void gpadl_teardown(struct vmbus *bus, const struct in_message *message)
{
	const struct vmbus_gpadl_teardown *teardown = (const void *)message->payload;
	struct vmbus_gpadl **link = find_link(bus, teardown->relid, teardown->gpadl);

	if (*link && (*link)->teardown)
		return;
	if (*link) {
		bool channel_uses = in_channel(bus, *link);

		begin_teardown(bus, *link);
		if (channel_uses)
			channel_break(bus->relids[teardown->relid].channel);
		if (channel_uses || has_users(bus, *link))
			return;
		drop(bus, link);
	}
	send_torndown(bus, teardown->gpadl);
}

void gpadl_serve_released(struct loop_work *work)
{
	struct vmbus *bus = container_of(work, struct vmbus, gpadl_work);
	struct vmbus_gpadl **link = &bus->gpadls;

	while (*link) {
		if ((*link)->teardown && !has_users(bus, *link) && !in_channel(bus, *link)) {
			send_torndown(bus, (*link)->id);
			drop(bus, link);
		} else {
			link = &(*link)->next;
		}
	}
}

void gpadl_answer_teardowns(struct vmbus *bus, uint32_t relid)
{
	struct vmbus_gpadl **link = &bus->gpadls;

	while (*link) {
		if ((*link)->relid == relid && (*link)->teardown) {
			send_torndown(bus, (*link)->id);
			drop(bus, link);
		} else {
			link = &(*link)->next;
		}
	}
}

/* --- for providers --- */

int vmbus_gpadl_acquire(struct vmbus_channel *channel, uint32_t id, struct vmbus_gpadl **ret_gpadl)
{
	struct vmbus *bus = channel->bus;
	struct vmbus_gpadl *gpadl;
	uint32_t pages;
	int r = -ENOENT;

	pthread_mutex_lock(&bus->gpadl_lock);
	gpadl = (struct vmbus_gpadl *)gpadl_find(bus, channel->relid, id);
	if (gpadl)
		r = gpadl_whole_pages(gpadl, &pages) ? 0 : -EINVAL;
	if (!r) {
		gpadl->users++;
		*ret_gpadl = gpadl;
	}
	pthread_mutex_unlock(&bus->gpadl_lock);
	return r;
}

void vmbus_gpadl_release(struct vmbus_channel *channel, struct vmbus_gpadl *gpadl)
{
	struct vmbus *bus = channel->bus;
	bool awaited;

	pthread_mutex_lock(&bus->gpadl_lock);
	assert(gpadl->users);
	awaited = --gpadl->users == 0 && gpadl->teardown;
	pthread_mutex_unlock(&bus->gpadl_lock);
	if (awaited)
		loop_post(bus->loop, &bus->gpadl_work);
}

uint32_t vmbus_gpadl_bytes(const struct vmbus_gpadl *gpadl)
{
	uint32_t pages = 0;

	gpadl_whole_pages(gpadl, &pages);
	return pages * (uint32_t)PAGE_BYTES;
}
