/* medium_directory.c - overwriting, reading back and removing the files of a disk, one by one. */
#include "cluster/medium_directory.h"

#include "base/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SUPERBLOCK_FILE "superblock" /* names: node/store/superblock.h, node/store/segment.h */
#define SEGMENT_PREFIX  "segment-"
#define SEGMENT_DIGITS  8u
#define NAME_BYTES      32

static const char superblock_label[8] = "TRLSUP1";

/* The files of one disk, in the order in which they are removed. */
struct file_list {
    char (*names)[NAME_BYTES];
    size_t count;
    size_t room;
    uint64_t bytes;
};

static bool is_segment(const char *name)
{
    if (strncmp(name, SEGMENT_PREFIX, strlen(SEGMENT_PREFIX)) != 0) {
        return false;
    }
    const char *digits = name + strlen(SEGMENT_PREFIX);
    return strlen(digits) == SEGMENT_DIGITS && strspn(digits, "0123456789abcdef") == SEGMENT_DIGITS;
}

static bool list_add(struct file_list *list, const char *name)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 256 : list->room * 2;
        void *names = room > MEDIUM_FILES_MAX ? NULL : realloc(list->names, room * sizeof(*list->names));
        if (names == NULL) {
            return false;
        }
        list->names = names;
        list->room = room;
    }
    snprintf(list->names[list->count++], NAME_BYTES, "%.31s", name);
    return true;
}

/* Segments first, the superblock last. STATUS_OK; to be released with free(list->names). */
static enum status list_files(int directory, struct file_list *list)
{
    *list = (struct file_list){.names = NULL};
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    if (entries == NULL) {
        return STATUS_IO;
    }
    bool superblock = false;
    enum status status = STATUS_OK;
    for (const struct dirent *entry = readdir(entries); entry != NULL && status == STATUS_OK;
         entry = readdir(entries)) {
        struct stat about;
        bool is_superblock = strcmp(entry->d_name, SUPERBLOCK_FILE) == 0;
        if ((!is_superblock && !is_segment(entry->d_name)) ||
            fstatat(directory, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(about.st_mode)) {
            continue;
        }
        list->bytes += (uint64_t)about.st_size;
        superblock = superblock || is_superblock;
        status = is_superblock || list_add(list, entry->d_name) ? STATUS_OK : STATUS_FULL;
    }
    closedir(entries);
    return status == STATUS_OK && superblock && !list_add(list, SUPERBLOCK_FILE) ? STATUS_FULL : status;
}

static bool has_superblock(int directory)
{
    char label[sizeof(superblock_label)];
    bool found = false;
    int file = openat(directory, SUPERBLOCK_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) {
        return false;
    }
    /* Four copies, of which some may never have been written. */
    for (unsigned copy = 0; copy < 4 && !found; copy++) {
        found = pread(file, label, sizeof(label), (off_t)(copy * BLOCK_BYTES)) == (ssize_t)sizeof(label) &&
                memcmp(label, superblock_label, sizeof(label)) == 0;
    }
    close(file);
    return found;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

enum status medium_directory_identify(const char *path, bool resuming, struct medium_identity *identity, char *message)
{
    char resolved[PATH_MAX];
    struct stat about;
    struct file_list list = {.names = NULL};
    *identity = (struct medium_identity){.kind = MEDIUM_DIRECTORY, .interface = "file", .is_virtual = true};
    if (realpath(path, resolved) == NULL || strlen(resolved) >= MEDIUM_PATH_BYTES - 64) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: %s", path, strerror(errno));
        return STATUS_NOT_FOUND;
    }
    int directory = open(resolved, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fstat(directory, &about) != 0) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: %s", path, strerror(errno));
        return STATUS_IO;
    }
    enum status status = list_files(directory, &list);
    bool known = resuming || has_superblock(directory);
    close(directory);
    free(list.names);
    if (status != STATUS_OK || !known) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s is not a disk of a cluster: it has no superblock of one", path);
        return STATUS_UNSUPPORTED;
    }
    memcpy(identity->path, resolved, strlen(resolved) + 1);
    snprintf(identity->name, sizeof(identity->name), "%.90s", last_component(resolved));
    memcpy(identity->disk, identity->name, sizeof(identity->disk));
    identity->bytes = list.bytes;
    identity->device = (uint64_t)major(about.st_dev) << 32 | minor(about.st_dev);
    identity->inode = about.st_ino;
    return STATUS_OK;
}

/* A lease for writing is only given on a file that nobody else has open: so a node that still serves this disk shows.
 * */
static bool is_open_elsewhere(int directory, const char *name)
{
    int file = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) {
        return false;
    }
    bool open_elsewhere = fcntl(file, F_SETLEASE, F_WRLCK) != 0 && (errno == EAGAIN || errno == EBUSY);
    close(file);
    return open_elsewhere;
}

static enum status check_unused(struct medium_wipe *wipe, int directory, const struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (is_open_elsewhere(directory, list->names[i])) {
            snprintf(wipe->message, sizeof(wipe->message), "%s is in use; stop the node that has this disk first",
                     list->names[i]);
            return STATUS_BUSY;
        }
    }
    return STATUS_OK;
}

/* ---- one file ------------------------------------------------------------------------------------- */

/* Each file has a stream of its own. */
static void file_seed(const struct medium_state *state, const char *name, uint8_t seed[KEYSTREAM_SEED_BYTES])
{
    struct content_hash hash;
    content_hash_begin(&hash);
    content_hash_update(&hash, "TRLfil1", 7);
    content_hash_update(&hash, state->seed, sizeof(state->seed));
    content_hash_update(&hash, name, strlen(name));
    content_hash_end(&hash, seed);
}

static size_t piece_at(const struct medium_io *io, uint64_t offset)
{
    return io->bytes - offset < MEDIUM_IO_BYTES ? (size_t)(io->bytes - offset) : MEDIUM_IO_BYTES;
}

static bool overwrite_file(struct medium_wipe *wipe, struct medium_io *io, const uint8_t *seed)
{
    struct medium_step *step = &wipe->state->steps[0];
    for (uint64_t offset = 0; offset < io->bytes; offset += MEDIUM_IO_BYTES) {
        size_t bytes = piece_at(io, offset);
        medium_stream(seed, offset, wipe->buffer, bytes);
        if (io->write(io, offset, wipe->buffer, bytes) != STATUS_OK) {
            step->errors++;
            return false;
        }
        step->bytes += bytes;
    }
    if (io->flush(io) != STATUS_OK) {
        step->errors++;
        return false;
    }
    return true;
}

/* Whether it holds the stream, and nothing of before. */
static bool check_file(struct medium_wipe *wipe, struct medium_io *io, const uint8_t *seed)
{
    struct medium_state *state = wipe->state;
    uint64_t before =
        state->check.mismatch + state->check.unreadable + state->scan.label_hits + state->scan.fingerprint_hits;
    for (uint64_t offset = 0; offset < io->bytes; offset += MEDIUM_IO_BYTES) {
        size_t bytes = piece_at(io, offset);
        medium_stream(seed, offset, wipe->expected, bytes);
        if (io->read(io, offset, wipe->buffer, bytes) == STATUS_OK) {
            medium_check_piece(state, offset, wipe->buffer, wipe->expected, bytes);
        } else {
            state->check.unreadable += (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
        }
    }
    return before ==
           state->check.mismatch + state->check.unreadable + state->scan.label_hits + state->scan.fingerprint_hits;
}

static enum status wipe_file(struct medium_wipe *wipe, int directory, const char *name)
{
    struct medium_io *io;
    uint8_t seed[KEYSTREAM_SEED_BYTES];
    enum status status = medium_open_file(directory, name, &io, wipe->message);
    if (status != STATUS_OK) {
        return status;
    }
    file_seed(wipe->state, name, seed);
    bool good = overwrite_file(wipe, io, seed) && check_file(wipe, io, seed);
    io->close(io);
    if (good) {
        if (unlinkat(directory, name, 0) != 0 || fsync(directory) != 0) {
            snprintf(wipe->message, sizeof(wipe->message), "%s can't be removed: %s", name, strerror(errno));
            return STATUS_IO;
        }
        wipe->state->files++;
    }
    return STATUS_OK;
}

static enum status collect_file(struct medium_wipe *wipe, int directory, const char *name)
{
    struct medium_io *io;
    enum status status = medium_open_file(directory, name, &io, wipe->message);
    if (status != STATUS_OK) {
        return status;
    }
    for (uint64_t offset = 0; offset < io->bytes; offset += MEDIUM_IO_BYTES) {
        size_t bytes = piece_at(io, offset);
        if (io->read(io, offset, wipe->buffer, bytes) == STATUS_OK) {
            residue_collect(&wipe->state->prints, offset, wipe->buffer, bytes);
        }
    }
    io->close(io);
    return STATUS_OK;
}

/* ---- all ------------------------------------------------------------------------------------------ */

static enum status collect_files(struct medium_wipe *wipe, int directory, const struct file_list *list)
{
    uint64_t seed;
    memcpy(&seed, wipe->state->check_seed, sizeof(seed));
    residue_prints_begin(&wipe->state->prints, seed);
    for (size_t i = 0; i < list->count; i++) {
        enum status status = collect_file(wipe, directory, list->names[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    wipe->state->phase = MEDIUM_WIPE;
    wipe->state->steps[0].started_ms = medium_now_ms();
    return medium_state_save(wipe->state);
}

/* What was counted belongs to files that are still there: one that was removed had nothing to count. */
static void forget_failures(struct medium_state *state)
{
    state->steps[0].errors = 0;
    state->check.mismatch = 0;
    state->check.unreadable = 0;
    state->check.place_count = 0;
    state->scan.label_hits = 0;
    state->scan.fingerprint_hits = 0;
    state->scan.place_count = 0;
}

/* While a file is left, the superblock stays, and the directory is known as a disk. */
static enum status stop_unfinished(struct medium_wipe *wipe, uint64_t left)
{
    snprintf(wipe->message, sizeof(wipe->message),
             "NOT erased: %" PRIu64 " files could not be overwritten and read back; they and the superblock were kept; "
             "run the same command again to try them once more",
             left);
    return STATUS_IO;
}

static enum status wipe_files(struct medium_wipe *wipe, int directory, const struct file_list *list)
{
    struct medium_state *state = wipe->state;
    uint64_t files_before = state->files;
    forget_failures(state);
    residue_scan_begin(&state->scan, &state->prints);
    for (size_t i = 0; i < list->count; i++) {
        uint64_t left = i - (state->files - files_before);
        if (left > 0 && strcmp(list->names[i], SUPERBLOCK_FILE) == 0) {
            return stop_unfinished(wipe, left);
        }
        enum status status = wipe_file(wipe, directory, list->names[i]);
        if (status == STATUS_OK) {
            status = medium_state_save(state);
        }
        if (status != STATUS_OK) {
            return status;
        }
        if (wipe->progress != NULL) {
            wipe->progress(wipe, "files", i + 1, list->count, true);
        }
    }
    uint64_t left = list->count - (state->files - files_before);
    if (left > 0) {
        return stop_unfinished(wipe, left);
    }
    wipe_memory(state->seed, sizeof(state->seed));
    state->seed_kept = false;
    state->phase = MEDIUM_FINISHED;
    state->steps[0].finished_ms = medium_now_ms();
    state->finished_ms = state->steps[0].finished_ms;
    return medium_state_save(state);
}

static enum status run_in(struct medium_wipe *wipe, int directory)
{
    struct file_list list;
    enum status status = list_files(directory, &list);
    if (status == STATUS_OK) {
        status = check_unused(wipe, directory, &list);
    }
    if (status == STATUS_OK && wipe->state->phase == MEDIUM_COLLECT) {
        status = collect_files(wipe, directory, &list);
    }
    if (status == STATUS_OK && wipe->state->phase != MEDIUM_FINISHED) {
        status = wipe_files(wipe, directory, &list);
    }
    free(list.names);
    return status;
}

enum status medium_directory_run(struct medium_wipe *wipe)
{
    CHECK(wipe->state->technique == MEDIUM_OVERWRITE && wipe->state->step_count == 1);
    int directory = open(wipe->state->identity.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        snprintf(wipe->message, sizeof(wipe->message), "%.300s: %s", wipe->state->identity.path, strerror(errno));
        return status_from_errno(errno);
    }
    wipe->buffer = medium_buffer(MEDIUM_IO_BYTES);
    wipe->expected = medium_buffer(MEDIUM_IO_BYTES);
    enum status status = STATUS_FULL;
    if (wipe->buffer != NULL && wipe->expected != NULL) {
        status = medium_state_save(wipe->state);
        status = status == STATUS_OK ? run_in(wipe, directory) : status;
    }
    free(wipe->buffer);
    free(wipe->expected);
    close(directory);
    return status;
}
