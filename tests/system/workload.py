"""workload.py - client threads that put, overwrite, read and delete, and the model of what they may see.

Each key belongs to one thread, so its history is a line. The model keeps, per key, the contents that a read may find
(None: no object): one after an acknowledged write or delete, two after one whose outcome is unknown. A key with an
unknown outcome is never written again: what is in flight then may still arrive at any time, as any unanswered request
may. A read that finds the newer of the two settles it. Everything else that a read finds breaks a promise:

  an acknowledged object reads back identical, or is said to be unavailable; never other bytes, never a part as a whole
  what was deleted or overwritten never comes back"""
import hashlib
import http.client
import random
import threading

from cluster import Failed, expect, wait_for

KIB, MIB = 1 << 10, 1 << 20
BUCKET = "workload"
SIZES = (0, 1, 4096, 4097, 64 * KIB, 64 * KIB + 1, 300 * KIB, 4 * MIB + 1)
CHUNK_BYTES = 4 * MIB
AVAILABLE_SECONDS_MAX = 10


class Content:
    def __init__(self, body):
        self.digest = hashlib.sha256(body).digest()
        self.size = len(body)

    def is_body(self, body):
        return len(body) == self.size and hashlib.sha256(body).digest() == self.digest


class Key:
    """What reads of one key may find, oldest first."""

    def __init__(self):
        self.possible = [None]

    def is_settled(self):
        return len(self.possible) == 1

    def attempt(self, content, acknowledged):
        if acknowledged:
            self.possible = [content]
        elif self.possible[-1] is not content:
            self.possible.append(content)

    def observe(self, body):
        """False: this may not have been read."""
        for number in reversed(range(len(self.possible))):
            content = self.possible[number]
            if (content is None) if body is None else (content is not None and content.is_body(body)):
                self.possible = self.possible[number:]
                return True
        return False


class Client:
    """One thread, its keys, and what it saw that it should not have."""

    def __init__(self, workload, number):
        self.workload = workload
        self.number = number
        self.chance = random.Random(f"{workload.seed} {number}")
        self.s3 = workload.cluster.s3(first=number % len(workload.cluster.endpoints), timeout_s=workload.timeout_s)
        self.keys = {}
        self.counts = {"put": 0, "get": 0, "delete": 0, "unanswered": 0, "unavailable": 0}
        self.violations = []

    def once(self, method, name, body=b""):
        """The status of one attempt, 0 when the gateway gave no whole answer; and the body."""
        try:
            status, _, content = self.s3.once(method, BUCKET, name, body)
        except (OSError, http.client.HTTPException):
            status, content = 0, b""
        if status == 0 or status >= 500:
            self.s3.next_gateway()
        return status, content

    def put(self, name):
        key = self.keys.setdefault(name, Key())
        body = self.chance.randbytes(self.chance.choice(self.workload.sizes))
        status, _ = self.once("PUT", name, body)
        key.attempt(Content(body), status == 200)
        self.counts["put" if status == 200 else "unanswered"] += 1

    def delete(self, name):
        status, _ = self.once("DELETE", name)
        self.keys[name].attempt(None, status == 204)
        self.counts["delete" if status == 204 else "unanswered"] += 1

    def get(self, name):
        """Read and judge. False: not available now."""
        status, body = self.once("GET", name)
        if status == 200 or status == 404:
            self.counts["get"] += 1
            if not self.keys[name].observe(body if status == 200 else None):
                self.violations.append(f"{name}: {self.describe(name)} expected, found "
                                       f"{len(body) if status == 200 else 'none'}")
        else:
            self.counts["unavailable"] += 1
            expect(status == 0 or status >= 500, f"{name}: status {status}: {body[:200]}")
            return False
        return True

    def describe(self, name):
        return " or ".join("none" if content is None else str(content.size) for content in self.keys[name].possible)

    def step(self):
        settled = [name for name, key in self.keys.items() if key.is_settled()]
        live = [name for name in settled if self.keys[name].possible[0] is not None]
        if self.chance.random() < 0.05:
            self.s3.next_gateway()
        dice = self.chance.random()
        if (dice < 0.35 and len(live) < self.workload.live_max) or not live:
            self.put(f"client-{self.number}/object-{len(self.keys):05}")
        elif dice < 0.50:
            self.put(self.chance.choice(live))
        elif dice < 0.65:
            self.delete(self.chance.choice(live))
        else:
            self.get(self.chance.choice(list(self.keys)))

    def run(self):
        try:
            while not self.workload.stopped.is_set():
                before = self.counts["unanswered"] + self.counts["unavailable"]
                self.step()
                if self.counts["unanswered"] + self.counts["unavailable"] > before:
                    self.workload.stopped.wait(0.05)  # a client's pause after an error, not a wait for something
        except Exception as problem:  # it ends this thread, and the check after it tells
            self.violations.append(f"{type(problem).__name__}: {problem}")


class Workload:
    def __init__(self, cluster, seed, clients=4, sizes=SIZES, timeout_s=15, live_max=1000):
        self.cluster = cluster
        self.seed = seed
        self.sizes = sizes
        self.timeout_s = timeout_s
        self.live_max = live_max  # objects per client: where room is short
        self.stopped = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]
        self.threads = []
        if BUCKET not in cluster.trilith("bucket", "list"):
            cluster.s3().create_bucket(BUCKET)

    def start(self):
        self.stopped.clear()
        self.threads = [threading.Thread(target=client.run, daemon=True) for client in self.clients]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(4 * self.timeout_s)
            expect(not thread.is_alive(), "a client hangs")
        self.check_violations()

    def count(self, what):
        return sum(client.counts[what] for client in self.clients)

    def counts(self):
        return {what: self.count(what) for what in self.clients[0].counts}

    def wait_for_progress(self, operations=20, timeout_s=60, what=("put", "get", "delete")):
        """Wait until so many more operations were answered."""
        before = sum(self.count(one) for one in what)

        def answered():
            self.check_violations()
            return sum(self.count(one) for one in what) >= before + operations

        wait_for(f"{operations} answered operations", timeout_s, answered)

    def check_violations(self):
        found = [text for client in self.clients for text in client.violations]
        expect(not found, f"seed {self.seed}: {len(found)} broken promises: {'; '.join(found[:5])}")

    def check_all(self, gateways=None):
        """With everything healed: every key is available, through each of these gateways, and as the model says."""
        for client in self.clients:
            for gateway in gateways or [client.number % len(self.cluster.endpoints)]:
                client.s3.close()
                client.s3.current = gateway
                for name in client.keys:
                    # A connection that died in silence costs a first request its deadline, also after healing.
                    wait_for(f"{name} to be available", AVAILABLE_SECONDS_MAX, lambda: client.get(name))
        self.check_violations()

    def live_chunks(self):
        """After check_all(): what a read finds last is what there is, unless a request is still under way."""
        return sum(-(-key.possible[0].size // CHUNK_BYTES)
                   for client in self.clients for key in client.keys.values() if key.possible[0] is not None)

    def wait_wiped(self, timeout_s=60):
        """No erasure is open and the disks hold three copies of every live chunk, nothing else."""
        seen = []

        def clean():
            open_erasures = len(self.cluster.json("erase", "list", "--open")["erasures"])
            disks = {disk["node"]: disk["chunks"] for disk in self.cluster.json("disk", "list")["disks"]}
            # Asked anew: an unanswered request may have arrived in the meantime.
            self.check_all()
            expected = 3 * self.live_chunks()
            seen[:] = [f"{open_erasures} erasures open, copies: {disks}, {expected} expected"]
            return open_erasures == 0 and sum(disks.values()) == expected

        try:
            wait_for("every wipe to be done", timeout_s, clean)
        except Failed as problem:
            raise Failed(f"{problem}: {seen}") from problem
