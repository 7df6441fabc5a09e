/* arena.h - memory for unpacked messages: handed out from the front of a few chunks, given back all at once.
 *
 * protobuf-c asks for memory for every field that a peer names, so a small message can ask for a lot. Two limits
 * stand against that: each arena may hand out only so much for one message, and a pool bounds what all arenas of
 * one client or server hold together. Chunks of the usual size are kept for the next message, so that in steady
 * state nothing is allocated.
 *
 * Errors     An arena that reached a limit hands out NULL; arena_refusal() says which limit it was.
 * Secrets    arena_release() wipes when told that the message carried a secret.
 * Threads    A pool and its arenas belong to one loop. */
#ifndef TRILITH_PROTO_ARENA_H
#define TRILITH_PROTO_ARENA_H

#include "base/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_CHUNK_BYTES      8192u /* with its header */
#define ARENA_SPARE_CHUNKS_MAX 64u

struct arena_chunk;

struct arena_pool {
    struct arena_chunk *spare;
    unsigned spare_count;
    size_t held_bytes; /* by all chunks in arenas; spare ones do not count */
    size_t held_bytes_max;
};

struct arena {
    struct arena_pool *pool;
    struct arena_chunk *chunks; /* the one being filled first */
    size_t used_bytes;
    size_t used_bytes_max;
    enum status refusal;
    ProtobufCAllocator allocator;
};

void arena_pool_init(struct arena_pool *pool, size_t held_bytes_max);
/* All arenas must be released. */
void arena_pool_deinit(struct arena_pool *pool);

/* Begin an empty arena for one message. */
void arena_init(struct arena *arena, struct arena_pool *pool, size_t used_bytes_max);

/* `bytes` bytes, aligned to 16, or NULL. */
void *arena_take(struct arena *arena, size_t bytes);

/* Why arena_take() gave NULL: STATUS_TOO_LARGE (this arena's limit), STATUS_BUSY (the pool's limit, or no memory);
 * STATUS_OK when it never did. */
enum status arena_refusal(const struct arena *arena);

/* Give everything back, overwritten first when `wipe`. The arena is empty then; harmless when it was. */
void arena_release(struct arena *arena, bool wipe);

#endif
