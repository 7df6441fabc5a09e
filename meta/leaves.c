/* leaves.c - the pages of the vault as rows: two bitmaps and the leases that still hold.
 *
 * A command may touch several leaves of one page, and reads do not see its writes. So what it does is gathered as
 * edits, sorted by page, and each page is read once, edited and written once. */
#include "meta/leaves.h"

#include "meta/vault/vault.h"

#include <stdlib.h>
#include <string.h>

#define BITMAP_BYTES (PAGE_LEAVES / 8)

_Static_assert(PAGE_LEAVES == VAULT_PAGE_LEAVES, "the vault has pages of the same size");

static bool bit_is_set(const uint8_t *bitmap, uint32_t slot)
{
    return (bitmap[slot / 8] >> (slot % 8) & 1) != 0;
}

static void bit_set(uint8_t *bitmap, uint32_t slot)
{
    bitmap[slot / 8] |= (uint8_t)(1u << (slot % 8));
}

/* ---- pages ------------------------------------------------------------------------------------- */

static enum status page_get(struct tables *tables, uint32_t page, Trilith__PageRecord **record)
{
    enum status status = tables_get(tables, key_page(page), &trilith__page_record__descriptor, record);
    if (status == STATUS_OK && ((*record)->used.len != BITMAP_BYTES || (*record)->punctured.len != BITMAP_BYTES)) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    return status;
}

/* Leases that have run out say nothing any more: they are dropped, so a page's row stays small. */
static void page_put(struct change *change, uint32_t page, Trilith__PageRecord *record)
{
    size_t count = 0;
    for (size_t i = 0; i < record->n_leases; i++) {
        if (record->leases[i]->expires_ms > change->time_ms) {
            record->leases[count++] = record->leases[i];
        }
    }
    record->n_leases = count;
    tables_put(change->tables, key_page(page), record);
}

static bool leaf_is_leased(const Trilith__PageRecord *record, uint32_t slot, uint64_t time_ms)
{
    for (size_t i = 0; i < record->n_leases; i++) {
        const Trilith__LeafLeaseRecord *lease = record->leases[i];
        if (slot >= lease->first_slot && slot - lease->first_slot < lease->count) {
            return lease->expires_ms > time_ms;
        }
    }
    return false;
}

static bool leaf_is_live(const Trilith__PageRecord *record, uint32_t slot)
{
    return bit_is_set(record->used.data, slot) && !bit_is_set(record->punctured.data, slot);
}

/* ---- edits ------------------------------------------------------------------------------------- */

enum leaf_action {
    LEAF_ERASE,   /* a live leaf is punctured */
    LEAF_DISCARD, /* punctured, unless it is live */
    LEAF_DROP,    /* punctured, live or not */
    LEAF_USE,     /* a leased leaf becomes live */
};

struct leaf_edit {
    enum leaf_action action;
    struct leaf_range range;
};

/* Whose leaves may be used. */
struct leaf_owner {
    uint64_t tenant_id;
    uint64_t bucket_id;
};

/* One page while it is being edited. */
struct page_edit {
    struct change *change;
    Trilith__PageRecord *record;
    struct page_puncture puncture;
    bool changed;
    bool punctured;
};

static void leaf_puncture(struct page_edit *edit, uint32_t slot)
{
    Trilith__ClusterRecord *cluster = edit->change->cluster;
    if (leaf_is_live(edit->record, slot)) {
        CHECK(cluster->leaves_live > 0);
        cluster->leaves_live--;
    }
    cluster->leaves_punctured++;
    bit_set(edit->record->punctured.data, slot);
    ggm_bit_set(&edit->puncture.leaves, slot);
    edit->changed = true;
    edit->punctured = true;
}

static enum status leaf_use(struct page_edit *edit, const struct leaf_owner *owner, uint32_t slot)
{
    const Trilith__PageRecord *record = edit->record;
    if (record->tenant_id != owner->tenant_id || record->bucket_id != owner->bucket_id ||
        bit_is_set(record->used.data, slot) || bit_is_set(record->punctured.data, slot) ||
        !leaf_is_leased(record, slot, edit->change->time_ms)) {
        return STATUS_CONFLICT;
    }
    bit_set(edit->record->used.data, slot);
    edit->change->cluster->leaves_live++;
    edit->changed = true;
    return STATUS_OK;
}

static enum status leaf_act(struct page_edit *edit, const struct leaf_owner *owner, enum leaf_action action,
                            uint32_t slot)
{
    switch (action) {
    case LEAF_ERASE:
        if (!leaf_is_live(edit->record, slot)) {
            return tables_fail(edit->change->tables, STATUS_CORRUPT);
        }
        leaf_puncture(edit, slot);
        return STATUS_OK;
    case LEAF_DISCARD:
        if (!bit_is_set(edit->record->used.data, slot) && !bit_is_set(edit->record->punctured.data, slot)) {
            leaf_puncture(edit, slot);
        }
        return STATUS_OK;
    case LEAF_DROP:
        if (!bit_is_set(edit->record->punctured.data, slot)) {
            leaf_puncture(edit, slot);
        }
        return STATUS_OK;
    case LEAF_USE:
        return leaf_use(edit, owner, slot);
    }
    UNREACHABLE();
}

/* Note the punctures under the seal that will take them, and tell the vault. */
static enum status page_note_punctures(struct page_edit *edit)
{
    struct tables *tables = edit->change->tables;
    struct outcome *outcome = &edit->change->outcome;
    struct table_key key = key_dirty_page(edit->change->cluster->seal + 1, edit->puncture.page);
    struct kv_slice before;
    uint8_t bitmap[BITMAP_BYTES];
    memcpy(bitmap, edit->puncture.leaves.bits, BITMAP_BYTES);
    enum status status = tables_get_bytes(tables, key, &before);
    if (status == STATUS_OK && before.bytes == BITMAP_BYTES) {
        for (size_t i = 0; i < BITMAP_BYTES; i++) {
            bitmap[i] |= ((const uint8_t *)before.data)[i];
        }
    } else if (status != STATUS_NOT_FOUND) {
        return tables_fail(tables, status == STATUS_OK ? STATUS_CORRUPT : status);
    }
    tables_put_bytes(tables, key, bitmap, BITMAP_BYTES);
    outcome->punctured[outcome->punctured_count++] = edit->puncture;
    return STATUS_OK;
}

/* Carry out `count` edits of the page. */
static enum status page_edit_all(struct page_edit *edit, const struct leaf_owner *owner, const struct leaf_edit *edits,
                                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct leaf_range range = edits[i].range;
        if (range.first_slot >= PAGE_LEAVES || range.count > PAGE_LEAVES - range.first_slot) {
            return edits[i].action == LEAF_USE ? STATUS_CONFLICT : tables_fail(edit->change->tables, STATUS_CORRUPT);
        }
        for (uint32_t slot = range.first_slot; slot - range.first_slot < range.count; slot++) {
            enum status status = leaf_act(edit, owner, edits[i].action, slot);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

static enum status page_finish(struct page_edit *edit)
{
    if (edit->changed) {
        page_put(edit->change, edit->puncture.page, edit->record);
    }
    return edit->punctured ? page_note_punctures(edit) : STATUS_OK;
}

/* Read a page, carry out `count` edits of it, and write it. */
static enum status page_apply(struct change *change, const struct leaf_owner *owner, const struct leaf_edit *edits,
                              size_t count)
{
    struct page_edit edit = {.change = change, .puncture.page = edits[0].range.page};
    enum status status = page_get(change->tables, edit.puncture.page, &edit.record);
    if (status != STATUS_OK) {
        /* Only leaves that somebody asks for may be on a page that does not exist. */
        bool asked_for = status == STATUS_NOT_FOUND && edits[0].action == LEAF_USE;
        return asked_for ? STATUS_CONFLICT : tables_missing(change->tables, status);
    }
    status = page_edit_all(&edit, owner, edits, count);
    return status == STATUS_OK ? page_finish(&edit) : status;
}

static void edits_add(struct leaf_edit *edits, enum leaf_action action, const struct leaf_at *leaves, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        edits[i] = (struct leaf_edit){.action = leaves[i].idle ? LEAF_DISCARD : action,
                                      .range = {.page = leaves[i].page, .first_slot = leaves[i].slot, .count = 1}};
    }
}

/* By page; what goes, goes first. */
static int edit_order(const void *left, const void *right)
{
    const struct leaf_edit *a = left;
    const struct leaf_edit *b = right;
    if (a->range.page != b->range.page) {
        return a->range.page < b->range.page ? -1 : 1;
    }
    if (a->action != b->action) {
        return a->action < b->action ? -1 : 1;
    }
    return a->range.first_slot < b->range.first_slot ? -1 : a->range.first_slot > b->range.first_slot;
}

/* Room for what up to `pages` pages lose. A command punctures once. */
static bool punctures_begin(struct change *change, size_t pages)
{
    CHECK(change->outcome.punctured == NULL);
    change->outcome.punctured =
        scratch_take(&change->tables->scratch, (pages + 1) * sizeof(change->outcome.punctured[0]));
    return change->outcome.punctured != NULL;
}

static enum status edits_apply(struct change *change, const struct leaf_owner *owner, struct leaf_edit *edits,
                               size_t count)
{
    if (!punctures_begin(change, count)) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    qsort(edits, count, sizeof(edits[0]), edit_order);
    enum status status = STATUS_OK;
    for (size_t first = 0, end = 0; status == STATUS_OK && first < count; first = end) {
        while (end < count && edits[end].range.page == edits[first].range.page) {
            end++;
        }
        status = page_apply(change, owner, edits + first, end - first);
    }
    return status;
}

/* ---- lease ------------------------------------------------------------------------------------- */

static enum status page_open(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t *page,
                             Trilith__PageRecord **result)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    if (cluster->sealed_epoch != 0 && cluster->next_page >= cluster->sealed_pages_end) {
        return STATUS_BUSY;
    }
    Trilith__PageRecord *record = scratch_take(&change->tables->scratch, sizeof(*record));
    uint8_t *bitmaps = scratch_take(&change->tables->scratch, (size_t)2 * BITMAP_BYTES);
    if (record == NULL || bitmaps == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    trilith__page_record__init(record);
    record->tenant_id = tenant_id;
    record->bucket_id = bucket_id;
    record->used = (ProtobufCBinaryData){.data = bitmaps, .len = BITMAP_BYTES};
    record->punctured = (ProtobufCBinaryData){.data = bitmaps + BITMAP_BYTES, .len = BITMAP_BYTES};
    *page = cluster->next_page++;
    *result = record;
    tables_put_bytes(change->tables, key_bucket_page(tenant_id, bucket_id, *page), "", 0);
    return STATUS_OK;
}

/* The open page when it has fresh leaves, else a new one. */
static enum status page_with_fresh_leaves(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t *page,
                                          Trilith__PageRecord **record)
{
    if (*page != 0) {
        enum status status = page_get(change->tables, *page, record);
        if (status != STATUS_OK) {
            return tables_missing(change->tables, status);
        }
        if ((*record)->next_slot < PAGE_LEAVES) {
            return STATUS_OK;
        }
    }
    return page_open(change, tenant_id, bucket_id, page, record);
}

/* Add a lease of its next leaves to a page, for as many of those wanted as it has. */
static enum status page_lease(struct tables *tables, Trilith__PageRecord *record, const Trilith__LeaseLeaves *command,
                              Trilith__LeafLeaseRecord **result)
{
    uint32_t fresh = PAGE_LEAVES - record->next_slot;
    Trilith__LeafLeaseRecord *lease = scratch_take(&tables->scratch, sizeof(*lease));
    Trilith__LeafLeaseRecord **leases =
        scratch_take(&tables->scratch, (record->n_leases + 1) * sizeof(Trilith__LeafLeaseRecord *));
    if (lease == NULL || leases == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    trilith__leaf_lease_record__init(lease);
    lease->first_slot = record->next_slot;
    lease->count = command->count < fresh ? command->count : fresh;
    lease->node_id = command->node_id;
    lease->expires_ms = command->expires_ms;
    for (size_t i = 0; i < record->n_leases; i++) {
        leases[i] = record->leases[i];
    }
    leases[record->n_leases++] = lease;
    record->leases = leases;
    record->next_slot += lease->count;
    *result = lease;
    return STATUS_OK;
}

enum status leaves_lease(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t *open_page,
                         const Trilith__LeaseLeaves *command, const struct leaf_at *instead_of)
{
    CHECK(command->count >= 1);
    CHECK(command->count <= PAGE_LEAVES);
    struct page_edit edit = {.change = change};
    Trilith__LeafLeaseRecord *lease = NULL;
    enum status status = page_with_fresh_leaves(change, tenant_id, bucket_id, open_page, &edit.record);
    if (status == STATUS_OK) {
        status = page_lease(change->tables, edit.record, command, &lease);
    }
    if (status != STATUS_OK) {
        return status;
    }
    edit.changed = true;
    edit.puncture.page = *open_page;
    tables_put_number(change->tables, key_lease(lease->expires_ms, *open_page, lease->first_slot), lease->count);
    change->outcome.leased =
        (struct leaf_range){.page = *open_page, .first_slot = lease->first_slot, .count = lease->count};
    if (instead_of == NULL) {
        return page_finish(&edit);
    }

    const struct leaf_owner owner = {.tenant_id = tenant_id, .bucket_id = bucket_id};
    struct leaf_edit discard;
    CHECK(instead_of->idle);
    edits_add(&discard, LEAF_DISCARD, instead_of, 1);
    if (!punctures_begin(change, 1)) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    bool same_page = instead_of->page == *open_page; /* Then it is edited before it is written, once. */
    status = same_page ? page_edit_all(&edit, &owner, &discard, 1) : page_apply(change, &owner, &discard, 1);
    return status == STATUS_OK ? page_finish(&edit) : status;
}

/* ---- use and puncture -------------------------------------------------------------------------- */

enum status leaves_exchange(struct change *change, uint64_t tenant_id, uint64_t bucket_id, const struct leaf_at *used,
                            size_t used_count, const struct leaf_at *gone, size_t gone_count)
{
    const struct leaf_owner owner = {.tenant_id = tenant_id, .bucket_id = bucket_id};
    size_t count = used_count + gone_count;
    struct leaf_edit *edits = scratch_take(&change->tables->scratch, (count + 1) * sizeof(*edits));
    if (edits == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    edits_add(edits, LEAF_USE, used, used_count);
    edits_add(edits + used_count, LEAF_ERASE, gone, gone_count);
    return edits_apply(change, &owner, edits, count);
}

enum status leaves_give_up(struct change *change, uint64_t tenant_id, struct leaf_at leaf)
{
    Trilith__PageRecord *record = NULL;
    enum status status = page_get(change->tables, leaf.page, &record);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    if (leaf.slot >= record->next_slot || record->tenant_id != tenant_id || record->bucket_id == 0) {
        return STATUS_OK;
    }
    const struct leaf_owner owner = {.tenant_id = tenant_id, .bucket_id = record->bucket_id};
    struct leaf_edit edit;
    edits_add(&edit, LEAF_DISCARD, &leaf, 1);
    return edits_apply(change, &owner, &edit, 1);
}

/* ---- leases that have run out ------------------------------------------------------------------ */

static bool lease_has_lapsed(struct kv_slice key, uint64_t time_ms)
{
    return key.bytes == 17 && number_of_be((const uint8_t *)key.data + 1, 8) <= time_ms;
}

bool leaves_have_lapsed(struct tables *tables, uint64_t time_ms)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_lease(0, 0, 0), 1));
    bool lapsed = table_walk_row(&walk, &key, &value) && lease_has_lapsed(key, time_ms);
    table_walk_close(&walk);
    return lapsed;
}

enum status leaves_lapse(struct change *change)
{
    struct tables *tables = change->tables;
    struct leaf_edit *edits = scratch_take(&tables->scratch, LEASES_LAPSED_MAX * sizeof(*edits));
    if (edits == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    struct table_walk walk;
    struct kv_slice key, value;
    size_t count = 0;
    table_walk_open(&walk, tables, key_prefix(key_lease(0, 0, 0), 1));
    for (; count < LEASES_LAPSED_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (!lease_has_lapsed(key, change->time_ms)) {
            break;
        }
        const uint8_t *bytes = key.data;
        struct leaf_range range = {.page = (uint32_t)number_of_be(bytes + 9, 4),
                                   .first_slot = (uint32_t)number_of_be(bytes + 13, 4),
                                   .count = value.bytes == 8 ? (uint32_t)number_of_be(value.data, 8) : UINT32_MAX};
        edits[count++] = (struct leaf_edit){.action = LEAF_DISCARD, .range = range};
        tables_delete(tables, key_lease(number_of_be(bytes + 1, 8), range.page, range.first_slot));
    }
    table_walk_close(&walk);
    const struct leaf_owner nobody = {0};
    return tables->failed != STATUS_OK ? tables->failed : edits_apply(change, &nobody, edits, count);
}

/* ---- whole buckets ----------------------------------------------------------------------------- */

/* How many pages the walk has before it, but for those behind `max`. */
static size_t bucket_pages(struct table_walk *walk, size_t max)
{
    struct kv_slice key, value;
    size_t count = 0;
    for (; count < max && table_walk_row(walk, &key, &value); table_walk_next(walk)) {
        count++;
    }
    table_walk_seek(walk, &walk->prefix);
    return count;
}

static bool page_has_live_leaf(const Trilith__PageRecord *record)
{
    for (size_t i = 0; i < BITMAP_BYTES; i++) {
        if ((record->used.data[i] & ~record->punctured.data[i]) != 0) {
            return true;
        }
    }
    return false;
}

/* Puncture what is left of a page: if something on it lives, only when that is to go too. */
static enum status page_drop(struct change *change, enum leaf_action action, uint64_t tenant_id, uint64_t bucket_id,
                             uint32_t page)
{
    Trilith__PageRecord *record = NULL;
    enum status status = page_get(change->tables, page, &record);
    if (status != STATUS_OK) {
        return tables_missing(change->tables, status);
    }
    if (action == LEAF_DISCARD && page_has_live_leaf(record)) {
        return STATUS_OK;
    }
    const struct leaf_owner owner = {.tenant_id = tenant_id, .bucket_id = bucket_id};
    const struct leaf_edit all = {.action = action, .range = {.page = page, .count = PAGE_LEAVES}};
    tables_delete(change->tables, key_bucket_page(tenant_id, bucket_id, page));
    return page_apply(change, &owner, &all, 1);
}

/* Drop up to `max` pages of a bucket. */
static enum status pages_drop(struct change *change, enum leaf_action action, uint64_t tenant_id, uint64_t bucket_id,
                              size_t max, bool *more)
{
    struct tables *tables = change->tables;
    struct scratch *scratch = &tables->scratch;
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(key_bucket_page(tenant_id, bucket_id, 0), 17));
    size_t pages = bucket_pages(&walk, max);
    if (!punctures_begin(change, pages)) {
        status = tables_fail(tables, STATUS_TOO_LARGE);
    }
    for (; status == STATUS_OK && pages > 0 && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        /* The records of so many pages do not fit into the scratch together: each is given back. */
        size_t used_bytes = scratch->used;
        uint32_t page = (uint32_t)number_of_be((const uint8_t *)key.data + 17, 4);
        status = page_drop(change, action, tenant_id, bucket_id, page);
        scratch->used = used_bytes;
        pages--;
    }
    *more = status == STATUS_OK && table_walk_row(&walk, &key, &value);
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

enum status leaves_drop(struct change *change, uint64_t tenant_id, uint64_t bucket_id)
{
    bool more = false;
    return pages_drop(change, LEAF_DISCARD, tenant_id, bucket_id, PAGES_DROPPED_MAX, &more);
}

enum status leaves_drop_live(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t max_pages,
                             uint64_t *live_dropped, bool *more)
{
    CHECK(max_pages >= 1 && max_pages <= PAGES_DROPPED_MAX);
    uint64_t before = change->cluster->leaves_live;
    enum status status = pages_drop(change, LEAF_DROP, tenant_id, bucket_id, max_pages, more);
    *live_dropped = before - change->cluster->leaves_live;
    return status;
}

/* ---- for a vault that opens -------------------------------------------------------------------- */

enum status leaves_each_dirty(struct tables *tables, void (*each)(void *user, const struct page_puncture *puncture),
                              void *user)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_dirty_page(0, 0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (key.bytes != 13 || value.bytes != BITMAP_BYTES) {
            (void)tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        struct page_puncture puncture = {.page = (uint32_t)number_of_be((const uint8_t *)key.data + 9, 4)};
        memcpy(puncture.leaves.bits, value.data, BITMAP_BYTES);
        each(user, &puncture);
    }
    table_walk_close(&walk);
    return tables->failed;
}
