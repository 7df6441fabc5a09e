/* volatile_file.h - one file of lossfs: what its disk holds, and what a power loss would take.
 *
 * The backing file is the disk: each byte in it survives. What was written since the last flush lies in memory, in
 * pages with a mark for each 512-byte sector, and so does a size that changed. Reads see the newest bytes.
 *
 *   write, truncate, zero ──> memory ──flush──> disk
 *                                └────lose────> per sector: the new bytes, the old ones, or (torn) both
 *
 * The file's name and the space that fallocate took are not kept back: they are durable at once.
 *
 * Errors   0 or an errno value, because that is what the kernel is told.
 * Threads  One at a time: lossfs calls under its lock. */
#ifndef TRILITH_TESTS_SYSTEM_LOSSFS_VOLATILE_FILE_H
#define TRILITH_TESTS_SYSTEM_LOSSFS_VOLATILE_FILE_H

#include "base/list.h"

#include <stdint.h>

#define SECTOR_BYTES            512u
#define VOLATILE_FILE_BYTES_MAX GIB(16)           /* a table of pages of 32 MiB; more is refused with EFBIG */
#define VOLATILE_PAGES_MAX      (MIB(512) / 4096) /* unflushed in one file; above, all is written back, as kernels do */

struct volatile_page;

struct volatile_file {
    int disk;            /* the backing file, for reading and writing */
    uint64_t bytes;      /* the size that programs see */
    uint64_t disk_bytes; /* the size of the backing file */
    uint64_t cut_bytes;  /* the smallest size since the last flush: what the disk has from here on reads as zeros */
    struct volatile_page **table; /* by page number; NULL: nothing unflushed there */
    size_t table_length;
    struct list dirty; /* the pages, oldest first */
    size_t dirty_pages;
};

/* What a power loss did, in sectors; only ever added to. */
struct loss {
    uint64_t kept;
    uint64_t lost;
    uint64_t torn;
    uint64_t sizes_lost; /* files whose new size was lost */
};

/* Take over `disk`, a descriptor for reading and writing; closed by volatile_file_close(). */
MUST_USE int volatile_file_open(struct volatile_file *file, int disk);
/* Forget what is unflushed and close. */
void volatile_file_close(struct volatile_file *file);

/* Whether a power loss could change anything. */
bool volatile_file_is_dirty(const struct volatile_file *file);

/* Read up to the end of the file; `*read_bytes` says how much that was. */
MUST_USE int volatile_file_read(const struct volatile_file *file, uint8_t *buffer, size_t bytes, uint64_t offset,
                                size_t *read_bytes);
/* Write to memory; what lies between the old end and `offset` reads as zeros. */
MUST_USE int volatile_file_write(struct volatile_file *file, const uint8_t *data, size_t bytes, uint64_t offset);
/* Make `bytes` from `offset` read as zeros; never grows the file. */
MUST_USE int volatile_file_zero(struct volatile_file *file, uint64_t bytes, uint64_t offset);
MUST_USE int volatile_file_truncate(struct volatile_file *file, uint64_t bytes);

/* Bring all to the disk. */
MUST_USE int volatile_file_flush(struct volatile_file *file);
/* Bring these bytes and the size to the disk and nothing else, as a write with O_DSYNC promises. */
MUST_USE int volatile_file_flush_range(struct volatile_file *file, size_t bytes, uint64_t offset);

/* A flush failed: the unflushed bytes are gone and the old ones are seen again; the size stays unflushed. */
void volatile_file_drop(struct volatile_file *file);

/* The power fails. What becomes of each sector is drawn from `*chance`, and so is the size; or `nothing_kept`. */
MUST_USE int volatile_file_lose(struct volatile_file *file, bool nothing_kept, uint64_t *chance, struct loss *loss);

#endif
