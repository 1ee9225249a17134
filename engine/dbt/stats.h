/* stats.h - counters of a VP; plain increments by its own thread, summed for --stats. */
#ifndef DBT_STATS_H
#define DBT_STATS_H

#define DBT_STATS(X)                                                                               \
	X(BLOCKS_TRANSLATED, "blocks translated")                                                  \
	X(INSNS_TRANSLATED, "instructions translated")                                             \
	X(BYTES_EMITTED, "host code bytes emitted")                                                \
	X(BLOCKS_INVALIDATED, "blocks invalidated by guest writes")                                \
	X(CACHE_FLUSHES, "code cache flushes")                                                     \
	X(DISPATCHES, "dispatches")                                                                \
	X(TLB_MISSES, "TLB misses")                                                                \
	X(PAGE_WALKS, "page walks")                                                                \
	X(TLB_FLUSHES, "TLB flushes")                                                              \
	X(CODE_PAGE_STORES, "stores to pages that hold code")                                      \
	X(BOUNCES, "accesses through the bounce buffer")                                           \
	X(EXCEPTIONS, "exceptions delivered")                                                      \
	X(INTERRUPTS, "interrupts delivered")                                                      \
	X(STEPS, "single-instruction blocks run")                                                  \
	X(EXITS, "exits to the caller")                                                            \
	X(HALTS, "halts")                                                                          \
	X(POLLS, "halts that ended while polling")

enum dbt_stat {
#define X(name, text) STAT_##name,
	DBT_STATS(X)
#undef X
	STAT_COUNT
};

#define stat_add(vp, name, n) ((vp)->stats[STAT_##name] += (n))

#endif
