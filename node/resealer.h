/* resealer.h - seals anew what still stands under a data key (DEK) that was rotated out, so that the key can be
 * destroyed.
 *
 *   RESTING ──> PULLING ──items──> for each: OPENING ──> MOVING ──> COMMITTING ──┐
 *      ^           │ none, or error                                              │
 *      └───────────┴──────────────────────── batch over <───────────────────────┘
 *
 * Each item is one version of one object: it is read through a get and written through a put of this gateway, as a
 * client would, with the same version id, etag and metadata, under a fresh leaf and the tenant's current DEK; the
 * commit replaces chunks and key and nothing else. Items are hints: what has changed meanwhile is passed over, and a
 * commit that comes too late is refused and its chunks are condemned.
 *
 * A crash in the middle leaves chunks that the orphan rule finds. What stands in them can be read no longer than the
 * version itself: their leaf was leased for that version and is punctured with it (leaf_leases.h), or when somebody
 * begins again.
 *
 * Bounds     One object at a time, a buffer of one unit, at most `bytes_per_s`. While clients keep the gateway busy no
 *            object is begun.
 * Secrets Plaintext stands in the gateway's slabs, which are wiped, and in a buffer in guarded memory, which is wiped
 * as
 *            soon as the put has taken it.
 * Errors     Whatever fails is left as it is and comes back with a later pull, after 1 to 60 seconds.
 * Threads    Loop thread only. One per process, on its first reactor. */
#ifndef TRILITH_NODE_RESEALER_H
#define TRILITH_NODE_RESEALER_H

#include "node/gateway.h"

#define RESEALER_BYTES_PER_S_MIN (1024u * 1024u)

struct resealer;

/* Does nothing before resealer_set_node(). NULL: no memory that can be guarded. */
MUST_USE struct resealer *resealer_open(struct gateway *gateway, uint64_t bytes_per_s);
/* This process is node `node_id` of its cluster: begin. Again with the same id: nothing. */
void resealer_set_node(struct resealer *resealer, uint64_t node_id);
/* Before gateway_stop(). Lets go of the object at hand; the loop must turn until resealer_is_idle(). */
void resealer_stop(struct resealer *resealer);
bool resealer_is_idle(const struct resealer *resealer);
void resealer_close(struct resealer *resealer);

/* Sealed anew since the start. */
uint64_t resealer_objects(const struct resealer *resealer);

#endif
