/* kms_file.h - a KMS whose CMK is in a key file: 32 bytes, raw or as 64 hex digits, mode 0600 (secret_file.h).
 *
 * Whoever has the file and the metadata tables can unwrap every DEK: keep them apart, and the file backed up. Without
 * it nothing opens again. */
#ifndef TRILITH_META_KMS_FILE_H
#define TRILITH_META_KMS_FILE_H

#include "meta/kms.h"

/* STATUS_OK; STATUS_NOT_FOUND, STATUS_DENIED, STATUS_INVALID, STATUS_IO, STATUS_FULL, with `message` for people. */
MUST_USE enum status kms_file_open(const char *path, struct kms **kms, char *message, size_t message_bytes);

#endif
