/* test_verify_ledger.c - a ledger with all its certificates, then entries removed, moved, replaced, re-signed, rolled
 * back: each is refused and named. */
#include "evidence_world.h"

#define ENTRIES_MAX 8

static struct memory_files memory;
static struct verify_report report;
static struct public_key keys[2]; /* the first signing key, and the one after it */

/* The certificates that have entries, in the ledger's order, and their texts. */
static json_t *payloads[ENTRIES_MAX];
static char *texts[ENTRIES_MAX];
static size_t count;
static json_t *objects[4];

/* ---- a ledger ---------------------------------------------------------------------------------- */

static void add_signed(json_t *payload, unsigned key)
{
    payloads[count] = payload;
    texts[count] = certificate_sign(payload, key, key == 1 ? "c/1" : "c/2");
    count++;
}

/* Manifest of key 1, a batch of two, manifest of key 2 signed by key 1, a batch of two by key 2. */
static void make_certificates(void)
{
    static const unsigned first[1] = {1};
    static const unsigned both[2] = {2, 1};
    for (unsigned i = 0; i < 4; i++) {
        objects[i] = object_payload(i < 2 ? 2 + i : 4 + i, 200 + i);
        json_object_set_new(json_object_get(objects[i], "issuer"), "kid", json_string(i < 2 ? "c/1" : "c/2"));
    }
    add_signed(manifest_payload(1, 100, first, 1), 1);
    add_signed(batch_payload(objects, 2, 4, 101), 1);
    add_signed(manifest_payload(5, 102, both, 2), 1);
    add_signed(batch_payload(objects + 2, 2, 8, 103), 2);
}

static void write_entries(const char *const *entries, size_t entry_count, const char *origin, unsigned key)
{
    struct ledger_tiles_writer *writer = malloc(sizeof(*writer));
    struct merkle_hash root;
    for (size_t i = 0; i < memory.count; i++) {
        if (strncmp(memory.list[i].name, "tile/", 5) == 0) {
            memory.list[i].bytes = 0;
        }
    }
    ledger_tiles_writer_init(writer, &memory.files);
    for (size_t i = 0; i < entry_count; i++) {
        cr_assert_eq(ledger_tiles_append(writer, entries[i], strlen(entries[i])), STATUS_OK);
    }
    merkle_root(&writer->edge.tree, &root);
    char *note = checkpoint_sign(origin, entry_count, &root, key);
    cr_assert_eq(ledger_tiles_finish(writer, note, strlen(note)), STATUS_OK);
    free(note);
    free(writer);
}

static char entry_texts[ENTRIES_MAX][512];
static const char *entries[ENTRIES_MAX];

static void write_ledger(void)
{
    for (size_t i = 0; i < count; i++) {
        (void)entry_text(payloads[i], texts[i], entry_texts[i]);
        entries[i] = entry_texts[i];
    }
    write_entries(entries, count, ORIGIN, 2);
}

static void write_certificates(void)
{
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "certificates/%zu.jws", i);
        memory_put_text(&memory, name, texts[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        char name[64];
        char *jws = certificate_sign(objects[i], i < 2 ? 1 : 2, i < 2 ? "c/1" : "c/2");
        snprintf(name, sizeof(name), "certificates/object%u.jws", i);
        memory_put_text(&memory, name, jws);
        free(jws);
    }
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    memory_init(&memory);
    keys[0] = public_key_of(1);
    keys[1] = public_key_of(2);
    make_certificates();
    write_ledger();
    write_certificates();
}

static void teardown(void)
{
    for (size_t i = 0; i < count; i++) {
        json_decref(payloads[i]);
        free(texts[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        json_decref(objects[i]);
    }
    count = 0;
    memory_deinit(&memory);
}

TestSuite(verify_ledger, .init = setup, .fini = teardown);

/* With the newest key only, as an auditor may have it. */
static enum status verify_since(const char *since)
{
    struct checkpoint head;
    struct ledger_question question = {.files = &memory.files,
                                       .keys = &keys[1],
                                       .key_count = 1,
                                       .since = since,
                                       .since_bytes = since == NULL ? 0 : strlen(since)};
    enum status status = verify_ledger(&question, &report, &head);
    cr_assert_eq(status == STATUS_OK, report.problem[0] == '\0');
    return status;
}

static void expect_refused(const char *words)
{
    cr_assert_eq(verify_since(NULL), STATUS_DENIED, "not refused: %s", words);
    cr_assert_not_null(strstr(report.problem, words), "\"%s\" instead of \"%s\"", report.problem, words);
}

static bool has_line(const struct verify_lines *lines, const char *words)
{
    for (size_t i = 0; i < lines->count; i++) {
        if (strstr(lines->text[i], words) != NULL) {
            return true;
        }
    }
    return false;
}

/* Certificate `at` anew, as `payload` stands, in folder and ledger. */
static void resign(size_t at, unsigned key)
{
    char name[64];
    free(texts[at]);
    texts[at] = certificate_sign(payloads[at], key, key == 1 ? "c/1" : "c/2");
    snprintf(name, sizeof(name), "certificates/%zu.jws", at);
    memory_put_text(&memory, name, texts[at]);
    write_ledger();
}

/* ---- good -------------------------------------------------------------------------------------- */

Test(verify_ledger, a_good_one_with_all_its_certificates)
{
    cr_assert_eq(verify_since(NULL), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.checked, "4 certificates are signed"));
    cr_assert(has_line(&report.checked, "4 certificates of objects"));
    cr_assert(has_line(&report.checked, "2 key manifests"));
    cr_assert(has_line(&report.checked, "without a gap"));
    cr_assert_eq(report.unchecked.count, 1);
}

Test(verify_ledger, without_certificates_it_says_so)
{
    for (size_t i = 0; i < memory.count; i++) {
        if (strncmp(memory.list[i].name, "certificates/", 13) == 0) {
            memory_remove(&memory, memory.list[i].name);
        }
    }
    cr_assert_eq(verify_since(NULL), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.unchecked, "the certificates themselves"));
}

Test(verify_ledger, with_some_certificates_it_says_how_many_are_not_there)
{
    memory_remove(&memory, "certificates/3.jws");
    cr_assert_eq(verify_since(NULL), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.unchecked, "1 entries whose certificates"));
    cr_assert(has_line(&report.unchecked, "2 certificates of objects"));
    cr_assert_not(has_line(&report.checked, "without a gap"));
}

/* ---- the ledger -------------------------------------------------------------------------------- */

Test(verify_ledger, any_changed_byte_of_any_file_is_refused)
{
    for (size_t i = 0; i < memory.count; i++) {
        struct memory_file *file = &memory.list[i];
        for (size_t at = 0; at < file->bytes; at += 1 + file->bytes / 61) {
            char kept = file->data[at];
            file->data[at] = kept == 'A' ? 'B' : 'A';
            cr_assert_eq(verify_since(NULL), STATUS_DENIED, "%s byte %zu", file->name, at);
            file->data[at] = kept;
        }
    }
    cr_assert_eq(verify_since(NULL), STATUS_OK);
}

Test(verify_ledger, a_checkpoint_of_another_key_is_refused)
{
    write_entries(entries, count, ORIGIN, 3);
    expect_refused("not signed by any of the keys given");
    memory_remove(&memory, "checkpoint");
    expect_refused("checkpoint is missing");
}

Test(verify_ledger, removed_and_reordered_entries_show_against_an_earlier_checkpoint)
{
    char *since = strdup(memory_find(&memory, "checkpoint")->data);
    cr_assert_eq(verify_since(since), STATUS_OK, "%s", report.problem);
    cr_assert(has_line(&report.checked, "begins with the 4 entries"));
    /* One more entry: grown. */
    static const char more[] = "{\"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":14,\"sha256\":\"" HEX_A
                               "\",\"type\":\"erasure-batch\",\"v\":1}";
    entries[4] = more;
    write_entries(entries, 5, ORIGIN, 2);
    cr_assert_eq(verify_since(since), STATUS_OK, "%s", report.problem);
    /* One less. */
    write_entries(entries, 3, ORIGIN, 2);
    cr_assert_eq(verify_since(since), STATUS_DENIED);
    cr_assert_not_null(strstr(report.problem, "rolled back"));
    /* As many, of which two changed places. */
    entries[1] = entry_texts[2];
    entries[2] = entry_texts[1];
    write_entries(entries, 5, ORIGIN, 2);
    cr_assert_eq(verify_since(since), STATUS_DENIED);
    cr_assert_not_null(strstr(report.problem, "rewritten"));
    free(since);
}

Test(verify_ledger, an_earlier_checkpoint_must_be_signed_and_of_this_ledger)
{
    struct merkle_hash root;
    merkle_leaf(entries[0], strlen(entries[0]), &root);
    static const struct {
        const char *origin;
        unsigned key;
        const char *words;
    } rows[] = {{ORIGIN, 2, NULL}, {ORIGIN, 3, "is not signed"}, {"trilith/other", 2, "another ledger"}};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char *since = checkpoint_sign(rows[i].origin, 1, &root, rows[i].key);
        enum status status = verify_since(since);
        cr_assert_eq(status, rows[i].words == NULL ? STATUS_OK : STATUS_DENIED, "%s", report.problem);
        cr_assert(rows[i].words == NULL || strstr(report.problem, rows[i].words) != NULL, "%s", report.problem);
        free(since);
    }
    cr_assert_eq(verify_since("junk"), STATUS_DENIED);
}

Test(verify_ledger, malformed_and_repeated_entries_are_named)
{
    static const char *const bad[] = {
        "{}",
        "junk",
        "{\"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":14,\"sha256\":\"" HEX_A
        "\",\"type\":\"erasure-batch\",\"v\":2}",
        "{\"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":-1,\"sha256\":\"" HEX_A
        "\",\"type\":\"erasure-batch\",\"v\":1}",
        "{\"cert_id\":\"01890000-0000-7000-8000-00000000099\",\"epoch\":14,\"sha256\":\"" HEX_A
        "\",\"type\":\"erasure-batch\",\"v\":1}",
        "{\"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":14,\"sha256\":\"aa\",\"type\":\"x\",\"v\":1}",
        "{\"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":14,\"more\":1,\"sha256\":\"" HEX_A
        "\",\"type\":\"x\",\"v\":1}",
        "{ \"cert_id\":\"01890000-0000-7000-8000-000000000999\",\"epoch\":14,\"sha256\":\"" HEX_A
        "\",\"type\":\"x\",\"v\":1}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        entries[4] = bad[i];
        write_entries(entries, 5, ORIGIN, 2);
        expect_refused("entry 4 is not the canonical JSON");
    }
    entries[4] = entry_texts[1];
    write_entries(entries, 5, ORIGIN, 2);
    expect_refused("twice, as entry 1 and entry 4");
}

/* ---- certificates ------------------------------------------------------------------------------ */

Test(verify_ledger, a_certificate_that_is_not_the_one_in_the_ledger_is_refused)
{
    char *other = certificate_sign(payloads[1], 2, "c/2");
    memory_put_text(&memory, "certificates/1.jws", other);
    free(other);
    expect_refused("certificates/1.jws does not have the SHA-256 that entry 1 states");
}

Test(verify_ledger, a_certificate_that_is_not_in_the_ledger_is_refused)
{
    write_entries(entries, 3, ORIGIN, 2);
    memory_remove(&memory, "certificates/object2.jws");
    memory_remove(&memory, "certificates/object3.jws");
    expect_refused("certificates/3.jws does not stand in the ledger");
    memory_remove(&memory, "certificates/3.jws");
    cr_assert_eq(verify_since(NULL), STATUS_OK, "%s", report.problem);
}

Test(verify_ledger, an_object_outside_its_batch_is_refused)
{
    json_object_set_new(json_object_get(objects[3], "subject"), "size", json_integer(1));
    char *jws = certificate_sign(objects[3], 2, "c/2");
    memory_put_text(&memory, "certificates/object3.jws", jws);
    free(jws);
    expect_refused("certificates/object3.jws is not part of the batch");
    json_object_set_new(json_object_get(objects[3], "batch"), "epoch_cert_id", json_string(cert_id_of(555)));
    jws = certificate_sign(objects[3], 2, "c/2");
    memory_put_text(&memory, "certificates/object3.jws", jws);
    free(jws);
    expect_refused("certificates/object3.jws belongs to a batch that does not stand in the ledger");
}

Test(verify_ledger, an_object_signed_by_a_stranger_is_refused)
{
    char *jws = certificate_sign(objects[0], 3, "c/1");
    memory_put_text(&memory, "certificates/object0.jws", jws);
    free(jws);
    expect_refused("certificates/object0.jws is not signed by any key of this ledger");
}

Test(verify_ledger, missing_and_repeated_numbers_are_refused)
{
    json_object_set_new(payloads[3], "seq", json_integer(9));
    json_object_set_new(json_object_get(payloads[3], "totals"), "certificates", json_integer(9));
    resign(3, 2);
    expect_refused("certificate number 8 is missing");
    json_object_set_new(payloads[3], "seq", json_integer(7));
    resign(3, 2);
    expect_refused("takes the number 7");
    json_object_set_new(payloads[3], "seq", json_integer(3));
    resign(3, 2);
    expect_refused("though entry 2 before it has 5");
}

Test(verify_ledger, totals_that_go_back_are_refused)
{
    json_object_set_new(json_object_get(payloads[3], "totals"), "erasures", json_integer(1));
    resign(3, 2);
    expect_refused("the totals of entry 3");
}

Test(verify_ledger, keys_that_do_not_follow_one_another_are_refused)
{
    /* The second key vouches for itself. */
    resign(2, 2);
    expect_refused("the key manifest of entry 2 is not signed by the key before it");
    /* A stranger's manifest. */
    resign(2, 1);
    cr_assert_eq(verify_since(NULL), STATUS_OK, "%s", report.problem);
    resign(0, 3);
    expect_refused("the key manifest of entry 0 is not signed by a key that it lists");
}

Test(verify_ledger, a_contradiction_in_a_certificate_is_named_with_its_file)
{
    json_object_set_new(json_object_get(payloads[3], "erasures"), "count", json_integer(3));
    resign(3, 2);
    expect_refused("certificates/3.jws: a batch of 3");
    json_object_del(payloads[3], "totals");
    resign(3, 2);
    expect_refused("certificates/3.jws: the member totals is missing");
}
