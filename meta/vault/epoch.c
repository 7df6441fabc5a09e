/* epoch.c - the steps of epoch.h.
 *
 * Events only note what is so now: what the journal says, what the vault has done, who has answered. What follows from that
 * is decided in one place, at the end of epoch_step(), after every event; so an order of events that nobody thought of can't
 * leave a step out. Messages are sent when there is something new to say, and again with each tick until they have had
 * their effect.
 *
 *   NEW ──start──> UNSETTLED ──slot read──> COLLECTING ──root, table loaded──> READY
 *                      ^                       │   ^                            │
 *                      │                       v   │ fetched                    │
 *                      │                     FETCHING                           │
 *                      └──────────────── a switch that it had not prepared ─────┘ */
#include "meta/vault/epoch_private.h"

size_t epoch_machine_bytes(void)
{
    return sizeof(struct epoch_machine);
}

struct epoch_machine *epoch_machine_init(void *memory, uint32_t self, uint32_t servers)
{
    CHECK(servers >= 1 && servers <= EPOCH_SERVERS_MAX);
    CHECK(self < servers);
    struct epoch_machine *machine = memory;
    memset(machine, 0, sizeof(*machine));
    machine->self = self;
    machine->servers = servers;
    machine->threshold = servers / 2 + 1;
    return machine;
}

/* ---- actions and small questions --------------------------------------------------------------- */

struct epoch_action *action_add(struct epoch_actions *actions, enum epoch_action_kind kind)
{
    CHECK(actions->count < EPOCH_ACTIONS_MAX);
    struct epoch_action *action = &actions->actions[actions->count++];
    memset(action, 0, sizeof(*action));
    action->kind = kind;
    return action;
}

static void machine_fail(struct epoch_machine *machine, enum status status, struct epoch_actions *actions)
{
    machine->failed = true;
    action_add(actions, EPOCH_FAIL)->status = status;
}

static void preparation_clear(struct preparation *preparation)
{
    wipe_memory(preparation, sizeof(*preparation));
}

static void collected_drop(struct epoch_machine *machine)
{
    wipe_memory(machine->collected_shares, sizeof(machine->collected_shares));
    machine->collected = 0;
    machine->collected_new = false;
}

/* ---- messages out ------------------------------------------------------------------------------ */

struct epoch_message *message_add(struct epoch_actions *actions, uint32_t to, enum epoch_message_kind kind,
                                  uint64_t epoch, const uint8_t commitment[COMMITMENT_BYTES])
{
    struct epoch_action *action = action_add(actions, EPOCH_SEND);
    action->to = to;
    action->message.kind = kind;
    action->message.epoch = epoch;
    memcpy(action->message.commitment, commitment, COMMITMENT_BYTES);
    return &action->message;
}

/* To all others: they don't carry secrets. */
static void say_to_all(const struct epoch_machine *machine, struct epoch_actions *actions, enum epoch_message_kind kind,
                       uint64_t epoch)
{
    for (uint32_t to = 0; to < machine->servers; to++) {
        if (to != machine->self) {
            message_add(actions, to, kind, epoch, machine->current.commitment);
        }
    }
}

static void say_prepared(const struct epoch_machine *machine, uint32_t to, struct epoch_actions *actions)
{
    const struct preparation *prepared = &machine->prepared;
    message_add(actions, to, EPOCH_PREPARED, prepared->epoch, prepared->commitment)->leaves_erased =
        prepared->leaves_erased;
}

/* What a server that is not ready asks the others for. */
static void say_wants(const struct epoch_machine *machine, struct epoch_actions *actions)
{
    if (machine->standing == STANDING_COLLECTING) {
        say_to_all(machine, actions, EPOCH_SHARE_WANTED, machine->current.epoch);
    } else if (machine->standing == STANDING_FETCHING) {
        say_to_all(machine, actions, EPOCH_FETCH, machine->current.epoch);
    }
}

/* ---- the vault of this server ------------------------------------------------------------------ */

static void vault_call_settle(struct epoch_machine *machine, struct epoch_actions *actions)
{
    machine->call = CALL_SETTLE;
    action_add(actions, EPOCH_VAULT_SETTLE)->target = machine->current;
}

static void vault_call_destroy(struct epoch_machine *machine, struct epoch_actions *actions)
{
    machine->call = CALL_DESTROY;
    machine->destroying = machine->to_destroy;
    action_add(actions, EPOCH_VAULT_DESTROY)->epoch = machine->to_destroy;
}

static void vault_call_load(struct epoch_machine *machine, const struct key *root, struct epoch_actions *actions)
{
    machine->call = CALL_LOAD;
    struct epoch_action *action = action_add(actions, EPOCH_VAULT_LOAD);
    action->target = machine->current;
    action->root = *root;
    collected_drop(machine);
}

/* Prepare what is sealed. An earlier attempt, if there is one, is dead: the vault abandons it first. */
static void vault_call_prepare(struct epoch_machine *machine, const struct key *root, const struct shamir_share *share,
                               uint32_t reply_to, struct epoch_actions *actions)
{
    preparation_clear(&machine->prepared);
    machine->call = CALL_PREPARE;
    machine->preparing.is_set = true;
    machine->preparing.epoch = machine->sealed.epoch;
    memcpy(machine->preparing.commitment, machine->sealed.commitment, COMMITMENT_BYTES);
    machine->preparing.share = *share;
    machine->preparing.reply_to = reply_to;
    struct epoch_action *action = action_add(actions, EPOCH_VAULT_PREPARE);
    action->target = machine->sealed;
    action->root = *root;
    action->share = *share;
}

static bool can_prepare(const struct epoch_machine *machine)
{
    return machine->call == CALL_NONE && machine->standing == STANDING_READY && !machine->switch_due &&
           machine->sealed.epoch != 0 && !is_preparation_of(&machine->prepared, &machine->sealed);
}

/* Put the root together from those collected shares that are in `subset`; true: it is the current epoch's. */
static bool root_from_subset(const struct epoch_machine *machine, uint32_t subset, struct key *root)
{
    struct shamir_share shares[EPOCH_SERVERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < machine->servers; i++) {
        if ((subset & bit(i)) != 0) {
            shares[count++] = machine->collected_shares[i];
        }
    }
    uint8_t commitment[COMMITMENT_BYTES];
    bool found = shamir_combine(shares, count, root) == STATUS_OK;
    if (found) {
        key_commitment(root, commitment);
        found = commitment_equals(commitment, machine->current.commitment);
    }
    wipe_memory(shares, sizeof(shares));
    return found;
}

/* Try all ways to take t of the collected shares: at most 35. */
static void collected_try(struct epoch_machine *machine, struct epoch_actions *actions)
{
    struct key root;
    if (machine->servers == 1) {
        vault_call_load(machine, &machine->share.value, actions); /* The vault says what is wrong with it. */
        return;
    }
    machine->collected_new = false;
    for (uint32_t subset = 0; subset < 1u << machine->servers; subset++) {
        if ((subset & ~machine->collected) == 0 && bits_count(subset) == machine->threshold &&
            root_from_subset(machine, subset, &root)) {
            vault_call_load(machine, &root, actions);
            break;
        }
    }
    wipe_memory(&root, sizeof(root));
}

static void collect(struct epoch_machine *machine, struct epoch_actions *actions)
{
    machine->standing = STANDING_COLLECTING;
    collected_drop(machine);
    if (machine->has_share) {
        machine->collected_shares[machine->self] = machine->share;
        machine->collected = bit(machine->self);
        machine->collected_new = true;
    }
    say_wants(machine, actions);
}

static void become_ready(struct epoch_machine *machine, struct epoch_actions *actions)
{
    machine->standing = STANDING_READY;
    if (machine->current.epoch != 0 && !machine->is_serving) {
        machine->is_serving = true;
        action_add(actions, EPOCH_SERVE);
    }
}

static void settle_ended(struct epoch_machine *machine, const struct epoch_event *event, struct epoch_actions *actions)
{
    if (machine->switch_due) {
        return; /* It was about an epoch that is over: once more. */
    }
    bool may_lack = machine->servers > 1 || machine->current.epoch == 0;
    if (event->status != STATUS_OK && !(event->status == STATUS_NOT_FOUND && may_lack)) {
        machine_fail(machine, event->status, actions);
        return;
    }
    if (machine->current.epoch == 0) {
        become_ready(machine, actions);
        return;
    }
    machine->has_share = event->status == STATUS_OK && event->has_share;
    machine->share = event->share;
    if (machine->servers == 1 && !machine->has_share) {
        machine_fail(machine, STATUS_NOT_FOUND, actions);
        return;
    }
    collect(machine, actions);
}

static void load_ended(struct epoch_machine *machine, enum status status, struct epoch_actions *actions)
{
    if (machine->switch_due) {
        return;
    }
    if (status == STATUS_OK) {
        become_ready(machine, actions);
    } else if (machine->servers > 1 && (status == STATUS_NOT_FOUND || status == STATUS_CORRUPT)) {
        machine->standing = STANDING_FETCHING;
        say_wants(machine, actions);
    } else {
        machine_fail(machine, status, actions);
    }
}

static void prepare_ended(struct epoch_machine *machine, const struct epoch_event *event, struct epoch_actions *actions)
{
    if (event->status != STATUS_OK) {
        preparation_clear(&machine->preparing);
        machine->prepare_retry_ns = machine->now_ns + EPOCH_REPEAT_NS;
        attempt_not_prepared(machine, event->status, actions);
        return;
    }
    machine->prepared = machine->preparing;
    machine->prepared.leaves_erased = event->leaves_erased;
    preparation_clear(&machine->preparing);
    if (is_preparation_of(&machine->prepared, &machine->sealed) && machine->prepared.reply_to != machine->self) {
        say_prepared(machine, machine->prepared.reply_to, actions);
    }
}

static void destroy_ended(struct epoch_machine *machine, enum status status, struct epoch_actions *actions)
{
    if (status != STATUS_OK) {
        machine_fail(machine, status, actions); /* It may or may not be gone: nothing may be claimed from here on. */
        return;
    }
    if (machine->to_destroy == machine->destroying) {
        machine->to_destroy = 0;
    }
    if (machine->erasing != 0 && machine->erasing == machine->destroying) {
        machine->destroyed |= bit(machine->self);
        say_to_all(machine, actions, EPOCH_DESTROYED, machine->erasing);
    }
    machine->destroying = 0;
}

static void vault_ended(struct epoch_machine *machine, const struct epoch_event *event, struct epoch_actions *actions)
{
    enum vault_call call = machine->call;
    machine->call = CALL_NONE;
    CHECK(call != CALL_NONE);
    switch (call) {
    case CALL_NONE:
        break;
    case CALL_SETTLE:
        settle_ended(machine, event, actions);
        return;
    case CALL_LOAD:
        load_ended(machine, event->status, actions);
        return;
    case CALL_PREPARE:
        prepare_ended(machine, event, actions);
        return;
    case CALL_DESTROY:
        destroy_ended(machine, event->status, actions);
        return;
    }
    UNREACHABLE();
}

/* ---- the journal ------------------------------------------------------------------------------- */

static void start(struct epoch_machine *machine, const struct epoch_event *event)
{
    CHECK(machine->standing == STANDING_NEW);
    machine->current = event->current;
    machine->sealed.epoch = event->sealed;
    machine->undecided = event->sealed != 0 && machine->servers > 1;
    machine->erasing = event->epoch;
    machine->to_destroy = event->epoch;
    machine->standing = STANDING_UNSETTLED;
}

static void sealed(struct epoch_machine *machine, const struct vault_epoch *next, struct epoch_actions *actions)
{
    CHECK(machine->standing != STANDING_NEW);
    machine->sealed = *next;
    machine->undecided = false;
    action_add(actions, EPOCH_VAULT_SEAL);

    attempt_sealed(machine, next, actions);
}

static void switched(struct epoch_machine *machine, const struct epoch_event *event)
{
    CHECK(machine->standing != STANDING_NEW);
    if (machine->current.epoch != 0) {
        machine->erasing = machine->current.epoch;
        machine->to_destroy = machine->current.epoch;
    }
    machine->destroyed = 0;
    machine->erased_submitted = false;
    machine->erased_submit_ns = 0;
    machine->current = event->current;
    machine->switch_leaves_erased = event->leaves_erased;
    memset(&machine->sealed, 0, sizeof(machine->sealed));
    machine->undecided = false;
    machine->switch_due = true;
    machine->attempts_failed = 0;
    attempt_drop(machine);
    collected_drop(machine);
}

static void erased(struct epoch_machine *machine, uint64_t epoch)
{
    CHECK(machine->standing != STANDING_NEW);
    if (machine->erasing == epoch) {
        machine->erasing = 0;
        machine->destroyed = 0;
        machine->erased_submitted = false;
    }
}

/* ---- messages in ------------------------------------------------------------------------------- */

static void prepare_came(struct epoch_machine *machine, uint32_t from, const struct epoch_message *message,
                         struct epoch_actions *actions)
{
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&message->root, commitment);
    if (machine->undecided || !names_epoch(&machine->sealed, message->epoch, message->commitment) ||
        !commitment_equals(commitment, message->commitment) || message->share.index != machine->self + 1) {
        return;
    }
    if (is_preparation_of(&machine->prepared, &machine->sealed)) {
        say_prepared(machine, from, actions);
    } else if (can_prepare(machine) && machine->now_ns >= machine->prepare_retry_ns) {
        vault_call_prepare(machine, &message->root, &message->share, from, actions);
    }
}

static void message_came(struct epoch_machine *machine, uint32_t from, const struct epoch_message *message,
                         struct epoch_actions *actions)
{
    const struct attempt *attempt = &machine->attempt;
    if (from >= machine->servers || from == machine->self) {
        return;
    }
    bool is_current = names_epoch(&machine->current, message->epoch, message->commitment);
    switch (message->kind) {
    case EPOCH_PREPARE:
        prepare_came(machine, from, message, actions);
        return;
    case EPOCH_PREPARED:
        if (attempt->stage >= ATTEMPT_PREPARING && attempt->epoch == message->epoch &&
            commitment_equals(attempt->commitment, message->commitment)) {
            attempt_prepared_by(machine, from, message->leaves_erased);
        }
        return;
    case EPOCH_DESTROYED:
        if (machine->erasing != 0 && message->epoch == machine->erasing) {
            machine->destroyed |= bit(from);
        }
        return;
    case EPOCH_SHARE_WANTED:
        if (is_current && machine->has_share && !machine->switch_due) {
            message_add(actions, from, EPOCH_SHARE, message->epoch, message->commitment)->share = machine->share;
        }
        return;
    case EPOCH_SHARE:
        if (is_current && machine->standing == STANDING_COLLECTING && message->share.index == from + 1) {
            machine->collected_shares[from] = message->share;
            machine->collected |= bit(from);
            machine->collected_new = true;
        }
        return;
    case EPOCH_FETCH:
        return; /* Answered out of band. */
    }
    /* A kind that this version does not know. */
}

/* ---- what follows from it ---------------------------------------------------------------------- */

/* The vault learns that `current` has changed. Who has prepared just that goes on with it; who has not reads its slot as
 * after a start. */
static void take_switch(struct epoch_machine *machine, struct epoch_actions *actions)
{
    machine->switch_due = false;
    machine->has_share = false;
    wipe_memory(&machine->share, sizeof(machine->share));
    bool is_prepared = machine->standing == STANDING_READY && is_preparation_of(&machine->prepared, &machine->current);
    if (is_prepared && machine->prepared.leaves_erased != machine->switch_leaves_erased) {
        machine_fail(machine, STATUS_CORRUPT,
                     actions); /* The others hold other leaves: this table is not to be trusted. */
    } else if (is_prepared) {
        machine->has_share = true;
        machine->share = machine->prepared.share;
        action_add(actions, EPOCH_VAULT_SWITCH);
        become_ready(machine, actions);
    } else {
        machine->standing = STANDING_UNSETTLED;
    }
    preparation_clear(&machine->prepared);
}

static void vault_advance(struct epoch_machine *machine, struct epoch_actions *actions)
{
    if (machine->call != CALL_NONE || machine->standing == STANDING_NEW) {
        return;
    }
    if (machine->switch_due) {
        take_switch(machine, actions);
    }
    if (machine->failed) {
        return;
    }
    const struct attempt *attempt = &machine->attempt;
    if (machine->standing == STANDING_UNSETTLED) {
        if (!machine->undecided) {
            vault_call_settle(machine, actions);
        }
    } else if (machine->to_destroy != 0) {
        vault_call_destroy(machine, actions);
    } else if (machine->standing == STANDING_COLLECTING && machine->collected_new) {
        collected_try(machine, actions);
    } else if (attempt->stage >= ATTEMPT_PREPARING && can_prepare(machine) &&
               machine->now_ns >= machine->prepare_retry_ns) {
        vault_call_prepare(machine, &attempt->root, &attempt->shares[machine->self], machine->self, actions);
    }
}

static void ticked(struct epoch_machine *machine, struct epoch_actions *actions)
{
    say_wants(machine, actions);
    attempt_ticked(machine, actions);
    if (machine->erasing != 0 && (machine->destroyed & bit(machine->self)) != 0) {
        say_to_all(machine, actions, EPOCH_DESTROYED, machine->erasing);
    }
}

void epoch_step(struct epoch_machine *machine, const struct epoch_event *event, struct epoch_actions *actions)
{
    actions->count = 0;
    if (machine->failed) {
        return;
    }
    CHECK(event->now_ns >= machine->now_ns);
    machine->now_ns = event->now_ns;
    switch (event->kind) {
    case EPOCH_EVENT_START:
        start(machine, event);
        break;
    case EPOCH_EVENT_LEADERSHIP:
        attempt_led(machine, event->is_leader);
        break;
    case EPOCH_EVENT_CLOSE:
        attempt_begin(machine, event->random, actions);
        break;
    case EPOCH_EVENT_SEALED:
        sealed(machine, &event->current, actions);
        break;
    case EPOCH_EVENT_SWITCHED:
        switched(machine, event);
        break;
    case EPOCH_EVENT_ERASED:
        erased(machine, event->epoch);
        break;
    case EPOCH_EVENT_REFUSED:
        attempt_refused(machine, actions);
        break;
    case EPOCH_EVENT_VAULT:
        vault_ended(machine, event, actions);
        break;
    case EPOCH_EVENT_MESSAGE:
        message_came(machine, event->from, event->message, actions);
        break;
    case EPOCH_EVENT_FETCHED:
        if (machine->standing == STANDING_FETCHING) {
            collect(machine, actions);
        }
        break;
    case EPOCH_EVENT_TICK:
        ticked(machine, actions);
        break;
    }
    if (!machine->failed) {
        vault_advance(machine, actions);
        attempt_advance(machine, actions);
    }
}

bool epoch_is_busy(const struct epoch_machine *machine)
{
    return !machine->failed && machine->standing != STANDING_NEW &&
           (machine->standing != STANDING_READY || machine->call != CALL_NONE || machine->current.epoch == 0 ||
            machine->sealed.epoch != 0 || machine->attempt.stage != ATTEMPT_NONE || machine->erasing != 0 ||
            machine->to_destroy != 0);
}

bool epoch_wants_table(const struct epoch_machine *machine)
{
    return machine->standing == STANDING_FETCHING && machine->call == CALL_NONE && !machine->failed;
}

bool epoch_can_close(const struct epoch_machine *machine, uint64_t now_ns)
{
    return attempt_may_begin(machine) && now_ns >= machine->close_ns;
}

bool epoch_wants_close(const struct epoch_machine *machine)
{
    return epoch_can_close(machine, machine->now_ns) && (machine->sealed.epoch != 0 || machine->current.epoch == 0);
}
