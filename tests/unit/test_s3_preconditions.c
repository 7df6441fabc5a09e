/* test_s3_preconditions.c - conditional reads: each condition, and which of two wins. */
#include "node/s3/preconditions.h"

#include <criterion/criterion.h>

#define ETAG     "abc-1"
#define MODIFIED UINT64_C(784111777500) /* Sun, 06 Nov 1994 08:49:37.5 GMT */
#define BEFORE   "Sun, 06 Nov 1994 08:49:36 GMT"
#define AT       "Sun, 06 Nov 1994 08:49:37 GMT"

static struct s3_request request;

static enum precondition evaluate(const char *name, const char *value, const char *other_name, const char *other_value)
{
    s3_request_init(&request);
    s3_request_add_header(&request, text_span_of(name), text_span_of(value));
    if (other_name != NULL) {
        s3_request_add_header(&request, text_span_of(other_name), text_span_of(other_value));
    }
    return preconditions_evaluate(&request, ETAG, MODIFIED);
}

Test(preconditions, match_tags_with_and_without_quotes_and_in_lists)
{
    cr_assert_eq(evaluate("If-Match", "\"abc-1\"", NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Match", "abc-1", NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Match", "*", NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Match", "\"x\", \"abc-1\"", NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Match", "\"x\"", NULL, NULL), PRECONDITION_FAILED);
    cr_assert_eq(evaluate("If-None-Match", "W/\"abc-1\"", NULL, NULL), PRECONDITION_NOT_MODIFIED);
    cr_assert_eq(evaluate("If-None-Match", "*", NULL, NULL), PRECONDITION_NOT_MODIFIED);
    cr_assert_eq(evaluate("If-None-Match", "\"x\"", NULL, NULL), PRECONDITION_HOLDS);
}

Test(preconditions, compare_dates_by_the_second)
{
    cr_assert_eq(evaluate("If-Modified-Since", AT, NULL, NULL), PRECONDITION_NOT_MODIFIED);
    cr_assert_eq(evaluate("If-Modified-Since", BEFORE, NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Unmodified-Since", AT, NULL, NULL), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-Unmodified-Since", BEFORE, NULL, NULL), PRECONDITION_FAILED);
    cr_assert_eq(evaluate("If-Unmodified-Since", "yesterday", NULL, NULL), PRECONDITION_HOLDS);
}

Test(preconditions, let_tags_beat_dates)
{
    cr_assert_eq(evaluate("If-Match", ETAG, "If-Unmodified-Since", BEFORE), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-None-Match", "x", "If-Modified-Since", AT), PRECONDITION_HOLDS);
    cr_assert_eq(evaluate("If-None-Match", ETAG, "If-Modified-Since", BEFORE), PRECONDITION_NOT_MODIFIED);
}

Test(preconditions, if_range_names_the_version_that_a_range_is_of)
{
    s3_request_init(&request);
    cr_assert(preconditions_allow_range(&request, ETAG, MODIFIED));
    s3_request_add_header(&request, text_span_of("If-Range"), text_span_of("\"abc-1\""));
    cr_assert(preconditions_allow_range(&request, ETAG, MODIFIED));
    cr_assert_not(preconditions_allow_range(&request, "other", MODIFIED));
}
