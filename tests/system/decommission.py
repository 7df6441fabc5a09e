"""decommission - disks and nodes leave for good: emptied while clients work, wiped by people who sign for it, certified.

One cluster of six nodes is taken down to four. The disk of node6 is drained, kept, drained again and looked through for
windows of 16 bytes of what stood there; then it leaves with two approvals, a wipe of its image, and three signatures. The
disk of node5 dies with its node, owes an erasure, is recorded as dead, and comes back when nobody asks for it any more. A
target of a move that was given up never gets that group again: with six nodes a group finds another one."""
import itertools
import random
import shutil
import threading

from certificates import expect_verified, payload_of
from cluster import Cluster, expect, run, wait_for
from residue import probe
from s3 import S3Error
from sandbox import LoopDisk, must

SANDBOX = True
KIB, MIB = 1 << 10, 1 << 20
BUCKET = "leaving"
SEED = 1933
OBJECTS = 300
LOOK_EVERY = 3
IMAGE_BYTES = 448 * MIB
WAIT_S = 60
LEAVES, DIES = "node6", "node5"
DECOMMISSION = ["--destination", "recycling", "--destination-details", "Muster GmbH", "--reason", "end of life",
                "--requested-by", "anna", "--property-number", "INV-77"]


def body_of(number):
    chance = random.Random(SEED * 1000 + number)
    return chance.randbytes(chance.choice([700, 5000, 20000, 70000]))


class Clients(threading.Thread):
    """Reads what stands, and writes, overwrites, reads and deletes keys of its own, until it is stopped."""

    def __init__(self, cluster, first):
        super().__init__(daemon=True)
        self.s3 = cluster.s3(first=first)
        self.first, self.done, self.wrong = first, 0, []
        self.over = threading.Event()
        self.start()

    def turn(self, number):
        chosen = random.Random(SEED + number * 7 + self.first).randrange(OBJECTS)
        if self.s3.get(BUCKET, f"object-{chosen:03}") != body_of(chosen):
            self.wrong.append(f"object-{chosen:03} read back different")
        key, body = f"client-{self.first}-{number % 10}", body_of(1000 + number)
        self.s3.put(BUCKET, key, body)
        if self.s3.get(BUCKET, key) != body:
            self.wrong.append(f"{key} read back different")
        if number % 3 == 0:
            self.s3.delete(BUCKET, key)

    def run(self):
        while not self.over.is_set():
            try:
                self.turn(self.done)
            except (OSError, S3Error) as problem:
                self.wrong.append(f"turn {self.done}: {problem}")
            self.done += 1

    def end(self):
        self.over.set()
        self.join(60)
        expect(self.wrong == [] and self.done > 0, f"{self.done} turns: {self.wrong[:3]}")


def open_cluster():
    disks = {}

    def mount(cluster):
        disks[LEAVES] = LoopDisk(cluster.dir / "medium.img", cluster.dir / LEAVES / "disk1", IMAGE_BYTES)

    cluster = Cluster("release", nodes=6, disk_size="320 MiB", before_up=mount, options=[
        "disk.segment_size=16 MiB", "disk.prewrite_segments=1", "meta.key_lease=2s", "meta.node_lease=2s",
        "meta.pgs_per_disk=9", "node.orphan_after=4s"])
    cluster.disks = disks
    cluster.scratch = cluster.dir / "scratch"
    cluster.scratch.mkdir()
    cluster.trilith("bucket", "create", BUCKET)
    for person in ("anna", "bert"):
        key = cluster.scratch / f"{person}.pem"
        made = cluster.json("person", "key", key)
        (cluster.scratch / f"{person}.pub").write_text(made["public_key"])
        cluster.trilith("person", "add", person, "--key", cluster.scratch / f"{person}.pub", "--title", "operator")
    client = cluster.s3()
    for number in range(OBJECTS):
        client.put(BUCKET, f"object-{number:03}", body_of(number))
    return cluster


# ---- tools ----------------------------------------------------------------------------------------


def disk_of(cluster, node):
    return next(disk["id"] for disk in cluster.json("disk", "list")["disks"] if disk["node"] == node)


def show(cluster, disk):
    return cluster.json("disk", "show", disk)


def copies_on(cluster, node):
    """The sealed bytes that stand on a node's disk, of a third of the objects."""
    found = []
    for number in range(0, OBJECTS, LOOK_EVERY):
        for chunk in cluster.json("locate", f"{BUCKET}/object-{number:03}")["chunks"]:
            for copy in chunk["copies"]:
                if copy["node"] == node:
                    with open(copy["segment"], "rb") as file:
                        file.seek(copy["offset"])
                        found.append(file.read(copy["length"]))
    return found


def windows_found(cluster, content, files):
    path = cluster.scratch / "content"
    path.write_bytes(content)
    lines = probe(cluster, "windows", path, *files)
    path.unlink()
    return next(int(line[1]) for line in lines if line[0] == "found")


def segments(cluster, node):
    return sorted((cluster.dir / node / "disk1").glob("segment-*"))


def everything_reads(cluster, without=None):
    client = cluster.s3()
    for number in range(OBJECTS):
        expect(client.get(BUCKET, f"object-{number:03}") == body_of(number), f"object-{number:03} came back different")
    for number in range(0, OBJECTS, LOOK_EVERY):
        for chunk in cluster.json("locate", f"{BUCKET}/object-{number:03}")["chunks"]:
            nodes = {copy["node"] for copy in chunk["copies"] if copy["state"] == "live"}
            expect(len(nodes) == 3 and without not in nodes, f"object-{number:03}: {chunk['copies']}")


def approve(cluster, request, person, **options):
    return cluster.trilith("request", "approve", request, "--as", person, "--key", cluster.scratch / f"{person}.pem", **options)


def stage(cluster, request):
    return cluster.json("request", "show", request)["stage"]


def wait_stage(cluster, request, wanted, timeout_s=WAIT_S):
    wait_for(f"request {request} in stage {wanted}", timeout_s, lambda: stage(cluster, request) == wanted)


def certificate_of(cluster, request):
    """Exported, verified by the tool and by openssl: what it says."""
    ended = cluster.json("request", "wait", request, "--timeout", WAIT_S)
    expect(ended["state"] == "done" and ended["certificate"], f"{ended}")
    directory = cluster.scratch / f"certificate-{request}"
    cluster.trilith("cert", "export", ended["certificate"], "--out", directory)
    expect_verified(cluster, directory)
    shown = cluster.trilith("cert", "show", ended["certificate"])
    return payload_of(directory / "certificate.jws"), " ".join(shown.split())


# ---- draining -------------------------------------------------------------------------------------


def a_disk_is_drained_while_clients_work_and_can_be_kept_half_way(cluster):
    disk = disk_of(cluster, LEAVES)
    cluster.left = copies_on(cluster, LEAVES)
    content = b"".join(cluster.left)
    expect(len(cluster.left) > OBJECTS // LOOK_EVERY // 6, f"only {len(cluster.left)} chunks on {LEAVES}")
    expect(windows_found(cluster, content, segments(cluster, LEAVES)) > 1000, "the search finds nothing where all stands")
    clients = [Clients(cluster, first) for first in (0, 2)]
    before = show(cluster, disk)
    cluster.trilith("disk", "drain", disk)
    wait_for("the first groups to leave", WAIT_S, lambda: show(cluster, disk)["pgs"] < before["pgs"] - 2)
    expect(not show(cluster, disk)["empty"], "empty at once")
    cluster.trilith("disk", "undrain", disk)
    kept = show(cluster, disk)
    expect(kept["phase"] == "active" and kept["pgs"] > 0 and kept["moves"] == [], f"{kept}")
    cluster.trilith("disk", "drain", disk)
    seen = set()

    def is_empty():
        shown = show(cluster, disk)
        seen.add(shown["pgs"])
        return shown if shown["empty"] else None

    # While clients delete, it always owes some wipe of what it no longer has: it is empty all the same.
    wait_for("the disk to be empty", WAIT_S, is_empty)
    for client in clients:
        client.end()
    drained = wait_for("all that it owed", WAIT_S, lambda: settled(cluster, disk))
    expect(len(seen) > 2, f"no progress was seen: {seen}")
    expect(drained["empty"] and drained["chunks"] == 0 and drained["pgs"] == 0, f"{drained}")
    print(f"# {sum(client.done for client in clients)} rounds of two clients meanwhile", flush=True)
    everything_reads(cluster, without=LEAVES)
    found = windows_found(cluster, content, segments(cluster, LEAVES))
    expect(found == 0, f"{found} windows of what was moved away still stand on the disk")


def settled(cluster, disk):
    shown = show(cluster, disk)
    return shown if shown["wipes_owed"] == 0 else None


# ---- a disk leaves --------------------------------------------------------------------------------


def a_plan_is_shown_and_changes_nothing(cluster):
    disk = disk_of(cluster, LEAVES)
    before = show(cluster, disk)
    planned = cluster.json("disk", "decommission", disk, "--dry-run", *DECOMMISSION)
    plan = planned["plan"]
    expect(planned["id"] is None and planned["state"] == "planned", f"{planned}")
    expect(plan["disk"]["node"] == LEAVES and plan["inventory"]["pgs"] == 0 and plan["steps"], f"{plan}")
    expect(plan["medium"]["capacity_bytes"] == IMAGE_BYTES and plan["medium"]["file_system"] == "ext4", f"{plan['medium']}")
    expect(cluster.json("request", "list")["requests"] == [] and show(cluster, disk) == before, "something has changed")
    text = cluster.trilith("disk", "decommission", disk, "--dry-run", *DECOMMISSION)
    expect("Nothing was changed." in text, text)


def two_people_and_a_wiped_medium_make_a_certificate(cluster):
    disk = disk_of(cluster, LEAVES)
    request = cluster.json("disk", "decommission", disk, *DECOMMISSION)["id"]
    approve(cluster, request, "anna")
    expect("has approved" in approve(cluster, request, "anna", fails=1), "one person twice")
    expect(stage(cluster, request) == "approval", "one approval is enough")
    approve(cluster, request, "bert")
    wait_stage(cluster, request, "medium")
    reports = sign_off(cluster, "other", other_medium(cluster))
    expect("not taken" in hand_in(cluster, request, reports, fails=1), "the report of another medium")
    cluster.kill("meta1")
    cluster.start("meta1")
    expect(stage(cluster, request) == "medium", "not where it was before the metadata server died")
    cluster.local("kill", LEAVES)
    medium = cluster.disks.pop(LEAVES)
    wait_for("the dead process to let go of it", WAIT_S, lambda: run(["umount", medium.mount_point]).returncode == 0)
    reports = sign_off(cluster, "medium", cluster.dir / "medium.img")
    expect("not taken" in hand_in(cluster, request, [reports[0], reports[2], reports[1]], fails=1), "roles exchanged")
    cluster.trilith("disk", "report", request, "--report", reports[0], "--verification", reports[1], "--validation", reports[2])
    cluster.kill("meta1")
    cluster.start("meta1")
    said, shown = certificate_of(cluster, request)
    expect(said["type"] == "media-sanitization" and said["result"] == "ERASED", f"{said}")
    expect(said["claim"]["method"] == "clear" and said["media"]["capacity_bytes"] == IMAGE_BYTES, f"{said}")
    expect(said["source"]["node"] == LEAVES and said["drain"]["live_replicas"] == 0 and said["drain"]["proven_empty_at"],
           f"{said['drain']}")
    expect(said["verification"]["mismatch"] == 0 and said["verification"]["residue_scan"]["label_hits"] == 0, f"{said}")
    people = said["people"]
    expect([people["sanitizer"]["name"], people["verifier"]["name"]] == ["anna", "bert"], f"{people}")
    expect(sorted(one["name"] for one in people["approvers"]) == ["anna", "bert"], f"{people}")
    expect(LEAVES in shown and "Clear of the medium" in shown and "Muster GmbH" in shown, shown)
    expect(windows_found(cluster, b"".join(cluster.left), [cluster.dir / "medium.img"]) == 0, "windows stand on the medium")
    expect(show(cluster, disk)["phase"] == "removed", "the disk is not removed")
    cluster.node_disks = {LEAVES: disk}


def other_medium(cluster):
    """A medium with a disk of another cluster on it."""
    path = cluster.scratch / "other.img"
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
        file.seek(1 * MIB)
        file.write(b"TRLSUP1\0" + bytes(8) + bytes(range(16)))
    return path


def sign_off(cluster, name, image):
    """Wiped by anna, verified by bert, validated by anna: the three files."""
    loop = must(["losetup", "--find", "--show", image], "no loop device")
    state = cluster.scratch / f"{name}-state"
    try:
        done = run([cluster.bin / "trilith", "disk", "wipe", loop, "--state", state, "--yes-erase", loop.rsplit("/", 1)[1],
                    "--as", "anna", "--key", cluster.scratch / "anna.pem"], 300)
    finally:
        run(["losetup", "--detach", loop])
    expect(done.returncode == 0, f"wipe: {done.stderr}")
    report = f"{state}.report"
    for role, person in (("verifier", "bert"), ("validator", "anna")):
        cluster.trilith("disk", "countersign", report, "--decision", "accept", "--role", role, "--as", person, "--key",
                        cluster.scratch / f"{person}.pem")
    return [report, f"{report}.verifier", f"{report}.validator"]


def hand_in(cluster, request, files, **options):
    return cluster.trilith("disk", "report", request, "--report", files[0], "--verification", files[1], "--validation",
                           files[2], **options)


# ---- a dead disk ----------------------------------------------------------------------------------


def a_dead_disk_settles_what_waited_for_it_and_nothing_is_claimed_of_it(cluster):
    disk = disk_of(cluster, DIES)
    client = cluster.s3()
    victims = list(itertools.islice((number for number in range(OBJECTS) if holds(cluster, DIES, number)), 3))
    cluster.victims = b"".join(sealed(cluster, DIES, number) for number in victims)
    request = cluster.json("disk", "decommission", disk, "--dead", *DECOMMISSION)
    expect(any("not dead" in block for block in request["plan"]["blocks"]), f"{request['plan']['blocks']}")
    request = request["id"]
    cluster.kill(DIES)
    (cluster.dir / DIES / "disk1").rename(cluster.dir / "dead-disk")
    cluster.wait_up({"node1", "node2", "node3", "node4"})
    erasures = []
    for number in victims:
        erasures.append(int(client.delete(BUCKET, f"object-{number:03}")["x-trilith-erasure"]))
    cluster.gone = victims
    for erasure in erasures:
        waiting = wait_for("only the dead disk is missing", WAIT_S, lambda: only_open(cluster, erasure, disk))
        expect(waiting["certificate"] is None and waiting["state"] == "open", f"{waiting}")
    for person in ("anna", "bert"):
        approve(cluster, request, person)
    said, shown = certificate_of(cluster, request)
    expect(said["type"] == "media-sanitization" and said["result"] == "PARTIAL" and said["claim"]["method"] == "none", f"{said}")
    expect("No sanitization of this medium was possible" in said["claim"]["statement"] and "keys that exist" in said["claim"]["statement"],
           said["claim"]["statement"])
    expect("No sanitization of this medium was possible" in shown, shown)
    for erasure in erasures:
        ended = cluster.json("erase", "wait", erasure, "--timeout", WAIT_S)
        directory = cluster.scratch / f"erasure-{erasure}"
        cluster.trilith("cert", "export", erasure, "--out", directory)
        expect_verified(cluster, directory)
        payload = payload_of(directory / "certificate.jws")
        codes = set(payload["residual"])
        expect(payload["result"] == "PARTIAL" and "REPLICA_OFFLINE(1)" in codes, f"{ended} {payload['result']} {codes}")
    expect(show(cluster, disk)["phase"] == "removed", f"{show(cluster, disk)}")
    cluster.node_disks[DIES] = disk


def only_open(cluster, erasure, disk):
    shown = cluster.json("erase", "show", erasure)
    return shown if shown["open_disks"] == [disk] and shown["keys"] == "destroyed" else None


def holds(cluster, node, number):
    chunks = cluster.json("locate", f"{BUCKET}/object-{number:03}")["chunks"]
    return any(copy["node"] == node for chunk in chunks for copy in chunk["copies"])


def sealed(cluster, node, number):
    for chunk in cluster.json("locate", f"{BUCKET}/object-{number:03}")["chunks"]:
        for copy in chunk["copies"]:
            if copy["node"] == node:
                with open(copy["segment"], "rb") as file:
                    file.seek(copy["offset"])
                    return file.read(copy["length"])
    return b""


def a_dead_disk_that_comes_back_serves_nothing_and_is_wiped(cluster):
    disk = cluster.node_disks[DIES]
    (cluster.dir / "dead-disk").rename(cluster.dir / DIES / "disk1")
    expect(windows_found(cluster, cluster.victims, segments(cluster, DIES)) > 100, "the search finds nothing on the dead disk")
    cluster.start(DIES)
    cluster.wait_up({"node1", "node2", "node3", "node4", DIES})
    wait_for("it has come back", WAIT_S, lambda: show(cluster, disk)["phase"] == "removed, came back")
    wait_for("it to wipe all that it holds", WAIT_S,
             lambda: (lambda shown: shown["chunks"] == 0 and shown["wipes_owed"] == 0)(show(cluster, disk)))
    found = windows_found(cluster, cluster.victims, segments(cluster, DIES))
    expect(found == 0, f"{found} windows of what was erased stand on the disk that came back")
    client = cluster.s3()
    for number in range(OBJECTS):
        if number in cluster.gone:
            expect(client.once("GET", BUCKET, f"object-{number:03}")[0] == 404, f"object-{number:03} is back")
        else:
            expect(client.get(BUCKET, f"object-{number:03}") == body_of(number), f"object-{number:03} came back different")
    expect(show(cluster, disk)["pgs"] == 0, "it was given placement groups")


# ---- a node leaves --------------------------------------------------------------------------------


def a_node_leaves_after_its_disks(cluster):
    refused = cluster.json("node", "decommission", "node1", "--dry-run", *DECOMMISSION)["plan"]
    expect(refused["blocks"] and refused["disks"], f"{refused}")
    for node, result in ((LEAVES, "ERASED"), (DIES, "PARTIAL")):
        request = cluster.json("node", "decommission", node, *DECOMMISSION)["id"]
        approve(cluster, request, "anna")
        approve(cluster, request, "bert")
        said, shown = certificate_of(cluster, request)
        expect(said["type"] == "node-decommission" and said["result"] == result, f"{said}")
        expect(said["node"]["name"] == node and len(said["certs_of_media"]) == 1, f"{said}")
        expect(said["claim"]["method"] == "none" and node in shown, shown)
    names = {node["name"] for node in cluster.json("status")["nodes"]}
    expect(LEAVES not in names and DIES not in names, f"{names}")
    cluster.kill(DIES)
    shutil.rmtree(cluster.dir / DIES / "disk1")
    cluster.wait_healthy()


SCENARIOS = [
    a_disk_is_drained_while_clients_work_and_can_be_kept_half_way,
    a_plan_is_shown_and_changes_nothing,
    two_people_and_a_wiped_medium_make_a_certificate,
    a_dead_disk_settles_what_waited_for_it_and_nothing_is_claimed_of_it,
    a_dead_disk_that_comes_back_serves_nothing_and_is_wiped,
    a_node_leaves_after_its_disks,
]
