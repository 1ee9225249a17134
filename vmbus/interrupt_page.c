/*
 * interrupt_page.c - signals before version 2.4
 *
 * The contact names a page of two halves, a bit for each relid in both. To the guest: set the bit
 * in the first half, then event flag 0 of the VP that takes all signals, 0; its interrupt handler
 * takes the flag, then the bits. From the guest: it sets the bit in the second half, then signals
 * one connection for all channels. 1.1 signals each channel's own connection and leaves the page
 * alone, because our offers say "dedicated interrupt"; the one for all is heard there too.
 *
 * Invariants:
 *   1. bus->interrupt_page changes only while every channel is closed, so that loops of channels
 *      may read it, and no page is written after the end of its connection.
 *   2. The page is the guest's to spoil: bits are set and taken atomically, and mean "look at the
 *      ring", no more. Only what is open looks.
 */
#include <errno.h>

#include "vmbus_internal.h"

#define WORD_BITS 64u
#define WORDS	  (VMBUS_RELID_LIMIT / WORD_BITS)
#define HALF	  (PAGE_BYTES / 2)

/* struct vmbus_interrupt_page as both sides access it. */
struct interrupt_page {
	_Atomic uint64_t to_guest[HALF / sizeof(uint64_t)];
	_Atomic uint64_t to_host[HALF / sizeof(uint64_t)];
};
static_assert(sizeof(struct interrupt_page) == sizeof(struct vmbus_interrupt_page),
	      "not the wire form");
static_assert(offsetof(struct interrupt_page, to_host) ==
		      offsetof(struct vmbus_interrupt_page, to_host),
	      "not the wire form");

/* Page 0 is what a contact says that names none. The writes are announced once, as for rings. */
int interrupt_page_attach(struct vmbus *bus, gpa_t gpa)
{
	struct interrupt_page *page = NULL;

	if (gpa && gpa % PAGE_BYTES == 0)
		page = partition_ram_hva(bus->part, gpa, PAGE_BYTES);
	if (!page)
		return -EINVAL;
	partition_memory_written(bus->part, gpa, PAGE_BYTES);
	bus->interrupt_page = page;
	return 0;
}

void interrupt_page_detach(struct vmbus *bus)
{
	bus->interrupt_page = NULL;
}

void interrupt_page_set(struct vmbus *bus, uint32_t relid)
{
	struct interrupt_page *page = bus->interrupt_page;

	atomic_fetch_or(&page->to_guest[relid / WORD_BITS], UINT64_C(1) << relid % WORD_BITS);
}

/* An open that is under way may have looked at its ring already. */
static void wake_channel(struct vmbus *bus, uint32_t relid)
{
	const struct vmbus_channel *channel = bus->relids[relid].channel;

	if (channel && (channel->state == CHANNEL_OPENING || channel->state == CHANNEL_OPEN))
		vmbus_signal_event(bus, VMBUS_EVENT_CONNECTIONS + relid, 0);
}

void interrupt_page_serve(struct loop_work *work)
{
	struct vmbus *bus = container_of(work, struct vmbus, interrupt_work);
	struct interrupt_page *page = bus->interrupt_page;

	for (uint32_t i = 0; page && i < WORDS; i++) {
		uint64_t bits = page->to_host[i] ? atomic_exchange(&page->to_host[i], 0) : 0;

		for (; bits; bits &= bits - 1)
			wake_channel(bus, i * WORD_BITS + (uint32_t)__builtin_ctzll(bits));
	}
}
