/* tlog_proof.c - proofs as text, written and read line by line. */
#include "cluster/tlog_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TITLE           "c2sp.org/tlog-proof@v1"
#define HASH_TEXT_BYTES 44
#define EXTRA_TEXT_MAX  ((TLOG_PROOF_EXTRA_MAX + 2) / 3 * 4)

/* ---- writing ----------------------------------------------------------------------------------- */

char *tlog_proof_write(const struct tlog_proof *proof)
{
    char encoded[EXTRA_TEXT_MAX + 1];
    if (proof->extra_bytes > TLOG_PROOF_EXTRA_MAX || proof->hash_count > MERKLE_PROOF_MAX ||
        proof->note_bytes > CHECKPOINT_NOTE_MAX) {
        return NULL;
    }
    char *text = malloc(TLOG_PROOF_BYTES_MAX);
    if (text == NULL) {
        return NULL;
    }
    int used = snprintf(text, TLOG_PROOF_BYTES_MAX, "%s\n", TITLE);
    if (proof->extra_bytes > 0) {
        base64_encode(proof->extra, proof->extra_bytes, encoded);
        used += snprintf(text + used, TLOG_PROOF_BYTES_MAX - (size_t)used, "extra %s\n", encoded);
    }
    used += snprintf(text + used, TLOG_PROOF_BYTES_MAX - (size_t)used, "index %" PRIu64 "\n", proof->index);
    for (size_t i = 0; i < proof->hash_count; i++) {
        base64_encode(proof->hashes[i].bytes, SHA256_BYTES, encoded);
        used += snprintf(text + used, TLOG_PROOF_BYTES_MAX - (size_t)used, "%s\n", encoded);
    }
    used += snprintf(text + used, TLOG_PROOF_BYTES_MAX - (size_t)used, "\n%.*s", (int)proof->note_bytes, proof->note);
    CHECK(used < (int)TLOG_PROOF_BYTES_MAX);
    return text;
}

/* ---- reading ----------------------------------------------------------------------------------- */

struct line {
    const char *text;
    size_t bytes;
};

static bool take_line(const char **at, size_t *left, struct line *line)
{
    const char *end = memchr(*at, '\n', *left);
    if (end == NULL) {
        return false;
    }
    *line = (struct line){*at, (size_t)(end - *at)};
    *left -= line->bytes + 1;
    *at = end + 1;
    return true;
}

/* The rest of a line that begins with `word`; false: it does not. */
static bool behind(const struct line *line, const char *word, struct line *rest)
{
    size_t bytes = strlen(word);
    if (line->bytes < bytes || memcmp(line->text, word, bytes) != 0) {
        return false;
    }
    *rest = (struct line){line->text + bytes, line->bytes - bytes};
    return true;
}

static bool read_extra(const struct line *text, struct tlog_proof *proof)
{
    if (text->bytes < 4 || text->bytes > EXTRA_TEXT_MAX || text->bytes % 4 != 0) {
        return false;
    }
    size_t padding = text->text[text->bytes - 1] != '=' ? 0 : text->text[text->bytes - 2] != '=' ? 1 : 2;
    proof->extra_bytes = text->bytes / 4 * 3 - padding;
    return proof->extra_bytes <= TLOG_PROOF_EXTRA_MAX &&
           base64_decode(text->text, text->bytes, proof->extra, proof->extra_bytes);
}

static bool read_index(const struct line *text, uint64_t *index)
{
    uint64_t value = 0;
    if (text->bytes == 0 || text->bytes > 19 || (text->bytes > 1 && text->text[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < text->bytes; i++) {
        if (text->text[i] < '0' || text->text[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text->text[i] - '0');
    }
    *index = value;
    return true;
}

static bool read_hashes(const char **at, size_t *left, struct tlog_proof *proof)
{
    struct line line;
    while (take_line(at, left, &line)) {
        if (line.bytes == 0) {
            return true;
        }
        if (proof->hash_count == MERKLE_PROOF_MAX || line.bytes != HASH_TEXT_BYTES ||
            !base64_decode(line.text, line.bytes, proof->hashes[proof->hash_count].bytes, SHA256_BYTES)) {
            return false;
        }
        proof->hash_count++;
    }
    return false;
}

enum status tlog_proof_read(const char *text, size_t bytes, struct tlog_proof *proof)
{
    const char *at = text;
    size_t left = bytes;
    struct line line;
    struct line rest;
    memset(proof, 0, sizeof(*proof));
    if (bytes > TLOG_PROOF_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    if (!take_line(&at, &left, &line) || !behind(&line, TITLE, &rest) || rest.bytes != 0 ||
        !take_line(&at, &left, &line)) {
        return STATUS_INVALID;
    }
    if (behind(&line, "extra ", &rest) && (!read_extra(&rest, proof) || !take_line(&at, &left, &line))) {
        return STATUS_INVALID;
    }
    if (!behind(&line, "index ", &rest) || !read_index(&rest, &proof->index) || !read_hashes(&at, &left, proof)) {
        return STATUS_INVALID;
    }
    proof->note = at;
    proof->note_bytes = left;
    return STATUS_OK;
}
