/* jws.h - signed statements: JSON in its one canonical form, and compact JWS (RFC 7515) with EdDSA (RFC 8037).
 *
 *   BASE64URL(header) . BASE64URL(payload) . BASE64URL(signature over the first two with their dot)
 *
 * Canonical form is RFC 8785 within its simplest part: keys sorted by their bytes, no white space, integers only
 * (within 2^53 - 1 either way, which every JSON reader keeps exactly), UTF-8, and no control characters in any text.
 * What is read must stand in that form to the byte, header and payload, and its base64url must be the only one there is
 * for those bytes (no padding, no spare bits): so whatever byte is changed, it is noticed, and whoever makes the text
 * again from the values gets the same bytes.
 * Bounds     JWS_BYTES_MAX in all. Values nest at most JSON_DEPTH_MAX deep.
 * Threads    Pure. */
#ifndef TRILITH_BASE_JWS_H
#define TRILITH_BASE_JWS_H

#include "base/signature.h"

#include <jansson.h>

#define JWS_BYTES_MAX  MIB(1)
#define JWS_TYPE_BYTES 48
#define JWS_KID_BYTES  128
#define JSON_DEPTH_MAX 16

/* The canonical text of an object or array, with a terminator; `*bytes` without it. To be freed with free(). NULL: no
 * memory, something else than an object or array, a real number or too large a one, a control character or a text that
 * is not UTF-8, too deep. */
MUST_USE char *json_canonical(const json_t *value, size_t *bytes);
/* NULL: not canonical, too deep, or not JSON at all. Duplicate keys are refused. */
MUST_USE json_t *json_from_canonical(const char *text, size_t bytes);

/* Make "HEADER.PAYLOAD" with {"alg":"EdDSA","kid":kid,"typ":type}. `payload` must be canonical. To be freed with
 * free(); NULL: no memory, `type` or `kid` too long, or over JWS_BYTES_MAX with its signature. */
MUST_USE char *jws_signing_input(const char *type, const char *kid, const char *payload, size_t payload_bytes);
/* The whole JWS. To be freed with free(); NULL: no memory. */
MUST_USE char *jws_finish(const char *signing_input, const struct signature *signature);
/* All of it at once, for whoever has the seed. */
MUST_USE char *jws_sign(const char *type, const char *kid, const struct key *seed, const json_t *payload);

/* A JWS taken apart; nothing is believed of it before jws_verify(). */
struct jws {
    char type[JWS_TYPE_BYTES];
    char kid[JWS_KID_BYTES];
    json_t *payload;    /* owned; an object */
    char *payload_text; /* owned; canonical */
    size_t payload_bytes;
    size_t signed_bytes; /* of the text: header, dot, payload */
    struct signature signature;
};

/* Take `text` apart. STATUS_OK; STATUS_INVALID: not a compact JWS of our form (another algorithm, other header members,
 * not canonical, trailing bytes; one newline at the end is allowed); STATUS_TOO_LARGE; STATUS_FULL: no memory.
 * jws_close() whatever it returns. */
MUST_USE enum status jws_open(struct jws *jws, const char *text, size_t bytes);
void jws_close(struct jws *jws);
/* `text` is what jws_open() was given. */
bool jws_verify(const struct jws *jws, const char *text, const struct public_key *public_key);

/* base64url without padding (RFC 4648, 5). Encoded: ceil(4 * bytes / 3) + 1 with the terminator. */
void base64url_encode(const void *data, size_t bytes, char *text);
/* Canonical only. `*bytes` (in: room, out: length). */
MUST_USE bool base64url_decode(const char *text, size_t text_bytes, uint8_t *data, size_t *bytes);

#endif
