/* bytes.h - bounded readers and writers for fixed formats. Integers are little-endian unless named _be.
 *
 * Both carry a sticky `failed`: after the first access past the end every further read gives zeros and
 * every further write does nothing, so a decoder reads all its fields and asks once. */
#ifndef TRILITH_BASE_BYTES_H
#define TRILITH_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct byte_reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

struct byte_writer {
    uint8_t *at;
    size_t left;
    size_t written;
    bool failed;
};

static inline struct byte_reader byte_reader_of(const void *data, size_t bytes)
{
    return (struct byte_reader){.at = data, .left = bytes};
}
static inline struct byte_writer byte_writer_of(void *data, size_t bytes)
{
    return (struct byte_writer){.at = data, .left = bytes};
}

uint8_t read_u8(struct byte_reader *reader);
uint16_t read_u16(struct byte_reader *reader);
uint32_t read_u32(struct byte_reader *reader);
uint64_t read_u64(struct byte_reader *reader);
uint64_t read_u64_be(struct byte_reader *reader);
uint32_t read_u32_be(struct byte_reader *reader);
void read_bytes(struct byte_reader *reader, void *target, size_t bytes);
void read_skip(struct byte_reader *reader, size_t bytes);
/* A pointer to the next `bytes` bytes in place, or NULL (and failed). */
const uint8_t *read_span(struct byte_reader *reader, size_t bytes);

void write_u8(struct byte_writer *writer, uint8_t value);
void write_u16(struct byte_writer *writer, uint16_t value);
void write_u32(struct byte_writer *writer, uint32_t value);
void write_u64(struct byte_writer *writer, uint64_t value);
void write_u64_be(struct byte_writer *writer, uint64_t value);
void write_u32_be(struct byte_writer *writer, uint32_t value);
void write_bytes(struct byte_writer *writer, const void *source, size_t bytes);
void write_zeros(struct byte_writer *writer, size_t bytes);

#endif
