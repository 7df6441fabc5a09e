/* bytes.c - bounded readers and writers. Every access goes through read_span() or write_span(), which alone decide
 * whether it is inside. */
#include "base/bytes.h"

#include <string.h>

const uint8_t *read_span(struct byte_reader *reader, size_t bytes)
{
    if (reader->failed || bytes > reader->left) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *span = reader->at;
    if (bytes > 0) { /* An empty reader may stand on NULL, to which C lets us add nothing. */
        reader->at += bytes;
        reader->left -= bytes;
    }
    return span;
}

/* The next `bytes` bytes as one integer, least significant byte first. */
static uint64_t read_little_endian(struct byte_reader *reader, size_t bytes)
{
    const uint8_t *span = read_span(reader, bytes);
    uint64_t value = 0;
    if (span != NULL) {
        for (size_t i = bytes; i > 0; i--) {
            value = value << 8 | span[i - 1];
        }
    }
    return value;
}

static uint64_t read_big_endian(struct byte_reader *reader, size_t bytes)
{
    const uint8_t *span = read_span(reader, bytes);
    uint64_t value = 0;
    if (span != NULL) {
        for (size_t i = 0; i < bytes; i++) {
            value = value << 8 | span[i];
        }
    }
    return value;
}

uint8_t read_u8(struct byte_reader *reader)
{
    return (uint8_t)read_little_endian(reader, 1);
}

uint16_t read_u16(struct byte_reader *reader)
{
    return (uint16_t)read_little_endian(reader, 2);
}

uint32_t read_u32(struct byte_reader *reader)
{
    return (uint32_t)read_little_endian(reader, 4);
}

uint64_t read_u64(struct byte_reader *reader)
{
    return read_little_endian(reader, 8);
}

uint32_t read_u32_be(struct byte_reader *reader)
{
    return (uint32_t)read_big_endian(reader, 4);
}

uint64_t read_u64_be(struct byte_reader *reader)
{
    return read_big_endian(reader, 8);
}

void read_bytes(struct byte_reader *reader, void *target, size_t bytes)
{
    const uint8_t *span = read_span(reader, bytes);
    if (bytes == 0) {
        return;
    }
    if (span == NULL) {
        memset(target, 0, bytes);
        return;
    }
    memcpy(target, span, bytes);
}

void read_skip(struct byte_reader *reader, size_t bytes)
{
    (void)read_span(reader, bytes);
}

/* Room for the next `bytes` bytes, or NULL (and failed). */
static uint8_t *write_span(struct byte_writer *writer, size_t bytes)
{
    if (writer->failed || bytes > writer->left) {
        writer->failed = true;
        return NULL;
    }
    uint8_t *span = writer->at;
    if (bytes > 0) {
        writer->at += bytes;
        writer->left -= bytes;
        writer->written += bytes;
    }
    return span;
}

static void write_little_endian(struct byte_writer *writer, uint64_t value, size_t bytes)
{
    uint8_t *span = write_span(writer, bytes);
    if (span != NULL) {
        for (size_t i = 0; i < bytes; i++) {
            span[i] = (uint8_t)(value >> (8 * i));
        }
    }
}

static void write_big_endian(struct byte_writer *writer, uint64_t value, size_t bytes)
{
    uint8_t *span = write_span(writer, bytes);
    if (span != NULL) {
        for (size_t i = 0; i < bytes; i++) {
            span[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
        }
    }
}

void write_u8(struct byte_writer *writer, uint8_t value)
{
    write_little_endian(writer, value, 1);
}

void write_u16(struct byte_writer *writer, uint16_t value)
{
    write_little_endian(writer, value, 2);
}

void write_u32(struct byte_writer *writer, uint32_t value)
{
    write_little_endian(writer, value, 4);
}

void write_u64(struct byte_writer *writer, uint64_t value)
{
    write_little_endian(writer, value, 8);
}

void write_u32_be(struct byte_writer *writer, uint32_t value)
{
    write_big_endian(writer, value, 4);
}

void write_u64_be(struct byte_writer *writer, uint64_t value)
{
    write_big_endian(writer, value, 8);
}

void write_bytes(struct byte_writer *writer, const void *source, size_t bytes)
{
    uint8_t *span = write_span(writer, bytes);
    if (span != NULL && bytes > 0) {
        memcpy(span, source, bytes);
    }
}

void write_zeros(struct byte_writer *writer, size_t bytes)
{
    uint8_t *span = write_span(writer, bytes);
    if (span != NULL && bytes > 0) {
        memset(span, 0, bytes);
    }
}
