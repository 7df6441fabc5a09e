/* test_chunk_store_disk.c - the store on io_uring and RocksDB in a real directory: a process is killed in the middle of
 * its writing, the next one finds everything that was acknowledged.
 *
 * Killing a process loses nothing that the kernel has; this tests the edges and the order of things, the simulator
 * tests durability. Each store lives in a child process of its own: RocksDB's threads do not survive a fork. Skipped where io_uring or a directory that takes O_DIRECT is not to be had. */
#include "base/kv_rocksdb.h"
#include "base/uring.h"
#include "node/store/inspect.h"
#include "tests/unit/chunk_store_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_FLIGHT   8
#define EXIT_CANNOT 2

struct real_world {
    struct uring_loop *uring;
    struct disk *disk;
    struct world world;
};

static char directory[64];
static char disk_directory[80];
static char index_directory[80];

static void real_turn_until(struct real_world *real, const bool *flag)
{
    while (!*flag) {
        uring_loop_turn(real->uring, loop_now_ns(real->world.loop) + NS_PER_S);
    }
}

/* False: this machine can't. */
static bool real_open(struct real_world *real, bool rebuild)
{
    char message[300] = "";
    log_set_level(LOG_ERROR);
    if (uring_loop_open(&real->uring, message, sizeof(message)) != STATUS_OK) {
        return false;
    }
    if (uring_disk_open(real->uring, disk_directory, false, &real->disk, message, sizeof(message)) != STATUS_OK) {
        uring_loop_close(real->uring);
        return false;
    }
    real->world.loop = uring_loop_interface(real->uring);
    cr_assert_eq(kv_rocksdb_open(index_directory, MIB(4), &real->world.kv, message, sizeof(message)), STATUS_OK, "%s",
                 message);
    real->world.options = (struct chunk_store_options){
        .capacity_bytes = 6 * STORE_SEGMENT_BYTES_MIN + MIB(1),
        .segment_bytes = STORE_SEGMENT_BYTES_MIN,
        .prewrite_segments = 1,
        .group_wait_us = 100,
        .rebuild_index = rebuild,
    };
    real->world.opened = false;
    chunk_store_open(real->world.loop, real->disk, real->world.kv, &real->world.options, world_opened, &real->world);
    real_turn_until(real, &real->world.opened);
    cr_assert_eq(real->world.open_status, STATUS_OK);
    return true;
}

static void real_close(struct real_world *real)
{
    bool closed = false;
    chunk_store_close(real->world.store, world_closed, &closed);
    real_turn_until(real, &closed);
    kv_close(real->world.kv);
    uring_disk_close(real->disk);
    uring_loop_close(real->uring);
}

/* ---- the process that is killed ------------------------------------------------------------------- */

/* Put and erase until killed; every acknowledgement goes down the pipe as one number: 2 n for a put, 2 n + 1 for an
 * erase of what was put before. */
static void write_until_killed(int pipe_end, uint32_t first)
{
    struct real_world real = {0};
    struct probe *puts[IN_FLIGHT] = {0};
    uint32_t next = first;

    if (!real_open(&real, false)) {
        _exit(EXIT_CANNOT);
    }
    for (;;) {
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            if (puts[i] != NULL && puts[i]->done) {
                uint32_t word = 2 * puts[i]->number;
                if (puts[i]->status != STATUS_OK || write(pipe_end, &word, sizeof(word)) != sizeof(word)) {
                    _exit(puts[i]->status == STATUS_FULL ? 0 : 3);
                }
                if (puts[i]->number % 3 == 0) {
                    erase_start_of(&real.world, puts[i]);
                    real_turn_until(&real, &puts[i]->done);
                    word++;
                    if (puts[i]->status != STATUS_OK || write(pipe_end, &word, sizeof(word)) != sizeof(word)) {
                        _exit(4);
                    }
                }
                probe_free(puts[i]);
                puts[i] = NULL;
            }
            if (puts[i] == NULL) {
                puts[i] = probe_new(next);
                put_start_of(&real.world, puts[i], 1 + next * 1777 % 90000);
                next++;
            }
        }
        uring_loop_turn(real.uring, loop_now_ns(real.world.loop) + NS_PER_S);
    }
}

static enum status real_get(struct real_world *real, uint32_t number)
{
    struct probe *probe = probe_new(number);
    uint32_t bytes = 1 + number * 1777 % 90000;
    probe->payload = aligned_buffer(MIB(1));
    probe->get = (struct chunk_get){
        .id = chunk_id_of(number), .buffer = probe->payload, .buffer_bytes = MIB(1), .done = get_done};
    chunk_store_get(real->world.store, &probe->get);
    real_turn_until(real, &probe->done);
    enum status status = probe->status;
    if (status == STATUS_OK) {
        uint8_t *expected = aligned_buffer(bytes);
        fill_content(number, expected, bytes);
        cr_assert_eq(probe->get.data_bytes, bytes);
        cr_assert_eq(memcmp(probe->get.data, expected, bytes), 0);
        free(expected);
    }
    probe_free(probe);
    return status;
}

/* Open what the killed process left, compare all of it, close in order. */
static void read_all_back(const uint8_t *state, uint32_t states, bool rebuild)
{
    struct real_world real = {0};

    if (!real_open(&real, rebuild)) {
        _exit(EXIT_CANNOT);
    }
    for (uint32_t number = 0; number < states; number++) {
        if (state[number] == 0) {
            continue;
        }
        enum status status = real_get(&real, number);
        bool erase_was_asked_for = number % 3 == 0;
        if (status != (state[number] == 2 ? STATUS_GONE : STATUS_OK) &&
            !(erase_was_asked_for && state[number] == 1 && status == STATUS_GONE)) {
            fprintf(stderr, "chunk %u, acknowledged as %u: %s\n", number, state[number], status_name(status));
            _exit(1);
        }
    }
    real_close(&real);
    _exit(0);
}

/* Read acknowledgements until enough have come, kill the writer, take the rest. */
static void kill_after(pid_t writer, int pipe_end, unsigned acknowledgements, uint8_t *state, uint32_t states)
{
    uint32_t word;
    for (unsigned count = 0; read(pipe_end, &word, sizeof(word)) == sizeof(word); count++) {
        cr_assert_lt(word / 2, states);
        state[word / 2] = word % 2 == 1 ? 2 : 1;
        if (count == acknowledgements) {
            cr_assert_eq(kill(writer, SIGKILL), 0);
        }
    }
    int outcome;
    cr_assert_eq(waitpid(writer, &outcome, 0), writer);
}

static void remove_directory(const char *path)
{
    DIR *entries = opendir(path);
    const struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        (void)unlinkat(dirfd(entries), entry->d_name, 0);
    }
    if (entries != NULL) {
        closedir(entries);
    }
    (void)rmdir(path);
}

static void count_finding(struct inspect_visitor *visitor, const struct inspect_finding *finding)
{
    (void)visitor;
    cr_assert_fail("%s in %s at %lu", inspect_finding_name(finding->kind), finding->name, finding->offset);
}

Test(chunk_store_disk, a_killed_process_loses_nothing_it_acknowledged, .timeout = 120)
{
    static uint8_t state[100000]; /* 0 unknown, 1 put, 2 erased */
    snprintf(directory, sizeof(directory), "/var/tmp/chunk-store-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(disk_directory, sizeof(disk_directory), "%s/disk", directory);
    snprintf(index_directory, sizeof(index_directory), "%s/index", directory);
    cr_assert_eq(mkdir(disk_directory, 0700), 0);

    bool skipped = false;
    for (uint32_t round = 0; round < 4 && !skipped; round++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        pid_t writer = fork();
        if (writer == 0) {
            close(ends[0]);
            write_until_killed(ends[1], round * 20000);
        }
        close(ends[1]);
        kill_after(writer, ends[0], 60 + 40 * round, state, ARRAY_LENGTH(state));
        close(ends[0]);

        pid_t reader = fork();
        if (reader == 0) {
            read_all_back(state, ARRAY_LENGTH(state), round == 2);
        }
        int outcome = 0;
        cr_assert_eq(waitpid(reader, &outcome, 0), reader);
        cr_assert(WIFEXITED(outcome));
        skipped = WEXITSTATUS(outcome) == EXIT_CANNOT;
        if (!skipped) {
            cr_assert_eq(WEXITSTATUS(outcome), 0);
            struct inspect_visitor visitor = {.finding = count_finding};
            struct inspect_summary summary;
            char message[200] = "";
            cr_assert_eq(inspect_directory(disk_directory, &visitor, &summary, message, sizeof(message)), STATUS_OK,
                         "%s", message);
            cr_assert_gt(summary.live_chunks, 0);
        }
    }
    remove_directory(disk_directory);
    remove_directory(index_directory);
    remove_directory(directory);
    if (skipped) {
        cr_skip_test("no io_uring, or no O_DIRECT in /var/tmp");
    }
}
