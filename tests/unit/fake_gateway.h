/* fake_gateway.h - the gateway, the object operations and the metadata service, all in memory and in one struct, for
 * tests of the S3 front.
 *
 * Every callback runs as a task of the loop, never inside the call that causes it. Faults are switched on by setting
 * fields; a fault stays until it is cleared. */
#ifndef TRILITH_TESTS_FAKE_GATEWAY_H
#define TRILITH_TESTS_FAKE_GATEWAY_H

#include "node/object.h"

#define FAKE_BUCKETS_MAX 32
#define FAKE_SECRET      "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
/* The roles of the keys that exist. */
#define FAKE_OWNER  "AKIDOWNER"
#define FAKE_EDITOR "AKIDEDITOR"
#define FAKE_VIEWER "AKIDVIEWER"

struct fake_object {
    struct fake_object *next; /* by bucket, then by the bytes of the key */
    uint64_t bucket_id;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
    uint8_t *data;
    uint64_t size;
    uint64_t modified_ms;
    char etag[OBJECT_ETAG_BYTES];
    struct object_meta meta;
};

struct gateway {
    struct loop *loop;
    char buckets[FAKE_BUCKETS_MAX][64]; /* the id is the index + 1; empty: none */
    uint32_t bucket_suite;              /* of all buckets; 0: as if an older service did not say */
    enum suite put_suite;               /* that the last put asked for */
    struct fake_object *objects;
    uint64_t erasures;

    /* Faults and limits. */
    enum status credential_status; /* instead of an answer */
    enum status call_status;       /* instead of an answer */
    bool hold_calls;               /* calls wait until they are cancelled */
    bool refuse_puts;
    bool refuse_gets;
    enum status put_status; /* at finish */
    uint64_t put_fails_at;  /* bytes after which the put fails with put_status; 0: only at finish */
    size_t put_window;      /* bytes taken per write before a pause; 0: any */
    enum status get_status; /* from `opened` */
    uint64_t get_fails_at;  /* bytes after which a read fails with get_failure; UINT64_MAX: never */
    enum status get_failure;
    size_t get_piece; /* bytes given per pause; 0: any */
    uint64_t puts_open, gets_open;
    uint64_t lookups;
};

void fake_gateway_open(struct gateway *gateway, struct loop *loop);
void fake_gateway_close(struct gateway *gateway);
/* The stored object, or NULL. */
struct fake_object *fake_gateway_find(struct gateway *gateway, const char *bucket, const char *key);
void fake_gateway_add_bucket(struct gateway *gateway, const char *name);
struct fake_object *fake_gateway_add_object(struct gateway *gateway, const char *bucket, const char *key,
                                            const void *data, size_t bytes);

#endif
