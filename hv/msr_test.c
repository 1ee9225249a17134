/*
 * msr_test.c - CPUID leaves and the synthetic MSRs, but for those of SynIC, timers and time
 */
#include "test_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LINUX_OS_ID 0x8100000601c00000ull
#define FAULTS	    true

static const struct cpuid_leaf *find_leaf(const struct cpuid_leaf *leaves, uint32_t leaf)
{
	for (size_t i = 0; i < HV_CPUID_LEAVES; i++)
		if (leaves[i].leaf == leaf)
			return &leaves[i];
	fail_msg("leaf %#x", leaf);
	return NULL;
}

static void the_leaves_are_those_of_hyper_v(void **state)
{
	struct cpuid_leaf leaves[HV_CPUID_LEAVES];
	const struct hv_config config = {.vp_count = 1}, full = rig_config(NULL),
			       apic = {.vp_count = 1, .apic_msrs = true};
	static const struct {
		uint32_t leaf, eax, ebx, ecx, edx;
	} rows[] = {
		{0x40000000, 0x40000006, 0x7263694d, 0x666f736f, 0x76482074},
		{0x40000001, 0x31237648},
		{0x40000002, 20348, 10 << 16},
		{0x40000003, 0x2ae6, 0x100030, 0, 0x500},
		{0x40000004, 0x220, 0xffffffff},
		{0x40000005, 64, 64},
		{0x40000006},
		{0x4000000a},
		{0x4000000c},
		{0x40000080},
		{0x40000081},
		{0x40000082},
	};

	assert_int_equal(hv_cpuid(&config, leaves), HV_CPUID_LEAVES);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct cpuid_leaf *leaf = find_leaf(leaves, rows[i].leaf);

		if (leaf->eax != rows[i].eax || leaf->ebx != rows[i].ebx ||
		    leaf->ecx != rows[i].ecx || leaf->edx != rows[i].edx || leaf->subleaf_matters)
			fail_msg("leaf %#x", rows[i].leaf);
	}
	hv_cpuid(&full, leaves);
	assert_int_equal(find_leaf(leaves, 0x40000003)->eax, 0xaaee);
	assert_int_equal(find_leaf(leaves, 0x40000003)->ebx, 0x100030);
	assert_int_equal(find_leaf(leaves, 0x40000003)->edx, 0x80510);
	assert_int_equal(find_leaf(leaves, 0x40000004)->eax, 0xe24);
	assert_int_equal(find_leaf(leaves, 0x40000004)->ebx, 4095);
	hv_cpuid(&apic, leaves);
	assert_int_equal(find_leaf(leaves, 0x40000003)->eax, 0x2af6);
	assert_int_equal(find_leaf(leaves, 0x40000004)->eax, 0x228);
}

static void impossible_configurations_are_refused(void **state)
{
	struct rig *rig = rig_alloc();
	static const struct {
		unsigned int vp_count;
		uint64_t tsc_hz;
		int result;
	} rows[] = {
		{0, RIG_TSC_HZ, -EINVAL}, {65, RIG_TSC_HZ, -EINVAL}, {1, 0, -EINVAL},
		{1, 10000000, -EINVAL},	  {64, 10000001, 0},	     {1, UINT64_MAX, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hv_config config = rig_config(rig);
		struct hv *hv = NULL;

		config.vp_count = rows[i].vp_count;
		config.tsc_hz = rows[i].tsc_hz;
		if (hv_new(&config, &hv) != rows[i].result)
			fail_msg("row %zu", i);
		hv_free(hv);
	}
	rig_free(rig);
}

static void registers_have_their_power_on_values(void **state)
{
	struct rig *rig = rig_new();
	static const struct {
		uint32_t msr;
		uint64_t value;
	} rows[] = {
		{HV_MSR_GUEST_OS_ID, 0},
		{HV_MSR_HYPERCALL, 0},
		{HV_MSR_VP_INDEX, 3},
		{HV_MSR_RESET, 0},
		{HV_MSR_TIME_REF_COUNT, 0},
		{HV_MSR_REFERENCE_TSC, 0},
		{HV_MSR_TSC_FREQUENCY, RIG_TSC_HZ},
		{HV_MSR_APIC_FREQUENCY, RIG_APIC_HZ},
		{HV_MSR_VP_ASSIST_PAGE, 0},
		{HV_MSR_SCONTROL, 0},
		{HV_MSR_SVERSION, 1},
		{HV_MSR_SIEFP, 0},
		{HV_MSR_SIMP, 0},
		{HV_MSR_EOM, 0},
		{HV_MSR_SINT0, 0x10000},
		{HV_MSR_SINT15, 0x10000},
		{HV_MSR_STIMER0_CONFIG, 0},
		{HV_MSR_STIMER3_COUNT, 0},
		{HV_MSR_CRASH_P0, 0},
		{HV_MSR_CRASH_P4, 0},
		{HV_MSR_CRASH_CTL, 0xc000000000000000},
		{HV_MSR_REENLIGHTENMENT, 0},
		{HV_MSR_TSC_EMULATION, 0},
		{HV_MSR_TSC_EMULATION_STATUS, 0},
		{HV_MSR_TSC_INVARIANT, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rig_read(rig, 3, rows[i].msr) != rows[i].value)
			fail_msg("MSR %#x", rows[i].msr);
	rig_free(rig);
}

static void what_cannot_be_written_faults(void **state)
{
	struct rig *rig = rig_new();
	static const struct {
		uint32_t msr;
		uint64_t value;
		bool faults;
	} rows[] = {
		{HV_MSR_VP_INDEX, 0, FAULTS},
		{HV_MSR_RESET, 0},
		{HV_MSR_VP_RUNTIME, 0, FAULTS},
		{HV_MSR_TIME_REF_COUNT, 0, FAULTS},
		{HV_MSR_TSC_FREQUENCY, RIG_TSC_HZ, FAULTS},
		{HV_MSR_APIC_FREQUENCY, 0, FAULTS},
		{HV_MSR_EOI, 0, FAULTS},
		{0x40000071, 0, FAULTS},
		{0x40000072, 0, FAULTS},
		{HV_MSR_SVERSION, 1, FAULTS},
		{HV_MSR_EOM, UINT64_MAX},
		{0x400000a0, 0, FAULTS},
		{HV_MSR_SINT0, 0, FAULTS},
		{HV_MSR_SINT0, 15, FAULTS},
		{HV_MSR_SINT0, 16},
		{HV_MSR_SINT0, HV_SINT_MASKED},
		{HV_MSR_SINT0, UINT64_MAX},
		{HV_MSR_SINT15, HV_SINT_POLLING, FAULTS},
		{0x400000b8, 0, FAULTS},
		{HV_MSR_GUEST_IDLE, 0, FAULTS},
		{HV_MSR_CRASH_P0, UINT64_MAX},
		{HV_MSR_CRASH_CTL, 0},
		{0x40000109, 0, FAULTS},
		{HV_MSR_TSC_INVARIANT, 1},
		{HV_MSR_TSC_INVARIANT, 2, FAULTS},
		{0x40001fff, 0, FAULTS},
		{0x40000004, 0, FAULTS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rig_write_faults(rig, 1, rows[i].msr, rows[i].value) != rows[i].faults)
			fail_msg("row %zu", i);
	assert_int_equal(rig->resets, 0);
	rig_free(rig);
}

static void what_is_not_offered_faults(void **state)
{
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);
	static const uint32_t msrs[] = {HV_MSR_VP_RUNTIME,    HV_MSR_EOI,
					HV_MSR_GUEST_IDLE,    HV_MSR_STIMER0_CONFIG,
					HV_MSR_STIMER3_COUNT, HV_MSR_TSC_INVARIANT,
					0x400000ff,	      HV_MSR_LAST};
	uint64_t value;

	config.synthetic_timers = false;
	config.tsc_invariant = false;
	rig_start(rig, &config);
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++)
		if (hv_read_msr(rig->hv, 0, msrs[i], &value) ||
		    !rig_write_faults(rig, 0, msrs[i], 0))
			fail_msg("MSR %#x", msrs[i]);
	rig_free(rig);
}

static void the_hypercall_page_follows_the_guests_identity(void **state)
{
	struct rig *rig = rig_new();
	const uint64_t enabled = RIG_PAGE(3) | 0xffc | HV_PAGE_ENABLE;

	rig_write(rig, 0, HV_MSR_HYPERCALL, enabled);
	assert_int_equal(rig_read(rig, 0, HV_MSR_HYPERCALL), enabled & ~1ull);
	assert_int_equal(*(uint8_t *)rig_at(rig, RIG_PAGE(3)), 0);
	assert_int_equal(hv_guest_os_id(rig->hv), 0);

	rig_write(rig, 0, HV_MSR_GUEST_OS_ID, LINUX_OS_ID);
	assert_int_equal(hv_guest_os_id(rig->hv), LINUX_OS_ID);
	rig_write(rig, 0, HV_MSR_HYPERCALL, enabled | HV_HYPERCALL_LOCKED);
	assert_int_equal(rig_read(rig, 1, HV_MSR_HYPERCALL), enabled);
	assert_int_equal(*(uint8_t *)rig_at(rig, RIG_PAGE(4) - 1), 0x64);
	assert_int_equal(*(uint8_t *)rig_at(rig, RIG_PAGE(4)), 0);

	rig_write(rig, 0, HV_MSR_GUEST_OS_ID, 0);
	assert_int_equal(rig_read(rig, 0, HV_MSR_HYPERCALL), enabled & ~1ull);
	rig_free(rig);
}

static void the_hypercall_page_is_written_once_and_for_the_guests_mode(void **state)
{
	struct rig *rig = rig_new();
	const uint64_t enabled = RIG_PAGE(0) | HV_PAGE_ENABLE;
	uint8_t *page = rig_at(rig, RIG_PAGE(0));

	rig_write(rig, 0, HV_MSR_GUEST_OS_ID, 1);
	assert_true(hv_write_msr(rig->hv, 0, HV_MSR_HYPERCALL, enabled, false));
	assert_int_equal(page[0], 0x32);
	assert_true(hv_write_msr(rig->hv, 1, HV_MSR_HYPERCALL, enabled, true));
	assert_int_equal(page[0], 0x32);
	rig_write(rig, 0, HV_MSR_HYPERCALL, 0);
	assert_int_equal(page[0], 0x32);
	rig_write(rig, 0, HV_MSR_HYPERCALL, enabled);
	assert_int_equal(page[0], 0x64);
	/* Moved. */
	rig_write(rig, 0, HV_MSR_HYPERCALL, RIG_PAGE(1) | HV_PAGE_ENABLE);
	assert_int_equal(page[PAGE_BYTES], 0x64);
	rig_free(rig);
}

static void a_hypercall_page_outside_of_ram_faults(void **state)
{
	struct rig *rig = rig_new();
	static const uint64_t pages[] = {0, RIG_RAM - PAGE_BYTES, RIG_PAGE(RIG_PAGES), ~0xfffull,
					 1ull << 52};

	rig_write(rig, 0, HV_MSR_GUEST_OS_ID, 1);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (!rig_write_faults(rig, 0, HV_MSR_HYPERCALL, pages[i] | HV_PAGE_ENABLE))
			fail_msg("row %zu", i);
		assert_int_equal(rig_read(rig, 0, HV_MSR_HYPERCALL), 0);
	}
	rig_write(rig, 0, HV_MSR_HYPERCALL, ~0xfffull);
	assert_int_equal(rig_read(rig, 0, HV_MSR_HYPERCALL), ~0xfffull);
	rig_free(rig);
}

static void page_registers_outside_of_ram_are_stored_and_not_used(void **state)
{
	struct rig *rig = rig_new();
	static const uint32_t msrs[] = {HV_MSR_REFERENCE_TSC, HV_MSR_VP_ASSIST_PAGE, HV_MSR_SIMP,
					HV_MSR_SIEFP};
	static const uint64_t values[] = {HV_PAGE_ENABLE, UINT64_MAX,
					  (RIG_RAM - PAGE_BYTES) | HV_PAGE_ENABLE,
					  RIG_PAGE(RIG_PAGES) | HV_PAGE_ENABLE, 0xffe};

	rig_write(rig, 0, HV_MSR_SCONTROL, 1);
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
			rig_write(rig, 0, msrs[i], values[k]);
			assert_int_equal(rig_read(rig, 0, msrs[i]), values[k]);
			assert_int_equal(hv_post_message(rig->hv, 0, 2, 1, "x", 1), -EAGAIN);
			assert_int_equal(hv_signal_flag(rig->hv, 0, 2, 1), -EAGAIN);
		}
	}
	rig_free(rig);
}

static void an_assist_page_begins_without_promises(void **state)
{
	struct rig *rig = rig_new();
	const uint32_t garbage[2] = {0xffffffff, 0xffffffff};

	rig_put(rig, RIG_PAGE(5), garbage, sizeof(garbage));
	rig_write(rig, 2, HV_MSR_VP_ASSIST_PAGE, RIG_PAGE(5) | HV_PAGE_ENABLE);
	assert_int_equal(*(uint32_t *)rig_at(rig, RIG_PAGE(5)), 0);
	assert_int_equal(*(uint32_t *)rig_at(rig, RIG_PAGE(5) + 4), 0xffffffff);
	assert_int_equal(rig_read(rig, 1, HV_MSR_VP_ASSIST_PAGE), 0);
	rig_free(rig);
}

static void the_reset_register_resets_on_bit_0(void **state)
{
	struct rig *rig = rig_new();

	rig_write(rig, 0, HV_MSR_RESET, 2);
	assert_int_equal(rig->resets, 0);
	rig_write(rig, 0, HV_MSR_RESET, 1);
	assert_int_equal(rig->resets, 1);
	assert_int_equal(rig_read(rig, 0, HV_MSR_RESET), 0);
	rig_free(rig);
}

static void a_crash_is_reported_with_its_text_as_far_as_it_is_ram(void **state)
{
	static const char text[] = "Kernel panic - not syncing";
	static const gpa_t at = RIG_PAGE(6) + 100;
	static char page[PAGE_BYTES];
	static const struct {
		uint64_t control, gpa, bytes;
		const char *text;
		size_t text_bytes;
	} rows[] = {
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, at, sizeof(text) - 1, text, sizeof(text) - 1},
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, at, 6, "Kernel", 6},
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, at, 0, "", 0},
		{HV_CRASH_NOTIFY, at, 6, "", 0},
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, 0, 6, "", 0},
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, UINT64_MAX, UINT64_MAX, "", 0},
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, RIG_PAGE(RIG_PAGES) - 5, 6, "", 0},
		/* Longer than a page: what fits with a NUL behind it. */
		{HV_CRASH_NOTIFY | HV_CRASH_MESSAGE, RIG_PAGE(7), UINT64_MAX, page, 4095},
		{UINT64_MAX, RIG_PAGE(7), 4096, page, 4095},
	};
	struct rig *rig = rig_new();

	memset(page, 'x', sizeof(page));
	rig_put(rig, at, text, sizeof(text));
	rig_put(rig, RIG_PAGE(7), page, sizeof(page));
	rig_write(rig, 0, HV_MSR_GUEST_OS_ID, LINUX_OS_ID);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_write(rig, 1, HV_MSR_CRASH_P0, i);
		rig_write(rig, 1, HV_MSR_CRASH_P0 + 3, rows[i].gpa);
		rig_write(rig, 1, HV_MSR_CRASH_P4, rows[i].bytes);
		rig_write(rig, 1, HV_MSR_CRASH_CTL, rows[i].control);
		if (rig->crashes != i + 1 || rig->crash.control != rows[i].control ||
		    rig->crash.parameters[0] != i || rig->crash.guest_os_id != LINUX_OS_ID ||
		    memcmp(rig->crash.text, rows[i].text, rows[i].text_bytes) ||
		    rig->crash.text[rows[i].text_bytes])
			fail_msg("row %zu", i);
		assert_int_equal(rig_read(rig, 0, HV_MSR_CRASH_P4), rows[i].bytes);
	}
	rig_write(rig, 1, HV_MSR_CRASH_CTL, HV_CRASH_MESSAGE);
	assert_int_equal(rig->crashes, ARRAY_SIZE(rows));
	rig_free(rig);
}

/* Everything that a guest can leave behind, for another kernel or for nobody. */
static void reset_restores_the_power_on_state(void **state)
{
	struct rig *rig = rig_new();
	uint64_t before[0x200], value;
	bool readable[0x200];

	for (uint32_t i = 0; i < 0x200; i++)
		readable[i] = hv_read_msr(rig->hv, 1, 0x40000000 + i, &before[i]);
	rig_advance(rig, 1000);
	for (uint32_t i = 0; i < 0x200; i++) {
		if (!readable[i] || i == 3)
			continue;
		hv_write_msr(rig->hv, 1, 0x40000000 + i, RIG_PAGE(1) | HV_PAGE_ENABLE, true);
		hv_write_msr(rig->hv, 1, 0x40000000 + i, 0x2000f, true);
		hv_write_msr(rig->hv, 1, 0x40000000 + i, 0x20017, true);
		hv_write_msr(rig->hv, 1, 0x40000000 + i, 1, true);
	}
	assert_int_not_equal(rig_read(rig, 1, HV_MSR_GUEST_OS_ID), 0);
	hv_reset(rig->hv);
	for (uint32_t i = 0; i < 0x200; i++)
		if (hv_read_msr(rig->hv, 1, 0x40000000 + i, &value) && value != before[i])
			fail_msg("MSR %#x", 0x40000000 + i);
	for (unsigned int timer = 0; timer < HV_STIMERS; timer++)
		assert_int_equal(rig->due_100ns[1][timer], 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_leaves_are_those_of_hyper_v),
		cmocka_unit_test(impossible_configurations_are_refused),
		cmocka_unit_test(registers_have_their_power_on_values),
		cmocka_unit_test(what_cannot_be_written_faults),
		cmocka_unit_test(what_is_not_offered_faults),
		cmocka_unit_test(the_hypercall_page_follows_the_guests_identity),
		cmocka_unit_test(the_hypercall_page_is_written_once_and_for_the_guests_mode),
		cmocka_unit_test(a_hypercall_page_outside_of_ram_faults),
		cmocka_unit_test(page_registers_outside_of_ram_are_stored_and_not_used),
		cmocka_unit_test(an_assist_page_begins_without_promises),
		cmocka_unit_test(the_reset_register_resets_on_bit_0),
		cmocka_unit_test(a_crash_is_reported_with_its_text_as_far_as_it_is_ram),
		cmocka_unit_test(reset_restores_the_power_on_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
