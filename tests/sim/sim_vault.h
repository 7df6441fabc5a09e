/* sim_vault.h - what the vault of the simulated metadata service stands on, and the KMS that it asks.
 *
 * Two disks (one for the page tables, one for the slot: in production a device of its own) and a table for covers. They
 * live as long as the machine, and suffer what its journal's disk does: torn and lost unflushed writes, errors, slowness;
 * but no faults that lose what was flushed: there is one slot, and nothing to mend it from.
 * Between vault and slot stands a listener, so that checkers know every share that was ever given to the slot. The table of
 * covers remembers every row that it ever had, as old files would. The KMS is the file provider behind one that can be told
 * to be away, and that notes the data keys that pass it. */
#ifndef TRILITH_TESTS_SIM_VAULT_H
#define TRILITH_TESTS_SIM_VAULT_H

#include "meta/kms.h"
#include "meta/vault/vault.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_random.h"

#define SIM_VAULT_DISKS 2u
#define SIM_DEKS_KEPT   8u

/* A share that was given to the slot, and the root's commitment that came with it. With one server the share is the root. */
struct sim_share {
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    struct key share;
};

struct sim_vault {
    struct sim_disk *tables_disk;
    struct sim_disk *slot_disk;
    struct kv *covers;
    struct sim_share *shares; /* in the order in which they came */
    size_t share_count;
    size_t share_capacity;
    struct key deks[SIM_DEKS_KEPT]; /* the last ones that the KMS has seen in clear */
    uint64_t dek_count;             /* ever */
    bool kms_is_away;               /* until it is taken back: every call is answered with STATUS_KEY_AWAY */

    /* Of the process; private. */
    void (*opened)(void *user, enum status status, struct slot *slot);
    void *user;
};

void sim_vault_init(struct sim_vault *vault, struct sim_loop *world, struct sim_random *random);
/* All disks in turn, for faults: 0..SIM_VAULT_DISKS - 1. */
struct sim_disk *sim_vault_disk(struct sim_vault *vault, uint32_t number);
/* A process begins on `loop`, or has gone (`loop`: the world's). */
void sim_vault_attach(struct sim_vault *vault, struct sim_loop *loop);
/* Open the slot, making it when `create`. As slot_file_open(). */
void sim_vault_slot_open(struct sim_vault *vault, struct loop *loop, bool create,
                         void (*opened)(void *user, enum status status, struct slot *slot), void *user);
/* Make the KMS of a process. As kms_file_open(); STATUS_FULL. */
MUST_USE enum status sim_vault_kms_open(struct sim_vault *vault, struct loop *loop, struct kms **kms);

/* Power loss, of the disks and of the covers; and the end of the process alone. */
void sim_vault_crash(struct sim_vault *vault, uint64_t seed);
void sim_vault_kill(struct sim_vault *vault, uint64_t seed);

#endif
