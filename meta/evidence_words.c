/* evidence_words.c - the texts, and picking those that apply. */
#include "meta/evidence_words.h"

#include <stdio.h>
#include <string.h>

_Static_assert(RESIDUES_END <= 32, "bits");
_Static_assert(DISCLAIMERS_END <= 32, "bits");

const char evidence_statement_object[] = "Logical (partial) sanitization by cryptographic erase of the target data's "
                                         "keys. No media-level Clear, Purge or Destroy is "
                                         "claimed for any drive.";
const char evidence_statement_batch[] = "States which object certificates belong to this batch, and how the vault "
                                        "stood when it was issued. It claims nothing that "
                                        "those certificates do not.";
const char evidence_statement_tenant[] = "Logical (partial) sanitization by cryptographic erase of all keys of the "
                                         "tenant. No media-level Clear, Purge or Destroy is "
                                         "claimed for any drive.";
const char evidence_statement_manifest[] = "States which keys sign for this cluster from now on. It claims no erasure.";

const char evidence_technique_ce[] = "cryptographic-erase";
const char evidence_technique_ce_overwrite[] = "cryptographic-erase+overwrite";
const char evidence_technique_ce_dod3[] = "cryptographic-erase+overwrite-0x55-0xaa-random";

const char evidence_basis_key[] =
    "The key of the target data was removed from the vault, and the root that could open an "
    "older vault was destroyed and read back.";
const char evidence_basis_attested[] = "The nodes have signed that the copies on their disks were overwritten, flushed "
                                       "and read back, or were never there.";
const char evidence_basis_gateways[] =
    "Every gateway has said that the key is not in its memory, or the time for which it may keep one had passed.";

struct residue_row {
    const char *code;
    bool is_counted;
    const char *text;
};

#define RESIDUE_ROW(name, counted, text) {#name, counted, text},
static const struct residue_row residues_known[] = {EVIDENCE_RESIDUES(RESIDUE_ROW)};

#define DISCLAIMER_ROW(name, text) text,
static const char *const disclaimers[] = {EVIDENCE_DISCLAIMERS(DISCLAIMER_ROW)};

void evidence_residue_add(struct evidence_residues *residues, enum evidence_residue residue, uint32_t number)
{
    residues->set |= EVIDENCE_BIT(residue);
    residues->numbers[residue] = number;
}

static json_t *residue_code(const struct evidence_residues *residues, unsigned residue)
{
    const struct residue_row *row = &residues_known[residue];
    if (!row->is_counted) {
        return json_string(row->code);
    }
    if (residue == RESIDUE_METADATA_UNTIL || residue == RESIDUE_BACKUP_UNTIL) {
        return json_sprintf("%s(unbounded)", row->code);
    }
    return json_sprintf("%s(%u)", row->code, residues->numbers[residue]);
}

/* The array, or NULL. `value` is stolen. */
static json_t *append(json_t *array, json_t *value)
{
    if (array != NULL && json_array_append_new(array, value) != 0) {
        json_decref(array);
        return NULL;
    }
    return array;
}

json_t *evidence_residual(const struct evidence_residues *residues)
{
    json_t *array = json_array();
    for (unsigned i = 0; array != NULL && i < RESIDUES_END; i++) {
        if ((residues->set & EVIDENCE_BIT(i)) != 0) {
            array = append(array, residue_code(residues, i));
        }
    }
    return array;
}

const char *evidence_residue_text(const char *code)
{
    size_t length = strcspn(code, "(");
    for (size_t i = 0; i < ARRAY_LENGTH(residues_known); i++) {
        if (strlen(residues_known[i].code) == length && memcmp(residues_known[i].code, code, length) == 0) {
            return residues_known[i].text;
        }
    }
    return NULL;
}

json_t *evidence_not_claimed(unsigned set)
{
    json_t *array = json_array();
    for (unsigned i = 0; array != NULL && i < DISCLAIMERS_END; i++) {
        if ((set & EVIDENCE_BIT(i)) != 0) {
            array = append(array, json_string(disclaimers[i]));
        }
    }
    return array;
}
