/* fuzz_object_meta.c - any bytes as an object's fields: refused, or fields that can be walked and added up. */
#include "node/object_meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct object_meta meta;
    if (object_meta_decode(data, size, &meta) != STATUS_OK) {
        return 0;
    }
    size_t cursor = 0;
    size_t sum = 0;
    unsigned fields = 0;
    const char *name = NULL;
    const char *value = NULL;
    size_t name_bytes = 0;
    size_t value_bytes = 0;
    while (object_meta_next(&meta, &cursor, &name, &name_bytes, &value, &value_bytes)) {
        sum += 4 + name_bytes + value_bytes;
        fields++;
    }
    CHECK(sum == size && fields == meta.count);
    return 0;
}
