/* people.c - rows of people. */
#include "meta/people.h"

#include <string.h>

/* ---- texts ------------------------------------------------------------------------------------- */

/* The bytes of the UTF-8 character at `text`, which ends with a zero; 0: it is none, or a control character (C0, DEL,
 * C1). Overlong forms, surrogates, and what is beyond U+10FFFF are no characters (RFC 3629). */
static size_t character_bytes(const uint8_t *text)
{
    if (text[0] < 0x80) {
        return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
    }
    size_t bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    uint8_t second_min = 0x80;
    uint8_t second_max = 0xbf;
    if (text[0] < 0xc2 || text[0] > 0xf4) {
        return 0;
    }
    if (text[0] == 0xc2) {
        second_min = 0xa0; /* U+0080..U+009F are controls. */
    } else if (text[0] == 0xe0) {
        second_min = 0xa0;
    } else if (text[0] == 0xed) {
        second_max = 0x9f;
    } else if (text[0] == 0xf0) {
        second_min = 0x90;
    } else if (text[0] == 0xf4) {
        second_max = 0x8f;
    }
    if (text[1] < second_min || text[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < bytes; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf) {
            return 0;
        }
    }
    return bytes;
}

bool people_text_is_valid(const char *text, size_t bytes_max)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t at = 0;
    while (bytes[at] != 0) {
        size_t step = character_bytes(bytes + at);
        if (step == 0 || step > bytes_max - at) {
            return false;
        }
        at += step;
    }
    return true;
}

bool person_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && people_text_is_valid(name, PERSON_NAME_BYTES_MAX) && name[0] != ' ' &&
           name[length - 1] != ' ';
}

/* ---- changes ----------------------------------------------------------------------------------- */

static bool person_is_valid(const Trilith__Person *person)
{
    const char *texts[] = {person->title, person->organization, person->location, person->contact};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (!people_text_is_valid(texts[i], PERSON_TEXT_BYTES_MAX)) {
            return false;
        }
    }
    return person->public_key.len == PUBLIC_KEY_BYTES;
}

/* STATUS_OK: there is room, and nobody has this key. */
static enum status key_is_free(struct tables *tables, ProtobufCBinaryData public_key)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    uint32_t count = 0;
    table_walk_open(&walk, tables, key_person(""));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        size_t used_bytes = tables->scratch.used;
        const Trilith__Person *person = tables_unpack(tables, &trilith__person__descriptor, value);
        if (person == NULL || person->public_key.len != PUBLIC_KEY_BYTES) {
            status = tables_fail(tables, STATUS_CORRUPT);
        } else if (memcmp(person->public_key.data, public_key.data, PUBLIC_KEY_BYTES) == 0) {
            status = STATUS_CONFLICT;
        } else if (++count >= PEOPLE_MAX) {
            status = STATUS_FULL;
        }
        tables->scratch.used = used_bytes;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status person_add(struct change *change, const Trilith__Person *added)
{
    struct tables *tables = change->tables;
    if (!person_is_valid(added)) {
        return STATUS_INVALID;
    }
    enum status status = tables_find(tables, key_person(added->name));
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? STATUS_EXISTS : status;
    }
    status = key_is_free(tables, added->public_key);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__Person person;
    trilith__person__init(&person);
    person.name = added->name;
    person.title = added->title;
    person.organization = added->organization;
    person.location = added->location;
    person.contact = added->contact;
    person.public_key = added->public_key;
    person.added_ms = change->time_ms;
    tables_put(tables, key_person(person.name), &person);
    return STATUS_OK;
}

static enum status person_remove(struct change *change, const char *name)
{
    Trilith__Person *person = NULL;
    enum status status = person_get(change->tables, name, &person);
    if (status != STATUS_OK || person->removed_ms != 0) {
        return status;
    }
    if (person->signatures == 0) {
        tables_delete(change->tables, key_person(name));
        return STATUS_OK;
    }
    person->removed_ms = change->time_ms;
    tables_put(change->tables, key_person(name), person);
    return STATUS_OK;
}

enum status person_set(struct change *change, const Trilith__PersonSetRequest *command)
{
    if (command->person == NULL || !person_name_is_valid(command->person->name)) {
        return STATUS_INVALID;
    }
    return command->remove ? person_remove(change, command->person->name) : person_add(change, command->person);
}

void person_note_signed(struct change *change, Trilith__Person *person)
{
    person->signatures++;
    tables_put(change->tables, key_person(person->name), person);
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status person_get(struct tables *tables, const char *name, Trilith__Person **person)
{
    if (!person_name_is_valid(name)) {
        return STATUS_NOT_FOUND;
    }
    enum status status = tables_get(tables, key_person(name), &trilith__person__descriptor, person);
    if (status == STATUS_OK && (*person)->public_key.len != PUBLIC_KEY_BYTES) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    return status;
}

enum status person_list(struct tables *tables, Trilith__PersonListReply *reply)
{
    reply->people = scratch_take(&tables->scratch, PEOPLE_MAX * sizeof(reply->people[0]));
    if (reply->people == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_person(""));
    for (; reply->n_people < PEOPLE_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        Trilith__Person *person = tables_unpack(tables, &trilith__person__descriptor, value);
        if (person == NULL) {
            break;
        }
        reply->people[reply->n_people++] = person;
    }
    table_walk_close(&walk);
    return tables->failed;
}
