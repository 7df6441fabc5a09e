/* vault_figures.c - what the vault costs on this machine: leaves per second, and closing an epoch, on io_uring and
 * RocksDB.
 *
 *   vault_figures DIRECTORY [OBJECTS_MAX]
 *
 * DIRECTORY must be empty or missing, its parent on the file system that is to be measured. For 10^5, 10^6 and 10^7
 * objects (or up to OBJECTS_MAX) a vault with that many leaves is made and its epoch closed, three times with nothing
 * punctured, then, up to 10^8, three times with 1 % of all leaves punctured at random since the last close. JSON on
 * stdout; each figure is the median of three; leaves per second are those of the largest vault.
 * `longest_turn_ms` is the longest time for which the loop served nobody else: seen by a task that asks for every
 * turn. */
#include "base/kv_rocksdb.h"
#include "base/uring.h"
#include "meta/vault/slot_file.h"
#include "meta/vault/vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define ROUNDS        3
#define PATH_BYTES    512
#define DERIVATIONS   200000u
#define CACHE_BYTES   MIB(64)
#define TURN_NS       NS_PER_S
#define MESSAGE_BYTES 512
#define OBJECTS_MIN   UINT64_C(100000)
#define OBJECTS_MAX   UINT64_C(10000000)
#define PUNCTURED_MAX UINT64_C(100000000)
#define PERCENT_OF(n) ((n) / 100)

struct bench {
    struct uring_loop *ring;
    struct loop *loop;
    struct disk *disk;
    struct kv *covers;
    struct slot *slot;
    struct vault *vault;
    struct key *root; /* guarded */
    uint64_t random;
    uint64_t objects;
    uint32_t pages_end;
    struct vault_epoch current;

    bool done;
    enum status status;
    struct loop_task beat;
    bool beats;
    uint64_t last_beat_ns;
    uint64_t longest_turn_ns;
};

struct figures {
    double seconds;
    double prepare_seconds;
    double longest_turn_ms;
    double megabytes_written;
    double guarded_megabytes;
    double pages_punctured;
    double leaves_erased;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static _Noreturn void stop(const char *what, enum status status, const char *message)
{
    (void)fprintf(stderr, "vault_figures: %s: %s %s\n", what, status_name(status), message);
    exit(1);
}

/* splitmix64: which leaves are punctured need not be secret, only spread. */
static uint64_t draw(struct bench *bench, uint64_t below)
{
    uint64_t z = (bench->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* ---- waiting ----------------------------------------------------------------------------------- */

static void finished(void *user, enum status status)
{
    struct bench *bench = user;
    bench->done = true;
    bench->status = status;
}

static void slot_opened(void *user, enum status status, struct slot *slot)
{
    struct bench *bench = user;
    bench->slot = slot;
    finished(user, status);
}

static void beat_run(struct loop_task *task)
{
    struct bench *bench = CONTAINER_OF(task, struct bench, beat);
    uint64_t now = now_ns();
    uint64_t turn = now - bench->last_beat_ns;
    bench->longest_turn_ns = turn > bench->longest_turn_ns ? turn : bench->longest_turn_ns;
    bench->last_beat_ns = now;
    if (!bench->done) {
        loop_defer(bench->loop, &bench->beat);
    } else {
        bench->beats = false;
    }
}

static void await(struct bench *bench, const char *what)
{
    bench->last_beat_ns = now_ns();
    bench->beats = true;
    loop_defer(bench->loop, &bench->beat);
    while (!bench->done || bench->beats) {
        uring_loop_turn(bench->ring, now_ns() + TURN_NS);
    }
    if (bench->status != STATUS_OK) {
        stop(what, bench->status, bench->vault != NULL ? vault_message(bench->vault) : "");
    }
    bench->done = false;
}

/* ---- a vault of so many leaves ----------------------------------------------------------------- */

static void close_epoch(struct bench *bench, uint32_t pages_end, struct figures *figures)
{
    struct vault_epoch next = {.epoch = bench->current.epoch + 1, .servers = 1, .threshold = 1, .pages_end = pages_end};
    struct shamir_share share = {.index = 1};
    key_make(bench->root);
    key_commitment(bench->root, next.commitment);
    share.value = *bench->root;
    bench->longest_turn_ns = 0;

    uint64_t start = now_ns();
    vault_seal(bench->vault);
    vault_prepare(bench->vault, &next, bench->root, &share, finished, bench);
    await(bench, "prepare");
    uint64_t prepared = now_ns();
    figures->guarded_megabytes = (double)vault_memory(bench->vault) / 1e6;
    vault_switch(bench->vault);
    bench->current = next;
    if (next.epoch > 1) {
        vault_destroy(bench->vault, next.epoch - 1, finished, bench);
        await(bench, "destroy");
    }
    const struct vault_closed *closed = vault_closed(bench->vault);
    figures->seconds = (double)(now_ns() - start) / 1e9;
    figures->prepare_seconds = (double)(prepared - start) / 1e9;
    figures->longest_turn_ms = (double)bench->longest_turn_ns / 1e6;
    figures->megabytes_written = (double)closed->bytes_written / 1e6;
    figures->pages_punctured = closed->pages_punctured;
    figures->leaves_erased = (double)closed->leaves_erased;
}

static void bench_open(struct bench *bench, const char *directory, uint64_t objects)
{
    static const uint8_t uuid[VAULT_UUID_BYTES] = "figures";
    char message[MESSAGE_BYTES] = "";
    char path[PATH_BYTES];
    struct figures ignored;
    *bench = (struct bench){.objects = objects, .random = objects, .beat.run = beat_run};
    bench->root = guarded_take(sizeof(*bench->root));
    (void)snprintf(path, sizeof(path), "%s/%llu", directory, (unsigned long long)objects);
    if (mkdir(path, 0700) != 0) {
        stop(path, STATUS_IO, "can't be made");
    }
    enum status status = uring_loop_open(&bench->ring, message, sizeof(message));
    if (status == STATUS_OK) {
        bench->loop = uring_loop_interface(bench->ring);
        status = uring_disk_open(bench->ring, path, false, &bench->disk, message, sizeof(message));
    }
    (void)snprintf(path, sizeof(path), "%s/%llu/covers", directory, (unsigned long long)objects);
    if (status == STATUS_OK) {
        status = kv_rocksdb_open(path, CACHE_BYTES, &bench->covers, message, sizeof(message));
    }
    if (status != STATUS_OK) {
        stop("opening", status, message);
    }
    slot_file_open(bench->loop, bench->disk, true, slot_opened, bench);
    await(bench, "slot");
    struct vault_parts parts = {.loop = bench->loop, .disk = bench->disk, .covers = bench->covers, .slot = bench->slot};
    bench->vault = vault_open(&parts, uuid);
    CHECK(bench->vault != NULL);
    bench->pages_end = (uint32_t)(objects / VAULT_PAGE_LEAVES) + 2;
    close_epoch(bench, 1, &ignored);
    close_epoch(bench, bench->pages_end, &ignored);
}

static void bench_close(struct bench *bench)
{
    vault_close(bench->vault);
    slot_close(bench->slot);
    kv_close(bench->covers);
    uring_disk_close(bench->disk);
    uring_loop_close(bench->ring);
    guarded_release(bench->root);
}

/* ---- figures ----------------------------------------------------------------------------------- */

static int double_compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof(values[0]), double_compare);
    return values[ROUNDS / 2];
}

static double derivations_per_second(struct bench *bench)
{
    double rates[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct key *leaf = bench->root; /* Guarded, and only needed while an epoch is closed. */
        uint64_t start = now_ns();
        uint32_t said = 0;
        for (uint32_t i = 0; i < DERIVATIONS; i++) {
            uint32_t page = 1 + (uint32_t)draw(bench, bench->pages_end - 1);
            said += vault_derive(bench->vault, page, (uint32_t)draw(bench, GGM_LEAVES), leaf) == STATUS_OK ? 1 : 0;
        }
        rates[round] = said / ((double)(now_ns() - start) / 1e9);
    }
    return median(rates);
}

static void puncture(struct bench *bench, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct ggm_bitmap leaves = {0};
        ggm_bit_set(&leaves, (uint32_t)draw(bench, GGM_LEAVES));
        enum status status = vault_puncture(bench->vault, 1 + (uint32_t)draw(bench, bench->pages_end - 1), &leaves);
        if (status != STATUS_OK) {
            stop("puncture", status, "");
        }
    }
}

static void print_close(struct bench *bench, unsigned percent)
{
    struct figures rounds[ROUNDS];
    double values[7][ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        puncture(bench, percent == 0 ? 0 : PERCENT_OF(bench->objects) * percent);
        close_epoch(bench, bench->pages_end, &rounds[round]);
        values[0][round] = rounds[round].seconds;
        values[1][round] = rounds[round].prepare_seconds;
        values[2][round] = rounds[round].longest_turn_ms;
        values[3][round] = rounds[round].megabytes_written;
        values[4][round] = rounds[round].guarded_megabytes;
        values[5][round] = rounds[round].pages_punctured;
        values[6][round] = rounds[round].leaves_erased;
    }
    double guarded = median(values[4]);
    (void)printf("    {\"objects\": %llu, \"punctured_percent\": %u, \"close_s\": %.3f, \"prepare_s\": %.3f, "
                 "\"longest_turn_ms\": %.2f, \"written_MB\": %.3f, \"guarded_MB\": %.3f, \"guarded_bytes_per_object\": "
                 "%.3f, \"pages_punctured\": %.0f, \"leaves_erased\": %.0f},\n",
                 (unsigned long long)bench->objects, percent, median(values[0]), median(values[1]), median(values[2]),
                 median(values[3]), guarded, guarded * 1e6 / (double)bench->objects, median(values[5]),
                 median(values[6]));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    uint64_t objects_max = argc > 2 ? strtoull(argv[2], NULL, 10) : OBJECTS_MAX;
    double whole = 0;
    double punctured = 0;
    if (argc < 2 || argc > 3 || objects_max < OBJECTS_MIN) {
        (void)fprintf(stderr, "usage: vault_figures DIRECTORY [OBJECTS_MAX]\n");
        return 2;
    }
    (void)mkdir(argv[1], 0700); /* It may be there. */
    if (keys_start_process() != STATUS_OK) {
        stop("libsodium", STATUS_UNSUPPORTED, "");
    }
    (void)printf("{\n  \"close\": [\n");
    for (uint64_t objects = OBJECTS_MIN; objects <= objects_max; objects *= 10) {
        bench_open(&bench, argv[1], objects);
        print_close(&bench, 0);
        whole = derivations_per_second(&bench);
        if (objects <= PUNCTURED_MAX) {
            print_close(&bench, 1);
            punctured = derivations_per_second(&bench);
        }
        bench_close(&bench);
    }
    (void)printf("    {}\n  ],\n  \"leaves_per_s_whole_pages\": %.0f,\n  \"leaves_per_s_punctured_pages\": %.0f\n}\n",
                 whole, punctured);
    return 0;
}
