/* test_object_keys.c - keys in the hands of puts and gets: leases, revocation, a KMS that is away, leaves given up,
 * suites.
 *
 * What is promised: no put and no get uses a key longer than the lease of its tenant's DEK, however long it takes; when
 * the lease is renewed it goes on as if nothing had been; refusals reach the client as they are and are not remembered;
 * the leaf of a write that came to nothing is named, that of any other is not. */
#include "tests/unit/object_client.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define LEASE_NS     (2 * NS_PER_S)
#define STEP_NS      (100 * NS_PER_MS)
#define OBJECT_BYTES (2u * CHUNK_BYTES_MAX + 777)

static uint8_t *data;

static void setup(void)
{
    world_open();
    meta.dek_lease_ms = (uint32_t)(LEASE_NS / NS_PER_MS);
    data = make_data(OBJECT_BYTES);
}

static void teardown(void)
{
    free(data);
    world_close();
}

TestSuite(object_keys, .init = setup, .fini = teardown, .timeout = 240);

static uint64_t now_ns(void)
{
    return loop_now_ns(loop);
}

static void put_it(void)
{
    cr_assert_eq(put_object("key", data, OBJECT_BYTES, 0, false), STATUS_OK);
    sim_loop_run_for(sim, 2 * LEASE_NS); /* So that every test begins without keys in the cache. */
}

/* ---- since when keys are in memory -------------------------------------------------------------------- */

Test(object_keys, get_holds_the_horizon_from_its_question_until_its_key_is_wiped)
{
    struct reader reader;
    put_it();
    key_horizon_heard(&horizon, 100);
    meta.hold_records = true;
    meta.journal_index = 130;
    reader = (struct reader){.by_hand = true};
    reader_begin(&reader, "key");
    sim_loop_run_for(sim, 10 * NS_PER_MS);
    cr_assert_eq(held_count, 1);
    key_horizon_heard(&horizon, 120);
    cr_assert_eq(key_horizon_since(&horizon), 100, "the answer may bring a key of then");
    meta.hold_records = false;
    answer_record(held[0]);
    held_count = 0;
    sim_loop_run_for(sim, 10 * NS_PER_MS);
    key_horizon_heard(&horizon, 150);
    cr_assert_eq(key_horizon_since(&horizon), 130, "it brought one of 130");
    while (!reader.done) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
        (void)reader_pull(&reader, UNIT_BYTES);
    }
    cr_assert_eq(key_horizon_since(&horizon), 130, "the key is there until the get is closed");
    reader_end(&reader);
    cr_assert_eq(key_horizon_since(&horizon), 150);
}

Test(object_keys, get_that_is_closed_holds_the_horizon_until_its_answer_has_come)
{
    struct reader reader = {.by_hand = true};
    put_it();
    key_horizon_heard(&horizon, 100);
    meta.hold_records = true;
    reader_begin(&reader, "key");
    sim_loop_run_for(sim, 10 * NS_PER_MS);
    cr_assert_eq(held_count, 1);
    object_get_close(reader.get);
    key_horizon_heard(&horizon, 150);
    uint64_t since = key_horizon_since(&horizon);
    cr_assert(since == 100 || gateway->gets_in_flight == 0, "a call is open, and %lu was said", since);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(gateway->gets_in_flight, 0);
    cr_assert_eq(key_horizon_since(&horizon), 150);
    free(reader.data);
}

Test(object_keys, get_that_is_refused_holds_nothing)
{
    struct reader reader = {.by_hand = true};
    put_it();
    key_horizon_heard(&horizon, 100);
    meta.refusal = STATUS_KEY_REVOKED;
    reader_begin(&reader, "key");
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(reader.opened, STATUS_KEY_REVOKED);
    key_horizon_heard(&horizon, 150);
    cr_assert_eq(key_horizon_since(&horizon), 150);
    reader_end(&reader);
    cr_assert_eq(get_object("no such key", data, 0, 0), STATUS_NOT_FOUND);
    cr_assert_eq(key_horizon_since(&horizon), 150);
}

Test(object_keys, put_holds_the_horizon_from_before_its_leaf_until_its_key_is_wiped)
{
    struct writer writer;
    memset(&writer, 0, sizeof(writer));
    key_horizon_heard(&horizon, 100);
    writer.limit = 2 * UNIT_BYTES;
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    key_horizon_heard(&horizon, 150);
    cr_assert_eq(key_horizon_since(&horizon), 100);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(key_horizon_since(&horizon), 100);
    object_put_abort(writer.put);
    cr_assert(run_until(&writer.done));
    cr_assert_eq(key_horizon_since(&horizon), 150);
    put_it();
    cr_assert_eq(key_horizon_since(&horizon), 150);
}

/* ---- a long get ------------------------------------------------------------------------------------ */

/* Open a get that is read by hand, with its first unit read. */
static void open_slow(struct reader *reader)
{
    *reader = (struct reader){.by_hand = true};
    reader_begin(reader, "key");
    for (unsigned i = 0; i < 100 && reader->taken == 0; i++) {
        sim_loop_run_for(sim, 10 * NS_PER_MS);
        if (reader->want > 0) {
            reader_pull(reader, UNIT_BYTES);
        }
    }
    cr_assert_gt(reader->taken, 0);
}

/* Read a unit each step until the end, or until `until_ns`. Returns when the last byte came. */
static uint64_t read_slowly(struct reader *reader, uint64_t until_ns)
{
    uint64_t last_ns = now_ns();
    while (!reader->done && now_ns() < until_ns) {
        sim_loop_run_for(sim, STEP_NS);
        if (reader_pull(reader, UNIT_BYTES) > 0) {
            last_ns = now_ns();
        }
    }
    cr_assert_eq(memcmp(reader->data, data, reader->taken), 0, "never wrong bytes");
    return last_ns;
}

static void get_stops_when_refused(enum status refusal)
{
    put_it();
    struct reader reader;
    open_slow(&reader);
    meta.refusal = refusal;
    uint64_t refused_ns = now_ns();
    uint64_t last_ns = read_slowly(&reader, refused_ns + 20 * NS_PER_S);
    cr_assert_eq(reader.status, refusal, "%s", status_name(reader.status));
    cr_assert_lt(last_ns, refused_ns + LEASE_NS);
    cr_assert_gt(last_ns, refused_ns + LEASE_NS / 2, "a cached key serves until its lease is over");
    cr_assert_lt(reader.taken, OBJECT_BYTES);
    reader_end(&reader);
    cr_assert_eq(get_object("key", data, 0, 0), refusal);
    meta.refusal = STATUS_OK;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED, "a refusal is not remembered");
}

Test(object_keys, long_get_stops_within_the_lease_after_a_revocation)
{
    get_stops_when_refused(STATUS_KEY_REVOKED);
}

Test(object_keys, long_get_stops_within_the_lease_when_the_kms_goes_away)
{
    get_stops_when_refused(STATUS_KEY_AWAY);
}

Test(object_keys, long_get_goes_on_when_the_lease_is_renewed)
{
    put_it();
    unsigned calls = meta.key_calls;
    struct reader reader;
    open_slow(&reader);
    read_slowly(&reader, now_ns() + 60 * NS_PER_S);
    cr_assert_eq(reader.status, STATUS_CLOSED);
    cr_assert_eq(reader.taken, OBJECT_BYTES);
    cr_assert_geq(meta.key_calls, calls + 5, "asked again for each lease");
    reader_end(&reader);
}

Test(object_keys, long_get_survives_a_revocation_that_is_taken_back_within_the_lease)
{
    put_it();
    struct reader reader;
    open_slow(&reader);
    meta.refusal = STATUS_KEY_REVOKED;
    read_slowly(&reader, now_ns() + LEASE_NS / 2);
    meta.refusal = STATUS_OK;
    read_slowly(&reader, now_ns() + 60 * NS_PER_S);
    cr_assert_eq(reader.status, STATUS_CLOSED);
    reader_end(&reader);
}

Test(object_keys, process_that_stood_still_beyond_the_lease_hands_nothing_out)
{
    put_it();
    struct reader reader;
    open_slow(&reader);
    sim_loop_run_for(sim, STEP_NS);
    meta.refusal = STATUS_KEY_REVOKED;
    sim_loop_pause(sim, true);
    sim_loop_run_for(sim, LEASE_NS);
    cr_assert_eq(reader_pull(&reader, UNIT_BYTES), 0, "before any timer has run");
    sim_loop_pause(sim, false);
    cr_assert_not(reader.done);
    read_slowly(&reader, now_ns() + 10 * NS_PER_S);
    cr_assert_eq(reader.status, STATUS_KEY_REVOKED);
    cr_assert_leq(reader.taken, 2u * UNIT_BYTES);
    reader_end(&reader);
}

Test(object_keys, get_without_an_answer_to_the_renewal_ends_in_time)
{
    put_it();
    struct reader reader;
    open_slow(&reader);
    meta.hold_keys = true;
    uint64_t last_ns = read_slowly(&reader, now_ns() + 20 * NS_PER_S);
    cr_assert_eq(reader.status, STATUS_TIMEOUT);
    cr_assert_lt(last_ns, now_ns() - NS_PER_S);
    reader_end(&reader);
}

Test(object_keys, lease_counts_from_the_moment_in_which_it_was_asked_for)
{
    put_it();
    meta.hold_keys = true;
    struct reader reader = {.by_hand = true};
    reader_begin(&reader, "key");
    sim_loop_run_for(sim, LEASE_NS * 3 / 4);
    cr_assert_eq(held_count, 1);
    held_count = 0;
    answer_key(held[0]);
    sim_loop_run_for(sim, STEP_NS);
    cr_assert_gt(reader_pull(&reader, UNIT_BYTES), 0);
    sim_loop_run_for(sim, LEASE_NS / 4);
    cr_assert_eq(reader_pull(&reader, UNIT_BYTES), 0, "the lease is over");
    reader_end(&reader);
}

Test(object_keys, key_that_comes_after_its_lease_is_not_used)
{
    put_it();
    meta.dek_lease_ms = 1000;
    meta.hold_keys = true;
    struct reader reader = {.by_hand = true};
    reader_begin(&reader, "key");
    sim_loop_run_for(sim, 1500 * NS_PER_MS);
    held_count = 0;
    answer_key(held[0]);
    sim_loop_run_for(sim, STEP_NS);
    cr_assert(reader.done);
    cr_assert_eq(reader.status, STATUS_TIMEOUT);
    reader_end(&reader);
}

Test(object_keys, nothing_but_the_leaf_is_left_in_memory_after_the_lease)
{
    put_it();
    struct reader reader;
    open_slow(&reader);
    uint32_t used = key_pool_in_use(gateway->keys);
    cr_assert(gateway->sealer_is_set);
    sim_loop_run_for(sim, LEASE_NS + NS_PER_S);
    cr_assert_eq(key_pool_in_use(gateway->keys), used - 2, "the DEK and the key of the object");
    cr_assert_not(gateway->sealer_is_set);
    reader_end(&reader);
    cr_assert_eq(key_pool_in_use(gateway->keys), used - 3);
}

/* ---- a long put ------------------------------------------------------------------------------------ */

/* Write a unit each step until the put has ended, or until `until_ns`. */
static void write_slowly(struct writer *writer, uint64_t until_ns)
{
    while (!writer->done && now_ns() < until_ns) {
        writer->limit += UNIT_BYTES;
        writer_push(writer);
        sim_loop_run_for(sim, STEP_NS);
    }
}

static unsigned puts_seen(void)
{
    unsigned puts = 0;
    for (unsigned i = 0; i < NODES; i++) {
        puts += nodes[i].puts;
    }
    return puts;
}

static void put_stops_when_refused(enum status refusal)
{
    struct writer writer = {.limit = CHUNK_BYTES_MAX, .finish = true};
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    writer_push(&writer);
    sim_loop_run_for(sim, STEP_NS);
    meta.refusal = refusal;
    uint64_t refused_ns = now_ns();
    write_slowly(&writer, now_ns() + 60 * NS_PER_S);
    cr_assert(writer.done);
    cr_assert_eq(writer.status, refusal, "%s", status_name(writer.status));
    cr_assert_lt(now_ns(), refused_ns + LEASE_NS + 2 * STEP_NS);
    cr_assert_eq(puts_seen(), 3, "the first chunk");
    sim_loop_run_for(sim, NS_PER_S);
    check_copies(3);
    cr_assert(is_given_up(0));
    cr_assert_eq(put_object("key", data, 1000, 0, false), refusal);
    meta.refusal = STATUS_OK;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK, "a refusal is not remembered");
}

Test(object_keys, long_put_stops_within_the_lease_after_a_revocation)
{
    put_stops_when_refused(STATUS_KEY_REVOKED);
}

Test(object_keys, long_put_stops_within_the_lease_when_the_kms_goes_away)
{
    put_stops_when_refused(STATUS_KEY_AWAY);
}

Test(object_keys, long_put_keeps_its_dek_over_renewed_leases_and_a_rotation)
{
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    write_slowly(&writer, now_ns() + LEASE_NS);
    meta.dek_version = 2;
    write_slowly(&writer, now_ns() + 60 * NS_PER_S);
    cr_assert_eq(writer.status, STATUS_OK);
    Trilith__Object *object = object_record("key");
    cr_assert_eq(object->dek_version, 1, "under one DEK from start to end");
    trilith__object__free_unpacked(object, NULL);
    cr_assert_geq(meta.key_calls, 5);
    check_copies(3);
    cr_assert_eq(meta.given_up_count, 0);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert_eq(put_object("new", data, 100, 0, false), STATUS_OK);
    object = object_record("new");
    cr_assert_eq(object->dek_version, 2);
    trilith__object__free_unpacked(object, NULL);
}

Test(object_keys, chunk_that_has_to_be_sealed_again_waits_for_the_key)
{
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].put_status = STATUS_IO;
        nodes[i].put_failures = 2;
    }
    meta.dek_lease_ms = 50; /* Over when the pause is. */
    cr_assert_eq(put_object("key", data, 300000, 0, false), STATUS_OK);
    cr_assert_geq(meta.key_calls, 2);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    check_copies(3);
}

/* With a short lease the put itself is refused the key for its second try, with a long one that try is refused. */
static void commit_is_refused_after_one_without_an_answer(uint32_t dek_lease_ms)
{
    meta.dek_lease_ms = dek_lease_ms;
    meta.commits_to_lose = 1;
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, 1000, false);
    writer_push(&writer);
    for (unsigned i = 0; i < 1000 && meta.commits == 0; i++) {
        sim_loop_run_for(sim, NS_PER_MS);
    }
    meta.refusal = STATUS_KEY_REVOKED;
    cr_assert(run_until(&writer.done));
    cr_assert_eq(writer.status, STATUS_TIMEOUT, "it may be there");
    sim_loop_run_for(sim, 5 * NS_PER_S);
    meta.refusal = STATUS_OK;
    cr_assert_eq(meta.condemned_count, 0);
    cr_assert_eq(meta.given_up_count, 0);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
}

Test(object_keys, commit_without_an_answer_condemns_nothing_when_the_key_is_refused)
{
    commit_is_refused_after_one_without_an_answer(1000);
}

Test(object_keys, commit_without_an_answer_condemns_nothing_when_the_next_one_is_refused)
{
    commit_is_refused_after_one_without_an_answer(60000);
}

Test(object_keys, stock_of_leaves_does_not_hammer_a_service_that_refuses)
{
    meta.dek_lease_ms = 60000;
    meta.leaf_status = STATUS_OK;
    cr_assert_eq(put_object("key", data, 100, 0, false), STATUS_OK);
    meta.leaf_status = STATUS_KEY_REVOKED;
    for (unsigned i = 1; i < LEAF_LEASE_COUNT; i++) {
        cr_assert_eq(put_object("key", data, 100, 0, false), STATUS_OK, "%u", i);
    }
    cr_assert_leq(meta.leaf_calls, LEAF_LEASE_COUNT / 4 + 2);
    unsigned calls = meta.leaf_calls;
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(meta.leaf_calls, calls);
    cr_assert_eq(put_object("key", data, 100, 0, false), STATUS_KEY_REVOKED, "the stock is used up");
}

Test(object_keys, leases_shorter_than_any_transfer_slow_it_down_and_no_more)
{
    meta.dek_lease_ms = 5;
    cr_assert_eq(put_object("key", data, OBJECT_BYTES, 7, false), STATUS_OK);
    unsigned calls = meta.key_calls;
    struct reader reader = {.by_hand = true};
    reader_begin(&reader, "key");
    for (unsigned i = 0; i < 10000 && !reader.done; i++) {
        sim_loop_run_for(sim, 3 * NS_PER_MS);
        if (reader.want > 0) {
            reader_pull(&reader, UNIT_BYTES);
        }
    }
    cr_assert_eq(reader.status, STATUS_CLOSED);
    cr_assert_eq(memcmp(reader.data, data, OBJECT_BYTES), 0);
    cr_assert_geq(meta.key_calls, calls + 20);
    reader_end(&reader);
}

/* ---- leaves that are given up ----------------------------------------------------------------------- */

Test(object_keys, leaf_of_a_put_that_sent_something_is_given_up_once)
{
    struct writer writer = {.limit = CHUNK_BYTES_MAX + 5};
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    writer_push(&writer);
    sim_loop_run_for(sim, NS_PER_S);
    object_put_abort(writer.put);
    cr_assert(run_until(&writer.done));
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.given_up_count, 1);
    cr_assert(is_given_up(0));
    check_copies(3);
}

Test(object_keys, leaf_of_a_put_that_sent_nothing_is_not_reported)
{
    struct writer writer = {.limit = UNIT_BYTES + 5};
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    writer_push(&writer);
    sim_loop_run_for(sim, NS_PER_S);
    object_put_abort(writer.put);
    cr_assert(run_until(&writer.done));
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.aborts, 0);
}

Test(object_keys, leaf_of_an_object_without_chunks_is_given_up_when_the_commit_is_refused)
{
    meta.commit_status = STATUS_EXISTS;
    cr_assert_eq(put_object("key", data, 0, 0, false), STATUS_EXISTS);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(meta.given_up_count, 1);
    cr_assert_eq(meta.condemned_count, 0);
}

Test(object_keys, leaf_is_kept_while_a_put_goes_on_after_a_failed_chunk)
{
    nodes[0].put_status = STATUS_IO;
    nodes[0].put_failures = 1;
    nodes[1].put_status = STATUS_IO;
    nodes[1].put_failures = 1;
    cr_assert_eq(put_object("key", data, OBJECT_BYTES, 0, false), STATUS_OK);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_gt(meta.condemned_count, 0);
    cr_assert_eq(meta.given_up_count, 0);
}

Test(object_keys, leaf_is_given_up_although_all_its_chunks_were_condemned_before)
{
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].put_status = STATUS_IO;
        nodes[i].put_failures = 1000;
    }
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_UNAVAILABLE);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.given_up_count, 1);
}

Test(object_keys, leaf_is_kept_when_the_outcome_of_the_commit_is_unknown)
{
    meta.commits_to_lose = 1000;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_TIMEOUT);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(meta.aborts, 0);
}

/* ---- credentials ------------------------------------------------------------------------------------ */

static struct {
    struct credential_lookup lookup;
    bool done;
    enum status status;
} probe;

static void credential_done(struct credential_lookup *lookup, enum status status, const struct credential *credential)
{
    (void)lookup;
    (void)credential;
    probe.done = true;
    probe.status = status;
}

static enum status look_up(void)
{
    memset(&probe, 0, sizeof(probe));
    memcpy(probe.lookup.access_key, "KNOWN", sizeof("KNOWN"));
    probe.lookup.done = credential_done;
    gateway_credential(gateway, &probe.lookup);
    cr_assert(run_until(&probe.done));
    return probe.status;
}

Test(object_keys, credentials_serve_until_their_lease_is_over_and_no_longer)
{
    cr_assert_eq(look_up(), STATUS_OK);
    meta.refusal = STATUS_KEY_AWAY;
    sim_loop_run_for(sim, 9 * NS_PER_S);
    cr_assert_eq(look_up(), STATUS_OK);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(look_up(), STATUS_KEY_AWAY);
    meta.refusal = STATUS_KEY_REVOKED;
    sim_loop_run_for(sim, 1100 * NS_PER_MS);
    unsigned calls = meta.credential_calls;
    for (unsigned i = 0; i < 50; i++) {
        cr_assert_eq(look_up(), STATUS_KEY_REVOKED);
    }
    cr_assert_eq(meta.credential_calls, calls + 1, "who has no access is no load");
    meta.refusal = STATUS_OK;
    sim_loop_run_for(sim, 1100 * NS_PER_MS);
    cr_assert_eq(look_up(), STATUS_OK, "a refusal is not remembered for more than a second");
}

/* ---- suites ----------------------------------------------------------------------------------------- */

static enum status put_with_suite(enum suite suite)
{
    struct writer writer = {.finish = true, .suite = suite};
    writer_begin(&writer, "key", data, OBJECT_BYTES, false);
    writer_push(&writer);
    cr_assert(run_until(&writer.done));
    return writer.status;
}

Test(object_keys, bucket_of_the_second_suite_holds_what_is_put_into_it)
{
    if (!suite_is_supported(gateway->sealer, SUITE_SM4_GCM)) {
        cr_assert_eq(put_with_suite(SUITE_SM4_GCM), STATUS_UNSUPPORTED);
        return;
    }
    cr_assert_eq(put_with_suite(SUITE_SM4_GCM), STATUS_OK);
    Trilith__Object *object = object_record("key");
    cr_assert_eq(object->suite, SUITE_SM4_GCM);
    trilith__object__free_unpacked(object, NULL);
    for (unsigned i = 0; i < NODES; i++) {
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            cr_assert_eq(nodes[i].copies[c].suite, SUITE_SM4_GCM);
        }
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, CHUNK_BYTES_MAX - 10, 20), STATUS_CLOSED);
    close_gateway();
    open_gateway(SEALER_REFERENCE); /* It has no SM4. */
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_UNSUPPORTED, "neither corrupt nor lost");
}

Test(object_keys, gateway_without_a_suite_refuses_it_and_serves_the_other)
{
    close_gateway();
    open_gateway(SEALER_REFERENCE);
    cr_assert_eq(put_with_suite(SUITE_SM4_GCM), STATUS_UNSUPPORTED);
    cr_assert_eq(put_with_suite((enum suite)99), STATUS_UNSUPPORTED);
    cr_assert_eq(puts_seen(), 0);
    cr_assert_eq(meta.object_count, 0);
    cr_assert_eq(put_with_suite(SUITE_AES_256_GCM), STATUS_OK);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert_eq(gateway->puts_in_flight, 0);
}
