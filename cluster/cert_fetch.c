/* cert_fetch.c - the calls that bring a certificate together. */
#include "cluster/cert_fetch.h"

#include "cluster/admin.h"
#include "cluster/command.h"

#include <stdlib.h>
#include <string.h>

/* Protobuf's structs hold `char *`; nothing writes through them when they are packed. */
static char *unchanged(const char *text)
{
    return (char *)(uintptr_t)text;
}

bool cert_request_read(const char *text, Trilith__CertGetRequest *request)
{
    trilith__cert_get_request__init(request);
    if (command_number(text, UINT64_MAX, &request->erasure_id)) {
        return request->erasure_id != 0;
    }
    size_t bytes = strlen(text);
    request->erasure_id = 0;
    request->id = unchanged(text);
    return bytes == 36 && strspn(text, "0123456789abcdef-") == bytes;
}

enum status cert_fetch_one(struct admin *admin, const Trilith__CertGetRequest *request, ProtobufCMessage **message)
{
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CERT_GET, &request->base, message);
    if (status == STATUS_OK && ((const Trilith__CertGetReply *)*message)->certificate == NULL) {
        admin_reply_free(*message);
        *message = NULL;
        status = STATUS_CORRUPT;
    }
    return status;
}

/* Out of the cache: it is the caller's then. NULL: it is not there. */
static ProtobufCMessage *cache_take(struct cert_cache *cache, const ProtobufCBinaryData *sha)
{
    for (size_t i = 0; cache != NULL && sha->len == SHA256_BYTES && i < CERT_CACHE_SLOTS; i++) {
        if (cache->slots[i].message != NULL && memcmp(cache->slots[i].sha256, sha->data, SHA256_BYTES) == 0) {
            ProtobufCMessage *message = cache->slots[i].message;
            cache->slots[i].message = NULL;
            return message;
        }
    }
    return NULL;
}

static void cache_give(struct cert_cache *cache, const ProtobufCBinaryData *sha, ProtobufCMessage *message)
{
    if (cache == NULL || sha->len != SHA256_BYTES) {
        admin_reply_free(message);
        return;
    }
    size_t slot = cache->next++ % CERT_CACHE_SLOTS;
    admin_reply_free(cache->slots[slot].message);
    cache->slots[slot].message = message;
    memcpy(cache->slots[slot].sha256, sha->data, SHA256_BYTES);
}

void cert_cache_free(struct cert_cache *cache)
{
    for (size_t i = 0; i < CERT_CACHE_SLOTS; i++) {
        admin_reply_free(cache->slots[i].message);
        cache->slots[i].message = NULL;
    }
}

static enum status fetch_attestation(struct admin *admin, struct cert_cache *cache, const ProtobufCBinaryData *sha,
                                     ProtobufCMessage **message)
{
    *message = cache_take(cache, sha);
    if (*message != NULL) {
        return STATUS_OK;
    }
    Trilith__AttestationGetRequest request;
    trilith__attestation_get_request__init(&request);
    request.sha256 = *sha;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__ATTESTATION_GET, &request.base, message);
    /* The certificate names it: so it must be there. */
    return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status;
}

static enum status fetch_attestations(struct admin *admin, const Trilith__CertGetReply *found,
                                      struct cert_fetched *fetched)
{
    if (found->n_attestations > CERT_ATTESTATIONS_MAX) {
        return STATUS_TOO_LARGE;
    }
    fetched->attestations = calloc(found->n_attestations + 1, sizeof(ProtobufCMessage *));
    if (fetched->attestations == NULL) {
        return STATUS_BUSY;
    }
    for (size_t i = 0; i < found->n_attestations; i++) {
        enum status status =
            fetch_attestation(admin, fetched->cache, &found->attestations[i], &fetched->attestations[i]);
        if (status != STATUS_OK) {
            return status;
        }
        fetched->attestation_count++;
    }
    return STATUS_OK;
}

enum status cert_fetch(struct admin *admin, const Trilith__CertGetRequest *request, ProtobufCMessage *keys,
                       struct cert_cache *cache, struct cert_fetched *fetched)
{
    *fetched = (struct cert_fetched){.cache = cache, .keys = keys};
    enum status status = cert_fetch_one(admin, request, &fetched->found);
    if (status != STATUS_OK) {
        return status;
    }
    const Trilith__CertGetReply *found = (const Trilith__CertGetReply *)fetched->found;
    status = fetch_attestations(admin, found, fetched);
    if (status == STATUS_OK && found->certificate->request_id != 0) {
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__PERSON_LIST, NULL, &fetched->people);
    }
    fetched->export = (struct cert_export){
        .found = found,
        .keys = (const Trilith__SigningKeyListReply *)keys,
        .attestations = (const Trilith__AttestationGetReply *const *)fetched->attestations,
        .people = (const Trilith__PersonListReply *)fetched->people,
    };
    return status;
}

void cert_fetched_free(struct cert_fetched *fetched)
{
    for (size_t i = 0; i < fetched->attestation_count; i++) {
        const Trilith__CertGetReply *found = (const Trilith__CertGetReply *)fetched->found;
        cache_give(fetched->cache, &found->attestations[i], fetched->attestations[i]);
    }
    free(fetched->attestations);
    admin_reply_free(fetched->people);
    admin_reply_free(fetched->found);
    *fetched = (struct cert_fetched){0};
}

enum status cert_fetch_opening(struct admin *admin, const char *tenant, const char *bucket, const char *key,
                               struct cert_opening *opening)
{
    Trilith__ObjectOpeningRequest request;
    trilith__object_opening_request__init(&request);
    request.tenant = unchanged(tenant);
    request.bucket = unchanged(bucket);
    request.key.data = (uint8_t *)(uintptr_t)key;
    request.key.len = strlen(key);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__OBJECT_OPENING, &request.base, &message);
    const Trilith__ObjectOpeningReply *reply = (const Trilith__ObjectOpeningReply *)message;
    if (status == STATUS_OK && reply->ref_salt.len != sizeof(opening->ref_salt)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        *opening = (struct cert_opening){.bucket = bucket, .key = (const uint8_t *)key, .key_bytes = strlen(key)};
        memcpy(opening->ref_salt, reply->ref_salt.data, sizeof(opening->ref_salt));
    }
    admin_reply_free(message);
    return status;
}

json_t *cert_payload(const char *text)
{
    struct jws jws;
    json_t *payload = NULL;
    if (jws_open(&jws, text, strlen(text)) == STATUS_OK) {
        payload = json_incref(jws.payload);
    }
    jws_close(&jws);
    return payload;
}

bool cert_is_signed(const char *text, const Trilith__SigningKeyListReply *keys)
{
    struct jws jws;
    bool good = false;
    if (jws_open(&jws, text, strlen(text)) == STATUS_OK) {
        for (size_t i = 0; i < keys->n_keys && !good; i++) {
            struct public_key key;
            if (strcmp(keys->keys[i]->kid, jws.kid) == 0 && keys->keys[i]->public_key.len == sizeof(key.bytes)) {
                memcpy(key.bytes, keys->keys[i]->public_key.data, sizeof(key.bytes));
                good = jws_verify(&jws, text, &key);
            }
        }
    }
    jws_close(&jws);
    return good;
}
