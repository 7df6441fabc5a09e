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
    CHECK(record != NULL && record->n_members + record->n_former <= MODEL_DISKS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < record->n_members; i++) {
        disks[count++] = model_disk_with_id(model, record->members[i]);
    }
    *members = count;
    for (size_t i = 0; i < record->n_former; i++) {
        disks[count++] = model_disk_with_id(model, record->former[i]);
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
        if (model_disk_of(model, i) == NULL || copy->wipe == MODEL_OWED || model->disks[i].id == 0 ||
            !row_number(model, key_wipe(model->disks[i].id, chunk->id.bytes), &erasure_id)) {
            continue;
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

static void version_goes(struct model *model, struct model_key *key, uint64_t now_ns, struct model_change *change)
{
    struct model_version *version = key->current;
    change->ended = version;
    model_version_ends(key, now_ns);
    for (uint32_t i = 0; version != NULL && i < version->chunk_count; i++) {
        chunk_goes(model, version->chunks[i], MODEL_ERASED, now_ns);
    }
}

static void chunks_condemned(struct model *model, const Trilith__CondemnChunks *command, uint64_t now_ns)
{
    for (size_t i = 0; i < command->n_chunks; i++) {
        const Trilith__ChunkRef *ref = command->chunks[i];
        uint64_t erasure_id;
        if (ref->chunk_id.len != 16 || !row_number(model, key_condemned(ref->chunk_id.data), &erasure_id)) {
            continue; /* Refused, or an object has it. */
        }
        uint32_t number;
        struct model_chunk *chunk = model_chunk_take(model, ref->chunk_id.data, &number);
        chunk->pg = chunk->pg == 0 ? ref->pg : chunk->pg;
        chunk->bytes = chunk->bytes == 0 ? ref->chunk_bytes : chunk->bytes;
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
            vault->sealed_erasures = record->next_erasure_id;
        }
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        change->switched = record->epoch == command->epoch_switch->epoch && record->epoch > vault->epoch;
        change->switch_refused = record->epoch < command->epoch_switch->epoch;
        if (change->switched) {
            vault->switched_erasures = vault->sealed_erasures;
            if (vault->epoch == 0) {
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
        }
    }
    trilith__cluster_record__free_unpacked(record, NULL);
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
    case TRILITH__COMMAND__CHANGE_LEASE_LEAVES:
        leaf_leased(model, command->lease_leaves, change);
        return;
    case TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS:
        chunks_condemned(model, command->condemn_chunks, now_ns);
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
