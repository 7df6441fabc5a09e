/* cert_words.h - a certificate's payload (meta/evidence.h) in words, for people: what was done, what may remain, what
 * is not claimed.
 *
 * One description for all that people read: `trilith cert show` prints it on the terminal, `trilith cert pdf` on a
 * page. It goes through the payload member by member and tells a printer what it finds. It adds labels and the meaning
 * of codes, and nothing else: a member that is null, empty or not there is "not recorded", and an unknown code is
 * printed as it stands.
 *
 * The payload may be anybody's JSON: members of another kind than expected are printed as what they are; texts are cut
 * at CERT_TEXT_BYTES, tables at CERT_ROWS_MAX rows, and it is said that they were.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_CERT_WORDS_H
#define TRILITH_CLUSTER_CERT_WORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CERT_TEXT_BYTES   1024 /* of one value, with the terminator */
#define CERT_ROWS_MAX     40
#define CERT_COLUMNS_MAX  6
#define CERT_NOT_RECORDED "not recorded"

/* Takes a description piece by piece. Texts are UTF-8 and valid during the call only. */
struct cert_printer {
    void (*title)(struct cert_printer *printer, const char *title, const char *result);
    void (*section)(struct cert_printer *printer, const char *heading);
    void (*paragraph)(struct cert_printer *printer, const char *text);
    void (*field)(struct cert_printer *printer, const char *label, const char *value);
    /* A row of a table; the first of each table are its headings. `widths`: shares of 100. */
    void (*row)(struct cert_printer *printer, const char *const cells[], const unsigned widths[], size_t count,
                bool is_heading);
};

/* Tell `printer` all that the payload of a certificate says. `payload` is an object. */
void cert_describe(const json_t *payload, struct cert_printer *printer);

/* The value at `path` ("crypto.punctured.at"); NULL: there is none. */
const json_t *cert_value(const json_t *payload, const char *path);
/* The text of a value as people read it. */
void cert_value_text(const json_t *value, char text[CERT_TEXT_BYTES]);

#endif
