/* test_evidence.c - what certificates say follows from the tables, field by field, and says no more: rendered over rows
 * that are written by hand. */
#include "meta/evidence.h"
#include "meta/registry.h"
#include "meta/tenants.h"
#include "tests/sim/sim_kv.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERASURE 77
#define TENANT  5
#define NOW_MS  UINT64_C(1767225600123) /* 2026-01-01T00:00:00.123Z */

static struct kv *kv;
static struct tables tables;
static const uint8_t cluster_id[16] = {0x6f, 0x1c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xe2};
static char kid[] = "6f1c0102030405060708090a0b0c0de2/1";
static Trilith__ErasureRecord erasure;
static uint8_t version[16];
static uint8_t reference[32];
static uint8_t plan[32];
static uint8_t hash[32];
static char access_key[] = "AKIAEXAMPLE000000000";
static char reason[] = "delete";

static struct evidence_issuer issuer_of(const char *backend)
{
    struct evidence_issuer issuer = {.organization = "Example GmbH",
                                     .cluster_id = cluster_id,
                                     .kid = kid,
                                     .now_ms = NOW_MS,
                                     .key_lease_ms = 30000,
                                     .slot_backend = backend,
                                     .software_version = "0.1.0"};
    (void)snprintf(issuer.software_sha256, sizeof(issuer.software_sha256), "%s",
                   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    return issuer;
}

static void rows_write(void)
{
    cr_assert_eq(kv_write(kv, tables.batch), STATUS_OK);
    kv_batch_clear(tables.batch);
}

static ProtobufCBinaryData bytes_of(uint8_t *data, size_t bytes)
{
    return (ProtobufCBinaryData){.data = data, .len = bytes};
}

/* Node `id` with one disk of the same number. */
static void node_put(uint32_t id, bool rotational)
{
    char name[16];
    char serial[16];
    char none[] = "";
    uint8_t uuid[16];
    Trilith__MapNode node = TRILITH__MAP_NODE__INIT;
    Trilith__MapDisk disk = TRILITH__MAP_DISK__INIT;
    Trilith__Medium medium;
    trilith__medium__init(&medium);
    memset(uuid, (int)id, sizeof(uuid));
    (void)snprintf(name, sizeof(name), "node%u", id);
    (void)snprintf(serial, sizeof(serial), "SN%u", id);
    node.id = id;
    node.name = name;
    node.rpc_address = node.s3_address = node.failure_domain = none;
    disk.id = id;
    disk.node_id = id;
    disk.uuid = bytes_of(uuid, sizeof(uuid));
    medium.serial = serial;
    medium.rotational = rotational;
    tables_put(&tables, key_node(id), &node);
    tables_put(&tables, key_disk(id), &disk);
    tables_put(&tables, key_medium(id), &medium);
}

static void wipes_put(uint32_t disk, uint32_t wiped, uint32_t never_held, uint32_t removed, bool dead,
                      Trilith__WipeTechnique technique)
{
    Trilith__DiskWipesRecord record = TRILITH__DISK_WIPES_RECORD__INIT;
    ProtobufCBinaryData attestation = bytes_of(hash, sizeof(hash));
    record.wiped = wiped;
    record.never_held = never_held;
    record.removed = removed;
    record.bytes = UINT64_C(1000) * wiped;
    record.dead = dead;
    record.technique = technique;
    record.node_id = disk;
    record.attestations = &attestation;
    record.n_attestations = removed > 0 ? 0 : 1;
    record.attestations_count = record.n_attestations;
    tables_put(&tables, key_disk_wipes(ERASURE, disk), &record);
}

static void epoch_put(uint64_t epoch, uint8_t commitment, uint64_t destroyed_ms)
{
    Trilith__EpochRecord record = TRILITH__EPOCH_RECORD__INIT;
    uint8_t bytes[32];
    memset(bytes, commitment, sizeof(bytes));
    record.epoch = epoch;
    record.commitment = bytes_of(bytes, sizeof(bytes));
    record.servers = 1;
    record.threshold = 1;
    record.destroyed = destroyed_ms != 0 ? 1 : 0;
    record.destroyed_ms = destroyed_ms;
    record.erasures_end = ERASURE + 1;
    tables_put(&tables, key_epoch(epoch), &record);
}

static void tenant_put(void)
{
    char name[] = "acme";
    Trilith__DekRecord dek = TRILITH__DEK_RECORD__INIT;
    Trilith__DekRecord *deks[1] = {&dek};
    Trilith__TenantRecord tenant;
    trilith__tenant_record__init(&tenant);
    dek.version = 2;
    dek.created_ms = NOW_MS - 900000;
    tenant.id = TENANT;
    tenant.name = name;
    tenant.deks = deks;
    tenant.n_deks = 1;
    tables_put(&tables, key_tenant(TENANT), &tenant);
}

static void erasure_put(void)
{
    tables_put(&tables, key_erasure(ERASURE), &erasure);
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    kv = sim_kv_open();
    cr_assert(tables_open(&tables, kv));
    memset(version, 0x11, sizeof(version));
    memset(reference, 0x22, sizeof(reference));
    memset(plan, 0x33, sizeof(plan));
    memset(hash, 0x44, sizeof(hash));
    trilith__erasure_record__init(&erasure);
    erasure.tenant_id = TENANT;
    erasure.requested_ms = NOW_MS - 60000;
    erasure.closed_ms = NOW_MS - 1000;
    erasure.reason = reason;
    erasure.chunks = 2;
    erasure.wipes_total = 6;
    erasure.wipes_done = 6;
    erasure.bucket_id = 9;
    erasure.version_id = bytes_of(version, sizeof(version));
    erasure.object_ref = bytes_of(reference, sizeof(reference));
    erasure.object_bytes = 5000000;
    erasure.created_ms = NOW_MS - 800000;
    erasure.suite = 1;
    erasure.dek_version = 2;
    erasure.page = 3;
    erasure.slot = 250;
    erasure.requested_by = access_key;
    erasure.plan_sha256 = bytes_of(plan, sizeof(plan));
    erasure.index = 400;
    erasure.punctured_index = 401;
    erasure.punctured_ms = NOW_MS - 59000;
    erasure_put();
    tenant_put();
    epoch_put(12, 0xaa, NOW_MS - 2000);
    epoch_put(13, 0xbb, 0);
    tables_put_number(&tables, key_erasures_end(ERASURE + 1), 12);
    for (uint32_t i = 1; i <= 3; i++) {
        node_put(i, false);
        wipes_put(i, 2, 0, 0, false, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    }
    rows_write();
}

static void teardown(void)
{
    tables_close(&tables);
    kv_close(kv);
}

TestSuite(evidence, .init = setup, .fini = teardown);

static json_t *render_with(const struct evidence_issuer *issuer, const struct evidence_object_parts *parts)
{
    json_t *payload = NULL;
    scratch_reset(&tables.scratch);
    cr_assert_eq(evidence_object(issuer, &tables, ERASURE, parts, &payload), STATUS_OK);
    return payload;
}

static const struct evidence_object_parts usual = {.id = "01900000-0000-7000-8000-000000000001",
                                                   .seq = 8,
                                                   .gateways = 4,
                                                   .gateways_acked = 4,
                                                   .key_refused = true,
                                                   .supersedes = ""};

static json_t *render(void)
{
    const struct evidence_issuer issuer = issuer_of("file");
    return render_with(&issuer, &usual);
}

/* ---- looking into a payload -------------------------------------------------------------------- */

static json_t *at(json_t *value, const char *path)
{
    char part[64];
    while (*path != '\0') {
        size_t length = strcspn(path, ".");
        cr_assert_lt(length, sizeof(part));
        memcpy(part, path, length);
        part[length] = '\0';
        value =
            part[0] >= '0' && part[0] <= '9' ? json_array_get(value, (size_t)atoi(part)) : json_object_get(value, part);
        cr_assert_not_null(value, "%s is missing", part);
        path += length + (path[length] == '.' ? 1 : 0);
    }
    return value;
}

static const char *text_at(json_t *value, const char *path)
{
    const char *text = json_string_value(at(value, path));
    cr_assert_not_null(text, "%s is no text", path);
    return text;
}

/* The members of an object, in order, with commas. */
static void expect_members(json_t *payload, const char *path, const char *expected)
{
    char members[1024] = "";
    const char *names[64];
    size_t count = 0;
    const char *name = NULL;
    json_t *member = NULL;
    json_object_foreach(at(payload, path), name, member)
    {
        size_t place = count++;
        cr_assert_lt(count, ARRAY_LENGTH(names));
        for (; place > 0 && strcmp(names[place - 1], name) > 0; place--) {
            names[place] = names[place - 1];
        }
        names[place] = name;
    }
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(members + strlen(members), sizeof(members) - strlen(members), "%s%s", i == 0 ? "" : ",",
                       names[i]);
    }
    cr_assert_str_eq(members, expected, "%s: %s", path, members);
}

static bool holds(json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0) {
            return true;
        }
    }
    return false;
}

static bool disclaims(json_t *payload, const char *part)
{
    json_t *list = at(payload, "not_claimed");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strstr(json_string_value(json_array_get(list, i)), part) != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- fields ------------------------------------------------------------------------------------ */

Test(evidence, an_object_has_exactly_its_fields)
{
    const struct merkle_hash leaf = {{1}};
    json_t *object = render();
    size_t bytes = 0;
    char *text = json_canonical(object, &bytes);
    json_t *place = evidence_batch_place("01900000-0000-7000-8000-000000000002", &leaf, 1, 0);
    char *joined = evidence_batch_join(text, bytes, place, &bytes);
    cr_assert_not_null(joined);
    json_t *payload = json_from_canonical(joined, bytes);
    cr_assert_not_null(payload, "canonical with its place in the batch");
    expect_members(payload, "",
                   "batch,cert_id,claim,crypto,ever_held_total,gateways,issued_at,issuer,metadata,not_claimed,replicas,"
                   "request,residual,result,schema,seq,shared_chunks_retained,subject,supersedes,type,verification");
    expect_members(payload, "issuer", "cluster_id,kid,org,software");
    expect_members(payload, "issuer.software", "build_sha256,name,version");
    expect_members(payload, "request",
                   "approvals,grace_until,id,legal_basis,legal_hold_checked,plan_sha256,reason_code,requested_at,"
                   "requested_by");
    expect_members(payload, "claim", "basis,method,scope,statement,technique");
    expect_members(payload, "verification", "at,by,checks,method");
    expect_members(payload, "subject", "chunk_count,created_at,object_ref,size,tenant_ref,version_id");
    expect_members(payload, "crypto",
                   "aead,copies,encrypted_since_creation,epoch,epoch_erased_at,key_bits,lease_expired_at,page,prf,"
                   "punctured,root_commit_new,root_commit_old,scheme,slot,slots");
    expect_members(payload, "crypto.punctured", "at,index,term");
    expect_members(payload, "crypto.slots", "backend,destroyed,n,pending,t");
    expect_members(payload, "crypto.copies", "escrow,exports,kms");
    expect_members(payload, "crypto.copies.kms", "effective_at,key_version,state");
    expect_members(payload, "replicas.0",
                   "attestations,attestations_chain,attestations_count,bytes,chunks,disk,never_held,node,state,"
                   "technique");
    expect_members(payload, "replicas.0.disk", "media,serial_ref,uuid,wwn_ref");
    expect_members(payload, "gateways", "acked,total");
    expect_members(payload, "metadata", "names_sealed,tombstone_compacted_by,wal_purged_at");
    expect_members(payload, "batch", "epoch_cert_id,leaf_index,objects_root,path");
    cr_assert_eq(json_object_set_new(object, "batch", place), 0);
    cr_assert(json_equal(object, payload), "nothing else has changed");
    json_decref(object);
    json_decref(payload);
    free(text);
    free(joined);
}

Test(evidence, an_object_says_what_the_tables_say)
{
    json_t *payload = render();
    cr_assert_str_eq(text_at(payload, "schema"), "erasure-cert/1");
    cr_assert_str_eq(text_at(payload, "type"), "object-erasure");
    cr_assert_eq(json_integer_value(at(payload, "seq")), 8);
    cr_assert_str_eq(text_at(payload, "issued_at"), "2026-01-01T00:00:00.123Z");
    cr_assert(json_is_null(at(payload, "supersedes")));
    cr_assert_str_eq(text_at(payload, "issuer.org"), "Example GmbH");
    cr_assert_str_eq(text_at(payload, "issuer.kid"), kid);
    cr_assert_eq(json_integer_value(at(payload, "request.id")), ERASURE);
    cr_assert_str_eq(text_at(payload, "request.requested_by"), access_key);
    cr_assert_str_eq(text_at(payload, "request.requested_at"), "2025-12-31T23:59:00.123Z");
    cr_assert_str_eq(text_at(payload, "request.reason_code"), "delete");
    cr_assert(json_is_true(at(payload, "request.legal_hold_checked")));
    cr_assert(json_is_null(at(payload, "request.grace_until")));
    cr_assert_eq(strspn(text_at(payload, "request.plan_sha256"), "3"), 64);
    cr_assert_eq(json_array_size(at(payload, "request.approvals")), 0);
    cr_assert_str_eq(text_at(payload, "claim.method"), "none");
    cr_assert_str_eq(text_at(payload, "claim.scope"), "object");
    cr_assert_str_eq(text_at(payload, "claim.technique"), "cryptographic-erase+overwrite");
    cr_assert_str_eq(text_at(payload, "claim.statement"),
                     "Logical (partial) sanitization by cryptographic erase of the target data's keys. No media-level "
                     "Clear, Purge or Destroy is claimed for any drive.");
    cr_assert_str_eq(text_at(payload, "result"), "ERASED");
    cr_assert_str_eq(text_at(payload, "verification.method"), "attested-readback");
    cr_assert_str_eq(text_at(payload, "verification.at"), "2025-12-31T23:59:59.123Z");
    cr_assert_eq(strspn(text_at(payload, "subject.version_id"), "1"), 32);
    cr_assert_eq(strspn(text_at(payload, "subject.object_ref"), "2"), 64);
    cr_assert_eq(json_integer_value(at(payload, "subject.size")), 5000000);
    cr_assert_eq(json_integer_value(at(payload, "subject.chunk_count")), 2);
    cr_assert_str_eq(text_at(payload, "crypto.scheme"), "EPV-1");
    cr_assert_str_eq(text_at(payload, "crypto.aead"), "aes-256-gcm");
    cr_assert_eq(json_integer_value(at(payload, "crypto.key_bits")), 256);
    cr_assert_eq(json_integer_value(at(payload, "crypto.page")), 3);
    cr_assert_eq(json_integer_value(at(payload, "crypto.slot")), 250);
    cr_assert_eq(json_integer_value(at(payload, "crypto.punctured.index")), 401);
    cr_assert(json_is_null(at(payload, "crypto.punctured.term")));
    cr_assert_eq(json_integer_value(at(payload, "crypto.epoch")), 12);
    cr_assert_str_eq(text_at(payload, "crypto.epoch_erased_at"), "2025-12-31T23:59:58.123Z");
    cr_assert_eq(strspn(text_at(payload, "crypto.root_commit_old"), "a"), 64);
    cr_assert_eq(strspn(text_at(payload, "crypto.root_commit_new"), "b"), 64);
    cr_assert_str_eq(text_at(payload, "crypto.slots.backend"), "file");
    cr_assert_eq(json_array_size(at(payload, "crypto.slots.destroyed")), 1);
    cr_assert_eq(json_array_size(at(payload, "crypto.slots.pending")), 0);
    cr_assert(json_is_null(at(payload, "crypto.lease_expired_at")));
    cr_assert_str_eq(text_at(payload, "crypto.copies.kms.state"), "active");
    cr_assert_eq(json_integer_value(at(payload, "crypto.copies.kms.key_version")), 2);
    cr_assert_eq(json_array_size(at(payload, "replicas")), 3);
    cr_assert_str_eq(text_at(payload, "replicas.1.node"), "node2");
    cr_assert_str_eq(text_at(payload, "replicas.1.disk.uuid"), "02020202-0202-0202-0202-020202020202");
    cr_assert_str_eq(text_at(payload, "replicas.1.disk.media"), "solid-state");
    cr_assert(json_is_null(at(payload, "replicas.1.disk.wwn_ref")));
    cr_assert_str_eq(text_at(payload, "replicas.1.state"), "wiped");
    cr_assert_str_eq(text_at(payload, "replicas.1.technique"), "overwrite");
    cr_assert_eq(json_integer_value(at(payload, "replicas.1.chunks")), 2);
    cr_assert_eq(json_integer_value(at(payload, "replicas.1.bytes")), 2000);
    cr_assert_eq(strspn(text_at(payload, "replicas.1.attestations.0"), "4"), 64);
    cr_assert_eq(json_integer_value(at(payload, "ever_held_total")), 6);
    cr_assert_eq(json_integer_value(at(payload, "gateways.acked")), 4);
    cr_assert_eq(json_integer_value(at(payload, "verification.checks.2.bytes")), 6000);
    cr_assert(json_is_true(at(payload, "verification.checks.0.performed")));
    cr_assert(json_is_false(at(payload, "verification.checks.1.performed")));
    cr_assert(json_is_false(at(payload, "metadata.names_sealed")));
    json_decref(payload);
}

/* A reference can be opened by whoever knows what is referred to, and is worth nothing otherwise. */
Test(evidence, references_are_made_as_stated)
{
    uint8_t text[14 + 16 + 8] = "trilith tenant";
    uint8_t expected[32];
    char hex[65];
    uint8_t uuid[16];
    json_t *payload = render();
    memcpy(text + 14, cluster_id, 16);
    text[14 + 16 + 7] = TENANT;
    sha256(text, sizeof(text), expected);
    hex_encode(expected, 32, hex);
    cr_assert_str_eq(text_at(payload, "subject.tenant_ref"), hex);
    memset(uuid, 1, sizeof(uuid));
    hmac_sha256(uuid, sizeof(uuid), "SN1", 3, expected);
    hex_encode(expected, 32, hex);
    cr_assert_str_eq(text_at(payload, "replicas.0.disk.serial_ref"), hex);
    char *whole = json_dumps(payload, 0);
    cr_assert_null(strstr(whole, "SN1"), "no serial number stands in clear");
    cr_assert_null(strstr(whole, "acme"), "nor a tenant's name");
    free(whole);
    json_decref(payload);
}

/* ---- residual and not_claimed follow from facts ------------------------------------------------ */

Test(evidence, flash_leaves_ciphertext_and_disks_that_rotate_do_not)
{
    json_t *payload = render();
    json_t *residual = at(payload, "residual");
    cr_assert(holds(residual, "FTL_CIPHERTEXT"));
    cr_assert(holds(residual, "ROOT_SLOT_SOFTWARE"));
    cr_assert(holds(residual, "VENDOR_FIRMWARE"));
    cr_assert(holds(residual, "NON_FIPS_MODULE"));
    cr_assert(holds(residual, "METADATA_UNTIL(unbounded)"));
    cr_assert(holds(residual, "CLIENT_COPIES"));
    cr_assert(holds(residual, "HOST_SNAPSHOT"));
    cr_assert_eq(json_array_size(residual), 7);
    cr_assert(disclaims(payload, "No media-level Clear, Purge or Destroy"));
    cr_assert(disclaims(payload, "A node that signs for a read-back which it did not do"));
    cr_assert(disclaims(payload, "backups, snapshots"));
    cr_assert_not(disclaims(payload, "ce-only"));
    json_decref(payload);
    for (uint32_t i = 1; i <= 3; i++) {
        node_put(i, true);
    }
    rows_write();
    payload = render();
    cr_assert_not(holds(at(payload, "residual"), "FTL_CIPHERTEXT"));
    json_decref(payload);
    node_put(2, false); /* One of them is enough. */
    rows_write();
    payload = render();
    cr_assert(holds(at(payload, "residual"), "FTL_CIPHERTEXT"));
    json_decref(payload);
}

Test(evidence, a_disk_of_unknown_medium_counts_as_flash)
{
    for (uint32_t i = 1; i <= 3; i++) {
        node_put(i, true);
    }
    tables_delete(&tables, key_medium(3));
    rows_write();
    json_t *payload = render();
    cr_assert(holds(at(payload, "residual"), "FTL_CIPHERTEXT"));
    cr_assert(json_is_null(at(payload, "replicas.2.disk.media")));
    cr_assert(json_is_null(at(payload, "replicas.2.disk.serial_ref")));
    json_decref(payload);
}

Test(evidence, a_disk_that_was_settled_without_a_wipe_makes_it_partial)
{
    wipes_put(3, 0, 0, 2, true, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    rows_write();
    json_t *payload = render();
    cr_assert_str_eq(text_at(payload, "result"), "PARTIAL");
    cr_assert_str_eq(text_at(payload, "replicas.2.state"), "ce-only");
    cr_assert(json_is_null(at(payload, "replicas.2.technique")));
    cr_assert_eq(json_integer_value(at(payload, "replicas.2.chunks")), 0);
    cr_assert(holds(at(payload, "residual"), "REPLICA_OFFLINE(1)"));
    cr_assert(disclaims(payload, "ce-only"));
    json_decref(payload);
}

Test(evidence, a_disk_with_a_certificate_of_its_own_does_not)
{
    wipes_put(3, 0, 0, 2, false, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    rows_write();
    json_t *payload = render();
    cr_assert_str_eq(text_at(payload, "result"), "ERASED");
    cr_assert_str_eq(text_at(payload, "replicas.2.state"), "disk-certified");
    json_decref(payload);
}

Test(evidence, nothing_is_said_of_copies_that_never_were)
{
    for (uint32_t i = 1; i <= 3; i++) {
        wipes_put(i, 0, 2, 0, false, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    }
    rows_write();
    json_t *payload = render();
    cr_assert_str_eq(text_at(payload, "claim.technique"), "cryptographic-erase");
    cr_assert_str_eq(text_at(payload, "replicas.0.state"), "never-held");
    cr_assert_not(holds(at(payload, "residual"), "FTL_CIPHERTEXT"));
    cr_assert_not(holds(at(payload, "residual"), "VENDOR_FIRMWARE"));
    cr_assert(json_is_false(at(payload, "verification.checks.2.performed")));
    cr_assert(json_is_null(at(payload, "verification.checks.2.bytes")));
    json_decref(payload);
}

Test(evidence, the_weakest_technique_is_named)
{
    for (uint32_t i = 1; i <= 3; i++) {
        wipes_put(i, 2, 0, 0, false, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3);
    }
    rows_write();
    json_t *payload = render();
    cr_assert_str_eq(text_at(payload, "claim.technique"), "cryptographic-erase+overwrite-0x55-0xaa-random");
    json_decref(payload);
    wipes_put(2, 2, 0, 0, false, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    rows_write();
    payload = render();
    cr_assert_str_eq(text_at(payload, "claim.technique"), "cryptographic-erase+overwrite");
    json_decref(payload);
}

Test(evidence, a_gateway_that_said_nothing_had_its_lease)
{
    struct evidence_object_parts parts = usual;
    const struct evidence_issuer issuer = issuer_of("pkcs11");
    parts.gateways_acked = 3;
    json_t *payload = render_with(&issuer, &parts);
    cr_assert_str_eq(text_at(payload, "crypto.lease_expired_at"), "2025-12-31T23:59:31.123Z");
    cr_assert_eq(json_integer_value(at(payload, "gateways.acked")), 3);
    cr_assert_not(holds(at(payload, "residual"), "ROOT_SLOT_SOFTWARE"));
    json_decref(payload);
}

Test(evidence, what_is_not_known_is_null)
{
    erasure.object_ref.len = 0;
    erasure.tenant_id = 999;
    erasure_put();
    rows_write();
    json_t *payload = render();
    cr_assert(json_is_null(at(payload, "subject.object_ref")));
    cr_assert(json_is_null(at(payload, "crypto.copies.kms.state")));
    json_decref(payload);
}

Test(evidence, keys_that_are_not_destroyed_are_not_certified)
{
    json_t *payload = NULL;
    const struct evidence_issuer issuer = issuer_of("file");
    tables_delete(&tables, key_erasures_end(ERASURE + 1));
    rows_write();
    cr_assert_eq(evidence_object(&issuer, &tables, ERASURE, &usual, &payload), STATUS_NOT_FOUND);
    cr_assert_eq(evidence_object(&issuer, &tables, ERASURE + 5, &usual, &payload), STATUS_NOT_FOUND);
    cr_assert_null(payload);
    cr_assert_eq(tables.failed, STATUS_OK);
}

Test(evidence, text_from_outside_can_do_no_harm)
{
    char wild[] = "A\n\"B\x01\xff";
    erasure.requested_by = wild;
    erasure_put();
    rows_write();
    json_t *payload = render();
    size_t bytes = 0;
    char *text = json_canonical(payload, &bytes);
    cr_assert_not_null(text);
    cr_assert_str_eq(text_at(payload, "request.requested_by"), "A?\"B??");
    free(text);
    json_decref(payload);
}

/* ---- batches ----------------------------------------------------------------------------------- */

Test(evidence, a_path_leads_from_each_object_to_the_batch)
{
    json_t *objects[5];
    struct merkle_hash leaves[5];
    Trilith__ClusterRecord cluster;
    const struct evidence_issuer issuer = issuer_of("file");
    trilith__cluster_record__init(&cluster);
    cluster.epoch = 13;
    cluster.leaves_live = 40;
    cluster.leaves_punctured = 30;
    cluster.leaves_erased = 20;
    cluster.next_erasure_id = 91;
    cluster.erasures_open = 2;
    for (size_t i = 0; i < ARRAY_LENGTH(objects); i++) {
        struct evidence_object_parts parts = usual;
        size_t bytes = 0;
        parts.seq = 8 + i;
        objects[i] = render_with(&issuer, &parts);
        char *text = json_canonical(objects[i], &bytes);
        merkle_leaf(text, bytes, &leaves[i]);
        free(text);
    }
    json_t *batch = evidence_batch(&issuer, &cluster, "01900000-0000-7000-8000-00000000000b", 13, leaves, 5, false);
    cr_assert_not_null(batch);
    expect_members(batch, "",
                   "cert_id,claim,erasures,issued_at,issuer,not_claimed,request,residual,result,schema,seq,"
                   "supersedes,totals,type,vault,verification");
    expect_members(batch, "erasures", "count,first_seq,last_seq,objects_root");
    expect_members(batch, "vault", "epoch,leaves_erased,leaves_live,leaves_punctured");
    expect_members(batch, "totals", "certificates,erasures,open");
    cr_assert_eq(json_integer_value(at(batch, "erasures.count")), 5);
    cr_assert_eq(json_integer_value(at(batch, "erasures.first_seq")), 8);
    cr_assert_eq(json_integer_value(at(batch, "erasures.last_seq")), 12);
    cr_assert_eq(json_integer_value(at(batch, "totals.certificates")), 13);
    cr_assert_eq(json_integer_value(at(batch, "totals.erasures")), 90);
    struct merkle_hash root;
    cr_assert(hex_decode(text_at(batch, "erasures.objects_root"), 64, root.bytes, 32));
    for (size_t i = 0; i < ARRAY_LENGTH(objects); i++) {
        struct merkle_hash path[MERKLE_PROOF_MAX];
        struct merkle_hash leaf;
        json_t *place = evidence_batch_place(text_at(batch, "cert_id"), leaves, 5, i);
        json_t *list = at(place, "path");
        size_t bytes = 0;
        for (size_t k = 0; k < json_array_size(list); k++) {
            cr_assert(hex_decode(json_string_value(json_array_get(list, k)), 64, path[k].bytes, 32));
        }
        size_t length = json_array_size(list);
        cr_assert_str_eq(text_at(place, "objects_root"), text_at(batch, "erasures.objects_root"));
        cr_assert_str_eq(text_at(place, "epoch_cert_id"), text_at(batch, "cert_id"));
        char *text = json_canonical(objects[i], &bytes);
        merkle_leaf(text, bytes, &leaf);
        cr_assert(merkle_inclusion_verify(i, 5, &leaf, path, length, &root));
        text[10] ^= 1;
        merkle_leaf(text, bytes, &leaf);
        cr_assert_not(merkle_inclusion_verify(i, 5, &leaf, path, length, &root));
        free(text);
        json_decref(place);
        json_decref(objects[i]);
    }
    json_decref(batch);
}

Test(evidence, a_manifest_lists_the_key_and_the_one_before)
{
    uint8_t key_bytes[32];
    char other_kid[] = "6f1c0102030405060708090a0b0c0de2/2";
    Trilith__SigningKey key;
    Trilith__SigningKey before;
    const Trilith__SigningKey *keys[2] = {&key, &before};
    const struct evidence_issuer issuer = issuer_of("file");
    memset(key_bytes, 0x77, sizeof(key_bytes));
    trilith__signing_key__init(&key);
    key.number = 2;
    key.kid = other_kid;
    key.public_key = bytes_of(key_bytes, sizeof(key_bytes));
    key.created_ms = NOW_MS;
    before = key;
    before.number = 1;
    before.kid = kid;
    before.retired_ms = NOW_MS;
    json_t *manifest = evidence_manifest(&issuer, usual.id, 3, keys, 2);
    cr_assert_not_null(manifest);
    cr_assert_eq(json_object_size(manifest), 14);
    expect_members(manifest, "keys.0", "created_at,kid,number,public_key,retired_at");
    cr_assert_str_eq(text_at(manifest, "keys.0.kid"), other_kid);
    cr_assert(json_is_null(at(manifest, "keys.0.retired_at")));
    cr_assert_str_eq(text_at(manifest, "keys.1.retired_at"), "2026-01-01T00:00:00.123Z");
    cr_assert(json_is_null(at(manifest, "request.legal_hold_checked")));
    json_decref(manifest);
}

/* ---- values ------------------------------------------------------------------------------------ */

Test(evidence_values, times_are_rfc_3339)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{1, "1970-01-01T00:00:00.001Z"},
                 {UINT64_C(951782399999), "2000-02-28T23:59:59.999Z"},
                 {UINT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
                 {UINT64_C(1709251199000), "2024-02-29T23:59:59.000Z"},
                 {UINT64_C(4102444800000), "2100-01-01T00:00:00.000Z"},
                 {UINT64_C(253402300799999), "9999-12-31T23:59:59.999Z"}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *value = evidence_time(cases[i].ms);
        cr_assert_str_eq(json_string_value(value), cases[i].text);
        json_decref(value);
    }
    cr_assert(json_is_null(evidence_time(0)));
    cr_assert(json_is_null(evidence_time(UINT64_C(253402300800000))));
    cr_assert(json_is_null(evidence_number(UINT64_MAX)));
}

Test(evidence_values, ids_are_uuids_of_version_7)
{
    uint8_t uuid[16];
    uint8_t random[10];
    char text[EVIDENCE_UUID_BYTES];
    memset(random, 0xff, sizeof(random));
    evidence_uuid_make(UINT64_C(0x0123456789ab), random, uuid);
    evidence_uuid_text(uuid, text);
    cr_assert_str_eq(text, "01234567-89ab-7fff-bfff-ffffffffffff");
}

Test(evidence_values, an_entry_is_canonical_and_names_the_jws)
{
    char entry[EVIDENCE_ENTRY_BYTES];
    uint8_t digest[32];
    char hex[65];
    size_t bytes = evidence_entry(usual.id, EVIDENCE_BATCH, 13, "a.b.c", 5, entry);
    json_t *value = json_from_canonical(entry, bytes);
    cr_assert_not_null(value);
    sha256("a.b.c", 5, digest);
    hex_encode(digest, 32, hex);
    expect_members(value, "", "cert_id,epoch,sha256,type,v");
    cr_assert_str_eq(text_at(value, "sha256"), hex);
    cr_assert_eq(json_integer_value(at(value, "epoch")), 13);
    cr_assert_leq(bytes, 256u);
    json_decref(value);
}

Test(evidence_values, every_code_can_be_explained)
{
    struct evidence_residues residues = {0};
    for (unsigned i = 0; i < RESIDUES_END; i++) {
        evidence_residue_add(&residues, (enum evidence_residue)i, 3);
    }
    json_t *list = evidence_residual(&residues);
    cr_assert_eq(json_array_size(list), RESIDUES_END);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *code = json_string_value(json_array_get(list, i));
        cr_assert_not_null(evidence_residue_text(code), "%s", code);
    }
    json_decref(list);
    cr_assert_null(evidence_residue_text("FTL"));
    cr_assert_null(evidence_residue_text(""));
}

/* Words that would claim what nobody here can. */
Test(evidence_values, no_sentence_claims_too_much)
{
    static const char *const forbidden[] = {"ompliant",  "ertified by", "ilitary", "uarantee", "mpossible",
                                            "ompletely", "orever",      "IEEE",    "DoD"};
    json_t *list = evidence_not_claimed(EVIDENCE_BIT(DISCLAIMERS_END) - 1);
    const char *texts[64] = {evidence_statement_object,   evidence_statement_batch, evidence_statement_tenant,
                             evidence_statement_manifest, evidence_basis_key,       evidence_basis_attested,
                             evidence_basis_gateways};
    size_t count = 7;
    for (size_t i = 0; i < json_array_size(list); i++) {
        texts[count++] = json_string_value(json_array_get(list, i));
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < ARRAY_LENGTH(forbidden); k++) {
            cr_assert_null(strstr(texts[i], forbidden[k]), "%s", texts[i]);
        }
    }
    json_decref(list);
}
