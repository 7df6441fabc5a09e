/* kms.h - what holds the customers' master keys (CMK), which wrap the tenants' data keys (DEK), and the keys that this
 * service signs certificates with.
 *
 *   caller ──kms_start()──> queue ──worker thread──> provider: kms_file.c, kms_pkcs11.c
 *      ^                                                │
 *      └──────────── done, on the loop <────────────────┘
 *
 * A CMK never crosses this interface in clear. Each tenant has one, known by its name: the provider's name, a colon and
 * 32 hex digits ("file:0f3c…"). A wrapped DEK is bound to a context (tenant and version): one does not open as another.
 *
 * Signing keys are Ed25519, numbered from 1, and made when they are first asked for. Their secret halves stay with the
 * provider like the CMKs. What was signed is verified with the public key before anybody gets it: a provider that signs
 * with another key than the one that was announced, as after its key file was exchanged, is found out here.
 *
 * A provider may block for as long as a network HSM does; so calls run on a thread of their own, one at a time, and
 * nothing else waits for them. One that the provider has had for `call_ns` is answered with STATUS_KEY_AWAY, and so is
 * everything asked while the provider is still stuck in it; one that has waited for its turn as long, likewise. So
 * every call is answered within twice `call_ns`. What comes back later is dropped: the worker has a copy of the call,
 * and its own guarded memory for the DEK, and its own room for messages. A provider that was away is tried again with
 * every call.
 * Threads    Loop thread only, but for the worker. `done` never runs inside kms_start(); it may close the kms. With
 *            `inline_calls` there is no worker and no deadline, and calls run deferred on the loop: for the simulator. */
#ifndef TRILITH_META_KMS_H
#define TRILITH_META_KMS_H

#include "base/keys.h"
#include "base/loop.h"
#include "base/signature.h"

#include <stdbool.h>

#define KMS_CMK_BYTES         48 /* a CMK's name, with the terminator */
#define KMS_CONTEXT_BYTES_MAX 128
#define KMS_WRAPPED_BYTES_MAX 128  /* a wrapped DEK */
#define KMS_IMPORT_BYTES_MAX  1024 /* a CMK encrypted to the transport key */
#define KMS_PUBLIC_KEY_BYTES  1024 /* PEM, with the terminator */
#define KMS_ALGORITHM_BYTES   32
#define KMS_MESSAGE_BYTES     256
#define KMS_SIGN_MAX          64u      /* messages that are signed by one call */
#define KMS_SIGN_BYTES_MAX    KIB(448) /* their length in all */

enum kms_operation {
    KMS_CREATE,    /* a new random CMK -> cmk */
    KMS_IMPORT,    /* `sealed` is a CMK of 32 bytes, encrypted to the transport key -> cmk */
    KMS_TRANSPORT, /* -> public_key, algorithm */
    KMS_WRAP,      /* cmk, context, dek -> sealed */
    KMS_UNWRAP,    /* cmk, context, sealed -> dek */
    KMS_DESTROY, /* cmk: forget it for ever. STATUS_UNSUPPORTED: it follows from another key and can't be forgotten alone */
    KMS_CHECK,       /* is the provider there? */
    KMS_SIGNING_KEY, /* number -> signing_key; made when there is none */
    KMS_SIGN,        /* number, signing_key, batch -> the batch's signatures */
};

/* What one call signs, and gets. The messages stand one behind the other: message i ends where ends[i] says. */
struct kms_batch {
    uint32_t count; /* 1..KMS_SIGN_MAX */
    uint32_t ends[KMS_SIGN_MAX];
    uint8_t *bytes; /* at most KMS_SIGN_BYTES_MAX */
    struct signature signatures[KMS_SIGN_MAX];
};

struct kms;

/* One call. The caller owns it and leaves it alone from kms_start() until `done`.
 *   STATUS_OK
 *   STATUS_KEY_AWAY     the provider can't be reached, or has been stuck for too long; `message` says more
 *   STATUS_NOT_FOUND    no such CMK there: another key file or token, or it was destroyed; KMS_SIGN: its signing key of that
 *                       number is not `signing_key`
 *   STATUS_DENIED       KMS_UNWRAP: changed bytes, another context or CMK; KMS_IMPORT: does not open
 *   STATUS_INVALID      malformed: the name of a CMK of another provider, an import that is not 32 bytes
 *   STATUS_UNSUPPORTED  KMS_DESTROY, see above; or the token lacks a mechanism
 *   STATUS_FULL         no room, locked memory or slots */
struct kms_call {
    enum kms_operation operation;
    char cmk[KMS_CMK_BYTES];
    uint8_t context[KMS_CONTEXT_BYTES_MAX];
    size_t context_bytes;
    struct key *dek; /* in guarded memory, the caller's: it must stay until `done` even when nobody wants it any more */
    uint8_t sealed[KMS_IMPORT_BYTES_MAX];
    size_t sealed_bytes;
    char public_key[KMS_PUBLIC_KEY_BYTES];
    char algorithm[KMS_ALGORITHM_BYTES];
    uint32_t number; /* of the signing key, from 1 */
    struct public_key signing_key;
    struct kms_batch *batch; /* the caller's, as `dek` is; its signatures are written when all of them verify */
    enum status status;
    char message[KMS_MESSAGE_BYTES]; /* for people, without secrets; empty with STATUS_OK */
    void (*done)(struct kms_call *call);

    struct list_link link; /* private; zero-initialise */
    uint64_t started_ns;
};

/* A provider: synchronous, on whatever thread calls it, one call at a time, and closed on that thread. perform() fills
 * results, status and message. */
struct kms_provider;
struct kms_provider_ops {
    void (*perform)(struct kms_provider *provider, struct kms_call *call);
    void (*close)(struct kms_provider *provider);
};
struct kms_provider {
    const struct kms_provider_ops *ops;
    const char *name; /* "file", "pkcs11" */
};

struct kms_options {
    uint64_t call_ns; /* how long a call may take */
    bool inline_calls;
};

/* What is known of the provider from its last answer. */
struct kms_health {
    bool available;
    uint64_t since_ms; /* wall clock: when that last changed */
    char message[KMS_MESSAGE_BYTES];
};

/* Have the provider perform `call`, and verify what it has signed. For the queue, and for tests of providers. */
void kms_perform(struct kms_provider *provider, struct kms_call *call);
/* Where message `index` of a batch stands, and how long it is. */
const uint8_t *kms_batch_message(const struct kms_batch *batch, uint32_t index, size_t *bytes);

/* Takes the provider over. NULL: no memory, or no thread; the provider is still the caller's. */
MUST_USE struct kms *kms_open(struct loop *loop, struct kms_provider *provider, const struct kms_options *options);
/* Only when no call is under way (kms_is_idle()), or at the end of the process: then calls are dropped without `done`;
 * a provider that is performing one gets the rest of its `call_ns`, and one that is stuck is left behind. */
void kms_close(struct kms *kms);
bool kms_is_idle(const struct kms *kms);

void kms_start(struct kms *kms, struct kms_call *call);

const char *kms_provider_name(const struct kms *kms);
const struct kms_health *kms_health(const struct kms *kms);

#endif
