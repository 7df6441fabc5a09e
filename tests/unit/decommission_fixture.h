/* decommission_fixture.h - a disk on its way out, in the state machine: people, an approved request, reports as they
 * are really signed. */
#ifndef TRILITH_TESTS_UNIT_DECOMMISSION_FIXTURE_H
#define TRILITH_TESTS_UNIT_DECOMMISSION_FIXTURE_H

#include "meta/decommission.h"
#include "meta/evidence_media.h"
#include "meta/registry.h"
#include "tests/unit/request_fixture.h"

/* The request that decommissions `subject`, approved by two people, in its first stage. */
static inline uint64_t fixture_decommission(struct meta_fixture *f, const char *subject, bool dead)
{
    static char destination[] = "recycling";
    static char backup[] = "no";
    Trilith__Request request;
    cr_assert_eq(fixture_plan(f, TRILITH__REQUEST_KIND__REQUEST_DISK, subject, &request), STATUS_OK);
    request.dead = dead;
    request.destination = destination;
    request.backup = backup;
    const struct request_plan_parts parts = {
        .tables = state_tables(f->state), .cluster = state_cluster(f->state), .now_ms = f->now_ms};
    cr_assert_eq(request_plan(&parts, &request), STATUS_OK);
    cr_assert_eq(fixture_request_apply(f, &request), STATUS_OK);
    uint64_t id = f->outcome.id;
    cr_assert_eq(fixture_approve(f, id, "anna", 0), STATUS_OK);
    cr_assert_eq(fixture_approve(f, id, "bert", 1), STATUS_OK);
    return id;
}

/* The empty proof, as the leader would give it now. */
static inline void fixture_drained(struct meta_fixture *f, uint64_t id, const char *to)
{
    char fact[160];
    snprintf(fact, sizeof(fact),
             "{\"at_ms\":%llu,\"bytes_reported\":0,\"chunks_reported\":0,\"coming\":0,\"owes_wipes\":false,\"pgs\":0}",
             (unsigned long long)f->now_ms);
    cr_assert_eq(fixture_advance(f, id, DECOMMISSION_DRAINING, to, fact), STATUS_OK);
}

/* A report as the tool makes it. `technique` "overwrite" or "sanitize". The caller's. */
static inline json_t *fixture_report(const struct meta_fixture *f, const uint8_t store[16], const char *technique)
{
    char at[MEDIUM_TIME_BYTES];
    char hex[ID_HEX_BYTES];
    id_to_hex(store, hex);
    medium_time_text(f->now_ms + 1000, at);
    const char *method = strcmp(technique, "sanitize") == 0 ? "purge" : "clear";
    json_t *step = json_pack("{s:i, s:s, s:s, s:i, s:i, s:s}", "n", 1, "command", "write", "pattern", "chacha20",
                             "bytes", 1000, "errors", 0, "finished_at", at);
    json_t *report =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:i, s:[s], s:n}, s:{s:n}, "
                  "s:{s:s, s:s, s:s, s:[o], s:i}, s:{s:s, s:i, s:i, s:i, s:i, s:{s:i, s:i, s:i}}}",
                  "schema", MEDIUM_REPORT_SCHEMA, "report_id", "00000000-0000-4000-8000-000000000001", "person", "carl",
                  "kind", "disk", "result", "ERASED", "statement", "x", "started_at", at, "finished_at", at, "media",
                  "type", "flash", "capacity_bytes", 1000, "stores", hex, "serial", "source", "slot", "sanitization",
                  "method", method, "technique", technique, "details", "x", "steps", step, "resumed_after_power_loss",
                  0, "verification", "type", "full", "bytes", 1000, "mismatch", 0, "unreadable", 0, "zero_after_erase",
                  0, "residue_scan", "label_hits", 0, "fingerprint_hits", 0, "bytes", 1000);
    cr_assert_not_null(report);
    return report;
}

/* The three texts: signed by carl (2), and by two others. */
struct fixture_papers {
    char *report;
    char *verification;
    char *validation;
};

static inline char *fixture_decide(const char *report, const char *role, const char *decision, const char *person,
                                   uint8_t seed)
{
    struct jws jws = {.payload = NULL};
    cr_assert_eq(jws_open(&jws, report, strlen(report)), STATUS_OK);
    json_t *payload = medium_decision_payload(&jws, report, strlen(report), role, decision, person, 1700000000000);
    char *text = jws_sign(MEDIUM_DECISION_TYPE, person, fixture_seed(seed), payload);
    cr_assert_not_null(text);
    json_decref(payload);
    jws_close(&jws);
    return text;
}

/* `report` is taken over. */
static inline struct fixture_papers fixture_papers(json_t *report, const char *decision)
{
    struct fixture_papers papers = {.report = jws_sign(MEDIUM_REPORT_TYPE, "carl", fixture_seed(2), report)};
    cr_assert_not_null(papers.report);
    papers.verification = fixture_decide(papers.report, MEDIUM_VERIFIER, "accept", "anna", 0);
    papers.validation = fixture_decide(papers.report, MEDIUM_VALIDATOR, decision, "bert", 1);
    json_decref(report);
    return papers;
}

static inline void fixture_papers_free(struct fixture_papers *papers)
{
    free(papers->report);
    free(papers->verification);
    free(papers->validation);
}

/* Check them as the leader does; on STATUS_OK the fact is the caller's. */
static inline enum status fixture_check(struct meta_fixture *f, uint64_t id, const struct fixture_papers *papers,
                                        json_t **fact, bool *accepted)
{
    Trilith__MediumReportRequest message = TRILITH__MEDIUM_REPORT_REQUEST__INIT;
    message.request_id = id;
    message.report = (ProtobufCBinaryData){.data = (uint8_t *)papers->report, .len = strlen(papers->report)};
    message.verification =
        (ProtobufCBinaryData){.data = (uint8_t *)papers->verification, .len = strlen(papers->verification)};
    message.validation =
        (ProtobufCBinaryData){.data = (uint8_t *)papers->validation, .len = strlen(papers->validation)};
    const Trilith__RequestRecord *record = fixture_request_record(f, id);
    return decommission_report_check(state_tables(f->state), record, &message, f->now_ms, fact, accepted);
}

/* The same with everything released: only the answer. */
static inline enum status fixture_answer(struct meta_fixture *f, uint64_t id, struct fixture_papers papers)
{
    json_t *fact = NULL;
    bool accepted = false;
    enum status status = fixture_check(f, id, &papers, &fact, &accepted);
    json_decref(fact);
    fixture_papers_free(&papers);
    return status;
}

/* What a leader submits for a report that counts. */
static inline enum status fixture_report_apply(struct meta_fixture *f, uint64_t id, const json_t *fact, const char *to)
{
    static char medium[] = DECOMMISSION_MEDIUM;
    char stage[64];
    size_t bytes = 0;
    char *text = json_canonical(fact, &bytes);
    Trilith__RequestAdvance advance;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__request_advance__init(&advance);
    snprintf(stage, sizeof(stage), "%s", to);
    advance.id = id;
    advance.from = medium;
    advance.to = stage;
    advance.fact = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = bytes};
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE;
    command.request_advance = &advance;
    enum status status = fixture_apply(f, &command);
    free(text);
    return status;
}

#endif
