/* ledger_tiles.h - a ledger as a directory of static files, in the layout of C2SP tlog-tiles (tlog-tiles.md).
 *
 *   checkpoint               the signed head (base/checkpoint.h)
 *   tile/<L>/<N>             256 hashes of 32 bytes: those of the tree's level 8 * L, from N * 256 on
 *   tile/<L>/<N>.p/<W>       the last one while it has only W of them
 *   tile/entries/<N>[.p/<W>] the entries beside tile/0/<N>[.p/<W>]: each a length (u16be) and so many bytes
 *
 * <N> in groups of three digits, all but the last with an x in front: 1234067 is x001/x234/067. Other tools of that
 * world (transparency-dev/tessera's fsck, for one) read such a directory too. Partial tiles of earlier heads may lie
 * beside; nothing reads them.
 * Bounds     Entries of 1..LEDGER_TILES_ENTRY_MAX bytes.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_LEDGER_TILES_H
#define TRILITH_CLUSTER_LEDGER_TILES_H

#include "base/checkpoint.h"
#include "cluster/evidence_files.h"

#define LEDGER_TILES_ENTRY_MAX    1024u
#define LEDGER_TILES_WIDTH        256u
#define LEDGER_TILES_LEVELS       8u
#define LEDGER_TILES_NAME_BYTES   80
#define LEDGER_TILES_BUNDLE_BYTES (LEDGER_TILES_WIDTH * (2 + LEDGER_TILES_ENTRY_MAX))
#define LEDGER_TILES_ENTRIES      LEDGER_TILES_LEVELS /* as a level: the entries themselves */

/* The name of tile `number` of `level` with `width` (1..256) of its hashes. */
void ledger_tiles_name(unsigned level, uint64_t number, unsigned width, char name[LEDGER_TILES_NAME_BYTES]);

/* The hashes that belong into the tiles that are not full yet, of each level. */
struct ledger_tiles_edge {
    struct merkle_edge tree;
    struct merkle_hash hashes[LEDGER_TILES_LEVELS][LEDGER_TILES_WIDTH];
    bool is_full[LEDGER_TILES_LEVELS]; /* the last append has completed it */
};

/* ---- writing: open, append every entry from the first on, finish ------------------------------- */

struct ledger_tiles_writer {
    struct evidence_files *files;
    struct ledger_tiles_edge edge;
    size_t bundle_bytes;
    uint8_t bundle[LEDGER_TILES_BUNDLE_BYTES];
};

/* It is about 330 KB: not for the stack. */
void ledger_tiles_writer_init(struct ledger_tiles_writer *writer, struct evidence_files *files);
/* STATUS_OK; STATUS_INVALID: an entry of a wrong size; statuses of files->write(). */
MUST_USE enum status ledger_tiles_append(struct ledger_tiles_writer *writer, const void *entry, size_t bytes);
/* Write what is partial, then the checkpoint. STATUS_CONFLICT: `note` is about another tree than that of these entries;
 * STATUS_INVALID: no checkpoint; statuses of files->write(). Its signatures are not looked at. */
MUST_USE enum status ledger_tiles_finish(struct ledger_tiles_writer *writer, const char *note, size_t note_bytes);

/* ---- reading, with everything checked ---------------------------------------------------------- */

struct ledger_tiles_reader {
    struct evidence_files *files;
    struct checkpoint head;        /* what the tree must come to */
    struct ledger_tiles_edge edge; /* edge.tree: the tree of the entries given out so far */
    char *bundle;
    size_t bundle_bytes;
    size_t bundle_at;
    struct merkle_hash leaves[LEDGER_TILES_WIDTH]; /* tile/0 beside the bundle */
    char problem[256];                             /* the first thing that is wrong, as a sentence */
};

/* Read the ledger that `head` describes; who calls has verified it. About 90 KB: not for the stack. */
void ledger_tiles_open(struct ledger_tiles_reader *reader, struct evidence_files *files, const struct checkpoint *head);
void ledger_tiles_close(struct ledger_tiles_reader *reader);
/* The next entry, valid until the next call. STATUS_OK; STATUS_CLOSED: that were all, every tile follows from them and
 * so does the root of `head`; STATUS_CORRUPT: `problem` says what is wrong. */
MUST_USE enum status ledger_tiles_next(struct ledger_tiles_reader *reader, const uint8_t **entry, size_t *bytes);

#endif
