"""threads - several reactors per node under load, built with the thread sanitizer."""
import concurrent.futures
import random

from cluster import Cluster, expect

MIB = 1 << 20


def open_cluster():
    return Cluster("tsan", disk_size="2 GiB", options=["node.reactors=2"])


def puts_and_gets_at_all_gateways(cluster):
    cluster.s3().create_bucket("threads")

    def work(worker):
        chance = random.Random(worker)
        client = cluster.s3(first=worker % len(cluster.endpoints))
        for number in range(8):
            body = chance.randbytes(chance.choice([0, 1000, 70000, 5 * MIB]))
            client.put("threads", f"{worker}/{number}", body)
            expect(client.get("threads", f"{worker}/{number}") == body, f"{worker}/{number} came back different")
            if number % 3 == 0:
                client.delete("threads", f"{worker}/{number}")

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


SCENARIOS = [puts_and_gets_at_all_gateways]
