/* checks_vault.c - V1 to V5, and the keys' part of E4: there is one epoch, what was erased can't be said by anybody, everything
 * is accounted for; data keys go when nothing needs them, and a revoked tenant is locked out.
 *
 * V1 and V2 know no more than the bytes of the images and what was once given to the slot: the vault's own code is not asked. */
#include "tests/sim/checks.h"
#include "tests/sim/leaf_book.h"
#include "tests/sim/meta_view.h"
#include "tests/sim/vault_view.h"

#include "meta/catalog_row.h"
#include "meta/erasure.h"
#include "meta/tables.h"

#include <inttypes.h>

#define ERASED_EVERY 3u /* ends of epochs between two searches for what was erased */
#define CLOCK_PPM    500u
#define LAPSE_MS     10000u /* how long a lease that ran out may stand */

/* ---- V1 -------------------------------------------------------------------------------------------- */

struct share_search {
    const struct sim_share *share;
    bool found;
};

static void look_for_share(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct share_search *search = user;
    (void)name, (void)offset;
    search->found |= memmem(bytes, BLOCK_BYTES, search->share->share.bytes, KEY_BYTES) != NULL;
}

static bool share_stands(const struct check *check, const struct sim_share *share, enum sim_disk_image image)
{
    struct share_search search = {.share = share};
    sim_disk_each_block(check->cluster->meta.vault.slot_disk, image, look_for_share, &search);
    return search.found;
}

static bool is_share_of(const struct sim_share *share, const Trilith__ClusterRecord *cluster)
{
    return share->epoch == cluster->epoch && cluster->commitment.len == COMMITMENT_BYTES &&
           memcmp(share->commitment, cluster->commitment.data, COMMITMENT_BYTES) == 0;
}

/* The last share of the epoch that holds; NULL: it was never given to the slot. */
static const struct sim_share *current_share(const struct check *check)
{
    const struct sim_vault *vault = &check->cluster->meta.vault;
    const struct sim_share *share = NULL;
    Trilith__ClusterRecord *cluster = model_cluster_record(check->model);
    CHECK(cluster != NULL);
    for (size_t i = vault->share_count; share == NULL && i-- > 0;) {
        share = is_share_of(&vault->shares[i], cluster) ? &vault->shares[i] : NULL;
    }
    trilith__cluster_record__free_unpacked(cluster, NULL);
    return share;
}

/* V1: after every start of the metadata service, and whenever an epoch counts as destroyed, the slot holds the share of the
 * epoch that the state knows, on stable storage, and nothing of any other share that was ever given to it: not on stable
 * storage, not in the cache. */
void check_one_epoch(const struct check *check)
{
    const struct sim_vault *vault = &check->cluster->meta.vault;
    bool is_meant = check->moment == AT_APPLIED ? check->change != NULL && check->change->erased : check->node == NULL;
    if (!is_meant) {
        return;
    }
    const struct sim_share *current = current_share(check);
    check_counts(check);
    if (current == NULL || !share_stands(check, current, SIM_DISK_DURABLE) ||
        !share_stands(check, current, SIM_DISK_CACHE)) {
        sim_violated("V1", "the share of the epoch that holds is not in the slot");
    }
    for (size_t i = 0; i < vault->share_count; i++) {
        const struct sim_share *share = &vault->shares[i];
        bool is_current = memcmp(&share->share, &current->share, sizeof(share->share)) == 0;
        if (!is_current &&
            (share_stands(check, share, SIM_DISK_DURABLE) || share_stands(check, share, SIM_DISK_CACHE))) {
            sim_violated("V1", "a share of epoch %" PRIu64 " stands in the slot, and epoch %" PRIu64 " holds",
                         share->epoch, current->epoch);
        }
    }
}

/* ---- V2 -------------------------------------------------------------------------------------------- */

static void complain_of_erased(const struct known_page *known, const struct key leaves[GGM_LEAVES],
                               const struct ggm_bitmap *has, const char *where)
{
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        if (ggm_bit(has, slot) && ggm_bit(&known->gone, slot) && ggm_bit(&known->known, slot) &&
            memcmp(&leaves[slot], &known->leaves[slot], sizeof(leaves[slot])) == 0) {
            sim_violated("V2", "leaf %u of page %u, which was erased, follows from %s", slot, known->page, where);
        }
    }
}

static void complain_of_lost(const struct known_page *known, const struct key leaves[GGM_LEAVES],
                             const struct ggm_bitmap *has)
{
    for (uint32_t slot = 0; slot < known->next_slot; slot++) {
        bool is_wanted = ggm_bit(&known->known, slot) && !ggm_bit(&known->punctured, slot);
        if (is_wanted &&
            (!ggm_bit(has, slot) || memcmp(&leaves[slot], &known->leaves[slot], sizeof(leaves[slot])) != 0)) {
            sim_violated("V2", "leaf %u of page %u, which nobody erased, is not what it was", slot, known->page);
        }
    }
}

/* To be looked for where nothing may stand in the clear. */
static void keep_page_key(const struct check *check, const struct vault_view *view, const struct known_page *known)
{
    struct checkers *checkers = check->checkers;
    struct key key;
    if (bitmap_count(&known->gone) > 0 && vault_view_row_key(view, known->page, &key)) {
        checkers->page_keys[checkers->page_key_count++ % CHECKED_LEAVES_KEPT] = key;
    }
}

struct erased_search {
    const struct check *check;
    const struct sim_share *root;
    enum sim_disk_image image;
    bool any;
};

/* `leaves` are those of a page that somebody has who opened this. */
static void look_at_table(void *user, const char *name, uint64_t bytes)
{
    struct erased_search *search = user;
    const struct check *check = search->check;
    const struct sim_vault *vault = &check->cluster->meta.vault;
    const struct leaf_book *book = check->checkers->book;
    static struct key leaves[GGM_LEAVES];
    struct ggm_bitmap has;
    struct vault_view *view = vault_view_open(vault->tables_disk, search->image, name, &search->root->share);
    (void)bytes;
    if (view == NULL) {
        return;
    }
    bool is_current = vault_view_epoch(view) == search->root->epoch;
    search->any |= is_current;
    for (uint32_t page = 0; page < book->page_end; page++) {
        const struct known_page *known = leaf_book_page(book, page);
        if (known == NULL || page >= vault_view_pages_end(view)) {
            continue;
        }
        vault_view_leaves(view, vault->covers, page, leaves, &has);
        complain_of_erased(known, leaves, &has, name);
        if (is_current) {
            complain_of_lost(known, leaves, &has);
            keep_page_key(check, view, known);
        }
    }
    vault_view_close(view);
}

static void look_at_nursery(const struct check *check, const struct sim_share *root, uint32_t pages_end)
{
    const struct leaf_book *book = check->checkers->book;
    static struct key leaves[GGM_LEAVES];
    struct ggm_bitmap has;
    memset(&has, 0xff, sizeof(has));
    for (uint32_t page = 0; page < book->page_end; page++) {
        const struct known_page *known = leaf_book_page(book, page);
        if (known != NULL) {
            vault_view_nursery(&root->share, page, leaves);
            complain_of_erased(known, leaves, &has, "the root alone");
            if (page >= pages_end) {
                complain_of_lost(known, leaves, &has);
            }
        }
    }
}

static void search_for_erased(const struct check *check)
{
    const struct sim_share *root = current_share(check);
    Trilith__ClusterRecord *cluster = model_cluster_record(check->model);
    CHECK(root != NULL && cluster != NULL);
    struct erased_search search = {.check = check, .root = root};
    for (unsigned image = SIM_DISK_DURABLE; image <= SIM_DISK_CACHE; image++) {
        search.image = (enum sim_disk_image)image;
        search.any = false;
        sim_disk_each_file(check->cluster->meta.vault.tables_disk, look_at_table, &search);
        if (!search.any) {
            sim_violated("V2", "no table opens under the root of epoch %" PRIu64, root->epoch);
        }
    }
    look_at_nursery(check, root, cluster->pages_end);
    trilith__cluster_record__free_unpacked(cluster, NULL);
    check_counts(check);
}

static void vault_agrees(const struct check *check)
{
    struct leaf_book *book = check->checkers->book;
    for (uint32_t page = 0; page < book->page_end; page++) {
        const struct known_page *known = leaf_book_page(book, page);
        for (uint32_t slot = 0; known != NULL && slot < known->next_slot; slot++) {
            struct key leaf;
            bool is_wanted = ggm_bit(&known->known, slot) && !ggm_bit(&known->punctured, slot);
            enum status status =
                is_wanted ? meta_view_derive(check->cluster->meta.service, page, slot, &leaf) : STATUS_UNAVAILABLE;
            if (is_wanted && status != STATUS_UNAVAILABLE &&
                (status != STATUS_OK || memcmp(&leaf, &known->leaves[slot], sizeof(leaf)) != 0)) {
                sim_violated("V2", "the vault says something else of leaf %u of page %u than before: %s", slot, page,
                             status_name(status));
            }
        }
    }
}

static void follow_command(const struct check *check)
{
    struct checkers *checkers = check->checkers;
    if (check->change == NULL) {
        return;
    }
    if (check->command->change_case == TRILITH__COMMAND__CHANGE_LEASE_LEAVES) {
        leaf_book_learn(checkers->book, check);
    } else if (check->change->sealed) {
        leaf_book_read(checkers->book, check);
        leaf_book_seal(checkers->book);
    } else if (check->change->erased) {
        leaf_book_read(checkers->book, check);
        leaf_book_erase(checkers->book);
        if (checkers->epochs_erased++ % ERASED_EVERY == 0) {
            search_for_erased(check);
        }
    }
}

/* V2: once an epoch is destroyed no leaf that had been punctured at its seal can be derived from what is left: the root in the
 * slot, every page table in either image of its disk, every row that the table of covers ever had. And each leaf that nobody
 * has punctured follows from just that, and is what it was when it was given out; the vault says so too after every start.
 * Looked at for every third epoch, after starts and at rest. */
void check_erased_leaves(const struct check *check)
{
    switch (check->moment) {
    case AT_APPLIED:
        follow_command(check);
        return;
    case AT_UP:
        if (check->node == NULL) {
            leaf_book_learn(check->checkers->book, check);
            vault_agrees(check);
            search_for_erased(check);
        }
        return;
    default:
        leaf_book_read(check->checkers->book, check);
        vault_agrees(check);
        search_for_erased(check);
    }
}

/* ---- V3 -------------------------------------------------------------------------------------------- */

struct recount {
    uint64_t live;
    uint64_t punctured;
    uint64_t others; /* given out and idle, or fresh */
    uint64_t pages;
    uint64_t objects;
    uint64_t object_bytes;
    uint64_t graced; /* deleted versions that can be taken back */
    uint64_t deks;
    uint64_t refs;        /* keys of references */
    uint64_t late_leases; /* that ran out before `lapsed_ms` and still stand */
    uint64_t lapsed_ms;
};

static void recount_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct recount *recount = user;
    struct object_row row;
    (void)key_bytes;
    switch (((const uint8_t *)key)[0]) {
    case 'o':
        CHECK(object_row_decode(KV_SLICE(value, value_bytes), &row));
        recount->objects++;
        recount->object_bytes += row.size;
        return;
    case 't': {
        Trilith__TenantRecord *tenant = trilith__tenant_record__unpack(NULL, value_bytes, value);
        CHECK(tenant != NULL);
        for (size_t i = 0; i < tenant->n_deks; i++) {
            recount->deks += tenant->deks[i]->destroyed_ms == 0 ? 1 : 0;
        }
        recount->refs += tenant->ref_page != 0 && tenant->erased_ms == 0 ? 1 : 0;
        trilith__tenant_record__free_unpacked(tenant, NULL);
        return;
    }
    case 'G':
        recount->graced++;
        return;
    case 'l':
        recount->late_leases += number_of_be((const uint8_t *)key + 1, 8) < recount->lapsed_ms ? 1 : 0;
        return;
    default:
        return;
    }
}

static void recount_pages(const struct leaf_book *book, struct recount *recount)
{
    for (uint32_t page = 0; page < book->page_end; page++) {
        const struct known_page *known = leaf_book_page(book, page);
        for (uint32_t slot = 0; known != NULL && slot < GGM_LEAVES; slot++) {
            bool punctured = ggm_bit(&known->punctured, slot);
            bool live = ggm_bit(&known->used, slot) && !punctured;
            recount->punctured += punctured ? 1 : 0;
            recount->live += live ? 1 : 0;
            recount->others += punctured || live ? 0 : 1;
        }
        recount->pages += known != NULL ? 1 : 0;
    }
}

static void check_sum(const char *what, uint64_t counted, uint64_t recorded)
{
    if (counted != recorded) {
        sim_violated("V3", "%s: %" PRIu64 " are there, and the record says %" PRIu64, what, counted, recorded);
    }
}

/* V3: every leaf of an opened page is live, punctured, or given to nobody yet; live ones are as many as there are versions, those
 * in their time of grace too, data keys and keys of references; and the sums that the state keeps of all these are right. No switch of an epoch is refused because they don't
 * agree with what the vault has counted. At rest no lease stands that ran out a while ago: its leaves are punctured. */
void check_conservation(const struct check *check)
{
    struct recount recount = {0};
    if (check->moment == AT_APPLIED) {
        if (check->change != NULL && check->change->switch_refused) {
            sim_violated("V3", "the switch to epoch %" PRIu64 " is refused", check->command->epoch_switch->epoch);
        }
        if (check->change == NULL || !check->change->switched) {
            return;
        }
    }
    const struct sim_loop *loop = check->cluster->meta.loop;
    if (check->moment == AT_SETTLED && loop != NULL) {
        recount.lapsed_ms = loop_wall_ms(sim_loop_interface(check->cluster->meta.loop)) - LAPSE_MS;
    }
    leaf_book_read(check->checkers->book, check);
    recount_pages(check->checkers->book, &recount);
    sim_kv_each(check->cluster->meta.tables, recount_row, &recount);
    Trilith__ClusterRecord *cluster = model_cluster_record(check->model);
    CHECK(cluster != NULL);
    check_counts(check);
    check_sum("leaves", recount.live + recount.punctured + recount.others, recount.pages * GGM_LEAVES);
    check_sum("opened pages", recount.pages, cluster->next_page - 1);
    check_sum("live leaves", recount.live, cluster->leaves_live);
    check_sum("punctured leaves", recount.punctured, cluster->leaves_punctured);
    check_sum("versions", recount.objects, cluster->objects);
    check_sum("bytes of versions", recount.object_bytes, cluster->object_bytes);
    check_sum("data keys", recount.deks, cluster->deks);
    check_sum("keys of references", recount.refs, cluster->refs);
    check_sum("versions in their time of grace", recount.graced, cluster->grace_objects);
    check_sum("versions and keys", recount.objects + recount.graced + recount.deks + recount.refs, recount.live);
    check_sum("leases that ran out", recount.late_leases, 0);
    trilith__cluster_record__free_unpacked(cluster, NULL);
}

/* ---- E4 -------------------------------------------------------------------------------------------- */

struct erasure_count {
    const struct check *check;
    const Trilith__ClusterRecord *cluster;
    uint64_t open;
};

/* What the record says of its keys must be what the commands have made of them. */
static void check_keys_of_erasure(const struct erasure_count *count, uint64_t id, const Trilith__ErasureRecord *record)
{
    bool says_gone = record->taken_back_ms == 0 && erasure_keys_are_gone(count->cluster, id, record);
    if (says_gone && record->late && !model_keys_are_gone(count->check->model, id)) {
        sim_violated("E4-key",
                     "the keys of erasure %" PRIu64 " (%s) count as destroyed; seal %" PRIu64
                     " is the last that epoch %" PRIu64 " took along",
                     id, record->reason, count->check->model->vault.gone_seal, count->check->model->vault.erased_epoch);
    }
}

static void count_erasure(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct erasure_count *count = user;
    (void)key_bytes;
    if (((const uint8_t *)key)[0] == 'e') {
        Trilith__ErasureRecord *record = trilith__erasure_record__unpack(NULL, value_bytes, value);
        CHECK(record != NULL);
        uint64_t id = number_of_be((const uint8_t *)key + 1, 8);
        bool is_open = record->closed_ms == 0 || !erasure_keys_are_gone(count->cluster, id, record);
        count->open += record->taken_back_ms == 0 && is_open ? 1 : 0;
        check_keys_of_erasure(count, id, record);
        trilith__erasure_record__free_unpacked(record, NULL);
    }
}

/* E4: the keys of an erasure count as destroyed when the epoch is destroyed that was sealed behind it (of one that had a time of
 * grace: behind its end), and not before; and an
 * erasure counts as open until its copies are wiped and its keys are destroyed. Looked at with every step of an epoch. */
void check_erased_keys(const struct check *check)
{
    bool is_step = check->change != NULL && (check->change->sealed || check->change->switched || check->change->erased);
    if (check->moment == AT_APPLIED && !is_step) {
        return;
    }
    Trilith__ClusterRecord *cluster = model_cluster_record(check->model);
    CHECK(cluster != NULL);
    struct erasure_count count = {.check = check, .cluster = cluster};
    check_counts(check);
    if (cluster->keys_destroyed_below > check->model->vault.gone_erasures) {
        sim_violated("E4-key",
                     "the keys of erasures below %" PRIu64 " count as destroyed; those below %" PRIu64
                     " are, with epoch %" PRIu64,
                     cluster->keys_destroyed_below, check->model->vault.gone_erasures,
                     check->model->vault.erased_epoch);
    }
    sim_kv_each(check->cluster->meta.tables, count_erasure, &count);
    if (count.open != cluster->erasures_open) {
        sim_violated("E4-key", "%" PRIu64 " erasures count as open, and %" PRIu64 " are", cluster->erasures_open,
                     count.open);
    }
    trilith__cluster_record__free_unpacked(cluster, NULL);
}

/* ---- V4 -------------------------------------------------------------------------------------------- */

static const Trilith__DekRecord *dek_of(const Trilith__TenantRecord *tenant, uint32_t version)
{
    for (size_t i = 0; tenant != NULL && i < tenant->n_deks; i++) {
        if (tenant->deks[i]->version == version) {
            return tenant->deks[i];
        }
    }
    return NULL;
}

struct dek_search {
    uint32_t version;
    uint64_t versions;
    uint64_t credentials;
};

static void look_for_dek(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct dek_search *search = user;
    struct object_row row;
    (void)key_bytes;
    switch (((const uint8_t *)key)[0]) {
    case 'o': {
        CHECK(object_row_decode(KV_SLICE(value, value_bytes), &row));
        Trilith__Object *object = trilith__object__unpack(NULL, row.packed.bytes, row.packed.data);
        CHECK(object != NULL);
        search->versions += object->dek_version == search->version || row.dek_version == search->version ? 1 : 0;
        trilith__object__free_unpacked(object, NULL);
        return;
    }
    case 'c': {
        Trilith__CredentialRecord *record = trilith__credential_record__unpack(NULL, value_bytes, value);
        CHECK(record != NULL);
        search->credentials += record->dek_version == search->version ? 1 : 0;
        trilith__credential_record__free_unpacked(record, NULL);
        return;
    }
    default:
        return;
    }
}

static void check_destroyed_dek(const struct check *check, uint32_t version)
{
    struct dek_search search = {.version = version};
    Trilith__TenantRecord *tenant = sim_cluster_tenant(check->cluster);
    const Trilith__DekRecord *dek = dek_of(tenant, version);
    bool destroyed = dek != NULL && dek->destroyed_ms != 0;
    bool is_current = destroyed && tenant->dek_version == version;
    if (tenant != NULL) {
        trilith__tenant_record__free_unpacked(tenant, NULL);
    }
    if (!destroyed) {
        return; /* Refused. */
    }
    sim_kv_each(check->cluster->meta.tables, look_for_dek, &search);
    check_counts(check);
    if (search.versions > 0 || search.credentials > 0 || is_current) {
        sim_violated("V4",
                     "data key %u is destroyed: %" PRIu64 " versions and %" PRIu64 " credentials are sealed under it%s",
                     version, search.versions, search.credentials, is_current ? ", and it is the current one" : "");
    }
}

bool checks_dek_is_retiring(const struct sim_cluster *cluster)
{
    Trilith__TenantRecord *tenant = sim_cluster_tenant(cluster);
    bool retiring = false;
    for (size_t i = 0; tenant != NULL && i < tenant->n_deks; i++) {
        retiring |= tenant->deks[i]->retired_ms != 0 && tenant->deks[i]->destroyed_ms == 0;
    }
    if (tenant != NULL) {
        trilith__tenant_record__free_unpacked(tenant, NULL);
    }
    return retiring;
}

/* What can't be read, or for which there is no room, can't be sealed anew. */
static bool resealing_is_excused(const struct check *check)
{
    const struct sim_cluster *cluster = check->cluster;
    bool excused = cluster->options.mode != SIM_SAFETY;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        excused |= cluster->nodes[i].state != SIM_RUNNING; /* Its disk was damaged past what a start can mend. */
    }
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        const struct sim_node_disk *disk = model_disk_of(check->model, i);
        excused |= disk != NULL && disk_was_full(disk);
    }
    return excused;
}

static void check_nothing_retires(const struct check *check)
{
    Trilith__TenantRecord *tenant = sim_cluster_tenant(check->cluster);
    CHECK(tenant != NULL);
    bool excused = resealing_is_excused(check);
    for (size_t i = 0; i < tenant->n_deks; i++) {
        const Trilith__DekRecord *dek = tenant->deks[i];
        bool retires = dek->retired_ms != 0 && dek->destroyed_ms == 0;
        check_counts(check);
        if (retires && (!excused || dek->objects == 0)) {
            sim_violated("V4",
                         "data key %u was rotated out and is not destroyed; %" PRIu64 " versions and %u credentials "
                         "are under it",
                         dek->version, dek->objects, dek->credentials);
        }
    }
    trilith__tenant_record__free_unpacked(tenant, NULL);
}

/* V4: a data key is destroyed when no version and no credential is sealed under it any more, and not before. When faults have
 * ended everything is sealed anew in time, and every data key that was rotated out goes. Excused: versions that can't be
 * read or written because disks were damaged, lost or full. */
void check_data_keys(const struct check *check)
{
    if (check->moment == AT_SETTLED) {
        check_nothing_retires(check);
    } else if (check->change != NULL && check->command->change_case == TRILITH__COMMAND__CHANGE_DEK_DESTROY) {
        check_destroyed_dek(check, check->command->dek_destroy->version);
    }
}

/* ---- V5 -------------------------------------------------------------------------------------------- */

/* When the lease of every key and credential that was given out before the revocation has ended, by all clocks. */
static uint64_t locked_out_ns(const struct check *check)
{
    uint64_t lease_ns = check->cluster->options.key_lease_ms * NS_PER_MS;
    return check->cluster->keeper.revoked_ns + lease_ns + lease_ns * 2 * CLOCK_PPM / 1000000 + NS_PER_MS;
}

/* V5: once a tenant's keys were switched off, and that was acknowledged, no operation of its clients that begins later than
 * one lease of keys succeeds, until they are enabled again. */
void check_revoked(const struct check *check)
{
    const struct sim_operator *keeper = &check->cluster->keeper;
    if (check->moment == AT_APPLIED) {
        bool enables = check->change != NULL && check->command->change_case == TRILITH__COMMAND__CHANGE_KEY_STATE_SET &&
                       !check->command->key_state_set->revoked;
        check->checkers->enabled_ns = enables ? check->now_ns : check->checkers->enabled_ns;
        return;
    }
    const struct sim_operation *operation = check->operation;
    bool is_locked_out = keeper->revoked_ns > 0 && check->checkers->enabled_ns < keeper->revoked_ns &&
                         operation->began_ns > locked_out_ns(check);
    if (!is_locked_out) {
        return;
    }
    check_counts(check);
    if (operation->outcome == SIM_DONE) {
        sim_violated("V5",
                     "operation %" PRIu64 " (kind %d) at node%u succeeded; it began at %.6f s, the tenant's keys were "
                     "revoked at %.6f s, for leases of %.3f s",
                     operation->number, (int)operation->kind, operation->node + 1,
                     (double)operation->began_ns / (double)NS_PER_S, (double)keeper->revoked_ns / (double)NS_PER_S,
                     (double)check->cluster->options.key_lease_ms / 1e3);
    }
}
