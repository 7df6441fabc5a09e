/* ledger_tiles.c - tiles out of entries, and entries out of tiles with every hash computed again. */
#include "cluster/ledger_tiles.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 7 /* of three digits: 64 bits have at most 20 */

void ledger_tiles_name(unsigned level, uint64_t number, unsigned width, char name[LEDGER_TILES_NAME_BYTES])
{
    CHECK(level <= LEDGER_TILES_ENTRIES);
    CHECK(width >= 1 && width <= LEDGER_TILES_WIDTH);
    unsigned groups[GROUPS_MAX];
    unsigned count = 0;
    do {
        groups[count++] = (unsigned)(number % 1000);
        number /= 1000;
    } while (number > 0);
    int used = level == LEDGER_TILES_ENTRIES ? snprintf(name, LEDGER_TILES_NAME_BYTES, "tile/entries")
                                             : snprintf(name, LEDGER_TILES_NAME_BYTES, "tile/%u", level);
    while (count > 0) {
        count--;
        used += snprintf(name + used, LEDGER_TILES_NAME_BYTES - (size_t)used, "/%s%03u", count > 0 ? "x" : "",
                         groups[count]);
    }
    if (width < LEDGER_TILES_WIDTH) {
        used += snprintf(name + used, LEDGER_TILES_NAME_BYTES - (size_t)used, ".p/%u", width);
    }
    CHECK(used < LEDGER_TILES_NAME_BYTES);
}

/* ---- the edge ---------------------------------------------------------------------------------- */

/* merkle_write: keep what belongs into a tile. */
static void edge_take(void *user, unsigned level, uint64_t index, const struct merkle_hash *hash)
{
    struct ledger_tiles_edge *edge = user;
    if (level % 8 == 0) {
        unsigned at = (unsigned)(index % LEDGER_TILES_WIDTH);
        edge->hashes[level / 8][at] = *hash;
        edge->is_full[level / 8] = at == LEDGER_TILES_WIDTH - 1;
    }
}

static void edge_append(struct ledger_tiles_edge *edge, const struct merkle_hash *leaf)
{
    memset(edge->is_full, 0, sizeof(edge->is_full));
    merkle_append(&edge->tree, leaf, edge_take, edge);
}

/* How many hashes the last tile of `level` has when it is not full; 0: it is full, or there is none. */
static unsigned partial_width(uint64_t size, unsigned level)
{
    return (unsigned)(size >> (8 * level) & 0xff);
}

static uint64_t partial_number(uint64_t size, unsigned level)
{
    return level + 1 < LEDGER_TILES_LEVELS ? size >> (8 * (level + 1)) : 0;
}

/* ---- writing ----------------------------------------------------------------------------------- */

void ledger_tiles_writer_init(struct ledger_tiles_writer *writer, struct evidence_files *files)
{
    memset(writer, 0, sizeof(*writer));
    writer->files = files;
}

static enum status write_tile(struct ledger_tiles_writer *writer, unsigned level, uint64_t number, unsigned width)
{
    char name[LEDGER_TILES_NAME_BYTES];
    ledger_tiles_name(level, number, width, name);
    if (level == LEDGER_TILES_ENTRIES) {
        return writer->files->write(writer->files, name, writer->bundle, writer->bundle_bytes);
    }
    return writer->files->write(writer->files, name, writer->edge.hashes[level], width * sizeof(struct merkle_hash));
}

enum status ledger_tiles_append(struct ledger_tiles_writer *writer, const void *entry, size_t bytes)
{
    if (bytes < 1 || bytes > LEDGER_TILES_ENTRY_MAX) {
        return STATUS_INVALID;
    }
    uint8_t *at = writer->bundle + writer->bundle_bytes;
    at[0] = (uint8_t)(bytes >> 8);
    at[1] = (uint8_t)bytes;
    memcpy(at + 2, entry, bytes);
    writer->bundle_bytes += 2 + bytes;
    struct merkle_hash leaf;
    merkle_leaf(entry, bytes, &leaf);
    edge_append(&writer->edge, &leaf);
    if (!writer->edge.is_full[0]) {
        return STATUS_OK;
    }
    uint64_t size = writer->edge.tree.size;
    enum status status = write_tile(writer, LEDGER_TILES_ENTRIES, size / LEDGER_TILES_WIDTH - 1, LEDGER_TILES_WIDTH);
    writer->bundle_bytes = 0;
    for (unsigned level = 0; status == STATUS_OK && level < LEDGER_TILES_LEVELS; level++) {
        if (writer->edge.is_full[level]) {
            status = write_tile(writer, level, partial_number(size, level) - 1, LEDGER_TILES_WIDTH);
        }
    }
    return status;
}

enum status ledger_tiles_finish(struct ledger_tiles_writer *writer, const char *note, size_t note_bytes)
{
    struct checkpoint head;
    struct merkle_hash root;
    uint64_t size = writer->edge.tree.size;
    if (checkpoint_open(note, note_bytes, NULL, 0, &head) == STATUS_INVALID) {
        return STATUS_INVALID;
    }
    merkle_root(&writer->edge.tree, &root);
    if (head.size != size || memcmp(head.root.bytes, root.bytes, SHA256_BYTES) != 0) {
        return STATUS_CONFLICT;
    }
    enum status status = STATUS_OK;
    if (partial_width(size, 0) > 0) {
        status = write_tile(writer, LEDGER_TILES_ENTRIES, partial_number(size, 0), partial_width(size, 0));
    }
    for (unsigned level = 0; status == STATUS_OK && level < LEDGER_TILES_LEVELS; level++) {
        if (partial_width(size, level) > 0) {
            status = write_tile(writer, level, partial_number(size, level), partial_width(size, level));
        }
    }
    /* Last: what a checkpoint states is there when it is. */
    return status == STATUS_OK ? writer->files->write(writer->files, "checkpoint", note, note_bytes) : status;
}

/* ---- reading ----------------------------------------------------------------------------------- */

void ledger_tiles_open(struct ledger_tiles_reader *reader, struct evidence_files *files, const struct checkpoint *head)
{
    memset(reader, 0, sizeof(*reader));
    reader->files = files;
    reader->head = *head;
}

void ledger_tiles_close(struct ledger_tiles_reader *reader)
{
    free(reader->bundle);
    reader->bundle = NULL;
}

static enum status corrupt(struct ledger_tiles_reader *reader, const char *format, ...) PRINTF_LIKE(2, 3);
static enum status corrupt(struct ledger_tiles_reader *reader, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->problem, sizeof(reader->problem), format, arguments);
    va_end(arguments);
    return STATUS_CORRUPT;
}

static enum status read_named(struct ledger_tiles_reader *reader, const char *name, size_t bytes_max, char **data,
                              size_t *bytes)
{
    enum status status = reader->files->read(reader->files, name, bytes_max, data, bytes);
    switch (status) {
    case STATUS_OK:
        return STATUS_OK;
    case STATUS_NOT_FOUND:
        return corrupt(reader, "%s is missing", name);
    case STATUS_TOO_LARGE:
        return corrupt(reader, "%s is larger than such a tile can be", name);
    default:
        return corrupt(reader, "%s can't be read: %s", name, status_name(status));
    }
}

/* The hashes of a tile as they stand in its file. */
static enum status read_tile(struct ledger_tiles_reader *reader, unsigned level, uint64_t number, unsigned width,
                             struct merkle_hash *hashes)
{
    char name[LEDGER_TILES_NAME_BYTES];
    char *data = NULL;
    size_t bytes = 0;
    ledger_tiles_name(level, number, width, name);
    enum status status = read_named(reader, name, LEDGER_TILES_WIDTH * sizeof(*hashes), &data, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (bytes != width * sizeof(*hashes)) {
        status = corrupt(reader, "%s has %zu bytes instead of %zu", name, bytes, width * sizeof(*hashes));
    } else {
        memcpy(hashes, data, bytes);
    }
    free(data);
    return status;
}

/* Does the tile say what follows from the entries so far? */
static enum status check_tile(struct ledger_tiles_reader *reader, unsigned level, uint64_t number, unsigned width)
{
    struct merkle_hash hashes[LEDGER_TILES_WIDTH];
    enum status status = read_tile(reader, level, number, width, hashes);
    for (unsigned i = 0; status == STATUS_OK && i < width; i++) {
        if (memcmp(hashes[i].bytes, reader->edge.hashes[level][i].bytes, SHA256_BYTES) != 0) {
            char name[LEDGER_TILES_NAME_BYTES];
            ledger_tiles_name(level, number, width, name);
            status = corrupt(reader, "hash %u of %s does not follow from the tiles below it", i, name);
        }
    }
    return status;
}

static unsigned bundle_width(const struct ledger_tiles_reader *reader, uint64_t number)
{
    uint64_t left = reader->head.size - number * LEDGER_TILES_WIDTH;
    return left < LEDGER_TILES_WIDTH ? (unsigned)left : LEDGER_TILES_WIDTH;
}

static enum status load_bundle(struct ledger_tiles_reader *reader, uint64_t number)
{
    char name[LEDGER_TILES_NAME_BYTES];
    unsigned width = bundle_width(reader, number);
    free(reader->bundle);
    reader->bundle = NULL;
    reader->bundle_at = 0;
    ledger_tiles_name(LEDGER_TILES_ENTRIES, number, width, name);
    enum status status = read_named(reader, name, LEDGER_TILES_BUNDLE_BYTES, &reader->bundle, &reader->bundle_bytes);
    return status == STATUS_OK ? read_tile(reader, 0, number, width, reader->leaves) : status;
}

/* Take the next entry out of the bundle. */
static enum status take_entry(struct ledger_tiles_reader *reader, const char *name, const uint8_t **entry,
                              size_t *bytes)
{
    uint64_t index = reader->edge.tree.size;
    struct byte_reader at =
        byte_reader_of(reader->bundle + reader->bundle_at, reader->bundle_bytes - reader->bundle_at);
    const uint8_t *length = read_span(&at, 2);
    if (length == NULL) {
        return corrupt(reader, "entry %" PRIu64 " is missing: %s ends before it", index, name);
    }
    *bytes = (size_t)length[0] << 8 | length[1];
    *entry = read_span(&at, *bytes);
    if (*bytes < 1 || *bytes > LEDGER_TILES_ENTRY_MAX || *entry == NULL) {
        return corrupt(reader, "entry %" PRIu64 " in %s has a wrong length", index, name);
    }
    reader->bundle_at = reader->bundle_bytes - at.left;
    return STATUS_OK;
}

static enum status check_end(struct ledger_tiles_reader *reader)
{
    struct merkle_hash root;
    uint64_t size = reader->edge.tree.size;
    for (unsigned level = 1; level < LEDGER_TILES_LEVELS; level++) {
        if (partial_width(size, level) > 0) {
            enum status status = check_tile(reader, level, partial_number(size, level), partial_width(size, level));
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    merkle_root(&reader->edge.tree, &root);
    if (memcmp(root.bytes, reader->head.root.bytes, SHA256_BYTES) != 0) {
        return corrupt(reader, "the entries do not give the root that the checkpoint states: one of them was changed, "
                               "moved or replaced together with its tiles");
    }
    return STATUS_CLOSED;
}

enum status ledger_tiles_next(struct ledger_tiles_reader *reader, const uint8_t **entry, size_t *bytes)
{
    uint64_t index = reader->edge.tree.size;
    uint64_t number = index / LEDGER_TILES_WIDTH;
    unsigned at = (unsigned)(index % LEDGER_TILES_WIDTH);
    char name[LEDGER_TILES_NAME_BYTES];
    enum status status = STATUS_OK;
    if (index == reader->head.size) {
        return check_end(reader);
    }
    ledger_tiles_name(LEDGER_TILES_ENTRIES, number, bundle_width(reader, number), name);
    if (at == 0) {
        status = load_bundle(reader, number);
    }
    if (status == STATUS_OK) {
        status = take_entry(reader, name, entry, bytes);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct merkle_hash leaf;
    merkle_leaf(*entry, *bytes, &leaf);
    if (memcmp(leaf.bytes, reader->leaves[at].bytes, SHA256_BYTES) != 0) {
        return corrupt(reader, "entry %" PRIu64 " in %s and its hash in tile 0 do not belong together", index, name);
    }
    if (at == bundle_width(reader, number) - 1 && reader->bundle_at != reader->bundle_bytes) {
        return corrupt(reader, "%s goes on behind its last entry", name);
    }
    edge_append(&reader->edge, &leaf);
    for (unsigned level = 1; status == STATUS_OK && level < LEDGER_TILES_LEVELS; level++) {
        if (reader->edge.is_full[level]) {
            status = check_tile(reader, level, partial_number(reader->edge.tree.size, level) - 1, LEDGER_TILES_WIDTH);
        }
    }
    return status;
}
