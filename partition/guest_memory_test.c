#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "partition.h"

static void sizes_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		uint64_t bytes;
		int result;
	} rows[] = {
		{0, -EINVAL}, {1, -EINVAL}, {4095, -EINVAL}, {4097, -EINVAL}, {BIT(62), -ENOMEM},
	};
	struct guest_memory memory;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(guest_memory_new(rows[i].bytes, &memory), rows[i].result);
}

static void memory_is_zeroed_aligned_and_shared_with_its_memfd(void **state)
{
	struct guest_memory memory;
	uint8_t *other;

	assert_int_equal(guest_memory_new(3 * MIB, &memory), 0);
	assert_int_equal((uintptr_t)memory.base % (2 * MIB), 0);
	for (uint64_t i = 0; i < memory.bytes; i += 512)
		assert_int_equal(memory.base[i], 0);
	other = mmap(NULL, memory.bytes, PROT_READ, MAP_SHARED, memory.fd, 0);
	assert_ptr_not_equal(other, MAP_FAILED);
	memory.base[memory.bytes - 1] = 0x5a;
	assert_int_equal(other[memory.bytes - 1], 0x5a);
	munmap(other, memory.bytes);
	guest_memory_free(&memory);
	assert_null(memory.base);
	guest_memory_free(&memory);
}

/* Ends the child with the signal that touching @address raises, or 0. */
static int signal_of_touching(volatile uint8_t *address)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*address = 1;
		_exit(0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void guard_zones_of_2_mib_stand_on_both_sides(void **state)
{
	struct guest_memory memory;

	assert_int_equal(guest_memory_new(MIB, &memory), 0);
	assert_int_equal(signal_of_touching(memory.base), 0);
	assert_int_equal(signal_of_touching(memory.base + MIB - 1), 0);
	assert_int_equal(signal_of_touching(memory.base - 1), SIGSEGV);
	assert_int_equal(signal_of_touching(memory.base - 2 * MIB), SIGSEGV);
	assert_int_equal(signal_of_touching(memory.base + MIB), SIGSEGV);
	assert_int_equal(signal_of_touching(memory.base + 3 * MIB - 1), SIGSEGV);
	guest_memory_free(&memory);
}

static void nobody_can_resize_the_memfd(void **state)
{
	struct guest_memory memory;

	assert_int_equal(guest_memory_new(MIB, &memory), 0);
	assert_int_equal(ftruncate(memory.fd, 0), -1);
	assert_int_equal(ftruncate(memory.fd, 2 * MIB), -1);
	guest_memory_free(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_that_make_no_sense_are_refused),
		cmocka_unit_test(memory_is_zeroed_aligned_and_shared_with_its_memfd),
		cmocka_unit_test(guard_zones_of_2_mib_stand_on_both_sides),
		cmocka_unit_test(nobody_can_resize_the_memfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
