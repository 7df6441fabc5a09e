/* object_put_parts.h - what the three files of a PUT share: its state, and the steps between them.
 *
 *   object_put.c  the life of a put: body in, keys, its end, what the user says and hears
 *   put_chunk.c   one slab of it: sealed, sent to three disks, sent elsewhere when one of them fails
 *   put_commit.c  its two messages to the metadata service: commit the object, or condemn what was sent
 *
 * Nobody else includes this. */
#ifndef TRILITH_NODE_OBJECT_PUT_PARTS_H
#define TRILITH_NODE_OBJECT_PUT_PARTS_H

#include "node/gateway_parts.h"
#include "node/replicate.h"

#define CONDEMNED_MAX 64u /* failed attempts of one put, all chunks together */

struct put_member {
    struct put_chunk *chunk;
    unsigned number;
    struct chunk_send send;
};

/* A slab of the body on its way to three disks. */
struct put_chunk {
    struct object_put *put;
    enum { PUT_CHUNK_FREE, PUT_CHUNK_FILLING, PUT_CHUNK_SENDING, PUT_CHUNK_PAUSING } stage;
    uint32_t index;
    uint32_t bytes;
    uint32_t filled;
    uint32_t sealed_units;
    unsigned attempts;
    bool was_sent;      /* under the present id */
    bool waits_for_key; /* PAUSING: the pause is over */
    uint64_t give_up_ns;
    struct chunk_id id;
    struct slab *slab;
    struct replicate replicate;
    struct loop_timer timer; /* SENDING: the deadline; PAUSING: the end of the pause */
    struct put_member members[REPLICAS];
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
};

/* A chunk that was sent, as the catalog will name it. pg 0: not sent, or condemned already. */
struct put_ref {
    struct chunk_id id;
    uint32_t pg;
    uint32_t bytes;
};

struct object_put {
    struct gateway *gateway;
    struct list_link link;
    char requested_by[ACCESS_KEY_BYTES_MAX + 1];
    struct held_key held_key;          /* from before the leaf is taken until key and leaf are wiped */
    struct object_put_request request; /* its pointers are not used after the start */
    bool user_gone;
    bool ended;       /* `status` is final */
    bool keep_chunks; /* committed, or perhaps committed: condemn only failed attempts */
    bool finishing;   /* the body is whole */
    bool wants_writable;
    bool done_pending;
    bool wake_queued;
    enum status status;
    struct loop_task wake;

    struct version_id version;
    struct object_key object_key;
    struct leaf_wait leaf_wait;
    uint32_t page; /* of the leaf; 0: none yet */
    uint32_t slot;
    bool leaf_is_used; /* something sealed under it has left this process */

    uint32_t chunk_count;
    uint32_t next_chunk;
    uint32_t durable_chunks;
    struct put_chunk chunks[OBJECT_SLABS_MAX];
    struct put_chunk *filling;
    struct slab *spare; /* given to us while we waited in line */
    struct slab_waiter waiter;
    bool waiting_for_slab;

    bool committing;
    bool commit_unknown; /* a call ended without an answer: it may have been carried out */
    uint64_t commit_until_ns;
    struct rpc_call commit_call;
    struct loop_timer commit_timer;
    struct object_put_result result;

    bool aborting;
    unsigned abort_tries;
    struct rpc_call abort_call;
    struct loop_timer abort_timer;
    bool abort_names_leaf;    /* the call in flight */
    bool leaf_reported;       /* or tried in vain: then it is given up when its lease runs out */
    uint32_t abort_refs;      /* how many the call in flight names: the first condemned ones, then refs */
    uint32_t condemned_count; /* failed attempts not reported yet */
    struct put_ref condemned[CONDEMNED_MAX];

    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
    struct object_meta meta;
    struct put_ref refs[OBJECT_CHUNKS_MAX];
};

/* ---- object_put.c ---- */

/* The end has come; `done` runs later. */
void object_put_end(struct object_put *put, enum status status);
/* End with an error, unless it has ended. What is being sent goes on to its own end, which is near: to break it off
 * would break the connection for all others. */
void object_put_fail(struct object_put *put, enum status status);
/* Something has become durable, or the key or the end of the body has come: do what is possible now. */
void object_put_progress(struct object_put *put);
/* After the end: when everything sent has said how it ended, have it condemned, then go. */
void object_put_settle(struct object_put *put);
/* Is no chunk in a slab any more? Then it is known how everything that was sent has ended. */
bool object_put_sends_nothing(const struct object_put *put);
/* Give the slot back when nothing of this put is under way any more. */
void object_put_try_free(struct object_put *put);
/* What the client hears when a part behind us did not do its work: only the commit may have an unknown outcome. */
enum status object_put_status(enum status status);

/* ---- put_chunk.c ---- */

/* Seal the units that are full, when the key may be used. When that was the last one, the chunk goes out. */
void put_chunk_seal_ready_units(struct put_chunk *chunk);
/* The key is here, or here again: do what has waited for it. */
void put_chunk_key_ready(struct put_chunk *chunk);
/* The gateway is being stopped: call off the sends of this chunk. */
void put_chunk_give_up(struct put_chunk *chunk);
/* Nobody reads the slab any more: give it back. */
void put_chunk_free(struct put_chunk *chunk);

/* ---- put_commit.c ---- */

/* Every chunk is durable, the body whole and the key usable: commit, or ask again whether it was committed. Ends the
 * put. */
void put_commit_start(struct object_put *put);
/* Report chunks that were sent and will not be used, and the leaf of a put that was given up, unless a report is under
 * way or there are none. */
void put_condemn_start(struct object_put *put);

#endif
