/* checks_keys.c - the keys' part of E1 and E8: what can still be opened, and what stands where it must not; and K1, that keys
 * seal once. */
#include "tests/sim/checks.h"
#include "tests/sim/residue.h"

#include "meta/catalog_row.h"
#include "meta/kms.h"
#include "meta/tables.h"
#include "meta/vault/vault.h"

#include <inttypes.h>
#include <stdlib.h>

#define TENANT_NAME_MAX 64u

/* ---- E1: leaves of the vault ------------------------------------------------------------------------------ */

static uint8_t row[TABLE_VALUE_BYTES_MAX];

static bool bucket_id_of(const struct check *check, const Trilith__ObjectDeleteRequest *command, uint64_t *id)
{
    uint8_t value[8];
    size_t bytes = 0;
    struct table_key key = key_bucket_name(command->tenant_id, command->bucket);
    bool found = model_row(check->model, &key, value, sizeof(value), &bytes) && bytes == sizeof(value);
    *id = found ? number_of_be(value, sizeof(value)) : 0;
    return found;
}

/* The object that a commit or a delete is about, as its row is now. False: the command is another one, or there is none. */
static bool object_of_command(const struct check *check, struct checked_leaf *leaf)
{
    const Trilith__Command *command = check->command;
    ProtobufCBinaryData name = {0};
    uint64_t bucket_id = 0;
    size_t bytes = 0;
    if (command->change_case == TRILITH__COMMAND__CHANGE_OBJECT_COMMIT) {
        name = command->object_commit->key;
        bucket_id = command->object_commit->bucket_id;
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_OBJECT_DELETE &&
               bucket_id_of(check, command->object_delete, &bucket_id)) {
        name = command->object_delete->key;
    }
    if (name.len == 0 || name.len > OBJECT_KEY_BYTES_MAX) {
        return false;
    }
    struct table_key key = key_object(bucket_id, name.data, name.len);
    struct object_row decoded;
    if (!model_row(check->model, &key, row, sizeof(row), &bytes) ||
        !object_row_decode(KV_SLICE(row, bytes), &decoded)) {
        return false;
    }
    Trilith__Object *object = trilith__object__unpack(NULL, decoded.packed.bytes, decoded.packed.data);
    CHECK(object != NULL);
    *leaf = (struct checked_leaf){.page = object->page, .slot = object->slot};
    memcpy(leaf->version.bytes, decoded.version_id, sizeof(leaf->version.bytes));
    trilith__object__free_unpacked(object, NULL);
    return true;
}

static void check_leaf_is_gone(const struct check *check, const struct checked_leaf *leaf, const char *when)
{
    struct key key;
    check_counts(check);
    enum status status = vault_derive(check->cluster->meta.vault, leaf->page, leaf->slot, &key);
    if (status != STATUS_GONE) {
        sim_violated("E1-key", "%s: leaf %u of page %u, of an object that is gone: %s", when, leaf->slot, leaf->page,
                     status_name(status));
    }
}

static void note_gone(struct checkers *checkers, const struct checked_leaf *leaf)
{
    if (checkers->gone_leaf_count == checkers->gone_leaf_capacity) {
        checkers->gone_leaf_capacity = checkers->gone_leaf_capacity == 0 ? 64 : 2 * checkers->gone_leaf_capacity;
        checkers->gone_leaves =
            realloc(checkers->gone_leaves, checkers->gone_leaf_capacity * sizeof(checkers->gone_leaves[0]));
        CHECK(checkers->gone_leaves != NULL);
    }
    checkers->gone_leaves[checkers->gone_leaf_count++] = *leaf;
}

/* Its secret, to be looked for at rest. A vault that has forgotten it says nothing. */
static void keep_leaf(const struct check *check, const struct checked_leaf *leaf)
{
    struct checkers *checkers = check->checkers;
    struct vault *vault = check->cluster->meta.vault;
    struct key key;
    if (vault != NULL && vault_derive(vault, leaf->page, leaf->slot, &key) == STATUS_OK) {
        checkers->leaves[checkers->leaf_count++ % CHECKED_LEAVES_KEPT] = key;
    }
}

/* E1: as soon as a command has replaced or deleted an object the vault refuses the object's leaf, and it does so after every
 * start of the metadata service: whoever still has its record, or its ciphertext, can't open it. */
void check_gone_keys(const struct check *check)
{
    struct checkers *checkers = check->checkers;
    struct checked_leaf now;
    switch (check->moment) {
    case AT_APPLYING:
        checkers->has_leaf_before = object_of_command(check, &checkers->leaf_before);
        if (checkers->has_leaf_before) {
            keep_leaf(check, &checkers->leaf_before);
        }
        return;
    case AT_APPLIED:
        if (check->change != NULL && check->change->committed != NULL && object_of_command(check, &now)) {
            keep_leaf(check, &now);
        }
        if (check->change != NULL && check->cluster->meta.vault != NULL && checkers->has_leaf_before &&
            (!object_of_command(check, &now) ||
             memcmp(now.version.bytes, checkers->leaf_before.version.bytes, sizeof(now.version.bytes)) != 0)) {
            check_leaf_is_gone(check, &checkers->leaf_before, "the command is applied");
            note_gone(checkers, &checkers->leaf_before);
        }
        return;
    default:
        for (size_t i = 0; check->node == NULL && i < checkers->gone_leaf_count; i++) {
            check_leaf_is_gone(check, &checkers->gone_leaves[i], "after a start");
        }
    }
}

/* ---- E8: plaintext and secrets ----------------------------------------------------------------------------- */

static void complain_of_secret(const char *where, const struct residue *found)
{
    if (found->what != NULL) {
        sim_violated("E8", "%s, %s at %" PRIu64 ": %s", where, found->name, found->offset, found->what);
    }
}

static void search_node_disk(const struct check *check, uint32_t number, const struct secrets *secrets)
{
    struct residue found;
    struct sim_node_disk *disk = model_disk_of(check->model, number);
    residue_of_secrets(disk->disk, SIM_DISK_CACHE, secrets, (unsigned)check->checkers->seconds, &found);
    complain_of_secret(disk->path, &found);
    residue_of_secrets_in_table(disk->index, secrets, &found);
    complain_of_secret("the index of a disk", &found);
    check_counts(check);
}

static void search_meta(const struct check *check, const struct secrets *secrets)
{
    struct residue found;
    for (unsigned image = SIM_DISK_DURABLE; image <= SIM_DISK_CACHE; image++) {
        residue_of_secrets(check->cluster->meta.disk, (enum sim_disk_image)image, secrets, 0, &found);
        complain_of_secret("the journal", &found);
    }
    residue_of_secrets_in_table(check->cluster->meta.tables, secrets, &found);
    complain_of_secret("the metadata tables", &found);
    check_counts(check);
}

/* E8: no plaintext, no master key, no vault root and no client's secret stands on a node's disk, in an index table, in the
 * journal or in the metadata tables; erased or not, at any time. One disk every few seconds, everything at rest. */
void check_no_secrets(const struct check *check)
{
    struct secrets secrets;
    bool at_rest = check->moment == AT_SETTLED;
    if (!at_rest && check->checkers->seconds % WALK_SECONDS != WALK_SECONDS / 2) {
        return;
    }
    secrets_gather(check, &secrets);
    uint32_t chosen = (uint32_t)(check->checkers->seconds / WALK_SECONDS) % MODEL_DISKS_MAX;
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (model_disk_of(check->model, i) != NULL && (at_rest || i == chosen)) {
            search_node_disk(check, i, &secrets);
        }
    }
    search_meta(check, &secrets);
}

/* ---- E8: keys ----------------------------------------------------------------------------------- */

/* The data key of the one tenant, opened as the service does it. False: there is none yet. */
static bool tenant_key(const struct check *check, struct secret *secret)
{
    const struct sim_meta *meta = &check->cluster->meta;
    char name[TENANT_NAME_MAX];
    size_t bytes = 0;
    struct key key;
    struct table_key tenant_row = key_tenant(check->cluster->tenant_id);
    struct table_key dek_row = key_dek(check->cluster->tenant_id, 1);
    if (meta->kms == NULL || !model_row(check->model, &tenant_row, row, sizeof(row), &bytes)) {
        return false;
    }
    Trilith__TenantRecord *tenant = trilith__tenant_record__unpack(NULL, bytes, row);
    CHECK(tenant != NULL);
    (void)snprintf(name, sizeof(name), "%s", tenant->name);
    trilith__tenant_record__free_unpacked(tenant, NULL);
    if (!model_row(check->model, &dek_row, row, sizeof(row), &bytes) || bytes < KMS_WRAPPED_BYTES ||
        kms_unwrap(meta->kms, name, 1, row, KMS_WRAPPED_BYTES, &key) != STATUS_OK) {
        return false;
    }
    *secret = (struct secret){.what = "the data key of a tenant", .length = sizeof(key.bytes)};
    memcpy(secret->bytes, key.bytes, sizeof(key.bytes));
    return true;
}

static void complain_of_key(const char *where, const struct residue *found)
{
    if (found->what != NULL) {
        sim_violated("E8-key", "%s, %s at %" PRIu64 ": %s", where, found->name, found->offset, found->what);
    }
}

static void gather_leaves(const struct checkers *checkers, struct secrets *secrets)
{
    for (uint64_t i = 0; i < checkers->leaf_count && i < CHECKED_LEAVES_KEPT; i++) {
        struct secret *secret = &secrets->all[secrets->count++];
        *secret = (struct secret){.what = "the key of an object", .length = sizeof(checkers->leaves[i].bytes)};
        memcpy(secret->bytes, checkers->leaves[i].bytes, secret->length);
    }
}

/* E8: the key of a tenant stands in no journal, no table and on no disk; nor do those of the last objects that were written,
 * replaced or deleted. Looked for at rest. */
void check_keys_at_rest(const struct check *check)
{
    static struct secrets secrets;
    struct residue found;
    secrets.count = tenant_key(check, &secrets.all[0]) ? 1 : 0;
    gather_leaves(check->checkers, &secrets);
    if (secrets.count == 0) {
        return;
    }
    check_counts(check);
    residue_of_secrets(check->cluster->meta.disk, SIM_DISK_CACHE, &secrets, 0, &found);
    complain_of_key("the journal", &found);
    residue_of_secrets_in_table(check->cluster->meta.tables, &secrets, &found);
    complain_of_key("the metadata tables", &found);
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        struct sim_node_disk *disk = model_disk_of(check->model, i);
        if (disk != NULL) {
            residue_of_secrets(disk->disk, SIM_DISK_CACHE, &secrets, i, &found);
            complain_of_key(disk->path, &found);
            residue_of_secrets_in_table(disk->index, &secrets, &found);
            complain_of_key("the index of a disk", &found);
        }
    }
}

/* ---- K1 ---------------------------------------------------------------------------------------------------- */

/* K1: a key and an id seal once. Two different contents under one id would have been sealed with the same nonces: so each
 * copy that is written, by whomever, has the seals of the first one. */
void check_sealed_once(const struct check *check)
{
    if (check->writing->kind != MODEL_WRITES_BATCH) {
        return;
    }
    struct record_cursor cursor = record_cursor_of(&check->writing->header, check->write_content);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        uint32_t number =
            record.payload_blocks > 0 ? model_chunk_number(check->model, record.chunk.id.bytes) : UINT32_MAX;
        const struct model_chunk *chunk = number != UINT32_MAX ? check->model->chunks[number] : NULL;
        if (chunk == NULL || !chunk->has_seals) {
            continue;
        }
        check_counts(check);
        if (record.chunk.chunk_bytes != chunk->bytes ||
            memcmp(record.seals, chunk->seals, (size_t)chunk_unit_count(chunk->bytes) * UNIT_SEAL_BYTES) != 0) {
            sim_violated("K1", "%s: chunk %s is written with other seals than before", check->disk->path,
                         hex_of(&record.chunk.id));
        }
    }
}
