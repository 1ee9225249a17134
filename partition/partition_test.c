/*
 * partition_test.c - the common half of the interface, above an engine that only records calls
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "partition_internal.h"

static unsigned int calls; /* of the engine below, since a test last set it to 0 */
static struct vp_exit next_exit;

static int fake_create(const struct partition_config *config, struct partition **ret_part)
{
	calls++;
	*ret_part = calloc(1, sizeof(**ret_part));
	return 0;
}

static void fake_destroy(struct partition *part)
{
	for (unsigned int i = 0; i < PARTITION_MAX_VPS; i++)
		free(part->vps[i]);
	free(part);
}

static int fake_map(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		    unsigned int access)
{
	calls++;
	return 0;
}

static int fake_unmap(struct partition *part, gpa_t gpa, uint64_t bytes)
{
	calls++;
	return 0;
}

static int fake_create_vp(struct partition *part, unsigned int index, struct vp **ret_vp)
{
	calls++;
	*ret_vp = calloc(1, sizeof(**ret_vp));
	return 0;
}

static int fake_run(struct vp *vp, struct vp_exit *exit)
{
	*exit = next_exit;
	return 0;
}

static int fake_set_state(struct vp *vp, const struct vp_state *state)
{
	calls++;
	return 0;
}

static int fake_send_msi(struct partition *part, const struct msi *msi)
{
	calls++;
	return 0;
}

static int fake_routes(struct partition *part, const struct msi *routes, size_t count)
{
	calls++;
	return 0;
}

static int fake_doorbell(struct partition *part, const struct doorbell *bell)
{
	calls++;
	return 0;
}

static int fake_time(struct partition *part)
{
	calls++;
	return 0;
}

static const struct partition_ops fake_ops = {
	.create = fake_create,
	.destroy = fake_destroy,
	.map_gpa = fake_map,
	.unmap_gpa = fake_unmap,
	.create_vp = fake_create_vp,
	.vp_run = fake_run,
	.vp_set_state = fake_set_state,
	.send_msi = fake_send_msi,
	.set_ioapic_routes = fake_routes,
	.add_doorbell = fake_doorbell,
	.remove_doorbell = fake_doorbell,
	.stop_time = fake_time,
	.start_time = fake_time,
};
static const struct engine fake_engine = {.name = "fake", .ops = &fake_ops};

static struct partition *fixture(uint16_t hypercall_port)
{
	struct partition_config config = {.vp_count = 2, .hypercall_port = hypercall_port};
	struct partition *part;

	assert_int_equal(partition_new(&fake_engine, &config, &part), 0);
	calls = 0;
	return part;
}

static void bad_configurations_never_reach_the_engine(void **state)
{
	static const struct msr_range backwards = {.first = 2, .last = 1};
	static const struct partition_config rows[] = {
		{.vp_count = 0},
		{.vp_count = PARTITION_MAX_VPS + 1},
		{.vp_count = 1, .cpuid_count = 1},
		{.vp_count = 1, .cpuid_count = PARTITION_MAX_CPUID + 1},
		{.vp_count = 1, .exit_msr_count = 1},
		{.vp_count = 1, .exit_msrs = &backwards, .exit_msr_count = 1},
		{.vp_count = 1, .hypercall_port = 0x100},
	};
	struct partition *part;

	calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(partition_new(&fake_engine, &rows[i], &part), -EINVAL);
	assert_int_equal(calls, 0);
}

static void mappings_are_whole_pages_inside_the_physical_address_space(void **state)
{
	static uint8_t page[2 * PAGE_BYTES];
	uint8_t *hva = (uint8_t *)ALIGN_UP((uintptr_t)page, PAGE_BYTES);
	const struct {
		gpa_t gpa;
		uint64_t bytes;
		void *hva;
		unsigned int access;
		int result;
	} rows[] = {
		{0x1000, 0x1000, hva, MAP_GPA_READ, 0},
		{BIT(52) - 0x1000, 0x1000, hva, MAP_GPA_READ, 0},
		{0x1001, 0x1000, hva, MAP_GPA_READ, -EINVAL},
		{0x1000, 0, hva, MAP_GPA_READ, -EINVAL},
		{0x1000, 0x800, hva, MAP_GPA_READ, -EINVAL},
		{0x1000, 0x1000, hva + 1, MAP_GPA_READ, -EINVAL},
		{0x1000, 0x1000, NULL, MAP_GPA_READ, -EINVAL},
		{0x1000, 0x1000, hva, MAP_GPA_WRITE, -EINVAL},
		{0x1000, 0x1000, hva, MAP_GPA_READ | 0x10, -EINVAL},
		{BIT(52), 0x1000, hva, MAP_GPA_READ, -EINVAL},
		{0x1000, -0x1000ull, hva, MAP_GPA_READ, -EINVAL},
	};
	struct partition *part = fixture(0);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(partition_map_gpa(part, rows[i].gpa, rows[i].bytes, rows[i].hva,
						   rows[i].access),
				 rows[i].result);
	assert_int_equal(calls, 2);
	partition_free(part);
}

static void a_vp_is_created_once_and_listed_by_index(void **state)
{
	struct partition *part = fixture(0);
	struct vp *vp;

	assert_int_equal(partition_create_vp(part, 2, &vp), -EINVAL);
	assert_int_equal(partition_create_vp(part, 1, &vp), 0);
	assert_ptr_equal(part->vps[1], vp);
	assert_ptr_equal(vp->part, part);
	assert_int_equal(vp->index, 1);
	assert_int_equal(partition_create_vp(part, 1, &vp), -EEXIST);
	partition_free(part);
}

static void a_byte_to_the_hypercall_port_is_a_hypercall(void **state)
{
	static const struct {
		uint16_t configured, port;
		uint8_t bytes;
		bool write;
		enum vp_exit_reason reason;
	} rows[] = {
		{0xe5, 0xe5, 1, true, VP_EXIT_HYPERCALL},
		{0xe5, 0xe5, 1, false, VP_EXIT_PIO},
		{0xe5, 0xe5, 2, true, VP_EXIT_PIO},
		{0xe5, 0xe4, 1, true, VP_EXIT_PIO},
		{0, 0, 1, true, VP_EXIT_PIO},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct partition *part = fixture(rows[i].configured);
		struct vp_exit exit;
		struct vp *vp;

		assert_int_equal(partition_create_vp(part, 0, &vp), 0);
		next_exit = (struct vp_exit){.reason = VP_EXIT_PIO,
					     .pio = {.port = rows[i].port,
						     .bytes = rows[i].bytes,
						     .write = rows[i].write}};
		assert_int_equal(vp_run(vp, &exit), 0);
		assert_int_equal(exit.reason, rows[i].reason);
		partition_free(part);
	}
}

static void the_hypercall_code_writes_a_byte_to_the_port_and_returns(void **state)
{
	struct partition *part = fixture(0xe5);
	uint8_t code[PARTITION_HYPERCALL_CODE_BYTES];
	size_t out_at;

	assert_int_equal(partition_write_hypercall_code(part, true, code, &out_at), 7);
	assert_int_equal(out_at, 4);
	assert_memory_equal(code, "\xf3\x0f\x1e\xfa\xe6\xe5\xc3", 7);
	partition_free(part);
	part = fixture(0);
	assert_int_equal(partition_write_hypercall_code(part, true, code, NULL), 0);
	partition_free(part);
}

/* Two mappings of RAM and one that the guest cannot write; 0xff: not RAM. */
static void devices_see_ram_and_nothing_else(void **state)
{
	static const struct {
		gpa_t gpa;
		uint64_t bytes;
		int offset; /* in the memory; -1: not RAM */
	} rows[] = {
		{0, 1, 0},
		{0, 0x2000, 0},
		{0x1fff, 1, 0x1fff},
		{0, 0, -1},
		{0x2000, 1, -1},
		{0x1fff, 2, -1},
		{0xffffffffffffffff, 2, -1},
		{1, UINT64_MAX, -1},
		{0x100000000, 0x1000, 0x2000},
		{0x100000fff, 1, 0x2fff},
		{0x100000fff, 2, -1},
		{0x8000, 1, -1}, /* ROM */
		{0x20000, 1, -1}, /* unmapped again */
	};
	struct partition *part = fixture(0);
	struct guest_memory memory;
	uint8_t byte = 7;

	assert_int_equal(guest_memory_new(0x5000, &memory), 0);
	partition_set_memory(part, &memory);
	assert_int_equal(partition_map_gpa(part, 0, 0x2000, memory.base, 3), 0);
	assert_int_equal(partition_map_gpa(part, 0x100000000, 0x1000, memory.base + 0x2000, 3), 0);
	assert_int_equal(partition_map_gpa(part, 0x8000, 0x1000, memory.base + 0x3000, 1), 0);
	assert_int_equal(partition_map_gpa(part, 0x20000, 0x1000, memory.base + 0x4000, 3), 0);
	assert_int_equal(partition_unmap_gpa(part, 0x20000, 0x1000), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t *hva = partition_ram_hva(part, rows[i].gpa, rows[i].bytes);

		if (hva != (rows[i].offset < 0 ? NULL : memory.base + rows[i].offset))
			fail_msg("row %zu", i);
		if (hva)
			assert_int_equal(partition_ram_offset(part, hva), rows[i].offset);
	}
	assert_int_equal(partition_write(part, 0x1fff, &byte, 1), 0);
	assert_int_equal(partition_write(part, 0x1fff, "ab", 2), -EFAULT);
	assert_int_equal(memory.base[0x1fff], 7);
	byte = 0;
	assert_int_equal(partition_read(part, 0x1fff, &byte, 1), 0);
	assert_int_equal(byte, 7);
	assert_int_equal(partition_read(part, 0x2000, &byte, 1), -EFAULT);
	partition_free(part);
	guest_memory_free(&memory);
}

static void doorbells_that_no_write_could_ring_are_refused(void **state)
{
	static const struct {
		struct doorbell bell;
		int result;
	} rows[] = {
		{{.space = DOORBELL_PIO, .address = 0x60, .bytes = 2}, 0},
		{{.space = DOORBELL_PIO, .address = 0xffff, .bytes = 1}, 0},
		{{.space = DOORBELL_PIO, .address = 0xffff, .bytes = 2}, -EINVAL},
		{{.space = DOORBELL_PIO, .address = 0x60, .bytes = 8}, -EINVAL},
		{{.space = DOORBELL_PIO, .address = 0x60, .bytes = 0}, -EINVAL},
		{{.space = DOORBELL_PIO, .address = 0x60, .bytes = 3}, -EINVAL},
		{{.space = DOORBELL_MMIO, .address = 0xd0000000, .bytes = 0}, 0},
		{{.space = DOORBELL_MMIO, .address = 0xd0000000, .bytes = 8, .match = true}, 0},
		{{.space = DOORBELL_MMIO, .address = 0xd0000000, .bytes = 0, .match = true},
		 -EINVAL},
		{{.space = DOORBELL_MMIO, .address = ~0ull, .bytes = 8}, -EINVAL},
		{{.space = DOORBELL_MMIO, .address = 0xd0000000, .bytes = 4, .eventfd = -1},
		 -EINVAL},
	};
	struct partition *part = fixture(0);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(partition_add_doorbell(part, &rows[i].bell), rows[i].result);
		assert_int_equal(partition_remove_doorbell(part, &rows[i].bell), rows[i].result);
	}
	partition_free(part);
}

static void messages_go_to_the_local_apics_only(void **state)
{
	static const struct {
		uint64_t address;
		int result;
	} rows[] = {
		{0xfee00000, 0}, {0xfeefffff, 0},	 {0xfef00000, -EINVAL},
		{0, -EINVAL},	 {0x1fee00000, -EINVAL},
	};
	struct partition *part = fixture(0);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct msi msi = {.address = rows[i].address, .data = 0x30};

		assert_int_equal(partition_send_msi(part, &msi), rows[i].result);
	}
	partition_free(part);
}

static void time_stops_once_and_starts_once(void **state)
{
	static const struct vp_state any;
	struct partition *part = fixture(0);
	struct vp *vp;

	assert_int_equal(partition_create_vp(part, 0, &vp), 0);
	calls = 0;
	assert_int_equal(partition_start_time(part), -EALREADY);
	assert_int_equal(partition_stop_time(part), 0);
	assert_int_equal(partition_stop_time(part), -EALREADY);
	assert_int_equal(vp_set_state(vp, &any), -EBUSY);
	assert_int_equal(calls, 1);
	assert_int_equal(partition_start_time(part), 0);
	assert_int_equal(partition_start_time(part), -EALREADY);
	assert_int_equal(vp_set_state(vp, &any), 0);
	assert_int_equal(calls, 3);
	partition_free(part);
}

static void abilities_an_engine_lacks_answer_politely(void **state)
{
	static const struct partition_ops no_ops;
	struct partition *part = fixture(0);
	struct partition timeless = {.ops = &no_ops};
	struct partition_stat stats[4];
	uint64_t bitmap[1];

	assert_int_equal(partition_stop_time(&timeless), -ENOTSUP);
	assert_int_equal(partition_start_time(&timeless), -ENOTSUP);

	assert_int_equal(partition_get_dirty(part, 0, PAGE_BYTES, bitmap), -ENOTSUP);
	assert_int_equal(partition_get_stats(part, stats, ARRAY_SIZE(stats)), 0);
	assert_int_equal(partition_set_ioapic_routes(part, NULL, 25), -EINVAL);
	assert_int_equal(partition_set_ioapic_routes(part, NULL, 0), 0);
	partition_free(part);
}

static void exits_are_described_in_readable_lines(void **state)
{
	static const struct {
		struct vp_exit exit;
		const char *text;
	} rows[] = {
		{{.reason = VP_EXIT_PIO,
		  .pio = {.port = 0x3f8, .bytes = 1, .write = true, .data = 0x41}},
		 "vp 3: pio write port 0x3f8, 1 bytes, 0x41"},
		{{.reason = VP_EXIT_PIO, .pio = {.port = 0x3fd, .bytes = 1}},
		 "vp 3: pio read port 0x3fd, 1 bytes"},
		{{.reason = VP_EXIT_MMIO,
		  .mmio = {.gpa = 0xfec00000, .bytes = 4, .write = true, .data = 1}},
		 "vp 3: mmio write 0xfec00000, 4 bytes, 0x1"},
		{{.reason = VP_EXIT_MSR, .msr = {.index = 0x40000000}},
		 "vp 3: msr read 0x40000000"},
		{{.reason = VP_EXIT_HYPERCALL}, "vp 3: hypercall"},
		{{.reason = VP_EXIT_EOI, .eoi = {.vector = 0x31}}, "vp 3: end of interrupt 0x31"},
		{{.reason = VP_EXIT_SHUTDOWN,
		  .shutdown = {.rip = 0x1000, .vector = 14, .error = 2}},
		 "vp 3: shutdown at rip 0x1000, cr2 0, vector 0xe, error 0x2"},
		{{.reason = VP_EXIT_CANCELLED}, "vp 3: cancelled"},
		{{.reason = VP_EXIT_FAILED, .failed = {.why = "no reason", .rip = 1}},
		 "vp 3: failed at rip 0x1: no reason"},
	};
	struct vp vp = {.index = 3};
	char text[320];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(describe_exit(&vp, &rows[i].exit, text, sizeof(text)),
				    rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_configurations_never_reach_the_engine),
		cmocka_unit_test(mappings_are_whole_pages_inside_the_physical_address_space),
		cmocka_unit_test(a_vp_is_created_once_and_listed_by_index),
		cmocka_unit_test(a_byte_to_the_hypercall_port_is_a_hypercall),
		cmocka_unit_test(the_hypercall_code_writes_a_byte_to_the_port_and_returns),
		cmocka_unit_test(devices_see_ram_and_nothing_else),
		cmocka_unit_test(doorbells_that_no_write_could_ring_are_refused),
		cmocka_unit_test(messages_go_to_the_local_apics_only),
		cmocka_unit_test(time_stops_once_and_starts_once),
		cmocka_unit_test(abilities_an_engine_lacks_answer_politely),
		cmocka_unit_test(exits_are_described_in_readable_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
