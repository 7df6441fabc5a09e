/* test_kv.c - one contract, run against RocksDB and against its model in memory: both must do the same to the letter,
 * over traces of hundreds of thousands of operations. What both do in a crash: test_kv_crash.c. */
#include "tests/unit/kv_trace.h"

#include <fcntl.h>

static char directory[64];
static struct kv *tables[2]; /* the model, and RocksDB */

static void rocks_reopen(void)
{
    char message[512] = "";
    cr_assert_eq(kv_rocksdb_open(directory, TRACE_CACHE_BYTES, &tables[1], message, sizeof(message)), STATUS_OK, "%s",
                 message);
}

static void setup(void)
{
    trace_directory_make(directory);
    tables[0] = sim_kv_open();
    rocks_reopen();
}

static void teardown(void)
{
    kv_close(tables[0]);
    kv_close(tables[1]);
    trace_directory_remove(directory);
}

TestSuite(kv, .init = setup, .fini = teardown);

static struct kv_slice text(const char *word)
{
    return KV_SLICE(word, strlen(word));
}

static void put_one(struct kv *kv, const char *key, const char *value)
{
    struct kv_batch *batch = kv_batch_open(kv);
    kv_batch_put(batch, text(key), text(value));
    cr_assert_eq(kv_write(kv, batch), STATUS_OK);
    kv_batch_close(batch);
}

Test(kv, gets_what_was_put_and_says_when_the_buffer_is_too_small)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        char buffer[8] = "-------";
        size_t bytes = 99;
        put_one(tables[i], "key", "value");
        cr_assert_eq(kv_get(tables[i], text("key"), buffer, 4, &bytes), STATUS_TOO_LARGE);
        cr_assert_eq(bytes, 5);
        cr_assert_eq(buffer[0], '-');
        cr_assert_eq(kv_get(tables[i], text("key"), buffer, sizeof(buffer), &bytes), STATUS_OK);
        cr_assert_arr_eq(buffer, "value", 5);
        cr_assert_eq(kv_get(tables[i], text("ke"), buffer, sizeof(buffer), &bytes), STATUS_NOT_FOUND);
        put_one(tables[i], "empty", "");
        cr_assert_eq(kv_get(tables[i], text("empty"), buffer, 0, &bytes), STATUS_OK);
        cr_assert_eq(bytes, 0);
    }
}

Test(kv, applies_a_batch_in_order_and_lets_it_be_written_again)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        char buffer[8];
        size_t bytes;
        struct kv_batch *batch = kv_batch_open(tables[i]);
        kv_batch_put(batch, text("a"), text("1"));
        kv_batch_delete(batch, text("a"));
        kv_batch_put(batch, text("b"), text("1"));
        kv_batch_put(batch, text("b"), text("2"));
        cr_assert_eq(kv_write(tables[i], batch), STATUS_OK);
        cr_assert_eq(kv_write(tables[i], batch), STATUS_OK);
        cr_assert_eq(kv_get(tables[i], text("a"), buffer, sizeof(buffer), &bytes), STATUS_NOT_FOUND);
        cr_assert_eq(kv_get(tables[i], text("b"), buffer, sizeof(buffer), &bytes), STATUS_OK);
        cr_assert_eq(buffer[0], '2');
        kv_batch_clear(batch);
        cr_assert_eq(kv_write(tables[i], batch), STATUS_OK);
        kv_batch_close(batch);
    }
}

Test(kv, iterates_over_the_table_as_it_was_when_the_iterator_was_opened)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        put_one(tables[i], "b", "1");
        put_one(tables[i], "d", "2");
        struct kv_iterator *iterator = kv_iterator_open(tables[i]);
        put_one(tables[i], "c", "3");
        kv_iterator_seek(iterator, text("a"));
        cr_assert(kv_iterator_valid(iterator));
        cr_assert_arr_eq(kv_iterator_key(iterator).data, "b", 1);
        kv_iterator_next(iterator);
        cr_assert_arr_eq(kv_iterator_key(iterator).data, "d", 1);
        cr_assert_arr_eq(kv_iterator_value(iterator).data, "2", 1);
        kv_iterator_next(iterator);
        cr_assert_not(kv_iterator_valid(iterator));
        cr_assert_eq(kv_iterator_status(iterator), STATUS_OK);
        kv_iterator_seek(iterator, text("e"));
        cr_assert_not(kv_iterator_valid(iterator));
        kv_iterator_close(iterator);
    }
}

/* ---- one trace on both ----------------------------------------------------------------------------------- */

#define TRACE_SEEDS     5 /* and one that is new each time */
#define TRACE_STEPS     8000
#define TRACE_ITERATORS 3

/* One trace: what follows from its seed, and the iterators that are open on both tables at the same row. */
struct trace {
    uint64_t seed;
    struct sim_random random;
    struct kv_batch *batches[2]; /* of the model, and of RocksDB */
    struct kv_iterator *iterators[TRACE_ITERATORS][2];
    uint64_t operations;
};

static const struct trace_sizes trace_mix = {.small = 30, .medium = 8, .large = 3};

static void trace_write(struct trace *trace)
{
    unsigned times = sim_random_percent(&trace->random, 5) ? 2 : 1; /* A batch may be written again as it is. */
    if (sim_random_percent(&trace->random, 70)) {
        kv_batch_clear(trace->batches[0]);
        kv_batch_clear(trace->batches[1]);
    }
    trace->operations += trace_batch_fill(&trace->random, &trace_mix, trace->batches[0], trace->batches[1]);
    for (unsigned t = 0; t < times; t++) {
        cr_assert_eq(kv_write(tables[0], trace->batches[0]), STATUS_OK);
        cr_assert_eq(kv_write(tables[1], trace->batches[1]), STATUS_OK);
    }
}

/* A read, now and then into a buffer that may be too small. */
static void trace_get(struct trace *trace)
{
    static uint8_t values[2][TRACE_VALUE_BYTES_MAX];
    uint8_t key_bytes[TRACE_KEY_BYTES_MAX];
    struct kv_slice key = trace_key(&trace->random, key_bytes);
    size_t capacity =
        sim_random_percent(&trace->random, 20) ? sim_random_below(&trace->random, 100) : sizeof(values[0]);
    size_t bytes[2] = {0, 0};
    enum status status = kv_get(tables[0], key, values[0], capacity, &bytes[0]);
    cr_assert_eq(kv_get(tables[1], key, values[1], capacity, &bytes[1]), status, "seed %lu, operation %lu", trace->seed,
                 trace->operations);
    cr_assert_eq(bytes[0], bytes[1]);
    cr_assert(status != STATUS_OK || memcmp(values[0], values[1], bytes[0]) == 0, "seed %lu, operation %lu",
              trace->seed, trace->operations);
    trace->operations++;
}

static void trace_iterator_close(struct trace *trace, size_t which)
{
    for (size_t i = 0; i < 2 && trace->iterators[which][i] != NULL; i++) {
        kv_iterator_close(trace->iterators[which][i]);
        trace->iterators[which][i] = NULL;
    }
}

/* Move a pair of iterators, which may have been open for long while the tables went on; or open or close it. */
static void trace_iterate(struct trace *trace)
{
    size_t which = sim_random_below(&trace->random, TRACE_ITERATORS);
    struct kv_iterator **pair = trace->iterators[which];
    if (pair[0] != NULL && sim_random_percent(&trace->random, 10)) {
        trace_iterator_close(trace, which);
        return;
    }
    bool is_new = pair[0] == NULL;
    for (size_t i = 0; i < 2 && is_new; i++) {
        pair[i] = kv_iterator_open(tables[i]);
    }
    if (is_new || sim_random_percent(&trace->random, 30)) {
        uint8_t key_bytes[TRACE_KEY_BYTES_MAX];
        struct kv_slice key = trace_key(&trace->random, key_bytes);
        kv_iterator_seek(pair[0], key);
        kv_iterator_seek(pair[1], key);
    }
    for (uint64_t steps = sim_random_below(&trace->random, 12);; steps--) {
        cr_assert(trace_iterators_agree(pair[0], pair[1]), "seed %lu, operation %lu", trace->seed, trace->operations);
        trace->operations++;
        if (steps == 0 || !kv_iterator_valid(pair[0])) {
            return;
        }
        kv_iterator_next(pair[0]);
        kv_iterator_next(pair[1]);
    }
}

static void trace_compare(const struct trace *trace)
{
    uint64_t rows;
    cr_assert(trace_tables_equal(tables[0], tables[1], &rows), "seed %lu, operation %lu: they differ after %lu rows",
              trace->seed, trace->operations, rows);
}

/* Nothing that belongs to a table may be open when it is closed. */
static void trace_let_go(struct trace *trace)
{
    for (size_t which = 0; which < TRACE_ITERATORS; which++) {
        trace_iterator_close(trace, which);
    }
    kv_batch_close(trace->batches[0]);
    kv_batch_close(trace->batches[1]);
}

static void trace_take(struct trace *trace)
{
    trace->batches[0] = kv_batch_open(tables[0]);
    trace->batches[1] = kv_batch_open(tables[1]);
}

static uint64_t trace_run(uint64_t seed)
{
    struct trace trace = {.seed = seed, .random = sim_random_of(seed)};
    trace_take(&trace);
    for (unsigned step = 0; step < TRACE_STEPS; step++) {
        uint64_t percent = sim_random_below(&trace.random, 100);
        if (percent < 45) {
            trace_write(&trace);
        } else if (percent < 75) {
            trace_get(&trace);
        } else {
            trace_iterate(&trace);
        }
        if (sim_random_below(&trace.random, 1000) == 0) {
            cr_assert_eq(kv_flush(tables[0]), STATUS_OK);
            cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
        }
        if (sim_random_below(&trace.random, 3000) == 0) {
            trace_let_go(&trace);
            cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
            kv_close(tables[1]);
            rocks_reopen();
            trace_compare(&trace);
            trace_take(&trace);
        }
    }
    trace_compare(&trace);
    trace_let_go(&trace);
    return trace.operations;
}

/* The tables are not emptied between seeds: a later trace starts on what the earlier ones left. */
Test(kv, does_the_same_as_its_model_over_random_traces, .timeout = 240)
{
    uint64_t operations = 0;
    struct trace_seeds seeds = trace_seeds(TRACE_SEEDS);
    for (size_t i = 0; i < seeds.count; i++) {
        operations += trace_run(seeds.seeds[i]);
    }
    cr_assert(operations > 200000 || seeds.count == 1, "only %lu operations", operations);
}

/* ---- failures of the model, and of opening --------------------------------------------------------------- */

Test(kv, fails_the_nth_write_and_changes_nothing_then)
{
    char buffer[8];
    size_t bytes;
    put_one(tables[0], "a", "1");
    sim_kv_fail_after(tables[0], 2);
    put_one(tables[0], "b", "2");
    struct kv_batch *batch = kv_batch_open(tables[0]);
    kv_batch_put(batch, text("c"), text("3"));
    cr_assert_eq(kv_write(tables[0], batch), STATUS_IO);
    cr_assert_eq(kv_flush(tables[0]), STATUS_IO);
    cr_assert_eq(kv_get(tables[0], text("b"), buffer, sizeof(buffer), &bytes), STATUS_OK);
    cr_assert_eq(kv_get(tables[0], text("c"), buffer, sizeof(buffer), &bytes), STATUS_NOT_FOUND);
    sim_kv_fail_after(tables[0], 0);
    cr_assert_eq(kv_write(tables[0], batch), STATUS_OK);
    cr_assert_eq(kv_get(tables[0], text("c"), buffer, sizeof(buffer), &bytes), STATUS_OK);
    kv_batch_close(batch);
}

/* Damage every file of one kind that is in the table's directory. */
static void damage_files(const char *prefix)
{
    char command_path[160];
    for (unsigned number = 0; number < 200; number++) {
        snprintf(command_path, sizeof(command_path), "%s/%s-%06u", directory, prefix, number);
        int file = open(command_path, O_RDWR);
        if (file >= 0) {
            char garbage[16] = "not a manifest";
            cr_assert_eq(pwrite(file, garbage, sizeof(garbage), 8), (ssize_t)sizeof(garbage));
            close(file);
        }
    }
}

Test(kv_open, refuses_a_damaged_table_and_a_place_that_can_not_be)
{
    char message[512] = "";
    trace_directory_make(directory);
    rocks_reopen();
    put_one(tables[1], "a", "b");
    cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
    struct kv *second = NULL;
    cr_assert_eq(kv_rocksdb_open(directory, TRACE_CACHE_BYTES, &second, message, sizeof(message)), STATUS_BUSY, "%s",
                 message);
    kv_close(tables[1]);

    damage_files("MANIFEST");
    cr_assert_eq(kv_rocksdb_open(directory, TRACE_CACHE_BYTES, &second, message, sizeof(message)), STATUS_CORRUPT, "%s",
                 message);
    cr_assert_not_null(strstr(message, directory));
    cr_assert_null(second);
    trace_directory_remove(directory);

    cr_assert_eq(kv_rocksdb_open("missing/parent/table", TRACE_CACHE_BYTES, &second, message, sizeof(message)),
                 STATUS_IO);
    cr_assert_null(second);
}
