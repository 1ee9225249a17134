/*
 * terminal.h - the user's terminal in raw mode, and the escape key
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base.h"

/*
 * terminal_set_raw() - every key goes to the guest, from now until terminal_restore()
 * The mode is also restored when the process exits or dies of a signal that can be caught.
 * Returns: 0; -errno of tcgetattr/tcsetattr. One terminal per process.
 */
int terminal_set_raw(int fd);
void terminal_restore(void);

#define ESCAPE_KEY 0x1d /* Ctrl-] */

enum escape_action { ESCAPE_NONE, ESCAPE_QUIT, ESCAPE_HELP };

/* State between calls; starts zeroed. */
struct escape {
	bool pending; /* the escape key was pressed */
};

/*
 * escape_filter() - take the escape sequences out of what was typed
 * @bytes: in: @n typed bytes; out: those for the guest, whose count is returned
 * @ret_action: of the last sequence that wants one; after ESCAPE_QUIT the rest is dropped
 */
size_t escape_filter(struct escape *escape, uint8_t *bytes, size_t n,
		     enum escape_action *ret_action);

#endif
