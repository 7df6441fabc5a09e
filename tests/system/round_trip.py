"""round_trip - what goes in comes out: all sizes, many small files, a large one; with a node dead, after a power cut.
And what lies on the disks: three copies where the catalog says, no plaintext, no key."""
import concurrent.futures
import hashlib
import mmap
import os
import random
import threading

from cluster import Cluster, expect

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EDGES = [0, 1, 4095, 4096, 4097, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 7]
SMALL_FILES = int(os.environ.get("TRILITH_TEST_SMALL_FILES", "10000"))
LARGE_BYTES = int(os.environ.get("TRILITH_TEST_LARGE_MIB", "1024")) * MIB
THREADS = 8
MARKER = b"a-plaintext-marker-that-must-never-reach-a-disk:"
SEED = 20260131


def open_cluster():
    return Cluster("release", disk_size="8 GiB")


def small_body(number):
    """The body of small file `number`, the same every time: edges first, then 0..64 KiB."""
    chance = random.Random(SEED + number)
    edges = [0, 1, 4095, 4096, 4097, 64 * KIB - 1, 64 * KIB]
    size = edges[number] if number < len(edges) else chance.randrange(64 * KIB + 1)
    return (MARKER + chance.randbytes(size))[:size]


def in_threads(cluster, numbers, work):
    """Call work(client, number) for all numbers, spread over threads with a client each. Returns what it returned."""
    mine = threading.local()

    def one(number):
        if not hasattr(mine, "client"):
            mine.client = cluster.s3(first=number % len(cluster.endpoints))
        return work(mine.client, number)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, numbers, chunksize=16))


def check_small(cluster, numbers):
    def check(client, number):
        body = client.get("many", f"file-{number:05}")
        return hashlib.sha256(body).digest() == hashlib.sha256(small_body(number)).digest()

    wrong = in_threads(cluster, numbers, check).count(False)
    expect(wrong == 0, f"{wrong} of {len(numbers)} small files came back different")


def file_sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _hash(file)


def _hash(file):
    digest = hashlib.sha256()
    while piece := file.read(MIB):
        digest.update(piece)
    return digest.hexdigest()


def check_files(cluster, names):
    for name in names:
        target = cluster.dir / "back"
        cluster.trilith("get", f"edges/{name}", target)
        expect(file_sha256(target) == file_sha256(cluster.dir / "input" / name), f"{name} came back different")
        target.unlink()


def edge_sizes_by_command_line(cluster):
    cluster.trilith("bucket", "create", "edges")
    (cluster.dir / "input").mkdir()
    for size in EDGES:
        path = cluster.dir / "input" / f"size-{size}"
        path.write_bytes((MARKER + random.Random(size).randbytes(size))[:size])
        cluster.trilith("put", path, f"edges/{path.name}")
    check_files(cluster, [f"size-{size}" for size in EDGES])
    listed = {entry["key"]: entry["size"] for entry in cluster.json("ls", "edges")["objects"]}
    expect(listed == {f"size-{size}": size for size in EDGES}, f"the listing differs: {listed}")


def ranges(cluster):
    client = cluster.s3()
    whole = (cluster.dir / "input" / f"size-{9 * MIB + 7}").read_bytes()
    chance = random.Random(SEED)
    pairs = [(0, 0), (64 * KIB - 1, 64 * KIB), (4 * MIB - 1, 4 * MIB), (len(whole) - 1, len(whole) - 1)]
    pairs += [tuple(sorted(chance.randrange(len(whole)) for _ in range(2))) for _ in range(12)]
    for first, last in pairs:
        part = client.get("edges", f"size-{len(whole)}", extra={"range": f"bytes={first}-{last}"})
        expect(part == whole[first : last + 1], f"bytes {first}-{last} are wrong")


def large_file(cluster):
    path = cluster.dir / "input" / "large"
    with open(path, "wb") as file:
        for _ in range(LARGE_BYTES // MIB):
            file.write(os.urandom(MIB))
    cluster.trilith("put", path, "edges/large")
    check_files(cluster, ["large"])


def many_small_files(cluster):
    cluster.trilith("bucket", "create", "many")
    in_threads(cluster, range(SMALL_FILES), lambda c, n: c.put("many", f"file-{n:05}", small_body(n)) and None)
    check_small(cluster, range(SMALL_FILES))
    names = cluster.s3().keys("many")
    expect(names == [f"file-{number:05}" for number in range(SMALL_FILES)], "the listing differs")


def three_copies_on_three_nodes(cluster):
    for key in (f"size-{9 * MIB + 7}", "size-1", "large"):
        place = cluster.json("locate", f"edges/{key}")
        size = os.path.getsize(cluster.dir / "input" / key)
        expect(place["size"] == size, f"{key}: locate says {place['size']} bytes")
        expect(sum(chunk["length"] for chunk in place["chunks"]) == size, f"{key}: chunk lengths do not add up")
        for chunk in place["chunks"]:
            copies = chunk["copies"]
            expect(len({copy["node"] for copy in copies}) == 3, f"{key}: copies on {[c['node'] for c in copies]}")
            expect(all(copy["state"] == "live" for copy in copies), f"{key}: {copies}")
            sealed = set()
            for copy in copies:
                with open(copy["segment"], "rb") as file:
                    file.seek(copy["offset"])
                    sealed.add(hashlib.sha256(file.read(copy["length"])).digest())
            expect(len(sealed) == 1, f"{key}: the three copies differ on disk")


def disks_decode_offline(cluster):
    place = cluster.json("locate", f"edges/size-{4 * MIB + 1}")
    for copy in place["chunks"][0]["copies"]:
        disk = os.path.dirname(copy["segment"])
        found = cluster.json("disk", "inspect", disk, "--chunk", place["chunks"][0]["id"])
        records = [record for record in found["records"] if record["state"] == "live"]
        expect(len(records) == 1, f"{disk}: {found['records']}")
        expect(records[0]["offset"] == copy["offset"], f"{disk}: inspect and locate differ about the offset")
        expect(os.path.samefile(records[0]["segment"], copy["segment"]), f"{disk}: another segment")


def reads_with_any_node_dead(cluster):
    chance = random.Random(SEED)
    for name in cluster.nodes:
        cluster.kill(name)
        check_files(cluster, [f"size-{size}" for size in EDGES] + (["large"] if name == "node1" else []))
        sample = range(SMALL_FILES) if name == "node1" else sorted(chance.sample(range(SMALL_FILES), SMALL_FILES // 20))
        check_small(cluster, sample)
        cluster.start(name)
        cluster.wait_healthy()


def power_cut(cluster):
    cluster.kill("all")
    cluster.up()
    check_files(cluster, [f"size-{size}" for size in EDGES] + ["large"])
    check_small(cluster, range(SMALL_FILES))


def root_slot(cluster):
    return cluster.dir / "meta1" / "vault-slot" / "root-slot"


def secrets(cluster):
    """The secrets that this test can know, in the forms in which they could be found."""
    cmk = (cluster.dir / "key" / "cmk").read_bytes().strip()
    found = {"customer master key": cmk, "secret access key": cluster.env["AWS_SECRET_ACCESS_KEY"].encode()}
    try:
        found["customer master key (raw)"] = bytes.fromhex(cmk.decode())
    except ValueError:
        pass
    slot = root_slot(cluster).read_bytes()
    cells = [slot[at : at + 4096] for at in (0, 4096)]
    # With one metadata server the share is the root (meta/vault/slot_cell.h).
    found["vault root"] = next(cell[44:76] for cell in cells if cell[12:16] == b"\1\0\0\0")
    expect(all(len(secret) >= 16 for secret in found.values()), "a secret is too short to look for")
    return found


def no_plaintext_and_no_key_on_disk(cluster):
    needles = {"plaintext marker": MARKER, **secrets(cluster)}
    key_file = {cluster.dir / "key" / "cmk"}
    homes = {
        "customer master key": key_file,
        "customer master key (raw)": key_file,
        "secret access key": {cluster.dir / "trilith.conf"},
        "vault root": {root_slot(cluster)},
    }
    needles["plaintext of a large file"] = (cluster.dir / "input" / "large").read_bytes()[5 * MIB : 5 * MIB + 64]
    for path in sorted(cluster.dir.rglob("*")):
        if not path.is_file() or path.stat().st_size == 0 or path.is_relative_to(cluster.dir / "input"):
            continue
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name, needle in needles.items():
                if content.find(needle) < 0:
                    continue
                expect(path in homes.get(name, ()), f"{path} contains the {name}")


def deleting_wipes_every_copy(cluster):
    place = cluster.json("locate", f"edges/size-{4 * MIB}")

    def sealed():
        for copy in place["chunks"][0]["copies"]:
            with open(copy["segment"], "rb") as file:
                file.seek(copy["offset"])
                yield file.read(copy["length"])

    before = list(sealed())
    erasure = cluster.json("rm", f"edges/size-{4 * MIB}")["erasure"]
    cluster.trilith("stat", f"edges/size-{4 * MIB}", fails=1)
    closed = cluster.json("erase", "wait", erasure, "--timeout", 60)
    expect(closed["state"] == "closed" and closed["open_disks"] == [], f"{closed}")
    for old, new in zip(before, sealed()):
        same = sum(old[at : at + 4096] == new[at : at + 4096] for at in range(0, len(old), 4096))
        expect(same == 0, f"{same} blocks of the sealed bytes still stand")
    disk = os.path.dirname(place["chunks"][0]["copies"][0]["segment"])
    found = cluster.json("disk", "inspect", disk, "--chunk", place["chunks"][0]["id"])
    holding = [record for record in found["records"] if record["state"] != "statement"]
    expect(holding and all(record["state"] == "erased" and record["good"] for record in holding), f"{found['records']}")


SCENARIOS = [
    edge_sizes_by_command_line,
    ranges,
    large_file,
    many_small_files,
    three_copies_on_three_nodes,
    disks_decode_offline,
    reads_with_any_node_dead,
    power_cut,
    no_plaintext_and_no_key_on_disk,
    deleting_wipes_every_copy,
]
