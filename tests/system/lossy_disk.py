"""lossy_disk.py - a directory on lossfs: a disk that loses power, fails, fills up, hangs and lies when told to."""
import os
import pathlib
import subprocess

from cluster import ROOT, Skip, expect

PRESETS = ["asan", "debug", "tsan", "clang"]  # those that build the tests


def program():
    """The file system's program. Skip says what this machine lacks."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise Skip(f"no FUSE here: /dev/fuse: {os.strerror(error.errno)}") from error
    if os.geteuid() != 0:
        raise Skip("needs root, to mount and to take mounts away")
    places = [pathlib.Path(os.environ["TRILITH_BIN"])] if "TRILITH_BIN" in os.environ else []
    for place in places + [ROOT / "build" / preset / "bin" for preset in PRESETS]:
        if (place / "lossfs").exists():
            return place / "lossfs"
    raise Skip("lossfs is not built; libfuse3-dev (libfuse 3.12 or newer) was missing when the build was configured")


class LossyDisk:
    """What is written below `mount` is in `backing` only when it was flushed."""

    def __init__(self, backing, mount, seed):
        self.backing = pathlib.Path(backing)
        self.mount = pathlib.Path(mount)
        for directory in (self.backing, self.mount):
            directory.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [program(), "--seed", str(seed), self.backing, self.mount],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        expect(self.process.stdout.readline() == "ready\n", f"lossfs does not start at {self.mount}")

    def tell(self, command):
        """Give a command and wait until it is obeyed: what was answered behind "ok"."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        expect(answer.split(" ")[0] == "ok", f"lossfs: {command}: {answer or 'it has ended'}")
        return answer[3:]

    def stats(self):
        return {name: int(value) for name, value in (field.split("=") for field in self.tell("stats").split())}

    def heal(self):
        """No fault goes on."""
        for command in ("stall off", "lie off", "full off", "fail-flush 0", "fail-write 0", "fail-read 0"):
            self.tell(command)

    def close(self):
        """Write everything and unmount; it must end without a report of a sanitizer."""
        self.heal()
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        expect(status == 0, f"lossfs of {self.mount} ended with {status}")

    def discard(self):
        """After a failure: end it whatever it does. What hangs on it gets an error."""
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "--lazy", self.mount], capture_output=True)
