/* buggify.h - places in the product where a test may make the rare thing happen, and moments where a crash tells most.
 *
 *   if (BUGGIFY(BUGGIFY_STORE_SMALL_BATCH)) { ... }   the legal but unusual way: a batch too small, a flush too early
 *   KILL_POINT(KILL_STORE_INTENT_DURABLE);            here a test may end the process, or the simulated machine
 *
 * What a BUGGIFY leads to must always be right, only slow or rare: a reader may be puzzled by it, never misled. Each
 * point is a line in the tables below, so that a run can say how often each was met, and that one was never met.
 * Conditions without side effects stand before the BUGGIFY: it is met only where it can matter, and a release build
 * drops both.
 *
 * Without TRILITH_BUGGIFY (the release preset) both compile to nothing. With it, nothing happens until somebody
 * installs hooks: the simulator does, and a daemon whose environment names a kill point (buggify_from_environment()).
 * Method: FoundationDB's BUGGIFY; there each point is active in a quarter of the runs, and an active one fires at a
 * quarter of the passes. The hooks keep to that; no point may need more luck than that to come to an end.
 * Re-entry   `passed` runs in the middle of what goes on: it may end the process, or note that the machine is to crash
 *            when the running callback is over. It calls nothing of the part that it interrupts.
 * Threads    Hooks are installed before the second thread starts and not changed later; they run on any thread. */
#ifndef TRILITH_BASE_BUGGIFY_H
#define TRILITH_BASE_BUGGIFY_H

#include <stdbool.h>

/* X(NAME, what happens when it fires; why that is legal).
 * The comments of the parts say what each promises; what is not promised there may come out either way. */
#define BUGGIFY_POINTS(X)                                                                                              \
    /* Store: sizes and times of batches are its own affair, room is given back by cleaning. */                        \
    X(STORE_SMALL_BATCH, "a batch is closed although more puts would fit in")                                          \
    X(STORE_NO_GROUP_WAIT, "a batch does not wait for company while another one is in flight")                         \
    X(STORE_BATCH_ALONE, "a batch waits until one of those before it is durable")                                      \
    X(STORE_SEPARATE_FLUSH, "a small batch is written and flushed in two steps although durable writes are on")        \
    X(STORE_INDEX_FLUSH_EARLY, "the index is made durable after a single settling: recovery walks less")               \
    X(STORE_INDEX_FLUSH_LATE, "the index is made durable a period later: recovery walks more")                         \
    X(STORE_SUPERBLOCK_EARLY, "the durable lsn reaches the superblock before the index: it is a hint, and true")       \
    X(STORE_CLEAN_EARLY, "a segment is cleaned although there is room: it need only be worth it")                      \
    X(STORE_NEXT_SEGMENT_EARLY, "the log goes on to the next segment when one is half full, with room to spare")       \
    X(STORE_PREWRITE_SKIPPED, "no segment is prewritten this time: batches go to unwritten space, only slower")        \
    X(STORE_PUT_REFUSED, "a put is refused with STATUS_FULL: its gateway must try elsewhere")                          \
    /* Buffers and connections: whoever asks must be able to wait, to reconnect, to be told later. */                  \
    X(SLAB_NOT_NOW, "a free slab is not given at once: its taker stands in line for a turn of the loop")               \
    X(RPC_RECONNECT, "an idle connection is given up when a call wants it: the call takes a new one")                  \
    /* Node: what is left out now comes with the next turn. */                                                         \
    X(NODE_PUT_BUSY, "a replica answers STATUS_BUSY to a put, as if it served as many as it may")                      \
    X(NODE_HEARTBEAT_SKIPPED, "a heartbeat is left out: there are four to a lease")                                    \
    X(NODE_MAP_LATE, "a map is not published before the next heartbeat: its writers ask for newer ones")               \
    X(NODE_WIPE_PAGE_OF_ONE, "one wipe is pulled at a time")                                                           \
    X(NODE_WIPES_REPORTED_TWICE, "results of wipes are reported again after they were taken: they count once")         \
    X(NODE_ORPHAN_PAGE_OF_ONE, "the walk for orphans asks about one chunk at a time")                                  \
    /* Gateway: what it leases it need not keep, whom it asks first is its choice, repeating is harmless. */           \
    X(GATEWAY_NO_READ_AHEAD, "a get fetches nothing while it hands out")                                               \
    X(GATEWAY_LAST_REPLICA_FIRST, "a get asks the farthest or a suspected replica first")                              \
    X(GATEWAY_CHUNK_SENT_AGAIN, "a chunk is condemned and sent to another PG although all copies are durable")         \
    X(GATEWAY_COMMIT_SENT_AGAIN, "a commit is repeated after its answer, as after a lost one: it is taken once")       \
    X(GATEWAY_LEASE_OF_ONE_LEAF, "a single leaf is leased")                                                            \
    X(GATEWAY_LEAVES_LAPSED, "leased leaves are given up at once: an unused one costs nothing but itself")             \
    X(GATEWAY_TENANT_KEY_LAPSED, "a tenant's key is fetched again for the next request")                               \
    X(GATEWAY_CREDENTIAL_LAPSED, "a credential is fetched again for the next request")                                 \
    /* Metadata service: as the store, and BUSY always means that nothing was done. */                                 \
    X(JOURNAL_BATCH_OF_ONE, "a batch of the journal takes no further entry")                                           \
    X(JOURNAL_SEGMENT_EARLY, "the journal goes on to a free segment before the one in use is full")                    \
    X(META_CHECKPOINT_EARLY, "the tables are flushed and the journal released at a tick that asks for neither")        \
    X(META_CHECKPOINT_LATE, "the journal is released a tick later")                                                    \
    X(VAULT_SEAL_AGAIN, "a prepared epoch is given up and sealed again, as if another leader had come")                \
    X(META_BUSY, "a command is refused with STATUS_BUSY, as if as many were under way as may be")

/* X(NAME, "name.for.people", what has just become true) */
#define KILL_POINTS(X)                                                                                                 \
    X(STORE_BATCH_WRITTEN, "store.batch_written", "a batch is written, its flush not started")                         \
    X(STORE_BATCH_DURABLE, "store.batch_durable", "a batch is durable, not in the index, nobody was told")             \
    X(STORE_INDEX_WRITTEN, "store.index_written", "the rows of durable batches are written, nobody was told")          \
    X(STORE_INDEX_FLUSHED, "store.index_flushed", "the index is durable, the superblock has not followed")             \
    X(STORE_SUPERBLOCK_WRITTEN, "store.superblock_written", "a superblock is written, not flushed")                    \
    X(STORE_SEGMENT_OPENED, "store.segment_opened", "the next segment's header is durable, no batch is in it")         \
    X(STORE_INTENT_DURABLE, "store.intent_durable", "an erase's intent is durable, nothing is overwritten yet")        \
    X(STORE_WIPE_WRITTEN, "store.wipe_written", "a chunk is overwritten, not flushed")                                 \
    X(STORE_WIPE_FLUSHED, "store.wipe_flushed", "an overwriting is flushed, not read back")                            \
    X(STORE_WIPE_VERIFIED, "store.wipe_verified", "an overwriting was read back, its record is not written")           \
    X(STORE_ERASED_DURABLE, "store.erased_durable", "the record of an erasure is durable, nobody was told")            \
    X(STORE_MOVES_DURABLE, "store.moves_durable", "a segment is cleaned, its old copies still stand")                  \
    X(STORE_SEGMENT_MARKED, "store.segment_marked", "a segment says that it is being wiped, nothing is yet")           \
    X(STORE_SEGMENT_WIPED, "store.segment_wiped", "a segment reads back as zeros, its header is not renewed")          \
    X(JOURNAL_SEGMENT_PREPARED, "journal.segment_prepared", "a fresh segment of the journal is zeroed and flushed")    \
    X(JOURNAL_SEGMENT_BEGUN, "journal.segment_begun", "the header of the journal's next segment is durable")           \
    X(JOURNAL_BATCH_DURABLE, "journal.batch_durable", "commands are durable, none of them is applied")                 \
    X(META_NOT_YET_PUNCTURED, "meta.not_yet_punctured", "a deletion is applied, its leaf is still in the vault")       \
    X(META_APPLIED, "meta.applied", "a command is applied, its sender not answered")                                   \
    X(META_TABLES_FLUSHED, "meta.tables_flushed", "the tables are durable, the journal is not released")               \
    X(VAULT_SEALED, "vault.sealed", "the close of an epoch is in the journal, nothing of the next one is written")     \
    X(VAULT_COVERS_DURABLE, "vault.covers_durable", "the next epoch's covers are durable, its table is not")           \
    X(VAULT_TABLE_DURABLE, "vault.table_durable", "the next table is durable and read back, its root is in no slot")   \
    X(VAULT_SHARE_PUT, "vault.share_put", "the next root is in the slot, the journal does not say so")                 \
    X(VAULT_SWITCHED, "vault.switched", "the journal has the next epoch, the old root still stands")                   \
    X(VAULT_SHARE_DESTROYED, "vault.share_destroyed", "the old root is overwritten, its table still stands")           \
    X(VAULT_TABLE_REMOVED, "vault.table_removed", "the old table is gone, the journal does not say that all is")       \
    X(VAULT_ERASED, "vault.erased", "the journal says that an epoch is destroyed, who waits for it was not told")      \
    X(META_CERTIFICATES_SIGNED, "meta.certificates_signed",                                                            \
      "certificates and checkpoint are signed, nothing is issued")                                                     \
    X(META_DEK_ADDED, "meta.dek_added", "a tenant's new data key is in the tables, who asked was not told")            \
    X(META_CLUSTER_CREATED, "meta.cluster_created", "the command that makes the cluster is applied, nothing served")   \
    X(NODE_JOINED, "node.joined", "the cluster knows the node, the node has not noted the cluster")                    \
    X(NODE_PAGE_WIPED, "node.page_wiped", "a page of wipes is done, not reported")                                     \
    X(NODE_PAGE_REPORTED, "node.page_reported", "a report of wipes was taken, the next page not pulled")               \
    X(GATEWAY_CHUNK_FAILED, "gateway.chunk_failed", "a chunk goes elsewhere, nobody knows of the copies it left")      \
    X(GATEWAY_CHUNKS_DURABLE, "gateway.chunks_durable", "all chunks of an object are durable, no commit was sent")     \
    X(GATEWAY_COMMIT_ANSWERED, "gateway.commit_answered", "an object is committed, its client not told")

#define BUGGIFY_ENUM(name, text)     BUGGIFY_##name,
#define KILL_ENUM(name, label, text) KILL_##name,
enum buggify_point { BUGGIFY_POINTS(BUGGIFY_ENUM) BUGGIFY_POINT_COUNT };
enum kill_point { KILL_POINTS(KILL_ENUM) KILL_POINT_COUNT };
#undef BUGGIFY_ENUM
#undef KILL_ENUM

struct buggify_hooks {
    bool (*fires)(enum buggify_point point); /* NULL: never */
    void (*passed)(enum kill_point point);   /* NULL: nobody listens */
};

/* "STORE_SMALL_BATCH", "store.intent_durable"; "unknown" for a number outside of the table. */
const char *buggify_point_name(enum buggify_point point);
const char *kill_point_name(enum kill_point point);

#ifdef TRILITH_BUGGIFY
extern struct buggify_hooks buggify_hooks;
#define BUGGIFY(point)    (buggify_hooks.fires != NULL && buggify_hooks.fires(point))
#define KILL_POINT(point) ((void)(buggify_hooks.passed != NULL ? (buggify_hooks.passed(point), 0) : 0))

/* TRILITH_KILL_AT=NAME[:N] in the environment: this process ends by SIGKILL when it passes that kill point for the N-th
 * time (1). False: the variable is set, but does not name a kill point of this build in that form. */
bool buggify_from_environment(void);
#else
#define BUGGIFY(point)    ((void)(point), false)
#define KILL_POINT(point) ((void)(point))

static inline bool buggify_from_environment(void)
{
    return true;
}
#endif

#endif
