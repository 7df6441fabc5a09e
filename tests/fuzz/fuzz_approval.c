/* fuzz_approval.c - approvals from arbitrary bytes: as they are, and as the payload of a JWS that is signed all right.
 * What opens says just what approves the request, from somebody who is named. */
#include "base/digest.h"
#include "proto/approval.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_open(const void *text, size_t bytes, const Trilith__Request *request)
{
    struct jws jws;
    if (approval_open(&jws, text, bytes, request) == STATUS_OK) {
        char *again = NULL;
        size_t again_bytes = 0;
        json_t *expected = approval_payload(request, jws.kid, 0);
        CHECK(expected != NULL);
        json_object_set(expected, "at", json_object_get(jws.payload, "at"));
        again = json_canonical(expected, &again_bytes);
        CHECK(again != NULL && again_bytes == jws.payload_bytes);
        CHECK(memcmp(again, jws.payload_text, again_bytes) == 0);
        free(again);
        json_decref(expected);
    }
    jws_close(&jws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct key_pool *pool;
    static struct key *seed;
    static char subject[] = "acme";
    static uint8_t hash[SHA256_BYTES] = {1, 2, 3};
    Trilith__Request request;
    if (seed == NULL) {
        CHECK(keys_start_process() == STATUS_OK);
        pool = key_pool_open(1);
        seed = key_take(pool);
        memset(seed->bytes, 7, sizeof(seed->bytes));
    }
    trilith__request__init(&request);
    request.id = 7;
    request.kind = TRILITH__REQUEST_KIND__REQUEST_TENANT;
    request.subject = subject;
    request.plan_sha256 = (ProtobufCBinaryData){.data = hash, .len = sizeof(hash)};
    check_open(data, bytes, &request);
    json_t *payload = json_from_canonical((const char *)data, bytes);
    if (json_is_object(payload)) {
        char *jws = jws_sign(APPROVAL_TYPE, "Ada", seed, payload);
        if (jws != NULL) {
            check_open(jws, strlen(jws), &request);
        }
        free(jws);
    }
    json_decref(payload);
    return 0;
}
