"""network.py - cuts and proxies between the processes of a cluster on one loopback, by packet filter.

All daemons of a cluster talk over 127.0.0.1, so who sends a packet can't be told from its address. Each node therefore
runs under a group number of its own, and the filter marks every connection with the number of the node that opened it.
Mark, direction and port together name sender and receiver of each packet. The metadata service opens no connections.
S3 clients and the command line carry no mark and are never touched: a test sees what a client of each node sees."""
import itertools
import os
import pathlib

from cluster import Cluster, expect, run
from proxy import Proxy

FIRST_GROUP = 64100
PROXY_PORT = 31000
TABLE = "trilith_test"

LAUNCHER = """#!/bin/sh
# Starts a daemon; a node under the group number that the packet filter knows it by.
[ "$1" = --config ] || exec {program} "$@"
name=$(basename "$2" .conf)
exec setpriv --regid=$(({first} + ${{name#node}})) --clear-groups {program} "$@"
"""


class Network:
    """The packet filter of this sandbox. Made before any daemon starts, so that no connection escapes its mark."""

    def __init__(self, nodes):
        self.groups = {f"node{number}": FIRST_GROUP + number for number in range(1, nodes + 1)}
        self.ports = {}
        lines = [
            f"add table ip {TABLE}",
            f"add chain ip {TABLE} opened {{ type filter hook output priority -150; }}",
            f"add chain ip {TABLE} turned {{ type nat hook output priority -100; }}",
            f"add chain ip {TABLE} cuts {{ type filter hook input priority 0; }}",
        ]
        for group in self.groups.values():
            lines.append(f"add rule ip {TABLE} opened meta skgid {group} ct state new ct mark set {group}")
        self.load(lines)

    def load(self, lines):
        done = run(["nft", "-f", "-"], input="\n".join(lines) + "\n")
        expect(done.returncode == 0, f"nft: {done.stderr.strip()}")

    def know_ports(self, cluster):
        self.ports = {name: cluster.port(name) for name in ["meta1", *self.groups]}

    def cut(self, source, target):
        """Nothing that `source` sends to `target` arrives; the other way stays open."""
        lines = []
        if source in self.groups:
            lines.append(f"add rule ip {TABLE} cuts meta l4proto tcp ct mark {self.groups[source]} ct direction original "
                         f"ct original proto-dst {self.ports[target]} counter drop")
        if target in self.groups:
            lines.append(f"add rule ip {TABLE} cuts meta l4proto tcp ct mark {self.groups[target]} ct direction reply "
                         f"ct original proto-dst {self.ports[source]} counter drop")
        self.load(lines)

    def cut_pair(self, one, other):
        self.cut(one, other)
        self.cut(other, one)

    def isolate(self, name, sends=False, receives=False):
        """Cut one process off from all others; with `sends` or `receives` only the other way."""
        for other in self.ports:
            if other == name:
                continue
            if not sends:
                self.cut(name, other)
            if not receives:
                self.cut(other, name)

    def heal(self):
        """All cuts end. Returns how many packets they swallowed."""
        listing = run(["nft", "list", "chain", "ip", TABLE, "cuts"]).stdout.split()
        self.load([f"flush chain ip {TABLE} cuts"])
        return sum(int(count) for word, count in itertools.pairwise(listing) if word == "packets")

    def turn_into(self, proxy):
        """From now on new connections of every node go through the proxy; one listening port tells whose they are."""
        ports = ", ".join(str(port) for port in self.ports.values())
        lines = []
        for number, (name, group) in enumerate(self.groups.items()):
            proxy.listen(name, PROXY_PORT + number)
            lines.append(f"add rule ip {TABLE} turned ct mark {group} tcp dport {{ {ports} }} "
                         f"redirect to :{PROXY_PORT + number}")
        self.load(lines)


class NetworkCluster(Cluster):
    """A cluster whose nodes the packet filter can tell apart; inside a sandbox only."""

    def __init__(self, preset, nodes=4, through_proxy=False, **options):
        self.network = Network(nodes)
        self.proxy = None
        self.launchers = None
        self.through_proxy = through_proxy
        super().__init__(preset, nodes=nodes, **options)
        self.network.know_ports(self)
        if through_proxy:
            self.proxy = Proxy({port: name for name, port in self.network.ports.items()})
            self.network.turn_into(self.proxy)
            # What is open already does not pass the proxy.
            self.local("down")
            self.up()

    def environment(self):
        if self.launchers is None:
            self.launchers = self.dir / "launchers"
            self.write_launchers()
        return {**super().environment(), "TRILITH_BIN": str(self.launchers)}

    def write_launchers(self):
        """Beside the cluster's directory, which must be empty when a cluster is made in it."""
        self.launchers = pathlib.Path(f"{self.dir}-launchers")
        self.launchers.mkdir()
        for program in ("trilith", "trilith-meta"):
            os.symlink(self.bin / program, self.launchers / program)
        node = self.launchers / "trilith-node"
        node.write_text(LAUNCHER.format(program=self.bin / "trilith-node", first=FIRST_GROUP))
        node.chmod(0o755)

    def remove_launchers(self):
        for path in self.launchers.iterdir():
            path.unlink()
        self.launchers.rmdir()

    def close(self):
        super().close()
        if self.proxy is not None:
            self.proxy.close()
        self.remove_launchers()

    def discard(self):
        self.network.heal()
        super().discard()
        if self.proxy is not None:
            self.proxy.close()
        self.remove_launchers()
