/* object_get_parts.h - what the two files of a GET share: its state, and the steps between them.
 *
 *   object_get.c  the life of a get: the record and its key, the range, what the user reads and hears
 *   get_window.c  the pieces of chunks that are fetched ahead, each from the replica that can give it
 *
 * Nobody else includes this. */
#ifndef TRILITH_NODE_OBJECT_GET_PARTS_H
#define TRILITH_NODE_OBJECT_GET_PARTS_H

#include "node/gateway_parts.h"
#include "node/object.h"
#include "node/read_plan.h"

#define WINDOWS               2u
#define OBJECT_GET_BUCKET_MAX 63u

struct get_window {
    struct object_get *get;
    enum { WINDOW_FREE, WINDOW_WAITING, WINDOW_FETCHING, WINDOW_PAUSING, WINDOW_READY, WINDOW_FAILED } stage;
    uint32_t chunk;       /* index in the object */
    uint64_t chunk_start; /* offset of the chunk in the object */
    uint64_t end;         /* offset in the object of the first byte behind what the range wants of this chunk */
    uint32_t next_unit;   /* the first that is not open yet */
    uint32_t end_unit;
    uint32_t data_unit; /* the unit at the start of fetch.data */
    enum status status; /* of WINDOW_FAILED */
    struct slab *slab;
    struct slab_waiter waiter;
    struct read_plan plan;
    struct loop_timer timer;
    struct chunk_fetch fetch;
};

struct get_ref {
    struct chunk_id id;
    uint32_t pg;
    uint32_t bytes;
};

struct object_get {
    struct gateway *gateway;
    struct list_link link;
    struct object_get_request request; /* its pointers are not used after the open */
    bool closed;
    bool calling;
    bool wake_queued;
    struct loop_task wake;
    struct rpc_call call;
    struct object_key object_key;
    struct held_key held_key; /* from before OBJECT_GET was sent until no key and no reply is there any more */
    bool is_open;             /* `opened` has said OK */
    enum status failed;       /* not STATUS_OK: nothing more will come */
    bool looking_again;       /* whether the version was sealed anew: no window is open, nothing can be read */
    enum status reason;       /* why: how the get fails if it was not */
    uint32_t page;            /* of the leaf, as the record names it */
    uint32_t slot;
    char bucket[OBJECT_GET_BUCKET_MAX + 1];
    struct object_info info;
    size_t sealed_meta_bytes;

    uint64_t position; /* next byte to hand out */
    uint64_t end;      /* of the range */
    bool has_range;
    uint32_t chunk_count;
    uint32_t next_chunk; /* next to open a window for */
    uint64_t next_chunk_start;
    struct get_window windows[WINDOWS];
    unsigned front;
    unsigned active;

    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
    struct object_meta meta;
    uint8_t sealed_meta[OBJECT_META_SEALED_MAX];
    struct get_ref refs[OBJECT_CHUNKS_MAX];
};

/* ---- object_get.c ---- */

/* `readable` runs soon. */
void object_get_wake(struct object_get *get);
/* A fetch of a window that was given up has ended, and the window is free. */
void object_get_window_freed(struct object_get *get);

/* ---- get_window.c ---- */

/* Open windows while there is something to fetch and a place for it. */
void get_windows_advance(struct object_get *get);
/* Copy from the front window, which is ready; the key is usable. Returns the bytes copied: 0 when a unit did not open,
 * and another replica is being asked. */
size_t get_window_copy(struct get_window *window, uint8_t *target, size_t capacity);
/* The front window was handed out: give it back. */
void get_front_finished(struct object_get *get);
/* Give all windows up. Those that are being fetched are free when that has ended: to break it off would break the
 * connection for others. */
void get_windows_give_up(struct object_get *get);
bool get_windows_are_free(const struct object_get *get);

#endif
