/* arena.c - see arena.h. A request above the usual chunk gets a chunk of its own, which is freed with the arena. */
#include "proto/arena.h"

#include "base/check.h"
#include "base/keys.h"

#include <stdlib.h>

#define ARENA_ALIGNMENT 16u

struct arena_chunk {
    struct arena_chunk *next;
    size_t capacity;
    size_t used;
    _Alignas(ARENA_ALIGNMENT) uint8_t bytes[];
};

#define CHUNK_ROOM (ARENA_CHUNK_BYTES - sizeof(struct arena_chunk))

void arena_pool_init(struct arena_pool *pool, size_t held_bytes_max)
{
    *pool = (struct arena_pool){.held_bytes_max = held_bytes_max};
}

void arena_pool_deinit(struct arena_pool *pool)
{
    CHECK(pool->held_bytes == 0);
    while (pool->spare != NULL) {
        struct arena_chunk *chunk = pool->spare;
        pool->spare = chunk->next;
        free(chunk);
    }
    pool->spare_count = 0;
}

static struct arena_chunk *chunk_take(struct arena_pool *pool, size_t capacity)
{
    if (pool->held_bytes + capacity > pool->held_bytes_max) {
        return NULL;
    }
    struct arena_chunk *chunk = pool->spare;
    if (capacity == CHUNK_ROOM && chunk != NULL) {
        pool->spare = chunk->next;
        pool->spare_count--;
    } else {
        chunk = malloc(sizeof(*chunk) + capacity);
    }
    if (chunk != NULL) {
        chunk->capacity = capacity;
        chunk->used = 0;
        pool->held_bytes += capacity;
    }
    return chunk;
}

static void chunk_give_back(struct arena_pool *pool, struct arena_chunk *chunk, bool wipe)
{
    if (wipe) {
        wipe_memory(chunk->bytes, chunk->used);
    }
    CHECK(pool->held_bytes >= chunk->capacity);
    pool->held_bytes -= chunk->capacity;
    if (chunk->capacity != CHUNK_ROOM || pool->spare_count >= ARENA_SPARE_CHUNKS_MAX) {
        free(chunk);
        return;
    }
    chunk->next = pool->spare;
    pool->spare = chunk;
    pool->spare_count++;
}

static void *allocator_take(void *arena, size_t bytes)
{
    return arena_take(arena, bytes);
}

/* Single pieces are never given back: the whole arena is, soon. */
static void allocator_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

void arena_init(struct arena *arena, struct arena_pool *pool, size_t used_bytes_max)
{
    *arena = (struct arena){
        .pool = pool,
        .used_bytes_max = used_bytes_max,
        .refusal = STATUS_OK,
        .allocator = {.alloc = allocator_take, .free = allocator_free, .allocator_data = arena},
    };
}

/* Where the next `bytes` bytes may stand: the chunk being filled, or a new one. A big piece gets a chunk of its own
 * behind the one being filled, so that the room left there stays in use. */
static struct arena_chunk *arena_chunk_for(struct arena *arena, size_t bytes)
{
    struct arena_chunk *first = arena->chunks;
    if (first != NULL && first->capacity - first->used >= bytes) {
        return first;
    }
    struct arena_chunk *chunk = chunk_take(arena->pool, bytes > CHUNK_ROOM ? bytes : CHUNK_ROOM);
    if (chunk == NULL) {
        return NULL;
    }
    if (bytes > CHUNK_ROOM && first != NULL) {
        chunk->next = first->next;
        first->next = chunk;
    } else {
        chunk->next = first;
        arena->chunks = chunk;
    }
    return chunk;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    if (bytes > arena->used_bytes_max - arena->used_bytes) {
        arena->refusal = STATUS_TOO_LARGE;
        return NULL;
    }
    size_t rounded = bytes == 0 ? ARENA_ALIGNMENT : (bytes + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (rounded > arena->used_bytes_max - arena->used_bytes) {
        arena->refusal = STATUS_TOO_LARGE;
        return NULL;
    }
    struct arena_chunk *chunk = arena_chunk_for(arena, rounded);
    if (chunk == NULL) {
        arena->refusal = STATUS_BUSY;
        return NULL;
    }
    void *piece = chunk->bytes + chunk->used;
    chunk->used += rounded;
    arena->used_bytes += rounded;
    return piece;
}

enum status arena_refusal(const struct arena *arena)
{
    return arena->refusal;
}

void arena_release(struct arena *arena, bool wipe)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        chunk_give_back(arena->pool, chunk, wipe);
    }
    arena->used_bytes = 0;
}
