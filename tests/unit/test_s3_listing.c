/* test_s3_listing.c - the XML of gateways: listings come out as they were meant, anything else is refused. */
#include "cluster/s3_listing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define ENTRIES_MAX 8

static struct listing_entry entries[ENTRIES_MAX];
static size_t entry_count;
static char token[64];

static void collect(void *user, const struct listing_entry *entry)
{
    (void)user;
    cr_assert_lt(entry_count, ENTRIES_MAX);
    entries[entry_count++] = *entry;
}

static enum status read_text(const char *xml)
{
    entry_count = 0;
    return s3_listing_read(xml, strlen(xml), collect, NULL, token, sizeof(token));
}

Test(s3_listing, gives_objects_and_prefixes_with_their_names_decoded)
{
    cr_assert_eq(read_text("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                           "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
                           "<NextContinuationToken>go-on</NextContinuationToken>"
                           "<Contents><Key>a%2Bb+c/%C3%A9</Key><Size>4097</Size><LastModified>2026-01-31T08:00:00.000Z"
                           "</LastModified><ETag>&quot;ab-1&quot;</ETag></Contents>"
                           "<CommonPrefixes><Prefix>deep/</Prefix></CommonPrefixes></ListBucketResult>"),
                 STATUS_OK);
    cr_assert_eq(entry_count, 2);
    cr_assert_eq(entries[0].kind, LISTING_OBJECT);
    cr_assert_str_eq(entries[0].name, "a+b c/\xc3\xa9");
    cr_assert_eq(entries[0].size, 4097);
    cr_assert_str_eq(entries[0].etag, "\"ab-1\"");
    cr_assert_eq(entries[1].kind, LISTING_PREFIX);
    cr_assert_str_eq(entries[1].name, "deep/");
    cr_assert_str_eq(token, "go-on");
}

Test(s3_listing, gives_buckets)
{
    cr_assert_eq(read_text("<ListAllMyBucketsResult><Buckets><Bucket><Name>films</Name>"
                           "<CreationDate>2026-01-31T08:00:00.000Z</CreationDate></Bucket></Buckets>"
                           "</ListAllMyBucketsResult>"),
                 STATUS_OK);
    cr_assert_eq(entry_count, 1);
    cr_assert_eq(entries[0].kind, LISTING_BUCKET);
    cr_assert_str_eq(entries[0].name, "films");
    cr_assert_str_eq(token, "");
}

Test(s3_listing, refuses_what_is_no_listing)
{
    const char *const bad[] = {
        "",
        "not XML",
        "<ListBucketResult>",
        "<SomethingElse/>",
        "<ListAllMyBucketsResult/>",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>many</Size><LastModified>x</LastModified></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key><Size>1</Size><LastModified>x"
        "</LastModified></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_text(bad[i]), STATUS_CORRUPT, "document %zu was accepted", i);
    }
}

Test(s3_listing, refuses_a_name_that_is_too_long)
{
    char xml[8 * LISTING_NAME_BYTES];
    char name[LISTING_NAME_BYTES + 1];
    memset(name, 'k', LISTING_NAME_BYTES);
    name[LISTING_NAME_BYTES] = '\0';
    snprintf(xml, sizeof(xml),
             "<ListBucketResult><Contents><Key>%s</Key><Size>1</Size><LastModified>x</LastModified></Contents>"
             "</ListBucketResult>",
             name);
    cr_assert_eq(read_text(xml), STATUS_CORRUPT);
}

Test(s3_listing, expands_no_entities)
{
    enum status status = read_text("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/hostname\">]><ListBucketResult>"
                                   "<Contents><Key>&e;</Key><Size>1</Size><LastModified>x</LastModified></Contents>"
                                   "</ListBucketResult>");
    cr_assert(status == STATUS_CORRUPT || entries[0].name_bytes == 0);
}

Test(s3_error, gives_code_and_message)
{
    static const char xml[] = "<Error><Code>NoSuchKey</Code><Message>It is not there.</Message></Error>";
    char code[32];
    char message[64];
    s3_error_read(xml, strlen(xml), code, sizeof(code), message, sizeof(message));
    cr_assert_str_eq(code, "NoSuchKey");
    cr_assert_str_eq(message, "It is not there.");
    s3_error_read("junk", 4, code, sizeof(code), message, sizeof(message));
    cr_assert_str_eq(code, "");
    cr_assert_str_eq(message, "");
}
