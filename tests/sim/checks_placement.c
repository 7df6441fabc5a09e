/* checks_placement.c - P1 to P3: where copies stand, and that every byte of a disk is accounted for. */
#include "tests/sim/checks.h"

#include "meta/tables.h"
#include "node/store/inspect.h"
#include "node/store/store_private.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- P1 --------------------------------------------------------------------------------------------- */

struct spread {
    const struct check *check;
    uint64_t pgs;
};

/* The failure domain of a disk, from the tables. */
static bool domain_of_disk(const struct model *model, uint32_t disk_id, char *domain, size_t capacity)
{
    uint8_t row[1024];
    size_t bytes = 0;
    struct table_key key = key_disk(disk_id);
    Trilith__MapDisk *disk =
        model_row(model, &key, row, sizeof(row), &bytes) ? trilith__map_disk__unpack(NULL, bytes, row) : NULL;
    if (disk == NULL) {
        return false;
    }
    key = key_node(disk->node_id);
    trilith__map_disk__free_unpacked(disk, NULL);
    Trilith__MapNode *node =
        model_row(model, &key, row, sizeof(row), &bytes) ? trilith__map_node__unpack(NULL, bytes, row) : NULL;
    if (node == NULL) {
        return false;
    }
    (void)snprintf(domain, capacity, "%s", node->failure_domain);
    trilith__map_node__free_unpacked(node, NULL);
    return true;
}

static void check_row_is_spread(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct spread *spread = user;
    char domains[REPLICAS][128];
    if (key_bytes != 5 || ((const uint8_t *)key)[0] != 'g') {
        return;
    }
    uint32_t pg = (uint32_t)number_of_be((const uint8_t *)key + 1, 4);
    Trilith__PgRecord *record = trilith__pg_record__unpack(NULL, value_bytes, value);
    if (record == NULL || record->n_members != REPLICAS) {
        sim_violated("P1", "PG %u has not three members", pg);
    }
    for (size_t i = 0; i < REPLICAS; i++) {
        if (!domain_of_disk(spread->check->model, record->members[i], domains[i], sizeof(domains[i]))) {
            sim_violated("P1", "PG %u has disk %u, which is not in the map", pg, record->members[i]);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(domains[i], domains[j]) == 0) {
                sim_violated("P1", "two members of PG %u are in failure domain %s", pg, domains[i]);
            }
        }
    }
    trilith__pg_record__free_unpacked(record, NULL);
    spread->pgs++;
}

/* P1: after every command that changes the map, the members of each PG stand in three failure domains. */
void check_spread(const struct check *check)
{
    if (check->command->change_case != TRILITH__COMMAND__CHANGE_NODE_JOIN &&
        check->command->change_case != TRILITH__COMMAND__CHANGE_PG_MOVE_BEGIN &&
        check->command->change_case != TRILITH__COMMAND__CHANGE_PG_MOVE_END) {
        return;
    }
    struct spread spread = {.check = check};
    sim_kv_each(check->cluster->meta.tables, check_row_is_spread, &spread);
    if (spread.pgs > 0) {
        check_counts(check);
    }
}

/* ---- P2 --------------------------------------------------------------------------------------------- */

static void check_segments_add_up(const struct sim_node_disk *disk)
{
    const struct segment_table *table = &disk->store->segments;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct segment *segment = &table->segments[i];
        uint64_t used = segment->live_bytes + segment->erasing_bytes + segment->pending_bytes;
        if (segment_is_in_use(segment) && (used > segment->end || segment->end > table->segment_bytes)) {
            sim_violated(
                "P2",
                "%s: segment %u ends at %" PRIu64 " and holds live %" PRIu64 ", erasing %" PRIu64 ", pending %" PRIu64,
                disk->path, i, segment->end, segment->live_bytes, segment->erasing_bytes, segment->pending_bytes);
        }
    }
}

/* What a walk over all live chunks adds up to must be what is counted. */
static void check_live_adds_up(const struct sim_node_disk *disk, const struct chunk_store_stats *stats)
{
    struct chunk_header headers[64];
    struct chunk_id after;
    uint64_t bytes = 0;
    uint64_t chunks = 0;
    size_t count = ARRAY_LENGTH(headers);
    for (bool first = true; count == ARRAY_LENGTH(headers); first = false) {
        if (chunk_store_list(disk->store, first ? NULL : &after, headers, ARRAY_LENGTH(headers), &count) != STATUS_OK) {
            return; /* An index that can't be read is another matter. */
        }
        for (size_t i = 0; i < count; i++) {
            bytes += (uint64_t)payload_block_count(headers[i].chunk_bytes) * BLOCK_BYTES;
            chunks++;
            after = headers[i].id;
        }
    }
    if (bytes != stats->live_bytes || chunks != stats->chunks) {
        sim_violated("P2", "%s: %" PRIu64 " live chunks of %" PRIu64 " bytes; counted are %" PRIu64 " of %" PRIu64,
                     disk->path, chunks, bytes, stats->chunks, stats->live_bytes);
    }
}

/* P2: at any time live, pending, erasing, dead, free and reserved bytes of a store are its capacity: as the last is what
 * is left, the others must not be more than that; within each segment what is used ends before its end. At rest the live
 * chunks of the index are what is counted; on a disk of the atlas, where damage may have hit what the counters knew, too. */
void check_accounting(const struct check *check)
{
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        for (uint32_t d = 0; node->state == SIM_RUNNING && d < node->disk_count; d++) {
            struct chunk_store_stats stats;
            chunk_store_stats(node->disks[d].store, &stats);
            uint64_t sum =
                stats.live_bytes + stats.pending_bytes + stats.erasing_bytes + stats.dead_bytes + stats.free_bytes;
            check_counts(check);
            if (sum > stats.capacity_bytes || sum + stats.reserved_bytes != stats.capacity_bytes) {
                sim_violated("P2",
                             "%s: live %" PRIu64 ", pending %" PRIu64 ", erasing %" PRIu64 ", dead %" PRIu64
                             ", free %" PRIu64 " are more than the capacity of %" PRIu64,
                             node->disks[d].path, stats.live_bytes, stats.pending_bytes, stats.erasing_bytes,
                             stats.dead_bytes, stats.free_bytes, stats.capacity_bytes);
            }
            check_segments_add_up(&node->disks[d]);
            if (check->moment == AT_SETTLED && stats.pending_bytes == 0) {
                check_live_adds_up(&node->disks[d], &stats);
            }
        }
    }
}

/* ---- P2: images --------------------------------------------------------------------------------------- */

struct area {
    uint32_t segment;
    uint64_t generation;
    uint64_t offset;
    uint64_t bytes;
    struct chunk_id id;
};

struct examination {
    struct inspect_source source;
    struct inspect_visitor visitor;
    struct sim_disk *disk;
    const char *path;
    struct area *areas;
    size_t count;
    size_t capacity;
};

struct names {
    void (*each)(void *user, const char *name);
    void *user;
};

static void name_told(void *user, const char *name, uint64_t bytes)
{
    struct names *names = user;
    (void)bytes;
    names->each(names->user, name);
}

static enum status source_list(struct inspect_source *source, void (*each)(void *user, const char *name), void *user)
{
    struct examination *examination = CONTAINER_OF(source, struct examination, source);
    struct names names = {.each = each, .user = user};
    sim_disk_each_file(examination->disk, name_told, &names);
    return STATUS_OK;
}

static enum status source_size(struct inspect_source *source, const char *name, uint64_t *bytes)
{
    struct examination *examination = CONTAINER_OF(source, struct examination, source);
    return sim_disk_file_bytes(examination->disk, name, bytes) ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status source_read(struct inspect_source *source, const char *name, uint64_t offset, uint8_t *buffer,
                               size_t bytes)
{
    struct examination *examination = CONTAINER_OF(source, struct examination, source);
    return sim_disk_copy(examination->disk, SIM_DISK_CACHE, name, offset, buffer, bytes) ? STATUS_OK : STATUS_IO;
}

static void record_seen(struct inspect_visitor *visitor, const struct inspect_record *record)
{
    struct examination *examination = CONTAINER_OF(visitor, struct examination, visitor);
    bool has_area = record->offset != 0 && (record->state == INSPECT_LIVE || record->state == INSPECT_ERASING ||
                                            record->state == INSPECT_ERASED || record->state == INSPECT_REPLACED);
    if (!has_area) {
        return;
    }
    if (examination->count == examination->capacity) {
        examination->capacity = examination->capacity == 0 ? 256 : 2 * examination->capacity;
        examination->areas = realloc(examination->areas, examination->capacity * sizeof(struct area));
        CHECK(examination->areas != NULL);
    }
    examination->areas[examination->count++] = (struct area){
        .segment = record->segment,
        .generation = record->generation,
        .offset = record->offset,
        .bytes = (uint64_t)payload_block_count(record->record.chunk.chunk_bytes) * BLOCK_BYTES,
        .id = record->record.chunk.id,
    };
}

/* At rest, on a disk that does not lie, nothing is damaged and nothing is left over. A copy of the superblock may be torn. */
static void finding_seen(struct inspect_visitor *visitor, const struct inspect_finding *finding)
{
    struct examination *examination = CONTAINER_OF(visitor, struct examination, visitor);
    if (finding->kind != INSPECT_SUPERBLOCK_BAD) {
        sim_violated("P2-image", "%s, %s at %" PRIu64 ", %" PRIu64 " bytes: %s of chunk %s", examination->path,
                     finding->name, finding->offset, finding->bytes, inspect_finding_name(finding->kind),
                     finding->chunk != NULL ? hex_of(finding->chunk) : "none");
    }
}

static int area_order(const void *left, const void *right)
{
    const struct area *a = left;
    const struct area *b = right;
    if (a->segment != b->segment) {
        return a->segment < b->segment ? -1 : 1;
    }
    return a->offset == b->offset ? 0 : a->offset < b->offset ? -1 : 1;
}

static void check_areas(struct examination *examination)
{
    if (examination->count > 1) {
        qsort(examination->areas, examination->count, sizeof(struct area), area_order);
    }
    for (size_t i = 1; i < examination->count; i++) {
        const struct area *before = &examination->areas[i - 1];
        const struct area *area = &examination->areas[i];
        if (before->segment == area->segment && before->offset + before->bytes > area->offset) {
            sim_violated("P2-image", "%s: chunks %s and %s overlap in segment %u at %" PRIu64, examination->path,
                         hex_of(&before->id), hex_of(&area->id), area->segment, area->offset);
        }
    }
}

/* P2: walked without its index, a disk shows no two chunks that overlap, no damage, and nothing where nothing should be. One
 * disk of a run, of those without lossy faults, as this reads all of its bytes. */
void check_images(const struct check *check)
{
    uint32_t first = (uint32_t)(check->cluster->options.seed + check->checkers->settled) % MODEL_DISKS_MAX;
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        uint32_t number = (first + i) % MODEL_DISKS_MAX;
        struct sim_node_disk *disk = model_disk_of(check->model, number);
        struct chunk_store_stats stats;
        struct inspect_summary summary;
        if (disk == NULL || disk->node->state != SIM_RUNNING || model_disk_is_lossy(check->model, number)) {
            continue;
        }
        chunk_store_stats(disk->store, &stats);
        if (stats.fenced || !batch_writer_is_idle(disk->store)) {
            continue;
        }
        struct examination examination = {
            .source = {.list = source_list, .size = source_size, .read = source_read},
            .visitor = {.record = record_seen, .finding = finding_seen},
            .disk = disk->disk,
            .path = disk->path,
        };
        check_counts(check);
        enum status status = inspect_store(&examination.source, &examination.visitor, &summary);
        if (status != STATUS_OK || summary.live_chunks != stats.chunks) {
            sim_violated("P2-image", "%s: %s, %" PRIu64 " live chunks, the store counts %" PRIu64, disk->path,
                         status_name(status), summary.live_chunks, stats.chunks);
        }
        check_areas(&examination);
        free(examination.areas);
        return;
    }
}

/* ---- P3 --------------------------------------------------------------------------------------------- */

bool disk_was_full(const struct sim_node_disk *disk)
{
    struct chunk_store_stats stats = {.free_bytes = UINT64_MAX};
    if (disk->store != NULL && disk->node->state == SIM_RUNNING) {
        chunk_store_stats(disk->store, &stats);
    }
    return stats.free_bytes == 0 || sim_disk_fault_count(disk->disk, SIM_DISK_FULL) > 0;
}

/* P3: a disk that was full, or is, has every chunk of an object that was written to it, whole. Exempt: disks of the atlas. */
void check_full_disks(const struct check *check)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        struct sim_node_disk *disk = model_disk_of(check->model, i);
        if (disk != NULL && disk->node->state == SIM_RUNNING && !model_disk_is_lossy(check->model, i) &&
            disk_was_full(disk)) {
            check_disk_has_all(check, disk, true, "P3");
        }
    }
}
