/* erasure_read.c - what is known of erasures: for nodes, for people, for certificates. */
#include "meta/erasure_private.h"

#include "meta/certificates.h"
#include "meta/epochs.h"

#include <stdio.h>
#include <string.h>

#define WAITING_BYTES 96

/* ---- what a record says ------------------------------------------------------------------------ */

bool erasure_is_certifiable(const Trilith__ErasureRecord *record)
{
    static const char *const reasons[] = {"delete", "overwrite", "expire", "tenant"};
    bool found = false;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        found = found || strcmp(record->reason, reasons[i]) == 0;
    }
    return found && record->index != 0;
}

bool erasure_keys_are_gone(const Trilith__ClusterRecord *cluster, uint64_t erasure_id,
                           const Trilith__ErasureRecord *record)
{
    if (record->pending) {
        return false;
    }
    return record->seal != 0 ? record->seal <= cluster->erased_seal : erasure_id < cluster->keys_destroyed_below;
}

bool erasure_is_wiped(const Trilith__ErasureRecord *record)
{
    return !record->pending && record->taken_back_ms == 0 && record->wipes_done == record->wipes_total;
}

enum status erasure_record(struct tables *tables, uint64_t erasure_id, Trilith__ErasureRecord **record)
{
    return tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, record);
}

enum status erasure_attestation(struct tables *tables, const uint8_t sha256[32], Trilith__AttestationRecord **record)
{
    return tables_get(tables, key_attestation(sha256), &trilith__attestation_record__descriptor, record);
}

/* The epoch with which its keys were destroyed. STATUS_NOT_FOUND: they are not. */
static enum status epoch_of(struct tables *tables, uint64_t erasure_id, const Trilith__ErasureRecord *record,
                            Trilith__EpochRecord **epoch)
{
    if (record->pending || record->taken_back_ms != 0) {
        return STATUS_NOT_FOUND;
    }
    return record->seal != 0 ? epochs_of_seal(tables, record->seal, epoch)
                             : epochs_of_erasure(tables, erasure_id, epoch);
}

/* ---- wipes ------------------------------------------------------------------------------------- */

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
        struct wipe_owed owed;
        Trilith__Wipe *wipe = scratch_take(&tables->scratch, sizeof(*wipe));
        if (wipe == NULL || key.bytes != 21 || !wipe_decode(value, &owed)) {
            status = tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        trilith__wipe__init(wipe);
        wipe->chunk_id.data = scratch_copy(&tables->scratch, (const uint8_t *)key.data + 5, 16);
        wipe->chunk_id.len = 16;
        wipe->erasure_id = owed.erasure_id;
        wipe->technique = owed.technique;
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

/* ---- one erasure ------------------------------------------------------------------------------- */

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

/* Did the erasure take the key of its chunks along? A chunk that was given up, or that nobody knows, says nothing of
 * the leaf behind it: that may live on in the version that was written in the end, or lapse later; one that was moved
 * is in use. No claim is made then. */
static bool takes_its_key(const Trilith__Erasure *erasure)
{
    static const char *const reasons[] = {"abort", "orphan", "move"};
    bool takes = true;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        takes = takes && strcmp(erasure->reason, reasons[i]) != 0;
    }
    return takes;
}

/* Whether its keys are destroyed, and so whether it is closed: `closed_ms` says when its wipes were done. */
static enum status keys_fill(struct tables *tables, const Trilith__ErasureRecord *record, Trilith__Erasure *erasure)
{
    Trilith__EpochRecord *epoch = NULL;
    enum status status = epoch_of(tables, erasure->id, record, &epoch);
    if (status == STATUS_NOT_FOUND) {
        erasure->closed_ms = record->taken_back_ms;
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

/* What there is of grace time and holds: a hold that outlasts the grace time keeps the deletion from going on. */
static enum status grace_fill(struct tables *tables, const Trilith__ErasureRecord *record, Trilith__Erasure *erasure)
{
    Trilith__GraceRecord *grace = NULL;
    if (!record->pending || record->grace_until_ms == 0) {
        return STATUS_OK;
    }
    erasure->grace_until_ms = record->grace_until_ms;
    enum status status = tables_get(tables, key_grace(erasure->id), &trilith__grace_record__descriptor, &grace);
    if (status == STATUS_OK && grace->object != NULL) {
        erasure->held = grace->object->legal_hold || grace->object->retain_until_ms > record->grace_until_ms;
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* The id of its certificate. */
static enum status certificate_fill(struct tables *tables, const Trilith__ErasureRecord *record,
                                    Trilith__Erasure *erasure)
{
    Trilith__Certificate *certificate = NULL;
    erasure->certifiable = erasure_is_certifiable(record) && record->taken_back_ms == 0;
    if (record->certificate_seq == 0) {
        return STATUS_OK;
    }
    enum status status = certificate_by_seq(tables, record->certificate_seq, &certificate);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    erasure->certificate = certificate->id;
    return STATUS_OK;
}

/* What it waits for, in the order of its way. Nothing for one that has come to its end. */
static void waiting_say(const Trilith__ErasureRecord *record, const Trilith__Erasure *erasure, char text[WAITING_BYTES])
{
    bool is_closed = erasure->closed_ms != 0;
    bool is_reopened = record->reopened_ms != 0 && !is_closed;
    if (record->taken_back_ms != 0) {
        return;
    }
    if (record->pending) {
        const char *what = erasure->held                 ? "the end of a hold"
                           : record->grace_until_ms != 0 ? "the end of its grace time"
                                                         : "the rest of what is the tenant's";
        (void)snprintf(text, WAITING_BYTES, "%s", what);
    } else if (record->wipes_done < record->wipes_total) {
        (void)snprintf(text, WAITING_BYTES, "%u copies on %zu disk%s to be wiped%s",
                       record->wipes_total - record->wipes_done, erasure->n_open_disks,
                       erasure->n_open_disks == 1 ? "" : "s", is_reopened ? ", which turned up later" : "");
    } else if (!is_closed) {
        (void)snprintf(text, WAITING_BYTES, "the close of the epoch that has its keys");
    } else if (erasure->certifiable && (record->certificate_seq == 0 || record->certificate_ms < record->reopened_ms)) {
        (void)snprintf(text, WAITING_BYTES, "its certificate");
    }
}

/* Everything that other rows say about it. */
static enum status erasure_complete(struct tables *tables, const Trilith__ErasureRecord *record,
                                    Trilith__Erasure *erasure)
{
    enum status status = keys_fill(tables, record, erasure);
    if (status == STATUS_OK) {
        status = open_disks_fill(tables, erasure);
    }
    if (status == STATUS_OK) {
        status = grace_fill(tables, record, erasure);
    }
    if (status == STATUS_OK) {
        status = certificate_fill(tables, record, erasure);
    }
    char waiting[WAITING_BYTES] = "";
    if (status == STATUS_OK) {
        waiting_say(record, erasure, waiting);
        erasure->waiting = scratch_copy(&tables->scratch, waiting, strlen(waiting));
        status = erasure->waiting != NULL ? STATUS_OK : STATUS_TOO_LARGE;
    }
    return status;
}

enum status erasure_get(struct tables *tables, uint64_t erasure_id, Trilith__Erasure **result)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(tables, erasure_id, &record);
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
    erasure->bytes = record->object_bytes;
    erasure->reopened = record->reopened;
    erasure->taken_back_ms = record->tenant_request == 0 ? record->taken_back_ms : 0;
    erasure->tenant_request = record->taken_back_ms != 0 ? record->tenant_request : 0;
    *result = erasure;
    return erasure_complete(tables, record, erasure);
}

/* ---- facts for a certificate ------------------------------------------------------------------- */

/* Rows about disks of an erasure: those that owe (W), those that were settled (f). Both are in the order of disks. */
struct disk_rows {
    struct table_walk walk;
    uint32_t disk_id; /* of the row where it stands; UINT32_MAX: behind the last */
};

static void disk_rows_look(struct disk_rows *rows)
{
    struct kv_slice key, value;
    bool found = table_walk_row(&rows->walk, &key, &value) && key.bytes == 13;
    rows->disk_id = found ? (uint32_t)number_of_be((const uint8_t *)key.data + 9, 4) : UINT32_MAX;
}

static void disk_rows_open(struct disk_rows *rows, struct tables *tables, struct table_key key)
{
    table_walk_open(&rows->walk, tables, key_prefix(key, 9));
    disk_rows_look(rows);
}

/* Go behind `disk_id`. */
static void disk_rows_pass(struct disk_rows *rows, uint32_t disk_id)
{
    if (rows->disk_id == disk_id) {
        table_walk_next(&rows->walk);
        disk_rows_look(rows);
    }
}

static enum status facts_add_disk(struct tables *tables, struct erasure_facts *facts, uint32_t disk_id)
{
    struct erasure_disk *disk = &facts->disks[facts->disk_count++];
    disk->disk_id = disk_id;
    enum status status = tables_get_number(tables, key_erasure_disk(facts->id, disk_id), &disk->owed);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    return disk_wipes_get(tables, facts->id, disk_id, &disk->wipes);
}

/* Count the disks, or, with room for them, fill them in. */
static enum status facts_disks(struct tables *tables, struct erasure_facts *facts, size_t *count)
{
    struct disk_rows owing, settled;
    enum status status = STATUS_OK;
    disk_rows_open(&owing, tables, key_erasure_disk(facts->id, 0));
    disk_rows_open(&settled, tables, key_disk_wipes(facts->id, 0));
    *count = 0;
    for (;;) {
        uint32_t disk_id = owing.disk_id < settled.disk_id ? owing.disk_id : settled.disk_id;
        if (disk_id == UINT32_MAX || status != STATUS_OK) {
            break;
        }
        (*count)++;
        if (facts->disks != NULL) {
            status = facts_add_disk(tables, facts, disk_id);
        }
        disk_rows_pass(&owing, disk_id);
        disk_rows_pass(&settled, disk_id);
    }
    table_walk_close(&owing.walk);
    table_walk_close(&settled.walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status facts_keys(struct tables *tables, struct erasure_facts *facts)
{
    enum status status = epoch_of(tables, facts->id, facts->record, &facts->epoch);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    facts->keys_gone = true;
    status = epochs_get(tables, facts->epoch->epoch + 1, &facts->epoch_next);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

enum status erasure_facts(struct tables *tables, uint64_t erasure_id, struct erasure_facts *facts)
{
    *facts = (struct erasure_facts){.id = erasure_id};
    size_t count = 0;
    enum status status = erasure_record(tables, erasure_id, &facts->record);
    if (status == STATUS_OK) {
        status = facts_keys(tables, facts);
    }
    if (status == STATUS_OK) {
        status = facts_disks(tables, facts, &count);
    }
    if (status == STATUS_OK) {
        facts->disks = scratch_take(&tables->scratch, (count + 1) * sizeof(facts->disks[0]));
        status = facts->disks != NULL ? facts_disks(tables, facts, &count) : STATUS_TOO_LARGE;
    }
    return status;
}

/* ---- listing ----------------------------------------------------------------------------------- */

/* Ids from `first` up to `end`, of a table whose keys are a letter and an id, until the reply is full. */
struct id_range {
    struct table_key first;
    uint64_t end;
    uint64_t erased_seal; /* rows that say that they are open until this seal, or one before, are left out */
    bool open_only;
};

/* Does a row of the table of open erasures stand for one that is closed by now? */
static bool row_is_of_closed(const struct id_range *range, struct kv_slice value)
{
    return range->first.bytes[0] == 'E' && value.bytes == 8 && number_of_be(value.data, 8) <= range->erased_seal;
}

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
        if (row_is_of_closed(range, value)) {
            continue;
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
        if (!range->open_only || reply->erasures[reply->n_erasures]->closed_ms == 0) {
            reply->n_erasures++;
        }
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
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
    Trilith__ClusterRecord *cluster = NULL;
    enum status status = tables_get(tables, key_cluster(), &trilith__cluster_record__descriptor, &cluster);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    /* From this id on all are open, but for those that were taken back. */
    uint64_t bound = open_only ? cluster->keys_destroyed_below : 0;
    if (first < bound) {
        const struct id_range open = {
            .first = key_erasure_open(first), .end = bound, .erased_seal = cluster->erased_seal, .open_only = true};
        status = list_range(tables, &open, max, reply);
        first = bound;
    }
    if (status == STATUS_OK && !reply->more) {
        const struct id_range rest = {.first = key_erasure(first), .end = UINT64_MAX, .open_only = open_only};
        status = list_range(tables, &rest, max, reply);
    }
    return status;
}
