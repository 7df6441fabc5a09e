/* verify_report.h - what an offline check found: what was checked, what was not and why, and the first thing that is
 * wrong.
 *
 * Whoever reads a report must be able to tell what it rests on: what could not be checked is as much a part of it as
 * what was. Lines may quote files: they are escaped before they reach a terminal (output.h).
 * Bounds     VERIFY_LINES_MAX lines of either kind; what would come after them is counted.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_VERIFY_REPORT_H
#define TRILITH_CLUSTER_VERIFY_REPORT_H

#include "base/check.h"
#include "base/status.h"

#include <stddef.h>

#define VERIFY_LINE_BYTES 320
#define VERIFY_LINES_MAX  24

struct verify_lines {
    size_t count; /* may be over VERIFY_LINES_MAX: those were dropped */
    char text[VERIFY_LINES_MAX][VERIFY_LINE_BYTES];
};

struct verify_report {
    char problem[VERIFY_LINE_BYTES]; /* "": nothing is wrong */
    struct verify_lines checked;
    struct verify_lines unchecked;
};

void verify_checked(struct verify_report *report, const char *format, ...) PRINTF_LIKE(2, 3);
void verify_unchecked(struct verify_report *report, const char *format, ...) PRINTF_LIKE(2, 3);
/* Keep the first problem; always STATUS_DENIED. */
enum status verify_refuse(struct verify_report *report, const char *format, ...) PRINTF_LIKE(2, 3);
/* What a file's status means for people: "is missing", "is over its limit". */
const char *verify_file_words(enum status status);

#endif
