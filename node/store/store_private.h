/* store_private.h - what the parts of one chunk store share. Only node/store includes it (and its tests).
 *
 *   chunk_store.c   requests: put, get, and looking; open and close
 *   batch_writer.c  group commit: records -> batches -> flushes -> index -> acknowledgements
 *   room.c          where the next batch goes; the next segment
 *   erase.c         wipes of single chunks
 *   clean.c         makes room: finds what still counts in a segment, then hands the segment over for wiping
 *   carry.c         writes again what still counts there
 *   prepare.c       wipes whole segments, prewrites free ones
 *   recover.c       from files to an open store
 *   upkeep.c        the superblock, the index on the disk, failure of the disk
 *
 * Levels of room, from the one that may use up everything to the one that must leave most: cleaning may take the
 * last free segment, an erase leaves one for cleaning, a put leaves two for both. So a full disk can always erase,
 * and cleaning can always turn what erases left behind into room.
 * Threads  One loop thread. */
#ifndef TRILITH_NODE_STORE_STORE_PRIVATE_H
#define TRILITH_NODE_STORE_STORE_PRIVATE_H

#include "base/buggify.h"
#include "base/keystream.h"
#include "node/store/batch_reader.h"
#include "node/store/chunk_index.h"
#include "node/store/superblock.h"

#define BATCHES_IN_FLIGHT  4
#define BATCH_SMALL_BYTES  MIB(1)     /* a batch of small records, header and payload */
#define PUT_SMALL_BYTES    UNIT_BYTES /* payload up to here is copied into the batch */
#define BATCH_RECORDS_MAX  4096
#define PUT_HASH_BUCKETS   256
#define WIPES_MAX          16
#define WIPE_PIECE_BYTES   KIB(128)
#define MOVES_MAX          512
#define GATHER_BYTES       (BATCH_SMALL_BYTES - KIB(128)) /* leaves room for the header of so many records */
#define ZERO_PIECE_BYTES   MIB(1)
#define RESERVE_SEGMENTS   2u
#define STORE_SEGMENTS_MIN 3u
#define UPKEEP_NS          (10 * NS_PER_S)
#define INDEX_FLUSH_BYTES  MIB(256)

enum room_level { ROOM_CLEAN = 0, ROOM_ERASE = 1, ROOM_PUT = RESERVE_SEGMENTS };

/* ---- batch_writer.c ------------------------------------------------------------------------------ */

/* One record that erase.c or clean.c wants to have in the log. `durable` runs when it is (STATUS_OK: durable and in the
 * index) or can't be: STATUS_IO, STATUS_FENCED, STATUS_FULL. */
struct log_item {
    struct list_link link;
    struct record record;
    const uint8_t *payload; /* of a MOVE: whole blocks */
    void *owner;            /* for whoever queued it */
    void (*durable)(struct log_item *item, enum status status);
};

enum batch_state { BATCH_FREE, BATCH_WRITING, BATCH_FLUSHING, BATCH_DONE };

struct batch {
    struct chunk_store *store;
    struct list_link link; /* free or in flight, by lsn */
    enum batch_state state;
    bool failed;
    struct segment *segment;
    struct batch_header header;
    uint8_t *area; /* header area, and payload of small batches */
    struct list puts;
    struct list items;
    struct disk_io header_io;
    struct disk_io payload_io;
    unsigned writes_left;
    bool needs_flush;
    struct flush_waiter flush;
};

struct batch_writer {
    struct segment *open;         /* takes the next batch; NULL: none yet */
    struct log_position position; /* of the next batch to be submitted */
    struct log_position settled;  /* behind the last batch that is durable and in the index */
    uint64_t durable_lsn;
    struct batch batches[BATCHES_IN_FLIGHT];
    struct list free;
    struct list in_flight;
    struct list puts_small;
    struct list puts_large;
    struct list erase_items;
    struct list clean_items;
    uint64_t small_bytes; /* payload and records in puts_small, erase_items */
    struct loop_timer group_timer;
    bool group_due;
    bool large_turn; /* fairness between the two kinds of puts */
    bool pumping;
    bool pump_again;
    bool refused;            /* something queued was answered without having been written */
    struct segment *rolling; /* being made the next open one */
    enum room_level roll_level;
    uint8_t *roll_block;
    struct disk_io roll_io;
    struct flush_waiter roll_flush;
    uint64_t unflushed_index_bytes;
};

void batch_writer_init(struct chunk_store *store);
void batch_writer_deinit(struct chunk_store *store);
/* Queue a checked put and pump; queue a record, to be pumped when the caller has queued all it has. */
void batch_writer_put(struct chunk_store *store, struct chunk_put *put);
void batch_writer_append(struct chunk_store *store, struct log_item *item, enum room_level level);
/* Submit whatever can be submitted now. */
void batch_writer_pump(struct chunk_store *store);
/* Nothing queued, nothing in flight. */
bool batch_writer_is_idle(const struct chunk_store *store);
/* The disk is fenced: answer everything that has not been started. */
void batch_writer_refuse_queued(struct chunk_store *store);
/* There is no room at this level, nor will be: STATUS_FULL to all that wait for it. */
void batch_writer_refuse_level(struct chunk_store *store, enum room_level level);
/* When nothing is in flight, what has been settled ends where the next batch goes, also in another segment. */
void batch_writer_settle_position(struct batch_writer *writer);

/* ---- room.c -------------------------------------------------------------------------------------- */

enum room {
    ROOM_HERE,
    ROOM_AFTER_ROLL,
    ROOM_LATER, /* the next free segment is just being prewritten; whoever does that gives it up at once */
    ROOM_NONE,
};

/* Where a batch of `bytes` can go. */
enum room room_find(struct chunk_store *store, enum room_level level, size_t bytes);
/* Do what it takes when it is not ROOM_HERE: roll, wait for cleaning, or refuse. True: the queues changed, look
 * again. */
bool room_make(struct chunk_store *store, enum room room, enum room_level level);

/* ---- erase.c ------------------------------------------------------------------------------------- */

enum wipe_stage {
    WIPE_FREE,
    WIPE_TOMBSTONE,
    WIPE_INTENT,
    WIPE_READERS,
    WIPE_WRITE,
    WIPE_FLUSH,
    WIPE_VERIFY,
    WIPE_RESULT,
};

struct wipe {
    struct chunk_store *store;
    enum wipe_stage stage;
    struct chunk_id id;
    struct chunk_place place;
    struct list requests; /* chunk_erase; none: taken up after a crash */
    struct log_item item;
    uint32_t bytes; /* whole blocks */
    unsigned pass;  /* of those of the technique, from 0 */
    uint32_t bytes_done;
    uint32_t piece_bytes;
    uint8_t *buffer;
    struct disk_io io;
    struct flush_waiter flush;
    struct disk_file *verify_file;
    struct content_hash *digest; /* of what was read back */
};

struct eraser {
    struct wipe wipes[WIPES_MAX];
    unsigned active;
    struct list waiting; /* chunk_erase without a wipe yet */
    struct list parked;  /* chunk_erase: something else is at work on the chunk */
    struct chunk_id resume_after;
    bool resume_started;
    bool resuming;
    bool resume_failed; /* the index could not be walked; logged */
};

void eraser_init(struct chunk_store *store);
void eraser_deinit(struct chunk_store *store);
/* Take up the erasures that a crash interrupted. */
void eraser_resume(struct chunk_store *store);
/* A read of `id` has ended. */
void eraser_read_ended(struct chunk_store *store, const struct chunk_id *id);
/* What parked erases waited for may have happened. */
void eraser_retry_parked(struct chunk_store *store);
bool eraser_has(const struct chunk_store *store, const struct chunk_id *id);
bool eraser_works_in(const struct chunk_store *store, const struct segment *segment);
/* Answer everybody who has not been started. */
void eraser_refuse_waiting(struct chunk_store *store, enum status status);

/* ---- clean.c ------------------------------------------------------------------------------------- */

enum clean_stage { CLEAN_IDLE, CLEAN_CHECKING, CLEAN_MOVING, CLEAN_WAITING_FOR_WIPE, CLEAN_READERS };

struct cleaner {
    enum clean_stage stage;
    bool moving; /* second pass: the first one only checks that everything can be read */
    struct segment *victim;
    struct loop_timer again; /* for segments that are stuck */
    uint64_t live_bytes_seen;
    struct batch_reader reader;

    struct record_cursor cursor; /* of the batch that is being carried over */
    bool walk_ended;
    struct log_item moves[MOVES_MAX];
    uint8_t move_seals[MOVES_MAX][UNIT_SEAL_BYTES];
    unsigned moves_count;
    bool index_failed;   /* the index could not say whether a record counts */
    unsigned moves_left; /* of a round on its way: not yet durable */
    enum status moves_status;
    uint8_t *gathered; /* payload of small records */
    uint32_t gathered_bytes;
};

void cleaner_init(struct chunk_store *store);
void cleaner_deinit(struct chunk_store *store);
/* Start cleaning when room is low and something can be gained. */
void cleaner_consider(struct chunk_store *store);
/* True while cleaning or wiping is under way, or could be started, that will give room back. */
bool cleaner_can_help(struct chunk_store *store);
/* Worth cleaning, if only it were full: what has been written to it is mostly dead. */
bool cleaner_would_clean(const struct chunk_store *store, const struct segment *segment);
void cleaner_read_ended(struct chunk_store *store, const struct segment *segment);
/* For carry.c: */
void cleaner_give_up(struct chunk_store *store, const char *why);
void cleaner_walk_behind(struct chunk_store *store);
void cleaner_pass_end(struct chunk_store *store);
bool cleaner_must_stop(const struct chunk_store *store);
/* Whether the record counts, and what the index has. When the index can't say, `index_failed` is set. */
bool cleaner_record_counts(struct chunk_store *store, const struct record *record, struct chunk_entry *entry);

/* ---- carry.c ------------------------------------------------------------------------------------- */

/* Carry over what counts of the batch in the cleaner's reader, then go on behind it. */
void carry_batch(struct chunk_store *store);
/* Write what is gathered, then end the pass. */
void carry_rest(struct chunk_store *store);
/* A wipe has ended: perhaps the one that the next record waits for. */
void carry_wipe_ended(struct chunk_store *store);
/* A record of `id` is being carried over. */
bool carry_has(const struct chunk_store *store, const struct chunk_id *id);

/* ---- prepare.c ----------------------------------------------------------------------------------- */

enum prepare_stage { PREPARE_IDLE, PREPARE_ALLOCATE, PREPARE_MARK, PREPARE_ZERO, PREPARE_VERIFY, PREPARE_HEADER };

struct preparer {
    enum prepare_stage stage;
    struct segment *segment;
    bool wiping;
    uint64_t offset;
    uint8_t *zeros;
    uint8_t *buffer;
    struct disk_io io;
    struct flush_waiter flush;
    struct disk_file *verify_file;
    struct loop_timer timer;
};

void preparer_init(struct chunk_store *store);
void preparer_deinit(struct chunk_store *store);
void preparer_consider(struct chunk_store *store);
/* A segment is being wiped, or will be soon. */
bool preparer_will_wipe(const struct chunk_store *store);

/* ---- upkeep.c ------------------------------------------------------------------------------------ */

struct superblock_write {
    struct superblock state;
    struct disk_file *file;
    uint8_t *blocks; /* SUPERBLOCK_BYTES */
    struct disk_io io;
    bool in_flight;
    void (*done)(struct chunk_store *store, enum status status);
};

/* Write the state over the oldest copy and flush it. One at a time. */
void superblock_write(struct chunk_store *store, bool clean,
                      void (*done)(struct chunk_store *store, enum status status));
/* A batch was settled: arm the timer, write the index out when much has gathered. */
void upkeep_after_batches(struct chunk_store *store, uint64_t bytes);
void upkeep_timer_fired(struct loop_timer *timer);
/* Make the index durable. A failure fences. */
enum status index_flush(struct chunk_store *store);
/* The disk failed: from now on it only serves reads. Logs once. */
void store_fence(struct chunk_store *store, enum status status, const char *what);
/* Go on closing when nothing of our own is at work any more. Never frees the store inside the call. */
void store_close_continue(struct chunk_store *store);

/* ---- recover.c ----------------------------------------------------------------------------------- */

struct recovery;
/* chunk_store_open(), returning the store under construction so that a test can abandon it midway. */
struct chunk_store *store_open_start(struct loop *loop, struct disk *disk, struct kv *index,
                                     const struct chunk_store_options *options,
                                     void (*done)(void *user, enum status status, struct chunk_store *store),
                                     void *user);
void recovery_free(struct recovery *recovery);

/* ---- chunk_store.c ------------------------------------------------------------------------------- */

struct chunk_store {
    struct loop *loop;
    struct disk *disk;
    struct kv *kv;
    struct chunk_store_options options;
    struct segment_table segments;
    struct chunk_index index;
    struct superblock_write superblock;
    struct batch_writer writer;
    struct eraser eraser;
    struct cleaner cleaner;
    struct preparer preparer;
    struct list puts_by_hash[PUT_HASH_BUCKETS]; /* accepted, not yet answered */
    struct list puts_parked;                    /* same id as one of those */
    struct list gets;
    struct loop_timer upkeep_timer;
    struct recovery *recovery; /* while opening */
    bool fenced;
    bool closing_soon; /* no erase waits any more for something else to end */
    bool closing;
    bool close_decided; /* nothing is at work any more: the last superblock is on its way, or the end is */
    void (*closed)(void *user);
    void *closed_user;
    bool list_failed; /* logged */
    uint64_t corrupt_found;
    uint64_t wiped;
    uint64_t batches;
    uint64_t recovered_batches;
    uint64_t torn_batches;
    struct chunk_id reported[16]; /* the last corrupt chunks that were logged: once each is enough */
    unsigned reported_next;
};

/* Allocate with all parts initialised and no segment table yet. */
struct chunk_store *store_new(struct loop *loop, struct disk *disk, struct kv *kv,
                              const struct chunk_store_options *options);
void store_free(struct chunk_store *store);
/* Answer, later and once. */
void put_finish(struct chunk_put *put, enum status status);
void erase_finish(struct chunk_erase *erase, enum status status);
/* A put of this id is accepted and not yet answered. */
bool put_in_flight(struct chunk_store *store, const struct chunk_id *id);
void puts_retry_parked(struct chunk_store *store);
/* A read of `id` is in flight. */
bool get_in_flight(const struct chunk_store *store, const struct chunk_id *id);
/* The entry's payload lies inside a segment in the use that the entry means. */
bool place_is_valid(const struct chunk_store *store, const struct chunk_entry *entry);
/* Count damage, log each chunk once. */
void report_corrupt(struct chunk_store *store, const struct chunk_id *id, const char *what);

#endif
