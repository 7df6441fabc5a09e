/* catalog_row.h - private to the catalog: the beginning of an object's row (layout: catalog.h). */
#ifndef TRILITH_META_CATALOG_ROW_H
#define TRILITH_META_CATALOG_ROW_H

#include "base/kv.h"

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

#endif
