/* erasure.c - wipes owed and wipes done. */
#include "meta/erasure.h"

#include "meta/epochs.h"
#include "meta/leaves.h"

#include <stdlib.h>
#include <string.h>

/* An erasure while it is being opened: how much each disk owes, counted up before it is written. */
struct draft {
    struct change *change;
    uint64_t id;
    Trilith__ErasureRecord record;
    uint32_t owed[DISK_IDS_MAX + 1]; /* by disk id */
};

static struct draft *draft_begin(struct change *change, uint64_t tenant_id, const char *reason)
{
    struct draft *draft = scratch_take(&change->tables->scratch, sizeof(*draft));
    if (draft == NULL) {
        (void)tables_fail(change->tables, STATUS_TOO_LARGE);
        return NULL;
    }
    draft->change = change;
    draft->id = change->cluster->next_erasure_id;
    trilith__erasure_record__init(&draft->record);
    draft->record.tenant_id = tenant_id;
    draft->record.requested_ms = change->time_ms;
    draft->record.reason = scratch_copy(&change->tables->scratch, reason, strlen(reason));
    return draft->record.reason == NULL ? NULL : draft;
}

/* Let `disk_id` owe a wipe of `chunk`, unless it owes one already. */
static enum status draft_owe(struct draft *draft, uint32_t disk_id, const uint8_t *chunk)
{
    struct tables *tables = draft->change->tables;
    if (disk_id == 0 || disk_id > DISK_IDS_MAX) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    enum status status = tables_find(tables, key_wipe(disk_id, chunk));
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    tables_put_number(tables, key_wipe(disk_id, chunk), draft->id);
    draft->owed[disk_id]++;
    draft->record.wipes_total++;
    return STATUS_OK;
}

/* Every disk that is or was a member of the PG, and `holder` unless it is 0, owes a wipe of `chunk`.
 * STATUS_NOT_FOUND: no such PG. */
static enum status draft_add_chunk(struct draft *draft, const uint8_t *chunk, uint32_t pg_id, uint32_t holder)
{
    Trilith__PgRecord *pg = NULL;
    enum status status = tables_get(draft->change->tables, key_pg(pg_id), &trilith__pg_record__descriptor, &pg);
    bool holder_is_member = holder == 0;
    for (size_t i = 0; status == STATUS_OK && i < pg->n_members + pg->n_former; i++) {
        uint32_t disk_id = i < pg->n_members ? pg->members[i] : pg->former[i - pg->n_members];
        holder_is_member = holder_is_member || disk_id == holder;
        status = draft_owe(draft, disk_id, chunk);
    }
    return status == STATUS_OK && !holder_is_member ? draft_owe(draft, holder, chunk) : status;
}

/* The wipes of an erasure are done. It is closed when its keys are gone too: at once, or with all that the same seal took. */
static void count_wiped(Trilith__ClusterRecord *cluster, uint64_t erasure_id)
{
    if (erasure_id < cluster->keys_destroyed_below) {
        CHECK(cluster->erasures_open > 0);
        cluster->erasures_open--;
    } else if (erasure_id < cluster->keys_sealed_below) {
        cluster->wiped_sealed++;
    } else {
        cluster->wiped_since_seal++;
    }
}

static void draft_open(struct draft *draft)
{
    struct change *change = draft->change;
    change->cluster->next_erasure_id++;
    change->cluster->erasures_open++;
    change->outcome.erasure_id = draft->id;
    if (draft->record.wipes_total == 0) {
        draft->record.closed_ms = change->time_ms;
        count_wiped(change->cluster, draft->id);
    } else {
        tables_put_bytes(change->tables, key_erasure_open(draft->id), "", 0);
        for (uint32_t disk = 1; disk <= DISK_IDS_MAX; disk++) {
            if (draft->owed[disk] > 0) {
                tables_put_number(change->tables, key_erasure_disk(draft->id, disk), draft->owed[disk]);
            }
        }
    }
    tables_put(change->tables, key_erasure(draft->id), &draft->record);
}

enum status erasure_of_version(struct change *change, uint64_t tenant_id, const char *reason,
                               const Trilith__Object *version)
{
    struct draft *draft = draft_begin(change, tenant_id, reason);
    if (draft == NULL) {
        return change->tables->failed;
    }
    for (size_t i = 0; i < version->n_chunks; i++) {
        const Trilith__ChunkRef *chunk = version->chunks[i];
        if (chunk->chunk_id.len != 16) {
            return tables_fail(change->tables, STATUS_CORRUPT);
        }
        enum status status = draft_add_chunk(draft, chunk->chunk_id.data, chunk->pg, 0);
        if (status != STATUS_OK) {
            return tables_fail(change->tables, STATUS_CORRUPT);
        }
        tables_delete(change->tables, key_chunk(chunk->chunk_id.data));
        draft->record.chunks++;
    }
    draft_open(draft);
    return STATUS_OK;
}

/* ---- condemned chunks -------------------------------------------------------------------------- */

static int chunk_order(const void *left, const void *right)
{
    const Trilith__ChunkRef *const *a = left;
    const Trilith__ChunkRef *const *b = right;
    return memcmp((*a)->chunk_id.data, (*b)->chunk_id.data, 16);
}

enum status erasure_find_condemned(struct tables *tables, const uint8_t chunk_id[16])
{
    return tables_find(tables, key_condemned(chunk_id));
}

/* One chunk of a condemnation. A gateway's second word about the same chunk changes nothing. A disk that asks again
 * about a condemned chunk has it (again), whatever was reported before: that disk owes a wipe. */
static enum status condemn_chunk(struct draft *draft, const Trilith__CondemnChunks *command,
                                 const Trilith__ChunkRef *chunk)
{
    struct tables *tables = draft->change->tables;
    const uint8_t *id = chunk->chunk_id.data;
    enum status status = tables_find(tables, key_chunk(id));
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    uint32_t wipes_before = draft->record.wipes_total;
    bool known = false;
    status = erasure_find_condemned(tables, id);
    if (status == STATUS_OK) {
        known = true;
        status = command->disk_id != 0 ? draft_owe(draft, command->disk_id, id) : STATUS_OK;
    } else if (status == STATUS_NOT_FOUND) {
        status = draft_add_chunk(draft, id, chunk->pg, command->disk_id);
    }
    bool is_new = draft->record.wipes_total > wipes_before;
    draft->record.chunks += is_new ? 1 : 0;
    if (!known) {
        tables_put_number(tables, key_condemned(id), is_new ? draft->id : 0);
    }
    return status;
}

static bool condemnation_is_valid(const Trilith__CondemnChunks *command)
{
    bool orphan = command->reason == TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN;
    if (!orphan && command->reason != TRILITH__CONDEMN_REASON__CONDEMN_ABORT) {
        return false;
    }
    if (orphan != (command->disk_id != 0) || (orphan && command->page != 0) || command->n_chunks > ERASURE_CHUNKS_MAX) {
        return false;
    }
    for (size_t i = 0; i < command->n_chunks; i++) {
        if (command->chunks[i]->chunk_id.len != 16) {
            return false;
        }
    }
    return true;
}

enum status erasure_condemn(struct change *change, const Trilith__CondemnChunks *command)
{
    if (!condemnation_is_valid(command)) {
        return STATUS_INVALID;
    }
    bool orphan = command->reason == TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN;
    if (orphan) {
        enum status status = tables_find(change->tables, key_disk(command->disk_id));
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
        }
    }
    struct draft *draft = draft_begin(change, command->tenant_id, orphan ? "orphan" : "abort");
    Trilith__ChunkRef **sorted =
        scratch_take(&change->tables->scratch, (command->n_chunks + 1) * sizeof(Trilith__ChunkRef *));
    if (draft == NULL || sorted == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < command->n_chunks; i++) {
        sorted[i] = command->chunks[i];
    }
    qsort(sorted, command->n_chunks, sizeof(sorted[0]), chunk_order);

    for (size_t i = 0; i < command->n_chunks; i++) {
        if (i > 0 && chunk_order(&sorted[i - 1], &sorted[i]) == 0) {
            continue;
        }
        /* A PG that does not exist makes the whole request malformed, referenced or not. */
        enum status status = tables_find(change->tables, key_pg(sorted[i]->pg));
        if (status == STATUS_OK) {
            status = condemn_chunk(draft, command, sorted[i]);
        }
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
        }
    }
    if (draft->record.chunks > 0) {
        draft_open(draft);
    }
    const struct leaf_at leaf = {.page = command->page, .slot = command->slot};
    return leaf.page != 0 ? leaves_give_up(change, command->tenant_id, leaf) : STATUS_OK;
}

/* ---- wipes done -------------------------------------------------------------------------------- */

static int result_order(const void *left, const void *right)
{
    const Trilith__WipeResult *a = *(const Trilith__WipeResult *const *)left;
    const Trilith__WipeResult *b = *(const Trilith__WipeResult *const *)right;
    if (a->erasure_id != b->erasure_id) {
        return a->erasure_id < b->erasure_id ? -1 : 1;
    }
    int order = memcmp(a->chunk_id.data, b->chunk_id.data, 16);
    return order != 0 ? order : (int)a->outcome - (int)b->outcome;
}

static bool results_are_valid(const Trilith__RecordWipes *command)
{
    if (command->n_results > WIPES_PULLED_MAX) {
        return false;
    }
    for (size_t i = 0; i < command->n_results; i++) {
        if (command->results[i]->chunk_id.len != 16 ||
            command->results[i]->outcome == TRILITH__WIPE_OUTCOME__WIPE_NONE ||
            (unsigned)command->results[i]->outcome > TRILITH__WIPE_OUTCOME__WIPE_FAILED) {
            return false;
        }
    }
    return true;
}

/* Settle `count` results that all belong to one erasure; equal chunks stand side by side, the best outcome first. */
static enum status settle(struct change *change, uint32_t disk_id, Trilith__WipeResult *const *results, size_t count)
{
    struct tables *tables = change->tables;
    uint64_t erasure_id = results[0]->erasure_id;
    uint32_t done = 0;
    uint32_t refused = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *chunk = results[i]->chunk_id.data;
        if (i > 0 && memcmp(results[i - 1]->chunk_id.data, chunk, 16) == 0) {
            continue;
        }
        uint64_t owed_to = 0;
        enum status status = tables_get_number(tables, key_wipe(disk_id, chunk), &owed_to);
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && owed_to != erasure_id)) {
            continue;
        }
        if (status != STATUS_OK) {
            return status;
        }
        if (results[i]->outcome == TRILITH__WIPE_OUTCOME__WIPE_FAILED) {
            refused++;
        } else {
            tables_delete(tables, key_wipe(disk_id, chunk));
            done++;
        }
    }
    if (done == 0 && refused == 0) {
        return STATUS_OK;
    }

    Trilith__ErasureRecord *record = NULL;
    uint64_t disk_owes = 0;
    if (tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record) != STATUS_OK ||
        tables_get_number(tables, key_erasure_disk(erasure_id, disk_id), &disk_owes) != STATUS_OK || disk_owes < done) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    record->wipes_done += done;
    record->wipes_failed += refused;
    if (disk_owes == done) {
        tables_delete(tables, key_erasure_disk(erasure_id, disk_id));
    } else {
        tables_put_number(tables, key_erasure_disk(erasure_id, disk_id), disk_owes - done);
    }
    if (record->wipes_done == record->wipes_total) {
        record->closed_ms = change->time_ms;
        tables_delete(tables, key_erasure_open(erasure_id));
        count_wiped(change->cluster, erasure_id);
    }
    tables_put(tables, key_erasure(erasure_id), record);
    return STATUS_OK;
}

enum status erasure_record_wipes(struct change *change, const Trilith__RecordWipes *command)
{
    if (!results_are_valid(command)) {
        return STATUS_INVALID;
    }
    size_t count = command->n_results;
    Trilith__WipeResult **sorted = scratch_take(&change->tables->scratch, (count + 1) * sizeof(Trilith__WipeResult *));
    if (sorted == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = command->results[i];
    }
    qsort(sorted, count, sizeof(sorted[0]), result_order);

    for (size_t first = 0, end = 0; first < count; first = end) {
        while (end < count && sorted[end]->erasure_id == sorted[first]->erasure_id) {
            end++;
        }
        enum status status = settle(change, command->disk_id, sorted + first, end - first);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status erasure_pull(struct tables *tables, uint32_t disk_id, const uint8_t *after, uint32_t max,
                         Trilith__WipePullReply *reply)
{
    static const uint8_t first_chunk[16];
    CHECK(max <= WIPES_PULLED_MAX);
    reply->wipes = scratch_take(&tables->scratch, (max + 1) * sizeof(Trilith__Wipe *));
    if (reply->wipes == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    if (after != NULL) {
        struct table_key start = key_wipe(disk_id, after);
        key_after(&start);
        table_walk_seek(&walk, &start);
    }
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (reply->n_wipes == max) {
            reply->more = true;
            break;
        }
        Trilith__Wipe *wipe = scratch_take(&tables->scratch, sizeof(*wipe));
        if (wipe == NULL || key.bytes != 21 || value.bytes != 8) {
            status = tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        trilith__wipe__init(wipe);
        wipe->chunk_id.data = scratch_copy(&tables->scratch, (const uint8_t *)key.data + 5, 16);
        wipe->chunk_id.len = 16;
        wipe->erasure_id = number_of_be(value.data, 8);
        reply->wipes[reply->n_wipes++] = wipe;
    }
    table_walk_close(&walk);
    return tables->scratch.exhausted ? STATUS_TOO_LARGE : status;
}

bool erasure_disk_owes(struct tables *tables, uint32_t disk_id)
{
    static const uint8_t first_chunk[16];
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    bool owes = table_walk_row(&walk, &key, &value);
    table_walk_close(&walk);
    return owes;
}

/* The disks that still owe wipes of an erasure. */
static enum status open_disks_fill(struct tables *tables, Trilith__Erasure *erasure)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_erasure_disk(erasure->id, 0), 9));
    size_t count = 0;
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    if (count > 0) {
        erasure->open_disks = scratch_take(&tables->scratch, count * sizeof(erasure->open_disks[0]));
    }
    table_walk_seek(&walk, &walk.prefix);
    while (erasure->open_disks != NULL && erasure->n_open_disks < count && table_walk_row(&walk, &key, &value)) {
        erasure->open_disks[erasure->n_open_disks++] =
            key.bytes == 13 ? (uint32_t)number_of_be((const uint8_t *)key.data + 9, 4) : 0;
        table_walk_next(&walk);
    }
    table_walk_close(&walk);
    return tables->scratch.exhausted ? STATUS_TOO_LARGE : tables->failed;
}

/* Did the erasure take the key of its chunks along? A chunk that was given up, or that nobody knows, says nothing of the
 * leaf behind it: that may live on in the version that was written in the end, or lapse later. No claim is made then. */
static bool takes_its_key(const Trilith__Erasure *erasure)
{
    return strcmp(erasure->reason, "abort") != 0 && strcmp(erasure->reason, "orphan") != 0;
}

/* Whether its keys are destroyed, and so whether it is closed: `closed_ms` says when its wipes were done. */
static enum status keys_fill(struct tables *tables, Trilith__Erasure *erasure)
{
    Trilith__EpochRecord *epoch = NULL;
    enum status status = epochs_of_erasure(tables, erasure->id, &epoch);
    if (status == STATUS_NOT_FOUND) {
        erasure->closed_ms = 0;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (takes_its_key(erasure)) {
        erasure->key_destroyed = true;
        erasure->key_epoch = epoch->epoch;
        erasure->key_destroyed_ms = epoch->destroyed_ms;
    }
    if (erasure->closed_ms != 0 && erasure->closed_ms < epoch->destroyed_ms) {
        erasure->closed_ms = epoch->destroyed_ms;
    }
    return STATUS_OK;
}

enum status erasure_get(struct tables *tables, uint64_t erasure_id, Trilith__Erasure **result)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__Erasure *erasure = scratch_take(&tables->scratch, sizeof(*erasure));
    if (erasure == NULL) {
        return STATUS_TOO_LARGE;
    }
    trilith__erasure__init(erasure);
    erasure->id = erasure_id;
    erasure->tenant_id = record->tenant_id;
    erasure->requested_ms = record->requested_ms;
    erasure->closed_ms = record->closed_ms;
    erasure->reason = record->reason;
    erasure->chunks = record->chunks;
    erasure->wipes_total = record->wipes_total;
    erasure->wipes_done = record->wipes_done;
    status = keys_fill(tables, erasure);
    if (status == STATUS_OK) {
        status = open_disks_fill(tables, erasure);
    }
    *result = erasure;
    return status;
}

/* ---- listing ----------------------------------------------------------------------------------- */

/* Ids from `first` up to `end`, of a table whose keys are a letter and an id, until the reply is full. */
struct id_range {
    struct table_key first;
    uint64_t end;
};

static enum status list_range(struct tables *tables, const struct id_range *range, uint32_t max,
                              Trilith__ErasureListReply *reply)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(range->first, 1));
    table_walk_seek(&walk, &range->first);
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        uint64_t id = key.bytes == 9 ? number_of_be((const uint8_t *)key.data + 1, 8) : 0;
        if (id == 0) {
            status = tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        if (id >= range->end) {
            break;
        }
        if (reply->n_erasures == max) {
            reply->more = max > 0;
            break;
        }
        status = erasure_get(tables, id, &reply->erasures[reply->n_erasures]);
        if (status != STATUS_OK) {
            status = status == STATUS_NOT_FOUND ? tables_missing(tables, status) : status;
            break;
        }
        reply->n_erasures++;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

/* Erasures from this id on are open whatever became of their wipes. */
static enum status keys_bound(struct tables *tables, uint64_t *keys_destroyed_below)
{
    Trilith__ClusterRecord *cluster = NULL;
    enum status status = tables_get(tables, key_cluster(), &trilith__cluster_record__descriptor, &cluster);
    if (status == STATUS_OK) {
        *keys_destroyed_below = cluster->keys_destroyed_below;
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status erasure_list(struct tables *tables, uint64_t after_id, uint32_t max, bool open_only,
                         Trilith__ErasureListReply *reply)
{
    reply->erasures = scratch_take(&tables->scratch, ((size_t)max + 1) * sizeof(Trilith__Erasure *));
    if (reply->erasures == NULL) {
        return STATUS_TOO_LARGE;
    }
    if (after_id == UINT64_MAX) {
        return STATUS_OK;
    }
    uint64_t first = after_id + 1;
    uint64_t bound = 0;
    enum status status = open_only ? keys_bound(tables, &bound) : STATUS_OK;
    if (status == STATUS_OK && first < bound) {
        const struct id_range wipes_open = {.first = key_erasure_open(first), .end = bound};
        status = list_range(tables, &wipes_open, max, reply);
        first = bound;
    }
    if (status == STATUS_OK && !reply->more) {
        const struct id_range rest = {.first = key_erasure(first), .end = UINT64_MAX};
        status = list_range(tables, &rest, max, reply);
    }
    return status;
}
