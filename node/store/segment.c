/* segment.c - see segment.h. */
#include "node/store/segment.h"

#include <stdio.h>
#include <stdlib.h>

/* What writing one tombstone again may cost at most: a record, its share of a header, rounded up. */
#define TOMBSTONE_BYTES 160

#define PAUSE_NS        NS_PER_S
#define PAUSE_MAX_NS    (3600 * NS_PER_S)

void segment_table_init(struct segment_table *table, struct disk *disk, uint32_t count, uint64_t segment_bytes)
{
    *table = (struct segment_table){.disk = disk, .count = count, .segment_bytes = segment_bytes, .allocatable = count};
    table->segments = calloc(count, sizeof(*table->segments));
    CHECK(table->segments != NULL);
    list_init(&table->touched);
    for (uint32_t i = 0; i < count; i++) {
        struct segment *segment = &table->segments[i];
        segment->table = table;
        segment->number = i;
        segment->state = SEGMENT_ABSENT;
        list_init(&segment->flushes.waiting);
        list_init(&segment->flushes.covered);
    }
}

void segment_table_deinit(struct segment_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->segments[i].file != NULL) {
            disk_file_close(table->segments[i].file);
        }
    }
    free(table->segments);
    table->segments = NULL;
    table->count = 0;
}

void segment_name(uint32_t number, char name[DISK_NAME_BYTES])
{
    snprintf(name, DISK_NAME_BYTES, "segment-%08x", number);
}

bool segment_number_from_name(const char *name, uint32_t *number)
{
    unsigned found;
    char again[DISK_NAME_BYTES];

    if (sscanf(name, "segment-%8x", &found) != 1) {
        return false;
    }
    segment_name(found, again);
    if (strcmp(name, again) != 0) {
        return false;
    }
    *number = found;
    return true;
}

static bool state_is_free_allocated(enum segment_state state)
{
    return state == SEGMENT_ALLOCATED || state == SEGMENT_READY;
}

void segment_set_state(struct segment *segment, enum segment_state state)
{
    struct segment_table *table = segment->table;

    if (state_is_free_allocated(segment->state)) {
        table->free_allocated--;
    }
    if (state_is_free_allocated(state)) {
        table->free_allocated++;
    }
    if (segment->state == SEGMENT_ABSENT && state != SEGMENT_ABSENT && table->allocatable > 0) {
        table->allocatable--;
    }
    segment->state = state;
}

uint64_t segment_wiping_lsn(const struct segment *segment)
{
    return segment->unaccounted ? SEGMENT_LSN_WIPING : SEGMENT_LSN_CLEANED;
}

bool segment_lsn_says_wiping(uint64_t first_lsn)
{
    return first_lsn == SEGMENT_LSN_WIPING || first_lsn == SEGMENT_LSN_CLEANED;
}

void segment_touch(struct segment *segment)
{
    if (!list_is_linked(&segment->touched)) {
        list_append(&segment->table->touched, &segment->touched);
    }
}

bool segment_is_in_use(const struct segment *segment)
{
    return segment->state == SEGMENT_OPEN || segment->state == SEGMENT_FULL || segment->state == SEGMENT_CLEANING;
}

uint64_t segment_reclaimable_bytes(const struct segment *segment)
{
    uint64_t kept = segment->live_bytes + segment->live_bytes / 32 + (uint64_t)segment->tombstones * TOMBSTONE_BYTES;
    return kept < segment->table->segment_bytes ? segment->table->segment_bytes - kept : 0;
}

struct segment *segment_of_place(const struct segment_table *table, const struct chunk_place *place)
{
    if (place->generation == 0 || place->segment >= table->count) {
        return NULL;
    }
    struct segment *segment = &table->segments[place->segment];
    bool same_use = (segment_is_in_use(segment) || segment->state == SEGMENT_WIPING) &&
                    segment->header.generation == place->generation;
    return same_use ? segment : NULL;
}

struct segment *segment_of_old_copy(const struct segment_table *table, const struct chunk_place *place)
{
    if (place->generation == 0 || place->segment >= table->count) {
        return NULL;
    }
    struct segment *segment = &table->segments[place->segment];
    bool may_hold = segment_is_in_use(segment) || segment->state == SEGMENT_WIPING || segment->state == SEGMENT_RETIRED;
    return may_hold && segment->header.generation == place->generation ? segment : NULL;
}

void segment_release_held(struct segment *segment)
{
    for (uint32_t i = 0; i < segment->table->count; i++) {
        if (segment->table->segments[i].held_by == segment) {
            segment->table->segments[i].held_by = NULL;
        }
    }
}

bool segment_is_blocked(const struct segment *segment)
{
    /* Chunks move into newer segments only, so each one is held by an older one; an index that lies about that may not
     * make us run in circles. */
    uint32_t left = segment->table->count;
    for (; segment != NULL && left > 0; segment = segment->held_by, left--) {
        if (segment->stuck || segment->state == SEGMENT_RETIRED) {
            return true;
        }
    }
    return false;
}

bool segments_are_unaccounted(const struct segment_table *table, bool *blocked)
{
    bool found = false;

    *blocked = false;
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->segments[i].unaccounted) {
            found = true;
            *blocked = *blocked || segment_is_blocked(&table->segments[i]);
        }
    }
    return found;
}

uint64_t segment_pause_ns(uint32_t failures)
{
    uint64_t pause_ns = PAUSE_NS;

    for (; failures > 0 && pause_ns < PAUSE_MAX_NS; failures--) {
        pause_ns *= 2;
    }
    return pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
}

uint32_t segments_free(const struct segment_table *table)
{
    return table->free_allocated + table->allocatable;
}

static struct segment *first_in_state(struct segment_table *table, enum segment_state state)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->segments[i].state == state && !table->segments[i].busy) {
            return &table->segments[i];
        }
    }
    return NULL;
}

struct segment *segment_choose_free(struct segment_table *table, uint32_t keep_allocated)
{
    struct segment *segment = NULL;

    if (table->free_allocated > keep_allocated) {
        segment = first_in_state(table, SEGMENT_READY);
        if (segment == NULL) {
            segment = first_in_state(table, SEGMENT_ALLOCATED);
        }
    }
    if (segment == NULL && table->allocatable > 0) {
        segment = first_in_state(table, SEGMENT_ABSENT);
    }
    return segment;
}

/* ---- flushes ------------------------------------------------------------------------------------- */

static void flush_start(struct segment *segment);

static void flush_done(struct disk_io *io)
{
    struct flush_line *line = CONTAINER_OF(io, struct flush_line, io);
    struct segment *segment = CONTAINER_OF(line, struct segment, flushes);
    enum status status = io->status;
    struct list covered;

    list_init(&covered);
    for (struct list_link *link; (link = list_take_first(&line->covered)) != NULL;) {
        list_append(&covered, link);
    }
    /* in_flight stays true meanwhile, so that whoever joins from inside a callback shares the next flush. */
    for (struct list_link *link; (link = list_take_first(&covered)) != NULL;) {
        struct flush_waiter *waiter = LIST_ENTRY(link, struct flush_waiter, link);
        waiter->done(waiter, status);
    }
    line->in_flight = false;
    if (!list_is_empty(&line->waiting)) {
        flush_start(segment);
    }
}

static void flush_start(struct segment *segment)
{
    struct flush_line *line = &segment->flushes;

    for (struct list_link *link; (link = list_take_first(&line->waiting)) != NULL;) {
        list_append(&line->covered, link);
    }
    line->in_flight = true;
    segment->table->flush_count++;
    disk_flush(segment->file, &line->io, flush_done);
}

void segment_flush(struct segment *segment, struct flush_waiter *waiter,
                   void (*done)(struct flush_waiter *waiter, enum status status))
{
    waiter->done = done;
    list_append(&segment->flushes.waiting, &waiter->link);
    if (!segment->flushes.in_flight) {
        flush_start(segment);
    }
}
