/* fuzz_config.c - configuration text of any kind: it is taken or refused with a message, and the texts it filled end
 * inside their fields. */
#include "base/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct options {
    char name[8];
    uint64_t count;
    uint64_t size;
    uint64_t time;
    bool flag;
    unsigned word;
    char list[2][4];
    size_t list_count;
};

#define AT(field) offsetof(struct options, field)

static const char *const words[] = {"auto", "write", NULL};

static const struct config_option table[] = {
    {.section = "s", .name = "name", .kind = CONFIG_TEXT, .offset = AT(name), .capacity = 8, .help = "Text."},
    {.section = "s",
     .name = "count",
     .kind = CONFIG_NUMBER,
     .offset = AT(count),
     .default_value = "1",
     .minimum = 1,
     .maximum = 64,
     .help = "Number."},
    {.section = "s",
     .name = "size",
     .kind = CONFIG_SIZE,
     .offset = AT(size),
     .default_value = "1 MiB",
     .help = "Size."},
    {.section = "s",
     .name = "time",
     .kind = CONFIG_DURATION,
     .offset = AT(time),
     .default_value = "1 s",
     .help = "Time."},
    {.section = "t", .name = "flag", .kind = CONFIG_FLAG, .offset = AT(flag), .default_value = "no", .help = "Flag."},
    {.section = "t",
     .name = "word",
     .kind = CONFIG_WORD,
     .offset = AT(word),
     .default_value = "auto",
     .words = words,
     .help = "Word."},
    {.section = "t",
     .name = "list",
     .kind = CONFIG_TEXT,
     .offset = AT(list),
     .capacity = 4,
     .default_value = "",
     .help = "List.",
     .list_max = 2,
     .list_count_offset = AT(list_count)},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct options options;
    char message[128] = "";
    enum status status =
        config_parse("f", (const char *)data, bytes, table, ARRAY_LENGTH(table), &options, message, sizeof(message));
    if (status != STATUS_OK) {
        CHECK(status == STATUS_INVALID);
        CHECK(message[0] != '\0');
        return 0;
    }
    CHECK(memchr(options.name, '\0', sizeof(options.name)) != NULL);
    CHECK(options.count >= 1 && options.count <= 64);
    CHECK(options.word < 2);
    CHECK(options.list_count <= 2);
    return 0;
}
