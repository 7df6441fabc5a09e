/* chunk_store.h - the chunks kept on one disk of a storage node: a log of batches in segment files.
 *
 * A chunk is an immutable sealed blob named by its chunk_id. Puts that arrive together are written as one batch
 * (layout: base/batch.h, record.h) and made durable by one flush, shared by the whole group. An index, rebuildable
 * from the segments, finds them again: it is a kv table and never on the durability path. Erasing overwrites the
 * payload in place, flushes, reads back through a second descriptor and compares; only then is space free.
 * Cleaning moves live chunks together and overwrites what they leave, a whole segment at a time, once with zeros,
 * flushed and read back: so where a copy stood before it was moved, that is all that is done, whatever technique its
 * erase asks for.
 *
 * Durability  STATUS_OK from a put or an erase means it is on stable storage.
 * Identity    A record carries chunk, PG, segment uuid, generation and offset under its checksum: a stale or misplaced
 *             block is STATUS_CORRUPT, never data.
 * Failure     A failed write or flush fences the disk: from then on it only serves reads (STATUS_FENCED).
 * Reserve     Two segments are kept back so that a full disk can always erase and clean.
 * Ownership   The caller owns requests, seals and buffers; all stay valid and untouched until `done`.
 * Bounds      Requests queue inside the store without limit of its own: each holds a slab or a connection's slot,
 *             and those are limited.
 * Memory      All of it is asked for when opening, none per request. Without it the process stops in a CHECK: it
 *             could not work.
 * Threads     Loop thread only. `done` never runs inside the call that starts the request, and runs exactly once. */
#ifndef TRILITH_NODE_STORE_CHUNK_STORE_H
#define TRILITH_NODE_STORE_CHUNK_STORE_H

#include "base/disk.h"
#include "base/kv.h"
#include "base/loop.h"
#include "base/seal.h"
#include "base/status.h"

#define STORE_SEGMENT_BYTES_MIN MIB(16)
#define STORE_SEGMENT_BYTES_MAX GIB(2)

struct chunk_store;

struct chunk_store_options {
    uint64_t capacity_bytes;    /* the store never allocates more than this on its disk */
    uint64_t segment_bytes;     /* STORE_SEGMENT_BYTES_MIN..MAX, a multiple of 1 MiB; kept from the first open on */
    bool durable_writes;        /* small batches use DISK_DURABLE instead of write and flush */
    uint32_t prewrite_segments; /* how many free segments to keep written with zeros, when idle */
    uint32_t group_wait_us; /* how long the first put of a batch may wait for others while another batch is in flight */
    bool rebuild_index;     /* ignore the index: empty it and walk all segments */
};

/* What a copy is, besides its bytes. */
struct chunk_header {
    struct chunk_id id;
    uint64_t tenant_id;
    uint32_t pg;
    uint32_t chunk_bytes; /* 1..CHUNK_BYTES_MAX */
    enum suite suite;
    uint64_t stored_ms; /* wall clock of this node at the put; filled by the store */
};

enum chunk_state { CHUNK_LIVE = 1, CHUNK_ERASING = 2, CHUNK_ERASED = 3 };

/* ---- open -------------------------------------------------------------------------------------- */

/* Open the store on `disk` with its index in `index`, creating both when the disk is empty. Recovers: after a crash at
 * any point every acknowledged put and erase is there again, nothing else is served, and interrupted erasures are
 * taken up. `done` runs once with the store, or NULL and: STATUS_CORRUPT (superblock unreadable, or index of another
 * store), STATUS_CONFLICT (options contradict what is on disk), STATUS_IO, STATUS_FULL (no room for the first
 * segments), STATUS_UNSUPPORTED (another format version). */
void chunk_store_open(struct loop *loop, struct disk *disk, struct kv *index, const struct chunk_store_options *options,
                      void (*done)(void *user, enum status status, struct chunk_store *store), void *user);

/* The store is going to be closed: erases that wait for cleaning, for the wipe of a segment or for others are answered
 * STATUS_UNAVAILABLE, now and from here on. So whoever waits for all answers before closing has them soon. */
void chunk_store_close_soon(struct chunk_store *store);

/* Flush the index, mark the superblock clean, close the files. No request may be in flight, but for erases that wait:
 * they are answered as chunk_store_close_soon() says. */
void chunk_store_close(struct chunk_store *store, void (*done)(void *user), void *user);

/* Drop everything without a word to the disk, as a crash would. For tests. */
void chunk_store_abandon(struct chunk_store *store);

/* ---- put --------------------------------------------------------------------------------------- */

/* Store one sealed chunk. `done` gets
 *   STATUS_OK       durable. Also when the identical chunk is stored already (same id and seals)
 *   STATUS_EXISTS   another chunk has this id
 *   STATUS_GONE     this id was erased here: it never comes back
 *   STATUS_CORRUPT  a unit does not match its CRC; nothing was written
 *   STATUS_FULL     no room outside the reserve
 *   STATUS_FENCED   the disk failed before      STATUS_IO  it failed now; the outcome is unknown */
struct chunk_put {
    struct chunk_header header;
    uint8_t *payload;     /* chunk_bytes of ciphertext; aligned to BLOCK_BYTES, with room up to the next block: the
                           * store zeroes that padding */
    const uint8_t *seals; /* UNIT_SEAL_BYTES per unit */
    void (*done)(struct chunk_put *put, enum status status);

    struct chunk_store *store; /* from here on private */
    struct list_link link;
    struct list_link same_hash;
    struct loop_task task;
    enum status status;
    uint64_t segment_offset;
    uint32_t segment_number;
};
void chunk_store_put(struct chunk_store *store, struct chunk_put *put);

/* ---- get --------------------------------------------------------------------------------------- */

/* Read units first_unit .. first_unit + unit_count - 1 (unit_count 0: to the end). `done` gets
 *   STATUS_OK         `data` points into `buffer`: data_bytes of ciphertext, every unit's CRC checked; `header` and
 *                     `seals` (of these units) are filled
 *   STATUS_NOT_FOUND  never had it          STATUS_GONE     erasing or erased
 *   STATUS_CORRUPT    bytes on the medium are wrong (counted, logged once)
 *   STATUS_INVALID    no such units         STATUS_TOO_LARGE  they do not fit the buffer
 *   STATUS_IO         the device failed */
struct chunk_get {
    struct chunk_id id;
    uint32_t first_unit;
    uint32_t unit_count;
    uint8_t *buffer; /* aligned to BLOCK_BYTES, a multiple of it long */
    uint32_t buffer_bytes;
    void (*done)(struct chunk_get *get, enum status status);

    struct chunk_header header; /* outcome */
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
    uint8_t *data;
    uint32_t data_bytes;

    struct chunk_store *store; /* from here on private */
    struct list_link link;
    struct loop_task task;
    enum status status;
    struct disk_io io;
    uint32_t segment_number;
};
void chunk_store_get(struct chunk_store *store, struct chunk_get *get);

/* ---- erase ------------------------------------------------------------------------------------- */

/* How a copy is overwritten. The numbers stand on disk and are those of the wire. */
enum wipe_technique {
    WIPE_OVERWRITE = 0, /* one pass of a ChaCha20 stream */
    WIPE_DOD3 = 1,      /* a pass of 0x55, a pass of 0xaa, each flushed, then the same */
};

/* Destroy one copy: an intent made durable (reads answer STATUS_GONE from then on), payload overwritten in place as
 * `technique` says, flushed, the last pass read back through a second descriptor and compared, the result made durable.
 * A crash at any step: all passes are made again. Idempotent: what is wiped is not wiped again with another technique.
 * An id never held becomes a tombstone, so a late put of it is refused. `done` gets
 *   STATUS_OK         wiped, now or earlier: overwritten_bytes, `used` and `digest` say how. 0 bytes: the copy went
 *                     with the whole segment that held it (zeros, flushed, read back), or was wiped so long ago that
 *                     its record was not kept; `used` is WIPE_OVERWRITE then, which is the least that was done
 *   STATUS_NOT_FOUND  never held; the tombstone is durable
 *   STATUS_CORRUPT    the read-back differs from what was written: not wiped, will be tried again at the next call
 *                     or an older copy stands where it can't be wiped now (damage, a refused wipe), or, of an id not
 *                     known, nobody can say what stands there: nothing was done. Tried again later it will work,
 *                     when the device does
 *   STATUS_FULL      tombstones alone fill the disk: not even the reserve has room
 *   STATUS_UNAVAILABLE  the store is being closed, and the erase had to wait: nothing was done
 *   STATUS_FENCED, STATUS_IO  the device refuses */
struct chunk_erase {
    struct chunk_id id;
    enum wipe_technique technique;
    void (*done)(struct chunk_erase *erase, enum status status);

    uint64_t overwritten_bytes; /* outcome */
    enum wipe_technique used;
    bool mismatch;      /* STATUS_CORRUPT because the read-back differed */
    uint8_t digest[32]; /* BLAKE2b-256 of the bytes read back; zeros when overwritten_bytes is 0 */

    struct chunk_store *store; /* from here on private */
    struct list_link link;
    struct loop_task task;
    enum status status;
    unsigned stage;
    void *wipe;
};
void chunk_store_erase(struct chunk_store *store, struct chunk_erase *erase);

/* ---- looking ----------------------------------------------------------------------------------- */

struct chunk_location {
    char segment[DISK_NAME_BYTES]; /* file name in the disk's directory; empty: nowhere any more */
    uint64_t offset;               /* of the payload */
    uint32_t length;               /* payload bytes */
    enum chunk_state state;
    struct chunk_header header;
};

/* Where a chunk lies. STATUS_OK, STATUS_NOT_FOUND, STATUS_IO. */
MUST_USE enum status chunk_store_locate(struct chunk_store *store, const struct chunk_id *id,
                                        struct chunk_location *location);

/* Walk live chunks in id order, from the first id above `after` (NULL: from the start): up to `max` headers into
 * `headers`, and into `*count` how many; fewer than `max` means the end. STATUS_OK; STATUS_IO: the index can't be
 * walked, nothing is said about what is there, `*count` is untouched. */
MUST_USE enum status chunk_store_list(struct chunk_store *store, const struct chunk_id *after,
                                      struct chunk_header *headers, size_t max, size_t *count);

struct chunk_store_stats {
    struct uuid store_uuid;
    uint64_t capacity_bytes; /* live + pending + erasing + dead + free + reserved */
    uint64_t live_bytes;     /* payload of live chunks, whole blocks */
    uint64_t free_bytes;     /* what puts may still use */
    uint64_t pending_bytes;  /* batches on their way to the disk */
    uint64_t erasing_bytes;  /* payload whose wipe is not yet proven */
    uint64_t dead_bytes;     /* headers, wiped payload, unused ends of segments: what cleaning gives back */
    uint64_t reserved_bytes; /* superblock, the reserve, what does not make a whole segment */
    uint64_t chunks;
    uint64_t corrupt_found; /* since open */
    uint64_t wiped;         /* copies, since open */
    uint64_t batches;       /* written since open */
    uint64_t flushes;
    uint64_t recovered_batches; /* walked at open */
    uint64_t torn_batches;      /* cut off at open */
    bool fenced;
};
void chunk_store_stats(const struct chunk_store *store, struct chunk_store_stats *stats);

#endif
