/* vault_local.h - a vault whose leaves all follow from one root in a file.
 *
 *   leaf = derive_named_key(root, "leaf <page> <slot>")      (hex; base/keys.h)
 *
 * Punctured leaves are refused, but the root could still say them: this vault denies, it does not yet destroy. The
 * epoch vault will, behind the same interface. What was punctured is known from the state, which replays it into a
 * vault just opened.
 *
 * Losing the root loses every object. It is made once, with the first cluster; when it is missing later, opening fails
 * rather than making another. */
#ifndef TRILITH_META_VAULT_VAULT_LOCAL_H
#define TRILITH_META_VAULT_VAULT_LOCAL_H

#include "meta/vault/vault.h"

#include <stdbool.h>

/* Open the root in the file `path`; with `create`, make a random one when there is none. The file must be ours, a
 * regular file of mode 0600 and 32 bytes: else STATUS_DENIED or STATUS_INVALID. STATUS_NOT_FOUND, STATUS_IO, STATUS_FULL.
 * `message` says why, for people. */
MUST_USE enum status vault_local_open(const char *path, bool create, struct vault **vault, char *message,
                                      size_t message_bytes);

#endif
