/* ledger_entries.c - the entries of a ledger in memory, to be found by the id of their certificate. */
#include "cluster/certificate_form.h"
#include "cluster/verify_issued.h"

#include <stdlib.h>
#include <string.h>

/* 36 characters with hyphens in their places. */
static bool read_uuid(const char *text, uint8_t uuid[16])
{
    char hex[ID_HEX_BYTES];
    if (text == NULL || strlen(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' ||
        strspn(text, "0123456789abcdef-") != 36) {
        return false;
    }
    memcpy(hex, text, 8);
    memcpy(hex + 8, text + 9, 4);
    memcpy(hex + 12, text + 14, 4);
    memcpy(hex + 16, text + 19, 4);
    memcpy(hex + 20, text + 24, 13);
    return id_from_hex(hex, uuid);
}

static bool read_type(const char *text, struct ledger_entries *entries, uint32_t *type)
{
    if (text == NULL || text[0] == '\0' || strlen(text) >= LEDGER_TYPE_BYTES ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz-") != strlen(text)) {
        return false;
    }
    for (uint32_t i = 0; i < entries->type_count; i++) {
        if (strcmp(entries->types[i], text) == 0) {
            *type = i;
            return true;
        }
    }
    if (entries->type_count == LEDGER_TYPES_MAX) {
        return false;
    }
    *type = entries->type_count++;
    memcpy(entries->types[*type], text, strlen(text) + 1);
    return true;
}

bool ledger_entry_read(const json_t *value, struct ledger_entries *entries, struct ledger_entry *entry)
{
    const json_t *epoch = json_object_get(value, "epoch");
    const json_t *version = json_object_get(value, "v");
    struct merkle_hash hash;
    if (json_object_size(value) != 5 || !json_is_integer(epoch) || json_integer_value(epoch) < 0 ||
        !json_is_integer(version) || json_integer_value(version) != 1 ||
        !certificate_hash(json_object_get(value, "sha256"), &hash) ||
        !read_uuid(json_string_value(json_object_get(value, "cert_id")), entry->cert_id)) {
        return false;
    }
    memcpy(entry->sha256, hash.bytes, SHA256_BYTES);
    return read_type(json_string_value(json_object_get(value, "type")), entries, &entry->type);
}

bool ledger_entries_add(struct ledger_entries *entries, const struct ledger_entry *entry)
{
    if (entries->count == entries->room) {
        size_t room = entries->room == 0 ? 256 : 2 * entries->room;
        struct ledger_entry *list = realloc(entries->list, room * sizeof(*list));
        if (list == NULL) {
            return false;
        }
        entries->list = list;
        entries->room = room;
    }
    entries->list[entries->count++] = *entry;
    return true;
}

/* By id; of the same one by index, so that what is said of two names them in order. */
static int compare_entries(const void *a, const void *b)
{
    const struct ledger_entry *first = a;
    const struct ledger_entry *second = b;
    int order = memcmp(first->cert_id, second->cert_id, sizeof(first->cert_id));
    return order != 0 ? order : first->index < second->index ? -1 : 1;
}

void ledger_entries_sort(struct ledger_entries *entries)
{
    if (entries->count > 1) {
        qsort(entries->list, entries->count, sizeof(*entries->list), compare_entries);
    }
}

static int compare_id(const void *id, const void *entry)
{
    return memcmp(id, ((const struct ledger_entry *)entry)->cert_id, 16);
}

const struct ledger_entry *ledger_entries_find(const struct ledger_entries *entries, const char *cert_id)
{
    uint8_t id[16];
    if (entries->count == 0 || !read_uuid(cert_id, id)) {
        return NULL;
    }
    return bsearch(id, entries->list, entries->count, sizeof(*entries->list), compare_id);
}

void ledger_entries_free(struct ledger_entries *entries)
{
    free(entries->list);
    memset(entries, 0, sizeof(*entries));
}
