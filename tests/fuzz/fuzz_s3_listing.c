/* fuzz_s3_listing.c - whatever a gateway answers, the command line reads it or refuses it. */
#include "cluster/s3_listing.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void look_at(void *user, const struct listing_entry *entry)
{
    size_t *total = user;
    CHECK(entry->name_bytes < sizeof(entry->name));
    CHECK(entry->name[entry->name_bytes] == '\0');
    *total += strlen(entry->modified) + strlen(entry->etag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char token[128];
    char code[64];
    char message[128];
    size_t total = 0;
    if (s3_listing_read((const char *)data, bytes, look_at, &total, token, sizeof(token)) == STATUS_OK) {
        CHECK(strlen(token) < sizeof(token));
    }
    s3_error_read((const char *)data, bytes, code, sizeof(code), message, sizeof(message));
    return 0;
}
