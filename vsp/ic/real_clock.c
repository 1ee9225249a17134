/*
 * real_clock.c - the host's clock, in a file of its own so that tests can have another
 */
#include <time.h>

#include "ic_internal.h"

uint64_t ic_real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}
