/* test_journal_exhaustive.c - a short life of a journal, with something going wrong at every single point of it.
 *
 * Script  Open on an empty disk, write entries of many sizes into several segments, release, use a segment again, close,
 *         open and replay, write more, close.
 * Wrong   The n-th I/O fails, once or for ever; power is lost when the n-th I/O has been started; the n-th allocation
 *         fails. For n = 1, 2, 3, ... until the script comes to its end untouched.
 * Then    The journal opens again; entries come back in order, each with its content, from what the tables have up to
 *         at least the last one that was committed, and at most the last one that was submitted. It takes new ones,
 *         and they are there at the next open too. */
#include "meta/journal_private.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"
#include "tests/unit/alloc_fault.h"
#include "tests/unit/io_fault.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES_MAX 400

/* One journal on one disk, and what was asked of it. */
struct trial {
    struct journal_user journal_user;
    struct sim_loop *sim;
    struct sim_disk *disk;
    struct journal *journal;
    struct journal_entry entries[ENTRIES_MAX + 1];
    uint64_t submitted; /* entries 1..submitted may be in the journal */
    uint64_t committed; /* the last one handed over in this life */
    uint64_t durable;   /* the greatest ever handed over: it must stay */
    uint64_t applied;   /* what the tables have made durable: never replayed */
    unsigned failures;  /* in this life */
    bool opened;
    bool closed;
    bool stops_there; /* power is lost at the n-th I/O */
    enum status open_status;
    char text[64];                       /* which trial this is, for messages */
    char message[JOURNAL_MESSAGE_BYTES]; /* why it did not open */
};

static struct trial trial;

/* ---- the user of the journal --------------------------------------------------------------------------- */

static size_t entry_fill(uint64_t number, uint8_t *bytes)
{
    static const size_t sizes[] = {1, 300, 4000, 4096, 20000, JOURNAL_ENTRY_BYTES_MAX, 77, 60000};
    size_t size = sizes[number % ARRAY_LENGTH(sizes)];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(number * 31 + i);
    }
    return size;
}

static void committed(struct journal_user *user, uint64_t index, const void *bytes, size_t size,
                      struct journal_entry *entry)
{
    static uint8_t expected[JOURNAL_ENTRY_BYTES_MAX];
    (void)user;
    cr_assert_eq(index, trial.committed + 1, "%s: entry %lu after %lu", trial.text, index, trial.committed);
    cr_assert_eq(size, entry_fill(index, expected), "%s", trial.text);
    cr_assert(memcmp(bytes, expected, size) == 0, "%s", trial.text);
    cr_assert(entry == NULL || entry == &trial.entries[index], "%s", trial.text);
    cr_assert_eq(trial.failures, 0, "%s: an entry after the failure", trial.text);
    trial.committed = index;
    trial.durable = index > trial.durable ? index : trial.durable;
}

static void failed(struct journal_user *user, enum status status)
{
    (void)user;
    cr_assert_neq(status, STATUS_OK);
    trial.failures++;
    cr_assert_eq(trial.failures, 1, "%s", trial.text);
}

static void opened(void *user, enum status status, struct journal *journal, const char *message)
{
    (void)user;
    cr_assert_eq(status == STATUS_OK, journal != NULL);
    cr_assert_eq(status == STATUS_OK, message[0] == '\0');
    snprintf(trial.message, sizeof(trial.message), "%s", message);
    trial.opened = true;
    trial.open_status = status;
    trial.journal = journal;
}

static void closed(void *user)
{
    (void)user;
    trial.closed = true;
    trial.journal = NULL;
}

/* ---- steps --------------------------------------------------------------------------------------------- */

/* Power is lost here: nothing more happens in this life. */
static bool stopped(void)
{
    return trial.stops_there && io_fault_reached();
}

/* Run until `*flag` or, without one, until nothing is left. False: the trial's life is over. */
static bool run(const bool *flag)
{
    while (flag == NULL || !*flag) {
        if (stopped()) {
            return false;
        }
        if (!sim_loop_step(trial.sim)) {
            cr_assert_null(flag, "%s: no answer", trial.text);
            break;
        }
    }
    return !stopped();
}

static bool open_once(void)
{
    const struct journal_local_options options = {
        .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN, .segments_wanted = 1, .applied_index = trial.applied};
    trial.opened = false;
    trial.closed = false;
    trial.committed = trial.applied;
    trial.failures = 0;
    trial.journal = journal_open_start(sim_loop_interface(trial.sim), sim_disk_interface(trial.disk), &options,
                                       &trial.journal_user, opened, NULL);
    return run(&trial.opened);
}

/* Open; a failed I/O may refuse it, and is a reason to try once more. */
static bool open_step(void)
{
    if (!open_once()) {
        return false;
    }
    if (trial.open_status != STATUS_OK) {
        cr_assert(io_fault_reached() || alloc_fault_hit(), "%s: %s", trial.text, status_name(trial.open_status));
        cr_assert(trial.open_status == STATUS_IO || (alloc_fault_hit() && trial.open_status == STATUS_FULL), "%s: %s",
                  trial.text, status_name(trial.open_status));
        if (!open_once() || trial.open_status != STATUS_OK) {
            return false;
        }
    }
    cr_assert(trial.committed >= trial.durable && trial.committed <= trial.submitted, "%s: %lu not in %lu..%lu",
              trial.text, trial.committed, trial.durable, trial.submitted);
    trial.submitted = trial.committed;
    return true;
}

/* Submit `count` entries at once and wait for them. Once the journal has failed it must go on saying so. */
static bool submit_step(unsigned count)
{
    static uint8_t bytes[JOURNAL_ENTRY_BYTES_MAX];
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = trial.submitted + 1;
        cr_assert_leq(number, ENTRIES_MAX);
        trial.entries[number] = (struct journal_entry){0};
        enum status status = journal_submit(trial.journal, &trial.entries[number], bytes, entry_fill(number, bytes));
        cr_assert(status == (trial.failures > 0 ? STATUS_FENCED : STATUS_OK) || status == STATUS_BUSY, "%s: %s",
                  trial.text, status_name(status));
        trial.submitted += status == STATUS_OK ? 1 : 0;
    }
    if (!run(NULL)) {
        return false;
    }
    cr_assert(trial.failures > 0 || io_fault_reached() || trial.committed == trial.submitted, "%s", trial.text);
    return true;
}

/* What the service does once a second; `keep` entries are not yet durable in the tables. */
static bool tick_step(uint64_t keep)
{
    journal_tick(trial.journal);
    if (journal_wants_release(trial.journal) && trial.failures == 0 && trial.committed > trial.applied + keep) {
        trial.applied = trial.committed - keep;
        journal_release(trial.journal, trial.applied);
    }
    return run(NULL);
}

static bool close_step(void)
{
    journal_close(trial.journal, closed, NULL);
    return run(&trial.closed);
}

/* False: it did not come to its end. */
static bool script(void)
{
    bool alive = open_step();
    for (unsigned round = 0; alive && round < 9; round++) {
        alive = submit_step(1) && submit_step(7) && tick_step(3);
    }
    alive = alive && close_step() && open_step();
    alive = alive && submit_step(2) && tick_step(0) && submit_step(5) && tick_step(1);
    return alive && close_step();
}

/* ---- trials -------------------------------------------------------------------------------------------- */

static void trial_begin(uint64_t seed)
{
    trial = (struct trial){.journal_user = {.committed = committed, .failed = failed}};
    trial.sim = sim_loop_open(seed);
    trial.disk = sim_disk_open(trial.sim, seed);
    io_fault_watch_disk(trial.disk);
}

static void trial_end(void)
{
    sim_disk_close(trial.disk);
    sim_loop_close(trial.sim);
}

/* The life is over, one way or another; the power is lost too. Nothing fails any more: all must be there. */
static void verify(void)
{
    io_fault_disarm();
    sim_disk_crash(trial.disk);
    if (trial.journal != NULL) {
        journal_local_abandon(trial.journal);
    }
    sim_loop_run_for(trial.sim, NS_PER_S);
    trial.stops_there = false;
    for (unsigned life = 0; life < 2; life++) {
        cr_assert(open_once() && trial.open_status == STATUS_OK, "%s: %s", trial.text, status_name(trial.open_status));
        cr_assert(trial.committed >= trial.durable && trial.committed <= trial.submitted, "%s: %lu not in %lu..%lu",
                  trial.text, trial.committed, trial.durable, trial.submitted);
        trial.submitted = trial.committed;
        cr_assert(submit_step(9) && trial.committed == trial.submitted, "%s", trial.text);
        cr_assert(close_step(), "%s", trial.text);
    }
}

static void trial_run(enum io_fault_kind kind, bool stops_there, uint64_t nth, const char *what)
{
    trial_begin(nth);
    snprintf(trial.text, sizeof(trial.text), "%s %lu", what, nth);
    trial.stops_there = stops_there;
    io_fault_arm(kind, nth);
    (void)script();
}

/* Run the script for every n. Returns how many I/Os it has. */
static uint64_t for_every_io(enum io_fault_kind kind, bool stops_there, const char *what)
{
    for (uint64_t nth = 1;; nth++) {
        trial_run(kind, stops_there, nth, what);
        bool untouched = !io_fault_reached();
        cr_assert(!untouched || (trial.failures == 0 && trial.closed), "%s", trial.text);
        verify();
        trial_end();
        if (untouched) {
            return nth - 1;
        }
    }
}

TestSuite(journal_exhaustive, .timeout = 240);

Test(journal_exhaustive, an_io_that_fails_once_loses_nothing_committed)
{
    cr_assert_gt(for_every_io(IO_FAULT_ONCE, false, "once, I/O"), 60);
    cr_assert_not(alloc_fault_leaks());
}

Test(journal_exhaustive, a_disk_that_fails_for_ever_loses_nothing_committed)
{
    cr_assert_gt(for_every_io(IO_FAULT_FOR_EVER, false, "for ever from I/O"), 60);
    cr_assert_not(alloc_fault_leaks());
}

Test(journal_exhaustive, power_lost_at_any_io_loses_nothing_committed)
{
    cr_assert_gt(for_every_io(IO_FAULT_NONE, true, "power lost at I/O"), 60);
    cr_assert_not(alloc_fault_leaks());
}

/* ---- allocations --------------------------------------------------------------------------------------- */

static bool allocation_script(void)
{
    trial_begin(1);
    snprintf(trial.text, sizeof(trial.text), "allocation");
    io_fault_arm(IO_FAULT_NONE, UINT64_MAX);
    bool whole = script();
    bool good = whole || (alloc_fault_hit() && trial.open_status == STATUS_FULL);
    trial_end();
    return good;
}

static void for_every_allocation(bool for_ever)
{
    static const struct alloc_fault_stop stops[] = {
        {"meta/journal_open.c", "!= NULL"}, {"meta/journal_open.c", "segment_buffer_grow"}, {NULL, NULL}};
    unsigned answered = 0;
    unsigned stopped_count = 0;
    enum alloc_fault_end end;
    for (uint64_t nth = 1; (end = alloc_fault_run(allocation_script, nth, for_ever, stops)) != ALLOC_FAULT_UNTOUCHED;
         nth++) {
        cr_assert_neq(end, ALLOC_FAULT_BROKEN, "allocation %lu, %s", nth, for_ever ? "for ever" : "once");
        answered += end == ALLOC_FAULT_ANSWERED ? 1 : 0;
        stopped_count += end == ALLOC_FAULT_STOPPED ? 1 : 0;
    }
    cr_assert_gt(stopped_count, 10, "what every journal needs");
    cr_assert(answered > 0 || for_ever, "a segment that is read");
}

Test(journal_exhaustive, an_allocation_that_fails_is_answered_or_stops_the_opening)
{
    for_every_allocation(false);
    for_every_allocation(true);
}
