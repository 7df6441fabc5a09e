/* ids.c - ids as text: the hex of digest.h, at an id's length. */
#include "base/ids.h"

#include "base/digest.h"

void id_to_hex(const uint8_t bytes[16], char hex[ID_HEX_BYTES])
{
    hex_encode(bytes, 16, hex);
}

bool id_from_hex(const char *hex, uint8_t bytes[16])
{
    uint8_t value[16];
    /* One more than an id has: a longer text is refused without being read to its end. */
    if (!hex_decode(hex, strnlen(hex, ID_HEX_BYTES), value, sizeof(value))) {
        return false;
    }
    memcpy(bytes, value, sizeof(value));
    return true;
}
