"""damage - flipped bytes in one copy never change what a client reads and are reported; in all three, the client gets
an error and no wrong bytes. With sanitizers on."""
import os
import random
import re
import shutil
import subprocess

from cluster import Cluster, expect, wait_for

KIB, MIB = 1 << 10, 1 << 20
SIZE = 5 * MIB + 321
SEED = 7
REPORTS = re.compile(r" (chunk_corrupt|replica_mismatch|record_corrupt|batch_corrupt|segment_corrupt|[a-z_]*corrupt[a-z_]*) ")


def open_cluster():
    cluster = Cluster("asan", disk_size="2 GiB")
    cluster.body = random.Random(SEED).randbytes(SIZE)
    client = cluster.s3()
    client.create_bucket("damage")
    for number in range(6):
        client.put("damage", f"object-{number}", cluster.body)
    # A close in good order writes down how far the log is durable. A last batch that rots before anything on the disk
    # says that it was durable can't be told from a torn write: its copy would be given up, as it must be.
    cluster.local("down")
    cluster.up()
    cluster.wait_healthy()
    return cluster


def flip(path, offset):
    """Change one byte of a file, durably, so that reads that pass the page cache see it too."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        byte = os.pread(descriptor, 1, offset)
        os.pwrite(descriptor, bytes([byte[0] ^ 0x40]), offset)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def read_at_every_gateway(cluster, key):
    for number in range(len(cluster.endpoints)):
        body = cluster.s3(first=number).get("damage", key)
        expect(body == cluster.body, f"{key} through gateway {number + 1} came back different")


def corrupt_count(cluster):
    return sum(disk["corrupt_found"] for disk in cluster.json("disk", "list")["disks"])


def reports(cluster):
    return sum(len(REPORTS.findall(cluster.log(name))) for name in cluster.nodes)


def flipped_payload_of_one_copy(cluster):
    chance = random.Random(SEED)
    for round_number in range(3):
        chunk = cluster.json("locate", "damage/object-0")["chunks"][0]
        copy = chunk["copies"][round_number]
        offset = copy["offset"] + chance.randrange(copy["length"])
        flip(copy["segment"], offset)
        read_at_every_gateway(cluster, "object-0")
        disk = os.path.dirname(copy["segment"])
        expect(cluster.trilith("disk", "inspect", disk, fails=1), "inspect says nothing")
        flip(copy["segment"], offset)
    wait_for("a report of the damage", 30, lambda: corrupt_count(cluster) > 0 or reports(cluster) > 0)


def flipped_record_header_of_one_copy(cluster):
    """The batch header in front of the payload: open must cut nothing else off, and readers get the other copies."""
    copy = cluster.json("locate", "damage/object-1")["chunks"][0]["copies"][0]
    disk = os.path.dirname(copy["segment"])
    offset = header_offset(copy)
    flip(copy["segment"], offset)
    read_at_every_gateway(cluster, "object-1")
    cluster.trilith("disk", "inspect", disk, fails=1)
    cluster.kill(copy["node"])
    cluster.start(copy["node"])
    cluster.wait_healthy()
    for number in range(6):
        read_at_every_gateway(cluster, f"object-{number}")
    flip(copy["segment"], offset)


def header_offset(copy):
    """Some byte of the batch header before this payload, found by its magic."""
    with open(copy["segment"], "rb") as file:
        for offset in range(copy["offset"] - 4096, 0, -4096):
            file.seek(offset)
            if file.read(4) == b"TLB1":
                return offset + 85
    raise AssertionError("no batch header before the payload")


def flipped_segment_header_of_one_copy(cluster):
    copy = cluster.json("locate", "damage/object-2")["chunks"][0]["copies"][1]
    disk = os.path.dirname(copy["segment"])
    flip(copy["segment"], 40)
    read_at_every_gateway(cluster, "object-2")
    cluster.trilith("disk", "inspect", disk, fails=1)
    flip(copy["segment"], 40)


def flipped_block_in_every_region(cluster):
    """One byte of a copy at a time, from first to last unit, each read whole and by a range over it."""
    chance = random.Random(SEED + 1)
    chunk = cluster.json("locate", "damage/object-3")["chunks"][0]
    for unit in range(0, chunk["length"] // (64 * KIB), 7):
        copy = chunk["copies"][unit % 3]
        offset = unit * 64 * KIB + chance.randrange(64 * KIB)
        flip(copy["segment"], copy["offset"] + offset)
        client = cluster.s3(first=unit % len(cluster.endpoints))
        part = client.get("damage", "object-3", extra={"range": f"bytes={offset}-{offset}"})
        expect(part == cluster.body[offset : offset + 1], f"byte {offset} came back different")
        flip(copy["segment"], copy["offset"] + offset)
    read_at_every_gateway(cluster, "object-3")


def all_three_damaged_is_an_error(cluster):
    chunk = cluster.json("locate", "damage/object-4")["chunks"][1]
    at = 100 * KIB
    for copy in chunk["copies"]:
        flip(copy["segment"], copy["offset"] + at)
    target = cluster.dir / "damaged"
    cluster.trilith("get", "damage/object-4", target, fails=1)
    expect(not target.exists(), "a damaged object was given a name")
    expect(not list(cluster.dir.glob(".trilith-get-*")), "a temporary file was left")
    # What stands before the damage may be read; what was sent must be right.
    before = cluster.s3().get("damage", "object-4", extra={"range": f"bytes=0-{4 * MIB - 1}"})
    expect(before == cluster.body[: 4 * MIB], "the undamaged part came back different")
    for copy in chunk["copies"][:1]:
        flip(copy["segment"], copy["offset"] + at)
    read_at_every_gateway(cluster, "object-4")


def lost_indexes_lose_nothing(cluster):
    """RocksDB is gone on every node, after a power cut: the segments say it all. So does --rebuild-index."""
    cluster.kill("all")
    for name in cluster.nodes:
        for index in (cluster.dir / name / "state").glob("index-*"):
            shutil.rmtree(index)
    cluster.up()
    cluster.wait_healthy()
    for number in (0, 1, 2, 3, 5):
        read_at_every_gateway(cluster, f"object-{number}")

    cluster.local("down")
    for name in cluster.nodes:
        rebuilding = subprocess.Popen(
            [cluster.bin / "trilith-node", "--config", cluster.dir / f"{name}.conf", "--rebuild-index"],
            stderr=subprocess.PIPE, text=True)
        wait_for_line(rebuilding.stderr, "store_recovered")
        rebuilding.terminate()
        rebuilding.communicate(timeout=60)
    cluster.up()
    cluster.wait_healthy()
    for number in (0, 1, 2, 3, 5):
        read_at_every_gateway(cluster, f"object-{number}")
    # Also the copy that a start had to leave out while its header was damaged, above.
    copies = sum(disk["chunks"] for disk in cluster.json("disk", "list")["disks"])
    expect(copies == 6 * 2 * 3, f"{copies} copies on the disks, of six objects of two chunks")


def wait_for_line(stream, word):
    for line in stream:
        if word in line:
            expect("rebuilt=1" in line, f"the index was not rebuilt: {line.strip()}")
            return
    raise AssertionError(f"the process ended without saying {word}")


SCENARIOS = [
    flipped_payload_of_one_copy,
    flipped_record_header_of_one_copy,
    flipped_segment_header_of_one_copy,
    flipped_block_in_every_region,
    all_three_damaged_is_an_error,
    lost_indexes_lose_nothing,
]
