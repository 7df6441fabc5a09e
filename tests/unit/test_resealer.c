/* test_resealer.c - what was sealed under a DEK that is rotated out moves to the current one, in the background.
 *
 * What is promised: the same version, etag, metadata and content under the new DEK; whatever changes meanwhile wins; no
 * faster than allowed, behind the clients, and no load when there is nothing to do; nothing is left behind by what
 * fails, and it is tried again later. */
#include "node/resealer.h"
#include "tests/unit/object_client.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define RATE       MIB(16)
#define DATA_BYTES (2u * CHUNK_BYTES_MAX + 777)

static struct resealer *resealer;
static uint8_t *data;

static void open_resealer(uint64_t bytes_per_s)
{
    resealer = resealer_open(gateway, bytes_per_s);
    cr_assert_not_null(resealer);
    resealer_set_node(resealer, 1);
}

static void close_resealer(void)
{
    resealer_stop(resealer);
    for (unsigned i = 0; i < 100000 && !resealer_is_idle(resealer); i++) {
        cr_assert(sim_loop_step(sim));
    }
    cr_assert(resealer_is_idle(resealer));
    resealer_close(resealer);
    resealer = NULL;
}

static void setup(void)
{
    world_open();
    data = make_data(DATA_BYTES);
}

static void teardown(void)
{
    if (resealer != NULL) {
        close_resealer();
    }
    free(data);
    world_close();
}

TestSuite(resealer, .init = setup, .fini = teardown, .timeout = 240);

static uint32_t dek_version_of(const char *key)
{
    Trilith__Object *object = object_record(key);
    uint32_t version = object->dek_version;
    trilith__object__free_unpacked(object, NULL);
    return version;
}

/* Copies of chunks on all nodes. */
static unsigned stored_copies(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < NODES; i++) {
        count += nodes[i].copy_count;
    }
    return count;
}

/* Let it run until `count` objects have moved. */
static bool run_until_moved(uint64_t count, uint64_t limit_ns)
{
    uint64_t until_ns = loop_now_ns(loop) + limit_ns;
    while (resealer_objects(resealer) < count && loop_now_ns(loop) < until_ns) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
    }
    return resealer_objects(resealer) == count;
}

Test(resealer, moves_every_object_to_the_current_dek_and_changes_nothing_else)
{
    static const char *const keys[] = {"empty", "small", "large"};
    static const size_t sizes[] = {0, 100, DATA_BYTES};
    Trilith__Object *before[3];
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(put_object(keys[i], data, sizes[i], 0, false), STATUS_OK);
        before[i] = object_record(keys[i]);
    }
    meta.dek_version = 2; /* The gateway still holds version 1 as the current one. */
    open_resealer(RATE);
    cr_assert(run_until_moved(3, 20 * NS_PER_S));
    for (unsigned i = 0; i < 3; i++) {
        Trilith__Object *after = object_record(keys[i]);
        cr_assert_eq(after->dek_version, 2);
        cr_assert_eq(memcmp(after->version_id.data, before[i]->version_id.data, 16), 0);
        cr_assert_str_eq(after->etag, before[i]->etag);
        cr_assert_eq(after->size, before[i]->size);
        cr_assert(after->slot != before[i]->slot);
        for (size_t c = 0; c < after->n_chunks; c++) {
            cr_assert_neq(memcmp(after->chunks[c]->chunk_id.data, before[i]->chunks[c]->chunk_id.data, 16), 0);
        }
        trilith__object__free_unpacked(after, NULL);
        trilith__object__free_unpacked(before[i], NULL);
        cr_assert_eq(get_object(keys[i], data, 0, 0), STATUS_CLOSED);
    }
    check_copies(3);
    cr_assert_eq(meta.given_up_count, 0);
    struct reader reader = {0};
    reader_begin(&reader, "large");
    cr_assert(run_until(&reader.done));
    cr_assert_eq(reader.info.dek_version, 2);
    cr_assert_eq(reader.info.meta->count, 1);
    cr_assert_not_null(memmem(reader.info.meta->bytes, reader.info.meta->used, "text/plain", 10));
    reader_end(&reader);
}

Test(resealer, keeps_the_suite_of_an_object)
{
    if (!suite_is_supported(gateway->sealer, SUITE_SM4_GCM)) {
        return;
    }
    struct writer writer = {.finish = true, .suite = SUITE_SM4_GCM};
    writer_begin(&writer, "key", data, 1000, false);
    writer_push(&writer);
    cr_assert(run_until(&writer.done));
    meta.dek_version = 2;
    open_resealer(RATE);
    cr_assert(run_until_moved(1, 20 * NS_PER_S)); /* The service checks the suite. */
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}

/* ---- readers of what is being moved ------------------------------------------------------------------ */

/* Begin to read `key` by hand, and stop after its first unit. */
static void begin_to_read(struct reader *reader, const char *key)
{
    *reader = (struct reader){.by_hand = true};
    reader_begin(reader, key);
    for (unsigned i = 0; i < 100 && reader->taken == 0; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
        if (reader->want > 0) {
            reader_pull(reader, UNIT_BYTES / 2 + 1);
        }
    }
    cr_assert_gt(reader->taken, 0);
}

static void read_the_rest(struct reader *reader)
{
    for (unsigned i = 0; i < 10000 && !reader->done; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
        reader_pull(reader, UNIT_BYTES);
    }
    cr_assert(reader->done);
    cr_assert_eq(memcmp(reader->data, data, reader->taken), 0, "never wrong bytes");
}

Test(resealer, get_goes_on_when_its_version_is_sealed_anew_and_the_old_chunks_are_wiped)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    struct reader reader;
    begin_to_read(&reader, "key");
    meta.dek_version = 2;
    open_resealer(RATE);
    cr_assert(run_until_moved(1, 20 * NS_PER_S));
    meta.condemned_are_wiped = true;
    read_the_rest(&reader);
    cr_assert_eq(reader.status, STATUS_CLOSED, "%s", status_name(reader.status));
    cr_assert_eq(reader.taken, DATA_BYTES);
    reader_end(&reader);
}

Test(resealer, get_goes_on_when_the_old_dek_is_destroyed)
{
    meta.dek_lease_ms = 1000;
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    struct reader reader;
    begin_to_read(&reader, "key");
    meta.dek_version = 2;
    open_resealer(RATE);
    cr_assert(run_until_moved(1, 20 * NS_PER_S));
    meta.old_deks_are_gone = true;
    sim_loop_run_for(sim, 2 * NS_PER_S);
    read_the_rest(&reader);
    cr_assert_eq(reader.status, STATUS_CLOSED, "%s", status_name(reader.status));
    cr_assert_eq(reader.taken, DATA_BYTES);
    reader_end(&reader);
}

Test(resealer, get_does_not_go_on_with_another_version)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    struct reader reader;
    begin_to_read(&reader, "key");
    Trilith__Object *replaced = object_record("key");
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    for (size_t i = 0; i < replaced->n_chunks; i++) {
        memcpy(meta.condemned[meta.condemned_count++].bytes, replaced->chunks[i]->chunk_id.data, 16);
    }
    trilith__object__free_unpacked(replaced, NULL);
    meta.condemned_are_wiped = true;
    read_the_rest(&reader);
    cr_assert_eq(reader.status, STATUS_GONE, "%s", status_name(reader.status));
    cr_assert_lt(reader.taken, DATA_BYTES);
    reader_end(&reader);
}

Test(resealer, get_that_looks_again_can_be_closed_at_any_moment)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    open_resealer(RATE);
    for (unsigned steps = 0; steps < 40; steps++) {
        struct reader reader;
        begin_to_read(&reader, "key");
        meta.dek_version++;
        meta.condemned_are_wiped = false;
        cr_assert(run_until_moved(steps + 1, 60 * NS_PER_S));
        meta.condemned_are_wiped = true;
        uint8_t *rest = malloc(DATA_BYTES);
        size_t taken = 1;
        while (taken > 0) { /* Up to what is not there any more. */
            cr_assert_eq(object_get_read(reader.get, rest, DATA_BYTES, &taken), STATUS_OK);
        }
        for (unsigned i = 0; i < 3 * steps; i++) {
            sim_loop_step(sim);
            (void)!object_get_read(reader.get, rest, 1, &taken);
        }
        free(rest);
        reader_end(&reader);
        sim_loop_run_for(sim, NS_PER_S);
        cr_assert_eq(gateway->gets_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
    }
}

/* ---- what goes wrong ---------------------------------------------------------------------------------- */

Test(resealer, leaves_nothing_behind_when_a_client_was_faster)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    meta.reseals_overtaken = 1;
    open_resealer(RATE);
    for (unsigned i = 0; i < 2000 && meta.reseals_overtaken > 0; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
    }
    sim_loop_run_for(sim, 500 * NS_PER_MS);
    cr_assert_eq(meta.reseals, 0);
    cr_assert_eq(meta.given_up_count, 1, "the leaf of what was in vain");
    check_copies(3);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert(run_until_moved(1, 20 * NS_PER_S), "the next hint is right again");
    check_copies(3);
}

Test(resealer, writes_nothing_when_the_version_has_gone_before_its_leaf_is_leased)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    meta.drop_before_reseal = true;
    open_resealer(RATE);
    sim_loop_run_for(sim, 20 * NS_PER_S);
    cr_assert_eq(meta.reseal_leases, 1);
    cr_assert_eq(meta.aborts, 0, "there is nothing to condemn");
    cr_assert_eq(meta.commits, 1);
    cr_assert_geq(meta.reseal_pulls, 3, "it is no failure");
    cr_assert_eq(gateway->puts_in_flight, 0);
}

Test(resealer, begins_again_under_a_leaf_of_its_own_when_it_was_cut_short)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    open_resealer(RATE);
    while (meta.reseal_leases == 0) {
        cr_assert(sim_loop_step(sim));
    }
    uint32_t first = object_find("key", 3)->reseal_slot;
    unsigned copies = stored_copies();
    cr_assert_neq(first, 0, "noted with the version,");
    cr_assert_eq(copies, 3 * 3, "before anything is written under it");
    for (unsigned i = 0; i < 10000 && stored_copies() == copies; i++) {
        cr_assert(sim_loop_step(sim));
    }
    cr_assert_gt(stored_copies(), copies);
    resealer_stop(resealer);
    close_gateway();
    resealer_close(resealer);
    resealer = NULL;
    cr_assert_eq(object_find("key", 3)->reseal_slot, first, "whoever deletes the version now destroys it");
    open_gateway(SEALER_FASTEST);
    open_resealer(RATE);
    cr_assert(run_until_moved(1, 20 * NS_PER_S));
    cr_assert_eq(meta.reseal_leases, 2);
    cr_assert_neq(object_find("key", 3)->slot, first);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}

Test(resealer, condemns_nothing_when_its_own_lost_commit_is_why_the_next_try_is_refused)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    meta.commits_to_lose = 1;
    open_resealer(RATE);
    for (unsigned i = 0; i < 4000 && meta.commits < 3; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
    }
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.reseals, 1);
    cr_assert_eq(meta.given_up_count, 0);
    check_copies(3);
    cr_assert_eq(dek_version_of("key"), 2);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}

Test(resealer, passes_over_hints_of_the_past)
{
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    meta.dek_version = 2;
    meta.stale_items = true;
    unsigned commits = meta.commits;
    open_resealer(RATE);
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(meta.commits, commits);
    cr_assert_eq(meta.aborts, 0);
    cr_assert_geq(meta.reseal_pulls, 5);
    cr_assert_leq(meta.reseal_pulls, 31, "once a second");
}

Test(resealer, keeps_to_its_rate)
{
    cr_assert_eq(put_object("a", data, DATA_BYTES, 0, false), STATUS_OK);
    cr_assert_eq(put_object("b", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    open_resealer(MIB(1));
    for (unsigned i = 0; i < 1000 && meta.reseal_pulls == 0; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
    }
    uint64_t start_ns = loop_now_ns(loop);
    cr_assert(run_until_moved(2, 60 * NS_PER_S));
    uint64_t took_ns = loop_now_ns(loop) - start_ns;
    uint64_t least_ns = 2 * (uint64_t)DATA_BYTES * NS_PER_S / MIB(1);
    cr_assert_geq(took_ns, least_ns - NS_PER_S / 5, "%llu ms", (unsigned long long)(took_ns / NS_PER_MS));
    cr_assert_leq(took_ns, least_ns + 2 * NS_PER_S, "%llu ms", (unsigned long long)(took_ns / NS_PER_MS));
}

Test(resealer, counts_the_smallest_object_as_a_unit)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(put_object(keys[i], data, 0, 0, false), STATUS_OK);
    }
    meta.dek_version = 2;
    open_resealer(MIB(1));
    cr_assert(run_until_moved(1, 20 * NS_PER_S));
    uint64_t start_ns = loop_now_ns(loop);
    cr_assert(run_until_moved(8, 20 * NS_PER_S));
    cr_assert_geq(loop_now_ns(loop) - start_ns, 6 * (uint64_t)UNIT_BYTES * NS_PER_S / MIB(1));
}

Test(resealer, asks_rarely_when_there_is_nothing_to_do)
{
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    open_resealer(RATE);
    sim_loop_run_for(sim, 100 * NS_PER_S);
    cr_assert_geq(meta.reseal_pulls, 15);
    cr_assert_leq(meta.reseal_pulls, 20);
    cr_assert_eq(meta.commits, 1);
}

Test(resealer, does_nothing_before_the_node_has_joined)
{
    meta.dek_version = 2;
    resealer = resealer_open(gateway, RATE);
    sim_loop_run_for(sim, 60 * NS_PER_S);
    cr_assert_eq(meta.reseal_pulls, 0);
}

Test(resealer, gives_way_to_clients)
{
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    meta.dek_version = 2;
    struct writer writers[PUTS_MAX / 2 + 1];
    memset(writers, 0, sizeof(writers));
    for (unsigned i = 0; i < ARRAY_LENGTH(writers); i++) {
        writer_begin(&writers[i], "other", data, 1000, false);
    }
    open_resealer(RATE);
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(resealer_objects(resealer), 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(writers); i++) {
        object_put_abort(writers[i].put);
    }
    cr_assert(run_until_moved(1, NS_PER_S));
}

Test(resealer, backs_off_while_it_fails_and_goes_on_afterwards)
{
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    meta.dek_version = 2;
    meta.refusal = STATUS_KEY_REVOKED;
    open_resealer(RATE);
    sim_loop_run_for(sim, 300 * NS_PER_S);
    cr_assert_geq(meta.reseal_pulls, 5);
    cr_assert_leq(meta.reseal_pulls, 15);
    cr_assert_eq(resealer_objects(resealer), 0);
    meta.refusal = STATUS_OK;
    cr_assert(run_until_moved(1, 61 * NS_PER_S));
    check_copies(3);
}

Test(resealer, survives_copies_that_cannot_be_read_or_written)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = true;
    }
    open_resealer(RATE);
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(meta.reseals, 0, "what can't be verified is not sealed anew");
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = false;
        nodes[i].put_status = STATUS_IO;
        nodes[i].put_failures = 1000;
    }
    sim_loop_run_for(sim, 120 * NS_PER_S);
    cr_assert_eq(meta.reseals, 0);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].put_failures = 0;
    }
    cr_assert(run_until_moved(1, 120 * NS_PER_S));
    sim_loop_run_for(sim, 5 * NS_PER_S);
    check_copies(3);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}

/* Go on until `after_ms` and some steps after the next pull. */
static void run_into_the_middle(unsigned after_ms)
{
    unsigned pulls = meta.reseal_pulls;
    while (meta.reseal_pulls == pulls) {
        cr_assert(sim_loop_step(sim));
    }
    sim_loop_run_for(sim, after_ms * NS_PER_MS);
    for (unsigned i = 0; i < after_ms % 40; i++) {
        cr_assert(sim_loop_step(sim));
    }
}

Test(resealer, stops_at_any_moment_and_leaves_nothing_behind)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    for (unsigned after_ms = 0; after_ms < 700; after_ms += 23) {
        meta.dek_version = dek_version_of("key") + 1;
        resealer = resealer_open(gateway, RATE);
        resealer_set_node(resealer, 1);
        run_into_the_middle(after_ms);
        close_resealer();
        sim_loop_run_for(sim, 10 * NS_PER_S);
        cr_assert_eq(gateway->puts_in_flight, 0);
        cr_assert_eq(gateway->gets_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
        check_copies(3);
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    }
    cr_assert_gt(meta.aborts, 0, "some were in the middle");
    cr_assert_gt(meta.reseals, 0, "some had got through");
}

Test(resealer, goes_down_with_its_gateway)
{
    cr_assert_eq(put_object("key", data, DATA_BYTES, 0, false), STATUS_OK);
    meta.dek_version = 2;
    for (unsigned after_ms = 0; after_ms < 700; after_ms += 61) {
        open_resealer(RATE);
        run_into_the_middle(after_ms);
        resealer_stop(resealer);
        close_gateway();
        cr_assert(resealer_is_idle(resealer));
        resealer_close(resealer);
        resealer = NULL;
        open_gateway(SEALER_FASTEST);
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}
