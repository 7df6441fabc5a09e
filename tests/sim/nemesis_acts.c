/* nemesis_acts.c - what each event does to the cluster, and what its end takes back. */
#include "tests/sim/nemesis_private.h"

#define DRAIN_NS (20 * NS_PER_S)
#define UNDO_NS  (2 * NS_PER_S)

/* ---- doing it ----------------------------------------------------------------------------------------- */

static struct sim_host *machine_of(struct nemesis *nemesis, uint32_t number)
{
    struct sim_cluster *cluster = nemesis->cluster;
    return number == cluster->node_count ? cluster->meta.machine : cluster->nodes[number].machine;
}

static struct sim_loop *loop_of(struct nemesis *nemesis, uint32_t number)
{
    struct sim_cluster *cluster = nemesis->cluster;
    return number == cluster->node_count ? cluster->meta.loop : cluster->nodes[number].loop;
}

static struct sim_disk *disk_of(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_node *node = &nemesis->cluster->nodes[event->node];
    return node->disks[event->amount % node->disk_count].disk;
}

static bool is_running(enum sim_process_state state)
{
    return state == SIM_RUNNING || state == SIM_STARTING;
}

static void node_goes(struct nemesis *nemesis, const struct nemesis_event *event)
{
    nemesis->node_back_ns[event->node] = world_ns(nemesis) + event->duration_ns;
}

static bool act_on_node(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_node *node = &nemesis->cluster->nodes[event->node];
    if (!is_running(node->state)) {
        return false;
    }
    switch (event->act) {
    case NEMESIS_POWER_NODE:
    case NEMESIS_POWER_NODE_SILENT:
    case NEMESIS_LOSE_INDEX:
        sim_node_crash(node, event->act == NEMESIS_POWER_NODE_SILENT);
        break;
    case NEMESIS_KILL_NODE:
        sim_node_kill(node);
        break;
    default:
        sim_node_stop(node);
    }
    if (event->act == NEMESIS_LOSE_INDEX) {
        for (uint32_t i = 0; i < node->disk_count; i++) {
            sim_kv_lose(node->disks[i].index);
            node->disks[i].rebuild_index = true;
        }
    }
    node_goes(nemesis, event);
    return true;
}

static bool act_on_meta(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_meta *meta = &nemesis->cluster->meta;
    if (!is_running(meta->state)) {
        return false;
    }
    if (event->act == NEMESIS_POWER_META) {
        sim_meta_crash(meta, event->amount % 2 == 0);
    } else if (event->act == NEMESIS_KILL_META) {
        sim_meta_kill(meta);
    } else {
        sim_meta_stop(meta);
    }
    nemesis->meta_back_ns = world_ns(nemesis) + event->duration_ns / 2;
    return true;
}

static bool power_fails_everywhere(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_cluster *cluster = nemesis->cluster;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        if (is_running(cluster->nodes[i].state)) {
            sim_node_crash(&cluster->nodes[i], true);
            nemesis->node_back_ns[i] = world_ns(nemesis) + event->duration_ns / (i + 1);
        }
    }
    if (is_running(cluster->meta.state)) {
        sim_meta_crash(&cluster->meta, true);
    }
    return true;
}

static bool pause_somebody(struct nemesis *nemesis, uint32_t number)
{
    struct sim_loop *loop = loop_of(nemesis, number);
    if (loop == NULL || sim_loop_is_paused(loop)) {
        return false;
    }
    sim_loop_pause(loop, true);
    return true;
}

static void cut_both(struct nemesis *nemesis, uint32_t one, uint32_t other, bool cut, bool both_ways)
{
    struct sim_host *a = machine_of(nemesis, one);
    struct sim_host *b = machine_of(nemesis, other);
    sim_net_cut(nemesis->cluster->net, a, b, cut);
    if (both_ways) {
        sim_net_cut(nemesis->cluster->net, b, a, cut);
    }
}

static void isolate(struct nemesis *nemesis, uint32_t number, bool cut)
{
    for (uint32_t other = 0; other <= nemesis->cluster->node_count; other++) {
        if (other != number) {
            cut_both(nemesis, number, other, cut, true);
        }
    }
}

static bool act_on_net(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_net *net = nemesis->cluster->net;
    struct sim_host *node = machine_of(nemesis, event->node);
    struct sim_host *other = machine_of(nemesis, event->other);
    switch (event->act) {
    case NEMESIS_RESET:
        sim_net_reset(net, node, event->amount % 3 == 0 ? NULL : other, event->amount % 2 == 0);
        return true;
    case NEMESIS_CUT:
        cut_both(nemesis, event->node, event->other, true, true);
        return true;
    case NEMESIS_CUT_ONE_WAY:
        cut_both(nemesis, event->node, event->other, true, false);
        return true;
    case NEMESIS_ISOLATE:
        isolate(nemesis, event->node, true);
        return true;
    case NEMESIS_CLOG:
        sim_net_clog(net, node, other, sim_loop_world_ns(nemesis->cluster->world) + event->duration_ns);
        return true;
    case NEMESIS_SLOW_LINK:
        sim_net_slow(net, node, other, 10u << event->amount % 8);
        return true;
    default:
        sim_net_backlog_full(net, other, true);
        return true;
    }
}

/* Only where the atlas allows it. */
static bool rot_something(struct nemesis *nemesis, const struct nemesis_event *event)
{
    static const enum sim_disk_fault kinds[] = {SIM_DISK_ROT_BIT, SIM_DISK_ROT_SECTOR, SIM_DISK_ROT_BLOCK,
                                                SIM_DISK_LATENT};
    if ((nemesis->cluster->options.lossy_nodes >> event->node & 1) == 0) {
        return false;
    }
    bool hit = false;
    for (uint64_t i = 0; i < 1 + event->amount / 16 % 8; i++) {
        hit |= sim_disk_rot(disk_of(nemesis, event), kinds[(event->amount + i) % ARRAY_LENGTH(kinds)]);
    }
    return hit;
}

static bool act_on_disk(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_disk *disk = disk_of(nemesis, event);
    struct sim_node *node = &nemesis->cluster->nodes[event->node];
    switch (event->act) {
    case NEMESIS_SLOW_DISK:
        sim_disk_slow(disk, 10u << event->amount % 11);
        return true;
    case NEMESIS_DYING_DISK: {
        unsigned kinds = event->amount / 8 % 2 == 0 ? ~0u : 1u << DISK_WRITE | 1u << DISK_FLUSH;
        sim_disk_fail_kinds(disk, kinds);
        sim_disk_fail_after(disk, 1 + event->amount % 300, STATUS_IO);
        return true;
    }
    case NEMESIS_FULL_DISK:
        sim_disk_limit_bytes(disk, 1);
        return true;
    default:
        sim_kv_fail_some(node->disks[event->amount % node->disk_count].index, 1 + event->amount / 4 % 4,
                         event->amount % 3 == 0 ? STATUS_FULL : STATUS_IO);
        return true;
    }
}

static bool act_on_clock(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_cluster *cluster = nemesis->cluster;
    uint32_t number = event->amount / 64 % 4 == 0 ? cluster->node_count : event->node;
    struct sim_loop *loop = loop_of(nemesis, number);
    if (event->act == NEMESIS_DRIFT) {
        int32_t ppm = (int32_t)(event->amount % 1001) - 500;
        *(number == cluster->node_count ? &cluster->meta.drift_ppm : &cluster->nodes[number].drift_ppm) = ppm;
        if (loop != NULL) {
            sim_loop_set_drift(loop, ppm);
        }
        return true;
    }
    if (loop == NULL) {
        return false;
    }
    int64_t shift_ms = (int64_t)1 << event->amount % 21; /* 1 ms .. 17 minutes */
    sim_loop_shift_wall(loop, event->amount / 32 % 2 == 0 ? shift_ms : -shift_ms);
    return true;
}

/* These are passed seldom: a quarter of the armings is theirs. */
static const enum kill_point seldom_passed[] = {
    KILL_STORE_SEGMENT_OPENED,  KILL_STORE_SEGMENT_MARKED, KILL_STORE_SEGMENT_WIPED,     KILL_STORE_MOVES_DURABLE,
    KILL_JOURNAL_SEGMENT_BEGUN, KILL_META_TABLES_FLUSHED,  KILL_JOURNAL_SEGMENT_PREPARED};
/* And these when somebody asks for it: another quarter, with the question. (A certificate follows a close only when wipes
 * and gateways are in time, so that one is armed more often.) */
static const enum kill_point passed_on_request[] = {
    KILL_VAULT_SEALED,   KILL_VAULT_COVERS_DURABLE,    KILL_VAULT_TABLE_DURABLE, KILL_VAULT_SHARE_PUT,
    KILL_VAULT_SWITCHED, KILL_VAULT_SHARE_DESTROYED,   KILL_VAULT_TABLE_REMOVED, KILL_VAULT_ERASED,
    KILL_META_DEK_ADDED, KILL_META_CERTIFICATES_SIGNED};

static bool arm_kill_point(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_operator *keeper = &nemesis->cluster->keeper;
    nemesis->armed_passes = 0;
    nemesis->armed_power = event->amount / 128 % 2 == 0;
    switch (event->amount / 512 % 4) {
    case 0:
        nemesis->armed_point = (int)seldom_passed[event->amount % ARRAY_LENGTH(seldom_passed)];
        return true;
    case 1:
        nemesis->armed_point = (int)passed_on_request[event->amount % ARRAY_LENGTH(passed_on_request)];
        return nemesis->armed_point == KILL_META_DEK_ADDED ? sim_operator_rotate(keeper, false)
                                                           : sim_operator_close_epoch(keeper);
    default:
        nemesis->armed_point = (int)(event->amount % KILL_POINT_COUNT);
        nemesis->armed_passes = (uint32_t)(event->amount / 256 % 2 == 0 ? event->amount / 2048 % 40 : 0);
        return true;
    }
}

/* ---- keys and the vault ---------------------------------------------------------------------------------- */

static bool act_on_vault(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_vault *vault = &nemesis->cluster->meta.vault;
    struct sim_disk *disk = sim_vault_disk(vault, (uint32_t)(event->amount / 16 % SIM_VAULT_DISKS));
    switch (event->act) {
    case NEMESIS_FAIL_COVERS:
        sim_kv_fail_some(vault->covers, 1 + event->amount % 3, event->amount % 2 == 0 ? STATUS_FULL : STATUS_IO);
        return true;
    case NEMESIS_FULL_VAULT:
        sim_disk_limit_bytes(disk, 1);
        return true;
    default:
        sim_disk_slow(disk, 10u << event->amount % 11);
        return true;
    }
}

static bool act_on_keys(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_operator *keeper = &nemesis->cluster->keeper;
    switch (event->act) {
    case NEMESIS_CLOSE_EPOCH:
        return sim_operator_close_epoch(keeper);
    case NEMESIS_ROTATE_DEK:
    case NEMESIS_ROTATE_CMK:
        return sim_operator_rotate(keeper, event->act == NEMESIS_ROTATE_CMK);
    case NEMESIS_REVOKE:
        sim_operator_revoke(keeper, true);
        return true;
    default:
        nemesis->cluster->meta.vault.kms_is_away = true;
        return true;
    }
}

static bool drain_disk(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_node *node = &nemesis->cluster->nodes[event->node];
    if (node->state != SIM_RUNNING) {
        return false;
    }
    uint32_t disk_id = atomic_load(&node->host->disks[event->amount % node->disk_count].id);
    return sim_operator_drain(&nemesis->cluster->keeper, disk_id);
}

/* Leases of keys outlive most events: without keys, and without what wraps them, the tenant is for longer than that. */
uint64_t nemesis_event_lasts_ns(const struct nemesis *nemesis, const struct nemesis_event *event)
{
    uint64_t lease_ns = nemesis->cluster->options.key_lease_ms * NS_PER_MS;
    bool is_about_keys = event->act == NEMESIS_REVOKE || event->act == NEMESIS_KMS_AWAY;
    if (event->act == NEMESIS_DRAIN) { /* Most of the time long enough to empty it. */
        return event->duration_ns + (event->amount % 4 != 0 ? DRAIN_NS : 0);
    }
    if (event->act == NEMESIS_HOLD) { /* Longer than a time of grace, so that its end is held up. */
        return event->duration_ns + nemesis->cluster->options.grace_ms * NS_PER_MS;
    }
    return event->duration_ns + (is_about_keys && event->amount % 4 != 0 ? lease_ns + lease_ns / 8 : 0);
}

bool nemesis_event_happens(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_cluster *cluster = nemesis->cluster;
    switch (event->act) {
    case NEMESIS_POWER_NODE:
    case NEMESIS_POWER_NODE_SILENT:
    case NEMESIS_KILL_NODE:
    case NEMESIS_STOP_NODE:
    case NEMESIS_LOSE_INDEX:
        return act_on_node(nemesis, event);
    case NEMESIS_PAUSE_NODE:
        return pause_somebody(nemesis, event->node);
    case NEMESIS_POWER_ALL:
        return power_fails_everywhere(nemesis, event);
    case NEMESIS_POWER_META:
    case NEMESIS_KILL_META:
    case NEMESIS_STOP_META:
        return act_on_meta(nemesis, event);
    case NEMESIS_PAUSE_META:
        return pause_somebody(nemesis, cluster->node_count);
    case NEMESIS_FAIL_TABLES:
        sim_kv_fail_some(cluster->meta.tables, 1, STATUS_IO);
        return true;
    case NEMESIS_KILL_POINT:
        return arm_kill_point(nemesis, event);
    case NEMESIS_RESET:
    case NEMESIS_CUT:
    case NEMESIS_CUT_ONE_WAY:
    case NEMESIS_ISOLATE:
    case NEMESIS_CLOG:
    case NEMESIS_SLOW_LINK:
    case NEMESIS_BACKLOG:
        return act_on_net(nemesis, event);
    case NEMESIS_FAIL_INDEX:
    case NEMESIS_SLOW_DISK:
    case NEMESIS_DYING_DISK:
    case NEMESIS_FULL_DISK:
        return act_on_disk(nemesis, event);
    case NEMESIS_ROT:
        return rot_something(nemesis, event);
    case NEMESIS_FULL_META:
        sim_disk_limit_bytes(cluster->meta.disk, 1);
        return true;
    case NEMESIS_DRIFT:
    case NEMESIS_WALL_JUMP:
        return act_on_clock(nemesis, event);
    case NEMESIS_FAIL_COVERS:
    case NEMESIS_FULL_VAULT:
    case NEMESIS_SLOW_VAULT:
        return act_on_vault(nemesis, event);
    case NEMESIS_CLOSE_EPOCH:
    case NEMESIS_ROTATE_DEK:
    case NEMESIS_ROTATE_CMK:
    case NEMESIS_REVOKE:
    case NEMESIS_KMS_AWAY:
        return act_on_keys(nemesis, event);
    case NEMESIS_DRAIN:
        return drain_disk(nemesis, event);
    case NEMESIS_UNDO:
        return sim_operator_undo(&cluster->keeper, event->amount, event->duration_ns + UNDO_NS);
    case NEMESIS_HOLD:
        return sim_operator_hold(&cluster->keeper, event->amount);
    case NEMESIS_ACT_COUNT:
        break;
    }
    UNREACHABLE();
}

/* ---- the end of what lasts ------------------------------------------------------------------------------ */

static void resume(struct nemesis *nemesis, uint32_t number)
{
    struct sim_loop *loop = loop_of(nemesis, number);
    if (loop != NULL && sim_loop_is_paused(loop)) {
        sim_loop_pause(loop, false);
    }
}

void nemesis_event_ends(struct nemesis *nemesis, const struct nemesis_event *event)
{
    struct sim_cluster *cluster = nemesis->cluster;
    switch (event->act) {
    case NEMESIS_PAUSE_NODE:
        resume(nemesis, event->node);
        return;
    case NEMESIS_PAUSE_META:
        resume(nemesis, cluster->node_count);
        return;
    case NEMESIS_CUT:
        cut_both(nemesis, event->node, event->other, false, true);
        return;
    case NEMESIS_CUT_ONE_WAY:
        cut_both(nemesis, event->node, event->other, false, false);
        return;
    case NEMESIS_ISOLATE:
        isolate(nemesis, event->node, false);
        return;
    case NEMESIS_SLOW_LINK:
        sim_net_slow(cluster->net, machine_of(nemesis, event->node), machine_of(nemesis, event->other), 1);
        return;
    case NEMESIS_BACKLOG:
        sim_net_backlog_full(cluster->net, machine_of(nemesis, event->other), false);
        return;
    case NEMESIS_SLOW_DISK:
        sim_disk_slow(disk_of(nemesis, event), 1);
        return;
    case NEMESIS_FULL_DISK:
        sim_disk_limit_bytes(disk_of(nemesis, event), UINT64_MAX);
        return;
    case NEMESIS_FULL_META:
        sim_disk_limit_bytes(cluster->meta.disk, UINT64_MAX);
        return;
    case NEMESIS_FULL_VAULT:
    case NEMESIS_SLOW_VAULT:
        for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
            sim_disk_limit_bytes(sim_vault_disk(&cluster->meta.vault, i), UINT64_MAX);
            sim_disk_slow(sim_vault_disk(&cluster->meta.vault, i), 1);
        }
        return;
    case NEMESIS_REVOKE:
        sim_operator_revoke(&cluster->keeper, false);
        return;
    case NEMESIS_KMS_AWAY:
        cluster->meta.vault.kms_is_away = false;
        return;
    case NEMESIS_DRAIN:
        sim_operator_keep(&cluster->keeper);
        return;
    case NEMESIS_HOLD:
        sim_operator_let_go(&cluster->keeper);
        return;
    default: /* Nothing that lasts. */
        return;
    }
}
