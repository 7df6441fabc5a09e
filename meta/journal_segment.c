/* journal_segment.c - walking a segment, and telling a torn tail from corruption. */
#include "meta/journal_segment.h"

#include "base/bytes.h"

void segment_walk_init(struct segment_walk *walk, const struct segment_header *header, const uint8_t *bytes,
                       uint64_t size)
{
    *walk = (struct segment_walk){
        .bytes = bytes, .size = size, .header = header, .offset = SEGMENT_HEADER_BYTES, .next_lsn = header->first_lsn};
}

/* Decode the batch at `offset`, whatever its lsn. */
static enum status batch_at(const uint8_t *bytes, uint64_t size, uint64_t offset, const struct segment_header *segment,
                            struct batch_header *header)
{
    if (offset + BLOCK_BYTES > size) {
        return STATUS_NOT_FOUND;
    }
    enum status status = batch_header_peek(bytes + offset, header);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t area_bytes = (uint64_t)header->header_blocks * BLOCK_BYTES;
    if (header->batch_blocks != header->header_blocks || area_bytes > size - offset) {
        return STATUS_CORRUPT;
    }
    return batch_header_decode(bytes + offset, (size_t)area_bytes, segment, offset, header);
}

/* Whether any batch of this use of the segment stands behind `offset`. */
static bool batch_stands_behind(const struct segment_walk *walk, uint64_t offset)
{
    struct batch_header header;
    for (uint64_t at = offset + BLOCK_BYTES; at + BLOCK_BYTES <= walk->size; at += BLOCK_BYTES) {
        if (batch_at(walk->bytes, walk->size, at, walk->header, &header) == STATUS_OK && header.lsn >= walk->next_lsn) {
            return true;
        }
    }
    return false;
}

/* Check that the content is exactly the entries it says. */
static enum status batch_decode_content(const struct batch_header *header, const uint8_t *content,
                                        struct journal_batch *batch)
{
    struct byte_reader reader = byte_reader_of(content, header->content_bytes);
    batch->lsn = header->lsn;
    batch->first_index = read_u64(&reader);
    batch->entry_count = header->record_count;
    batch->entries = reader.at;
    batch->entries_bytes = reader.left;
    for (uint16_t i = 0; i < header->record_count; i++) {
        read_skip(&reader, read_u32(&reader));
    }
    bool valid = !reader.failed && reader.left == 0 && header->record_count > 0 && batch->first_index > 0;
    return valid ? STATUS_OK : STATUS_CORRUPT;
}

enum status segment_walk_next(struct segment_walk *walk, struct journal_batch *batch)
{
    struct batch_header header;
    if (batch_at(walk->bytes, walk->size, walk->offset, walk->header, &header) != STATUS_OK) {
        return batch_stands_behind(walk, walk->offset) ? STATUS_CORRUPT : STATUS_NOT_FOUND;
    }
    if (header.lsn != walk->next_lsn || header.previous_crc != walk->previous_crc) {
        return STATUS_CORRUPT;
    }
    enum status status = batch_decode_content(&header, walk->bytes + walk->offset + BATCH_HEADER_FIXED_BYTES, batch);
    if (status == STATUS_OK) {
        walk->offset += (uint64_t)header.header_blocks * BLOCK_BYTES;
        walk->next_lsn++;
        walk->previous_crc = header.header_crc;
    }
    return status;
}

bool journal_batch_entry(const struct journal_batch *batch, size_t *cursor, const uint8_t **entry, uint32_t *bytes)
{
    if (*cursor == batch->entries_bytes) {
        return false;
    }
    struct byte_reader reader = byte_reader_of(batch->entries + *cursor, batch->entries_bytes - *cursor);
    *bytes = read_u32(&reader);
    *entry = read_span(&reader, *bytes);
    CHECK(!reader.failed);
    *cursor += sizeof(uint32_t) + *bytes;
    return true;
}

uint64_t segment_greatest_lsn(const uint8_t *bytes, uint64_t size)
{
    uint64_t greatest = 0;
    for (uint64_t at = SEGMENT_HEADER_BYTES; at + BLOCK_BYTES <= size; at += BLOCK_BYTES) {
        struct batch_header header;
        if (batch_header_peek(bytes + at, &header) != STATUS_OK) {
            continue;
        }
        /* The batch itself says which segment it was written to; it must only agree with itself. */
        struct segment_header segment = {
            .segment = header.segment, .generation = header.generation, .segment_bytes = size};
        if (batch_at(bytes, size, at, &segment, &header) == STATUS_OK && header.lsn > greatest) {
            greatest = header.lsn;
        }
    }
    return greatest;
}
