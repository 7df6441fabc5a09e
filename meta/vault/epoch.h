/* epoch.h - the protocol by which n metadata servers close an epoch of the vault: pure, one step per event.
 *
 * The root of epoch e is shared out over n servers, t = n/2 + 1 of which can put it together: so an erasure is final when
 * n - t + 1 have destroyed their shares, and a majority must be there to start. What all must agree on goes through the
 * journal; secrets never do, they go from server to server (over mTLS) and from there only into slots.
 *
 *   leader     draws root', shares it out     ──EpochSeal{e+1, commitment}──> journal
 *   everyone   EpochSeal applied: the punctures so far are sealed
 *   leader     ──PREPARE{root', share i}──> server i
 *   server     has applied that EpochSeal: writes the next table, puts the share   ──PREPARED──> leader
 *   leader     t servers are PREPARED      ──EpochSwitch{e+1, who}──> journal
 *   everyone   EpochSwitch applied: who has prepared switches and destroys its share of e   ──DESTROYED──> leader
 *   leader     n - t + 1 have destroyed    ──EpochErased{e, who}──> journal
 *
 * A new leader knows no root': it seals again, with another. PREPARE, PREPARED and EpochSwitch carry the commitment, so that
 * attempts can't be mixed up, and a commitment is sealed once. An attempt is dead when another seal or a switch was applied,
 * and not before: until then whoever said PREPARED keeps the share, as an EpochSwitch may be on its way. So a server that
 * starts while an attempt is sealed does not touch its slot before the journal has decided; with one server nothing can be
 * on its way, and its leader seals again.
 *
 * The switch waits for servers beyond the t-th for as long as those t took: whoever misses it has no share of the epoch.
 * Such a server destroys its old share at once, too. It asks for the table and covers (FETCH: they come out of band; without
 * the root they are worthless), and for the shares of t others, as if it had just started: so it serves, and takes part in
 * the next close, which gives it a share again. Nobody keeps a root for its sake.
 *
 * To start, a server asks the others for their shares of the current epoch (SHARE_WANTED, SHARE), puts the root together,
 * and checks it against the commitment; a wrong share is left out when others suffice. With one server all of this happens
 * inside it: n = t = 1, the share is the root.
 *
 * DESTROYED goes to all and is repeated until EpochErased is applied: a new leader need not ask.
 *
 * Rules that the checkers watch: at most one epoch can be opened from what t live slots hold once an EpochErased was
 * submitted, which happens only when fewer than t shares of that epoch can exist; the epoch that the state names can always
 * be opened from t slots; no leaf that was not punctured is ever lost.
 *
 * Assumes that what a server has applied before it stopped is applied again before EPOCH_EVENT_START (the journal adapter
 * asks its leader how far that is); that a submitted command is applied at most once; and that `from` is authentic.
 *
 * The machine holds secrets (its share; while a close is under way the root and all shares): it must lie in guarded memory.
 * It does no I/O and has no clock or chance of its own: events carry them. Threads: none. */
#ifndef TRILITH_META_VAULT_EPOCH_H
#define TRILITH_META_VAULT_EPOCH_H

#include "meta/vault/vault.h"

#define EPOCH_SERVERS_MAX  7
#define EPOCH_ACTIONS_MAX  (2 * EPOCH_SERVERS_MAX + 8)
#define EPOCH_REPEAT_NS    (500 * NS_PER_MS)      /* messages and submissions without an answer are sent again */
#define EPOCH_ATTEMPT_NS   (40 * EPOCH_REPEAT_NS) /* then a close is begun anew; longer each time in a row */
#define EPOCH_REFUSALS_MAX 8u                     /* of one EpochSwitch: then its attempt is given up */

/* What servers say to each other. */
enum epoch_message_kind {
    EPOCH_PREPARE = 1,  /* leader -> server: secret */
    EPOCH_PREPARED,     /* server -> leader */
    EPOCH_DESTROYED,    /* server -> leader */
    EPOCH_SHARE_WANTED, /* starting server -> all */
    EPOCH_SHARE,        /* secret */
    EPOCH_FETCH,        /* server without the current table -> all; answered out of band with table and covers */
};

struct epoch_message {
    enum epoch_message_kind kind;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    uint64_t leaves_erased;    /* PREPARED: vault_closed.leaves_erased_total */
    struct key root;           /* PREPARE */
    struct shamir_share share; /* PREPARE, SHARE */
};

enum epoch_event_kind {
    EPOCH_EVENT_START,      /* first, once: what the state says: `current`, `sealed`, `epoch` (being erased; 0: none) */
    EPOCH_EVENT_LEADERSHIP, /* `is_leader` */
    EPOCH_EVENT_CLOSE,      /* close the epoch; `random` is fresh. Ignored while one is being closed, or not leader */
    EPOCH_EVENT_SEALED,     /* EpochSeal was applied: `current` is the epoch being prepared */
    EPOCH_EVENT_SWITCHED,   /* EpochSwitch was applied: `current`, `leaves_erased` as it said */
    EPOCH_EVENT_ERASED,     /* EpochErased was applied: `epoch` */
    EPOCH_EVENT_REFUSED,    /* a command that was submitted here was applied and refused, or could not be submitted */
    EPOCH_EVENT_VAULT,   /* the vault action that was asked for has ended: `status`; settle: has_share, share; prepare:
                               leaves_erased */
    EPOCH_EVENT_MESSAGE, /* `from`, `message` */
    EPOCH_EVENT_FETCHED, /* table and covers of the current epoch were brought here */
    EPOCH_EVENT_TICK,    /* every EPOCH_REPEAT_NS while epoch_is_busy() */
};

struct epoch_event {
    enum epoch_event_kind kind;
    uint64_t now_ns; /* in all */
    struct vault_epoch current;
    uint64_t sealed; /* the epoch being prepared, 0: none */
    uint64_t epoch;
    bool is_leader;
    bool has_share;
    struct shamir_share share;
    enum status status;
    uint64_t leaves_erased; /* vault_closed.leaves_erased_total */
    uint32_t from;
    const struct epoch_message *message;
    const struct key *random; /* EPOCH_SERVERS_MAX keys */
};

enum epoch_action_kind {
    EPOCH_SUBMIT_SEAL,   /* epoch, commitment */
    EPOCH_SUBMIT_SWITCH, /* epoch, commitment, who, leaves_erased */
    EPOCH_SUBMIT_ERASED, /* epoch, who */
    EPOCH_SEND,          /* to, message */
    EPOCH_VAULT_SEAL,    /* vault_seal(): at once */
    EPOCH_VAULT_SWITCH,  /* vault_switch(): at once */
    EPOCH_VAULT_SETTLE,  /* vault_settle(): target is the current epoch; again when a switch was missed */
    EPOCH_VAULT_LOAD,    /* vault_load(): target, root */
    EPOCH_VAULT_PREPARE, /* vault_prepare(): target, root, share */
    EPOCH_VAULT_DESTROY, /* vault_destroy(): epoch */
    EPOCH_SERVE,         /* the vault is open: leaves can be said. Once */
    EPOCH_GIVEN_UP, /* status: a close could not be finished; the current epoch goes on, and it will be tried again */
    EPOCH_FAIL,     /* status: this server can't go on; the machine does nothing any more */
};

struct epoch_action {
    enum epoch_action_kind kind;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    struct vault_epoch target;
    uint64_t who; /* bit i: server i */
    uint64_t leaves_erased;
    uint32_t to;
    struct epoch_message message;
    struct key root;
    struct shamir_share share;
    enum status status;
};

struct epoch_actions {
    uint32_t count;
    struct epoch_action actions[EPOCH_ACTIONS_MAX];
};

struct epoch_machine; /* opaque: epoch.c */

size_t epoch_machine_bytes(void);
/* Server `self` (from 0) of `servers`, in `memory` of epoch_machine_bytes() bytes, which stays the caller's. */
struct epoch_machine *epoch_machine_init(void *memory, uint32_t self, uint32_t servers);
/* One step. `actions` is filled anew; it holds secrets: guarded memory, wiped by the caller when carried out. They are
 * carried out in their order. At most one of settle, load, prepare and destroy is under way at a time; each ends with one
 * EPOCH_EVENT_VAULT. */
void epoch_step(struct epoch_machine *machine, const struct epoch_event *event, struct epoch_actions *actions);
/* Is a close under way, or something of the last one, or of the start, left to do? */
bool epoch_is_busy(const struct epoch_machine *machine);
/* Is this a leader that must begin a close although nobody asked: the first epoch, or an attempt that nobody leads any more?
 * Then EPOCH_EVENT_CLOSE should follow. Asked after each step. */
bool epoch_wants_close(const struct epoch_machine *machine);
/* Does this server wait for a table (EPOCH_FETCH)? Only then may one, with its covers, be put in the place of its own. */
bool epoch_wants_table(const struct epoch_machine *machine);
/* May EPOCH_EVENT_CLOSE begin one now? Not while one is under way, nor just after one that failed. */
bool epoch_can_close(const struct epoch_machine *machine, uint64_t now_ns);

#endif
