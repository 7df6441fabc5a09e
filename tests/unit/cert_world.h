/* cert_world.h - a small ledger of real, signed certificates, as a service would answer for them: for tests of who
 * reads them.
 *
 * Five entries: a key manifest, two batches of three objects each, and two certificates of their own. World is opened
 * with cert_world_open(); the answers belong to it. */
#ifndef TRILITH_TESTS_CERT_WORLD_H
#define TRILITH_TESTS_CERT_WORLD_H

#include "base/checkpoint.h"
#include "base/jws.h"
#include "cluster/cert_export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_CLUSTER "6f1c0000-0000-4000-8000-0000000000e2"
#define WORLD_ENTRIES 5u
#define WORLD_BATCH   3u
#define WORLD_SUBJECT 2u /* the batch that is exported is entry 2 */

struct cert_world {
    struct key seed;
    struct key node_seed;
    struct public_key key;
    struct public_key node_key;
    char *entry_jws[WORLD_ENTRIES];
    char entries[WORLD_ENTRIES][512];
    char *object_jws[WORLD_BATCH];
    char *attestation;
    uint8_t attestation_sha256[SHA256_BYTES];
    char note[CHECKPOINT_BYTES_MAX];
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    size_t proof_count;
    struct cert_opening opening;

    Trilith__Certificate certificate;
    Trilith__Certificate batch;
    Trilith__CertGetReply reply;
    ProtobufCBinaryData proof_data[MERKLE_PROOF_MAX];
    ProtobufCBinaryData attestation_hash;
    Trilith__AttestationGetReply attestation_reply;
    const Trilith__AttestationGetReply *attestations[1];
    Trilith__SigningKey signing_key;
    Trilith__SigningKey *signing_keys[1];
    Trilith__SigningKeyListReply keys;
    struct cert_export export;
};

#define WORLD_TYPE "erasure-cert+jws"
#define WORLD_KID  WORLD_CLUSTER "/1"

static inline char *world_sign(const struct cert_world *world, json_t *payload)
{
    char *jws = jws_sign(WORLD_TYPE, WORLD_KID, &world->seed, payload);
    json_decref(payload);
    CHECK(jws != NULL);
    return jws;
}

static inline char *world_hex(const void *data, size_t bytes, char *text)
{
    hex_encode(data, bytes, text);
    return text;
}

static inline void world_attest(struct cert_world *world)
{
    json_t *payload = json_pack("{s:s, s:[{s:I, s:i}], s:i}", "node", "node1", "entries", "erasure", (json_int_t)17,
                                "wiped", 1, "count", 1);
    world->attestation = jws_sign("replica-wipe-attest+jws", "node1", &world->node_seed, payload);
    CHECK(world->attestation != NULL);
    json_decref(payload);
    sha256(world->attestation, strlen(world->attestation), world->attestation_sha256);
}

static inline json_t *world_object(const struct cert_world *world, unsigned number)
{
    char hash[65];
    char reference[65];
    char version[33];
    uint8_t version_id[16];
    uint8_t object_ref[32];
    memset(version_id, (int)(0x10 + number), sizeof(version_id));
    CHECK(cert_object_ref(&world->opening, version_id, object_ref));
    return json_pack("{s:s, s:s, s:I, s:{s:I, s:[]}, s:{s:s, s:s}, s:[{s:s, s:[s]}], s:{s:s}}", "type",
                     "object-erasure", "cert_id", "018f0000-0000-7000-8000-0000000000c1", "seq",
                     (json_int_t)(3 + number), "request", "id", (json_int_t)17, "approvals", "subject", "object_ref",
                     world_hex(object_ref, 32, reference), "version_id", world_hex(version_id, 16, version), "replicas",
                     "node", "node1", "attestations", world_hex(world->attestation_sha256, 32, hash), "claim",
                     "statement", "text with \xc3\xa4, \"quotes\" and {braces}");
}

/* Three objects, and the certificate of the batch that they make up. */
static inline json_t *world_batch(struct cert_world *world)
{
    struct merkle_hash leaves[WORLD_BATCH];
    struct merkle_hash root;
    json_t *objects[WORLD_BATCH];
    char hex[65];
    for (unsigned i = 0; i < WORLD_BATCH; i++) {
        size_t bytes;
        objects[i] = world_object(world, i);
        char *text = json_canonical(objects[i], &bytes);
        CHECK(text != NULL);
        merkle_leaf(text, bytes, &leaves[i]);
        free(text);
    }
    merkle_root_of(leaves, WORLD_BATCH, &root);
    for (unsigned i = 0; i < WORLD_BATCH; i++) {
        struct merkle_hash path[MERKLE_PROOF_MAX];
        json_t *list = json_array();
        size_t count = merkle_path_of(leaves, WORLD_BATCH, i, path);
        for (size_t k = 0; k < count; k++) {
            json_array_append_new(list, json_string(world_hex(path[k].bytes, 32, hex)));
        }
        json_object_set_new(objects[i], "batch",
                            json_pack("{s:s, s:s, s:I, s:o}", "epoch_cert_id", "018f0000-0000-7000-8000-00000000ba7c",
                                      "objects_root", world_hex(root.bytes, 32, hex), "leaf_index", (json_int_t)i,
                                      "path", list));
        world->object_jws[i] = world_sign(world, objects[i]);
    }
    return json_pack("{s:s, s:s, s:{s:I, s:s, s:I, s:I}}", "type", "erasure-batch", "cert_id",
                     "018f0000-0000-7000-8000-00000000ba7c", "erasures", "count", (json_int_t)WORLD_BATCH,
                     "objects_root", world_hex(root.bytes, 32, hex), "first_seq", (json_int_t)3, "last_seq",
                     (json_int_t)5);
}

/* The ledger: its entries, the checkpoint, the way of one of them. */
static inline void world_ledger(struct cert_world *world)
{
    struct merkle_hash leaves[WORLD_ENTRIES];
    struct checkpoint checkpoint = {.size = WORLD_ENTRIES};
    struct signature signature;
    char text[CHECKPOINT_BYTES_MAX];
    for (unsigned i = 0; i < WORLD_ENTRIES; i++) {
        uint8_t hash[SHA256_BYTES];
        char hex[65];
        world->entry_jws[i] = world_sign(
            world, i == WORLD_SUBJECT ? world_batch(world)
                                      : json_pack("{s:s, s:I}", "type", "key-manifest", "seq", (json_int_t)(i + 1)));
        sha256(world->entry_jws[i], strlen(world->entry_jws[i]), hash);
        snprintf(world->entries[i], sizeof(world->entries[i]),
                 "{\"cert_id\":\"018f0000-0000-7000-8000-00000000ba7c\",\"epoch\":3,\"sha256\":\"%s\",\"type\":"
                 "\"erasure-batch\","
                 "\"v\":1}",
                 world_hex(hash, 32, hex));
        merkle_leaf(world->entries[i], strlen(world->entries[i]), &leaves[i]);
    }
    snprintf(checkpoint.origin, sizeof(checkpoint.origin), "trilith/%s", WORLD_CLUSTER);
    merkle_root_of(leaves, WORLD_ENTRIES, &checkpoint.root);
    world->proof_count = merkle_path_of(leaves, WORLD_ENTRIES, WORLD_SUBJECT, world->proof);
    checkpoint_text(&checkpoint, text);
    signature_sign(&world->seed, text, strlen(text), &signature);
    world->note[0] = '\0';
    checkpoint_add_signature(&checkpoint, &world->key, &signature, world->note);
}

static inline void world_answer(struct cert_world *world)
{
    trilith__certificate__init(&world->certificate);
    trilith__certificate__init(&world->batch);
    trilith__cert_get_reply__init(&world->reply);
    trilith__attestation_get_reply__init(&world->attestation_reply);
    trilith__signing_key__init(&world->signing_key);
    trilith__signing_key_list_reply__init(&world->keys);
    world->certificate.jws = world->object_jws[1];
    world->certificate.batch_seq = 2;
    world->certificate.ledger_index = WORLD_SUBJECT;
    world->batch.jws = world->entry_jws[WORLD_SUBJECT];
    world->reply.certificate = &world->certificate;
    world->reply.batch = &world->batch;
    world->reply.checkpoint = world->note;
    world->reply.ledger_size = WORLD_ENTRIES;
    world->reply.ledger_entry.data = (uint8_t *)world->entries[WORLD_SUBJECT];
    world->reply.ledger_entry.len = strlen(world->entries[WORLD_SUBJECT]);
    for (size_t i = 0; i < world->proof_count; i++) {
        world->proof_data[i] = (ProtobufCBinaryData){.data = world->proof[i].bytes, .len = SHA256_BYTES};
    }
    world->reply.proof = world->proof_data;
    world->reply.n_proof = world->proof_count;
    world->attestation_hash = (ProtobufCBinaryData){.data = world->attestation_sha256, .len = SHA256_BYTES};
    world->reply.attestations = &world->attestation_hash;
    world->reply.n_attestations = 1;
    world->attestation_reply.jws =
        (ProtobufCBinaryData){.data = (uint8_t *)world->attestation, .len = strlen(world->attestation)};
    static char node[] = "node1";
    static char kid[] = WORLD_KID;
    world->attestation_reply.node = node;
    world->attestation_reply.public_key = (ProtobufCBinaryData){.data = world->node_key.bytes, .len = PUBLIC_KEY_BYTES};
    world->attestations[0] = &world->attestation_reply;
    world->signing_key.number = 1;
    world->signing_key.kid = kid;
    world->signing_key.public_key = (ProtobufCBinaryData){.data = world->key.bytes, .len = PUBLIC_KEY_BYTES};
    world->signing_keys[0] = &world->signing_key;
    world->keys.keys = world->signing_keys;
    world->keys.n_keys = 1;
    world->export = (struct cert_export){
        .found = &world->reply, .keys = &world->keys, .attestations = world->attestations, .opening = &world->opening};
}

/* In memory of its own that keeps its place: answers point into it. */
static inline struct cert_world *cert_world_open(void)
{
    static const uint8_t key[] = "a/report of 2026.pdf";
    struct cert_world *world = calloc(1, sizeof(*world));
    CHECK(world != NULL);
    memset(world->seed.bytes, 0x11, KEY_BYTES);
    memset(world->node_seed.bytes, 0x22, KEY_BYTES);
    signature_public_key(&world->seed, &world->key);
    signature_public_key(&world->node_seed, &world->node_key);
    world->opening = (struct cert_opening){.bucket = "films", .key = key, .key_bytes = sizeof(key) - 1};
    memset(world->opening.ref_salt, 0x33, sizeof(world->opening.ref_salt));
    world_attest(world);
    world_ledger(world);
    world_answer(world);
    return world;
}

static inline void cert_world_close(struct cert_world *world)
{
    for (unsigned i = 0; i < WORLD_ENTRIES; i++) {
        free(world->entry_jws[i]);
    }
    for (unsigned i = 0; i < WORLD_BATCH; i++) {
        free(world->object_jws[i]);
    }
    free(world->attestation);
    free(world);
}

#endif
