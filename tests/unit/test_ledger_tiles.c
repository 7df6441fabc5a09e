/* test_ledger_tiles.c - a ledger written as tiles reads back whole, and every damage is noticed and named. */
#include "evidence_world.h"

#include "cluster/ledger_tiles.h"

#include <unistd.h>

TestSuite(ledger_tiles);
TestSuite(tlog_proof);
TestSuite(evidence_files);

static struct memory_files memory;

static size_t entry_number(uint64_t number, char entry[64])
{
    return (size_t)snprintf(entry, 64, "entry %" PRIu64 "%s", number, number % 3 == 0 ? " and more" : "");
}

/* The ledger of `size` entries in `files`. */
static struct checkpoint write_ledger(struct evidence_files *files, uint64_t size)
{
    struct ledger_tiles_writer *writer = malloc(sizeof(*writer));
    struct merkle_hash root;
    struct checkpoint head;
    ledger_tiles_writer_init(writer, files);
    for (uint64_t i = 0; i < size; i++) {
        char entry[64];
        size_t bytes = entry_number(i, entry);
        cr_assert_eq(ledger_tiles_append(writer, entry, bytes), STATUS_OK);
    }
    merkle_root(&writer->edge.tree, &root);
    char *note = checkpoint_sign(ORIGIN, size, &root, 1);
    struct public_key key = public_key_of(1);
    cr_assert_eq(ledger_tiles_finish(writer, note, strlen(note)), STATUS_OK);
    cr_assert_eq(checkpoint_open(note, strlen(note), &key, 1, &head), STATUS_OK);
    free(note);
    free(writer);
    return head;
}

/* How reading ends; every entry on the way is the right one. */
static enum status read_ledger(struct evidence_files *files, const struct checkpoint *head, char problem[256])
{
    struct ledger_tiles_reader *reader = malloc(sizeof(*reader));
    const uint8_t *entry = NULL;
    size_t bytes = 0;
    enum status status = STATUS_OK;
    ledger_tiles_open(reader, files, head);
    for (uint64_t i = 0; status == STATUS_OK; i++) {
        char expected[64];
        status = ledger_tiles_next(reader, &entry, &bytes);
        if (status == STATUS_OK) {
            cr_assert_eq(bytes, entry_number(i, expected));
            cr_assert_arr_eq(entry, expected, bytes);
            cr_assert_eq(reader->edge.tree.size, i + 1);
        } else {
            cr_assert(status != STATUS_CLOSED || i == head->size);
        }
    }
    memcpy(problem, reader->problem, 256);
    ledger_tiles_close(reader);
    free(reader);
    return status;
}

Test(ledger_tiles, names_are_those_of_the_layout)
{
    char name[LEDGER_TILES_NAME_BYTES];
    ledger_tiles_name(0, 0, 256, name);
    cr_assert_str_eq(name, "tile/0/000");
    ledger_tiles_name(0, 1234067, 256, name);
    cr_assert_str_eq(name, "tile/0/x001/x234/067");
    ledger_tiles_name(1, 999, 5, name);
    cr_assert_str_eq(name, "tile/1/999.p/5");
    ledger_tiles_name(LEDGER_TILES_ENTRIES, 1000, 112, name);
    cr_assert_str_eq(name, "tile/entries/x001/000.p/112");
    ledger_tiles_name(LEDGER_TILES_ENTRIES, UINT64_MAX, 255, name);
}

Test(ledger_tiles, what_is_written_reads_back)
{
    static const uint64_t sizes[] = {0, 1, 2, 255, 256, 257, 511, 512, 513, 1000};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        char problem[256];
        memory_init(&memory);
        struct checkpoint head = write_ledger(&memory.files, sizes[i]);
        cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CLOSED, "%s", problem);
        memory_deinit(&memory);
    }
}

/* Tiles against hashes computed by hand: level 0 holds leaves, level 1 the roots of 256 of them. */
Test(ledger_tiles, tiles_hold_what_the_layout_says)
{
    struct merkle_hash leaves[256];
    struct merkle_hash root;
    memory_init(&memory);
    (void)write_ledger(&memory.files, 300);
    for (unsigned i = 0; i < 256; i++) {
        char entry[64];
        merkle_leaf(entry, entry_number(i, entry), &leaves[i]);
    }
    merkle_root_of(leaves, 256, &root);
    const struct memory_file *tile = memory_find(&memory, "tile/0/000");
    cr_assert_eq(tile->bytes, sizeof(leaves));
    cr_assert_arr_eq(tile->data, leaves, sizeof(leaves));
    const struct memory_file *above = memory_find(&memory, "tile/1/000.p/1");
    cr_assert_eq(above->bytes, sizeof(root));
    cr_assert_arr_eq(above->data, root.bytes, sizeof(root));
    cr_assert_eq(memory_find(&memory, "tile/0/001.p/44")->bytes, 44 * sizeof(root));
    cr_assert_not_null(memory_find(&memory, "tile/entries/001.p/44"));
    cr_assert_not_null(memory_find(&memory, "checkpoint"));
    memory_deinit(&memory);
}

Test(ledger_tiles, every_damaged_or_missing_file_is_named)
{
    char problem[256];
    memory_init(&memory);
    struct checkpoint head = write_ledger(&memory.files, 300);
    for (size_t i = 0; i < memory.count; i++) {
        struct memory_file *file = &memory.list[i];
        if (strcmp(file->name, "checkpoint") == 0) {
            continue;
        }
        for (size_t at = 0; at < file->bytes; at += 1 + file->bytes / 37) {
            file->data[at] ^= 1;
            cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CORRUPT, "%s byte %zu", file->name, at);
            file->data[at] ^= 1;
        }
        for (int change = -1; change <= 1; change += 2) {
            file->bytes = (size_t)((long)file->bytes + change);
            cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CORRUPT);
            cr_assert_not_null(strstr(problem, file->name), "%s: %s", file->name, problem);
            file->bytes = (size_t)((long)file->bytes - change);
        }
        char *data = file->data;
        file->data = NULL;
        cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CORRUPT);
        cr_assert_not_null(strstr(problem, file->name));
        file->data = data;
    }
    cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CLOSED);
    memory_deinit(&memory);
}

Test(ledger_tiles, another_root_is_noticed_though_all_tiles_agree)
{
    char problem[256];
    memory_init(&memory);
    struct checkpoint head = write_ledger(&memory.files, 20);
    head.root.bytes[0] ^= 1;
    cr_assert_eq(read_ledger(&memory.files, &head, problem), STATUS_CORRUPT);
    cr_assert_not_null(strstr(problem, "root"));
    memory_deinit(&memory);
}

Test(ledger_tiles, finish_refuses_another_head)
{
    struct ledger_tiles_writer *writer = malloc(sizeof(*writer));
    struct merkle_hash root;
    memory_init(&memory);
    ledger_tiles_writer_init(writer, &memory.files);
    cr_assert_eq(ledger_tiles_append(writer, "a", 1), STATUS_OK);
    cr_assert_eq(ledger_tiles_append(writer, "", 0), STATUS_INVALID);
    cr_assert_eq(ledger_tiles_append(writer, writer, LEDGER_TILES_ENTRY_MAX + 1), STATUS_INVALID);
    merkle_root(&writer->edge.tree, &root);
    char *note = checkpoint_sign(ORIGIN, 2, &root, 1);
    cr_assert_eq(ledger_tiles_finish(writer, note, strlen(note)), STATUS_CONFLICT);
    cr_assert_eq(ledger_tiles_finish(writer, "junk", 4), STATUS_INVALID);
    cr_assert_null(memory_find(&memory, "checkpoint"));
    free(note);
    free(writer);
    memory_deinit(&memory);
}

Test(evidence_files, a_directory_is_written_and_read)
{
    char path[] = "/tmp/trilith-test-evidence-XXXXXX";
    char problem[256];
    char command[64];
    struct evidence_directory directory;
    char *data = NULL;
    size_t bytes = 0;
    char **names = NULL;
    size_t count = 0;
    cr_assert_not_null(mkdtemp(path));
    cr_assert_eq(evidence_directory_open(&directory, path), STATUS_OK);
    struct checkpoint head = write_ledger(&directory.files, 257);
    cr_assert_eq(read_ledger(&directory.files, &head, problem), STATUS_CLOSED, "%s", problem);
    cr_assert_eq(directory.files.read(&directory.files, "tile", 100, &data, &bytes), STATUS_INVALID);
    cr_assert_eq(directory.files.read(&directory.files, "none", 100, &data, &bytes), STATUS_NOT_FOUND);
    cr_assert_eq(directory.files.read(&directory.files, "tile/0/000", 100, &data, &bytes), STATUS_TOO_LARGE);
    cr_assert_eq(directory.files.list(&directory.files, "tile", 10, &names, &count), STATUS_OK);
    cr_assert_eq(count, 3);
    cr_assert_str_eq(names[0], "0");
    cr_assert_str_eq(names[2], "entries");
    evidence_names_free(names, count);
    cr_assert_eq(directory.files.list(&directory.files, "tile", 2, &names, &count), STATUS_TOO_LARGE);
    cr_assert_eq(directory.files.list(&directory.files, "none", 2, &names, &count), STATUS_NOT_FOUND);
    evidence_directory_close(&directory);
    snprintf(command, sizeof(command), "rm -r %s", path);
    cr_assert_eq(system(command), 0);
}

Test(evidence_files, names_from_elsewhere_stay_inside)
{
    cr_assert(evidence_name_is_plain("node-1.rack_2"));
    cr_assert_not(evidence_name_is_plain(""));
    cr_assert_not(evidence_name_is_plain("."));
    cr_assert_not(evidence_name_is_plain(".."));
    cr_assert_not(evidence_name_is_plain("../a"));
    cr_assert_not(evidence_name_is_plain("a/b"));
    cr_assert_not(evidence_name_is_plain("a b"));
    cr_assert_not(evidence_name_is_plain("0123456789012345678901234567890123456789012345678901234567890123"));
}

Test(tlog_proof, what_is_written_reads_back)
{
    struct tlog_proof proof = {.index = 73894, .hash_count = 3, .note = "a note\n", .note_bytes = 7};
    struct tlog_proof read;
    memset(proof.hashes, 0x11, sizeof(proof.hashes));
    for (proof.extra_bytes = 0; proof.extra_bytes < 7; proof.extra_bytes++) {
        memset(proof.extra, 'x', proof.extra_bytes);
        char *text = tlog_proof_write(&proof);
        cr_assert_eq(tlog_proof_read(text, strlen(text), &read), STATUS_OK);
        cr_assert_eq(read.index, proof.index);
        cr_assert_eq(read.extra_bytes, proof.extra_bytes);
        cr_assert_eq(read.hash_count, 3);
        cr_assert_arr_eq(read.hashes, proof.hashes, 3 * sizeof(proof.hashes[0]));
        cr_assert_eq(read.note_bytes, 7);
        cr_assert_arr_eq(read.note, "a note\n", 7);
        for (size_t cut = 1; cut <= strlen(text) - 7; cut++) {
            cr_assert_eq(tlog_proof_read(text, strlen(text) - 7 - cut, &read), STATUS_INVALID);
        }
        free(text);
    }
}

Test(tlog_proof, other_forms_are_refused)
{
#define HASH_LINE "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    static const char *const texts[] = {
        "c2sp.org/tlog-proof@v2\nindex 0\n\nnote\n",
        "c2sp.org/tlog-proof@v1\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nindex -1\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nindex 1\n" HASH_LINE "note\n",
        "c2sp.org/tlog-proof@v1\nextra \nindex 1\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nextra !!!!\nindex 1\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nextra eA=\nindex 1\n\nnote\n",
        "c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\nnote\n",
    };
    struct tlog_proof proof;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        cr_assert_eq(tlog_proof_read(texts[i], strlen(texts[i]), &proof), STATUS_INVALID, "text %zu", i);
    }
    static const char good[] = "c2sp.org/tlog-proof@v1\nindex 0\n" HASH_LINE "\nnote\n";
    cr_assert_eq(tlog_proof_read(good, strlen(good), &proof), STATUS_OK);
}
