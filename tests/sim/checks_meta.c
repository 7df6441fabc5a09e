/* checks_meta.c - M1 to M3: the journal, the tables and the leases of the metadata service. */
#include "tests/sim/checks.h"

#include "meta/tables.h"
#include "tests/sim/meta_view.h"

#include <inttypes.h>
#include <stdlib.h>

#define TABLES_EVERY 8u /* commands between two hashes over all tables */

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

/* M3: as long as a node believes that its lease holds, and so takes puts, the metadata service counts it as up: the lease
 * begins at the node when the request is sent, at the service when it arrives. Both clocks may be wrong by 500 ppm, so the
 * lease may end a thousandth of its length late. Only the same process of the service counts: a new one begins anew. */
void check_leases(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    if (meta->state != SIM_RUNNING || meta->service == NULL) {
        return;
    }
    uint64_t now_ns = loop_now_ns(sim_loop_interface(meta->loop));
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        const struct sim_node *node = &check->cluster->nodes[i];
        uint64_t silence_ns;
        uint64_t lease_ns;
        if (node->state != SIM_RUNNING || node->node_id == 0 ||
            !chunk_host_lease_holds(node->host, loop_now_ns(sim_loop_interface(node->loop))) ||
            !meta_view_silence(meta->service, node->node_id, now_ns, &silence_ns, &lease_ns)) {
            continue;
        }
        check_counts(check);
        if (silence_ns > lease_ns + lease_ns / 500) {
            sim_violated("M3", "%s takes puts, and was not heard for %.6f s; the lease is %.6f s", node->name,
                         (double)silence_ns / (double)NS_PER_S, (double)lease_ns / (double)NS_PER_S);
        }
    }
}
