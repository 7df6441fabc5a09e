/* cert_pdf.h - one certificate as pages that a person can print and file (libharu), with a QR code of its digest
 * (libqrencode).
 *
 * The pages are a rendering and say so on every one of them: what is signed is the JWS. They show what cert_describe()
 * tells of the payload, laid out as a form, and nothing from anywhere else; nothing in them is drawn from a clock, so
 * the same record gives the same bytes. The fonts are those that every reader of PDF has: characters that they lack
 * become '?'.
 * Bounds     CERT_PDF_PAGES_MAX pages; what would go beyond is left out, and the last page says so.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_CERT_PDF_H
#define TRILITH_CLUSTER_CERT_PDF_H

#include "base/digest.h"

#include <jansson.h>

#define CERT_PDF_PAGES_MAX 12

struct cert_pdf_record {
    const json_t *payload;        /* an object */
    uint8_t sha256[SHA256_BYTES]; /* of the JWS as text */
    const char *ledger;           /* index, or the id of its batch's certificate; NULL: not known from what was given */
    bool signature_verified;      /* when this was made, with a key that was given */
};

/* The document, to be freed with free(). NULL: no memory, or the library refused. */
MUST_USE uint8_t *cert_pdf_render(const struct cert_pdf_record *record, size_t *bytes);

#endif
