/* sim_vault.c - see sim_vault.h. */
#include "tests/sim/sim_vault.h"

#include "meta/kms_file.h"
#include "meta/vault/slot_file.h"
#include "tests/sim/sim_secrets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KMS_CALL_NS (5 * NS_PER_S)

void sim_vault_init(struct sim_vault *vault, struct sim_loop *world, struct sim_random *random)
{
    *vault = (struct sim_vault){0};
    vault->tables_disk = sim_disk_open(world, sim_random_u64(random));
    vault->slot_disk = sim_disk_open(world, sim_random_u64(random));
    vault->covers = sim_kv_open();
    sim_kv_remember(vault->covers);
}

struct sim_disk *sim_vault_disk(struct sim_vault *vault, uint32_t number)
{
    CHECK(number < SIM_VAULT_DISKS);
    return number == 0 ? vault->tables_disk : vault->slot_disk;
}

void sim_vault_attach(struct sim_vault *vault, struct sim_loop *loop)
{
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        sim_disk_attach(sim_vault_disk(vault, i), loop);
    }
}

void sim_vault_crash(struct sim_vault *vault, uint64_t seed)
{
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        sim_disk_crash(sim_vault_disk(vault, i));
    }
    sim_kv_crash(vault->covers, seed);
}

void sim_vault_kill(struct sim_vault *vault, uint64_t seed)
{
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        sim_disk_kill(sim_vault_disk(vault, i));
    }
    sim_kv_crash(vault->covers, seed); /* Its write-ahead log is off. */
}

/* ---- the slot ---------------------------------------------------------------------------------- */

struct listening_slot {
    struct slot base;
    struct slot *behind;
    struct sim_vault *vault;
};

static void share_note(struct sim_vault *vault, const struct slot_cell *cell)
{
    if (vault->share_count == vault->share_capacity) {
        vault->share_capacity = vault->share_capacity == 0 ? 16 : 2 * vault->share_capacity;
        vault->shares = realloc(vault->shares, vault->share_capacity * sizeof(vault->shares[0]));
        CHECK(vault->shares != NULL);
    }
    struct sim_share *share = &vault->shares[vault->share_count++];
    share->epoch = cell->epoch;
    share->share = cell->share.value;
    memcpy(share->commitment, cell->commitment, COMMITMENT_BYTES);
}

static void listening_start(struct slot *base, struct slot_call *call)
{
    const struct listening_slot *slot = CONTAINER_OF(base, struct listening_slot, base);
    if (call->operation == SLOT_PUT) {
        share_note(slot->vault, &call->cells[0]);
    }
    slot_start(slot->behind, call);
}

static void listening_close(struct slot *base)
{
    struct listening_slot *slot = CONTAINER_OF(base, struct listening_slot, base);
    slot_close(slot->behind);
    free(slot);
}

static const struct slot_ops listening_ops = {.start = listening_start, .close = listening_close};

static void slot_opened(void *user, enum status status, struct slot *behind)
{
    struct sim_vault *vault = user;
    struct listening_slot *slot = NULL;
    if (status == STATUS_OK) {
        slot = calloc(1, sizeof(*slot));
        CHECK(slot != NULL);
        *slot = (struct listening_slot){
            .base = {.ops = &listening_ops, .backend = behind->backend}, .behind = behind, .vault = vault};
    }
    vault->opened(vault->user, status, slot != NULL ? &slot->base : NULL);
}

void sim_vault_slot_open(struct sim_vault *vault, struct loop *loop, bool create,
                         void (*opened)(void *user, enum status status, struct slot *slot), void *user)
{
    vault->opened = opened;
    vault->user = user;
    slot_file_open(loop, sim_disk_interface(vault->slot_disk), create, slot_opened, vault);
}

/* ---- the KMS ----------------------------------------------------------------------------------- */

struct fickle_provider {
    struct kms_provider base;
    struct kms_provider *behind;
    struct sim_vault *vault;
};

static void dek_note(struct sim_vault *vault, const struct key *dek)
{
    uint64_t kept = vault->dek_count < SIM_DEKS_KEPT ? vault->dek_count : SIM_DEKS_KEPT;
    for (uint64_t i = 0; i < kept; i++) {
        if (memcmp(&vault->deks[i], dek, sizeof(*dek)) == 0) {
            return;
        }
    }
    vault->deks[vault->dek_count++ % SIM_DEKS_KEPT] = *dek;
}

static void fickle_perform(struct kms_provider *base, struct kms_call *call)
{
    const struct fickle_provider *provider = CONTAINER_OF(base, struct fickle_provider, base);
    if (provider->vault->kms_is_away) {
        call->status = STATUS_KEY_AWAY;
        (void)snprintf(call->message, sizeof(call->message), "it is away, as the simulator wants it");
        return;
    }
    provider->behind->ops->perform(provider->behind, call);
    if (call->status == STATUS_OK && (call->operation == KMS_WRAP || call->operation == KMS_UNWRAP)) {
        dek_note(provider->vault, call->dek);
    }
}

static void fickle_close(struct kms_provider *base)
{
    struct fickle_provider *provider = CONTAINER_OF(base, struct fickle_provider, base);
    provider->behind->ops->close(provider->behind);
    free(provider);
}

static const struct kms_provider_ops fickle_ops = {.perform = fickle_perform, .close = fickle_close};

enum status sim_vault_kms_open(struct sim_vault *vault, struct loop *loop, struct kms **kms)
{
    char message[KMS_MESSAGE_BYTES];
    struct kms_provider *behind = NULL;
    enum status status = kms_file_open(sim_secrets_path(), NULL, &behind, message, sizeof(message));
    if (status != STATUS_OK) {
        return status;
    }
    struct fickle_provider *provider = calloc(1, sizeof(*provider));
    CHECK(provider != NULL);
    *provider =
        (struct fickle_provider){.base = {.ops = &fickle_ops, .name = behind->name}, .behind = behind, .vault = vault};
    const struct kms_options options = {.call_ns = KMS_CALL_NS, .inline_calls = true};
    *kms = kms_open(loop, &provider->base, &options);
    return *kms == NULL ? STATUS_FULL : STATUS_OK;
}
