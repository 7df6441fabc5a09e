/* keeper.c - carries out what the epoch machine says, one step at a time.
 *
 * Each event goes through keeper_step(): the machine's actions are carried out in their order, and what they bring
 * about at once (a submission that is not taken, a close that is due) follows in the same turn, as the next event. The
 * vault answers later, one call at a time. The user's callbacks run from a task of their own, so that they may call
 * anything here.
 *
 * Waits for a close stand in three lists: `next` until a seal is applied here, which takes all of them; `sealed` until
 * the root is destroyed; `ended` until they are told. */
#include "meta/vault/keeper.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES (VAULT_MESSAGE_BYTES + 128)

/* In guarded memory. */
struct keeper_secrets {
    struct epoch_actions actions;
    struct key random[EPOCH_SERVERS_MAX];
};

struct keeper {
    struct keeper_options options;
    struct keeper_user user;
    struct loop *loop;
    struct vault *vault;
    void *machine_memory;
    struct epoch_machine *machine;
    struct keeper_secrets *secrets;

    bool is_stepping;
    bool is_refused; /* a submission was not taken: to be told to the machine */
    bool is_leader;
    bool is_serving;
    bool has_failed;
    bool is_calling; /* the vault is at work */
    enum epoch_action_kind call;
    uint64_t epoch;        /* the current one */
    bool has_unsealed;     /* punctures, or erasures without any, that no seal has taken */
    bool is_time_to_close; /* the timer says so */
    uint64_t sealed_ns;    /* when this close began here */
    struct list waits_next;
    struct list waits_sealed;
    struct list waits_ended;

    struct loop_timer tick;
    struct loop_timer epoch_timer;
    struct loop_task news; /* what the user is to be told */
    bool news_waits;
    bool serving_is_news;
    bool failure_is_news;
    enum status failure;

    void (*closed)(void *user); /* set by keeper_close() */
    void *closed_user;
    struct keeper_figures figures;
    char message[MESSAGE_BYTES];
};

static void keeper_step(struct keeper *keeper, struct epoch_event *event);

/* ---- telling the user -------------------------------------------------------------------------- */

static void news_start(struct keeper *keeper)
{
    if (!keeper->news_waits) {
        keeper->news_waits = true;
        loop_defer(keeper->loop, &keeper->news);
    }
}

static void waits_end(struct keeper *keeper, struct list *waits, enum status status, uint64_t epoch)
{
    for (struct list_link *link = list_take_first(waits); link != NULL; link = list_take_first(waits)) {
        struct keeper_wait *wait = LIST_ENTRY(link, struct keeper_wait, link);
        wait->status = status;
        wait->epoch = epoch;
        list_append(&keeper->waits_ended, link);
        news_start(keeper);
    }
}

static void waits_end_all(struct keeper *keeper, enum status status)
{
    waits_end(keeper, &keeper->waits_sealed, status, 0);
    waits_end(keeper, &keeper->waits_next, status, 0);
}

static void keeper_free(struct keeper *keeper)
{
    guarded_release(keeper->machine_memory); /* Wipes. */
    guarded_release(keeper->secrets);
    free(keeper);
}

/* A callback may call anything here, keeper_close() too; the keeper is freed in a turn in which nothing else is
 * told. */
static void news_run(struct loop_task *task)
{
    struct keeper *keeper = CONTAINER_OF(task, struct keeper, news);
    keeper->news_waits = false;
    struct list_link *link = list_take_first(&keeper->waits_ended);
    if (link != NULL) {
        news_start(keeper);
        struct keeper_wait *wait = LIST_ENTRY(link, struct keeper_wait, link);
        wait->closed(wait, wait->status, wait->epoch);
    } else if (keeper->closed != NULL) {
        if (!keeper->is_calling) {
            void (*closed)(void *user) = keeper->closed;
            void *user = keeper->closed_user;
            vault_close(keeper->vault);
            keeper_free(keeper);
            closed(user);
        }
    } else if (keeper->serving_is_news) {
        keeper->serving_is_news = false;
        news_start(keeper);
        keeper->user.serving(keeper->user.user);
    } else if (keeper->failure_is_news) {
        keeper->failure_is_news = false;
        keeper->user.failed(keeper->user.user, keeper->failure);
    }
}

static void keeper_fail(struct keeper *keeper, enum status status, const char *message)
{
    if (keeper->has_failed) {
        return;
    }
    keeper->has_failed = true;
    keeper->failure = status;
    keeper->failure_is_news = true;
    (void)snprintf(keeper->message, sizeof(keeper->message), "%s", message);
    loop_timer_stop(keeper->loop, &keeper->tick);
    loop_timer_stop(keeper->loop, &keeper->epoch_timer);
    log_event(LOG_ERROR, "vault_failed", "reason=%s message=%s", status_name(status), keeper->message);
    waits_end_all(keeper, STATUS_UNAVAILABLE);
    news_start(keeper);
}

/* ---- the vault --------------------------------------------------------------------------------- */

/* The prepared epoch is given up before it is submitted, as another leader would: the machine loses the lead for a
 * moment. */
static void prepared_to_seal_again(struct keeper *keeper, struct epoch_event *prepared)
{
    struct epoch_event leadership = {.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = false};
    keeper_step(keeper, &leadership);
    keeper_step(keeper, prepared);
    leadership.is_leader = true;
    keeper_step(keeper, &leadership);
}

static void vault_ended(void *user, enum status status)
{
    struct keeper *keeper = user;
    keeper->is_calling = false;
    if (keeper->closed != NULL) {
        news_start(keeper);
        return;
    }
    struct epoch_event event = {.kind = EPOCH_EVENT_VAULT, .status = status};
    if (status == STATUS_OK && keeper->call == EPOCH_VAULT_PREPARE) {
        event.leaves_erased = vault_closed(keeper->vault)->leaves_erased_total;
        if (keeper->is_leader && BUGGIFY(BUGGIFY_VAULT_SEAL_AGAIN)) {
            prepared_to_seal_again(keeper, &event);
            return;
        }
    }
    const struct shamir_share *share = keeper->call == EPOCH_VAULT_SETTLE ? vault_share(keeper->vault) : NULL;
    if (status == STATUS_OK && share != NULL) {
        event.has_share = true;
        event.share = *share;
    }
    keeper_step(keeper, &event);
    wipe_memory(&event.share, sizeof(event.share));
}

static void vault_call(struct keeper *keeper, const struct epoch_action *action)
{
    struct vault *vault = keeper->vault;
    CHECK(!keeper->is_calling);
    keeper->is_calling = true;
    keeper->call = action->kind;
    if (action->kind == EPOCH_VAULT_SETTLE) {
        vault_unload(vault); /* What it has is over: a switch was missed. At the start there is nothing. */
        vault_settle(vault, &action->target, vault_ended, keeper);
    } else if (action->kind == EPOCH_VAULT_LOAD) {
        vault_load(vault, &action->target, &action->root, vault_ended, keeper);
    } else if (action->kind == EPOCH_VAULT_PREPARE) {
        vault_prepare(vault, &action->target, &action->root, &action->share, vault_ended, keeper);
    } else {
        CHECK(action->kind == EPOCH_VAULT_DESTROY);
        vault_destroy(vault, action->epoch, vault_ended, keeper);
    }
}

/* ---- the journal ------------------------------------------------------------------------------- */

static void submit(struct keeper *keeper, const struct epoch_action *action)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__EpochSwitch change = TRILITH__EPOCH_SWITCH__INIT;
    Trilith__EpochErased erased = TRILITH__EPOCH_ERASED__INIT;
    uint8_t commitment[COMMITMENT_BYTES];
    memcpy(commitment, action->commitment, sizeof(commitment));
    ProtobufCBinaryData bytes = {.len = sizeof(commitment), .data = commitment};
    command.time_ms = loop_wall_ms(keeper->loop);
    if (action->kind == EPOCH_SUBMIT_SEAL) {
        seal.epoch = action->epoch;
        seal.commitment = bytes;
        seal.servers = keeper->options.servers;
        seal.threshold = keeper->options.servers / 2 + 1;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
        command.epoch_seal = &seal;
    } else if (action->kind == EPOCH_SUBMIT_SWITCH) {
        change.epoch = action->epoch;
        change.commitment = bytes;
        change.prepared = action->who;
        change.leaves_erased = action->leaves_erased;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SWITCH;
        command.epoch_switch = &change;
    } else {
        CHECK(action->kind == EPOCH_SUBMIT_ERASED);
        erased.epoch = action->epoch;
        erased.destroyed = action->who;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_ERASED;
        command.epoch_erased = &erased;
    }
    if (!keeper->user.submit(keeper->user.user, &command)) {
        keeper->is_refused = true;
    }
}

/* ---- steps ------------------------------------------------------------------------------------- */

static void serve(struct keeper *keeper)
{
    keeper->is_serving = true;
    keeper->serving_is_news = true;
    log_event(LOG_INFO, "vault_serving", "epoch=%llu", (unsigned long long)keeper->epoch);
    if (keeper->options.epoch_ns > 0) {
        loop_timer_start(keeper->loop, &keeper->epoch_timer, loop_now_ns(keeper->loop) + keeper->options.epoch_ns);
    }
    news_start(keeper);
}

static void close_given_up(struct keeper *keeper, enum status status)
{
    const char *why = vault_message(keeper->vault);
    bool has_sums = status == STATUS_CONFLICT;
    (void)snprintf(keeper->message, sizeof(keeper->message), "%s",
                   has_sums
                       ? "the journal refuses the next epoch of the vault: what was punctured and what the vault has "
                         "left out do not agree, so nothing is destroyed. Check the log of this server"
                       : why);
    log_event(LOG_ERROR, "epoch_close_failed", "reason=%s message=%s", status_name(status), keeper->message);
    waits_end_all(keeper, status);
}

static void carry_out(struct keeper *keeper, const struct epoch_action *action)
{
    switch (action->kind) {
    case EPOCH_SUBMIT_SEAL:
    case EPOCH_SUBMIT_SWITCH:
    case EPOCH_SUBMIT_ERASED:
        submit(keeper, action);
        return;
    case EPOCH_SEND:
        CHECK(keeper->user.send != NULL);
        keeper->user.send(keeper->user.user, action->to, &action->message);
        return;
    case EPOCH_VAULT_SEAL:
        vault_seal(keeper->vault);
        return;
    case EPOCH_VAULT_SWITCH:
        vault_switch(keeper->vault);
        return;
    case EPOCH_VAULT_SETTLE:
    case EPOCH_VAULT_LOAD:
    case EPOCH_VAULT_PREPARE:
    case EPOCH_VAULT_DESTROY:
        vault_call(keeper, action);
        return;
    case EPOCH_SERVE:
        serve(keeper);
        return;
    case EPOCH_GIVEN_UP:
        close_given_up(keeper, action->status);
        return;
    case EPOCH_FAIL:
        keeper_fail(keeper, action->status, vault_message(keeper->vault));
        return;
    }
    UNREACHABLE();
}

static void step_once(struct keeper *keeper, struct epoch_event *event)
{
    CHECK(!keeper->is_stepping);
    keeper->is_stepping = true;
    struct epoch_actions *actions = &keeper->secrets->actions;
    event->now_ns = loop_now_ns(keeper->loop);
    epoch_step(keeper->machine, event, actions);
    for (uint32_t i = 0; i < actions->count && !keeper->has_failed; i++) {
        carry_out(keeper, &actions->actions[i]);
    }
    wipe_memory(actions->actions, actions->count * sizeof(actions->actions[0]));
    actions->count = 0;
    keeper->is_stepping = false;
}

static bool close_is_wanted(const struct keeper *keeper)
{
    return keeper->is_leader && (!list_is_empty(&keeper->waits_next) || keeper->is_time_to_close);
}

static bool close_is_due(const struct keeper *keeper)
{
    return epoch_wants_close(keeper->machine) ||
           (close_is_wanted(keeper) && epoch_can_close(keeper->machine, loop_now_ns(keeper->loop)));
}

static void keeper_step(struct keeper *keeper, struct epoch_event *event)
{
    struct key *random = keeper->secrets->random;
    if (keeper->has_failed || keeper->closed != NULL) {
        return;
    }
    step_once(keeper, event);
    /* Ends: after a refusal the machine waits, and a close that is under way can't be begun. */
    while (!keeper->has_failed && (keeper->is_refused || close_is_due(keeper))) {
        struct epoch_event next = {.kind = EPOCH_EVENT_REFUSED};
        if (!keeper->is_refused) {
            next.kind = EPOCH_EVENT_CLOSE;
            next.random = random;
            loop_random(keeper->loop, random, EPOCH_SERVERS_MAX * sizeof(random[0]));
        }
        keeper->is_refused = false;
        step_once(keeper, &next);
        wipe_memory(random, EPOCH_SERVERS_MAX * sizeof(random[0]));
    }
    bool needs_ticks = !keeper->has_failed && (epoch_is_busy(keeper->machine) || close_is_wanted(keeper));
    if (needs_ticks && !loop_timer_is_armed(&keeper->tick)) {
        loop_timer_start(keeper->loop, &keeper->tick, loop_now_ns(keeper->loop) + EPOCH_REPEAT_NS);
    }
}

static void tick_fire(struct loop_timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, tick);
    struct epoch_event event = {.kind = EPOCH_EVENT_TICK};
    keeper_step(keeper, &event);
}

static void epoch_fire(struct loop_timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, epoch_timer);
    loop_timer_start(keeper->loop, timer, loop_now_ns(keeper->loop) + keeper->options.epoch_ns);
    if (keeper->has_unsealed && keeper->is_leader) {
        keeper->is_time_to_close = true;
        struct epoch_event event = {.kind = EPOCH_EVENT_TICK};
        keeper_step(keeper, &event);
    }
}

/* ---- what the journal says --------------------------------------------------------------------- */

/* False: the record is not one that our commands make. */
static bool epoch_decode(struct vault_epoch *epoch, uint64_t number, uint32_t servers, uint32_t threshold,
                         uint32_t pages_end, const ProtobufCBinaryData *commitment)
{
    *epoch = (struct vault_epoch){.epoch = number, .servers = servers, .threshold = threshold, .pages_end = pages_end};
    if (number == 0) {
        return true;
    }
    if (commitment->len != COMMITMENT_BYTES) {
        return false;
    }
    memcpy(epoch->commitment, commitment->data, COMMITMENT_BYTES);
    return true;
}

static void seal_applied(struct keeper *keeper, const Trilith__EpochSeal *seal, const Trilith__ClusterRecord *state)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_SEALED};
    CHECK(epoch_decode(&event.current, seal->epoch, seal->servers, seal->threshold, state->sealed_pages_end,
                       &seal->commitment));
    KILL_POINT(KILL_VAULT_SEALED);
    keeper->sealed_ns = loop_now_ns(keeper->loop);
    keeper->has_unsealed = false;
    keeper->is_time_to_close = false;
    for (struct list_link *link = list_take_first(&keeper->waits_next); link != NULL;
         link = list_take_first(&keeper->waits_next)) {
        list_append(&keeper->waits_sealed, link);
    }
    keeper_step(keeper, &event);
}

static void switch_applied(struct keeper *keeper, const Trilith__EpochSwitch *change,
                           const Trilith__ClusterRecord *state)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_SWITCHED, .leaves_erased = change->leaves_erased};
    CHECK(epoch_decode(&event.current, state->epoch, state->servers, state->threshold, state->pages_end,
                       &state->commitment));
    KILL_POINT(KILL_VAULT_SWITCHED);
    keeper->epoch = event.current.epoch;
    keeper_step(keeper, &event);
}

static void erased_applied(struct keeper *keeper, const Trilith__EpochErased *erased)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_ERASED, .epoch = erased->epoch};
    struct keeper_figures *figures = &keeper->figures;
    KILL_POINT(KILL_VAULT_ERASED);
    figures->closes++;
    figures->duration_ns = loop_now_ns(keeper->loop) - keeper->sealed_ns;
    figures->closed = *vault_closed(keeper->vault);
    log_event(LOG_INFO, "epoch_closed", "epoch=%llu erased=%llu duration_ms=%llu bytes=%llu",
              (unsigned long long)erased->epoch, (unsigned long long)figures->closed.leaves_erased,
              (unsigned long long)(figures->duration_ns / NS_PER_MS),
              (unsigned long long)figures->closed.bytes_written);
    waits_end(keeper, &keeper->waits_sealed, STATUS_OK, erased->epoch);
    keeper_step(keeper, &event);
}

void keeper_applied(struct keeper *keeper, const Trilith__Command *command, const Trilith__ClusterRecord *state)
{
    if (keeper->has_failed || keeper->closed != NULL) {
        return;
    }
    if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SEAL) {
        seal_applied(keeper, command->epoch_seal, state);
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        switch_applied(keeper, command->epoch_switch, state);
    } else {
        CHECK(command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_ERASED);
        erased_applied(keeper, command->epoch_erased);
    }
}

void keeper_refused(struct keeper *keeper)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_REFUSED};
    keeper_step(keeper, &event);
}

void keeper_message_came(struct keeper *keeper, uint32_t from, const struct epoch_message *message)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_MESSAGE, .from = from, .message = message};
    keeper_step(keeper, &event);
}

bool keeper_wants_table(const struct keeper *keeper)
{
    return epoch_wants_table(keeper->machine);
}

void keeper_fetched(struct keeper *keeper)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_FETCHED};
    keeper_step(keeper, &event);
}

void keeper_lead(struct keeper *keeper, bool is_leader)
{
    struct epoch_event event = {.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = is_leader};
    keeper->is_leader = is_leader;
    if (!is_leader) {
        keeper->is_time_to_close = false;
        waits_end_all(keeper, STATUS_UNAVAILABLE);
    }
    keeper_step(keeper, &event);
}

/* ---- open and close ---------------------------------------------------------------------------- */

static void keeper_start(struct keeper *keeper, const Trilith__ClusterRecord *state)
{
    struct epoch_event event = {
        .kind = EPOCH_EVENT_START, .sealed = state->sealed_epoch, .epoch = state->erasing_epoch};
    if (!epoch_decode(&event.current, state->epoch, state->servers, state->threshold, state->pages_end,
                      &state->commitment)) {
        keeper_fail(keeper, STATUS_CORRUPT, "the metadata has no commitment of the vault's epoch: restore it");
        return;
    }
    if (state->epoch != 0 && state->servers != keeper->options.servers) {
        char message[MESSAGE_BYTES];
        (void)snprintf(message, sizeof(message),
                       "the vault's root is shared out over %u metadata servers, and this one is told that there are "
                       "%u: set it to what it was",
                       state->servers, keeper->options.servers);
        keeper_fail(keeper, STATUS_CONFLICT, message);
        return;
    }
    keeper->epoch = event.current.epoch;
    keeper_step(keeper, &event);
}

struct keeper *keeper_open(const struct keeper_options *options, const Trilith__ClusterRecord *state,
                           const struct keeper_user *user)
{
    CHECK(options->servers == 1 || user->send != NULL);
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    if (keeper == NULL) {
        return NULL;
    }
    keeper->vault = vault_open(&options->parts, options->vault_uuid);
    keeper->machine_memory = guarded_take(epoch_machine_bytes());
    keeper->secrets = guarded_take(sizeof(*keeper->secrets));
    if (keeper->vault == NULL || keeper->machine_memory == NULL || keeper->secrets == NULL) {
        if (keeper->vault != NULL) {
            vault_close(keeper->vault);
        }
        keeper_free(keeper);
        return NULL;
    }
    keeper->options = *options;
    keeper->user = *user;
    keeper->loop = options->parts.loop;
    keeper->machine = epoch_machine_init(keeper->machine_memory, options->self, options->servers);
    keeper->tick.fire = tick_fire;
    keeper->epoch_timer.fire = epoch_fire;
    keeper->news.run = news_run;
    keeper->sealed_ns = loop_now_ns(keeper->loop);
    list_init(&keeper->waits_next);
    list_init(&keeper->waits_sealed);
    list_init(&keeper->waits_ended);
    keeper_start(keeper, state);
    return keeper;
}

void keeper_close(struct keeper *keeper, void (*closed)(void *user), void *user)
{
    CHECK(keeper->closed == NULL && closed != NULL);
    keeper->closed = closed;
    keeper->closed_user = user;
    loop_timer_stop(keeper->loop, &keeper->tick);
    loop_timer_stop(keeper->loop, &keeper->epoch_timer);
    waits_end_all(keeper, STATUS_UNAVAILABLE);
    news_start(keeper);
}

void keeper_abandon(struct keeper *keeper)
{
    vault_drop(keeper->vault);
    keeper_free(keeper);
}

/* ---- leaves, waits, figures -------------------------------------------------------------------- */

enum status keeper_derive(struct keeper *keeper, uint32_t page, uint32_t slot, struct key *leaf)
{
    bool serves = keeper->is_serving && !keeper->has_failed;
    return serves ? vault_derive(keeper->vault, page, slot, leaf) : STATUS_UNAVAILABLE;
}

enum status keeper_puncture(struct keeper *keeper, uint32_t page, const struct ggm_bitmap *leaves)
{
    keeper->has_unsealed = true;
    return vault_puncture(keeper->vault, page, leaves);
}

void keeper_note_unsealed(struct keeper *keeper)
{
    keeper->has_unsealed = true;
}

void keeper_close_epoch(struct keeper *keeper, struct keeper_wait *wait)
{
    list_append(&keeper->waits_next, &wait->link);
    if (!keeper->is_serving || !keeper->is_leader || keeper->has_failed || keeper->closed != NULL) {
        waits_end(keeper, &keeper->waits_next, STATUS_UNAVAILABLE, 0); /* Nobody else waits there in such a state. */
        return;
    }
    struct epoch_event event = {.kind = EPOCH_EVENT_TICK};
    keeper_step(keeper, &event);
}

bool keeper_is_closing(const struct keeper *keeper)
{
    return keeper->is_serving && epoch_is_busy(keeper->machine);
}

const struct keeper_figures *keeper_figures(const struct keeper *keeper)
{
    return &keeper->figures;
}

const char *keeper_message(const struct keeper *keeper)
{
    return keeper->message;
}

size_t keeper_memory(const struct keeper *keeper)
{
    return vault_memory(keeper->vault) + sizeof(*keeper->secrets) + epoch_machine_bytes();
}
