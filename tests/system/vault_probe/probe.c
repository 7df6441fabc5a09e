/* probe.c - the command line of vault-probe, and opening tables of the vault with any root there is.
 *
 *   vault-probe slots FILE...
 *       a line per cell: "cell FILE NUMBER STATE EPOCH COMMITMENT"
 *   vault-probe open --page P --slot S [--slots FILE]... [--table FILE]... [--covers DIR]...
 *       a line per (root, table): "opens|refused SLOTFILE EPOCH TABLE"; a line per way to the leaf: "leaf HEX SLOTFILE TABLE"
 *   vault-probe search --leaf HEX --slot S [--commitment HEX]... [--secret HEX]... FILE...
 *       probe.h; at the end "windows N"
 *   vault-probe windows CONTENT FILE...
 *       probe.h
 * Exit status 0 whatever was found; 2 for wrong use or files that can't be read. */
#include "tests/system/vault_probe/probe.h"

#include "base/bytes.h"
#include "base/digest.h"
#include "base/kv_rocksdb.h"
#include "meta/vault/ggm.h"
#include "meta/vault/slot_cell.h"
#include "meta/vault/table.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES MIB(8)

struct file_list {
    const char *paths[PROBE_FILES_MAX];
    unsigned count;
};

struct probe {
    uint32_t page;
    uint32_t slot;
    struct file_list slots;
    struct file_list tables;
    struct kv *covers[PROBE_FILES_MAX];
    unsigned covers_count;
    struct probe_search search;
};

uint8_t *probe_read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
        rewind(file);
    }
    if (size >= 0) {
        data = malloc((size_t)size + 1);
    }
    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "vault-probe: %s: can't be read\n", path);
        free(data);
        data = NULL;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    *bytes = data == NULL ? 0 : (size_t)size;
    return data;
}

/* ---- slots ------------------------------------------------------------------------------------- */

_Static_assert(COMMITMENT_BYTES == KEY_BYTES, "one length of hex for both");

struct hex {
    char text[2 * KEY_BYTES + 1];
};

static struct hex hex_of(const uint8_t bytes[KEY_BYTES])
{
    struct hex hex;
    hex_encode(bytes, KEY_BYTES, hex.text);
    return hex;
}

static void print_leaf(const struct key *leaf, const char *slot_path, const char *table_path)
{
    printf("leaf %s %s %s\n", hex_of(leaf->bytes).text, slot_path, table_path);
}

/* The cells of a slot file. False: it is none. */
static bool read_slot(const char *path, struct slot_cell cells[SLOT_CELLS])
{
    size_t bytes = 0;
    uint8_t *data = probe_read_file(path, &bytes);
    bool is_slot = data != NULL && bytes == (size_t)SLOT_CELLS * SLOT_CELL_BYTES;
    for (unsigned i = 0; is_slot && i < SLOT_CELLS; i++) {
        slot_cell_decode(data + (size_t)i * SLOT_CELL_BYTES, i, &cells[i]);
    }
    free(data);
    return is_slot;
}

static int run_slots(const struct file_list *files)
{
    static const char *const words[] = {
        [SLOT_EMPTY] = "empty", [SLOT_HOLDS] = "holds", [SLOT_DESTROYED] = "destroyed", [SLOT_DAMAGED] = "damaged"};
    for (unsigned i = 0; i < files->count; i++) {
        struct slot_cell cells[SLOT_CELLS];
        if (!read_slot(files->paths[i], cells)) {
            return 2;
        }
        for (unsigned k = 0; k < SLOT_CELLS; k++) {
            printf("cell %s %u %s %llu %s\n", files->paths[i], k, words[cells[k].state],
                   (unsigned long long)cells[k].epoch, hex_of(cells[k].commitment).text);
        }
    }
    return 0;
}

/* ---- open -------------------------------------------------------------------------------------- */

/* Whatever table of covers has the generation that the row names, and opens with the row's key. */
static void try_covers(const struct probe *probe, const struct table_header *header, const struct table_row *row,
                       const char *slot_path, const char *table_path)
{
    uint8_t context[8 + VAULT_UUID_BYTES];
    struct byte_writer writer = byte_writer_of(context, sizeof(context));
    write_u32_be(&writer, probe->page);
    write_u32_be(&writer, row->generation);
    write_bytes(&writer, header->vault_uuid, VAULT_UUID_BYTES);
    for (unsigned i = 0; i < probe->covers_count; i++) {
        uint8_t sealed[GGM_COVER_BYTES_MAX + BOX_OVERHEAD_BYTES];
        uint8_t plain[GGM_COVER_BYTES_MAX];
        size_t bytes = 0;
        struct ggm_cover cover;
        struct key leaf;
        if (kv_get(probe->covers[i], KV_SLICE(context, 8), sealed, sizeof(sealed), &bytes) == STATUS_OK &&
            box_open(row->key, context, sizeof(context), sealed, bytes, plain) == STATUS_OK &&
            ggm_cover_decode(plain, bytes - BOX_OVERHEAD_BYTES, &cover) == STATUS_OK) {
            printf("cover %s %s %u\n", slot_path, table_path, cover.count);
            if (ggm_cover_leaf(&cover, probe->slot, &leaf) == STATUS_OK) {
                print_leaf(&leaf, slot_path, table_path);
            }
        }
    }
}

static void nursery_leaf(const struct probe *probe, const struct key *root, struct key *leaf)
{
    struct key nursery;
    struct key seed;
    char label[32];
    derive_named_key(root, "nursery", &nursery);
    (void)snprintf(label, sizeof(label), "page %08x", probe->page);
    derive_named_key(&nursery, label, &seed);
    ggm_seed_leaf(&seed, probe->slot, leaf);
}

/* One root against one table. */
static void try_table(const struct probe *probe, const struct key *root, uint64_t epoch, const char *slot_path,
                      const char *path, const uint8_t *table, size_t table_bytes)
{
    static struct table_sealing sealing;
    static uint8_t rows[TABLE_PLAIN_BYTES];
    struct table_header header;
    struct key leaf;
    if (table_bytes < TABLE_HEADER_BYTES || table_header_decode(table, &header) != STATUS_OK) {
        printf("refused %s %llu %s\n", slot_path, (unsigned long long)epoch, path);
        return;
    }
    if (probe->page >= header.pages_end) {
        nursery_leaf(probe, root, &leaf);
        print_leaf(&leaf, slot_path, path);
        return;
    }
    uint32_t block = (probe->page - 1) / TABLE_BLOCK_ROWS;
    uint64_t offset = table_block_offset(block);
    sealing.root = *root;
    memcpy(sealing.header, table, TABLE_HEADER_BOUND_BYTES);
    if (offset + TABLE_BLOCK_BYTES > table_bytes ||
        table_block_open(&sealing, block, header.pages_end, table + offset, rows) != STATUS_OK) {
        printf("refused %s %llu %s\n", slot_path, (unsigned long long)epoch, path);
        return;
    }
    printf("opens %s %llu %s\n", slot_path, (unsigned long long)epoch, path);
    const uint8_t *bytes = rows + (size_t)((probe->page - 1) % TABLE_BLOCK_ROWS) * TABLE_ROW_BYTES;
    struct key key;
    memcpy(key.bytes, bytes + 4, KEY_BYTES);
    const struct table_row row = {.type = (enum table_row_type)bytes[0],
                                  .generation = bytes[1] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3] << 16,
                                  .key = &key};
    if (row.type == TABLE_WHOLE) {
        ggm_seed_leaf(&key, probe->slot, &leaf);
        print_leaf(&leaf, slot_path, path);
    } else if (row.type == TABLE_PUNCTURED) {
        try_covers(probe, &header, &row, slot_path, path);
    }
}

static int run_open(const struct probe *probe)
{
    for (unsigned t = 0; t < probe->tables.count; t++) {
        size_t table_bytes = 0;
        uint8_t *table = probe_read_file(probe->tables.paths[t], &table_bytes);
        if (table == NULL) {
            return 2;
        }
        for (unsigned s = 0; s < probe->slots.count; s++) {
            struct slot_cell cells[SLOT_CELLS];
            if (!read_slot(probe->slots.paths[s], cells)) {
                free(table);
                return 2;
            }
            for (unsigned k = 0; k < SLOT_CELLS; k++) {
                /* With one server the share is the root. */
                if (cells[k].state == SLOT_HOLDS && cells[k].threshold == 1) {
                    try_table(probe, &cells[k].share.value, cells[k].epoch, probe->slots.paths[s],
                              probe->tables.paths[t], table, table_bytes);
                }
            }
        }
        free(table);
    }
    return 0;
}

static int run_search(const struct probe *probe, char **paths, int count)
{
    uint64_t windows = 0;
    for (int i = 0; i < count; i++) {
        if (!probe_search_file(&probe->search, paths[i], &windows)) {
            return 2;
        }
    }
    printf("windows %llu\n", (unsigned long long)windows);
    return 0;
}

/* ---- command line ------------------------------------------------------------------------------ */

static bool file_add(struct file_list *list, const char *path)
{
    if (list->count == PROBE_FILES_MAX) {
        return false;
    }
    list->paths[list->count++] = path;
    return true;
}

static bool covers_add(struct probe *probe, const char *directory)
{
    char message[512];
    if (probe->covers_count == PROBE_FILES_MAX ||
        kv_rocksdb_open(directory, CACHE_BYTES, &probe->covers[probe->covers_count], message, sizeof(message)) !=
            STATUS_OK) {
        return false;
    }
    probe->covers_count++;
    return true;
}

static bool key_of(const char *text, uint8_t bytes[KEY_BYTES])
{
    return hex_decode(text, strlen(text), bytes, KEY_BYTES);
}

static bool take_option(struct probe *probe, int option, const char *value)
{
    switch (option) {
    case 'p':
        probe->page = (uint32_t)strtoul(value, NULL, 10);
        return true;
    case 's':
        probe->slot = (uint32_t)strtoul(value, NULL, 10);
        probe->search.slot = probe->slot;
        return probe->slot < GGM_LEAVES;
    case 'S':
        return file_add(&probe->slots, value);
    case 't':
        return file_add(&probe->tables, value);
    case 'c':
        return covers_add(probe, value);
    case 'l':
        return key_of(value, probe->search.leaf.bytes);
    case 'C':
        return probe->search.commitment_count < PROBE_COMMITMENTS_MAX &&
               key_of(value, probe->search.commitments[probe->search.commitment_count++]);
    case 'k':
        return probe->search.secret_count < PROBE_SECRETS_MAX &&
               key_of(value, probe->search.secrets[probe->search.secret_count++].bytes);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"page", required_argument, NULL, 'p'},
                                            {"slot", required_argument, NULL, 's'},
                                            {"slots", required_argument, NULL, 'S'},
                                            {"table", required_argument, NULL, 't'},
                                            {"covers", required_argument, NULL, 'c'},
                                            {"leaf", required_argument, NULL, 'l'},
                                            {"commitment", required_argument, NULL, 'C'},
                                            {"secret", required_argument, NULL, 'k'},
                                            {NULL, 0, NULL, 0}};
    static struct probe probe;
    bool good = argc > 1 && keys_start_process() == STATUS_OK;
    const char *verb = good ? argv[1] : "";
    optind = 2;
    for (int option = 0; good && (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        good = take_option(&probe, option, optarg);
    }
    int status = 2;
    if (good && strcmp(verb, "slots") == 0) {
        struct file_list files = {.count = 0};
        for (int i = optind; good && i < argc; i++) {
            good = file_add(&files, argv[i]);
        }
        status = run_slots(&files);
    } else if (good && strcmp(verb, "open") == 0) {
        status = run_open(&probe);
    } else if (good && strcmp(verb, "search") == 0) {
        status = run_search(&probe, argv + optind, argc - optind);
    }
    if (good && strcmp(verb, "windows") == 0 && optind + 1 < argc) {
        status = probe_windows(argv[optind], argv + optind + 1, argc - optind - 1);
    }
    if (status != 0) {
        fprintf(stderr, "vault-probe: wrong use, or a file that is not what it should be\n");
    }
    for (unsigned i = 0; i < probe.covers_count; i++) {
        kv_close(probe.covers[i]);
    }
    return status;
}
