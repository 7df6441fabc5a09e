/* jws_pack.c - on ISA-L's deflate. */
#include "base/jws_pack.h"

#include "base/bytes.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>

#define PACKED_VERSION      1
#define PACKED_HEADER_BYTES (1 + SIGNATURE_BYTES + 4)
#define LEVEL               1

_Static_assert(JWS_DICTIONARY_MAX <= IGZIP_HIST_SIZE, "the whole dictionary is within reach");

/* ---- deflate ----------------------------------------------------------------------------------- */

/* ISA-L reads through pointers that are not const. */
static uint8_t *readable(const void *data)
{
    return (uint8_t *)(uintptr_t)data;
}

static void dictionary_cut(const char **dictionary, size_t *bytes)
{
    if (*bytes > JWS_DICTIONARY_MAX) {
        *dictionary += *bytes - JWS_DICTIONARY_MAX;
        *bytes = JWS_DICTIONARY_MAX;
    }
}

/* The length, or 0: no memory, or it does not fit. */
static size_t deflate_text(const char *text, size_t bytes, const char *dictionary, size_t dictionary_bytes,
                           uint8_t *target, size_t room)
{
    struct isal_zstream *stream = malloc(sizeof(*stream));
    uint8_t *level_buffer = malloc(ISAL_DEF_LVL1_DEFAULT);
    size_t length = 0;
    if (stream != NULL && level_buffer != NULL) {
        isal_deflate_init(stream);
        stream->level = LEVEL;
        stream->level_buf = level_buffer;
        stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
        stream->end_of_stream = 1;
        stream->flush = NO_FLUSH;
        stream->next_in = readable(text);
        stream->avail_in = (uint32_t)bytes;
        stream->next_out = target;
        stream->avail_out = (uint32_t)room;
        bool good = dictionary_bytes == 0 ||
                    isal_deflate_set_dict(stream, readable(dictionary), (uint32_t)dictionary_bytes) == COMP_OK;
        good = good && isal_deflate(stream) == COMP_OK && stream->internal_state.state == ZSTATE_END;
        length = good ? stream->total_out : 0;
    }
    free(level_buffer);
    free(stream);
    return length;
}

/* False: not exactly `bytes` come out of it. */
static bool inflate_text(const uint8_t *packed, size_t packed_bytes, const char *dictionary, size_t dictionary_bytes,
                         char *text, size_t bytes)
{
    struct inflate_state *state = malloc(sizeof(*state));
    if (state == NULL) {
        return false;
    }
    isal_inflate_init(state);
    state->crc_flag = ISAL_DEFLATE;
    state->next_in = readable(packed);
    state->avail_in = (uint32_t)packed_bytes;
    state->next_out = (uint8_t *)text;
    state->avail_out = (uint32_t)bytes;
    bool good = dictionary_bytes == 0 ||
                isal_inflate_set_dict(state, readable(dictionary), (uint32_t)dictionary_bytes) == ISAL_DECOMP_OK;
    good = good && isal_inflate(state) == ISAL_DECOMP_OK && state->block_state == ISAL_BLOCK_FINISH &&
           state->avail_out == 0 && state->avail_in == 0 && state->read_in_length < 8;
    free(state);
    return good;
}

/* ---- packing ----------------------------------------------------------------------------------- */

char *jws_plain(const char *type, const char *kid, const char *payload, size_t payload_bytes, size_t *bytes)
{
    size_t type_bytes = strlen(type);
    size_t kid_bytes = strlen(kid);
    if (type_bytes >= JWS_TYPE_BYTES || kid_bytes >= JWS_KID_BYTES || payload_bytes > JWS_BYTES_MAX) {
        return NULL;
    }
    *bytes = type_bytes + 1 + kid_bytes + 1 + payload_bytes;
    char *plain = malloc(*bytes + 1);
    if (plain == NULL) {
        return NULL;
    }
    memcpy(plain, type, type_bytes);
    plain[type_bytes] = '\n';
    memcpy(plain + type_bytes + 1, kid, kid_bytes);
    plain[type_bytes + 1 + kid_bytes] = '\n';
    memcpy(plain + *bytes - payload_bytes, payload, payload_bytes);
    plain[*bytes] = '\0';
    return plain;
}

uint8_t *jws_pack(const char *plain, size_t plain_bytes, const struct signature *signature, const char *dictionary,
                  size_t dictionary_bytes, size_t *bytes)
{
    size_t room = plain_bytes + plain_bytes / 8 + 256; /* More than deflate adds to what it can't make shorter. */
    uint8_t *packed = malloc(PACKED_HEADER_BYTES + room);
    if (packed == NULL) {
        return NULL;
    }
    packed[0] = PACKED_VERSION;
    memcpy(packed + 1, signature->bytes, SIGNATURE_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        packed[1 + SIGNATURE_BYTES + i] = (uint8_t)(plain_bytes >> (24 - 8 * i));
    }
    dictionary_cut(&dictionary, &dictionary_bytes);
    size_t length = deflate_text(plain, plain_bytes, dictionary, dictionary_bytes, packed + PACKED_HEADER_BYTES, room);
    if (length == 0) {
        free(packed);
        return NULL;
    }
    *bytes = PACKED_HEADER_BYTES + length;
    return packed;
}

/* ---- unpacking --------------------------------------------------------------------------------- */

enum status jws_unpack_plain(const void *packed, size_t bytes, const char *dictionary, size_t dictionary_bytes,
                             char **plain, size_t *plain_bytes, struct signature *signature)
{
    const uint8_t *at = packed;
    if (bytes <= PACKED_HEADER_BYTES || bytes > 2 * JWS_BYTES_MAX || at[0] != PACKED_VERSION) {
        return STATUS_INVALID;
    }
    size_t length = 0;
    for (unsigned i = 0; i < 4; i++) {
        length = length << 8 | at[1 + SIGNATURE_BYTES + i];
    }
    if (length == 0 || length > JWS_BYTES_MAX) {
        return STATUS_INVALID;
    }
    char *text = malloc(length + 1);
    if (text == NULL) {
        return STATUS_FULL;
    }
    dictionary_cut(&dictionary, &dictionary_bytes);
    if (!inflate_text(at + PACKED_HEADER_BYTES, bytes - PACKED_HEADER_BYTES, dictionary, dictionary_bytes, text,
                      length)) {
        free(text);
        return STATUS_INVALID;
    }
    text[length] = '\0';
    if (signature != NULL) {
        memcpy(signature->bytes, at + 1, SIGNATURE_BYTES);
    }
    *plain = text;
    *plain_bytes = length;
    return STATUS_OK;
}

/* Take the plain text apart, in its place. */
static char *signing_input_of(char *plain, size_t bytes)
{
    char *type_end = memchr(plain, '\n', bytes);
    char *kid = type_end == NULL ? NULL : type_end + 1;
    char *kid_end = kid == NULL ? NULL : memchr(kid, '\n', bytes - (size_t)(kid - plain));
    if (kid_end == NULL) {
        return NULL;
    }
    *type_end = '\0';
    *kid_end = '\0';
    return jws_signing_input(plain, kid, kid_end + 1, bytes - (size_t)(kid_end + 1 - plain));
}

enum status jws_unpack(const void *packed, size_t bytes, const char *dictionary, size_t dictionary_bytes, char **text)
{
    char *plain = NULL;
    size_t plain_bytes = 0;
    struct signature signature;
    enum status status =
        jws_unpack_plain(packed, bytes, dictionary, dictionary_bytes, &plain, &plain_bytes, &signature);
    if (status != STATUS_OK) {
        return status;
    }
    char *input = signing_input_of(plain, plain_bytes);
    *text = input == NULL ? NULL : jws_finish(input, &signature);
    free(input);
    free(plain);
    return *text == NULL ? STATUS_INVALID : STATUS_OK;
}
