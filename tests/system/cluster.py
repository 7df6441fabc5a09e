"""cluster.py - a local cluster of real processes as the tests see it, and the small tools around it."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from s3 import S3

ROOT = pathlib.Path(__file__).resolve().parents[2]
TROUBLE = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|check failed|CHECK failed", re.I)


class Failed(Exception):
    """A scenario's expectation did not hold."""


class Skip(Exception):
    """This machine lacks what the scenario needs; the text says what."""


def expect(condition, message):
    if not condition:
        raise Failed(message)


def wait_for(what, timeout_s, ask):
    """Ask until the answer is true; the clock only bounds how long."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        expect(time.monotonic() < deadline, f"{what}: not within {timeout_s} s")
        time.sleep(0.1)


def run(arguments, timeout_s=300, **options):
    """Run a program to its end: the completed process, with text output."""
    return subprocess.run(
        [str(argument) for argument in arguments], capture_output=True, text=True, timeout=timeout_s, **options
    )


class Cluster:
    """One cluster in a directory of its own. Left as it is when a scenario fails, for a look at its logs."""

    def __init__(self, preset, nodes=4, disk_size="4 GiB", options=(), before_up=None):
        self.preset = preset
        self.disks = {}  # those of nodes that have a file system of their own (sandbox.LoopDisk)
        self.bin = pathlib.Path(os.environ.get("TRILITH_BIN") or ROOT / "build" / preset / "bin")
        base = os.environ.get("TRILITH_TEST_DIR") or str(ROOT / "build" / "test-clusters")
        pathlib.Path(base).mkdir(parents=True, exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=base))
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        arguments = ["up", "--nodes", nodes, "--disk-size", disk_size]
        if before_up is not None:
            # Its shape is what makes a directory a cluster's: then it need not be empty.
            (self.dir / "shape").write_text(f"{nodes} 1 {disk_size}\n")
            before_up(self)
        if not any(option.startswith("meta.epoch=") for option in options):
            arguments += ["--option", "meta.epoch=1s"]  # erasures close within seconds, and closes meet every fault
        for option in options:
            arguments += ["--option", option]
        self.local(*arguments)
        self.read_env()

    def read_env(self):
        script = 'eval "$("$0" env --dir "$1")"; env -0'
        output = subprocess.run(
            ["bash", "-c", script, str(ROOT / "cluster/local"), str(self.dir)],
            check=True, capture_output=True, env=self.environment(),
        ).stdout
        self.env = dict(entry.split("=", 1) for entry in output.decode().split("\0") if "=" in entry)
        self.endpoints = self.env["TRILITH_S3_ENDPOINTS"].split(",")

    def environment(self):
        return {**os.environ, "TRILITH_PRESET": self.preset}

    def local(self, verb, *arguments, timeout_s=180):
        """Run cluster/local; its failure is the scenario's."""
        done = run([ROOT / "cluster/local", verb, *arguments, "--dir", self.dir], timeout_s, env=self.environment())
        expect(done.returncode == 0, f"cluster/local {verb} {arguments}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def up(self):
        self.local("up")

    def kill(self, name):
        self.local("kill", name)

    def start(self, name):
        self.local("start", name)

    def trilith(self, *arguments, fails=None, timeout_s=300):
        """Run the command line. It must succeed, or, with `fails`, end with that exit status and one line on stderr."""
        done = run([self.bin / "trilith", *arguments], timeout_s, env=self.env)
        said = f"trilith {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr.strip()}"
        expect(not TROUBLE.search(done.stderr), said)
        if fails is None:
            expect(done.returncode == 0, said)
        else:
            expect(done.returncode == fails, said)
            expect(len(done.stderr.strip().splitlines()) == 1, f"one clear line was expected: {said}")
        return done.stdout if fails is None else done.stderr

    def json(self, *arguments, **options):
        return json.loads(self.trilith(*arguments, "--json", **options))

    def s3(self, first=0, **options):
        endpoints = self.endpoints[first:] + self.endpoints[:first]
        return S3(endpoints, self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], **options)

    def port(self, name, which=1):
        for line in (self.dir / "ports").read_text().splitlines():
            fields = line.split()
            if fields[0] == name:
                return int(fields[which])
        raise KeyError(name)

    def log(self, name):
        return (self.dir / "log" / f"{name}.log").read_text(errors="replace")

    def check_logs(self):
        """No sanitizer report and no failed check in any log."""
        for path in sorted((self.dir / "log").glob("*.log")):
            found = TROUBLE.search(path.read_text(errors="replace"))
            expect(found is None, f"{path}: {found.group(0) if found else ''}")

    def wait_healthy(self, timeout_s=60):
        wait_for("healthy", timeout_s, lambda: self.json("status")["healthy"])

    def wait_up(self, names, timeout_s=60):
        """Wait until the metadata service counts exactly these nodes as up."""
        wanted = set(names)

        def up():
            nodes = self.json("status")["nodes"]
            return {node["name"] for node in nodes if node["state"] == "up"} == wanted

        wait_for(f"only {sorted(wanted)} up", timeout_s, up)

    def close(self):
        """Stop in good order (every process must be able to), look through the logs, delete everything."""
        self.local("down")
        self.check_logs()
        for disk in self.disks.values():
            disk.unmount()
        shutil.rmtree(self.dir)

    def discard(self):
        """After a failure: end the processes, keep the directory's logs, free the space of its disks."""
        run([ROOT / "cluster/local", "kill", "all", "--dir", self.dir], env=self.environment())
        for segment in self.dir.glob("node*/disk*/segment-*"):
            segment.unlink()
        for image in self.dir.glob("*.img"):
            image.unlink()
