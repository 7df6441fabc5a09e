/* vault_settle.c - what the slot says at start-up, held against what the state says, and what a crash left behind.
 *
 * With e the epoch that holds by the state. What a crash at any step of a close can leave, and what is done about it:
 *   e                           nothing was under way
 *   e and e+1, or e and damage  e+1 was prepared, or being put: destroyed
 *   e and e-1, or e and damage  e-1 was being destroyed: destroyed
 *   nothing, 1 or damage, and the state knows no epoch    epoch 1 was prepared: destroyed
 * With several servers also: not e, only what is older, damaged, or of another attempt at e. This server was away when
 * the others switched: destroyed, STATUS_NOT_FOUND.
 * All else no crash can leave. Somebody has put back an older copy, or the wrong one: nothing is touched, as destroying
 * the only root there is would lose everything. */
#include "meta/vault/slot_cell.h"
#include "meta/vault/vault_private.h"

#include "base/log.h"

enum settle_stage { SETTLE_STARTED, SETTLE_READ, SETTLE_DESTROYED_FIRST, SETTLE_DESTROYED_SECOND };

/* What is to be done about each cell. */
struct verdict {
    enum status status;
    bool destroy[SLOT_CELLS];
    uint64_t epoch[SLOT_CELLS]; /* whose share is destroyed */
};

static void destroy_cell(struct verdict *verdict, unsigned number, uint64_t epoch)
{
    verdict->destroy[number] = true;
    verdict->epoch[number] = epoch;
}

/* ---- judging ----------------------------------------------------------------------------------- */

static bool is_of_another_vault(const struct vault *vault, const struct slot_cell *cell)
{
    static const uint8_t none[VAULT_UUID_BYTES];
    bool says = cell->state == SLOT_HOLDS ||
                (cell->state == SLOT_DESTROYED && memcmp(cell->vault_uuid, none, sizeof(none)) != 0);
    return says && memcmp(cell->vault_uuid, vault->uuid, sizeof(vault->uuid)) != 0;
}

static bool holds(const struct slot_cell *cell, const struct vault_epoch *epoch)
{
    return cell->state == SLOT_HOLDS && cell->epoch == epoch->epoch &&
           memcmp(cell->commitment, epoch->commitment, COMMITMENT_BYTES) == 0;
}

static enum status refuse_old_metadata(struct vault *vault, uint64_t current, uint64_t found)
{
    vault_say(
        vault,
        "the root slot is at epoch %llu and the metadata at epoch %llu: an older copy of the metadata was put back. "
        "Put back the newest copy; what was erased since the older one can't be opened with it",
        (unsigned long long)found, (unsigned long long)current);
    return STATUS_CONFLICT;
}

/* The other cell than that of the current epoch, which is held. Epoch 0, "none yet", counts as held. */
static enum status judge_other(struct vault *vault, uint64_t current, const struct slot_cell *other,
                               struct verdict *verdict)
{
    unsigned number = slot_cell_of(current + 1);
    switch (other->state) {
    case SLOT_EMPTY:
        return STATUS_OK;
    case SLOT_DESTROYED:
        return other->epoch <= current + 1 ? STATUS_OK : refuse_old_metadata(vault, current, other->epoch);
    case SLOT_DAMAGED:
        destroy_cell(verdict, number, current + 1); /* Or current - 1: the same cell, and it is overwritten. */
        return STATUS_OK;
    case SLOT_HOLDS:
        if (other->epoch > current + 1) {
            return refuse_old_metadata(vault, current, other->epoch);
        }
        destroy_cell(verdict, number, other->epoch);
        return STATUS_OK;
    }
    UNREACHABLE();
}

/* The state knows no epoch: what would be the cell of epoch 0 must never have been used. */
static enum status judge_new(struct vault *vault, const struct slot_cell cells[SLOT_CELLS], struct verdict *verdict)
{
    switch (cells[0].state) {
    case SLOT_EMPTY:
        return judge_other(vault, 0, &cells[1], verdict);
    case SLOT_DAMAGED:
        vault_say(vault,
                  "the root slot is damaged, and the metadata is new: this slot was in use before. Give this server "
                  "a new slot, or put back the metadata that belongs to this one");
        return STATUS_CORRUPT;
    case SLOT_HOLDS:
    case SLOT_DESTROYED:
        return refuse_old_metadata(vault, 0, cells[0].epoch);
    }
    UNREACHABLE();
}

/* One server, and its slot does not hold the share: none of this is what a crash leaves. */
static enum status judge_alone(struct vault *vault, const struct vault_epoch *current,
                               const struct slot_cell cells[SLOT_CELLS])
{
    unsigned long long epoch = current->epoch;
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        if (cells[i].state == SLOT_DAMAGED) {
            vault_say(vault,
                      "the root slot is damaged: cell %u can't be read, and the other does not hold epoch %llu. "
                      "Put back this server's slot from a copy made since that epoch began; without it all "
                      "objects are lost",
                      i, epoch);
            return STATUS_CORRUPT;
        }
    }
    uint64_t newest = 0;
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        newest = cells[i].state == SLOT_HOLDS && cells[i].epoch > newest ? cells[i].epoch : newest;
    }
    const struct slot_cell *own = &cells[slot_cell_of(current->epoch)];
    if (newest > current->epoch || (own->state == SLOT_DESTROYED && own->epoch >= current->epoch)) {
        return refuse_old_metadata(vault, current->epoch, newest > current->epoch ? newest : own->epoch);
    }
    if (newest == current->epoch) {
        vault_say(vault,
                  "the root slot holds another root of epoch %llu than the metadata says: slot and metadata are "
                  "copies of different times or servers. Put back the two that belong together",
                  epoch);
    } else if (newest > 0) {
        vault_say(vault,
                  "the root slot is at epoch %llu and the metadata at epoch %llu: an older copy of the slot was put "
                  "back, and its epoch is over. Put back this server's own newest slot",
                  (unsigned long long)newest, epoch);
    } else {
        vault_say(vault,
                  "the root slot holds no root, and the metadata is at epoch %llu: it was replaced or emptied. Put "
                  "back this server's own slot; without it all objects are lost",
                  epoch);
    }
    return STATUS_CONFLICT;
}

/* One of several servers, without the share: it was away at the switch. What it has is of no use any more. */
static enum status judge_late(struct vault *vault, const struct vault_epoch *current,
                              const struct slot_cell cells[SLOT_CELLS], struct verdict *verdict)
{
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        if (cells[i].state == SLOT_HOLDS && cells[i].epoch > current->epoch) {
            return refuse_old_metadata(vault, current->epoch, cells[i].epoch);
        }
    }
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        if (cells[i].state == SLOT_HOLDS) {
            destroy_cell(verdict, i, cells[i].epoch);
        } else if (cells[i].state == SLOT_DAMAGED) {
            destroy_cell(verdict, i, slot_cell_of(current->epoch) == i ? current->epoch : current->epoch + 1);
        }
    }
    vault_say(vault,
              "this server has no share of epoch %llu: it was away when the others switched to it. It fetches what "
              "it lacks from them",
              (unsigned long long)current->epoch);
    return STATUS_NOT_FOUND;
}

static enum status judge(struct vault *vault, const struct vault_epoch *current,
                         const struct slot_cell cells[SLOT_CELLS], struct verdict *verdict)
{
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        if (is_of_another_vault(vault, &cells[i])) {
            vault_say(vault,
                      "this is another metadata server's slot: it belongs to another cluster. Give each metadata "
                      "server its own slot, and put back the one that belongs to this server");
            return STATUS_CONFLICT;
        }
    }
    if (current->epoch == 0) {
        return judge_new(vault, cells, verdict);
    }
    if (holds(&cells[slot_cell_of(current->epoch)], current)) {
        return judge_other(vault, current->epoch, &cells[slot_cell_of(current->epoch + 1)], verdict);
    }
    return current->servers == 1 ? judge_alone(vault, current, cells) : judge_late(vault, current, cells, verdict);
}

/* ---- settling ---------------------------------------------------------------------------------- */

static void settle_resume(struct vault *vault, enum status status);

static void settle_end(struct vault *vault, enum status status)
{
    const struct vault_epoch *current = &vault->work.epoch;
    const struct slot_cell *own = &vault->secrets->cells[slot_cell_of(current->epoch)];
    if (status == STATUS_OK && current->epoch > 0) {
        vault->secrets->share = own->share;
        vault->has_share = true;
    }
    work_end(vault, status);
}

/* Destroy the next cell that is to be, from `from` on; then end. */
static void settle_destroy(struct vault *vault, unsigned from)
{
    struct verdict verdict = {0};
    /* The cells stay as they were read until the end, so that this comes to the same verdict each time. */
    enum status status = judge(vault, &vault->work.epoch, vault->secrets->cells, &verdict);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        work_end(vault, status);
        return;
    }
    for (unsigned i = from; i < SLOT_CELLS; i++) {
        if (verdict.destroy[i]) {
            log_event(LOG_INFO, "vault_settled", "epoch=%llu destroys=%llu",
                      (unsigned long long)vault->work.epoch.epoch, (unsigned long long)verdict.epoch[i]);
            work_slot(vault, SLOT_DESTROY, verdict.epoch[i], i == 0 ? SETTLE_DESTROYED_FIRST : SETTLE_DESTROYED_SECOND);
            return;
        }
    }
    settle_end(vault, status);
}

static void settle_resume(struct vault *vault, enum status status)
{
    if (status != STATUS_OK) {
        vault_say(vault, "the root slot can't be %s (%s): check its device",
                  vault->work.stage == SETTLE_READ ? "read" : "written", status_name(status));
        work_end(vault, status);
        return;
    }
    switch ((enum settle_stage)vault->work.stage) {
    case SETTLE_STARTED:
        work_slot(vault, SLOT_READ, 0, SETTLE_READ);
        return;
    case SETTLE_READ:
        settle_destroy(vault, 0);
        return;
    case SETTLE_DESTROYED_FIRST:
        settle_destroy(vault, 1);
        return;
    case SETTLE_DESTROYED_SECOND:
        settle_destroy(vault, SLOT_CELLS);
        return;
    }
    UNREACHABLE();
}

void vault_settle(struct vault *vault, const struct vault_epoch *current, vault_done *done, void *user)
{
    CHECK(!vault->is_loaded);
    CHECK(!vault->next.exists);
    work_begin(vault, settle_resume, done, user);
    vault->work.epoch = *current;
}
