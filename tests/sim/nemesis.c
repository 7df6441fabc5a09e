/* nemesis.c - draws the schedule of faults, carries it out, and plays the operator who puts things right again. */
#include "tests/sim/nemesis_private.h"

#include <inttypes.h>
#include <stdlib.h>

#ifndef TRILITH_BUGGIFY
#error "the simulator needs a build with TRILITH_BUGGIFY"
#endif

#define OPERATOR_NS         (500 * NS_PER_MS)
#define STOP_PATIENCE_NS    (8 * NS_PER_S)
#define START_PATIENCE_NS   (60 * NS_PER_S)
#define REFUSALS_MAX        4u /* starts after which a node with a damaged disk is left down */
#define FENCED_LEFT_PERCENT 90u

struct nemesis_ending {
    struct loop_timer timer;
    struct nemesis *nemesis;
    uint32_t event;
};

static const char *const act_names[] = {
#define ACT_NAME(name, label, weight) label,
    NEMESIS_ACTS(ACT_NAME)
#undef ACT_NAME
};

static const uint32_t act_weights[] = {
#define ACT_WEIGHT(name, label, weight) weight,
    NEMESIS_ACTS(ACT_WEIGHT)
#undef ACT_WEIGHT
};

const char *nemesis_act_name(enum nemesis_act act)
{
    CHECK(act < NEMESIS_ACT_COUNT);
    return act_names[act];
}

/* ---- the schedule ----------------------------------------------------------------------------------- */

static enum nemesis_act draw_act(struct sim_random *random)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(act_weights); i++) {
        sum += act_weights[i];
    }
    uint32_t drawn = (uint32_t)sim_random_below(random, sum);
    size_t act = 0;
    while (drawn >= act_weights[act]) {
        drawn -= act_weights[act++];
    }
    return (enum nemesis_act)act;
}

static void draw_event(struct sim_random *random, const struct sim_options *options, struct nemesis_event *event)
{
    event->act = draw_act(random);
    event->node = (uint32_t)sim_random_below(random, options->nodes);
    event->other = (event->node + 1 + (uint32_t)sim_random_below(random, options->nodes)) % (options->nodes + 1);
    event->duration_ns = (50 * NS_PER_MS) << sim_random_below(random, 8); /* 50 ms .. 6.4 s */
    event->duration_ns += sim_random_below(random, event->duration_ns);
    event->amount = sim_random_u64(random);
}

uint32_t nemesis_schedule(const struct sim_options *options, struct nemesis_event events[NEMESIS_EVENTS_MAX])
{
    struct sim_random random = sim_random_of(options->seed ^ UINT64_C(0x6e656d65736973)); /* "nemesis" */
    uint64_t at_ns = 0;
    for (uint32_t count = 0; count < NEMESIS_EVENTS_MAX; count++) {
        at_ns += sim_random_below(&random, 2 * (uint64_t)options->fault_interval_ms * NS_PER_MS) + 1;
        if (at_ns >= options->active_ms * NS_PER_MS) {
            return count;
        }
        events[count].at_ns = at_ns;
        draw_event(&random, options, &events[count]);
    }
    return NEMESIS_EVENTS_MAX;
}

static void machine_print(const struct sim_options *options, uint32_t number, FILE *out)
{
    if (number == options->nodes) {
        fprintf(out, "meta");
    } else {
        fprintf(out, "node%u", number + 1);
    }
}

static void event_print(const struct nemesis *nemesis, uint32_t number, FILE *out)
{
    const struct nemesis_event *event = &nemesis->events[number];
    const struct sim_options *options = &nemesis->cluster->options;
    fprintf(out, "event %u at %.3f s: %s ", number, (double)event->at_ns / 1e9, act_names[event->act]);
    machine_print(options, event->node, out);
    fprintf(out, " ");
    machine_print(options, event->other, out);
    fprintf(out, " for %.3f s, amount %" PRIu64 "\n", (double)event->duration_ns / 1e9, event->amount % 1000);
}

void nemesis_print(const struct nemesis *nemesis, FILE *out)
{
    for (uint32_t i = 0; i < nemesis->event_count; i++) {
        if (!nemesis->left_out[i]) {
            event_print(nemesis, i, out);
        }
    }
}

/* ---- buggify and kill points -------------------------------------------------------------------------- */

static struct nemesis *installed; /* The hooks carry no argument. */

static bool point_fires(enum buggify_point point)
{
    struct nemesis *nemesis = installed;
    nemesis->buggify_met[point]++;
    if (nemesis->over || !nemesis->buggify_active[point] ||
        !sim_random_percent(&nemesis->buggify_random, nemesis->cluster->options.buggify_percent)) {
        return false;
    }
    nemesis->buggify_fired[point]++;
    return true;
}

static void point_passed(enum kill_point point)
{
    struct nemesis *nemesis = installed;
    nemesis->kill_passed[point]++;
    if (nemesis->armed_point != (int)point || sim_cluster_running(nemesis->cluster) == -2) {
        return;
    }
    if (nemesis->armed_passes > 0) {
        nemesis->armed_passes--;
        return;
    }
    nemesis->armed_point = -1;
    nemesis->kill_hit[point]++;
    sim_cluster_condemn_running(nemesis->cluster, nemesis->armed_power);
}

static void draw_buggify(struct nemesis *nemesis)
{
    const struct sim_options *options = &nemesis->cluster->options;
    nemesis->buggify_random = sim_random_of(options->seed ^ UINT64_C(0x62756767696679)); /* "buggify" */
    for (unsigned point = 0; point < BUGGIFY_POINT_COUNT; point++) {
        bool active = sim_random_percent(&nemesis->buggify_random, options->buggify_percent);
        nemesis->buggify_active[point] = active && (options->buggify_off >> point & 1) == 0;
    }
}

/* Two kill points are passed only while the cluster is made. */
static void arm_for_boot(struct nemesis *nemesis)
{
    static const enum kill_point passed_at_boot[] = {KILL_META_CLUSTER_CREATED, KILL_NODE_JOINED};
    struct sim_random random = sim_random_of(nemesis->cluster->options.seed ^ UINT64_C(0x626f6f74)); /* "boot" */
    bool off = (nemesis->cluster->options.acts_off >> NEMESIS_KILL_POINT & 1) != 0;
    if (!off && sim_random_percent(&random, 25)) {
        nemesis->armed_point = (int)passed_at_boot[sim_random_below(&random, ARRAY_LENGTH(passed_at_boot))];
        nemesis->armed_power = sim_random_percent(&random, 50);
    }
}

/* ---- events in time ------------------------------------------------------------------------------------- */

static void ending_fires(struct loop_timer *timer)
{
    struct nemesis_ending *ending = CONTAINER_OF(timer, struct nemesis_ending, timer);
    nemesis_event_ends(ending->nemesis, &ending->nemesis->events[ending->event]);
}

static void next_event_wait(struct nemesis *nemesis)
{
    if (nemesis->next < nemesis->event_count) {
        loop_timer_start(world_loop(nemesis), &nemesis->event_timer,
                         nemesis->began_ns + nemesis->events[nemesis->next].at_ns);
    }
}

static void event_due(struct loop_timer *timer)
{
    struct nemesis *nemesis = CONTAINER_OF(timer, struct nemesis, event_timer);
    uint32_t number = nemesis->next++;
    const struct nemesis_event *event = &nemesis->events[number];
    bool off = nemesis->left_out[number] || (nemesis->cluster->options.acts_off >> event->act & 1) != 0;
    if (!off && nemesis_event_happens(nemesis, event)) {
        nemesis->acts[event->act]++;
        struct nemesis_ending *ending = &nemesis->endings[number];
        loop_timer_start(world_loop(nemesis), &ending->timer,
                         world_ns(nemesis) + nemesis_event_lasts_ns(nemesis, event));
        if (nemesis->trace) {
            fprintf(stderr, "%11.6f ----- ", (double)world_ns(nemesis) / (double)NS_PER_S);
            event_print(nemesis, number, stderr);
        }
    }
    next_event_wait(nemesis);
}

/* ---- the operator ----------------------------------------------------------------------------------------- */

static bool has_fenced_disk(const struct sim_node *node)
{
    for (uint32_t i = 0; node->state == SIM_RUNNING && i < node->disk_count; i++) {
        struct chunk_store_stats stats;
        chunk_store_stats(node->disks[i].store, &stats);
        if (stats.fenced) {
            return true;
        }
    }
    return false;
}

/* A disk with lossy faults may be beyond what a start can mend; there is no repair yet. */
static bool is_given_up(const struct nemesis *nemesis, const struct sim_node *node)
{
    return node->state == SIM_DOWN && nemesis->refusals[node->number] >= REFUSALS_MAX &&
           (nemesis->cluster->options.lossy_nodes >> node->number & 1) != 0;
}

static void node_start(struct nemesis *nemesis, struct sim_node *node)
{
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_disk_fail_after(node->disks[i].disk, 0, STATUS_IO); /* It was the cable. */
    }
    nemesis->refusals[node->number] = node->refusal == STATUS_OK ? 0 : nemesis->refusals[node->number] + 1;
    if (!is_given_up(nemesis, node)) {
        sim_node_start(node);
    }
    /* When this start is refused too, the next try; when it hangs, its end. */
    nemesis->node_back_ns[node->number] = world_ns(nemesis) + NS_PER_S;
}

static void look_after_node(struct nemesis *nemesis, struct sim_node *node)
{
    uint64_t now_ns = world_ns(nemesis);
    uint64_t *back_ns = &nemesis->node_back_ns[node->number];
    switch (node->state) {
    case SIM_DOWN:
        if (now_ns >= *back_ns && !is_given_up(nemesis, node)) {
            node_start(nemesis, node);
        }
        return;
    case SIM_STARTING:
    case SIM_STOPPING:
        if (now_ns >= *back_ns + (node->state == SIM_STARTING ? START_PATIENCE_NS : STOP_PATIENCE_NS)) {
            sim_node_kill(node);
            *back_ns = now_ns;
        }
        return;
    case SIM_RUNNING:
        if (!sim_loop_is_paused(node->loop) && has_fenced_disk(node) &&
            (nemesis->over || sim_random_percent(&node->random, 100 - FENCED_LEFT_PERCENT))) {
            sim_node_stop(node);
            *back_ns = now_ns;
        }
        return;
    }
}

static void look_after_meta(struct nemesis *nemesis)
{
    struct sim_meta *meta = &nemesis->cluster->meta;
    uint64_t now_ns = world_ns(nemesis);
    if (meta->state == SIM_DOWN && now_ns >= nemesis->meta_back_ns) {
        sim_meta_start(meta);
        nemesis->meta_back_ns = now_ns + NS_PER_S;
    } else if ((meta->state == SIM_STARTING || meta->state == SIM_STOPPING) &&
               now_ns >= nemesis->meta_back_ns + STOP_PATIENCE_NS) {
        sim_meta_kill(meta);
        nemesis->meta_back_ns = now_ns;
    }
}

static void operator_looks(struct loop_timer *timer)
{
    struct nemesis *nemesis = CONTAINER_OF(timer, struct nemesis, operator_timer);
    look_after_meta(nemesis);
    for (uint32_t i = 0; i < nemesis->cluster->node_count; i++) {
        look_after_node(nemesis, &nemesis->cluster->nodes[i]);
    }
    loop_timer_start(world_loop(nemesis), timer, world_ns(nemesis) + OPERATOR_NS);
}

bool nemesis_all_is_up(const struct nemesis *nemesis)
{
    const struct sim_cluster *cluster = nemesis->cluster;
    if (cluster->meta.state != SIM_RUNNING) {
        return false;
    }
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        bool fine = node->state == SIM_RUNNING && node->serving && !has_fenced_disk(node);
        if (!fine && !is_given_up(nemesis, node)) {
            return false;
        }
    }
    return true;
}

/* ---- beginning and end -------------------------------------------------------------------------------------- */

void nemesis_init(struct nemesis *nemesis, struct sim_cluster *cluster)
{
    memset(nemesis, 0, sizeof(*nemesis));
    nemesis->cluster = cluster;
    nemesis->event_timer.fire = event_due;
    nemesis->operator_timer.fire = operator_looks;
    nemesis->armed_point = -1;
    nemesis->over = true; /* Nothing else happens before nemesis_start(). */
    arm_for_boot(nemesis);
    nemesis->event_count = nemesis_schedule(&cluster->options, nemesis->events);
    draw_buggify(nemesis);
    nemesis->endings = calloc(nemesis->event_count + 1, sizeof(*nemesis->endings));
    CHECK(nemesis->endings != NULL);
    for (uint32_t i = 0; i < nemesis->event_count; i++) {
        nemesis->endings[i] = (struct nemesis_ending){.timer = {.fire = ending_fires}, .nemesis = nemesis, .event = i};
    }
    installed = nemesis;
    buggify_hooks = (struct buggify_hooks){.fires = point_fires, .passed = point_passed};
}

/* The chances per I/O: those that lose data only where the atlas allows them; the disks of the journal and of the
 * vault are never lossy, because there is only one of each. */
static void disks_begin_to_fail(struct nemesis *nemesis)
{
    struct sim_cluster *cluster = nemesis->cluster;
    struct sim_disk_faults safe = cluster->options.disk_faults;
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        if ((SIM_DISK_LOSSY >> fault & 1) != 0) {
            safe.ppm[fault] = 0;
        }
    }
    sim_disk_set_faults(cluster->meta.disk, &safe);
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        sim_disk_set_faults(sim_vault_disk(&cluster->meta.vault, i), &safe);
    }
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        bool is_lossy = (cluster->options.lossy_nodes >> i & 1) != 0;
        for (uint32_t d = 0; d < cluster->nodes[i].disk_count; d++) {
            sim_disk_set_faults(cluster->nodes[i].disks[d].disk, is_lossy ? &cluster->options.disk_faults : &safe);
        }
    }
}

void nemesis_start(struct nemesis *nemesis)
{
    nemesis->over = false;
    nemesis->armed_point = -1;
    nemesis->began_ns = world_ns(nemesis);
    disks_begin_to_fail(nemesis);
    next_event_wait(nemesis);
    loop_timer_start(world_loop(nemesis), &nemesis->operator_timer, nemesis->began_ns + OPERATOR_NS);
}

static void clock_put_right(const struct nemesis *nemesis, struct sim_loop *loop, int32_t *drift_ppm)
{
    *drift_ppm = 0;
    if (loop != NULL) {
        uint64_t right_ms = loop_wall_ms(world_loop(nemesis));
        uint64_t shown_ms = loop_wall_ms(sim_loop_interface(loop));
        sim_loop_set_drift(loop, 0);
        sim_loop_shift_wall(loop, (int64_t)(right_ms - shown_ms));
    }
}

void nemesis_end(struct nemesis *nemesis)
{
    struct sim_cluster *cluster = nemesis->cluster;
    nemesis->over = true;
    nemesis->armed_point = -1;
    loop_timer_stop(world_loop(nemesis), &nemesis->event_timer);
    for (uint32_t i = 0; i < nemesis->next; i++) {
        if (loop_timer_is_armed(&nemesis->endings[i].timer)) {
            loop_timer_stop(world_loop(nemesis), &nemesis->endings[i].timer);
            nemesis_event_ends(nemesis, &nemesis->events[i]);
        }
    }
    sim_net_heal(cluster->net);
    sim_disk_heal(cluster->meta.disk);
    sim_kv_fail_some(cluster->meta.tables, 0, STATUS_IO);
    sim_kv_fail_some(cluster->meta.vault.covers, 0, STATUS_IO);
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        sim_disk_heal(sim_vault_disk(&cluster->meta.vault, i));
    }
    clock_put_right(nemesis, cluster->meta.loop, &cluster->meta.drift_ppm);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        for (uint32_t d = 0; d < node->disk_count; d++) {
            sim_disk_heal(node->disks[d].disk);
            sim_kv_fail_some(node->disks[d].index, 0, STATUS_IO);
        }
        clock_put_right(nemesis, node->loop, &node->drift_ppm);
        nemesis->refusals[i] = 0;
        nemesis->node_back_ns[i] = 0;
    }
    nemesis->meta_back_ns = 0;
}

void nemesis_stop(struct nemesis *nemesis)
{
    loop_timer_stop(world_loop(nemesis), &nemesis->operator_timer);
    installed = NULL;
    buggify_hooks = (struct buggify_hooks){0};
    free(nemesis->endings);
}
