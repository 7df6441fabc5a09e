/* placement.h - which three disks form a placement group. Pure.
 *
 * PGs are added when disks join and are never taken away. A disk that is short of PGs gets new ones with two partners
 * from two other failure domains. Two aims, one bound:
 * - Balance. Every disk has at least a twelfth of `pgs_per_disk`. A disk that joins goes on until it has as many PGs as
 *   the disks have on average (each new PG adds to the partners, too), or `pgs_per_disk`. So three disks share 8 PGs of
 *   96, four have 24 each, five 48; from about seven on a newcomer begins with 96 and the average grows slowly beyond
 *   it. Partners are those with the fewest PGs.
 * - Few distinct triples ("copysets", Cidon et al., USENIX ATC 2013). Losing the three disks of a triple loses data;
 *   with few distinct triples, few choices of three failing disks do. A disk that looks for partners takes them from at
 *   most `scatter_width` other disks. It is also chosen by disks that join later, so it ends up with more: with width 4
 *   and 200 disks in as many domains about two distinct triples per disk, and at most 12 partners. Where failure
 *   domains fill up one after the other, the first disk of the third one becomes a partner of all before it.
 * - Bound. At most PLACEMENT_PGS_MAX PGs, so that the map fits into one message.
 *
 * Everything follows from the disks, the PGs and the two settings: no chance, no clock. */
#ifndef TRILITH_META_PLACEMENT_H
#define TRILITH_META_PLACEMENT_H

#include "base/ids.h"

#define PLACEMENT_DISKS_MAX 1024u
#define PLACEMENT_PGS_MAX   32768u

struct placement_disk {
    uint32_t id;
    uint32_t domain; /* equal numbers: the same failure domain */
    uint32_t pgs;
    uint32_t partners; /* other disks it shares a PG with */
    bool joining;
    bool closed; /* it is being drained */
};

/* About 170 KiB: lives in its owner's memory, not on a stack. */
struct placement {
    uint32_t pgs_per_disk;
    uint32_t scatter_width;
    uint32_t disk_count;
    uint32_t pg_count;
    struct placement_disk disks[PLACEMENT_DISKS_MAX];
    uint8_t linked[PLACEMENT_DISKS_MAX][PLACEMENT_DISKS_MAX / 8]; /* bit: the two share a PG */
};

/* `pgs_per_disk` from 1, `scatter_width` from 2. */
void placement_init(struct placement *placement, uint32_t pgs_per_disk, uint32_t scatter_width);

/* Tell what there is: disks first (ascending ids), then PGs. False: over the maximum, or an unknown disk. */
MUST_USE bool placement_add_disk(struct placement *placement, uint32_t disk_id, uint32_t domain);
MUST_USE bool placement_add_pg(struct placement *placement, const uint32_t members[REPLICAS]);

/* This disk joins now: give it as many PGs as the others have. */
void placement_set_joining(struct placement *placement, uint32_t disk_id);

/* This disk gets no PG any more. */
void placement_set_closed(struct placement *placement, uint32_t disk_id);

/* The next PG to add (already counted), or false when every disk has enough or nothing can be done. */
bool placement_next(struct placement *placement, uint32_t members[REPLICAS]);

/* ---- taking a member's place -------------------------------------------------------------------- */

/* A disk that could become a member in the place of one that leaves. */
struct placement_candidate {
    uint32_t disk_id;
    uint32_t domain;
    uint32_t pgs;        /* it is a member or target of */
    uint64_t free_bytes; /* without what is on its way to it already */
};

/* Of `count` candidates the one with the most free space that has at least `bytes` and stands in neither of the domains
 * of the members that stay; of equal ones the one with the fewest PGs, then the first. 0: none. */
uint32_t placement_choose_target(const struct placement_candidate *candidates, size_t count,
                                 const uint32_t kept_domains[REPLICAS - 1], uint64_t bytes);

/* Whether the members of a PG stand in three failure domains. False also for an unknown disk. */
bool placement_pg_is_spread(const struct placement *placement, const uint32_t members[REPLICAS]);

#endif
