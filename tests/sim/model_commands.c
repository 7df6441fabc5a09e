/* model_commands.c - the reference model follows the commands of the metadata service: versions, chunks, erasures.
 *
 * Each command is taken note of once, when it is applied for the first time. Whether it was refused is seen in the row
 * that it would have written: the tables stand right behind the command then. */
#include "tests/sim/model.h"
#include "tests/sim/model_private.h"

#include "meta/catalog_row.h"
#include "meta/tables.h"

#include <stdlib.h>

bool model_row(const struct model *model, const struct table_key *key, void *buffer, size_t capacity, size_t *bytes)
{
    enum status status =
        kv_get(model->cluster->meta.tables, KV_SLICE(key->bytes, key->length), buffer, capacity, bytes);
    return status == STATUS_OK;
}

static bool row_number(const struct model *model, struct table_key key, uint64_t *number)
{
    uint8_t value[8];
    size_t bytes = 0;
    bool found = model_row(model, &key, value, sizeof(value), &bytes) && bytes == sizeof(value);
    *number = found ? number_of_be(value, sizeof(value)) : 0;
    return found;
}

size_t model_pg_disks(struct model *model, uint32_t pg, uint32_t disks[MODEL_DISKS_MAX], size_t *members)
{
    uint8_t row[1024];
    size_t bytes = 0;
    struct table_key key = key_pg(pg);
    if (!model_row(model, &key, row, sizeof(row), &bytes)) {
        return 0;
    }
    Trilith__PgRecord *record = trilith__pg_record__unpack(NULL, bytes, row);
    CHECK(record != NULL && record->n_members + record->n_former + 1 <= MODEL_DISKS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < record->n_members; i++) {
        disks[count++] = model_disk_with_id(model, record->members[i]);
    }
    *members = count;
    for (size_t i = 0; i < record->n_former; i++) {
        disks[count++] = model_disk_with_id(model, record->former[i]);
    }
    if (record->target != 0) {
        disks[count++] = model_disk_with_id(model, record->target);
    }
    trilith__pg_record__free_unpacked(record, NULL);
    return count;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static struct model_key *key_of(struct model *model, uint64_t bucket_id, ProtobufCBinaryData name)
{
    uint32_t key = sim_key_from_name((const char *)name.data, name.len);
    for (uint32_t i = 0; key < SIM_KEYS_MAX && i < MODEL_BUCKETS_MAX; i++) {
        if (model->bucket_ids[i] == bucket_id && bucket_id != 0) {
            return model_key(model, i, key);
        }
    }
    return NULL;
}

static uint64_t bucket_id_of(const struct model *model, uint64_t tenant_id, const char *name)
{
    uint64_t id;
    return row_number(model, key_bucket_name(tenant_id, name), &id) ? id : 0;
}

static void bucket_created(struct model *model, const Trilith__BucketCreateRequest *command)
{
    unsigned number;
    if (sscanf(command->name, "bucket%u", &number) == 1 && number < MODEL_BUCKETS_MAX) {
        model->bucket_ids[number] = bucket_id_of(model, command->tenant_id, command->name);
    }
}

/* ---- erasures ------------------------------------------------------------------------------------ */

/* Who owes a wipe of the chunk now. */
static void note_owed(struct model *model, uint32_t number, uint64_t now_ns)
{
    model_learn_disks(model);
    struct model_chunk *chunk = model->chunks[number];
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        struct model_copy *copy = &chunk->copies[i];
        uint64_t erasure_id;
        if (model_disk_of(model, i) == NULL || model->disks[i].id == 0 ||
            !row_number(model, key_wipe(model->disks[i].id, chunk->id.bytes), &erasure_id) ||
            (copy->wipe == MODEL_OWED && copy->erasure_id == erasure_id)) {
            continue; /* A wipe that is owed may be taken over by an erasure that comes later. */
        }
        copy->wipe = MODEL_OWED;
        copy->erasure_id = erasure_id;
        copy->owed_ns = now_ns;
        copy->refused_ns = 0;
        chunk->erasure_id = erasure_id;
    }
}

static void chunk_goes(struct model *model, uint32_t number, enum model_fate fate, uint64_t now_ns)
{
    model->chunks[number]->fate = fate;
    model->chunks[number]->fate_ns = now_ns;
    note_owed(model, number, now_ns);
}

/* The id that the command has given out last. */
static uint64_t last_erasure_id(const struct model *model)
{
    Trilith__ClusterRecord *record = model_cluster_record(model);
    uint64_t id = 0;
    if (record != NULL) { /* Tests of the model alone have none. */
        id = record->next_erasure_id - 1;
        trilith__cluster_record__free_unpacked(record, NULL);
    }
    return id;
}

static void note_seal(struct model *model, uint64_t erasure_id)
{
    if (erasure_id >= model->erasure_end) {
        size_t end = (size_t)erasure_id * 2 + 64;
        model->erasure_seals = realloc(model->erasure_seals, end * sizeof(model->erasure_seals[0]));
        CHECK(model->erasure_seals != NULL);
        memset(model->erasure_seals + model->erasure_end, 0,
               (end - model->erasure_end) * sizeof(model->erasure_seals[0]));
        model->erasure_end = end;
    }
    model->erasure_seals[erasure_id] = model->vault.seals + 1;
}

/* Its keys are punctured and its chunks are to be wiped. */
static void version_is_erased(struct model *model, const struct model_version *version, uint64_t erasure_id,
                              uint64_t now_ns)
{
    note_seal(model, erasure_id);
    for (uint32_t i = 0; i < version->chunk_count; i++) {
        chunk_goes(model, version->chunks[i], MODEL_ERASED, now_ns);
    }
}

static Trilith__GraceRecord *grace_record(const struct model *model, uint64_t erasure_id)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    size_t bytes = 0;
    struct table_key key = key_grace(erasure_id);
    return model_row(model, &key, row, sizeof(row), &bytes) ? trilith__grace_record__unpack(NULL, bytes, row) : NULL;
}

/* Can it be taken back, under the id that was given out last? */
static bool version_has_grace(struct model *model, struct model_key *key, struct model_version *version, uint64_t id)
{
    Trilith__GraceRecord *record = grace_record(model, id);
    if (record == NULL) {
        return false;
    }
    bool is_it = record->object != NULL && record->object->version_id.len == 16 &&
                 memcmp(record->object->version_id.data, version->id.bytes, 16) == 0;
    if (is_it) {
        version->graced_id = id;
        version->graced_until_ms = record->until_ms;
        version->reseal = (struct model_leaf){0};
        model->graced =
            model_grow(model->graced, &model->graced_capacity, model->graced_count, sizeof(model->graced[0]));
        model->graced[model->graced_count++] = (struct model_grace){.key = key, .version = version};
    }
    trilith__grace_record__free_unpacked(record, NULL);
    return is_it;
}

static void version_goes(struct model *model, struct model_key *key, uint64_t now_ns, struct model_change *change)
{
    struct model_version *version = key->current;
    change->ended = version;
    model_version_ends(key, now_ns);
    if (version != NULL) {
        uint64_t id = last_erasure_id(model);
        if (!version_has_grace(model, key, version, id)) {
            version_is_erased(model, version, id, now_ns);
        }
    }
}

static void chunks_condemned(struct model *model, const Trilith__CondemnChunks *command, uint64_t now_ns,
                             struct model_change *change)
{
    for (size_t i = 0; i < command->n_chunks; i++) {
        const Trilith__ChunkRef *ref = command->chunks[i];
        uint64_t erasure_id;
        uint32_t number = ref->chunk_id.len == 16 ? model_chunk_number(model, ref->chunk_id.data) : UINT32_MAX;
        if (ref->chunk_id.len != 16 || !row_number(model, key_condemned(ref->chunk_id.data), &erasure_id)) {
            if (number != UINT32_MAX) {
                note_owed(model, number, now_ns); /* Perhaps of a copy that was moved away. */
            }
            continue; /* Refused, or an object has it. */
        }
        struct model_chunk *chunk = model_chunk_take(model, ref->chunk_id.data, &number);
        chunk->pg = chunk->pg == 0 ? ref->pg : chunk->pg;
        chunk->bytes = chunk->bytes == 0 ? ref->chunk_bytes : chunk->bytes;
        if (chunk->fate == MODEL_REFERENCED) {
            change->gave_up_used_chunk = true;
            change->used_chunk = chunk->id;
        }
        chunk_goes(model, number, chunk->fate == MODEL_ERASED ? MODEL_ERASED : MODEL_CONDEMNED, now_ns);
    }
}

static void wipes_recorded(struct model *model, const Trilith__RecordWipes *command, uint64_t now_ns)
{
    uint32_t disk = model_disk_with_id(model, command->disk_id);
    for (size_t i = 0; disk != UINT32_MAX && i < command->n_results; i++) {
        const Trilith__WipeResult *result = command->results[i];
        uint32_t number = result->chunk_id.len == 16 ? model_chunk_number(model, result->chunk_id.data) : UINT32_MAX;
        struct model_copy *copy = number != UINT32_MAX ? &model->chunks[number]->copies[disk] : NULL;
        if (copy == NULL || copy->wipe != MODEL_OWED || copy->erasure_id != result->erasure_id) {
            continue; /* Not owed, or not any more. */
        }
        if (result->outcome == TRILITH__WIPE_OUTCOME__WIPE_FAILED) {
            copy->refused_ns = now_ns;
            continue;
        }
        uint64_t erasure_id;
        if (row_number(model, key_wipe(command->disk_id, result->chunk_id.data), &erasure_id)) {
            continue; /* The command was refused as a whole. */
        }
        copy->wipe = MODEL_WIPED;
        copy->ever_wiped = true;
        copy->wiped_ns = now_ns;
    }
}

/* ---- versions ------------------------------------------------------------------------------------ */

/* The version that stands in the key's row, and its leaf; false: none. */
struct row_says {
    uint8_t version[16];
    uint32_t page;
    uint32_t slot;
    struct model_leaf reseal;
    bool held;
};

static bool row_version(const struct model *model, uint64_t bucket_id, ProtobufCBinaryData name, struct row_says *says)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    struct table_key key = key_object(bucket_id, name.data, name.len);
    struct object_row decoded;
    size_t bytes = 0;
    if (!model_row(model, &key, row, sizeof(row), &bytes) || !object_row_decode(KV_SLICE(row, bytes), &decoded)) {
        return false;
    }
    Trilith__Object *object = trilith__object__unpack(NULL, decoded.packed.bytes, decoded.packed.data);
    CHECK(object != NULL);
    memcpy(says->version, decoded.version_id, 16);
    says->page = object->page;
    says->slot = object->slot;
    says->held = object->legal_hold;
    says->reseal = (struct model_leaf){.page = object->reseal_page, .slot = object->reseal_slot};
    trilith__object__free_unpacked(object, NULL);
    return true;
}

static void version_has_leaf(struct model_version *version, struct model_leaf leaf)
{
    version->leaves =
        model_grow(version->leaves, &version->leaf_capacity, version->leaf_count, sizeof(version->leaves[0]));
    version->leaves[version->leaf_count++] = leaf;
}

/* How a version is sealed: its chunks, its leaf and its DEK. */
static void version_is_sealed(struct model *model, struct model_version *version, const Trilith__Object *object,
                              uint64_t now_ns, struct model_change *change)
{
    version->page = object->page;
    version->slot = object->slot;
    version->reseal = (struct model_leaf){0};
    version_has_leaf(version, (struct model_leaf){.page = object->page, .slot = object->slot});
    version->dek_version = object->dek_version;
    version->chunk_count = (uint32_t)object->n_chunks;
    version->chunks = calloc(object->n_chunks + 1, sizeof(version->chunks[0]));
    CHECK(version->chunks != NULL);
    for (size_t i = 0; i < object->n_chunks; i++) {
        const Trilith__ChunkRef *ref = object->chunks[i];
        struct model_chunk *chunk = model_chunk_take(model, ref->chunk_id.data, &version->chunks[i]);
        if (chunk->fate == MODEL_CONDEMNED || chunk->fate == MODEL_ERASED) {
            change->named_gone_chunk = true;
            change->gone_chunk = chunk->id;
        }
        chunk->fate = MODEL_REFERENCED;
        chunk->fate_ns = now_ns;
        chunk->pg = ref->pg;
        chunk->bytes = chunk->bytes == 0 ? ref->chunk_bytes : chunk->bytes;
    }
}

static struct model_version *version_make(struct model *model, const Trilith__Object *object, uint64_t index,
                                          uint64_t now_ns, struct model_change *change)
{
    struct model_version *version = calloc(1, sizeof(*version));
    CHECK(version != NULL);
    memcpy(version->id.bytes, object->version_id.data, 16);
    version->size = object->size;
    version->index = index;
    version_is_sealed(model, version, object, now_ns, change);
    return version;
}

/* The same version under another leaf: what it was sealed into before is erased. */
static void version_resealed(struct model *model, struct model_key *key, const Trilith__Object *object, uint64_t now_ns,
                             struct model_change *change)
{
    struct model_version *version = key->current;
    struct model_version before = *version;
    version_is_sealed(model, version, object, now_ns, change);
    for (uint32_t i = 0; i < before.chunk_count; i++) {
        chunk_goes(model, before.chunks[i], MODEL_ERASED, now_ns);
    }
    free(before.chunks);
    change->resealed_key = key;
    change->resealed_from = before.dek_version;
    change->resealed_page = before.page;
    change->resealed_slot = before.slot;
}

static void object_committed(struct model *model, uint64_t index, const Trilith__ObjectCommitRequest *command,
                             uint64_t now_ns, struct model_change *change)
{
    struct model_key *key = key_of(model, command->bucket_id, command->key);
    const Trilith__Object *object = command->object;
    struct row_says says;
    if (key == NULL || object == NULL || object->version_id.len != 16 ||
        !row_version(model, command->bucket_id, command->key, &says) ||
        memcmp(says.version, object->version_id.data, 16) != 0 || says.page != object->page ||
        says.slot != object->slot) {
        return; /* Refused. */
    }
    if (key->current != NULL && memcmp(key->current->id.bytes, says.version, 16) == 0) {
        bool anew = key->current->page != says.page || key->current->slot != says.slot; /* Else repeated. */
        if (anew) {
            version_resealed(model, key, object, now_ns, change);
        }
        return;
    }
    for (size_t i = 0; i < key->version_count; i++) {
        change->revived_version |= memcmp(key->versions[i]->id.bytes, says.version, 16) == 0;
    }
    struct model_version *version = version_make(model, command->object, index, now_ns, change);
    version_goes(model, key, now_ns, change);
    model_version_begins(key, version, now_ns);
    change->committed_key = key;
    change->committed = version;
}

/* A leaf to seal the version anew: whoever got it may write under it from now on, and may be killed in the middle. */
static void leaf_leased(struct model *model, const Trilith__LeaseLeaves *command, struct model_change *change)
{
    struct model_key *key = command->reseal_key.len > 0 ? key_of(model, command->bucket_id, command->reseal_key) : NULL;
    struct row_says says;
    if (key == NULL || key->current == NULL || command->reseal_version.len != 16 ||
        !row_version(model, command->bucket_id, command->reseal_key, &says) || says.reseal.page == 0 ||
        memcmp(says.version, command->reseal_version.data, 16) != 0 ||
        memcmp(says.version, key->current->id.bytes, 16) != 0) {
        return; /* Refused. */
    }
    struct model_version *version = key->current;
    if (version->reseal.page == says.reseal.page && version->reseal.slot == says.reseal.slot) {
        return; /* Refused: it is the one of before. */
    }
    version->reseal = says.reseal;
    version_has_leaf(version, says.reseal);
    change->leased = version;
}

static void object_deleted(struct model *model, const Trilith__ObjectDeleteRequest *command, uint64_t now_ns,
                           struct model_change *change)
{
    uint64_t bucket_id = bucket_id_of(model, command->tenant_id, command->bucket);
    struct model_key *key = key_of(model, bucket_id, command->key);
    struct row_says says;
    if (key != NULL && !row_version(model, bucket_id, command->key, &says)) {
        version_goes(model, key, now_ns, change);
    }
}

/* ---- grace and holds ------------------------------------------------------------------------------- */

static void went(struct model_change *change, const struct model_version *version)
{
    CHECK(change->went_count < MODEL_WENT_MAX);
    change->went[change->went_count++] = version;
}

static void grace_forget(struct model *model, size_t at)
{
    model->graced[at].version->graced_id = 0;
    model->graced[at] = model->graced[--model->graced_count];
}

/* Those whose row has gone are erased: their time was over, or their tenant goes. */
static void grace_ended(struct model *model, uint64_t now_ns, struct model_change *change)
{
    for (size_t i = model->graced_count; i-- > 0;) {
        struct model_version *version = model->graced[i].version;
        uint64_t id = version->graced_id;
        Trilith__GraceRecord *record = grace_record(model, id);
        if (record != NULL) {
            trilith__grace_record__free_unpacked(record, NULL);
            continue;
        }
        grace_forget(model, i);
        version_is_erased(model, version, id, now_ns);
        went(change, version);
    }
}

/* It is a version again: the record of before keeps when it was current, and no more. */
static void version_taken_back(struct model *model, size_t at, uint64_t now_ns, struct model_change *change)
{
    struct model_key *key = model->graced[at].key;
    struct model_version *before = model->graced[at].version;
    struct model_version *version = malloc(sizeof(*version));
    CHECK(version != NULL);
    grace_forget(model, at);
    *version = *before;
    before->chunk_count = 0;
    before->chunks = NULL;
    before->leaf_count = 0;
    before->leaf_capacity = 0;
    before->leaves = NULL;
    model_version_returns(key, version, now_ns);
    change->undone = version;
}

static void deletion_taken_back(struct model *model, const Trilith__ErasureUndoRequest *command, uint64_t now_ns,
                                struct model_change *change)
{
    for (size_t i = 0; i < model->graced_count; i++) {
        if (model->graced[i].version->graced_id != command->id) {
            continue;
        }
        Trilith__GraceRecord *record = grace_record(model, command->id);
        if (record == NULL) {
            version_taken_back(model, i, now_ns, change);
            return;
        }
        trilith__grace_record__free_unpacked(record, NULL);
        return; /* Refused. */
    }
}

/* As the row says: the version has no other place where a hold stands. */
static void hold_changed(struct model *model, const Trilith__ObjectHoldRequest *command)
{
    uint64_t bucket_id = bucket_id_of(model, command->tenant_id, command->bucket);
    for (size_t i = 0; command->erasure_id != 0 && i < model->graced_count; i++) {
        Trilith__GraceRecord *record = model->graced[i].version->graced_id == command->erasure_id
                                           ? grace_record(model, command->erasure_id)
                                           : NULL;
        if (record != NULL) {
            model->graced[i].version->held = record->object->legal_hold;
            trilith__grace_record__free_unpacked(record, NULL);
        }
    }
    struct model_key *key = command->erasure_id == 0 ? key_of(model, bucket_id, command->key) : NULL;
    struct row_says says;
    if (key != NULL && key->current != NULL && row_version(model, bucket_id, command->key, &says)) {
        key->current->held = says.held;
    }
}

/* ---- nodes --------------------------------------------------------------------------------------- */

static void node_joined(struct model *model, const Trilith__NodeJoin *command)
{
    for (size_t i = 0; i < command->n_disks; i++) {
        uint64_t id;
        bool is_new = command->disks[i]->uuid.len == 16 && model->joined_count < MODEL_DISKS_MAX &&
                      row_number(model, key_disk_uuid(command->disks[i]->uuid.data), &id);
        for (uint32_t j = 0; is_new && j < model->joined_count; j++) {
            is_new = model->joined[j].id != id;
        }
        if (is_new) {
            struct model_joined *joined = &model->joined[model->joined_count++];
            joined->id = (uint32_t)id;
            memcpy(joined->uuid.bytes, command->disks[i]->uuid.data, sizeof(joined->uuid.bytes));
        }
    }
}

/* ---- the vault ----------------------------------------------------------------------------------- */

Trilith__ClusterRecord *model_cluster_record(const struct model *model)
{
    static uint8_t row[4096];
    size_t bytes = 0;
    struct table_key key = key_cluster();
    if (!model_row(model, &key, row, sizeof(row), &bytes)) {
        return NULL;
    }
    return trilith__cluster_record__unpack(NULL, bytes, row);
}

static void epoch_changes(struct model *model, const Trilith__Command *command, struct model_change *change)
{
    struct model_vault *vault = &model->vault;
    Trilith__ClusterRecord *record = model_cluster_record(model);
    CHECK(record != NULL);
    if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SEAL) {
        const ProtobufCBinaryData *asked = &command->epoch_seal->commitment;
        change->sealed = record->sealed_epoch == command->epoch_seal->epoch && asked->len == COMMITMENT_BYTES &&
                         record->sealed_commitment.len == asked->len &&
                         memcmp(record->sealed_commitment.data, asked->data, asked->len) == 0;
        if (change->sealed) {
            vault->seals++;
            vault->sealed_erasures = record->next_erasure_id;
        }
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        change->switched = record->epoch == command->epoch_switch->epoch && record->epoch > vault->epoch;
        change->switch_refused = record->epoch < command->epoch_switch->epoch;
        if (change->switched) {
            vault->switched_erasures = vault->sealed_erasures;
            vault->switched_seal = vault->seals;
            if (vault->epoch == 0) {
                vault->gone_seal = vault->switched_seal;
                vault->gone_erasures = vault->switched_erasures; /* Before the first one nothing was kept. */
            }
            vault->epoch = record->epoch;
        }
    } else {
        change->erased = record->erasing_epoch == 0 && command->epoch_erased->epoch + 1 == record->epoch &&
                         command->epoch_erased->epoch > vault->erased_epoch;
        if (change->erased) {
            vault->erased_epoch = command->epoch_erased->epoch;
            vault->gone_erasures = vault->switched_erasures;
            vault->gone_seal = vault->switched_seal;
        }
    }
    trilith__cluster_record__free_unpacked(record, NULL);
}

bool model_keys_are_gone(const struct model *model, uint64_t erasure_id)
{
    uint64_t seal = erasure_id < model->erasure_end ? model->erasure_seals[erasure_id] : 0;
    return seal != 0 ? seal <= model->vault.gone_seal : erasure_id < model->vault.gone_erasures;
}

/* ---- all of them --------------------------------------------------------------------------------- */

void model_apply(struct model *model, uint64_t index, const Trilith__Command *command, uint64_t now_ns,
                 struct model_change *change)
{
    *change = (struct model_change){0};
    if (index <= model->applied) {
        return;
    }
    model->applied = index;
    switch (command->change_case) {
    case TRILITH__COMMAND__CHANGE_NODE_JOIN:
        node_joined(model, command->node_join);
        return;
    case TRILITH__COMMAND__CHANGE_BUCKET_CREATE:
        bucket_created(model, command->bucket_create);
        return;
    case TRILITH__COMMAND__CHANGE_OBJECT_COMMIT:
        object_committed(model, index, command->object_commit, now_ns, change);
        return;
    case TRILITH__COMMAND__CHANGE_OBJECT_DELETE:
        object_deleted(model, command->object_delete, now_ns, change);
        return;
    case TRILITH__COMMAND__CHANGE_GRACE_END:
        grace_ended(model, now_ns, change);
        return;
    case TRILITH__COMMAND__CHANGE_ERASURE_UNDO:
        deletion_taken_back(model, command->erasure_undo, now_ns, change);
        return;
    case TRILITH__COMMAND__CHANGE_OBJECT_HOLD:
        hold_changed(model, command->object_hold);
        return;
    case TRILITH__COMMAND__CHANGE_LEASE_LEAVES:
        leaf_leased(model, command->lease_leaves, change);
        return;
    case TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS:
        chunks_condemned(model, command->condemn_chunks, now_ns, change);
        return;
    case TRILITH__COMMAND__CHANGE_RECORD_WIPES:
        wipes_recorded(model, command->record_wipes, now_ns);
        return;
    case TRILITH__COMMAND__CHANGE_EPOCH_SEAL:
    case TRILITH__COMMAND__CHANGE_EPOCH_SWITCH:
    case TRILITH__COMMAND__CHANGE_EPOCH_ERASED:
        epoch_changes(model, command, change);
        return;
    default: /* Nothing of objects, chunks or epochs. */
        return;
    }
}
