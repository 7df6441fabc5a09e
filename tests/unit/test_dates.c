/* test_dates.c - the three date formats: known values, the way there and back, and what is no date. */
#include "node/s3/dates.h"

#include <criterion/criterion.h>

#define NOVEMBER_1994 UINT64_C(784111777000) /* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 */

Test(dates, are_written_as_the_standards_show)
{
    char http[DATE_HTTP_BYTES];
    char iso[DATE_ISO_BYTES];
    char amz[DATE_AMZ_BYTES];
    date_to_http(NOVEMBER_1994 + 999, http);
    date_to_iso(NOVEMBER_1994 + 7, iso);
    date_to_amz(NOVEMBER_1994, amz);
    cr_assert_str_eq(http, "Sun, 06 Nov 1994 08:49:37 GMT");
    cr_assert_str_eq(iso, "1994-11-06T08:49:37.007Z");
    cr_assert_str_eq(amz, "19941106T084937Z");
}

Test(dates, know_leap_years_and_the_ends_of_time)
{
    char http[DATE_HTTP_BYTES];
    date_to_http(0, http);
    cr_assert_str_eq(http, "Thu, 01 Jan 1970 00:00:00 GMT");
    date_to_http(UINT64_C(951782400000), http);
    cr_assert_str_eq(http, "Tue, 29 Feb 2000 00:00:00 GMT");
    date_to_http(UINT64_MAX, http);
    cr_assert_str_eq(http, "Fri, 31 Dec 9999 23:59:59 GMT");
}

Test(dates, read_what_they_write)
{
    for (uint64_t ms = 0; ms < UINT64_C(4102444800000); ms += UINT64_C(86399000) * 17) {
        char http[DATE_HTTP_BYTES];
        char amz[DATE_AMZ_BYTES];
        uint64_t read_ms;
        date_to_http(ms, http);
        date_to_amz(ms, amz);
        cr_assert(date_from_http(text_span_of(http), &read_ms));
        cr_assert_eq(read_ms, ms);
        cr_assert(date_from_amz(text_span_of(amz), &read_ms));
        cr_assert_eq(read_ms, ms);
    }
}

Test(dates, refuse_what_is_no_date)
{
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 31 Feb 1994 08:49:37 GMT",
                                      "Sun, 06 Xxx 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sunday, 06-Nov-94 08:49:37 GMT",
                                      "Sun, 0a Nov 1994 08:49:37 GMT",
                                      "19941106T084937",
                                      "19941306T084937Z",
                                      "1994-11-06T08:49",
                                      "19941106 084937Z",
                                      "19690101T000000Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t ms;
        cr_assert_not(date_from_http(text_span_of(bad[i]), &ms), "%s", bad[i]);
        cr_assert_not(date_from_amz(text_span_of(bad[i]), &ms), "%s", bad[i]);
    }
}
