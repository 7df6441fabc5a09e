/* test_medium_wipe.c - a wipe reaches every byte, goes on after any end, finds what it did not reach, and never calls
 * that success. */
#include "cluster/medium_directory.h"
#include "tests/unit/medium_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SMALL (MIB(6) + 3 * BLOCK_BYTES + 1000) /* its end is no whole block */
#define LARGE MIB(300)

static struct image image;
static struct faulty_io faulty;
static struct scripted device;
static struct medium_wipe wipe;

static void setup(void)
{
    memset(&image, 0, sizeof(image));
    scripted_open(&device);
}

static void teardown(void)
{
    medium_state_free(wipe.state);
    image_close(&image);
}

TestSuite(medium_wipe, .init = setup, .fini = teardown);

/* Begin, or go on with what the state file says. */
static enum status run(enum medium_technique technique, enum medium_verify verify)
{
    enum sanitize_action action = technique == MEDIUM_SANITIZE ? SANITIZE_BLOCK_ERASE : SANITIZE_NONE;
    medium_state_free(wipe.state);
    wipe = (struct medium_wipe){.sanitizer = &device.sanitizer, .io = &faulty.io};
    enum status status = medium_state_load(image.state, &wipe.state, image.message);
    if (status == STATUS_NOT_FOUND) {
        wipe.state = medium_state_new(image.state, &image.identity, technique, verify, action);
        cr_assert_not_null(wipe.state);
    } else {
        cr_assert_eq(status, STATUS_OK, "%s", image.message);
        wipe.state->resumed++;
    }
    return medium_wipe_run(&wipe);
}

static void begin(uint64_t bytes)
{
    image_open(&image, bytes);
    image_fill(&image, 1);
    faulty_open(&faulty, &image);
}

static void expect_overwritten(void)
{
    uint8_t seed[KEYSTREAM_SEED_BYTES] = {1};
    uint8_t before[BLOCK_BYTES];
    uint8_t now[BLOCK_BYTES];
    for (uint64_t offset = 0; offset < image.identity.bytes; offset += BLOCK_BYTES) {
        size_t bytes =
            image.identity.bytes - offset < BLOCK_BYTES ? (size_t)(image.identity.bytes - offset) : BLOCK_BYTES;
        memset(before, 0, sizeof(before));
        keystream_xor(seed, offset, before, bytes);
        image_get(&image, offset, now, bytes);
        cr_assert_neq(memcmp(before, now, bytes), 0, "block at %llu", (unsigned long long)offset);
    }
}

Test(medium_wipe, overwrites_every_byte_and_reads_it_back)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK, "%s", wipe.message);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    cr_assert_eq(wipe.state->steps[0].bytes, SMALL);
    cr_assert_eq(wipe.state->check.bytes, SMALL);
    cr_assert_eq(wipe.state->check.mismatch + wipe.state->check.unreadable, 0u);
    cr_assert_gt(residue_print_count(&wipe.state->prints), 10u);
    expect_overwritten();
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, an_image_is_no_medium)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    cr_assert_str_eq(medium_method(wipe.state), "none");
    wipe.state->identity.kind = MEDIUM_DISK;
    cr_assert_str_eq(medium_method(wipe.state), "clear");
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, the_seed_is_gone_when_it_was_read_back_and_its_commitment_stays)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    json_t *document = medium_state_encode(wipe.state);
    cr_assert(json_is_null(json_object_get(document, "seed")));
    cr_assert_str_neq(json_string_value(json_object_get(document, "seed_commitment")),
                      "0000000000000000000000000000000000000000000000000000000000000000");
    json_decref(document);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_write_that_was_lost_is_found)
{
    begin(SMALL);
    faulty.lost_write = 700 * BLOCK_BYTES;
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    cr_assert_eq(wipe.state->check.mismatch, 1u);
    cr_assert_eq(wipe.state->check.places[0], 700 * BLOCK_BYTES);
    cr_assert_str_eq(medium_method(wipe.state), "none");
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, one_changed_bit_is_a_mismatch)
{
    begin(SMALL);
    struct medium_state *state =
        medium_state_new(image.state, &image.identity, MEDIUM_OVERWRITE, MEDIUM_FULL, SANITIZE_NONE);
    uint8_t *expected = medium_buffer(MIB(1));
    uint8_t *data = medium_buffer(MIB(1));
    medium_stream(state->seed, MIB(1), expected, MIB(1));
    memcpy(data, expected, MIB(1));
    residue_scan_begin(&state->scan, NULL);
    medium_check_piece(state, MIB(1), data, expected, MIB(1));
    cr_assert_eq(state->check.mismatch, 0u);
    data[77777] ^= 0x10;
    medium_check_piece(state, MIB(1), data, expected, MIB(1));
    cr_assert_eq(state->check.mismatch, 1u);
    cr_assert_eq(state->check.places[0], MIB(1) + 77777 / BLOCK_BYTES * BLOCK_BYTES);
    free(expected);
    free(data);
    medium_state_free(state);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, blocks_that_cant_be_written_or_read_are_no_success)
{
    begin(SMALL);
    faulty.bad_write = 9 * BLOCK_BYTES;
    faulty.bad_read = 11 * BLOCK_BYTES;
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    cr_assert_eq(wipe.state->steps[0].errors, 1u);
    cr_assert_eq(wipe.state->check.unreadable, 1u);
    cr_assert_eq(wipe.state->check.mismatch, 1u, "the block that was not written holds what it held");
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_flush_that_fails_costs_the_pass_and_it_is_done_again)
{
    begin(SMALL);
    faulty.flush_fails = 0;
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_IO);
    cr_assert_eq(wipe.state->offset, 0u);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_NOT_DONE);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK, "%s", wipe.message);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    cr_assert_eq(wipe.state->resumed, 1u);
    faulty.io.close(&faulty.io);
}

/* Ends the program, as a kill does, at the n-th sign of progress. */
static unsigned signs_left;

static void die_in_time(struct medium_wipe *running, const char *what, uint64_t done, uint64_t total, bool saved)
{
    (void)running;
    (void)what;
    (void)done;
    (void)total;
    (void)saved;
    if (signs_left-- == 0) {
        _exit(9);
    }
}

static int run_and_die(enum medium_technique technique, unsigned signs)
{
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        struct medium_wipe killed = {.io = &faulty.io, .sanitizer = &device.sanitizer, .progress = die_in_time};
        enum sanitize_action action = technique == MEDIUM_SANITIZE ? SANITIZE_BLOCK_ERASE : SANITIZE_NONE;
        killed.state = medium_state_new(image.state, &image.identity, technique, MEDIUM_FULL, action);
        signs_left = signs;
        _exit(medium_wipe_run(&killed) == STATUS_OK ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

Test(medium_wipe, goes_on_after_being_killed_anywhere)
{
    begin(MIB(12));
    int ended = 9;
    for (unsigned signs = 0; ended == 9; signs++) {
        image_fill(&image, 1);
        unlink(image.state);
        ended = run_and_die(MEDIUM_DOD3, signs);
        cr_assert_eq(run(MEDIUM_DOD3, MEDIUM_FULL), STATUS_OK, "%s", wipe.message);
        cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED, "killed at sign %u", signs);
        cr_assert_eq(wipe.state->resumed, 1u);
        expect_overwritten();
        cr_assert(signs < 100);
    }
    faulty.io.close(&faulty.io);
}

/* Counts what is written after the kill: at most what was not saved. */
Test(medium_wipe, does_not_repeat_what_was_saved)
{
    begin(LARGE);
    unsigned signs = (unsigned)(LARGE / MEDIUM_IO_BYTES + MIB(200) / MEDIUM_IO_BYTES);
    cr_assert_eq(run_and_die(MEDIUM_OVERWRITE, signs), 9);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK, "%s", wipe.message);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    cr_assert_leq(faulty.writes, (LARGE - MEDIUM_SAVE_BYTES) / MEDIUM_IO_BYTES, "%u writes", faulty.writes);
    expect_overwritten();
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_finished_state_does_nothing_more)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    unsigned writes = faulty.writes;
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(faulty.writes, writes);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, dod3_makes_three_passes)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_DOD3, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(wipe.state->step_count, 3u);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(wipe.state->steps[i].bytes, SMALL);
        cr_assert_neq(wipe.state->steps[i].finished_ms, 0u);
    }
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    expect_overwritten();
    faulty.io.close(&faulty.io);
}

/* ---- the device's own ----------------------------------------------------------------------------- */

static void zero_image(void *user)
{
    struct image *erased = user;
    uint8_t *zeros = calloc(1, MIB(1));
    for (uint64_t offset = 0; offset < erased->identity.bytes; offset += MIB(1)) {
        uint64_t left = erased->identity.bytes - offset;
        image_put(erased, offset, zeros, left < MIB(1) ? (size_t)left : MIB(1));
    }
    free(zeros);
}

static void begin_device(void)
{
    begin(SMALL);
    device.erase = zero_image;
    device.user = &image;
}

Test(medium_wipe, a_sanitize_that_completes_may_be_a_purge)
{
    begin_device();
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK, "%s", wipe.message);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED, "%s", wipe.state->failure);
    cr_assert_eq(device.issued, 1u);
    cr_assert_eq(wipe.state->steps[0].cdw10 & 7u, (uint32_t)SANITIZE_BLOCK_ERASE);
    cr_assert_eq(wipe.state->check.zero, (SMALL + BLOCK_BYTES - 1) / BLOCK_BYTES, "zeros are counted, not believed");
    wipe.state->identity.kind = MEDIUM_DISK;
    cr_assert_str_eq(medium_method(wipe.state), "purge");
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_device_that_reports_success_and_erased_nothing_is_found_out)
{
    begin_device();
    device.erase = NULL;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    cr_assert_gt(wipe.state->scan.fingerprint_hits, 10u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, the_same_when_only_samples_are_read)
{
    image_open(&image, MIB(40));
    image_fill(&image, 1);
    faulty_open(&faulty, &image);
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_QUICK), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED, "places of fingerprints are always read");
    cr_assert_gt(wipe.state->scan.fingerprint_hits, 10u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_sanitize_that_fails_is_told_and_nothing_else)
{
    begin_device();
    device.fails_at = 30000;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    cr_assert(strstr(wipe.state->failure, "has failed") != NULL, "%s", wipe.state->failure);
    cr_assert_eq(wipe.state->steps[0].finished_ms, 0u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_sanitize_that_stands_still_is_stuck_after_three_times_the_estimate)
{
    begin_device();
    device.stops_at = 16000;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    cr_assert(strstr(wipe.state->failure, "stands still") != NULL, "%s", wipe.state->failure);
    cr_assert(device.ms > 300 * 1000 && device.ms < 320 * 1000, "%llu ms", (unsigned long long)device.ms);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, slow_progress_is_not_stuck)
{
    begin_device();
    device.step = 20;
    device.estimate = 10;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED, "%s", wipe.state->failure);
    cr_assert_gt(device.ms, 3000u * 1000u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_device_may_be_silent_for_a_while_but_not_for_ever)
{
    begin_device();
    struct sanitize_run sanitizing = {.sanitizer = &device.sanitizer, .action = SANITIZE_BLOCK_ERASE};
    char message[MEDIUM_MESSAGE_BYTES];
    device.cdw10 = SANITIZE_BLOCK_ERASE;
    device.sstat = SANITIZE_IN_PROGRESS;
    device.step = 40000;
    cr_assert_eq(sanitize_perform(&sanitizing, message), STATUS_OK);
    cr_assert(sanitizing.reattached);
    cr_assert_eq(device.issued, 0u, "what is under way is not started again");
    scripted_open(&device);
    device.log_errors = 1;
    cr_assert_eq(sanitize_perform(&sanitizing, message), STATUS_IO, "nothing is begun without its log");
    cr_assert_eq(device.issued, 0u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, reattaches_after_a_power_cut_and_believes_only_an_end_of_its_own)
{
    begin_device();
    struct sanitize_run sanitizing = {.sanitizer = &device.sanitizer, .action = SANITIZE_BLOCK_ERASE, .issued = true};
    char message[MEDIUM_MESSAGE_BYTES];
    device.cdw10 = SANITIZE_BLOCK_ERASE;
    device.sstat = SANITIZE_COMPLETED | 1u << 8;
    cr_assert_eq(sanitize_perform(&sanitizing, message), STATUS_OK);
    cr_assert_eq(device.issued, 0u, "finished by itself");
    device.sstat = SANITIZE_COMPLETED; /* something was written since: it is the end of an older one */
    cr_assert_eq(sanitize_perform(&sanitizing, message), STATUS_OK);
    cr_assert_eq(device.issued, 1u);
    device.sstat = SANITIZE_COMPLETED | 1u << 8;
    sanitizing.issued = false;
    cr_assert_eq(sanitize_perform(&sanitizing, message), STATUS_OK);
    cr_assert_eq(device.issued, 2u, "never asked for by this wipe");
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, another_sanitize_under_way_is_not_ours)
{
    begin_device();
    device.cdw10 = SANITIZE_CRYPTO_ERASE;
    device.sstat = SANITIZE_IN_PROGRESS;
    device.step = 0;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_CONFLICT);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_NOT_DONE);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_refused_sanitize_is_a_failure)
{
    begin_device();
    device.refuses = true;
    cr_assert_eq(run(MEDIUM_SANITIZE, MEDIUM_FULL), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_FAILED);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, prefers_what_reaches_the_cells)
{
    image_open(&image, BLOCK_BYTES);
    struct sanitize_ability ability = {.sanicap = 7};
    cr_assert_eq(sanitize_choose(&ability), SANITIZE_BLOCK_ERASE);
    ability.sanicap = 5;
    cr_assert_eq(sanitize_choose(&ability), SANITIZE_CRYPTO_ERASE);
    ability.sanicap = 4;
    cr_assert_eq(sanitize_choose(&ability), SANITIZE_OVERWRITE);
    ability.sanicap = 0;
    cr_assert_eq(sanitize_choose(&ability), SANITIZE_NONE);
}

/* ---- places --------------------------------------------------------------------------------------- */

Test(medium_wipe, sampling_reads_a_tenth_in_a_thousand_parts_twice_without_overlap)
{
    image_open(&image, BLOCK_BYTES);
    uint8_t seed[KEYSTREAM_SEED_BYTES] = {5};
    uint64_t sizes[] = {MIB(17), MIB(100) + 4096, GIB(10), GIB(4000) + 512};
    for (size_t s = 0; s < ARRAY_LENGTH(sizes); s++) {
        cr_assert_eq(medium_verify_for(MEDIUM_SAMPLED, sizes[s]), MEDIUM_SAMPLED);
        uint64_t count = medium_place_count(MEDIUM_SAMPLED, sizes[s]);
        uint64_t end = 0;
        uint64_t sum = 0;
        cr_assert_eq(count, 2002u);
        for (uint64_t i = 2; i < count; i++) {
            struct medium_place place;
            medium_place(MEDIUM_SAMPLED, seed, sizes[s], i, &place);
            cr_assert_geq(place.offset, end, "place %llu overlaps", (unsigned long long)i);
            end = place.offset + place.bytes;
            cr_assert_leq(end, sizes[s]);
            sum += place.bytes;
        }
        cr_assert_geq(sum, sizes[s] / 10 - 2 * BLOCK_BYTES, "%llu of %llu", (unsigned long long)sum,
                      (unsigned long long)sizes[s]);
        struct medium_place first;
        struct medium_place last;
        medium_place(MEDIUM_SAMPLED, seed, sizes[s], 0, &first);
        medium_place(MEDIUM_SAMPLED, seed, sizes[s], 1, &last);
        cr_assert_eq(first.offset, 0u);
        cr_assert_eq(last.offset + last.bytes, sizes[s]);
    }
    cr_assert_eq(medium_verify_for(MEDIUM_SAMPLED, MIB(4)), MEDIUM_FULL, "too small to be sampled");
}

Test(medium_wipe, states_how_much_samples_can_have_missed)
{
    image_open(&image, MIB(40));
    image_fill(&image, 1);
    faulty_open(&faulty, &image);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_QUICK), STATUS_OK);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    cr_assert_eq(wipe.state->check.samples, 1000u);
    cr_assert_eq(medium_upper95_ppm(wipe.state), 3000u);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, the_stream_of_a_large_medium_does_not_repeat)
{
    image_open(&image, BLOCK_BYTES);
    uint8_t seed[KEYSTREAM_SEED_BYTES] = {5};
    uint8_t here[2 * BLOCK_BYTES];
    uint8_t there[BLOCK_BYTES];
    medium_stream(seed, 0, there, sizeof(there));
    medium_stream(seed, GIB(64) - BLOCK_BYTES, here, sizeof(here));
    cr_assert_neq(memcmp(here + BLOCK_BYTES, there, BLOCK_BYTES), 0);
    medium_stream(seed, GIB(64), there, sizeof(there));
    cr_assert_eq(memcmp(here + BLOCK_BYTES, there, BLOCK_BYTES), 0, "a piece across the border is both");
}

/* ---- the state file ------------------------------------------------------------------------------- */

Test(medium_wipe, a_state_comes_back_as_it_was)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_DOD3, MEDIUM_QUICK), STATUS_OK);
    struct medium_state *loaded;
    cr_assert_eq(medium_state_load(image.state, &loaded, image.message), STATUS_OK, "%s", image.message);
    json_t *a = medium_state_encode(wipe.state);
    json_t *b = medium_state_encode(loaded);
    cr_assert(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    medium_state_free(loaded);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_state_that_others_can_read_or_that_is_damaged_is_refused)
{
    begin(SMALL);
    cr_assert_eq(run(MEDIUM_OVERWRITE, MEDIUM_FULL), STATUS_OK);
    struct medium_state *loaded;
    cr_assert_eq(chmod(image.state, 0644), 0);
    cr_assert_eq(medium_state_load(image.state, &loaded, image.message), STATUS_DENIED);
    cr_assert_eq(chmod(image.state, 0600), 0);
    cr_assert_eq(truncate(image.state, 100), 0);
    cr_assert_eq(medium_state_load(image.state, &loaded, image.message), STATUS_CORRUPT);
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, another_medium_is_another_one)
{
    begin(SMALL);
    struct medium_identity other = image.identity;
    cr_assert(medium_same(&image.identity, &other));
    other.inode++;
    cr_assert_not(medium_same(&image.identity, &other));
    struct medium_identity disk = {.kind = MEDIUM_DISK, .name = "sda", .serial = "S1", .bytes = 1000};
    struct medium_identity moved = {.kind = MEDIUM_DISK, .name = "sdb", .serial = "S1", .bytes = 1000};
    struct medium_identity nameless = {.kind = MEDIUM_DISK, .name = "sdb", .bytes = 1000};
    cr_assert(medium_same(&disk, &moved), "the serial number counts, not the name");
    moved.serial[1] = '2';
    cr_assert_not(medium_same(&disk, &moved));
    cr_assert_not(medium_same(&disk, &nameless));
    faulty.io.close(&faulty.io);
}

Test(medium_wipe, a_sanitize_that_cant_be_asked_any_more_is_told)
{
    begin_device();
    wipe.state = medium_state_new(image.state, &image.identity, MEDIUM_SANITIZE, MEDIUM_FULL, SANITIZE_BLOCK_ERASE);
    cr_assert_not_null(wipe.state);
    wipe.io = &faulty.io;
    wipe.sanitizer = NULL;
    cr_assert_eq(medium_wipe_run(&wipe), STATUS_UNSUPPORTED);
    cr_assert(strstr(wipe.message, "nothing was done") != NULL, "%s", wipe.message);
    cr_assert_eq(wipe.state->phase, MEDIUM_WIPE);
    faulty.io.close(&faulty.io);
}

static void put_in(const char *directory, const char *name, const char *label, off_t bytes)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    cr_assert(file >= 0 && write(file, label, 8) == 8 && ftruncate(file, bytes) == 0);
    close(file);
}

/* Files may not be written beyond `bytes`. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(medium_wipe, a_directory_keeps_its_superblock_while_a_file_is_left)
{
    char directory[128];
    char superblock[160];
    image_open(&image, MIB(1));
    snprintf(directory, sizeof(directory), "%s/disk", image.directory);
    snprintf(superblock, sizeof(superblock), "%s/superblock", directory);
    cr_assert_eq(mkdir(directory, 0700), 0);
    put_in(directory, "superblock", "TRLSUP1", 4 * BLOCK_BYTES);
    put_in(directory, "segment-00000000", "segment", MIB(4));
    put_in(directory, "segment-00000001", "segment", BLOCK_BYTES);
    cr_assert_eq(medium_directory_identify(directory, false, &image.identity, image.message), STATUS_OK);
    wipe = (struct medium_wipe){
        .state = medium_state_new(image.state, &image.identity, MEDIUM_OVERWRITE, MEDIUM_FULL, SANITIZE_NONE)};
    cr_assert_not_null(wipe.state);
    signal(SIGXFSZ, SIG_IGN);
    limit_files(MIB(2));
    cr_assert_eq(medium_directory_run(&wipe), STATUS_IO);
    cr_assert(strstr(wipe.message, "1 files") != NULL, "%s", wipe.message);
    cr_assert_eq(access(superblock, F_OK), 0);
    cr_assert(wipe.state->phase == MEDIUM_WIPE && wipe.state->seed_kept && wipe.state->files == 1);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_NOT_DONE);
    limit_files(RLIM_INFINITY);
    cr_assert_eq(medium_directory_run(&wipe), STATUS_OK, "%s", wipe.message);
    cr_assert_eq(medium_result(wipe.state), MEDIUM_ERASED);
    cr_assert(wipe.state->files == 3 && access(superblock, F_OK) != 0);
    rmdir(directory);
}
