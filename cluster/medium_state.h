/* medium_state.h - how far the wiping of one medium has come: the file that lets it go on after any end of the program.
 *
 * One JSON document, mode 0600, written whole under another name, flushed, renamed, and the directory flushed. It holds
 * the seed of the overwriting stream until the read-back is over, and fingerprints of what was on the medium. A state
 * is written only after what it speaks of is on the medium: so what it says was overwritten is, and at most
 * MEDIUM_SAVE_BYTES are done twice.
 *
 *   COLLECT ──> WIPE (step 0, 1..) ──> CHECK (read back and search) ──> DISCARD (when asked) ──> FINISHED
 *
 * Bounds     MEDIUM_STATE_BYTES_MAX; every number and length in the file is checked when it is read.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_STATE_H
#define TRILITH_CLUSTER_MEDIUM_STATE_H

#include "base/keystream.h"
#include "cluster/medium_device.h"
#include "cluster/medium_residue.h"
#include "cluster/medium_sanitize.h"

#include <jansson.h>

#define MEDIUM_STATE_BYTES_MAX MIB(1)
#define MEDIUM_SAVE_BYTES      MIB(128)
#define MEDIUM_STEPS_MAX       8u
#define MEDIUM_PLACES_MAX      32u

enum medium_technique { MEDIUM_OVERWRITE = 1, MEDIUM_DOD3 = 2, MEDIUM_SANITIZE = 3, MEDIUM_NOTHING = 4 };
enum medium_verify { MEDIUM_FULL = 1, MEDIUM_SAMPLED = 2, MEDIUM_QUICK = 3 };
enum medium_phase { MEDIUM_COLLECT = 1, MEDIUM_WIPE = 2, MEDIUM_CHECK = 3, MEDIUM_DISCARD = 4, MEDIUM_FINISHED = 5 };
enum medium_pattern {
    MEDIUM_PATTERN_55 = 1,
    MEDIUM_PATTERN_AA = 2,
    MEDIUM_PATTERN_STREAM = 3,
    MEDIUM_PATTERN_DEVICE = 4,
    MEDIUM_PATTERN_NONE = 5
};

/* One thing that was done to the medium. */
struct medium_step {
    enum medium_pattern pattern;
    uint64_t started_ms; /* 0: not yet */
    uint64_t finished_ms;
    uint64_t bytes;
    uint64_t errors; /* blocks that could not be written, commands that failed */
    bool issued;     /* MEDIUM_PATTERN_DEVICE: the command went out, or was about to */
    uint32_t cdw10;
    bool log_read;
    uint8_t log[SANITIZE_LOG_BYTES];
};

/* What the read-back has shown so far. Counts of blocks of BLOCK_BYTES. */
struct medium_check {
    uint64_t next;    /* place: medium_place() */
    uint64_t samples; /* random places looked at */
    uint64_t bytes;
    uint64_t mismatch;
    uint64_t zero; /* hold zeros only: of a device that sanitized itself no proof of anything */
    uint64_t unreadable;
    uint64_t places[MEDIUM_PLACES_MAX]; /* where a mismatch or an unreadable block is */
    uint32_t place_count;
};

struct medium_state {
    char path[MEDIUM_PATH_BYTES];
    struct medium_identity identity;
    enum medium_technique technique;
    enum medium_verify verify;
    enum sanitize_action action;
    bool ability_known;
    struct sanitize_ability ability;
    bool discard;
    bool dead; /* nothing was done, as it answers nothing */
    bool seed_kept;
    uint8_t seed[KEYSTREAM_SEED_BYTES];
    uint8_t seed_commitment[CONTENT_HASH_BYTES];
    uint8_t check_seed[KEYSTREAM_SEED_BYTES]; /* which places are looked at */

    enum medium_phase phase;
    uint32_t step_at;
    uint64_t offset; /* in the step */
    uint32_t resumed;
    struct medium_step steps[MEDIUM_STEPS_MAX];
    uint32_t step_count;
    struct medium_check check;
    struct residue_prints prints;
    struct residue_scan scan; /* its counts and places are kept */
    uint64_t files;           /* MEDIUM_DIRECTORY: overwritten, read back and removed */
    uint64_t started_ms;
    uint64_t finished_ms;
    char failure[MEDIUM_MESSAGE_BYTES]; /* why it can't succeed any more; empty: nothing */
    char report_id[37];
};

const char *medium_technique_name(enum medium_technique technique);
const char *medium_verify_name(enum medium_verify verify);
const char *medium_pattern_name(enum medium_pattern pattern);
const char *medium_phase_name(enum medium_phase phase);

/* A fresh state for this medium: seeds are drawn, steps are laid out. NULL: no memory. */
MUST_USE struct medium_state *medium_state_new(const char *path, const struct medium_identity *identity,
                                               enum medium_technique technique, enum medium_verify verify,
                                               enum sanitize_action action);
void medium_state_free(struct medium_state *state);

/* STATUS_OK; STATUS_NOT_FOUND: there is none; STATUS_CORRUPT: not a state; STATUS_DENIED: others may read or write it;
 * STATUS_IO, STATUS_FULL. */
MUST_USE enum status medium_state_load(const char *path, struct medium_state **state, char *message);
/* STATUS_OK: durable; STATUS_IO. */
MUST_USE enum status medium_state_save(struct medium_state *state);

/* The document, and back: what the file has. */
MUST_USE json_t *medium_state_encode(const struct medium_state *state);
MUST_USE enum status medium_state_decode(const json_t *document, struct medium_state *state);

/* Lower-case hex as a JSON string. */
json_t *medium_json_hex(const void *data, size_t bytes);

#endif
