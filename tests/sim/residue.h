/* residue.h - searches of whole disk images and tables for what must not be there: ciphertext that was erased, plaintext,
 * keys.
 *
 * Ciphertext is recognised by the first bytes of each sector, also when it stands somewhere it was never written to.
 * What the device itself put or left somewhere (sim_disk_is_stray()) is not ours to answer for. */
#ifndef TRILITH_TESTS_SIM_RESIDUE_H
#define TRILITH_TESTS_SIM_RESIDUE_H

#include "tests/sim/checkers.h"

struct residue {
    const struct model_chunk *chunk; /* NULL: nothing was found */
    char name[DISK_NAME_BYTES];
    uint64_t offset;
    const char *what; /* of a search for secrets; NULL: nothing was found */
};

/* Search one image of a disk for chunks that must be gone there. */
void residue_of_erased(const struct check *check, uint32_t disk, enum sim_disk_image image, struct residue *found);

/* Search the places where the chunk was written on this disk, in the cache and, `durable_too`, on stable storage. Of large
 * chunks a part. */
void residue_of_copy(const struct check *check, const struct model_chunk *chunk, uint32_t disk, bool durable_too,
                     struct residue *found);

/* Search for ciphertext of any chunk, erased or not, where none may be: a table; or both images of the journal's disk. */
void residue_of_ciphertext_in_table(const struct check *check, struct kv *table, struct residue *found);
void residue_of_ciphertext(const struct check *check, struct sim_disk *disk, struct residue *found);

/* What must stand nowhere. */
#define SECRETS_MAX      64u
#define SECRET_BYTES_MAX 64u
struct secrets {
    struct secret {
        const char *what;
        uint8_t bytes[SECRET_BYTES_MAX];
        size_t length;
    } all[SECRETS_MAX];
    size_t count;
    uint8_t
        beginnings[65536 / 8]; /* bit per pair of bytes: a secret begins so. One look at a place then serves for all. */
};
void secret_add(struct secrets *secrets, const char *what, const void *bytes, size_t length);
/* Plaintext, master keys, secrets of clients. */
void secrets_gather(const struct check *check, struct secrets *secrets);
/* The roots of the last epochs: they may stand in the slot, and nowhere else. */
void secrets_gather_roots(const struct check *check, struct secrets *secrets);

/* Search an image for plaintext and secrets: every block that is not payload whole, of payload the beginning of each sector
 * and one block of 16 (`phase`: which) whole. */
void residue_of_secrets(struct sim_disk *disk, enum sim_disk_image image, const struct secrets *secrets, unsigned phase,
                        struct residue *found);
void residue_of_secrets_in_table(struct kv *table, const struct secrets *secrets, struct residue *found);

#endif
