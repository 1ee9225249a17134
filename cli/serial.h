/*
 * serial.h - where the guest's serial port leads: the terminal, a pipe, a pseudoterminal, a file
 *
 * Output goes through a bounded buffer to a thread of its own, so that a slow reader holds up
 * the guest, not the loop: nothing is lost, and the user can always quit. Input is read on the
 * loop's thread.
 */
#ifndef CLI_SERIAL_H
#define CLI_SERIAL_H

#include "loop.h"
#include "uart.h"

struct serial;

/* All on the loop's thread. */
struct serial_events {
	size_t (*input)(void *ctx, const uint8_t *bytes,
			size_t n);	 /* returns how many were taken */
	void (*output_ready)(void *ctx); /* there is room again */
	void (*quit)(void *ctx);	 /* the escape key and q; the terminal hung up */
	void (*output_failed)(void *ctx,
			      int error); /* -errno of write; output is dropped from now on */
	void *ctx;
};

/*
 * serial_new() - open what @where names: "stdio", "pty", "file:PATH", "none"
 * A terminal on standard input goes into raw mode here.
 * Returns: 0, or -errno of opening.
 */
int serial_new(const char *where, struct loop *loop, const struct serial_events *events,
	       struct serial **ret_serial);

/* serial_name() - what a user opens to talk to the guest ("pty"); "" for the others. */
const char *serial_name(const struct serial *serial);

/* serial_backend() - for the machine's UART; valid until serial_free(). */
struct uart_backend serial_backend(struct serial *serial);

/* vm_config.serial_closing: what comes next may use the reserve; @ctx is the backend's. */
void serial_closing(void *ctx);

/* serial_drain() - run the loop until all output is written or serial_abandon() was called. */
void serial_drain(struct serial *serial);
void serial_abandon(struct serial *serial);

/* serial_free() - drops what is not written yet, restores the terminal. */
void serial_free(struct serial *serial);

#endif
