/* object_meta.h - what the catalog keeps sealed about an object: its size once more, and the client's fields.
 *
 *   offset  bytes            all integers little-endian
 *        0      1  format    1
 *        1      1  zero
 *        2      2  fields
 *        4      4  field bytes
 *        8      8  object size
 *       16         fields, as in struct object_meta
 *
 * These bytes are cut into pieces of OBJECT_META_PIECE_BYTES (the last is shorter), each sealed by box_seal() under
 * K_meta with the context identity[32] | piece u32le | pieces u32le, and stored one behind the other. So a piece
 * can't be dropped, swapped, or taken from another version, and a record whose size was changed is refused. */
#ifndef TRILITH_NODE_OBJECT_META_H
#define TRILITH_NODE_OBJECT_META_H

#include "base/keys.h"
#include "node/object.h"

#define OBJECT_META_HEADER_BYTES 16
#define OBJECT_META_PLAIN_MAX    (OBJECT_META_HEADER_BYTES + OBJECT_META_BYTES_MAX)
#define OBJECT_META_PIECE_BYTES  4096
#define OBJECT_META_PIECES_MAX   3
#define OBJECT_META_SEALED_MAX   (OBJECT_META_PLAIN_MAX + OBJECT_META_PIECES_MAX * BOX_OVERHEAD_BYTES)

/* Seal. Returns the bytes written to `sealed`. */
size_t object_meta_seal(const struct key *meta_key, const struct object_identity *identity, uint64_t object_bytes,
                        const struct object_meta *meta, uint8_t sealed[OBJECT_META_SEALED_MAX]);

/* Open and check. STATUS_OK; STATUS_CORRUPT: it is not what was sealed for this version and size. */
MUST_USE enum status object_meta_open(const struct key *meta_key, const struct object_identity *identity,
                                      uint64_t object_bytes, const uint8_t *sealed, size_t sealed_bytes,
                                      struct object_meta *meta);

#endif
