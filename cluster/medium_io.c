/* medium_io.c - raw access to a medium: transfers past the page cache, flushes, discards, and a clock. */
#include "cluster/medium_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define PROBE_PLACES 16
#define PROBE_BYTES  MIB(1)

struct file_io {
    struct medium_io io;
    int file;     /* O_DIRECT where the file system has it */
    int buffered; /* for the end of a file that is no whole number of blocks */
    bool is_block;
};

static struct file_io *file_io_of(struct medium_io *io)
{
    return CONTAINER_OF(io, struct file_io, io);
}

static void check_transfer(const struct medium_io *io, uint64_t offset, size_t bytes)
{
    CHECK(offset % BLOCK_BYTES == 0);
    CHECK(bytes > 0 && bytes <= MEDIUM_IO_BYTES);
    CHECK(offset <= io->bytes && bytes <= io->bytes - offset);
    CHECK(bytes % BLOCK_BYTES == 0 || offset + bytes == io->bytes);
}

/* The descriptor for a transfer: O_DIRECT takes whole sectors only. */
static int file_for(const struct file_io *file, size_t bytes)
{
    return bytes % 512 == 0 ? file->file : file->buffered;
}

static enum status file_read(struct medium_io *io, uint64_t offset, uint8_t *buffer, size_t bytes)
{
    struct file_io *file = file_io_of(io);
    check_transfer(io, offset, bytes);
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(file_for(file, bytes - done), buffer + done, bytes - done, (off_t)(offset + done));
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return STATUS_IO;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return STATUS_OK;
}

static enum status file_write(struct medium_io *io, uint64_t offset, const uint8_t *buffer, size_t bytes)
{
    struct file_io *file = file_io_of(io);
    check_transfer(io, offset, bytes);
    for (size_t done = 0; done < bytes;) {
        ssize_t put = pwrite(file_for(file, bytes - done), buffer + done, bytes - done, (off_t)(offset + done));
        if (put <= 0 && !(put < 0 && errno == EINTR)) {
            return STATUS_IO;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return STATUS_OK;
}

static enum status file_flush(struct medium_io *io)
{
    struct file_io *file = file_io_of(io);
    if (fdatasync(file->file) != 0 || fdatasync(file->buffered) != 0) {
        return STATUS_IO;
    }
    if (file->is_block) {
        return ioctl(file->file, BLKFLSBUF, 0) == 0 ? STATUS_OK : STATUS_IO;
    }
    return posix_fadvise(file->buffered, 0, 0, POSIX_FADV_DONTNEED) == 0 ? STATUS_OK : STATUS_IO;
}

static enum status file_discard(struct medium_io *io)
{
    struct file_io *file = file_io_of(io);
    uint64_t range[2] = {0, io->bytes};
    if (!file->is_block) {
        return STATUS_UNSUPPORTED;
    }
    if (ioctl(file->file, BLKDISCARD, range) == 0) {
        return STATUS_OK;
    }
    return errno == EOPNOTSUPP || errno == ENOTTY ? STATUS_UNSUPPORTED : STATUS_IO;
}

static void file_close(struct medium_io *io)
{
    struct file_io *file = file_io_of(io);
    close(file->file);
    close(file->buffered);
    free(file);
}

static enum status open_failed(const char *name, char *message)
{
    int error = errno;
    if (error == EBUSY || error == EWOULDBLOCK) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: somebody else has it open for himself alone", name);
        return STATUS_BUSY;
    }
    snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: %s", name, strerror(error));
    return status_from_errno(error);
}

/* Open with O_DIRECT, or without it where the file system has none (tmpfs): a flush drops the cache there. */
static int open_direct(int directory, const char *name, int flags)
{
    int file = openat(directory, name, flags | O_DIRECT);
    return file < 0 && errno == EINVAL ? openat(directory, name, flags) : file;
}

static enum status open_both(int directory, const char *name, int flags, struct file_io **opened, char *message)
{
    struct file_io *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "out of memory");
        return STATUS_FULL;
    }
    file->io = (struct medium_io){
        .read = file_read, .write = file_write, .flush = file_flush, .discard = file_discard, .close = file_close};
    file->file = open_direct(directory, name, flags);
    if (file->file < 0) {
        enum status status = open_failed(name, message);
        free(file);
        return status;
    }
    file->buffered = openat(directory, name, flags & ~O_EXCL);
    if (file->buffered < 0) {
        enum status status = open_failed(name, message);
        close(file->file);
        free(file);
        return status;
    }
    *opened = file;
    return STATUS_OK;
}

/* What was opened is what was looked at: a path may have got another meaning in between. */
static enum status check_opened(struct file_io *file, const struct medium_identity *identity, bool writable,
                                char *message)
{
    struct stat about;
    if (fstat(file->file, &about) != 0) {
        return open_failed(identity->path, message);
    }
    file->is_block = S_ISBLK(about.st_mode);
    dev_t device = file->is_block ? about.st_rdev : about.st_dev;
    bool same = ((uint64_t)major(device) << 32 | minor(device)) == identity->device &&
                (file->is_block || about.st_ino == identity->inode);
    uint64_t bytes = (uint64_t)about.st_size;
    if (file->is_block && ioctl(file->file, BLKGETSIZE64, &bytes) != 0) {
        return open_failed(identity->path, message);
    }
    if (!same || bytes != identity->bytes) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s is not what it was a moment ago", identity->path);
        return STATUS_CONFLICT;
    }
    if (writable && flock(file->file, LOCK_EX | LOCK_NB) != 0) {
        return open_failed(identity->path, message);
    }
    file->io.bytes = bytes;
    return STATUS_OK;
}

enum status medium_open(const struct medium_identity *identity, bool writable, struct medium_io **io, char *message)
{
    bool is_block = identity->kind == MEDIUM_DISK || identity->kind == MEDIUM_PARTITION;
    struct file_io *file = NULL;
    int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | (is_block && writable ? O_EXCL : 0);
    enum status status = open_both(AT_FDCWD, identity->path, flags, &file, message);
    if (status != STATUS_OK) {
        return status;
    }
    status = check_opened(file, identity, writable, message);
    if (status != STATUS_OK) {
        file_close(&file->io);
        return status;
    }
    *io = &file->io;
    return STATUS_OK;
}

enum status medium_open_file(int directory, const char *name, struct medium_io **io, char *message)
{
    struct file_io *file = NULL;
    struct stat about;
    enum status status = open_both(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, &file, message);
    if (status != STATUS_OK) {
        return status;
    }
    if (fstat(file->file, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size < 0) {
        file_close(&file->io);
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s is not a regular file", name);
        return STATUS_UNSUPPORTED;
    }
    file->io.bytes = (uint64_t)about.st_size;
    *io = &file->io;
    return STATUS_OK;
}

uint8_t *medium_buffer(size_t bytes)
{
    void *buffer = NULL;
    return posix_memalign(&buffer, BLOCK_BYTES, bytes) == 0 ? buffer : NULL;
}

uint64_t medium_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

uint64_t medium_ticks_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t medium_probe_rate(struct medium_io *io, unsigned for_ms)
{
    uint8_t *buffer = medium_buffer(PROBE_BYTES);
    uint64_t begin_ns = medium_ticks_ns();
    uint64_t read_bytes = 0;
    for (unsigned place = 0; buffer != NULL && place < PROBE_PLACES; place++) {
        uint64_t offset = io->bytes / PROBE_PLACES * place / BLOCK_BYTES * BLOCK_BYTES;
        size_t bytes = io->bytes - offset < PROBE_BYTES ? (size_t)(io->bytes - offset) : PROBE_BYTES;
        if (io->read(io, offset, buffer, bytes) != STATUS_OK) {
            break;
        }
        read_bytes += bytes;
        if (medium_ticks_ns() - begin_ns > for_ms * NS_PER_MS) {
            break;
        }
    }
    free(buffer);
    uint64_t spent_us = (medium_ticks_ns() - begin_ns) / NS_PER_US;
    return spent_us == 0 ? 0 : read_bytes * 1000000 / spent_us;
}
