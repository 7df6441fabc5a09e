/* sim_net_connect.c - how streams come to be: listeners, and connects that may have to wait for them.
 *
 * A connect that is held, cut off, or meets a full backlog or a silent host tries again, less and less often, until its
 * deadline. Where nobody listens on a host that answers, it is refused at once. */
#include "tests/sim/sim_net_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_NS      (10 * NS_PER_MS)
#define RETRY_MAX_NS      (320 * NS_PER_MS)
#define FIRST_PICKED_PORT 20000u

static struct sim_host *host_of(struct net *net)
{
    return CONTAINER_OF(net, struct sim_host, base);
}

/* ---- finding ------------------------------------------------------------------------------------------ */

/* The first listener of an address; only one with an owner, when `owned`. */
static struct sim_listener *listener_find(struct sim_net *net, const char *address, bool owned)
{
    LIST_EACH (&net->listeners, link) {
        struct sim_listener *listener = LIST_ENTRY(link, struct sim_listener, link);
        if ((listener->request != NULL || !owned) && strcmp(listener->address, address) == 0) {
            return listener;
        }
    }
    return NULL;
}

/* The host an address leads to: where something listens or listened on it, or that is named in it. NULL: none. */
static struct sim_host *host_find(struct sim_net *net, const char *address)
{
    const struct sim_listener *listener = listener_find(net, address, false);
    if (listener != NULL) {
        return listener->host;
    }
    const char *colon = strrchr(address, ':');
    size_t bytes = colon != NULL ? (size_t)(colon - address) : strlen(address);
    for (unsigned i = 0; i < net->host_count; i++) {
        const char *name = net->hosts[i]->name;
        if (strlen(name) == bytes && memcmp(name, address, bytes) == 0) {
            return net->hosts[i];
        }
    }
    return NULL;
}

/* ---- connecting --------------------------------------------------------------------------------------- */

void sim_connect_free(struct sim_connect *connect)
{
    loop_timer_stop(sim_loop_interface(connect->host->loop), &connect->timer);
    list_remove(&connect->link);
    free(connect);
}

static void connect_end(struct sim_connect *connect, enum status status, struct stream *stream)
{
    struct net_connect *request = connect->request;
    sim_loop_note(connect->host->loop, (uint64_t)status);
    sim_connect_free(connect);
    request->status = status;
    request->done(request, stream);
}

/* Whether the host at the other side can't be heard of now, counting why. */
static bool must_wait(struct sim_connect *connect, struct sim_host *target)
{
    struct sim_host *host = connect->host;
    struct sim_net *net = host->net;
    if (sim_net_is_held(net, connect->address)) {
        return true;
    }
    if (target == NULL) {
        return false;
    }
    if (!sim_way_is_open(host, target) || !sim_way_is_open(target, host)) {
        sim_way_meet(host, target, &connect->met);
        sim_way_meet(target, host, &connect->met);
        return true;
    }
    if (target->backlog_full && target->loop != NULL && (connect->met & 1u << SIM_NET_BACKLOG) == 0) {
        connect->met |= 1u << SIM_NET_BACKLOG;
        net->counts[SIM_NET_BACKLOG]++;
    }
    return target->loop != NULL ? target->backlog_full : target->silent;
}

/* Wake at the next attempt or at the deadline, whichever is first. */
static void connect_arm(struct sim_connect *connect)
{
    uint64_t wake_ns = sim_loop_deadline_ns(connect->host->loop, connect->due_ns);
    wake_ns = wake_ns < connect->deadline_ns ? wake_ns : connect->deadline_ns;
    loop_timer_start(sim_loop_interface(connect->host->loop), &connect->timer, wake_ns);
}

static void connect_accepted(struct sim_connect *connect, struct sim_listener *listener)
{
    struct sim_net *net = connect->host->net;
    /* The next connection goes to the next listener of this address. */
    list_remove(&listener->link);
    list_append(&net->listeners, &listener->link);

    struct sim_pair *pair = sim_pair_new(connect->host, listener->host, connect->address);
    struct sim_end *theirs = &pair->ends[1];
    theirs->listener = listener;
    list_append(&listener->untold, &theirs->accept_link);
    sim_end_arm(theirs, &theirs->accept, sim_loop_world_ns(net->loop));
    connect_end(connect, STATUS_OK, &pair->ends[0].base);
}

static void connect_progress(struct loop_timer *timer)
{
    struct sim_connect *connect = CONTAINER_OF(timer, struct sim_connect, timer);
    struct sim_host *host = connect->host;
    uint64_t now_ns = sim_loop_world_ns(host->net->loop);
    bool expired = loop_now_ns(sim_loop_interface(host->loop)) >= connect->deadline_ns;
    if (now_ns < connect->due_ns) {
        if (expired) {
            connect_end(connect, STATUS_TIMEOUT, NULL);
        } else {
            connect_arm(connect);
        }
        return;
    }
    if (must_wait(connect, host_find(host->net, connect->address))) {
        if (expired) {
            connect_end(connect, STATUS_TIMEOUT, NULL);
            return;
        }
        connect->due_ns = now_ns + connect->retry_ns;
        connect->retry_ns = connect->retry_ns < RETRY_MAX_NS ? connect->retry_ns * 2 : RETRY_MAX_NS;
        connect_arm(connect);
        return;
    }
    struct sim_listener *listener = listener_find(host->net, connect->address, true);
    if (listener == NULL) {
        connect_end(connect, STATUS_UNAVAILABLE, NULL);
        return;
    }
    connect_accepted(connect, listener);
}

void sim_connect_start(struct net *base, struct net_connect *request, const char *address, uint64_t deadline_ns)
{
    struct sim_host *host = host_of(base);
    CHECK(host->loop != NULL);
    CHECK(strlen(address) < NET_ADDRESS_BYTES);
    struct sim_connect *connect = calloc(1, sizeof(*connect));
    CHECK(connect != NULL);
    const struct sim_host *target = host_find(host->net, address);
    connect->host = host;
    connect->request = request;
    connect->timer.fire = connect_progress;
    connect->deadline_ns = deadline_ns;
    connect->retry_ns = RETRY_MIN_NS;
    connect->due_ns = sim_loop_world_ns(host->net->loop) + sim_way_latency_ns(host, target != NULL ? target : host);
    memcpy(connect->address, address, strlen(address) + 1);
    list_append(&host->connects, &connect->link);
    connect_arm(connect);
}

/* ---- listening ---------------------------------------------------------------------------------------- */

/* Forget the listeners that an earlier life of `host` has left; those of `address` only, unless it is NULL. */
static void listeners_forget(struct sim_host *host, const char *address)
{
    LIST_EACH (&host->net->listeners, link) {
        struct sim_listener *listener = LIST_ENTRY(link, struct sim_listener, link);
        if (listener->host == host && listener->request == NULL &&
            (address == NULL || strcmp(listener->address, address) == 0)) {
            list_remove(link);
            free(listener);
        }
    }
}

void sim_listeners_abandon(struct sim_host *host)
{
    listeners_forget(host, NULL);
    LIST_EACH (&host->net->listeners, link) {
        struct sim_listener *listener = LIST_ENTRY(link, struct sim_listener, link);
        if (listener->host == host) {
            listener->request = NULL;
        }
    }
}

enum status sim_listen(struct net *base, struct net_listener *request, const char *address)
{
    struct sim_host *host = host_of(base);
    CHECK(host->loop != NULL);
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strlen(address) + 5 >= NET_ADDRESS_BYTES) {
        return STATUS_INVALID;
    }
    struct sim_listener *listener = calloc(1, sizeof(*listener));
    CHECK(listener != NULL);
    if (strcmp(colon, ":0") == 0) {
        snprintf(listener->address, sizeof(listener->address), "%.*s:%u", (int)(colon - address), address,
                 FIRST_PICKED_PORT + host->net->next_port++);
    } else {
        memcpy(listener->address, address, strlen(address) + 1);
    }
    listeners_forget(host, listener->address);
    listener->host = host;
    listener->request = request;
    list_init(&listener->untold);
    memcpy(request->address, listener->address, sizeof(request->address));
    request->private_state = listener;
    list_append(&host->net->listeners, &listener->link);
    return STATUS_OK;
}

void sim_listener_close(struct net *base, struct net_listener *request)
{
    (void)base;
    struct sim_listener *listener = request->private_state;
    LIST_EACH (&listener->untold, link) {
        list_remove(link);
        LIST_ENTRY(link, struct sim_end, accept_link)->listener = NULL;
    }
    list_remove(&listener->link);
    free(listener);
    request->private_state = NULL;
}
