/* journal_private.h - private to the one-node journal: its parts are journal_local.c (writing) and journal_open.c
 * (recovery). */
#ifndef TRILITH_META_JOURNAL_PRIVATE_H
#define TRILITH_META_JOURNAL_PRIVATE_H

#include "meta/journal_local.h"
#include "meta/journal_segment.h"

#define JOURNAL_READ_BYTES MIB(1) /* one read or one write of zeros */

/* FREE: may be begun anew. USED: holds entries, the last one written to is journal->active. */
enum journal_file_state { JOURNAL_FILE_NONE, JOURNAL_FILE_FREE, JOURNAL_FILE_USED };

struct journal_file {
    enum journal_file_state state;
    struct disk_file *file;
    uint32_t number;
    bool header_is_good;
    struct segment_header header;
    uint64_t last_index; /* of the entries in it; 0: it has none */
};

/* Entries that will be one batch. */
struct journal_staged {
    uint8_t *area; /* JOURNAL_BATCH_BYTES_MAX, aligned */
    uint32_t content_bytes;
    uint16_t entry_count;
    uint64_t first_index;
    struct list entries;
};

struct journal_local {
    struct journal journal;
    struct loop *loop;
    struct disk *disk;
    struct journal_user *user;
    struct journal_local_options options;
    struct journal_file files[JOURNAL_SEGMENTS_MAX];
    struct journal_file *active;
    uint32_t next_number;
    uint64_t append_offset;
    uint64_t next_lsn;
    uint64_t next_index;
    uint64_t released_index;
    uint64_t generation; /* the greatest given to a segment */
    uint32_t previous_crc;
    bool failed;
    bool abandoned; /* a task that is still queued frees the journal */

    /* Writing: a ring of staged batches, the oldest in flight or about to be. */
    struct journal_staged staged[JOURNAL_BATCHES_MAX];
    unsigned oldest;
    unsigned staged_count;
    enum { JOURNAL_IDLE, JOURNAL_WRITING_HEADER, JOURNAL_WRITING_BATCH } stage;
    struct disk_io write_io;
    struct loop_task write_task;
    bool write_deferred;
    struct batch_header batch;
    uint8_t *header_block;

    /* Preparing the next segment. */
    enum { PREPARE_IDLE, PREPARE_ALLOCATING, PREPARE_ZEROING, PREPARE_FLUSHING } preparing;
    struct journal_file *prepared;
    uint64_t prepared_bytes;
    bool prepare_refused; /* there was no room; tried again at the next tick */
    bool refusal_logged;
    struct disk_io prepare_io;
    uint8_t *zeros; /* JOURNAL_READ_BYTES */

    void (*closed)(void *user);
    void *closed_user;
    struct loop_task close_task;

    /* Opening (journal_open.c). */
    struct journal_opening *opening;
};

/* journal_local_open(), returning the journal under construction so that a test can abandon it midway, once it has
 * started its first I/O. */
struct journal *journal_open_start(struct loop *loop, struct disk *disk, const struct journal_local_options *options,
                                   struct journal_user *user,
                                   void (*opened)(void *opened_user, enum status status, struct journal *journal,
                                                  const char *message),
                                   void *opened_user);
/* A file name of ours, "journal-" and eight hex digits. */
void journal_file_name(uint32_t number, char name[DISK_NAME_BYTES]);
struct journal_file *journal_file_take(struct journal_local *local);
void journal_free(struct journal_local *local);
void journal_opening_free(struct journal_opening *opening);
/* Begin to make a spare segment unless there is one, or one is being made. */
void journal_prepare(struct journal_local *local);
extern const struct journal_ops journal_local_ops;

#endif
