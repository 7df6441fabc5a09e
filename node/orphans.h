/* orphans.h - finds the chunks on one disk that must not be there: what was sent and never committed, and what was
 * moved away.
 *
 * The disk's chunks are walked slowly, again and again. Those that have stood for longer than any write may take are
 * asked about in batches; the metadata service condemns what nobody refers to (and refuses any commit that would name
 * it from then on), and it comes back through the wiper. Confirmed chunks need not be remembered one by one: a finished
 * walk has asked about everything stored before its cut, so the next one only asks about what lies between the two
 * cuts. After a start everything is asked about once.
 *
 * A chunk of a PG that the disk is no member of (any more) is asked about at once, whatever its age: whenever the map
 * says that the PGs of this disk have become others, and after a start, a walk asks about all such chunks. Those that
 * an object refers to are condemned for this disk alone. The rest may belong to writes that are not committed yet: they
 * wait for their age. Of a disk that was removed for good everything is asked about.
 *
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_ORPHANS_H
#define TRILITH_NODE_ORPHANS_H

#include "node/chunk_host.h"
#include "proto/rpc.h"

struct orphans;

struct orphans_parts {
    struct loop *loop;
    struct rpc_client *meta;
    struct chunk_host *host;
    struct chunk_host_disk *disk;
    uint64_t orphan_after_ms; /* longer than the longest write */
    uint64_t call_ns;
};

/* Never NULL. The first walk begins soon. */
struct orphans *orphans_open(const struct orphans_parts *parts);
void orphans_stop(struct orphans *orphans);
/* The host has another map. */
void orphans_map_changed(struct orphans *orphans);
bool orphans_is_idle(const struct orphans *orphans);
/* Only when idle. */
void orphans_close(struct orphans *orphans);

/* Chunks reported as unreferenced since the start. */
uint64_t orphans_found(const struct orphans *orphans);

#endif
