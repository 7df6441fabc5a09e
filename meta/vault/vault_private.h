/* vault_private.h - the insides of a vault, for the files vault*.c alone.
 *
 *   vault.c          what answers at once: leaves, punctures, switch; and the steps that the others share
 *   vault_covers.c   reading, puncturing and writing the covers of pages
 *   vault_settle.c   what the slot says, and what a crash has left
 *   vault_load.c     the table from its file
 *   vault_prepare.c  the next epoch beside the current one
 *   vault_destroy.c  destroy and abandon
 *   vault_unload.c   letting go of what is in memory
 *
 * Work that takes its time is one struct vault_work: each I/O, and each slice of computing, ends in its `resume`, which
 * does the next thing. Between two of them the loop serves others, who may derive and puncture: they touch the current
 * table, the punctures and the scratch memory, and none of these is kept across a step by the work. */
#ifndef TRILITH_META_VAULT_VAULT_PRIVATE_H
#define TRILITH_META_VAULT_VAULT_PRIVATE_H

#include "meta/vault/punctures.h"
#include "meta/vault/table.h"
#include "meta/vault/vault.h"

/* What one turn of the loop does at most: each about a millisecond or two. */
#define SLICE_REGIONS    2u    /* copied, or wiped and given back */
#define SLICE_SEEDS      1024u /* seeds of the nursery */
#define SLICE_PAGES      16u   /* punctured pages, or rows of covers deleted */
#define PIECE_BLOCKS     8u    /* blocks of a table sealed or opened, in one transfer */

#define COVER_NONE       UINT32_MAX
#define COVER_SEALED_MAX (GGM_COVER_BYTES_MAX + BOX_OVERHEAD_BYTES)

/* Secrets that are no rows. In guarded memory. */
struct vault_secrets {
    struct key nursery;        /* of the current epoch */
    struct key next_nursery;   /* of the attempt */
    struct shamir_share share; /* found by settle */
    struct slot_cell cells[SLOT_CELLS];
    struct table_sealing sealing; /* of the table that is being written or read */

    /* Scratch: nothing here outlives a call. */
    struct key key;
    struct key seed;
    struct ggm_cover cover;
    uint8_t cover_bytes[GGM_COVER_BYTES_MAX];
    uint8_t rows[TABLE_PLAIN_BYTES];
};

/* A page that an attempt punctures. */
struct punctured_page {
    uint32_t page;
    uint32_t generation_before; /* of its cover in the current table; COVER_NONE */
    uint32_t generation;        /* of the cover that was written for the next table; COVER_NONE */
    struct ggm_bitmap leaves;
};

struct page_list {
    struct punctured_page *pages;
    uint32_t count;
};

/* The next epoch, while it is prepared and until it is switched to or abandoned. */
struct attempt {
    bool exists; /* there may be something of it on the devices */
    bool is_prepared;
    bool in_slot; /* the slot may hold its share */
    struct vault_epoch epoch;
    struct table table;
    struct page_list punctured;
    struct vault_closed closed;
};

struct vault_work {
    void (*resume)(struct vault *vault, enum status status); /* NULL: nothing is under way */
    int stage;
    vault_done *done;
    void *user;

    uint32_t at;     /* block, page or index: where the stage stands */
    uint32_t blocks; /* of the piece in flight */
    uint64_t bytes_written;
    uint64_t leaves_erased_total; /* load: what the header says */
    struct vault_epoch epoch;
    struct disk_file *file;
    struct table table;                                    /* load: the table that is being read */
    enum status outcome;                                   /* prepare: why it failed, while it cleans up */
    void (*then)(struct vault *vault, enum status status); /* abandon: who goes on */
    struct disk_io io;
    struct slot_call call;
    struct loop_task task;
};

struct vault {
    struct vault_parts parts;
    uint8_t uuid[VAULT_UUID_BYTES];
    struct vault_secrets *secrets;
    uint8_t *buffer; /* PIECE_BLOCKS blocks, aligned: only what is sealed, and headers */

    bool has_share;
    bool is_loaded;
    struct vault_epoch current;
    struct table table;
    struct punctures punctures;
    struct vault_closed closed;

    struct attempt next;
    struct table retired;      /* of the epoch before, until it is destroyed */
    struct page_list replaced; /* whose old covers go when it is */
    struct vault_work work;
    char message[VAULT_MESSAGE_BYTES];
};

/* ---- work (vault.c) ---------------------------------------------------------------------------- */

/* Begin: `resume` runs later, at stage 0. */
void work_begin(struct vault *vault, void (*resume)(struct vault *vault, enum status status), vault_done *done,
                void *user);
/* Run `resume` again, at `stage`, after the loop has served others. */
void work_yield(struct vault *vault, int stage);
/* One I/O, or one call of the slot; then `resume` at `stage`. */
void work_read(struct vault *vault, size_t bytes, uint64_t offset, int stage);
void work_write(struct vault *vault, size_t bytes, uint64_t offset, int stage);
void work_flush(struct vault *vault, int stage);
void work_allocate(struct vault *vault, uint64_t bytes, int stage);
void work_slot(struct vault *vault, enum slot_operation operation, uint64_t epoch, int stage);
/* Close the file, wipe what was secret about the work, and tell its owner. Last use of the work. */
void work_end(struct vault *vault, enum status status);
void work_close_file(struct vault *vault);

void vault_say(struct vault *vault, const char *format, ...) PRINTF_LIKE(2, 3);

/* The seed of a page that is in no table yet. */
void nursery_of(const struct key *root, struct key *nursery);
void nursery_seed(const struct key *nursery, uint32_t page, struct key *seed);
/* Drop an attempt's memory. */
void attempt_forget(struct vault *vault);

/* ---- covers (vault_covers.c) ------------------------------------------------------------------- */

/* Say whose covers these are, in the batch; and are they this vault's, or nobody's yet? STATUS_OK, STATUS_CORRUPT,
 * STATUS_IO. */
void covers_mark(const struct vault *vault, struct kv_batch *batch);
MUST_USE enum status covers_check(struct vault *vault);
/* Read the cover of a punctured page into secrets->cover. STATUS_OK, STATUS_CORRUPT, STATUS_IO. */
MUST_USE enum status cover_read(struct vault *vault, uint32_t page, const struct table_row *row);
/* Puncture one page of the attempt: its new cover into `batch`, its new row into the attempt's table. */
MUST_USE enum status cover_puncture(struct vault *vault, struct punctured_page *page, struct kv_batch *batch);
/* Delete the covers of the generations that `which` names, of pages from `from` on, at most SLICE_PAGES. Best effort:
 * what stays is residue. Returns where to go on. */
enum cover_generation { COVER_BEFORE, COVER_AFTER };
uint32_t covers_delete(struct vault *vault, const struct page_list *list, enum cover_generation which, uint32_t from);

/* ---- abandoning (vault_destroy.c) -------------------------------------------------------------- */

/* As a part of other work: `then` runs with STATUS_OK, or with why the share may still be there. */
void abandon_within(struct vault *vault, void (*then)(struct vault *vault, enum status status));

#endif
