/* sim_disk_write.c - how the blocks of a write reach a file of a simulated disk: as asked, in part, elsewhere or never. */
#include "tests/sim/sim_disk_private.h"

#include <string.h>

/* Up to which write the flushes in flight on a file cover it: those that will do it, and those that will only say so. */
struct coverage {
    uint64_t honest;
    uint64_t lying;
};

static struct coverage coverage_of(const struct sim_disk *sim, const struct sim_file *file)
{
    const struct list *lists[] = {&sim->requests, &sim->stuck};
    struct coverage coverage = {0, 0};
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        LIST_EACH (lists[i], link) {
            const struct sim_request *request = LIST_ENTRY(link, struct sim_request, link);
            if (request->kind != DISK_FLUSH || request->handle->file != file || request->outcome != STATUS_OK) {
                continue;
            }
            uint64_t *up_to = request->lie == SIM_DISK_LOST_FLUSH ? &coverage.lying : &coverage.honest;
            *up_to = request->flushes_up_to > *up_to ? request->flushes_up_to : *up_to;
        }
    }
    return coverage;
}

/* Some sectors of `block`, the others as they are in the cache. */
static struct sim_block *block_in_part(struct sim_disk *sim, const struct sim_place *place, struct sim_block *block)
{
    uint8_t mixed[BLOCK_BYTES];
    memcpy(mixed, sim_block_bytes(place->image[SIM_DISK_CACHE]), BLOCK_BYTES);
    for (size_t at = 0; at < BLOCK_BYTES; at += SIM_DISK_SECTOR_BYTES) {
        if (sim_random_percent(&sim->fault_random, 50)) {
            memcpy(mixed + at, sim_block_bytes(block) + at, SIM_DISK_SECTOR_BYTES);
        }
    }
    return sim_block_of(&sim->blocks, mixed);
}

void sim_disk_arrive(struct sim_disk *sim, const struct sim_arrival *arrival)
{
    struct sim_file *file = arrival->file;
    struct coverage coverage = coverage_of(sim, file);
    sim->sequence++;
    for (size_t i = 0; i < arrival->count; i++) {
        uint64_t index = arrival->first + i;
        const struct sim_place *place = &file->places[index];
        /* A flush in flight promises the content of its start, which is about to be overwritten. */
        if (place->sequence != 0 && place->sequence <= coverage.honest) {
            sim_file_settle(file, index);
        } else if (place->sequence != 0 && place->sequence <= coverage.lying) {
            sim_file_promise(file, index);
        }
        struct sim_block *block =
            arrival->is_partial ? block_in_part(sim, place, arrival->blocks[i]) : sim_block_hold(arrival->blocks[i]);
        bool is_stray = arrival->is_stray && !sim_block_is_equal(block, place->image[SIM_DISK_CACHE]);
        sim_file_put(file, index, block, sim->sequence);
        sim_block_release(&sim->blocks, block);
        if (is_stray) {
            sim_file_mark(file, index)->flaws[SIM_DISK_CACHE].stray = true;
        }
        if (arrival->is_durable) {
            sim_file_settle(file, index);
        }
    }
    if (!arrival->is_durable) {
        sim_file_log(file, arrival->first, arrival->count, sim->sequence);
    }
}

/* A write that is said to be done leaves its target as it was. False: it is as it should be anyway. */
static bool target_stays(const struct sim_arrival *arrival)
{
    bool at_stake = false;
    for (size_t i = 0; i < arrival->count; i++) {
        const struct sim_place *place = &arrival->file->places[arrival->first + i];
        if (!sim_block_is_equal(place->image[SIM_DISK_CACHE], arrival->blocks[i]) ||
            (arrival->is_durable && !sim_block_is_equal(place->image[SIM_DISK_DURABLE], arrival->blocks[i]))) {
            sim_file_mark_stray(arrival->file, arrival->first + i);
            at_stake = true;
        }
    }
    return at_stake;
}

static void arrive_elsewhere(struct sim_disk *sim, const struct sim_request *request, const struct sim_arrival *arrival)
{
    struct sim_arrival astray = *arrival;
    uint64_t offset;
    if (!sim_disk_misdirect(sim, request, &astray.file, &offset)) {
        sim_disk_arrive(sim, arrival);
        return;
    }
    astray.first = offset / BLOCK_BYTES;
    astray.is_stray = true;
    sim->fault_counts[SIM_DISK_MISDIRECTED] += target_stays(arrival) ? 1 : 0;
    sim_disk_arrive(sim, &astray);
}

/* The device said that a write is durable, and it is in the cache only. */
static void promise_arrival(struct sim_disk *sim, const struct sim_arrival *arrival)
{
    bool at_stake = false;
    for (uint64_t index = arrival->first; index < arrival->first + arrival->count; index++) {
        const struct sim_place *place = &arrival->file->places[index];
        at_stake = at_stake || place->image[SIM_DISK_DURABLE] != place->image[SIM_DISK_CACHE];
        sim_file_promise(arrival->file, index);
    }
    sim->fault_counts[SIM_DISK_LOST_FLUSH] += at_stake ? 1 : 0;
}

struct sim_arrival sim_disk_arrival_of(const struct sim_request *request, uint32_t from, uint32_t to)
{
    return (struct sim_arrival){
        .file = request->handle->file,
        .first = (request->offset + from) / BLOCK_BYTES,
        .blocks = request->blocks + from / BLOCK_BYTES,
        .count = (to - from) / BLOCK_BYTES,
        .is_partial = request->outcome != STATUS_OK,
        .is_durable = request->outcome == STATUS_OK && (request->flags & DISK_DURABLE) != 0,
    };
}

void sim_disk_write(struct sim_disk *sim, const struct sim_request *request, uint32_t from, uint32_t to)
{
    struct sim_arrival arrival = sim_disk_arrival_of(request, from, to);
    if (request->outcome == STATUS_OK && sim->observer != NULL && !arrival.file->removed) {
        sim->observer->writing(sim->observer, sim, arrival.file->name, request->offset + from,
                               request->io->buffer + from, to - from);
    }
    switch (request->lie) {
    case SIM_DISK_LOST_WRITE:
        sim->fault_counts[SIM_DISK_LOST_WRITE] += target_stays(&arrival) ? 1 : 0;
        return;
    case SIM_DISK_MISDIRECTED:
        arrive_elsewhere(sim, request, &arrival);
        return;
    case SIM_DISK_LOST_FLUSH:
        arrival.is_durable = false;
        sim_disk_arrive(sim, &arrival);
        promise_arrival(sim, &arrival);
        return;
    default:
        sim_disk_arrive(sim, &arrival);
    }
}
