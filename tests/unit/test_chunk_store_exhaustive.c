/* test_chunk_store_exhaustive.c - a short life of a store, with something going wrong at every single point of it.
 *
 * Scripts Requests: puts of several sizes, alone and together, reads, erasures of what is there and of what never was, a
 *         put of something erased, upkeep, close, open again, more of the same. Cleaning: chunks that fill a segment,
 *         erasures that make it worth cleaning, the cleaning, its segment used again.
 * Wrong   The n-th I/O (of the disk or of the index table) fails, once or for ever; power is lost when the n-th I/O has
 *         been started; the n-th allocation fails. For n = 1, 2, 3, ... until the script comes to its end untouched.
 *         Cleaning moves many bytes: it is done for every 11th n, or for all with TRILITH_EXHAUSTIVE in the environment.
 * Then    The store opens again and keeps what chunk_store_trial.h says, and takes new chunks. */
#include "tests/unit/alloc_fault.h"
#include "tests/unit/chunk_store_trial.h"
#include "tests/unit/io_fault.h"

#include <stdio.h>

#define CAPACITY (4 * STORE_SEGMENT_BYTES_MIN + MIB(1))

/* A trial, and where it ends. */
static struct trial *trial;
static bool stops_there;               /* power is lost at the n-th I/O */
static struct chunk_store *unfinished; /* being opened or closed */

/* ---- steps: each is false when this life of the store is over ------------------------------------------------ */

static bool stopped(void)
{
    return stops_there && io_fault_reached();
}

/* Run until `*flag`. */
static bool run(const bool *flag)
{
    while (!*flag && !stopped()) {
        cr_assert(sim_loop_step(trial->world.sim), "%s: no answer", trial->text);
    }
    return !stopped();
}

static bool open_once(void)
{
    struct world *world = &trial->world;
    world->opened = false;
    unfinished =
        store_open_start(world->loop, sim_disk_interface(world->disk), world->kv, &world->options, world_opened, world);
    bool alive = run(&world->opened);
    if (world->opened) {
        unfinished = NULL;
    }
    return alive;
}

/* Open; a failed I/O may refuse it, and is a reason to try once more. */
static bool open_step(void)
{
    if (!open_once()) {
        return false;
    }
    if (trial->world.open_status != STATUS_OK) {
        cr_assert(io_fault_reached() && trial->world.open_status == STATUS_IO, "%s: open: %s", trial->text,
                  status_name(trial->world.open_status));
        cr_assert_null(trial->world.store, "%s", trial->text);
        return open_once() && trial->world.open_status == STATUS_OK;
    }
    return true;
}

/* Whether an answer that is not what it should be has an excuse. */
static bool may_fail(enum status status)
{
    return io_fault_reached() && (status == STATUS_IO || status == STATUS_FENCED || status == STATUS_FULL);
}

static void put_start(uint32_t number)
{
    struct chunk_model *chunk = &trial->chunks[number];
    if (chunk->put == NULL) { /* Else it was asked for before the store was opened again. */
        chunk->put = probe_new(number);
        put_start_of(&trial->world, chunk->put, chunk_bytes_of(trial, number));
    }
}

static bool put_end(uint32_t number, enum status expected)
{
    struct probe *probe = trial->chunks[number].put;
    if (!run(&probe->done)) {
        return false;
    }
    cr_assert_eq(probe->done_count, 1, "%s: put %u", trial->text, number);
    cr_assert(probe->status == expected || may_fail(probe->status), "%s: put %u: %s", trial->text, number,
              status_name(probe->status));
    return true;
}

static bool put_step(uint32_t number)
{
    put_start(number);
    return put_end(number, STATUS_OK);
}

static void erase_start(uint32_t number)
{
    struct chunk_model *chunk = &trial->chunks[number];
    if (chunk->erase != NULL) {
        trial->finished[trial->finished_count++] = chunk->erase;
    }
    chunk->erase = probe_new(number);
    erase_start_of(&trial->world, chunk->erase);
}

static bool erase_end(uint32_t number)
{
    const struct probe *probe = trial->chunks[number].erase;
    if (!run(&probe->done)) {
        return false;
    }
    cr_assert_eq(probe->done_count, 1, "%s: erase %u", trial->text, number);
    cr_assert(probe->status == STATUS_OK || probe->status == STATUS_NOT_FOUND || io_fault_reached(), "%s: erase %u: %s",
              trial->text, number, status_name(probe->status));
    return true;
}

static bool erase_step(uint32_t number)
{
    erase_start(number);
    return erase_end(number);
}

/* Read one chunk. A read that was started after the failure, or one of a store that has failed, must still be right. */
static bool get_step(uint32_t number)
{
    struct chunk_model *chunk = &trial->chunks[number];
    enum status status = world_get(&trial->world, number, chunk_bytes_of(trial, number));
    if (put_is_acknowledged(chunk) && chunk->erase == NULL) {
        cr_assert(status == STATUS_OK || (io_fault_reached() && status == STATUS_IO), "%s: get %u: %s", trial->text,
                  number, status_name(status));
    }
    if (erase_is_acknowledged(chunk) || chunk->was_gone) {
        cr_assert(status == STATUS_GONE || (io_fault_reached() && status == STATUS_IO), "%s: get %u: %s", trial->text,
                  number, status_name(status));
    }
    chunk->was_gone = chunk->was_gone || status == STATUS_GONE;
    return !stopped();
}

/* Let time pass: upkeep, cleaning, preparing. */
static bool wait_step(uint64_t duration_ns)
{
    uint64_t end_ns = loop_now_ns(trial->world.loop) + duration_ns;
    while (!stopped() && loop_now_ns(trial->world.loop) < end_ns && sim_loop_step(trial->world.sim)) {
    }
    return !stopped();
}

static bool close_step(void)
{
    bool closed = false;
    unfinished = trial->world.store;
    trial->world.store = NULL;
    chunk_store_close(unfinished, world_closed, &closed);
    bool alive = run(&closed);
    if (closed) {
        unfinished = NULL;
    }
    return alive;
}

/* ---- scripts: false when they did not come to their end -------------------------------------------------- */

static bool requests_script(void)
{
    if (!open_step() || !put_step(0) || !put_step(4)) {
        return false;
    }
    put_start(7);
    put_start(3);
    put_start(8);
    if (!put_end(7, STATUS_OK) || !put_end(3, STATUS_OK) || !put_end(8, STATUS_OK) || !get_step(0) || !get_step(8)) {
        return false;
    }
    if (!erase_step(4) || !get_step(4) || !erase_step(5) || !get_step(5)) {
        return false;
    }
    put_start(5); /* Erased before it was put. */
    put_start(12);
    erase_start(7);
    if (!put_end(5, STATUS_GONE) || !put_end(12, STATUS_OK) || !erase_end(7) || !get_step(7) || !get_step(12)) {
        return false;
    }
    if (!wait_step(25 * NS_PER_S) || !close_step() || !open_step()) {
        return false;
    }
    for (uint32_t number = 0; number < 13; number++) {
        if (!get_step(number)) {
            return false;
        }
    }
    return put_step(11) && erase_step(8) && erase_step(7) && get_step(11) && close_step();
}

/* Chunks 20.. fill a segment and a bit of the next; with two thirds of them gone the first is cleaned. */
static bool cleaning_script(void)
{
    if (!open_step()) {
        return false;
    }
    for (uint32_t number = 30; number < 36; number++) {
        if (!put_step(number)) {
            return false;
        }
    }
    erase_start(30);
    erase_start(31);
    erase_start(33);
    erase_start(34);
    if (!erase_end(30) || !erase_end(31) || !erase_end(33) || !erase_end(34) || !wait_step(30 * NS_PER_S)) {
        return false;
    }
    return get_step(32) && put_step(20) && put_step(36) && get_step(31) && close_step();
}

/* ---- trials ---------------------------------------------------------------------------------------------- */

static void trial_begin(uint64_t nth, bool large, const char *what)
{
    trial = trial_new(nth, CAPACITY, large);
    trial->prewrites = !large;
    trial->world.options.prewrite_segments = large ? 0 : 1;
    snprintf(trial->text, sizeof(trial->text), "%s %lu", what, nth);
    io_fault_watch_disk(trial->world.disk);
    io_fault_watch_kv(trial->world.kv);
    unfinished = NULL;
}

/* The life is over; mostly because power was lost, or it is lost now. The index is lost too, now and then. */
static void trial_crash(uint64_t nth)
{
    io_fault_disarm();
    stops_there = false;
    struct world *world = &trial->world;
    if (unfinished != NULL || world->store != NULL) {
        crash(trial, unfinished, false);
    } else if (nth % 2 == 0) {
        sim_disk_crash(world->disk);
        sim_kv_crash(world->kv, nth);
    }
    unfinished = NULL;
    if (nth % 5 == 0) {
        world_lose_index(world);
        io_fault_watch_kv(world->kv);
    }
    settle_after_crash(trial);
}

/* All is as promised, and the store is as good as new. */
static void trial_verify(void)
{
    reopen(trial, 0);
    verify(trial);
    cr_assert_eq(world_put(&trial->world, 13, 5000), STATUS_OK, "%s", trial->text);
    cr_assert_eq(world_get(&trial->world, 13, 5000), STATUS_OK, "%s", trial->text);
    cr_assert_eq(world_erase(&trial->world, 13, NULL), STATUS_OK, "%s", trial->text);
    cr_assert_eq(world_get(&trial->world, 13, 5000), STATUS_GONE, "%s", trial->text);
}

/* Run the script for n = 1, 1 + step, ...; for every n when the environment has TRILITH_EXHAUSTIVE. Returns how many I/Os
 * it has. */
static uint64_t for_every_io(bool (*script)(void), enum io_fault_kind kind, uint64_t step, const char *what)
{
    step = getenv("TRILITH_EXHAUSTIVE") != NULL ? 1 : step;
    for (uint64_t nth = 1;; nth += step) {
        trial_begin(nth, script == cleaning_script, what);
        stops_there = kind == IO_FAULT_NONE;
        io_fault_arm(kind, nth);
        bool whole = script();
        bool untouched = !io_fault_reached();
        cr_assert(whole || !untouched, "%s", trial->text);
        trial_crash(nth);
        trial_verify();
        trial_free(trial);
        if (untouched) {
            return nth - 1; /* With steps, somewhat more. */
        }
    }
}

TestSuite(chunk_store_exhaustive, .timeout = 280);

Test(chunk_store_exhaustive, an_io_that_fails_once)
{
    cr_assert_gt(for_every_io(requests_script, IO_FAULT_ONCE, 1, "once, I/O"), 100);
    cr_assert_not(alloc_fault_leaks());
}

Test(chunk_store_exhaustive, a_disk_that_fails_for_ever)
{
    cr_assert_gt(for_every_io(requests_script, IO_FAULT_FOR_EVER, 2, "for ever from I/O"), 100);
    cr_assert_not(alloc_fault_leaks());
}

Test(chunk_store_exhaustive, power_lost_at_any_io)
{
    cr_assert_gt(for_every_io(requests_script, IO_FAULT_NONE, 1, "power lost at I/O"), 100);
    cr_assert_not(alloc_fault_leaks());
}

Test(chunk_store_exhaustive, cleaning_and_an_io_that_fails_once)
{
    cr_assert_gt(for_every_io(cleaning_script, IO_FAULT_ONCE, 11, "cleaning, once, I/O"), 100);
}

Test(chunk_store_exhaustive, cleaning_and_power_lost_at_any_io)
{
    cr_assert_gt(for_every_io(cleaning_script, IO_FAULT_NONE, 11, "cleaning, power lost at I/O"), 100);
}

/* ---- allocations ----------------------------------------------------------------------------------------- */

static bool allocation_script(void)
{
    trial_begin(1, false, "allocation");
    io_fault_arm(IO_FAULT_NONE, UINT64_MAX);
    bool whole = requests_script();
    trial_free(trial);
    trial = NULL;
    return whole;
}

static void for_every_allocation(bool for_ever)
{
    static const struct alloc_fault_stop stops[] = {{"node/store/chunk_store.c", "!= NULL"},
                                                    {"node/store/batch_writer.c", "!= NULL"},
                                                    {"node/store/batch_reader.c", "!= NULL"},
                                                    {"node/store/erase.c", "!= NULL"},
                                                    {"node/store/clean.c", "!= NULL"},
                                                    {"node/store/prepare.c", "!= NULL"},
                                                    {"node/store/recover.c", "!= NULL"},
                                                    {"node/store/segment.c", "!= NULL"},
                                                    {NULL, NULL}};
    unsigned stopped_count = 0;
    enum alloc_fault_end end;
    for (uint64_t nth = 1; (end = alloc_fault_run(allocation_script, nth, for_ever, stops)) != ALLOC_FAULT_UNTOUCHED;
         nth++) {
        cr_assert_eq(end, ALLOC_FAULT_STOPPED, "allocation %lu, %s", nth, for_ever ? "for ever" : "once");
        stopped_count++;
    }
    cr_assert_gt(stopped_count, 40);
}

Test(chunk_store_exhaustive, an_allocation_that_fails_stops_the_opening_and_nothing_else_allocates)
{
    for_every_allocation(false);
    for_every_allocation(true);
}
