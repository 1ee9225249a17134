/*
 * clocks.c - the host's clocks and the partition's, read as of one moment
 *
 * The thread may be stopped between two reads, so the tightest of a few tries is taken, and how
 * tight it was is told.
 */
#include "ic_internal.h"

#define TRIES		8
#define TIGHT_ENOUGH_NS 20000

void ic_read_clocks(const struct ic_config *config, struct ic_clocks *ret_clocks)
{
	struct ic_clocks best = {.spread_ns = UINT64_MAX};

	for (int i = 0; i < TRIES && best.spread_ns > TIGHT_ENOUGH_NS; i++) {
		struct ic_clocks now = {.monotonic_ns = monotonic_ns()};

		now.real_ns = ic_real_ns();
		now.reference_100ns = config->reference_time(config->ctx);
		now.spread_ns = monotonic_ns() - now.monotonic_ns;
		if (now.spread_ns < best.spread_ns)
			best = now;
	}
	*ret_clocks = best;
}
