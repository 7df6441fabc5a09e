/* test_s3_xml.c - XML out: escaping and limits; XML in: what is read, and everything that is refused. */
#include "node/s3/xml_reader.h"
#include "node/s3/xml_writer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct text_buffer out;

static void fresh(void)
{
    text_buffer_reset(&out, KIB(16));
}

static void done(void)
{
    text_buffer_free(&out);
}

static const char *written(void)
{
    text_buffer_append(&out, "", 1);
    return out.data;
}

TestSuite(xml, .init = fresh, .fini = done);

Test(xml, escapes_what_would_break_the_document)
{
    xml_text(&out, "Key", text_span_of("a&b<c>\"d\"\r\n\x01\x7f\xc3\xa4"));
    cr_assert_str_eq(written(), "<Key>a&amp;b&lt;c&gt;&quot;d&quot;&#xD;&#xA;&#x1;&#x7F;\xc3\xa4</Key>");
}

Test(xml, replaces_bytes_that_are_not_utf8)
{
    xml_text(&out, "Key", text_span_of("a\xff\xc3z"));
    cr_assert_str_eq(written(), "<Key>a\xef\xbf\xbd\xef\xbf\xbdz</Key>");
}

Test(xml, codes_names_for_encoding_type_url)
{
    xml_name(&out, "Key", text_span_of("dir/a b+c&\xc3\xa4\n"), XML_NAMES_URL);
    cr_assert_str_eq(written(), "<Key>dir/a+b%2Bc%26%C3%A4%0A</Key>");
}

Test(xml, stops_at_the_limit_and_says_so)
{
    text_buffer_reset(&out, 10);
    xml_text(&out, "Key", text_span_of("much too long"));
    cr_assert(out.failed);
    cr_assert_leq(out.used, 10);
}

static enum status read_region(const char *document, char region[XML_REGION_BYTES_MAX])
{
    return xml_read_create_bucket(document, strlen(document), region);
}

Test(xml, reads_a_bucket_configuration)
{
    char region[XML_REGION_BYTES_MAX];
    cr_assert_eq(read_region("<?xml version=\"1.0\"?><CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/"
                             "2006-03-01/\"><LocationConstraint>\n eu-west-1 </LocationConstraint>"
                             "</CreateBucketConfiguration>",
                             region),
                 STATUS_OK);
    cr_assert_str_eq(region, "eu-west-1");
    cr_assert_eq(read_region("<CreateBucketConfiguration/>", region), STATUS_OK);
    cr_assert_str_eq(region, "");
    cr_assert_eq(read_region("<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>", region),
                 STATUS_OK);
    cr_assert_str_eq(region, "");
}

Test(xml, refuses_documents_that_are_malformed_or_other)
{
    static const char *const bad[] = {
        "",
        "text",
        "<CreateBucketConfiguration>",
        "<CreateBucketConfiguration></Other>",
        "<Other/>",
        "<CreateBucketConfiguration><Unknown>a</Unknown></CreateBucketConfiguration>",
        "<CreateBucketConfiguration/><CreateBucketConfiguration/>",
        "<CreateBucketConfiguration>\xff</CreateBucketConfiguration>",
        "<CreateBucketConfiguration>&unknown;</CreateBucketConfiguration>",
    };
    char region[XML_REGION_BYTES_MAX];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(read_region(bad[i], region), STATUS_INVALID, "%s", bad[i]);
    }
}

Test(xml, refuses_document_types_and_with_them_every_entity)
{
    char region[XML_REGION_BYTES_MAX];
    cr_assert_eq(read_region("<!DOCTYPE a [<!ENTITY x \"y\">]><CreateBucketConfiguration><LocationConstraint>&x;"
                             "</LocationConstraint></CreateBucketConfiguration>",
                             region),
                 STATUS_INVALID);
    cr_assert_eq(read_region("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><CreateBucketConfiguration/>", region),
                 STATUS_INVALID);
    cr_assert_eq(read_region("<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"
                             "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><CreateBucketConfiguration>"
                             "<LocationConstraint>&c;</LocationConstraint></CreateBucketConfiguration>",
                             region),
                 STATUS_INVALID);
}

static enum status accept(struct xml_visitor *visitor, const char *path, const char *text)
{
    (void)visitor, (void)path, (void)text;
    return STATUS_OK;
}

static struct xml_visitor visitor = {.closed = accept};

Test(xml, bounds_depth_elements_and_text)
{
    static char document[200000];
    size_t used = 0;
    for (unsigned i = 0; i <= XML_DEPTH_MAX; i++) {
        used += (size_t)sprintf(document + used, "<a>");
    }
    for (unsigned i = 0; i <= XML_DEPTH_MAX; i++) {
        used += (size_t)sprintf(document + used, "</a>");
    }
    cr_assert_eq(xml_read(document, used, &visitor), STATUS_INVALID);

    used = (size_t)sprintf(document, "<a>");
    for (unsigned i = 0; i < XML_ELEMENTS_MAX; i++) {
        used += (size_t)sprintf(document + used, "<b/>");
    }
    used += (size_t)sprintf(document + used, "</a>");
    cr_assert_eq(xml_read(document, used, &visitor), STATUS_INVALID);

    used = (size_t)sprintf(document, "<a>");
    memset(document + used, 'x', XML_TEXT_BYTES_MAX + 1);
    used += XML_TEXT_BYTES_MAX + 1;
    used += (size_t)sprintf(document + used, "</a>");
    cr_assert_eq(xml_read(document, used, &visitor), STATUS_INVALID);

    used = (size_t)sprintf(document, "<");
    memset(document + used, 'n', XML_NAME_BYTES_MAX + 1);
    used += XML_NAME_BYTES_MAX + 1;
    used += (size_t)sprintf(document + used, "/>");
    cr_assert_eq(xml_read(document, used, &visitor), STATUS_INVALID);
}

Test(xml, reads_as_deep_as_it_promises)
{
    char document[512];
    size_t used = 0;
    for (unsigned i = 0; i < XML_DEPTH_MAX; i++) {
        used += (size_t)sprintf(document + used, "<a>");
    }
    for (unsigned i = 0; i < XML_DEPTH_MAX; i++) {
        used += (size_t)sprintf(document + used, "</a>");
    }
    cr_assert_eq(xml_read(document, used, &visitor), STATUS_OK);
}
