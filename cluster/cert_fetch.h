/* cert_fetch.h - a certificate from the metadata service, with everything that an export of it holds.
 *
 * Replies are kept until cert_fetched_free(); `export` points into them.
 * Threads  One. */
#ifndef TRILITH_CLUSTER_CERT_FETCH_H
#define TRILITH_CLUSTER_CERT_FETCH_H

#include "base/digest.h"
#include "base/jws.h"
#include "cluster/cert_export.h"

struct admin;

#define CERT_ATTESTATIONS_MAX 65536u

#define CERT_CACHE_SLOTS      64u

/* Attestations that were fetched for other certificates: one stands for many wipes, and certificates that follow one
 * another name the same ones. Zero it before use. */
struct cert_cache {
    struct {
        uint8_t sha256[SHA256_BYTES];
        ProtobufCMessage *message; /* NULL: an empty slot */
    } slots[CERT_CACHE_SLOTS];
    size_t next; /* the slot that is taken next */
};

void cert_cache_free(struct cert_cache *cache);

struct cert_fetched {
    struct cert_cache *cache; /* the caller's; NULL: none */
    ProtobufCMessage *found;
    ProtobufCMessage *keys;   /* the caller's */
    ProtobufCMessage *people; /* NULL: nobody approved it */
    ProtobufCMessage **attestations;
    size_t attestation_count;
    struct cert_export export;
};

/* Which one: a certificate's id as text, or the number of an erasure. False: it is neither. */
MUST_USE bool cert_request_read(const char *text, Trilith__CertGetRequest *request);

/* The certificate alone. STATUS_OK; STATUS_NOT_FOUND; STATUS_CORRUPT: an answer that makes no sense; statuses of
 * admin_call(). */
MUST_USE enum status cert_fetch_one(struct admin *admin, const Trilith__CertGetRequest *request,
                                    ProtobufCMessage **message);
/* With its attestations; `keys` is a SigningKeyListReply that stays the caller's, `cache` may be NULL. Free it
 * whatever this returns. */
MUST_USE enum status cert_fetch(struct admin *admin, const Trilith__CertGetRequest *request, ProtobufCMessage *keys,
                                struct cert_cache *cache, struct cert_fetched *fetched);
void cert_fetched_free(struct cert_fetched *fetched);

/* What shows which object is meant: `key` must stay valid as long as `opening`. Statuses of admin_call(). */
MUST_USE enum status cert_fetch_opening(struct admin *admin, const char *tenant, const char *bucket, const char *key,
                                        struct cert_opening *opening);

/* The payload of a certificate, to be released with json_decref(); NULL: it is no JWS. Its signature is not looked at.
 * */
MUST_USE json_t *cert_payload(const char *jws);
/* Is it signed with the key that its header names, as far as that is one of `keys`? */
MUST_USE bool cert_is_signed(const char *text, const Trilith__SigningKeyListReply *keys);

#endif
