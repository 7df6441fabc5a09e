/* sim_disk.h - base/disk.h in memory, with the faults a real disk has.
 *
 * Images     Every file has two: what reads see (the cache), and what is on stable storage. A completed write reaches the
 *            first; a flush, or DISK_DURABLE, brings it to the second, sector (512 bytes) by sector. Both are kept as
 *            blocks of 4 KiB that exist only where they are not zero and are shared where they are equal.
 * Order      Each I/O takes a random time (20..200 us; idle ones ten times that), so I/Os overtake each other. A flush
 *            covers exactly the writes that had completed when it started.
 * Crash      sim_disk_crash(): I/O in flight vanishes and its `done` never runs. Of every sector written but not
 *            durable, in flight or completed, the old or the new content stays; in 2 % of the cases it is garbage. An
 *            allocation in flight happened or not. Names that were created or removed stay so. Open handles are lost:
 *            I/O on them ends with STATUS_IO; they can only be closed (or forgotten, when their process is gone too).
 * Failure    sim_disk_fail_after(): from the n-th I/O on, all fail. A failed write leaves some of its sectors; a failed
 *            flush makes some sectors durable, and the rest of what was dirty is dropped from the cache too: reads see the
 *            old content again, as on a real system whose pages were marked clean.
 * Faults     sim_disk_set_faults(): chances per I/O for each kind of enum sim_disk_fault. What the device put somewhere by
 *            itself is marked: sim_disk_is_stray() (content that nobody wrote there), so that a search for residue can
 *            tell the device's lies from ours.
 * Rot        sim_disk_corrupt() flips bits of both images; sim_disk_rot() lets chance choose the place.
 * Misuse     The buffer of a write is compared when it completes: changing it while in flight is a bug and aborts. */
#ifndef TRILITH_TESTS_SIM_DISK_H
#define TRILITH_TESTS_SIM_DISK_H

#include "base/disk.h"
#include "tests/sim/sim_loop.h"

struct sim_disk;

#define SIM_DISK_SECTOR_BYTES 512u

/* An empty disk of 16 GiB (memory is used only for blocks that are not zero). Never NULL. */
struct sim_disk *sim_disk_open(struct sim_loop *loop, uint64_t seed);

/* I/O in flight vanishes. Handles still open are freed too. */
void sim_disk_close(struct sim_disk *disk);

struct disk *sim_disk_interface(struct sim_disk *disk);

/* Power loss. Buffers and requests of I/O in flight are not touched, now or later. Failures set up before are
 * forgotten; the chances of sim_disk_set_faults() stay. */
void sim_disk_crash(struct sim_disk *disk);

/* The process is gone, the machine is not (SIGKILL): I/O in flight completes or not, by chance, but what has completed
 * stays in the cache. Handles are forgotten; requests in flight are not touched again. */
void sim_disk_kill(struct sim_disk *disk);

/* From now on completions run on `loop`: the process that uses the disk has started again. No I/O may be in flight. */
void sim_disk_attach(struct sim_disk *disk, struct sim_loop *loop);

/* The `ios`-th I/O from now (1: the next one started) and all after it fail with `status`. 0: stop failing. */
void sim_disk_fail_after(struct sim_disk *disk, uint64_t ios, enum status status);

/* Which kinds sim_disk_fail_after() counts and fails: bits 1 << DISK_READ and so on. All at start. */
void sim_disk_fail_kinds(struct sim_disk *disk, unsigned kinds);

/* The files may not grow beyond this in sum: STATUS_FULL. */
void sim_disk_limit_bytes(struct sim_disk *disk, uint64_t bytes);

/* What is on stable storage of file `name`, valid until the next call on the disk; NULL: no such file. Copies the whole
 * file: for tests with few and small files. */
const uint8_t *sim_disk_bytes(struct sim_disk *disk, const char *name, uint64_t *bytes);

/* Exclusive-or the byte at `offset` of file `name`, which must exist and be that long. */
void sim_disk_corrupt(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t xor_byte);

/* I/Os of one kind started since the disk was opened. */
uint64_t sim_disk_io_count(const struct sim_disk *disk, enum disk_io_kind kind);

/* ---- faults ---------------------------------------------------------------------------------------- */

enum sim_disk_fault {
    SIM_DISK_TORN,        /* crash: a write of which some sectors are old and some new */
    SIM_DISK_GARBAGE,     /* crash: a sector that is neither */
    SIM_DISK_LOST_WRITE,  /* completed, never applied */
    SIM_DISK_MISDIRECTED, /* completed, applied at another aligned place of this disk; the target stays old */
    SIM_DISK_LOST_FLUSH,  /* completed, nothing made durable: the disk lies until the next flush that does not.
                             A write with DISK_DURABLE can be lied about in the same way */
    SIM_DISK_READ_ERROR,  /* STATUS_IO once */
    SIM_DISK_WRITE_ERROR, /* STATUS_IO, some sectors written */
    SIM_DISK_FLUSH_ERROR, /* STATUS_IO, what was dirty is dropped */
    SIM_DISK_LATENT,      /* a sector that can't be read until it is written again */
    SIM_DISK_ROT_BIT,     /* one bit at rest flips */
    SIM_DISK_ROT_SECTOR,  /* 512 bytes at rest become garbage */
    SIM_DISK_ROT_BLOCK,   /* 4 KiB at rest become garbage */
    SIM_DISK_FULL,        /* STATUS_FULL from an allocation, or from opening a new file */
    SIM_DISK_SLOW,        /* takes 10..1,000 times as long */
    SIM_DISK_STUCK,       /* does not complete before sim_disk_heal() or a crash */
    SIM_DISK_SHORT,       /* transferred in several parts, with other I/O in between */
    SIM_DISK_FAULTS
};

/* Faults that can make a copy unreadable or stale for good: the fault atlas keeps them away from one copy of each chunk. */
#define SIM_DISK_LOSSY                                                                                                 \
    (1u << SIM_DISK_LOST_WRITE | 1u << SIM_DISK_MISDIRECTED | 1u << SIM_DISK_LOST_FLUSH | 1u << SIM_DISK_LATENT |      \
     1u << SIM_DISK_ROT_BIT | 1u << SIM_DISK_ROT_SECTOR | 1u << SIM_DISK_ROT_BLOCK)

const char *sim_disk_fault_name(enum sim_disk_fault fault);

/* Chance of each fault per I/O of the kind it concerns, in parts per million. TORN and GARBAGE belong to crashes and have
 * no chance of their own here; LATENT and the three kinds of rot are per completed write (something at rest, not zero
 * and not dirty, goes bad meanwhile). Chances of 0 draw nothing, and none changes the latencies of other I/O. */
struct sim_disk_faults {
    uint32_t ppm[SIM_DISK_FAULTS];
};
void sim_disk_set_faults(struct sim_disk *disk, const struct sim_disk_faults *faults);
/* How often each fault has really changed something; errors also when another call here asked for them. TORN counts
 * writes, GARBAGE sectors, the others I/Os or places. */
uint64_t sim_disk_fault_count(const struct sim_disk *disk, enum sim_disk_fault fault);

/* All chances become 0, stuck and slow I/O completes soon, limits, fail_after and slowness end. Damage stays. */
void sim_disk_heal(struct sim_disk *disk);

/* Everything takes `factor` times as long (1..100,000) until told otherwise. */
void sim_disk_slow(struct sim_disk *disk, uint32_t factor);

/* Let one place go bad now, of those that are neither zero nor dirty: `fault` is one of the three kinds of rot, or
 * SIM_DISK_LATENT. False: there is nothing. */
bool sim_disk_rot(struct sim_disk *disk, enum sim_disk_fault fault);

/* ---- looking --------------------------------------------------------------------------------------- */

enum sim_disk_image { SIM_DISK_DURABLE, SIM_DISK_CACHE };

/* Walk all blocks of an image that are not all zero, by file name and offset. `bytes` stand during the call. */
void sim_disk_each_block(struct sim_disk *disk, enum sim_disk_image image,
                         void (*each)(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES]),
                         void *user);

/* Copy from an image: any alignment. False: no such file, or not that long. */
bool sim_disk_copy(struct sim_disk *disk, enum sim_disk_image image, const char *name, uint64_t offset, void *buffer,
                   size_t bytes);

/* The length of a file; false: no such file. And all names, in order. */
bool sim_disk_file_bytes(struct sim_disk *disk, const char *name, uint64_t *bytes);
void sim_disk_each_file(struct sim_disk *disk, void (*each)(void *user, const char *name, uint64_t bytes), void *user);

/* Whether the device itself put (or left) the content of this block where it is: by a misdirected, lost or rotten write,
 * or because it lied about a flush and then lost power. Cleared when the block is written again and stays. */
bool sim_disk_is_stray(struct sim_disk *disk, const char *name, uint64_t offset);

/* Hears of every write that completes with STATUS_OK, just before it is applied (so sim_disk_copy() still says what stood
 * there), where the owner wanted it: the device's own lies are not told. A short write is told part by part. NULL:
 * nobody listens. */
struct sim_disk_observer {
    void (*writing)(struct sim_disk_observer *observer, struct sim_disk *disk, const char *name, uint64_t offset,
                    const uint8_t *content, size_t bytes);
};
void sim_disk_observe(struct sim_disk *disk, struct sim_disk_observer *observer);

#endif
