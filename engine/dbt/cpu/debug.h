/*
 * debug.h - hardware breakpoints: DR0 to DR3 as DR7 enables them
 *
 * While DR7 enables any, the mode word has MODE_WATCH: every instruction is a block of its own
 * (single step) whose memory accesses all take the slow path, so nothing here costs code that is
 * not debugged. Data and I/O breakpoints are traps: what was hit gathers in vp->break_hits, and
 * the dispatcher raises #DB after the instruction. Instruction breakpoints are faults, raised by
 * the dispatcher before the instruction unless EFLAGS.RF is set. Light, and inline, as mmu/ and
 * cpu/ need it. (SDM vol. 3, "Debug Registers".)
 */
#ifndef DBT_DEBUG_H
#define DBT_DEBUG_H

#include "vp.h"

#define DR7_ENABLES  0xffull
#define DR7_GD	     BIT(13)
#define DR6_BD	     BIT(13)
#define DR6_BS	     BIT(14)
#define DR6_REPORTED 0xe00fu

/* The R/W fields that ask for ... */
#define BREAK_EXECUTE BIT(0)
#define BREAK_WRITE   (BIT(1) | BIT(3))
#define BREAK_READ    BIT(3)
#define BREAK_IO      BIT(2)

/* The breakpoints, a bit each, that [address, address + bytes) touches. */
static inline uint32_t debug_match(const struct dbt_vp *vp, uint32_t kinds, uint64_t address,
				   uint64_t bytes)
{
	static const uint8_t lengths[] = {1, 2, 8, 4};
	uint32_t hits = 0;

	for (unsigned int i = 0; i < 4; i++) {
		uint64_t length = lengths[vp->dr7 >> (18 + 4 * i) & 3];
		uint64_t first = vp->dr[i] & ~(length - 1);

		if ((vp->dr7 >> (2 * i) & 3) && (kinds & BIT(vp->dr7 >> (16 + 4 * i) & 3)) &&
		    (address - first < length || first - address < bytes))
			hits |= BIT(i);
	}
	return hits;
}

static inline void debug_note_access(struct dbt_vp *vp, uint64_t va, uint32_t bytes, bool read,
				     bool write)
{
	if (!(vp->efer & BIT(10))) /* LMA */
		va = (uint32_t)va;
	vp->break_hits |=
		debug_match(vp, (read ? BREAK_READ : 0) | (write ? BREAK_WRITE : 0), va, bytes);
}

static inline void debug_note_io(struct dbt_vp *vp, uint16_t port, uint32_t bytes)
{
	if (unlikely(vp->mode & MODE_WATCH) && (vp->cr4 & BIT(3))) /* DE */
		vp->break_hits |= debug_match(vp, BREAK_IO, port, bytes);
}

/* #DB that adds @bits to DR6 when it is delivered. */
static inline void debug_raise(struct dbt_vp *vp, uint32_t bits)
{
	vp_raise(vp, VEC_DB);
	vp->exception.error = bits;
}

#endif
