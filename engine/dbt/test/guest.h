/*
 * guest.h - a small guest for tests of the engine: memory, VPs, a mode to start in
 *
 * Guest memory starts at guest physical 0 and is mapped one to one, in 64-bit mode for user and
 * supervisor alike, and once more from GUEST_ALIAS on. There is no IDT: an exception at CPL 0 ends
 * in VP_EXIT_SHUTDOWN, unless the test makes one.
 */
#ifndef DBT_TEST_GUEST_H
#define DBT_TEST_GUEST_H

#include "partition.h"

#define GUEST_BYTES   (4 * MIB)
#define GUEST_CODE    0x100000ull
#define GUEST_STACK   0x200000ull /* grows down from here */
#define GUEST_ALIAS   0x40000000ull
#define GUEST_TABLES  0x1000ull /* page tables, descriptor tables: up to here + 0x8000 */
#define GUEST_MAX_VPS 4

enum guest_mode {
	GUEST_REAL,
	GUEST_PROTECTED_16,
	GUEST_PROTECTED_32,
	GUEST_PAGED_32,
	GUEST_COMPATIBILITY,
	GUEST_LONG
};

struct guest {
	struct guest_memory memory; /* with a canary before and behind what the guest has of it */
	uint8_t *ram;		    /* guest physical 0 */
	struct partition *part;
	struct vp *vp[GUEST_MAX_VPS];
	struct vp_exit exit[GUEST_MAX_VPS];
	struct vp_state reset; /* what a VP was created with */
};

/* 0 or -errno; then guest_free(). */
int guest_new(unsigned int vps, struct guest *ret_guest);
void guest_free(struct guest *guest);

/* Did nobody write beside the guest's memory? */
bool guest_canaries_intact(const struct guest *guest);

/* The state to run at @rip in @mode with flat segments; @cpl 3 is for the protected modes. */
void guest_state(struct guest *guest, enum guest_mode mode, unsigned int cpl, uint64_t rip,
		 struct vp_state *ret_state);

#endif
