/*
 * stepped_loop.h - a loop and a clock for tests: nothing happens by itself
 *
 * stepped_loop.c takes the place of loop.c: posted work runs, and time passes, only when a test
 * says so. There is one of it, whatever loop a caller names, and everything runs on the test's
 * thread.
 */
#ifndef BASE_STEPPED_LOOP_H
#define BASE_STEPPED_LOOP_H

#include "loop.h"

/* --- time --- */

#define STEPPED_START_NS 1000000000u /* what monotonic_ns() says at first and after a reset */

/* The clock, without the look at it that monotonic_ns() is. */
uint64_t stepped_now_ns(void);
/* Time passes; timers that come due expire in their order, each at its own time. */
void stepped_advance_ns(uint64_t ns);
/* Time passes, but the loop is busy elsewhere: no timer expires before the next advance. */
void stepped_be_late_ns(uint64_t ns);
/* After each of the next @count looks at the clock @ns pass, each time @growth_ns more. */
void stepped_disturb(unsigned int count, uint64_t ns, uint64_t growth_ns);

/* How many timers are on the loop now, and how often one was put there since the last call. */
unsigned int stepped_timers_armed(void);
unsigned int stepped_timer_arms(void);

/* --- work --- */

/* Runs what is posted, oldest first, not what that posts; returns how many ran. */
unsigned int stepped_run_posted(void);

/* --- life --- */

/* No timer exists and nothing is posted. */
bool stepped_is_idle(void);
/* Nothing is posted, no timer armed, the clock as at the start. Timers stay their owners'. */
void stepped_reset(void);

#endif
