/* epoch_private.h - the insides of the epoch machine, for the files epoch*.c alone.
 *
 *   epoch.c           what the journal says, and this server's part: its slot, its share, its table
 *   epoch_attempt.c   the leader's part: a close from drawing the root to the claim that the old one is gone */
#ifndef TRILITH_META_VAULT_EPOCH_PRIVATE_H
#define TRILITH_META_VAULT_EPOCH_PRIVATE_H

#include "meta/vault/epoch.h"

#include <string.h>

enum standing {
    STANDING_NEW,
    STANDING_UNSETTLED,  /* the slot must be read, against the epoch that holds now */
    STANDING_COLLECTING, /* shares are wanted */
    STANDING_FETCHING,   /* the table is missing or damaged: others have it */
    STANDING_READY,      /* the table is loaded; or there is none yet (epoch 0) */
};

/* The action of the vault that is under way. */
enum vault_call { CALL_NONE, CALL_SETTLE, CALL_LOAD, CALL_PREPARE, CALL_DESTROY };

enum attempt_stage { ATTEMPT_NONE, ATTEMPT_SEALING, ATTEMPT_PREPARING, ATTEMPT_SWITCHING };

/* A close as its leader sees it. */
struct attempt {
    enum attempt_stage stage;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    struct key root;
    struct shamir_share shares[EPOCH_SERVERS_MAX];
    uint64_t prepared; /* bit i: server i says so */
    uint64_t leaves_erased[EPOCH_SERVERS_MAX];
    uint64_t sealed_ns;
    uint64_t enough_ns; /* when the t-th was prepared; 0: not yet */
    uint64_t submit_ns; /* not before */
    bool submitted;
    uint32_t refusals;
};

/* A next epoch that this server has prepared, or is preparing. */
struct preparation {
    bool is_set;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    struct shamir_share share;
    uint64_t leaves_erased;
    uint32_t reply_to;
};

struct epoch_machine {
    uint32_t self;
    uint32_t servers;
    uint32_t threshold;
    uint32_t attempts_failed; /* in a row, as leader */
    uint64_t now_ns;

    /* What the journal says. */
    struct vault_epoch current;
    struct vault_epoch sealed; /* epoch 0: no close is under way */
    uint64_t erasing;          /* 0: none */
    uint64_t switch_leaves_erased;

    /* This server. */
    enum standing standing;
    enum vault_call call;
    uint64_t to_destroy; /* epoch; 0: none */
    uint64_t destroying;
    uint64_t prepare_retry_ns;
    uint64_t collected; /* bit i: server i has sent its share */
    struct preparation preparing;
    struct preparation prepared;
    struct shamir_share share; /* of the current epoch, when has_share */
    struct shamir_share collected_shares[EPOCH_SERVERS_MAX];

    /* The leader. */
    struct attempt attempt;
    uint64_t close_ns;         /* no close of its own accord before */
    uint64_t destroyed;        /* bit i: server i has destroyed its share of `erasing`; noted by all */
    uint64_t erased_submit_ns; /* not before */

    bool failed;
    bool undecided;  /* the seal was applied before the start: its attempt may be switched to yet */
    bool switch_due; /* `current` has changed and the vault was not told yet */
    bool is_serving;
    bool has_share;
    bool collected_new;
    bool is_leader;
    bool erased_submitted;
};

/* ---- small questions --------------------------------------------------------------------------- */

static inline uint32_t bits_count(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

static inline uint64_t bit(uint32_t server)
{
    return UINT64_C(1) << server;
}

static inline bool commitment_equals(const uint8_t a[COMMITMENT_BYTES], const uint8_t b[COMMITMENT_BYTES])
{
    return memcmp(a, b, COMMITMENT_BYTES) == 0;
}

static inline bool names_epoch(const struct vault_epoch *epoch, uint64_t number,
                               const uint8_t commitment[COMMITMENT_BYTES])
{
    return epoch->epoch != 0 && epoch->epoch == number && commitment_equals(epoch->commitment, commitment);
}

static inline bool is_preparation_of(const struct preparation *preparation, const struct vault_epoch *epoch)
{
    return preparation->is_set && names_epoch(epoch, preparation->epoch, preparation->commitment);
}

/* ---- actions (epoch.c) ------------------------------------------------------------------------- */

struct epoch_action *action_add(struct epoch_actions *actions, enum epoch_action_kind kind);
struct epoch_message *message_add(struct epoch_actions *actions, uint32_t to, enum epoch_message_kind kind,
                                  uint64_t epoch, const uint8_t commitment[COMMITMENT_BYTES]);

/* ---- the leader (epoch_attempt.c) -------------------------------------------------------------- */

bool attempt_may_begin(const struct epoch_machine *machine);
/* Draw a root and submit its seal, when that may be. */
void attempt_begin(struct epoch_machine *machine, const struct key *random, struct epoch_actions *actions);
/* Forget it, with its root. */
void attempt_drop(struct epoch_machine *machine);
/* An EpochSeal was applied, this one's or another. */
void attempt_sealed(struct epoch_machine *machine, const struct vault_epoch *next, struct epoch_actions *actions);
/* Server `server` says that it is prepared. */
void attempt_prepared_by(struct epoch_machine *machine, uint32_t server, uint64_t leaves_erased);
/* This server could not prepare it. */
void attempt_not_prepared(struct epoch_machine *machine, enum status status, struct epoch_actions *actions);
void attempt_refused(struct epoch_machine *machine, struct epoch_actions *actions);
void attempt_ticked(struct epoch_machine *machine, struct epoch_actions *actions);
void attempt_led(struct epoch_machine *machine, bool is_leader);
/* Submit the switch, or the claim, when it is time. */
void attempt_advance(struct epoch_machine *machine, struct epoch_actions *actions);

#endif
