/* superblock.c - see superblock.h. */
#include "node/store/superblock.h"

#include "base/bytes.h"
#include "base/checksum.h"

static const uint8_t magic[8] = "TRLSUP1";

void superblock_encode(const struct superblock *superblock, uint8_t block[BLOCK_BYTES])
{
    struct byte_writer writer = byte_writer_of(block, BLOCK_BYTES);

    write_bytes(&writer, magic, sizeof(magic));
    write_u32(&writer, SUPERBLOCK_FORMAT);
    write_u32(&writer, superblock->clean ? 1 : 0);
    write_bytes(&writer, superblock->store.bytes, sizeof(superblock->store.bytes));
    write_u64(&writer, superblock->sequence);
    write_u64(&writer, superblock->segment_bytes);
    write_u64(&writer, superblock->capacity_bytes);
    write_u64(&writer, superblock->durable_lsn);
    write_zeros(&writer, writer.left - 4);
    write_u32(&writer, crc32c(0, block, BLOCK_BYTES - 4));
    CHECK(!writer.failed && writer.left == 0);
}

enum status superblock_decode(const uint8_t block[BLOCK_BYTES], struct superblock *superblock)
{
    struct byte_reader reader = byte_reader_of(block, BLOCK_BYTES);
    struct byte_reader end = byte_reader_of(block + BLOCK_BYTES - 4, 4);
    const uint8_t *found = read_span(&reader, sizeof(magic));

    if (read_u32(&end) != crc32c(0, block, BLOCK_BYTES - 4)) {
        for (size_t i = 0; i < BLOCK_BYTES; i++) {
            if (block[i] != 0) {
                return STATUS_CORRUPT;
            }
        }
        return STATUS_NOT_FOUND;
    }
    if (memcmp(found, magic, sizeof(magic)) != 0) {
        return STATUS_CORRUPT;
    }
    if (read_u32(&reader) != SUPERBLOCK_FORMAT) {
        return STATUS_UNSUPPORTED;
    }
    struct superblock decoded = {.clean = read_u32(&reader) == 1};
    read_bytes(&reader, decoded.store.bytes, sizeof(decoded.store.bytes));
    decoded.sequence = read_u64(&reader);
    decoded.segment_bytes = read_u64(&reader);
    decoded.capacity_bytes = read_u64(&reader);
    decoded.durable_lsn = read_u64(&reader);
    *superblock = decoded;
    return STATUS_OK;
}

enum status superblock_choose(const uint8_t blocks[SUPERBLOCK_BYTES], struct superblock *superblock,
                              unsigned *bad_copies)
{
    enum status outcome = STATUS_NOT_FOUND;
    struct superblock newest = {0};

    *bad_copies = 0;
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        struct superblock copy;
        enum status status = superblock_decode(blocks + (size_t)i * BLOCK_BYTES, &copy);
        if (status == STATUS_OK) {
            if (outcome != STATUS_OK || copy.sequence > newest.sequence) {
                newest = copy;
            }
            outcome = STATUS_OK;
        } else if (status != STATUS_NOT_FOUND) {
            (*bad_copies)++;
            if (outcome == STATUS_NOT_FOUND || (outcome == STATUS_CORRUPT && status == STATUS_UNSUPPORTED)) {
                outcome = status;
            }
        }
    }
    if (outcome == STATUS_OK) {
        *superblock = newest;
    }
    return outcome;
}
