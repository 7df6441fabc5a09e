/* keeper.h - the vault at work in one metadata server: carries out what the epoch protocol says, and serves leaves.
 *
 *   state applied a command ──> keeper ──> epoch_step() ──> vault, journal, other servers
 *                                 ^                            │
 *                                 └───── done, messages <──────┘
 *
 * Owns the vault and the epoch machine. With one server (all there is in production now) it is leader as soon as it
 * runs and never sends anything.
 *
 * Opening    keeper_open(); in the same turn keeper_puncture() all that the state says is punctured and may stand in the
 *            current table (leaves_each_dirty()); keeper_lead(). Then the keeper opens the vault, or begins the first epoch,
 *            and when a close was under way it is begun anew.
 * Closing    An epoch is closed when somebody waits for it, and every `epoch_ns` when something was punctured. A close that
 *            fails is logged (epoch_close_failed), ends the waits, and is tried again.
 * Late       One of several servers that missed a switch answers STATUS_UNAVAILABLE for leaves until it has caught up.
 * Threads Loop thread only. `submit` and `send` run inside the calls below (not in keeper_open()), and call nothing
 * here;
 *            `serving`, `failed` and the waits' `closed` run from the loop, and may call anything. */
#ifndef TRILITH_META_VAULT_KEEPER_H
#define TRILITH_META_VAULT_KEEPER_H

#include "meta/vault/epoch.h"
#include "proto/command.pb-c.h"

struct keeper;

/* What the keeper needs of its surroundings. */
struct keeper_user {
    /* Put a command, which lasts as long as the call, into the journal; false: it could not be, now. Else its fate is
     * told, later, by keeper_applied() or keeper_refused(). */
    bool (*submit)(void *user, Trilith__Command *command);
    /* To another server; may be lost. NULL with one server. The message is secret. */
    void (*send)(void *user, uint32_t to, const struct epoch_message *message);
    /* The vault is open: leaves can be said. Once. */
    void (*serving)(void *user);
    /* The vault can't go on; keeper_message() says why. Once. */
    void (*failed)(void *user, enum status status);
    void *user;
};

struct keeper_options {
    struct vault_parts parts;
    uint8_t vault_uuid[VAULT_UUID_BYTES];
    uint32_t self;
    uint32_t servers;
    uint64_t epoch_ns; /* an epoch is closed by itself after so long when there is something to destroy; 0: never */
};

/* What was done last, for status and figures. */
struct keeper_figures {
    uint64_t closes;
    uint64_t duration_ns; /* of the last close, from seal to destroyed */
    struct vault_closed closed;
};

/* `state` is the cluster's record as the state has it after replay; `serving` or `failed` follows. NULL: no memory. */
MUST_USE struct keeper *keeper_open(const struct keeper_options *options, const Trilith__ClusterRecord *state,
                                    const struct keeper_user *user);
/* Stop, at any time: `closed` runs, from the loop, when nothing is under way any more; the keeper is gone then. A close
 * under way is left as a crash would leave it: the next start settles it. */
void keeper_close(struct keeper *keeper, void (*closed)(void *user), void *user);

/* Free everything as a crash would, when loop and devices are gone: nothing of them is touched. For tests. */
void keeper_abandon(struct keeper *keeper);

/* Leadership came or went. With one server, told once after opening. */
void keeper_lead(struct keeper *keeper, bool is_leader);
/* An EpochSeal, EpochSwitch or EpochErased was applied and not refused; `state` is the record after it. In the order of
 * the journal, between the punctures that came before and after. Not for commands replayed before keeper_open(). */
void keeper_applied(struct keeper *keeper, const Trilith__Command *command, const Trilith__ClusterRecord *state);
/* A command that this keeper submitted was applied and refused, or lost. */
void keeper_refused(struct keeper *keeper);
void keeper_message_came(struct keeper *keeper, uint32_t from, const struct epoch_message *message);
/* Does this server wait for a table? Only then may one, with its covers, be put in the place of its own. */
bool keeper_wants_table(const struct keeper *keeper);
/* Table and covers of the current epoch were brought here, from a server that was sent EPOCH_FETCH and has them. */
void keeper_fetched(struct keeper *keeper);

/* As vault.h. */
MUST_USE enum status keeper_derive(struct keeper *keeper, uint32_t page, uint32_t slot, struct key *leaf);
MUST_USE enum status keeper_puncture(struct keeper *keeper, uint32_t page, const struct ggm_bitmap *leaves);

/* The epoch is to be closed in its time although nothing may have been punctured in it: an erasure of chunks that no
 * object has is settled by a close too. */
void keeper_note_unsealed(struct keeper *keeper);

/* Close the epoch now. `closed` runs, from the loop, with STATUS_OK and the number of the epoch whose destroyed root
 * takes along all that was punctured before this call: the current one, or, when that one is sealed already, the next,
 * whose close follows at once. All who wait for the same close share it. STATUS_UNAVAILABLE: not serving, not leader,
 * or stopped meanwhile; STATUS_FULL, STATUS_IO, STATUS_CORRUPT: why the next epoch could not be written
 * (keeper_message());
 * STATUS_CONFLICT: the journal does not take it: the sums of leaves don't agree. */
struct keeper_wait {
    void (*closed)(struct keeper_wait *wait, enum status status, uint64_t epoch);
    uint64_t epoch; /* private; zero-initialise */
    enum status status;
    struct list_link link;
};
void keeper_close_epoch(struct keeper *keeper, struct keeper_wait *wait);

bool keeper_is_closing(const struct keeper *keeper);
const struct keeper_figures *keeper_figures(const struct keeper *keeper);
/* For people: why it failed. */
const char *keeper_message(const struct keeper *keeper);
size_t keeper_memory(const struct keeper *keeper);

#endif
