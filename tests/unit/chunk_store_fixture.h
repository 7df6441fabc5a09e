/* chunk_store_fixture.h - a store on a simulated disk, and chunks to put into it. For the tests of node/store.
 *
 * A chunk is named by a number: id, content and seals follow from it, so a test can say at any time what must come
 * back. The seals are not cryptographic: the store checks CRCs only. */
#ifndef TRILITH_TESTS_UNIT_CHUNK_STORE_FIXTURE_H
#define TRILITH_TESTS_UNIT_CHUNK_STORE_FIXTURE_H

#include "base/checksum.h"
#include "base/log.h"
#include "node/store/store_private.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_loop.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct world {
    struct sim_loop *sim;
    struct loop *loop;
    struct sim_disk *disk;
    struct kv *kv;
    struct chunk_store *store;
    struct chunk_store_options options;
    bool opened;
    enum status open_status;
};

/* One request with everything it owns. */
struct probe {
    struct chunk_put put;
    struct chunk_get get;
    struct chunk_erase erase;
    uint8_t *payload;
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
    uint32_t number;
    bool done;
    unsigned done_count;
    enum status status;
};

/* ---- chunks --------------------------------------------------------------------------------------- */

static inline struct chunk_id chunk_id_of(uint32_t number)
{
    struct chunk_id id;
    uint64_t state = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (unsigned i = 0; i < sizeof(id.bytes); i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        id.bytes[i] = (uint8_t)(state >> 56);
    }
    return id;
}

static inline void fill_content(uint32_t number, uint8_t *data, size_t bytes)
{
    uint64_t state = number * UINT64_C(0xd1342543de82ef95) + 7;
    for (size_t i = 0; i < bytes; i++) {
        if (i % 8 == 0) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        data[i] = (uint8_t)(state >> (i % 8 * 8));
    }
}

static inline void fill_seals(uint32_t number, const uint8_t *data, uint32_t chunk_bytes, uint8_t *seals)
{
    for (uint32_t unit = 0; unit < chunk_unit_count(chunk_bytes); unit++) {
        uint8_t *seal = seals + (size_t)unit * UNIT_SEAL_BYTES;
        memset(seal, (int)(number + unit), UNIT_SEAL_BYTES - 4);
        uint32_t crc = crc32c(0, data + (size_t)unit * UNIT_BYTES, chunk_unit_bytes(chunk_bytes, unit));
        crc = crc32c(crc, seal + 16, 4);
        crc = crc32c(crc, seal, 16);
        for (unsigned i = 0; i < 4; i++) {
            seal[20 + i] = (uint8_t)(crc >> (8 * i));
        }
    }
}

static inline uint8_t *aligned_buffer(size_t bytes)
{
    size_t whole = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    uint8_t *buffer = aligned_alloc(BLOCK_BYTES, whole > 0 ? whole : BLOCK_BYTES);
    cr_assert_not_null(buffer);
    return buffer;
}

static inline void put_done(struct chunk_put *put, enum status status)
{
    struct probe *probe = CONTAINER_OF(put, struct probe, put);
    probe->done = true;
    probe->done_count++;
    probe->status = status;
}

static inline void get_done(struct chunk_get *get, enum status status)
{
    struct probe *probe = CONTAINER_OF(get, struct probe, get);
    probe->done = true;
    probe->done_count++;
    probe->status = status;
}

static inline void erase_done(struct chunk_erase *erase, enum status status)
{
    struct probe *probe = CONTAINER_OF(erase, struct probe, erase);
    probe->done = true;
    probe->done_count++;
    probe->status = status;
}

static inline struct probe *probe_new(uint32_t number)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    cr_assert_not_null(probe);
    probe->number = number;
    return probe;
}

static inline void probe_free(struct probe *probe)
{
    free(probe->payload);
    free(probe);
}

/* ---- the store ------------------------------------------------------------------------------------ */

static inline void world_opened(void *user, enum status status, struct chunk_store *store)
{
    struct world *world = user;
    world->opened = true;
    world->open_status = status;
    world->store = store;
}

static inline enum status world_open_store(struct world *world)
{
    world->opened = false;
    chunk_store_open(world->loop, sim_disk_interface(world->disk), world->kv, &world->options, world_opened, world);
    cr_assert(sim_loop_run_until(world->sim, &world->opened));
    return world->open_status;
}

static inline struct world world_new(uint64_t seed, uint64_t capacity_bytes)
{
    log_set_level(LOG_ERROR);
    struct world world = {.sim = sim_loop_open(seed), .kv = sim_kv_open()};
    world.loop = sim_loop_interface(world.sim);
    world.disk = sim_disk_open(world.sim, seed);
    world.options = (struct chunk_store_options){
        .capacity_bytes = capacity_bytes,
        .segment_bytes = STORE_SEGMENT_BYTES_MIN,
        .group_wait_us = 200,
    };
    return world;
}

static inline void world_closed(void *user)
{
    *(bool *)user = true;
}

static inline void world_close_store(struct world *world)
{
    bool closed = false;
    chunk_store_close(world->store, world_closed, &closed);
    cr_assert(sim_loop_run_until(world->sim, &closed));
    world->store = NULL;
}

/* Power loss: the store is gone, the disk and the table keep what they keep. */
static inline void world_crash(struct world *world, uint64_t seed)
{
    sim_disk_crash(world->disk);
    chunk_store_abandon(world->store);
    world->store = NULL;
    sim_loop_run_until_idle(world->sim); /* Answers that were on their way. */
    sim_kv_crash(world->kv, seed);
}

static inline void world_lose_index(struct world *world)
{
    kv_close(world->kv);
    world->kv = sim_kv_open();
}

static inline void world_free(struct world *world)
{
    if (world->store != NULL) {
        world_close_store(world);
    }
    sim_disk_close(world->disk);
    kv_close(world->kv);
    sim_loop_close(world->sim);
}

/* ---- requests ------------------------------------------------------------------------------------- */

static inline void put_start_of(struct world *world, struct probe *probe, uint32_t chunk_bytes)
{
    probe->done = false;
    probe->payload = aligned_buffer(chunk_bytes);
    memset(probe->payload, 0xee, (size_t)payload_block_count(chunk_bytes) * BLOCK_BYTES);
    fill_content(probe->number, probe->payload, chunk_bytes);
    fill_seals(probe->number, probe->payload, chunk_bytes, probe->seals);
    probe->put = (struct chunk_put){
        .header = {.id = chunk_id_of(probe->number),
                   .tenant_id = 7,
                   .pg = 3,
                   .chunk_bytes = chunk_bytes,
                   .suite = SUITE_AES_256_GCM},
        .payload = probe->payload,
        .seals = probe->seals,
        .done = put_done,
    };
    chunk_store_put(world->store, &probe->put);
}

static inline void erase_start_of(struct world *world, struct probe *probe)
{
    probe->done = false;
    /* Both techniques in every test: what is promised of the one is promised of the other. */
    probe->erase = (struct chunk_erase){.id = chunk_id_of(probe->number),
                                        .technique = probe->number % 2 == 0 ? WIPE_OVERWRITE : WIPE_DOD3,
                                        .done = erase_done};
    chunk_store_erase(world->store, &probe->erase);
}

static inline enum status probe_wait(struct world *world, struct probe *probe)
{
    cr_assert(sim_loop_run_until(world->sim, &probe->done));
    return probe->status;
}

static inline enum status world_put(struct world *world, uint32_t number, uint32_t chunk_bytes)
{
    struct probe *probe = probe_new(number);
    put_start_of(world, probe, chunk_bytes);
    enum status status = probe_wait(world, probe);
    cr_assert_eq(probe->done_count, 1);
    probe_free(probe);
    return status;
}

static inline enum status world_erase(struct world *world, uint32_t number, uint64_t *overwritten_bytes)
{
    struct probe *probe = probe_new(number);
    erase_start_of(world, probe);
    enum status status = probe_wait(world, probe);
    cr_assert_eq(probe->done_count, 1);
    if (overwritten_bytes != NULL) {
        *overwritten_bytes = probe->erase.overwritten_bytes;
    }
    probe_free(probe);
    return status;
}

/* Read units and, when that works, compare them with what chunk `number` of `chunk_bytes` must be. */
static inline enum status world_get_units(struct world *world, uint32_t number, uint32_t chunk_bytes, uint32_t first,
                                          uint32_t count)
{
    struct probe *probe = probe_new(number);
    uint32_t buffer_bytes = payload_block_count(chunk_bytes) * BLOCK_BYTES;
    probe->payload = aligned_buffer(buffer_bytes);
    probe->get = (struct chunk_get){.id = chunk_id_of(number),
                                    .first_unit = first,
                                    .unit_count = count,
                                    .buffer = probe->payload,
                                    .buffer_bytes = buffer_bytes,
                                    .done = get_done};
    chunk_store_get(world->store, &probe->get);
    enum status status = probe_wait(world, probe);
    if (status == STATUS_OK) {
        uint32_t begin = first * UNIT_BYTES;
        uint32_t wanted =
            count == 0 || (uint64_t)count * UNIT_BYTES > chunk_bytes - begin ? chunk_bytes - begin : count * UNIT_BYTES;
        uint8_t *expected = aligned_buffer(chunk_bytes);
        fill_content(number, expected, chunk_bytes);
        fill_seals(number, expected, chunk_bytes, probe->seals);
        cr_assert_eq(probe->get.header.chunk_bytes, chunk_bytes);
        cr_assert_eq(probe->get.header.tenant_id, 7);
        cr_assert_eq(probe->get.header.pg, 3);
        cr_assert_eq(probe->get.data_bytes, wanted);
        cr_assert_eq(memcmp(probe->get.data, expected + begin, wanted), 0);
        cr_assert_eq(memcmp(probe->get.seals, probe->seals + (size_t)first * UNIT_SEAL_BYTES,
                            (size_t)chunk_unit_count(wanted) * UNIT_SEAL_BYTES),
                     0);
        free(expected);
    }
    probe_free(probe);
    return status;
}

static inline enum status world_get(struct world *world, uint32_t number, uint32_t chunk_bytes)
{
    return world_get_units(world, number, chunk_bytes, 0, 0);
}

static inline struct chunk_store_stats world_stats(struct world *world)
{
    struct chunk_store_stats stats;
    chunk_store_stats(world->store, &stats);
    cr_assert_eq(stats.capacity_bytes, stats.live_bytes + stats.pending_bytes + stats.erasing_bytes + stats.dead_bytes +
                                           stats.free_bytes + stats.reserved_bytes);
    return stats;
}

/* The counters that the index keeps along must be what a count of all chunks gives. */
static inline void world_audit(struct world *world)
{
    struct chunk_header headers[64];
    struct chunk_id after;
    uint64_t chunks = 0;
    uint64_t bytes = 0;
    for (size_t count = ARRAY_LENGTH(headers); count == ARRAY_LENGTH(headers);) {
        cr_assert_eq(chunk_store_list(world->store, chunks > 0 ? &after : NULL, headers, ARRAY_LENGTH(headers), &count),
                     STATUS_OK);
        for (size_t i = 0; i < count; i++) {
            bytes += (uint64_t)payload_block_count(headers[i].chunk_bytes) * BLOCK_BYTES;
            after = headers[i].id;
            chunks++;
        }
    }
    struct chunk_store_stats stats = world_stats(world);
    cr_assert_eq(stats.chunks, chunks, "%lu chunks counted, %lu listed", stats.chunks, chunks);
    cr_assert_eq(stats.live_bytes, bytes, "%lu bytes counted, %lu listed", stats.live_bytes, bytes);
}

#define WINDOW_TABLE (1u << 20)

static inline uint32_t window_slot(const uint8_t window[16])
{
    uint64_t word;
    memcpy(&word, window, sizeof(word));
    return (uint32_t)(word * UINT64_C(0x9e3779b97f4a7c15) >> 44);
}

/* A search for the content of one chunk: all of its pieces of 16 bytes, in a table with open addressing. */
struct content_search {
    const uint8_t *content;
    uint32_t *table; /* position + 1 */
    bool found;
};

static inline void content_search_block(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct content_search *search = user;
    uint32_t number;
    (void)offset;
    if (!segment_number_from_name(name, &number)) {
        return;
    }
    for (size_t at = 0; at < BLOCK_BYTES && !search->found; at += 16) {
        for (uint32_t slot = window_slot(bytes + at); search->table[slot] != 0 && !search->found;
             slot = (slot + 1) % WINDOW_TABLE) {
            search->found = memcmp(bytes + at, search->content + search->table[slot] - 1, 16) == 0;
        }
    }
}

/* Whether any 16 bytes in a row of chunk `number` are left in the durable image of any segment file. Payload begins on
 * a block, so 16 bytes of it can only stand at a multiple of 16. A shorter rest of the chunk counts with zeros
 * behind. */
static inline bool world_holds_content(struct world *world, uint32_t number, uint32_t chunk_bytes)
{
    uint8_t *content = aligned_buffer(chunk_bytes + 16);
    struct content_search search = {.content = content, .table = calloc(WINDOW_TABLE, sizeof(*search.table))};
    cr_assert_not_null(search.table);
    memset(content, 0, chunk_bytes + 16);
    fill_content(number, content, chunk_bytes);
    for (uint32_t at = 0; at < chunk_bytes; at += 16) {
        uint32_t slot = window_slot(content + at);
        while (search.table[slot] != 0) {
            slot = (slot + 1) % WINDOW_TABLE;
        }
        search.table[slot] = at + 1;
    }
    sim_disk_each_block(world->disk, SIM_DISK_DURABLE, content_search_block, &search);
    free(search.table);
    free(content);
    return search.found;
}

#endif
