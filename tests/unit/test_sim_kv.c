/* test_sim_kv.c - what only the simulated table can do: fail when told to, lose everything, be walked, and count. What
 * it has in common with the real one is in test_kv.c. */
#include "tests/sim/sim_kv.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct kv *kv;

static void setup(void)
{
    kv = sim_kv_open();
}

static void teardown(void)
{
    kv_close(kv);
}

TestSuite(sim_kv, .init = setup, .fini = teardown);

static struct kv_slice text(const char *word)
{
    return KV_SLICE(word, strlen(word));
}

static enum status put(const char *key, const char *value)
{
    struct kv_batch *batch = kv_batch_open(kv);
    kv_batch_put(batch, text(key), text(value));
    enum status status = kv_write(kv, batch);
    kv_batch_close(batch);
    return status;
}

static void each_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    char *rows = user;
    sprintf(rows + strlen(rows), "%.*s=%.*s ", (int)key_bytes, (const char *)key, (int)value_bytes,
            (const char *)value);
}

static void assert_rows(const char *expected)
{
    char rows[200] = "";
    sim_kv_each(kv, each_row, rows);
    cr_assert_str_eq(rows, expected);
}

static struct sim_kv_counts counts(void)
{
    struct sim_kv_counts now;
    sim_kv_counts(kv, &now);
    return now;
}

Test(sim_kv, walks_all_rows_in_order)
{
    assert_rows("");
    cr_assert_eq(put("b", "2"), STATUS_OK);
    cr_assert_eq(put("", "empty"), STATUS_OK);
    cr_assert_eq(put("c", ""), STATUS_OK);
    cr_assert_eq(put("a", "1"), STATUS_OK);
    cr_assert_eq(put("b", "3"), STATUS_OK);
    assert_rows("=empty a=1 b=3 c= ");
}

static void each_delete(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    (void)value;
    (void)value_bytes;
    struct kv_batch *batch = kv_batch_open(kv);
    kv_batch_delete(batch, KV_SLICE(key, key_bytes));
    cr_assert_eq(kv_write(kv, batch), STATUS_OK);
    kv_batch_close(batch);
    ++*(unsigned *)user;
}

Test(sim_kv, can_be_written_while_it_is_walked)
{
    unsigned seen = 0;
    cr_assert_eq(put("a", "1"), STATUS_OK);
    cr_assert_eq(put("b", "2"), STATUS_OK);
    cr_assert_eq(put("c", "3"), STATUS_OK);
    cr_assert_eq(kv_flush(kv), STATUS_OK);
    sim_kv_each(kv, each_delete, &seen);
    cr_assert_eq(seen, 3);
    assert_rows("");
}

Test(sim_kv, fails_some_calls_and_then_no_more)
{
    cr_assert_eq(put("a", "1"), STATUS_OK);
    sim_kv_fail_some(kv, 3, STATUS_FULL);
    cr_assert_eq(put("b", "2"), STATUS_FULL);
    cr_assert_eq(kv_flush(kv), STATUS_FULL);
    cr_assert_eq(sim_kv_unflushed(kv), 1, "a flush that fails keeps nothing");
    cr_assert_eq(put("c", "3"), STATUS_FULL);
    assert_rows("a=1 ");
    cr_assert_eq(put("d", "4"), STATUS_OK);
    assert_rows("a=1 d=4 ");
    cr_assert_eq(counts().failed, 3);

    sim_kv_fail_some(kv, 5, STATUS_IO);
    cr_assert_eq(put("e", "5"), STATUS_IO);
    sim_kv_fail_some(kv, 0, STATUS_OK);
    cr_assert_eq(put("e", "5"), STATUS_OK);
    cr_assert_eq(counts().failed, 4);
}

Test(sim_kv, fails_for_good_from_the_nth_call_on)
{
    sim_kv_fail_after(kv, 3);
    sim_kv_fail_some(kv, 1, STATUS_FULL);
    cr_assert_eq(put("a", "1"), STATUS_FULL);
    cr_assert_eq(put("a", "1"), STATUS_OK);
    cr_assert_eq(put("b", "2"), STATUS_IO);
    cr_assert_eq(kv_flush(kv), STATUS_IO);
    cr_assert_eq(counts().failed, 3);
    sim_kv_fail_after(kv, 0);
    cr_assert_eq(put("b", "2"), STATUS_OK);
}

Test(sim_kv, forgets_failures_in_a_crash)
{
    sim_kv_fail_some(kv, 100, STATUS_IO);
    sim_kv_crash(kv, 1);
    cr_assert_eq(put("a", "1"), STATUS_OK);
    sim_kv_fail_after(kv, 1);
    sim_kv_crash(kv, 1);
    cr_assert_eq(put("a", "1"), STATUS_OK);
}

Test(sim_kv, loses_everything_flushed_or_not)
{
    char buffer[8];
    size_t bytes;
    sim_kv_lose(kv);
    cr_assert_eq(counts().lost, 0, "there was nothing");
    cr_assert_eq(put("a", "1"), STATUS_OK);
    cr_assert_eq(kv_flush(kv), STATUS_OK);
    cr_assert_eq(put("b", "2"), STATUS_OK);
    struct kv_iterator *iterator = kv_iterator_open(kv);
    sim_kv_lose(kv);
    cr_assert_eq(kv_get(kv, text("a"), buffer, sizeof(buffer), &bytes), STATUS_NOT_FOUND);
    assert_rows("");
    cr_assert_eq(sim_kv_unflushed(kv), 0);
    cr_assert_eq(counts().lost, 1);

    /* Nothing of it comes back, and what is written from now on is kept as before. */
    sim_kv_crash(kv, 7);
    assert_rows("");
    cr_assert_eq(put("c", "3"), STATUS_OK);
    assert_rows("c=3 ");
    kv_iterator_seek(iterator, text(""));
    cr_assert(kv_iterator_valid(iterator), "an iterator keeps what it saw");
    kv_iterator_close(iterator);
}

Test(sim_kv, counts_the_crashes_that_took_something_back)
{
    unsigned taken = 0;
    sim_kv_crash(kv, 1);
    cr_assert_eq(counts().rolled_back, 0);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        char expected[40];
        snprintf(expected, sizeof(expected), "a=%lu ", seed);
        cr_assert_eq(put("a", "before"), STATUS_OK);
        cr_assert_eq(kv_flush(kv), STATUS_OK);
        cr_assert_eq(put("a", expected + 2), STATUS_OK);
        sim_kv_crash(kv, seed);
        char rows[40] = "";
        sim_kv_each(kv, each_row, rows);
        taken += strcmp(rows, "a=before ") == 0 ? 1 : 0;
        cr_assert_eq(counts().rolled_back, taken);
    }
    cr_assert(taken > 10 && taken < 30);
}

static void delete_row(const char *key)
{
    struct kv_batch *batch = kv_batch_open(kv);
    kv_batch_delete(batch, text(key));
    cr_assert_eq(kv_write(kv, batch), STATUS_OK);
    kv_batch_close(batch);
}

Test(sim_kv, remembers_what_was_deleted_overwritten_and_taken_back)
{
    char rows[64] = "";
    sim_kv_remember(kv);
    cr_assert_eq(put("a", "1"), STATUS_OK);
    cr_assert_eq(put("a", "2"), STATUS_OK);
    delete_row("a");
    cr_assert_eq(put("b", "3"), STATUS_OK);
    sim_kv_lose(kv);
    sim_kv_each_ever(kv, each_row, rows);
    cr_assert_str_eq(rows, "a=1 a=2 b=3 ");
    assert_rows("");
}
