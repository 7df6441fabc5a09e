/* shamir.h - a secret of 32 bytes shared out so that any t of n shares give it back and t-1 say nothing about it.
 *
 * Shamir, "How to share a secret" (1979), byte by byte over GF(2^8) with AES's polynomial x^8+x^4+x^3+x+1 (FIPS 197,
 * as SLIP-0039 and others use it): share i is the value at x = i of a random polynomial of degree t-1 whose value at 0
 * is the secret. Arithmetic takes the same time for all values: no tables, no branches on secrets.
 * A wrong share is not noticed here: what comes out must be checked against its commitment. Pure. */
#ifndef TRILITH_META_VAULT_SHAMIR_H
#define TRILITH_META_VAULT_SHAMIR_H

#include "base/keys.h"

#define SHAMIR_SHARES_MAX 16

struct shamir_share {
    uint8_t index; /* x, 1..255 */
    struct key value;
};

/* `random` is (threshold - 1) keys of fresh random bytes: the polynomial's other coefficients; wiped by the caller.
 * 1 <= threshold <= count <= SHAMIR_SHARES_MAX. Fills shares 1..count. */
void shamir_split(const struct key *secret, uint32_t count, uint32_t threshold, const struct key *random,
                  struct shamir_share *shares);

/* `count` shares, as many as the threshold was. STATUS_OK; STATUS_INVALID: an index is 0 or comes twice. */
MUST_USE enum status shamir_combine(const struct shamir_share *shares, uint32_t count, struct key *secret);

#endif
