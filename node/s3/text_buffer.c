/* text_buffer.c - see text_buffer.h. */
#include "node/s3/text_buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY KIB(4)

void text_buffer_free(struct text_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct text_buffer){.data = NULL};
}

void text_buffer_reset(struct text_buffer *buffer, size_t limit)
{
    if (buffer->capacity > TEXT_BUFFER_KEPT_BYTES) {
        text_buffer_free(buffer);
    }
    buffer->used = 0;
    buffer->limit = limit;
    buffer->failed = false;
}

void *text_buffer_room(struct text_buffer *buffer, size_t bytes)
{
    if (buffer->failed || bytes > buffer->limit - buffer->used) {
        buffer->failed = true;
        return NULL;
    }
    size_t needed = buffer->used + bytes;
    if (needed > buffer->capacity) {
        size_t capacity = buffer->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : buffer->capacity;
        while (capacity < needed) {
            capacity *= 2;
        }
        char *data = realloc(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->used;
}

void text_buffer_advance(struct text_buffer *buffer, size_t bytes)
{
    CHECK(bytes <= buffer->capacity - buffer->used);
    buffer->used += bytes;
}

void text_buffer_append(struct text_buffer *buffer, const void *data, size_t bytes)
{
    if (bytes == 0) {
        return;
    }
    void *room = text_buffer_room(buffer, bytes);
    if (room != NULL) {
        memcpy(room, data, bytes);
        text_buffer_advance(buffer, bytes);
    }
}
