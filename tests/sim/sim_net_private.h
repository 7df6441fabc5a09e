/* sim_net_private.h - what the parts of the simulated network share: hosts, streams, and news on its way.
 *
 * A stream is a pair of ends. What one end sends, closes or breaks becomes news in the queue of the other: so many bytes,
 * the end of the stream, a reset. Each piece of news has a time at which it arrives, never before the one ahead of it, and
 * one timer per end waits for the first. All timers of an end run on the loop of its host.
 *
 * Lifetime   An end is done with when its owner has closed it, or when its host has crashed (`gone`: from then on it has no
 *            loop, and nothing of its owner's memory is named any more). The pair is freed when both ends are, and the last
 *            `done` is out. Listeners of a crashed host stay known without an owner, so that connects still meet its
 *            silence, its cuts and its clogs.
 * Order      Everything happens in the order of timers; nothing depends on addresses. */
#ifndef TRILITH_TESTS_SIM_NET_PRIVATE_H
#define TRILITH_TESTS_SIM_NET_PRIVATE_H

#include "tests/sim/sim_net.h"
#include "tests/sim/sim_random.h"

#define SIM_HOSTS_MAX  64u
#define SIM_PIPE_BYTES KIB(256)

/* Buffers of rings that nobody uses now, by their size: 4 KiB, 8 KiB, ... 256 KiB. */
#define SIM_RING_SIZES 7
struct sim_rings {
    struct sim_ring *spare[SIM_RING_SIZES];
};

void sim_rings_free(struct sim_rings *rings);

/* Bytes sent to one end and not received yet: a ring that grows as needed and is given back when it is empty. */
struct sim_pipe {
    struct sim_rings *rings;
    uint8_t *bytes;
    size_t capacity; /* a power of two, or 0 */
    size_t first;
    size_t used;
};

/* Move `bytes` bytes from the front of the vectors of `io` into the pipe; NULL: they are lost. */
void sim_pipe_fill(struct sim_pipe *pipe, struct stream_io *io, size_t bytes);
/* Take `bytes` bytes out; there are that many. */
void sim_pipe_drain(struct sim_pipe *pipe, uint8_t *target, size_t bytes);
void sim_pipe_free(struct sim_pipe *pipe);
/* How many bytes the vectors of `io` still hold, counted up to `most`. */
size_t sim_vectors_bytes(const struct stream_io *io, size_t most);

enum sim_news_kind { SIM_NEWS_BYTES, SIM_NEWS_FINISH, SIM_NEWS_RESET };

struct sim_news {
    struct list_link link; /* in sim_end.news, or sim_net.spare_news */
    uint64_t due_ns;       /* of the world */
    size_t bytes;
    enum sim_news_kind kind;
    bool met_fault; /* and was counted */
};

/* A recv or send in flight; `done` is armed once it has ended. */
struct sim_flight {
    struct stream_io *io;
    struct loop_timer done;
};

/* One side of a stream. */
struct sim_end {
    struct stream base;
    struct sim_pair *pair;
    struct sim_end *peer;
    struct sim_host *host;
    struct list_link link; /* in sim_host.ends, or sim_host.ghosts when gone */

    struct sim_flight recv;
    struct sim_flight send;
    struct loop_timer pump;    /* moves more of the send into the peer's pipe */
    struct loop_timer arrival; /* of the first news */
    struct loop_timer accept;  /* tells the listener */
    struct sim_listener *listener;
    struct list_link accept_link; /* in sim_listener.untold */

    struct sim_pipe pipe;
    struct list news;
    uint64_t last_due_ns;
    size_t under_way_bytes; /* sent to this end, not arrived */
    size_t arrived_bytes;   /* not received yet by the owner */
    size_t unknown_bytes;   /* taken out, but the sender has not heard of it: the way back was blocked */

    bool stalled;    /* the first news waits for a cut or clog to end */
    bool pump_waits; /* `pump` waits for a clog to end */
    bool starved;    /* it has filled the pipe, and waits for room that is worth it */
    bool closed;     /* by its owner */
    bool finished;   /* the peer's close has arrived */
    bool broken;
    bool gone; /* its host has crashed */
    bool told; /* gone: the peer has been sent a reset */
};

struct sim_pair {
    struct sim_net *net;
    struct list_link link; /* in sim_net.pairs */
    uint64_t number;
    bool was_reset;                  /* by sim_net_reset(): counted, though a cut may hold the news */
    char address[NET_ADDRESS_BYTES]; /* that was connected to */
    struct sim_end ends[2];          /* [0] has connected */
};

struct sim_connect {
    struct list_link link; /* in sim_host.connects */
    struct sim_host *host;
    struct net_connect *request;
    struct loop_timer timer;
    char address[NET_ADDRESS_BYTES];
    uint64_t deadline_ns; /* by the host's clock */
    uint64_t due_ns;      /* of the world: the next attempt */
    uint64_t retry_ns;
    unsigned met; /* faults, as bits: each is counted once */
};

struct sim_listener {
    struct list_link link; /* in sim_net.listeners */
    struct sim_host *host;
    struct net_listener *request; /* NULL: the host has crashed */
    struct list untold;           /* ends it will be told of */
    char address[NET_ADDRESS_BYTES];
};

struct sim_host {
    struct net base;
    struct sim_net *net;
    char name[NET_ADDRESS_BYTES];
    unsigned number;
    struct sim_loop *loop; /* NULL: it has crashed */
    bool silent;           /* crashed without a word */
    bool backlog_full;
    unsigned open_ends;
    struct list ends;
    struct list ghosts; /* ends of its former lives whose peers are not closed */
    struct list connects;
};

/* One direction between two hosts. */
struct sim_way {
    uint64_t clog_until_ns;
    uint32_t factor; /* 0 or 1: as fast as ever */
    bool cut;
};

struct sim_net {
    struct sim_loop *loop;
    struct sim_random random;
    struct sim_host *hosts[SIM_HOSTS_MAX]; /* [0] is the first host */
    unsigned host_count;
    struct sim_way ways[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* [from][to] */
    struct list pairs;
    struct list listeners;
    struct list spare_news;
    struct sim_rings rings;
    uint64_t next_pair;
    unsigned next_port;
    unsigned open_ends;
    char held[NET_ADDRESS_BYTES]; /* empty: none */
    uint64_t counts[SIM_NET_FAULTS];
};

/* ---- ways (sim_net_faults.c) ------------------------------------------------------------------------ */

struct sim_way *sim_way(const struct sim_host *from, const struct sim_host *to);
bool sim_way_is_open(const struct sim_host *from, const struct sim_host *to);
/* Count what blocks this way now; `met` has a bit for each fault that was counted already. */
void sim_way_meet(const struct sim_host *from, const struct sim_host *to, unsigned *met);
/* A random time on the way. */
uint64_t sim_way_latency_ns(const struct sim_host *from, const struct sim_host *to);
bool sim_net_is_held(const struct sim_net *net, const char *address);

/* ---- ends (sim_net_stream.c) ------------------------------------------------------------------------ */

/* A connected stream between two running hosts. */
struct sim_pair *sim_pair_new(struct sim_host *connecting, struct sim_host *accepting, const char *address);
void sim_pair_free(struct sim_pair *pair);
/* Arm `timer` of `end` for a time of the world; its host runs. */
void sim_end_arm(struct sim_end *end, struct loop_timer *timer, uint64_t world_ns);
/* Send more, soon, if anything waits. */
void sim_end_pump(struct sim_end *end);
/* Try again what waits for a way to open, or put it off. */
void sim_end_retry(struct sim_end *end);
/* Put news behind what is on its way to `end`. */
void sim_end_tell(struct sim_end *end, enum sim_news_kind kind, size_t bytes, uint64_t due_ns);
/* The stream is reset: this end hears of it now, or when the way to it opens. */
void sim_end_reset(struct sim_end *end);
/* Its host is gone: forget the owner. May free the pair. */
void sim_end_abandon(struct sim_end *end);
/* A host that runs again resets the stream of a former life, once something arrives on it. */
void sim_ghost_answer(struct sim_end *ghost, uint64_t delay_ns);

void sim_stream_recv(struct stream *stream, struct stream_io *io);
void sim_stream_send(struct stream *stream, struct stream_io *io);
void sim_stream_close(struct stream *stream);

/* ---- connecting and listening (sim_net_connect.c) ----------------------------------------------------- */

void sim_connect_start(struct net *base, struct net_connect *request, const char *address, uint64_t deadline_ns);
void sim_connect_free(struct sim_connect *connect);
enum status sim_listen(struct net *base, struct net_listener *request, const char *address);
void sim_listener_close(struct net *base, struct net_listener *request);
/* The host has crashed: its listeners have no owner any more, and those of an earlier life are forgotten. */
void sim_listeners_abandon(struct sim_host *host);

#endif
