/* object.h - put and get of whole objects: split, seal, replicate, commit; fetch, verify, open.
 *
 * Writing  The body is copied into slabs as it arrives, one chunk at a time, at most OBJECT_SLABS_MAX of them. A whole
 *          chunk is summed, sealed in place and sent to the three members of a PG while the next one arrives. When
 *          a member fails the chunk is opened again, sealed anew under a new id and sent to another PG; the aborted
 *          copies are condemned. object_put_finish() commits when every chunk is durable on all its members. Whatever
 *          was sent and never committed is condemned here, or, after a crash, by the orphan rule.
 * Reading  The record is fetched from the metadata service for every get. Units are fetched ahead, checked (CRC, tag,
 *          plaintext CRC) and only then handed out; a replica that fails, lies or is slow is replaced by another.
 *          A version that is sealed anew while it is read is read on where it stands then.
 * Keys Both use an object's key no longer than the lease of its tenant's DEK. A put or get that takes longer asks for
 *          the DEK again and goes on, or ends with STATUS_KEY_REVOKED or STATUS_KEY_AWAY (object_key.h).
 * Threads  Loop thread only. Callbacks never run inside the call that causes them. */
#ifndef TRILITH_NODE_OBJECT_H
#define TRILITH_NODE_OBJECT_H

#include "base/digest.h"
#include "base/ids.h"
#include "base/seal.h"
#include "base/status.h"
#include "node/gateway.h"

#define OBJECT_KEY_BYTES_MAX   1024
#define OBJECT_BYTES_MAX       GIB(5) /* of one PUT, as in S3 */
#define OBJECT_SLABS_MAX       3
#define OBJECT_ETAG_BYTES      48
#define OBJECT_META_BYTES_MAX  8192 /* all fields together */
#define OBJECT_META_FIELDS_MAX 64

/* What a client says about an object besides its bytes: header names (lower case) and values, verbatim. Sealed in the
 * catalog. Stored as { u16 name bytes, u16 value bytes, name, value } ... in `bytes`, little-endian. */
struct object_meta {
    uint8_t bytes[OBJECT_META_BYTES_MAX];
    size_t used;
    unsigned count;
};

/* STATUS_OK; STATUS_TOO_LARGE: over a limit above. */
MUST_USE enum status object_meta_add(struct object_meta *meta, const char *name, const char *value);
/* Walk the fields: start with *cursor = 0; false at the end. The texts are not terminated. */
bool object_meta_next(const struct object_meta *meta, size_t *cursor, const char **name, size_t *name_bytes,
                      const char **value, size_t *value_bytes);
/* Check bytes that came from a catalog: every field inside, count right. */
MUST_USE enum status object_meta_decode(const uint8_t *bytes, size_t used, struct object_meta *meta);

/* ---- put --------------------------------------------------------------------------------------- */

struct object_put;

struct object_put_result {
    char etag[OBJECT_ETAG_BYTES]; /* without quotes */
    struct version_id version;
    uint64_t modified_ms;
    uint64_t erasure_id; /* of the replaced version; 0: none */
};

struct object_put_request {
    uint64_t tenant_id;
    uint64_t bucket_id;
    bool degraded_writes;           /* the bucket accepts two copies while fewer than three domains are healthy */
    bool if_none_match;             /* only create */
    enum suite suite;               /* the bucket's; 0: AES-256-GCM */
    uint32_t dek_version;           /* to seal under; 0: the current one, as far as this gateway has heard */
    const uint8_t *key;             /* copied */
    size_t key_bytes;               /* 1..OBJECT_KEY_BYTES_MAX */
    uint64_t size;                  /* exact length of the body */
    const struct object_meta *meta; /* copied */
    const char *requested_by;       /* the access key whose request it is, copied; NULL: nobody's */
    /* Not 0: seal version `version` (copied) anew, which is sealed under this DEK version now. Its id and etag stay. */
    uint32_t reseal_from;
    const struct version_id *version; /* NULL: a new version */
    void *user;
    /* More of the body can be taken; runs only after a short object_put_write(). */
    void (*writable)(void *user);
    /* The end, once; the put is gone when it returns. STATUS_OK: committed, and a read that starts now sees it. Else
     * nothing was or will be visible: STATUS_EXISTS (if_none_match), STATUS_NOT_FOUND (the bucket has gone),
     * STATUS_FULL,
     * STATUS_UNAVAILABLE (fewer healthy domains than the bucket wants, or no metadata service), STATUS_TIMEOUT (the
     * commit's outcome is unknown: whole or absent), STATUS_DENIED (no key), STATUS_KEY_REVOKED, STATUS_KEY_AWAY,
     * STATUS_UNSUPPORTED (this build does not have the suite), STATUS_CONFLICT (reseal_from: another node is at it, it
     * is no longer that version, or not under that DEK, or there is no newer DEK), STATUS_CANCELLED (aborted). */
    void (*done)(void *user, enum status status, const struct object_put_result *result);
};

/* Begin. NULL: too many puts in flight (STATUS_BUSY to the client). */
struct object_put *object_put_start(struct gateway *gateway, const struct object_put_request *request);
/* Take bytes of the body, in order. Returns how many were taken: fewer than given (possibly 0) means wait for
 * `writable`. More than `size` in all is a bug of the caller. After a failure it takes and drops everything. */
size_t object_put_write(struct object_put *put, const void *data, size_t bytes);
/* The body is whole (`size` bytes written) and the client's own checksums are right: commit. */
void object_put_finish(struct object_put *put);
/* Nothing of it shall stay: `done` runs with STATUS_CANCELLED. Not after finish. */
void object_put_abort(struct object_put *put);
/* The client has gone: `done` does not run any more. Before finish it aborts, after it the commit goes on. */
void object_put_detach(struct object_put *put);

/* ---- get --------------------------------------------------------------------------------------- */

struct object_get;

struct object_info {
    uint64_t size;
    uint64_t modified_ms;
    char etag[OBJECT_ETAG_BYTES];
    struct version_id version;
    const struct object_meta *meta;
    uint64_t bucket_id;
    enum suite suite;
    uint32_t dek_version; /* that it is sealed under */
};

struct object_get_request {
    uint64_t tenant_id;
    const char *bucket; /* copied */
    const uint8_t *key; /* copied */
    size_t key_bytes;
    void *user;
    /* The record is here, once. STATUS_OK and `info` (valid until close); STATUS_NOT_FOUND: no such object;
     * STATUS_CONFLICT: no such bucket; STATUS_UNAVAILABLE, STATUS_TIMEOUT, STATUS_DENIED (no key), STATUS_KEY_REVOKED,
     * STATUS_KEY_AWAY,
     * STATUS_UNSUPPORTED (this build does not have its suite), STATUS_CORRUPT. */
    void (*opened)(void *user, enum status status, const struct object_info *info);
    /* There is something to read, or the status of object_get_read() has changed. */
    void (*readable)(void *user);
};

/* Begin. NULL: too many gets in flight. The caller must close it, whatever happens. */
struct object_get *object_get_open(struct gateway *gateway, const struct object_get_request *request);
/* After `opened` said OK, once: fetch `bytes` (1..) from `offset` on; inside the object. */
void object_get_range(struct object_get *get, uint64_t offset, uint64_t bytes);
/* Copy verified plaintext out, in order. STATUS_OK: `*taken` bytes (0: wait for `readable`). STATUS_CLOSED: the range
 * is whole. STATUS_CORRUPT, STATUS_UNAVAILABLE, STATUS_TIMEOUT, STATUS_GONE: no replica could give the next unit, or
 * (GONE) its DEK was destroyed; STATUS_DENIED, STATUS_KEY_REVOKED, STATUS_KEY_AWAY: the key may not be used any longer.
 * What was handed out before is right, the rest will not come. */
MUST_USE enum status object_get_read(struct object_get *get, void *buffer, size_t capacity, size_t *taken);
/* Give everything back. No callback runs after it. */
void object_get_close(struct object_get *get);

#endif
