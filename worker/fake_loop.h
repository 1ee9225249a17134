/*
 * fake_loop.h - an event loop that runs when it is told, for fuzzing
 */
#ifndef WORKER_FAKE_LOOP_H
#define WORKER_FAKE_LOOP_H

/* Calls what is ready until nothing is; at most so many rounds. Returns whether nothing is. */
int fake_loop_run(unsigned int rounds);

#endif
