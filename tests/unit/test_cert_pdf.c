/* test_cert_pdf.c - the page of a certificate: what it shows, that it says what it is, and that nothing breaks it. */
#include "cluster/cert_pdf.h"
#include "cluster/cert_words.h"
#include "tests/unit/cert_samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct document {
    uint8_t *data;
    size_t bytes;
};

static struct document render(json_t *payload, bool verified)
{
    struct cert_pdf_record record = {.payload = payload, .ledger = "7", .signature_verified = verified};
    memset(record.sha256, 0xab, sizeof(record.sha256));
    struct document document = {0};
    document.data = cert_pdf_render(&record, &document.bytes);
    cr_assert_not_null(document.data);
    json_decref(payload);
    return document;
}

static json_t *parse(const char *json)
{
    json_error_t error;
    json_t *payload = json_loads(json, 0, &error);
    cr_assert_not_null(payload, "%s at %d", error.text, error.position);
    return payload;
}

static bool shows(const struct document *document, const char *text)
{
    return memmem(document->data, document->bytes, text, strlen(text)) != NULL;
}

static unsigned count_of(const struct document *document, const char *text)
{
    unsigned count = 0;
    const uint8_t *at = document->data;
    while ((at = memmem(at, document->bytes - (size_t)(at - document->data), text, strlen(text))) != NULL) {
        count++;
        at += strlen(text);
    }
    return count;
}

Test(cert_pdf, an_object_fills_one_to_three_pages_and_each_says_what_it_is)
{
    struct document document = render(parse(SAMPLE_OBJECT), true);
    cr_assert(memcmp(document.data, "%PDF-", 5) == 0);
    unsigned pages = count_of(&document, "/Type /Page\n");
    cr_assert(pages >= 1 && pages <= 3, "%u pages", pages);
    cr_assert_eq(count_of(&document, "(This page is a rendering. The signed record is the JWS with SHA-256)"), pages);
    cr_assert_eq(count_of(&document, "(abababababababababababababababababababababababababababababababab)"), pages);
    cr_assert(shows(&document, "(Erasure of an object)"));
    cr_assert(shows(&document, "(What is not claimed)"));
    cr_assert(shows(&document, SAMPLE_OBJECT_ID));
    cr_assert(shows(&document, "verified with the key given"));
    cr_assert(shows(&document, "(Residual") || shows(&document, "(What may remain)"));
    free(document.data);
}

Test(cert_pdf, a_signature_that_was_not_checked_is_not_called_verified)
{
    struct document document = render(parse(SAMPLE_OBJECT), false);
    cr_assert(shows(&document, "not checked when this page was made"));
    cr_assert_not(shows(&document, "verified with the key"));
    free(document.data);
}

Test(cert_pdf, the_form_of_a_medium_shows_the_labels_and_what_is_not_recorded)
{
    struct document document = render(parse(SAMPLE_MEDIUM), true);
    cr_assert(shows(&document, "(Make\\057Vendor)"));
    cr_assert(shows(&document, "(Example Co)"));
    cr_assert(shows(&document, "(Media Property Number)"));
    cr_assert(shows(&document, "(not recorded)"));
    cr_assert(shows(&document, "(Validation)"));
    free(document.data);
}

/* What lay on the stack before must not come into it. */
static void dirty_stack(uint8_t with)
{
    volatile uint8_t stack[65536];
    for (size_t i = 0; i < sizeof(stack); i++) {
        stack[i] = with;
    }
}

Test(cert_pdf, the_same_record_gives_the_same_bytes)
{
    dirty_stack('A');
    struct document a = render(parse(SAMPLE_OBJECT), true);
    dirty_stack('B');
    struct document b = render(parse(SAMPLE_OBJECT), true);
    cr_assert_eq(a.bytes, b.bytes);
    cr_assert(memcmp(a.data, b.data, a.bytes) == 0);
    free(a.data);
    free(b.data);
}

Test(cert_pdf, characters_that_the_fonts_lack_become_question_marks)
{
    json_t *payload = parse(SAMPLE_MEDIUM);
    json_object_set_new(json_object_get(payload, "media"), "model",
                        json_string("A\xe7\xa1\xac\xe7\x9b\x98\xc3\xa9(\\)"));
    struct document document = render(payload, true);
    cr_assert(shows(&document, "(A??\xe9\\050\\134\\051)") || shows(&document, "(A??\xe9\\(\\\\\\))") ||
              shows(&document, "(A??\\351\\050\\134\\051)"));
    free(document.data);
}

Test(cert_pdf, what_does_not_fit_is_left_out_and_it_says_so)
{
    json_t *payload = parse(SAMPLE_OBJECT);
    json_t *list = json_array();
    for (int i = 0; i < 1000; i++) {
        json_array_append_new(list,
                              json_string("A sentence that takes a line, and there are a thousand of them here."));
    }
    json_object_set_new(payload, "not_claimed", list);
    struct document document = render(payload, true);
    cr_assert_eq(count_of(&document, "/Type /Page\n"), CERT_PDF_PAGES_MAX);
    cr_assert(shows(&document, "more stands in the signed record)"));
    free(document.data);
}

Test(cert_pdf, a_word_wider_than_the_page_is_broken)
{
    json_t *payload = parse(SAMPLE_MEDIUM);
    char word[4000];
    memset(word, 'W', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    json_object_set_new(json_object_get(payload, "media"), "model", json_string(word));
    struct document document = render(payload, true);
    cr_assert(shows(&document, "(WWWWWWWW"));
    free(document.data);
}

Test(cert_pdf, a_payload_that_says_nothing_gives_a_page_that_says_nothing)
{
    struct document document = render(json_object(), false);
    cr_assert(shows(&document, "(not recorded)"));
    free(document.data);
}
