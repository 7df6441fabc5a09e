/* sim_options.h - everything a simulated run depends on, drawn from one seed: printed with a failure, and enough to repeat it.
 *
 * The options of a seed are "expanded": each is a number that a person can read and override. Overriding one does not
 * shift the others; the schedule of faults follows from the seed, `nodes`, `active_ms` and `fault_interval_ms` alone. So a
 * failure can be made smaller by taking faults away. */
#ifndef TRILITH_TESTS_SIM_OPTIONS_H
#define TRILITH_TESTS_SIM_OPTIONS_H

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#include <stdio.h>

#define SIM_NODES_MAX      8u
#define SIM_NODE_DISKS_MAX 2u
#define SIM_CLIENTS_MAX    8u
#define SIM_KEYS_MAX       64u

/* What the run is to find out. Both modes check everything that can be checked in them. */
enum sim_mode {
    SIM_SAFETY,  /* lossy faults only where the atlas allows: nothing acknowledged may be lost */
    SIM_ERASURE, /* lossy faults anywhere (but no lies about flushes): data may be lost, nothing erased may stay */
};

struct sim_options {
    uint64_t seed;
    enum sim_mode mode;
    uint32_t nodes;      /* 5..7, each a failure domain */
    uint32_t node_disks; /* of each node, 1..2 */
    uint32_t clients;    /* 2..6 */
    uint32_t keys;       /* that they write to, 4..32 */
    uint32_t buckets;    /* 1..2 */
    uint64_t active_ms;  /* simulated time with load and faults */
    uint32_t settle_ms;  /* promise L1: after the faults have ended all is well within this time */

    uint32_t large_percent;       /* of the puts that have 1 to 3 chunks of 4 MiB */
    uint32_t small_bytes_max;     /* of the others: 0..this */
    uint32_t put_percent;         /* of the operations */
    uint32_t delete_percent;      /* the rest reads: whole, ranges, heads, listings */
    uint32_t think_ms;            /* mean pause of a client between two operations */
    uint32_t client_gone_percent; /* of the puts and gets whose client goes away in the middle */
    uint32_t slow_client_percent; /* that send or read in small pieces with pauses */

    uint64_t disk_capacity_bytes;
    bool durable_writes; /* flush mode of the stores */
    uint32_t prewrite_segments;
    uint32_t group_wait_us;
    uint64_t leaf_lease_ms; /* and the other leases, short, so that they end within a run */
    uint64_t key_lease_ms;
    uint64_t node_lease_ms;
    uint64_t orphan_after_ms;
    uint64_t chunk_write_ms; /* deadlines of the nodes' calls */
    uint64_t chunk_read_ms;
    uint64_t meta_call_ms;
    uint64_t patience_ms;   /* of a client: every operation must have ended by then */
    uint64_t epoch_ms;      /* of the vault */
    uint64_t grace_ms;      /* of the last bucket: how long its deletions can be taken back; 0: not at all */
    uint64_t dek_retire_ms; /* how long a write may go on under a DEK that was rotated out */

    struct sim_disk_faults disk_faults; /* of nodes' disks; lossy ones only on disks of the atlas in SIM_SAFETY */
    uint32_t lossy_nodes;               /* bit per node: where the atlas lets lossy faults hit; at most two of them */
    uint32_t buggify_percent;           /* of the points that are active in this run; they fire with the same chance */
    uint64_t buggify_off;               /* bit per enum buggify_point: never */
    uint32_t fault_interval_ms;         /* mean time between two events of the nemesis */
    uint64_t acts_off;                  /* bit per enum nemesis_act: its events are left out */
};

/* Draw all from the seed. */
void sim_options_draw(struct sim_options *options, uint64_t seed);

/* "name=value", as sim_options_print() writes them. False: no such option, no number, or out of its range. */
bool sim_options_set(struct sim_options *options, const char *assignment);

/* All options, one "name=value" each, separated by blanks; those equal to `drawn` are left out unless it is NULL. */
void sim_options_print(const struct sim_options *options, const struct sim_options *drawn, FILE *out);

#endif
