/* get_window.c - the windows of a GET: pieces of chunks, fetched ahead from one replica or another, opened unit by unit.
 *
 * A window is what the range needs of one chunk, in one slab. The front window is being handed out while the one
 * behind it is fetched:
 *
 *   FREE ──> WAITING (for a slab, only when the get holds none) ──> FETCHING ──> READY ──handed out──> FREE
 *                                                        ^   │ error, timeout, mismatch     │ a unit does not open
 *                                             next replica└───┴── PAUSING (second round) <──┘
 *                                                            └──> FAILED: nobody has it
 *
 * Units are opened when they are handed out, while they go through the cache anyway. A unit whose CRC is right but that
 * does not open is a mismatch like any other: the rest of the window is fetched from another replica. */
#include "node/object_get_parts.h"

#include "base/buggify.h"
#include "base/log.h"

#define SECOND_ROUND_NS (250 * NS_PER_MS)

static void window_ask(struct get_window *window);

static void window_release_slab(struct get_window *window)
{
    slab_release(window->slab);
    window->slab = NULL;
}

bool get_windows_are_free(const struct object_get *get)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (get->windows[i].stage != WINDOW_FREE) {
            return false;
        }
    }
    return true;
}

void get_windows_give_up(struct object_get *get)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct get_window *window = &get->windows[i];
        if (window->stage != WINDOW_FREE) {
            gateway_sealer_forget(get->gateway, &get->refs[window->chunk].id);
        }
        if (window->stage == WINDOW_FETCHING) {
            if (get->gateway->stopped) {
                chunk_fetch_cancel(&window->fetch);
            }
            continue;
        }
        if (window->stage == WINDOW_WAITING) {
            slab_wait_cancel(get->gateway->slabs, &window->waiter);
        }
        loop_timer_stop(get->gateway->loop, &window->timer);
        if (window->slab != NULL) {
            window_release_slab(window);
        }
        window->stage = WINDOW_FREE;
    }
}

static void window_failed(struct get_window *window, enum status status)
{
    window->stage = WINDOW_FAILED;
    window->status = status;
    window_release_slab(window);
    object_get_wake(window->get);
}

/* A copy did not hold what was sealed. Counted and logged once per copy seen: the scrubber's business is to repair it. */
static void note_mismatch(struct get_window *window, const char *found_by)
{
    char hex[ID_HEX_BYTES];
    id_to_hex(window->fetch.id.bytes, hex);
    window->get->gateway->replica_mismatches++;
    log_event(LOG_WARNING, "replica_mismatch", "chunk=%s disk=%u found_by=%s", hex, window->fetch.disk_id, found_by);
}

static void window_fetched(struct chunk_fetch *fetch, enum status status)
{
    struct get_window *window = CONTAINER_OF(fetch, struct get_window, fetch);
    struct object_get *get = window->get;
    if (get->closed || get->looking_again) {
        window_release_slab(window);
        window->stage = WINDOW_FREE;
        object_get_window_freed(get);
        return;
    }
    if (status == STATUS_OK) {
        window->stage = WINDOW_READY;
        object_get_wake(get);
        return;
    }
    if (status == STATUS_CORRUPT) {
        note_mismatch(window, "crc");
    } else if (status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE) {
        chunk_client_suspect(get->gateway->chunks, fetch->disk_id);
    }
    read_plan_failed(&window->plan, status);
    window_ask(window);
}

static void window_fetch(struct get_window *window)
{
    struct object_get *get = window->get;
    const struct get_ref *ref = &get->refs[window->chunk];
    struct chunk_fetch *fetch = &window->fetch;
    window->stage = WINDOW_FETCHING;
    window->data_unit = window->next_unit;
    fetch->id = ref->id;
    fetch->first_unit = window->next_unit;
    fetch->unit_count = window->end_unit - window->next_unit;
    fetch->chunk_bytes = ref->bytes;
    fetch->suite = get->info.suite;
    fetch->buffer = window->slab->data;
    fetch->buffer_bytes = window->slab->capacity;
    fetch->deadline_ns = loop_now_ns(get->gateway->loop) + get->gateway->options.chunk_read_ns;
    fetch->done = window_fetched;
    chunk_client_fetch(get->gateway->chunks, fetch);
}

static void pause_over(struct loop_timer *timer)
{
    window_fetch(CONTAINER_OF(timer, struct get_window, timer));
}

/* Ask the next replica, if there is one. */
static void window_ask(struct get_window *window)
{
    struct object_get *get = window->get;
    switch (read_plan_next(&window->plan, &window->fetch.disk_id)) {
    case READ_PLAN_ASK:
        window_fetch(window);
        return;
    case READ_PLAN_ASK_LATER:
        window->stage = WINDOW_PAUSING;
        window->timer.fire = pause_over;
        loop_timer_start(get->gateway->loop, &window->timer, loop_now_ns(get->gateway->loop) + SECOND_ROUND_NS);
        return;
    case READ_PLAN_HOPELESS:
        window_failed(window, read_plan_status(&window->plan));
        return;
    }
    UNREACHABLE();
}

static void window_start(struct get_window *window, struct slab *slab)
{
    struct object_get *get = window->get;
    const struct map *map = chunk_client_map(get->gateway->chunks);
    uint32_t disks[REPLICAS];
    unsigned count = 0;
    window->slab = slab;
    if (map != NULL) {
        struct map_avoid suspects;
        uint64_t random = 0;
        chunk_client_suspects(get->gateway->chunks, &suspects);
        loop_random(get->gateway->loop, &random, sizeof(random));
        count = map_order_replicas(map, get->refs[window->chunk].pg, chunk_client_local_node(get->gateway->chunks),
                                   &suspects, random, disks);
    }
    if (count > 1 && BUGGIFY(BUGGIFY_GATEWAY_LAST_REPLICA_FIRST)) {
        uint32_t last = disks[count - 1];
        disks[count - 1] = disks[0];
        disks[0] = last;
    }
    read_plan_init(&window->plan, disks, count);
    window_ask(window);
}

static void window_slab_ready(struct slab_waiter *waiter, struct slab *slab)
{
    window_start(CONTAINER_OF(waiter, struct get_window, waiter), slab);
}

/* Which units of its chunk the next window has to cover. */
static void window_aim(struct object_get *get, struct get_window *window)
{
    uint64_t start = get->next_chunk_start;
    uint64_t chunk_end = start + get->refs[get->next_chunk].bytes;
    uint64_t from = get->position > start ? get->position : start;
    window->chunk = get->next_chunk;
    window->chunk_start = start;
    window->end = get->end < chunk_end ? get->end : chunk_end;
    window->next_unit = (uint32_t)((from - start) / UNIT_BYTES);
    window->end_unit = (uint32_t)((window->end - start + UNIT_BYTES - 1) / UNIT_BYTES);
}

/* Open windows while there is something to fetch and a place for it. */
void get_windows_advance(struct object_get *get)
{
    while (get->active < WINDOWS && get->next_chunk < get->chunk_count && get->next_chunk_start < get->end) {
        struct get_window *window = &get->windows[(get->front + get->active) % WINDOWS];
        CHECK(window->stage == WINDOW_FREE);
        window_aim(get, window);
        uint32_t bytes = (window->end_unit - window->next_unit) * UNIT_BYTES;
        if (get->active > 0 && BUGGIFY(BUGGIFY_GATEWAY_NO_READ_AHEAD)) {
            return;
        }
        struct slab *slab = slab_take(get->gateway->slabs, bytes);
        if (slab == NULL && get->active > 0) {
            return; /* Fetching ahead is a luxury: never wait in line for it. */
        }
        get->active++;
        get->next_chunk_start += get->refs[get->next_chunk].bytes;
        get->next_chunk++;
        if (slab == NULL) {
            window->stage = WINDOW_WAITING;
            slab_wait(get->gateway->slabs, &window->waiter, bytes, window_slab_ready);
        } else {
            window_start(window, slab);
        }
    }
}

/* Open the window's next unit. False: it does not open, and another replica is being asked. */
static bool window_open_unit(struct get_window *window)
{
    struct object_get *get = window->get;
    const struct get_ref *ref = &get->refs[window->chunk];
    struct chunk_binding binding = {.identity = get->object_key.identity,
                                    .chunk = ref->id,
                                    .chunk_index = window->chunk,
                                    .chunk_bytes = ref->bytes,
                                    .suite = get->info.suite};
    uint32_t position = window->next_unit - window->data_unit;
    uint8_t *data = window->fetch.data + (size_t)position * UNIT_BYTES;
    enum status status = gateway_sealer_begin(get->gateway, &get->object_key, &binding);
    if (status == STATUS_OK) {
        uint32_t dirty = (uint32_t)(data - window->slab->data) + chunk_unit_bytes(ref->bytes, window->next_unit);
        window->slab->dirty_bytes = dirty > window->slab->dirty_bytes ? dirty : window->slab->dirty_bytes;
        status = open_unit(get->gateway->sealer, window->next_unit, data,
                           window->fetch.seals + (size_t)position * UNIT_SEAL_BYTES);
    }
    if (status == STATUS_OK) {
        window->next_unit++;
        return true;
    }
    gateway_sealer_forget(get->gateway, &ref->id);
    if (status == STATUS_CORRUPT) {
        note_mismatch(window, "tag");
    }
    read_plan_failed(&window->plan, status);
    window_ask(window);
    return false;
}

/* Copy from the front window, which is ready. Returns the bytes copied: 0 when a unit did not open. */
size_t get_window_copy(struct get_window *window, uint8_t *target, size_t capacity)
{
    struct object_get *get = window->get;
    uint64_t in_chunk = get->position - window->chunk_start;
    uint32_t unit = (uint32_t)(in_chunk / UNIT_BYTES);
    if (unit == window->next_unit && !window_open_unit(window)) {
        return 0;
    }
    uint64_t unit_end = window->chunk_start + (uint64_t)(unit + 1) * UNIT_BYTES;
    uint64_t end = unit_end < window->end ? unit_end : window->end;
    size_t take = end - get->position < capacity ? (size_t)(end - get->position) : capacity;
    memcpy(target, window->fetch.data + (in_chunk - (uint64_t)window->data_unit * UNIT_BYTES), take);
    get->position += take;
    return take;
}

void get_front_finished(struct object_get *get)
{
    struct get_window *window = &get->windows[get->front];
    gateway_sealer_forget(get->gateway, &get->refs[window->chunk].id);
    window_release_slab(window);
    window->stage = WINDOW_FREE;
    get->front = (get->front + 1) % WINDOWS;
    get->active--;
}
