/* fuzz_medium_report.c - texts that claim to be reports about media, or decisions about them: taken or refused, never
 * more. */
#include "proto/medium_report.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Any bytes; and any payload, well signed: so that the fuzzer gets behind base64. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct jws jws;
    enum status status = medium_report_open(&jws, (const char *)data, bytes);
    jws_close(&jws);
    status = medium_decision_open(&jws, (const char *)data, bytes, MEDIUM_VERIFIER, "x", 1);
    jws_close(&jws);
    json_t *payload = json_from_canonical((const char *)data, bytes);
    size_t text_bytes = 0;
    char *text = payload == NULL ? NULL : json_canonical(payload, &text_bytes);
    char *input = text == NULL ? NULL : jws_signing_input(MEDIUM_REPORT_TYPE, "anna", text, text_bytes);
    static const struct signature signature;
    char *whole = input == NULL ? NULL : jws_finish(input, &signature);
    if (whole != NULL) {
        status = medium_report_open(&jws, whole, strlen(whole));
        CHECK(status != STATUS_OK || strcmp(jws.kid, "anna") == 0);
        jws_close(&jws);
    }
    free(whole);
    free(input);
    free(text);
    json_decref(payload);
    return 0;
}
