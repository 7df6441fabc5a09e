/* checks_grace.c - G1 and G2: what can be taken back is kept for that long, and what is held stays. */
#include "tests/sim/checks.h"
#include "tests/sim/meta_view.h"

#include "meta/state.h"

#include <inttypes.h>

/* ---- G1 ------------------------------------------------------------------------------------------- */

/* A vault that is not open says nothing: it is asked again. */
static void check_leaf_stays(const struct check *check, const struct model_version *version, const char *when)
{
    struct key key;
    enum status status = meta_view_derive(check->cluster->meta.service, version->page, version->slot, &key);
    if (status == STATUS_UNAVAILABLE) {
        return;
    }
    check_counts(check);
    if (status != STATUS_OK) {
        sim_violated("G1", "%s: leaf %u of page %u, of a version that can be taken back: %s", when, version->slot,
                     version->page, status_name(status));
    }
}

static void check_chunks_stay(const struct check *check, const struct model_version *version, const char *when)
{
    for (uint32_t i = 0; i < version->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[version->chunks[i]];
        uint32_t disks[MODEL_DISKS_MAX];
        size_t members = 0;
        (void)model_pg_disks(check->model, chunk->pg, disks, &members);
        if (chunk->fate != MODEL_REFERENCED) {
            sim_violated("G1", "%s: chunk %s of a version that can be taken back is to be wiped", when,
                         hex_of(&chunk->id));
        }
        for (size_t d = 0; d < members; d++) {
            if (disks[d] != UINT32_MAX && chunk->copies[disks[d]].wipe == MODEL_OWED) {
                sim_violated("G1", "%s: %s owes the wipe of chunk %s, of a version that can be taken back", when,
                             disk_name(check, disks[d]), hex_of(&chunk->id));
            }
        }
    }
}

static void check_end(const struct check *check, const struct model_version *version)
{
    uint64_t now_ms = state_time_ms(check->cluster->meta.meta_state);
    check_counts(check);
    if (version->graced_until_ms > now_ms) {
        sim_violated("G1", "a version is erased %" PRIu64 " ms before its time of grace is over",
                     version->graced_until_ms - now_ms);
    }
}

/* G1: a deletion, or what an overwrite replaced, can be taken back until its time is over: until then its leaf can be said,
 * and no chunk of it is given up or to be wiped, also after every start. What comes back is whole (I2 reads it). At rest none is left. */
void check_grace(const struct check *check)
{
    const struct model *model = check->model;
    const struct model_change *change = check->change;
    if (check->moment == AT_UP) {
        for (size_t i = 0; check->node == NULL && i < model->graced_count; i++) {
            check_leaf_stays(check, model->graced[i].version, "after a start");
        }
        return;
    }
    if (check->moment == AT_SETTLED) {
        if (model->graced_count > 0) {
            sim_violated("G1", "at rest %zu versions are in their time of grace", model->graced_count);
        }
        return;
    }
    if (change == NULL) {
        return;
    }
    if (change->gave_up_used_chunk) {
        sim_violated("G1", "chunk %s was condemned, and a version has it", hex_of(&change->used_chunk));
    }
    if (change->ended != NULL && change->ended->graced_id != 0) {
        check_leaf_stays(check, change->ended, "the version was deleted");
        check_chunks_stay(check, change->ended, "the version was deleted");
    }
    if (change->undone != NULL) {
        check_leaf_stays(check, change->undone, "the deletion was taken back");
        check_chunks_stay(check, change->undone, "the deletion was taken back");
    }
    for (size_t i = 0; i < change->went_count && check->command->change_case == TRILITH__COMMAND__CHANGE_GRACE_END;
         i++) {
        check_end(check, change->went[i]);
    }
}

/* ---- G2 ------------------------------------------------------------------------------------------- */

static void complain_of_held(const struct check *check, const struct model_version *version, const char *what)
{
    check_counts(check);
    if (version->held) {
        sim_violated("G2", "command %" PRIu64 " %s a version that is held", check->index, what);
    }
}

/* G2: as long as a legal hold stands a version is neither deleted nor replaced, and when its time of grace ends it waits. */
void check_holds(const struct check *check)
{
    const struct model_change *change = check->change;
    if (change == NULL) {
        return;
    }
    if (change->ended != NULL) {
        complain_of_held(check, change->ended, "deletes or replaces");
    }
    for (size_t i = 0; i < change->went_count; i++) {
        complain_of_held(check, change->went[i], "erases");
    }
}
