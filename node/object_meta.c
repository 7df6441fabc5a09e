/* object_meta.c - a client's fields as bytes, and those bytes sealed for the catalog. */
#include "node/object_meta.h"

#include "base/bytes.h"

#define OBJECT_META_FORMAT 1

_Static_assert(OBJECT_META_PIECES_MAX *OBJECT_META_PIECE_BYTES >= OBJECT_META_PLAIN_MAX, "the pieces hold it all");
_Static_assert(OBJECT_META_BYTES_MAX <= UINT16_MAX, "a name or value fits its u16 length");

/* ---- fields ------------------------------------------------------------------------------------ */

enum status object_meta_add(struct object_meta *meta, const char *name, const char *value)
{
    size_t name_bytes = strnlen(name, OBJECT_META_BYTES_MAX + 1);
    size_t value_bytes = strnlen(value, OBJECT_META_BYTES_MAX + 1);
    if (meta->count == OBJECT_META_FIELDS_MAX || 4 + name_bytes + value_bytes > OBJECT_META_BYTES_MAX - meta->used) {
        return STATUS_TOO_LARGE;
    }
    struct byte_writer writer = byte_writer_of(meta->bytes + meta->used, OBJECT_META_BYTES_MAX - meta->used);
    write_u16(&writer, (uint16_t)name_bytes);
    write_u16(&writer, (uint16_t)value_bytes);
    write_bytes(&writer, name, name_bytes);
    write_bytes(&writer, value, value_bytes);
    CHECK(!writer.failed);
    meta->used += writer.written;
    meta->count++;
    return STATUS_OK;
}

bool object_meta_next(const struct object_meta *meta, size_t *cursor, const char **name, size_t *name_bytes,
                      const char **value, size_t *value_bytes)
{
    if (*cursor >= meta->used) {
        return false;
    }
    struct byte_reader reader = byte_reader_of(meta->bytes + *cursor, meta->used - *cursor);
    *name_bytes = read_u16(&reader);
    *value_bytes = read_u16(&reader);
    *name = (const char *)read_span(&reader, *name_bytes);
    *value = (const char *)read_span(&reader, *value_bytes);
    if (reader.failed) {
        return false;
    }
    *cursor = meta->used - reader.left;
    return true;
}

enum status object_meta_decode(const uint8_t *bytes, size_t used, struct object_meta *meta)
{
    if (used > OBJECT_META_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    unsigned count = 0;
    struct byte_reader reader = byte_reader_of(bytes, used);
    while (reader.left > 0) {
        size_t name_bytes = read_u16(&reader);
        size_t value_bytes = read_u16(&reader);
        read_skip(&reader, name_bytes);
        read_skip(&reader, value_bytes);
        if (reader.failed || count == OBJECT_META_FIELDS_MAX) {
            return STATUS_CORRUPT;
        }
        count++;
    }
    if (used > 0) {
        memcpy(meta->bytes, bytes, used);
    }
    meta->used = used;
    meta->count = count;
    return STATUS_OK;
}

/* ---- sealed ------------------------------------------------------------------------------------ */

#define CONTEXT_BYTES (IDENTITY_BYTES + 8)

static void context_encode(const struct object_identity *identity, uint32_t piece, uint32_t pieces,
                           uint8_t context[CONTEXT_BYTES])
{
    struct byte_writer writer = byte_writer_of(context, CONTEXT_BYTES);
    write_bytes(&writer, identity->bytes, sizeof(identity->bytes));
    write_u32(&writer, piece);
    write_u32(&writer, pieces);
    CHECK(!writer.failed && writer.left == 0);
}

static size_t piece_bytes(size_t plain_bytes, uint32_t piece)
{
    size_t rest = plain_bytes - (size_t)piece * OBJECT_META_PIECE_BYTES;
    return rest < OBJECT_META_PIECE_BYTES ? rest : OBJECT_META_PIECE_BYTES;
}

size_t object_meta_seal(const struct key *meta_key, const struct object_identity *identity, uint64_t object_bytes,
                        const struct object_meta *meta, uint8_t sealed[OBJECT_META_SEALED_MAX])
{
    uint8_t plain[OBJECT_META_PLAIN_MAX];
    struct byte_writer writer = byte_writer_of(plain, sizeof(plain));
    write_u8(&writer, OBJECT_META_FORMAT);
    write_u8(&writer, 0);
    write_u16(&writer, (uint16_t)meta->count);
    write_u32(&writer, (uint32_t)meta->used);
    write_u64(&writer, object_bytes);
    write_bytes(&writer, meta->bytes, meta->used);
    CHECK(!writer.failed);

    uint32_t pieces = (uint32_t)((writer.written + OBJECT_META_PIECE_BYTES - 1) / OBJECT_META_PIECE_BYTES);
    uint8_t context[CONTEXT_BYTES];
    uint8_t *at = sealed;
    for (uint32_t piece = 0; piece < pieces; piece++) {
        size_t bytes = piece_bytes(writer.written, piece);
        context_encode(identity, piece, pieces, context);
        box_seal(meta_key, context, sizeof(context), plain + (size_t)piece * OBJECT_META_PIECE_BYTES, bytes, at);
        at += bytes + BOX_OVERHEAD_BYTES;
    }
    wipe_memory(plain, writer.written);
    return (size_t)(at - sealed);
}

static enum status plain_decode(const uint8_t *plain, size_t plain_bytes, uint64_t object_bytes,
                                struct object_meta *meta)
{
    struct byte_reader reader = byte_reader_of(plain, plain_bytes);
    uint8_t format = read_u8(&reader);
    uint8_t zero = read_u8(&reader);
    uint16_t fields = read_u16(&reader);
    uint32_t field_bytes = read_u32(&reader);
    uint64_t sealed_object_bytes = read_u64(&reader);
    if (reader.failed || format != OBJECT_META_FORMAT || zero != 0 || field_bytes != reader.left ||
        sealed_object_bytes != object_bytes) {
        return STATUS_CORRUPT;
    }
    if (object_meta_decode(reader.at, reader.left, meta) != STATUS_OK || meta->count != fields) {
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

enum status object_meta_open(const struct key *meta_key, const struct object_identity *identity, uint64_t object_bytes,
                             const uint8_t *sealed, size_t sealed_bytes, struct object_meta *meta)
{
    const size_t sealed_piece_bytes = OBJECT_META_PIECE_BYTES + BOX_OVERHEAD_BYTES;
    size_t pieces = (sealed_bytes + sealed_piece_bytes - 1) / sealed_piece_bytes;
    if (pieces == 0 || pieces > OBJECT_META_PIECES_MAX || sealed_bytes <= pieces * BOX_OVERHEAD_BYTES ||
        sealed_bytes - pieces * BOX_OVERHEAD_BYTES > OBJECT_META_PLAIN_MAX ||
        sealed_bytes - pieces * BOX_OVERHEAD_BYTES <= (pieces - 1) * OBJECT_META_PIECE_BYTES) {
        return STATUS_CORRUPT;
    }
    uint8_t plain[OBJECT_META_PLAIN_MAX];
    uint8_t context[CONTEXT_BYTES];
    size_t plain_bytes = sealed_bytes - pieces * BOX_OVERHEAD_BYTES;
    enum status status = STATUS_OK;
    for (uint32_t piece = 0; piece < pieces && status == STATUS_OK; piece++) {
        context_encode(identity, piece, (uint32_t)pieces, context);
        status = box_open(meta_key, context, sizeof(context), sealed + piece * sealed_piece_bytes,
                          piece_bytes(plain_bytes, piece) + BOX_OVERHEAD_BYTES,
                          plain + (size_t)piece * OBJECT_META_PIECE_BYTES);
    }
    if (status == STATUS_OK) {
        status = plain_decode(plain, plain_bytes, object_bytes, meta);
    }
    wipe_memory(plain, plain_bytes);
    return status == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
}
