"""s3.py - a small S3 client for the tests, with Signature Version 4 of its own.

It shares no code with the product, so each is a test of the other. Requests can be bent on purpose: any header, the
body's hash, the clock and the secret can be replaced."""
import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import xml.etree.ElementTree

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class S3Error(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status, body):
        self.status = status
        self.body = body
        self.code = ""
        try:
            self.code = xml.etree.ElementTree.fromstring(body).findtext("Code", "")
        except xml.etree.ElementTree.ParseError:
            pass
        super().__init__(f"HTTP {status} {self.code}")


def encode(text, keep="-_.~"):
    return urllib.parse.quote(text, safe=keep)


class S3:
    """One connection to one gateway at a time; not to be shared between threads."""

    def __init__(self, endpoints, access_key, secret_key, region="us-east-1", timeout_s=60):
        self.endpoints = [endpoint.removeprefix("http://") for endpoint in endpoints]
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self.timeout_s = timeout_s
        self.current = 0
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def next_gateway(self):
        self.close()
        self.current = (self.current + 1) % len(self.endpoints)

    def sign(self, method, path, query, headers, now, body_sha256):
        names = sorted(headers)
        canonical = "\n".join(
            [method, path, query]
            + [f"{name}:{' '.join(headers[name].split())}" for name in names]
            + ["", ";".join(names), body_sha256]
        )
        day = now.strftime("%Y%m%d")
        scope = f"{day}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(
            ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        key = ("AWS4" + self.secret_key).encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        return (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )

    def prepare(self, method, bucket="", key="", query=None, body=b"", extra=None, body_sha256=None, skew_s=0):
        """The request line's target and the signed headers."""
        path = "/" + encode(bucket) + ("/" + encode(key, "-_.~/") if key else "")
        query_text = "&".join(f"{encode(name)}={encode(value)}" for name, value in sorted((query or {}).items()))
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=skew_s)
        if body_sha256 is None:
            body_sha256 = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        headers = {
            "host": self.endpoints[self.current],
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-content-sha256": body_sha256,
        }
        headers.update({name.lower(): value for name, value in (extra or {}).items()})
        headers["authorization"] = self.sign(method, path, query_text, headers, now, body_sha256)
        return path + ("?" + query_text if query_text else ""), headers

    def once(self, method, bucket="", key="", body=b"", **options):
        """One attempt at the current gateway: (status, headers, body). OSError or HTTPException when it breaks."""
        target, headers = self.prepare(method, bucket, key, body=body, **options)
        try:
            if self.connection is None:
                host, port = self.endpoints[self.current].rsplit(":", 1)
                self.connection = http.client.HTTPConnection(host, int(port), timeout=self.timeout_s)
            self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                self.connection.putheader(name, value)
            if method in ("PUT", "POST") and "content-length" not in headers:
                self.connection.putheader("content-length", str(len(body)))
            self.connection.endheaders(body if body else None)
            answer = self.connection.getresponse()
            content = answer.read()
            if answer.will_close:
                self.close()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def request(self, method, bucket="", key="", body=b"", attempts=None, **options):
        """Ask gateways in turn until one answers something else than 5xx."""
        attempts = attempts or 3 * len(self.endpoints)
        for attempt in range(attempts):
            last = attempt + 1 == attempts
            try:
                status, headers, content = self.once(method, bucket, key, body, **options)
            except (OSError, http.client.HTTPException):
                if last:
                    raise
                self.next_gateway()
                continue
            if status >= 500 and not last:
                self.next_gateway()
                continue
            if not 200 <= status < 300:
                raise S3Error(status, content)
            return status, headers, content
        raise AssertionError("unreachable")

    def create_bucket(self, bucket):
        self.request("PUT", bucket)

    def put(self, bucket, key, body, **options):
        return self.request("PUT", bucket, key, body, **options)[1]

    def get(self, bucket, key, **options):
        return self.request("GET", bucket, key, **options)[2]

    def delete(self, bucket, key):
        return self.request("DELETE", bucket, key)[1]

    def keys(self, bucket, prefix=""):
        """All keys of a bucket, page by page."""
        found, token = [], None
        while True:
            query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
            if token:
                query["continuation-token"] = token
            root = xml.etree.ElementTree.fromstring(self.request("GET", bucket, query=query)[2])
            space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
            for entry in root.findall(space + "Contents"):
                found.append(urllib.parse.unquote_plus(entry.findtext(space + "Key")))
            if root.findtext(space + "IsTruncated") != "true":
                return found
            token = root.findtext(space + "NextContinuationToken")
