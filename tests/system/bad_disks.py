"""bad_disks - small file systems of their own as disks: full, slow, and with blocks in the wrong place.

The file systems are smaller than the capacity that the nodes are told, so "full" is the kernel's word in the middle of work
and not the store's own count. Node 4 has the smallest."""
import os
import random
import time

from cluster import Cluster, expect, wait_for
from s3 import S3Error
from sandbox import IoLimit, LoopDisk
from workload import BUCKET, KIB, MIB, Workload

SANDBOX = True
SEED = 14
IMAGE_BYTES = {"node1": 256 * MIB, "node2": 256 * MIB, "node3": 256 * MIB, "node4": 160 * MIB}
BODY_BYTES = 4 * MIB
BLOCK = 4096
SLOW_BYTES_PER_SECOND = 128 * KIB
SLOW_PUT_SECONDS_MAX = 15
OPTIONS = [
    "meta.node_lease=3s",
    "node.orphan_after=4s",
    "disk.segment_size=16 MiB",
    "timeouts.chunk_write=2s",
    "timeouts.chunk_read=1s",
]


def open_cluster():
    disks = {}

    def mount(cluster):
        for name, size in IMAGE_BYTES.items():
            disks[name] = LoopDisk(cluster.dir / f"{name}.img", cluster.dir / name / "disk1", size)

    cluster = Cluster("release", disk_size="1 GiB", options=OPTIONS, before_up=mount)
    cluster.disks = disks
    cluster.chance = random.Random(SEED)
    cluster.workload = Workload(cluster, SEED)
    cluster.filled, cluster.put_count = {}, 0
    return cluster


def process_of(cluster, name):
    return int((cluster.dir / "run" / f"{name}.pid").read_text())


def put_some(cluster, count, size, seconds_max):
    client = cluster.s3()
    slowest = 0.0
    for number in range(count):
        body = cluster.chance.randbytes(size)
        begin = time.monotonic()
        client.put(BUCKET, f"slow-{number}", body)
        slowest = max(slowest, time.monotonic() - begin)
        expect(client.get(BUCKET, f"slow-{number}") == body, f"slow-{number} came back different")
    expect(slowest < seconds_max, f"the slowest put took {slowest:.1f} s")
    for number in range(count):
        client.delete(BUCKET, f"slow-{number}")
    return slowest


def one_slow_disk(cluster):
    """The others carry on: a put that waits for the slow disk gives it up at its deadline and goes elsewhere."""
    limit = IoLimit("trilith-test-slow", process_of(cluster, "node2"), cluster.disks["node2"].mount_point,
                    SLOW_BYTES_PER_SECOND)
    workload = cluster.workload
    try:
        workload.start()
        try:
            slowest = put_some(cluster, 8, MIB, SLOW_PUT_SECONDS_MAX)
            workload.wait_for_progress(40)
        finally:
            limit.lift()
            workload.stop()
    finally:
        limit.remove()
    cluster.wait_healthy()
    workload.check_all()
    print(f"# one disk of {SLOW_BYTES_PER_SECOND >> 10} KiB/s: the slowest put of 1 MiB took {slowest:.1f} s", flush=True)


def copy_block(source, source_offset, target, target_offset):
    """What a disk leaves that writes a block to the wrong place, seen by direct reads too."""
    with open(source, "rb") as file:
        file.seek(source_offset)
        block = file.read(BLOCK)
    descriptor = os.open(target, os.O_RDWR)
    try:
        before = os.pread(descriptor, BLOCK, target_offset)
        os.pwrite(descriptor, block, target_offset)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    expect(len(before) == BLOCK and before != block, "nothing was misplaced")
    return before


def restore_block(target, offset, block):
    descriptor = os.open(target, os.O_RDWR)
    try:
        os.pwrite(descriptor, block, offset)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def misplaced_blocks(cluster):
    """Blocks of a live node's segments in place of others: of the same chunk, of another one, of another node's
    copy of another object. Whoever reads gets the right bytes from the other copies."""
    client = cluster.s3()
    bodies = {name: cluster.chance.randbytes(2 * MIB) for name in ("misplaced-a", "misplaced-b")}
    for name, body in bodies.items():
        client.put(BUCKET, name, body)
    one, other = (cluster.json("locate", f"{BUCKET}/{name}")["chunks"][0]["copies"] for name in bodies)
    for number, copy in enumerate(one):
        target = copy["offset"] + BLOCK * cluster.chance.randrange(1, 200)
        source = [copy, other[0], other[1]][number]
        block = copy_block(source["segment"], source["offset"] + BLOCK * cluster.chance.randrange(200, 400),
                           copy["segment"], target)
        for gateway in range(len(cluster.endpoints)):
            for name, body in bodies.items():
                found = cluster.s3(first=gateway).get(BUCKET, name)
                expect(found == body, f"{name} came back different through gateway {gateway + 1}")
        restore_block(copy["segment"], target, block)
    # A whole batch header in the wrong place: right in itself, it must not be believed there.
    copy = one[0]
    header = header_before(copy)
    misplaced = header_before(other[0])
    block = copy_block(other[0]["segment"], misplaced, copy["segment"], header)
    for gateway in range(len(cluster.endpoints)):
        for name, body in bodies.items():
            expect(cluster.s3(first=gateway).get(BUCKET, name) == body, f"{name} came back different")
    restore_block(copy["segment"], header, block)

    def reported():
        return sum(disk["corrupt_found"] for disk in cluster.json("disk", "list")["disks"]) > 0

    wait_for("a report of a misplaced block", 30, reported)
    for name in bodies:
        client.delete(BUCKET, name)


def header_before(copy):
    """Where the batch header before this payload stands, found by its magic."""
    with open(copy["segment"], "rb") as file:
        for offset in range(copy["offset"] - BLOCK, 0, -BLOCK):
            file.seek(offset)
            if file.read(4) == b"TLB1":
                return offset
    raise AssertionError("no batch header before the payload")


def fill(cluster):
    """Put until the cluster says that there is no room."""
    client = cluster.s3(timeout_s=60)
    while True:
        body = cluster.chance.randbytes(BODY_BYTES)
        name = f"filled-{cluster.put_count:04}"
        cluster.put_count += 1
        try:
            client.put(BUCKET, name, body, attempts=1)
        except S3Error as error:
            return error
        cluster.filled[name] = body
        expect(len(cluster.filled) < 3 * sum(IMAGE_BYTES.values()) // BODY_BYTES, "no end of room")


def check_filled(cluster):
    client = cluster.s3()
    for name, body in cluster.filled.items():
        expect(client.get(BUCKET, name) == body, f"{name} came back different")


def full_disks_refuse_puts_and_nothing_else(cluster):
    error = fill(cluster)
    fullest = {name: disk.free_bytes() >> 20 for name, disk in cluster.disks.items()}
    expect(error.status == 507 and error.code == "InsufficientStorage", f"{error}, MiB free: {fullest}")
    print(f"# {len(cluster.filled)} objects of {BODY_BYTES >> 20} MiB fitted; MiB free on the disks: {fullest}", flush=True)
    # The smallest disk alone, less what is kept for erasing and the workload's objects, would have ended it earlier.
    expect(len(cluster.filled) > IMAGE_BYTES["node4"] // BODY_BYTES // 2, f"only {len(cluster.filled)} objects fitted")
    check_filled(cluster)


def deletes_on_full_disks_give_the_room_back(cluster):
    client = cluster.s3()
    before = len(cluster.filled)
    for name in list(cluster.filled)[: 2 * before // 3]:
        client.delete(BUCKET, name)
        del cluster.filled[name]

    def wiped():
        return not cluster.json("erase", "list", "--open")["erasures"]

    wait_for("wipes on full disks", 60, wiped)
    check_filled(cluster)
    body = cluster.chance.randbytes(BODY_BYTES)

    def fits():
        try:
            client.put(BUCKET, "again", body)
        except S3Error as error:
            expect(error.status >= 500, str(error))
            return False
        return True

    wait_for("room for a put", 60, fits)
    expect(client.get(BUCKET, "again") == body, "what was put after the deletes came back different")
    for number in range(before // 3):
        name = f"refilled-{number:04}"
        cluster.filled[name] = cluster.chance.randbytes(BODY_BYTES)
        client.put(BUCKET, name, cluster.filled[name])
    check_filled(cluster)


def restarts_on_full_disks(cluster):
    fill(cluster)
    cluster.kill("all")
    cluster.up()
    cluster.wait_healthy()
    check_filled(cluster)
    cluster.workload.check_all()
    client = cluster.s3()
    for name in list(cluster.filled) + ["again"]:
        client.delete(BUCKET, name)
    cluster.workload.wait_wiped()


SCENARIOS = [
    one_slow_disk,
    misplaced_blocks,
    full_disks_refuse_puts_and_nothing_else,
    deletes_on_full_disks_give_the_room_back,
    restarts_on_full_disks,
]
