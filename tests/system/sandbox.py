"""sandbox.py - a network, a mount table and a process table of a group's own, and what a group does with them as root.

The runner starts a group again as the first process of new namespaces. When that process ends, for whatever reason, the
kernel ends every process that it left behind, and with them go packet filters, mounts and the loop devices under
them: nothing of a failed test stays on the machine. Only control groups need a hand (IoLimit)."""
import os
import pathlib
import shutil
import subprocess

from cluster import Skip, run

INSIDE = "--inside-sandbox"
NAMESPACES = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
MIB = 1 << 20


def command(arguments):
    # unshare itself shrugs at SIGTERM; so it is tied to the life of whoever asked for the sandbox.
    return ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, *arguments]


def missing():
    """Why there can be no sandbox here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for namespaces of its own"
    for tool in ("unshare", "ip", "nft", "setpriv"):
        if shutil.which(tool) is None:
            return f"needs the program {tool}"
    tried = run(command(["ip", "link", "set", "lo", "up"]))
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode != 0 else ""


def enter():
    """The first thing inside: a loopback of our own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def must(arguments, why):
    """Run a tool of the machine; when it can't, the scenario is skipped with its words."""
    done = run(arguments)
    if done.returncode != 0:
        raise Skip(f"{why}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


class LoopDisk:
    """A small ext4 file system in an image file, mounted where a node keeps a disk."""

    def __init__(self, image, mount_point, size_bytes):
        self.mount_point = pathlib.Path(mount_point)
        self.mount_point.mkdir(parents=True, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        must(["mkfs.ext4", "-q", "-F", "-m", "0", image], "no ext4 image")
        self.device = must(["losetup", "--find", "--show", image], "no loop device")
        try:
            must(["mount", self.device, self.mount_point], "no loop mount")
        finally:
            # Detached for good when nothing has it mounted any more.
            run(["losetup", "--detach", self.device])
        (self.mount_point / "lost+found").rmdir()

    def unmount(self):
        subprocess.run(["umount", self.mount_point], check=True)

    def free_bytes(self):
        facts = os.statvfs(self.mount_point)
        return facts.f_bavail * facts.f_frsize


class IoLimit:
    """Bounds the writes of the block device under a path, for one process: cgroup v2 io.max, or blkio of v1."""

    def __init__(self, name, process, path, bytes_per_second):
        number = os.stat(path).st_dev
        device = f"{os.major(number)}:{os.minor(number)}"
        root = pathlib.Path("/sys/fs/cgroup")
        if (root / "cgroup.controllers").exists():
            if "io" not in (root / "cgroup.subtree_control").read_text().split():
                raise Skip("the io controller of cgroup v2 is not switched on")
            self.group, limit, value = root / name, "io.max", f"{device} wbps={bytes_per_second}"
            self.lifted = f"{device} wbps=max"
        elif (root / "blkio").is_dir():
            self.group, limit = root / "blkio" / name, "blkio.throttle.write_bps_device"
            value, self.lifted = f"{device} {bytes_per_second}", f"{device} 0"
        else:
            raise Skip("no control group that bounds I/O")
        try:
            self.group.mkdir(exist_ok=True)
            self.limit = self.group / limit
            self.limit.write_text(value)
            (self.group / "cgroup.procs").write_text(str(process))
        except OSError as error:
            self.remove()
            raise Skip(f"no limit on I/O: {error}") from error

    def lift(self):
        self.limit.write_text(self.lifted)

    def remove(self):
        """Processes go back to the root group; an empty group can be removed."""
        if not self.group.exists():
            return
        for process in (self.group / "cgroup.procs").read_text().split():
            (self.group.parent / "cgroup.procs").write_text(process)
        self.group.rmdir()
