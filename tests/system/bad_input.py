"""bad_input - malformed frames, requests and configurations: a clear error each, nothing lost, no crash. With
sanitizers on."""
import base64
import hashlib
import http.client
import os
import random
import socket
import stat

import wire
from cluster import Cluster, expect, run
from s3 import S3, S3Error

MIB = 1 << 20
BODY = random.Random(3).randbytes(100000)


def open_cluster():
    # A connection that says nothing any more is closed after s3_idle: some inputs below just stop.
    cluster = Cluster("asan", disk_size="2 GiB", options=["timeouts.s3_idle=2s"])
    client = cluster.s3()
    client.create_bucket("inputs")
    client.put("inputs", "kept", BODY)
    return cluster


def still_serves(cluster):
    """After the worst: what was stored is there, and something new can be stored, at every gateway."""
    for number in range(len(cluster.endpoints)):
        client = cluster.s3(first=number)
        expect(client.once("GET", "inputs", "kept")[2] == BODY, "what was stored came back different")
        expect(client.once("PUT", "inputs", "new", BODY)[0] == 200, "nothing new can be stored")
    expect(cluster.json("status")["healthy"], "the cluster is not healthy")


def malformed_frames(cluster):
    ports = {name: cluster.port(name) for name in ("meta1", "node1")}
    for name, port in ports.items():
        good = wire.CLUSTER_STATUS if name == "meta1" else wire.NODE_PING
        expect(wire.status_of(wire.exchange(port, wire.frame(good))) == 0, f"{name}: a good frame is refused")
        bad = {
            "magic": wire.frame(good, magic=b"HTTP"),
            "version": wire.frame(good, version=2),
            "kind": wire.frame(good, kind=9),
            "reply nobody asked for": wire.frame(good, kind=2),
            "message too large": wire.frame(good, message_bytes=0x7FFFFFFF),
            "payload too large": wire.frame(good, payload_bytes=0x7FFFFFFF),
            "header checksum": wire.frame(good, header_crc=1),
            "message checksum": wire.frame(good, b"\x08\x01", message_crc=1),
            "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64),
            "zeros": bytes(4096),
        }
        for what, data in bad.items():
            expect(wire.exchange(port, data) == b"", f"{name}: a frame with a bad {what} was answered")
        for what, data in {
            "an unknown type": wire.frame(999),
            "a message that does not parse": wire.frame(44, b"\xff\xff\xff\xff"),
        }.items():
            answer = wire.exchange(port, data)
            expect(answer == b"" or wire.status_of(answer) != 0, f"{name}: {what} was accepted")
        if name == "meta1":
            expect(wire.status_of(wire.exchange(port, wire.frame(good, b"", b"x" * 100))) != 0, "meta1 takes payload")
        for cut in (1, 47, 48):
            whole = wire.frame(good, b"\x08\x01")
            expect(wire.exchange(port, whole[:cut], end=True) == b"", f"{name}: a cut frame was answered")


def random_frames(cluster):
    chance = random.Random(11)
    for name in ("meta1", "node1"):
        for _ in range(300):
            message = chance.randbytes(chance.randrange(200))
            known = [1, 2, 3, 20, 21, 23, 24, 25, 26, 27, 28, 40, 41, 42, 43, 44, 45, 46, 47, 61, 63, 65, 66, 67, 68]
            data = bytearray(wire.frame(chance.choice(known), message))
            if chance.random() < 0.5:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            wire.exchange(cluster.port(name), bytes(data), end=True)
    still_serves(cluster)


def expect_s3(answer, status, code):
    found = S3Error(answer[0], answer[2])
    expect(found.status == status and found.code in code, f"HTTP {found.status} {found.code} instead of {status} {code}")


def bad_signatures(cluster):
    client = cluster.s3()
    access, secret = client.access_key, client.secret_key
    client.secret_key = secret[:-1] + ("x" if secret[-1] != "x" else "y")
    expect_s3(client.once("GET", "inputs", "kept"), 403, ["SignatureDoesNotMatch"])
    client.secret_key, client.access_key = secret, "AKNOBODY"
    expect_s3(client.once("GET", "inputs", "kept"), 403, ["InvalidAccessKeyId"])
    client.access_key = access
    expect_s3(client.once("GET", "inputs", "kept", skew_s=3600), 403, ["RequestTimeTooSkewed"])
    expect_s3(client.once("GET", "inputs", "kept", skew_s=-3600), 403, ["RequestTimeTooSkewed"])
    host, port = client.endpoints[0].rsplit(":", 1)
    for headers in ({}, {"Authorization": "AWS4-HMAC-SHA256 nonsense"}, {"Authorization": "Basic eDp5"},
                    {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=, Signature=00"}):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/inputs/kept", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        expect(answer.status in (400, 403), f"{headers}: HTTP {answer.status}")
        expect(BODY[:16] not in body, "bytes without a signature")
        connection.close()
    still_serves(cluster)


def roles_and_revocation(cluster):
    made = {role: cluster.json("credential", "create", "--role", role) for role in ("viewer", "editor")}
    viewer = S3(cluster.endpoints, made["viewer"]["access_key"], made["viewer"]["secret_key"])
    expect(viewer.once("GET", "inputs", "kept")[0] == 200, "a viewer may not read")
    expect_s3(viewer.once("PUT", "inputs", "forbidden", b"x"), 403, ["AccessDenied"])
    expect_s3(viewer.once("DELETE", "inputs", "kept"), 403, ["AccessDenied"])
    editor = S3(cluster.endpoints, made["editor"]["access_key"], made["editor"]["secret_key"])
    expect(editor.once("PUT", "inputs", "by-editor", b"x")[0] == 200, "an editor may not write")
    cluster.trilith("tenant", "create", "stranger")
    other = cluster.json("credential", "create", "--tenant", "stranger", "--role", "owner")
    stranger = S3(cluster.endpoints, other["access_key"], other["secret_key"])
    expect(stranger.once("GET", "inputs", "kept")[0] in (403, 404), "a stranger may read")


def wrong_checksums(cluster):
    client = cluster.s3()
    wrong_md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    expect_s3(client.once("PUT", "inputs", "bad", BODY, extra={"content-md5": wrong_md5}), 400, ["BadDigest"])
    expect_s3(client.once("PUT", "inputs", "bad", BODY, extra={"content-md5": "nonsense"}), 400, ["InvalidDigest"])
    wrong_sha = hashlib.sha256(b"other").hexdigest()
    expect_s3(client.once("PUT", "inputs", "bad", BODY, body_sha256=wrong_sha), 400, ["XAmzContentSHA256Mismatch"])
    expect_s3(client.once("GET", "inputs", "bad"), 404, ["NoSuchKey"])
    right = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    expect(client.once("PUT", "inputs", "good", BODY, extra={"content-md5": right})[0] == 200, "a right MD5 is refused")


def truncated_bodies(cluster):
    client = cluster.s3()
    host, port = client.endpoints[0].rsplit(":", 1)
    for announced, sent in ((6 * MIB, 5 * MIB), (100000, 99999), (10, 0)):
        target, headers = client.prepare("PUT", "inputs", "cut", body=b"x", body_sha256="UNSIGNED-PAYLOAD")
        lines = [f"PUT {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {announced}", "", ""]
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall("\r\n".join(lines).encode() + bytes(sent))
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        expect_s3(client.once("GET", "inputs", "cut"), 404, ["NoSuchKey"])
    still_serves(cluster)


def bad_http(cluster):
    host, port = cluster.endpoints[0].removeprefix("http://").rsplit(":", 1)
    chance = random.Random(5)
    heads = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /inputs/x HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"PUT /inputs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"PUT /inputs/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"GET /%zz/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /inputs/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: v\r\n" % n for n in range(5000)) + b"\r\n",
    ] + [chance.randbytes(300) for _ in range(50)]
    for head in heads:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            try:
                connection.sendall(head)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
                expect(not answer.startswith(b"HTTP/1.1 2"), f"{head[:60]!r} was accepted: {answer[:60]!r}")
            except TimeoutError:
                raise
            except OSError:  # reset, or closed before all was sent
                pass
    still_serves(cluster)


def bad_s3_requests(cluster):
    client = cluster.s3()
    expect_s3(client.once("GET", "inputs", "nothing"), 404, ["NoSuchKey"])
    expect_s3(client.once("GET", "no-such-bucket", "x"), 404, ["NoSuchBucket"])
    expect_s3(client.once("PUT", "no-such-bucket", "x", b"x"), 404, ["NoSuchBucket"])
    expect_s3(client.once("PUT", "Bad_Name"), 400, ["InvalidBucketName"])
    expect_s3(client.once("PUT", "inputs", "k" * 1025, b"x"), 400, ["KeyTooLongError"])
    expect_s3(client.once("DELETE", "inputs"), 409, ["BucketNotEmpty"])
    expect_s3(client.once("GET", "inputs", "kept", extra={"range": "bytes=999999999-"}), 416, ["InvalidRange"])
    expect_s3(client.once("PUT", "broken-xml", "", b"<Create><"), 400, ["MalformedXML"])
    expect_s3(client.once("GET", "inputs", query={"list-type": "2", "max-keys": "many"}), 400, ["InvalidArgument"])
    big = {f"x-amz-meta-{n}": "v" * 200 for n in range(20)}
    expect_s3(client.once("PUT", "inputs", "meta", b"x", extra=big), 400, ["MetadataTooLarge"])
    still_serves(cluster)


def bad_configurations(cluster):
    """Each is refused with exit status 2 and a line that names the file and what is wrong."""
    meta = (cluster.dir / "meta1.conf").read_text()
    node = (cluster.dir / "node1.conf").read_text()
    key = cluster.dir / "open-key"
    key.write_bytes((cluster.dir / "key" / "cmk").read_bytes())
    key.chmod(0o644)
    cases = [
        ("trilith-meta", meta + "colour = red\n", "colour"),
        ("trilith-meta", meta + "[colours]\nred = 1\n", "colours"),
        ("trilith-meta", meta.replace(str(cluster.dir / "key" / "cmk"), str(key)), "600"),
        ("trilith-meta", meta.replace("listen = 127.0.0.1", "listen = 0.0.0.0"), ""),
        ("trilith-meta", meta.replace(str(cluster.dir / "key" / "cmk"), str(cluster.dir / "no-key")), "no-key"),
        ("trilith-node", node + "colour = red\n", "colour"),
        ("trilith-node", node.replace("capacity = 2 GiB", "capacity = plenty"), "capacity"),
        ("trilith-node", node.replace("name = node1\n", ""), "name"),
        ("trilith-node", node.replace("listen = 127.0.0.1", "listen = 0.0.0.0", 1), ""),
        ("trilith-node", node.replace("[node]\n", "[node]\nreactors = 100000\n"), "reactors"),
    ]
    for number, (program, content, word) in enumerate(cases):
        path = cluster.dir / f"bad-{number}.conf"
        path.write_text(content)
        done = run([cluster.bin / program, "--config", path], timeout_s=30)
        said = f"case {number}: {program} ended with {done.returncode}: {done.stderr.strip()[-500:]}"
        expect(done.returncode == 2, said)
        expect(word in done.stderr and "Sanitizer" not in done.stderr, said)
    for program in ("trilith-meta", "trilith-node"):
        for option, status in (("--help", 0), ("--version", 0), ("--print-example-config", 0), ("--nonsense", 2)):
            done = run([cluster.bin / program, option], timeout_s=30)
            expect(done.returncode == status, f"{program} {option}: {done.returncode} {done.stderr}")
        done = run([cluster.bin / program, "--config", cluster.dir / "nothing.conf"], timeout_s=30)
        expect(done.returncode == 2 and "nothing.conf" in done.stderr, f"{program}: {done.returncode} {done.stderr}")


def key_file_modes(cluster):
    path = cluster.dir / "made-key"
    done = run([cluster.bin / "trilith-meta", "--create-key", path], timeout_s=30)
    expect(done.returncode == 0, f"{done.stderr}")
    expect(stat.S_IMODE(os.stat(path).st_mode) == 0o600, "a new key file is readable by others")
    before = path.read_bytes()
    done = run([cluster.bin / "trilith-meta", "--create-key", path], timeout_s=30)
    expect(done.returncode != 0 and path.read_bytes() == before, "an existing key file was overwritten")


SCENARIOS = [
    malformed_frames,
    random_frames,
    bad_signatures,
    roles_and_revocation,
    wrong_checksums,
    truncated_bodies,
    bad_http,
    bad_s3_requests,
    bad_configurations,
    key_file_modes,
]
