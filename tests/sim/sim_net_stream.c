/* sim_net_stream.c - the ends of streams: sending, arriving, receiving, closing.
 *
 * One thing per timer, so that a test can step through them. A `done` is the last thing that happens in its step, for it
 * may close the stream. */
#include "tests/sim/sim_net_private.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES_MAX KIB(64)
#define TINY_PERCENT      10
#define ROOM_TOLD_BYTES   (SIM_PIPE_BYTES / 4)
#define ROOM_WORTH_BYTES  KIB(64) /* a sender that has filled the pipe waits for this much room, or that for the rest */

static struct sim_end *end_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct sim_end, base);
}

static struct sim_net *net_of(const struct sim_end *end)
{
    return end->pair->net;
}

static uint64_t now_ns(const struct sim_end *end)
{
    return sim_loop_world_ns(net_of(end)->loop);
}

static struct loop *loop_of(const struct sim_end *end)
{
    return sim_loop_interface(end->host->loop);
}

void sim_end_arm(struct sim_end *end, struct loop_timer *timer, uint64_t world_ns)
{
    loop_timer_start(loop_of(end), timer, sim_loop_deadline_ns(end->host->loop, world_ns));
}

/* ---- flights ------------------------------------------------------------------------------------------ */

static bool is_flying(const struct sim_flight *flight)
{
    return flight->io != NULL && !loop_timer_is_armed(&flight->done);
}

/* The recv or send has ended; its owner hears of it soon. */
static void flight_end(struct sim_end *end, struct sim_flight *flight, enum status status)
{
    flight->io->status = status;
    sim_loop_note(end->host->loop, end->pair->number << 8 ^ (uint64_t)status);
    sim_loop_note(end->host->loop, flight->io->bytes);
    sim_end_arm(end, &flight->done, now_ns(end));
}

static bool is_done_with(const struct sim_end *end)
{
    return (end->closed || end->gone) && end->recv.io == NULL && end->send.io == NULL;
}

static void pair_free_when_done(struct sim_pair *pair)
{
    if (is_done_with(&pair->ends[0]) && is_done_with(&pair->ends[1])) {
        sim_pair_free(pair);
    }
}

static void flight_done(struct sim_end *end, struct sim_flight *flight)
{
    struct stream_io *io = flight->io;
    flight->io = NULL;
    pair_free_when_done(end->pair);
    io->done(io);
}

static void recv_done(struct loop_timer *timer)
{
    struct sim_end *end = CONTAINER_OF(timer, struct sim_end, recv.done);
    flight_done(end, &end->recv);
}

static void send_done(struct loop_timer *timer)
{
    struct sim_end *end = CONTAINER_OF(timer, struct sim_end, send.done);
    flight_done(end, &end->send);
}

/* ---- receiving ---------------------------------------------------------------------------------------- */

/* Whether bytes that arrive here have a reader. */
static bool is_reading(const struct sim_end *end)
{
    return !end->closed && !end->broken && !end->gone;
}

/* Whether the sender is to be told that there is room again. Not for every few bytes: as with TCP's window, it would then
 * cut all it sends into ever smaller pieces. */
static bool is_room_worth_telling(const struct sim_end *end)
{
    return end->unknown_bytes >= ROOM_TOLD_BYTES || end->arrived_bytes + end->under_way_bytes == 0;
}

/* There is room again. The sender hears of it when the way back is open. */
static void taken(struct sim_end *end, size_t bytes)
{
    end->unknown_bytes += bytes;
    if (is_room_worth_telling(end)) {
        sim_end_pump(end->peer);
    }
}

/* Hand what has arrived to the recv in flight, and end it when that is enough or no more will come. */
static void recv_progress(struct sim_end *end)
{
    if (!is_flying(&end->recv)) {
        return;
    }
    struct stream_io *io = end->recv.io;
    size_t wanted = io->bytes_max - io->bytes;
    size_t bytes = wanted < end->arrived_bytes ? wanted : end->arrived_bytes;
    if (bytes > 0) {
        sim_pipe_drain(&end->pipe, io->buffer + io->bytes, bytes);
        end->arrived_bytes -= bytes;
        io->bytes += bytes;
        taken(end, bytes);
    }
    if (io->bytes >= io->bytes_min) {
        flight_end(end, &end->recv, STATUS_OK);
    } else if (end->broken || end->finished) {
        flight_end(end, &end->recv, end->broken ? STATUS_IO : STATUS_CLOSED);
    }
}

/* ---- news --------------------------------------------------------------------------------------------- */

static struct sim_news *news_first(const struct sim_end *end)
{
    struct list_link *link = list_first(&end->news);
    return link != NULL ? LIST_ENTRY(link, struct sim_news, link) : NULL;
}

static void news_spare(struct sim_end *end, struct sim_news *news)
{
    list_remove(&news->link);
    list_append(&net_of(end)->spare_news, &news->link);
}

static void news_clear(struct sim_end *end)
{
    for (struct sim_news *news; (news = news_first(end)) != NULL;) {
        news_spare(end, news);
    }
    end->under_way_bytes = 0;
    end->stalled = false;
    if (!end->gone) {
        loop_timer_stop(loop_of(end), &end->arrival);
    }
}

static struct sim_news *news_new(struct sim_net *net, enum sim_news_kind kind, size_t bytes, uint64_t due_ns)
{
    struct list_link *link = list_take_first(&net->spare_news);
    struct sim_news *news = link != NULL ? LIST_ENTRY(link, struct sim_news, link) : malloc(sizeof(*news));
    CHECK(news != NULL);
    *news = (struct sim_news){.kind = kind, .bytes = bytes, .due_ns = due_ns};
    return news;
}

static void news_meet(struct sim_end *end, struct sim_news *news)
{
    if (!news->met_fault) {
        unsigned met = 0;
        sim_way_meet(end->peer->host, end->host, &met);
        news->met_fault = met != 0;
    }
}

void sim_end_tell(struct sim_end *end, enum sim_news_kind kind, size_t bytes, uint64_t due_ns)
{
    CHECK(!end->gone);
    end->last_due_ns = due_ns > end->last_due_ns ? due_ns : end->last_due_ns;
    struct sim_news *news = news_new(net_of(end), kind, bytes, end->last_due_ns);
    news_meet(end, news);
    list_append(&end->news, &news->link);
    end->under_way_bytes += bytes;
    if (news_first(end) == news) {
        sim_end_arm(end, &end->arrival, news->due_ns);
    }
}

static void end_break(struct sim_end *end)
{
    news_clear(end);
    sim_pipe_free(&end->pipe);
    end->arrived_bytes = 0;
    end->broken = true;
    if (!end->closed) {
        recv_progress(end);
        sim_end_pump(end);
    }
}

static void bytes_arrive(struct sim_end *end, size_t bytes)
{
    CHECK(end->under_way_bytes >= bytes);
    end->under_way_bytes -= bytes;
    if (is_reading(end)) {
        end->arrived_bytes += bytes;
        recv_progress(end);
    } else {
        taken(end, bytes);
    }
}

static void news_happen(struct sim_end *end, enum sim_news_kind kind, size_t bytes)
{
    switch (kind) {
    case SIM_NEWS_BYTES:
        bytes_arrive(end, bytes);
        return;
    case SIM_NEWS_FINISH:
        end->finished = true;
        recv_progress(end);
        sim_end_pump(end);
        return;
    case SIM_NEWS_RESET:
        end_break(end);
        return;
    }
    UNREACHABLE();
}

/* The first news waits for its way to open: sim_end_retry() comes again, after a clog by itself. */
static void stall(struct sim_end *end)
{
    const struct sim_way *way = sim_way(end->peer->host, end->host);
    news_meet(end, news_first(end));
    end->stalled = true;
    if (!way->cut) {
        sim_end_arm(end, &end->arrival, way->clog_until_ns);
    }
}

static void arrive(struct loop_timer *timer)
{
    struct sim_end *end = CONTAINER_OF(timer, struct sim_end, arrival);
    if (!sim_way_is_open(end->peer->host, end->host)) {
        stall(end);
        return;
    }
    end->stalled = false;
    struct sim_news *news = news_first(end);
    enum sim_news_kind kind = news->kind;
    size_t bytes = news->bytes;
    news_spare(end, news);
    if (news_first(end) != NULL) {
        sim_end_arm(end, &end->arrival, news_first(end)->due_ns);
    }
    news_happen(end, kind, bytes);
}

void sim_end_reset(struct sim_end *end)
{
    if (end->closed || end->gone || end->broken) {
        return;
    }
    if (sim_way_is_open(end->peer->host, end->host)) {
        end_break(end);
        return;
    }
    news_clear(end); /* What was under way is lost, in any case. */
    end->pipe.used = end->arrived_bytes;
    end->last_due_ns = now_ns(end);
    sim_end_tell(end, SIM_NEWS_RESET, 0, now_ns(end));
}

void sim_end_retry(struct sim_end *end)
{
    if (end->stalled) {
        const struct sim_host *from = end->peer->host;
        loop_timer_stop(loop_of(end), &end->arrival);
        if (sim_way_is_open(from, end->host)) {
            sim_end_arm(end, &end->arrival, now_ns(end) + sim_way_latency_ns(from, end->host));
        } else {
            stall(end);
        }
    }
    sim_end_pump(end);
}

/* ---- sending ------------------------------------------------------------------------------------------ */

void sim_end_pump(struct sim_end *end)
{
    if (is_flying(&end->send) && (end->pump_waits || !loop_timer_is_armed(&end->pump))) {
        end->pump_waits = false;
        sim_end_arm(end, &end->pump, now_ns(end));
    }
}

static size_t draw_segment_bytes(struct sim_net *net, size_t room)
{
    size_t longest = room < SEGMENT_BYTES_MAX ? room : SEGMENT_BYTES_MAX;
    if (sim_random_percent(&net->random, TINY_PERCENT)) {
        return 1;
    }
    return (size_t)sim_random_between(&net->random, 1, longest);
}

/* How much more the sender believes there is room for. */
static size_t pipe_room(struct sim_end *end)
{
    struct sim_end *peer = end->peer;
    if (is_room_worth_telling(peer) && sim_way_is_open(peer->host, end->host)) {
        peer->unknown_bytes = 0;
    }
    size_t used = peer->arrived_bytes + peer->under_way_bytes + peer->unknown_bytes;
    return used < SIM_PIPE_BYTES ? SIM_PIPE_BYTES - used : 0;
}

static void send_segment(struct sim_end *end, size_t room)
{
    struct sim_net *net = net_of(end);
    struct sim_end *peer = end->peer;
    struct stream_io *io = end->send.io;
    size_t there = sim_vectors_bytes(io, room);
    size_t bytes = draw_segment_bytes(net, room);
    if (bytes < there) {
        net->counts[SIM_NET_SHORT]++;
    } else {
        bytes = there;
    }
    sim_pipe_fill(is_reading(peer) ? &peer->pipe : NULL, io, bytes);
    io->bytes += bytes;
    if (bytes == 0) {
        return; /* Only empty vectors were left. */
    }
    if (peer->gone) {
        peer->under_way_bytes += bytes;
        sim_ghost_answer(peer, 0);
        return;
    }
    if (sim_way(end->host, peer->host)->factor > 1) {
        net->counts[SIM_NET_SLOW]++;
    }
    sim_end_tell(peer, SIM_NEWS_BYTES, bytes, now_ns(end) + sim_way_latency_ns(end->host, peer->host));
}

/* Too little room: as with a socket's buffer, a sender is not woken for every byte that is taken out, or segments would
 * only get smaller. The receiver pumps when it has taken something; if it has already, we hear of it when the way opens. */
static void wait_for_room(struct sim_end *end)
{
    const struct sim_way *way = sim_way(end->peer->host, end->host);
    if (is_room_worth_telling(end->peer) && !way->cut) {
        end->pump_waits = true;
        sim_end_arm(end, &end->pump, way->clog_until_ns);
    }
}

static void send_progress(struct loop_timer *timer)
{
    struct sim_end *end = CONTAINER_OF(timer, struct sim_end, pump);
    end->pump_waits = false;
    if (!is_flying(&end->send) || sim_net_is_held(net_of(end), end->pair->address)) {
        return;
    }
    struct stream_io *io = end->send.io;
    while (io->vector_count > 0) {
        if (end->broken || end->finished) {
            flight_end(end, &end->send, end->broken ? STATUS_IO : STATUS_CLOSED);
            return;
        }
        size_t room = pipe_room(end);
        if (room < (end->starved ? sim_vectors_bytes(io, ROOM_WORTH_BYTES) : 1)) {
            end->starved = true;
            wait_for_room(end);
            return;
        }
        end->starved = false;
        send_segment(end, room);
    }
    flight_end(end, &end->send, STATUS_OK);
}

/* ---- the interface ------------------------------------------------------------------------------------ */

void sim_stream_recv(struct stream *stream, struct stream_io *io)
{
    struct sim_end *end = end_of(stream);
    CHECK(end->recv.io == NULL && !end->closed);
    end->recv.io = io;
    recv_progress(end);
}

void sim_stream_send(struct stream *stream, struct stream_io *io)
{
    struct sim_end *end = end_of(stream);
    CHECK(end->send.io == NULL && !end->closed);
    end->send.io = io;
    sim_end_pump(end);
}

void sim_stream_close(struct stream *stream)
{
    struct sim_end *end = end_of(stream);
    struct sim_end *peer = end->peer;
    CHECK(!end->closed);
    end->closed = true;
    end->host->open_ends--;
    net_of(end)->open_ends--;
    if (is_flying(&end->recv)) {
        flight_end(end, &end->recv, STATUS_CANCELLED);
    }
    if (is_flying(&end->send)) {
        flight_end(end, &end->send, STATUS_CANCELLED);
    }
    /* Its reader is gone: what has arrived has been taken, what is under way will be. */
    size_t unread = end->arrived_bytes;
    end->arrived_bytes = 0;
    sim_pipe_free(&end->pipe);
    taken(end, unread);
    if (!peer->closed && !peer->gone && !end->broken) {
        sim_end_tell(peer, SIM_NEWS_FINISH, 0, now_ns(end) + sim_way_latency_ns(end->host, peer->host));
    }
    pair_free_when_done(end->pair);
}

/* ---- lifetime ----------------------------------------------------------------------------------------- */

static void accept_end(struct loop_timer *timer)
{
    struct sim_end *end = CONTAINER_OF(timer, struct sim_end, accept);
    struct sim_listener *listener = end->listener;
    if (listener == NULL) {
        sim_stream_close(&end->base); /* Closed meanwhile, with all that was in its backlog. */
        return;
    }
    list_remove(&end->accept_link);
    end->listener = NULL;
    listener->request->accepted(listener->request, &end->base);
}

static void end_init(struct sim_end *end, struct sim_pair *pair, struct sim_end *peer, struct sim_host *host)
{
    end->base.net = &host->base;
    end->pair = pair;
    end->peer = peer;
    end->host = host;
    end->recv.done.fire = recv_done;
    end->send.done.fire = send_done;
    end->pump.fire = send_progress;
    end->arrival.fire = arrive;
    end->accept.fire = accept_end;
    end->pipe.rings = &host->net->rings;
    list_init(&end->news);
    list_append(&host->ends, &end->link);
    host->open_ends++;
    host->net->open_ends++;
}

struct sim_pair *sim_pair_new(struct sim_host *connecting, struct sim_host *accepting, const char *address)
{
    struct sim_net *net = connecting->net;
    struct sim_pair *pair = calloc(1, sizeof(*pair));
    CHECK(pair != NULL);
    pair->net = net;
    pair->number = net->next_pair++;
    memcpy(pair->address, address, strlen(address) + 1);
    end_init(&pair->ends[0], pair, &pair->ends[1], connecting);
    end_init(&pair->ends[1], pair, &pair->ends[0], accepting);
    list_append(&net->pairs, &pair->link);
    return pair;
}

/* Disarm all that an end has armed, and forget what was sent to it. */
static void end_stop(struct sim_end *end)
{
    struct loop *loop = loop_of(end);
    loop_timer_stop(loop, &end->recv.done);
    loop_timer_stop(loop, &end->send.done);
    loop_timer_stop(loop, &end->pump);
    loop_timer_stop(loop, &end->accept);
    loop_timer_stop(loop, &end->arrival);
    list_remove(&end->accept_link);
    sim_pipe_free(&end->pipe);
}

void sim_pair_free(struct sim_pair *pair)
{
    for (size_t i = 0; i < ARRAY_LENGTH(pair->ends); i++) {
        struct sim_end *end = &pair->ends[i];
        if (!end->gone) {
            end_stop(end);
        }
        news_clear(end);
        list_remove(&end->link);
    }
    list_remove(&pair->link);
    free(pair);
}

void sim_end_abandon(struct sim_end *end)
{
    struct sim_net *net = net_of(end);
    size_t unanswered = end->under_way_bytes;
    end_stop(end);
    news_clear(end);
    end->under_way_bytes = unanswered; /* Its sender will send it again and again. */
    end->arrived_bytes = 0;
    end->recv.io = NULL;
    end->send.io = NULL;
    end->listener = NULL;
    end->gone = true;
    if (!end->closed) {
        end->host->open_ends--;
        net->open_ends--;
    }
    list_remove(&end->link);
    list_append(&end->host->ghosts, &end->link);
    pair_free_when_done(end->pair);
}

void sim_ghost_answer(struct sim_end *ghost, uint64_t delay_ns)
{
    struct sim_end *peer = ghost->peer;
    const struct sim_way *way_here = sim_way(peer->host, ghost->host);
    uint64_t heard_ns = now_ns(ghost) + delay_ns;
    heard_ns = heard_ns > way_here->clog_until_ns ? heard_ns : way_here->clog_until_ns;
    bool is_cut_off = way_here->cut || heard_ns > UINT64_MAX / 2;
    bool is_heard = ghost->host->loop != NULL && !is_cut_off && ghost->under_way_bytes > 0;
    if (!is_heard || ghost->told || peer->closed || peer->gone) {
        return;
    }
    heard_ns += sim_way_latency_ns(peer->host, ghost->host);
    ghost->told = true;
    sim_end_tell(peer, SIM_NEWS_RESET, 0, heard_ns + sim_way_latency_ns(ghost->host, peer->host));
}
