/* uring_disk.c - base/disk.h on io_uring and O_DIRECT: one directory of preallocated files.
 *
 * A transfer is cut into pieces of at most 1 MiB, each one queue entry, submitted together: longer ones would be split
 * by the block layer anyway, and some devices then return -EAGAIN. A short piece goes on where it stopped.
 *
 * Bounds      A disk has REQUESTS_MAX transfers in the ring; more wait in a list, first come, first served.
 * Errors      -EINTR and -EAGAIN are tried again, ATTEMPTS_MAX times per piece; the rest is the caller's, logged once.
 *             A failed flush is never retried here or anywhere: the caller fences the disk.
 * Buffers     Those inside a registered arena use the FIXED operations, all others the plain ones. */
#include "base/uring_private.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS_MAX      256u
#define PIECE_BYTES       ((uint32_t)MIB(1))
#define PIECES_MAX        ((DISK_IO_BYTES_MAX + PIECE_BYTES - 1) / PIECE_BYTES)
#define ATTEMPTS_MAX      64u
#define IDLE_PRIORITY     (3u << 13) /* IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0), see ioprio_set(2) */
#define PROBE_FILE        "flush-probe"
#define PROBE_FILE_BYTES  MIB(1)
#define PROBE_WRITE_BYTES (2 * BLOCK_BYTES) /* what a lone small put writes */

struct disk_request;

struct disk_piece {
    struct uring_op op;
    struct disk_request *request;
    uint32_t start; /* in the transfer */
    uint32_t bytes;
    uint32_t bytes_done;
    unsigned attempts;
};

/* A transfer in the ring. */
struct disk_request {
    struct list_link link; /* in uring_disk.free_requests */
    struct disk_io *io;
    enum status status;
    unsigned pieces_left;
    bool syncs_allocation; /* DISK_ALLOCATE: the space is there, its fsync is what runs */
    struct disk_piece pieces[PIECES_MAX];
};

struct uring_disk {
    struct disk base;
    struct uring_loop *loop;
    int directory;
    char *path;
    bool allow_volatile;
    unsigned open_files;
    struct list free_requests;
    struct list waiting; /* struct disk_io that found no free request */
    struct disk_request requests[REQUESTS_MAX];
};

struct uring_file {
    struct disk_file base;
    int descriptor;
    int slot;
};

static struct uring_disk *disk_of(struct disk *base)
{
    return CONTAINER_OF(base, struct uring_disk, base);
}

static struct uring_file *file_of(struct disk_file *base)
{
    return CONTAINER_OF(base, struct uring_file, base);
}

/* ---- transfers --------------------------------------------------------------------------------------- */

static void transfer_prepare(struct disk_piece *piece, struct io_uring_sqe *sqe)
{
    const struct disk_io *io = piece->request->io;
    const struct uring_loop *loop = disk_of(io->file->disk)->loop;
    int descriptor = file_of(io->file)->descriptor;
    uint32_t start = piece->start + piece->bytes_done;
    uint32_t bytes = piece->bytes - piece->bytes_done;
    uint8_t *buffer = io->buffer + start;
    int fixed = uring_buffer_find(loop, buffer, bytes);

    if (io->kind == DISK_READ && fixed >= 0) {
        io_uring_prep_read_fixed(sqe, descriptor, buffer, bytes, io->offset + start, fixed);
    } else if (io->kind == DISK_READ) {
        io_uring_prep_read(sqe, descriptor, buffer, bytes, io->offset + start);
    } else if (fixed >= 0) {
        io_uring_prep_write_fixed(sqe, descriptor, buffer, bytes, io->offset + start, fixed);
    } else {
        io_uring_prep_write(sqe, descriptor, buffer, bytes, io->offset + start);
    }
    if (io->kind == DISK_WRITE && (io->flags & DISK_DURABLE) != 0) {
        sqe->rw_flags = RWF_DSYNC;
    }
    if ((io->flags & DISK_IDLE) != 0) {
        sqe->ioprio = IDLE_PRIORITY;
    }
}

static void piece_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct disk_piece *piece = CONTAINER_OF(op, struct disk_piece, op);
    const struct disk_io *io = piece->request->io;
    int descriptor = file_of(io->file)->descriptor;
    switch (io->kind) {
    case DISK_READ:
    case DISK_WRITE:
        transfer_prepare(piece, sqe);
        break;
    case DISK_FLUSH:
        io_uring_prep_fsync(sqe, descriptor, IORING_FSYNC_DATASYNC);
        break;
    case DISK_ALLOCATE:
        if (piece->request->syncs_allocation) {
            io_uring_prep_fsync(sqe, descriptor, 0); /* The size must be durable too. */
        } else {
            io_uring_prep_fallocate(sqe, descriptor, 0, 0, (off_t)io->bytes);
        }
        break;
    }
    uring_sqe_use_slot(sqe, file_of(io->file)->slot);
}

static void request_start(struct uring_disk *disk, struct disk_io *io);

/* Give the request back, let the next one in line have it, and tell the owner. */
static void request_end(struct disk_request *request)
{
    struct disk_io *io = request->io;
    struct uring_disk *disk = disk_of(io->file->disk);

    io->status = request->status;
    io->bytes_done = request->status == STATUS_OK ? io->bytes : 0;
    request->io = NULL;
    list_append(&disk->free_requests, &request->link);

    struct list_link *next = list_take_first(&disk->waiting);
    if (next != NULL) {
        request_start(disk, LIST_ENTRY(next, struct disk_io, link));
    }
    io->done(io);
}

static const char *kind_name(enum disk_io_kind kind)
{
    static const char *const names[] = {"read", "write", "flush", "allocate"};
    return names[kind];
}

/* Take in the outcome of a piece. True: it must run again. */
static bool piece_goes_on(struct disk_piece *piece, int result)
{
    struct disk_request *request = piece->request;
    const struct disk_io *io = request->io;
    const char *reason;
    if ((result == -EINTR || result == -EAGAIN) && ++piece->attempts < ATTEMPTS_MAX) {
        return true;
    }
    if (result < 0) {
        reason = strerror(-result);
    } else if (io->kind == DISK_FLUSH || io->kind == DISK_ALLOCATE) {
        return false;
    } else if ((uint32_t)result == piece->bytes - piece->bytes_done) {
        piece->bytes_done = piece->bytes;
        return false;
    } else if ((uint32_t)result >= BLOCK_BYTES) {
        piece->bytes_done += (uint32_t)result / BLOCK_BYTES * BLOCK_BYTES; /* O_DIRECT goes on at a whole block. */
        return true;
    } else if (++piece->attempts < ATTEMPTS_MAX) {
        return true;
    } else {
        reason = "no progress";
    }
    request->status = result == -ENOSPC || result == -EDQUOT ? STATUS_FULL : STATUS_IO;
    log_event(LOG_ERROR, "disk_io_failed", "disk=%s file=%s kind=%s offset=%llu bytes=%u reason=%s",
              disk_of(io->file->disk)->path, io->file->name, kind_name(io->kind),
              (unsigned long long)(io->offset + piece->start), piece->bytes, reason);
    return false;
}

static void piece_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct disk_piece *piece = CONTAINER_OF(op, struct disk_piece, op);
    struct disk_request *request = piece->request;
    struct disk_file *file = request->io->file;
    struct uring_loop *loop = disk_of(file->disk)->loop;

    if (piece_goes_on(piece, result)) {
        uring_op_start(loop, op);
        return;
    }
    if (--request->pieces_left > 0) {
        return;
    }
    if (request->io->kind == DISK_ALLOCATE && request->status == STATUS_OK) {
        if (!request->syncs_allocation) {
            request->syncs_allocation = true;
            request->pieces_left = 1;
            piece->attempts = 0;
            uring_op_start(loop, op);
            return;
        }
        file->bytes = request->io->bytes > file->bytes ? request->io->bytes : file->bytes;
    }
    request_end(request);
}

static void request_start(struct uring_disk *disk, struct disk_io *io)
{
    struct list_link *link = list_take_first(&disk->free_requests);
    CHECK(link != NULL);
    struct disk_request *request = LIST_ENTRY(link, struct disk_request, link);
    bool transfers = io->kind == DISK_READ || io->kind == DISK_WRITE;
    uint32_t pieces = transfers && io->bytes > 0 ? (io->bytes + PIECE_BYTES - 1) / PIECE_BYTES : 1;
    CHECK(pieces <= PIECES_MAX);

    request->io = io;
    request->status = STATUS_OK;
    request->syncs_allocation = false;
    request->pieces_left = pieces;
    for (uint32_t i = 0; i < pieces; i++) {
        struct disk_piece *piece = &request->pieces[i];
        uint32_t rest = io->bytes - i * PIECE_BYTES;
        piece->request = request;
        piece->start = i * PIECE_BYTES;
        piece->bytes = transfers && rest > PIECE_BYTES ? PIECE_BYTES : rest;
        piece->bytes_done = 0;
        piece->attempts = 0;
        piece->op.prepare = piece_prepare;
        piece->op.complete = piece_complete;
        uring_op_start(disk->loop, &piece->op);
    }
}

static void disk_op_submit(struct disk_file *file, struct disk_io *io)
{
    struct uring_disk *disk = disk_of(file->disk);
    bool transfers = io->kind == DISK_READ || io->kind == DISK_WRITE;
    CHECK(!transfers || (uintptr_t)io->buffer % BLOCK_BYTES == 0);
    if (list_is_empty(&disk->free_requests)) {
        list_link_init(&io->link); /* The owner need not have done it. */
        list_append(&disk->waiting, &io->link);
    } else {
        request_start(disk, io);
    }
}

/* ---- files ------------------------------------------------------------------------------------------- */

static enum status status_of_file_error(int error)
{
    switch (error) {
    case ENOENT:
        return STATUS_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_DENIED;
    case ENOSPC:
    case EDQUOT:
        return STATUS_FULL;
    default:
        return STATUS_IO;
    }
}

static void log_file_error(const struct uring_disk *disk, const char *name, const char *what, int error)
{
    log_event(LOG_ERROR, "disk_file_failed", "disk=%s file=%s what=%s reason=%s", disk->path, name, what,
              strerror(error));
}

/* Open with O_DIRECT; only where nothing need survive may it be missing. */
static int open_direct(const struct uring_disk *disk, const char *name, int flags)
{
    int descriptor = openat(disk->directory, name, flags | O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0 && errno == EINVAL && disk->allow_volatile) {
        descriptor = openat(disk->directory, name, (flags & ~O_EXCL) | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    return descriptor;
}

/* Open `name`, making it when asked; a new name is made durable. Returns the descriptor or -errno. */
static int open_or_create(const struct uring_disk *disk, const char *name, bool create)
{
    int descriptor = open_direct(disk, name, 0);
    if (descriptor >= 0 || errno != ENOENT || !create) {
        return descriptor >= 0 ? descriptor : -errno;
    }
    descriptor = open_direct(disk, name, O_CREAT | O_EXCL);
    if (descriptor < 0) {
        return -errno;
    }
    if (fsync(descriptor) != 0 || fsync(disk->directory) != 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

static enum status disk_op_file_open(struct disk *base, const char *name, bool create, struct disk_file **result)
{
    struct uring_disk *disk = disk_of(base);
    CHECK(strlen(name) < DISK_NAME_BYTES && strchr(name, '/') == NULL);

    int descriptor = open_or_create(disk, name, create);
    if (descriptor < 0) {
        enum status status = status_of_file_error(-descriptor);
        if (status != STATUS_NOT_FOUND) {
            log_file_error(disk, name, "open", -descriptor);
        }
        return status;
    }
    struct stat facts;
    if (fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        log_file_error(disk, name, "stat", errno);
        close(descriptor);
        return STATUS_IO;
    }
    struct uring_file *file = calloc(1, sizeof(*file));
    CHECK(file != NULL);
    file->base.disk = base;
    file->base.bytes = (uint64_t)facts.st_size / BLOCK_BYTES * BLOCK_BYTES;
    memcpy(file->base.name, name, strlen(name) + 1);
    file->descriptor = descriptor;
    file->slot = uring_slot_take(disk->loop, descriptor);
    disk->open_files++;
    *result = &file->base;
    return STATUS_OK;
}

static void disk_op_file_close(struct disk_file *base)
{
    struct uring_file *file = file_of(base);
    struct uring_disk *disk = disk_of(base->disk);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        CHECK(disk->requests[i].io == NULL || disk->requests[i].io->file != base);
    }
    uring_slot_give_back(disk->loop, file->slot);
    close(file->descriptor);
    CHECK(disk->open_files > 0);
    disk->open_files--;
    free(file);
}

static enum status disk_op_file_remove(struct disk *base, const char *name)
{
    struct uring_disk *disk = disk_of(base);
    if (unlinkat(disk->directory, name, 0) != 0 || fsync(disk->directory) != 0) {
        enum status status = status_of_file_error(errno);
        if (status != STATUS_NOT_FOUND) {
            log_file_error(disk, name, "remove", errno);
        }
        return status;
    }
    return STATUS_OK;
}

static enum status disk_op_list_files(struct disk *base, void (*each)(void *user, const char *name, uint64_t bytes),
                                      void *user)
{
    struct uring_disk *disk = disk_of(base);
    int descriptor = openat(disk->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = descriptor >= 0 ? fdopendir(descriptor) : NULL;
    if (directory == NULL) {
        log_file_error(disk, ".", "list", errno);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return STATUS_IO;
    }
    enum status status = STATUS_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            status = errno == 0 ? STATUS_OK : STATUS_IO;
            break;
        }
        struct stat facts;
        bool is_file = fstatat(disk->directory, entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISREG(facts.st_mode) && strlen(entry->d_name) < DISK_NAME_BYTES;
        if (is_file) {
            each(user, entry->d_name, (uint64_t)facts.st_size);
        }
    }
    closedir(directory);
    return status;
}

static enum status disk_op_space(struct disk *base, uint64_t *free_bytes)
{
    struct statvfs facts;
    if (fstatvfs(disk_of(base)->directory, &facts) != 0) {
        log_file_error(disk_of(base), ".", "space", errno);
        return STATUS_IO;
    }
    *free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    return STATUS_OK;
}

static const struct disk_ops uring_disk_ops = {
    .file_open = disk_op_file_open,
    .file_close = disk_op_file_close,
    .file_remove = disk_op_file_remove,
    .list_files = disk_op_list_files,
    .space = disk_op_space,
    .submit = disk_op_submit,
};

/* ---- open and close ------------------------------------------------------------------------------------ */

enum status uring_disk_open(struct uring_loop *loop, const char *directory, bool allow_volatile, struct disk **result,
                            char *message, size_t message_bytes)
{
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        enum status status = errno == ENOTDIR ? STATUS_NOT_FOUND : status_of_file_error(errno);
        snprintf(message, message_bytes, "%s: %s", directory, strerror(errno));
        return status;
    }
    enum status status = uring_disk_place_check(descriptor, directory, allow_volatile, message, message_bytes);
    if (status != STATUS_OK) {
        close(descriptor);
        return status;
    }
    struct uring_disk *disk = calloc(1, sizeof(*disk));
    CHECK(disk != NULL);
    disk->base.ops = &uring_disk_ops;
    disk->loop = loop;
    disk->directory = descriptor;
    disk->path = strdup(directory);
    CHECK(disk->path != NULL);
    disk->allow_volatile = allow_volatile;
    list_init(&disk->free_requests);
    list_init(&disk->waiting);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        list_append(&disk->free_requests, &disk->requests[i].link);
    }
    *result = &disk->base;
    return STATUS_OK;
}

void uring_disk_close(struct disk *base)
{
    struct uring_disk *disk = disk_of(base);
    CHECK(disk->open_files == 0);
    close(disk->directory);
    free(disk->path);
    free(disk);
}

/* ---- the flush probe ------------------------------------------------------------------------------------- */

static uint64_t steady_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* One durable write at `offset`, in one of the two ways; adds the time it took. */
static bool probe_write(int descriptor, const uint8_t *buffer, off_t offset, bool through, uint64_t *spent_ns)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)buffer, .iov_len = PROBE_WRITE_BYTES};
    uint64_t start_ns = steady_ns();
    bool done = pwritev2(descriptor, &vector, 1, offset, through ? RWF_DSYNC : 0) == (ssize_t)PROBE_WRITE_BYTES &&
                (through || fdatasync(descriptor) == 0);
    *spent_ns += steady_ns() - start_ns;
    return done;
}

/* Both ways in turn, so that whatever else the device does weighs on both. */
static bool probe_measure(int descriptor, uint64_t budget_ns, uint64_t spent_ns[2])
{
    uint8_t *buffer = aligned_alloc(BLOCK_BYTES, PROBE_FILE_BYTES);
    CHECK(buffer != NULL);
    memset(buffer, 0, PROBE_FILE_BYTES);
    bool fine = pwrite(descriptor, buffer, PROBE_FILE_BYTES, 0) == (ssize_t)PROBE_FILE_BYTES && fsync(descriptor) == 0;
    off_t offset = 0;
    while (fine && (spent_ns[0] + spent_ns[1] < budget_ns || spent_ns[0] == 0)) {
        fine = probe_write(descriptor, buffer, offset, false, &spent_ns[0]) &&
               probe_write(descriptor, buffer, offset, true, &spent_ns[1]);
        offset = (offset + (off_t)PROBE_WRITE_BYTES) % (off_t)PROBE_FILE_BYTES;
    }
    free(buffer);
    return fine;
}

enum status uring_disk_probe_durable_write(struct disk *base, uint32_t budget_ms, bool *durable_write_is_faster)
{
    const struct uring_disk *disk = disk_of(base);
    uint64_t spent_ns[2] = {0, 0};
    int descriptor = open_direct(disk, PROBE_FILE, O_CREAT);
    if (descriptor < 0) {
        log_file_error(disk, PROBE_FILE, "open", errno);
        return status_of_file_error(errno);
    }
    bool fine = probe_measure(descriptor, budget_ms * NS_PER_MS, spent_ns);
    int error = errno;
    close(descriptor);
    (void)unlinkat(disk->directory, PROBE_FILE, 0);
    if (!fine) {
        log_file_error(disk, PROBE_FILE, "measure", error);
        return status_of_file_error(error);
    }
    *durable_write_is_faster = spent_ns[1] < spent_ns[0];
    return STATUS_OK;
}
