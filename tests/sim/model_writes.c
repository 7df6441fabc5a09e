/* model_writes.c - what nodes write to their disks, understood: which copies come to be, and what overwrites them.
 *
 * A batch header says everything about its records. A large payload is a write of its own, which may complete before
 * its header or after it: what comes first is kept as a half until the other comes, or the process has gone. */
#include "tests/sim/model.h"
#include "tests/sim/model_private.h"

#include "node/store/segment.h"

#include <stdlib.h>

/* ---- telling what it is --------------------------------------------------------------------------- */

/* The chunk whose erasure was begun in this place, or NULL. */
static const struct model_chunk *erased_at(const struct model *model, const struct model_writing *writing)
{
    const struct model_disk *disk = &model->disks[writing->disk];
    for (size_t i = disk->intent_count; i-- > 0;) {
        const struct model_chunk *chunk = model->chunks[disk->intents[i]];
        const struct chunk_place *place = &chunk->copies[writing->disk].intent_place;
        uint64_t end = place->offset + (uint64_t)payload_block_count(chunk->bytes) * BLOCK_BYTES;
        if (place->segment == writing->segment && place->generation == writing->generation && writing->offset < end &&
            writing->offset + writing->bytes > place->offset) {
            return chunk;
        }
    }
    return NULL;
}

void model_writing_classify(struct model *model, const struct sim_node_disk *disk, const char *name, uint64_t offset,
                            const uint8_t *content, size_t bytes, struct model_writing *writing)
{
    *writing =
        (struct model_writing){.disk = model_disk_number(disk), .offset = offset, .content = content, .bytes = bytes};
    uint8_t block[SEGMENT_HEADER_BYTES];
    struct segment_header segment;
    if (!segment_number_from_name(name, &writing->segment)) {
        return;
    }
    if (offset == 0) {
        writing->kind = MODEL_WRITES_SEGMENT_HEADER;
        return;
    }
    if (bytes_are_zero(content, bytes)) {
        writing->kind = MODEL_WRITES_ZEROS;
        return;
    }
    if (!sim_disk_copy(disk->disk, SIM_DISK_CACHE, name, 0, block, sizeof(block)) ||
        segment_header_decode(block, &segment) != STATUS_OK) {
        return; /* A damaged header: nothing can be told. */
    }
    writing->generation = segment.generation;
    if (batch_header_decode(content, bytes, &segment, offset, &writing->header) == STATUS_OK) {
        writing->kind = MODEL_WRITES_BATCH;
        return;
    }
    writing->erased = erased_at(model, writing);
    writing->kind = writing->erased != NULL ? MODEL_WRITES_STREAM : MODEL_WRITES_PAYLOAD;
}

/* ---- halves -------------------------------------------------------------------------------------- */

static struct model_half *half_add(struct model *model, const struct model_writing *writing, uint64_t offset,
                                   uint64_t bytes)
{
    model->halves = model_grow(model->halves, &model->half_capacity, model->half_count, sizeof(model->halves[0]));
    struct model_half *half = &model->halves[model->half_count++];
    *half = (struct model_half){.disk = writing->disk,
                                .segment = writing->segment,
                                .generation = writing->generation,
                                .offset = offset,
                                .bytes = bytes,
                                .chunk = UINT32_MAX};
    return half;
}

static struct model_half *half_find(struct model *model, const struct model_writing *writing, uint64_t offset)
{
    for (size_t i = 0; i < model->half_count; i++) {
        struct model_half *half = &model->halves[i];
        if (half->disk == writing->disk && half->segment == writing->segment &&
            half->generation == writing->generation && half->offset == offset) {
            return half;
        }
    }
    return NULL;
}

static void half_drop(struct model *model, struct model_half *half)
{
    free(half->prints);
    *half = model->halves[--model->half_count];
}

void model_disk_went_down(struct model *model, uint32_t disk)
{
    for (size_t i = model->half_count; i-- > 0;) {
        if (model->halves[i].disk == disk) {
            half_drop(model, &model->halves[i]);
        }
    }
}

/* ---- taking note --------------------------------------------------------------------------------- */

static void copy_add_place(struct model_copy *copy, const struct model_writing *writing, uint64_t offset)
{
    copy->places[copy->place_count % MODEL_PLACES_MAX] = (struct model_place){
        .place = {.segment = writing->segment, .generation = writing->generation, .offset = offset},
        .batch_offset = writing->offset,
        .header_blocks = writing->header.header_blocks,
    };
    copy->place_count++;
}

static void take_prints(struct model *model, uint32_t chunk, const uint8_t *payload, uint32_t bytes)
{
    static uint64_t prints[MODEL_PRINTS_MAX];
    if (!model->chunks[chunk]->has_prints) {
        model_prints_add(model, chunk, prints, model_prints_of(payload, bytes, prints));
    }
}

/* A record with payload: a copy comes to be. */
static void take_copy(struct model *model, const struct model_writing *writing, const struct record *record)
{
    uint32_t number;
    struct model_chunk *chunk = model_chunk_take(model, record->chunk.id.bytes, &number);
    uint64_t offset = writing->offset + (uint64_t)record->payload_block * BLOCK_BYTES;
    size_t at = (size_t)record->payload_block * BLOCK_BYTES;
    size_t seals_bytes = (size_t)chunk_unit_count(record->chunk.chunk_bytes) * UNIT_SEAL_BYTES;

    chunk->tenant_id = record->chunk.tenant_id;
    chunk->pg = record->chunk.pg;
    if (!chunk->has_seals) {
        chunk->bytes = record->chunk.chunk_bytes;
        chunk->seals = malloc(seals_bytes);
        CHECK(chunk->seals != NULL);
        memcpy(chunk->seals, record->seals, seals_bytes);
        chunk->has_seals = true;
    }
    copy_add_place(&chunk->copies[writing->disk], writing, offset);
    if (at + record->chunk.chunk_bytes <= writing->bytes) {
        take_prints(model, number, writing->content + at, record->chunk.chunk_bytes);
        return;
    }
    struct model_half *half = half_find(model, writing, offset);
    if (half == NULL) {
        half = half_add(model, writing, offset, (uint64_t)record->payload_blocks * BLOCK_BYTES);
        half->chunk = number;
    } else if (half->prints != NULL) {
        size_t count = (record->chunk.chunk_bytes + SIM_DISK_SECTOR_BYTES - PRINT_BYTES_LEAST) / SIM_DISK_SECTOR_BYTES;
        model_prints_add(model, number, half->prints, count);
        half_drop(model, half);
    }
}

static void take_intent(struct model *model, const struct model_writing *writing, const struct record *record)
{
    struct model_disk *disk = &model->disks[writing->disk];
    uint32_t number;
    struct model_chunk *chunk = model_chunk_take(model, record->chunk.id.bytes, &number);
    struct model_copy *copy = &chunk->copies[writing->disk];
    if (chunk->bytes == 0) {
        chunk->bytes = record->chunk.chunk_bytes;
    }
    if (!copy->has_intent) {
        disk->intents = model_grow(disk->intents, &disk->intent_capacity, disk->intent_count, sizeof(disk->intents[0]));
        disk->intents[disk->intent_count++] = number;
    }
    copy->has_intent = true;
    copy->intent_place = record->place;
    copy->intent_record = (struct model_place){
        .place = {.segment = writing->segment, .generation = writing->generation},
        .batch_offset = writing->offset,
        .header_blocks = writing->header.header_blocks,
    };
    copy->intent_lsn = writing->header.lsn;
    memcpy(copy->seed, record->seed, sizeof(copy->seed));
}

static void take_batch(struct model *model, const struct model_writing *writing)
{
    struct record_cursor cursor = record_cursor_of(&writing->header, writing->content);
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK) {
        switch (record.type) {
        case RECORD_PUT:
        case RECORD_MOVE:
            take_copy(model, writing, &record);
            break;
        case RECORD_ERASE:
            take_intent(model, writing, &record);
            break;
        case RECORD_ERASED:
        case RECORD_TOMBSTONE:
            break;
        }
    }
}

static void take_payload(struct model *model, const struct model_writing *writing)
{
    struct model_half *half = half_find(model, writing, writing->offset);
    if (half == NULL) {
        half = half_add(model, writing, writing->offset, writing->bytes);
        half->prints = calloc(MODEL_PRINTS_MAX, sizeof(half->prints[0]));
        CHECK(half->prints != NULL);
    } else if (half->chunk != UINT32_MAX) {
        take_prints(model, half->chunk, writing->content, model->chunks[half->chunk]->bytes);
        half_drop(model, half);
        return;
    }
    /* What stood here before and never got a header is no half of what comes now. */
    size_t bytes = writing->bytes < CHUNK_BYTES_MAX ? writing->bytes : CHUNK_BYTES_MAX;
    memset(half->prints, 0, MODEL_PRINTS_MAX * sizeof(half->prints[0]));
    model_prints_of(writing->content, bytes, half->prints);
}

void model_writing_take(struct model *model, const struct model_writing *writing)
{
    switch (writing->kind) {
    case MODEL_WRITES_BATCH:
        take_batch(model, writing);
        return;
    case MODEL_WRITES_PAYLOAD:
        take_payload(model, writing);
        return;
    case MODEL_WRITES_OTHER:
    case MODEL_WRITES_SEGMENT_HEADER:
    case MODEL_WRITES_ZEROS:
    case MODEL_WRITES_STREAM:
        return;
    }
}
