"""A small S3 server: objects in memory, conditional writes, buckets that fill up.

    python tests/core/s3_server.py

prints the port that it listens to, and ends when its input does. It knows what clients
ask for that read, write, list and delete objects in one piece. A bucket whose name ends
with a number, as ``small-20000``, has room for so many bytes.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_buckets: dict[str, dict[str, tuple[bytes, float]]] = {}
_one_at_a_time = threading.Lock()


class Refused(Exception):
    """An answer that is an error: HTTP status and S3's code."""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Say nothing."""

    def handle_expect_100(self):
        """Ask for the body at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def do(self):
        """Answer a request, whatever its method."""
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        asked = {k: v[0] for k, v in parse_qs(url.query, True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = "object" if key else "bucket"
        answer = getattr(self, f"{self.command.lower()}_{kind}")
        try:
            with _one_at_a_time:
                status, content, headers = answer(bucket, key, asked, body)
        except Refused as error:
            status, code = error.args
            content, headers = (
                f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
                {},
            )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = do

    def put_bucket(self, bucket, key, asked, body):
        """Make a bucket."""
        _buckets.setdefault(bucket, {})
        return 200, b"", {}

    def head_bucket(self, bucket, key, asked, body):
        """Tell whether a bucket is there."""
        _objects(bucket)
        return 200, b"", {}

    def get_bucket(self, bucket, key, asked, body):
        """List objects, page by page; what shares a prefix is one entry."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token") or asked.get("start-after", "")
        most, entries = int(asked.get("max-keys", 1000)), {}
        for name, (content, at) in sorted(_objects(bucket).items()):
            if not name.startswith(prefix):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            entry = prefix + head + found
            if entry > after:
                entries[entry] = (
                    f"<CommonPrefixes><Prefix>{escape(entry)}</Prefix></CommonPrefixes>"
                    if found
                    else f"<Contents><Key>{escape(name)}</Key>"
                    f"<LastModified>{_time(at)}</LastModified>"
                    f"<ETag>{_etag(content)}</ETag><Size>{len(content)}</Size>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
        page = list(entries)[:most]
        cut = len(entries) > len(page)
        token = escape(page[-1]) if page else ""
        text = (
            f"<ListBucketResult {_XMLNS}><Name>{bucket}</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(cut).lower()}</IsTruncated>"
            + f"<NextContinuationToken>{token if cut else ''}</NextContinuationToken>"
            + "".join(entries[entry] for entry in page)
            + "</ListBucketResult>"
        )
        return 200, text.encode(), {"Content-Type": "application/xml"}

    def post_bucket(self, bucket, key, asked, body):
        """Delete many objects."""
        if "delete" not in asked:
            raise Refused(501, "NotImplemented")
        names = [
            e.text or ""
            for e in ElementTree.fromstring(body).iter()
            if e.tag.endswith("Key")
        ]
        for name in names:
            _objects(bucket).pop(name, None)
        told = "".join(f"<Deleted><Key>{escape(n)}</Key></Deleted>" for n in names)
        return 200, f"<DeleteResult {_XMLNS}>{told}</DeleteResult>".encode(), {}

    def put_object(self, bucket, key, asked, body):
        """Write an object whole, or not at all."""
        objects = _objects(bucket)
        if asked.keys() - {"x-id"} or "x-amz-copy-source" in self.headers:
            raise Refused(501, "NotImplemented")
        if self.headers.get("If-None-Match") == "*" and key in objects:
            raise Refused(412, "PreconditionFailed")
        if room := re.search(r"-(\d+)$", bucket):
            held = sum(len(c) for name, (c, _) in objects.items() if name != key)
            if held + len(body) > int(room[1]):
                raise Refused(403, "QuotaExceeded")
        objects[key] = body, time.time()
        return 200, b"", {"ETag": _etag(body)}

    def get_object(self, bucket, key, asked, body):
        """Return an object, or a part of it."""
        content, at = self._held(bucket, key)
        headers = {"ETag": _etag(content), "Last-Modified": email.utils.formatdate(at)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return 200, content, headers
        first, last, size = wanted[1], wanted[2], len(content)
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            raise Refused(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return 206, content[start:end], headers

    head_object = get_object

    def delete_object(self, bucket, key, asked, body):
        """Delete an object, if it is there."""
        _objects(bucket).pop(key, None)
        return 204, b"", {}

    def _held(self, bucket, key):
        try:
            return _objects(bucket)[key]
        except KeyError:
            raise Refused(404, "NoSuchKey") from None


def _objects(bucket):
    try:
        return _buckets[bucket]
    except KeyError:
        raise Refused(404, "NoSuchBucket") from None


def _etag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


def _time(at):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


def main():
    """Listen until the input ends."""
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
