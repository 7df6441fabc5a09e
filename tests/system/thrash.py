"""thrash - kills, pauses, cuts, bad links and full disks at random, one after another and together, under load.

TRILITH_SEED chooses what happens (printed; the processes' own timing is not replayed by it), TRILITH_THRASH_SECONDS how
long. The clients check all the while what they read (workload.py). At the end everything is healed, and then the cluster
must become healthy, every object readable, every erasure closed, and no record on a disk wrong."""
import collections
import os
import random
import subprocess
import time

from cluster import ROOT, expect, wait_for
from network import NetworkCluster
from sandbox import LoopDisk
from workload import KIB, MIB, Workload

SANDBOX = True
SECONDS = float(os.environ.get("TRILITH_THRASH_SECONDS", "40"))
SEED = int(os.environ.get("TRILITH_SEED") or time.time_ns() % 1_000_000)
FAULT_SECONDS_MAX = 6.0
TOGETHER_MAX = 3
HEAL_SECONDS_MAX = 60
SIZES = (0, 1, 4096, 64 * KIB + 1, 300 * KIB, MIB, 4 * MIB + 1)
OPTIONS = [
    "meta.node_lease=2s",
    "meta.journal_segment_size=1 MiB",
    "node.orphan_after=8s",
    "disk.segment_size=16 MiB",
    "timeouts.chunk_write=2s",
    "timeouts.chunk_read=1s",
    "timeouts.meta_call=1s",
]
# The file systems are smaller than the nodes are told, and the workload alone fills them now and then.
DISK_SIZE = "1 GiB"
IMAGE_BYTES = 320 * MIB


def open_cluster():
    print(f"# TRILITH_SEED={SEED} TRILITH_THRASH_SECONDS={SECONDS:g}", flush=True)
    disks = {}

    def mount(cluster):
        for name in cluster.nodes:
            disks[name] = LoopDisk(cluster.dir / f"{name}.img", cluster.dir / name / "disk1", IMAGE_BYTES)

    cluster = NetworkCluster(
        "release", nodes=5, disk_size=DISK_SIZE, through_proxy=True, options=OPTIONS, before_up=mount)
    cluster.disks = disks
    cluster.workload = Workload(cluster, SEED, clients=6, sizes=SIZES, live_max=40)
    return cluster


class Thrasher:
    """What is wrong at the moment, each with its own end."""

    def __init__(self, cluster, chance):
        self.cluster = cluster
        self.chance = chance
        self.processes = ["meta1", *cluster.nodes]
        self.filled = set()
        self.active = {}  # name of what is hit -> (end, undo)
        self.counts = collections.Counter()
        self.starts = []  # starts under way: a process that is cut off serves only when it is not any more

    # ---- faults: each makes something bad and returns what is hit and how it ends -------------------

    def kill(self):
        name = self.chance.choice(self.processes)
        if self.is_hit(name):
            return None
        self.cluster.kill(name)
        return name, lambda: self.start(name)

    def kill_all(self):
        if any(name in self.active for name in [*self.processes, "all"]):
            return None
        self.cluster.kill("all")
        return "all", lambda: [self.start(name) for name in self.processes]

    def pause(self):
        name = self.chance.choice(self.processes)
        if self.is_hit(name):
            return None
        self.cluster.local("pause", name)
        return name, lambda: self.cluster.local("resume", name)

    def cut(self):
        """One rule set at a time, because healing takes all of them away."""
        if "network" in self.active:
            return None
        network = self.cluster.network
        one, other = self.chance.sample(self.processes, 2)
        kind = self.chance.randrange(4)
        if kind == 0:
            network.isolate(one)
        elif kind == 1:
            network.isolate(one, sends=True)
        elif kind == 2:
            network.isolate(one, receives=True)
        else:
            network.cut_pair(one, other)
        return "network", network.heal

    def bad_link(self):
        if "proxy" in self.active:
            return None
        proxy = self.cluster.proxy
        targets = self.chance.choice([None, [self.chance.choice(self.processes)]])
        faults = self.chance.choice([
            {"delay_ms": 20, "jitter_ms": 60},
            {"rate": 256 * KIB},
            {"corrupt": 128 * KIB},
            {"reset_after": 200 * KIB},
            {"swallow": True, "directions": [self.chance.choice(["there", "back"])]},
            {"stall": True, "directions": [self.chance.choice(["there", "back"])]},
        ])
        proxy.set(targets=targets, **faults)
        return "proxy", proxy.heal

    def fill_disk(self):
        """A file of somebody else's takes all the room that is left."""
        name = self.chance.choice(self.cluster.nodes)
        if f"disk of {name}" in self.active:
            return None
        self.filled.add(name)
        disk = self.cluster.disks[name]
        filler = disk.mount_point / "filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, disk.free_bytes() - MIB))
        return f"disk of {name}", filler.unlink

    def resets(self):
        self.cluster.proxy.reset_all()
        return None

    def start(self, name):
        """Start it and don't wait until it serves: it may die or be cut off before."""
        self.starts.append(subprocess.Popen(
            [ROOT / "cluster/local", "start", name, "--dir", self.cluster.dir], env=self.cluster.environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        pid = self.cluster.dir / "run" / f"{name}.pid"
        wait_for(f"{name} to run", 30, pid.exists)

    # ---- the course of it ------------------------------------------------------------------------

    def is_hit(self, name):
        return name in self.active or "all" in self.active

    def undo(self, name):
        _, undo = self.active.pop(name)
        undo()

    def step(self):
        now = time.monotonic()
        for name in [name for name, (end, _) in self.active.items() if end <= now]:
            self.undo(name)
        if len(self.active) >= TOGETHER_MAX:
            return
        fault = self.chance.choice([
            self.kill, self.kill, self.pause, self.pause, self.cut, self.cut, self.cut, self.bad_link, self.bad_link,
            self.bad_link, self.resets, self.kill_all, self.fill_disk,
        ])
        hit = fault()
        if fault == self.resets or hit is not None:
            self.counts[fault.__name__] += 1
        if hit is not None:
            name, undo = hit
            self.active[name] = (time.monotonic() + self.chance.uniform(0.2, FAULT_SECONDS_MAX), undo)

    def heal(self):
        # The network first: a process that starts must be able to reach the others.
        for name in sorted(self.active, key=lambda name: name not in ("network", "proxy")):
            self.undo(name)
        for start in self.starts:
            start.wait(120)
        # A store that met a full file system makes do with the segments it has until it starts again.
        for name in sorted(self.filled):
            if (self.cluster.dir / "run" / f"{name}.pid").exists():
                self.cluster.kill(name)
        self.cluster.up()


def random_faults_under_load(cluster):
    thrasher = Thrasher(cluster, random.Random(SEED))
    workload = cluster.workload
    workload.start()
    end = time.monotonic() + SECONDS
    try:

        def over():
            workload.check_violations()
            thrasher.step()
            return time.monotonic() >= end

        wait_for("the end of thrashing", SECONDS + 120, over)
    finally:
        thrasher.heal()
        workload.stop()
    print(f"# {dict(thrasher.counts)}; {workload.counts()}; proxy: {cluster.proxy.counts()}", flush=True)
    expect(workload.count("put") > 0, "nothing was ever stored")


def all_is_well_afterwards(cluster):
    cluster.wait_up(cluster.nodes)
    cluster.wait_healthy(HEAL_SECONDS_MAX)
    cluster.workload.check_all()
    cluster.workload.wait_wiped(90)


def the_disks_hold_nothing_wrong(cluster):
    cluster.local("down")
    for name in cluster.nodes:
        report = cluster.json("disk", "inspect", cluster.dir / name / "disk1")
        wrong = [finding for finding in report["findings"] if "torn" not in str(finding)]
        expect(not wrong, f"{name}: {wrong}")
    cluster.up()
    cluster.workload.check_all(gateways=range(len(cluster.endpoints)))


SCENARIOS = [random_faults_under_load, all_is_well_afterwards, the_disks_hold_nothing_wrong]
