/* placement.c - greedy choice of triples: the poorest disk first, then the poorest partners it may have. */
#include "meta/placement.h"

#define FIRST_SHARE 12 /* a new disk gets at least a twelfth of pgs_per_disk */
#define NO_DISK     UINT32_MAX

void placement_init(struct placement *placement, uint32_t pgs_per_disk, uint32_t scatter_width)
{
    CHECK(pgs_per_disk >= 1);
    CHECK(scatter_width >= REPLICAS - 1);
    memset(placement, 0, sizeof(*placement));
    placement->pgs_per_disk = pgs_per_disk;
    placement->scatter_width = scatter_width;
}

bool placement_add_disk(struct placement *placement, uint32_t disk_id, uint32_t domain)
{
    if (placement->disk_count == PLACEMENT_DISKS_MAX) {
        return false;
    }
    placement->disks[placement->disk_count++] = (struct placement_disk){.id = disk_id, .domain = domain};
    return true;
}

static uint32_t disk_index(const struct placement *placement, uint32_t disk_id)
{
    uint32_t low = 0;
    uint32_t high = placement->disk_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (placement->disks[middle].id < disk_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < placement->disk_count && placement->disks[low].id == disk_id ? low : NO_DISK;
}

static bool is_linked(const struct placement *placement, uint32_t a, uint32_t b)
{
    return (placement->linked[a][b / 8] >> (b % 8) & 1) != 0;
}

static void link_disks(struct placement *placement, uint32_t a, uint32_t b)
{
    if (a == b || is_linked(placement, a, b)) {
        return;
    }
    placement->linked[a][b / 8] |= (uint8_t)(1u << (b % 8));
    placement->linked[b][a / 8] |= (uint8_t)(1u << (a % 8));
    placement->disks[a].partners++;
    placement->disks[b].partners++;
}

static void count_pg(struct placement *placement, const uint32_t triple[REPLICAS])
{
    for (unsigned i = 0; i < REPLICAS; i++) {
        placement->disks[triple[i]].pgs++;
        link_disks(placement, triple[i], triple[(i + 1) % REPLICAS]);
    }
    placement->pg_count++;
}

bool placement_add_pg(struct placement *placement, const uint32_t members[REPLICAS])
{
    uint32_t triple[REPLICAS];
    if (placement->pg_count == PLACEMENT_PGS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < REPLICAS; i++) {
        triple[i] = disk_index(placement, members[i]);
        if (triple[i] == NO_DISK) {
            return false;
        }
    }
    count_pg(placement, triple);
    return true;
}

bool placement_pg_is_spread(const struct placement *placement, const uint32_t members[REPLICAS])
{
    uint32_t domains[REPLICAS];
    for (unsigned i = 0; i < REPLICAS; i++) {
        uint32_t index = disk_index(placement, members[i]);
        if (index == NO_DISK) {
            return false;
        }
        domains[i] = placement->disks[index].domain;
    }
    return domains[0] != domains[1] && domains[1] != domains[2] && domains[0] != domains[2];
}

/* ---- choosing ---------------------------------------------------------------------------------- */

void placement_set_joining(struct placement *placement, uint32_t disk_id)
{
    uint32_t index = disk_index(placement, disk_id);
    CHECK(index != NO_DISK);
    placement->disks[index].joining = true;
}

void placement_set_closed(struct placement *placement, uint32_t disk_id)
{
    uint32_t index = disk_index(placement, disk_id);
    CHECK(index != NO_DISK);
    placement->disks[index].closed = true;
}

static bool is_short(const struct placement *placement, const struct placement_disk *disk)
{
    uint32_t least = (placement->pgs_per_disk + FIRST_SHARE - 1) / FIRST_SHARE;
    bool below_average = (uint64_t)disk->pgs * placement->disk_count < (uint64_t)placement->pg_count * REPLICAS;
    return !disk->closed &&
           (disk->pgs < least || (disk->joining && below_average && disk->pgs < placement->pgs_per_disk));
}

/* Of the disks that are short of PGs the one with the fewest, or NO_DISK. */
static uint32_t poorest_disk(const struct placement *placement)
{
    uint32_t poorest = NO_DISK;
    for (uint32_t i = 0; i < placement->disk_count; i++) {
        const struct placement_disk *disk = &placement->disks[i];
        if (is_short(placement, disk) && (poorest == NO_DISK || disk->pgs < placement->disks[poorest].pgs)) {
            poorest = i;
        }
    }
    return poorest;
}

/* A disk that looks for partners takes those it has, and new ones while it is below the scatter width. */
static bool link_is_fair(const struct placement *placement, uint32_t poor, uint32_t partner)
{
    return is_linked(placement, poor, partner) || placement->disks[poor].partners < placement->scatter_width;
}

/* Its two partners become partners of each other too: welcome when they are, or when both are below the width. */
static bool link_is_cheap(const struct placement *placement, uint32_t a, uint32_t b)
{
    return is_linked(placement, a, b) || (placement->disks[a].partners < placement->scatter_width &&
                                          placement->disks[b].partners < placement->scatter_width);
}

/* How willingly `partner` joins `poor` (and `other`, when there is one): 0 is best, 2 is the last resort. */
static unsigned reluctance(const struct placement *placement, uint32_t poor, uint32_t other, uint32_t partner)
{
    if (!link_is_fair(placement, poor, partner)) {
        return 2;
    }
    return other == NO_DISK || link_is_cheap(placement, other, partner) ? 0 : 1;
}

/* The best partner for `poor` outside its domain and that of `other` (NO_DISK: none yet). */
static uint32_t best_partner(const struct placement *placement, uint32_t poor, uint32_t other)
{
    uint32_t best = NO_DISK;
    unsigned best_reluctance = 0;
    for (uint32_t i = 0; i < placement->disk_count; i++) {
        const struct placement_disk *disk = &placement->disks[i];
        if (disk->closed || disk->domain == placement->disks[poor].domain ||
            (other != NO_DISK && disk->domain == placement->disks[other].domain)) {
            continue;
        }
        unsigned mine = reluctance(placement, poor, other, i);
        if (best == NO_DISK || mine < best_reluctance ||
            (mine == best_reluctance && disk->pgs < placement->disks[best].pgs)) {
            best = i;
            best_reluctance = mine;
        }
    }
    return best;
}

bool placement_next(struct placement *placement, uint32_t members[REPLICAS])
{
    if (placement->pg_count == PLACEMENT_PGS_MAX) {
        return false;
    }
    uint32_t poor = poorest_disk(placement);
    if (poor == NO_DISK) {
        return false;
    }
    uint32_t first = best_partner(placement, poor, NO_DISK);
    uint32_t second = first == NO_DISK ? NO_DISK : best_partner(placement, poor, first);
    if (second == NO_DISK) {
        return false;
    }
    /* The order of the members turns from PG to PG, so that no disk is always first. */
    const uint32_t triple[REPLICAS] = {poor, first, second};
    for (unsigned i = 0; i < REPLICAS; i++) {
        members[i] = placement->disks[triple[(i + placement->pg_count) % REPLICAS]].id;
    }
    count_pg(placement, triple);
    return true;
}

/* ---- taking a member's place -------------------------------------------------------------------- */

uint32_t placement_choose_target(const struct placement_candidate *candidates, size_t count,
                                 const uint32_t kept_domains[REPLICAS - 1], uint64_t bytes)
{
    const struct placement_candidate *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct placement_candidate *candidate = &candidates[i];
        bool shares_domain = false;
        for (unsigned k = 0; k < REPLICAS - 1; k++) {
            shares_domain = shares_domain || candidate->domain == kept_domains[k];
        }
        if (shares_domain || candidate->free_bytes < bytes) {
            continue;
        }
        if (best == NULL || candidate->free_bytes > best->free_bytes ||
            (candidate->free_bytes == best->free_bytes && candidate->pgs < best->pgs)) {
            best = candidate;
        }
    }
    return best != NULL ? best->disk_id : 0;
}
