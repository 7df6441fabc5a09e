/* sim_meta.c - the metadata service in the simulated cluster: started as in meta/main.c, stopped, killed, forgotten.
 *
 *   sim_meta_start ── KMS, tables, state ── slot opens ── service ── journal opens and replays ── service starts ──> RUNNING
 *
 * A start that is refused, as one that meets a damaged journal, dooms the process; so does a service that has failed, once
 * it has stopped in order. */
#include "tests/sim/sim_meta.h"

#include "base/log.h"

#include "tests/sim/sim_cluster.h"

#define JOURNAL_SEGMENTS 2 /* as meta/main.c has it */
#define PGS_PER_DISK     24
#define SCATTER_WIDTH    4

static struct sim_cluster *cluster_of(const struct sim_meta *meta)
{
    return meta->cluster;
}

void sim_meta_init(struct sim_meta *meta, struct sim_cluster *cluster)
{
    memset(meta, 0, sizeof(*meta));
    meta->cluster = cluster;
    meta->random = sim_random_of(cluster->options.seed ^ UINT64_C(0x6d657461)); /* "meta" */
    meta->disk = sim_disk_open(cluster->world, sim_random_u64(&meta->random));
    meta->tables = sim_kv_open();
    sim_vault_init(&meta->vault, cluster->world, &meta->random);
}

static void doom(struct sim_meta *meta, enum sim_doom how)
{
    if (meta->doom == SIM_NOT_DOOMED) {
        meta->doom = how;
        cluster_of(meta)->doomed++;
    }
}

static void refuse(struct sim_meta *meta, enum status status)
{
    CHECK(status != STATUS_OK);
    meta->refusal = status;
    doom(meta, SIM_DOOM_KILLED);
}

/* ---- what is applied --------------------------------------------------------------------------- */

static void listener_committed(struct journal_user *user, uint64_t index, const void *bytes, size_t size,
                               struct journal_entry *entry)
{
    struct sim_meta *meta = CONTAINER_OF(user, struct sim_meta, listener);
    struct sim_watch *watch = cluster_of(meta)->watch;
    bool replay = entry == NULL;
    Trilith__Command *command = NULL;
    if (watch->applying != NULL || watch->applied != NULL) {
        command = trilith__command__unpack(NULL, size, bytes);
        CHECK(command != NULL);
    }
    if (watch->applying != NULL) {
        watch->applying(watch, index, command, bytes, size, replay);
    }
    meta->behind_listener->committed(meta->behind_listener, index, bytes, size, entry);
    meta->applied = index;
    if (watch->applied != NULL) {
        watch->applied(watch, index, command, replay);
    }
    if (command != NULL) {
        trilith__command__free_unpacked(command, NULL);
    }
}

static void listener_failed(struct journal_user *user, enum status status)
{
    struct sim_meta *meta = CONTAINER_OF(user, struct sim_meta, listener);
    meta->behind_listener->failed(meta->behind_listener, status);
}

/* ---- start ------------------------------------------------------------------------------------- */

static void service_stopped(void *user)
{
    doom(user, SIM_DOOM_STOPPED);
}

static void stop_run(struct loop_task *task)
{
    struct sim_meta *meta = CONTAINER_OF(task, struct sim_meta, stop_task);
    meta_service_stop(meta->service, service_stopped, meta);
}

static void service_failed(void *user, enum status status)
{
    struct sim_meta *meta = user;
    meta->refusal = status;
    sim_meta_stop(meta);
}

static void service_started(void *user, enum status status)
{
    struct sim_meta *meta = user;
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "meta_not_started", "reason=%s message=%s", status_name(status),
                  meta_service_message(meta->service));
        refuse(meta, status);
        return;
    }
    meta->state = SIM_RUNNING;
    struct sim_watch *watch = cluster_of(meta)->watch;
    if (watch->came_up != NULL) {
        watch->came_up(watch, NULL);
    }
}

/* The journal is open: what start_service() of meta/main.c does. */
static void service_start(struct loop_task *task)
{
    struct sim_meta *meta = CONTAINER_OF(task, struct sim_meta, next_task);
    enum status status = meta->step_status;
    if (status == STATUS_OK) {
        status = meta_service_health(meta->service);
    }
    if (status == STATUS_OK) {
        journal_release(meta->journal, meta->released_at_start);
    }
    if (status != STATUS_OK) {
        refuse(meta, status);
        return;
    }
    meta_service_start(meta->service, meta->journal, SIM_META_ADDRESS, service_started, meta);
}

static void journal_opened(void *user, enum status status, struct journal *journal, const char *message)
{
    struct sim_meta *meta = user;
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "meta_not_started", "reason=%s message=%s", status_name(status), message);
    }
    meta->step_status = status;
    meta->journal = journal;
    loop_defer(sim_loop_interface(meta->loop), &meta->next_task);
}

static void journal_begin(struct loop_task *task);

static void process_begin(struct sim_meta *meta)
{
    struct sim_cluster *cluster = cluster_of(meta);
    meta->incarnation++;
    meta->state = SIM_STARTING;
    meta->refusal = STATUS_OK;
    meta->loop = sim_loop_fork(cluster->world, "meta", sim_random_u64(&meta->random));
    sim_loop_set_drift(meta->loop, meta->drift_ppm);
    meta->machine = sim_net_host(cluster->net, "meta", meta->loop);
    sim_disk_attach(meta->disk, meta->loop);
    sim_vault_attach(&meta->vault, meta->loop);
    meta->next_task = (struct loop_task){.run = journal_begin};
    meta->stop_task = (struct loop_task){.run = stop_run};
    meta->listener = (struct journal_user){.committed = listener_committed, .failed = listener_failed};
}

static enum status service_make(struct sim_meta *meta)
{
    const struct sim_options *options = &cluster_of(meta)->options;
    const struct meta_service_parts parts = {.loop = sim_loop_interface(meta->loop),
                                             .net = sim_host_interface(meta->machine),
                                             .kv = meta->tables,
                                             .state = meta->meta_state,
                                             .kms = meta->kms,
                                             .vault = {.loop = sim_loop_interface(meta->loop),
                                                       .disk = sim_disk_interface(meta->vault.tables_disk),
                                                       .covers = meta->vault.covers,
                                                       .slot = meta->slot},
                                             .failed = service_failed,
                                             .user = meta};
    const struct meta_service_options service_options = {.node_lease_ms = options->node_lease_ms,
                                                         .leaf_lease_ms = options->leaf_lease_ms,
                                                         .key_lease_ms = options->key_lease_ms,
                                                         .pgs_per_disk = PGS_PER_DISK,
                                                         .scatter_width = SCATTER_WIDTH,
                                                         .epoch_ms = options->epoch_ms,
                                                         .dek_retire_ms = options->dek_retire_ms};
    meta->service = meta_service_open(&parts, &service_options);
    return meta->service == NULL ? STATUS_FULL : STATUS_OK;
}

static void journal_begin(struct loop_task *task)
{
    struct sim_meta *meta = CONTAINER_OF(task, struct sim_meta, next_task);
    enum status status = meta->step_status == STATUS_OK ? service_make(meta) : meta->step_status;
    if (status != STATUS_OK) {
        refuse(meta, status);
        return;
    }
    meta->next_task = (struct loop_task){.run = service_start};
    meta->behind_listener = meta_service_journal_user(meta->service);
    meta->released_at_start = state_applied_index(meta->meta_state);
    meta->applied = meta->released_at_start;
    const struct journal_local_options journal_options = {.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN,
                                                          .segments_wanted = JOURNAL_SEGMENTS,
                                                          .applied_index = meta->released_at_start};
    journal_local_open(sim_loop_interface(meta->loop), sim_disk_interface(meta->disk), &journal_options,
                       &meta->listener, journal_opened, meta);
}

static void slot_opened(void *user, enum status status, struct slot *slot)
{
    struct sim_meta *meta = user;
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "meta_not_started", "reason=%s message=%s", status_name(status), "the slot");
    }
    meta->step_status = status;
    meta->slot = slot;
    loop_defer(sim_loop_interface(meta->loop), &meta->next_task);
}

void sim_meta_start(struct sim_meta *meta)
{
    CHECK(meta->state == SIM_DOWN);
    process_begin(meta);
    struct loop *loop = sim_loop_interface(meta->loop);
    enum status status = sim_vault_kms_open(&meta->vault, loop, &meta->kms);
    if (status == STATUS_OK) {
        status = state_open(meta->tables, &meta->meta_state);
    }
    if (status != STATUS_OK) {
        refuse(meta, status);
        return;
    }
    bool may_create = state_cluster(meta->meta_state)->epoch == 0;
    sim_vault_slot_open(&meta->vault, loop, may_create, slot_opened, meta);
}

/* ---- end --------------------------------------------------------------------------------------- */

/* Forget the process; the journal's disk and the tables have been dealt with. */
static void process_forget(struct sim_meta *meta, bool silent, bool power_lost)
{
    struct sim_cluster *cluster = cluster_of(meta);
    sim_host_crash(meta->machine, silent);
    sim_disk_attach(meta->disk, cluster->world);
    sim_vault_attach(&meta->vault, cluster->world);
    sim_loop_close(meta->loop);
    if (meta->doom != SIM_NOT_DOOMED) {
        meta->doom = SIM_NOT_DOOMED;
        cluster->doomed--;
    }
    meta->loop = NULL;
    meta->kms = NULL;
    meta->slot = NULL;
    meta->meta_state = NULL;
    meta->service = NULL;
    meta->journal = NULL;
    meta->state = SIM_DOWN;
    if (cluster->watch->went_down != NULL) {
        cluster->watch->went_down(cluster->watch, NULL, power_lost);
    }
}

void sim_meta_crash(struct sim_meta *meta, bool silent)
{
    sim_disk_crash(meta->disk);
    sim_vault_crash(&meta->vault, sim_random_u64(&meta->random));
    sim_kv_crash(meta->tables, sim_random_u64(&meta->random));
    if (meta->state != SIM_DOWN) {
        process_forget(meta, silent, true);
    }
}

void sim_meta_kill(struct sim_meta *meta)
{
    if (meta->state != SIM_DOWN) {
        sim_disk_kill(meta->disk);
        sim_vault_kill(&meta->vault, sim_random_u64(&meta->random));
        sim_kv_crash(meta->tables, sim_random_u64(&meta->random)); /* Its write-ahead log is off. */
        process_forget(meta, false, false);
    }
}

void sim_meta_stop(struct sim_meta *meta)
{
    if (meta->state == SIM_RUNNING) {
        meta->state = SIM_STOPPING;
        loop_post(sim_loop_interface(meta->loop), &meta->stop_task);
    }
}

/* The service has stopped in order, and has freed itself with its journal. */
static void process_leave(struct sim_meta *meta)
{
    slot_close(meta->slot);
    state_close(meta->meta_state);
    kms_close(meta->kms);
    sim_kv_crash(meta->tables, sim_random_u64(&meta->random)); /* A service that failed has not flushed them. */
    process_forget(meta, false, false);
}

void sim_meta_reap(struct sim_meta *meta)
{
    switch (meta->doom) {
    case SIM_NOT_DOOMED:
        return;
    case SIM_DOOM_STOPPED:
        process_leave(meta);
        return;
    case SIM_DOOM_KILLED:
        sim_meta_kill(meta);
        return;
    case SIM_DOOM_POWER_LOST:
        sim_meta_crash(meta, false);
        return;
    }
    UNREACHABLE();
}
