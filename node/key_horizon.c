/* key_horizon.c - lists sorted by index, and the first of each where all threads see it. */
#include "node/key_horizon.h"

#include "base/check.h"

void key_horizon_init(struct key_horizon *horizon)
{
    atomic_init(&horizon->newest, 0);
    atomic_init(&horizon->holder_count, 0);
    for (unsigned i = 0; i < KEY_HOLDERS_MAX; i++) {
        atomic_init(&horizon->holders[i].oldest, UINT64_MAX);
    }
}

void key_horizon_heard(struct key_horizon *horizon, uint64_t index)
{
    uint_least64_t newest = atomic_load(&horizon->newest);
    while (newest < index && !atomic_compare_exchange_weak(&horizon->newest, &newest, index)) {
    }
}

uint64_t key_horizon_since(struct key_horizon *horizon)
{
    uint64_t since = atomic_load(&horizon->newest); /* before looking at any holder: see the header */
    unsigned count = atomic_load(&horizon->holder_count);
    for (unsigned i = 0; i < count; i++) {
        uint64_t oldest = atomic_load(&horizon->holders[i].oldest);
        since = oldest < since ? oldest : since;
    }
    return since;
}

void key_holder_init(struct key_holder *holder, struct key_horizon *horizon)
{
    holder->horizon = horizon;
    holder->number = horizon != NULL ? atomic_fetch_add(&horizon->holder_count, 1) : 0;
    CHECK(holder->number < KEY_HOLDERS_MAX);
    list_init(&holder->held);
}

static void oldest_show(struct key_holder *holder)
{
    struct list_link *first = list_first(&holder->held);
    atomic_store(&holder->horizon->holders[holder->number].oldest,
                 first != NULL ? LIST_ENTRY(first, struct held_key, link)->index : UINT64_MAX);
}

/* Behind the last one that is not newer. Indexes come nearly in order: the place is at or near the end. */
static void insert(struct key_holder *holder, struct held_key *key)
{
    struct list_link *behind = holder->held.head.previous;
    while (behind != &holder->held.head && LIST_ENTRY(behind, struct held_key, link)->index > key->index) {
        behind = behind->previous;
    }
    list_insert_before(behind->next, &key->link);
}

void key_hold(struct key_holder *holder, struct held_key *key)
{
    CHECK(!key->held);
    if (holder->horizon == NULL) {
        return;
    }
    key->held = true;
    key->index = atomic_load(&holder->horizon->newest);
    insert(holder, key);
    oldest_show(holder);
}

void key_hold_from(struct key_holder *holder, struct held_key *key, uint64_t index)
{
    if (holder->horizon == NULL) {
        return;
    }
    key_horizon_heard(holder->horizon, index);
    if (key->held && index > key->index) {
        list_remove(&key->link);
        key->index = index;
        insert(holder, key);
        oldest_show(holder);
    }
}

void key_let_go(struct key_holder *holder, struct held_key *key)
{
    if (key->held) {
        key->held = false;
        list_remove(&key->link);
        oldest_show(holder);
    }
}
