/* leaf_book.h - every leaf that the metadata service has ever given out, with its secret: so that checkers can say later whether
 * it is still what it was, or whether anybody can still say it.
 *
 * A leaf's secret is asked of the vault when it has just been leased, and kept. Which leaves were punctured, and which of them
 * were so when a seal was applied, the rows of the pages say then. */
#ifndef TRILITH_TESTS_SIM_LEAF_BOOK_H
#define TRILITH_TESTS_SIM_LEAF_BOOK_H

#include "meta/vault/ggm.h"
#include "tests/sim/checkers.h"

struct known_page {
    uint32_t page;
    uint32_t next_slot;
    struct ggm_bitmap used;
    struct ggm_bitmap punctured; /* as the page's row has it */
    struct ggm_bitmap sealed;    /* of those: at the last seal */
    struct ggm_bitmap gone;      /* of those: the epoch in which they still stood is destroyed */
    struct ggm_bitmap known;     /* whose secret is in `leaves` */
    struct key leaves[GGM_LEAVES];
};

struct leaf_book {
    struct known_page **pages; /* by page number; NULL: never seen */
    uint32_t page_end;
};

/* Read the rows of all pages. */
void leaf_book_read(struct leaf_book *book, const struct check *check);
/* And ask the vault for the leaves that it has given out since. Of those that it can't say nothing is learned. */
void leaf_book_learn(struct leaf_book *book, const struct check *check);
/* A seal was applied; and an epoch is destroyed. Behind leaf_book_read(). */
void leaf_book_seal(struct leaf_book *book);
void leaf_book_erase(struct leaf_book *book);
/* NULL: not known. */
const struct known_page *leaf_book_page(const struct leaf_book *book, uint32_t page);
uint32_t bitmap_count(const struct ggm_bitmap *bitmap);

#endif
