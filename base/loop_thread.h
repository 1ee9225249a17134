/*
 * loop_thread.h - a thread that runs an event loop of its own, for devices that do much I/O
 */
#ifndef BASE_LOOP_THREAD_H
#define BASE_LOOP_THREAD_H

#include "loop.h"

struct loop_thread;

/*
 * loop_thread_new() - start a thread called @name (at most 15 characters) that runs a new loop
 * All signals are blocked in it. Returns 0, or -errno of loop_new()/pthread_create().
 */
int loop_thread_new(const char *name, struct loop_thread **ret_thread);

/*
 * loop_thread_loop() - the loop that it runs, for loop_post()
 * Fds and timers are added by such work, or before any work.
 */
struct loop *loop_thread_loop(struct loop_thread *thread);

/* loop_thread_call() - run @fn(@ctx) on that thread and wait for it. Not from that thread itself. */
void loop_thread_call(struct loop_thread *thread, void (*fn)(void *ctx), void *ctx);

/* loop_thread_free() - stop the loop, join the thread, free both. Not from that thread itself. */
void loop_thread_free(struct loop_thread *thread);

#endif
