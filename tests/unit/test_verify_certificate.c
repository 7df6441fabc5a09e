/* test_verify_certificate.c - certificates made as the service makes them, with everything beside them, and then
 * damaged one by one: each is refused, and what is said names the damage. What is only missing is not refused, but
 * told. */
#include "evidence_world.h"

#define ISSUER 1u
#define NODE   9u

static struct memory_files memory;
static json_t *objects[3];
static json_t *batch;
static struct public_key issuer;
static struct verify_report report;
static char attestation_name[96];

/* ---- a round of certificates ------------------------------------------------------------------- */

/* The node's attestation about two wiped copies and one that was never held; its SHA-256 as text. */
static char *attestation_of(uint32_t wiped, uint32_t never_held, uint64_t erasure, uint8_t disk, char hex[65])
{
    Trilith__WipeResult results[8];
    Trilith__WipeResult *pointers[8];
    Trilith__WipeTechnique asked[8] = {0};
    uint8_t chunk[16] = {1};
    uint8_t digest[32] = {2};
    struct key seed = seed_of(NODE);
    struct attestation_facts facts = {.node = "node1",
                                      .boot_id = "",
                                      .sw_digest = "",
                                      .disk_id = 5,
                                      .asked = asked,
                                      .started_ms = 1767323045000,
                                      .finished_ms = 1767323046000};
    memset(facts.disk_uuid.bytes, disk, sizeof(facts.disk_uuid.bytes));
    for (uint32_t i = 0; i < wiped + never_held; i++) {
        trilith__wipe_result__init(&results[i]);
        results[i].erasure_id = erasure;
        results[i].chunk_id = (ProtobufCBinaryData){sizeof(chunk), chunk};
        results[i].outcome = i < wiped ? TRILITH__WIPE_OUTCOME__WIPE_WIPED : TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD;
        if (i < wiped) {
            results[i].bytes = 4096;
            results[i].digest = (ProtobufCBinaryData){sizeof(digest), digest};
        }
        pointers[i] = &results[i];
    }
    char *jws = attestation_make(&facts, pointers, wiped + never_held, &seed);
    cr_assert_not_null(jws);
    uint8_t hash[SHA256_BYTES];
    sha256(jws, strlen(jws), hash);
    hex_encode(hash, sizeof(hash), hex);
    return jws;
}

static void put_attestation(uint32_t wiped, uint32_t never_held, uint64_t erasure, uint8_t disk)
{
    char hex[65];
    char *jws = attestation_of(wiped, never_held, erasure, disk, hex);
    json_t *replica = json_array_get(json_object_get(objects[1], "replicas"), 0);
    json_object_set_new(replica, "attestations", json_pack("[s]", hex));
    snprintf(attestation_name, sizeof(attestation_name), "attestations/%s.jws", hex);
    memory_put_text(&memory, attestation_name, jws);
    free(jws);
}

static void put_jws(const char *name, json_t *payload)
{
    char *jws = certificate_sign(payload, ISSUER, "c/1");
    memory_put_text(&memory, name, jws);
    free(jws);
}

/* Name the object: the opening's reference into the certificate. */
static void put_opening_reference(void)
{
    uint8_t text[16 + 6 + 1 + 3];
    uint8_t salt[SHA256_BYTES];
    uint8_t reference[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    for (unsigned i = 0; i < 16; i++) {
        text[i] = (uint8_t)i;
    }
    memcpy(text + 16, "photos\0cat", 10);
    memset(salt, 0x77, sizeof(salt));
    hmac_sha256(salt, sizeof(salt), text, sizeof(text), reference);
    hex_encode(reference, sizeof(reference), hex);
    json_object_set_new(json_object_get(objects[1], "subject"), "object_ref", json_string(hex));
}

/* A ledger of three entries whose second is the batch's. */
static void put_proof(void)
{
    struct merkle_hash leaves[3];
    struct merkle_hash root;
    struct tlog_proof proof = {.index = 1};
    char entry[512];
    size_t bytes = entry_text(batch, memory_find(&memory, "batch.jws")->data, entry);
    merkle_leaf("one", 3, &leaves[0]);
    merkle_leaf(entry, bytes, &leaves[1]);
    merkle_leaf("three", 5, &leaves[2]);
    merkle_root_of(leaves, 3, &root);
    proof.hash_count = merkle_path_of(leaves, 3, 1, proof.hashes);
    char *note = checkpoint_sign(ORIGIN, 3, &root, ISSUER);
    proof.note = note;
    proof.note_bytes = strlen(note);
    char *text = tlog_proof_write(&proof);
    memory_put_text(&memory, "proof.tlog-proof", text);
    memory_put_text(&memory, "ledger-entry.json", entry);
    free(text);
    free(note);
}

/* Issue what `objects` say: batch, signatures, ledger. */
static void issue(void)
{
    for (size_t i = 0; i < 3; i++) {
        (void)json_object_del(objects[i], "batch");
    }
    json_decref(batch);
    batch = batch_payload(objects, 3, 13, 100);
    put_jws("certificate.jws", objects[1]);
    put_jws("batch.jws", batch);
    put_proof();
}

static void setup(void)
{
    char pem[PUBLIC_KEY_PEM_BYTES];
    struct public_key node = public_key_of(NODE);
    cr_assert_eq(keys_start_process(), STATUS_OK);
    memory_init(&memory);
    issuer = public_key_of(ISSUER);
    for (unsigned i = 0; i < 3; i++) {
        objects[i] = object_payload(10 + i, 200 + i);
    }
    batch = NULL;
    put_attestation(2, 1, 7, 0x10);
    put_opening_reference();
    public_key_to_pem(&node, pem);
    memory_put_text(&memory, "nodes/node1.pem", pem);
    issue();
}

static void teardown(void)
{
    for (size_t i = 0; i < 3; i++) {
        json_decref(objects[i]);
    }
    json_decref(batch);
    memory_deinit(&memory);
}

TestSuite(verify_certificate, .init = setup, .fini = teardown);

static enum status verify_with(const char *opening, const struct public_key *key)
{
    const struct memory_file *file = memory_find(&memory, "certificate.jws");
    struct certificate_question question = {.text = file->data,
                                            .text_bytes = file->bytes,
                                            .keys = key,
                                            .key_count = 1,
                                            .beside = &memory.files,
                                            .opening = opening,
                                            .opening_bytes = opening == NULL ? 0 : strlen(opening)};
    json_t *payload = NULL;
    enum status status = verify_certificate(&question, &report, &payload);
    json_decref(payload);
    cr_assert_eq(status == STATUS_OK, report.problem[0] == '\0');
    return status;
}

static enum status verify(void)
{
    return verify_with(NULL, &issuer);
}

static void expect_refused(const char *words)
{
    cr_assert_eq(verify(), STATUS_DENIED, "not refused: %s", words);
    cr_assert_not_null(strstr(report.problem, words), "\"%s\" instead of \"%s\"", report.problem, words);
}

static bool has_line(const struct verify_lines *lines, const char *words)
{
    for (size_t i = 0; i < lines->count; i++) {
        if (strstr(lines->text[i], words) != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- good ones --------------------------------------------------------------------------------- */

#define SALT "7777777777777777777777777777777777777777777777777777777777777777"
#define OPENING                                                                                                        \
    "{\"bucket\":\"photos\",\"key\":\"Y2F0\",\"ref_salt\":\"" SALT                                                     \
    "\",\"version_id\":\"000102030405060708090a0b0c0d0e0f\"}"

Test(verify_certificate, a_good_one_with_everything_beside_it)
{
    cr_assert_eq(verify_with(OPENING, &issuer), STATUS_OK, "%s", report.problem);
    cr_assert_eq(report.unchecked.count, 0, "%s", report.unchecked.text[0]);
    cr_assert(has_line(&report.checked, "signed by key 1"));
    cr_assert(has_line(&report.checked, "batch.jws is signed"));
    cr_assert(has_line(&report.checked, "Merkle path"));
    cr_assert(has_line(&report.checked, "entry 1 of the ledger of 3"));
    cr_assert(has_line(&report.checked, "attestations (1)"));
    cr_assert(has_line(&report.checked, "the attestations of 1 of 1 disks"));
    cr_assert(has_line(&report.checked, "object of the opening"));
}

Test(verify_certificate, what_is_missing_is_told_and_not_refused)
{
    static const char *const pairs[][2] = {{"proof.tlog-proof", "stands in the ledger"},
                                           {"nodes/node1.pem", "the nodes' keys are not in nodes/"},
                                           {"batch.jws", "that the batch states this root"}};
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        memory_remove(&memory, pairs[i][0]);
        cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
        cr_assert(has_line(&report.unchecked, pairs[i][1]), "%s", pairs[i][1]);
    }
    cr_assert_not(has_line(&report.checked, "attestations"));
    memory_remove(&memory, attestation_name);
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.unchecked, "they are not in attestations/"));
    cr_assert(has_line(&report.checked, "Merkle path"));
    cr_assert(has_line(&report.unchecked, "which object it is about"));
}

Test(verify_certificate, without_the_entry_beside_it_the_batch_gives_it)
{
    memory_remove(&memory, "ledger-entry.json");
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.checked, "entry 1 of the ledger of 3"));
}

/* ---- tampering --------------------------------------------------------------------------------- */

Test(verify_certificate, any_changed_byte_is_refused)
{
    struct memory_file *file = memory_find(&memory, "certificate.jws");
    for (size_t i = 0; i < file->bytes; i++) {
        char kept = file->data[i];
        file->data[i] = kept == 'A' ? 'B' : 'A';
        cr_assert_eq(verify(), STATUS_DENIED, "byte %zu", i);
        file->data[i] = kept;
    }
    cr_assert_eq(verify(), STATUS_OK);
}

Test(verify_certificate, any_changed_byte_beside_it_is_refused)
{
    const char *const names[] = {"batch.jws", "proof.tlog-proof", "ledger-entry.json", attestation_name};
    for (size_t n = 0; n < ARRAY_LENGTH(names); n++) {
        struct memory_file *file = memory_find(&memory, names[n]);
        for (size_t i = 0; i < file->bytes; i += n == 0 ? 7 : 1) {
            char kept = file->data[i];
            file->data[i] = kept == 'A' ? 'B' : 'A';
            cr_assert_eq(verify(), STATUS_DENIED, "%s byte %zu", names[n], i);
            file->data[i] = kept;
        }
    }
}

Test(verify_certificate, another_issuer_is_refused)
{
    struct public_key other = public_key_of(2);
    cr_assert_eq(verify_with(NULL, &other), STATUS_DENIED);
    cr_assert_not_null(strstr(report.problem, "signature"));
    char *jws = certificate_sign(objects[1], 2, "c/1");
    memory_put_text(&memory, "certificate.jws", jws);
    free(jws);
    expect_refused("signature of the certificate");
}

Test(verify_certificate, a_batch_resigned_by_others_is_refused)
{
    char *jws = certificate_sign(batch, 2, "c/1");
    memory_put_text(&memory, "batch.jws", jws);
    free(jws);
    expect_refused("signature of batch.jws");
}

Test(verify_certificate, other_batches_are_refused)
{
    json_object_set_new(batch, "cert_id", json_string(cert_id_of(101)));
    put_jws("batch.jws", batch);
    expect_refused("another batch's");
    issue();
    json_object_set_new(json_object_get(batch, "erasures"), "objects_root", json_string(HEX_A));
    put_jws("batch.jws", batch);
    expect_refused("another root");
    issue();
    json_object_set_new(json_object_get(batch, "erasures"), "first_seq", json_integer(11));
    json_object_set_new(json_object_get(batch, "erasures"), "last_seq", json_integer(13));
    put_jws("batch.jws", batch);
    expect_refused("its number 11");
}

Test(verify_certificate, a_path_that_leads_elsewhere_is_refused)
{
    json_t *path = json_object_get(json_object_get(objects[1], "batch"), "path");
    json_array_set_new(path, 0, json_string(HEX_A));
    put_jws("certificate.jws", objects[1]);
    expect_refused("batch.path");
    memory_remove(&memory, "batch.jws");
    expect_refused("batch.path");
}

Test(verify_certificate, a_member_changed_after_the_batch_was_made_is_refused)
{
    json_object_set_new(json_object_get(objects[1], "subject"), "size", json_integer(1));
    put_jws("certificate.jws", objects[1]);
    expect_refused("batch.path");
}

Test(verify_certificate, a_proof_of_another_ledger_or_key_is_refused)
{
    struct merkle_hash leaf;
    char entry[512];
    struct tlog_proof proof = {.index = 0};
    size_t bytes = entry_text(batch, memory_find(&memory, "batch.jws")->data, entry);
    merkle_leaf(entry, bytes, &leaf);
    for (unsigned i = 0; i < 2; i++) {
        char *note = checkpoint_sign(i == 0 ? "trilith/other" : ORIGIN, 1, &leaf, i == 0 ? ISSUER : 3);
        proof.note = note;
        proof.note_bytes = strlen(note);
        char *text = tlog_proof_write(&proof);
        memory_put_text(&memory, "proof.tlog-proof", text);
        free(text);
        free(note);
        expect_refused(i == 0 ? "another cluster" : "not signed by the keys given");
    }
}

/* ---- attestations ------------------------------------------------------------------------------ */

Test(verify_certificate, fewer_copies_attested_than_claimed_is_refused)
{
    put_attestation(1, 2, 7, 0x10);
    issue();
    expect_refused("its attestations say 1");
    /* The bytes fit, the copies do not. */
    json_t *replica = json_array_get(json_object_get(objects[1], "replicas"), 0);
    json_t *readback = json_array_get(json_object_get(json_object_get(objects[1], "verification"), "checks"), 0);
    json_object_set_new(replica, "bytes", json_integer(4096));
    json_object_set_new(readback, "bytes", json_integer(4096));
    issue();
    expect_refused("its attestations say 1");
}

Test(verify_certificate, attestations_of_another_erasure_or_disk_are_refused)
{
    put_attestation(2, 1, 8, 0x10);
    issue();
    expect_refused("says nothing of erasure 7");
    put_attestation(2, 1, 7, 0x20);
    issue();
    expect_refused("is about the disk");
}

Test(verify_certificate, an_attestation_under_another_name_is_refused)
{
    char hex[65];
    char *jws = attestation_of(2, 1, 9, 0x10, hex);
    memory_put_text(&memory, attestation_name, jws);
    free(jws);
    expect_refused("does not have the SHA-256");
}

Test(verify_certificate, an_attestation_signed_by_another_node_is_refused)
{
    char pem[PUBLIC_KEY_PEM_BYTES];
    struct public_key other = public_key_of(8);
    struct public_key node = public_key_of(NODE);
    public_key_to_pem(&other, pem);
    memory_put_text(&memory, "nodes/node1.pem", pem);
    expect_refused("not signed by a key of the node node1");
    public_key_to_pem(&node, pem);
    memory_put_text(&memory, "nodes/node1+2.pem", pem);
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
    memory_put_text(&memory, "nodes/node1.pem", "junk");
    expect_refused("something else than public keys");
}

/* ---- the opening ------------------------------------------------------------------------------- */

Test(verify_certificate, openings)
{
    static const struct {
        const char *text;
        const char *words;
    } openings[] = {
        {"{\"name\":\"70686f746f7300636174\",\"ref_salt\":\"" SALT "\"}", NULL},
        {"{\"bucket\":\"photos\",\"key\":\"Y2F1\",\"ref_salt\":\"" SALT "\"}", "not about the object"},
        {"{\"bucket\":\"photo\",\"key\":\"Y2F0\",\"ref_salt\":\"" SALT "\"}", "not about the object"},
        {"{\"bucket\":\"photos\",\"key\":\"Y2F0\",\"ref_salt\":\"" HEX_A "\"}", "not about the object"},
        {"{\"bucket\":\"photos\",\"key\":\"Y2F0\",\"ref_salt\":\"" SALT "\",\"version_id\":\"ff\"}", "another version"},
        {"{\"bucket\":\"photos\",\"ref_salt\":\"" SALT "\"}", "the opening is not JSON with"},
        {"{\"bucket\":\"photos\",\"key\":\"Y2F0\"}", "the opening is not JSON with"},
        {"junk", "the opening is not JSON with"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(openings); i++) {
        enum status status = verify_with(openings[i].text, &issuer);
        cr_assert_eq(status, openings[i].words == NULL ? STATUS_OK : STATUS_DENIED, "%s", openings[i].text);
        cr_assert(openings[i].words == NULL || strstr(report.problem, openings[i].words) != NULL, "%s", report.problem);
    }
}

/* ---- form and rules: well signed, and refused -------------------------------------------------- */

/* Set the member at `path` (its parent must be there) to the JSON `value`, or remove it. */
static void change(json_t *payload, const char *path, const char *value)
{
    char parent[64] = "";
    const char *dot = strrchr(path, '.');
    if (dot != NULL) {
        memcpy(parent, path, (size_t)(dot - path));
    }
    json_t *at = payload;
    for (char *name = strtok(parent, "."); name != NULL; name = strtok(NULL, ".")) {
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(name)) : json_object_get(at, name);
    }
    const char *last = dot == NULL ? path : dot + 1;
    if (value == NULL) {
        (void)json_object_del(at, last);
    } else {
        json_object_set_new(at, last, json_loads(value, JSON_DECODE_ANY, NULL));
    }
}

Test(verify_certificate, every_required_member_is_required)
{
    static const char *const paths[] = {"schema",
                                        "type",
                                        "cert_id",
                                        "seq",
                                        "issued_at",
                                        "supersedes",
                                        "issuer",
                                        "issuer.org",
                                        "issuer.cluster_id",
                                        "issuer.software.build_sha256",
                                        "request.id",
                                        "request.plan_sha256",
                                        "claim.statement",
                                        "claim.technique",
                                        "result",
                                        "verification.checks",
                                        "residual",
                                        "not_claimed",
                                        "subject.object_ref",
                                        "subject.version_id",
                                        "crypto.punctured.at",
                                        "crypto.epoch_erased_at",
                                        "crypto.slots.pending",
                                        "crypto.copies.kms",
                                        "replicas",
                                        "replicas.0.disk",
                                        "replicas.0.attestations",
                                        "ever_held_total",
                                        "gateways.acked",
                                        "metadata.names_sealed"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        json_t *kept = json_deep_copy(objects[1]);
        change(objects[1], paths[i], NULL);
        if (strcmp(paths[i], "issuer") == 0) {
            json_decref(kept);
            continue; /* without it the certificate of this test can't name its key */
        }
        issue();
        cr_assert_eq(verify(), STATUS_DENIED, "%s", paths[i]);
        cr_assert(strstr(report.problem, "is missing") != NULL, "%s: %s", paths[i], report.problem);
        json_decref(objects[1]);
        objects[1] = kept;
    }
}

struct change_row {
    const char *path;
    const char *value;
    const char *words;
};

static void expect_changes_refused(const struct change_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *kept = json_deep_copy(objects[1]);
        change(objects[1], rows[i].path, rows[i].value);
        issue();
        cr_assert_eq(verify(), STATUS_DENIED, "%s = %s", rows[i].path, rows[i].value);
        cr_assert_not_null(strstr(report.problem, rows[i].words), "%s = %s: %s", rows[i].path, rows[i].value,
                           report.problem);
        json_decref(objects[1]);
        objects[1] = kept;
    }
}

Test(verify_certificate, members_of_a_wrong_kind_are_refused)
{
    static const struct change_row rows[] = {
        {"schema", "\"erasure-cert/2\"", "schema"},
        {"cert_id", "\"0189\"", "is not a UUID"},
        {"cert_id", "\"01890000-0000-7000-8000-00000000020A\"", "is not a UUID"},
        {"seq", "\"11\"", "is not a whole number"},
        {"seq", "-1", "is not a whole number"},
        {"issued_at", "\"2026-01-02 03:04:09\"", "is not a time"},
        {"issued_at", "\"2026-13-02T03:04:09.000Z\"", "is not a time"},
        {"issued_at", "\"2026-01-02T24:04:09.000Z\"", "is not a time"},
        {"issued_at", "null", "is not a time"},
        {"result", "\"DONE\"", "result"},
        {"result", "null", "result"},
        {"residual", "[1]", "is not a list of texts"},
        {"subject.object_ref", "\"aa\"", "is not a SHA-256"},
        {"subject.size", "null", "is not a whole number"},
        {"crypto.epoch_erased_at", "null", "is not a time"},
        {"replicas", "{}", "is not a list"},
        {"replicas.0.disk.uuid", "7", "replicas[0].disk.uuid is not a UUID"},
        {"replicas.0.attestations", "[\"../../etc/passwd\"]", "is not a list of hashes"},
        {"metadata.names_sealed", "\"no\"", "is not true or false"},
    };
    expect_changes_refused(rows, ARRAY_LENGTH(rows));
}

Test(verify_certificate, contradictions_are_refused)
{
    static const struct change_row rows[] = {
        {"seq", "0", "seq is 0"},
        {"ever_held_total", "4", "account for 3 places"},
        {"ever_held_total", "2", "account for 3 places"},
        {"replicas.0.chunks", "3", "account for 4 places"},
        {"replicas.0.state", "\"offline\"", "in the state \"offline\""},
        {"replicas.0.state", "\"never-held\"", "were overwritten"},
        {"replicas.0.state", "\"ce-only\"", "ce-only"},
        {"replicas.0.chunks", "0", "0 of its chunks"},
        {"replicas.0.attestations", "[]", "names no attestation"},
        {"replicas.0.bytes", "4096", "8192 bytes were read back"},
        {"request.requested_at", "\"2026-01-02T03:04:06.001Z\"", "request.requested_at"},
        {"crypto.punctured.at", "\"2026-01-02T03:04:07.001Z\"", "crypto.punctured.at"},
        {"crypto.epoch_erased_at", "\"2026-01-02T03:04:09.001Z\"", "crypto.epoch_erased_at"},
        {"crypto.lease_expired_at", "\"2026-01-02T03:04:09.001Z\"", "crypto.lease_expired_at"},
        {"verification.at", "\"2027-01-02T03:04:09.001Z\"", "verification.at"},
        {"crypto.slots.pending", "[0]", "crypto.slots does not add up"},
        {"crypto.slots", "{\"n\":3,\"t\":2,\"backend\":\"file\",\"destroyed\":[0],\"pending\":[1,2]}",
         "2 can rebuild it"},
        {"crypto.slots", "{\"n\":3,\"t\":2,\"backend\":\"file\",\"destroyed\":[0,1],\"pending\":[2]}", "SLOT_PENDING"},
        {"crypto.key_bits", "64", "strong key"},
        {"crypto.encrypted_since_creation", "false", "strong key"},
        {"crypto.copies.exports", "[{}]", "BACKUP_UNTIL"},
        {"gateways.acked", "3", "gateways may hold the key"},
        {"claim.method", "\"purge\"", "purge"},
        {"not_claimed", "[]", "does not claim"},
        {"residual", "[\"FTL_CIPHERTEXT\",\"VENDOR_FIRMWARE\",\"METADATA_UNTIL(x)\"]", "ROOT_SLOT_SOFTWARE"},
        {"residual", "[\"ROOT_SLOT_SOFTWARE\",\"VENDOR_FIRMWARE\",\"METADATA_UNTIL(x)\"]", "FTL_CIPHERTEXT"},
        {"residual", "[\"ROOT_SLOT_SOFTWARE\",\"FTL_CIPHERTEXT\",\"METADATA_UNTIL(x)\"]", "VENDOR_FIRMWARE"},
        {"residual", "[\"ROOT_SLOT_SOFTWARE\",\"FTL_CIPHERTEXT\",\"VENDOR_FIRMWARE\"]", "METADATA_UNTIL"},
        {"shared_chunks_retained", "2", "SHARED_CONTENT"},
    };
    expect_changes_refused(rows, ARRAY_LENGTH(rows));
}

Test(verify_certificate, readback_and_technique_without_any_copy_are_refused)
{
    json_t *replica = json_array_get(json_object_get(objects[1], "replicas"), 0);
    json_object_set_new(replica, "chunks", json_integer(0));
    json_object_set_new(replica, "never_held", json_integer(3));
    json_object_set_new(replica, "state", json_string("never-held"));
    json_object_set_new(replica, "bytes", json_integer(0));
    issue();
    expect_refused("counts none that was overwritten");
    json_object_set_new(json_object_get(objects[1], "verification"), "checks", json_array());
    issue();
    expect_refused("claims that copies were overwritten");
    json_object_set_new(json_object_get(objects[1], "claim"), "technique", json_string("cryptographic-erase"));
    put_attestation(0, 3, 7, 0x10);
    issue();
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
}

Test(verify_certificate, a_partial_one_may_have_lost_a_disk)
{
    json_t *replica = json_array_get(json_object_get(objects[1], "replicas"), 0);
    json_object_set_new(replica, "state", json_string("ce-only"));
    json_object_set_new(objects[1], "result", json_string("PARTIAL"));
    json_object_set_new(objects[1], "ever_held_total", json_integer(4));
    issue();
    expect_refused("REPLICA_OFFLINE");
    json_array_append_new(json_object_get(objects[1], "residual"), json_string("REPLICA_OFFLINE(1)"));
    issue();
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
}

Test(verify_certificate, another_kind_of_jws_is_no_certificate)
{
    struct key seed = seed_of(ISSUER);
    char *jws = jws_sign("approval+jws", "c/1", &seed, objects[1]);
    memory_put_text(&memory, "certificate.jws", jws);
    free(jws);
    expect_refused("not as a certificate");
    jws = jws_sign(CERTIFICATE_JWS_TYPE, "c/2", &seed, objects[1]);
    memory_put_text(&memory, "certificate.jws", jws);
    free(jws);
    expect_refused("one key in its header");
    memory_put_text(&memory, "certificate.jws", "");
    expect_refused("no compact JWS");
}

/* ---- approvals --------------------------------------------------------------------------------- */

static json_t *media_payload(void)
{
    json_t *payload = payload_of("media-sanitization", 20, cert_id_of(300));
    json_object_set_new(json_object_get(payload, "request"), "id", json_integer(4));
    json_object_set_new(json_object_get(payload, "request"), "plan_sha256", json_string(HEX_A));
    return payload;
}

static void add_approval(json_t *payload, const char *person, unsigned key, const char *plan)
{
    struct key seed = seed_of(key);
    json_t *approval =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "action", "approve", "at", "2026-01-02T03:04:05.000Z", "kind",
                  "disk", "person", person, "plan_sha256", plan, "request", 4, "subject", "7");
    char *jws = jws_sign(APPROVAL_TYPE, person, &seed, approval);
    json_array_append_new(json_object_get(json_object_get(payload, "request"), "approvals"), json_string(jws));
    json_decref(approval);
    free(jws);
}

Test(verify_certificate, two_people_must_have_approved_a_request)
{
    char pem[PUBLIC_KEY_PEM_BYTES];
    struct public_key key = public_key_of(30);
    json_t *payload = media_payload();
    memory_remove(&memory, "proof.tlog-proof");
    add_approval(payload, "ann", 30, HEX_A);
    put_jws("certificate.jws", payload);
    expect_refused("two different people");
    add_approval(payload, "ann", 30, HEX_A);
    put_jws("certificate.jws", payload);
    expect_refused("two different people");
    add_approval(payload, "ben", 31, HEX_A);
    put_jws("certificate.jws", payload);
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.unchecked, "people/ben.pem is not there"));
    public_key_to_pem(&key, pem);
    memory_put_text(&memory, "people/ann.pem", pem);
    cr_assert_eq(verify(), STATUS_OK, "%s", report.problem);
    memory_put_text(&memory, "people/ben.pem", pem);
    expect_refused("the approval of ben");
    json_decref(payload);
    payload = media_payload();
    add_approval(payload, "ann", 30, HEX_B);
    put_jws("certificate.jws", payload);
    expect_refused("another plan");
    json_decref(payload);
}
