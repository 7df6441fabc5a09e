#!/usr/bin/env python3
"""check.py - holds vectors.txt against a second implementation, written from the standards with nothing but Python's
library: BLAKE2b is hashlib's, everything else is here. tests/unit/test_vectors.c holds the product against the same file.

    tests/vectors/check.py [FILE]

Prints `ok vectors/NAME` or `FAILED vectors/NAME: why` for each vector; exits 1 if any failed. The format of the file is
described at its top. Nothing here is fast or safe against observers: it is for vectors only."""
import base64
import hashlib
import os
import struct
import sys

# ---- the field of AES, and its relative of SM4 -------------------------------------------------------


def field_multiply(a, b, modulus):
    """Carry-less product of two bytes modulo a polynomial of degree 8."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= modulus
        b >>= 1
    return product


def field_inverse(a, modulus):
    """By search: 1/a, and 0 for 0."""
    return next((b for b in range(256) if field_multiply(a, b, modulus) == 1), 0)


def rotate(value, by, bits):
    return ((value << by) | (value >> (bits - by))) & ((1 << bits) - 1)


AES_FIELD = 0x11B  # x^8 + x^4 + x^3 + x + 1
SM4_FIELD = 0x1F5  # x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1

# ---- AES-256 (FIPS 197) ------------------------------------------------------------------------------


def aes_substitute_byte(a):
    b = field_inverse(a, AES_FIELD)
    return b ^ rotate(b, 1, 8) ^ rotate(b, 2, 8) ^ rotate(b, 3, 8) ^ rotate(b, 4, 8) ^ 0x63


AES_SBOX = [aes_substitute_byte(a) for a in range(256)]


def aes_256_round_keys(key):
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = list(words[i - 1])
        if i % 8 == 0:
            word = [AES_SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = field_multiply(constant, 2, AES_FIELD)
        elif i % 8 == 4:
            word = [AES_SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word)])
    return [sum(words[4 * r : 4 * r + 4], []) for r in range(15)]


def aes_mix_column(column):
    return [
        field_multiply(column[i], 2, AES_FIELD)
        ^ field_multiply(column[(i + 1) % 4], 3, AES_FIELD)
        ^ column[(i + 2) % 4]
        ^ column[(i + 3) % 4]
        for i in range(4)
    ]


def aes_256(key):
    """The block cipher under a key: a function from 16 bytes to 16 bytes."""
    round_keys = aes_256_round_keys(key)

    def encrypt(block):
        state = [a ^ b for a, b in zip(block, round_keys[0])]
        for number in range(1, 15):
            state = [AES_SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
            if number < 14:
                state = sum((aes_mix_column(state[c : c + 4]) for c in range(0, 16, 4)), [])
            state = [a ^ b for a, b in zip(state, round_keys[number])]
        return bytes(state)

    return encrypt


# ---- SM4 (GB/T 32907-2016; draft-ribose-cfrg-sm4) ----------------------------------------------------


def sm4_substitute_byte(a):
    """A(1 / A(a)), A being affine: bit i of A(x) is the parity of x & rotate(0xA7, i), the constant 0xD3 is added."""

    def affine(value):
        rows = (rotate(0xA7, i, 8) for i in range(8))
        return sum((bin(row & value).count("1") & 1) << i for i, row in enumerate(rows)) ^ 0xD3

    return affine(field_inverse(affine(a), SM4_FIELD))


SM4_SBOX = [sm4_substitute_byte(a) for a in range(256)]
SM4_FAMILY_KEY = (0xA3B1BAC6, 0x56AA3350, 0x677D9197, 0xB27022DC)


def sm4_substitute_word(word):
    return int.from_bytes(bytes(SM4_SBOX[b] for b in word.to_bytes(4, "big")), "big")


def sm4_round_keys(key):
    words = [k ^ f for k, f in zip(struct.unpack(">4I", key), SM4_FAMILY_KEY)]
    for i in range(32):
        constant = int.from_bytes(bytes((4 * i + j) * 7 % 256 for j in range(4)), "big")
        b = sm4_substitute_word(words[-3] ^ words[-2] ^ words[-1] ^ constant)
        words.append(words[-4] ^ b ^ rotate(b, 13, 32) ^ rotate(b, 23, 32))
    return words[4:]


def sm4(key):
    round_keys = sm4_round_keys(key)

    def encrypt(block):
        words = list(struct.unpack(">4I", block))
        for round_key in round_keys:
            b = sm4_substitute_word(words[-3] ^ words[-2] ^ words[-1] ^ round_key)
            mixed = b ^ rotate(b, 2, 32) ^ rotate(b, 10, 32) ^ rotate(b, 18, 32) ^ rotate(b, 24, 32)
            words.append(words[-4] ^ mixed)
        return struct.pack(">4I", *reversed(words[-4:]))

    return encrypt


# ---- GCM (NIST SP 800-38D), with a 96-bit nonce ------------------------------------------------------


def ghash(subkey, data):
    """`data` is a multiple of 16 bytes."""
    result = 0
    for at in range(0, len(data), 16):
        factor = result ^ int.from_bytes(data[at : at + 16], "big")
        result, shifted = 0, subkey
        for bit in range(127, -1, -1):
            if factor >> bit & 1:
                result ^= shifted
            shifted = (shifted >> 1) ^ (0xE1 << 120 if shifted & 1 else 0)
    return result.to_bytes(16, "big")


def padded(data):
    return data + bytes(-len(data) % 16)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def gcm_seal(cipher, nonce, associated, plain):
    """Returns ciphertext and tag."""
    subkey = int.from_bytes(cipher(bytes(16)), "big")
    blocks = (len(plain) + 15) // 16
    stream = b"".join(cipher(nonce + struct.pack(">I", 2 + i)) for i in range(blocks))
    sealed = xor(plain, stream)
    lengths = struct.pack(">QQ", 8 * len(associated), 8 * len(sealed))
    tag = ghash(subkey, padded(associated) + padded(sealed) + lengths)
    return sealed, xor(tag, cipher(nonce + struct.pack(">I", 1)))


# number in the record, cipher, how much of the chunk key it takes
SUITES = {"aes-256-gcm": (1, aes_256, 32), "sm4-gcm": (2, sm4, 16)}


def suite_seal(suite, key, nonce, associated, plain):
    _, cipher, key_bytes = SUITES[suite]
    return gcm_seal(cipher(key[:key_bytes]), nonce, associated, plain)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


# ---- the derivations (base/keys.h, meta/vault/ggm.h) -------------------------------------------------


def blake2b(key, message, size=32):
    return hashlib.blake2b(message, digest_size=size, key=key).digest()


def child_key(parent, side):
    salt = struct.pack("<Q", side).ljust(16, b"\0")
    person = b"TRLggm1".ljust(16, b"\0")
    return hashlib.blake2b(b"", digest_size=32, key=parent, salt=salt, person=person).digest()


def node_key(seed, depth, index):
    """Node `index` of `depth` in the tree of keys over `seed`."""
    for bit in range(depth - 1, -1, -1):
        seed = child_key(seed, index >> bit & 1)
    return seed


def cover_of(seed, punctured):
    """The largest subtrees without a punctured leaf, leftmost first, as bytes."""

    def walk(depth, index):
        first, count = index << (8 - depth), 1 << (8 - depth)
        hit = sum(punctured[slot // 8] >> (slot % 8) & 1 for slot in range(first, first + count))
        if hit == 0:
            return [bytes([depth, index]) + node_key(seed, depth, index)]
        if hit == count:
            return []
        return walk(depth + 1, 2 * index) + walk(depth + 1, 2 * index + 1)

    nodes = walk(0, 0)
    return bytes([len(nodes)]) + b"".join(nodes)


# ---- Shamir's shares (meta/vault/shamir.h) -----------------------------------------------------------


def shamir_share(secret, random, x):
    """The value at x of secret + random[0] x + random[1] x^2 + ..., byte by byte."""
    value, power = secret, 1
    for at in range(0, len(random), 32):
        power = field_multiply(power, x, AES_FIELD)
        value = xor(value, bytes(field_multiply(c, power, AES_FIELD) for c in random[at : at + 32]))
    return value


def shamir_combine(shares):
    """`shares`: pairs of x and value."""
    secret = bytes(32)
    for x, value in shares:
        weight = 1
        for other, _ in shares:
            if other != x:
                quotient = field_multiply(other, field_inverse(other ^ x, AES_FIELD), AES_FIELD)
                weight = field_multiply(weight, quotient, AES_FIELD)
        secret = xor(secret, bytes(field_multiply(b, weight, AES_FIELD) for b in value))
    return secret


# ---- Ed25519 (RFC 8032, 5.1) and Merkle trees (RFC 6962, 2.1) ------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P


def ed25519_x(y, sign):
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x & 1 != sign else x


def ed25519_add(a, b):
    product = CURVE_D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def ed25519_times(number, point):
    result = (0, 1)
    while number:
        if number & 1:
            result = ed25519_add(result, point)
        point = ed25519_add(point, point)
        number >>= 1
    return result


def ed25519_encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def ed25519_sign(seed, message):
    """The public key and the signature."""
    base = (ed25519_x(BASE_Y, 0), BASE_Y)
    number = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")
    halves = hashlib.sha512(seed).digest()
    secret = int.from_bytes(halves[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    public_key = ed25519_encode(ed25519_times(secret, base))
    nonce = number(halves[32:], message) % ORDER
    commitment = ed25519_encode(ed25519_times(nonce, base))
    response = (nonce + number(commitment, public_key, message) * secret) % ORDER
    return public_key, commitment + response.to_bytes(32, "little")


def merkle_root(entries):
    if len(entries) == 0:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    split = 1
    while 2 * split < len(entries):
        split *= 2
    return hashlib.sha256(b"\1" + merkle_root(entries[:split]) + merkle_root(entries[split:])).digest()


# ---- one check per kind: yields what the vector must say, and what it says ---------------------------


def check_blake2b(v):
    yield blake2b(v["key"], v["message"], len(v["digest"])), v["digest"]


def check_child_key(v):
    yield child_key(v["parent"], v["side"]), v["child"]


def check_ggm(v):
    leaves = [node_key(v["seed"], 8, slot) for slot in range(256)]
    for slot in (0, 1, 127, 128, 255):
        yield leaves[slot], v[f"leaf_{slot}"]
    yield blake2b(b"", b"".join(leaves)), v["leaves_digest"]


def check_cover(v):
    yield cover_of(v["seed"], v["punctured"]), v["cover"]


def check_commitment(v):
    yield blake2b(b"", b"TRLroot" + v["key"]), v["commitment"]


def check_identity(v):
    fixed = struct.pack("<QQ", v["tenant"], v["bucket"]) + v["version"] + struct.pack("<I", len(v["name"]))
    yield blake2b(b"", b"TRLide1" + fixed + v["name"]), v["identity"]


def check_object_key(v):
    yield blake2b(v["leaf"], b"TRLobj1" + v["dek"] + v["identity"]), v["object_key"]


def check_chunk_key(v):
    yield blake2b(v["object_key"], b"TRLchk1" + v["chunk"]), v["chunk_key"]


def check_meta_key(v):
    yield blake2b(v["object_key"], b"TRLmet1"), v["meta_key"]


def check_named_key(v):
    yield blake2b(v["parent"], b"TRLsub1" + v["label"]), v["named_key"]


def check_split(v):
    shares = [(x, shamir_share(v["secret"], v["random"], x)) for x in range(1, v["count"] + 1)]
    yield v["threshold"] - 1, len(v["random"]) // 32
    yield b"".join(value for _, value in shares), v["shares"]
    yield shamir_combine(shares[: v["threshold"]]), v["secret"]
    yield shamir_combine(shares[-v["threshold"] :]), v["secret"]


def check_combine(v):
    values = [v["values"][at : at + 32] for at in range(0, len(v["values"]), 32)]
    yield shamir_combine(list(zip(v["indexes"], values, strict=True))), v["secret"]


def check_aead(v):
    sealed, tag = suite_seal(v["suite"].decode(), v["key"], v["nonce"], v["associated"], v["plain"])
    yield sealed, v["sealed"]
    yield tag, v["tag"]


def check_unit(v):
    suite = v["suite"].decode()
    unit_bytes = min(65536, v["chunk_bytes"] - 65536 * v["unit"])
    yield unit_bytes, len(v["plain"])
    associated = b"TRLunit1" + v["identity"] + v["chunk"]
    associated += struct.pack("<QIBI", v["chunk_index"], v["unit"], SUITES[suite][0], v["chunk_bytes"])
    nonce = struct.pack("<I", v["unit"]).ljust(12, b"\0")
    message = v["plain"] + crc32c(v["plain"])
    sealed, tag = suite_seal(suite, v["chunk_key"], nonce, associated, message)
    yield sealed[:-4], v["sealed"]
    yield tag + sealed[-4:] + crc32c(sealed + tag), v["seal"]


def check_signature(v):
    public_key, signature = ed25519_sign(v["seed"], v["message"])
    yield public_key, v["public_key"]
    yield signature, v["signature"]


def check_checkpoint(v):
    root = merkle_root([b"entry %d" % i for i in range(v["count"])])
    yield root, v["root"]
    text = b"%s\n%d\n%s\n" % (v["origin"], v["count"], base64.b64encode(root))
    public_key, signature = ed25519_sign(v["seed"], text)
    key_id = hashlib.sha256(v["origin"] + b"\n\x01" + public_key).digest()[:4]
    line = "\N{EM DASH} ".encode() + v["origin"] + b" " + base64.b64encode(key_id + signature) + b"\n"
    yield text + b"\n" + line, v["note"]


CHECKS = {name[len("check_") :]: check for name, check in list(globals().items()) if name.startswith("check_")}

# ---- the file ----------------------------------------------------------------------------------------


NUMBERS = {"side", "tenant", "bucket", "count", "threshold", "chunk_index", "chunk_bytes", "unit"}


def value_of(field, text):
    if field in NUMBERS:
        return int(text)
    if text.startswith('"') and text.endswith('"') and len(text) >= 2:
        return text[1:-1].encode()
    return bytes.fromhex(text)


class Vector(dict):
    """One vector. Remembers which fields were asked for, so that none goes unchecked."""

    def __init__(self):
        super().__init__()
        self.used = {"kind"}

    def __getitem__(self, field):
        self.used.add(field)
        return super().__getitem__(field)


def read_vectors(path):
    vectors = {}
    current = None
    with open(path, encoding="ascii") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("[") and line.endswith("]"):
                if line[1:-1] in vectors:
                    raise ValueError(f"line {number}: {line} comes twice")
                current = vectors[line[1:-1]] = Vector()
                continue
            field, separator, text = line.partition("=")
            if current is None or not separator or field.strip() in current:
                raise ValueError(f"line {number}: not a field of a vector, or a second time")
            current[field.strip()] = value_of(field.strip(), text.strip())
    return vectors


def show(value):
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 64 else text[:64] + "..."


def problem_of(vector):
    """What is wrong with a vector; None: nothing."""
    check = CHECKS.get(vector.get("kind", b"").decode())
    if check is None:
        return "no such kind"
    try:
        for computed, stated in check(vector):
            if computed != stated:
                return f"computed {show(computed)}, the file says {show(stated)}"
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        return f"{type(error).__name__}: {error}"
    unused = set(vector) - vector.used
    return f"not checked: {', '.join(sorted(unused))}" if unused else None


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors.txt")
    try:
        vectors = read_vectors(sys.argv[1] if len(sys.argv) > 1 else default)
    except (OSError, ValueError) as error:
        print(f"FAILED vectors/file: {error}")
        return 1
    failed = False
    for name, vector in vectors.items():
        problem = problem_of(vector)
        print(f"FAILED vectors/{name}: {problem}" if problem else f"ok vectors/{name}")
        failed = failed or problem is not None
    missing = set(CHECKS) - {vector.get("kind", b"").decode() for vector in vectors.values()}
    if missing:
        print(f"FAILED vectors/coverage: no vector of kind {', '.join(sorted(missing))}")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
