/* cert_samples.h - certificates made up for tests of what reads them: payloads as meta/evidence.h describes them. */
#ifndef TRILITH_TESTS_CERT_SAMPLES_H
#define TRILITH_TESTS_CERT_SAMPLES_H

#define SAMPLE_CLUSTER   "6f1c0000-0000-4000-8000-0000000000e2"
#define SAMPLE_BATCH_ID  "018f0000-0000-7000-8000-00000000ba7c"
#define SAMPLE_OBJECT_ID "018f0000-0000-7000-8000-0000000000c1"
#define SAMPLE_REF       "9b2f7ab59d5b1c5f0a3c1bb3c1f4a4b5a6c7d8e9f0a1b2c3d4e5f60718293a4b"
#define SAMPLE_VERSION   "00112233445566778899aabbccddeeff"

/* The members that every certificate has, but for `type` and what that type adds. */
#define SAMPLE_COMMON(ID, SEQ)                                                                                         \
    "\"schema\":\"erasure-cert/1\",\"cert_id\":\"" ID "\",\"seq\":" SEQ                                                \
    ",\"issued_at\":\"2026-01-31T08:00:00.000Z\",\"supersedes\":null,"                                                 \
    "\"issuer\":{\"org\":\"\",\"cluster_id\":\"" SAMPLE_CLUSTER "\",\"kid\":\"" SAMPLE_CLUSTER "/1\","                 \
    "\"software\":{\"name\":\"trilith-meta\",\"version\":\"0.1.0\",\"build_sha256\":null}},"                           \
    "\"request\":{\"id\":17,\"requested_by\":\"AKEXAMPLE\",\"requested_at\":\"2026-01-31T07:59:00.000Z\","             \
    "\"reason_code\":\"delete\",\"legal_basis\":null,\"legal_hold_checked\":true,\"grace_until\":null,"                \
    "\"plan_sha256\":\"" SAMPLE_REF "\",\"approvals\":[]},"                                                            \
    "\"claim\":{\"method\":\"none\",\"technique\":\"cryptographic erase; overwrite\",\"scope\":\"object\","            \
    "\"basis\":[\"key destroyed\",\"copies overwritten\"],\"statement\":\"Logical (partial) sanitization by "          \
    "cryptographic erase.\"},"                                                                                         \
    "\"result\":\"ERASED\",\"verification\":{\"method\":\"readback\",\"by\":\"nodes\",\"at\":null,"                    \
    "\"checks\":[{\"name\":\"readback\",\"bytes\":65552,\"mismatch\":0}]},"                                            \
    "\"residual\":[\"FTL_CIPHERTEXT\",\"REPLICA_OFFLINE(2)\",\"NEW_CODE\"],"                                           \
    "\"not_claimed\":[\"That a node did not lie about its read-back.\"]"

#define SAMPLE_REPLICA(NODE)                                                                                           \
    "{\"node\":\"" NODE "\",\"disk\":{\"uuid\":\"11111111-2222-4333-8444-555555555555\",\"wwn_ref\":null,"             \
    "\"serial_ref\":null,\"media\":\"rotational\"},\"chunks\":1,\"bytes\":65552,\"never_held\":0,\"state\":\"wiped\"," \
    "\"technique\":\"overwrite\",\"attestations\":[\"" SAMPLE_REF "\"]}"

#define SAMPLE_OBJECT                                                                                                  \
    "{\"type\":\"object-erasure\"," SAMPLE_COMMON(                                                                     \
        SAMPLE_OBJECT_ID,                                                                                              \
        "2") ","                                                                                                       \
             "\"subject\":{\"tenant_ref\":\"" SAMPLE_REF "\",\"object_ref\":\"" SAMPLE_REF                             \
             "\",\"version_id\":\"" SAMPLE_VERSION                                                                     \
             "\",\"size\":65536,\"chunk_count\":1,\"created_at\":\"2026-01-30T08:00:00.000Z\"},"                       \
             "\"crypto\":{\"scheme\":\"EPV-1\",\"aead\":\"AES-256-GCM\",\"key_bits\":256,\"prf\":\"BLAKE2b\","         \
             "\"encrypted_since_creation\":true,\"page\":3,\"slot\":4,\"punctured\":{\"term\":1,\"index\":99,"         \
             "\"at\":\"2026-01-31T07:59:00.000Z\"},\"epoch\":12,\"epoch_erased_at\":\"2026-01-31T07:59:30.000Z\","     \
             "\"root_commit_old\":\"" SAMPLE_REF "\",\"root_commit_new\":\"" SAMPLE_REF                                \
             "\",\"slots\":{\"n\":1,\"t\":1,"                                                                          \
             "\"backend\":\"file\",\"destroyed\":[\"meta1\"],\"pending\":[]},\"lease_expired_at\":null,"               \
             "\"copies\":{\"escrow\":\"none\",\"exports\":[],\"kms\":{\"key_version\":1,\"state\":\"current\","        \
             "\"effective_at\":null}}},\"replicas\":[" SAMPLE_REPLICA("node1") "," SAMPLE_REPLICA(                     \
                 "node2") "," SAMPLE_REPLICA("node3") "],\"ever_held_total\":3,\"shared_chunks_retained\":0,"          \
                                                      "\"gateways\":{\"acked\":4,"                                     \
                                                      "\"total\":4},\"metadata\":{\"names_sealed\":false,\"tombstone_" \
                                                      "compacted_by\":null,\"wal_purged_at\":null},"                   \
                                                      "\"batch\":{\"epoch_cert_id\":\"" SAMPLE_BATCH_ID                \
                                                      "\",\"objects_root\":\"" SAMPLE_REF "\",\"leaf_index\":0,"       \
                                                      "\"path\":[]}}"

#define SAMPLE_MEDIUM                                                                                                  \
    "{\"type\":\"media-sanitization\"," SAMPLE_COMMON(                                                                 \
        "018f0000-0000-7000-8000-0000000000d1",                                                                        \
        "3") ","                                                                                                       \
             "\"media\":{\"manufacturer\":\"Example "                                                                  \
             "Co\",\"model\":\"EX-1\",\"serial\":\"S-77\",\"property_number\":null,"                                   \
             "\"type\":\"rotational\",\"capacity_bytes\":4000787030016},\"source\":null,\"classification\":{\"pre\":"  \
             "null,"                                                                                                   \
             "\"post\":null},\"data_backed_up\":\"unknown\",\"sanitization\":{\"method\":\"clear\",\"technique\":"     \
             "\"overwrite\","                                                                                          \
             "\"steps\":[{\"n\":1,\"command\":\"write\",\"pattern\":\"chacha20\",\"bytes\":4000787030016,\"errors\":"  \
             "0,"                                                                                                      \
             "\"finished_at\":\"2026-01-31T06:00:00.000Z\"}]},\"people\":{\"sanitizer\":{\"name\":\"Ana Sample\","     \
             "\"title\":\"Operator\",\"at\":\"2026-01-31\",\"signature\":\"x.y.z\"},\"verifier\":null,\"validator\":"  \
             "null,"                                                                                                   \
             "\"approvers\":[]},\"destination\":{\"kind\":\"recycling\",\"details\":null}}"

#endif
