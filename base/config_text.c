/* config_text.c - sizes, times and ranges as text, and the example file made of them. */
#include "base/config_text.h"

#include <inttypes.h>
#include <string.h>

#define AMOUNT_MAX (UINT64_C(1) << 63)

struct unit {
    const char *name;
    uint64_t factor;
};

/* Both from small to large. */
static const struct unit size_units[] = {
    {"KiB", UINT64_C(1) << 10}, {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40}};
static const struct unit duration_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60 * 1000}, {"h", 60 * 60 * 1000}};

/* ---- amounts ----------------------------------------------------------------------------------- */

/* The digits at *at, at least one, at most 2^63 in value; *at moves behind them. */
static bool parse_digits(const char **at, uint64_t *number)
{
    if (**at < '0' || **at > '9') {
        return false;
    }
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (value > (AMOUNT_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

/* A number, blanks, and nothing or the name of a unit. */
static bool parse_with_unit(const char *text, const struct unit *units, size_t unit_count, uint64_t *amount)
{
    uint64_t number;
    if (!parse_digits(&text, &number)) {
        return false;
    }
    uint64_t factor = 1;
    text += strspn(text, " \t");
    if (*text != '\0') {
        size_t i = 0;
        while (i < unit_count && strcmp(text, units[i].name) != 0) {
            i++;
        }
        if (i == unit_count) {
            return false;
        }
        factor = units[i].factor;
    }
    if (number > AMOUNT_MAX / factor) {
        return false;
    }
    *amount = number * factor;
    return true;
}

bool config_parse_size(const char *text, uint64_t *bytes)
{
    return parse_with_unit(text, size_units, ARRAY_LENGTH(size_units), bytes);
}

bool config_parse_duration(const char *text, uint64_t *milliseconds)
{
    return parse_with_unit(text, duration_units, ARRAY_LENGTH(duration_units), milliseconds);
}

bool config_parse_amount(enum config_kind kind, const char *text, uint64_t *amount)
{
    switch (kind) {
    case CONFIG_NUMBER:
        return parse_with_unit(text, NULL, 0, amount);
    case CONFIG_SIZE:
        return config_parse_size(text, amount);
    case CONFIG_DURATION:
        return config_parse_duration(text, amount);
    case CONFIG_TEXT:
    case CONFIG_FLAG:
    case CONFIG_WORD:
        break;
    }
    UNREACHABLE();
}

const char *config_amount_syntax(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_NUMBER:
        return "a whole number";
    case CONFIG_SIZE:
        return "a size (bytes, or a number with KiB, MiB, GiB or TiB)";
    case CONFIG_DURATION:
        return "a time (milliseconds, or a number with ms, s, min or h)";
    case CONFIG_TEXT:
    case CONFIG_FLAG:
    case CONFIG_WORD:
        break;
    }
    UNREACHABLE();
}

/* ---- ranges ------------------------------------------------------------------------------------ */

#define AMOUNT_TEXT_BYTES 32

/* An amount in the largest unit that divides it. */
static void format_amount(enum config_kind kind, uint64_t amount, char text[AMOUNT_TEXT_BYTES])
{
    const struct unit *units = kind == CONFIG_SIZE ? size_units : duration_units;
    size_t i = kind == CONFIG_NUMBER || amount == 0 ? 0 : ARRAY_LENGTH(size_units);
    while (i > 0 && amount % units[i - 1].factor != 0) {
        i--;
    }
    if (i > 0) {
        snprintf(text, AMOUNT_TEXT_BYTES, "%" PRIu64 " %s", amount / units[i - 1].factor, units[i - 1].name);
    } else {
        snprintf(text, AMOUNT_TEXT_BYTES, "%" PRIu64, amount);
    }
}

_Static_assert(ARRAY_LENGTH(size_units) == ARRAY_LENGTH(duration_units), "format_amount walks either");

static void format_amount_range(const struct config_option *option, char range[CONFIG_RANGE_BYTES])
{
    char minimum[AMOUNT_TEXT_BYTES];
    char maximum[AMOUNT_TEXT_BYTES];
    format_amount(option->kind, option->minimum, minimum);
    format_amount(option->kind, option->maximum, maximum);
    if (option->maximum > 0) {
        snprintf(range, CONFIG_RANGE_BYTES, "%s to %s", minimum, maximum);
    } else if (option->minimum > 0) {
        snprintf(range, CONFIG_RANGE_BYTES, "at least %s", minimum);
    }
}

static void format_words(const char *const *words, char range[CONFIG_RANGE_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; words[i] != NULL; i++) {
        size_t bytes = strlen(words[i]);
        CHECK(used + bytes + 3 < CONFIG_RANGE_BYTES);
        if (i > 0) {
            memcpy(range + used, ", ", 2);
            used += 2;
        }
        memcpy(range + used, words[i], bytes);
        used += bytes;
    }
    range[used] = '\0';
}

void config_format_range(const struct config_option *option, char range[CONFIG_RANGE_BYTES])
{
    range[0] = '\0';
    switch (option->kind) {
    case CONFIG_TEXT:
        return;
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        format_amount_range(option, range);
        return;
    case CONFIG_FLAG:
        snprintf(range, CONFIG_RANGE_BYTES, "yes or no");
        return;
    case CONFIG_WORD:
        format_words(option->words, range);
        return;
    }
    UNREACHABLE();
}

/* ---- the example file -------------------------------------------------------------------------- */

static void print_option(FILE *out, const struct config_option *option)
{
    char range[CONFIG_RANGE_BYTES];
    config_format_range(option, range);
    fprintf(out, "\n# %s", option->help);
    if (range[0] != '\0') {
        fprintf(out, " (%s)", range);
    }
    if (option->list_max > 0) {
        fprintf(out, " May be given up to %zu times.", option->list_max);
    }
    fprintf(out, "\n");
    if (option->default_value == NULL) {
        fprintf(out, "# Must be given.\n%s =\n", option->name);
    } else {
        fprintf(out, "#%s = %s\n", option->name, option->default_value);
    }
}

void config_print_example(FILE *out, const char *title, const struct config_option *table, size_t table_length)
{
    fprintf(out,
            "# %s\n"
            "#\n"
            "# Lines that are commented out show the defaults. Sizes take KiB, MiB, GiB and TiB, times ms, s, min and\n"
            "# h; a bare number is bytes or milliseconds. A comment begins with # or ; at the start of a line.\n",
            title);
    const char *section = "";
    for (size_t i = 0; i < table_length; i++) {
        if (strcmp(table[i].section, section) != 0) {
            section = table[i].section;
            fprintf(out, "\n[%s]\n", section);
        }
        print_option(out, &table[i]);
    }
}
