/* residue.c - see residue.h. */
#include "tests/sim/residue.h"

#include "node/store/segment.h"
#include "tests/sim/sim_client.h"

#define SECTORS_PER_BLOCK (BLOCK_BYTES / SIM_DISK_SECTOR_BYTES)

/* ---- ciphertext ------------------------------------------------------------------------------------ */

struct walk {
    const struct check *check;
    uint32_t disk;
    struct sim_disk *sim;
    struct residue *found;
    const struct secrets *secrets;
    unsigned phase;
};

static void note(struct residue *found, const char *name, uint64_t offset)
{
    (void)snprintf(found->name, sizeof(found->name), "%s", name);
    found->offset = offset;
}

static void look_at_block(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct walk *walk = user;
    for (unsigned i = 0; walk->found->chunk == NULL && i < SECTORS_PER_BLOCK; i++) {
        const struct model_chunk *chunk =
            model_chunk_of_sector(walk->check->model, bytes + (size_t)i * SIM_DISK_SECTOR_BYTES);
        if (chunk != NULL && model_copy_must_be_gone(chunk, walk->disk) &&
            !sim_disk_is_stray(walk->sim, name, offset)) {
            walk->found->chunk = chunk;
            note(walk->found, name, offset + (uint64_t)i * SIM_DISK_SECTOR_BYTES);
        }
    }
}

void residue_of_erased(const struct check *check, uint32_t disk, enum sim_disk_image image, struct residue *found)
{
    struct walk walk = {.check = check, .disk = disk, .sim = model_disk_of(check->model, disk)->disk, .found = found};
    *found = (struct residue){0};
    sim_disk_each_block(walk.sim, image, look_at_block, &walk);
}

static bool block_has_chunk(const struct check *check, const struct model_chunk *chunk, const uint8_t *block)
{
    for (unsigned i = 0; i < SECTORS_PER_BLOCK; i++) {
        if (model_chunk_of_sector(check->model, block + (size_t)i * SIM_DISK_SECTOR_BYTES) == chunk) {
            return true;
        }
    }
    return false;
}

static void look_at_place(const struct check *check, const struct model_chunk *chunk, uint32_t disk,
                          const struct chunk_place *place, bool durable_too, struct residue *found)
{
    struct sim_disk *sim = model_disk_of(check->model, disk)->disk;
    uint32_t blocks = payload_block_count(chunk->bytes);
    uint32_t step = blocks <= 32 ? 1 : 13;
    uint8_t block[BLOCK_BYTES];
    char name[DISK_NAME_BYTES];

    segment_name(place->segment, name);
    for (uint32_t i = 0; found->chunk == NULL && i < blocks;
         i = i + step < blocks || i == blocks - 1 ? i + step : blocks - 1) {
        uint64_t offset = place->offset + (uint64_t)i * BLOCK_BYTES;
        for (unsigned image = durable_too ? SIM_DISK_DURABLE : SIM_DISK_CACHE; image <= SIM_DISK_CACHE; image++) {
            if (sim_disk_copy(sim, (enum sim_disk_image)image, name, offset, block, sizeof(block)) &&
                block_has_chunk(check, chunk, block) && !sim_disk_is_stray(sim, name, offset)) {
                found->chunk = chunk;
                note(found, name, offset);
            }
        }
    }
}

void residue_of_copy(const struct check *check, const struct model_chunk *chunk, uint32_t disk, bool durable_too,
                     struct residue *found)
{
    const struct model_copy *copy = &chunk->copies[disk];
    uint32_t count = copy->place_count < MODEL_PLACES_MAX ? copy->place_count : MODEL_PLACES_MAX;
    *found = (struct residue){0};
    for (uint32_t i = 0; found->chunk == NULL && i < count; i++) {
        look_at_place(check, chunk, disk, &copy->places[i].place, durable_too, found);
    }
}

/* At any place: nobody aligns what is not meant to be there. */
static const struct model_chunk *ciphertext_in(const struct model *model, const uint8_t *bytes, size_t count)
{
    const struct model_chunk *chunk = NULL;
    for (size_t i = 0; chunk == NULL && i + sizeof(uint64_t) <= count; i++) {
        chunk = model_chunk_of_sector(model, bytes + i);
    }
    return chunk;
}

static void look_at_foreign_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct walk *walk = user;
    (void)key;
    (void)key_bytes;
    if (walk->found->chunk == NULL) {
        walk->found->chunk = ciphertext_in(walk->check->model, value, value_bytes);
    }
}

void residue_of_ciphertext_in_table(const struct check *check, struct kv *table, struct residue *found)
{
    struct walk walk = {.check = check, .found = found};
    *found = (struct residue){0};
    sim_kv_each(table, look_at_foreign_row, &walk);
}

static void look_at_foreign_block(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct walk *walk = user;
    if (walk->found->chunk == NULL) {
        walk->found->chunk = ciphertext_in(walk->check->model, bytes, BLOCK_BYTES);
        note(walk->found, name, offset);
    }
}

void residue_of_ciphertext(const struct check *check, struct sim_disk *disk, struct residue *found)
{
    struct walk walk = {.check = check, .found = found};
    *found = (struct residue){0};
    for (unsigned image = SIM_DISK_DURABLE; image <= SIM_DISK_CACHE; image++) {
        sim_disk_each_block(disk, (enum sim_disk_image)image, look_at_foreign_block, &walk);
    }
}

/* ---- secrets ---------------------------------------------------------------------------------------- */

#define ROOTS_SOUGHT 6u

static uint32_t pair_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

void secret_add(struct secrets *secrets, const char *what, const void *bytes, size_t length)
{
    CHECK(secrets->count < SECRETS_MAX && length >= 2 && length <= SECRET_BYTES_MAX);
    uint32_t pair = pair_at(bytes);
    secrets->beginnings[pair / 8] |= (uint8_t)(1u << pair % 8);
    struct secret *secret = &secrets->all[secrets->count++];
    secret->what = what;
    secret->length = length;
    memcpy(secret->bytes, bytes, length);
}

void secrets_gather(const struct check *check, struct secrets *secrets)
{
    struct key key;
    memset(secrets, 0, sizeof(*secrets));
    sim_secrets_master(&key);
    secret_add(secrets, "plaintext of an object", SIM_MARKER, strlen(SIM_MARKER));
    secret_add(secrets, "the key file of the KMS", key.bytes, sizeof(key.bytes));
    Trilith__TenantRecord *tenant = sim_cluster_tenant(check->cluster);
    if (tenant != NULL) {
        if (sim_secrets_cmk(tenant->cmk, &key)) {
            secret_add(secrets, "the customer master key", key.bytes, sizeof(key.bytes));
        }
        trilith__tenant_record__free_unpacked(tenant, NULL);
    }
    size_t length = strlen(check->cluster->secret_key);
    if (length >= 16) {
        secret_add(secrets, "the secret key of a credential", check->cluster->secret_key, length);
    }
}

void secrets_gather_roots(const struct check *check, struct secrets *secrets)
{
    const struct sim_vault *vault = &check->cluster->meta.vault;
    size_t first = vault->share_count > ROOTS_SOUGHT ? vault->share_count - ROOTS_SOUGHT : 0;
    for (size_t i = first; i < vault->share_count; i++) {
        secret_add(secrets, "a root of the vault", vault->shares[i].share.bytes, KEY_BYTES);
    }
}

static const char *secret_at(const struct secrets *secrets, const uint8_t *bytes, size_t left)
{
    for (size_t i = 0; i < secrets->count; i++) {
        const struct secret *secret = &secrets->all[i];
        if (secret->length <= left && memcmp(bytes, secret->bytes, secret->length) == 0) {
            return secret->what;
        }
    }
    return NULL;
}

static const char *secret_in(const struct secrets *secrets, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i + 2 <= length; i++) {
        uint32_t pair = pair_at(bytes + i);
        if ((secrets->beginnings[pair / 8] >> pair % 8 & 1) != 0) {
            const char *what = secret_at(secrets, bytes + i, length - i);
            if (what != NULL) {
                return what;
            }
        }
    }
    return NULL;
}

/* The beginnings of its sectors: cheap enough for every block. */
static const char *secret_at_sectors(const struct secrets *secrets, const uint8_t *block)
{
    for (size_t i = 0; i < BLOCK_BYTES; i += SIM_DISK_SECTOR_BYTES) {
        const char *what = secret_at(secrets, block + i, BLOCK_BYTES - i);
        if (what != NULL) {
            return what;
        }
    }
    return NULL;
}

static bool is_payload(const char *name, uint64_t offset, const uint8_t *block)
{
    uint32_t number;
    return segment_number_from_name(name, &number) && offset != 0 && memcmp(block, "TLB1", 4) != 0;
}

static void look_for_secrets(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct walk *walk = user;
    if (walk->found->what != NULL) {
        return;
    }
    bool whole = !is_payload(name, offset, bytes) || offset / BLOCK_BYTES % 16 == walk->phase % 16;
    walk->found->what = whole ? secret_in(walk->secrets, bytes, BLOCK_BYTES) : secret_at_sectors(walk->secrets, bytes);
    if (walk->found->what != NULL) {
        note(walk->found, name, offset);
    }
}

void residue_of_secrets(struct sim_disk *disk, enum sim_disk_image image, const struct secrets *secrets, unsigned phase,
                        struct residue *found)
{
    struct walk walk = {.sim = disk, .secrets = secrets, .phase = phase, .found = found};
    *found = (struct residue){0};
    sim_disk_each_block(disk, image, look_for_secrets, &walk);
}

static void look_at_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct walk *walk = user;
    if (walk->found->what == NULL) {
        walk->found->what = secret_in(walk->secrets, key, key_bytes);
    }
    if (walk->found->what == NULL) {
        walk->found->what = secret_in(walk->secrets, value, value_bytes);
    }
}

void residue_of_secrets_in_table(struct kv *table, const struct secrets *secrets, struct residue *found)
{
    struct walk walk = {.secrets = secrets, .found = found};
    *found = (struct residue){0};
    sim_kv_each(table, look_at_row, &walk);
}
