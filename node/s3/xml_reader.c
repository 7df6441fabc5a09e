/* xml_reader.c - see xml_reader.h. The only file that names libxml2. */
#include "node/s3/xml_reader.h"

#include <libxml/parser.h>
#include <stdbool.h>
#include <string.h>

#define PATH_BYTES (XML_DEPTH_MAX * (XML_NAME_BYTES_MAX + 1))

struct reader {
    struct xml_visitor *visitor;
    enum status status;
    unsigned depth;
    unsigned elements;
    size_t path_bytes[XML_DEPTH_MAX + 1]; /* length of the path at each depth */
    char path[PATH_BYTES];
    size_t text_bytes;
    char text[XML_TEXT_BYTES_MAX + 1]; /* of the innermost open element; a child starts it anew */
    xmlParserCtxtPtr parser;
};

static void refuse(struct reader *reader)
{
    reader->status = STATUS_INVALID;
    xmlStopParser(reader->parser);
}

static void on_start(void *user, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int namespace_count,
                     const xmlChar **namespaces, int attribute_count, int default_count, const xmlChar **attributes)
{
    (void)prefix, (void)uri, (void)namespace_count, (void)namespaces, (void)attribute_count, (void)default_count;
    (void)attributes;
    struct reader *reader = user;
    size_t bytes = strlen((const char *)name);
    if (reader->status != STATUS_OK || reader->depth == XML_DEPTH_MAX || reader->elements == XML_ELEMENTS_MAX ||
        bytes > XML_NAME_BYTES_MAX) {
        refuse(reader);
        return;
    }
    size_t at = reader->path_bytes[reader->depth];
    if (at > 0) {
        reader->path[at++] = '/';
    }
    memcpy(reader->path + at, name, bytes);
    reader->path[at + bytes] = '\0';
    reader->depth++;
    reader->elements++;
    reader->path_bytes[reader->depth] = at + bytes;
    reader->text_bytes = 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void on_end(void *user, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    (void)name, (void)prefix, (void)uri;
    struct reader *reader = user;
    if (reader->status != STATUS_OK || reader->depth == 0) {
        return;
    }
    char *text = reader->text;
    while (reader->text_bytes > 0 && is_space(text[reader->text_bytes - 1])) {
        reader->text_bytes--;
    }
    text[reader->text_bytes] = '\0';
    while (is_space(*text)) {
        text++;
    }
    enum status status = reader->visitor->closed(reader->visitor, reader->path, text);
    if (status != STATUS_OK) {
        refuse(reader);
        return;
    }
    reader->depth--;
    reader->path[reader->path_bytes[reader->depth]] = '\0';
    reader->text_bytes = 0;
}

static void on_text(void *user, const xmlChar *text, int bytes)
{
    struct reader *reader = user;
    if (reader->status != STATUS_OK || bytes < 0) {
        return;
    }
    if ((size_t)bytes > XML_TEXT_BYTES_MAX - reader->text_bytes) {
        refuse(reader);
        return;
    }
    memcpy(reader->text + reader->text_bytes, text, (size_t)bytes);
    reader->text_bytes += (size_t)bytes;
}

/* A document type is where entities and outside references come from. */
static void on_doctype(void *user, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    (void)name, (void)external_id, (void)system_id;
    refuse(user);
}

static void on_error(void *user, const char *message, ...)
{
    (void)user, (void)message; /* The parser's verdict is asked for at the end. */
}

enum status xml_read(const void *document, size_t bytes, struct xml_visitor *visitor)
{
    xmlSAXHandler sax = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = on_end,
        .characters = on_text,
        .cdataBlock = on_text,
        .internalSubset = on_doctype,
        .error = on_error,
        .warning = on_error,
        .fatalError = on_error,
    };
    struct reader reader = {.visitor = visitor, .status = STATUS_OK};
    reader.parser = xmlCreatePushParserCtxt(&sax, &reader, NULL, 0, NULL);
    if (reader.parser == NULL) {
        return STATUS_INVALID;
    }
    xmlCtxtUseOptions(reader.parser, XML_PARSE_NONET | XML_PARSE_NOCDATA);
    bool failed = false;
    const char *at = document;
    while (bytes > 0 && !failed && reader.status == STATUS_OK) {
        int piece = bytes < 4096 ? (int)bytes : 4096;
        failed = xmlParseChunk(reader.parser, at, piece, 0) != 0;
        at += piece;
        bytes -= (size_t)piece;
    }
    if (!failed && reader.status == STATUS_OK) {
        failed = xmlParseChunk(reader.parser, NULL, 0, 1) != 0 || reader.parser->wellFormed == 0;
    }
    if (reader.parser->myDoc != NULL) {
        xmlFreeDoc(reader.parser->myDoc);
    }
    xmlFreeParserCtxt(reader.parser);
    return failed || reader.elements == 0 ? STATUS_INVALID : reader.status;
}

struct create_bucket_visitor {
    struct xml_visitor visitor;
    char region[XML_REGION_BYTES_MAX];
};

static enum status create_bucket_closed(struct xml_visitor *visitor, const char *path, const char *text)
{
    struct create_bucket_visitor *create = CONTAINER_OF(visitor, struct create_bucket_visitor, visitor);
    if (strcmp(path, "CreateBucketConfiguration") == 0) {
        return STATUS_OK;
    }
    size_t bytes = strlen(text);
    if (strcmp(path, "CreateBucketConfiguration/LocationConstraint") != 0 || bytes >= XML_REGION_BYTES_MAX) {
        return STATUS_INVALID;
    }
    memcpy(create->region, text, bytes + 1);
    return STATUS_OK;
}

enum status xml_read_create_bucket(const void *document, size_t bytes, char region[XML_REGION_BYTES_MAX])
{
    struct create_bucket_visitor create = {.visitor = {.closed = create_bucket_closed}};
    enum status status = xml_read(document, bytes, &create.visitor);
    if (status == STATUS_OK) {
        memcpy(region, create.region, XML_REGION_BYTES_MAX);
    }
    return status;
}
