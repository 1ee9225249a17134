/*
 * cpuid_policy_test.c - all places that speak of topology agree
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpuid_policy.h"

/* A host with 24 processors in 12 cores, Intel's and AMD's leaves at once. */
static size_t host_leaves(struct cpuid_leaf *leaves)
{
	static const struct cpuid_leaf host[] = {
		{.leaf = 0, .eax = 0x20},
		{.leaf = 1, .ebx = 0x00180800, .edx = BIT(28)},
		{.leaf = 4, .subleaf = 0, .subleaf_matters = true, .eax = 0x2c004121},
		{.leaf = 4, .subleaf = 1, .subleaf_matters = true, .eax = 0x2c05c163},
		{.leaf = 0xb,
		 .subleaf = 0,
		 .subleaf_matters = true,
		 .eax = 1,
		 .ebx = 2,
		 .ecx = 0x100},
		{.leaf = 0x1f, .subleaf = 5, .subleaf_matters = true, .eax = 7, .ebx = 7},
		{.leaf = 0x80000001, .ecx = BIT(22)},
		{.leaf = 0x80000008, .eax = 0x3030, .ecx = 0x5017},
		{.leaf = 0x8000001d, .subleaf = 3, .subleaf_matters = true, .eax = 0x5c163},
	};

	memcpy(leaves, host, sizeof(host));
	return ARRAY_SIZE(host);
}

static const struct {
	unsigned int vp_count, id_bits;
} cases[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {64, 6}};

static void topology_is_one_socket_of_single_threaded_cores(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpuid_leaf leaves[PARTITION_MAX_CPUID] = {};
		unsigned int n = cases[i].vp_count, bits = cases[i].id_bits;
		size_t count = cpuid_policy_apply(leaves, host_leaves(leaves), n);
		struct cpuid_leaf *leaf_1 = cpuid_policy_find(leaves, count, 1, 0);

		assert_int_equal(leaf_1->ebx >> 16 & 0xff, n);
		assert_int_equal(leaf_1->ebx & 0xffff, 0x0800);
		assert_int_equal(leaf_1->edx >> 28 & 1, n > 1);
		assert_int_equal(leaf_1->ecx >> 31, 1);
		assert_int_equal(cpuid_policy_find(leaves, count, 4, 0)->eax >> 14 & 0xfff, 0);
		assert_int_equal(cpuid_policy_find(leaves, count, 4, 1)->eax >> 14 & 0xfff,
				 BIT(bits) - 1);
		assert_int_equal(cpuid_policy_find(leaves, count, 4, 1)->eax >> 26, BIT(bits) - 1);
		assert_int_equal(cpuid_policy_find(leaves, count, 4, 1)->eax & 0x3fff,
				 0x163 | 0x0000);
		assert_int_equal(cpuid_policy_find(leaves, count, 0xb, 0)->ebx, 1);
		assert_int_equal(cpuid_policy_find(leaves, count, 0xb, 0)->eax, 0);
		assert_int_equal(cpuid_policy_find(leaves, count, 0xb, 1)->eax, bits);
		assert_int_equal(cpuid_policy_find(leaves, count, 0xb, 1)->ebx, n);
		assert_int_equal(cpuid_policy_find(leaves, count, 0xb, 2)->ecx, 2);
		assert_int_equal(cpuid_policy_find(leaves, count, 0x1f, 1)->ebx, n);
		assert_null(cpuid_policy_find(leaves, count, 0x1f, 5));
		assert_int_equal(cpuid_policy_find(leaves, count, 0x80000001, 0)->ecx >> 1 & 1,
				 n > 1);
		assert_int_equal(cpuid_policy_find(leaves, count, 0x80000008, 0)->ecx,
				 bits << 12 | (n - 1));
		assert_int_equal(cpuid_policy_find(leaves, count, 0x8000001d, 3)->eax >> 14,
				 BIT(bits) - 1);
		assert_non_null(cpuid_policy_find(leaves, count, 0x8000001e, 0));
	}
}

static void leaves_beyond_the_highest_are_not_added(void **state)
{
	struct cpuid_leaf leaves[PARTITION_MAX_CPUID] = {{.leaf = 0, .eax = 0xd}, {.leaf = 1}};
	size_t count = cpuid_policy_apply(leaves, 2, 2);

	assert_non_null(cpuid_policy_find(leaves, count, 0xb, 1));
	assert_null(cpuid_policy_find(leaves, count, 0x1f, 0));
	assert_null(cpuid_policy_find(leaves, count, 0x8000001e, 0));
}

static void a_full_table_does_not_overflow(void **state)
{
	struct cpuid_leaf leaves[PARTITION_MAX_CPUID] = {};

	for (size_t i = 0; i < PARTITION_MAX_CPUID; i++)
		leaves[i].leaf = 0x100 + i;
	leaves[0] = (struct cpuid_leaf){.leaf = 0, .eax = 0x20};
	leaves[1] = (struct cpuid_leaf){.leaf = 0x80000001, .ecx = BIT(22)};
	assert_int_equal(cpuid_policy_apply(leaves, PARTITION_MAX_CPUID, 4), PARTITION_MAX_CPUID);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(topology_is_one_socket_of_single_threaded_cores),
		cmocka_unit_test(leaves_beyond_the_highest_are_not_added),
		cmocka_unit_test(a_full_table_does_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
