/* kms_pkcs11.h - a KMS provider whose master keys are AES-256 objects of a PKCS#11 token (an HSM, SoftHSM2).
 *
 * A CMK is made in the token, or unwrapped inside it when imported, as CKA_SENSITIVE and not CKA_EXTRACTABLE: it never
 * leaves. DEKs are wrapped and unwrapped by the token: CKM_AES_GCM with a random 96-bit nonce from the token, the
 * context as associated data. (A few wrappings per CMK and random nonces: far below NIST SP 800-38D's bound of 2^32.)
 * The transport key is an RSA-3072 pair in the token, made when it is first asked for; imports are unwrapped with
 * CKM_RSA_PKCS_OAEP. A token that does not tell how long an unwrapped key is (SoftHSM2) is asked for the length of a
 * copy in its session, which is destroyed at once.
 *
 * Signing keys are Ed25519 pairs made in the token, labelled "trilith-sign-<number>", CKA_SENSITIVE and not
 * CKA_EXTRACTABLE. A token without CKM_EDDSA can hold none (STATUS_UNSUPPORTED): then there are no certificates, and
 * all else goes on.
 *
 * The module is loaded with dlopen() and called by one thread. A token that was removed, restarted or locked is opened
 * again with the next call; until then calls answer STATUS_KEY_AWAY with the reason. One that is away when the provider
 * is opened is no different: an HSM that fails together with this server must not keep it from starting. A wrong PIN is
 * not tried again by itself: tokens lock after a few. */
#ifndef TRILITH_META_KMS_PKCS11_H
#define TRILITH_META_KMS_PKCS11_H

#include "meta/kms.h"

struct kms_pkcs11_options {
    const char *module; /* path of the shared library */
    const char *token;  /* label of the token */
    const char *pin;    /* terminated; copied to guarded memory, the caller wipes its own */
};

/* Load the module, find the token, log in. STATUS_OK: also when there is no token of that label, or it can't be
 * reached: a warning (kms_token_away) is logged then, `message` says why and lists the tokens that are there, and the
 * calls answer
 * STATUS_KEY_AWAY with the same until it comes. STATUS_NOT_FOUND: no such module; STATUS_DENIED: wrong or locked PIN;
 * STATUS_UNSUPPORTED: the token lacks a mechanism that is needed; STATUS_INVALID: a bad label, or several tokens have
 * it;
 * STATUS_FULL. Takes as long as the module does to find out: before the loop runs. */
MUST_USE enum status kms_pkcs11_open(const struct kms_pkcs11_options *options, struct kms_provider **provider,
                                     char *message, size_t message_bytes);

#endif
