/* test_certificates.c - a certificate is stored once, for what is closed, in its place in the ledger, and not
 * otherwise. */
#include "tests/unit/meta_audit.h"

#include "meta/certificates.h"

#include "base/digest.h"
#include "base/jws_pack.h"

#define ISSUE_MAX 70

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

/* A CertIssue that a test may bend before it is applied. */
static struct {
    Trilith__CertIssue command;
    Trilith__Certificate certificates[ISSUE_MAX];
    Trilith__Certificate *pointers[ISSUE_MAX];
    char ids[ISSUE_MAX][37];
    char jws[ISSUE_MAX][64];
    ProtobufCBinaryData entries[ISSUE_MAX];
    char texts[ISSUE_MAX][LEDGER_ENTRY_BYTES_MAX + 44];
    char note[CHECKPOINT_BYTES_MAX];
    char origin[32];
    uint64_t next_id;
} issue;

static char type_object[] = CERTIFICATE_OBJECT;
static char type_batch[] = CERTIFICATE_BATCH;
static char type_tenant[] = CERTIFICATE_TENANT;
static char type_keys[] = CERTIFICATE_KEYS;

static void setup(void)
{
    fixture_open(f);
    memset(&issue, 0, sizeof(issue));
    (void)snprintf(issue.origin, sizeof(issue.origin), "trilith/test");
    (void)fixture_close_epoch(f);
}

static void teardown(void)
{
    fixture_close(f);
}

TestSuite(certificates, .init = setup, .fini = teardown);

/* ---- making one -------------------------------------------------------------------------------- */

static const Trilith__ClusterRecord *cluster(void)
{
    return state_cluster(f->state);
}

static void issue_begin(void)
{
    trilith__cert_issue__init(&issue.command);
    issue.command.first_seq = cluster()->certificates + 1;
    issue.command.certificates = issue.pointers;
    issue.command.ledger_entries = issue.entries;
}

/* The ledger's entry of certificate `at` as a certifier writes it. */
static void entry_write(size_t entry, size_t at)
{
    uint8_t sum[32];
    char hex[65];
    sha256(issue.certificates[at].jws, strlen(issue.certificates[at].jws), sum);
    hex_encode(sum, sizeof(sum), hex);
    int bytes = snprintf(issue.texts[entry], sizeof(issue.texts[entry]),
                         "{\"cert_id\":\"%s\",\"epoch\":1,\"sha256\":\"%s\",\"type\":\"%s\",\"v\":1}",
                         issue.certificates[at].id, hex, issue.certificates[at].type);
    issue.entries[entry] = (ProtobufCBinaryData){.data = (uint8_t *)issue.texts[entry], .len = (size_t)bytes};
}

/* One more certificate, with an entry of its own. Returns its place in the command. */
static size_t issue_add(char *type, uint64_t erasure_id)
{
    size_t at = issue.command.n_certificates++;
    Trilith__Certificate *certificate = &issue.certificates[at];
    issue.next_id++;
    (void)snprintf(issue.ids[at], sizeof(issue.ids[at]), "01900000-0000-7000-8000-%012llx",
                   (unsigned long long)issue.next_id);
    (void)snprintf(issue.jws[at], sizeof(issue.jws[at]), "header.payload%llu.signature",
                   (unsigned long long)issue.next_id);
    trilith__certificate__init(certificate);
    certificate->seq = issue.command.first_seq + at;
    certificate->id = issue.ids[at];
    certificate->type = type;
    certificate->jws = issue.jws[at];
    certificate->issued_ms = f->now_ms;
    certificate->erasure_id = erasure_id;
    if (erasure_id != 0) {
        certificate->tenant_id = fixture_erasure(f, erasure_id)->tenant_id;
    }
    certificate->ledger_index = cluster()->ledger_size + issue.command.n_ledger_entries;
    issue.pointers[at] = certificate;
    entry_write(issue.command.n_ledger_entries++, at);
    return at;
}

/* One more that belongs to the batch at `batch`. */
static size_t issue_add_to_batch(uint64_t erasure_id, size_t batch)
{
    size_t at = issue_add(type_object, erasure_id);
    issue.command.n_ledger_entries--;
    issue.certificates[at].batch_seq = issue.certificates[batch].seq;
    issue.certificates[at].ledger_index = issue.certificates[batch].ledger_index;
    return at;
}

/* The signed note about a head; its signature is nobody's. */
static void note_write(const struct checkpoint *head)
{
    char text[CHECKPOINT_BYTES_MAX];
    checkpoint_text(head, text);
    (void)snprintf(issue.note, sizeof(issue.note), "%.900s\n\xe2\x80\x94 %s AAAAAA==\n", text, head->origin);
    issue.command.checkpoint = issue.note;
}

static struct checkpoint next_head(void)
{
    struct checkpoint head;
    cr_assert_eq(ledger_next(fixture_tables(f), cluster(), issue.entries, issue.command.n_ledger_entries, &head),
                 STATUS_OK);
    (void)snprintf(head.origin, sizeof(head.origin), "%s", issue.origin);
    return head;
}

static enum status issue_apply_as_is(void)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_CERT_ISSUE;
    command.cert_issue = &issue.command;
    return fixture_apply(f, &command);
}

static enum status issue_apply(void)
{
    const struct checkpoint head = next_head();
    note_write(&head);
    return issue_apply_as_is();
}

/* Refused, and nothing of it is there; put right it is stored. */
static void expect_refused(enum status expected)
{
    uint64_t certificates = cluster()->certificates;
    uint64_t size = cluster()->ledger_size;
    uint64_t due = cluster()->certificates_due;
    cr_assert_eq(issue_apply(), expected, "%s", status_name(f->outcome.status));
    cr_assert_eq(cluster()->certificates, certificates);
    cr_assert_eq(cluster()->ledger_size, size);
    cr_assert_eq(cluster()->certificates_due, due);
    fixture_audit(f);
}

/* ---- erasures ---------------------------------------------------------------------------------- */

static uint64_t put_and_delete(const char *key)
{
    cr_assert_eq(fixture_put(f, key, strlen(key), 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", key, strlen(key)), STATUS_OK);
    return f->outcome.erasure_id;
}

/* An erasure that is closed and waits for its certificate. */
static uint64_t closed_erasure(const char *key)
{
    uint64_t id = put_and_delete(key);
    fixture_wipe_everywhere(f);
    (void)fixture_close_epoch(f);
    return id;
}

static Trilith__Erasure *erasure_of(uint64_t id)
{
    Trilith__Erasure *erasure = NULL;
    cr_assert_eq(erasure_get(fixture_tables(f), id, &erasure), STATUS_OK);
    return erasure;
}

static size_t due(uint64_t *ids, size_t max)
{
    struct certificates_due after = {0};
    size_t count = 0;
    cr_assert_eq(certificates_due(fixture_tables(f), cluster(), &after, max, ids, &count), STATUS_OK);
    return count;
}

/* ---- what is due ------------------------------------------------------------------------------- */

Test(certificates, are_due_when_wipes_are_done_and_keys_are_gone)
{
    uint64_t ids[8];
    uint64_t first = put_and_delete("a");
    uint64_t second = put_and_delete("b");
    cr_assert_eq(due(ids, 8), 0);
    cr_assert_eq(cluster()->certificates_due, 0, "wipes are open");
    fixture_wipe_everywhere(f);
    cr_assert_eq(cluster()->certificates_due, 2);
    cr_assert_eq(due(ids, 8), 0, "keys stand");
    cr_assert_str_eq(erasure_of(first)->waiting, "the close of the epoch that has its keys");
    (void)fixture_close_epoch(f);
    uint64_t third = put_and_delete("c");
    fixture_wipe_everywhere(f);
    cr_assert_eq(due(ids, 8), 2);
    cr_assert_eq(ids[0], first);
    cr_assert_eq(ids[1], second);
    (void)fixture_close_epoch(f);
    struct certificates_due after = {0};
    size_t count = 0;
    cr_assert_eq(certificates_due(fixture_tables(f), cluster(), &after, 2, ids, &count), STATUS_OK);
    cr_assert_eq(count, 2);
    cr_assert_eq(certificates_due(fixture_tables(f), cluster(), &after, 2, ids, &count), STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert_eq(ids[0], third);
    cr_assert_eq(certificates_due(fixture_tables(f), cluster(), &after, 2, ids, &count), STATUS_OK);
    cr_assert_eq(count, 0);
    cr_assert_str_eq(erasure_of(first)->waiting, "its certificate");
    fixture_audit(f);
}

Test(certificates, are_not_due_for_what_was_never_an_object)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    fixture_wipe_everywhere(f);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_not(erasure_of(id)->certifiable);
    cr_assert_str_eq(erasure_of(id)->waiting, "");
    cr_assert_eq(cluster()->certificates_due, 0);
    issue_begin();
    (void)issue_add(type_object, id);
    expect_refused(STATUS_CONFLICT);
}

/* ---- issuing ----------------------------------------------------------------------------------- */

/* Pack the text of certificate `at`, against the plain text of another one or none. */
static void text_pack(size_t at, const char *payload, uint64_t against, const char *against_payload, char **jws)
{
    static const struct signature signature = {.bytes = {1, 2, 3}};
    static char none[] = "";
    size_t bytes = 0, dictionary_bytes = 0, packed_bytes = 0;
    char *plain = jws_plain("erasure-cert+jws", "c/1", payload, strlen(payload), &bytes);
    char *dictionary = against_payload == NULL ? NULL
                                               : jws_plain("erasure-cert+jws", "c/1", against_payload,
                                                           strlen(against_payload), &dictionary_bytes);
    uint8_t *packed = jws_pack(plain, bytes, &signature, dictionary, dictionary_bytes, &packed_bytes);
    cr_assert_eq(jws_unpack(packed, packed_bytes, dictionary, dictionary_bytes, jws), STATUS_OK);
    issue.certificates[at].jws = none;
    issue.certificates[at].packed = (ProtobufCBinaryData){.data = packed, .len = packed_bytes};
    issue.certificates[at].packed_against = against;
    free(dictionary);
    free(plain);
}

Test(certificates, of_a_batch_are_kept_packed_and_read_back_to_the_byte)
{
    static const char first_payload[] = "{\"claim\":\"what all of a round say in the same words\",\"seq\":1}";
    static const char second_payload[] = "{\"claim\":\"what all of a round say in the same words\",\"seq\":2}";
    uint64_t one = closed_erasure("a");
    uint64_t two = closed_erasure("b");
    char *first_jws = NULL, *second_jws = NULL;
    issue_begin();
    size_t batch = issue_add(type_batch, 0);
    size_t first = issue_add_to_batch(one, batch);
    size_t second = issue_add_to_batch(two, batch);
    text_pack(first, first_payload, 0, NULL, &first_jws);
    text_pack(second, second_payload, issue.certificates[first].seq, first_payload, &second_jws);
    cr_assert_eq(issue_apply(), STATUS_OK);

    Trilith__Certificate *found = NULL;
    cr_assert_eq(certificate_of_erasure(fixture_tables(f), one, &found), STATUS_OK);
    cr_assert_str_eq(found->jws, "");
    cr_assert_eq(certificate_unpack(fixture_tables(f), found), STATUS_OK);
    cr_assert_str_eq(found->jws, first_jws);
    cr_assert_eq(found->packed.len, 0);
    cr_assert_eq(certificate_of_erasure(fixture_tables(f), two, &found), STATUS_OK);
    cr_assert_eq(certificate_unpack(fixture_tables(f), found), STATUS_OK);
    cr_assert_str_eq(found->jws, second_jws);
    cr_assert_eq(certificate_by_seq(fixture_tables(f), 1, &found), STATUS_OK);
    cr_assert_eq(certificate_unpack(fixture_tables(f), found), STATUS_OK);
    cr_assert_str_eq(found->jws, issue.jws[batch], "what is not packed stays as it is");
    free(issue.certificates[first].packed.data);
    free(issue.certificates[second].packed.data);
    free(first_jws);
    free(second_jws);
}

Test(certificates, are_packed_by_rules)
{
    uint64_t one = closed_erasure("a");
    char *jws = NULL;
    issue_begin();
    size_t batch = issue_add(type_batch, 0);
    size_t at = issue_add_to_batch(one, batch);
    text_pack(at, "{\"seq\":1}", 0, NULL, &jws);
    Trilith__Certificate *certificate = &issue.certificates[at];

    certificate->packed_against = certificate->seq;
    cr_assert_eq(issue_apply(), STATUS_INVALID, "only against one before it");
    certificate->packed_against = 0;
    certificate->jws = jws;
    cr_assert_eq(issue_apply(), STATUS_INVALID, "not twice");
    certificate->jws = issue.certificates[at].id + 36; /* Empty. */
    issue.certificates[batch].packed = certificate->packed;
    cr_assert_eq(issue_apply(), STATUS_INVALID, "what the ledger hashes is not packed");
    issue.certificates[batch].packed = (ProtobufCBinaryData){0};
    cr_assert_eq(issue_apply(), STATUS_OK);

    Trilith__Certificate *found = NULL;
    cr_assert_eq(certificate_of_erasure(fixture_tables(f), one, &found), STATUS_OK);
    found->packed.len--;
    cr_assert_eq(certificate_unpack(fixture_tables(f), found), STATUS_CORRUPT);
    free(certificate->packed.data);
    free(jws);
}

Test(certificates, are_stored_with_their_place_in_the_ledger)
{
    f->has_salt = true;
    uint64_t id = closed_erasure("a");
    issue_begin();
    size_t at = issue_add(type_object, id);
    uint8_t ref[32];
    memcpy(ref, fixture_erasure(f, id)->object_ref.data, 32);
    issue.certificates[at].object_ref = (ProtobufCBinaryData){.data = ref, .len = 32};
    cr_assert_eq(issue_apply(), STATUS_OK);
    cr_assert_eq(cluster()->certificates, 1);
    cr_assert_eq(cluster()->certificates_due, 0);
    cr_assert_eq(cluster()->ledger_size, 1);
    cr_assert_str_eq(erasure_of(id)->certificate, issue.ids[at]);
    cr_assert_str_eq(erasure_of(id)->waiting, "");

    Trilith__Certificate *found = NULL;
    cr_assert_eq(certificate_by_seq(fixture_tables(f), 1, &found), STATUS_OK);
    cr_assert_str_eq(found->jws, issue.jws[at]);
    cr_assert_eq(certificate_by_id(fixture_tables(f), issue.ids[at], &found), STATUS_OK);
    cr_assert_eq(found->seq, 1);
    cr_assert_eq(certificate_of_erasure(fixture_tables(f), id, &found), STATUS_OK);
    cr_assert_eq(found->seq, 1);
    cr_assert_eq(certificate_by_id(fixture_tables(f), "nonsense", &found), STATUS_NOT_FOUND);
    cr_assert_eq(certificate_by_seq(fixture_tables(f), 2, &found), STATUS_NOT_FOUND);
    char *note = NULL;
    cr_assert_eq(ledger_checkpoint(fixture_tables(f), &note), STATUS_OK);
    cr_assert_str_eq(note, issue.note);
    ProtobufCBinaryData entry;
    cr_assert_eq(ledger_entry(fixture_tables(f), 0, &entry), STATUS_OK);
    cr_assert_eq(entry.len, issue.entries[0].len);
    cr_assert_arr_eq(entry.data, issue.entries[0].data, entry.len);
    fixture_audit(f);
}

Test(certificates, are_refused_for_an_erasure_that_is_open)
{
    uint64_t id = put_and_delete("a");
    issue_begin();
    (void)issue_add(type_object, id);
    expect_refused(STATUS_CONFLICT);
    (void)fixture_close_epoch(f);
    expect_refused(STATUS_CONFLICT); /* Its keys are gone, its copies are not. */
    fixture_wipe_everywhere(f);
    cr_assert_eq(issue_apply(), STATUS_OK);

    uint64_t other = put_and_delete("b");
    fixture_wipe_everywhere(f);
    issue_begin();
    (void)issue_add(type_object, other);
    expect_refused(STATUS_CONFLICT); /* Its copies are gone, its keys are not. */
    cr_assert_eq(fixture_seal(f, cluster()->epoch + 1, 0x77), STATUS_OK);
    expect_refused(STATUS_CONFLICT);
    cr_assert_eq(fixture_switch(f, cluster()->sealed_epoch, 0x77), STATUS_OK);
    expect_refused(STATUS_CONFLICT); /* The root before still stands. */
    cr_assert_eq(fixture_erased(f, cluster()->erasing_epoch, 7), STATUS_OK);
    cr_assert_eq(issue_apply(), STATUS_OK);
    fixture_audit(f);
}

Test(certificates, are_issued_once)
{
    uint64_t id = closed_erasure("a");
    issue_begin();
    (void)issue_add(type_object, id);
    (void)issue_add(type_object, id);
    expect_refused(STATUS_INVALID);
    issue_begin();
    (void)issue_add(type_object, id);
    cr_assert_eq(issue_apply(), STATUS_OK);
    issue_begin();
    (void)issue_add(type_object, id);
    expect_refused(STATUS_CONFLICT);
    char before[37];
    memcpy(before, issue.ids[0], sizeof(before));
    issue.certificates[0].supersedes = before;
    expect_refused(STATUS_CONFLICT);
    fixture_audit(f);
}

Test(certificates, are_numbered_without_gaps)
{
    uint64_t id = closed_erasure("a");
    issue_begin();
    (void)issue_add(type_object, id);
    for (uint64_t seq = 0; seq < 4; seq++) {
        issue.command.first_seq = seq;
        issue.certificates[0].seq = seq;
        if (seq != 1) {
            expect_refused(STATUS_CONFLICT);
        }
    }
    issue.command.first_seq = 1;
    expect_refused(STATUS_INVALID); /* The command says one number, the certificate another. */
    issue.certificates[0].seq = 1;
    cr_assert_eq(issue_apply(), STATUS_OK);
    cr_assert_eq(issue_apply(), STATUS_CONFLICT, "the same command again");
    fixture_audit(f);
}

Test(certificates, have_an_id_of_their_own)
{
    uint64_t first = put_and_delete("a");
    uint64_t second = closed_erasure("b");
    issue_begin();
    (void)issue_add(type_object, first);
    cr_assert_eq(issue_apply(), STATUS_OK);
    char taken[37];
    memcpy(taken, issue.ids[0], sizeof(taken));
    issue_begin();
    (void)issue_add(type_object, second);
    issue.certificates[0].id = taken;
    entry_write(0, 0);
    expect_refused(STATUS_CONFLICT);
    static char bad[][40] = {"",
                             "01900000-0000-7000-8000-00000000000",
                             "01900000-0000-7000-8000-00000000000G",
                             "01900000-0000-7000-8000-00000000000A",
                             "0190000000000-7000-8000-000000000001",
                             "01900000-0000-7000-8000-0000000000011"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        issue.certificates[0].id = bad[i];
        entry_write(0, 0);
        expect_refused(STATUS_INVALID);
    }
}

Test(certificates, say_what_they_are_about)
{
    f->has_salt = true;
    uint64_t id = closed_erasure("a");
    uint8_t ref[33];
    memcpy(ref, fixture_erasure(f, id)->object_ref.data, 32);
    const ProtobufCBinaryData right = {.data = ref, .len = 32};
    issue_begin();
    Trilith__Certificate *certificate = &issue.certificates[issue_add(type_object, id)];
    expect_refused(STATUS_INVALID); /* The erasure has an object_ref. */
    certificate->object_ref = (ProtobufCBinaryData){.data = ref, .len = 31};
    expect_refused(STATUS_INVALID);
    certificate->object_ref = right;
    ref[0] ^= 1;
    expect_refused(STATUS_INVALID);
    ref[0] ^= 1;
    certificate->tenant_id++;
    expect_refused(STATUS_INVALID);
    certificate->tenant_id--;
    static char others[][24] = {
        CERTIFICATE_BATCH, CERTIFICATE_TENANT, CERTIFICATE_KEYS, CERTIFICATE_MEDIUM, "poem", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        certificate->type = others[i];
        expect_refused(STATUS_INVALID);
    }
    certificate->type = type_object;
    certificate->erasure_id = 0;
    expect_refused(STATUS_INVALID);
    certificate->erasure_id = 999;
    expect_refused(STATUS_NOT_FOUND);
    certificate->erasure_id = id;
    char none[] = "";
    char *jws = certificate->jws;
    certificate->jws = none;
    expect_refused(STATUS_INVALID);
    certificate->jws = jws;
    char superseded[] = "01900000-0000-7000-8000-000000000001";
    certificate->supersedes = superseded;
    expect_refused(STATUS_CONFLICT);
    certificate->supersedes = none;
    cr_assert_eq(issue_apply(), STATUS_OK);
}

/* ---- the ledger -------------------------------------------------------------------------------- */

Test(certificates, need_a_checkpoint_of_the_ledger_that_they_make)
{
    (void)put_and_delete("a");
    uint64_t id = closed_erasure("b");
    issue_begin();
    (void)issue_add(type_object, 1);
    cr_assert_eq(issue_apply(), STATUS_OK);
    issue_begin();
    (void)issue_add(type_object, id);
    struct checkpoint head = next_head();
    head.size--;
    note_write(&head);
    cr_assert_eq(issue_apply_as_is(), STATUS_CONFLICT, "a wrong size");
    head = next_head();
    head.root.bytes[31] ^= 1;
    note_write(&head);
    cr_assert_eq(issue_apply_as_is(), STATUS_CONFLICT, "a wrong root");
    head = next_head();
    head.origin[0] = 'T';
    note_write(&head);
    cr_assert_eq(issue_apply_as_is(), STATUS_CONFLICT, "another ledger");
    head = next_head();
    note_write(&head);
    char text[CHECKPOINT_BYTES_MAX];
    checkpoint_text(&head, text);
    issue.command.checkpoint = text;
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID, "nobody signed");
    char none[] = "";
    issue.command.checkpoint = none;
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID);
    cr_assert_eq(cluster()->certificates, 1);
    cr_assert_eq(cluster()->ledger_size, 1);
    cr_assert_eq(issue_apply(), STATUS_OK);
    fixture_audit(f);
}

Test(certificates, have_an_entry_that_names_them)
{
    (void)put_and_delete("a");
    uint64_t id = closed_erasure("b");
    issue_begin();
    (void)issue_add(type_object, id);
    char *digit = strstr(issue.texts[0], "\"sha256\":\"") + 10;
    char kept = *digit;
    *digit = kept == '0' ? '1' : '0';
    expect_refused(STATUS_INVALID);
    *digit = kept;
    digit = strstr(issue.texts[0], "\"cert_id\":\"") + 20;
    *digit ^= 1;
    expect_refused(STATUS_INVALID);
    *digit ^= 1;
    issue.certificates[0].ledger_index++;
    expect_refused(STATUS_INVALID);
    issue.certificates[0].ledger_index--;
    entry_write(issue.command.n_ledger_entries++, 0);
    expect_refused(STATUS_INVALID); /* An entry that stands for nothing. */
    issue.command.n_ledger_entries--;
    (void)issue_add(type_object, 1);
    issue.certificates[1].ledger_index = issue.certificates[0].ledger_index;
    expect_refused(STATUS_INVALID); /* Two share an entry. */
    issue.certificates[1].ledger_index++;
    cr_assert_eq(issue_apply(), STATUS_OK);
    fixture_audit(f);
}

Test(certificates, of_a_batch_are_in_the_ledger_through_it)
{
    for (char key[2] = "a"; key[0] < 'd'; key[0]++) {
        (void)put_and_delete(key);
    }
    uint64_t last = closed_erasure("z");
    issue_begin();
    size_t batch = issue_add(type_batch, 0);
    size_t first = issue_add_to_batch(1, batch);
    for (uint64_t id = 2; id < last; id++) {
        (void)issue_add_to_batch(id, batch);
    }
    size_t alone = issue_add(type_object, last);
    issue.certificates[first].batch_seq = issue.certificates[alone].seq;
    expect_refused(STATUS_INVALID); /* That is no batch. */
    issue.certificates[first].batch_seq = issue.certificates[batch].seq + 100;
    expect_refused(STATUS_INVALID);
    issue.certificates[first].batch_seq = issue.certificates[batch].seq;
    issue.certificates[first].ledger_index++;
    expect_refused(STATUS_INVALID);
    issue.certificates[first].ledger_index--;
    cr_assert_eq(issue_apply(), STATUS_OK);
    cr_assert_eq(cluster()->certificates, last + 1);
    cr_assert_eq(cluster()->ledger_size, 2);
    cr_assert_eq(cluster()->certificates_due, 0);
    Trilith__Certificate *found = NULL;
    cr_assert_eq(certificate_of_erasure(fixture_tables(f), 2, &found), STATUS_OK);
    cr_assert_eq(found->batch_seq, 1);
    cr_assert_eq(found->ledger_index, 0);
    fixture_audit(f);
}

Test(certificates, grow_a_ledger_whose_every_entry_can_be_proved)
{
    struct merkle_hash leaves[64];
    uint64_t size = 0;
    for (uint64_t round = 0; round < 9; round++) {
        issue_begin();
        for (uint64_t i = 0; i <= round % 4; i++) {
            size_t at = issue_add(type_keys, 0);
            merkle_leaf(issue.entries[at].data, issue.entries[at].len, &leaves[size++]);
        }
        cr_assert_eq(issue_apply(), STATUS_OK);
        cr_assert_eq(cluster()->ledger_size, size);
        struct merkle_hash root;
        merkle_root_of(leaves, size, &root);
        cr_assert_arr_eq(cluster()->ledger_root.data, root.bytes, 32);
        for (uint64_t i = 0; i < size; i++) {
            struct merkle_hash proof[MERKLE_PROOF_MAX];
            size_t count = 0;
            cr_assert_eq(ledger_proof(fixture_tables(f), i, size, proof, &count), STATUS_OK);
            cr_assert(merkle_inclusion_verify(i, size, &leaves[i], proof, count, &root));
        }
        state_close(f->state);
        cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
        cr_assert_arr_eq(cluster()->ledger_root.data, root.bytes, 32);
    }
    Trilith__LedgerReadReply reply = TRILITH__LEDGER_READ_REPLY__INIT;
    cr_assert_eq(ledger_read(fixture_tables(f), 3, 5, &reply), STATUS_OK);
    cr_assert_eq(reply.n_entries, 5);
    struct merkle_hash leaf;
    merkle_leaf(reply.entries[0].data, reply.entries[0].len, &leaf);
    cr_assert_arr_eq(leaf.bytes, leaves[3].bytes, 32);
    trilith__ledger_read_reply__init(&reply);
    cr_assert_eq(ledger_read(fixture_tables(f), size, 5, &reply), STATUS_OK);
    cr_assert_eq(reply.n_entries, 0);
    cr_assert_eq(ledger_read(fixture_tables(f), 0, LEDGER_READ_MAX + 1, &reply), STATUS_INVALID);
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    size_t count = 0;
    cr_assert_eq(ledger_proof(fixture_tables(f), size, size, proof, &count), STATUS_INVALID);
}

Test(certificates, stop_at_a_ledger_that_is_not_what_its_root_says)
{
    issue_begin();
    (void)issue_add(type_keys, 0);
    cr_assert_eq(issue_apply(), STATUS_OK);
    struct table_key key = key_ledger_hash(0, 0);
    uint8_t other[32] = {1};
    struct kv_batch *batch = kv_batch_open(f->kv);
    kv_batch_put(batch, KV_SLICE(key.bytes, key.length), KV_SLICE(other, 32));
    cr_assert_eq(kv_write(f->kv, batch), STATUS_OK);
    kv_batch_close(batch);
    struct checkpoint head;
    cr_assert_eq(ledger_next(fixture_tables(f), cluster(), issue.entries, 1, &head), STATUS_CORRUPT);
}

Test(certificates, of_one_command_are_bounded)
{
    issue_begin();
    for (size_t i = 0; i <= CERTIFICATES_ISSUED_MAX; i++) {
        (void)issue_add(type_keys, 0);
    }
    struct checkpoint head = {.size = 1};
    (void)snprintf(head.origin, sizeof(head.origin), "%s", issue.origin);
    note_write(&head);
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID);
    issue_begin();
    note_write(&head);
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID, "none at all");
    (void)issue_add(type_keys, 0);
    issue.entries[0] = (ProtobufCBinaryData){0};
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID, "an entry of nothing");
    entry_write(0, 0);
    issue.entries[0].len = LEDGER_ENTRY_BYTES_MAX + 1;
    cr_assert_eq(issue_apply_as_is(), STATUS_INVALID);
}

/* ---- again ------------------------------------------------------------------------------------- */

Test(certificates, of_an_erasure_that_was_opened_again_name_the_one_before)
{
    struct fixture_change direct;
    struct change *change = fixture_change_begin(f, &direct);
    cr_assert_eq(erasure_open_whole(change, f->tenant, 0, "Ada", f->now_ms), STATUS_OK);
    fixture_change_end(f, &direct);
    uint64_t id = f->outcome.erasure_id;
    enum status status = STATUS_OK;
    struct erasure_draft *draft = erasure_fill_begin(fixture_change_begin(f, &direct), id, &status);
    cr_assert_eq(erasure_fill_end(draft, true), STATUS_OK);
    fixture_change_end(f, &direct);
    (void)fixture_close_epoch(f);
    issue_begin();
    (void)issue_add(type_tenant, id);
    cr_assert_eq(issue_apply(), STATUS_OK);
    char first[37];
    memcpy(first, issue.ids[0], sizeof(first));
    fixture_audit(f);

    static struct fixture_commit commit;
    fixture_commit_prepare(f, &commit, "late", 4, 1);
    const uint8_t *chunks[1] = {commit.ids[0]};
    f->now_ms += 1000;
    cr_assert_eq(erasure_reopen(fixture_change_begin(f, &direct), id, 2, chunks, 1, NULL), STATUS_OK);
    fixture_change_end(f, &direct);
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    issue_begin();
    (void)issue_add(type_tenant, id);
    issue.certificates[0].supersedes = first;
    expect_refused(STATUS_CONFLICT); /* It is open. */
    fixture_wipe_everywhere(f);
    cr_assert_str_eq(erasure_of(id)->waiting, "its certificate");
    issue.certificates[0].supersedes = issue.ids[0];
    expect_refused(STATUS_CONFLICT);
    char none[] = "";
    issue.certificates[0].supersedes = none;
    expect_refused(STATUS_CONFLICT);
    issue.certificates[0].supersedes = first;
    cr_assert_eq(issue_apply(), STATUS_OK);
    cr_assert_str_eq(erasure_of(id)->certificate, issue.ids[0]);
    cr_assert_str_eq(erasure_of(id)->waiting, "");
    fixture_audit(f);
}

/* ---- finding them ------------------------------------------------------------------------------ */

static void expect_listed(struct certificate_query query, const uint64_t *seqs, size_t count)
{
    Trilith__CertListReply reply = TRILITH__CERT_LIST_REPLY__INIT;
    query.max = query.max == 0 ? 100 : query.max;
    cr_assert_eq(certificate_list(fixture_tables(f), &query, &reply), STATUS_OK);
    cr_assert_eq(reply.n_certificates, count, "%zu listed", reply.n_certificates);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(reply.certificates[i]->seq, seqs[i]);
        cr_assert_str_eq(reply.certificates[i]->jws, "", "texts are not listed");
        cr_assert_eq(strlen(reply.certificates[i]->id), 36);
    }
}

Test(certificates, are_listed_by_tenant_time_and_object)
{
    f->has_salt = true;
    uint64_t base_ms = f->now_ms;
    uint8_t refs[4][32];
    for (size_t i = 0; i < 4; i++) {
        uint64_t id = closed_erasure(i == 3 ? "a" : "b");
        f->now_ms = base_ms + 1000 * (i + 1);
        issue_begin();
        size_t at = issue_add(type_object, id);
        memcpy(refs[i], fixture_erasure(f, id)->object_ref.data, 32);
        issue.certificates[at].object_ref = (ProtobufCBinaryData){.data = refs[i], .len = 32};
        (void)issue_add(type_keys, 0);
        cr_assert_eq(issue_apply(), STATUS_OK);
    }
    expect_listed((struct certificate_query){0}, (const uint64_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    expect_listed((struct certificate_query){.tenant_id = f->tenant}, (const uint64_t[]){1, 3, 5, 7}, 4);
    expect_listed((struct certificate_query){.tenant_id = f->tenant, .after_seq = 3}, (const uint64_t[]){5, 7}, 2);
    expect_listed((struct certificate_query){.tenant_id = 77}, NULL, 0);
    expect_listed((struct certificate_query){.from_ms = base_ms + 2000, .until_ms = base_ms + 3000},
                  (const uint64_t[]){3, 4}, 2);
    const ProtobufCBinaryData ref = {.data = refs[2], .len = 32};
    expect_listed((struct certificate_query){.object_ref = ref}, (const uint64_t[]){5}, 1);
    expect_listed((struct certificate_query){.tenant_id = f->tenant, .object_ref = ref}, (const uint64_t[]){5}, 1);
    expect_listed((struct certificate_query){.tenant_id = 77, .object_ref = ref}, NULL, 0);

    struct certificate_query query = {.max = 3};
    uint64_t seen = 0;
    for (bool more = true; more;) {
        Trilith__CertListReply reply = TRILITH__CERT_LIST_REPLY__INIT;
        cr_assert_eq(certificate_list(fixture_tables(f), &query, &reply), STATUS_OK);
        seen += reply.n_certificates;
        more = reply.more;
        query.after_seq = reply.looked_at_seq;
    }
    cr_assert_eq(seen, 8);
    Trilith__CertListReply reply = TRILITH__CERT_LIST_REPLY__INIT;
    query.max = CERTIFICATES_LIST_MAX + 1;
    cr_assert_eq(certificate_list(fixture_tables(f), &query, &reply), STATUS_INVALID);
    query.max = 1;
    query.object_ref = (ProtobufCBinaryData){.data = refs[0], .len = 31};
    cr_assert_eq(certificate_list(fixture_tables(f), &query, &reply), STATUS_INVALID);
}

/* ---- signing keys ------------------------------------------------------------------------------ */

static enum status key_add(uint32_t number, size_t bytes, const char *kid)
{
    uint8_t public_key[33];
    char name[JWS_KID_BYTES + 8];
    Trilith__SigningKey key = TRILITH__SIGNING_KEY__INIT;
    Trilith__SigningKeyAdd add = TRILITH__SIGNING_KEY_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    memset(public_key, (int)number, sizeof(public_key));
    (void)snprintf(name, sizeof(name), "%s", kid);
    key.number = number;
    key.kid = name;
    key.public_key = (ProtobufCBinaryData){.data = public_key, .len = bytes};
    key.retired_ms = 5; /* What a leader can't say. */
    add.key = &key;
    command.change_case = TRILITH__COMMAND__CHANGE_SIGNING_KEY_ADD;
    command.signing_key_add = &add;
    return fixture_apply(f, &command);
}

Test(certificates, signing_keys_follow_one_another)
{
    char long_kid[JWS_KID_BYTES + 1];
    memset(long_kid, 'k', sizeof(long_kid) - 1);
    long_kid[JWS_KID_BYTES] = '\0';
    cr_assert_eq(key_add(0, 32, "c/0"), STATUS_CONFLICT);
    cr_assert_eq(key_add(2, 32, "c/2"), STATUS_CONFLICT);
    cr_assert_eq(key_add(1, 31, "c/1"), STATUS_INVALID);
    cr_assert_eq(key_add(1, 33, "c/1"), STATUS_INVALID);
    cr_assert_eq(key_add(1, 32, ""), STATUS_INVALID);
    cr_assert_eq(key_add(1, 32, long_kid), STATUS_INVALID);
    cr_assert_eq(key_add(1, 32, "c/1"), STATUS_OK);
    uint64_t first_ms = f->now_ms;
    cr_assert_eq(key_add(1, 32, "c/1"), STATUS_CONFLICT);
    f->now_ms += 1000;
    cr_assert_eq(key_add(2, 32, "c/2"), STATUS_OK);
    cr_assert_eq(cluster()->signing_key, 2);
    Trilith__SigningKeyListReply reply = TRILITH__SIGNING_KEY_LIST_REPLY__INIT;
    cr_assert_eq(signing_key_list(fixture_tables(f), &reply), STATUS_OK);
    cr_assert_eq(reply.n_keys, 2);
    cr_assert_eq(reply.keys[0]->number, 2);
    cr_assert_eq(reply.keys[0]->retired_ms, 0);
    cr_assert_eq(reply.keys[1]->created_ms, first_ms);
    cr_assert_eq(reply.keys[1]->retired_ms, f->now_ms);
    cr_assert_str_eq(reply.keys[1]->kid, "c/1");
}

/* ---- two of the same --------------------------------------------------------------------------- */

Test(certificates, of_equal_commands_are_equal_to_the_byte)
{
    uint64_t prints[2];
    for (size_t i = 0; i < 2; i++) {
        teardown();
        setup();
        f->has_salt = true;
        (void)put_and_delete("a");
        uint64_t last = closed_erasure("b");
        issue_begin();
        size_t batch = issue_add(type_batch, 0);
        for (uint64_t id = 1; id <= last; id++) {
            size_t at = issue_add_to_batch(id, batch);
            static uint8_t refs[2][32];
            memcpy(refs[id - 1], fixture_erasure(f, id)->object_ref.data, 32);
            issue.certificates[at].object_ref = (ProtobufCBinaryData){.data = refs[id - 1], .len = 32};
        }
        cr_assert_eq(issue_apply(), STATUS_OK);
        cr_assert_eq(key_add(1, 32, "c/1"), STATUS_OK);
        prints[i] = fixture_fingerprint(f->kv);
    }
    cr_assert_eq(prints[0], prints[1]);
}
