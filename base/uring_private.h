/* uring_private.h - what the uring_*.c files know of each other. Nobody else includes this.
 *
 * An operation is a struct uring_op embedded in its owner: `prepare` fills the queue entry when there is room for it,
 * `complete` runs with the outcome. The address of the op is the entry's user_data, so the completion finds its owner
 * without a table; user_data 0 belongs to cancel requests, whose outcome nobody asks for.
 *
 * Life       An op is active from uring_op_start() until its last completion, and its owner must live that long.
 * Callbacks  `complete` runs only when the whole batch of completions has been taken off the ring, and never inside
 *            uring_op_start(). It may start the same op again.
 * Bound      At most `in_flight_max` ops are in the kernel, below the size of the completion queue; the others wait in
 *            a list, first come, first served. */
#ifndef TRILITH_BASE_URING_PRIVATE_H
#define TRILITH_BASE_URING_PRIVATE_H

#include "base/timer_heap.h"
#include "base/uring.h"

#include <liburing.h>
#include <stdatomic.h>

#define SUBMISSION_ENTRIES         512u
#define COMPLETIONS_PER_SUBMISSION 8u
#define REGISTERED_FILES           4096u
#define REGISTERED_BUFFERS         16u
#define NO_SLOT                    (-1)

struct uring_op {
    void (*prepare)(struct uring_op *op, struct io_uring_sqe *sqe);
    void (*complete)(struct uring_op *op, int result, unsigned cqe_flags);
    struct list_link link; /* in uring_loop.waiting while there is no room in the ring */
    bool active;
    bool cancelled; /* while it waited: completes with -ECANCELED instead of being submitted */
};

/* One range of memory that the kernel keeps pinned. */
struct uring_buffer {
    uint8_t *start;
    size_t bytes;
};

struct uring_loop {
    struct loop loop;
    struct net net;
    struct io_uring ring;
    uint64_t now_ns;
    struct timer_heap timers;
    struct list tasks;
    struct list waiting; /* ops that found no room */
    struct list watches;
    unsigned in_flight;
    unsigned in_flight_max;
    bool closing; /* the doorbell is not armed again */

    struct uring_buffer buffers[REGISTERED_BUFFERS];
    unsigned buffer_count;
    bool has_buffer_table;
    int free_slots[REGISTERED_FILES]; /* a stack */
    unsigned free_slot_count;

    /* The mailbox: the only part that other threads touch. */
    _Atomic(struct loop_task *) posted;
    atomic_bool stopping;
    int doorbell; /* an eventfd */
    uint64_t doorbell_value;
    struct uring_op doorbell_op;
};

static inline struct uring_loop *uring_loop_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct uring_loop, loop);
}

void uring_op_start(struct uring_loop *loop, struct uring_op *op);

/* Ask for an active op to end soon. It still completes, with -ECANCELED or with what it did; harmless when idle. */
void uring_op_cancel(struct uring_loop *loop, struct uring_op *op);

/* A slot of the registered file table for `descriptor`, or NO_SLOT when there is none to be had. */
int uring_slot_take(struct uring_loop *loop, int descriptor);
void uring_slot_give_back(struct uring_loop *loop, int slot);

/* Let a prepared entry name its file by slot. */
static inline void uring_sqe_use_slot(struct io_uring_sqe *sqe, int slot)
{
    if (slot != NO_SLOT) {
        sqe->fd = slot;
        sqe->flags |= IOSQE_FIXED_FILE;
    }
}

/* The registered buffer that holds all of these bytes, or -1. */
int uring_buffer_find(const struct uring_loop *loop, const uint8_t *start, size_t bytes);

/* Stop what is left of the watches when the loop closes; in uring_watch.c. */
void uring_watch_stop_all(struct uring_loop *loop);

/* The operations of struct net, in uring_net.c. */
extern const struct net_ops uring_net_ops;

/* Whether a directory is on a file system where an overwrite reaches the old bytes; in uring_disk_place.c. Writes one
 * line for people into `message` when not. */
MUST_USE enum status uring_disk_place_check(int directory_descriptor, const char *directory, bool allow_volatile,
                                            char *message, size_t message_bytes);

#endif
