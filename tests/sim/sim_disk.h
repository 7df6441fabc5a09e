/* sim_disk.h - base/disk.h in memory, with the faults a real disk has.
 *
 * Images     Every file has two: what reads see, and what is on stable storage. A completed write reaches the first;
 *            a flush, or DISK_DURABLE, brings it to the second, sector (512 bytes) by sector.
 * Order      Each I/O takes a random time (20..200 us; idle ones ten times that), so I/Os overtake each other. A flush
 *            covers exactly the writes that had completed when it started.
 * Crash      sim_disk_crash(): I/O in flight vanishes and its `done` never runs. Of every sector written but not
 *            durable, in flight or completed, the old or the new content stays; in 2 % of the cases it is garbage. An
 *            allocation in flight happened or not. Names that were created or removed stay so. Open handles are lost:
 *            I/O on them ends with STATUS_IO; they can only be closed.
 * Failure    sim_disk_fail_after(): from the n-th I/O on, all fail. A failed write leaves some of its sectors; a failed
 *            flush makes some sectors durable.
 * Rot        sim_disk_corrupt() flips bits of both images.
 * Misuse     The buffer of a write is compared when it completes: changing it while in flight is a bug and aborts.
 * Not here   Lost writes that were flushed, misdirected I/O, slow disks. */
#ifndef TRILITH_TESTS_SIM_DISK_H
#define TRILITH_TESTS_SIM_DISK_H

#include "base/disk.h"
#include "tests/sim/sim_loop.h"

struct sim_disk;

#define SIM_DISK_SECTOR_BYTES 512u

/* An empty disk of 16 GiB (memory is used only for files). Never NULL. */
struct sim_disk *sim_disk_open(struct sim_loop *loop, uint64_t seed);

/* I/O in flight vanishes. Handles still open are freed too. */
void sim_disk_close(struct sim_disk *disk);

struct disk *sim_disk_interface(struct sim_disk *disk);

/* Power loss. Buffers of I/O in flight are not touched, now or later. Failures set up before are forgotten. */
void sim_disk_crash(struct sim_disk *disk);

/* The `ios`-th I/O from now (1: the next one started) and all after it fail with `status`. 0: stop failing. */
void sim_disk_fail_after(struct sim_disk *disk, uint64_t ios, enum status status);

/* Which kinds sim_disk_fail_after() counts and fails: bits 1 << DISK_READ and so on. All at start. */
void sim_disk_fail_kinds(struct sim_disk *disk, unsigned kinds);

/* The files may not grow beyond this in sum: STATUS_FULL. */
void sim_disk_limit_bytes(struct sim_disk *disk, uint64_t bytes);

/* What is on stable storage of file `name`, valid until the next call on the disk; NULL: no such file. */
const uint8_t *sim_disk_bytes(struct sim_disk *disk, const char *name, uint64_t *bytes);

/* Exclusive-or the byte at `offset` of file `name`, which must exist and be that long. */
void sim_disk_corrupt(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t xor_byte);

/* I/Os of one kind started since the disk was opened. */
uint64_t sim_disk_io_count(const struct sim_disk *disk, enum disk_io_kind kind);

#endif
