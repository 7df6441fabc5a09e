/* test_people.c - who is on record: one person to a name and to a key, and who has signed stays. */
#include "tests/unit/request_fixture.h"

static struct meta_fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

TestSuite(people, .init = setup, .fini = teardown);

Test(people, a_person_is_found_with_their_key)
{
    struct public_key key;
    Trilith__Person *person = NULL;
    cr_assert_eq(fixture_person_add(&f, "Ada Lovelace", 0), STATUS_OK);
    cr_assert_eq(person_get(fixture_tables(&f), "Ada Lovelace", &person), STATUS_OK);
    signature_public_key(fixture_seed(0), &key);
    cr_assert_arr_eq(person->public_key.data, key.bytes, PUBLIC_KEY_BYTES);
    cr_assert_str_eq(person->title, "DPO");
    cr_assert_eq(person->added_ms, f.now_ms);
    cr_assert_eq(person_get(fixture_tables(&f), "Ada", &person), STATUS_NOT_FOUND);
}

Test(people, a_name_belongs_to_one_person)
{
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Ada", 1), STATUS_EXISTS);
}

Test(people, a_key_belongs_to_one_person)
{
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Bob", 0), STATUS_CONFLICT);
    cr_assert_eq(fixture_person_add(&f, "Bob", 1), STATUS_OK);
}

Test(people, whoever_has_signed_nothing_is_forgotten_when_removed)
{
    Trilith__Person *person = NULL;
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_OK);
    cr_assert_eq(person_get(fixture_tables(&f), "Ada", &person), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_person_add(&f, "Bob", 0), STATUS_OK, "the key is free again");
}

Test(people, whoever_has_approved_stays_on_record_and_neither_name_nor_key_is_free)
{
    Trilith__Person *person = NULL;
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_OK);
    cr_assert_eq(person_get(fixture_tables(&f), "Ada", &person), STATUS_OK);
    cr_assert_neq(person->removed_ms, 0);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_OK, "again");
    cr_assert_eq(fixture_person_add(&f, "Ada", 1), STATUS_EXISTS);
    cr_assert_eq(fixture_person_add(&f, "Bob", 0), STATUS_CONFLICT);
}

Test(people, names_are_short_printable_utf_8)
{
    char longest[65];
    memset(longest, 'a', sizeof(longest));
    longest[63] = '\0';
    cr_assert(person_name_is_valid(longest));
    cr_assert(person_name_is_valid("\xe5\xbc\xa0\xe4\xbc\x9f"));     /* two Chinese characters */
    cr_assert(person_name_is_valid("J\xc3\xb6rg \xf0\x9f\x98\x80")); /* four bytes */
    longest[63] = 'a';
    longest[64] = '\0';
    cr_assert_not(person_name_is_valid(longest));
    const char *bad[] = {"",
                         " a",
                         "a ",
                         "a\nb",
                         "a\x7f",
                         "\xff",
                         "\xc3",
                         "\xc0\x80",
                         "\xed\xa0\x80",
                         "\xe0\x80\x80",
                         "\xf4\x90\x80\x80",
                         "\xc2\x85",
                         "\xe5\xbc"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_assert_not(person_name_is_valid(bad[i]), "name %zu", i);
        cr_assert_eq(fixture_person_add(&f, bad[i], 0), STATUS_INVALID, "name %zu", i);
    }
}

Test(people, a_key_of_another_length_is_refused)
{
    uint8_t key[31] = {1};
    char name[] = "Ada";
    Trilith__Person person;
    Trilith__PersonSetRequest set = TRILITH__PERSON_SET_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__person__init(&person);
    person.name = name;
    person.public_key = (ProtobufCBinaryData){.data = key, .len = sizeof(key)};
    set.person = &person;
    command.change_case = TRILITH__COMMAND__CHANGE_PERSON_SET;
    command.person_set = &set;
    cr_assert_eq(fixture_apply(&f, &command), STATUS_INVALID);
}

Test(people, the_list_has_everybody_in_the_order_of_names)
{
    Trilith__PersonListReply reply = TRILITH__PERSON_LIST_REPLY__INIT;
    cr_assert_eq(fixture_person_add(&f, "Carol", 2), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Bob", 1), STATUS_OK);
    cr_assert_eq(person_list(fixture_tables(&f), &reply), STATUS_OK);
    cr_assert_eq(reply.n_people, 3);
    cr_assert_str_eq(reply.people[0]->name, "Ada");
    cr_assert_str_eq(reply.people[2]->name, "Carol");
}
