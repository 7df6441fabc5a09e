/* sim_disk.c - files as two images and a map of the sectors in which they differ.
 *
 * Invariant  A sector whose `dirty` entry is 0 is the same in both images. Otherwise the entry is the sequence number
 *            of the write that last completed there, so a flush that started at sequence number s covers exactly the
 *            sectors with an entry of 1..s. */
#include "tests/sim/sim_disk.h"

#include "tests/sim/sim_random.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR             SIM_DISK_SECTOR_BYTES
#define GARBAGE_PERCENT    2
#define CAPACITY_AT_START  GIB(16)
#define LATENCY_MIN_NS     (20 * NS_PER_US)
#define LATENCY_MAX_NS     (200 * NS_PER_US)
#define IDLE_LATENCY_TIMES 10
#define IO_KINDS           4

struct sim_file {
    struct list_link link; /* in sim_disk.files while it has a name */
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    uint8_t *seen;    /* what reads return */
    uint8_t *durable; /* what survives a crash */
    uint64_t *dirty;  /* per sector */
    unsigned handles;
    bool removed;
};

struct sim_handle {
    struct disk_file base;
    struct sim_file *file;
    struct list_link link; /* in sim_disk.handles */
    bool lost;             /* opened before a crash */
};

/* One I/O in flight. */
struct sim_request {
    struct list_link link; /* in sim_disk.requests, by due time and then by order */
    struct disk_io *io;
    struct sim_handle *handle;
    uint64_t due_ns;
    enum status outcome;
    uint8_t *data;          /* write: a copy of the buffer as it was handed over */
    uint64_t flushes_up_to; /* flush: the sequence number it covers */
};

struct sim_disk {
    struct disk base;
    struct loop *loop;
    struct sim_random random;
    struct loop_timer timer;
    struct list files;
    struct list handles;
    struct list requests;
    uint64_t sequence; /* of the last completed write */
    uint64_t capacity_bytes;
    uint64_t fail_countdown; /* 0: nothing fails */
    enum status fail_status;
    unsigned fail_kinds;
    uint64_t io_counts[IO_KINDS];
};

static struct sim_disk *sim_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct sim_disk, base);
}

static struct sim_file *file_find(struct sim_disk *sim, const char *name)
{
    LIST_EACH (&sim->files, link) {
        struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        if (strcmp(file->name, name) == 0) {
            return file;
        }
    }
    return NULL;
}

static void file_free(struct sim_file *file)
{
    list_remove(&file->link);
    free(file->seen);
    free(file->durable);
    free(file->dirty);
    free(file);
}

static void file_grow(struct sim_file *file, uint64_t bytes)
{
    if (bytes <= file->bytes) {
        return;
    }
    /* calloc() instead of realloc(): large untouched zeros then cost no memory. */
    uint8_t *seen = calloc(1, bytes);
    uint8_t *durable = calloc(1, bytes);
    uint64_t *dirty = calloc(bytes / SECTOR, sizeof(*dirty));
    CHECK(seen != NULL && durable != NULL && dirty != NULL);
    if (file->bytes > 0) {
        memcpy(seen, file->seen, file->bytes);
        memcpy(durable, file->durable, file->bytes);
        memcpy(dirty, file->dirty, file->bytes / SECTOR * sizeof(*dirty));
    }
    free(file->seen);
    free(file->durable);
    free(file->dirty);
    file->seen = seen;
    file->durable = durable;
    file->dirty = dirty;
    file->bytes = bytes;
}

static void sector_settle(struct sim_file *file, uint64_t sector)
{
    memcpy(file->durable + sector * SECTOR, file->seen + sector * SECTOR, SECTOR);
    file->dirty[sector] = 0;
}

/* ---- completing ---------------------------------------------------------------------------------- */

/* Whether a flush in flight covers this sector as it is now. */
static bool sector_is_being_flushed(const struct sim_disk *sim, const struct sim_file *file, uint64_t sector)
{
    if (file->dirty[sector] == 0) {
        return false;
    }
    LIST_EACH (&sim->requests, link) {
        const struct sim_request *request = LIST_ENTRY(link, struct sim_request, link);
        if (request->io->kind == DISK_FLUSH && request->handle->file == file &&
            request->flushes_up_to >= file->dirty[sector]) {
            return true;
        }
    }
    return false;
}

static void write_apply(struct sim_disk *sim, const struct sim_request *request)
{
    struct sim_file *file = request->handle->file;
    const struct disk_io *io = request->io;
    CHECK(memcmp(request->data, io->buffer, io->bytes) == 0); /* The owner must not touch a buffer in flight. */

    sim->sequence++;
    for (uint32_t done = 0; done < io->bytes; done += SECTOR) {
        uint64_t sector = (io->offset + done) / SECTOR;
        if (request->outcome != STATUS_OK && sim_random_percent(&sim->random, 50)) {
            continue;
        }
        if (sector_is_being_flushed(sim, file, sector)) {
            /* That flush promises the content of its start, which is about to be overwritten. */
            sector_settle(file, sector);
        }
        memcpy(file->seen + sector * SECTOR, request->data + done, SECTOR);
        file->dirty[sector] = sim->sequence;
        if (request->outcome == STATUS_OK && (io->flags & DISK_DURABLE) != 0) {
            sector_settle(file, sector);
        }
    }
}

static void flush_apply(struct sim_disk *sim, const struct sim_request *request)
{
    struct sim_file *file = request->handle->file;
    for (uint64_t sector = 0; sector < file->bytes / SECTOR; sector++) {
        if (file->dirty[sector] == 0 || file->dirty[sector] > request->flushes_up_to) {
            continue;
        }
        if (request->outcome == STATUS_OK || sim_random_percent(&sim->random, 50)) {
            sector_settle(file, sector);
        }
    }
}

static uint64_t bytes_in_use(const struct sim_disk *sim)
{
    uint64_t sum = 0;
    LIST_EACH (&sim->files, link) {
        sum += LIST_ENTRY(link, struct sim_file, link)->bytes;
    }
    return sum;
}

static void allocate_apply(struct sim_disk *sim, struct sim_request *request)
{
    struct sim_file *file = request->handle->file;
    uint64_t bytes = request->io->bytes;
    uint64_t growth = bytes > file->bytes ? bytes - file->bytes : 0;
    if (request->outcome != STATUS_OK) {
        return;
    }
    if (growth > 0 && bytes_in_use(sim) + growth > sim->capacity_bytes) {
        request->outcome = STATUS_FULL;
        return;
    }
    file_grow(file, bytes);
    request->handle->base.bytes = file->bytes;
}

static void request_apply(struct sim_disk *sim, struct sim_request *request)
{
    if (request->handle->lost) {
        request->outcome = STATUS_IO;
        return;
    }
    switch (request->io->kind) {
    case DISK_READ:
        if (request->outcome == STATUS_OK) {
            memcpy(request->io->buffer, request->handle->file->seen + request->io->offset, request->io->bytes);
        }
        return;
    case DISK_WRITE:
        write_apply(sim, request);
        return;
    case DISK_FLUSH:
        flush_apply(sim, request);
        return;
    case DISK_ALLOCATE:
        allocate_apply(sim, request);
        return;
    }
    UNREACHABLE();
}

static void request_free(struct sim_request *request)
{
    list_remove(&request->link);
    free(request->data);
    free(request);
}

static void timer_rearm(struct sim_disk *sim)
{
    struct list_link *first = list_first(&sim->requests);
    if (first == NULL) {
        loop_timer_stop(sim->loop, &sim->timer);
    } else {
        loop_timer_start(sim->loop, &sim->timer, LIST_ENTRY(first, struct sim_request, link)->due_ns);
    }
}

/* One completion per event, so that a test can step through them. */
static void complete_first(struct loop_timer *timer)
{
    struct sim_disk *sim = CONTAINER_OF(timer, struct sim_disk, timer);
    struct sim_request *request = LIST_ENTRY(list_first(&sim->requests), struct sim_request, link);
    struct disk_io *io = request->io;

    list_remove(&request->link);
    request_apply(sim, request);
    io->status = request->outcome;
    io->bytes_done = request->outcome == STATUS_OK ? io->bytes : 0;
    request_free(request);
    timer_rearm(sim);
    io->done(io);
}

/* ---- starting ------------------------------------------------------------------------------------ */

static enum status next_outcome(struct sim_disk *sim, enum disk_io_kind kind)
{
    if (sim->fail_countdown == 0 || (sim->fail_kinds & (1u << kind)) == 0) {
        return STATUS_OK;
    }
    if (sim->fail_countdown > 1) {
        sim->fail_countdown--;
        return STATUS_OK;
    }
    return sim->fail_status;
}

static void sim_submit(struct disk_file *base, struct disk_io *io)
{
    struct sim_handle *handle = CONTAINER_OF(base, struct sim_handle, base);
    struct sim_disk *sim = sim_of(base->disk);
    CHECK(io->kind == DISK_ALLOCATE || io->offset + io->bytes <= base->bytes);

    struct sim_request *request = calloc(1, sizeof(*request));
    CHECK(request != NULL);
    request->io = io;
    request->handle = handle;
    request->outcome = next_outcome(sim, io->kind);
    request->flushes_up_to = sim->sequence;
    sim->io_counts[io->kind]++;
    if (io->kind == DISK_WRITE) {
        request->data = malloc(io->bytes > 0 ? io->bytes : 1);
        CHECK(request->data != NULL);
        memcpy(request->data, io->buffer, io->bytes);
    }
    uint64_t latency_ns = sim_random_between(&sim->random, LATENCY_MIN_NS, LATENCY_MAX_NS);
    if ((io->flags & DISK_IDLE) != 0) {
        latency_ns *= IDLE_LATENCY_TIMES;
    }
    request->due_ns = loop_now_ns(sim->loop) + latency_ns;

    struct list_link *position = sim->requests.head.previous;
    while (position != &sim->requests.head &&
           LIST_ENTRY(position, struct sim_request, link)->due_ns > request->due_ns) {
        position = position->previous;
    }
    list_insert_before(position->next, &request->link);
    timer_rearm(sim);
}

/* ---- files --------------------------------------------------------------------------------------- */

static enum status sim_file_open(struct disk *disk, const char *name, bool create, struct disk_file **file)
{
    struct sim_disk *sim = sim_of(disk);
    CHECK(strlen(name) < DISK_NAME_BYTES && strchr(name, '/') == NULL);

    struct sim_file *found = file_find(sim, name);
    if (found == NULL && !create) {
        return STATUS_NOT_FOUND;
    }
    if (found == NULL) {
        found = calloc(1, sizeof(*found));
        CHECK(found != NULL);
        memcpy(found->name, name, strlen(name) + 1);
        list_append(&sim->files, &found->link);
    }
    struct sim_handle *handle = calloc(1, sizeof(*handle));
    CHECK(handle != NULL);
    handle->base.disk = disk;
    memcpy(handle->base.name, name, strlen(name) + 1);
    handle->base.bytes = found->bytes;
    handle->file = found;
    found->handles++;
    list_append(&sim->handles, &handle->link);
    *file = &handle->base;
    return STATUS_OK;
}

static void sim_file_close(struct disk_file *base)
{
    struct sim_handle *handle = CONTAINER_OF(base, struct sim_handle, base);
    struct sim_file *file = handle->file;
    LIST_EACH (&sim_of(base->disk)->requests, link) {
        CHECK(LIST_ENTRY(link, struct sim_request, link)->handle != handle);
    }
    list_remove(&handle->link);
    free(handle);
    file->handles--;
    if (file->removed && file->handles == 0) {
        file_free(file);
    }
}

static enum status sim_file_remove(struct disk *disk, const char *name)
{
    struct sim_file *file = file_find(sim_of(disk), name);
    if (file == NULL) {
        return STATUS_NOT_FOUND;
    }
    list_remove(&file->link);
    file->removed = true;
    if (file->handles == 0) {
        file_free(file);
    }
    return STATUS_OK;
}

static enum status sim_list_files(struct disk *disk, void (*each)(void *user, const char *name, uint64_t bytes),
                                  void *user)
{
    LIST_EACH (&sim_of(disk)->files, link) {
        const struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        each(user, file->name, file->bytes);
    }
    return STATUS_OK;
}

static enum status sim_space(struct disk *disk, uint64_t *free_bytes)
{
    struct sim_disk *sim = sim_of(disk);
    uint64_t in_use = bytes_in_use(sim);
    *free_bytes = in_use < sim->capacity_bytes ? sim->capacity_bytes - in_use : 0;
    return STATUS_OK;
}

static const struct disk_ops sim_disk_ops = {
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_remove = sim_file_remove,
    .list_files = sim_list_files,
    .space = sim_space,
    .submit = sim_submit,
};

/* ---- the crash ----------------------------------------------------------------------------------- */

/* Power fails while `content` is on its way to a sector: it stays old, becomes new, or neither. */
static void sector_tear(struct sim_disk *sim, uint8_t *durable, const uint8_t *content)
{
    if (sim_random_percent(&sim->random, GARBAGE_PERCENT)) {
        sim_random_bytes(&sim->random, durable, SECTOR);
    } else if (sim_random_percent(&sim->random, 50)) {
        memcpy(durable, content, SECTOR);
    }
}

static void file_tear(struct sim_disk *sim, struct sim_file *file)
{
    for (uint64_t sector = 0; sector < file->bytes / SECTOR; sector++) {
        if (file->dirty[sector] != 0) {
            sector_tear(sim, file->durable + sector * SECTOR, file->seen + sector * SECTOR);
        }
    }
}

static void request_tear(struct sim_disk *sim, const struct sim_request *request)
{
    const struct disk_io *io = request->io;
    struct sim_file *file = request->handle->file;
    if (request->handle->lost) {
        return;
    }
    if (io->kind == DISK_ALLOCATE && sim_random_percent(&sim->random, 50)) {
        file_grow(file, io->bytes);
    }
    if (io->kind == DISK_WRITE) {
        for (uint32_t done = 0; done < io->bytes; done += SECTOR) {
            sector_tear(sim, file->durable + io->offset + done, request->data + done);
        }
    }
}

void sim_disk_crash(struct sim_disk *sim)
{
    LIST_EACH (&sim->files, link) {
        file_tear(sim, LIST_ENTRY(link, struct sim_file, link));
    }
    LIST_EACH (&sim->requests, link) {
        struct sim_request *request = LIST_ENTRY(link, struct sim_request, link);
        request_tear(sim, request);
        request_free(request);
    }
    LIST_EACH (&sim->files, link) {
        struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        for (uint64_t sector = 0; sector < file->bytes / SECTOR; sector++) {
            if (memcmp(file->seen + sector * SECTOR, file->durable + sector * SECTOR, SECTOR) != 0) {
                memcpy(file->seen + sector * SECTOR, file->durable + sector * SECTOR, SECTOR);
            }
            file->dirty[sector] = 0;
        }
    }
    LIST_EACH (&sim->handles, link) {
        LIST_ENTRY(link, struct sim_handle, link)->lost = true;
    }
    sim->fail_countdown = 0;
    timer_rearm(sim);
}

/* ---- the test's side ------------------------------------------------------------------------------ */

struct sim_disk *sim_disk_open(struct sim_loop *loop, uint64_t seed)
{
    struct sim_disk *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->base.ops = &sim_disk_ops;
    sim->loop = sim_loop_interface(loop);
    sim->random = sim_random_of(seed);
    sim->timer.fire = complete_first;
    sim->capacity_bytes = CAPACITY_AT_START;
    sim->fail_kinds = ~0u;
    list_init(&sim->files);
    list_init(&sim->handles);
    list_init(&sim->requests);
    return sim;
}

void sim_disk_close(struct sim_disk *sim)
{
    LIST_EACH (&sim->requests, link) {
        request_free(LIST_ENTRY(link, struct sim_request, link));
    }
    timer_rearm(sim);
    LIST_EACH (&sim->handles, link) {
        sim_file_close(&LIST_ENTRY(link, struct sim_handle, link)->base);
    }
    LIST_EACH (&sim->files, link) {
        file_free(LIST_ENTRY(link, struct sim_file, link));
    }
    free(sim);
}

struct disk *sim_disk_interface(struct sim_disk *sim)
{
    return &sim->base;
}

void sim_disk_fail_after(struct sim_disk *sim, uint64_t ios, enum status status)
{
    CHECK(ios == 0 || status != STATUS_OK);
    sim->fail_countdown = ios;
    sim->fail_status = status;
}

void sim_disk_fail_kinds(struct sim_disk *sim, unsigned kinds)
{
    sim->fail_kinds = kinds;
}

void sim_disk_limit_bytes(struct sim_disk *sim, uint64_t bytes)
{
    sim->capacity_bytes = bytes;
}

const uint8_t *sim_disk_bytes(struct sim_disk *sim, const char *name, uint64_t *bytes)
{
    const struct sim_file *file = file_find(sim, name);
    if (file == NULL) {
        return NULL;
    }
    *bytes = file->bytes;
    return file->durable != NULL ? file->durable : (const uint8_t *)"";
}

void sim_disk_corrupt(struct sim_disk *sim, const char *name, uint64_t offset, uint8_t xor_byte)
{
    struct sim_file *file = file_find(sim, name);
    CHECK(file != NULL && offset < file->bytes);
    file->seen[offset] ^= xor_byte;
    file->durable[offset] ^= xor_byte;
}

uint64_t sim_disk_io_count(const struct sim_disk *sim, enum disk_io_kind kind)
{
    return sim->io_counts[kind];
}
