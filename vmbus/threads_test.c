/*
 * threads_test.c - bus, channels, VPs and the hypervisor's callbacks on threads of their own
 *
 * Nothing here depends on time: a guest's thread waits for messages and signals on a condition
 * variable. What is tested is that all of it comes, and that the sanitizer finds no race.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>

#include "loop_thread.h"

#define CHANNELS 3u
#define ROUNDS	 30u
#define PACKETS	 300u
#define PAGES	 8u
#define PAGE_PFN 8u /* of the interrupt page */

struct machine {
	struct guest_memory memory;
	struct fixture *f; /* its loop is served by bus_thread */
	uint32_t version;
	pthread_t bus_thread;
	struct loop_thread *loops[CHANNELS];
	struct provider providers[CHANNELS];
	pthread_mutex_t lock;
	pthread_cond_t signalled;
	bool flags[VMBUS_RELID_LIMIT];
};

static void *serve_bus(void *ctx)
{
	assert(!loop_run(ctx));
	return NULL;
}

/* A word of each half is enough for the channels there are. */
static _Atomic uint64_t *interrupt_bits(struct machine *machine, size_t half)
{
	return (_Atomic uint64_t *)(machine->f->memory.base + PAGE_PFN * PAGE_BYTES +
				    half * PAGE_BYTES / 2);
}

static void take_bits(struct machine *machine)
{
	uint64_t bits = atomic_exchange(interrupt_bits(machine, 0), 0);

	for (uint32_t relid = 1; relid <= CHANNELS; relid++)
		machine->flags[relid] |= bits >> relid & 1;
}

static void flag_set(void *ctx, unsigned int vp, unsigned int flag)
{
	struct machine *machine = ctx;

	pthread_mutex_lock(&machine->lock);
	if (flag)
		machine->flags[flag] = true;
	else
		take_bits(machine);
	pthread_cond_broadcast(&machine->signalled);
	pthread_mutex_unlock(&machine->lock);
}

/* A minute without a signal means that one was lost. */
static void wait_for_flag(struct machine *machine, uint32_t relid)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&machine->lock);
	while (!machine->flags[relid]) {
		if (pthread_cond_timedwait(&machine->signalled, &machine->lock, &until) ==
		    ETIMEDOUT)
			abort();
	}
	machine->flags[relid] = false;
	pthread_mutex_unlock(&machine->lock);
}

static void machine_init(struct machine *machine, uint32_t version)
{
	char name[16];

	*machine = (struct machine){.f = fixture_new(), .version = version};
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->signalled, NULL);
	machine->f->hv.flag_set = flag_set;
	machine->f->hv.ctx = machine;
	for (unsigned int i = 0; i < CHANNELS; i++) {
		snprintf(name, sizeof(name), "channel %u", i);
		assert_int_equal(loop_thread_new(name, &machine->loops[i]), 0);
		machine->providers[i].echo = true;
		provider_offer(machine->f, &machine->providers[i], i + 1,
			       loop_thread_loop(machine->loops[i]));
	}
	assert_int_equal(pthread_create(&machine->bus_thread, NULL, serve_bus, machine->f->loop),
			 0);
}

static void machine_end(struct machine *machine)
{
	loop_stop(machine->f->loop);
	pthread_join(machine->bus_thread, NULL);
	fixture_free(machine->f);
	for (unsigned int i = 0; i < CHANNELS; i++)
		loop_thread_free(machine->loops[i]);
	pthread_cond_destroy(&machine->signalled);
	pthread_mutex_destroy(&machine->lock);
}

/* --- the guest's side, on several threads --- */

static void post_blindly(struct machine *machine, const void *message, uint32_t bytes)
{
	while (vmbus_post_message(machine->f->bus, 4, message, bytes) == 0x13)
		sched_yield();
}

/* The next message of @type, which others may read past but not take. */
static void wait_for_message(struct machine *machine, uint32_t type, uint32_t relid)
{
	struct hv *hv = &machine->f->hv;
	uint64_t give_up = monotonic_ns() + 60000000000;

	while (monotonic_ns() < give_up) {
		bool found = false;

		pthread_mutex_lock(&hv->lock);
		for (unsigned int i = hv->first; i < hv->first + hv->count && !found; i++) {
			uint32_t *words = (uint32_t *)hv->messages[i].payload;

			found = words[0] == type && (!relid || words[2] == relid);
			if (found)
				words[0] = 0;
		}
		pthread_mutex_unlock(&hv->lock);
		if (found)
			return;
		sched_yield();
	}
	abort();
}

static void contact(struct machine *machine)
{
	bool with_page = machine->version < VMBUS_VERSION_WIN8;
	const struct vmbus_initiate_contact message = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = machine->version,
		.interrupt_page = with_page ? PAGE_PFN * PAGE_BYTES : VMBUS_SINT,
	};
	const struct vmbus_message_header request = {VMBUS_REQUEST_OFFERS};

	post_blindly(machine, &message, sizeof(message));
	wait_for_message(machine, VMBUS_VERSION_RESPONSE, 0);
	post_blindly(machine, &request, sizeof(request));
	wait_for_message(machine, VMBUS_ALL_OFFERS_DELIVERED, 0);
}

static uint64_t first_pfn(uint32_t relid)
{
	return relid * 0x40ull;
}

static void open_rings(struct machine *machine, uint32_t relid)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	const struct vmbus_gpadl_header header = {
		{VMBUS_GPADL_HEADER}, relid, relid, (PAGES + 1) * 8, 1};
	const struct vmbus_open_channel open = {{VMBUS_OPEN_CHANNEL}, relid,	relid, relid,
						relid % VP_COUNT,     PAGES / 2};
	uint64_t list[PAGES + 1] = {PAGES * PAGE_BYTES};

	for (unsigned int i = 0; i < PAGES; i++)
		list[1 + i] = first_pfn(relid) + i;
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), list, sizeof(list));
	post_blindly(machine, message, sizeof(header) + sizeof(list));
	wait_for_message(machine, VMBUS_GPADL_CREATED, relid);
	post_blindly(machine, &open, sizeof(open));
	wait_for_message(machine, VMBUS_OPEN_RESULT, relid);
}

static void close_rings(struct machine *machine, uint32_t relid)
{
	const struct vmbus_relid_message close = {{VMBUS_CLOSE_CHANNEL}, relid};
	const struct vmbus_gpadl_teardown teardown = {{VMBUS_GPADL_TEARDOWN}, relid, relid};

	post_blindly(machine, &close, sizeof(close));
	post_blindly(machine, &teardown, sizeof(teardown));
	wait_for_message(machine, VMBUS_GPADL_TORNDOWN, relid);
}

static void signal_host(struct machine *machine, uint32_t relid)
{
	uint32_t connection_id = VMBUS_EVENT_CONNECTIONS + relid;

	if (machine->version == VMBUS_VERSION_WS2008) {
		atomic_fetch_or(interrupt_bits(machine, 1), UINT64_C(1) << relid);
		connection_id = VMBUS_CONNECTION_EVENTS;
	}
	vmbus_signal_event(machine->f->bus, connection_id, 0);
}

/* As many packets as fit, then sleep until an answer comes; with the interrupt off while reading.
 */
static void exchange(struct machine *machine, uint32_t relid, struct guest_rings *rings,
		     unsigned int count)
{
	unsigned int sent = 0, received = 0;
	uint8_t packet[512], payload[400] = {};
	bool signal;

	while (received < count) {
		bool moved = false;

		while (sent < count && !guest_write(&rings->up, VMBUS_PACKET_DATA, 1, sent, payload,
						    sent % 400, &signal)) {
			sent++;
			moved = true;
			if (signal)
				signal_host(machine, relid);
		}
		while (guest_read(&rings->down, packet, sizeof(packet), &signal)) {
			assert(((struct vmbus_packet_descriptor *)packet)->transaction_id ==
			       received);
			received++;
			moved = true;
			if (signal)
				signal_host(machine, relid);
		}
		if (!moved)
			wait_for_flag(machine, relid);
	}
}

struct driver {
	struct machine *machine;
	uint32_t relid;
	pthread_t thread;
};

/* Opens, exchanges, closes; in every other round without having read all answers. */
static void *drive(void *ctx)
{
	struct driver *driver = ctx;
	struct machine *machine = driver->machine;
	bool signal;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		const struct vmbus_modify_channel move = {
			{VMBUS_MODIFY_CHANNEL}, driver->relid, round % VP_COUNT};
		struct guest_rings rings =
			guest_rings_init(machine->f, first_pfn(driver->relid), PAGES);

		open_rings(machine, driver->relid);
		post_blindly(machine, &move, sizeof(move));
		exchange(machine, driver->relid, &rings, PACKETS);
		if (machine->version >= VMBUS_VERSION_5_3)
			wait_for_message(machine, VMBUS_MODIFY_CHANNEL_RESPONSE, driver->relid);
		for (unsigned int i = 0; round % 2 && i < 20; i++)
			guest_write(&rings.up, VMBUS_PACKET_DATA, 1, i, "", 0, &signal);
		signal_host(machine, driver->relid);
		close_rings(machine, driver->relid);
	}
	return NULL;
}

/* A VP whose SynIC comes and goes, and that signals what it likes. */
struct vp_thread {
	struct machine *machine;
	atomic_bool stop;
	pthread_t thread;
};

static void set_refusing(struct machine *machine, bool refusing)
{
	pthread_mutex_lock(&machine->f->hv.lock);
	machine->f->hv.slot_taken = machine->f->hv.flags_refused = refusing;
	pthread_mutex_unlock(&machine->f->hv.lock);
	if (!refusing)
		vmbus_synic_ready(machine->f->bus);
}

static void *disturb(void *ctx)
{
	struct vp_thread *vp = ctx;

	for (uint32_t i = 0; !vp->stop; i++) {
		set_refusing(vp->machine, true);
		vmbus_signal_event(vp->machine->f->bus, 0x2000 + i % 6, 0);
		vmbus_signal_event(vp->machine->f->bus, VMBUS_CONNECTION_EVENTS, 0);
		sched_yield();
		set_refusing(vp->machine, false);
	}
	return NULL;
}

static void drive_all(struct machine *machine)
{
	struct driver drivers[CHANNELS];
	struct vp_thread vp = {.machine = machine};

	assert_int_equal(pthread_create(&vp.thread, NULL, disturb, &vp), 0);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		drivers[i] = (struct driver){.machine = machine, .relid = i + 1};
		assert_int_equal(pthread_create(&drivers[i].thread, NULL, drive, &drivers[i]), 0);
	}
	for (uint32_t i = 0; i < CHANNELS; i++)
		pthread_join(drivers[i].thread, NULL);
	vp.stop = true;
	pthread_join(vp.thread, NULL);
}

static const uint32_t versions[] = {VMBUS_VERSION_5_3, VMBUS_VERSION_WIN7, VMBUS_VERSION_WS2008};

static void open_serve_and_close(uint32_t version)
{
	struct machine machine;

	machine_init(&machine, version);
	contact(&machine);
	drive_all(&machine);
	machine_end(&machine);
	for (unsigned int i = 0; i < CHANNELS; i++) {
		assert_int_equal(machine.providers[i].opens, ROUNDS);
		assert_int_equal(machine.providers[i].closes, ROUNDS);
		assert_true(machine.providers[i].packets >= ROUNDS * PACKETS);
	}
}

static void channels_on_threads_of_their_own_open_serve_and_close(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		open_serve_and_close(versions[i]);
}

static void end_in_flight(uint32_t version)
{
	const struct vmbus_message_header unload = {VMBUS_UNLOAD};
	struct machine machine;
	bool signal;

	machine_init(&machine, version);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct guest_rings rings[CHANNELS];

		contact(&machine);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			rings[i] = guest_rings_init(machine.f, first_pfn(i + 1), PAGES);
			open_rings(&machine, i + 1);
		}
		for (unsigned int packet = 0; packet < 50; packet++) {
			for (uint32_t i = 0; i < CHANNELS; i++) {
				guest_write(&rings[i].up, VMBUS_PACKET_DATA, 1, packet, "", 0,
					    &signal);
				signal_host(&machine, i + 1);
			}
		}
		/* The next contact is an unload too, as after a crash. */
		if (round % 2) {
			post_blindly(&machine, &unload, sizeof(unload));
			if (version != VMBUS_VERSION_WS2008)
				wait_for_message(&machine, VMBUS_UNLOAD_RESPONSE, 0);
		}
	}
	machine_end(&machine);
	for (unsigned int i = 0; i < CHANNELS; i++) {
		assert_int_equal(machine.providers[i].opens, ROUNDS);
		assert_int_equal(machine.providers[i].closes, ROUNDS);
	}
}

static void connections_end_while_packets_are_in_flight(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		end_in_flight(versions[i]);
}

struct user {
	struct vmbus_channel *channel;
	uint32_t gpadl;
	atomic_bool stop;
	atomic_uint uses;
	pthread_t thread;
};

/* A provider that writes into memory as long as it is given it. */
static void *use_memory(void *ctx)
{
	struct user *user = ctx;
	struct vmbus_gpadl *gpadl;
	struct iovec iov;

	while (!user->stop) {
		if (vmbus_gpadl_acquire(user->channel, user->gpadl, &gpadl))
			continue;
		assert(vmbus_gpadl_iovec(user->channel, gpadl, 0, 8, &iov, 1) == 1);
		memset(iov.iov_base, 1, iov.iov_len);
		vmbus_gpadl_release(user->channel, gpadl);
		user->uses++;
	}
	return NULL;
}

/* Once it was used in this round, and whoever uses it at the moment. */
static void create_and_tear_down(struct machine *machine, struct user *user)
{
	struct {
		struct vmbus_gpadl_header header;
		uint32_t words[4];
	} create = {{{VMBUS_GPADL_HEADER}, 1, user->gpadl, 16, 1}, {PAGE_BYTES, 0, 0x300, 0}};
	const struct vmbus_gpadl_teardown teardown = {{VMBUS_GPADL_TEARDOWN}, 1, user->gpadl};
	uint8_t *memory = machine->f->memory.base + 0x300 * PAGE_BYTES;
	unsigned int before = user->uses;

	post_blindly(machine, &create, sizeof(create));
	wait_for_message(machine, VMBUS_GPADL_CREATED, 1);
	while (user->uses == before)
		sched_yield();
	post_blindly(machine, &teardown, sizeof(teardown));
	wait_for_message(machine, VMBUS_GPADL_TORNDOWN, user->gpadl);
	memset(memory, 0, 8); /* a race if the provider still writes */
}

static void memory_is_the_guests_again_when_its_teardown_is_answered(void **state)
{
	struct machine machine;
	struct user user = {.gpadl = 100};

	machine_init(&machine, VMBUS_VERSION_5_3);
	contact(&machine);
	open_rings(&machine, 1);
	user.channel = machine.providers[0].channel;
	assert_int_equal(pthread_create(&user.thread, NULL, use_memory, &user), 0);
	for (unsigned int round = 0; round < 10 * ROUNDS; round++)
		create_and_tear_down(&machine, &user);
	user.stop = true;
	pthread_join(user.thread, NULL);
	close_rings(&machine, 1);
	machine_end(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(channels_on_threads_of_their_own_open_serve_and_close),
		cmocka_unit_test(connections_end_while_packets_are_in_flight),
		cmocka_unit_test(memory_is_the_guests_again_when_its_teardown_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
