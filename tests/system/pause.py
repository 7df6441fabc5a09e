"""pause - nodes and the metadata service stopped by SIGSTOP, for less and for longer than a lease, under load.

A stopped process does not know how long it slept: what waits in its sockets is older than it thinks. A node that wakes
after its lease must not take a write on it, for the others may count on it being gone."""
import os
import random
import signal
import socket
import struct
import time

from cluster import Cluster, expect, wait_for
from workload import BUCKET, Workload
import wire

SEED = 12
LEASE_MS = 4000
SHORT_MS = 3000
STATUS_OK = 0
UNIT_SEAL_BYTES = 24
OPTIONS = [
    f"meta.node_lease={LEASE_MS}ms",
    "node.orphan_after=4s",
    "timeouts.chunk_write=2s",
    "timeouts.chunk_read=1s",
    "timeouts.meta_call=1s",
]


def open_cluster():
    cluster = Cluster("release", disk_size="2 GiB", options=OPTIONS)
    cluster.workload = Workload(cluster, SEED)
    return cluster


def node_of(cluster, name):
    return next(node for node in cluster.json("status")["nodes"] if node["name"] == name)


def wait_silent(cluster, name, milliseconds):
    """Until the metadata service has not heard the node for so long: the length of a pause, by the service's clock."""
    wait_for(f"{name} silent", 60, lambda: node_of(cluster, name)["last_seen_ms"] >= milliseconds)


def pauses_shorter_than_the_lease(cluster):
    workload = cluster.workload
    workload.start()
    try:
        for name in ("node1",):
            workload.wait_for_progress()
            cluster.local("pause", name)
            wait_silent(cluster, name, SHORT_MS)
            cluster.local("resume", name)
            workload.wait_for_progress()
    finally:
        cluster.local("resume", "node1")
        workload.stop()
    cluster.wait_healthy()
    workload.check_all()


def pauses_longer_than_the_lease(cluster):
    workload = cluster.workload
    workload.start()
    try:
        for name in ("node2",):
            workload.wait_for_progress()
            cluster.local("pause", name)
            wait_for(f"{name} without a lease", 30, lambda: node_of(cluster, name)["state"] != "up")
            # Three nodes are left: what goes on goes on without this one.
            workload.wait_for_progress(what=("put", "delete"))
            cluster.local("resume", name)
            cluster.wait_up(cluster.nodes)
    finally:
        cluster.local("resume", "node2")
        workload.stop()
    cluster.wait_healthy()
    workload.check_all()


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def put_frame(pg, disk_id, epoch, chance):
    """A chunk put as a gateway sends it (message ChunkPutRequest, proto/wire.proto): one unit of noise, rightly summed."""
    chunk_id, payload, tag_and_crc = chance.randbytes(16), chance.randbytes(4096), chance.randbytes(20)
    tag, sealed_crc = tag_and_crc[:16], tag_and_crc[16:]
    crc = struct.pack("<I", wire.crc32c(payload + sealed_crc + tag))
    message = b"\x0a" + varint(len(chunk_id)) + chunk_id
    for field, number in ((2, pg), (3, disk_id), (4, epoch), (5, 1), (6, len(payload))):
        message += varint(field << 3) + varint(number)
    message += b"\x3a" + varint(UNIT_SEAL_BYTES) + tag + sealed_crc + crc + b"\x40" + varint(1)
    return wire.frame(1, message, payload, deadline=60000)


def answer(connection):
    header = b""
    while len(header) < 48:
        piece = connection.recv(48 - len(header))
        if not piece:
            return None
        header += piece
    return wire.status_of(header)


def a_write_that_waited_is_not_taken_on_a_lease_that_ended(cluster):
    """A put that lies in the socket of a stopped node. What the node says when it wakes, before it has heard from the
    metadata service, must be no."""
    chance = random.Random(SEED)
    cluster.s3().put(BUCKET, "whose-group", b"x" * 100)
    chunk = cluster.json("locate", f"{BUCKET}/whose-group")["chunks"][0]
    name = chunk["copies"][0]["node"]
    disk_id = node_of(cluster, name)["disks"][0]["id"]
    epoch = cluster.json("status")["map_epoch"]
    frame = put_frame(chunk["pg"], disk_id, epoch, chance)
    process = int((cluster.dir / "run" / f"{name}.pid").read_text())
    with socket.create_connection(("127.0.0.1", cluster.port(name)), timeout=30) as connection:
        connection.sendall(frame)
        expect(answer(connection) == STATUS_OK, "a put like a gateway's is not taken from a test")
        # Without the metadata service it can't get a new lease before it answers.
        cluster.local("pause", "meta1")
        os.kill(process, signal.SIGSTOP)
        try:
            connection.sendall(put_frame(chunk["pg"], disk_id, epoch, chance))
            over = time.monotonic() + LEASE_MS / 1000 + 0.5
            wait_for("the lease to end", 60, lambda: time.monotonic() > over)
        finally:
            os.kill(process, signal.SIGCONT)
        said = answer(connection)
        cluster.local("resume", "meta1")
    expect(said != STATUS_OK, f"{name} took a write on a lease that ended while it was stopped")
    cluster.wait_up(cluster.nodes)
    cluster.wait_healthy()


def the_metadata_service_pauses(cluster):
    """For longer than every lease. Nothing is answered that it had to know about; then all goes on."""
    workload = cluster.workload
    workload.start()
    try:
        workload.wait_for_progress()
        cluster.local("pause", "meta1")
        over = time.monotonic() + LEASE_MS / 1000 + 0.5
        wait_for("the leases to end", 60, lambda: time.monotonic() > over)
        cluster.local("resume", "meta1")
        cluster.wait_up(cluster.nodes)
        workload.wait_for_progress()
    finally:
        cluster.local("resume", "meta1")
        workload.stop()
    cluster.wait_healthy()
    workload.check_all()


def everything_deleted_is_wiped(cluster):
    cluster.s3().delete(BUCKET, "whose-group")
    cluster.workload.wait_wiped()
    print(f"# {cluster.workload.counts()}", flush=True)


SCENARIOS = [
    pauses_shorter_than_the_lease,
    pauses_longer_than_the_lease,
    a_write_that_waited_is_not_taken_on_a_lease_that_ended,
    the_metadata_service_pauses,
    everything_deleted_is_wiped,
]
