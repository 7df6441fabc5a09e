/* checks_keys.c - the keys' part of E1 and E8: what can still be opened, and which keys stand where they must not. */
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

/* E1: as soon as a command has replaced or deleted an object the vault refuses the object's leaf, and it does so after every
 * start of the metadata service: whoever still has its record, or its ciphertext, can't open it. */
void check_gone_keys(const struct check *check)
{
    struct checkers *checkers = check->checkers;
    struct checked_leaf now;
    switch (check->moment) {
    case AT_APPLYING:
        checkers->has_leaf_before = object_of_command(check, &checkers->leaf_before);
        return;
    case AT_APPLIED:
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

/* ---- E8: the tenant's key ----------------------------------------------------------------------------------- */

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

/* E8: the key of a tenant stands in no journal, no table and on no disk. Looked for at rest. */
void check_tenant_key(const struct check *check)
{
    struct secrets secrets = {.count = 1};
    struct residue found;
    if (!tenant_key(check, &secrets.all[0])) {
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
