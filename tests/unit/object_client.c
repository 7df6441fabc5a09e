/* object_client.c - see object_client.h. */
#include "tests/unit/object_client.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* ---- a client that puts ----------------------------------------------------------------------------- */

uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

void writer_push(struct writer *writer)
{
    size_t limit = writer->limit != 0 && writer->limit < writer->bytes ? writer->limit : writer->bytes;
    while (writer->written < limit) {
        size_t want = limit - writer->written;
        if (writer->random != 0) {
            size_t piece = 1 + next_random(&writer->random) % 200000;
            want = piece < want ? piece : want;
        }
        size_t took = object_put_write(writer->put, writer->data + writer->written, want);
        cr_assert_leq(took, want);
        writer->written += took;
        if (took < want) {
            return;
        }
    }
    if (writer->finish && writer->written == writer->bytes) {
        object_put_finish(writer->put);
        writer->finish = false;
    }
}

static void writer_writable(void *user)
{
    writer_push(user);
}

static void writer_done(void *user, enum status status, const struct object_put_result *result)
{
    struct writer *writer = user;
    cr_assert_not(writer->done);
    cr_assert_not(writer->detached);
    writer->done = true;
    writer->status = status;
    if (status == STATUS_OK) {
        writer->result = *result;
    } else {
        cr_assert_null(result);
    }
}

static struct object_meta some_meta;

void writer_begin(struct writer *writer, const char *key, const uint8_t *data, size_t bytes, bool degraded)
{
    some_meta.used = 0;
    some_meta.count = 0;
    cr_assert_eq(object_meta_add(&some_meta, "content-type", "text/plain"), STATUS_OK);
    writer->data = data;
    writer->bytes = bytes;
    struct object_put_request request = {.tenant_id = 1,
                                         .bucket_id = BUCKET_ID,
                                         .degraded_writes = degraded,
                                         .suite = writer->suite,
                                         .key = (const uint8_t *)key,
                                         .key_bytes = strlen(key),
                                         .size = bytes,
                                         .meta = &some_meta,
                                         .user = writer,
                                         .writable = writer_writable,
                                         .done = writer_done};
    writer->put = object_put_start(gateway, &request);
    cr_assert_not_null(writer->put);
}

bool run_until(const bool *flag)
{
    for (unsigned i = 0; i < 20000000 && !*flag; i++) {
        if (!sim_loop_step(sim)) {
            return false;
        }
    }
    return *flag;
}

enum status put_object(const char *key, const uint8_t *data, size_t bytes, uint64_t random, bool degraded)
{
    struct writer writer = {.random = random, .finish = true};
    writer_begin(&writer, key, data, bytes, degraded);
    writer_push(&writer);
    cr_assert(run_until(&writer.done), "a put ends");
    return writer.status;
}

/* ---- a client that gets ------------------------------------------------------------------------------ */

size_t reader_pull(struct reader *reader, size_t bytes)
{
    size_t left = (size_t)reader->want - reader->taken;
    uint8_t scratch[1];
    size_t taken = 0;
    enum status status =
        left == 0 ? object_get_read(reader->get, scratch, 1, &taken)
                  : object_get_read(reader->get, reader->data + reader->taken, bytes < left ? bytes : left, &taken);
    if (status != STATUS_OK) {
        reader->status = status;
        reader->done = true;
        return 0;
    }
    reader->taken += taken;
    return taken;
}

static void reader_readable(void *user)
{
    struct reader *reader = user;
    while (!reader->by_hand && !reader->done && reader_pull(reader, 1 + next_random(&reader->random) % 100000) > 0) {
    }
}

static void reader_opened(void *user, enum status status, const struct object_info *info)
{
    struct reader *reader = user;
    reader->opened = status;
    if (status != STATUS_OK) {
        reader->status = status;
        reader->done = true;
        return;
    }
    reader->info = *info;
    if (reader->want == 0) {
        reader->want = info->size - reader->offset;
    }
    if (reader->want == 0) {
        reader->status = STATUS_CLOSED;
        reader->done = true;
        return;
    }
    reader->data = malloc((size_t)reader->want);
    object_get_range(reader->get, reader->offset, reader->want);
}

void reader_begin(struct reader *reader, const char *key)
{
    reader->random = 99;
    struct object_get_request request = {.tenant_id = 1,
                                         .bucket = "bucket",
                                         .key = (const uint8_t *)key,
                                         .key_bytes = strlen(key),
                                         .user = reader,
                                         .opened = reader_opened,
                                         .readable = reader_readable};
    reader->get = object_get_open(gateway, &request);
    cr_assert_not_null(reader->get);
}

void reader_end(struct reader *reader)
{
    object_get_close(reader->get);
    free(reader->data);
}

enum status get_object(const char *key, const uint8_t *expected, uint64_t offset, uint64_t bytes)
{
    struct reader reader = {.offset = offset, .want = bytes};
    reader_begin(&reader, key);
    cr_assert(run_until(&reader.done), "a get ends");
    if (reader.taken > 0) {
        cr_assert_eq(memcmp(reader.data, expected + offset, reader.taken), 0, "never wrong bytes");
    }
    if (reader.status == STATUS_CLOSED) {
        cr_assert_eq(reader.taken, reader.want);
    }
    enum status status = reader.status;
    reader_end(&reader);
    return status;
}

uint8_t *make_data(size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    uint64_t random = bytes + 1;
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)next_random(&random);
    }
    return data;
}

bool is_given_up(uint32_t slot)
{
    for (unsigned i = 0; i < meta.given_up_count; i++) {
        if (meta.given_up[i] == slot) {
            return true;
        }
    }
    return false;
}

static unsigned copies_of(const uint8_t *id)
{
    unsigned copies = 0;
    for (unsigned i = 0; i < NODES; i++) {
        copies += node_find(&nodes[i], id) != NULL;
    }
    return copies;
}

void check_copies(unsigned copies)
{
    unsigned committed = 0;
    unsigned total = 0;
    for (unsigned i = 0; i < meta.object_count; i++) {
        Trilith__Object *object = trilith__object__unpack(NULL, meta.objects[i].packed_bytes, meta.objects[i].packed);
        for (size_t c = 0; c < object->n_chunks; c++) {
            cr_assert_eq(copies_of(object->chunks[c]->chunk_id.data), copies);
            cr_assert_not(is_condemned(object->chunks[c]->chunk_id.data));
            committed += copies;
        }
        trilith__object__free_unpacked(object, NULL);
    }
    for (unsigned i = 0; i < NODES; i++) {
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            total += !is_condemned(nodes[i].copies[c].id.bytes);
        }
    }
    cr_assert_eq(total, committed);
}
