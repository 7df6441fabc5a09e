/* fuzz_attestation.c - attestations from arbitrary bytes: as they are, and as the payload of a JWS that is signed all
 * right. What opens keeps every limit, and each of its entries is found again. */
#include "proto/attestation.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct key_pool *pool;
static struct key *seed;
static struct public_key public_key;

static void start(void)
{
    if (seed == NULL) {
        CHECK(keys_start_process() == STATUS_OK);
        pool = key_pool_open(1);
        seed = key_take(pool);
        memset(seed->bytes, 7, sizeof(seed->bytes));
        signature_public_key(seed, &public_key);
    }
}

static void check_open(const void *text, size_t bytes)
{
    struct attestation attestation;
    struct attestation_entry entry;
    if (attestation_open(&attestation, text, bytes, &public_key) != STATUS_OK) {
        return;
    }
    CHECK(attestation.count > 0 && attestation.count <= ATTESTATION_RESULTS_MAX);
    CHECK(strlen(attestation.node) > 0 && strlen(attestation.node) < ATTESTATION_NODE_BYTES);
    const json_t *entries = json_object_get(attestation.jws.payload, "entries");
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *erasure = json_object_get(json_array_get(entries, i), "erasure");
        CHECK(attestation_find(&attestation, (uint64_t)json_integer_value(erasure), &entry));
        CHECK(entry.bytes <= attestation.bytes);
    }
    attestation_close(&attestation);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    start();
    check_open(data, bytes);
    json_t *payload = json_from_canonical((const char *)data, bytes);
    char *text = json_is_object(payload) ? jws_sign(ATTESTATION_TYPE, "node1", seed, payload) : NULL;
    if (text != NULL) {
        check_open(text, strlen(text));
        Trilith__WipeResult *none[1] = {NULL};
        CHECK(attestation_check(text, strlen(text), &public_key, "node1", 1, none, 0) != STATUS_OK);
    }
    free(text);
    json_decref(payload);
    return 0;
}
