/* output.h - how results reach people and scripts: JSON documents, times, sizes, and names from elsewhere.
 *
 * Object names are anybody's bytes. Before they reach a terminal their control characters are escaped, so a name can
 * move no cursor and forge no line. */
#ifndef TRILITH_CLUSTER_OUTPUT_H
#define TRILITH_CLUSTER_OUTPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_TIME_BYTES 32
#define OUTPUT_SIZE_BYTES 24

/* Print one JSON document and a newline on stdout, and release it. Returns the exit status: 0, or 1 when it could not
 * be built (no memory) or written. */
int output_json(json_t *document);

/* Bytes as a JSON string; bytes that are not UTF-8 are percent-encoded, as are percent signs then. */
json_t *output_json_bytes(const void *data, size_t bytes);

/* A time as a JSON string, or null for 0. */
json_t *output_json_time(uint64_t ms);

/* Print bytes to stdout with control characters as \xNN. */
void output_text(const void *data, size_t bytes);

/* "2026-01-31T08:00:00.000Z" from milliseconds since 1970. */
void output_time(uint64_t ms, char text[OUTPUT_TIME_BYTES]);

/* "1.5 GiB". */
void output_size(uint64_t bytes, char text[OUTPUT_SIZE_BYTES]);

/* Flush stdout. 0, or 1 with a message when the results could not be written (a full disk behind a redirection). */
int output_finish(void);

#endif
