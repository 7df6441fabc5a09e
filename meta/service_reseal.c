/* service_reseal.c - what happens to a DEK after it was rotated out: everything under it is sealed anew, then it is
 * destroyed.
 *
 *   retiring ──> versions: handed out to nodes, which write them again     ──> none left, and ──> proof ──> DekDestroy
 *           └──> credentials: sealed anew here, one after the other         ──> late writes are over
 *
 * The tables count what is under each DEK, and DekDestroy refuses one that still has something. The proof does not rely
 * on the counters: a complete walk over the tenant's versions, begun after they were at zero, must find none under that
 * DEK. Nothing of this is kept: after a restart the tables say again what is left, and walks begin anew.
 * Bounds     RESEAL_TENANTS_MAX tenants at a time; others wait until one of those is done. Per call and per tick only so
 *            many rows are looked at. */
#include "meta/service_private.h"

#include "meta/registry.h"

#include "base/log.h"

#define PULL_ITEMS_MAX      64u
#define PULL_ROWS_MAX       1000u
#define PULL_TENANTS_MAX    4u             /* looked at by one call, when the first have nothing */
#define WALK_PAUSE_NS       (5 * NS_PER_S) /* before a walk begins again: what it found is under way */
#define PROOF_ROWS_PER_TICK 2000u
#define TENANTS_PER_TICK    256u

/* ---- what is left ------------------------------------------------------------------------------ */

static bool is_retiring(const Trilith__DekRecord *dek)
{
    return dek->retired_ms != 0 && dek->destroyed_ms == 0;
}

struct leftover {
    bool any;             /* a retiring DEK */
    uint64_t objects;     /* versions under retiring DEKs */
    uint64_t credentials; /* likewise */
    uint32_t idle;        /* a DEK that has nothing under it and no late writes any more; 0: none */
};

static struct reseal *reseal_find(const struct meta_service *service, uint64_t tenant_id)
{
    for (size_t i = 0; i < RESEAL_TENANTS_MAX; i++) {
        if (service->reseals[i].tenant_id == tenant_id) {
            return &service->reseals[i];
        }
    }
    return NULL;
}

/* Was it rotated out so long ago that no write under it can come any more? */
static bool late_writes_are_over(const struct meta_service *service, const Trilith__TenantRecord *tenant,
                                 const Trilith__DekRecord *dek)
{
    const struct reseal *reseal = reseal_find(service, tenant->id);
    uint64_t seen_ns = loop_now_ns(service->parts.loop) - (reseal != NULL ? reseal->current_seen_ns : 0);
    bool is_seen = reseal != NULL && reseal->current == tenant->dek_version;
    return service_now_ms(service) >= dek->retired_ms + service->options.dek_retire_ms ||
           (is_seen && seen_ns >= service->options.dek_retire_ms * NS_PER_MS);
}

static struct leftover leftover_of(const struct meta_service *service, const Trilith__TenantRecord *tenant)
{
    struct leftover left = {0};
    for (size_t i = 0; i < tenant->n_deks; i++) {
        const Trilith__DekRecord *dek = tenant->deks[i];
        if (!is_retiring(dek)) {
            continue;
        }
        left.any = true;
        left.objects += dek->objects;
        left.credentials += dek->credentials;
        bool is_empty = dek->objects == 0 && dek->credentials == 0;
        if (left.idle == 0 && is_empty && late_writes_are_over(service, tenant, dek)) {
            left.idle = dek->version;
        }
    }
    return left;
}

/* Is there something that can be done for this tenant now? Without its keys nothing can be sealed anew. */
static bool wants_turn(const Trilith__TenantRecord *tenant, const struct leftover *left)
{
    return left->idle != 0 || (left->any && !tenant->revoked);
}

/* ---- which tenants ----------------------------------------------------------------------------- */

static void reseal_add(struct meta_service *service, uint64_t tenant_id)
{
    struct reseal *free_one = NULL;
    for (size_t i = 0; i < RESEAL_TENANTS_MAX; i++) {
        struct reseal *reseal = &service->reseals[i];
        if (reseal->tenant_id == tenant_id) {
            return;
        }
        if (reseal->tenant_id == 0 && free_one == NULL) {
            free_one = reseal;
        }
    }
    if (free_one != NULL) {
        *free_one = (struct reseal){.tenant_id = tenant_id};
    }
}

/* Look at some more tenants, round and round. */
static void look_for_tenants(struct meta_service *service)
{
    struct tables *tables = service_tables(service);
    struct table_walk walk;
    struct kv_slice key, value;
    struct table_key start = key_tenant(service->reseal_tenant);
    uint32_t seen = 0;
    key_after(&start);
    table_walk_open(&walk, tables, key_prefix(start, 1));
    table_walk_seek(&walk, &start);
    for (; seen < TENANTS_PER_TICK && table_walk_row(&walk, &key, &value); seen++) {
        const Trilith__TenantRecord *tenant = tables_unpack(tables, &trilith__tenant_record__descriptor, value);
        if (tenant == NULL) {
            break;
        }
        service->reseal_tenant = tenant->id;
        struct leftover left = leftover_of(service, tenant);
        if (wants_turn(tenant, &left)) {
            reseal_add(service, tenant->id);
        }
        table_walk_next(&walk);
    }
    table_walk_close(&walk);
    if (seen < TENANTS_PER_TICK) {
        service->reseal_tenant = 0;
    }
}

/* ---- versions ---------------------------------------------------------------------------------- */

/* Let the walk stand where the next versions are found. False: there is nothing to hand out now. */
static bool walk_prepare(struct meta_service *service, struct reseal *reseal, const Trilith__TenantRecord *tenant)
{
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    struct leftover left = leftover_of(service, tenant);
    if (left.objects == 0 || tenant->revoked) {
        return false;
    }
    bool is_new = reseal->walk.tenant_id == 0 || reseal->walk.current != tenant->dek_version;
    bool may_begin_again = reseal->walk.ended && now_ns - reseal->walk_began_ns >= WALK_PAUSE_NS;
    if (is_new || may_begin_again) {
        reseal->walk = (struct reseal_walk){.tenant_id = tenant->id, .current = tenant->dek_version};
        reseal->walk_began_ns = now_ns;
    }
    return !reseal->walk.ended;
}

static enum status pull(struct meta_service *service, struct tables *tables, uint32_t max,
                        Trilith__ResealPullReply *reply)
{
    enum status status = STATUS_OK;
    unsigned walked = 0;
    uint32_t turn = service->reseal_turn;
    for (uint32_t i = 0; i < RESEAL_TENANTS_MAX && walked < PULL_TENANTS_MAX && reply->n_items == 0; i++) {
        uint32_t at = (turn + i) % RESEAL_TENANTS_MAX;
        struct reseal *reseal = &service->reseals[at];
        Trilith__TenantRecord *tenant = NULL;
        if (reseal->tenant_id == 0) {
            continue;
        }
        status = tenant_by_id(tables, reseal->tenant_id, &tenant);
        if (status == STATUS_OK && walk_prepare(service, reseal, tenant)) {
            status = catalog_reseal_walk(tables, &reseal->walk, PULL_ROWS_MAX, max, reply);
            service->reseal_turn = (at + 1) % RESEAL_TENANTS_MAX;
            walked++;
        }
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
    }
    return STATUS_OK;
}

void serve_reseal_pull(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ResealPullRequest *message = MESSAGE_OF(request, Trilith__ResealPullRequest);
    struct tables *tables = service_tables(service);
    Trilith__ResealPullReply reply = TRILITH__RESEAL_PULL_REPLY__INIT;
    Trilith__MapNode *node = NULL;
    enum status status = message->max < 1 || message->max > PULL_ITEMS_MAX
                             ? STATUS_INVALID
                             : registry_node(tables, message->node_id, &node);
    if (status == STATUS_OK) {
        status = pull(service, tables, message->max, &reply);
    }
    service_reply(service, request, status, &reply);
}

/* ---- credentials ------------------------------------------------------------------------------- */

/* The first credential that is not under the current DEK. STATUS_NOT_FOUND: none. */
static enum status credential_left(struct tables *tables, const Trilith__TenantRecord *tenant,
                                   char access_key[ACCESS_KEY_BYTES], uint32_t *version)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_NOT_FOUND;
    table_walk_open(&walk, tables, key_tenant_credential(tenant->id, ""));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        Trilith__CredentialRecord *record = NULL;
        if (key.bytes != walk.prefix.length + ACCESS_KEY_CHARACTERS) {
            continue; /* Not one that we made. */
        }
        memcpy(access_key, (const uint8_t *)key.data + walk.prefix.length, ACCESS_KEY_CHARACTERS);
        access_key[ACCESS_KEY_CHARACTERS] = '\0';
        status = credential_get(tables, access_key, &record);
        if (status != STATUS_OK || record->dek_version != tenant->dek_version) {
            *version = status == STATUS_OK ? record->dek_version : 0;
            break;
        }
        status = STATUS_NOT_FOUND;
    }
    table_walk_close(&walk);
    return tables->failed != STATUS_OK ? tables->failed : status;
}

static void credential_next(struct meta_service *service, struct reseal *reseal, struct tables *tables,
                            const Trilith__TenantRecord *tenant)
{
    char access_key[ACCESS_KEY_BYTES];
    uint32_t version = 0;
    if (credential_left(tables, tenant, access_key, &version) == STATUS_OK) {
        reseal->sealing_credential = true; /* Before: it may end at once. */
        if (!credential_reseal_begin(service, tenant->id, access_key, version)) {
            reseal->sealing_credential = false;
        }
    }
}

/* A failure waits for the next tick. */
void reseal_credential_done(struct meta_service *service, uint64_t tenant_id, enum status status)
{
    struct reseal *reseal = reseal_find(service, tenant_id);
    Trilith__TenantRecord *tenant = NULL;
    CHECK(reseal != NULL); /* It stays while a credential is being sealed. */
    reseal->sealing_credential = false;
    if (status != STATUS_OK || !service_is_sound(service)) {
        return;
    }
    struct tables *tables = service_tables(service);
    if (tenant_by_id(tables, tenant_id, &tenant) == STATUS_OK && !tenant->revoked &&
        leftover_of(service, tenant).credentials > 0) {
        credential_next(service, reseal, tables, tenant);
    }
}

/* ---- the proof, and the end -------------------------------------------------------------------- */

bool reseal_is_destroying(const struct meta_service *service, uint64_t tenant_id)
{
    const struct reseal *reseal = reseal_find(service, tenant_id);
    return reseal != NULL && reseal->destroying;
}

static void dek_destroyed(struct meta_service *service, struct operation *operation, enum status status,
                          const struct outcome *outcome)
{
    struct reseal *reseal = CONTAINER_OF(operation, struct reseal, destroy);
    (void)service;
    reseal->destroying = false;
    if (outcome != NULL) {
        log_event(status == STATUS_OK ? LOG_INFO : LOG_WARNING, status == STATUS_OK ? "dek_destroyed" : "dek_kept",
                  "tenant=%llu version=%u proof_rows=%llu reason=%s", (unsigned long long)reseal->tenant_id,
                  reseal->proven, (unsigned long long)reseal->proof_rows, status_name(status));
    }
    reseal->proven = 0;
}

static void dek_destroy(struct meta_service *service, struct reseal *reseal)
{
    Trilith__DekDestroy destroy = TRILITH__DEK_DESTROY__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    destroy.tenant_id = reseal->tenant_id;
    destroy.version = reseal->proven;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_DESTROY;
    command.dek_destroy = &destroy;
    reseal->destroying = service_submit_own(service, &reseal->destroy, dek_destroyed, &command) == STATUS_OK;
    reseal->proven = reseal->destroying ? reseal->proven : 0;
}

static bool finds(const Trilith__ResealPullReply *found, uint32_t version)
{
    for (size_t i = 0; i < found->n_items; i++) {
        if (found->items[i]->dek_version == version) {
            return true;
        }
    }
    return false;
}

/* Look at some more rows. A version that the counters say is not there means that they are wrong: the DEK stays. */
static void prove(struct meta_service *service, struct reseal *reseal, struct tables *tables,
                  const Trilith__TenantRecord *tenant)
{
    Trilith__ResealPullReply found = TRILITH__RESEAL_PULL_REPLY__INIT;
    if (catalog_reseal_walk(tables, &reseal->proof, PROOF_ROWS_PER_TICK, PROOF_ROWS_PER_TICK, &found) != STATUS_OK) {
        return;
    }
    if (finds(&found, reseal->proven)) {
        log_event(LOG_ERROR, "dek_proof_failed", "tenant=%s version=%u", tenant->name, reseal->proven);
        reseal->proven = 0;
        return;
    }
    if (reseal->proof.ended && !key_is_changing(service, tenant->name)) {
        reseal->proof_rows = tenant->objects;
        dek_destroy(service, reseal);
    }
}

/* ---- time -------------------------------------------------------------------------------------- */

static void reseal_work(struct meta_service *service, struct reseal *reseal, bool *may_prove)
{
    struct tables *tables = service_tables(service);
    Trilith__TenantRecord *tenant = NULL;
    if (reseal->sealing_credential || reseal->destroying) {
        return;
    }
    enum status status = tenant_by_id(tables, reseal->tenant_id, &tenant);
    if (status == STATUS_OK && reseal->current != tenant->dek_version) {
        reseal->current = tenant->dek_version;
        reseal->current_seen_ns = loop_now_ns(service->parts.loop);
    }
    struct leftover left = status == STATUS_OK ? leftover_of(service, tenant) : (struct leftover){0};
    if (status != STATUS_OK || !wants_turn(tenant, &left)) {
        reseal->tenant_id = 0;
        return;
    }
    if (left.credentials > 0 && !tenant->revoked) {
        credential_next(service, reseal, tables, tenant);
        return;
    }
    if (left.idle != reseal->proven) {
        reseal->proven = left.idle;
        reseal->proof = (struct reseal_walk){.tenant_id = tenant->id, .current = tenant->dek_version};
    }
    if (reseal->proven != 0 && *may_prove) {
        *may_prove = false;
        prove(service, reseal, tables, tenant);
    }
}

void reseal_tick(struct meta_service *service)
{
    if (!service_is_sound(service)) {
        return;
    }
    look_for_tenants(service);
    bool may_prove = true; /* One slice for all, in turn: whoever proves goes on until it is done. */
    for (size_t i = 0; i < RESEAL_TENANTS_MAX && service_is_sound(service); i++) {
        if (service->reseals[i].tenant_id != 0) {
            reseal_work(service, &service->reseals[i], &may_prove);
        }
    }
    enum status tables_failed = state_tables(service->parts.state)->failed;
    if (tables_failed != STATUS_OK) {
        service_fail(service, tables_failed);
    }
}
