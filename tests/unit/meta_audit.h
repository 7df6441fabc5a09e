/* meta_audit.h - for tests of the metadata state: the counters of the cluster, counted again from the rows. */
#ifndef TRILITH_TESTS_META_AUDIT_H
#define TRILITH_TESTS_META_AUDIT_H

#include "tests/unit/meta_fixture.h"

static inline uint32_t fixture_bits(const uint8_t *bitmap)
{
    uint32_t count = 0;
    for (size_t i = 0; i < 32; i++) {
        count += (uint32_t)__builtin_popcount(bitmap[i]);
    }
    return count;
}

/* Leaves of all pages by what they are. */
struct fixture_leaves {
    uint64_t pages;
    uint64_t fresh;
    uint64_t idle;
    uint64_t live;
    uint64_t punctured;
};

static inline struct fixture_leaves fixture_count_leaves(struct meta_fixture *f)
{
    struct fixture_leaves count = {0};
    struct tables *tables = fixture_tables(f);
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_page(0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        scratch_reset(&tables->scratch);
        const Trilith__PageRecord *page = tables_unpack(tables, &trilith__page_record__descriptor, value);
        cr_assert_not_null(page);
        count.pages++;
        for (uint32_t slot = 0; slot < PAGE_LEAVES; slot++) {
            bool used = (page->used.data[slot / 8] >> (slot % 8) & 1) != 0;
            bool punctured = (page->punctured.data[slot / 8] >> (slot % 8) & 1) != 0;
            count.punctured += punctured ? 1 : 0;
            count.live += used && !punctured ? 1 : 0;
            count.fresh += !punctured && slot >= page->next_slot ? 1 : 0;
            count.idle += !used && !punctured && slot < page->next_slot ? 1 : 0;
            cr_assert(!used || slot < page->next_slot, "a leaf in use that was never given out");
        }
    }
    table_walk_close(&walk);
    return count;
}

/* Punctures that rows still keep for a vault that opens. */
static inline uint64_t fixture_count_dirty(struct meta_fixture *f)
{
    uint64_t count = 0;
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, fixture_tables(f), key_prefix(key_dirty_page(0, 0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        cr_assert_eq(value.bytes, 32);
        count += fixture_bits(value.data);
    }
    table_walk_close(&walk);
    return count;
}

static inline uint64_t fixture_count_rows(struct meta_fixture *f, struct table_key prefix)
{
    uint64_t count = 0;
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, fixture_tables(f), prefix);
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

static inline uint64_t fixture_count_keyless(struct meta_fixture *f)
{
    uint64_t count = 0;
    struct tables *tables = fixture_tables(f);
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_bucket(0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__BucketRecord *bucket = tables_unpack(tables, &trilith__bucket_record__descriptor, value);
        cr_assert_not_null(bucket);
        count += bucket->keyless;
    }
    table_walk_close(&walk);
    return count;
}

/* What the counters of the cluster say is what stands in the rows. */
static inline void fixture_audit(struct meta_fixture *f)
{
    const Trilith__ClusterRecord *cluster = state_cluster(f->state);
    const struct fixture_leaves leaves = fixture_count_leaves(f);
    cr_assert_eq(leaves.pages, cluster->next_page - 1);
    cr_assert_eq(leaves.pages * PAGE_LEAVES, leaves.fresh + leaves.idle + leaves.live + leaves.punctured);
    cr_assert_eq(leaves.live, cluster->leaves_live);
    cr_assert_eq(leaves.punctured, cluster->leaves_punctured);
    cr_assert_eq(fixture_count_dirty(f), cluster->leaves_punctured - cluster->leaves_erased);
    cr_assert(epochs_balance(cluster), "live %lu, objects %lu, DEKs %lu", cluster->leaves_live, cluster->objects,
              cluster->deks);

    cr_assert_eq(fixture_count_rows(f, key_prefix(key_uncertified(0, 0), 1)), cluster->certificates_due);
    cr_assert_eq(fixture_count_rows(f, key_prefix(key_certificate(0), 1)), cluster->certificates);
    cr_assert_eq(fixture_count_rows(f, key_prefix(key_ledger_entry(0), 1)), cluster->ledger_size);
    /* Of a tenant that is being erased, versions stand there for a time that have no keys any more. */
    cr_assert_eq(fixture_count_rows(f, key_prefix(key_grace(0), 1)) +
                     fixture_count_rows(f, key_prefix(key_object_prefix(0, NULL, 0), 1)),
                 cluster->objects + cluster->grace_objects + fixture_count_keyless(f));
    cr_assert(fixture_count_keyless(f) > 0 ||
              fixture_count_rows(f, key_prefix(key_grace(0), 1)) == cluster->grace_objects);

    uint64_t open = 0;
    uint64_t settled = 0; /* wipes done, keys not */
    for (uint64_t id = 1; id < cluster->next_erasure_id; id++) {
        Trilith__Erasure *erasure = NULL;
        Trilith__ErasureRecord *record = NULL;
        struct tables *tables = fixture_tables(f);
        cr_assert_eq(erasure_get(tables, id, &erasure), STATUS_OK);
        cr_assert_eq(erasure_record(tables, id, &record), STATUS_OK);
        if (record->taken_back_ms != 0) {
            cr_assert_neq(erasure->closed_ms, 0);
            continue;
        }
        bool keys_gone = erasure_keys_are_gone(cluster, id, record);
        bool wiped = erasure_is_wiped(record);
        cr_assert(record->late || !keys_gone || id < cluster->keys_destroyed_below);
        cr_assert_eq(erasure->closed_ms == 0, !wiped || !keys_gone, "erasure %lu", id);
        open += erasure->closed_ms == 0 ? 1 : 0;
        settled += wiped && !keys_gone ? 1 : 0;
    }
    cr_assert_eq(open, cluster->erasures_open);
    cr_assert_eq(settled, cluster->wiped_sealed + cluster->wiped_since_seal);
}

#endif
