/* tenant_keys.c - a small table of leased keys, with those who wait for each. */
#include "node/tenant_keys.h"

#include "base/buggify.h"

#include <stdlib.h>

#define LAPSED_LEASE_NS (1 * NS_PER_MS) /* BUGGIFY: long enough for who waits now, over for the next one */

struct tenant_key_entry {
    struct tenant_keys *keys;
    bool used;
    bool fetching;
    bool deliver_queued;
    bool telling; /* in use, even when nobody waits any more */
    uint64_t tenant_id;
    uint32_t asked_version; /* 0: the current one */
    uint32_t dek_version;
    struct key *dek; /* NULL: none, or its lease is over */
    uint64_t asked_ns;
    uint64_t until_ns;
    struct list waits;
    struct loop_task deliver;
    struct rpc_call call;
};

struct tenant_keys {
    struct loop *loop;
    struct rpc_client *meta;
    struct key_pool *pool;
    uint64_t call_ns;
    struct list refused; /* waits for which there is no entry */
    struct loop_task refuse;
    bool refuse_queued;
    struct tenant_key_entry entries[TENANT_KEYS_MAX];
};

static void entry_deliver(struct loop_task *task);
static void refuse_run(struct loop_task *task);

struct tenant_keys *tenant_keys_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                     uint64_t call_ns)
{
    struct tenant_keys *keys = calloc(1, sizeof(*keys));
    CHECK(keys != NULL);
    keys->loop = loop;
    keys->meta = meta;
    keys->pool = pool;
    keys->call_ns = call_ns;
    list_init(&keys->refused);
    keys->refuse.run = refuse_run;
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        keys->entries[i].keys = keys;
        keys->entries[i].deliver.run = entry_deliver;
        list_init(&keys->entries[i].waits);
    }
    return keys;
}

static void entry_forget(struct tenant_key_entry *entry)
{
    key_release(entry->keys->pool, entry->dek);
    entry->dek = NULL;
}

void tenant_keys_stop(struct tenant_keys *keys)
{
    keys->meta = NULL;
}

void tenant_keys_close(struct tenant_keys *keys)
{
    CHECK(tenant_keys_is_idle(keys));
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        entry_forget(&keys->entries[i]);
    }
    free(keys);
}

bool tenant_keys_is_idle(const struct tenant_keys *keys)
{
    bool idle = !keys->refuse_queued;
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        idle = idle && !keys->entries[i].fetching && !keys->entries[i].deliver_queued;
    }
    return idle;
}

static bool entry_is_fresh(const struct tenant_key_entry *entry)
{
    return entry->dek != NULL && loop_now_ns(entry->keys->loop) < entry->until_ns;
}

/* Tell all who wait. They are taken off first: a wait may be followed at once by a new one for the same key. */
static void entry_tell(struct tenant_key_entry *entry, enum status status)
{
    struct list told;
    struct tenant_key dek = {.key = entry->dek, .version = entry->dek_version, .until_ns = entry->until_ns};
    entry->telling = true;
    list_init(&told);
    for (struct list_link *link; (link = list_take_first(&entry->waits)) != NULL;) {
        list_append(&told, link);
    }
    for (struct list_link *link; (link = list_take_first(&told)) != NULL;) {
        struct tenant_key_wait *wait = LIST_ENTRY(link, struct tenant_key_wait, link);
        wait->done(wait, status, status == STATUS_OK ? &dek : NULL);
    }
    entry->telling = false;
}

static enum status entry_accept(struct tenant_key_entry *entry, const Trilith__TenantKeyReply *reply)
{
    if (reply == NULL || reply->dek.len != KEY_BYTES || reply->dek_version == 0 ||
        (entry->asked_version != 0 && reply->dek_version != entry->asked_version)) {
        return STATUS_CORRUPT;
    }
    uint64_t now_ns = loop_now_ns(entry->keys->loop);
    entry->until_ns = entry->asked_ns + reply->lease_ms * NS_PER_MS;
    if (entry->until_ns > now_ns + LAPSED_LEASE_NS && BUGGIFY(BUGGIFY_GATEWAY_TENANT_KEY_LAPSED)) {
        entry->until_ns = now_ns + LAPSED_LEASE_NS;
    }
    if (now_ns >= entry->until_ns) {
        return STATUS_TIMEOUT;
    }
    entry->dek = key_take(entry->keys->pool);
    if (entry->dek == NULL) {
        return STATUS_BUSY;
    }
    memcpy(entry->dek->bytes, reply->dek.data, KEY_BYTES);
    entry->dek_version = reply->dek_version;
    return STATUS_OK;
}

static void entry_fetched(struct rpc_call *call)
{
    struct tenant_key_entry *entry = CONTAINER_OF(call, struct tenant_key_entry, call);
    const Trilith__TenantKeyReply *reply = (const Trilith__TenantKeyReply *)call->reply;
    enum status status = call->status;
    entry->fetching = false;
    entry_forget(entry);
    if (status == STATUS_OK) {
        status = entry_accept(entry, reply);
    }
    if (reply != NULL && reply->dek.data != NULL) {
        wipe_memory(reply->dek.data, reply->dek.len);
    }
    entry_tell(entry, status);
}

static void entry_fetch(struct tenant_key_entry *entry)
{
    if (entry->keys->meta == NULL) {
        entry_tell(entry, STATUS_UNAVAILABLE);
        return;
    }
    Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
    request.tenant_id = entry->tenant_id;
    request.dek_version = entry->asked_version;
    memset(&entry->call, 0, sizeof(entry->call));
    entry->call.type = TRILITH__MESSAGE_TYPE__TENANT_KEY;
    entry->asked_ns = loop_now_ns(entry->keys->loop);
    entry->call.deadline_ns = entry->asked_ns + entry->keys->call_ns;
    entry->call.may_repeat = true;
    entry->call.done = entry_fetched;
    entry->fetching = true;
    rpc_call_start(entry->keys->meta, &entry->call, &request.base);
}

static void entry_deliver(struct loop_task *task)
{
    struct tenant_key_entry *entry = CONTAINER_OF(task, struct tenant_key_entry, deliver);
    entry->deliver_queued = false;
    if (entry_is_fresh(entry)) {
        entry_tell(entry, STATUS_OK);
    } else if (!entry->fetching && !list_is_empty(&entry->waits)) {
        entry_fetch(entry);
    }
}

static void refuse_run(struct loop_task *task)
{
    struct tenant_keys *keys = CONTAINER_OF(task, struct tenant_keys, refuse);
    keys->refuse_queued = false;
    for (struct list_link *link; (link = list_take_first(&keys->refused)) != NULL;) {
        struct tenant_key_wait *wait = LIST_ENTRY(link, struct tenant_key_wait, link);
        wait->done(wait, STATUS_BUSY, NULL);
    }
}

/* The entry for a key, made when there is none; NULL when every entry has somebody waiting. */
static struct tenant_key_entry *entry_find(struct tenant_keys *keys, uint64_t tenant_id, uint32_t version)
{
    struct tenant_key_entry *victim = NULL;
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        struct tenant_key_entry *entry = &keys->entries[i];
        if (entry->used && entry->tenant_id == tenant_id && entry->asked_version == version) {
            return entry;
        }
        bool idle = !entry->fetching && !entry->deliver_queued && !entry->telling && list_is_empty(&entry->waits);
        if (idle && (victim == NULL || entry->until_ns < victim->until_ns)) {
            victim = entry;
        }
    }
    if (victim != NULL) {
        entry_forget(victim);
        victim->used = true;
        victim->tenant_id = tenant_id;
        victim->asked_version = version;
        victim->until_ns = 0;
    }
    return victim;
}

void tenant_keys_get(struct tenant_keys *keys, struct tenant_key_wait *wait)
{
    struct tenant_key_entry *entry = entry_find(keys, wait->tenant_id, wait->dek_version);
    if (entry == NULL) {
        list_append(&keys->refused, &wait->link);
        if (!keys->refuse_queued) {
            keys->refuse_queued = true;
            loop_defer(keys->loop, &keys->refuse);
        }
        return;
    }
    list_append(&entry->waits, &wait->link);
    if (!entry->fetching && !entry->deliver_queued) {
        entry->deliver_queued = true;
        loop_defer(keys->loop, &entry->deliver);
    }
}

void tenant_keys_cancel(struct tenant_key_wait *wait)
{
    list_remove(&wait->link);
}

void tenant_keys_note_rotation(struct tenant_keys *keys, uint64_t tenant_id, uint32_t dek_version)
{
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        struct tenant_key_entry *entry = &keys->entries[i];
        if (entry->dek != NULL && entry->tenant_id == tenant_id && entry->asked_version == 0 &&
            entry->dek_version <= dek_version) {
            entry->until_ns = 0;
        }
    }
}

void tenant_keys_sweep(struct tenant_keys *keys)
{
    for (uint32_t i = 0; i < TENANT_KEYS_MAX; i++) {
        if (keys->entries[i].dek != NULL && !entry_is_fresh(&keys->entries[i])) {
            entry_forget(&keys->entries[i]);
        }
    }
}
