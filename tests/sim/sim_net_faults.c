/* sim_net_faults.c - the ways between hosts, and what goes wrong on them. */
#include "tests/sim/sim_net_private.h"

#define LATENCY_MIN_NS (5 * NS_PER_US)
#define LATENCY_MAX_NS (100 * NS_PER_US)
#define FACTOR_MAX     10000u
#define SOME_PERCENT   50u

const char *sim_net_fault_name(enum sim_net_fault fault)
{
    static const char *const names[SIM_NET_FAULTS] = {
        [SIM_NET_RESET] = "reset",         [SIM_NET_CUT] = "cut",
        [SIM_NET_CLOG] = "clog",           [SIM_NET_SLOW] = "slow",
        [SIM_NET_HALF_OPEN] = "half_open", [SIM_NET_BACKLOG] = "backlog",
        [SIM_NET_SHORT] = "short",
    };
    CHECK(fault < SIM_NET_FAULTS);
    return names[fault];
}

uint64_t sim_net_fault_count(const struct sim_net *net, enum sim_net_fault fault)
{
    CHECK(fault < SIM_NET_FAULTS);
    return net->counts[fault];
}

/* ---- ways --------------------------------------------------------------------------------------------- */

struct sim_way *sim_way(const struct sim_host *from, const struct sim_host *to)
{
    return &from->net->ways[from->number][to->number];
}

static bool is_clogged(const struct sim_host *from, const struct sim_host *to)
{
    return sim_way(from, to)->clog_until_ns > sim_loop_world_ns(from->net->loop);
}

bool sim_way_is_open(const struct sim_host *from, const struct sim_host *to)
{
    return !sim_way(from, to)->cut && !is_clogged(from, to);
}

static void meet(struct sim_net *net, enum sim_net_fault fault, unsigned *met)
{
    if ((*met & 1u << fault) == 0) {
        *met |= 1u << fault;
        net->counts[fault]++;
    }
}

void sim_way_meet(const struct sim_host *from, const struct sim_host *to, unsigned *met)
{
    if (sim_way(from, to)->cut) {
        meet(from->net, SIM_NET_CUT, met);
    }
    if (is_clogged(from, to)) {
        meet(from->net, SIM_NET_CLOG, met);
    }
}

uint64_t sim_way_latency_ns(const struct sim_host *from, const struct sim_host *to)
{
    uint64_t latency_ns = sim_random_between(&from->net->random, LATENCY_MIN_NS, LATENCY_MAX_NS);
    uint32_t factor = sim_way(from, to)->factor;
    return factor > 1 ? latency_ns * factor : latency_ns;
}

/* A way has changed: what waited at its far end is tried again, and so is what sends there and waits for room. */
static void way_changed(struct sim_host *from, struct sim_host *to)
{
    LIST_EACH (&to->ends, link) {
        struct sim_end *end = LIST_ENTRY(link, struct sim_end, link);
        if (end->peer->host == from) {
            sim_end_retry(end);
        }
    }
    LIST_EACH (&to->ghosts, link) {
        struct sim_end *end = LIST_ENTRY(link, struct sim_end, link);
        if (end->peer->host == from) {
            sim_ghost_answer(end, 0);
        }
    }
}

/* ---- faults ------------------------------------------------------------------------------------------- */

static bool is_reset_victim(const struct sim_end *end, const struct sim_host *host, const struct sim_host *other)
{
    bool is_between = other == NULL || other == host || end->peer->host == other;
    bool is_whole = !end->closed && !end->broken && !end->pair->was_reset;
    return is_between && is_whole;
}

void sim_net_reset(struct sim_net *net, struct sim_host *host, struct sim_host *other, bool some)
{
    LIST_EACH (&host->ends, link) {
        struct sim_end *end = LIST_ENTRY(link, struct sim_end, link);
        if (!is_reset_victim(end, host, other) || (some && !sim_random_percent(&net->random, SOME_PERCENT))) {
            continue;
        }
        net->counts[SIM_NET_RESET]++;
        end->pair->was_reset = true;
        sim_end_reset(end);
        sim_end_reset(end->peer);
    }
}

void sim_net_cut(struct sim_net *net, struct sim_host *from, struct sim_host *to, bool cut)
{
    CHECK(from->net == net && to->net == net);
    sim_way(from, to)->cut = cut;
    way_changed(from, to);
}

void sim_net_clog(struct sim_net *net, struct sim_host *from, struct sim_host *to, uint64_t until_ns)
{
    CHECK(from->net == net && to->net == net);
    sim_way(from, to)->clog_until_ns = until_ns;
    way_changed(from, to);
}

void sim_net_slow(struct sim_net *net, struct sim_host *from, struct sim_host *to, uint32_t factor)
{
    CHECK(from->net == net && to->net == net);
    CHECK(factor >= 1 && factor <= FACTOR_MAX);
    sim_way(from, to)->factor = factor;
}

void sim_net_backlog_full(struct sim_net *net, struct sim_host *host, bool full)
{
    CHECK(host->net == net);
    host->backlog_full = full;
}

void sim_net_heal(struct sim_net *net)
{
    for (unsigned from = 0; from < net->host_count; from++) {
        net->hosts[from]->backlog_full = false;
        for (unsigned to = 0; to < net->host_count; to++) {
            struct sim_way *way = &net->ways[from][to];
            bool was_blocked = way->cut || way->clog_until_ns > sim_loop_world_ns(net->loop);
            *way = (struct sim_way){.cut = false};
            if (was_blocked) {
                way_changed(net->hosts[from], net->hosts[to]);
            }
        }
    }
}
