/* epoch_journal.h - the rules of meta/epochs.h in a few lines: what the tests of the vault's protocol take for the journal
 * and the replicated state. One order of entries for all servers; each entry is applied or refused by every server alike. */
#ifndef TRILITH_TESTS_UNIT_EPOCH_JOURNAL_H
#define TRILITH_TESTS_UNIT_EPOCH_JOURNAL_H

#include "meta/vault/epoch.h"

#include <string.h>

enum entry_kind { ENTRY_PUNCTURE, ENTRY_SEAL, ENTRY_SWITCH, ENTRY_ERASED };

struct journal_entry {
    enum entry_kind kind;
    uint32_t submitter;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    uint64_t who;
    uint64_t leaves_erased;
    uint32_t page; /* ENTRY_PUNCTURE, of a leaf that was not punctured before */
    uint32_t slot;
};

struct journal_state {
    uint32_t servers;
    struct vault_epoch current;
    struct vault_epoch sealed;
    uint64_t sealed_punctured;
    uint64_t erasing;
    uint64_t punctured;
    uint32_t pages_end;   /* of the next table */
    uint32_t applied;     /* entries so far, refused ones too */
    uint32_t sealed_at;   /* `applied` when the last seal was */
    uint32_t switched_at; /* the same of the seal that the current table was made at: punctures before it are erased */
};

static inline uint32_t journal_bits(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

static inline uint32_t journal_threshold(const struct journal_state *state)
{
    return state->servers / 2 + 1;
}

/* False: refused, nothing has changed. */
static inline bool journal_apply(struct journal_state *state, const struct journal_entry *entry)
{
    bool is_sealed = state->sealed.epoch != 0 && entry->epoch == state->sealed.epoch &&
                     memcmp(entry->commitment, state->sealed.commitment, COMMITMENT_BYTES) == 0;
    state->applied++;
    switch (entry->kind) {
    case ENTRY_PUNCTURE:
        state->punctured++;
        return true;
    case ENTRY_SEAL:
        if (entry->epoch != state->current.epoch + 1 || state->erasing != 0) {
            return false;
        }
        state->sealed = (struct vault_epoch){.epoch = entry->epoch,
                                             .servers = state->servers,
                                             .threshold = journal_threshold(state),
                                             .pages_end = state->pages_end};
        memcpy(state->sealed.commitment, entry->commitment, COMMITMENT_BYTES);
        state->sealed_punctured = state->punctured;
        state->sealed_at = state->applied;
        return true;
    case ENTRY_SWITCH:
        if (!is_sealed || journal_bits(entry->who) < journal_threshold(state) ||
            entry->leaves_erased != state->sealed_punctured) {
            return false;
        }
        state->erasing = state->current.epoch;
        state->current = state->sealed;
        state->switched_at = state->sealed_at;
        memset(&state->sealed, 0, sizeof(state->sealed));
        return true;
    case ENTRY_ERASED:
        if (state->erasing == 0 || entry->epoch != state->erasing ||
            journal_bits(entry->who) < state->servers - journal_threshold(state) + 1) {
            return false;
        }
        state->erasing = 0;
        return true;
    }
    UNREACHABLE();
}

#endif
