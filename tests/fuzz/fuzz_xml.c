/* fuzz_xml.c - the XML documents that clients send. */
#include "node/s3/xml_reader.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static enum status closed(struct xml_visitor *visitor, const char *path, const char *text)
{
    (void)visitor;
    CHECK(strlen(path) > 0);
    CHECK(strlen(text) <= XML_TEXT_BYTES_MAX);
    return text[0] == '!' ? STATUS_INVALID : STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct xml_visitor visitor = {.closed = closed};
    char region[XML_REGION_BYTES_MAX];
    (void)xml_read(data, bytes, &visitor);
    if (xml_read_create_bucket(data, bytes, region) == STATUS_OK) {
        CHECK(memchr(region, '\0', sizeof(region)) != NULL);
    }
    return 0;
}
