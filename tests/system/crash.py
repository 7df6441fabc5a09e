"""crash - kill -9 of a node, and of all processes together, in the middle of heavy writing, again and again.

What was acknowledged reads back identical. What was not is whole or absent. And when all is quiet, nothing is left on
the disks that the catalog does not know: aborted and orphaned chunks have been wiped."""
import concurrent.futures
import hashlib
import os
import random
import threading
import time

from cluster import Cluster, Failed, expect, wait_for
from s3 import S3Error

KIB, MIB = 1 << 10, 1 << 20
KILLS = int(os.environ.get("TRILITH_TEST_KILLS", "50"))
WRITERS = 6
START_SECONDS_MAX = 30
SEED = 99


def open_cluster():
    # A write's last commit comes within the client's minute; orphans are looked for soon after.
    return Cluster("release", disk_size="8 GiB", options=["node.orphan_after=10s", "meta.node_lease=3s"])


class Writers:
    """Threads that write objects without pause. Each key is written once: so it is identical, whole or absent."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.lock = threading.Lock()
        self.acknowledged = {}
        self.attempted = {}
        self.sizes = {}
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,), daemon=True) for number in range(WRITERS)]

    def work(self, writer):
        chance = random.Random(SEED + writer)
        client = self.cluster.s3(first=writer % len(self.cluster.endpoints), timeout_s=20)
        number = 0
        while not self.stopped.is_set():
            size = chance.choice([0, 1, 4096, 64 * KIB + 1, chance.randrange(256 * KIB), chance.randrange(6 * MIB)])
            body = chance.randbytes(size)
            digest = hashlib.sha256(body).digest()
            key = f"writer-{writer}/object-{number:06}"
            number += 1
            with self.lock:
                self.attempted[key] = digest
                self.sizes[key] = size
            try:
                status = client.once("PUT", "crash", key, body)[0]
            except Exception:  # the gateway died under it: not acknowledged
                status = 0
            if status == 200:
                with self.lock:
                    self.acknowledged[key] = digest
            else:
                client.next_gateway()
                self.stopped.wait(0.02)

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
            expect(not thread.is_alive(), "a writer hangs")


def check_objects(cluster, writers, keys):
    """Acknowledged: identical. Else: whole or absent."""
    client = cluster.s3()
    for key in keys:
        try:
            body = client.get("crash", key)
        except S3Error as error:
            expect(error.status == 404, f"{key}: {error}")
            expect(key not in writers.acknowledged, f"{key} was acknowledged and is gone")
            continue
        expect(hashlib.sha256(body).digest() == writers.attempted[key], f"{key} came back different")


def wait_for_progress(writers, before, objects=5):
    wait_for("writers to go on", 60, lambda: writers.count() >= before + objects)


def killing_nodes_and_everything_while_writing(cluster):
    cluster.s3().create_bucket("crash")
    writers = Writers(cluster)
    writers.start()
    chance = random.Random(SEED)
    slowest = 0.0
    try:
        for kill in range(KILLS):
            wait_for_progress(writers, writers.count())
            victim = "all" if kill % 2 == 1 else chance.choice(cluster.nodes + ["meta1"])
            cluster.kill(victim)
            begin = time.monotonic()
            if victim == "all":
                cluster.up()
            else:
                cluster.start(victim)
            slowest = max(slowest, time.monotonic() - begin)
            expect(slowest < START_SECONDS_MAX, f"starting {victim} took {slowest:.1f} s")
            if kill % 10 == 9:
                with writers.lock:
                    sample = chance.sample(sorted(writers.acknowledged), min(50, len(writers.acknowledged)))
                check_objects(cluster, writers, sample)
    finally:
        writers.stop()
    cluster.wait_healthy()
    check_objects(cluster, writers, sorted(writers.attempted))
    cluster.writers = writers
    print(f"# {KILLS} kills, {len(writers.acknowledged)} of {len(writers.attempted)} writes acknowledged, "
          f"slowest start {slowest:.1f} s", flush=True)


def listing_agrees_with_reads(cluster):
    listed = set(cluster.s3().keys("crash"))
    expect(listed >= set(cluster.writers.acknowledged), "an acknowledged object is not listed")
    expect(listed <= set(cluster.writers.attempted), "something is listed that nobody wrote")
    cluster.listed = listed


def orphans_are_wiped(cluster):
    """Every live chunk on the disks belongs to a listed object: three copies each and nothing else."""
    expected = sum(3 * -(-cluster.writers.sizes[key] // (4 * MIB)) for key in cluster.listed)

    def clean():
        if cluster.json("erase", "list", "--open")["erasures"]:
            return False
        return sum(disk["chunks"] for disk in cluster.json("disk", "list")["disks"]) == expected

    try:
        wait_for("orphans to be wiped", 120, clean)
    except Failed as problem:
        disks = [(disk["node"], disk["chunks"]) for disk in cluster.json("disk", "list")["disks"]]
        raise Failed(f"{problem}: {disks} chunks on disks, {expected} expected") from problem


def deleting_everything_empties_the_disks(cluster):

    def delete(writer):
        client = cluster.s3(first=writer % len(cluster.endpoints))
        for key in sorted(cluster.listed):
            if key.startswith(f"writer-{writer}/"):
                client.delete("crash", key)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(delete, range(WRITERS)))

    def empty():
        if cluster.json("erase", "list", "--open")["erasures"]:
            return False
        return sum(disk["chunks"] for disk in cluster.json("disk", "list")["disks"]) == 0

    wait_for("every copy to be wiped", 180, empty)
    cluster.trilith("bucket", "delete", "crash")


SCENARIOS = [
    killing_nodes_and_everything_while_writing,
    listing_agrees_with_reads,
    orphans_are_wiped,
    deleting_everything_empties_the_disks,
]
