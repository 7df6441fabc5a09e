/* tables.c - keys byte by byte, values through protobuf-c. */
#include "meta/tables.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* ---- keys -------------------------------------------------------------------------------------- */

static void key_begin(struct table_key *key, char letter)
{
    key->bytes[0] = (uint8_t)letter;
    key->length = 1;
}

static void key_add(struct table_key *key, const void *data, size_t bytes)
{
    CHECK(bytes <= sizeof(key->bytes) - key->length);
    memcpy(key->bytes + key->length, data, bytes);
    key->length += bytes;
}

static void key_add_number(struct table_key *key, uint64_t number, size_t bytes)
{
    CHECK(bytes <= sizeof(key->bytes) - key->length);
    for (size_t i = 0; i < bytes; i++) {
        key->bytes[key->length++] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
    }
}

static struct table_key key_of_number(char letter, uint64_t number, size_t bytes)
{
    struct table_key key;
    key_begin(&key, letter);
    key_add_number(&key, number, bytes);
    return key;
}

static struct table_key key_of_bytes(char letter, const void *data, size_t bytes)
{
    struct table_key key;
    key_begin(&key, letter);
    key_add(&key, data, bytes);
    return key;
}

struct table_key key_applied(void)
{
    return key_of_bytes('A', "", 0);
}

struct table_key key_cluster(void)
{
    return key_of_bytes('I', "", 0);
}

struct table_key key_node(uint64_t node_id)
{
    return key_of_number('n', node_id, 8);
}

struct table_key key_node_name(const char *name)
{
    return key_of_bytes('N', name, strlen(name));
}

struct table_key key_disk(uint32_t disk_id)
{
    return key_of_number('d', disk_id, 4);
}

struct table_key key_disk_uuid(const uint8_t uuid[16])
{
    return key_of_bytes('D', uuid, 16);
}

struct table_key key_pg(uint32_t pg_id)
{
    return key_of_number('g', pg_id, 4);
}

struct table_key key_tenant(uint64_t tenant_id)
{
    return key_of_number('t', tenant_id, 8);
}

struct table_key key_tenant_name(const char *name)
{
    return key_of_bytes('T', name, strlen(name));
}

struct table_key key_dek(uint64_t tenant_id, uint32_t version)
{
    struct table_key key = key_of_number('k', tenant_id, 8);
    key_add_number(&key, version, 4);
    return key;
}

struct table_key key_credential(const char *access_key)
{
    return key_of_bytes('c', access_key, strlen(access_key));
}

struct table_key key_tenant_credential(uint64_t tenant_id, const char *access_key)
{
    struct table_key key = key_of_number('C', tenant_id, 8);
    key_add(&key, access_key, strlen(access_key));
    return key;
}

struct table_key key_bucket_name(uint64_t tenant_id, const char *name)
{
    struct table_key key = key_of_number('b', tenant_id, 8);
    key_add(&key, name, strlen(name));
    return key;
}

struct table_key key_bucket(uint64_t bucket_id)
{
    return key_of_number('B', bucket_id, 8);
}

struct table_key key_object_prefix(uint64_t bucket_id, const uint8_t *start, size_t bytes)
{
    CHECK(bytes <= OBJECT_KEY_BYTES_MAX);
    struct table_key key = key_of_number('o', bucket_id, 8);
    for (size_t i = 0; i < bytes; i++) {
        key.bytes[key.length++] = start[i];
        if (start[i] == 0) {
            key.bytes[key.length++] = 0xff;
        }
    }
    return key;
}

struct table_key key_object(uint64_t bucket_id, const uint8_t *object_key, size_t bytes)
{
    struct table_key key = key_object_prefix(bucket_id, object_key, bytes);
    key_add(&key, "\x00\x01", 2);
    return key;
}

struct table_key key_chunk(const uint8_t chunk_id[16])
{
    return key_of_bytes('r', chunk_id, 16);
}

struct table_key key_condemned(const uint8_t chunk_id[16])
{
    return key_of_bytes('x', chunk_id, 16);
}

struct table_key key_wipe(uint32_t disk_id, const uint8_t chunk_id[16])
{
    struct table_key key = key_of_number('w', disk_id, 4);
    key_add(&key, chunk_id, 16);
    return key;
}

struct table_key key_page(uint32_t page)
{
    return key_of_number('v', page, 4);
}

struct table_key key_bucket_page(uint64_t tenant_id, uint64_t bucket_id, uint32_t page)
{
    struct table_key key = key_of_number('V', tenant_id, 8);
    key_add_number(&key, bucket_id, 8);
    key_add_number(&key, page, 4);
    return key;
}

struct table_key key_lease(uint64_t expires_ms, uint32_t page, uint32_t first_slot)
{
    struct table_key key = key_of_number('l', expires_ms, 8);
    key_add_number(&key, page, 4);
    key_add_number(&key, first_slot, 4);
    return key;
}

struct table_key key_dirty_page(uint64_t seal, uint32_t page)
{
    struct table_key key = key_of_number('u', seal, 8);
    key_add_number(&key, page, 4);
    return key;
}

struct table_key key_epoch(uint64_t epoch)
{
    return key_of_number('y', epoch, 8);
}

struct table_key key_erasures_end(uint64_t erasure_id)
{
    return key_of_number('Y', erasure_id, 8);
}

struct table_key key_seal_epoch(uint64_t seal)
{
    return key_of_number('S', seal, 8);
}

struct table_key key_erasure(uint64_t erasure_id)
{
    return key_of_number('e', erasure_id, 8);
}

struct table_key key_erasure_open(uint64_t erasure_id)
{
    return key_of_number('E', erasure_id, 8);
}

struct table_key key_erasure_disk(uint64_t erasure_id, uint32_t disk_id)
{
    struct table_key key = key_of_number('W', erasure_id, 8);
    key_add_number(&key, disk_id, 4);
    return key;
}

struct table_key key_disk_wipes(uint64_t erasure_id, uint32_t disk_id)
{
    struct table_key key = key_of_number('f', erasure_id, 8);
    key_add_number(&key, disk_id, 4);
    return key;
}

struct table_key key_attestation(const uint8_t sha256[32])
{
    return key_of_bytes('a', sha256, 32);
}

struct table_key key_uncertified(uint64_t seal, uint64_t erasure_id)
{
    struct table_key key = key_of_number('U', seal, 8);
    key_add_number(&key, erasure_id, 8);
    return key;
}

struct table_key key_certificate(uint64_t seq)
{
    return key_of_number('z', seq, 8);
}

struct table_key key_certificate_id(const uint8_t id[16])
{
    return key_of_bytes('Z', id, 16);
}

struct table_key key_tenant_certificate(uint64_t tenant_id, uint64_t seq)
{
    struct table_key key = key_of_number('j', tenant_id, 8);
    key_add_number(&key, seq, 8);
    return key;
}

struct table_key key_object_certificate(uint64_t tenant_id, const uint8_t object_ref[32], uint64_t seq)
{
    struct table_key key = key_of_number('J', tenant_id, 8);
    key_add(&key, object_ref, 32);
    key_add_number(&key, seq, 8);
    return key;
}

struct table_key key_ledger_entry(uint64_t index)
{
    return key_of_number('L', index, 8);
}

struct table_key key_ledger_hash(uint8_t level, uint64_t index)
{
    struct table_key key = key_of_number('H', level, 1);
    key_add_number(&key, index, 8);
    return key;
}

struct table_key key_checkpoint(void)
{
    return key_of_bytes('K', "", 0);
}

struct table_key key_signing_key(uint32_t number)
{
    return key_of_number('s', number, 4);
}

struct table_key key_grace(uint64_t erasure_id)
{
    return key_of_number('G', erasure_id, 8);
}

struct table_key key_grace_due(uint64_t due_ms, uint64_t erasure_id)
{
    struct table_key key = key_of_number('i', due_ms, 8);
    key_add_number(&key, erasure_id, 8);
    return key;
}

struct table_key key_bucket_grace(uint64_t bucket_id, uint64_t erasure_id)
{
    struct table_key key = key_of_number('F', bucket_id, 8);
    key_add_number(&key, erasure_id, 8);
    return key;
}

struct table_key key_person(const char *name)
{
    return key_of_bytes('h', name, strlen(name));
}

struct table_key key_request(uint64_t request_id)
{
    return key_of_number('q', request_id, 8);
}

struct table_key key_request_open(uint64_t request_id)
{
    return key_of_number('Q', request_id, 8);
}

struct table_key key_medium(uint32_t disk_id)
{
    return key_of_number('m', disk_id, 4);
}

struct table_key key_node_keys(uint64_t node_id)
{
    return key_of_number('p', node_id, 8);
}

struct table_key key_pg_moving(uint32_t pg_id)
{
    return key_of_number('M', pg_id, 4);
}

struct table_key key_prefix(struct table_key key, size_t bytes)
{
    CHECK(bytes <= key.length);
    key.length = bytes;
    return key;
}

bool key_after_prefix(struct table_key *prefix)
{
    while (prefix->length > 0 && prefix->bytes[prefix->length - 1] == 0xff) {
        prefix->length--;
    }
    if (prefix->length == 0) {
        return false;
    }
    prefix->bytes[prefix->length - 1]++;
    return true;
}

void key_after(struct table_key *key)
{
    key_add(key, "", 1);
}

bool key_object_decode(const uint8_t *key, size_t key_bytes, uint8_t *object_key, size_t *bytes)
{
    if (key_bytes < 1 + 8 + 2 || key[0] != 'o') {
        return false;
    }
    size_t used = 0;
    size_t at = 1 + 8;
    while (at + 2 <= key_bytes) {
        if (key[at] == 0 && key[at + 1] == 1) {
            *bytes = used;
            return at + 2 == key_bytes;
        }
        if ((key[at] == 0 && key[at + 1] != 0xff) || used == OBJECT_KEY_BYTES_MAX) {
            return false;
        }
        object_key[used++] = key[at];
        at += key[at] == 0 ? 2 : 1;
    }
    return false;
}

uint64_t number_of_be(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) {
        number = number << 8 | at[i];
    }
    return number;
}

/* ---- values ------------------------------------------------------------------------------------ */

bool tables_open(struct tables *tables, struct kv *kv)
{
    *tables = (struct tables){.kv = kv, .buffer = malloc(TABLE_VALUE_BYTES_MAX)};
    if (tables->buffer == NULL || !scratch_open(&tables->scratch, TABLES_SCRATCH_BYTES)) {
        free(tables->buffer);
        return false;
    }
    tables->batch = kv_batch_open(kv);
    return true;
}

void tables_close(struct tables *tables)
{
    kv_batch_close(tables->batch);
    scratch_close(&tables->scratch);
    free(tables->buffer);
}

enum status tables_fail(struct tables *tables, enum status status)
{
    if (tables->failed == STATUS_OK) {
        tables->failed = status;
    }
    return status;
}

enum status tables_missing(struct tables *tables, enum status status)
{
    return tables_fail(tables, status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status);
}

static enum status tables_read(struct tables *tables, const struct table_key *key, size_t *bytes)
{
    enum status status =
        kv_get(tables->kv, KV_SLICE(key->bytes, key->length), tables->buffer, TABLE_VALUE_BYTES_MAX, bytes);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return tables_fail(tables, status);
    }
    return status;
}

void *tables_unpack(struct tables *tables, const ProtobufCMessageDescriptor *descriptor, struct kv_slice value)
{
    void *message = protobuf_c_message_unpack(descriptor, &tables->scratch.allocator, value.bytes, value.data);
    if (message == NULL) {
        (void)tables_fail(tables, tables->scratch.exhausted ? STATUS_TOO_LARGE : STATUS_CORRUPT);
    }
    return message;
}

enum status tables_get(struct tables *tables, struct table_key key, const ProtobufCMessageDescriptor *descriptor,
                       void *message_pointer)
{
    size_t bytes = 0;
    enum status status = tables_read(tables, &key, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    void *message = tables_unpack(tables, descriptor, KV_SLICE(tables->buffer, bytes));
    if (message == NULL) {
        return tables->failed;
    }
    memcpy(message_pointer, &message, sizeof(message));
    return STATUS_OK;
}

enum status tables_get_number(struct tables *tables, struct table_key key, uint64_t *number)
{
    size_t bytes = 0;
    enum status status = tables_read(tables, &key, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (bytes != 8) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    *number = number_of_be(tables->buffer, 8);
    return STATUS_OK;
}

enum status tables_get_bytes(struct tables *tables, struct table_key key, struct kv_slice *value)
{
    size_t bytes = 0;
    enum status status = tables_read(tables, &key, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    void *copy = scratch_copy(&tables->scratch, tables->buffer, bytes);
    if (copy == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    *value = KV_SLICE(copy, bytes);
    return STATUS_OK;
}

enum status tables_find(struct tables *tables, struct table_key key)
{
    size_t bytes = 0;
    return tables_read(tables, &key, &bytes);
}

void tables_put(struct tables *tables, struct table_key key, const void *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    CHECK(bytes <= TABLE_VALUE_BYTES_MAX);
    CHECK(protobuf_c_message_pack(message, tables->buffer) == bytes);
    tables_put_bytes(tables, key, tables->buffer, bytes);
}

void tables_put_number(struct tables *tables, struct table_key key, uint64_t number)
{
    uint8_t bytes[8];
    struct byte_writer writer = byte_writer_of(bytes, sizeof(bytes));
    write_u64_be(&writer, number);
    tables_put_bytes(tables, key, bytes, sizeof(bytes));
}

void tables_put_bytes(struct tables *tables, struct table_key key, const void *data, size_t bytes)
{
    kv_batch_put(tables->batch, KV_SLICE(key.bytes, key.length), KV_SLICE(data, bytes));
}

void tables_delete(struct tables *tables, struct table_key key)
{
    kv_batch_delete(tables->batch, KV_SLICE(key.bytes, key.length));
}

/* ---- walking ----------------------------------------------------------------------------------- */

void table_walk_open(struct table_walk *walk, struct tables *tables, struct table_key prefix)
{
    walk->tables = tables;
    walk->iterator = kv_iterator_open(tables->kv);
    walk->prefix = prefix;
    table_walk_seek(walk, &prefix);
}

void table_walk_seek(struct table_walk *walk, const struct table_key *key)
{
    kv_iterator_seek(walk->iterator, KV_SLICE(key->bytes, key->length));
}

bool table_walk_row(struct table_walk *walk, struct kv_slice *key, struct kv_slice *value)
{
    if (!kv_iterator_valid(walk->iterator)) {
        enum status status = kv_iterator_status(walk->iterator);
        if (status != STATUS_OK) {
            (void)tables_fail(walk->tables, status);
        }
        return false;
    }
    *key = kv_iterator_key(walk->iterator);
    *value = kv_iterator_value(walk->iterator);
    return key->bytes >= walk->prefix.length && memcmp(key->data, walk->prefix.bytes, walk->prefix.length) == 0;
}

void table_walk_next(struct table_walk *walk)
{
    kv_iterator_next(walk->iterator);
}

void table_walk_close(struct table_walk *walk)
{
    kv_iterator_close(walk->iterator);
}
