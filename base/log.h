/*
 * log.h - one line per event, to standard error
 *
 * A line is `mullion: <message>`; the message names what, why and, where there is one, the
 * remedy. Lines are written with one write(2) each, so those of several threads do not mix.
 * When standard error takes nothing for a second, the line is dropped.
 * While the terminal is raw (terminal.h) line ends are CR LF.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>

#include "base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* log_set_level() - show messages up to @level; LOG_WARNING at start. Any thread. */
void log_set_level(enum log_level level);

/* log_set_raw_terminal() - end lines with CR LF from now on, or no longer. Any thread. */
void log_set_raw_terminal(bool raw);

void log_message(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_message(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)

#endif
