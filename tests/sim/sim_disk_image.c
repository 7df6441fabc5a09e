/* sim_disk_image.c - see the header. */
#include "tests/sim/sim_disk_image.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR      SIM_DISK_SECTOR_BYTES
#define SLAB_BLOCKS 64

static const uint8_t zeros[BLOCK_BYTES];

/* ---- blocks ---------------------------------------------------------------------------------------- */

/* Blocks come by the dozen and go again: taking them from slabs costs a tenth of what an allocator under a sanitizer
 * takes for each. */
struct sim_slab {
    struct sim_slab *next;
    struct sim_block blocks[SLAB_BLOCKS];
};

static struct sim_block *block_take(struct sim_blocks *blocks)
{
    if (blocks->free == NULL) {
        struct sim_slab *slab = malloc(sizeof(*slab));
        CHECK(slab != NULL);
        slab->next = blocks->slabs;
        blocks->slabs = slab;
        for (size_t i = SLAB_BLOCKS; i > 0; i--) {
            slab->blocks[i - 1].next_free = blocks->free;
            blocks->free = &slab->blocks[i - 1];
        }
    }
    struct sim_block *block = blocks->free;
    blocks->free = block->next_free;
    block->references = 1;
    return block;
}

void sim_blocks_deinit(struct sim_blocks *blocks)
{
    while (blocks->slabs != NULL) {
        struct sim_slab *slab = blocks->slabs;
        blocks->slabs = slab->next;
        free(slab);
    }
    blocks->free = NULL;
}

struct sim_block *sim_block_of(struct sim_blocks *blocks, const uint8_t content[BLOCK_BYTES])
{
    if (memcmp(content, zeros, BLOCK_BYTES) == 0) {
        return NULL;
    }
    struct sim_block *block = block_take(blocks);
    memcpy(block->bytes, content, BLOCK_BYTES);
    return block;
}

struct sim_block *sim_block_hold(struct sim_block *block)
{
    if (block != NULL) {
        block->references++;
    }
    return block;
}

void sim_block_release(struct sim_blocks *blocks, struct sim_block *block)
{
    if (block != NULL && --block->references == 0) {
        block->next_free = blocks->free;
        blocks->free = block;
    }
}

const uint8_t *sim_block_bytes(const struct sim_block *block)
{
    return block != NULL ? block->bytes : zeros;
}

bool sim_block_is_equal(const struct sim_block *a, const struct sim_block *b)
{
    if (a == NULL || b == NULL) {
        return a == b; /* A block that exists is never all zeros. */
    }
    return a == b || memcmp(a->bytes, b->bytes, BLOCK_BYTES) == 0;
}

/* ---- files ----------------------------------------------------------------------------------------- */

struct sim_file *sim_file_new(struct sim_blocks *blocks, const char *name)
{
    struct sim_file *file = calloc(1, sizeof(*file));
    CHECK(file != NULL);
    file->blocks = blocks;
    memcpy(file->name, name, strlen(name) + 1);
    return file;
}

void sim_file_free(struct sim_file *file)
{
    for (uint64_t index = 0; index < file->bytes / BLOCK_BYTES; index++) {
        struct sim_place *place = &file->places[index];
        sim_block_release(file->blocks, place->image[SIM_DISK_DURABLE]);
        sim_block_release(file->blocks, place->image[SIM_DISK_CACHE]);
        if (place->mark != NULL) {
            sim_block_release(file->blocks, place->mark->promise);
            free(place->mark);
        }
    }
    list_remove(&file->link);
    free(file->places);
    free(file->dirty);
    free(file->copy);
    free(file);
}

/* What was copied of the durable image is out of date. */
static void copy_drop(struct sim_file *file)
{
    free(file->copy);
    file->copy = NULL;
}

void sim_file_grow(struct sim_file *file, uint64_t bytes)
{
    if (bytes <= file->bytes) {
        return;
    }
    /* calloc() instead of realloc(): large untouched zeros then cost no memory. */
    struct sim_place *places = calloc(bytes / BLOCK_BYTES, sizeof(*places));
    CHECK(places != NULL);
    if (file->bytes > 0) {
        memcpy(places, file->places, file->bytes / BLOCK_BYTES * sizeof(*places));
    }
    free(file->places);
    file->places = places;
    file->bytes = bytes;
    copy_drop(file);
}

static void block_replace(struct sim_file *file, uint64_t index, enum sim_disk_image image, struct sim_block *block)
{
    struct sim_place *place = &file->places[index];
    if (image == SIM_DISK_DURABLE && place->image[image] != block) {
        copy_drop(file);
    }
    sim_block_release(file->blocks, place->image[image]);
    place->image[image] = block;
}

struct sim_mark *sim_file_mark(struct sim_file *file, uint64_t index)
{
    struct sim_place *place = &file->places[index];
    if (place->mark == NULL) {
        place->mark = calloc(1, sizeof(*place->mark));
        CHECK(place->mark != NULL);
    }
    return place->mark;
}

void sim_file_mark_stray(struct sim_file *file, uint64_t index)
{
    struct sim_mark *mark = sim_file_mark(file, index);
    mark->flaws[SIM_DISK_DURABLE].stray = true;
    mark->flaws[SIM_DISK_CACHE].stray = true;
}

bool sim_file_is_stray(const struct sim_file *file, uint64_t index)
{
    const struct sim_mark *mark = file->places[index].mark;
    return mark != NULL && (mark->flaws[SIM_DISK_DURABLE].stray || mark->flaws[SIM_DISK_CACHE].stray);
}

static void promise_end(struct sim_file *file, uint64_t index)
{
    struct sim_mark *mark = file->places[index].mark;
    if (mark != NULL && mark->promised) {
        sim_block_release(file->blocks, mark->promise);
        mark->promise = NULL;
        mark->promised = false;
    }
}

void sim_file_promise(struct sim_file *file, uint64_t index)
{
    CHECK(file->places[index].sequence != 0);
    promise_end(file, index);
    struct sim_mark *mark = sim_file_mark(file, index);
    mark->promised = true;
    mark->promise = sim_block_hold(file->places[index].image[SIM_DISK_CACHE]);
}

void sim_file_put(struct sim_file *file, uint64_t index, struct sim_block *block, uint64_t sequence)
{
    struct sim_place *place = &file->places[index];
    if (!sim_block_is_equal(place->image[SIM_DISK_CACHE], block)) {
        if (sim_block_is_equal(place->image[SIM_DISK_DURABLE], block)) {
            block = place->image[SIM_DISK_DURABLE];
        }
        block_replace(file, index, SIM_DISK_CACHE, sim_block_hold(block));
    }
    place->sequence = sequence;
    if (place->mark != NULL) {
        place->mark->flaws[SIM_DISK_CACHE] = (struct sim_flaw){0};
    }
}

void sim_file_log(struct sim_file *file, uint64_t first, uint64_t count, uint64_t sequence)
{
    if (file->dirty_count == file->dirty_capacity) {
        file->dirty_capacity = file->dirty_capacity == 0 ? 16 : 2 * file->dirty_capacity;
        file->dirty = reallocarray(file->dirty, file->dirty_capacity, sizeof(*file->dirty));
        CHECK(file->dirty != NULL);
    }
    CHECK(file->dirty_count == 0 || file->dirty[file->dirty_count - 1].sequence < sequence);
    file->dirty[file->dirty_count++] = (struct sim_dirty){.first = first, .count = count, .sequence = sequence};
}

void sim_file_settle(struct sim_file *file, uint64_t index)
{
    struct sim_place *place = &file->places[index];
    block_replace(file, index, SIM_DISK_DURABLE, sim_block_hold(place->image[SIM_DISK_CACHE]));
    place->sequence = 0;
    promise_end(file, index);
    if (place->mark != NULL) {
        place->mark->flaws[SIM_DISK_DURABLE] = place->mark->flaws[SIM_DISK_CACHE];
    }
}

void sim_file_set(struct sim_file *file, uint64_t index, struct sim_block *block)
{
    block_replace(file, index, SIM_DISK_DURABLE, block);
    block_replace(file, index, SIM_DISK_CACHE, sim_block_hold(block));
    file->places[index].sequence = 0;
    promise_end(file, index);
}

/* ---- flushes --------------------------------------------------------------------------------------- */

/* How many entries of the log are of writes up to `sequence`. */
static size_t dirty_up_to(const struct sim_file *file, uint64_t sequence)
{
    size_t count = 0;
    while (count < file->dirty_count && file->dirty[count].sequence <= sequence) {
        count++;
    }
    return count;
}

static void dirty_forget(struct sim_file *file, size_t count)
{
    file->dirty_count -= count;
    if (file->dirty_count > 0) {
        memmove(file->dirty, file->dirty + count, file->dirty_count * sizeof(*file->dirty));
    }
}

void sim_file_flush(struct sim_file *file, uint64_t sequence)
{
    size_t count = dirty_up_to(file, sequence);
    for (size_t i = 0; i < count; i++) {
        const struct sim_dirty *dirty = &file->dirty[i];
        for (uint64_t index = dirty->first; index < dirty->first + dirty->count; index++) {
            if (file->places[index].sequence == dirty->sequence) {
                sim_file_settle(file, index);
            }
        }
    }
    dirty_forget(file, count);
}

bool sim_file_promise_all(struct sim_file *file, uint64_t sequence)
{
    size_t count = dirty_up_to(file, sequence);
    bool at_stake = false;
    for (size_t i = 0; i < count; i++) {
        const struct sim_dirty *dirty = &file->dirty[i];
        for (uint64_t index = dirty->first; index < dirty->first + dirty->count; index++) {
            const struct sim_place *place = &file->places[index];
            if (place->sequence == dirty->sequence) {
                at_stake = at_stake || place->image[SIM_DISK_DURABLE] != place->image[SIM_DISK_CACHE];
                sim_file_promise(file, index);
            }
        }
    }
    return at_stake;
}

/* ---- tearing --------------------------------------------------------------------------------------- */

/* Draw for each sector. Returns the content, and in `taken` which sectors are not the old ones. */
static struct sim_block *block_tear(struct sim_file *file, struct sim_block *old, struct sim_block *fresh,
                                    struct sim_tear *tear, uint8_t *taken)
{
    uint8_t result[BLOCK_BYTES];
    const uint8_t *old_bytes = sim_block_bytes(old);
    const uint8_t *fresh_bytes = sim_block_bytes(fresh);
    bool is_equal = sim_block_is_equal(old, fresh);
    bool is_old = true;
    *taken = 0;
    for (unsigned sector = 0; sector < SIM_BLOCK_SECTORS; sector++) {
        bool is_garbage = sim_random_percent(tear->random, tear->garbage_percent);
        bool is_taken = sim_random_percent(tear->random, 50);
        bool differs = !is_equal && memcmp(old_bytes + sector * SECTOR, fresh_bytes + sector * SECTOR, SECTOR) != 0;
        if (!is_garbage && !is_taken) {
            tear->kept += differs ? 1 : 0;
            continue;
        }
        *taken |= (uint8_t)(1u << sector);
        if (!is_garbage && !differs) {
            continue;
        }
        if (is_old) {
            memcpy(result, old_bytes, BLOCK_BYTES);
            is_old = false;
        }
        if (is_garbage) {
            sim_random_bytes(tear->random, result + sector * SECTOR, SECTOR);
            tear->garbage++;
        } else {
            memcpy(result + sector * SECTOR, fresh_bytes + sector * SECTOR, SECTOR);
            tear->replaced++;
        }
    }
    return is_old ? sim_block_hold(old) : sim_block_of(file->blocks, result);
}

/* Whether some sector of `result` is neither what a flush promised nor what was written last. */
static bool promise_is_broken(const struct sim_mark *mark, const struct sim_block *fresh,
                              const struct sim_block *result)
{
    if (!mark->promised) {
        return false;
    }
    const uint8_t *promised = sim_block_bytes(mark->promise);
    for (size_t at = 0; at < BLOCK_BYTES; at += SECTOR) {
        const uint8_t *sector = sim_block_bytes(result) + at;
        if (memcmp(sector, promised + at, SECTOR) != 0 && memcmp(sector, sim_block_bytes(fresh) + at, SECTOR) != 0) {
            return true;
        }
    }
    return false;
}

/* The marks of the two images, mixed as the sectors were. */
static void mark_tear(struct sim_mark *mark, struct sim_flaw fresh, uint8_t taken, bool breaks_promise)
{
    struct sim_flaw old = mark->flaws[SIM_DISK_DURABLE];
    struct sim_flaw mixed = {
        .stray = (old.stray && taken != UINT8_MAX) || (fresh.stray && taken != 0) || breaks_promise,
        .unreadable = (uint8_t)((old.unreadable & ~taken) | (fresh.unreadable & taken)),
    };
    mark->flaws[SIM_DISK_DURABLE] = mixed;
    mark->flaws[SIM_DISK_CACHE] = mixed;
}

static void place_tear(struct sim_file *file, uint64_t index, struct sim_block *fresh, struct sim_flaw flaw,
                       struct sim_tear *tear)
{
    _Static_assert(SIM_BLOCK_SECTORS == 8, "a bit of a byte for each sector");
    struct sim_place *place = &file->places[index];
    uint8_t taken;
    struct sim_block *result = block_tear(file, place->image[SIM_DISK_DURABLE], fresh, tear, &taken);
    if (place->mark != NULL) {
        mark_tear(place->mark, flaw, taken, promise_is_broken(place->mark, fresh, result));
    }
    sim_file_set(file, index, result);
}

void sim_file_tear(struct sim_file *file, uint64_t sequence, struct sim_tear *tear)
{
    size_t count = dirty_up_to(file, sequence);
    for (size_t i = 0; i < count; i++) {
        const struct sim_dirty *dirty = &file->dirty[i];
        uint64_t kept = tear->kept;
        uint64_t replaced = tear->replaced;
        for (uint64_t index = dirty->first; index < dirty->first + dirty->count; index++) {
            const struct sim_place *place = &file->places[index];
            if (place->sequence == dirty->sequence) {
                struct sim_flaw flaw = place->mark != NULL ? place->mark->flaws[SIM_DISK_CACHE] : (struct sim_flaw){0};
                place_tear(file, index, place->image[SIM_DISK_CACHE], flaw, tear);
            }
        }
        tear->torn += tear->kept > kept && tear->replaced > replaced ? 1 : 0;
    }
    dirty_forget(file, count);
}

void sim_file_tear_write(struct sim_file *file, uint64_t first, struct sim_block *const *blocks, uint64_t count,
                         struct sim_tear *tear)
{
    uint64_t kept = tear->kept;
    uint64_t replaced = tear->replaced;
    for (uint64_t i = 0; i < count; i++) {
        place_tear(file, first + i, blocks[i], (struct sim_flaw){0}, tear);
    }
    tear->torn += tear->kept > kept && tear->replaced > replaced ? 1 : 0;
}

/* ---- looking --------------------------------------------------------------------------------------- */

bool sim_file_is_readable(const struct sim_file *file, uint64_t offset, uint64_t bytes)
{
    for (uint64_t index = offset / BLOCK_BYTES; index < (offset + bytes) / BLOCK_BYTES; index++) {
        const struct sim_mark *mark = file->places[index].mark;
        if (mark != NULL && mark->flaws[SIM_DISK_CACHE].unreadable != 0) {
            return false;
        }
    }
    return true;
}

void sim_file_copy(const struct sim_file *file, enum sim_disk_image image, uint64_t offset, uint8_t *buffer,
                   size_t bytes)
{
    while (bytes > 0) {
        size_t inside = offset % BLOCK_BYTES;
        size_t part = BLOCK_BYTES - inside < bytes ? BLOCK_BYTES - inside : bytes;
        memcpy(buffer, sim_block_bytes(file->places[offset / BLOCK_BYTES].image[image]) + inside, part);
        buffer += part;
        offset += part;
        bytes -= part;
    }
}

const uint8_t *sim_file_bytes(struct sim_file *file)
{
    if (file->copy == NULL) {
        file->copy = calloc(1, file->bytes > 0 ? file->bytes : 1);
        CHECK(file->copy != NULL);
        for (uint64_t index = 0; index < file->bytes / BLOCK_BYTES; index++) {
            const struct sim_block *block = file->places[index].image[SIM_DISK_DURABLE];
            if (block != NULL) {
                memcpy(file->copy + index * BLOCK_BYTES, block->bytes, BLOCK_BYTES);
            }
        }
    }
    return file->copy;
}
