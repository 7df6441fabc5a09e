/* vault_local.c - leaves derived from one root, and the set of those that are refused. */
#include "meta/vault/vault_local.h"

#include "meta/secret_file.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_BITMAP_BYTES (VAULT_PAGE_LEAVES / 8)

struct vault_local {
    struct vault vault;
    struct key_pool *pool;
    struct key *root;
    uint8_t *punctured; /* a bitmap of PAGE_BITMAP_BYTES per page, from page 0 on */
    uint32_t page_capacity;
};

static bool is_punctured(const struct vault_local *local, uint32_t page, uint32_t slot)
{
    if (page >= local->page_capacity) {
        return false;
    }
    return (local->punctured[(size_t)page * PAGE_BITMAP_BYTES + slot / 8] >> (slot % 8) & 1) != 0;
}

static enum status local_derive(struct vault *vault, uint32_t page, uint32_t slot, struct key *leaf)
{
    const struct vault_local *local = CONTAINER_OF(vault, struct vault_local, vault);
    if (page == 0 || slot >= VAULT_PAGE_LEAVES) {
        return STATUS_INVALID;
    }
    if (is_punctured(local, page, slot)) {
        return STATUS_GONE;
    }
    char label[32];
    (void)snprintf(label, sizeof(label), "leaf %08x %02x", page, slot);
    derive_named_key(local->root, label, leaf);
    return STATUS_OK;
}

static enum status local_lease(struct vault *vault, uint32_t page, uint32_t first_slot, struct key *const *leaves,
                               uint32_t count)
{
    if (first_slot >= VAULT_PAGE_LEAVES || count > VAULT_PAGE_LEAVES - first_slot) {
        return STATUS_INVALID;
    }
    for (uint32_t i = 0; i < count; i++) {
        enum status status = local_derive(vault, page, first_slot + i, leaves[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status local_puncture(struct vault *vault, uint32_t page, uint32_t slot)
{
    struct vault_local *local = CONTAINER_OF(vault, struct vault_local, vault);
    if (page == 0 || slot >= VAULT_PAGE_LEAVES) {
        return STATUS_INVALID;
    }
    if (page >= local->page_capacity) {
        uint32_t capacity = page < 1024 ? 2048 : page < UINT32_MAX / 2 ? 2 * page : UINT32_MAX;
        uint8_t *grown = realloc(local->punctured, (size_t)capacity * PAGE_BITMAP_BYTES);
        if (grown == NULL) {
            return STATUS_FULL;
        }
        memset(grown + (size_t)local->page_capacity * PAGE_BITMAP_BYTES, 0,
               (size_t)(capacity - local->page_capacity) * PAGE_BITMAP_BYTES);
        local->punctured = grown;
        local->page_capacity = capacity;
    }
    local->punctured[(size_t)page * PAGE_BITMAP_BYTES + slot / 8] |= (uint8_t)(1u << (slot % 8));
    return STATUS_OK;
}

static void local_close(struct vault *vault)
{
    struct vault_local *local = CONTAINER_OF(vault, struct vault_local, vault);
    key_release(local->pool, local->root);
    key_pool_close(local->pool);
    free(local->punctured);
    free(local);
}

static const struct vault_ops local_ops = {
    .lease = local_lease, .derive = local_derive, .puncture = local_puncture, .close = local_close};

enum status vault_local_open(const char *path, bool create, struct vault **vault, char *message, size_t message_bytes)
{
    struct vault_local *local = calloc(1, sizeof(*local));
    struct key_pool *pool = key_pool_open(1);
    if (local == NULL || pool == NULL) {
        free(local);
        (void)snprintf(message, message_bytes, "no locked memory for the vault: raise the limit memlock");
        return STATUS_FULL;
    }
    *local = (struct vault_local){.vault.ops = &local_ops, .pool = pool, .root = key_take(pool)};
    enum status status = secret_file_read(path, SECRET_RAW, local->root, message, message_bytes);
    if (status == STATUS_NOT_FOUND && create) {
        status = secret_file_create(path, SECRET_RAW, message, message_bytes);
        if (status == STATUS_OK) {
            status = secret_file_read(path, SECRET_RAW, local->root, message, message_bytes);
        }
    }
    if (status != STATUS_OK) {
        local_close(&local->vault);
        return status;
    }
    *vault = &local->vault;
    return STATUS_OK;
}
