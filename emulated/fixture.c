/*
 * fixture.c - see fixture.h
 */
#include "fixture.h"

/* --- the host's UTC --- */

static uint64_t clock_at_start_ns;
static int64_t utc_step_seconds;
static uint64_t fixed_utc_ns; /* 0: UTC runs */

static uint64_t fixture_utc_ns(void)
{
	if (fixed_utc_ns)
		return fixed_utc_ns;
	return (uint64_t)((int64_t)FIXTURE_UTC_SECONDS + utc_step_seconds) * 1000000000u +
	       (stepped_now_ns() - clock_at_start_ns);
}

void fixture_step_utc_seconds(int64_t seconds)
{
	utc_step_seconds += seconds;
}

void fixture_set_utc_ns(uint64_t ns)
{
	fixed_utc_ns = ns;
}

/* --- the partition --- */

struct recording_partition {
	struct partition part;
	struct fixture *fixture;
};

static struct fixture *fixture_of(struct partition *part)
{
	return ((struct recording_partition *)part)->fixture;
}

static int record_create(const struct partition_config *config, struct partition **ret_part)
{
	struct recording_partition *part = calloc(1, sizeof(*part));

	part->fixture = config->ctx;
	*ret_part = &part->part;
	return 0;
}

static void record_destroy(struct partition *part)
{
	free(part);
}

static int record_msi(struct partition *part, const struct msi *msi)
{
	struct fixture *fixture = fixture_of(part);

	fixture->msis[fixture->msi_count++ % FIXTURE_MSIS] = *msi;
	return 0;
}

static int record_extint(struct partition *part, bool asserted)
{
	struct fixture *fixture = fixture_of(part);

	fixture->extint_rises += asserted && !fixture->extint;
	fixture->extint = asserted;
	return 0;
}

static int record_routes(struct partition *part, const struct msi *routes, size_t count)
{
	memcpy(fixture_of(part)->routes, routes, count * sizeof(*routes));
	return 0;
}

static const struct partition_ops recording_ops = {.create = record_create,
						   .destroy = record_destroy,
						   .send_msi = record_msi,
						   .set_extint = record_extint,
						   .set_ioapic_routes = record_routes};
static const struct engine recording_engine = {.name = "recording", .ops = &recording_ops};

/* --- the owner --- */

static void note_power_off(void *ctx)
{
	((struct fixture *)ctx)->power_offs++;
}

static void note_reset(void *ctx)
{
	((struct fixture *)ctx)->resets++;
}

static void note_debug_exit(void *ctx, uint32_t value)
{
	((struct fixture *)ctx)->debug_exits++;
	((struct fixture *)ctx)->debug_exit_value = value;
}

static size_t take_output(void *ctx, const uint8_t *bytes, size_t n)
{
	struct fixture *fixture = ctx;
	size_t taken = MIN(n, fixture->output_room);

	taken = MIN(taken, sizeof(fixture->output) - fixture->output_count);
	memcpy(fixture->output + fixture->output_count, bytes, taken);
	fixture->output_count += taken;
	fixture->output_room -= taken;
	fixture->output_writes++;
	return taken;
}

static void note_input_room(void *ctx)
{
	((struct fixture *)ctx)->input_rooms++;
}

struct fixture *fixture_new(void)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct partition_config config = {.vp_count = 1, .ctx = fixture};
	const struct chipset_events events = {.power_off = note_power_off,
					      .reset = note_reset,
					      .debug_exit = note_debug_exit,
					      .ctx = fixture};

	clock_at_start_ns = stepped_now_ns();
	utc_step_seconds = 0;
	fixed_utc_ns = 0;
	fixture->output_room = SIZE_MAX / 2;
	if (partition_new(&recording_engine, &config, &fixture->part) < 0 ||
	    chipset_new(fixture->part, NULL, &events, &fixture->chipset) < 0)
		abort();
	chipset_set_utc_source(fixture->chipset, fixture_utc_ns);
	return fixture;
}

struct fixture *fixture_new_pc(void)
{
	struct fixture *fixture = fixture_new();
	const struct pc_config config = {
		.memory_bytes = 5 * GIB,
		.com1 = {.write = take_output, .input_room = note_input_room, .ctx = fixture},
		.has_debug_exit = true,
		.debug_exit_port = 0xf4,
	};

	if (pc_new(fixture->chipset, &config, &fixture->pc) < 0)
		abort();
	return fixture;
}

void fixture_free(struct fixture *fixture)
{
	chipset_free(fixture->chipset);
	partition_free(fixture->part);
	free(fixture);
}

int fixture_setup(void **state)
{
	*state = fixture_new_pc();
	return 0;
}

int fixture_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* --- the guest --- */

uint32_t in(struct fixture *fixture, uint16_t port, unsigned int bytes)
{
	struct vp_exit exit = {.reason = VP_EXIT_PIO};

	exit.pio.port = port;
	exit.pio.bytes = (uint8_t)bytes;
	exit.pio.data = 0xdeadbeef;
	chipset_pio(fixture->chipset, &exit);
	return exit.pio.data;
}

void out(struct fixture *fixture, uint16_t port, unsigned int bytes, uint32_t value)
{
	struct vp_exit exit = {.reason = VP_EXIT_PIO};

	exit.pio.port = port;
	exit.pio.bytes = (uint8_t)bytes;
	exit.pio.write = true;
	exit.pio.data = value;
	chipset_pio(fixture->chipset, &exit);
}

uint64_t mmio_read(struct fixture *fixture, gpa_t gpa, unsigned int bytes)
{
	struct vp_exit exit = {.reason = VP_EXIT_MMIO};

	exit.mmio.gpa = gpa;
	exit.mmio.bytes = (uint8_t)bytes;
	chipset_mmio(fixture->chipset, &exit);
	return exit.mmio.data;
}

void mmio_write(struct fixture *fixture, gpa_t gpa, unsigned int bytes, uint64_t value)
{
	struct vp_exit exit = {.reason = VP_EXIT_MMIO};

	exit.mmio.gpa = gpa;
	exit.mmio.bytes = (uint8_t)bytes;
	exit.mmio.write = true;
	exit.mmio.data = value;
	chipset_mmio(fixture->chipset, &exit);
}

void fixture_save_and_restore(struct fixture *fixture)
{
	uint8_t *bytes;
	size_t count;

	if (chipset_save(fixture->chipset, &bytes, &count) < 0)
		abort();
	chipset_reset(fixture->chipset);
	if (chipset_restore(fixture->chipset, bytes, count) < 0)
		fail_msg("a state that was saved cannot be restored");
	free(bytes);
}
