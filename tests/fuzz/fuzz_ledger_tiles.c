/* fuzz_ledger_tiles.c - arbitrary bytes as the files of a ledger, and as a tlog-proof.
 *
 * Input: one byte says which. Even: a proof. Odd: how many entries the ledger has (u16be) and then its files in the
 * order in which they are read, each with its length (u16be) in front. */
#include "base/bytes.h"
#include "cluster/ledger_tiles.h"
#include "cluster/tlog_proof.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct fuzz_files {
    struct evidence_files files;
    struct byte_reader input;
};

static enum status fuzz_read(struct evidence_files *files, const char *name, size_t bytes_max, char **data,
                             size_t *bytes)
{
    struct fuzz_files *fuzz = CONTAINER_OF(files, struct fuzz_files, files);
    const uint8_t *length = read_span(&fuzz->input, 2);
    size_t wanted = length == NULL ? 0 : (size_t)length[0] << 8 | length[1];
    const uint8_t *content = read_span(&fuzz->input, wanted);
    CHECK(strlen(name) < LEDGER_TILES_NAME_BYTES);
    if (length == NULL || content == NULL) {
        return STATUS_NOT_FOUND;
    }
    if (wanted > bytes_max) {
        return STATUS_TOO_LARGE;
    }
    *data = malloc(wanted + 1);
    CHECK(*data != NULL);
    memcpy(*data, content, wanted);
    *bytes = wanted;
    return STATUS_OK;
}

static void check_ledger(const uint8_t *data, size_t bytes)
{
    static struct ledger_tiles_reader reader;
    struct fuzz_files fuzz = {.files = {.read = fuzz_read}, .input = byte_reader_of(data, bytes)};
    struct checkpoint head = {.origin = "fuzz"};
    const uint8_t *size = read_span(&fuzz.input, 2);
    enum status status = STATUS_OK;
    if (size == NULL) {
        return;
    }
    head.size = (uint64_t)size[0] << 8 | size[1];
    ledger_tiles_open(&reader, &fuzz.files, &head);
    while (status == STATUS_OK) {
        const uint8_t *entry = NULL;
        size_t entry_bytes = 0;
        status = ledger_tiles_next(&reader, &entry, &entry_bytes);
        if (status == STATUS_OK) {
            CHECK(entry_bytes >= 1 && entry_bytes <= LEDGER_TILES_ENTRY_MAX);
            CHECK(reader.edge.tree.size <= head.size);
        }
    }
    /* Nobody guesses a root. */
    CHECK(status == STATUS_CORRUPT);
    CHECK(reader.problem[0] != '\0');
    ledger_tiles_close(&reader);
}

static void check_proof(const uint8_t *data, size_t bytes)
{
    static struct tlog_proof proof;
    if (tlog_proof_read((const char *)data, bytes, &proof) != STATUS_OK || proof.note_bytes > CHECKPOINT_NOTE_MAX ||
        memchr(proof.note, '\0', proof.note_bytes) != NULL) {
        return;
    }
    char *again = tlog_proof_write(&proof);
    CHECK(again != NULL);
    CHECK(strlen(again) == bytes);
    CHECK(memcmp(again, data, bytes) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        check_proof(data + 1, bytes - 1);
    } else {
        check_ledger(data + 1, bytes - 1);
    }
    return 0;
}
