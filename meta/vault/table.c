/* table.c - see table.h. */
#include "meta/vault/table.h"

#include "base/bytes.h"
#include "base/checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FORMAT 1u
#define REGION_BYTES (TABLE_REGION_BLOCKS * TABLE_PLAIN_BYTES)
#define LABEL_BYTES  32

_Static_assert(TABLE_BLOCKS_MAX *(uint64_t)TABLE_BLOCK_BYTES + TABLE_HEADER_BYTES <= UINT32_MAX,
               "disk_allocate() makes files below 4 GiB");
_Static_assert(sizeof(struct key) == KEY_BYTES, "a key stands in a row as it is");

static const uint8_t magic[8] = "TRLtabl1";

/* ---- the header -------------------------------------------------------------------------------- */

void table_header_encode(const struct table_header *header, uint8_t bytes[TABLE_HEADER_BYTES])
{
    struct byte_writer writer = byte_writer_of(bytes, TABLE_HEADER_BYTES);
    write_bytes(&writer, magic, sizeof(magic));
    write_u32(&writer, TABLE_FORMAT);
    write_bytes(&writer, header->vault_uuid, sizeof(header->vault_uuid));
    write_u64(&writer, header->epoch);
    write_u32(&writer, header->pages_end);
    write_u64(&writer, header->leaves_erased_total);
    write_bytes(&writer, header->commitment, sizeof(header->commitment));
    write_u32(&writer, table_blocks(header->pages_end));
    CHECK(writer.written == TABLE_HEADER_BOUND_BYTES);
    write_zeros(&writer, writer.left - 4);
    write_u32(&writer, crc32c(0, bytes, TABLE_HEADER_BYTES - 4));
    CHECK(!writer.failed && writer.left == 0);
}

enum status table_header_decode(const uint8_t bytes[TABLE_HEADER_BYTES], struct table_header *header)
{
    struct byte_reader reader = byte_reader_of(bytes, TABLE_HEADER_BYTES);
    struct byte_reader end = byte_reader_of(bytes + TABLE_HEADER_BYTES - 4, 4);
    if (read_u32(&end) != crc32c(0, bytes, TABLE_HEADER_BYTES - 4) ||
        memcmp(read_span(&reader, sizeof(magic)), magic, sizeof(magic)) != 0) {
        return STATUS_CORRUPT;
    }
    if (read_u32(&reader) != TABLE_FORMAT) {
        return STATUS_UNSUPPORTED;
    }
    struct table_header decoded;
    read_bytes(&reader, decoded.vault_uuid, sizeof(decoded.vault_uuid));
    decoded.epoch = read_u64(&reader);
    decoded.pages_end = read_u32(&reader);
    decoded.leaves_erased_total = read_u64(&reader);
    read_bytes(&reader, decoded.commitment, sizeof(decoded.commitment));
    uint32_t blocks = read_u32(&reader);
    if (decoded.pages_end == 0 || decoded.pages_end > TABLE_PAGES_MAX || blocks != table_blocks(decoded.pages_end)) {
        return STATUS_CORRUPT;
    }
    *header = decoded;
    return STATUS_OK;
}

void table_name(uint64_t epoch, char name[DISK_NAME_BYTES])
{
    (void)snprintf(name, DISK_NAME_BYTES, "table-%016llx", (unsigned long long)epoch);
}

uint32_t table_blocks(uint32_t pages_end)
{
    uint32_t rows = pages_end - 1;
    return rows == 0 ? 1 : (uint32_t)((rows + TABLE_BLOCK_ROWS - 1) / TABLE_BLOCK_ROWS);
}

uint64_t table_file_bytes(uint32_t pages_end)
{
    return TABLE_HEADER_BYTES + table_blocks(pages_end) * (uint64_t)TABLE_BLOCK_BYTES;
}

/* ---- rows in memory ---------------------------------------------------------------------------- */

enum status table_reserve(struct table *table, uint32_t pages_end)
{
    CHECK(table->regions == NULL);
    CHECK(pages_end >= 1 && pages_end <= TABLE_PAGES_MAX);
    uint32_t regions_max = (table_blocks(pages_end) + TABLE_REGION_BLOCKS - 1) / TABLE_REGION_BLOCKS;
    uint8_t **regions = calloc(regions_max, sizeof(regions[0]));
    if (regions == NULL) {
        return STATUS_FULL;
    }
    *table = (struct table){.regions = regions, .regions_max = regions_max, .pages_end = pages_end};
    return STATUS_OK;
}

bool table_is_complete(const struct table *table)
{
    return table->regions != NULL && table->region_count == table->regions_max;
}

enum status table_extend(struct table *table, const struct table *source)
{
    CHECK(table->region_count < table->regions_max);
    uint8_t *region = guarded_take(REGION_BYTES);
    if (region == NULL) {
        return STATUS_FULL;
    }
    if (source != NULL && table->region_count < source->region_count) {
        memcpy(region, source->regions[table->region_count], REGION_BYTES);
    }
    table->regions[table->region_count] = region;
    table->region_count++;
    return STATUS_OK;
}

bool table_shrink(struct table *table)
{
    if (table->region_count == 0) {
        free(table->regions);
        *table = (struct table){0};
        return false;
    }
    table->region_count--;
    guarded_release(table->regions[table->region_count]); /* Wipes. */
    table->regions[table->region_count] = NULL;
    return true;
}

void table_release(struct table *table)
{
    while (table_shrink(table)) {
    }
}

size_t table_memory(const struct table *table)
{
    return table->region_count * REGION_BYTES;
}

uint8_t *table_block(const struct table *table, uint32_t block)
{
    CHECK(block / TABLE_REGION_BLOCKS < table->region_count);
    return table->regions[block / TABLE_REGION_BLOCKS] + block % TABLE_REGION_BLOCKS * TABLE_PLAIN_BYTES;
}

static uint8_t *row_at(const struct table *table, uint32_t page)
{
    CHECK(page >= 1 && page < table->pages_end);
    uint32_t row = page - 1;
    return table_block(table, (uint32_t)(row / TABLE_BLOCK_ROWS)) + row % TABLE_BLOCK_ROWS * TABLE_ROW_BYTES;
}

struct table_row table_row(const struct table *table, uint32_t page)
{
    const uint8_t *bytes = row_at(table, page);
    return (struct table_row){
        .type = (enum table_row_type)bytes[0],
        .generation = bytes[1] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3] << 16,
        .key = (const struct key *)(const void *)(bytes + 4),
    };
}

void table_row_set(struct table *table, uint32_t page, enum table_row_type type, uint32_t generation,
                   const struct key *key)
{
    CHECK(generation <= TABLE_GENERATION_MASK);
    uint8_t *bytes = row_at(table, page);
    bytes[0] = (uint8_t)type;
    bytes[1] = (uint8_t)generation;
    bytes[2] = (uint8_t)(generation >> 8);
    bytes[3] = (uint8_t)(generation >> 16);
    if (key != NULL) {
        memcpy(bytes + 4, key->bytes, KEY_BYTES);
    } else {
        memset(bytes + 4, 0, KEY_BYTES);
    }
}

/* ---- blocks ------------------------------------------------------------------------------------ */

static void block_key(struct table_sealing *sealing, uint32_t block)
{
    char label[LABEL_BYTES];
    (void)snprintf(label, sizeof(label), "block %u", block);
    derive_named_key(&sealing->root, label, &sealing->block_key);
}

void table_block_seal(struct table_sealing *sealing, uint32_t block, const uint8_t rows[TABLE_PLAIN_BYTES],
                      uint8_t sealed[TABLE_BLOCK_BYTES])
{
    block_key(sealing, block);
    box_seal(&sealing->block_key, sealing->header, sizeof(sealing->header), rows, TABLE_PLAIN_BYTES, sealed);
    wipe_memory(&sealing->block_key, sizeof(sealing->block_key));
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum |= bytes[i];
    }
    return sum == 0;
}

/* Rows up to the table's end, zeros behind it. */
static bool rows_are_well_formed(const uint8_t rows[TABLE_PLAIN_BYTES], uint32_t block, uint32_t pages_end)
{
    uint64_t before = (uint64_t)block * TABLE_BLOCK_ROWS;
    uint64_t left = pages_end - 1 > before ? pages_end - 1 - before : 0;
    size_t count = left < TABLE_BLOCK_ROWS ? (size_t)left : TABLE_BLOCK_ROWS;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = rows + i * TABLE_ROW_BYTES;
        bool is_row =
            row[0] == TABLE_WHOLE || row[0] == TABLE_PUNCTURED || (row[0] == TABLE_DEAD && is_zero(row + 4, KEY_BYTES));
        if (!is_row) {
            return false;
        }
    }
    return is_zero(rows + count * TABLE_ROW_BYTES, TABLE_PLAIN_BYTES - count * TABLE_ROW_BYTES);
}

enum status table_block_open(struct table_sealing *sealing, uint32_t block, uint32_t pages_end,
                             const uint8_t sealed[TABLE_BLOCK_BYTES], uint8_t rows[TABLE_PLAIN_BYTES])
{
    block_key(sealing, block);
    enum status status =
        box_open(&sealing->block_key, sealing->header, sizeof(sealing->header), sealed, TABLE_BLOCK_BYTES, rows);
    wipe_memory(&sealing->block_key, sizeof(sealing->block_key));
    return status == STATUS_OK && rows_are_well_formed(rows, block, pages_end) ? STATUS_OK : STATUS_CORRUPT;
}
