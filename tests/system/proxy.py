#!/usr/bin/env python3
"""proxy.py - a TCP proxy between a cluster's processes that does to their byte streams what bad networks do.

A link is a pair (source, target): who opened the connection, whom it wanted. Each link and direction ("there": from the
source; "back": from the target) has its own faults, which can be changed while streams flow:

  delay_ms, jitter_ms    each piece arrives later; never before an earlier one, as TCP keeps order
  rate                   bytes per second
  corrupt                one bit is flipped in about every so many bytes
  reset_after            the connection is reset, both ways, when so many more bytes have passed
  swallow                what arrives disappears and the connection stays open: half-open, as after a pulled cable
  stall                  nothing is read any more: a peer that has stopped reading

A connection that swallowed bytes can't be healed: it is reset when its faults are changed. As a program it takes
commands as lines of JSON on its standard input and answers each with a line; class Proxy drives it."""
import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import time

PIECE_BYTES = 64 << 10
SO_ORIGINAL_DST = 80
DIRECTIONS = ("there", "back")


class Faults:
    """What happens in one direction of one link."""

    def __init__(self, delay_ms=0, jitter_ms=0, rate=0, corrupt=0, reset_after=None, swallow=False, stall=False):
        self.delay_s = delay_ms / 1000
        self.jitter_s = jitter_ms / 1000
        self.rate = rate
        self.corrupt = corrupt
        self.reset_after = reset_after
        self.swallow = swallow
        self.stall = stall


class Stream:
    """One connection through the proxy."""

    def __init__(self, server, source, target, near, far):
        self.server = server
        self.link = (source, target)
        self.near = near
        self.far = far
        self.swallowed = False
        self.tasks = []

    def reset(self):
        for task in self.tasks:
            task.cancel()

    async def run(self):
        queues = {direction: asyncio.Queue(maxsize=256) for direction in DIRECTIONS}
        work = [
            self.read("there", self.near, queues["there"]),
            self.read("back", self.far, queues["back"]),
            self.write(queues["there"], self.far),
            self.write(queues["back"], self.near),
        ]
        self.tasks = [asyncio.ensure_future(part) for part in work]
        await asyncio.wait(self.tasks, return_when=asyncio.FIRST_EXCEPTION)
        self.reset()
        # Only when nothing waits for these descriptors any more may their numbers be given to new connections.
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.server.streams.discard(self)
        for end in (self.near, self.far):
            if any(ends):  # broken: both ends get a reset, not an end of stream
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def disturb(self, faults, piece):
        """Flip bits; a fresh distance to the next is drawn each time."""
        if not faults.corrupt:
            return piece
        chance = self.server.chance
        piece = bytearray(piece)
        at = int(chance.expovariate(1 / faults.corrupt))
        while at < len(piece):
            piece[at] ^= 1 << chance.randrange(8)
            self.server.count("corrupted")
            at += 1 + int(chance.expovariate(1 / faults.corrupt))
        return bytes(piece)

    async def read(self, direction, origin, queue):
        """One direction's reader. A queue stands between it and the writer, so that delay does not lower the rate."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            faults = self.server.faults_of(self.link, direction)
            while faults.stall:
                self.server.count("stalled")
                await self.server.changed.wait()
                faults = self.server.faults_of(self.link, direction)
            piece = await loop.sock_recv(origin, PIECE_BYTES)
            faults = self.server.faults_of(self.link, direction)
            self.server.count("bytes", len(piece))
            if faults.swallow:
                if not self.swallowed:
                    self.server.count("half_open")
                self.swallowed = True
                if not piece:
                    await asyncio.Event().wait()
                continue
            if not piece:
                await queue.put((due, b""))
                return
            if faults.reset_after is not None:
                faults.reset_after -= len(piece)
                if faults.reset_after < 0:
                    # Part of the piece still arrives: the reset comes in the middle of a frame.
                    keep = max(0, len(piece) + faults.reset_after)
                    faults.reset_after = None
                    self.server.count("resets")
                    await queue.put((due, piece[:keep]))
                    await queue.put((due, None))
                    await asyncio.Event().wait()
            pause = faults.delay_s + self.server.chance.random() * faults.jitter_s
            if pause > 0:
                self.server.count("delayed")
            due = max(due, time.monotonic() + pause)
            if faults.rate:
                due += len(piece) / faults.rate
                self.server.count("slowed")
            await queue.put((due, self.disturb(faults, piece)))

    async def write(self, queue, goal):
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await queue.get()
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if piece is None:
                raise ConnectionResetError
            if not piece:
                goal.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(goal, piece)


class Server:
    def __init__(self, names, seed):
        self.names = names  # port -> name
        self.chance = random.Random(seed)
        self.faults = {}
        self.healthy = Faults()
        self.streams = set()
        self.counts = {}
        self.changed = None

    def count(self, what, amount=1):
        self.counts[what] = self.counts.get(what, 0) + amount

    def faults_of(self, link, direction):
        return self.faults.get((*link, direction), self.healthy)

    async def accept(self, source, listener):
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            asyncio.ensure_future(self.serve(source, near))

    async def serve(self, source, near):
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wanted = near.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port = struct.unpack_from("!H", wanted, 2)[0]
        far = socket.socket()
        far.setblocking(False)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(self, source, self.names[port], near, far)
        try:
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", port))
        except OSError:
            near.close()
            far.close()
            return
        self.streams.add(stream)
        await stream.run()

    # ---- commands --------------------------------------------------------------------------------

    def listen(self, name, port):
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        listener.setblocking(False)
        asyncio.ensure_future(self.accept(name, listener))

    def set(self, sources, targets, directions, faults):
        for source in sources:
            for target in targets:
                for direction in directions:
                    self.faults[(source, target, direction)] = Faults(**faults)
        self.faults_have_changed()

    def heal(self):
        self.faults.clear()
        self.faults_have_changed()

    def faults_have_changed(self):
        for stream in [stream for stream in self.streams if stream.swallowed]:
            stream.reset()
        self.changed.set()
        self.changed = asyncio.Event()

    def reset_all(self):
        for stream in list(self.streams):
            self.count("resets")
            stream.reset()

    def obey(self, command):
        verb = command.pop("verb")
        if verb == "counts":
            return self.counts
        {"listen": self.listen, "set": self.set, "heal": self.heal, "reset_all": self.reset_all}[verb](**command)
        return {}

    async def run(self):
        self.changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        commands = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            print(json.dumps(self.obey(json.loads(line))), flush=True)


class Proxy:
    """The proxy as a process of its own, so that a busy test does not slow it. `names`: port -> process."""

    def __init__(self, names, seed=1):
        self.everyone = sorted(names.values())
        self.process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(names), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the proxy has ended")
        return json.loads(answer)

    def listen(self, name, port):
        self.ask(verb="listen", name=name, port=port)

    def set(self, sources=None, targets=None, directions=DIRECTIONS, **faults):
        """The faults of these links from now on; without names: of all."""
        self.ask(verb="set", sources=sources or self.everyone, targets=targets or self.everyone,
                 directions=list(directions), faults=faults)

    def heal(self):
        self.ask(verb="heal")

    def reset_all(self):
        self.ask(verb="reset_all")

    def counts(self):
        return self.ask(verb="counts")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


if __name__ == "__main__":
    asyncio.run(Server({int(port): name for port, name in json.loads(sys.argv[1]).items()}, int(sys.argv[2])).run())
