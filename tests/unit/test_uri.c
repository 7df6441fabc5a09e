/* test_uri.c - percent coding, query strings and UTF-8: S3's rules, bounds, and broken input. */
#include "node/s3/uri.h"

#include <criterion/criterion.h>
#include <string.h>

static void decodes(const char *coded, enum uri_part part, const char *expected)
{
    char decoded[256];
    size_t bytes;
    cr_assert(uri_decode(text_span_of(coded), part, decoded, sizeof(decoded), &bytes), "%s", coded);
    cr_assert_eq(bytes, strlen(expected), "%s", coded);
    cr_assert_eq(memcmp(decoded, expected, bytes), 0, "%s", coded);
}

Test(uri, decodes_codes_of_either_case)
{
    decodes("a%2Fb%2f%C3%a4", URI_PATH, "a/b/\xc3\xa4");
}

Test(uri, takes_a_plus_for_a_space_only_in_queries)
{
    decodes("a+b%2B", URI_PATH, "a+b+");
    decodes("a+b%2B", URI_QUERY, "a b+");
}

Test(uri, refuses_broken_codes_and_too_little_room)
{
    static const char *const bad[] = {"%", "%a", "a%", "%zz", "%2", "%-1"};
    char decoded[8];
    size_t bytes;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(uri_decode(text_span_of(bad[i]), URI_PATH, decoded, sizeof(decoded), &bytes), "%s", bad[i]);
    }
    cr_assert_not(uri_decode(text_span_of("123456789"), URI_PATH, decoded, sizeof(decoded), &bytes));
    cr_assert(uri_decode(text_span_of("12345678"), URI_PATH, decoded, sizeof(decoded), &bytes));
}

Test(uri, encodes_all_but_unreserved_bytes)
{
    char encoded[64];
    cr_assert_eq(uri_encode(text_span_of("a b/~\xff"), true, encoded, sizeof(encoded)), 10);
    cr_assert_str_eq(encoded, "a%20b/~%FF");
    cr_assert_gt(uri_encode(text_span_of("a/b"), false, encoded, sizeof(encoded)), 0);
    cr_assert_str_eq(encoded, "a%2Fb");
    cr_assert_eq(uri_encode(text_span_of("abcd"), true, encoded, 4), 0);
}

Test(uri, splits_queries_into_names_and_values)
{
    struct text_span rest = text_span_of("&a=1&&b&c=&=d&e=f=g");
    struct text_span name;
    struct text_span value;
    static const char *const expected[][2] = {{"a", "1"}, {"b", ""}, {"c", ""}, {"", "d"}, {"e", "f=g"}};
    for (size_t i = 0; i < 5; i++) {
        cr_assert(uri_query_next(&rest, &name, &value));
        cr_assert(text_span_equals(name, expected[i][0]), "%zu", i);
        cr_assert(text_span_equals(value, expected[i][1]), "%zu", i);
    }
    cr_assert_not(uri_query_next(&rest, &name, &value));
}

Test(uri, knows_utf8)
{
    static const char *const good[] = {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"};
    static const char *const bad[] = {
        "\x80", "\xc0\x80", "\xc3",    "\xed\xa0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80",
        "\xff", "a\xc3(",   "\xe2\x82"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert(utf8_is_valid(good[i], strlen(good[i])), "%zu", i);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(utf8_is_valid(bad[i], strlen(bad[i])), "%zu", i);
    }
    cr_assert_not(utf8_is_valid("a\0b", 3));
}

Test(uri, reads_numbers_exactly)
{
    uint64_t number;
    cr_assert(text_span_to_number(text_span_of("18446744073709551615"), &number));
    cr_assert_eq(number, UINT64_MAX);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(text_span_to_number(text_span_of(bad[i]), &number), "%s", bad[i]);
    }
}
