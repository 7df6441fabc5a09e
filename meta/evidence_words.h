/* evidence_words.h - every sentence and code that certificates use, in one place, so that they can be read beside one
 * another.
 *
 * A claim says what was done and shown. What may be left is said by a residual code, what nobody should read into it by
 * a sentence of `not_claimed`. None of them is printed by habit: each has a condition, and who sets it looks at facts.
 * Sources: research on NIST SP 800-88 and on what software above a file system can know. No standard's section is
 * named.
 * Threads    Pure. */
#ifndef TRILITH_META_EVIDENCE_WORDS_H
#define TRILITH_META_EVIDENCE_WORDS_H

#include "base/jws.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- residual ---------------------------------------------------------------------------------- */

/* X(NAME, whether a number stands behind it, what it means) */
#define EVIDENCE_RESIDUES(X)                                                                                           \
    X(FTL_CIPHERTEXT, false,                                                                                           \
      "Ciphertext may remain in flash areas that the host can't address; it can't be read without the destroyed key.") \
    X(REPLICA_OFFLINE, true,                                                                                           \
      "Disks that may have held copies were settled without being wiped; what is on them can't be read without the "   \
      "destroyed key.")                                                                                                \
    X(ROOT_SLOT_SOFTWARE, false,                                                                                       \
      "The destroyed share of the vault's root was kept in an ordinary file; flash may keep old blocks of it.")        \
    X(SLOT_PENDING, true, "So many shares of the old root are not destroyed yet; they are too few to rebuild it.")     \
    X(METADATA_UNTIL, true,                                                                                            \
      "Bucket and object names stand in clear in old files of the metadata tables and journal until those are "        \
      "compacted; (unbounded): no date is known for that.")                                                            \
    X(CLIENT_COPIES, false, "Copies that the tenant or readers have made are out of scope.")                           \
    X(HOST_SNAPSHOT, false,                                                                                            \
      "Snapshots, suspended images and backups of the machines are not controlled by this software.")                  \
    X(NON_FIPS_MODULE, false, "The cryptography does not come from a FIPS 140 validated module.")                      \
    X(VENDOR_FIRMWARE, false, "What the device's firmware reported and read back is trusted.")                         \
    X(ZERO_READ_NOT_PROOF, false, "Deallocated areas read as zeros by mapping, which shows nothing of the medium.")    \
    X(SHARED_CONTENT, true, "So many chunks are shared with what was not erased.")                                     \
    X(BACKUP_UNTIL, true, "An export of the keys exists until the date given.")

#define EVIDENCE_RESIDUE_ENUM(name, counted, text) RESIDUE_##name,
enum evidence_residue { EVIDENCE_RESIDUES(EVIDENCE_RESIDUE_ENUM) RESIDUES_END };

/* Which of them apply. METADATA_UNTIL stands as METADATA_UNTIL(unbounded); of the other counted ones the number is
 * shown. */
struct evidence_residues {
    unsigned set; /* bits */
    uint32_t numbers[RESIDUES_END];
};

void evidence_residue_add(struct evidence_residues *residues, enum evidence_residue residue, uint32_t number);
/* The codes, as `residual` has them. NULL: no memory. */
MUST_USE json_t *evidence_residual(const struct evidence_residues *residues);
/* What a code of a certificate (with or without its parentheses) means, for people; NULL: unknown. */
const char *evidence_residue_text(const char *code);

/* ---- not claimed ------------------------------------------------------------------------------- */

/* X(NAME, sentence) */
#define EVIDENCE_DISCLAIMERS(X)                                                                                        \
    X(MEDIA_LEVEL, "No media-level Clear, Purge or Destroy of any drive.")                                             \
    X(LYING_NODE, "A node that signs for a read-back which it did not do can't be detected.")                          \
    X(OUTSIDE_COPIES, "Nothing is said of backups, snapshots or exports made outside this software.")                  \
    X(READERS, "Nothing is said of copies that readers received before the erasure.")                                  \
    X(EARLIER_ROOT, "Whoever held the vault's root and the stored data before the erasure may have kept both.")        \
    X(LOST_DISKS, "Nothing was overwritten on the disks listed as ce-only.")                                           \
    X(METADATA_NAMES, "Nothing is said of names, sizes and times in old metadata files.")                              \
    X(OTHER_WRITES,                                                                                                    \
      "Chunks of failed attempts to write the object, and of earlier sealings of it, are erasures of their own and "   \
      "are not counted here; the key of a failed attempt goes with its lease at the latest.")                          \
    X(UNIT_TAGS,                                                                                                       \
      "Authentication tags and checksums of the erased units stay in the log's headers until its segments are "        \
      "cleaned; content can't be made from them.")                                                                     \
    X(KEY_CUSTODY, "How the holder of the signing key guards it is not shown by a signature.")                         \
    X(PEOPLE, "That the people named did what they signed for is shown by their signatures alone.")

#define EVIDENCE_DISCLAIMER_ENUM(name, text) NOT_CLAIMED_##name,
enum evidence_disclaimer { EVIDENCE_DISCLAIMERS(EVIDENCE_DISCLAIMER_ENUM) DISCLAIMERS_END };
#define EVIDENCE_BIT(value) (1u << (unsigned)(value))

/* The sentences, as `not_claimed` has them. NULL: no memory. */
MUST_USE json_t *evidence_not_claimed(unsigned set);

/* ---- claims ------------------------------------------------------------------------------------ */

extern const char evidence_statement_object[];
extern const char evidence_statement_batch[];
extern const char evidence_statement_tenant[];
extern const char evidence_statement_manifest[];

extern const char evidence_technique_ce[];           /* nothing was overwritten */
extern const char evidence_technique_ce_overwrite[]; /* copies were */
extern const char evidence_technique_ce_dod3[];      /* and everywhere by the longer pattern */

/* basis: what the claim rests on. */
extern const char evidence_basis_key[];      /* the key went with a vault epoch */
extern const char evidence_basis_attested[]; /* copies were overwritten, say attestations */
extern const char evidence_basis_gateways[]; /* gateways have let go of the key */

#define EVIDENCE_ERASED  "ERASED"
#define EVIDENCE_PARTIAL "PARTIAL"
#define EVIDENCE_FAILED  "FAILED"

#endif
