/* sim_net_pipe.c - the bytes between two ends: a ring that is as large as it must be. */
#include "tests/sim/sim_net_private.h"

#include <stdlib.h>
#include <string.h>

#define RING_LEAST_BYTES KIB(4)
#define PIPE_KEPT_BYTES  KIB(16) /* an empty ring is kept up to here: most messages are small */

_Static_assert(RING_LEAST_BYTES << (SIM_RING_SIZES - 1) == SIM_PIPE_BYTES, "the largest ring holds a full pipe");

/* ---- rings -------------------------------------------------------------------------------------------- */

/* What a spare buffer begins with. */
struct sim_ring {
    struct sim_ring *next;
};

/* The first size that holds `bytes`. */
static unsigned ring_size(size_t bytes)
{
    unsigned size = 0;
    while (RING_LEAST_BYTES << size < bytes) {
        size++;
    }
    CHECK(size < SIM_RING_SIZES);
    return size;
}

static uint8_t *ring_take(struct sim_rings *rings, unsigned size)
{
    struct sim_ring *ring = rings->spare[size];
    if (ring != NULL) {
        rings->spare[size] = ring->next;
    } else {
        ring = malloc(RING_LEAST_BYTES << size);
        CHECK(ring != NULL);
    }
    return (uint8_t *)ring;
}

static void ring_give_back(struct sim_rings *rings, uint8_t *bytes, size_t capacity)
{
    if (bytes != NULL) {
        struct sim_ring *ring = (struct sim_ring *)(void *)bytes;
        struct sim_ring **spare = &rings->spare[ring_size(capacity)];
        ring->next = *spare;
        *spare = ring;
    }
}

void sim_rings_free(struct sim_rings *rings)
{
    for (unsigned size = 0; size < SIM_RING_SIZES; size++) {
        for (struct sim_ring *ring; (ring = rings->spare[size]) != NULL;) {
            rings->spare[size] = ring->next;
            free(ring);
        }
    }
}

/* Copy between the ring and flat memory, around the ring's end. */
static void ring_write(struct sim_pipe *pipe, const uint8_t *source, size_t bytes)
{
    size_t at = (pipe->first + pipe->used) & (pipe->capacity - 1);
    size_t straight = bytes < pipe->capacity - at ? bytes : pipe->capacity - at;
    memcpy(pipe->bytes + at, source, straight);
    memcpy(pipe->bytes, source + straight, bytes - straight);
    pipe->used += bytes;
}

static void ring_read(struct sim_pipe *pipe, uint8_t *target, size_t bytes)
{
    size_t straight = bytes < pipe->capacity - pipe->first ? bytes : pipe->capacity - pipe->first;
    memcpy(target, pipe->bytes + pipe->first, straight);
    memcpy(target + straight, pipe->bytes, bytes - straight);
    pipe->first = (pipe->first + bytes) & (pipe->capacity - 1);
    pipe->used -= bytes;
}

static void ring_reserve(struct sim_pipe *pipe, size_t bytes)
{
    CHECK(bytes <= SIM_PIPE_BYTES);
    if (bytes <= pipe->capacity) {
        return;
    }
    unsigned size = ring_size(bytes);
    uint8_t *grown = ring_take(pipe->rings, size);
    size_t used = pipe->used;
    if (used > 0) {
        ring_read(pipe, grown, used);
    }
    ring_give_back(pipe->rings, pipe->bytes, pipe->capacity);
    pipe->bytes = grown;
    pipe->capacity = RING_LEAST_BYTES << size;
    pipe->first = 0;
    pipe->used = used;
}

/* ---- pipes -------------------------------------------------------------------------------------------- */

void sim_pipe_free(struct sim_pipe *pipe)
{
    ring_give_back(pipe->rings, pipe->bytes, pipe->capacity);
    *pipe = (struct sim_pipe){.rings = pipe->rings};
}

size_t sim_vectors_bytes(const struct stream_io *io, size_t most)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < io->vector_count && bytes < most; i++) {
        bytes += io->vectors[i].iov_len;
    }
    return bytes < most ? bytes : most;
}

static void vectors_skip_empty(struct stream_io *io)
{
    while (io->vector_count > 0 && io->vectors->iov_len == 0) {
        io->vectors++;
        io->vector_count--;
    }
}

void sim_pipe_fill(struct sim_pipe *pipe, struct stream_io *io, size_t bytes)
{
    if (pipe != NULL) {
        ring_reserve(pipe, pipe->used + bytes);
    }
    vectors_skip_empty(io);
    while (bytes > 0) {
        CHECK(io->vector_count > 0);
        struct iovec *vector = io->vectors;
        size_t part = bytes < vector->iov_len ? bytes : vector->iov_len;
        if (pipe != NULL) {
            ring_write(pipe, vector->iov_base, part);
        }
        vector->iov_base = (uint8_t *)vector->iov_base + part;
        vector->iov_len -= part;
        bytes -= part;
        vectors_skip_empty(io);
    }
}

void sim_pipe_drain(struct sim_pipe *pipe, uint8_t *target, size_t bytes)
{
    CHECK(bytes <= pipe->used);
    if (bytes > 0) {
        ring_read(pipe, target, bytes);
    }
    if (pipe->used == 0 && pipe->capacity > PIPE_KEPT_BYTES) {
        sim_pipe_free(pipe);
    }
}
