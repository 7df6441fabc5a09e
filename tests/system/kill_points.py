"""kill_points - a daemon dies at each of the named moments of base/buggify.h, under load, and starts again.

One cluster for all: the workload goes on throughout and checks what it reads; each scenario brings one kill point
about, and waits for the death; the next one starts the process again. At the end everything acknowledged is there,
nothing deleted has come back and no wipe is left open. A kill point that is never reached is a failure: nothing would
be tested there."""
import random
import re
import time

from cluster import ROOT, Cluster, expect, run, wait_for
from workload import KIB, MIB, Workload

SEED = 15
DEATH_SECONDS_MAX = 60
NODE_LEASE_SECONDS = 3
# Small segments on small disks, so that cleaning and a new journal segment come within seconds.
OPTIONS = [
    f"meta.node_lease={NODE_LEASE_SECONDS}s",
    "meta.epoch=1s",
    "meta.journal_segment_size=1 MiB",
    "node.orphan_after=8s",
    "disk.segment_size=16 MiB",
    "disk.prewrite_segments=1",
    "timeouts.chunk_write=2s",
    "timeouts.chunk_read=1s",
    "timeouts.meta_call=1s",
]
DISK_SIZE = "256 MiB"
SIZES = (1, 1, 1, 4096, 4096, 64 * KIB + 1, 300 * KIB, 2 * MIB, 4 * MIB + 1)
# These come once in a cluster's or node's life: open_cluster() brings them about.
FIRST_STARTS = {"meta.cluster_created": ["meta1"], "node.joined": ["node1", "node2", "node3", "node4"]}
# These wait for a timer of ten seconds: nodes that are to die there start at once and the others go on meanwhile.
SLOW = {"store.index_flushed": "node3", "store.superblock_written": "node4"}
# These are passed with every request: the death comes at one of the first passes, not always the first.
FREQUENT = ("store.batch_", "store.index_written", "store.intent", "store.wipe", "store.erased", "journal.batch_",
            "meta.applied", "meta.not_yet", "gateway.chunks_", "gateway.commit_")


def kill_point_names():
    source = (ROOT / "base" / "buggify.h").read_text()
    names = re.findall(r'X\([A-Z_]+, "([a-z]+\.[a-z_]+)"', source)
    if not names:
        raise AssertionError("base/buggify.h names no kill points")
    return names


class KillCluster(Cluster):
    """A cluster whose processes can be started to die."""

    def __init__(self, *arguments, **options):
        self.died_at = set()
        super().__init__(*arguments, before_up=KillCluster.first_starts, **options)

    def local_dying(self, verb, *arguments, at):
        """Start something that is to die, perhaps before it serves; how that ends is looked at by the caller."""
        run([ROOT / "cluster/local", verb, *arguments, "--dir", self.dir], 120,
            env={**self.environment(), "TRILITH_KILL_AT": at})

    def has_died_at(self, name, point):
        return f"kill_point name={point}" in self.log(name)

    def first_starts(self):
        options = [word for option in OPTIONS for word in ("--option", option)]
        for point, names in FIRST_STARTS.items():
            self.local_dying("up", *options, at=point)
            self.local("kill", "all")
            # Whichever of them was the first: the others may not have come so far.
            if any(self.has_died_at(name, point) for name in names):
                self.died_at.add(point)

    def runs(self, name):
        try:
            process = int((self.dir / "run" / f"{name}.pid").read_text())
            with open(f"/proc/{process}/cmdline", "rb") as file:
                return f"{name}.conf".encode() in file.read()
        except (FileNotFoundError, ProcessLookupError):
            return False


def open_cluster():
    cluster = KillCluster("asan", disk_size=DISK_SIZE, options=OPTIONS)
    cluster.chance = random.Random(SEED)
    cluster.workload = Workload(cluster, SEED, clients=5, sizes=SIZES, live_max=25)
    cluster.workload.start()
    for point, name in SLOW.items():
        cluster.kill(name)
        cluster.local_dying("start", name, at=point)
    return cluster


def victim_of(point):
    return "meta1" if point.startswith(("meta.", "journal.", "vault.")) else "node2"


def fail_chunks_until_death(cluster, name):
    """Another member stops answering: a chunk has to go elsewhere. Only until its lease ends do chunks go to it, and
    no put need come to `name` in that time: so it stops again and again."""
    deadline = time.monotonic() + DEATH_SECONDS_MAX
    while cluster.runs(name) and time.monotonic() < deadline:
        cluster.local("pause", "node3")
        try:
            wait_until(NODE_LEASE_SECONDS, lambda: not cluster.runs(name))
        finally:
            cluster.local("resume", "node3")
        wait_until(NODE_LEASE_SECONDS, lambda: not cluster.runs(name))
    expect(not cluster.runs(name), f"{name} does not die of failed chunks")


def rotate_until_death(cluster, name):
    """The data key is rotated; who asked is not answered."""
    deadline = time.monotonic() + DEATH_SECONDS_MAX
    while cluster.runs(name) and time.monotonic() < deadline:
        run([cluster.bin / "trilith", "key", "rotate"], 60, env=cluster.env)
    expect(not cluster.runs(name), f"{name} does not die of a rotation")


def wait_until(seconds_max, is_met):
    """Wait for something that need not come."""
    deadline = time.monotonic() + seconds_max
    while not is_met() and time.monotonic() < deadline:
        time.sleep(0.05)


def die_at(cluster, point):
    if point in FIRST_STARTS:
        expect(point in cluster.died_at, f"{point} was not reached when the cluster was made")
        return
    if point in SLOW:
        wait_for(f"a death at {point}", DEATH_SECONDS_MAX, lambda: cluster.has_died_at(SLOW[point], point))
        return
    name = victim_of(point)
    passes = cluster.chance.randrange(1, 6) if point.startswith(FREQUENT) else 1
    # Who died at the kill point before recovers on the way to this one.
    for other in ["meta1", *cluster.nodes]:
        if other != name and not cluster.runs(other):
            cluster.start(other)
    if cluster.runs(name):
        cluster.kill(name)
    cluster.local_dying("start", name, at=f"{point}:{passes}")
    if point == "gateway.chunk_failed":
        fail_chunks_until_death(cluster, name)
    elif point == "meta.dek_added":
        rotate_until_death(cluster, name)
    else:
        wait_for(f"a death at {point}", DEATH_SECONDS_MAX, lambda: not cluster.runs(name))
    expect(cluster.has_died_at(name, point), f"{name} has ended for another reason than {point}")
    cluster.workload.check_violations()


def scenario_of(point):

    def scenario(cluster):
        die_at(cluster, point)

    scenario.__name__ = point.replace(".", "_")
    return scenario


def all_that_was_acknowledged_is_there_and_nothing_else(cluster):
    for name in ["meta1", *cluster.nodes]:
        if not cluster.runs(name):
            cluster.start(name)
    cluster.workload.wait_for_progress()
    cluster.workload.stop()
    cluster.wait_healthy()
    cluster.workload.check_all()
    cluster.workload.wait_wiped(90)
    print(f"# {cluster.workload.counts()}", flush=True)


POINTS = sorted(kill_point_names(), key=SLOW.__contains__)
SCENARIOS = [scenario_of(point) for point in POINTS] + [all_that_was_acknowledged_is_there_and_nothing_else]
