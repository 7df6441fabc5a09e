/* command_person.c - the people who approve: on record with their public keys; and keys for them. */
#include "base/digest.h"
#include "base/signature.h"
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/person_key.h"

#include <string.h>

#define FINGERPRINT_DIGITS 16

/* The option's text, "" when it was not given. */
static char *option_text(const struct command *command, const char *name)
{
    const char *text = command_option(command, name);
    return (char *)(uintptr_t)(text == NULL ? "" : text);
}

/* What people compare: the beginning of SHA-256 over the 32 bytes of the key. */
static void fingerprint(ProtobufCBinaryData key, char text[FINGERPRINT_DIGITS + 1])
{
    uint8_t hash[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    sha256(key.data, key.len, hash);
    hex_encode(hash, sizeof(hash), hex);
    memcpy(text, hex, FINGERPRINT_DIGITS);
    text[FINGERPRINT_DIGITS] = '\0';
}

static int set_failed(const struct admin *admin, enum status status, const char *name, bool remove)
{
    char what[96];
    snprintf(what, sizeof(what), "person \"%.64s\"", name);
    if (status == STATUS_EXISTS) {
        return command_fail("%s is, or was, on record; a person who has signed keeps the name, so add another one, for "
                            "example with a middle name",
                            what);
    }
    if (status == STATUS_CONFLICT) {
        return command_fail("%s: that key is, or was, somebody else's; make a key for each person (`trilith person key "
                            "FILE`)",
                            what);
    }
    if (status == STATUS_INVALID && !remove) {
        return command_fail("%s: a name has 1 to 63 bytes and no control characters, other texts at most 255", what);
    }
    if (status == STATUS_FULL) {
        return command_fail("%s: a thousand people are on record; remove one first", what);
    }
    return admin_failed(admin, status, what);
}

static int person_set(struct command *command, Trilith__Person *person, bool remove)
{
    Trilith__PersonSetRequest request;
    trilith__person_set_request__init(&request);
    request.person = person;
    request.remove = remove;
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__PERSON_SET, &request.base, &message);
    int result = 0;
    if (status != STATUS_OK) {
        result = set_failed(admin, status, person->name, remove);
    } else if (command->json) {
        result = output_json(json_pack("{s:s, s:b}", "name", person->name, "removed", remove ? 1 : 0));
    } else {
        printf("%s %s\n", person->name, remove ? "does not approve any more" : "may approve");
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_person_add(struct command *command)
{
    const char *path = command_option(command, "--key");
    struct public_key key;
    Trilith__Person person;
    if (path == NULL) {
        return command_usage(command, "--key names the file with the person's public key");
    }
    int result = person_key_read_public(path, &key);
    if (result != 0) {
        return result;
    }
    trilith__person__init(&person);
    person.name = (char *)(uintptr_t)command->arguments[0];
    person.title = option_text(command, "--title");
    person.organization = option_text(command, "--organization");
    person.location = option_text(command, "--location");
    person.contact = option_text(command, "--contact");
    person.public_key = (ProtobufCBinaryData){.data = key.bytes, .len = sizeof(key.bytes)};
    return person_set(command, &person, false);
}

int command_person_remove(struct command *command)
{
    Trilith__Person person;
    trilith__person__init(&person);
    person.name = (char *)(uintptr_t)command->arguments[0];
    return person_set(command, &person, true);
}

static json_t *person_json(const Trilith__Person *person)
{
    char print[FINGERPRINT_DIGITS + 1];
    char pem[PUBLIC_KEY_PEM_BYTES] = "";
    struct public_key key;
    fingerprint(person->public_key, print);
    if (person->public_key.len == sizeof(key.bytes)) {
        memcpy(key.bytes, person->public_key.data, sizeof(key.bytes));
        public_key_to_pem(&key, pem);
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:I}", "name", person->name, "title", person->title,
                     "organization", person->organization, "location", person->location, "contact", person->contact,
                     "fingerprint", print, "public_key", pem, "added", output_json_time(person->added_ms), "removed",
                     output_json_time(person->removed_ms), "signatures", (json_int_t)person->signatures);
}

static void print_person(const Trilith__Person *person)
{
    char added[OUTPUT_TIME_BYTES];
    char print[FINGERPRINT_DIGITS + 1];
    output_time(person->added_ms, added);
    fingerprint(person->public_key, print);
    printf("%-28s %-18s %-20s %-24s %s\n", person->name, print, person->title, added,
           person->removed_ms != 0 ? "removed" : "may approve");
}

int command_person_list(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__PERSON_LIST, NULL, &message);
    const Trilith__PersonListReply *reply = (const Trilith__PersonListReply *)message;
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "list of people");
    } else if (command->json) {
        json_t *people = json_array();
        for (size_t i = 0; i < reply->n_people; i++) {
            json_array_append_new(people, person_json(reply->people[i]));
        }
        result = output_json(json_pack("{s:o}", "people", people));
    } else {
        printf("%-28s %-18s %-20s %-24s %s\n", "PERSON", "KEY", "TITLE", "ADDED", "STATE");
        for (size_t i = 0; i < reply->n_people; i++) {
            print_person(reply->people[i]);
        }
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_person_key(struct command *command)
{
    struct public_key key;
    char pem[PUBLIC_KEY_PEM_BYTES];
    int result = person_key_make(command->arguments[0], &key);
    if (result != 0) {
        return result;
    }
    public_key_to_pem(&key, pem);
    if (command->json) {
        return output_json(json_pack("{s:s, s:s}", "file", command->arguments[0], "public_key", pem));
    }
    printf("%s", pem);
    return output_finish();
}
