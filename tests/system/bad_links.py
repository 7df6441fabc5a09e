"""bad_links - a proxy between all daemons delays, throttles, corrupts, resets, swallows and stalls their streams.

A bit flipped on the way is found by the checksum of a frame or a unit, and ends in a repeated request: it never
reaches a disk or a client. A peer that has stopped reading, or is gone without a word, costs a deadline and no more."""
from cluster import expect, wait_for
from network import NetworkCluster
from workload import KIB, Workload

SANDBOX = True
SEED = 13
HEAL_SECONDS_MAX = 30
OPTIONS = [
    "meta.node_lease=2s",
    "node.orphan_after=4s",
    "timeouts.chunk_write=1s",
    "timeouts.chunk_read=500ms",
    "timeouts.meta_call=500ms",
]


def open_cluster():
    cluster = NetworkCluster("release", disk_size="2 GiB", through_proxy=True, options=OPTIONS)
    cluster.workload = Workload(cluster, SEED)
    return cluster


def disturbed(cluster, counter, enough, disturb, operations=40):
    """Under load: make it bad, until the proxy has done `enough` of it and clients got answers; then heal and compare."""
    workload, proxy = cluster.workload, cluster.proxy
    before = proxy.counts().get(counter, 0)
    workload.start()
    try:
        workload.wait_for_progress()
        disturb(proxy)
        wait_for(f"{enough} {counter}", 60, lambda: proxy.counts().get(counter, 0) >= before + enough)
        workload.wait_for_progress(operations)
    finally:
        proxy.heal()
        workload.stop()
    cluster.wait_healthy(HEAL_SECONDS_MAX)
    workload.check_all()


def delay_and_jitter(cluster):
    disturbed(cluster, "delayed", 200, lambda proxy: proxy.set(delay_ms=15, jitter_ms=30))


def a_slow_link_to_one_node(cluster):
    disturbed(cluster, "slowed", 20, lambda proxy: proxy.set(targets=["node2"], rate=512 * KIB))


def corruption_between_nodes(cluster):
    nodes = cluster.nodes
    disturbed(cluster, "corrupted", 40, lambda proxy: proxy.set(sources=nodes, targets=nodes, corrupt=256 * KIB))


def corruption_to_and_from_the_metadata_service(cluster):
    disturbed(cluster, "corrupted", 20, lambda proxy: proxy.set(targets=["meta1"], corrupt=16 * KIB))


def resets_in_the_middle_of_frames(cluster):

    def reset_again_and_again(proxy):
        before = proxy.counts().get("resets", 0)

        def some():
            proxy.set(reset_after=100 * KIB)
            return proxy.counts().get("resets", 0) >= before + 30

        wait_for("resets", 60, some)

    disturbed(cluster, "resets", 30, reset_again_and_again)


def a_node_that_is_half_open(cluster):
    """What is sent to it disappears, and what it sends; no connection ever ends by itself."""

    def swallow(proxy):
        proxy.set(targets=["node3"], swallow=True)
        proxy.set(sources=["node3"], swallow=True)

    disturbed(cluster, "half_open", 2, swallow)


def a_node_that_stops_reading(cluster):
    disturbed(cluster, "stalled", 2, lambda proxy: proxy.set(targets=["node4"], directions=["there"], stall=True))


def a_metadata_service_that_stops_answering_one_node(cluster):
    disturbed(cluster, "stalled", 1,
              lambda proxy: proxy.set(sources=["node1"], targets=["meta1"], directions=["back"], stall=True))


def nothing_bad_has_reached_a_disk(cluster):
    """What was deleted is wiped, what is left is read whole through every gateway, every record on the disks is right."""
    cluster.workload.wait_wiped()
    cluster.workload.check_all(gateways=range(len(cluster.endpoints)))
    found = sum(disk["corrupt_found"] for disk in cluster.json("disk", "list")["disks"])
    expect(found == 0, f"{found} records on the disks are corrupt")
    cluster.local("down")
    for name in cluster.nodes:
        report = cluster.json("disk", "inspect", cluster.dir / name / "disk1")
        expect(not report["findings"], f"{name}: {report['findings']}")
    cluster.up()
    print(f"# {cluster.workload.counts()}, proxy: {cluster.proxy.counts()}", flush=True)


SCENARIOS = [
    delay_and_jitter,
    a_slow_link_to_one_node,
    corruption_between_nodes,
    corruption_to_and_from_the_metadata_service,
    resets_in_the_middle_of_frames,
    a_node_that_is_half_open,
    a_node_that_stops_reading,
    a_metadata_service_that_stops_answering_one_node,
    nothing_bad_has_reached_a_disk,
]
