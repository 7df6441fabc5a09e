/* test_chunk_store.c - puts, gets and erases on a simulated disk: what is acknowledged stays, nothing else does. */
#include "tests/unit/chunk_store_fixture.h"

#define CAPACITY (8 * STORE_SEGMENT_BYTES_MIN + MIB(1))

static struct world world;

static void setup(void)
{
    world = world_new(1, CAPACITY);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
}

static void teardown(void)
{
    world_free(&world);
}

TestSuite(chunk_store, .init = setup, .fini = teardown);

static const uint32_t border_sizes[] = {1,
                                        15,
                                        4095,
                                        4096,
                                        4097,
                                        UNIT_BYTES - 1,
                                        UNIT_BYTES,
                                        UNIT_BYTES + 1,
                                        2 * UNIT_BYTES - 1,
                                        2 * UNIT_BYTES,
                                        2 * UNIT_BYTES + 1,
                                        CHUNK_BYTES_MAX - 1,
                                        CHUNK_BYTES_MAX};

/* ---- put ------------------------------------------------------------------------------------------ */

Test(chunk_store, a_put_is_acknowledged_only_after_a_flush)
{
    struct probe *probe = probe_new(1);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    put_start_of(&world, probe, 4096);
    cr_assert_eq(probe->done_count, 0);
    while (!probe->done) {
        cr_assert(sim_loop_step(world.sim));
        if (sim_disk_io_count(world.disk, DISK_FLUSH) < flushes + 2) {
            cr_assert_eq(probe->done_count, 0); /* One flush for the segment's header, one for the batch. */
        }
    }
    cr_assert_eq(probe->status, STATUS_OK);
    cr_assert(world_holds_content(&world, 1, 4096));
    probe_free(probe);
}

Test(chunk_store, a_durable_write_needs_no_flush)
{
    world_close_store(&world);
    world.options.durable_writes = true;
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    cr_assert_eq(world_put(&world, 2, 4096), STATUS_OK);
    cr_assert_eq(sim_disk_io_count(world.disk, DISK_FLUSH), flushes);
    cr_assert(world_holds_content(&world, 2, 4096));
}

Test(chunk_store, puts_that_arrive_together_share_writes_and_flushes)
{
    struct probe *probes[64];
    cr_assert_eq(world_put(&world, 1000, 4096), STATUS_OK);
    uint64_t writes = sim_disk_io_count(world.disk, DISK_WRITE);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probes[i] = probe_new(i);
        put_start_of(&world, probes[i], 4096);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probe_wait(&world, probes[i]), STATUS_OK);
        cr_assert_eq(probes[i]->done_count, 1);
        probe_free(probes[i]);
    }
    cr_assert_leq(sim_disk_io_count(world.disk, DISK_WRITE) - writes, 2);
    cr_assert_leq(sim_disk_io_count(world.disk, DISK_FLUSH) - flushes, 2);
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(world_get(&world, i, 4096), STATUS_OK);
    }
    world_audit(&world);
}

Test(chunk_store, a_lone_put_waits_for_nobody)
{
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    world.store->options.group_wait_us = 1000000;
    uint64_t before = loop_now_ns(world.loop);
    cr_assert_eq(world_put(&world, 2, 4096), STATUS_OK);
    cr_assert_lt(loop_now_ns(world.loop) - before, NS_PER_MS);
}

Test(chunk_store, large_chunks_share_a_flush)
{
    struct probe *probes[4];
    cr_assert_eq(world_put(&world, 1000, 4096), STATUS_OK);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probes[i] = probe_new(i);
        put_start_of(&world, probes[i], MIB(1));
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probe_wait(&world, probes[i]), STATUS_OK);
        probe_free(probes[i]);
    }
    cr_assert_lt(sim_disk_io_count(world.disk, DISK_FLUSH) - flushes, 5);
}

Test(chunk_store, a_small_put_gets_through_between_large_ones)
{
    struct probe *large[8];
    struct probe *small = probe_new(500);
    uint32_t next = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(large); i++) {
        large[i] = probe_new(next++);
        put_start_of(&world, large[i], KIB(80));
    }
    put_start_of(&world, small, 100);
    while (!small->done && next < 200) {
        cr_assert(sim_loop_step(world.sim));
        for (unsigned i = 0; i < ARRAY_LENGTH(large); i++) {
            if (large[i]->done) {
                probe_free(large[i]);
                large[i] = probe_new(next++);
                put_start_of(&world, large[i], KIB(80));
            }
        }
    }
    cr_assert(small->done);
    cr_assert_lt(next, 60);
    for (unsigned i = 0; i < ARRAY_LENGTH(large); i++) {
        cr_assert_eq(probe_wait(&world, large[i]), STATUS_OK);
        probe_free(large[i]);
    }
    probe_free(small);
}

Test(chunk_store, the_same_put_again_is_acknowledged_and_another_chunk_of_that_id_is_refused)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, 5001), STATUS_EXISTS);
    cr_assert_eq(world_stats(&world).chunks, 1);
}

Test(chunk_store, concurrent_puts_of_one_id_store_it_once)
{
    struct probe *probes[8];
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probes[i] = probe_new(5);
        put_start_of(&world, probes[i], 70000);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probe_wait(&world, probes[i]), STATUS_OK);
        cr_assert_eq(probes[i]->done_count, 1);
        probe_free(probes[i]);
    }
    cr_assert_eq(world_stats(&world).chunks, 1);
    world_audit(&world);
}

Test(chunk_store, a_put_with_a_wrong_unit_crc_writes_nothing)
{
    struct probe *probe = probe_new(1);
    put_start_of(&world, probe, 100);
    cr_assert_eq(probe_wait(&world, probe), STATUS_OK);
    struct probe *bad = probe_new(2);
    bad->payload = aligned_buffer(100000);
    fill_content(2, bad->payload, 100000);
    fill_seals(2, bad->payload, 100000, bad->seals);
    bad->payload[99999] ^= 1;
    bad->put = (struct chunk_put){.header = {.id = chunk_id_of(2), .chunk_bytes = 100000, .suite = SUITE_AES_256_GCM},
                                  .payload = bad->payload,
                                  .seals = bad->seals,
                                  .done = put_done};
    chunk_store_put(world.store, &bad->put);
    cr_assert_eq(probe_wait(&world, bad), STATUS_CORRUPT);
    cr_assert_eq(world_get(&world, 2, 100000), STATUS_NOT_FOUND);
    probe_free(probe);
    probe_free(bad);
}

/* ---- get ------------------------------------------------------------------------------------------ */

Test(chunk_store, every_range_of_units_comes_back_identical)
{
    for (uint32_t i = 0; i < ARRAY_LENGTH(border_sizes); i++) {
        cr_assert_eq(world_put(&world, i, border_sizes[i]), STATUS_OK);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(border_sizes); i++) {
        uint32_t units = chunk_unit_count(border_sizes[i]);
        cr_assert_eq(world_get(&world, i, border_sizes[i]), STATUS_OK);
        for (uint32_t first = 0; first<units; first += units> 8 ? 21 : 1) {
            cr_assert_eq(world_get_units(&world, i, border_sizes[i], first, 1), STATUS_OK);
            cr_assert_eq(world_get_units(&world, i, border_sizes[i], first, units - first), STATUS_OK);
        }
        cr_assert_eq(world_get_units(&world, i, border_sizes[i], units, 1), STATUS_INVALID);
        cr_assert_eq(world_get_units(&world, i, border_sizes[i], 0, units + 1), STATUS_INVALID);
        cr_assert_eq(world_get_units(&world, i, border_sizes[i], UINT32_MAX, UINT32_MAX), STATUS_INVALID);
    }
    world_audit(&world);
}

Test(chunk_store, a_get_costs_one_disk_read)
{
    cr_assert_eq(world_put(&world, 1, CHUNK_BYTES_MAX), STATUS_OK);
    uint64_t reads = sim_disk_io_count(world.disk, DISK_READ);
    cr_assert_eq(world_get(&world, 1, CHUNK_BYTES_MAX), STATUS_OK);
    cr_assert_eq(sim_disk_io_count(world.disk, DISK_READ), reads + 1);
}

Test(chunk_store, a_get_into_a_small_buffer_is_refused)
{
    struct probe *probe = probe_new(1);
    cr_assert_eq(world_put(&world, 1, 2 * UNIT_BYTES), STATUS_OK);
    probe->payload = aligned_buffer(UNIT_BYTES);
    probe->get = (struct chunk_get){
        .id = chunk_id_of(1), .buffer = probe->payload, .buffer_bytes = UNIT_BYTES, .done = get_done};
    chunk_store_get(world.store, &probe->get);
    cr_assert_eq(probe->done_count, 0);
    cr_assert_eq(probe_wait(&world, probe), STATUS_TOO_LARGE);
    probe_free(probe);
    cr_assert_eq(world_get(&world, 9, 1), STATUS_NOT_FOUND);
}

Test(chunk_store, every_flipped_byte_of_a_stored_payload_is_refused_and_counted)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    const uint32_t bytes = 6000;
    cr_assert_eq(world_put(&world, 1, bytes), STATUS_OK);
    cr_assert_eq(world_put(&world, 2, bytes), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    for (uint32_t at = 0; at < 2 * BLOCK_BYTES; at++) { /* The padding too. */
        uint64_t before = world_stats(&world).corrupt_found;
        sim_disk_corrupt(world.disk, location.segment, location.offset + at, (uint8_t)(1 + at % 255));
        cr_assert_eq(world_get(&world, 1, bytes), STATUS_CORRUPT, "byte %u", at);
        cr_assert_eq(world_stats(&world).corrupt_found, before + 1);
        sim_disk_corrupt(world.disk, location.segment, location.offset + at, (uint8_t)(1 + at % 255));
    }
    cr_assert_eq(world_get(&world, 1, bytes), STATUS_OK);
    cr_assert_eq(world_get(&world, 2, bytes), STATUS_OK);
}

Test(chunk_store, damage_in_one_unit_leaves_the_others_readable)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    cr_assert_eq(world_put(&world, 1, 3 * UNIT_BYTES), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    cr_assert_eq(location.length, 3 * UNIT_BYTES);
    sim_disk_corrupt(world.disk, location.segment, location.offset + UNIT_BYTES, 0x80);
    cr_assert_eq(world_get_units(&world, 1, 3 * UNIT_BYTES, 0, 1), STATUS_OK);
    cr_assert_eq(world_get_units(&world, 1, 3 * UNIT_BYTES, 1, 1), STATUS_CORRUPT);
    cr_assert_eq(world_get_units(&world, 1, 3 * UNIT_BYTES, 2, 1), STATUS_OK);
    cr_assert_eq(world_get(&world, 1, 3 * UNIT_BYTES), STATUS_CORRUPT);
}

Test(chunk_store, the_located_bytes_are_the_sealed_payload)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(3);
    uint8_t expected[5000];
    uint64_t bytes;
    cr_assert_eq(world_put(&world, 3, 5000), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    cr_assert_eq(location.state, CHUNK_LIVE);
    cr_assert_eq(location.header.pg, 3);
    fill_content(3, expected, sizeof(expected));
    const uint8_t *image = sim_disk_bytes(world.disk, location.segment, &bytes);
    cr_assert_eq(memcmp(image + location.offset, expected, sizeof(expected)), 0);
}

Test(chunk_store, the_list_walks_live_chunks_in_order_of_id)
{
    struct chunk_header headers[7];
    size_t seen = 0;
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert_eq(world_put(&world, i, 100 + i), STATUS_OK);
    }
    cr_assert_eq(world_erase(&world, 4, NULL), STATUS_OK);
    const struct chunk_id *after = NULL;
    struct chunk_id last = {{0}};
    for (;;) {
        size_t count;
        cr_assert_eq(chunk_store_list(world.store, after, headers, ARRAY_LENGTH(headers), &count), STATUS_OK);
        for (size_t i = 0; i < count; i++) {
            cr_assert(seen == 0 || memcmp(last.bytes, headers[i].id.bytes, 16) < 0);
            last = headers[i].id;
            seen++;
        }
        after = &last;
        if (count < ARRAY_LENGTH(headers)) {
            break;
        }
    }
    cr_assert_eq(seen, 19);
}

/* ---- erase ---------------------------------------------------------------------------------------- */

Test(chunk_store, an_erased_chunk_is_gone_from_the_disk_and_its_neighbours_are_not)
{
    const uint32_t sizes[] = {1, 16, 4096, 5000, 65536, 300000, CHUNK_BYTES_MAX};
    for (uint32_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        cr_assert_eq(world_put(&world, 3 * i, 5000), STATUS_OK);
        cr_assert_eq(world_put(&world, 3 * i + 1, sizes[i]), STATUS_OK);
        cr_assert_eq(world_put(&world, 3 * i + 2, 5000), STATUS_OK);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint64_t overwritten;
        cr_assert_eq(world_erase(&world, 3 * i + 1, &overwritten), STATUS_OK);
        cr_assert_eq(overwritten, payload_block_count(sizes[i]) * BLOCK_BYTES);
        cr_assert_not(world_holds_content(&world, 3 * i + 1, sizes[i]));
        cr_assert_eq(world_get(&world, 3 * i + 1, sizes[i]), STATUS_GONE);
        cr_assert_eq(world_put(&world, 3 * i + 1, sizes[i]), STATUS_GONE);
        cr_assert_eq(world_get(&world, 3 * i, 5000), STATUS_OK);
        cr_assert_eq(world_get(&world, 3 * i + 2, 5000), STATUS_OK);
        cr_assert_eq(world_erase(&world, 3 * i + 1, &overwritten), STATUS_OK);
        cr_assert_eq(overwritten, payload_block_count(sizes[i]) * BLOCK_BYTES, "how it was wiped is remembered");
    }
    world_audit(&world);
    cr_assert_eq(world_stats(&world).wiped, ARRAY_LENGTH(sizes));
    cr_assert_eq(world_stats(&world).erasing_bytes, 0);
}

Test(chunk_store, erasing_what_was_never_held_leaves_a_tombstone)
{
    cr_assert_eq(world_erase(&world, 1, NULL), STATUS_NOT_FOUND);
    cr_assert_eq(world_erase(&world, 1, NULL), STATUS_NOT_FOUND);
    cr_assert_eq(world_put(&world, 1, 100), STATUS_GONE);
    cr_assert_eq(world_get(&world, 1, 100), STATUS_GONE);
    world_close_store(&world);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, 100), STATUS_GONE);
}

Test(chunk_store, concurrent_erases_share_flushes_and_all_are_answered)
{
    struct probe *probes[100];
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(world_put(&world, i, 4096), STATUS_OK);
    }
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probes[i] = probe_new(i);
        erase_start_of(&world, probes[i]);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probe_wait(&world, probes[i]), STATUS_OK);
        probe_free(probes[i]);
    }
    cr_assert_lt(sim_disk_io_count(world.disk, DISK_FLUSH) - flushes, 150); /* Alone they would take 300. */
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_not(world_holds_content(&world, i, 4096));
    }
    world_audit(&world);
}

Test(chunk_store, two_erases_of_one_chunk_get_the_same_answer)
{
    struct probe *one = probe_new(1);
    struct probe *two = probe_new(1);
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    erase_start_of(&world, one);
    erase_start_of(&world, two);
    cr_assert_eq(probe_wait(&world, one), STATUS_OK);
    cr_assert_eq(probe_wait(&world, two), STATUS_OK);
    cr_assert_eq(one->erase.overwritten_bytes, 2 * BLOCK_BYTES);
    cr_assert_eq(memcmp(one->erase.digest, two->erase.digest, 32), 0);
    probe_free(one);
    probe_free(two);
}

/* What has been written where a chunk lies: the first byte of each pass, and how many flushes there had been. */
static struct {
    struct sim_disk_observer observer;
    char segment[DISK_NAME_BYTES];
    uint64_t offset;
    unsigned count;
    uint8_t first[16];
    uint8_t last[16];
    uint64_t flushes[16];
} passes;

static void pass_written(struct sim_disk_observer *observer, struct sim_disk *disk, const char *name, uint64_t offset,
                         const uint8_t *content, size_t bytes)
{
    (void)observer;
    if (strcmp(name, passes.segment) == 0 && offset == passes.offset && passes.count < ARRAY_LENGTH(passes.first)) {
        passes.first[passes.count] = content[0];
        passes.last[passes.count] = content[bytes - 1];
        passes.flushes[passes.count++] = sim_disk_io_count(disk, DISK_FLUSH);
    }
}

static struct probe *erased(uint32_t number, enum wipe_technique technique)
{
    struct probe *probe = probe_new(number);
    probe->erase = (struct chunk_erase){.id = chunk_id_of(number), .technique = technique, .done = erase_done};
    chunk_store_erase(world.store, &probe->erase);
    cr_assert_eq(probe_wait(&world, probe), STATUS_OK);
    return probe;
}

static void watch_passes(uint32_t number)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(number);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    memset(&passes, 0, sizeof(passes));
    passes.offset = location.offset;
    memcpy(passes.segment, location.segment, sizeof(passes.segment));
    passes.observer.writing = pass_written;
    sim_disk_observe(world.disk, &passes.observer);
}

Test(chunk_store, dod3_writes_both_patterns_each_flushed_and_then_the_stream_that_is_read_back)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    watch_passes(1);
    struct probe *probe = erased(1, WIPE_DOD3);
    cr_assert_eq(passes.count, 3);
    cr_assert(passes.first[0] == 0x55 && passes.last[0] == 0x55);
    cr_assert(passes.first[1] == 0xaa && passes.last[1] == 0xaa);
    cr_assert_gt(passes.flushes[1], passes.flushes[0]);
    cr_assert_gt(passes.flushes[2], passes.flushes[1]);
    cr_assert_eq(probe->erase.used, WIPE_DOD3);
    cr_assert_eq(probe->erase.overwritten_bytes, 2 * BLOCK_BYTES);
    cr_assert_not(world_holds_content(&world, 1, 5000));
    probe_free(probe);
}

Test(chunk_store, one_pass_is_one_pass)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    watch_passes(1);
    struct probe *probe = erased(1, WIPE_OVERWRITE);
    cr_assert_eq(passes.count, 1);
    cr_assert_eq(probe->erase.used, WIPE_OVERWRITE);
    probe_free(probe);
}

/* Asked again, later or after the index was lost, it says what was done, not what is asked now. */
Test(chunk_store, how_a_chunk_was_wiped_is_kept)
{
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(world_put(&world, i, 5000), STATUS_OK);
        enum wipe_technique technique = i == 0 ? WIPE_OVERWRITE : WIPE_DOD3;
        enum wipe_technique other = i == 0 ? WIPE_DOD3 : WIPE_OVERWRITE;
        struct probe *first = erased(i, technique);
        struct probe *again = erased(i, other);
        world_close_store(&world);
        world_lose_index(&world);
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        struct probe *rebuilt = erased(i, other);
        cr_assert_eq(first->erase.used, technique);
        cr_assert_eq(again->erase.used, technique);
        cr_assert_eq(rebuilt->erase.used, technique);
        cr_assert_eq(again->erase.overwritten_bytes, 2 * BLOCK_BYTES);
        cr_assert_eq(rebuilt->erase.overwritten_bytes, 2 * BLOCK_BYTES);
        cr_assert_eq(memcmp(first->erase.digest, rebuilt->erase.digest, 32), 0);
        probe_free(first);
        probe_free(again);
        probe_free(rebuilt);
    }
}

/* Power is lost after each write of the three passes in turn; the store that opens again makes all of them anew. */
Test(chunk_store, a_crash_in_any_pass_begins_with_the_first_again)
{
    for (unsigned stop = 1; stop <= 3; stop++) {
        uint32_t number = 10 + stop;
        cr_assert_eq(world_put(&world, number, 5000), STATUS_OK);
        watch_passes(number);
        struct probe *probe = probe_new(number);
        probe->erase = (struct chunk_erase){.id = chunk_id_of(number), .technique = WIPE_DOD3, .done = erase_done};
        chunk_store_erase(world.store, &probe->erase);
        while (passes.count < stop) {
            cr_assert(sim_loop_step(world.sim));
        }
        world_crash(&world, stop);
        passes.count = 0;
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        struct probe *after = erased(number, WIPE_OVERWRITE);
        cr_assert_geq(passes.count, 3, "stopped in pass %u", stop);
        cr_assert_eq(passes.first[0], 0x55);
        cr_assert_eq(passes.first[1], 0xaa);
        cr_assert_eq(after->erase.used, WIPE_DOD3);
        cr_assert_not(world_holds_content(&world, number, 5000));
        probe_free(after);
        probe_free(probe);
    }
}

Test(chunk_store, an_erase_behind_a_put_in_flight_erases_it)
{
    struct probe *put = probe_new(1);
    struct probe *erase = probe_new(1);
    put_start_of(&world, put, 100000);
    erase_start_of(&world, erase);
    cr_assert_eq(probe_wait(&world, put), STATUS_OK);
    cr_assert_eq(probe_wait(&world, erase), STATUS_OK);
    cr_assert_eq(erase->erase.overwritten_bytes, payload_block_count(100000) * BLOCK_BYTES);
    cr_assert_not(world_holds_content(&world, 1, 100000));
    probe_free(put);
    probe_free(erase);
}

Test(chunk_store, reads_under_way_end_before_the_overwriting_begins)
{
    struct probe *gets[16];
    struct probe *erase = probe_new(1);
    cr_assert_eq(world_put(&world, 1, 200000), STATUS_OK);
    erase_start_of(&world, erase);
    for (unsigned i = 0; i < ARRAY_LENGTH(gets); i++) {
        gets[i] = probe_new(1);
        gets[i]->payload = aligned_buffer(CHUNK_BYTES_MAX);
        gets[i]->get = (struct chunk_get){
            .id = chunk_id_of(1), .buffer = gets[i]->payload, .buffer_bytes = CHUNK_BYTES_MAX, .done = get_done};
        chunk_store_get(world.store, &gets[i]->get);
        sim_loop_step(world.sim);
        sim_loop_step(world.sim);
    }
    cr_assert_eq(probe_wait(&world, erase), STATUS_OK);
    for (unsigned i = 0; i < ARRAY_LENGTH(gets); i++) {
        enum status status = probe_wait(&world, gets[i]);
        cr_assert(status == STATUS_OK || status == STATUS_GONE, "get %u: %d", i, status);
        probe_free(gets[i]);
    }
    probe_free(erase);
}

/* ---- space ---------------------------------------------------------------------------------------- */

Test(chunk_store, a_full_disk_refuses_puts_still_erases_and_makes_room_by_cleaning)
{
    uint32_t count = 0;
    enum status status;
    while ((status = world_put(&world, count, MIB(1))) == STATUS_OK) {
        count++;
        cr_assert_lt(count, 1000);
    }
    cr_assert_eq(status, STATUS_FULL);
    cr_assert_gt(count, 60);
    world_audit(&world);
    for (uint32_t i = 0; i < count; i += 2) {
        cr_assert_eq(world_erase(&world, i, NULL), STATUS_OK);
    }
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    world_audit(&world);
    for (uint32_t i = 1; i < count; i += 2) {
        cr_assert_eq(world_get(&world, i, MIB(1)), STATUS_OK);
    }
    for (uint32_t i = 0; i < count; i += 2) {
        cr_assert_eq(world_get(&world, i, MIB(1)), STATUS_GONE);
    }
    uint32_t again = 0;
    while (world_put(&world, 10000 + again, MIB(1)) == STATUS_OK) {
        again++;
        cr_assert_lt(again, 1000);
    }
    cr_assert_geq(again, count / 4);
    world_audit(&world);
    world_close_store(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    world_audit(&world);
    world_close_store(&world);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    world_audit(&world);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(world_get(&world, i, MIB(1)), i % 2 == 0 ? STATUS_GONE : STATUS_OK);
    }
    for (uint32_t i = 0; i < again; i++) {
        cr_assert_eq(world_get(&world, 10000 + i, MIB(1)), STATUS_OK);
    }
}

Test(chunk_store, erases_go_on_for_ever_on_a_full_disk)
{
    uint32_t count = 0;
    while (world_put(&world, count, MIB(2)) == STATUS_OK) {
        count++;
    }
    /* Each erase of something never held costs a block or two of the reserve: far more than the reserve has. */
    for (uint32_t i = 0; i < 10000; i++) {
        struct probe *probe = probe_new(100000 + i);
        erase_start_of(&world, probe);
        cr_assert_eq(probe_wait(&world, probe), STATUS_NOT_FOUND, "erase %u: %u", i, probe->status);
        probe_free(probe);
    }
    cr_assert_eq(world_erase(&world, 0, NULL), STATUS_OK);
    for (uint32_t i = 1; i < count; i++) {
        cr_assert_eq(world_get(&world, i, MIB(2)), STATUS_OK);
    }
    world_audit(&world);
}

Test(chunk_store, everybody_who_waits_is_answered_on_a_full_disk)
{
    struct probe *puts[3];
    struct probe *erase = probe_new(5000);
    for (uint32_t i = 0; world_put(&world, i, MIB(2)) == STATUS_OK; i++) {
        cr_assert_lt(i, 1000);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(puts); i++) {
        puts[i] = probe_new(5000);
        put_start_of(&world, puts[i], MIB(3));
    }
    erase_start_of(&world, erase);
    for (unsigned i = 0; i < ARRAY_LENGTH(puts); i++) {
        enum status status = probe_wait(&world, puts[i]);
        cr_assert(status == STATUS_FULL || status == STATUS_GONE);
        probe_free(puts[i]);
    }
    cr_assert_eq(probe_wait(&world, erase), STATUS_NOT_FOUND);
    probe_free(erase);
}

Test(chunk_store, a_file_system_without_room_is_a_full_store)
{
    sim_disk_limit_bytes(world.disk, SUPERBLOCK_BYTES + 4 * STORE_SEGMENT_BYTES_MIN);
    uint32_t count = 0;
    enum status status;
    while ((status = world_put(&world, count, MIB(2))) == STATUS_OK) {
        count++;
    }
    cr_assert_eq(status, STATUS_FULL);
    cr_assert_not(world_stats(&world).fenced);
    cr_assert_gt(count, 8);
    cr_assert_eq(world_erase(&world, 0, NULL), STATUS_OK);
    world_stats(&world);
}

Test(chunk_store, free_segments_are_prewritten_when_idle)
{
    world_close_store(&world);
    world.options.prewrite_segments = 2;
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    sim_loop_run_for(world.sim, 30 * NS_PER_S);
    unsigned ready = 0;
    for (uint32_t i = 0; i < world.store->segments.count; i++) {
        ready += world.store->segments.segments[i].state == SEGMENT_READY;
    }
    cr_assert_eq(ready, 2);
    uint64_t allocations = sim_disk_io_count(world.disk, DISK_ALLOCATE);
    cr_assert_eq(world_put(&world, 1, 100), STATUS_OK);
    cr_assert_eq(sim_disk_io_count(world.disk, DISK_ALLOCATE), allocations);
    cr_assert_eq(world.store->writer.open->header.generation, 1);
}

Test(chunk_store, an_idle_store_has_no_timer)
{
    cr_assert_eq(world_put(&world, 1, 100), STATUS_OK);
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_not(sim_loop_step(world.sim));
}

/* ---- open ----------------------------------------------------------------------------------------- */

Test(chunk_store, a_clean_close_needs_no_replay)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    world_close_store(&world);
    uint64_t reads = sim_disk_io_count(world.disk, DISK_READ);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_stats(&world).recovered_batches, 0);
    cr_assert_leq(sim_disk_io_count(world.disk, DISK_READ) - reads, 6);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK);
}

Test(chunk_store, options_that_contradict_the_disk_are_refused)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    world_close_store(&world);
    world.options.segment_bytes = 2 * STORE_SEGMENT_BYTES_MIN;
    cr_assert_eq(world_open_store(&world), STATUS_CONFLICT);
    world.options.segment_bytes = STORE_SEGMENT_BYTES_MIN;
    world.options.capacity_bytes = MIB(1);
    cr_assert_eq(world_open_store(&world), STATUS_FULL);
    world.options.capacity_bytes = 20 * STORE_SEGMENT_BYTES_MIN;
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK);
}

Test(chunk_store, an_index_of_another_store_is_refused)
{
    struct world other = world_new(2, CAPACITY);
    cr_assert_eq(world_open_store(&other), STATUS_OK);
    cr_assert_eq(world_put(&other, 1, 100), STATUS_OK);
    world_close_store(&other);
    cr_assert_eq(world_put(&world, 1, 100), STATUS_OK);
    world_close_store(&world);
    struct kv *own = world.kv;
    world.kv = other.kv;
    cr_assert_eq(world_open_store(&world), STATUS_CORRUPT);
    world.options.rebuild_index = true;
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 1, 100), STATUS_OK);
    world_close_store(&world);
    other.kv = own;
    kv_close(world.kv);
    world.kv = sim_kv_open();
    sim_disk_close(other.disk);
    kv_close(other.kv);
    sim_loop_close(other.sim);
}

Test(chunk_store, any_one_good_superblock_copy_is_enough)
{
    cr_assert_eq(world_put(&world, 1, 100), STATUS_OK);
    for (unsigned bad = 1; bad < 15; bad++) {
        world_close_store(&world);
        for (unsigned copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
            if ((bad >> copy & 1) != 0) {
                sim_disk_corrupt(world.disk, SUPERBLOCK_NAME, copy * BLOCK_BYTES + bad * 3, 0x40);
            }
        }
        cr_assert_eq(world_open_store(&world), STATUS_OK, "copies %x", bad);
        cr_assert_eq(world_get(&world, 1, 100), STATUS_OK);
        sim_loop_run_for(world.sim, NS_PER_S);
        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) { /* Make all four good again. */
            world_close_store(&world);
            cr_assert_eq(world_open_store(&world), STATUS_OK);
        }
    }
    world_close_store(&world);
    for (unsigned copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        sim_disk_corrupt(world.disk, SUPERBLOCK_NAME, copy * BLOCK_BYTES + 100, 1);
    }
    cr_assert_eq(world_open_store(&world), STATUS_CORRUPT);
}

/* ---- damage --------------------------------------------------------------------------------------- */

/* Put five chunks, flip one byte of the header of the batch of the third, lose the index. */
static void damage_header_of_third(bool lose_index)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(2);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_put(&world, i, 100000), STATUS_OK);
    }
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    world_close_store(&world);
    sim_disk_corrupt(world.disk, location.segment, location.offset - BLOCK_BYTES + 100, 1);
    if (lose_index) {
        world_lose_index(&world);
    }
    cr_assert_eq(world_open_store(&world), STATUS_OK);
}

Test(chunk_store, a_damaged_header_below_the_durable_point_is_skipped_and_counted_not_cut_off)
{
    damage_header_of_third(true);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
    cr_assert_eq(world_stats(&world).torn_batches, 0);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_get(&world, i, 100000), i == 2 ? STATUS_NOT_FOUND : STATUS_OK);
    }
    cr_assert_eq(world_put(&world, 9, 100000), STATUS_OK);
    cr_assert_eq(world_get(&world, 4, 100000), STATUS_OK);
}

Test(chunk_store, a_damaged_header_does_not_matter_to_an_index_that_has_the_chunk)
{
    damage_header_of_third(false);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_get(&world, i, 100000), STATUS_OK);
    }
}

Test(chunk_store, behind_damage_to_the_last_acknowledged_batch_the_log_goes_on_in_another_segment)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(2);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(world_put(&world, i, 100000), STATUS_OK);
    }
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    world_close_store(&world);
    sim_disk_corrupt(world.disk, location.segment, location.offset - BLOCK_BYTES + 8, 1);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
    cr_assert_not(world_holds_content(&world, 2, 100000));
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(world_put(&world, 10 + (uint32_t)round, 100000), STATUS_OK);
        cr_assert_neq(world.store->writer.open->number, 0);
        world_close_store(&world);
        if (round > 0) {
            world_lose_index(&world);
        }
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        cr_assert_eq(world_get(&world, 0, 100000), STATUS_OK);
        cr_assert_eq(world_get(&world, 10 + (uint32_t)round, 100000), STATUS_OK);
    }
}

/* Nobody can find the ciphertext of a batch whose records can't be read: so it must not stand when "never held" is
 * said. */
Test(chunk_store, what_recovery_passes_over_is_gone_before_it_is_called_never_held)
{
    damage_header_of_third(true);
    cr_assert_not(world_holds_content(&world, 2, 100000));
    cr_assert_eq(world_erase(&world, 2, NULL), STATUS_NOT_FOUND);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert(i == 2 || world_holds_content(&world, i, 100000));
    }
}

/* A device that does not carry out the zeroing: the store does not open over what it could not destroy. */
Test(chunk_store, what_recovery_passes_over_is_read_back)
{
    struct sim_disk_faults faults = {.ppm = {[SIM_DISK_LOST_WRITE] = 1000000}};
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    cr_assert_eq(world_put(&world, 1, 100000), STATUS_OK);
    cr_assert_eq(world_put(&world, 2, 100000), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    world_close_store(&world);
    sim_disk_corrupt(world.disk, location.segment, location.offset - BLOCK_BYTES + 100, 1);
    world_lose_index(&world);
    sim_disk_set_faults(world.disk, &faults);
    cr_assert_eq(world_open_store(&world), STATUS_IO);
    cr_assert(world_holds_content(&world, 1, 100000));
    sim_disk_heal(world.disk);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_not(world_holds_content(&world, 1, 100000));
    cr_assert_eq(world_get(&world, 2, 100000), STATUS_OK);
}

Test(chunk_store, an_erase_of_an_unknown_chunk_waits_for_the_wipe_of_a_segment_that_was_given_up)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    cr_assert_eq(world_put(&world, 1, 100000), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    world_close_store(&world);
    sim_disk_corrupt(world.disk, location.segment, 40, 0xff);
    sim_disk_corrupt(world.disk, location.segment, location.offset - BLOCK_BYTES + 100, 1);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert(world_holds_content(&world, 1, 100000));
    cr_assert_eq(world_erase(&world, 1, NULL), STATUS_NOT_FOUND);
    cr_assert_not(world_holds_content(&world, 1, 100000));
}

Test(chunk_store, a_damaged_segment_header_loses_nothing)
{
    for (int round = 0; round < 2; round++) {
        uint32_t number = (uint32_t)round;
        char name[DISK_NAME_BYTES];
        cr_assert_eq(world_put(&world, number, 100000), STATUS_OK);
        segment_name(world.store->writer.open->number, name);
        world_close_store(&world);
        sim_disk_corrupt(world.disk, name, 40, 0xff);
        if (round == 1) {
            world_lose_index(&world);
        }
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        cr_assert_eq(world_get(&world, number, 100000), STATUS_OK);
        cr_assert_eq(world_stats(&world).corrupt_found, 0);
        uint8_t block[SEGMENT_HEADER_BYTES];
        struct segment_header header;
        cr_assert(sim_disk_copy(world.disk, SIM_DISK_DURABLE, name, 0, block, sizeof(block)));
        cr_assert_eq(segment_header_decode(block, &header), STATUS_OK); /* It was written again. */
    }
}

/* Make the first block of a segment what it was before the segment was taken into use: as if that write had got lost.
 * */
static void lose_segment_header(const char *name, bool was_ready)
{
    uint8_t now[SEGMENT_HEADER_BYTES];
    uint8_t before[SEGMENT_HEADER_BYTES] = {0};
    struct segment_header header;
    cr_assert(sim_disk_copy(world.disk, SIM_DISK_DURABLE, name, 0, now, sizeof(now)));
    cr_assert_eq(segment_header_decode(now, &header), STATUS_OK);
    if (was_ready) {
        header.first_lsn = SEGMENT_LSN_READY;
        header.segment.bytes[0] ^= 0xff;
        segment_header_encode(&header, before);
    }
    for (uint64_t i = 0; i < sizeof(now); i++) {
        if (now[i] != before[i]) {
            sim_disk_corrupt(world.disk, name, i, now[i] ^ before[i]);
        }
    }
}

Test(chunk_store, a_segment_header_that_the_device_never_wrote_loses_nothing)
{
    for (uint32_t round = 0; round < 4; round++) {
        char name[DISK_NAME_BYTES];
        cr_assert_eq(world_put(&world, round, 100000), STATUS_OK);
        segment_name(world.store->writer.open->number, name);
        world_close_store(&world);
        lose_segment_header(name, round % 2 == 1);
        if (round >= 2) {
            world_lose_index(&world);
        }
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        cr_assert_eq(world_put(&world, 100 + round, 100000), STATUS_OK);
        for (uint32_t i = 0; i <= round; i++) {
            cr_assert_eq(world_get(&world, i, 100000), STATUS_OK);
        }
    }
}

Test(chunk_store, a_wipe_that_reads_back_wrong_is_not_acknowledged_and_is_tried_again)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    struct probe *erase = probe_new(1);
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    erase_start_of(&world, erase);
    while (world.store->eraser.wipes[0].stage != WIPE_VERIFY) {
        cr_assert(sim_loop_step(world.sim));
    }
    sim_disk_corrupt(world.disk, location.segment, location.offset + 77, 4);
    cr_assert_eq(probe_wait(&world, erase), STATUS_CORRUPT);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_GONE);
    cr_assert_eq(world_stats(&world).erasing_bytes, 2 * BLOCK_BYTES);
    uint64_t overwritten;
    cr_assert_eq(world_erase(&world, 1, &overwritten), STATUS_OK);
    cr_assert_eq(overwritten, 2 * BLOCK_BYTES);
    cr_assert_eq(world_stats(&world).erasing_bytes, 0);
    probe_free(erase);
}

/* ---- failure -------------------------------------------------------------------------------------- */

Test(chunk_store, a_failed_write_fences_and_reads_go_on)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    sim_disk_fail_kinds(world.disk, 1u << DISK_WRITE | 1u << DISK_FLUSH);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    cr_assert_eq(world_put(&world, 2, 5000), STATUS_IO);
    cr_assert(world_stats(&world).fenced);
    cr_assert_eq(world_put(&world, 3, 5000), STATUS_FENCED);
    cr_assert_eq(world_erase(&world, 1, NULL), STATUS_FENCED);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK);
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
    cr_assert_eq(world_put(&world, 3, 5000), STATUS_FENCED);
}

Test(chunk_store, a_fenced_store_answers_everybody_and_can_be_closed)
{
    struct probe *probes[24];
    cr_assert_eq(world_put(&world, 1000, 5000), STATUS_OK);
    sim_disk_fail_kinds(world.disk, 1u << DISK_WRITE);
    sim_disk_fail_after(world.disk, 3, STATUS_IO);
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probes[i] = probe_new(i / 2);
        if (i % 5 == 4) {
            erase_start_of(&world, probes[i]);
        } else {
            put_start_of(&world, probes[i], 1000 + i / 2 * 20000);
        }
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        (void)probe_wait(&world, probes[i]);
        cr_assert_eq(probes[i]->done_count, 1);
        probe_free(probes[i]);
    }
    cr_assert(world_stats(&world).fenced);
    world_close_store(&world);
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 1000, 5000), STATUS_OK);
}

Test(chunk_store, a_failed_flush_is_never_retried)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    sim_disk_fail_kinds(world.disk, 1u << DISK_FLUSH);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    cr_assert_eq(world_put(&world, 2, 5000), STATUS_IO);
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_eq(sim_disk_io_count(world.disk, DISK_FLUSH), flushes + 1);
}

Test(chunk_store, an_index_that_fails_fences)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    sim_kv_fail_after(world.kv, 1);
    cr_assert_eq(world_put(&world, 2, 5000), STATUS_IO);
    cr_assert_eq(world_put(&world, 3, 5000), STATUS_FENCED);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK);
    sim_kv_fail_after(world.kv, 0);
}
