/* xml_reader.h - the XML documents that clients send, read with libxml2's SAX parser under hard limits.
 *
 * Refused: a document type declaration (so there are no entities to expand and nothing outside to fetch), nesting deeper
 * than XML_DEPTH_MAX, more than XML_ELEMENTS_MAX elements, text or names over their limits, and whatever is not well
 * formed. Each document has a function that reads it; elements it does not know are refused, never skipped. */
#ifndef TRILITH_NODE_S3_XML_READER_H
#define TRILITH_NODE_S3_XML_READER_H

#include "base/check.h"
#include "base/status.h"

#include <stddef.h>

#define XML_DEPTH_MAX      16
#define XML_ELEMENTS_MAX   5000
#define XML_NAME_BYTES_MAX 64
#define XML_TEXT_BYTES_MAX 2048

/* What happens while a document is read; `path` is the elements from the root, separated by '/', e.g.
 * "CreateBucketConfiguration/LocationConstraint". `text` is the element's own text, terminated, without outer blanks.
 * `closed` returns STATUS_OK or STATUS_INVALID: then reading ends with that. */
struct xml_visitor {
    enum status (*closed)(struct xml_visitor *visitor, const char *path, const char *text);
};

/* STATUS_OK; STATUS_INVALID: refused, for one of the reasons above or by the visitor. */
MUST_USE enum status xml_read(const void *document, size_t bytes, struct xml_visitor *visitor);

/* <CreateBucketConfiguration><LocationConstraint>region</...></...>: `region` is empty when none is given. */
#define XML_REGION_BYTES_MAX 64
MUST_USE enum status xml_read_create_bucket(const void *document, size_t bytes, char region[XML_REGION_BYTES_MAX]);

#endif
