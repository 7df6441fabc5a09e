/* uring_watch.c - polls of descriptors that belong to libraries with a loop of their own.
 *
 * The watch is its owner's; what the kernel refers to is a state of ours beside it. So a watch that was stopped can go
 * away at once, while its state lives until the kernel has let go of it. */
#include "base/uring_private.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* One poll of a foreign descriptor, armed anew after each `ready`: that is what makes it level-triggered. */
struct watch_state {
    struct uring_op op;
    struct uring_loop *loop;
    struct uring_watch *watch; /* NULL once it was stopped */
    struct list_link link;     /* in uring_loop.watches */
    int descriptor;
};

static void watch_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_poll_add(sqe, CONTAINER_OF(op, struct watch_state, op)->descriptor, POLLIN);
}

static void watch_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct watch_state *state = CONTAINER_OF(op, struct watch_state, op);
    if (state->watch != NULL) {
        state->watch->armed = false;
        if (result >= 0) {
            state->watch->ready(state->watch);
        } else if (result == -EBADF) {
            log_event(LOG_ERROR, "watch_lost", "descriptor=%d", state->descriptor);
            state->watch->active = false;
            state->watch = NULL;
        }
    }
    if (state->watch != NULL) { /* `ready` may have stopped it. */
        state->watch->armed = true;
        uring_op_start(state->loop, op);
        return;
    }
    list_remove(&state->link);
    free(state);
}

void uring_watch_start(struct uring_loop *loop, struct uring_watch *watch)
{
    CHECK(watch->ready != NULL && !watch->active);
    struct watch_state *state = calloc(1, sizeof(*state));
    CHECK(state != NULL);
    state->op.prepare = watch_prepare;
    state->op.complete = watch_complete;
    state->loop = loop;
    state->watch = watch;
    state->descriptor = watch->descriptor;
    list_append(&loop->watches, &state->link);
    watch->active = true;
    watch->armed = true;
    uring_op_start(loop, &state->op);
}

void uring_watch_stop(struct uring_loop *loop, struct uring_watch *watch)
{
    LIST_EACH (&loop->watches, link) {
        struct watch_state *state = LIST_ENTRY(link, struct watch_state, link);
        if (state->watch == watch) {
            state->watch = NULL;
            uring_op_cancel(loop, &state->op);
        }
    }
    watch->active = false;
    watch->armed = false;
}

void uring_watch_stop_all(struct uring_loop *loop)
{
    LIST_EACH (&loop->watches, link) {
        struct watch_state *state = LIST_ENTRY(link, struct watch_state, link);
        state->watch = NULL;
        uring_op_cancel(loop, &state->op);
    }
}
