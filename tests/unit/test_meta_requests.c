/* test_meta_requests.c - requests through the service: from the question over two approvals to the certificate, by
 * itself. */
#include "meta/requests.h"
#include "tests/unit/meta_service_world.h"

TestSuite(meta_requests, .init = setup, .fini = call_teardown, .timeout = 120);

static struct key person_seed(uint8_t number)
{
    struct key seed;
    memset(seed.bytes, 100 + number, sizeof(seed.bytes));
    return seed;
}

static enum status add_person(const char *name, uint8_t number)
{
    char text[64];
    struct public_key public_key;
    const struct key seed = person_seed(number);
    Trilith__Person person;
    Trilith__PersonSetRequest set = TRILITH__PERSON_SET_REQUEST__INIT;
    trilith__person__init(&person);
    (void)snprintf(text, sizeof(text), "%s", name);
    signature_public_key(&seed, &public_key);
    person.name = text;
    person.public_key = (ProtobufCBinaryData){.data = public_key.bytes, .len = sizeof(public_key.bytes)};
    set.person = &person;
    return CALL(PERSON_SET, &set);
}

static enum status ask(bool dry_run)
{
    char subject[] = "acme";
    char reason[] = "contract ended";
    Trilith__Request request;
    Trilith__RequestCreateRequest create;
    trilith__request__init(&request);
    trilith__request_create_request__init(&create);
    request.kind = TRILITH__REQUEST_KIND__REQUEST_TENANT;
    request.subject = subject;
    request.reason_code = reason;
    create.request = &request;
    create.dry_run = dry_run;
    return CALL(REQUEST_CREATE, &create);
}

static enum status look(uint64_t id)
{
    Trilith__RequestGetRequest get = TRILITH__REQUEST_GET_REQUEST__INIT;
    get.id = id;
    return CALL(REQUEST_GET, &get);
}

static enum status approve(uint64_t id, const char *person, uint8_t number)
{
    const struct key seed = person_seed(number);
    Trilith__RequestApproveRequest request = TRILITH__REQUEST_APPROVE_REQUEST__INIT;
    cr_assert_eq(look(id), STATUS_OK);
    json_t *payload = approval_payload(REPLY(RequestReply)->request, person, 1);
    char *jws = jws_sign(APPROVAL_TYPE, person, &seed, payload);
    request.id = id;
    request.jws = (ProtobufCBinaryData){.data = (uint8_t *)jws, .len = strlen(jws)};
    enum status status = CALL(REQUEST_APPROVE, &request);
    json_decref(payload);
    free(jws);
    return status;
}

static void prepare(void)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    for (uint8_t i = 1; i <= 5; i++) {
        char key[] = {'a', (char)('0' + i), '\0'};
        cr_assert_eq(put_object(key, i, leaf), STATUS_OK);
    }
    cr_assert_eq(add_person("Ada", 0), STATUS_OK);
    cr_assert_eq(add_person("Bob", 1), STATUS_OK);
}

/* Every node wipes what its disk owes. */
static void wipe_all(void)
{
    for (uint32_t disk_id = 1; disk_id <= 4; disk_id++) {
        Trilith__WipePullRequest pull = TRILITH__WIPE_PULL_REQUEST__INIT;
        Trilith__WipeResult results[64];
        Trilith__WipeResult *pointers[64];
        uint8_t chunks[64][16];
        char node[] = "node0";
        node[4] = (char)('0' + disk_id);
        pull.disk_id = disk_id;
        pull.max = 64;
        cr_assert_eq(CALL(WIPE_PULL, &pull), STATUS_OK);
        size_t count = REPLY(WipePullReply)->n_wipes;
        for (size_t i = 0; i < count; i++) {
            memcpy(chunks[i], REPLY(WipePullReply)->wipes[i]->chunk_id.data, 16);
            trilith__wipe_result__init(&results[i]);
            results[i].chunk_id = (ProtobufCBinaryData){.data = chunks[i], .len = 16};
            results[i].erasure_id = REPLY(WipePullReply)->wipes[i]->erasure_id;
            results[i].outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
            pointers[i] = &results[i];
        }
        if (count > 0) {
            cr_assert_eq(report_wipes(node, (uint8_t)disk_id, disk_id, pointers, count), STATUS_OK);
        }
    }
}

static bool stage_is(const char *stage)
{
    cr_assert_eq(look(1), STATUS_OK);
    return strcmp(REPLY(RequestReply)->request->stage, stage) == 0;
}

static void run_until_stage(const char *stage)
{
    for (unsigned i = 0; i < 200 && !stage_is(stage); i++) {
        sim_loop_run_for(sim, NS_PER_S);
    }
    cr_assert(stage_is(stage), "it is in stage %s", REPLY(RequestReply)->request->stage);
}

Test(meta_requests, a_dry_run_shows_the_plan_and_changes_nothing)
{
    prepare();
    uint64_t index = state_applied_index(life.state);
    cr_assert_eq(ask(true), STATUS_OK);
    const Trilith__Request *request = REPLY(RequestReply)->request;
    cr_assert_eq(request->id, 0);
    cr_assert_gt(request->plan.len, 0);
    cr_assert_eq(request->plan_sha256.len, 32);
    cr_assert_eq(state_applied_index(life.state), index);
    cr_assert_eq(get_object("photos", "a1"), STATUS_OK);
}

Test(meta_requests, a_tenant_is_erased_from_question_to_certificate)
{
    prepare();
    cr_assert_eq(ask(false), STATUS_OK);
    cr_assert_eq(REPLY(RequestReply)->request->id, 1);
    cr_assert_eq(get_object("photos", "a1"), STATUS_KEY_REVOKED, "keys are off at once");
    cr_assert_eq(ask(false), STATUS_EXISTS);
    cr_assert_eq(approve(1, "Ada", 0), STATUS_OK);
    cr_assert_eq(approve(1, "Ada", 0), STATUS_EXISTS);
    cr_assert_eq(approve(1, "Bob", 0), STATUS_DENIED, "his name, her key");
    cr_assert_eq(approve(1, "Bob", 1), STATUS_OK);
    run_until_stage("closing");
    cr_assert_neq(get_object("photos", "a1"), STATUS_OK);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_until_stage("done");
    const Trilith__Request *request = REPLY(RequestReply)->request;
    cr_assert_eq(request->state, TRILITH__REQUEST_STATE__REQUEST_DONE);
    cr_assert_neq(request->certificate[0], '\0');
    cr_assert_neq(request->erasure_id, 0);
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", request->certificate);
    Trilith__CertGetRequest get = TRILITH__CERT_GET_REQUEST__INIT;
    get.id = id;
    cr_assert_eq(CALL(CERT_GET, &get), STATUS_OK);
    cr_assert_str_eq(REPLY(CertGetReply)->certificate->type, "tenant-crypto-erase");
    cr_assert_neq(fake_kms.count, 0);
    cr_assert_eq(memcmp(&fake_kms.cmks[0], &zero_key, sizeof(zero_key)), 0, "its master key is destroyed");
}

/* From the question to the certificate. Its id. */
static void erase_acme(char certificate[64])
{
    cr_assert_eq(ask(false), STATUS_OK);
    cr_assert_eq(approve(1, "Ada", 0), STATUS_OK);
    cr_assert_eq(approve(1, "Bob", 1), STATUS_OK);
    run_until_stage("closing");
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_until_stage("done");
    (void)snprintf(certificate, 64, "%s", REPLY(RequestReply)->request->certificate);
}

Test(meta_requests, a_copy_that_turns_up_later_ends_with_a_certificate_that_supersedes)
{
    char first[64];
    char again[64];
    uint8_t id[16];
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    uint64_t tenant_id = 1;
    Trilith__ChunksCheckRequest check = TRILITH__CHUNKS_CHECK_REQUEST__INIT;
    prepare();
    erase_acme(first);
    uint64_t issued = state_cluster(life.state)->certificates;
    memset(id, 0x81, sizeof(id)); /* of a1 */
    chunk.chunk_id = (ProtobufCBinaryData){.data = id, .len = sizeof(id)};
    chunk.pg = 1;
    chunk.chunk_bytes = 100;
    check.disk_id = 2;
    check.chunks = chunks;
    check.n_chunks = 1;
    check.tenant_ids = &tenant_id;
    check.n_tenant_ids = 1;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(state_cluster(life.state)->certificates, issued, "not before the copy is wiped");
    crash(6);
    start();
    register_nodes();
    wipe_all();
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(state_cluster(life.state)->certificates, issued + 1, "once");
    cr_assert(stage_is("done"));
    (void)snprintf(again, sizeof(again), "%s", REPLY(RequestReply)->request->certificate);
    cr_assert_str_neq(again, first);
    Trilith__CertGetRequest get = TRILITH__CERT_GET_REQUEST__INIT;
    get.id = again;
    cr_assert_eq(CALL(CERT_GET, &get), STATUS_OK);
    cr_assert_str_eq(REPLY(CertGetReply)->certificate->supersedes, first);
    cr_assert_eq(state_cluster(life.state)->certificates_due, 0);
}

Test(meta_requests, nothing_can_be_made_for_a_tenant_that_is_erased)
{
    char certificate[64];
    char name[] = "acme";
    char owner[] = "owner";
    prepare();
    erase_acme(certificate);
    Trilith__KeyRotateRequest rotate = TRILITH__KEY_ROTATE_REQUEST__INIT;
    Trilith__CredentialCreateRequest credential = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    rotate.tenant = name;
    cr_assert_eq(CALL(KEY_ROTATE, &rotate), STATUS_NOT_FOUND);
    rotate.cmk = true;
    cr_assert_eq(CALL(KEY_ROTATE, &rotate), STATUS_NOT_FOUND);
    credential.tenant = name;
    credential.role = owner;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &credential), STATUS_NOT_FOUND);
    cr_assert_eq(ask(false), STATUS_NOT_FOUND);
}

Test(meta_requests, a_service_that_dies_at_any_stage_goes_on)
{
    prepare();
    cr_assert_eq(ask(false), STATUS_OK);
    crash(1);
    start();
    cr_assert_eq(approve(1, "Ada", 0), STATUS_OK);
    crash(2);
    start();
    cr_assert_eq(approve(1, "Bob", 1), STATUS_OK);
    crash(3);
    start();
    run_until_stage("closing");
    crash(4);
    start();
    register_nodes();
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    crash(5);
    start();
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_until_stage("done");
}

Test(meta_requests, a_key_management_that_is_away_does_not_keep_it)
{
    prepare();
    cr_assert_eq(ask(false), STATUS_OK);
    cr_assert_eq(approve(1, "Ada", 0), STATUS_OK);
    fake_kms.is_away = true;
    cr_assert_eq(approve(1, "Bob", 1), STATUS_OK);
    run_until_stage("closing");
    fake_kms.is_away = false;
    sim_loop_run_for(sim, 130 * NS_PER_S);
    cr_assert_eq(memcmp(&fake_kms.cmks[0], &zero_key, sizeof(zero_key)), 0, "it was asked again");
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_until_stage("done");
}

Test(meta_requests, one_that_nobody_approves_ends_by_itself)
{
    prepare();
    cr_assert_eq(ask(false), STATUS_OK);
    cr_assert_eq(approve(1, "Ada", 0), STATUS_OK);
    Trilith__RequestRecord *record = NULL;
    cr_assert_eq(request_get(service_tables(life.service), 1, &record), STATUS_OK);
    cr_assert_eq(record->request->expires_ms, record->request->requested_ms + REQUEST_OPEN_MS);
    record->request->expires_ms = record->request->requested_ms + 2000; /* Seven days are long. */
    struct tables *tables = state_tables(life.state);
    kv_batch_clear(tables->batch);
    tables_put(tables, key_request(1), record);
    cr_assert_eq(kv_write(kv, tables->batch), STATUS_OK);
    run_until_stage("cancelled");
    cr_assert_eq(get_object("photos", "a1"), STATUS_OK, "its keys are on again");
}

Test(meta_requests, a_cancelled_one_switches_the_keys_on_again)
{
    Trilith__RequestGetRequest cancel = TRILITH__REQUEST_GET_REQUEST__INIT;
    prepare();
    cr_assert_eq(ask(false), STATUS_OK);
    cancel.id = 1;
    cr_assert_eq(CALL(REQUEST_CANCEL, &cancel), STATUS_OK);
    cr_assert_eq(REPLY(RequestReply)->request->state, TRILITH__REQUEST_STATE__REQUEST_CANCELLED);
    cr_assert_eq(CALL(REQUEST_CANCEL, &cancel), STATUS_CONFLICT);
    cr_assert_eq(get_object("photos", "a1"), STATUS_OK);
}

Test(meta_requests, a_grace_time_ends_by_itself_and_can_be_taken_back_before)
{
    char bucket[] = "photos";
    Trilith__BucketSetRequest set = TRILITH__BUCKET_SET_REQUEST__INIT;
    Trilith__ErasureUndoRequest undo = TRILITH__ERASURE_UNDO_REQUEST__INIT;
    prepare();
    set.tenant_id = 1;
    set.name = bucket;
    set.set_grace = true;
    set.grace_ms = 20000;
    cr_assert_eq(CALL(BUCKET_SET, &set), STATUS_OK);
    cr_assert_eq(REPLY(BucketReply)->bucket->grace_ms, 20000);
    cr_assert_eq(delete_object("a1"), STATUS_OK);
    undo.id = REPLY(ObjectDeleteReply)->erasure_id;
    cr_assert_eq(get_object("photos", "a1"), STATUS_NOT_FOUND);
    cr_assert_eq(CALL(ERASURE_UNDO, &undo), STATUS_OK);
    cr_assert_eq(get_object("photos", "a1"), STATUS_OK);
    cr_assert_eq(delete_object("a1"), STATUS_OK);
    undo.id = REPLY(ObjectDeleteReply)->erasure_id;
    sim_loop_run_for(sim, 25 * NS_PER_S);
    cr_assert_eq(CALL(ERASURE_UNDO, &undo), STATUS_NOT_FOUND);
    cr_assert_eq(state_cluster(life.state)->grace_objects, 0);
}
