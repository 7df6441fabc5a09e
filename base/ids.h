/* ids.h - the names of things, and the sizes that every part agrees on.
 *
 * Ids are compared as bytes and printed as lower-case hex. They are drawn at random where they are
 * created and carry no meaning. */
#ifndef TRILITH_BASE_IDS_H
#define TRILITH_BASE_IDS_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES     4096u         /* the unit of O_DIRECT transfers and of ownership on disk */
#define UNIT_BYTES      (64u * 1024u) /* the unit of sealing and of CRC */
#define CHUNK_BYTES_MAX (4u * 1024u * 1024u)
#define CHUNK_UNITS_MAX (CHUNK_BYTES_MAX / UNIT_BYTES)
#define REPLICAS        3u

/* Names one sealing of one chunk: 128 random bits, never used twice. */
struct chunk_id {
    uint8_t bytes[16];
};

/* Names one version of an object: 128 random bits, drawn by the gateway that writes it. */
struct version_id {
    uint8_t bytes[16];
};

struct uuid {
    uint8_t bytes[16];
};

static inline bool chunk_id_equal(const struct chunk_id *a, const struct chunk_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

#define ID_HEX_BYTES 33 /* 32 hex digits and the terminator */

/* Write 16 bytes as 32 lower-case hex digits and a terminator. */
void id_to_hex(const uint8_t bytes[16], char hex[ID_HEX_BYTES]);

/* Read exactly 32 hex digits (either case, then the terminator). False: the text is something else. */
bool id_from_hex(const char *hex, uint8_t bytes[16]);

/* How many units a chunk of `chunk_bytes` (1..CHUNK_BYTES_MAX) has; 0 for 0. */
static inline uint32_t chunk_unit_count(uint32_t chunk_bytes)
{
    return (chunk_bytes + UNIT_BYTES - 1) / UNIT_BYTES;
}

/* The bytes of unit `unit` of a chunk of `chunk_bytes`: UNIT_BYTES for all but the last. */
static inline uint32_t chunk_unit_bytes(uint32_t chunk_bytes, uint32_t unit)
{
    CHECK(unit < chunk_unit_count(chunk_bytes));
    uint32_t rest = chunk_bytes - unit * UNIT_BYTES;
    return rest < UNIT_BYTES ? rest : UNIT_BYTES;
}

#endif
