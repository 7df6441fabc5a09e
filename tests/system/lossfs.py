"""lossfs - the file system that loses power keeps its own promises: what was flushed stays, what was not may go, and
every fault hits what it was meant for and nothing else. Without this the tests on top of it prove nothing."""
import contextlib
import errno
import hashlib
import mmap
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading

from cluster import ROOT, expect
from lossy_disk import LossyDisk, program

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
SEED = int(os.environ.get("TRILITH_SEED", "1"))
HANGS_S = 0.3  # long enough to see that an operation does not return


class Bench:
    """One mounted disk, as the runner wants it."""

    def __init__(self):
        program()  # or skip before anything is made
        base = os.environ.get("TRILITH_TEST_DIR") or str(ROOT / "build" / "test-clusters")
        pathlib.Path(base).mkdir(parents=True, exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lossfs-", dir=base))
        self.disk = LossyDisk(self.dir / "backing", self.dir / "mount", SEED)

    def close(self):
        self.disk.close()
        shutil.rmtree(self.dir)

    def discard(self):
        self.disk.discard()


def open_cluster():
    return Bench()


@contextlib.contextmanager
def opened(path, flags=0):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make(path, content):
    """A file whose content is durable."""
    with opened(path, os.O_TRUNC) as descriptor:
        os.pwrite(descriptor, content, 0)
        os.fsync(descriptor)


def fails_with(number, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        expect(error.errno == number, f"{function.__name__}: {error}, where {os.strerror(number)} was expected")
        return
    expect(False, f"{function.__name__} succeeded, where {os.strerror(number)} was expected")


def sectors_of(content):
    return [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]


def fate(old, new, found):
    """What became of a sector that was not flushed."""
    if found == new:
        return "kept"
    if found == old:
        return "lost"
    length = next(at for at in range(SECTOR) if found[at] != new[at])
    expect(found == new[:length] + old[length:], "a sector holds what was never written there")
    return "torn"


def flushed_bytes_stay_and_others_may_go(bench):
    chance = random.Random(SEED)
    path = bench.disk.mount / "mixed"
    size = 256 * KIB
    content = bytearray(chance.randbytes(size))
    make(path, content)
    fates = {"kept": 0, "lost": 0, "torn": 0}
    for _ in range(40):
        before = bytes(content)
        with opened(path) as descriptor:
            for flush in (True, False):
                for _ in range(20):
                    offset = chance.randrange(size - 9000)
                    data = chance.randbytes(chance.randrange(1, 9000))
                    os.pwrite(descriptor, data, offset)
                    content[offset : offset + len(data)] = data
                if flush:
                    os.fdatasync(descriptor)
                    before = bytes(content)
            expect(os.pread(descriptor, size, 0) == content, "the newest bytes are not seen")
            bench.disk.tell("lose")
            found = os.pread(descriptor, size, 0)
        expect(found == (bench.disk.backing / "mixed").read_bytes(), "the backing file differs from what is seen")
        for old, new, now in zip(sectors_of(before), sectors_of(bytes(content)), sectors_of(found)):
            if old != new:
                fates[fate(old, new, now)] += 1
            else:
                expect(now == old, "a flushed sector changed")
        content[:] = found
    expect(all(fates.values()), f"some outcome never happened: {fates}")


def direct_buffer(data):
    buffer = mmap.mmap(-1, len(data))
    buffer.write(data)
    return buffer


def durable_write_keeps_its_own_bytes_only(bench):
    """RWF_DSYNC with O_DIRECT, as the daemons write; and O_DSYNC, O_SYNC at open."""
    ways = [(os.O_DIRECT, os.RWF_DSYNC), (os.O_DIRECT, os.RWF_SYNC), (os.O_DSYNC, 0), (os.O_SYNC, 0)]
    for number, (open_flag, write_flag) in enumerate(ways):
        path = bench.disk.mount / f"durable-{number}"
        others_lost = 0
        make(path, bytes(64 * KIB))
        for value in range(1, 21):
            page = bytes([value]) * 4096
            with opened(path) as plain, opened(path, open_flag) as through:
                before = os.pread(plain, 4096, 32 * KIB)
                os.pwrite(plain, page, 32 * KIB)
                expect(os.pwritev(through, [direct_buffer(page)], 8 * KIB, write_flag) == 4096, "a short write")
                bench.disk.tell("lose")
                expect(os.pread(plain, 4096, 8 * KIB) == page, f"way {number}: a durable write was lost")
                others_lost += before != page and os.pread(plain, 4096, 32 * KIB) != page
        expect(others_lost > 0, f"way {number}: a durable write made other bytes durable too")
    expect(bench.disk.stats()["durable_writes"] == 20 * len(ways), "not every durable write arrived as one")


def sizes_are_old_or_new(bench):
    path = bench.disk.mount / "size"
    found = set()
    for target in (100, 40_000):
        for _ in range(20):
            make(path, b"a" * 10_000)
            os.truncate(path, target)
            expect(path.stat().st_size == target, "the new size is not seen")
            bench.disk.tell("lose")
            content = path.read_bytes()
            expect(content in (b"a" * 10_000, (b"a" * 10_000 + bytes(30_000))[:target]), "neither old nor new")
            found.add(len(content))
    expect(found == {100, 10_000, 40_000}, f"sizes found: {found}")
    with opened(path) as descriptor:
        os.ftruncate(descriptor, 7)
        os.fdatasync(descriptor)
        bench.disk.tell("lose")
    expect(path.stat().st_size == 7, "a flushed size was lost")


def what_was_cut_off_does_not_come_back(bench):
    path = bench.disk.mount / "cut"
    make(path, b"a" * 10_000)
    with opened(path) as descriptor:
        os.ftruncate(descriptor, 5_000)
        os.ftruncate(descriptor, 10_000)
        wanted = b"a" * 5_000 + bytes(5_000)
        expect(os.pread(descriptor, 10_000, 0) == wanted, "the old end is seen again")
        os.fsync(descriptor)
        bench.disk.tell("lose")
        expect(os.pread(descriptor, 10_000, 0) == wanted, "the old end came back")


def names_are_durable_at_once_and_content_is_not(bench):
    """The classic mistake, writing a new file over an old name without a flush, has to be seen."""
    emptied = 0
    for number in range(10):
        path = bench.disk.mount / f"name-{number}"
        make(path, b"old")
        with opened(bench.disk.mount / "name-new") as descriptor:
            os.write(descriptor, b"new")
        os.rename(bench.disk.mount / "name-new", path)
        bench.disk.tell("lose")
        content = path.read_bytes()
        expect(content != b"old", "a rename was lost")
        emptied += content != b"new"
        path.unlink()
        expect(not (bench.disk.backing / path.name).exists(), "an unlink was not durable")
    expect(emptied > 0, "content without a flush always survived")


def forgotten_files_keep_what_was_not_flushed(bench):
    """A name that changes below makes the kernel forget the file under the old one. That writes and loses nothing."""
    names = [f"forgotten-{number}" for number in range(20)]
    for name in names:
        (bench.disk.mount / name).write_bytes(b"not flushed")
        os.rename(bench.disk.backing / name, bench.disk.backing / f"{name}-moved")
        expect(not (bench.disk.mount / name).exists(), "the old name is still there")
    for name in names:
        expect((bench.disk.backing / f"{name}-moved").read_bytes() == b"", "forgetting a file wrote it")
        expect((bench.disk.mount / f"{name}-moved").read_bytes() == b"not flushed", "forgetting a file lost it")
    bench.disk.tell("flush")
    for name in names:
        expect((bench.disk.backing / f"{name}-moved").read_bytes() == b"not flushed", "a flush of all left it out")


def random_operations_agree_with_a_model(bench):
    chance = random.Random(SEED + 1)
    path = bench.disk.mount / "random"
    model = bytearray()
    with opened(path) as descriptor:
        for step in range(1500):
            what = chance.choice(["write", "write", "write", "truncate", "zero", "allocate", "flush", "read"])
            offset, length = chance.randrange(200_000), chance.randrange(1, 20_000)
            if what == "write":
                data = chance.randbytes(length)
                os.pwrite(descriptor, data, offset)
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + length] = data
            elif what == "truncate":
                os.ftruncate(descriptor, offset)
                model = model[:offset] + bytes(max(0, offset - len(model)))
            elif what == "zero":
                punch(path, offset, length)
                end = min(offset + length, len(model))
                model[offset:end] = bytes(max(0, end - offset))
            elif what == "allocate":
                os.posix_fallocate(descriptor, offset, length)
                model.extend(bytes(max(0, offset + length - len(model))))
            elif what == "flush":
                os.fsync(descriptor)
                expect((bench.disk.backing / "random").read_bytes() == model, f"step {step}: the disk differs")
            expect(os.pread(descriptor, length, offset) == model[offset : offset + length], f"step {step}: {what}")
        expect(os.pread(descriptor, 300_000, 0) == model, "the file differs from the model")


def punch(path, offset, length):
    subprocess.run(["fallocate", "--punch-hole", "-o", str(offset), "-l", str(length), path], check=True)


def failed_flush_drops_what_it_should_have_flushed(bench):
    for number, durable in enumerate((False, True)):
        path = bench.disk.mount / f"failed-{number}"
        make(path, b"old" * 1000)
        bench.disk.tell("fail-flush 1")
        with opened(path, os.O_DSYNC if durable else 0) as descriptor:
            if durable:
                fails_with(errno.EIO, os.pwrite, descriptor, b"new" * 1000, 0)
            else:
                os.pwrite(descriptor, b"new" * 1000, 0)
                fails_with(errno.EIO, os.fsync, descriptor)
            expect(os.pread(descriptor, 3000, 0) == b"old" * 1000, "what was dropped is still seen")
            os.fsync(descriptor)
        expect((bench.disk.backing / path.name).read_bytes() == b"old" * 1000, "the next flush brought it back")


def failing_writes_and_reads_are_counted(bench):
    path = bench.disk.mount / "counted"
    make(path, b"old")
    failed = bench.disk.stats()["failed"]
    with opened(path) as descriptor:
        bench.disk.tell("fail-write 2")
        fails_with(errno.EIO, os.pwrite, descriptor, b"new", 0)
        fails_with(errno.EIO, os.pwrite, descriptor, b"new", 0)
        expect(os.pread(descriptor, 3, 0) == b"old", "a failed write changed something")
        os.pwrite(descriptor, b"new", 0)
        bench.disk.tell("fail-read 1")
        fails_with(errno.EIO, os.pread, descriptor, 3, 0)
        expect(os.pread(descriptor, 3, 0) == b"new", "wrong bytes behind a failed read")
    expect(bench.disk.stats()["failed"] == failed + 3, "the failures are not counted right")


def full_disk_overwrites_but_does_not_grow(bench):
    path = bench.disk.mount / "full"
    make(path, bytes(8192))
    bench.disk.tell("full on")
    try:
        with opened(path) as descriptor:
            fails_with(errno.ENOSPC, os.posix_fallocate, descriptor, 0, MIB)
            fails_with(errno.ENOSPC, os.pwrite, descriptor, bytes(4096), 8192)
            os.pwrite(descriptor, b"x" * 8192, 0)
            os.fsync(descriptor)
        fails_with(errno.ENOSPC, make, bench.disk.mount / "full-new", b"x")
        expect(os.statvfs(bench.disk.mount).f_bavail == 0, "there is room")
    finally:
        bench.disk.tell("full off")
    expect((bench.disk.backing / "full").read_bytes() == b"x" * 8192, "an overwrite was lost")
    make(bench.disk.mount / "full-new", b"x")


def stalled_disk_answers_nothing_but_commands(bench):
    path = bench.disk.mount / "stalled"
    make(path, b"old")
    done = threading.Event()

    def write():
        with opened(path) as descriptor:
            os.pwrite(descriptor, b"new", 0)
            os.fsync(descriptor)
        done.set()

    bench.disk.tell("stall on")
    writers = [threading.Thread(target=write, daemon=True) for _ in range(40)]
    try:
        for writer in writers:
            writer.start()
        expect(not done.wait(HANGS_S), "a stalled file system answers")
        expect(bench.disk.stats()["stalled"] > 0, "nothing is stalled")
    finally:
        bench.disk.tell("stall off")
    for writer in writers:
        writer.join(30)
        expect(not writer.is_alive(), "a writer still hangs")
    expect((bench.disk.backing / "stalled").read_bytes() == b"new", "a stalled write was lost")


def lying_disk_loses_what_was_flushed(bench):
    path = bench.disk.mount / "lie"
    lost = 0
    for _ in range(10):
        make(path, b"old" * 10_000)
        bench.disk.tell("lie on")
        with opened(path) as descriptor:
            os.pwrite(descriptor, b"new" * 10_000, 0)
            os.fsync(descriptor)
            bench.disk.tell("lie off")
            bench.disk.tell("lose")
            lost += os.pread(descriptor, 30_000, 0) != b"new" * 10_000
    expect(lost > 0, "a lie never did harm")


def ruin(directory, seed):
    """The same operations each time; what is on the disk afterwards, as a hash."""
    disk = LossyDisk(directory / "backing", directory / "mount", seed)
    try:
        for number in range(5):
            with opened(disk.mount / f"file-{number}") as descriptor:
                os.pwrite(descriptor, random.Random(number).randbytes(100_000), 0)
            disk.tell("lose")
        content = hashlib.sha256(b"".join((disk.mount / f"file-{number}").read_bytes() for number in range(5)))
        disk.close()
    finally:
        disk.discard()
    return content.hexdigest()


def same_seed_loses_the_same(bench):
    first, again, other = (ruin(bench.dir / f"seed-{name}", seed) for name, seed in enumerate((3, 3, 4)))
    expect(first == again, "the same seed gave another disk")
    expect(first != other, "the seed does not matter")


def segments_are_prewritten_in_seconds(bench):
    """64 MiB in writes of 1 MiB, as a store prepares a segment."""
    with opened(bench.disk.mount / "segment", os.O_DIRECT) as descriptor:
        os.posix_fallocate(descriptor, 0, 64 * MIB)
        buffer = direct_buffer(b"z" * MIB)
        for number in range(64):
            expect(os.pwrite(descriptor, buffer, number * MIB) == MIB, "a short write")
        expect(bench.disk.stats()["dirty_bytes"] == 64 * MIB, "unflushed bytes are not counted")
        os.fdatasync(descriptor)
    expect(bench.disk.stats()["dirty_bytes"] == 0, "something is left after the flush")


def orderly_end_loses_nothing(bench):
    directory = bench.dir / "orderly"
    disk = LossyDisk(directory / "backing", directory / "mount", SEED)
    try:
        (disk.mount / "file").write_bytes(b"never flushed")
        disk.close()
    finally:
        disk.discard()
    expect((directory / "backing" / "file").read_bytes() == b"never flushed", "an orderly unmount lost something")
    expect(not (directory / "mount" / "file").exists(), "it is still mounted")


SCENARIOS = [
    flushed_bytes_stay_and_others_may_go,
    durable_write_keeps_its_own_bytes_only,
    sizes_are_old_or_new,
    what_was_cut_off_does_not_come_back,
    names_are_durable_at_once_and_content_is_not,
    forgotten_files_keep_what_was_not_flushed,
    random_operations_agree_with_a_model,
    failed_flush_drops_what_it_should_have_flushed,
    failing_writes_and_reads_are_counted,
    full_disk_overwrites_but_does_not_grow,
    stalled_disk_answers_nothing_but_commands,
    lying_disk_loses_what_was_flushed,
    same_seed_loses_the_same,
    segments_are_prewritten_in_seconds,
    orderly_end_loses_nothing,
]
