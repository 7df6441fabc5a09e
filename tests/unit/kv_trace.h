/* kv_trace.h - random traces for base/kv.h: batches that follow from a seed and a number, and tables compared row by row.
 *
 * Keys       A few common prefixes (also none, and one long one), then 1..3 bytes of an alphabet with 0x00 and 0xff: so
 *            keys are prefixes of each other, meet again often, and stand at both ends of the order.
 * Values     0..64 KiB, mostly small; each begins with a number that no other value has.
 * Seeds      A failure names its seed; TRILITH_SEED=<seed> in the environment runs that one alone. */
#ifndef TRILITH_TESTS_UNIT_KV_TRACE_H
#define TRILITH_TESTS_UNIT_KV_TRACE_H

#include "base/kv_rocksdb.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_random.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRACE_CACHE_BYTES     MIB(4)
#define TRACE_KEY_BYTES_MAX   96
#define TRACE_VALUE_BYTES_MAX KIB(64)
#define TRACE_BATCH_OPS_MAX   12

/* ---- seeds ----------------------------------------------------------------------------------------- */

/* The seeds to run: `fixed` ones from 1 on and one that nobody has seen, or the one of the environment alone. */
struct trace_seeds {
    uint64_t seeds[16];
    size_t count;
};

static inline struct trace_seeds trace_seeds(size_t fixed)
{
    struct trace_seeds result = {.count = 0};
    const char *wanted = getenv("TRILITH_SEED");
    if (wanted != NULL) {
        result.seeds[result.count++] = strtoull(wanted, NULL, 10);
        return result;
    }
    CHECK(fixed < ARRAY_LENGTH(result.seeds));
    while (result.count < fixed) {
        result.seeds[result.count] = result.count + 1;
        result.count++;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    result.seeds[result.count++] = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return result;
}

/* ---- the place of a real table --------------------------------------------------------------------- */

static inline void trace_directory_make(char directory[64])
{
    snprintf(directory, 64, "kv-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static inline int trace_remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void trace_directory_remove(const char *directory)
{
    nftw(directory, trace_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- keys and values ------------------------------------------------------------------------------- */

static inline struct kv_slice trace_key(struct sim_random *random, uint8_t key[TRACE_KEY_BYTES_MAX])
{
    static const char *const prefixes[] = {"", "o", "object/", "object/photos/2026/",
                                           "object/photos/2026/a-name-long-enough-to-fill-most-of-a-block-of-keys/"};
    static const uint8_t alphabet[] = {0x00, 0x01, '/', 'a', 'b', 0x7f, 0x80, 0xff};
    const char *prefix = prefixes[sim_random_below(random, ARRAY_LENGTH(prefixes))];
    size_t bytes = strlen(prefix);
    memcpy(key, prefix, bytes);
    for (uint64_t more = sim_random_between(random, 1, 3); more > 0; more--) {
        key[bytes++] = alphabet[sim_random_below(random, sizeof(alphabet))];
    }
    return KV_SLICE(key, bytes);
}

/* How large values are: percent of those up to 1,000 bytes, up to 8 KiB, and up to 64 KiB; the rest is below 40. */
struct trace_sizes {
    unsigned small;
    unsigned medium;
    unsigned large;
};

static inline size_t trace_value_bytes(struct sim_random *random, const struct trace_sizes *sizes)
{
    uint64_t percent = sim_random_below(random, 100);
    if (percent < sizes->large) {
        return percent == 0 ? TRACE_VALUE_BYTES_MAX : sim_random_below(random, TRACE_VALUE_BYTES_MAX + 1);
    }
    if (percent < sizes->large + sizes->medium) {
        return sim_random_below(random, KIB(8));
    }
    return sim_random_below(random, percent < sizes->large + sizes->medium + sizes->small ? 1000 : 40);
}

/* A value: its own number, then a slice of noise. */
static inline struct kv_slice trace_value(struct sim_random *random, const struct trace_sizes *sizes, uint8_t *value)
{
    static uint8_t noise[2 * TRACE_VALUE_BYTES_MAX];
    if (noise[0] == 0) {
        struct sim_random source = sim_random_of(77);
        sim_random_bytes(&source, noise, sizeof(noise));
        noise[0] = 1;
    }
    size_t bytes = trace_value_bytes(random, sizes);
    uint64_t own = sim_random_u64(random);
    memcpy(value, noise + own % TRACE_VALUE_BYTES_MAX, bytes);
    memcpy(value, &own, bytes < sizeof(own) ? bytes : sizeof(own));
    return KV_SLICE(value, bytes);
}

/* ---- batches --------------------------------------------------------------------------------------- */

/* Fill up to two batches with the same random puts and deletes. Returns how many. */
static inline unsigned trace_batch_fill(struct sim_random *random, const struct trace_sizes *sizes,
                                        struct kv_batch *first, struct kv_batch *second)
{
    static uint8_t value_bytes[TRACE_VALUE_BYTES_MAX];
    uint8_t key_bytes[TRACE_KEY_BYTES_MAX];
    unsigned count = (unsigned)sim_random_between(random, 0, TRACE_BATCH_OPS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct kv_slice key = trace_key(random, key_bytes);
        bool deletes = sim_random_percent(random, 30);
        struct kv_slice value = deletes ? KV_SLICE(NULL, 0) : trace_value(random, sizes, value_bytes);
        struct kv_batch *const batches[2] = {first, second};
        for (size_t b = 0; b < 2 && batches[b] != NULL; b++) {
            if (deletes) {
                kv_batch_delete(batches[b], key);
            } else {
                kv_batch_put(batches[b], key, value);
            }
        }
    }
    return count;
}

/* ---- comparing ------------------------------------------------------------------------------------- */

static inline bool trace_slices_equal(struct kv_slice a, struct kv_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* Two iterators stand at the same row, or both at the end and for no other reason than that it is the end. */
static inline bool trace_iterators_agree(struct kv_iterator *a, struct kv_iterator *b)
{
    if (!kv_iterator_valid(a) || !kv_iterator_valid(b)) {
        return kv_iterator_valid(a) == kv_iterator_valid(b) && kv_iterator_status(a) == STATUS_OK &&
               kv_iterator_status(b) == STATUS_OK;
    }
    return trace_slices_equal(kv_iterator_key(a), kv_iterator_key(b)) &&
           trace_slices_equal(kv_iterator_value(a), kv_iterator_value(b));
}

/* Compare two tables row by row; `*rows` says how many are the same from the start on. */
static inline bool trace_tables_equal(struct kv *a, struct kv *b, uint64_t *rows)
{
    struct kv_iterator *at_a = kv_iterator_open(a);
    struct kv_iterator *at_b = kv_iterator_open(b);
    kv_iterator_seek(at_a, KV_SLICE(NULL, 0));
    kv_iterator_seek(at_b, KV_SLICE(NULL, 0));
    *rows = 0;
    bool equal = trace_iterators_agree(at_a, at_b);
    while (equal && kv_iterator_valid(at_a)) {
        ++*rows;
        kv_iterator_next(at_a);
        kv_iterator_next(at_b);
        equal = trace_iterators_agree(at_a, at_b);
    }
    kv_iterator_close(at_a);
    kv_iterator_close(at_b);
    return equal;
}

#endif
