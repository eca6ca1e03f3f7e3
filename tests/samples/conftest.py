"""A small catalogue, and a server on this machine that behaves as told."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from batteryxr.samples import Places
from batteryxr.samples.catalogue import read_catalogue

COMMIT = "0123456789abcdef" * 2 + "01234567"
CONTENT = {
    "cycler/run 1.mpt": b"one\r\n" * 4000,
    "xas/a.txt": b"a" * 70_000,
    "xas/b.txt": "Énergie\t8333,0\r\n".encode("latin-1") * 500,
    "xas/c.txt": b"",
}
SETS = f"""
[cell]
about = "A cell"
bytes = {sum(map(len, CONTENT.values()))}
[[cell.origins]]
files = "cycler/*"
repository = "one/lab"
commit = "{COMMIT}"
path = "data/EC/{{name}}"
licence = "MIT"
[[cell.origins]]
files = "*"
repository = "two/lab"
commit = "{COMMIT}"
path = "{{path}}"
licence = "BSD-3-Clause"
"""
SERVED = {
    f"/one/lab/{COMMIT}/data/EC/run%201.mpt": "cycler/run 1.mpt",
    **{f"/two/lab/{COMMIT}/{p}": p for p in CONTENT if p.startswith("xas")},
}


class Server:
    """Serves `CONTENT`; `odd` holds what is done otherwise, by path in the sample."""

    def __init__(self):
        self.asked = []
        self.odd = {}
        self.release = threading.Event()

    def answer(self, request):
        path = SERVED.get(request.path)
        self.asked.append(path)
        odd = self.odd.get(path)
        if path is None or isinstance(odd, int):
            request.send_error(odd or 404)
            return
        content = odd if isinstance(odd, bytes) else CONTENT[path]
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        half = len(content) // 2 if odd in ("cut", "stall") else len(content)
        request.wfile.write(content[:half])
        if odd == "stall":
            request.wfile.flush()
            self.release.wait(30)


@contextmanager
def running(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *words):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(
            target=http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        server.host = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            server.release.set()
            http.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running(Server()) as one:
        yield one


@pytest.fixture(scope="session")
def catalogue_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "files").mkdir()
    (folder / "sets.toml").write_text(SETS)
    lines = (f"{hashlib.sha256(c).hexdigest()}  {p}\n" for p, c in CONTENT.items())
    (folder / "files" / "cell.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def cell(catalogue_folder):
    return read_catalogue(catalogue_folder)["cell"]


@pytest.fixture
def places(tmp_path, server):
    return Places(tmp_path / "cache", host=server.host)


@pytest.fixture
def whole():
    """Return the function that tells that a folder holds the sample and no more."""

    def check(folder):
        found = {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }
        return found == CONTENT

    return check
