/* checks_keys.c - the keys' part of E1 and E8: what can still be said, and what stands where it must not; and K1, that keys
 * seal once. */
#include "tests/sim/checks.h"
#include "tests/sim/leaf_book.h"
#include "tests/sim/meta_view.h"
#include "tests/sim/residue.h"

#include "meta/catalog_row.h"
#include "meta/tables.h"

#include <inttypes.h>

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
    trilith__object__free_unpacked(object, NULL);
    return true;
}

/* A vault that is not open, as in a replay, says nothing: it is asked again when it is. */
static void check_leaf_is_gone(const struct check *check, uint32_t page, uint32_t slot, const char *when)
{
    struct key key;
    enum status status = meta_view_derive(check->cluster->meta.service, page, slot, &key);
    if (status == STATUS_UNAVAILABLE) {
        return;
    }
    check_counts(check);
    if (status != STATUS_GONE) {
        sim_violated("E1-key", "%s: leaf %u of page %u, which must be gone: %s", when, slot, page, status_name(status));
    }
}

/* Its secret, to be looked for at rest. A vault that has forgotten it says nothing. */
static void keep_leaf(const struct check *check, const struct checked_leaf *leaf)
{
    struct checkers *checkers = check->checkers;
    struct key key;
    if (meta_view_derive(check->cluster->meta.service, leaf->page, leaf->slot, &key) == STATUS_OK) {
        checkers->leaves[checkers->leaf_count++ % CHECKED_LEAVES_KEPT] = key;
    }
}

static void check_all_punctured(const struct check *check)
{
    struct leaf_book *book = check->checkers->book;
    leaf_book_read(book, check);
    for (uint32_t page = 0; page < book->page_end; page++) {
        const struct known_page *known = leaf_book_page(book, page);
        for (uint32_t slot = 0; known != NULL && slot < known->next_slot; slot++) {
            if (ggm_bit(&known->punctured, slot)) {
                check_leaf_is_gone(check, page, slot, "after a start");
            }
        }
    }
}

static void check_leaf_before(const struct check *check)
{
    const struct checked_leaf *before = &check->checkers->leaf_before;
    struct checked_leaf now;
    bool is_there = object_of_command(check, &now);
    bool has_grace = check->change->ended != NULL && check->change->ended->graced_id != 0; /* G1 looks at that. */
    if (!has_grace && (!is_there || now.page != before->page || now.slot != before->slot)) {
        check_leaf_is_gone(check, before->page, before->slot, "the command is applied");
    }
}

/* Of all leaves that this version was sealed under, or that anybody ever had to do so, none can be said any more; but for
 * those in force, while it is current; and its own, while it can be taken back. */
static void check_leaves_of_version(const struct check *check, const struct model_version *version)
{
    bool is_current = version->until_ns == MODEL_NEVER || version->graced_id != 0;
    for (size_t i = 0; i < version->leaf_count; i++) {
        const struct model_leaf *leaf = &version->leaves[i];
        bool is_own = leaf->page == version->page && leaf->slot == version->slot;
        bool is_next = leaf->page == version->reseal.page && leaf->slot == version->reseal.slot;
        if (!is_current || (!is_own && !is_next)) {
            check_leaf_is_gone(check, leaf->page, leaf->slot,
                               is_current ? "the version is under another one" : "its version has gone");
        }
    }
}

static void check_all_leaves(const struct check *check)
{
    const struct model_change *change = check->change;
    if (change->ended != NULL) {
        check_leaves_of_version(check, change->ended);
    }
    for (size_t i = 0; i < change->went_count; i++) {
        check_leaves_of_version(check, change->went[i]);
    }
    if (change->leased != NULL) {
        check_leaves_of_version(check, change->leased);
    }
    if (change->resealed_key != NULL) {
        check_leaves_of_version(check, change->resealed_key->current);
    }
}

/* E1: as soon as a command has replaced or deleted an object, or sealed it anew, the vault refuses the leaf that the
 * object had; and every other one that its content was ever sealed under, also by a node that began to seal it anew and was killed.
 * And after every start of the metadata service it refuses whatever was punctured: whoever still has a record, or
 * ciphertext, can't open it. */
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
        if (check->change != NULL && checkers->has_leaf_before) {
            check_leaf_before(check);
        }
        if (check->change != NULL) {
            check_all_leaves(check);
        }
        return;
    default:
        if (check->node == NULL) {
            check_all_punctured(check);
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

static void search_disk(const struct check *check, struct sim_disk *disk, const struct secrets *secrets,
                        const char *where)
{
    struct residue found;
    for (unsigned image = SIM_DISK_DURABLE; image <= SIM_DISK_CACHE; image++) {
        residue_of_secrets(disk, (enum sim_disk_image)image, secrets, 0, &found);
        complain_of_secret(where, &found);
    }
    check_counts(check);
}

static void search_table(struct kv *table, const struct secrets *secrets, const char *where)
{
    struct residue found;
    residue_of_secrets_in_table(table, secrets, &found);
    complain_of_secret(where, &found);
}

static void search_meta(const struct check *check, const struct secrets *secrets)
{
    const struct sim_meta *meta = &check->cluster->meta;
    search_disk(check, meta->disk, secrets, "the journal");
    search_disk(check, meta->vault.tables_disk, secrets, "the page tables of the vault");
    search_table(meta->tables, secrets, "the metadata tables");
    search_table(meta->vault.covers, secrets, "the covers of the vault");
}

/* E8: no plaintext, no master key, no root of the vault and no client's secret stands on a node's disk, in an index table, in
 * the journal, in the metadata tables, in a page table or in the covers; nor in the slot, but for the root, which has its place
 * there. Erased or not, at any time. One disk every few seconds, everything at rest. */
void check_no_secrets(const struct check *check)
{
    static struct secrets secrets;
    bool at_rest = check->moment == AT_SETTLED;
    if (!at_rest && check->checkers->seconds % WALK_SECONDS != WALK_SECONDS / 2) {
        return;
    }
    secrets_gather(check, &secrets);
    search_disk(check, check->cluster->meta.vault.slot_disk, &secrets, "the slot");
    secrets_gather_roots(check, &secrets);
    uint32_t chosen = (uint32_t)(check->checkers->seconds / WALK_SECONDS) % MODEL_DISKS_MAX;
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (model_disk_of(check->model, i) != NULL && (at_rest || i == chosen)) {
            search_node_disk(check, i, &secrets);
        }
    }
    search_meta(check, &secrets);
}

/* ---- E8: keys ----------------------------------------------------------------------------------- */

static void complain_of_key(const char *where, const struct residue *found)
{
    if (found->what != NULL) {
        sim_violated("E8-key", "%s, %s at %" PRIu64 ": %s", where, found->name, found->offset, found->what);
    }
}

static void gather_keys(const struct check *check, struct secrets *secrets)
{
    const struct checkers *checkers = check->checkers;
    const struct sim_vault *vault = &check->cluster->meta.vault;
    memset(secrets, 0, sizeof(*secrets));
    for (uint64_t i = 0; i < vault->dek_count && i < SIM_DEKS_KEPT; i++) {
        secret_add(secrets, "a data key of a tenant", vault->deks[i].bytes, KEY_BYTES);
    }
    for (uint64_t i = 0; i < checkers->leaf_count && i < CHECKED_LEAVES_KEPT; i++) {
        secret_add(secrets, "the leaf of an object", checkers->leaves[i].bytes, KEY_BYTES);
    }
    for (uint64_t i = 0; i < checkers->page_key_count && i < CHECKED_LEAVES_KEPT; i++) {
        secret_add(secrets, "the key of a page", checkers->page_keys[i].bytes, KEY_BYTES);
    }
}

static void search_disk_for_keys(struct sim_disk *disk, const struct secrets *secrets, uint32_t phase,
                                 const char *where)
{
    struct residue found;
    residue_of_secrets(disk, SIM_DISK_CACHE, secrets, phase, &found);
    complain_of_key(where, &found);
}

static void search_table_for_keys(struct kv *table, const struct secrets *secrets, const char *where)
{
    struct residue found;
    residue_of_secrets_in_table(table, secrets, &found);
    complain_of_key(where, &found);
}

/* E8: the keys of a tenant stand in no journal, no table and on no disk; nor do the leaves of the last objects that were
 * written, replaced or deleted, nor the keys of pages. Looked for at rest. */
void check_keys_at_rest(const struct check *check)
{
    static struct secrets secrets;
    const struct sim_meta *meta = &check->cluster->meta;
    gather_keys(check, &secrets);
    if (secrets.count == 0) {
        return;
    }
    check_counts(check);
    search_disk_for_keys(meta->disk, &secrets, 0, "the journal");
    search_disk_for_keys(meta->vault.tables_disk, &secrets, 0, "the page tables of the vault");
    search_disk_for_keys(meta->vault.slot_disk, &secrets, 0, "the slot");
    search_table_for_keys(meta->tables, &secrets, "the metadata tables");
    search_table_for_keys(meta->vault.covers, &secrets, "the covers of the vault");
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        struct sim_node_disk *disk = model_disk_of(check->model, i);
        if (disk != NULL) {
            search_disk_for_keys(disk->disk, &secrets, i, disk->path);
            search_table_for_keys(disk->index, &secrets, "the index of a disk");
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
