/* text_buffer.h - bytes that grow up to a limit: XML documents in and out.
 *
 * After the first byte over the limit (or without memory) `failed` is set and everything further is dropped, so a writer
 * writes all and asks once. A buffer keeps its memory from use to use, as long as it is small. */
#ifndef TRILITH_NODE_S3_TEXT_BUFFER_H
#define TRILITH_NODE_S3_TEXT_BUFFER_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

#define TEXT_BUFFER_KEPT_BYTES KIB(64) /* larger ones are freed by text_buffer_reset() */

struct text_buffer {
    char *data;
    size_t used;
    size_t capacity;
    size_t limit;
    bool failed;
};

/* Start anew with a limit; the content is gone. Zero-initialise before the first use. */
void text_buffer_reset(struct text_buffer *buffer, size_t limit);
void text_buffer_free(struct text_buffer *buffer);
void text_buffer_append(struct text_buffer *buffer, const void *data, size_t bytes);
/* Make room for `bytes` more and return where they go (text_buffer_advance() then says how many came), or NULL. */
void *text_buffer_room(struct text_buffer *buffer, size_t bytes);
void text_buffer_advance(struct text_buffer *buffer, size_t bytes);

#endif
