/* fuzz_record.c - arbitrary content areas through the record decoder, and arbitrary files through the inspector.
 *
 * Input: one byte says which. 0: the content area of a batch, after counts of records and blocks. Otherwise a segment
 * file; with the lowest bit of that byte clear its checksums are made right first, so that what stands behind them is
 * reached. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/log.h"
#include "node/store/inspect.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct memory_source {
    struct inspect_source base;
    uint8_t *file;
    uint64_t bytes;
};

static enum status memory_list(struct inspect_source *source, void (*each)(void *user, const char *name), void *user)
{
    (void)source;
    each(user, "segment-00000000");
    each(user, "superblock");
    each(user, "segment-zz");
    return STATUS_OK;
}

static enum status memory_size(struct inspect_source *base, const char *name, uint64_t *bytes)
{
    (void)name;
    *bytes = CONTAINER_OF(base, struct memory_source, base)->bytes;
    return STATUS_OK;
}

static enum status memory_read(struct inspect_source *base, const char *name, uint64_t offset, uint8_t *buffer,
                               size_t bytes)
{
    const struct memory_source *source = CONTAINER_OF(base, struct memory_source, base);
    (void)name;
    CHECK(offset + bytes <= source->bytes);
    memcpy(buffer, source->file + offset, bytes);
    return STATUS_OK;
}

static void decode_content(const uint8_t *data, size_t bytes)
{
    if (bytes < 4) {
        return;
    }
    struct batch_header header = {
        .header_blocks = 1,
        .record_count = data[0],
        .batch_blocks = 1 + data[1] + data[2] * 256u,
        .content_bytes =
            (uint32_t)(bytes - 4 < BLOCK_BYTES - BATCH_HEADER_FIXED_BYTES ? bytes - 4
                                                                          : BLOCK_BYTES - BATCH_HEADER_FIXED_BYTES),
    };
    uint8_t *area = calloc(1, BATCH_HEADER_FIXED_BYTES + header.content_bytes);
    CHECK(area != NULL);
    memcpy(area + BATCH_HEADER_FIXED_BYTES, data + 4, header.content_bytes);
    struct record_cursor cursor = record_cursor_of(&header, area);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        uint8_t again[BLOCK_BYTES];
        /* Whatever decodes is encoded to as many bytes, and stays inside its batch. */
        CHECK(record_encode(&record, again) == record_bytes(record.type, record.chunk.chunk_bytes));
        CHECK((uint64_t)record.payload_block + record.payload_blocks <= header.batch_blocks);
    }
    (void)!records_check(&header, area);
    free(area);
}

/* Make segment header and batch headers decode as far as checksums and places go. */
static void mend_checksums(uint8_t *file, size_t bytes)
{
    struct segment_header segment = {.kind = BATCH_LOG_STORE, .generation = 1, .first_lsn = 1, .segment_bytes = bytes};
    segment_header_encode(&segment, file);
    for (size_t at = BLOCK_BYTES; at + BLOCK_BYTES <= bytes; at += BLOCK_BYTES) {
        struct batch_header header;
        if (batch_header_peek(file + at, &header) != STATUS_OK ||
            (size_t)header.header_blocks * BLOCK_BYTES > bytes - at) {
            continue;
        }
        header.segment = segment.segment;
        header.generation = 1;
        header.offset = at;
        batch_header_encode(&header, file + at);
    }
}

static void inspect_file(const uint8_t *data, size_t bytes, bool mend)
{
    size_t whole = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES + 2 * BLOCK_BYTES;
    struct memory_source source = {
        .base = {.list = memory_list, .size = memory_size, .read = memory_read},
        .file = calloc(1, whole),
        .bytes = whole,
    };
    struct inspect_visitor visitor = {0};
    struct inspect_summary summary;
    CHECK(source.file != NULL);
    memcpy(source.file, data, bytes);
    if (mend) {
        mend_checksums(source.file, whole);
    }
    CHECK(inspect_store(&source.base, &visitor, &summary) == STATUS_OK);
    free(source.file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    if (data[0] == 0) {
        decode_content(data + 1, bytes - 1);
    } else {
        inspect_file(data + 1, bytes - 1, (data[0] & 1) == 0);
    }
    return 0;
}
