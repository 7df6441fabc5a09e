/* test_journal.c - what was acknowledged is replayed, in order, after a crash at any I/O; damage is refused. */
#include "meta/journal_local.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES MIB(1)
#define ENTRIES_MAX   4000

/* A user that remembers what it was given. Entry `n` (from 1) has a content that follows from n. */
struct user {
    struct journal_user journal_user;
    uint64_t committed; /* entries 1..committed were handed over (or were applied before) */
    uint64_t failures;
    bool opened;
    bool closed;
    enum status open_status;
    char message[JOURNAL_MESSAGE_BYTES];
    struct journal *journal;
};

static struct sim_loop *sim;
static struct sim_disk *disk;
static struct user user;
static struct journal_entry entries[ENTRIES_MAX + 1];
static uint64_t submitted;
static uint32_t entry_bytes_max = 300;

static size_t entry_fill(uint64_t number, uint8_t *bytes)
{
    size_t size = 1 + (size_t)(number * 7919 % entry_bytes_max);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(number * 31 + i);
    }
    return size;
}

static void committed(struct journal_user *journal_user, uint64_t index, const void *bytes, size_t size,
                      struct journal_entry *entry)
{
    static uint8_t expected[JOURNAL_ENTRY_BYTES_MAX];
    struct user *self = CONTAINER_OF(journal_user, struct user, journal_user);
    cr_assert_eq(index, self->committed + 1);
    cr_assert_eq(size, entry_fill(index, expected));
    cr_assert(memcmp(bytes, expected, size) == 0);
    cr_assert(entry == NULL || entry == &entries[index]);
    self->committed = index;
}

static void failed(struct journal_user *journal_user, enum status status)
{
    struct user *self = CONTAINER_OF(journal_user, struct user, journal_user);
    cr_assert_neq(status, STATUS_OK);
    self->failures++;
}

static void opened(void *opened_user, enum status status, struct journal *journal, const char *message)
{
    struct user *self = opened_user;
    self->opened = true;
    self->open_status = status;
    self->journal = journal;
    (void)snprintf(self->message, sizeof(self->message), "%s", message);
}

static void closed(void *closed_user)
{
    struct user *self = closed_user;
    self->closed = true;
}

/* Open with tables that have applied up to `applied`. */
static enum status open_journal(uint64_t applied)
{
    const struct journal_local_options options = {
        .segment_bytes = SEGMENT_BYTES, .segments_wanted = 2, .applied_index = applied};
    user = (struct user){.journal_user = {.committed = committed, .failed = failed}, .committed = applied};
    journal_local_open(sim_loop_interface(sim), sim_disk_interface(disk), &options, &user.journal_user, opened, &user);
    (void)sim_loop_run_until(sim, &user.opened);
    cr_assert(user.opened);
    submitted = user.committed;
    return user.open_status;
}

static enum status submit(void)
{
    static uint8_t bytes[JOURNAL_ENTRY_BYTES_MAX];
    cr_assert_lt(submitted, ENTRIES_MAX);
    uint64_t number = submitted + 1;
    entries[number] = (struct journal_entry){0};
    enum status status = journal_submit(user.journal, &entries[number], bytes, entry_fill(number, bytes));
    submitted += status == STATUS_OK ? 1 : 0;
    return status;
}

static void submit_and_wait(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(submit(), STATUS_OK);
    }
    sim_loop_run_until_idle(sim);
    cr_assert_eq(user.committed, submitted);
}

static void close_journal(void)
{
    journal_close(user.journal, closed, &user);
    sim_loop_run_until_idle(sim);
    cr_assert(user.closed);
}

static void setup(void)
{
    sim = sim_loop_open(1);
    disk = sim_disk_open(sim, 1);
    entry_bytes_max = 300;
}

static void teardown(void)
{
    sim_disk_close(disk);
    sim_loop_close(sim);
}

TestSuite(journal, .init = setup, .fini = teardown, .timeout = 240);

Test(journal, replays_what_was_committed)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    struct uuid id = user.journal->id;
    submit_and_wait(100);
    close_journal();
    cr_assert_eq(open_journal(0), STATUS_OK);
    cr_assert_eq(user.committed, 100);
    cr_assert(uuid_equal(&id, &user.journal->id));
    submit_and_wait(10);
    close_journal();
    cr_assert_eq(open_journal(105), STATUS_OK);
    cr_assert_eq(user.committed, 110);
    close_journal();
}

Test(journal, commits_only_after_the_write_and_shares_one_write)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    submit_and_wait(1);
    uint64_t writes = sim_disk_io_count(disk, DISK_WRITE);
    for (size_t i = 0; i < 50; i++) {
        cr_assert_eq(submit(), STATUS_OK);
    }
    cr_assert_eq(user.committed, 1);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(user.committed, 51);
    cr_assert_eq(sim_disk_io_count(disk, DISK_WRITE), writes + 1);
    close_journal();
}

Test(journal, bounds_what_waits)
{
    static uint8_t bytes[JOURNAL_ENTRY_BYTES_MAX + 1];
    struct journal_entry entry = {0};
    cr_assert_eq(open_journal(0), STATUS_OK);
    cr_assert_eq(journal_submit(user.journal, &entry, bytes, sizeof(bytes)), STATUS_TOO_LARGE);
    cr_assert_eq(journal_submit(user.journal, &entry, bytes, 0), STATUS_TOO_LARGE);
    entry_bytes_max = JOURNAL_ENTRY_BYTES_MAX;
    enum status status = STATUS_OK;
    while ((status = submit()) == STATUS_OK) {
    }
    cr_assert_eq(status, STATUS_BUSY);
    cr_assert_geq(submitted, JOURNAL_BATCHES_MAX);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(user.committed, submitted);
    submit_and_wait(1);
    close_journal();
}

Test(journal, uses_released_segments_again)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    entry_bytes_max = 60000;
    for (size_t round = 0; round < 40; round++) {
        submit_and_wait(20);
        if (journal_wants_release(user.journal)) {
            journal_release(user.journal, user.committed);
            cr_assert_not(journal_wants_release(user.journal));
        }
        journal_tick(user.journal);
    }
    uint64_t size = 0;
    unsigned files = 0;
    for (unsigned i = 0; i < 64; i++) {
        char name[DISK_NAME_BYTES];
        (void)snprintf(name, sizeof(name), "journal-%08x", i);
        files += sim_disk_bytes(disk, name, &size) != NULL ? 1 : 0;
    }
    cr_assert_leq(files, 6, "%u files for 24 MB of entries", files);
    uint64_t applied = user.committed - 5;
    close_journal();
    cr_assert_eq(open_journal(applied), STATUS_OK, "%s", user.message);
    cr_assert_eq(user.committed, applied + 5);
    close_journal();
}

Test(journal, refuses_tables_that_it_can_not_continue)
{
    cr_assert_eq(open_journal(7), STATUS_CORRUPT, "tables without a journal");
    cr_assert_eq(open_journal(0), STATUS_OK);
    submit_and_wait(5);
    close_journal();
    cr_assert_eq(open_journal(6), STATUS_CORRUPT, "tables ahead of the journal");
    cr_assert_neq(user.message[0], '\0');
    cr_assert_eq(open_journal(5), STATUS_OK);
    close_journal();
}

Test(journal, stops_for_good_after_a_failed_write)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    submit_and_wait(3);
    sim_disk_fail_after(disk, 1, STATUS_IO);
    cr_assert_eq(submit(), STATUS_OK);
    cr_assert_eq(submit(), STATUS_OK);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(user.failures, 1);
    cr_assert_eq(user.committed, 3);
    sim_disk_fail_after(disk, 0, STATUS_OK);
    cr_assert_eq(submit(), STATUS_FENCED, "no retry, even when the disk has recovered");
    close_journal();
    cr_assert_eq(open_journal(0), STATUS_OK);
    cr_assert_geq(user.committed, 3);
    close_journal();
}

Test(journal, waits_when_the_disk_is_full_and_goes_on_when_it_is_not)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    sim_loop_run_until_idle(sim);
    sim_disk_limit_bytes(disk, SEGMENT_BYTES);
    entry_bytes_max = 60000;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < 1000; i++) {
        status = submit();
        sim_loop_run_until_idle(sim);
        journal_tick(user.journal);
        sim_loop_run_until_idle(sim);
    }
    cr_assert_eq(status, STATUS_BUSY);
    cr_assert_lt(user.committed, submitted);
    cr_assert_eq(user.failures, 0);
    sim_disk_limit_bytes(disk, GIB(1));
    journal_tick(user.journal);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(user.committed, submitted);
    close_journal();
}

Test(journal, goes_on_when_a_release_made_room_on_a_full_disk)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    sim_loop_run_until_idle(sim);
    sim_disk_limit_bytes(disk, 3 * SEGMENT_BYTES);
    entry_bytes_max = 60000;
    for (size_t i = 0; submit() == STATUS_OK && i < 1000; i++) {
        sim_loop_run_until_idle(sim);
        journal_tick(user.journal);
        sim_loop_run_until_idle(sim);
    }
    cr_assert_lt(user.committed, submitted);
    cr_assert(journal_wants_release(user.journal));
    for (size_t tick = 0; tick < 20 && user.committed < submitted; tick++) {
        journal_tick(user.journal);
        if (journal_wants_release(user.journal)) {
            journal_release(user.journal, user.committed);
        }
        sim_loop_run_until_idle(sim);
    }
    cr_assert_eq(user.committed, submitted);
    cr_assert_eq(user.failures, 0);
    close_journal();
}

/* Closing while a batch is on its way and those behind it need a segment that there is no room for. */
Test(journal, closes_on_a_full_disk_at_any_point)
{
    for (unsigned before = 20; before < 50; before++) {
        for (unsigned more = 0; more < 6; more++) {
            teardown();
            setup();
            cr_assert_eq(open_journal(0), STATUS_OK);
            sim_loop_run_until_idle(sim);
            sim_disk_limit_bytes(disk, SEGMENT_BYTES);
            entry_bytes_max = 60000;
            for (unsigned i = 0; i < before; i++) {
                (void)submit();
                sim_loop_run_until_idle(sim);
            }
            (void)submit();
            (void)sim_loop_step(sim);
            for (unsigned i = 0; i < more; i++) {
                (void)submit();
            }
            close_journal();
        }
    }
}

/* ---- crashes ----------------------------------------------------------------------------------- */

/* Work until the disk has started `io` more I/Os, lose power, open again. */
static void crash_at(uint64_t seed, uint64_t io)
{
    uint64_t before = sim_disk_io_count(disk, DISK_WRITE) + sim_disk_io_count(disk, DISK_FLUSH);
    uint64_t started = 0;
    uint64_t turn = seed;
    while (started < io && submitted < ENTRIES_MAX - 100) {
        turn = turn * UINT64_C(6364136223846793005) + 1;
        for (uint64_t i = turn >> 60; i > 0; i--) {
            if (submit() != STATUS_OK) {
                break;
            }
        }
        if (!sim_loop_step(sim)) {
            journal_tick(user.journal);
        }
        started = sim_disk_io_count(disk, DISK_WRITE) + sim_disk_io_count(disk, DISK_FLUSH) - before;
    }
}

Test(journal, keeps_exactly_what_was_acknowledged_after_a_crash_at_any_io)
{
    for (uint64_t n = 1; n <= 250; n++) {
        struct sim_loop *old = sim;
        sim_disk_close(disk);
        sim_loop_close(old);
        sim = sim_loop_open(n);
        disk = sim_disk_open(sim, n);
        entry_bytes_max = n % 3 == 0 ? 30000 : 300;
        uint64_t applied = 0;
        for (uint64_t life = 0; life < 3; life++) {
            cr_assert_eq(open_journal(applied), STATUS_OK, "crash %lu life %lu: %s", n, life, user.message);
            crash_at(n + life, 1 + n % 97);
            /* The tables may have been made durable at some point, and the journal told so; it may go on from there. */
            if (n % 2 == 0) {
                applied = user.committed - user.committed % 7;
                journal_release(user.journal, applied);
            }
            for (uint64_t i = 0; n % 2 == 0 && i < (n + life) % 5; i++) {
                (void)submit();
                (void)sim_loop_step(sim);
            }
            uint64_t acknowledged = user.committed;
            uint64_t sent = submitted;
            sim_disk_crash(disk);
            journal_local_abandon(user.journal);
            cr_assert_eq(open_journal(applied), STATUS_OK, "crash %lu life %lu: %s", n, life, user.message);
            cr_assert_geq(user.committed, acknowledged, "crash %lu lost acknowledged entries", n);
            cr_assert_leq(user.committed, sent);
            sim_disk_crash(disk);
            journal_local_abandon(user.journal);
        }
    }
}

/* ---- damage ------------------------------------------------------------------------------------ */

Test(journal, refuses_a_flipped_bit_in_what_was_acknowledged)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    for (size_t i = 0; i < 10; i++) {
        submit_and_wait(2); /* Ten batches of one block each. */
    }
    close_journal();
    for (uint64_t block = 1; block < 10;
         block++) { /* Not the last one: a damaged tail can't be told from a torn one. */
        uint64_t offset = block * BLOCK_BYTES + 13 * block;
        sim_disk_corrupt(disk, "journal-00000000", offset, 0x40);
        cr_assert_eq(open_journal(0), STATUS_CORRUPT, "block %lu", block);
        sim_disk_corrupt(disk, "journal-00000000", offset, 0x40);
    }
    sim_disk_corrupt(disk, "journal-00000000", 30, 0x01);
    cr_assert_eq(open_journal(0), STATUS_CORRUPT, "the segment's header");
    sim_disk_corrupt(disk, "journal-00000000", 30, 0x01);
    cr_assert_eq(open_journal(0), STATUS_OK);
    cr_assert_eq(user.committed, 20);
    close_journal();
}

Test(journal, damage_of_the_last_batch_is_found_when_the_tables_had_it)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    submit_and_wait(2);
    submit_and_wait(2);
    close_journal();
    sim_disk_corrupt(disk, "journal-00000000", 2 * BLOCK_BYTES + 100, 0x40);
    cr_assert_eq(open_journal(4), STATUS_CORRUPT);
    cr_assert_eq(open_journal(0), STATUS_OK, "else it is taken for the torn tail of a crash");
    cr_assert_eq(user.committed, 2);
    submit_and_wait(5);
    close_journal();
}

Test(journal, refuses_a_missing_segment)
{
    cr_assert_eq(open_journal(0), STATUS_OK);
    entry_bytes_max = 60000;
    for (size_t i = 0; i < 6; i++) {
        submit_and_wait(20);
        journal_tick(user.journal);
        sim_loop_run_until_idle(sim);
    }
    close_journal();
    cr_assert_eq(disk_file_remove(sim_disk_interface(disk), "journal-00000001"), STATUS_OK);
    cr_assert_eq(open_journal(0), STATUS_CORRUPT);
    cr_assert_neq(user.message[0], '\0');
}
