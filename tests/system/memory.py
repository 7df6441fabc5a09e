"""memory - keys in the memory of real daemons: guarded while they are in use, and gone when they are not.

As root, the test reads all memory of each process and looks for what it knows: the tenant's data key, an object's leaf,
object key and chunk keys, an S3 secret, the master key. In use they stand in memory that is locked and left out of core
dumps, and nowhere else. After the lease they stand nowhere in a node; after the erasure the leaf stands nowhere at all.

The object's keys are computed here by the second implementation of tests/vectors/check.py, not by the product."""
import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import resource
import signal
import time

import residue
from cluster import Cluster, Skip, expect, wait_for

KIB, MIB = 1 << 10, 1 << 20
PAGE, BLOCK = 4 * KIB, 2 * MIB
KEY_BYTES = 32
LEASE_S = 3
IDLE_S = 20  # within this a process without requests has swept what outlived its lease
VICTIM_BYTES = 6 * MIB  # more than one chunk


# ---- reading a process --------------------------------------------------------------------------


def mappings(pid):
    """(start, end, flags, name) of what can be read and holds anything."""
    found, text = [], pathlib.Path(f"/proc/{pid}/smaps").read_text()
    for entry in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text):
        head = entry.split("\n", 1)[0].split(None, 5)
        start, end = (int(number, 16) for number in head[0].split("-"))
        held = sum(int(size) for size in re.findall(r"^(?:Rss|Swap): +(\d+) kB", entry, re.M))
        flags = re.search(r"^VmFlags:(.*)$", entry, re.M).group(1).split()
        if head[1].startswith("r") and held > 0:
            found.append((start, end, flags, head[5] if len(head) > 5 else "anonymous memory"))
    return found


def held_blocks(pagemap, start, end):
    """Blocks of a mapping with at least one page in memory or swap. The top byte of an entry tells."""
    for at in range(start, end, BLOCK):
        bytes_here = min(BLOCK, end - at)
        entries = os.pread(pagemap, bytes_here // PAGE * 8, at // PAGE * 8)
        if entries[7::8].strip(b"\0"):
            yield at, bytes_here


def places(cluster, name, secrets):
    """Where in a process any of the secrets ({what: bytes}) stands: (what, address, flags, mapping)."""
    pid, found, total = pid_of(cluster, name), [], 0
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    overlap = max(map(len, secrets.values())) - 1
    try:
        for start, end, flags, title in mappings(pid):
            for at, size in held_blocks(pagemap, start, end):
                begin = max(start, at - overlap)
                try:
                    data = os.pread(memory, at + size - begin, begin)
                except OSError:
                    continue  # the kernel's own pages, or gone meanwhile
                total += len(data)
                found += [(what, hex(begin + data.find(secret)), flags, title)
                          for what, secret in secrets.items() if secret in data]
    finally:
        os.close(memory)
        os.close(pagemap)
    expect(total > 4 * MIB, f"only {total} bytes of {name} could be read")
    return found


def pid_of(cluster, name):
    return int((cluster.dir / "run" / f"{name}.pid").read_text())


def expect_guarded(cluster, name, found):
    """Locked, too, unless the daemon said that it could not be."""
    wanted = {"dd"} if "key_memory_unlocked" in cluster.log(name) else {"dd", "lo"}
    bad = [place for place in found if not wanted <= set(place[2])]
    expect(not bad, f"{name}: outside of guarded memory: {bad}")


def expect_gone(cluster, name, secrets):
    last = []

    def gone():
        last[:] = places(cluster, name, secrets)
        return not last

    try:
        wait_for("gone", IDLE_S, gone)
    except Exception:
        expect(False, f"{name}: still there after {IDLE_S} s: {last}")


# ---- what is looked for, and what might leave it behind ------------------------------------------


def signing_keys(client):
    """What Signature Version 4 derives from the secret, step by step; the last one signs for a day."""
    day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d")
    key, found = ("AWS4" + client.secret_key).encode(), {}
    for part in (day, client.region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        found[f"signing key of {part}"] = key
    return found


def secrets_of(cluster):
    """All that opens the object, as it is sealed now, and what lets a client in."""
    victim = residue.read_as_a_gateway(cluster, "victim")
    _, object_key, chunk_keys = residue.derive(residue.vectors(), victim)
    expect(len(chunk_keys) >= 2, f"{len(chunk_keys)} chunks")
    found = {"data key": victim["dek"], "leaf": victim["leaf"], "object key": object_key,
             "S3 secret": cluster.env["AWS_SECRET_ACCESS_KEY"].encode()[:KEY_BYTES], **signing_keys(cluster.s3())}
    return found | {f"chunk key {number}": key for number, key in enumerate(chunk_keys)}


def leave_in_the_middle(client, method, key, body=b""):
    """Begin a request with the client's current gateway and go away before it is over."""
    target, headers = client.prepare(method, "vault", key, body=body)
    connection = http.client.HTTPConnection(client.endpoints[client.current], timeout=client.timeout_s)
    if method == "GET":
        connection.request(method, target, headers=headers)
        expect(len(connection.getresponse().read(64 * KIB)) == 64 * KIB, "no answer")
    else:
        connection.request(method, target, body=body[: len(body) // 2],
                           headers={**headers, "content-length": str(len(body))})
    connection.close()


def work(cluster, number):
    """Whatever needs keys, at one gateway; the last request is a read that succeeds."""
    client = cluster.s3(first=number)
    client.put("vault", f"other-{number}", cluster.body[: 100 * KIB])
    client.get("vault", "victim", extra={"range": "bytes=5000000-5000999"})
    leave_in_the_middle(client, "GET", "victim")
    leave_in_the_middle(client, "PUT", "unfinished", cluster.body)
    forger = cluster.s3(first=number)
    forger.secret_key = forger.secret_key[::-1]
    expect(forger.once("GET", "vault", "victim")[0] == 403, "a wrong secret was let in")
    expect(client.get("vault", "victim") == cluster.body, "not what was written")


# ---- scenarios ----------------------------------------------------------------------------------


def open_cluster():
    if os.geteuid() != 0:
        raise Skip("needs root, to read the memory of other processes")
    cluster = Cluster("release", nodes=3, disk_size="256 MiB", options=[
        "meta.epoch=24h", f"meta.key_lease={LEASE_S}s", "meta.dek_retire=2s", "disk.segment_size=16 MiB",
        "disk.prewrite_segments=1"])
    cluster.trilith("bucket", "create", "vault")
    cluster.body = residue.body_of(1, VICTIM_BYTES)
    cluster.s3().put("vault", "victim", cluster.body)
    cluster.secrets = secrets_of(cluster)
    return cluster


def keys_in_use_are_guarded(cluster):
    for number, name in enumerate(cluster.nodes):
        work(cluster, number)
        begin = time.monotonic()
        found = places(cluster, name, cluster.secrets)
        seconds = time.monotonic() - begin
        expect_guarded(cluster, name, found)
        what = {place[0] for place in found}
        is_in_lease = seconds < LEASE_S / 2
        expect(not is_in_lease or {"data key", "S3 secret"} <= what, f"{name}: only {what} is found: is it looked for?")
        expect("leaf" not in what, f"{name}: the leaf outlived its object: {found}")


def an_idle_node_holds_no_key(cluster):
    for name in cluster.nodes:
        expect_gone(cluster, name, cluster.secrets)


def the_metadata_server_holds_its_master_key_alone_and_guarded(cluster):
    text = (cluster.dir / "key/cmk").read_bytes()
    master = bytes.fromhex(text.decode()) if len(text) > KEY_BYTES else text
    name = cluster.json("key", "show")["cmk"]["name"].removeprefix("file:")
    cmk = residue.vectors().blake2b(master, b"TRLsub1" + f"cmk {name}".encode())
    found = places(cluster, "meta1", {"master key": master, "CMK": cmk})
    expect("master key" in {place[0] for place in found}, f"the master key is not found where it must be: {found}")
    expect_guarded(cluster, "meta1", found)
    expect_gone(cluster, "meta1", cluster.secrets)


def a_data_key_that_was_rotated_out_is_nowhere(cluster):
    """The nodes read what it sealed and sealed it again, under another leaf too."""
    before = cluster.secrets
    cluster.json("key", "rotate")
    wait_for("the old data key destroyed", 60, lambda: [
        key["state"] for key in cluster.json("key", "show")["data_keys"] if key["version"] == 1] == ["destroyed"])
    for name in ["meta1", *cluster.nodes]:
        expect_gone(cluster, name, before)
    cluster.secrets = secrets_of(cluster)
    expect(cluster.secrets["leaf"] != before["leaf"] and cluster.secrets["data key"] != before["data key"], "the same")


def an_erased_leaf_is_nowhere(cluster):
    erasure = cluster.json("rm", "vault/victim")["erasure"]
    closed = cluster.json("erase", "now")
    expect(closed["leaves_erased"] >= 1, f"{closed}")
    ended = cluster.json("erase", "wait", erasure, "--timeout", 60)
    expect(ended["state"] == "closed" and ended["keys"] == "destroyed", f"{ended}")
    for name in ["meta1", *cluster.nodes]:
        expect_gone(cluster, name, cluster.secrets)


def a_crash_leaves_no_core_dump(cluster):
    for name in ["node3", "meta1"]:
        pid = pid_of(cluster, name)
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        expect(re.search(r"^Max core file size +0 +0 ", limits, re.M), f"{name}: {limits}")
        directory = pathlib.Path(os.readlink(f"/proc/{pid}/cwd"))
        before = set(directory.glob("*core*"))
        try:
            # Somebody lifts the limit: it is not the only guard.
            resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (PermissionError, ValueError):
            print(f"# {name}: this machine does not let root lift the limit of a process", flush=True)
        os.kill(pid, signal.SIGSEGV)
        wait_for(f"the end of {name}", 10, lambda: not pathlib.Path(f"/proc/{pid}/maps").exists()
                 or not pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        expect(set(directory.glob("*core*")) == before, f"{name} left a core dump in {directory}")
        cluster.start(name)
    cluster.wait_healthy()


SCENARIOS = [
    keys_in_use_are_guarded,
    an_idle_node_holds_no_key,
    the_metadata_server_holds_its_master_key_alone_and_guarded,
    a_data_key_that_was_rotated_out_is_nowhere,
    an_erased_leaf_is_nowhere,
    a_crash_leaves_no_core_dump,
]
