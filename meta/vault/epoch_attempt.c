/* epoch_attempt.c - the close of an epoch as its leader sees it.
 *
 *   NONE ──close──> SEALING ──seal applied──> PREPARING ──enough prepared──> SWITCHING ──switch applied──> NONE
 *                      └──── refused, another seal, leadership lost, too slow ────┴──> NONE
 *
 * Then, whoever leads: enough destroyed ──> the claim, again until it is applied. */
#include "meta/vault/epoch_private.h"

void attempt_drop(struct epoch_machine *machine)
{
    wipe_memory(&machine->attempt, sizeof(machine->attempt));
}

static void attempt_say_prepare(const struct epoch_machine *machine, struct epoch_actions *actions)
{
    const struct attempt *attempt = &machine->attempt;
    for (uint32_t to = 0; to < machine->servers; to++) {
        if (to == machine->self || (attempt->prepared & bit(to)) != 0) {
            continue;
        }
        struct epoch_message *message = message_add(actions, to, EPOCH_PREPARE, attempt->epoch, attempt->commitment);
        message->root = attempt->root;
        message->share = attempt->shares[to];
    }
}

/* This attempt came to nothing. With `status`, somebody should know. */
static void attempt_give_up(struct epoch_machine *machine, enum status status, struct epoch_actions *actions)
{
    attempt_drop(machine);
    machine->attempts_failed++;
    machine->close_ns = machine->now_ns;
    if (status != STATUS_OK) {
        machine->close_ns += EPOCH_ATTEMPT_NS;
        action_add(actions, EPOCH_GIVEN_UP)->status = status;
    }
}

/* ---- events ------------------------------------------------------------------------------------ */

bool attempt_may_begin(const struct epoch_machine *machine)
{
    return machine->is_leader && !machine->failed && machine->attempt.stage == ATTEMPT_NONE && machine->erasing == 0 &&
           machine->standing != STANDING_NEW && (machine->servers > 1 || machine->standing == STANDING_READY);
}

void attempt_begin(struct epoch_machine *machine, const struct key *random, struct epoch_actions *actions)
{
    if (!attempt_may_begin(machine)) {
        return;
    }
    struct attempt *attempt = &machine->attempt;
    attempt->stage = ATTEMPT_SEALING;
    attempt->epoch = machine->current.epoch + 1;
    attempt->root = random[0];
    key_commitment(&attempt->root, attempt->commitment);
    shamir_split(&attempt->root, machine->servers, machine->threshold, &random[1], attempt->shares);

    struct epoch_action *action = action_add(actions, EPOCH_SUBMIT_SEAL);
    action->epoch = attempt->epoch;
    memcpy(action->commitment, attempt->commitment, COMMITMENT_BYTES);
}

void attempt_sealed(struct epoch_machine *machine, const struct vault_epoch *next, struct epoch_actions *actions)
{
    struct attempt *attempt = &machine->attempt;
    bool is_own = attempt->stage != ATTEMPT_NONE && names_epoch(next, attempt->epoch, attempt->commitment);
    if (is_own && attempt->stage == ATTEMPT_SEALING) {
        attempt->stage = ATTEMPT_PREPARING;
        attempt->sealed_ns = machine->now_ns;
        machine->prepare_retry_ns = 0;
        attempt_say_prepare(machine, actions);
    } else if (!is_own && attempt->stage != ATTEMPT_SEALING) {
        attempt_drop(machine); /* One that is still to be sealed comes later in the journal, and replaces this one. */
    }
}

void attempt_prepared_by(struct epoch_machine *machine, uint32_t server, uint64_t leaves_erased)
{
    machine->attempt.prepared |= bit(server);
    machine->attempt.leaves_erased[server] = leaves_erased;
}

/* Alone there is nobody else to prepare it. Others go on without this server, which tries again when it is asked again. */
void attempt_not_prepared(struct epoch_machine *machine, enum status status, struct epoch_actions *actions)
{
    if (machine->servers == 1 && machine->attempt.stage == ATTEMPT_PREPARING) {
        attempt_give_up(machine, status, actions);
    }
}

void attempt_refused(struct epoch_machine *machine, struct epoch_actions *actions)
{
    struct attempt *attempt = &machine->attempt;
    if (attempt->stage == ATTEMPT_SEALING) {
        attempt_drop(machine); /* Its commitment may have been sealed all the same: never twice. */
        machine->close_ns = machine->now_ns + EPOCH_REPEAT_NS;
    } else if (attempt->stage == ATTEMPT_SWITCHING) {
        attempt->submitted = false;
        attempt->submit_ns = machine->now_ns + EPOCH_REPEAT_NS;
        attempt->refusals++;
        if (attempt->refusals >= EPOCH_REFUSALS_MAX) {
            attempt_give_up(machine, STATUS_CONFLICT, actions);
        }
    } else if (machine->erased_submitted) {
        machine->erased_submitted = false;
        machine->erased_submit_ns = machine->now_ns + EPOCH_REPEAT_NS;
    }
}

/* Too slow, with nobody to blame: a server may hold its slot untouched until this attempt has been replaced. Each time in a
 * row waits twice as long, as a table may simply take its time. */
static bool attempt_is_overdue(const struct epoch_machine *machine)
{
    const struct attempt *attempt = &machine->attempt;
    uint32_t doublings = machine->attempts_failed < 8 ? machine->attempts_failed : 8;
    return machine->servers > 1 && attempt->stage == ATTEMPT_PREPARING && attempt->enough_ns == 0 &&
           machine->call != CALL_PREPARE && machine->now_ns - attempt->sealed_ns >= EPOCH_ATTEMPT_NS << doublings;
}

void attempt_ticked(struct epoch_machine *machine, struct epoch_actions *actions)
{
    if (attempt_is_overdue(machine)) {
        attempt_give_up(machine, STATUS_OK, actions);
    }
    if (machine->attempt.stage >= ATTEMPT_PREPARING) {
        attempt_say_prepare(machine, actions);
    }
}

void attempt_led(struct epoch_machine *machine, bool is_leader)
{
    machine->is_leader = is_leader;
    if (!is_leader) {
        attempt_drop(machine);
    }
    machine->erased_submitted = false;
    machine->erased_submit_ns = 0;
}

/* ---- what follows from it ---------------------------------------------------------------------- */

/* The servers that are prepared and have counted the same, when they are enough; else 0. */
static uint64_t attempt_agreeing(const struct epoch_machine *machine)
{
    const struct attempt *attempt = &machine->attempt;
    for (uint32_t i = 0; i < machine->servers; i++) {
        uint64_t agreeing = 0;
        for (uint32_t j = i; (attempt->prepared & bit(i)) != 0 && j < machine->servers; j++) {
            bool agrees = (attempt->prepared & bit(j)) != 0 && attempt->leaves_erased[j] == attempt->leaves_erased[i];
            agreeing |= agrees ? bit(j) : 0;
        }
        if (bits_count(agreeing) >= machine->threshold) {
            return agreeing;
        }
    }
    return 0;
}

/* As long as the first t took, and at least until a repeated message could have been answered, the others are waited for. */
static bool attempt_has_waited(const struct epoch_machine *machine, uint64_t agreeing)
{
    const struct attempt *attempt = &machine->attempt;
    uint64_t took_ns = attempt->enough_ns - attempt->sealed_ns;
    return bits_count(agreeing) == machine->servers ||
           machine->now_ns - attempt->enough_ns >= took_ns + EPOCH_REPEAT_NS;
}

static void switch_advance(struct epoch_machine *machine, struct epoch_actions *actions)
{
    struct attempt *attempt = &machine->attempt;
    if (attempt->stage < ATTEMPT_PREPARING) {
        return;
    }
    if (is_preparation_of(&machine->prepared, &machine->sealed)) {
        attempt_prepared_by(machine, machine->self, machine->prepared.leaves_erased);
    }
    uint64_t agreeing = attempt_agreeing(machine);
    if (agreeing == 0) {
        return;
    }
    if (attempt->enough_ns == 0) {
        attempt->enough_ns = machine->now_ns;
    }
    if (attempt->submitted || machine->now_ns < attempt->submit_ns || !attempt_has_waited(machine, agreeing)) {
        return;
    }
    attempt->stage = ATTEMPT_SWITCHING;
    attempt->submitted = true;
    struct epoch_action *action = action_add(actions, EPOCH_SUBMIT_SWITCH);
    action->epoch = attempt->epoch;
    memcpy(action->commitment, attempt->commitment, COMMITMENT_BYTES);
    action->who = agreeing;
    action->leaves_erased = attempt->leaves_erased[__builtin_ctzll(agreeing)];
}

/* n - t + 1 destroyed: t - 1 are left at most. */
static void erased_advance(struct epoch_machine *machine, struct epoch_actions *actions)
{
    if (!machine->is_leader || machine->erasing == 0 || machine->erased_submitted ||
        machine->now_ns < machine->erased_submit_ns ||
        bits_count(machine->destroyed) < machine->servers - machine->threshold + 1) {
        return;
    }
    machine->erased_submitted = true;
    struct epoch_action *action = action_add(actions, EPOCH_SUBMIT_ERASED);
    action->epoch = machine->erasing;
    action->who = machine->destroyed;
}

void attempt_advance(struct epoch_machine *machine, struct epoch_actions *actions)
{
    switch_advance(machine, actions);
    erased_advance(machine, actions);
}
