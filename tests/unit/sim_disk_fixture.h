/* sim_disk_fixture.h - a simulated disk with one file of 64 blocks, and I/O that is waited for. For the tests of
 * tests/sim/sim_disk.h. */
#ifndef TRILITH_TESTS_UNIT_SIM_DISK_FIXTURE_H
#define TRILITH_TESTS_UNIT_SIM_DISK_FIXTURE_H

#include "tests/sim/sim_disk.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BLOCKS   64
#define FILE_BYTES    (FILE_BLOCKS * BLOCK_BYTES)
#define FILE_SECTORS  (FILE_BYTES / SIM_DISK_SECTOR_BYTES)
#define BLOCK_SECTORS (BLOCK_BYTES / SIM_DISK_SECTOR_BYTES)
#define ALWAYS        1000000u

struct probe {
    struct disk_io io;
    bool done;
    enum status status;
};

static struct sim_loop *loop;
static struct sim_disk *sim;
static struct disk *disk;
static struct disk_file *file;
static uint8_t block[FILE_BYTES];

static inline void probe_done(struct disk_io *io)
{
    struct probe *probe = CONTAINER_OF(io, struct probe, io);
    cr_assert_not(probe->done);
    probe->done = true;
    probe->status = io->status;
}

static inline enum status probe_wait(struct probe *probe)
{
    cr_assert(sim_loop_run_until(loop, &probe->done));
    probe->done = false;
    return probe->status;
}

static inline enum status allocate(uint64_t bytes)
{
    struct probe probe = {0};
    disk_allocate(file, &probe.io, bytes, probe_done);
    return probe_wait(&probe);
}

static inline enum status write_filled(uint8_t fill, size_t bytes, uint64_t offset, unsigned flags)
{
    struct probe probe = {0};
    memset(block, fill, bytes);
    disk_write(file, &probe.io, block, bytes, offset, flags, probe_done);
    return probe_wait(&probe);
}

/* Into `block`. */
static inline enum status read_back(size_t bytes, uint64_t offset)
{
    struct probe probe = {0};
    disk_read(file, &probe.io, block, bytes, offset, probe_done);
    return probe_wait(&probe);
}

static inline enum status flush(void)
{
    struct probe probe = {0};
    disk_flush(file, &probe.io, probe_done);
    return probe_wait(&probe);
}

static inline void file_reopen(void)
{
    cr_assert_eq(disk_file_open(disk, "segment", false, &file), STATUS_OK);
}

static inline void open_with_seed(uint64_t seed)
{
    loop = sim_loop_open(seed);
    sim = sim_disk_open(loop, seed);
    disk = sim_disk_interface(sim);
    cr_assert_eq(disk_file_open(disk, "segment", true, &file), STATUS_OK);
    cr_assert_eq(allocate(FILE_BYTES), STATUS_OK);
    cr_assert_eq(file->bytes, FILE_BYTES);
}

static inline void setup(void)
{
    open_with_seed(11);
}

static inline void teardown(void)
{
    sim_disk_close(sim);
    sim_loop_close(loop);
}

/* From now on this fault happens whenever it can; SIM_DISK_FAULTS: none does. */
static inline void always(enum sim_disk_fault fault)
{
    struct sim_disk_faults faults = {0};
    if (fault != SIM_DISK_FAULTS) {
        faults.ppm[fault] = ALWAYS;
    }
    sim_disk_set_faults(sim, &faults);
}

static inline void never(void)
{
    always(SIM_DISK_FAULTS);
}

/* How many sectors of an image of the file hold only `fill`, from `offset` on. */
static inline unsigned sectors_of(enum sim_disk_image image, uint8_t fill, uint64_t offset, uint64_t bytes)
{
    static uint8_t content[FILE_BYTES];
    cr_assert(sim_disk_copy(sim, image, "segment", offset, content, bytes));
    unsigned count = 0;
    for (uint64_t at = 0; at < bytes; at += SIM_DISK_SECTOR_BYTES) {
        bool all = true;
        for (uint64_t i = 0; i < SIM_DISK_SECTOR_BYTES; i++) {
            all = all && content[at + i] == fill;
        }
        count += all ? 1 : 0;
    }
    return count;
}

static inline bool holds(enum sim_disk_image image, uint8_t fill, uint64_t offset, uint64_t bytes)
{
    return sectors_of(image, fill, offset, bytes) == bytes / SIM_DISK_SECTOR_BYTES;
}

#endif
