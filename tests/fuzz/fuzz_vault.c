/* fuzz_vault.c - any bytes as what the vault reads back from its devices: refused, or well formed.
 *
 * The first byte chooses: 0 a cover, 1 a slot cell, 2 a table header, 3 a block of a table as it stands on the disk, 4
 * the rows of a block, properly sealed: what a reader with the right key must survive. Of cells and headers the
 * checksum is made right when the second byte is odd, so that what stands behind it is reached. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "meta/vault/slot_cell.h"
#include "meta/vault/table.h"
#include "meta/vault/vault.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_cover(const uint8_t *data, size_t size)
{
    static struct ggm_cover cover;
    static uint8_t again[GGM_COVER_BYTES_MAX];
    if (ggm_cover_decode(data, size, &cover) != STATUS_OK) {
        return;
    }
    CHECK(cover.count <= GGM_COVER_NODES_MAX);
    CHECK(ggm_cover_encode(&cover, again) == size);
    CHECK(memcmp(again, data, size) == 0);

    uint32_t leaves = ggm_cover_leaves(&cover);
    uint32_t said = 0;
    struct ggm_bitmap punctured = {0};
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        struct key leaf;
        bool is_there = ggm_cover_leaf(&cover, slot, &leaf) == STATUS_OK;
        said += is_there ? 1 : 0;
        if (slot % 3 == 0) {
            ggm_bit_set(&punctured, slot);
        }
    }
    CHECK(leaves == said);
    uint32_t forgotten = ggm_cover_puncture(&cover, &punctured);
    CHECK(ggm_cover_leaves(&cover) + forgotten == leaves);
}

/* A block of 4 KiB: the input, then zeros; with its checksum made right when `mended`. */
static void block_of(const uint8_t *data, size_t size, bool mended, uint8_t block[BLOCK_BYTES])
{
    memset(block, 0, BLOCK_BYTES);
    memcpy(block, data, size < BLOCK_BYTES ? size : BLOCK_BYTES);
    if (mended) {
        struct byte_writer writer = byte_writer_of(block + BLOCK_BYTES - 4, 4);
        write_u32(&writer, crc32c(0, block, BLOCK_BYTES - 4));
    }
}

static void fuzz_cell(const uint8_t *data, size_t size, bool mended)
{
    static uint8_t block[BLOCK_BYTES];
    block_of(data, size, mended, block);
    for (unsigned number = 0; number < SLOT_CELLS; number++) {
        struct slot_cell cell;
        struct slot_cell again;
        slot_cell_decode(block, number, &cell);
        if (cell.state != SLOT_HOLDS && cell.state != SLOT_DESTROYED) {
            continue;
        }
        CHECK(cell.epoch % SLOT_CELLS == number);
        CHECK(cell.state != SLOT_HOLDS || (cell.threshold >= 1 && cell.threshold <= cell.servers &&
                                           cell.servers <= SHAMIR_SHARES_MAX && cell.share.index >= 1));
        uint8_t encoded[SLOT_CELL_BYTES];
        slot_cell_encode(&cell, encoded);
        slot_cell_decode(encoded, number, &again);
        CHECK(again.state == cell.state && again.epoch == cell.epoch);
        CHECK(memcmp(&again.share, &cell.share, sizeof(cell.share)) == 0);
        CHECK(memcmp(again.commitment, cell.commitment, sizeof(cell.commitment)) == 0);
    }
}

static void fuzz_header(const uint8_t *data, size_t size, bool mended)
{
    static uint8_t block[TABLE_HEADER_BYTES];
    static uint8_t again[TABLE_HEADER_BYTES];
    struct table_header header;
    block_of(data, size, mended, block);
    if (table_header_decode(block, &header) != STATUS_OK) {
        return;
    }
    CHECK(header.pages_end >= 1 && header.pages_end <= TABLE_PAGES_MAX);
    CHECK(table_file_bytes(header.pages_end) <= UINT32_MAX);
    table_header_encode(&header, again);
    CHECK(memcmp(again, block, TABLE_HEADER_BOUND_BYTES) == 0);
}

static struct table_sealing sealing = {.root = {.bytes = {1, 2, 3}}, .header = {4, 5, 6}};
static uint8_t sealed[TABLE_BLOCK_BYTES];
static uint8_t rows[TABLE_PLAIN_BYTES];
static uint8_t opened[TABLE_PLAIN_BYTES];

static void fuzz_block(const uint8_t *data, size_t size)
{
    memset(sealed, 0, sizeof(sealed));
    memcpy(sealed, data, size < sizeof(sealed) ? size : sizeof(sealed));
    CHECK(table_block_open(&sealing, 0, 2, sealed, opened) == STATUS_CORRUPT);
}

/* pages_end u32 | block u16 | rows */
static void fuzz_rows(const uint8_t *data, size_t size)
{
    struct byte_reader reader = byte_reader_of(data, size);
    uint32_t pages_end = read_u32(&reader) % TABLE_PAGES_MAX + 1;
    uint32_t block = read_u16(&reader) % table_blocks(pages_end);
    if (reader.failed) {
        return;
    }
    memset(rows, 0, sizeof(rows));
    memcpy(rows, reader.at, reader.left < sizeof(rows) ? reader.left : sizeof(rows));
    table_block_seal(&sealing, block, rows, sealed);
    if (table_block_open(&sealing, block, pages_end, sealed, opened) != STATUS_OK) {
        return;
    }
    CHECK(memcmp(rows, opened, sizeof(rows)) == 0);
    for (uint32_t i = 0; i < TABLE_BLOCK_ROWS; i++) {
        uint8_t type = rows[i * TABLE_ROW_BYTES];
        bool exists = (uint64_t)block * TABLE_BLOCK_ROWS + i + 1 < pages_end;
        CHECK(exists ? type >= TABLE_WHOLE && type <= TABLE_DEAD : type == TABLE_NO_ROW);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    bool mended = (data[1] & 1) != 0;
    switch (data[0] % 5) {
    case 0:
        fuzz_cover(data + 1, size - 1);
        break;
    case 1:
        fuzz_cell(data + 2, size - 2, mended);
        break;
    case 2:
        fuzz_header(data + 2, size - 2, mended);
        break;
    case 3:
        fuzz_block(data + 1, size - 1);
        break;
    default:
        fuzz_rows(data + 1, size - 1);
    }
    return 0;
}
