/* test_medium_report.c - a report says what was done; whoever changes a byte of it, or of what others signed, is
 * found out. */
#include "cluster/medium_report.h"
#include "tests/unit/medium_fixture.h"

static struct image image;
static struct medium_state *state;
static struct key_pool *pool;
static struct key *anna;
static struct key *bert;

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    pool = key_pool_open(2);
    anna = key_take(pool);
    bert = key_take(pool);
    key_make(anna);
    key_make(bert);
    image_open(&image, MIB(2));
    image_fill(&image, 3);
    struct medium_io *io;
    cr_assert_eq(medium_open(&image.identity, true, &io, image.message), STATUS_OK);
    state = medium_state_new(image.state, &image.identity, MEDIUM_OVERWRITE, MEDIUM_FULL, SANITIZE_NONE);
    struct medium_wipe wipe = {.state = state, .io = io};
    cr_assert_eq(medium_wipe_run(&wipe), STATUS_OK, "%s", wipe.message);
    io->close(io);
    state->identity.kind = MEDIUM_DISK;
}

static void teardown(void)
{
    medium_state_free(state);
    image_close(&image);
    key_pool_close(pool);
}

TestSuite(medium_report, .init = setup, .fini = teardown);

static char *signed_report(void)
{
    json_t *report = medium_report(state, "anna");
    cr_assert_not_null(report);
    char *text = jws_sign(MEDIUM_REPORT_TYPE, "anna", anna, report);
    cr_assert_not_null(text);
    json_decref(report);
    return text;
}

static char *signed_decision(const char *text, const char *role, const char *decision)
{
    struct jws jws;
    cr_assert_eq(medium_report_open(&jws, text, strlen(text)), STATUS_OK);
    json_t *payload = medium_decision_payload(&jws, text, strlen(text), role, decision, "bert", 1700000000000);
    char *signed_text = jws_sign(MEDIUM_DECISION_TYPE, "bert", bert, payload);
    cr_assert_not_null(signed_text);
    json_decref(payload);
    jws_close(&jws);
    return signed_text;
}

Test(medium_report, says_what_was_done_and_not_more)
{
    char *text = signed_report();
    struct jws jws;
    cr_assert_eq(medium_report_open(&jws, text, strlen(text)), STATUS_OK);
    cr_assert_str_eq(medium_text(jws.payload, "result"), "ERASED");
    const json_t *sanitization = json_object_get(jws.payload, "sanitization");
    cr_assert_str_eq(medium_text(sanitization, "method"), "clear");
    cr_assert_str_eq(medium_text(sanitization, "technique"), "overwrite");
    cr_assert_eq(json_array_size(json_object_get(sanitization, "steps")), 1u);
    cr_assert_str_eq(medium_text(json_object_get(jws.payload, "verification"), "type"), "full");
    const json_t *media = json_object_get(jws.payload, "media");
    static const char *const unknown[] = {"serial",       "wwn",         "native_max_lba",  "hpa_dco",
                                          "smart_before", "smart_after", "barcode_scanned", "scan_matches_identify"};
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
        cr_assert(json_is_null(json_object_get(media, unknown[i])), "%s", unknown[i]);
    }
    jws_close(&jws);
    free(text);
}

Test(medium_report, has_neither_the_seed_nor_fingerprints)
{
    char *text = signed_report();
    struct jws jws;
    cr_assert_eq(medium_report_open(&jws, text, strlen(text)), STATUS_OK);
    for (uint32_t i = 0; i < residue_print_count(&state->prints); i++) {
        char hex[2 * RESIDUE_WINDOW_BYTES + 1];
        hex_encode(residue_print(&state->prints, i)->window, RESIDUE_WINDOW_BYTES, hex);
        cr_assert_null(strstr(jws.payload_text, hex));
    }
    jws_close(&jws);
    free(text);
}

Test(medium_report, fits_what_a_request_takes_at_its_worst)
{
    state->check.place_count = MEDIUM_PLACES_MAX;
    state->scan.place_count = RESIDUE_PLACES_MAX;
    for (uint32_t i = 0; i < MEDIUM_PLACES_MAX; i++) {
        state->check.places[i] = UINT64_C(1) << 50;
    }
    state->prints.store_count = RESIDUE_STORES_MAX;
    while (state->step_count < 4) {
        state->steps[state->step_count] = state->steps[0];
        state->steps[state->step_count].log_read = true;
        state->step_count++;
    }
    memset(state->identity.model, 'm', MEDIUM_TEXT_BYTES - 1);
    memset(state->failure, 'f', sizeof(state->failure) - 1);
    char *text = signed_report();
    cr_assert_lt(strlen(text), MEDIUM_REPORT_BYTES_MAX);
    struct jws jws;
    cr_assert_eq(medium_report_open(&jws, text, strlen(text)), STATUS_OK);
    jws_close(&jws);
    free(text);
}

Test(medium_report, every_changed_character_is_noticed)
{
    char *text = signed_report();
    struct public_key key;
    signature_public_key(anna, &key);
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes; i++) {
        struct jws jws;
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        bool taken = medium_report_open(&jws, text, bytes) == STATUS_OK && jws_verify(&jws, text, &key);
        cr_assert_not(taken, "character %zu", i);
        jws_close(&jws);
        text[i] = was;
    }
    free(text);
}

/* Sign a report whose members were changed before, as somebody with the tool's source could. */
static enum status open_changed(const char *object, const char *member, json_t *value)
{
    json_t *report = medium_report(state, "anna");
    json_t *inside = object == NULL ? report : json_object_get(report, object);
    json_object_set_new(inside, member, value);
    char *text = jws_sign(MEDIUM_REPORT_TYPE, "anna", anna, report);
    struct jws jws;
    enum status status = medium_report_open(&jws, text, strlen(text));
    jws_close(&jws);
    json_decref(report);
    free(text);
    return status;
}

Test(medium_report, a_claim_that_its_own_figures_do_not_carry_is_refused)
{
    cr_assert_eq(open_changed(NULL, "statement", json_string("x")), STATUS_OK, "the way of testing works");
    cr_assert_eq(open_changed("sanitization", "method", json_string("purge")), STATUS_INVALID);
    cr_assert_eq(open_changed("verification", "mismatch", json_integer(4096)), STATUS_INVALID);
    cr_assert_eq(open_changed("verification", "unreadable", json_integer(4096)), STATUS_INVALID);
    cr_assert_eq(open_changed("verification", "residue_scan", json_null()), STATUS_INVALID);
    cr_assert_eq(open_changed("sanitization", "steps", json_array()), STATUS_INVALID);
    cr_assert_eq(open_changed(NULL, "result", json_string("FAILED")), STATUS_INVALID);
    cr_assert_eq(open_changed(NULL, "kind", json_string("partition")), STATUS_INVALID);
    cr_assert_eq(open_changed(NULL, "person", json_string("bert")), STATUS_INVALID);
}

Test(medium_report, failures_and_parts_of_media_claim_nothing)
{
    state->check.mismatch = 1;
    cr_assert_eq(medium_result(state), MEDIUM_FAILED);
    cr_assert_str_eq(medium_method(state), "none");
    state->check.mismatch = 0;
    state->scan.label_hits = 1;
    cr_assert_eq(medium_result(state), MEDIUM_FAILED);
    state->scan.label_hits = 0;
    state->steps[0].errors = 1;
    cr_assert_eq(medium_result(state), MEDIUM_FAILED);
    state->steps[0].errors = 0;
    state->identity.kind = MEDIUM_PARTITION;
    cr_assert_str_eq(medium_method(state), "none");
    state->identity.kind = MEDIUM_DISK;
    cr_assert_str_eq(medium_method(state), "clear");
    state->dead = true;
    cr_assert_eq(medium_result(state), MEDIUM_NOT_DONE);
}

Test(medium_report, a_decision_holds_for_one_report_and_one_role)
{
    char *text = signed_report();
    char *decision = signed_decision(text, MEDIUM_VERIFIER, "accept");
    struct jws jws;
    cr_assert_eq(medium_decision_open(&jws, decision, strlen(decision), MEDIUM_VERIFIER, text, strlen(text)),
                 STATUS_OK);
    struct public_key key;
    signature_public_key(bert, &key);
    cr_assert(jws_verify(&jws, decision, &key));
    jws_close(&jws);
    cr_assert_eq(medium_decision_open(&jws, decision, strlen(decision), MEDIUM_VALIDATOR, text, strlen(text)),
                 STATUS_INVALID);
    jws_close(&jws);
    state->started_ms++;
    char *other = signed_report();
    cr_assert_eq(medium_decision_open(&jws, decision, strlen(decision), MEDIUM_VERIFIER, other, strlen(other)),
                 STATUS_CONFLICT);
    jws_close(&jws);
    char newline[MEDIUM_REPORT_BYTES_MAX];
    int bytes = snprintf(newline, sizeof(newline), "%s\n", text);
    cr_assert_eq(medium_decision_open(&jws, decision, strlen(decision), MEDIUM_VERIFIER, newline, (size_t)bytes),
                 STATUS_OK, "a newline at the end changes nothing");
    jws_close(&jws);
    free(other);
    free(decision);
    free(text);
}

Test(medium_report, a_plan_says_what_could_be_claimed)
{
    json_t *plan =
        medium_plan(&state->identity, MEDIUM_SANITIZE, "why", MEDIUM_FULL, SANITIZE_BLOCK_ERASE, false, MIB(100), 30);
    cr_assert_str_eq(medium_text(plan, "claim_if_all_goes_well"), "purge");
    json_decref(plan);
    plan = medium_plan(&state->identity, MEDIUM_OVERWRITE, "why", MEDIUM_FULL, SANITIZE_NONE, false, 0, 0);
    cr_assert_str_eq(medium_text(plan, "claim_if_all_goes_well"), "clear");
    cr_assert(json_is_null(json_object_get(plan, "estimated_seconds")));
    json_decref(plan);
}
