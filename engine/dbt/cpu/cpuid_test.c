/* cpuid_test.c - what is proposed to guests, and what the instruction makes of it */
#include <cpuid.h>

#include "cpuid_lookup.h"
#include "test/harness.h"

static struct cpuid_leaf cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_leaf result = {.leaf = leaf, .subleaf = subleaf};

	h.vp.gpr[VP_RAX] = 0xffffffff00000000 | leaf;
	h.vp.gpr[VP_RCX] = 0xffffffff00000000 | subleaf;
	assert_done(helper_cpuid(&h.vp, (struct cpu_args){0}, 0));
	for (unsigned int reg = VP_RAX; reg <= VP_RBX; reg++)
		assert_int_equal(h.vp.gpr[reg] >> 32, 0);
	result.eax = h.vp.gpr[VP_RAX];
	result.ebx = h.vp.gpr[VP_RBX];
	result.ecx = h.vp.gpr[VP_RCX];
	result.edx = h.vp.gpr[VP_RDX];
	return result;
}

/* Bits that must not be there on any host: {leaf, subleaf, register, bits}. */
static void nothing_is_offered_that_the_engine_cannot_do(void **state)
{
	static const struct {
		const char *what;
		uint32_t leaf;
		uint8_t reg;
		uint32_t bits;
	} never[] = {
		{"MONITOR, VMX, SMX, EIST, DS, SDBG, PDCM, DCA", 1, CPUID_ECX, 0x0004cdfc},
		{"VME, DS, ACPI, HTT, TM", 1, CPUID_EDX, 0x30600002},
		{"SGX, HLE, RTM, MPX, PQM, PQE, PT", 7, CPUID_EBX, 0x0200d814},
		{"AVX-512", 7, CPUID_EBX, 0xdc230000},
		{"anything but RDPID, GFNI, VAES, VPCLMULQDQ", 7, CPUID_ECX, ~0x00400700u},
		{"AVX-512 and AMX", 7, CPUID_EDX, 0x01c0010c},
		{"IBRS, STIBP, L1D_FLUSH, core caps, SSBD", 7, CPUID_EDX, 0xdc000000},
		{"CET_IBT, hybrid, MD_CLEAR", 7, CPUID_EDX, 0x00108400},
		{"SVM, XOP, SKINIT, WDT, LWP, FMA4, TBM", 0x80000001, CPUID_ECX, 0x0021b804},
		{"misaligned SSE, OSVW, IBS, NodeId, perf", 0x80000001, CPUID_ECX, 0x19880680},
		{"FFXSR, 3DNow", 0x80000001, CPUID_EDX, 0xc2000000},
		{"CLZERO, WBNOINVD, IBPB, IBRS, STIBP, SSBD, PSFD", 0x80000008, CPUID_EBX,
		 0x1103fa01},
		{"automatic IBRS, UAI, prefetch control", 0x80000021, CPUID_EAX, 0x00002180},
		{"P-states and thermal", 0x80000007, CPUID_EDX, 0xfffffeff},
	};

	harness_reset();
	for (unsigned int i = 0; i < ARRAY_SIZE(never); i++) {
		struct cpuid_leaf leaf = cpuid(never[i].leaf, 0);
		uint32_t value = (&leaf.eax)[never[i].reg];

		if (value & never[i].bits)
			fail_msg("%s: %#x in leaf %#x", never[i].what, value & never[i].bits,
				 never[i].leaf);
	}
}

static void what_is_done_in_software_is_always_offered(void **state)
{
	harness_reset();
	assert_int_equal(cpuid(1, 0).ecx & 0x81220000,
			 0x81220000); /* hypervisor, deadline, x2APIC, PCID */
	assert_int_equal(cpuid(7, 0).ebx & 0x00100483,
			 0x00100483); /* SMAP, INVPCID, SMEP, adjust, base */
	assert_int_equal(cpuid(7, 0).ecx & 0x00400000, 0x00400000); /* RDPID */
	assert_int_equal(cpuid(0x80000001, 0).edx & 0x2c100800, 0x2c100800);
	assert_int_equal(cpuid(6, 0).eax, 4);
}

static void host_instructions_are_offered_where_the_host_has_them(void **state)
{
	uint32_t eax, ebx, ecx, edx;

	harness_reset();
	__cpuid(1, eax, ebx, ecx, edx);
	assert_int_equal((cpuid(1, 0).ecx ^ ecx) & 0x4298a203, 0);
	assert_int_equal(cpuid(1, 0).eax, eax);
	__cpuid_count(7, 0, eax, ebx, ecx, edx);
	assert_int_equal((cpuid(7, 0).ebx ^ ebx) & 0x218c0308, 0);
	__cpuid(0x80000008, eax, ebx, ecx, edx);
	assert_int_equal(cpuid(0x80000008, 0).eax & 0xff, eax & 0xff);
	assert_int_equal(cpuid(0x80000008, 0).eax >> 8, 48);
}

static void avx_is_offered_only_with_its_state(void **state)
{
	bool avx;

	harness_reset();
	avx = cpu_xcr0_supported() & XCR0_AVX;
	assert_int_equal(cpuid(1, 0).ecx & (1u << 28) ? 1 : 0, avx);
	if (!avx) {
		assert_int_equal(cpuid(1, 0).ecx & (1u << 12 | 1u << 29), 0);
		assert_int_equal(cpuid(7, 0).ebx & (1u << 5), 0);
	}
}

static void the_vp_shows_in_apic_id_osxsave_and_sizes(void **state)
{
	harness_reset();
	h.vp.apic.id = 3;
	h.vp.apic_base = 0xfee00000 | BIT(11);
	assert_int_equal(cpuid(1, 0).ebx >> 24, 3);
	assert_int_equal(cpuid(1, 0).edx & 0x200, 0x200);
	assert_int_equal(cpuid(0xb, 0).edx, 3);
	assert_int_equal(cpuid(0xb, 7).edx, 3);
	assert_int_equal(cpuid(0xb, 7).ecx, 7);
	assert_int_equal(cpuid(0xb, 7).ebx, 0);
	assert_true(cpuid(1, 0).ecx & (1u << 27));
	h.vp.cr4 &= ~CR4_OSXSAVE;
	assert_false(cpuid(1, 0).ecx & (1u << 27));
	h.vp.apic_base = 0xfee00000;
	assert_int_equal(cpuid(1, 0).edx & 0x200, 0);
	h.vp.xcr0 = 1;
	assert_int_equal(cpuid(0xd, 0).ebx, 576);
	h.vp.xcr0 = 7;
	assert_int_equal(cpuid(0xd, 0).ebx, 832);
	assert_int_equal(cpuid(0xd, 1).ebx, 832);
	assert_int_equal(cpuid(0xd, 1).eax & ~7u, 0); /* no XSAVES */
}

/* Even if the configuration was copied from a running system, which has the bit set. */
static void osxsave_follows_cr4_whatever_the_configuration_says(void **state)
{
	harness_reset();
	for (size_t i = 0; i < h.part.cpuid_count; i++)
		if (h.part.cpuid[i].leaf == 1)
			h.part.cpuid[i].ecx |= 1u << 27;
	assert_true(cpuid(1, 0).ecx & (1u << 27));
	h.vp.cr4 &= ~CR4_OSXSAVE;
	assert_false(cpuid(1, 0).ecx & (1u << 27));
}

static void set_vendor(uint32_t ebx)
{
	for (size_t i = 0; i < h.part.cpuid_count; i++)
		if (h.part.cpuid[i].leaf == 0)
			h.part.cpuid[i].ebx = ebx;
}

static void leaves_beyond_the_last_follow_the_vendor(void **state)
{
	static const uint32_t beyond[] = {0x1000, 0x80000fff, 0xc0000000};
	struct cpuid_leaf last;

	for (unsigned int i = 0; i < ARRAY_SIZE(beyond); i++) {
		harness_reset();
		set_vendor(0x68747541);
		assert_int_equal(cpuid(beyond[i], 0).eax | h.vp.gpr[VP_RBX] | h.vp.gpr[VP_RCX], 0);
		set_vendor(0x756e6547);
		h.part.cpuid[h.part.cpuid_count++] =
			(struct cpuid_leaf){.leaf = 0x20, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4};
		for (size_t l = 0; l < h.part.cpuid_count; l++)
			if (h.part.cpuid[l].leaf == 0)
				h.part.cpuid[l].eax = 0x20;
		last = cpuid(beyond[i], 0);
		assert_int_equal(last.ebx, 2);
		assert_int_equal(last.edx, 4);
		assert_int_equal(cpuid(0x40000000, 0).eax, 0);
	}
}

static void the_highest_leaves_are_the_ones_in_the_list(void **state)
{
	uint32_t basic = 0, extended = 0;

	harness_reset();
	for (size_t i = 0; i < h.part.cpuid_count; i++) {
		uint32_t leaf = h.part.cpuid[i].leaf;

		if (leaf >> 31)
			extended = MAX(extended, leaf);
		else
			basic = MAX(basic, leaf);
		assert_int_not_equal(leaf >> 30, 1); /* no hypervisor leaves yet */
	}
	assert_int_equal(cpuid(0, 0).eax, basic);
	assert_int_equal(cpuid(0x80000000, 0).eax, extended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_offered_that_the_engine_cannot_do),
		cmocka_unit_test(what_is_done_in_software_is_always_offered),
		cmocka_unit_test(host_instructions_are_offered_where_the_host_has_them),
		cmocka_unit_test(avx_is_offered_only_with_its_state),
		cmocka_unit_test(the_vp_shows_in_apic_id_osxsave_and_sizes),
		cmocka_unit_test(osxsave_follows_cr4_whatever_the_configuration_says),
		cmocka_unit_test(leaves_beyond_the_last_follow_the_vendor),
		cmocka_unit_test(the_highest_leaves_are_the_ones_in_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
