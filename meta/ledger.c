/* ledger.c - the tree of the ledger, in rows. */
#include "meta/ledger.h"

#include <string.h>

/* ---- rows -------------------------------------------------------------------------------------- */

static enum status hash_read(void *user, unsigned level, uint64_t index, struct merkle_hash *hash)
{
    struct tables *tables = user;
    struct scratch *scratch = &tables->scratch;
    size_t used_bytes = scratch->used;
    struct kv_slice value = {0};
    enum status status = tables_get_bytes(tables, key_ledger_hash((uint8_t)level, index), &value);
    if (status == STATUS_OK && value.bytes == sizeof(hash->bytes)) {
        memcpy(hash->bytes, value.data, sizeof(hash->bytes));
    } else {
        status = tables_missing(tables, status == STATUS_OK ? STATUS_CORRUPT : status);
    }
    scratch->used = used_bytes;
    return status;
}

static void hash_write(void *user, unsigned level, uint64_t index, const struct merkle_hash *hash)
{
    tables_put_bytes(user, key_ledger_hash((uint8_t)level, index), hash->bytes, sizeof(hash->bytes));
}

/* ---- append ------------------------------------------------------------------------------------ */

static bool entries_are_valid(const ProtobufCBinaryData *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].len < 1 || entries[i].len > LEDGER_ENTRY_BYTES_MAX) {
            return false;
        }
    }
    return count >= 1 && count <= LEDGER_ENTRIES_APPEND_MAX;
}

/* The right edge of the tree as it is, which must be that of the root that is on record. */
static enum status edge_load(struct tables *tables, const Trilith__ClusterRecord *cluster, struct merkle_edge *edge)
{
    struct merkle_hash root;
    enum status status = merkle_edge_read(edge, cluster->ledger_size, hash_read, tables);
    if (status != STATUS_OK || cluster->ledger_size == 0) {
        return status;
    }
    merkle_root(edge, &root);
    bool same = cluster->ledger_root.len == sizeof(root.bytes) &&
                memcmp(cluster->ledger_root.data, root.bytes, sizeof(root.bytes)) == 0;
    return same ? STATUS_OK : tables_fail(tables, STATUS_CORRUPT);
}

static void edge_append(struct merkle_edge *edge, const ProtobufCBinaryData *entries, size_t count, merkle_write *write,
                        void *user)
{
    for (size_t i = 0; i < count; i++) {
        struct merkle_hash leaf;
        merkle_leaf(entries[i].data, entries[i].len, &leaf);
        merkle_append(edge, &leaf, write, user);
    }
}

/* The ledger's name: the first line of a note. False: there is none, or it is too long. */
static bool origin_of(const char *note, char origin[CHECKPOINT_ORIGIN_BYTES])
{
    size_t bytes = strcspn(note, "\n");
    if (bytes == 0 || bytes >= CHECKPOINT_ORIGIN_BYTES || note[bytes] != '\n') {
        return false;
    }
    memcpy(origin, note, bytes);
    origin[bytes] = '\0';
    return true;
}

/* Is it a note about this head, with a signature behind it? `origin` of the head is taken from it. */
static enum status note_check(struct tables *tables, const char *note, struct checkpoint *head)
{
    char text[CHECKPOINT_BYTES_MAX];
    char *before = NULL;
    char origin_before[CHECKPOINT_ORIGIN_BYTES];
    if (strlen(note) >= CHECKPOINT_BYTES_MAX || !origin_of(note, head->origin)) {
        return STATUS_INVALID;
    }
    enum status status = ledger_checkpoint(tables, &before);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    if (before != NULL && (!origin_of(before, origin_before) || strcmp(origin_before, head->origin) != 0)) {
        return STATUS_CONFLICT;
    }
    checkpoint_text(head, text);
    size_t bytes = strlen(text);
    if (strncmp(note, text, bytes) != 0) {
        return STATUS_CONFLICT;
    }
    /* An empty line, and a line of a signature, which begins with an em dash. */
    return strncmp(note + bytes, "\n\xe2\x80\x94 ", 5) == 0 ? STATUS_OK : STATUS_INVALID;
}

enum status ledger_next(struct tables *tables, const Trilith__ClusterRecord *cluster,
                        const ProtobufCBinaryData *entries, size_t count, struct checkpoint *head)
{
    struct merkle_edge edge;
    if (!entries_are_valid(entries, count)) {
        return STATUS_INVALID;
    }
    enum status status = edge_load(tables, cluster, &edge);
    if (status == STATUS_OK) {
        edge_append(&edge, entries, count, NULL, NULL);
        *head = (struct checkpoint){.size = edge.size};
        merkle_root(&edge, &head->root);
    }
    return status;
}

enum status ledger_append(struct change *change, const ProtobufCBinaryData *entries, size_t count, const char *note)
{
    struct tables *tables = change->tables;
    Trilith__ClusterRecord *cluster = change->cluster;
    struct merkle_edge edge;
    struct checkpoint head = {0};
    if (!entries_are_valid(entries, count)) {
        return STATUS_INVALID;
    }
    enum status status = edge_load(tables, cluster, &edge);
    if (status != STATUS_OK) {
        return status;
    }
    edge_append(&edge, entries, count, hash_write, tables);
    head.size = edge.size;
    merkle_root(&edge, &head.root);
    status = note_check(tables, note, &head);
    uint8_t *root = scratch_copy(&tables->scratch, head.root.bytes, sizeof(head.root.bytes));
    if (status != STATUS_OK || root == NULL) {
        return status != STATUS_OK ? status : tables_fail(tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < count; i++) {
        tables_put_bytes(tables, key_ledger_entry(cluster->ledger_size + i), entries[i].data, entries[i].len);
    }
    tables_put_bytes(tables, key_checkpoint(), note, strlen(note));
    cluster->ledger_size = head.size;
    cluster->ledger_root = (ProtobufCBinaryData){.data = root, .len = sizeof(head.root.bytes)};
    return STATUS_OK;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status ledger_checkpoint(struct tables *tables, char **note)
{
    struct kv_slice value;
    enum status status = tables_get_bytes(tables, key_checkpoint(), &value);
    if (status != STATUS_OK) {
        return status;
    }
    *note = scratch_copy(&tables->scratch, value.data, value.bytes);
    return *note != NULL ? STATUS_OK : STATUS_TOO_LARGE;
}

enum status ledger_read(struct tables *tables, uint64_t first, uint32_t max, Trilith__LedgerReadReply *reply)
{
    if (max > LEDGER_READ_MAX) {
        return STATUS_INVALID;
    }
    reply->entries = scratch_take(&tables->scratch, ((size_t)max + 1) * sizeof(reply->entries[0]));
    if (reply->entries == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    struct table_key start = key_ledger_entry(first);
    table_walk_open(&walk, tables, key_prefix(start, 1));
    table_walk_seek(&walk, &start);
    for (; reply->n_entries < max && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        uint8_t *copy = scratch_copy(&tables->scratch, value.data, value.bytes);
        reply->entries[reply->n_entries++] = (ProtobufCBinaryData){.data = copy, .len = value.bytes};
    }
    table_walk_close(&walk);
    return tables->scratch.exhausted ? STATUS_TOO_LARGE : tables->failed;
}

enum status ledger_entry(struct tables *tables, uint64_t index, ProtobufCBinaryData *entry)
{
    struct kv_slice value;
    enum status status = tables_get_bytes(tables, key_ledger_entry(index), &value);
    if (status == STATUS_OK) {
        uint8_t *copy = scratch_copy(&tables->scratch, value.data, value.bytes);
        status = copy != NULL ? STATUS_OK : STATUS_TOO_LARGE;
        *entry = (ProtobufCBinaryData){.data = copy, .len = value.bytes};
    }
    return status;
}

enum status ledger_proof(struct tables *tables, uint64_t index, uint64_t size,
                         struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count)
{
    return merkle_inclusion(index, size, hash_read, tables, proof, count);
}
