/* jws.c - canonical JSON on jansson, base64url on libsodium, and the two put together as compact JWS.
 *
 * What is read is made again from its values and compared with what was given: one rule instead of a list of forbidden
 * spellings, and the only one that can't miss one. */
#include "base/jws.h"

#include "base/digest.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM            "EdDSA"
#define INTEGER_MAX          ((INT64_C(1) << 53) - 1) /* what every JSON reader keeps exactly (RFC 7493, 2.2) */
#define HEADER_BYTES_MAX     512
#define SIGNATURE_TEXT_BYTES 86 /* 64 bytes in base64url */

_Static_assert(HEADER_BYTES_MAX > 2 * (JWS_TYPE_BYTES + JWS_KID_BYTES) + 64, "every header fits");

/* ---- base64url --------------------------------------------------------------------------------- */

void base64url_encode(const void *data, size_t bytes, char *text)
{
    sodium_bin2base64(text, sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING), data, bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

bool base64url_decode(const char *text, size_t text_bytes, uint8_t *data, size_t *bytes)
{
    /* libsodium refuses spare bits that are not zero, and other characters of ASCII. */
    size_t decoded_bytes = 0;
    const char *end = NULL;
    if (!text_is_ascii(text, text_bytes) ||
        sodium_base642bin(data, *bytes, text, text_bytes, NULL, &decoded_bytes, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != text + text_bytes) {
        return false;
    }
    *bytes = decoded_bytes;
    return true;
}

static size_t base64url_bytes(size_t bytes)
{
    return (4 * bytes + 2) / 3;
}

/* ---- canonical JSON ---------------------------------------------------------------------------- */

/* No control characters: those of ASCII, and U+0080..U+009F, which some terminals obey too. */
static bool text_is_plain(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] < 0x20 || at[i] == 0x7f ||
            (at[i] == 0xc2 && i + 1 < bytes && at[i + 1] >= 0x80 && at[i + 1] < 0xa0)) {
            return false;
        }
    }
    return true;
}

/* `value` is not changed: jansson's iterators just take it without const. */
static bool value_is_plain(json_t *value, unsigned depth)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: {
        const char *name = NULL;
        json_t *member = NULL;
        if (depth == JSON_DEPTH_MAX) {
            return false;
        }
        json_object_foreach(value, name, member)
        {
            if (!text_is_plain(name, strlen(name)) || !value_is_plain(member, depth + 1)) {
                return false;
            }
        }
        return true;
    }
    case JSON_ARRAY: {
        size_t index = 0;
        json_t *member = NULL;
        if (depth == JSON_DEPTH_MAX) {
            return false;
        }
        json_array_foreach(value, index, member)
        {
            if (!value_is_plain(member, depth + 1)) {
                return false;
            }
        }
        return true;
    }
    case JSON_STRING:
        return text_is_plain(json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        return json_integer_value(value) <= INTEGER_MAX && json_integer_value(value) >= -INTEGER_MAX;
    case JSON_REAL:
        return false;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        return true;
    }
    return false;
}

char *json_canonical(const json_t *value, size_t *bytes)
{
    union {
        const json_t *given;
        json_t *value;
    } view = {.given = value};
    if (value == NULL || (!json_is_object(value) && !json_is_array(value)) || !value_is_plain(view.value, 0)) {
        return NULL;
    }
    /* Texts that are not UTF-8 fail here. */
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    if (text != NULL) {
        *bytes = strlen(text);
    }
    return text;
}

json_t *json_from_canonical(const char *text, size_t bytes)
{
    if (bytes > JWS_BYTES_MAX) {
        return NULL;
    }
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (value == NULL) {
        return NULL;
    }
    size_t again_bytes = 0;
    char *again = json_canonical(value, &again_bytes);
    bool same = again != NULL && again_bytes == bytes && memcmp(again, text, bytes) == 0;
    free(again);
    if (!same) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static char *header_text(const char *type, const char *kid, size_t *bytes)
{
    if (strlen(type) >= JWS_TYPE_BYTES || strlen(kid) >= JWS_KID_BYTES) {
        return NULL;
    }
    json_t *header = json_pack("{s:s, s:s, s:s}", "alg", ALGORITHM, "kid", kid, "typ", type);
    char *text = json_canonical(header, bytes);
    json_decref(header);
    return text;
}

char *jws_signing_input(const char *type, const char *kid, const char *payload, size_t payload_bytes)
{
    size_t header_bytes = 0;
    char *header = header_text(type, kid, &header_bytes);
    if (header == NULL) {
        return NULL;
    }
    char *input = NULL;
    if (payload_bytes <= JWS_BYTES_MAX) {
        size_t first_bytes = base64url_bytes(header_bytes);
        size_t second_bytes = base64url_bytes(payload_bytes);
        if (first_bytes + 1 + second_bytes + 1 + SIGNATURE_TEXT_BYTES <= JWS_BYTES_MAX) {
            input = malloc(first_bytes + 1 + second_bytes + 1);
        }
        if (input != NULL) {
            base64url_encode(header, header_bytes, input);
            input[first_bytes] = '.';
            base64url_encode(payload, payload_bytes, input + first_bytes + 1);
        }
    }
    free(header);
    return input;
}

char *jws_finish(const char *signing_input, const struct signature *signature)
{
    size_t input_bytes = strlen(signing_input);
    char *text = malloc(input_bytes + 1 + SIGNATURE_TEXT_BYTES + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text, signing_input, input_bytes);
    text[input_bytes] = '.';
    base64url_encode(signature->bytes, SIGNATURE_BYTES, text + input_bytes + 1);
    return text;
}

char *jws_sign(const char *type, const char *kid, const struct key *seed, const json_t *payload)
{
    size_t payload_bytes = 0;
    char *payload_text = json_canonical(payload, &payload_bytes);
    if (payload_text == NULL) {
        return NULL;
    }
    char *input = jws_signing_input(type, kid, payload_text, payload_bytes);
    free(payload_text);
    if (input == NULL) {
        return NULL;
    }
    struct signature signature;
    signature_sign(seed, input, strlen(input), &signature);
    char *text = jws_finish(input, &signature);
    free(input);
    return text;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Copy a text member of the header, which must fit with its terminator and not be empty. */
static bool header_member(const json_t *header, const char *name, char *target, size_t room)
{
    const json_t *member = json_object_get(header, name);
    size_t bytes = json_string_length(member);
    if (bytes == 0 || bytes >= room) {
        return false;
    }
    memcpy(target, json_string_value(member), bytes + 1);
    return true;
}

static bool open_header(struct jws *jws, const char *text, size_t bytes)
{
    uint8_t decoded[HEADER_BYTES_MAX];
    size_t decoded_bytes = sizeof(decoded);
    if (!base64url_decode(text, bytes, decoded, &decoded_bytes)) {
        return false;
    }
    json_t *header = json_from_canonical((const char *)decoded, decoded_bytes);
    char algorithm[sizeof(ALGORITHM)] = "";
    bool good = json_object_size(header) == 3 && header_member(header, "alg", algorithm, sizeof(algorithm)) &&
                strcmp(algorithm, ALGORITHM) == 0 && header_member(header, "kid", jws->kid, sizeof(jws->kid)) &&
                header_member(header, "typ", jws->type, sizeof(jws->type));
    json_decref(header);
    return good;
}

/* STATUS_FULL: no memory. */
static enum status open_payload(struct jws *jws, const char *text, size_t bytes)
{
    jws->payload_text = malloc(bytes + 1); /* more than it decodes to */
    if (jws->payload_text == NULL) {
        return STATUS_FULL;
    }
    jws->payload_bytes = bytes;
    if (!base64url_decode(text, bytes, (uint8_t *)jws->payload_text, &jws->payload_bytes)) {
        return STATUS_INVALID;
    }
    jws->payload_text[jws->payload_bytes] = '\0';
    jws->payload = json_from_canonical(jws->payload_text, jws->payload_bytes);
    return json_is_object(jws->payload) ? STATUS_OK : STATUS_INVALID;
}

enum status jws_open(struct jws *jws, const char *text, size_t bytes)
{
    memset(jws, 0, sizeof(*jws));
    if (bytes > 0 && text[bytes - 1] == '\n') {
        bytes--;
    }
    if (bytes > JWS_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    const char *first = memchr(text, '.', bytes);
    if (first == NULL) {
        return STATUS_INVALID;
    }
    const char *end = text + bytes;
    const char *second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || (size_t)(end - second - 1) != SIGNATURE_TEXT_BYTES) {
        return STATUS_INVALID;
    }
    jws->signed_bytes = (size_t)(second - text);
    size_t signature_bytes = SIGNATURE_BYTES;
    if (!base64url_decode(second + 1, SIGNATURE_TEXT_BYTES, jws->signature.bytes, &signature_bytes) ||
        signature_bytes != SIGNATURE_BYTES || !open_header(jws, text, (size_t)(first - text))) {
        return STATUS_INVALID;
    }
    return open_payload(jws, first + 1, (size_t)(second - first - 1));
}

void jws_close(struct jws *jws)
{
    json_decref(jws->payload);
    free(jws->payload_text);
    jws->payload = NULL;
    jws->payload_text = NULL;
}

bool jws_verify(const struct jws *jws, const char *text, const struct public_key *public_key)
{
    return signature_verify(public_key, text, jws->signed_bytes, &jws->signature);
}
