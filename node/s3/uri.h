/* uri.h - percent coding by the rules of S3, query strings, and UTF-8.
 *
 * Unreserved bytes are A-Z a-z 0-9 - _ . ~ (RFC 3986, 2.3); everything else is coded as %XX with upper-case digits.
 * Text is a span of somebody else's bytes, not terminated. Pure; every loop is bounded by its input. */
#ifndef TRILITH_NODE_S3_URI_H
#define TRILITH_NODE_S3_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to somebody else. */
struct text_span {
    const char *data;
    size_t bytes;
};

struct text_span text_span_of(const char *text);
bool text_span_equals(struct text_span span, const char *text);
bool text_span_equals_ignoring_case(struct text_span span, const char *text);
bool text_span_starts_with(struct text_span span, const char *text);
/* Without spaces and tabs at both ends. */
struct text_span text_span_trim(struct text_span span);
/* Cut off and return what stands before the first `separator`; the whole rest when there is none. */
struct text_span text_span_cut(struct text_span *rest, char separator);
/* Decimal digits only, at least one. False: anything else, or over 2^64 - 1. */
bool text_span_to_number(struct text_span span, uint64_t *number);
/* Copy and terminate. False: it does not fit. */
bool text_span_copy(struct text_span span, char *target, size_t capacity);

bool uri_is_unreserved(unsigned char byte);
/* The value of a hex digit of either case, or -1. */
int uri_hex_digit(char digit);

/* What '+' means: itself in a path, a space in a query. */
enum uri_part { URI_PATH, URI_QUERY };

/* Undo percent coding; never longer than the input. False: a % without two hex digits, or `capacity` is too small. */
bool uri_decode(struct text_span text, enum uri_part part, char *decoded, size_t capacity, size_t *decoded_bytes);

/* Code everything but unreserved bytes, and '/' when `keep_slash`. Returns the length, or 0 when `capacity` (which has
 * to hold a terminator too) is too small or the text is empty. */
size_t uri_encode(struct text_span text, bool keep_slash, char *encoded, size_t capacity);

/* The next `name=value` of a query string, still coded; `value` is empty without '='. Empty pieces are skipped. False at
 * the end. */
bool uri_query_next(struct text_span *rest, struct text_span *name, struct text_span *value);

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms) without NUL. */
bool utf8_is_valid(const char *text, size_t bytes);
/* The length of the well-formed sequence at the start of `text`, 1..4; 0: there is none. */
size_t utf8_sequence_bytes(const char *text, size_t bytes);

#endif
