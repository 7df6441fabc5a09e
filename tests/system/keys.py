"""keys - the life of a tenant's keys on a real cluster: rotation, import, revocation, a KMS that is away, a token.

Two clusters: one whose master keys follow from a key file under a passphrase, and one whose master keys stand in a PKCS#11
token (SoftHSM2). Leases are short here, so that what ends with them ends soon."""
import os
import random
import re
import socket
import subprocess
import time

from cluster import ROOT, Cluster, Failed, expect, run, wait_for
from s3 import S3Error

KIB, MIB = 1 << 10, 1 << 20
LEASE_S = 3
SEED = 99
OPTIONS = [
    f"meta.key_lease={LEASE_S}s",
    "meta.dek_retire=2s",
    "disk.segment_size=32 MiB",
    "disk.prewrite_segments=1",
    "node.reseal_rate=256 MiB",
]
PASSPHRASE = "a passphrase of several words"
SIZES = [0, 1, 4096, 64 * KIB, 64 * KIB + 1, 4 * MIB + 1, 9 * MIB]


def body_of(number):
    return random.Random(SEED + number).randbytes(SIZES[number % len(SIZES)])


def secret_file(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def open_cluster():
    def protect(cluster):
        (cluster.dir / "key").mkdir(mode=0o700)
        secret_file(cluster.dir / "key/passphrase", PASSPHRASE + "\n")
        done = run([cluster.bin / "trilith-meta", "--create-key", cluster.dir / "key/cmk", "--passphrase-file",
                    cluster.dir / "key/passphrase"], 60)
        expect(done.returncode == 0, done.stderr)
        OPTIONS_OF_FILE[:] = [f"meta.key_passphrase_file={cluster.dir / 'key/passphrase'}"]

    cluster = Cluster("asan", disk_size="1 GiB", options=LateOptions(), before_up=protect)
    cluster.trilith("bucket", "create", "films")
    client = cluster.s3()
    cluster.etags = {}
    for number in range(12):
        cluster.etags[number] = client.put("films", f"film-{number}", body_of(number))["etag"]
    return cluster


OPTIONS_OF_FILE = []


class LateOptions:
    """OPTIONS, and those that are known only when the cluster has a directory."""

    def __iter__(self):
        return iter([*OPTIONS, *OPTIONS_OF_FILE])


def check_films(cluster):
    client = cluster.s3()
    for number, etag in cluster.etags.items():
        status, headers, body = client.request("GET", "films", f"film-{number}")
        expect(body == body_of(number) and headers["etag"] == etag, f"film-{number}: {status} {headers}")


def data_keys(shown):
    return {key["version"]: key for key in shown["data_keys"]}


def key_show_says_what_there_is(cluster):
    shown = cluster.json("key", "show")
    expect(shown["tenant"] == "default" and shown["state"] == "enabled", f"{shown}")
    expect(shown["cmk"]["name"].startswith("file:") and shown["cmk"]["origin"] == "generated", f"{shown}")
    keys = data_keys(shown)
    expect(list(keys) == [1] and keys[1]["state"] == "current" and keys[1]["objects"] == 12, f"{shown}")
    expect(keys[1]["object_bytes"] == sum(len(body_of(n)) for n in range(12)), f"{shown}")
    expect(keys[1]["credentials"] >= 1, f"{shown}")
    expect("current" in cluster.trilith("key", "show", "default"), "the table for people")
    cluster.trilith("key", "show", "nobody", fails=1)
    cluster.trilith("key", "rotate", "--timeout", "soon", fails=2)


def a_rotated_data_key_leaves_nothing_under_the_old_one(cluster):
    shown = cluster.json("key", "rotate")
    keys = data_keys(shown)
    expect(keys[2]["state"] == "current" and keys[1]["state"] == "retiring", f"{shown}")
    cluster.s3().put("films", "new", b"under the new key")
    expect(data_keys(cluster.json("key", "show"))[2]["objects"] >= 1, "a new write is not under the new key")

    def destroyed():
        return data_keys(cluster.json("key", "show"))[1]["state"] == "destroyed"

    wait_for("the old data key destroyed", 120, destroyed)
    keys = data_keys(cluster.json("key", "show"))
    expect(keys[1]["objects"] == 0 and keys[1]["credentials"] == 0 and keys[2]["objects"] == 13, f"{keys}")
    expect("dek_destroyed" in cluster.log("meta1"), "no event says that it was destroyed")
    check_films(cluster)
    cluster.trilith("erase", "now")
    expect(data_keys(cluster.json("key", "show"))[1]["beyond_recovery"], "the epoch is closed")
    wait_for("all erasures closed", 60, lambda: cluster.json("status")["erasures"]["open"] == 0)
    check_films(cluster)


def rotation_goes_on_under_load_and_over_a_crash(cluster):
    client = cluster.s3()
    cluster.trilith("key", "rotate")
    for number in range(12, 20):
        cluster.etags[number] = client.put("films", f"film-{number}", body_of(number))["etag"]
    cluster.kill("meta1")
    cluster.start("meta1")
    cluster.kill("node1")
    cluster.start("node1")
    cluster.wait_healthy()
    cluster.trilith("key", "rotate", "--wait", "--timeout", "150", timeout_s=200)
    states = {version: key["state"] for version, key in data_keys(cluster.json("key", "show")).items()}
    expect(states == {1: "destroyed", 2: "destroyed", 3: "destroyed", 4: "current"}, f"{states}")
    check_films(cluster)


def a_new_master_key_seals_nothing_anew(cluster):
    before = cluster.json("key", "show")
    after = cluster.json("key", "rotate", "--cmk")
    expect(after["cmk"]["name"] != before["cmk"]["name"], "the same master key")
    expect(data_keys(after)[4]["objects"] == data_keys(before)[4]["objects"] and len(after["data_keys"]) == 4, f"{after}")
    time.sleep(LEASE_S + 1)  # until every gateway has to ask again
    check_films(cluster)


def a_customer_brings_the_master_key(cluster):
    own = cluster.dir / "own.key"
    own.write_bytes(os.urandom(32))
    own.chmod(0o644)
    expect("chmod" in cluster.trilith("key", "import", own, fails=1), "a key file that others may read was taken")
    own.chmod(0o600)
    shown = cluster.json("key", "import", own)
    expect(shown["cmk"]["origin"] == "imported", f"{shown}")
    first = shown["cmk"]["name"]
    # With stock tools only.
    transport = cluster.json("key", "transport")
    pem = cluster.dir / "transport.pem"
    pem.write_text(transport["public_key"])
    wrapped = cluster.dir / "own.wrapped"
    digest = {"RSA-OAEP-SHA256": "sha256", "RSA-OAEP-SHA1": "sha1"}[transport["algorithm"]]
    done = run(["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", pem, "-in", own, "-out", wrapped, "-pkeyopt",
                "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{digest}", "-pkeyopt", f"rsa_mgf1_md:{digest}"], 60)
    expect(done.returncode == 0, done.stderr)
    shown = cluster.json("key", "import", "default", wrapped, "--wrapped")
    expect(shown["cmk"]["origin"] == "imported" and shown["cmk"]["name"] != first, f"{shown}")
    wrapped.write_bytes(bytes(wrapped.stat().st_size))
    cluster.trilith("key", "import", wrapped, "--wrapped", fails=1)
    expect(cluster.json("key", "show")["cmk"]["name"] == shown["cmk"]["name"], "a refused import changed something")
    cluster.local("down")
    cluster.up()
    check_films(cluster)


def expect_refused(cluster, code):
    """Every gateway refuses reads, writes, listings and deletes with this code."""
    for number in range(len(cluster.endpoints)):
        client = cluster.s3(first=number)
        for request in (("GET", "films", "film-1"), ("PUT", "films", "refused", b"x"), ("GET", "films"),
                        ("DELETE", "films", "film-1")):
            try:
                client.request(*request, attempts=1)
            except S3Error as error:
                expect(error.code == code, f"gateway {number + 1} {request}: {error} instead of {code}")
            else:
                raise Failed(f"gateway {number + 1} {request}: not refused")


def answers_with(cluster, code):
    try:
        expect_refused(cluster, code)
        return True
    except Failed:
        return False


def revoking_stops_everything_within_the_lease_and_enabling_brings_it_back(cluster):
    check_films(cluster)
    shown = cluster.json("key", "revoke")
    expect(shown["state"] == "revoked", f"{shown}")
    time.sleep(LEASE_S + 0.5)
    expect_refused(cluster, "KMS.DisabledException")
    # Another tenant is not affected.
    cluster.trilith("tenant", "create", "other")
    cluster.trilith("bucket", "create", "theirs", "--tenant", "other")
    created = cluster.json("credential", "create", "--tenant", "other", "--role", "owner")
    other = cluster.s3()
    other.access_key, other.secret_key = created["access_key"], created["secret_key"]
    other.put("theirs", "a", b"works")
    expect(other.get("theirs", "a") == b"works", "the other tenant")
    expect(cluster.json("key", "enable")["state"] == "enabled", "enable")
    wait_for("access again", 30, lambda: not answers_with(cluster, "KMS.DisabledException"))
    time.sleep(1.5)
    check_films(cluster)


def a_download_under_way_stops_with_the_lease(cluster):
    size = 96 * MIB
    client = cluster.s3()
    client.put("films", "long", random.Random(7).randbytes(size))
    host, port = cluster.endpoints[0].replace("http://", "").split(":")
    request = client.prepare("GET", "films", "long")
    path, headers = request[0], request[1]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        got = len(connection.recv(64 * KIB))
        expect(got > 0, "no answer")
        cluster.trilith("key", "revoke")
        end = time.monotonic() + LEASE_S + 1
        while time.monotonic() < end:  # a slow reader, who keeps the transfer going
            got += len(connection.recv(64 * KIB))
            time.sleep(0.01)
        try:
            while piece := connection.recv(MIB):
                got += len(piece)
        except ConnectionResetError:
            pass
    cluster.trilith("key", "enable")
    expect(got < size, "the whole object came although its key was revoked in the middle")
    wait_for("access again", 30, lambda: not answers_with(cluster, "KMS.DisabledException"))
    client.delete("films", "long")


def sm4_is_a_suite_of_its_own(cluster):
    cluster.trilith("bucket", "create", "sm4", "--suite", "sm4-gcm")
    cluster.trilith("bucket", "create", "none", "--suite", "rot13", fails=2)
    expect(cluster.json("bucket", "show", "sm4")["suite"] == "sm4-gcm", "bucket show")
    expect(cluster.json("bucket", "show", "films")["suite"] == "aes-256-gcm", "bucket show")
    client = cluster.s3()
    for number in range(7):
        client.put("sm4", f"film-{number}", body_of(number))
    for number in range(7):
        expect(client.get("sm4", f"film-{number}") == body_of(number), f"film-{number} under SM4")


def a_wrong_passphrase_or_key_file_is_refused(cluster):
    cluster.local("down")
    passphrase = cluster.dir / "key/passphrase"
    cmk = cluster.dir / "key/cmk"
    secret_file(passphrase, "another passphrase\n")
    expect("passphrase" in start_refused(cluster), "wrong passphrase")
    secret_file(passphrase, PASSPHRASE + "\n")
    cmk.chmod(0o644)
    expect("chmod 600" in start_refused(cluster), "wrong mode")
    cmk.chmod(0o600)
    whole = cmk.read_bytes()
    cmk.write_bytes(whole[:-1])
    start_refused(cluster)
    cmk.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    start_refused(cluster)
    cmk.write_bytes(whole)
    cluster.up()
    check_films(cluster)


def start_refused(cluster):
    done = run([cluster.bin / "trilith-meta", "--config", cluster.dir / "meta1.conf"], 60)
    expect(done.returncode == 2, f"exit {done.returncode}: {done.stderr}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("trilith-meta: ")]
    expect(len(lines) == 1, f"one clear line was expected: {done.stderr}")
    print(f"# {lines[0]}", flush=True)
    return lines[0]


# ---- a token ------------------------------------------------------------------------------------


def a_token_holds_the_master_keys(first):
    """A cluster of its own on SoftHSM2: works, serves on its leases while the token is away, and comes back."""
    def token_of(cluster):
        done = run([ROOT / "tests/softhsm", cluster.dir / "token"], 60)
        expect(done.returncode == 0, done.stderr)
        cluster.token = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        os.environ["SOFTHSM2_CONF"] = cluster.token["SOFTHSM2_CONF"]
        # The token's own library forgets a little with each Ed25519 key that it loads.
        (cluster.dir / "token/suppressions").write_text("leak:libcrypto.so\nleak:libsofthsm2.so\n")
        os.environ["LSAN_OPTIONS"] = f"suppressions={cluster.dir / 'token/suppressions'}:print_suppressions=0"
        OPTIONS_OF_FILE[:] = [
            "meta.kms=pkcs11",
            f"meta.pkcs11_module={cluster.token['module']}",
            f"meta.pkcs11_token={cluster.token['label']}",
            f"meta.pkcs11_pin_file={cluster.token['pin_file']}",
        ]

    first.local("down")
    cluster = Cluster("asan", disk_size="1 GiB", options=LateOptions(), before_up=token_of)
    try:
        token_life(cluster)
        cluster.check_logs()
    finally:
        cluster.local("down")
        del os.environ["SOFTHSM2_CONF"], os.environ["LSAN_OPTIONS"]
    subprocess.run(["rm", "-rf", str(cluster.dir)], check=True)
    first.up()


def token_life(cluster):
    expect(cluster.json("key", "show")["cmk"]["name"].startswith("pkcs11:"), "the master key is not in the token")
    expect(cluster.json("status")["kms"] == {**cluster.json("status")["kms"], "provider": "pkcs11", "available": True},
           "status")
    cluster.trilith("bucket", "create", "films")
    client = cluster.s3()
    client.put("films", "film-1", body_of(1))
    cluster.trilith("key", "rotate", "--cmk")
    own = secret_file(cluster.dir / "own.key", os.urandom(32).hex() + "\n")
    expect(cluster.json("key", "import", own)["cmk"]["origin"] == "imported", "import into the token")
    cluster.local("down")
    cluster.up()
    expect(client.get("films", "film-1") == body_of(1), "after a restart")
    # Away: what was leased serves, then it is refused; and nothing else is.
    tokens = cluster.dir / "token/tokens"
    away = cluster.dir / "token-away"
    tokens.rename(away)
    expect(client.get("films", "film-1") == body_of(1), "within the lease")
    time.sleep(LEASE_S + 1)
    wait_for("refusals", 20, lambda: answers_with(cluster, "KMS.UnavailableException"))
    status = wait_for("status says so", 20, lambda: (lambda s: not s["kms"]["available"] and s)(cluster.json("status")))
    expect(not status["healthy"] and status["kms"]["message"], f"{status['kms']}")
    expect(cluster.json("bucket", "list")["buckets"], "what needs no key")
    away.rename(tokens)
    wait_for("the token again", 30, lambda: not answers_with(cluster, "KMS.UnavailableException"))
    time.sleep(1.5)
    expect(client.get("films", "film-1") == body_of(1), "after the token came back")
    wait_for("healthy", 30, lambda: cluster.json("status")["healthy"])
    # A wrong PIN.
    cluster.local("down")
    pin_file = cluster.dir / "wrong-pin"
    secret_file(pin_file, "000000\n")
    config = cluster.dir / "meta1.conf"
    kept = config.read_text()
    config.write_text(kept.replace(cluster.token["pin_file"], str(pin_file)))
    expect("PIN" in start_refused(cluster), "a wrong PIN")
    # A token that is not there: everything starts, and says so.
    config.write_text(re.sub(r"(?m)^pkcs11_token\s*=.*$", "pkcs11_token = no-such-token", kept))
    cluster.start("meta1")
    message = wait_for("status says so", 30, lambda: away_message(cluster))
    expect("no-such-token" in message and cluster.token["label"] in message, message)
    expect("kms_token_away" in cluster.log("meta1"), "no warning at the start")
    cluster.kill("meta1")
    # The right one, away during the start: used as soon as it is there.
    config.write_text(kept)
    tokens.rename(away)
    cluster.start("meta1")
    wait_for("status says so", 30, lambda: away_message(cluster))
    away.rename(tokens)
    cluster.up()
    cluster.wait_healthy()
    expect(client.get("films", "film-1") == body_of(1), "at the end")


def away_message(cluster):
    kms = cluster.json("status")["kms"]
    return None if kms["available"] else kms["message"]


SCENARIOS = [
    key_show_says_what_there_is,
    a_rotated_data_key_leaves_nothing_under_the_old_one,
    rotation_goes_on_under_load_and_over_a_crash,
    a_new_master_key_seals_nothing_anew,
    a_customer_brings_the_master_key,
    revoking_stops_everything_within_the_lease_and_enabling_brings_it_back,
    a_download_under_way_stops_with_the_lease,
    sm4_is_a_suite_of_its_own,
    a_wrong_passphrase_or_key_file_is_refused,
    a_token_holds_the_master_keys,
]
