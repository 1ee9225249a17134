/*
 * ic_fuzz.c - a hostile guest against all six services: packets in any order, with any content,
 * while requests are out, time passes, channels open and close and rings are full
 *
 * The input is a list of steps: a byte that chooses the step and the service, then the bytes it
 * wants. Random packets would hardly ever be taken, so most are answers to what the host asked,
 * changed in places. Besides staying alive, every call that was accepted must end exactly once, and
 * nothing may remain armed or posted when all channels are closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "fuzz_input.h"
#include "log.h"

#define MAX_STEPS 400

/* Calls that were accepted and have not ended. */
static unsigned int calls_out;

static void ended(void *ctx, int result, const char *text)
{
	if (!calls_out || !text || strlen(text) >= IC_TEXT_BYTES)
		abort();
	calls_out--;
}

static void pair(void *ctx, int result, const char *key, const char *value)
{
	if (!value || strlen(value) > 3 * IC_KVP_VALUE_UNITS)
		abort();
	if (!key)
		ended(ctx, result, value);
	else if (result || strlen(key) > 3 * IC_KVP_KEY_UNITS)
		abort();
}

static void accepted(int result)
{
	calls_out += !result;
}

/* --- steps --- */

struct world {
	struct ic *ic;
	struct fixture_packet last[IC_SERVICE_COUNT]; /* the host's last message */
	bool asked[IC_SERVICE_COUNT];
	int file;
};

static void step_open_or_close(struct world *world, enum ic_service service, struct input *input)
{
	static const uint16_t newest[IC_SERVICE_COUNT][2] = {{3, 0}, {3, 2}, {4, 0},
							     {4, 0}, {5, 0}, {1, 1}};

	if (fixture_is_open(service))
		fixture_close(service);
	else if (take(input, 1) % 4)
		fixture_connect(service, 3, newest[service][0], newest[service][1]);
	else
		fixture_open(service);
	world->asked[service] = false;
}

/* Changes in the message: how many, then offset and bytes of each. */
static void change(struct fixture_packet *packet, struct input *input)
{
	uint32_t count = take(input, 1) % 8;

	while (count--) {
		size_t offset = take(input, 2) % sizeof(packet->message);
		uint32_t value = take(input, 4);

		memcpy((uint8_t *)&packet->message + offset, &value,
		       MIN(sizeof(value), sizeof(packet->message) - offset));
	}
}

/* An answer to the last message, in the right form. */
static void step_answer(struct world *world, enum ic_service service, struct input *input)
{
	static const uint32_t statuses[] = {
		0, 0, 0, 0, 0, IC_STATUS_FAIL, IC_STATUS_NO_MORE_ITEMS, IC_STATUS_DISK_FULL};
	struct fixture_packet *packet = &world->last[service];

	if (!fixture_is_open(service))
		return;
	if (fixture_take(service, packet))
		world->asked[service] = true;
	if (!world->asked[service])
		return;
	packet->message.header.status = statuses[take(input, 1) % ARRAY_SIZE(statuses)];
	packet->message.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	change(packet, input);
	fixture_send(service, IC_PACKET_INBAND, &packet->message, packet->bytes, true);
}

/* Any size and type, without a signal. */
static void step_packet(struct world *world, enum ic_service service, struct input *input)
{
	struct fixture_packet *packet = &world->last[service];

	if (!fixture_is_open(service) || fixture_unread(service) > 64)
		return;
	change(packet, input);
	fixture_send(service, take(input, 1) % 4 ? IC_PACKET_INBAND : (uint16_t)take(input, 2),
		     &packet->message, take(input, 2) % sizeof(packet->message), false);
}

static void step_signal(struct world *world, enum ic_service service, struct input *input)
{
	if (fixture_is_open(service))
		fixture_signal(service);
	stepped_run_posted();
}

static void step_ring(struct world *world, enum ic_service service, struct input *input)
{
	static const int results[] = {0, -EAGAIN, -EMSGSIZE, -EPROTO};
	uint32_t choice = take(input, 1);

	if (fixture_is_open(service))
		fixture_set_write_result(service, results[choice % ARRAY_SIZE(results)]);
}

static void step_time(struct world *world, enum ic_service service, struct input *input)
{
	fixture_step_real_ns((int8_t)take(input, 1) * 50000000ll);
	stepped_advance_ns(take(input, 1) * NANOSECONDS / 2);
}

static void take_text(struct input *input, char text[16])
{
	size_t bytes = take(input, 1) % 16;

	bytes = MIN(bytes, input->left);
	memcpy(text, input->at, bytes);
	text[bytes] = 0;
	input->at += bytes;
	input->left -= bytes;
}

static void call_kvp(struct world *world, struct input *input)
{
	enum ic_kvp_pool pool = (enum ic_kvp_pool)(take(input, 1) % 4);
	char key[16], value[16];

	take_text(input, key);
	take_text(input, value);
	switch (take(input, 1) % 5) {
	case 0: accepted(ic_kvp_get(world->ic, pool, key, pair, NULL)); break;
	case 1: accepted(ic_kvp_enumerate(world->ic, pool, pair, NULL)); break;
	case 2: accepted(ic_kvp_set(world->ic, pool, key, value, ended, NULL)); break;
	case 3: accepted(ic_kvp_delete(world->ic, pool, key, ended, NULL)); break;
	case 4: accepted(ic_kvp_get_ip(world->ic, "00:15:5d:01:02:03", pair, NULL)); break;
	}
}

static void call_vss(struct world *world, struct input *input)
{
	switch (take(input, 1) % 3) {
	case 0: accepted(ic_freeze(world->ic, ended, NULL)); break;
	case 1: accepted(ic_thaw(world->ic, ended, NULL)); break;
	case 2: ic_keep_frozen(world->ic); break;
	}
}

static void call_fcopy(struct world *world, struct input *input)
{
	struct ic_copy copy = {.fd = world->file};
	char path[16];

	if (take(input, 1) % 4 == 0) {
		ic_cancel_copy(world->ic);
		return;
	}
	lseek(world->file, take(input, 2) % 20000, SEEK_SET);
	take_text(input, path);
	path[0] = '/';
	copy.guest_path = path;
	accepted(ic_copy_file(world->ic, &copy, ended, NULL));
}

static void step_call(struct world *world, enum ic_service service, struct input *input)
{
	struct ic_heartbeat heartbeat;
	char reason[16];

	switch (service) {
	case IC_HEARTBEAT: ic_get_heartbeat(world->ic, &heartbeat); break;
	case IC_SHUTDOWN:
		take_text(input, reason);
		accepted(ic_shutdown(world->ic, (enum ic_shutdown_kind)(take(input, 1) % 3),
				     take(input, 1) & 1, reason, ended, NULL));
		break;
	case IC_TIMESYNC: ic_sync_time(world->ic, take(input, 1) & 1); break;
	case IC_KVP: call_kvp(world, input); break;
	case IC_VSS: call_vss(world, input); break;
	case IC_FCOPY: call_fcopy(world, input); break;
	case IC_SERVICE_COUNT: break;
	}
}

static void (*const steps[])(struct world *, enum ic_service, struct input *) = {
	step_answer, step_answer, step_call, step_open_or_close,
	step_packet, step_signal, step_ring, step_time,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	struct input input = {data, size};

	world = (struct world){.ic = fixture_new(), .file = memfd_create("ic_fuzz", MFD_CLOEXEC)};
	if (world.file < 0 || ftruncate(world.file, 20000) < 0)
		abort();
	log_set_level(LOG_ERROR);
	calls_out = 0;
	for (int i = 0; i < MAX_STEPS && input.left; i++) {
		uint32_t choice = take(&input, 1);

		steps[choice % ARRAY_SIZE(steps)](
			&world, (enum ic_service)(choice / ARRAY_SIZE(steps) % IC_SERVICE_COUNT),
			&input);
	}
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		if (fixture_is_open((enum ic_service)i))
			fixture_close((enum ic_service)i);
	}
	if (calls_out || stepped_timers_armed() || stepped_run_posted())
		abort();
	fixture_free(world.ic);
	close(world.file);
	return 0;
}
