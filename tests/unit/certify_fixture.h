/* certify_fixture.h - for tests of the metadata state: certificates for whatever is due, with signatures of nobody. */
#ifndef TRILITH_TESTS_CERTIFY_FIXTURE_H
#define TRILITH_TESTS_CERTIFY_FIXTURE_H

#include "tests/unit/meta_fixture.h"

#include "meta/certificates.h"

#include "base/digest.h"

#define FIXTURE_CERTIFIED_MAX 8

/* Everything that one certificate takes. */
struct fixture_certificate {
    Trilith__Certificate message;
    char id[37];
    char jws[48];
    char entry[LEDGER_ENTRY_BYTES_MAX + 44];
    uint8_t object_ref[32];
    char superseded[37];
};

static inline void fixture_certificate_fill(struct meta_fixture *f, struct fixture_certificate *made, uint64_t seq,
                                            uint64_t erasure_id)
{
    static char object[] = CERTIFICATE_OBJECT;
    static char tenant[] = CERTIFICATE_TENANT;
    uint8_t sum[32];
    char hex[65];
    Trilith__Certificate *before = NULL;
    const Trilith__ErasureRecord *record = fixture_erasure(f, erasure_id);
    trilith__certificate__init(&made->message);
    made->message.type = strcmp(record->reason, "tenant") == 0 ? tenant : object;
    made->message.tenant_id = record->tenant_id;
    made->message.object_ref = (ProtobufCBinaryData){.data = made->object_ref, .len = record->object_ref.len};
    if (record->object_ref.len == sizeof(made->object_ref)) {
        memcpy(made->object_ref, record->object_ref.data, sizeof(made->object_ref));
    }
    if (certificate_of_erasure(fixture_tables(f), erasure_id, &before) == STATUS_OK) {
        (void)snprintf(made->superseded, sizeof(made->superseded), "%s", before->id);
        made->message.supersedes = made->superseded;
    }
    (void)snprintf(made->id, sizeof(made->id), "01900000-0000-7000-8000-%012llx", (unsigned long long)seq);
    (void)snprintf(made->jws, sizeof(made->jws), "header.payload%llu.signature", (unsigned long long)seq);
    made->message.id = made->id;
    made->message.jws = made->jws;
    made->message.seq = seq;
    made->message.erasure_id = erasure_id;
    made->message.issued_ms = f->now_ms;
    sha256(made->jws, strlen(made->jws), sum);
    hex_encode(sum, sizeof(sum), hex);
    (void)snprintf(made->entry, sizeof(made->entry), "{\"cert_id\":\"%s\",\"sha256\":\"%s\"}", made->id, hex);
}

/* Issue certificates for up to `max` erasures that are due, each with an entry of its own. Returns how many. */
static inline size_t fixture_certify(struct meta_fixture *f, size_t max)
{
    static struct fixture_certificate made[FIXTURE_CERTIFIED_MAX];
    Trilith__Certificate *pointers[FIXTURE_CERTIFIED_MAX];
    ProtobufCBinaryData entries[FIXTURE_CERTIFIED_MAX];
    uint64_t ids[FIXTURE_CERTIFIED_MAX];
    const Trilith__ClusterRecord *cluster = state_cluster(f->state);
    struct certificates_due after = {0};
    size_t count = 0;
    cr_assert_leq(max, FIXTURE_CERTIFIED_MAX);
    cr_assert_eq(certificates_due(fixture_tables(f), cluster, &after, max, ids, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        fixture_certificate_fill(f, &made[i], cluster->certificates + 1 + i, ids[i]);
        made[i].message.ledger_index = cluster->ledger_size + i;
        pointers[i] = &made[i].message;
        entries[i] = (ProtobufCBinaryData){.data = (uint8_t *)made[i].entry, .len = strlen(made[i].entry)};
    }
    if (count == 0) {
        return 0;
    }
    char text[CHECKPOINT_BYTES_MAX];
    char note[CHECKPOINT_BYTES_MAX + 64];
    struct checkpoint head;
    cr_assert_eq(ledger_next(fixture_tables(f), cluster, entries, count, &head), STATUS_OK);
    (void)snprintf(head.origin, sizeof(head.origin), "trilith/test");
    checkpoint_text(&head, text);
    (void)snprintf(note, sizeof(note), "%s\n\xe2\x80\x94 trilith/test AAAAAA==\n", text);
    Trilith__CertIssue issue = TRILITH__CERT_ISSUE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    issue.first_seq = cluster->certificates + 1;
    issue.certificates = pointers;
    issue.n_certificates = count;
    issue.ledger_entries = entries;
    issue.n_ledger_entries = count;
    issue.checkpoint = note;
    command.change_case = TRILITH__COMMAND__CHANGE_CERT_ISSUE;
    command.cert_issue = &issue;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    return count;
}

#endif
