/* log.h - the operators' log: one line per event on stderr, `time level event key=value ...`.
 *
 * An error is logged once, where it is decided. Never a key, a secret, a plaintext or an object's name.
 * Values with spaces or control characters come out quoted and escaped. Any thread: a line is one write(2). */
#ifndef TRILITH_BASE_LOG_H
#define TRILITH_BASE_LOG_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* The least level that is printed; LOG_INFO at start. */
void log_set_level(enum log_level level);
/* "debug", "info", "warning" or "error"; false for another word. */
bool log_level_from_name(const char *name, enum log_level *level);
bool log_is_enabled(enum log_level level);

/* Write another text than the machine's time at the beginning of each line: for a simulator, whose time is its own. Up to
 * `bytes` with the terminator; before the second thread starts. NULL: the time again. */
void log_set_time_text(void (*describe)(char *text, size_t bytes));

/* log_event(LOG_WARNING, "disk_fenced", "disk=%s reason=%s", name, status_name(status)); a line is cut at 2 KiB. */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
