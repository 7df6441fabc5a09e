/* erasure_wipes.c - what becomes of wipes: reported done, settled by a disk's end; and how their erasure is counted
 * then. */
#include "meta/erasure_private.h"

#include "meta/registry.h"

#include "base/bytes.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

/* ---- rows -------------------------------------------------------------------------------------- */

void wipe_put(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16], const struct wipe_owed *owed)
{
    uint8_t value[9];
    struct byte_writer writer = byte_writer_of(value, sizeof(value));
    write_u64_be(&writer, owed->erasure_id);
    if (owed->technique != TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE) {
        write_u8(&writer, (uint8_t)owed->technique);
    }
    tables_put_bytes(tables, key_wipe(disk_id, chunk_id), value, writer.written);
}

bool wipe_decode(struct kv_slice value, struct wipe_owed *owed)
{
    if (value.bytes != 8 && value.bytes != 9) {
        return false;
    }
    owed->erasure_id = number_of_be(value.data, 8);
    owed->technique = value.bytes == 9 ? (Trilith__WipeTechnique)((const uint8_t *)value.data)[8]
                                       : TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE;
    return true;
}

enum status wipe_get(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16], struct wipe_owed *owed)
{
    struct kv_slice value;
    enum status status = tables_get_bytes(tables, key_wipe(disk_id, chunk_id), &value);
    if (status != STATUS_OK) {
        return status;
    }
    return wipe_decode(value, owed) ? STATUS_OK : tables_fail(tables, STATUS_CORRUPT);
}

enum status disk_wipes_get(struct tables *tables, uint64_t erasure_id, uint32_t disk_id,
                           Trilith__DiskWipesRecord **record)
{
    enum status status =
        tables_get(tables, key_disk_wipes(erasure_id, disk_id), &trilith__disk_wipes_record__descriptor, record);
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    Trilith__DiskWipesRecord *none = scratch_take(&tables->scratch, sizeof(*none));
    if (none == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    trilith__disk_wipes_record__init(none);
    *record = none;
    return STATUS_OK;
}

/* ---- the end of an erasure's wipes ------------------------------------------------------------- */

/* Where an erasure whose wipes are done is counted until it is closed; NULL: its keys are gone, it is closed. */
static uint64_t *wiped_counter(Trilith__ClusterRecord *cluster, uint64_t erasure_id,
                               const Trilith__ErasureRecord *record)
{
    if (erasure_keys_are_gone(cluster, erasure_id, record)) {
        return NULL;
    }
    bool is_sealed = record->seal != 0 ? record->seal <= cluster->seal : erasure_id < cluster->keys_sealed_below;
    return is_sealed ? &cluster->wiped_sealed : &cluster->wiped_since_seal;
}

void erasure_finish(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record)
{
    Trilith__ClusterRecord *cluster = change->cluster;
    uint64_t *counter = wiped_counter(cluster, erasure_id, record);
    CHECK(counter != NULL || cluster->erasures_open > 0);
    *(counter != NULL ? counter : &cluster->erasures_open) += counter != NULL ? 1 : UINT64_MAX;
    record->closed_ms = change->time_ms;
    if (record->late) {
        tables_put_number(change->tables, key_erasure_open(erasure_id), record->seal);
    } else {
        tables_delete(change->tables, key_erasure_open(erasure_id));
    }
    if (erasure_is_certifiable(record)) {
        tables_put_bytes(change->tables, key_uncertified(record->seal, erasure_id), "", 0);
        cluster->certificates_due++;
    }
}

enum status erasure_unfinish(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record)
{
    struct tables *tables = change->tables;
    Trilith__ClusterRecord *cluster = change->cluster;
    uint64_t *counter = wiped_counter(cluster, erasure_id, record);
    if (counter == NULL) {
        cluster->erasures_open++;
        record->reopened++;
        record->reopened_ms = change->time_ms;
    } else {
        CHECK(*counter > 0);
        (*counter)--;
    }
    record->closed_ms = 0;
    tables_put_bytes(tables, key_erasure_open(erasure_id), "", 0);
    enum status status = tables_find(tables, key_uncertified(record->seal, erasure_id));
    if (status == STATUS_OK) {
        CHECK(cluster->certificates_due > 0);
        cluster->certificates_due--;
        tables_delete(tables, key_uncertified(record->seal, erasure_id));
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- wipes that go to another erasure ------------------------------------------------------------ */

enum status erasure_let_go(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record, uint32_t disk_id,
                           uint32_t wipes)
{
    struct tables *tables = change->tables;
    struct table_key key = key_erasure_disk(erasure_id, disk_id);
    uint64_t disk_owes = 0;
    if (tables_get_number(tables, key, &disk_owes) != STATUS_OK || disk_owes < wipes ||
        record->wipes_total - record->wipes_done < wipes) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    record->wipes_total -= wipes;
    if (disk_owes == wipes) {
        tables_delete(tables, key);
    } else {
        tables_put_number(tables, key, disk_owes - wipes);
    }
    return STATUS_OK;
}

void erasure_let_go_end(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record)
{
    if (erasure_is_wiped(record)) {
        erasure_finish(change, erasure_id, record);
    }
    tables_put(change->tables, key_erasure(erasure_id), record);
}

/* ---- settling ---------------------------------------------------------------------------------- */

/* What is to be settled on one disk by one command. */
struct settlement {
    struct change *change;
    uint32_t disk_id;
    uint64_t node_id;
    bool removed; /* by the disk's end; else by a report */
    bool dead;
    const uint8_t *attestation; /* SHA-256; NULL: there is none */
    bool any;                   /* a wipe was settled */
};

/* What is settled of one erasure. */
struct settled {
    uint64_t erasure_id;
    uint32_t wiped;
    uint32_t never_held;
    uint32_t removed;
    uint32_t refused;
    uint64_t bytes;
    Trilith__WipeTechnique technique; /* the least */
};

static uint32_t settled_count(const struct settled *settled)
{
    return settled->wiped + settled->never_held + settled->removed;
}

static enum status attestation_note(const struct settlement *settlement, Trilith__DiskWipesRecord *wipes)
{
    struct scratch *scratch = &settlement->change->tables->scratch;
    uint8_t *chain = scratch_take(scratch, SHA256_BYTES);
    uint8_t *copy = scratch_copy(scratch, settlement->attestation, SHA256_BYTES);
    ProtobufCBinaryData *list = scratch_take(scratch, (wipes->n_attestations + 1) * sizeof(*list));
    uint8_t linked[2 * SHA256_BYTES];
    struct byte_writer writer = byte_writer_of(linked, sizeof(linked));
    if (chain == NULL || copy == NULL || list == NULL) {
        return tables_fail(settlement->change->tables, STATUS_TOO_LARGE);
    }
    if (wipes->attestations_chain.len > SHA256_BYTES) {
        return tables_fail(settlement->change->tables, STATUS_CORRUPT);
    }
    write_bytes(&writer, wipes->attestations_chain.data, wipes->attestations_chain.len);
    write_bytes(&writer, copy, SHA256_BYTES);
    sha256(linked, writer.written, chain);
    wipes->attestations_chain = (ProtobufCBinaryData){.data = chain, .len = SHA256_BYTES};
    wipes->attestations_count++;
    if (wipes->n_attestations < DISK_ATTESTATIONS_MAX) {
        for (size_t i = 0; i < wipes->n_attestations; i++) {
            list[i] = wipes->attestations[i];
        }
        list[wipes->n_attestations++] = (ProtobufCBinaryData){.data = copy, .len = SHA256_BYTES};
        wipes->attestations = list;
    }
    return STATUS_OK;
}

/* Write down what became of the wipes on this disk. */
static enum status disk_wipes_note(const struct settlement *settlement, const struct settled *settled)
{
    struct tables *tables = settlement->change->tables;
    Trilith__DiskWipesRecord *wipes = NULL;
    enum status status = disk_wipes_get(tables, settled->erasure_id, settlement->disk_id, &wipes);
    if (status != STATUS_OK) {
        return status;
    }
    if (settled->wiped > 0) {
        bool is_least = wipes->wiped == 0 || settled->technique < wipes->technique;
        wipes->technique = is_least ? settled->technique : wipes->technique;
    }
    wipes->wiped += settled->wiped;
    wipes->never_held += settled->never_held;
    wipes->removed += settled->removed;
    wipes->bytes += settled->bytes;
    wipes->finished_ms = settlement->change->time_ms;
    wipes->node_id = settlement->removed ? wipes->node_id : settlement->node_id;
    wipes->dead = wipes->dead || settlement->dead;
    if (settlement->attestation != NULL) {
        status = attestation_note(settlement, wipes);
    }
    tables_put(tables, key_disk_wipes(settled->erasure_id, settlement->disk_id), wipes);
    return status;
}

/* Take what was settled off what the disk and the erasure owe. */
static enum status account(struct settlement *settlement, const struct settled *settled)
{
    struct change *change = settlement->change;
    struct tables *tables = change->tables;
    uint32_t done = settled_count(settled);
    if (done == 0 && settled->refused == 0) {
        return STATUS_OK;
    }
    Trilith__ErasureRecord *record = NULL;
    uint64_t disk_owes = 0;
    struct table_key key = key_erasure_disk(settled->erasure_id, settlement->disk_id);
    if (erasure_record(tables, settled->erasure_id, &record) != STATUS_OK ||
        tables_get_number(tables, key, &disk_owes) != STATUS_OK || disk_owes < done ||
        record->wipes_total - record->wipes_done < done) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    record->wipes_done += done;
    record->wipes_failed += settled->refused;
    if (disk_owes == done) {
        tables_delete(tables, key);
    } else {
        tables_put_number(tables, key, disk_owes - done);
    }
    if (done > 0 && erasure_is_wiped(record)) {
        erasure_finish(change, settled->erasure_id, record);
    }
    tables_put(tables, key_erasure(settled->erasure_id), record);
    settlement->any = settlement->any || done > 0;
    return done > 0 ? disk_wipes_note(settlement, settled) : STATUS_OK;
}

/* ---- reports ----------------------------------------------------------------------------------- */

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
    bool is_packed = command->attestation_packed.len > 0;
    if (command->n_results > WIPES_PULLED_MAX || command->attestation.len > ATTESTATION_JWS_BYTES_MAX ||
        command->attestation_packed.len > ATTESTATION_JWS_BYTES_MAX || (is_packed && command->attestation.len > 0) ||
        command->attestation_sha256.len != (is_packed ? SHA256_BYTES : 0)) {
        return false;
    }
    for (size_t i = 0; i < command->n_results; i++) {
        const Trilith__WipeResult *result = command->results[i];
        if (result->chunk_id.len != 16 || result->outcome == TRILITH__WIPE_OUTCOME__WIPE_NONE ||
            (unsigned)result->outcome > TRILITH__WIPE_OUTCOME__WIPE_FAILED ||
            (unsigned)result->technique > TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3) {
            return false;
        }
    }
    return true;
}

/* Count one result, and take the wipe off the list unless the device refused it. */
static void result_settle(struct settlement *settlement, const Trilith__WipeResult *result, struct settled *settled)
{
    if (result->outcome == TRILITH__WIPE_OUTCOME__WIPE_FAILED) {
        settled->refused++;
        return;
    }
    if (result->outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED) {
        bool is_least = settled->wiped == 0 || result->technique < settled->technique;
        settled->technique = is_least ? result->technique : settled->technique;
        settled->bytes += result->bytes;
        settled->wiped++;
    } else {
        settled->never_held++;
    }
    tables_delete(settlement->change->tables, key_wipe(settlement->disk_id, result->chunk_id.data));
}

/* Settle `count` results that all belong to one erasure; equal chunks stand side by side, the best outcome first. */
static enum status settle(struct settlement *settlement, Trilith__WipeResult *const *results, size_t count)
{
    struct settled settled = {.erasure_id = results[0]->erasure_id};
    for (size_t i = 0; i < count; i++) {
        const uint8_t *chunk = results[i]->chunk_id.data;
        if (i > 0 && memcmp(results[i - 1]->chunk_id.data, chunk, 16) == 0) {
            continue;
        }
        struct wipe_owed owed = {0};
        enum status status = wipe_get(settlement->change->tables, settlement->disk_id, chunk, &owed);
        if (status == STATUS_OK && owed.erasure_id == settled.erasure_id) {
            result_settle(settlement, results[i], &settled);
        } else if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
    }
    return account(settlement, &settled);
}

static enum status attestation_keep(const struct settlement *settlement, const Trilith__RecordWipes *command)
{
    struct tables *tables = settlement->change->tables;
    enum status status = tables_find(tables, key_attestation(settlement->attestation));
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    Trilith__AttestationRecord record;
    trilith__attestation_record__init(&record);
    record.jws = command->attestation;
    record.packed = command->attestation_packed;
    record.node_id = settlement->node_id;
    record.time_ms = settlement->change->time_ms;
    record.disk_id = settlement->disk_id;
    tables_put(tables, key_attestation(settlement->attestation), &record);
    return STATUS_OK;
}

/* By whom the report is. A disk that is not known owes nothing. */
static enum status reporter(struct settlement *settlement)
{
    Trilith__MapDisk *disk = NULL;
    enum status status = registry_disk(settlement->change->tables, settlement->disk_id, &disk);
    settlement->node_id = status == STATUS_OK ? disk->node_id : 0;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status erasure_record_wipes(struct change *change, const Trilith__RecordWipes *command)
{
    if (!results_are_valid(command)) {
        return STATUS_INVALID;
    }
    uint8_t attestation[SHA256_BYTES];
    struct settlement settlement = {.change = change, .disk_id = command->disk_id};
    if (command->attestation.len > 0) {
        sha256(command->attestation.data, command->attestation.len, attestation);
        settlement.attestation = attestation;
    } else if (command->attestation_packed.len > 0) {
        settlement.attestation = command->attestation_sha256.data;
    }
    /* Said again, perhaps long after: what was owed anew meanwhile is not settled by it. */
    if (settlement.attestation != NULL) {
        enum status known = tables_find(change->tables, key_attestation(settlement.attestation));
        if (known != STATUS_NOT_FOUND) {
            return known;
        }
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

    enum status status = reporter(&settlement);
    for (size_t first = 0, end = 0; status == STATUS_OK && first < count; first = end) {
        while (end < count && sorted[end]->erasure_id == sorted[first]->erasure_id) {
            end++;
        }
        status = settle(&settlement, sorted + first, end - first);
    }
    if (status == STATUS_OK && settlement.any && settlement.attestation != NULL) {
        status = attestation_keep(&settlement, command);
    }
    return status;
}

/* ---- disks that are removed -------------------------------------------------------------------- */

static int number_order(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

/* Take up to `max` wipes off the disk's list: `*ids` are the erasures that they were owed to, by id. */
static enum status wipes_take_off(struct change *change, uint32_t disk_id, uint32_t max, uint64_t **ids, size_t *count,
                                  bool *more)
{
    static const uint8_t first_chunk[16];
    struct tables *tables = change->tables;
    *ids = scratch_take(&tables->scratch, ((size_t)max + 1) * sizeof(uint64_t));
    if (*ids == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    struct table_walk walk;
    struct kv_slice key, value;
    *count = 0;
    *more = false;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        struct wipe_owed owed;
        if (*count == max) {
            *more = true;
            break;
        }
        if (key.bytes != 21 || !wipe_decode(value, &owed)) {
            (void)tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        tables_delete(tables, key_wipe(disk_id, (const uint8_t *)key.data + 5));
        (*ids)[(*count)++] = owed.erasure_id;
    }
    table_walk_close(&walk);
    qsort(*ids, *count, sizeof(uint64_t), number_order);
    return tables->failed;
}

enum status erasure_settle_removed(struct change *change, uint32_t disk_id, bool dead, uint32_t max, bool *more)
{
    struct settlement settlement = {.change = change, .disk_id = disk_id, .removed = true, .dead = dead};
    uint64_t *ids = NULL;
    size_t count = 0;
    enum status status = wipes_take_off(change, disk_id, max, &ids, &count, more);
    for (size_t first = 0, end = 0; status == STATUS_OK && first < count; first = end) {
        while (end < count && ids[end] == ids[first]) {
            end++;
        }
        const struct settled settled = {.erasure_id = ids[first], .removed = (uint32_t)(end - first)};
        status = account(&settlement, &settled);
    }
    return status;
}
