/* config_text.h - amounts and ranges as people write and read them. Private to config*.c. */
#ifndef TRILITH_BASE_CONFIG_TEXT_H
#define TRILITH_BASE_CONFIG_TEXT_H

#include "base/config.h"

#define CONFIG_RANGE_BYTES 256

/* Parse a value of CONFIG_NUMBER, CONFIG_SIZE or CONFIG_DURATION. */
bool config_parse_amount(enum config_kind kind, const char *text, uint64_t *amount);

/* What such a value looks like, for "... is not <this>". */
const char *config_amount_syntax(enum config_kind kind);

/* "1 to 64", "at least 16 MiB", "yes or no", "auto, write, flush"; "" when anything goes. */
void config_format_range(const struct config_option *option, char range[CONFIG_RANGE_BYTES]);

#endif
