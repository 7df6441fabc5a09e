/* test_kv.c - one contract, run against RocksDB and against its model in memory: both must do the same to the letter,
 * and both must come back after a crash as some prefix of the batches. */
#include "base/kv_rocksdb.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_random.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CACHE_BYTES MIB(4)

static char directory[64];
static struct kv *tables[2]; /* the model, and RocksDB */

static void rocks_reopen(void)
{
    char message[512] = "";
    cr_assert_eq(kv_rocksdb_open(directory, CACHE_BYTES, &tables[1], message, sizeof(message)), STATUS_OK, "%s",
                 message);
}

static void scratch_make(void)
{
    snprintf(directory, sizeof(directory), "kv-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void scratch_remove(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void setup(void)
{
    scratch_make();
    tables[0] = sim_kv_open();
    rocks_reopen();
}

static void teardown(void)
{
    kv_close(tables[0]);
    kv_close(tables[1]);
    scratch_remove();
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

static bool slices_equal(struct kv_slice a, struct kv_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* A key of 1..4 bytes of a small alphabet that has 0x00 and 0xff in it, so prefixes and extremes meet. */
static struct kv_slice draw_key(struct sim_random *random, uint8_t key[4])
{
    static const uint8_t alphabet[] = {0x00, 0x01, 'a', 'b', 0x7f, 0x80, 0xff};
    size_t bytes = sim_random_between(random, 1, 4);
    for (size_t i = 0; i < bytes; i++) {
        key[i] = alphabet[sim_random_below(random, sizeof(alphabet))];
    }
    return KV_SLICE(key, bytes);
}

static void write_random_batch(struct sim_random *random)
{
    struct kv_batch *batches[2] = {kv_batch_open(tables[0]), kv_batch_open(tables[1])};
    for (uint64_t n = sim_random_below(random, 8); n > 0; n--) {
        uint8_t key_bytes[4];
        uint8_t value_bytes[40];
        struct kv_slice key = draw_key(random, key_bytes);
        struct kv_slice value = KV_SLICE(value_bytes, sim_random_below(random, sizeof(value_bytes)));
        bool deletes = sim_random_percent(random, 30);
        sim_random_bytes(random, value_bytes, sizeof(value_bytes));
        for (size_t i = 0; i < 2; i++) {
            if (deletes) {
                kv_batch_delete(batches[i], key);
            } else {
                kv_batch_put(batches[i], key, value);
            }
        }
    }
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(kv_write(tables[i], batches[i]), STATUS_OK);
        kv_batch_close(batches[i]);
    }
}

static size_t compare_tables_from(struct kv_slice start)
{
    size_t count = 0;
    struct kv_iterator *model = kv_iterator_open(tables[0]);
    struct kv_iterator *rocks = kv_iterator_open(tables[1]);
    kv_iterator_seek(model, start);
    kv_iterator_seek(rocks, start);
    while (kv_iterator_valid(model) && kv_iterator_valid(rocks)) {
        cr_assert(slices_equal(kv_iterator_key(model), kv_iterator_key(rocks)));
        cr_assert(slices_equal(kv_iterator_value(model), kv_iterator_value(rocks)));
        kv_iterator_next(model);
        kv_iterator_next(rocks);
        count++;
    }
    cr_assert_eq(kv_iterator_valid(model), kv_iterator_valid(rocks));
    kv_iterator_close(model);
    kv_iterator_close(rocks);
    return count;
}

Test(kv, does_the_same_as_its_model_over_a_random_trace, .timeout = 120)
{
    struct sim_random random = sim_random_of(2024);
    for (int round = 0; round < 2000; round++) {
        uint8_t key_bytes[4];
        write_random_batch(&random);
        struct kv_slice key = draw_key(&random, key_bytes);
        uint8_t values[2][64];
        size_t bytes[2] = {0, 0};
        enum status status = kv_get(tables[0], key, values[0], sizeof(values[0]), &bytes[0]);
        cr_assert_eq(kv_get(tables[1], key, values[1], sizeof(values[1]), &bytes[1]), status);
        cr_assert_eq(bytes[0], bytes[1]);
        if (status == STATUS_OK && bytes[0] > 0) {
            cr_assert_arr_eq(values[0], values[1], bytes[0]);
        }
        if (round % 50 == 0) {
            compare_tables_from(key);
        }
        if (round % 500 == 499) {
            cr_assert_eq(kv_flush(tables[0]), STATUS_OK);
            cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
        }
    }
    cr_assert_gt(compare_tables_from(KV_SLICE(NULL, 0)), 100);
    cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
    kv_close(tables[1]);
    rocks_reopen();
    cr_assert_gt(compare_tables_from(KV_SLICE(NULL, 0)), 100);
}

/* ---- crashes --------------------------------------------------------------------------------------------- */

/* Batch n puts its number under "last" and under one of ten keys; so any state can be checked against its own claim. */
static void write_numbered(struct kv *kv, uint64_t number)
{
    char key[16];
    struct kv_batch *batch = kv_batch_open(kv);
    snprintf(key, sizeof(key), "slot-%u", (unsigned)(number % 10));
    kv_batch_put(batch, text("last"), KV_SLICE(&number, sizeof(number)));
    kv_batch_put(batch, text(key), KV_SLICE(&number, sizeof(number)));
    if (kv_write(kv, batch) != STATUS_OK) {
        abort();
    }
    kv_batch_close(batch);
}

/* The number of the last batch that the table holds; fails when it is not exactly the batches 1..that. */
static uint64_t check_prefix(struct kv *kv)
{
    uint64_t last = 0;
    size_t bytes;
    enum status status = kv_get(kv, text("last"), &last, sizeof(last), &bytes);
    cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND);
    for (uint64_t slot = 0; slot < 10; slot++) {
        char key[16];
        uint64_t number = 0;
        snprintf(key, sizeof(key), "slot-%u", (unsigned)slot);
        status = kv_get(kv, text(key), &number, sizeof(number), &bytes);
        uint64_t expected = last >= slot ? last - (last - slot) % 10 : 0;
        cr_assert_eq(number, expected, "slot %u holds %u of %u", (unsigned)slot, (unsigned)number, (unsigned)last);
    }
    return last;
}

Test(kv, goes_back_to_a_prefix_at_or_after_the_flush_in_a_simulated_crash)
{
    bool lost_some = false;
    uint64_t written = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        for (int i = 0; i < 7; i++) {
            write_numbered(tables[0], ++written);
        }
        uint64_t flushed = written;
        cr_assert_eq(kv_flush(tables[0]), STATUS_OK);
        for (int i = 0; i < 9; i++) {
            write_numbered(tables[0], ++written);
        }
        cr_assert_eq(sim_kv_unflushed(tables[0]), 9);
        sim_kv_crash(tables[0], seed);
        uint64_t last = check_prefix(tables[0]);
        cr_assert(last >= flushed && last <= written);
        lost_some = lost_some || last < written;
        written = last;
    }
    cr_assert(lost_some);
}

Test(kv, fails_the_nth_write_and_changes_nothing_then)
{
    write_numbered(tables[0], 1);
    sim_kv_fail_after(tables[0], 2);
    write_numbered(tables[0], 2);
    struct kv_batch *batch = kv_batch_open(tables[0]);
    kv_batch_put(batch, text("x"), text("y"));
    cr_assert_eq(kv_write(tables[0], batch), STATUS_IO);
    cr_assert_eq(kv_flush(tables[0]), STATUS_IO);
    cr_assert_eq(check_prefix(tables[0]), 2);
    sim_kv_fail_after(tables[0], 0);
    cr_assert_eq(kv_write(tables[0], batch), STATUS_OK);
    kv_batch_close(batch);
}

Test(kv_crash, leaves_a_prefix_at_or_after_the_flush_when_rocksdb_is_killed, .timeout = 120)
{
    scratch_make();
    int pipe_ends[2];
    cr_assert_eq(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct kv *kv;
        char message[512];
        char ready = 'r';
        if (kv_rocksdb_open(directory, CACHE_BYTES, &kv, message, sizeof(message)) != STATUS_OK) {
            _exit(1);
        }
        for (uint64_t number = 1;; number++) {
            write_numbered(kv, number);
            if (number == 1000 && kv_flush(kv) != STATUS_OK) {
                _exit(2);
            }
            if (number == 2000 && write(pipe_ends[1], &ready, 1) != 1) {
                _exit(3);
            }
        }
    }
    char ready;
    cr_assert_eq(read(pipe_ends[0], &ready, 1), 1);
    kill(child, SIGKILL);
    int how;
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFSIGNALED(how));
    rocks_reopen();
    cr_assert_geq(check_prefix(tables[1]), 1000);
    kv_close(tables[1]);
    scratch_remove();
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
    scratch_make();
    rocks_reopen();
    put_one(tables[1], "a", "b");
    cr_assert_eq(kv_flush(tables[1]), STATUS_OK);
    struct kv *second = NULL;
    cr_assert_eq(kv_rocksdb_open(directory, CACHE_BYTES, &second, message, sizeof(message)), STATUS_BUSY, "%s",
                 message);
    kv_close(tables[1]);

    damage_files("MANIFEST");
    cr_assert_eq(kv_rocksdb_open(directory, CACHE_BYTES, &second, message, sizeof(message)), STATUS_CORRUPT, "%s",
                 message);
    cr_assert_not_null(strstr(message, directory));
    cr_assert_null(second);
    scratch_remove();

    cr_assert_eq(kv_rocksdb_open("missing/parent/table", CACHE_BYTES, &second, message, sizeof(message)), STATUS_IO);
    cr_assert_null(second);
}
