/* ids.c - ids as text. Ids are no secrets: nothing here runs in constant time. */
#include "base/ids.h"

#include <stddef.h>

void id_to_hex(const uint8_t bytes[16], char hex[ID_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[32] = '\0';
}

/* The value of one hex digit, or -1. */
static int hex_digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

bool id_from_hex(const char *hex, uint8_t bytes[16])
{
    uint8_t value[16];
    for (size_t i = 0; i < 16; i++) {
        int high = hex_digit_value(hex[2 * i]);
        if (high < 0) {
            return false; /* Also the terminator of a short text: what lies behind it is never read. */
        }
        int low = hex_digit_value(hex[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        value[i] = (uint8_t)(high << 4 | low);
    }
    if (hex[32] != '\0') {
        return false;
    }
    memcpy(bytes, value, sizeof(value));
    return true;
}
