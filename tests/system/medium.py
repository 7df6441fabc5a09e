"""medium - `trilith disk wipe` on loop devices and files: the whole medium is overwritten, read back and searched; killed at any
time it goes on; what must not be erased is refused; what went wrong is never called success. With sanitizers on."""
import base64
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile

from cluster import ROOT, Skip, expect, run

MIB = 1 << 20
SIZE = 160 * MIB
SEED = 4712
LABEL = b"TRLSEG1\0"


class Bench:
    """A directory with keys of two people, and loop devices that go away with it. It stands in for a cluster: none is needed."""

    def __init__(self):
        preset = pathlib.Path(os.environ.get("TRILITH_BIN") or ROOT / "build" / "asan" / "bin")
        self.program = preset / "trilith"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="medium-", dir=os.environ.get("TRILITH_TEST_DIR") or "/var/tmp"))
        self.loops = []
        for person in ("anna", "bert"):
            run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.dir / f"{person}.pem"])
            (self.dir / f"{person}.pem").chmod(0o600)

    def image(self, name, size=SIZE):
        """A file of random bytes with a disk of ours in it: a superblock, a segment, batches with sealed units."""
        path = self.dir / name
        chance = random.Random(SEED)
        with open(path, "wb") as file:
            for _ in range(size // MIB):
                file.write(chance.randbytes(MIB))
            file.seek(4 * MIB)
            file.write(LABEL)
            file.seek(3 * MIB)
            file.write(b"TRLSUP1\0" + bytes(8) + bytes(range(16)))
        return path

    def attach(self, path):
        done = run(["losetup", "--find", "--show", path])
        if done.returncode != 0:
            raise Skip(f"no loop device: {done.stderr}")
        self.loops.append(done.stdout.strip())
        return self.loops[-1]

    def detach(self, loop):
        run(["losetup", "--detach", loop])
        self.loops.remove(loop)

    def trilith(self, *arguments):
        return run([self.program, *arguments], 300)

    def wipe(self, device, state, *more):
        return self.trilith("disk", "wipe", device, "--state", self.dir / state, "--yes-erase", pathlib.Path(device).name, *more)

    def report(self, state):
        return json.loads((self.dir / f"{state}.report").read_text())

    def close(self):
        for loop in list(self.loops):
            self.detach(loop)
        shutil.rmtree(self.dir)

    discard = close


def open_cluster():
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        raise Skip("loop devices need root and losetup")
    return Bench()


def windows_of(path):
    data = path.read_bytes()
    chance = random.Random(SEED + 1)
    return [data[at : at + 16] for at in (chance.randrange(len(data) - 16) for _ in range(40))]


def refused(done, words):
    expect(done.returncode == 1 and words in done.stderr, f"{done.returncode}: {done.stderr} {done.stdout}")
    expect(done.stderr.count("\n") == 1, f"more than a line: {done.stderr}")


def a_plan_changes_nothing(bench):
    path = bench.image("plan", 8 * MIB)
    before = hashlib.sha256(path.read_bytes()).digest()
    loop = bench.attach(path)
    done = bench.trilith("disk", "wipe", loop, "--state", bench.dir / "plan-state", "--dry-run", "--json")
    expect(done.returncode == 0, done.stderr)
    plan = json.loads(done.stdout)
    expect(plan["technique"] == "overwrite" and plan["claim_if_all_goes_well"] == "clear", f"{plan}")
    expect(plan["media"]["hpa_dco"] is None and plan["media"]["serial"] is None, f"{plan['media']}")
    bench.detach(loop)
    expect(hashlib.sha256(path.read_bytes()).digest() == before, "the plan has changed the medium")
    expect(not (bench.dir / "plan-state").exists(), "the plan has left a state")


def what_must_not_be_erased_is_refused(bench):
    path = bench.image("refused", 16 * MIB)
    loop = bench.attach(path)
    refused(bench.trilith("disk", "wipe", loop, "--state", bench.dir / "r"), "--yes-erase")
    refused(bench.trilith("disk", "wipe", loop, "--state", bench.dir / "r", "--yes-erase", "loop77"), "--yes-erase")
    refused(bench.wipe(path, "r"), "detach it first")
    refused(bench.wipe(loop, "r", "--technique", "dod3"), "rotating")
    refused(bench.wipe(loop, "r", "--technique", "sanitize"), "no sanitize of its own")
    system = run(["findmnt", "--noheadings", "--output", "SOURCE", "/"]).stdout.strip()
    if system.startswith("/dev/"):
        refused(bench.wipe(system, "r", "--dry-run"), "runs from it")
    run(["mkfs.ext4", "-q", loop])
    mounted = bench.dir / "mounted"
    mounted.mkdir()
    if run(["mount", loop, mounted]).returncode == 0:
        refused(bench.wipe(loop, "r"), "mounted at")
        run(["umount", mounted])
    with open(loop, "rb"):
        holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
        refused(bench.wipe(loop, "r"), "for himself alone")
        os.close(holder)
    run(["mkswap", loop])
    if run(["swapon", loop]).returncode == 0:
        refused(bench.wipe(loop, "r"), "swap")
        run(["swapoff", loop])
    expect(bench.trilith("disk", "wipe", "--state", bench.dir / "r").returncode == 2, "no device")
    expect(not (bench.dir / "r").exists(), "a refusal has left a state")
    bench.detach(loop)


def killed_at_any_time_it_goes_on(bench):
    path = bench.image("killed")
    before = windows_of(path)
    loop = bench.attach(path)
    arguments = [bench.program, "disk", "wipe", loop, "--state", bench.dir / "k", "--yes-erase", pathlib.Path(loop).name]
    kills = 0
    for wanted in ("fingerprints", "chacha20", "chacha20", "read-back", "read-back"):
        process = subprocess.Popen([*map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase") == wanted and (event["event"] == "saved" or event["done"] == event["total"]):
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
    expect(kills >= 2, f"killed only {kills} times")
    done = bench.wipe(loop, "k", "--json")
    # The last of them may have come when all was done: then it says so, and does nothing.
    expect(done.returncode == 0 or "finished" in done.stderr, done.stderr)
    report = bench.report("k")
    expect(report["result"] == "ERASED" and report["sanitization"]["method"] == "clear", f"{report}")
    expect(report["sanitization"]["resumed_after_power_loss"] == kills, f"{kills}: {report['sanitization']}")
    expect(report["verification"]["type"] == "full" and report["verification"]["bytes"] == SIZE, f"{report['verification']}")
    expect(report["media"]["stores"] == [bytes(range(16)).hex()], f"{report['media']['stores']}")
    state = json.loads((bench.dir / "k").read_text())
    expect(state["seed"] is None and (bench.dir / "k").stat().st_mode & 0o777 == 0o600, "the seed is still there")
    bench.detach(loop)
    after = path.read_bytes()
    expect(LABEL not in after and b"TRLSUP1\0" not in after, "a label is still there")
    expect(not any(window in after for window in before), "something of before is still there")


def another_medium_has_another_state(bench):
    first, second = bench.image("one", 8 * MIB), bench.image("two", 12 * MIB)
    expect(bench.wipe(first, "s").returncode == 0, "the first one")
    before = second.read_bytes()
    refused(bench.wipe(second, "s"), "of another medium")
    expect(second.read_bytes() == before, "it was touched")


def flipped_bits_and_planted_residue_are_found(bench):
    """Stopped between the passes and the read-back, the medium is changed behind its back."""
    for name, change in (("flip", b"\xff"), ("label", LABEL), ("window", None)):
        path = bench.image(name, 64 * MIB)
        window = path.read_bytes()[:16]
        loop = bench.attach(path)
        expect(bench.wipe(loop, f"state-{name}").returncode == 0, "the wipe")
        # Back to before the read-back, with a seed that makes another stream: every block must differ, and be told.
        state = json.loads((bench.dir / f"state-{name}").read_text())
        state.update(phase=3, seed=state["check_seed"], finished_ms=0)
        state["check"] = {"next": 0, "samples": 0, "bytes": 0, "mismatch": 0, "zero": 0, "unreadable": 0, "places": []}
        planted = state["prints"]["other"][0][1]
        (bench.dir / f"state-{name}").write_text(json.dumps(state))
        with open(loop, "r+b") as device:
            device.seek(9 * MIB + 12345)
            device.write(change or bytes.fromhex(planted))
            os.fsync(device.fileno())
        done = bench.wipe(loop, f"state-{name}")
        expect(done.returncode == 1 and "NOT erased" in done.stderr, f"{name}: {done.stderr}")
        report = bench.report(f"state-{name}")
        scan = report["verification"]["residue_scan"]
        expect(report["result"] == "FAILED" and report["sanitization"]["method"] == "none", f"{name}: {report}")
        expect(report["verification"]["mismatch"] == 64 * MIB, f"{name}: {report['verification']}")
        expect(scan["label_hits"] == (1 if name == "label" else 0), f"{name}: {scan}")
        expect(scan["fingerprint_hits"] == (1 if name == "window" else 0), f"{name}: {scan}")
        expect(name == "flip" or scan["places"] == [9 * MIB + 12345], f"{name}: {scan}")
        expect(window != b"", "")
        bench.detach(loop)


def people_sign_with_stock_tools_behind_them(bench):
    loop = bench.attach(bench.image("signed", 8 * MIB))
    anna = ["--as", "anna", "--key", bench.dir / "anna.pem"]
    bert = ["--as", "bert", "--key", bench.dir / "bert.pem"]
    expect(bench.wipe(loop, "p", *anna).returncode == 0, "the wipe")
    report = bench.dir / "p.report"
    refused(bench.trilith("disk", "countersign", report, "--decision", "accept", *anna), "somebody else")
    for role in ("verifier", "validator"):
        done = bench.trilith("disk", "countersign", report, "--decision", "accept", "--role", role, *bert)
        expect(done.returncode == 0, done.stderr)
    text = (bench.dir / "p.report.verifier").read_text().strip()
    decision = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    expect(decision["report_sha256"] == hashlib.sha256(report.read_text().strip().encode()).hexdigest(), f"{decision}")
    signed, signature = report.read_text().strip().rsplit(".", 1)
    (bench.dir / "in").write_text(signed)
    (bench.dir / "sig").write_bytes(base64.urlsafe_b64decode(signature + "=="))
    key = bench.dir / "anna.pem"
    done = run(["openssl", "pkeyutl", "-verify", "-inkey", key, "-rawin", "-in", bench.dir / "in", "-sigfile", bench.dir / "sig"])
    expect(done.returncode == 0, f"openssl: {done.stdout} {done.stderr}")
    (bench.dir / "anna.pem").chmod(0o644)
    refused(bench.wipe(loop, "p", *anna), "others can read")
    (bench.dir / "anna.pem").chmod(0o600)
    report.write_text(report.read_text().replace("e", "f", 1))
    refused(bench.trilith("disk", "countersign", report, "--decision", "accept", *bert), "not the signed report")
    bench.detach(loop)


def a_dead_disk_is_recorded_as_such(bench):
    done = bench.trilith("disk", "wipe", "/dev/nosuchdisk", "--dead", "--state", bench.dir / "d", "--json")
    expect(done.returncode == 0, done.stderr)
    report = bench.report("d")
    expect(report["result"] == "NOT_DONE" and report["kind"] == "dead", f"{report}")
    expect(report["sanitization"]["method"] == "none" and report["sanitization"]["steps"] == [], f"{report}")


def a_directory_claims_nothing(bench):
    directory = bench.dir / "disk"
    directory.mkdir()
    chance = random.Random(SEED)
    (directory / "superblock").write_bytes(b"TRLSUP1\0" + bytes(8) + bytes(range(16)) + bytes(16352))
    for number in range(3):
        (directory / f"segment-{number:08x}").write_bytes(LABEL + chance.randbytes(4 * MIB - 8))
    (directory / "notes.txt").write_text("somebody else's")
    arguments = ["disk", "wipe", "--directory", directory, "--state", bench.dir / "dir", "--yes-erase", "disk"]
    with open(directory / "segment-00000001", "rb"):
        refused(bench.trilith(*arguments), "in use")
    done = bench.trilith(*arguments)
    expect(done.returncode == 0, done.stderr)
    report = bench.report("dir")
    expect(report["result"] == "ERASED" and report["sanitization"]["method"] == "none", f"{report}")
    expect(report["sanitization"]["files_removed"] == 4, f"{report['sanitization']}")
    expect(sorted(path.name for path in directory.iterdir()) == ["notes.txt"], f"{list(directory.iterdir())}")
    (bench.dir / "empty").mkdir()
    refused(bench.trilith("disk", "wipe", "--directory", bench.dir / "empty", "--state", bench.dir / "e", "--yes-erase", "empty"),
            "not a disk of a cluster")


SCENARIOS = [
    a_plan_changes_nothing,
    what_must_not_be_erased_is_refused,
    killed_at_any_time_it_goes_on,
    another_medium_has_another_state,
    flipped_bits_and_planted_residue_are_found,
    people_sign_with_stock_tools_behind_them,
    a_dead_disk_is_recorded_as_such,
    a_directory_claims_nothing,
]
