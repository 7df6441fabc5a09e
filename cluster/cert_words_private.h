/* cert_words_private.h - what the files of cert_words share: lists of labels, and how they are printed. */
#ifndef TRILITH_CLUSTER_CERT_WORDS_PRIVATE_H
#define TRILITH_CLUSTER_CERT_WORDS_PRIVATE_H

#include "cluster/cert_words.h"

struct cert_field {
    const char *label;
    const char *path; /* NULL: the list's end */
};

struct cert_column {
    const char *heading;
    unsigned width; /* of 100 */
    const char *path;
    const char *(*words)(const char *code); /* NULL: as it stands */
};

void cert_print_fields(struct cert_printer *printer, const json_t *payload, const struct cert_field *fields);
/* `none`: what is said of an empty list. */
void cert_print_table(struct cert_printer *printer, const json_t *list, const struct cert_column *columns, size_t count,
                      const char *none);
void cert_print_keys(struct cert_printer *printer, const json_t *payload);

/* cert_words_media.c: the forms of media and nodes. */
void cert_print_medium(struct cert_printer *printer, const json_t *payload);
void cert_print_node(struct cert_printer *printer, const json_t *payload);

#endif
