/* node_key.h - what a node signs its attestations with: an Ed25519 key of its own, in the file `node-key` of its
 * directory.
 *
 * PKCS #8 in PEM (base/signature.h), as `openssl genpkey -algorithm ed25519` writes it, mode 0600. Made at the first
 * start: to a second file, flushed, renamed, directory flushed, so that there is a whole one or none. It is never
 * replaced here: the metadata service knows the public half since the node registered, and what an older key has signed
 * must stay what it is. Synchronous: at start. */
#ifndef TRILITH_NODE_NODE_KEY_H
#define TRILITH_NODE_NODE_KEY_H

#include "base/signature.h"

/* Read the key, or make it. STATUS_OK; else `message` says what is wrong, for people: STATUS_DENIED: others may read
 * it, or it belongs to another user; STATUS_CORRUPT: it is no such key; STATUS_IO. */
MUST_USE enum status node_key_load(const char *directory, struct key *seed, char *message, size_t message_bytes);

#endif
