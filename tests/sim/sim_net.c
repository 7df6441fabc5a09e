/* sim_net.c - the network as a whole: its hosts, and what unit tests do to it. */
#include "tests/sim/sim_net_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MIN_NS (100 * NS_PER_US)
#define ANSWER_MAX_NS (50 * NS_PER_MS)

static const struct net_ops sim_net_ops = {
    .connect = sim_connect_start,
    .listen = sim_listen,
    .listener_close = sim_listener_close,
    .recv = sim_stream_recv,
    .send = sim_stream_send,
    .close = sim_stream_close,
};

/* ---- hosts ------------------------------------------------------------------------------------------ */

static struct sim_host *host_find(const struct sim_net *net, const char *name)
{
    for (unsigned i = 0; i < net->host_count; i++) {
        if (strcmp(net->hosts[i]->name, name) == 0) {
            return net->hosts[i];
        }
    }
    return NULL;
}

static struct sim_host *host_new(struct sim_net *net, const char *name)
{
    CHECK(net->host_count < SIM_HOSTS_MAX);
    CHECK(strlen(name) < NET_ADDRESS_BYTES);
    struct sim_host *host = calloc(1, sizeof(*host));
    CHECK(host != NULL);
    host->base.ops = &sim_net_ops;
    host->net = net;
    host->number = net->host_count;
    snprintf(host->name, sizeof(host->name), "%s", name);
    list_init(&host->ends);
    list_init(&host->ghosts);
    list_init(&host->connects);
    net->hosts[net->host_count++] = host;
    return host;
}

/* TCP on the other machines still sends what nobody has answered. */
static void ghosts_answer(struct sim_host *host)
{
    LIST_EACH (&host->ghosts, link) {
        sim_ghost_answer(LIST_ENTRY(link, struct sim_end, link),
                         sim_random_between(&host->net->random, ANSWER_MIN_NS, ANSWER_MAX_NS));
    }
}

struct sim_host *sim_net_host(struct sim_net *net, const char *name, struct sim_loop *loop)
{
    struct sim_host *host = host_find(net, name);
    if (host == NULL) {
        host = host_new(net, name);
    }
    CHECK(host->loop == NULL);
    host->loop = loop;
    host->silent = false;
    ghosts_answer(host);
    return host;
}

struct net *sim_host_interface(struct sim_host *host)
{
    return &host->base;
}

unsigned sim_host_open_streams(const struct sim_host *host)
{
    return host->open_ends;
}

/* The peer of an end whose host crashes hears of it in a while, or never. */
static void crash_tell(struct sim_end *end, bool silent)
{
    struct sim_net *net = end->host->net;
    struct sim_end *peer = end->peer;
    if (end->closed || end->broken || peer->closed || peer->gone || peer->broken || peer->host == end->host) {
        return;
    }
    if (silent) {
        net->counts[SIM_NET_HALF_OPEN]++;
        return;
    }
    end->told = true;
    uint64_t delay_ns = sim_random_between(&net->random, ANSWER_MIN_NS, ANSWER_MAX_NS);
    sim_end_tell(peer, SIM_NEWS_RESET, 0, sim_loop_world_ns(net->loop) + delay_ns);
}

void sim_host_crash(struct sim_host *host, bool silent)
{
    CHECK(host->loop != NULL);
    sim_listeners_abandon(host);
    LIST_EACH (&host->connects, link) {
        sim_connect_free(LIST_ENTRY(link, struct sim_connect, link));
    }
    for (struct list_link *link; (link = list_first(&host->ends)) != NULL;) {
        struct sim_end *end = LIST_ENTRY(link, struct sim_end, link);
        crash_tell(end, silent);
        sim_end_abandon(end);
    }
    CHECK(host->open_ends == 0);
    host->loop = NULL;
    host->silent = silent;
}

/* ---- the test's side ---------------------------------------------------------------------------------- */

struct sim_net *sim_net_open(struct sim_loop *loop, uint64_t seed)
{
    struct sim_net *net = calloc(1, sizeof(*net));
    CHECK(net != NULL);
    net->loop = loop;
    net->random = sim_random_of(seed);
    list_init(&net->pairs);
    list_init(&net->listeners);
    list_init(&net->spare_news);
    host_new(net, "")->loop = loop;
    return net;
}

void sim_net_close(struct sim_net *net)
{
    LIST_EACH (&net->pairs, link) {
        sim_pair_free(LIST_ENTRY(link, struct sim_pair, link));
    }
    LIST_EACH (&net->listeners, link) {
        list_remove(link);
        free(LIST_ENTRY(link, struct sim_listener, link));
    }
    LIST_EACH (&net->spare_news, link) {
        list_remove(link);
        free(LIST_ENTRY(link, struct sim_news, link));
    }
    sim_rings_free(&net->rings);
    for (unsigned i = 0; i < net->host_count; i++) {
        LIST_EACH (&net->hosts[i]->connects, link) {
            sim_connect_free(LIST_ENTRY(link, struct sim_connect, link));
        }
        free(net->hosts[i]);
    }
    free(net);
}

struct net *sim_net_interface(struct sim_net *net)
{
    return &net->hosts[0]->base;
}

static void pair_reset(struct sim_pair *pair)
{
    sim_end_reset(&pair->ends[0]);
    sim_end_reset(&pair->ends[1]);
}

void sim_net_break(struct sim_net *net)
{
    LIST_EACH (&net->pairs, link) {
        pair_reset(LIST_ENTRY(link, struct sim_pair, link));
    }
}

void sim_net_break_address(struct sim_net *net, const char *address)
{
    LIST_EACH (&net->pairs, link) {
        struct sim_pair *pair = LIST_ENTRY(link, struct sim_pair, link);
        if (strcmp(pair->address, address) == 0) {
            pair_reset(pair);
        }
    }
}

void sim_net_hold(struct sim_net *net, const char *address, bool held)
{
    CHECK(strlen(address) < NET_ADDRESS_BYTES);
    if (held) {
        memcpy(net->held, address, strlen(address) + 1);
        return;
    }
    net->held[0] = '\0';
    LIST_EACH (&net->pairs, link) {
        struct sim_pair *pair = LIST_ENTRY(link, struct sim_pair, link);
        sim_end_pump(&pair->ends[0]);
        sim_end_pump(&pair->ends[1]);
    }
}

bool sim_net_is_held(const struct sim_net *net, const char *address)
{
    return net->held[0] != '\0' && strcmp(net->held, address) == 0;
}

unsigned sim_net_open_streams(const struct sim_net *net)
{
    return net->open_ends;
}
