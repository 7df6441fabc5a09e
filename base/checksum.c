/* checksum.c - CRC32C and CRC32 on ISA-L, which picks the fastest instructions of this CPU at run time. */
#include "base/checksum.h"
#include "base/check.h"

#include <isa-l/crc.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    /* ISA-L neither inverts at the start nor at the end here, takes an int as length, and forgot a const. */
    const size_t piece_bytes_max = MIB(1024);
    const uint8_t *at = data;
    uint32_t state = ~crc;
    while (bytes > 0) {
        size_t piece_bytes = bytes < piece_bytes_max ? bytes : piece_bytes_max;
        state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)piece_bytes, state);
        at += piece_bytes;
        bytes -= piece_bytes;
    }
    return ~state;
}

uint32_t crc32(uint32_t crc, const void *data, size_t bytes)
{
    return bytes == 0 ? crc : crc32_gzip_refl(crc, data, bytes);
}
