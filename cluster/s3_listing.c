/* s3_listing.c - libxml2 over the gateways' answers. */
#include "cluster/s3_listing.h"

#include "node/s3/uri.h"

#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parse without network, entity expansion or messages on stderr. NULL: not a document. */
static xmlDoc *parse(const char *xml, size_t bytes)
{
    if (bytes > INT32_MAX) {
        return NULL;
    }
    return xmlReadMemory(xml, (int)bytes, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static bool is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static const xmlNode *child_of(const xmlNode *parent, const char *name)
{
    for (const xmlNode *node = parent->children; node != NULL; node = node->next) {
        if (is_element(node, name)) {
            return node;
        }
    }
    return NULL;
}

/* Copy the text of the child `name` into `target`. False: there is none, or it does not fit. */
static bool child_text(const xmlNode *parent, const char *name, char *target, size_t capacity)
{
    target[0] = '\0';
    const xmlNode *child = child_of(parent, name);
    if (child == NULL) {
        return false;
    }
    xmlChar *text = xmlNodeGetContent(child);
    if (text == NULL) {
        return false;
    }
    size_t bytes = strlen((const char *)text);
    bool fits = bytes < capacity;
    if (fits) {
        memcpy(target, text, bytes + 1);
    }
    xmlFree(text);
    return fits;
}

/* Read the name in the child `field`, which is percent-encoded when `encoded`. */
static bool read_name(const xmlNode *node, const char *field, bool encoded, struct listing_entry *entry)
{
    char text[3 * LISTING_NAME_BYTES];
    if (!child_text(node, field, text, sizeof(text))) {
        return false;
    }
    entry->name_bytes = strlen(text);
    if (!encoded) {
        return text_span_copy(text_span_of(text), entry->name, sizeof(entry->name));
    }
    if (!uri_decode(text_span_of(text), URI_QUERY, entry->name, sizeof(entry->name) - 1, &entry->name_bytes)) {
        return false;
    }
    entry->name[entry->name_bytes] = '\0';
    return true;
}

static bool read_entry(const xmlNode *node, bool encoded, struct listing_entry *entry)
{
    *entry = (struct listing_entry){.kind = LISTING_OBJECT};
    if (is_element(node, "CommonPrefixes")) {
        entry->kind = LISTING_PREFIX;
        return read_name(node, "Prefix", encoded, entry);
    }
    if (is_element(node, "Bucket")) {
        entry->kind = LISTING_BUCKET;
        return read_name(node, "Name", false, entry) &&
               child_text(node, "CreationDate", entry->modified, sizeof(entry->modified));
    }
    char size[24];
    if (!read_name(node, "Key", encoded, entry) || !child_text(node, "Size", size, sizeof(size)) ||
        !child_text(node, "LastModified", entry->modified, sizeof(entry->modified))) {
        return false;
    }
    (void)child_text(node, "ETag", entry->etag, sizeof(entry->etag));
    char *end = NULL;
    entry->size = strtoull(size, &end, 10);
    return size[0] >= '0' && size[0] <= '9' && *end == '\0';
}

static bool read_entries(const xmlNode *parent, bool encoded,
                         void (*each)(void *user, const struct listing_entry *entry), void *user)
{
    struct listing_entry entry;
    for (const xmlNode *node = parent->children; node != NULL; node = node->next) {
        if (!is_element(node, "Contents") && !is_element(node, "CommonPrefixes") && !is_element(node, "Bucket")) {
            continue;
        }
        if (!read_entry(node, encoded, &entry)) {
            return false;
        }
        each(user, &entry);
    }
    return true;
}

enum status s3_listing_read(const char *xml, size_t bytes, void (*each)(void *user, const struct listing_entry *entry),
                            void *user, char *token, size_t token_bytes)
{
    token[0] = '\0';
    xmlDoc *document = parse(xml, bytes);
    if (document == NULL) {
        return STATUS_CORRUPT;
    }
    const xmlNode *root = xmlDocGetRootElement(document);
    bool read = false;
    if (root != NULL && is_element(root, "ListAllMyBucketsResult")) {
        const xmlNode *buckets = child_of(root, "Buckets");
        read = buckets != NULL && read_entries(buckets, false, each, user);
    } else if (root != NULL && is_element(root, "ListBucketResult")) {
        char encoding[8];
        bool encoded = child_text(root, "EncodingType", encoding, sizeof(encoding));
        read = read_entries(root, encoded, each, user);
        char truncated[8];
        if (child_text(root, "IsTruncated", truncated, sizeof(truncated)) && strcmp(truncated, "true") == 0) {
            read = child_text(root, "NextContinuationToken", token, token_bytes) && read;
        }
    }
    xmlFreeDoc(document);
    return read ? STATUS_OK : STATUS_CORRUPT;
}

void s3_error_read(const char *xml, size_t bytes, char *code, size_t code_bytes, char *message, size_t message_bytes)
{
    code[0] = '\0';
    message[0] = '\0';
    xmlDoc *document = parse(xml, bytes);
    if (document == NULL) {
        return;
    }
    const xmlNode *root = xmlDocGetRootElement(document);
    if (root != NULL && is_element(root, "Error")) {
        (void)child_text(root, "Code", code, code_bytes);
        (void)child_text(root, "Message", message, message_bytes);
    }
    xmlFreeDoc(document);
}
