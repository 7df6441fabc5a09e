/* xml_writer.c - see xml_writer.h. */
#include "node/s3/xml_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put(struct text_buffer *out, const char *text)
{
    text_buffer_append(out, text, strlen(text));
}

void xml_open(struct text_buffer *out, const char *element)
{
    put(out, "<");
    put(out, element);
    put(out, ">");
}

void xml_close(struct text_buffer *out, const char *element)
{
    put(out, "</");
    put(out, element);
    put(out, ">");
}

void xml_begin(struct text_buffer *out, const char *root, const char *namespace_uri)
{
    put(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if (namespace_uri == NULL) {
        xml_open(out, root);
        return;
    }
    put(out, "<");
    put(out, root);
    put(out, " xmlns=\"");
    put(out, namespace_uri);
    put(out, "\">");
}

static void put_escaped_byte(struct text_buffer *out, unsigned char byte)
{
    char reference[8];
    switch (byte) {
    case '&':
        put(out, "&amp;");
        return;
    case '<':
        put(out, "&lt;");
        return;
    case '>':
        put(out, "&gt;");
        return;
    case '"':
        put(out, "&quot;");
        return;
    default:
        if (byte < 0x20 || byte == 0x7f) {
            (void)snprintf(reference, sizeof(reference), "&#x%X;", byte);
            put(out, reference);
        } else {
            text_buffer_append(out, &byte, 1);
        }
    }
}

static void put_escaped(struct text_buffer *out, struct text_span text)
{
    size_t at = 0;
    while (at < text.bytes) {
        size_t length = utf8_sequence_bytes(text.data + at, text.bytes - at);
        if (length == 0) {
            put(out, "\xef\xbf\xbd"); /* U+FFFD */
            at++;
        } else if (length == 1) {
            put_escaped_byte(out, (unsigned char)text.data[at]);
            at++;
        } else {
            text_buffer_append(out, text.data + at, length);
            at += length;
        }
    }
}

void xml_text(struct text_buffer *out, const char *element, struct text_span text)
{
    xml_open(out, element);
    put_escaped(out, text);
    xml_close(out, element);
}

void xml_word(struct text_buffer *out, const char *element, const char *text)
{
    xml_text(out, element, text_span_of(text));
}

void xml_number(struct text_buffer *out, const char *element, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    xml_word(out, element, text);
}

void xml_name(struct text_buffer *out, const char *element, struct text_span name, enum xml_names coding)
{
    static const char digits[] = "0123456789ABCDEF";
    if (coding == XML_NAMES_PLAIN) {
        xml_text(out, element, name);
        return;
    }
    xml_open(out, element);
    for (size_t i = 0; i < name.bytes; i++) {
        unsigned char byte = (unsigned char)name.data[i];
        if (byte == ' ') {
            put(out, "+");
        } else if (byte == '/' || uri_is_unreserved(byte)) {
            text_buffer_append(out, &byte, 1);
        } else {
            const char code[3] = {'%', digits[byte >> 4], digits[byte & 15]};
            text_buffer_append(out, code, sizeof(code));
        }
    }
    xml_close(out, element);
}
