#!/bin/sh
# verify.sh [DIR] - verifies the certificate in a directory, without one in this script's, with openssl and the tools
# of any POSIX system; nothing of Trilith is used.
#
# Ends with "VERIFIED" and exit status 0, or with "NOT VERIFIED: ..." naming the first thing that is wrong, and 1.
# What it can't know is whether issuer.pem (and ledger.pem, nodes/*.pem) are the keys of who claims to have issued
# this: compare the fingerprints that it prints with ones that you got another way.
set -eu
LC_ALL=C
export LC_ALL
cd "${1:-$(dirname "$0")}"
set --
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "NOT VERIFIED: $1" >&2
    exit 1
}

# ---- bytes -------------------------------------------------------------------------------------------

# bytes HEX: those bytes, on standard output.
bytes() {
    hex=$1
    while [ -n "$hex" ]; do
        more=${hex#??}
        # shellcheck disable=SC2059 # an octal escape is what this is for
        printf "\\$(printf %03o "0x${hex%"$more"}")"
        hex=$more
    done
}

hex_of() {
    od -An -v -tx1 "$1" | tr -d ' \n'
}

sha256_of() {
    openssl dgst -sha256 -r "$1" | cut -d' ' -f1
}

# base64 TEXT FILE: the one text that stands for those bytes, or none.
base64() {
    printf %s "$1" | openssl base64 -d -A >"$2" 2>/dev/null || fail "text that is not base64"
    [ "$(openssl base64 -A <"$2")" = "$1" ] || fail "text that is not base64 in its one form"
}

# base64url TEXT FILE: the same without padding.
base64url() {
    case $1 in
    *[!A-Za-z0-9_-]*) fail "text that is not base64url" ;;
    esac
    text=$(printf %s "$1" | tr '_-' '/+')
    case $((${#text} % 4)) in
    2) text=$text== ;;
    3) text=$text= ;;
    esac
    base64 "$text" "$2"
}

# ---- keys and signatures ------------------------------------------------------------------------------

# is_key FILE: a public key in PEM, with nothing before or behind it.
is_key() {
    openssl pkey -pubin -in "$1" 2>/dev/null | cmp -s - "$1" || fail "$1 is not a public key"
    openssl pkey -pubin -in "$1" -outform DER | tail -c 32 >"$work/key"
    echo "key $1: SHA-256 of its 32 bytes $(sha256_of "$work/key")"
}

signed_by() { # KEY: $work/in, with the signature in $work/signature
    openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$work/in" -sigfile "$work/signature" >/dev/null 2>&1
}

# jws_open FILE: its parts into $work/header, payload, signature; what is signed into $work/in.
jws_open() {
    [ -f "$1" ] || fail "$1 is missing"
    jws=$(cat "$1")
    header=${jws%%.*}
    jws=${jws#*.}
    payload=${jws%%.*}
    signature=${jws#*.}
    printf %s "$header.$payload.$signature" | cmp -s - "$1" || fail "$1 has more in it than a JWS"
    base64url "$header" "$work/header"
    base64url "$payload" "$work/payload"
    base64url "$signature" "$work/signature"
    printf %s "$header.$payload" >"$work/in"
}

# text NAME FILE, number NAME FILE: the member NAME of canonical JSON.
text() {
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"
}

number() {
    sed -n "s/.*\"$1\":\([0-9][0-9]*\)[,}].*/\1/p" "$2"
}

# certificate FILE NAME: signed by the issuer; its payload is kept as $work/NAME.
certificate() {
    jws_open "$1"
    printf '{"alg":"EdDSA","kid":"%s","typ":"erasure-cert+jws"}' "$(text kid "$work/header")" |
        cmp -s - "$work/header" || fail "$1 has the header of something else"
    for key in issuer.pem ledger.pem ledger-2.pem; do
        if [ -f "$key" ] && signed_by "$key"; then
            cp "$work/payload" "$work/$2"
            echo "$1: signed with $key"
            return
        fi
    done
    fail "$1: its signature is not by a key that is here"
}

# ---- Merkle trees (RFC 6962) --------------------------------------------------------------------------

node() {
    { printf '\001' && bytes "$1" && bytes "$2"; } | openssl dgst -sha256 -r | cut -d' ' -f1
}

leaf() {
    { printf '\000' && cat "$1"; } | openssl dgst -sha256 -r | cut -d' ' -f1
}

# climb INDEX SIZE LEAF HASH...: from a leaf along its path to the root, left in $root.
climb() {
    index=$1
    last=$(($2 - 1))
    root=$3
    shift 3
    [ "$index" -le "$last" ] || fail "a leaf that is not in its tree"
    for sibling in "$@"; do
        [ "$last" -gt 0 ] || fail "a path that is too long"
        if [ $((index & 1)) = 1 ] || [ "$index" = "$last" ]; then
            root=$(node "$sibling" "$root")
            while [ $((index & 1)) = 0 ] && [ "$index" != 0 ]; do
                index=$((index >> 1))
                last=$((last >> 1))
            done
        else
            root=$(node "$root" "$sibling")
        fi
        index=$((index >> 1))
        last=$((last >> 1))
    done
    [ "$last" = 0 ] || fail "a path that is too short"
}

# ---- 1. the certificate, and the batch that it belongs to ----------------------------------------------

for key in issuer.pem ledger.pem ledger-2.pem; do
    if [ -f "$key" ]; then
        is_key "$key"
    fi
done
certificate certificate.jws certificate
type=$(text type "$work/certificate")
logged=certificate.jws
if [ "$type" = object-erasure ]; then
    certificate batch.jws batch
    logged=batch.jws
    sed -n 's/^{"batch":\({[^}]*}\),.*/\1/p' "$work/certificate" >"$work/place"
    sed 's/^{"batch":{[^}]*},/{/' "$work/certificate" >"$work/leaf"
    # Canonical text has no newline at its end, and some a sed adds one.
    printf %s "$(cat "$work/leaf")" >"$work/entry"
    # shellcheck disable=SC2046 # one word per hash
    climb "$(number leaf_index "$work/place")" "$(number count "$work/batch")" "$(leaf "$work/entry")" \
        $(sed 's/.*"path":\[\([^]]*\)\].*/\1/' "$work/place" | tr -d '"' | tr ',' ' ')
    [ "$root" = "$(text objects_root "$work/batch")" ] || fail "certificate.jws is not in the batch"
    [ "$root" = "$(text objects_root "$work/place")" ] || fail "certificate.jws names another batch"
    [ "$(text epoch_cert_id "$work/place")" = "$(text cert_id "$work/batch")" ] || fail "batch.jws is another batch"
    echo "certificate.jws: number $(number leaf_index "$work/place") of the $(number count "$work/batch") in batch.jws"
fi

# ---- 2. its place in the ledger ------------------------------------------------------------------------

sha256=$(sha256_of "$logged")
[ "$(text sha256 ledger-entry.json)" = "$sha256" ] || fail "ledger-entry.json is not about $logged"
# The checkpoint: three lines that are signed, an empty one, a line per signature.
origin=$(sed -n 1p checkpoint)
size=$(sed -n 2p checkpoint)
case $size in
'' | *[!0-9]*) fail "checkpoint has no size" ;;
esac
base64 "$(sed -n 3p checkpoint)" "$work/root"
head -n 3 checkpoint >"$work/in"
[ -z "$(sed -n 4p checkpoint)" ] || fail "checkpoint is no signed note"
lines=$(wc -l <checkpoint)
[ -z "$(tail -c 1 checkpoint)" ] || fail "checkpoint does not end with its last signature"
[ "$lines" -ge 5 ] || fail "checkpoint is not signed"
line=5
while [ "$line" -le "$lines" ]; do
    words=$(sed -n "${line}p" checkpoint)
    prefix=$(printf '\342\200\224 %s ' "$origin")
    case $words in
    "$prefix"*) base64 "${words#"$prefix"}" "$work/note" ;;
    *) fail "checkpoint has a line that is no signature of $origin" ;;
    esac
    tail -c +5 "$work/note" >"$work/signature"
    found=
    for key in issuer.pem ledger.pem ledger-2.pem; do
        if [ -f "$key" ] && signed_by "$key"; then
            # The key's id: the first four bytes of SHA-256(name, newline, 01, key).
            openssl pkey -pubin -in "$key" -outform DER | tail -c 32 >"$work/key"
            { printf '%s\n\001' "$origin" && cat "$work/key"; } >"$work/id"
            [ "$(sha256_of "$work/id" | cut -c1-8)" = "$(hex_of "$work/note" | cut -c1-8)" ] && found=$key
        fi
    done
    [ -n "$found" ] || fail "checkpoint: a signature that is not by a key that is here"
    echo "checkpoint: $size entries, signed with $found"
    line=$((line + 1))
done
[ "$(sed -n 1p proof.tlog-proof)" = c2sp.org/tlog-proof@v1 ] || fail "proof.tlog-proof is no proof"
sed '1,/^$/d' proof.tlog-proof | cmp -s - checkpoint || fail "proof.tlog-proof is for another checkpoint"
base64 "$(sed -n '2s/^extra //p' proof.tlog-proof)" "$work/extra"
cmp -s "$work/extra" ledger-entry.json || fail "proof.tlog-proof is about another entry"
index=$(sed -n '3s/^index \([0-9][0-9]*\)$/\1/p' proof.tlog-proof)
[ -n "$index" ] || fail "proof.tlog-proof names no index"
place=$index
sed '1,3d;/^$/,$d' proof.tlog-proof >"$work/hashes"
set --
while read -r hash; do
    base64 "$hash" "$work/hash"
    set -- "$@" "$(hex_of "$work/hash")"
done <"$work/hashes"
climb "$index" "$size" "$(leaf ledger-entry.json)" "$@"
[ "$root" = "$(hex_of "$work/root")" ] || fail "ledger-entry.json is not in the ledger of this checkpoint"
echo "ledger-entry.json: entry $place of the ledger $origin"

# ---- 3. what the nodes attested ------------------------------------------------------------------------

tr '{' '\n' <"$work/certificate" | sed -n 's/.*"attestations":\[\([^]]*\)\].*/\1/p' | tr ',' '\n' | tr -d '"' |
    sort -u | sed '/^$/d' >"$work/named"
for file in attestations/*; do
    [ "$file" = 'attestations/*' ] || basename "$file" .jws
done | sort >"$work/here"
while read -r sha256; do
    file=attestations/$sha256.jws
    jws_open "$file"
    [ "$(sha256_of "$file")" = "$sha256" ] || fail "$file is not what the certificate names"
    name=$(text kid "$work/header")
    case $name in
    '' | .* | *[!A-Za-z0-9._-]*) fail "$file: \"$name\" is no name of a node" ;;
    esac
    signer=
    for key in "nodes/$name.pem" "nodes/$name"+[0-9]*.pem; do
        if [ -f "$key" ] && signed_by "$key"; then
            signer=$key
        fi
    done
    [ -n "$signer" ] || fail "$file: its signature is not by $name"
    if [ "$type" = object-erasure ]; then
        erasure=$(sed -n 's/.*"request":{[^}]*"id":\([0-9]*\).*/\1/p' "$work/certificate")
        grep -q "\"erasure\":$erasure," "$work/payload" || fail "$file says nothing about erasure $erasure"
    fi
    echo "$file: signed with $signer"
done <"$work/named"
cmp -s "$work/named" "$work/here" || fail "attestations has files that the certificate does not name"
for key in nodes/*.pem; do
    if [ -f "$key" ]; then
        is_key "$key"
    fi
done

# ---- 4. who approved ------------------------------------------------------------------------------------

sed -n 's/.*"request":{"approvals":\[\([^]]*\)\].*/\1/p' "$work/certificate" |
    tr ',' '\n' | tr -d '"' | sed '/^$/d' >"$work/approvals"
while read -r approval; do
    printf %s "$approval" >"$work/approval"
    jws_open "$work/approval"
    name=$(text kid "$work/header")
    case $name in
    '' | .* | *[!A-Za-z0-9._-]*) name= ;;
    esac
    if [ -f "people/$name.pem" ]; then
        is_key "people/$name.pem"
        signed_by "people/$name.pem" || fail "an approval that is not signed with people/$name.pem"
        plan=$(sed -n 's/.*"request":{[^}]*"plan_sha256":"\([0-9a-f]*\)".*/\1/p' "$work/certificate")
        [ "$(text plan_sha256 "$work/payload")" = "$plan" ] || fail "$name has approved another plan"
        echo "approval: signed with people/$name.pem"
    else
        echo "approval: not checked, the key of who signed it is not here"
    fi
done <"$work/approvals"

# ---- 5. which object it is about -----------------------------------------------------------------------

if [ -f opening.json ]; then
    printf '{"name":"%s","ref_salt":"%s"}' "$(text name opening.json)" "$(text ref_salt opening.json)" |
        cmp -s - opening.json || fail "opening.json has another form"
    { bytes "$(text version_id "$work/certificate")" && bytes "$(text name opening.json)"; } >"$work/named_object"
    salt=$(text ref_salt opening.json)
    reference=$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$salt" -r "$work/named_object" | cut -d' ' -f1)
    [ "$reference" = "$(text object_ref "$work/certificate")" ] || fail "opening.json opens another certificate"
    printf 'opening.json: the object is '
    bytes "$(text name opening.json)" | tr '\000' '/' | tr '\001-\037\177' '?'
    echo
fi
echo "VERIFIED"
