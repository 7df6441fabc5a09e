"""certificates - what is issued for a deletion, and that nobody can change any of it unnoticed. With sanitizers on.

Real processes, and two verifiers that share no code: `trilith cert verify` and `ledger verify`, and the shell script
that every export carries (openssl and POSIX tools). Whatever byte is changed, entry taken out, moved or signed anew:
both, or the one that reads it, refuse."""
import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tarfile

from cluster import ROOT, Cluster, expect, run, wait_for

KIB, MIB = 1 << 10, 1 << 20
SEED = 23
SMALL = 300
THREADS = 8
SOON_SECONDS = 30
TOOL_READS = ("certificate.jws", "batch.jws", "proof.tlog-proof", "issuer.pem", "opening.json")
# Moments in which the metadata server dies while certificates are on their way.
DEATHS = ["meta.certificates_signed:1", "meta.certificates_signed:2", "journal.batch_durable:3", "meta.applied:4",
          "vault.switched:1", "vault.erased:1"]


def open_cluster():
    # Epochs are closed by hand: so it is known what comes into a batch.
    cluster = Cluster("asan", disk_size="1 GiB", options=["meta.epoch=1h", "meta.node_lease=3s"])
    cluster.scratch = cluster.dir / "scratch"
    cluster.scratch.mkdir()
    cluster.trilith("bucket", "create", "films")
    return cluster


def body_of(number, size):
    return random.Random(SEED + number).randbytes(size)


def erase(cluster, key):
    """Delete an object, destroy its key, wait for the certificate: the erasure."""
    number = cluster.json("rm", f"films/{key}")["erasure"]
    cluster.trilith("erase", "now")
    return cluster.json("erase", "wait", number, "--timeout", SOON_SECONDS)


def verify_by_shell(directory):
    return run(["sh", pathlib.Path(directory) / "verify.sh"], 120)


def verify_by_tool(cluster, directory, key=None):
    directory = pathlib.Path(directory)
    arguments = ["cert", "verify", directory / "certificate.jws", "--key", key or directory / "issuer.pem"]
    if (directory / "opening.json").exists():
        arguments += ["--opening", directory / "opening.json"]
    return run([cluster.bin / "trilith", *arguments], 120)


def expect_verified(cluster, directory):
    for done in (verify_by_shell(directory), verify_by_tool(cluster, directory)):
        expect(done.returncode == 0, f"{directory}: {done.stdout} {done.stderr}")


def payload_of(path):
    part = path.read_text().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def all_certificates(cluster, *options):
    return cluster.json("cert", "list", *options)["certificates"]


# ---- issued and verified ------------------------------------------------------------------------


def a_deletion_is_certified_and_verifies(cluster):
    client = cluster.s3()
    for number, size in enumerate((0, 1, 64 * KIB + 1, 9 * MIB)):
        client.put("films", f"a/film {number}", body_of(number, size))
    for number in range(4):
        erasure = erase(cluster, f"a/film {number}")
        expect(erasure["state"] == "closed" and erasure["certificate"] and erasure["certifiable"], f"{erasure}")
        expect(erasure["open_disks"] == [] and erasure["waiting"] is None and not erasure["held"], f"{erasure}")
        directory = cluster.scratch / f"export-{number}"
        cluster.trilith("cert", "export", erasure["id"], "--out", directory, "--object", f"films/a/film {number}")
        expect_verified(cluster, directory)
        payload = payload_of(directory / "certificate.jws")
        expect(payload["type"] == "object-erasure" and payload["result"] == "ERASED", f"{payload}")
        expect(payload["subject"]["size"] == erasure["object_bytes"], f"{payload['subject']}")
        expect(payload["residual"] and payload["not_claimed"], f"{payload}")
        expect("film" not in json.dumps(payload), "the certificate tells the object's name")
        expect(f"films/a/film {number}" in verify_by_shell(directory).stdout, "the opening names the object")
    cluster.export = cluster.scratch / "export-3"


def it_is_found_by_its_object_time_and_tenant(cluster):
    listed = all_certificates(cluster, "--object", "films/a/film 3")
    expect([c["type"] for c in listed] == ["object-erasure"], f"{listed}")
    expect(listed[0]["id"] == payload_of(cluster.export / "certificate.jws")["cert_id"], f"{listed}")
    expect(all_certificates(cluster, "--object", "films/a/other") == [], "an object that was never erased")
    everything = all_certificates(cluster)
    expect([c["seq"] for c in everything] == list(range(1, len(everything) + 1)), f"{everything}")
    expect(all_certificates(cluster, "--max", 2) == everything[:2], "--max")
    expect(all_certificates(cluster, "--until", "2001-01-01") == [], "--until")
    expect(all_certificates(cluster, "--since", everything[2]["issued"]) ==
           [c for c in everything if c["issued"] >= everything[2]["issued"]], "--since")
    own = all_certificates(cluster, "--tenant", "default")
    expect({c["type"] for c in own} == {"object-erasure"} and len(own) == 4, f"{own}")
    cluster.trilith("cert", "list", "--tenant", "nobody", fails=1)
    cluster.trilith("cert", "list", "--since", "yesterday", fails=2)
    cluster.trilith("cert", "show", "nonsense", fails=2)
    cluster.trilith("cert", "show", "999999", fails=1)
    cluster.trilith("cert", "export", own[0]["id"], fails=2)
    said = cluster.trilith("cert", "show", own[0]["erasure"])
    expect("Erasure of an object" in said and "What is not claimed" in said and "verified" in said, said)


def the_readme_s_commands_work_as_they_stand(cluster):
    directory = cluster.scratch / "by-readme"
    shutil.copytree(cluster.export, directory)
    lines = (directory / "README.txt").read_text().splitlines()
    commands = "\n".join(line[4:] for line in lines if line.startswith("    "))
    done = subprocess.run(["sh", "-e", "-c", commands], cwd=directory, capture_output=True, text=True, timeout=120,
                          env={"PATH": "/usr/bin:/bin"})
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")
    expect("Signature Verified Successfully" in done.stdout and done.stdout.endswith("VERIFIED\n"), done.stdout)


def an_export_does_not_mix_with_another_one(cluster):
    first = all_certificates(cluster, "--tenant", "default")[0]
    cluster.trilith("cert", "export", first["id"], "--out", cluster.export, fails=1)
    expect_verified(cluster, cluster.export)
    cluster.trilith("cert", "export", first["id"], "--out", cluster.scratch / "no", "--object", "films/a/film 3",
                    fails=1)


def a_page_can_be_made_of_it(cluster):
    out = cluster.scratch / "certificate.pdf"
    cluster.trilith("cert", "pdf", cluster.export / "certificate.jws", "--out", out, "--key",
                    cluster.export / "issuer.pem")
    page = out.read_bytes()
    pages = len(re.findall(rb"/Type /Page\b", page))
    expect(page.startswith(b"%PDF-") and 1 <= pages <= 3, f"{pages} pages")
    digest = hashlib.sha256((cluster.export / "certificate.jws").read_bytes()).hexdigest().encode()
    expect(page.count(digest) == pages, "the digest of the signed record is not on every page")
    expect(not re.search(rb"TODO|FIXME|lorem|\(null\)|%s|%d|<[a-z_]+>", page, re.I), "a placeholder")
    expect(b"not recorded" in page and b"verified with the key" in page, "what the page says of itself")
    again = cluster.scratch / "again.pdf"
    cluster.trilith("cert", "pdf", cluster.export / "certificate.jws", "--out", again, "--key",
                    cluster.export / "issuer.pem")
    expect(again.read_bytes() == page, "the same record gives another page")
    wrong = next((cluster.export / "nodes").iterdir())
    cluster.trilith("cert", "pdf", cluster.export / "certificate.jws", "--out", again, "--key", wrong, fails=1)
    cluster.trilith("cert", "pdf", cluster.export / "README.txt", "--out", again, fails=1)


# ---- tampering with a certificate ---------------------------------------------------------------


def flipped(directory, stride):
    """Every `stride`-th byte of every file of evidence, and the last: (file, place)."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name not in ("README.txt", "verify.sh"):
            size = path.stat().st_size
            for place in sorted({*range(0, size, stride), size - 1}):
                yield path.relative_to(directory), place


def changed_copy(cluster, number, name, place, bit):
    copy = cluster.scratch / f"flip-{number}"
    shutil.copytree(cluster.export, copy)
    content = bytearray((copy / name).read_bytes())
    content[place] ^= bit
    (copy / name).write_bytes(content)
    return copy


def accepted_after_changes(cluster, places, verify):
    """The changes that were not refused."""
    def one(job):
        number, (name, place) = job
        copy = changed_copy(cluster, number, name, place, 1 << random.Random(place).randrange(8))
        try:
            done = verify(copy)
            return done.returncode == 0 and f"{name} at {place}"
        finally:
            shutil.rmtree(copy)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(one, enumerate(places)) if found]


def a_changed_byte_anywhere_is_refused_by_the_tool(cluster):
    places = [(name, place) for name, place in flipped(cluster.export, 83)
              if str(name) in TOOL_READS or len(name.parts) > 1]
    expect(len(places) > 120, f"only {len(places)} places")
    accepted = accepted_after_changes(cluster, places, lambda copy: verify_by_tool(cluster, copy))
    expect(accepted == [], f"accepted although changed: {accepted}")


def a_changed_byte_anywhere_is_refused_by_openssl_and_a_shell(cluster):
    accepted = accepted_after_changes(cluster, list(flipped(cluster.export, 997)), verify_by_shell)
    expect(accepted == [], f"accepted although changed: {accepted}")


def parts_of_another_certificate_are_refused(cluster):
    other = cluster.scratch / "export-2"
    for name in ("certificate.jws", "batch.jws", "ledger-entry.json", "proof.tlog-proof", "opening.json"):
        copy = cluster.scratch / "mixed"
        shutil.copytree(cluster.export, copy)
        shutil.copy(other / name, copy / name)
        expect(verify_by_shell(copy).returncode != 0, f"{name} of another certificate, by the shell")
        if name in TOOL_READS:
            expect(verify_by_tool(cluster, copy).returncode == 1, f"{name} of another certificate")
        shutil.rmtree(copy)


# ---- tampering with the ledger ------------------------------------------------------------------


def ledger_verify(cluster, directory, key, *options):
    return run([cluster.bin / "trilith", "ledger", "verify", directory, "--key", key, *options], 120)


def entries_of(directory):
    """The entries of a ledger of less than 256, as bytes."""
    bundle = next((directory / "tile/entries").glob("000.p/*")).read_bytes()
    entries = []
    while bundle:
        size = int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2 : 2 + size])
        bundle = bundle[2 + size :]
    return entries


def merkle_root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


def sign_note(cluster, text, origin):
    """Sign a checkpoint with a key of our own."""
    secret, public = cluster.scratch / "forger.key", cluster.scratch / "forger.pem"
    if not secret.exists():
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", secret], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True)
    raw = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], check=True,
                         capture_output=True).stdout[-32:]
    message = cluster.scratch / "note"
    message.write_text(text)
    signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", secret, "-in", message], check=True,
                               capture_output=True).stdout
    key_id = hashlib.sha256(origin.encode() + b"\n\1" + raw).digest()[:4]
    return f"{text}\n\u2014 {origin} {base64.b64encode(key_id + signature).decode()}\n", public


def forge(cluster, source, name, entries, note=None):
    """A ledger of these entries, whole in itself. Without `note` its checkpoint is signed with a key of our own."""
    target = cluster.scratch / name
    shutil.copytree(source, target)
    shutil.rmtree(target / "tile")
    leaves = [hashlib.sha256(b"\0" + entry).digest() for entry in entries]
    for folder, content in (("0", b"".join(leaves)),
                            ("entries", b"".join(len(e).to_bytes(2, "big") + e for e in entries))):
        (target / "tile" / folder / "000.p").mkdir(parents=True)
        (target / "tile" / folder / "000.p" / str(len(entries))).write_bytes(content)
    origin = (source / "checkpoint").read_text().splitlines()[0]
    text = f"{origin}\n{len(entries)}\n{base64.b64encode(merkle_root(leaves)).decode()}\n"
    signed, public = sign_note(cluster, text, origin)
    (target / "checkpoint").write_text(note or signed)
    return target, public


def the_ledger_verifies_and_an_export_of_it_grows(cluster):
    cluster.ledger = cluster.scratch / "ledger"
    before = cluster.json("ledger", "export", cluster.ledger)
    expect(before["before"] == 0 and before["size"] == cluster.json("ledger", "head")["size"], f"{before}")
    cluster.old_checkpoint = cluster.scratch / "checkpoint-of-then"
    shutil.copy(cluster.ledger / "checkpoint", cluster.old_checkpoint)
    cluster.old_ledger = cluster.scratch / "ledger-of-then"
    shutil.copytree(cluster.ledger, cluster.old_ledger)
    cluster.key = cluster.scratch / "key.pem"
    shutil.copy(cluster.ledger / "keys/issuer-1.pem", cluster.key)
    cluster.s3().put("films", "grow", b"x")
    erase(cluster, "grow")
    after = cluster.json("ledger", "export", cluster.ledger)
    expect(after["before"] == before["size"] and after["size"] == before["size"] + 1, f"{after}")
    done = ledger_verify(cluster, cluster.ledger, cluster.key, "--since", cluster.old_checkpoint)
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")
    expect(cluster.json("ledger", "export", cluster.ledger)["before"] == after["size"], "an export that is up to date")


def a_rolled_back_ledger_is_refused(cluster):
    done = ledger_verify(cluster, cluster.old_ledger, cluster.key)
    expect(done.returncode == 0, "the old one alone is a ledger")
    done = ledger_verify(cluster, cluster.old_ledger, cluster.key, "--since", cluster.ledger / "checkpoint")
    expect(done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, f"{done.stdout} {done.stderr}")


def removed_and_reordered_entries_are_refused(cluster):
    entries = entries_of(cluster.ledger)
    expect(len(entries) >= 5, f"{len(entries)} entries")
    note = (cluster.ledger / "checkpoint").read_text()
    forgeries = {
        "without-one": entries[:2] + entries[3:],
        "without-the-last": entries[:-1],
        "two-swapped": entries[:2] + [entries[3], entries[2]] + entries[4:],
        "one-twice": entries[:3] + entries[2:],
        "one-changed": entries[:2] + [entries[2].replace(b'"v":1', b'"v":2')] + entries[3:],
    }
    for name, changed in forgeries.items():
        forged, public = forge(cluster, cluster.ledger, name, changed, note)
        done = ledger_verify(cluster, forged, cluster.key)
        expect(done.returncode == 1, f"{name} under the true checkpoint: {done.stdout}")
        forged, public = forge(cluster, cluster.ledger, f"{name}-signed-anew", changed)
        done = ledger_verify(cluster, forged, cluster.key)
        expect(done.returncode == 1, f"{name} signed by somebody else: {done.stdout}")
        # Even whoever believes the other key: the certificates are signed with the true one, and there is one too many.
        done = ledger_verify(cluster, forged, public)
        expect(done.returncode == 1, f"{name} for somebody who believes the forger: {done.stdout}")


def a_changed_byte_of_the_ledger_is_refused(cluster):
    accepted = []
    for path in sorted(cluster.ledger.rglob("*")):
        inside = path.relative_to(cluster.ledger)
        # Keys are given with --key, and partial tiles of earlier heads are no part of this one.
        head = int((cluster.ledger / "checkpoint").read_text().splitlines()[1])
        if not path.is_file() or inside.parts[0] in ("keys", "keys.pem", "log.vkey"):
            continue
        if ".p" in path.parent.name and path.name != str(head):
            continue
        whole = path.read_bytes()
        for place in sorted({*range(0, len(whole), 211), len(whole) - 1}):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            if ledger_verify(cluster, cluster.ledger, cluster.key).returncode == 0:
                accepted.append(f"{inside} at {place}")
        path.write_bytes(whole)
    expect(accepted == [], f"accepted although changed: {accepted}")
    expect(ledger_verify(cluster, cluster.ledger, cluster.key).returncode == 0, "put right again")


def an_export_of_another_ledger_is_not_extended(cluster):
    forged, _ = forge(cluster, cluster.ledger, "foreign", entries_of(cluster.ledger)[:-1])
    said = cluster.trilith("ledger", "export", forged, fails=1)
    expect("refused" in said, said)
    copy = cluster.scratch / "damaged"
    shutil.copytree(cluster.ledger, copy)
    bundle = sorted((copy / "tile/entries/000.p").iterdir(), key=lambda path: int(path.name))[-1]
    content = bytearray(bundle.read_bytes())
    content[20] ^= 1
    bundle.write_bytes(content)
    said = cluster.trilith("ledger", "export", copy, fails=1)
    expect("refused" in said, said)


# ---- keys change --------------------------------------------------------------------------------


def keys_change_and_everything_verifies_on(cluster):
    keys = cluster.json("ledger", "rotate")["keys"]
    expect([key["number"] for key in keys] == [2, 1] and keys[1]["retired"] and not keys[0]["retired"], f"{keys}")
    cluster.s3().put("films", "rotated", b"x" * 5000)
    erasure = erase(cluster, "rotated")
    directory = cluster.scratch / "rotated"
    cluster.trilith("cert", "export", erasure["id"], "--out", directory)
    expect_verified(cluster, directory)
    expect((directory / "issuer.pem").read_text() == keys[0]["public_key"], "signed with the new key")
    # A certificate of before: its issuer is the old key, the head of now is signed with the new one too.
    old = cluster.scratch / "old-and-new"
    cluster.trilith("cert", "export", payload_of(cluster.export / "certificate.jws")["cert_id"], "--out", old)
    done = verify_by_shell(old)
    expect(done.returncode == 0, done.stderr)
    both = cluster.scratch / "both.pem"
    both.write_text("".join(path.read_text() for path in [old / "issuer.pem", *sorted(old.glob("ledger*.pem"))]))
    done = verify_by_tool(cluster, old, both)
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")
    cluster.trilith("ledger", "export", cluster.ledger)
    done = ledger_verify(cluster, cluster.ledger, cluster.ledger / "keys.pem", "--since", cluster.old_checkpoint)
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")


# ---- many at once, a node that is away, a server that dies ----------------------------------------


def delete_all(cluster, keys):
    """From several clients at once: the numbers of the erasures."""
    def some(share):
        client = cluster.s3(first=share % len(cluster.endpoints))
        return [int(client.delete("films", key)["x-trilith-erasure"]) for key in keys[share::THREADS]]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return [number for numbers in pool.map(some, range(THREADS)) for number in numbers]


def put_all(cluster, keys):
    def some(share):
        client = cluster.s3(first=share % len(cluster.endpoints))
        for key in keys[share::THREADS]:
            client.put("films", key, body_of(len(key), 3000))

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, range(THREADS)))


def wait_certified(cluster, numbers, timeout_s):
    """Until each of these erasures has a certificate: erasure -> certificate."""
    wanted = set(numbers)

    def certified():
        found = {c["erasure"]: c for c in all_certificates(cluster) if c["erasure"] in wanted}
        return found if len(found) == len(wanted) else None

    return wait_for(f"{len(wanted)} certificates", timeout_s, certified)


def check_numbers(cluster):
    """No gap, no duplicate: neither in numbers nor of an erasure; every erasure that is due has one."""
    listed = all_certificates(cluster)
    expect([c["seq"] for c in listed] == list(range(1, len(listed) + 1)), "the numbers have gaps")
    expect(len({c["id"] for c in listed}) == len(listed), "an id was issued twice")
    erasures = [c["erasure"] for c in listed if c["erasure"]]
    expect(len(set(erasures)) == len(erasures), "an erasure has two certificates")
    due = [e for e in cluster.json("erase", "list")["erasures"] if e["certifiable"] and e["state"] == "closed"]
    expect({e["id"] for e in due} == set(erasures), "erasures that are closed and have no certificate")
    directory = cluster.scratch / "whole"
    shutil.rmtree(directory, ignore_errors=True)
    cluster.trilith("ledger", "export", directory)
    done = ledger_verify(cluster, directory, directory / "keys.pem", "--since", cluster.old_checkpoint)
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")


def many_small_ones_and_overwrites_are_certified_in_batches(cluster):
    keys = [f"small-{number:04}" for number in range(SMALL)]
    put_all(cluster, keys)
    put_all(cluster, keys[:20])  # over what is there
    overwritten = [e["id"] for e in cluster.json("erase", "list", "--open")["erasures"] if e["reason"] == "overwrite"]
    expect(len(overwritten) == 20, f"{len(overwritten)} erasures for 20 overwrites")
    numbers = delete_all(cluster, keys) + overwritten
    cluster.trilith("erase", "now")
    found = wait_certified(cluster, numbers, 120)
    batches = {c["batch"] for c in found.values()}
    expect(None not in batches and len(batches) <= SMALL // 10, f"{len(batches)} batches for {len(found)} certificates")
    check_numbers(cluster)
    for number in random.Random(SEED).sample(sorted(numbers), 4) + overwritten[:1]:
        directory = cluster.scratch / f"small-{number}"
        cluster.trilith("cert", "export", number, "--out", directory)
        expect_verified(cluster, directory)


def a_node_that_is_away_keeps_it_open_and_closes_it_when_it_is_back(cluster):
    client = cluster.s3()
    client.put("films", "on-three", body_of(1, 2 * MIB))
    away = cluster.json("locate", "films/on-three")["chunks"][0]["copies"][0]["node"]
    disk = next(d["id"] for d in cluster.json("disk", "list")["disks"] if d["node"] == away)
    cluster.kill(away)
    number = cluster.json("rm", "films/on-three")["erasure"]
    cluster.trilith("erase", "now")

    def the_others_are_done():
        erasure = cluster.json("erase", "show", number)
        return erasure["open_disks"] == [disk] and erasure["keys"] == "destroyed" and erasure

    erasure = wait_for("only that disk is missing", SOON_SECONDS, the_others_are_done)
    expect(erasure["state"] == "open" and erasure["certificate"] is None, f"{erasure}")
    expect(erasure["waiting"], f"it does not say what it waits for: {erasure}")
    said = cluster.trilith("erase", "wait", number, "--timeout", 2, fails=1)
    expect("still open" in said, said)
    cluster.trilith("cert", "export", number, "--out", cluster.scratch / "too-early", fails=1)
    expect(cluster.json("status")["evidence"]["oldest_open"] is not None, "status")
    cluster.start(away)
    erasure = cluster.json("erase", "wait", number, "--timeout", SOON_SECONDS)
    directory = cluster.scratch / "was-away"
    cluster.trilith("cert", "export", number, "--out", directory)
    expect_verified(cluster, directory)
    states = {replica["node"]: replica["state"] for replica in payload_of(directory / "certificate.jws")["replicas"]}
    expect(states[away] == "wiped", f"{states}")


def runs(cluster, name):
    try:
        process = int((cluster.dir / "run" / f"{name}.pid").read_text())
        return f"{name}.conf".encode() in pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def a_metadata_server_that_dies_while_it_issues_leaves_no_gap_and_no_duplicate(cluster):
    for number, moment in enumerate(DEATHS):
        keys = [f"dying-{number}-{key}" for key in range(60)]
        put_all(cluster, keys)
        numbers = delete_all(cluster, keys)
        cluster.kill("meta1")
        run([ROOT / "cluster/local", "start", "meta1", "--dir", cluster.dir], 120,
            env={**cluster.environment(), "TRILITH_KILL_AT": moment})

        def is_dead():
            # Nobody answers when it dies: that is what this is about.
            run([cluster.bin / "trilith", "erase", "now", "--timeout", 5], 60, env=cluster.env)
            return not runs(cluster, "meta1")

        wait_for(f"a death at {moment}", 60, is_dead)
        expect(f"kill_point name={moment.split(':')[0]}" in cluster.log("meta1"), f"it did not die at {moment}")
        cluster.start("meta1")
        cluster.wait_healthy()
        cluster.trilith("erase", "now")
        wait_certified(cluster, numbers, 120)
        check_numbers(cluster)


# ---- what an auditor takes away -------------------------------------------------------------------


def an_archive_for_an_auditor_verifies_on_its_own(cluster):
    archive = cluster.scratch / "evidence.tar"
    wanted = all_certificates(cluster, "--max", 12)
    said = cluster.json("evidence", "export", archive, "--until", all_certificates(cluster)[12]["issued"])
    expect(0 < said["certificates"] <= len(wanted) + 60, f"{said}")
    target = cluster.scratch / "auditor"
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        expect(not any(name.startswith("/") or ".." in name for name in names), f"{names}")
        tar.extractall(target)
    expect(len(list((target / "certificates").iterdir())) == said["certificates"], f"{said}")
    done = run(["sh", target / "verify.sh"], 500)
    expect(done.returncode == 0 and f"{said['certificates']} certificates verified" in done.stdout, done.stderr)
    done = ledger_verify(cluster, target / "ledger", target / "ledger/keys.pem")
    expect(done.returncode == 0, f"{done.stdout} {done.stderr}")
    victim = next((target / "certificates").iterdir()) / "certificate.jws"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    done = run(["sh", target / "verify.sh"], 500)
    expect(done.returncode == 1 and "NOT VERIFIED" in done.stderr, "a changed certificate in the archive")
    everything = cluster.json("evidence", "export", cluster.scratch / "all.tar")
    expect(everything["certificates"] == len(all_certificates(cluster)), f"{everything}")
    own = cluster.json("evidence", "export", cluster.scratch / "own.tar", "--tenant", "default")
    expect(0 < own["certificates"] < everything["certificates"], f"{own}")
    cluster.trilith("evidence", "export", cluster.scratch / "x.tar", "--tenant", "nobody", fails=1)
    expect(not (cluster.scratch / "x.tar").exists(), "an archive of nothing")


SCENARIOS = [
    a_deletion_is_certified_and_verifies,
    it_is_found_by_its_object_time_and_tenant,
    the_readme_s_commands_work_as_they_stand,
    an_export_does_not_mix_with_another_one,
    a_page_can_be_made_of_it,
    a_changed_byte_anywhere_is_refused_by_the_tool,
    a_changed_byte_anywhere_is_refused_by_openssl_and_a_shell,
    parts_of_another_certificate_are_refused,
    the_ledger_verifies_and_an_export_of_it_grows,
    a_rolled_back_ledger_is_refused,
    removed_and_reordered_entries_are_refused,
    a_changed_byte_of_the_ledger_is_refused,
    an_export_of_another_ledger_is_not_extended,
    keys_change_and_everything_verifies_on,
    many_small_ones_and_overwrites_are_certified_in_batches,
    a_node_that_is_away_keeps_it_open_and_closes_it_when_it_is_back,
    a_metadata_server_that_dies_while_it_issues_leaves_no_gap_and_no_duplicate,
    an_archive_for_an_auditor_verifies_on_its_own,
]
