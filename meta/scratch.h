/* scratch.h - short-lived memory for one request or one command: taken piece by piece, given back all at once.
 *
 * Messages from tables and replies are built here, so serving a request allocates nothing. The scratch never moves
 * what it gave out. When it is full it gives NULL and stays `exhausted` until the next reset. */
#ifndef TRILITH_META_SCRATCH_H
#define TRILITH_META_SCRATCH_H

#include "base/check.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scratch {
    uint8_t *memory;
    size_t capacity;
    size_t used;
    bool exhausted;
    ProtobufCAllocator allocator; /* gives to protobuf_c_message_unpack(); its free does nothing */
};

/* False: no memory. */
MUST_USE bool scratch_open(struct scratch *scratch, size_t capacity);
void scratch_close(struct scratch *scratch);

/* Everything given out since the last reset is gone. */
void scratch_reset(struct scratch *scratch);

/* `bytes` zeroed bytes, aligned for any type; NULL when they do not fit. */
void *scratch_take(struct scratch *scratch, size_t bytes);

/* A copy of `bytes` bytes with a terminating zero behind them. */
void *scratch_copy(struct scratch *scratch, const void *source, size_t bytes);

#endif
