/*
 * uart.h - a 16550A serial port between the guest and a backend
 *
 * Facts: National Semiconductor PC16550D data sheet.
 */
#ifndef EMULATED_UART_H
#define EMULATED_UART_H

#include "bus.h"

/*
 * The other end of the line. Both are called with the chipset lock held, on a VP thread or on
 * the loop's thread: they must not call back into the chipset.
 */
struct uart_backend {
	/*
	 * What the guest sent, up to a few KiB at a time. Returns how many bytes were taken; the
	 * rest is kept and offered again after uart_output_ready(), or a little later. 0 is
	 * not an error; a guest that sends faster than the backend takes has to wait.
	 */
	size_t (*write)(void *ctx, const uint8_t *bytes, size_t n);
	/* uart_receive() took less than it was given, and would take more now. May be NULL. */
	void (*input_room)(void *ctx);
	void *ctx;
};

struct uart_config {
	uint16_t port; /* of the first of eight registers */
	unsigned int gsi;
	struct uart_backend backend; /* write NULL: nothing connected, output vanishes */
};

extern const struct device_class uart_class; /* config: struct uart_config */

/*
 * uart_receive() - bytes for the guest to read
 * Takes the chipset lock. Any thread. None are taken before the guest shows that it wants input.
 * Returns: how many bytes were taken; the rest is to be offered again after input_room().
 */
size_t uart_receive(struct device *dev, const uint8_t *bytes, size_t n);

/* uart_output_ready() - the backend can take output again. Takes the chipset lock. Any thread. */
void uart_output_ready(struct device *dev);

/* uart_flush() - offer all output held back so far to the backend now (end of the run). */
void uart_flush(struct device *dev);

/* uart_break() - a break on the line (magic SysRq). Takes the chipset lock. Any thread. */
void uart_break(struct device *dev);

#endif
