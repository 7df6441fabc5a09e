/* evidence_world.h - for tests of the offline verifiers: files in memory, a signing key, a node and its disk, and a
 * whole round of certificates made of them, which tests then damage. */
#ifndef TRILITH_TESTS_EVIDENCE_WORLD_H
#define TRILITH_TESTS_EVIDENCE_WORLD_H

#include "cluster/certificate_form.h"
#include "cluster/ledger_tiles.h"
#include "cluster/tlog_proof.h"
#include "cluster/verify_certificate.h"
#include "cluster/verify_ledger.h"
#include "proto/approval.h"
#include "proto/attestation.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER   "00112233445566778899aabbccddeeff"
#define ORIGIN    "trilith/" CLUSTER
#define FILES_MAX 64

/* ---- files in memory --------------------------------------------------------------------------- */

struct memory_file {
    char name[128];
    char *data;
    size_t bytes;
};

struct memory_files {
    struct evidence_files files;
    struct memory_file list[FILES_MAX];
    size_t count;
};

static inline struct memory_file *memory_find(struct memory_files *memory, const char *name)
{
    for (size_t i = 0; i < memory->count; i++) {
        if (strcmp(memory->list[i].name, name) == 0) {
            return &memory->list[i];
        }
    }
    return NULL;
}

static inline enum status memory_read(struct evidence_files *files, const char *name, size_t bytes_max, char **data,
                                      size_t *bytes)
{
    const struct memory_file *file = memory_find(CONTAINER_OF(files, struct memory_files, files), name);
    if (file == NULL || file->data == NULL) {
        return STATUS_NOT_FOUND;
    }
    if (file->bytes > bytes_max) {
        return STATUS_TOO_LARGE;
    }
    *data = malloc(file->bytes + 1);
    memcpy(*data, file->data, file->bytes);
    (*data)[file->bytes] = '\0';
    *bytes = file->bytes;
    return STATUS_OK;
}

static inline enum status memory_write(struct evidence_files *files, const char *name, const void *data, size_t bytes)
{
    struct memory_files *memory = CONTAINER_OF(files, struct memory_files, files);
    struct memory_file *file = memory_find(memory, name);
    if (file == NULL) {
        cr_assert_lt(memory->count, FILES_MAX);
        file = &memory->list[memory->count++];
        snprintf(file->name, sizeof(file->name), "%s", name);
    }
    free(file->data);
    file->data = malloc(bytes + 1);
    memcpy(file->data, data, bytes);
    file->data[bytes] = '\0';
    file->bytes = bytes;
    return STATUS_OK;
}

static inline int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline enum status memory_list(struct evidence_files *files, const char *folder, size_t names_max, char ***names,
                                      size_t *count)
{
    struct memory_files *memory = CONTAINER_OF(files, struct memory_files, files);
    size_t length = strlen(folder);
    *names = calloc(FILES_MAX, sizeof(**names));
    *count = 0;
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_file *file = &memory->list[i];
        if (file->data != NULL && strncmp(file->name, folder, length) == 0 && file->name[length] == '/') {
            (*names)[(*count)++] = strdup(file->name + length + 1);
        }
    }
    cr_assert_leq(*count, names_max);
    qsort(*names, *count, sizeof(**names), compare_texts);
    if (*count == 0) {
        free(*names);
        return STATUS_NOT_FOUND;
    }
    return STATUS_OK;
}

static inline void memory_init(struct memory_files *memory)
{
    memset(memory, 0, sizeof(*memory));
    memory->files = (struct evidence_files){.read = memory_read, .list = memory_list, .write = memory_write};
}

static inline void memory_deinit(struct memory_files *memory)
{
    for (size_t i = 0; i < memory->count; i++) {
        free(memory->list[i].data);
    }
    memory->count = 0;
}

static inline void memory_remove(struct memory_files *memory, const char *name)
{
    struct memory_file *file = memory_find(memory, name);
    cr_assert_not_null(file, "%s", name);
    free(file->data);
    file->data = NULL;
}

static inline void memory_put_text(struct memory_files *memory, const char *name, const char *text)
{
    (void)memory_write(&memory->files, name, text, strlen(text));
}

/* ---- keys and signing -------------------------------------------------------------------------- */

static inline struct key seed_of(unsigned number)
{
    struct key seed;
    memset(seed.bytes, (int)number, KEY_BYTES);
    return seed;
}

static inline struct public_key public_key_of(unsigned number)
{
    struct key seed = seed_of(number);
    struct public_key key;
    signature_public_key(&seed, &key);
    return key;
}

/* A certificate over `payload`, whose issuer.kid it sets. To be freed. */
static inline char *certificate_sign(json_t *payload, unsigned key, const char *kid)
{
    struct key seed = seed_of(key);
    json_object_set_new(json_object_get(payload, "issuer"), "kid", json_string(kid));
    char *jws = jws_sign(CERTIFICATE_JWS_TYPE, kid, &seed, payload);
    cr_assert_not_null(jws);
    return jws;
}

static inline char *checkpoint_sign(const char *origin, uint64_t size, const struct merkle_hash *root, unsigned key)
{
    struct checkpoint head = {.size = size, .root = *root};
    struct key seed = seed_of(key);
    struct public_key public_key = public_key_of(key);
    struct signature signature;
    char text[CHECKPOINT_BYTES_MAX];
    char *note = calloc(1, CHECKPOINT_BYTES_MAX);
    snprintf(head.origin, sizeof(head.origin), "%s", origin);
    checkpoint_text(&head, text);
    signature_sign(&seed, text, strlen(text), &signature);
    checkpoint_add_signature(&head, &public_key, &signature, note);
    return note;
}

/* ---- payloads ---------------------------------------------------------------------------------- */

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static inline json_t *json_of(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, 0, &error);
    cr_assert_not_null(value, "%s at %d", error.text, error.position);
    return value;
}

/* What all have. */
static inline json_t *payload_of(const char *type, uint64_t seq, const char *cert_id)
{
    json_t *payload = json_of(
        "{\"schema\":\"erasure-cert/1\",\"issued_at\":\"2026-01-02T03:04:09.000Z\",\"supersedes\":null,"
        "\"issuer\":{\"org\":null,\"cluster_id\":\"" CLUSTER
        "\",\"kid\":\"c/1\",\"software\":{\"name\":\"trilith-meta\",\"version\":\"0.1.0\",\"build_sha256\":null}},"
        "\"request\":{\"id\":null,\"requested_by\":null,\"requested_at\":null,\"reason_code\":null,"
        "\"legal_basis\":null,\"legal_hold_checked\":null,\"grace_until\":null,\"plan_sha256\":null,\"approvals\":[]},"
        "\"claim\":{\"method\":\"none\",\"technique\":null,\"scope\":null,\"basis\":[],\"statement\":\"-\"},"
        "\"result\":\"ERASED\",\"verification\":{\"method\":null,\"by\":null,\"at\":null,\"checks\":[]},"
        "\"residual\":[],\"not_claimed\":[\"Everything else.\"]}");
    json_object_set_new(payload, "type", json_string(type));
    json_object_set_new(payload, "seq", json_integer((json_int_t)seq));
    json_object_set_new(payload, "cert_id", json_string(cert_id));
    return payload;
}

static inline const char *cert_id_of(unsigned number)
{
    static char texts[8][40];
    static unsigned next;
    char *text = texts[next++ % 8];
    snprintf(text, sizeof(texts[0]), "01890000-0000-7000-8000-%012u", number);
    return text;
}

static inline json_t *object_payload(uint64_t seq, unsigned number)
{
    json_t *payload = payload_of(CERTIFICATE_OBJECT, seq, cert_id_of(number));
    json_t *more = json_of(
        "{\"request\":{\"id\":7,\"requested_by\":\"AKIA\",\"requested_at\":\"2026-01-02T03:04:05.000Z\","
        "\"reason_code\":\"delete\",\"legal_basis\":null,\"legal_hold_checked\":true,\"grace_until\":null,"
        "\"plan_sha256\":\"" HEX_A "\",\"approvals\":[]},"
        "\"claim\":{\"method\":\"none\",\"technique\":\"cryptographic-erase+overwrite\",\"scope\":\"object\",\"basis\":"
        "[\"-\"],"
        "\"statement\":\"-\"},"
        "\"verification\":{\"method\":\"attested-readback\",\"by\":\"nodes\",\"at\":\"2026-01-02T03:04:08.000Z\","
        "\"checks\":["
        "{\"name\":\"readback\",\"performed\":true,\"bytes\":8192,\"mismatch\":0}]},"
        "\"residual\":[\"FTL_CIPHERTEXT\",\"ROOT_SLOT_SOFTWARE\",\"VENDOR_FIRMWARE\",\"METADATA_UNTIL(unbounded)\"],"
        "\"subject\":{\"tenant_ref\":\"" HEX_A "\",\"object_ref\":\"" HEX_B
        "\",\"version_id\":\"000102030405060708090a0b0c0d0e0f\",\"size\":5000,\"chunk_count\":1,"
        "\"created_at\":\"2026-01-01T00:00:00.000Z\"},"
        "\"crypto\":{\"scheme\":\"EPV-1\",\"aead\":\"aes-256-gcm\",\"key_bits\":256,\"prf\":\"BLAKE2b-256\","
        "\"encrypted_since_creation\":true,\"page\":3,\"slot\":4,\"punctured\":{\"term\":null,\"index\":99,"
        "\"at\":\"2026-01-02T03:04:06.000Z\"},\"epoch\":12,\"epoch_erased_at\":\"2026-01-02T03:04:07.000Z\","
        "\"root_commit_old\":\"" HEX_A "\",\"root_commit_new\":\"" HEX_B
        "\",\"slots\":{\"n\":1,\"t\":1,\"backend\":\"file\",\"destroyed\":[0],\"pending\":[]},\"lease_expired_at\":"
        "null,"
        "\"copies\":{\"escrow\":\"none\",\"exports\":[],\"kms\":{\"key_version\":1,\"state\":\"active\",\"effective_"
        "at\":null}}},"
        "\"replicas\":[{\"node\":\"node1\",\"disk\":{\"uuid\":\"10101010-1010-1010-1010-101010101010\",\"wwn_ref\":"
        "null,"
        "\"serial_ref\":null,\"media\":\"solid-state\"},\"chunks\":2,\"bytes\":8192,\"never_held\":1,\"state\":"
        "\"wiped\","
        "\"technique\":\"overwrite\",\"attestations\":[\"" HEX_A
        "\"]}],\"ever_held_total\":3,\"shared_chunks_retained\":0,"
        "\"gateways\":{\"acked\":4,\"total\":4},\"metadata\":{\"names_sealed\":false,\"tombstone_compacted_by\":null,"
        "\"wal_purged_at\":null}}");
    json_object_update(payload, more);
    json_decref(more);
    return payload;
}

/* Make a batch of `count` objects, which get their member `batch`; returns the batch's payload. */
static inline json_t *batch_payload(json_t **objects, size_t count, uint64_t seq, unsigned number)
{
    struct merkle_hash leaves[16] = {0};
    struct merkle_hash root;
    char hex[2 * SHA256_BYTES + 1];
    for (size_t i = 0; i < count; i++) {
        cr_assert(certificate_leaf(objects[i], &leaves[i]));
    }
    merkle_root_of(leaves, count, &root);
    hex_encode(root.bytes, SHA256_BYTES, hex);
    for (size_t i = 0; i < count; i++) {
        struct merkle_hash path[MERKLE_PROOF_MAX];
        size_t length = merkle_path_of(leaves, count, i, path);
        json_t *list = json_array();
        for (size_t k = 0; k < length; k++) {
            char text[2 * SHA256_BYTES + 1];
            hex_encode(path[k].bytes, SHA256_BYTES, text);
            json_array_append_new(list, json_string(text));
        }
        json_object_set_new(objects[i], "batch",
                            json_pack("{s:s, s:s, s:i, s:o}", "epoch_cert_id", cert_id_of(number), "objects_root", hex,
                                      "leaf_index", (int)i, "path", list));
    }
    json_t *batch = payload_of(CERTIFICATE_BATCH, seq, cert_id_of(number));
    json_int_t first = json_integer_value(json_object_get(objects[0], "seq"));
    json_object_set_new(batch, "erasures",
                        json_pack("{s:i, s:s, s:I, s:I}", "count", (int)count, "objects_root", hex, "first_seq", first,
                                  "last_seq", first + (json_int_t)count - 1));
    json_object_set_new(
        batch, "vault",
        json_pack("{s:i, s:i, s:i, s:i}", "epoch", 13, "leaves_live", 5, "leaves_punctured", 2, "leaves_erased", 2));
    json_object_set_new(
        batch, "totals",
        json_pack("{s:I, s:I, s:i}", "certificates", (json_int_t)seq, "erasures", (json_int_t)seq, "open", 0));
    return batch;
}

static inline json_t *manifest_payload(uint64_t seq, unsigned number, const unsigned *keys, size_t count)
{
    json_t *manifest = payload_of(CERTIFICATE_MANIFEST, seq, cert_id_of(number));
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        struct public_key key = public_key_of(keys[i]);
        char hex[2 * PUBLIC_KEY_BYTES + 1];
        hex_encode(key.bytes, PUBLIC_KEY_BYTES, hex);
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:n, s:n}", "number", (int)keys[i], "kid", "c/x",
                                              "public_key", hex, "created_at", "retired_at"));
    }
    json_object_set_new(manifest, "keys", list);
    json_object_set_new(manifest, "result", json_null());
    return manifest;
}

/* The ledger's entry of a certificate. */
static inline size_t entry_text(const json_t *payload, const char *jws, char entry[512])
{
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    sha256(jws, strlen(jws), digest);
    hex_encode(digest, SHA256_BYTES, hex);
    int length = snprintf(entry, 512, "{\"cert_id\":\"%s\",\"epoch\":13,\"sha256\":\"%s\",\"type\":\"%s\",\"v\":1}",
                          certificate_text(payload, "cert_id"), hex, certificate_text(payload, "type"));
    return (size_t)length;
}

#endif
