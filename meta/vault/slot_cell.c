/* slot_cell.c - see slot_cell.h. */
#include "meta/vault/slot_cell.h"

#include "base/bytes.h"
#include "base/checksum.h"

#define CELL_FORMAT     1u
#define STATE_HOLDS     1u
#define STATE_DESTROYED 2u

static const uint8_t magic[8] = "TRLslot1";

void slot_cell_encode(const struct slot_cell *cell, uint8_t block[SLOT_CELL_BYTES])
{
    CHECK(cell->state == SLOT_HOLDS || cell->state == SLOT_DESTROYED);
    bool holds = cell->state == SLOT_HOLDS;
    struct byte_writer writer = byte_writer_of(block, SLOT_CELL_BYTES);
    write_bytes(&writer, magic, sizeof(magic));
    write_u32(&writer, CELL_FORMAT);
    write_u32(&writer, holds ? STATE_HOLDS : STATE_DESTROYED);
    write_bytes(&writer, cell->vault_uuid, sizeof(cell->vault_uuid));
    write_u64(&writer, cell->epoch);
    if (holds) {
        write_u8(&writer, (uint8_t)cell->servers);
        write_u8(&writer, (uint8_t)cell->threshold);
        write_u8(&writer, cell->share.index);
        write_u8(&writer, 0);
        write_bytes(&writer, cell->share.value.bytes, KEY_BYTES);
        write_bytes(&writer, cell->commitment, sizeof(cell->commitment));
    }
    write_zeros(&writer, writer.left - 4);
    write_u32(&writer, crc32c(0, block, SLOT_CELL_BYTES - 4));
    CHECK(!writer.failed && writer.left == 0);
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum |= bytes[i];
    }
    return sum == 0;
}

/* The fields that only a held share has. */
static void read_share(struct byte_reader *reader, struct slot_cell *cell)
{
    cell->servers = read_u8(reader);
    cell->threshold = read_u8(reader);
    cell->share.index = read_u8(reader);
    read_skip(reader, 1);
    read_bytes(reader, cell->share.value.bytes, KEY_BYTES);
    read_bytes(reader, cell->commitment, sizeof(cell->commitment));
    bool fits = cell->servers <= SHAMIR_SHARES_MAX && cell->threshold >= 1 && cell->threshold <= cell->servers &&
                cell->share.index >= 1 && cell->share.index <= cell->servers;
    cell->state = fits ? SLOT_HOLDS : SLOT_DAMAGED;
}

void slot_cell_decode(const uint8_t block[SLOT_CELL_BYTES], unsigned number, struct slot_cell *cell)
{
    CHECK(number < SLOT_CELLS);
    *cell = (struct slot_cell){.state = SLOT_DAMAGED};
    if (is_zero(block, SLOT_CELL_BYTES)) {
        cell->state = SLOT_EMPTY;
        return;
    }
    struct byte_reader reader = byte_reader_of(block, SLOT_CELL_BYTES);
    struct byte_reader end = byte_reader_of(block + SLOT_CELL_BYTES - 4, 4);
    if (read_u32(&end) != crc32c(0, block, SLOT_CELL_BYTES - 4) ||
        memcmp(read_span(&reader, sizeof(magic)), magic, sizeof(magic)) != 0 || read_u32(&reader) != CELL_FORMAT) {
        return;
    }
    uint32_t state = read_u32(&reader);
    read_bytes(&reader, cell->vault_uuid, sizeof(cell->vault_uuid));
    cell->epoch = read_u64(&reader);
    if (state == STATE_HOLDS) {
        read_share(&reader, cell);
    } else if (state == STATE_DESTROYED) {
        cell->state = SLOT_DESTROYED;
    }
    if (slot_cell_of(cell->epoch) != number) {
        cell->state = SLOT_DAMAGED;
    }
    if (cell->state == SLOT_DAMAGED) {
        wipe_memory(cell, sizeof(*cell));
        cell->state = SLOT_DAMAGED;
    }
}
