/* test_certifier.c - from a deletion to its certificate, through the whole service: issued when everything is gone and
 * not before, once, in the order of numbers, whatever is cut off in between; and what is issued verifies with nothing
 * but the files that an auditor gets. */
#include "tests/unit/meta_service_world.h"

#include "base/checkpoint.h"
#include "base/jws.h"
#include "base/merkle.h"
#include "meta/evidence.h"
#include "meta/service_certs_private.h"

#define NODES       4u
#define KEYS_MAX    8u
#define CRASH_STEPS 60u /* of the simulation: by then all is issued */

/* ---- nodes ------------------------------------------------------------------------------------- */

/* A node says that it has no key from before `index`. */
static void node_lets_go(uint32_t number, uint64_t index)
{
    uint8_t uuid[16];
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeHeartbeatRequest beat = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    memset(uuid, (int)number, sizeof(uuid));
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.state = TRILITH__DISK_STATE__DISK_SERVING;
    beat.node_id = number;
    beat.disks = reports;
    beat.n_disks = 1;
    beat.keys_since_index = index;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
}

static void gateways_let_go(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        node_lets_go(i, state_applied_index(life.state));
    }
}

/* ---- wipes ------------------------------------------------------------------------------------- */

#define PULLED_MAX 512u

/* Wipe what disk `number` owes, sign for it, report it. Returns how much that was. */
static size_t wipe_disk(uint32_t number)
{
    static Trilith__WipeResult results[PULLED_MAX];
    static uint8_t ids[PULLED_MAX][16];
    static uint8_t digest[32];
    Trilith__WipeResult *pointers[PULLED_MAX];
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", number);
    Trilith__WipePullRequest pull = TRILITH__WIPE_PULL_REQUEST__INIT;
    pull.disk_id = number;
    pull.max = PULLED_MAX;
    cr_assert_eq(CALL(WIPE_PULL, &pull), STATUS_OK);
    size_t count = REPLY(WipePullReply)->n_wipes;
    for (size_t i = 0; i < count; i++) {
        const Trilith__Wipe *wipe = REPLY(WipePullReply)->wipes[i];
        memcpy(ids[i], wipe->chunk_id.data, 16);
        trilith__wipe_result__init(&results[i]);
        results[i].chunk_id = (ProtobufCBinaryData){.data = ids[i], .len = 16};
        results[i].erasure_id = wipe->erasure_id;
        results[i].outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        results[i].bytes = 4096;
        results[i].digest = (ProtobufCBinaryData){.data = digest, .len = sizeof(digest)};
        pointers[i] = &results[i];
    }
    if (count == 0) {
        return 0;
    }
    cr_assert_eq(report_wipes(name, (uint8_t)number, number, pointers, count), STATUS_OK);
    return count;
}

static void wipe_all(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        while (wipe_disk(i) > 0) {
        }
    }
}

/* Write version `number` and delete it. The number of its erasure. */
static uint64_t put_and_delete(uint8_t number)
{
    uint8_t leaf[32];
    char key[16];
    (void)snprintf(key, sizeof(key), "k%u", number);
    cr_assert_eq(put_object(key, number, leaf), STATUS_OK);
    cr_assert_eq(delete_object(key), STATUS_OK);
    uint64_t erasure = REPLY(ObjectDeleteReply)->erasure_id;
    cr_assert_neq(erasure, 0);
    return erasure;
}

/* ---- certificates ------------------------------------------------------------------------------ */

static void run_ms(uint64_t ms)
{
    sim_loop_run_for(sim, ms * NS_PER_MS);
}

static enum status cert_get(uint64_t erasure_id, uint64_t seq)
{
    Trilith__CertGetRequest request;
    trilith__cert_get_request__init(&request);
    request.erasure_id = erasure_id;
    request.seq = seq;
    return CALL(CERT_GET, &request);
}

static bool is_certified(uint64_t erasure_id)
{
    return cert_get(erasure_id, 0) == STATUS_OK;
}

/* What an auditor has: keys and the ledger's name. */
static struct {
    struct public_key keys[KEYS_MAX];
    char kids[KEYS_MAX][KID_BYTES];
    size_t count;
    char origin[CHECKPOINT_ORIGIN_BYTES];
} audit;

static void keys_fetch(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(SIGNING_KEY_LIST, &empty), STATUS_OK);
    const Trilith__SigningKeyListReply *reply = REPLY(SigningKeyListReply);
    cr_assert_leq(reply->n_keys, KEYS_MAX);
    audit.count = reply->n_keys;
    for (size_t i = 0; i < reply->n_keys; i++) {
        memcpy(audit.keys[i].bytes, reply->keys[i]->public_key.data, PUBLIC_KEY_BYTES);
        (void)snprintf(audit.kids[i], KID_BYTES, "%s", reply->keys[i]->kid);
    }
    (void)snprintf(audit.origin, sizeof(audit.origin), "%s", reply->origin);
}

/* Open a certificate and verify it with the key that it names. */
static void open_verified(struct jws *jws, const char *text)
{
    bool verified = false;
    cr_assert_eq(jws_open(jws, text, strlen(text)), STATUS_OK);
    cr_assert_str_eq(jws->type, EVIDENCE_TYPE);
    for (size_t i = 0; i < audit.count; i++) {
        if (strcmp(audit.kids[i], jws->kid) == 0) {
            verified = jws_verify(jws, text, &audit.keys[i]);
        }
    }
    cr_assert(verified, "kid %s", jws->kid);
}

static const char *member(const json_t *payload, const char *name)
{
    return json_string_value(json_object_get(payload, name));
}

/* The path from an object to its batch. */
static void expect_in_batch(json_t *object, const json_t *batch)
{
    struct merkle_hash path[MERKLE_PROOF_MAX];
    struct merkle_hash leaf;
    struct merkle_hash root;
    json_t *place = json_incref(json_object_get(object, "batch"));
    const json_t *list = json_object_get(place, "path");
    const json_t *sums = json_object_get(batch, "erasures");
    cr_assert_str_eq(member(place, "epoch_cert_id"), member(batch, "cert_id"));
    cr_assert_str_eq(member(place, "objects_root"), member(sums, "objects_root"));
    cr_assert(hex_decode(member(sums, "objects_root"), 64, root.bytes, 32));
    for (size_t i = 0; i < json_array_size(list); i++) {
        cr_assert(hex_decode(json_string_value(json_array_get(list, i)), 64, path[i].bytes, 32));
    }
    size_t bytes = 0;
    cr_assert_eq(json_object_del(object, "batch"), 0);
    char *text = json_canonical(object, &bytes);
    merkle_leaf(text, bytes, &leaf);
    cr_assert(merkle_inclusion_verify((uint64_t)json_integer_value(json_object_get(place, "leaf_index")),
                                      (uint64_t)json_integer_value(json_object_get(sums, "count")), &leaf, path,
                                      json_array_size(list), &root));
    free(text);
    json_decref(place);
}

/* The entry names the certificate, and is in the ledger that the checkpoint signs for. */
static void expect_in_ledger(const Trilith__CertGetReply *reply, const Trilith__Certificate *own)
{
    struct checkpoint head;
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    struct merkle_hash leaf;
    char expected[EVIDENCE_ENTRY_BYTES];
    json_t *entry = json_from_canonical((const char *)reply->ledger_entry.data, reply->ledger_entry.len);
    cr_assert_not_null(entry);
    uint64_t epoch = (uint64_t)json_integer_value(json_object_get(entry, "epoch"));
    size_t bytes = evidence_entry(own->id, own->type, epoch, own->jws, strlen(own->jws), expected);
    cr_assert_eq(bytes, reply->ledger_entry.len);
    cr_assert_arr_eq(expected, reply->ledger_entry.data, bytes);
    cr_assert_eq(checkpoint_open(reply->checkpoint, strlen(reply->checkpoint), audit.keys, audit.count, &head),
                 STATUS_OK);
    cr_assert_str_eq(head.origin, audit.origin);
    cr_assert_eq(head.size, reply->ledger_size);
    merkle_leaf(reply->ledger_entry.data, reply->ledger_entry.len, &leaf);
    for (size_t i = 0; i < reply->n_proof; i++) {
        memcpy(proof[i].bytes, reply->proof[i].data, 32);
    }
    cr_assert(merkle_inclusion_verify(own->ledger_index, head.size, &leaf, proof, reply->n_proof, &head.root));
    json_decref(entry);
}

/* Everything that an auditor would look at. The payload is the caller's. */
static json_t *verify(uint64_t erasure_id, uint64_t seq)
{
    struct jws jws;
    struct jws batch;
    keys_fetch();
    cr_assert_eq(cert_get(erasure_id, seq), STATUS_OK);
    const Trilith__CertGetReply *reply = REPLY(CertGetReply);
    open_verified(&jws, reply->certificate->jws);
    json_t *payload = json_deep_copy(jws.payload);
    cr_assert_str_eq(member(payload, "cert_id"), reply->certificate->id);
    cr_assert_eq(json_integer_value(json_object_get(payload, "seq")), (json_int_t)reply->certificate->seq);
    if (reply->batch != NULL) {
        open_verified(&batch, reply->batch->jws);
        expect_in_batch(jws.payload, batch.payload);
        expect_in_ledger(reply, reply->batch);
        jws_close(&batch);
    } else {
        expect_in_ledger(reply, reply->certificate);
    }
    jws_close(&jws);
    return payload;
}

/* All certificates have numbers without gaps, every one verifies, and no erasure has two that do not name one
 * another. */
static void verify_all(void)
{
    uint64_t count = state_cluster(life.state)->certificates;
    uint64_t erasures[256];
    size_t erasure_count = 0;
    for (uint64_t seq = 1; seq <= count; seq++) {
        json_decref(verify(0, seq));
        uint64_t erasure = REPLY(CertGetReply)->certificate->erasure_id;
        for (size_t i = 0; erasure != 0 && i < erasure_count; i++) {
            cr_assert_neq(erasures[i], erasure, "certified twice");
        }
        if (erasure != 0 && erasure_count < ARRAY_LENGTH(erasures)) {
            erasures[erasure_count++] = erasure;
        }
    }
    cr_assert_eq(cert_get(0, count + 1), STATUS_NOT_FOUND);
}

static const Trilith__EvidenceStatus *evidence_status(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    return REPLY(ClusterStatusReply)->evidence;
}

static void world_setup(void)
{
    setup();
    register_nodes();
    create_tenant_and_bucket();
}

TestSuite(certifier, .init = world_setup, .fini = call_teardown, .timeout = 240);

/* ---- issuing ----------------------------------------------------------------------------------- */

Test(certifier, the_first_leaf_is_the_manifest_of_the_first_key)
{
    run_ms(2000);
    json_t *manifest = verify(0, 1);
    cr_assert_str_eq(member(manifest, "type"), "key-manifest");
    cr_assert_eq(REPLY(CertGetReply)->certificate->ledger_index, 0);
    const json_t *key = json_array_get(json_object_get(manifest, "keys"), 0);
    char hex[65];
    hex_encode(audit.keys[0].bytes, 32, hex);
    cr_assert_str_eq(member(key, "public_key"), hex);
    cr_assert_str_eq(member(key, "kid"), audit.kids[0]);
    cr_assert_eq(json_array_size(json_object_get(manifest, "keys")), 1);
    json_decref(manifest);
    cr_assert_eq(strncmp(audit.origin, "trilith/", 8), 0);
    cr_assert_eq(strlen(audit.origin), 8u + 32u);
    cr_assert_str_empty(evidence_status()->message);
}

Test(certifier, a_deletion_ends_with_a_certificate)
{
    uint64_t erasure = put_and_delete(1);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(2000);
    json_t *payload = verify(erasure, 0);
    cr_assert_eq(REPLY(CertGetReply)->n_attestations, 3, "one of each disk of the PG");
    cr_assert_str_eq(member(payload, "type"), "object-erasure");
    cr_assert_str_eq(member(payload, "result"), "ERASED");
    cr_assert_str_eq(member(json_object_get(payload, "request"), "reason_code"), "delete");
    cr_assert_str_eq(member(json_object_get(payload, "issuer"), "org"), "Example GmbH");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(payload, "gateways"), "acked")), NODES);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(payload, "crypto"), "epoch")), 1);
    cr_assert(json_is_true(json_object_get(
        json_array_get(json_object_get(json_object_get(payload, "verification"), "checks"), 0), "performed")));
    json_decref(payload);
    cr_assert_eq(evidence_status()->certificates, 3);
    cr_assert_eq(evidence_status()->certificates_due, 0);
    cr_assert_eq(evidence_status()->ledger_size, 2);
    verify_all();
}

/* Each of the three conditions alone holds it back. */
Test(certifier, waits_until_wipes_epoch_and_gateways_are_done)
{
    uint64_t erasure = put_and_delete(1);
    gateways_let_go();
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_ms(2000);
    cr_assert_not(is_certified(erasure), "not wiped");
    wipe_all();
    run_ms(2000);
    cr_assert(is_certified(erasure));

    erasure = put_and_delete(2);
    wipe_all();
    gateways_let_go();
    run_ms(2000);
    cr_assert_not(is_certified(erasure), "the key stands in the vault's epoch");
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_ms(2000);
    cr_assert(is_certified(erasure));

    erasure = put_and_delete(3);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    for (uint32_t i = 1; i < NODES; i++) {
        node_lets_go(i, state_applied_index(life.state));
    }
    run_ms(3000);
    cr_assert_not(is_certified(erasure), "one gateway may have the key");
    cr_assert_eq(evidence_status()->certificates_due, 1);
    node_lets_go(NODES, state_applied_index(life.state));
    run_ms(2000);
    cr_assert(is_certified(erasure));
    verify_all();
}

Test(certifier, a_gateway_that_says_nothing_holds_it_back_for_its_lease)
{
    uint64_t erasure = put_and_delete(1);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_ms(20000);
    cr_assert_not(is_certified(erasure));
    run_ms(12000); /* key_lease is 30 s. */
    json_t *payload = verify(erasure, 0);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(payload, "gateways"), "acked")), 0);
    cr_assert_not(json_is_null(json_object_get(json_object_get(payload, "crypto"), "lease_expired_at")));
    json_decref(payload);
}

Test(certifier, many_are_certified_in_batches)
{
    uint64_t erasures[100];
    for (size_t i = 0; i < ARRAY_LENGTH(erasures); i++) {
        erasures[i] = put_and_delete((uint8_t)(i + 1));
    }
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(10000);
    for (size_t i = 0; i < ARRAY_LENGTH(erasures); i++) {
        cr_assert(is_certified(erasures[i]), "%zu", i);
    }
    cr_assert_leq(state_cluster(life.state)->ledger_size, 8, "%llu",
                  (unsigned long long)state_cluster(life.state)->ledger_size);
    verify_all();
}

Test(certifier, what_was_overwritten_is_certified_too)
{
    uint8_t leaf[32];
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(put_object("a", 2, leaf), STATUS_OK);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(2000);
    Trilith__CertListRequest list;
    trilith__cert_list_request__init(&list);
    char tenant[] = "acme";
    list.max = 10;
    list.tenant = tenant;
    cr_assert_eq(CALL(CERT_LIST, &list), STATUS_OK);
    cr_assert_eq(REPLY(CertListReply)->n_certificates, 1);
    json_t *payload = verify(0, REPLY(CertListReply)->certificates[0]->seq);
    cr_assert_str_eq(member(json_object_get(payload, "request"), "reason_code"), "overwrite");
    json_decref(payload);
}

/* ---- the KMS ----------------------------------------------------------------------------------- */

Test(certifier, certificates_wait_for_a_kms_that_is_away)
{
    run_ms(2000);
    uint64_t erasure = put_and_delete(1);
    fake_kms.is_away = true;
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(10000);
    cr_assert_not(is_certified(erasure));
    cr_assert_not_null(strstr(evidence_status()->message, "unplugged"), "%s", evidence_status()->message);
    cr_assert_eq(evidence_status()->certificates_due, 1);
    fake_kms.is_away = false;
    run_ms(7000);
    cr_assert(is_certified(erasure));
    cr_assert_str_empty(evidence_status()->message);
    verify_all();
}

Test(certifier, without_ed25519_certificates_wait_and_all_else_goes_on)
{
    call_teardown();
    fake_kms.lacks_ed25519 = true;
    world_setup();
    uint64_t erasure = put_and_delete(1);
    wipe_all();
    gateways_let_go();
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_ms(20000);
    cr_assert_not_null(strstr(evidence_status()->message, "lacks Ed25519"), "%s", evidence_status()->message);
    cr_assert_eq(evidence_status()->certificates, 0);
    cr_assert_eq(evidence_status()->certificates_due, 1);
    fake_kms.lacks_ed25519 = false; /* Another token was put in. */
    run_ms(8000);
    cr_assert(is_certified(erasure));
    verify_all();
}

Test(certifier, another_key_file_signs_nothing)
{
    run_ms(2000);
    uint64_t erasure = put_and_delete(1);
    fake_kms.has_other_keys = true;
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(10000);
    cr_assert_not(is_certified(erasure));
    cr_assert_not_null(strstr(evidence_status()->message, "another signing key"), "%s", evidence_status()->message);
    fake_kms.has_other_keys = false;
    run_ms(7000);
    cr_assert(is_certified(erasure));
}

/* ---- rotation ---------------------------------------------------------------------------------- */

static enum status rotate(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    return CALL(SIGNING_KEY_ROTATE, &empty);
}

/* How many keys have signed the last checkpoint. */
static size_t checkpoint_signatures(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    size_t count = 0;
    cr_assert_eq(CALL(LEDGER_HEAD, &empty), STATUS_OK);
    for (const char *at = REPLY(LedgerHeadReply)->checkpoint; (at = strstr(at, "\xe2\x80\x94 ")) != NULL; at++) {
        count++;
    }
    return count;
}

static uint64_t certify_one(uint8_t number)
{
    uint64_t erasure = put_and_delete(number);
    wipe_all();
    cr_assert_eq(close_epoch(), STATUS_OK);
    gateways_let_go();
    run_ms(3000);
    cr_assert(is_certified(erasure));
    return erasure;
}

Test(certifier, a_new_key_is_vouched_for_by_the_one_before)
{
    run_ms(2000);
    uint64_t before = certify_one(1);
    cr_assert_eq(checkpoint_signatures(), 1);
    cr_assert_eq(rotate(), STATUS_OK);
    cr_assert_eq(REPLY(SigningKeyListReply)->n_keys, 2);
    cr_assert_eq(REPLY(SigningKeyListReply)->keys[0]->number, 2);
    cr_assert_neq(REPLY(SigningKeyListReply)->keys[1]->retired_ms, 0);
    keys_fetch();
    json_t *manifest = verify(0, state_cluster(life.state)->certificates);
    cr_assert_str_eq(member(manifest, "type"), "key-manifest");
    cr_assert_str_eq(member(json_object_get(manifest, "issuer"), "kid"), audit.kids[1], "signed by the key before");
    const json_t *keys = json_object_get(manifest, "keys");
    cr_assert_eq(json_array_size(keys), 2);
    cr_assert_str_eq(member(json_array_get(keys, 0), "kid"), audit.kids[0]);
    json_decref(manifest);
    cr_assert_eq(checkpoint_signatures(), 2);

    uint64_t after = certify_one(2);
    json_t *payload = verify(after, 0);
    cr_assert_str_eq(member(json_object_get(payload, "issuer"), "kid"), audit.kids[0]);
    json_decref(payload);
    cr_assert_eq(checkpoint_signatures(), 2);
    run_ms(SIGNING_OVERLAP_MS);
    (void)certify_one(3);
    cr_assert_eq(checkpoint_signatures(), 1, "the overlap is over");
    json_decref(verify(before, 0));
    verify_all();
}

Test(certifier, a_rotation_fails_when_the_kms_is_away)
{
    run_ms(2000);
    fake_kms.is_away = true;
    cr_assert_eq(rotate(), STATUS_KEY_AWAY);
    fake_kms.is_away = false;
    run_ms(10000);
    cr_assert_eq(state_cluster(life.state)->signing_key, 1, "and nothing comes of it later");
    cr_assert_eq(rotate(), STATUS_OK);
    verify_all();
}

/* ---- restarts ---------------------------------------------------------------------------------- */

/* End the service at some moment of a certification, lose what was not durable, and go on. */
static void certify_through_crash(unsigned steps)
{
    uint64_t erasures[6];
    for (uint8_t i = 0; i < ARRAY_LENGTH(erasures); i++) {
        erasures[i] = put_and_delete((uint8_t)(i + 1));
    }
    wipe_all();
    gateways_let_go();
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    static struct probe rotation;
    static struct probe closing;
    START(&closing, EPOCH_CLOSE, &empty);
    START(&rotation, SIGNING_KEY_ROTATE, &empty);
    for (unsigned i = 0; i < steps; i++) {
        (void)sim_loop_step(sim);
    }
    crash(steps + 1);
    start();
    gateways_let_go();
    cr_assert_eq(close_epoch(), STATUS_OK);
    run_ms(8000);
    for (uint8_t i = 0; i < ARRAY_LENGTH(erasures); i++) {
        cr_assert(is_certified(erasures[i]), "after %u steps", steps);
    }
    cr_assert_eq(evidence_status()->certificates_due, 0);
    verify_all();
    uint64_t certificates = state_cluster(life.state)->certificates;
    run_ms(5000);
    cr_assert_eq(state_cluster(life.state)->certificates, certificates, "nothing is made twice");
    probe_clear(&rotation);
    probe_clear(&closing);
}

Test(certifier, a_restart_at_any_moment_leaves_no_gap_and_no_duplicate)
{
    for (unsigned steps = 0; steps < CRASH_STEPS; steps++) {
        if (steps > 0) {
            call_teardown();
            memset(&fake_kms, 0, sizeof(fake_kms));
            world_setup();
        }
        certify_through_crash(steps);
    }
}

/* ---- reads ------------------------------------------------------------------------------------- */

Test(certifier, what_is_asked_for_wrongly_is_refused)
{
    run_ms(2000);
    Trilith__LedgerReadRequest read = TRILITH__LEDGER_READ_REQUEST__INIT;
    Trilith__AttestationGetRequest attestation = TRILITH__ATTESTATION_GET_REQUEST__INIT;
    uint8_t hash[32] = {1};
    Trilith__CertGetRequest get;
    char id[] = "nonsense";
    trilith__cert_get_request__init(&get);
    get.id = id;
    cr_assert_eq(CALL(CERT_GET, &get), STATUS_NOT_FOUND);
    cr_assert_eq(cert_get(0, 0), STATUS_NOT_FOUND);
    read.max = 1025;
    cr_assert_eq(CALL(LEDGER_READ, &read), STATUS_INVALID);
    read.max = 10;
    cr_assert_eq(CALL(LEDGER_READ, &read), STATUS_OK);
    cr_assert_eq(REPLY(LedgerReadReply)->n_entries, 1);
    cr_assert_eq(CALL(ATTESTATION_GET, &attestation), STATUS_INVALID);
    attestation.sha256 = (ProtobufCBinaryData){.data = hash, .len = sizeof(hash)};
    cr_assert_eq(CALL(ATTESTATION_GET, &attestation), STATUS_NOT_FOUND);
}

Test(certifier, the_attestations_that_a_certificate_names_can_be_fetched_and_verified)
{
    uint64_t erasure = certify_one(1);
    uint8_t hashes[8][32];
    cr_assert_eq(cert_get(erasure, 0), STATUS_OK);
    size_t count = REPLY(CertGetReply)->n_attestations;
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < count; i++) {
        memcpy(hashes[i], REPLY(CertGetReply)->attestations[i].data, 32);
    }
    for (size_t i = 0; i < count; i++) {
        Trilith__AttestationGetRequest request = TRILITH__ATTESTATION_GET_REQUEST__INIT;
        struct attestation attestation;
        struct attestation_entry entry;
        struct public_key key;
        uint8_t hash[32];
        request.sha256 = (ProtobufCBinaryData){.data = hashes[i], .len = 32};
        cr_assert_eq(CALL(ATTESTATION_GET, &request), STATUS_OK);
        const Trilith__AttestationGetReply *reply = REPLY(AttestationGetReply);
        sha256(reply->jws.data, reply->jws.len, hash);
        cr_assert_arr_eq(hash, hashes[i], 32);
        memcpy(key.bytes, reply->public_key.data, 32);
        cr_assert_eq(attestation_open(&attestation, reply->jws.data, reply->jws.len, &key), STATUS_OK);
        cr_assert_str_eq(attestation.node, reply->node);
        cr_assert(attestation_find(&attestation, erasure, &entry));
        cr_assert_eq(entry.wiped, 1);
        attestation_close(&attestation);
    }
}
