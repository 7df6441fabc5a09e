/* journal.h - the interface to the command log: entries go in, come out committed, in one order, for ever.
 *
 * The one-node log is journal_local.c; a replicated one (raft) has the same shape: a submitted entry is persisted (and
 * agreed on) and then handed to the user to be applied, like entries that came from elsewhere or from a replay.
 *
 * Order      Entries have indexes from 1 without gaps. `committed` runs in that order, once per entry and open.
 * Durability When `committed` runs the entry is on stable storage and will be replayed after any crash, unless it was
 *            released.
 * Failure    After a failed write or flush nothing more is taken: no retry. What was submitted and not committed may
 *            or may not be there at the next open. The service must stop.
 * Threads    Loop thread only. `committed` and `failed` never run inside a call of this interface. */
#ifndef TRILITH_META_JOURNAL_H
#define TRILITH_META_JOURNAL_H

#include "base/ids.h"
#include "base/list.h"
#include "base/status.h"

#define JOURNAL_ENTRY_BYTES_MAX KIB(192)

struct journal;

/* One entry under way, embedded in whatever waits for it. Zero-initialise before first use. */
struct journal_entry {
    uint64_t index; /* set by journal_submit() */
    struct list_link link;
};

/* Who applies the entries. */
struct journal_user {
    /* Apply entry `index`. `bytes` stand until this returns. `entry` is the one that was submitted here, or NULL. */
    void (*committed)(struct journal_user *user, uint64_t index, const void *bytes, size_t size,
                      struct journal_entry *entry);
    /* The journal has failed, once. The journal has forgotten all entries submitted and not committed. */
    void (*failed)(struct journal_user *user, enum status status);
};

struct journal_ops {
    enum status (*submit)(struct journal *journal, struct journal_entry *entry, const void *bytes, size_t size);
    void (*tick)(struct journal *journal);
    bool (*wants_release)(const struct journal *journal);
    void (*release)(struct journal *journal, uint64_t index);
    void (*close)(struct journal *journal, void (*closed)(void *user), void *user);
};

struct journal {
    const struct journal_ops *ops;
    struct uuid id; /* drawn when the journal was made: the cluster's id */
};

/* Put an entry at the end. `bytes` are copied before this returns. STATUS_OK: `committed` will run, or `failed`. Else
 * nothing was submitted: STATUS_BUSY (too much is waiting), STATUS_TOO_LARGE, STATUS_FENCED (failed or closing). */
MUST_USE static inline enum status journal_submit(struct journal *journal, struct journal_entry *entry,
                                                  const void *bytes, size_t size)
{
    return journal->ops->submit(journal, entry, bytes, size);
}

/* To be called about once a second: background work, and what depends on time. */
static inline void journal_tick(struct journal *journal)
{
    journal->ops->tick(journal);
}

/* Whether the journal is longer than it should be: make the applied state durable and release. */
static inline bool journal_wants_release(const struct journal *journal)
{
    return journal->ops->wants_release(journal);
}

/* Entries up to `index` are durable elsewhere and need not be replayed any more. */
static inline void journal_release(struct journal *journal, uint64_t index)
{
    journal->ops->release(journal, index);
}

/* Take no more entries, finish what is under way, free the journal, then run `closed`. Entries that wait for room on a
 * full disk are dropped: neither `committed` nor `failed` runs for them. */
static inline void journal_close(struct journal *journal, void (*closed)(void *user), void *user)
{
    journal->ops->close(journal, closed, user);
}

#endif
