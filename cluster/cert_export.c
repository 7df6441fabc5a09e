/* cert_export.c - the files of an export, one after another. */
#include "cluster/cert_export.h"

#include "base/checkpoint.h"
#include "base/jws.h"
#include "cluster/evidence_texts.h"
#include "cluster/tlog_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_KEYS_MAX 64 /* different keys in one export */

struct writing {
    const struct cert_export *export;
    struct evidence_files *files;
    enum status status; /* the first that is not STATUS_OK; nothing is written from then on */
};

static void put(struct writing *writing, const char *path, const void *data, size_t bytes)
{
    if (writing->status == STATUS_OK) {
        writing->status = writing->files->write(writing->files, path, data, bytes);
    }
}

static void put_text(struct writing *writing, const char *path, const char *text)
{
    put(writing, path, text, strlen(text));
}

static void refuse(struct writing *writing, enum status status)
{
    if (writing->status == STATUS_OK) {
        writing->status = status;
    }
}

/* ---- keys ------------------------------------------------------------------------------------------- */

static bool key_of(const ProtobufCBinaryData *bytes, struct public_key *key)
{
    if (bytes->len != PUBLIC_KEY_BYTES) {
        return false;
    }
    memcpy(key->bytes, bytes->data, PUBLIC_KEY_BYTES);
    return true;
}

static void put_key(struct writing *writing, const char *path, const struct public_key *key)
{
    char pem[PUBLIC_KEY_PEM_BYTES];
    public_key_to_pem(key, pem);
    put_text(writing, path, pem);
}

/* The key that a JWS says it is signed with. */
static bool issuer_of(const Trilith__SigningKeyListReply *keys, const char *text, struct public_key *key)
{
    struct jws jws;
    bool found = false;
    if (jws_open(&jws, text, strlen(text)) == STATUS_OK) {
        for (size_t i = 0; i < keys->n_keys && !found; i++) {
            found = strcmp(keys->keys[i]->kid, jws.kid) == 0 && key_of(&keys->keys[i]->public_key, key);
        }
    }
    jws_close(&jws);
    return found;
}

/* All keys without which a signature here could not be checked: issuer.pem, and others as ledger.pem. */
static void put_keys(struct writing *writing)
{
    static const char *const paths[] = {"ledger.pem", "ledger-2.pem"};
    const Trilith__CertGetReply *found = writing->export->found;
    const Trilith__SigningKeyListReply *keys = writing->export->keys;
    struct public_key issuer;
    struct public_key batch_issuer;
    if (!issuer_of(keys, found->certificate->jws, &issuer) ||
        (found->batch != NULL && !issuer_of(keys, found->batch->jws, &batch_issuer))) {
        refuse(writing, STATUS_CORRUPT);
        return;
    }
    put_key(writing, "issuer.pem", &issuer);
    size_t others = 0;
    bool signed_at_all = false;
    for (size_t i = 0; i < keys->n_keys; i++) {
        struct public_key key;
        struct checkpoint checkpoint;
        if (!key_of(&keys->keys[i]->public_key, &key)) {
            continue;
        }
        bool signed_head =
            checkpoint_open(found->checkpoint, strlen(found->checkpoint), &key, 1, &checkpoint) == STATUS_OK;
        bool signed_batch = found->batch != NULL && memcmp(&batch_issuer, &key, sizeof(key)) == 0;
        signed_at_all = signed_at_all || signed_head;
        if ((signed_head || signed_batch) && memcmp(&issuer, &key, sizeof(key)) != 0) {
            if (others == ARRAY_LENGTH(paths)) {
                refuse(writing, STATUS_CORRUPT);
                return;
            }
            put_key(writing, paths[others++], &key);
        }
    }
    if (!signed_at_all) {
        refuse(writing, STATUS_CORRUPT);
    }
}

/* ---- the ledger -------------------------------------------------------------------------------------- */

static void put_proof(struct writing *writing)
{
    const Trilith__CertGetReply *found = writing->export->found;
    struct tlog_proof *proof = calloc(1, sizeof(*proof));
    bool fits = found->n_proof <= MERKLE_PROOF_MAX && found->ledger_entry.len <= TLOG_PROOF_EXTRA_MAX;
    for (size_t i = 0; fits && i < found->n_proof; i++) {
        fits = found->proof[i].len == SHA256_BYTES;
    }
    if (proof == NULL || !fits) {
        refuse(writing, proof == NULL ? STATUS_BUSY : STATUS_CORRUPT);
        free(proof);
        return;
    }
    memcpy(proof->extra, found->ledger_entry.data, found->ledger_entry.len);
    proof->extra_bytes = found->ledger_entry.len;
    proof->index = found->certificate->ledger_index;
    proof->hash_count = found->n_proof;
    for (size_t i = 0; i < found->n_proof; i++) {
        memcpy(proof->hashes[i].bytes, found->proof[i].data, SHA256_BYTES);
    }
    proof->note = found->checkpoint;
    proof->note_bytes = strlen(found->checkpoint);
    char *text = tlog_proof_write(proof);
    free(proof);
    if (text == NULL) {
        refuse(writing, STATUS_CORRUPT);
        return;
    }
    put_text(writing, "checkpoint", found->checkpoint);
    put_text(writing, "proof.tlog-proof", text);
    put(writing, "ledger-entry.json", found->ledger_entry.data, found->ledger_entry.len);
    free(text);
}

/* ---- attestations ------------------------------------------------------------------------------------ */

/* Keys of nodes that are written already. */
struct node_keys {
    struct {
        const char *node;
        struct public_key key;
    } known[NODE_KEYS_MAX];
    size_t count;
};

static void put_node_key(struct writing *writing, struct node_keys *keys, const Trilith__AttestationGetReply *reply)
{
    struct public_key key;
    unsigned number = 1;
    if (!evidence_name_is_plain(reply->node) || !key_of(&reply->public_key, &key)) {
        refuse(writing, STATUS_CORRUPT);
        return;
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->known[i].node, reply->node) == 0) {
            if (memcmp(&keys->known[i].key, &key, sizeof(key)) == 0) {
                return;
            }
            number++;
        }
    }
    if (keys->count == NODE_KEYS_MAX) {
        refuse(writing, STATUS_TOO_LARGE);
        return;
    }
    keys->known[keys->count].node = reply->node;
    keys->known[keys->count++].key = key;
    char path[CERT_EXPORT_PATH_BYTES];
    char suffix[16] = "";
    if (number > 1) {
        snprintf(suffix, sizeof(suffix), "+%u", number);
    }
    snprintf(path, sizeof(path), "nodes/%s%s.pem", reply->node, suffix);
    put_key(writing, path, &key);
}

static void put_attestations(struct writing *writing)
{
    const Trilith__CertGetReply *found = writing->export->found;
    struct node_keys keys = {.count = 0};
    for (size_t i = 0; i < found->n_attestations; i++) {
        char hex[2 * SHA256_BYTES + 1];
        char path[CERT_EXPORT_PATH_BYTES];
        const Trilith__AttestationGetReply *reply = writing->export->attestations[i];
        if (reply == NULL || found->attestations[i].len != SHA256_BYTES) {
            refuse(writing, STATUS_CORRUPT);
            return;
        }
        hex_encode(found->attestations[i].data, SHA256_BYTES, hex);
        snprintf(path, sizeof(path), "attestations/%s.jws", hex);
        put(writing, path, reply->jws.data, reply->jws.len);
        put_node_key(writing, &keys, reply);
    }
}

/* ---- people ------------------------------------------------------------------------------------------ */

static void put_person(struct writing *writing, const char *name)
{
    const Trilith__PersonListReply *people = writing->export->people;
    for (size_t i = 0; people != NULL && i < people->n_people; i++) {
        struct public_key key;
        char path[CERT_EXPORT_PATH_BYTES];
        if (strcmp(people->people[i]->name, name) == 0 && evidence_name_is_plain(name) &&
            key_of(&people->people[i]->public_key, &key)) {
            snprintf(path, sizeof(path), "people/%s.pem", name);
            put_key(writing, path, &key);
            return;
        }
    }
}

/* The keys of those who approved, as far as they are on record and their name may be a file's. */
static void put_people(struct writing *writing)
{
    struct jws jws;
    const char *text = writing->export->found->certificate->jws;
    if (jws_open(&jws, text, strlen(text)) == STATUS_OK) {
        const json_t *list = json_object_get(json_object_get(jws.payload, "request"), "approvals");
        for (size_t i = 0; i < json_array_size(list); i++) {
            struct jws approval;
            const char *signed_text = json_string_value(json_array_get(list, i));
            if (signed_text == NULL) {
                continue;
            }
            if (jws_open(&approval, signed_text, strlen(signed_text)) == STATUS_OK) {
                put_person(writing, approval.kid);
            }
            jws_close(&approval);
        }
    }
    jws_close(&jws);
}

/* ---- the object -------------------------------------------------------------------------------------- */

bool cert_object_ref(const struct cert_opening *opening, const uint8_t version_id[16], uint8_t reference[32])
{
    size_t bucket_bytes = strlen(opening->bucket);
    size_t bytes = 16 + bucket_bytes + 1 + opening->key_bytes;
    uint8_t *message = malloc(bytes);
    if (message == NULL) {
        return false;
    }
    memcpy(message, version_id, 16);
    memcpy(message + 16, opening->bucket, bucket_bytes + 1);
    memcpy(message + 16 + bucket_bytes + 1, opening->key, opening->key_bytes);
    hmac_sha256(opening->ref_salt, sizeof(opening->ref_salt), message, bytes, reference);
    free(message);
    return true;
}

static void put_opening(struct writing *writing, const struct cert_opening *opening)
{
    size_t bucket_bytes = strlen(opening->bucket) + 1;
    char salt[2 * sizeof(opening->ref_salt) + 1];
    size_t room = 2 * (bucket_bytes + opening->key_bytes) + sizeof(salt) + 64;
    char *text = malloc(room);
    if (text == NULL) {
        refuse(writing, STATUS_BUSY);
        return;
    }
    hex_encode(opening->ref_salt, sizeof(opening->ref_salt), salt);
    size_t used = (size_t)snprintf(text, room, "{\"name\":\"");
    hex_encode((const uint8_t *)opening->bucket, bucket_bytes, text + used);
    used += 2 * bucket_bytes;
    hex_encode(opening->key, opening->key_bytes, text + used);
    used += 2 * opening->key_bytes;
    used += (size_t)snprintf(text + used, room - used, "\",\"ref_salt\":\"%s\"}", salt);
    put(writing, "opening.json", text, used);
    free(text);
}

/* ---- all of it --------------------------------------------------------------------------------------- */

enum status cert_export_write(const struct cert_export *export, struct evidence_files *files)
{
    struct writing writing = {.export = export, .files = files, .status = STATUS_OK};
    const Trilith__CertGetReply *found = export->found;
    if (found->certificate == NULL || found->certificate->jws[0] == '\0' ||
        (found->certificate->batch_seq != 0 && found->batch == NULL)) {
        return STATUS_CORRUPT;
    }
    put_text(&writing, "certificate.jws", found->certificate->jws);
    if (found->batch != NULL) {
        put_text(&writing, "batch.jws", found->batch->jws);
    }
    put_keys(&writing);
    put_proof(&writing);
    put_attestations(&writing);
    put_people(&writing);
    if (export->opening != NULL) {
        put_opening(&writing, export->opening);
    }
    if (!export->in_archive) {
        put(&writing, "README.txt", README_certificate_txt, sizeof(README_certificate_txt));
        put(&writing, "verify.sh", verify_sh, sizeof(verify_sh));
    }
    return writing.status;
}

enum status cert_export_archive_texts(struct evidence_files *files)
{
    static const char script[] = "#!/bin/sh\n"
                                 "# verify.sh - verifies every certificate in this archive; see README.txt.\n"
                                 "cd \"$(dirname \"$0\")\" || exit 1\n"
                                 "count=0\n"
                                 "for directory in certificates/*/; do\n"
                                 "    echo \"$directory\"\n"
                                 "    sh verify-certificate.sh \"$directory\" || exit 1\n"
                                 "    count=$((count + 1))\n"
                                 "done\n"
                                 "echo \"$count certificates verified\"\n";
    struct writing writing = {.files = files, .status = STATUS_OK};
    put(&writing, "README.txt", README_archive_txt, sizeof(README_archive_txt));
    put_text(&writing, "verify.sh", script);
    put(&writing, "README-certificate.txt", README_certificate_txt, sizeof(README_certificate_txt));
    put(&writing, "verify-certificate.sh", verify_sh, sizeof(verify_sh));
    return writing.status;
}
