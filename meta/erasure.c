/* erasure.c - wipes owed: by versions, by tenants, by chunks that no version has. How they are written down is in
 * erasure_draft.c, what becomes of them in erasure_wipes.c. */
#include "meta/erasure_private.h"

#include "meta/leaves.h"
#include "meta/tenants.h"

#include "base/bytes.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

#define TENANT_DRAFTS_MAX 8u /* tenants whose orphans one command takes; the disk asks again about the rest */

_Static_assert(ERASURE_REF_BYTES == SHA256_BYTES, "an object's name is an HMAC");

bool erasure_object_ref(ProtobufCBinaryData ref_salt, const uint8_t version_id[16], const char *bucket,
                        ProtobufCBinaryData key, uint8_t object_ref[32])
{
    uint8_t name[16 + 64 + 1024];
    size_t bucket_bytes = strlen(bucket) + 1; /* With its 00. */
    if (ref_salt.len != SHA256_BYTES || bucket_bytes > 64 || key.len > 1024) {
        return false;
    }
    struct byte_writer writer = byte_writer_of(name, sizeof(name));
    write_bytes(&writer, version_id, 16);
    write_bytes(&writer, bucket, bucket_bytes);
    write_bytes(&writer, key.data, key.len);
    hmac_sha256(ref_salt.data, ref_salt.len, name, writer.written, object_ref);
    return true;
}

/* ---- of a version ------------------------------------------------------------------------------ */

/* Let `*copy` be a copy of `text`, of no more than REQUESTED_BYTES_MAX. */
static void text_keep(struct change *change, const char *text, char **copy)
{
    char *kept = text == NULL ? NULL : scratch_copy(&change->tables->scratch, text, strnlen(text, REQUESTED_BYTES_MAX));
    if (kept != NULL) {
        *copy = kept;
    }
}

/* The facts about a version that goes. */
static enum status record_describe(struct change *change, Trilith__ErasureRecord *record, uint64_t bucket_id,
                                   const struct erasure_cause *cause, const Trilith__Object *version)
{
    struct scratch *scratch = &change->tables->scratch;
    record->bucket_id = bucket_id;
    record->version_id = version->version_id;
    if (cause->object_ref != NULL) {
        record->object_ref.data = scratch_copy(scratch, cause->object_ref, ERASURE_REF_BYTES);
        record->object_ref.len = ERASURE_REF_BYTES;
    }
    record->object_bytes = version->size;
    record->created_ms = version->modified_ms;
    record->suite = version->suite;
    record->dek_version = version->dek_version;
    record->page = version->page;
    record->slot = version->slot;
    text_keep(change, cause->requested_by, &record->requested_by);
    record->technique = cause->technique;
    record->requested_ms = cause->requested_ms != 0 ? cause->requested_ms : change->time_ms;
    record->grace_until_ms = cause->grace_until_ms;
    return scratch->exhausted ? tables_fail(change->tables, STATUS_TOO_LARGE) : STATUS_OK;
}

/* The erasure that was given out for a version, now that its grace time is over. */
static struct erasure_draft *draft_resume(struct change *change, uint64_t erasure_id)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(change->tables, erasure_id, &record);
    if (status != STATUS_OK) {
        (void)tables_missing(change->tables, status);
        return NULL;
    }
    if (!record->pending) {
        (void)tables_fail(change->tables, STATUS_CORRUPT);
        return NULL;
    }
    return draft_of(change, erasure_id, record);
}

/* Every chunk of `version` is owed, and nobody's any more. */
static enum status draft_add_version(struct erasure_draft *draft, const Trilith__Object *version)
{
    struct tables *tables = draft->change->tables;
    for (size_t i = 0; i < version->n_chunks; i++) {
        const Trilith__ChunkRef *chunk = version->chunks[i];
        if (chunk->chunk_id.len != 16) {
            return tables_fail(tables, STATUS_CORRUPT);
        }
        enum status status = draft_add_chunk(draft, chunk->chunk_id.data, chunk->pg, 0);
        if (status != STATUS_OK) {
            return tables_missing(tables, status);
        }
        tables_delete(tables, key_chunk(chunk->chunk_id.data));
        draft->record->chunks++;
    }
    return STATUS_OK;
}

enum status erasure_of_version(struct change *change, uint64_t tenant_id, uint64_t bucket_id,
                               const struct erasure_cause *cause, const Trilith__Object *version)
{
    bool is_resumed = cause->erasure_id != 0;
    struct erasure_draft *draft =
        is_resumed ? draft_resume(change, cause->erasure_id) : draft_begin(change, tenant_id, cause->reason);
    if (draft == NULL) {
        return change->tables->failed;
    }
    enum status status = is_resumed ? STATUS_OK : record_describe(change, draft->record, bucket_id, cause, version);
    draft_take_id(draft);
    draft->record->pending = false;
    draft_puncture(draft);
    if (status == STATUS_OK) {
        status = draft_add_version(draft, version);
    }
    return status == STATUS_OK ? draft_end(draft) : status;
}

enum status erasure_take_id(struct change *change, uint64_t tenant_id, uint64_t bucket_id,
                            const struct erasure_cause *cause, const Trilith__Object *version)
{
    struct erasure_draft *draft = draft_begin(change, tenant_id, cause->reason);
    if (draft == NULL) {
        return change->tables->failed;
    }
    enum status status = record_describe(change, draft->record, bucket_id, cause, version);
    draft->record->pending = true;
    draft->record->late = true;
    if (status == STATUS_OK) {
        draft_take_id(draft);
        change->outcome.erasure_id = draft->id;
        tables_put_bytes(change->tables, key_erasure_open(draft->id), "", 0);
        tables_put(change->tables, key_erasure(draft->id), draft->record);
    }
    return status;
}

/* A deletion that destroys nothing by itself ends. `request_id`: of the tenant's erasure that does; 0: it was taken
 * back. */
static enum status grace_leave(struct change *change, uint64_t erasure_id, uint64_t request_id)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(change->tables, erasure_id, &record);
    if (status != STATUS_OK) {
        return status;
    }
    if (!record->pending || record->grace_until_ms == 0) {
        return STATUS_CONFLICT;
    }
    CHECK(change->cluster->erasures_open > 0);
    change->cluster->erasures_open--;
    record->pending = false;
    record->taken_back_ms = change->time_ms;
    record->closed_ms = change->time_ms;
    record->tenant_request = request_id;
    tables_delete(change->tables, key_erasure_open(erasure_id));
    tables_put(change->tables, key_erasure(erasure_id), record);
    return STATUS_OK;
}

enum status erasure_take_back(struct change *change, uint64_t erasure_id)
{
    return grace_leave(change, erasure_id, 0);
}

enum status erasure_hand_over(struct change *change, uint64_t erasure_id, uint64_t request_id)
{
    return grace_leave(change, erasure_id, request_id);
}

/* ---- of a tenant ------------------------------------------------------------------------------- */

enum status erasure_open_whole(struct change *change, uint64_t tenant_id, uint64_t request_id, const char *requested_by,
                               uint64_t requested_ms)
{
    struct erasure_draft *draft = draft_begin(change, tenant_id, "tenant");
    if (draft == NULL) {
        return change->tables->failed;
    }
    draft->record->tenant_request = request_id;
    draft->record->requested_ms = requested_ms;
    text_keep(change, requested_by, &draft->record->requested_by);
    draft->record->pending = true;
    draft->record->late = true;
    return change->tables->scratch.exhausted ? tables_fail(change->tables, STATUS_TOO_LARGE) : draft_end(draft);
}

struct erasure_draft *erasure_fill_begin(struct change *change, uint64_t erasure_id, enum status *status)
{
    Trilith__ErasureRecord *record = NULL;
    *status = erasure_record(change->tables, erasure_id, &record);
    if (*status == STATUS_OK && record->pending && strcmp(record->reason, "tenant") == 0) {
        struct erasure_draft *draft = draft_of(change, erasure_id, record);
        *status = draft != NULL ? STATUS_OK : change->tables->failed;
        return draft;
    }
    *status = *status == STATUS_OK || *status == STATUS_NOT_FOUND ? STATUS_CONFLICT : *status;
    return NULL;
}

enum status erasure_fill_version(struct erasure_draft *draft, const Trilith__Object *version)
{
    draft->record->versions++;
    draft->record->object_bytes += version->size;
    return draft_add_version(draft, version);
}

enum status erasure_fill_end(struct erasure_draft *draft, bool complete)
{
    if (draft->change->outcome.punctured_count > 0 || (complete && draft->record->seal == 0)) {
        draft_puncture(draft);
    }
    draft->record->pending = !complete;
    return draft_end(draft);
}

enum status erasure_reopen(struct change *change, uint64_t erasure_id, uint32_t disk_id, const uint8_t *const *chunks,
                           size_t count, bool *is_new)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(change->tables, erasure_id, &record);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(record->reason, "tenant") != 0) {
        return STATUS_NOT_FOUND;
    }
    struct erasure_draft *draft = draft_of(change, erasure_id, record);
    if (draft == NULL) {
        return change->tables->failed;
    }
    uint32_t before = record->wipes_total;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        uint32_t total = record->wipes_total;
        status = draft_owe(draft, disk_id, true, chunks[i]);
        record->chunks += record->wipes_total - total;
        if (is_new != NULL) {
            is_new[i] = record->wipes_total > total;
        }
    }
    return status == STATUS_OK && record->wipes_total > before ? draft_end(draft) : status;
}

/* ---- condemned chunks -------------------------------------------------------------------------- */

/* A condemnation under way: the erasures that its chunks go to, each begun with its first chunk. */
struct condemnation {
    struct change *change;
    const Trilith__CondemnChunks *command;
    bool is_orphans;
    struct erasure_draft *given_up; /* what no object refers to */
    struct erasure_draft *moved;    /* what one does refer to, elsewhere */
    struct {
        uint64_t tenant_id;
        struct erasure_draft *draft; /* NULL: it has no erasure of its own */
    } tenants[TENANT_DRAFTS_MAX];
    size_t tenant_count;
};

/* A chunk and whose its record says it is. */
struct condemned {
    const Trilith__ChunkRef *chunk;
    uint64_t tenant_id;
};

static int condemned_order(const void *left, const void *right)
{
    const struct condemned *a = left;
    const struct condemned *b = right;
    return memcmp(a->chunk->chunk_id.data, b->chunk->chunk_id.data, 16);
}

enum status erasure_find_condemned(struct tables *tables, const uint8_t chunk_id[16])
{
    return tables_find(tables, key_condemned(chunk_id));
}

enum status erasure_find_moved(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16])
{
    Trilith__ChunkRecord *chunk = NULL;
    Trilith__PgRecord *pg = NULL;
    enum status status = tables_get(tables, key_chunk(chunk_id), &trilith__chunk_record__descriptor, &chunk);
    if (status != STATUS_OK) {
        return status;
    }
    status = tables_get(tables, key_pg(chunk->pg), &trilith__pg_record__descriptor, &pg);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    for (size_t i = 0; i < pg->n_members; i++) {
        if (pg->members[i] == disk_id) {
            return STATUS_NOT_FOUND;
        }
    }
    return pg->target == disk_id ? STATUS_NOT_FOUND : STATUS_OK;
}

/* `*draft`, begun if it was not. STATUS_OK, else the tables have failed. */
static enum status draft_need(struct condemnation *condemnation, const char *reason, struct erasure_draft **draft)
{
    if (*draft == NULL) {
        *draft = draft_begin(condemnation->change, condemnation->command->tenant_id, reason);
        if (*draft != NULL) { /* Nothing is claimed of keys; but it is closed with all that the next seal takes. */
            (*draft)->record->seal = condemnation->change->cluster->seal + 1;
        }
    }
    return *draft != NULL ? STATUS_OK : condemnation->change->tables->failed;
}

/* The erasure of the tenant itself, when it is being erased, or was. NULL in `*draft`: it has none. STATUS_FULL: too
 * many tenants for one command. */
static enum status tenant_draft(struct condemnation *condemnation, uint64_t tenant_id, struct erasure_draft **draft)
{
    struct tables *tables = condemnation->change->tables;
    size_t at = 0;
    while (at < condemnation->tenant_count && condemnation->tenants[at].tenant_id != tenant_id) {
        at++;
    }
    if (at == TENANT_DRAFTS_MAX) {
        return STATUS_FULL;
    }
    if (at == condemnation->tenant_count) {
        Trilith__TenantRecord *tenant = NULL;
        Trilith__ErasureRecord *record = NULL;
        enum status status = tenant_by_id(tables, tenant_id, &tenant);
        if (status == STATUS_OK && tenant->erasure_id != 0) {
            status = erasure_record(tables, tenant->erasure_id, &record);
            if (status != STATUS_OK) {
                return tables_missing(tables, status);
            }
        }
        condemnation->tenants[at].tenant_id = tenant_id;
        condemnation->tenants[at].draft =
            record != NULL ? draft_of(condemnation->change, tenant->erasure_id, record) : NULL;
        condemnation->tenant_count++;
    }
    if (tables->failed != STATUS_OK) {
        return tables->failed;
    }
    *draft = condemnation->tenants[at].draft;
    return STATUS_OK;
}

/* Which erasure a chunk goes to that no object refers to. */
static enum status condemned_draft(struct condemnation *condemnation, uint64_t tenant_id, struct erasure_draft **draft)
{
    *draft = NULL;
    if (condemnation->is_orphans && tenant_id != 0) {
        enum status status = tenant_draft(condemnation, tenant_id, draft);
        if (status != STATUS_OK || *draft != NULL) {
            return status;
        }
    }
    enum status status =
        draft_need(condemnation, condemnation->is_orphans ? "orphan" : "abort", &condemnation->given_up);
    *draft = condemnation->given_up;
    return status;
}

/* A chunk that an object refers to: only the copy of a disk that has nothing to do with it (any more) goes. */
static enum status moved_chunk(struct condemnation *condemnation, const uint8_t *id)
{
    uint32_t disk_id = condemnation->command->disk_id;
    enum status status =
        condemnation->is_orphans ? erasure_find_moved(condemnation->change->tables, disk_id, id) : STATUS_NOT_FOUND;
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    status = draft_need(condemnation, "move", &condemnation->moved);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__ErasureRecord *record = condemnation->moved->record;
    uint32_t before = record->wipes_total;
    status = draft_owe(condemnation->moved, disk_id, true, id);
    record->chunks += record->wipes_total - before;
    return status;
}

/* One chunk of a condemnation. A gateway's second word about the same chunk changes nothing. A disk that asks again
 * about a condemned chunk has it (again), whatever was reported before: that disk owes a wipe. */
static enum status condemn_chunk(struct condemnation *condemnation, const struct condemned *condemned)
{
    struct tables *tables = condemnation->change->tables;
    const uint8_t *id = condemned->chunk->chunk_id.data;
    uint32_t disk_id = condemnation->command->disk_id;
    struct erasure_draft *draft = NULL;
    enum status status = tables_find(tables, key_chunk(id));
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? moved_chunk(condemnation, id) : status;
    }
    status = condemned_draft(condemnation, condemned->tenant_id, &draft);
    if (status != STATUS_OK) {
        return status == STATUS_FULL ? STATUS_OK : status;
    }
    uint32_t wipes_before = draft->record->wipes_total;
    bool known = false;
    status = erasure_find_condemned(tables, id);
    if (status == STATUS_OK) {
        known = true;
        status = disk_id != 0 ? draft_owe(draft, disk_id, true, id) : STATUS_OK;
    } else if (status == STATUS_NOT_FOUND) {
        status = draft_add_chunk(draft, id, condemned->chunk->pg, disk_id);
    }
    bool is_new = draft->record->wipes_total > wipes_before;
    draft->record->chunks += is_new ? 1 : 0;
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
    if (command->n_tenant_ids != 0 && (!orphan || command->n_tenant_ids != command->n_chunks)) {
        return false;
    }
    for (size_t i = 0; i < command->n_chunks; i++) {
        if (command->chunks[i]->chunk_id.len != 16) {
            return false;
        }
    }
    return true;
}

/* The chunks by their ids. NULL: the tables have failed. */
static struct condemned *condemned_sort(struct change *change, const Trilith__CondemnChunks *command)
{
    struct condemned *sorted =
        scratch_take(&change->tables->scratch, (command->n_chunks + 1) * sizeof(struct condemned));
    if (sorted == NULL) {
        (void)tables_fail(change->tables, STATUS_TOO_LARGE);
        return NULL;
    }
    for (size_t i = 0; i < command->n_chunks; i++) {
        sorted[i].chunk = command->chunks[i];
        sorted[i].tenant_id = command->n_tenant_ids != 0 ? command->tenant_ids[i] : command->tenant_id;
    }
    qsort(sorted, command->n_chunks, sizeof(sorted[0]), condemned_order);
    return sorted;
}

/* Write down every erasure that has got a wipe. outcome.erasure_id is that of what no object refers to, if there is
 * one. */
static enum status condemnation_end(const struct condemnation *condemnation)
{
    struct erasure_draft *drafts[TENANT_DRAFTS_MAX + 2] = {condemnation->moved};
    size_t count = 1;
    for (size_t i = 0; i < condemnation->tenant_count; i++) {
        drafts[count++] = condemnation->tenants[i].draft;
    }
    drafts[count++] = condemnation->given_up;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (drafts[i] != NULL && drafts[i]->plan != NULL) {
            status = draft_end(drafts[i]);
        }
    }
    return status;
}

enum status erasure_condemn(struct change *change, const Trilith__CondemnChunks *command)
{
    if (!condemnation_is_valid(command)) {
        return STATUS_INVALID;
    }
    struct condemnation condemnation = {
        .change = change, .command = command, .is_orphans = command->reason == TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN};
    if (condemnation.is_orphans) {
        enum status status = tables_find(change->tables, key_disk(command->disk_id));
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
        }
    }
    const struct condemned *sorted = condemned_sort(change, command);
    if (sorted == NULL) {
        return change->tables->failed;
    }
    for (size_t i = 0; i < command->n_chunks; i++) {
        if (i > 0 && condemned_order(&sorted[i - 1], &sorted[i]) == 0) {
            continue;
        }
        /* A PG that does not exist makes the whole request malformed, referenced or not. */
        enum status status = tables_find(change->tables, key_pg(sorted[i].chunk->pg));
        if (status == STATUS_OK) {
            status = condemn_chunk(&condemnation, &sorted[i]);
        }
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
        }
    }
    enum status status = condemnation_end(&condemnation);
    const struct leaf_at leaf = {.page = command->page, .slot = command->slot};
    return status == STATUS_OK && leaf.page != 0 ? leaves_give_up(change, command->tenant_id, leaf) : status;
}
