/* checks.h - the checkers by letter: each looks at what `check` says and calls sim_violated() when a promise is broken.
 * Their promises stand above their definitions, and in one sentence each in the table of checkers.c. */
#ifndef TRILITH_TESTS_SIM_CHECKS_H
#define TRILITH_TESTS_SIM_CHECKS_H

#include "tests/sim/checkers.h"

#define WALK_SECONDS 8u /* between two searches of a whole disk */

/* checks_durability.c */
void check_durable_when_acknowledged(const struct check *check);
void check_reads(const struct check *check);
void check_no_foreign_bytes(const struct check *check);
void check_unacknowledged(const struct check *check);
void check_lists(const struct check *check);
void check_recovery(const struct check *check);
void check_fencing(const struct check *check);

/* checks_store.c */
void check_stores_answer_right(const struct check *check);
void check_wipes_were_seen(const struct check *check);

/* checks_erasure.c */
void check_nothing_gone_is_read(const struct check *check);
void check_caught_up(const struct check *check);
void check_residue(const struct check *check);
void check_all_copies_accounted_for(const struct check *check);
void check_copies_in_their_pg(const struct check *check);
void check_overwriting(const struct check *check);
void check_wiped_stays_wiped(const struct check *check);
void check_nothing_gone_comes_back(const struct check *check);

/* checks_certificates.c */
void check_certificates(const struct check *check);
void check_ledger(const struct check *check);
void check_certificates_come(const struct check *check);
void check_certified_keys(const struct check *check);

/* checks_grace.c */
void check_grace(const struct check *check);
void check_holds(const struct check *check);

/* checks_placement.c */
void check_spread(const struct check *check);
void check_accounting(const struct check *check);
void check_images(const struct check *check);
void check_full_disks(const struct check *check);

/* checks_meta.c */
void check_journal(const struct check *check);
void check_tables(const struct check *check);
void check_leases(const struct check *check);

/* checks_keys.c */
void check_no_secrets(const struct check *check);
void check_gone_keys(const struct check *check);
void check_keys_at_rest(const struct check *check);
void check_sealed_once(const struct check *check);

/* checks_vault.c */
void check_one_epoch(const struct check *check);
void check_erased_leaves(const struct check *check);
void check_conservation(const struct check *check);
void check_erased_keys(const struct check *check);
void check_data_keys(const struct check *check);
void check_revoked(const struct check *check);
/* Is a data key waiting to be destroyed? */
bool checks_dek_is_retiring(const struct sim_cluster *cluster);

/* checks_liveness.c */
void check_operations_end(const struct check *check);
void check_everything_settles(const struct check *check);
void check_no_orphans(const struct check *check);
void check_latency(const struct check *check);
void check_nothing_leaks(const struct check *check);

/* Whether a copy stands whole on the stable storage of its disk, as its batch header says. `*why`: what is wrong. */
bool copy_is_whole(const struct check *check, const struct model_chunk *chunk, uint32_t disk, enum sim_disk_image image,
                   const char **why);
/* The same for the place where the store says that it lies; false when it says that it does not. */
bool located_copy_is_whole(const struct check *check, const struct model_chunk *chunk, uint32_t disk);
/* A store has every chunk of an object that was written to it, and (`look_at_bytes`) whole; `promise` is broken otherwise. */
void check_disk_has_all(const struct check *check, struct sim_node_disk *disk, bool look_at_bytes, const char *promise);
/* It was full once, or is. */
bool disk_was_full(const struct sim_node_disk *disk);
/* The hex of an id, in one of a few static buffers: for messages. */
const char *hex_of(const struct chunk_id *id);
/* Where it is, for messages: "node3/disk1". */
const char *disk_name(const struct check *check, uint32_t disk);

#endif
