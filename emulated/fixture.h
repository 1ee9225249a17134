/*
 * fixture.h - a chipset for tests: a partition that records, a loop that the test steps
 *
 * The loop and the clock are those of base/stepped_loop.h.
 */
#ifndef EMULATED_FIXTURE_H
#define EMULATED_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "pc.h"
#include "stepped_loop.h"

/* 2024-02-29 12:34:56.000 UTC, a Thursday, when the fixture's clock shows 0. */
#define FIXTURE_UTC_SECONDS 1709210096u
#define FIXTURE_MSIS	    256

struct fixture {
	struct partition *part;
	struct chipset *chipset;
	struct pc pc;

	/* what the partition was told */
	struct msi msis[FIXTURE_MSIS];
	size_t msi_count; /* may exceed FIXTURE_MSIS, whose last entries are then the first ones */
	struct msi routes[24];
	bool extint;
	unsigned int extint_rises;

	/* what the chipset's and the UART's owner was told */
	unsigned int power_offs, resets, debug_exits, input_rooms;
	uint32_t debug_exit_value;
	char output[16384];
	size_t output_count;
	unsigned int output_writes;
	size_t output_room; /* bytes that the backend takes before it refuses */
};

/* An empty chipset, or one with all of the PC's devices (and a debug exit port at 0xf4). */
struct fixture *fixture_new(void);
struct fixture *fixture_new_pc(void);
void fixture_free(struct fixture *fixture);

/* cmocka set-up and tear-down with *state = the PC's fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Host UTC runs with the clock; this sets it off. */
void fixture_step_utc_seconds(int64_t seconds);
/* Host UTC is this from now on and stands still. */
void fixture_set_utc_ns(uint64_t ns);

uint32_t in(struct fixture *fixture, uint16_t port, unsigned int bytes);
void out(struct fixture *fixture, uint16_t port, unsigned int bytes, uint32_t value);
#define inb(fixture, port)	   in(fixture, port, 1)
#define outb(fixture, port, value) out(fixture, port, 1, value)
uint64_t mmio_read(struct fixture *fixture, gpa_t gpa, unsigned int bytes);
void mmio_write(struct fixture *fixture, gpa_t gpa, unsigned int bytes, uint64_t value);

/* The chipset through its saved state: save, change everything, restore. */
void fixture_save_and_restore(struct fixture *fixture);

#endif
