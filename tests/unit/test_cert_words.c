/* test_cert_words.c - what people read of a certificate: everything that it says, and nothing that it does not say. */
#include "cluster/cert_words.h"
#include "tests/unit/cert_samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints into one text, a line each. */
struct page {
    struct cert_printer printer;
    char text[1 << 20];
    size_t used;
};

static void add(struct cert_printer *printer, const char *first, const char *second)
{
    struct page *page = (struct page *)(void *)printer;
    page->used += (size_t)snprintf(page->text + page->used, sizeof(page->text) - page->used, "%s%s%s\n", first,
                                   second == NULL ? "" : "=", second == NULL ? "" : second);
    cr_assert_lt(page->used, sizeof(page->text));
}

static void add_one(struct cert_printer *printer, const char *text)
{
    add(printer, text, NULL);
}

static void add_row(struct cert_printer *printer, const char *const cells[], const unsigned widths[], size_t count,
                    bool is_heading)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        add(printer, is_heading ? "heading" : "cell", cells[i]);
        sum += widths[i];
    }
    cr_assert_eq(sum, 100, "the columns take %u of 100", sum);
}

static struct page *describe(const char *json)
{
    struct page *page = calloc(1, sizeof(*page));
    cr_assert_not_null(page);
    page->printer =
        (struct cert_printer){.title = add, .section = add_one, .paragraph = add_one, .field = add, .row = add_row};
    json_error_t error;
    json_t *payload = json_loads(json, 0, &error);
    cr_assert_not_null(payload, "%s at %d", error.text, error.position);
    /* As it is signed: with its members in order. */
    char *sorted = json_dumps(payload, JSON_SORT_KEYS);
    json_decref(payload);
    payload = json_loads(sorted, 0, NULL);
    cert_describe(payload, &page->printer);
    json_decref(payload);
    free(sorted);
    return page;
}

static void expect_line(const struct page *page, const char *line)
{
    cr_assert_not_null(strstr(page->text, line), "\"%s\" is missing in:\n%s", line, page->text);
}

Test(cert_words, an_object_is_told_with_its_copies_and_keys)
{
    struct page *page = describe(SAMPLE_OBJECT);
    expect_line(page, "Erasure of an object=ERASED - in the sense of the claim below");
    expect_line(page, "Version=" SAMPLE_VERSION);
    expect_line(page, "Key given up=at 2026-01-31T07:59:00.000Z, index 99, term 1");
    expect_line(page, "cell=node3");
    expect_line(page, "cell=overwritten, flushed, read back");
    expect_line(page, "readback=bytes 65552, mismatch 0");
    expect_line(page, "Batch's certificate=" SAMPLE_BATCH_ID);
    expect_line(page, "What is not claimed\nThat a node did not lie about its read-back.\n");
    free(page);
}

Test(cert_words, what_is_null_is_not_recorded)
{
    struct page *page = describe(SAMPLE_OBJECT);
    expect_line(page, "Issued by=not recorded");
    expect_line(page, "Legal basis=not recorded");
    expect_line(page, "Leases on the key had ended=not recorded");
    free(page);
    page = describe(SAMPLE_MEDIUM);
    expect_line(page, "Make/Vendor=Example Co");
    expect_line(page, "Media Property Number=not recorded");
    expect_line(page, "Backup Location=not recorded");
    expect_line(page, "Verification\nnot recorded");
    free(page);
}

Test(cert_words, each_residual_code_has_its_meaning_and_an_unknown_one_none)
{
    struct page *page = describe(SAMPLE_OBJECT);
    expect_line(page, "FTL_CIPHERTEXT=Ciphertext may remain");
    expect_line(page, "REPLICA_OFFLINE(2)=Disks that may have held copies");
    expect_line(page, "NEW_CODE=A code that this program does not know.");
    free(page);
}

Test(cert_words, nothing_known_of_it_is_all_not_recorded)
{
    struct page *page = describe("{}");
    expect_line(page, "not recorded=not recorded");
    expect_line(page, "Statement=not recorded");
    free(page);
}

Test(cert_words, members_of_a_strange_kind_are_printed_and_do_no_harm)
{
    free(describe(
        "{\"type\":\"object-erasure\",\"replicas\":{\"node\":1},\"residual\":\"x\",\"not_claimed\":7,\"claim\":[1],"
        "\"request\":{\"approvals\":[1,\"a.b.c\",null]},\"verification\":{\"checks\":[1,[2],{\"name\":[]}]}}"));
    free(describe(
        "{\"type\":\"node-decommission\",\"people\":[1],\"inventory\":{\"media\":[3,{\"serial\":{\"a\":[1]}}]}}"));
    struct page *page = describe("{\"type\":\"something-new\",\"subject\":{\"a\":1,\"b\":[true,null]}}");
    expect_line(page, "something-new=not recorded");
    expect_line(page, "subject=a 1, b yes, not recorded");
    free(page);
}

Test(cert_words, long_values_and_tables_are_cut_and_say_so)
{
    json_t *list = json_array();
    for (int i = 0; i < 300; i++) {
        json_array_append_new(list, json_pack("{s:s}", "node", "n\xc3\xa4me"));
    }
    json_t *payload = json_pack("{s:s, s:o}", "type", "object-erasure", "replicas", list);
    char *json = json_dumps(payload, 0);
    struct page *page = describe(json);
    expect_line(page, "260 more rows stand in the signed record only.");
    free(page);
    char text[CERT_TEXT_BYTES];
    cert_value_text(list, text);
    size_t bytes = strlen(text);
    cr_assert_lt(bytes, CERT_TEXT_BYTES);
    cr_assert_str_eq(text + bytes - 3, "...");
    json_t *again = json_stringn(text, bytes);
    cr_assert_not_null(again, "a character was cut in two");
    json_decref(again);
    free(json);
    json_decref(payload);
}
