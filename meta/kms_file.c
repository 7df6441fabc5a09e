/* kms_file.c - the CMK from a key file, in guarded memory. */
#include "meta/kms_file.h"

#include "meta/secret_file.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define CONTEXT_BYTES_MAX 256

struct kms_file {
    struct kms kms;
    struct key_pool *pool;
    struct key *cmk;
};

/* What a wrapped DEK is bound to: version, then the tenant's name. Returns its length; 0: the name is too long. */
static size_t context_of(const char *tenant, uint32_t dek_version, uint8_t context[CONTEXT_BYTES_MAX])
{
    struct byte_writer writer = byte_writer_of(context, CONTEXT_BYTES_MAX);
    write_bytes(&writer, "TRLdek1", 7);
    write_u32(&writer, dek_version);
    write_bytes(&writer, tenant, strlen(tenant));
    return writer.failed ? 0 : writer.written;
}

static enum status file_wrap(struct kms *kms, const char *tenant, uint32_t dek_version, const struct key *dek,
                             uint8_t wrapped[KMS_WRAPPED_BYTES])
{
    const struct kms_file *file = CONTAINER_OF(kms, struct kms_file, kms);
    uint8_t context[CONTEXT_BYTES_MAX];
    size_t context_bytes = context_of(tenant, dek_version, context);
    if (context_bytes == 0) {
        return STATUS_INVALID;
    }
    box_seal(file->cmk, context, context_bytes, dek->bytes, KEY_BYTES, wrapped);
    return STATUS_OK;
}

static enum status file_unwrap(struct kms *kms, const char *tenant, uint32_t dek_version, const void *wrapped,
                               size_t wrapped_bytes, struct key *dek)
{
    const struct kms_file *file = CONTAINER_OF(kms, struct kms_file, kms);
    uint8_t context[CONTEXT_BYTES_MAX];
    size_t context_bytes = context_of(tenant, dek_version, context);
    if (context_bytes == 0 || wrapped_bytes != KMS_WRAPPED_BYTES) {
        return STATUS_DENIED;
    }
    return box_open(file->cmk, context, context_bytes, wrapped, wrapped_bytes, dek->bytes);
}

static void file_close(struct kms *kms)
{
    struct kms_file *file = CONTAINER_OF(kms, struct kms_file, kms);
    key_release(file->pool, file->cmk);
    key_pool_close(file->pool);
    free(file);
}

static const struct kms_ops file_ops = {.wrap = file_wrap, .unwrap = file_unwrap, .close = file_close};

enum status kms_file_open(const char *path, struct kms **kms, char *message, size_t message_bytes)
{
    struct kms_file *file = calloc(1, sizeof(*file));
    struct key_pool *pool = key_pool_open(1);
    if (file == NULL || pool == NULL) {
        free(file);
        (void)snprintf(message, message_bytes, "no locked memory for the master key: raise the limit memlock");
        return STATUS_FULL;
    }
    *file = (struct kms_file){.kms.ops = &file_ops, .pool = pool, .cmk = key_take(pool)};
    enum status status = secret_file_read(path, SECRET_HEX_OR_RAW, file->cmk, message, message_bytes);
    if (status != STATUS_OK) {
        file_close(&file->kms);
        return status;
    }
    *kms = &file->kms;
    return STATUS_OK;
}
