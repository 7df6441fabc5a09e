/* checks_durability.c - I1 to I6: what was acknowledged is there, is right, and stays. */
#include "tests/sim/checks.h"

#include "node/store/store_private.h"

#include <inttypes.h>

#define YOUNG_NS (10 * NS_PER_S)

const char *hex_of(const struct chunk_id *id)
{
    static char texts[4][ID_HEX_BYTES];
    static unsigned next;
    char *text = texts[next++ % ARRAY_LENGTH(texts)];
    id_to_hex(id->bytes, text);
    return text;
}

const char *disk_name(const struct check *check, uint32_t disk)
{
    const struct sim_node_disk *found = disk != UINT32_MAX ? model_disk_of(check->model, disk) : NULL;
    return found != NULL ? found->path : "an unknown disk";
}

/* ---- whole copies --------------------------------------------------------------------------------- */

static uint8_t payload[CHUNK_BYTES_MAX];

/* Whether the batch in `area` speaks of this chunk, in this place. */
static bool batch_has_record(const struct batch_header *header, const uint8_t *area, const struct model_chunk *chunk,
                             const struct model_place *place)
{
    struct record_cursor cursor = record_cursor_of(header, area);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        if (record.payload_blocks > 0 && chunk_id_equal(&record.chunk.id, &chunk->id)) {
            return place->batch_offset + (uint64_t)record.payload_block * BLOCK_BYTES == place->place.offset;
        }
    }
    return false;
}

static bool payload_is_whole(struct sim_disk *disk, enum sim_disk_image image, const char *name, uint64_t offset,
                             const struct model_chunk *chunk)
{
    return sim_disk_copy(disk, image, name, offset, payload, chunk->bytes) &&
           chunk_first_bad_unit(payload, chunk->bytes, 0, chunk_unit_count(chunk->bytes), chunk->seals) == UINT32_MAX;
}

/* Whether recovery would find the copy here, if this image were all that is left. */
static bool place_is_whole(struct sim_disk *disk, const struct model_chunk *chunk, const struct model_place *place,
                           enum sim_disk_image image, const char **why)
{
    static uint8_t area[BATCH_HEADER_BLOCKS_MAX * BLOCK_BYTES];
    uint8_t block[SEGMENT_HEADER_BYTES];
    size_t area_bytes = (size_t)place->header_blocks * BLOCK_BYTES;
    struct segment_header segment;
    struct batch_header header;
    char name[DISK_NAME_BYTES];

    segment_name(place->place.segment, name);
    *why = "the segment's header is not there";
    if (!sim_disk_copy(disk, image, name, 0, block, sizeof(block)) ||
        segment_header_decode(block, &segment) != STATUS_OK || segment.generation != place->place.generation ||
        segment_lsn_says_wiping(segment.first_lsn) || segment.first_lsn == SEGMENT_LSN_READY) {
        return false;
    }
    *why = "the batch's header is not there";
    if (!sim_disk_copy(disk, image, name, place->batch_offset, area, area_bytes) ||
        batch_header_decode(area, area_bytes, &segment, place->batch_offset, &header) != STATUS_OK ||
        !batch_has_record(&header, area, chunk, place)) {
        return false;
    }
    *why = "the payload is not there";
    return payload_is_whole(disk, image, name, place->place.offset, chunk);
}

bool copy_is_whole(const struct check *check, const struct model_chunk *chunk, uint32_t disk, enum sim_disk_image image,
                   const char **why)
{
    const struct model_copy *copy = &chunk->copies[disk];
    uint32_t count = copy->place_count < MODEL_PLACES_MAX ? copy->place_count : MODEL_PLACES_MAX;
    *why = "no copy was ever written there";
    for (uint32_t i = 0; i < count; i++) {
        if (place_is_whole(model_disk_of(check->model, disk)->disk, chunk, &copy->places[i], image, why)) {
            return true;
        }
    }
    return false;
}

bool located_copy_is_whole(const struct check *check, const struct model_chunk *chunk, uint32_t disk)
{
    struct sim_node_disk *found = model_disk_of(check->model, disk);
    struct chunk_location location;
    return found->store != NULL && chunk->has_seals &&
           chunk_store_locate(found->store, &chunk->id, &location) == STATUS_OK && location.state == CHUNK_LIVE &&
           location.segment[0] != '\0' && location.length == chunk->bytes &&
           payload_is_whole(found->disk, SIM_DISK_CACHE, location.segment, location.offset, chunk);
}

/* ---- I1 --------------------------------------------------------------------------------------------- */

static void check_chunk_is_durable(const struct check *check, const struct model_chunk *chunk)
{
    uint32_t disks[MODEL_DISKS_MAX];
    size_t members = 0;
    const char *why;
    (void)model_pg_disks(check->model, chunk->pg, disks, &members);
    for (size_t i = 0; i < members; i++) {
        /* What the atlas lets a disk lose may be lost already. */
        if (disks[i] == UINT32_MAX || model_disk_is_lossy(check->model, disks[i])) {
            continue;
        }
        check_counts(check);
        if (!copy_is_whole(check, chunk, disks[i], SIM_DISK_DURABLE, &why)) {
            sim_violated("I1", "put %" PRIu64 " was acknowledged; chunk %s on %s: %s", check->operation->value,
                         hex_of(&chunk->id), disk_name(check, disks[i]), why);
        }
    }
}

/* I1: when a put is acknowledged, it was committed in between, and every chunk of it stands on the stable storage of
 * every disk of its PG, in a form that recovery would find: segment header, batch header, and payload, unit by unit as its
 * seals say. Buckets of a run do not accept degraded writes, so all three copies count. Exempt: disks of the atlas. */
void check_durable_when_acknowledged(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    struct model_version *version = NULL;
    if (operation->kind != SIM_PUT || operation->outcome != SIM_DONE) {
        return;
    }
    struct model_key *key = model_key(check->model, operation->bucket, operation->key);
    size_t commits = model_commits_within(key, operation->size, operation->began_ns, operation->ended_ns, &version);
    if (commits == 0) {
        sim_violated("I1", "put %" PRIu64 " of %" PRIu64 " bytes was acknowledged without a commit", operation->value,
                     operation->size);
    }
    check_counts(check);
    struct model_write *write = model_find_value(key, operation->value);
    if (commits == 1 && write->version == NULL && version->value == 0) {
        write->version = version;
        version->value = write->value;
    }
    for (uint32_t i = 0; version == key->current && i < version->chunk_count; i++) {
        check_chunk_is_durable(check, check->model->chunks[version->chunks[i]]);
    }
}

/* ---- I2, I3 ----------------------------------------------------------------------------------------- */

/* The reads at the end of a run, when all faults have ended. */
static bool is_final_read(const struct check *check)
{
    return check->operation->client >= check->cluster->client_count && check->operation->kind == SIM_GET;
}

/* A read of a key that never existed says nothing. */
static bool was_ever_written(const struct model_key *key)
{
    return key->write_count > 1; /* The first one is the delete before everything. */
}

/* At the end, in a run whose lossy faults keep to the atlas, a read must succeed. Exempt: a node whose wall clock jumped,
 * as it may find our signature too old. */
static void check_final_read(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    const struct reading *reading = check->reading;
    bool may_fail = check->cluster->options.mode != SIM_SAFETY || check->checkers->nodes[operation->node].wall_jumped ||
                    !was_ever_written(reading->key);
    if (may_fail || reading->kind == READING_ABSENT || operation->outcome == SIM_DONE) {
        return;
    }
    check_counts(check);
    if (!model_absence_is_allowed(reading->key, operation->began_ns, operation->ended_ns)) {
        sim_violated("I2", "at rest: key %u of bucket %u can't be read at node%u: status %u after %.3f s",
                     operation->key, operation->bucket, operation->node + 1, operation->http_status,
                     (double)(operation->ended_ns - operation->began_ns) / (double)NS_PER_S);
    }
}

/* I2: every read returns what the model allows for its interval: the value acknowledged last before it began, one whose put
 * overlaps it or is unknown, or absence likewise; and the catalog must have had it so at some moment of the interval. After
 * the faults have ended every object is readable (in SIM_SAFETY), everywhere. */
void check_reads(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    const struct reading *reading = check->reading;
    if (reading->key != NULL && is_final_read(check)) {
        check_final_read(check);
    }
    switch (reading->kind) {
    case READING_NOTHING:
    case READING_FOREIGN: /* I3 */
        return;
    case READING_ABSENT:
        if (was_ever_written(reading->key)) {
            check_counts(check);
        }
        if (!reading->allowed) {
            sim_violated("I2", "key %u of bucket %u is absent at node%u: %s", operation->key, operation->bucket,
                         operation->node + 1, reading->why);
        }
        if (!reading->was_there) {
            sim_violated("I2", "key %u of bucket %u is absent at node%u, while the catalog had it all the time",
                         operation->key, operation->bucket, operation->node + 1);
        }
        return;
    case READING_VALUE:
        check_counts(check);
        if (!reading->allowed && reading->write->gone_ns >= operation->began_ns) {
            sim_violated("I2", "key %u of bucket %u returned value %" PRIu64 " at node%u: %s", operation->key,
                         operation->bucket, reading->write->value, operation->node + 1, reading->why);
        }
        return;
    }
}

/* I3: no byte is handed to a client that is not the object's, at its place; that holds for bodies that break off as well. */
void check_no_foreign_bytes(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    const struct reading *reading = check->reading;
    if (reading->kind == READING_VALUE && operation->body_bytes > 0) {
        check_counts(check);
    }
    if (reading->kind == READING_FOREIGN) {
        sim_violated("I3",
                     "key %u of bucket %u at node%u: %" PRIu64 " bytes (object of %" PRIu64
                     ") that are no value's that was ever put there; status %u",
                     operation->key, operation->bucket, operation->node + 1, operation->body_bytes,
                     operation->object_bytes, operation->http_status);
    }
}

/* ---- I4 --------------------------------------------------------------------------------------------- */

/* Another put of the same size may have been what was committed. */
static bool may_be_another(const struct model_key *key, const struct sim_operation *operation)
{
    for (size_t i = 0; i < key->write_count; i++) {
        const struct model_write *write = &key->writes[i];
        if (write->value != 0 && write->value != operation->value && write->size == operation->size &&
            write->state == MODEL_UNKNOWN) {
            return true;
        }
    }
    return false;
}

/* I4: a refused put (4xx) leaves nothing; one with a wrong checksum is never acknowledged; a version that was replaced or
 * deleted never becomes current again. That an unknown put is whole or absent is seen by whoever reads it (I2, I3). */
void check_unacknowledged(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    struct model_version *version;
    if (check->moment == AT_APPLIED) {
        if (check->change != NULL && check->change->committed != NULL) {
            check_counts(check);
        }
        if (check->change != NULL && check->change->revived_version) {
            sim_violated("I4", "command %" PRIu64 " makes a version current again that was replaced or deleted",
                         check->index);
        }
        return;
    }
    if (operation->kind != SIM_PUT) {
        return;
    }
    if (operation->spoiled && operation->outcome == SIM_DONE) {
        sim_violated("I4", "put %" PRIu64 " was acknowledged although its checksum was wrong", operation->value);
    }
    const struct model_key *key = model_key(check->model, operation->bucket, operation->key);
    if (operation->outcome != SIM_REFUSED || may_be_another(key, operation)) {
        return;
    }
    check_counts(check);
    if (model_commits_within(key, operation->size, operation->began_ns, operation->ended_ns, &version) > 0) {
        sim_violated("I4", "put %" PRIu64 " was refused with status %u, and committed", operation->value,
                     operation->http_status);
    }
}

static bool was_present(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns)
{
    for (size_t i = 0; i < key->version_count; i++) {
        if (key->versions[i]->from_ns <= ended_ns && key->versions[i]->until_ns >= began_ns) {
            return true;
        }
    }
    return false;
}

/* A listing names every key that must be there and none that must not; nor anything that is no key. */
void check_lists(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    char stranger[64];
    if (operation->kind != SIM_LIST || operation->outcome != SIM_DONE || operation->body_bytes == 0) {
        return;
    }
    check_counts(check);
    if (reading_list_stranger(operation, stranger, sizeof(stranger))) {
        sim_violated("I4-list", "bucket %u lists %s", operation->bucket, stranger);
    }
    for (uint32_t i = 0; i < check->cluster->options.keys; i++) {
        const struct model_key *key = model_key(check->model, operation->bucket, i);
        bool listed = reading_list_has(operation, i);
        bool allowed = listed ? model_presence_is_allowed(key, operation->began_ns, operation->ended_ns)
                              : model_absence_is_allowed(key, operation->began_ns, operation->ended_ns);
        bool was_so = listed ? was_present(key, operation->began_ns, operation->ended_ns)
                             : model_was_absent(key, operation->began_ns, operation->ended_ns);
        if (!allowed || !was_so) {
            sim_violated("I4-list", "bucket %u at node%u: key %u is %s, and %s", operation->bucket, operation->node + 1,
                         i, listed ? "listed" : "not listed",
                         allowed ? "the catalog had it otherwise all the time" : "clients know better");
        }
    }
}

/* ---- I5 --------------------------------------------------------------------------------------------- */

static bool is_member_of(const struct check *check, uint32_t disk, const struct model_chunk *chunk)
{
    uint32_t disks[MODEL_DISKS_MAX];
    size_t members = 0;
    (void)model_pg_disks(check->model, chunk->pg, disks, &members);
    for (size_t i = 0; i < members; i++) {
        if (disks[i] == disk) {
            return true;
        }
    }
    return false;
}

/* Whether an object's chunk must stand on the disk: on every member of its PG. What is being copied to a disk that is not
 * one yet nobody has acknowledged; from one that was a member it goes. (Where disks lose what they had, what takes a PG
 * over may lack what its sources lost.) */
static bool must_be_there(const struct check *check, uint32_t disk, const struct model_chunk *chunk)
{
    const struct model_copy *copy = &chunk->copies[disk];
    bool was_written = copy->place_count > 0 || check->cluster->options.lossy_nodes == 0;
    return chunk->fate == MODEL_REFERENCED && copy->wipe == MODEL_NOT_OWED && was_written &&
           is_member_of(check, disk, chunk);
}

void check_disk_has_all(const struct check *check, struct sim_node_disk *disk, bool look_at_bytes, const char *promise)
{
    uint32_t number = model_disk_number(disk);
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        struct chunk_location location = {0};
        if (!must_be_there(check, number, chunk)) {
            continue;
        }
        check_counts(check);
        enum status status = chunk_store_locate(disk->store, &chunk->id, &location);
        if (status != STATUS_OK || location.state != CHUNK_LIVE) {
            sim_violated(promise, "%s lost chunk %s of an object: %s, state %d", disk->path, hex_of(&chunk->id),
                         status_name(status), (int)location.state);
        }
        /* Large ones are a matter of time: a part of them each time. */
        bool is_chosen = chunk->bytes <= UNIT_BYTES || (i + check->cluster->options.seed) % 4 == 0;
        if (look_at_bytes && is_chosen && !located_copy_is_whole(check, chunk, number)) {
            sim_violated(promise, "%s: the bytes of chunk %s of an object are damaged", disk->path, hex_of(&chunk->id));
        }
    }
}

/* Whether the model saw the write that the store has found. It does not hear of writes that land while their process is being
 * killed: a copy that cleaning had just moved may stand at a place that it never heard of. */
static bool place_is_known(const struct model_copy *copy, const struct chunk_location *location)
{
    uint32_t count = copy->place_count < MODEL_PLACES_MAX ? copy->place_count : MODEL_PLACES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        char name[DISK_NAME_BYTES];
        segment_name(copy->places[i].place.segment, name);
        if (copy->places[i].place.offset == location->offset && strcmp(name, location->segment) == 0) {
            return true;
        }
    }
    return false;
}

/* What a store has after a start it will answer for, so it must be on stable storage by then, whoever wrote it. Looked at for
 * what is young. */
static void check_disk_is_durable(const struct check *check, struct sim_node_disk *disk)
{
    uint32_t number = model_disk_number(disk);
    const char *why;
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        struct chunk_location location = {0};
        bool is_young = chunk->has_seals && chunk->first_seen_ns + YOUNG_NS > check->now_ns;
        if (!is_young || chunk->copies[number].place_count == 0 ||
            chunk_store_locate(disk->store, &chunk->id, &location) != STATUS_OK || location.state != CHUNK_LIVE ||
            !place_is_known(&chunk->copies[number], &location)) {
            continue;
        }
        check_counts(check);
        if (!copy_is_whole(check, chunk, number, SIM_DISK_DURABLE, &why)) {
            sim_violated("I5", "%s takes chunk %s for stored, and on stable storage %s", disk->path, hex_of(&chunk->id),
                         why);
        }
    }
}

/* I5: after a start, and at rest, each store has every chunk that an object refers to and that was written to it: a commit
 * is only made when all copies were acknowledged as durable. At rest the bytes are right, too (of disks that were full P3
 * says so); and after a start all that it has is durable. Exempt: disks of the atlas. */
void check_recovery(const struct check *check)
{
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        bool is_meant = check->moment == AT_SETTLED || node == check->node;
        for (uint32_t d = 0; is_meant && node->state == SIM_RUNNING && d < node->disk_count; d++) {
            bool is_of_another = check->moment == AT_SETTLED && disk_was_full(&node->disks[d]); /* P3 */
            if (!is_of_another && !model_disk_is_lossy(check->model, model_disk_number(&node->disks[d]))) {
                check_disk_has_all(check, &node->disks[d], check->moment == AT_SETTLED, "I5");
                if (check->moment == AT_UP) {
                    check_disk_is_durable(check, &node->disks[d]);
                }
            }
        }
    }
}

/* ---- I6 --------------------------------------------------------------------------------------------- */

static void check_disk_is_fenced(const struct check *check, const struct sim_node *node, struct sim_node_disk *disk,
                                 bool knows)
{
    struct checked_disk *seen = &check->checkers->disks[model_disk_number(disk)];
    uint64_t failures =
        sim_disk_fault_count(disk->disk, SIM_DISK_WRITE_ERROR) + sim_disk_fault_count(disk->disk, SIM_DISK_FLUSH_ERROR);
    bool fenced = disk->store->fenced;

    if (seen->incarnation != node->incarnation) {
        *seen =
            (struct checked_disk){.incarnation = node->incarnation, .failures = failures, .failures_before = failures};
    }
    if (seen->failures > seen->failures_before && knows) {
        check_counts(check);
        if (!fenced) {
            sim_violated("I6", "%s: a write or flush failed more than a second ago, and the store goes on", disk->path);
        }
    }
    uint64_t next_lsn = disk->store->writer.position.next_lsn;
    if (fenced && seen->fenced_ns != 0 && next_lsn != seen->fenced_lsn) {
        sim_violated("I6", "%s: a fenced store has begun a batch", disk->path);
    }
    if (fenced && seen->fenced_ns == 0) {
        seen->fenced_ns = check->now_ns;
        seen->fenced_lsn = next_lsn;
    }
    seen->failures_before = seen->failures;
    seen->failures = failures;
}

/* A write arrives at the disk. As a store hears of a failure at once, no batch may come that is younger than the failure. */
static void check_no_batch_after_failure(const struct check *check)
{
    struct checked_disk *seen = &check->checkers->disks[check->writing->disk];
    const struct chunk_store *store = check->disk->store;
    uint64_t failures = sim_disk_fault_count(check->disk->disk, SIM_DISK_WRITE_ERROR) +
                        sim_disk_fault_count(check->disk->disk, SIM_DISK_FLUSH_ERROR);
    if (store == NULL || seen->write_incarnation != check->node->incarnation) {
        seen->write_incarnation = check->node->incarnation;
        seen->failures_before_writes = failures;
        seen->must_not_write = false;
        return;
    }
    if (!seen->must_not_write && failures > seen->failures_before_writes) {
        seen->must_not_write = true;
        seen->next_lsn = store->writer.position.next_lsn;
    }
    if (seen->must_not_write && check->writing->kind == MODEL_WRITES_BATCH) {
        check_counts(check);
        if (check->writing->header.lsn >= seen->next_lsn) {
            sim_violated("I6", "%s: batch %" PRIu64 " is written, begun after a write or a flush had failed",
                         check->disk->path, check->writing->header.lsn);
        }
    }
}

/* I6: after a failed write or flush a store is fenced, until its process ends: it begins no batch any more, so nothing is
 * acknowledged by it. Looked at when a second has passed at least in which the process was not paused; and at every batch. */
void check_fencing(const struct check *check)
{
    if (check->moment == AT_WRITE) {
        check_no_batch_after_failure(check);
        return;
    }
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        const struct checked_node *seen = &check->checkers->nodes[i];
        bool knows = check->now_ns - seen->up_ns > 3 * NS_PER_S && check->now_ns - seen->paused_ns > 3 * NS_PER_S;
        for (uint32_t d = 0; node->state == SIM_RUNNING && d < node->disk_count; d++) {
            check_disk_is_fenced(check, node, &node->disks[d], knows);
        }
    }
}
