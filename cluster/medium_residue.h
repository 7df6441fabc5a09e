/* medium_residue.h - what would show that something of ours is still on a medium: labels and fingerprints.
 *
 * A label is what every structure of ours begins with: "TRLSEG1\0" (segment), "TRLSUP1\0" (superblock) at any byte, and
 * a batch header "TLB1" whose sizes make sense at any 512 bytes (four bytes alone turn up in random data: once in 4
 * GiB). A fingerprint is a window of 16 bytes that stood on the medium before it was wiped: most are taken out of
 * sealed units, the rest from anywhere. A window of random bytes turns up again by chance in one of 2^128 places, so a
 * hit is a hit. Windows are ciphertext or the device's old content: they stay in the state file and in memory, the
 * report has only their digest.
 *
 * Bounds     RESIDUE_FINGERPRINTS_MAX windows, RESIDUE_PLACES_MAX places told; more are counted.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_MEDIUM_RESIDUE_H
#define TRILITH_CLUSTER_MEDIUM_RESIDUE_H

#include "base/ids.h"

#include <stdbool.h>
#include <stddef.h>

#define RESIDUE_WINDOW_BYTES     16u
#define RESIDUE_SEALED_MAX       768u /* windows out of sealed units */
#define RESIDUE_OTHER_MAX        256u /* windows from anywhere */
#define RESIDUE_FINGERPRINTS_MAX (RESIDUE_SEALED_MAX + RESIDUE_OTHER_MAX)
#define RESIDUE_PLACES_MAX       32u
#define RESIDUE_STORES_MAX       8u
#define RESIDUE_FILTER_BITS      (1u << 17)

struct residue_fingerprint {
    uint64_t offset; /* where it stood */
    uint8_t window[RESIDUE_WINDOW_BYTES];
};

/* What was on the medium before. */
struct residue_prints {
    struct residue_fingerprint sealed[RESIDUE_SEALED_MAX];
    struct residue_fingerprint other[RESIDUE_OTHER_MAX];
    uint32_t sealed_count;
    uint32_t other_count;
    uint64_t sealed_seen; /* candidates, of which the list is an even sample */
    uint64_t other_seen;
    uint64_t labels;                        /* found before the wipe */
    struct uuid stores[RESIDUE_STORES_MAX]; /* whose superblocks were found */
    uint32_t store_count;
    uint64_t chance; /* state of the sampling */
};

/* Begin with `seed`, which only decides what is sampled. */
void residue_prints_begin(struct residue_prints *prints, uint64_t seed);
/* Look at `bytes` bytes that stand at `offset`. */
void residue_collect(struct residue_prints *prints, uint64_t offset, const uint8_t *data, size_t bytes);
uint32_t residue_print_count(const struct residue_prints *prints);
/* The `index`-th of all. */
const struct residue_fingerprint *residue_print(const struct residue_prints *prints, uint32_t index);

enum residue_kind { RESIDUE_LABEL, RESIDUE_FINGERPRINT };

/* The search, over any number of pieces; pieces that join on are searched across their border. */
struct residue_scan {
    const struct residue_prints *prints; /* NULL: labels only */
    uint64_t label_hits;
    uint64_t fingerprint_hits;
    struct {
        uint64_t offset;
        enum residue_kind kind;
    } places[RESIDUE_PLACES_MAX];
    uint32_t place_count;

    uint8_t filter[RESIDUE_FILTER_BITS / 8];  /* of the first eight bytes of every pattern */
    uint32_t order[RESIDUE_FINGERPRINTS_MAX]; /* prints, sorted by window */
    uint32_t order_count;
    uint8_t carry[RESIDUE_WINDOW_BYTES - 1]; /* the end of the last piece */
    size_t carry_bytes;
    uint64_t carry_end; /* the offset behind it */
};

/* Counts and places are kept: set them to zero, or to where an interrupted search had come. */
void residue_scan_begin(struct residue_scan *scan, const struct residue_prints *prints);
/* Take up an interrupted search: `data` is what stands before `offset`, and was searched already. */
void residue_resume(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes);
void residue_search(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes);

#endif
