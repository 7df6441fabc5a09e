"""power_loss - whole machines lose power under load: kill -9, and what was written but not flushed is gone.

Every disk of the cluster lies on lossfs: each node's segments and its index, and the metadata server's directory. So
what comes back after a restart is what was flushed, and of the rest a seeded choice of sectors, some of them torn. The
workload's model then says what a read may find: what was acknowledged, byte for byte, and nothing that was deleted.
The last scenario lets the disks lie about flushes. It has to end in loss: that is how we know that the others could.

TRILITH_SEED chooses the faults (1), TRILITH_TEST_POWER_LOSSES their number (3 of each kind)."""
import contextlib
import http.client
import os
import random
import re
import time

from cluster import Cluster, Failed, expect, wait_for
from lossy_disk import LossyDisk, program
from s3 import S3Error
from workload import Workload

KIB, MIB = 1 << 10, 1 << 20
SEED = int(os.environ.get("TRILITH_SEED", "1"))
LOSSES = int(os.environ.get("TRILITH_TEST_POWER_LOSSES", "3"))
BUCKET = "power"
FULL_AFTER_PUTS_MAX = 100
STALL_ANSWERS_S = 30  # how long one request may take while a disk hangs: a write's deadline, and another attempt


class LossyCluster(Cluster):
    """A cluster in which each process has disks that lose power."""

    def __init__(self):
        program()  # or skip before anything is made
        self.lossy_disks = {}
        super().__init__("asan", disk_size="2 GiB", options=[
            "disk.segment_size=16 MiB", "meta.node_lease=3s", "meta.journal_segment_size=1 MiB",
            "node.orphan_after=10s", "timeouts.chunk_write=3s", "timeouts.chunk_read=2s"],
            before_up=LossyCluster.mount_disks)

    def mount_disks(self):
        places = [("meta1", "meta1")] + [(name, f"{name}/{part}") for name in self.nodes for part in ("disk1", "state")]
        for number, (name, place) in enumerate(places):
            disk = LossyDisk(self.dir / "backing" / place, self.dir / place, SEED * 100 + number)
            self.lossy_disks.setdefault(name, []).append(disk)

    def all_disks(self):
        return [disk for disks in self.lossy_disks.values() for disk in disks]

    def data_disk(self, name):
        return self.lossy_disks[name][0]

    def lose_power(self, names):
        """These machines stop at once, and what their disks had not been told to keep is gone."""
        if set(names) == set(self.lossy_disks):
            self.kill("all")
        else:
            for name in names:
                self.kill(name)
        for name in names:
            for disk in self.lossy_disks[name]:
                disk.tell("lose")

    def set_flush_mode(self, name, mode):
        """How the node makes a batch durable from its next start on: by one durable write, or write and flush."""
        path = self.dir / f"{name}.conf"
        text = re.sub(r"^flush = .*\n", "", path.read_text(), flags=re.M)
        path.write_text(text.replace("[disk]\n", f"[disk]\nflush = {mode}\n"))

    def disk_state(self, name):
        return next(disk["state"] for disk in self.json("disk", "list")["disks"] if disk["node"] == name)

    def total(self, what):
        return sum(disk.stats()[what] for disk in self.all_disks())

    def close(self):
        self.local("down")
        for disk in self.all_disks():
            disk.close()
        super().close()

    def discard(self):
        for disk in self.all_disks():
            with contextlib.suppress(OSError, ValueError, Failed):
                disk.heal()  # What hangs in the kernel can't be killed.
        super().discard()
        for disk in self.all_disks():
            disk.discard()


def open_cluster():
    cluster = LossyCluster()
    cluster.workload = Workload(cluster, SEED)
    return cluster


def lose_power_under_load(cluster, what, choose):
    """`choose` names the machines of one loss. At the end every object is as the model says."""
    chance = random.Random(f"{SEED} {what}")
    slowest = 0.0
    cluster.workload.start()
    try:
        for _ in range(LOSSES):
            cluster.workload.wait_for_progress()
            names = choose(chance)
            cluster.lose_power(names)
            for name in set(names) & set(cluster.nodes):
                cluster.set_flush_mode(name, chance.choice(["write", "flush"]))
            begin = time.monotonic()
            cluster.up()
            slowest = max(slowest, time.monotonic() - begin)
    finally:
        cluster.workload.stop()
    cluster.wait_healthy()
    cluster.workload.check_all()
    lost = {name: cluster.total(name) for name in ("sectors_lost", "sectors_kept", "sectors_torn", "sizes_lost")}
    expect(lost["sectors_lost"] > 0, "no power loss ever took anything: the scenario shows nothing")
    print(f"# {what}: {LOSSES} losses, slowest start {slowest:.1f} s, so far {lost}, {cluster.workload.counts()}",
          flush=True)


def one_node_loses_power(cluster):
    lose_power_under_load(cluster, "one node", lambda chance: [chance.choice(cluster.nodes)])


def all_nodes_lose_power_together(cluster):
    """Nobody has a copy that was spared: what was acknowledged was on the disks."""
    lose_power_under_load(cluster, "all nodes", lambda chance: cluster.nodes)


def everything_loses_power(cluster):
    """With the metadata server: its journal, its tables and its vault."""
    lose_power_under_load(cluster, "everything", lambda chance: ["meta1", *cluster.nodes])


def copies_of(cluster, key):
    """The sealed bytes of each copy of each chunk, from the segments. Replicas are sealed once, so they are alike."""
    chunks = cluster.json("locate", f"{BUCKET}/{key}")["chunks"]
    return [[read_copy(key, copy) for copy in chunk["copies"]] for chunk in chunks]


def read_copy(key, copy):
    expect(copy["segment"], f"{key}: the copy on {copy['node']} is {copy['state']}")
    with open(copy["segment"], "rb") as segment:
        segment.seek(copy["offset"])
        return segment.read(copy["length"])


def last_acknowledged_puts_have_three_copies(cluster):
    """The power fails the moment a put is acknowledged, with no later flush to help it; in both modes of flushing."""
    chance = random.Random(f"{SEED} last")
    client = cluster.s3()
    client.create_bucket(BUCKET)
    kept = []

    def restart(mode):
        for name in cluster.nodes:
            cluster.set_flush_mode(name, mode)
        cluster.lose_power(["meta1", *cluster.nodes])
        cluster.up()

    restart("write")
    for number in range(max(LOSSES, 2)):
        # A large chunk is flushed, and all that was written before it too: so the small ones come last.
        bodies = {f"last-{number}-{size}": chance.randbytes(size) for size in (4 * MIB + 1, 64 * KIB, 4096, 100, 1)}
        for key, body in bodies.items():
            client.put(BUCKET, key, body)
        restart(("flush", "write")[number % 2])
        for key, body in bodies.items():
            expect(client.get(BUCKET, key) == body, f"{key} came back different")
            for copies in copies_of(cluster, key):
                expect(len(copies) == 3 and len(set(copies)) == 1, f"the {len(copies)} copies of {key} differ")
        kept += bodies
    for key in kept:
        client.delete(BUCKET, key)


def failed_flush_or_write_fences_the_disk(cluster):
    chance = random.Random(f"{SEED} fence")
    for fault in ("fail-flush", "fail-write"):
        name = chance.choice(cluster.nodes)
        cluster.workload.start()
        try:
            cluster.data_disk(name).tell(f"{fault} 1")
            wait_for(f"{fault}: the disk of {name} to be fenced", 30, lambda: cluster.disk_state(name) == "fenced")
            cluster.workload.wait_for_progress(what=("put",))
        finally:
            cluster.workload.stop()
        cluster.workload.check_all()
        cluster.lose_power([name])
        cluster.start(name)
        cluster.wait_healthy()
        expect(cluster.disk_state(name) == "serving", f"the disk of {name} does not serve after a restart")
    cluster.workload.check_all()


def full_disk_leaves_the_others_to_it(cluster):
    """Segments that are allocated go on being filled; then the disk says that it is full and other PGs take it all."""
    chance = random.Random(f"{SEED} full")
    name = chance.choice(cluster.nodes)
    disk = cluster.data_disk(name)
    body = chance.randbytes(4 * MIB)
    client = cluster.s3()
    stored = []

    def put():
        client.put(BUCKET, f"large-{len(stored)}", body)
        stored.append(f"large-{len(stored)}")

    cluster.workload.start()
    disk.tell("full on")
    try:
        while cluster.disk_state(name) != "full":
            put()
            expect(len(stored) < FULL_AFTER_PUTS_MAX, f"the disk of {name} is not full after {len(stored)} chunks")
        for _ in range(10):
            put()
        cluster.workload.wait_for_progress(what=("put",))
    finally:
        disk.tell("full off")
        cluster.workload.stop()
    for key in stored:
        expect(client.get(BUCKET, key) == body, f"{key} came back different")
    cluster.workload.check_all()
    cluster.lose_power([name])
    cluster.start(name)
    cluster.wait_healthy()
    expect(cluster.disk_state(name) == "serving", f"the disk of {name} does not serve when there is room again")
    for key in stored:
        expect(client.get(BUCKET, key) == body, f"{key} came back different")
        client.delete(BUCKET, key)


def every_copy_is_there_and_nothing_else(cluster):
    """One lost copy of three changes no read: so they are counted. And what was deleted or left over has been wiped."""
    cluster.workload.wait_wiped()


def stalled_disk_does_not_stop_the_cluster(cluster):
    """One disk answers nothing any more. Through the other gateways every put and get succeeds all the same, at the second
    asking at the latest: a gateway that has given up on the disk has learnt to avoid it."""
    chance = random.Random(f"{SEED} stall")
    name = chance.choice(cluster.nodes)
    others = [number for number, node in enumerate(cluster.nodes) if node != name]
    bodies = {f"before-{number}": chance.randbytes(100 * KIB) for number in range(6)}
    for key, body in bodies.items():
        cluster.s3().put(BUCKET, key, body)
    slowest = {"PUT": 0.0, "GET": 0.0}

    def timed(method, gateway, key, body=b""):
        begin = time.monotonic()
        client = cluster.s3(first=gateway, timeout_s=STALL_ANSWERS_S)
        status, _, content = client.once(method, BUCKET, key, body)
        if status == 503:
            status, _, content = client.once(method, BUCKET, key, body)
        expect(status == 200, f"{method} {key} through {cluster.nodes[gateway]}: status {status}: {content[:200]}")
        slowest[method] = max(slowest[method], time.monotonic() - begin)
        return content

    cluster.data_disk(name).tell("stall on")
    try:
        for number, key in enumerate(list(bodies)):
            gateway = others[number % len(others)]
            expect(timed("GET", gateway, key) == bodies[key], f"{key} came back different")
            bodies[f"during-{number}"] = chance.randbytes(100 * KIB)
            timed("PUT", gateway, f"during-{number}", bodies[f"during-{number}"])
        expect(cluster.data_disk(name).stats()["stalled"] > 0, "nothing met the stalled disk")
    finally:
        cluster.data_disk(name).tell("stall off")
    print(f"# one disk hangs: slowest put {slowest['PUT']:.1f} s, slowest get {slowest['GET']:.1f} s", flush=True)
    cluster.wait_healthy()
    for key, body in bodies.items():
        expect(cluster.s3().get(BUCKET, key) == body, f"{key} came back different")
    cluster.workload.check_all()


def lying_disks_lose_what_was_acknowledged(cluster):
    """The control: a loss on disks whose flushes do nothing, and that keep nothing by luck, has to cost objects; and no wrong
    byte is served."""
    chance = random.Random(f"{SEED} lie")
    bodies = {f"lie-{number}": chance.randbytes(200 * KIB) for number in range(20)}
    for name in cluster.nodes:
        cluster.data_disk(name).tell("lie on")
        cluster.data_disk(name).tell("harsh on")
    for key, body in bodies.items():
        cluster.s3().put(BUCKET, key, body)
    cluster.lose_power(cluster.nodes)
    for name in cluster.nodes:
        cluster.data_disk(name).tell("lie off")
        cluster.data_disk(name).tell("harsh off")
    refused = start_those_that_can(cluster)
    lost = 0
    for key, body in bodies.items():
        try:
            content = cluster.s3(timeout_s=STALL_ANSWERS_S).get(BUCKET, key, attempts=1)
        except (S3Error, OSError, http.client.HTTPException):
            lost += 1
            continue
        expect(content == body, f"{key} came back different")
    print(f"# lying disks: {lost} of {len(bodies)} acknowledged objects lost, {len(refused)} nodes refused to start",
          flush=True)
    expect(lost > 0, "flushes that do nothing cost nothing: these tests can't see a loss")


def start_those_that_can(cluster):
    """A store may rightly refuse what such a disk left it. The names of the nodes that do."""
    refused = []
    for name in cluster.nodes:
        try:
            cluster.start(name)
        except Failed:
            refused.append(name)
    return refused


SCENARIOS = [
    one_node_loses_power,
    all_nodes_lose_power_together,
    everything_loses_power,
    last_acknowledged_puts_have_three_copies,
    failed_flush_or_write_fences_the_disk,
    full_disk_leaves_the_others_to_it,
    every_copy_is_there_and_nothing_else,
    stalled_disk_does_not_stop_the_cluster,
    lying_disks_lose_what_was_acknowledged,
]
