"""partition - nodes and the metadata service cut off from each other by packet filter, both ways and one way.

While a cut lasts, what was acknowledged can be read through the gateways on the healthy side, and writes go on with the
nodes that are left, or fail cleanly. After it the cluster becomes healthy by itself, and what was deleted meanwhile is wiped
on every disk, also where nobody could be reached."""
import http.client
import random

from cluster import expect, wait_for
from network import NetworkCluster
from workload import BUCKET, KIB, MIB, Workload

SANDBOX = True
SEED = 11
HEAL_SECONDS_MAX = 30
OPTIONS = [
    "meta.node_lease=1500ms",
    "node.orphan_after=4s",
    "timeouts.chunk_write=1s",
    "timeouts.chunk_read=500ms",
    "timeouts.meta_call=500ms",
]


def open_cluster():
    cluster = NetworkCluster("release", disk_size="2 GiB", options=OPTIONS)
    cluster.workload = Workload(cluster, SEED)
    cluster.kept, cluster.doomed = {}, []
    chance = random.Random(SEED)
    client = cluster.s3()
    for number in range(16):
        body = chance.randbytes(chance.choice([1, 4096, 200 * KIB, 4 * MIB + 77]))
        client.put(BUCKET, f"kept-{number:02}", body)
        cluster.kept[f"kept-{number:02}"] = body
        client.put(BUCKET, f"doomed-{number:02}", body)
        cluster.doomed.append((f"doomed-{number:02}", body))
    return cluster


def states(cluster):
    return {node["name"]: node["state"] for node in cluster.json("status")["nodes"]}


def read_kept(cluster, gateways):
    """Each kept object through one of these gateways, which may take a moment to turn to other copies."""
    for number, (name, body) in enumerate(cluster.kept.items()):
        client = cluster.s3(first=gateways[number % len(gateways)], timeout_s=15)

        def read():
            try:
                status, _, found = client.once("GET", BUCKET, name)
            except (OSError, http.client.HTTPException):
                return False
            expect(status == 200 or status >= 500, f"{name}: status {status}")
            expect(status != 200 or found == body, f"{name} came back different")
            return status == 200

        wait_for(f"{name} through gateway {client.endpoints[0]}", 20, read)


def delete_some(cluster, gateway, count=3):
    """Acknowledged deletes of objects that have copies everywhere; they are never seen again."""
    client = cluster.s3(first=gateway, timeout_s=15)
    for _ in range(count):
        name, _ = cluster.doomed.pop()
        client.delete(BUCKET, name)


def partitioned(cluster, cut, lost, healthy, writes_go_on=True):
    """One partition from beginning to end: `cut` makes it, the nodes `lost` lose their lease over it."""
    workload = cluster.workload
    workload.start()
    try:
        workload.wait_for_progress()
        cut(cluster.network)
        wait_for(f"{lost} without a lease", 20, lambda: all(states(cluster)[name] != "up" for name in lost))

        def others_are_up():
            return all(state == "up" for name, state in states(cluster).items() if name not in lost)

        wait_for("the others up", 20, others_are_up)  # On a busy machine a heartbeat may come late.
        read_kept(cluster, healthy)
        delete_some(cluster, healthy[0])
        if writes_go_on:
            workload.wait_for_progress(what=("put", "delete"))
        else:
            # A client whose every write is refused only after its gateway has tried everything reads seldom.
            workload.wait_for_progress(4, what=("get",))
    finally:
        swallowed = cluster.network.heal()
        workload.stop()
    expect(swallowed > 0, "the cut swallowed nothing")
    cluster.wait_healthy(HEAL_SECONDS_MAX)
    workload.check_all()
    read_kept(cluster, range(len(cluster.endpoints)))


def one_node_cut_off(cluster):
    partitioned(cluster, lambda network: network.isolate("node4"), ["node4"], healthy=[0, 1, 2])


def one_node_that_only_sends(cluster):
    partitioned(cluster, lambda network: network.isolate("node2", sends=True), ["node2"], healthy=[0, 2, 3])


def one_node_that_only_receives(cluster):
    partitioned(cluster, lambda network: network.isolate("node3", receives=True), ["node3"], healthy=[0, 1, 3])


def metadata_cut_off_from_half_the_nodes(cluster):

    def cut(network):
        network.cut_pair("meta1", "node3")
        network.cut_pair("meta1", "node4")

    partitioned(cluster, cut, ["node3", "node4"], healthy=[0, 1], writes_go_on=False)


def two_nodes_that_do_not_see_each_other(cluster):
    """Both keep their leases: only their own traffic shows it."""
    partitioned(cluster, lambda network: network.cut_pair("node1", "node2"), [], healthy=[0, 1, 2, 3])


def what_was_deleted_meanwhile_is_wiped(cluster):
    client = cluster.s3()
    for name, _ in cluster.doomed:
        client.delete(BUCKET, name)
    for name in cluster.kept:
        client.delete(BUCKET, name)
    cluster.workload.wait_wiped()
    listed = set(client.keys(BUCKET))
    print(f"# {cluster.workload.counts()}", flush=True)
    expect(not any(name.startswith(("kept", "doomed")) for name in listed), "a deleted object is listed")


SCENARIOS = [
    one_node_cut_off,
    one_node_that_only_sends,
    one_node_that_only_receives,
    metadata_cut_off_from_half_the_nodes,
    two_nodes_that_do_not_see_each_other,
    what_was_deleted_meanwhile_is_wiped,
]
