/* sim_disk.c - a disk in memory: requests, handles and names, and what the end of a process leaves of them.
 *
 * What files hold is in sim_disk_image.c, how writes get there in sim_disk_write.c, and what goes wrong is decided in
 * sim_disk_faults.c. */
#include "tests/sim/sim_disk_private.h"

#include <stdlib.h>
#include <string.h>

#define GARBAGE_PERCENT    2
#define LATENCY_MIN_NS     (20 * NS_PER_US)
#define LATENCY_MAX_NS     (200 * NS_PER_US)
#define IDLE_LATENCY_TIMES 10

static struct sim_disk *sim_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct sim_disk, base);
}

/* ---- completing ------------------------------------------------------------------------------------ */

/* The owner must not touch a buffer in flight. */
static void buffer_check(const struct sim_request *request)
{
    for (size_t i = 0; i < request->block_count; i++) {
        CHECK(memcmp(sim_block_bytes(request->blocks[i]), request->io->buffer + i * BLOCK_BYTES, BLOCK_BYTES) == 0);
    }
}

static void read_apply(struct sim_request *request, uint32_t from, uint32_t to)
{
    const struct sim_file *file = request->handle->file;
    if (request->outcome != STATUS_OK) {
        return;
    }
    if (!sim_file_is_readable(file, request->offset + from, to - from)) {
        request->outcome = STATUS_IO;
        return;
    }
    sim_file_copy(file, SIM_DISK_CACHE, request->offset + from, request->io->buffer + from, to - from);
}

static void flush_apply(struct sim_disk *sim, const struct sim_request *request)
{
    struct sim_file *file = request->handle->file;
    if (request->outcome != STATUS_OK) {
        struct sim_tear tear = {.random = &sim->fault_random};
        sim_file_tear(file, request->flushes_up_to, &tear);
    } else if (request->lie == SIM_DISK_LOST_FLUSH) {
        bool at_stake = sim_file_promise_all(file, request->flushes_up_to);
        sim->fault_counts[SIM_DISK_LOST_FLUSH] += at_stake ? 1 : 0;
    } else {
        sim_file_flush(file, request->flushes_up_to);
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
    uint64_t bytes = request->bytes;
    uint64_t growth = bytes > file->bytes ? bytes - file->bytes : 0;
    if (request->outcome != STATUS_OK) {
        return;
    }
    if (growth > 0 && bytes_in_use(sim) + growth > sim->capacity_bytes) {
        request->outcome = STATUS_FULL;
        return;
    }
    sim_file_grow(file, bytes);
    request->handle->base.bytes = file->bytes;
}

/* Carry out what is next of a request: all of it, or one of its parts. */
static void request_apply(struct sim_disk *sim, struct sim_request *request)
{
    uint32_t from = request->bytes_done;
    uint32_t left = (request->bytes - from) / BLOCK_BYTES;
    uint32_t to =
        request->parts > 1 ? from + (left + request->parts - 1) / request->parts * BLOCK_BYTES : request->bytes;
    request->parts--;
    request->bytes_done = to;
    if (request->handle->file == NULL) {
        request->outcome = STATUS_IO;
        request->bytes_done = request->bytes;
        return;
    }
    switch (request->kind) {
    case DISK_READ:
        read_apply(request, from, to);
        return;
    case DISK_WRITE:
        buffer_check(request);
        sim_disk_write(sim, request, from, to);
        return;
    case DISK_FLUSH:
        flush_apply(sim, request);
        return;
    case DISK_ALLOCATE:
        allocate_apply(sim, request);
        request->bytes_done = request->bytes;
        return;
    }
    UNREACHABLE();
}

/* Errors count for what they were, whoever asked for them. */
static void outcome_count(struct sim_disk *sim, const struct sim_request *request)
{
    static const enum sim_disk_fault errors[] = {
        [DISK_READ] = SIM_DISK_READ_ERROR,
        [DISK_WRITE] = SIM_DISK_WRITE_ERROR,
        [DISK_FLUSH] = SIM_DISK_FLUSH_ERROR,
        [DISK_ALLOCATE] = SIM_DISK_FULL,
    };
    if (request->outcome != STATUS_OK && request->handle->file != NULL) {
        sim->fault_counts[errors[request->kind]]++;
    }
}

static uint64_t outcome_fact(const struct sim_disk *sim, const struct sim_request *request)
{
    uint64_t fact = sim->seed;
    uint64_t words[] = {(uint64_t)request->kind << 32 | (uint64_t)request->outcome, request->offset, request->bytes};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        fact ^= words[i];
        fact = sim_splitmix(&fact);
    }
    for (size_t i = 0; i < request->block_count; i++) { /* The content is one of the things that must be the same. */
        uint64_t word;
        memcpy(&word, sim_block_bytes(request->blocks[i]), sizeof(word));
        fact = fact * UINT64_C(0x100000001b3) ^ word;
    }
    return fact;
}

static void request_free(struct sim_disk *sim, struct sim_request *request)
{
    for (size_t i = 0; i < request->block_count; i++) {
        sim_block_release(&sim->blocks, request->blocks[i]);
    }
    list_remove(&request->link);
    free(request);
}

/* Touches the loop only when there is something to change: it may be gone when no I/O is in flight. */
static void timer_rearm(struct sim_disk *sim)
{
    struct list_link *first = list_first(&sim->requests);
    if (first != NULL) {
        loop_timer_start(sim->loop, &sim->timer, LIST_ENTRY(first, struct sim_request, link)->due_ns);
    } else if (loop_timer_is_armed(&sim->timer)) {
        loop_timer_stop(sim->loop, &sim->timer);
    }
}

void sim_disk_schedule(struct sim_disk *sim, struct sim_request *request)
{
    struct list_link *position = sim->requests.head.previous;
    while (position != &sim->requests.head &&
           LIST_ENTRY(position, struct sim_request, link)->due_ns > request->due_ns) {
        position = position->previous;
    }
    list_insert_before(position->next, &request->link);
    timer_rearm(sim);
}

/* One completion per event, so that a test can step through them. */
static void complete_first(struct loop_timer *timer)
{
    struct sim_disk *sim = CONTAINER_OF(timer, struct sim_disk, timer);
    struct sim_request *request = LIST_ENTRY(list_first(&sim->requests), struct sim_request, link);
    struct disk_io *io = request->io;

    list_remove(&request->link);
    request_apply(sim, request);
    if (request->outcome == STATUS_OK && request->bytes_done < io->bytes) {
        uint64_t latency_ns = sim_random_between(&sim->fault_random, LATENCY_MIN_NS, LATENCY_MAX_NS);
        request->due_ns = loop_now_ns(sim->loop) + latency_ns;
        sim_disk_schedule(sim, request);
        return;
    }
    outcome_count(sim, request);
    sim_loop_note(sim->world, outcome_fact(sim, request));
    io->status = request->outcome;
    io->bytes_done = request->outcome == STATUS_OK ? io->bytes : 0;
    if (io->kind == DISK_WRITE && request->outcome == STATUS_OK) {
        sim_disk_age(sim);
    }
    request_free(sim, request);
    timer_rearm(sim);
    io->done(io);
}

/* ---- starting -------------------------------------------------------------------------------------- */

static struct sim_request *request_new(struct sim_disk *sim, struct sim_handle *handle, struct disk_io *io)
{
    size_t count = io->kind == DISK_WRITE ? io->bytes / BLOCK_BYTES : 0;
    struct sim_request *request = calloc(1, sizeof(*request) + count * sizeof(request->blocks[0]));
    CHECK(request != NULL);
    request->io = io;
    request->handle = handle;
    request->kind = io->kind;
    request->flags = io->flags;
    request->offset = io->offset;
    request->bytes = io->bytes;
    request->flushes_up_to = sim->sequence;
    request->block_count = count;
    for (size_t i = 0; i < count; i++) {
        request->blocks[i] = sim_block_of(&sim->blocks, io->buffer + i * BLOCK_BYTES);
    }
    return request;
}

static void sim_submit(struct disk_file *base, struct disk_io *io)
{
    struct sim_handle *handle = CONTAINER_OF(base, struct sim_handle, base);
    struct sim_disk *sim = sim_of(base->disk);
    CHECK(io->kind == DISK_ALLOCATE || io->offset + io->bytes <= base->bytes);

    struct sim_request *request = request_new(sim, handle, io);
    sim->io_counts[io->kind]++;
    sim_disk_decide(sim, request);
    uint64_t latency_ns = sim_random_between(&sim->latency_random, LATENCY_MIN_NS, LATENCY_MAX_NS);
    if ((io->flags & DISK_IDLE) != 0) {
        latency_ns *= IDLE_LATENCY_TIMES;
    }
    request->due_ns = loop_now_ns(sim->loop) + sim_disk_delay_ns(sim, latency_ns);
    if (request->is_stuck) {
        list_append(&sim->stuck, &request->link);
        return;
    }
    sim_disk_schedule(sim, request);
}

/* ---- files ----------------------------------------------------------------------------------------- */

static struct sim_file *file_create(struct sim_disk *sim, const char *name)
{
    struct sim_file *file = sim_file_new(&sim->blocks, name);
    struct list_link *position = sim->files.head.next;
    while (position != &sim->files.head && strcmp(LIST_ENTRY(position, struct sim_file, link)->name, name) < 0) {
        position = position->next;
    }
    list_insert_before(position, &file->link);
    return file;
}

static enum status sim_file_open(struct disk *disk, const char *name, bool create, struct disk_file **file)
{
    struct sim_disk *sim = sim_of(disk);
    CHECK(strlen(name) < DISK_NAME_BYTES && strchr(name, '/') == NULL);

    struct sim_file *found = sim_disk_file_find(sim, name);
    if (found == NULL && !create) {
        return STATUS_NOT_FOUND;
    }
    if (found == NULL && sim_disk_draw(sim, SIM_DISK_FULL)) {
        sim->fault_counts[SIM_DISK_FULL]++;
        return STATUS_FULL;
    }
    if (found == NULL) {
        found = file_create(sim, name);
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

/* The handle names no file any more. */
static void handle_lose(struct sim_handle *handle)
{
    struct sim_file *file = handle->file;
    handle->file = NULL;
    if (file != NULL && --file->handles == 0 && file->removed) {
        sim_file_free(file);
    }
}

static void sim_file_close(struct disk_file *base)
{
    struct sim_handle *handle = CONTAINER_OF(base, struct sim_handle, base);
    const struct list *lists[] = {&sim_of(base->disk)->requests, &sim_of(base->disk)->stuck};
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        LIST_EACH (lists[i], link) {
            CHECK(LIST_ENTRY(link, struct sim_request, link)->handle != handle);
        }
    }
    handle_lose(handle);
    list_remove(&handle->link);
    free(handle);
}

static enum status sim_file_remove(struct disk *disk, const char *name)
{
    struct sim_file *file = sim_disk_file_find(sim_of(disk), name);
    if (file == NULL) {
        return STATUS_NOT_FOUND;
    }
    list_remove(&file->link);
    file->removed = true;
    if (file->handles == 0) {
        sim_file_free(file);
    }
    return STATUS_OK;
}

static enum status sim_list_files(struct disk *disk, void (*each)(void *user, const char *name, uint64_t bytes),
                                  void *user)
{
    sim_disk_each_file(sim_of(disk), each, user);
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

/* ---- the ends of a process ------------------------------------------------------------------------- */

/* Take the I/O in flight one by one: what is due first, then what is stuck. NULL: there is none. */
static struct sim_request *request_take(struct sim_disk *sim)
{
    struct list_link *link = list_take_first(&sim->requests);
    link = link != NULL ? link : list_take_first(&sim->stuck);
    return link != NULL ? LIST_ENTRY(link, struct sim_request, link) : NULL;
}

static void handles_lose(struct sim_disk *sim)
{
    LIST_EACH (&sim->handles, link) {
        handle_lose(LIST_ENTRY(link, struct sim_handle, link));
    }
}

/* Power fails under a request. */
static void request_tear(struct sim_disk *sim, const struct sim_request *request, struct sim_tear *tear)
{
    struct sim_file *file = request->handle->file;
    if (file == NULL) {
        return;
    }
    if (request->kind == DISK_ALLOCATE && sim_random_percent(&sim->crash_random, 50)) {
        sim_file_grow(file, request->bytes);
    }
    if (request->kind == DISK_WRITE) {
        struct sim_arrival left = sim_disk_arrival_of(request, request->bytes_done, request->bytes);
        sim_file_tear_write(file, left.first, left.blocks, left.count, tear);
    }
}

void sim_disk_crash(struct sim_disk *sim)
{
    struct sim_tear tear = {.random = &sim->crash_random, .garbage_percent = GARBAGE_PERCENT};
    LIST_EACH (&sim->files, link) {
        sim_file_tear(LIST_ENTRY(link, struct sim_file, link), UINT64_MAX, &tear);
    }
    for (struct sim_request *request; (request = request_take(sim)) != NULL;) {
        request_tear(sim, request, &tear);
        request_free(sim, request);
    }
    sim->fault_counts[SIM_DISK_TORN] += tear.torn;
    sim->fault_counts[SIM_DISK_GARBAGE] += tear.garbage;
    handles_lose(sim);
    sim->fail_countdown = 0;
    timer_rearm(sim);
}

/* The machine may have got all of a write, nothing, or some of its blocks. Nobody was told that it did. */
static void write_leave(struct sim_disk *sim, const struct sim_request *request)
{
    struct sim_arrival left = sim_disk_arrival_of(request, request->bytes_done, request->bytes);
    left.is_durable = false;
    switch (sim_random_below(&sim->crash_random, 3)) {
    case 0:
        return;
    case 1:
        sim_disk_arrive(sim, &left);
        return;
    default:
        for (size_t i = 0; i < request->block_count - request->bytes_done / BLOCK_BYTES; i++) {
            struct sim_arrival one = left;
            one.first += i;
            one.blocks += i;
            one.count = 1;
            if (sim_random_percent(&sim->crash_random, 50)) {
                sim_disk_arrive(sim, &one);
            }
        }
    }
}

static void request_leave(struct sim_disk *sim, struct sim_request *request)
{
    if (request->handle->file == NULL) {
        return;
    }
    if (request->kind == DISK_WRITE) {
        write_leave(sim, request);
    } else if (sim_random_percent(&sim->crash_random, 50)) {
        if (request->kind == DISK_FLUSH && request->lie == SIM_DISK_NO_LIE) {
            flush_apply(sim, request);
        } else if (request->kind == DISK_ALLOCATE) {
            allocate_apply(sim, request);
        }
    }
}

void sim_disk_kill(struct sim_disk *sim)
{
    for (struct sim_request *request; (request = request_take(sim)) != NULL;) {
        request_leave(sim, request);
        request_free(sim, request);
    }
    handles_lose(sim);
    timer_rearm(sim);
}

void sim_disk_attach(struct sim_disk *sim, struct sim_loop *loop)
{
    CHECK(list_is_empty(&sim->requests) && list_is_empty(&sim->stuck));
    CHECK(!loop_timer_is_armed(&sim->timer));
    sim->world = loop;
    sim->loop = sim_loop_interface(loop);
    sim->timer = (struct loop_timer){.fire = complete_first};
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* A generator for one purpose. */
static struct sim_random random_fork(uint64_t seed, uint64_t purpose)
{
    uint64_t mixed = seed ^ (purpose << 56 | purpose);
    return sim_random_of(sim_splitmix(&mixed));
}

struct sim_disk *sim_disk_open(struct sim_loop *loop, uint64_t seed)
{
    struct sim_disk *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->base.ops = &sim_disk_ops;
    sim->seed = seed;
    sim->latency_random = sim_random_of(seed);
    sim->fault_random = random_fork(seed, 1);
    sim->crash_random = random_fork(seed, 2);
    sim->capacity_bytes = SIM_DISK_CAPACITY_BYTES;
    sim->fail_kinds = ~0u;
    sim->slow_factor = 1;
    list_init(&sim->files);
    list_init(&sim->handles);
    list_init(&sim->requests);
    list_init(&sim->stuck);
    sim_disk_attach(sim, loop);
    return sim;
}

void sim_disk_close(struct sim_disk *sim)
{
    for (struct sim_request *request; (request = request_take(sim)) != NULL;) {
        request_free(sim, request);
    }
    timer_rearm(sim);
    LIST_EACH (&sim->handles, link) {
        sim_file_close(&LIST_ENTRY(link, struct sim_handle, link)->base);
    }
    LIST_EACH (&sim->files, link) {
        sim_file_free(LIST_ENTRY(link, struct sim_file, link));
    }
    sim_blocks_deinit(&sim->blocks);
    free(sim);
}

struct disk *sim_disk_interface(struct sim_disk *sim)
{
    return &sim->base;
}
