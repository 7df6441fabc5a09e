/* leaves.c - the pages of the vault as rows: two bitmaps and the leases that still hold. */
#include "meta/leaves.h"

#include <string.h>

#define BITMAP_BYTES (PAGE_LEAVES / 8)

static bool bit_is_set(const ProtobufCBinaryData *bitmap, uint32_t slot)
{
    return (bitmap->data[slot / 8] >> (slot % 8) & 1) != 0;
}

static void bit_set(ProtobufCBinaryData *bitmap, uint32_t slot)
{
    bitmap->data[slot / 8] |= (uint8_t)(1u << (slot % 8));
}

static enum status page_get(struct change *change, uint32_t page, Trilith__PageRecord **record)
{
    enum status status = tables_get(change->tables, key_page(page), &trilith__page_record__descriptor, record);
    if (status == STATUS_OK && ((*record)->used.len != BITMAP_BYTES || (*record)->punctured.len != BITMAP_BYTES)) {
        change->tables->failed = STATUS_CORRUPT;
        return STATUS_CORRUPT;
    }
    return status;
}

/* ---- lease ------------------------------------------------------------------------------------- */

/* The bucket's open page when it has fresh leaves, else a new one. NULL: the tables have failed. */
static Trilith__PageRecord *page_with_fresh_leaves(struct change *change, Trilith__BucketRecord *bucket)
{
    Trilith__PageRecord *record = NULL;
    if (bucket->open_page != 0) {
        if (page_get(change, bucket->open_page, &record) != STATUS_OK) {
            change->tables->failed = change->tables->failed != STATUS_OK ? change->tables->failed : STATUS_CORRUPT;
            return NULL;
        }
        if (record->next_slot < PAGE_LEAVES) {
            return record;
        }
    }
    record = scratch_take(&change->tables->scratch, sizeof(*record));
    uint8_t *bitmaps = scratch_take(&change->tables->scratch, (size_t)2 * BITMAP_BYTES);
    if (record == NULL || bitmaps == NULL) {
        change->tables->failed = STATUS_TOO_LARGE;
        return NULL;
    }
    trilith__page_record__init(record);
    record->tenant_id = bucket->tenant_id;
    record->bucket_id = bucket->id;
    record->used = (ProtobufCBinaryData){.data = bitmaps, .len = BITMAP_BYTES};
    record->punctured = (ProtobufCBinaryData){.data = bitmaps + BITMAP_BYTES, .len = BITMAP_BYTES};
    bucket->open_page = change->cluster->next_page++;
    return record;
}

enum status leaves_lease(struct change *change, Trilith__BucketRecord *bucket, const Trilith__LeaseLeaves *command)
{
    CHECK(command->count >= 1 && command->count <= PAGE_LEAVES);
    Trilith__PageRecord *page = page_with_fresh_leaves(change, bucket);
    if (page == NULL) {
        return change->tables->failed;
    }

    uint32_t fresh = PAGE_LEAVES - page->next_slot;
    Trilith__LeafLeaseRecord lease = TRILITH__LEAF_LEASE_RECORD__INIT;
    lease.first_slot = page->next_slot;
    lease.count = command->count < fresh ? command->count : fresh;
    lease.node_id = command->node_id;
    lease.expires_ms = command->expires_ms;

    /* Leases that have run out say nothing any more: drop them, so a page's row stays small. */
    Trilith__LeafLeaseRecord **leases =
        scratch_take(&change->tables->scratch, (page->n_leases + 1) * sizeof(Trilith__LeafLeaseRecord *));
    if (leases == NULL) {
        change->tables->failed = STATUS_TOO_LARGE;
        return STATUS_TOO_LARGE;
    }
    size_t count = 0;
    for (size_t i = 0; i < page->n_leases; i++) {
        if (page->leases[i]->expires_ms > change->time_ms) {
            leases[count++] = page->leases[i];
        }
    }
    leases[count++] = &lease;
    page->leases = leases;
    page->n_leases = count;
    page->next_slot += lease.count;
    tables_put(change->tables, key_page(bucket->open_page), page);

    change->outcome.leased =
        (struct leaf_range){.page = bucket->open_page, .first_slot = lease.first_slot, .count = lease.count};
    return STATUS_OK;
}

/* ---- use and puncture -------------------------------------------------------------------------- */

static bool lease_holds(const Trilith__PageRecord *page, uint32_t slot, uint64_t time_ms)
{
    for (size_t i = 0; i < page->n_leases; i++) {
        const Trilith__LeafLeaseRecord *lease = page->leases[i];
        if (slot >= lease->first_slot && slot - lease->first_slot < lease->count) {
            return lease->expires_ms > time_ms;
        }
    }
    return false;
}

static void page_puncture(struct change *change, Trilith__PageRecord *record, uint32_t page, uint32_t slot)
{
    bit_set(&record->punctured, slot);
    change->outcome.punctured = (struct leaf_range){.page = page, .first_slot = slot, .count = 1};
}

enum status leaves_puncture(struct change *change, const Trilith__Object *object)
{
    Trilith__PageRecord *record = NULL;
    enum status status = page_get(change, object->page, &record);
    if (status != STATUS_OK || object->slot >= PAGE_LEAVES) {
        change->tables->failed = change->tables->failed != STATUS_OK ? change->tables->failed : STATUS_CORRUPT;
        return STATUS_CORRUPT;
    }
    page_puncture(change, record, object->page, object->slot);
    tables_put(change->tables, key_page(object->page), record);
    return STATUS_OK;
}

enum status leaves_use(struct change *change, const Trilith__BucketRecord *bucket, uint32_t page, uint32_t slot,
                       const Trilith__Object *replaced)
{
    Trilith__PageRecord *record = NULL;
    enum status status = page_get(change, page, &record);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    if (slot >= PAGE_LEAVES || record->tenant_id != bucket->tenant_id || record->bucket_id != bucket->id ||
        bit_is_set(&record->used, slot) || bit_is_set(&record->punctured, slot) ||
        !lease_holds(record, slot, change->time_ms)) {
        return STATUS_CONFLICT;
    }
    bit_set(&record->used, slot);
    if (replaced != NULL && replaced->page == page && replaced->slot < PAGE_LEAVES) {
        page_puncture(change, record, page, replaced->slot);
    }
    tables_put(change->tables, key_page(page), record);
    if (replaced != NULL && replaced->page != page) {
        return leaves_puncture(change, replaced);
    }
    return STATUS_OK;
}

enum status leaves_each_punctured(struct tables *tables, void (*each)(void *user, uint32_t page, uint32_t slot),
                                  void *user)
{
    struct table_walk walk;
    table_walk_open(&walk, tables, key_prefix(key_page(0), 1));
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        scratch_reset(&tables->scratch);
        const Trilith__PageRecord *record = tables_unpack(tables, &trilith__page_record__descriptor, value);
        if (record == NULL || record->punctured.len != BITMAP_BYTES || key.bytes != 5) {
            status = STATUS_CORRUPT;
            break;
        }
        uint32_t page = (uint32_t)number_of_be((const uint8_t *)key.data + 1, 4);
        for (uint32_t slot = 0; slot < PAGE_LEAVES; slot++) {
            if (bit_is_set(&record->punctured, slot)) {
                each(user, page, slot);
            }
        }
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}
