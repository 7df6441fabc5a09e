/* request_fixture.h - for tests of requests: people with keys, plans, approvals as they are really signed, steps. */
#ifndef TRILITH_TESTS_REQUEST_FIXTURE_H
#define TRILITH_TESTS_REQUEST_FIXTURE_H

#include "meta/grace.h"
#include "meta/people.h"
#include "meta/requests.h"
#include "meta/tenant_erasure.h"
#include "tests/unit/meta_audit.h"

#define FIXTURE_PEOPLE 6

/* The seed of person `number`: everybody has another. Not secret, and released by nobody. */
static inline struct key *fixture_seed(uint8_t number)
{
    static struct key_pool *pool;
    static struct key *seeds[FIXTURE_PEOPLE];
    cr_assert_lt(number, FIXTURE_PEOPLE);
    if (pool == NULL) {
        cr_assert_eq(keys_start_process(), STATUS_OK);
        pool = key_pool_open(FIXTURE_PEOPLE);
        cr_assert_not_null(pool);
    }
    if (seeds[number] == NULL) {
        seeds[number] = key_take(pool);
        memset(seeds[number]->bytes, number + 1, KEY_BYTES);
    }
    return seeds[number];
}

static inline enum status fixture_person_set(struct meta_fixture *f, const char *name, uint8_t seed, bool remove)
{
    char text[128];
    char title[] = "DPO";
    struct public_key key;
    Trilith__Person person;
    Trilith__PersonSetRequest set = TRILITH__PERSON_SET_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__person__init(&person);
    (void)snprintf(text, sizeof(text), "%s", name);
    signature_public_key(fixture_seed(seed), &key);
    person.name = text;
    person.title = title;
    person.public_key = (ProtobufCBinaryData){.data = key.bytes, .len = sizeof(key.bytes)};
    set.person = &person;
    set.remove = remove;
    command.change_case = TRILITH__COMMAND__CHANGE_PERSON_SET;
    command.person_set = &set;
    return fixture_apply(f, &command);
}

static inline enum status fixture_person_add(struct meta_fixture *f, const char *name, uint8_t seed)
{
    return fixture_person_set(f, name, seed, false);
}

/* Plan a request about `subject`; in the scratch. */
static inline enum status fixture_plan(struct meta_fixture *f, Trilith__RequestKind kind, const char *subject,
                                       Trilith__Request *request)
{
    static char reason[] = "contract ended";
    static char by[] = "operator";
    struct tables *tables = fixture_tables(f);
    const struct request_plan_parts parts = {.tables = tables, .cluster = state_cluster(f->state), .now_ms = f->now_ms};
    trilith__request__init(request);
    request->kind = kind;
    request->subject = scratch_copy(&tables->scratch, subject, strlen(subject));
    request->reason_code = reason;
    request->requested_by = by;
    return request_plan(&parts, request);
}

static inline enum status fixture_request_apply(struct meta_fixture *f, Trilith__Request *request)
{
    Trilith__RequestCreate create;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__request_create__init(&create);
    enum status status = request_subject_hash(state_tables(f->state), request, &create.subject_sha256);
    if (status != STATUS_OK) {
        return status;
    }
    create.request = request;
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_CREATE;
    command.request_create = &create;
    return fixture_apply(f, &command);
}

/* As the service does it: plan, then the command. outcome.id. */
static inline enum status fixture_request(struct meta_fixture *f, const char *tenant)
{
    Trilith__Request request;
    enum status status = fixture_plan(f, TRILITH__REQUEST_KIND__REQUEST_TENANT, tenant, &request);
    return status == STATUS_OK ? fixture_request_apply(f, &request) : status;
}

static inline Trilith__RequestRecord *fixture_request_record(struct meta_fixture *f, uint64_t id)
{
    Trilith__RequestRecord *record = NULL;
    cr_assert_eq(request_get(fixture_tables(f), id, &record), STATUS_OK);
    return record;
}

/* The approval that `person` signs with the key of `seed`. To be freed with free(). */
static inline char *fixture_approval(struct meta_fixture *f, const Trilith__Request *request, const char *person,
                                     uint8_t seed)
{
    json_t *payload = approval_payload(request, person, f->now_ms);
    cr_assert_not_null(payload);
    char *jws = jws_sign(APPROVAL_TYPE, person, fixture_seed(seed), payload);
    cr_assert_not_null(jws);
    json_decref(payload);
    return jws;
}

/* Hand in an approval as the service takes it: verified by the leader, then applied. */
static inline enum status fixture_hand_in(struct meta_fixture *f, uint64_t id, char *jws)
{
    Trilith__RequestApprove approve;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__RequestRecord *record = fixture_request_record(f, id);
    const ProtobufCBinaryData text = {.data = (uint8_t *)jws, .len = strlen(jws)};
    enum status status = request_approval_check(state_tables(f->state), record->request, text, &approve);
    if (status != STATUS_OK) {
        return status;
    }
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_APPROVE;
    command.request_approve = &approve;
    return fixture_apply(f, &command);
}

static inline enum status fixture_approve(struct meta_fixture *f, uint64_t id, const char *person, uint8_t seed)
{
    char *jws = fixture_approval(f, fixture_request_record(f, id)->request, person, seed);
    enum status status = fixture_hand_in(f, id, jws);
    free(jws);
    return status;
}

static inline enum status fixture_advance(struct meta_fixture *f, uint64_t id, const char *from, const char *to,
                                          const char *fact)
{
    char texts[2][64];
    uint8_t bytes[256];
    Trilith__RequestAdvance advance;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__request_advance__init(&advance);
    (void)snprintf(texts[0], sizeof(texts[0]), "%s", from);
    (void)snprintf(texts[1], sizeof(texts[1]), "%s", to);
    advance.id = id;
    advance.from = texts[0];
    advance.to = texts[1];
    if (fact != NULL) {
        memcpy(bytes, fact, strlen(fact));
        advance.fact = (ProtobufCBinaryData){.data = bytes, .len = strlen(fact)};
    }
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE;
    command.request_advance = &advance;
    return fixture_apply(f, &command);
}

static inline enum status fixture_erase_step(struct meta_fixture *f, uint64_t request_id)
{
    Trilith__TenantEraseStep step = TRILITH__TENANT_ERASE_STEP__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    step.request_id = request_id;
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_ERASE_STEP;
    command.tenant_erase_step = &step;
    return fixture_apply(f, &command);
}

static inline enum status fixture_set_grace(struct meta_fixture *f, const char *bucket, uint64_t grace_ms)
{
    char name[64];
    Trilith__BucketSetRequest set = TRILITH__BUCKET_SET_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", bucket);
    set.tenant_id = f->tenant;
    set.name = name;
    set.set_grace = true;
    set.grace_ms = grace_ms;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_SET;
    command.bucket_set = &set;
    return fixture_apply(f, &command);
}

static inline enum status fixture_undo(struct meta_fixture *f, uint64_t erasure_id)
{
    Trilith__ErasureUndoRequest undo = TRILITH__ERASURE_UNDO_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    undo.id = erasure_id;
    command.change_case = TRILITH__COMMAND__CHANGE_ERASURE_UNDO;
    command.erasure_undo = &undo;
    return fixture_apply(f, &command);
}

/* Hold `key` of the bucket "photos" (`erasure_id` 0), or what is in grace under that number. */
static inline enum status fixture_hold(struct meta_fixture *f, const char *key, uint64_t erasure_id,
                                       const bool *legal_hold, const uint64_t *retain_until_ms)
{
    char bucket[] = "photos";
    uint8_t copy[64];
    Trilith__ObjectHoldRequest hold = TRILITH__OBJECT_HOLD_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    memcpy(copy, key, strlen(key));
    hold.tenant_id = f->tenant;
    hold.bucket = bucket;
    hold.key = (ProtobufCBinaryData){.data = copy, .len = strlen(key)};
    hold.erasure_id = erasure_id;
    hold.set_hold = legal_hold != NULL;
    hold.legal_hold = legal_hold != NULL && *legal_hold;
    hold.set_retention = retain_until_ms != NULL;
    hold.retain_until_ms = retain_until_ms != NULL ? *retain_until_ms : 0;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_HOLD;
    command.object_hold = &hold;
    return fixture_apply(f, &command);
}

static inline enum status fixture_legal_hold(struct meta_fixture *f, const char *key, uint64_t erasure_id, bool on)
{
    return fixture_hold(f, key, erasure_id, &on, NULL);
}

static inline enum status fixture_retain(struct meta_fixture *f, const char *key, uint64_t until_ms)
{
    return fixture_hold(f, key, 0, NULL, &until_ms);
}

#endif
