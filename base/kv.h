/* kv.h - the interface to an ordered table of bytes: RocksDB, or a model of it in memory.
 *
 * Production is kv_rocksdb.c; tests and the simulator use tests/sim/sim_kv.c. The write-ahead log is off: after
 * a crash the table is at the state after some *prefix* of the batches written, at least up to the last
 * kv_flush(). Whoever needs more keeps its own log (the store's segments; the metadata journal) and writes its
 * position into the same batch as the effects.
 *
 * Keys are ordered as bytes. Secrets never come here: these files keep old bytes for ever.
 * Threads    One loop thread per table. Calls are synchronous and normally served from memory. */
#ifndef TRILITH_BASE_KV_H
#define TRILITH_BASE_KV_H

#include "base/status.h"

#include "base/check.h"
#include <stdbool.h>
#include <stddef.h>

struct kv;
struct kv_batch;
struct kv_iterator;

/* Bytes that belong to somebody else. */
struct kv_slice {
    const void *data;
    size_t bytes;
};

struct kv_ops {
    enum status (*get)(struct kv *kv, struct kv_slice key, void *buffer, size_t capacity, size_t *bytes);
    struct kv_batch *(*batch_open)(struct kv *kv);
    void (*batch_put)(struct kv_batch *batch, struct kv_slice key, struct kv_slice value);
    void (*batch_delete)(struct kv_batch *batch, struct kv_slice key);
    void (*batch_clear)(struct kv_batch *batch);
    void (*batch_close)(struct kv_batch *batch);
    enum status (*write)(struct kv *kv, struct kv_batch *batch);
    struct kv_iterator *(*iterator_open)(struct kv *kv);
    void (*seek)(struct kv_iterator *iterator, struct kv_slice key);
    bool (*valid)(struct kv_iterator *iterator);
    void (*next)(struct kv_iterator *iterator);
    struct kv_slice (*key)(struct kv_iterator *iterator);
    struct kv_slice (*value)(struct kv_iterator *iterator);
    void (*iterator_close)(struct kv_iterator *iterator);
    enum status (*flush)(struct kv *kv);
    void (*close)(struct kv *kv);
    enum status (*iterator_status)(struct kv_iterator *iterator);
};

struct kv {
    const struct kv_ops *ops;
};
struct kv_batch {
    struct kv *kv;
};
struct kv_iterator {
    struct kv *kv;
};

#define KV_SLICE(data_, bytes_) ((struct kv_slice){.data = (data_), .bytes = (bytes_)})

/* Copy the value of `key` into `buffer`. STATUS_OK; STATUS_NOT_FOUND; STATUS_TOO_LARGE (`*bytes` says the size,
 * the buffer is untouched); STATUS_IO. */
MUST_USE static inline enum status kv_get(struct kv *kv, struct kv_slice key, void *buffer, size_t capacity,
                                          size_t *bytes)
{
    return kv->ops->get(kv, key, buffer, capacity, bytes);
}

/* A batch: filled, written at once and atomically, cleared, filled again. Never NULL. */
static inline struct kv_batch *kv_batch_open(struct kv *kv)
{
    return kv->ops->batch_open(kv);
}
static inline void kv_batch_put(struct kv_batch *batch, struct kv_slice key, struct kv_slice value)
{
    batch->kv->ops->batch_put(batch, key, value);
}
static inline void kv_batch_delete(struct kv_batch *batch, struct kv_slice key)
{
    batch->kv->ops->batch_delete(batch, key);
}
static inline void kv_batch_clear(struct kv_batch *batch)
{
    batch->kv->ops->batch_clear(batch);
}
static inline void kv_batch_close(struct kv_batch *batch)
{
    batch->kv->ops->batch_close(batch);
}

/* Apply `batch`; its content is unchanged. STATUS_OK or STATUS_IO. Visible to later reads at once. */
MUST_USE static inline enum status kv_write(struct kv *kv, struct kv_batch *batch)
{
    return kv->ops->write(kv, batch);
}

/* An iterator over the table as it is now. Never NULL. Seek stands at the first key >= `key`. Slices from
 * key() and value() last until the next move. */
static inline struct kv_iterator *kv_iterator_open(struct kv *kv)
{
    return kv->ops->iterator_open(kv);
}
static inline void kv_iterator_seek(struct kv_iterator *iterator, struct kv_slice key)
{
    iterator->kv->ops->seek(iterator, key);
}
static inline bool kv_iterator_valid(struct kv_iterator *iterator)
{
    return iterator->kv->ops->valid(iterator);
}
static inline void kv_iterator_next(struct kv_iterator *iterator)
{
    iterator->kv->ops->next(iterator);
}
static inline struct kv_slice kv_iterator_key(struct kv_iterator *iterator)
{
    return iterator->kv->ops->key(iterator);
}
static inline struct kv_slice kv_iterator_value(struct kv_iterator *iterator)
{
    return iterator->kv->ops->value(iterator);
}
/* Why the iterator is not valid: STATUS_OK, it is past the last key; STATUS_IO, it could not go on, so there may be
 * more. Ask before concluding anything from an end. */
MUST_USE static inline enum status kv_iterator_status(struct kv_iterator *iterator)
{
    return iterator->kv->ops->iterator_status(iterator);
}
static inline void kv_iterator_close(struct kv_iterator *iterator)
{
    iterator->kv->ops->iterator_close(iterator);
}

/* Make all written batches durable. May take a while. STATUS_OK or STATUS_IO. */
MUST_USE static inline enum status kv_flush(struct kv *kv)
{
    return kv->ops->flush(kv);
}

static inline void kv_close(struct kv *kv)
{
    kv->ops->close(kv);
}

#endif
