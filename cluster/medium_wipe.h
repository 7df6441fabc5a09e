/* medium_wipe.h - wiping one medium: fingerprints, passes, read-back, search; resumable at any point.
 *
 *   COLLECT   reads the medium (all of it, or where the read-back will look) for labels and fingerprints of ours
 *   WIPE      its steps in order: passes of a pattern, or the device's own sanitize
 *   CHECK     reads back what --verify says and every place a fingerprint came from; compares with the stream (where
 *             there is one),
 *             and searches everything that it reads for labels and fingerprints
 *   DISCARD   only when asked for; says nothing about erasure
 *
 * Sampling, after NIST SP 800-88 Rev. 1, 4.7: the medium in 1000 parts, in each two random places that do not overlap,
 * each of a twentieth of the part, beside the first and the last block. Quick: 1000 random blocks beside those two. A
 * medium that is too small for it is read as a whole. Blocks that can't be written or read are counted and told, never
 * skipped in silence: with a single one there is no success.
 * Errors     STATUS_OK: it is finished, well or not (medium_result()). Anything else: it stopped, and goes on when
 *            called again.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_WIPE_H
#define TRILITH_CLUSTER_MEDIUM_WIPE_H

#include "cluster/medium_state.h"

enum medium_result {
    MEDIUM_ERASED = 1, /* everything that was to be done was done, and the read-back and the search found nothing */
    MEDIUM_FAILED = 2,
    MEDIUM_NOT_DONE = 3, /* dead, or not finished */
};

struct medium_wipe {
    struct medium_state *state;
    struct medium_io *io;
    struct sanitizer *sanitizer; /* for MEDIUM_SANITIZE */
    /* What is done now: "overwrite" and so on, how far. `saved`: an end of the program would lose nothing of it. */
    void (*progress)(struct medium_wipe *wipe, const char *what, uint64_t done, uint64_t total, bool saved);
    char message[MEDIUM_MESSAGE_BYTES];

    uint8_t *buffer;
    uint8_t *expected;
    uint64_t unsaved;
    uint64_t saved_ns;
};

MUST_USE enum status medium_wipe_run(struct medium_wipe *wipe);

enum medium_result medium_result(const struct medium_state *state);
/* "purge", "clear" or "none": what may be claimed of the medium when somebody accepts it. */
const char *medium_method(const struct medium_state *state);
/* The same before anything is done, if all goes well. */
const char *medium_method_expected(const struct medium_identity *identity, enum medium_technique technique);

/* Places that are read back. The first two are the first and the last block, except where all is read. */
struct medium_place {
    uint64_t offset;
    uint64_t bytes;
};
/* The kind of read-back that a medium of this size really gets. */
enum medium_verify medium_verify_for(enum medium_verify verify, uint64_t medium_bytes);
uint64_t medium_place_count(enum medium_verify verify, uint64_t medium_bytes);
void medium_place(enum medium_verify verify, const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t medium_bytes,
                  uint64_t index, struct medium_place *place);
/* How much the read-back reads, about. */
uint64_t medium_check_bytes(enum medium_verify verify, uint64_t medium_bytes);

/* At most so many of a million places can still hold something else, with 95 % confidence, when none of `samples`
 * random ones did (rule of three). 1000000 when nothing was sampled. */
uint64_t medium_upper95_ppm(const struct medium_state *state);

/* The overwriting stream: ChaCha20 (base/keystream.h) anew for every 64 GiB, with the seed BLAKE2b-256("TRLmed1" |
 * seed | region u64le). `offset` is a multiple of BLOCK_BYTES. */
void medium_stream(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t offset, uint8_t *data, size_t bytes);

/* Search a piece that was read, compare it, and count: shared with medium_directory.c. `expected` NULL: nothing is. */
void medium_check_piece(struct medium_state *state, uint64_t offset, const uint8_t *data, const uint8_t *expected,
                        size_t bytes);

#endif
