/* checkpoint.c - a ledger's signed head, written and read. Every field has one form, and any other is refused. */
#include "base/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EM_DASH           "\xe2\x80\x94"
#define KEY_ID_BYTES      4
#define ALGORITHM_ED25519 0x01
#define BLOB_BYTES        (KEY_ID_BYTES + SIGNATURE_BYTES)
#define BLOB_TEXT_BYTES   ((BLOB_BYTES + 2) / 3 * 4)
#define ROOT_TEXT_BYTES   ((SHA256_BYTES + 2) / 3 * 4)
#define LINES_MAX         64

_Static_assert(CHECKPOINT_ORIGIN_BYTES + 21 + ROOT_TEXT_BYTES + 2 +
                       CHECKPOINT_KEYS_MAX * (sizeof(EM_DASH) + CHECKPOINT_ORIGIN_BYTES + BLOB_TEXT_BYTES + 3) <=
                   CHECKPOINT_BYTES_MAX,
               "the signatures of all keys fit");

static bool origin_is_valid(const char *origin, size_t bytes)
{
    if (bytes == 0 || bytes >= CHECKPOINT_ORIGIN_BYTES) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (origin[i] <= ' ' || origin[i] > '~' || origin[i] == '+') {
            return false;
        }
    }
    return true;
}

static void key_id_of(const char *origin, const struct public_key *public_key, uint8_t id[KEY_ID_BYTES])
{
    static const uint8_t between[2] = {'\n', ALGORITHM_ED25519};
    uint8_t hash[SHA256_BYTES];
    struct digest digest;
    digest_begin(&digest, DIGEST_SHA256);
    digest_update(&digest, origin, strlen(origin));
    digest_update(&digest, between, sizeof(between));
    digest_update(&digest, public_key->bytes, PUBLIC_KEY_BYTES);
    digest_end(&digest, hash);
    memcpy(id, hash, KEY_ID_BYTES);
}

/* ---- writing ----------------------------------------------------------------------------------- */

void checkpoint_text(const struct checkpoint *checkpoint, char text[CHECKPOINT_BYTES_MAX])
{
    CHECK(origin_is_valid(checkpoint->origin, strnlen(checkpoint->origin, CHECKPOINT_ORIGIN_BYTES)));
    char root[ROOT_TEXT_BYTES + 1];
    base64_encode(checkpoint->root.bytes, SHA256_BYTES, root);
    snprintf(text, CHECKPOINT_BYTES_MAX, "%s\n%" PRIu64 "\n%s\n", checkpoint->origin, checkpoint->size, root);
}

void checkpoint_add_signature(const struct checkpoint *checkpoint, const struct public_key *public_key,
                              const struct signature *signature, char note[CHECKPOINT_BYTES_MAX])
{
    size_t used = strnlen(note, CHECKPOINT_BYTES_MAX);
    if (used == 0) {
        checkpoint_text(checkpoint, note);
        used = strlen(note);
        note[used++] = '\n';
    }
    uint8_t blob[BLOB_BYTES];
    char blob_text[BLOB_TEXT_BYTES + 1];
    key_id_of(checkpoint->origin, public_key, blob);
    memcpy(blob + KEY_ID_BYTES, signature->bytes, SIGNATURE_BYTES);
    base64_encode(blob, sizeof(blob), blob_text);
    int added = snprintf(note + used, CHECKPOINT_BYTES_MAX - used, EM_DASH " %s %s\n", checkpoint->origin, blob_text);
    CHECK(added > 0);
    CHECK((size_t)added < CHECKPOINT_BYTES_MAX - used);
}

void checkpoint_verifier(const char *origin, const struct public_key *public_key, char text[CHECKPOINT_VERIFIER_BYTES])
{
    CHECK(origin_is_valid(origin, strnlen(origin, CHECKPOINT_ORIGIN_BYTES)));
    uint8_t id[KEY_ID_BYTES];
    char id_text[2 * KEY_ID_BYTES + 1];
    uint8_t key[1 + PUBLIC_KEY_BYTES] = {ALGORITHM_ED25519};
    char key_text[(sizeof(key) + 2) / 3 * 4 + 1];
    key_id_of(origin, public_key, id);
    hex_encode(id, sizeof(id), id_text);
    memcpy(key + 1, public_key->bytes, PUBLIC_KEY_BYTES);
    base64_encode(key, sizeof(key), key_text);
    snprintf(text, CHECKPOINT_VERIFIER_BYTES, "%s+%s+%s", origin, id_text, key_text);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Take the next line off the front, without its newline. False: there is no whole line left. */
static bool take_line(const char **at, size_t *left, const char **line, size_t *line_bytes)
{
    const char *end = memchr(*at, '\n', *left);
    if (end == NULL) {
        return false;
    }
    *line = *at;
    *line_bytes = (size_t)(end - *at);
    *left -= *line_bytes + 1;
    *at = end + 1;
    return true;
}

/* A number as it is written: digits, no zero in front. */
static bool read_size(const char *text, size_t bytes, uint64_t *size)
{
    if (bytes == 0 || bytes > 19 || (bytes > 1 && text[0] == '0')) {
        return false;
    }
    uint64_t value = 0; /* 19 digits fit */
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *size = value;
    return value <= INT64_MAX;
}

/* The three lines and the empty one. `*signed_bytes`: of the text that is signed. */
static bool read_head(const char *note, size_t bytes, struct checkpoint *checkpoint, size_t *signed_bytes)
{
    const char *at = note;
    size_t left = bytes;
    const char *line = NULL;
    size_t line_bytes = 0;
    memset(checkpoint, 0, sizeof(*checkpoint));
    if (!take_line(&at, &left, &line, &line_bytes) || !origin_is_valid(line, line_bytes)) {
        return false;
    }
    memcpy(checkpoint->origin, line, line_bytes);
    if (!take_line(&at, &left, &line, &line_bytes) || !read_size(line, line_bytes, &checkpoint->size)) {
        return false;
    }
    if (!take_line(&at, &left, &line, &line_bytes) ||
        !base64_decode(line, line_bytes, checkpoint->root.bytes, SHA256_BYTES)) {
        return false;
    }
    *signed_bytes = bytes - left;
    return take_line(&at, &left, &line, &line_bytes) && line_bytes == 0 && left > 0;
}

/* What a signature line is to us. Lines of other names and other kinds of keys (witnesses) are nobody's business
 * here. */
enum line_kind { LINE_BROKEN, LINE_OTHER, LINE_OURS };

static enum line_kind read_signature_line(const char *line, size_t bytes, const char *origin, uint8_t blob[BLOB_BYTES])
{
    const size_t dash_bytes = strlen(EM_DASH " ");
    if (bytes < dash_bytes || memcmp(line, EM_DASH " ", dash_bytes) != 0) {
        return LINE_BROKEN;
    }
    const char *name = line + dash_bytes;
    const char *space = memchr(name, ' ', bytes - dash_bytes);
    if (space == NULL || space == name) {
        return LINE_BROKEN;
    }
    const char *text = space + 1;
    size_t text_bytes = bytes - (size_t)(text - line);
    size_t name_bytes = (size_t)(space - name);
    if (name_bytes != strlen(origin) || memcmp(name, origin, name_bytes) != 0 || text_bytes != BLOB_TEXT_BYTES) {
        return LINE_OTHER;
    }
    return base64_decode(text, text_bytes, blob, BLOB_BYTES) ? LINE_OURS : LINE_BROKEN;
}

enum status checkpoint_open(const char *note, size_t bytes, const struct public_key *keys, size_t key_count,
                            struct checkpoint *checkpoint)
{
    size_t signed_bytes = 0;
    if (bytes > CHECKPOINT_NOTE_MAX || !read_head(note, bytes, checkpoint, &signed_bytes)) {
        return STATUS_INVALID;
    }
    const char *at = note + signed_bytes + 1;
    size_t left = bytes - signed_bytes - 1;
    bool verified = false;
    for (unsigned lines = 0; left > 0; lines++) {
        const char *line = NULL;
        size_t line_bytes = 0;
        uint8_t blob[BLOB_BYTES];
        if (lines == LINES_MAX || !take_line(&at, &left, &line, &line_bytes)) {
            return STATUS_INVALID;
        }
        switch (read_signature_line(line, line_bytes, checkpoint->origin, blob)) {
        case LINE_BROKEN:
            return STATUS_INVALID;
        case LINE_OTHER:
            continue;
        case LINE_OURS:
            break;
        }
        struct signature signature;
        memcpy(signature.bytes, blob + KEY_ID_BYTES, SIGNATURE_BYTES);
        for (size_t i = 0; i < key_count; i++) {
            uint8_t id[KEY_ID_BYTES];
            key_id_of(checkpoint->origin, &keys[i], id);
            if (memcmp(id, blob, KEY_ID_BYTES) != 0) {
                continue;
            }
            if (!signature_verify(&keys[i], note, signed_bytes, &signature)) {
                return STATUS_DENIED;
            }
            verified = true;
        }
    }
    return verified ? STATUS_OK : STATUS_DENIED;
}
