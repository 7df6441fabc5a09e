/* slab.h - the buffers that payload lives in, from the socket to the disk.
 *
 * One page-aligned arena per pool, cut at start into a fixed number of slabs of two sizes: small (64 KiB) for
 * small objects and ranges, large (a whole chunk) for the rest; each has one block of room at its end. The
 * arena is one contiguous range so that the io_uring disk can register it once. When no slab is free the
 * caller waits in line: that is the back-pressure that reaches the client as a closed TCP window.
 *
 * Gateway and replica work use *different* pools: a gateway that waits for a replica holds a slab, so replicas
 * must always be able to make progress without one of those, or two nodes could wait for each other for ever.
 *
 * Secrets    Slabs of a gateway hold plaintext for a while: slab_release() of a slab marked `plaintext` wipes it.
 * Ownership  A slab is counted: slab_take() gives one reference, slab_hold() another, slab_release() returns one.
 * Threads    One loop only; a slab lent to another reactor is released at home. */
#ifndef TRILITH_BASE_SLAB_H
#define TRILITH_BASE_SLAB_H

#include "base/ids.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/status.h"

#define SLAB_SMALL_BYTES (UNIT_BYTES + BLOCK_BYTES)
#define SLAB_LARGE_BYTES (CHUNK_BYTES_MAX + BLOCK_BYTES)

struct slab_pool;

struct slab {
    uint8_t *data;     /* aligned to BLOCK_BYTES */
    uint32_t capacity; /* SLAB_SMALL_BYTES or SLAB_LARGE_BYTES */
    uint32_t references;
    uint32_t dirty_bytes; /* how much of it to wipe on release; set by whoever puts plaintext into it */
    struct slab_pool *pool;
    struct list_link link;
};

/* A place in the line for a slab. Zero-initialise before first use. */
struct slab_waiter {
    void (*ready)(struct slab_waiter *waiter, struct slab *slab); /* owns `slab` */
    uint32_t bytes;
    struct list_link link;
};

/* Cut an arena of `small_count` and `large_count` slabs. NULL: no memory. `loop` delivers slabs to waiters. */
MUST_USE struct slab_pool *slab_pool_open(struct loop *loop, uint32_t small_count, uint32_t large_count);

/* All slabs must be back, and nobody waiting. */
void slab_pool_close(struct slab_pool *pool);

/* The arena, for registration with the kernel. */
void slab_pool_arena(const struct slab_pool *pool, uint8_t **start, size_t *bytes);

/* A slab with room for `bytes` (1..SLAB_LARGE_BYTES), or NULL when none is free or others wait in line. A small
 * request takes a large slab only when that is all there is and nobody waits. */
struct slab *slab_take(struct slab_pool *pool, uint32_t bytes);

/* Wait for a slab of `bytes`; `ready` runs once, never inside this call. First come, first served, per size. */
void slab_wait(struct slab_pool *pool, struct slab_waiter *waiter, uint32_t bytes,
               void (*ready)(struct slab_waiter *waiter, struct slab *slab));

/* Leave the line; harmless when not in it. */
void slab_wait_cancel(struct slab_pool *pool, struct slab_waiter *waiter);

void slab_hold(struct slab *slab);
void slab_release(struct slab *slab);

/* Slabs out now, for status and for tests that nothing leaks. */
uint32_t slab_pool_in_use(const struct slab_pool *pool);

#endif
