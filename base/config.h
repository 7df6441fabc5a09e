/* config.h - an INI file read into a program's options by one table that also prints the commented example file.
 *
 * Each program has a table of struct config_option. Unknown sections and options, bad values, values out of range
 * and repeated options are errors that name file, line and what would be right; nothing is guessed.
 * Sizes take KiB, MiB, GiB, TiB; times ms, s, min, h; a bare number is bytes or milliseconds. */
#ifndef TRILITH_BASE_CONFIG_H
#define TRILITH_BASE_CONFIG_H

#include "base/check.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_kind {
    CONFIG_TEXT,     /* char[capacity] */
    CONFIG_NUMBER,   /* uint64_t */
    CONFIG_SIZE,     /* uint64_t, bytes */
    CONFIG_DURATION, /* uint64_t, milliseconds */
    CONFIG_FLAG,     /* bool; yes or no */
    CONFIG_WORD,     /* unsigned: index into `words` */
};

struct config_option {
    const char *section;
    const char *name;
    enum config_kind kind;
    size_t offset;             /* of the field in the options struct */
    size_t capacity;           /* CONFIG_TEXT: bytes of the field; CONFIG_TEXT_LIST rows: see `list_max` */
    const char *default_value; /* as it would be written; NULL: must be given */
    uint64_t minimum;
    uint64_t maximum;         /* 0: no limit above */
    const char *const *words; /* CONFIG_WORD: NULL-terminated */
    const char *help;         /* one sentence, with the unit */
    size_t list_max;          /* above 0: the option may be repeated this often; fields lie `capacity` bytes apart */
    size_t list_count_offset; /* of a size_t that counts them */
};

/* Fill `options` with the defaults, then from the file. On error writes one line for people ("node.conf:12: ...")
 * into `message` and returns STATUS_INVALID (content), STATUS_NOT_FOUND (no file) or STATUS_DENIED (can't be read). */
MUST_USE enum status config_read(const char *path, const struct config_option *table, size_t table_length,
                                 void *options, char *message, size_t message_bytes);

/* The same from memory; `path` only names the text in messages. STATUS_OK or STATUS_INVALID. */
MUST_USE enum status config_parse(const char *path, const char *text, size_t text_bytes,
                                  const struct config_option *table, size_t table_length, void *options, char *message,
                                  size_t message_bytes);

/* Print the example file: every option with its sentence, range and default. */
void config_print_example(FILE *out, const char *title, const struct config_option *table, size_t table_length);

/* Parse "64 MiB" or "10 s" as the file would. False: not a size or time, or over 2^63. */
bool config_parse_size(const char *text, uint64_t *bytes);
bool config_parse_duration(const char *text, uint64_t *milliseconds);

#endif
