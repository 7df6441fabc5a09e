/* erasure_draft.c - writing down who must wipe what: disks that are asked, the plan, and the rows. */
#include "meta/erasure_private.h"

#include "meta/registry.h"

#include "base/bytes.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

#define PLANNED_WIPE_BYTES (4 + 16)
#define PLAN_BLOCK_MIN     (51 * PLANNED_WIPE_BYTES) /* so many chunks on three disks: most versions need no second one */
#define PLAN_BLOCK_MAX     (3276 * PLANNED_WIPE_BYTES)

/* Wipes in the order in which they were written down, for plan_sha256. */
struct plan_block {
    struct plan_block *next;
    size_t used_bytes;
    size_t capacity_bytes;
    uint8_t *wipes;
};

enum disk_standing { DISK_NOT_ASKED, DISK_STANDS, DISK_IS_REMOVED, DISK_IS_DEAD };

/* ---- begin ------------------------------------------------------------------------------------- */

/* One that adds to `record`, or begins it. NULL: the tables have failed. */
struct erasure_draft *draft_of(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record)
{
    struct erasure_draft *draft = scratch_take(&change->tables->scratch, sizeof(*draft));
    if (draft == NULL) {
        (void)tables_fail(change->tables, STATUS_TOO_LARGE);
        return NULL;
    }
    draft->change = change;
    draft->id = erasure_id;
    draft->record = record;
    draft->exists = erasure_id != 0;
    draft->was_wiped = draft->exists && erasure_is_wiped(record);
    return draft;
}

struct erasure_draft *draft_begin(struct change *change, uint64_t tenant_id, const char *reason)
{
    struct scratch *scratch = &change->tables->scratch;
    Trilith__ErasureRecord *record = scratch_take(scratch, sizeof(*record));
    char *copy = scratch_copy(scratch, reason, strlen(reason));
    if (record == NULL || copy == NULL) {
        (void)tables_fail(change->tables, STATUS_TOO_LARGE);
        return NULL;
    }
    trilith__erasure_record__init(record);
    record->tenant_id = tenant_id;
    record->requested_ms = change->time_ms;
    record->reason = copy;
    record->index = change->index;
    return draft_of(change, 0, record);
}

void draft_take_id(struct erasure_draft *draft)
{
    Trilith__ClusterRecord *cluster = draft->change->cluster;
    if (draft->id == 0) {
        draft->id = cluster->next_erasure_id++;
        cluster->erasures_open++;
    }
}

/* What this command punctures is taken by the next seal. */
void draft_puncture(struct erasure_draft *draft)
{
    draft->record->seal = draft->change->cluster->seal + 1;
    draft->record->punctured_index = draft->change->index;
    draft->record->punctured_ms = draft->change->time_ms;
}

static enum status plan_note(struct erasure_draft *draft, uint32_t disk_id, const uint8_t *chunk)
{
    struct scratch *scratch = &draft->change->tables->scratch;
    struct plan_block *block = draft->plan_last;
    if (block == NULL || block->used_bytes == block->capacity_bytes) {
        size_t capacity_bytes = block == NULL ? PLAN_BLOCK_MIN : PLAN_BLOCK_MAX;
        struct plan_block *added = scratch_take(scratch, sizeof(*added));
        uint8_t *wipes = scratch_take(scratch, capacity_bytes);
        if (added == NULL || wipes == NULL) {
            return tables_fail(draft->change->tables, STATUS_TOO_LARGE);
        }
        *added = (struct plan_block){.capacity_bytes = capacity_bytes, .wipes = wipes};
        *(block == NULL ? &draft->plan : &block->next) = added;
        draft->plan_last = added;
        block = added;
    }
    struct byte_writer writer = byte_writer_of(block->wipes + block->used_bytes, PLANNED_WIPE_BYTES);
    write_u32_be(&writer, disk_id);
    write_bytes(&writer, chunk, 16);
    block->used_bytes += PLANNED_WIPE_BYTES;
    return STATUS_OK;
}

/* The plan so far; what was planned by commands before stands for itself by its hash. */
static enum status plan_end(struct erasure_draft *draft)
{
    Trilith__ErasureRecord *record = draft->record;
    bool is_ended = record->plan_sha256.len == 0 && !record->pending;
    if (!erasure_is_certifiable(record) || (draft->plan == NULL && !is_ended)) {
        return STATUS_OK;
    }
    uint8_t *sum = scratch_take(&draft->change->tables->scratch, SHA256_BYTES);
    if (sum == NULL) {
        return tables_fail(draft->change->tables, STATUS_TOO_LARGE);
    }
    struct digest digest;
    digest_begin(&digest, DIGEST_SHA256);
    digest_update(&digest, record->plan_sha256.data, record->plan_sha256.len);
    for (const struct plan_block *block = draft->plan; block != NULL; block = block->next) {
        digest_update(&digest, block->wipes, block->used_bytes);
    }
    digest_end(&digest, sum);
    record->plan_sha256 = (ProtobufCBinaryData){.data = sum, .len = SHA256_BYTES};
    return STATUS_OK;
}

/* Does the disk still answer? */
static enum status disk_ask(struct erasure_draft *draft, uint32_t disk_id)
{
    struct tables *tables = draft->change->tables;
    if (disk_id == 0 || disk_id > DISK_IDS_MAX) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    if (draft->standing[disk_id] != DISK_NOT_ASKED) {
        return STATUS_OK;
    }
    Trilith__MapDisk *disk = NULL;
    enum status status = registry_disk(tables, disk_id, &disk);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    bool is_removed = disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED;
    draft->standing[disk_id] = !is_removed ? DISK_STANDS : disk->dead ? DISK_IS_DEAD : DISK_IS_REMOVED;
    return STATUS_OK;
}

struct taken_wipe {
    uint64_t erasure_id; /* that was owed it */
    uint32_t disk_id;
    struct taken_wipe *next;
};

/* The disk owes the wipe to another erasure. Does this one take it over? STATUS_NOT_FOUND: it does. */
static enum status draft_take_over(struct erasure_draft *draft, uint32_t disk_id, const struct wipe_owed *before)
{
    struct tables *tables = draft->change->tables;
    Trilith__ErasureRecord *other = NULL;
    if (before->erasure_id == draft->id || !erasure_is_certifiable(draft->record)) {
        return STATUS_OK;
    }
    enum status status = erasure_record(tables, before->erasure_id, &other);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    if (erasure_is_certifiable(other)) {
        return STATUS_OK;
    }
    struct taken_wipe *taken = scratch_take(&tables->scratch, sizeof(*taken));
    if (taken == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    *taken = (struct taken_wipe){.erasure_id = before->erasure_id, .disk_id = disk_id, .next = draft->change->taken};
    draft->change->taken = taken;
    draft->change->taken_count++;
    return STATUS_NOT_FOUND;
}

enum status draft_owe(struct erasure_draft *draft, uint32_t disk_id, bool has, const uint8_t *chunk)
{
    struct tables *tables = draft->change->tables;
    struct wipe_owed before;
    enum status status = disk_ask(draft, disk_id);
    if (status == STATUS_OK) {
        status = wipe_get(tables, disk_id, chunk, &before);
    }
    bool is_owed = status == STATUS_OK;
    if (is_owed) {
        status = draft_take_over(draft, disk_id, &before);
    }
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    draft_take_id(draft);
    draft->record->wipes_total++;
    if (has || is_owed || draft->standing[disk_id] == DISK_STANDS) {
        const struct wipe_owed owed = {.erasure_id = draft->id, .technique = draft->record->technique};
        wipe_put(tables, disk_id, chunk, &owed);
        draft->owed[disk_id]++;
    } else {
        draft->removed[disk_id]++;
        draft->record->wipes_done++;
    }
    return plan_note(draft, disk_id, chunk);
}

/* Every disk that is, was or is about to be a member of the PG, and `holder`, which says that it has a copy, unless it
 * is 0, owes a wipe of `chunk`. STATUS_NOT_FOUND: no such PG. */
enum status draft_add_chunk(struct erasure_draft *draft, const uint8_t *chunk, uint32_t pg_id, uint32_t holder)
{
    Trilith__PgRecord *pg = NULL;
    enum status status = tables_get(draft->change->tables, key_pg(pg_id), &trilith__pg_record__descriptor, &pg);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t asked[2] = {pg->target, holder}; /* Unless they are among the others. */
    for (size_t i = 0; status == STATUS_OK && i < pg->n_members + pg->n_former; i++) {
        uint32_t disk_id = i < pg->n_members ? pg->members[i] : pg->former[i - pg->n_members];
        asked[0] = asked[0] == disk_id ? 0 : asked[0];
        asked[1] = asked[1] == disk_id ? 0 : asked[1];
        status = draft_owe(draft, disk_id, disk_id == holder, chunk);
    }
    asked[1] = asked[1] == asked[0] ? 0 : asked[1];
    for (size_t i = 0; status == STATUS_OK && i < 2; i++) {
        status = asked[i] != 0 ? draft_owe(draft, asked[i], asked[i] == holder, chunk) : STATUS_OK;
    }
    return status;
}

/* What the disk owes besides what it owed. */
static enum status draft_put_owed(struct erasure_draft *draft, uint32_t disk_id)
{
    struct tables *tables = draft->change->tables;
    uint64_t before = 0;
    if (draft->exists) {
        enum status status = tables_get_number(tables, key_erasure_disk(draft->id, disk_id), &before);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
    }
    tables_put_number(tables, key_erasure_disk(draft->id, disk_id), before + draft->owed[disk_id]);
    return STATUS_OK;
}

static enum status draft_put_removed(struct erasure_draft *draft, uint32_t disk_id)
{
    struct change *change = draft->change;
    Trilith__DiskWipesRecord *wipes = NULL;
    enum status status = disk_wipes_get(change->tables, draft->id, disk_id, &wipes);
    if (status != STATUS_OK) {
        return status;
    }
    wipes->removed += draft->removed[disk_id];
    wipes->dead = draft->standing[disk_id] == DISK_IS_DEAD;
    wipes->finished_ms = change->time_ms;
    tables_put(change->tables, key_disk_wipes(draft->id, disk_id), wipes);
    return STATUS_OK;
}

static int taken_order(const void *left, const void *right)
{
    const struct taken_wipe *a = *(const struct taken_wipe *const *)left;
    const struct taken_wipe *b = *(const struct taken_wipe *const *)right;
    if (a->erasure_id != b->erasure_id) {
        return a->erasure_id < b->erasure_id ? -1 : 1;
    }
    return a->disk_id < b->disk_id ? -1 : a->disk_id > b->disk_id ? 1 : 0;
}

/* Take what was taken over off one erasure: `count` wipes, by disk. */
static enum status let_go_of_one(struct change *change, struct taken_wipe *const *taken, size_t count)
{
    uint64_t erasure_id = taken[0]->erasure_id;
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(change->tables, erasure_id, &record);
    for (size_t first = 0, end = 0; status == STATUS_OK && first < count; first = end) {
        while (end < count && taken[end]->disk_id == taken[first]->disk_id) {
            end++;
        }
        status = erasure_let_go(change, erasure_id, record, taken[first]->disk_id, (uint32_t)(end - first));
    }
    if (status == STATUS_OK) {
        erasure_let_go_end(change, erasure_id, record);
    }
    return status;
}

enum status erasure_end_change(struct change *change)
{
    if (change->taken_count == 0) {
        return STATUS_OK;
    }
    struct taken_wipe **taken = scratch_take(&change->tables->scratch, change->taken_count * sizeof(taken[0]));
    if (taken == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    size_t count = 0;
    for (struct taken_wipe *wipe = change->taken; wipe != NULL; wipe = wipe->next) {
        taken[count++] = wipe;
    }
    qsort(taken, count, sizeof(taken[0]), taken_order);
    enum status status = STATUS_OK;
    for (size_t first = 0, end = 0; status == STATUS_OK && first < count; first = end) {
        while (end < count && taken[end]->erasure_id == taken[first]->erasure_id) {
            end++;
        }
        status = let_go_of_one(change, taken + first, end - first);
    }
    return status;
}

/* Write it down. */
enum status draft_end(struct erasure_draft *draft)
{
    struct change *change = draft->change;
    draft_take_id(draft);
    change->outcome.erasure_id = draft->id;
    enum status status = plan_end(draft);
    for (uint32_t disk = 1; status == STATUS_OK && disk <= DISK_IDS_MAX; disk++) {
        if (draft->owed[disk] > 0) {
            status = draft_put_owed(draft, disk);
        }
        if (status == STATUS_OK && draft->removed[disk] > 0) {
            status = draft_put_removed(draft, disk);
        }
    }
    bool is_wiped = erasure_is_wiped(draft->record);
    if (status == STATUS_OK && draft->was_wiped && !is_wiped) {
        status = erasure_unfinish(change, draft->id, draft->record);
    } else if (status == STATUS_OK && !draft->was_wiped && is_wiped) {
        erasure_finish(change, draft->id, draft->record);
    } else if (!draft->exists) {
        tables_put_bytes(change->tables, key_erasure_open(draft->id), "", 0);
    }
    tables_put(change->tables, key_erasure(draft->id), draft->record);
    return status == STATUS_OK ? change->tables->failed : status;
}
