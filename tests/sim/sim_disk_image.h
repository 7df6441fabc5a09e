/* sim_disk_image.h - the content of the files of a simulated disk: two images each, and in what they differ.
 *
 * Blocks      4 KiB each, immutable once made, counted, from a pool of the disk's own. A block of zeros is NULL, so what
 *             was never written, or only prewritten, costs one pointer. Equal content of the two images is one block.
 * Dirty       A place with `sequence` 0 has the same block in both images. Otherwise `sequence` is that of the write that
 *             last completed there, so a flush that started at sequence number s covers exactly the places with 1..s.
 *             The file's log names the runs of places that writes made dirty, oldest first: a flush or a crash walks
 *             the log and never the file. An entry of which a later write has taken over a place just passes over it.
 * Marks       Made for a place when the device first does it wrong: whether content is stray, which sectors can't be read
 *             (both per image: a write that is not durable yet clears only the cache's), and the content that a flush
 *             has promised to keep without keeping it.
 * Promise     Only dirty places have one. It ends when the place is settled after all, or when the place loses content:
 *             then every sector that is neither what was promised nor what was written last makes the place stray.
 *
 * Private to sim_disk*.c. */
#ifndef TRILITH_TESTS_SIM_DISK_IMAGE_H
#define TRILITH_TESTS_SIM_DISK_IMAGE_H

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#define SIM_BLOCK_SECTORS (BLOCK_BYTES / SIM_DISK_SECTOR_BYTES)
#define SIM_DISK_IMAGES   2 /* indexed by enum sim_disk_image */

/* ---- blocks ---------------------------------------------------------------------------------------- */

struct sim_block {
    struct sim_block *next_free;
    uint32_t references;
    uint8_t bytes[BLOCK_BYTES];
};

struct sim_slab;

/* Zero-initialise before first use. */
struct sim_blocks {
    struct sim_block *free;
    struct sim_slab *slabs;
};

void sim_blocks_deinit(struct sim_blocks *blocks);

/* A block with this content, held once; NULL when it is all zeros. */
struct sim_block *sim_block_of(struct sim_blocks *blocks, const uint8_t content[BLOCK_BYTES]);
struct sim_block *sim_block_hold(struct sim_block *block);
void sim_block_release(struct sim_blocks *blocks, struct sim_block *block);

/* The content, NULL included. */
const uint8_t *sim_block_bytes(const struct sim_block *block);
bool sim_block_is_equal(const struct sim_block *a, const struct sim_block *b);

/* ---- files ----------------------------------------------------------------------------------------- */

struct sim_mark {
    struct sim_flaw {
        bool stray;
        uint8_t unreadable; /* a bit per sector */
    } flaws[SIM_DISK_IMAGES];
    bool promised;
    struct sim_block *promise;
};

struct sim_place {
    struct sim_block *image[SIM_DISK_IMAGES];
    uint64_t sequence;
    struct sim_mark *mark; /* NULL: nothing ever went wrong here */
};

/* One run of places that a write made dirty. */
struct sim_dirty {
    uint64_t first;
    uint64_t count;
    uint64_t sequence;
};

struct sim_file {
    struct list_link link; /* in sim_disk.files, by name, while it has one */
    struct sim_blocks *blocks;
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    struct sim_place *places;
    struct sim_dirty *dirty; /* ascending sequence numbers */
    size_t dirty_count;
    size_t dirty_capacity;
    uint8_t *copy; /* of the durable image, for sim_disk_bytes(); NULL: none, or out of date */
    unsigned handles;
    bool removed;
};

struct sim_file *sim_file_new(struct sim_blocks *blocks, const char *name);
void sim_file_free(struct sim_file *file);
void sim_file_grow(struct sim_file *file, uint64_t bytes);

/* The cache's content of a place becomes `block` (borrowed), by the write `sequence`. The caller logs it. */
void sim_file_put(struct sim_file *file, uint64_t index, struct sim_block *block, uint64_t sequence);
void sim_file_log(struct sim_file *file, uint64_t first, uint64_t count, uint64_t sequence);

/* The cache's content of a place is durable. */
void sim_file_settle(struct sim_file *file, uint64_t index);

/* Both images of a place become `block` (given away), whatever was dirty. */
void sim_file_set(struct sim_file *file, uint64_t index, struct sim_block *block);

/* The device says that the cache's content of a place is durable, and it is not. */
void sim_file_promise(struct sim_file *file, uint64_t index);

/* A flush of all that writes up to `sequence` made dirty: done, and only said to be done (false: nothing was at stake). */
void sim_file_flush(struct sim_file *file, uint64_t sequence);
bool sim_file_promise_all(struct sim_file *file, uint64_t sequence);

/* Content on its way from the cache to stable storage when things went wrong: each sector stays old, becomes new, or is
 * neither. */
struct sim_tear {
    struct sim_random *random;
    unsigned garbage_percent;
    uint64_t kept;     /* sectors that stayed old and would have changed */
    uint64_t replaced; /* sectors that changed to what was written */
    uint64_t garbage;  /* sectors that are neither */
    uint64_t torn;     /* writes of which some sectors were kept and others replaced */
};

/* Tear all that writes up to `sequence` made dirty; what comes out is both images. */
void sim_file_tear(struct sim_file *file, uint64_t sequence, struct sim_tear *tear);

/* Tear one write of `count` blocks that had not reached the cache yet. */
void sim_file_tear_write(struct sim_file *file, uint64_t first, struct sim_block *const *blocks, uint64_t count,
                         struct sim_tear *tear);

/* The marks of a place, to be set. */
struct sim_mark *sim_file_mark(struct sim_file *file, uint64_t index);
void sim_file_mark_stray(struct sim_file *file, uint64_t index);
bool sim_file_is_stray(const struct sim_file *file, uint64_t index);
bool sim_file_is_readable(const struct sim_file *file, uint64_t offset, uint64_t bytes);

/* Copy from an image, any alignment, inside the file. */
void sim_file_copy(const struct sim_file *file, enum sim_disk_image image, uint64_t offset, uint8_t *buffer,
                   size_t bytes);

/* The whole durable image, valid until it changes. */
const uint8_t *sim_file_bytes(struct sim_file *file);

#endif
