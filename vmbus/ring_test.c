/*
 * ring_test.c - rings: wrapping, full and empty, wild contents, packets with pages, lost wake-ups
 *
 * The ring is made of pages out of order, so that the mapping is tested with it: the guest's half
 * is written through a view of its own, page by page.
 */
#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* --- a ring whose pages the test lays out in order, and hands over contiguous --- */

struct rings {
	struct fixture *f;
	struct guest_rings guest;
	struct ring_reader reader;
	struct ring_writer writer;
	uint8_t *buffer;
};

#define PAGES 4u /* each: three of data, 12288 bytes: no power of two */

static void rings_init(struct rings *rings)
{
	uint64_t pfns[2 * PAGES];

	*rings = (struct rings){.f = fixture_new()};
	for (unsigned int i = 0; i < ARRAY_SIZE(pfns); i++)
		pfns[i] = RING_PFN + i;
	rings->guest = guest_rings_init(rings->f, RING_PFN, 2 * PAGES);
	assert_int_equal(ring_map(&rings->reader.ring, rings->f->part, pfns, PAGES, 4), 0);
	assert_int_equal(ring_map(&rings->writer.ring, rings->f->part, pfns + PAGES, PAGES, 4), 0);
	assert_int_equal(ring_reader_start(&rings->reader), 0);
	assert_int_equal(ring_writer_start(&rings->writer), 0);
	rings->buffer = malloc(ring_max_packet(&rings->reader.ring));
}

static void rings_end(struct rings *rings)
{
	free(rings->buffer);
	ring_unmap(&rings->reader.ring);
	ring_unmap(&rings->writer.ring);
	fixture_free(rings->f);
}

static int host_write(struct rings *rings, uint64_t id, const void *payload, uint32_t bytes)
{
	const struct iovec part = {.iov_base = (void *)payload, .iov_len = bytes};
	const struct ring_packet packet = {
		.type = VMBUS_PACKET_DATA, .transaction_id = id, .parts = &part, .part_count = 1};

	return ring_write(&rings->writer, &packet);
}

static void fill(uint8_t *bytes, uint32_t count, unsigned int seed)
{
	for (uint32_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(seed * 31 + i * 7);
}

static uint64_t id_of(const uint8_t *packet)
{
	return ((const struct vmbus_packet_descriptor *)packet)->transaction_id;
}

static void packets_of_all_lengths_wrap_wherever_the_ring_ends(void **state)
{
	struct rings rings;
	uint8_t payload[3000], packet[4096];
	bool signal;

	rings_init(&rings);
	for (unsigned int i = 0; i < 3000; i++) {
		uint32_t padded = ALIGN_UP(i, 8);

		fill(payload, i, i);
		assert_int_equal(
			guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, i, payload, i, &signal),
			0);
		assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 16 + padded);
		assert_int_equal(id_of(rings.buffer), i);
		assert_memory_equal(rings.buffer + 16, payload, i);
		assert_int_equal(host_write(&rings, i, payload, i), 0);
		assert_int_equal(guest_read(&rings.guest.down, packet, sizeof(packet), &signal),
				 16 + padded);
		assert_int_equal(id_of(packet), i);
		assert_memory_equal(packet + 16, payload, i);
		for (uint32_t pad = i; pad < padded; pad++)
			assert_int_equal(packet[16 + pad], 0);
	}
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 0);
	rings_end(&rings);
}

static void header_and_parts_are_joined_and_the_trailer_names_the_start(void **state)
{
	static const struct vmbus_transfer_pages header = {.set_id = 7, .range_count = 1};
	const struct iovec parts[] = {
		{.iov_base = (char *)"abc", .iov_len = 3},
		{},
		{.iov_base = (char *)"defgh!", .iov_len = 6},
	};
	const struct ring_packet packet = {.type = VMBUS_PACKET_TRANSFER_PAGES,
					   .flags = VMBUS_PACKET_WANTS_COMPLETION,
					   .transaction_id = 0x1122334455667788,
					   .header = &header,
					   .header_bytes = sizeof(header),
					   .parts = parts,
					   .part_count = 3};
	struct rings rings;

	rings_init(&rings);
	assert_int_equal(host_write(&rings, 0, "", 0), 0);
	assert_int_equal(ring_write(&rings.writer, &packet), 0);
	assert_memory_equal(rings.guest.down.data + 24,
			    "\7\0\3\0\5\0\1\0\x88\x77\x66\x55\x44\x33\x22\x11"
			    "\7\0\0\0\1\0\0\0abcdefgh!\0\0\0\0\0\0\0"
			    "\0\0\0\0\x18\0\0",
			    48);
	assert_int_equal(rings.guest.down.control->write_index, 24 + 48);
	rings_end(&rings);
}

static void a_ring_is_never_filled_to_the_last_unit(void **state)
{
	static uint8_t payload[4 * PAGE_BYTES];
	struct rings rings;
	uint32_t bytes = (PAGES - 1) * PAGE_BYTES;

	rings_init(&rings);
	/* Descriptor, trailer, and 8 bytes that stay free. */
	assert_int_equal(ring_max_packet(&rings.writer.ring), bytes - 16);
	assert_int_equal(host_write(&rings, 1, payload, bytes - 32 + 1), -EMSGSIZE);
	assert_int_equal(host_write(&rings, 1, payload, sizeof(payload)), -EMSGSIZE);
	assert_int_equal(host_write(&rings, 1, payload, bytes - 32), 0);
	assert_int_equal(rings.guest.down.control->write_index, bytes - 8);
	assert_int_equal(host_write(&rings, 1, payload, 0), -EAGAIN);
	rings_end(&rings);
}

static void a_packet_too_long_for_its_descriptor_is_refused(void **state)
{
	static uint8_t payload[0x90000];
	struct fixture *f = fixture_new();
	uint64_t pfns[1025];
	struct ring_writer writer = {};
	struct iovec part = {.iov_base = payload, .iov_len = 0xffff * 8 - 16};
	const struct ring_packet packet = {.parts = &part, .part_count = 1};

	for (unsigned int i = 0; i < ARRAY_SIZE(pfns); i++)
		pfns[i] = i;
	assert_int_equal(ring_map(&writer.ring, f->part, pfns, ARRAY_SIZE(pfns), 2), 0);
	assert_int_equal(ring_writer_start(&writer), 0);
	assert_int_equal(ring_write(&writer, &packet), 0);
	part.iov_len++;
	assert_int_equal(ring_write(&writer, &packet), -EMSGSIZE);
	ring_unmap(&writer.ring);
	fixture_free(f);
}

static void the_guest_is_asked_for_room_and_no_longer_when_it_is_there(void **state)
{
	static uint8_t payload[4000], packet[8192];
	struct rings rings;
	bool signal;

	rings_init(&rings);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(host_write(&rings, i, payload, 4000), 0);
	assert_int_equal(host_write(&rings, 3, payload, 4000), -EAGAIN);
	assert_int_equal(rings.guest.down.control->pending_send_size, 4024);
	/* A smaller one that still fits does not forget what the larger one waits for. */
	assert_int_equal(host_write(&rings, 4, payload, 40), 0);
	assert_int_equal(rings.guest.down.control->pending_send_size, 4024);
	assert_int_equal(host_write(&rings, 4, payload, 400), -EAGAIN);
	ring_notice_room(&rings.writer);
	assert_int_equal(rings.guest.down.control->pending_send_size, 4024);
	assert_int_equal(guest_read(&rings.guest.down, packet, sizeof(packet), &signal), 4016);
	assert_true(signal);
	ring_notice_room(&rings.writer);
	assert_int_equal(rings.guest.down.control->pending_send_size, 0);
	assert_int_equal(host_write(&rings, 5, payload, 4000), 0);
	assert_int_equal(host_write(&rings, 5, payload, 4000), -EAGAIN);
	assert_int_equal(guest_read(&rings.guest.down, packet, sizeof(packet), &signal), 4016);
	assert_true(signal);
	assert_int_equal(host_write(&rings, 6, payload, 4000), 0);
	assert_int_equal(rings.guest.down.control->pending_send_size, 0);
	rings_end(&rings);
}

static void a_guest_that_waits_for_room_is_signalled_once_when_it_is_there(void **state)
{
	static const struct {
		uint32_t pending;
		unsigned int
			signalled; /* bit i: by the read of packet i of four, 3000 bytes each */
	} rows[] = {
		{0, 0},
		/* There is room for 280 bytes already. */
		{280, 0},
		{288, 1},
		{3280, 1},
		{3288, 2},
		{6000, 2},
		{9000, 4},
		/* All of it; some write one byte less than the ring has. */
		{12288 - 8, 8},
		{12288 - 1, 8},
		{12288, 0},
		{0xfffffff8, 0},
	};
	static uint8_t payload[2976];
	bool signal;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rings rings;
		unsigned int signalled = 0;

		rings_init(&rings);
		for (unsigned int j = 0; j < 4; j++)
			assert_int_equal(guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, j,
						     payload, sizeof(payload), &signal),
					 0);
		rings.guest.up.control->pending_send_size = rows[i].pending;
		for (unsigned int j = 0; j < 4; j++) {
			assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 2992);
			signalled |= (unsigned int)signal << j;
		}
		if (signalled != rows[i].signalled)
			fail_msg("pending 0x%x gave %x", rows[i].pending, signalled);
		rings_end(&rings);
	}
}

static void the_guest_signals_only_what_comes_into_an_empty_ring_we_left(void **state)
{
	struct rings rings;
	bool signal;

	rings_init(&rings);
	/* Unmasked from the start, since a provider may not read at once. */
	guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, 1, "", 0, &signal);
	assert_true(signal);
	guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, 2, "", 0, &signal);
	assert_false(signal);
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 16);
	assert_int_equal(rings.guest.up.control->interrupt_mask, 1);
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 16);
	guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, 3, "", 0, &signal);
	assert_false(signal);
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 16);
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 0);
	assert_int_equal(rings.guest.up.control->interrupt_mask, 0);
	guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, 4, "", 0, &signal);
	assert_true(signal);
	rings_end(&rings);
}

static void a_signal_is_owed_for_a_packet_into_an_empty_unmasked_ring(void **state)
{
	uint8_t packet[64];
	struct rings rings;
	bool signal;

	rings_init(&rings);
	assert_false(ring_take_signal(&rings.writer));
	host_write(&rings, 1, "", 0);
	host_write(&rings, 2, "", 0);
	assert_true(ring_take_signal(&rings.writer));
	assert_false(ring_take_signal(&rings.writer));
	host_write(&rings, 3, "", 0);
	assert_false(ring_take_signal(&rings.writer));
	while (guest_read(&rings.guest.down, packet, sizeof(packet), &signal))
		;
	rings.guest.down.control->interrupt_mask = 1;
	host_write(&rings, 4, "", 0);
	assert_false(ring_take_signal(&rings.writer));
	guest_read(&rings.guest.down, packet, sizeof(packet), &signal);
	rings.guest.down.control->interrupt_mask = 0;
	/* Within a batch: the first was read before the second came. */
	host_write(&rings, 5, "", 0);
	assert_true(ring_take_signal(&rings.writer));
	guest_read(&rings.guest.down, packet, sizeof(packet), &signal);
	host_write(&rings, 6, "", 0);
	guest_read(&rings.guest.down, packet, sizeof(packet), &signal);
	host_write(&rings, 7, "", 0);
	assert_true(ring_take_signal(&rings.writer));
	rings_end(&rings);
}

/* --- wild guests --- */

static void wild_indices_of_the_guest_end_the_ring(void **state)
{
	static const uint32_t wild[] = {4,	    1,		12288, 12284, 0x80000000,
					0xfffffff8, 0xffffffff, 16,    8};
	bool signal;

	for (size_t i = 0; i < ARRAY_SIZE(wild); i++) {
		struct rings rings;

		rings_init(&rings);
		rings.guest.up.control->write_index = wild[i];
		assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), -EPROTO);
		assert_false(signal);
		rings.guest.down.control->read_index = wild[i];
		/* The last two are possible: a guest that read what was not there. */
		assert_int_equal(host_write(&rings, 1, "", 0),
				 wild[i] > 16 || wild[i] % 8 ? -EPROTO : -EAGAIN);
		rings_end(&rings);
	}
}

static void our_own_indices_are_not_the_guests_to_change(void **state)
{
	struct rings rings;
	bool signal;

	rings_init(&rings);
	host_write(&rings, 1, "", 0);
	rings.guest.down.control->write_index = 4096;
	host_write(&rings, 2, "", 0);
	assert_int_equal(rings.guest.down.control->write_index, 48);
	guest_write(&rings.guest.up, VMBUS_PACKET_DATA, 0, 9, "", 0, &signal);
	rings.guest.up.control->read_index = 0xffffffff;
	assert_int_equal(ring_read(&rings.reader, rings.buffer, &signal), 16);
	assert_int_equal(rings.guest.up.control->read_index, 24);
	rings_end(&rings);
}

static void descriptors_that_lie_about_lengths_end_the_ring(void **state)
{
	static const struct {
		uint16_t offset8, length8;
		uint32_t used; /* the write index */
		int result;
	} rows[] = {
		{2, 2, 24, 16},		  {2, 3, 32, 24},
		{3, 3, 32, 24},		  {2, 2, 4096, 16},
		{2, 3, 24, -EPROTO},	  {1, 2, 24, -EPROTO},
		{0, 2, 24, -EPROTO},	  {2, 1, 24, -EPROTO},
		{2, 0, 24, -EPROTO},	  {0, 0, 24, -EPROTO},
		{3, 2, 24, -EPROTO},	  {0xffff, 0xffff, 24, -EPROTO},
		{2, 0xffff, 24, -EPROTO}, {0xffff, 2, 24, -EPROTO},
		{2, 2, 16, -EPROTO},	  {2, 1535, 12280, -EPROTO},
		{2, 1534, 12280, 12272},
	};
	bool signal;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vmbus_packet_descriptor descriptor = {
			.type = VMBUS_PACKET_DATA,
			.offset8 = rows[i].offset8,
			.length8 = rows[i].length8,
		};
		struct rings rings;

		rings_init(&rings);
		memcpy(rings.guest.up.data, &descriptor, sizeof(descriptor));
		rings.guest.up.control->write_index = rows[i].used;
		if (ring_read(&rings.reader, rings.buffer, &signal) != rows[i].result)
			fail_msg("row %zu gave another result", i);
		rings_end(&rings);
	}
}

/* --- mapping --- */

static void scattered_pages_become_one_ring(void **state)
{
	static const uint64_t pfns[] = {9, 3, 5, 4, 3};
	struct fixture *f = fixture_new();
	struct ring ring;

	assert_int_equal(ring_map(&ring, f->part, pfns, 5, 7), -ENOSPC);
	assert_null(ring.control);
	assert_int_equal(ring_map(&ring, f->part, pfns, 5, 8), 0);
	assert_int_equal(ring.mappings, 8);
	assert_int_equal(ring.bytes, 4 * PAGE_BYTES);
	assert_ptr_equal(ring.control, f->memory.base + 9 * PAGE_BYTES);
	for (unsigned int i = 0; i < 8; i++) {
		uint8_t *page = f->memory.base + pfns[1 + i % 4] * PAGE_BYTES;

		page[100] = (uint8_t)(i + 1);
		assert_int_equal(ring.data[i * PAGE_BYTES + 100], i + 1);
	}
	ring_unmap(&ring);
	fixture_free(f);
}

static void rings_of_what_is_not_memory_or_too_large_are_refused(void **state)
{
	static const struct {
		uint64_t pfns[3];
		uint32_t pages;
		int result;
	} rows[] = {
		{{1, 2, 3}, 3, 0},
		{{1, 2, 3}, 1, -EINVAL},
		{{1, 2, 3}, 0, -EINVAL},
		{{1, 2, 3}, RING_MAX_PAGES + 1, -EINVAL},
		{{MEMORY_BYTES / PAGE_BYTES, 2, 3}, 3, -EFAULT},
		{{1, MEMORY_BYTES / PAGE_BYTES, 3}, 3, -EFAULT},
		{{1, 2, ~0ull}, 3, -EFAULT},
		{{1, 2, 1ull << 52}, 3, -EFAULT},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ring ring;

		assert_int_equal(ring_map(&ring, f->part, rows[i].pfns, rows[i].pages, 100),
				 rows[i].result);
		ring_unmap(&ring);
	}
	fixture_free(f);
}

/* --- packets --- */

struct direct_row {
	uint32_t range_count;
	uint64_t words[6]; /* behind the descriptor: {0, count} is put before these */
	uint16_t offset8, length8;
	int result;
};

static void pages_of_packets_are_checked(void **state)
{
	static const struct direct_row rows[] = {
		{1, {0x1000, 5}, 5, 6, 1},
		{1, {0x1000, 5}, 5, 5, 1},
		{2, {0x1000, 5, 0x10, 6}, 7, 7, 1},
		{1, {0, 5}, 4, 5, 1},
		{0, {0x1000, 5}, 5, 6, -EPROTO},
		{2, {0x1000, 5}, 5, 6, -EPROTO},
		{1, {0x1001, 5}, 5, 6, -EPROTO},
		{1, {0x1000}, 4, 6, -EPROTO},
		{1, {0x1000}, 3, 6, -EPROTO},
		{1, {0x1000}, 2, 6, -EPROTO},
		{0xffffffff, {0x1000, 5}, 5, 6, -EPROTO},
		{1, {0xffffffffffffffff, 5}, 5, 6, -EPROTO},
		{1, {0x00000000ffffffff, 5}, 5, 6, -EPROTO},
		{1, {0xffffffff00000001, 5}, 5, 6, -EPROTO},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vmbus_packet_descriptor descriptor = {
			.type = VMBUS_PACKET_GPA_DIRECT,
			.offset8 = rows[i].offset8,
			.length8 = rows[i].length8,
		};
		struct fixture *f = fixture_new();
		struct provider provider = {};
		struct guest_rings rings;
		uint64_t rest[7] = {(uint64_t)rows[i].range_count << 32};
		bool signal;

		memcpy(rest + 1, rows[i].words, sizeof(rows[i].words));
		provider_offer(f, &provider, 1, NULL);
		connect_guest(f);
		rings = open_channel(f, &provider, 8);
		guest_write_raw(&rings.up, &descriptor, rest, sizeof(rest), &signal);
		vmbus_signal_event(f->bus, 0x2001, 0);
		turn(f);
		if (provider.packets != (rows[i].result == 1) ||
		    (rows[i].result < 0) != (provider.closes == 1))
			fail_msg("row %zu was taken otherwise", i);
		fixture_free(f);
	}
}

static void only_known_types_of_packets_are_taken(void **state)
{
	for (uint16_t type = 0; type < 20; type++) {
		bool known = type == 6 || type == 7 || type == 0xb; /* 9 has more to it */
		struct fixture *f = fixture_new();
		struct provider provider = {};
		struct guest_rings rings;
		bool signal;

		provider_offer(f, &provider, 1, NULL);
		connect_guest(f);
		rings = open_channel(f, &provider, 8);
		guest_write(&rings.up, type, 1, 77, "12345678", 8, &signal);
		vmbus_signal_event(f->bus, 0x2001, 0);
		turn(f);
		assert_int_equal(provider.packets, known);
		assert_int_equal(provider.closes, !known);
		if (known) {
			assert_int_equal(provider.last.type, type);
			assert_int_equal(provider.last.transaction_id, 77);
			assert_true(provider.last.wants_completion);
			assert_int_equal(provider.last.payload_bytes, 8);
			assert_memory_equal(provider.last.payload, "12345678", 8);
		}
		fixture_free(f);
	}
}

/* A packet as vmbus_read() would leave it, without a ring. */
static struct vmbus_packet packet_of(const uint64_t *ranges, uint32_t count)
{
	return (struct vmbus_packet){.ranges = (const uint8_t *)ranges, .range_count = count};
}

static void ranges_become_host_memory_and_neighbours_are_joined(void **state)
{
	const uint64_t ranges[] = {
		0x3000,
		10,
		11,
		12, /* one piece */
		0x2800 | 0x100ull << 32,
		20,
		22,
		23, /* a gap */
		0,  /* nothing */
		0x10 | 0x1ff8ull << 32,
		99,
		30,
		32, /* begins in its second page, ends in its third */
		0x1000,
		MEMORY_BYTES / PAGE_BYTES,
		0x1000,
		~0ull,
	};
	const struct vmbus_packet packet = packet_of(ranges, 6);
	struct fixture *f = fixture_new();
	uint8_t *base = f->memory.base;
	struct provider provider = {};
	struct iovec iov[4];
	uint64_t before;
	uint32_t bytes;

	provider_offer(f, &provider, 1, NULL);
	for (unsigned int round = 0; round < 2; round++) { /* forwards, then out of order */
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 0, iov, 4, &bytes),
				 1);
		assert_int_equal(bytes, 0x3000);
		assert_ptr_equal(iov[0].iov_base, base + 10 * PAGE_BYTES);
		assert_int_equal(iov[0].iov_len, 0x3000);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 1, iov, 4, &bytes),
				 2);
		assert_int_equal(bytes, 0x2800);
		assert_ptr_equal(iov[0].iov_base, base + 20 * PAGE_BYTES + 0x100);
		assert_int_equal(iov[0].iov_len, 0xf00);
		assert_ptr_equal(iov[1].iov_base, base + 22 * PAGE_BYTES);
		assert_int_equal(iov[1].iov_len, 0x1900);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 3, iov, 4, &bytes),
				 2);
		assert_ptr_equal(iov[0].iov_base, base + 30 * PAGE_BYTES + 0xff8);
		assert_int_equal(iov[0].iov_len, 8);
		assert_ptr_equal(iov[1].iov_base, base + 32 * PAGE_BYTES);
		assert_int_equal(iov[1].iov_len, 8);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 2, iov, 4, &bytes),
				 0);
		assert_int_equal(bytes, 0);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 4, iov, 4, &bytes),
				 -EFAULT);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 5, iov, 4, &bytes),
				 -EFAULT);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 6, iov, 4, &bytes),
				 -EINVAL);
		assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 1, iov, 1, &bytes),
				 -E2BIG);
	}
	before = announced_bytes;
	assert_int_equal(vmbus_packet_iovec(provider.channel, &packet, 1, iov, 4, &bytes), 2);
	vmbus_iovec_written(provider.channel, iov, 2);
	assert_int_equal(announced_bytes - before, 0x2800);
	fixture_free(f);
}

/* --- lost wake-ups: two threads that sleep whenever they may --- */

#define STRESS_PACKETS 40000u

struct stress {
	struct rings rings;
	sem_t to_host, to_guest;
	unsigned int guest_sleeps, host_sleeps;
};

/* A minute is for ever: then a wake-up was lost. */
static void sleep_on(sem_t *semaphore)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	while (sem_timedwait(semaphore, &until)) {
		if (errno != EINTR)
			abort();
	}
}

/* Sends all packets and reads all echoes, as a driver does that turns its interrupt off. */
static void *stress_guest(void *ctx)
{
	struct stress *stress = ctx;
	struct guest_ring *up = &stress->rings.guest.up, *down = &stress->rings.guest.down;
	unsigned int sent = 0, received = 0;
	uint8_t packet[1024], payload[900];
	bool signal;

	memset(payload, 0x5a, sizeof(payload));
	while (received < STRESS_PACKETS) {
		bool moved = false;

		down->control->interrupt_mask = 1;
		while (sent < STRESS_PACKETS &&
		       !guest_write(up, VMBUS_PACKET_DATA, 1, sent, payload, sent % 900, &signal)) {
			sent++;
			moved = true;
			if (signal)
				sem_post(&stress->to_host);
		}
		while (guest_read(down, packet, sizeof(packet), &signal)) {
			if (id_of(packet) != received++)
				abort();
			moved = true;
			if (signal)
				sem_post(&stress->to_host);
		}
		if (moved)
			continue;
		/* Ask for room if there is no room; then sleep unless something came meanwhile. */
		up->control->pending_send_size = sent < STRESS_PACKETS ? 1000 : 0;
		down->control->interrupt_mask = 0;
		if (down->control->write_index == down->control->read_index &&
		    (sent == STRESS_PACKETS ||
		     up->bytes - (up->control->write_index + up->bytes - up->control->read_index) %
					     up->bytes <=
			     1000)) {
			sleep_on(&stress->to_guest);
			stress->guest_sleeps++;
		}
		up->control->pending_send_size = 0;
	}
	return NULL;
}

static void flush(struct stress *stress)
{
	if (ring_take_signal(&stress->rings.writer))
		sem_post(&stress->to_guest);
}

/* Echoes; sleeps when there is nothing to read or no room to write. */
static void stress_host(struct stress *stress)
{
	struct rings *rings = &stress->rings;
	unsigned int echoed = 0;
	bool signal;

	while (echoed < STRESS_PACKETS) {
		int bytes = ring_read(&rings->reader, rings->buffer, &signal);

		assert_true(bytes >= 0);
		if (signal)
			sem_post(&stress->to_guest);
		while (bytes && host_write(rings, id_of(rings->buffer), rings->buffer + 16,
					   (uint32_t)bytes - 16) == -EAGAIN) {
			flush(stress);
			sleep_on(&stress->to_host);
			stress->host_sleeps++;
			ring_notice_room(&rings->writer);
		}
		if (bytes) {
			assert_int_equal(id_of(rings->buffer), echoed);
			echoed++;
			continue;
		}
		flush(stress);
		sleep_on(&stress->to_host);
		stress->host_sleeps++;
	}
	flush(stress);
}

static void no_wake_up_is_lost_between_two_threads(void **state)
{
	struct stress stress = {};
	pthread_t guest;

	rings_init(&stress.rings);
	sem_init(&stress.to_host, 0, 0);
	sem_init(&stress.to_guest, 0, 0);
	assert_int_equal(pthread_create(&guest, NULL, stress_guest, &stress), 0);
	stress_host(&stress);
	pthread_join(guest, NULL);
	print_message("slept: guest %u, host %u\n", stress.guest_sleeps, stress.host_sleeps);
	sem_destroy(&stress.to_host);
	sem_destroy(&stress.to_guest);
	rings_end(&stress.rings);
}

/*
 * The same, where the two are closest: the guest writes the next packet the moment the last was
 * taken, which is when the host finds the ring empty and is about to sleep.
 */
#define CLOSE_PACKETS 150000u

static void delay(unsigned int turns)
{
	for (volatile unsigned int i = 0; i < turns; i++)
		;
}

static void *close_guest(void *ctx)
{
	struct stress *stress = ctx;
	struct guest_ring *up = &stress->rings.guest.up;
	bool signal;

	for (unsigned int i = 0; i < CLOSE_PACKETS; i++) {
		for (unsigned int spins = 1; up->control->read_index != up->control->write_index;
		     spins++) {
			if (spins % 1024 == 0)
				sched_yield();
		}
		delay(i % 61);
		if (guest_write(up, VMBUS_PACKET_DATA, 0, i, "", 0, &signal))
			abort();
		if (signal)
			sem_post(&stress->to_host);
	}
	return NULL;
}

static void a_packet_written_while_the_reader_goes_to_sleep_wakes_it(void **state)
{
	struct stress stress = {};
	unsigned int read = 0;
	pthread_t guest;
	bool signal;

	rings_init(&stress.rings);
	sem_init(&stress.to_host, 0, 0);
	assert_int_equal(pthread_create(&guest, NULL, close_guest, &stress), 0);
	while (read < CLOSE_PACKETS) {
		int bytes = ring_read(&stress.rings.reader, stress.rings.buffer, &signal);

		assert_true(bytes >= 0);
		if (bytes)
			delay(++read % 53);
		else
			sleep_on(&stress.to_host);
	}
	pthread_join(guest, NULL);
	sem_destroy(&stress.to_host);
	rings_end(&stress.rings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_of_all_lengths_wrap_wherever_the_ring_ends),
		cmocka_unit_test(header_and_parts_are_joined_and_the_trailer_names_the_start),
		cmocka_unit_test(a_ring_is_never_filled_to_the_last_unit),
		cmocka_unit_test(a_packet_too_long_for_its_descriptor_is_refused),
		cmocka_unit_test(the_guest_is_asked_for_room_and_no_longer_when_it_is_there),
		cmocka_unit_test(a_guest_that_waits_for_room_is_signalled_once_when_it_is_there),
		cmocka_unit_test(the_guest_signals_only_what_comes_into_an_empty_ring_we_left),
		cmocka_unit_test(a_signal_is_owed_for_a_packet_into_an_empty_unmasked_ring),
		cmocka_unit_test(wild_indices_of_the_guest_end_the_ring),
		cmocka_unit_test(our_own_indices_are_not_the_guests_to_change),
		cmocka_unit_test(descriptors_that_lie_about_lengths_end_the_ring),
		cmocka_unit_test(scattered_pages_become_one_ring),
		cmocka_unit_test(rings_of_what_is_not_memory_or_too_large_are_refused),
		cmocka_unit_test(pages_of_packets_are_checked),
		cmocka_unit_test(only_known_types_of_packets_are_taken),
		cmocka_unit_test(ranges_become_host_memory_and_neighbours_are_joined),
		cmocka_unit_test(no_wake_up_is_lost_between_two_threads),
		cmocka_unit_test(a_packet_written_while_the_reader_goes_to_sleep_wakes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
