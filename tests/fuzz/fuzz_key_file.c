/* fuzz_key_file.c - arbitrary key files through the decoder, and arbitrary names of master keys and wrapped DEKs through
 * the provider that a key file makes.
 *
 * Input: one byte says which. Even: a key file. Odd: one more byte chooses the operation, 48 bytes are the name, the rest is
 * what is to be unwrapped. */
#include "base/log.h"
#include "meta/kms_file.h"
#include "meta/secret_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void decode(const uint8_t *data, size_t bytes)
{
    struct key_file file = {0};
    if (key_file_decode(data, bytes, &file) != STATUS_OK) {
        return;
    }
    if (file.is_protected) {
        /* What it costs to try was checked: nobody is made to allocate more than that. */
        CHECK(bytes == KEY_FILE_BYTES_MAX);
        CHECK(passphrase_cost_is_valid(&file.cost));
        CHECK(memcmp(file.content, data, bytes) == 0);
    } else {
        CHECK(bytes >= KEY_BYTES);
        CHECK(bytes <= 2 * KEY_BYTES + 1);
    }
}

/* A provider of a fresh key, whose file is gone already. */
static struct kms_provider *provider_open(void)
{
    char directory[] = "/tmp/trilith-fuzz-key-file-XXXXXX";
    char path[64];
    char message[256];
    struct kms_provider *provider = NULL;
    CHECK(keys_start_process() == STATUS_OK);
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof(path), "%s/key", directory);
    CHECK(kms_file_create(path, NULL, message, sizeof(message)) == STATUS_OK);
    CHECK(kms_file_open(path, NULL, &provider, message, sizeof(message)) == STATUS_OK);
    (void)unlink(path);
    (void)rmdir(directory);
    return provider;
}

static void perform(const uint8_t *data, size_t bytes)
{
    static const enum kms_operation operations[] = {KMS_WRAP, KMS_UNWRAP, KMS_DESTROY};
    static struct kms_provider *provider;
    struct key dek = {{0}};
    struct kms_call call = {.dek = &dek, .context_bytes = 4, .context = "acme"};
    if (bytes < 1 + KMS_CMK_BYTES || bytes > 1 + KMS_CMK_BYTES + KMS_IMPORT_BYTES_MAX) {
        return;
    }
    provider = provider != NULL ? provider : provider_open();
    call.operation = operations[data[0] % ARRAY_LENGTH(operations)];
    memcpy(call.cmk, data + 1, KMS_CMK_BYTES - 1);
    call.sealed_bytes = bytes - 1 - KMS_CMK_BYTES;
    memcpy(call.sealed, data + 1 + KMS_CMK_BYTES, call.sealed_bytes);
    provider->ops->perform(provider, &call);
    /* The key is fresh, so no name is one of its own. */
    CHECK(call.status == STATUS_INVALID || call.status == STATUS_NOT_FOUND);
    CHECK(call.message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    log_set_level(LOG_ERROR);
    if (bytes == 0) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        decode(data + 1, bytes - 1);
    } else {
        perform(data + 1, bytes - 1);
    }
    return 0;
}
