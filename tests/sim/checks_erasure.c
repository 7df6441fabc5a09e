/* checks_erasure.c - E1 to E7: what was erased is gone, everywhere, and stays so. No fault excuses bytes that come back, but
 * what a device does by itself: content that it put or left somewhere against its word is not ours to answer for. */
#include "tests/sim/checks.h"
#include "tests/sim/residue.h"

#include "base/keystream.h"
#include "meta/state.h"
#include "meta/tables.h"
#include "node/store/store_private.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- E1 --------------------------------------------------------------------------------------------- */

/* E1: a read that began after a delete or a replacement was acknowledged never returns the old value; nor one that began
 * after the metadata service applied it, as every read fetches the record there. And a delete that was acknowledged has been
 * applied: the key was absent at some moment. */
void check_nothing_gone_is_read(const struct check *check)
{
    const struct sim_operation *operation = check->operation;
    const struct reading *reading = check->reading;
    if (operation->kind == SIM_DELETE && operation->outcome == SIM_DONE) {
        check_counts(check);
        if (!model_was_absent(model_key(check->model, operation->bucket, operation->key), operation->began_ns,
                              operation->ended_ns)) {
            sim_violated("E1",
                         "the delete of key %u of bucket %u was acknowledged, and the catalog had it all the time",
                         operation->key, operation->bucket);
        }
    }
    if (reading->kind != READING_VALUE) {
        return;
    }
    check_counts(check);
    if (!reading->allowed && reading->write->gone_ns < operation->began_ns) {
        sim_violated(
            "E1",
            "key %u of bucket %u returned value %" PRIu64 " at node%u, gone since %.6f s; the read began at %.6f s",
            operation->key, operation->bucket, reading->write->value, operation->node + 1,
            (double)reading->write->gone_ns / (double)NS_PER_S, (double)operation->began_ns / (double)NS_PER_S);
    }
    if (reading->allowed && !reading->was_there) {
        sim_violated("E1",
                     "key %u of bucket %u returned value %" PRIu64 " at node%u, which the catalog did not have then",
                     operation->key, operation->bucket, reading->write->value, operation->node + 1);
    }
}

/* ---- E2 --------------------------------------------------------------------------------------------- */

static enum status locate(struct sim_node_disk *disk, const struct model_chunk *chunk, struct chunk_location *location)
{
    *location = (struct chunk_location){0};
    return chunk_store_locate(disk->store, &chunk->id, location);
}

/* E2: when a node says that it serves, no chunk is live in its stores whose erasure it owed since before its process began.
 * Assumed: a wipe that the device refused does not keep the node from serving (agent.h); it has reported that by then. */
void check_caught_up(const struct check *check)
{
    uint64_t up_ns = check->checkers->nodes[check->node->number].up_ns;
    for (uint32_t d = 0; d < check->node->disk_count; d++) {
        struct sim_node_disk *disk = &check->node->disks[d];
        uint32_t number = model_disk_number(disk);
        for (uint32_t i = 0; i < check->model->chunk_count; i++) {
            const struct model_chunk *chunk = check->model->chunks[i];
            const struct model_copy *copy = &chunk->copies[number];
            struct chunk_location location;
            bool was_owed =
                copy->erasure_id != 0 && copy->owed_ns < up_ns && (copy->wipe == MODEL_OWED || copy->wiped_ns >= up_ns);
            if (!was_owed || (copy->refused_ns != 0 && copy->refused_ns >= up_ns)) {
                continue;
            }
            check_counts(check);
            if (locate(disk, chunk, &location) == STATUS_OK && location.state == CHUNK_LIVE) {
                sim_violated("E2", "%s serves while chunk %s is live on %s, erased at %.6f s", check->node->name,
                             hex_of(&chunk->id), disk->path, (double)copy->owed_ns / (double)NS_PER_S);
            }
        }
    }
}

/* ---- E3 --------------------------------------------------------------------------------------------- */

static void complain_of_residue(const struct check *check, uint32_t disk, const struct residue *found)
{
    if (found->chunk != NULL) {
        const struct model_copy *copy = &found->chunk->copies[disk];
        sim_violated("E3",
                     "chunk %s stands on %s, %s at %" PRIu64
                     "; its wipe there was %s, at %.6f s; it was written there %u times",
                     hex_of(&found->chunk->id), disk_name(check, disk), found->name, found->offset,
                     copy->wipe == MODEL_WIPED ? "recorded" : "not owed any more",
                     (double)copy->wiped_ns / (double)NS_PER_S, copy->place_count);
    }
}

static void search_disk(const struct check *check, uint32_t disk)
{
    struct residue found;
    residue_of_erased(check, disk, SIM_DISK_CACHE, &found);
    complain_of_residue(check, disk, &found);
    if (!model_disk_may_lie_about_flushes(check->model, disk)) {
        residue_of_erased(check, disk, SIM_DISK_DURABLE, &found);
        complain_of_residue(check, disk, &found);
    }
}

/* The chunks whose wipe has just been recorded: now, at the latest, they are gone where they were written. */
static void search_recorded(const struct check *check)
{
    const Trilith__RecordWipes *command = check->command->record_wipes;
    uint32_t disk = model_disk_with_id(check->model, command->disk_id);
    struct residue found;
    for (size_t i = 0; disk != UINT32_MAX && i < command->n_results; i++) {
        const ProtobufCBinaryData *id = &command->results[i]->chunk_id;
        uint32_t number = id->len == 16 ? model_chunk_number(check->model, id->data) : UINT32_MAX;
        if (number == UINT32_MAX || check->model->chunks[number]->copies[disk].wipe != MODEL_WIPED) {
            continue;
        }
        check_counts(check);
        residue_of_copy(check, check->model->chunks[number], disk,
                        !model_disk_may_lie_about_flushes(check->model, disk), &found);
        complain_of_residue(check, disk, &found);
    }
}

static void complain_of_ciphertext(const struct check *check, struct kv *table, const char *where)
{
    struct residue found;
    residue_of_ciphertext_in_table(check, table, &found);
    if (found.chunk != NULL) {
        sim_violated("E3", "ciphertext of chunk %s stands in %s", hex_of(&found.chunk->id), where);
    }
}

static void complain_of_ciphertext_in_journal(const struct check *check)
{
    struct residue found;
    residue_of_ciphertext(check, check->cluster->meta.disk, &found);
    if (found.chunk != NULL) {
        sim_violated("E3", "ciphertext of chunk %s stands in the journal, %s at %" PRIu64, hex_of(&found.chunk->id),
                     found.name, found.offset);
    }
}

/* E3: once a wipe is recorded for a disk, no block of the chunk's ciphertext is found on that disk, neither on stable
 * storage (of a disk that does not lie about flushes) nor in the cache; once all its wipes are, on no disk. Looked for
 * where it was written when the wipe is recorded; on one whole disk every few seconds; everywhere at rest. Then the
 * journal and all tables are searched, too: no ciphertext at all has any business there. */
void check_residue(const struct check *check)
{
    switch (check->moment) {
    case AT_APPLIED:
        if (check->change != NULL && check->command->change_case == TRILITH__COMMAND__CHANGE_RECORD_WIPES) {
            search_recorded(check);
        }
        return;
    case AT_SECOND:
        if (check->checkers->seconds % WALK_SECONDS == WALK_SECONDS - 1) {
            uint32_t disk =
                (uint32_t)(check->checkers->seconds / WALK_SECONDS + check->cluster->options.seed) % MODEL_DISKS_MAX;
            while (model_disk_of(check->model, disk) == NULL) {
                disk = (disk + 1) % MODEL_DISKS_MAX;
            }
            check_counts(check);
            search_disk(check, disk);
        }
        return;
    default:
        for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
            if (model_disk_of(check->model, i) != NULL) {
                check_counts(check);
                search_disk(check, i);
                complain_of_ciphertext(check, model_disk_of(check->model, i)->index, "the index of a disk");
            }
        }
        complain_of_ciphertext(check, check->cluster->meta.tables, "the metadata tables");
        complain_of_ciphertext_in_journal(check);
    }
}

/* ---- E4 --------------------------------------------------------------------------------------------- */

static bool is_noted_closed(const struct checkers *checkers, uint64_t erasure_id)
{
    return erasure_id < checkers->closed_end && checkers->closed[erasure_id];
}

static void note_closed(struct checkers *checkers, uint64_t erasure_id)
{
    if (erasure_id >= checkers->closed_end) {
        uint64_t end = erasure_id * 2 + 64;
        checkers->closed = realloc(checkers->closed, end * sizeof(checkers->closed[0]));
        CHECK(checkers->closed != NULL);
        memset(checkers->closed + checkers->closed_end, 0, (end - checkers->closed_end) * sizeof(checkers->closed[0]));
        checkers->closed_end = end;
    }
    checkers->closed[erasure_id] = true;
}

/* All copies are wiped, as the row has it. */
static bool row_says_closed(const struct check *check, uint64_t erasure_id)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    size_t bytes = 0;
    struct table_key key = key_erasure(erasure_id);
    if (!model_row(check->model, &key, row, sizeof(row), &bytes)) {
        return false;
    }
    Trilith__ErasureRecord *record = trilith__erasure_record__unpack(NULL, bytes, row);
    CHECK(record != NULL);
    bool closed = record->closed_ms != 0;
    trilith__erasure_record__free_unpacked(record, NULL);
    return closed;
}

static bool chunk_is_of_erasure(const struct model_chunk *chunk, uint64_t erasure_id)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (chunk->copies[i].erasure_id == erasure_id) {
            return true;
        }
    }
    return false;
}

static void check_chunk_is_accounted_for(const struct check *check, const struct model_chunk *chunk, const char *when)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (chunk->copies[i].place_count > 0 && chunk->copies[i].wipe == MODEL_NOT_OWED) {
            sim_violated("E4", "%s: chunk %s was written to %s, which owes no wipe of it", when, hex_of(&chunk->id),
                         disk_name(check, i));
        }
    }
}

/* Those that this command has made go: every member of their PG owes a wipe now, or has wiped. */
static void check_opened(const struct check *check)
{
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        bool goes = (chunk->fate == MODEL_CONDEMNED || chunk->fate == MODEL_ERASED) && chunk->fate_ns == check->now_ns;
        uint32_t disks[MODEL_DISKS_MAX];
        size_t members;
        size_t count = goes && chunk->pg != 0 ? model_pg_disks(check->model, chunk->pg, disks, &members) : 0;
        for (size_t d = 0; d < count; d++) {
            check_counts(check);
            if (disks[d] != UINT32_MAX && chunk->copies[disks[d]].wipe == MODEL_NOT_OWED) {
                sim_violated("E4", "chunk %s is to be erased, and %s of its PG %u owes no wipe", hex_of(&chunk->id),
                             disk_name(check, disks[d]), chunk->pg);
            }
        }
    }
}

static void check_nothing_is_owed(const struct check *check, const struct model_chunk *chunk, uint64_t erasure_id)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (chunk->copies[i].wipe == MODEL_OWED && chunk->copies[i].erasure_id == erasure_id) {
            sim_violated("E4", "erasure %" PRIu64 " is closed, and %s owes it the wipe of chunk %s", erasure_id,
                         disk_name(check, i), hex_of(&chunk->id));
        }
    }
}

static void check_closed(const struct check *check, uint64_t erasure_id)
{
    if (is_noted_closed(check->checkers, erasure_id) || !row_says_closed(check, erasure_id)) {
        return;
    }
    note_closed(check->checkers, erasure_id);
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        if (chunk_is_of_erasure(chunk, erasure_id)) {
            check_counts(check);
            if (chunk->fate == MODEL_CONDEMNED || chunk->fate == MODEL_ERASED) { /* Else one copy was moved away. */
                check_chunk_is_accounted_for(check, chunk, "the erasure is closed");
            }
            check_nothing_is_owed(check, chunk, erasure_id);
        }
    }
}

/* E4: an erasure asks every disk that is or was a member of a chunk's PG; its copies count as wiped only when every disk to
 * which one was ever written has wiped it, or owes that to another erasure. */
void check_all_copies_accounted_for(const struct check *check)
{
    if (check->moment == AT_SETTLED) {
        for (uint32_t i = 0; i < check->model->chunk_count; i++) {
            const struct model_chunk *chunk = check->model->chunks[i];
            if (chunk->fate == MODEL_CONDEMNED || chunk->fate == MODEL_ERASED) {
                check_chunk_is_accounted_for(check, chunk, "at rest");
            }
        }
        return;
    }
    if (check->change == NULL) {
        return;
    }
    switch (check->command->change_case) {
    case TRILITH__COMMAND__CHANGE_OBJECT_COMMIT:
    case TRILITH__COMMAND__CHANGE_OBJECT_DELETE:
    case TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS:
    case TRILITH__COMMAND__CHANGE_GRACE_END:
    case TRILITH__COMMAND__CHANGE_TENANT_ERASE_STEP:
        check_opened(check);
        return;
    case TRILITH__COMMAND__CHANGE_RECORD_WIPES:
        for (size_t i = 0; i < check->command->record_wipes->n_results; i++) {
            check_closed(check, check->command->record_wipes->results[i]->erasure_id);
        }
        return;
    default:
        return;
    }
}

/* A copy may be created only on a disk of the chunk's PG, or that was one, or is to become one: that is what an erasure goes
 * by. (A node that has not heard yet that the disk is no member any more may still write there; it does not acknowledge it.) */
void check_copies_in_their_pg(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    /* While the metadata service is down, or replays its journal, its tables are behind what nodes have heard from it. */
    bool is_behind = meta->meta_state == NULL || state_applied_index(meta->meta_state) < check->checkers->most_index;
    if (check->writing->kind != MODEL_WRITES_BATCH || is_behind) {
        return;
    }
    struct record_cursor cursor = record_cursor_of(&check->writing->header, check->write_content);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        uint32_t disks[MODEL_DISKS_MAX];
        size_t members = 0;
        size_t count = record.type == RECORD_PUT ? model_pg_disks(check->model, record.chunk.pg, disks, &members) : 0;
        bool is_known = count > 0; /* No such row now: the metadata service has just lost power. */
        bool is_member = false;
        for (size_t i = 0; i < count; i++) {
            is_known = is_known && disks[i] != UINT32_MAX;
            is_member |= disks[i] == check->writing->disk;
        }
        if (!is_known) {
            continue;
        }
        check_counts(check);
        if (!is_member) {
            sim_violated("E4-place", "chunk %s of PG %u is written to %s, which is no member", hex_of(&record.chunk.id),
                         record.chunk.pg, check->disk->path);
        }
    }
}

/* ---- E5 --------------------------------------------------------------------------------------------- */

/* What is written where a chunk is being wiped, from `from` on, must be the stream of that seed, and stay inside the copy. */
static void check_stream_of(const struct check *check, const struct model_chunk *chunk, uint64_t from,
                            const uint8_t seed[WIPE_SEED_BYTES])
{
    static uint8_t stream[KIB(256)];
    const struct model_writing *writing = check->writing;
    uint64_t end = from + (uint64_t)payload_block_count(chunk->bytes) * BLOCK_BYTES;
    check_counts(check);
    if (writing->offset < from || writing->offset + writing->bytes > end || writing->bytes > sizeof(stream)) {
        sim_violated("E5", "%s: %s at %" PRIu64 ", %zu bytes: a write reaches into chunk %s, which is being wiped",
                     check->disk->path, check->write_name, writing->offset, writing->bytes, hex_of(&chunk->id));
    }
    memset(stream, 0, writing->bytes);
    keystream_xor(seed, writing->offset - from, stream, writing->bytes);
    if (memcmp(stream, writing->content, writing->bytes) != 0) {
        sim_violated("E5", "%s: %s at %" PRIu64 ": chunk %s is overwritten with something else than its stream",
                     check->disk->path, check->write_name, writing->offset, hex_of(&chunk->id));
    }
}

/* A write where an ERASE record says. */
static void check_stream(const struct check *check)
{
    const struct model_writing *writing = check->writing;
    const struct model_copy *copy = &writing->erased->copies[writing->disk];
    struct chunk_location location;
    if (check->disk->store == NULL || locate(check->disk, writing->erased, &location) != STATUS_OK ||
        location.state != CHUNK_ERASING || location.offset != copy->intent_place.offset) {
        return; /* The record was lost with its batch, and the place was used again since. */
    }
    check_stream_of(check, writing->erased, location.offset, copy->seed);
}

/* Whether the store itself is wiping the chunk here, by an ERASE record of which the model has not heard: its write was in
 * flight when the process was killed, or failed, and reached the disk all the same. `*entry` is what the index has. */
static bool is_wiping(const struct check *check, const struct model_chunk *chunk, uint64_t offset,
                      struct chunk_entry *entry)
{
    char name[DISK_NAME_BYTES];
    if (check->disk->store == NULL || chunk_index_get(&check->disk->store->index, &chunk->id, entry) != STATUS_OK ||
        entry->state != CHUNK_ERASING) {
        return false;
    }
    segment_name(entry->place.segment, name);
    return strcmp(name, check->write_name) == 0 && offset >= entry->place.offset &&
           offset < entry->place.offset + entry->header.chunk_bytes;
}

/* The chunk whose ciphertext stands durably in this block and would be changed by the write, or NULL. */
static const struct model_chunk *chunk_overwritten(const struct check *check, uint64_t offset, const uint8_t *content)
{
    uint8_t block[BLOCK_BYTES];
    if (!sim_disk_copy(check->disk->disk, SIM_DISK_DURABLE, check->write_name, offset, block, sizeof(block)) ||
        bytes_are_zero(block, sizeof(block))) {
        return NULL;
    }
    for (size_t i = 0; i < BLOCK_BYTES; i += SIM_DISK_SECTOR_BYTES) {
        const struct model_chunk *chunk = model_chunk_of_sector(check->model, block + i);
        /* A part of this very write may have got there already, by somebody else's flush. */
        if (chunk != NULL && memcmp(block + i, content + i, SIM_DISK_SECTOR_BYTES) != 0 &&
            !sim_disk_is_stray(check->disk->disk, check->write_name, offset)) {
            return chunk;
        }
    }
    return NULL;
}

/* Whether the store says that the chunk lives here. */
static bool lives_at(const struct check *check, const struct model_chunk *chunk, uint64_t offset)
{
    struct chunk_location location;
    return check->disk->store != NULL && locate(check->disk, chunk, &location) == STATUS_OK &&
           location.state == CHUNK_LIVE && strcmp(location.segment, check->write_name) == 0 &&
           offset >= location.offset && offset < location.offset + location.length;
}

/* E5: freed space is used again only after the wipe is durable. So a batch never goes where ciphertext stands on stable
 * storage; a wipe writes its own stream and nothing else; zeros (of cleaning, or of recovery) never go over a live chunk.
 * Assumed: the content of the device's own making (is_stray) does not count. Of long writes every eighth block is looked at. */
void check_overwriting(const struct check *check)
{
    const struct model_writing *writing = check->writing;
    switch (writing->kind) {
    case MODEL_WRITES_OTHER:
    case MODEL_WRITES_SEGMENT_HEADER:
        return;
    case MODEL_WRITES_STREAM:
        check_stream(check);
        return;
    case MODEL_WRITES_ZEROS:
    case MODEL_WRITES_BATCH:
    case MODEL_WRITES_PAYLOAD:
        break;
    }
    if (model_disk_may_lie_about_flushes(check->model, writing->disk)) {
        return;
    }
    size_t step = writing->bytes <= 16 * (size_t)BLOCK_BYTES ? BLOCK_BYTES : 8 * (size_t)BLOCK_BYTES;
    bool zeros = writing->kind == MODEL_WRITES_ZEROS;
    struct chunk_entry entry;
    check_counts(check);
    for (size_t at = 0; at < writing->bytes; at += step) {
        uint64_t offset = writing->offset + at;
        const struct model_chunk *chunk = chunk_overwritten(check, offset, writing->content + at);
        if (chunk == NULL || (zeros && !lives_at(check, chunk, offset))) {
            continue;
        }
        if (writing->kind == MODEL_WRITES_PAYLOAD && is_wiping(check, chunk, offset, &entry)) {
            check_stream_of(check, chunk, entry.place.offset, entry.seed);
            return;
        }
        sim_violated("E5", "%s: %s at %" PRIu64 ": %s go over chunk %s, which is not wiped", check->disk->path,
                     check->write_name, offset, zeros ? "zeros" : "new records", hex_of(&chunk->id));
    }
}

/* ---- E6, E7 ----------------------------------------------------------------------------------------- */

static void check_disk_stays_wiped(const struct check *check, struct sim_node_disk *disk)
{
    uint32_t number = model_disk_number(disk);
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        struct chunk_location location;
        if (!chunk->copies[number].ever_wiped || model_disk_may_lie_about_flushes(check->model, number)) {
            continue;
        }
        check_counts(check);
        bool is_live = locate(disk, chunk, &location) == STATUS_OK && location.state == CHUNK_LIVE;
        if (is_live && (!model_disk_is_lossy(check->model, number) || located_copy_is_whole(check, chunk, number))) {
            sim_violated("E6", "%s: chunk %s is live again, which was wiped at %.6f s", disk->path, hex_of(&chunk->id),
                         (double)chunk->copies[number].wiped_ns / (double)NS_PER_S);
        }
    }
}

/* E6: once wiped on a disk a chunk is never live there again, through crashes and lost indexes. On a disk with lossy faults
 * the records may be lost, and then the index may have it again: there it must not be more than a name, without the bytes.
 * Exempt: disks that may lie about flushes. */
void check_wiped_stays_wiped(const struct check *check)
{
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        bool is_meant = check->moment == AT_SETTLED || node == check->node;
        for (uint32_t d = 0; is_meant && node->state == SIM_RUNNING && d < node->disk_count; d++) {
            check_disk_stays_wiped(check, &node->disks[d]);
        }
    }
}

/* The batch on stable storage, if its header stands where it was written. */
static bool durable_batch(const struct check *check, const struct model_place *place, uint8_t *area,
                          struct record_cursor *cursor)
{
    uint8_t block[SEGMENT_HEADER_BYTES];
    size_t area_bytes = (size_t)place->header_blocks * BLOCK_BYTES;
    struct segment_header segment;
    struct batch_header header;
    struct sim_disk *disk = check->disk->disk;
    char name[DISK_NAME_BYTES];
    segment_name(place->place.segment, name);
    if (!sim_disk_copy(disk, SIM_DISK_DURABLE, name, 0, block, sizeof(block)) ||
        segment_header_decode(block, &segment) != STATUS_OK || segment.generation != place->place.generation ||
        !sim_disk_copy(disk, SIM_DISK_DURABLE, name, place->batch_offset, area, area_bytes) ||
        batch_header_decode(area, area_bytes, &segment, place->batch_offset, &header) != STATUS_OK) {
        return false;
    }
    *cursor = record_cursor_of(&header, area);
    return true;
}

/* Whether an ERASE record of the chunk is on stable storage, in a batch before the one that is written now. */
static bool erase_record_stands(const struct check *check, const struct chunk_id *id, const struct model_copy *copy)
{
    static uint8_t area[BATCH_HEADER_BLOCKS_MAX * BLOCK_BYTES];
    struct record record;
    if (!copy->has_intent || copy->intent_lsn >= check->writing->header.lsn) {
        return false;
    }
    struct record_cursor cursor;
    if (!durable_batch(check, &copy->intent_record, area, &cursor)) {
        return false;
    }
    while (record_next(&cursor, &record) == STATUS_OK) {
        if (record.type == RECORD_ERASE && chunk_id_equal(&record.chunk.id, id)) {
            return true;
        }
    }
    return false;
}

static void check_no_copy_where_wiped(const struct check *check)
{
    struct record_cursor cursor = record_cursor_of(&check->writing->header, check->write_content);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        uint32_t number =
            record.payload_blocks > 0 ? model_chunk_number(check->model, record.chunk.id.bytes) : UINT32_MAX;
        if (number == UINT32_MAX || model_disk_may_lie_about_flushes(check->model, check->writing->disk)) {
            continue;
        }
        const struct model_copy *copy = &check->model->chunks[number]->copies[check->writing->disk];
        check_counts(check);
        if (copy->ever_wiped) {
            sim_violated("E7", "%s: a copy of chunk %s is written, which was wiped there at %.6f s", check->disk->path,
                         hex_of(&record.chunk.id), (double)copy->wiped_ns / (double)NS_PER_S);
        }
        if (erase_record_stands(check, &record.chunk.id, copy)) {
            sim_violated("E7",
                         "%s: a copy of chunk %s is written in batch %" PRIu64
                         ", and its ERASE record stands in batch %" PRIu64,
                         check->disk->path, hex_of(&record.chunk.id), check->writing->header.lsn, copy->intent_lsn);
        }
    }
}

/* E7: a commit that takes effect names no chunk that was condemned or erased before; no copy of a chunk is made, or moved, on
 * a disk where its wipe is recorded, or where an earlier batch on stable storage says that it is to be erased. */
void check_nothing_gone_comes_back(const struct check *check)
{
    if (check->moment == AT_WRITE) {
        if (check->writing->kind == MODEL_WRITES_BATCH) {
            check_no_copy_where_wiped(check);
        }
        return;
    }
    if (check->change != NULL && (check->change->committed != NULL || check->change->resealed_key != NULL)) {
        check_counts(check);
    }
    if (check->change != NULL && check->change->named_gone_chunk) {
        sim_violated("E7", "command %" PRIu64 " commits chunk %s, which was condemned or erased", check->index,
                     hex_of(&check->change->gone_chunk));
    }
}
