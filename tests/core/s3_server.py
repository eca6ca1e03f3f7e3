"""moto's S3 server, in a process of its own.

    python tests/core/s3_server.py

prints the port that it listens to, and ends when its input does. Buckets of moto are
never full: one whose name ends with a number, as ``small-20000``, has room here for so
many bytes.
"""

from __future__ import annotations

import re
import sys
import threading

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

_FULL = "<Error><Code>QuotaExceeded</Code><Message>The bucket is full</Message></Error>"


class Quiet(WSGIRequestHandler):
    """Says nothing of the requests."""

    def log_request(self, *_):
        """Say nothing."""


def with_room(app):
    """Return a server that refuses an object for which a bucket has no room."""

    def answer(environ, start):
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        room = re.search(r"-(\d+)$", bucket)
        if room and key and environ["REQUEST_METHOD"] == "PUT":
            keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
            held = sum(other.size for name, other in keys.items() if name != key)
            size = int(environ["CONTENT_LENGTH"])
            if held + size > int(room[1]):
                environ["wsgi.input"].read(size)
                return Response(_FULL, 403)(environ, start)
        return app(environ, start)

    return answer


def main():
    """Listen until the input ends."""
    app = with_room(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
