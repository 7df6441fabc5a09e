/* catalog_row.h - private to the catalog and what takes versions out of it and back (grace.c): an object's row (layout:
 * catalog.h). */
#ifndef TRILITH_META_CATALOG_ROW_H
#define TRILITH_META_CATALOG_ROW_H

#include "meta/tables.h"

#include <stdint.h>

#define OBJECT_ROW_FIXED_BYTES 45

struct object_row {
    uint64_t size;
    uint64_t modified_ms;
    const uint8_t *version_id; /* 16 bytes, in the row */
    uint64_t replaced_erasure_id;
    uint32_t dek_version;
    const char *etag; /* not terminated, in the row */
    uint8_t etag_bytes;
    struct kv_slice packed; /* Object */
};

/* False: the bytes end too early. */
bool object_row_decode(struct kv_slice value, struct object_row *row);

/* From row to message, in the scratch, and back. STATUS_OK, STATUS_NOT_FOUND; else the tables have failed. */
MUST_USE enum status object_row_get(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key,
                                    struct object_row *row, Trilith__Object **object);
MUST_USE enum status object_row_put(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key,
                                    const Trilith__Object *object, uint64_t replaced_erasure_id);

#endif
