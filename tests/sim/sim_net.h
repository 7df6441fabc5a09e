/* sim_net.h - base/net.h in memory: byte streams between the simulated machines of one world.
 *
 * Model      A stream is two pipes of 256 KiB. What is sent travels in segments of random length (1 byte now and then),
 *            each with a random delay, and arrives in order: a receiver sees every way of cutting the bytes. A send
 *            completes when its last byte has entered the pipe, as with a socket's buffer.
 * Hosts      A host is a machine with a loop; whatever happens to its streams runs on that loop, so a paused process takes
 *            nothing while bytes queue up in its pipes. Streams, listeners and connects belong to the host that made them.
 *            Unit tests that need one machine only use sim_net_interface(), the first host, on the loop of the net.
 * Closing    The other side reads what is still under way, then STATUS_CLOSED. Sending to a side that has closed ends
 *            with STATUS_CLOSED once the news has arrived.
 * Faults     reset       streams end at once, in the middle of whatever is under way, with STATUS_IO on both sides
 *            cut         one direction between two hosts: nothing arrives, nothing fails; what was sent waits (TCP would
 *                        send it again) and arrives after the cut ends. Connects wait until their deadline
 *            clog        the same for a time that ends by itself
 *            slow        every segment of one direction takes `factor` times as long
 *            crash       sim_host_crash(): the host's streams are gone, without a callback. Peers hear STATUS_IO after a
 *                        while; with `silent` they hear nothing (half-open) until they send to a host that runs again
 *            backlog     a host may refuse to accept: connects wait, then time out
 *            Bytes are never lost, changed or reordered inside a stream: TCP's promise.
 * Addresses  Any text is an address; "host:0" becomes the next free port of that host, from 20000 on. Two listeners on
 *            one address are allowed, and connections alternate between them. */
#ifndef TRILITH_TESTS_SIM_NET_H
#define TRILITH_TESTS_SIM_NET_H

#include "base/net.h"
#include "tests/sim/sim_loop.h"

struct sim_net;
struct sim_host;

/* Never NULL. */
struct sim_net *sim_net_open(struct sim_loop *loop, uint64_t seed);

/* Streams, listeners and connects that are still there are forgotten: no `done` runs. */
void sim_net_close(struct sim_net *net);

/* The interface of the first host, which runs on the loop of the net. */
struct net *sim_net_interface(struct sim_net *net);

/* Break every stream. */
void sim_net_break(struct sim_net *net);

/* Break the streams that were connected to `address`. */
void sim_net_break_address(struct sim_net *net, const char *address);

/* Stall (or let go on) everything connected to `address`, and every new connection to it. One address at a time. */
void sim_net_hold(struct sim_net *net, const char *address, bool held);

/* Streams not closed yet by their owners, counting both ends: for tests that nothing leaks. */
unsigned sim_net_open_streams(const struct sim_net *net);

/* ---- hosts ----------------------------------------------------------------------------------------- */

/* A machine of this name, running on `loop`: a new one, or one that has crashed and starts again. Never NULL; it stays
 * until the net is closed. */
struct sim_host *sim_net_host(struct sim_net *net, const char *name, struct sim_loop *loop);
struct net *sim_host_interface(struct sim_host *host);
/* Streams not closed yet that belong to this host. */
unsigned sim_host_open_streams(const struct sim_host *host);

/* The process or machine is gone: no callback of it runs any more, buffers and requests of it are not touched again. To
 * be called before its loop is closed, also when the process has ended in good order and closed everything itself: its
 * peers then read what is under way, as ever. Where it listened, connects are refused, or hear nothing when `silent`. */
void sim_host_crash(struct sim_host *host, bool silent);

/* ---- faults ---------------------------------------------------------------------------------------- */

enum sim_net_fault {
    SIM_NET_RESET,     /* streams broken by sim_net_reset() */
    SIM_NET_CUT,       /* segments or connects that met a cut */
    SIM_NET_CLOG,      /* segments or connects that met a clog */
    SIM_NET_SLOW,      /* segments slowed down */
    SIM_NET_HALF_OPEN, /* streams left half-open by a silent crash */
    SIM_NET_BACKLOG,   /* connects that met a full backlog */
    SIM_NET_SHORT,     /* segments shorter than what was there to send: short transfers for the receiver */
    SIM_NET_FAULTS
};

const char *sim_net_fault_name(enum sim_net_fault fault);
/* How often each fault has really hit something. */
uint64_t sim_net_fault_count(const struct sim_net *net, enum sim_net_fault fault);

/* Break the streams between two hosts; the same host twice, or NULL for `other`: all streams of `host`. Only a random
 * part of them when `some`. */
void sim_net_reset(struct sim_net *net, struct sim_host *host, struct sim_host *other, bool some);
/* Cut (or mend) the direction from one host to another. */
void sim_net_cut(struct sim_net *net, struct sim_host *from, struct sim_host *to, bool cut);
/* Stall the direction until the world's time `until_ns`. */
void sim_net_clog(struct sim_net *net, struct sim_host *from, struct sim_host *to, uint64_t until_ns);
/* Latency of a direction is multiplied: 1..10,000. */
void sim_net_slow(struct sim_net *net, struct sim_host *from, struct sim_host *to, uint32_t factor);
/* Accept no connections (or again). */
void sim_net_backlog_full(struct sim_net *net, struct sim_host *host, bool full);
/* End every cut, clog, slowness and full backlog. */
void sim_net_heal(struct sim_net *net);

#endif
