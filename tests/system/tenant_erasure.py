"""tenant_erasure - a tenant goes as a whole, by two people; and what keeps versions from going, or lets them come back.

Everything goes through the command line and S3, as people do it. Each erased tenant had a neighbour with the same names of
buckets and objects: what the neighbour has stays as it was. A copy that turns up after the certificate opens it again."""
import base64
import json
import random
import shutil
import time

from cluster import Cluster, expect, run, wait_for
from erased import disk_id, search
from residue import files_below
from s3 import S3, S3Error

KIB, MIB = 1 << 10, 1 << 20
LEASE_S = 3
WAIT_S = 60
SEED = 5150
BUCKETS = ("films", "letters")
SIZES = (0, 777, 64 * KIB + 1, 5 * MIB + 5)
ORPHAN_AFTER_S = 4


def open_cluster():
    cluster = Cluster("release", disk_size="512 MiB", options=[
        "disk.segment_size=16 MiB", "disk.prewrite_segments=1", "meta.journal_segment_size=1 MiB",
        f"meta.key_lease={LEASE_S}s", "meta.node_lease=2s", f"node.orphan_after={ORPHAN_AFTER_S}s"])
    cluster.scratch = cluster.dir / "scratch"
    cluster.scratch.mkdir()
    cluster.clients = {}
    cluster.keys = {name: make_key(cluster, name) for name in ("ada", "bob", "eve")}
    for tenant in ("acme", "neighbour"):
        fill(cluster, tenant)
    return cluster


# ---- tenants ------------------------------------------------------------------------------------


def body_of(tenant, bucket, number):
    return random.Random(f"{SEED} {tenant} {bucket} {number}").randbytes(SIZES[number])


def fill(cluster, tenant):
    cluster.trilith("tenant", "create", tenant)
    made = cluster.json("credential", "create", "--tenant", tenant, "--role", "owner")
    client = S3(cluster.endpoints, made["access_key"], made["secret_key"])
    cluster.clients[tenant] = client
    for bucket in BUCKETS:
        cluster.trilith("bucket", "create", bucket, "--tenant", tenant)
        for number in range(len(SIZES)):
            client.put(bucket, f"object-{number}", body_of(tenant, bucket, number))
    return client


def reads_back(cluster, tenant):
    for bucket in BUCKETS:
        for number in range(len(SIZES)):
            expect(cluster.clients[tenant].get(bucket, f"object-{number}") == body_of(tenant, bucket, number),
                   f"{tenant}: {bucket}/object-{number} came back different")


def sealed_of(cluster, tenant):
    """The sealed bytes of every copy, as they lie on the disks."""
    sealed = set()
    for bucket in BUCKETS:
        for number in range(len(SIZES)):
            located = cluster.json("locate", f"{bucket}/object-{number}", "--tenant", tenant)
            for copy in (copy for chunk in located["chunks"] for copy in chunk["copies"]):
                with open(copy["segment"], "rb") as file:
                    file.seek(copy["offset"])
                    sealed.add(file.read(copy["length"]))
    return b"".join(sealed)


def refused_with(codes, ask):
    try:
        ask()
    except S3Error as error:
        expect(error.code in codes and 400 <= error.status < 500, f"{error}")
        return True
    return False


def nothing_is_left(cluster, sealed, what):
    found, where = search(cluster, sealed, files_below(cluster.dir))
    expect(found == 0, f"{what}: {found} windows stand: {where[:5]}")
    vault = cluster.json("status")["vault"]
    expect(vault["balanced"], f"{vault}")


# ---- people and requests ------------------------------------------------------------------------


def make_key(cluster, name):
    path = cluster.scratch / f"{name}.key"
    path.with_suffix(".pub").write_text(cluster.trilith("person", "key", path))
    return path


def ask(cluster, tenant):
    return cluster.json("tenant", "erase", tenant, "--reason", "contract ended", "--requested-by", "Carol",
                        "--legal-basis", "GDPR Art. 17", "--contract-ref", f"C-{tenant}")


def approve(cluster, request, person, **options):
    return cluster.trilith("request", "approve", request["id"], "--as", person.capitalize(), "--key",
                           cluster.keys[person], "--plan", request["plan_sha256"], **options)


def erase(cluster, tenant):
    request = ask(cluster, tenant)
    approve(cluster, request, "ada")
    approve(cluster, request, "bob")
    return request


def done(cluster, request, timeout_s=WAIT_S):
    ended = cluster.json("request", "wait", request["id"], "--timeout", timeout_s)
    expect(ended["state"] == "done" and ended["certificate"], f"{ended}")
    return ended


def certificate(cluster, number):
    """Taken away, verified by the tool and by the shell, and what it says."""
    place = cluster.scratch / f"export-{number}"
    shutil.rmtree(place, ignore_errors=True)
    cluster.trilith("cert", "export", number, "--out", place)
    said = cluster.trilith("cert", "verify", place / "certificate.jws", "--key", place / "issuer.pem")
    expect("approvals are signed" in said or "Merkle path" in said, said)
    shell = run(["sh", place / "verify.sh"], 60)
    expect(shell.returncode == 0, f"{shell.stdout} {shell.stderr}")
    part = (place / "certificate.jws").read_text().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


# ---- before anything is destroyed ---------------------------------------------------------------


def a_dry_run_changes_nothing(cluster):
    before = cluster.json("status")["journal_index"]
    shown = cluster.json("tenant", "show", "acme")
    plan = cluster.json("tenant", "erase", "acme", "--reason", "contract ended", "--dry-run")
    expect(plan["state"] == "planned" and plan["plan_sha256"], f"{plan}")
    inventory = plan["plan"]["inventory"]
    versions = len(BUCKETS) * len(SIZES)
    expect(inventory["versions"] == versions and inventory["buckets"] == len(BUCKETS), f"{inventory}")
    expect(inventory["bytes"] == len(BUCKETS) * sum(SIZES) and inventory["credentials"] == 1, f"{inventory}")
    expect(len(plan["plan"]["disks"]) == 4, f"{plan['plan']['disks']}")
    said = cluster.trilith("tenant", "erase", "acme", "--reason", "contract ended", "--dry-run")
    expect("nothing has changed" in said and plan["plan_sha256"] in said, said)
    expect(cluster.json("tenant", "show", "acme") == shown and shown["state"] == "live", "the tenant has changed")
    expect(cluster.json("request", "list")["requests"] == [], "a request was made")
    expect(cluster.json("status")["journal_index"] - before < 20, "something was written")
    reads_back(cluster, "acme")
    cluster.trilith("tenant", "erase", "acme", fails=2)
    cluster.trilith("tenant", "erase", "nobody", "--reason", "x", fails=1)


def people_have_names_and_keys_of_their_own(cluster):
    keys = {name: path.with_suffix(".pub") for name, path in cluster.keys.items()}
    cluster.trilith("person", "add", "Ada", "--key", keys["ada"], "--title", "Data protection officer")
    said = cluster.trilith("person", "add", "Bob", "--key", keys["ada"], fails=1)
    expect("somebody else's" in said, said)
    said = cluster.trilith("person", "add", "Bob", "--key", cluster.keys["bob"], fails=1)
    expect("private key" in said and "-pubout" in said, said)
    cluster.trilith("person", "add", "Bob", "--key", keys["bob"])
    cluster.trilith("person", "add", "Bob", "--key", keys["eve"], fails=1)
    cluster.trilith("person", "key", cluster.keys["ada"], fails=1)
    listed = {person["name"]: person for person in cluster.json("person", "list")["people"]}
    expect(sorted(listed) == ["Ada", "Bob"] and listed["Ada"]["title"] == "Data protection officer", f"{listed}")


def what_is_asked_for_switches_access_off_and_can_be_taken_back(cluster):
    reads_back(cluster, "acme")  # Keys are in the memory of gateways now.
    client = cluster.clients["acme"]
    request = ask(cluster, "acme")
    expect(request["state"] == "open" and request["requested_by"] == "Carol", f"{request}")
    begin = time.monotonic()
    wait_for("access to stop", LEASE_S + 2, lambda: all(
        refused_with(("KMS.DisabledException",), lambda n=n: client.get("films", f"object-{n}"))
        for n in range(1, len(SIZES))))
    print(f"# no object could be read any more {time.monotonic() - begin:.1f} s after it was asked for", flush=True)
    expect(refused_with(("KMS.DisabledException",), lambda: client.put("films", "new", b"late")), "a put was taken")
    for verb in (("key", "enable", "acme"), ("credential", "create", "--tenant", "acme"),
                 ("bucket", "create", "more", "--tenant", "acme")):
        said = cluster.trilith(*verb, fails=1)
        expect("erasure is asked for" in said, said)
    said = cluster.trilith("tenant", "erase", "acme", "--reason", "again", fails=1)
    expect("asked for already" in said, said)
    shown = cluster.json("tenant", "show", "acme")
    expect(shown["state"] == "erasure asked" and shown["erasure_request"] == request["id"], f"{shown}")
    reads_back(cluster, "neighbour")
    cluster.trilith("request", "cancel", request["id"])
    said = cluster.trilith("request", "wait", request["id"], fails=1)
    expect("cancelled" in said, said)
    approve(cluster, request, "ada", fails=1)
    wait_for("access to return", LEASE_S + 2, lambda: not refused_with(
        ("KMS.DisabledException",), lambda: client.get("films", "object-3")))
    reads_back(cluster, "acme")
    expect(cluster.json("tenant", "show", "acme")["state"] == "live", "it is live again")


# ---- from the question to the certificate -------------------------------------------------------


def it_takes_two_people_with_two_keys_and_the_plan_they_saw(cluster):
    cluster.sealed = sealed_of(cluster, "acme")
    request = cluster.request = ask(cluster, "acme")
    arguments = ("request", "approve", request["id"], "--as")
    said = cluster.trilith(*arguments, "Ada", "--key", cluster.keys["bob"], fails=1)
    expect("may not approve" in said, said)
    cluster.trilith(*arguments, "Eve", "--key", cluster.keys["eve"], fails=1)
    said = cluster.trilith(*arguments, "Ada", "--key", cluster.keys["ada"], "--plan", "00" * 32, fails=1)
    expect("another plan" in said and "nothing was signed" in said, said)
    cluster.keys["ada"].chmod(0o644)
    said = cluster.trilith(*arguments, "Ada", "--key", cluster.keys["ada"], fails=1)
    expect("others can read" in said, said)
    cluster.keys["ada"].chmod(0o600)
    expect("one more approval" in approve(cluster, request, "ada"), "the first approval")
    said = approve(cluster, request, "ada", fails=1)
    expect("approved request" in said and "another person" in said, said)
    said = cluster.trilith("request", "wait", request["id"], "--timeout", 1, fails=1)
    expect("stage approval" in said, said)
    shown = cluster.json("request", "show", request["id"])
    expect([approval["person"] for approval in shown["approvals"]] == ["Ada"], f"{shown['approvals']}")


def it_ends_with_a_certificate_and_nothing_is_left(cluster):
    request, client, sealed = cluster.request, cluster.clients["acme"], cluster.sealed
    found, _ = search(cluster, sealed, files_below(cluster.dir / "node1"))
    expect(found > 1000, f"the search finds {found} windows on one of four nodes, with three copies on all")
    expect("it runs" in approve(cluster, request, "bob"), "the second approval")
    cluster.trilith("request", "cancel", request["id"], fails=1)
    ended = done(cluster, request)
    nothing_is_left(cluster, sealed, "while the cluster runs")
    reads_back(cluster, "neighbour")
    payload = certificate(cluster, ended["certificate"])
    expect(payload["type"] == "tenant-crypto-erase" and payload["result"] == "ERASED", f"{payload}")
    subject = payload["subject"]
    expect(subject["versions"] == len(BUCKETS) * len(SIZES) and subject["buckets"] == len(BUCKETS), f"{subject}")
    expect(subject["bytes"] == len(BUCKETS) * sum(SIZES) and subject["contract_ref"] == "C-acme", f"{subject}")
    said = payload["request"]
    expect(said["requested_by"] == "Carol" and said["plan_sha256"] == request["plan_sha256"], f"{said}")
    expect("acme" not in json.dumps({**payload, "subject": {**subject, "contract_ref": None}}), "it tells the name")
    keys = payload["crypto"]
    expect(all(dek["state"] == "destroyed" for dek in keys["dek"]) and payload["k_ref_destroyed_at"], f"{keys}")
    expect(keys["cmk"]["action"] == "none" and keys["cmk"]["state"] == "not_separable",
           f"the master keys of a key file follow from one: {keys['cmk']}")
    words = cluster.trilith("cert", "show", ended["certificate"])
    for text in ("Erasure of a tenant", "Ada", "Bob", "What is not claimed", "contract ended"):
        expect(text in words, f"{text!r} is missing: {words}")
    listed = [c["id"] for c in cluster.json("cert", "list", "--tenant", "acme")["certificates"]]
    expect(listed == [ended["certificate"]], f"{listed}")
    approve(cluster, request, "bob", fails=1)
    expect(refused_with(("InvalidAccessKeyId", "AccessDenied"), lambda: client.get("films", "object-1")), "access")


def its_name_stays_taken_and_every_verb_says_so(cluster):
    shown = cluster.json("tenant", "show", "acme")
    expect(shown["state"] == "erased" and shown["erased"], f"{shown}")
    expect(shown["objects"] == 0 and shown["buckets"] == 0, f"{shown}")
    listed = {tenant["name"]: tenant["state"] for tenant in cluster.json("tenant", "list")["tenants"]}
    expect(listed["acme"] == "erased" and listed["neighbour"] == "live", f"{listed}")
    said = cluster.trilith("tenant", "create", "acme", fails=1)
    expect("exists already" in said, said)
    for verb in (("tenant", "erase", "acme", "--reason", "again"), ("bucket", "create", "films", "--tenant", "acme"),
                 ("credential", "create", "--tenant", "acme"), ("key", "enable", "acme"), ("key", "rotate", "acme"),
                 ("key", "rotate", "acme", "--cmk"), ("hold", "films/object-1", "--legal", "on", "--tenant", "acme")):
        said = cluster.trilith(*verb, fails=1)
        expect('there is no tenant "acme"' in said, said)


# ---- what comes in between ----------------------------------------------------------------------


def closing_without(cluster, request, disk):
    """All the other disks have answered and the keys are gone: it is still open, and says which disk is missing."""
    number = cluster.json("request", "show", request["id"])["erasure"]

    def only_this_disk():
        shown = cluster.json("erase", "show", number)
        return shown if shown["open_disks"] == [disk] and shown["keys"] == "destroyed" else None

    shown = wait_for("all but one disk", WAIT_S, only_this_disk)
    expect(shown["state"] == "open" and shown["certificate"] is None and "1 disk" in shown["waiting"], f"{shown}")
    said = cluster.trilith("request", "wait", request["id"], "--timeout", 1, fails=1)
    expect("stage closing" in said and f"erase show {number}" in said, said)
    return number


def a_node_that_was_away_keeps_it_open(cluster):
    fill(cluster, "brook")
    cluster.brook = sealed_of(cluster, "brook")
    cluster.away = "node2"
    disk = disk_id(cluster, cluster.away)
    cluster.kill(cluster.away)
    cluster.kept = cluster.dir.parent / f"{cluster.dir.name}-kept"
    shutil.copytree(cluster.dir / cluster.away, cluster.kept)
    request = erase(cluster, "brook")
    cluster.brook_erasure = closing_without(cluster, request, disk)
    begin = time.monotonic()
    cluster.start(cluster.away)
    cluster.brook_done = done(cluster, request)
    print(f"# certified {time.monotonic() - begin:.1f} s after the node was started", flush=True)
    nothing_is_left(cluster, cluster.brook, "after the node came back")
    reads_back(cluster, "neighbour")


def a_copy_that_turns_up_later_opens_it_again(cluster):
    """The node as it was before the erasure is put back: what it has is found, named, wiped, and certified anew."""
    number, first = cluster.brook_erasure, cluster.brook_done["certificate"]
    cluster.kill(cluster.away)
    place = cluster.dir / cluster.away
    shutil.rmtree(place)
    cluster.kept.rename(place)
    found, _ = search(cluster, cluster.brook, files_below(place))
    expect(found > 1000, f"the node that is put back has {found} windows of the tenant")
    cluster.start(cluster.away)

    def certified_again():
        shown = cluster.json("erase", "show", number)
        return shown if shown["reopened"] > 0 and shown["certificate"] not in (None, first) else None

    shown = wait_for("another certificate", ORPHAN_AFTER_S * 4 + WAIT_S, certified_again)
    expect(shown["state"] == "closed" and shown["open_disks"] == [], f"{shown}")
    payload = certificate(cluster, shown["certificate"])
    expect(payload["supersedes"] == first and payload["reopened"] == shown["reopened"], f"{payload['supersedes']}")
    expect(payload["type"] == "tenant-crypto-erase" and payload["result"] == "ERASED", f"{payload}")
    expect(cluster.json("request", "show", cluster.brook_done["id"])["certificate"] == shown["certificate"],
           "the request names the new one")
    words = cluster.trilith("cert", "show", shown["certificate"])
    expect(first in words, f"it does not say what it supersedes: {words}")
    nothing_is_left(cluster, cluster.brook, "after the old node was put back")
    reads_back(cluster, "neighbour")
    cluster.wait_healthy()


def a_metadata_server_that_is_killed_again_and_again_ends_the_same(cluster):
    fill(cluster, "crest")
    sealed = sealed_of(cluster, "crest")
    request = ask(cluster, "crest")

    def kill_after(delay_s):
        time.sleep(delay_s)
        cluster.kill("meta1")
        cluster.start("meta1")

    kill_after(0)
    approve(cluster, request, "ada")
    kill_after(0)
    approve(cluster, request, "bob")
    for delay_s in (0, 0.05, 0.2, 0.5, 1, 1.5):
        kill_after(delay_s)
    ended = done(cluster, request)
    listed = [c["id"] for c in cluster.json("cert", "list", "--tenant", "crest")["certificates"]]
    expect(listed == [ended["certificate"]], f"{listed}")
    payload = certificate(cluster, ended["certificate"])
    expect(payload["subject"]["versions"] == len(BUCKETS) * len(SIZES), f"{payload['subject']}")
    nothing_is_left(cluster, sealed, "after the metadata server was killed")
    reads_back(cluster, "neighbour")


# ---- what keeps versions ------------------------------------------------------------------------

GRACE_S = 3


def deleted(client, bucket, key):
    status, headers, body = client.once("DELETE", bucket, key)
    expect(status == 204, f"{status} {body}")
    expect(client.once("GET", bucket, key)[0] == 404, f"{bucket}/{key} can still be read")
    return headers["x-trilith-erasure"]


def closed(cluster, number):
    ended = cluster.json("erase", "wait", number, "--timeout", WAIT_S)
    expect(ended["state"] == "closed" and ended["certificate"] and ended["keys"] == "destroyed", f"{ended}")
    return ended


def a_deletion_can_be_taken_back_in_its_grace_time(cluster):
    client = cluster.clients["neighbour"]
    cluster.trilith("bucket", "create", "slow", "--tenant", "neighbour", "--grace", "1h")
    cluster.trilith("bucket", "set", "slow", "--tenant", "neighbour", "--grace", f"{GRACE_S}s")
    expect(cluster.json("bucket", "show", "slow", "--tenant", "neighbour")["grace_ms"] == GRACE_S * 1000, "bucket show")
    body = random.Random(SEED).randbytes(5 * MIB + 1)
    client.put("slow", "key", body)
    number = deleted(client, "slow", "key")
    shown = cluster.json("erase", "show", number)
    expect(shown["state"] == "grace" and shown["keys"] == "live" and shown["grace_until"], f"{shown}")
    cluster.trilith("erase", "undo", number)
    expect(client.get("slow", "key") == body, "it came back different")
    cluster.trilith("erase", "undo", number, fails=1)
    shown = cluster.json("erase", "wait", number)
    expect(shown["state"] == "undone" and shown["keys"] == "live" and not shown["certificate"], f"{shown}")
    number = deleted(client, "slow", "key")
    overwritten = client.put("slow", "key", b"newer")
    said = cluster.trilith("erase", "undo", number, fails=1)
    expect("newer version" in said, said)
    expect("x-trilith-erasure" not in overwritten, f"nothing was overwritten: {overwritten}")
    replaced = client.put("slow", "key", b"newest")["x-trilith-erasure"]
    expect(cluster.json("erase", "show", replaced)["state"] == "grace", "what is overwritten has a grace time too")
    for erasure in (number, replaced):
        ended = closed(cluster, erasure)
        expect(certificate(cluster, erasure)["cert_id"] == ended["certificate"], f"{ended}")
        cluster.trilith("erase", "undo", erasure, fails=1)
    expect(client.get("slow", "key") == b"newest", "the newest version stays")


def a_hold_and_retention_forbid_it(cluster):
    client = cluster.clients["neighbour"]
    hold = ("hold", "films/object-1", "--tenant", "neighbour")
    tries = (lambda: client.delete("films", "object-1"), lambda: client.put("films", "object-1", b"other"))
    cluster.trilith(*hold, "--legal", "on")
    expect(all(refused_with(("AccessDenied",), attempt) for attempt in tries), "a hold did not hold")
    said = cluster.trilith("tenant", "erase", "neighbour", "--reason", "x", fails=1)
    expect("legal hold" in said, said)
    cluster.trilith(*hold, "--legal", "off")
    until = time.time() + 4
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    cluster.trilith(*hold, "--until", stamp)
    expect(all(refused_with(("AccessDenied",), attempt) for attempt in tries), "retention did not hold")
    said = cluster.trilith(*hold, "--until", "2020-01-01", fails=1)
    expect("never shorter" in said, said)
    reads_back(cluster, "neighbour")
    wait_for("the end of the retention", 10, lambda: client.once("DELETE", "films", "object-1")[0] == 204)
    expect(time.time() >= until - 1, "retention ended early")
    client.put("films", "object-1", body_of("neighbour", "films", 1))


def a_hold_in_the_grace_time_keeps_it_and_lets_it_go(cluster):
    client = cluster.clients["neighbour"]
    client.put("slow", "held", b"evidence" * 1000)
    number = deleted(client, "slow", "held")
    hold = ("hold", "slow/held", "--tenant", "neighbour", "--erasure", number, "--legal")
    cluster.trilith(*hold, "on")
    time.sleep(GRACE_S + 2)
    shown = cluster.json("erase", "show", number)
    expect(shown["state"] == "grace" and shown["held"] and "hold" in shown["waiting"], f"{shown}")
    cluster.trilith(*hold, "off")
    closed(cluster, number)


def a_bucket_says_how_it_is_erased_and_the_certificate_what_was_done(cluster):
    client = cluster.clients["neighbour"]
    cluster.trilith("bucket", "create", "thrice", "--tenant", "neighbour", "--erase", "dod3")
    expect(cluster.json("bucket", "show", "thrice", "--tenant", "neighbour")["erase"] == "dod3", "bucket show")
    cluster.trilith("bucket", "set", "thrice", "--tenant", "neighbour", "--erase", "gutmann", fails=2)
    cluster.trilith("bucket", "set", "thrice", "--tenant", "neighbour", fails=2)
    client.put("thrice", "key", b"x" * 100000)
    number = deleted(client, "thrice", "key")
    closed(cluster, number)
    payload = certificate(cluster, number)
    done_by = {replica["technique"] for replica in payload["replicas"]}
    media = {replica["disk"]["media"] for replica in payload["replicas"]}
    if "rotational" not in media:
        expect(done_by == {"overwrite"} and "dod3" not in payload["claim"]["technique"],
               f"three passes are claimed of {media}: {payload['claim']}")
    else:
        expect("dod3" in done_by, f"{payload['replicas']}")


def who_has_signed_stays_on_record(cluster):
    publics = {name: path.with_suffix(".pub") for name, path in cluster.keys.items()}
    cluster.trilith("person", "remove", "Ada")
    listed = {person["name"]: person for person in cluster.json("person", "list")["people"]}
    expect(listed["Ada"]["removed"] and listed["Ada"]["signatures"] >= 3, f"{listed}")
    cluster.trilith("person", "add", "Ada", "--key", publics["eve"], fails=1)
    cluster.trilith("person", "add", "Eve", "--key", publics["ada"], fails=1)
    cluster.trilith("person", "add", "Eve", "--key", publics["eve"])
    request = ask(cluster, "neighbour")
    said = approve(cluster, request, "ada", fails=1)
    expect("may not approve" in said, said)
    approve(cluster, request, "eve")
    approve(cluster, request, "bob")
    done(cluster, request)


SCENARIOS = [
    a_dry_run_changes_nothing,
    people_have_names_and_keys_of_their_own,
    what_is_asked_for_switches_access_off_and_can_be_taken_back,
    it_takes_two_people_with_two_keys_and_the_plan_they_saw,
    it_ends_with_a_certificate_and_nothing_is_left,
    its_name_stays_taken_and_every_verb_says_so,
    a_node_that_was_away_keeps_it_open,
    a_copy_that_turns_up_later_opens_it_again,
    a_metadata_server_that_is_killed_again_and_again_ends_the_same,
    a_deletion_can_be_taken_back_in_its_grace_time,
    a_hold_and_retention_forbid_it,
    a_hold_in_the_grace_time_keeps_it_and_lets_it_go,
    a_bucket_says_how_it_is_erased_and_the_certificate_what_was_done,
    who_has_signed_stays_on_record,
]
