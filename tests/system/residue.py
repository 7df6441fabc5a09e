"""residue - what is left of a key after its object was deleted and the vault's epoch closed: nothing, anywhere.

The test is the attacker with everything: copies of all directories of the cluster, taken before and after the deletion, the
master key, the tenant's data key, the deleted object's leaf, object key and chunk keys (it was a reader once), and all the
tools of the product (vault-probe). What it must not find is a way from those copies to the leaf: no root that opens an old
table, no seed or inner key of the leaf's tree, at any offset of any file. Each attack is shown to work where it should:
on the copy from before, with its own slot.

Keys and ciphertext are computed here by the second implementation of tests/vectors/check.py, not by the product."""
import importlib.util
import random
import shutil

import wire
from cluster import ROOT, Cluster, expect, run

KIB, MIB = 1 << 10, 1 << 20
OBJECT_GET, TENANT_KEY, TENANT_LIST = 45, 22, 62
OTHERS = 40
VICTIM_BYTES = 3 * 64 * KIB + 777
MARKER = b"-a-plaintext-that-must-be-nowhere-"
SEED = 4711


def vectors():
    spec = importlib.util.spec_from_file_location("vectors_check", ROOT / "tests/vectors/check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def body_of(number, size):
    chance = random.Random(SEED + number)
    filler = chance.randbytes(size)
    return (MARKER + filler)[:size]


def probe(cluster, *arguments):
    places = [cluster.bin, ROOT / "build/sim/bin", ROOT / "build/asan/bin"]
    program = next((place / "vault-probe" for place in places if (place / "vault-probe").exists()), None)
    expect(program is not None, "vault-probe is not built: cmake --preset sim && cmake --build --preset sim")
    done = run([program, *arguments], 900)
    expect(done.returncode == 0, f"vault-probe {arguments[0]}: {done.stderr.strip()}")
    return [line.split() for line in done.stdout.splitlines()]


def files_below(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size > 0)


def attack(cluster, victim, slots, directories):
    """Open every table found in the directories with every root in the slot files: the leaves that come out. RocksDB writes
    when it opens: so it gets copies."""
    arguments = ["open", "--page", victim["page"], "--slot", victim["slot"]]
    for slot in slots:
        arguments += ["--slots", slot]
    for number, directory in enumerate(directories):
        for table in sorted(directory.rglob("table-*")):
            arguments += ["--table", table]
        for covers in sorted(path for path in directory.rglob("covers") if path.is_dir()):
            copy = cluster.scratch / f"covers-{number}"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(covers, copy)
            arguments += ["--covers", copy]
    return probe(cluster, *arguments)


def leaves_in(lines):
    return {line[1] for line in lines if line[0] == "leaf"}


def slot_of(directory):
    return next(directory.rglob("root-slot"))


def search(cluster, victim, commitments, files):
    arguments = ["search", "--leaf", victim["leaf"].hex(), "--slot", victim["slot"]]
    for commitment in commitments:
        arguments += ["--commitment", commitment]
    for secret in victim["secrets"]:
        arguments += ["--secret", secret.hex()]
    lines = probe(cluster, *arguments, *files)
    windows = next(int(line[1]) for line in lines if line[0] == "windows")
    expect(windows > 100000, f"only {windows} windows were looked at")
    return [line for line in lines if line[0] != "windows"], windows


# ---- what a reader knows ------------------------------------------------------------------------


def read_as_a_gateway(cluster, key):
    """Everything that the metadata service tells a gateway about an object: record, leaf, data key."""
    port = cluster.port("meta1")
    tenants = wire.fields(wire.call(port, TENANT_LIST))
    tenant = next(t for t in map(wire.fields, tenants[1]) if t[2][0] == b"default")
    reply = wire.fields(wire.call(port, OBJECT_GET, wire.message({1: tenant[1][0], 2: b"vault", 3: key.encode()})))
    record = wire.fields(reply[1][0])
    dek = wire.fields(wire.call(port, TENANT_KEY, wire.message({1: tenant[1][0], 2: record[5][0]})))[1][0]
    return {
        "tenant": tenant[1][0], "bucket": reply[2][0], "version": record[1][0], "page": record[6][0],
        "slot": record.get(7, [0])[0], "leaf": reply[3][0], "dek": dek, "key": key,
        "chunks": [wire.fields(chunk)[1][0] for chunk in record[10]],
    }


def derive(check, victim):
    identity = check.blake2b(
        b"",
        b"TRLide1" + wire.u64(victim["tenant"]) + wire.u64(victim["bucket"]) + victim["version"]
        + wire.u32(len(victim["key"])) + victim["key"].encode(),
    )
    object_key = check.blake2b(victim["leaf"], b"TRLobj1" + victim["dek"] + identity)
    chunk_keys = [check.blake2b(object_key, b"TRLchk1" + chunk) for chunk in victim["chunks"]]
    return identity, object_key, chunk_keys


# ---- scenarios ----------------------------------------------------------------------------------


def open_cluster():
    cluster = Cluster("release", disk_size="256 MiB", options=[
        "meta.epoch=24h", "disk.segment_size=16 MiB", "disk.prewrite_segments=1", "meta.journal_segment_size=1 MiB"])
    cluster.scratch = cluster.dir.parent / f"{cluster.dir.name}-copies"
    cluster.scratch.mkdir()
    return cluster


def an_independent_reader_opens_the_object(cluster):
    check = vectors()
    cluster.trilith("bucket", "create", "vault")
    client = cluster.s3()
    for number in range(OTHERS):
        client.put("vault", f"other-{number}", body_of(number, 1 + number * 3001))
    body = body_of(1000, VICTIM_BYTES)
    client.put("vault", "victim", body)
    victim = read_as_a_gateway(cluster, "victim")
    identity, object_key, chunk_keys = derive(check, victim)
    places = cluster.json("locate", "vault/victim")["chunks"]
    expect(len(places) == 1 and len(places[0]["copies"]) == 3, f"{places}")
    # The first unit, sealed here, is byte for byte what the disks hold.
    associated = b"TRLunit1" + identity + victim["chunks"][0] + wire.u64(0) + wire.u32(0) + b"\1"
    associated += wire.u32(VICTIM_BYTES)
    unit = body[: 64 * KIB]
    sealed, _ = check.suite_seal("aes-256-gcm", chunk_keys[0], bytes(12), associated, unit + check.crc32c(unit))
    for copy in places[0]["copies"]:
        with open(copy["segment"], "rb") as file:
            file.seek(copy["offset"])
            expect(file.read(64 * KIB) == sealed[: 64 * KIB], f"{copy}: not what was computed")
    victim["secrets"] = [object_key, victim["dek"], *chunk_keys]
    cluster.victim = victim
    cluster.places = places


def before_the_deletion_a_copy_opens_it(cluster):
    cluster.local("down")
    cluster.before = cluster.scratch / "before"
    shutil.copytree(cluster.dir, cluster.before, symlinks=True)
    cluster.up()
    # The victim's page was opened in this epoch: its leaf follows from the root by way of the nursery, or from the table.
    found = attack(cluster, cluster.victim, [slot_of(cluster.before)], [cluster.before])
    expect(leaves_in(found) == {cluster.victim["leaf"].hex()}, f"the attack does not work where it should: {found}")
    cells = [line for line in probe(cluster, "slots", slot_of(cluster.before)) if line[3] == "holds"]
    expect(len(cells) == 1, f"not exactly one root in the slot: {cells}")
    cluster.commitment = cells[0][5]


def after_delete_and_close_no_copy_opens_it(cluster):
    erasure = cluster.json("rm", "vault/victim")["erasure"]
    still = attack(cluster, cluster.victim, [slot_of(cluster.dir)], [cluster.before])
    expect(leaves_in(still) == {cluster.victim["leaf"].hex()}, "the key was gone before its epoch was closed")
    closed = cluster.json("erase", "now")
    expect(closed["leaves_erased"] >= 1, f"{closed}")
    ended = cluster.json("erase", "wait", erasure, "--timeout", 60)
    expect(ended["state"] == "closed" and ended["keys"] == "destroyed", f"{ended}")
    cluster.local("down")
    slot = slot_of(cluster.dir)
    cells = probe(cluster, "slots", slot)
    expect(sorted(line[3] for line in cells) == ["destroyed", "holds"], f"{cells}")
    # Everything from now and everything from before, but of the slot only what it holds now.
    found = attack(cluster, cluster.victim, [slot], [cluster.dir, cluster.before])
    expect(any(line[0] == "opens" for line in found), f"the live table does not open: {found}")
    expect(not leaves_in(found), f"the deleted object's leaf comes out: {found}")
    expect(any(line[0] == "refused" for line in found), "the table from before was not even tried")


def no_byte_of_any_file_leads_to_it(cluster):
    everything = [path for path in files_below(cluster.dir) if "segment" not in path.name or "meta1" in str(path)]
    found, windows = search(cluster, cluster.victim, [cluster.commitment], everything)
    expect(not found, f"after the close: {found}")
    print(f"# {windows} places looked at in {len(everything)} files of the metadata server and the nodes' indexes")
    old = [path for path in files_below(cluster.before / "meta1") if path.name != "root-slot"]
    found, windows = search(cluster, cluster.victim, [cluster.commitment], old)
    expect(not found, f"before the deletion, without the slot: {found}")
    print(f"# {windows} places looked at in {len(old)} files copied before the deletion")
    # The same search finds the root where it was.
    padding = cluster.scratch / "padding"
    padding.write_bytes(random.Random(SEED).randbytes(200000))
    found, _ = search(cluster, cluster.victim, [cluster.commitment], [slot_of(cluster.before), padding])
    expect([line[0] for line in found] == ["root"], f"the search does not work where it should: {found}")


def no_copy_of_it_is_left_on_the_disks(cluster):
    for copy in cluster.places[0]["copies"]:
        with open(copy["segment"], "rb") as file, open(cluster.before / copy["segment"][len(str(cluster.dir)) + 1 :],
                                                       "rb") as old:
            file.seek(copy["offset"])
            old.seek(copy["offset"])
            now, then = file.read(copy["length"]), old.read(copy["length"])
        expect(len(now) == len(then) == copy["length"], f"{copy}: short")
        same = sum(a == b for a, b in zip(now[: 64 * KIB], then[: 64 * KIB]))
        expect(same < 1000, f"{copy}: {same} of {64 * KIB} bytes still stand")
    for path in files_below(cluster.dir):
        expect(MARKER not in path.read_bytes(), f"{path}: plaintext")


def every_other_object_still_opens(cluster):
    cluster.up()
    client = cluster.s3()
    for number in range(OTHERS):
        expect(client.get("vault", f"other-{number}") == body_of(number, 1 + number * 3001), f"other-{number}")
    vault = cluster.json("status")["vault"]
    expect(vault["balanced"] and vault["leaves_punctured"] == 0 and vault["leaves_erased"] >= 1, f"{vault}")
    expect(vault["leaves_live"] == OTHERS + 2, f"{vault}: {OTHERS} objects, a data key and a key of references were expected")


def an_old_copy_of_the_slot_is_refused(cluster):
    """With a rolled-back slot, or rolled-back metadata, the server says what is wrong and does not start."""
    cluster.local("down")
    meta = cluster.dir / "meta1"
    slot = slot_of(cluster.dir)
    good = slot.read_bytes()
    slot.write_bytes(slot_of(cluster.before).read_bytes())
    said = start_refused(cluster)
    expect("older" in said and "slot" in said, said)
    slot.write_bytes(good)
    kept = cluster.scratch / "kept"
    meta.rename(kept)
    shutil.copytree(cluster.before / "meta1", meta)
    if slot.is_relative_to(meta):
        shutil.copy2(kept / slot.relative_to(meta), slot)
    said = start_refused(cluster)
    expect("older" in said, said)
    shutil.rmtree(meta)
    kept.rename(meta)
    # A slot that lost its file, and one whose bytes were changed.
    slot.unlink()
    said = start_refused(cluster)
    expect("root-slot" in said or "slot" in said, said)
    slot.write_bytes(bytes(byte ^ 0x5A for byte in good))
    slot.chmod(0o600)
    said = start_refused(cluster)
    expect("slot" in said, said)
    slot.write_bytes(good)
    cluster.up()
    expect(cluster.s3().get("vault", "other-3") == body_of(3, 1 + 3 * 3001), "other-3 after all that")


def two_servers_on_one_slot_are_refused(cluster):
    """A second metadata server, with a directory of its own, is given the slot of the first."""
    config = (cluster.dir / "meta1.conf").read_text()
    other = cluster.scratch / "other"
    other.mkdir()
    lines = [line for line in config.splitlines() if not line.startswith(("listen", "directory", "vault_slot"))]
    (other / "meta.conf").write_text("\n".join([*lines, "listen = 127.0.0.1:0", f"directory = {other / 'meta'}",
                                                f"vault_slot = {slot_of(cluster.dir).parent}"]) + "\n")
    done = run([cluster.bin / "trilith-meta", "--config", other / "meta.conf"], 60)
    expect(done.returncode in (1, 2), f"a second server runs with the same slot: {done.returncode} {done.stderr}")
    expect("slot" in done.stderr, done.stderr)
    cluster.local("down")
    done = run([cluster.bin / "trilith-meta", "--config", other / "meta.conf"], 60)
    expect(done.returncode in (1, 2) and "slot" in done.stderr, f"another server's slot was taken: {done.stderr}")
    cluster.up()
    expect(cluster.s3().get("vault", "other-5") == body_of(5, 1 + 5 * 3001), "other-5 after all that")


def start_refused(cluster):
    done = run([cluster.bin / "trilith-meta", "--config", cluster.dir / "meta1.conf"], 60)
    expect(done.returncode in (1, 2), f"it starts: {done.returncode} {done.stderr}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("trilith-meta: ")]
    expect(len(lines) == 1, f"one clear line was expected: {done.stderr}")
    print(f"# {lines[0]}", flush=True)
    return lines[0]


def close_copies(cluster):
    shutil.rmtree(cluster.scratch)


SCENARIOS = [
    an_independent_reader_opens_the_object,
    before_the_deletion_a_copy_opens_it,
    after_delete_and_close_no_copy_opens_it,
    no_byte_of_any_file_leads_to_it,
    no_copy_of_it_is_left_on_the_disks,
    every_other_object_still_opens,
    an_old_copy_of_the_slot_is_refused,
    two_servers_on_one_slot_are_refused,
    close_copies,
]
