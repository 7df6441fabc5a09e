/* wiper.h - carries out the erasures of one disk: pull what is to be wiped, wipe it, report what was done.
 *
 * The metadata service keeps an entry for every copy that has to go until it is reported gone; a node never erases on
 * its own. A pass pulls the entries in pages, wipes each with bounded concurrency (clients come first) and reports
 * every page. All of it is idempotent: after a crash, or a report that got lost, the same entries are pulled again and
 * the store says that they are wiped already. An entry that the device refuses is reported as failed and stays open.
 *
 * With each report goes an attestation (proto/attestation.h), signed once: however often a report has to be sent again,
 * it is the same bytes. DOD3 is done only where the medium is known to rotate; elsewhere it would wear flash and prove
 * nothing, so one pass is made and the result says so.
 *
 * While clients put or get on this disk, pages are short, as the metadata service takes a report in one piece, and
 * wipes go in waves, which share their flushes: as many at once as the pass may, fewer when a wave takes more than a
 * few milliseconds because of what it writes (one of small chunks takes as long as its flushes do, and fewer would need
 * as many); then a pause that is WIPER_PAUSES times as long as the wave took. A disk that catches up serves nobody and
 * makes no pauses.
 *
 * Threads    Loop thread only; `done` runs later, once per pass. */
#ifndef TRILITH_NODE_WIPER_H
#define TRILITH_NODE_WIPER_H

#include "node/chunk_host.h"
#include "proto/rpc.h"

#define WIPER_PARALLEL_MAX 16u
#define WIPER_PAGE_MAX     256u
#define WIPER_PAUSES       7u

struct wiper;

/* Who signs. Stays until the wiper is closed. */
struct wiper_signer {
    const struct key *seed;
    const char *node;
    const char *boot_id;       /* "": not known */
    const char *sw_digest;     /* likewise */
    const uint8_t *cluster_id; /* 16 bytes, right when a pass is started */
};

struct wiper_parts {
    struct loop *loop;
    struct rpc_client *meta;
    struct chunk_host_disk *disk;
    const struct wiper_signer *signer;
    uint64_t call_ns; /* deadline of one call to the metadata service */
    /* A pass is over: `failed` entries could not be wiped. */
    void (*done)(void *user, struct chunk_host_disk *disk, uint32_t failed);
    void *user;
};

/* Never NULL. */
struct wiper *wiper_open(const struct wiper_parts *parts);
/* Make a pass with up to `parallel` (1..WIPER_PARALLEL_MAX) wipes at once. When one is under way, another follows it.
 * */
void wiper_start(struct wiper *wiper, unsigned parallel);
/* The process ends: take up nothing more. Wipes under way come to their end, those that the store lets wait are given
 * up, so this is soon idle. They stay open at the metadata service. */
void wiper_stop(struct wiper *wiper);
bool wiper_is_idle(const struct wiper *wiper);
/* Only when idle. */
void wiper_close(struct wiper *wiper);

#endif
