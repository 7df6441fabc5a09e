/* test_uring_disk.c - O_DIRECT files on a scratch directory of a real file system (ctest runs in the build folder). */
#include "base/uring.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILE_BYTES MIB(16)

struct probe {
    struct disk_io io;
    bool done;
};

static char directory[64];
static struct uring_loop *reactor;
static struct disk *disk;
static struct disk_file *file;
static uint8_t *arena; /* twice DISK_IO_BYTES_MAX, page-aligned */

static void probe_done(struct disk_io *io)
{
    struct probe *probe = CONTAINER_OF(io, struct probe, io);
    cr_assert_not(probe->done);
    probe->done = true;
}

static enum status probe_wait(struct probe *probe)
{
    while (!probe->done) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
    probe->done = false;
    return probe->io.status;
}

static void setup(void)
{
    char message[512] = "";
    struct probe probe = {0};
    snprintf(directory, sizeof(directory), "disk-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(uring_loop_open(&reactor, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(uring_disk_open(reactor, directory, true, &disk, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(disk_file_open(disk, "segment", true, &file), STATUS_OK);
    cr_assert_eq(file->bytes, 0);
    disk_allocate(file, &probe.io, FILE_BYTES, probe_done);
    cr_assert_not(probe.done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_eq(file->bytes, FILE_BYTES);
    arena = mmap(NULL, 2 * DISK_IO_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(arena, MAP_FAILED);
}

static void teardown(void)
{
    disk_file_close(file);
    cr_assert_eq(disk_file_remove(disk, "segment"), STATUS_OK);
    uring_disk_close(disk);
    uring_loop_close(reactor);
    munmap(arena, 2 * DISK_IO_BYTES_MAX);
    cr_assert_eq(rmdir(directory), 0, "the disk left something behind");
}

TestSuite(uring_disk, .init = setup, .fini = teardown, .timeout = 120);

static void fill(uint8_t *buffer, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i += sizeof(seed)) {
        seed = seed * 1664525u + 1013904223u;
        memcpy(buffer + i, &seed, sizeof(seed));
    }
}

/* Write from the first half of the arena, flush, read into the second half, compare. */
static void round_trip(size_t bytes, uint64_t offset, unsigned flags)
{
    struct probe probe = {0};
    uint8_t *back = arena + DISK_IO_BYTES_MAX;
    fill(arena, bytes, (uint32_t)(bytes + offset + flags));
    memset(back, 0xee, bytes);
    disk_write(file, &probe.io, arena, bytes, offset, flags, probe_done);
    cr_assert_not(probe.done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    disk_flush(file, &probe.io, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    disk_read(file, &probe.io, back, bytes, offset, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_arr_eq(arena, back, bytes);
}

static void round_trips(void)
{
    static const size_t sizes[] = {
        BLOCK_BYTES,          3 * BLOCK_BYTES, MIB(1) - BLOCK_BYTES,          MIB(1),
        MIB(1) + BLOCK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + BLOCK_BYTES, DISK_IO_BYTES_MAX,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        round_trip(sizes[i], 0, 0);
        round_trip(sizes[i], FILE_BYTES - sizes[i], DISK_DURABLE);
        round_trip(sizes[i], 5 * BLOCK_BYTES, DISK_IDLE | DISK_DURABLE);
    }
}

Test(uring_disk, reads_back_what_it_wrote_at_every_size_and_flag)
{
    round_trips();
}

Test(uring_disk, does_the_same_from_a_registered_arena)
{
    uring_loop_register_arena(reactor, arena, 2 * DISK_IO_BYTES_MAX);
    round_trips();
}

Test(uring_disk, does_the_same_when_only_half_of_the_buffers_are_registered)
{
    uring_loop_register_arena(reactor, arena, MIB(1) + BLOCK_BYTES);
    round_trips();
}

Test(uring_disk, allocates_zeros_and_keeps_what_is_there)
{
    struct probe probe = {0};
    round_trip(BLOCK_BYTES, FILE_BYTES - BLOCK_BYTES, 0);
    disk_allocate(file, &probe.io, 2 * FILE_BYTES, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_eq(file->bytes, 2 * FILE_BYTES);
    disk_read(file, &probe.io, arena, 2 * BLOCK_BYTES, FILE_BYTES - BLOCK_BYTES, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_arr_eq(arena, arena + DISK_IO_BYTES_MAX, BLOCK_BYTES);
    for (size_t i = BLOCK_BYTES; i < 2 * BLOCK_BYTES; i++) {
        cr_assert_eq(arena[i], 0);
    }
}

Test(uring_disk, keeps_more_transfers_waiting_than_the_ring_has_room_for)
{
    enum { TRANSFERS = 3000 };
    struct probe *probes = calloc(TRANSFERS, sizeof(*probes));
    memset(probes, 0xaa, TRANSFERS * sizeof(*probes)); /* An owner need not clear its request. */
    for (size_t i = 0; i < TRANSFERS; i++) {
        probes[i].done = false;
        disk_write(file, &probes[i].io, arena, BLOCK_BYTES, (i % 100) * BLOCK_BYTES, 0, probe_done);
    }
    for (size_t i = 0; i < TRANSFERS; i++) {
        cr_assert_eq(probe_wait(&probes[i]), STATUS_OK);
    }
    free(probes);
}

/* Opens the disk anew, on a ring of a user who may lock no memory. */
Test(uring_disk, works_without_registration_when_memory_may_not_be_locked)
{
    char message[512] = "";
    char path[128];
    struct rlimit limit = {.rlim_cur = KIB(64), .rlim_max = KIB(64)};
    snprintf(path, sizeof(path), "%s/segment", directory);
    cr_assert_eq(chmod(path, 0666), 0);
    cr_assert_eq(chmod(directory, 0777), 0);
    disk_file_close(file);
    uring_disk_close(disk);
    uring_loop_close(reactor);
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    bool is_root = geteuid() == 0;
    cr_assert(!is_root || setresuid(65534, 65534, 0) == 0);

    cr_assert_eq(uring_loop_open(&reactor, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(uring_disk_open(reactor, directory, true, &disk, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(disk_file_open(disk, "segment", false, &file), STATUS_OK);
    uring_loop_register_arena(reactor, arena, 2 * DISK_IO_BYTES_MAX);
    round_trip(CHUNK_BYTES_MAX, 0, 0);
    cr_assert(!is_root || setresuid(0, 0, 0) == 0);
}

static void sum_file(void *user, const char *name, uint64_t bytes)
{
    cr_assert_str_eq(name, "segment");
    *(uint64_t *)user += bytes;
}

Test(uring_disk, lists_its_files_and_knows_its_space)
{
    uint64_t sum = 0;
    uint64_t free_bytes = 0;
    cr_assert_eq(disk_list_files(disk, sum_file, &sum), STATUS_OK);
    cr_assert_eq(sum, FILE_BYTES);
    cr_assert_eq(disk_space(disk, &free_bytes), STATUS_OK);
    cr_assert_gt(free_bytes, 0);
}

Test(uring_disk, finds_no_file_that_is_not_there)
{
    struct disk_file *missing = NULL;
    cr_assert_eq(disk_file_open(disk, "missing", false, &missing), STATUS_NOT_FOUND);
    cr_assert_null(missing);
    cr_assert_eq(disk_file_remove(disk, "missing"), STATUS_NOT_FOUND);
}

Test(uring_disk, opens_a_file_twice_and_sees_the_same_bytes)
{
    struct disk_file *second;
    struct probe probe = {0};
    round_trip(BLOCK_BYTES, 0, DISK_DURABLE);
    cr_assert_eq(disk_file_open(disk, "segment", false, &second), STATUS_OK);
    cr_assert_eq(second->bytes, FILE_BYTES);
    disk_read(second, &probe.io, arena + BLOCK_BYTES, BLOCK_BYTES, 0, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_arr_eq(arena, arena + BLOCK_BYTES, BLOCK_BYTES);
    disk_file_close(second);
}

Test(uring_disk, says_an_error_when_the_file_is_shorter_than_it_was)
{
    char path[128];
    struct probe probe = {0};
    snprintf(path, sizeof(path), "%s/segment", directory);
    cr_assert_eq(truncate(path, BLOCK_BYTES), 0);
    disk_read(file, &probe.io, arena, 4 * BLOCK_BYTES, 0, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_IO);
}

Test(uring_disk, measures_which_durable_write_is_faster_and_cleans_up)
{
    bool durable_write_is_faster;
    cr_assert_eq(uring_disk_probe_durable_write(disk, 20, &durable_write_is_faster), STATUS_OK);
}

Test(uring_disk, refuses_tmpfs_and_says_why)
{
    char message[512] = "";
    struct statfs place;
    struct disk *refused = NULL;
    if (statfs("/dev/shm", &place) != 0 || (uint32_t)place.f_type != 0x01021994u) {
        cr_skip_test("no tmpfs at /dev/shm");
    }
    cr_assert_eq(uring_disk_open(reactor, "/dev/shm", false, &refused, message, sizeof(message)), STATUS_UNSUPPORTED);
    cr_assert_null(refused);
    cr_assert_not_null(strstr(message, "tmpfs"));
    cr_assert_eq(uring_disk_open(reactor, "/dev/shm", true, &refused, message, sizeof(message)), STATUS_OK);
    uring_disk_close(refused);
}

Test(uring_disk, says_what_is_wrong_with_a_directory)
{
    char message[512] = "";
    struct disk *refused = NULL;
    cr_assert_eq(uring_disk_open(reactor, "no-such-directory", false, &refused, message, sizeof(message)),
                 STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(message, "no-such-directory"));
}
