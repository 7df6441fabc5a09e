/* uring_loop.c - one reactor on one io_uring: timers, tasks, the mailbox for other threads, and the turn.
 *
 * A turn submits what has gathered, sleeps in the kernel until a completion, the next timer or a doorbell, takes the
 * whole batch of completions off the ring, and only then runs what follows from it: completions, timers, posted tasks,
 * deferred tasks. With DEFER_TASKRUN the kernel posts completions only while we wait, so every turn enters it once.
 *
 * The mailbox is a stack with one atomic head. A poster that finds it empty also rings the doorbell; the reactor takes
 * the whole stack at once and reverses it, so tasks of one poster run in the order of their posting. */
#include "base/uring_private.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TASKS_PER_TURN_MAX  4096u /* so that tasks that defer themselves can't starve I/O */
#define BOUNDED_WORKERS     4u
#define UNBOUNDED_WORKERS   8u
#define REGISTRATION_BYTES  GIB(1) /* the kernel's limit for one registered buffer */
#define CLOSE_PATIENCE_NS   (10 * NS_PER_S)
#define TIMERS_AT_START     1024u
#define COMPLETIONS_PER_RUN 256u

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- operations ---------------------------------------------------------------------------------- */

/* Whether the submission queue has room, after handing its entries to the kernel when it has not. The kernel may be
 * short of memory for the moment and take none. */
static bool submission_has_room(struct uring_loop *loop)
{
    if (io_uring_sq_space_left(&loop->ring) == 0) {
        (void)io_uring_submit(&loop->ring);
    }
    return io_uring_sq_space_left(&loop->ring) > 0;
}

static void op_submit(struct uring_loop *loop, struct uring_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    CHECK(sqe != NULL);
    op->prepare(op, sqe);
    sqe->user_data = (uint64_t)(uintptr_t)op;
    loop->in_flight++;
}

void uring_op_start(struct uring_loop *loop, struct uring_op *op)
{
    CHECK(!op->active);
    op->active = true;
    op->cancelled = false;
    if (list_is_empty(&loop->waiting) && loop->in_flight < loop->in_flight_max && submission_has_room(loop)) {
        op_submit(loop, op);
    } else {
        list_append(&loop->waiting, &op->link);
    }
}

void uring_op_cancel(struct uring_loop *loop, struct uring_op *op)
{
    if (!op->active) {
        return;
    }
    if (list_is_linked(&op->link)) {
        op->cancelled = true;
        return;
    }
    CHECK(submission_has_room(loop));
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    CHECK(sqe != NULL);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)op, 0);
    sqe->user_data = 0;
    loop->in_flight++;
}

/* Fill the ring from the list of those that found no room. */
static void submit_waiting(struct uring_loop *loop)
{
    while (loop->in_flight < loop->in_flight_max && submission_has_room(loop)) {
        struct list_link *link = list_take_first(&loop->waiting);
        if (link == NULL) {
            return;
        }
        struct uring_op *op = LIST_ENTRY(link, struct uring_op, link);
        if (op->cancelled) {
            op->active = false;
            op->complete(op, -ECANCELED, 0);
        } else {
            op_submit(loop, op);
        }
    }
}

/* ---- registered files and buffers ------------------------------------------------------------------ */

int uring_slot_take(struct uring_loop *loop, int descriptor)
{
    if (loop->free_slot_count == 0) {
        return NO_SLOT;
    }
    int slot = loop->free_slots[loop->free_slot_count - 1];
    if (io_uring_register_files_update(&loop->ring, (unsigned)slot, &descriptor, 1) != 1) {
        return NO_SLOT;
    }
    loop->free_slot_count--;
    return slot;
}

void uring_slot_give_back(struct uring_loop *loop, int slot)
{
    if (slot == NO_SLOT) {
        return;
    }
    int none = -1;
    if (io_uring_register_files_update(&loop->ring, (unsigned)slot, &none, 1) == 1) {
        loop->free_slots[loop->free_slot_count++] = slot;
    }
}

/* The kernel refuses a table that is longer than the limit of open files. */
static void file_table_open(struct uring_loop *loop)
{
    struct rlimit limit;
    unsigned slots = REGISTERED_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < slots) {
        slots = (unsigned)limit.rlim_cur;
    }
    if (slots == 0 || io_uring_register_files_sparse(&loop->ring, slots) != 0) {
        return; /* Plain descriptors work everywhere. */
    }
    for (unsigned i = 0; i < slots; i++) {
        loop->free_slots[i] = (int)(slots - 1 - i);
    }
    loop->free_slot_count = slots;
}

static int buffer_register(struct uring_loop *loop, uint8_t *start, size_t bytes)
{
    struct iovec range = {.iov_base = start, .iov_len = bytes};
    __u64 tag = 0;
    if (loop->buffer_count == REGISTERED_BUFFERS) {
        return -ENOSPC;
    }
    if (!loop->has_buffer_table) {
        int result = io_uring_register_buffers_sparse(&loop->ring, REGISTERED_BUFFERS);
        if (result != 0) {
            return result;
        }
        loop->has_buffer_table = true;
    }
    int result = io_uring_register_buffers_update_tag(&loop->ring, loop->buffer_count, &range, &tag, 1);
    if (result < 0) {
        return result;
    }
    loop->buffers[loop->buffer_count++] = (struct uring_buffer){.start = start, .bytes = bytes};
    return 0;
}

void uring_loop_register_arena(struct uring_loop *loop, uint8_t *start, size_t bytes)
{
    while (bytes > 0) {
        size_t part = bytes < REGISTRATION_BYTES ? bytes : (size_t)REGISTRATION_BYTES;
        int result = buffer_register(loop, start, part);
        if (result < 0) {
            log_event(LOG_INFO, "buffers_not_registered", "bytes=%zu reason=%s hint=raise_memlock_limit", bytes,
                      strerror(-result));
            return;
        }
        start += part;
        bytes -= part;
    }
}

int uring_buffer_find(const struct uring_loop *loop, const uint8_t *start, size_t bytes)
{
    for (unsigned i = 0; i < loop->buffer_count; i++) {
        const struct uring_buffer *buffer = &loop->buffers[i];
        if (start >= buffer->start && start < buffer->start + buffer->bytes &&
            bytes <= (size_t)(buffer->start + buffer->bytes - start)) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- the loop interface ------------------------------------------------------------------------------ */

static uint64_t loop_op_now_ns(struct loop *base)
{
    return uring_loop_of(base)->now_ns;
}

static uint64_t loop_op_wall_ms(struct loop *base)
{
    (void)base;
    return clock_ns(CLOCK_REALTIME) / NS_PER_MS;
}

static void loop_op_random(struct loop *base, void *buffer, size_t bytes)
{
    (void)base;
    uint8_t *at = buffer;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        CHECK(got > 0 || errno == EINTR); /* The kernel's generator does not fail once it is seeded. */
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        }
    }
}

static void loop_op_timer_start(struct loop *base, struct loop_timer *timer, uint64_t deadline_ns)
{
    struct uring_loop *loop = uring_loop_of(base);
    if (loop_timer_is_armed(timer)) {
        timer_heap_move(&loop->timers, timer, deadline_ns);
    } else {
        timer_heap_insert(&loop->timers, timer, deadline_ns);
    }
}

static void loop_op_timer_stop(struct loop *base, struct loop_timer *timer)
{
    if (loop_timer_is_armed(timer)) {
        timer_heap_remove(&uring_loop_of(base)->timers, timer);
    }
}

static void loop_op_defer(struct loop *base, struct loop_task *task)
{
    list_append(&uring_loop_of(base)->tasks, &task->link);
}

/* write(2) on an eventfd: async-signal-safe, and never blocks as nobody can add up to 2^64. */
static void doorbell_ring(const struct uring_loop *loop)
{
    uint64_t one = 1;
    ssize_t written;
    do {
        written = write(loop->doorbell, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
}

static void loop_op_post(struct loop *base, struct loop_task *task)
{
    struct uring_loop *loop = uring_loop_of(base);
    struct loop_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        task->post_next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&loop->posted, &head, task, memory_order_release, memory_order_relaxed));
    if (head == NULL) {
        doorbell_ring(loop);
    }
}

static const struct loop_ops uring_loop_ops = {
    .now_ns = loop_op_now_ns,
    .wall_ms = loop_op_wall_ms,
    .random = loop_op_random,
    .timer_start = loop_op_timer_start,
    .timer_stop = loop_op_timer_stop,
    .defer = loop_op_defer,
    .post = loop_op_post,
};

/* ---- the doorbell ------------------------------------------------------------------------------------ */

static void doorbell_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct uring_loop *loop = CONTAINER_OF(op, struct uring_loop, doorbell_op);
    io_uring_prep_read(sqe, loop->doorbell, &loop->doorbell_value, sizeof(loop->doorbell_value), 0);
}

static void doorbell_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct uring_loop *loop = CONTAINER_OF(op, struct uring_loop, doorbell_op);
    (void)result; /* Rung, interrupted or cancelled: the mailbox is looked at in every turn anyway. */
    if (!loop->closing) {
        uring_op_start(loop, op);
    }
}

/* ---- the turn ------------------------------------------------------------------------------------------ */

struct completion {
    struct uring_op *op;
    int result;
    unsigned flags;
};

static unsigned completions_take(struct uring_loop *loop, struct completion *completions, unsigned completions_max)
{
    unsigned head;
    unsigned taken = 0;
    unsigned count = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&loop->ring, head, cqe)
    {
        if (count == completions_max) {
            break;
        }
        taken++;
        struct uring_op *op = (struct uring_op *)(uintptr_t)cqe->user_data;
        if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
            CHECK(loop->in_flight > 0);
            loop->in_flight--;
        }
        if (op != NULL) {
            completions[count++] = (struct completion){.op = op, .result = cqe->res, .flags = cqe->flags};
        }
    }
    io_uring_cq_advance(&loop->ring, taken);
    return count;
}

/* An op has one completion, or several of which only the last lacks F_MORE; so no op of this batch can be gone before
 * its turn comes. */
static void completions_run(struct uring_loop *loop)
{
    struct completion completions[COMPLETIONS_PER_RUN];
    unsigned count;
    do {
        count = completions_take(loop, completions, COMPLETIONS_PER_RUN);
        for (unsigned i = 0; i < count; i++) {
            struct uring_op *op = completions[i].op;
            op->active = (completions[i].flags & IORING_CQE_F_MORE) != 0;
            op->complete(op, completions[i].result, completions[i].flags);
        }
    } while (count == COMPLETIONS_PER_RUN);
}

static void timers_run(struct uring_loop *loop)
{
    uint64_t now_ns = loop->now_ns;
    struct loop_timer *timer = timer_heap_first(&loop->timers);
    while (timer != NULL && timer->deadline_ns <= now_ns) {
        timer_heap_remove(&loop->timers, timer);
        timer->fire(timer);
        timer = timer_heap_first(&loop->timers);
    }
}

static void mailbox_take(struct uring_loop *loop)
{
    struct loop_task *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct loop_task *oldest = NULL;
    while (newest != NULL) {
        struct loop_task *next = newest->post_next;
        newest->post_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct loop_task *next = oldest->post_next;
        list_append(&loop->tasks, &oldest->link);
        oldest = next;
    }
}

static void tasks_run(struct uring_loop *loop)
{
    for (unsigned i = 0; i < TASKS_PER_TURN_MAX; i++) {
        struct list_link *link = list_take_first(&loop->tasks);
        if (link == NULL) {
            return;
        }
        struct loop_task *task = LIST_ENTRY(link, struct loop_task, link);
        task->run(task);
    }
}

static bool has_work_now(struct uring_loop *loop)
{
    return !list_is_empty(&loop->tasks) || atomic_load_explicit(&loop->posted, memory_order_relaxed) != NULL ||
           atomic_load_explicit(&loop->stopping, memory_order_relaxed) || io_uring_cq_ready(&loop->ring) > 0;
}

/* Submit, and wait for a completion until `deadline_ns` or the next timer. */
static void ring_enter(struct uring_loop *loop, uint64_t deadline_ns)
{
    const struct loop_timer *timer = timer_heap_first(&loop->timers);
    if (timer != NULL && timer->deadline_ns < deadline_ns) {
        deadline_ns = timer->deadline_ns;
    }
    int result;
    loop->now_ns = clock_ns(CLOCK_MONOTONIC);
    if (has_work_now(loop) || deadline_ns <= loop->now_ns) {
        result = io_uring_submit_and_get_events(&loop->ring);
    } else if (deadline_ns == UINT64_MAX) {
        result = io_uring_submit_and_wait(&loop->ring, 1);
    } else {
        uint64_t wait_ns = deadline_ns - loop->now_ns;
        struct __kernel_timespec timeout = {.tv_sec = (long long)(wait_ns / NS_PER_S),
                                            .tv_nsec = (long long)(wait_ns % NS_PER_S)};
        struct io_uring_cqe *unused;
        result = io_uring_submit_and_wait_timeout(&loop->ring, &unused, 1, &timeout, NULL);
    }
    /* ETIME is the timer; EINTR a signal; EAGAIN and EBUSY are the kernel's back-pressure, and the next turn tries
     * again. Anything else is a bug of ours. */
    CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY);
    loop->now_ns = clock_ns(CLOCK_MONOTONIC);
}

void uring_loop_turn(struct uring_loop *loop, uint64_t deadline_ns)
{
    submit_waiting(loop);
    ring_enter(loop, deadline_ns);
    completions_run(loop);
    timers_run(loop);
    mailbox_take(loop);
    tasks_run(loop);
}

void uring_loop_run(struct uring_loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        uring_loop_turn(loop, UINT64_MAX);
    }
    atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
}

void uring_loop_stop(struct uring_loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    doorbell_ring(loop);
}

/* ---- open and close ---------------------------------------------------------------------------------------- */

static const unsigned setup_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    0,
};

/* The memory of a ring counts against the memlock limit, which is small in many containers: smaller rings do too. */
static const unsigned ring_sizes[] = {SUBMISSION_ENTRIES, SUBMISSION_ENTRIES / 4, SUBMISSION_ENTRIES / 16};

static int ring_open_sized(struct io_uring *ring, unsigned entries)
{
    int result = -EINVAL;
    for (size_t i = 0; i < ARRAY_LENGTH(setup_flags) && result == -EINVAL; i++) {
        struct io_uring_params params = {.flags = setup_flags[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
                                         .cq_entries = entries * COMPLETIONS_PER_SUBMISSION};
        result = io_uring_queue_init_params(entries, ring, &params);
    }
    return result;
}

static int ring_open(struct io_uring *ring)
{
    const unsigned features = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    int result = -ENOMEM;
    for (size_t i = 0; i < ARRAY_LENGTH(ring_sizes) && result == -ENOMEM; i++) {
        result = ring_open_sized(ring, ring_sizes[i]);
    }
    if (result == 0 && (ring->features & features) != features) {
        io_uring_queue_exit(ring);
        return -ENOSYS;
    }
    return result;
}

/* What the kernel.io_uring_disabled sysctl says; -1: the kernel does not have it. */
static int sysctl_io_uring_disabled(void)
{
    int value = -1;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file != NULL) {
        if (fscanf(file, "%d", &value) != 1) {
            value = -1;
        }
        fclose(file);
    }
    return value;
}

static enum status explain_no_ring(int error, char *message, size_t message_bytes)
{
    int disabled = sysctl_io_uring_disabled();
    if (error == EPERM || error == EACCES || (error == ENOSYS && disabled >= 0)) {
        snprintf(message, message_bytes,
                 "io_uring is forbidden here (%s): set the sysctl kernel.io_uring_disabled to 0%s, and in a container "
                 "allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile",
                 strerror(error),
                 disabled > 0    ? " (it is not)"
                 : disabled == 0 ? " (it is)"
                                 : "");
        return STATUS_DENIED;
    }
    if (error == ENOSYS) {
        snprintf(message, message_bytes,
                 "this kernel has no io_uring, or one that is too old: Linux 5.11 is needed, 6.1 recommended; in a "
                 "container check its seccomp profile and the sysctl kernel.io_uring_disabled");
        return STATUS_UNSUPPORTED;
    }
    snprintf(message, message_bytes, "io_uring can't be opened: %s%s", strerror(error),
             error == ENOMEM ? "; raise the memlock limit (ulimit -l, LimitMEMLOCK=)" : "");
    return STATUS_IO;
}

enum status uring_loop_open(struct uring_loop **result, char *message, size_t message_bytes)
{
    struct uring_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        snprintf(message, message_bytes, "no memory for the event loop");
        return STATUS_IO;
    }
    int error = -ring_open(&loop->ring);
    if (error != 0) {
        free(loop);
        return explain_no_ring(error, message, message_bytes);
    }
    loop->in_flight_max = loop->ring.cq.ring_entries - loop->ring.sq.ring_entries;
    loop->doorbell = eventfd(0, EFD_CLOEXEC);
    if (loop->doorbell < 0) {
        snprintf(message, message_bytes, "no eventfd: %s", strerror(errno));
        io_uring_queue_exit(&loop->ring);
        free(loop);
        return STATUS_IO;
    }
    /* These make it faster or tamer; a kernel without them works too. */
    unsigned workers[2] = {BOUNDED_WORKERS, UNBOUNDED_WORKERS};
    (void)io_uring_register_iowq_max_workers(&loop->ring, workers);
    (void)io_uring_register_ring_fd(&loop->ring);
    file_table_open(loop);

    loop->loop.ops = &uring_loop_ops;
    loop->net.ops = &uring_net_ops;
    loop->now_ns = clock_ns(CLOCK_MONOTONIC);
    timer_heap_init(&loop->timers, TIMERS_AT_START);
    list_init(&loop->tasks);
    list_init(&loop->waiting);
    list_init(&loop->watches);
    loop->doorbell_op.prepare = doorbell_prepare;
    loop->doorbell_op.complete = doorbell_complete;
    uring_op_start(loop, &loop->doorbell_op);
    *result = loop;
    return STATUS_OK;
}

/* The kernel may write into buffers of operations until these have completed, so nothing is freed before that. */
static void loop_drain(struct uring_loop *loop)
{
    uring_watch_stop_all(loop);
    uint64_t deadline_ns = loop->now_ns + CLOSE_PATIENCE_NS;
    while (loop->in_flight > 1 || !list_is_empty(&loop->tasks) || !list_is_empty(&loop->waiting)) {
        if (loop->now_ns > deadline_ns) {
            log_event(LOG_ERROR, "loop_closed_with_io_in_flight", "operations=%u", loop->in_flight);
            return;
        }
        uring_loop_turn(loop, loop->now_ns + 100 * NS_PER_MS);
    }
    loop->closing = true;
    uring_op_cancel(loop, &loop->doorbell_op);
    while (loop->in_flight > 0 && loop->now_ns <= deadline_ns) {
        uring_loop_turn(loop, loop->now_ns + 100 * NS_PER_MS);
    }
}

void uring_loop_close(struct uring_loop *loop)
{
    loop_drain(loop);
    io_uring_queue_exit(&loop->ring);
    close(loop->doorbell);
    timer_heap_deinit(&loop->timers);
    free(loop);
}

struct loop *uring_loop_interface(struct uring_loop *loop)
{
    return &loop->loop;
}

struct net *uring_loop_net(struct uring_loop *loop)
{
    return &loop->net;
}
