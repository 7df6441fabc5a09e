/* test_object.c - whole objects written and read through one gateway, a scripted metadata service and four scripted
 * nodes (object_world.h).
 *
 * What is promised: right bytes or an error, never wrong bytes; three copies of whatever was committed; whatever was
 * sent and not committed is condemned, and its leaf given up; no slab and no key is left behind. */
#include "tests/unit/object_client.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(object, .init = world_open, .fini = world_close, .timeout = 240);

/* ---- round trips ------------------------------------------------------------------------------------ */

static void round_trip(size_t bytes)
{
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, bytes + 17, false), STATUS_OK, "%zu bytes", bytes);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED, "%zu bytes", bytes);
    free(data);
}

Test(object, of_every_boundary_size_comes_back)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, UNIT_BYTES - 1, UNIT_BYTES, UNIT_BYTES + 1, 5 * UNIT_BYTES};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        round_trip(sizes[i]);
    }
}

Test(object, of_a_chunk_more_or_less_comes_back)
{
    round_trip(CHUNK_BYTES_MAX - 1);
    round_trip(CHUNK_BYTES_MAX);
    round_trip(CHUNK_BYTES_MAX + 1);
}

Test(object, of_several_chunks_comes_back_whole_and_in_ranges)
{
    size_t bytes = 5u * CHUNK_BYTES_MAX + 12345;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, 0, false), STATUS_OK);
    check_copies(3);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, bytes - 1, 1), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, UNIT_BYTES - 1, 2), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, CHUNK_BYTES_MAX - 1, 2), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, 3u * CHUNK_BYTES_MAX, 1), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, 100000, 3u * CHUNK_BYTES_MAX), STATUS_CLOSED);
    free(data);
}

Test(object, carries_its_size_etag_and_metadata)
{
    uint8_t *data = make_data(10);
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, 10, false);
    writer_push(&writer);
    cr_assert(run_until(&writer.done));
    cr_assert_eq(writer.result.modified_ms, 1234567);
    struct reader reader = {0};
    reader_begin(&reader, "key");
    cr_assert(run_until(&reader.done));
    cr_assert_eq(reader.info.size, 10);
    cr_assert_str_eq(reader.info.etag, writer.result.etag);
    cr_assert_eq(strlen(writer.result.etag), 34);
    size_t cursor = 0;
    const char *name = NULL;
    const char *value = NULL;
    size_t name_bytes = 0;
    size_t value_bytes = 0;
    cr_assert(object_meta_next(reader.info.meta, &cursor, &name, &name_bytes, &value, &value_bytes));
    cr_assert(name_bytes == 12 && memcmp(name, "content-type", 12) == 0);
    cr_assert(value_bytes == 10 && memcmp(value, "text/plain", 10) == 0);
    reader_end(&reader);
    free(data);
}

Test(object, that_is_not_there_is_not_found)
{
    cr_assert_eq(get_object("nothing", NULL, 0, 0), STATUS_NOT_FOUND);
}

Test(object, stands_nowhere_in_plaintext)
{
    size_t bytes = 3u * UNIT_BYTES;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, 0, false), STATUS_OK);
    for (unsigned i = 0; i < NODES; i++) {
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            cr_assert_null(memmem(nodes[i].copies[c].data, nodes[i].copies[c].bytes, data + 1000, 16));
        }
    }
    free(data);
}

Test(object, of_many_writers_at_once_get_through_with_few_slabs)
{
    size_t bytes = 3u * CHUNK_BYTES_MAX + 5;
    uint8_t *data = make_data(bytes);
    struct writer writers[4];
    memset(writers, 0, sizeof(writers));
    static const char *keys[4] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 4; i++) {
        writers[i].finish = true;
        writers[i].random = i + 1;
        writer_begin(&writers[i], keys[i], data, bytes, false);
        writer_push(&writers[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(run_until(&writers[i].done));
        cr_assert_eq(writers[i].status, STATUS_OK);
    }
    check_copies(3);
    struct reader readers[4];
    memset(readers, 0, sizeof(readers));
    for (unsigned i = 0; i < 4; i++) {
        reader_begin(&readers[i], keys[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(run_until(&readers[i].done));
        cr_assert_eq(readers[i].status, STATUS_CLOSED);
        cr_assert_eq(memcmp(readers[i].data, data, bytes), 0);
        reader_end(&readers[i]);
    }
    cr_assert_leq(meta.leaf_calls, 2);
    cr_assert_leq(meta.key_calls, 2);
    free(data);
}

Test(object, puts_above_the_limit_are_refused)
{
    struct writer writers[8];
    memset(writers, 0, sizeof(writers));
    for (unsigned i = 0; i < 8; i++) {
        writer_begin(&writers[i], "key", NULL, 100, false);
    }
    struct object_meta no_meta = {.used = 0};
    struct object_put_request request = {.tenant_id = 1,
                                         .bucket_id = BUCKET_ID,
                                         .key = (const uint8_t *)"k",
                                         .key_bytes = 1,
                                         .size = 1,
                                         .meta = &no_meta};
    cr_assert_null(object_put_start(gateway, &request));
    for (unsigned i = 0; i < 8; i++) {
        writers[i].detached = true;
        object_put_detach(writers[i].put);
    }
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
}

/* ---- reading around damage --------------------------------------------------------------------------- */

static const size_t damaged_bytes = 2u * CHUNK_BYTES_MAX + 777;

static uint8_t *put_for_damage(void)
{
    uint8_t *data = make_data(damaged_bytes);
    cr_assert_eq(put_object("key", data, damaged_bytes, 0, false), STATUS_OK);
    return data;
}

Test(object, read_survives_any_one_replica_that_flips_a_byte)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = true;
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        nodes[i].flip = false;
    }
    cr_assert_gt(gateway->replica_mismatches, 0);
    free(data);
}

Test(object, read_survives_a_replica_that_gives_another_chunk)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < 3; i++) {
        nodes[i].swap = true;
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        nodes[i].swap = false;
    }
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].swap = true;
    }
    enum status status = get_object("key", data, 0, 0);
    cr_assert(status == STATUS_CORRUPT || status == STATUS_CLOSED);
    cr_assert_gt(gateway->replica_mismatches, 0);
    free(data);
}

Test(object, read_survives_a_replica_that_cuts_its_answer_short)
{
    uint8_t *data = put_for_damage();
    nodes[0].cut = true;
    nodes[1].cut = true;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_survives_replicas_that_fail_or_hang)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_CORRUPT, STATUS_NOT_FOUND, STATUS_GONE,
                                           STATUS_UNAVAILABLE};
    uint8_t *data = put_for_damage();
    for (size_t s = 0; s < ARRAY_LENGTH(statuses); s++) {
        nodes[0].get_status = statuses[s];
        nodes[1].get_status = statuses[s];
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED, "%s", status_name(statuses[s]));
    }
    nodes[0].get_status = STATUS_OK;
    nodes[1].get_status = STATUS_OK;
    nodes[2].hold_gets = true;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_survives_a_node_that_dies_midway)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].gets = 0;
    }
    nodes[0].gets_before_death = 1;
    nodes[3].gets_before_death = 2;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_of_three_damaged_copies_is_an_error)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = true;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CORRUPT);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = false;
        nodes[i].get_status = STATUS_GONE;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_GONE);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].get_status = STATUS_OK;
        nodes[i].hold_gets = true;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_TIMEOUT);
    free(data);
}

Test(object, read_asks_each_replica_at_most_twice)
{
    uint8_t *data = make_data(100);
    cr_assert_eq(put_object("key", data, 100, 0, false), STATUS_OK);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].get_status = STATUS_IO;
        nodes[i].gets = 0;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_UNAVAILABLE);
    unsigned gets = 0;
    for (unsigned i = 0; i < NODES; i++) {
        cr_assert_leq(nodes[i].gets, 2);
        gets += nodes[i].gets;
    }
    cr_assert_eq(gets, 6);
    free(data);
}

Test(object, record_with_a_changed_size_is_refused)
{
    uint8_t *data = make_data(0);
    cr_assert_eq(put_object("key", data, 0, 0, false), STATUS_OK);
    meta.object_size_lie = 1;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CORRUPT);
    free(data);
}

Test(object, get_closed_at_any_moment_leaves_nothing_behind)
{
    uint8_t *data = put_for_damage();
    for (unsigned steps = 0; steps < 400; steps += 7) {
        struct reader reader = {0};
        reader_begin(&reader, "key");
        for (unsigned i = 0; i < steps && !reader.done; i++) {
            sim_loop_step(sim);
        }
        reader_end(&reader);
        sim_loop_run_for(sim, 100 * NS_PER_MS);
        cr_assert_eq(gateway->gets_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
    }
    free(data);
}

/* ---- writing around failures ------------------------------------------------------------------------- */

Test(object, put_goes_to_another_pg_when_a_member_fails)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_FENCED, STATUS_FULL, STATUS_BUSY, STATUS_CONFLICT};
    for (size_t s = 0; s < ARRAY_LENGTH(statuses); s++) {
        for (unsigned i = 0; i < NODES; i++) {
            nodes[i].put_status = statuses[s];
            nodes[i].put_failures = i == 0 ? 1 : 0;
        }
        size_t bytes = 2u * CHUNK_BYTES_MAX + 9;
        uint8_t *data = make_data(bytes);
        cr_assert_eq(put_object("key", data, bytes, 3, false), STATUS_OK, "%s", status_name(statuses[s]));
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        free(data);
        sim_loop_run_for(sim, 10 * NS_PER_S);
    }
    cr_assert_gt(meta.condemned_count, 0);
}

Test(object, put_keeps_three_copies_and_condemns_the_failed_attempt)
{
    nodes[0].put_status = STATUS_IO;
    nodes[0].put_failures = 1;
    nodes[1].put_status = STATUS_IO;
    nodes[1].put_failures = 1;
    uint8_t *data = make_data(300000);
    cr_assert_eq(put_object("key", data, 300000, 0, false), STATUS_OK);
    sim_loop_run_for(sim, NS_PER_S);
    check_copies(3);
    free(data);
}

Test(object, put_survives_a_member_that_hangs)
{
    nodes[2].hold_puts = true;
    uint8_t *data = make_data(300000);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(put_object("key", data, 300000, 0, false), STATUS_OK);
    }
    cr_assert_leq(nodes[2].puts, 2, "a disk that hangs is left alone for a while");
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, put_that_no_member_takes_fails_and_is_condemned)
{
    for (unsigned i = 1; i < NODES; i++) {
        nodes[i].put_status = STATUS_IO;
        nodes[i].put_failures = 1000;
    }
    uint8_t *data = make_data(3u * CHUNK_BYTES_MAX);
    cr_assert_eq(put_object("key", data, 3u * CHUNK_BYTES_MAX, 0, false), STATUS_UNAVAILABLE);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.object_count, 0);
    check_copies(3);
    cr_assert_eq(gateway->puts_in_flight, 0);
    free(data);
}

Test(object, put_with_two_healthy_domains_depends_on_the_bucket)
{
    uint8_t *data = make_data(100000);
    publish_map(3, 1u << 1);
    cr_assert_eq(put_object("key", data, 100000, 0, false), STATUS_UNAVAILABLE);
    cr_assert_eq(put_object("key", data, 100000, 0, true), STATUS_OK);
    check_copies(2);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, put_aborted_midway_leaves_nothing)
{
    size_t bytes = 4u * CHUNK_BYTES_MAX;
    uint8_t *data = make_data(bytes);
    for (unsigned steps = 0; steps < 3000; steps += 211) {
        struct writer writer = {.random = steps + 1};
        writer_begin(&writer, "key", data, bytes, false);
        writer_push(&writer);
        for (unsigned i = 0; i < steps; i++) {
            sim_loop_step(sim);
        }
        cr_assert_not(writer.done);
        object_put_abort(writer.put);
        cr_assert_not(writer.done, "not within the call");
        cr_assert(run_until(&writer.done));
        cr_assert_eq(writer.status, STATUS_CANCELLED);
        sim_loop_run_for(sim, 5 * NS_PER_S);
        cr_assert_eq(gateway->puts_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
    }
    check_copies(3);
    cr_assert_eq(meta.commits, 0);
    free(data);
}

Test(object, put_detached_before_its_end_is_aborted)
{
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    struct writer writer = {0};
    writer_begin(&writer, "key", data, CHUNK_BYTES_MAX + 5, false);
    writer_push(&writer);
    sim_loop_run_for(sim, 10 * NS_PER_MS);
    writer.detached = true;
    object_put_detach(writer.put);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
    check_copies(3);
    free(data);
}

Test(object, put_detached_after_its_end_is_committed)
{
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, CHUNK_BYTES_MAX + 5, false);
    writer_push(&writer);
    writer.detached = true;
    object_put_detach(writer.put);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.object_count, 1);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, commit_that_is_refused_condemns_the_chunks)
{
    static const enum status refusals[][2] = {{STATUS_CONFLICT, STATUS_UNAVAILABLE},
                                              {STATUS_NOT_FOUND, STATUS_NOT_FOUND},
                                              {STATUS_EXISTS, STATUS_EXISTS},
                                              {STATUS_DENIED, STATUS_DENIED}};
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    for (size_t i = 0; i < ARRAY_LENGTH(refusals); i++) {
        meta.commit_status = refusals[i][0];
        cr_assert_eq(put_object("key", data, CHUNK_BYTES_MAX + 5, 0, false), refusals[i][1]);
        sim_loop_run_for(sim, NS_PER_S);
        check_copies(3);
    }
    free(data);
}

Test(object, commit_whose_answer_is_lost_is_asked_for_again)
{
    meta.commits_to_lose = 1;
    uint8_t *data = make_data(1000);
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    cr_assert_eq(meta.commits, 2);
    cr_assert_eq(meta.condemned_count, 0);
    free(data);
}

Test(object, commit_without_any_answer_condemns_nothing)
{
    meta.commits_to_lose = 1000;
    uint8_t *data = make_data(1000);
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_TIMEOUT);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(meta.condemned_count, 0, "the object may be there");
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, without_a_metadata_service_ends_in_time)
{
    uint8_t *data = make_data(100000);
    sim_net_hold(net, rpc_server_address(meta.server), true);
    cr_assert_eq(put_object("key", data, 100000, 0, false), STATUS_UNAVAILABLE);
    enum status status = get_object("key", data, 0, 0);
    cr_assert(status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
    sim_net_hold(net, rpc_server_address(meta.server), false);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    round_trip(1000);
    free(data);
}

Test(object, put_without_a_key_is_refused)
{
    uint8_t *data = make_data(1000);
    meta.leaf_status = STATUS_DENIED;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_DENIED);
    meta.leaf_status = STATUS_NOT_FOUND;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_NOT_FOUND);
    free(data);
}

Test(object, gateway_stops_in_the_middle_of_everything)
{
    size_t bytes = 4u * CHUNK_BYTES_MAX;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("there", data, bytes, 0, false), STATUS_OK);
    for (unsigned steps = 0; steps < 1200; steps += 97) {
        struct writer writer = {.random = steps + 1, .finish = true};
        writer_begin(&writer, "key", data, bytes, false);
        writer_push(&writer);
        struct reader reader = {0};
        reader_begin(&reader, "there");
        for (unsigned i = 0; i < steps && !writer.done; i++) {
            sim_loop_step(sim);
        }
        if (!reader.done) {
            reader_end(&reader); /* The front closes its gets before it goes. */
        } else {
            object_get_close(reader.get);
            free(reader.data);
        }
        close_gateway();
        cr_assert(writer.done);
        open_gateway(SEALER_FASTEST);
    }
    free(data);
}

/* ---- credentials -------------------------------------------------------------------------------------- */

static struct {
    struct credential_lookup lookup;
    bool done;
    enum status status;
    char secret[SECRET_KEY_BYTES_MAX + 1];
    enum role role;
} probe;

static void credential_done(struct credential_lookup *lookup, enum status status, const struct credential *credential)
{
    (void)lookup;
    probe.done = true;
    probe.status = status;
    if (status == STATUS_OK) {
        memcpy(probe.secret, credential->secret_key, strlen(credential->secret_key) + 1);
        probe.role = credential->role;
    }
}

static enum status look_up(const char *access_key)
{
    memset(&probe, 0, sizeof(probe));
    snprintf(probe.lookup.access_key, sizeof(probe.lookup.access_key), "%s", access_key);
    probe.lookup.done = credential_done;
    gateway_credential(gateway, &probe.lookup);
    cr_assert_not(probe.done, "not within the call");
    cr_assert(run_until(&probe.done));
    return probe.status;
}

Test(object, credential_is_fetched_once_per_lease)
{
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_str_eq(probe.secret, "a secret of more than thirty-two bytes!!");
    cr_assert_eq(probe.role, ROLE_EDITOR);
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_eq(meta.credential_calls, 1);
    sim_loop_run_for(sim, 11 * NS_PER_S);
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_eq(meta.credential_calls, 2);
}

Test(object, credential_that_does_not_exist_is_remembered_for_a_second)
{
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(meta.credential_calls, 1);
    sim_loop_run_for(sim, 2 * NS_PER_S);
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(meta.credential_calls, 2);
}

Test(object, credential_lookup_can_be_given_up)
{
    memset(&probe, 0, sizeof(probe));
    snprintf(probe.lookup.access_key, sizeof(probe.lookup.access_key), "KNOWN");
    probe.lookup.done = credential_done;
    gateway_credential(gateway, &probe.lookup);
    gateway_credential_cancel(&probe.lookup);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_not(probe.done);
}
