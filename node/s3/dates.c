/* dates.c - see dates.h. The calendar arithmetic is Howard Hinnant's days_from_civil, which needs no locale and no
 * time zone. */
#include "node/s3/dates.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define MS_PER_S    UINT64_C(1000)
#define S_PER_DAY   UINT64_C(86400)
#define WALL_MS_MAX UINT64_C(253402300799999) /* the end of the year 9999 */

static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"}; /* 1 January 1970 first */

struct civil {
    unsigned year, month, day, hour, minute, second, millisecond;
    unsigned weekday; /* index into day_names */
};

static struct civil civil_from_ms(uint64_t wall_ms)
{
    if (wall_ms > WALL_MS_MAX) {
        wall_ms = WALL_MS_MAX;
    }
    uint64_t seconds = wall_ms / MS_PER_S;
    uint64_t days = seconds / S_PER_DAY;
    unsigned in_day = (unsigned)(seconds % S_PER_DAY);
    /* Days since 1 March of the year 0, in eras of 400 years. */
    uint64_t shifted = days + 719468;
    unsigned era = (unsigned)(shifted / 146097);
    unsigned day_of_era = (unsigned)(shifted % 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct civil){.year = year_of_era + era * 400 + (month <= 2 ? 1 : 0),
                          .month = month,
                          .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
                          .hour = in_day / 3600,
                          .minute = in_day / 60 % 60,
                          .second = in_day % 60,
                          .millisecond = (unsigned)(wall_ms % MS_PER_S),
                          .weekday = (unsigned)(days % 7)};
}

static unsigned month_length(unsigned year, unsigned month)
{
    static const unsigned char lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return lengths[month - 1] + (month == 2 && leap ? 1u : 0u);
}

/* False: no such day or time. A leap second counts as the second before it. */
static bool civil_to_ms(struct civil civil, uint64_t *wall_ms)
{
    if (civil.year < 1970 || civil.year > 9999 || civil.month < 1 || civil.month > 12 || civil.day < 1 ||
        civil.day > month_length(civil.year, civil.month) || civil.hour > 23 || civil.minute > 59 ||
        civil.second > 60) {
        return false;
    }
    unsigned second = civil.second == 60 ? 59 : civil.second;
    unsigned year = civil.year - (civil.month <= 2 ? 1 : 0);
    unsigned era = year / 400;
    unsigned year_of_era = year % 400;
    unsigned month_from_march = civil.month > 2 ? civil.month - 3 : civil.month + 9;
    unsigned day_of_year = (153 * month_from_march + 2) / 5 + civil.day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    uint64_t days = (uint64_t)era * 146097 + day_of_era - 719468;
    *wall_ms = (days * S_PER_DAY + civil.hour * 3600u + civil.minute * 60u + second) * MS_PER_S;
    return true;
}

void date_to_http(uint64_t wall_ms, char text[DATE_HTTP_BYTES])
{
    struct civil c = civil_from_ms(wall_ms);
    int bytes =
        snprintf(text, DATE_HTTP_BYTES, "%s, %02u %s %04u %02u:%02u:%02u GMT", day_names[c.weekday % 7], c.day % 100,
                 month_names[(c.month - 1) % 12], c.year % 10000, c.hour % 100, c.minute % 100, c.second % 100);
    CHECK(bytes == DATE_HTTP_BYTES - 1);
}

void date_to_iso(uint64_t wall_ms, char text[DATE_ISO_BYTES])
{
    struct civil c = civil_from_ms(wall_ms);
    int bytes = snprintf(text, DATE_ISO_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", c.year % 10000, c.month % 100,
                         c.day % 100, c.hour % 100, c.minute % 100, c.second % 100, c.millisecond % 1000);
    CHECK(bytes == DATE_ISO_BYTES - 1);
}

void date_to_amz(uint64_t wall_ms, char text[DATE_AMZ_BYTES])
{
    struct civil c = civil_from_ms(wall_ms);
    int bytes = snprintf(text, DATE_AMZ_BYTES, "%04u%02u%02uT%02u%02u%02uZ", c.year % 10000, c.month % 100, c.day % 100,
                         c.hour % 100, c.minute % 100, c.second % 100);
    CHECK(bytes == DATE_AMZ_BYTES - 1);
}

/* `count` decimal digits at `text`; false: something else. */
static bool digits(const char *text, unsigned count, unsigned *value)
{
    *value = 0;
    for (unsigned i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        *value = *value * 10 + (unsigned)(text[i] - '0');
    }
    return true;
}

bool date_from_amz(struct text_span text, uint64_t *wall_ms)
{
    struct civil c = {0};
    if (text.bytes != DATE_AMZ_BYTES - 1 || text.data[8] != 'T' || text.data[15] != 'Z') {
        return false;
    }
    const char *at = text.data;
    return digits(at, 4, &c.year) && digits(at + 4, 2, &c.month) && digits(at + 6, 2, &c.day) &&
           digits(at + 9, 2, &c.hour) && digits(at + 11, 2, &c.minute) && digits(at + 13, 2, &c.second) &&
           civil_to_ms(c, wall_ms);
}

bool date_from_http(struct text_span text, uint64_t *wall_ms)
{
    struct civil c = {0};
    if (text.bytes != DATE_HTTP_BYTES - 1 || memcmp(text.data + 3, ", ", 2) != 0 ||
        memcmp(text.data + 25, " GMT", 4) != 0) {
        return false;
    }
    const char *at = text.data;
    if (at[7] != ' ' || at[11] != ' ' || at[16] != ' ' || at[19] != ':' || at[22] != ':') {
        return false;
    }
    for (unsigned month = 0; month < 12; month++) {
        if (memcmp(at + 8, month_names[month], 3) == 0) {
            c.month = month + 1;
        }
    }
    return digits(at + 5, 2, &c.day) && digits(at + 12, 4, &c.year) && digits(at + 17, 2, &c.hour) &&
           digits(at + 20, 2, &c.minute) && digits(at + 23, 2, &c.second) && civil_to_ms(c, wall_ms);
}
