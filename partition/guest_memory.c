/*
 * guest_memory.c - a partition's memory: one memfd, mapped once, between guard zones
 *
 * The mapping starts on a 2 MiB boundary so that the kernel can back it with huge pages and the
 * second-level tables of KVM can too. The guard zones turn a device's or the engine's stray
 * access just past either end into a fault instead of someone else's memory. The memfd is sealed
 * against resizing: whoever is handed the descriptor cannot pull pages from under the mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "partition.h"

#define GUARD_BYTES (2 * MIB)
#define HUGE_BYTES  (2 * MIB)
#define MAX_BYTES   BIT(46) /* half of what a Linux process can map */

static int memfd_of_size(uint64_t bytes)
{
	int fd = memfd_create("mullion-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		close(fd);
		return -ENOMEM;
	}
	return fd;
}

/* Address space for the memory and its guards, the memory's place on a huge-page boundary. */
static uint8_t *reserve(uint64_t bytes)
{
	uint64_t total = bytes + 2 * GUARD_BYTES;
	uint8_t *start, *first;

	start = mmap(NULL, total + HUGE_BYTES, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	first = (uint8_t *)ALIGN_UP((uintptr_t)start, HUGE_BYTES);
	if (first > start)
		munmap(start, (size_t)(first - start));
	if (start + HUGE_BYTES > first)
		munmap(first + total, (size_t)(start + HUGE_BYTES - first));
	return first + GUARD_BYTES;
}

int guest_memory_new(uint64_t bytes, struct guest_memory *ret_memory)
{
	uint8_t *base;
	int fd;

	if (!bytes || !IS_ALIGNED(bytes, PAGE_BYTES))
		return -EINVAL;
	if (bytes > MAX_BYTES)
		return -ENOMEM;
	fd = memfd_of_size(bytes);
	if (fd < 0)
		return fd;
	base = reserve(bytes);
	if (!base) {
		close(fd);
		return -ENOMEM;
	}
	*ret_memory = (struct guest_memory){.fd = fd, .base = base, .bytes = bytes};
	if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
		 0) == MAP_FAILED) {
		guest_memory_free(ret_memory);
		return -ENOMEM;
	}
	/* Advice only: a kernel without huge pages for shared memory says no, and that is fine. */
	madvise(base, bytes, MADV_HUGEPAGE);
	madvise(base, bytes, MADV_DONTDUMP);
	return 0;
}

void guest_memory_free(struct guest_memory *memory)
{
	if (!memory->base)
		return;
	munmap(memory->base - GUARD_BYTES, memory->bytes + 2 * GUARD_BYTES);
	close(memory->fd);
	*memory = (struct guest_memory){.fd = -1};
}
