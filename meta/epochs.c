/* epochs.c - the counters and rows behind the vault's epochs. */
#include "meta/epochs.h"

#include "meta/vault/vault.h"

#include <string.h>

static int server_count(uint64_t servers_set, uint32_t servers)
{
    CHECK(servers <= EPOCH_SERVERS_LIMIT);
    return __builtin_popcountll(servers_set & ((UINT64_C(1) << servers) - 1));
}

static bool is_commitment(ProtobufCBinaryData commitment, ProtobufCBinaryData expected)
{
    return commitment.len == COMMITMENT_BYTES && expected.len == COMMITMENT_BYTES &&
           memcmp(commitment.data, expected.data, COMMITMENT_BYTES) == 0;
}

/* A row that must be there. */
static enum status epoch_known(struct tables *tables, uint64_t epoch, Trilith__EpochRecord **record)
{
    enum status status = epochs_get(tables, epoch, record);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    bool valid = (*record)->servers <= EPOCH_SERVERS_LIMIT && (*record)->threshold <= (*record)->servers;
    return valid ? STATUS_OK : tables_fail(tables, STATUS_CORRUPT);
}

/* ---- seal -------------------------------------------------------------------------------------- */

enum status epochs_seal(struct change *change, const Trilith__EpochSeal *command)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    if (command->commitment.len != COMMITMENT_BYTES || command->servers < 1 || command->servers > EPOCH_SERVERS_LIMIT ||
        command->threshold != command->servers / 2 + 1) {
        return STATUS_INVALID;
    }
    if (command->epoch != cluster->epoch + 1 || cluster->erasing_epoch != 0) {
        return STATUS_CONFLICT;
    }
    cluster->seal++;
    cluster->sealed_epoch = command->epoch;
    cluster->sealed_commitment = command->commitment;
    cluster->sealed_pages_end = cluster->next_page + VAULT_PAGE_MARGIN;
    cluster->sealed_punctured = cluster->leaves_punctured;
    cluster->keys_sealed_below = cluster->next_erasure_id;
    cluster->wiped_sealed += cluster->wiped_since_seal;
    cluster->wiped_since_seal = 0;

    Trilith__EpochRecord record = TRILITH__EPOCH_RECORD__INIT;
    record.epoch = command->epoch;
    record.commitment = command->commitment;
    record.servers = command->servers;
    record.threshold = command->threshold;
    tables_put(change->tables, key_epoch(record.epoch), &record);
    return STATUS_OK;
}

/* ---- destruction ------------------------------------------------------------------------------- */

/* The epoch that was switched away from is beyond recovery, and with it the keys of all erasures that the last seal
 * took. */
static void epoch_settle(struct change *change, Trilith__EpochRecord *record, uint64_t destroyed)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    record->destroyed_ms = change->time_ms;
    record->destroyed = destroyed;
    tables_put(change->tables, key_epoch(record->epoch), record);
    if (cluster->keys_sealed_below > cluster->keys_destroyed_below) {
        tables_put_number(change->tables, key_erasures_end(cluster->keys_sealed_below), record->epoch);
    }
    tables_put_number(change->tables, key_seal_epoch(cluster->seal), record->epoch);
    CHECK(cluster->erasures_open >= cluster->wiped_sealed);
    cluster->erasures_open -= cluster->wiped_sealed;
    cluster->wiped_sealed = 0;
    cluster->keys_destroyed_below = cluster->keys_sealed_below;
    cluster->erased_seal = cluster->seal; /* No seal comes between a switch and this. */
    cluster->erasing_epoch = 0;
}

enum status epochs_erased(struct change *change, const Trilith__EpochErased *command)
{
    if (command->epoch == 0 || command->epoch != change->cluster->erasing_epoch) {
        return STATUS_CONFLICT;
    }
    Trilith__EpochRecord *record = NULL;
    enum status status = epoch_known(change->tables, command->epoch, &record);
    if (status != STATUS_OK) {
        return status;
    }
    /* With so many destroyed, fewer than the threshold are left. */
    if (server_count(command->destroyed, record->servers) < (int)(record->servers - record->threshold + 1)) {
        return STATUS_CONFLICT;
    }
    epoch_settle(change, record, command->destroyed);
    return STATUS_OK;
}

/* ---- switch ------------------------------------------------------------------------------------ */

/* Rows of punctures that the new table has left out. */
static void dirty_pages_forget(struct change *change)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, change->tables, key_prefix(key_dirty_page(0, 0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const uint8_t *bytes = key.data;
        if (key.bytes != 13) {
            (void)tables_fail(change->tables, STATUS_CORRUPT);
            break;
        }
        uint64_t seal = number_of_be(bytes + 1, 8);
        if (seal > change->cluster->seal) {
            break;
        }
        tables_delete(change->tables, key_dirty_page(seal, (uint32_t)number_of_be(bytes + 9, 4)));
    }
    table_walk_close(&walk);
}

/* The current epoch is over: note how it ended. Before the first one nothing was kept, so nothing is left to
 * destroy. */
static enum status epoch_end(struct change *change)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    Trilith__EpochRecord none = TRILITH__EPOCH_RECORD__INIT;
    Trilith__EpochRecord *record = &none;
    if (cluster->epoch != 0) {
        enum status status = epoch_known(change->tables, cluster->epoch, &record);
        if (status != STATUS_OK) {
            return status;
        }
    } else {
        none.begun_ms = cluster->created_ms;
    }
    record->closed_ms = change->time_ms;
    record->leaves_erased = cluster->sealed_punctured - cluster->leaves_erased;
    record->erasures_end = cluster->keys_sealed_below;
    cluster->erasing_epoch = record->epoch;
    if (record->epoch == 0) {
        epoch_settle(change, record, 0);
    } else {
        tables_put(change->tables, key_epoch(record->epoch), record);
    }
    return STATUS_OK;
}

static void epoch_begin(struct change *change, Trilith__EpochRecord *record)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    record->begun_ms = change->time_ms;
    tables_put(change->tables, key_epoch(record->epoch), record);
    cluster->epoch = record->epoch;
    cluster->epoch_ms = change->time_ms;
    cluster->commitment = record->commitment;
    cluster->pages_end = cluster->sealed_pages_end;
    cluster->servers = record->servers;
    cluster->threshold = record->threshold;
    cluster->leaves_erased = cluster->sealed_punctured;
    cluster->sealed_epoch = 0;
    cluster->sealed_commitment = (ProtobufCBinaryData){0};
    cluster->sealed_pages_end = 0;
}

enum status epochs_switch(struct change *change, const Trilith__EpochSwitch *command)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    if (command->epoch == 0 || command->epoch != cluster->sealed_epoch ||
        !is_commitment(command->commitment, cluster->sealed_commitment)) {
        return STATUS_CONFLICT;
    }
    Trilith__EpochRecord *record = NULL;
    enum status status = epoch_known(change->tables, command->epoch, &record);
    if (status != STATUS_OK) {
        return status;
    }
    if (server_count(command->prepared, record->servers) < (int)record->threshold) {
        return STATUS_CONFLICT;
    }
    if (command->leaves_erased != cluster->sealed_punctured || !epochs_balance(cluster)) {
        return STATUS_NOT_EMPTY;
    }
    status = epoch_end(change);
    if (status == STATUS_OK) {
        epoch_begin(change, record);
        dirty_pages_forget(change);
    }
    return status;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status epochs_get(struct tables *tables, uint64_t epoch, Trilith__EpochRecord **record)
{
    return tables_get(tables, key_epoch(epoch), &trilith__epoch_record__descriptor, record);
}

/* The epoch that the first row at or behind `start` names. */
static enum status epoch_behind(struct tables *tables, const struct table_key *start, Trilith__EpochRecord **record)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(*start, 1));
    table_walk_seek(&walk, start);
    bool found = table_walk_row(&walk, &key, &value);
    uint64_t epoch = 0;
    if (found && value.bytes == 8) {
        epoch = number_of_be(value.data, 8);
    } else if (found) {
        (void)tables_fail(tables, STATUS_CORRUPT);
    }
    table_walk_close(&walk);
    if (tables->failed != STATUS_OK || !found) {
        return tables->failed != STATUS_OK ? tables->failed : STATUS_NOT_FOUND;
    }
    enum status status = epochs_get(tables, epoch, record);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

enum status epochs_of_erasure(struct tables *tables, uint64_t erasure_id, Trilith__EpochRecord **record)
{
    if (erasure_id == UINT64_MAX) {
        return STATUS_NOT_FOUND;
    }
    struct table_key start = key_erasures_end(erasure_id + 1);
    return epoch_behind(tables, &start, record);
}

enum status epochs_of_seal(struct tables *tables, uint64_t seal, Trilith__EpochRecord **record)
{
    struct table_key start = key_seal_epoch(seal);
    return epoch_behind(tables, &start, record);
}

bool epochs_balance(const Trilith__ClusterRecord *cluster)
{
    return cluster->leaves_live == cluster->objects + cluster->grace_objects + cluster->deks + cluster->refs;
}
