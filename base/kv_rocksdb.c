/* kv_rocksdb.c - base/kv.h on RocksDB's C interface.
 *
 * Its error strings become a status here and nowhere else. Values are read through pinned slices: one copy, from the
 * block cache into the caller's buffer. */
#include "base/kv_rocksdb.h"

#include "base/log.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_BUFFER_BYTES MIB(16)
#define WRITE_BUFFERS      2
#define BACKGROUND_JOBS    2
#define OPEN_FILES_MAX     512
#define BLOOM_BITS_PER_KEY 10.0
#define BLOCK_SIZE_BYTES   KIB(8)
#define INFO_LOG_FILES     2
#define INFO_LOG_BYTES     MIB(4)
#define INFO_LOG_ERRORS    3 /* rocksdb's ERROR_LEVEL */

struct rocks_kv {
    struct kv base;
    rocksdb_t *db;
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options;
    rocksdb_flushoptions_t *flush_options;
    char *directory;
    bool error_logged;
};

struct rocks_batch {
    struct kv_batch base;
    rocksdb_writebatch_t *batch;
};

struct rocks_iterator {
    struct kv_iterator base;
    rocksdb_iterator_t *iterator;
};

static struct rocks_kv *rocks_of(struct kv *kv)
{
    return CONTAINER_OF(kv, struct rocks_kv, base);
}

/* Turn an error string, if there is one, into a status, and free it. */
static enum status rocks_status(struct rocks_kv *rocks, const char *operation, char *error)
{
    if (error == NULL) {
        return STATUS_OK;
    }
    if (!rocks->error_logged) {
        log_event(LOG_ERROR, "kv_failed", "directory=%s operation=%s reason=%s", rocks->directory, operation, error);
        rocks->error_logged = true;
    }
    rocksdb_free(error);
    return STATUS_IO;
}

/* ---- reading and writing ------------------------------------------------------------------------------ */

static enum status rocks_get(struct kv *kv, struct kv_slice key, void *buffer, size_t capacity, size_t *bytes)
{
    struct rocks_kv *rocks = rocks_of(kv);
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(rocks->db, rocks->read_options, key.data, key.bytes, &error);
    if (error != NULL) {
        return rocks_status(rocks, "get", error);
    }
    if (slice == NULL) {
        return STATUS_NOT_FOUND;
    }
    size_t value_bytes;
    const char *value = rocksdb_pinnableslice_value(slice, &value_bytes);
    enum status status = STATUS_OK;
    *bytes = value_bytes;
    if (value_bytes > capacity) {
        status = STATUS_TOO_LARGE;
    } else if (value_bytes > 0) {
        memcpy(buffer, value, value_bytes);
    }
    rocksdb_pinnableslice_destroy(slice);
    return status;
}

static enum status rocks_write(struct kv *kv, struct kv_batch *base)
{
    struct rocks_kv *rocks = rocks_of(kv);
    char *error = NULL;
    rocksdb_write(rocks->db, rocks->write_options, CONTAINER_OF(base, struct rocks_batch, base)->batch, &error);
    return rocks_status(rocks, "write", error);
}

static enum status rocks_flush(struct kv *kv)
{
    struct rocks_kv *rocks = rocks_of(kv);
    char *error = NULL;
    rocksdb_flush(rocks->db, rocks->flush_options, &error);
    return rocks_status(rocks, "flush", error);
}

/* ---- batches -------------------------------------------------------------------------------------------- */

static rocksdb_writebatch_t *batch_of(struct kv_batch *base)
{
    return CONTAINER_OF(base, struct rocks_batch, base)->batch;
}

static struct kv_batch *rocks_batch_open(struct kv *kv)
{
    struct rocks_batch *batch = calloc(1, sizeof(*batch));
    CHECK(batch != NULL);
    batch->base.kv = kv;
    batch->batch = rocksdb_writebatch_create();
    CHECK(batch->batch != NULL);
    return &batch->base;
}

static void rocks_batch_put(struct kv_batch *base, struct kv_slice key, struct kv_slice value)
{
    rocksdb_writebatch_put(batch_of(base), key.data, key.bytes, value.data, value.bytes);
}

static void rocks_batch_delete(struct kv_batch *base, struct kv_slice key)
{
    rocksdb_writebatch_delete(batch_of(base), key.data, key.bytes);
}

static void rocks_batch_clear(struct kv_batch *base)
{
    rocksdb_writebatch_clear(batch_of(base));
}

static void rocks_batch_close(struct kv_batch *base)
{
    rocksdb_writebatch_destroy(batch_of(base));
    free(CONTAINER_OF(base, struct rocks_batch, base));
}

/* ---- iterators ------------------------------------------------------------------------------------------ */

static rocksdb_iterator_t *iterator_of(struct kv_iterator *base)
{
    return CONTAINER_OF(base, struct rocks_iterator, base)->iterator;
}

static struct kv_iterator *rocks_iterator_open(struct kv *kv)
{
    struct rocks_kv *rocks = rocks_of(kv);
    struct rocks_iterator *iterator = calloc(1, sizeof(*iterator));
    CHECK(iterator != NULL);
    iterator->base.kv = kv;
    iterator->iterator = rocksdb_create_iterator(rocks->db, rocks->read_options);
    CHECK(iterator->iterator != NULL);
    return &iterator->base;
}

static void rocks_seek(struct kv_iterator *base, struct kv_slice key)
{
    rocksdb_iter_seek(iterator_of(base), key.data != NULL ? key.data : "", key.bytes);
}

static bool rocks_valid(struct kv_iterator *base)
{
    return rocksdb_iter_valid(iterator_of(base)) != 0;
}

static void rocks_next(struct kv_iterator *base)
{
    CHECK(rocks_valid(base));
    rocksdb_iter_next(iterator_of(base));
}

static struct kv_slice rocks_key(struct kv_iterator *base)
{
    size_t bytes;
    const char *key = rocksdb_iter_key(iterator_of(base), &bytes);
    return KV_SLICE(key, bytes);
}

static struct kv_slice rocks_value(struct kv_iterator *base)
{
    size_t bytes;
    const char *value = rocksdb_iter_value(iterator_of(base), &bytes);
    return KV_SLICE(value, bytes);
}

static enum status rocks_iterator_status(struct kv_iterator *base)
{
    char *error = NULL;
    rocksdb_iter_get_error(iterator_of(base), &error);
    return rocks_status(rocks_of(base->kv), "iterate", error);
}

static void rocks_iterator_close(struct kv_iterator *base)
{
    /* Whoever forgot to ask gets at least the log line. */
    (void)!rocks_iterator_status(base);
    rocksdb_iter_destroy(iterator_of(base));
    free(CONTAINER_OF(base, struct rocks_iterator, base));
}

/* ---- life ----------------------------------------------------------------------------------------------- */

static void rocks_close(struct kv *kv)
{
    struct rocks_kv *rocks = rocks_of(kv);
    rocksdb_close(rocks->db);
    rocksdb_readoptions_destroy(rocks->read_options);
    rocksdb_writeoptions_destroy(rocks->write_options);
    rocksdb_flushoptions_destroy(rocks->flush_options);
    free(rocks->directory);
    free(rocks);
}

static const struct kv_ops rocks_ops = {
    .get = rocks_get,
    .batch_open = rocks_batch_open,
    .batch_put = rocks_batch_put,
    .batch_delete = rocks_batch_delete,
    .batch_clear = rocks_batch_clear,
    .batch_close = rocks_batch_close,
    .write = rocks_write,
    .iterator_open = rocks_iterator_open,
    .seek = rocks_seek,
    .valid = rocks_valid,
    .next = rocks_next,
    .key = rocks_key,
    .value = rocks_value,
    .iterator_close = rocks_iterator_close,
    .flush = rocks_flush,
    .close = rocks_close,
    .iterator_status = rocks_iterator_status,
};

/* The table options take over the filter; the cache is counted and lives as long as somebody uses it. */
static rocksdb_block_based_table_options_t *table_options_new(size_t cache_bytes)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(cache_bytes);
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_cache_destroy(cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
    rocksdb_block_based_options_set_block_size(table, BLOCK_SIZE_BYTES);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    return table;
}

static rocksdb_options_t *options_new(size_t cache_bytes)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = table_options_new(cache_bytes);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);

    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_compaction_style(options, rocksdb_level_compaction);
    rocksdb_options_set_compression(options, rocksdb_no_compression); /* Ids and seals do not compress. */
    rocksdb_options_set_write_buffer_size(options, WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_write_buffer_number(options, WRITE_BUFFERS);
    rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_recycle_log_file_num(options, 0);
    rocksdb_options_set_keep_log_file_num(options, INFO_LOG_FILES);
    rocksdb_options_set_max_log_file_size(options, INFO_LOG_BYTES);
    rocksdb_options_set_info_log_level(options, INFO_LOG_ERRORS);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    return options;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* RocksDB says what happened only in words. */
static enum status open_status(const char *error)
{
    if (starts_with(error, "Corruption") || strstr(error, "does not exist") != NULL) {
        return STATUS_CORRUPT;
    }
    if (strstr(error, "LOCK") != NULL && (strstr(error, "lock") != NULL)) {
        return STATUS_BUSY;
    }
    return STATUS_IO;
}

enum status kv_rocksdb_open(const char *directory, size_t cache_bytes, struct kv **kv, char *message,
                            size_t message_bytes)
{
    char *error = NULL;
    rocksdb_options_t *options = options_new(cache_bytes);
    rocksdb_t *db = rocksdb_open(options, directory, &error);
    rocksdb_options_destroy(options);
    if (error != NULL) {
        enum status status = open_status(error);
        snprintf(message, message_bytes, "the table in %s can't be opened: %s", directory, error);
        rocksdb_free(error);
        return status;
    }
    struct rocks_kv *rocks = calloc(1, sizeof(*rocks));
    CHECK(rocks != NULL);
    rocks->base.ops = &rocks_ops;
    rocks->db = db;
    rocks->read_options = rocksdb_readoptions_create();
    rocks->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(rocks->write_options, 1);
    rocks->flush_options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(rocks->flush_options, 1);
    rocks->directory = strdup(directory);
    CHECK(rocks->directory != NULL);
    *kv = &rocks->base;
    return STATUS_OK;
}
