"""erased - after the certificate nothing of the object is left: not its bytes, at any place of any file of the cluster.

The test keeps the sealed bytes of every copy before the deletion, and afterwards looks for every window of 16 bytes of them
at every offset of every file: segments with their free space, indexes, journals, logs, tables. The search is shown to find
them where they stand. A disk that was away, paused or exchanged keeps the erasure open and is named."""
import random
import time

from cluster import Cluster, expect, wait_for
from residue import files_below, probe

KIB, MIB = 1 << 10, 1 << 20
BUCKET = "erased"
SEED = 815
NEIGHBOURS = 24
WAIT_S = 60


def body_of(number, size):
    return random.Random(SEED * 1000 + number).randbytes(size)


def open_cluster():
    cluster = Cluster("release", disk_size="256 MiB", options=[
        "disk.segment_size=16 MiB", "disk.prewrite_segments=1", "meta.journal_segment_size=1 MiB",
        "meta.key_lease=5s", "meta.node_lease=2s"])
    cluster.trilith("bucket", "create", BUCKET)
    return cluster


def sealed_copies(cluster, key):
    """The sealed bytes of each copy of each chunk, as they lie on the disks."""
    copies = []
    for chunk in cluster.json("locate", f"{BUCKET}/{key}")["chunks"]:
        for copy in chunk["copies"]:
            with open(copy["segment"], "rb") as file:
                file.seek(copy["offset"])
                copies.append((copy, file.read(copy["length"])))
    return copies


def search(cluster, content, files):
    """Where windows of `content` stand: how many, and the first few."""
    path = cluster.dir.parent / f"{cluster.dir.name}-content"
    path.write_bytes(content)
    try:
        lines = probe(cluster, "windows", path, *files)
    finally:
        path.unlink()
    return next(int(line[1]) for line in lines if line[0] == "found"), [line for line in lines if line[0] == "window"]


def certified(cluster, erasure, timeout_s=WAIT_S):
    ended = cluster.json("erase", "wait", erasure, "--timeout", timeout_s)
    expect(ended["state"] == "closed" and ended["certificate"], f"{ended}")
    return ended


def disk_id(cluster, node):
    disks = [disk for disk in cluster.json("disk", "list")["disks"] if disk["node"] == node]
    expect(len(disks) == 1, f"{node}: {disks}")
    return disks[0]["id"]


def holders(cluster, key):
    return {copy["node"] for chunk in cluster.json("locate", f"{BUCKET}/{key}")["chunks"] for copy in chunk["copies"]}


def no_window_is_left_anywhere(cluster):
    client = cluster.s3()
    for number in range(NEIGHBOURS):
        client.put(BUCKET, f"neighbour-{number}", body_of(number, 5000 + number * 20011))
    victims = {"small": body_of(100, 777), "large": body_of(101, 9 * MIB + 4321)}
    for key, body in victims.items():
        client.put(BUCKET, key, body)
    copies = [entry for key in victims for entry in sealed_copies(cluster, key)]
    content = b"".join({sealed for _, sealed in copies})
    everything = files_below(cluster.dir)
    found, _ = search(cluster, content, everything)
    expect(found > 1000, f"the search finds {found} windows where three copies stand")
    for key in victims:
        certified(cluster, cluster.json("rm", f"{BUCKET}/{key}")["erasure"])
    found, where = search(cluster, content, files_below(cluster.dir))
    expect(found == 0, f"{found} windows stand while the cluster runs: {where[:5]}")
    cluster.local("down")
    everything = files_below(cluster.dir)
    found, where = search(cluster, content, everything)
    expect(found == 0, f"{found} windows stand after an orderly end: {where[:5]}")
    print(f"# {len(content)} sealed bytes, {len(copies)} copies, {len(everything)} files: no window of 16 bytes is left",
          flush=True)
    cluster.up()
    for number in range(NEIGHBOURS):
        expect(cluster.s3().get(BUCKET, f"neighbour-{number}") == body_of(number, 5000 + number * 20011),
               f"neighbour-{number} came back different")


def the_space_is_used_again(cluster):
    """Twice what the disks hold is written, and erased, and every put finds room."""
    client = cluster.s3()
    size = 12 * MIB
    body = body_of(200, size)
    rounds = 2 * 256 * MIB * 4 // 3 // size + 1
    capacity = sum(disk["capacity"] for disk in cluster.json("disk", "list")["disks"])
    expect(3 * rounds * size >= 2 * capacity, f"{rounds} rounds are too few for {capacity} bytes")
    for number in range(rounds):
        client.put(BUCKET, "again", body[number:] + body[:number], attempts=60)
    certified(cluster, cluster.json("rm", f"{BUCKET}/again")["erasure"], 120)


def a_node_that_was_away_keeps_it_open(cluster):
    client = cluster.s3()
    client.put(BUCKET, "away", body_of(300, 3 * MIB))
    node = sorted(holders(cluster, "away"))[0]
    disk = disk_id(cluster, node)
    copies = sealed_copies(cluster, "away")
    cluster.kill(node)
    erasure = delete_without(cluster, node, "away")
    stays_open(cluster, erasure, disk)
    begin = time.monotonic()
    cluster.start(node)
    certified(cluster, erasure)
    print(f"# closed and certified {time.monotonic() - begin:.1f} s after the node was started", flush=True)
    found, where = search(cluster, b"".join({sealed for _, sealed in copies}), files_below(cluster.dir))
    expect(found == 0, f"{where[:5]}")


def a_paused_node_keeps_it_open(cluster):
    client = cluster.s3()
    client.put(BUCKET, "paused", body_of(301, 3 * MIB))
    node = sorted(holders(cluster, "paused"))[1]
    disk = disk_id(cluster, node)
    cluster.local("pause", node)
    try:
        erasure = delete_without(cluster, node, "paused")
        stays_open(cluster, erasure, disk)
    finally:
        cluster.local("resume", node)
    certified(cluster, erasure)


def an_exchanged_disk_keeps_it_open(cluster):
    """Another, empty disk stands where the old one was: it answers for itself, not for the one that is missing."""
    client = cluster.s3()
    client.put(BUCKET, "exchanged", body_of(302, 3 * MIB))
    node = sorted(holders(cluster, "exchanged"))[2]
    disk = disk_id(cluster, node)
    cluster.kill(node)
    # The disk and the index that goes with it.
    place, index = cluster.dir / node / "disk1", cluster.dir / node / "state/index-0"
    kept, kept_index = cluster.dir / node / "disk1-kept", cluster.dir / node / "index-kept"
    place.rename(kept)
    index.rename(kept_index)
    place.mkdir()
    cluster.start(node)
    erasure = delete_without(cluster, node, "exchanged")
    stays_open(cluster, erasure, disk)
    cluster.kill(node)
    place.rename(cluster.dir / node / "disk1-other")
    index.rename(cluster.dir / node / "index-other")
    kept.rename(place)
    kept_index.rename(index)
    cluster.start(node)
    certified(cluster, erasure)
    cluster.wait_up(cluster.nodes)  # not healthy: the other disk is known, and missing now


def delete_without(cluster, node, key):
    """Delete through the gateway of another node."""
    first = next(number for number, name in enumerate(cluster.nodes) if name != node)
    client = cluster.s3(first=first)
    expect(client.once("DELETE", BUCKET, key)[0] == 204, f"the delete of {key}")
    expect(client.once("GET", BUCKET, key)[0] == 404, f"{key} can still be read")
    erasures = cluster.json("erase", "list", "--open")["erasures"]
    expect(erasures, "no erasure is open")
    return erasures[-1]["id"]


def stays_open(cluster, erasure, disk):
    """All the other disks answer, the keys are destroyed, and it is still open and says which disk is missing."""

    def only_this_disk():
        shown = cluster.json("erase", "show", erasure)
        return shown if shown["open_disks"] == [disk] and shown["keys"] == "destroyed" else None

    shown = wait_for("all but one disk", WAIT_S, only_this_disk)
    expect(shown["state"] == "open" and shown["certificate"] is None, f"{shown}")
    expect(shown["waiting"], f"it does not say what it waits for: {shown}")
    said = cluster.trilith("erase", "wait", erasure, "--timeout", 1, fails=1)
    expect("still open" in said, said)


SCENARIOS = [
    no_window_is_left_anywhere,
    the_space_is_used_again,
    a_node_that_was_away_keeps_it_open,
    a_paused_node_keeps_it_open,
    an_exchanged_disk_keeps_it_open,
]
