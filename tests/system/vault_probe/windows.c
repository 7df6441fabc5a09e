/* windows.c - does any window of 16 bytes of some content stand anywhere in other files?
 *
 * A window of 16 bytes holds at least one whole word of 8 that is aligned within the content. So all aligned words are
 * put into a table, every offset of the files is looked up in it, and what matches is grown to both sides and counted
 * when it comes to 16 bytes. Words of few distinct bytes (text, numbers, zeros) are left out: they say nothing of
 * ciphertext. */
#include "tests/system/vault_probe/probe.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORD_BYTES         8u
#define WINDOW_BYTES       16u
#define DISTINCT_BYTES_MIN 5u         /* of 8 random bytes fewer than 5 are distinct once in 40,000 times */
#define FILTER_BITS        (1u << 24) /* small enough for the cache */
#define FINDINGS_MAX       20u        /* printed per file */

struct word_table {
    const uint8_t *content;
    size_t bytes;
    uint32_t *slots; /* number of the word + 1; 0: free */
    size_t slot_count;
    uint64_t *filter;
};

static uint64_t word_at(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

static uint64_t mix(uint64_t word)
{
    word *= UINT64_C(0x9e3779b97f4a7c15);
    return word ^ word >> 29;
}

static bool says_something(const uint8_t *word)
{
    unsigned distinct = 0;
    for (unsigned i = 0; i < WORD_BYTES; i++) {
        bool seen = false;
        for (unsigned k = 0; k < i; k++) {
            seen = seen || word[k] == word[i];
        }
        distinct += seen ? 0 : 1;
    }
    return distinct >= DISTINCT_BYTES_MIN;
}

static bool table_build(struct word_table *table, const uint8_t *content, size_t bytes)
{
    size_t words = bytes / WORD_BYTES;
    *table = (struct word_table){.content = content, .bytes = bytes, .slot_count = 1};
    while (table->slot_count < 2 * words) {
        table->slot_count *= 2;
    }
    table->slots = calloc(table->slot_count, sizeof(table->slots[0]));
    table->filter = calloc(FILTER_BITS / 64, sizeof(table->filter[0]));
    if (table->slots == NULL || table->filter == NULL || words >= UINT32_MAX) {
        return false;
    }
    for (size_t i = 0; i < words; i++) {
        const uint8_t *at = content + i * WORD_BYTES;
        if (!says_something(at)) {
            continue;
        }
        uint64_t hash = mix(word_at(at));
        size_t slot = (size_t)hash & (table->slot_count - 1);
        while (table->slots[slot] != 0) {
            slot = (slot + 1) & (table->slot_count - 1);
        }
        table->slots[slot] = (uint32_t)i + 1;
        table->filter[hash % FILTER_BITS / 64] |= UINT64_C(1) << (hash % 64);
    }
    return true;
}

static void table_free(struct word_table *table)
{
    free(table->slots);
    free(table->filter);
}

/* How far content and data agree around a word: the length of the common run; `*end` is where it ends in the data. */
static size_t common_run(const struct word_table *table, size_t content_at, const uint8_t *data, size_t bytes,
                         size_t at, size_t *end)
{
    size_t before = 0;
    while (before < content_at && before < at && table->content[content_at - before - 1] == data[at - before - 1]) {
        before++;
    }
    size_t after = WORD_BYTES;
    while (content_at + after < table->bytes && at + after < bytes &&
           table->content[content_at + after] == data[at + after]) {
        after++;
    }
    *end = at + after;
    return before + after;
}

/* The first window that begins with, or around, the word at `at`: how long the run is, and where it ends; 0: none. */
static size_t find_at(const struct word_table *table, const uint8_t *data, size_t bytes, size_t at, size_t *content_at,
                      size_t *end)
{
    uint64_t word = word_at(data + at);
    uint64_t hash = mix(word);
    if ((table->filter[hash % FILTER_BITS / 64] >> (hash % 64) & 1) == 0) {
        return 0;
    }
    for (size_t slot = (size_t)hash & (table->slot_count - 1); table->slots[slot] != 0;
         slot = (slot + 1) & (table->slot_count - 1)) {
        *content_at = (size_t)(table->slots[slot] - 1) * WORD_BYTES;
        if (word_at(table->content + *content_at) == word) {
            size_t run = common_run(table, *content_at, data, bytes, at, end);
            if (run >= WINDOW_BYTES) {
                return run;
            }
        }
    }
    return 0;
}

static bool search_windows(const struct word_table *table, const char *path, uint64_t *found)
{
    size_t bytes = 0;
    if (access(path, F_OK) != 0) {
        printf("gone %s\n", path); /* A running cluster has removed it since it was listed. */
        return true;
    }
    uint8_t *data = probe_read_file(path, &bytes);
    if (data == NULL) {
        return false;
    }
    unsigned printed = 0;
    for (size_t at = 0; at + WORD_BYTES <= bytes; at++) {
        size_t content_at = 0;
        size_t end = 0;
        size_t run = find_at(table, data, bytes, at, &content_at, &end);
        if (run > 0) {
            *found += run - WINDOW_BYTES + 1;
            if (printed++ < FINDINGS_MAX) {
                printf("window %s %zu %zu %zu\n", path, at, content_at, run);
            }
            at = end - 1;
        }
    }
    free(data);
    return true;
}

int probe_windows(const char *content_path, char **paths, int count)
{
    size_t bytes = 0;
    uint8_t *content = probe_read_file(content_path, &bytes);
    struct word_table table = {0};
    uint64_t found = 0;
    bool good = content != NULL && table_build(&table, content, bytes);
    for (int i = 0; good && i < count; i++) {
        good = search_windows(&table, paths[i], &found);
    }
    printf("found %llu\n", (unsigned long long)found);
    table_free(&table);
    free(content);
    return good ? 0 : 2;
}
