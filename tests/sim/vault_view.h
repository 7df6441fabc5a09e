/* vault_view.h - the vault as somebody sees it who has a root, an image of the disk with the page tables, and every row that
 * the table of covers ever had: all the leaves that follow from them.
 *
 * A second implementation of the formats in meta/vault/table.h, vault_covers.c and ggm.h, without any of their code: what
 * can be opened is opened, whether the vault would use it or not. */
#ifndef TRILITH_TESTS_SIM_VAULT_VIEW_H
#define TRILITH_TESTS_SIM_VAULT_VIEW_H

#include "meta/vault/ggm.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"

struct vault_view;

/* Open the file `name` of an image with this root. NULL: it does not open, not even a part. */
struct vault_view *vault_view_open(struct sim_disk *disk, enum sim_disk_image image, const char *name,
                                   const struct key *root);
void vault_view_close(struct vault_view *view);
uint64_t vault_view_epoch(const struct vault_view *view);
uint32_t vault_view_pages_end(const struct vault_view *view);
/* The leaves of a page that follow from its row, with every cover that `covers` ever had of it. */
void vault_view_leaves(const struct vault_view *view, struct kv *covers, uint32_t page, struct key leaves[GGM_LEAVES],
                       struct ggm_bitmap *has);
/* The leaves of a page that was opened under this root and has no row yet. */
void vault_view_nursery(const struct key *root, uint32_t page, struct key leaves[GGM_LEAVES]);
/* The key in a page's row; false: there is none. */
bool vault_view_row_key(const struct vault_view *view, uint32_t page, struct key *key);

#endif
