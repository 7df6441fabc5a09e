/* checksum.h - the checksums, on ISA-L. They find accidents; they prove nothing about authorship.
 *
 * CRC32C is the Castagnoli polynomial as in RFC 3720 B.4 (check value of "123456789": 0xe3069283);
 * CRC32 is the one of zlib and Ethernet (check value 0xcbf43926). Both take and give the finished value, so
 * pieces chain: crc(crc(0, a), b) = crc(0, a|b). Any thread. */
#ifndef TRILITH_BASE_CHECKSUM_H
#define TRILITH_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
/* Its name for the linker differs, so that it never takes the place of zlib's crc32() in the libraries we link. */
uint32_t crc32(uint32_t crc, const void *data, size_t bytes) __asm__("trilith_crc32");

#endif
