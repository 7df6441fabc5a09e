/* fuzz_jws_pack.c - arbitrary bytes as a packed JWS, with and without a dictionary; what unpacks can be packed
 * again. */
#include "base/jws_pack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const uint8_t *data, size_t bytes, const char *dictionary, size_t dictionary_bytes)
{
    char *plain = NULL;
    char *text = NULL;
    size_t plain_bytes = 0;
    size_t packed_bytes = 0;
    struct signature signature;
    if (jws_unpack_plain(data, bytes, dictionary, dictionary_bytes, &plain, &plain_bytes, &signature) != STATUS_OK) {
        return;
    }
    uint8_t *packed = jws_pack(plain, plain_bytes, &signature, dictionary, dictionary_bytes, &packed_bytes);
    char *again = NULL;
    size_t again_bytes = 0;
    CHECK(packed != NULL);
    CHECK(jws_unpack_plain(packed, packed_bytes, dictionary, dictionary_bytes, &again, &again_bytes, NULL) ==
          STATUS_OK);
    CHECK(again_bytes == plain_bytes && memcmp(again, plain, plain_bytes) == 0);
    if (jws_unpack(data, bytes, dictionary, dictionary_bytes, &text) == STATUS_OK) {
        free(text);
    }
    free(again);
    free(packed);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char dictionary[] = "erasure-cert+jws\ncluster/1\n{\"a\":1,\"b\":\"text\"}";
    CHECK(keys_start_process() == STATUS_OK);
    check(data, bytes, NULL, 0);
    check(data, bytes, dictionary, sizeof(dictionary) - 1);
    return 0;
}
