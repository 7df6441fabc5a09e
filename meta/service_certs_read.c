/* service_certs_read.c - requests that read evidence: certificates, the ledger, attestations, signing keys. */
#include "meta/service_private.h"

#include "meta/certificates.h"
#include "meta/evidence.h"
#include "meta/ledger.h"
#include "meta/registry.h"

#include "base/jws_pack.h"

#include <stdio.h>
#include <stdlib.h>

#define ATTESTATIONS_MAX 4096u /* that one certificate names */

/* ---- certificates ------------------------------------------------------------------------------ */

void serve_cert_list(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__CertListRequest *message = MESSAGE_OF(request, Trilith__CertListRequest);
    struct tables *tables = service_tables(service);
    Trilith__CertListReply reply = TRILITH__CERT_LIST_REPLY__INIT;
    Trilith__TenantRecord *tenant = NULL;
    struct certificate_query query = {.after_seq = message->after_seq,
                                      .max = message->max,
                                      .from_ms = message->from_ms,
                                      .until_ms = message->until_ms,
                                      .object_ref = message->object_ref};
    enum status status = STATUS_OK;
    if (message->tenant[0] != '\0') {
        status = tenant_by_name(tables, message->tenant, &tenant);
        query.tenant_id = status == STATUS_OK ? tenant->id : 0;
    }
    if (status == STATUS_OK) {
        status = certificate_list(tables, &query, &reply);
    }
    service_reply(service, request, status, &reply);
}

/* The attestations that a payload names, wherever it does, each once. */
struct named_attestations {
    struct tables *tables;
    ProtobufCBinaryData *list; /* ATTESTATIONS_MAX */
    size_t count;
};

static void attestation_add(struct named_attestations *named, const json_t *value)
{
    uint8_t hash[SHA256_BYTES];
    const char *hex = json_string_value(value);
    if (hex == NULL || named->count == ATTESTATIONS_MAX || !hex_decode(hex, strlen(hex), hash, sizeof(hash))) {
        return;
    }
    for (size_t i = 0; i < named->count; i++) {
        if (memcmp(named->list[i].data, hash, sizeof(hash)) == 0) {
            return;
        }
    }
    void *copy = scratch_copy(&named->tables->scratch, hash, sizeof(hash));
    if (copy != NULL) {
        named->list[named->count++] = (ProtobufCBinaryData){.data = copy, .len = sizeof(hash)};
    }
}

/* A canonical payload nests at most JSON_DEPTH_MAX deep. */
static void attestations_find(struct named_attestations *named, json_t *value) // NOLINT(misc-no-recursion)
{
    const char *key = NULL;
    json_t *member = NULL;
    size_t index = 0;
    json_object_foreach(value, key, member)
    {
        if (strcmp(key, "attestations") != 0) {
            attestations_find(named, member);
            continue;
        }
        json_t *hash = NULL;
        json_array_foreach(member, index, hash)
        {
            attestation_add(named, hash);
        }
    }
    json_array_foreach(value, index, member)
    {
        attestations_find(named, member);
    }
}

static enum status attestations_of(struct tables *tables, const char *text, Trilith__CertGetReply *reply)
{
    struct named_attestations named = {
        .tables = tables, .list = scratch_take(&tables->scratch, ATTESTATIONS_MAX * sizeof(ProtobufCBinaryData))};
    struct jws jws;
    enum status status = named.list == NULL ? STATUS_TOO_LARGE : jws_open(&jws, text, strlen(text));
    if (named.list == NULL) {
        return status;
    }
    if (status == STATUS_OK) {
        attestations_find(&named, jws.payload);
        reply->attestations = named.list;
        reply->n_attestations = named.count;
    }
    jws_close(&jws);
    return status == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
}

static enum status certificate_find(struct tables *tables, const Trilith__CertGetRequest *message,
                                    Trilith__Certificate **certificate)
{
    if (message->id[0] != '\0') {
        return certificate_by_id(tables, message->id, certificate);
    }
    return message->erasure_id != 0 ? certificate_of_erasure(tables, message->erasure_id, certificate)
                                    : certificate_by_seq(tables, message->seq, certificate);
}

/* The leaf's entry, and its proof in the tree of the last checkpoint. */
static enum status proof_fill(struct meta_service *service, struct tables *tables, Trilith__CertGetReply *reply)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    uint64_t index = reply->certificate->ledger_index;
    struct merkle_hash *proof = scratch_take(&tables->scratch, MERKLE_PROOF_MAX * sizeof(*proof));
    reply->proof = scratch_take(&tables->scratch, MERKLE_PROOF_MAX * sizeof(reply->proof[0]));
    if (proof == NULL || reply->proof == NULL) {
        return STATUS_TOO_LARGE;
    }
    enum status status = ledger_checkpoint(tables, &reply->checkpoint);
    reply->ledger_size = cluster->ledger_size;
    if (status == STATUS_OK) {
        status = ledger_proof(tables, index, cluster->ledger_size, proof, &reply->n_proof);
    }
    for (size_t i = 0; status == STATUS_OK && i < reply->n_proof; i++) {
        reply->proof[i] = (ProtobufCBinaryData){.data = proof[i].bytes, .len = sizeof(proof[i].bytes)};
    }
    return status == STATUS_OK ? ledger_entry(tables, index, &reply->ledger_entry) : status;
}

void serve_cert_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__CertGetRequest *message = MESSAGE_OF(request, Trilith__CertGetRequest);
    struct tables *tables = service_tables(service);
    Trilith__CertGetReply reply;
    trilith__cert_get_reply__init(&reply);
    enum status status = certificate_find(tables, message, &reply.certificate);
    if (status == STATUS_OK && reply.certificate->batch_seq != 0) {
        status = certificate_by_seq(tables, reply.certificate->batch_seq, &reply.batch);
    }
    if (status == STATUS_OK) {
        status = certificate_unpack(tables, reply.certificate);
    }
    if (status == STATUS_OK) {
        status = proof_fill(service, tables, &reply);
    }
    if (status == STATUS_OK) {
        status = attestations_of(tables, reply.certificate->jws, &reply);
    }
    service_reply(service, request, status, &reply);
}

/* ---- the ledger -------------------------------------------------------------------------------- */

void serve_ledger_head(struct meta_service *service, struct rpc_request *request)
{
    static char none[] = "";
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    Trilith__LedgerHeadReply reply;
    trilith__ledger_head_reply__init(&reply);
    enum status status = ledger_checkpoint(service_tables(service), &reply.checkpoint);
    if (status == STATUS_NOT_FOUND) {
        reply.checkpoint = none;
        status = STATUS_OK;
    }
    reply.size = cluster->ledger_size;
    reply.root = cluster->ledger_root;
    reply.certificates = cluster->certificates;
    service_reply(service, request, status, &reply);
}

void serve_ledger_read(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__LedgerReadRequest *message = MESSAGE_OF(request, Trilith__LedgerReadRequest);
    Trilith__LedgerReadReply reply = TRILITH__LEDGER_READ_REPLY__INIT;
    enum status status = ledger_read(service_tables(service), message->first, message->max, &reply);
    service_reply(service, request, status, &reply);
}

/* ---- attestations ------------------------------------------------------------------------------ */

/* Which of the node's keys, the newest first, has signed this. */
static enum status attestation_key(const Trilith__NodeKeyRecord *keys, const char *text, size_t bytes,
                                   ProtobufCBinaryData *found)
{
    struct jws jws;
    enum status status = jws_open(&jws, text, bytes);
    bool verified = false;
    for (size_t i = keys->n_keys; status == STATUS_OK && !verified && i-- > 0;) {
        struct public_key key;
        if (keys->keys[i]->public_key.len == sizeof(key.bytes)) {
            memcpy(key.bytes, keys->keys[i]->public_key.data, sizeof(key.bytes));
            verified = jws_verify(&jws, text, &key);
            *found = keys->keys[i]->public_key;
        }
    }
    jws_close(&jws);
    return verified ? STATUS_OK : STATUS_CORRUPT;
}

/* Put its JWS into `jws`. */
static enum status attestation_unpack(struct tables *tables, Trilith__AttestationRecord *record)
{
    char *text = NULL;
    if (record->packed.len == 0) {
        return STATUS_OK;
    }
    enum status status = jws_unpack(record->packed.data, record->packed.len, NULL, 0, &text);
    if (status != STATUS_OK) {
        return status == STATUS_INVALID ? STATUS_CORRUPT : status;
    }
    record->jws.len = strlen(text);
    record->jws.data = scratch_copy(&tables->scratch, text, record->jws.len);
    free(text);
    return record->jws.data == NULL ? STATUS_TOO_LARGE : STATUS_OK;
}

void serve_attestation_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__AttestationGetRequest *message = MESSAGE_OF(request, Trilith__AttestationGetRequest);
    struct tables *tables = service_tables(service);
    Trilith__AttestationGetReply reply;
    Trilith__AttestationRecord *record = NULL;
    Trilith__NodeKeyRecord *keys = NULL;
    Trilith__MapNode *node = NULL;
    trilith__attestation_get_reply__init(&reply);
    enum status status = message->sha256.len == SHA256_BYTES
                             ? tables_get(tables, key_attestation(message->sha256.data),
                                          &trilith__attestation_record__descriptor, &record)
                             : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = attestation_unpack(tables, record);
    }
    if (status == STATUS_OK) {
        status = registry_node(tables, record->node_id, &node);
    }
    if (status == STATUS_OK) {
        status = tables_get(tables, key_node_keys(record->node_id), &trilith__node_key_record__descriptor, &keys);
    }
    if (status == STATUS_OK) {
        status = attestation_key(keys, (const char *)record->jws.data, record->jws.len, &reply.public_key);
        reply.jws = record->jws;
        reply.node = node->name;
    }
    service_reply(service, request, status, &reply);
}

/* ---- signing keys ------------------------------------------------------------------------------ */

void service_reply_signing_keys(struct meta_service *service, struct rpc_request *request)
{
    Trilith__SigningKeyListReply reply;
    trilith__signing_key_list_reply__init(&reply);
    enum status status = signing_key_list(service_tables(service), &reply);
    reply.origin = (char *)(uintptr_t)certifier_origin(service);
    service_reply(service, request, status, &reply);
}

void serve_signing_key_list(struct meta_service *service, struct rpc_request *request)
{
    service_reply_signing_keys(service, request);
}

void serve_signing_key_rotate(struct meta_service *service, struct rpc_request *request)
{
    certifier_rotate(service, request);
}

/* ---- status ------------------------------------------------------------------------------------ */

uint64_t certs_oldest_open_ms(struct tables *tables)
{
    struct table_walk walk;
    struct kv_slice key, value;
    Trilith__ErasureRecord *record = NULL;
    uint64_t erasure_id = 0;
    table_walk_open(&walk, tables, key_prefix(key_erasure_open(0), 1));
    if (table_walk_row(&walk, &key, &value)) {
        erasure_id = number_of_be((const uint8_t *)key.data + 1, 8);
    }
    table_walk_close(&walk);
    if (erasure_id == 0 ||
        tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record) != STATUS_OK) {
        return 0;
    }
    return record->requested_ms;
}
