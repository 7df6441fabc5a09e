/* evidence_batch.c - the certificate over many object certificates, and the one that lists the signing keys. */
#include "meta/evidence.h"

#include <stdlib.h>
#include <string.h>

/* ---- the batch --------------------------------------------------------------------------------- */

/* The member that would stand before `batch` if there were one: members are in order. */
static const char first_member[] = "{\"cert_id\":";

json_t *evidence_batch_place(const char *id, const struct merkle_hash *leaves, size_t count, size_t index)
{
    struct merkle_hash path[MERKLE_PROOF_MAX];
    struct merkle_hash root;
    size_t length = merkle_path_of(leaves, count, index, path);
    bool good = true;
    json_t *value = json_object();
    json_t *list = json_array();
    merkle_root_of(leaves, count, &root);
    for (size_t i = 0; i < length; i++) {
        good = json_array_append_new(list, evidence_hex(path[i].bytes, sizeof(path[i].bytes))) == 0 && good;
    }
    evidence_put(value, "epoch_cert_id", json_string(id), &good);
    evidence_put(value, "objects_root", evidence_hex(root.bytes, sizeof(root.bytes)), &good);
    evidence_put(value, "leaf_index", evidence_number(index), &good);
    evidence_put(value, "path", list, &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

char *evidence_batch_join(const char *object, size_t object_bytes, const json_t *place, size_t *bytes)
{
    static const char label[] = "{\"batch\":";
    size_t place_bytes = 0;
    char *place_text = json_canonical(place, &place_bytes);
    char *text = place_text == NULL ? NULL : malloc(sizeof(label) + place_bytes + object_bytes + 1);
    CHECK(object_bytes > sizeof(first_member) && memcmp(object, first_member, sizeof(first_member) - 1) == 0);
    if (text != NULL) {
        size_t at = sizeof(label) - 1;
        memcpy(text, label, at);
        memcpy(text + at, place_text, place_bytes);
        at += place_bytes;
        text[at++] = ',';
        memcpy(text + at, object + 1, object_bytes - 1); /* Without its brace. */
        at += object_bytes - 1;
        text[at] = '\0';
        *bytes = at;
    }
    free(place_text);
    return text;
}

static json_t *erasures_value(const struct merkle_hash *leaves, size_t count, uint64_t last_seq, bool *good)
{
    json_t *value = json_object();
    struct merkle_hash root;
    merkle_root_of(leaves, count, &root);
    evidence_put(value, "count", evidence_number(count), good);
    evidence_put(value, "objects_root", evidence_hex(root.bytes, sizeof(root.bytes)), good);
    evidence_put(value, "first_seq", evidence_number(last_seq + 1 - count), good);
    evidence_put(value, "last_seq", evidence_number(last_seq), good);
    return value;
}

static void cluster_fill(json_t *batch, const Trilith__ClusterRecord *cluster, uint64_t seq, bool *good)
{
    json_t *vault = json_object();
    json_t *totals = json_object();
    evidence_put(vault, "epoch", evidence_number(cluster->epoch), good);
    evidence_put(vault, "leaves_live", evidence_number(cluster->leaves_live), good);
    evidence_put(vault, "leaves_punctured", evidence_number(cluster->leaves_punctured), good);
    evidence_put(vault, "leaves_erased", evidence_number(cluster->leaves_erased), good);
    evidence_put(totals, "certificates", evidence_number(seq), good);
    evidence_put(totals, "erasures", evidence_number(cluster->next_erasure_id == 0 ? 0 : cluster->next_erasure_id - 1),
                 good);
    evidence_put(totals, "open", evidence_number(cluster->erasures_open), good);
    evidence_put(batch, "vault", vault, good);
    evidence_put(batch, "totals", totals, good);
}

json_t *evidence_batch(const struct evidence_issuer *issuer, const Trilith__ClusterRecord *cluster, const char *id,
                       uint64_t seq, const struct merkle_hash *leaves, size_t count, bool is_partial)
{
    CHECK(count > 0);
    const struct evidence_common common = {.type = EVIDENCE_BATCH,
                                           .id = id,
                                           .seq = seq,
                                           .method = "none",
                                           .technique = evidence_technique_ce,
                                           .scope = "object",
                                           .statement = evidence_statement_batch,
                                           .result = is_partial ? EVIDENCE_PARTIAL : EVIDENCE_ERASED,
                                           .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_MEDIA_LEVEL)};
    json_t *batch = evidence_begin(issuer, &common);
    bool good = batch != NULL;
    evidence_put(batch, "erasures", erasures_value(leaves, count, seq - 1, &good), &good);
    cluster_fill(batch, cluster, seq, &good);
    if (!good) {
        json_decref(batch);
        return NULL;
    }
    return batch;
}

/* ---- keys -------------------------------------------------------------------------------------- */

static json_t *key_value(const Trilith__SigningKey *key, bool *good)
{
    json_t *value = json_object();
    evidence_put(value, "number", evidence_number(key->number), good);
    evidence_put(value, "kid", evidence_text(key->kid), good);
    evidence_put(value, "public_key", evidence_hex(key->public_key.data, key->public_key.len), good);
    evidence_put(value, "created_at", evidence_time(key->created_ms), good);
    evidence_put(value, "retired_at", evidence_time(key->retired_ms), good);
    return value;
}

json_t *evidence_manifest(const struct evidence_issuer *issuer, const char *id, uint64_t seq,
                          const Trilith__SigningKey *const *keys, size_t count)
{
    const struct evidence_common common = {.type = EVIDENCE_MANIFEST,
                                           .id = id,
                                           .seq = seq,
                                           .method = "none",
                                           .statement = evidence_statement_manifest,
                                           .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_KEY_CUSTODY)};
    json_t *manifest = evidence_begin(issuer, &common);
    json_t *list = json_array();
    bool good = manifest != NULL;
    for (size_t i = 0; i < count; i++) {
        good = json_array_append_new(list, key_value(keys[i], &good)) == 0 && good;
    }
    evidence_put(manifest, "keys", list, &good);
    if (!good) {
        json_decref(manifest);
        return NULL;
    }
    return manifest;
}
