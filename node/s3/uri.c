/* uri.c - see uri.h. */
#include "node/s3/uri.h"

#include <string.h>
#include <strings.h>

struct text_span text_span_of(const char *text)
{
    return (struct text_span){.data = text, .bytes = strlen(text)};
}

bool text_span_equals(struct text_span span, const char *text)
{
    return span.bytes == strlen(text) && (span.bytes == 0 || memcmp(span.data, text, span.bytes) == 0);
}

bool text_span_equals_ignoring_case(struct text_span span, const char *text)
{
    return span.bytes == strlen(text) && (span.bytes == 0 || strncasecmp(span.data, text, span.bytes) == 0);
}

bool text_span_starts_with(struct text_span span, const char *text)
{
    size_t bytes = strlen(text);
    return span.bytes >= bytes && memcmp(span.data, text, bytes) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text_span text_span_trim(struct text_span span)
{
    while (span.bytes > 0 && is_blank(span.data[0])) {
        span.data++;
        span.bytes--;
    }
    while (span.bytes > 0 && is_blank(span.data[span.bytes - 1])) {
        span.bytes--;
    }
    return span;
}

struct text_span text_span_cut(struct text_span *rest, char separator)
{
    struct text_span piece = *rest;
    if (rest->bytes == 0) {
        return piece;
    }
    const char *end = memchr(rest->data, separator, rest->bytes);
    if (end == NULL) {
        rest->data += rest->bytes;
        rest->bytes = 0;
        return piece;
    }
    piece.bytes = (size_t)(end - rest->data);
    rest->data += piece.bytes + 1;
    rest->bytes -= piece.bytes + 1;
    return piece;
}

bool text_span_to_number(struct text_span span, uint64_t *number)
{
    uint64_t value = 0;
    if (span.bytes == 0) {
        return false;
    }
    for (size_t i = 0; i < span.bytes; i++) {
        if (span.data[i] < '0' || span.data[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(span.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

bool text_span_copy(struct text_span span, char *target, size_t capacity)
{
    if (span.bytes >= capacity) {
        return false;
    }
    if (span.bytes > 0) {
        memcpy(target, span.data, span.bytes);
    }
    target[span.bytes] = '\0';
    return true;
}

bool uri_is_unreserved(unsigned char byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '_' || byte == '.' || byte == '~';
}

int uri_hex_digit(char digit)
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

bool uri_decode(struct text_span text, enum uri_part part, char *decoded, size_t capacity, size_t *decoded_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        char byte = text.data[i];
        if (byte == '%') {
            if (text.bytes - i < 3) {
                return false;
            }
            int high = uri_hex_digit(text.data[i + 1]);
            int low = uri_hex_digit(text.data[i + 2]);
            if (high < 0 || low < 0) {
                return false;
            }
            byte = (char)(high * 16 + low);
            i += 2;
        } else if (byte == '+' && part == URI_QUERY) {
            byte = ' ';
        }
        if (used == capacity) {
            return false;
        }
        decoded[used++] = byte;
    }
    *decoded_bytes = used;
    return true;
}

size_t uri_encode(struct text_span text, bool keep_slash, char *encoded, size_t capacity)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        bool plain = uri_is_unreserved(byte) || (keep_slash && byte == '/');
        size_t need = plain ? 1 : 3;
        if (capacity - used <= need) {
            return 0;
        }
        if (plain) {
            encoded[used] = (char)byte;
        } else {
            encoded[used] = '%';
            encoded[used + 1] = digits[byte >> 4];
            encoded[used + 2] = digits[byte & 15];
        }
        used += need;
    }
    if (capacity > used) {
        encoded[used] = '\0';
    }
    return used;
}

bool uri_query_next(struct text_span *rest, struct text_span *name, struct text_span *value)
{
    while (rest->bytes > 0) {
        struct text_span piece = text_span_cut(rest, '&');
        if (piece.bytes > 0) {
            *name = text_span_cut(&piece, '=');
            *value = piece;
            return true;
        }
    }
    return false;
}

/* How long a sequence that starts with `lead` is, and what its second byte may be (RFC 3629, section 4). */
static size_t utf8_lead(unsigned char lead, unsigned char *second_min, unsigned char *second_max)
{
    *second_min = 0x80;
    *second_max = 0xbf;
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0) {
            *second_min = 0xa0;
        } else if (lead == 0xed) {
            *second_max = 0x9f;
        }
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0) {
            *second_min = 0x90;
        } else if (lead == 0xf4) {
            *second_max = 0x8f;
        }
        return 4;
    }
    return 0;
}

size_t utf8_sequence_bytes(const char *text, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    unsigned char second_min;
    unsigned char second_max;
    size_t length = utf8_lead((unsigned char)text[0], &second_min, &second_max);
    if (length == 0 || length > bytes) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        unsigned char minimum = i == 1 ? second_min : 0x80;
        unsigned char maximum = i == 1 ? second_max : 0xbf;
        if (byte < minimum || byte > maximum) {
            return 0;
        }
    }
    return length;
}

bool utf8_is_valid(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        size_t length = utf8_sequence_bytes(text + at, bytes - at);
        if (length == 0 || text[at] == '\0') {
            return false;
        }
        at += length;
    }
    return true;
}
