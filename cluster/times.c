/* times.c - RFC 3339 in UTC, and days. */
#include "cluster/times.h"

#include <string.h>
#include <time.h>

/* `count` digits at *text, which moves on. */
static bool take_digits(const char **text, unsigned count, int *number)
{
    *number = 0;
    for (unsigned i = 0; i < count; i++) {
        char digit = (*text)[i];
        if (digit < '0' || digit > '9') {
            return false;
        }
        *number = *number * 10 + (digit - '0');
    }
    *text += count;
    return true;
}

static bool take_sign(const char **text, char sign)
{
    return *(*text)++ == sign;
}

bool time_read(const char *text, uint64_t *ms)
{
    int year, month, day, hour = 0, minute = 0, second = 0, milliseconds = 0;
    if (!take_digits(&text, 4, &year) || !take_sign(&text, '-') || !take_digits(&text, 2, &month) ||
        !take_sign(&text, '-') || !take_digits(&text, 2, &day)) {
        return false;
    }
    if (*text != '\0') {
        if (!take_sign(&text, 'T') || !take_digits(&text, 2, &hour) || !take_sign(&text, ':') ||
            !take_digits(&text, 2, &minute) || !take_sign(&text, ':') || !take_digits(&text, 2, &second)) {
            return false;
        }
        if (*text == '.') {
            text++;
            if (!take_digits(&text, 3, &milliseconds)) {
                return false;
            }
        }
        if (strcmp(text, "Z") != 0) {
            return false;
        }
    }
    struct tm parts = {.tm_year = year - 1900,
                       .tm_mon = month - 1,
                       .tm_mday = day,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second};
    struct tm same = parts;
    time_t seconds = timegm(&same);
    /* What timegm() had to put right was in no calendar. */
    if (year < 1970 || seconds < 0 || same.tm_year != parts.tm_year || same.tm_mon != parts.tm_mon ||
        same.tm_mday != parts.tm_mday || same.tm_hour != parts.tm_hour || same.tm_min != parts.tm_min ||
        same.tm_sec != parts.tm_sec) {
        return false;
    }
    *ms = (uint64_t)seconds * 1000 + (uint64_t)milliseconds;
    return true;
}
