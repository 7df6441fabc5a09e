/* kms_setup.h - the KMS provider that the operator chose, opened with the secret that it needs.
 *
 * The passphrase of a key file and the PIN of a token come from the first line of a file, which must be private like a key
 * file (secret_file.h), or from a prompt on the process's terminal, with the echo off. With neither, the message says
 * which option to set. Both live in guarded memory and are wiped before the call returns.
 * Threads    Any; before the loop runs, since a prompt waits for a person. */
#ifndef TRILITH_META_KMS_SETUP_H
#define TRILITH_META_KMS_SETUP_H

#include "meta/kms.h"

#define KMS_SECRET_BYTES 256 /* a passphrase or PIN, with the terminator */

/* An empty string or NULL means: not given. */
struct kms_setup {
    const char *provider; /* "file", "pkcs11" */
    const char *key_file;
    const char *passphrase_file;
    const char *pkcs11_module;
    const char *pkcs11_token;
    const char *pkcs11_pin_file;
};

/* STATUS_OK; STATUS_INVALID: no such provider, or an option is missing; otherwise as kms_file_open() and kms_pkcs11_open().
 * `message` is one line for the operator, and says what to do; with STATUS_OK only when the token is away. */
MUST_USE enum status kms_setup_open(const struct kms_setup *setup, struct kms_provider **provider, char *message,
                                    size_t message_bytes);

/* Make a key file: protected by the passphrase in `passphrase_file`, or by one that is asked for twice (`asks`), or, with
 * NULL and false, by owner and mode only. Statuses as kms_file_create(). */
MUST_USE enum status kms_setup_create_key(const char *path, const char *passphrase_file, bool asks, char *message,
                                          size_t message_bytes);

#endif
