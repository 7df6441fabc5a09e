/* sim_disk_faults.c - which I/O of a simulated disk goes wrong, what goes bad at rest, and how often it happened. */
#include "tests/sim/sim_disk_private.h"

#include <string.h>

#define SECTOR          SIM_DISK_SECTOR_BYTES
#define PPM             1000000u
#define HEALED_MIN_NS   (20 * NS_PER_US)
#define HEALED_MAX_NS   (200 * NS_PER_US)
#define PATIENCE_NS     (10 * HEALED_MAX_NS) /* no I/O of a sound disk takes longer */
#define SLOW_FACTOR_MAX 100000u

static const char *const fault_names[SIM_DISK_FAULTS] = {
    [SIM_DISK_TORN] = "torn",
    [SIM_DISK_GARBAGE] = "garbage",
    [SIM_DISK_LOST_WRITE] = "lost_write",
    [SIM_DISK_MISDIRECTED] = "misdirected",
    [SIM_DISK_LOST_FLUSH] = "lost_flush",
    [SIM_DISK_READ_ERROR] = "read_error",
    [SIM_DISK_WRITE_ERROR] = "write_error",
    [SIM_DISK_FLUSH_ERROR] = "flush_error",
    [SIM_DISK_LATENT] = "latent",
    [SIM_DISK_ROT_BIT] = "rot_bit",
    [SIM_DISK_ROT_SECTOR] = "rot_sector",
    [SIM_DISK_ROT_BLOCK] = "rot_block",
    [SIM_DISK_FULL] = "full",
    [SIM_DISK_SLOW] = "slow",
    [SIM_DISK_STUCK] = "stuck",
    [SIM_DISK_SHORT] = "short",
};

const char *sim_disk_fault_name(enum sim_disk_fault fault)
{
    CHECK(fault < SIM_DISK_FAULTS);
    return fault_names[fault];
}

void sim_disk_set_faults(struct sim_disk *sim, const struct sim_disk_faults *faults)
{
    for (size_t i = 0; i < SIM_DISK_FAULTS; i++) {
        CHECK(faults->ppm[i] <= PPM);
    }
    sim->faults = *faults;
}

uint64_t sim_disk_fault_count(const struct sim_disk *sim, enum sim_disk_fault fault)
{
    CHECK(fault < SIM_DISK_FAULTS);
    return sim->fault_counts[fault];
}

void sim_disk_slow(struct sim_disk *sim, uint32_t factor)
{
    CHECK(factor >= 1 && factor <= SLOW_FACTOR_MAX);
    sim->slow_factor = factor;
}

void sim_disk_fail_after(struct sim_disk *sim, uint64_t ios, enum status status)
{
    CHECK(ios == 0 || status != STATUS_OK);
    sim->fail_countdown = ios;
    sim->fail_status = status;
}

void sim_disk_fail_kinds(struct sim_disk *sim, unsigned kinds)
{
    sim->fail_kinds = kinds;
}

void sim_disk_limit_bytes(struct sim_disk *sim, uint64_t bytes)
{
    sim->capacity_bytes = bytes;
}

/* ---- what becomes of one I/O ----------------------------------------------------------------------- */

bool sim_disk_draw(struct sim_disk *sim, enum sim_disk_fault fault)
{
    uint32_t ppm = sim->faults.ppm[fault];
    return ppm > 0 && sim_random_below(&sim->fault_random, PPM) < ppm;
}

static enum status counted_failure(struct sim_disk *sim, enum disk_io_kind kind)
{
    if (sim->fail_countdown == 0 || (sim->fail_kinds & (1u << kind)) == 0) {
        return STATUS_OK;
    }
    if (sim->fail_countdown > 1) {
        sim->fail_countdown--;
        return STATUS_OK;
    }
    return sim->fail_status;
}

static enum status drawn_failure(struct sim_disk *sim, enum disk_io_kind kind)
{
    switch (kind) {
    case DISK_READ:
        return sim_disk_draw(sim, SIM_DISK_READ_ERROR) ? STATUS_IO : STATUS_OK;
    case DISK_WRITE:
        return sim_disk_draw(sim, SIM_DISK_WRITE_ERROR) ? STATUS_IO : STATUS_OK;
    case DISK_FLUSH:
        return sim_disk_draw(sim, SIM_DISK_FLUSH_ERROR) ? STATUS_IO : STATUS_OK;
    case DISK_ALLOCATE:
        return sim_disk_draw(sim, SIM_DISK_FULL) ? STATUS_FULL : STATUS_OK;
    }
    UNREACHABLE();
}

static enum sim_disk_fault drawn_lie(struct sim_disk *sim, const struct sim_request *request)
{
    if (request->kind == DISK_WRITE && sim_disk_draw(sim, SIM_DISK_LOST_WRITE)) {
        return SIM_DISK_LOST_WRITE;
    }
    if (request->kind == DISK_WRITE && sim_disk_draw(sim, SIM_DISK_MISDIRECTED)) {
        return SIM_DISK_MISDIRECTED;
    }
    bool flushes = request->kind == DISK_FLUSH || (request->kind == DISK_WRITE && (request->flags & DISK_DURABLE) != 0);
    return flushes && sim_disk_draw(sim, SIM_DISK_LOST_FLUSH) ? SIM_DISK_LOST_FLUSH : SIM_DISK_NO_LIE;
}

void sim_disk_decide(struct sim_disk *sim, struct sim_request *request)
{
    request->outcome = counted_failure(sim, request->kind);
    request->lie = SIM_DISK_NO_LIE;
    request->parts = 1;
    if (request->outcome == STATUS_OK) {
        request->outcome = drawn_failure(sim, request->kind);
    }
    if (request->outcome == STATUS_OK) {
        request->lie = drawn_lie(sim, request);
    }
    bool is_transfer = request->kind == DISK_READ || request->kind == DISK_WRITE;
    bool is_plain = request->outcome == STATUS_OK && request->lie == SIM_DISK_NO_LIE;
    if (is_transfer && is_plain && request->bytes > BLOCK_BYTES && sim_disk_draw(sim, SIM_DISK_SHORT)) {
        request->parts = (unsigned)sim_random_between(&sim->fault_random, 2, SIM_DISK_PARTS_MAX);
        sim->fault_counts[SIM_DISK_SHORT]++;
    }
    request->is_stuck = sim_disk_draw(sim, SIM_DISK_STUCK);
    sim->fault_counts[SIM_DISK_STUCK] += request->is_stuck ? 1 : 0;
}

uint64_t sim_disk_delay_ns(struct sim_disk *sim, uint64_t latency_ns)
{
    latency_ns *= sim->slow_factor;
    if (sim_disk_draw(sim, SIM_DISK_SLOW)) {
        static const uint64_t factors[] = {10, 100, 1000};
        size_t decade = (size_t)sim_random_below(&sim->fault_random, 2);
        latency_ns *= sim_random_between(&sim->fault_random, factors[decade], factors[decade + 1]);
        sim->fault_counts[SIM_DISK_SLOW]++;
    }
    return latency_ns;
}

bool sim_disk_misdirect(struct sim_disk *sim, const struct sim_request *request, struct sim_file **file,
                        uint64_t *offset)
{
    uint64_t candidates = 0;
    LIST_EACH (&sim->files, link) {
        candidates += LIST_ENTRY(link, struct sim_file, link)->bytes >= request->bytes ? 1 : 0;
    }
    for (unsigned attempt = 0; candidates > 0 && attempt < 16; attempt++) {
        uint64_t chosen = sim_random_below(&sim->fault_random, candidates);
        LIST_EACH (&sim->files, link) {
            struct sim_file *candidate = LIST_ENTRY(link, struct sim_file, link);
            if (candidate->bytes < request->bytes || chosen-- > 0) {
                continue;
            }
            uint64_t room = (candidate->bytes - request->bytes) / BLOCK_BYTES;
            uint64_t place = sim_random_below(&sim->fault_random, room + 1) * BLOCK_BYTES;
            bool overlaps = place < request->offset + request->bytes && request->offset < place + request->bytes;
            if (candidate != request->handle->file || !overlaps) {
                *file = candidate;
                *offset = place;
                return true;
            }
            break;
        }
    }
    return false;
}

/* ---- what goes bad at rest -------------------------------------------------------------------------- */

/* What rests on the medium: not zero, and with nothing newer on its way over it. */
static bool place_is_at_rest(const struct sim_place *place)
{
    return place->sequence == 0 && place->image[SIM_DISK_DURABLE] != NULL;
}

static uint64_t file_count_at_rest(const struct sim_file *file)
{
    uint64_t count = 0;
    for (uint64_t index = 0; index < file->bytes / BLOCK_BYTES; index++) {
        count += place_is_at_rest(&file->places[index]) ? 1 : 0;
    }
    return count;
}

/* Choose one place of those of all files. */
static bool choose_at_rest(struct sim_disk *sim, struct sim_file **file, uint64_t *index)
{
    uint64_t count = 0;
    LIST_EACH (&sim->files, link) {
        count += file_count_at_rest(LIST_ENTRY(link, struct sim_file, link));
    }
    if (count == 0) {
        return false;
    }
    uint64_t chosen = sim_random_below(&sim->fault_random, count);
    LIST_EACH (&sim->files, link) {
        *file = LIST_ENTRY(link, struct sim_file, link);
        for (*index = 0; *index < (*file)->bytes / BLOCK_BYTES; ++*index) {
            if (place_is_at_rest(&(*file)->places[*index]) && chosen-- == 0) {
                return true;
            }
        }
    }
    UNREACHABLE();
}

/* One of the sectors of a block that are not zero. */
static unsigned choose_sector(struct sim_disk *sim, const uint8_t *bytes)
{
    static const uint8_t zeros[SECTOR];
    for (;;) {
        unsigned sector = (unsigned)sim_random_below(&sim->fault_random, SIM_BLOCK_SECTORS);
        if (memcmp(bytes + sector * SECTOR, zeros, SECTOR) != 0) {
            return sector;
        }
    }
}

bool sim_disk_rot(struct sim_disk *sim, enum sim_disk_fault fault)
{
    struct sim_file *file;
    uint64_t index;
    if (!choose_at_rest(sim, &file, &index)) {
        return false;
    }
    uint8_t content[BLOCK_BYTES];
    memcpy(content, sim_block_bytes(file->places[index].image[SIM_DISK_DURABLE]), BLOCK_BYTES);
    unsigned sector = choose_sector(sim, content);
    sim->fault_counts[fault]++;
    if (fault == SIM_DISK_LATENT) {
        struct sim_mark *mark = sim_file_mark(file, index);
        mark->flaws[SIM_DISK_DURABLE].unreadable |= (uint8_t)(1u << sector);
        mark->flaws[SIM_DISK_CACHE].unreadable |= (uint8_t)(1u << sector);
        return true;
    }
    if (fault == SIM_DISK_ROT_BIT) {
        uint64_t bit = sim_random_below(&sim->fault_random, SECTOR * 8);
        content[sector * SECTOR + bit / 8] ^= (uint8_t)(1u << bit % 8);
    } else if (fault == SIM_DISK_ROT_SECTOR) {
        sim_random_bytes(&sim->fault_random, content + sector * SECTOR, SECTOR);
    } else {
        CHECK(fault == SIM_DISK_ROT_BLOCK);
        sim_random_bytes(&sim->fault_random, content, BLOCK_BYTES);
    }
    sim_file_set(file, index, sim_block_of(file->blocks, content));
    sim_file_mark_stray(file, index);
    return true;
}

void sim_disk_age(struct sim_disk *sim)
{
    static const enum sim_disk_fault kinds[] = {SIM_DISK_LATENT, SIM_DISK_ROT_BIT, SIM_DISK_ROT_SECTOR,
                                                SIM_DISK_ROT_BLOCK};
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (sim_disk_draw(sim, kinds[i])) {
            (void)sim_disk_rot(sim, kinds[i]);
        }
    }
}

void sim_disk_corrupt(struct sim_disk *sim, const char *name, uint64_t offset, uint8_t xor_byte)
{
    struct sim_file *file = sim_disk_file_find(sim, name);
    CHECK(file != NULL && offset < file->bytes);
    uint64_t index = offset / BLOCK_BYTES;
    uint64_t sequence = file->places[index].sequence;
    uint8_t durable[BLOCK_BYTES];
    uint8_t cache[BLOCK_BYTES];
    sim_file_copy(file, SIM_DISK_DURABLE, index * BLOCK_BYTES, durable, BLOCK_BYTES);
    sim_file_copy(file, SIM_DISK_CACHE, index * BLOCK_BYTES, cache, BLOCK_BYTES);
    durable[offset % BLOCK_BYTES] ^= xor_byte;
    cache[offset % BLOCK_BYTES] ^= xor_byte;
    sim_file_set(file, index, sim_block_of(file->blocks, durable));
    if (sequence != 0) { /* Still dirty, as it was. */
        struct sim_block *block = sim_block_of(file->blocks, cache);
        sim_file_put(file, index, block, sequence);
        sim_block_release(file->blocks, block);
    }
    sim_file_mark_stray(file, index);
}

/* ---- healing --------------------------------------------------------------------------------------- */

static void request_hurry(struct sim_disk *sim, struct sim_request *request)
{
    list_remove(&request->link);
    request->is_stuck = false;
    request->due_ns = loop_now_ns(sim->loop) + sim_random_between(&sim->fault_random, HEALED_MIN_NS, HEALED_MAX_NS);
    sim_disk_schedule(sim, request);
}

void sim_disk_heal(struct sim_disk *sim)
{
    sim->faults = (struct sim_disk_faults){0};
    sim->slow_factor = 1;
    sim->capacity_bytes = SIM_DISK_CAPACITY_BYTES;
    sim->fail_countdown = 0;
    sim->fail_kinds = ~0u;
    while (!list_is_empty(&sim->stuck)) {
        request_hurry(sim, LIST_ENTRY(list_first(&sim->stuck), struct sim_request, link));
    }
    /* The latest is the last: those that are too late go to the front, one by one. */
    while (!list_is_empty(&sim->requests)) {
        struct sim_request *last = LIST_ENTRY(sim->requests.head.previous, struct sim_request, link);
        if (last->due_ns <= loop_now_ns(sim->loop) + PATIENCE_NS) {
            break;
        }
        request_hurry(sim, last);
    }
}
