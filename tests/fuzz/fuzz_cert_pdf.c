/* fuzz_cert_pdf.c - any JSON object as the payload of a certificate, described and drawn. */
#include "cluster/cert_pdf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *payload = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(payload)) {
        struct cert_pdf_record record = {.payload = payload};
        size_t bytes = 0;
        free(cert_pdf_render(&record, &bytes));
    }
    json_decref(payload);
    return 0;
}
