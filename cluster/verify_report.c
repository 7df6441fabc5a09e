/* verify_report.c - lines of a report. */
#include "cluster/verify_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add_line(struct verify_lines *lines, const char *format, va_list arguments) PRINTF_LIKE(2, 0);
static void add_line(struct verify_lines *lines, const char *format, va_list arguments)
{
    if (lines->count < VERIFY_LINES_MAX) {
        vsnprintf(lines->text[lines->count], VERIFY_LINE_BYTES, format, arguments);
    }
    lines->count++;
}

void verify_checked(struct verify_report *report, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_line(&report->checked, format, arguments);
    va_end(arguments);
}

void verify_unchecked(struct verify_report *report, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_line(&report->unchecked, format, arguments);
    va_end(arguments);
}

enum status verify_refuse(struct verify_report *report, const char *format, ...)
{
    if (report->problem[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(report->problem, sizeof(report->problem), format, arguments);
        va_end(arguments);
    }
    return STATUS_DENIED;
}

const char *verify_file_words(enum status status)
{
    switch (status) {
    case STATUS_NOT_FOUND:
        return "is missing";
    case STATUS_TOO_LARGE:
        return "is larger than such a file can be";
    case STATUS_INVALID:
        return "is not a regular file";
    case STATUS_DENIED:
        return "may not be read by this user";
    default:
        return "can't be read";
    }
}
