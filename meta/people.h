/* people.h - the people on record: who may approve a request, or signs a report about a medium, with which Ed25519 key.
 *
 * A name and a key belong to one person. Somebody who has signed something that is on record (an approval, a report)
 * stays on record for ever, so that what was signed can be verified: removing such a person ends their right to sign,
 * and neither name nor key can be given to anybody else. Others are forgotten when they are removed.
 * Bounds     PEOPLE_MAX on record.
 * Threads    Pure. */
#ifndef TRILITH_META_PEOPLE_H
#define TRILITH_META_PEOPLE_H

#include "base/signature.h"
#include "meta/change.h"

#define PEOPLE_MAX            1000u
#define PERSON_NAME_BYTES_MAX 63
#define PERSON_TEXT_BYTES_MAX 255 /* of title, organization, location, contact */

/* 1..63 bytes of UTF-8 without control characters, and no space at either end. */
bool person_name_is_valid(const char *name);
/* At most `bytes_max` bytes of UTF-8 without control characters; may be empty. */
bool people_text_is_valid(const char *text, size_t bytes_max);

/* ---- changes ----------------------------------------------------------------------------------- */

/* Add: STATUS_OK; STATUS_EXISTS: there is or was somebody of that name; STATUS_CONFLICT: the key is or was somebody's;
 * STATUS_FULL; STATUS_INVALID. Remove: STATUS_OK, also again; STATUS_NOT_FOUND. */
MUST_USE enum status person_set(struct change *change, const Trilith__PersonSetRequest *command);
/* `person` (from person_get()) has signed something that goes on record. At most once per person and command. */
void person_note_signed(struct change *change, Trilith__Person *person);

/* ---- reads; results stand in the scratch ------------------------------------------------------- */

/* Also somebody who was removed and has signed (removed_ms). STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status person_get(struct tables *tables, const char *name, Trilith__Person **person);
/* In the order of their names. */
MUST_USE enum status person_list(struct tables *tables, Trilith__PersonListReply *reply);

#endif
