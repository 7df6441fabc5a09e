/* fuzz_medium_state.c - a state file of any content is refused or taken; what is taken encodes to the same again. */
#include "cluster/medium_state.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    json_t *document = json_loadb((const char *)data, bytes, JSON_REJECT_DUPLICATES, NULL);
    struct medium_state *state = calloc(1, sizeof(*state));
    struct medium_state *again = calloc(1, sizeof(*again));
    if (document != NULL && state != NULL && again != NULL && medium_state_decode(document, state) == STATUS_OK) {
        json_t *encoded = medium_state_encode(state);
        CHECK(encoded != NULL);
        CHECK(medium_state_decode(encoded, again) == STATUS_OK);
        json_decref(encoded);
    }
    free(state);
    free(again);
    json_decref(document);
    return 0;
}
