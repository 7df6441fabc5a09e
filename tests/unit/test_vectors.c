/* test_vectors.c - the product computes what tests/vectors/vectors.txt says, all of it. The same file is held against
 * an independent implementation by tests/vectors/check.py; its format is described at its top. */
#include "base/aead.h"
#include "base/checkpoint.h"
#include "base/seal.h"
#include "meta/vault/ggm.h"
#include "meta/vault/shamir.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define VECTORS_MAX     128
#define FIELDS_MAX      12
#define LINE_BYTES_MAX  4096
#define VALUE_BYTES_MAX 2048

struct field {
    char *name;
    char *text;
};

struct vector {
    char *name;
    uint32_t field_count;
    struct field fields[FIELDS_MAX];
};

static struct vector vectors[VECTORS_MAX];
static uint32_t vector_count;

/* ---- the file ---------------------------------------------------------------------------------- */

/* Without the blanks at both ends; in place. */
static char *trimmed(char *text)
{
    text += strspn(text, " \n");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \n", text[length - 1]) != NULL) {
        length--;
    }
    text[length] = '\0';
    return text;
}

static void read_line(char *line)
{
    cr_assert(strchr(line, '\n') != NULL, "a line is too long");
    char *text = trimmed(line);
    size_t length = strlen(text);
    if (length == 0 || text[0] == '#') {
        return;
    }
    if (text[0] == '[') {
        cr_assert(text[length - 1] == ']' && vector_count < VECTORS_MAX);
        text[length - 1] = '\0';
        vectors[vector_count++].name = strdup(text + 1);
        return;
    }
    char *value = strchr(text, '=');
    cr_assert(value != NULL && vector_count > 0);
    struct vector *vector = &vectors[vector_count - 1];
    cr_assert_lt(vector->field_count, FIELDS_MAX);
    *value = '\0';
    vector->fields[vector->field_count++] = (struct field){strdup(trimmed(text)), strdup(trimmed(value + 1))};
}

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    FILE *file = fopen(VECTORS_FILE, "r");
    cr_assert_not_null(file, "%s", VECTORS_FILE);
    char line[LINE_BYTES_MAX];
    while (fgets(line, sizeof(line), file) != NULL) {
        read_line(line);
    }
    fclose(file);
}

static void teardown(void)
{
    for (uint32_t i = 0; i < vector_count; i++) {
        for (uint32_t j = 0; j < vectors[i].field_count; j++) {
            free(vectors[i].fields[j].name);
            free(vectors[i].fields[j].text);
        }
        free(vectors[i].name);
    }
}

TestSuite(vectors, .init = setup, .fini = teardown);

/* ---- fields ------------------------------------------------------------------------------------ */

struct value {
    size_t bytes;
    uint8_t data[VALUE_BYTES_MAX];
};

static const char *text_of(const struct vector *vector, const char *name)
{
    for (uint32_t i = 0; i < vector->field_count; i++) {
        if (strcmp(vector->fields[i].name, name) == 0) {
            return vector->fields[i].text;
        }
    }
    cr_assert(false, "%s has no field %s", vector->name, name);
    return "";
}

static uint64_t number_of(const struct vector *vector, const char *name)
{
    char *end;
    const char *text = text_of(vector, name);
    uint64_t number = strtoull(text, &end, 10);
    cr_assert(end != text && *end == '\0', "%s: %s is no number", vector->name, name);
    return number;
}

static void get(const struct vector *vector, const char *name, struct value *value)
{
    const char *text = text_of(vector, name);
    size_t length = strlen(text);
    *value = (struct value){0};
    if (text[0] == '"') {
        cr_assert(length >= 2 && text[length - 1] == '"' && length <= VALUE_BYTES_MAX);
        value->bytes = length - 2;
        memcpy(value->data, text + 1, value->bytes);
        return;
    }
    const char *end;
    cr_assert_eq(sodium_hex2bin(value->data, sizeof(value->data), text, length, NULL, &value->bytes, &end), 0);
    cr_assert_eq(*end, '\0', "%s: %s is no hex", vector->name, name);
}

static void get_exactly(const struct vector *vector, const char *name, void *target, size_t bytes)
{
    struct value value;
    get(vector, name, &value);
    cr_assert_eq(value.bytes, bytes, "%s: %s has %zu bytes", vector->name, name, value.bytes);
    memcpy(target, value.data, bytes);
}

static struct key key_field(const struct vector *vector, const char *name)
{
    struct key key;
    get_exactly(vector, name, key.bytes, sizeof(key.bytes));
    return key;
}

static void expect(const struct vector *vector, const char *name, const void *actual, size_t bytes)
{
    struct value value;
    get(vector, name, &value);
    cr_assert_eq(value.bytes, bytes, "%s: %s has %zu bytes", vector->name, name, value.bytes);
    cr_assert_eq(memcmp(value.data, actual, bytes), 0, "%s: %s differs", vector->name, name);
}

static bool is_of_kind(const struct vector *vector, const char *kind)
{
    struct value value;
    get(vector, "kind", &value); /* Zeroed behind its bytes: a string. */
    return strcmp((const char *)value.data, kind) == 0;
}

/* Check all vectors of one kind, of which there must be some. */
static void for_each(const char *kind, void (*check)(const struct vector *vector))
{
    uint32_t checked = 0;
    for (uint32_t i = 0; i < vector_count; i++) {
        if (is_of_kind(&vectors[i], kind)) {
            check(&vectors[i]);
            checked++;
        }
    }
    cr_assert_gt(checked, 0, "no vector of kind %s", kind);
}

/* ---- derivations ------------------------------------------------------------------------------- */

static void check_blake2b(const struct vector *vector)
{
    struct value key;
    struct value message;
    struct value digest;
    uint8_t actual[crypto_generichash_BYTES_MAX];
    get(vector, "key", &key);
    get(vector, "message", &message);
    get(vector, "digest", &digest);
    cr_assert_eq(crypto_generichash(actual, digest.bytes, message.data, message.bytes, key.data, key.bytes), 0);
    expect(vector, "digest", actual, digest.bytes);
}

static void check_child_key(const struct vector *vector)
{
    struct key parent = key_field(vector, "parent");
    struct key child;
    derive_child_key(&parent, (unsigned)number_of(vector, "side"), &child);
    expect(vector, "child", child.bytes, KEY_BYTES);
}

static void check_commitment(const struct vector *vector)
{
    struct key key = key_field(vector, "key");
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&key, commitment);
    expect(vector, "commitment", commitment, sizeof(commitment));
}

static void check_identity(const struct vector *vector)
{
    struct version_id version;
    struct value name;
    struct object_identity identity;
    get_exactly(vector, "version", version.bytes, sizeof(version.bytes));
    get(vector, "name", &name);
    derive_identity(number_of(vector, "tenant"), number_of(vector, "bucket"), &version, name.data, name.bytes,
                    &identity);
    expect(vector, "identity", identity.bytes, IDENTITY_BYTES);
}

static void check_object_key(const struct vector *vector)
{
    struct key leaf = key_field(vector, "leaf");
    struct key dek = key_field(vector, "dek");
    struct object_identity identity;
    struct key object_key;
    get_exactly(vector, "identity", identity.bytes, IDENTITY_BYTES);
    derive_object_key(&leaf, &dek, &identity, &object_key);
    expect(vector, "object_key", object_key.bytes, KEY_BYTES);
}

static void check_chunk_key(const struct vector *vector)
{
    struct key object_key = key_field(vector, "object_key");
    struct chunk_id chunk;
    struct key chunk_key;
    get_exactly(vector, "chunk", chunk.bytes, sizeof(chunk.bytes));
    derive_chunk_key(&object_key, &chunk, &chunk_key);
    expect(vector, "chunk_key", chunk_key.bytes, KEY_BYTES);
}

static void check_meta_key(const struct vector *vector)
{
    struct key object_key = key_field(vector, "object_key");
    struct key meta_key;
    derive_meta_key(&object_key, &meta_key);
    expect(vector, "meta_key", meta_key.bytes, KEY_BYTES);
}

static void check_named_key(const struct vector *vector)
{
    struct key parent = key_field(vector, "parent");
    struct key key;
    struct value label;
    get(vector, "label", &label);
    derive_named_key(&parent, (const char *)label.data, &key);
    expect(vector, "named_key", key.bytes, KEY_BYTES);
}

Test(vectors, blake2b)
{
    for_each("blake2b", check_blake2b);
}

Test(vectors, child_keys)
{
    for_each("child_key", check_child_key);
}

Test(vectors, the_chain_of_keys)
{
    for_each("commitment", check_commitment);
    for_each("identity", check_identity);
    for_each("object_key", check_object_key);
    for_each("chunk_key", check_chunk_key);
    for_each("meta_key", check_meta_key);
    for_each("named_key", check_named_key);
}

/* ---- the vault --------------------------------------------------------------------------------- */

static void check_ggm(const struct vector *vector)
{
    static const uint32_t slots[] = {0, 1, 127, 128, 255};
    struct key seed = key_field(vector, "seed");
    static struct key leaves[GGM_LEAVES];
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        ggm_seed_leaf(&seed, slot, &leaves[slot]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(slots); i++) {
        char name[16];
        snprintf(name, sizeof(name), "leaf_%u", slots[i]);
        expect(vector, name, leaves[slots[i]].bytes, KEY_BYTES);
    }
    uint8_t digest[32];
    cr_assert_eq(crypto_generichash(digest, sizeof(digest), leaves[0].bytes, sizeof(leaves), NULL, 0), 0);
    expect(vector, "leaves_digest", digest, sizeof(digest));
}

static void check_cover(const struct vector *vector)
{
    struct key seed = key_field(vector, "seed");
    struct ggm_bitmap punctured;
    static struct ggm_cover cover;
    static uint8_t bytes[GGM_COVER_BYTES_MAX];
    get_exactly(vector, "punctured", punctured.bits, sizeof(punctured.bits));
    ggm_cover_of_seed(&seed, &cover);
    ggm_cover_puncture(&cover, &punctured);
    size_t size = ggm_cover_encode(&cover, bytes);
    expect(vector, "cover", bytes, size);
    cr_assert_eq(ggm_cover_decode(bytes, size, &cover), STATUS_OK);
}

static void expect_combined(const struct vector *vector, const struct shamir_share *shares, uint32_t count)
{
    struct key secret;
    cr_assert_eq(shamir_combine(shares, count, &secret), STATUS_OK);
    expect(vector, "secret", secret.bytes, KEY_BYTES);
}

static void check_split(const struct vector *vector)
{
    struct key secret = key_field(vector, "secret");
    uint32_t count = (uint32_t)number_of(vector, "count");
    uint32_t threshold = (uint32_t)number_of(vector, "threshold");
    cr_assert(threshold >= 1 && threshold <= count && count <= SHAMIR_SHARES_MAX);
    struct key random[SHAMIR_SHARES_MAX];
    get_exactly(vector, "random", random, (threshold - 1) * sizeof(struct key));
    struct shamir_share shares[SHAMIR_SHARES_MAX];
    struct key values[SHAMIR_SHARES_MAX];
    shamir_split(&secret, count, threshold, random, shares);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = shares[i].value;
    }
    expect(vector, "shares", values, count * sizeof(struct key));
    expect_combined(vector, shares, threshold);
    expect_combined(vector, shares + count - threshold, threshold);
}

static void check_combine(const struct vector *vector)
{
    struct value indexes;
    struct key values[SHAMIR_SHARES_MAX];
    struct shamir_share shares[SHAMIR_SHARES_MAX];
    get(vector, "indexes", &indexes);
    cr_assert(indexes.bytes <= SHAMIR_SHARES_MAX);
    get_exactly(vector, "values", values, indexes.bytes * sizeof(struct key));
    for (size_t i = 0; i < indexes.bytes; i++) {
        shares[i] = (struct shamir_share){.index = indexes.data[i], .value = values[i]};
    }
    expect_combined(vector, shares, (uint32_t)indexes.bytes);
}

Test(vectors, leaves_of_a_page)
{
    for_each("ggm", check_ggm);
}

Test(vectors, covers)
{
    for_each("cover", check_cover);
}

Test(vectors, shares)
{
    for_each("split", check_split);
    for_each("combine", check_combine);
}

/* ---- the suites -------------------------------------------------------------------------------- */

static enum suite suite_field(const struct vector *vector)
{
    struct value name;
    enum suite suite;
    get(vector, "suite", &name);
    cr_assert(suite_from_name((const char *)name.data, &suite), "%s", vector->name);
    return suite;
}

static void expect_aead(const struct vector *vector, struct aead *aead)
{
    struct value key;
    struct value associated;
    struct value plain;
    struct value data;
    uint8_t tag[AEAD_TAG_BYTES];
    get(vector, "key", &key); /* A shorter one is the beginning, and zeros behind it. */
    get(vector, "associated", &associated);
    get(vector, "plain", &plain);
    cr_assert_not_null(aead);
    cr_assert_gt(plain.bytes, AEAD_TRAILER_BYTES);
    data = plain;
    struct aead_message message = {.associated = associated.data,
                                   .associated_bytes = associated.bytes,
                                   .data = data.data,
                                   .data_bytes = data.bytes - AEAD_TRAILER_BYTES,
                                   .trailer = data.data + data.bytes - AEAD_TRAILER_BYTES,
                                   .tag = tag};
    get_exactly(vector, "nonce", message.nonce, sizeof(message.nonce));
    aead->ops->set_key(aead, key.data);
    aead->ops->seal(aead, &message);
    expect(vector, "sealed", data.data, data.bytes);
    expect(vector, "tag", tag, sizeof(tag));
    cr_assert(aead->ops->open(aead, &message));
    expect(vector, "plain", data.data, data.bytes);
    aead->ops->close(aead);
}

static void check_aead(const struct vector *vector)
{
    if (suite_field(vector) == SUITE_AES_256_GCM) {
        expect_aead(vector, aead_gcrypt_open());
        expect_aead(vector, aead_sodium_open());
    } else {
#ifdef TRILITH_SM4
        expect_aead(vector, aead_gcrypt_sm4_open());
#endif
    }
}

static void expect_unit(const struct vector *vector, struct sealer *sealer, const struct chunk_binding *binding)
{
    struct key chunk_key = key_field(vector, "chunk_key");
    uint32_t unit = (uint32_t)number_of(vector, "unit");
    uint32_t bytes = chunk_unit_bytes(binding->chunk_bytes, unit);
    uint8_t data[VALUE_BYTES_MAX];
    uint8_t seal[UNIT_SEAL_BYTES];
    cr_assert_leq(bytes, sizeof(data));
    get_exactly(vector, "plain", data, bytes);
    sealer_begin(sealer, &chunk_key, binding);
    seal_unit(sealer, unit, data, seal);
    expect(vector, "sealed", data, bytes);
    expect(vector, "seal", seal, sizeof(seal));
    cr_assert(unit_crc_matches(data, bytes, seal));
    cr_assert_eq(open_unit(sealer, unit, data, seal), STATUS_OK);
    expect(vector, "plain", data, bytes);
}

static void check_unit(const struct vector *vector)
{
    struct chunk_binding binding = {.chunk_index = number_of(vector, "chunk_index"),
                                    .chunk_bytes = (uint32_t)number_of(vector, "chunk_bytes"),
                                    .suite = suite_field(vector)};
    get_exactly(vector, "identity", binding.identity.bytes, IDENTITY_BYTES);
    get_exactly(vector, "chunk", binding.chunk.bytes, sizeof(binding.chunk.bytes));
    for (unsigned which = SEALER_FASTEST; which <= SEALER_REFERENCE; which++) {
        struct sealer *sealer = sealer_open((enum sealer_implementation)which);
        cr_assert_not_null(sealer);
        if (suite_is_supported(sealer, binding.suite)) {
            expect_unit(vector, sealer, &binding);
        } else {
            cr_assert_eq(binding.suite, SUITE_SM4_GCM, "the other suite is always there");
        }
        sealer_close(sealer);
    }
}

Test(vectors, the_cipher_suites)
{
    for_each("aead", check_aead);
}

Test(vectors, sealed_units)
{
    for_each("unit", check_unit);
}

/* ---- signatures and the ledger ----------------------------------------------------------------- */

static void check_signature(const struct vector *vector)
{
    struct key seed = key_field(vector, "seed");
    struct value message;
    struct public_key public_key;
    struct signature signature;
    get(vector, "message", &message);
    signature_public_key(&seed, &public_key);
    expect(vector, "public_key", public_key.bytes, sizeof(public_key.bytes));
    signature_sign(&seed, message.data, message.bytes, &signature);
    expect(vector, "signature", signature.bytes, sizeof(signature.bytes));
    cr_assert(signature_verify(&public_key, message.data, message.bytes, &signature));
}

static void check_checkpoint(const struct vector *vector)
{
    struct key seed = key_field(vector, "seed");
    struct value origin;
    struct public_key public_key;
    struct signature signature;
    struct merkle_edge edge = {.size = 0};
    struct checkpoint checkpoint = {.size = number_of(vector, "count")};
    char text[CHECKPOINT_BYTES_MAX] = "";
    char note[CHECKPOINT_BYTES_MAX] = "";
    get(vector, "origin", &origin);
    cr_assert_lt(origin.bytes, sizeof(checkpoint.origin));
    memcpy(checkpoint.origin, origin.data, origin.bytes);
    for (uint64_t i = 0; i < checkpoint.size; i++) {
        struct merkle_hash leaf;
        int length = snprintf(text, sizeof(text), "entry %u", (unsigned)i);
        merkle_leaf(text, (size_t)length, &leaf);
        merkle_append(&edge, &leaf, NULL, NULL);
    }
    merkle_root(&edge, &checkpoint.root);
    expect(vector, "root", checkpoint.root.bytes, sizeof(checkpoint.root.bytes));
    signature_public_key(&seed, &public_key);
    checkpoint_text(&checkpoint, text);
    signature_sign(&seed, text, strlen(text), &signature);
    checkpoint_add_signature(&checkpoint, &public_key, &signature, note);
    expect(vector, "note", note, strlen(note));
}

Test(vectors, signatures)
{
    for_each("signature", check_signature);
}

Test(vectors, checkpoints)
{
    for_each("checkpoint", check_checkpoint);
}

/* ---- none forgotten ---------------------------------------------------------------------------- */

Test(vectors, every_vector_is_of_a_kind_that_is_checked_here)
{
    static const char *const kinds[] = {"blake2b",  "child_key", "commitment", "identity",  "object_key", "chunk_key",
                                        "meta_key", "named_key", "ggm",        "cover",     "split",      "combine",
                                        "aead",     "unit",      "signature",  "checkpoint"};
    for (uint32_t i = 0; i < vector_count; i++) {
        bool is_known = false;
        for (size_t kind = 0; kind < ARRAY_LENGTH(kinds); kind++) {
            is_known = is_known || is_of_kind(&vectors[i], kinds[kind]);
        }
        cr_assert(is_known, "%s", vectors[i].name);
    }
}
