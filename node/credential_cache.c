/* credential_cache.c - a small table of leased credentials, with the lookups that wait for each. */
#include "node/credential_cache.h"

#include "base/buggify.h"

#include <stdlib.h>

#define CREDENTIALS_FRESH_MAX (CREDENTIALS_MAX / 4 * 3) /* above it a fresh credential may be given up for another */

struct credential_entry {
    struct credential_cache *cache;
    bool used;
    bool fetching;
    bool deliver_queued;
    bool telling;                 /* in use, even when nobody waits any more */
    struct credential credential; /* its secret_key is only set while lookups are told */
    struct key *secret[CREDENTIAL_SECRET_SLOTS];
    size_t secret_bytes;
    enum status known; /* STATUS_OK, or a refusal, until: */
    uint64_t until_ns;
    uint64_t asked_ns;
    struct list lookups;
    struct loop_task deliver;
    struct rpc_call call;
};

struct credential_cache {
    struct loop *loop;
    struct rpc_client *meta;
    struct key_pool *pool;
    uint64_t call_ns;
    struct list refused;
    struct loop_task refuse;
    bool refuse_queued;
    struct credential_entry entries[CREDENTIALS_MAX];
};

static void entry_deliver(struct loop_task *task);
static void refuse_run(struct loop_task *task);

struct credential_cache *credential_cache_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                               uint64_t call_ns)
{
    struct credential_cache *cache = calloc(1, sizeof(*cache));
    CHECK(cache != NULL);
    cache->loop = loop;
    cache->meta = meta;
    cache->pool = pool;
    cache->call_ns = call_ns;
    list_init(&cache->refused);
    cache->refuse.run = refuse_run;
    for (uint32_t i = 0; i < CREDENTIALS_MAX; i++) {
        cache->entries[i].cache = cache;
        cache->entries[i].deliver.run = entry_deliver;
        list_init(&cache->entries[i].lookups);
    }
    return cache;
}

static void entry_forget(struct credential_entry *entry)
{
    for (unsigned i = 0; i < CREDENTIAL_SECRET_SLOTS; i++) {
        key_release(entry->cache->pool, entry->secret[i]);
        entry->secret[i] = NULL;
    }
    entry->secret_bytes = 0;
    entry->until_ns = 0;
}

void credential_cache_stop(struct credential_cache *cache)
{
    cache->meta = NULL;
}

void credential_cache_close(struct credential_cache *cache)
{
    CHECK(credential_cache_is_idle(cache));
    for (uint32_t i = 0; i < CREDENTIALS_MAX; i++) {
        entry_forget(&cache->entries[i]);
    }
    free(cache);
}

bool credential_cache_is_idle(const struct credential_cache *cache)
{
    bool idle = !cache->refuse_queued;
    for (uint32_t i = 0; i < CREDENTIALS_MAX; i++) {
        idle = idle && !cache->entries[i].fetching && !cache->entries[i].deliver_queued;
    }
    return idle;
}

/* ---- telling ------------------------------------------------------------------------------------ */

/* The secret is put together from its slots for the moment in which it is used, and wiped again. */
static void entry_tell(struct credential_entry *entry, enum status status)
{
    char secret[CREDENTIAL_SECRET_SLOTS * KEY_BYTES + 1] = "";
    if (status == STATUS_OK) {
        for (size_t i = 0; i * KEY_BYTES < entry->secret_bytes; i++) {
            memcpy(secret + i * KEY_BYTES, entry->secret[i]->bytes, KEY_BYTES);
        }
        secret[entry->secret_bytes] = '\0';
        entry->credential.secret_key = secret;
    }
    struct list told;
    entry->telling = true;
    list_init(&told);
    for (struct list_link *link; (link = list_take_first(&entry->lookups)) != NULL;) {
        list_append(&told, link);
    }
    for (struct list_link *link; (link = list_take_first(&told)) != NULL;) {
        struct credential_lookup *lookup = LIST_ENTRY(link, struct credential_lookup, link);
        lookup->done(lookup, status, status == STATUS_OK ? &entry->credential : NULL);
    }
    entry->telling = false;
    entry->credential.secret_key = NULL;
    wipe_memory(secret, sizeof(secret));
}

static bool role_from_name(const char *name, enum role *role)
{
    static const struct {
        const char *name;
        enum role role;
    } roles[] = {{"viewer", ROLE_VIEWER}, {"editor", ROLE_EDITOR}, {"owner", ROLE_OWNER}};
    for (size_t i = 0; name != NULL && i < ARRAY_LENGTH(roles); i++) {
        if (strcmp(name, roles[i].name) == 0) {
            *role = roles[i].role;
            return true;
        }
    }
    return false;
}

static enum status entry_accept(struct credential_entry *entry, const Trilith__CredentialGetReply *reply)
{
    if (reply == NULL || reply->secret_key.len == 0 || reply->secret_key.len > SECRET_KEY_BYTES_MAX ||
        memchr(reply->secret_key.data, 0, reply->secret_key.len) != NULL || reply->tenant_name == NULL ||
        strlen(reply->tenant_name) > TENANT_NAME_BYTES_MAX || !role_from_name(reply->role, &entry->credential.role)) {
        return STATUS_CORRUPT;
    }
    uint64_t now_ns = loop_now_ns(entry->cache->loop);
    uint64_t until_ns = entry->asked_ns + reply->lease_ms * NS_PER_MS;
    if (now_ns >= until_ns) {
        return STATUS_TIMEOUT;
    }
    size_t bytes = reply->secret_key.len;
    for (size_t i = 0; i * KEY_BYTES < bytes; i++) {
        entry->secret[i] = key_take(entry->cache->pool);
        if (entry->secret[i] == NULL) {
            entry_forget(entry);
            return STATUS_BUSY;
        }
        size_t rest = bytes - i * KEY_BYTES;
        memcpy(entry->secret[i]->bytes, reply->secret_key.data + i * KEY_BYTES, rest < KEY_BYTES ? rest : KEY_BYTES);
    }
    entry->secret_bytes = bytes;
    entry->credential.tenant_id = reply->tenant_id;
    memcpy(entry->credential.tenant_name, reply->tenant_name, strlen(reply->tenant_name) + 1);
    entry->known = STATUS_OK;
    entry->until_ns = BUGGIFY(BUGGIFY_GATEWAY_CREDENTIAL_LAPSED) ? now_ns : until_ns;
    return STATUS_OK;
}

static void entry_fetched(struct rpc_call *call)
{
    struct credential_entry *entry = CONTAINER_OF(call, struct credential_entry, call);
    const Trilith__CredentialGetReply *reply = (const Trilith__CredentialGetReply *)call->reply;
    enum status status = call->status;
    entry->fetching = false;
    entry_forget(entry);
    if (status == STATUS_OK) {
        status = entry_accept(entry, reply);
    } else if (status == STATUS_NOT_FOUND || status == STATUS_KEY_REVOKED || status == STATUS_KEY_AWAY) {
        entry->known = status;
        entry->until_ns = loop_now_ns(entry->cache->loop) + CREDENTIAL_REFUSED_NS;
    }
    if (reply != NULL && reply->secret_key.data != NULL) {
        wipe_memory(reply->secret_key.data, reply->secret_key.len);
    }
    entry_tell(entry, status);
}

static void entry_fetch(struct credential_entry *entry)
{
    if (entry->cache->meta == NULL) {
        entry_tell(entry, STATUS_UNAVAILABLE);
        return;
    }
    Trilith__CredentialGetRequest request;
    trilith__credential_get_request__init(&request);
    request.access_key = entry->credential.access_key;
    memset(&entry->call, 0, sizeof(entry->call));
    entry->call.type = TRILITH__MESSAGE_TYPE__CREDENTIAL_GET;
    entry->asked_ns = loop_now_ns(entry->cache->loop);
    entry->call.deadline_ns = entry->asked_ns + entry->cache->call_ns;
    entry->call.may_repeat = true;
    entry->call.done = entry_fetched;
    entry->fetching = true;
    rpc_call_start(entry->cache->meta, &entry->call, &request.base);
}

static void entry_deliver(struct loop_task *task)
{
    struct credential_entry *entry = CONTAINER_OF(task, struct credential_entry, deliver);
    entry->deliver_queued = false;
    if (loop_now_ns(entry->cache->loop) < entry->until_ns) {
        entry_tell(entry, entry->known);
    } else if (!entry->fetching && !list_is_empty(&entry->lookups)) {
        entry_fetch(entry);
    }
}

static void refuse_run(struct loop_task *task)
{
    struct credential_cache *cache = CONTAINER_OF(task, struct credential_cache, refuse);
    cache->refuse_queued = false;
    for (struct list_link *link; (link = list_take_first(&cache->refused)) != NULL;) {
        struct credential_lookup *lookup = LIST_ENTRY(link, struct credential_lookup, link);
        lookup->done(lookup, STATUS_BUSY, NULL);
    }
}

/* ---- finding ------------------------------------------------------------------------------------ */

static bool entry_is_fresh(const struct credential_entry *entry)
{
    return entry->known == STATUS_OK && entry->secret_bytes > 0 && loop_now_ns(entry->cache->loop) < entry->until_ns;
}

/* The entry of `access_key`, or one given up for it, or NULL. Anybody can make us look for keys that do not exist, so
 * these must not push out the credentials of those who work: what is fresh goes only when there is too much of it. */
static struct credential_entry *entry_find(struct credential_cache *cache, const char *access_key)
{
    struct credential_entry *victim = NULL;
    struct credential_entry *oldest_fresh = NULL;
    unsigned fresh_count = 0;
    for (uint32_t i = 0; i < CREDENTIALS_MAX; i++) {
        struct credential_entry *entry = &cache->entries[i];
        if (entry->used && strcmp(entry->credential.access_key, access_key) == 0) {
            return entry;
        }
        bool idle = !entry->fetching && !entry->deliver_queued && !entry->telling && list_is_empty(&entry->lookups);
        bool fresh = entry_is_fresh(entry);
        struct credential_entry **candidate = fresh ? &oldest_fresh : &victim;
        fresh_count += fresh ? 1 : 0;
        if (idle && (*candidate == NULL || entry->until_ns < (*candidate)->until_ns)) {
            *candidate = entry;
        }
    }
    if (victim == NULL && fresh_count > CREDENTIALS_FRESH_MAX) {
        victim = oldest_fresh;
    }
    if (victim != NULL) {
        entry_forget(victim);
        victim->used = true;
        memcpy(victim->credential.access_key, access_key, strlen(access_key) + 1);
    }
    return victim;
}

void credential_cache_find(struct credential_cache *cache, struct credential_lookup *lookup)
{
    CHECK(memchr(lookup->access_key, 0, sizeof(lookup->access_key)) != NULL);
    struct credential_entry *entry = entry_find(cache, lookup->access_key);
    list_link_init(&lookup->link);
    if (entry == NULL) {
        list_append(&cache->refused, &lookup->link);
        if (!cache->refuse_queued) {
            cache->refuse_queued = true;
            loop_defer(cache->loop, &cache->refuse);
        }
        return;
    }
    list_append(&entry->lookups, &lookup->link);
    if (!entry->fetching && !entry->deliver_queued) {
        entry->deliver_queued = true;
        loop_defer(cache->loop, &entry->deliver);
    }
}

void credential_cache_sweep(struct credential_cache *cache)
{
    for (uint32_t i = 0; i < CREDENTIALS_MAX; i++) {
        struct credential_entry *entry = &cache->entries[i];
        if (entry->secret_bytes > 0 && loop_now_ns(cache->loop) >= entry->until_ns) {
            entry_forget(entry);
        }
    }
}
