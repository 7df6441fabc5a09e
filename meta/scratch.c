/* scratch.c - one block, one mark. */
#include "meta/scratch.h"

#include <stdlib.h>
#include <string.h>

static void *allocator_take(void *user, size_t bytes)
{
    struct scratch *scratch = user;
    return scratch_take(scratch, bytes);
}

static void allocator_give(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

bool scratch_open(struct scratch *scratch, size_t capacity)
{
    *scratch = (struct scratch){.memory = malloc(capacity), .capacity = capacity};
    scratch->allocator =
        (ProtobufCAllocator){.alloc = allocator_take, .free = allocator_give, .allocator_data = scratch};
    return scratch->memory != NULL;
}

void scratch_close(struct scratch *scratch)
{
    free(scratch->memory);
    *scratch = (struct scratch){0};
}

void scratch_reset(struct scratch *scratch)
{
    scratch->used = 0;
    scratch->exhausted = false;
}

void *scratch_take(struct scratch *scratch, size_t bytes)
{
    size_t rounded = (bytes + 15) & ~(size_t)15;
    if (rounded < bytes || rounded > scratch->capacity - scratch->used) {
        scratch->exhausted = true;
        return NULL;
    }
    void *piece = scratch->memory + scratch->used;
    scratch->used += rounded;
    memset(piece, 0, rounded);
    return piece;
}

void *scratch_copy(struct scratch *scratch, const void *source, size_t bytes)
{
    uint8_t *copy = scratch_take(scratch, bytes + 1);
    if (copy != NULL && bytes > 0) {
        memcpy(copy, source, bytes);
    }
    return copy;
}
