/* medium_wipe.c - the phases of a wipe, one after the other, each from where it stood. */
#include "cluster/medium_wipe.h"

#include "base/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_REGION_BYTES GIB(64)
#define SAMPLED_PARTS       1000u
#define SAMPLED_DIVISOR     20u /* of a part: a place is 5 % of it */
#define QUICK_PLACES        1000u
#define SAVE_NS             (10 * NS_PER_S)
#define WRITE_ERRORS_MAX    65536u /* blocks; then it is not worth going on */

/* ---- places --------------------------------------------------------------------------------------- */

static uint64_t block_count(uint64_t bytes)
{
    return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

enum medium_verify medium_verify_for(enum medium_verify verify, uint64_t medium_bytes)
{
    bool small = block_count(medium_bytes) < 4 * SAMPLED_PARTS;
    return small ? MEDIUM_FULL : verify;
}

uint64_t medium_place_count(enum medium_verify verify, uint64_t medium_bytes)
{
    switch (verify) {
    case MEDIUM_FULL:
        return (medium_bytes + MEDIUM_IO_BYTES - 1) / MEDIUM_IO_BYTES;
    case MEDIUM_SAMPLED:
        return 2 + 2 * SAMPLED_PARTS;
    case MEDIUM_QUICK:
        return 2 + QUICK_PLACES;
    }
    UNREACHABLE();
}

/* A number below `limit`, drawn by the seed for this index. */
static uint64_t drawn(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t index, uint64_t limit)
{
    struct content_hash hash;
    uint8_t result[CONTENT_HASH_BYTES];
    uint64_t number = 0;
    uint8_t little[8];
    for (unsigned i = 0; i < sizeof(little); i++) {
        little[i] = (uint8_t)(index >> (8 * i));
    }
    content_hash_begin(&hash);
    content_hash_update(&hash, "TRLplc1", 7);
    content_hash_update(&hash, seed, KEYSTREAM_SEED_BYTES);
    content_hash_update(&hash, little, sizeof(little));
    content_hash_end(&hash, result);
    for (unsigned i = 0; i < 8; i++) {
        number = number << 8 | result[i];
    }
    return number % limit;
}

static struct medium_place place_of_blocks(uint64_t medium_bytes, uint64_t first, uint64_t blocks)
{
    uint64_t offset = first * BLOCK_BYTES;
    uint64_t bytes = blocks * BLOCK_BYTES;
    return (struct medium_place){offset, bytes < medium_bytes - offset ? bytes : medium_bytes - offset};
}

/* One of the two places in a part: the first lies in its first half, the second in the other. */
static struct medium_place sampled_place(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t medium_bytes,
                                         uint64_t index)
{
    uint64_t blocks = block_count(medium_bytes);
    uint64_t part = index / 2;
    uint64_t begin = blocks / SAMPLED_PARTS * part + blocks % SAMPLED_PARTS * part / SAMPLED_PARTS;
    uint64_t end = blocks / SAMPLED_PARTS * (part + 1) + blocks % SAMPLED_PARTS * (part + 1) / SAMPLED_PARTS;
    uint64_t half = (end - begin) / 2;
    uint64_t length = (end - begin + SAMPLED_DIVISOR - 1) / SAMPLED_DIVISOR;
    CHECK(half >= length);
    uint64_t first = begin + index % 2 * half + drawn(seed, index, half - length + 1);
    return place_of_blocks(medium_bytes, first, length);
}

void medium_place(enum medium_verify verify, const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t medium_bytes,
                  uint64_t index, struct medium_place *place)
{
    uint64_t blocks = block_count(medium_bytes);
    CHECK(index < medium_place_count(verify, medium_bytes));
    if (verify == MEDIUM_FULL) {
        *place = place_of_blocks(medium_bytes, index * (MEDIUM_IO_BYTES / BLOCK_BYTES), MEDIUM_IO_BYTES / BLOCK_BYTES);
    } else if (index < 2) {
        *place = place_of_blocks(medium_bytes, index == 0 ? 0 : blocks - 1, 1);
    } else if (verify == MEDIUM_SAMPLED) {
        *place = sampled_place(seed, medium_bytes, index - 2);
    } else {
        *place = place_of_blocks(medium_bytes, drawn(seed, index, blocks), 1);
    }
}

uint64_t medium_check_bytes(enum medium_verify verify, uint64_t medium_bytes)
{
    switch (medium_verify_for(verify, medium_bytes)) {
    case MEDIUM_FULL:
        return medium_bytes;
    case MEDIUM_SAMPLED:
        return medium_bytes / 10;
    case MEDIUM_QUICK:
        return (uint64_t)QUICK_PLACES * BLOCK_BYTES;
    }
    UNREACHABLE();
}

uint64_t medium_upper95_ppm(const struct medium_state *state)
{
    if (medium_verify_for(state->verify, state->identity.bytes) == MEDIUM_FULL) {
        return 0;
    }
    uint64_t ppm = state->check.samples == 0 ? 1000000 : (3000000 + state->check.samples - 1) / state->check.samples;
    return ppm < 1000000 ? ppm : 1000000;
}

/* ---- the stream ----------------------------------------------------------------------------------- */

static void region_seed(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t region, uint8_t result[KEYSTREAM_SEED_BYTES])
{
    struct content_hash hash;
    uint8_t little[8];
    _Static_assert(CONTENT_HASH_BYTES == KEYSTREAM_SEED_BYTES, "a hash is a seed");
    for (unsigned i = 0; i < sizeof(little); i++) {
        little[i] = (uint8_t)(region >> (8 * i));
    }
    content_hash_begin(&hash);
    content_hash_update(&hash, "TRLmed1", 7);
    content_hash_update(&hash, seed, KEYSTREAM_SEED_BYTES);
    content_hash_update(&hash, little, sizeof(little));
    content_hash_end(&hash, result);
}

void medium_stream(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t offset, uint8_t *data, size_t bytes)
{
    CHECK(offset % BLOCK_BYTES == 0);
    memset(data, 0, bytes);
    while (bytes > 0) {
        uint8_t of_region[KEYSTREAM_SEED_BYTES];
        uint64_t at = offset % STREAM_REGION_BYTES;
        size_t now = bytes < STREAM_REGION_BYTES - at ? bytes : (size_t)(STREAM_REGION_BYTES - at);
        region_seed(seed, offset / STREAM_REGION_BYTES, of_region);
        keystream_xor(of_region, at, data, now);
        data += now;
        offset += now;
        bytes -= now;
    }
}

/* ---- results -------------------------------------------------------------------------------------- */

enum medium_result medium_result(const struct medium_state *state)
{
    if (state->dead || state->phase != MEDIUM_FINISHED) {
        return MEDIUM_NOT_DONE;
    }
    uint64_t errors =
        state->check.mismatch + state->check.unreadable + state->scan.label_hits + state->scan.fingerprint_hits;
    for (uint32_t i = 0; i < state->step_count; i++) {
        errors += state->steps[i].errors + (state->steps[i].finished_ms == 0);
    }
    return errors == 0 && state->failure[0] == '\0' ? MEDIUM_ERASED : MEDIUM_FAILED;
}

const char *medium_method_expected(const struct medium_identity *identity, enum medium_technique technique)
{
    if (identity->kind != MEDIUM_DISK) {
        return "none"; /* A part of a medium, or files on one: the medium itself holds more than what was reached. */
    }
    switch (technique) {
    case MEDIUM_SANITIZE:
        return "purge";
    case MEDIUM_OVERWRITE:
    case MEDIUM_DOD3:
        return "clear";
    case MEDIUM_NOTHING:
        return "none";
    }
    UNREACHABLE();
}

const char *medium_method(const struct medium_state *state)
{
    return medium_result(state) == MEDIUM_ERASED ? medium_method_expected(&state->identity, state->technique) : "none";
}

/* ---- progress and state --------------------------------------------------------------------------- */

static void tell(struct medium_wipe *wipe, const char *what, uint64_t done, uint64_t total, bool saved)
{
    if (wipe->progress != NULL) {
        wipe->progress(wipe, what, done, total, saved);
    }
}

static enum status save(struct medium_wipe *wipe)
{
    enum status status = medium_state_save(wipe->state);
    if (status != STATUS_OK) {
        snprintf(wipe->message, sizeof(wipe->message), "the state file %.300s can't be written; nothing more was done",
                 wipe->state->path);
        return status;
    }
    wipe->unsaved = 0;
    wipe->saved_ns = medium_ticks_ns();
    return STATUS_OK;
}

static bool save_is_due(const struct medium_wipe *wipe)
{
    return wipe->unsaved >= MEDIUM_SAVE_BYTES || medium_ticks_ns() - wipe->saved_ns >= SAVE_NS;
}

static enum status next_phase(struct medium_wipe *wipe, enum medium_phase phase)
{
    wipe->state->phase = phase;
    wipe->state->offset = 0;
    return save(wipe);
}

/* No success any more: remember why, and go on to the end so that the report says all there is. */
static void fail_for_good(struct medium_state *state, const char *why)
{
    if (state->failure[0] == '\0') {
        snprintf(state->failure, sizeof(state->failure), "%s", why);
    }
}

/* ---- COLLECT -------------------------------------------------------------------------------------- */

/* Look at one place; what can't be read is left out, as it will count when it is read back. */
static void collect_place(struct medium_wipe *wipe, uint64_t offset, uint64_t bytes)
{
    while (bytes > 0) {
        size_t now = bytes < MEDIUM_IO_BYTES ? (size_t)bytes : MEDIUM_IO_BYTES;
        if (wipe->io->read(wipe->io, offset, wipe->buffer, now) == STATUS_OK) {
            residue_collect(&wipe->state->prints, offset, wipe->buffer, now);
        }
        offset += now;
        bytes -= now;
    }
}

static enum status collect(struct medium_wipe *wipe)
{
    struct medium_state *state = wipe->state;
    enum medium_verify verify = medium_verify_for(state->verify, wipe->io->bytes);
    uint64_t count = medium_place_count(verify, wipe->io->bytes);
    uint64_t seed;
    memcpy(&seed, state->check_seed, sizeof(seed));
    residue_prints_begin(&state->prints, seed);
    for (uint64_t i = 0; i < count; i++) {
        struct medium_place place;
        medium_place(verify, state->check_seed, wipe->io->bytes, i, &place);
        if (verify == MEDIUM_QUICK) {
            /* A batch and what follows it are longer than a block. */
            place.bytes = place.bytes + MIB(1) < wipe->io->bytes - place.offset ? place.bytes + MIB(1) : place.bytes;
        }
        collect_place(wipe, place.offset, place.bytes);
        tell(wipe, "fingerprints", i + 1, count, false);
    }
    return next_phase(wipe, MEDIUM_WIPE);
}

/* ---- WIPE ----------------------------------------------------------------------------------------- */

static void fill(const struct medium_state *state, enum medium_pattern pattern, uint64_t offset, uint8_t *data,
                 size_t bytes)
{
    switch (pattern) {
    case MEDIUM_PATTERN_55:
        memset(data, 0x55, bytes);
        return;
    case MEDIUM_PATTERN_AA:
        memset(data, 0xaa, bytes);
        return;
    case MEDIUM_PATTERN_STREAM:
        medium_stream(state->seed, offset, data, bytes);
        return;
    case MEDIUM_PATTERN_DEVICE:
    case MEDIUM_PATTERN_NONE:
        break;
    }
    UNREACHABLE();
}

/* Write a piece; where the device refuses, block by block, so that one bad sector costs no more than itself. */
static void write_piece(struct medium_wipe *wipe, struct medium_step *step, uint64_t offset, size_t bytes)
{
    struct medium_io *io = wipe->io;
    if (io->write(io, offset, wipe->buffer, bytes) == STATUS_OK) {
        step->bytes += bytes;
        return;
    }
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t now = bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES;
        if (io->write(io, offset + at, wipe->buffer + at, now) == STATUS_OK) {
            step->bytes += now;
        } else {
            step->errors++;
        }
    }
}

/* What was written is on the medium, or the whole pass counts for nothing. */
static enum status make_durable(struct medium_wipe *wipe, struct medium_step *step)
{
    if (wipe->io->flush(wipe->io) == STATUS_OK) {
        return STATUS_OK;
    }
    /* Never flush again and believe it: what was lost the first time is not written by the second. */
    wipe->state->offset = 0;
    step->bytes = 0;
    step->errors = 0;
    snprintf(
        wipe->message, sizeof(wipe->message),
        "the device did not flush what was written to it; run the same command again to repeat this pass, or give it "
        "up with --dead");
    enum status status = medium_state_save(wipe->state);
    return status == STATUS_OK ? STATUS_IO : status;
}

static enum status overwrite(struct medium_wipe *wipe, struct medium_step *step)
{
    struct medium_state *state = wipe->state;
    const char *what = medium_pattern_name(step->pattern);
    while (state->offset < wipe->io->bytes) {
        uint64_t left = wipe->io->bytes - state->offset;
        size_t now = left < MEDIUM_IO_BYTES ? (size_t)left : MEDIUM_IO_BYTES;
        fill(state, step->pattern, state->offset, wipe->buffer, now);
        write_piece(wipe, step, state->offset, now);
        state->offset += now;
        wipe->unsaved += now;
        if (step->errors > WRITE_ERRORS_MAX) {
            fail_for_good(state, "too many blocks can't be written");
            return STATUS_OK;
        }
        bool saved = save_is_due(wipe);
        if (saved) {
            enum status status = make_durable(wipe, step);
            if (status == STATUS_OK) {
                status = save(wipe);
            }
            if (status != STATUS_OK) {
                return status;
            }
        }
        tell(wipe, what, state->offset, wipe->io->bytes, saved);
    }
    return make_durable(wipe, step);
}

/* The wipe whose device is asked now: its callbacks get no more than the run. */
struct device_run {
    struct sanitize_run run;
    struct medium_wipe *wipe;
    struct medium_step *step;
};

static enum status note_issue(struct sanitize_run *run)
{
    struct device_run *device = CONTAINER_OF(run, struct device_run, run);
    device->step->issued = true;
    device->step->cdw10 = run->cdw10;
    return medium_state_save(device->wipe->state);
}

static void note_progress(struct sanitize_run *run, uint32_t of_65536)
{
    struct device_run *device = CONTAINER_OF(run, struct device_run, run);
    tell(device->wipe, sanitize_action_name(run->action), of_65536, 65536, false);
}

static enum status sanitize(struct medium_wipe *wipe, struct medium_step *step)
{
    if (wipe->sanitizer == NULL) {
        snprintf(
            wipe->message, sizeof(wipe->message),
            "the wipe was begun with the device's own sanitize, and %s can't be asked for it now; nothing was done",
            wipe->state->identity.name);
        return STATUS_UNSUPPORTED;
    }
    struct device_run device = {.run = {.sanitizer = wipe->sanitizer,
                                        .action = wipe->state->action,
                                        .issued = step->issued,
                                        .before_issue = note_issue,
                                        .progress = note_progress},
                                .wipe = wipe,
                                .step = step};
    enum status status = sanitize_perform(&device.run, wipe->message);
    step->log_read = device.run.log_read;
    memcpy(step->log, device.run.log.raw, sizeof(step->log));
    if (status == STATUS_IO) {
        step->errors++;
        fail_for_good(wipe->state, wipe->message);
        return STATUS_OK;
    }
    step->bytes = status == STATUS_OK ? wipe->io->bytes : 0;
    return status;
}

static enum status run_steps(struct medium_wipe *wipe)
{
    struct medium_state *state = wipe->state;
    for (; state->step_at < state->step_count; state->step_at++, state->offset = 0) {
        struct medium_step *step = &state->steps[state->step_at];
        step->started_ms = step->started_ms == 0 ? medium_now_ms() : step->started_ms;
        bool by_device = step->pattern == MEDIUM_PATTERN_DEVICE;
        enum status status = by_device ? sanitize(wipe, step) : overwrite(wipe, step);
        if (status != STATUS_OK) {
            return status;
        }
        if (state->failure[0] != '\0') {
            break;
        }
        step->finished_ms = medium_now_ms();
    }
    /* After a sanitize the page cache may still have the old content. */
    if (state->failure[0] == '\0' && wipe->io->flush(wipe->io) != STATUS_OK) {
        fail_for_good(state, "the device does not flush any more");
    }
    return next_phase(wipe, MEDIUM_CHECK);
}

/* ---- CHECK ---------------------------------------------------------------------------------------- */

static void note_place(struct medium_check *check, uint64_t offset)
{
    if (check->place_count < MEDIUM_PLACES_MAX) {
        check->places[check->place_count++] = offset;
    }
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

void medium_check_piece(struct medium_state *state, uint64_t offset, const uint8_t *data, const uint8_t *expected,
                        size_t bytes)
{
    struct medium_check *check = &state->check;
    residue_search(&state->scan, offset, data, bytes);
    check->bytes += bytes;
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t now = bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES;
        check->zero += is_zero(data + at, now);
        if (expected != NULL && memcmp(data + at, expected + at, now) != 0) {
            check->mismatch++;
            note_place(check, offset + at);
        }
    }
}

static void check_read(struct medium_wipe *wipe, uint64_t offset, size_t bytes)
{
    struct medium_state *state = wipe->state;
    const uint8_t *expected = NULL;
    if (state->technique != MEDIUM_SANITIZE) {
        medium_stream(state->seed, offset, wipe->expected, bytes);
        expected = wipe->expected;
    }
    if (wipe->io->read(wipe->io, offset, wipe->buffer, bytes) == STATUS_OK) {
        medium_check_piece(state, offset, wipe->buffer, expected, bytes);
        return;
    }
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t now = bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES;
        if (wipe->io->read(wipe->io, offset + at, wipe->buffer, now) == STATUS_OK) {
            medium_check_piece(state, offset + at, wipe->buffer, expected == NULL ? NULL : expected + at, now);
        } else {
            state->check.unreadable++;
            note_place(&state->check, offset + at);
        }
    }
}

static void check_place(struct medium_wipe *wipe, const struct medium_place *place)
{
    for (uint64_t at = 0; at < place->bytes; at += MEDIUM_IO_BYTES) {
        uint64_t left = place->bytes - at;
        check_read(wipe, place->offset + at, left < MEDIUM_IO_BYTES ? (size_t)left : MEDIUM_IO_BYTES);
    }
    wipe->unsaved += place->bytes;
}

/* Where a fingerprint came from: the block it began in, and the next when it reached over. */
static struct medium_place place_of_print(const struct medium_wipe *wipe, uint64_t index)
{
    const struct residue_fingerprint *print = residue_print(&wipe->state->prints, (uint32_t)index);
    uint64_t first = print->offset / BLOCK_BYTES;
    uint64_t last = (print->offset + RESIDUE_WINDOW_BYTES - 1) / BLOCK_BYTES;
    return place_of_blocks(wipe->io->bytes, first, last - first + 1);
}

/* What was searched last before an interruption joins on to what comes next. */
static void resume_search(struct medium_wipe *wipe, enum medium_verify verify)
{
    uint64_t offset = wipe->state->check.next * MEDIUM_IO_BYTES;
    if (verify == MEDIUM_FULL && offset > 0 && offset < wipe->io->bytes &&
        wipe->io->read(wipe->io, offset - BLOCK_BYTES, wipe->buffer, BLOCK_BYTES) == STATUS_OK) {
        residue_resume(&wipe->state->scan, offset, wipe->buffer, BLOCK_BYTES);
    }
}

static enum status check(struct medium_wipe *wipe)
{
    struct medium_state *state = wipe->state;
    enum medium_verify verify = medium_verify_for(state->verify, wipe->io->bytes);
    uint64_t places = medium_place_count(verify, wipe->io->bytes);
    /* A full read comes by all of them anyway. */
    uint64_t prints = verify == MEDIUM_FULL ? 0 : residue_print_count(&state->prints);
    residue_scan_begin(&state->scan, &state->prints);
    resume_search(wipe, verify);
    for (; state->check.next < places + prints; state->check.next++) {
        struct medium_place place;
        if (save_is_due(wipe)) {
            enum status status = save(wipe);
            if (status != STATUS_OK) {
                return status;
            }
            tell(wipe, "read-back", state->check.next, places + prints, true);
        }
        if (state->check.next < places) {
            medium_place(verify, state->check_seed, wipe->io->bytes, state->check.next, &place);
            state->check.samples += verify != MEDIUM_FULL && state->check.next >= 2;
        } else {
            place = place_of_print(wipe, state->check.next - places);
        }
        if (place.offset < wipe->io->bytes) {
            check_place(wipe, &place);
        }
        tell(wipe, "read-back", state->check.next + 1, places + prints, false);
    }
    /* The seed has done its work: what stands on the medium shall be nobody's to make again. */
    wipe_memory(state->seed, sizeof(state->seed));
    state->seed_kept = false;
    return next_phase(wipe, MEDIUM_DISCARD);
}

/* ---- the rest ------------------------------------------------------------------------------------- */

static enum status discard(struct medium_wipe *wipe)
{
    struct medium_state *state = wipe->state;
    if (state->discard && state->step_count < MEDIUM_STEPS_MAX) {
        struct medium_step *step = &state->steps[state->step_count];
        step->pattern = MEDIUM_PATTERN_NONE;
        step->started_ms = medium_now_ms();
        enum status status = wipe->io->discard(wipe->io);
        step->errors = status != STATUS_OK;
        step->bytes = status == STATUS_OK ? wipe->io->bytes : 0;
        step->finished_ms = medium_now_ms();
        state->step_count++;
    }
    state->finished_ms = medium_now_ms();
    return next_phase(wipe, MEDIUM_FINISHED);
}

static enum status run_phase(struct medium_wipe *wipe)
{
    switch (wipe->state->phase) {
    case MEDIUM_COLLECT:
        return collect(wipe);
    case MEDIUM_WIPE:
        return run_steps(wipe);
    case MEDIUM_CHECK:
        return check(wipe);
    case MEDIUM_DISCARD:
        return discard(wipe);
    case MEDIUM_FINISHED:
        return STATUS_OK;
    }
    UNREACHABLE();
}

enum status medium_wipe_run(struct medium_wipe *wipe)
{
    CHECK(wipe->io->bytes == wipe->state->identity.bytes);
    wipe->buffer = medium_buffer(MEDIUM_IO_BYTES);
    wipe->expected = medium_buffer(MEDIUM_IO_BYTES);
    enum status status = wipe->buffer == NULL || wipe->expected == NULL ? STATUS_FULL : save(wipe);
    while (status == STATUS_OK && wipe->state->phase != MEDIUM_FINISHED) {
        status = run_phase(wipe);
    }
    free(wipe->buffer);
    free(wipe->expected);
    return status;
}
