/* inspect.h - walks the files of a store that nobody has open, without its index: for `trilith disk inspect`, for tests,
 * and for whoever does not want to take the node's word.
 *
 * It reads the superblock and every segment file, and tells a visitor about each segment, each record, and everything
 * that is not as it should be. Payload of live chunks is checked unit by unit; erased areas are checked against the
 * regenerated wipe stream; space that no batch owns must be zero. Nothing is written.
 *
 * The state of a record is decided by all records of its chunk: the one with the highest lsn counts.
 * Memory     About 150 bytes per record on the disk.
 * Input      Any bytes at all. */
#ifndef TRILITH_NODE_STORE_INSPECT_H
#define TRILITH_NODE_STORE_INSPECT_H

#include "node/store/record.h"

/* Where the bytes come from. Synchronous. */
struct inspect_source {
    /* Call `each` for every file name. */
    enum status (*list)(struct inspect_source *source, void (*each)(void *user, const char *name), void *user);
    /* STATUS_OK, STATUS_NOT_FOUND, STATUS_DENIED or STATUS_IO. */
    enum status (*size)(struct inspect_source *source, const char *name, uint64_t *bytes);
    /* All of `bytes` at `offset`, inside the file; `buffer`, offset and bytes are aligned to BLOCK_BYTES. */
    enum status (*read)(struct inspect_source *source, const char *name, uint64_t offset, uint8_t *buffer,
                        size_t bytes);
};

enum inspect_segment_state {
    INSPECT_SEGMENT_NEW,    /* allocated, never used */
    INSPECT_SEGMENT_READY,  /* written with zeros */
    INSPECT_SEGMENT_USED,   /* holds batches */
    INSPECT_SEGMENT_WIPING, /* given up, being overwritten */
    INSPECT_SEGMENT_LOST,   /* the header is damaged and no batch says what it was */
};

struct inspect_segment {
    uint32_t number;
    const char *name; /* of the file in the disk's directory */
    uint64_t bytes;   /* of the file */
    enum inspect_segment_state state;
    bool header_good;             /* false: what follows comes from the first good batch */
    struct segment_header header; /* USED, READY, WIPING */
};

enum inspect_record_state {
    INSPECT_LIVE,      /* what a get would return */
    INSPECT_REPLACED,  /* moved elsewhere: the segment is due for wiping */
    INSPECT_ERASING,   /* intent durable, wipe not proven */
    INSPECT_ERASED,    /* wiped */
    INSPECT_STATEMENT, /* an ERASE, ERASED or TOMBSTONE record: says something, holds nothing */
};

struct inspect_record {
    uint32_t segment;
    const char *name;
    uint64_t generation;
    uint64_t lsn;
    uint64_t batch_offset;
    struct record record; /* `seals` is valid during the call */
    uint64_t offset;      /* of the payload in the file; 0: none */
    enum inspect_record_state state;
    bool good;         /* LIVE: every unit; ERASED: exactly the wipe stream; the others: not looked at, true */
    uint32_t bad_unit; /* LIVE and not good: the first bad unit */
};

enum inspect_finding_kind {
    INSPECT_SUPERBLOCK_BAD, /* copies that do not decode: `bytes` of them */
    INSPECT_HEADER_BAD,     /* a segment header */
    INSPECT_BATCH_BAD,      /* a batch that was acknowledged does not decode */
    INSPECT_TORN_TAIL,      /* what an interrupted write left behind the end of the log; the next open removes it */
    INSPECT_UNIT_BAD,       /* a live chunk */
    INSPECT_WIPE_BAD,       /* an erased area holds something else than the wipe stream */
    INSPECT_RESIDUE,        /* bytes that are not zero where nothing should be */
    INSPECT_UNREADABLE,     /* the device refuses */
    INSPECT_FINDING_KINDS
};

struct inspect_finding {
    enum inspect_finding_kind kind;
    const char *name;
    uint64_t offset;
    uint64_t bytes;
    const struct chunk_id *chunk; /* NULL: none in particular */
};

/* "superblock_bad" and so on. */
const char *inspect_finding_name(enum inspect_finding_kind kind);
const char *inspect_segment_state_name(enum inspect_segment_state state);
const char *inspect_record_state_name(enum inspect_record_state state);
const char *record_type_name(enum record_type type);

/* Any of the functions may be NULL. */
struct inspect_visitor {
    void (*segment)(struct inspect_visitor *visitor, const struct inspect_segment *segment);
    void (*record)(struct inspect_visitor *visitor, const struct inspect_record *record);
    void (*finding)(struct inspect_visitor *visitor, const struct inspect_finding *finding);
};

struct inspect_summary {
    bool superblock_good;
    struct uuid store;
    uint64_t durable_lsn; /* highest lsn known durable, from the superblock and all batches */
    uint32_t segments;
    uint64_t batches;
    uint64_t records;
    uint64_t live_chunks;
    uint64_t live_bytes; /* whole blocks */
    uint64_t erased_chunks;
    uint64_t erased_bytes; /* areas that hold exactly the wipe stream */
    uint64_t findings[INSPECT_FINDING_KINDS];
};

/* Walk everything. STATUS_OK: all was looked at, whatever was found; STATUS_NOT_FOUND: there is no store; STATUS_DENIED,
 * STATUS_IO: the files can't be listed. */
MUST_USE enum status inspect_store(struct inspect_source *source, struct inspect_visitor *visitor,
                                   struct inspect_summary *summary);

/* The same for a directory, with plain reads that do not pollute the page cache. On failure one line for people is in
 * `message`. */
MUST_USE enum status inspect_directory(const char *directory, struct inspect_visitor *visitor,
                                       struct inspect_summary *summary, char *message, size_t message_bytes);

#endif
