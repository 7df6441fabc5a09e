/* disk.h - the interface to stable storage: one directory of preallocated files on one device.
 *
 * Production is uring_disk.c (io_uring, O_DIRECT); the simulator is tests/sim/sim_disk.c.
 *
 * Durability  A write is durable once a disk_flush() of its file that was *started after the write
 *             completed* has completed, or when it was started with DISK_DURABLE and completed. Nothing
 *             else promises anything: a completed write may vanish, whole or in part, sector by sector.
 * Failure     STATUS_IO from a write or flush: what was unflushed is undefined. Never retry a flush; fence.
 * Shape       Buffers, offsets and lengths are multiples of BLOCK_BYTES; transfers stay inside the file.
 * Ownership   The caller owns the disk_io and the buffer; both stay untouched until `done`.
 * Threads     Loop thread only. `done` never runs inside the call that starts the I/O.
 * Short       The implementation finishes short transfers; the caller sees all or an error. */
#ifndef TRILITH_BASE_DISK_H
#define TRILITH_BASE_DISK_H

#include "base/ids.h"
#include "base/list.h"
#include "base/status.h"

#include <stddef.h>

#define DISK_NAME_BYTES   32
#define DISK_IO_BYTES_MAX (CHUNK_BYTES_MAX + KIB(64)) /* the longest single transfer */

struct disk;
struct disk_file;

enum disk_io_kind { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_ALLOCATE };

enum disk_flags {
    DISK_DURABLE = 1, /* write: through to stable storage before it completes (RWF_DSYNC) */
    DISK_IDLE = 2,    /* background work: give way to other I/O */
};

struct disk_io {
    void (*done)(struct disk_io *io); /* set by the call that starts it */
    enum status status;               /* the outcome, valid in `done` */

    /* The request; private to the implementation until `done`. */
    struct disk_file *file;
    uint8_t *buffer;
    uint64_t offset;
    uint32_t bytes;
    uint32_t bytes_done;
    enum disk_io_kind kind;
    unsigned flags;
    unsigned attempts;
    uint64_t due_ns;
    struct list_link link;
};

struct disk_ops {
    enum status (*file_open)(struct disk *disk, const char *name, bool create, struct disk_file **file);
    void (*file_close)(struct disk_file *file);
    enum status (*file_remove)(struct disk *disk, const char *name);
    enum status (*list_files)(struct disk *disk, void (*each)(void *user, const char *name, uint64_t bytes),
                              void *user);
    enum status (*space)(struct disk *disk, uint64_t *free_bytes);
    void (*submit)(struct disk_file *file, struct disk_io *io);
};

struct disk {
    const struct disk_ops *ops;
};

struct disk_file {
    struct disk *disk;
    char name[DISK_NAME_BYTES];
    uint64_t bytes; /* current size: grows by disk_allocate() only */
};

/* Open `name` (no slash, shorter than DISK_NAME_BYTES) for reading and writing; with `create`, make it when
 * missing and make its directory entry durable. Synchronous: for start-up and the rare new segment.
 *   STATUS_NOT_FOUND  missing, and not `create`      STATUS_DENIED  no permission
 *   STATUS_FULL       no room                        STATUS_IO      anything else */
MUST_USE static inline enum status disk_file_open(struct disk *disk, const char *name, bool create,
                                                  struct disk_file **file)
{
    return disk->ops->file_open(disk, name, create, file);
}

/* Close a file with no I/O in flight. The handle is gone afterwards. */
static inline void disk_file_close(struct disk_file *file)
{
    file->disk->ops->file_close(file);
}

/* Unlink `name` and make that durable. Synchronous. */
MUST_USE static inline enum status disk_file_remove(struct disk *disk, const char *name)
{
    return disk->ops->file_remove(disk, name);
}

/* Call `each` for every file, in no particular order. Synchronous: start-up only. */
MUST_USE static inline enum status
disk_list_files(struct disk *disk, void (*each)(void *user, const char *name, uint64_t bytes), void *user)
{
    return disk->ops->list_files(disk, each, user);
}

/* Bytes that the file system below could still allocate. */
MUST_USE static inline enum status disk_space(struct disk *disk, uint64_t *free_bytes)
{
    return disk->ops->space(disk, free_bytes);
}

static inline void disk_submit(struct disk_file *file, struct disk_io *io, enum disk_io_kind kind, uint8_t *buffer,
                               size_t bytes, uint64_t offset, unsigned flags, void (*done)(struct disk_io *io))
{
    CHECK(done != NULL);
    CHECK(bytes <= DISK_IO_BYTES_MAX || kind == DISK_ALLOCATE);
    io->done = done;
    io->status = STATUS_OK;
    io->file = file;
    io->buffer = buffer;
    io->offset = offset;
    io->bytes = (uint32_t)bytes;
    io->bytes_done = 0;
    io->kind = kind;
    io->flags = flags;
    io->attempts = 0;
    file->disk->ops->submit(file, io);
}

/* Read `bytes` at `offset`. STATUS_OK or STATUS_IO. */
static inline void disk_read(struct disk_file *file, struct disk_io *io, void *buffer, size_t bytes, uint64_t offset,
                             void (*done)(struct disk_io *io))
{
    CHECK(bytes % BLOCK_BYTES == 0 && offset % BLOCK_BYTES == 0);
    CHECK(offset + bytes <= file->bytes);
    disk_submit(file, io, DISK_READ, buffer, bytes, offset, 0, done);
}

/* Write `bytes` at `offset`, in place. `flags` of enum disk_flags. STATUS_OK, STATUS_FULL or STATUS_IO. */
static inline void disk_write(struct disk_file *file, struct disk_io *io, const void *buffer, size_t bytes,
                              uint64_t offset, unsigned flags, void (*done)(struct disk_io *io))
{
    CHECK(bytes % BLOCK_BYTES == 0 && offset % BLOCK_BYTES == 0);
    CHECK(offset + bytes <= file->bytes);
    disk_submit(file, io, DISK_WRITE, (uint8_t *)(uintptr_t)buffer, bytes, offset, flags, done);
}

/* Make every write of this file that completed before this call durable. STATUS_OK or STATUS_IO. */
static inline void disk_flush(struct disk_file *file, struct disk_io *io, void (*done)(struct disk_io *io))
{
    disk_submit(file, io, DISK_FLUSH, NULL, 0, 0, 0, done);
}

/* Grow the file to `bytes` (below 4 GiB) of allocated space that reads as zeros, durably. STATUS_OK, STATUS_FULL or
 * STATUS_IO. */
static inline void disk_allocate(struct disk_file *file, struct disk_io *io, uint64_t bytes,
                                 void (*done)(struct disk_io *io))
{
    CHECK(bytes % BLOCK_BYTES == 0);
    CHECK(bytes <= UINT32_MAX);
    disk_submit(file, io, DISK_ALLOCATE, NULL, (size_t)bytes, 0, 0, done);
}

#endif
