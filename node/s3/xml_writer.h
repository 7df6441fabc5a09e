/* xml_writer.h - S3's answers as XML, into a bounded buffer; names are always escaped.
 *
 * Escaped are & < > " and every control character (as &#xN;, like S3 does: XML 1.0 has no way to say most of them, which
 * is why clients ask for encoding-type=url). Bytes that are not UTF-8 become U+FFFD. */
#ifndef TRILITH_NODE_S3_XML_WRITER_H
#define TRILITH_NODE_S3_XML_WRITER_H

#include "node/s3/text_buffer.h"
#include "node/s3/uri.h"

#include <stdint.h>

#define S3_NAMESPACE "http://s3.amazonaws.com/doc/2006-03-01/"

/* How names from buckets are written: as XML text, or percent-coded first (encoding-type=url; "/" stays, a space is
 * "+"). */
enum xml_names { XML_NAMES_PLAIN, XML_NAMES_URL };

/* The declaration and the root element; `namespace_uri` may be NULL. */
void xml_begin(struct text_buffer *out, const char *root, const char *namespace_uri);
void xml_open(struct text_buffer *out, const char *element);
void xml_close(struct text_buffer *out, const char *element);
void xml_text(struct text_buffer *out, const char *element, struct text_span text);
void xml_word(struct text_buffer *out, const char *element, const char *text);
void xml_number(struct text_buffer *out, const char *element, uint64_t number);
void xml_name(struct text_buffer *out, const char *element, struct text_span name, enum xml_names coding);

#endif
