"""command_line - every verb does what its help says; errors are one clear line and the right exit status. With
sanitizers on."""
import os
import random
import re
import stat

from cluster import Cluster, expect, run

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def open_cluster():
    return Cluster("asan", disk_size="2 GiB")


def verbs(cluster):
    """The verbs that --help lists, as argument lists without their own arguments."""
    found = []
    for line in cluster.trilith("--help").splitlines():
        if line.startswith("  ") and not line.startswith("    "):
            words = [word for word in line.split("  ")[1].split() if word.islower() and word.isalpha()]
            if words:
                found.append(words)
    return found


def every_verb_has_help(cluster):
    listed = verbs(cluster)
    expect(len(listed) >= 20, f"only {len(listed)} verbs: {listed}")
    for words in listed:
        text = cluster.trilith(*words, "--help")
        expect(text.startswith("usage: trilith " + " ".join(words)), f"{words}: {text}")
        expect("--json" in text, f"{words} without --json")
    expect(cluster.trilith("--version").startswith("trilith "), "no version")


def wrong_use_is_status_2(cluster):
    cluster.trilith("nonsense", fails=2)
    cluster.trilith("put", "onlyone", fails=2)
    cluster.trilith("put", "a", "b/c", "d", fails=2)
    cluster.trilith("status", "--nonsense", fails=2)
    cluster.trilith("erase", "show", "seven", fails=2)
    cluster.trilith("erase", "wait", "1", "--timeout", "-3", fails=2)
    cluster.trilith("get", "nokey", "/dev/null", fails=2)
    cluster.trilith("credential", "create", "--role", "emperor", fails=2)
    cluster.trilith("disk", "inspect", fails=2)


def status_shape(cluster):
    status = cluster.json("status")
    expect(status["healthy"] is True, f"{status}")
    expect({node["name"] for node in status["nodes"]} == set(cluster.nodes), f"{status['nodes']}")
    expect(all(node["state"] == "up" and len(node["disks"]) == 1 for node in status["nodes"]), f"{status['nodes']}")
    expect(status["pgs"]["total"] >= 4 and status["pgs"]["clean"] == status["pgs"]["total"], f"{status['pgs']}")
    expect(status["pgs"]["degraded"] == 0 and status["pgs"]["recovering"] == 0, f"{status['pgs']}")
    expect(status["erasures"]["open"] == 0, f"{status}")
    expect("healthy" in cluster.trilith("status"), "no word about health")


def tenants_buckets_credentials(cluster):
    cluster.trilith("tenant", "create", "acme")
    cluster.trilith("tenant", "create", "acme", fails=1)
    expect("acme" in [tenant["name"] for tenant in cluster.json("tenant", "list")["tenants"]], "acme is not listed")
    expect(RFC3339.match(cluster.json("tenant", "show", "acme")["created"]), "no RFC 3339 time")
    cluster.trilith("tenant", "show", "nobody", fails=1)

    cluster.trilith("bucket", "create", "films")
    cluster.trilith("bucket", "create", "films", fails=1)
    cluster.trilith("bucket", "create", "films", "--tenant", "acme")  # names are per tenant
    cluster.trilith("bucket", "create", "cheap", "--degraded-writes")
    expect(cluster.json("bucket", "show", "cheap")["degraded_writes"] is True, "the option was lost")
    expect([b["name"] for b in cluster.json("bucket", "list")["buckets"]] == ["cheap", "films"], "bucket list")
    cluster.trilith("bucket", "create", "No_Good_Name", fails=1)
    cluster.trilith("bucket", "delete", "films", "--tenant", "acme")
    cluster.trilith("bucket", "delete", "films", "--tenant", "acme", fails=1)

    made = cluster.json("credential", "create", "--tenant", "acme", "--role", "viewer")
    expect(made["role"] == "viewer" and made["secret_key"], f"{sorted(made)}")
    listed = cluster.json("credential", "list", "--tenant", "acme")["credentials"]
    expect([c["access_key"] for c in listed] == [made["access_key"]], f"{listed}")
    expect("secret" not in str(listed), "a list shows secrets")
    cluster.trilith("credential", "revoke", made["access_key"])
    expect(cluster.json("credential", "list", "--tenant", "acme")["credentials"] == [], "still listed")
    cluster.trilith("credential", "revoke", made["access_key"], fails=1)


def objects(cluster):
    path = cluster.dir / "input"
    path.write_bytes(random.Random(1).randbytes(200000))
    first = cluster.json("put", path, "films/a/b c+d%20é.bin", "--content-type", "video/x-test")
    expect(first["size"] == 200000 and first["erasure"] is None, f"{first}")
    shown = cluster.json("stat", "films/a/b c+d%20é.bin")
    expect(shown["size"] == 200000 and shown["content_type"] == "video/x-test", f"{shown}")
    expect(shown["etag"] == first["etag"] and "-" in shown["etag"], f"{shown}")
    target = cluster.dir / "back"
    cluster.trilith("get", "films/a/b c+d%20é.bin", target)
    expect(target.read_bytes() == path.read_bytes(), "it came back different")
    expect(stat.S_IMODE(os.stat(target).st_mode) & 0o077 == 0o044 or os.umask(0o022) != 0o022, "an odd file mode")
    cluster.trilith("put", path, "films/top")
    top = cluster.json("ls", "films")
    expect(top["prefixes"] == ["a/"] and [entry["key"] for entry in top["objects"]] == ["top"], f"{top}")
    deep = cluster.json("ls", "films", "--recursive")["objects"]
    expect([entry["key"] for entry in deep] == ["a/b c+d%20é.bin", "top"], f"{deep}")
    expect([b["name"] for b in cluster.json("ls")["buckets"]] == ["cheap", "films"], "ls without a place")

    again = cluster.json("put", path, "films/top")
    expect(isinstance(again["erasure"], int), "overwriting started no erasure")
    cluster.trilith("erase", "wait", again["erasure"], "--timeout", 60)
    erasure = cluster.json("rm", "films/top")["erasure"]
    closed = cluster.json("erase", "wait", erasure, "--timeout", 60)
    expect(closed["state"] == "closed" and len(closed["certificate"]) == 36 and closed["open_disks"] == [], f"{closed}")
    expect(cluster.json("erase", "show", erasure)["id"] == erasure, "erase show")
    expect(erasure in [e["id"] for e in cluster.json("erase", "list")["erasures"]], "erase list")
    expect(cluster.json("rm", "films/top")["erasure"] is None, "a second rm erased something")
    for verb in (["get", "films/top", target], ["stat", "films/top"], ["locate", "films/top"], ["rm", "films/top"]):
        cluster.trilith(*verb, fails=1)
    cluster.trilith("bucket", "delete", "films", fails=1)  # not empty
    cluster.trilith("put", cluster.dir / "no such file", "films/x", fails=1)
    cluster.trilith("put", cluster.dir, "films/x", fails=1)
    cluster.trilith("put", path, "nowhere/x", fails=1)
    cluster.trilith("get", "films/a/b c+d%20é.bin", "/no/such/directory/x", fails=1)
    cluster.trilith("erase", "show", 999999, fails=1)


def nodes_and_disks(cluster):
    expect(sorted(node["name"] for node in cluster.json("node", "list")["nodes"]) == cluster.nodes, "node list")
    expect(cluster.json("node", "show", "node2")["name"] == "node2", "node show")
    cluster.trilith("node", "show", "node99", fails=1)
    disks = cluster.json("disk", "list")["disks"]
    expect(len(disks) == 4 and all(disk["state"] == "serving" for disk in disks), f"{disks}")
    inspected = cluster.json("disk", "inspect", disks[0]["path"], "--records")
    expect(isinstance(inspected["records"], list), f"{sorted(inspected)}")
    cluster.trilith("disk", "inspect", cluster.dir / "nothing", fails=1)


def an_erasure_waits_for_a_node_that_is_away(cluster):
    path = cluster.dir / "input"
    cluster.trilith("put", path, "films/waits")
    away = cluster.json("locate", "films/waits")["chunks"][0]["copies"][0]["node"]
    cluster.kill(away)
    erasure = cluster.json("rm", "films/waits")["erasure"]
    cluster.trilith("erase", "wait", erasure, "--timeout", 3, fails=1)
    still_open = cluster.json("erase", "show", erasure)
    expect(still_open["state"] == "open" and len(still_open["open_disks"]) == 1, f"{still_open}")
    cluster.start(away)
    cluster.trilith("erase", "wait", erasure, "--timeout", 60)
    cluster.wait_healthy()


def configuration_of_the_command_line(cluster):
    def with_config(path, *arguments):
        return run([cluster.bin / "trilith", *arguments], env={**cluster.env, "TRILITH_CONFIG": str(path)})

    text = (cluster.dir / "trilith.conf").read_text()
    for name, content, mode in [
        ("open", text, 0o644),
        ("unknown-option", text + "colour = red\n", 0o600),
        ("unknown-section", text + "[colours]\nred = 1\n", 0o600),
    ]:
        path = cluster.dir / f"{name}.conf"
        path.write_text(content)
        path.chmod(mode)
        done = with_config(path, "status")
        expect(done.returncode == 2 and len(done.stderr.splitlines()) == 1, f"{name}: {done}")
        expect(str(path) in done.stderr, f"{name}: the file is not named: {done.stderr}")
    expect(with_config("", "status").returncode == 2, "no configuration")
    example = cluster.dir / "example.conf"
    example.write_text(cluster.trilith("--print-example-config"))
    example.chmod(0o600)
    done = with_config(example, "ls")
    expect(done.returncode == 2 and "access_key" in done.stderr, f"the example is not read: {done.stderr}")


def a_service_that_is_away(cluster):
    cluster.kill("meta1")
    said = cluster.trilith("status", fails=1)
    expect("can't be reached" in said, said)
    cluster.trilith("put", cluster.dir / "input", "films/y", fails=1)
    cluster.start("meta1")
    cluster.up()
    cluster.trilith("put", cluster.dir / "input", "films/y")


SCENARIOS = [
    every_verb_has_help,
    wrong_use_is_status_2,
    status_shape,
    tenants_buckets_credentials,
    objects,
    nodes_and_disks,
    an_erasure_waits_for_a_node_that_is_away,
    configuration_of_the_command_line,
    a_service_that_is_away,
]
