/* tables.h - the metadata tables: which keys there are, and typed reads and writes of their values.
 *
 * All tables share one kv. A key is a letter, then fixed-width big-endian numbers, raw ids and names, so that the
 * order of the bytes is the order of the numbers:
 *
 *   letter  key behind the letter                      value
 *   A                                                  u64 index of the last applied command | u64 its time (ms)
 *   I                                                  ClusterRecord
 *   n       node u64                                   MapNode
 *   N       node name                                  u64 node
 *   d       disk u32                                   MapDisk
 *   D       disk uuid[16]                              u64 disk
 *   g       PG u32                                     PgRecord
 *   t       tenant u64                                 TenantRecord
 *   T       tenant name                                u64 tenant
 *   k       tenant u64 | DEK version u32               SealedDek
 *   c       access key                                 CredentialRecord
 *   C       tenant u64 | access key                    (empty)
 *   b       tenant u64 | bucket name                   u64 bucket
 *   B       bucket u64                                 BucketRecord
 *   o       bucket u64 | object key, escaped           an object (catalog.h)
 *   r       chunk[16]                                  ChunkRecord: an object refers to this chunk
 *   x       chunk[16]                                  u64 erasure (0: one that began before): condemned for ever
 *   w       disk u32 | chunk[16]                       u64 erasure [| WipeTechnique u8]: this disk has yet to account for
 *                                                      this chunk; without the second, by the default technique
 *   v       page u32                                   PageRecord
 *   V       tenant u64 | bucket u64 | page u32         (empty) the page is that bucket's; bucket 0: the tenant's keys
 *   l       expires u64 | page u32 | first slot u32    u64 leaves: a lease that has not been lapsed yet
 *   u       seal u64 | page u32                        bitmap[32]: punctures that this seal will take
 *   y       epoch u64                                  EpochRecord
 *   Y       erasures_end u64                           u64 epoch: the first row behind an erasure's id names its epoch
 *   e       erasure u64                                ErasureRecord
 *   S       seal u64                                   u64 epoch: the first row at or behind a seal names the epoch that took
 *                                                      along what that seal took
 *   E       erasure u64                                (empty) the erasure is open; u64 seal: so are its keys until then
 *   W       erasure u64 | disk u32                     u64 wipes that this disk still owes
 *   f       erasure u64 | disk u32                     DiskWipesRecord
 *   a       sha256[32]                                 AttestationRecord
 *   U       seal u64 | erasure u64                     (empty) wipes done, a certificate is due when that seal's are gone
 *   z       seq u64                                    Certificate
 *   Z       certificate id[16]                         u64 seq
 *   j       tenant u64 | seq u64                       (empty) the certificate is that tenant's
 *   J       tenant u64 | object_ref[32] | seq u64      (empty) it is about that object
 *   L       index u64                                  an entry of the ledger
 *   H       level u8 | index u64                       hash[32] of a full subtree of the ledger
 *   K                                                  the ledger's last checkpoint, a signed note
 *   s       number u32                                 SigningKey
 *   G       erasure u64                                GraceRecord
 *   i       due ms u64 | erasure u64                   (empty) that deletion's grace ends then
 *   F       bucket u64 | erasure u64                   (empty) a version of that bucket is in grace
 *   h       person                                     Person
 *   q       request u64                                RequestRecord
 *   Q       request u64                                (empty) it is open or running
 *   m       disk u32                                   Medium, as its node told last
 *   p       node u64                                   NodeKeyRecord
 *   M       PG u32                                     (empty) it is being moved
 *
 * Object keys may hold any byte. They are escaped so that a suffix (a version, one day) can follow without breaking
 * their order: 00 becomes 00 FF, and the end is 00 01. So "a" < "a\0" < "ab", escaped or not.
 *
 * Values are protobuf messages (command.proto, wire.proto) where not said otherwise; numbers are big-endian.
 * A value that is missing is STATUS_NOT_FOUND. A read that fails, or a value that does not decode, also marks the
 * tables as failed: what is decided from then on can't be trusted, and the state machine stops. */
#ifndef TRILITH_META_TABLES_H
#define TRILITH_META_TABLES_H

#include "base/ids.h"
#include "base/kv.h"
#include "base/status.h"
#include "meta/scratch.h"
#include "proto/command.pb-c.h"

#define OBJECT_KEY_BYTES_MAX 1024
/* The longest: letter, bucket, an object key of nothing but 00, its end, and the byte of key_after(). */
#define TABLE_KEY_BYTES_MAX   (1 + 8 + 2 * OBJECT_KEY_BYTES_MAX + 2 + 1)
#define TABLE_VALUE_BYTES_MAX KIB(160) /* the largest: an object of 1280 chunks, below 64 KiB */
#define TABLES_SCRATCH_BYTES  MIB(16)

struct table_key {
    size_t length;
    uint8_t bytes[TABLE_KEY_BYTES_MAX];
};

/* ---- keys -------------------------------------------------------------------------------------- */

struct table_key key_applied(void);
struct table_key key_cluster(void);
struct table_key key_node(uint64_t node_id);
struct table_key key_node_name(const char *name);
struct table_key key_disk(uint32_t disk_id);
struct table_key key_disk_uuid(const uint8_t uuid[16]);
struct table_key key_pg(uint32_t pg_id);
struct table_key key_tenant(uint64_t tenant_id);
struct table_key key_tenant_name(const char *name);
struct table_key key_dek(uint64_t tenant_id, uint32_t version);
struct table_key key_credential(const char *access_key);
struct table_key key_tenant_credential(uint64_t tenant_id, const char *access_key);
struct table_key key_bucket_name(uint64_t tenant_id, const char *name);
struct table_key key_bucket(uint64_t bucket_id);
/* `bytes` is at most OBJECT_KEY_BYTES_MAX. */
struct table_key key_object(uint64_t bucket_id, const uint8_t *object_key, size_t bytes);
struct table_key key_chunk(const uint8_t chunk_id[16]);
struct table_key key_condemned(const uint8_t chunk_id[16]);
struct table_key key_wipe(uint32_t disk_id, const uint8_t chunk_id[16]);
struct table_key key_page(uint32_t page);
struct table_key key_bucket_page(uint64_t tenant_id, uint64_t bucket_id, uint32_t page);
struct table_key key_lease(uint64_t expires_ms, uint32_t page, uint32_t first_slot);
struct table_key key_dirty_page(uint64_t seal, uint32_t page);
struct table_key key_epoch(uint64_t epoch);
struct table_key key_erasures_end(uint64_t erasure_id);
struct table_key key_seal_epoch(uint64_t seal);
struct table_key key_erasure(uint64_t erasure_id);
struct table_key key_erasure_open(uint64_t erasure_id);
struct table_key key_erasure_disk(uint64_t erasure_id, uint32_t disk_id);
struct table_key key_disk_wipes(uint64_t erasure_id, uint32_t disk_id);
struct table_key key_attestation(const uint8_t sha256[32]);
struct table_key key_uncertified(uint64_t seal, uint64_t erasure_id);
struct table_key key_certificate(uint64_t seq);
struct table_key key_certificate_id(const uint8_t id[16]);
struct table_key key_tenant_certificate(uint64_t tenant_id, uint64_t seq);
struct table_key key_object_certificate(uint64_t tenant_id, const uint8_t object_ref[32], uint64_t seq);
struct table_key key_ledger_entry(uint64_t index);
struct table_key key_ledger_hash(uint8_t level, uint64_t index);
struct table_key key_checkpoint(void);
struct table_key key_signing_key(uint32_t number);
struct table_key key_grace(uint64_t erasure_id);
struct table_key key_grace_due(uint64_t due_ms, uint64_t erasure_id);
struct table_key key_bucket_grace(uint64_t bucket_id, uint64_t erasure_id);
struct table_key key_person(const char *name);
struct table_key key_request(uint64_t request_id);
struct table_key key_request_open(uint64_t request_id);
struct table_key key_medium(uint32_t disk_id);
struct table_key key_node_keys(uint64_t node_id);
struct table_key key_pg_moving(uint32_t pg_id);

/* The first `bytes` bytes of a key, for walking all keys that begin so. */
struct table_key key_prefix(struct table_key key, size_t bytes);
/* Where the object keys of a bucket that begin with `start` begin; `bytes` may be 0. */
struct table_key key_object_prefix(uint64_t bucket_id, const uint8_t *start, size_t bytes);
/* The first key behind all keys that begin with `prefix`. False: there is none (all bytes are FF). */
bool key_after_prefix(struct table_key *prefix);
/* The first key behind `key` itself. */
void key_after(struct table_key *key);
/* The object key within a key of the object table. False: it is not one. `object_key` has OBJECT_KEY_BYTES_MAX
 * bytes. */
bool key_object_decode(const uint8_t *key, size_t key_bytes, uint8_t *object_key, size_t *bytes);

/* ---- values ------------------------------------------------------------------------------------ */

struct tables {
    struct kv *kv;
    struct kv_batch *batch; /* what the running command writes; reads do not see it */
    struct scratch scratch;
    uint8_t *buffer; /* TABLE_VALUE_BYTES_MAX, for one value at a time */
    enum status failed;
};

/* `kv` stays the caller's. False: no memory. */
MUST_USE bool tables_open(struct tables *tables, struct kv *kv);
void tables_close(struct tables *tables);

/* Mark the tables as failed (the first failure stays: nothing that is decided after it may be written). Returns
 * `status`. */
enum status tables_fail(struct tables *tables, enum status status);
/* A row that another row promises could not be read: the tables have failed. Returns why. */
enum status tables_missing(struct tables *tables, enum status status);

/* Read a message into the scratch. STATUS_OK, STATUS_NOT_FOUND; else the tables have failed. */
MUST_USE enum status tables_get(struct tables *tables, struct table_key key,
                                const ProtobufCMessageDescriptor *descriptor, void *message_pointer);
MUST_USE enum status tables_get_number(struct tables *tables, struct table_key key, uint64_t *number);
/* Raw bytes; they stand in the scratch. */
MUST_USE enum status tables_get_bytes(struct tables *tables, struct table_key key, struct kv_slice *value);
/* STATUS_OK: it is there; STATUS_NOT_FOUND. */
MUST_USE enum status tables_find(struct tables *tables, struct table_key key);

/* The writes of the running command. */
void tables_put(struct tables *tables, struct table_key key, const void *message);
void tables_put_number(struct tables *tables, struct table_key key, uint64_t number);
void tables_put_bytes(struct tables *tables, struct table_key key, const void *data, size_t bytes);
void tables_delete(struct tables *tables, struct table_key key);

/* Decode a message that stands elsewhere into the scratch; NULL (and failed) when it does not decode. */
void *tables_unpack(struct tables *tables, const ProtobufCMessageDescriptor *descriptor, struct kv_slice value);

/* ---- walking ----------------------------------------------------------------------------------- */

/* All rows whose key begins with a prefix, in order. A walk that can't go on looks like its end, but the tables have
 * failed then. */
struct table_walk {
    struct tables *tables;
    struct kv_iterator *iterator;
    struct table_key prefix;
};

void table_walk_open(struct table_walk *walk, struct tables *tables, struct table_key prefix);
/* Stand at the first row at or after `key`. */
void table_walk_seek(struct table_walk *walk, const struct table_key *key);
/* False: no more rows with the prefix, or the tables have failed. Else the slices last until the next move. */
bool table_walk_row(struct table_walk *walk, struct kv_slice *key, struct kv_slice *value);
void table_walk_next(struct table_walk *walk);
void table_walk_close(struct table_walk *walk);

uint64_t number_of_be(const void *data, size_t bytes);

#endif
