/* sim_net.h - base/net.h in memory: byte streams between the users of one simulated loop.
 *
 * Model      A stream is two pipes of 256 KiB. What is sent travels in segments of random length (1 byte now and then),
 *            each with a random delay, and arrives in order: a receiver sees every way of cutting the bytes. A send
 *            completes when its last byte has entered the pipe, as with a socket's buffer.
 * Closing    The other side reads what is still under way, then STATUS_CLOSED. Sending to a side that has closed ends
 *            with STATUS_CLOSED once the news has arrived.
 * Faults     sim_net_break(): every stream ends at once, for both sides, with STATUS_IO; bytes under way are lost.
 *            sim_net_hold(): an address stalls: nothing connects (until the caller's deadline) and no byte moves, but
 *            nothing fails either. Bytes are never lost, changed or reordered inside a stream: TCP's promise.
 * Addresses  Any text is an address; "host:0" becomes the next free port of that host, from 20000 on. Two listeners on
 *            one address are allowed, and connections alternate between them. */
#ifndef TRILITH_TESTS_SIM_NET_H
#define TRILITH_TESTS_SIM_NET_H

#include "base/net.h"
#include "tests/sim/sim_loop.h"

struct sim_net;

/* Never NULL. */
struct sim_net *sim_net_open(struct sim_loop *loop, uint64_t seed);

/* Streams, listeners and connects that are still there are forgotten: no `done` runs. */
void sim_net_close(struct sim_net *net);

struct net *sim_net_interface(struct sim_net *net);

/* Break every stream. */
void sim_net_break(struct sim_net *net);

/* Break the streams that were connected to `address`. */
void sim_net_break_address(struct sim_net *net, const char *address);

/* Stall (or let go on) everything connected to `address`, and every new connection to it. One address at a time. */
void sim_net_hold(struct sim_net *net, const char *address, bool held);

/* Streams not closed yet by their owners, counting both ends: for tests that nothing leaks. */
unsigned sim_net_open_streams(const struct sim_net *net);

#endif
