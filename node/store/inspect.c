/* inspect.c - see inspect.h.
 *
 * Two passes over all segments in use. The first notes every record; sorted by chunk and lsn, the notes say which
 * record of a chunk counts. The second reads payload, with that in mind, and tells the visitor. Both use the same
 * walk: batch after batch where they decode, block after block where they do not. */
#include "node/store/inspect.h"

#include "base/keystream.h"
#include "node/store/batch_reader.h"
#include "node/store/superblock.h"

#include <stdlib.h>

#define SCAN_BYTES MIB(1)

/* One record, as far as the others need to know of it. */
struct note {
    struct chunk_id id;
    uint64_t lsn;
    enum record_type type;
    struct chunk_place place;
    uint8_t seed[WIPE_SEED_BYTES];
};

struct inspector {
    struct inspect_source *source;
    struct inspect_visitor *visitor;
    struct inspect_summary *summary;
    struct inspect_segment *segments;
    char (*names)[DISK_NAME_BYTES];
    size_t segment_count;
    size_t segment_capacity;
    struct note *notes;
    size_t note_count;
    size_t note_capacity;
    uint64_t last_first_lsn; /* of the segment that was begun last */
    uint8_t *area;
    uint8_t *payload;
    uint8_t *window;
    size_t window_segment; /* SIZE_MAX: none */
    uint64_t window_offset;
    size_t window_bytes;
    uint64_t region_offset; /* non-zero blocks that no batch owns */
    uint64_t region_end;
    uint64_t region_lsn; /* the lsn expected where it began; 0: not where a batch was expected */
};

/* ---- names ---------------------------------------------------------------------------------------- */

const char *inspect_finding_name(enum inspect_finding_kind kind)
{
    static const char *const names[] = {"superblock_bad", "header_bad", "batch_bad", "torn_tail",
                                        "unit_bad",       "wipe_bad",   "residue",   "unreadable"};
    _Static_assert(ARRAY_LENGTH(names) == INSPECT_FINDING_KINDS, "every kind has a name");
    CHECK(kind < INSPECT_FINDING_KINDS);
    return names[kind];
}

const char *inspect_segment_state_name(enum inspect_segment_state state)
{
    switch (state) {
    case INSPECT_SEGMENT_NEW:
        return "new";
    case INSPECT_SEGMENT_READY:
        return "ready";
    case INSPECT_SEGMENT_USED:
        return "used";
    case INSPECT_SEGMENT_WIPING:
        return "wiping";
    case INSPECT_SEGMENT_LOST:
        return "lost";
    }
    UNREACHABLE();
}

const char *inspect_record_state_name(enum inspect_record_state state)
{
    switch (state) {
    case INSPECT_LIVE:
        return "live";
    case INSPECT_REPLACED:
        return "replaced";
    case INSPECT_ERASING:
        return "erasing";
    case INSPECT_ERASED:
        return "erased";
    case INSPECT_STATEMENT:
        return "statement";
    }
    UNREACHABLE();
}

const char *record_type_name(enum record_type type)
{
    switch (type) {
    case RECORD_PUT:
        return "put";
    case RECORD_MOVE:
        return "move";
    case RECORD_ERASE:
        return "erase";
    case RECORD_ERASED:
        return "erased";
    case RECORD_TOMBSTONE:
        return "tombstone";
    }
    UNREACHABLE();
}

/* ---- telling -------------------------------------------------------------------------------------- */

static void tell_finding(struct inspector *inspector, enum inspect_finding_kind kind, const char *name, uint64_t offset,
                         uint64_t bytes, const struct chunk_id *chunk)
{
    struct inspect_finding finding = {.kind = kind, .name = name, .offset = offset, .bytes = bytes, .chunk = chunk};

    inspector->summary->findings[kind]++;
    if (inspector->visitor->finding != NULL) {
        inspector->visitor->finding(inspector->visitor, &finding);
    }
}

/* ---- reading -------------------------------------------------------------------------------------- */

static bool segment_read(struct inspector *inspector, const struct inspect_segment *segment, uint64_t offset,
                         uint8_t *buffer, size_t bytes)
{
    if (inspector->source->read(inspector->source, segment->name, offset, buffer, bytes) == STATUS_OK) {
        return true;
    }
    tell_finding(inspector, INSPECT_UNREADABLE, segment->name, offset, bytes, NULL);
    return false;
}

/* The block at `offset`, through a window that reads ahead; NULL: unreadable. */
static const uint8_t *segment_block(struct inspector *inspector, const struct inspect_segment *segment, uint64_t offset)
{
    size_t index = (size_t)(segment - inspector->segments);
    bool inside = inspector->window_segment == index && offset >= inspector->window_offset &&
                  offset + BLOCK_BYTES <= inspector->window_offset + inspector->window_bytes;

    if (!inside) {
        uint64_t left = segment->bytes - offset;
        inspector->window_segment = SIZE_MAX;
        inspector->window_bytes = left < SCAN_BYTES ? (size_t)left : SCAN_BYTES;
        inspector->window_offset = offset;
        if (!segment_read(inspector, segment, offset, inspector->window, inspector->window_bytes)) {
            return NULL;
        }
        inspector->window_segment = index;
    }
    return inspector->window + (offset - inspector->window_offset);
}

/* The batch at `offset` of a segment: header area into `area`, checked. With `adopt`, what the batch says about its
 * segment is taken over when the rest is right. */
static bool batch_at(struct inspector *inspector, struct inspect_segment *segment, uint64_t offset, bool adopt,
                     struct batch_header *header)
{
    struct batch_header peeked;
    const uint8_t *block = segment_block(inspector, segment, offset);

    if (block == NULL || batch_header_peek(block, &peeked) != STATUS_OK || peeked.offset != offset) {
        return false;
    }
    struct segment_header expected = segment->header;
    expected.segment_bytes = segment->bytes;
    if (adopt) {
        expected.segment = peeked.segment;
        expected.generation = peeked.generation;
        expected.first_lsn = peeked.lsn;
    }
    size_t area_bytes = (size_t)peeked.header_blocks * BLOCK_BYTES;
    if (!uuid_equal(&peeked.segment, &expected.segment) || area_bytes > segment->bytes - offset ||
        !segment_read(inspector, segment, offset, inspector->area, area_bytes) ||
        batch_header_decode(inspector->area, area_bytes, &expected, offset, header) != STATUS_OK ||
        header->batch_blocks - header->header_blocks > BATCH_PAYLOAD_BYTES / BLOCK_BYTES ||
        records_check(header, inspector->area) != STATUS_OK) {
        return false;
    }
    if (adopt) {
        segment->header = expected;
    }
    return true;
}

/* ---- the superblock ------------------------------------------------------------------------------- */

static void inspect_superblock(struct inspector *inspector)
{
    struct superblock superblock;
    unsigned bad_copies = 0;
    uint64_t bytes;

    if (inspector->source->size(inspector->source, SUPERBLOCK_NAME, &bytes) != STATUS_OK || bytes < SUPERBLOCK_BYTES ||
        inspector->source->read(inspector->source, SUPERBLOCK_NAME, 0, inspector->area, SUPERBLOCK_BYTES) !=
            STATUS_OK) {
        tell_finding(inspector, INSPECT_SUPERBLOCK_BAD, SUPERBLOCK_NAME, 0, SUPERBLOCK_BYTES, NULL);
        return;
    }
    enum status status = superblock_choose(inspector->area, &superblock, &bad_copies);
    if (bad_copies > 0 || status != STATUS_OK) {
        tell_finding(inspector, INSPECT_SUPERBLOCK_BAD, SUPERBLOCK_NAME, 0, (uint64_t)bad_copies * BLOCK_BYTES, NULL);
    }
    if (status == STATUS_OK) {
        inspector->summary->superblock_good = true;
        inspector->summary->store = superblock.store;
        inspector->summary->durable_lsn = superblock.durable_lsn;
    }
}

/* ---- segment headers ------------------------------------------------------------------------------ */

static void each_name(void *user, const char *name)
{
    struct inspector *inspector = user;
    uint32_t number;

    if (!segment_number_from_name(name, &number)) {
        return;
    }
    if (inspector->segment_count == inspector->segment_capacity) {
        inspector->segment_capacity = inspector->segment_capacity * 2 + 16;
        inspector->segments = realloc(inspector->segments, inspector->segment_capacity * sizeof(*inspector->segments));
        CHECK(inspector->segments != NULL);
    }
    inspector->segments[inspector->segment_count++] = (struct inspect_segment){.number = number};
}

static int by_number(const void *a, const void *b)
{
    const struct inspect_segment *one = a;
    const struct inspect_segment *two = b;

    return (one->number > two->number) - (one->number < two->number);
}

/* The header is damaged: what does the first good batch say? */
static void adopt_segment(struct inspector *inspector, struct inspect_segment *segment)
{
    struct batch_header header;

    tell_finding(inspector, INSPECT_HEADER_BAD, segment->name, 0, SEGMENT_HEADER_BYTES, NULL);
    segment->state = INSPECT_SEGMENT_LOST;
    for (uint64_t offset = SEGMENT_HEADER_BYTES; offset < segment->bytes; offset += BLOCK_BYTES) {
        if (batch_at(inspector, segment, offset, true, &header)) {
            segment->state = INSPECT_SEGMENT_USED;
            return;
        }
    }
}

static void inspect_header(struct inspector *inspector, struct inspect_segment *segment)
{
    uint64_t bytes = 0;

    segment->state = INSPECT_SEGMENT_NEW;
    enum status status = inspector->source->size(inspector->source, segment->name, &bytes);
    segment->bytes = bytes - bytes % BLOCK_BYTES;
    if (status != STATUS_OK || segment->bytes <= SEGMENT_HEADER_BYTES) {
        segment->bytes = 0; /* Its allocation never ended. */
        return;
    }
    const uint8_t *block = segment_block(inspector, segment, 0);
    status = block != NULL ? segment_header_decode(block, &segment->header) : STATUS_CORRUPT;
    if (status == STATUS_NOT_FOUND) {
        segment->header_good = true;
        return;
    }
    bool ours = status == STATUS_OK && segment->header.kind == BATCH_LOG_STORE &&
                segment->header.segment_number == segment->number && segment->header.segment_bytes == segment->bytes &&
                (!inspector->summary->superblock_good || uuid_equal(&segment->header.log, &inspector->summary->store));
    if (!ours) {
        segment->header = (struct segment_header){0};
        adopt_segment(inspector, segment);
        return;
    }
    segment->header_good = true;
    segment->state = segment->header.first_lsn == SEGMENT_LSN_READY       ? INSPECT_SEGMENT_READY
                     : segment_lsn_says_wiping(segment->header.first_lsn) ? INSPECT_SEGMENT_WIPING
                                                                          : INSPECT_SEGMENT_USED;
}

/* ---- pass 1: notes -------------------------------------------------------------------------------- */

static void note_batch(struct inspector *inspector, const struct batch_header *header)
{
    struct record_cursor cursor = record_cursor_of(header, inspector->area);
    struct record record;

    if (header->durable_lsn > inspector->summary->durable_lsn) {
        inspector->summary->durable_lsn = header->durable_lsn;
    }
    while (record_next(&cursor, &record) == STATUS_OK) {
        if (inspector->note_count == inspector->note_capacity) {
            inspector->note_capacity = inspector->note_capacity * 2 + 1024;
            inspector->notes = realloc(inspector->notes, inspector->note_capacity * sizeof(*inspector->notes));
            CHECK(inspector->notes != NULL);
        }
        struct note *note = &inspector->notes[inspector->note_count++];
        *note = (struct note){.id = record.chunk.id, .lsn = header->lsn, .type = record.type, .place = record.place};
        memcpy(note->seed, record.seed, WIPE_SEED_BYTES);
    }
}

static int by_chunk_and_lsn(const void *a, const void *b)
{
    const struct note *one = a;
    const struct note *two = b;
    int order = memcmp(one->id.bytes, two->id.bytes, sizeof(one->id.bytes));

    return order != 0 ? order : (one->lsn > two->lsn) - (one->lsn < two->lsn);
}

/* The note that counts for a chunk: the last one of its run. NULL only for a chunk that has none. */
static const struct note *newest_note(const struct inspector *inspector, const struct chunk_id *id)
{
    size_t low = 0;
    size_t high = inspector->note_count;

    while (low < high) { /* The first note above the chunk. */
        size_t middle = low + (high - low) / 2;
        if (memcmp(inspector->notes[middle].id.bytes, id->bytes, sizeof(id->bytes)) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || !chunk_id_equal(&inspector->notes[low - 1].id, id)) {
        return NULL;
    }
    return &inspector->notes[low - 1];
}

/* ---- pass 2: records ------------------------------------------------------------------------------ */

static enum inspect_record_state state_of(const struct inspect_record *seen, const struct note *newest)
{
    bool here = newest->place.segment == seen->segment && newest->place.generation == seen->generation &&
                newest->place.offset == seen->offset;

    if (seen->offset == 0) {
        return INSPECT_STATEMENT;
    }
    if (newest->type == RECORD_PUT || newest->type == RECORD_MOVE) {
        return newest->lsn == seen->lsn ? INSPECT_LIVE : INSPECT_REPLACED;
    }
    if (!here) {
        return INSPECT_REPLACED;
    }
    return newest->type == RECORD_ERASE ? INSPECT_ERASING : INSPECT_ERASED;
}

/* Look at the payload of a record, which is in `payload`. */
static void check_payload(struct inspector *inspector, struct inspect_record *seen, const struct note *newest,
                          uint8_t *payload)
{
    size_t bytes = (size_t)seen->record.payload_blocks * BLOCK_BYTES;

    if (seen->state == INSPECT_LIVE) {
        seen->bad_unit = record_first_bad_unit(&seen->record, payload);
        seen->good = seen->bad_unit == UINT32_MAX;
        inspector->summary->live_chunks++;
        inspector->summary->live_bytes += bytes;
        if (!seen->good) {
            tell_finding(inspector, INSPECT_UNIT_BAD, seen->name, seen->offset + (uint64_t)seen->bad_unit * UNIT_BYTES,
                         UNIT_BYTES, &seen->record.chunk.id);
        }
    } else if (seen->state == INSPECT_ERASED) {
        keystream_xor(newest->seed, 0, payload, bytes);
        seen->good = bytes_are_zero(payload, bytes);
        inspector->summary->erased_chunks++;
        inspector->summary->erased_bytes += seen->good ? bytes : 0;
        if (!seen->good) {
            tell_finding(inspector, INSPECT_WIPE_BAD, seen->name, seen->offset, bytes, &seen->record.chunk.id);
        }
    }
}

static void tell_batch(struct inspector *inspector, const struct inspect_segment *segment,
                       const struct batch_header *header)
{
    struct record_cursor cursor = record_cursor_of(header, inspector->area);
    size_t header_bytes = (size_t)header->header_blocks * BLOCK_BYTES;
    size_t payload_bytes = (size_t)header->batch_blocks * BLOCK_BYTES - header_bytes;
    bool readable = payload_bytes > 0 &&
                    segment_read(inspector, segment, header->offset + header_bytes, inspector->payload, payload_bytes);
    struct record record;

    inspector->summary->batches++;
    while (record_next(&cursor, &record) == STATUS_OK) {
        struct inspect_record seen = {
            .segment = segment->number,
            .name = segment->name,
            .generation = segment->header.generation,
            .lsn = header->lsn,
            .batch_offset = header->offset,
            .record = record,
            .offset = record.payload_blocks > 0 ? header->offset + (uint64_t)record.payload_block * BLOCK_BYTES : 0,
            .good = true,
            .bad_unit = UINT32_MAX,
        };
        const struct note *newest = newest_note(inspector, &record.chunk.id);
        CHECK(newest != NULL);
        seen.state = state_of(&seen, newest);
        inspector->summary->records++;
        if (record.payload_blocks > 0 && readable) {
            size_t at = (size_t)(record.payload_block - header->header_blocks) * BLOCK_BYTES;
            check_payload(inspector, &seen, newest, inspector->payload + at);
        }
        if (inspector->visitor->record != NULL) {
            inspector->visitor->record(inspector->visitor, &seen);
        }
    }
}

/* ---- the walk ------------------------------------------------------------------------------------- */

/* Non-zero blocks that no batch owns have ended: what were they? */
static void region_end(struct inspector *inspector, const struct inspect_segment *segment)
{
    if (inspector->region_end == 0) {
        return;
    }
    enum inspect_finding_kind kind = INSPECT_RESIDUE;
    bool at_log_end = segment->state == INSPECT_SEGMENT_USED && inspector->region_lsn != 0;
    if (at_log_end && inspector->region_lsn <= inspector->summary->durable_lsn) {
        kind = INSPECT_BATCH_BAD;
    } else if (at_log_end && segment->header.first_lsn >= inspector->last_first_lsn) {
        kind = INSPECT_TORN_TAIL;
    }
    tell_finding(inspector, kind, segment->name, inspector->region_offset,
                 inspector->region_end - inspector->region_offset, NULL);
    inspector->region_end = 0;
}

/* A block that no batch owns. */
static void loose_block(struct inspector *inspector, const struct inspect_segment *segment, uint64_t offset,
                        uint64_t expected_lsn)
{
    const uint8_t *block = segment_block(inspector, segment, offset);

    if (block == NULL || bytes_are_zero(block, BLOCK_BYTES)) {
        return;
    }
    if (inspector->region_end == 0) {
        inspector->region_offset = offset;
        inspector->region_lsn = expected_lsn;
    }
    inspector->region_end = offset + BLOCK_BYTES;
}

/* Walk one segment in use: `notes_only` is the first pass. */
static void walk_segment(struct inspector *inspector, struct inspect_segment *segment, bool notes_only)
{
    uint64_t expected_lsn = segment->header.first_lsn;
    uint64_t offset = SEGMENT_HEADER_BYTES;
    struct batch_header header;

    while (offset < segment->bytes) {
        if (segment->state == INSPECT_SEGMENT_USED && batch_at(inspector, segment, offset, false, &header)) {
            if (notes_only) {
                note_batch(inspector, &header);
            } else {
                region_end(inspector, segment);
                tell_batch(inspector, segment, &header);
            }
            offset += (uint64_t)header.batch_blocks * BLOCK_BYTES;
            expected_lsn = header.lsn + 1;
            continue;
        }
        if (!notes_only) {
            loose_block(inspector, segment, offset, segment->state == INSPECT_SEGMENT_USED ? expected_lsn : 0);
        }
        offset += BLOCK_BYTES;
    }
    region_end(inspector, segment);
}

static void inspector_walk(struct inspector *inspector)
{
    for (size_t i = 0; i < inspector->segment_count; i++) {
        struct inspect_segment *segment = &inspector->segments[i];
        inspect_header(inspector, segment);
        if (segment->state == INSPECT_SEGMENT_USED) {
            walk_segment(inspector, segment, true);
        }
        if (segment->state == INSPECT_SEGMENT_USED && segment->header.first_lsn > inspector->last_first_lsn) {
            inspector->last_first_lsn = segment->header.first_lsn;
        }
    }
    if (inspector->note_count > 0) {
        qsort(inspector->notes, inspector->note_count, sizeof(*inspector->notes), by_chunk_and_lsn);
    }
    for (size_t i = 0; i < inspector->segment_count; i++) {
        struct inspect_segment *segment = &inspector->segments[i];
        inspector->summary->segments++;
        if (inspector->visitor->segment != NULL) {
            inspector->visitor->segment(inspector->visitor, segment);
        }
        if (segment->state != INSPECT_SEGMENT_WIPING) {
            walk_segment(inspector, segment, false);
        }
    }
}

static uint8_t *buffer_of(size_t bytes)
{
    uint8_t *buffer = aligned_alloc(BLOCK_BYTES, bytes);

    CHECK(buffer != NULL);
    return buffer;
}

/* Give every segment its file name, once the array stays where it is. */
static void name_segments(struct inspector *inspector)
{
    qsort(inspector->segments, inspector->segment_count, sizeof(*inspector->segments), by_number);
    inspector->names = calloc(inspector->segment_count, sizeof(*inspector->names));
    CHECK(inspector->names != NULL);
    for (size_t i = 0; i < inspector->segment_count; i++) {
        segment_name(inspector->segments[i].number, inspector->names[i]);
        inspector->segments[i].name = inspector->names[i];
    }
}

enum status inspect_store(struct inspect_source *source, struct inspect_visitor *visitor,
                          struct inspect_summary *summary)
{
    struct inspector inspector = {.source = source, .visitor = visitor, .summary = summary, .window_segment = SIZE_MAX};

    *summary = (struct inspect_summary){0};
    enum status status = source->list(source, each_name, &inspector);
    uint64_t superblock_bytes;
    bool has_superblock = source->size(source, SUPERBLOCK_NAME, &superblock_bytes) == STATUS_OK;
    if (status == STATUS_OK && inspector.segment_count == 0 && !has_superblock) {
        status = STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK) {
        inspector.area = buffer_of(BATCH_AREA_BYTES);
        inspector.payload = buffer_of(BATCH_PAYLOAD_BYTES);
        inspector.window = buffer_of(SCAN_BYTES);
        inspect_superblock(&inspector);
        if (inspector.segment_count > 0) {
            name_segments(&inspector);
            inspector_walk(&inspector);
        }
    }
    free(inspector.area);
    free(inspector.payload);
    free(inspector.window);
    free(inspector.names);
    free(inspector.segments);
    free(inspector.notes);
    return status;
}
