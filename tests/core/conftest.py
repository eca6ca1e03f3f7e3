"""A server of S3 on this machine: moto's."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[str], str]]:
    """Return a function that makes a bucket on this machine and returns its URL."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch, serving() as (port, buckets):
        for name, value in settings(port).items():
            patch.setenv(name, value)
        yield buckets


@contextmanager
def serving() -> Iterator[tuple[int, Callable[[str], str]]]:
    """Yield the port of an S3 server, and what makes buckets there."""
    script = str(Path(__file__).with_name("s3_server.py"))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, script], stdin=pipe, stdout=pipe) as server:
        port = int(server.stdout.readline())

        def bucket(name: str) -> str:
            url = f"http://127.0.0.1:{port}/{name}"
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
            return f"s3://{name}"

        yield port, bucket
        server.stdin.close()


def settings(port: int) -> dict[str, str]:
    """Return the environment in which clients of S3 ask a server on this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
