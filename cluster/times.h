/* times.h - times as people type them. */
#ifndef TRILITH_CLUSTER_TIMES_H
#define TRILITH_CLUSTER_TIMES_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

/* "2026-01-31", "2026-01-31T08:00:00Z" or with milliseconds, always UTC, from 1970 to 9999, as milliseconds since 1970.
 * False: it is something else, or a day that is in no calendar. */
MUST_USE bool time_read(const char *text, uint64_t *ms);

#endif
