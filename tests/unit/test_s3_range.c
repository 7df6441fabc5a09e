/* test_s3_range.c - the Range header: what is served, clamped, ignored and refused. */
#include "node/s3/range.h"

#include <criterion/criterion.h>

static void part(const char *header, uint64_t size, uint64_t first, uint64_t bytes)
{
    uint64_t got_first;
    uint64_t got_bytes;
    cr_assert_eq(range_resolve(text_span_of(header), size, &got_first, &got_bytes), RANGE_PART, "%s", header);
    cr_assert_eq(got_first, first, "%s", header);
    cr_assert_eq(got_bytes, bytes, "%s", header);
}

static void is(const char *header, uint64_t size, enum range_kind kind)
{
    uint64_t first;
    uint64_t bytes;
    cr_assert_eq(range_resolve(text_span_of(header), size, &first, &bytes), kind, "%s", header);
}

Test(range, serves_the_three_forms)
{
    part("bytes=0-0", 10, 0, 1);
    part("bytes=3-5", 10, 3, 3);
    part("bytes=7-", 10, 7, 3);
    part("bytes=-4", 10, 6, 4);
}

Test(range, clamps_to_the_object)
{
    part("bytes=3-99", 10, 3, 7);
    part("bytes=0-18446744073709551615", 10, 0, 10);
    part("bytes=-99", 10, 0, 10);
    part("bytes=9-", 10, 9, 1);
}

Test(range, is_unsatisfiable_past_the_end_and_on_empty_objects)
{
    is("bytes=10-", 10, RANGE_UNSATISFIABLE);
    is("bytes=10-20", 10, RANGE_UNSATISFIABLE);
    is("bytes=-0", 10, RANGE_UNSATISFIABLE);
    is("bytes=0-", 0, RANGE_UNSATISFIABLE);
    is("bytes=-5", 0, RANGE_UNSATISFIABLE);
}

Test(range, ignores_what_it_does_not_understand)
{
    static const char *const ignored[] = {
        "",          "bytes",   "bytes=",    "bytes=-",   "bytes=a-b",   "bytes=5-3", "bytes=0-1,3-4",
        "items=0-1", "bytes=1", "bytes=--1", "bytes=1--", "bytes=0x1-2", "0-1",       "bytes=99999999999999999999-"};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        is(ignored[i], 10, RANGE_WHOLE);
    }
}
