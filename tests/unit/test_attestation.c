/* test_attestation.c - attestations: they say what the results say, and nothing else passes for one. */
#include "proto/attestation.h"

#include "base/jws_pack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define RESULTS 6u

static struct key_pool *pool;
static struct key *seed;
static struct public_key public_key;
static uint8_t ids[RESULTS][16];
static uint8_t digests[RESULTS][32];
static Trilith__WipeResult results[RESULTS];
static Trilith__WipeResult *pointers[RESULTS];
static Trilith__WipeTechnique asked[RESULTS];
static Trilith__Medium medium;
static char serial[] = "S3RIAL-1";
static char model[] = "Model X\x07";
static char device[] = "sda";
static char interface[] = "sata";
static char file_system[] = "ext4";
static struct attestation_facts facts;

static void result_set(unsigned i, uint64_t erasure, Trilith__WipeOutcome outcome, uint64_t bytes)
{
    trilith__wipe_result__init(&results[i]);
    memset(ids[i], (int)(i + 1), sizeof(ids[i]));
    memset(digests[i], (int)(0x40 + i), sizeof(digests[i]));
    results[i].chunk_id = (ProtobufCBinaryData){.data = ids[i], .len = sizeof(ids[i])};
    results[i].erasure_id = erasure;
    results[i].outcome = outcome;
    results[i].bytes = bytes;
    if (bytes > 0) {
        results[i].digest = (ProtobufCBinaryData){.data = digests[i], .len = sizeof(digests[i])};
    }
    pointers[i] = &results[i];
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    pool = key_pool_open(2);
    seed = key_take(pool);
    memset(seed->bytes, 7, sizeof(seed->bytes));
    signature_public_key(seed, &public_key);
    result_set(0, 11, TRILITH__WIPE_OUTCOME__WIPE_WIPED, 4096);
    result_set(1, 12, TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD, 0);
    result_set(2, 11, TRILITH__WIPE_OUTCOME__WIPE_WIPED, 8192);
    result_set(3, 13, TRILITH__WIPE_OUTCOME__WIPE_FAILED, 0);
    result_set(4, 12, TRILITH__WIPE_OUTCOME__WIPE_WIPED, 4096);
    result_set(5, 14, TRILITH__WIPE_OUTCOME__WIPE_WIPED, 0);
    results[2].technique = TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    for (unsigned i = 0; i < RESULTS; i++) {
        asked[i] = TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    }
    trilith__medium__init(&medium);
    medium.serial = serial;
    medium.model = model;
    medium.device = device;
    medium.interface = interface;
    medium.file_system = file_system;
    medium.rotational = true;
    facts = (struct attestation_facts){.node = "node1",
                                       .boot_id = "",
                                       .sw_digest = "ab12",
                                       .disk_id = 3,
                                       .medium = &medium,
                                       .asked = asked,
                                       .mismatches = 1,
                                       .started_ms = 1700000000123,
                                       .finished_ms = 1700000001004};
    memset(facts.disk_uuid.bytes, 0xd1, sizeof(facts.disk_uuid.bytes));
}

static void teardown(void)
{
    key_release(pool, seed);
    key_pool_close(pool);
}

TestSuite(attestation, .init = setup, .fini = teardown);

static char *made(void)
{
    char *text = attestation_make(&facts, pointers, RESULTS, seed);
    cr_assert_not_null(text);
    return text;
}

static enum status check(const char *text)
{
    return attestation_check(text, strlen(text), &public_key, "node1", 3, pointers, RESULTS);
}

static json_t *payload_of(const char *text, struct attestation *attestation)
{
    cr_assert_eq(attestation_open(attestation, text, strlen(text), &public_key), STATUS_OK);
    return attestation->jws.payload;
}

Test(attestation, is_accepted_with_the_results_it_was_made_of)
{
    char *text = made();
    cr_assert_eq(check(text), STATUS_OK);
    free(text);
}

Test(attestation, is_packed_when_it_is_right_and_comes_back_to_the_byte)
{
    char *text = made();
    char *back = NULL;
    uint8_t *packed = NULL;
    size_t packed_bytes = 0;
    cr_assert_eq(attestation_check_and_pack(text, strlen(text), &public_key, "node1", 3, pointers, RESULTS, &packed,
                                            &packed_bytes),
                 STATUS_OK);
    cr_assert_lt(packed_bytes, strlen(text) / 2);
    cr_assert_eq(jws_unpack(packed, packed_bytes, NULL, 0, &back), STATUS_OK);
    cr_assert_str_eq(back, text);
    free(packed);
    packed = NULL;
    cr_assert_eq(attestation_check_and_pack(text, strlen(text), &public_key, "node2", 3, pointers, RESULTS, &packed,
                                            &packed_bytes),
                 STATUS_DENIED);
    cr_assert_null(packed);
    free(back);
    free(text);
}

Test(attestation, says_what_was_done_to_which_disk_and_nothing_that_identifies_the_drive)
{
    struct attestation attestation;
    char *text = made();
    json_t *payload = payload_of(text, &attestation);
    const json_t *disk = json_object_get(payload, "disk");
    cr_assert_str_eq(json_string_value(json_object_get(payload, "started_at")), "2023-11-14T22:13:20.123Z");
    cr_assert_str_eq(json_string_value(json_object_get(payload, "finished_at")), "2023-11-14T22:13:21.004Z");
    cr_assert(json_is_null(json_object_get(payload, "boot_id")));
    cr_assert(json_is_null(json_object_get(payload, "cluster_id")));
    cr_assert_str_eq(json_string_value(json_object_get(disk, "model")), "Model X?");
    cr_assert_str_eq(json_string_value(json_object_get(disk, "media")), "rotational");
    cr_assert(json_is_null(json_object_get(disk, "wwn_ref")));
    uint8_t reference[32];
    char hex[65];
    hmac_sha256(facts.disk_uuid.bytes, 16, serial, strlen(serial), reference);
    hex_encode(reference, sizeof(reference), hex);
    cr_assert_str_eq(json_string_value(json_object_get(disk, "serial_ref")), hex);
    cr_assert_null(strstr(attestation.jws.payload_text, serial));
    const json_t *technique = json_object_get(payload, "technique");
    cr_assert_str_eq(json_string_value(json_object_get(technique, "asked")), "dod3");
    cr_assert_str_eq(json_string_value(json_object_get(technique, "used")), "mixed");
    const json_t *passes = json_object_get(payload, "passes");
    cr_assert_eq(json_array_size(passes), 3);
    cr_assert_eq(json_integer_value(json_object_get(json_array_get(passes, 1), "bytes")), 8192);
    cr_assert_eq(json_integer_value(json_object_get(json_array_get(passes, 2), "bytes")), 16384);
    cr_assert_eq(json_integer_value(json_object_get(payload, "errors")), 1);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(payload, "readback"), "mismatch")), 1);
    attestation_close(&attestation);
    free(text);
}

Test(attestation, has_one_entry_per_erasure)
{
    struct attestation attestation;
    struct attestation_entry entry;
    char *text = made();
    (void)payload_of(text, &attestation);
    cr_assert_eq(attestation.count, RESULTS);
    cr_assert_eq(attestation.bytes, 16384);
    cr_assert_eq(attestation.disk_id, 3);
    cr_assert(attestation_find(&attestation, 11, &entry));
    cr_assert(entry.wiped == 2 && entry.never_held == 0 && entry.failed == 0 && entry.bytes == 12288);
    cr_assert_str_eq(entry.technique, "mixed");
    cr_assert(attestation_find(&attestation, 12, &entry));
    cr_assert(entry.wiped == 1 && entry.never_held == 1 && entry.bytes == 4096);
    cr_assert_str_eq(entry.technique, "overwrite");
    cr_assert(attestation_find(&attestation, 13, &entry));
    cr_assert(entry.wiped == 0 && entry.failed == 1 && entry.technique[0] == '\0');
    cr_assert_not(attestation_find(&attestation, 15, &entry));
    attestation_close(&attestation);
    free(text);
}

/* Each field of each result, changed on its own. */
Test(attestation, is_denied_when_any_result_differs)
{
    static uint8_t other[32] = {9};
    char *text = made();
    for (unsigned i = 0; i < RESULTS; i++) {
        Trilith__WipeResult kept = results[i];
        results[i].erasure_id++;
        cr_assert_eq(check(text), STATUS_DENIED, "erasure of %u", i);
        results[i] = kept;
        results[i].chunk_id.data = other;
        cr_assert_eq(check(text), STATUS_DENIED, "chunk of %u", i);
        results[i] = kept;
        bool was_wiped = kept.outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        results[i].outcome = was_wiped ? TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD : TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        cr_assert_eq(check(text), STATUS_DENIED, "outcome of %u", i);
        results[i] = kept;
        results[i].bytes += 4096;
        cr_assert_eq(check(text), STATUS_DENIED, "bytes of %u", i);
        results[i] = kept;
        results[i].technique = kept.technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3
                                   ? TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE
                                   : TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
        cr_assert_eq(check(text), STATUS_DENIED, "technique of %u", i);
        results[i] = kept;
        results[i].digest = (ProtobufCBinaryData){.data = other, .len = sizeof(other)};
        cr_assert_eq(check(text), STATUS_DENIED, "digest of %u", i);
        results[i] = kept;
    }
    Trilith__WipeResult *swapped = pointers[0];
    pointers[0] = pointers[2];
    pointers[2] = swapped;
    cr_assert_eq(check(text), STATUS_DENIED, "order");
    cr_assert_eq(attestation_check(text, strlen(text), &public_key, "node1", 3, pointers, RESULTS - 1), STATUS_DENIED);
    free(text);
}

Test(attestation, is_denied_of_another_node_disk_or_key)
{
    struct public_key another = public_key;
    char *text = made();
    cr_assert_eq(attestation_check(text, strlen(text), &public_key, "node2", 3, pointers, RESULTS), STATUS_DENIED);
    cr_assert_eq(attestation_check(text, strlen(text), &public_key, "node1", 4, pointers, RESULTS), STATUS_DENIED);
    seed->bytes[0] ^= 1;
    signature_public_key(seed, &another);
    cr_assert_eq(attestation_check(text, strlen(text), &another, "node1", 3, pointers, RESULTS), STATUS_DENIED);
    free(text);
}

Test(attestation, is_never_accepted_with_any_byte_changed)
{
    char *text = made();
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes; i++) {
        text[i] ^= 1;
        cr_assert_neq(check(text), STATUS_OK, "byte %zu", i);
        text[i] ^= 1;
    }
    for (size_t cut = 0; cut < bytes; cut += 7) {
        cr_assert_neq(attestation_check(text, cut, &public_key, "node1", 3, pointers, RESULTS), STATUS_OK);
    }
    free(text);
}

/* Signed all right, but not an attestation: the totals do not add up, a member is missing, or it is of another type. */
Test(attestation, that_contradicts_itself_is_invalid)
{
    static const char *const members[] = {"count", "bytes", "errors", "entries", "disk", "node", "chunks_root"};
    struct attestation attestation;
    char *text = made();
    json_t *payload = json_deep_copy(payload_of(text, &attestation));
    attestation_close(&attestation);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        json_t *changed = json_deep_copy(payload);
        json_object_set_new(changed, members[i], json_integer(100));
        char *other = jws_sign(ATTESTATION_TYPE, "node1", seed, changed);
        cr_assert_eq(check(other), STATUS_INVALID, "%s", members[i]);
        free(other);
        json_decref(changed);
    }
    char *mistyped = jws_sign("erasure-cert+jws", "node1", seed, payload);
    cr_assert_eq(check(mistyped), STATUS_INVALID);
    char *misnamed = jws_sign(ATTESTATION_TYPE, "node2", seed, payload);
    cr_assert_eq(check(misnamed), STATUS_INVALID);
    free(mistyped);
    free(misnamed);
    json_decref(payload);
    free(text);
}

Test(attestation, is_not_made_of_what_cannot_be_stated)
{
    results[1].bytes = 1;
    cr_assert_null(attestation_make(&facts, pointers, RESULTS, seed), "bytes of a copy that was never held");
    results[1].bytes = 0;
    results[0].outcome = TRILITH__WIPE_OUTCOME__WIPE_NONE;
    cr_assert_null(attestation_make(&facts, pointers, RESULTS, seed));
    results[0].outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    results[0].chunk_id.len = 15;
    cr_assert_null(attestation_make(&facts, pointers, RESULTS, seed));
    results[0].chunk_id.len = 16;
    results[0].erasure_id = UINT64_MAX;
    cr_assert_null(attestation_make(&facts, pointers, RESULTS, seed));
    results[0].erasure_id = 11;
    cr_assert_null(attestation_make(&facts, pointers, 0, seed));
    cr_assert_null(attestation_make(&facts, pointers, ATTESTATION_RESULTS_MAX + 1, seed));
}

Test(attestation, of_a_full_report_fits)
{
    static uint8_t many_ids[ATTESTATION_RESULTS_MAX][16];
    static Trilith__WipeResult many[ATTESTATION_RESULTS_MAX];
    static Trilith__WipeResult *all[ATTESTATION_RESULTS_MAX];
    static Trilith__WipeTechnique techniques[ATTESTATION_RESULTS_MAX];
    for (unsigned i = 0; i < ATTESTATION_RESULTS_MAX; i++) {
        trilith__wipe_result__init(&many[i]);
        many_ids[i][0] = (uint8_t)i;
        many_ids[i][1] = (uint8_t)(i >> 8);
        many[i].chunk_id = (ProtobufCBinaryData){.data = many_ids[i], .len = 16};
        many[i].erasure_id = UINT64_C(1) << 52 | i;
        many[i].outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        many[i].bytes = 4194304;
        many[i].digest = (ProtobufCBinaryData){.data = digests[0], .len = 32};
        all[i] = &many[i];
    }
    facts.asked = techniques;
    char *text = attestation_make(&facts, all, ATTESTATION_RESULTS_MAX, seed);
    cr_assert_not_null(text);
    cr_assert_lt(strlen(text), JWS_BYTES_MAX);
    cr_assert_eq(attestation_check(text, strlen(text), &public_key, "node1", 3, all, ATTESTATION_RESULTS_MAX),
                 STATUS_OK);
    free(text);
}
