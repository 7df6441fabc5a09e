/* kms_file.h - a KMS provider whose master keys follow from one key file.
 *
 *   id           = 12 random bytes, the first bit telling whether it was imported, then 4 bytes that follow from the
 *                  master key and those: so a CMK of another key file is told from one that is damaged
 *   CMK          = derive_named_key(master, "cmk <32 hex digits of its id>")
 *   signing key  Ed25519, seed = derive_named_key(master, "sign <number in decimal>")
 *   FILE.keys/   imported CMKs "<32 hex digits>.cmk" and the pair "transport", mode 0600, directory 0700; each is a box
 *                under derive_named_key(master, "store"), bound to the file's name
 *
 * The file holds 32 bytes, raw or as 64 hex digits, mode 0600, or the same protected by a passphrase (secret_file.h).
 * Whoever has it and the vault can unwrap every DEK; without it nothing opens again: keep a copy in a safe place, and
 * of FILE.keys/ after every import. A CMK that follows from the file can't be destroyed alone (STATUS_UNSUPPORTED); an
 * imported one is overwritten and unlinked, which on flash says nothing about the old blocks. What makes erased data
 * unreadable is the vault. */
#ifndef TRILITH_META_KMS_FILE_H
#define TRILITH_META_KMS_FILE_H

#include "meta/kms.h"

/* Open the provider. `passphrase` is NULL for a file without one; terminated text otherwise, wiped by the caller.
 * STATUS_OK; STATUS_NOT_FOUND, STATUS_DENIED (owner, mode, wrong passphrase, or one is needed), STATUS_INVALID
 * (content; or a passphrase for a file that has none), STATUS_UNSUPPORTED (a later version), STATUS_IO, STATUS_FULL;
 * `message` says what to do. */
MUST_USE enum status kms_file_open(const char *path, const char *passphrase, struct kms_provider **provider,
                                   char *message, size_t message_bytes);
/* Does the file need a passphrase? STATUS_OK with the answer, or as above. */
MUST_USE enum status kms_file_is_protected(const char *path, bool *is_protected, char *message, size_t message_bytes);
/* Make a key file with a fresh random master key, durably. `passphrase` NULL: protected by owner and mode only.
 * STATUS_OK, STATUS_EXISTS, STATUS_NOT_FOUND (directory), STATUS_DENIED, STATUS_INVALID (passphrase shorter than 12
 * bytes),
 * STATUS_FULL, STATUS_IO. */
MUST_USE enum status kms_file_create(const char *path, const char *passphrase, char *message, size_t message_bytes);

#endif
