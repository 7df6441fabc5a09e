/* leaf_book.c - see leaf_book.h. */
#include "tests/sim/leaf_book.h"

#include "meta/tables.h"
#include "tests/sim/meta_view.h"

#include <stdlib.h>

static struct known_page *page_take(struct leaf_book *book, uint32_t page)
{
    if (page >= book->page_end) {
        uint32_t end = page * 2 + 16;
        book->pages = realloc(book->pages, end * sizeof(struct known_page *));
        CHECK(book->pages != NULL);
        for (; book->page_end < end; book->page_end++) {
            book->pages[book->page_end] = NULL;
        }
    }
    if (book->pages[page] == NULL) {
        book->pages[page] = calloc(1, sizeof(struct known_page));
        CHECK(book->pages[page] != NULL);
        book->pages[page]->page = page;
    }
    return book->pages[page];
}

static void row_read(struct leaf_book *book, const void *key, const void *value, size_t value_bytes)
{
    Trilith__PageRecord *record = trilith__page_record__unpack(NULL, value_bytes, value);
    CHECK(record != NULL);
    CHECK(record->used.len == GGM_BITMAP_BYTES && record->punctured.len == GGM_BITMAP_BYTES);
    struct known_page *known = page_take(book, (uint32_t)number_of_be((const uint8_t *)key + 1, 4));
    known->next_slot = record->next_slot;
    memcpy(known->used.bits, record->used.data, GGM_BITMAP_BYTES);
    memcpy(known->punctured.bits, record->punctured.data, GGM_BITMAP_BYTES);
    trilith__page_record__free_unpacked(record, NULL);
}

void leaf_book_read(struct leaf_book *book, const struct check *check)
{
    struct table_key prefix = key_prefix(key_page(0), 1);
    struct kv_iterator *iterator = kv_iterator_open(check->cluster->meta.tables);
    for (kv_iterator_seek(iterator, KV_SLICE(prefix.bytes, prefix.length)); kv_iterator_valid(iterator);
         kv_iterator_next(iterator)) {
        struct kv_slice key = kv_iterator_key(iterator);
        struct kv_slice value = kv_iterator_value(iterator);
        if (key.bytes != 5 || memcmp(key.data, prefix.bytes, prefix.length) != 0) {
            break;
        }
        row_read(book, key.data, value.data, value.bytes);
    }
    kv_iterator_close(iterator);
}

void leaf_book_learn(struct leaf_book *book, const struct check *check)
{
    leaf_book_read(book, check);
    for (uint32_t page = 0; page < book->page_end; page++) {
        struct known_page *known = book->pages[page];
        for (uint32_t slot = 0; known != NULL && slot < known->next_slot; slot++) {
            if (!ggm_bit(&known->known, slot) && !ggm_bit(&known->punctured, slot) &&
                meta_view_derive(check->cluster->meta.service, page, slot, &known->leaves[slot]) == STATUS_OK) {
                ggm_bit_set(&known->known, slot);
            }
        }
    }
}

void leaf_book_seal(struct leaf_book *book)
{
    for (uint32_t page = 0; page < book->page_end; page++) {
        if (book->pages[page] != NULL) {
            book->pages[page]->sealed = book->pages[page]->punctured;
        }
    }
}

void leaf_book_erase(struct leaf_book *book)
{
    for (uint32_t page = 0; page < book->page_end; page++) {
        if (book->pages[page] != NULL) {
            book->pages[page]->gone = book->pages[page]->sealed;
        }
    }
}

const struct known_page *leaf_book_page(const struct leaf_book *book, uint32_t page)
{
    return page < book->page_end ? book->pages[page] : NULL;
}

uint32_t bitmap_count(const struct ggm_bitmap *bitmap)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        count += ggm_bit(bitmap, slot) ? 1 : 0;
    }
    return count;
}
