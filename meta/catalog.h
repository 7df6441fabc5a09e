/* catalog.h - buckets and the versions of objects in them: changes, look-up and listing.
 *
 * A bucket belongs to one tenant; its name is unique within that tenant. For now a key has one version, the latest.
 * The row of an object begins with what a listing shows, so that listing does not decode thousands of chunk lists:
 *
 *   offset  bytes                                   numbers big-endian
 *        0      8  size
 *        8      8  modified, ms since 1970
 *       16     16  version id
 *       32      8  erasure of the version that this one replaced; 0: none was
 *       40      4  DEK version
 *       44      1  etag bytes, 0..OBJECT_ETAG_BYTES_MAX
 *       45      -  etag
 *        -      -  Object (wire.proto)
 */
#ifndef TRILITH_META_CATALOG_H
#define TRILITH_META_CATALOG_H

#include "meta/change.h"

#define BUCKET_NAME_BYTES_MAX  63
#define OBJECT_CHUNKS_MAX      1280u /* 5 GiB in chunks of 4 MiB */
#define OBJECT_ETAG_BYTES_MAX  64u
#define OBJECT_META_SEALED_MAX KIB(16)
#define LIST_ROWS_MAX          1000u

/* Whoever got a leaf to seal a version anew is left alone for so long: for the largest object at the lowest rate
 * too. */
#define RESEAL_HOLD_MS          10000u
#define RESEAL_HOLD_BYTES_PER_S MIB(1)

/* As S3 has it: 3..63 of a-z, 0-9, '.' and '-'; a letter or digit first and last. */
bool bucket_name_is_valid(const char *name);

/* ---- changes ----------------------------------------------------------------------------------- */

/* outcome.id: the bucket, also with STATUS_EXISTS. STATUS_OK, STATUS_EXISTS, STATUS_NOT_FOUND (no such tenant),
 * STATUS_INVALID. */
MUST_USE enum status catalog_bucket_create(struct change *change, const Trilith__BucketCreateRequest *command);
/* STATUS_OK, STATUS_NOT_FOUND, STATUS_NOT_EMPTY. */
MUST_USE enum status catalog_bucket_delete(struct change *change, const Trilith__BucketDeleteRequest *command);
/* outcome.leased. With reseal_key the leaf is to seal that version anew. The row keeps a note of it, so that it is
 * punctured with the version, whatever becomes of the attempt: an unused one from before is punctured now. So one
 * attempt at a time has a chance, and another node is refused for RESEAL_HOLD_MS and the time that the object's size
 * takes.
 * STATUS_OK, STATUS_NOT_FOUND (bucket), STATUS_INVALID (malformed, also catalog_reseal_lease_is_valid()), STATUS_BUSY
 * (leaves.h), STATUS_CONFLICT (that version is not the latest of its key, or another node is at it). */
MUST_USE enum status catalog_lease_leaves(struct change *change, const Trilith__LeaseLeaves *command);

/* Is this a key of 1..1024 bytes, a version id, and one leaf? Or neither of the first two? */
bool catalog_reseal_lease_is_valid(ProtobufCBinaryData key, ProtobufCBinaryData version_id, uint32_t count);

/* What can be said of a commit without tables: key 1..1024 bytes, ids of 16 bytes, chunks of 1..4 MiB, at most 1280,
 * and they add up to the size; nothing that only the metadata service sets, and no fields that are not known here, as
 * the object is stored as it came; a row of the table has room for it. A commit that is not valid must not get into the
 * journal: it could not be applied. */
bool catalog_commit_is_valid(const Trilith__ObjectCommitRequest *command);

/* Make `command->object` the version of its key. Committing a version again, while it is the latest, gives the same
 * outcome again and changes nothing. A version that it replaces is erased.
 *   STATUS_NOT_FOUND  the bucket has gone        STATUS_EXISTS  if_none_match, and there is a version
 *   STATUS_CONFLICT   the leaf is not leased to this bucket now, was used or punctured; a chunk is condemned, or
 *                     belongs to a version already; the DEK was destroyed meanwhile
 *   STATUS_KEY_REVOKED the tenant's keys are switched off
 *   STATUS_HELD       a legal hold or retention forbids that the version before goes
 *   STATUS_INVALID    malformed (catalog_commit_is_valid()), or a PG or DEK that does not exist
 * With reseal_from the version stays what it is (version id, size, etag, times) and only its chunks, leaf and DEK
 * change; the old chunks and leaf are an erasure. Again, when the version is under that leaf already: STATUS_OK,
 * nothing changes and outcome.erasure_id is 0. STATUS_CONFLICT then also: the key has another version by now, or none,
 * or it is not under that DEK, or the leaf is not the last one leased to seal it anew; STATUS_INVALID: not to the
 * current DEK, or another size or etag. */
MUST_USE enum status catalog_object_commit(struct change *change, const Trilith__ObjectCommitRequest *command);
/* Outcome as the reply: STATUS_OK with erasure_id 0 when there was no such object. STATUS_CONFLICT: no such bucket;
 * STATUS_HELD; STATUS_KEY_REVOKED: the tenant is being erased, or that is asked for. In a bucket with a grace time the
 * version can be taken back until that is over (grace.h): so too one that is overwritten. */
MUST_USE enum status catalog_object_delete(struct change *change, const Trilith__ObjectDeleteRequest *command);

/* ---- reads ------------------------------------------------------------------------------------- */

/* A walk over a tenant's versions that are sealed under other DEKs than `current`. */
struct reseal_walk {
    uint64_t tenant_id;
    uint32_t current;
    char bucket[BUCKET_NAME_BYTES_MAX + 1]; /* where it stands; empty: at the start */
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes; /* 0: at the bucket's start */
    bool ended;
};
/* Look at up to `rows_max` more rows of objects and buckets; those found (at most `items_max`) stand in the scratch, in
 * `reply`, added to what is there. Sets `ended` behind the tenant's last row. STATUS_OK; STATUS_TOO_LARGE: no room in
 * the scratch; else the tables have failed. */
MUST_USE enum status catalog_reseal_walk(struct tables *tables, struct reseal_walk *walk, uint32_t rows_max,
                                         uint32_t items_max, Trilith__ResealPullReply *reply);

/* STATUS_OK, STATUS_NOT_FOUND. The record stands in the scratch memory. */
MUST_USE enum status catalog_bucket(struct tables *tables, uint64_t tenant_id, const char *name,
                                    Trilith__BucketRecord **bucket);
MUST_USE enum status catalog_bucket_by_id(struct tables *tables, uint64_t bucket_id, Trilith__BucketRecord **bucket);
MUST_USE enum status catalog_bucket_list(struct tables *tables, uint64_t tenant_id, const char *start_after,
                                         uint32_t max, Trilith__BucketListReply *reply);
Trilith__Bucket *catalog_bucket_message(struct tables *tables, const Trilith__BucketRecord *record);

/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status catalog_object(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData object_key,
                                    Trilith__Object **object);

struct list_query {
    uint64_t bucket_id;
    ProtobufCBinaryData prefix;
    ProtobufCBinaryData delimiter;
    ProtobufCBinaryData start_after;
    uint32_t max; /* 0..LIST_ROWS_MAX */
};

/* List keys by the order of their bytes. Keys that have the delimiter behind the prefix are rolled up into one
 * common prefix, which ends with the delimiter and counts as one row. Rows not greater than `start_after` are left
 * out, common prefixes too. With `max` 0 the reply is empty and not truncated.
 * STATUS_INVALID: prefix, delimiter or start_after longer than a key. */
MUST_USE enum status catalog_list(struct tables *tables, const struct list_query *query,
                                  Trilith__ObjectListReply *reply);

#endif
