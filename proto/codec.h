/* codec.h - private to proto: which message each type carries, and bytes to messages within limits.
 *
 * The public half (descriptors and names of types) is declared in rpc.h. */
#ifndef TRILITH_PROTO_CODEC_H
#define TRILITH_PROTO_CODEC_H

#include "base/check.h"
#include "proto/arena.h"

#include <stdbool.h>

/* How much memory the unpacked form of a message may take. The densest honest message is a map of placement groups:
 * 9 bytes on the wire become a 48-byte struct, a 16-byte array, an 8-byte pointer and 32 to 64 bytes of protobuf-c's
 * own notes: up to 15 times. An unpacked message above 24 times its size is somebody playing. */
size_t message_unpacked_bytes_max(uint32_t message_bytes);

/* Unpack `bytes` bytes into `arena`; the message lives as long as that.
 *   STATUS_INVALID    not an encoding of this message
 *   STATUS_TOO_LARGE  it would take more memory than the arena may hand out
 *   STATUS_BUSY       no memory now */
MUST_USE enum status message_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                                    const uint8_t *data, size_t bytes, const ProtobufCMessage **message);

/* Replies of this type carry keys or secrets: whatever held one is wiped. */
bool message_reply_is_secret(uint16_t type);

#endif
