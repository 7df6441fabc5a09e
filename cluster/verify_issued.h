/* verify_issued.h - the certificates that lie beside a ledger, held against its entries. A part of verify_ledger.h. */
#ifndef TRILITH_CLUSTER_VERIFY_ISSUED_H
#define TRILITH_CLUSTER_VERIFY_ISSUED_H

#include "base/digest.h"
#include "base/jws.h"
#include "cluster/verify_ledger.h"

#define LEDGER_TYPES_MAX  16
#define LEDGER_TYPE_BYTES 40

/* An entry taken apart. */
struct ledger_entry {
    uint8_t cert_id[16];
    uint8_t sha256[SHA256_BYTES];
    uint64_t index;
    uint32_t type; /* of entries.types */
};

struct ledger_entries {
    struct ledger_entry *list; /* sorted by cert_id, after ledger_entries_sort() */
    size_t count;
    size_t room;
    char types[LEDGER_TYPES_MAX][LEDGER_TYPE_BYTES];
    uint32_t type_count;
};

/* False: `value` (may be NULL) is no entry, or of more types than there are. Index is the caller's. */
bool ledger_entry_read(const json_t *value, struct ledger_entries *entries, struct ledger_entry *entry);
bool ledger_entries_add(struct ledger_entries *entries, const struct ledger_entry *entry);
void ledger_entries_sort(struct ledger_entries *entries);
/* By a UUID as text; NULL: there is none, or the text is no UUID. */
const struct ledger_entry *ledger_entries_find(const struct ledger_entries *entries, const char *cert_id);
void ledger_entries_free(struct ledger_entries *entries);

/* The files certificates/ *.jws, if there are any. STATUS_OK, STATUS_DENIED. */
MUST_USE enum status verify_issued(const struct ledger_question *question, const struct ledger_entries *entries,
                                   struct verify_report *report);

#endif
