/* fuzz_checkpoint.c - arbitrary bytes as a checkpoint. The key is the one that the seeds are signed with: what it is
 * said to have signed begins with the only text that there is for those values. */
#include "base/checkpoint.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct public_key key;
    static bool has_key;
    struct checkpoint checkpoint;
    char text[CHECKPOINT_BYTES_MAX];
    CHECK(keys_start_process() == STATUS_OK);
    if (!has_key) {
        struct key seed;
        memset(seed.bytes, 1, KEY_BYTES);
        signature_public_key(&seed, &key);
        has_key = true;
    }
    enum status status = checkpoint_open((const char *)data, bytes, &key, 1, &checkpoint);
    CHECK(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_DENIED);
    if (status != STATUS_INVALID) {
        checkpoint_text(&checkpoint, text);
        CHECK(strlen(text) < bytes);
        CHECK(memcmp(text, data, strlen(text)) == 0);
    }
    return 0;
}
