/* checks_meta.c - M1 to M3: the journal, the tables and the leases of the metadata service.
 *
 * Leases are looked at where they count: the simulator is linked with --wrap=chunk_host_put, and each copy that a node has
 * stored is told to checkers_stored() before whoever asked hears of it. */
#include "tests/sim/checks.h"

#include "meta/tables.h"
#include "tests/sim/meta_view.h"

#include <inttypes.h>
#include <stdlib.h>

#define TABLES_EVERY 8u   /* commands between two hashes over all tables */
#define CLOCK_PPM    500u /* how wrong a clock may be */

/* FNV-1a, a word at a time: good enough to tell two states apart. Never 0. */
static uint64_t hash_more(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (; bytes > 0; bytes--) {
        hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
    }
    return hash | 1;
}

static struct checked_entry *entry_of(struct checkers *checkers, uint64_t index)
{
    if (index >= checkers->entry_capacity) {
        size_t capacity = (size_t)index * 2 + 256;
        checkers->entries = realloc(checkers->entries, capacity * sizeof(checkers->entries[0]));
        CHECK(checkers->entries != NULL);
        memset(checkers->entries + checkers->entry_capacity, 0,
               (capacity - checkers->entry_capacity) * sizeof(checkers->entries[0]));
        checkers->entry_capacity = capacity;
    }
    return &checkers->entries[index];
}

/* ---- M1 --------------------------------------------------------------------------------------------- */

/* When the service serves again it has applied everything that it ever had applied. */
static void check_nothing_lost(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    if (check->node != NULL || meta->meta_state == NULL) {
        return;
    }
    check_counts(check);
    if (state_applied_index(meta->meta_state) < check->checkers->most_index) {
        sim_violated("M1", "the journal ends at %" PRIu64 " after a start; command %" PRIu64 " had been applied",
                     state_applied_index(meta->meta_state), check->checkers->most_index);
    }
}

/* M1: commands are applied in the order of their indexes, without gaps, by each process from wherever it starts; an index
 * has the same bytes each time; after a start none is missing that was applied before. */
void check_journal(const struct check *check)
{
    struct checkers *checkers = check->checkers;
    if (check->moment == AT_UP) {
        check_nothing_lost(check);
        return;
    }
    bool same_process = checkers->meta_incarnation == check->cluster->meta.incarnation;
    uint64_t expected = same_process ? checkers->last_index + 1 : check->index;
    check_counts(check);
    if (check->index != expected || check->index == 0 || check->index > checkers->last_index_ever + 1) {
        sim_violated("M1", "command %" PRIu64 " is applied behind %" PRIu64 ", the last ever is %" PRIu64, check->index,
                     checkers->last_index, checkers->last_index_ever);
    }
    struct checked_entry *entry = entry_of(checkers, check->index);
    uint64_t hash = hash_more(check->entry_bytes, check->entry, check->entry_bytes);
    if (entry->bytes_hash != 0 && entry->bytes_hash != hash) {
        sim_violated("M1", "command %" PRIu64 " was another one when it was applied before", check->index);
    }
    entry->bytes_hash = hash;
    checkers->meta_incarnation = check->cluster->meta.incarnation;
    checkers->last_index = check->index;
    checkers->last_index_ever = check->index > checkers->last_index_ever ? check->index : checkers->last_index_ever;
}

/* ---- M2 --------------------------------------------------------------------------------------------- */

static void hash_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    uint64_t *hash = user;
    *hash = hash_more(*hash ^ key_bytes, key, key_bytes);
    *hash = hash_more(*hash ^ value_bytes, value, value_bytes);
}

/* M2: the index of the last command stands in the tables, in the same batch as its effects; and whenever a command is
 * applied again after a crash, from whatever older state, the tables are the same afterwards, byte for byte. Looked at for
 * one command of eight. */
void check_tables(const struct check *check)
{
    uint8_t applied[16];
    size_t bytes = 0;
    uint64_t hash = 1;
    struct table_key key = key_applied();
    if (!model_row(check->model, &key, applied, sizeof(applied), &bytes) || number_of_be(applied, 8) != check->index) {
        sim_violated("M2", "command %" PRIu64 " is applied, and the tables do not say so", check->index);
    }
    if (check->index % TABLES_EVERY != 0) {
        return;
    }
    sim_kv_each(check->cluster->meta.tables, hash_row, &hash);
    struct checked_entry *entry = entry_of(check->checkers, check->index);
    if (entry->tables_hash != 0) {
        check_counts(check);
        if (entry->tables_hash != hash) {
            sim_violated("M2", "the tables behind command %" PRIu64 " are not what they were before the crash",
                         check->index);
        }
    }
    entry->tables_hash = hash;
}

/* ---- M3 --------------------------------------------------------------------------------------------- */

/* The longest that a node may believe in its lease, by the clock of the service. Each clock is wrong by 500 ppm at most. */
static uint64_t lease_at_most_ns(uint64_t lease_ns)
{
    return lease_ns + lease_ns * 2 * CLOCK_PPM / (1000000 - CLOCK_PPM) + 1;
}

/* For how long the service has not heard a node whose silence is longer than its lease; 0: it may hold. */
static uint64_t silence_too_long(const struct check *check, const struct sim_node *node, uint64_t *lease_ns)
{
    const struct sim_meta *meta = &check->cluster->meta;
    uint64_t silence_ns = 0;
    if (meta->state != SIM_RUNNING || meta->service == NULL || node->state != SIM_RUNNING || node->node_id == 0 ||
        !meta_view_silence(meta->service, node->node_id, loop_now_ns(sim_loop_interface(meta->loop)), &silence_ns,
                           lease_ns)) {
        return 0;
    }
    check_counts(check);
    return silence_ns > lease_at_most_ns(*lease_ns) ? silence_ns : 0;
}

/* M3: as long as a node believes that its lease holds, and so takes puts, the metadata service counts it as up: the lease
 * begins at the node when the request is sent, at the service when it arrives. And it is not only what the node believes:
 * whenever a node says that a copy is stored, its silence is not longer than the lease. Both clocks may be wrong by 500 ppm,
 * so a lease may end a good thousandth of its length late. Only the same process of the service counts: a new one begins
 * anew. */
void check_leases(const struct check *check)
{
    uint64_t lease_ns = 0;
    if (check->moment == AT_STORED) {
        uint64_t silence_ns = silence_too_long(check, check->node, &lease_ns);
        if (silence_ns > 0) {
            sim_violated("M3", "%s has stored a copy, and was not heard for %.6f s; the lease is %.6f s",
                         check->node->name, (double)silence_ns / (double)NS_PER_S, (double)lease_ns / (double)NS_PER_S);
        }
        return;
    }
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        const struct sim_node *node = &check->cluster->nodes[i];
        if (node->state != SIM_RUNNING ||
            !chunk_host_lease_holds(node->host, loop_now_ns(sim_loop_interface(node->loop)))) {
            continue;
        }
        uint64_t silence_ns = silence_too_long(check, node, &lease_ns);
        if (silence_ns > 0) {
            sim_violated("M3", "%s takes puts, and was not heard for %.6f s; the lease is %.6f s", node->name,
                         (double)silence_ns / (double)NS_PER_S, (double)lease_ns / (double)NS_PER_S);
        }
    }
}

/* ---- M3: copies ---------------------------------------------------------------------------------------- */

struct watched_put {
    struct host_job *job;
    const struct chunk_host *host;
    void (*done)(struct host_job *job);
};

/* Those of processes that have gone stay: their memory is never used again. */
static struct watched_put *watched;
static size_t watched_count;
static size_t watched_capacity;

static struct watched_put *watched_take(struct host_job *job)
{
    for (size_t i = 0; i < watched_count; i++) {
        if (watched[i].job == job) {
            return &watched[i];
        }
    }
    if (watched_count == watched_capacity) {
        watched_capacity = watched_capacity == 0 ? 64 : 2 * watched_capacity;
        watched = realloc(watched, watched_capacity * sizeof(watched[0]));
        CHECK(watched != NULL);
    }
    watched[watched_count].job = job;
    return &watched[watched_count++];
}

static void watched_done(struct host_job *job)
{
    struct watched_put *found = watched_take(job);
    struct watched_put put = *found;
    *found = watched[--watched_count];
    checkers_stored(put.host, job->status);
    put.done(job);
}

/* The linker brings every call of chunk_host_put() here; the names are its own. */
void __real_chunk_host_put(struct chunk_host *host, struct chunk_host_disk *disk, struct host_put *put,
                           struct loop *home, void (*done)(struct host_job *job));
void __wrap_chunk_host_put(struct chunk_host *host, struct chunk_host_disk *disk, struct host_put *put,
                           struct loop *home, void (*done)(struct host_job *job));

void __wrap_chunk_host_put(struct chunk_host *host, struct chunk_host_disk *disk, struct host_put *put,
                           struct loop *home, void (*done)(struct host_job *job))
{
    struct watched_put *found = watched_take(&put->job);
    found->host = host;
    found->done = done;
    __real_chunk_host_put(host, disk, put, home, watched_done);
}
