/* jws_pack.h - a JWS in fewer bytes, for keeping many of them.
 *
 * As what is read has one spelling only (jws.h), a JWS can be made again, to the byte, from its type, its key id, its
 * payload and its signature. Those are kept, without base64 and deflated, perhaps against the plain text of another JWS
 * that says nearly the same:
 *
 *   version u8 = 1 | signature[64] | length of the plain text u32be | raw deflate (RFC 1951) of the plain text
 *   plain text: type \n kid \n payload
 *
 * The packed bytes may differ from machine to machine; what they unpack to does not.
 * Bounds     JWS_BYTES_MAX; of a dictionary its last JWS_DICTIONARY_MAX bytes count.
 * Threads    Pure. */
#ifndef TRILITH_BASE_JWS_PACK_H
#define TRILITH_BASE_JWS_PACK_H

#include "base/jws.h"

#define JWS_DICTIONARY_MAX KIB(32) /* how far back deflate looks */

/* The plain text of a JWS. To be freed with free(); NULL: no memory, or over JWS_BYTES_MAX. */
MUST_USE char *jws_plain(const char *type, const char *kid, const char *payload, size_t payload_bytes, size_t *bytes);

/* To be freed with free(); NULL: no memory. `dictionary` may be NULL. */
MUST_USE uint8_t *jws_pack(const char *plain, size_t plain_bytes, const struct signature *signature,
                           const char *dictionary, size_t dictionary_bytes, size_t *bytes);

/* The plain text of what was packed with this dictionary, with a terminator; `signature` may be NULL. To be freed with
 * free().
 * STATUS_OK; STATUS_INVALID: it was not, or it is damaged; STATUS_FULL: no memory. */
MUST_USE enum status jws_unpack_plain(const void *packed, size_t bytes, const char *dictionary, size_t dictionary_bytes,
                                      char **plain, size_t *plain_bytes, struct signature *signature);
/* The JWS itself. To be freed with free(). */
MUST_USE enum status jws_unpack(const void *packed, size_t bytes, const char *dictionary, size_t dictionary_bytes,
                                char **text);

#endif
