/* slab.c - a fixed arena of slabs, and the two lines in front of it.
 *
 * A free slab lies in the free list of its size. Nobody passes the line: while somebody waits for a size, slab_take()
 * of that size finds nothing, and the slabs that come back go to the line. They are handed over by one deferred task,
 * never from inside slab_release() or slab_wait(), so no caller is re-entered. */
#include "base/slab.h"

#include "base/buggify.h"
#include "base/keys.h"

#include <stdlib.h>
#include <sys/mman.h>

enum slab_size { SLAB_SMALL, SLAB_LARGE, SLAB_SIZES };

struct slab_pool {
    struct loop *loop;
    uint8_t *arena;
    size_t arena_bytes;
    struct slab *slabs; /* small ones first */
    uint32_t counts[SLAB_SIZES];
    uint32_t in_use;
    struct list free[SLAB_SIZES];
    struct list waiting[SLAB_SIZES];
    struct loop_task delivery;
    bool delivery_pending;
    bool closed; /* closed while the delivery was pending: the delivery frees the pool */
};

static enum slab_size size_for(uint32_t bytes)
{
    CHECK(bytes > 0);
    CHECK(bytes <= SLAB_LARGE_BYTES);
    return bytes <= SLAB_SMALL_BYTES ? SLAB_SMALL : SLAB_LARGE;
}

/* ---- open and close ---------------------------------------------------------------------------- */

static void deliver(struct loop_task *task);

static void cut_arena(struct slab_pool *pool)
{
    uint8_t *at = pool->arena;
    for (uint32_t i = 0; i < pool->counts[SLAB_SMALL] + pool->counts[SLAB_LARGE]; i++) {
        enum slab_size size = i < pool->counts[SLAB_SMALL] ? SLAB_SMALL : SLAB_LARGE;
        struct slab *slab = &pool->slabs[i];
        slab->data = at;
        slab->capacity = size == SLAB_SMALL ? SLAB_SMALL_BYTES : SLAB_LARGE_BYTES;
        slab->pool = pool;
        list_append(&pool->free[size], &slab->link);
        at += slab->capacity;
    }
    CHECK(at == pool->arena + pool->arena_bytes);
}

struct slab_pool *slab_pool_open(struct loop *loop, uint32_t small_count, uint32_t large_count)
{
    uint64_t slab_count = (uint64_t)small_count + large_count;
    CHECK(slab_count > 0);
    CHECK(slab_count <= UINT32_MAX);

    struct slab_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        return NULL;
    }
    pool->loop = loop;
    pool->delivery.run = deliver;
    pool->counts[SLAB_SMALL] = small_count;
    pool->counts[SLAB_LARGE] = large_count;
    for (size_t size = 0; size < SLAB_SIZES; size++) {
        list_init(&pool->free[size]);
        list_init(&pool->waiting[size]);
    }
    pool->slabs = calloc(slab_count, sizeof(struct slab));
    if (pool->slabs == NULL) {
        goto fail_pool;
    }
    pool->arena_bytes = (size_t)small_count * SLAB_SMALL_BYTES + (size_t)large_count * SLAB_LARGE_BYTES;
    void *arena = mmap(NULL, pool->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) {
        goto fail_slabs;
    }
    /* Plaintext passes through here. Both are wishes: a kernel without them still serves. */
    (void)madvise(arena, pool->arena_bytes, MADV_DONTDUMP);
    (void)madvise(arena, pool->arena_bytes, MADV_HUGEPAGE);
    pool->arena = arena;
    cut_arena(pool);
    return pool;

fail_slabs:
    free(pool->slabs);
fail_pool:
    free(pool);
    return NULL;
}

static void pool_free(struct slab_pool *pool)
{
    munmap(pool->arena, pool->arena_bytes);
    free(pool->slabs);
    free(pool);
}

void slab_pool_close(struct slab_pool *pool)
{
    CHECK(pool->in_use == 0);
    CHECK(list_is_empty(&pool->waiting[SLAB_SMALL]));
    CHECK(list_is_empty(&pool->waiting[SLAB_LARGE]));
    CHECK(!pool->closed);
    if (pool->delivery_pending) {
        /* Its waiter has left the line, but the loop still holds the task. */
        pool->closed = true;
        return;
    }
    pool_free(pool);
}

void slab_pool_arena(const struct slab_pool *pool, uint8_t **start, size_t *bytes)
{
    *start = pool->arena;
    *bytes = pool->arena_bytes;
}

uint32_t slab_pool_in_use(const struct slab_pool *pool)
{
    return pool->in_use;
}

/* ---- take and wait ----------------------------------------------------------------------------- */

/* Which free list may serve a request of `size` now, as far as slabs go: its own, or for a small one the large list
 * when nobody waits for a large slab. SLAB_SIZES: none. */
static enum slab_size source_for(const struct slab_pool *pool, enum slab_size size)
{
    if (!list_is_empty(&pool->free[size])) {
        return size;
    }
    bool large_is_idle = !list_is_empty(&pool->free[SLAB_LARGE]) && list_is_empty(&pool->waiting[SLAB_LARGE]);
    return size == SLAB_SMALL && large_is_idle ? SLAB_LARGE : SLAB_SIZES;
}

static struct slab *take_from(struct slab_pool *pool, enum slab_size source)
{
    struct slab *slab = LIST_ENTRY(list_take_first(&pool->free[source]), struct slab, link);
    CHECK(slab->references == 0);
    CHECK(slab->dirty_bytes == 0);
    slab->references = 1;
    pool->in_use++;
    return slab;
}

struct slab *slab_take(struct slab_pool *pool, uint32_t bytes)
{
    enum slab_size size = size_for(bytes);
    if (!list_is_empty(&pool->waiting[size]) || BUGGIFY(BUGGIFY_SLAB_NOT_NOW)) {
        return NULL;
    }
    enum slab_size source = source_for(pool, size);
    return source == SLAB_SIZES ? NULL : take_from(pool, source);
}

/* The size whose line can move now, or SLAB_SIZES. */
static enum slab_size deliverable(const struct slab_pool *pool)
{
    for (enum slab_size size = SLAB_SMALL; size < SLAB_SIZES; size++) {
        if (!list_is_empty(&pool->waiting[size]) && source_for(pool, size) != SLAB_SIZES) {
            return size;
        }
    }
    return SLAB_SIZES;
}

static void schedule_delivery(struct slab_pool *pool)
{
    if (!pool->delivery_pending && deliverable(pool) != SLAB_SIZES) {
        pool->delivery_pending = true;
        loop_defer(pool->loop, &pool->delivery);
    }
}

/* Hand free slabs to the lines, at most as many as there are slabs: whoever waits again and again from inside `ready`
 * gets another turn of the loop, not this one for ever. */
static void deliver(struct loop_task *task)
{
    struct slab_pool *pool = CONTAINER_OF(task, struct slab_pool, delivery);
    if (pool->closed) {
        pool_free(pool);
        return;
    }
    /* delivery_pending stays set in here, so that what `ready` does schedules nothing and closes nothing under us. */
    uint32_t turns = pool->counts[SLAB_SMALL] + pool->counts[SLAB_LARGE];
    for (; turns > 0 && !pool->closed; turns--) {
        enum slab_size size = deliverable(pool);
        if (size == SLAB_SIZES) {
            break;
        }
        struct slab *slab = take_from(pool, source_for(pool, size));
        struct slab_waiter *waiter = LIST_ENTRY(list_take_first(&pool->waiting[size]), struct slab_waiter, link);
        waiter->ready(waiter, slab);
    }
    pool->delivery_pending = false;
    if (pool->closed) {
        pool_free(pool);
        return;
    }
    schedule_delivery(pool);
}

void slab_wait(struct slab_pool *pool, struct slab_waiter *waiter, uint32_t bytes,
               void (*ready)(struct slab_waiter *waiter, struct slab *slab))
{
    enum slab_size size = size_for(bytes);
    CHECK(ready != NULL);
    CHECK(size == SLAB_SMALL || pool->counts[SLAB_LARGE] > 0);
    waiter->ready = ready;
    waiter->bytes = bytes;
    list_append(&pool->waiting[size], &waiter->link);
    schedule_delivery(pool);
}

void slab_wait_cancel(struct slab_pool *pool, struct slab_waiter *waiter)
{
    list_remove(&waiter->link);
    /* Small requests may use large slabs again when the line for those has just ended. */
    schedule_delivery(pool);
}

/* ---- references -------------------------------------------------------------------------------- */

void slab_hold(struct slab *slab)
{
    CHECK(slab->references > 0);
    CHECK(slab->references < UINT32_MAX);
    slab->references++;
}

void slab_release(struct slab *slab)
{
    struct slab_pool *pool = slab->pool;
    CHECK(slab->references > 0);
    slab->references--;
    if (slab->references > 0) {
        return;
    }
    CHECK(slab->dirty_bytes <= slab->capacity);
    if (slab->dirty_bytes > 0) {
        wipe_memory(slab->data, slab->dirty_bytes);
        slab->dirty_bytes = 0;
    }
    CHECK(pool->in_use > 0);
    pool->in_use--;
    /* The slab that was used last is the one whose pages are still in the cache. */
    enum slab_size size = slab->capacity == SLAB_SMALL_BYTES ? SLAB_SMALL : SLAB_LARGE;
    list_prepend(&pool->free[size], &slab->link);
    schedule_delivery(pool);
}
