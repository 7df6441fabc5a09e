/* vault_covers.c - covers of punctured pages: from the table of covers, punctured, and under a new key back into it.
 *
 * Row: page u32be | generation u32be -> box of the encoded cover under the page's key, bound to page | generation |
 * vault. A new cover never takes the row of the current one: that stays until the epoch that needs it is destroyed. Its
 * key is fresh, so a row that an abandoned attempt has left under the same generation opens for nobody, and is
 * overwritten.
 * The row of page 0, which is no page, says whose covers these are: the vault's uuid. Without it two servers whose
 * directories were swapped would overwrite each other's covers. */
#include "meta/vault/vault_private.h"

#include "base/bytes.h"
#include "base/log.h"

#define ROW_KEY_BYTES 8
#define CONTEXT_BYTES (ROW_KEY_BYTES + VAULT_UUID_BYTES)

/* The first ROW_KEY_BYTES are the row's key. */
static void context_of(const struct vault *vault, uint32_t page, uint32_t generation, uint8_t context[CONTEXT_BYTES])
{
    struct byte_writer writer = byte_writer_of(context, CONTEXT_BYTES);
    write_u32_be(&writer, page);
    write_u32_be(&writer, generation);
    write_bytes(&writer, vault->uuid, sizeof(vault->uuid));
    CHECK(!writer.failed && writer.left == 0);
}

void covers_mark(const struct vault *vault, struct kv_batch *batch)
{
    uint8_t context[CONTEXT_BYTES];
    context_of(vault, 0, 0, context);
    kv_batch_put(batch, KV_SLICE(context, ROW_KEY_BYTES), KV_SLICE(vault->uuid, sizeof(vault->uuid)));
}

enum status covers_check(struct vault *vault)
{
    uint8_t context[CONTEXT_BYTES];
    uint8_t uuid[VAULT_UUID_BYTES];
    size_t bytes = 0;
    context_of(vault, 0, 0, context);
    enum status status = kv_get(vault->parts.covers, KV_SLICE(context, ROW_KEY_BYTES), uuid, sizeof(uuid), &bytes);
    bool is_own = status == STATUS_NOT_FOUND ||
                  (status == STATUS_OK && bytes == sizeof(uuid) && memcmp(uuid, vault->uuid, sizeof(uuid)) == 0);
    if (is_own) {
        return STATUS_OK;
    }
    return status == STATUS_IO ? STATUS_IO : STATUS_CORRUPT;
}

enum status cover_read(struct vault *vault, uint32_t page, const struct table_row *row)
{
    struct vault_secrets *secrets = vault->secrets;
    uint8_t context[CONTEXT_BYTES];
    uint8_t sealed[COVER_SEALED_MAX];
    size_t bytes;
    context_of(vault, page, row->generation, context);
    enum status status = kv_get(vault->parts.covers, KV_SLICE(context, ROW_KEY_BYTES), sealed, sizeof(sealed), &bytes);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND || status == STATUS_TOO_LARGE ? STATUS_CORRUPT : status;
    }
    if (box_open(row->key, context, sizeof(context), sealed, bytes, secrets->cover_bytes) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    status = ggm_cover_decode(secrets->cover_bytes, bytes - BOX_OVERHEAD_BYTES, &secrets->cover);
    wipe_memory(secrets->cover_bytes, sizeof(secrets->cover_bytes));
    return status;
}

/* The cover that the current epoch has of a page, into secrets->cover. `generation`: COVER_NONE when it is in no
 * row. */
static enum status cover_now(struct vault *vault, uint32_t page, uint32_t *generation)
{
    struct vault_secrets *secrets = vault->secrets;
    struct table_row row = {.type = TABLE_WHOLE};
    *generation = COVER_NONE;
    if (vault->is_loaded && page < vault->current.pages_end) {
        row = table_row(&vault->table, page);
    } else {
        row = table_row(&vault->next.table, page); /* From the nursery, and in its row already. */
    }
    switch (row.type) {
    case TABLE_WHOLE:
        ggm_cover_of_seed(row.key, &secrets->cover);
        return STATUS_OK;
    case TABLE_DEAD:
        secrets->cover.count = 0;
        return STATUS_OK;
    case TABLE_PUNCTURED:
        *generation = row.generation;
        return cover_read(vault, page, &row);
    case TABLE_NO_ROW:
        break;
    }
    UNREACHABLE();
}

static void cover_put(struct vault *vault, struct punctured_page *page, struct kv_batch *batch)
{
    struct vault_secrets *secrets = vault->secrets;
    uint8_t context[CONTEXT_BYTES];
    uint8_t sealed[COVER_SEALED_MAX];
    page->generation =
        page->generation_before == COVER_NONE ? 0 : (page->generation_before + 1) & TABLE_GENERATION_MASK;
    context_of(vault, page->page, page->generation, context);
    size_t bytes = ggm_cover_encode(&secrets->cover, secrets->cover_bytes);
    loop_random(vault->parts.loop, secrets->key.bytes, KEY_BYTES);
    box_seal(&secrets->key, context, sizeof(context), secrets->cover_bytes, bytes, sealed);
    bytes += BOX_OVERHEAD_BYTES;
    kv_batch_put(batch, KV_SLICE(context, ROW_KEY_BYTES), KV_SLICE(sealed, bytes));
    table_row_set(&vault->next.table, page->page, TABLE_PUNCTURED, page->generation, &secrets->key);
    vault->work.bytes_written += ROW_KEY_BYTES + bytes;
    vault->next.closed.pages_punctured++;
}

enum status cover_puncture(struct vault *vault, struct punctured_page *page, struct kv_batch *batch)
{
    struct vault_secrets *secrets = vault->secrets;
    enum status status = cover_now(vault, page->page, &page->generation_before);
    if (status != STATUS_OK) {
        vault_say(vault,
                  "the cover of page %u of the vault can't be read (%s): restore the directory of the covers "
                  "as it was when this server stopped; without it the page's objects are lost",
                  page->page, status_name(status));
        return status;
    }
    vault->next.closed.leaves_erased += ggm_cover_puncture(&secrets->cover, &page->leaves);
    if (secrets->cover.count == 0) {
        table_row_set(&vault->next.table, page->page, TABLE_DEAD, 0, NULL);
    } else {
        cover_put(vault, page, batch);
    }
    wipe_memory(&secrets->cover, sizeof(secrets->cover));
    wipe_memory(secrets->cover_bytes, sizeof(secrets->cover_bytes));
    wipe_memory(&secrets->key, sizeof(secrets->key));
    return STATUS_OK;
}

uint32_t covers_delete(struct vault *vault, const struct page_list *list, enum cover_generation which, uint32_t from)
{
    struct kv_batch *batch = kv_batch_open(vault->parts.covers);
    uint32_t at = from;
    for (; at < list->count && at - from < SLICE_PAGES; at++) {
        const struct punctured_page *page = &list->pages[at];
        uint32_t generation = which == COVER_BEFORE ? page->generation_before : page->generation;
        uint8_t context[CONTEXT_BYTES];
        if (generation != COVER_NONE) {
            context_of(vault, page->page, generation, context);
            kv_batch_delete(batch, KV_SLICE(context, ROW_KEY_BYTES));
        }
    }
    enum status status = kv_write(vault->parts.covers, batch);
    kv_batch_close(batch);
    if (status != STATUS_OK) {
        log_event(LOG_WARNING, "vault_covers_kept", "status=%s hint=%s", status_name(status),
                  "they open for nobody; only their room is lost");
        return list->count;
    }
    return at;
}
