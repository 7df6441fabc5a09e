/* fuzz_jws.c - arbitrary bytes as a JWS, as canonical JSON, as base64url and as PEM. What is taken must be what writing
 * it again gives: there is one spelling of everything. */
#include "base/jws.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_jws(const char *text, size_t bytes)
{
    struct jws jws;
    if (jws_open(&jws, text, bytes) == STATUS_OK) {
        char *input = jws_signing_input(jws.type, jws.kid, jws.payload_text, jws.payload_bytes);
        CHECK(input != NULL);
        CHECK(strlen(input) == jws.signed_bytes);
        char *again = jws_finish(input, &jws.signature);
        CHECK(again != NULL);
        CHECK(strlen(again) == bytes || strlen(again) + 1 == bytes);
        CHECK(memcmp(again, text, strlen(again)) == 0);
        struct public_key key = {{0}};
        (void)jws_verify(&jws, text, &key);
        free(again);
        free(input);
    }
    jws_close(&jws);
}

static void check_json(const char *text, size_t bytes)
{
    json_t *value = json_from_canonical(text, bytes);
    if (value == NULL) {
        return;
    }
    size_t again_bytes = 0;
    char *again = json_canonical(value, &again_bytes);
    CHECK(again != NULL);
    CHECK(again_bytes == bytes);
    CHECK(memcmp(again, text, bytes) == 0);
    free(again);
    json_decref(value);
}

static void check_base64url(const char *text, size_t bytes)
{
    uint8_t *decoded = malloc(bytes + 1);
    size_t decoded_bytes = bytes;
    CHECK(decoded != NULL);
    if (base64url_decode(text, bytes, decoded, &decoded_bytes)) {
        char *again = malloc(2 * bytes + 8);
        CHECK(again != NULL);
        base64url_encode(decoded, decoded_bytes, again);
        CHECK(strlen(again) == bytes);
        CHECK(memcmp(again, text, bytes) == 0);
        free(again);
    }
    free(decoded);
}

static void check_pem(const char *text, size_t bytes)
{
    struct public_key keys[3];
    char pem[PUBLIC_KEY_PEM_BYTES];
    size_t count = 0;
    if (public_keys_from_pem(text, bytes, keys, 3, &count) == STATUS_OK) {
        CHECK(count >= 1 && count <= 3);
        public_key_to_pem(&keys[0], pem);
        CHECK(memcmp(pem, text, strlen(pem) - 1) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    CHECK(keys_start_process() == STATUS_OK);
    check_jws(text, bytes);
    check_json(text, bytes);
    check_base64url(text, bytes);
    check_pem(text, bytes);
    return 0;
}
